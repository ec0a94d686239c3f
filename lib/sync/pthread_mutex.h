/* SPDX-License-Identifier: MIT */
/* A mutex of pthreads, for the conditions of pthreads. */
#ifndef PLAIT_SYNC_PTHREAD_MUTEX_H
#define PLAIT_SYNC_PTHREAD_MUTEX_H

#include <stdbool.h>

#include "sync/pthread_names.h"

/*
 * Our lock's error as pthreads want it. Where POSIX wants a deadlock it waits until the deadline first. A busy one:
 * EBUSY with PLAIT_NOW, else ETIMEDOUT.
 */
int plait__pthread_mutex_answer(plait_pthread_mutex_t *mutex, int err, plait_time_t deadline);

/* glibc's fourth type, an enum constant there. */
#ifdef __GLIBC__
static inline bool plait__pthread_is_adaptive(int type) { return type == PTHREAD_MUTEX_ADAPTIVE_NP; }
#else
static inline bool plait__pthread_is_adaptive(int type) { (void)type; return false; }
#endif

#endif
