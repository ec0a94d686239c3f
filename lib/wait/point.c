/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The wait itself is an ordinary one. But while it lasts, the system call in which the thread sleeps is made with
 * asynchronous cancellation (futex.c), as libc does it in its own cancellation points: there a request that is pending,
 * or comes, is acted upon at once, and nowhere else. glibc then unwinds the stack and runs the clean-up handlers on the way (so the
 * library is compiled with -fexceptions), musl runs those in its list.
 *
 * The request may come after the system call has returned and before the type is set back: a wake has been consumed, and
 * the waiter dies with it. Nobody can tell this from a request before the wake, so each noun's handler does what the
 * noun does at a time-out: who was notified passes it on, who has slept sees to it that somebody is woken.
 *
 * What was `open` is closed by the innermost handler but that of crowd.c, before any code that may wait again.
 */
#include "wait/point.h"

#include <errno.h>

#include "base/atomic.h"
#include "wait/futex.h"
#include "wait/hook.h"
#include "wait/waiting.h"

PLAIT_TLS bool plait__point_is_open;

#if defined __x86_64__ && !defined __GLIBC__
/* The way out begins again, from here, with an aligned stack and those handlers that are left. */
static PLAIT__POINT_INNERMOST __attribute__((noreturn)) void cancelled(void *unused)
{
    (void)unused;
    plait__point_is_open = false;
    pthread_exit(PTHREAD_CANCELED);
}
#else
static void cancelled(void *unused)
{
    (void)unused;
    plait__point_is_open = false;
}
#endif

/* plait_wait where it is plain, by few functions: each costs a sleeper who comes back some 20 ns (wait.c). */
static inline __attribute__((always_inline)) int sleep_plainly(const uint32_t *word, uint32_t expected, unsigned flags,
                                                               plait_time_t until)
{
    while (load_acquire(word) == expected) {
        int err = plait__futex_wait(word, expected, flags & PLAIT_SHARED, until);

        if (err != EINTR)
            return err == EAGAIN ? 0 : err;
    }
    return 0;
}

int plait__wait_point(const uint32_t *word, uint32_t expected, unsigned flags, plait_time_t deadline,
                      plait_time_t *slice)
{
    plait_time_t until = flags & PLAIT_SHARED ? plait__slice_begin(slice, deadline) : deadline;
    int err;

    pthread_cleanup_push(cancelled, NULL);
    plait__point_is_open = !plait__wait_is_hooked();
    err = plait__wait_is_plain() && until > PLAIT_NOW ? sleep_plainly(word, expected, flags, until)
                                                      : plait_wait(word, expected, flags, until);
    plait__point_is_open = false;
    pthread_cleanup_pop(0);
    return plait__slice_over(slice, err, until, deadline);
}
