/* SPDX-License-Identifier: MIT */
/* The private read-write lock, in the pieces of which an acquire that waits for other things as well is made. */
#ifndef PLAIT_SYNC_RWLOCK_PRIVATE_H
#define PLAIT_SYNC_RWLOCK_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/rwlock.h>

#include "sync/readers.h"
#include "sync/rwlock_gate.h"

/* What a writer that has not closed the gate yet remembers of its attempts. */
struct plait__rwlock_contest {
    bool slept;           /* so others may sleep of whom the state does not tell */
    bool hungry;          /* has set HUNGRY */
    uint32_t forestalled; /* how often it went to sleep */
};

/* Close the gate, unless that has to wait for another writer. *state_out: as it is now. */
bool plait__rwlock_try_close(plait_rwlock_t *rwlock, const struct plait__rwlock_contest *contest, uint64_t *state_out);

/* Before a sleep on the high half: say so in *state; false: it is not the state any more. */
bool plait__rwlock_queue_up(plait_rwlock_t *rwlock, struct plait__rwlock_contest *contest, uint64_t *state);

/* The caller, woken or not, goes away without the lock: see to it that a wake spent on it is not lost. */
void plait__rwlock_leave_to_others(plait_rwlock_t *rwlock, const struct plait__rwlock_contest *contest);

/*
 * The caller has closed the gate, to `state`: wait until the readers have left, from when on it may write. Else *in_way is one that
 * has not left by the deadline.
 */
int plait__rwlock_await_readers(plait_rwlock_t *rwlock, uint64_t state, plait_time_t deadline,
                                struct plait__gate_hold *in_way);
void plait__rwlock_write(plait_rwlock_t *rwlock, uint64_t state);

/* Say that somebody reads, or wants to, in a free hold of the calling thread, and a full barrier. */
static inline void plait__rwlock_publish(plait_rwlock_t *rwlock, struct plait__reader_hold *hold, void *caller)
{
    plait__reader.used++;
    hold->depth = 1;
    hold->caller = caller;
    exchange64_seqcst(&hold->lock, (uint64_t)(uintptr_t)rwlock); /* E1 */
}

#endif
