/* SPDX-License-Identifier: MIT */
/* Pool: the front, the same for every back-end. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <plait/cancel.h>
#include <plait/init.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/options.h"
#include "base/tls.h"
#include "exec/kept.h"
#include "exec/members.h"
#include "exec/pool_backend.h"
#include "wait/point.h"

/*
 * How it works
 *
 * The front checks arguments and states; a back-end (pool_backend.h) queues and runs.
 *
 * A pool's struct lives as long as its handle or one of its futures, because their results and locks are in it or
 * in its arena.
 */

static PLAIT_TLS struct {
    const struct plait_pool *pool; /* whose worker, or caller of callbacks, this thread is; NULL: nobody's */
    enum plait__pool_role role;
    unsigned number; /* of a worker */
} serving;

enum { WORKERS_MAX = 1024 };

/* Seconds as nanoseconds, at most a quarter of all time, so that several can be added. False: no such span. */
static bool span_of(double seconds, int64_t *span_out)
{
    double span = seconds * (double)PLAIT__SECOND;

    if (!(seconds >= 0))
        return false;
    *span_out = span < (double)(PLAIT_FOREVER / 4) ? (int64_t)span : PLAIT_FOREVER / 4;
    if (seconds > 0 && *span_out == 0)
        *span_out = 1;
    return true;
}

static int read_options(struct plait_pool_opts *opts, const struct plait_pool_opts *given, size_t given_size,
                        struct plait__pool_setup *setup)
{
    if (plait__options_read(opts, sizeof *opts, given, given_size) || opts->workers > WORKERS_MAX ||
        opts->memory > (size_t)1 << 46 || (unsigned)opts->when_full > PLAIT_FULL_RUNS_HERE ||
        (opts->init_arg_size && !opts->init_arg) || !span_of(opts->idle_time != 0 ? opts->idle_time : 10, &setup->idle_time))
        return EINVAL;
    if (opts->workers == 0)
        opts->workers = plait_cpu_count() < WORKERS_MAX ? plait_cpu_count() : WORKERS_MAX;
    if (opts->workers < opts->min_workers)
        return EINVAL;
    if (opts->min_workers == 0)
        opts->min_workers = opts->workers;
    if (opts->memory == 0)
        opts->memory = (size_t)1 << 30;
    if (!opts->name)
        opts->name = "plait-pool";
    setup->initializer = opts->initializer;
    setup->finalizer = opts->finalizer;
    setup->arg_size = opts->init_arg_size;
    if (opts->init_arg_size) {
        setup->arg = malloc(opts->init_arg_size);
        if (!setup->arg)
            return ENOMEM;
        memcpy(setup->arg, opts->init_arg, opts->init_arg_size);
    }
    return 0;
}

int plait_pool_new_sized(plait_pool_t **pool_out, const struct plait_pool_opts *given, size_t given_size)
{
    struct plait__pool_setup setup = { 0 };
    struct plait_pool_opts opts;
    int err = pool_out ? read_options(&opts, given, given_size, &setup) : EINVAL;

    if (err)
        return err;
    switch (opts.backend) {
    case PLAIT_THREADS:
        err = plait__pool_threads.open(&opts, &setup, pool_out);
        break;
    case PLAIT_PROCESSES:
        err = plait__pool_processes.open(&opts, &setup, pool_out);
        break;
    default:
        err = EINVAL;
    }
    if (err)
        free(setup.arg);
    return err;
}

/* As many that no difference of counts comes near it: any number. */
static uint64_t under_way_max(const struct plait_pool_opts *opts)
{
    uint64_t most = INT64_MAX;

    if (!opts->backlog)
        return 0;
    return opts->backlog < most - opts->workers ? opts->backlog + (uint64_t)opts->workers : most;
}

