/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: lock and recursive lock. */
#include "kill/world.h"

#include <errno.h>

#include "wait/brief.h"

/* ---- Lock ---- */

static void add_one(void)
{
    if (plait_lock_acquire(&world->lock, PLAIT_FOREVER))
        _exit(4);
    world->a++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    world->b++;
    if (plait_lock_release(&world->lock))
        _exit(5);
}

static void hold(void)
{
    plait_lock_acquire(&world->lock, PLAIT_FOREVER);
}

static void let_go(void)
{
    plait_lock_release(&world->lock);
}

/* From here on the lock is one with priority inheritance, where there are any. */
static void lend_priority(void)
{
    if (!(world->lock.mode & PLAIT_PRIO_INHERIT) && plait_lock_init(&world->lock, PLAIT_SHARED | PLAIT_PRIO_INHERIT))
        plait_lock_init(&world->lock, PLAIT_SHARED);
}

static int lock_helper(void *unused)
{
    return take_and_give_lock() ? 1 : 0;
}

static const char *sleeper_gets_lock(bool done)
{
    return helper_end_by(PATIENCE) ? "the sleeper did not get the lock" : lock_goes_on(done);
}

static void fresh_lock(void)
{
    if (plait_lock_fini(&world->lock) || plait_lock_init(&world->lock, PLAIT_SHARED))
        abort();
    world->b = world->a;
    plait_event_clear(&world->go);
}

static int hold_and_be_killed(void *unused)
{
    hold();
    world->a++;
    raise(SIGKILL);
    return 1;
}

static void lock_of_a_dead_holder(void)
{
    fresh_lock();
    child_run(hold_and_be_killed, NULL);
}

/* Told of the death, as it must be, mend and go on. */
static void mend_and_release(void)
{
    if (plait_lock_acquire(&world->lock, PLAIT_FOREVER) != EOWNERDEAD)
        _exit(4);
    world->b = world->a;
    if (plait_lock_consistent(&world->lock) || plait_lock_release(&world->lock))
        _exit(5);
}

static void have_dead_holders_lock(void)
{
    if (plait_lock_acquire(&world->lock, PLAIT_FOREVER) != EOWNERDEAD)
        _exit(4);
}

static void give_up_lock(void)
{
    have_dead_holders_lock();
    let_go();
}

/* Given up for good, or still to be mended. */
static const char *lock_is_lost_or_not(bool done)
{
    int err = plait_lock_acquire(&world->lock, plait_after(PATIENCE));

    if (err == ENOTRECOVERABLE)
        return plait_lock_acquire(&world->lock, PLAIT_NOW) == ENOTRECOVERABLE ? checked() : "it can be had again";
    if (err != EOWNERDEAD || done)
        return "the death is forgotten";
    world->b = world->a;
    if (plait_lock_consistent(&world->lock) || plait_lock_release(&world->lock))
        return "it cannot be mended";
    return lock_goes_on(done);
}

/* Told in either way, and not left asleep. */
static int lock_helper_told(void *unused)
{
    int err = plait_lock_acquire(&world->lock, plait_after(PATIENCE));

    if (err == EOWNERDEAD)
        return plait_lock_consistent(&world->lock) || plait_lock_release(&world->lock);
    return err == ENOTRECOVERABLE ? 0 : 1;
}

static const char *sleeper_is_told(bool done)
{
    int err;

    world->b = world->a;
    if (helper_end_by(PATIENCE))
        return "the sleeper was not told";
    err = plait_lock_acquire(&world->lock, plait_after(PATIENCE));
    if (err == 0)
        err = plait_lock_release(&world->lock);
    return (err == 0 && !done) || err == ENOTRECOVERABLE ? checked() : "the lock is in no state to be in";
}

static void held_by_the_test(void)
{
    fresh_lock();
    hold();
}

static void take_lock_in_vain(void)
{
    step_page->out = plait_lock_acquire(&world->lock, plait_after(MOMENT));
}

/* The child was one who wakes others, perhaps, and gave up or died. */
static const char *sleeper_behind_gets_lock(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "it was given what the test holds";
    if (plait_lock_release(&world->lock))
        return "the test does not hold it any more";
    return sleeper_gets_lock(done);
}

