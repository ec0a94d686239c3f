/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: cancel token. */
#include "kill/world.h"

/* ---- Cancel token ---- */

static void fresh_token(void)
{
    plait_cancel_init(&world->token, PLAIT_SHARED);
    plait_cancel_init_child(&world->child, &world->token, PLAIT_SHARED);
}

static void token_whose_time_has_come(void)
{
    fresh_token();
    plait_cancel_set_deadline(&world->token, 1);
}

static void fresh_token_and_event(void)
{
    fresh_token();
    plait_event_clear(&world->go);
}

static void set_token(void)
{
    step_page->out = plait_cancel_set_code(&world->token, 5);
}

static void give_deadline(void)
{
    step_page->out = plait_cancel_set_deadline(&world->token, 1);
}

static void look_at_token(void)
{
    step_page->out = plait_cancel_is_set(&world->child);
}

/* Bound to a private child, and asleep on a private word: nothing but the chain makes it look again. */
static int token_helper(void *unused)
{
    static uint32_t word;
    plait_cancel_t own;

    if (plait_cancel_init_child(&own, &world->child, 0))
        return 2;
    plait_cancel_bind(&own);
    return plait_wait(&word, 0, 0, plait_after(PATIENCE)) == ECANCELED ? 0 : 1;
}

static const char *sleeper_is_cancelled(bool done)
{
    int code = 0;

    if (!plait_cancel_is_set(&world->child)) {
        if (done)
            return "the token is not set";
        plait_cancel_set_code(&world->token, 5);
    }
    if (helper_end_by(PATIENCE) != 0)
        return "the sleeper was not cancelled";
    return plait_cancel_reason(&world->child, &code, NULL) == ECANCELED && code == 5 ? checked() : "the code is wrong";
}

static const char *token_stays_set(bool done)
{
    if (plait_cancel_set_deadline(&world->token, PLAIT_FOREVER) != ECANCELED)
        return "the deadline was taken back";
    return plait_cancel_reason(&world->child, NULL, NULL) == ETIMEDOUT ? checked() : "the reason is wrong";
}

static const char *sleeper_is_cancelled_by_deadline(bool done)
{
    if (!plait_cancel_is_set(&world->child)) {
        if (done)
            return "the deadline was not given";
        plait_cancel_set_deadline(&world->token, 1);
    }
    if (helper_end_by(PATIENCE) != 0)
        return "the sleeper was not cancelled";
    return token_stays_set(done);
}

/* ---- Sleepers that are bound to the child itself, or wait for it ---- */

static int bound_helper(void *unused)
{
    plait_cancel_bind(&world->child);
    return plait_event_wait(&world->go, plait_after(PATIENCE)) == ECANCELED ? 0 : 1;
}

static int cancel_wait_helper(void *unused) { return plait_cancel_wait(&world->child, plait_after(PATIENCE)); }

static void wait_for_token(void) { step_page->out = plait_cancel_wait(&world->child, PLAIT_FOREVER); }
static void wait_for_token_in_vain(void) { step_page->out = plait_cancel_wait(&world->child, plait_after(MOMENT)); }

static void wait_for_deadline(void)
{
    plait_cancel_set_deadline(&world->token, plait_after(MOMENT));
    wait_for_token();
}

/* What the child is bound to, for itself. */
static plait_cancel_t own_token;

static void bind_own_token(void)
{
    take_part();
    if (plait_cancel_init(&own_token, 0) || plait_cancel_bind(&own_token))
        _exit(3);
}

static void wait_until_cancelled(void)
{
    plait_cancel_set_deadline(&own_token, plait_after(MOMENT));
    wait_for_token();
}

static const char *token_is_not_set(bool done, int answer)
{
    if (done && step_page->out != answer)
        return "the wait ended otherwise";
    return plait_cancel_is_set(&world->token) || plait_cancel_is_set(&world->child) ? "it was set by nobody"
                                                                                   : sleeper_is_cancelled(false);
}

static const char *sleeper_beside_is_cancelled(bool done) { return token_is_not_set(done, ETIMEDOUT); }
static const char *token_is_left_alone(bool done) { return token_is_not_set(done, ECANCELED); }

static int set_token_for_two(void *unused)
{
    pid_t second = sleep_behind_child(cancel_wait_helper);

    return second < 0 || plait_cancel_set_code(&world->token, 5) || child_end_by(second, PATIENCE);
}

static const char *second_is_cancelled_too(bool done)
{
    int code = 0;

    if (waker_end_by(2 * PATIENCE))
        return "the second sleeper was not woken";
    if (done && step_page->out)
        return "the wait failed";
    return plait_cancel_reason(&world->child, &code, NULL) == ECANCELED && code == 5 ? checked() : "the code is wrong";
}

/* The time may not have been given, or not have come. */
static const char *sleeper_finds_the_time_come(bool done)
{
    if (done && (step_page->out || !plait_cancel_is_set(&world->child)))
        return "the time did not come";
    if (!done)
        plait_cancel_set_deadline(&world->token, 1);
    if (helper_end_by(PATIENCE))
        return "the sleeper was not cancelled";
    return token_stays_set(done);
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "cancel set, with a sleeper",
      .prepare = fresh_token, .operate = set_token, .helper = token_helper, .verify = sleeper_is_cancelled },
    { .name = "cancel set_deadline, with a sleeper",
      .prepare = fresh_token, .operate = give_deadline, .helper = token_helper,
      .verify = sleeper_is_cancelled_by_deadline },
    { .name = "cancel is_set, when the time has come",
      .prepare = token_whose_time_has_come, .operate = look_at_token, .verify = token_stays_set },
    { .name = "cancel set of a parent, with a sleeper bound to the child",
      .prepare = fresh_token_and_event, .operate = set_token, .helper = bound_helper, .verify = sleeper_is_cancelled },
    { .name = "cancel set of a parent, with one who waits for the child",
      .prepare = fresh_token, .operate = set_token, .helper = cancel_wait_helper, .verify = sleeper_is_cancelled },
    { .name = "cancel wait, in vain, beside a sleeper",
      .prepare = fresh_token_and_event, .before = take_part, .operate = wait_for_token_in_vain, .helper = bound_helper,
      .verify = sleeper_beside_is_cancelled },
    { .name = "cancel wait, cut short by a token, beside a sleeper",
      .prepare = fresh_token, .before = bind_own_token, .operate = wait_until_cancelled, .helper = cancel_wait_helper,
      .verify = token_is_left_alone },
    { .name = "cancel wait, as the one woken, before a sleeper",
      .prepare = fresh_token, .before = take_part, .operate = wait_for_token, .waker = set_token_for_two,
      .verify = second_is_cancelled_too },
    { .name = "cancel wait, until a deadline, beside a sleeper",
      .prepare = fresh_token, .before = take_part, .operate = wait_for_deadline, .helper = cancel_wait_helper,
      .verify = sleeper_finds_the_time_come },
};

const struct step_table step_cancel = { ops, sizeof ops / sizeof ops[0] };
