/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The thread of a clock takes from the wheel what is due, calls it or hands it to its pool, and sleeps until the next is
 * due.
 *
 * No wake-up is lost: `wakes` is when the thread will look next; it is set, under the lock, before the thread sleeps, to
 * when the wheel has something to do, and PLAIT_NOW while it is awake. Who starts a timer that is ripe before moves `wakes`
 * there, under the lock, and then wakes the thread by its word (monotonic), or sets the descriptor on which it sleeps (E1).
 * Later ones do nothing: the thread finds them. Cancelling wakes nobody; the thread may wake once too early for it.
 *
 * E1: the word that the thread sleeps on is changed under the lock, after the timer was added; the thread has read it under
 * the lock, after it looked at the wheel. So a change that it has not seen keeps it from sleeping.
 *
 * The clocks: a monotonic deadline is the futex's own. Those of the time of day, and of a clock that counts suspended time,
 * are a timerfd's, whose absolute times the kernel holds against the clock as it is set.
 *
 * Fork: the child has no thread. The first start makes a new one, with an empty wheel.
 */
#include "exec/timer_clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>


#include "base/clock.h"
#include "base/races.h"
#include "exec/helper.h"

struct plait__clock plait__clocks[CLOCKS] = {
    [PLAIT_MONOTONIC] = { .id = CLOCK_MONOTONIC, .epoch = PLAIT__EPOCH_NONE, .fd = -1 },
    [PLAIT_REALTIME] = { .id = CLOCK_REALTIME, .epoch = PLAIT__EPOCH_NONE, .fd = -1 },
    [PLAIT_BOOTTIME] = { .id = CLOCK_BOOTTIME, .epoch = PLAIT__EPOCH_NONE, .fd = -1 },
};

PLAIT_TLS struct plait__timer_call *plait__timer_call;

/* ---- Sleeping --------------------------------------------------------------------------------------------------- */

plait_time_t plait__clock_read(const struct plait__clock *clock)
{
    struct timespec now;

    clock_gettime(clock->id, &now);
    return (plait_time_t)now.tv_sec * PLAIT__SECOND + now.tv_nsec;
}

void plait__clock_set_descriptor(const struct plait__clock *clock, plait_time_t until)
{
    struct itimerspec at = { .it_value = { 0, 0 } }; /* never */

    if (until < PLAIT_FOREVER)
        at.it_value = plait__timespec(until > PLAIT_NOW ? until : 1);
    timerfd_settime(clock->fd, TFD_TIMER_ABSTIME, &at, NULL);
}

/* With the lock held, which is given back in the meantime: until the wheel has something to do. */
static void rest(struct plait__clock *clock)
{
    uint32_t kick = load_relaxed(&clock->kick); /* E1 */
    plait_time_t until = plait__wheel_next(&clock->wheel);
    int fd = clock->fd;
    uint64_t times;

    clock->wakes = until;
    if (fd >= 0)
        plait__clock_set_descriptor(clock, until);
    plait__clock_leave(clock);
    if (fd < 0)
        plait_wait(&clock->kick, kick, 0, until);
    else if (read(fd, &times, sizeof times) < 0 && errno != EINTR)
        plait_sleep(0.001); /* somebody has closed it */
    plait__clock_enter(clock);
    clock->wakes = PLAIT_NOW;
}

/* ---- Calling ---------------------------------------------------------------------------------------------------- */

/* The function has returned. True: see plait__clock_rouse. */
static bool go_on(struct plait__clock *clock, plait_timer_t *timer)
{
    uint32_t state = load_relaxed(&timer->word);

    if (!(state & AGAIN) && timer->period == 0) {
        plait__timer_become_idle(timer, 0);
        return false;
    }
    if (!(state & AGAIN))
        timer->due = timer->due < PLAIT_FOREVER - timer->period ? timer->due + timer->period : PLAIT_FOREVER;
    return plait__timer_add(clock, timer);
}

/* Of a series those times that have passed are left out, but for the last. */
static void skip_missed(plait_timer_t *timer, plait_time_t now)
{
    timer->missed = 0;
    if (timer->period && now > timer->due)
        timer->missed = ((uint64_t)now - (uint64_t)timer->due) / (uint64_t)timer->period;
    timer->due += (plait_time_t)timer->missed * timer->period;
}

