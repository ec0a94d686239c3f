/* SPDX-License-Identifier: MIT */
/* What the functions behind the pthread names have in common. */
#ifndef PLAIT_SYNC_PTHREAD_NAMES_H
#define PLAIT_SYNC_PTHREAD_NAMES_H

#define PLAIT_PTHREAD_NO_NAMES
#include <plait/pthread.h>

#include <errno.h>
#include <stdint.h>

#include <plait/cancel.h>
#include <plait/time.h>

/* EINVAL: a clock other than CLOCK_REALTIME and CLOCK_MONOTONIC. */
int plait__pthread_check_clock(clockid_t clock);

/*
 * The deadline in our form; one that has passed is PLAIT_NOW. EINVAL: a clock other than the two, or nanoseconds out of
 * range. Never too early: the wall clock is read before the monotonic one.
 */
int plait__pthread_deadline(clockid_t clock, const struct timespec *at, plait_time_t *deadline_out);

/* PTHREAD_PROCESS_SHARED or _PRIVATE to our flags; EINVAL: neither. */
int plait__pthread_check_pshared(int pshared);

/* Where POSIX wants nobody to go on: sleep until the deadline, ETIMEDOUT; with PLAIT_NOW EBUSY. The caller's token is unbound. */
int plait__pthread_wait_in_vain(plait_time_t deadline);

/*
 * An object that POSIX lets be destroyed while those whose wait has ended are still on their way out counts who is
 * inside. After leave its memory may be gone.
 */
void plait__pthread_enter(uint32_t *inside);
void plait__pthread_leave(uint32_t *inside, unsigned shared);
void plait__pthread_wait_for_leavers(uint32_t *inside, unsigned shared);

/* For the answer of our init: what lies in no arena cannot be shared. */
static inline int plait__pthread_init_error(int err, unsigned flags)
{
    return err == EINVAL && (flags & PLAIT_SHARED) ? ENOTSUP : err;
}

#endif
