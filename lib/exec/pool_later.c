/* SPDX-License-Identifier: MIT */
/* Pool on threads: jobs that have failed, and are run again. */
#include <errno.h>
#include <stdlib.h>

#include <plait/wait.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "exec/pool_threads.h"

#define NO_MEMORY_PAUSE (100 * PLAIT__MILLISECOND)

struct outcome {
    int code;
    char *text;
    void *result;
    size_t result_size;
};

/*
 * How it works
 *
 * A job that is to be run again is pending meanwhile, so that it can be cancelled, and has no entry in the queue: it stands in the list
 * `later` and has a timer, which makes the entry when the time has come. A pool that is closed makes all entries at once, since after that
 * none can be made; who gets one then waits for its time, and who fails to do a job then keeps it, and waits as well. So the workers are there
 * until the last one is done. To be in the list is what decides, under the lock, who makes the entry.
 *
 * The entry is made with the lock held: it comes before the closing of the queue, because that comes after a look at the list.
 *
 * A waiter of the pool's own may have run the job in place of its first entry, which is then still in the queue: that one serves again, if
 * it is still there when the time has come (a node cannot be there twice). Who gets it too early leaves the job to the timer.
 */

/* With the lock held. */
static void enlist(struct pool *pool, struct watched *w)
{
    w->extra->next = pool->later;
    w->extra->link = &pool->later;
    if (pool->later)
        pool->later->extra->link = &w->extra->next;
    pool->later = w;
}

/* With the lock held. */
static void delist(struct watched *w)
{
    *w->extra->link = w->extra->next;
    if (w->extra->next)
        w->extra->next->extra->link = w->extra->link;
    w->extra->link = NULL;
}

/* With the lock held: it has its entry from now on. False: there is no memory for that. */
static bool make_entry(struct pool *pool, struct watched *w)
{
    bool had_entry = w->extra->has_entry;

    w->extra->has_entry = true;
    if (!had_entry && plait__threads_enqueue(pool, &w->job, w->extra->work.priority) != 0) {
        w->extra->has_entry = false;
        return false;
    }
    delist(w);
    if (had_entry)
        plait__future_unreference(&w->kept.future); /* not the last: the entry that it has had all the time has one */
    return true;
}

static void time_has_come(plait_timer_t *timer, void *arg)
{
    struct watched *w = arg;
    struct pool *pool = (struct pool *)w->kept.future.pool;

    pthread_mutex_lock(&pool->lock);
    if (w->extra->link && !make_entry(pool, w))
        plait_timer_start(timer, plait_now() + NO_MEMORY_PAUSE); /* a timer that is there needs nothing to be started */
    pthread_mutex_unlock(&pool->lock);
    plait__future_stir(&w->kept.future); /* a worker that waits for it can run it now; who drops the last reference waits for us */
}

static void stop_timer(struct watched *w)
{
    if (plait_timer_cancel(&w->extra->timer) == EBUSY)
        plait_timer_join(&w->extra->timer, PLAIT_FOREVER);
}

static int prepare_timer(struct watched *w)
{
    int err;

    if (w->extra->has_timer) {
        stop_timer(w);
        return 0;
    }
    err = plait_timer_init(&w->extra->timer, &(struct plait_timer_opts){ .target = time_has_come, .arg = w });
    w->extra->has_timer = err == 0;
    return err;
}

/* From running to pending. False: it has been asked to stop. */
static bool is_pending_again(struct watched *w)
{
    uint32_t seen = load_relaxed(&w->kept.word);

    do
        if (seen & TASK_STOP)
            return false;
    while (!cas_acqrel(&w->kept.word, &seen, (seen & TASK_FLAGS & ~(uint32_t)TASK_LATE) | TASK_PENDING));
    return true;
}

/* Take its outcome away, or put it back. */
static void swap_outcome(struct plait__kept *kept, struct outcome *o)
{
    struct outcome was = { kept->code, kept->text, kept->result, kept->result_size };

    kept->code = o->code;
    kept->text = o->text;
    kept->result = o->result;
    kept->result_size = o->result_size;
    *o = was;
}

/* With the lock held: have it run again later, by whoever. */
static enum threads_fate leave_to_others(struct pool *pool, struct watched *w, unsigned number, bool is_leaving)
{
    struct outcome outcome = { 0 };

