/* SPDX-License-Identifier: MIT */
/*
 * How it works: one word.
 *
 *     bit 0      SET
 *     bit 1      SLEEPERS  somebody sleeps, or is about to
 *     bits 2-31  round     how many times it was set, modulo 2^30
 *
 * set goes to the next round, puts SET and takes SLEEPERS off in one exchange, and wakes all if SLEEPERS was on. A waiter
 * keeps the round in which it came: when the round is another, the event was set meanwhile, whether or not it still is.
 *
 * No wake is lost: a sleeper has seen the word with SLEEPERS, without SET, and futex wait compares the whole word again;
 * any set changes it. Nobody but a set takes SLEEPERS off; one that is left on by a sleeper that timed out or
 * died or was cancelled costs one wake. A setter that dies between exchange and wake: shared waits look again by slices.
 *
 * Who may have to wait spins a little before it says so: a set in the meantime wakes nobody, and costs no system call.
 *
 * E1: set's exchange releases; seeing SET, or another round, acquires. After it a set uses only the address, because
 * who waited may free the event.
 */
#include <plait/event.h>

#include <errno.h>
#include <limits.h>

#include "base/atomic.h"
#include "base/races.h"
#include "wait/membership.h"
#include "wait/point.h"
#include "wait/spin.h"
#include "wait/waitable.h"

enum { SET = 1, SLEEPERS = 2, ROUND = 4 };

static uint32_t round_of(uint32_t v)
{
    return v & ~(uint32_t)(SET | SLEEPERS);
}

int plait_event_init(plait_event_t *event, unsigned flags)
{
    plait_event_t fresh = { .mode = flags };
    int err = plait__shared_place(event, flags, 0, &fresh.arena_offset);

    if (err == 0)
        *event = fresh;
    return err;
}

int plait_event_fini(plait_event_t *event)
{
    plait__races_forget(event, sizeof *event);
    return 0;
}

int plait_event_set(plait_event_t *event)
{
    uint32_t v = load_relaxed(&event->word);
    uint32_t shared = event->mode & PLAIT_SHARED;
    uint32_t set;

    do
        set = v & SET ? v : ((v & ~(uint32_t)SLEEPERS) + ROUND) | SET; /* set already: still an E1 for this caller */
    while (!cas_release(&event->word, &v, set));
    if (!(v & SET) && (v & SLEEPERS))
        plait_wake(&event->word, UINT_MAX, shared);
    return 0;
}

int plait_event_clear(plait_event_t *event)
{
    __atomic_fetch_and(&event->word, ~(uint32_t)SET, __ATOMIC_ACQ_REL);
    return 0;
}

int plait_event_wait_slow(plait_event_t *event, plait_time_t deadline)
{
    uint32_t v = load_acquire(&event->word); /* E1 */
    uint32_t round = round_of(v);
    plait_time_t slice = 0;
    int err = 0;

    if (!(v & SET) && plait__spin_until_changed(PLAIT__SPIN_TURN, &event->word, v, deadline))
        v = load_acquire(&event->word); /* E1 */
    for (;;) {
        if ((v & SET) || round_of(v) != round)
            return 0;
        if (err)
            return err;
        if (deadline > PLAIT_NOW && !(v & SLEEPERS)) {
            if (!cas_acqrel(&event->word, &v, v | SLEEPERS))
                continue;
            v |= SLEEPERS;
        }
        err = plait__wait_point(&event->word, v, event->mode & PLAIT_SHARED, deadline, &slice);
        v = load_acquire(&event->word); /* E1 */
    }
}

/* ---- Among others: what is kept is the round in which the call began ---- */

static int attempt(struct plait__waiting *waiting)
{
    const plait_event_t *event = waiting->entry->object;
    uint32_t v = load_acquire(&event->word); /* E1 */

    if (!waiting->tried)
        waiting->kept = round_of(v);
    return (v & SET) || round_of(v) != waiting->kept ? 0 : EAGAIN;
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_event_t *event = waiting->entry->object;
    uint32_t v = load_relaxed(&event->word); /* relaxed: the attempt that follows acquires */

    do
        if ((v & SET) || round_of(v) != waiting->kept)
            return false;
    while (!(v & SLEEPERS) && !cas_relaxed(&event->word, &v, v | SLEEPERS));
    *word_out = (struct plait_wait_word){ &event->word, v | SLEEPERS, event->mode & PLAIT_SHARED };
    return true;
}

struct plait_wait_entry plait_any_event_wait(plait_event_t *event)
{
    static const struct plait_waitable waiting = { attempt, enlist, NULL, PLAIT__WATCH_ATTEMPT, NULL };

    return (struct plait_wait_entry){ .how = &waiting, .object = event };
}
