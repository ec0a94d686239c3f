/* SPDX-License-Identifier: MIT */
/* The kernel's futex calls, with deadlines in our form and errors as return values. */
#ifndef PLAIT_WAIT_FUTEX_H
#define PLAIT_WAIT_FUTEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <plait/wait.h>

#include "base/clock.h"

enum { PLAIT__FUTEX_WAIT_BITSET = 9, PLAIT__FUTEX_PRIVATE = 128, PLAIT__FUTEX_U32 = 2 };

/* One of many words, as the kernel wants them. */
struct plait__waitv {
    uint64_t expected;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};

static inline void plait__waitv_fill(struct plait__waitv *vector, const struct plait_wait_word *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        vector[i] = (struct plait__waitv){ .expected = words[i].expected,
                                           .address = (uintptr_t)words[i].word,
                                           .flags = PLAIT__FUTEX_U32 |
                                                    (words[i].flags & PLAIT_SHARED ? 0 : PLAIT__FUTEX_PRIVATE) };
}

/* plait__futex_wait for a thread that is at no open cancellation point (point.h), inlined. */
static inline int plait__futex_sleep(const uint32_t *word, uint32_t expected, bool shared, plait_time_t deadline)
{
    int op = PLAIT__FUTEX_WAIT_BITSET | (shared ? 0 : PLAIT__FUTEX_PRIVATE);
    struct timespec at;

    if (deadline != PLAIT_FOREVER)
        at = plait__timespec(deadline < 0 ? 0 : deadline);
    if (syscall(SYS_futex, word, op, expected, deadline != PLAIT_FOREVER ? &at : NULL, NULL, UINT32_MAX) == 0)
        return 0;
    return errno;
}

/* Sleep while *word equals `expected`. 0: woken. EAGAIN: differs. ETIMEDOUT. EINTR: a signal. */
int plait__futex_wait(const uint32_t *word, uint32_t expected, bool shared, plait_time_t deadline);

/* Wake up to `count` sleepers; returns how many were woken, or a negative errno. */
int plait__futex_wake(const uint32_t *word, unsigned count, bool shared);

/*
 * If *word equals `expected`, make one who sleeps on it sleep on `other` instead, behind those who are there. Returns how
 * many were moved, or a negative errno.
 */
int plait__futex_move(const uint32_t *word, uint32_t expected, const uint32_t *other, bool shared);

/* Sleep while all words are as expected; as plait__futex_wait, and *index_out on 0. ENOSYS: the kernel cannot. */
int plait__futex_wait_many(const struct plait_wait_word *words, size_t count, plait_time_t deadline,
                           size_t *index_out);

#endif
