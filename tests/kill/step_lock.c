/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: lock and recursive lock. */
#include "kill/world.h"

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
};

const struct step_table step_lock = { ops, sizeof ops / sizeof ops[0] };
