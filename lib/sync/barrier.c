/* SPDX-License-Identifier: MIT */
/*
 * How it works: one word of 64 bits, of which the upper half is slept on.
 *
 *     bits 0-15   arrived: parties of the round that fills; all of them while an action runs; 0 when broken
 *     bits 16-27  resets so far
 *     bit  30     DEAD      broken by a death
 *     bit  31     SLEEPERS  somebody sleeps on the upper half, or is about to
 *     bit  32     BROKEN
 *     bits 33-63  the round
 *
 *     arrive      arrived + 1, by compare and swap
 *     complete    round + 1, arrived 0: the last to arrive does both in one; if there is an action, complete comes after it
 *     break       BROKEN (in the upper half: sleepers see it), arrived 0
 *     reset       broken -> round + 1, resets + 1, not BROKEN
 *
 * A party keeps the upper half and the number of resets with which it arrived, and looks until one of them changes. Nothing
 * waits for it to look, so it may be behind when it does. As long as there was no reset, a break of its own round
 * is told from a completed one, however many came after that: the broken one stays the last. So each reset keeps the state
 * that it ends in ended[], for those who were behind; four of them.
 *
 * No wake is lost: who sleeps has set SLEEPERS in the state that it has seen, and futex wait compares the upper half; every
 * change of that finds SLEEPERS in its exchange and wakes all.
 *
 * Shared: a party has a hold (arena/holds.h) from before it first arrives until the barrier ends or it leaves. If one of the
 * present number of resets is an orphan, its thread was killed, and whoever finds it breaks the barrier: those who sleep
 * look after each slice of time, and a try. There is no more to repair: each change is one exchange, and a wake that the
 * killed owes is made up for by the slices.
 *
 * E1: arrive and complete release, and acquire what those before released; a party's look acquires. What parties did before
 * is seen by the action, and what it did by all. E2: ended[] is set before the exchange that resets, which releases; who
 * acquires the state after that reset sees it.
 */
#include <plait/barrier.h>

#include <errno.h>
#include <limits.h>

#include "arena/holds.h"
#include "arena/member.h"
#include "base/atomic.h"
#include "base/races.h"
#include "wait/membership.h"
#include "wait/spin.h"
#include "wait/waiting.h"

#define ARRIVED 0xffffu
#define RESET_SHIFT 16
#define RESETS 0x0fff0000u
#define DEAD 0x40000000u
#define SLEEPERS 0x80000000u
#define BROKEN ((uint64_t)1 << 32)
#define ROUND ((uint64_t)1 << 33)
#define UPPER_SHIFT 32

enum { ENDED = 4, VAIN_MAX = 3, STREAK = 8 };

_Static_assert(PLAIT_BARRIER_MAX == ARRIVED, "the field");
_Static_assert(sizeof(plait_barrier_t) == 80, "part of the ABI");

static uint32_t upper(uint64_t state) { return (uint32_t)(state >> UPPER_SHIFT); }
static uint32_t arrived(uint64_t state) { return (uint32_t)state & ARRIVED; }
static uint32_t resets(uint64_t state) { return ((uint32_t)state & RESETS) >> RESET_SHIFT; }
static bool is_broken(uint64_t state) { return state & BROKEN; }

/* Is it still the round (and as many resets) in which a party arrived? */
static bool is_same_round(uint64_t a, uint64_t b)
{
    return upper(a) == upper(b) && resets(a) == resets(b);
}

static uint64_t completed(uint64_t state)
{
    return ((state + ROUND) & ~(uint64_t)UINT32_MAX) | (state & RESETS);
}

static uint64_t broken(uint64_t state, uint32_t dead)
{
    return ((state | BROKEN) & ~(uint64_t)UINT32_MAX) | (state & RESETS) | dead;
}

static uint64_t whole_again(uint64_t state)
{
    return ((completed(state) & ~BROKEN) & ~(uint64_t)RESETS) | ((state + (1u << RESET_SHIFT)) & RESETS);
}

static uint32_t shared(const plait_barrier_t *barrier)
{
    return barrier->mode & PLAIT_SHARED;
}

static const uint32_t *round_word(const plait_barrier_t *barrier)
{
    return &barrier->half[__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__];
}

static void wake_if(const plait_barrier_t *barrier, uint64_t before)
{
    if (before & SLEEPERS)
        plait_wake(round_word(barrier), UINT_MAX, shared(barrier));
}

