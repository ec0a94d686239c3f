/* SPDX-License-Identifier: MIT */
/* The shared read-write lock among others, in plait_wait_any: rwlock_any.c tells how. */
#include "sync/rwlock_shared.h"

#include <errno.h>

#include "arena/holds.h"
#include "arena/member.h"
#include "sync/lock.h"
#include "sync/rwlock_gate.h"
#include "wait/caller.h"
#include "wait/robust.h"

/* ---- To read ----------------------------------------------------------------------------------- */

/* What is kept to read: the hold, or an error of enlist. */
enum { IN = 1, FAILED = 2, ERROR_SHIFT = 8 };

static struct plait__hold *hold_of(const struct plait__waiting *waiting)
{
    return (struct plait__hold *)(uintptr_t)(waiting->kept & ~(uint64_t)IN);
}

static struct plait__slot *own_slot(const plait_rwlock_t *rw)
{
    struct plait__slot *self = NULL;

    plait__member(plait__rwlock_header(rw), &self); /* cannot fail: an attempt has been made */
    return self;
}

static bool look(struct plait__waiting *waiting, uint64_t *state_out)
{
    plait_rwlock_t *rw = waiting->entry->object;
    struct plait__slot *self = own_slot(rw);
    struct plait__gate_pass pass = { &hold_of(waiting)->state, &self->row.wanted,
                                     plait__rwlock_shared_group(rw, self) };

    if (!(waiting->kept & IN) && plait__gate_look(rw, &pass, state_out))
        waiting->kept |= IN;
    return waiting->kept & IN;
}

static int attempt_read(struct plait__waiting *waiting)
{
    plait_rwlock_t *rw = waiting->entry->object;
    uint64_t state;

    if (!waiting->enlisted)
        return plait__not_now(plait__rwlock_shared_read(rw, PLAIT_NOW));
    if (waiting->kept & FAILED)
        return (int)(waiting->kept >> ERROR_SHIFT);
    if (!look(waiting, &state)) {
        int found = plait__rwlock_look_after_writer(rw);

        if (found) {
            plait__rwlock_shared_drop(own_slot(rw), hold_of(waiting));
            return found;
        }
        if (!look(waiting, &state))
            return EAGAIN;
    }
    store64_relaxed(&hold_of(waiting)->number, plait__fiber_number); /* relaxed: owner only */
    return 0;
}

static bool enlist_read(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_rwlock_t *rw = waiting->entry->object;
    uint64_t state;

    if (!waiting->enlisted) {
        struct plait__hold *hold;
        int err =
            plait__rwlock_shared_publish(rw, own_slot(rw), plait__fiber_number | PLAIT__RWLOCK_AMONG_OTHERS, &hold);

        waiting->kept = err ? (uint64_t)err << ERROR_SHIFT | FAILED : (uintptr_t)hold;
        if (err)
            return false;
    }
    do
        if (look(waiting, &state))
            return false;
    while (!plait__gate_say_asleep(rw, &state));
    *word_out = (struct plait_wait_word){ plait__gate_low(rw), (uint32_t)state, PLAIT_SHARED };
    return true;
}

static void delist_read(struct plait__waiting *waiting)
{
    if (!(waiting->kept & FAILED))
        plait__rwlock_shared_drop(own_slot(waiting->entry->object), hold_of(waiting));
}

const struct plait_waitable plait__rwlock_shared_reading = { attempt_read, enlist_read, delist_read, PLAIT__UNWATCHED, NULL };

/* ---- To write ---------------------------------------------------------------------------------- */

/* What is kept to write, beside what the robust lock keeps: has `writer`; has closed the gate, too. */
enum { HAVE = 2, OURS = 3 };

/* Does another entry of the same call have `writer`? */
static bool is_wanted_by_the_caller(const plait_rwlock_t *rw)
{
    return plait__robust_is_mine(&rw->writer) && !loadptr_relaxed(&rw->owner);
}

static int attempt_write(struct plait__waiting *waiting)
{
    struct plait__rwlock_patience patience = { .deadline = PLAIT_NOW };
    plait_rwlock_t *rw = waiting->entry->object;
    int err;

    if (waiting->kept != HAVE && waiting->kept != OURS) {
        if (is_wanted_by_the_caller(rw))
            return EAGAIN;
        if (!waiting->enlisted)
            return plait__not_now(plait__rwlock_shared_write(rw, PLAIT_NOW));
        err = plait__robust_attempt(&rw->writer, waiting);
        if (err == EOWNERDEAD)
            err = plait__rwlock_shared_take_over(rw);
        if (err)
            return err;
        waiting->kept = HAVE;
    }
    if (waiting->kept == HAVE && plait__rwlock_shared_is_being_opened(rw))
        return EAGAIN;
    waiting->kept = OURS;
    return plait__rwlock_shared_go_in(rw, &patience) ? EAGAIN : 0;
}

static bool enlist_behind_leaver(plait_rwlock_t *rw, struct plait_wait_word *word_out)
{
    uint64_t state = load64_relaxed(&rw->state);

    if (!plait__rwlock_shared_is_being_opened(rw) || !(state & PLAIT__GATE_CLOSED) ||
        !plait__gate_say_asleep(rw, &state))
        return false;
    *word_out = (struct plait_wait_word){ plait__gate_low(rw), (uint32_t)state, PLAIT_SHARED };
    return true;
}

static bool enlist_behind_readers(plait_rwlock_t *rw, struct plait_wait_word *word_out)
{
    struct plait__rwlock_patience patience = { .deadline = PLAIT_NOW };
    uint64_t state = load64_relaxed(&rw->state);
    plait_time_t until;

    if (plait__rwlock_shared_await_readers(rw, state, &patience) == 0 ||
        !plait__gate_want(&patience.in_way, state, true, &until))
        return false;
    *word_out = (struct plait_wait_word){ patience.in_way.wanted, 1, PLAIT_SHARED };
    return true;
}

static bool enlist_write(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_rwlock_t *rw = waiting->entry->object;

    if (waiting->kept == OURS)
        return enlist_behind_readers(rw, word_out);
    if (waiting->kept == HAVE)
        return enlist_behind_leaver(rw, word_out);
    if (!is_wanted_by_the_caller(rw))
        return plait__robust_enlist(&rw->writer, waiting, word_out);
    *word_out = (struct plait_wait_word){ &plait__never, 0, 0 }; /* the other entry is performed, or none is */
    return true;
}

static void delist_write(struct plait__waiting *waiting)
{
    plait_rwlock_t *rw = waiting->entry->object;

    if (waiting->kept == OURS)
        plait__rwlock_shared_leave(rw, 0);
    else if (waiting->kept == HAVE)
        plait__lock_release(&rw->writer);
    else
        plait__robust_delist(&rw->writer, waiting);
}

const struct plait_waitable plait__rwlock_shared_writing = { attempt_write, enlist_write, delist_write, PLAIT__UNWATCHED, NULL };
