/* SPDX-License-Identifier: MIT */
/* Pool on processes: the supervisor. How it works is told in pool_processes.c. */
#include "exec/pool_processes.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <plait/wait.h>

#include "base/atomic.h"
#include "base/clock.h"

#define LOOK_EVERY (800 * PLAIT__MILLISECOND)
#define LIVES_LONG PLAIT__SECOND
#define BACK_OFF_MIN (10 * PLAIT__MILLISECOND)
#define BACK_OFF_MAX (5 * PLAIT__SECOND)

/* ---- The supervisor: finished tasks ------------------------------------------------------------ */

/* With the lock held: note that the task's callbacks are to be called and its reference to be dropped. */
static void make_due(struct task *task, struct task **due)
{
    if (task->collected)
        return;
    task->collected = true;
    task->next_due = *due;
    *due = task;
}

static void deliver(struct task *due)
{
    while (due) {
        struct task *next = due->next_due;
        plait__future_deliver(&due->future);
        plait__future_unreference(&due->future);
        due = next;
    }
}

/* Take what the workers have announced. The stack gives the last first, so it is turned round here. */
static void collect_finished(struct pool *pool)
{
    uint64_t offset = load64_acquire(&pool->shared->finished);
    struct task *due = NULL;

    while (offset && !casptr_acqrel(&pool->shared->finished, &offset, 0))
        ;
    if (!offset)
        return;
    pthread_mutex_lock(&pool->lock);
    while (offset) {
        struct plait__pool_record *record = plait__at(pool->base, offset);
        offset = record->next;
        make_due((struct task *)(uintptr_t)record->owner, &due);
    }
    pthread_mutex_unlock(&pool->lock);
    deliver(due);
}

/* ---- The supervisor: deaths -------------------------------------------------------------------- */

