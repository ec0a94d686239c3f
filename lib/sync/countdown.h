/* SPDX-License-Identifier: MIT */
/* Countdown: a number, and those who wait for it to fall to 0. What a latch and a wait group have in common. */
#ifndef PLAIT_SYNC_COUNTDOWN_H
#define PLAIT_SYNC_COUNTDOWN_H

#include <stdint.h>

#include <plait/wait.h>

#include "wait/waitable.h"

/* The number now; an acquire look (E1). */
uint32_t plait__countdown_look(const uint64_t *state);

/* Raise it. EOVERFLOW: above 2^32 - 1. EINVAL: n is 0. */
int plait__countdown_raise(uint64_t *state, uint32_t n);

/* Lower it, and wake all if it falls to 0. EOVERFLOW: below 0. EINVAL: n is 0. flags: PLAIT_SHARED or not. */
int plait__countdown_lower(uint64_t *state, uint32_t n, unsigned flags);

/* Wait until it is 0, or was since the call began. */
int plait__countdown_wait(uint64_t *state, unsigned flags, plait_time_t deadline);

/* The parts of a waiter that waits for others as well (wait/waitable.h). */
int plait__countdown_attempt(struct plait__waiting *waiting, const uint64_t *state);
bool plait__countdown_enlist(const struct plait__waiting *waiting, uint64_t *state, unsigned flags,
                             struct plait_wait_word *word_out);

/* The half of it on which waiters sleep: it changes when the number falls to 0. */
const uint32_t *plait__countdown_word(const uint64_t *state);

#endif
