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

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "cancel set, with a sleeper",
      .prepare = fresh_token, .operate = set_token, .helper = token_helper, .verify = sleeper_is_cancelled },
    { .name = "cancel set_deadline, with a sleeper",
      .prepare = fresh_token, .operate = give_deadline, .helper = token_helper,
      .verify = sleeper_is_cancelled_by_deadline },
    { .name = "cancel is_set, when the time has come",
      .prepare = token_whose_time_has_come, .operate = look_at_token, .verify = token_stays_set },
};

const struct step_table step_cancel = { ops, sizeof ops / sizeof ops[0] };
