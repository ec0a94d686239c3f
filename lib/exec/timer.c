/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Each clock has a wheel (timer_wheel.c), a lock, and a thread. The lock guards the wheel and all timers of the clock; it is held
 * for a few instructions, or by the thread for a few dozen timers, and never while a function is called. A timer's word:
 *
 *     PENDING   in the wheel
 *     HANDED    in the queue of its pool; `handed` is the call
 *     RUNNING   its function is being called
 *     AGAIN     RUNNING, and started meanwhile: `due` and `period` are of the next start
 *     UNCALLED  idle, since the pool was closed
 *     JOINERS   somebody sleeps on the word, or is about to
 *     above     how many times it became idle
 *
 *     idle -> PENDING -> RUNNING -> idle, or PENDING if AGAIN or of a series
 *             PENDING -> HANDED -> RUNNING ...
 *
 * A series goes back into the wheel when its function has returned, so calls do not overlap; its next time is counted from
 * the time before, and not from when anybody ran. What has passed since then is skipped when it is due.
 *
 * A call is a struct, which knows its timer as long as that is alive: in the thread's stack, or on the heap if a pool is to make
 * it. A timer that is cancelled or started anew while HANDED leaves its call without a timer; one that its own function ends, too. So
 * nothing touches a timer that fini or a join have given back.
 *
 * No wake-up is lost: `wakes` is when the thread will look next; it is set, under the lock, before the thread sleeps, to when the
 * wheel has something to do, and PLAIT_NOW while it is awake. Who starts a timer that is ripe before moves `wakes` there, under the
 * lock, and then wakes the thread by its word (monotonic), or sets the descriptor on which it sleeps (E1). Later ones do nothing: the thread finds
 * them. Cancelling wakes nobody; the thread may wake once too early for it.
 *
 * E1: the word that the thread sleeps on is changed under the lock, after the timer was added; the thread has read it under
 * the lock, after it looked at the wheel. So a change that it has not seen keeps it from sleeping. E2: joiners see a word
 * that was released after the function's return, and acquire it, by the lock as well.
 *
 * A joiner marks the word under the lock, and whoever makes the timer idle changes the word and wakes who marked. After that only
 * the address is used.
 *
 * The clocks: a monotonic deadline is the futex's own. Those of the time of day, and of a clock that counts suspended time, are a
 * timerfd's, whose absolute times the kernel holds against the clock as it is set.
 *
 * Fork: the child has no thread. The epoch of a start tells that it was the parent's: such a timer is idle, whatever
 * its word says, and its links are nobody's. The first start makes a new thread, with an empty wheel.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/timer.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/fork_epoch.h"
#include "base/options.h"
#include "base/races.h"
#include "base/tls.h"
#include "exec/helper.h"
#include "exec/pool_backend.h"
#include "exec/timer_wheel.h"
#include "sync/lock.h"
#include "wait/point.h"
#include "wait/waitable.h"

enum { PENDING = 1, HANDED = 2, RUNNING = 4, AGAIN = 8, UNCALLED = 16, JOINERS = 32, ENDED = 64 };
enum { BUSY = PENDING | HANDED | RUNNING, CLOCKS = 3 };

struct clock {
    clockid_t id;       /* const */
    plait_lock_t lock;
    uint32_t epoch;     /* guarded by lock, as all that follows: of the process in which the thread is */
    int fd;             /* the thread sleeps on it; -1: on the word */
    uint32_t kick;      /* atomic (E1): goes on when the thread is to look at the wheel before `wakes` */
    plait_time_t wakes; /* PLAIT_NOW: it is awake */
    struct plait__wheel wheel;
};

/* A call that is being made, or waits in a pool. */
struct call {
    struct clock *clock;  /* const */
    plait_timer_t *timer; /* guarded by lock; NULL: it has gone */
    struct call *outer;   /* this thread's only: the call in which this one is made */
};

