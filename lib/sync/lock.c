/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A shared lock is a robust lock (wait/robust.c); its `state` is a constant that sends the inlined fast path here. A
 * private lock is its `state`:
 *
 *     0  FREE
 *     1  HELD     and nobody sleeps
 *     2  WANTED   held, and somebody sleeps, or may
 *
 * This is the third mutex of Drepper's "Futexes are tricky" (2011), with deadlines. Acquire: FREE -> HELD, inlined; else spin
 * for it; else make it WANTED and sleep while it is that. Release: HELD -> FREE, inlined; else exchange for FREE, and wake one
 * if it was WANTED. Who has slept acquires it as WANTED, for it cannot know whether others sleep still.
 *
 * No wake is lost. Invariant: while somebody sleeps, the lock is WANTED, or a thread is on its way that has been woken, or is
 * about to be by a releaser, and will, with its next step on the word, make it WANTED. For: a sleeper falls asleep on WANTED only
 * (futex wait compares); who takes WANTED off is a releaser, and wakes one. The woken one either acquires (WANTED), or
 * sleeps again, or gives up, and in both cases sets WANTED first where it finds the lock HELD. Giving up does not happen
 * while it is FREE: then it acquires. That all who sleep are not woken is no loss: the one that was passes it on when it
 * releases.
 *
 * A wake-up costs the releaser one system call; until the woken one has come back to the word, which takes
 * microseconds, the lock goes FREE -> HELD -> FREE by the inlined paths, so a streak of them costs one wake.
 *
 * Among others, in plait_wait_any, nobody acquires a lock just to give up: who leaves while it is FREE wakes the next.
 *
 * E1 hand over: the operation that makes it free releases, the one that makes it held acquires.
 *
 * The last thing a release does to the memory is that operation; the wake uses the address alone. So the next holder
 * may free the lock. Who still waits for a lock that is freed has itself to blame; a sleeper that was woken and not yet
 * come back is a waiter.
 */
#include <plait/lock.h>

#include <errno.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "wait/membership.h"
#include "wait/robust.h"
#include "wait/spin.h"
#include "wait/waitable.h"

enum { FREE, HELD, WANTED };

uint32_t plait_hooks;

int plait_lock_init(plait_lock_t *lock, unsigned flags)
{
    uint64_t offset;
    int err = plait__shared_place(lock, flags, 0, &offset);

    if (err)
        return err;
    if (flags & PLAIT_SHARED)
        plait__robust_init(lock, flags | plait__lock_mode(plait__arena_header_of(lock, offset)), offset);
    else
        *lock = (plait_lock_t)PLAIT_LOCK_INIT;
    return 0;
}

int plait_lock_fini(plait_lock_t *lock)
{
    return plait_lock_is_locked(lock) ? EBUSY : 0;
}

bool plait_lock_is_locked(const plait_lock_t *lock)
{
    if (lock->mode & PLAIT_SHARED)
        return plait__robust_is_locked(lock);
    return load_relaxed(&lock->state) != FREE;
}

/* Take the lock, as HELD or WANTED, if it is free. *v: what was seen. */
static bool take(plait_lock_t *lock, uint32_t *v, uint32_t as)
{
    while (*v == FREE)
        if (cas_acquire(&lock->state, v, as)) /* E1 */
            return true;
    return false;
}

static bool spin_for_it(plait_lock_t *lock, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_RIVALS, deadline);

    while (plait__spin_pause(&spin)) {
        uint32_t v = load_relaxed(&lock->state);

        if (take(lock, &v, HELD)) {
            plait__spin_paid(&spin);
            return true;
        }
    }
    return false;
}

/* Also the way out for who gives up: the lock is WANTED, or the caller has it after all. */
static int sleep_for_it(plait_lock_t *lock, plait_time_t deadline)
{
    uint32_t v = load_relaxed(&lock->state);
    int err = 0;

    for (;;) {
        if (take(lock, &v, WANTED))
            return 0;
        if (v == HELD && !cas_relaxed(&lock->state, &v, WANTED))
            continue;
        if (err)
            return err;
        err = plait_wait(&lock->state, WANTED, 0, deadline);
        v = load_relaxed(&lock->state);
    }
}

static __attribute__((noinline)) int acquire_private(plait_lock_t *lock, plait_time_t deadline)
{
    uint32_t v = load_relaxed(&lock->state);

    if (take(lock, &v, HELD))
        return 0;
    if (deadline <= PLAIT_NOW)
        return plait_wait(&lock->state, v, 0, PLAIT_NOW) == ECANCELED ? ECANCELED : ETIMEDOUT;
    return spin_for_it(lock, deadline) ? 0 : sleep_for_it(lock, deadline);
}

static __attribute__((noinline)) int release_private(plait_lock_t *lock)
{
    switch (exchange_release(&lock->state, FREE)) { /* E1; from here on only the address is used */
    case FREE:
        return EPERM;
    case WANTED:
        plait_wake(&lock->state, 1, 0);
    }
    return 0;
}

static __attribute__((noinline)) int join_and_acquire(plait_lock_t *lock, plait_time_t deadline)
{
    int err = plait__member_of(lock, lock->arena_offset);

    return err ? err : plait__robust_acquire(lock, deadline);
}

int plait_lock_acquire_slow(plait_lock_t *lock, plait_time_t deadline)
{
    if (!(lock->mode & PLAIT_SHARED))
        return acquire_private(lock, deadline);
    if (plait__member_is_cached(plait__arena_header_of(lock, lock->arena_offset)))
        return plait__robust_acquire(lock, deadline);
    return join_and_acquire(lock, deadline);
}

int plait_lock_release_slow(plait_lock_t *lock)
{
    return lock->mode & PLAIT_SHARED ? plait__robust_release(lock) : release_private(lock);
}

int plait_lock_consistent(plait_lock_t *lock)
{
    return lock->mode & PLAIT_SHARED ? plait__robust_consistent(lock) : EINVAL;
}

/* ---- Among others ------------------------------------------------------------------------ */

static int attempt(struct plait__waiting *waiting)
{
    plait_lock_t *lock = waiting->entry->object;
    uint32_t v;

    if (lock->mode & PLAIT_SHARED) {
        int err = plait__member_of(lock, lock->arena_offset);

        return err ? err : plait__robust_attempt(lock, waiting->enlisted);
    }
    v = load_relaxed(&lock->state);
    return take(lock, &v, waiting->enlisted ? WANTED : HELD) ? 0 : EAGAIN;
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_lock_t *lock = waiting->entry->object;
    uint32_t v = load_relaxed(&lock->state);

    if (lock->mode & PLAIT_SHARED)
        return plait__robust_enlist(lock, word_out);
    while (v == HELD && !cas_relaxed(&lock->state, &v, WANTED))
        ;
    *word_out = (struct plait_wait_word){ &lock->state, WANTED, 0 };
    return v != FREE;
}

static void delist(struct plait__waiting *waiting)
{
    plait_lock_t *lock = waiting->entry->object;
    uint32_t v = load_relaxed(&lock->state);

    if (lock->mode & PLAIT_SHARED) {
        plait__robust_delist(lock);
        return;
    }
    while (v == HELD && !cas_relaxed(&lock->state, &v, WANTED))
        ;
    if (v == FREE)
        plait_wake(&lock->state, 1, 0);
}

struct plait_wait_entry plait_any_lock_acquire(plait_lock_t *lock)
{
    static const struct plait_waitable acquiring = { attempt, enlist, delist };

    return (struct plait_wait_entry){ .how = &acquiring, .object = lock };
}
