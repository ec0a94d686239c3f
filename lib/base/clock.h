/* SPDX-License-Identifier: MIT */
/* Units of time, and the kernel's form of a deadline. */
#ifndef PLAIT_BASE_CLOCK_H
#define PLAIT_BASE_CLOCK_H

#include <time.h>

#include <plait/time.h>

#define PLAIT__MILLISECOND ((plait_time_t)1000000)
#define PLAIT__SECOND ((plait_time_t)1000000000)

/* `time` must not be negative. */
struct timespec plait__timespec(plait_time_t time);

#endif
