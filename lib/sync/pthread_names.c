/* SPDX-License-Identifier: MIT */
/*
 * How it works: the wall clock is left at the door.
 *
 * E1 leave: who leaves subtracts with a release, who destroys acquires; the wake uses the address alone.
 */
#include "sync/pthread_names.h"

#include "base/atomic.h"
#include "base/clock.h"

int plait__pthread_check_clock(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC ? 0 : EINVAL;
}

int plait__pthread_deadline(clockid_t clock, const struct timespec *at, plait_time_t *deadline_out)
{
    struct timespec now;
    plait_time_t left, mono;

    if (plait__pthread_check_clock(clock) != 0)
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

int plait__pthread_wait_in_vain(plait_time_t deadline)
{
    if (deadline <= PLAIT_NOW)
        return EBUSY;
    plait_sleep_until(deadline);
    return ETIMEDOUT;
}

void plait__pthread_enter(uint32_t *inside)
{
    add_relaxed(inside, 1);
}

void plait__pthread_leave(uint32_t *inside, unsigned shared)
{
    if (sub_release(inside, 1) == 1) /* E1 */
        plait_wake(inside, UINT_MAX, shared);
}

/* The killed never leave: with processes they are waited for a second at most. */
void plait__pthread_wait_for_leavers(uint32_t *inside, unsigned shared)
{
    plait_time_t end = shared ? plait_after(1) : PLAIT_FOREVER;
    plait_cancel_t *token = plait_cancel_bind(NULL);
    uint32_t seen;

    while ((seen = load_acquire(inside)) != 0) /* E1 */
        if (plait_wait(inside, seen, shared, end) != 0)
            break;
    plait_cancel_bind(token);
}
