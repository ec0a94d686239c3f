/* SPDX-License-Identifier: MIT */
/*
 * How it works (private; the shared one is in cond_shared.c)
 *
 * Waiters stand in a doubly linked list, in order of arrival, each with a record in its own stack frame and a word of its
 * own to sleep on. `guard` guards the list. notify unlinks the first n, marks each and wakes its word. So notify(n) wakes
 * exactly n of those that had come before it, first come first served, and there are no spurious wake-ups.
 *
 * No notification is lost: a waiter enters the list before it releases the user's lock; who changes the predicate
 * under that lock afterwards finds it there. It sleeps while its word is WAITING, and the mark changes the word.
 * A waiter whose time is up takes the guard and looks: marked meanwhile, it has been notified and says so; else it
 * unlinks itself. After the mark the notifier uses the word's address only, as the record may be gone.
 *
 * E1: the mark releases, the waiter's look acquires. (The user's lock orders the user's data.)
 */
#include <plait/cancel.h>
#include <plait/cond.h>

#include <errno.h>
#include <limits.h>

#include "base/atomic.h"
#include "sync/cond_shared.h"
#include "sync/lock.h"
#include "wait/membership.h"
#include "wait/robust.h"

enum { WAITING, NOTIFIED };

struct waiter {
    struct waiter *prev, *next; /* guarded by guard */
    uint64_t number;            /* guarded by guard: which arrival */
    uint32_t word;              /* atomic: WAITING, then NOTIFIED (E1) */
};

static struct waiter *first(plait_cond_t *cond) { return (struct waiter *)(uintptr_t)cond->head; }
static struct waiter *last(plait_cond_t *cond) { return (struct waiter *)(uintptr_t)cond->tail; }
static void set_first(plait_cond_t *cond, struct waiter *w) { cond->head = (uintptr_t)w; }
static void set_last(plait_cond_t *cond, struct waiter *w) { cond->tail = (uintptr_t)w; }

static void append(plait_cond_t *cond, struct waiter *w)
{
    w->number = cond->arrivals++;
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

/* The guard is held for a few instructions: its wait is no business of the caller's cancel token. */
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

int plait_cond_init(plait_cond_t *cond, unsigned flags)
{
    int err = plait_lock_init(&cond->guard, flags);

    if (err)
        return err;
    cond->head = cond->tail = 0;
    cond->mode = flags;
    cond->notified = 0;
    cond->arrivals = 0;
    return 0;
}

int plait_cond_fini(plait_cond_t *cond)
{
    if (cond->mode & PLAIT_SHARED)
        return plait__cond_shared_fini(cond);
    return cond->head ? EBUSY : 0;
}

/* Take the user's lock back after a wait that ended with `err`: not cut short, and its own news come first. */
static int retake(plait_lock_t *lock, int err)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int lock_err = plait_lock_acquire(lock, PLAIT_FOREVER);

    plait_cancel_bind(token);
    return lock_err ? lock_err : err;
}

static int wait_private(plait_cond_t *cond, plait_lock_t *lock, plait_time_t deadline)
{
    struct waiter self = { .word = WAITING };
    int err;

    guard(cond);
    append(cond, &self);
    unguard(cond);
    plait_lock_release(lock);
    do
        err = plait_wait(&self.word, WAITING, 0, deadline);
    while (err == 0 && load_acquire(&self.word) == WAITING); /* E1 */
    if (err) {
        guard(cond);
        if (load_relaxed(&self.word) == WAITING)
            take_out(cond, &self);
        else
            err = 0;
        unguard(cond);
    }
    return retake(lock, err);
}

static int notify_private(plait_cond_t *cond, unsigned count)
{
    uint64_t arrivals = 0;

    for (unsigned i = 0; i < count; i++) {
        struct waiter *w;

        guard(cond);
        if (i == 0)
            arrivals = cond->arrivals; /* who comes from now on is not meant */
        w = first(cond);
        if (!w || w->number >= arrivals) {
            unguard(cond);
            break;
        }
        take_out(cond, w);
        store_release(&w->word, NOTIFIED); /* E1; from here on w may be gone */
        unguard(cond);
        plait_wake(&w->word, 1, 0);
    }
    return 0;
}

int plait_cond_wait(plait_cond_t *cond, plait_lock_t *lock, plait_time_t deadline)
{
    if (cond->mode & PLAIT_SHARED)
        return plait__cond_shared_wait(cond, lock, deadline);
    if (lock->mode & PLAIT_SHARED ? !plait__robust_is_mine(lock) : !plait_lock_is_locked(lock))
        return EPERM;
    return wait_private(cond, lock, deadline);
}

int plait_cond_wait_for(plait_cond_t *cond, plait_lock_t *lock, bool (*predicate)(void *arg), void *arg,
                        plait_time_t deadline)
{
    while (!predicate(arg)) {
        int err = plait_cond_wait(cond, lock, deadline);

        if (err == ETIMEDOUT || err == ECANCELED)
            return predicate(arg) ? 0 : err;
        if (err)
            return err;
    }
    return 0;
}

int plait_cond_notify(plait_cond_t *cond, unsigned count)
{
    return cond->mode & PLAIT_SHARED ? plait__cond_shared_notify(cond, count) : notify_private(cond, count);
}

int plait_cond_notify_all(plait_cond_t *cond)
{
    return plait_cond_notify(cond, UINT_MAX);
}
