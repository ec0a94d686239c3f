/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Each clock has a wheel (timer_wheel.c), a lock, and a thread (timer_clock.c). The lock guards the wheel and all timers of the clock; it is held
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
 * A joiner marks the word under the lock, and whoever makes the timer idle changes the word and wakes who marked. After that only
 * the address is used. E2: joiners see a word that was released after the function's return, and acquire it, by the lock as well. (E1 is in
 * timer_clock.c.)
 *
 * Fork: the epoch of a start tells that it was the parent's: such a timer is idle, whatever its word says, and its links are nobody's.
 */
#include "exec/timer_clock.h"

#include <errno.h>

#include "base/clock.h"
#include "base/options.h"
#include "base/races.h"
#include "exec/pool_backend.h"
#include "wait/point.h"
#include "wait/waitable.h"

/* Enter, for a timer. */
static struct plait__clock *enter_for(const plait_timer_t *timer)
{
    struct plait__clock *clock = &plait__clocks[timer->clock];

    plait__clock_enter(clock);
    return clock;
}

static bool is_own(const plait_timer_t *timer)
{
    return plait__timer_call && plait__timer_call->timer == timer;
}

/* Out of the wheel, or the pool. */
static void withdraw(struct plait__clock *clock, plait_timer_t *timer, uint32_t state)
{
    if (state & PENDING)
        plait__wheel_remove(&clock->wheel, timer);
    if (state & HANDED)
        ((struct plait__timer_call *)timer->handed)->timer = NULL;
}

/* ---- The public calls ------------------------------------------------------------------------------------------- */

int plait_timer_init_sized(plait_timer_t *timer, const struct plait_timer_opts *given, size_t given_size)
{
    struct plait_timer_opts opts;
    struct plait__clock *clock;
    int err;

    if (!timer || plait__options_read(&opts, sizeof opts, given, given_size) || !opts.target ||
        (unsigned)opts.clock >= CLOCKS || (opts.pool && opts.pool->backend != &plait__pool_threads))
        return EINVAL;
    *timer = (plait_timer_t){ .target = opts.target, .arg = opts.arg, .pool = opts.pool, .clock = (uint32_t)opts.clock,
                              .epoch = PLAIT__EPOCH_NONE };
    plait__clocks_prepare();
    clock = enter_for(timer);
    err = plait__clock_begin(clock);
    plait__clock_leave(clock);
    return err;
}

int plait_timer_fini(plait_timer_t *timer)
{
    struct plait__clock *clock = enter_for(timer);
    uint32_t state = plait__timer_state(timer) & (BUSY | AGAIN);
    bool ends_itself = state == RUNNING && timer->period == 0 && is_own(timer);

    if (ends_itself) {
        plait__timer_call->timer = NULL;
        plait__timer_become_idle(timer, 0);
    }
    plait__clock_leave(clock);
    if (state && !ends_itself)
        return EBUSY;
    plait__races_forget(timer, sizeof *timer);
    return 0;
}

static int start(plait_timer_t *timer, plait_time_t due, plait_time_t period)
{
    struct plait__clock *clock = enter_for(timer);
    int err = clock->epoch == plait__fork_epoch() ? 0 : plait__clock_begin(clock);
    bool wake = false;

    if (err == 0) {
        uint32_t state = plait__timer_state(timer);

        withdraw(clock, timer, state);
        timer->epoch = clock->epoch;
        timer->due = due;
        timer->period = period;
        if (state & RUNNING)
            plait__timer_put_state(timer, RUNNING | AGAIN);
        else
            wake = plait__timer_add(clock, timer);
    }
    plait__clock_leave_and_wake(clock, wake);
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
    struct plait__clock *clock = enter_for(timer);
    uint32_t state = plait__timer_state(timer);

    if (state & (PENDING | HANDED)) {
        withdraw(clock, timer, state);
        plait__timer_become_idle(timer, 0);
    } else if (state & RUNNING) {
        timer->period = 0;
        plait__timer_put_state(timer, RUNNING);
    }
    plait__clock_leave(clock);
    return state & RUNNING ? EBUSY : state & BUSY ? 0 : EINVAL;
}

bool plait_timer_is_pending(const plait_timer_t *timer)
{
    struct plait__clock *clock = enter_for(timer);
    uint32_t state = plait__timer_state((plait_timer_t *)timer);
    bool will = (state & (PENDING | HANDED | AGAIN)) || ((state & RUNNING) && timer->period);

    plait__clock_leave(clock);
    return will;
}

plait_time_t plait_timer_due(const plait_timer_t *timer)
{
    struct plait__clock *clock = enter_for(timer);
    plait_time_t due = timer->due;

    plait__clock_leave(clock);
    return due;
}

uint64_t plait_timer_missed(const plait_timer_t *timer)
{
    struct plait__clock *clock = enter_for(timer);
    uint64_t missed = timer->missed;

    plait__clock_leave(clock);
    return missed;
}

plait_time_t plait_timer_now(const plait_timer_t *timer)
{
    return plait__clock_read(&plait__clocks[timer->clock]);
}

/* ---- Joining ---------------------------------------------------------------------------------------------------- */

static uint32_t times_ended(uint32_t word)
{
    return word / ENDED;
}

/* Idle, or was it since it had ended `times` times? Else the caller counts as a joiner who sleeps on *word_out. */
static bool is_over(plait_timer_t *timer, uint32_t times, uint32_t *word_out)
{
    struct plait__clock *clock = enter_for(timer);
    uint32_t word = plait__timer_state(timer);
    bool over = !(word & BUSY) || times_ended(word) != times;

    if (!over) {
        word |= JOINERS;
        store_release(&timer->word, word);
    }
    plait__clock_leave(clock);
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
    static const struct plait_waitable joining = { attempt, enlist, NULL, PLAIT__WATCH_ATTEMPT, NULL };

    return (struct plait_wait_entry){ .how = &joining, .object = timer };
}
