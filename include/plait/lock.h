/* SPDX-License-Identifier: MIT */
/* Lock: mutual exclusion between threads, processes and fibers. */
#ifndef PLAIT_LOCK_H
#define PLAIT_LOCK_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/wait.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_lock_t - at most one caller holds it.
 *
 *     struct account {
 *         plait_lock_t lock;
 *         long paid_in, paid_out, balance;    // guarded by lock; balance == paid_in - paid_out
 *     };
 *
 *     plait_lock_acquire(&a->lock, PLAIT_FOREVER);
 *     a->paid_in += n;
 *     a->balance += n;
 *     plait_lock_release(&a->lock);
 *
 * States: free, held, and (shared only) held-inconsistent and not recoverable.
 *
 * Private (all-zero bytes, or init without flags): 48 bytes, of which 4 do the work; a free lock is acquired and
 * released with one atomic operation each, inlined. It has no owner: any thread may release it. It is not
 * recursive: acquiring it twice waits for ever (or until the deadline). Debug mode (plait/debug.h) takes both for
 * mistakes, unless told otherwise.
 *
 * Shared (PLAIT_SHARED, in an arena): owned by the thread that acquired it, or in a fiber by that fiber. If that thread dies - at any
 * instruction, also by SIGKILL, also with the whole process - the next to acquire it gets EOWNERDEAD and
 * HOLDS the lock: it looks after the guarded data, calls plait_lock_consistent and goes on. If it releases the lock
 * without that call, the lock is not recoverable: this and every later acquire answers ENOTRECOVERABLE.
 *
 * Fairness: whoever comes first to a free lock gets it (barging), which keeps the lock with the CPU that has it and is fast.
 * Sleepers are woken in the order in which they came to sleep; one that was woken in vain after 5 ms is owed the lock: from then
 * on it is handed from sleeper to sleeper, past those who come new, until that one has it. So a wait is
 * bounded by the number of sleepers, not by how eager others are; only a try (PLAIT_NOW) may still go first.
 *
 * With PLAIT_PRIO_INHERIT (glibc): whoever waits lends the holder its priority, so that a holder of low priority that others
 * keep from running delays nobody of a high one for longer than it holds the lock. Such a lock, private too, has an owner
 * and tells its death as a shared one does, is handed to the waiter of the highest priority, and is slower when contended; its waits
 * end within 20 ms of a cancel; it belongs to threads: two fibers of one get EDEADLK from each other. A private one held over
 * fork stays the parent's, in the child for ever.
 *
 * After a release the lock's memory may be freed by whoever acquires the lock next, even before the release has returned.
 * Held over fork: the child does not own the parent's locks; a private lock that the forking thread held is
 * held in the child and released there by the child's copy of the thread.
 */
typedef struct plait_lock {
    uint32_t state;        /* atomic: private: free, held, held and wanted; shared: a constant */
    uint32_t mode;         /* const after init: flags */
    uint32_t robust[3];    /* atomic: shared: the owner's word lies in here, where this libc wants it */
    uint32_t fault;        /* guarded by the lock itself: shared: inconsistent, not recoverable, which fiber */
    uint64_t arena_offset; /* const after init: distance from the arena's header, 0 if private */
    void *prev;            /* owner only: shared: neighbours in the owner's robust list */
    void *next;            /* owner only */
} plait_lock_t;

#define PLAIT_LOCK_INIT { 0, 0, { 0, 0, 0 }, 0, 0, 0, 0 }

/* Make a free lock; flags: PLAIT_SHARED, PLAIT_PRIO_INHERIT. EINVAL: an unknown flag, or PLAIT_SHARED outside an arena.
 * ENOSPC: the arena's table of participants is full. ENOSYS: this libc or kernel has no priority inheritance. */
PLAIT_API int plait_lock_init(plait_lock_t *lock, unsigned flags);

/* End the lock's life. EBUSY, and nothing done: it is held. */
PLAIT_API int plait_lock_fini(plait_lock_t *lock);