static int lock_holder(void *unused)
{
    if (take_lock())
        return 1;
    await_go();
    return plait_lock_release(&world->lock);
}

static int release_lock_for_two(void *unused) { return let_holder_go_before(lock_helper); }

static const char *lock_is_passed_on(bool done)
{
    return others_end_well() ? lock_goes_on(done) : "the lock is stuck";
}

/* ---- Held briefly, while a signal handler uses locks: as if it had come just there (wait/brief.h) ---- */

static struct plait__brief held_briefly;

/* The handler's is the guard of a condition that nobody uses. */
static void fresh_locks(void)
{
    fresh_lock();
    if (plait_lock_fini(&world->cond.guard) || plait_lock_init(&world->cond.guard, PLAIT_SHARED))
        abort();
}

static void hold_briefly(void)
{
    take_part();
    if (!plait__brief_acquire(&world->lock, &held_briefly))
        _exit(4);
    world->a++;
}

static void let_go_briefly(void)
{
    world->b++;
    plait__brief_release(&held_briefly);
}

static void handler_that_takes_a_lock(void)
{
    if (plait_lock_acquire(&world->cond.guard, PLAIT_FOREVER) || plait_lock_release(&world->cond.guard))
        _exit(5);
}

static void handler_that_takes_it_briefly(void)
{
    struct plait__brief brief;

    if (!plait__brief_acquire(&world->cond.guard, &brief))
        _exit(5);
    plait__brief_release(&brief);
}

static void add_one_and_be_interrupted(void)
{
    hold_briefly();
    handler_that_takes_a_lock();
    let_go_briefly();
}

static void be_interrupted_and_let_go(void)
{
    handler_that_takes_a_lock();
    let_go_briefly();
}

static void add_one_and_be_interrupted_briefly(void)
{
    hold_briefly();
    handler_that_takes_it_briefly();
    let_go_briefly();
}

static void be_interrupted_briefly_and_let_go(void)
{
    handler_that_takes_it_briefly();
    let_go_briefly();
}

static const char *handlers_lock_goes_on(void)
{
    switch (plait_lock_acquire(&world->cond.guard, plait_after(PATIENCE))) {
    case 0:
        break;
    case EOWNERDEAD:
        if (plait_lock_consistent(&world->cond.guard))
            return "the handler's lock: consistent failed";
        break;
    default:
        return "the handler's lock hangs";
    }
    return plait_lock_release(&world->cond.guard) ? "the handler's lock: release failed" : NULL;
}

static const char *both_locks_go_on(bool done)
{
    const char *wrong = lock_goes_on(done);

    return wrong ? wrong : handlers_lock_goes_on();
}

static const char *sleeper_gets_lock_and_handlers_goes_on(bool done)
{
    const char *wrong = sleeper_gets_lock(done);

    return wrong ? wrong : handlers_lock_goes_on();
}

/* ---- Recursive lock ---- */

static void add_one_at_depth(void)
{
    if (plait_rlock_acquire(&world->rlock, PLAIT_FOREVER) || plait_rlock_acquire(&world->rlock, PLAIT_FOREVER))
        _exit(4);
    world->a++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    world->b++;
    if (plait_rlock_release(&world->rlock) || plait_rlock_release(&world->rlock))
        _exit(5);
}

static const char *take_and_give_rlock(void)
{
    switch (plait_rlock_acquire(&world->rlock, plait_after(PATIENCE))) {
    case 0:
        if (world->a != world->b)
            return "the rlock was free, the counters differ";
        break;
    case EOWNERDEAD:
        world->b = world->a;
        if (plait_rlock_consistent(&world->rlock))
            return "consistent failed";
        break;
    case ETIMEDOUT:
        return "the rlock hangs";
    default:
        return "acquire failed";
    }
    if (plait_rlock_depth(&world->rlock) != 1)
        return "the depth is wrong";
    return plait_rlock_release(&world->rlock) || plait_rlock_is_locked(&world->rlock) ? "release failed" : NULL;
}

static const char *rlock_goes_on(bool done)
{
    const char *wrong = take_and_give_rlock();

    return wrong ? wrong : checked();
}

static void hold_rlock(void)
{
    plait_rlock_acquire(&world->rlock, PLAIT_FOREVER);
    plait_rlock_acquire(&world->rlock, PLAIT_FOREVER);
}