static struct clock clocks[CLOCKS] = {
    [PLAIT_MONOTONIC] = { .id = CLOCK_MONOTONIC, .epoch = PLAIT__EPOCH_NONE, .fd = -1 },
    [PLAIT_REALTIME] = { .id = CLOCK_REALTIME, .epoch = PLAIT__EPOCH_NONE, .fd = -1 },
    [PLAIT_BOOTTIME] = { .id = CLOCK_BOOTTIME, .epoch = PLAIT__EPOCH_NONE, .fd = -1 },
};
static pthread_once_t once = PTHREAD_ONCE_INIT;
static PLAIT_TLS struct call *current; /* what this thread calls */

/* ---- The lock --------------------------------------------------------------------------------------------------- */

/* Nobody waits with it held: the wait is no business of the caller's cancel token. */
static __attribute__((noinline)) void enter_slow(struct clock *clock)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);

    plait__inner_acquire(&clock->lock, PLAIT_FOREVER);
    plait_cancel_bind(token);
}

static inline void enter(struct clock *clock)
{
    uint32_t unheld = 0;

    if (!cas_acquire(&clock->lock.state, &unheld, 1))
        enter_slow(clock);
}

static inline void leave(struct clock *clock)
{
    plait__inner_release(&clock->lock);
}

/* The state, with the lock held. What the parent started is idle here. */
static uint32_t state_of(plait_timer_t *timer)
{
    uint32_t word = load_relaxed(&timer->word); /* relaxed: the lock orders it */

    if (!(word & BUSY) || __builtin_expect(timer->epoch == plait__fork_epoch(), 1))
        return word;
    word = (word & ~(uint32_t)(BUSY | AGAIN)) + ENDED;
    timer->period = 0;
    store_release(&timer->word, word);
    return word;
}

/* Enter, for a timer. */
static struct clock *enter_for(const plait_timer_t *timer)
{
    struct clock *clock = &clocks[timer->clock];

    enter(clock);
    return clock;
}

static bool is_own(const plait_timer_t *timer)
{
    return current && current->timer == timer;
}

/* ---- Sleeping --------------------------------------------------------------------------------------------------- */

static plait_time_t read_clock(const struct clock *clock)
{
    struct timespec now;

    clock_gettime(clock->id, &now);
    return (plait_time_t)now.tv_sec * PLAIT__SECOND + now.tv_nsec;
}

static void set_descriptor(const struct clock *clock, plait_time_t until)
{
    struct itimerspec at = { .it_value = { 0, 0 } }; /* never */

    if (until < PLAIT_FOREVER)
        at.it_value = plait__timespec(until > PLAIT_NOW ? until : 1);
    timerfd_settime(clock->fd, TFD_TIMER_ABSTIME, &at, NULL);
}

/* With the lock held, which is given back in the meantime: until the wheel has something to do. */
static void rest(struct clock *clock)
{
    uint32_t kick = load_relaxed(&clock->kick); /* E1 */
    plait_time_t until = plait__wheel_next(&clock->wheel);
    int fd = clock->fd;
    uint64_t times;

    clock->wakes = until;
    if (fd >= 0)
        set_descriptor(clock, until);
    leave(clock);
    if (fd < 0)
        plait_wait(&clock->kick, kick, 0, until);
    else if (read(fd, &times, sizeof times) < 0 && errno != EINTR)
        plait_sleep(0.001); /* somebody has closed it */
    enter(clock);
    clock->wakes = PLAIT_NOW;
}

/* A timer was added that is ripe at `when`; true: the caller is to wake the thread, when it has given the lock back. */
static bool rouse(struct clock *clock, plait_time_t when)
{
    if (when >= clock->wakes)
        return false;
    clock->wakes = when;
    if (clock->fd >= 0) {
        set_descriptor(clock, when);
        return false;
    }
    add_release(&clock->kick, 1); /* E1 */
    return true;
}

