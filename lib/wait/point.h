/* SPDX-License-Identifier: MIT */
/* Cancellation points: the waits that pthread_cancel ends. */
#ifndef PLAIT_WAIT_POINT_H
#define PLAIT_WAIT_POINT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <plait/time.h>

#include "base/tls.h"

/*
 * plait__wait_sliced, as a cancellation point for threads (not for fibers). Everybody who calls it says what a cancelled
 * waiter has to do before it leaves: it may have consumed a wake.
 *
 *     pthread_cleanup_push(give_up, &self);
 *     err = plait__wait_point(word, expected, flags, deadline, &slice);
 *     pthread_cleanup_pop(0);
 *
 * A request acts only while the thread sleeps, or is about to. So who waits holds no inner lock, and its clean-up is run at
 * no other place than this; whoever need not sleep notices nothing and pays nothing.
 */
int plait__wait_point(const uint32_t *word, uint32_t expected, unsigned flags, plait_time_t deadline,
                      plait_time_t *slice);

/*
 * The attribute of a clean-up handler that may be the innermost: musl makes the interrupted thread jump to the way out, with the
 * stack as it happened to be, which need not be aligned as a call needs it.
 */
#if defined __x86_64__ && !defined __GLIBC__
#define PLAIT__POINT_INNERMOST __attribute__((force_align_arg_pointer))
#else
#define PLAIT__POINT_INNERMOST
#endif

/* For futex.c: may the system call that comes now be cut short? */
extern PLAIT_TLS bool plait__point_is_open;

/*
 * Code that calls libc's own cancellation points (open, read, pthread_join) with a lock held, or half way through
 * something, keeps requests away meanwhile:
 *
 *     int state = plait__point_close();
 *     ...
 *     plait__point_restore(state);
 */
static inline int plait__point_close(void)
{
    int state;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

static inline void plait__point_restore(int state)
{
    pthread_setcancelstate(state, NULL);
}

#endif
