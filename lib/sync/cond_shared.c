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
 *     state    WAITING  ->  NOTIFIED or MOVED (by a notifier)  ->  IDLE, out of the chain, dropped (by the waiter itself)
 *
 * NOTIFIED and MOVED mean the same but for where the waiter sleeps, as in cond.c: of several, each is moved to the lock's word
 * and woken by a release. A notifier that dies between the move and its look at the lock leaves them asleep until their
 * slice of time is over, as if it had died before a wake.
 *
 * A waiter leaves the chain only when it holds the user's lock again. So if it is killed before that, its hold still
 * says that it is notified, and whoever comes by - a notifier, or a waiter that looks after a slice of time while cond->notified is
 * not 0 - takes it out and gives its notification to the next. If it is killed later, it dies as the holder of
 * the user's lock, and the next is told so. Holds of dead waiters that were not notified are just taken out.
 *
 * A waiter that pthread_cancel ends gives its notification to the next in the same way, and leaves the chain.
 *
 * No notification is lost: as for the private one; and a notifier that dies between the mark and the wake is healed by the
 * sleeper's slices, one that dies before the mark has not notified.
 *
 * E1: the mark releases, the waiter's look acquires. What a hold says is complete before it names the condition (E1 of
 * arena/holds.c), and is changed with the guard held only.
 */
#include "sync/cond_shared.h"

#include <errno.h>

#include <plait/cancel.h>

#include "arena/holds.h"
#include "arena/member.h"
#include "base/atomic.h"
#include "sync/lock.h"
#include "wait/futex.h"
#include "wait/hook.h"
#include "wait/point.h"
#include "wait/robust.h"
#include "wait/spin.h"

enum { IDLE, WAITING, NOTIFIED, MOVED };

static bool is_notified(const struct plait__hold *w)
{
    return load_relaxed(&w->state) >= NOTIFIED;
}

static struct plait__arena_header *header_of(plait_cond_t *cond)
{
    return plait__arena_header_of(&cond->guard, cond->guard.arena_offset);
}

/* What the holds of its waiters are named; their `count` is the number of their slot, `other` the lock that they gave up, 0: not
 * to be touched by others. */
static uint64_t name_of(plait_cond_t *cond)
{
    return plait__hold_of(cond->guard.arena_offset, PLAIT__HOLD_WAIT);
}

static struct plait__hold *waiter_at(plait_cond_t *cond, uint64_t offset)
{
    return plait__at(header_of(cond), offset);
}

/* Is there a waiter of ours? What stands in the memory is not followed before this. */
static bool is_waiter(plait_cond_t *cond, uint64_t offset)
{
    struct plait__arena_header *h = header_of(cond);
    const struct plait__hold *w = waiter_at(cond, offset);

    return offset % 8 == 0 && offset >= plait__slots_offset() && offset < load64_relaxed(&h->top) - sizeof *w &&
           plait__hold_strip(load64_relaxed(&w->name)) == name_of(cond) && w->count < h->participants;
}

/* Is the chain one, from head to tail, no longer than there can be holds? */
static bool is_chain(plait_cond_t *cond)
{
    uint64_t left = load64_relaxed(&header_of(cond)->top) / sizeof(struct plait__hold), last = 0;

    for (uint64_t at = cond->head; at; at = waiter_at(cond, at)->next) {
        if (!is_waiter(cond, at) || left-- == 0)
            return false;
        last = at;
    }
    return cond->tail == last;
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
    if (is_notified(w))
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
        w->count = walk.slot_number - 1; /* as it is, unless damaged */
        w->next = 0;
        chain(cond, w);
        if (is_notified(w))
            count_notified(cond, cond->notified + 1);
        if (w->number >= cond->arrivals)
            cond->arrivals = w->number + 1;
    }
}

/* The guard is held for a few instructions: its wait is no business of the caller's cancel token. */
static int guard(plait_cond_t *cond)
{
    plait_cancel_t *token;
    int err;

    if (!plait__inner_is_sound(&cond->guard, true))
        return EBADMSG; /* a guard that lies in no arena of ours cannot be acquired */
    token = plait_cancel_bind(NULL);
    err = plait__inner_acquire(&cond->guard, PLAIT_FOREVER);
    plait_cancel_bind(token);
    if (err != EOWNERDEAD)
        return err;
    repair(cond);
    return plait_lock_consistent(&cond->guard);
}

