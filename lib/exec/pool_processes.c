/* SPDX-License-Identifier: MIT */
/* Pool on processes: the program's side. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <plait/cancel.h>
#include <plait/queue.h>
#include <plait/thread.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "exec/helper.h"
#include "exec/pool_processes.h"
#include "wait/point.h"

/*
 * How it works
 *
 * An anonymous arena holds the tasks' records (pool_records.c), a line of entries that name records (pool_line.c), arguments
 * and results too large for a record, and a slot for each worker. Workers (pool_worker.c) take entries and claim records by
 * themselves; the program only submits, and waits on a record's word. So a task costs one put, and a wake where somebody
 * sleeps.
 *
 * A task that somebody asks for, or of which more is said than its argument, has a struct of its own in the program, with
 * its future. Any other is bare: the worker gives its record back, and nobody here hears of its end.
 *
 * A supervisor thread sleeps until a worker rings the bell or a process ends, and sees to three things:
 *
 *   finished  Tasks with NOTIFY (somebody has callbacks for, or has dropped, the future) are pushed on a stack in
 *             the arena when DONE. The supervisor takes the whole stack and hands it over, to have callbacks called and
 *             the back-end's reference dropped (pool_delivery.c). Without NOTIFY the dropping of the handle drops both references.
 *   deaths    The dead worker's number is in the word of the task it had claimed: that one fails. A task of its that
 *             is DONE is announced here, unless the stack, which is emptied before, held it. If the worker may
 *             have had an entry in hand, that is put again; claims make a second entry harmless. Whoever died searching for
 *             entries, or waking another, is made up for (plait__line_bury).
 *   restarts  At once; or later, the oftener it has died soon after its start without having had a task.
 *
 * Callbacks are called by another thread, but for want of one by the supervisor, whose thread they may end (pthread_exit) instead of returning.
 * On the way out another one is started, which begins its round afresh: what has been seen to is known by then, and tasks whose
 * callbacks have not been called are in a list of the pool.
 *
 * Closing: a STOP entry for each worker, behind all tasks. Should the last worker leave with tasks still pending,
 * because their entries had been lost and came back behind the STOPs, one more is started for them.
 *
 * Lock: `lock` guards the free records, the line's put side, and the workers; it is never held while a callback runs,
 * nor while a worker is started. A future's lock comes after it.
 */

static struct pool *pool_of(const plait_future_t *future)
{
    return (struct pool *)future->pool;
}

void plait__pool_ring(struct pool *pool)
{
    add_release(&pool->shared->bell, 1);
    plait_wake(&pool->shared->bell, 1, PLAIT_SHARED);
}

int plait__pool_put_entry(struct pool *pool, uint64_t entry, int64_t priority)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int closed = plait__point_close();
    int err = plait__line_put(&pool->line, entry, priority);

    plait__point_restore(closed);
    plait_cancel_bind(token);
    return err;
}

int plait__pool_put_record(struct pool *pool, const struct plait__pool_record *record)
{
    const struct plait__pool_extra *extra = pool->by_priority ? plait__pool_extra(pool->base, record) : NULL;

    return plait__pool_put_entry(pool, plait__entry(plait__offset_in(pool->base, record), record->generation),
                                 extra ? extra->work.priority : 0);
}

/* ---- Its futures ------------------------------------------------------------------------------ */

static const void *result_of(const plait_future_t *future, const struct plait__pool_record *record)
{
    return record->result_offset ? plait__pool_memory(pool_of(future)->base, record->result_offset) : record->payload;
}

static void outcome(plait_future_t *future, struct plait__outcome *outcome_out)
{
    const struct task *task = (const struct task *)future;
    const struct plait__pool_record *record = record_of(task);

    *outcome_out = (struct plait__outcome){ .code = record->code, .text = "" };
    if (record->code == 0) {
        outcome_out->bytes = result_of(future, record);
        outcome_out->size = record->result_size;
    } else if (task->text) {
        outcome_out->text = task->text;
    } else if (record->result_size) {
        outcome_out->text = result_of(future, record);
    }
}

