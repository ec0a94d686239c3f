/* SPDX-License-Identifier: MIT */
/*
 * How it works (private; the shared one is in cond_shared.c)
 *
 * Waiters stand in a doubly linked list, in order of arrival, each with a record in its own stack frame and a word of its
 * own to sleep on. `guard` guards the list. notify unlinks the first n and marks each. So notify(n) ends exactly n waits
 * of those that had come before it, first come first served, and there are no spurious wake-ups.
 *
 *     word     WAITING  ->  NOTIFIED: notified while it spun, so there is nobody to wake
 *              WAITING  ->  ASLEEP, or about to be  ->  NOTIFIED: notified, and woken
 *                                                   ->  MOVED: notified, and moved to the word of the user's lock
 *
 * A single one is woken if the lock is free. If it is held, as by a notifier that notifies under it, who is woken would only
 * wake to sleep again, and of several only one at a time could hold it. So the kernel moves them from their own words to
 * the lock's, among those who sleep for it, and each is woken by a release: one wake-up, one switch of context for each. A
 * fiber does not sleep in the kernel, and is woken. So is who goes with a shared lock, as the two words are of
 * different kinds to the kernel, or with priority inheritance, where the kernel keeps other queues.
 *
 * No notification is lost: a waiter enters the list before it releases the user's lock; who changes the predicate
 * under that lock afterwards finds it there. It sleeps while its word is ASLEEP, and the mark changes the word.
 * A waiter whose time is up takes the guard and looks: marked meanwhile, it has been notified and says so; else it
 * unlinks itself.
 *
 * No moved one sleeps for ever: after the last has been moved, the notifier looks at the lock (sync/held.h). Held: the
 * word says now that somebody sleeps, and the release wakes the first. Free: the notifier wakes it. Each takes the lock as
 * one who has slept for it, so the word says on that others do; this goes also for who was marked MOVED and was not
 * asleep, or has been woken by its deadline.
 *
 * A waiter that pthread_cancel ends in its sleep does the same, gives its notification, if it has one, to the next waiter, and
 * takes the lock for the clean-up handlers of its thread.
 *
 * After its sleep a waiter takes the guard once in any case. So it does not return before the notifier is through with
 * the record, the lock and the condition, and may then free them all.
 *
 * E1: the mark releases, the waiter's look acquires. (The user's lock orders the user's data.)
 */
#include <plait/cancel.h>
#include <plait/cond.h>

#include <errno.h>
#include <limits.h>

#include "base/atomic.h"
#include "base/races.h"
#include "sync/cond_shared.h"
#include "sync/hooked.h"
#include "sync/lock.h"
#include "wait/futex.h"
#include "wait/hook.h"
#include "wait/point.h"
#include "wait/robust.h"
#include "wait/spin.h"

enum { WAITING, ASLEEP, NOTIFIED, MOVED };

struct waiter {
    struct waiter *prev, *next; /* guarded by guard */
    plait_cond_t *cond;         /* const */
    struct plait__held held;    /* const: the user's lock */
    bool may_move;              /* const */
    uint32_t word;              /* atomic (E1) */
};

static struct waiter *first(plait_cond_t *cond) { return (struct waiter *)(uintptr_t)cond->head; }
static struct waiter *last(plait_cond_t *cond) { return (struct waiter *)(uintptr_t)cond->tail; }
static void set_first(plait_cond_t *cond, struct waiter *w) { cond->head = (uintptr_t)w; }
static void set_last(plait_cond_t *cond, struct waiter *w) { cond->tail = (uintptr_t)w; }

static void append(plait_cond_t *cond, struct waiter *w)
{
    cond->arrivals++;
    w->next = NULL;
    w->prev = last(cond);
    if (w->prev)
        w->prev->next = w;
    else
        set_first(cond, w);
    set_last(cond, w);
}

static void take_out(plait_cond_t *cond, struct waiter *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        set_first(cond, w->next);
    if (w->next)
        w->next->prev = w->prev;
    else
        set_last(cond, w->prev);
}

/* Nobody waits with the guard held: its wait is no business of the caller's cancel token. */
static void guard(plait_cond_t *cond)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);

    plait__inner_acquire(&cond->guard, PLAIT_FOREVER);
    plait_cancel_bind(token);
}

static void unguard(plait_cond_t *cond)
{
    plait__inner_release(&cond->guard);
}

/* Addresses in it are followed only if nothing says that it is a shared one, which damage has made look like another. */
static bool is_private(const plait_cond_t *cond)
{
    return ((cond->mode | cond->guard.mode) & PLAIT_SHARED) == 0 && cond->guard.arena_offset == 0;
}

int plait_cond_init(plait_cond_t *cond, unsigned flags)
{
    int err = flags & ~(unsigned)PLAIT_SHARED ? EINVAL : plait_lock_init(&cond->guard, flags);

    if (err)
        return err;
    cond->head = cond->tail = 0;
    cond->mode = flags;
    cond->notified = 0;
    cond->arrivals = 0;
    if (flags & PLAIT_SHARED)
        plait__cond_shared_init(cond);
    return 0;
}

int plait_cond_fini(plait_cond_t *cond)
{
    int err = cond->mode & PLAIT_SHARED ? plait__cond_shared_fini(cond) : cond->head ? EBUSY : 0;

    if (err == 0)
        plait__races_forget(cond, sizeof *cond);
    return err;
}

