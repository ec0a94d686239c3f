/* SPDX-License-Identifier: MIT */
/* Sketch. Timer: a function that is called later, once or again and again. */
#ifndef PLAIT_TIMER_H
#define PLAIT_TIMER_H

#include <stdbool.h>
#include <stddef.h>

#include <plait/export.h>
#include <plait/pool.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * plait_timer_t - a handle on a call in the future.
 *
 *     void hello(plait_timer_t *timer, void *name) { printf("hello %s\n", (char *)name); }
 *
 *     plait_timer_t *timer;
 *     plait_timer_new(&timer, &(struct plait_timer_opts){ .target = hello, .arg = "you",
 *                                                         .after = 1 });
 *     plait_timer_start(timer);
 *     ...
 *     plait_timer_cancel(timer);                 // 0: it has not been called and will not be
 *
 * States: idle, pending, running, then idle again (once) or pending (again and again).
 *
 * The function is called in a thread of the library, the same for all timers, started with the
 * first pending one; so it must not wait. Functions that take their time belong in a pool: .pool
 * has each call submitted there instead. It is never called before its time. Calls of one timer
 * never overlap; what falls due while one is running is not made up for, but counted. A repeating
 * timer keeps its beat: call number n is due at the start + after + n * every, however long the
 * calls take.
 *
 * A million can be pending: starting and cancelling cost about as much as a lock, and about 100
 * bytes each. The child of a fork has none pending.
 */
typedef struct plait_timer plait_timer_t;

/*
 * Options of plait_timer_new; zero is the default of each but target. Times are durations in
 * seconds.
 */
struct plait_timer_opts {
    void (*target)(plait_timer_t *timer, void *arg);
    void *arg;
    double after;       /* before the first call; 0: at once */
    double every;       /* between calls; 0: one call */
    plait_pool_t *pool; /* of threads: where the function is called; NULL: the timers' own thread */
};

/*
 * Make an idle timer. EINVAL: no target, a time below 0 or not a number, a pool of processes.
 * ENOMEM.
 */
PLAIT_API int plait_timer_new_sized(plait_timer_t **timer_out, const struct plait_timer_opts *opts,
                                    size_t opts_size);

PLAIT_INLINE_ALWAYS int plait_timer_new(plait_timer_t **timer_out,
                                        const struct plait_timer_opts *opts)
{
    return plait_timer_new_sized(timer_out, opts, sizeof(struct plait_timer_opts));
}

/*
 * Start it, counting from now. EBUSY, and nothing done: it is pending or running. EAGAIN: the
 * timers' thread could not be made. Does not allocate otherwise.
 */
PLAIT_API int plait_timer_start(plait_timer_t *timer);

/*
 * Cancel it. 0: no call is pending or running, and none will come. EBUSY: a call is running; no
 * other will follow. EINVAL: it was idle. May be called by the function itself, which gets EBUSY.
 */
PLAIT_API int plait_timer_cancel(plait_timer_t *timer);

/* Wait until it is idle. ETIMEDOUT, ECANCELED. EDEADLK: called by its own function. */
PLAIT_API int plait_timer_join(plait_timer_t *timer, plait_time_t deadline);

/* Is a call to come? True only for the instant of the look. */
PLAIT_API bool plait_timer_is_pending(const plait_timer_t *timer);

/*
 * Calls made since the start, and calls that were due and not made. Either may be NULL. Always 0.
 */
PLAIT_API int plait_timer_counts(const plait_timer_t *timer, unsigned long long *made_out,
                                 unsigned long long *missed_out);

/*
 * Drop it; NULL is allowed. EBUSY, and nothing done: it is pending or running (cancel and join it
 * first).
 */
PLAIT_API int plait_timer_free(plait_timer_t *timer);

PLAIT_END_DECLS

#endif
