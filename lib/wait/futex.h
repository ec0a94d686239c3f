/* SPDX-License-Identifier: MIT */
/* The kernel's futex calls, with deadlines in our form and errors as return values. */
#ifndef PLAIT_WAIT_FUTEX_H
#define PLAIT_WAIT_FUTEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/wait.h>

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
