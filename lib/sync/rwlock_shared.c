/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The gate, the phases and the groups are those of rwlock.c. Here the writer holds the robust lock `writer` from before it
 * closes the gate until after it has opened it, and a reader's hold is one of its slot in the arena's table of participants
 * (arena/holds.h), so that both are known when they die. The group of a reader is its slot's number, modulo 64.
 *
 *     writer      robust, held by the writer
 *     owner       not NULL while the data may be half changed: stored after the readers have left, cleared before the
 *                 gate is opened. Guarded by `writer`.
 *     taken       1: half changed by a dead writer, and not declared good again. Guarded by `writer`.
 *     hold        state READING or WAITING, number the fiber, count the levels
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
 * E3 of rwlock.c: here the reader makes the full barrier between giving up its hold and looking at `wanted`; the writer's
 * threads are not all in one process. Killed in between, it is found by the sleeper's slices.
 */
#include "sync/rwlock_shared.h"

#include <errno.h>

#include <plait/cancel.h>

#include "arena/holds.h"
#include "arena/member.h"
#include "sync/rwlock_gate.h"
#include "wait/caller.h"
#include "wait/robust.h"
#include "wait/spin.h"

enum { GROUPS = 64 };

#define HALF_CHANGED ((void *)1) /* an owner */

static struct plait__arena_header *header_of(const plait_rwlock_t *rw)
{
    return plait__arena_header_of(&rw->writer, rw->writer.arena_offset);
}

static uint64_t name_of(const plait_rwlock_t *rw)
{
    return plait__hold_of(rw->writer.arena_offset, PLAIT__HOLD_COUNT);
}

/* ---- Readers -------------------------------------------------------------------------------- */

/* The caller's own hold, where it is not among the first few of its thread. */
static __attribute__((noinline)) struct plait__hold *own_hold_further(const plait_rwlock_t *rw,
                                                                      const struct plait__slot *self)
{
    struct plait__holds_walk walk = plait__holds_of(header_of(rw), name_of(rw));
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

static uint64_t group_of(const plait_rwlock_t *rw, const struct plait__slot *slot)
{
    return (uint64_t)1 << (slot - plait__slot_at(header_of(rw), 0)) % GROUPS;
}

/* Say that the caller reads: a hold, and a full barrier. */
static int publish(plait_rwlock_t *rw, struct plait__slot *self, struct plait__hold **hold_out)
{
    struct plait__hold contents = { .number = plait__fiber_number, .state = PLAIT__HOLD_READING, .count = 1 };
    int err = plait__hold_take(header_of(rw), self, name_of(rw), &contents, hold_out);

    if (err)
        return err;
    exchange_seqcst(&(*hold_out)->state, PLAIT__HOLD_READING); /* E1 */
    barrier_after_rmw();
    return 0;
}

/* Give a hold up: as plait__hold_drop, and a full barrier. */
static void drop(struct plait__slot *self, struct plait__hold *hold)
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
    int err = plait__member(header_of(rw), &self);

    if (err)
        return err;
    hold = own_hold(rw, self);
    if (hold) {
        if (load_relaxed(&hold->count) == UINT32_MAX)
            return EOVERFLOW;
        store_relaxed(&hold->count, load_relaxed(&hold->count) + 1); /* relaxed: owner only */
        return 0;
    }
    err = publish(rw, self, &hold);
    if (err)
        return err;
    pass = (struct plait__gate_pass){ &hold->state, &self->row.wanted, group_of(rw, self) };
    if (!(load64_seqcst(&rw->state) & PLAIT__GATE_CLOSED) && (load64_seqcst(&rw->groups) & pass.group)) /* E1, E2 */
        return 0;
    err = plait__gate_enter(rw, &pass, deadline);
    if (err)
        drop(self, hold);
    return err;
}

/* ---- Dead writers ---------------------------------------------------------------------------- */

/* The caller got `writer` from a dead one. EOWNERDEAD: the data may be half changed. */
static int take_over(plait_rwlock_t *rw)
{
    or64_seqcst(&rw->groups, UINT64_MAX);
    if (loadptr_acquire(&rw->owner)) {
        rw->taken = 1;
        return EOWNERDEAD;
    }
    plait_lock_consistent(&rw->writer);
    return 0;
}

int plait__rwlock_look_after_writer(plait_rwlock_t *rw)
{
    plait_cancel_t *token;
    int err;

    if (plait__robust_is_mine(&rw->writer))
        return EDEADLK;
    if (!(rw->writer.mode & PLAIT__LOCK_NO_LIST) && plait_lock_is_locked(&rw->writer))
        return 0;
    if (!(load64_seqcst(&rw->state) & PLAIT__GATE_CLOSED))
        return 0;
    token = plait_cancel_bind(NULL);
    err = plait_lock_acquire(&rw->writer, PLAIT_NOW);
    plait_cancel_bind(token);
    if (err == EOWNERDEAD)
        err = take_over(rw);
    if (err == ETIMEDOUT)
        return 0;
    if (err)
        return err;
    plait__gate_open(rw, load64_relaxed(&rw->state), 0);
    plait_lock_release(&rw->writer);
    return 0;
}

