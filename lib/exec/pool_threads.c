/* SPDX-License-Identifier: MIT */
/* Pool on threads: its workers, and the back-end's calls. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "exec/pool_threads.h"
#include "wait/point.h"

/*
 * How it works
 *
 * The workers are the threads of a crew (crew.h), which come and go as it sees to; a task is one that is detached there. What
 * they take is the crew's own queue, or where priorities count, a queue by priority of pointers to jobs.
 *
 * A job is one block of memory with a copy of its argument, and there are two kinds. One whose outcome nobody asks for, and of which
 * nothing else is said, is bare (pool_bare.c). Any other one is watched: it has a future (pool_watched.c).
 *
 * A task may end its thread (pthread_exit) instead of returning. The way out comes by the clean-up handlers of all that this thread runs, the
 * innermost first: each ends its job with EOWNERDEAD. The crew then puts another thread in its place.
 *
 * Workers are daemons with all signals blocked, so that the program's handlers run in threads that it knows.
 */

enum { CREW_DEPTH = 64 };

PLAIT_TLS struct worker *plait__threads_current;

/* ---- Submitting ----------------------------------------------------------------------------- */

int plait__threads_enqueue(struct pool *pool, struct job *job, int64_t priority)
{
    int closed, err;

    if (!pool->queue)
        return plait__crew_submit(pool->crew, &job->node) ? 0 : EPIPE;
    closed = plait__point_close();
    err = plait_queue_put_priority(pool->queue, &job, priority, PLAIT_FOREVER);
    plait__point_restore(closed);
    if (err == 0) {
        __atomic_fetch_add(&pool->crew->idle, 0, __ATOMIC_SEQ_CST); /* crew_idle.c: E1 */
        plait__crew_notify(pool->crew);
    }
    return err;
}

static int submit(struct plait_pool *front, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                  plait_future_t **future_out)
{
    struct pool *pool = (struct pool *)front;

    return future_out || !threads_is_plain(work) ? plait__threads_submit_watched(pool, fn, arg, work, future_out)
                                                 : plait__threads_submit_bare(pool, fn, arg, work);
}

/* ---- The workers ------------------------------------------------------------------------------- */

static void be_away(void *context)
{
    struct worker *worker = context;

    threads_show(worker, NULL);
    plait__bulk_flush(&worker->pool->bulk, &worker->back);
    store_release(&worker->stage, WORKER_AWAY);
    plait__pool_enter(NULL, POOL_WORKS, 0);
    plait__threads_current = NULL;
}

static void lose_worker(void *context, unsigned number)
{
    struct worker *worker = &((struct pool *)context)->workers[number];

    store_relaxed(&worker->restarts, worker->restarts + 1);
    be_away(worker);
}

/* Nobody can work here; `text` says why. */
static void break_pool(struct worker *worker, int code, const char *text)
{
    store_release(&worker->stage, WORKER_AWAY);
    plait__pool_break(&worker->pool->front, worker->number, code, text); /* still inside: a callback may try to free the pool */
    plait__pool_enter(NULL, POOL_WORKS, 0);
    plait__threads_current = NULL;
}

static void lost_initializer(void *worker)
{
    threads_show(worker, NULL);
    break_pool(worker, EOWNERDEAD, THREADS_LEFT);
}

static bool begin_worker(void *context, unsigned number)
{
    struct pool *pool = context;
    struct worker *worker = &pool->workers[number];
    const struct plait__pool_setup *setup = &pool->front.setup;
    char text[TASK_TEXT];
    int code = 0;

    plait__threads_current = worker;
    plait__pool_enter(&pool->front, POOL_WORKS, number);
    store_release(&worker->stage, WORKER_PREPARES);
    if (setup->initializer) {
        plait_task_fn *outer = threads_show(worker, setup->initializer);

        pthread_cleanup_push(lost_initializer, worker);
        code = plait__threads_call(worker, setup->initializer, setup->arg, setup->arg_size, text);
        pthread_cleanup_pop(0);
        threads_show(worker, outer);
    } else {
        threads_show(worker, NULL);
    }
    if (code) {
        break_pool(worker, code, text);
        return false;
    }
    store_release(&worker->stage, WORKER_SERVES);
    return true;
}

static void end_worker(void *context, unsigned number)
{
    struct pool *pool = context;
    struct worker *worker = &pool->workers[number];
    const struct plait__pool_setup *setup = &pool->front.setup;

    pthread_cleanup_push(be_away, worker);
    if (setup->finalizer) {
        store_release(&worker->stage, WORKER_PREPARES);
        threads_show(worker, setup->finalizer);
        plait__threads_call(worker, setup->finalizer, setup->arg, setup->arg_size, NULL);
    }
    pthread_cleanup_pop(1);
}

static void rest(void *context, unsigned number)
{
    struct pool *pool = context;

    threads_date(&pool->workers[number]);
    plait__bulk_flush(&pool->bulk, &pool->workers[number].back);
}

/* Are there more tasks than workers? */
static bool wants_more(void *context, unsigned serving)
{
    return plait__pool_under_way(context) > serving;
}

static struct plait__crew_task *get_urgent(void *context)
{
    struct pool *pool = context;
    struct job *job;

    return plait_queue_get(pool->queue, &job, PLAIT_NOW) == 0 ? &job->node : NULL;
}

static bool has_urgent(void *context)
{
    struct pool *pool = context;

    return plait_queue_qsize(pool->queue) > 0;
}

/* ---- The back-end's calls ------------------------------------------------------------------- */

static void close_pool(struct plait_pool *front)
{
    struct pool *pool = (struct pool *)front;

    plait__threads_close_later(pool);
    if (pool->queue)
        plait_queue_close(pool->queue);
    plait__crew_close(pool->crew);
}

