/* SPDX-License-Identifier: MIT */
/* The ground: wait for a word to change, wake who waits for it. Everything that blocks stands on this. */
#ifndef PLAIT_WAIT_H
#define PLAIT_WAIT_H

#include <stddef.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * A wait is on a 32-bit word, aligned to 4 bytes, in the caller's memory. The waiter says which value it
 * has seen; it sleeps only while the word still has that value. The waker first changes the word, with an
 * atomic operation, and then calls plait_wake. Compare and sleep are one step with regard to wakes, so a
 * wake that follows the change is never lost:
 *
 *     waiter                                            waker
 *     while (load_acquire(&word) == OLD)                store_release(&word, NEW);
 *         plait_wait(&word, OLD, 0, deadline);          plait_wake(&word, 1, 0);
 *
 * A return of 0 means "look again": the word changed, or a wake came, or neither (spurious). A thread sleeps
 * in the kernel; a fiber is parked and its thread runs other fibers; a process is a thread of another
 * program, with the same word in memory that both share and PLAIT_SHARED in the flags on both sides. The
 * waker does not know or care which of them waits. Interrupting signals are invisible.
 *
 * May be called from threads and fibers; plait_wake also from signal handlers.
 */

/*
 * Flags. PLAIT_SHARED: the word (or the object) lies in memory shared with other processes. The same flag
 * makes an object shared in every noun's init; objects other than bare words must then lie in an arena.
 */
enum plait_flags {
    PLAIT_SHARED = 1u << 0,
    PLAIT_BOUNDED = 1u << 1,     /* plait_sem_init: refuse to rise above the initial value */
    PLAIT_OWNED = 1u << 2,       /* plait_sem_init, with PLAIT_SHARED: permits of a dead process come back */
    PLAIT_PRIO_INHERIT = 1u << 4 /* plait_lock_init, plait_rlock_init: a waiter lends the holder its priority */
};

/*
 * Wait until *word is no longer `expected`, or somebody wakes the word. Returns
 *   0          look again (see above); at once when *word differs
 *   ETIMEDOUT  the deadline passed; with PLAIT_NOW at once when *word equals `expected`
 *   ECANCELED  the caller's cancel token (plait/cancel.h) is set
 *   EINVAL     word is NULL or not aligned, or an unknown flag
 * A word that differs wins over a token that is set, and that over a deadline that has passed.
 */
PLAIT_API int plait_wait(const uint32_t *word, uint32_t expected, unsigned flags, plait_time_t deadline);

/*
 * Wake up to `count` callers that wait for this word (UINT_MAX: all). The word itself may already have been
 * freed and its memory reused: only its address is used. Returns 0; EINVAL for an unknown flag or a bad address.
 * Async-signal-safe. One system call, or none where all who slept were fibers.
 */
PLAIT_API int plait_wake(const uint32_t *word, unsigned count, unsigned flags);

/* One of several words to wait for: as the arguments of plait_wait. */
struct plait_wait_word {
    const uint32_t *word;
    uint32_t expected;
    uint32_t flags;
};

/* The most words one plait_wait_many takes. */
#define PLAIT_WAIT_MANY_MAX 120

/*
 * Wait until one of `count` words is no longer as expected, or is woken; private and shared ones may be
 * mixed. *index_out (may be NULL) receives the index of a word that changed or was woken, if known, else
 * `count`. Returns as plait_wait; EINVAL also when count is 0 or above PLAIT_WAIT_MANY_MAX. Where the kernel
 * has no futex_waitv, shared words beside others are looked at every millisecond or more seldom instead (up to 20 ms).
 */
PLAIT_API int plait_wait_many(const struct plait_wait_word *words, size_t count, size_t *index_out,
                              plait_time_t deadline);

/* For inlined functions: who runs on this thread, as private objects know it; NULL: not known yet. */
PLAIT_API extern PLAIT_THREAD_LOCAL void *plait_caller;

PLAIT_END_DECLS

#endif
