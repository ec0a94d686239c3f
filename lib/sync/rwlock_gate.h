/* SPDX-License-Identifier: MIT */
/* What private and shared read-write locks have in common: the gate between readers and a writer. rwlock.c tells how. */
#ifndef PLAIT_SYNC_RWLOCK_GATE_H
#define PLAIT_SYNC_RWLOCK_GATE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <plait/rwlock.h>

#include "base/atomic.h"
#include "sync/readers.h"

/* Bits of plait_rwlock_t.state. */
enum {
    PLAIT__GATE_CLOSED = 1u << 0,  /* a writer waits for the readers inside to leave, or writes */
    PLAIT__GATE_PHASE = 1u << 1,   /* another one after each writer */
    PLAIT__GATE_READERS = 1u << 2, /* readers sleep on the low half, or did */
    PLAIT__GATE_WRITERS = 1u << 3, /* private: writers sleep on the high half, or did */
    PLAIT__GATE_HUNGRY = 1u << 4   /* private: a writer that has waited long wants it next */
};

/* Private: the upper quarter of the state is the fork epoch of who closed the gate last. */
#define PLAIT__GATE_EPOCH_SHIFT 48

/* States of a reader's hold. */
enum {
    PLAIT__HOLD_READING = 0,
    PLAIT__HOLD_WAITING = 1 /* with PLAIT__GATE_PHASE as it was: reading, once the phase has changed */
};

/* Where a reader has said that it reads. */
struct plait__gate_pass {
    uint32_t *state;  /* of its hold */
    uint32_t *wanted; /* of its row */
    uint64_t group;
};

static inline bool plait__gate_is_shared(const plait_rwlock_t *rw)
{
    return rw->writer.mode & PLAIT_SHARED;
}

/* The halves of the state, as words to sleep on. */
static inline uint32_t *plait__gate_low(plait_rwlock_t *rw)
{
    return &rw->half[__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__];
}

static inline uint32_t *plait__gate_high(plait_rwlock_t *rw)
{
    return &rw->half[__BYTE_ORDER__ != __ORDER_BIG_ENDIAN__];
}

/* What a hold says whose reader waits for the writer that has the gate now, or would. */
static inline uint32_t plait__gate_waiting(uint64_t state)
{
    return PLAIT__HOLD_WAITING | ((uint32_t)state & PLAIT__GATE_PHASE);
}

/*
 * One look by a reader whose hold is published. True: it reads, and this is not to be called again. False: it waits, its hold says
 * so, and the gate was closed with *state_out.
 */
bool plait__gate_look(plait_rwlock_t *rw, const struct plait__gate_pass *pass, uint64_t *state_out);

/* Say that somebody is going to sleep for the gate; false: it has changed. */
static inline bool plait__gate_say_asleep(plait_rwlock_t *rw, uint64_t *state)
{
    if (!(*state & PLAIT__GATE_READERS)) {
        if (!cas64_relaxed(&rw->state, state, *state | PLAIT__GATE_READERS))
            return false;
        *state |= PLAIT__GATE_READERS;
    }
    return true;
}

/*
 * The rest of acquiring for reading, after the hold was published as READING, with a full barrier. 0: the caller reads.
 * Else it does not, and gives up the hold: ETIMEDOUT, ECANCELED; EDEADLK; and what plait__rwlock_look_after_writer says.
 */
int plait__gate_enter(plait_rwlock_t *rw, const struct plait__gate_pass *pass, plait_time_t deadline);

/* A reader's hold as a writer sees it. */
struct plait__gate_hold {
    const uint64_t *name; /* the word that names the lock */
    uint64_t expected;    /* while it does, it is this */
    const uint32_t *state;
    uint32_t *wanted; /* of its row */
};

/* Is it in the way of the writer that has closed the gate? */
static inline bool plait__gate_is_in_way(const struct plait__gate_hold *hold, uint64_t state)
{
    return load64_seqcst(hold->name) == hold->expected &&
           load_seqcst(hold->state) != plait__gate_waiting(state); /* E1 */
}

/* Watch it for a while, as long as it is in the way. */
void plait__gate_spin(const struct plait__gate_hold *hold, uint64_t state, plait_time_t deadline);

/*
 * Say in the row that a writer is going to sleep until something there is released; for no longer than *until_out. False: the hold is
 * in the way no more.
 */
bool plait__gate_want(const struct plait__gate_hold *hold, uint64_t state, bool shared, plait_time_t *until_out);

/* Sleep until a hold that is in the way changes. 0: look again. */
int plait__gate_await(const struct plait__gate_hold *hold, uint64_t state, bool shared, plait_time_t deadline,
                      plait_time_t *slice);

/* Open the gate for readers; with `phase`, those who wait by now are in. Nothing of the lock is touched afterwards. */
void plait__gate_open(plait_rwlock_t *rw, uint64_t state, uint64_t phase);

static inline uint64_t plait__gate_own_epoch(void)
{
    return (uint64_t)plait__reader.epoch << PLAIT__GATE_EPOCH_SHIFT;
}

/*
 * Private, in the child of a fork: who has closed the gate, or wants it next, is not here. True: the state has changed. (What
 * a thread was writing stays as it is; the forking thread's own is released by the forking thread.)
 */
bool plait__gate_heal(plait_rwlock_t *rw, uint64_t *state);

/* Wake whoever sleeps on a row, and says so. */
static inline void plait__gate_wake_wanted(uint32_t *wanted, unsigned flags)
{
    if (__builtin_expect(load_relaxed(wanted) != 0, 0)) {
        store_relaxed(wanted, 0); /* who wants more says so again before it sleeps again */
        plait_wake(wanted, UINT_MAX, flags);
    }
}

#endif
