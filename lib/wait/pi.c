/* SPDX-License-Identifier: MIT */
/*
 * How it works: 0 -> TID and TID -> 0 are exchanges here; whatever else the word is, the kernel is asked. It keeps the
 * queue, the priorities and the WAITERS bit, so there is no wake to lose, and hands the word over at the release, so there
 * is no barging. An owner that dies is taken out by the kernel, which leaves OWNER_DIED for the next to find and clear.
 *
 * The kernel's deadline is on the monotonic clock from Linux 5.14 on; before, on the wall clock: then a step of that
 * clock makes the wait look again.
 *
 * E1 hand over: as for the plain word; the kernel's own changes of the word are full barriers.
 */
#include "wait/pi.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <plait/cancel.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/races.h"
#include "wait/chain.h"
#include "wait/futex.h"

enum { OP_LOCK_PI = 6, OP_UNLOCK_PI = 7, OP_TRYLOCK_PI = 8, OP_LOCK_PI2 = 13 };

static const plait_time_t LOOK = 20 * PLAIT__MILLISECOND; /* at the cancel token */

bool plait__pi_works(void)
{
    static uint32_t nobodys;

    /* Not ours to release: EPERM. ENOSYS where there are none. */
    return syscall(SYS_futex, &nobodys, OP_UNLOCK_PI, 0, NULL, NULL, 0) != 0 && errno == EPERM;
}

/* On the wall clock, for kernels that know only that. */
static int lock_by_wall_clock(uint32_t *word, plait_time_t deadline)
{
    plait_time_t left = deadline - plait_now();
    struct timespec at;

    clock_gettime(CLOCK_REALTIME, &at);
    at = plait__timespec((plait_time_t)at.tv_sec * PLAIT__SECOND + at.tv_nsec + (left > 0 ? left : 0));
    return syscall(SYS_futex, word, OP_LOCK_PI, 0, &at, NULL, 0) == 0 ? 0 : errno;
}

static int lock_until(uint32_t *word, plait_time_t deadline)
{
    struct timespec at;
    int err;

    if (deadline == PLAIT_FOREVER)
        return syscall(SYS_futex, word, OP_LOCK_PI, 0, NULL, NULL, 0) == 0 ? 0 : errno;
    if (deadline <= PLAIT_NOW)
        return syscall(SYS_futex, word, OP_TRYLOCK_PI, 0, NULL, NULL, 0) == 0 ? 0 : errno;
    at = plait__timespec(deadline);
    if (syscall(SYS_futex, word, OP_LOCK_PI2, 0, &at, NULL, 0) == 0)
        return 0;
    err = errno;
    return err == ENOSYS ? lock_by_wall_clock(word, deadline) : err;
}

/* The kernel gave it to us. Has it been a dead one's? */
static int taken(uint32_t *word)
{
    uint32_t v = load_acquire(word);

    plait__races_after(word);
    while (v & FUTEX_OWNER_DIED)
        if (cas_acqrel(word, &v, v & ~(uint32_t)FUTEX_OWNER_DIED))
            return EOWNERDEAD;
    return 0;
}

/* Is the caller's token set? If not, until when may the kernel be left alone with the wait? */
static bool is_cancelled(plait_time_t deadline, plait_time_t *until_out)
{
    struct plait_wait_word words[PLAIT_CANCEL_DEPTH_MAX];
    struct plait__chain chain;

    *until_out = deadline;
    if (!plait_cancel_current() || deadline <= PLAIT_NOW)
        return plait_cancel_current() && plait_cancel_is_set(plait_cancel_current());
    if (plait__chain_watch(plait_cancel_current(), words, &chain))
        return true;
    if (chain.deadline < *until_out)
        *until_out = chain.deadline;
    if (plait_now() + LOOK < *until_out)
        *until_out = plait_now() + LOOK;
    return false;
}

int plait__pi_acquire(uint32_t *word, uint32_t tid, plait_time_t deadline)
{
    uint32_t unheld = 0;

    if (cas_acquire(word, &unheld, tid)) /* E1 */
        return 0;
    for (;;) {
        plait_time_t until;
        bool cancelled = is_cancelled(deadline, &until);
        int err = lock_until(word, cancelled ? PLAIT_NOW : until);

        if (err == 0)
            return taken(word);
        if (err == EDEADLK)
            return err;
        if (cancelled)
            return ECANCELED;
        if (deadline <= PLAIT_NOW || plait_now() >= deadline)
            return ETIMEDOUT;
        /* EINTR, EAGAIN (the owner is just ending), the end of a look, a wall clock that was set. ESRCH: what a fork has copied
         * names an owner that has ended since, whom nobody will take out. */
        if (err == ESRCH)
            plait__futex_wait(word, load_relaxed(word), true, plait_now() + LOOK);
    }
}

uint32_t plait__pi_release(uint32_t *word, uint32_t tid)
{
    uint32_t held = tid;

    plait__races_before(word);
    if (!cas_release(word, &held, 0)) /* E1 */
        while (syscall(SYS_futex, word, OP_UNLOCK_PI, 0, NULL, NULL, 0) != 0 && (errno == EAGAIN || errno == EINTR))
            ;
    return 0;
}
