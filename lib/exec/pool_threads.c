/* SPDX-License-Identifier: MIT */
/* Pool on threads. */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/tls.h"
#include "exec/pool_threads.h"
#include "wait/point.h"

/*
 * How it works
 *
 * The workers are the threads of a crew (crew.h), which come and go as it sees to; a task is one that is detached there. What
 * they take is the crew's own queue, or where priorities count, a queue by priority of pointers to jobs.
 *
 * A job is one block of memory with a copy of its argument, and there are two kinds. One whose outcome nobody asks for, and of which nothing
 * else is said, is bare: it belongs to the worker that takes it, and its memory goes back to the submitters, many at a
 * time. Any other one is watched: it has a future, and the queue's entry is the back-end's reference on that. The state word then decides
 * who runs it: a worker that got the entry, a worker that waits for the future (help), or nobody, if it was cancelled; an
 * entry whose task is no longer pending is dropped.
 *
 * Those that are to be run again are in pool_later.c.
 *
 * A task may end its thread (pthread_exit) instead of returning. The way out comes by the clean-up handlers of all that this thread runs, the
 * innermost first: each ends its job with EOWNERDEAD. The crew then puts another thread in its place.
 *
 * Workers are daemons with all signals blocked, so that the program's handlers run in threads that it knows.
 */

struct bare {
    struct job job; /* first */
    char arg[] __attribute__((aligned(16)));
};

enum { CREW_DEPTH = 64 };

static PLAIT_TLS struct worker *current;

static struct watched *watched_of(struct job *job) { return (struct watched *)((char *)job - offsetof(struct watched, job)); }

static void run_bare(struct plait__crew_task *node, plait_worker_t *unused);

/* ---- Memory of bare jobs ------------------------------------------------------------------------ */

/* All of it is written without a look at what was there: that lies in another CPU's cache. */
static struct bare *make_bare(struct pool *pool, plait_task_fn *fn, const void *arg, size_t arg_size)
{
    size_t blocks = (sizeof(struct bare) + arg_size + BULK_BLOCK - 1) / BULK_BLOCK;
    struct bare *bare = NULL;

    if (arg_size > JOB_ARG_MAX)
        return NULL;
    if (blocks <= BULK_RUN_MAX)
        bare = plait__bulk_take(&pool->bulk, (unsigned)blocks);
    if (!bare) {
        blocks = 0;
        bare = malloc(sizeof *bare + arg_size);
    }
    if (!bare)
        return NULL;
    bare->job.node.run = run_bare;
    bare->job.fn = fn;
    bare->job.size = arg_size | (uint64_t)blocks << JOB_BLOCKS_SHIFT;
    if (arg_size)
        memcpy(bare->arg, arg, arg_size);
    return bare;
}

/* `back` is the calling thread's. */
static void drop_bare(struct pool *pool, struct plait__bulk_return *back, struct bare *bare)
{
    unsigned blocks = (unsigned)(bare->job.size >> JOB_BLOCKS_SHIFT);

    if (blocks)
        plait__bulk_give(&pool->bulk, back, bare, blocks);
    else
        free(bare);
}

/* ---- Running ------------------------------------------------------------------------------ */

static const char left[] = "the task has ended its thread";

static void date(struct worker *worker)
{
    __atomic_store_n(&worker->since, plait__now_coarse(), __ATOMIC_RELAXED);
}

/* What the worker does from now on, for who looks; returns what it did before. */
static plait_task_fn *show(struct worker *worker, plait_task_fn *fn)
{
    plait_task_fn *before = loadptr_relaxed(&worker->task);

    date(worker);
    storeptr_release(&worker->task, fn);
    return before;
}

/* If nothing follows at once, `rest` sets the date. */
static void end_task(struct worker *worker, plait_task_fn *outer, int code)
{
    if (code)
        store64_relaxed(&worker->failed, worker->failed + 1);
    store64_relaxed(&worker->done, worker->done + 1);
    storeptr_release(&worker->task, outer);
    plait__pool_make_room(&worker->pool->front);
}

