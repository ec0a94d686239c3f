/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: event, and what is built like it: once, latch, wait group. */
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

/* ---- Event ---- */

static void fresh_event(void)
{
    plait_event_init(&world->event, PLAIT_SHARED);
    plait_event_clear(&world->go);
}

static void event_that_is_set(void)
{
    fresh_event();
    plait_event_set(&world->event);
}

static void set_event(void) { step_page->out = plait_event_set(&world->event); }
static void clear_event(void) { step_page->out = plait_event_clear(&world->event); }
static void wait_for_event(void) { step_page->out = plait_event_wait(&world->event, PLAIT_FOREVER); }
static void wait_for_event_in_vain(void) { step_page->out = plait_event_wait(&world->event, plait_after(MOMENT)); }
static int event_helper(void *unused) { return plait_event_wait(&world->event, plait_after(PATIENCE)); }

static void wait_for_any_event(void)
{
    const struct plait_wait_entry entries[] = { plait_any_sem_acquire(&world->sem, 1), plait_any_event_wait(&world->event) };

    step_page->out = plait_wait_any(entries, 2, NULL, PLAIT_FOREVER);
}

static const char *event_goes_on(void)
{
    plait_event_clear(&world->event);
    if (plait_event_wait(&world->event, PLAIT_NOW) != ETIMEDOUT)
        return "it cannot be cleared";
    plait_event_set(&world->event);
    return plait_event_wait(&world->event, PLAIT_NOW) ? "it cannot be set" : checked();
}

static const char *event_is_set_or_not(bool done)
{
    if (done && !plait_event_is_set(&world->event))
        return "it is not set";
    plait_event_set(&world->event);
    return helper_end_by(PATIENCE) ? "the sleeper was not woken" : event_goes_on();
}

static const char *event_is_clear_or_not(bool done)
{
    return done && plait_event_is_set(&world->event) ? "it is not clear" : event_goes_on();
}

static const char *sleeper_beside_is_woken(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "it was woken by nobody";
    return event_is_set_or_not(false);
}

/* Set and cleared again: whoever slept has seen it, the second sleeper too. */
static int pulse_event(void *unused)
{
    pid_t second = sleep_behind_child(event_helper);

    plait_event_set(&world->event);
    plait_event_clear(&world->event);
    return child_end_by(second, PATIENCE);
}

static const char *second_saw_the_event(bool done)
{
    if (!others_end_well())
        return "the second sleeper missed it";
    return done && step_page->out ? "the wait failed" : event_goes_on();
}

/* ---- Sleepers of once, latch and wait group that give up or are woken ---- */

static int once_holder(void *unused)
{
    begin_once();
    await_go();
    return plait_rlock_release(&world->once.running); /* without success: who comes next does it */
}

static void once_to_be_let_go(void)
{
    fresh_once();
    plait_event_clear(&world->go);
}

static void run_once_in_vain(void)
{
    step_page->out = plait_once_run(&world->once, make_pair, NULL, plait_after(MOMENT));
}

static void once_held_by_the_test(void)
{
    fresh_once();
    begin_once();
}

static const char *sleeper_beside_does_it(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "it was run beside the one who runs it";
    if (plait_rlock_release(&world->once.running))
        return "the test does not run it any more";
    return waiter_does_it(false);
}

static int fail_once_before_two(void *unused) { return let_holder_go_before(once_helper); }

static const char *second_finds_it_done(bool done)
{
    return others_end_well() ? once_is_done_by_the_next(done) : "it was left undone";
}

static void latch_of_two(void)
{
    if (plait_latch_init(&world->latch, 2, PLAIT_SHARED))
        abort();
}

static void wait_for_latch(void) { step_page->out = plait_latch_wait(&world->latch, PLAIT_FOREVER); }
static void wait_for_latch_in_vain(void) { step_page->out = plait_latch_wait(&world->latch, plait_after(MOMENT)); }

static void wait_for_any_latch(void)
{
    const struct plait_wait_entry entries[] = { plait_any_sem_acquire(&world->sem, 1), plait_any_latch_wait(&world->latch) };

    step_page->out = plait_wait_any(entries, 2, NULL, PLAIT_FOREVER);
}

static int open_latch(void *unused)
{
    pid_t second = sleep_behind_child(latch_helper);

    return plait_latch_count_down(&world->latch, 1) || child_end_by(second, PATIENCE);
}

static const char *latch_is_open(bool done)
{
    if (!others_end_well())
        return "the second sleeper was not let through";
    if (done && step_page->out)
        return "the wait failed";
    return plait_latch_count(&world->latch) == 0 ? checked() : "the count is wrong";
}

static const char *latch_of_one_is_left(bool done)
{
    if (plait_latch_count(&world->latch) != 1 || (done && step_page->out != ETIMEDOUT))
        return "it was let through by nobody";
    return latch_lets_sleeper_through(false);
}