    /* It stands there already, if a waiter has run it in the place of who the timer would have given it to. */
    if (!w->extra->link) {
        plait__future_reference(&w->kept.future); /* the entry's */
        enlist(pool, w);
    }
    swap_outcome(&w->kept, &outcome);
    if (!is_pending_again(w)) {
        swap_outcome(&w->kept, &outcome);
        delist(w);
        plait__future_unreference(&w->kept.future); /* not the last: the caller has one */
        return JOB_OVER;
    }
    free(outcome.text);
    free(outcome.result);
    if (w->extra->not_before ? plait_timer_start(&w->extra->timer, w->extra->not_before) == 0 : make_entry(pool, w))
        return JOB_LATER;
    delist(w);
    plait__future_unreference(&w->kept.future); /* not the last: the caller has one */
    if (!plait__task_claim(&w->kept.word, number))
        return JOB_LATER;
    if (!is_leaving)
        return JOB_AGAIN;
    plait__kept_settle(&w->kept.future, ENOMEM, "there is no memory to run it again");
    return JOB_OVER;
}

/* Wait until the time has come, or it is not to be run again after all: cancelled, or the pool is terminated. */
static bool wait_for_time(struct pool *pool, struct watched *w)
{
    plait_time_t until = __atomic_load_n(&w->extra->not_before, __ATOMIC_RELAXED);

    while (plait__task_flag(&w->kept.word, TASK_WAITERS)) {
        uint32_t word = load_acquire(&w->kept.word);

        if (load_acquire(&pool->stop) || (word & TASK_STOP))
            return false;
        if (plait_now() >= until)
            return true;
        plait_wait_many((struct plait_wait_word[]){ { &pool->stop, 0, 0 }, { &w->kept.word, word, 0 } }, 2, NULL, until);
    }
    return false;
}

enum threads_fate plait__threads_fate(struct pool *pool, struct watched *w, unsigned number, bool is_leaving)
{
    const struct plait__work *work = &w->extra->work;
    enum threads_fate fate = JOB_AGAIN;
    bool is_closed;
    int64_t delay;

    if (w->attempt >= work->retries || load_acquire(&pool->stop) || (load_acquire(&w->kept.word) & TASK_STOP))
        return JOB_OVER;
    delay = plait__retry_delay(work, w->attempt);
    if (delay && prepare_timer(w) != 0)
        return JOB_OVER;
    w->attempt++;
    __atomic_store_n(&w->extra->not_before, delay ? plait_now() + delay : 0, __ATOMIC_RELAXED);
    pthread_mutex_lock(&pool->lock);
    is_closed = pool->is_closed;
    if (!is_closed)
        fate = leave_to_others(pool, w, number, is_leaving);
    pthread_mutex_unlock(&pool->lock);
    if (is_closed && (is_leaving || !wait_for_time(pool, w)))
        return JOB_OVER;
    if (is_closed) {
        plait__kept_clear(&w->kept);
        __atomic_fetch_and(&w->kept.word, ~(uint32_t)TASK_LATE, __ATOMIC_RELAXED);
    }
    return fate;
}

bool plait__threads_take_entry(struct pool *pool, struct watched *w)
{
    bool is_listed;

    if (!w->extra || !w->extra->work.retries)
        return true;
    pthread_mutex_lock(&pool->lock);
    w->extra->has_entry = false;
    is_listed = w->extra->link != NULL;
    pthread_mutex_unlock(&pool->lock);
    return !is_listed;
}

void plait__threads_await(struct pool *pool, struct watched *w)
{
    if (threads_is_later(w))
        wait_for_time(pool, w);
}

void plait__threads_close_later(struct pool *pool)
{
    struct watched *left = NULL, *next;

    pthread_mutex_lock(&pool->lock);
    pool->is_closed = true;
    while (pool->later)
        if (!make_entry(pool, pool->later)) {
            struct watched *w = pool->later;

            delist(w);
            w->extra->next = left;
            left = w;
        }
    pthread_mutex_unlock(&pool->lock);
    for (; left; left = next) {
        next = left->extra->next;
        plait__future_settle(&left->kept.future, ENOMEM, "there is no memory to queue it again");
        plait__future_unreference(&left->kept.future);
    }
}

void plait__threads_forget_later(struct watched *w)
{
    if (!w->extra || !w->extra->has_timer)
        return;
    stop_timer(w);
    plait_timer_fini(&w->extra->timer);
}
