/* SPDX-License-Identifier: MIT */
/* Deadlines: points of time on the monotonic clock. */
#ifndef PLAIT_TIME_H
#define PLAIT_TIME_H

#include <stdint.h>

#include <plait/export.h>

PLAIT_BEGIN_DECLS

/*
 * plait_time_t - a point of time: nanoseconds on CLOCK_MONOTONIC, absolute, signed 64 bit.
 *
 * Every call that can wait takes one as its last argument, its deadline. A deadline is computed once
 * and holds over any number of calls, so a loop needs no arithmetic:
 *
 *     plait_time_t deadline = plait_after(2.5);
 *     while ((err = plait_queue_get(jobs, &job, deadline)) == 0)
 *         work(&job);
 *     // err is ETIMEDOUT two and a half seconds after the start, or EPIPE when jobs was closed
 *
 * PLAIT_FOREVER never passes. PLAIT_NOW has always passed: the call does not wait (a "try") and answers
 * ETIMEDOUT where it would have had to. So does every other deadline in the past. Setting the wall clock
 * moves no deadline. Time during which the machine is suspended does not count.
 */
typedef int64_t plait_time_t;

#define PLAIT_FOREVER INT64_MAX
#define PLAIT_NOW ((plait_time_t)0)

/* Read the clock. Async-signal-safe; tens of nanoseconds. */
PLAIT_API plait_time_t plait_now(void);

/*
 * Make the deadline that lies `seconds` from now. A negative number or NaN gives PLAIT_NOW; what lies
 * further away than the clock can count (292 years) or is infinite gives PLAIT_FOREVER. Async-signal-safe.
 */
PLAIT_API plait_time_t plait_after(double seconds);

/*
 * Sleep until the deadline, never less; other fibers of this thread run meanwhile. Returns 0 when it has
 * passed (also when it had before: then nothing is waited for, and a token does not matter), ECANCELED when the caller's
 * cancel token was set first.
 */
PLAIT_API int plait_sleep_until(plait_time_t deadline);

/* Sleep for `seconds`: plait_sleep_until(plait_after(seconds)). */
PLAIT_API int plait_sleep(double seconds);

PLAIT_END_DECLS

#endif
