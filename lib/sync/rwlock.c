/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A reader writes nothing of the lock. It has a hold: a word in its thread's own memory (sync/readers.h; shared: in its
 * place in the arena's table of participants, arena/holds.h) that names the lock. A writer closes the gate, a bit of the
 * lock's state, and then looks through the holds. The truth about readers is in the holds alone; nothing is counted.
 *
 *     reader                                      writer
 *     hold = lock, READING                        state |= CLOSED
 *     full barrier                                full barrier
 *     state: not CLOSED? reading                  hold names the lock, and is READING? wait for it
 *
 * E1: so at least one of the two sees the other; and giving up the hold releases, the writer's look acquires. E2: opening the
 * gate releases, the reader's look at it acquires.
 *
 * Whom to look at: `groups` has a bit for each 64th of the rows. A reader sees to it that its group's bit is set, after it
 * has published its hold; mostly it is, and reading it is all. A writer clears the bits, full barrier, and looks at
 * the groups that it found; groups in which it sees a hold of the lock get their bit back. So either the reader
 * sees its bit gone and sets it again, or the writer sees the hold: the same argument as E1. A lock that is seldom read costs its
 * writers nothing.
 *
 * Phases. A reader that finds the gate closed turns its hold into WAITING, with the phase it saw. A writer that releases
 * changes the phase and opens the gate in one exchange: by that, all holds that wait with the old phase are READING, also
 * while their readers sleep still. The next writer waits for them. A hold that waits with the present phase is passed
 * over. One bit of phase is enough: it cannot change twice while such a hold is there. A writer that gives up opens the
 * gate without changing the phase; the holds then have to be turned into READING by their readers, who look again.
 *
 * state, low half: CLOSED, PHASE, and who sleeps; the readers sleep on it. High half, private: `epoch`, the fork epoch
 * of who last closed it, and `round`, which counts the releases that wake writers; the writers sleep on it.
 *
 * No wake is lost. Readers: they sleep on a closed state with READERS set, compared by futex wait; opening takes READERS off
 * and wakes all. Writers (private): they sleep on a state with WRITERS set; opening takes it off, goes to the next round and wakes one;
 * who has slept puts it on again when it closes the gate, and when it gives up, or wakes the next if the gate is open.
 * E3: a writer that waits for a reader to leave says so in the reader's row (`wanted`), fences all threads, looks at the hold once more
 * and sleeps; the reader gives up the hold, then looks at `wanted`. The reader has no barrier in between: the
 * writer's fence (base/fence.h; shared: see rwlock_shared.c) makes it for both. Without such a fence the writer looks again
 * every millisecond. The reader never touches the lock after it has given up the hold, so a writer may free it.
 *
 * Hungry writers: a writer that was woken FORESTALLED_MAX times, and found that another had come first, sets HUNGRY; then
 * no other writer closes the gate before it has had it.
 *
 * Fork, private. Holds of threads that are not in the child are ignored (readers.c). A closed state with the epoch of a
 * parent and no owner was closed by a writer that was still waiting, or was through: the child opens it. `owner` is set
 * after the wait for the readers and cleared before the gate is opened, so an owner means that the data may be half changed.
 */
#include "base/races.h"
#include "sync/rwlock_gate.h"

#include <errno.h>

#include "sync/rwlock_private.h"
#include "sync/rwlock_shared.h"
#include "wait/caller.h"
#include "wait/spin.h"
#include "wait/waiting.h"

enum {
    CLOSED = PLAIT__GATE_CLOSED,
    PHASE = PLAIT__GATE_PHASE,
    READERS = PLAIT__GATE_READERS,
    WRITERS = PLAIT__GATE_WRITERS,
    HUNGRY = PLAIT__GATE_HUNGRY,
    FORESTALLED_MAX = 4
};

_Static_assert(sizeof(plait_rwlock_t) == 88, "part of the ABI");

/* ---- Private: writers ---------------------------------------------------------------------- */

