/* SPDX-License-Identifier: MIT */
/* The waiter's side: how a thread that runs fibers waits. */
#ifndef PLAIT_WAIT_HOOK_H
#define PLAIT_WAIT_HOOK_H

#include <stdbool.h>

#include <plait/cancel.h>
#include <plait/wait.h>

/*
 * A thread that runs fibers installs a hook; every wait of the thread then goes to it and not to the kernel.
 * The hook parks the calling fiber on the words (wait/parked.h for private ones), runs the others, and returns as
 * plait_wait_many does: 0 look again, ETIMEDOUT. It never answers ECANCELED: the words of the token and its ancestors are
 * among those that it is given, which are PLAIT__WAIT_WORDS_MAX at most. A hook may wait in the kernel itself by setting the
 * hook to NULL meanwhile. Whenever the thread switches, its scheduler says who runs now (plait__caller_set in wait/caller.h).
 */
struct plait__wait_hook {
    int (*wait)(struct plait__wait_hook *hook, const struct plait_wait_word *words, size_t count,
                plait_time_t deadline);
};

/* The caller's words and those of its token's chain: as many as futex_waitv takes. */
#define PLAIT__WAIT_WORDS_MAX (PLAIT_WAIT_MANY_MAX + PLAIT_CANCEL_DEPTH_MAX)

/* Install a hook for the calling thread, or none; returns the one before. */
struct plait__wait_hook *plait__wait_hook_set(struct plait__wait_hook *hook);

/* Does the calling thread have a hook? */
bool plait__wait_is_hooked(void);

#endif
