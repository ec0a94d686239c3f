/* SPDX-License-Identifier: MIT */
/* Latch: a number that is counted down to 0 once, and those who wait for that. */
#ifndef PLAIT_LATCH_H
#define PLAIT_LATCH_H

#include <stdint.h>

#include <plait/export.h>
#include <plait/wait.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_latch_t - closed while its count is above 0; at 0 it opens, for good.
 *
 *     plait_latch_t ready;
 *     plait_latch_init(&ready, 3, 0);
 *
 *     prepare();                                     // each of three
 *     plait_latch_count_down(&ready, 1);
 *
 *     plait_latch_wait(&ready, PLAIT_FOREVER);       // any number: all three are prepared
 *
 * Anybody may count, and wait, or both. What was written before a count_down is seen by whom the open latch lets through. As
 * soon as it is open, it may be freed by who was let through, even if the last count_down has not returned.
 *
 * All-zero bytes are an open private latch. With PLAIT_SHARED, in an arena, it serves processes; the count is a plain
 * number there: who dies before it has counted down has not, and the others need their deadlines. A process that dies
 * between its count_down and waking the sleepers delays them by less than a second; killed waiters leave nothing behind.
 *
 * plait_latch_count_down and plait_latch_count are async-signal-safe.
 */
typedef struct plait_latch {
    uint64_t state;        /* atomic: the count in bits 0-31, sleepers, rounds (none here) */
    uint32_t mode;         /* const after init: flags */
    uint32_t spare;
    uint64_t arena_offset; /* const after init: distance from the arena's header, 0 if private */
    uint64_t spare2;
} plait_latch_t;

#define PLAIT_LATCH_INIT(count) { (count), 0, 0, 0, 0 }

/* Make a latch that `count` opens. EINVAL: an unknown flag, or PLAIT_SHARED outside an arena. */
PLAIT_API int plait_latch_init(plait_latch_t *latch, unsigned count, unsigned flags);

/* End the latch's life; nobody may be waiting. Always 0. */
PLAIT_API int plait_latch_fini(plait_latch_t *latch);

/*
 * Count down by `n`; at 0 all who wait are woken. EOVERFLOW, and nothing done: the count is less than n. EINVAL: n is 0.
 */
PLAIT_API int plait_latch_count_down(plait_latch_t *latch, unsigned n);

/* Wait until it is open. 0: it is. ETIMEDOUT: not by the deadline. ECANCELED: the caller's cancel token was set first. */
PLAIT_API int plait_latch_wait(plait_latch_t *latch, plait_time_t deadline);

/* plait_latch_wait as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_latch_wait(plait_latch_t *latch);

/* How much is left to count at the instant of the look; 0: open, and what was written before is seen. */
PLAIT_API unsigned plait_latch_count(const plait_latch_t *latch);

PLAIT_END_DECLS

#endif
