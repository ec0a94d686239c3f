/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The gate, the phases and the groups are those of rwlock.c. Here the writer holds the robust lock `writer` from before it
 * closes the gate until just before it opens it, and a reader's hold is one of its slot in the arena's table of participants
 * (arena/holds.h), so that both are known when they die. The group of a reader is its slot's number, modulo 64.
 *
 *     writer      robust, held by the writer
 *     leaver      who released `writer` last without having opened the gate: its slot's number + 1, and generation. Set before
 *                 that release; 0 from before the next one closes the gate. Guarded by `writer`.
 *     owner       not NULL while the data may be half changed: stored after the readers have left, cleared before the
 *                 gate is opened. Guarded by `writer`.
 *     taken       1: half changed by a dead writer, and not declared good again. Guarded by `writer`.
 *     hold        state READING or WAITING, number the fiber (AMONG_OTHERS: rwlock_any.c), count the levels
 *     state       high half: when readers who slept were last let in, in MOMENTs. Guarded by `writer`.
 *
 * Phases. A release changes the phase, and so lets in who waits, only if a reader sleeps and that was not done within PATIENCE.
 * Otherwise it opens the gate as a writer does that gives up, and who waits has to look again: so a reader that sleeps, or was woken
 * and has no CPU yet, is in nobody's way, and the processes that run go on among themselves. With a new phase after each writer, as
 * private locks have it, eight processes on two CPUs slept at every other pass: each writer waited for all whom the last had let in.
 *
 * A dead reader's hold is an orphan: a writer that meets it drops it. Those who sleep for a reader look for that after
 * each slice.
 *
 * A dead writer is found by the next who gets `writer` (EOWNERDEAD), writer or reader: a reader that finds the gate
 * closed and nobody alive behind it tries to take `writer`. With an owner, the data may be half changed: it keeps the lock, for
 * writing, and is told. Without, the dead had waited for readers, or was through: nobody is told, and the gate is opened, or
 * closed anew. The dead may have had the groups' bits in hand: all are set. All that may be done again: a killed
 * repairer is a dead writer. When it was told and releases without declaring the data good, the gate stays closed, and
 * the inner lock says ENOTRECOVERABLE to all who come.
 *
 * A leaving writer opens the gate last, because whoever that lets in may free the lock: it could not release `writer` any more.
 * In between the gate is closed, and `writer` free. Invariant: while the gate is closed, either a holder of `writer`, living or
 * dead, has closed it, and `leaver` is 0; or `leaver` names who will open it with its next step, and nobody else closes or
 * opens it before, unless that one is gone. For: who gets `writer` and finds a leaver waits until the gate is open
 * or the leaver gone (from then on it will not touch the lock), before it clears `leaver`, and closes the gate after that. So
 * the opening of a leaver never hits a gate that another has closed, and it is nobody's before it is open. A stopped leaver is waited for, as
 * a stopped holder is. A reader at such a gate sleeps until it is opened; a slice later it finds a leaver that is gone, and opens the
 * gate itself. Who releases `writer` without having closed the gate leaves `leaver` alone.
 *
 * E3 of rwlock.c: here the reader makes the full barrier between giving up its hold and looking at `wanted`; the writer's
 * threads are not all in one process. Killed in between, it is found by the sleeper's slices.
 */
#include "sync/rwlock_shared.h"

#include <errno.h>

#include <plait/cancel.h>

#include "arena/holds.h"
#include "arena/member.h"
#include "sync/lock.h"
#include "sync/rwlock_gate.h"
#include "wait/caller.h"
#include "wait/robust.h"
#include "wait/spin.h"
#include "wait/waiting.h"

enum { GROUPS = 64 };

#define HALF_CHANGED ((void *)1) /* an owner */

enum { CLOSED = PLAIT__GATE_CLOSED, READERS = PLAIT__GATE_READERS, PHASE = PLAIT__GATE_PHASE };