void plait__pool_begin(struct plait_pool *pool, const struct plait__pool_backend *backend, const struct plait_pool_opts *opts,
                       const struct plait__pool_setup *setup)
{
    pool->backend = backend;
    pool->references = 1;
    pool->epoch = plait__fork_epoch_renew();
    pool->workers = opts->workers;
    pool->setup = *setup;
    pool->under_way_max = under_way_max(opts);
    pool->when_full = opts->when_full;
    pool->room = &pool->own_room;
    snprintf(pool->name, sizeof pool->name, "%s", opts->name);
}

void plait__pool_enter(const struct plait_pool *pool, enum plait__pool_role role, unsigned number)
{
    serving.pool = pool;
    serving.role = role;
    serving.number = number;
}

bool plait__pool_is_inside(const struct plait_pool *pool)
{
    return serving.pool == pool;
}

static bool is_inside_as(const struct plait_pool *pool, enum plait__pool_role role)
{
    return serving.pool == pool && serving.role == role;
}

bool plait__pool_is_anyones(void)
{
    return serving.pool != NULL;
}

void plait__pool_reference(struct plait_pool *pool)
{
    add_relaxed(&pool->references, 1);
}

void plait__pool_unreference(struct plait_pool *pool)
{
    if (sub_acqrel(&pool->references, 1) != 1)
        return;
    free(pool->setup.arg);
    pool->backend->destroy(pool);
}

/* ---- Submitting ------------------------------------------------------------------------ */

bool plait__pool_is_open(const struct plait_pool *pool)
{
    return !plait__pool_is_inherited(pool) && load_acquire(&pool->state) == POOL_RUNNING;
}

/* ---- A backlog ----
 *
 * E1: a worker counts the task that has ended, then looks at `waiters` by an addition of 0; who waits adds 1 there, reads
 * the word, and then counts. Whichever addition comes first (all are sequentially consistent): either the worker sees the
 * waiter and changes the word, or the waiter sees the count.
 */

static uint64_t ended(const struct plait_pool *pool)
{
    return pool->backend->ended(pool) + load64_relaxed(&pool->settled) + load64_relaxed(&pool->here);
}

static uint64_t submitted(const struct plait_pool *pool)
{
    uint64_t count = load64_relaxed(&pool->submitted);

    return !pool->under_way_max && pool->backend->uncounted ? count + pool->backend->uncounted(pool) : count;
}

uint64_t plait__pool_under_way(const struct plait_pool *pool)
{
    uint64_t before = ended(pool), now = submitted(pool); /* a worker's death may count one twice */

    return now > before ? now - before : 0;
}

static bool is_full(const struct plait_pool *pool, uint64_t so_many)
{
    return (int64_t)(so_many - ended(pool)) >= (int64_t)pool->under_way_max;
}

static int wait_for_room(struct plait_pool *pool, plait_time_t deadline)
{
    struct plait__pool_room *room = pool->room;
    uint32_t seen;
    int err = 0;

    add_seqcst(&room->waiters, 1); /* E1 */
    seen = load_acquire(&room->word);
    if (plait__pool_is_open(pool) && is_full(pool, load64_relaxed(&pool->submitted)))
        err = plait_wait(&room->word, seen, pool->room_flags, deadline);
    sub_release(&room->waiters, 1);
    return err;
}

/* What to do with a task for which there is no room: an error, EBUSY: run it here, or 0: wait. Maps are not refused in the middle. */
static int judge_full(const struct plait_pool *pool, bool is_map, plait_time_t deadline)
{
    enum plait_when_full when_full = is_map ? PLAIT_FULL_WAITS : pool->when_full;
    bool works = is_inside_as(pool, POOL_WORKS);

    if (when_full == PLAIT_FULL_REFUSES && !works)
        return EAGAIN;
    if (deadline <= PLAIT_NOW || (deadline != PLAIT_FOREVER && plait_now() >= deadline))
        return ETIMEDOUT;
    return works || is_inside_as(pool, POOL_SUPERVISES) || when_full == PLAIT_FULL_RUNS_HERE ? EBUSY : 0;
}

