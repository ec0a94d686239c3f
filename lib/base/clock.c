/* SPDX-License-Identifier: MIT */
/* The monotonic clock and deadlines. */
#include <plait/time.h>

#include <time.h>

#include "base/clock.h"

plait_time_t plait_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (plait_time_t)now.tv_sec * PLAIT__SECOND + now.tv_nsec;
}

plait_time_t plait_after(double seconds)
{
    double span = seconds * (double)PLAIT__SECOND;
    plait_time_t now;

    if (!(span > 0)) /* NaN too */
        return PLAIT_NOW;
    now = plait_now();
    if (span >= (double)(PLAIT_FOREVER - now))
        return PLAIT_FOREVER;
    return now + (plait_time_t)span;
}

struct timespec plait__timespec(plait_time_t time)
{
    return (struct timespec){ .tv_sec = time / PLAIT__SECOND, .tv_nsec = time % PLAIT__SECOND };
}