/* The same, to go through the chain: one that was damaged is made anew. */
static int guard_chain(plait_cond_t *cond)
{
    int err = guard(cond);

    if (err == 0 && !is_chain(cond))
        repair(cond);
    return err;
}

static void unguard(plait_cond_t *cond)
{
    plait__inner_release(&cond->guard);
}

static void wake(struct plait__hold *w)
{
    store_release(&w->state, NOTIFIED); /* E1 */
    plait_wake(&w->state, 1, PLAIT_SHARED);
}

/* The lock to which a waiter may be moved; NULL: none. */
static plait_lock_t *lock_of(plait_cond_t *cond, const struct plait__hold *w)
{
    plait_lock_t *lock = plait__at(header_of(cond), w->other);

    if (w->other % 8 || w->other > load64_relaxed(&header_of(cond)->top) - sizeof *lock || lock->arena_offset != w->other)
        return NULL;
    return w->other ? lock : NULL;
}

static void move(plait_cond_t *cond, struct plait__hold *w)
{
    store_release(&w->state, MOVED); /* E1 */
    if (plait__futex_move(&w->state, MOVED, plait__robust_word(lock_of(cond, w)), true) < 0)
        plait__futex_wake(&w->state, 1, true);
}

/* The next who waits and is not notified, from the one at `at` on (0: none); the dead among them are taken for living. */
static struct plait__hold *next_waiting(plait_cond_t *cond, uint64_t at)
{
    for (; at; at = waiter_at(cond, at)->next)
        if (load_relaxed(&waiter_at(cond, at)->state) == WAITING)
            return waiter_at(cond, at);
    return NULL;
}

/* Notify the first `count` who wait. */
static void mark(plait_cond_t *cond, unsigned count)
{
    struct plait__hold *w = next_waiting(cond, cond->head), *moved = NULL;
    bool several = count > 1 && w && next_waiting(cond, w->next);
    bool held = w && lock_of(cond, w) && plait__robust_is_locked(lock_of(cond, w));

    for (; w && count; count--) {
        count_notified(cond, cond->notified + 1);
        if ((several || held) && lock_of(cond, w)) {
            move(cond, w);
            moved = w;
        } else {
            wake(w);
        }
        w = next_waiting(cond, w->next);
    }
    if (moved)
        plait__robust_adopt(lock_of(cond, moved));
}

/* Take those of the dead who are notified, or are not, out of the chain. */
static void bury_if(plait_cond_t *cond, bool notified)
{
    uint64_t before = 0, next;

    for (uint64_t at = cond->head; at; at = next) {
        struct plait__hold *w = waiter_at(cond, at);

        next = w->next;
        if (is_notified(w) == notified && is_orphan(cond, w)) {
            if (notified) /* first give, then take: killed in between, one wakes too many, not too few */
                mark(cond, 1);
            unchain(cond, before, w);
        } else {
            before = at;
        }
    }
}

/* Take the dead out of the chain, and give the notifications that they had not used to the next. */
static void bury(plait_cond_t *cond)
{
    bury_if(cond, false);
    if (cond->notified)
        bury_if(cond, true);
}

/* Leave the chain; the caller holds the guard. */
static void leave(plait_cond_t *cond, struct plait__hold *self)
{
    uint64_t before = 0, at;

    for (at = cond->head; at && waiter_at(cond, at) != self; at = waiter_at(cond, at)->next)
        before = at;
    if (at)
        unchain(cond, before, self);
    else
        plait__hold_drop(self); /* its name was damaged */
}

/* Spin, then sleep, until notified. After each slice of time: if others were notified, see whether they live. */
static int sleep_until_notified(plait_cond_t *cond, struct plait__hold *self, plait_time_t deadline)
{
    plait_time_t slice = 0;

    plait__spin_until_changed(PLAIT__SPIN_TURN, &self->state, WAITING, deadline);
    for (;;) {
        int err = plait__wait_point(&self->state, WAITING, PLAIT_SHARED, deadline, &slice);

        if (load_acquire(&self->state) != WAITING) /* E1 */
            return 0;
        if (err)
            return err;
        if (load_relaxed(&cond->notified) && guard_chain(cond) == 0) {
            bury(cond);
            unguard(cond);
        }
    }
}