/* A MOMENT is 2^20 nanoseconds. */
enum { MOMENT_SHIFT = 20, PATIENCE = 5, HIGH_SHIFT = 32 };

static uint64_t name_of(const plait_rwlock_t *rw)
{
    return plait__hold_of(rw->writer.arena_offset, PLAIT__HOLD_COUNT);
}

/* ---- Readers -------------------------------------------------------------------------------- */

/* The caller's own hold, where it is not among the first few of its thread. */
static __attribute__((noinline)) struct plait__hold *own_hold_further(const plait_rwlock_t *rw,
                                                                      const struct plait__slot *self)
{
    struct plait__holds_walk walk = plait__holds_of(plait__rwlock_header(rw), name_of(rw));
    uint64_t name = plait__hold_own_name(self, walk.of);
    struct plait__hold *hold;

    walk.slot_number = (uint32_t)(self - plait__slot_at(walk.h, 0));
    walk.high = walk.slot_number + 1;
    while ((hold = plait__holds_next(&walk)))
        if (walk.name == name && hold->number == plait__fiber_number)
            break;
    return hold;
}

/* The caller's own hold; there may be others of its thread's fibers. */
static inline struct plait__hold *own_hold(const plait_rwlock_t *rw, struct plait__slot *self)
{
    uint64_t name = plait__hold_own_name(self, name_of(rw));

    for (uint32_t i = 0; i < PLAIT__HOLDS_IN_ROW && i < load_relaxed(&self->row.used); i++) {
        struct plait__hold *hold = &self->row.holds[i];

        if (load64_relaxed(&hold->name) == name && hold->number == plait__fiber_number)
            return hold;
    }
    return __builtin_expect(load64_relaxed(&self->row.more) != 0, 0) ? own_hold_further(rw, self) : NULL;
}

static uint64_t number_of(const plait_rwlock_t *rw, const struct plait__slot *slot)
{
    return (uint64_t)(slot - plait__slot_at(plait__rwlock_header(rw), 0));
}

uint64_t plait__rwlock_shared_group(const plait_rwlock_t *rw, const struct plait__slot *slot)
{
    return (uint64_t)1 << number_of(rw, slot) % GROUPS;
}

static inline __attribute__((always_inline)) int publish(plait_rwlock_t *rw, struct plait__slot *self, uint64_t number,
                                                         struct plait__hold **hold_out)
{
    struct plait__hold contents = { .number = number, .state = PLAIT__HOLD_READING, .count = 1 };
    int err = plait__hold_take(plait__rwlock_header(rw), self, name_of(rw), &contents, hold_out);

    if (err)
        return err;
    exchange_seqcst(&(*hold_out)->state, PLAIT__HOLD_READING); /* E1 */
    barrier_after_rmw();
    return 0;
}

int plait__rwlock_shared_publish(plait_rwlock_t *rw, struct plait__slot *self, uint64_t number,
                                 struct plait__hold **hold_out)
{
    return publish(rw, self, number, hold_out);
}

/* Give a hold up: as plait__hold_drop, and a full barrier. */
void plait__rwlock_shared_drop(struct plait__slot *self, struct plait__hold *hold)
{
    exchange64_seqcst(&hold->name, 0); /* E1, E3 */
    barrier_after_rmw();
    plait__gate_wake_wanted(&self->row.wanted, PLAIT_SHARED);
}

int plait__rwlock_shared_read(plait_rwlock_t *rw, plait_time_t deadline)
{
    struct plait__gate_pass pass;
    struct plait__slot *self;
    struct plait__hold *hold;
    int err = plait__member(plait__rwlock_header(rw), &self);

    if (err)
        return err;
    hold = own_hold(rw, self);
    if (hold) {
        if (load_relaxed(&hold->count) == UINT32_MAX)
            return EOVERFLOW;
        store_relaxed(&hold->count, load_relaxed(&hold->count) + 1); /* relaxed: owner only */
        return 0;
    }
    err = publish(rw, self, plait__fiber_number, &hold);
    if (err)
        return err;
    pass = (struct plait__gate_pass){ &hold->state, &self->row.wanted, plait__rwlock_shared_group(rw, self) };
    if (!(load64_seqcst(&rw->state) & CLOSED) && (load64_seqcst(&rw->groups) & pass.group)) /* E1, E2 */
        return 0;
    err = plait__gate_enter(rw, &pass, deadline);
    if (err)
        plait__rwlock_shared_drop(self, hold);
    return err;
}

