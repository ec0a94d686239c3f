/* SPDX-License-Identifier: MIT */
/* The owned semaphore, whose permits come back when the process that holds them dies. */
#ifndef PLAIT_SYNC_SEM_OWNED_H
#define PLAIT_SYNC_SEM_OWNED_H

#include <plait/sem.h>

/* The last step of init, of a semaphore that has its place in the arena already; the others as in plait/sem.h. */
int plait__sem_owned_init(plait_sem_t *sem, unsigned value);
int plait__sem_owned_fini(plait_sem_t *sem);
int plait__sem_owned_acquire(plait_sem_t *sem, unsigned count, plait_time_t deadline);
int plait__sem_owned_release(plait_sem_t *sem, unsigned count);
struct plait_wait_entry plait__any_sem_owned_acquire(plait_sem_t *sem, unsigned count);

#endif