static void rest(void *context, unsigned number)
{
    struct pool *pool = context;

    date(&pool->workers[number]);
    plait__bulk_flush(&pool->bulk, &pool->workers[number].back);
}

static void forget_context(void *task)
{
    free(((struct plait_task *)task)->context);
}

/* Call a function of which only the code is wanted; *text_out, of TASK_TEXT bytes, may be NULL. The thread has no cancel token. */
static int call_bare(struct worker *worker, plait_task_fn *fn, const void *arg, size_t arg_size, char *text_out)
{
    static const uint32_t word = TASK_RUNNING;
    struct plait_task task;
    int code;

    plait__task_prepare(&task);
    task.word = &word;
    task.stop = &worker->pool->stop;
    task.worker = worker->number;
    task.room = plait__task_room;
    pthread_cleanup_push(forget_context, &task);
    code = fn(&task, arg, arg_size);
    pthread_cleanup_pop(task.context != NULL);
    if (text_out)
        memcpy(text_out, task.text, TASK_TEXT);
    return code;
}

/* What a thread is in the middle of. */
struct running {
    struct worker *worker;
    struct job *job;
    plait_task_fn *outer;
};

static void lost_bare(void *running)
{
    struct running *r = running;

    end_task(r->worker, r->outer, EOWNERDEAD);
    drop_bare(r->worker->pool, &r->worker->back, (struct bare *)r->job);
}

static void run_bare(struct plait__crew_task *node, plait_worker_t *unused)
{
    struct bare *bare = (struct bare *)node;
    struct worker *worker = current;
    struct pool *pool = worker->pool;

    if (load_acquire(&pool->stop)) {
        add64_relaxed(&pool->front.settled, 1);
    } else {
        struct running r = { worker, &bare->job, show(worker, bare->job.fn) };
        int code;

        pthread_cleanup_push(lost_bare, &r);
        code = call_bare(worker, bare->job.fn, bare->arg, bare->job.size & JOB_ARG_MASK, NULL);
        pthread_cleanup_pop(0);
        end_task(worker, r.outer, code);
    }
    drop_bare(pool, &worker->back, bare);
}

static void call(struct worker *worker, struct watched *w, const struct plait__work *work)
{
    plait__kept_run(&w->kept, w->job.fn, work, w->arg, worker->number, &worker->pool->stop, w->attempt);
}

static void ask_to_stop(plait_timer_t *timer, void *word)
{
    plait__task_flag(word, TASK_LATE);
}

static void end_timer(void *timer)
{
    if (plait_timer_cancel(timer) == EBUSY)
        plait_timer_join(timer, PLAIT_FOREVER);
    plait_timer_fini(timer);
}

static void call_limited(struct worker *worker, struct watched *w)
{
    plait_timer_t timer;
    int err = plait_timer_init(&timer, &(struct plait_timer_opts){ .target = ask_to_stop, .arg = &w->kept.word });

    if (err == 0)
        err = plait_timer_start(&timer, plait_now() + w->extra->work.limit);
    if (err) {
        plait__kept_settle(&w->kept.future, err, "there is no timer for its limit");
        return;
    }
    pthread_cleanup_push(end_timer, &timer);
    call(worker, w, &w->extra->work);
    pthread_cleanup_pop(1);
}

/* A job that has been run is over, or it is no longer the worker's. */
static void let_go(struct running *r, enum threads_fate fate)
{
    struct watched *w = watched_of(r->job);

    if (fate == JOB_LATER) {
        show(r->worker, r->outer);
        return;
    }
    end_task(r->worker, r->outer, w->kept.code);
    plait__future_finish(&w->kept.future);
}