static void let_rlock_go(void)
{
    plait_rlock_release(&world->rlock);
    plait_rlock_release(&world->rlock);
}

static int rlock_helper(void *unused)
{
    return take_and_give_rlock() ? 1 : 0;
}

static const char *sleeper_gets_rlock(bool done)
{
    return helper_end_by(PATIENCE) ? "the sleeper did not get the rlock" : rlock_goes_on(done);
}

static void fresh_rlock(void)
{
    if (plait_rlock_fini(&world->rlock) || plait_rlock_init(&world->rlock, PLAIT_SHARED))
        abort();
    world->b = world->a;
    plait_event_clear(&world->go);
}

static int hold_rlock_and_be_killed(void *unused)
{
    hold_rlock();
    world->a++;
    raise(SIGKILL);
    return 1;
}

static void rlock_of_a_dead_holder(void)
{
    fresh_rlock();
    child_run(hold_rlock_and_be_killed, NULL);
}

static void mend_and_release_rlock(void)
{
    if (plait_rlock_acquire(&world->rlock, PLAIT_FOREVER) != EOWNERDEAD)
        _exit(4);
    world->b = world->a;
    if (plait_rlock_consistent(&world->rlock) || plait_rlock_release(&world->rlock))
        _exit(5);
}

static void have_dead_holders_rlock(void)
{
    if (plait_rlock_acquire(&world->rlock, PLAIT_FOREVER) != EOWNERDEAD)
        _exit(4);
}

static void give_up_rlock(void)
{
    have_dead_holders_rlock();
    plait_rlock_release(&world->rlock);
}

static const char *rlock_is_lost_or_not(bool done)
{
    int err = plait_rlock_acquire(&world->rlock, plait_after(PATIENCE));

    if (err == ENOTRECOVERABLE)
        return plait_rlock_acquire(&world->rlock, PLAIT_NOW) == ENOTRECOVERABLE ? checked() : "it can be had again";
    if (err != EOWNERDEAD || done)
        return "the death is forgotten";
    world->b = world->a;
    if (plait_rlock_consistent(&world->rlock) || plait_rlock_release(&world->rlock))
        return "it cannot be mended";
    return rlock_goes_on(done);
}

static void rlock_held_by_the_test(void)
{
    fresh_rlock();
    hold_rlock();
}

static void take_rlock_in_vain(void)
{
    step_page->out = plait_rlock_acquire(&world->rlock, plait_after(MOMENT));
}

static const char *sleeper_behind_gets_rlock(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "it was given what the test holds";
    if (plait_rlock_depth(&world->rlock) != 2)
        return "the test does not hold it any more";
    let_rlock_go();
    return sleeper_gets_rlock(done);
}

static int rlock_holder(void *unused)
{
    hold_rlock();
    await_go();
    let_rlock_go();
    return 0;
}

static int release_rlock_for_two(void *unused) { return let_holder_go_before(rlock_helper); }

static const char *rlock_is_passed_on(bool done)
{
    return others_end_well() ? rlock_goes_on(done) : "the lock is stuck";
}

static void take_rlock_by_any(void)
{
    const struct plait_wait_entry entries[] = { plait_any_rlock_acquire(&world->rlock), plait_any_event_wait(&world->event) };

    step_page->out = plait_wait_any(entries, 2, NULL, PLAIT_FOREVER);
    plait_rlock_release(&world->rlock);
}

