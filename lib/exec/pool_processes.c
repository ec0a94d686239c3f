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
#include "base/fork_epoch.h"
#include "exec/pool_processes.h"
#include "wait/point.h"

/*
 * How it works
 *
 * An anonymous arena holds the tasks' records, a shared queue of entries that name records, arguments and results too
 * large for a record, and a slot for each worker. Workers (pool_worker.c) take entries and claim records by themselves; the
 * program only submits, and waits on a record's word. So a task costs one put, and a wake where somebody sleeps.
 *
 * A supervisor thread sleeps until a worker rings the bell or a process ends, and sees to three things:
 *
 *   finished  Tasks with NOTIFY (somebody has callbacks for, or has dropped, the future) are pushed on a stack in
 *             the arena when DONE. The supervisor takes the whole stack, calls the callbacks and drops
 *             the back-end's reference. Without NOTIFY the dropping of the handle drops both references.
 *   deaths    The dead worker's number is in the word of the task it had claimed: that one fails. A task of its that
 *             is DONE is announced here, unless the stack, which is emptied before, held it. If the worker may
 *             have had an entry in hand, all pending tasks are queued again; claims make the second entry harmless.
 *   restarts  At once, or later the oftener it has died soon after its start.
 *
 * Closing: a STOP entry for each worker, behind all tasks. Should the last worker leave with tasks still pending,
 * because their entries had been lost and came back behind the STOPs, one more is started for them.
 *
 * Lock: `lock` guards the list of tasks, the free records and the workers; it is never held while a callback runs,
 * nor while a worker is started. A future's lock comes after it.
 */

enum { SLAB = 64 };

static struct pool *pool_of(const plait_future_t *future)
{
    return (struct pool *)future->pool;
}

void plait__pool_ring(struct pool *pool)
{
    add_release(&pool->shared->bell, 1);
    plait_wake(&pool->shared->bell, 1, PLAIT_SHARED);
}

/* Put an entry into the queue. The token of the caller does not concern it. */
int plait__pool_put_entry(struct pool *pool, uint64_t entry)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int closed = plait__point_close();
    int err = plait_queue_put(pool->queue, &entry, PLAIT_FOREVER);

    plait__point_restore(closed);
    plait_cancel_bind(token);
    return err;
}

int plait__pool_put_record(struct pool *pool, const struct plait__pool_record *record)
{
    return plait__pool_put_entry(pool, plait__entry(plait__offset_in(pool->base, record), record->generation));
}

/* ---- Submitting ---------------------------------------------------------------------------- */

/* The module in the arena, put there when it is first used. With the lock held. */
static int share_module(struct pool *pool, const struct plait__module *wanted, uint64_t *offset_out)
{
    struct module *module;
    int err;

    for (module = pool->modules; module; module = module->next)
        if (memcmp(module->shared, wanted, sizeof *wanted) == 0)
            break;
    if (!module) {
        module = malloc(sizeof *module);
        if (!module)
            return ENOMEM;
        err = plait_arena_alloc(pool->arena, sizeof *wanted, (void **)&module->shared);
        if (err) {
            free(module);
            return err;
        }
        *module->shared = *wanted;
        module->next = pool->modules;
        pool->modules = module;
    }
    *offset_out = plait__offset_in(pool->base, module->shared);
    return 0;
}

/* With the lock held: name the function in the record. */
static int name_function(struct pool *pool, plait_task_fn *fn, struct plait__pool_record *record)
{
    size_t place = (uintptr_t)fn / 16 % CACHED_FUNCTIONS;
    uint64_t generation = plait__modules_generation();
    struct plait__function function;
    int err;

    if (pool->functions[place].fn != fn || pool->functions[place].generation != generation) {
        err = plait__function_of((const void *)(uintptr_t)fn, &function);
        if (err == 0)
            err = share_module(pool, &function.module, &pool->functions[place].module);
        if (err) {
            pool->functions[place].fn = NULL;
            return err;
        }
        pool->functions[place].fn = fn;
        pool->functions[place].generation = generation;
        pool->functions[place].function = function.offset;
    }
    record->module = pool->functions[place].module;
    record->function = pool->functions[place].function;
    return 0;
}

/* With the lock held. */
static void give_record(struct pool *pool, struct plait__pool_record *record)
{
    store_release(&record->word, TASK_FREE);
    store_release(&record->generation, (record->generation + 1) & GENERATION_MASK);
    record->next = pool->free_records ? plait__offset_in(pool->base, pool->free_records) : 0;
    pool->free_records = record;
}

