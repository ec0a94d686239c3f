/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: condition. */
#include "kill/world.h"

#include <errno.h>

/* ---- Condition ---- */

static void fresh_cond(void)
{
    if (plait_cond_init(&world->cond, PLAIT_SHARED))
        abort();
}

static void wait_a_moment(void)
{
    plait_lock_acquire(&world->lock, PLAIT_FOREVER);
    step_page->out = plait_cond_wait(&world->cond, &world->lock, plait_after(0.001));
    plait_lock_release(&world->lock);
}

static const char *cond_is_left(bool done)
{
    const char *wrong = lock_goes_on(done);

    if (wrong)
        return wrong;
    if (plait_cond_notify(&world->cond, 1))
        return "notify failed";
    return plait_cond_fini(&world->cond) ? "the dead still waits" : checked();
}

static int cond_helper(void *unused)
{
    const char *wrong = take_lock();
    int err;

    if (wrong)
        return 1;
    err = plait_cond_wait(&world->cond, &world->lock, plait_after(PATIENCE));
    if (err == EOWNERDEAD)
        err = plait_lock_consistent(&world->lock);
    return plait_lock_release(&world->lock) ? 2 : err;
}

static void notify_one(void)
{
    step_page->out = plait_cond_notify(&world->cond, 1);
}

/* The sleeper is moved to the lock, and woken by its release. */
static void notify_under_lock(void)
{
    plait_lock_acquire(&world->lock, PLAIT_FOREVER);
    step_page->out = plait_cond_notify_all(&world->cond);
    plait_lock_release(&world->lock);
}

static const char *sleeper_is_notified(bool done)
{
    if (!done && plait_cond_notify(&world->cond, 1))
        return "notify failed";
    return helper_end_by(PATIENCE) ? "the sleeper was not notified" : cond_is_left(done);
}

/* A waiter has died, and somebody else with the guard in hand: chain and counters say nothing. */
static int die_in_cond_guard(void *unused)
{
    if (plait_lock_acquire(&world->cond.guard, PLAIT_NOW) == 0) {
        world->cond.head = world->cond.tail = 0;
        world->cond.notified = 17;
        kill(getpid(), SIGKILL);
    }
    return 1;
}

static void cond_of_a_dead_guard(void)
{
    pid_t waiter;

    fresh_cond();
    waiter = child_start(cond_helper, NULL);
    if (!await_sleep(waiter))
        abort();
    child_kill(waiter);
    if (child_run(die_in_cond_guard, NULL) != CHILD_SIGNALLED + SIGKILL)
        abort();
}

/* ---- The one who is notified is killed ---- */

/* What has been notified under the lock says so before it gives the lock back. */
static void wait_to_be_notified(void)
{
    plait_lock_acquire(&world->lock, PLAIT_FOREVER);
    step_page->out = plait_cond_wait(&world->cond, &world->lock, PLAIT_FOREVER) == 0 ? 1 : 2;
    plait_lock_release(&world->lock);
}

/* One notification for two: the child, if it lives, and one who comes after it. */
static int notify_past_child(void *unused)
{
    pid_t second = sleep_behind_child(cond_helper);

    if (second < 0 || plait_cond_notify(&world->cond, 1))
        return 1;
    return child_end_by(second, PATIENCE);
}

/* What the child has used up is gone, and the second needs another; all else passes on to it by itself. */
static const char *notification_is_used_once(bool done)
{
    int err;
    bool used_up;

    if (done && step_page->out != 1)
        return "it was not notified";
    err = plait_lock_acquire(&world->lock, plait_after(PATIENCE));
    used_up = err == EOWNERDEAD || step_page->out == 1;
    if (err == EOWNERDEAD)
        err = plait_lock_consistent(&world->lock);
    if (err || plait_lock_release(&world->lock))
        return "the lock is stuck";
    if (used_up && plait_cond_notify(&world->cond, 1))
        return "notify failed";
    return waker_end_by(2 * PATIENCE) ? "the notification is lost" : cond_is_left(true);
}

/* ---- Several sleepers; an rlock ---- */

static int two_cond_helpers(void *unused)
{
    pid_t pid = child_start(cond_helper, NULL);

    return await_sleep_or_end(pid) && cond_helper(NULL) == 0 ? child_end_by(pid, PATIENCE) : 1;
}

static void notify_all(void) { step_page->out = plait_cond_notify_all(&world->cond); }

