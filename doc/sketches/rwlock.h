/* SPDX-License-Identifier: MIT */
/* Sketch. Read-write lock: many readers or one writer. */
#ifndef PLAIT_RWLOCK_H
#define PLAIT_RWLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/lock.h>
#include <plait/wait.h>

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
 * Fairness: while a writer waits, no new reader gets in; when a writer releases, the readers that
 * wait by then get in before the next writer. So nobody starves. A reader that acquires again,
 * while a writer waits, waits for itself: EDEADLK (shared), for ever (private).
 *
 * With PLAIT_SHARED, in an arena: a reader that dies is taken out silently, for it has changed
 * nothing. After the death of a writer, whoever comes next, reader or writer, gets EOWNERDEAD and
 * holds it for WRITING: it looks after the data, calls plait_rwlock_consistent, and, if it came to
 * read, may go on reading after plait_rwlock_downgrade. Released without that call: not
 * recoverable.
 *
 * All-zero bytes are a free private one.
 */
typedef struct plait_rwlock {
    plait_lock_t writer; /* held by the writer; shared: joins its robust list */
    uint32_t readers;    /* atomic: count in bits 0-29, then "a writer waits", "draining" */
    uint32_t turn;       /* atomic: word on which readers wait */
    uint32_t mode;       /* const after init: flags */
    uint32_t
        waiting; /* atomic: readers that wait, let in together by the next release of a writer */
    uint64_t counts_offset; /* const after init: shared: counts by slot, offset in the arena */
    uint64_t spare;
} plait_rwlock_t;

#define PLAIT_RWLOCK_INIT                 \
    {                                     \
        PLAIT_LOCK_INIT, 0, 0, 0, 0, 0, 0 \
    }

/*
 * Make a free one. EINVAL: an unknown flag, or PLAIT_SHARED outside an arena. ENOSPC: no room for
 * the counts.
 */
PLAIT_API int plait_rwlock_init(plait_rwlock_t *rwlock, unsigned flags);

/* End its life. EBUSY, and nothing done: it is held. */
PLAIT_API int plait_rwlock_fini(plait_rwlock_t *rwlock);

/*
 * Acquire it for reading, or for writing, waiting until the deadline. Return as plait_lock_acquire;
 * after EOWNERDEAD both hold it for writing.
 */
PLAIT_API int plait_rwlock_acquire_read(plait_rwlock_t *rwlock, plait_time_t deadline);
PLAIT_API int plait_rwlock_acquire_write(plait_rwlock_t *rwlock, plait_time_t deadline);

/*
 * Release what the caller holds, the one or the other. EPERM, and nothing done: it is not held, or
 * (shared) not by the caller.
 */
PLAIT_API int plait_rwlock_release(plait_rwlock_t *rwlock);

/*
 * Turn the caller's writing into reading; no other writer comes between. EPERM: the caller does not
 * write.
 */
PLAIT_API int plait_rwlock_downgrade(plait_rwlock_t *rwlock);

/* Declare the guarded data good again after EOWNERDEAD. As plait_lock_consistent. */
PLAIT_API int plait_rwlock_consistent(plait_rwlock_t *rwlock);

/* Does anybody write; how many read? True only for the instant of the look. */
PLAIT_API bool plait_rwlock_is_written(const plait_rwlock_t *rwlock);
PLAIT_API unsigned plait_rwlock_readers(const plait_rwlock_t *rwlock);

PLAIT_END_DECLS

#endif