static void lost_watched(void *running)
{
    struct running *r = running;
    struct watched *w = watched_of(r->job);
    enum threads_fate fate = JOB_OVER;

    plait__kept_settle(&w->kept.future, EOWNERDEAD, left);
    if (w->extra)
        fate = plait__threads_fate(r->worker->pool, w, r->worker->number, true);
    let_go(r, fate);
}

/* Run a job that this worker has claimed. */
static void run(struct worker *worker, struct watched *w)
{
    struct running r = { worker, &w->job, show(worker, w->job.fn) };
    enum threads_fate fate;

    pthread_cleanup_push(lost_watched, &r);
    do {
        fate = JOB_OVER;
        if (!w->extra)
            call(worker, w, &(struct plait__work){ .arg_size = w->job.size });
        else if (w->extra->work.limit)
            call_limited(worker, w);
        else
            call(worker, w, &w->extra->work);
        if (w->kept.code && w->extra)
            fate = plait__threads_fate(worker->pool, w, worker->number, false);
    } while (fate == JOB_AGAIN);
    pthread_cleanup_pop(0);
    let_go(&r, fate);
}

static void unreference(void *future)
{
    plait__future_unreference(future);
}

static void run_watched(struct plait__crew_task *node, plait_worker_t *unused)
{
    struct watched *w = watched_of((struct job *)node);
    struct worker *worker = current;
    struct pool *pool = worker->pool;
    bool is_due = plait__threads_take_entry(pool, w);

    pthread_cleanup_push(unreference, &w->kept.future);
    if (is_due)
        plait__threads_await(pool, w);
    if (load_acquire(&pool->stop))
        plait__pool_cancel(&pool->front, &w->kept.future);
    else if (is_due && plait__task_claim(&w->kept.word, worker->number))
        run(worker, w);
    pthread_cleanup_pop(1);
}

static bool help(plait_future_t *future)
{
    struct watched *w = (struct watched *)future;

    if (!plait__pool_is_inside(future->pool) || !current || load_acquire(&current->pool->stop) || threads_is_later(w) ||
        !plait__task_claim(&w->kept.word, current->number))
        return false;
    run(current, w);
    return true;
}

static void quieten(plait_future_t *future)
{
    plait__threads_forget_later((struct watched *)future);
}

static const struct plait__future_kind kind = {
    .outcome = plait__kept_outcome,
    .settle = plait__kept_settle,
    .help = help,
    .quieten = quieten,
    .abandon = plait__future_unreference,
    .reclaim = plait__kept_reclaim,
};

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

/* Bulk memory counts what it gives out; only what it did not is to be counted here. */
static int submit_bare(struct pool *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work)
{
    struct bare *bare = make_bare(pool, fn, arg, work->arg_size);
    struct plait__bulk_return back = { 0 };
    int err;

    if (!bare)
        return ENOMEM;
    if (bare->job.size <= JOB_ARG_MASK)
        plait__pool_count(&pool->front, 1);
    err = plait__threads_enqueue(pool, &bare->job, work->priority);
    if (err == 0)
        return 0;
    drop_bare(pool, &back, bare);
    plait__bulk_flush(&pool->bulk, &back);
    plait__pool_count(&pool->front, -1);
    return err;
}

/* With the argument, and what else is said behind it. */
static struct watched *make_watched(plait_task_fn *fn, const void *arg, const struct plait__work *work, bool is_plain)
{
    size_t align = _Alignof(struct extra), size;
    struct watched *w;

    if (work->arg_size > JOB_ARG_MAX)
        return NULL;
    size = sizeof *w + (is_plain ? 0 : sizeof *w->extra + align) + work->arg_size;
    w = malloc(size);
    if (!w)
        return NULL;
    memset(w, 0, sizeof *w);
    w->job = (struct job){ .node = { .run = run_watched }, .fn = fn, .size = work->arg_size };
    if (work->arg_size)
        memcpy(w->arg, arg, work->arg_size);
    if (!is_plain) {
        w->extra = (struct extra *)(((uintptr_t)w->arg + work->arg_size + align - 1) & ~(uintptr_t)(align - 1));
        memset(w->extra, 0, sizeof *w->extra);
        w->extra->work = *work;
        w->extra->has_entry = true; /* as soon as others can see it */
    }
    return w;
}

