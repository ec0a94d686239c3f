/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The kernel sleeps on 128 words at most, and without futex_waitv on one. But wakers of private words look into the table of
 * parked waiters first (parked.h). So the caller enters all its private words there, as a fiber would, and sleeps on a word
 * of its own, the bell, which the waker changes and wakes. Beside the bell it sleeps on as many shared words as the
 * kernel takes. The shared words that are left over are looked at every millisecond, growing to 20; a change is
 * noticed by its value, so wakers must change the word, as the contract says.
 *
 * Where the kernel takes one word only, the first of the caller's is the one that matters most (the others are cancel tokens, or
 * all are alike): if it is shared, the sleep is on that word and not on the bell.
 *
 * No wake is lost. Private words: as told in parked.c: the caller enters and then looks at all words again; E1: who takes it out of the
 * table stores 1 in the bell with a release and wakes that word, on which the caller sleeps only while it is 0. The bell is a
 * private word like any other, so in a fiber it is waited for in the table as well: a waker then walks the table while it
 * walks the table, which takes no lock. Shared words: the kernel compares.
 *
 * The frame stays until plait__unpark has seen that no waker is in it, also when the thread is cancelled in its sleep
 * (point.c).
 */
#include "wait/crowd.h"

#include <errno.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "wait/parked.h"
#include "wait/point.h"

struct crowd {
    struct plait__parking parking; /* first */
    uint32_t bell;                 /* atomic: 0, 1 once rung (E1) */
};

/* What is slept on at one time, and whether it leaves words out that must be looked at. */
struct few {
    struct plait_wait_word words[PLAIT_WAIT_MANY_MAX];
    size_t count;
    bool rest;
};

static void ring(struct plait__parking *parking)
{
    uint32_t *bell = &((struct crowd *)parking)->bell;

    store_release(bell, 1); /* E1 */
    plait_wake(bell, 1, 0);
}

static bool is_shared(const struct plait_wait_word *word)
{
    return word->flags & PLAIT_SHARED;
}

static void choose(struct few *few, const struct plait_wait_word *words, size_t count, size_t kernel_max,
                   const uint32_t *bell)
{
    few->count = 0;
    few->rest = false;
    if (kernel_max > 1 || !is_shared(&words[0]))
        few->words[few->count++] = (struct plait_wait_word){ bell, 0, 0 };
    else
        few->rest = count > 1;
    for (size_t i = 0; i < count; i++)
        if (is_shared(&words[i]) && few->count < kernel_max)
            few->words[few->count++] = words[i];
        else if (is_shared(&words[i]))
            few->rest = true;
}

static int sleep_on_few(const struct few *few, const struct plait_wait_word *words, size_t count, plait_time_t deadline,
                        size_t *index_out)
{
    plait_time_t step = PLAIT__MILLISECOND;

    for (;;) {
        plait_time_t until = few->rest ? plait_now() + step : deadline;
        size_t unknown;
        int err;

        if (until > deadline)
            until = deadline;
        err = plait__wait_few(few->words, few->count, until, &unknown);
        if (plait__wait_changed(words, count, index_out))
            return 0;
        if (err != ETIMEDOUT || until == deadline)
            return err;
        if (step < 20 * PLAIT__MILLISECOND)
            step += step / 2;
    }
}

static PLAIT__POINT_INNERMOST void cancelled(void *parking)
{
    plait__unpark(parking);
}

static int sleep_parked(struct plait__parking *parking, const struct few *few, const struct plait_wait_word *words,
                        size_t count, plait_time_t deadline, size_t *index_out)
{
    int err;

    pthread_cleanup_push(cancelled, parking);
    err = sleep_on_few(few, words, count, deadline, index_out);
    pthread_cleanup_pop(0);
    return err;
}

int plait__wait_crowd(const struct plait_wait_word *words, size_t count, size_t kernel_max, plait_time_t deadline,
                      size_t *index_out)
{
    struct plait__parked_node nodes[PLAIT__WAIT_CROWD_MAX];
    struct crowd self = { .parking = { .notify = ring, .nodes = nodes } };
    struct few few;
    int err = 0;

    choose(&few, words, count, kernel_max, &self.bell);
    plait__park(&self.parking, words, count);
    if (plait__park_still(&self.parking, words))
        err = sleep_parked(&self.parking, &few, words, count, deadline, index_out);
    if (plait__unpark(&self.parking)) {
        *index_out = self.parking.index;
        return 0;
    }
    if (err == 0)
        plait__wait_changed(words, count, index_out);
    return err;
}