/* Count a task in, where there is a backlog. EBUSY: there is no room, and the caller is to run it itself. */
static int admit(struct plait_pool *pool, bool is_map, plait_time_t deadline)
{
    uint64_t seen = load64_relaxed(&pool->submitted);
    int err;

    for (;;) {
        if (!plait__pool_is_open(pool))
            return EPIPE;
        if (!is_full(pool, seen)) {
            if (cas64_relaxed(&pool->submitted, &seen, seen + 1))
                return 0;
            continue;
        }
        err = judge_full(pool, is_map, deadline);
        if (err == 0)
            err = wait_for_room(pool, deadline);
        if (err)
            return err;
        seen = load64_relaxed(&pool->submitted);
    }
}

static const struct plait__future_kind run_here_kind = {
    .outcome = plait__kept_outcome,
    .settle = plait__kept_settle,
    .abandon = plait__future_unreference,
    .reclaim = plait__kept_reclaim,
};

/* Run it, in the place of a worker; the future is done. */
static int run_here(struct plait_pool *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                    plait_future_t **future_out)
{
    struct plait__kept *kept = calloc(1, sizeof *kept);
    unsigned number = plait__pool_is_inside(pool) ? serving.number : 0;

    if (!kept)
        return ENOMEM;
    plait__future_begin(&kept->future, &run_here_kind, NULL, &kept->word, 0);
    store_relaxed(&kept->word, TASK_RUNNING);
    for (unsigned attempt = 0;; attempt++) {
        plait__kept_run(kept, fn, work, arg, number, NULL, attempt);
        if (kept->code == 0 || attempt >= work->retries ||
            plait_sleep((double)plait__retry_delay(work, attempt) / (double)PLAIT__SECOND) != 0)
            break;
        plait__kept_clear(kept);
    }
    add64_relaxed(&pool->submitted, 1);
    add64_relaxed(&pool->here, 1);
    if (kept->code)
        add64_relaxed(&pool->here_failed, 1);
    plait__future_finish(&kept->future);
    if (future_out)
        *future_out = &kept->future;
    else
        plait__future_unreference(&kept->future);
    return 0;
}

int plait__pool_submit(plait_pool_t *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                       plait_future_t **future_out, plait_time_t deadline)
{
    int err;

    if (!plait__pool_is_open(pool))
        return EPIPE;
    if (!pool->under_way_max)
        return pool->backend->submit(pool, fn, arg, work, future_out);
    err = admit(pool, work->count || work->is_packed, deadline);
    if (err == EBUSY)
        return run_here(pool, fn, arg, work, future_out);
    if (err)
        return err;
    err = pool->backend->submit(pool, fn, arg, work, future_out);
    if (err) {
        add64_relaxed(&pool->submitted, (uint64_t)-1);
        plait__pool_make_room(pool);
    }
    return err;
}

/* plait_pool_apply_async, which gives up at the deadline. */
static int apply_async(plait_pool_t *pool, plait_task_fn *fn, const void *arg, size_t arg_size, plait_future_t **future_out,
                       plait_time_t deadline)
{
    struct plait__work work = { .arg_size = arg_size };

    if (!pool || !fn || (arg_size && !arg))
        return EINVAL;
    return plait__pool_submit(pool, fn, arg, &work, future_out, deadline);
}

int plait_pool_apply_async(plait_pool_t *pool, plait_task_fn *fn, const void *arg, size_t arg_size,
                           plait_future_t **future_out)
{
    return apply_async(pool, fn, arg, arg_size, future_out, PLAIT_FOREVER);
}

/* ---- With all that can be said of a task ---- */

struct callbacks {
    struct plait__callback own; /* first */
    void (*on_success)(plait_future_t *future, void *context);
    void (*on_failure)(plait_future_t *future, void *context);
    void *context;
};

static void call_one(plait_future_t *future, void *context)
{
    struct callbacks *c = context;
    void (*call)(plait_future_t *, void *) = plait_future_error(future) ? c->on_failure : c->on_success;

    if (call)
        call(future, c->context);
}

