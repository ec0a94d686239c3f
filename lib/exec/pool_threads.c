/* SPDX-License-Identifier: MIT */
/* Pool on threads. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/queue.h>
#include <plait/thread.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "base/fork_epoch.h"
#include "base/tls.h"
#include "exec/helper.h"
#include "exec/pool_backend.h"
#include "wait/point.h"

/*
 * How it works
 *
 * An unbounded queue of pointers to tasks feeds the workers. A task is one block of memory: its future, the outcome and
 * the copy of the argument. The queue's entry is the back-end's reference. The state word decides who runs a task: a worker that
 * got the entry, a worker that waits for the future (help), or nobody, if it was cancelled; an entry whose
 * task is no longer pending is dropped.
 *
 * Workers are daemons with all signals blocked, so that the program's handlers run in threads that it knows.
 */

struct task {
    plait_future_t future;   /* first: the future is the task */
    uint32_t word;           /* atomic: task.h */
    int code;                /* written by the claimer, before DONE */
    void *result;            /* the same: malloc'ed, or NULL */
    size_t result_size;      /* the same */
    char *text;              /* the same: malloc'ed, or NULL */
    plait_task_fn *fn;       /* const */
    struct plait__work work; /* const */
    char arg[] __attribute__((aligned(16)));
};

struct worker {
    struct pool *pool;        /* const */
    plait_thread_t *thread;   /* const after open */
    unsigned number;          /* const */
    uint32_t busy;            /* atomic: tasks that it runs, one in the other */
    uint64_t done, failed;    /* atomic, written by the worker only */
};

struct pool {
    struct plait_pool front;
    plait_queue_t *queue;     /* of struct task * */
    uint32_t stop;            /* atomic: 1: tasks are asked to stop */
    struct worker workers[];
};

static PLAIT_TLS struct worker *current;

static const char terminated[] = "the pool was terminated";

/* ---- Running ------------------------------------------------------------------------------ */

static int give_room(struct plait_task *task, size_t size, void **room_out)
{
    if (task->result == task->context) {
        task->result = NULL;
        task->result_size = 0;
    }
    free(task->context);
    *room_out = task->context = malloc(size);
    return task->context ? 0 : ENOMEM;
}

/* Keep what the function returned; small results lie in the worker's struct until here. */
static void keep_outcome(struct task *task, struct plait_task *ran, int code)
{
    task->code = code;
    if (code == 0 && ran->result == ran->bytes && ran->result_size) {
        size_t size = ran->result_size;
        void *room;
        if (give_room(ran, size, &room) == 0)
            task->result = memcpy(room, ran->bytes, size);
        else
            task->code = ENOMEM;
        task->result_size = task->result ? size : 0;
    } else if (code == 0) {
        task->result = ran->result_size ? ran->result : NULL;
        task->result_size = ran->result_size;
    }
    if (task->result != ran->context)
        free(ran->context);
    if (task->code && ran->text[0])
        task->text = strdup(ran->text);
}

/* Run a task that this worker has claimed. */
static void run(struct worker *worker, struct task *task)
{
    struct plait_task running;
    uint32_t before;

    memset(&running, 0, offsetof(struct plait_task, bytes));
    running.word = &task->word;
    running.stop = &worker->pool->stop;
    running.worker = worker->number;
    running.room = give_room;
    add_relaxed(&worker->busy, 1);
    keep_outcome(task, &running, plait__task_run(&running, task->fn, &task->work, task->arg));
    sub_release(&worker->busy, 1);
    if (task->code)
        store64_relaxed(&worker->failed, worker->failed + 1);
    store64_relaxed(&worker->done, worker->done + 1);
    before = plait__task_done(&task->word);
    if (before & TASK_WAITERS)
        plait_wake(&task->word, UINT_MAX, 0);
    if (before & TASK_NOTIFY)
        plait__future_deliver(&task->future);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct task *task;

    current = worker;
    plait__point_close(); /* for good: the pool counts on its workers */
    plait__pool_enter(&worker->pool->front);
    while (plait_queue_get(worker->pool->queue, &task, PLAIT_FOREVER) == 0) {
        if (load_acquire(&worker->pool->stop))
            plait__future_settle(&task->future, ECANCELED, terminated);
        else if (plait__task_claim(&task->word, worker->number))
            run(worker, task);
        plait__future_unreference(&task->future);
    }
    return NULL;
}

static bool help(plait_future_t *future)
{
    struct task *task = (struct task *)future;

    if (!plait__pool_is_inside(future->pool) || load_acquire(&current->pool->stop) ||
        !plait__task_claim(&task->word, current->number))
        return false;
    run(current, task);
    return true;
}

/* ---- The back-end's calls ------------------------------------------------------------------- */