static const char *latch_counts_down_or_not(bool done)
{
    unsigned left = plait_latch_count(&world->latch);

    if (left != 1 && (left != 2 || done))
        return "the count is wrong";
    plait_latch_count_down(&world->latch, left);
    return helper_end_by(PATIENCE) ? "the sleeper was not let through" : checked();
}

static void add_to_group(void) { step_page->out = plait_wait_group_add(&world->group, 2); }
static void wait_for_group(void) { step_page->out = plait_wait_group_wait(&world->group, PLAIT_FOREVER); }
static void wait_for_group_in_vain(void) { step_page->out = plait_wait_group_wait(&world->group, plait_after(MOMENT)); }

static const char *group_has_more_or_not(bool done)
{
    unsigned left = plait_wait_group_count(&world->group);

    if (left != 3 && (left != 1 || done))
        return "the count is wrong";
    while (left--)
        if (plait_wait_group_done(&world->group))
            return "done failed";
    return helper_end_by(PATIENCE) ? "the sleeper was not woken" : checked();
}

static const char *group_of_one_is_left(bool done)
{
    if (plait_wait_group_count(&world->group) != 1 || (done && step_page->out != ETIMEDOUT))
        return "it was let go by nobody";
    return group_lets_sleeper_go(false);
}

/* Done, and more to do at once: both who slept have seen the end of the first round. */
static int end_round(void *unused)
{
    pid_t second = sleep_behind_child(group_helper);

    return plait_wait_group_done(&world->group) || plait_wait_group_add(&world->group, 1) || child_end_by(second, PATIENCE);
}

static const char *second_saw_the_end(bool done)
{
    if (!others_end_well())
        return "the second sleeper missed it";
    if (done && step_page->out)
        return "the wait failed";
    return plait_wait_group_count(&world->group) == 1 ? checked() : "the count is wrong";
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
    { .name = "once run, in vain, beside a sleeper",
      .prepare = once_held_by_the_test, .before = take_part, .operate = run_once_in_vain, .helper = once_helper,
      .verify = sleeper_beside_does_it },
    { .name = "once run, as the one woken, before a sleeper",
      .prepare = once_to_be_let_go, .before = take_part, .operate = run_once, .helper = once_holder,
      .waker = fail_once_before_two, .verify = second_finds_it_done },
    { .name = "latch count_down, not the last, with a sleeper",
      .prepare = latch_of_two, .operate = count_down, .helper = latch_helper, .verify = latch_counts_down_or_not },
    { .name = "latch wait, in vain, beside a sleeper",
      .prepare = latch_of_one, .before = take_part, .operate = wait_for_latch_in_vain, .helper = latch_helper,
      .verify = latch_of_one_is_left },
    { .name = "latch wait, as the one woken, before a sleeper",
      .prepare = latch_of_one, .before = take_part, .operate = wait_for_latch, .waker = open_latch, .verify = latch_is_open },
    { .name = "latch wait by wait_any, woken, before a sleeper",
      .prepare = latch_of_one, .before = take_part, .operate = wait_for_any_latch, .waker = open_latch,
      .verify = latch_is_open },
    { .name = "wait group add, with a sleeper",
      .prepare = group_of_one, .operate = add_to_group, .helper = group_helper, .verify = group_has_more_or_not },
    { .name = "wait group wait, in vain, beside a sleeper",
      .prepare = group_of_one, .before = take_part, .operate = wait_for_group_in_vain, .helper = group_helper,
      .verify = group_of_one_is_left },
    { .name = "wait group wait, as the one woken, before a sleeper",
      .prepare = group_of_one, .before = take_part, .operate = wait_for_group, .waker = end_round,
      .verify = second_saw_the_end },
    { .name = "event set, with a sleeper",
      .prepare = fresh_event, .operate = set_event, .helper = event_helper, .verify = event_is_set_or_not },
    { .name = "event clear",
      .prepare = event_that_is_set, .operate = clear_event, .verify = event_is_clear_or_not },
    { .name = "event wait, in vain, beside a sleeper",
      .prepare = fresh_event, .before = take_part, .operate = wait_for_event_in_vain, .helper = event_helper,
      .verify = sleeper_beside_is_woken },
    { .name = "event wait, as the one woken, before a sleeper",
      .prepare = fresh_event, .before = take_part, .operate = wait_for_event, .waker = pulse_event,
      .verify = second_saw_the_event },
    { .name = "event wait by wait_any, set already",
      .prepare = event_that_is_set, .before = take_part, .operate = wait_for_any_event, .verify = event_is_set_or_not },
};

const struct step_table step_once = { ops, sizeof ops / sizeof ops[0] };