/* Put it into its group, and have it call back. The memory for it is there before the task is submitted, which cannot be undone. */
static int submit_and_listen(plait_pool_t *pool, const struct plait_task_opts *opts, const struct plait__work *work,
                             plait_future_t **future_out)
{
    bool calls = opts->callback || opts->error_callback;
    struct callbacks *callbacks = calls ? malloc(sizeof *callbacks) : NULL;
    struct plait__member *member = opts->group ? plait__member_new() : NULL;
    bool enough = (callbacks || !calls) && (member || !opts->group);
    plait_future_t *future;
    int err = enough ? plait__pool_submit(pool, opts->fn, opts->arg, work, &future, PLAIT_FOREVER) : ENOMEM;

    if (err) {
        free(callbacks);
        free(member);
        return err;
    }
    if (future_out)
        *future_out = future; /* before a callback may free it */
    plait__future_reference(future);
    if (member)
        plait__members_adopt((struct plait__members *)opts->group, member, future);
    if (callbacks) {
        *callbacks = (struct callbacks){ { .call = call_one, .context = callbacks, .allocated = true }, opts->callback,
                                         opts->error_callback, opts->context };
        plait__future_listen(future, &callbacks->own);
    }
    if (!future_out)
        plait_future_free(future);
    plait__future_unreference(future);
    return 0;
}

int plait_pool_submit_sized(plait_pool_t *pool, const struct plait_task_opts *given, size_t given_size,
                            plait_future_t **future_out)
{
    struct plait_task_opts opts;
    struct plait__work work = { 0 };

    if (!pool || plait__options_read(&opts, sizeof opts, given, given_size) || !opts.fn || (opts.arg_size && !opts.arg) ||
        !span_of(opts.limit, &work.limit) || !span_of(opts.grace == 0 && opts.limit != 0 ? 1 : opts.grace, &work.grace) ||
        !span_of(opts.retry_after, &work.retry_after))
        return EINVAL;
    work.retries = opts.retries;
    work.arg_size = opts.arg_size;
    work.priority = opts.priority;
    if (opts.callback || opts.error_callback || opts.group)
        return submit_and_listen(pool, &opts, &work, future_out);
    return plait__pool_submit(pool, opts.fn, opts.arg, &work, future_out, PLAIT_FOREVER);
}

int plait_pool_apply(plait_pool_t *pool, plait_task_fn *fn, const void *arg, size_t arg_size, void *result,
                     size_t *result_size, plait_time_t deadline)
{
    plait_future_t *future;
    const void *bytes;
    size_t size;
    int err;

    if (result && !result_size)
        return EINVAL;
    err = apply_async(pool, fn, arg, arg_size, &future, deadline);
    if (err)
        return err;
    err = plait_future_get(future, &bytes, &size, deadline);
    if (err == 0 && result_size) {
        size_t kept = size < *result_size ? size : *result_size;
        if (result && kept)
            memcpy(result, bytes, kept);
        *result_size = size;
    }
    plait_future_cancel(future);
    plait_future_free(future);
    return err;
}

/* ---- Pausing ----------------------------------------------------------------------------- */

int plait_pool_pause(plait_pool_t *pool)
{
    if (!plait__pool_is_inherited(pool) && load_acquire(&pool->state) != POOL_TERMINATED)
        pool->backend->hold(pool, true);
    return 0;
}

int plait_pool_resume(plait_pool_t *pool)
{
    if (!plait__pool_is_inherited(pool))
        pool->backend->hold(pool, false);
    return 0;
}

bool plait_pool_is_paused(const plait_pool_t *pool)
{
    return pool->backend->is_held(pool);
}

/* ---- Ending ---------------------------------------------------------------------------- */

/* Move the state forward; false: it was there or further already. */
static bool advance(struct plait_pool *pool, uint32_t state)
{
    uint32_t seen = load_acquire(&pool->state);

    while (seen < state)
        if (cas_acqrel(&pool->state, &seen, state))
            return true;
    return false;
}

int plait_pool_close(plait_pool_t *pool)
{
    if (plait__pool_is_inherited(pool) || !advance(pool, POOL_CLOSED))
        return 0;
    pool->backend->close(pool);
    plait__room_tell(pool->room, pool->room_flags);
    return 0;
}