static int submit(struct plait_pool *front, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                  plait_future_t **future_out)
{
    bool is_plain = !(work->count || work->is_packed || work->limit || work->retries);
    struct pool *pool = (struct pool *)front;
    struct watched *w;
    int err;

    if (!future_out && is_plain)
        return submit_bare(pool, fn, arg, work);
    w = make_watched(fn, arg, work, is_plain);
    if (!w)
        return ENOMEM;
    plait__future_begin(&w->kept.future, &kind, front, &w->kept.word, 0);
    if (future_out) {
        w->kept.future.references = 2;
        *future_out = &w->kept.future;
    }
    store_release(&w->kept.word, TASK_PENDING); /* E1 */
    plait__pool_count(front, 1);
    err = plait__threads_enqueue(pool, &w->job, work->priority);
    if (err) {
        plait__pool_count(front, -1);
        w->kept.future.references = 1;
        plait__future_unreference(&w->kept.future);
    }
    return err;
}

/* ---- The workers ------------------------------------------------------------------------------- */

static void be_away(void *context)
{
    struct worker *worker = context;

    show(worker, NULL);
    plait__bulk_flush(&worker->pool->bulk, &worker->back);
    store_release(&worker->stage, WORKER_AWAY);
    plait__pool_enter(NULL, 0);
    current = NULL;
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
    plait__pool_enter(NULL, 0);
    current = NULL;
}

static void lost_initializer(void *worker)
{
    show(worker, NULL);
    break_pool(worker, EOWNERDEAD, left);
}

static bool begin_worker(void *context, unsigned number)
{
    struct pool *pool = context;
    struct worker *worker = &pool->workers[number];
    const struct plait__pool_setup *setup = &pool->front.setup;
    char text[TASK_TEXT];
    int code = 0;

    current = worker;
    plait__pool_enter(&pool->front, number);
    store_release(&worker->stage, WORKER_PREPARES);
    if (setup->initializer) {
        plait_task_fn *outer = show(worker, setup->initializer);

        pthread_cleanup_push(lost_initializer, worker);
        code = call_bare(worker, setup->initializer, setup->arg, setup->arg_size, text);
        pthread_cleanup_pop(0);
        show(worker, outer);
    } else {
        show(worker, NULL);
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
        show(worker, setup->finalizer);
        call_bare(worker, setup->finalizer, setup->arg, setup->arg_size, NULL);
    }
    pthread_cleanup_pop(1);
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
    struct watched *w = watched_of(job);

    if (job->node.run == run_bare) {
        add64_relaxed(&pool->front.settled, 1);
        drop_bare(pool, back, (struct bare *)job);
        return;
    }
    plait__threads_take_entry(pool, w);
    plait__pool_cancel(&pool->front, &w->kept.future);
    plait__future_unreference(&w->kept.future);
}

static void terminate(struct plait_pool *front)
{
    struct pool *pool = (struct pool *)front;
    plait_cancel_t *token = plait_cancel_bind(NULL);
    struct plait__bulk_return back = { 0 };
    struct plait__crew_task *node, *next;

    store_release(&pool->stop, 1);
    plait_wake(&pool->stop, UINT_MAX, 0);
    plait__crew_hold(pool->crew, false);
    close_pool(front);
    while (pool->queue && (node = get_urgent(pool)) != NULL)
        cancel_job(pool, (struct job *)node, &back);
    for (node = plait__crew_take_all(pool->crew); node; node = next) {
        next = node->next;
        cancel_job(pool, (struct job *)node, &back);
    }
    plait__bulk_flush(&pool->bulk, &back);
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