static uint64_t closed_by_us(uint64_t state)
{
    return (state | CLOSED) << 16 >> 16 | plait__gate_own_epoch();
}

static struct plait__gate_hold hold_at(const plait_rwlock_t *rw, struct plait__reader_row *row, int i)
{
    return (struct plait__gate_hold){ &row->holds[i].lock, (uint64_t)(uintptr_t)rw, &row->holds[i].state,
                                      &row->wanted };
}

/* How long a writer waits for readers, and for which one in vain. */
struct patience {
    plait_time_t deadline;
    struct plait__gate_hold in_way;
};

static int await_row(plait_rwlock_t *rw, struct plait__reader_row *row, uint64_t state, struct patience *patience,
                     bool *seen)
{
    for (int i = 0; i < PLAIT__READER_HOLDS; i++) {
        struct plait__gate_hold hold = hold_at(rw, row, i);
        plait_time_t slice = 0;
        int err = 0;

        if (load64_seqcst(hold.name) != hold.expected) /* E1 */
            continue;
        *seen = true;
        if (plait__gate_is_in_way(&hold, state))
            plait__gate_spin(&hold, state, patience->deadline);
        while (plait__gate_is_in_way(&hold, state)) {
            patience->in_way = hold;
            if (err)
                return err;
            err = plait__gate_await(&hold, state, false, patience->deadline, &slice);
        }
    }
    return 0;
}