/* With the lock held. */
static int take_record(struct pool *pool, struct plait__pool_record **record_out)
{
    struct plait__pool_record *slab;
    int err;

    if (!pool->free_records) {
        err = plait_arena_alloc(pool->arena, SLAB * sizeof *slab, (void **)&slab);
        if (err)
            return err;
        for (int i = SLAB - 1; i >= 0; i--)
            give_record(pool, &slab[i]);
    }
    *record_out = pool->free_records;
    pool->free_records = (*record_out)->next ? plait__at(pool->base, (*record_out)->next) : NULL;
    return 0;
}

static int fill_argument(struct pool *pool, struct plait__pool_record *record, const void *arg, size_t size)
{
    int err;

    record->arg_offset = 0;
    if (size > TASK_INLINE) {
        err = plait__arena_alloc_into(pool->base, size, &record->arg_offset);
        if (err)
            return err;
        memcpy(plait__pool_memory(pool->base, record->arg_offset), arg, size);
    } else if (size) {
        memcpy(record->payload, arg, size);
    }
    return 0;
}

/* With the lock held. */
static void enlist(struct pool *pool, struct task *task)
{
    task->next = pool->tasks;
    task->link = &pool->tasks;
    if (pool->tasks)
        pool->tasks->link = &task->next;
    pool->tasks = task;
}

/* With the lock held. */
static void delist(struct task *task)
{
    *task->link = task->next;
    if (task->next)
        task->next->link = task->link;
}

static int submit(struct plait_pool *front, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                  plait_future_t **future_out)
{
    struct pool *pool = (struct pool *)front;
    struct plait__pool_record *record;
    struct task *task = calloc(1, sizeof *task);
    int err;

    if (!task)
        return ENOMEM;
    pthread_mutex_lock(&pool->lock);
    err = take_record(pool, &record);
    if (err)
        goto task;
    err = name_function(pool, fn, record);
    pthread_mutex_unlock(&pool->lock);
    record->work = *work;
    if (err == 0)
        err = fill_argument(pool, record, arg, work->arg_size);
    record->result_offset = 0;
    record->result_size = 0;
    record->code = 0;
    record->owner = (uintptr_t)task;
    task->record = record;
    plait__future_begin(&task->future, front, &record->word, PLAIT_SHARED);
    task->future.references = future_out ? 2 : 1;

    pthread_mutex_lock(&pool->lock);
    if (err == 0 && load_acquire(&front->state) != POOL_RUNNING)
        err = EPIPE;
    if (err)
        goto record;
    enlist(pool, task);
    store_release(&record->word, future_out ? TASK_PENDING : TASK_PENDING | TASK_NOTIFY); /* E1 */
    err = plait__pool_put_record(pool, record);
    /* If the queue has no memory: unless a repair has queued it in the meantime, it is as if never submitted. */
    if (err && plait__task_claim(&record->word, TASK_CLAIMED_OUTSIDE)) {
        delist(task);
        goto record;
    }
    if (future_out)
        *future_out = &task->future;
    pthread_mutex_unlock(&pool->lock);
    return 0;

record:
    plait__pool_release(pool->base, &record->arg_offset);
    give_record(pool, record);
    pthread_mutex_destroy(&task->future.lock);
    sub_acqrel(&front->references, 1); /* not the last: the caller has the handle */
task:
    pthread_mutex_unlock(&pool->lock);
    free(task);
    return err;
}

/* ---- Its futures ------------------------------------------------------------------------------ */

static void outcome(plait_future_t *future, struct plait__outcome *outcome_out)
{
    const struct plait__pool_record *record = ((const struct task *)future)->record;

    outcome_out->code = record->code;
    outcome_out->text = record->code ? record->payload : "";
    outcome_out->size = record->code ? 0 : record->result_size;
    outcome_out->bytes = record->code ? NULL
                         : record->result_offset ? plait__pool_memory(pool_of(future)->base, record->result_offset)
                                                 : record->payload;
}

void plait__pool_settle(plait_future_t *future, int code, const char *text)
{
    struct plait__pool_record *record = ((struct task *)future)->record;

    record->code = code;
    snprintf(record->payload, TASK_TEXT, "%s", text);
}

/* NOTIFY was set, so the handle's dropping leaves the back-end's reference to whoever ended the task: to us. */
static void settled(plait_future_t *future, bool notify)
{
    if (notify)
        plait__future_unreference(future);
}

