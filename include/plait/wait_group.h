/* SPDX-License-Identifier: MIT */
/* Wait group: a number of things under way, and those who wait until there are none. */
#ifndef PLAIT_WAIT_GROUP_H
#define PLAIT_WAIT_GROUP_H

#include <stdint.h>

#include <plait/export.h>
#include <plait/wait.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_wait_group_t - counts what was added and is not yet done.
 *
 *     static plait_wait_group_t jobs;                // all-zero bytes: private, nothing under way
 *
 *     plait_wait_group_add(&jobs, 1);                // before the job is given away
 *     start(job);
 *
 *     plait_wait_group_done(&jobs);                  // at the end of each job
 *
 *     plait_wait_group_wait(&jobs, PLAIT_FOREVER);   // any number of waiters
 *
 * It can be used again and again. A wait ends when the count is 0 at any moment between its start and its return, even if
 * more is added before the waiter runs. What was written before a done is seen by whom the last done lets go on.
 * As soon as a wait has returned and nothing is added any more, it may be freed, even if the last done has not returned.
 *
 * With PLAIT_SHARED, in an arena, it serves processes; the count is a plain number there: what somebody who died had added
 * stays added, and the others need their deadlines. A process that dies between its done and waking the sleepers delays
 * them by less than a second; killed waiters leave nothing behind.
 *
 * plait_wait_group_add, _done and _count are async-signal-safe.
 */
typedef struct plait_wait_group {
    uint64_t state;        /* atomic: the count in bits 0-31, sleepers, how often it fell to 0 */
    uint32_t mode;         /* const after init: flags */
    uint32_t spare;
    uint64_t arena_offset; /* const after init: distance from the arena's header, 0 if private */
    uint64_t spare2;
} plait_wait_group_t;

#define PLAIT_WAIT_GROUP_INIT { 0, 0, 0, 0, 0 }

/* Make a wait group with nothing under way. EINVAL: an unknown flag, or PLAIT_SHARED outside an arena. */
PLAIT_API int plait_wait_group_init(plait_wait_group_t *group, unsigned flags);

/* End its life; nobody may be waiting. EBUSY, and nothing done: something is under way. */
PLAIT_API int plait_wait_group_fini(plait_wait_group_t *group);

/* `n` more are under way. EOVERFLOW, and nothing done: more than 2^32 - 1 would be. EINVAL: n is 0. */
PLAIT_API int plait_wait_group_add(plait_wait_group_t *group, unsigned n);

/* One is done; at 0 all who wait are woken. EOVERFLOW, and nothing done: nothing is under way. */
PLAIT_API int plait_wait_group_done(plait_wait_group_t *group);

/*
 * Wait until nothing is under way. 0: so it is, or was at some moment since the call began. ETIMEDOUT: not by the deadline.
 * ECANCELED: the caller's cancel token was set first.
 */
PLAIT_API int plait_wait_group_wait(plait_wait_group_t *group, plait_time_t deadline);

/* plait_wait_group_wait as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_wait_group_wait(plait_wait_group_t *group);

/* How many are under way at the instant of the look. */
PLAIT_API unsigned plait_wait_group_count(const plait_wait_group_t *group);

PLAIT_END_DECLS

#endif
