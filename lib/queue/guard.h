/* SPDX-License-Identifier: MIT */
/* The read-write lock around a structure that whoever comes after a dead writer repairs; nobody is told. */
#ifndef PLAIT_QUEUE_GUARD_H
#define PLAIT_QUEUE_GUARD_H

#include <errno.h>
#include <stdbool.h>

#include <plait/rwlock.h>

#include "wait/robust.h"

/* 0, or it cannot be repaired. May itself be killed and repeated. */
typedef int plait__repair_fn(void *structure);

/* The caller has the lock for writing, and the last writer has died: repair, and go on as a writer or as a reader. */
int plait__guard_after_death(plait_rwlock_t *lock, plait__repair_fn *repair, void *structure, bool reads);

/* Else it was damaged, and would be waited for as something else. */
static inline bool plait__guard_is_sound(const plait_rwlock_t *lock)
{
    return (lock->writer.mode & ~(uint32_t)(PLAIT_SHARED | PLAIT__LOCK_NO_LIST)) == 0;
}

/*
 * As plait_rwlock_acquire_write and _read, without a deadline, and never EOWNERDEAD. ENOTRECOVERABLE: it could not be repaired, for nobody
 * from here on.
 */
static inline int plait__guard_write(plait_rwlock_t *lock, plait__repair_fn *repair, void *structure)
{
    int err = plait__guard_is_sound(lock) ? plait_rwlock_acquire_write(lock, PLAIT_FOREVER) : EBADMSG;

    return __builtin_expect(err == EOWNERDEAD, 0) ? plait__guard_after_death(lock, repair, structure, false) : err;
}

static inline int plait__guard_read(plait_rwlock_t *lock, plait__repair_fn *repair, void *structure)
{
    int err = plait__guard_is_sound(lock) ? plait_rwlock_acquire_read(lock, PLAIT_FOREVER) : EBADMSG;

    return __builtin_expect(err == EOWNERDEAD, 0) ? plait__guard_after_death(lock, repair, structure, true) : err;
}

#endif
