/* SPDX-License-Identifier: MIT */
/* The shared read-write lock: its writer holds a robust lock, its readers have holds in the participants' table. */
#ifndef PLAIT_SYNC_RWLOCK_SHARED_H
#define PLAIT_SYNC_RWLOCK_SHARED_H

#include <plait/rwlock.h>

#include "arena/member.h"
#include "sync/rwlock_gate.h"
#include "wait/waitable.h"

/* As the public calls of the same names. init: the inner lock is made already. */
int plait__rwlock_shared_init(plait_rwlock_t *rwlock);
int plait__rwlock_shared_read(plait_rwlock_t *rwlock, plait_time_t deadline);
int plait__rwlock_shared_write(plait_rwlock_t *rwlock, plait_time_t deadline);
int plait__rwlock_shared_release(plait_rwlock_t *rwlock);
int plait__rwlock_shared_downgrade(plait_rwlock_t *rwlock);
int plait__rwlock_shared_consistent(plait_rwlock_t *rwlock);
unsigned plait__rwlock_shared_readers(const plait_rwlock_t *rwlock);

/* A shared one among others, to read and to write. */
extern const struct plait_waitable plait__rwlock_shared_reading, plait__rwlock_shared_writing;

/*
 * For a reader at a closed gate: is there a writer that will open it? 0: there is, or the gate has been opened. EOWNERDEAD: it had
 * died, and the caller has its place, and writes. ENOTRECOVERABLE; EDEADLK: the caller itself. Errors of plait_lock_acquire.
 */
int plait__rwlock_look_after_writer(plait_rwlock_t *rwlock);

/* ---- The pieces of which these are made --------------------------------------------------------- */

static inline struct plait__arena_header *plait__rwlock_header(const plait_rwlock_t *rwlock)
{
    return plait__arena_header_of(&rwlock->writer, rwlock->writer.arena_offset);
}

/* In the number of a hold beside the fiber's: it waits to read, among other things. */
#define PLAIT__RWLOCK_AMONG_OTHERS ((uint64_t)1 << 32)

/* Say that the caller reads: a hold, and a full barrier. And give it up. */
int plait__rwlock_shared_publish(plait_rwlock_t *rwlock, struct plait__slot *self, uint64_t number,
                                 struct plait__hold **hold_out);
void plait__rwlock_shared_drop(struct plait__slot *self, struct plait__hold *hold);

/* The group of a participant's holds: one bit. */
uint64_t plait__rwlock_shared_group(const plait_rwlock_t *rwlock, const struct plait__slot *slot);

/* The caller got `writer` from a dead one. EOWNERDEAD: the data may be half changed. */
int plait__rwlock_shared_take_over(plait_rwlock_t *rwlock);

/* Nobody has `writer`, or the caller: is there somebody else who still has to open the gate, and will? */
bool plait__rwlock_shared_is_being_opened(const plait_rwlock_t *rwlock);

/* How long a writer waits for readers, and for which one in vain. */
struct plait__rwlock_patience {
    plait_time_t deadline;
    struct plait__gate_hold in_way;
};

/* Wait for the readers; the gate is closed. */
int plait__rwlock_shared_await_readers(plait_rwlock_t *rwlock, uint64_t state, struct plait__rwlock_patience *patience);

/* The caller has `writer`, and nobody else will open the gate. 0: it writes. Else the gate is closed, and is for it to open. */
int plait__rwlock_shared_go_in(plait_rwlock_t *rwlock, struct plait__rwlock_patience *patience);

/* The caller has `writer`, and perhaps the gate is closed. Whoever is let in by this may free the lock at once. */
void plait__rwlock_shared_leave(plait_rwlock_t *rwlock, uint64_t phase);

#endif