static void leave_and_wake(struct clock *clock, bool wake)
{
    leave(clock);
    if (wake)
        plait_wake(&clock->kick, 1, 0);
}

/* ---- Changing a timer, with the lock held ----------------------------------------------------------------------- */

/* Its last step: it may be gone once the lock is given back. */
static void become_idle(plait_timer_t *timer, uint32_t uncalled)
{
    uint32_t before = load_relaxed(&timer->word);
    uint32_t count = before & ~(uint32_t)(ENDED - 1);

    timer->period = 0;
    store_release(&timer->word, (count + ENDED) | uncalled); /* E2 */
    if (before & JOINERS)
        plait_wake(&timer->word, UINT_MAX, 0);
}

static void put_state(plait_timer_t *timer, uint32_t state)
{
    uint32_t kept = load_relaxed(&timer->word) & ~(uint32_t)(BUSY | AGAIN | UNCALLED);

    store_release(&timer->word, kept | state);
}

/* Into the wheel. True: see rouse. */
static bool add(struct clock *clock, plait_timer_t *timer)
{
    put_state(timer, PENDING);
    return rouse(clock, plait__wheel_add(&clock->wheel, timer));
}

/* Out of the wheel, or the pool. */
static void withdraw(struct clock *clock, plait_timer_t *timer, uint32_t state)
{
    if (state & PENDING)
        plait__wheel_remove(&clock->wheel, timer);
    if (state & HANDED)
        ((struct call *)timer->handed)->timer = NULL;
}

/* The function has returned. True: see rouse. */
static bool go_on(struct clock *clock, plait_timer_t *timer)
{
    uint32_t state = load_relaxed(&timer->word);

    if (!(state & AGAIN) && timer->period == 0) {
        become_idle(timer, 0);
        return false;
    }
    if (!(state & AGAIN))
        timer->due = timer->due < PLAIT_FOREVER - timer->period ? timer->due + timer->period : PLAIT_FOREVER;
    return add(clock, timer);
}

/* Of a series those times that have passed are left out, but for the last. */
static void skip_missed(plait_timer_t *timer, plait_time_t now)
{
    timer->missed = 0;
    if (timer->period && now > timer->due)
        timer->missed = ((uint64_t)now - (uint64_t)timer->due) / (uint64_t)timer->period;
    timer->due += (plait_time_t)timer->missed * timer->period;
}

/* ---- Calling ---------------------------------------------------------------------------------------------------- */

/* With the lock held, which is given back in the meantime. False: this is a child that the function has forked. */
static bool make_call(struct call *call, bool *wake_out)
{
    plait_timer_t *timer = call->timer;
    struct clock *clock = call->clock;
    uint32_t epoch = timer->epoch;

    *wake_out = false;
    put_state(timer, RUNNING);
    leave(clock);
    call->outer = current;
    current = call;
    timer->target(timer, timer->arg);
    current = call->outer;
    if (plait__fork_epoch() != epoch)
        return false;
    enter(clock);
    if (call->timer)
        *wake_out = go_on(clock, call->timer);
    call->timer = NULL;
    return true;
}

/* A worker's task. */
static int make_handed_call(plait_task_t *task, const void *arg, size_t size)
{
    struct call *call = *(struct call *const *)arg;
    struct clock *clock = call->clock;
    bool wake = false;

    (void)task, (void)size;
    enter(clock);
    if (call->timer && !make_call(call, &wake))
        return 0;
    leave_and_wake(clock, wake);
    return 0;
}

/* The task has ended, or was cancelled: then its call still has a timer. */
static void end_handed_call(plait_future_t *future, void *context)
{
    struct call *call = context;

    enter(call->clock);
    if (call->timer)
        become_idle(call->timer, UNCALLED);
    leave(call->clock);
    free(call);
    plait_future_free(future);
}