static const char *all_are_notified(bool done)
{
    if (!done && plait_cond_notify_all(&world->cond))
        return "notify failed";
    return helper_end_by(PATIENCE) ? "a sleeper was not notified" : cond_is_left(true);
}

static void fresh_cond_and_rlock(void)
{
    fresh_cond();
    if (plait_rlock_fini(&world->rlock) || plait_rlock_init(&world->rlock, PLAIT_SHARED))
        abort();
}

static void wait_a_moment_at_two_levels(void)
{
    plait_rlock_acquire(&world->rlock, PLAIT_FOREVER);
    plait_rlock_acquire(&world->rlock, PLAIT_FOREVER);
    step_page->out = plait_cond_wait(&world->cond, &world->rlock.lock, plait_after(0.001));
    if (plait_rlock_depth(&world->rlock) != 2)
        _exit(4);
    plait_rlock_release(&world->rlock);
    plait_rlock_release(&world->rlock);
}

static const char *rlock_and_cond_are_left(bool done)
{
    int err = plait_rlock_acquire(&world->rlock, plait_after(PATIENCE));

    if (done && step_page->out != ETIMEDOUT)
        return "it was notified by nobody";
    if (err == EOWNERDEAD && !done)
        err = plait_rlock_consistent(&world->rlock);
    if (err || plait_rlock_depth(&world->rlock) != 1 || plait_rlock_release(&world->rlock))
        return "the rlock is stuck";
    return cond_is_left(true);
}

/* ---- One who was notified has died before it took the lock ---- */

/* Notified while the test has the lock: so it sleeps on, for the lock, and has not left the condition when it is killed. */
static void cond_of_a_dead_notified(void)
{
    pid_t waiter;

    fresh_cond();
    plait_event_clear(&world->go);
    waiter = child_start(cond_helper, NULL);
    if (!await_sleep(waiter) || take_lock() || plait_cond_notify(&world->cond, 1))
        abort();
    child_kill(waiter);
    if (plait_lock_release(&world->lock))
        abort();
}

/* Its notification is for one of the two who came after it, and the child's (or the test's) for the other. */
static const char *heir_is_notified_too(bool done)
{
    if (!done && plait_cond_notify(&world->cond, 1))
        return "notify failed";
    return helper_end_by(PATIENCE) ? "a notification has died with its waiter" : cond_is_left(true);
}

/* The child inherits, or, if it is killed, the one who comes after it. */
static int wait_behind_child(void *unused)
{
    pid_t second = sleep_behind_child(cond_helper);

    plait_event_set(&world->go);
    return child_end_by(second, PATIENCE);
}

/* The test keeps away until the second is there to be notified. */
static const char *one_of_two_inherits(bool done)
{
    await_go();
    return notification_is_used_once(done);
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "cond wait, timed out",
      .prepare = fresh_cond, .before = take_part, .operate = wait_a_moment, .verify = cond_is_left },
    { .name = "cond notify, with a sleeper",
      .prepare = fresh_cond, .operate = notify_one, .helper = cond_helper, .verify = sleeper_is_notified },
    { .name = "cond repair",
      .prepare = cond_of_a_dead_guard, .before = take_part, .operate = notify_one, .verify = cond_is_left },
    { .name = "cond notify under the lock, with a sleeper",
      .prepare = fresh_cond, .before = take_part, .operate = notify_under_lock, .helper = cond_helper,
      .verify = sleeper_is_notified },
    { .name = "cond wait, notified before another",
      .prepare = fresh_cond, .before = take_part, .operate = wait_to_be_notified, .waker = notify_past_child,
      .verify = notification_is_used_once },
    { .name = "cond notify_all, with two sleepers",
      .prepare = fresh_cond, .before = take_part, .operate = notify_all, .helper = two_cond_helpers,
      .verify = all_are_notified },
    { .name = "cond wait on an rlock at two levels, timed out",
      .prepare = fresh_cond_and_rlock, .before = take_part, .operate = wait_a_moment_at_two_levels,
      .verify = rlock_and_cond_are_left },
    { .name = "cond notify past a dead one who was notified, with two sleepers",
      .prepare = cond_of_a_dead_notified, .before = take_part, .operate = notify_one, .helper = two_cond_helpers,
      .verify = heir_is_notified_too },
    { .name = "cond wait, as the heir of a dead one who was notified, before another",
      .prepare = cond_of_a_dead_notified, .before = take_part, .operate = wait_to_be_notified,
      .waker = wait_behind_child, .verify = one_of_two_inherits },
};

const struct step_table step_cond = { ops, sizeof ops / sizeof ops[0] };