/* Break it, if it is as in *state still; else tell how it is. */
static bool break_it(plait_barrier_t *barrier, uint64_t *state, uint32_t dead)
{
    uint64_t before = *state;

    if (!cas64_acqrel(&barrier->state, state, broken(before, dead)))
        return false;
    wake_if(barrier, before);
    return true;
}

/* ---- Who takes part (shared) ---- */

static struct plait__arena_header *header_of(const plait_barrier_t *barrier)
{
    return plait__arena_header_of(barrier, barrier->arena_offset);
}

static uint64_t name_of(const plait_barrier_t *barrier)
{
    return plait__hold_of(barrier->arena_offset, PLAIT__HOLD_COUNT);
}

/* What parties known since the last reset have in their holds: no other barrier here, nor time of this one, has it. */
static uint64_t party_number(const plait_barrier_t *barrier, uint64_t state)
{
    return (barrier->birth << 12) + resets(state);
}

/* Make the calling thread known as a party, if it is not. */
static int be_known(plait_barrier_t *barrier, uint64_t state, struct plait__hold **hold)
{
    struct plait__arena_header *h = header_of(barrier);
    uint64_t number = party_number(barrier, state);
    struct plait__slot *self;
    int err;

    if (!*hold) {
        err = plait__member(h, &self);
        if (err)
            return err;
        *hold = plait__hold_find(h, self, name_of(barrier));
        if (!*hold)
            return plait__hold_take(h, self, name_of(barrier), &(struct plait__hold){ .number = number }, hold);
    }
    if (load64_relaxed(&(*hold)->number) != number) /* relaxed: the exchange that arrives comes after it */
        store64_relaxed(&(*hold)->number, number);
    return 0;
}

/* Break it because of a death, unless it is broken or was reset by now. */
static void break_dead(plait_barrier_t *barrier, uint64_t state)
{
    uint32_t since = resets(state);

    while (!is_broken(state) && resets(state) == since)
        if (break_it(barrier, &state, DEAD))
            break;
}

/* Has a party died? Then the barrier is broken, if it was not. Those who died before the last reset are buried. */
static bool look_for_the_dead(plait_barrier_t *barrier)
{
    uint64_t state = load64_acquire(&barrier->state);
    struct plait__holds_walk walk;
    struct plait__hold *hold;

    if (!plait__arena_is_ours(header_of(barrier))) /* damaged */
        return false;
    walk = plait__holds_of(header_of(barrier), name_of(barrier));
    while ((hold = plait__holds_next(&walk))) {
        bool is_known = load64_relaxed(&hold->number) == party_number(barrier, state);

        if (!plait__holds_is_orphan(&walk))
            continue;
        if (is_known) {
            break_dead(barrier, state);
            return true;
        }
        plait__holds_bury(&walk, hold);
    }
    return false;
}

/* ---- Waiting ---- */

/* How the round went in which the caller had arrived, at `mine`; it is over in `now`. */
static int outcome(plait_barrier_t *barrier, uint64_t mine, uint64_t now)
{
    if (resets(now) != resets(mine)) {
        now = load64_acquire(&barrier->ended[resets(mine) % ENDED]); /* E2 */
        if (resets(now) != resets(mine))
            return EPIPE; /* too long ago */
    }
    if (upper(now) != upper(mine | BROKEN))
        return 0;
    return now & DEAD ? EOWNERDEAD : EPIPE;
}

/* Sleep in shared memory, and look after the others when nothing has come in a slice of time. */
static int sleep_shared(plait_barrier_t *barrier, uint64_t state, plait_time_t deadline, plait_time_t *slice)
{
    int err = plait__wait_sliced(round_word(barrier), upper(state), PLAIT_SHARED, deadline, slice);

    if (err == 0 && upper(load64_relaxed(&barrier->state)) == upper(state))
        look_for_the_dead(barrier);
    return err;
}

/*
 * Sleep until the round is not that of `state` any more, or a slice of time has passed. 0: look again. EAGAIN: the
 * state has changed before. Inlined for the sake of those who come back (plait_wait).
 */
static inline __attribute__((always_inline)) int sleep_on(plait_barrier_t *barrier, uint64_t state,
                                                          plait_time_t deadline, plait_time_t *slice)
{
    if (!(state & SLEEPERS) && !cas64_acqrel(&barrier->state, &state, state | SLEEPERS))
        return EAGAIN;
    return shared(barrier) ? sleep_shared(barrier, state, deadline, slice)
                           : plait_wait(round_word(barrier), upper(state), 0, deadline);
}

