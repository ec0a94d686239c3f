/* SPDX-License-Identifier: MIT */
/* Units of time, and the kernel's form of a deadline. */
#ifndef PLAIT_BASE_CLOCK_H
#define PLAIT_BASE_CLOCK_H

#include <time.h>

#include <plait/time.h>

#define PLAIT__MILLISECOND ((plait_time_t)1000000)
#define PLAIT__SECOND ((plait_time_t)1000000000)

/* plait_now() as of the kernel's last tick, at most 10 ms ago; cheap. */
static inline plait_time_t plait__now_coarse(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (plait_time_t)now.tv_sec * PLAIT__SECOND + now.tv_nsec;
}

/* `time` must not be negative. */
struct timespec plait__timespec(plait_time_t time);

#endif
