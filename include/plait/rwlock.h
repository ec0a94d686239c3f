/* SPDX-License-Identifier: MIT */
/* Read-write lock: many readers or one writer. */
#ifndef PLAIT_RWLOCK_H
#define PLAIT_RWLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/lock.h>
#include <plait/wait.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_rwlock_t - held by any number of readers, or by one writer.
 *
 *     struct prices {
 *         plait_rwlock_t lock;
 *         double price[1000], sum;       // guarded by lock; sum of price
 *     };
 *
 *     plait_rwlock_acquire_read(&p->lock, PLAIT_FOREVER);
 *     average = p->sum / 1000;
 *     plait_rwlock_release(&p->lock);
 *
 * A hold belongs to the caller that acquired it, a thread or in a fiber that fiber, and only it may release it; so
 * the lock knows whether it is the reading or the writing that ends. Who reads may acquire for reading again, which never
 * waits, and releases as often. Who writes may downgrade. Who reads may not acquire for writing (two of them would wait for
 * each other): EDEADLK. So is an acquire by who writes.
 *
 * Readers do not disturb each other: each says that it reads in memory of its own, without an atomic operation on the
 * lock, and a writer looks through those who have read since the last writer. Reading is cheap on any number of
 * CPUs; a write costs a look at each recent reader.
 *
 * Fairness: from the moment a writer comes to a lock that nobody else writes, no new reader gets in; the writer waits for
 * those inside. When it releases, the readers who wait by then get in before the next writer; of a shared one not oftener than
 * every few milliseconds, for where processes have to take turns at the CPUs that would be all that they do. Whichever writer comes
 * first to a lock without a writer gets it (barging), but one that has been woken and forestalled a few times gets it next
 * (private; shared: as plait_lock_t). So nobody starves.
 *
 * Private: all-zero bytes, or init without flags. A thread that ends is taken out of the readers. The child of a fork
 * has only what the forking thread held, and its release there; readers and waiters that are not in the child are not
 * waited for, but what another thread was writing stays held.
 *
 * Shared (PLAIT_SHARED, in an arena): a reader that dies is taken out silently, for it has changed nothing. After the
 * death of a writer, whoever comes next, reader or writer, gets EOWNERDEAD and holds it for WRITING: it looks after the data,
 * calls plait_rwlock_consistent, and, if it came to read, goes on reading after plait_rwlock_downgrade. Released without
 * consistent, the lock is not recoverable. A writer that dies while it waits for the readers to leave has changed nothing
 * either, and is not told. Those who sleep already notice a death in less than a second.
 *
 * Whoever knows that it holds the lock as the last may release it, end it and free its memory at once, though the releases
 * of those before may not have returned. A writer knows that of all who have acquired it before.
 */
typedef struct plait_rwlock {
    plait_lock_t writer; /* shared: held by the writer; its mode and place are this object's */
    union {
        uint64_t state;   /* atomic: closed by a writer, phase, who sleeps; see rwlock.c */
        uint32_t half[2]; /* atomic: the same, to be slept on */
    };
    uint64_t groups;     /* atomic: who may have a hold for reading, each bit for a group of threads */
    void *owner;         /* atomic: private: who writes; NULL: nobody as yet */
    uint64_t taken;      /* owner only: private: the state as the writer left it */
    uint64_t leaver;     /* guarded by writer: shared: who released it last, and opens the gate after that */
} plait_rwlock_t;

#define PLAIT_RWLOCK_INIT { PLAIT_LOCK_INIT, { 0 }, 0, 0, 0, 0 }

/* Make a free one. EINVAL: an unknown flag, or PLAIT_SHARED outside an arena. ENOSPC: the arena's table of participants is
 * full. */
PLAIT_API int plait_rwlock_init(plait_rwlock_t *rwlock, unsigned flags);

/* End its life; never waits. EBUSY, and nothing done: it is held by somebody who lives. */
PLAIT_API int plait_rwlock_fini(plait_rwlock_t *rwlock);

/*
 * Acquire it for reading, waiting until the deadline. Returns
 *   0                the caller reads
 *   EOWNERDEAD       the caller WRITES, and the last writer died (shared); wins over ETIMEDOUT
 *   ETIMEDOUT        not acquired by the deadline; with PLAIT_NOW: somebody writes, or waits to
 *   ECANCELED        the caller's cancel token was set first
 *   EDEADLK          the caller writes
 *   ENOTRECOVERABLE  a dead writer's lock was released without plait_rwlock_consistent (shared)
 *   EOVERFLOW        the caller reads it 2^32 - 1 times already
 *   ENOMEM           no memory for the list of what the thread reads (private; a first few need none)
 *   ENOSPC           the arena, or its table of participants, is full (shared)
 * Not a cancellation point of pthreads; not for signal handlers.
 */
PLAIT_API int plait_rwlock_acquire_read(plait_rwlock_t *rwlock, plait_time_t deadline);

/*
 * Acquire it for writing, waiting until the deadline. Returns
 *   0                the caller writes
 *   EOWNERDEAD       the caller writes, and the last writer died (shared); wins over ETIMEDOUT
 *   ETIMEDOUT        not acquired by the deadline; with PLAIT_NOW: somebody holds it
 *   ECANCELED        the caller's cancel token was set first
 *   EDEADLK          the caller writes or reads already: there is no upgrade
 *   ENOTRECOVERABLE, EOVERFLOW, ENOSPC   as plait_lock_acquire (shared)
 *   ENOMEM           no memory for the thread's first use of such a lock (private)
 * A writer that gives up lets in the readers that it had kept out.
 */
PLAIT_API int plait_rwlock_acquire_write(plait_rwlock_t *rwlock, plait_time_t deadline);

/*
 * plait_rwlock_acquire_read and plait_rwlock_acquire_write as entries of plait_wait_any, private or shared. They answer as the calls
 * do. Who waits to write keeps new readers out there, too; when another entry wins, or none, they are let in at once.
 */
PLAIT_API struct plait_wait_entry plait_any_rwlock_acquire_read(plait_rwlock_t *rwlock);
PLAIT_API struct plait_wait_entry plait_any_rwlock_acquire_write(plait_rwlock_t *rwlock);

/*
 * Release one level of what the caller holds, and wake who waits for it. EPERM, and nothing done: the caller holds
 * nothing of it.
 */
PLAIT_API int plait_rwlock_release(plait_rwlock_t *rwlock);

/*
 * Turn the caller's writing into reading; no writer comes between, and the readers that wait get in. Never waits. EPERM:
 * the caller does not write. EINVAL: after EOWNERDEAD, without plait_rwlock_consistent. ENOMEM, ENOSPC: as acquire_read;
 * the caller still writes.
 */
PLAIT_API int plait_rwlock_downgrade(plait_rwlock_t *rwlock);

/*
 * Declare the guarded data good again after EOWNERDEAD. EINVAL: the lock is not inconsistent. EPERM: the caller does not
 * write (shared).
 */
PLAIT_API int plait_rwlock_consistent(plait_rwlock_t *rwlock);

/* Does anybody write who lives; how many callers read, each counted once? True only for the instant of the look. */
PLAIT_API bool plait_rwlock_is_written(const plait_rwlock_t *rwlock);
PLAIT_API unsigned plait_rwlock_readers(const plait_rwlock_t *rwlock);

PLAIT_END_DECLS

#endif