/* ---- Dead writers ---------------------------------------------------------------------------- */

int plait__rwlock_shared_take_over(plait_rwlock_t *rw)
{
    or64_seqcst(&rw->groups, UINT64_MAX);
    if (loadptr_acquire(&rw->owner)) {
        rw->taken = 1;
        return EOWNERDEAD;
    }
    plait_lock_consistent(&rw->writer);
    return 0;
}

bool plait__rwlock_shared_is_being_opened(const plait_rwlock_t *rw)
{
    uint64_t leaver = load64_relaxed(&rw->leaver);
    uint64_t number = plait__hold_strip(leaver);

    if (!(load64_seqcst(&rw->state) & CLOSED) || number == 0 ||
        number > plait__slots_high(plait__rwlock_header(rw))) /* E2 */
        return false;
    return !plait__hold_is_orphan(plait__slot_at(plait__rwlock_header(rw), (uint32_t)number - 1), leaver);
}

void plait__rwlock_shared_leave(plait_rwlock_t *rw, uint64_t phase)
{
    struct plait__robust_wake wake;
    struct plait__slot *self;

    plait__member(plait__rwlock_header(rw), &self); /* known, for it has acquired */
    store64_relaxed(&rw->leaver, plait__hold_own_name(self, number_of(rw, self) + 1));
    compiler_barrier();
    wake = plait__robust_release_quietly(&rw->writer);
    plait__gate_open(rw, load64_relaxed(&rw->state), phase);
    plait__robust_wake(&wake);
}

int plait__rwlock_look_after_writer(plait_rwlock_t *rw)
{
    plait_cancel_t *token;
    int err;

    if (!plait__arena_is_ours(plait__rwlock_header(rw))) /* damaged */
        return EBADMSG;
    if (plait__robust_is_mine(&rw->writer))
        return loadptr_relaxed(&rw->owner) ? EDEADLK : 0; /* no owner: the caller waits to write, among other things */
    if (!(rw->writer.mode & PLAIT__LOCK_NO_LIST) && plait_lock_is_locked(&rw->writer))
        return 0;
    if (!(load64_seqcst(&rw->state) & CLOSED) || plait__rwlock_shared_is_being_opened(rw))
        return 0;
    token = plait_cancel_bind(NULL);
    err = plait__lock_acquire(&rw->writer, PLAIT_NOW);
    plait_cancel_bind(token);
    if (err == EOWNERDEAD)
        err = plait__rwlock_shared_take_over(rw);
    if (err == ETIMEDOUT)
        return 0;
    if (err)
        return err;
    if (plait__rwlock_shared_is_being_opened(rw) || !(load64_seqcst(&rw->state) & CLOSED))
        plait__lock_release(&rw->writer); /* not ours to open: the next writer would not know of us, and close it before */
    else
        plait__rwlock_shared_leave(rw, 0);
    return 0;
}

/* ---- Writers --------------------------------------------------------------------------------- */