static void cancel_job(struct pool *pool, struct job *job, struct plait__bulk_return *back)
{
    if (!plait__threads_cancel_bare(pool, job, back))
        plait__threads_cancel_watched(pool, job);
}

/* What is taken out of the queues to be cancelled. */
struct rest {
    struct pool *pool;
    struct plait__crew_task *next; /* in a chain */
    struct plait__bulk_return back;
};

static struct plait__crew_task *take_of_rest(struct rest *rest)
{
    struct plait__crew_task *node = rest->next;

    if (!node)
        return rest->pool->queue ? get_urgent(rest->pool) : NULL;
    rest->next = node->next;
    return node;
}

/* A callback that ends the thread comes here again: the others are cancelled all the same. */
static void cancel_rest(void *arg)
{
    struct rest *rest = arg;
    struct plait__crew_task *node;

    while ((node = take_of_rest(rest)) != NULL) {
        pthread_cleanup_push(cancel_rest, rest);
        cancel_job(rest->pool, (struct job *)node, &rest->back);
        pthread_cleanup_pop(0);
    }
    plait__bulk_flush(&rest->pool->bulk, &rest->back);
}

static void terminate(struct plait_pool *front, bool breaks)
{
    struct pool *pool = (struct pool *)front;
    plait_cancel_t *token = plait_cancel_bind(NULL);
    struct rest rest = { .pool = pool };

    store_release(&pool->stop, 1);
    plait_wake(&pool->stop, UINT_MAX, 0);
    plait__crew_hold(pool->crew, false);
    close_pool(front);
    rest.next = plait__crew_take_all(pool->crew);
    cancel_rest(&rest);
    plait_cancel_bind(token);
}

static void hold(struct plait_pool *front, bool held)
{
    plait__crew_hold(((struct pool *)front)->crew, held);
}

static bool is_held(const struct plait_pool *front)
{
    return load_acquire(&((const struct pool *)front)->crew->held);
}

static int join(struct plait_pool *front, plait_time_t deadline)
{
    return plait__crew_join(((struct pool *)front)->crew, deadline);
}

static void look(const struct plait_pool *front, unsigned number, struct plait_pool_worker *worker_out)
{
    const struct worker *worker = &((const struct pool *)front)->workers[number];
    uint32_t stage;

    *worker_out = (struct plait_pool_worker){
        .task = loadptr_acquire(&worker->task),
        .since = __atomic_load_n(&worker->since, __ATOMIC_RELAXED),
        .done = load64_relaxed(&worker->done),
        .failed = load64_relaxed(&worker->failed),
        .restarts = load_relaxed(&worker->restarts),
    };
    stage = load_acquire(&worker->stage);
    if (stage == WORKER_AWAY)
        return;
    worker_out->pid = getpid();
    worker_out->state = stage == WORKER_PREPARES ? PLAIT_WORKER_PREPARING
                        : worker_out->task       ? PLAIT_WORKER_BUSY
                                                 : PLAIT_WORKER_IDLE;
}

static uint64_t uncounted(const struct plait_pool *front)
{
    return load64_relaxed(&((const struct pool *)front)->bulk.taken);
}

static uint64_t ended(const struct plait_pool *front)
{
    const struct pool *pool = (const struct pool *)front;
    uint64_t sum = 0;

    for (unsigned i = 0; i < front->workers; i++)
        sum += load64_relaxed(&pool->workers[i].done);
    return sum;
}

static void destroy(struct plait_pool *front)
{
    struct pool *pool = (struct pool *)front;

    if (pool->crew)
        plait__crew_destroy(pool->crew);
    plait_queue_free(pool->queue);
    plait__bulk_free(&pool->bulk);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static int open_pool(const struct plait_pool_opts *opts, const struct plait__pool_setup *setup, struct plait_pool **pool_out)
{
    struct plait__crew_life life = { .at_least = opts->min_workers, .idle_time = setup->idle_time,
                                     .tasks = opts->tasks_per_worker, .begin = begin_worker, .end = end_worker,
                                     .lost = lose_worker, .wants = wants_more, .rest = rest };
    size_t size = (sizeof(struct pool) + opts->workers * sizeof(struct worker) + 63) & ~(size_t)63;
    struct pool *pool = aligned_alloc(64, size);
    int err = 0;

    if (!pool)
        return ENOMEM;
    memset(pool, 0, size);
    plait__pool_begin(&pool->front, &plait__pool_threads, opts, setup);
    pthread_mutex_init(&pool->lock, NULL);
    for (unsigned i = 0; i < opts->workers; i++) {
        pool->workers[i].pool = pool;
        pool->workers[i].number = i;
    }
    life.context = pool;
    if (opts->by_priority) {
        life.get = get_urgent;
        life.has = has_urgent;
        err = plait_queue_new(&pool->queue, &(struct plait_queue_opts){ .item_size = sizeof(struct job *), .kind = PLAIT_PRIORITY });
    }
    if (err == 0)
        err = plait__crew_open(&pool->crew, &(struct plait_crew_opts){ .depth = CREW_DEPTH, .name = pool->front.name },
                               opts->workers, &life);
    if (err) {
        destroy(&pool->front);
        return err;
    }
    *pool_out = &pool->front;
    return 0;
}

const struct plait__pool_backend plait__pool_threads = {
    .open = open_pool,
    .submit = submit,
    .close = close_pool,
    .terminate = terminate,
    .hold = hold,
    .is_held = is_held,
    .join = join,
    .look = look,
    .ended = ended,
    .uncounted = uncounted,
    .destroy = destroy,
};
