/* SPDX-License-Identifier: MIT */
/* Recursive lock: a lock that its holder may acquire again. */
#ifndef PLAIT_RLOCK_H
#define PLAIT_RLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/lock.h>
#include <plait/wait.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_rlock_t - at most one caller holds it, at any number of levels.
 *
 *     struct tree {
 *         plait_rlock_t lock;
 *         struct node *root;              // guarded by lock; sorted
 *         size_t count;                   // guarded by lock; nodes under root
 *     };
 *
 *     int tree_add(struct tree *t, const struct item *item);      // acquires and releases t->lock
 *
 *     plait_rlock_acquire(&t->lock, PLAIT_FOREVER);           // both or none, for all others
 *     tree_add(t, &first);
 *     tree_add(t, &second);
 *     plait_rlock_release(&t->lock);
 *
 * The holder is a thread, or in a fiber that fiber, for private as for shared ones: a release by anybody else is
 * refused. It is free again after as many releases as acquires.
 *
 * All else is as for plait_lock_t: all-zero bytes are a free private one; with PLAIT_SHARED, in an arena, the death of
 * the holder at any level is told by EOWNERDEAD to the next, who holds it at one level. Held over fork, a private one
 * belongs to the child's copy of the thread, at the same levels; a shared one stays the parent's.
 *
 * A condition takes it as &rlock->lock: waiting gives up all levels and takes all of them back. The calls of plait_lock_t are
 * not for that lock.
 */
typedef struct plait_rlock {
    plait_lock_t lock; /* private: `prev` is the holder, lowest bit: somebody sleeps, or may; shared: a shared lock */
    uint32_t depth;    /* owner only: levels beyond the first; 0 when free */
    uint32_t spare[3];
} plait_rlock_t;

#define PLAIT_RLOCK_INIT { PLAIT_LOCK_INIT, 0, { 0, 0, 0 } }

/* Make a free one; flags and errors as plait_lock_init. */
PLAIT_API int plait_rlock_init(plait_rlock_t *rlock, unsigned flags);

/* End its life. EBUSY, and nothing done: it is held. */
PLAIT_API int plait_rlock_fini(plait_rlock_t *rlock);

/*
 * Acquire a level, waiting until the deadline if somebody else holds it; a further level never waits, whatever the
 * deadline and the cancel token say. Returns
 *   0                the caller holds it, at one level more
 *   EOWNERDEAD       the caller holds it at one level, and its last holder died (shared); wins over ETIMEDOUT
 *   ETIMEDOUT        not acquired by the deadline; with PLAIT_NOW: held by somebody else
 *   ECANCELED        the caller's cancel token was set before it became free
 *   EDEADLK          held by a fiber of this thread that cannot run, as the caller is no fiber (shared)
 *   ENOTRECOVERABLE  a dead holder's was released without plait_rlock_consistent (shared)
 *   EOVERFLOW        the caller holds 2^32 - 1 levels, or 1,900 shared locks (shared)
 *   ENOSPC           the arena's table of participants is full (shared, a thread's first use of the arena)
 * Not a cancellation point of pthreads; not for signal handlers.
 */
PLAIT_API int plait_rlock_acquire(plait_rlock_t *rlock, plait_time_t deadline);

/* plait_rlock_acquire as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_rlock_acquire(plait_rlock_t *rlock);

/* Release a level; the last one wakes one sleeper. EPERM, and nothing done: the caller does not hold it. */
PLAIT_API int plait_rlock_release(plait_rlock_t *rlock);

/*
 * Declare the guarded data good again after EOWNERDEAD, at any level; a last release without it makes the rlock not
 * recoverable. EINVAL: it is not inconsistent. EPERM: the caller does not hold it.
 */
PLAIT_API int plait_rlock_consistent(plait_rlock_t *rlock);

/* Is it held by anybody? True only for the instant of the look. */
PLAIT_API bool plait_rlock_is_locked(const plait_rlock_t *rlock);

/* The levels that the caller holds; 0: it does not hold it. */
PLAIT_API unsigned plait_rlock_depth(const plait_rlock_t *rlock);

/* What the inlined calls fall back to: the same contracts. Not to be called directly. */
PLAIT_API int plait_rlock_acquire_slow(plait_rlock_t *rlock, plait_time_t deadline);
PLAIT_API int plait_rlock_release_slow(plait_rlock_t *rlock);

#ifndef PLAIT_NO_INLINE
PLAIT_INLINE int plait_rlock_acquire(plait_rlock_t *rlock, plait_time_t deadline)
{
    void *self = plait_caller, *holder = 0;

    if (__builtin_expect((PLAIT_HOOKS | rlock->lock.mode) == 0 && self, 1)) {
        uint32_t depth;

        if (__builtin_expect(__atomic_compare_exchange_n(&rlock->lock.prev, &holder, self, 0, __ATOMIC_ACQUIRE,
                                                         __ATOMIC_RELAXED), 1))
            return 0;
        depth = __atomic_load_n(&rlock->depth, __ATOMIC_RELAXED);
        if (holder == self && depth < 0xffffu) {
            __atomic_store_n(&rlock->depth, depth + 1, __ATOMIC_RELAXED);
            return 0;
        }
    }
    return plait_rlock_acquire_slow(rlock, deadline);
}

PLAIT_INLINE int plait_rlock_release(plait_rlock_t *rlock)
{
    void *self = plait_caller, *holder = self; /* and nobody waits */

    if (__builtin_expect((PLAIT_HOOKS | rlock->lock.mode) == 0 && self, 1)) {
        uint32_t depth = __atomic_load_n(&rlock->depth, __ATOMIC_RELAXED); /* another holder's: only a reason to look */

        if (__builtin_expect(depth == 0, 1)) {
            if (__builtin_expect(__atomic_compare_exchange_n(&rlock->lock.prev, &holder, (void *)0, 0, __ATOMIC_RELEASE,
                                                             __ATOMIC_RELAXED), 1))
                return 0;
        } else if (__atomic_load_n(&rlock->lock.prev, __ATOMIC_RELAXED) == self) {
            __atomic_store_n(&rlock->depth, depth - 1, __ATOMIC_RELAXED);
            return 0;
        }
    }
    return plait_rlock_release_slow(rlock);
}
#endif

PLAIT_END_DECLS

#endif
