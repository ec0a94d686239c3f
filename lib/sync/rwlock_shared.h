/* SPDX-License-Identifier: MIT */
/* The shared read-write lock: its writer holds a robust lock, its readers have holds in the participants' table. */
#ifndef PLAIT_SYNC_RWLOCK_SHARED_H
#define PLAIT_SYNC_RWLOCK_SHARED_H

#include <plait/rwlock.h>

/* As the public calls of the same names. init: the inner lock is made already. */
int plait__rwlock_shared_init(plait_rwlock_t *rwlock);
int plait__rwlock_shared_read(plait_rwlock_t *rwlock, plait_time_t deadline);
int plait__rwlock_shared_write(plait_rwlock_t *rwlock, plait_time_t deadline);
int plait__rwlock_shared_release(plait_rwlock_t *rwlock);
int plait__rwlock_shared_downgrade(plait_rwlock_t *rwlock);
int plait__rwlock_shared_consistent(plait_rwlock_t *rwlock);
unsigned plait__rwlock_shared_readers(const plait_rwlock_t *rwlock);

/*
 * For a reader at a closed gate: is there a writer that will open it? 0: there is, or the gate has been opened. EOWNERDEAD: it had
 * died, and the caller has its place, and writes. ENOTRECOVERABLE; EDEADLK: the caller itself. Errors of plait_lock_acquire.
 */
int plait__rwlock_look_after_writer(plait_rwlock_t *rwlock);

#endif
