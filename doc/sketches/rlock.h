/* SPDX-License-Identifier: MIT */
/* Sketch. Recursive lock: a lock that its holder may acquire again. */
#ifndef PLAIT_RLOCK_H
#define PLAIT_RLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/lock.h>
#include <plait/wait.h>

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
 * The holder is a thread, or in a fiber that fiber, for private as for shared ones: a release by
 * anybody else is refused. Free again after as many releases as acquires.
 *
 * All else is as for plait_lock_t: all-zero bytes are a free private one; with PLAIT_SHARED, in an
 * arena, the death of the holder at any level is told by EOWNERDEAD to the next, who holds it at
 * one level.
 *
 * A condition takes it as &rlock->lock: waiting gives up all levels and takes all of them back.
 */
typedef struct plait_rlock {
    plait_lock_t
        lock; /* marked by its holder, while held through the rlock, for plait_cond_wait to see */
    uint64_t holder; /* atomic: number of the thread and of the fiber in it, 0: free */
    uint32_t depth;  /* owner only: levels held */
    uint32_t spare;
} plait_rlock_t;

#define PLAIT_RLOCK_INIT         \
    {                            \
        PLAIT_LOCK_INIT, 0, 0, 0 \
    }

/* Make a free one. Errors as plait_lock_init. */
PLAIT_API int plait_rlock_init(plait_rlock_t *rlock, unsigned flags);

/* End its life. EBUSY, and nothing done: it is held. */
PLAIT_API int plait_rlock_fini(plait_rlock_t *rlock);

/*
 * Acquire a level, waiting until the deadline if somebody else holds it. Returns as
 * plait_lock_acquire, never EDEADLK; EOVERFLOW also when 2^32 - 1 levels are held. A further level
 * never waits.
 */
PLAIT_API int plait_rlock_acquire(plait_rlock_t *rlock, plait_time_t deadline);

/*
 * Release a level; the last one wakes one sleeper. EPERM, and nothing done: the caller does not
 * hold it.
 */
PLAIT_API int plait_rlock_release(plait_rlock_t *rlock);

/* Declare the guarded data good again. As plait_lock_consistent. */
PLAIT_API int plait_rlock_consistent(plait_rlock_t *rlock);

/* Is it held by anybody? True only for the instant of the look. */
PLAIT_API bool plait_rlock_is_locked(const plait_rlock_t *rlock);

/* The levels that the caller holds; 0: it does not hold it. */
PLAIT_API unsigned plait_rlock_depth(const plait_rlock_t *rlock);

PLAIT_END_DECLS

#endif
