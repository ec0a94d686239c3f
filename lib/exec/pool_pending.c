/* SPDX-License-Identifier: MIT */
/* Pool on processes: all that is pending is cancelled. */
#include "base/atomic.h"
#include "exec/pool_processes.h"

/*
 * How it works
 *
 * Some at a time are looked up with the pool's lock held, and cancelled without it, as that calls the program's callbacks. One that ends the
 * thread does not end the cancelling: the clean-up handlers go on with those that were looked up, and then look for others.
 *
 * The supervisor of a pool that breaks calls no callbacks: it ends all with the lock held, and hands them over.
 */

enum { HELD_MAX = 64 };

/* With the lock held: some of the pending tasks that are left, each with a reference. The bare ones end here. */
static unsigned hold_pending(struct pool *pool, struct walk *walk, struct task *held[HELD_MAX])
{
    struct plait__pool_record *record;
    unsigned count = 0;

    while (count < HELD_MAX && (record = plait__pool_walk(pool, walk)) != NULL) {
        if (!is_pending(record))
            continue;
        if (!record->owner) {
            if (plait__task_claim(&record->word, TASK_CLAIMED_OUTSIDE))
                plait__pool_end_bare(pool, record);
            continue;
        }
        held[count] = task_of(record);
        add_relaxed(&held[count++]->future.references, 1);
    }
    return count;
}

struct held {
    struct pool *pool;
    struct task *tasks[HELD_MAX];
    unsigned count, next;
};

/* A callback that ends the thread comes here again: the others are cancelled all the same. */
static void cancel_held(void *arg)
{
    struct held *held = arg;

    while (held->next < held->count) {
        plait_future_t *future = &held->tasks[held->next++]->future;

        pthread_cleanup_push(cancel_held, held);
        pthread_cleanup_push(plait__future_clean_up, future);
        plait__pool_cancel(&held->pool->front, future);
        pthread_cleanup_pop(1);
        pthread_cleanup_pop(0);
    }
}

void plait__pool_cancel_pending(void *arg)
{
    struct held held = { .pool = arg };
    struct walk walk = { NULL, 0 };

    do {
        pthread_mutex_lock(&held.pool->lock);
        held.count = hold_pending(held.pool, &walk, held.tasks);
        held.next = 0;
        pthread_mutex_unlock(&held.pool->lock);
        pthread_cleanup_push(plait__pool_cancel_pending, held.pool); /* from the beginning */
        cancel_held(&held);
        pthread_cleanup_pop(0);
    } while (held.count == HELD_MAX);
}

void plait__pool_end_pending(struct pool *pool)
{
    struct walk walk = { NULL, 0 };
    struct plait__pool_record *record;
    const char *text;
    int code = plait__pool_reason(&pool->front, &text);

    pthread_mutex_lock(&pool->lock);
    while ((record = plait__pool_walk(pool, &walk)) != NULL) {
        if (!is_pending(record) || !plait__task_claim(&record->word, TASK_CLAIMED_OUTSIDE))
            continue;
        if (record->owner)
            plait__pool_tell_end(pool, task_of(record), plait__pool_end_task(pool, task_of(record), code, text));
        else
            plait__pool_end_bare(pool, record);
    }
    pthread_mutex_unlock(&pool->lock);
}
