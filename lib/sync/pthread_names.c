/* SPDX-License-Identifier: MIT */
/* How it works: the wall clock is left at the door. */
#include "sync/pthread_names.h"

#include "base/clock.h"

int plait__pthread_deadline(clockid_t clock, const struct timespec *at, plait_time_t *deadline_out)
{
    struct timespec now;
    plait_time_t left, mono;

    if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC)
        return EINVAL;
    if (at->tv_nsec < 0 || at->tv_nsec >= PLAIT__SECOND)
        return EINVAL;
    clock_gettime(clock, &now);
    mono = plait_now();
    if (at->tv_sec < now.tv_sec || (at->tv_sec == now.tv_sec && at->tv_nsec <= now.tv_nsec))
        *deadline_out = PLAIT_NOW;
    else if (__builtin_sub_overflow((plait_time_t)at->tv_sec, (plait_time_t)now.tv_sec, &left) ||
             __builtin_mul_overflow(left, PLAIT__SECOND, &left) ||
             __builtin_add_overflow(left, at->tv_nsec - now.tv_nsec, &left) ||
             __builtin_add_overflow(mono, left, deadline_out))
        *deadline_out = PLAIT_FOREVER;
    return 0;
}

int plait__pthread_check_pshared(int pshared)
{
    return pshared == PTHREAD_PROCESS_PRIVATE || pshared == PTHREAD_PROCESS_SHARED ? 0 : EINVAL;
}