/* The worker may still be at it, if the task was too late: so neither its argument nor what it makes for a result is touched. */
void plait__pool_settle(plait_future_t *future, int code, const char *text)
{
    struct task *task = (struct task *)future;

    record_of(task)->code = code;
    record_of(task)->result_size = 0;
    task->text = strdup(text); /* without memory there is a code and no text */
}

/* NOTIFY was set, so the handle's dropping leaves the back-end's reference to whoever ended the task: to us. */
static void settled(plait_future_t *future, bool notify)
{
    if (notify)
        plait__future_unreference(future);
}

static void abandon(plait_future_t *future)
{
    bool alone = !plait__task_flag(future->word, TASK_NOTIFY) && !(load_acquire(future->word) & TASK_NOTIFY);

    /* Done, and nobody was told to see to it: the back-end's reference is ours as well. */
    if (alone)
        plait__future_unreference(future);
    plait__future_unreference(future);
}

static void reclaim(plait_future_t *future)
{
    struct task *task = (struct task *)future;
    struct plait__pool_record *record = record_of(task);
    struct pool *pool = pool_of(future);

    plait__pool_release(pool->base, &record->arg_offset);
    plait__pool_release(pool->base, &record->result_offset);
    pthread_mutex_lock(&pool->lock);
    plait__pool_give_record(pool, record);
    pthread_mutex_unlock(&pool->lock);
    free(task->text);
    free(task);
}

/* One that runs on, and may be ended for that, is watched from now on. */
static int cancel(plait_future_t *future)
{
    struct pool *pool = pool_of(future);
    struct plait__pool_extra *extra = plait__pool_extra(pool->base, record_of((struct task *)future));
    int err = plait__future_cancel_task(future);

    if (err != EBUSY || !plait__pool_is_guarded(extra) || plait__pool_is_inherited(&pool->front))
        return err;
    if (load64_relaxed(&extra->cancelled) == 0) /* two that cancel it at once store much the same */
        store64_relaxed(&extra->cancelled, (uint64_t)plait_now()); /* relaxed: the bell comes after it */
    plait__pool_ring(pool);
    return err;
}

static const struct plait__future_kind kind = {
    .outcome = outcome,
    .cancel = cancel,
    .settle = plait__pool_settle,
    .abandon = abandon,
    .reclaim = reclaim,
    .settled = settled,
};

/* ---- Submitting ---------------------------------------------------------------------------- */

/* Is there anything to say of it but its argument? */
static bool has_extra(const struct pool *pool, const struct plait__work *work)
{
    return work->count || work->is_packed || work->limit || work->grace || work->retries || (work->priority && pool->by_priority);
}

static int give_block(struct pool *pool, const void *bytes, size_t size, uint64_t *place)
{
    int err = plait__arena_alloc_into(pool->base, size, place);

    if (err == 0)
        memcpy(plait__pool_memory(pool->base, *place), bytes, size);
    return err;
}

/* The payload is also where the outcome goes, so the argument of a task that may be run again, or be too late, is not there. */
static int fill_blocks(struct pool *pool, struct plait__pool_record *record, const void *arg, const struct plait__work *work)
{
    int err = 0;

    if (has_extra(pool, work))
        err = give_block(pool, &(struct plait__pool_extra){ .work = *work }, sizeof(struct plait__pool_extra), &record->extra);
    if (err == 0 && work->arg_size)
        err = give_block(pool, arg, work->arg_size, &record->arg_offset);
    return err;
}

/* With the lock held, but not while memory is filled: write what is to be done. */
static int fill(struct pool *pool, struct plait__pool_record *record, const void *arg, const struct plait__work *work)
{
    int err;

    record->arg_size = work->arg_size;
    record->arg_offset = record->extra = record->result_offset = record->result_size = 0;
    record->code = 0;
    if (work->arg_size <= RECORD_INLINE && !has_extra(pool, work)) {
        if (work->arg_size)
            memcpy(record->payload, arg, work->arg_size);
        return 0;
    }
    pthread_mutex_unlock(&pool->lock);
    err = fill_blocks(pool, record, arg, work);
    pthread_mutex_lock(&pool->lock);
    return err;
}

