/* SPDX-License-Identifier: MIT */
/* As completed: futures one after the other, in the order in which they get done. */
#ifndef PLAIT_AS_COMPLETED_H
#define PLAIT_AS_COMPLETED_H

#include <stddef.h>

#include <plait/export.h>
#include <plait/future.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_as_completed_t - a set of futures that gives each of them once, as soon as it is done.
 *
 *     plait_as_completed_t *done;
 *     plait_future_t *future;
 *     plait_as_completed_new(&done, futures, count);
 *     while (plait_as_completed_next(done, &future, PLAIT_FOREVER) == 0)
 *         show(future);
 *     plait_as_completed_free(done);
 *
 * Those that were done when they were added come first, in that order. Any futures may be mixed: of several pools, of promises.
 * Adding costs one allocation, and each completion the same little, however many there are. More may be added at any time, also by a
 * reader: so a bounded number of tasks can be kept in flight.
 *
 * A handle that was added is not freed before next has given it, or the set was freed. Several threads may read at a time. A pool's worker that reads runs pending tasks of its own pool itself, as in
 * plait_future_wait.
 */
typedef struct plait_as_completed plait_as_completed_t;

/* Make a set of `count` futures (0 allowed). EINVAL: nowhere to put it, no array, or a NULL in it. ENOMEM. */
PLAIT_API int plait_as_completed_new(plait_as_completed_t **set_out, plait_future_t *const *futures, size_t count);

/* Put in one more; one that is in there already is given once more. EINVAL: no future. ENOMEM. */
PLAIT_API int plait_as_completed_add(plait_as_completed_t *set, plait_future_t *future);

/*
 * Get the next that is done. 0; EPIPE: all that were added have been given; ETIMEDOUT; ECANCELED: the caller's token was set; EOWNERDEAD,
 * in a child of fork: all that are left are of a parent's pool.
 */
PLAIT_API int plait_as_completed_next(plait_as_completed_t *set, plait_future_t **future_out, plait_time_t deadline);

/* plait_as_completed_next as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_as_completed_next(plait_as_completed_t *set, plait_future_t **future_out);

/* How many have been added and not been given yet, whether done or not. Other threads may change it at once. */
PLAIT_API size_t plait_as_completed_count(const plait_as_completed_t *set);

/* Drop the set, with what is left in it; NULL is allowed. Nobody may be reading. The futures go on. Always 0. */
PLAIT_API int plait_as_completed_free(plait_as_completed_t *set);

PLAIT_END_DECLS

#endif