/*
 * Is it worth the while to await the end of this round without a sleep? Where the others have other things to do it is tried in few
 * rounds only: every 2nd, 4th, at least 8th, as more of them were in vain. In several rounds in turn: the first may be in vain because
 * the others still have to wake up from a sleep.
 */
static bool is_worth_a_look(const plait_barrier_t *barrier, uint64_t mine)
{
    uint32_t vain = load_relaxed(&barrier->vain_looks); /* relaxed: a hint */

    if (vain > VAIN_MAX) /* damaged */
        vain = VAIN_MAX;
    return (mine / ROUND) % (STREAK << vain) < STREAK;
}

/* Can those who are missing be on their way on other CPUs? Never where there are two parties for each. */
static bool are_all_running(const plait_barrier_t *barrier, uint64_t mine)
{
    return barrier->parties - arrived(mine) < plait__cpus() && barrier->parties < 2 * plait__cpus();
}

/* Look for the end of the round on this CPU, or give it to those who are missing. */
static void look_for_the_end(plait_barrier_t *barrier, uint64_t mine, plait_time_t deadline)
{
    bool paid = are_all_running(barrier, mine)
                    ? plait__spin_until_changed(PLAIT__SPIN_CHANGE, round_word(barrier), upper(mine), deadline)
                    : plait__yield_until_changed(round_word(barrier), upper(mine), deadline);
    uint32_t vain = load_relaxed(&barrier->vain_looks);

    if (paid && vain > 0 && vain <= VAIN_MAX)
        store_relaxed(&barrier->vain_looks, vain - 1);
    else if (!paid && vain < VAIN_MAX)
        store_relaxed(&barrier->vain_looks, vain + 1);
}

/* Wait for the others, having arrived: `mine` is the state that the caller made. */
static int wait_for_round(plait_barrier_t *barrier, uint64_t mine, plait_time_t deadline)
{
    plait_time_t slice = 0;
    int err = 0;

    if (!(mine & SLEEPERS))
        look_for_the_end(barrier, mine, deadline);
    for (;;) {
        uint64_t now = load64_acquire(&barrier->state); /* E1 */

        if (!is_same_round(now, mine))
            return outcome(barrier, mine, now);
        if (err && err != EAGAIN) {
            if (break_it(barrier, &now, 0))
                return err;
            continue;
        }
        err = sleep_on(barrier, now, deadline, &slice);
    }
}

/* The last to arrive, at `mine`: run the action and let all go. */
static int finish_round(plait_barrier_t *barrier, uint64_t mine, int (*action)(void *arg), void *arg)
{
    int err = action(arg);
    uint64_t now = load64_acquire(&barrier->state);

    while (is_same_round(now, mine)) {
        uint64_t before = now;

        if (err) {
            if (break_it(barrier, &now, 0))
                return err;
        } else if (cas64_acqrel(&barrier->state, &now, completed(now))) { /* E1 */
            wake_if(barrier, before);
            return 0;
        }
    }
    return err ? err : outcome(barrier, mine, now);
}

/* The caller would not be the last, or is one more than the parties. Wait for a change, without having arrived. */
static int wait_outside(plait_barrier_t *barrier, uint64_t state, plait_time_t deadline, plait_time_t *slice)
{
    int err;

    if (deadline > PLAIT_NOW) {
        err = sleep_on(barrier, state, deadline, slice);
        return err == EAGAIN ? 0 : err;
    }
    if (shared(barrier) && look_for_the_dead(barrier))
        return 0;
    return plait_wait(round_word(barrier), upper(state), shared(barrier), PLAIT_NOW);
}

/* A deadline that has passed acts as PLAIT_NOW: who comes too late has not arrived. */
static plait_time_t past_is_now(plait_time_t deadline)
{
    return deadline != PLAIT_FOREVER && deadline > PLAIT_NOW && deadline <= plait_now() ? PLAIT_NOW : deadline;
}

