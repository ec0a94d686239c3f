/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Shared: a robust lock (wait/robust.c), which knows its owner, and a number of levels beside it. Who finds the lock
 * to be its own already (EDEADLK) goes one level deeper. The number is 0 whenever the lock is free; what a dead holder left in it
 * is cleared by who is told.
 *
 * Private: one word, where a shared lock keeps `prev`, says who holds it (wait/caller.h):
 *
 *     0           free
 *     C           held by the caller C, and nobody sleeps
 *     C | WANTED  held by C, and somebody sleeps, or may
 *
 * It is the lock of sync/lock.c with an owner's name in place of HELD, and what is said there of lost wakes holds here:
 * sleepers sleep on WANTED only, who takes it off wakes one, and who has been woken sets it again with its next step, be that
 * acquiring or giving up. They sleep on the half of the word that has the bit; that the other half is not compared is no
 * harm, as what they see is WANTED in any case.
 *
 * Acquire is 0 -> C, release C -> 0, each one exchange with a comparison that looks at nothing before: a
 * look at a word that has just been exchanged costs half as much again. The exchange of a release fails for a stranger too, so
 * ownership is checked for nothing. `depth` counts the levels beyond the first and is not touched by the first.
 *
 * E1 hand over: the exchange that makes it free releases, the one that makes it held acquires. After it only the
 * address is used.
 */
#include <plait/rlock.h>

#include <errno.h>
#include <stddef.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "sync/held.h"
#include "wait/caller.h"
#include "wait/membership.h"
#include "wait/robust.h"
#include "wait/spin.h"

#define WANTED ((uintptr_t)1)
#define DEPTH_MAX (UINT32_MAX - 1)

_Static_assert(sizeof(void *) == 8 && sizeof(plait_rlock_t) == 64, "part of the ABI");
_Static_assert(offsetof(plait_rlock_t, lock) == 0, "an rlock begins with a lock");

static uintptr_t look(const plait_rlock_t *rlock)
{
    return (uintptr_t)loadptr_relaxed(&rlock->lock.prev);
}

static bool is_by(uintptr_t v, void *caller)
{
    return (v & ~WANTED) == (uintptr_t)caller;
}

/* The half of the holder's word that has WANTED. */
const uint32_t *plait__rlock_word(const plait_rlock_t *rlock)
{
    return (const uint32_t *)(const void *)&rlock->lock.prev + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

/* Shared, or with priority inheritance: the inner lock knows its owner. */
static bool is_shared(const plait_rlock_t *rlock)
{
    return plait__lock_is_owned(rlock->lock.mode);
}

int plait_rlock_init(plait_rlock_t *rlock, unsigned flags)
{
    int err = plait_lock_init(&rlock->lock, flags);

    if (err)
        return err;
    if (is_shared(rlock))
        rlock->lock.mode |= PLAIT__LOCK_RECURSIVE;
    rlock->depth = 0;
    for (size_t i = 0; i < sizeof rlock->spare / sizeof rlock->spare[0]; i++)
        rlock->spare[i] = 0;
    return 0;
}

int plait_rlock_fini(plait_rlock_t *rlock)
{
    return plait_rlock_is_locked(rlock) ? EBUSY : 0;
}

bool plait_rlock_is_locked(const plait_rlock_t *rlock)
{
    return is_shared(rlock) ? plait__robust_is_locked(&rlock->lock) : look(rlock) != 0;
}

static bool is_mine(const plait_rlock_t *rlock)
{
    return is_shared(rlock) ? plait__robust_is_mine(&rlock->lock) : is_by(look(rlock), plait__caller());
}

unsigned plait_rlock_depth(const plait_rlock_t *rlock)
{
    return is_mine(rlock) ? load_relaxed(&rlock->depth) + 1 : 0;
}

/* One level more, or less, of what the caller holds. Relaxed: others may look, and then see that it is not theirs. */
static int go_deeper(plait_rlock_t *rlock)
{
    uint32_t depth = load_relaxed(&rlock->depth);

    if (depth >= DEPTH_MAX)
        return EOVERFLOW;
    store_relaxed(&rlock->depth, depth + 1);
    return 0;
}

static bool go_up(plait_rlock_t *rlock)
{
    uint32_t depth = load_relaxed(&rlock->depth);

    if (depth == 0)
        return false;
    store_relaxed(&rlock->depth, depth - 1);
    return true;
}

/* ---- Private ---- */

/* Take it, with or without WANTED, if it is free. *v: what was seen. */
static bool take(plait_rlock_t *rlock, uintptr_t *v, uintptr_t as)
{
    while (*v == 0) {
        void *seen = NULL;

        if (casptr_acquire(&rlock->lock.prev, &seen, (void *)as)) /* E1 */
            return true;
        *v = (uintptr_t)seen;
    }
    return false;
}

/* Say that somebody sleeps. False: it has changed, *v to what. */
static bool make_wanted(plait_rlock_t *rlock, uintptr_t *v)
{
    void *seen = (void *)*v;

    if (casptr_relaxed(&rlock->lock.prev, &seen, (void *)(*v | WANTED)))
        return true;
    *v = (uintptr_t)seen;
    return false;
}

static bool spin_for_it(plait_rlock_t *rlock, void *self, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_RIVALS, deadline);

    while (plait__spin_pause(&spin)) {
        uintptr_t v = look(rlock);

        if (take(rlock, &v, (uintptr_t)self)) {
            plait__spin_paid(&spin);
            return true;
        }
    }
    return false;
}