static void terminate(struct plait_pool *pool, bool breaks)
{
    if (plait__pool_is_inherited(pool) || !advance(pool, POOL_TERMINATED))
        return;
    pool->backend->terminate(pool, breaks);
    plait__room_tell(pool->room, pool->room_flags);
}

int plait_pool_terminate(plait_pool_t *pool)
{
    terminate(pool, false);
    return 0;
}

void plait__pool_break(struct plait_pool *pool, unsigned worker, int code, const char *text)
{
    char reason[sizeof pool->failure.text];

    snprintf(reason, sizeof reason, "the initializer of worker %u has failed%s%s", worker, text[0] ? ": " : "", text);
    if (plait__failure_tell(&pool->failure, worker, code, reason)) /* else who does terminates it: not before the reason is there */
        terminate(pool, true);
}

/* Callbacks that end their thread lead here again and again, on a stack that may not be taken down (musl): so no room is taken for text. */
int plait__pool_reason(const struct plait_pool *pool, const char **text_out)
{
    bool is_broken = plait__failure_is_told(&pool->failure);

    *text_out = is_broken ? pool->failure.text : "the pool was terminated";
    return is_broken ? pool->failure.code : ECANCELED;
}

void plait__pool_cancel(struct plait_pool *pool, plait_future_t *future)
{
    const char *text;
    int code = plait__pool_reason(pool, &text);

    plait__future_settle(future, code, text);
}

int plait_pool_join(plait_pool_t *pool, plait_time_t deadline)
{
    if (plait__pool_is_inherited(pool))
        return EOWNERDEAD;
    if (load_acquire(&pool->state) == POOL_RUNNING)
        return EINVAL;
    if (plait__pool_is_inside(pool))
        return EDEADLK;
    return pool->backend->join(pool, deadline);
}

int plait_pool_free(plait_pool_t *pool)
{
    plait_cancel_t *token;
    int closed, err;

    if (!pool || plait__pool_is_inherited(pool)) /* the memory is the parent's copy: its locks may be held for ever */
        return 0;
    if (plait__pool_is_inside(pool))
        return EDEADLK;
    token = plait_cancel_bind(NULL);
    closed = plait__point_close();
    err = load_acquire(&pool->state) == POOL_RUNNING ? ETIMEDOUT : pool->backend->join(pool, PLAIT_NOW);
    if (err) {
        plait_pool_terminate(pool);
        pool->backend->join(pool, PLAIT_FOREVER);
    }
    plait__point_restore(closed);
    plait_cancel_bind(token);
    plait__pool_unreference(pool);
    return 0;
}

/* ---- Figures --------------------------------------------------------------------------- */

int plait_pool_stats(const plait_pool_t *pool, struct plait_pool_stats *stats_out)
{
    struct plait_pool_stats stats = { 0 };
    uint64_t settled, all, begun;

    if (!stats_out)
        return EINVAL;
    settled = load64_relaxed(&pool->settled);
    stats.done = settled + load64_relaxed(&pool->here);
    stats.failed = settled + load64_relaxed(&pool->here_failed);
    for (unsigned i = 0; i < pool->workers; i++) {
        struct plait_pool_worker worker;

        pool->backend->look(pool, i, &worker);
        stats.workers += worker.state != PLAIT_WORKER_NONE;
        stats.busy += worker.state == PLAIT_WORKER_BUSY;
        stats.done += worker.done;
        stats.failed += worker.failed;
    }
    all = submitted(pool);
    begun = stats.done + stats.busy;
    stats.pending = all > begun ? all - begun : 0;
    *stats_out = stats;
    return 0;
}

int plait_pool_worker(const plait_pool_t *pool, unsigned number, struct plait_pool_worker *worker_out)
{
    if (!worker_out || number >= pool->workers)
        return EINVAL;
    pool->backend->look(pool, number, worker_out);
    return 0;
}