/*
 * Acquire the lock, waiting until the deadline. Returns
 *   0                the caller holds it
 *   EOWNERDEAD       the caller holds it, and its last holder died (shared); wins over ETIMEDOUT
 *   ETIMEDOUT        not acquired by the deadline; with PLAIT_NOW: held by somebody
 *   ECANCELED        the caller's cancel token was set before the lock became free
 *   EDEADLK          the caller holds it already, or a fiber of its thread does that cannot run meanwhile, as the caller is
 *                    no fiber (shared; a private one waits)
 *   ENOTRECOVERABLE  a dead holder's lock was released without plait_lock_consistent (shared)
 *   EOVERFLOW        the caller holds 1,900 shared locks: the kernel watches over no more (shared)
 *   ENOSPC           the arena's table of participants is full (shared, a thread's first use of the arena)
 *   EBADMSG, EINVAL  the memory is damaged: there is no lock of this arena (shared)
 * Not a cancellation point of pthreads; not for signal handlers.
 */
PLAIT_API int plait_lock_acquire(plait_lock_t *lock, plait_time_t deadline);

/*
 * plait_lock_acquire as an entry of plait_wait_any. A lock with PLAIT_PRIO_INHERIT is looked at every few milliseconds there, and
 * lends no priority.
 */
PLAIT_API struct plait_wait_entry plait_any_lock_acquire(plait_lock_t *lock);

/*
 * Release the lock, and wake one sleeper. EPERM, and nothing done: the lock is not held, or (shared) not by
 * the caller.
 */
PLAIT_API int plait_lock_release(plait_lock_t *lock);

/*
 * Declare the guarded data good again after EOWNERDEAD. EINVAL: the lock is not inconsistent. EPERM: the
 * caller does not hold it.
 */
PLAIT_API int plait_lock_consistent(plait_lock_t *lock);

/* Is it held by anybody? True only for the instant of the look. */
PLAIT_API bool plait_lock_is_locked(const plait_lock_t *lock);

/* What the inlined calls fall back to: the same contracts. Not to be called directly. */
PLAIT_API int plait_lock_acquire_slow(plait_lock_t *lock, plait_time_t deadline);
PLAIT_API int plait_lock_release_slow(plait_lock_t *lock);

/* Non-zero while something (debug mode, tracing) wants to see every call: the inlined paths then step aside. */
PLAIT_API extern uint32_t plait_hooks;
#define PLAIT_HOOKS __atomic_load_n(&plait_hooks, __ATOMIC_RELAXED)

/* A number of which the compiler knows nothing, else it takes the 0 that was just compared, and the exchange waits for that load. */
#define PLAIT_LOCK_APART(number) __asm__("" : "+r"(number))

#ifndef PLAIT_NO_INLINE
PLAIT_INLINE int plait_lock_acquire(plait_lock_t *lock, plait_time_t deadline)
{
    uint32_t unheld = 0;

    PLAIT_LOCK_APART(unheld);
    if (__builtin_expect((PLAIT_HOOKS | lock->mode) == 0, 1) &&
        __builtin_expect(__atomic_compare_exchange_n(&lock->state, &unheld, 1u, 0, __ATOMIC_ACQUIRE,
                                                     __ATOMIC_RELAXED), 1))
        return 0;
    return plait_lock_acquire_slow(lock, deadline);
}

PLAIT_INLINE int plait_lock_release(plait_lock_t *lock)
{
    uint32_t held = 1u; /* private, and nobody waits */
    uint32_t unheld = 0;

    PLAIT_LOCK_APART(unheld);
    if (__builtin_expect((PLAIT_HOOKS | lock->mode) == 0, 1) &&
        __builtin_expect(__atomic_compare_exchange_n(&lock->state, &held, unheld, 0, __ATOMIC_RELEASE,
                                                     __ATOMIC_RELAXED), 1))
        return 0;
    return plait_lock_release_slow(lock);
}
#endif

PLAIT_END_DECLS

#endif
