/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A shared lock is a robust lock (wait/robust.c); its `state` is a constant that sends the inlined fast path here. A
 * private lock is its `state`:
 *
 *     bit 0      ALONE     held, and nobody waits; or held by a caller who is about to take this bit off
 *     bit 1      WANTED    held, and somebody waits, or did
 *     bit 2      WAKING    a sleeper has been woken and has not yet acted on it
 *     bits 3-7   0
 *     bits 8-31  the number of waiters: callers that sleep, or are about to, or have just been woken
 *
 * Held means ALONE or WANTED, never both. Acquire: 0 -> ALONE, inlined; else spin, else count oneself as a waiter, which
 * turns ALONE into WANTED, and sleep while it is held. A waiter leaves the count in the same exchange in which it
 * acquires, or gives up. Release, inlined: if the state is ALONE, subtract it. If a waiter came in between, WANTED - ALONE
 * is ALONE: the lock is still held, by a caller who is on its way to the slow release and will not mind which
 * of the two bits it finds. (A subtraction is cheaper than an exchange with a comparison.) The slow release takes both bits
 * off, and unless WAKING is set already, it is set and one sleeper woken. So at most one woken thread is
 * on its way at any time, and a holder that releases and re-acquires meanwhile pays no system call (the "designated
 * waker" of nsync).
 *
 * Who finds others waiting does not spin but joins them: with more threads than CPUs a spinner takes the CPU of a
 * holder, and slows the holder down by looking at its line.
 *
 * No wake is lost. Invariant: if WAKING is set, some waiter is awake, or is about to be woken by the releaser that set it,
 * and will clear WAKING: when it acquires, when it gives up, or before it sleeps (again). If WAKING is clear and there are
 * waiters, the next release wakes one. When the lock is free and has waiters, WAKING is set. A waiter sleeps only
 * on a held state: futex wait compares the whole word, so a release in between makes it look again. A waiter whose
 * time is up while the lock is free acquires it instead. Clearing WAKING when it was meant for another
 * costs a wake too many, never one too few.
 *
 * E1 hand over: the operation that makes it free releases, the one that makes it held acquires.
 *
 * The last thing a release does to the memory is that operation; the wake uses the address alone. So the next holder
 * may free the lock. There are never waiters that could outlive it: they are counted before they sleep and must be gone
 * before anyone may free it.
 */
#include <plait/lock.h>

#include <errno.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "wait/membership.h"
#include "wait/robust.h"
#include "wait/waiting.h"

enum { ALONE = 1, WANTED = 2, HELD = ALONE | WANTED, WAKING = 4, WAITER = 256 };
enum { RACES_MAX = 64 }; /* lost to others while spinning, before the caller sleeps: it has a deadline */

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
    return load_relaxed(&lock->state) & HELD;
}

/* Take the lock if it is free; with `registered` the caller leaves the waiters' count as well. *v: what was seen. */
static bool take(plait_lock_t *lock, uint32_t *v, bool registered)
{
    while (!(*v & HELD)) {
        uint32_t taken = registered ? (*v - WAITER) & ~(uint32_t)WAKING : *v;

        taken |= taken < WAITER ? ALONE : WANTED;

        if (cas_acquire(&lock->state, v, taken)) /* E1 */
            return true;
    }
    return false;
}

/* A waiter that holds nothing and has not been served leaves the count. *v has HELD. */
static bool give_up(plait_lock_t *lock, uint32_t *v)
{
    while (*v & HELD)
        if (cas_relaxed(&lock->state, v, (*v - WAITER) & ~(uint32_t)WAKING))
            return true;
    return false;
}

/* Clear WAKING, so that the next release wakes somebody again. False: the lock became free meanwhile. */
static bool settle(plait_lock_t *lock, uint32_t *v)
{
    while (*v & HELD) {
        if (!(*v & WAKING))
            return true;
        if (cas_relaxed(&lock->state, v, *v & ~(uint32_t)WAKING)) {
            *v &= ~(uint32_t)WAKING;
            return true;
        }
    }
    return false;
}

static int sleep_for_it(plait_lock_t *lock, uint32_t v, plait_time_t deadline)
{
    uint32_t wanted;
    int err = 0;

    do { /* the count goes up only while it is held */
        if (take(lock, &v, false))
            return 0;
        wanted = v < WAITER ? ((v & ~(uint32_t)HELD) | WANTED) + WAITER : v + WAITER;
    } while (!cas_relaxed(&lock->state, &v, wanted));
    v = wanted;
    for (;;) {
        if (take(lock, &v, true))
            return 0;
        if (err && give_up(lock, &v))
            return err;
        if (!settle(lock, &v))
            continue;
        err = plait_wait(&lock->state, v, 0, deadline);
        v = load_relaxed(&lock->state);
        if (!err && (v & HELD) && plait__spin(&lock->state, v))
            v = load_relaxed(&lock->state);
    }
}

static __attribute__((noinline)) int acquire_private(plait_lock_t *lock, plait_time_t deadline)
{
    uint32_t v = load_relaxed(&lock->state);

    if (take(lock, &v, false))
        return 0;
    if (deadline <= PLAIT_NOW)
        return plait_wait(&lock->state, v, 0, PLAIT_NOW) == ECANCELED ? ECANCELED : ETIMEDOUT;
    for (int lost = 0; lost < RACES_MAX && v < WAITER && plait__spin(&lock->state, v); lost++) {
        v = load_relaxed(&lock->state);
        if (take(lock, &v, false))
            return 0;
    }
    return sleep_for_it(lock, load_relaxed(&lock->state), deadline);
}

static __attribute__((noinline)) int release_private(plait_lock_t *lock)
{
    uint32_t v = load_relaxed(&lock->state);
    uint32_t free;
    bool wake;

    do {
        if (!(v & HELD))
            return EPERM;
        wake = v >= WAITER && !(v & WAKING);
        free = (v & ~(uint32_t)HELD) | (wake ? WAKING : 0);
    } while (!cas_release(&lock->state, &v, free)); /* E1 */
    if (wake)
        plait_wake(&lock->state, 1, 0);
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
