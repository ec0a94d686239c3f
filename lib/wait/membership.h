/* SPDX-License-Identifier: MIT */
/* What the ground asks of the arena room (lib/arena), which implements these. */
#ifndef PLAIT_WAIT_MEMBERSHIP_H
#define PLAIT_WAIT_MEMBERSHIP_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/lock.h>

/*
 * Check an object's flags and place at init: EINVAL for a flag that is neither PLAIT_SHARED nor in
 * `more_flags`, or for PLAIT_SHARED outside every arena of this process; the caller becomes a participant
 * of the arena (ENOSPC). *offset_out: from the arena's header to the object; 0 if private.
 */
int plait__shared_place(const void *object, unsigned flags, unsigned more_flags, uint64_t *offset_out);

/*
 * Is the owner of this lock dead for certain? Asked only where the kernel keeps no robust lists: by the start time in the
 * participants' table. False when in doubt.
 */
bool plait__owner_is_dead(const plait_lock_t *lock, uint32_t tid);

/*
 * Is it impossible that a thread of this number holds the lock? It takes no part in the arena, as all holders do, so the word was
 * damaged. True also for the instant in which a thread goes from one slot to another: ask twice.
 */
bool plait__owner_is_nobody(const plait_lock_t *lock, uint32_t tid);

#endif