/* Wait for what a slot has in hand of the lock; *seen: it had something. */
static int await_slot(plait_rwlock_t *rw, uint32_t number, uint64_t state, struct plait__rwlock_patience *patience,
                      bool *seen)
{
    struct plait__holds_walk walk = plait__holds_of(plait__rwlock_header(rw), name_of(rw));
    struct plait__hold *hold;

    walk.slot_number = number;
    walk.high = number + 1;
    while ((hold = plait__holds_next(&walk))) {
        struct plait__gate_hold seen_hold = { &hold->name, walk.name, &hold->state, &walk.slot->row.wanted };
        plait_time_t slice = 0;
        int err = 0;

        *seen = true;
        if (plait__gate_is_in_way(&seen_hold, state))
            plait__gate_spin(&seen_hold, state, patience->deadline);
        while (plait__gate_is_in_way(&seen_hold, state)) {
            if (plait__holds_is_orphan(&walk)) {
                plait__hold_drop(hold);
                break;
            }
            patience->in_way = seen_hold;
            if (err)
                return err;
            err = plait__gate_await(&seen_hold, state, true, patience->deadline, &slice);
        }
    }
    return 0;
}

int plait__rwlock_shared_await_readers(plait_rwlock_t *rw, uint64_t state, struct plait__rwlock_patience *patience)
{
    uint64_t groups = exchange64_seqcst(&rw->groups, 0), keep = 0;
    uint32_t high;

    barrier_after_rmw(); /* E1 */
    high = plait__slots_high(plait__rwlock_header(rw));
    for (uint64_t left = groups; left; left &= left - 1) {
        for (uint32_t n = (uint32_t)__builtin_ctzll(left); n < high; n += GROUPS) {
            bool seen = false;
            int err = await_slot(rw, n, state, patience, &seen);

            if (err) {
                or64_seqcst(&rw->groups, groups);
                return err;
            }
            if (seen)
                keep |= left & -left;
        }
    }
    if (keep)
        or64_seqcst(&rw->groups, keep);
    return 0;
}

/* The caller has `writer`. Wait until who had it before has opened the gate, too. */
static int await_leaver(plait_rwlock_t *rw, plait_time_t deadline)
{
    plait_time_t slice = 0;
    bool spun = false;
    int err = 0;

    while (plait__rwlock_shared_is_being_opened(rw)) {
        uint64_t s = load64_relaxed(&rw->state);

        if (!spun) {
            spun = true;
            plait__spin_until_changed(PLAIT__SPIN_CHANGE, plait__gate_low(rw), (uint32_t)s, deadline);
            continue;
        }
        if (err)
            return err;
        if (deadline > PLAIT_NOW && (!(s & CLOSED) || !plait__gate_say_asleep(rw, &s)))
            continue;
        err = plait__wait_sliced(plait__gate_low(rw), (uint32_t)s, PLAIT_SHARED, deadline, &slice);
    }
    return 0;
}

int plait__rwlock_shared_go_in(plait_rwlock_t *rw, struct plait__rwlock_patience *patience)
{
    uint64_t state;

    store64_relaxed(&rw->leaver, 0);
    compiler_barrier();                               /* the gate that is closed from here on is ours */
    state = or64_seqcst(&rw->state, CLOSED) | CLOSED; /* E1, E2 */
    if (load64_seqcst(&rw->groups)) {
        int err = plait__rwlock_shared_await_readers(rw, state, patience);

        if (err)
            return err;
    }
    storeptr_relaxed(&rw->owner, HALF_CHANGED);
    compiler_barrier(); /* before the first change of the data */
    return 0;
}

int plait__rwlock_shared_write(plait_rwlock_t *rw, plait_time_t deadline)
{
    struct plait__rwlock_patience patience = { .deadline = deadline };
    struct plait__slot *self;
    int err = plait__member(plait__rwlock_header(rw), &self);

    if (err)
        return err;
    if (own_hold(rw, self))
        return EDEADLK;
    err = plait__lock_acquire(&rw->writer, deadline);
    if (err == EOWNERDEAD)
        err = plait__rwlock_shared_take_over(rw);
    if (err)
        return err;
    err = await_leaver(rw, deadline);
    if (err) {
        plait__lock_release(&rw->writer);
        return err;
    }
    err = plait__rwlock_shared_go_in(rw, &patience);
    if (err)
        plait__rwlock_shared_leave(rw, 0);
    return err;
}