/*
 * Wake a marked one, later: the next call does it. So the last is woken when the guard is free again, and does not run into
 * the notifier. By then its word may be gone, and only the address counts.
 */
static void wake_later(const uint32_t **later, const uint32_t *word)
{
    if (*later)
        plait_wake(*later, 1, 0);
    *later = word;
}

/* Mark it as `how`; what it was before. */
static uint32_t mark(struct waiter *w, uint32_t how)
{
    return exchange_release(&w->word, how); /* E1 */
}

static void move(struct waiter *w)
{
    mark(w, MOVED);
    if (plait__futex_move(&w->word, MOVED, plait__held_word(&w->held), false) < 0)
        plait__futex_wake(&w->word, 1, false); /* a kernel that cannot: all wake, and take turns */
}

static int notify_private(plait_cond_t *cond, unsigned count)
{
    struct waiter *w, *moved = NULL;
    const uint32_t *later = NULL;
    bool move_them;

    if (count == 0)
        return 0;
    guard(cond);
    w = first(cond);
    move_them = w && ((count > 1 && w->next) || plait__held_is_locked(&w->held));
    for (; w && count; count--) {
        struct waiter *next = w->next;

        take_out(cond, w);
        if (move_them && w->may_move && load_relaxed(&w->word) == ASLEEP) {
            move(w);
            moved = w;
        } else if (mark(w, NOTIFIED) == ASLEEP) {
            wake_later(&later, &w->word);
        }
        w = next;
    }
    if (moved)
        plait__held_adopt(&moved->held);
    unguard(cond);
    wake_later(&later, NULL);
    return 0;
}

/* A sleep is over. True: it was notified; else nobody knows of the waiter any more. */
static bool was_notified(struct waiter *self)
{
    bool notified;

    guard(self->cond);
    notified = load_relaxed(&self->word) >= NOTIFIED;
    if (!notified)
        take_out(self->cond, self);
    unguard(self->cond);
    return notified;
}

static int take_lock_back(struct waiter *self)
{
    return plait__held_take(&self->held, load_relaxed(&self->word) == MOVED);
}

/* The waiter's thread is cancelled in its sleep: what it was notified of is for another. */
static void cancelled(void *arg)
{
    struct waiter *self = arg;

    if (was_notified(self))
        notify_private(self->cond, 1);
    take_lock_back(self);
}

static int sleep_until_notified(struct waiter *self, plait_time_t deadline)
{
    uint32_t waiting = WAITING;
    plait_time_t slice = 0;
    int err;

    plait__spin_until_changed(PLAIT__SPIN_TURN, &self->word, WAITING, deadline);
    if (!cas_acquire(&self->word, &waiting, ASLEEP)) /* marked: its guard is taken next, which acquires (E1) */
        return 0;
    pthread_cleanup_push(cancelled, self);
    do
        err = plait__wait_point(&self->word, ASLEEP, 0, deadline, &slice);
    while (err == 0 && load_acquire(&self->word) == ASLEEP); /* E1 */
    pthread_cleanup_pop(0);
    return err;
}

static int wait_private(plait_cond_t *cond, const struct plait__held *held, plait_time_t deadline)
{
    struct waiter self = { .cond = cond, .held = *held, .word = WAITING };
    int err, lock_err;

    self.may_move = !plait__lock_is_owned(held->lock->mode) && !plait__wait_is_hooked();
    guard(cond);
    append(cond, &self);
    unguard(cond);
    plait__held_give(held);
    err = sleep_until_notified(&self, deadline);
    if (was_notified(&self))
        err = 0;
    lock_err = take_lock_back(&self);
    return lock_err ? lock_err : err;
}

/* `place`: where the program called. */
static int wait_at(plait_cond_t *cond, plait_lock_t *lock, plait_time_t deadline, const void *place)
{
    struct plait__held held;
    int err;

    if ((cond->mode & PLAIT_SHARED) && !(lock->mode & PLAIT_SHARED))
        return EINVAL;
    err = plait__held_look(lock, &held);
    if (err)
        return err;
    held.place = place;
    if (!(cond->mode & PLAIT_SHARED) && !is_private(cond))
        return EBADMSG;
    return cond->mode & PLAIT_SHARED ? plait__cond_shared_wait(cond, &held, deadline)
                                     : wait_private(cond, &held, deadline);
}

int plait_cond_wait(plait_cond_t *cond, plait_lock_t *lock, plait_time_t deadline)
{
    return wait_at(cond, lock, deadline, PLAIT__CALLER);
}

int plait_cond_wait_for(plait_cond_t *cond, plait_lock_t *lock, bool (*predicate)(void *arg), void *arg,
                        plait_time_t deadline)
{
    while (!predicate(arg)) {
        int err = wait_at(cond, lock, deadline, PLAIT__CALLER);

        if (err == ETIMEDOUT || err == ECANCELED)
            return predicate(arg) ? 0 : err;
        if (err)
            return err;
    }
    return 0;
}

int plait_cond_notify(plait_cond_t *cond, unsigned count)
{
    if (cond->mode & PLAIT_SHARED)
        return plait__cond_shared_notify(cond, count);
    return is_private(cond) ? notify_private(cond, count) : EBADMSG;
}

int plait_cond_notify_all(plait_cond_t *cond)
{
    return plait_cond_notify(cond, UINT_MAX);
}
