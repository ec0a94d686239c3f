/* SPDX-License-Identifier: MIT */
/* The kernel's futex calls. The numbers and the struct of futex_waitv are our own: headers older than
 * the kernel do not name them. */
#include "wait/futex.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/asan.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/races.h"
#include "wait/point.h"

enum {
    OP_WAKE = 1,
    OP_CMP_REQUEUE = 4,
    OP_WAIT_BITSET = PLAIT__FUTEX_WAIT_BITSET,
    OP_PRIVATE = PLAIT__FUTEX_PRIVATE,
    WAITV_MAX = 128,
    NR_FUTEX_WAITV = 449 /* the same on every architecture */
};

/*
 * What is called while a request may act at any instruction is called by its address. The stubs of a shared library's calls have
 * no unwind tables on aarch64: a request that came there would end the thread without its clean-up handlers. Nor may it
 * come while the loader looks for a function that is called for the first time.
 */
static int (*const volatile set_cancel_type)(int, int *) = pthread_setcanceltype;
static long (*const volatile system_call)(long, ...) = syscall;

/* The call in which a thread sleeps; in an open cancellation point it may never return (point.c). */
static long sleep_in(long number, const void *what, long a, long b, const void *c, long d, long e)
{
    long result;
    int type, err, *error;

    if (!plait__point_is_open)
        return syscall(number, what, a, b, c, d, e);
    plait__leaving_frames();
    error = &errno; /* a call, too */
    set_cancel_type(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    result = system_call(number, what, a, b, c, d, e);
    err = *error;
    set_cancel_type(type, NULL);
    *error = err;
    return result;
}

int plait__futex_wait(const uint32_t *word, uint32_t expected, bool shared, plait_time_t deadline)
{
    int op = OP_WAIT_BITSET | (shared ? 0 : OP_PRIVATE);
    struct timespec at, *timeout = NULL;

    if (deadline != PLAIT_FOREVER) {
        at = plait__timespec(deadline < 0 ? 0 : deadline);
        timeout = &at;
    }
    if (sleep_in(SYS_futex, word, op, expected, timeout, 0, UINT32_MAX) == 0)
        return 0;
    return errno;
}

int plait__futex_wake(const uint32_t *word, unsigned count, bool shared)
{
    int op = OP_WAKE | (shared ? 0 : OP_PRIVATE);
    int saved = errno; /* a signal handler may be waking */
    long woken;

    plait__races_address_only(true);
    woken = syscall(SYS_futex, word, op, count > INT_MAX ? INT_MAX : (int)count, NULL, NULL, 0);
    plait__races_address_only(false);
    if (woken < 0)
        woken = -errno;
    errno = saved;
    return (int)woken;
}

int plait__futex_move(const uint32_t *word, uint32_t expected, const uint32_t *other, bool shared)
{
    int op = OP_CMP_REQUEUE | (shared ? 0 : OP_PRIVATE);
    long moved = syscall(SYS_futex, word, op, 0, 1ul, other, expected); /* wake none, move one */

    return moved < 0 ? -errno : (int)moved;
}

int plait__futex_wait_many(const struct plait_wait_word *words, size_t count, plait_time_t deadline,
                           size_t *index_out)
{
    static uint32_t missing; /* set once the kernel has said ENOSYS; relaxed: a hint that saves system calls */
    struct plait__waitv vector[WAITV_MAX];
    struct timespec at, *timeout = NULL;
    long index;

    if (load_relaxed(&missing))
        return ENOSYS;
    plait__waitv_fill(vector, words, count);
    if (deadline != PLAIT_FOREVER) {
        at = plait__timespec(deadline < 0 ? 0 : deadline);
        timeout = &at;
    }
    index = sleep_in(NR_FUTEX_WAITV, vector, (long)count, 0, timeout, CLOCK_MONOTONIC, 0);
    if (index >= 0) {
        *index_out = (size_t)index;
        return 0;
    }
    if (errno == ENOSYS || errno == EPERM) { /* EPERM: a container's filter */
        store_relaxed(&missing, 1);
        return ENOSYS;
    }
    return errno;
}
