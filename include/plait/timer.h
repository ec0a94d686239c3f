/* SPDX-License-Identifier: MIT */
/* Timer: a function that is called at a point of time, or again and again. */
#ifndef PLAIT_TIMER_H
#define PLAIT_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/pool.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_timer_t - a function and when to call it next; 96 bytes in the caller's memory, so that whatever has a timeout can have one.
 *
 *     struct session { plait_timer_t idle; int socket; };
 *
 *     static void hang_up(plait_timer_t *timer, void *session) { ... }
 *
 *     plait_timer_init(&s->idle, &(struct plait_timer_opts){ .target = hang_up, .arg = s });
 *     plait_timer_start(&s->idle, plait_after(30));          // call hang_up(&s->idle, s) in 30 seconds
 *     plait_timer_start(&s->idle, plait_after(30));          // something was heard: 30 seconds from now instead
 *     if (plait_timer_cancel(&s->idle) == EBUSY)             // 0: it will not be called
 *         plait_timer_join(&s->idle, PLAIT_FOREVER);         // it is being called: wait until it has returned
 *     plait_timer_fini(&s->idle);
 *
 * States: idle, pending, or running (its function is being called); running ones may have been started again.
 *
 * The function is never called before its time, and about five microseconds after it plus what the system takes to wake a
 * thread. Those that are due at the same time, to five microseconds, are called in any order, others in the order of their
 * times. Calls of one timer do not overlap.
 *
 * Functions are called by a thread of the library, one for each clock, with all signals blocked. It calls one at a time: one that
 * takes long delays the others, and belongs into a pool (.pool; a call that waits there counts as pending; where there is no
 * memory for a task, the timer thread calls). It sleeps until the next is due, for ever if none is, and lives
 * until the process ends; exit does not wait for it.
 *
 * Threads, fibers and the functions of timers may make any of the calls, on one timer at the same time, too; signal handlers
 * none. start and cancel take the same time however many are pending, allocate nothing, and cannot fail for want of anything.
 * A child of fork has none of the parent's starts: there its timers are idle, and may be started. A child that a timer's
 * function forks ends when that returns.
 */
typedef struct plait_timer {
    struct plait_timer *next;   /* guarded by the clock's lock, as all but what is const: the others that are due with it */
    struct plait_timer **link;  /* what points to it */
    plait_time_t due;           /* of the next call, or of the one that runs */
    plait_time_t period;        /* 0: once */
    uint32_t word;              /* state, and how often it became idle; joiners sleep on it */
    uint32_t epoch;             /* of the process that started it */
    uint32_t clock;             /* const after init */
    uint32_t spare32;
    void (*target)(struct plait_timer *timer, void *arg); /* const after init */
    void *arg;                  /* const after init */
    plait_pool_t *pool;         /* const after init */
    uint64_t missed;            /* periods left out before this call */
    void *handed;               /* the call that waits in the pool */
    uint64_t spare;
} plait_timer_t;

/*
 * The clock that a timer goes by. Clocks that jump:
 *   Set or moved forward over many times: all that are due are called, one after the other in the order of their times, each once, and a
 *     series once as well, for the last of its times, with the others told as missed; from there it goes on in its grid.
 *   Set back: what was pending waits until the clock comes to its time. No time of a series is called for twice: it is silent until the
 *     clock is where it was.
 *   A timer that is started by then goes by the clock as it is.
 */
enum plait_timer_clock {
    PLAIT_MONOTONIC = 0, /* plait_now's: setting the time of day changes nothing, and suspended time does not count */
    PLAIT_REALTIME = 1,  /* the time of day, in nanoseconds since 1970: when it is set, timers follow, forward and back */
    PLAIT_BOOTTIME = 2   /* as monotonic, but suspended time counts: what became due meanwhile is called at the return */
};

/* Options of plait_timer_init; zero is the default of each but target. */
struct plait_timer_opts {
    void (*target)(plait_timer_t *timer, void *arg);
    void *arg;
    plait_pool_t *pool; /* of threads, whose workers call the function; NULL: the timer thread does. It must outlive the timer. */
    enum plait_timer_clock clock;
};

/*
 * Make an idle timer. EINVAL: no target, a pool of processes, or no such clock. The first of each clock needs a thread: EAGAIN,
 * ENOMEM: there is none; and, but for the monotonic clock, a descriptor: EMFILE, ENFILE.
 */
PLAIT_API int plait_timer_init_sized(plait_timer_t *timer, const struct plait_timer_opts *opts, size_t opts_size);

PLAIT_API int plait_timer_init(plait_timer_t *timer, const struct plait_timer_opts *opts);
PLAIT_INLINE_ALWAYS int plait_timer_init(plait_timer_t *timer, const struct plait_timer_opts *opts)
{
    return plait_timer_init_sized(timer, opts, sizeof(struct plait_timer_opts));
}

/*
 * End its life: afterwards nothing of the library touches it. EBUSY, and nothing done: it is pending or running. Its own function
 * may do it, unless it was started again, and give its memory back.
 */
PLAIT_API int plait_timer_fini(plait_timer_t *timer);

/*
 * Have it called once, at `due` on its clock; at once if that has passed, with PLAIT_FOREVER never. If it is pending, this takes
 * the place of what it was started for. If it is running, it is called again, not before the running call has returned; its
 * function may so start itself again. 0; in a child of fork whose first start this is, also as plait_timer_init.
 */
PLAIT_API int plait_timer_start(plait_timer_t *timer, plait_time_t due);

/*
 * The same, and then every `seconds` from `due`, until it is cancelled or started otherwise, which its function may do. The times
 * are due, due + seconds, due + 2 * seconds and so on: how long functions take and how late they are called adds nothing. If
 * several have passed before it could be called, it is called once for the last of them, and plait_timer_missed tells of the
 * others.
 * With a `due` of PLAIT_NOW the series begins now. EINVAL: `seconds` is less than a nanosecond, NaN, or above 292 years.
 */
PLAIT_API int plait_timer_start_every(plait_timer_t *timer, plait_time_t due, double seconds);

/*
 * Have it not be called any more. 0: it was pending, and is idle: the call was prevented. EBUSY: it is running; this call is the last.
 * EINVAL: it was idle: its last call is over, or there never was one. Does not wait.
 */
PLAIT_API int plait_timer_cancel(plait_timer_t *timer);

/*
 * Wait until it is idle: its function has returned for the last time, or it was cancelled. 0: it is, or was at some moment since the
 * call began. What its function has written is seen. EPIPE: idle, since its pool was closed when it was due: the function was not
 * called. ETIMEDOUT: it is pending or running. EDEADLK: called by its own function. ECANCELED: the caller's cancel token was set.
 */
PLAIT_API int plait_timer_join(plait_timer_t *timer, plait_time_t deadline);

/* plait_timer_join as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_timer_join(plait_timer_t *timer);

/* Will it be called? That may have changed when this returns. A call that runs does not count, the next of a series does. */
PLAIT_API bool plait_timer_is_pending(const plait_timer_t *timer);

/*
 * When it is to be called; while its function runs, and has not been started again: the time for which it is called, so what it is
 * late by is plait_timer_now() minus that.
 */
PLAIT_API plait_time_t plait_timer_due(const plait_timer_t *timer);

/* How many times of its series were left out between the call before and this one, or the last; 0 of one that is called once. */
PLAIT_API uint64_t plait_timer_missed(const plait_timer_t *timer);

/* Read its clock: what `due` is counted on. For monotonic ones this is plait_now. */
PLAIT_API plait_time_t plait_timer_now(const plait_timer_t *timer);

PLAIT_END_DECLS

#endif
