/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A waiter is a hold (arena/holds.h) in its thread's slot of the participants' table: it names the condition, the number of
 * its arrival, and has a word to sleep on. A thread may have several: its fibers, a signal handler. They are chained
 * in order of arrival from cond->head to cond->tail (offsets in the arena); chain and counter are guarded by cond->guard, a
 * robust lock, and are caches: the truth is in the holds, from which repair() makes them anew when a holder of the
 * guard has died. No lock is held while waiting but the one that the user gets back.
 *
 *     state    WAITING  ->  NOTIFIED (by a notifier)  ->  IDLE, out of the chain (by the waiter itself), dropped
 *
 * A waiter leaves the chain only when it holds the user's lock again. So if it is killed before that, its hold still
 * says NOTIFIED, and whoever comes by - a notifier, or a waiter that looks after a slice of time while cond->notified is
 * not 0 - takes it out and gives its notification to the next. If it is killed later, it dies as the holder of
 * the user's lock, and the next is told so. Holds of dead waiters that were not notified are just taken out.
 *
 * No notification is lost: as for the private one; and a notifier that dies between the mark and the wake is healed by the
 * sleeper's slices, one that dies before the mark has not notified.
 *
 * E1: the mark releases, the waiter's look acquires. What a hold says is complete before it names the condition (E1 of
 * arena/holds.c), and is changed with the guard held only.
 */
#include "sync/cond_shared.h"

#include <errno.h>
#include <limits.h>

#include "arena/holds.h"
#include "arena/member.h"
#include "base/atomic.h"
#include "wait/robust.h"
#include "wait/waiting.h"

enum { IDLE, WAITING, NOTIFIED };

static struct plait__arena_header *header_of(plait_cond_t *cond)
{
    return plait__arena_header_of(&cond->guard, cond->guard.arena_offset);
}

/* What the holds of its waiters are named; their `count` is the number of their slot. */
static uint64_t name_of(plait_cond_t *cond)
{
    return plait__hold_of(cond->guard.arena_offset, PLAIT__HOLD_WAIT);
}

static struct plait__hold *waiter_at(plait_cond_t *cond, uint64_t offset)
{
    return plait__at(header_of(cond), offset);
}

static bool is_orphan(plait_cond_t *cond, const struct plait__hold *w)
{
    return plait__hold_is_orphan(plait__slot_at(header_of(cond), w->count), load64_relaxed(&w->name));
}

/* Relaxed: written under the guard; sleepers look at it without, as a hint whether to take the guard. */
static void count_notified(plait_cond_t *cond, uint32_t count)
{
    store_relaxed(&cond->notified, count);
}

/* Put the waiter where its arrival number belongs: the end, but in repairs. */
static void chain(plait_cond_t *cond, struct plait__hold *w)
{
    uint64_t self = plait__offset_in(header_of(cond), w);
    uint64_t after = 0;

    if (cond->tail && waiter_at(cond, cond->tail)->number < w->number)
        after = cond->tail;
    else
        for (uint64_t at = cond->head; at && waiter_at(cond, at)->number < w->number; at = waiter_at(cond, at)->next)
            after = at;
    w->next = after ? waiter_at(cond, after)->next : cond->head;
    if (after)
        waiter_at(cond, after)->next = self;
    else
        cond->head = self;
    if (w->next == 0)
        cond->tail = self;
}

/* Take the waiter after the one at `before` (0: the first) out of the chain, and give its hold up. */
static void unchain(plait_cond_t *cond, uint64_t before, struct plait__hold *w)
{
    if (before)
        waiter_at(cond, before)->next = w->next;
    else
        cond->head = w->next;
    if (w->next == 0)
        cond->tail = before;
    if (load_relaxed(&w->state) == NOTIFIED)
        count_notified(cond, cond->notified - 1);
    store_relaxed(&w->state, IDLE);
    plait__hold_drop(w);
}

/* A holder of the guard has died: make chain and counter anew from the holds. May itself be killed and repeated. */
static void repair(plait_cond_t *cond)
{
    struct plait__holds_walk walk = plait__holds_of(header_of(cond), name_of(cond));
    struct plait__hold *w;

    cond->head = cond->tail = 0;
    count_notified(cond, 0);
    while ((w = plait__holds_next(&walk))) {
        if (load_relaxed(&w->state) == IDLE) { /* unchain was cut short */
            plait__hold_drop(w);
            continue;
        }
        chain(cond, w);
        if (load_relaxed(&w->state) == NOTIFIED)
            count_notified(cond, cond->notified + 1);
        if (w->number >= cond->arrivals)
            cond->arrivals = w->number + 1;
    }
}

/* The guard is held for a few instructions: its wait is no business of the caller's cancel token. */
static int guard(plait_cond_t *cond)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int err = plait_lock_acquire(&cond->guard, PLAIT_FOREVER);

    plait_cancel_bind(token);
    if (err != EOWNERDEAD)
        return err;
    repair(cond);
    return plait_lock_consistent(&cond->guard);
}