/* A word that no kernel knows of: the harness must notice. */
static void broken_add_one(void)
{
    uint32_t unheld = 0;

    while (!__atomic_compare_exchange_n(&world->broken, &unheld, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        unheld = 0;
    world->a++;
    __atomic_store_n(&world->broken, 0, __ATOMIC_RELEASE);
}

static const char *broken_goes_on(bool done)
{
    plait_time_t deadline = plait_after(0.02);
    uint32_t unheld = 0;

    world->b = world->a;
    while (!__atomic_compare_exchange_n(&world->broken, &unheld, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        unheld = 0;
        if (plait_now() > deadline) {
            world->broken = 0;
            return "the lock hangs";
        }
    }
    world->broken = 0;
    return NULL;
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "harness notices a lock that is not robust",
      .before = take_part, .operate = broken_add_one, .verify = broken_goes_on, .hangs = true },
    { .name = "lock acquire + release", .before = take_part, .operate = add_one, .verify = lock_goes_on },
    { .name = "lock release, with a sleeper",
      .before = hold, .operate = let_go, .helper = lock_helper, .verify = sleeper_gets_lock },
    { .name = "rlock acquire + release, two levels",
      .before = take_part, .operate = add_one_at_depth, .verify = rlock_goes_on },
    { .name = "rlock release, two levels, with a sleeper",
      .before = hold_rlock, .operate = let_rlock_go, .helper = rlock_helper, .verify = sleeper_gets_rlock },
    { .name = "lock with priorities, acquire + release",
      .prepare = lend_priority, .before = take_part, .operate = add_one, .verify = lock_goes_on },
    { .name = "lock with priorities, release, with a sleeper",
      .prepare = lend_priority, .before = hold, .operate = let_go, .helper = lock_helper, .verify = sleeper_gets_lock },
    { .name = "lock acquire of a dead holder's, consistent + release",
      .prepare = lock_of_a_dead_holder, .before = take_part, .operate = mend_and_release, .verify = lock_goes_on },
    { .name = "lock acquire of a dead holder's, given up",
      .prepare = lock_of_a_dead_holder, .before = take_part, .operate = give_up_lock, .verify = lock_is_lost_or_not },
    { .name = "lock release of a dead holder's, given up, with a sleeper",
      .prepare = lock_of_a_dead_holder, .before = have_dead_holders_lock, .operate = let_go, .helper = lock_helper_told,
      .verify = sleeper_is_told },
    { .name = "lock acquire, in vain, beside a sleeper",
      .prepare = held_by_the_test, .before = take_part, .operate = take_lock_in_vain, .helper = lock_helper,
      .verify = sleeper_behind_gets_lock },
    { .name = "lock acquire + release, as the one woken, before a sleeper",
      .prepare = fresh_lock, .before = take_part, .operate = add_one, .helper = lock_holder,
      .waker = release_lock_for_two, .verify = lock_is_passed_on },
    { .name = "lock held briefly, a signal handler takes another",
      .prepare = fresh_locks, .before = take_part, .operate = add_one_and_be_interrupted, .verify = both_locks_go_on },
    { .name = "lock held briefly, a signal handler takes another, with a sleeper",
      .prepare = fresh_locks, .before = hold_briefly, .operate = be_interrupted_and_let_go, .helper = lock_helper,
      .verify = sleeper_gets_lock_and_handlers_goes_on },
    { .name = "lock held briefly, a signal handler takes another briefly",
      .prepare = fresh_locks, .before = take_part, .operate = add_one_and_be_interrupted_briefly, .verify = both_locks_go_on },
    { .name = "lock held briefly, a signal handler takes another briefly, with a sleeper",
      .prepare = fresh_locks, .before = hold_briefly, .operate = be_interrupted_briefly_and_let_go, .helper = lock_helper,
      .verify = sleeper_gets_lock_and_handlers_goes_on },
    { .name = "rlock acquire of a dead holder's, consistent + release",
      .prepare = rlock_of_a_dead_holder, .before = take_part, .operate = mend_and_release_rlock, .verify = rlock_goes_on },
    { .name = "rlock acquire of a dead holder's, given up",
      .prepare = rlock_of_a_dead_holder, .before = take_part, .operate = give_up_rlock, .verify = rlock_is_lost_or_not },
    { .name = "rlock acquire, in vain, beside a sleeper",
      .prepare = rlock_held_by_the_test, .before = take_part, .operate = take_rlock_in_vain, .helper = rlock_helper,
      .verify = sleeper_behind_gets_rlock },
    { .name = "rlock acquire + release, as the one woken, before a sleeper",
      .prepare = fresh_rlock, .before = take_part, .operate = add_one_at_depth, .helper = rlock_holder,
      .waker = release_rlock_for_two, .verify = rlock_is_passed_on },
    { .name = "rlock acquire by wait_any + release",
      .before = take_part, .operate = take_rlock_by_any, .verify = rlock_goes_on },
};

const struct step_table step_lock = { ops, sizeof ops / sizeof ops[0] };