/* With the lock held: the record, all but the word, with the task as its owner, which is NULL if it is to be bare. */
static int make_record(struct pool *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work, struct task *task,
                       struct plait__pool_record **record_out)
{
    uint64_t function;
    struct plait__pool_record *record;
    int err = plait__pool_name_function(pool, fn, &function);

    if (err == 0)
        err = plait__pool_take_record(pool, &record);
    if (err)
        return err;
    store64_relaxed(&record->function, function); /* relaxed: before PENDING (E1) */
    record->owner = (uintptr_t)task;
    record->is_collected = 0;
    err = fill(pool, record, arg, work);
    if (err == 0 && load_acquire(&pool->front.state) != POOL_RUNNING)
        err = EPIPE;
    if (err) {
        plait__pool_give_record(pool, record);
        return err;
    }
    *record_out = record;
    return 0;
}

/*
 * With the lock held: let workers have it. If the line has no memory: unless a repair has queued it in the meantime, it is
 * as if never submitted.
 */
static int publish(struct pool *pool, struct plait__pool_record *record, uint32_t state)
{
    int err;

    plait__pool_count(&pool->front, 1);
    store_release(&record->word, state); /* E1 */
    err = plait__pool_put_record(pool, record);
    if (!err || !plait__task_claim(&record->word, TASK_CLAIMED_OUTSIDE))
        return 0;
    plait__pool_count(&pool->front, -1);
    plait__pool_give_record(pool, record);
    return err;
}

static int submit(struct plait_pool *front, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                  plait_future_t **future_out)
{
    struct pool *pool = (struct pool *)front;
    bool is_bare = !future_out && !has_extra(pool, work), wants_worker = false;
    struct task *task = is_bare ? NULL : malloc(sizeof *task);
    struct plait__pool_record *record = NULL;
    int err;

    if (!task && !is_bare)
        return ENOMEM;
    pthread_mutex_lock(&pool->lock);
    err = make_record(pool, fn, arg, work, task, &record);
    if (err == 0 && task) {
        task->text = NULL;
        plait__future_begin(&task->future, &kind, front, &record->word, PLAIT_SHARED);
        task->future.references = future_out ? 2 : 1;
    }
    if (err == 0) {
        err = publish(pool, record, future_out || !task ? TASK_PENDING : TASK_PENDING | TASK_NOTIFY);
        if (err && task)
            plait__future_end(&task->future);
    }
    if (err == 0 && future_out)
        *future_out = &task->future;
    if (err == 0)
        wants_worker = plait__pool_wants_worker(pool);
    pthread_mutex_unlock(&pool->lock);
    if (wants_worker)
        plait__pool_ring(pool);
    if (err)
        free(task);
    return err;
}

/* ---- The back-end's calls ------------------------------------------------------------------------ */

static void close_pool(struct plait_pool *front)
{
    struct pool *pool = (struct pool *)front;

    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < front->workers; i++) /* who is started later gets one then */
        if (pool->workers[i].runs || pool->workers[i].restart_at)
            plait__pool_put_stop(pool);
    pthread_mutex_unlock(&pool->lock);
    plait__pool_ring(pool);
}

static void terminate(struct plait_pool *front, bool breaks)
{
    struct pool *pool = (struct pool *)front;

    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < front->workers; i++)
        if (pool->workers[i].runs)
            plait__child_signal(&pool->workers[i].child, SIGKILL);
    store_release(&pool->shared->stop, 1);
    pthread_mutex_unlock(&pool->lock);
    if (breaks)
        plait__pool_end_pending(pool);
    else
        plait__pool_cancel_pending(pool);
    plait__pool_ring(pool);
}

static void hold(struct plait_pool *front, bool held)
{
    struct pool *pool = (struct pool *)front;

    store_release(&pool->shared->paused, held);
    if (!held)
        plait_wake(&pool->shared->paused, UINT_MAX, PLAIT_SHARED);
}

static bool is_held(const struct plait_pool *front)
{
    return load_acquire(&((const struct pool *)front)->shared->paused);
}