/* Wait for the readers in some groups; the gate is closed, and the groups' bits are cleared. */
static int await_readers(plait_rwlock_t *rw, uint64_t groups, uint64_t state, struct patience *patience)
{
    uint32_t rows = plait__reader_rows();
    uint64_t keep = 0;

    for (uint64_t left = groups; left; left &= left - 1) {
        for (uint32_t n = (uint32_t)__builtin_ctzll(left); n < rows; n += PLAIT__READER_GROUPS) {
            struct plait__reader_row *row = plait__reader_row_at(n);
            bool seen = false;
            int err;

            if (load_acquire(&row->epoch) != plait__reader.epoch)
                continue;
            err = await_row(rw, row, state, patience, &seen);
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

int plait__rwlock_await_readers(plait_rwlock_t *rw, uint64_t state, plait_time_t deadline,
                                struct plait__gate_hold *in_way)
{
    struct patience patience = { .deadline = deadline };
    int err = 0;

    if (load64_seqcst(&rw->groups)) /* E1 */
        err = await_readers(rw, exchange64_seqcst(&rw->groups, 0), state, &patience);
    *in_way = patience.in_way;
    return err;
}

void plait__rwlock_write(plait_rwlock_t *rw, uint64_t state)
{
    rw->taken = state;
    storeptr_relaxed(&rw->owner, plait__caller());
}

/* The caller has closed the gate. */
static int go_in(plait_rwlock_t *rw, uint64_t state, plait_time_t deadline)
{
    struct plait__gate_hold in_way;
    int err = plait__rwlock_await_readers(rw, state, deadline, &in_way);

    if (err)
        plait__gate_open(rw, state, 0);
    else
        plait__rwlock_write(rw, state);
    return err;
}

bool plait__rwlock_try_close(plait_rwlock_t *rw, const struct plait__rwlock_contest *contest, uint64_t *state_out)
{
    uint64_t s = load64_relaxed(&rw->state), next;

    do {
        while (plait__gate_heal(rw, &s))
            s = load64_relaxed(&rw->state);
        *state_out = s;
        if ((s & CLOSED) || (!contest->hungry && (s & HUNGRY)))
            return false;
        next = closed_by_us(s) | (contest->slept ? WRITERS : 0);
        next &= contest->hungry ? ~(uint64_t)HUNGRY : ~(uint64_t)0;
    } while (!cas64_seqcst(&rw->state, &s, next)); /* E1, E2 */
    *state_out = next;
    return true;
}

bool plait__rwlock_queue_up(plait_rwlock_t *rw, struct plait__rwlock_contest *contest, uint64_t *state)
{
    bool set_hungry = contest->forestalled >= FORESTALLED_MAX && !(*state & HUNGRY);
    uint64_t next = *state | WRITERS | (set_hungry ? HUNGRY : 0);

    if (next != *state && !cas64_relaxed(&rw->state, state, next))
        return false;
    *state = next;
    contest->hungry = contest->hungry || set_hungry;
    contest->slept = true;
    contest->forestalled++;
    return true;
}

void plait__rwlock_leave_to_others(plait_rwlock_t *rw, const struct plait__rwlock_contest *contest)
{
    uint64_t s = load64_relaxed(&rw->state), next;

    do {
        next = contest->hungry ? s & ~(uint64_t)HUNGRY : s;
        if (contest->slept && (s & CLOSED))
            next |= WRITERS;
    } while (next != s && !cas64_relaxed(&rw->state, &s, next));
    if (contest->slept && !(s & CLOSED))
        plait_wake(plait__gate_high(rw), contest->hungry ? UINT_MAX : 1, 0);
}

/* Close the gate, in competition with other writers. *state_out: as it is then. */
static int close_gate(plait_rwlock_t *rw, plait_time_t deadline, uint64_t *state_out)
{
    struct plait__rwlock_contest contest = { 0 };
    bool spun = deadline <= PLAIT_NOW;
    int err = 0;

    while (!plait__rwlock_try_close(rw, &contest, state_out)) {
        uint64_t s = *state_out;

        if (err) {
            plait__rwlock_leave_to_others(rw, &contest);
            return err;
        }
        if ((s & CLOSED) && loadptr_relaxed(&rw->owner) == plait__caller())
            return EDEADLK;
        if (!spun) {
            spun = true;
            if (plait__spin_until_changed(PLAIT__SPIN_CHANGE, plait__gate_low(rw), (uint32_t)s, deadline))
                continue;
        }
        if (deadline > PLAIT_NOW && !plait__rwlock_queue_up(rw, &contest, &s))
            continue;
        err = plait_wait(plait__gate_high(rw), (uint32_t)(s >> 32), 0, deadline);
    }
    return 0;
}

static int write_private(plait_rwlock_t *rw, plait_time_t deadline)
{
    struct plait__reader_row *row;
    uint64_t s;
    int err = plait__lock_is_contradictory(&rw->writer) ? EBADMSG : plait__reader_prepare();

    if (err)
        return err;
    if (plait__reader_find(rw, plait__caller(), &row))
        return EDEADLK;
    if (deadline <= PLAIT_NOW && load64_relaxed(&rw->groups) && plait_rwlock_readers(rw)) /* leave them in peace */
        return plait_wait(&rw->half[0], load_relaxed(&rw->half[0]), 0, PLAIT_NOW) == ECANCELED ? ECANCELED : ETIMEDOUT;
    err = close_gate(rw, deadline, &s);
    return err ? err : go_in(rw, s, deadline);
}

int plait_rwlock_acquire_write(plait_rwlock_t *rw, plait_time_t deadline)
{
    uint64_t s = load64_relaxed(&rw->state), next;

    if (rw->writer.mode)
        return plait__rwlock_shared_write(rw, deadline);
    if ((s & (CLOSED | HUNGRY | READERS | WRITERS)) || plait__reader.used || deadline <= PLAIT_NOW ||
        !plait__reader_is_ready())
        return write_private(rw, deadline);
    next = closed_by_us(s);
    if (__builtin_expect(!cas64_seqcst(&rw->state, &s, next), 0)) /* E1, E2 */
        return write_private(rw, deadline);
    if (load64_seqcst(&rw->groups)) /* E1 */
        return go_in(rw, next, deadline);
    rw->taken = next;
    storeptr_relaxed(&rw->owner, plait__caller());
    return 0;
}

/* What the forking thread had closed before the fork is the child's from now on. */
static __attribute__((noinline)) uint64_t make_ours(plait_rwlock_t *rw)
{
    uint64_t s = load64_relaxed(&rw->state);

    while (!cas64_relaxed(&rw->state, &s, closed_by_us(s)))
        ;
    return closed_by_us(s);
}

/* The caller writes. */
static void release_write(plait_rwlock_t *rw)
{
    uint64_t s = rw->taken;

    if (__builtin_expect((s ^ plait__gate_own_epoch()) >> PLAIT__GATE_EPOCH_SHIFT != 0,
                         0)) /* closed before the fork: no business of plait__gate_heal */
        s = make_ours(rw);
    storeptr_relaxed(&rw->owner, NULL);
    if (__builtin_expect(!(s & (READERS | WRITERS)), 1) &&
        __builtin_expect(cas64_release(&rw->state, &s, (s & ~(uint64_t)CLOSED) ^ PHASE), 1)) /* E2 */
        return;
    plait__gate_open(rw, s, PHASE);
}

/* ---- Private: readers ---------------------------------------------------------------------- */

/* The hold is published; go in, or give it up. */
static __attribute__((noinline)) int enter(plait_rwlock_t *rw, struct plait__reader_row *row,
                                           struct plait__reader_hold *hold, plait_time_t deadline)
{
    struct plait__gate_pass pass = { &hold->state, &row->wanted, plait__reader_group(row) };
    int err = EDEADLK;

    if (loadptr_relaxed(&rw->owner) != plait__caller())
        err = plait__gate_enter(rw, &pass, deadline);
    if (err) {
        plait__reader_drop(row, hold);
        store_relaxed(&hold->state, PLAIT__HOLD_READING);
    }
    return err;
}

static void publish(plait_rwlock_t *rw, struct plait__reader_hold *hold)
{
    plait__rwlock_publish(rw, hold, plait__caller());
}

static __attribute__((noinline)) int read_anyhow(plait_rwlock_t *rw, plait_time_t deadline)
{
    struct plait__reader_row *row;
    struct plait__reader_hold *hold;
    int err;

    err = plait__lock_is_contradictory(&rw->writer) ? EBADMSG : plait__reader_prepare();
    if (err)
        return err;
    hold = plait__reader_find(rw, plait__caller(), &row);
    if (hold) {
        if (hold->depth == UINT32_MAX)
            return EOVERFLOW;
        hold->depth++;
        return 0;
    }
    err = plait__reader_find_free(&row, &hold);
    if (err)
        return err;
    publish(rw, hold);
    return enter(rw, row, hold, deadline);
}

int plait_rwlock_acquire_read(plait_rwlock_t *rw, plait_time_t deadline)
{
    struct plait__reader_row *row = plait__reader.rows;

    if (rw->writer.mode)
        return plait__rwlock_shared_read(rw, deadline);
    if (plait__reader.used || !plait__reader_is_ready())
        return read_anyhow(rw, deadline);
    plait__reader.first = rw;
    publish(rw, &row->holds[0]);
    if (__builtin_expect(!(load64_seqcst(&rw->state) & CLOSED), 1) && /* E1, E2 */
        __builtin_expect((load64_seqcst(&rw->groups) & plait__reader.group) != 0, 1))
        return 0;
    return enter(rw, row, &row->holds[0], deadline);
}

/* ---- Private: the rest ---------------------------------------------------------------------- */

static __attribute__((noinline)) int release_anyhow(plait_rwlock_t *rw)
{
    struct plait__reader_row *row;
    struct plait__reader_hold *hold;

    hold = plait__reader_find(rw, plait__caller(), &row);
    if (hold) {
        if (--hold->depth == 0)
            plait__reader_drop(row, hold);
        return 0;
    }
    if (loadptr_relaxed(&rw->owner) != plait__caller())
        return EPERM;
    if (plait__reader_prepare() != 0) /* a child of a fork without memory for a page */
        return ENOMEM;
    release_write(rw);
    return 0;
}

int plait_rwlock_release(plait_rwlock_t *rw)
{
    struct plait__reader_row *row = plait__reader.rows;

    /* Not the hold's word is asked which lock it is of: to read what a locked instruction has just written takes long. */
    if (plait__reader.first == rw && plait__reader_is_ready() && row->holds[0].depth == 1 &&
        row->holds[0].caller == plait__caller()) {
        plait__reader_drop(row, &row->holds[0]);
        return 0;
    }
    if (rw->writer.mode)
        return plait__rwlock_shared_release(rw);
    if (plait__reader.used || !plait__reader_is_ready() || loadptr_relaxed(&rw->owner) != plait__caller())
        return release_anyhow(rw);
    release_write(rw);
    return 0;
}

int plait_rwlock_downgrade(plait_rwlock_t *rw)
{
    struct plait__reader_row *row;
    struct plait__reader_hold *hold;
    int err;

    if (plait__gate_is_shared(rw))
        return plait__rwlock_shared_downgrade(rw);
    if (loadptr_relaxed(&rw->owner) != plait__caller())
        return EPERM;
    err = plait__reader_prepare();
    if (!err)
        err = plait__reader_find_free(&row, &hold);
    if (err)
        return err;
    publish(rw, hold); /* before the gate opens: the next writer sees it */
    or64_seqcst(&rw->groups, plait__reader_group(row));
    release_write(rw);
    return 0;
}

int plait_rwlock_consistent(plait_rwlock_t *rw)
{
    return plait__gate_is_shared(rw) ? plait__rwlock_shared_consistent(rw) : EINVAL;
}

int plait_rwlock_init(plait_rwlock_t *rw, unsigned flags)
{
    plait_rwlock_t fresh = PLAIT_RWLOCK_INIT;
    int err;

    if (!rw)
        return EINVAL;
    if (!(flags & PLAIT_SHARED))
        return plait_lock_init(&fresh.writer, flags) ? EINVAL : (*rw = fresh, 0);
    err = plait_lock_init(&rw->writer, flags);
    return err ? err : plait__rwlock_shared_init(rw);
}

bool plait_rwlock_is_written(const plait_rwlock_t *rw)
{
    if (!loadptr_relaxed(&rw->owner))
        return false;
    return !plait__gate_is_shared(rw) ||
           plait_lock_is_locked(&rw->writer); /* else it has died, or was given up as lost */
}

unsigned plait_rwlock_readers(const plait_rwlock_t *rw)
{
    uint64_t state = load64_relaxed(&rw->state);
    uint32_t rows = plait__reader_rows();
    unsigned count = 0;

    if (plait__gate_is_shared(rw))
        return plait__rwlock_shared_readers(rw);
    if (plait__reader_prepare() != 0)
        return 0;
    for (uint32_t n = 0; n < rows; n++) {
        struct plait__reader_row *row = plait__reader_row_at(n);

        if (load_acquire(&row->epoch) != plait__reader.epoch)
            continue;
        for (int i = 0; i < PLAIT__READER_HOLDS; i++) {
            struct plait__gate_hold hold = hold_at(rw, row, i);

            count += plait__gate_is_in_way(&hold, state);
        }
    }
    return count;
}

/*
 * May be called by whoever was let in last, at once: nobody who has let the caller in, or has left before it, has anything more to
 * do with the lock (rwlock_gate.c). Shared: a writer that waits, or is waited for, holds `writer`; who leaves has given it back before.
 */
int plait_rwlock_fini(plait_rwlock_t *rw)
{
    if (plait_rwlock_is_written(rw) || plait_rwlock_readers(rw))
        return EBUSY;
    if (plait__gate_is_shared(rw) && plait_lock_fini(&rw->writer) != 0)
        return EBUSY;
    plait__races_forget(rw, sizeof *rw);
    return 0;
}
