/* SPDX-License-Identifier: MIT */
/* Barrier: a number of callers who wait for each other. */
#ifndef PLAIT_BARRIER_H
#define PLAIT_BARRIER_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/wait.h>

PLAIT_BEGIN_DECLS

/* The most parties a barrier can have. */
#define PLAIT_BARRIER_MAX 65535

/*
 * plait_barrier_t - lets `parties` callers pass together, round after round.
 *
 *     struct grids {
 *         double *old, *new;             // changed by one party, while all others wait
 *     } grids;
 *     plait_barrier_t step;              // four threads, a quarter of the grid each
 *
 *     plait_barrier_init(&step, 4, 0);
 *     for (int round = 0; round < rounds; round++) {
 *         relax(quarter, grids.old, grids.new);
 *         plait_barrier_wait_then(&step, swap, &grids, NULL, PLAIT_FOREVER);
 *     }
 *
 * Whole, it fills: each caller is one party more, and the last one completes the round, which lets all go. What a party
 * did before its wait is seen by all parties after theirs. A caller more than the parties waits for the next
 * round. Broken, every wait answers EPIPE, until a reset makes it whole and empty again. A party whose round was completed
 * gets 0, whatever has happened by the time it looks. (Only if four resets came meanwhile, EPIPE.)
 *
 * It breaks when a party's deadline passes or its cancel token is set, when an action fails, by plait_barrier_abort and
 * plait_barrier_reset, and, with PLAIT_SHARED in an arena, when a party dies: one that waits, or one that has
 * waited since the last reset and is killed before it comes again. Those who wait notice in less than a second.
 * (A caller that is killed before its first wait is not known to be a party: only a deadline helps the others.) A thread that
 * ends in order, also by exit, or leaves the arena, is no death; _exit and exec are.
 *
 * It may be ended and freed when all who wait have returned; the return of one does not say that. abort is
 * async-signal-safe, as are the predicates. After fork, a child may use shared ones, and is a party of its own.
 *
 * Needs a count, so all-zero bytes are not a barrier; there is PLAIT_BARRIER_INIT.
 */
typedef struct plait_barrier {
    union {
        uint64_t state;    /* atomic: all that changes: arrived, resets, "somebody sleeps"; the round, "broken" */
        uint32_t half[2];  /* the one with the round is slept on */
    };
    uint32_t mode;         /* const after init: flags */
    uint32_t parties;      /* const after init */
    uint64_t ended[4];     /* atomic: the state that the last resets ended, by their number */
    uint64_t arena_offset; /* const after init: distance from the arena's header, 0 if private */
    uint64_t birth;        /* const after init: shared: tells it from others that were here before */
    uint32_t vain_looks;   /* atomic: a hint how to wait */
    uint32_t spare[3];
} plait_barrier_t;

#define PLAIT_BARRIER_INIT(parties) { { 0 }, 0, (parties), { 0, 0, 0, 0 }, 0, 0, 0, { 0, 0, 0 } }

/*
 * Make a barrier for `parties` callers, 1 to PLAIT_BARRIER_MAX. EINVAL: fewer or more, an unknown flag, or PLAIT_SHARED
 * outside an arena. ENOSPC: the arena's table of participants is full.
 */
PLAIT_API int plait_barrier_init(plait_barrier_t *barrier, unsigned parties, unsigned flags);

/* End its life. EBUSY, and nothing done: somebody who lives is waiting. */
PLAIT_API int plait_barrier_fini(plait_barrier_t *barrier);

/*
 * Wait for the other parties. *index_out (may be NULL) receives 0 to parties - 1, another one for each: the last to
 * arrive has 0, the first the greatest. Nothing is stored there unless 0 is returned. Returns
 *   0           all have arrived
 *   ETIMEDOUT   the round was not complete by the deadline; the barrier is broken. With PLAIT_NOW or a deadline that has
 *               passed already: the caller would not be the last; nothing done. Nor is it when the caller was one
 *               more than the parties, and waited for the next round
 *   ECANCELED   the caller's cancel token was set first; the same
 *   EOWNERDEAD  a party died (shared); the barrier is broken
 *   EPIPE       broken, before or meanwhile, for another reason
 *   EINVAL      the barrier was never made
 *   ENOSPC      the arena has no place for another participant, or for what the caller holds (shared); nothing done
 */
PLAIT_API int plait_barrier_wait(plait_barrier_t *barrier, unsigned *index_out, plait_time_t deadline);

/*
 * The same, and when the caller is the last to arrive, it calls action(arg) before anybody is let go. An action that
 * returns not 0 breaks the barrier; its caller gets what it returned. Each party may bring its own: one is called. If a
 * deadline of another party passes while it runs, or it is aborted, its caller gets EPIPE. NULL: none.
 */
PLAIT_API int plait_barrier_wait_then(plait_barrier_t *barrier, int (*action)(void *arg), void *arg,
                                      unsigned *index_out, plait_time_t deadline);

/* Break it: all who wait, and all who come, get EPIPE. Always 0. */
PLAIT_API int plait_barrier_abort(plait_barrier_t *barrier);

/* Make it whole and empty, and forget the known parties; who waits, or comes in that moment, gets EPIPE. Always 0. */
PLAIT_API int plait_barrier_reset(plait_barrier_t *barrier);

/* Is it broken? How many wait? True only for the instant of the look. */
PLAIT_API bool plait_barrier_is_broken(const plait_barrier_t *barrier);
PLAIT_API unsigned plait_barrier_waiting(const plait_barrier_t *barrier);

/* The number it was made for. */
PLAIT_API unsigned plait_barrier_parties(const plait_barrier_t *barrier);

PLAIT_END_DECLS

#endif
