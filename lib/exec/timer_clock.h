/* SPDX-License-Identifier: MIT */
/* Clock of timers: its lock, its wheel, its thread; and what changes a timer while the lock is held. */
#ifndef PLAIT_EXEC_TIMER_CLOCK_H
#define PLAIT_EXEC_TIMER_CLOCK_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <plait/timer.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "base/fork_epoch.h"
#include "base/tls.h"
#include "exec/timer_wheel.h"
#include "sync/asym_lock.h"

/* A timer's word; the top of timer.c has the transitions. */
enum { PENDING = 1, HANDED = 2, RUNNING = 4, AGAIN = 8, UNCALLED = 16, JOINERS = 32, ENDED = 64 };
enum { BUSY = PENDING | HANDED | RUNNING, CLOCKS = 3 };

struct plait__clock {
    clockid_t id;       /* const */
    struct plait__asym_lock lock;
    uint32_t epoch;     /* guarded by lock, as all that follows: of the process in which the thread is */
    int fd;             /* the thread sleeps on it; -1: on the word */
    uint32_t kick;      /* atomic (E1): goes on when the thread is to look at the wheel before `wakes` */
    plait_time_t wakes; /* PLAIT_NOW: it is awake */
    struct plait__wheel wheel;
};

/* A call that is being made, or waits in a pool. */
struct plait__timer_call {
    struct plait__clock *clock;  /* const */
    plait_timer_t *timer; /* guarded by lock; NULL: it has gone */
    struct plait__timer_call *outer;   /* this thread's only: the call in which this one is made */
};

extern struct plait__clock plait__clocks[CLOCKS];
extern PLAIT_TLS struct plait__timer_call *plait__timer_call; /* what this thread calls */

/* Before the first use. */
void plait__clocks_prepare(void);

/* With the lock held: there is to be a thread in this process. 0, or why there is none. */
int plait__clock_begin(struct plait__clock *clock);

plait_time_t plait__clock_read(const struct plait__clock *clock);

/* With the lock held: the descriptor on which the thread sleeps becomes readable then. */
void plait__clock_set_descriptor(const struct plait__clock *clock, plait_time_t until);

/* ---- The lock ---- */

static inline void plait__clock_enter(struct plait__clock *clock)
{
    plait__asym_acquire(&clock->lock, PLAIT_FOREVER);
}

static inline void plait__clock_leave(struct plait__clock *clock)
{
    plait__asym_release(&clock->lock);
}

/* The state, with the lock held. What the parent started is idle here. */
static inline uint32_t plait__timer_state(plait_timer_t *timer)
{
    uint32_t word = load_relaxed(&timer->word); /* relaxed: the lock orders it */

    if (!(word & BUSY) || __builtin_expect(timer->epoch == plait__fork_epoch(), 1))
        return word;
    word = (word & ~(uint32_t)(BUSY | AGAIN)) + ENDED;
    timer->period = 0;
    store_release(&timer->word, word);
    return word;
}

/* ---- Changing a timer, with the lock held ---- */

/* A timer was added that is ripe at `when`; true: the caller is to wake the thread, when it has given the lock back. */
static inline bool plait__clock_rouse(struct plait__clock *clock, plait_time_t when)
{
    if (when >= clock->wakes)
        return false;
    clock->wakes = when;
    if (clock->fd >= 0) {
        plait__clock_set_descriptor(clock, when);
        return false;
    }
    add_release(&clock->kick, 1); /* E1 */
    return true;
}

static inline void plait__clock_leave_and_wake(struct plait__clock *clock, bool wake)
{
    plait__clock_leave(clock);
    if (wake)
        plait_wake(&clock->kick, 1, 0);
}

/* Its last step: it may be gone once the lock is given back. */
static inline void plait__timer_become_idle(plait_timer_t *timer, uint32_t uncalled)
{
    uint32_t before = load_relaxed(&timer->word);
    uint32_t count = before & ~(uint32_t)(ENDED - 1);

    timer->period = 0;
    store_release(&timer->word, (count + ENDED) | uncalled); /* E2 */
    if (before & JOINERS)
        plait_wake(&timer->word, UINT_MAX, 0);
}

static inline void plait__timer_put_state(plait_timer_t *timer, uint32_t state)
{
    uint32_t kept = load_relaxed(&timer->word) & ~(uint32_t)(BUSY | AGAIN | UNCALLED);

    store_release(&timer->word, kept | state);
}

/* Into the wheel. True: see plait__clock_rouse. */
static inline bool plait__timer_add(struct plait__clock *clock, plait_timer_t *timer)
{
    plait__timer_put_state(timer, PENDING);
    return plait__clock_rouse(clock, plait__wheel_add(&clock->wheel, timer));
}

#endif
