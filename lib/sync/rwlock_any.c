/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A read-write lock among others, in plait_wait_any. What waits here does so as in rwlock.c and rwlock_shared.c, in pieces.
 *
 * To read. enlist publishes a hold of the caller's, which waits with the phase as any reader's does; so the caller may be let in while it
 * sleeps, or while it attempts other things: the hold keeps writers out from then on, and is dropped by delist if something
 * else has won. Readers are always woken all, so there is no wake to pass on. While it waits, the hold is nobody's: its caller is
 * marked (shared: its number), so that another entry of the same call does not take it for a hold for reading.
 *
 * To write. First as a writer that waits for another (private: on the high half of the state, shared: for `writer`), and whose wake,
 * if it goes away, is passed on in the same ways. Then it has closed the gate, and sleeps on the row of the first reader in
 * its way, again and again until none is. This is the one wait among others that has something in hand: new readers are kept out, else readers
 * that come all the time would starve it. delist opens the gate, as a writer does whose time is up. Who is killed in it
 * has changed nothing, and is found as any writer is.
 *
 * One call may wait to read and to write the same lock. Its own hold waits with the present phase while the gate is closed by its own
 * other entry, so it is not in the way; or it is in, and then the attempt to read succeeds.
 */
#include <plait/rwlock.h>

#include <errno.h>

#include "sync/readers.h"
#include "sync/rwlock_gate.h"
#include "sync/rwlock_private.h"
#include "sync/rwlock_shared.h"
#include "wait/caller.h"
#include "wait/waitable.h"

/* ---- To read, private ------------------------------------------------------------------------ */

/* What is kept: the hold, or an error of enlist. */
enum { IN = 1, FAILED = 2, ERROR_SHIFT = 8 };

static struct plait__reader_hold *hold_of(const struct plait__waiting *waiting)
{
    return (struct plait__reader_hold *)(uintptr_t)(waiting->kept & ~(uint64_t)IN);
}

static bool look(struct plait__waiting *waiting, uint64_t *state_out)
{
    struct plait__reader_hold *hold = hold_of(waiting);
    struct plait__reader_row *row = plait__reader_row_of(hold);
    struct plait__gate_pass pass = { &hold->state, &row->wanted, plait__reader_group(row) };

    if (!(waiting->kept & IN) && plait__gate_look(waiting->entry->object, &pass, state_out))
        waiting->kept |= IN;
    return waiting->kept & IN;
}

static int attempt_read_private(struct plait__waiting *waiting)
{
    uint64_t state;

    if (!waiting->enlisted)
        return plait__not_now(plait_rwlock_acquire_read(waiting->entry->object, PLAIT_NOW));
    if (waiting->kept & FAILED)
        return (int)(waiting->kept >> ERROR_SHIFT);
    if (!look(waiting, &state))
        return EAGAIN;
    hold_of(waiting)->caller = plait__caller();
    return 0;
}

static int publish(struct plait__waiting *waiting)
{
    struct plait__reader_row *row;
    struct plait__reader_hold *hold;
    int err = plait__reader_find_free(&row, &hold);

    if (!err) {
        plait__rwlock_publish(waiting->entry->object, hold, (char *)plait__caller() + 1);
        waiting->kept = (uintptr_t)hold;
    }
    return err;
}

static bool enlist_read_private(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_rwlock_t *rw = waiting->entry->object;
    uint64_t state;
    int err = waiting->enlisted ? 0 : publish(waiting);

    if (err) { /* told by the attempt that follows */
        waiting->kept = (uint64_t)err << ERROR_SHIFT | FAILED;
        return false;
    }
    do
        if (look(waiting, &state))
            return false;
    while (!plait__gate_say_asleep(rw, &state));
    *word_out = (struct plait_wait_word){ plait__gate_low(rw), (uint32_t)state, 0 };
    return true;
}

static void delist_read_private(struct plait__waiting *waiting)
{
    struct plait__reader_hold *hold = hold_of(waiting);

    if (waiting->kept & FAILED)
        return;
    plait__reader_drop(plait__reader_row_of(hold), hold);
    store_relaxed(&hold->state, PLAIT__HOLD_READING);
}

/* ---- To write, private ----------------------------------------------------------------------- */

