/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: barrier. */
#include "kill/world.h"

/* ---- Barrier of two: the child, which is known as a party, and the helper or the test ---- */

static void fresh_barrier(void)
{
    plait_barrier_fini(&world->barrier);
    if (plait_barrier_init(&world->barrier, 2, PLAIT_SHARED))
        abort();
    used_before = used();
}

static void be_a_party(void)
{
    if (plait_barrier_wait(&world->barrier, NULL, PLAIT_NOW) != ETIMEDOUT)
        _exit(3);
}

static void pass_barrier(void)
{
    step_page->out = plait_barrier_wait(&world->barrier, NULL, PLAIT_FOREVER);
}

static int count_a(void *unused)
{
    world->a++;
    return 0;
}

static void pass_barrier_with_action(void)
{
    step_page->out = plait_barrier_wait_then(&world->barrier, count_a, NULL, NULL, PLAIT_FOREVER);
}

static void pass_barrier_in_vain(void)
{
    step_page->out = plait_barrier_wait(&world->barrier, NULL, plait_after(0.05));
}

static void reset_barrier(void)
{
    plait_barrier_reset(&world->barrier);
}

static void abort_barrier(void)
{
    plait_barrier_abort(&world->barrier);
}

static int barrier_helper(void *unused)
{
    return plait_barrier_wait(&world->barrier, NULL, plait_after(PATIENCE));
}

/* After a reset it is whole, the dead do not count, and nothing of them is left. */
static const char *barrier_is_whole_again(void)
{
    world->b = world->a;
    if (plait_barrier_reset(&world->barrier) || plait_barrier_waiting(&world->barrier) != 0)
        return "the reset failed";
    if (plait_barrier_wait(&world->barrier, NULL, PLAIT_NOW) != ETIMEDOUT)
        return "it is broken after a reset, or the dead counts";
    if (plait_barrier_fini(&world->barrier))
        return "somebody still waits";
    return used() == used_before ? checked() : "memory is lost";
}

static const char *party_passes_or_is_told(bool done)
{
    int err = helper_end_by(PATIENCE);

    if (err != 0 && (err != EOWNERDEAD || done))
        return "the other party did not pass, or was not told why";
    return barrier_is_whole_again();
}

static const char *barrier_breaks(bool done)
{
    int err = plait_barrier_wait(&world->barrier, NULL, plait_after(PATIENCE));

    if (err == 0) /* it had arrived, and was killed then */
        err = plait_barrier_wait(&world->barrier, NULL, plait_after(PATIENCE));
    if (err != EOWNERDEAD && err != EPIPE)
        return "the death was not told";
    return barrier_is_whole_again();
}

static const char *parties_are_let_go(bool done)
{
    if (!done)
        plait_barrier_abort(&world->barrier);
    if (helper_end_by(PATIENCE) == ETIMEDOUT)
        return "who waited was not let go";
    return barrier_is_whole_again();
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "barrier wait, as the last",
      .prepare = fresh_barrier, .before = be_a_party, .operate = pass_barrier, .helper = barrier_helper,
      .verify = party_passes_or_is_told },
    { .name = "barrier wait, as the last, with an action",
      .prepare = fresh_barrier, .before = be_a_party, .operate = pass_barrier_with_action, .helper = barrier_helper,
      .verify = party_passes_or_is_told },
    { .name = "barrier wait, in vain",
      .prepare = fresh_barrier, .before = be_a_party, .operate = pass_barrier_in_vain, .verify = barrier_breaks },
    { .name = "barrier abort, with a sleeper",
      .prepare = fresh_barrier, .before = be_a_party, .operate = abort_barrier, .helper = barrier_helper,
      .verify = parties_are_let_go },
    { .name = "barrier reset, with a sleeper",
      .prepare = fresh_barrier, .before = be_a_party, .operate = reset_barrier, .helper = barrier_helper,
      .verify = parties_are_let_go },
};

const struct step_table step_barrier = { ops, sizeof ops / sizeof ops[0] };
