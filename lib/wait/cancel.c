/* SPDX-License-Identifier: MIT */
/*
 * How it works: a token is one word.
 *
 *     bit 0      SET
 *     set:       bit 1       EXPIRED  its deadline did it
 *                bits 2-31   code     what the canceller gave
 *     not set:   bits 1-31   round    how often a deadline was given
 *
 * Once set it never changes again. Those bound to it wait for the word together with whatever else they wait for (wait.c), so
 * setting it is an exchange and a wake, whoever and however many they are, in whatever process. A child holds the
 * distance to its parent, the same in every process, as both lie in one mapping (or the child is private);
 * who waits watches all words of the chain, child first.
 *
 * Deadline: `deadline` is stored first, then the word goes to the next round, and the sleepers are woken, to sleep until
 * the new time. Who finds a deadline that has passed sets the token itself, EXPIRED, by an exchange with the word it
 * had read before it read the deadline. So a deadline given at the same time, which goes to the next round by an exchange
 * too, comes either before, and the other looks again, or too late, and its giver is told. No wake is needed: all others
 * sleep until the same time.
 *
 *     0, round -> SET, code           plait_cancel_set
 *     0, round -> SET, EXPIRED        anybody who looks, once the deadline has passed
 *     0, round -> 0, round + 1        plait_cancel_set_deadline
 *
 * No wake is lost: futex wait compares the words; a waiter that has read an old deadline has read an old round before, or the
 * exchange and the wake are still to come. A canceller that dies between exchange and wake, or a giver between store and
 * exchange, leaves a sleeper that looks again: chains with a shared word are slept on in slices.
 *
 * E1 set: the exchange releases; whoever finds the word set acquires, and sees what the canceller wrote before.
 * E2 deadline: the exchange to the next round releases; who reads the word acquires, and then reads the deadline.
 *
 * After the exchange those whose wait it ends may free the token: the wake uses the address alone.
 */
#include <plait/cancel.h>

#include <errno.h>
#include <limits.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/races.h"
#include "wait/chain.h"
#include "wait/membership.h"
#include "wait/waitable.h"

enum { SET = 1, EXPIRED = 2, ROUND = 2, CODE_SHIFT = 2 };
enum { DEPTH_SHIFT = 24 }; /* in mode, above every flag: the number of ancestors */

/* Less than the second after which everybody has noticed what a dead canceller did. */
#define SLICE (800 * PLAIT__MILLISECOND)

_Static_assert(sizeof(plait_cancel_t) == 32, "part of the ABI");

/* What stands beside the distance to a parent: one that was damaged is not followed. */
static uint64_t check_of(int64_t parent)
{
    return ~((uint64_t)parent * 0x9e3779b97f4a7c15u);
}

static const plait_cancel_t *parent_of(const plait_cancel_t *token)
{
    if (!token->parent || token->check != check_of(token->parent))
        return NULL;
    return (const plait_cancel_t *)((uintptr_t)token + (uintptr_t)token->parent);
}

static unsigned depth_of(const plait_cancel_t *token)
{
    return (token->mode >> DEPTH_SHIFT) + 1;
}

/* Both in one arena? Then the distance between them is the same in every process. */
static bool are_together(const plait_cancel_t *token, uint64_t offset, const plait_cancel_t *parent)
{
    uint64_t parent_offset;

    return (parent->mode & PLAIT_SHARED) && plait__shared_place(parent, PLAIT_SHARED, 0, &parent_offset) == 0 &&
           (uintptr_t)token - offset == (uintptr_t)parent - parent_offset;
}

int plait_cancel_init_child(plait_cancel_t *token, plait_cancel_t *parent, unsigned flags)
{
    plait_cancel_t fresh = { .mode = flags };
    uint64_t offset;
    int err = plait__shared_place(token, flags, 0, &offset);

    if (err)
        return err;
    if (parent) {
        if (token == parent || ((flags & PLAIT_SHARED) && !are_together(token, offset, parent)))
            return EINVAL;
        if (depth_of(parent) >= PLAIT_CANCEL_DEPTH_MAX)
            return EOVERFLOW;
        fresh.mode |= depth_of(parent) << DEPTH_SHIFT;
        fresh.parent = (int64_t)((uintptr_t)parent - (uintptr_t)token);
        fresh.check = check_of(fresh.parent);
    }
    *token = fresh;
    return 0;
}

int plait_cancel_init(plait_cancel_t *token, unsigned flags)
{
    return plait_cancel_init_child(token, NULL, flags);
}

int plait_cancel_fini(plait_cancel_t *token)
{
    plait__races_forget(token, sizeof *token);
    return 0;
}

/*
 * Is this one token set, its ancestors aside? *word: as it was read, before *deadline was. *now is read when it
 * is needed first.
 */
static bool is_over(const plait_cancel_t *token, uint32_t *word, plait_time_t *deadline, plait_time_t *now)
{
    uint32_t *changed = (uint32_t *)(uintptr_t)&token->word; /* to look at a token may set it */

    *word = load_acquire(&token->word); /* E1, E2 */
    while (!(*word & SET)) {
        *deadline = (plait_time_t)load64_relaxed((const uint64_t *)&token->deadline);
        if (*deadline == 0)
            return false;
        if (*now == 0)
            *now = plait_now();
        if (*deadline > *now)
            return false;
        if (cas_acqrel(changed, word, SET | EXPIRED)) {
            *word = SET | EXPIRED;
            return true;
        }
    }
    return true;
}

