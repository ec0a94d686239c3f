/* SPDX-License-Identifier: MIT */
/* Robust lock: the owner's word of a shared lock, joined to the list that the kernel walks when a thread dies. */
#ifndef PLAIT_WAIT_ROBUST_H
#define PLAIT_WAIT_ROBUST_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/cancel.h>
#include <plait/lock.h>

#include "wait/waitable.h"

/* Bits of plait_lock_t.mode beyond the public flags. */
enum {
    PLAIT__LOCK_OWNED = 1u << 28,     /* private, in no arena, and its holder's death is told */
    PLAIT__LOCK_RECURSIVE = 1u << 29, /* a plait_rlock_t begins with it */
    PLAIT__LOCK_NO_LIST = 1u << 30 /* no robust lists here: owners are watched by their start time */
};

/* plait_lock_t.state of a shared lock: neither free nor held to the inlined fast path. */
#define PLAIT__LOCK_IS_SHARED 0x80000000u

/*
 * Bits of plait_lock_t.fault, guarded by the lock; NOT_RECOVERABLE is also read by those who wait, and the number by other
 * fibers of the holder's thread.
 */
enum {
    PLAIT__FAULT_INCONSISTENT = 1u << 0,    /* the holder got EOWNERDEAD and has not repaired yet */
    PLAIT__FAULT_NOT_RECOVERABLE = 1u << 1, /* for good */
    PLAIT__FAULT_FIBER_SHIFT = 2            /* above: which fiber of the owner's thread holds it; 0: free, or no fiber */
};

/* One whose mode says that it is private: does something else say that it was shared? It is damaged, then, and nobody will release it. */
static inline bool plait__lock_is_contradictory(const plait_lock_t *lock)
{
    return __atomic_load_n(&lock->state, __ATOMIC_RELAXED) == PLAIT__LOCK_IS_SHARED || lock->arena_offset != 0;
}

/* 1 while somebody starves. Neither libc nor the kernel uses this word of a lock. */
static inline uint32_t *plait__robust_owed(plait_lock_t *lock)
{
    return &lock->robust[2];
}

/* Does the calling thread have a robust list that the kernel knows of? */
bool plait__robust_list_works(void);

/* Can locks of this thread have PLAIT_PRIO_INHERIT? */
bool plait__robust_pi_works(void);

/* Is a lock of this mode one of these? The others are words without an owner. */
static inline bool plait__lock_is_owned(uint32_t mode)
{
    return mode & (PLAIT_SHARED | PLAIT_PRIO_INHERIT | PLAIT__LOCK_OWNED);
}

/*
 * Where the lock's word lies from its entry in the list, as this libc has told the kernel: -32 (glibc) or -28 (musl), and
 * a made-up constant where there are no lists. Processes that share locks must agree on it.
 */
int32_t plait__robust_layout(void);

/* The calling thread's kernel id; valid after fork as well. */
uint32_t plait__robust_tid(void);

/* Make the shared part of a lock: free. `mode` as in the lock. */
void plait__robust_init(plait_lock_t *lock, uint32_t mode, uint64_t arena_offset);

/* plait_lock_acquire, _release, _consistent and the looks, of a shared lock; EOWNERDEAD etc. as there. */
int plait__robust_acquire(plait_lock_t *lock, plait_time_t deadline);
int plait__robust_release(plait_lock_t *lock);
int plait__robust_consistent(plait_lock_t *lock);
bool plait__robust_is_locked(const plait_lock_t *lock);
bool plait__robust_is_mine(const plait_lock_t *lock);

/*
 * plait__robust_release by the holder, in two steps between which it does nothing but store and wake: the lock is released, and
 * may be freed by others; whoever sleeps for it is woken. Killed in between, the kernel wakes.
 */
struct plait__robust_wake {
    uint32_t *word; /* NULL: nobody sleeps */
    unsigned count;
    void *saved;
};
struct plait__robust_wake plait__robust_release_quietly(plait_lock_t *lock);
void plait__robust_wake(const struct plait__robust_wake *wake);

/*
 * The three steps of one who waits for others as well (wait/waitable.h). Nothing is announced to the kernel in between.
 */
int plait__robust_attempt(plait_lock_t *lock, struct plait__waiting *waiting);
bool plait__robust_enlist(plait_lock_t *lock, struct plait__waiting *waiting, struct plait_wait_word *word_out);
void plait__robust_delist(plait_lock_t *lock, struct plait__waiting *waiting);

/*
 * For sleepers that were moved to the lock's own (sync/held.h): where these sleep; to say that somebody sleeps there, or to
 * wake one if the lock is free; and to acquire it as one of them.
 */
const uint32_t *plait__robust_word(const plait_lock_t *lock);
void plait__robust_adopt(plait_lock_t *lock);
int plait__robust_acquire_moved(plait_lock_t *lock);

/*
 * A slice of a wait is over in which the lock stayed held: if its word cannot be true, it is marked as a dead owner's. *doubts is 0 at the
 * first slice.
 */
void plait__robust_doubt(plait_lock_t *lock, unsigned *doubts);

/*
 * The same lock as a life word: taken once, held until its thread ends, and never waited for.
 * claim: 0, the caller's thread owns it now (free, or its owner had died: *was_dead_out); EBUSY: somebody lives. dead_owner: without
 * lists, whom the caller knows to be dead, 0: nobody; it knows the arena, which need not be one of this process's yet.
 * resign: the owner gives it up. Life words do not count among the locks that a thread may hold.
 * owner_died: does it say so? Without lists it does once somebody has claimed it, or found out.
 */
int plait__robust_claim(plait_lock_t *life, uint32_t dead_owner, bool *was_dead_out);
void plait__robust_resign(plait_lock_t *life);
bool plait__robust_owner_died(const plait_lock_t *life);
uint32_t plait__robust_owner(const plait_lock_t *life);

/* Does the calling thread's list hold a lock that lies in [start, start + size)? */
bool plait__robust_holds_within(const void *start, uint64_t size);

#endif