/* With the lock held, which is given back in the meantime. False: no memory. */
static bool hand_over(struct clock *clock, plait_timer_t *timer)
{
    struct call *call = malloc(sizeof *call);
    plait_pool_t *pool = timer->pool;
    plait_future_t *future;
    bool handed;
    int err;

    if (!call)
        return false;
    *call = (struct call){ .clock = clock, .timer = timer };
    timer->handed = call;
    put_state(timer, HANDED);
    leave(clock);
    err = plait_pool_apply_async(pool, make_handed_call, &call, sizeof call, &future);
    if (err == 0 && plait_future_on_done(future, end_handed_call, call) != 0) {
        plait_future_wait(future, PLAIT_FOREVER);
        end_handed_call(future, call);
    }
    enter(clock);
    if (err == 0)
        return true;
    handed = call->timer == NULL || err == EPIPE;
    if (call->timer && err == EPIPE)
        become_idle(timer, UNCALLED);
    free(call);
    return handed;
}

static bool serve(struct clock *clock, plait_timer_t *timer)
{
    struct call call = { .clock = clock, .timer = timer };
    bool wake;

    if (timer->pool && hand_over(clock, timer))
        return true;
    return make_call(&call, &wake); /* we are awake */
}

static void *keep_time(void *arg)
{
    struct clock *clock = arg;
    plait_timer_t *timer;

    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* nanoseconds; 50,000 is the rule */
    enter(clock);
    for (;;) {
        plait_time_t now = read_clock(clock);

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
        struct clock *clock = &clocks[i];

        clock->lock = (plait_lock_t)PLAIT_LOCK_INIT;
        clock->epoch = PLAIT__EPOCH_NONE;
        if (clock->fd >= 0)
            close(clock->fd);
        clock->fd = -1;
    }
}

static void register_handlers(void) { pthread_atfork(NULL, NULL, forget_after_fork); }

/* With the lock held: there is to be a thread in this process. (Not inlined: start is to be short.) */
static __attribute__((noinline)) int begin(struct clock *clock)
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

/* ---- The public calls ------------------------------------------------------------------------------------------- */

int plait_timer_init_sized(plait_timer_t *timer, const struct plait_timer_opts *given, size_t given_size)
{
    struct plait_timer_opts opts;
    struct clock *clock;
    int err;

    if (!timer || plait__options_read(&opts, sizeof opts, given, given_size) || !opts.target ||
        (unsigned)opts.clock >= CLOCKS || (opts.pool && opts.pool->backend != &plait__pool_threads))
        return EINVAL;
    *timer = (plait_timer_t){ .target = opts.target, .arg = opts.arg, .pool = opts.pool, .clock = (uint32_t)opts.clock,
                              .epoch = PLAIT__EPOCH_NONE };
    plait__races_once(&once, register_handlers);
    clock = enter_for(timer);
    err = begin(clock);
    leave(clock);
    return err;
}

int plait_timer_fini(plait_timer_t *timer)
{
    struct clock *clock = enter_for(timer);
    uint32_t state = state_of(timer) & (BUSY | AGAIN);
    bool ends_itself = state == RUNNING && timer->period == 0 && is_own(timer);

    if (ends_itself) {
        current->timer = NULL;
        become_idle(timer, 0);
    }
    leave(clock);
    if (state && !ends_itself)
        return EBUSY;
    plait__races_forget(timer, sizeof *timer);
    return 0;
}

static int start(plait_timer_t *timer, plait_time_t due, plait_time_t period)
{
    struct clock *clock = enter_for(timer);
    int err = clock->epoch == plait__fork_epoch() ? 0 : begin(clock);
    bool wake = false;

    if (err == 0) {
        uint32_t state = state_of(timer);

        withdraw(clock, timer, state);
        timer->epoch = clock->epoch;
        timer->due = due;
        timer->period = period;
        if (state & RUNNING)
            put_state(timer, RUNNING | AGAIN);
        else
            wake = add(clock, timer);
    }
    leave_and_wake(clock, wake);
    return err;
}

int plait_timer_start(plait_timer_t *timer, plait_time_t due)
{
    return start(timer, due, 0);
}

