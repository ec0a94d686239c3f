/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 *     attempt each entry                        one can be performed: that is all
 *     again:
 *         enlist with each                      each says on which word to sleep
 *         sleep until one of the words changes, or is woken
 *         attempt each entry, first the one whose word it was
 *         none can be performed, and there is time left: again
 *     delist with all but the one performed
 *
 * What an entry is, only its noun knows (waitable.h). The whole is what each noun's own wait does, turned inside out.
 *
 * No wake is lost on the way here: an entry that could be performed before the caller was enlisted is found by enlist, which looks
 * at the object after the announcement, or by the sleep, which compares the word with what enlist saw. After it: somebody
 * wakes the word.
 *
 * No wake is kept from others. One sleep is on many words, so wakes of several objects may be spent on it, of which the kernel
 * tells one at most; and only one entry is performed. So whoever is enlisted counts as woken: delist looks at the object, and
 * if it would let somebody else go on, wakes the next, as the noun's own wait does when its time is up. Until then
 * the caller stands for those who sleep behind it: it attempts, or enlists again, which renews the announcement.
 *
 * Nothing holds while it sleeps, but for a writer's claim that keeps new readers out (sync/rwlock_any.c), and no `pending` of the
 * robust list is set. Who is killed here has at most
 * consumed a wake of a shared object; its other sleepers look again after a slice of time. So does the caller itself if one of its words is
 * shared. (The calls on an object itself name it in `pending` while they sleep, so that the kernel wakes the next at once.
 * There is only one such word, and here are several locks.)
 *
 * The random place where the round of attempts begins: a place that went on by one with each call would always be the same for
 * one of two calls that take turns.
 */
#include <plait/wait_any.h>

#include <plait/cancel.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/tls.h"
#include "wait/waitable.h"
#include "wait/waiting.h"

const uint32_t plait__never;

/* One call. */
struct call {
    struct plait__waiting *entries;
    struct plait_wait_word *words;
    size_t count;
    size_t at;     /* where the next round of attempts begins */
    bool by_rank;  /* some entries come before others */
    bool shared;   /* of the last sleep: a word is shared */
    bool unwoken;  /* of the last sleep: somebody has to be looked after */
    plait_time_t until; /* of the last sleep: an entry has to be looked at then */
    plait_time_t slice;
    plait_time_t look; /* how long a sleep may be if somebody has to be looked after */
    struct plait__polls polls; /* of the last sleep: its descriptors */
    bool no_polls;     /* the kernel would not sleep on descriptors */
};

/* What one call needs of the stack: few entries are the rule. */
enum { FEW = 16 };

struct few {
    struct plait__waiting entries[FEW];
    struct plait_wait_word words[FEW + PLAIT_CANCEL_DEPTH_MAX]; /* as plait__wait_words wants them */
    struct plait__poll polls[FEW];
};

struct many {
    struct plait__waiting entries[PLAIT_WAIT_ANY_MAX];
    struct plait_wait_word words[PLAIT_WAIT_ANY_MAX + PLAIT_CANCEL_DEPTH_MAX];
    struct plait__poll polls[PLAIT__POLLS_MAX];
};

static size_t random_below(size_t count)
{
    static PLAIT_TLS uint64_t state;

    if (state == 0)
        state = (uintptr_t)&state ^ (uint64_t)plait_now();
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)((state >> 33) * count >> 31);
}

static int attempt(struct call *call, size_t i)
{
    struct plait__waiting *w = &call->entries[i];
    int err = w->entry->how->attempt(w);

    w->tried = true;
    if (err != EAGAIN)
        w->enlisted = false;
    return err;
}

/* Attempt one after the other. EAGAIN: none can be performed; else *which is the one that was. */
static int attempt_all(struct call *call, size_t *which)
{
    size_t i, n;
    int err;

    for (i = 0; call->by_rank && i < call->count; i++)
        if (call->entries[i].entry->first && (err = attempt(call, i)) != EAGAIN) {
            *which = i;
            return err;
        }
    for (n = 0, i = call->at; n < call->count; n++, i = i + 1 < call->count ? i + 1 : 0)
        if (!call->entries[i].entry->first && (err = attempt(call, i)) != EAGAIN) {
            *which = i;
            return err;
        }
    return EAGAIN;
}

