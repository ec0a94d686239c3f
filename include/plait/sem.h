/* SPDX-License-Identifier: MIT */
/* Semaphore: a number of permits. */
#ifndef PLAIT_SEM_H
#define PLAIT_SEM_H

#include <stdint.h>

#include <plait/export.h>
#include <plait/lock.h>
#include <plait/wait.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/* The most permits a semaphore can have. */
#define PLAIT_SEM_MAX 0x1fffffffu

/*
 * plait_sem_t - permits that are acquired and released, by anyone, in any order.
 *
 *     plait_sem_t slots;
 *     plait_sem_init(&slots, 5, PLAIT_BOUNDED);        // five connections at a time
 *
 *     plait_sem_acquire(&slots, 1, PLAIT_FOREVER);
 *     talk();
 *     plait_sem_release(&slots, 1);
 *
 * All-zero bytes are a private semaphore without permits. PLAIT_BOUNDED refuses a release that would bring the value
 * above the initial one. PLAIT_SHARED, in an arena, serves processes; permits are plain numbers there: what a dead
 * process had acquired stays acquired, and what it had released stays released (a signal is never taken back).
 *
 * An acquire of several permits takes them together or not at all; it does not set any aside while it
 * waits, so a stream of smaller requests can delay it. Order is barging, as for locks. The death of a sleeper or of a
 * releaser between its release and its wake harms nobody; in the second case a sleeper of another process may
 * notice the permit only at its next look, in less than a second.
 *
 * PLAIT_OWNED, with PLAIT_SHARED: permits that belong to the process whose thread acquired them, until any thread of that
 * process releases them. If it ends with permits, killed or not, they come back: who waits for them notices in less
 * than a second, who asks for them at once. (A thread that ends leaves its permits to its process.) There are never more
 * than at first, PLAIT_BOUNDED or not, and a fork gives the child none. It takes memory of the arena until
 * plait_sem_fini. Its calls take a lock inside: they are several times slower, and none but plait_sem_value is
 * async-signal-safe.
 *
 * plait_sem_release and plait_sem_value are async-signal-safe. After a release the semaphore may be freed by
 * whoever got the permit.
 */
typedef struct plait_sem {
    uint32_t word;         /* atomic: value in bits 0-28, "too many", "wants several", "sleepers" */
    uint32_t mode;         /* const after init: flags */
    uint32_t max;          /* const after init: the bound, 0 for PLAIT_SEM_MAX */
    uint32_t usual;        /* const after init: the value when all permits are there: a guess at the word, never relied on */
    uint64_t arena_offset; /* const after init: distance from the arena's header, 0 if private */
    uint64_t owned;        /* const after init: PLAIT_OWNED: block in the arena with the rest of it, else 0 */
} plait_sem_t;

#define PLAIT_SEM_INIT(value) { (value), 0, 0, (value), 0, 0 }

/*
 * Make a semaphore with `value` permits (0 to PLAIT_SEM_MAX). EINVAL: a greater value, PLAIT_BOUNDED or PLAIT_OWNED with a
 * value of 0, an unknown flag, PLAIT_SHARED outside an arena, or PLAIT_OWNED without PLAIT_SHARED. ENOSPC: the arena's
 * table of participants is full, or (owned) its memory.
 */
PLAIT_API int plait_sem_init(plait_sem_t *sem, unsigned value, unsigned flags);

/* End the semaphore's life; nobody may be waiting. 0; EBUSY, and nothing done: a living process has permits of it (owned). */
PLAIT_API int plait_sem_fini(plait_sem_t *sem);

/*
 * Take `count` permits, waiting until the deadline; a cancellation point of pthreads where it has to sleep. Returns
 *   0          taken
 *   ETIMEDOUT  there were not as many by the deadline; nothing taken
 *   ECANCELED  the caller's cancel token was set first; nothing taken
 *   EINVAL     count is 0, or more than there can ever be
 *   ENOSPC     the arena has no place for another participant, or for what the caller holds (owned)
 */
PLAIT_API int plait_sem_acquire(plait_sem_t *sem, unsigned count, plait_time_t deadline);

/* plait_sem_acquire as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_sem_acquire(plait_sem_t *sem, unsigned count);

/*
 * Give `count` permits back, or the first time, and wake as many sleepers as they may serve. EOVERFLOW, and nothing
 * done: the value would rise above the bound. EINVAL: count is 0. EPERM, and nothing done: the caller's process has
 * not so many permits (owned). ENOSPC: as for acquire (owned). Without PLAIT_BOUNDED, a releaser that is killed while it is
 * about to answer EOVERFLOW may have given its permits all the same: PLAIT_SEM_MAX is no bound that a program asked for.
 */
PLAIT_API int plait_sem_release(plait_sem_t *sem, unsigned count);

/* The number of permits at the instant of the look. */
PLAIT_API unsigned plait_sem_value(const plait_sem_t *sem);

/* What the inlined calls fall back to: the same contracts. Not to be called directly. */
PLAIT_API int plait_sem_acquire_slow(plait_sem_t *sem, unsigned count, plait_time_t deadline);
PLAIT_API int plait_sem_release_slow(plait_sem_t *sem, unsigned count);
PLAIT_API int plait_sem_released_slow(plait_sem_t *sem, unsigned count, uint32_t word, uint32_t mode);

#ifndef PLAIT_NO_INLINE
PLAIT_INLINE int plait_sem_acquire(plait_sem_t *sem, unsigned count, plait_time_t deadline)
{
    /* A guess, not a look: where it is right, it saves what looking at a word that was just changed costs. */
    uint32_t word = sem->usual ? sem->usual : __atomic_load_n(&sem->word, __ATOMIC_RELAXED);

    /* Below 2^30 no flag is set; count - 1 < word also sends a count of 0 to the slow path. */
    if (__builtin_expect(PLAIT_HOOKS == 0 && word <= PLAIT_SEM_MAX && count - 1u < word, 1) &&
        __builtin_expect(__atomic_compare_exchange_n(&sem->word, &word, word - count, 0, __ATOMIC_ACQUIRE,
                                                     __ATOMIC_RELAXED), 1))
        return 0;
    /* Not as guessed, but now it is known. */
    if (__builtin_expect(PLAIT_HOOKS == 0 && word <= PLAIT_SEM_MAX && count - 1u < word, 1) &&
        __builtin_expect(__atomic_compare_exchange_n(&sem->word, &word, word - count, 0, __ATOMIC_ACQUIRE,
                                                     __ATOMIC_RELAXED), 1))
        return 0;
    return plait_sem_acquire_slow(sem, count, deadline);
}

PLAIT_INLINE int plait_sem_release(plait_sem_t *sem, unsigned count)
{
    uint32_t mode = sem->mode; /* read before: once the permits are there, the semaphore may be freed */

    /* No bound, and a count so small that no number of threads carries the value into the flags. */
    if (__builtin_expect(PLAIT_HOOKS == 0 && mode <= PLAIT_SHARED && count - 1u < 0xffffu, 1)) {
        uint32_t word = __atomic_add_fetch(&sem->word, count, __ATOMIC_RELEASE);

        if (__builtin_expect(word <= PLAIT_SEM_MAX, 1))
            return 0;
        return plait_sem_released_slow(sem, count, word, mode);
    }
    return plait_sem_release_slow(sem, count);
}
#endif

PLAIT_END_DECLS

#endif
