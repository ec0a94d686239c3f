/* SPDX-License-Identifier: MIT */
/*
 * The gate of private and shared read-write locks: rwlock.c tells how it works.
 *
 * Whoever opens it has nothing to do with the lock afterwards, for one of those whom that lets in may be the last who needs
 * it, and free it at once: the exchange of the state is the last access, and the wakes use addresses alone. Readers touch nothing
 * of the lock once they are in, and nothing when they leave. So fini needs no look at who may be on the way out.
 */
#include "sync/rwlock_gate.h"

#include <errno.h>

#include "base/clock.h"
#include "base/fence.h"
#include "sync/rwlock_shared.h"
#include "wait/spin.h"
#include "wait/waiting.h"

#define ROUND_SHIFT 32
#define ROUND_MASK  ((uint64_t)0xffff << ROUND_SHIFT)

enum {
    CLOSED = PLAIT__GATE_CLOSED,
    READERS = PLAIT__GATE_READERS,
    WRITERS = PLAIT__GATE_WRITERS,
    HUNGRY = PLAIT__GATE_HUNGRY
};

/* The next state: open, nobody asleep, and the next round if that wakes writers. */
static uint64_t opened(uint64_t state, uint64_t phase)
{
    uint64_t next = (state & ~(uint64_t)(CLOSED | READERS | WRITERS)) ^ phase;

    if (state & WRITERS)
        next = (next & ~ROUND_MASK) | ((next + ((uint64_t)1 << ROUND_SHIFT)) & ROUND_MASK);
    return next;
}

void plait__gate_open(plait_rwlock_t *rw, uint64_t state, uint64_t phase)
{
    uint32_t *low = plait__gate_low(rw), *high = plait__gate_high(rw);
    unsigned flags = rw->writer.mode & PLAIT_SHARED;

    while (
        !cas64_release(&rw->state, &state, opened(state, phase))) /* E2; from here on the lock may be freed by others */
        ;
    if (state & READERS)
        plait_wake(low, UINT_MAX, flags);
    if (state & WRITERS)
        plait_wake(high, state & HUNGRY ? UINT_MAX : 1, flags);
}

bool plait__gate_heal(plait_rwlock_t *rw, uint64_t *state)
{
    uint64_t s = *state;

    if (s >> PLAIT__GATE_EPOCH_SHIFT == plait__gate_own_epoch() >> PLAIT__GATE_EPOCH_SHIFT ||
        !(s & (CLOSED | HUNGRY)) || loadptr_acquire(&rw->owner))
        return false;
    s = (opened(s, 0) & ~(uint64_t)HUNGRY) << 16 >> 16 | plait__gate_own_epoch();
    cas64_seqcst(&rw->state, state, s);
    return true;
}

/* ---- A writer waits for readers --------------------------------------------------------------- */

void plait__gate_spin(const struct plait__gate_hold *hold, uint64_t state, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_CHANGE, deadline);

    while (plait__gate_is_in_way(hold, state))
        if (!plait__spin_pause(&spin))
            return;
    plait__spin_paid(&spin);
}

bool plait__gate_want(const struct plait__gate_hold *hold, uint64_t state, bool shared, plait_time_t *until_out)
{
    exchange_seqcst(hold->wanted, 1); /* E3 */
    *until_out = shared || plait__fence_everywhere() ? PLAIT_FOREVER : plait_now() + PLAIT__MILLISECOND;
    return plait__gate_is_in_way(hold, state); /* E3 */
}

int plait__gate_await(const struct plait__gate_hold *hold, uint64_t state, bool shared, plait_time_t deadline,
                      plait_time_t *slice)
{
    unsigned flags = shared ? PLAIT_SHARED : 0;
    plait_time_t until;
    int err;

    if (deadline <= PLAIT_NOW)
        return plait_wait(hold->wanted, load_relaxed(hold->wanted), flags, PLAIT_NOW);
    if (!plait__gate_want(hold, state, shared, &until))
        return 0;
    until = until < deadline ? until : deadline;
    err = plait__wait_sliced(hold->wanted, 1, flags, until, slice);
    return err == ETIMEDOUT && until < deadline ? 0 : err;
}

/* ---- A reader ---------------------------------------------------------------------------------- */

/* May the reader, whose hold says `mine`, go in? Or has it been let in by a change of the phase? */
static bool is_in(const struct plait__gate_pass *pass, uint64_t state, uint32_t mine)
{
    if (mine == PLAIT__HOLD_READING)
        return !(state & CLOSED);
    if (mine == plait__gate_waiting(state))
        return false;
    store_release(pass->state, PLAIT__HOLD_READING); /* which it was already, to the writers */
    return true;
}

/* Turn the hold into what it has to be; and then look again. */
static uint32_t become(const struct plait__gate_pass *pass, uint32_t hold_state, unsigned flags)
{
    exchange_seqcst(pass->state, hold_state); /* E1 */
    if (hold_state != PLAIT__HOLD_READING)    /* not in the way of a writer any more */
        plait__gate_wake_wanted(pass->wanted, flags);
    return hold_state;
}

bool plait__gate_look(plait_rwlock_t *rw, const struct plait__gate_pass *pass, uint64_t *state_out)
{
    unsigned shared = rw->writer.mode & PLAIT_SHARED;
    uint32_t mine = load_relaxed(pass->state); /* relaxed: nobody else stores it */

    for (;;) {
        uint64_t s = load64_seqcst(&rw->state); /* E1, E2 */

        if (!(load64_seqcst(&rw->groups) & pass->group)) {
            or64_seqcst(&rw->groups, pass->group);
            continue;
        }
        if (is_in(pass, s, mine))
            return true;
        *state_out = s;
        if (!(s & CLOSED)) /* a writer gave up */
            mine = become(pass, PLAIT__HOLD_READING, shared);
        else if (!shared && plait__gate_heal(rw, &s))
            continue;
        else if (mine == PLAIT__HOLD_READING)
            mine = become(pass, plait__gate_waiting(s), shared);
        else
            return false;
    }
}

int plait__gate_enter(plait_rwlock_t *rw, const struct plait__gate_pass *pass, plait_time_t deadline)
{
    unsigned shared = rw->writer.mode & PLAIT_SHARED;
    plait_time_t slice = 0;
    unsigned doubts = 0;
    bool spun = false;
    uint64_t s;
    int err = 0;

    while (!plait__gate_look(rw, pass, &s)) {
        if (!spun && deadline > PLAIT_NOW) {
            spun = true;
            if (plait__spin_until_changed(PLAIT__SPIN_CHANGE, plait__gate_low(rw), (uint32_t)s, deadline))
                continue;
        }
        if (shared) {
            int found = plait__rwlock_look_after_writer(rw);

            if (found)
                return found;
        }
        if (err)
            return err;
        if (deadline > PLAIT_NOW && !plait__gate_say_asleep(rw, &s))
            continue;
        err = plait__wait_sliced(plait__gate_low(rw), (uint32_t)s, shared, deadline, &slice);
        if (shared && err == 0 && load64_relaxed(&rw->state) == s)
            plait__robust_doubt(&rw->writer, &doubts);
    }
    return 0;
}