static void describe_end(char text[TASK_TEXT], const struct worker *worker, enum plait__child_state state, int status)
{
    int pid = (int)worker->child.pid;

    if (state == PLAIT__CHILD_LOST)
        snprintf(text, TASK_TEXT, "worker %d was lost with the nursery", pid);
    else if (WIFSIGNALED(status))
        snprintf(text, TASK_TEXT, "worker %d was killed by signal %d (%s)", pid, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(text, TASK_TEXT, "worker %d exited with status %d", pid, WEXITSTATUS(status));
}

/* With the lock held: queue all pending tasks again, oldest first. */
static void put_pending_again(struct pool *pool)
{
    struct task *last = pool->tasks;

    while (last && last->next)
        last = last->next;
    for (struct task *task = last; task;) {
        if ((load_relaxed(&task->record->word) & TASK_STATUS) == TASK_PENDING)
            plait__pool_put_record(pool, task->record);
        if (task->link == &pool->tasks)
            break;
        task = (struct task *)((char *)task->link - offsetof(struct task, next));
    }
}

/* With the lock held: one task that the dead worker number `number` may have had. */
static void see_to_task(struct pool *pool, struct task *task, uint32_t number, const char *text, struct task **due)
{
    uint32_t *word = &task->record->word;
    uint32_t seen = load_acquire(word); /* E2 */

    if (seen >> TASK_WORKER_SHIFT != number || (seen & TASK_STATUS) < TASK_RUNNING)
        return;
    if ((seen & TASK_STATUS) == TASK_RUNNING) {
        bool terminated = load_acquire(&pool->front.state) == POOL_TERMINATED;
        plait__pool_settle(&task->future, terminated ? ECANCELED : EOWNERDEAD, terminated ? "the pool was terminated" : text);
        add64_relaxed(&pool->front.settled, 1);
        seen = plait__task_done(word);
    }
    if (seen & TASK_WAITERS)
        plait_wake(word, UINT_MAX, PLAIT_SHARED);
    if (seen & TASK_NOTIFY)
        make_due(task, due);
}

/* A worker has ended. */
static void bury(struct pool *pool, uint32_t number, enum plait__child_state state, int status)
{
    struct worker *worker = &pool->workers[number];
    struct plait__pool_slot *slot = &pool->shared->slots[number];
    uint32_t slot_state = load_acquire(&slot->state);
    struct task *due = NULL;
    char text[TASK_TEXT];
    plait_time_t now = plait_now();

    collect_finished(pool);
    describe_end(text, worker, state, status);
    pthread_mutex_lock(&pool->lock);
    for (struct task *task = pool->tasks; task; task = task->next)
        see_to_task(pool, task, number, text, &due);
    if (slot_state == SLOT_TAKING && load_acquire(&pool->front.state) != POOL_TERMINATED)
        put_pending_again(pool);
    store_release(&slot->state, SLOT_IDLE);
    worker->runs = false;
    if (slot_state != SLOT_LEFT && load_acquire(&pool->front.state) != POOL_TERMINATED) {
        bool soon = now - worker->started < LIVES_LONG;
        /* The first early death is taken for an accident. */
        worker->restart_at = soon && worker->back_off ? now + worker->back_off : now;
        worker->back_off = !soon                                  ? 0
                           : !worker->back_off                    ? BACK_OFF_MIN
                           : worker->back_off * 2 < BACK_OFF_MAX ? worker->back_off * 2
                                                                  : BACK_OFF_MAX;
        if (load_acquire(&pool->front.state) == POOL_CLOSED)
            plait__pool_put_entry(pool, ENTRY_STOP);
    }
    pthread_mutex_unlock(&pool->lock);
    plait__child_drop(&worker->child);
    deliver(due);
}

static void look_for_deaths(struct pool *pool)
{
    for (unsigned i = 0; i < pool->front.workers; i++) {
        int status = 0;
        enum plait__child_state state;

        if (!pool->workers[i].runs)
            continue;
        state = plait__child_state(&pool->workers[i].child, &status);
        if (state != PLAIT__CHILD_RUNS)
            bury(pool, i, state, status);
    }
}

/* ---- The supervisor: workers -------------------------------------------------------------------- */

int plait__pool_start_worker(struct pool *pool, uint32_t number)
{
    struct worker *worker = &pool->workers[number];
    struct plait__pool_worker_arg arg = { .shared = plait__offset_in(pool->base, pool->shared), .number = number };
    struct plait__child child;
    int err;

    plait_queue_ref(pool->queue, &arg.queue);
    err = plait__child_start(&(struct plait__spawn){ .target = plait__pool_worker_main, .arg = &arg,
                                                     .arg_size = sizeof arg, .name = pool->front.name, .daemon = true,
                                                     .ignores_interrupt = true, .carry_fd = plait__arena_fd(pool->arena) },
                             &child);
    if (err)
        return err;
    pthread_mutex_lock(&pool->lock);
    worker->child = child;
    worker->runs = true;
    worker->restarts += worker->started != 0;
    worker->started = plait_now();
    worker->restart_at = 0;
    if (load_acquire(&pool->front.state) == POOL_TERMINATED)
        plait__child_signal(&child, SIGKILL);
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

/* Start those whose time has come; returns when the next one's does. */
static plait_time_t restart_due(struct pool *pool)
{
    plait_time_t next = PLAIT_FOREVER;

    for (unsigned i = 0; i < pool->front.workers; i++) {
        struct worker *worker = &pool->workers[i];

        if (worker->runs || !worker->restart_at)
            continue;
        if (load_acquire(&pool->front.state) == POOL_TERMINATED) {
            worker->restart_at = 0;
            continue;
        }
        if (worker->restart_at <= plait_now()) {
            if (plait__pool_start_worker(pool, i) == 0)
                continue;
            worker->restart_at = plait_now() + PLAIT__SECOND / 2;
        }
        if (worker->restart_at < next)
            next = worker->restart_at;
    }
    return next;
}

/* Is nothing left to supervise? If tasks are pending without a worker, have one started. */
static bool is_over(struct pool *pool)
{
    bool over = load_acquire(&pool->front.state) != POOL_RUNNING;

    for (unsigned i = 0; i < pool->front.workers && over; i++)
        over = !pool->workers[i].runs && !pool->workers[i].restart_at;
    if (!over || load_acquire(&pool->front.state) == POOL_TERMINATED)
        return over;
    pthread_mutex_lock(&pool->lock);
    for (struct task *task = pool->tasks; task && over; task = task->next)
        over = (load_relaxed(&task->record->word) & TASK_STATUS) != TASK_PENDING;
    if (!over) {
        put_pending_again(pool);
        plait__pool_put_entry(pool, ENTRY_STOP);
        pool->workers[0].restart_at = plait_now();
    }
    pthread_mutex_unlock(&pool->lock);
    return over;
}

static const uint32_t *ends_word(struct pool *pool)
{
    for (unsigned i = 0; i < pool->front.workers; i++)
        if (pool->workers[i].runs)
            return plait__nursery_ends(pool->workers[i].child.nursery);
    return NULL;
}

void *plait__pool_supervise(void *arg)
{
    struct pool *pool = arg;

    plait__pool_enter(&pool->front);
    for (;;) {
        const uint32_t *ends = ends_word(pool);
        struct plait_wait_word words[] = {
            { &pool->shared->bell, load_acquire(&pool->shared->bell), PLAIT_SHARED },
            { ends, ends ? load_acquire(ends) : 0, PLAIT_SHARED },
        };

        collect_finished(pool);
        look_for_deaths(pool);
        plait_time_t until = restart_due(pool);
        if (is_over(pool))
            break;
        if (ends != ends_word(pool))
            continue;
        /* The nursery itself may die without a word. */
        plait_time_t look = plait_now() + LOOK_EVERY;
        plait_wait_many(words, ends ? 2 : 1, NULL, until < look ? until : look);
    }
    collect_finished(pool);
    return NULL;
}
