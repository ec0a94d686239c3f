/* SPDX-License-Identifier: MIT */
/* Chain: a cancel token and its ancestors, as one who waits sees them. */
#ifndef PLAIT_WAIT_CHAIN_H
#define PLAIT_WAIT_CHAIN_H

#include <stdbool.h>
#include <stddef.h>

#include <plait/cancel.h>
#include <plait/wait.h>

/* What has to be watched to learn that a token is set: some words, and the clock. */
struct plait__chain {
    size_t count;          /* words added */
    plait_time_t deadline; /* the earliest one; PLAIT_FOREVER: none */
    bool shared;           /* a word is shared: look again by slices, because a canceller may die before its wake */
};

/*
 * Write the chain's words, PLAIT_CANCEL_DEPTH_MAX at most, to words[0...). True: the token is set, nothing is to be
 * waited for. Once a word is no longer as expected, or the deadline has passed, call it again.
 */
bool plait__chain_watch(const plait_cancel_t *token, struct plait_wait_word *words, struct plait__chain *chain);

/* Until when to sleep at most on a chain in one go: `deadline`, the chain's own, or a slice. */
plait_time_t plait__chain_until(const struct plait__chain *chain, plait_time_t deadline);

#endif
