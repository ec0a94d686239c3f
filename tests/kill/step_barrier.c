/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: barrier. */
#include "kill/world.h"

/* ---- Barrier of two: the child, which is known as a party, and the helper or the test ---- */

static void fresh_barrier_of(unsigned parties)
{
    plait_barrier_fini(&world->barrier);
    if (plait_barrier_init(&world->barrier, parties, PLAIT_SHARED))
        abort();
    used_before = used();
}

static void fresh_barrier(void) { fresh_barrier_of(2); }
static void fresh_barrier_of_three(void) { fresh_barrier_of(3); }
static void fresh_barrier_of_four(void) { fresh_barrier_of(4); }

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

/* ---- Three parties: the helper sleeps, and the third comes, or comes not ---- */

static int third_party(void *unused)
{
    await_child();
    return barrier_helper(NULL);
}

/* Both pass, or both are told of the death: a round is complete or broken, to all alike. */
static const char *two_pass_or_are_told(bool done)
{
    int third = waker_end_by(2 * PATIENCE), err = helper_end_by(PATIENCE);

    if (third != err || (err != 0 && err != EOWNERDEAD))
        return "two parties are not told the same";
    if (done && (err || step_page->out))
        return "a complete round was not passed";
    return barrier_is_whole_again();
}

static const char *sleeper_is_told_why(bool done)
{
    int err;

    if (done && step_page->out != ETIMEDOUT)
        return "it passed without the others";
    err = helper_end_by(PATIENCE);
    if (err != EPIPE && (err != EOWNERDEAD || done))
        return "the sleeper was not told why";
    return barrier_is_whole_again();
}

/* ---- After a death: a party was killed in its sleep; with three more it would be complete ---- */

static void barrier_with_a_dead_party(void)
{
    pid_t party;

    fresh_barrier_of_four();
    party = child_start(barrier_helper, NULL);
    if (!await_sleep(party))
        abort();
    child_kill(party);
}

static void try_to_pass_barrier(void)
{
    step_page->out = plait_barrier_wait(&world->barrier, NULL, PLAIT_NOW);
}

static void end_barrier(void)
{
    step_page->out = plait_barrier_fini(&world->barrier);
}

/* By the child, or by itself after a slice. */
static const char *sleeper_is_told_of_death(bool done)
{
    if (done && step_page->out != EOWNERDEAD)
        return "the death was not told";
    if (helper_end_by(PATIENCE) != EOWNERDEAD)
        return "the sleeper was not told of the death";
    return barrier_is_whole_again();
}

/* By the reset (EPIPE), or by the death that it found itself. */
static const char *reset_lets_sleeper_go(bool done)
{
    int err = helper_end_by(PATIENCE);

    if (err != EPIPE && err != EOWNERDEAD)
        return "who waited was not let go";
    if (done && (plait_barrier_is_broken(&world->barrier) || plait_barrier_waiting(&world->barrier) != 0))
        return "it is not whole";
    return barrier_is_whole_again();
}

static const char *death_is_found_after_a_slice(bool done)
{
    return done && step_page->out != EOWNERDEAD ? "the death was not told" : barrier_breaks(done);
}

static const char *barrier_can_be_ended(bool done)
{
    if (done && step_page->out)
        return "the dead still waits";
    if (plait_barrier_fini(&world->barrier))
        return "it cannot be ended";
    return used() == used_before ? checked() : "memory is lost";
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
    { .name = "barrier wait, as the one woken, beside a sleeper",
      .prepare = fresh_barrier_of_three, .before = be_a_party, .operate = pass_barrier, .helper = barrier_helper,
      .waker = third_party, .verify = two_pass_or_are_told },
    { .name = "barrier wait, in vain, beside a sleeper",
      .prepare = fresh_barrier_of_three, .before = be_a_party, .operate = pass_barrier_in_vain,
      .helper = barrier_helper, .verify = sleeper_is_told_why },
    { .name = "barrier reset after a death, with a sleeper",
      .prepare = barrier_with_a_dead_party, .before = take_part, .operate = reset_barrier, .helper = barrier_helper,
      .helper_may_end = true, .verify = reset_lets_sleeper_go },
    { .name = "barrier try that finds a death, with a sleeper",
      .prepare = barrier_with_a_dead_party, .before = take_part, .operate = try_to_pass_barrier,
      .helper = barrier_helper, .helper_may_end = true, .verify = sleeper_is_told_of_death },
    { .name = "barrier wait that finds a death after a slice",
      .prepare = barrier_with_a_dead_party, .before = take_part, .operate = pass_barrier,
      .verify = death_is_found_after_a_slice },
    { .name = "barrier fini after a death",
      .prepare = barrier_with_a_dead_party, .before = take_part, .operate = end_barrier,
      .verify = barrier_can_be_ended },
};

const struct step_table step_barrier = { ops, sizeof ops / sizeof ops[0] };