static bool help(plait_future_t *future)
{
    return false;
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
    struct pool *pool = pool_of(future);

    plait__pool_release(pool->base, &task->record->arg_offset);
    plait__pool_release(pool->base, &task->record->result_offset);
    pthread_mutex_lock(&pool->lock);
    delist(task);
    give_record(pool, task->record);
    pthread_mutex_unlock(&pool->lock);
    free(task);
}

/* ---- The back-end's calls ------------------------------------------------------------------------ */

static void close_pool(struct plait_pool *front)
{
    struct pool *pool = (struct pool *)front;

    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < front->workers; i++)
        plait__pool_put_entry(pool, ENTRY_STOP);
    pthread_mutex_unlock(&pool->lock);
    plait__pool_ring(pool);
}

/* With the lock held: all pending tasks, each with a reference. */
static struct task *hold_pending(struct pool *pool)
{
    struct task *held = NULL;

    for (struct task *task = pool->tasks; task; task = task->next) {
        if ((load_relaxed(&task->record->word) & TASK_STATUS) != TASK_PENDING)
            continue;
        add_relaxed(&task->future.references, 1);
        task->next_held = held;
        held = task;
    }
    return held;
}

static void terminate(struct plait_pool *front)
{
    struct pool *pool = (struct pool *)front;
    struct task *held, *next;

    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < front->workers; i++)
        if (pool->workers[i].runs)
            plait__child_signal(&pool->workers[i].child, SIGKILL);
    store_release(&pool->shared->stop, 1);
    held = hold_pending(pool);
    pthread_mutex_unlock(&pool->lock);
    for (; held; held = next) {
        next = held->next_held;
        plait__future_settle(&held->future, ECANCELED, "the pool was terminated");
        plait__future_unreference(&held->future);
    }
    plait__pool_ring(pool);
}

static int join(struct plait_pool *front, plait_time_t deadline)
{
    return plait_thread_join(((struct pool *)front)->supervisor, NULL, deadline);
}

static void look(const struct plait_pool *front, unsigned number, struct plait_pool_worker *worker_out,
                 uint64_t *failed_out)
{
    struct pool *pool = (struct pool *)front;
    struct plait__pool_slot *slot = &pool->shared->slots[number];
    struct worker *worker = &pool->workers[number];

    pthread_mutex_lock(&pool->lock);
    *worker_out = (struct plait_pool_worker){ .pid = worker->runs ? worker->child.pid : 0,
                                              .busy = load_acquire(&slot->state) == SLOT_BUSY,
                                              .done = load64_relaxed(&slot->done), .restarts = worker->restarts };
    *failed_out = load64_relaxed(&slot->failed);
    pthread_mutex_unlock(&pool->lock);
}

static void destroy(struct plait_pool *front)
{
    struct pool *pool = (struct pool *)front;

    plait_thread_free(pool->supervisor);
    for (struct module *module; (module = pool->modules) != NULL;) {
        pool->modules = module->next;
        free(module);
    }
    plait_queue_free(pool->queue);
    plait_arena_free(pool->arena);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* What all of it lies in: arena, shared struct, queue. */
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
    return plait_queue_new(&pool->queue,
                           &(struct plait_queue_opts){ .item_size = sizeof(uint64_t), .arena = pool->arena });
}

static int start_supervisor(struct pool *pool)
{
    sigset_t all, before;
    int err = plait_thread_new(&pool->supervisor, &(struct plait_thread_opts){
                                   .target = plait__pool_supervise, .arg = pool, .name = pool->front.name, .daemon = true });

    if (err)
        return err;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = plait_thread_start(pool->supervisor);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
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

static int open_pool(const struct plait_pool_opts *opts, struct plait_pool **pool_out)
{
    struct pool *pool = calloc(1, sizeof *pool + opts->workers * sizeof *pool->workers);
    int err;

    if (!pool)
        return ENOMEM;
    pool->front.backend = &plait__pool_processes;
    pool->front.references = 1;
    pool->front.workers = opts->workers;
    pool->front.epoch = plait__fork_epoch_renew();
    snprintf(pool->front.name, sizeof pool->front.name, "%s", opts->name);
    pthread_mutex_init(&pool->lock, NULL);
    err = open_memory(pool, opts);
    for (unsigned i = 0; i < opts->workers && err == 0; i++)
        err = plait__pool_start_worker(pool, i);
    if (err == 0)
        err = start_supervisor(pool);
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
    .join = join,
    .look = look,
    .destroy = destroy,
    .outcome = outcome,
    .settle = plait__pool_settle,
    .help = help,
    .abandon = abandon,
    .reclaim = reclaim,
    .settled = settled,
};