/* Arrive. *mine_out: the state as the caller has made it, or found it at an error. */
static int arrive(plait_barrier_t *barrier, bool has_action, plait_time_t deadline, uint64_t *mine_out)
{
    struct plait__hold *hold = NULL;
    plait_time_t slice = 0;
    uint64_t state = load64_relaxed(&barrier->state);

    for (;;) {
        bool is_last = arrived(state) + 1 == barrier->parties;
        int err = 0;

        if (is_broken(state))
            return state & DEAD ? EOWNERDEAD : EPIPE;
        if (shared(barrier) && (err = be_known(barrier, state, &hold)) != 0)
            return err;
        if (arrived(state) >= barrier->parties || (!is_last && deadline <= PLAIT_NOW)) {
            err = wait_outside(barrier, state, deadline, &slice);
            if (err)
                return err;
            state = load64_acquire(&barrier->state);
            continue;
        }
        if (is_last && !has_action)
            *mine_out = completed(state);
        else
            *mine_out = (state + 1) | (is_last || is_worth_a_look(barrier, state + 1) ? 0 : SLEEPERS);
        if (cas64_acqrel(&barrier->state, &state, *mine_out)) { /* E1 */
            if (is_last && !has_action)
                wake_if(barrier, state);
            return 0;
        }
    }
}

int plait_barrier_wait_then(plait_barrier_t *barrier, int (*action)(void *arg), void *arg, unsigned *index_out,
                            plait_time_t deadline)
{
    unsigned parties = barrier->parties, index = 0;
    uint64_t mine;
    int err;

    if (parties == 0)
        return EINVAL;
    err = arrive(barrier, action != NULL, past_is_now(deadline), &mine);
    if (err)
        return err;
    if (arrived(mine) == parties) {
        err = finish_round(barrier, mine, action, arg);
    } else if (arrived(mine) != 0) { /* else it was completed in the same step, and may be gone by now */
        index = parties - arrived(mine);
        err = wait_for_round(barrier, mine, deadline);
    }
    if (err == 0 && index_out)
        *index_out = index;
    return err;
}

int plait_barrier_wait(plait_barrier_t *barrier, unsigned *index_out, plait_time_t deadline)
{
    return plait_barrier_wait_then(barrier, NULL, NULL, index_out, deadline);
}

/* ---- The rest ---- */

int plait_barrier_abort(plait_barrier_t *barrier)
{
    uint64_t state = load64_acquire(&barrier->state);

    while (!is_broken(state) && !break_it(barrier, &state, 0))
        ;
    return 0;
}

/* Keep the state in which this time of the barrier ends; whoever resets it stores the same. */
static bool keep_the_end(plait_barrier_t *barrier, uint64_t state)
{
    uint64_t *ended = &barrier->ended[resets(state) % ENDED];
    uint64_t old = load64_acquire(ended);

    if (load64_acquire(&barrier->state) != state)
        return false;
    cas64_acqrel(ended, &old, state); /* fails if another did it, also one who is four resets ahead */
    return true;
}

int plait_barrier_reset(plait_barrier_t *barrier)
{
    uint64_t state = load64_acquire(&barrier->state);
    uint32_t before = resets(state);

    while (resets(state) == before) {
        if (!is_broken(state)) {
            break_it(barrier, &state, 0);
            state = load64_acquire(&barrier->state);
        } else if (!keep_the_end(barrier, state) || cas64_acqrel(&barrier->state, &state, whole_again(state))) { /* E2 */
            state = load64_acquire(&barrier->state);
        }
    }
    if (shared(barrier))
        look_for_the_dead(barrier);
    return 0;
}

bool plait_barrier_is_broken(const plait_barrier_t *barrier)
{
    return is_broken(load64_relaxed(&barrier->state));
}

unsigned plait_barrier_waiting(const plait_barrier_t *barrier)
{
    return arrived(load64_relaxed(&barrier->state));
}

unsigned plait_barrier_parties(const plait_barrier_t *barrier)
{
    return barrier->parties;
}

int plait_barrier_init(plait_barrier_t *barrier, unsigned parties, unsigned flags)
{
    plait_barrier_t fresh = { .mode = flags, .parties = parties };
    int err = plait__shared_place(barrier, flags, 0, &fresh.arena_offset);

    if (err)
        return err;
    if (parties == 0 || parties > PLAIT_BARRIER_MAX)
        return EINVAL;
    fresh.birth = (uint64_t)plait_now();
    *barrier = fresh;
    if (flags & PLAIT_SHARED)
        plait__holds_forget(header_of(barrier), name_of(barrier));
    return 0;
}

int plait_barrier_fini(plait_barrier_t *barrier)
{
    if (shared(barrier))
        look_for_the_dead(barrier);
    if (plait_barrier_waiting(barrier))
        return EBUSY;
    if (shared(barrier) && plait__arena_is_ours(header_of(barrier)))
        plait__holds_end(header_of(barrier), name_of(barrier));
    plait__races_forget(barrier, sizeof *barrier);
    return 0;
}
