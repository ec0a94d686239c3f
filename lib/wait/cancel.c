/* SPDX-License-Identifier: MIT */
/*
 * How it works: a token is one word, 0 or 1. Those bound to it wait for it together with whatever else they
 * wait for (wait.c), so setting it is a store and a wake, whoever and however many they are, in whatever process.
 * E1 set: the store releases; whoever finds the word set acquires, and sees what the canceller wrote before.
 */
#include <plait/cancel.h>

#include <errno.h>
#include <limits.h>

#include "base/atomic.h"
#include "wait/membership.h"

int plait_cancel_init(plait_cancel_t *token, unsigned flags)
{
    plait_cancel_t fresh = { .mode = flags };
    int err = plait__shared_place(token, flags, 0, &fresh.arena_offset);

    if (err == 0)
        *token = fresh;
    return err;
}

int plait_cancel_fini(plait_cancel_t *token)
{
    (void)token;
    return 0;
}

int plait_cancel_set(plait_cancel_t *token)
{
    uint32_t shared = token->mode & PLAIT_SHARED;

    store_release(&token->word, 1); /* E1; those whose wait it ends may free it now */
    plait_wake(&token->word, UINT_MAX, shared);
    return 0;
}

bool plait_cancel_is_set(const plait_cancel_t *token)
{
    return load_acquire(&token->word) != 0;
}