static int join(struct plait_pool *front, plait_time_t deadline)
{
    struct pool *pool = (struct pool *)front;
    plait_time_t slice = 0;

    while (!load_acquire(&pool->is_over)) { /* before that, who supervises may change */
        int err = plait__wait_point(&pool->is_over, 0, 0, deadline, &slice);

        if (err)
            return err;
    }
    return plait_thread_join(pool->supervisor, NULL, deadline);
}

static enum plait_worker_state shown_state(uint32_t state)
{
    return state == SLOT_BUSY                                                               ? PLAIT_WORKER_BUSY
           : state == SLOT_IDLE || state == SLOT_PREPARING || state == SLOT_TIDYING ? PLAIT_WORKER_PREPARING
                                                                                            : PLAIT_WORKER_IDLE;
}

/* What the record's task calls, or has called. */
static plait_task_fn *function_at(struct pool *pool, uint64_t record_offset)
{
    const struct plait__pool_record *record = plait__at(pool->base, record_offset);
    const struct plait__pool_function *function = plait__at(pool->base, load64_relaxed(&record->function));

    return (plait_task_fn *)(uintptr_t)function->fn;
}

static void look(const struct plait_pool *front, unsigned number, struct plait_pool_worker *worker_out)
{
    struct pool *pool = (struct pool *)front;
    struct plait__pool_slot *slot = &pool->shared->slots[number];
    struct worker *worker = &pool->workers[number];
    uint32_t state;
    uint64_t offset;

    pthread_mutex_lock(&pool->lock);
    state = load_acquire(&slot->state);
    *worker_out = (struct plait_pool_worker){ .pid = worker->runs ? worker->child.pid : state != SLOT_IDLE ? (pid_t)slot->pid : 0,
                                              .since = (plait_time_t)load64_relaxed(&slot->since),
                                              .done = load64_relaxed(&slot->done), .failed = load64_relaxed(&slot->failed),
                                              .restarts = worker->restarts };
    if (worker->runs || state != SLOT_IDLE) /* it may be at work before the supervisor has heard of its start */
        worker_out->state = shown_state(state);
    offset = load64_acquire(&slot->running);
    if (worker_out->state == PLAIT_WORKER_BUSY && offset)
        worker_out->task = function_at(pool, offset);
    pthread_mutex_unlock(&pool->lock);
}

static uint64_t ended(const struct plait_pool *front)
{
    const struct pool *pool = (const struct pool *)front;
    uint64_t sum = 0;

    for (unsigned i = 0; i < front->workers; i++)
        sum += load64_relaxed(&pool->shared->slots[i].done);
    return sum;
}