/*
 * Shall those who wait be let in ahead of the next writer? Who falls asleep between this look and the opening is woken by that, and looks
 * itself; who is killed in between lets nobody in, until PATIENCE is over.
 */
static uint64_t phase_for_sleepers(plait_rwlock_t *rw)
{
    uint64_t s = load64_relaxed(&rw->state), now;

    if (!(s & READERS))
        return 0;
    now = (uint64_t)plait_now() >> MOMENT_SHIFT;
    if ((uint32_t)(now - (s >> HIGH_SHIFT)) < PATIENCE)
        return 0;
    while (!cas64_relaxed(&rw->state, &s, (uint32_t)s | now << HIGH_SHIFT)) /* relaxed: guarded by writer */
        ;
    return PHASE;
}

static int release_write(plait_rwlock_t *rw, uint64_t phase)
{
    compiler_barrier(); /* after the last change of the data */
    if (rw->taken) {    /* half changed for good: the gate stays closed, and who sleeps shall see it */
        uint32_t *low = plait__gate_low(rw);

        plait__lock_release(&rw->writer);
        plait_wake(low, UINT_MAX, PLAIT_SHARED);
        return 0;
    }
    storeptr_relaxed(&rw->owner, NULL);
    compiler_barrier();
    plait__rwlock_shared_leave(rw, phase);
    return 0;
}

/* ---- The rest -------------------------------------------------------------------------------- */

int plait__rwlock_shared_release(plait_rwlock_t *rw)
{
    struct plait__slot *self;
    struct plait__hold *hold;

    hold = plait__member(plait__rwlock_header(rw), &self) ? NULL : own_hold(rw, self);
    if (!hold)
        return plait__robust_is_mine(&rw->writer) ? release_write(rw, phase_for_sleepers(rw)) : EPERM;
    if (load_relaxed(&hold->count) > 1)
        store_relaxed(&hold->count, load_relaxed(&hold->count) - 1);
    else
        plait__rwlock_shared_drop(self, hold);
    return 0;
}

int plait__rwlock_shared_downgrade(plait_rwlock_t *rw)
{
    struct plait__slot *self;
    struct plait__hold *hold;
    int err;

    if (!plait__robust_is_mine(&rw->writer))
        return EPERM;
    if (rw->taken)
        return EINVAL;
    err = plait__member(plait__rwlock_header(rw), &self);
    if (!err)
        err = publish(rw, self, plait__fiber_number, &hold); /* before the gate opens: the next writer sees it */
    if (err)
        return err;
    or64_seqcst(&rw->groups, plait__rwlock_shared_group(rw, self));
    return release_write(rw, PHASE); /* always: the caller may read for long, with the next writer at the gate */
}

int plait__rwlock_shared_consistent(plait_rwlock_t *rw)
{
    if (!plait__robust_is_mine(&rw->writer))
        return EPERM;
    if (!rw->taken)
        return EINVAL;
    rw->taken = 0;
    return plait_lock_consistent(&rw->writer);
}

unsigned plait__rwlock_shared_readers(const plait_rwlock_t *rw)
{
    uint64_t state = load64_relaxed(&rw->state);
    struct plait__holds_walk walk;
    struct plait__hold *hold;
    unsigned count = 0;

    if (!plait__arena_is_ours(plait__rwlock_header(rw))) /* damaged */
        return 0;
    walk = plait__holds_of(plait__rwlock_header(rw), name_of(rw));
    while ((hold = plait__holds_next(&walk)))
        count += load_relaxed(&hold->state) != plait__gate_waiting(state) && !plait__holds_is_orphan(&walk);
    return count;
}

int plait__rwlock_shared_init(plait_rwlock_t *rw)
{
    rw->groups = 0;
    rw->state = 0;
    rw->owner = NULL;
    rw->taken = rw->leaver = 0;
    plait__holds_forget(plait__rwlock_header(rw), name_of(rw));
    return 0;
}