static int submit(struct plait_pool *front, plait_task_fn *fn, const void *arg, const struct plait__work *work_to_do,
                  plait_future_t **future_out)
{
    struct pool *pool = (struct pool *)front;
    struct task *task;
    size_t size;
    int closed, err;

    if (__builtin_add_overflow(sizeof *task, work_to_do->arg_size, &size))
        return ENOMEM;
    task = malloc(size);
    if (!task)
        return ENOMEM;
    memset(task, 0, sizeof *task);
    plait__future_begin(&task->future, front, &task->word, 0);
    task->fn = fn;
    task->work = *work_to_do;
    if (work_to_do->arg_size)
        memcpy(task->arg, arg, work_to_do->arg_size);
    if (future_out) {
        task->future.references = 2;
        *future_out = &task->future;
    }
    store_release(&task->word, TASK_PENDING); /* E1 */
    closed = plait__point_close();
    err = plait_queue_put(pool->queue, &task, PLAIT_FOREVER);
    plait__point_restore(closed);
    if (err) {
        task->future.references = 1;
        plait__future_unreference(&task->future);
    }
    return err;
}

static void close_pool(struct plait_pool *front)
{
    plait_queue_close(((struct pool *)front)->queue);
}

static void terminate(struct plait_pool *front)
{
    struct pool *pool = (struct pool *)front;
    plait_cancel_t *token = plait_cancel_bind(NULL);
    struct task *task;

    store_release(&pool->stop, 1);
    plait_queue_close(pool->queue);
    while (plait_queue_get(pool->queue, &task, PLAIT_NOW) == 0) {
        plait__future_settle(&task->future, ECANCELED, terminated);
        plait__future_unreference(&task->future);
    }
    plait_cancel_bind(token);
}

static int join(struct plait_pool *front, plait_time_t deadline)
{
    struct pool *pool = (struct pool *)front;
    int err = 0;

    for (unsigned i = 0; i < front->workers && err == 0; i++)
        err = plait_thread_join(pool->workers[i].thread, NULL, deadline);
    return err;
}

static void look(const struct plait_pool *front, unsigned number, struct plait_pool_worker *worker_out,
                 uint64_t *failed_out)
{
    const struct worker *worker = &((const struct pool *)front)->workers[number];

    *worker_out = (struct plait_pool_worker){ .pid = getpid(), .busy = load_relaxed(&worker->busy) > 0,
                                              .done = load64_relaxed(&worker->done) };
    *failed_out = load64_relaxed(&worker->failed);
}

static void destroy(struct plait_pool *front)
{
    struct pool *pool = (struct pool *)front;

    for (unsigned i = 0; i < front->workers; i++)
        plait_thread_free(pool->workers[i].thread);
    plait_queue_free(pool->queue);
    free(pool);
}

static int start_workers(struct pool *pool, unsigned count)
{
    sigset_t before;
    int err = 0;

    plait__helper_mask(&before);
    for (unsigned i = 0; i < count && err == 0; i++) {
        struct worker *worker = &pool->workers[i];
        char name[48];

        *worker = (struct worker){ .pool = pool, .number = i };
        snprintf(name, sizeof name, "%s", pool->front.name);
        err = plait_thread_new(&worker->thread, &(struct plait_thread_opts){
                                   .target = work, .arg = worker, .name = name, .daemon = true });
        if (err == 0)
            err = plait_thread_start(worker->thread);
        if (err)
            plait_thread_free(worker->thread);
        else
            pool->front.workers = i + 1;
    }
    plait__helper_unmask(&before);
    return err;
}

static int open_pool(const struct plait_pool_opts *opts, struct plait_pool **pool_out)
{
    struct pool *pool = calloc(1, sizeof *pool + opts->workers * sizeof *pool->workers);
    int err;

    if (!pool)
        return ENOMEM;
    pool->front.backend = &plait__pool_threads;
    pool->front.references = 1;
    pool->front.epoch = plait__fork_epoch_renew();
    snprintf(pool->front.name, sizeof pool->front.name, "%s", opts->name);
    err = plait_queue_new(&pool->queue, &(struct plait_queue_opts){ .item_size = sizeof(struct task *) });
    if (err) {
        free(pool);
        return err;
    }
    err = start_workers(pool, opts->workers);
    if (err) {
        close_pool(&pool->front);
        join(&pool->front, PLAIT_FOREVER);
        destroy(&pool->front);
        return err;
    }
    *pool_out = &pool->front;
    return 0;
}

/* ---- Its futures ----------------------------------------------------------------------------- */

static void outcome(plait_future_t *future, struct plait__outcome *outcome_out)
{
    const struct task *task = (const struct task *)future;

    *outcome_out = (struct plait__outcome){ task->code, task->text ? task->text : "", task->result,
                                            task->result_size };
}

static void settle(plait_future_t *future, int code, const char *text)
{
    struct task *task = (struct task *)future;

    task->code = code;
    task->text = strdup(text);
}

static void settled(plait_future_t *future, bool notify)
{
    /* The queue's entry still refers to it. */
}

static void reclaim(plait_future_t *future)
{
    struct task *task = (struct task *)future;

    free(task->result);
    free(task->text);
    free(task);
}

const struct plait__pool_backend plait__pool_threads = {
    .open = open_pool,
    .submit = submit,
    .close = close_pool,
    .terminate = terminate,
    .join = join,
    .look = look,
    .destroy = destroy,
    .outcome = outcome,
    .settle = settle,
    .help = help,
    .abandon = plait__future_unreference,
    .reclaim = reclaim,
    .settled = settled,
};
