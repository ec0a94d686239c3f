/* SPDX-License-Identifier: MIT */
/* Fork epoch: a number that differs between a process and its children, so that caches notice a fork. */
#ifndef PLAIT_BASE_FORK_EPOCH_H
#define PLAIT_BASE_FORK_EPOCH_H

#include <stdint.h>

/*
 * A cache of something that fork changes (a TID, a place in a table) keeps the epoch in which it was filled and
 * is good while that equals plait__fork_epoch(). Works for fork, _Fork and raw clone alike, as the kernel
 * itself wipes the word. 0 means "unknown as yet"; a cache starts with PLAIT__EPOCH_NONE.
 */
#define PLAIT__EPOCH_NONE 1u

extern uint32_t *plait__fork_epoch_word;

static inline uint32_t plait__fork_epoch(void)
{
    const uint32_t *word = __atomic_load_n(&plait__fork_epoch_word, __ATOMIC_ACQUIRE);

    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* The epoch, made known if it is not: never 0 nor PLAIT__EPOCH_NONE. Async-signal-safe. */
uint32_t plait__fork_epoch_renew(void);

/* To be called in a child of raw clone, in case that the kernel does not wipe. */
void plait__fork_epoch_forget(void);

#endif
