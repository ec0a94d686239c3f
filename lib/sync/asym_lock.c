/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Acquire: `held` 0 -> 1 by a compare-and-swap; else spin for it; else make `wanted` 1, look at `held` again, and sleep as long as
 * `wanted` is 1. Release: store 0 into `held`, look at `wanted`; if it is 1, exchange it for 0, and wake one. A sleeper who gets the
 * lock makes `wanted` 1 if there are others, for whom its wake may have been as well.
 *
 * L1 store, then look: on both sides. The releaser, who comes by often, has no barrier in between; the sleeper asks the kernel for one in
 * all threads (base/fence.h). So if the sleeper finds `held` still 1, then the look at `wanted` of whoever has the lock by now
 * comes after the fence, and finds 1, or that another releaser has found it. Where the kernel has no such fence, sleepers look again every
 * millisecond.
 *
 * Such a fence interrupts all CPUs, and where one has slept others will. So a holder who finds `wanted` 1 makes the lock careful: its release
 * and the next ones are exchanges, whose looks come after them without help. A sleeper who finds `careful` above 0 needs no fence. For
 * only holders change it, and a holder who finds it above 0, or makes it so, releases by an exchange; also the one who takes it to 0.
 * So all looks between the sleeper's and that one's are careful, and that one's finds `wanted` 1, or that another has found it.
 *
 * No wake is lost. Invariant: while somebody sleeps, `wanted` is 1, or a releaser who has made it 0 is about to wake one, or one who has been
 * woken is on its way. Such a one makes it 1 before it sleeps again, or, if there are others, while it has the lock and so before its own
 * look. Who is not counted in `sleepers` yet has still to make `wanted` 1. Who gives up leaves `wanted` as it is; at worst a wake too many is
 * made. tests/models/asym_lock.pml goes through it all, with stores that are late.
 *
 * L2 hand over: the store that makes it free releases, the operation that makes it held acquires.
 */
#include "sync/asym_lock.h"

#include <errno.h>

#include <plait/cancel.h>
#include <plait/wait.h>

#include "base/clock.h"
#include "base/fence.h"
#include "wait/spin.h"

/* As many exchanges as cost about what a fence does. */
enum { CAREFUL = 4000 };

enum { SPINS = 2 }; /* a sleep costs more than with other locks: the holder's CPU as well */

enum { PASS_LOOKS = 200 }; /* before one takes it in order to be between two who have it */

static bool spin_for_it(struct plait__asym_lock *lock, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_RIVALS, deadline);

    while (plait__spin_pause(&spin))
        if (load_relaxed(&lock->held) == 0 && plait__asym_try(lock)) {
            plait__spin_paid(&spin);
            return true;
        }
    return false;
}

/* Say that somebody sleeps. Until when is that enough? */
static plait_time_t want(struct plait__asym_lock *lock)
{
    exchange_seqcst(&lock->wanted, 1);
    barrier_after_rmw(); /* L1 */
    if (load_seqcst(&lock->careful) || plait__fence_everywhere()) /* L1 */
        return PLAIT_FOREVER;
    return plait_now() + PLAIT__MILLISECOND;
}

/* Taken by a sleeper: the wake that it may have had was for all of them. */
static bool take(struct plait__asym_lock *lock)
{
    if (load_seqcst(&lock->held) || !plait__asym_try(lock))
        return false;
    if (sub_seqcst(&lock->sleepers, 1) > 1)
        store_relaxed(&lock->wanted, 1); /* relaxed: for our own release */
    return true;
}

static int sleep_for_it(struct plait__asym_lock *lock, plait_time_t deadline)
{
    int err = 0;

    add_seqcst(&lock->sleepers, 1);
    for (;;) {
        plait_time_t until = want(lock);

        if (take(lock))
            return 0;
        if (err) {
            sub_seqcst(&lock->sleepers, 1);
            return err;
        }
        err = plait_wait(&lock->wanted, 1, 0, until < deadline ? until : deadline);
        if (err && until < deadline)
            err = 0;
        if (take(lock))
            return 0;
    }
}

int plait__asym_acquire_slow(struct plait__asym_lock *lock, plait_time_t deadline)
{
    plait_cancel_t *token;
    int err;

    for (unsigned spins = 0; spins < SPINS; spins++)
        if (spin_for_it(lock, deadline))
            return 0;
    token = plait_cancel_bind(NULL);
    err = sleep_for_it(lock, deadline);
    plait_cancel_bind(token);
    return err;
}

void plait__asym_wake(struct plait__asym_lock *lock)
{
    if (exchange_seqcst(&lock->wanted, 0))
        plait_wake(&lock->wanted, 1, 0);
}

void plait__asym_release_carefully(struct plait__asym_lock *lock)
{
    uint32_t left = load_relaxed(&lock->careful); /* 0: `wanted` was 1, which a late releaser may have taken off since */

    store_relaxed(&lock->careful, left == 0 || load_relaxed(&lock->wanted) ? CAREFUL : left - 1);
    exchange_seqcst(&lock->held, 0); /* L2 */
    barrier_after_rmw();             /* L1 */
    if (load_seqcst(&lock->wanted))
        plait__asym_wake(lock);
}

/* An operation on `held` that leaves it free is as good as one that takes it, and in nobody's way. */
static bool touch(struct plait__asym_lock *lock)
{
    uint32_t free = 0;

    return load_relaxed(&lock->held) == 0 && cas_acqrel(&lock->held, &free, 0); /* L2, with those before and those after */
}

void plait__asym_pass(struct plait__asym_lock *lock, plait_time_t patience)
{
    for (unsigned looks = 0; looks < PASS_LOOKS; looks++) {
        if (touch(lock))
            return;
        cpu_relax();
    }
    if (plait__asym_acquire(lock, plait_now() + patience) == 0)
        plait__asym_release(lock);
}