/* ---- Writers --------------------------------------------------------------------------------- */

/* Wait for what a slot has in hand of the lock; *seen: it had something. */
static int await_slot(plait_rwlock_t *rw, uint32_t number, uint64_t state, plait_time_t deadline, bool *seen)
{
    struct plait__holds_walk walk = plait__holds_of(header_of(rw), name_of(rw));
    struct plait__hold *hold;

    walk.slot_number = number;
    walk.high = number + 1;
    while ((hold = plait__holds_next(&walk))) {
        struct plait__gate_hold seen_hold = { &hold->name, walk.name, &hold->state, &walk.slot->row.wanted };
        plait_time_t slice = 0;
        int err = 0;

        *seen = true;
        if (plait__gate_is_in_way(&seen_hold, state))
            plait__gate_spin(&seen_hold, state, deadline);
        while (plait__gate_is_in_way(&seen_hold, state)) {
            if (plait__holds_is_orphan(&walk)) {
                plait__hold_drop(hold);
                break;
            }
            if (err)
                return err;
            err = plait__gate_await(&seen_hold, state, true, deadline, &slice);
        }
    }
    return 0;
}

/* Wait for the readers; the gate is closed. */
static int await_readers(plait_rwlock_t *rw, uint64_t state, plait_time_t deadline)
{
    uint64_t groups = exchange64_seqcst(&rw->groups, 0), keep = 0;
    uint32_t high;

    barrier_after_rmw(); /* E1 */
    high = load_acquire(&header_of(rw)->slots_high);
    for (uint64_t left = groups; left; left &= left - 1) {
        for (uint32_t n = (uint32_t)__builtin_ctzll(left); n < high; n += GROUPS) {
            bool seen = false;
            int err = await_slot(rw, n, state, deadline, &seen);

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

int plait__rwlock_shared_write(plait_rwlock_t *rw, plait_time_t deadline)
{
    struct plait__slot *self;
    uint64_t state;
    int err = plait__member(header_of(rw), &self);

    if (err)
        return err;
    if (own_hold(rw, self))
        return EDEADLK;
    err = plait_lock_acquire(&rw->writer, deadline);
    if (err == EOWNERDEAD)
        err = take_over(rw);
    if (err)
        return err;
    state = or64_seqcst(&rw->state, PLAIT__GATE_CLOSED) | PLAIT__GATE_CLOSED; /* E1, E2 */
    if (load64_seqcst(&rw->groups)) {
        err = await_readers(rw, state, deadline);
        if (err) {
            plait__gate_open(rw, state, 0);
            plait_lock_release(&rw->writer);
            return err;
        }
    }
    storeptr_relaxed(&rw->owner, HALF_CHANGED);
    compiler_barrier(); /* before the first change of the data */
    return 0;
}

static int release_write(plait_rwlock_t *rw)
{
    compiler_barrier(); /* after the last change of the data */
    if (rw->taken) {    /* half changed for good: the gate stays closed, and who sleeps shall see it */
        uint32_t *low = plait__gate_low(rw);

        plait_lock_release(&rw->writer);
        plait_wake(low, UINT_MAX, PLAIT_SHARED);
        return 0;
    }
    storeptr_relaxed(&rw->owner, NULL);
    compiler_barrier();
    plait__gate_open(rw, load64_relaxed(&rw->state), PLAIT__GATE_PHASE);
    return plait_lock_release(&rw->writer);
}

/* ---- The rest -------------------------------------------------------------------------------- */

int plait__rwlock_shared_release(plait_rwlock_t *rw)
{
    struct plait__slot *self;
    struct plait__hold *hold;

    hold = plait__member(header_of(rw), &self) ? NULL : own_hold(rw, self);
    if (!hold)
        return plait__robust_is_mine(&rw->writer) ? release_write(rw) : EPERM;
    if (load_relaxed(&hold->count) > 1)
        store_relaxed(&hold->count, load_relaxed(&hold->count) - 1);
    else
        drop(self, hold);
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
    err = plait__member(header_of(rw), &self);
    if (!err)
        err = publish(rw, self, &hold); /* before the gate opens: the next writer sees it */
    if (err)
        return err;
    or64_seqcst(&rw->groups, group_of(rw, self));
    return release_write(rw);
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
    struct plait__holds_walk walk = plait__holds_of(header_of(rw), name_of(rw));
    uint64_t state = load64_relaxed(&rw->state);
    struct plait__hold *hold;
    unsigned count = 0;

    while ((hold = plait__holds_next(&walk)))
        count += load_relaxed(&hold->state) != plait__gate_waiting(state) && !plait__holds_is_orphan(&walk);
    return count;
}

int plait__rwlock_shared_init(plait_rwlock_t *rw)
{
    rw->groups = 0;
    rw->state = 0;
    rw->owner = NULL;
    rw->taken = rw->spare = 0;
    plait__holds_forget(header_of(rw), name_of(rw));
    return 0;
}