/* What a notifier may touch: only a lock in the same arena, whose place it can know, and only for a sleeper in the kernel; nor
 * does the kernel move sleepers to a word with priority inheritance. */
static uint64_t offset_to_move_to(plait_cond_t *cond, const plait_lock_t *lock)
{
    bool near = plait__arena_header_of(lock, lock->arena_offset) == header_of(cond);

    return near && !plait__wait_is_hooked() && !(lock->mode & PLAIT_PRIO_INHERIT) ? lock->arena_offset : 0;
}

/* A waiter whose thread may be cancelled in its sleep. */
struct waiting {
    plait_cond_t *cond;
    struct plait__hold *self;
    const struct plait__held *held;
};

/* What it was notified of is for another: first give, then take, as when it is buried. */
static void cancelled(void *arg)
{
    struct waiting *w = arg;
    bool moved = load_relaxed(&w->self->state) == MOVED;

    if (guard_chain(w->cond) == 0) {
        moved = load_relaxed(&w->self->state) == MOVED;
        if (is_notified(w->self))
            mark(w->cond, 1);
        leave(w->cond, w->self);
        unguard(w->cond);
    }
    plait__held_take(w->held, moved);
}

static int sleep_cancellably(struct waiting *w, plait_time_t deadline)
{
    int err;

    pthread_cleanup_push(cancelled, w);
    err = sleep_until_notified(w->cond, w->self, deadline);
    pthread_cleanup_pop(0);
    return err;
}

/* Become the last of those who wait. */
static int arrive(plait_cond_t *cond, const plait_lock_t *lock, struct plait__hold **self_out)
{
    struct plait__arena_header *h = header_of(cond);
    struct plait__hold contents = { .state = WAITING, .other = offset_to_move_to(cond, lock) };
    struct plait__slot *slot;
    int err = plait__member(h, &slot);

    if (err == 0)
        err = guard(cond);
    if (err)
        return err;
    if (cond->tail ? !is_waiter(cond, cond->tail) || waiter_at(cond, cond->tail)->number >= cond->arrivals : cond->head != 0)
        repair(cond);
    contents.number = cond->arrivals;
    contents.count = (uint32_t)(slot - plait__slot_at(h, 0));
    err = plait__hold_take(h, slot, name_of(cond), &contents, self_out);
    if (err == 0) {
        cond->arrivals++;
        chain(cond, *self_out);
    }
    unguard(cond);
    return err;
}

int plait__cond_shared_wait(plait_cond_t *cond, const struct plait__held *held, plait_time_t deadline)
{
    struct plait__hold *self;
    bool has_left = false;
    int err, lock_err;

    err = arrive(cond, held->lock, &self);
    if (err)
        return err;

    plait__held_give(held);
    err = sleep_cancellably(&(struct waiting){ cond, self, held }, deadline);
    if (err && guard_chain(cond) == 0) { /* time up or cancelled: unless notified meanwhile, leave at once */
        has_left = !is_notified(self);
        if (has_left)
            leave(cond, self);
        else
            err = 0;
        unguard(cond);
    }
    lock_err = plait__held_take(held, !has_left && load_relaxed(&self->state) == MOVED);
    if (!has_left && guard_chain(cond) == 0) {
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
    err = guard_chain(cond);
    if (err)
        return err;
    bury(cond);
    mark(cond, count);
    unguard(cond);
    return 0;
}

void plait__cond_shared_init(plait_cond_t *cond)
{
    plait__holds_forget(header_of(cond), name_of(cond));
}

int plait__cond_shared_fini(plait_cond_t *cond)
{
    int err = guard_chain(cond);
    bool waited_for;

    if (err)
        return err;
    bury(cond);
    waited_for = cond->head != 0;
    unguard(cond);
    return waited_for ? EBUSY : 0;
}

bool plait__cond_shared_is_awaited(plait_cond_t *cond)
{
    bool awaited;

    if (guard_chain(cond) != 0)
        return true;
    bury(cond);
    awaited = next_waiting(cond, cond->head) != NULL;
    unguard(cond);
    return awaited;
}
