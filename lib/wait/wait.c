/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * plait_wait is the kernel's futex wait with an absolute deadline, in a loop that hides signals. If the caller is
 * bound to a cancel token, the words of its chain (cancel.c) are waited on together with the caller's (futex_waitv): the kernel
 * sleeps only while all are as expected, so neither a wake nor a cancel can fall between the look and the sleep, and
 * a canceller needs to know nobody: it sets the word and wakes it. The sleep ends by the earliest deadline of the
 * chain. If the thread has a hook (it runs fibers), the same words go to the hook.
 *
 * plait_wake looks for parked fibers and then wakes the futex.
 *
 * No wake is lost (private words, fibers): the parker enters itself in the table and then looks at the word once
 * more; the waker changes the word and then looks into the table. E1: between the two steps of each lies a
 * sequentially consistent operation on plait__parked_total, so at least one of the two sees the other.
 *
 * More words than the kernel takes, which without futex_waitv (ENOSYS) is one: crowd.c.
 */
#include <plait/wait.h>

#include <errno.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/tls.h"
#include "wait/chain.h"
#include "wait/crowd.h"
#include "wait/futex.h"
#include "wait/hook.h"
#include "wait/parked.h"
#include "wait/point.h"
#include "wait/ring.h"
#include "wait/waiting.h"

static PLAIT_TLS plait_cancel_t *bound_token;
static PLAIT_TLS struct plait__wait_hook *hook;

struct plait__wait_hook *plait__wait_hook_set(struct plait__wait_hook *new_hook)
{
    struct plait__wait_hook *old = hook;

    hook = new_hook;
    return old;
}

bool plait__wait_is_hooked(void)
{
    return hook != NULL;
}

bool plait__wait_is_plain(void)
{
    return !hook && !bound_token;
}

plait_cancel_t *plait_cancel_bind(plait_cancel_t *token)
{
    plait_cancel_t *old = bound_token;

    bound_token = token;
    return old;
}

plait_cancel_t *plait_cancel_current(void)
{
    return bound_token;
}

bool plait__wait_changed(const struct plait_wait_word *words, size_t count, size_t *index_out)
{
    for (size_t i = 0; i < count; i++)
        if (load_acquire(words[i].word) != words[i].expected) {
            *index_out = i;
            return true;
        }
    return false;
}

/* Sleep on the words, as a thread. 0: look again; *index_out as it was if no word is known to be the reason. */
static int sleep_on(const struct plait_wait_word *words, size_t count, plait_time_t deadline, size_t *index_out)
{
    for (;;) {
        int err;

        if (count > 1)
            err = plait__futex_wait_many(words, count, deadline, index_out);
        else {
            err = plait__futex_wait(words[0].word, words[0].expected, words[0].flags & PLAIT_SHARED, deadline);
            if (err == 0)
                *index_out = 0;
        }
        if (err == ENOSYS)
            return plait__wait_crowd(words, count, 1, deadline, index_out);
        if (err != EAGAIN && err != EINTR)
            return err;
        /* After a signal too: under ThreadSanitizer its handler runs only now that we touch an atomic. */
        if (plait__wait_changed(words, count, index_out) || err == EAGAIN)
            return 0;
    }
}

int plait__wait_few(const struct plait_wait_word *words, size_t count, plait_time_t deadline, size_t *index_out)
{
    return hook ? hook->wait(hook, words, count, deadline) : sleep_on(words, count, deadline, index_out);
}

static int sleep_or_park(const struct plait_wait_word *words, size_t count, const struct plait__polls *polls,
                         plait_time_t deadline, size_t *index_out)
{
    if (polls)
        return plait__ring_wait(words, count, polls, deadline, index_out);
    if (count <= PLAIT__WAIT_WORDS_MAX)
        return plait__wait_few(words, count, deadline, index_out);
    return plait__wait_crowd(words, count, PLAIT_WAIT_MANY_MAX, deadline, index_out);
}

/*
 * The wait of a caller who is bound to a token: the chain's words stand behind the caller's. Whose deadline comes first decides
 * what the end is called, not who notices first.
 */
static __attribute__((noinline)) int wait_bound(struct plait_wait_word *words, size_t count,
                                                const struct plait__polls *polls, plait_time_t deadline,
                                                size_t *index_out)
{
    struct plait__chain chain;
    size_t ignored;

    while (!plait__chain_watch(bound_token, words + count, &chain)) {
        plait_time_t until = plait__chain_until(&chain, deadline);
        int err;

        if (deadline <= PLAIT_NOW)
            return ETIMEDOUT;
        *index_out = count;
        err = sleep_or_park(words, count + chain.count, polls, until, index_out);
        if ((err == 0 && *index_out < count) || plait__wait_changed(words, count, index_out))
            return 0;
        *index_out = count;
        if (err == 0) /* perhaps somebody woke us, perhaps a token has another deadline: look again */
            return plait_cancel_is_set(bound_token) ? ECANCELED : 0;
        if (err != ETIMEDOUT)
            return err;
        if (until == deadline && deadline < chain.deadline && !plait__wait_changed(words + count, chain.count, &ignored))
            return ETIMEDOUT;
    }
    return ECANCELED;
}

/*
 * The whole of waiting. The caller's words stand in words[0..count), with room behind them for PLAIT_CANCEL_DEPTH_MAX
 * more.
 */
