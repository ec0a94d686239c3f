/* SPDX-License-Identifier: MIT */
/* Pool on threads: watched jobs, which have a future. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "exec/pool_threads.h"

/*
 * How it works
 *
 * The queue's entry of a watched job is the back-end's reference on its future. The state word decides who runs it: a worker that got the
 * entry, a worker that waits for the future (help), or nobody, if it was cancelled; an entry whose task is no longer pending is dropped.
 *
 * Those that are to be run again are in pool_later.c.
 */

static struct watched *watched_of(struct job *job) { return (struct watched *)((char *)job - offsetof(struct watched, job)); }

/* ---- Running ------------------------------------------------------------------------------ */

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
        threads_show(r->worker, r->outer);
        return;
    }
    threads_end_task(r->worker, r->outer, w->kept.code);
    plait__future_finish(&w->kept.future);
}

static void lost_watched(void *running)
{
    struct running *r = running;
    struct watched *w = watched_of(r->job);
    enum threads_fate fate = JOB_OVER;

    plait__kept_settle(&w->kept.future, EOWNERDEAD, THREADS_LEFT);
    if (w->extra)
        fate = plait__threads_fate(r->worker->pool, w, r->worker->number, true);
    let_go(r, fate);
}

/* Run a job that this worker has claimed. */
static void run(struct worker *worker, struct watched *w)
{
    struct running r = { worker, &w->job, threads_show(worker, w->job.fn) };
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

static void run_watched(struct plait__crew_task *node, plait_worker_t *unused)
{
    struct watched *w = watched_of((struct job *)node);
    struct worker *worker = plait__threads_current;
    struct pool *pool = worker->pool;
    bool is_due = plait__threads_take_entry(pool, w);

    pthread_cleanup_push(plait__future_clean_up, &w->kept.future);
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
    struct worker *worker = plait__threads_current;

    if (!plait__pool_is_inside(future->pool) || !worker || load_acquire(&worker->pool->stop) || threads_is_later(w) ||
        !plait__task_claim(&w->kept.word, worker->number))
        return false;
    run(worker, w);
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

/* ---- Submitting, and the opposite ----------------------------------------------------------- */

/* With the argument, and what else is said behind it. */
static struct watched *make_watched(plait_task_fn *fn, const void *arg, const struct plait__work *work)
{
    bool is_plain = threads_is_plain(work);
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

int plait__threads_submit_watched(struct pool *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                                  plait_future_t **future_out)
{
    struct watched *w = make_watched(fn, arg, work);
    int err;

    if (!w)
        return ENOMEM;
    plait__future_begin(&w->kept.future, &kind, &pool->front, &w->kept.word, 0);
    if (future_out) {
        w->kept.future.references = 2;
        *future_out = &w->kept.future;
    }
    store_release(&w->kept.word, TASK_PENDING); /* E1 */
    plait__pool_count(&pool->front, 1);
    err = plait__threads_enqueue(pool, &w->job, work->priority);
    if (err) {
        plait__pool_count(&pool->front, -1);
        w->kept.future.references = 1;
        plait__future_unreference(&w->kept.future);
    }
    return err;
}

void plait__threads_cancel_watched(struct pool *pool, struct job *job)
{
    struct watched *w = watched_of(job);

    plait__threads_take_entry(pool, w);
    pthread_cleanup_push(plait__future_clean_up, &w->kept.future);
    plait__pool_cancel(&pool->front, &w->kept.future);
    pthread_cleanup_pop(1);
}