/* With the lock held, which is given back in the meantime. False: this is a child that the function has forked. */
static bool make_call(struct plait__timer_call *call, bool *wake_out)
{
    plait_timer_t *timer = call->timer;
    struct plait__clock *clock = call->clock;
    uint32_t epoch = timer->epoch;

    *wake_out = false;
    plait__timer_put_state(timer, RUNNING);
    plait__clock_leave(clock);
    call->outer = plait__timer_call;
    plait__timer_call = call;
    timer->target(timer, timer->arg);
    plait__timer_call = call->outer;
    if (plait__fork_epoch() != epoch)
        return false;
    plait__clock_enter(clock);
    if (call->timer)
        *wake_out = go_on(clock, call->timer);
    call->timer = NULL;
    return true;
}

/* A worker's task. */
static int make_handed_call(plait_task_t *task, const void *arg, size_t size)
{
    struct plait__timer_call *call = *(struct plait__timer_call *const *)arg;
    struct plait__clock *clock = call->clock;
    bool wake = false;

    (void)task, (void)size;
    plait__clock_enter(clock);
    if (call->timer && !make_call(call, &wake))
        return 0;
    plait__clock_leave_and_wake(clock, wake);
    return 0;
}

/* The task has ended, or was cancelled: then its call still has a timer. */
static void end_handed_call(plait_future_t *future, void *context)
{
    struct plait__timer_call *call = context;

    plait__clock_enter(call->clock);
    if (call->timer)
        plait__timer_become_idle(call->timer, UNCALLED);
    plait__clock_leave(call->clock);
    free(call);
    plait_future_free(future);
}

/* With the lock held, which is given back in the meantime. False: no memory. */
static bool hand_over(struct plait__clock *clock, plait_timer_t *timer)
{
    struct plait__timer_call *call = malloc(sizeof *call);
    plait_pool_t *pool = timer->pool;
    plait_future_t *future;
    bool handed;
    int err;

    if (!call)
        return false;
    *call = (struct plait__timer_call){ .clock = clock, .timer = timer };
    timer->handed = call;
    plait__timer_put_state(timer, HANDED);
    plait__clock_leave(clock);
    err = plait_pool_apply_async(pool, make_handed_call, &call, sizeof call, &future);
    if (err == 0 && plait_future_on_done(future, end_handed_call, call) != 0) {
        plait_future_wait(future, PLAIT_FOREVER);
        end_handed_call(future, call);
    }
    plait__clock_enter(clock);
    if (err == 0)
        return true;
    handed = call->timer == NULL || err == EPIPE;
    if (call->timer && err == EPIPE)
        plait__timer_become_idle(timer, UNCALLED);
    free(call);
    return handed;
}

static bool serve(struct plait__clock *clock, plait_timer_t *timer)
{
    struct plait__timer_call call = { .clock = clock, .timer = timer };
    bool wake;

    if (timer->pool && hand_over(clock, timer))
        return true;
    return make_call(&call, &wake); /* we are awake */
}

static void *keep_time(void *arg)
{
    struct plait__clock *clock = arg;
    plait_timer_t *timer;

    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* nanoseconds; 50,000 is the rule */
    plait__clock_enter(clock);
    for (;;) {
        plait_time_t now = plait__clock_read(clock);

        plait__wheel_advance(&clock->wheel, now);
        timer = plait__wheel_take(&clock->wheel);
        if (!timer) {
            rest(clock);
            continue;
        }
        skip_missed(timer, now);
        if (!serve(clock, timer))
            return NULL;
    }
}

/* ---- Beginning -------------------------------------------------------------------------------------------------- */

static void forget_after_fork(void)
{
    for (int i = 0; i < CLOCKS; i++) {
        struct plait__clock *clock = &plait__clocks[i];

        clock->lock = (struct plait__asym_lock){ 0, 0, 0, 0 };
        clock->epoch = PLAIT__EPOCH_NONE;
        if (clock->fd >= 0)
            close(clock->fd);
        clock->fd = -1;
    }
}

static void register_handlers(void) { pthread_atfork(NULL, NULL, forget_after_fork); }

void plait__clocks_prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    plait__races_once(&once, register_handlers);
}

int plait__clock_begin(struct plait__clock *clock)
{
    uint32_t epoch = plait__fork_epoch_renew();
    int err;

    if (clock->epoch == epoch)
        return 0;
    if (clock->id != CLOCK_MONOTONIC) {
        clock->fd = timerfd_create(clock->id, TFD_CLOEXEC);
        if (clock->fd < 0)
            return errno;
    }
    plait__wheel_init(&clock->wheel);
    clock->wakes = PLAIT_NOW;
    err = plait__helper_start(keep_time, clock);
    if (err == 0) {
        clock->epoch = epoch;
    } else if (clock->fd >= 0) {
        close(clock->fd);
        clock->fd = -1;
    }
    return err;
}
