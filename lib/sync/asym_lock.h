/* SPDX-License-Identifier: MIT */
/*
 * A private lock inside the library that is given back by a plain store: half the price of a plait_lock_t where nobody
 * is in the way, for objects that stand for as long as anybody may still be giving it back.
 *
 * The last thing a release does to it is a look behind that store: so this is no lock for memory that the next holder may free. It may
 * starve somebody whose rivals never pause: it is for a few instructions at a time, of calls that do more than that.
 */
#ifndef PLAIT_SYNC_ASYM_LOCK_H
#define PLAIT_SYNC_ASYM_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/time.h>

#include "base/atomic.h"

/* All zeros: free. */
struct plait__asym_lock {
    uint32_t held;     /* atomic (L2): 1: somebody has it */
    uint32_t wanted;   /* atomic (L1): 1: somebody sleeps on this word, or is about to; or nobody any more */
    uint32_t careful;  /* atomic (L1), written by the holder: how many releases are exchanges, before they are plain stores again */
    uint32_t sleepers; /* atomic: how many sleep, or are about to */
};

/* The rest of acquire. 0, or ETIMEDOUT. No cancellation point, and no business of the caller's cancel token. */
int plait__asym_acquire_slow(struct plait__asym_lock *lock, plait_time_t deadline);

/*
 * Be between two holders for a moment: what those did who have released it is seen from now on, and those who acquire it later see what the caller
 * has done. Neither is said to those who hold it now, and for longer than `patience` nanoseconds: such a holder does not run, and sees all
 * when it goes on; or it was lost in a fork.
 */
void plait__asym_pass(struct plait__asym_lock *lock, plait_time_t patience);

/* The rest of release: of a careful one; and after the look. */
void plait__asym_release_carefully(struct plait__asym_lock *lock);
void plait__asym_wake(struct plait__asym_lock *lock);

static inline bool plait__asym_try(struct plait__asym_lock *lock)
{
    uint32_t free = 0;

    return cas_acquire(&lock->held, &free, 1); /* L2 */
}

static inline int plait__asym_acquire(struct plait__asym_lock *lock, plait_time_t deadline)
{
    return __builtin_expect(plait__asym_try(lock), 1) ? 0 : plait__asym_acquire_slow(lock, deadline);
}

static inline void plait__asym_release(struct plait__asym_lock *lock)
{
    if (__builtin_expect(load_relaxed(&lock->careful) | load_relaxed(&lock->wanted), 0)) {
        plait__asym_release_carefully(lock);
        return;
    }
    store_release(&lock->held, 0); /* L1, L2 */
    compiler_barrier();
    if (__builtin_expect(load_relaxed(&lock->wanted), 0)) /* L1 */
        plait__asym_wake(lock);
}

#endif
