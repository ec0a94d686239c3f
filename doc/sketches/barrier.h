/* SPDX-License-Identifier: MIT */
/* Sketch. Barrier: a number of callers who wait for each other. */
#ifndef PLAIT_BARRIER_H
#define PLAIT_BARRIER_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/cond.h>
#include <plait/export.h>
#include <plait/lock.h>
#include <plait/wait.h>

PLAIT_BEGIN_DECLS

/*
 * plait_barrier_t - lets `parties` callers pass together, round after round.
 *
 *     plait_barrier_t step;                              // four threads, a quarter of the grid each
 *     plait_barrier_init(&step, 4, 0);
 *
 *     for (int round = 0; round < rounds; round++) {
 *         relax(quarter, old, new);
 *         plait_barrier_wait_then(&step, swap_grids, &grids, NULL, PLAIT_FOREVER);
 *     }
 *
 * States: filling; draining (the round is complete, its parties are leaving; newcomers wait for the
 * next round); broken (every wait answers EPIPE, until a reset).
 *
 * It breaks when a party's deadline passes or its cancel token is set, when an action fails, by
 * plait_barrier_abort, and, with PLAIT_SHARED, when a party dies: one that waits, or one that has
 * waited in an earlier round and whose thread is killed before it comes again. A caller that dies
 * before its first wait is not known to be a party: only a deadline helps the others. A thread that
 * ends in order is no death.
 *
 * Needs a count, so all-zero bytes are not a barrier.
 */
typedef struct plait_barrier {
    plait_lock_t guard; /* guards the rest, never held while waiting or in an action */
    plait_cond_t turn;  /* notified when the state changes */
    uint32_t mode;      /* const after init: flags */
    uint32_t parties;   /* const after init */
    uint32_t arrived;   /* guarded by guard: parties waiting in this round */
    uint32_t state;     /* guarded by guard: filling, acting, draining, broken */
    uint64_t round;     /* guarded by guard: rounds completed */
    uint64_t known_offset; /* const after init: shared: known parties' slots, offset in the arena */
    uint64_t spare[2];
} plait_barrier_t;

/*
 * Make a barrier for `parties` callers. EINVAL: none, an unknown flag, or PLAIT_SHARED outside an
 * arena. ENOSPC: the arena has no room for the table of parties.
 */
PLAIT_API int plait_barrier_init(plait_barrier_t *barrier, unsigned parties, unsigned flags);

/* End its life. EBUSY, and nothing done: somebody who lives is waiting. */
PLAIT_API int plait_barrier_fini(plait_barrier_t *barrier);

/*
 * Wait for the other parties. *index_out (may be NULL) receives 0 to parties - 1, another one for
 * each; the last to arrive has 0. Returns
 *   0           all have arrived
 *   ETIMEDOUT   not all by the deadline; the barrier is broken; with PLAIT_NOW: the caller would
 *               not be the last, and nothing is done
 *   ECANCELED   the caller's cancel token was set first; the barrier is broken
 *   EOWNERDEAD  a party died (shared); the barrier is broken
 *   EPIPE       broken, before or meanwhile, for another reason
 *   ENOSPC      the arena's table of participants is full; nothing done
 */
PLAIT_API int plait_barrier_wait(plait_barrier_t *barrier, unsigned *index_out,
                                 plait_time_t deadline);

/*
 * The same, and when the caller is the last to arrive, it calls action(arg) before anybody is let
 * go. An action that returns not 0 breaks the barrier; its caller gets what it returned. Each party
 * may bring its own: one is called.
 */
PLAIT_API int plait_barrier_wait_then(plait_barrier_t *barrier, int (*action)(void *arg), void *arg,
                                      unsigned *index_out, plait_time_t deadline);

/* Break it: all who wait, and all who come, get EPIPE. Always 0. */
PLAIT_API int plait_barrier_abort(plait_barrier_t *barrier);

/* Make it whole and empty again, and forget the known parties; who waits gets EPIPE. Always 0. */
PLAIT_API int plait_barrier_reset(plait_barrier_t *barrier);

/* Is it broken? How many wait? True only for the instant of the look. */
PLAIT_API bool plait_barrier_is_broken(const plait_barrier_t *barrier);
PLAIT_API unsigned plait_barrier_waiting(const plait_barrier_t *barrier);

/* The number it was made for. */
PLAIT_API unsigned plait_barrier_parties(const plait_barrier_t *barrier);

PLAIT_END_DECLS

#endif