static void unguard(plait_cond_t *cond)
{
    plait_lock_release(&cond->guard);
}

/* Mark the first `count` who are WAITING, and came before arrival number `arrivals`. */
static void mark(plait_cond_t *cond, unsigned count, uint64_t arrivals)
{
    struct plait__hold *w;

    for (uint64_t at = cond->head; at && count; at = w->next) {
        w = waiter_at(cond, at);
        if (w->number >= arrivals)
            break;
        if (load_relaxed(&w->state) != WAITING)
            continue;
        count_notified(cond, cond->notified + 1);
        store_release(&w->state, NOTIFIED); /* E1 */
        plait_wake(&w->state, 1, PLAIT_SHARED);
        count--;
    }
}

static void bury_if(plait_cond_t *cond, uint32_t state)
{
    uint64_t before = 0, next;

    for (uint64_t at = cond->head; at; at = next) {
        struct plait__hold *w = waiter_at(cond, at);

        next = w->next;
        if (load_relaxed(&w->state) == state && is_orphan(cond, w)) {
            if (state == NOTIFIED) /* first give, then take: killed in between, one wakes too many, not too few */
                mark(cond, 1, UINT64_MAX);
            unchain(cond, before, w);
        } else {
            before = at;
        }
    }
}

/* Take the dead out of the chain, and give the notifications that they had not used to the next. */
static void bury(plait_cond_t *cond)
{
    bury_if(cond, WAITING);
    if (cond->notified)
        bury_if(cond, NOTIFIED);
}

/* Leave the chain; the caller holds the guard. */
static void leave(plait_cond_t *cond, struct plait__hold *self)
{
    uint64_t before = 0;

    for (uint64_t at = cond->head; at && waiter_at(cond, at) != self; at = waiter_at(cond, at)->next)
        before = at;
    unchain(cond, before, self);
}

/* Sleep until notified. After each slice of time: if others were notified, see whether they live. */
static int sleep_until_notified(plait_cond_t *cond, struct plait__hold *self, plait_time_t deadline)
{
    plait_time_t slice = 0;

    for (;;) {
        int err = plait__wait_sliced(&self->state, WAITING, PLAIT_SHARED, deadline, &slice);

        if (load_acquire(&self->state) == NOTIFIED) /* E1 */
            return 0;
        if (err)
            return err;
        if (load_relaxed(&cond->notified) && guard(cond) == 0) {
            bury(cond);
            unguard(cond);
        }
    }
}

/* Become the last of those who wait. */
static int arrive(plait_cond_t *cond, struct plait__hold **self_out)
{
    struct plait__arena_header *h = header_of(cond);
    struct plait__slot *slot;
    int err = plait__member(h, &slot);

    if (err == 0)
        err = guard(cond);
    if (err)
        return err;
    err = plait__hold_take(h, slot, name_of(cond),
                           &(struct plait__hold){ .number = cond->arrivals, .state = WAITING,
                                                  .count = (uint32_t)(slot - plait__slot_at(h, 0)) }, self_out);
    if (err == 0) {
        cond->arrivals++;
        chain(cond, *self_out);
    }
    unguard(cond);
    return err;
}

int plait__cond_shared_wait(plait_cond_t *cond, plait_lock_t *lock, plait_time_t deadline)
{
    struct plait__hold *self;
    plait_cancel_t *token;
    bool has_left = false;
    int err, lock_err;

    if (!(lock->mode & PLAIT_SHARED))
        return EINVAL;
    if (!plait__robust_is_mine(lock))
        return EPERM;
    err = arrive(cond, &self);
    if (err)
        return err;

    plait_lock_release(lock);
    err = sleep_until_notified(cond, self, deadline);
    if (err && guard(cond) == 0) { /* time up or cancelled: unless notified meanwhile, leave at once */
        has_left = load_relaxed(&self->state) == WAITING;
        if (has_left)
            leave(cond, self);
        else
            err = 0;
        unguard(cond);
    }
    token = plait_cancel_bind(NULL);
    lock_err = plait_lock_acquire(lock, PLAIT_FOREVER);
    plait_cancel_bind(token);
    if (!has_left && guard(cond) == 0) {
        leave(cond, self);
        unguard(cond);
    }
    return lock_err ? lock_err : err;
}

int plait__cond_shared_notify(plait_cond_t *cond, unsigned count)
{
    int err;

    if (count == 0)
        return 0;
    err = guard(cond);
    if (err)
        return err;
    bury(cond);
    mark(cond, count, cond->arrivals);
    unguard(cond);
    return 0;
}

void plait__cond_shared_init(plait_cond_t *cond)
{
    plait__holds_forget(header_of(cond), name_of(cond));
}

int plait__cond_shared_fini(plait_cond_t *cond)
{
    int err = guard(cond);
    bool waited_for;

    if (err)
        return err;
    bury(cond);
    waited_for = cond->head != 0;
    unguard(cond);
    return waited_for ? EBUSY : 0;
}