/* Enlist with all. False: one of them, at call->at, can perhaps be performed. */
static bool enlist_all(struct call *call)
{
    call->shared = call->unwoken = false;
    call->until = PLAIT_FOREVER;
    call->polls.count = 0;
    for (size_t i = 0; i < call->count; i++) {
        struct plait__waiting *w = &call->entries[i];
        bool sleep;

        w->can_poll = !call->no_polls && call->polls.count < PLAIT__POLLS_MAX;
        w->polls = false;
        sleep = w->entry->how->enlist(w, &call->words[i]);
        w->enlisted = true;
        if (w->polls)
            call->polls.list[call->polls.count++] = w->poll;
        if (!sleep) {
            call->at = i;
            return false;
        }
        call->shared = call->shared || (call->words[i].flags & PLAIT_SHARED);
        call->unwoken = call->unwoken || w->unwoken;
        if (w->until && w->until < call->until)
            call->until = w->until;
    }
    return true;
}

static void delist_all(struct call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        struct plait__waiting *w = &call->entries[i];

        if (w->enlisted && w->entry->how->delist)
            w->entry->how->delist(w);
    }
}

/* Neither ready nor willing to wait: has the time passed, or is the token set? 0: neither. */
static int ended(plait_time_t deadline)
{
    int err = plait_wait(&plait__never, 0, 0, PLAIT_NOW);

    return err == ECANCELED || plait_now() >= deadline ? err : 0;
}

static int sleep_on_all(struct call *call, plait_time_t deadline)
{
    plait_time_t until = call->until < deadline ? call->until : deadline;
    size_t index = call->count;
    int err;

    if (call->unwoken)
        until = plait__slice_end(&call->look, PLAIT__MILLISECOND, 16 * PLAIT__MILLISECOND, until);
    else if (call->shared)
        until = plait__slice_end_shared(&call->slice, until);
    err = plait__wait_words(call->words, call->count, call->polls.count ? &call->polls : NULL, until, &index);
    if (err == ENOSYS && call->polls.count) {
        call->no_polls = true;
        return 0;
    }
    if (index < call->count)
        call->at = index;
    return err == ETIMEDOUT && until < deadline ? 0 : err;
}

static __attribute__((noinline)) int wait_for_any(struct call *call, size_t *which, plait_time_t deadline)
{
    int err, wait_err;

    do {
        if (enlist_all(call))
            wait_err = sleep_on_all(call, deadline);
        else
            wait_err = ended(deadline);
        err = attempt_all(call, which);
    } while (err == EAGAIN && wait_err == 0);
    delist_all(call);
    return err == EAGAIN ? wait_err : err;
}

static int first_of(struct call *call, const struct plait_wait_entry *entries, size_t *which, plait_time_t deadline)
{
    int err;

    for (size_t i = 0; i < call->count; i++) {
        if (!entries[i].how)
            return EINVAL;
        call->entries[i] = (struct plait__waiting){ .entry = &entries[i], .is_try = deadline <= PLAIT_NOW };
        call->by_rank = call->by_rank || entries[i].first;
    }
    call->at = random_below(call->count);
    err = attempt_all(call, which);
    if (err != EAGAIN)
        return err;
    return deadline <= PLAIT_NOW ? ended(PLAIT_NOW) : wait_for_any(call, which, deadline);
}

static __attribute__((noinline)) int first_of_few(const struct plait_wait_entry *entries, size_t count, size_t *which,
                                                  plait_time_t deadline)
{
    struct few few;
    struct call call = { .entries = few.entries, .words = few.words, .count = count, .polls = { few.polls, 0 } };

    return first_of(&call, entries, which, deadline);
}

static __attribute__((noinline)) int first_of_many(const struct plait_wait_entry *entries, size_t count, size_t *which,
                                                   plait_time_t deadline)
{
    struct many many;
    struct call call = { .entries = many.entries, .words = many.words, .count = count, .polls = { many.polls, 0 } };

    return first_of(&call, entries, which, deadline);
}

int plait_wait_any(const struct plait_wait_entry *entries, size_t count, size_t *index_out, plait_time_t deadline)
{
    size_t which = count;
    int err = EINVAL;

    if (entries && count > 0 && count <= FEW)
        err = first_of_few(entries, count, &which, deadline);
    else if (entries && count > 0 && count <= PLAIT_WAIT_ANY_MAX)
        err = first_of_many(entries, count, &which, deadline);
    if (index_out)
        *index_out = which;
    return err;
}