int plait__wait_words(struct plait_wait_word *words, size_t count, const struct plait__polls *polls, plait_time_t deadline,
                      size_t *index_out)
{
    if (plait__wait_changed(words, count, index_out))
        return 0;
    *index_out = count;
    if (bound_token)
        return wait_bound(words, count, polls, deadline, index_out);
    if (deadline <= PLAIT_NOW)
        return ETIMEDOUT;
    return sleep_or_park(words, count, polls, deadline, index_out);
}

static bool bad_word(const struct plait_wait_word *w)
{
    return !w->word || (uintptr_t)w->word % sizeof(uint32_t) || (w->flags & ~(uint32_t)PLAIT_SHARED);
}

static __attribute__((noinline)) int wait_for_word(struct plait_wait_word one, plait_time_t deadline)
{
    struct plait_wait_word words[1 + PLAIT_CANCEL_DEPTH_MAX]; /* all but the first is written when it is needed */
    size_t index;

    words[0] = one;
    if (bad_word(&words[0]))
        return EINVAL;
    return plait__wait_words(words, 1, NULL, deadline, &index);
}

/*
 * Threads that are bound to nothing sleep in this function itself. By the time a sleeper comes back the CPU has forgotten where
 * to return to, so each call between it and the kernel would cost some 20 ns more; a barrier of 8 gains 3 % by this.
 */
int plait_wait(const uint32_t *word, uint32_t expected, unsigned flags, plait_time_t deadline)
{
    struct plait_wait_word one = { word, expected, flags };
    int err;

    if (bound_token || hook || plait__point_is_open || deadline <= PLAIT_NOW || bad_word(&one))
        return wait_for_word(one, deadline);
    while (load_acquire(word) == expected) {
        err = plait__futex_sleep(word, expected, flags & PLAIT_SHARED, deadline);
        if (err != EINTR)
            return err == EAGAIN ? 0 : err;
    }
    return 0;
}

int plait_wait_many(const struct plait_wait_word *words, size_t count, size_t *index_out, plait_time_t deadline)
{
    struct plait_wait_word copy[PLAIT__WAIT_WORDS_MAX];
    size_t index = count;
    int err;

    if (!words || count == 0 || count > PLAIT_WAIT_MANY_MAX)
        return EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (bad_word(&words[i]))
            return EINVAL;
        copy[i] = words[i];
    }
    err = plait__wait_words(copy, count, NULL, deadline, &index);
    if (index_out)
        *index_out = index < count ? index : count;
    return err;
}

int plait_wake(const uint32_t *word, unsigned count, unsigned flags)
{
    bool shared = flags & PLAIT_SHARED;
    int woken;

    if ((uintptr_t)word % sizeof(uint32_t) || !word || (flags & ~(unsigned)PLAIT_SHARED))
        return EINVAL;
    if (!shared && plait__parked_anyone()) {
        unsigned fibers = plait__parked_wake(word, count);

        if (fibers == count)
            return 0;
        count -= fibers;
    }
    woken = plait__futex_wake(word, count, shared);
    return woken < 0 && woken != -EFAULT ? -woken : 0; /* EFAULT: unmapped already, so nobody waits */
}

#define SLICE_FIRST (100 * PLAIT__MILLISECOND)
#define SLICE_LAST (800 * PLAIT__MILLISECOND)

plait_time_t plait__slice_end(plait_time_t *slice, plait_time_t first, plait_time_t last, plait_time_t deadline)
{
    plait_time_t until;

    *slice = *slice == 0 ? first : *slice < last ? *slice * 2 : *slice;
    until = plait_now() + *slice;
    return until < deadline ? until : deadline;
}

plait_time_t plait__slice_end_shared(plait_time_t *slice, plait_time_t deadline)
{
    return plait__slice_end(slice, SLICE_FIRST, SLICE_LAST, deadline);
}

plait_time_t plait__slice_begin(plait_time_t *slice, plait_time_t deadline)
{
    plait_time_t until;

    if (*slice == 0)
        *slice = SLICE_FIRST;
    if (deadline <= PLAIT_NOW)
        return deadline;
    until = plait_now() + *slice;
    return until < deadline ? until : deadline;
}

int plait__slice_over(plait_time_t *slice, int err, plait_time_t until, plait_time_t deadline)
{
    if (err != ETIMEDOUT || until == deadline)
        return err;
    if (*slice < SLICE_LAST)
        *slice *= 2;
    return 0;
}

int plait__wait_sliced(const uint32_t *word, uint32_t expected, unsigned flags, plait_time_t deadline,
                       plait_time_t *slice)
{
    plait_time_t until;

    if (!(flags & PLAIT_SHARED))
        return plait_wait(word, expected, flags, deadline);
    until = plait__slice_begin(slice, deadline);
    return plait__slice_over(slice, plait_wait(word, expected, flags, until), until, deadline);
}

int plait_sleep_until(plait_time_t deadline)
{
    static const uint32_t never;
    int err;

    if (deadline <= plait_now()) /* done without waiting, so token or not */
        return 0;
    do
        err = plait_wait(&never, 0, 0, deadline);
    while (err == 0);
    return err == ETIMEDOUT ? 0 : err;
}

int plait_sleep(double seconds)
{
    return plait_sleep_until(plait_after(seconds));
}
