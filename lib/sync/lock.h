/* SPDX-License-Identifier: MIT */
/* Locks inside the library: the same, but debug mode and figures do not see it. */
#ifndef PLAIT_SYNC_LOCK_H
#define PLAIT_SYNC_LOCK_H

#include <plait/lock.h>

#include "base/atomic.h"
#include "wait/robust.h"

/* As the public ones, out of line. */
int plait__lock_acquire(plait_lock_t *lock, plait_time_t deadline);
int plait__lock_release(plait_lock_t *lock);

/* Is that what an inner lock can be? Where it is waited for without a deadline, another mode would be for ever. */
static inline bool plait__inner_is_sound(const plait_lock_t *lock, bool shared)
{
    return (lock->mode & ~(uint32_t)PLAIT__LOCK_NO_LIST) == (shared ? PLAIT_SHARED : 0u);
}

/* As the public ones, inlined: for the inner lock of an object, held for a few instructions. */
static inline int plait__inner_acquire(plait_lock_t *lock, plait_time_t deadline)
{
    uint32_t unheld = 0;

    if (__builtin_expect(lock->mode == 0, 1) && __builtin_expect(cas_acquire(&lock->state, &unheld, 1), 1))
        return 0;
    return plait__lock_acquire(lock, deadline);
}

static inline int plait__inner_release(plait_lock_t *lock)
{
    uint32_t held = 1;

    if (__builtin_expect(lock->mode == 0, 1) && __builtin_expect(cas_release(&lock->state, &held, 0), 1))
        return 0;
    return plait__lock_release(lock);
}

#endif