static void destroy(struct plait_pool *front)
{
    struct pool *pool = (struct pool *)front;

    plait_thread_free(pool->supervisor);
    plait_thread_free(pool->deliverer);
    plait__pool_free_functions(pool);
    plait__pool_free_again(pool);
    plait_queue_free(pool->again);
    plait_queue_free(pool->queue);
    plait_arena_free(pool->arena);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* What all of it lies in: arena, shared struct, queues. */
static int open_memory(struct pool *pool, const struct plait_pool_opts *opts)
{
    unsigned participants = opts->workers * 2 + 1024;
    size_t shared = sizeof *pool->shared + opts->workers * sizeof pool->shared->slots[0];
    int err = plait_arena_new(&pool->arena, &(struct plait_arena_opts){
                                  .limit = opts->memory + (1 << 20) + (size_t)participants * 256,
                                  .participants = participants });

    if (err)
        return err;
    pool->base = pool->arena->base;
    err = plait_arena_alloc(pool->arena, shared, (void **)&pool->shared);
    if (err)
        return err;
    err = plait_queue_new(&pool->again, &(struct plait_queue_opts){ .item_size = sizeof(uint64_t), .arena = pool->arena });
    if (err)
        return err;
    if (pool->by_priority)
        err = plait_queue_new(&pool->queue, &(struct plait_queue_opts){ .item_size = sizeof(uint64_t), .arena = pool->arena,
                                                                        .kind = PLAIT_PRIORITY });
    if (err)
        return err;
    pool->line = (struct plait__line_end){ .base = pool->base, .line = &pool->shared->line, .by_priority = pool->queue };
    return plait__line_make(&pool->line);
}

/* With the lock held, or while nobody else has the pool. */
static int share_own(struct pool *pool, plait_task_fn *fn, struct plait__pool_function *function_out)
{
    uint64_t function;
    int err = fn ? plait__pool_name_function(pool, fn, &function) : 0;

    if (err == 0 && fn)
        *function_out = *(const struct plait__pool_function *)plait__at(pool->base, function);
    return err;
}

/* What workers begin and end with. */
static int share_setup(struct pool *pool, const struct plait_pool_opts *opts)
{
    const struct plait__pool_setup *setup = &pool->front.setup;
    struct plait__pool_shared *shared = pool->shared;
    void *arg;
    int err;

    shared->tasks_per_worker = opts->tasks_per_worker;
    shared->idle_time = opts->min_workers < opts->workers ? setup->idle_time : 0;
    shared->has_backlog = pool->front.under_way_max != 0;
    err = share_own(pool, setup->initializer, &shared->initializer);
    if (err == 0)
        err = share_own(pool, setup->finalizer, &shared->finalizer);
    if (err || !setup->arg_size)
        return err;
    err = plait_arena_alloc(pool->arena, setup->arg_size, &arg);
    if (err)
        return err;
    memcpy(arg, setup->arg, setup->arg_size);
    shared->init_arg = plait__offset_in(pool->base, arg);
    shared->init_arg_size = setup->arg_size;
    return 0;
}

/* The lock keeps the new one, with which the pool may end, from beginning before we are through with it. */
int plait__pool_start_thread(struct pool *pool, void *(*run)(void *), plait_thread_t **place)
{
    plait_thread_t *thread, *former = *place;
    sigset_t before;
    int err = plait_thread_new(&thread, &(struct plait_thread_opts){ .target = run, .arg = pool, .name = pool->front.name,
                                                                     .daemon = true });

    if (err)
        return err;
    plait__helper_mask(&before);
    pthread_mutex_lock(&pool->lock);
    err = plait_thread_start(thread);
    if (err == 0)
        *place = thread;
    pthread_mutex_unlock(&pool->lock);
    plait__helper_unmask(&before);
    plait_thread_free(err ? thread : former);
    return err;
}

void plait__pool_begin_thread(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static void stop_workers(struct pool *pool)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);

    for (unsigned i = 0; i < pool->front.workers; i++) {
        struct worker *worker = &pool->workers[i];
        if (!worker->runs)
            continue;
        plait__child_signal(&worker->child, SIGKILL);
        plait__child_wait(&worker->child, PLAIT_FOREVER);
        plait__child_drop(&worker->child);
    }
    plait_cancel_bind(token);
}

static int open_pool(const struct plait_pool_opts *opts, const struct plait__pool_setup *setup, struct plait_pool **pool_out)
{
    struct pool *pool = calloc(1, sizeof *pool + opts->workers * sizeof *pool->workers);
    int err;

    if (!pool)
        return ENOMEM;
    plait__pool_begin(&pool->front, &plait__pool_processes, opts, setup);
    pool->by_priority = opts->by_priority;
    pool->min_workers = opts->min_workers;
    pthread_mutex_init(&pool->lock, NULL);
    err = open_memory(pool, opts);
    if (err == 0)
        err = share_setup(pool, opts);
    if (err == 0) {
        pool->front.room = &pool->shared->room;
        pool->front.room_flags = PLAIT_SHARED;
    }
    for (unsigned i = 0; i < opts->min_workers && err == 0; i++)
        err = plait__pool_start_worker(pool, i);
    if (err == 0)
        err = plait__pool_start_thread(pool, plait__pool_supervise, &pool->supervisor);
    if (err) {
        stop_workers(pool);
        destroy(&pool->front);
        return err;
    }
    *pool_out = &pool->front;
    return 0;
}

const struct plait__pool_backend plait__pool_processes = {
    .open = open_pool,
    .submit = submit,
    .close = close_pool,
    .terminate = terminate,
    .hold = hold,
    .is_held = is_held,
    .join = join,
    .look = look,
    .ended = ended,
    .destroy = destroy,
};
