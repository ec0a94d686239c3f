/* SPDX-License-Identifier: MIT */
/* Condition: wait, with a lock given up meanwhile, until somebody notifies. */
#ifndef PLAIT_COND_H
#define PLAIT_COND_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/lock.h>
#include <plait/wait.h>

PLAIT_BEGIN_DECLS

/*
 * plait_cond_t - a queue of callers who wait for a change in data that a lock guards.
 *
 *     struct stock {
 *         plait_lock_t lock;
 *         plait_cond_t arrived;
 *         int count;                       // guarded by lock; >= 0
 *     };
 *
 *     plait_lock_acquire(&s->lock, PLAIT_FOREVER);       // taking
 *     while (s->count == 0)
 *         plait_cond_wait(&s->arrived, &s->lock, PLAIT_FOREVER);
 *     s->count--;
 *     plait_lock_release(&s->lock);
 *
 *     plait_lock_acquire(&s->lock, PLAIT_FOREVER);       // adding
 *     s->count++;
 *     plait_cond_notify(&s->arrived, 1);
 *     plait_lock_release(&s->lock);
 *
 * notify wakes exactly n of those who waited when it was called (all, if they are fewer), in the order in
 * which they came; nobody who comes later can take a notification away. There are no spurious wake-ups: a
 * wait returns 0 only for a notification. Notifying is allowed with or without the lock held. Who is notified while the lock is
 * held sleeps on until it is released, and of many one wakes after the other: no stampede.
 *
 * The lock may be that of an rlock, &rlock->lock: the wait gives up all its levels, and has all of them again when it
 * returns. As soon as the last wait has returned, the condition may be freed, even if the notify that ended it has not
 * returned yet.
 *
 * A shared condition goes with a shared lock, a private one with either. All who wait at one time use the same lock.
 *
 * With PLAIT_SHARED, in an arena, it serves processes: a killed waiter's place is cleared away, and a notification
 * that had been given to it passes to the next waiter (at the latest when that one looks, in less than a
 * second); a notifier killed half way harms nobody. If the holder of the lock dies, the wait returns EOWNERDEAD, with the lock held.
 *
 * All-zero bytes are a valid private condition.
 */
typedef struct plait_cond {
    plait_lock_t guard;  /* guards the rest of this struct, never held while waiting */
    uint64_t head, tail; /* guarded by guard: the waiters in order: addresses, or offsets of holds */
    uint32_t mode;       /* const after init: flags */
    uint32_t notified;   /* guarded by guard: shared: waiters notified that have not yet returned */
    uint64_t arrivals;   /* guarded by guard: waiters so far; each one's number is its place in the order */
} plait_cond_t;

#define PLAIT_COND_INIT { PLAIT_LOCK_INIT, 0, 0, 0, 0, 0 }

/* Make a condition. EINVAL: an unknown flag, or PLAIT_SHARED outside an arena. */
PLAIT_API int plait_cond_init(plait_cond_t *cond, unsigned flags);

/* End its life. EBUSY, and nothing done: somebody who lives is waiting; of a shared one, somebody's wait has not returned. */
PLAIT_API int plait_cond_fini(plait_cond_t *cond);

/*
 * Release `lock`, wait for a notification, acquire `lock` again; the release and the start of the wait are
 * one step with regard to notifiers that hold the lock. The lock is held on return, whatever is returned,
 * but for EPERM, EINVAL, ENOSPC and ENOTRECOVERABLE.
 *   0                notified
 *   ETIMEDOUT        not notified by the deadline (taking the lock back does not count and is not cut short)
 *   ECANCELED        the caller's cancel token was set first
 *   EOWNERDEAD       the lock's last holder died; the lock is held, at all levels; a notification that came counts as taken
 *   ENOTRECOVERABLE  the lock cannot be held any more (plait/lock.h); it is not held
 *   EPERM            the lock is not held (shared or recursive: by the caller); nothing done
 *   EINVAL           a shared condition with a private lock; nothing done
 *   ENOSPC           the arena's table of participants is full, or it has no memory for a thread with so many waits
 *                    and holds at one time (beyond four); nothing done
 * A cancellation point of pthreads: the lock is held, at all levels, when the clean-up handlers run, and a notification that
 * the cancelled waiter had been given passes to the next.
 */
PLAIT_API int plait_cond_wait(plait_cond_t *cond, plait_lock_t *lock, plait_time_t deadline);

/*
 * Wait until predicate(arg) is true; it is called with the lock held, first at once, then after each notification
 * and once more at the deadline or when cancelled. Returns 0 when it was true, else as plait_cond_wait (EOWNERDEAD at
 * once). One deadline for the whole.
 */
PLAIT_API int plait_cond_wait_for(plait_cond_t *cond, plait_lock_t *lock, bool (*predicate)(void *arg),
                                  void *arg, plait_time_t deadline);

/* Wake `count` waiters, or all there are if fewer; with 0 nothing is done. 0; ENOSPC as above (shared). */
PLAIT_API int plait_cond_notify(plait_cond_t *cond, unsigned count);

/* Wake all who wait now. Returns as notify. */
PLAIT_API int plait_cond_notify_all(plait_cond_t *cond);

PLAIT_END_DECLS

#endif
