/* SPDX-License-Identifier: MIT */
/* Pool on processes: callbacks of tasks that have ended are called. */
#include <plait/cancel.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "exec/pool_processes.h"

/*
 * How it works
 *
 * The supervisor hands tasks over in the order of their ends, and a thread of the pool's own, the deliverer, calls their callbacks. So a
 * callback may take its time, and wait for other tasks of the pool: deaths, limits and renewals are seen to meanwhile. What the library itself
 * wants to be told (a set of futures) the supervisor sees to on the spot, if it stands before the program's callbacks: a callback may wait
 * for a set as well, and for a task without callbacks nobody is woken.
 *
 * The deliverer is started with the first task that is handed over, sleeps on `due_bell`, which changes when something comes into an empty list and
 * at the end, and ends when the supervisor has nothing left to hand over. Who sleeps has read the bell before it looked at the list, so
 * no wake is lost.
 *
 * A callback may end the thread (pthread_exit) instead of returning. On the way out another one is started; what is due stands in the pool. If
 * there can be no other, delivering goes on on the way out. If there can be no deliverer at all, the supervisor calls callbacks itself, one
 * that ends the thread then leads to another supervisor.
 */

/* ---- What is due ---- */

static void append(struct due *due, struct task *task)
{
    task->next_due = NULL;
    if (due->first)
        due->last->next_due = task;
    else
        due->first = task;
    due->last = task;
}

static struct task *take(struct due *due)
{
    struct task *task = due->first;

    if (task)
        due->first = task->next_due;
    return task;
}

void plait__pool_make_due(struct pool *pool, struct task *task)
{
    if (record_of(task)->is_collected)
        return;
    record_of(task)->is_collected = 1;
    append(&pool->ended, task);
}

static struct task *take_due(struct pool *pool)
{
    struct task *task;

    pthread_mutex_lock(&pool->lock);
    task = take(&pool->due);
    pthread_mutex_unlock(&pool->lock);
    return task;
}

/* The last that its caller does with the task, and perhaps at all: a callback may end the thread. */
static void call_back(struct task *task)
{
    pthread_cleanup_push(plait__future_clean_up, &task->future);
    plait__future_deliver(&task->future);
    pthread_cleanup_pop(1);
}

/* ---- The deliverer ---- */

static void ring(struct pool *pool)
{
    add_release(&pool->due_bell, 1);
    plait_wake(&pool->due_bell, 1, 0);
}

/* Wait for the next one; NULL: there will be none. */
static struct task *await_due(struct pool *pool)
{
    for (;;) {
        uint32_t seen = load_acquire(&pool->due_bell);
        bool is_last = load_acquire(&pool->is_all_due);
        struct task *task = take_due(pool);

        if (task || is_last)
            return task;
        plait_cancel_bind(NULL); /* a callback may have left a token, with which nobody could sleep */
        plait_wait(&pool->due_bell, seen, 0, PLAIT_FOREVER);
    }
}

static void *deliver(void *pool);

/* A callback has ended the thread. */
static void lost_deliverer(void *arg)
{
    struct pool *pool = arg;

    plait__pool_enter(NULL, POOL_WORKS, 0);
    if (plait__pool_start_thread(pool, deliver, &pool->deliverer) != 0)
        deliver(pool);
}

static void *deliver(void *arg)
{
    struct pool *pool = arg;
    struct task *task;

    plait__pool_begin_thread(pool);
    plait__pool_enter(&pool->front, POOL_CALLS_BACK, 0);
    pthread_cleanup_push(lost_deliverer, pool);
    while ((task = await_due(pool)) != NULL)
        call_back(task);
    pthread_cleanup_pop(0);
    plait__pool_enter(NULL, POOL_WORKS, 0);
    store_release(&pool->is_delivered, 1);
    plait_wake(&pool->is_delivered, 1, 0);
    return NULL;
}

/* ---- For the supervisor ---- */

/* Is there a deliverer? It is started, if it can be. */
static bool has_deliverer(struct pool *pool)
{
    if (!pool->delivers)
        pool->delivers = plait__pool_start_thread(pool, deliver, &pool->deliverer) == 0;
    return pool->delivers;
}

/* Drop a task, or have its callbacks called. Returns whether the list was empty before. */
static bool sort_out(struct pool *pool, struct task *task)
{
    bool was_empty;

    if (!plait__future_deliver_own(&task->future)) {
        plait__future_unreference(&task->future);
        return false;
    }
    pthread_mutex_lock(&pool->lock);
    was_empty = !pool->due.first;
    append(&pool->due, task);
    pthread_mutex_unlock(&pool->lock);
    return was_empty;
}

void plait__pool_hand_over(struct pool *pool)
{
    struct task *task;

    while ((task = take(&pool->ended)) != NULL)
        if (sort_out(pool, task))
            pool->owes_ring = true;
    if (!pool->owes_ring)
        return;
    if (has_deliverer(pool)) {
        pool->owes_ring = false;
        ring(pool);
        return;
    }
    while ((task = take_due(pool)) != NULL)
        call_back(task);
    pool->owes_ring = false;
}

void plait__pool_end_delivery(struct pool *pool)
{
    plait__pool_hand_over(pool);
    if (!pool->delivers)
        return;
    store_release(&pool->is_all_due, 1);
    ring(pool);
    while (!load_acquire(&pool->is_delivered)) /* before that, who delivers may change */
        plait_wait(&pool->is_delivered, 0, 0, PLAIT_FOREVER);
    plait_thread_join(pool->deliverer, NULL, PLAIT_FOREVER);
}
