/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A waiter is the calling thread's slot in the arena's table of participants, or if a fiber of the thread waits in that
 * already, one more that is claimed for the while: it names the condition it waits for, the
 * number of its arrival, and a word to sleep on. The slots are chained in order of arrival from cond->head to
 * cond->tail (slot numbers + 1); chain and counter are guarded by cond->guard, a robust lock, and are caches: the truth
 * is in the slots, from which repair() makes them anew when a holder of the guard has died. No lock is held while
 * waiting but the one that the user gets back.
 *
 *     cond_state    WAITING  ->  NOTIFIED or MOVED (by a notifier)  ->  out of the chain (by the waiter itself)
 *
 * NOTIFIED and MOVED mean the same but for where the waiter sleeps, as in cond.c: of several, each is moved to the lock's word
 * and woken by a release. A notifier that dies between the move and its look at the lock leaves them asleep until their
 * slice of time is over, as if it had died before a wake.
 *
 * A waiter leaves the chain only when it holds the user's lock again. So if it is killed before that, its slot still
 * says that it is notified, and whoever comes by - a notifier, or a waiter that looks after a slice of time while cond->notified is
 * not 0 - takes it out and gives its notification to the next. If it is killed later, it dies as the holder of
 * the user's lock, and the next is told so. Slots of dead waiters that were not notified are just taken out.
 *
 * A waiter that pthread_cancel ends gives its notification to the next in the same way, and leaves the chain.
 *
 * No notification is lost: as for the private one; and a notifier that dies between the mark and the wake is healed by the
 * sleeper's slices, one that dies before the mark has not notified.
 *
 * E1: the mark releases, the waiter's look acquires. E2: plait__slot.cond is stored with a release after the slot's other
 * fields: a slot that names the condition is complete.
 */
#include "sync/cond_shared.h"

#include <errno.h>

#include <plait/cancel.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "wait/futex.h"
#include "wait/hook.h"
#include "wait/point.h"
#include "wait/robust.h"

enum { IDLE, WAITING, NOTIFIED, MOVED };

static bool is_notified(const struct plait__slot *slot)
{
    return load_relaxed(&slot->cond_state) >= NOTIFIED;
}

static struct plait__arena_header *header_of(plait_cond_t *cond)
{
    return plait__arena_header_of(&cond->guard, cond->guard.arena_offset);
}

static uint64_t offset_of(plait_cond_t *cond)
{
    return cond->guard.arena_offset;
}

static struct plait__slot *slot_of(plait_cond_t *cond, uint64_t number_plus_one)
{
    return plait__slot_at(header_of(cond), (uint32_t)number_plus_one - 1);
}

static uint32_t name_of(plait_cond_t *cond, const struct plait__slot *slot)
{
    return (uint32_t)(slot - plait__slot_at(header_of(cond), 0)) + 1;
}

/* Relaxed: written under the guard; sleepers look at it without, as a hint whether to take the guard. */
static void count_notified(plait_cond_t *cond, uint32_t count)
{
    store_relaxed(&cond->notified, count);
}

/* Put the slot where its arrival number belongs: the end, but in repairs. */
static void chain(plait_cond_t *cond, struct plait__slot *slot)
{
    uint32_t name = name_of(cond, slot);
    uint32_t after = 0;

    if (cond->tail && slot_of(cond, cond->tail)->cond_number < slot->cond_number)
        after = (uint32_t)cond->tail;
    else
        for (uint32_t n = (uint32_t)cond->head; n && slot_of(cond, n)->cond_number < slot->cond_number;
             n = slot_of(cond, n)->cond_next)
            after = n;
    slot->cond_next = after ? slot_of(cond, after)->cond_next : (uint32_t)cond->head;
    if (after)
        slot_of(cond, after)->cond_next = name;
    else
        cond->head = name;
    if (slot->cond_next == 0)
        cond->tail = name;
}

/* Take the slot after `before` (0: the first) out of the chain, and the condition out of the slot. */
static void unchain(plait_cond_t *cond, uint32_t before, struct plait__slot *slot)
{
    if (before)
        slot_of(cond, before)->cond_next = slot->cond_next;
    else
        cond->head = slot->cond_next;
    if (slot->cond_next == 0)
        cond->tail = before;
    if (is_notified(slot))
        count_notified(cond, cond->notified - 1);
    slot->cond_state = IDLE;
    store64_release(&slot->cond, 0);
}