int plait_cancel_set_code(plait_cancel_t *token, int code)
{
    uint32_t shared = token->mode & PLAIT_SHARED;
    plait_time_t deadline, now = 0;
    uint32_t v;

    if (code < 0 || code > PLAIT_CANCEL_CODE_MAX)
        return EINVAL;
    while (!is_over(token, &v, &deadline, &now) &&
           !cas_acqrel(&token->word, &v, SET | (uint32_t)code << CODE_SHIFT)) /* E1 */
        ;
    plait_wake(&token->word, UINT_MAX, shared); /* in any case: who set it before may have died first */
    return 0;
}

int plait_cancel_set(plait_cancel_t *token)
{
    return plait_cancel_set_code(token, 0);
}

int plait_cancel_set_deadline(plait_cancel_t *token, plait_time_t deadline)
{
    uint32_t shared = token->mode & PLAIT_SHARED;
    plait_time_t stored = deadline <= PLAIT_NOW ? 1 : deadline == PLAIT_FOREVER ? 0 : deadline;
    plait_time_t before, now = 0;
    uint32_t v;

    do {
        if (is_over(token, &v, &before, &now))
            return ECANCELED;
        store64_relaxed((uint64_t *)&token->deadline, (uint64_t)stored);
    } while (!cas_acqrel(&token->word, &v, v + ROUND)); /* E2 */
    plait_wake(&token->word, UINT_MAX, shared);
    return 0;
}

int plait_cancel_reason(const plait_cancel_t *token, int *code_out, const plait_cancel_t **source_out)
{
    plait_time_t deadline, now = 0;
    uint32_t v = 0;

    while (token && !is_over(token, &v, &deadline, &now))
        token = parent_of(token);
    if (code_out)
        *code_out = token && !(v & EXPIRED) ? (int)(v >> CODE_SHIFT) : 0;
    if (source_out)
        *source_out = token;
    if (!token)
        return 0;
    return v & EXPIRED ? ETIMEDOUT : ECANCELED;
}

bool plait_cancel_is_set(const plait_cancel_t *token)
{
    return plait_cancel_reason(token, NULL, NULL) != 0;
}

/* ---- Waiting ----------------------------------------------------------------------------- */

bool plait__chain_watch(const plait_cancel_t *token, struct plait_wait_word *words, struct plait__chain *chain)
{
    plait_time_t now = 0;

    *chain = (struct plait__chain){ .deadline = PLAIT_FOREVER };
    for (; token && chain->count < PLAIT_CANCEL_DEPTH_MAX; token = parent_of(token)) {
        struct plait_wait_word *w = &words[chain->count++];
        plait_time_t deadline = 0;

        *w = (struct plait_wait_word){ .word = &token->word, .flags = token->mode & PLAIT_SHARED };
        if (is_over(token, &w->expected, &deadline, &now))
            return true;
        if (deadline && deadline < chain->deadline)
            chain->deadline = deadline;
        chain->shared |= w->flags & PLAIT_SHARED;
    }
    return false;
}

plait_time_t plait__chain_until(const struct plait__chain *chain, plait_time_t deadline)
{
    plait_time_t until = chain->deadline < deadline ? chain->deadline : deadline;

    if (chain->shared && until > PLAIT_NOW) {
        plait_time_t slice = plait_now() + SLICE;

        if (slice < until)
            until = slice;
    }
    return until;
}

int plait_cancel_wait(const plait_cancel_t *token, plait_time_t deadline)
{
    struct plait_wait_word words[PLAIT_CANCEL_DEPTH_MAX];
    struct plait__chain chain;
    bool timed_out = false;

    while (!plait__chain_watch(token, words, &chain)) {
        plait_time_t until = plait__chain_until(&chain, deadline);
        int err;

        if (timed_out)
            return ETIMEDOUT;
        err = plait_wait_many(words, chain.count, NULL, until);
        if (err == ECANCELED)
            return plait_cancel_is_set(token) ? 0 : ECANCELED;
        if (err && err != ETIMEDOUT)
            return err;
        timed_out = err == ETIMEDOUT && until == deadline;
    }
    return 0;
}

/* ---- Among others ------------------------------------------------------------------------ */

static int attempt(struct plait__waiting *waiting)
{
    return plait_cancel_is_set(waiting->entry->object) ? 0 : EAGAIN;
}

/* There is one word for each entry: it is the token's own, and whatever ancestors it has are looked at. */
static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    struct plait_wait_word words[PLAIT_CANCEL_DEPTH_MAX];
    struct plait__chain chain;
    bool is_set = plait__chain_watch(waiting->entry->object, words, &chain);

    *word_out = words[0];
    waiting->unwoken = chain.count > 1;
    waiting->until = chain.deadline;
    return !is_set;
}

struct plait_wait_entry plait_any_cancel_wait(const plait_cancel_t *token)
{
    static const struct plait_waitable waiting = { attempt, enlist, NULL, PLAIT__WATCH_ATTEMPT, NULL };

    return (struct plait_wait_entry){ .how = &waiting, .object = (void *)(uintptr_t)token };
}