int plait_timer_start_every(plait_timer_t *timer, plait_time_t due, double seconds)
{
    double span = seconds * (double)PLAIT__SECOND;

    if (!(span >= 1) || span >= (double)PLAIT_FOREVER)
        return EINVAL;
    return start(timer, due > PLAIT_NOW ? due : plait_timer_now(timer), (plait_time_t)span);
}

int plait_timer_cancel(plait_timer_t *timer)
{
    struct clock *clock = enter_for(timer);
    uint32_t state = state_of(timer);

    if (state & (PENDING | HANDED)) {
        withdraw(clock, timer, state);
        become_idle(timer, 0);
    } else if (state & RUNNING) {
        timer->period = 0;
        put_state(timer, RUNNING);
    }
    leave(clock);
    return state & RUNNING ? EBUSY : state & BUSY ? 0 : EINVAL;
}

bool plait_timer_is_pending(const plait_timer_t *timer)
{
    struct clock *clock = enter_for(timer);
    uint32_t state = state_of((plait_timer_t *)timer);
    bool will = (state & (PENDING | HANDED | AGAIN)) || ((state & RUNNING) && timer->period);

    leave(clock);
    return will;
}

plait_time_t plait_timer_due(const plait_timer_t *timer)
{
    struct clock *clock = enter_for(timer);
    plait_time_t due = timer->due;

    leave(clock);
    return due;
}

uint64_t plait_timer_missed(const plait_timer_t *timer)
{
    struct clock *clock = enter_for(timer);
    uint64_t missed = timer->missed;

    leave(clock);
    return missed;
}

plait_time_t plait_timer_now(const plait_timer_t *timer)
{
    return read_clock(&clocks[timer->clock]);
}

/* ---- Joining ---------------------------------------------------------------------------------------------------- */

static uint32_t times_ended(uint32_t word)
{
    return word / ENDED;
}

/* Idle, or was it since it had ended `times` times? Else the caller counts as a joiner who sleeps on *word_out. */
static bool is_over(plait_timer_t *timer, uint32_t times, uint32_t *word_out)
{
    struct clock *clock = enter_for(timer);
    uint32_t word = state_of(timer);
    bool over = !(word & BUSY) || times_ended(word) != times;

    if (!over) {
        word |= JOINERS;
        store_release(&timer->word, word);
    }
    leave(clock);
    *word_out = word;
    return over;
}

static int answer(uint32_t word)
{
    return word & UNCALLED ? EPIPE : 0;
}

int plait_timer_join(plait_timer_t *timer, plait_time_t deadline)
{
    uint32_t times = times_ended(load_acquire(&timer->word)), word;
    plait_time_t slice = 0;
    int err = is_own(timer) ? EDEADLK : 0;

    while (err != EDEADLK) {
        if (is_over(timer, times, &word))
            return answer(word);
        if (err)
            break;
        err = plait__wait_point(&timer->word, word, 0, deadline, &slice);
    }
    return err;
}

static int attempt(struct plait__waiting *waiting)
{
    plait_timer_t *timer = waiting->entry->object;
    uint32_t word;

    if (is_own(timer))
        return EDEADLK;
    if (!waiting->tried)
        waiting->kept = times_ended(load_acquire(&timer->word));
    return is_over(timer, (uint32_t)waiting->kept, &word) ? answer(word) : EAGAIN;
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_timer_t *timer = waiting->entry->object;
    uint32_t word;

    if (is_over(timer, (uint32_t)waiting->kept, &word))
        return false;
    *word_out = (struct plait_wait_word){ &timer->word, word, 0 };
    return true;
}

struct plait_wait_entry plait_any_timer_join(plait_timer_t *timer)
{
    static const struct plait_waitable joining = { attempt, enlist, NULL, PLAIT__WATCH_ATTEMPT };

    return (struct plait_wait_entry){ .how = &joining, .object = timer };
}
