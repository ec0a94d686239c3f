/* SPDX-License-Identifier: MIT */
/*
 * How it works: a robust lock, shared or with priority inheritance, says in its mode whether an rlock begins with it. Another private one cannot, as all-zero
 * bytes are either; but while it is held, `state` tells of a plain lock and `prev` of an rlock, and only held ones are
 * asked about.
 */
#include "sync/held.h"

#include <errno.h>

#include <plait/cancel.h>

#include "base/atomic.h"
#include "sync/hooked.h"
#include "wait/robust.h"

static plait_rlock_t *rlock_of(const struct plait__held *held)
{
    return (plait_rlock_t *)held->lock;
}

/* Shared, or with priority inheritance. */
static bool is_owned(const struct plait__held *held)
{
    return plait__lock_is_owned(held->lock->mode);
}

int plait__held_look(plait_lock_t *lock, struct plait__held *held_out)
{
    *held_out = (struct plait__held){ .lock = lock };
    if (is_owned(held_out)) {
        if (!plait__robust_is_mine(lock))
            return EPERM;
        held_out->recursive = lock->mode & PLAIT__LOCK_RECURSIVE;
    } else if (!plait_lock_is_locked(lock)) {
        if (!loadptr_relaxed(&lock->prev) || plait_rlock_depth(rlock_of(held_out)) == 0)
            return EPERM;
        held_out->recursive = true;
    }
    if (held_out->recursive)
        held_out->depth = plait_rlock_depth(rlock_of(held_out)) - 1;
    return 0;
}

bool plait__held_is_locked(const struct plait__held *held)
{
    return held->recursive ? plait_rlock_is_locked(rlock_of(held)) : plait_lock_is_locked(held->lock);
}

static const struct plait__hooked_noun *noun_of(const struct plait__held *held)
{
    return held->recursive ? &plait__rlock_noun : plait__lock_noun(held->lock);
}

void plait__held_give(const struct plait__held *held)
{
    if (load_relaxed(&plait_hooks))
        plait__hooked_gives(noun_of(held), held->lock, held->lock->arena_offset, held->depth + 1, held->place);
    if (held->recursive)
        store_relaxed(&rlock_of(held)->depth, 0);
    noun_of(held)->release(held->lock, 1);
}

static int take(const struct plait__held *held, bool moved)
{
    if (!moved)
        return noun_of(held)->acquire(held->lock, 1, PLAIT_FOREVER);
    if (is_owned(held))
        return plait__robust_acquire_moved(held->lock);
    return held->recursive ? plait__rlock_acquire_moved(rlock_of(held)) : plait__lock_acquire_moved(held->lock);
}

int plait__held_take(const struct plait__held *held, bool moved)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int err;

    if (load_relaxed(&plait_hooks))
        plait__hooked_asks(noun_of(held), held->lock, held->lock->arena_offset, held->place);
    err = take(held, moved);
    plait_cancel_bind(token);
    if (err != 0 && err != EOWNERDEAD)
        return err;
    if (held->recursive)
        store_relaxed(&rlock_of(held)->depth, held->depth);
    if (load_relaxed(&plait_hooks))
        plait__hooked_got(noun_of(held), held->lock, held->lock->arena_offset, held->depth + 1, held->place);
    return err;
}

const uint32_t *plait__held_word(const struct plait__held *held)
{
    if (is_owned(held))
        return plait__robust_word(held->lock);
    return held->recursive ? plait__rlock_word(rlock_of(held)) : &held->lock->state;
}

void plait__held_adopt(const struct plait__held *held)
{
    if (is_owned(held))
        plait__robust_adopt(held->lock);
    else if (held->recursive)
        plait__rlock_adopt(rlock_of(held));
    else
        plait__lock_adopt(held->lock);
}