/* Also the way out for who gives up: it is WANTED, or the caller has it after all. */
static int sleep_for_it(plait_rlock_t *rlock, void *self, plait_time_t deadline)
{
    uintptr_t v = look(rlock);
    int err = 0;

    for (;;) {
        if (take(rlock, &v, (uintptr_t)self | WANTED))
            return 0;
        if (!(v & WANTED) && !make_wanted(rlock, &v))
            continue;
        if (err)
            return err;
        err = plait_wait(plait__rlock_word(rlock), (uint32_t)(v | WANTED), 0, deadline);
        v = look(rlock);
    }
}

int plait__rlock_acquire_moved(plait_rlock_t *rlock)
{
    return sleep_for_it(rlock, plait__caller(), PLAIT_FOREVER);
}

/* The kernel has moved them before we look: a release that we do not see finds them. */
void plait__rlock_adopt(plait_rlock_t *rlock)
{
    uintptr_t v = (uintptr_t)loadptr_seqcst(&rlock->lock.prev);

    while (v != 0)
        if ((v & WANTED) || make_wanted(rlock, &v))
            return;
    plait_wake(plait__rlock_word(rlock), 1, 0);
}

static int acquire_private(plait_rlock_t *rlock, plait_time_t deadline)
{
    void *self = plait__caller();
    uintptr_t v = look(rlock);

    if (take(rlock, &v, (uintptr_t)self))
        return 0;
    if (is_by(v, self))
        return go_deeper(rlock);
    if (deadline <= PLAIT_NOW)
        return plait_wait(plait__rlock_word(rlock), (uint32_t)v, 0, PLAIT_NOW) == ECANCELED ? ECANCELED : ETIMEDOUT;
    return spin_for_it(rlock, self, deadline) ? 0 : sleep_for_it(rlock, self, deadline);
}

static int release_private(plait_rlock_t *rlock)
{
    if (!is_by(look(rlock), plait__caller()))
        return EPERM;
    if (go_up(rlock))
        return 0;
    if ((uintptr_t)exchangeptr_release(&rlock->lock.prev, NULL) & WANTED) /* E1 */
        plait_wake(plait__rlock_word(rlock), 1, 0);
    return 0;
}

/* ---- Shared ---- */

static int acquire_shared(plait_rlock_t *rlock, plait_time_t deadline)
{
    int err = plait_lock_acquire_slow(&rlock->lock, deadline);

    switch (err) {
    case EOWNERDEAD:
        store_relaxed(&rlock->depth, 0);
        return err;
    case EDEADLK:
    case EOVERFLOW: /* it is not one shared lock more */
        return is_mine(rlock) ? go_deeper(rlock) : err;
    default:
        return err;
    }
}

static int release_shared(plait_rlock_t *rlock)
{
    if (!is_mine(rlock))
        return EPERM;
    return go_up(rlock) ? 0 : plait__robust_release(&rlock->lock);
}

int plait_rlock_acquire_slow(plait_rlock_t *rlock, plait_time_t deadline)
{
    return is_shared(rlock) ? acquire_shared(rlock, deadline) : acquire_private(rlock, deadline);
}

int plait_rlock_release_slow(plait_rlock_t *rlock)
{
    return is_shared(rlock) ? release_shared(rlock) : release_private(rlock);
}

int plait_rlock_consistent(plait_rlock_t *rlock)
{
    if (is_shared(rlock))
        return plait__robust_consistent(&rlock->lock);
    return is_mine(rlock) ? EINVAL : EPERM;
}