/* What is kept: that the caller has closed the gate, or its contest. */
enum { OURS = 1, SLEPT = 2, HUNGRY = 4, FORESTALLED_SHIFT = 8 };

static struct plait__rwlock_contest contest_of(const struct plait__waiting *waiting)
{
    return (struct plait__rwlock_contest){ .slept = waiting->kept & SLEPT,
                                           .hungry = waiting->kept & HUNGRY,
                                           .forestalled = (uint32_t)(waiting->kept >> FORESTALLED_SHIFT) };
}

static void keep(struct plait__waiting *waiting, const struct plait__rwlock_contest *contest)
{
    waiting->kept = (contest->slept ? SLEPT : 0) | (contest->hungry ? HUNGRY : 0) |
                    (uint64_t)contest->forestalled << FORESTALLED_SHIFT;
}

/* Close the gate, or find it closed by this entry. */
static bool is_ours(struct plait__waiting *waiting, uint64_t *state_out)
{
    struct plait__rwlock_contest contest = contest_of(waiting);
    plait_rwlock_t *rw = waiting->entry->object;

    if (waiting->kept & OURS)
        *state_out = load64_relaxed(&rw->state);
    else if (plait__rwlock_try_close(rw, &contest, state_out))
        waiting->kept = OURS;
    return waiting->kept & OURS;
}

static int attempt_write_private(struct plait__waiting *waiting)
{
    plait_rwlock_t *rw = waiting->entry->object;
    struct plait__gate_hold in_way;
    uint64_t state;

    if (!waiting->enlisted)
        return plait__not_now(plait_rwlock_acquire_write(rw, PLAIT_NOW));
    if (!is_ours(waiting, &state) || plait__rwlock_await_readers(rw, state, PLAIT_NOW, &in_way) != 0)
        return EAGAIN;
    plait__rwlock_write(rw, state);
    return 0;
}

static bool enlist_behind_writers(struct plait__waiting *waiting, uint64_t state, struct plait_wait_word *word_out)
{
    struct plait__rwlock_contest contest = contest_of(waiting);
    plait_rwlock_t *rw = waiting->entry->object;

    if (!plait__rwlock_queue_up(rw, &contest, &state))
        return false;
    keep(waiting, &contest);
    *word_out = (struct plait_wait_word){ plait__gate_high(rw), (uint32_t)(state >> 32), 0 };
    return true;
}

static bool enlist_write_private(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_rwlock_t *rw = waiting->entry->object;
    struct plait__gate_hold in_way;
    plait_time_t until;
    uint64_t state;

    waiting->until = 0;
    if (!is_ours(waiting, &state))
        return enlist_behind_writers(waiting, state, word_out);
    if (plait__rwlock_await_readers(rw, state, PLAIT_NOW, &in_way) == 0 ||
        !plait__gate_want(&in_way, state, false, &until))
        return false;
    if (until < PLAIT_FOREVER)
        waiting->until = until;
    *word_out = (struct plait_wait_word){ in_way.wanted, 1, 0 };
    return true;
}

static void delist_write_private(struct plait__waiting *waiting)
{
    struct plait__rwlock_contest contest = contest_of(waiting);
    plait_rwlock_t *rw = waiting->entry->object;

    if (waiting->kept & OURS)
        plait__gate_open(rw, load64_relaxed(&rw->state), 0);
    else
        plait__rwlock_leave_to_others(rw, &contest);
}

/* ---- Entries --------------------------------------------------------------------------------- */

struct plait_wait_entry plait_any_rwlock_acquire_read(plait_rwlock_t *rw)
{
    static const struct plait_waitable private_reading = { attempt_read_private, enlist_read_private,
                                                           delist_read_private, PLAIT__UNWATCHED, NULL };

    return (struct plait_wait_entry){ .how =
                                          plait__gate_is_shared(rw) ? &plait__rwlock_shared_reading : &private_reading,
                                      .object = rw };
}

struct plait_wait_entry plait_any_rwlock_acquire_write(plait_rwlock_t *rw)
{
    static const struct plait_waitable private_writing = { attempt_write_private, enlist_write_private,
                                                           delist_write_private, PLAIT__UNWATCHED, NULL };

    return (struct plait_wait_entry){ .how =
                                          plait__gate_is_shared(rw) ? &plait__rwlock_shared_writing : &private_writing,
                                      .object = rw };
}
