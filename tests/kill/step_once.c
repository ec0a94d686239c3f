/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: once, latch, wait group. */
#include "kill/world.h"

/* ---- Once, latch, wait group ---- */

static void fresh_once(void)
{
    if (plait_once_init(&world->once, PLAIT_SHARED))
        abort();
    world->a = world->b = 0;
}

static int make_pair(void *unused)
{
    world->a = world->b + 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    world->b = world->a;
    return 0;
}

static void run_once(void)
{
    step_page->out = plait_once_run(&world->once, make_pair, NULL, PLAIT_FOREVER);
}

static const char *once_is_done_by_the_next(bool done)
{
    if (done && !plait_once_is_done(&world->once))
        return "what was done is not done";
    if (plait_once_run(&world->once, make_pair, NULL, plait_after(PATIENCE)))
        return "run failed";
    if (!plait_once_is_done(&world->once) || world->a != world->b || plait_once_fini(&world->once))
        return "it is not done";
    return checked();
}

static int once_helper(void *unused)
{
    return plait_once_run(&world->once, make_pair, NULL, plait_after(PATIENCE));
}

/* The child has entered; the helper waits for it. */
static void begin_once(void)
{
    plait_rlock_acquire(&world->once.running, PLAIT_FOREVER);
}

static void end_once(void)
{
    make_pair(NULL);
    plait_event_set(&world->once.done);
    plait_rlock_release(&world->once.running);
}

static const char *waiter_does_it(bool done)
{
    return helper_end_by(PATIENCE) ? "who waited for the runner hangs" : once_is_done_by_the_next(done);
}

static void latch_of_one(void)
{
    if (plait_latch_init(&world->latch, 1, PLAIT_SHARED))
        abort();
}

static void count_down(void)
{
    step_page->out = plait_latch_count_down(&world->latch, 1);
}

static int latch_helper(void *unused)
{
    return plait_latch_wait(&world->latch, plait_after(PATIENCE));
}

static const char *latch_lets_sleeper_through(bool done)
{
    unsigned left = plait_latch_count(&world->latch);

    if (left > 1 || (done && left > 0) || (left == 1 && plait_latch_count_down(&world->latch, 1)))
        return "the count is wrong";
    return helper_end_by(PATIENCE) ? "the sleeper was not let through" : checked();
}

static void group_of_one(void)
{
    if (plait_wait_group_init(&world->group, PLAIT_SHARED) || plait_wait_group_add(&world->group, 1))
        abort();
}

static void be_done(void)
{
    step_page->out = plait_wait_group_done(&world->group);
}

static int group_helper(void *unused)
{
    return plait_wait_group_wait(&world->group, plait_after(PATIENCE));
}

static const char *group_lets_sleeper_go(bool done)
{
    unsigned left = plait_wait_group_count(&world->group);

    if (left > 1 || (done && left > 0) || (left == 1 && plait_wait_group_done(&world->group)))
        return "the count is wrong";
    return helper_end_by(PATIENCE) ? "the sleeper was not woken" : checked();
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "once run",
      .prepare = fresh_once, .before = take_part, .operate = run_once, .verify = once_is_done_by_the_next },
    { .name = "once, end of a run, with a sleeper",
      .prepare = fresh_once, .before = begin_once, .operate = end_once, .helper = once_helper, .verify = waiter_does_it },
    { .name = "latch count_down, with a sleeper",
      .prepare = latch_of_one, .operate = count_down, .helper = latch_helper, .verify = latch_lets_sleeper_through },
    { .name = "wait group done, with a sleeper",
      .prepare = group_of_one, .operate = be_done, .helper = group_helper, .verify = group_lets_sleeper_go },
};

const struct step_table step_once = { ops, sizeof ops / sizeof ops[0] };