/* A holder of the guard has died: make chain and counter anew from the slots. May itself be killed and repeated. */
static void repair(plait_cond_t *cond)
{
    struct plait__arena_header *h = header_of(cond);
    uint32_t high = load_acquire(&h->slots_high);

    cond->head = cond->tail = 0;
    count_notified(cond, 0);
    for (uint32_t i = 0; i < high; i++) {
        struct plait__slot *slot = plait__slot_at(h, i);

        if (load64_acquire(&slot->cond) != offset_of(cond)) /* E2 */
            continue;
        if (slot->cond_state == IDLE) { /* unchain was cut short */
            store64_release(&slot->cond, 0);
            continue;
        }
        chain(cond, slot);
        if (is_notified(slot))
            count_notified(cond, cond->notified + 1);
        if (slot->cond_number >= cond->arrivals)
            cond->arrivals = slot->cond_number + 1;
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

static void wake(struct plait__slot *slot)
{
    store_release(&slot->cond_state, NOTIFIED); /* E1 */
    plait_wake(&slot->cond_state, 1, PLAIT_SHARED);
}

static plait_lock_t *lock_of(plait_cond_t *cond, const struct plait__slot *slot)
{
    return plait__at(header_of(cond), slot->cond_lock);
}

static void move(plait_cond_t *cond, struct plait__slot *slot)
{
    store_release(&slot->cond_state, MOVED); /* E1 */
    if (plait__futex_move(&slot->cond_state, MOVED, plait__robust_word(lock_of(cond, slot)), true) < 0)
        plait__futex_wake(&slot->cond_state, 1, true);
}

/* The next who waits and is not notified, from number `n` on (0: none); the dead among them are taken for living. */
static struct plait__slot *next_waiting(plait_cond_t *cond, uint32_t n)
{
    for (; n; n = slot_of(cond, n)->cond_next)
        if (slot_of(cond, n)->cond_state == WAITING)
            return slot_of(cond, n);
    return NULL;
}

/* Notify the first `count` who wait. */
static void mark(plait_cond_t *cond, unsigned count)
{
    struct plait__slot *slot = next_waiting(cond, (uint32_t)cond->head), *moved = NULL;
    bool several = count > 1 && slot && next_waiting(cond, slot->cond_next);
    bool held = slot && slot->cond_lock && plait__robust_is_locked(lock_of(cond, slot));

    for (; slot && count; count--) {
        count_notified(cond, cond->notified + 1);
        if ((several || held) && slot->cond_lock) {
            move(cond, slot);
            moved = slot;
        } else {
            wake(slot);
        }
        slot = next_waiting(cond, slot->cond_next);
    }
    if (moved)
        plait__robust_adopt(lock_of(cond, moved));
}

/* Take those of the dead who are notified, or are not, out of the chain. */
static void bury_if(plait_cond_t *cond, bool notified)
{
    uint32_t before = 0;

    for (uint32_t n = (uint32_t)cond->head; n;) {
        struct plait__slot *slot = slot_of(cond, n);
        uint32_t next = slot->cond_next;

        if (is_notified(slot) == notified && plait__slot_is_dead(slot)) {
            if (notified) /* first give, then take: killed in between, one wakes too many, not too few */
                mark(cond, 1);
            unchain(cond, before, slot);
        } else {
            before = n;
        }
        n = next;
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
static void leave(plait_cond_t *cond, struct plait__slot *self)
{
    uint32_t name = name_of(cond, self);
    uint32_t before = 0;

    for (uint32_t n = (uint32_t)cond->head; n && n != name; n = slot_of(cond, n)->cond_next)
        before = n;
    unchain(cond, before, self);
}

/* Sleep until notified. After each slice of time: if others were notified, see whether they live. */
static int sleep_until_notified(plait_cond_t *cond, struct plait__slot *self, plait_time_t deadline)
{
    plait_time_t slice = 0;

    for (;;) {
        int err = plait__wait_point(&self->cond_state, WAITING, PLAIT_SHARED, deadline, &slice);

        if (load_acquire(&self->cond_state) != WAITING) /* E1 */
            return 0;
        if (err)
            return err;
        if (load_relaxed(&cond->notified) && guard(cond) == 0) {
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
    struct plait__slot *self;
    const struct plait__held *held;
};

/* What it was notified of is for another: first give, then take, as when it is buried. */
static void cancelled(void *arg)
{
    struct waiting *w = arg;
    bool moved = load_relaxed(&w->self->cond_state) == MOVED;

    if (guard(w->cond) == 0) {
        moved = load_relaxed(&w->self->cond_state) == MOVED;
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

/* The slot to wait in: the thread's, or where another of its fibers waits in that, one more. */
static int find_slot(plait_cond_t *cond, struct plait__slot **slot_out, bool *extra_out)
{
    int err = plait__member(header_of(cond), slot_out);

    *extra_out = err == 0 && load64_relaxed(&(*slot_out)->cond) != 0;
    return *extra_out ? plait__member_claim(header_of(cond), slot_out) : err;
}

/* Wait in the slot `self`. */
static int wait_in(plait_cond_t *cond, struct plait__slot *self, const struct plait__held *held, plait_time_t deadline)
{
    int err = guard(cond);
    int lock_err;

    if (err)
        return err;
    self->cond_state = WAITING;
    self->cond_number = cond->arrivals++;
    self->cond_lock = offset_to_move_to(cond, held->lock);
    store64_release(&self->cond, offset_of(cond)); /* E2 */
    chain(cond, self);
    unguard(cond);

    plait__held_give(held);
    err = sleep_cancellably(&(struct waiting){ cond, self, held }, deadline);
    if (err && guard(cond) == 0) { /* time up or cancelled: unless notified meanwhile, leave at once */
        if (is_notified(self))
            err = 0;
        else
            leave(cond, self);
        unguard(cond);
    }
    lock_err = plait__held_take(held, load_relaxed(&self->cond_state) == MOVED);
    if (self->cond && guard(cond) == 0) {
        leave(cond, self);
        unguard(cond);
    }
    return lock_err ? lock_err : err;
}

int plait__cond_shared_wait(plait_cond_t *cond, const struct plait__held *held, plait_time_t deadline)
{
    struct plait__slot *self;
    bool extra;
    int err = find_slot(cond, &self, &extra);

    if (err)
        return err;
    err = wait_in(cond, self, held, deadline);
    if (extra && load64_relaxed(&self->cond) == 0)
        plait__member_resign(header_of(cond), self);
    return err;
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
    mark(cond, count);
    unguard(cond);
    return 0;
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
