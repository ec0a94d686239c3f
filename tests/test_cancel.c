/* SPDX-License-Identifier: MIT */
/* Tests of plait/cancel.h: chains, deadlines, reasons, and waiting for a token. test_cancel_calls tries every call. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <plait.h>

#include "base/clock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/refuse.h"
#include "support/stage.h"

enum { NR_FUTEX_WAITV = 449, DEPTH = PLAIT_CANCEL_DEPTH_MAX, MEMBERS = 4 };

/* What a case's workers share. */
struct scene {
    uint32_t words[PLAIT_WAIT_MANY_MAX];
    plait_cancel_t chain[DEPTH + 1]; /* each the child of the one before */
    plait_cancel_t member[MEMBERS];  /* children of chain[0] */
    plait_time_t deadline;
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    for (int i = 0; i < DEPTH; i++)
        assert_int_equal(plait_cancel_init_child(&scene->chain[i], i ? &scene->chain[i - 1] : NULL, stage->flags), 0);
    for (int i = 0; i < MEMBERS; i++)
        assert_int_equal(plait_cancel_init_child(&scene->member[i], &scene->chain[0], stage->flags), 0);
    return scene;
}

/* A wait that nothing but the token or the deadline ends. */
static int wait_bound_to(plait_cancel_t *token, struct scene *scene, unsigned flags, plait_time_t deadline)
{
    plait_cancel_t *before = plait_cancel_bind(token);
    int err;

    do
        err = plait_wait(&scene->words[0], 0, flags, deadline);
    while (err == 0);
    plait_cancel_bind(before);
    return err;
}

/* ---- Chains ----------------------------------------------------------------------------- */

static void child_of_a_set_parent_is_set(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < DEPTH; i++)
        assert_false(plait_cancel_is_set(&scene->chain[i]));
    assert_int_equal(plait_cancel_set(&scene->chain[3]), 0);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(plait_cancel_is_set(&scene->chain[i]), i >= 3);
        assert_int_equal(wait_bound_to(&scene->chain[i], scene, stage->flags, PLAIT_NOW),
                         i >= 3 ? ECANCELED : ETIMEDOUT);
    }
    assert_false(plait_cancel_is_set(&scene->member[0]));
}

static void child_set_leaves_parent_and_siblings_alone(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_cancel_set(&scene->member[1]), 0);
    assert_false(plait_cancel_is_set(&scene->chain[0]));
    for (int i = 0; i < MEMBERS; i++)
        assert_int_equal(wait_bound_to(&scene->member[i], scene, stage->flags, plait_after(0.001)),
                         i == 1 ? ECANCELED : ETIMEDOUT);
    assert_int_equal(plait_cancel_fini(&scene->member[1]), 0);
}

static void child_of_a_set_parent_is_born_set(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    plait_cancel_set(&scene->chain[0]);
    assert_int_equal(plait_cancel_init_child(&scene->member[0], &scene->chain[0], stage->flags), 0);
    assert_true(plait_cancel_is_set(&scene->member[0]));
}

static void child_without_parent_is_a_plain_token(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    plait_cancel_t *t = &scene->member[0];

    assert_int_equal(plait_cancel_init_child(t, NULL, stage->flags), 0);
    plait_cancel_set(&scene->chain[0]);
    assert_false(plait_cancel_is_set(t));
    plait_cancel_set(t);
    assert_true(plait_cancel_is_set(t));
}

static void chain_too_long_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    memset(&scene->chain[DEPTH], 0xa5, sizeof(plait_cancel_t));
    assert_int_equal(plait_cancel_init_child(&scene->chain[DEPTH], &scene->chain[DEPTH - 1], stage->flags), EOVERFLOW);
    assert_int_equal(scene->chain[DEPTH].word, 0xa5a5a5a5u);
}

static void child_in_a_wrong_place_is_refused(void **state)
{
    struct stage *stage = *state;
    plait_cancel_t *shared = stage_alloc(stage, 3 * sizeof *shared), *elsewhere, on_stack;
    plait_arena_t *other;

    assert_int_equal(plait_arena_new(&other, &(struct plait_arena_opts){ .limit = 1u << 20 }), 0);
    assert_int_equal(plait_arena_alloc(other, sizeof *elsewhere, (void **)&elsewhere), 0);
    assert_int_equal(plait_cancel_init(elsewhere, PLAIT_SHARED), 0);
    assert_int_equal(plait_cancel_init(&shared[0], PLAIT_SHARED), 0);
    assert_int_equal(plait_cancel_init(&shared[1], 0), 0); /* lies in the arena, and is private all the same */
    assert_int_equal(plait_cancel_init(&on_stack, 0), 0);

    assert_int_equal(plait_cancel_init_child(&shared[2], elsewhere, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_cancel_init_child(&shared[2], &shared[1], PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_cancel_init_child(&shared[2], &on_stack, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_cancel_init_child(&shared[2], &shared[2], PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_cancel_init_child(&shared[2], &shared[0], PLAIT_SHARED | PLAIT_BOUNDED), EINVAL);
    assert_int_equal(plait_cancel_init_child(&shared[2], &shared[0], 1u << 24), EINVAL);
    assert_int_equal(plait_cancel_init_child(NULL, &shared[0], 0), EINVAL);
    assert_int_equal(plait_cancel_init_child(&on_stack, elsewhere, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_cancel_init_child(&shared[2], &shared[0], PLAIT_SHARED), 0);
    assert_int_equal(plait_cancel_init_child(&on_stack, elsewhere, 0), 0);
    plait_cancel_set(elsewhere);
    assert_true(plait_cancel_is_set(&on_stack));
    assert_int_equal(plait_arena_free(other), 0);
}

static void wait_at_the_leaf(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = wait_bound_to(&scene->chain[DEPTH - 1], scene, self->stage->flags, PLAIT_FOREVER);
}

static void waits_end_whichever_token_of_the_chain_is_set(void **state)
{
    struct stage *stage = *state;

    for (int i = 0; i < DEPTH; i++) {
        struct scene *scene = scene_of(stage);
        struct worker *w = worker_start(stage, wait_at_the_leaf, scene);

        assert_true(worker_sleeps(w, 1));
        plait_cancel_set(&scene->chain[i]);
        assert_int_equal(worker_result(w), ECANCELED);
    }
}

/* Bound to a private token of its own whose parent is the group. */
static void wait_with_private_child(struct worker *self)
{
    struct scene *scene = self->with;
    plait_cancel_t own;

    if (plait_cancel_init_child(&own, &scene->member[self->number % MEMBERS], 0) != 0)
        return;
    worker_says(self, 1);
    self->result = wait_bound_to(&own, scene, self->stage->flags, PLAIT_FOREVER);
}

static void group_ends_the_waits_of_all_members(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 2 * MEMBERS; i++)
        assert_non_null(worker_start(stage, wait_with_private_child, scene));
    for (int i = 0; i < 2 * MEMBERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    plait_cancel_set(&scene->member[2]);
    assert_int_equal(worker_result(&stage->workers[2]), ECANCELED);
    assert_int_equal(worker_result(&stage->workers[2 + MEMBERS]), ECANCELED);
    assert_true(worker_sleeps(&stage->workers[3], 1));
    plait_cancel_set(&scene->chain[0]);
    for (int i = 0; i < 2 * MEMBERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), ECANCELED);
}

static void wait_for_many_words(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_word vector[PLAIT_WAIT_MANY_MAX];
    size_t index = 777;

    for (size_t i = 0; i < PLAIT_WAIT_MANY_MAX; i++)
        vector[i] = (struct plait_wait_word){ &scene->words[i], 0, self->stage->flags };
    plait_cancel_bind(&scene->chain[DEPTH - 1]);
    worker_says(self, 1);
    self->result = plait_wait_many(vector, PLAIT_WAIT_MANY_MAX, &index, PLAIT_FOREVER);
    self->took = (plait_time_t)index;
}

static void longest_chain_fits_beside_the_most_words(void **state)
{
    struct stage *stage = *state;

    for (int ended_by_root = 0; ended_by_root < 2; ended_by_root++) {
        struct scene *scene = scene_of(stage);
        struct worker *w = worker_start(stage, wait_for_many_words, scene);

        assert_true(worker_sleeps(w, 1));
        if (ended_by_root)
            plait_cancel_set(&scene->chain[0]);
        else {
            __atomic_store_n(&scene->words[PLAIT_WAIT_MANY_MAX - 1], 1, __ATOMIC_RELEASE);
            plait_wake(&scene->words[PLAIT_WAIT_MANY_MAX - 1], 1, stage->flags);
        }
        assert_int_equal(worker_result(w), ended_by_root ? ECANCELED : 0);
        assert_int_equal(w->took, ended_by_root ? PLAIT_WAIT_MANY_MAX : PLAIT_WAIT_MANY_MAX - 1);
    }
}

static void wait_for_a_private_word(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = wait_bound_to(&scene->member[0], scene, 0, PLAIT_FOREVER);
}

/* As if it had been killed; waits for private words are not sliced by those who make them. */
static void wait_notices_a_canceller_that_died_before_its_wake(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, wait_for_a_private_word, scene);
    plait_time_t start;

    assert_true(worker_sleeps(w, 1));
    start = plait_now();
    __atomic_store_n(&scene->chain[0].word, 1, __ATOMIC_RELEASE);
    assert_int_equal(worker_result(w), ECANCELED);
    assert_true(plait_now() - start < 10 * PLAIT__SECOND); /* the contract says one; the machine may be busy */
}

static void chain_survives_the_death_of_a_members_owner(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 2; i++)
        assert_true(worker_sleeps(worker_start(stage, wait_with_private_child, scene), 1));
    worker_kill(&stage->workers[0]);
    plait_cancel_set(&scene->chain[0]);
    assert_int_equal(worker_result(&stage->workers[1]), ECANCELED);
    assert_true(plait_cancel_is_set(&scene->member[0]));
}

/* ---- Fork ------------------------------------------------------------------------------- */

static plait_cancel_t *fork_shared;
static plait_cancel_t fork_private;

/* A child has the binding of its parent: to a copy of a private token, and through it to the shared one itself. */
static int wait_in_forked_child(void *word)
{
    if (plait_cancel_current() != &fork_private) /* whether it is set already depends on how late this child is */
        return 1;
    return plait_wait(word, 0, 0, plait_after(20)) == ECANCELED && plait_cancel_is_set(&fork_private) ? 0 : 2;
}

static void forked_child_obeys_the_shared_parent_of_its_private_token(void **state)
{
    struct stage *stage = *state;
    uint32_t word = 0;
    pid_t pid;

    fork_shared = stage_alloc(stage, sizeof *fork_shared);
    assert_int_equal(plait_cancel_init(fork_shared, PLAIT_SHARED), 0);
    assert_int_equal(plait_cancel_init_child(&fork_private, fork_shared, 0), 0);
    plait_cancel_bind(&fork_private);
    pid = child_start(wait_in_forked_child, &word);
    plait_cancel_bind(NULL);
    plait_cancel_set(&fork_private); /* the parent's copy alone */
    plait_sleep(0.01);               /* not to order anything: to give it the time to be wrong */
    plait_cancel_set(fork_shared);
    assert_int_equal(child_end(pid), 0);
}

/* ---- Reasons ---------------------------------------------------------------------------- */

static void reason_tells_code_and_token(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    const plait_cancel_t *source = &scene->member[0];
    int code = 77;

    assert_int_equal(plait_cancel_reason(&scene->chain[4], &code, &source), 0);
    assert_int_equal(code, 0);
    assert_null(source);
    assert_int_equal(plait_cancel_set_code(&scene->chain[1], PLAIT_CANCEL_CODE_MAX), 0);
    assert_int_equal(plait_cancel_reason(&scene->chain[4], &code, &source), ECANCELED);
    assert_int_equal(code, PLAIT_CANCEL_CODE_MAX);
    assert_ptr_equal(source, &scene->chain[1]);
    assert_int_equal(plait_cancel_reason(&scene->chain[4], NULL, NULL), ECANCELED);
    assert_int_equal(plait_cancel_set_code(&scene->chain[3], 5), 0); /* nearer */
    assert_int_equal(plait_cancel_reason(&scene->chain[4], &code, &source), ECANCELED);
    assert_int_equal(code, 5);
    assert_ptr_equal(source, &scene->chain[3]);
}

static void reason_first_given_stays(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    int code = 77;

    assert_int_equal(plait_cancel_set(&scene->chain[0]), 0);
    assert_int_equal(plait_cancel_set_code(&scene->chain[0], 9), 0);
    assert_int_equal(plait_cancel_reason(&scene->chain[0], &code, NULL), ECANCELED);
    assert_int_equal(code, 0);
    assert_int_equal(plait_cancel_set_code(&scene->chain[1], 9), 0);
    assert_int_equal(plait_cancel_set(&scene->chain[1]), 0);
    assert_int_equal(plait_cancel_reason(&scene->chain[1], &code, NULL), ECANCELED);
    assert_int_equal(code, 9);
    assert_int_equal(plait_cancel_set_deadline(&scene->chain[1], PLAIT_NOW), ECANCELED);
    assert_int_equal(plait_cancel_reason(&scene->chain[1], &code, NULL), ECANCELED);
    assert_int_equal(code, 9);
}

static void reason_code_out_of_range_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_cancel_set_code(&scene->chain[0], -1), EINVAL);
    assert_int_equal(plait_cancel_set_code(&scene->chain[0], INT_MIN), EINVAL);
    assert_int_equal(plait_cancel_set_code(&scene->chain[0], PLAIT_CANCEL_CODE_MAX + 1), EINVAL);
    assert_false(plait_cancel_is_set(&scene->chain[0]));
}

/* ---- Deadlines -------------------------------------------------------------------------- */

static void deadline_ends_waits_at_its_time(void **state)
{
    struct stage *stage = *state;

    for (int i = 0; i < DEPTH; i += 7) {
        struct scene *scene = scene_of(stage);
        const plait_cancel_t *source = NULL;
        plait_time_t deadline = plait_after(0.03);
        int code = 77;

        assert_int_equal(plait_cancel_set_deadline(&scene->chain[i], deadline), 0);
        assert_int_equal(wait_bound_to(&scene->chain[DEPTH - 1], scene, stage->flags, PLAIT_FOREVER), ECANCELED);
        assert_true(plait_now() >= deadline);
        assert_int_equal(plait_cancel_reason(&scene->chain[DEPTH - 1], &code, &source), ETIMEDOUT);
        assert_int_equal(code, 0);
        assert_ptr_equal(source, &scene->chain[i]);
        assert_int_equal(plait_cancel_is_set(&scene->chain[0]), i == 0);
    }
}

static void deadline_of_the_wait_tells_when_it_is_earlier(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    plait_time_t own = plait_after(0.02);

    plait_cancel_set_deadline(&scene->chain[0], own + 1);
    assert_int_equal(wait_bound_to(&scene->chain[2], scene, stage->flags, own), ETIMEDOUT);
    assert_true(plait_now() >= own);
    own = plait_after(0.02);
    plait_cancel_init(&scene->member[1], stage->flags);
    plait_cancel_set_deadline(&scene->member[1], own); /* the same time: the token's */
    assert_int_equal(wait_bound_to(&scene->member[1], scene, stage->flags, own), ECANCELED);
    assert_true(plait_now() >= own);
}

static void deadline_that_has_passed_sets_for_good(void **state)
{
    struct stage *stage = *state;
    const plait_time_t past[] = { PLAIT_NOW, -1, INT64_MIN, 1, plait_now() - 1 };

    for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
        struct scene *scene = scene_of(stage);
        int code = 77;

        assert_int_equal(plait_cancel_set_deadline(&scene->chain[0], past[i]), 0);
        assert_true(plait_cancel_is_set(&scene->chain[2]));
        assert_int_equal(plait_cancel_set_deadline(&scene->chain[0], PLAIT_FOREVER), ECANCELED);
        assert_int_equal(plait_cancel_set_deadline(&scene->chain[0], plait_after(100)), ECANCELED);
        assert_int_equal(plait_cancel_set_code(&scene->chain[0], 3), 0);
        assert_int_equal(plait_cancel_reason(&scene->chain[1], &code, NULL), ETIMEDOUT);
        assert_int_equal(code, 0);
        assert_int_equal(wait_bound_to(&scene->chain[0], scene, stage->flags, PLAIT_FOREVER), ECANCELED);
        assert_int_equal(wait_bound_to(&scene->chain[0], scene, stage->flags, PLAIT_NOW), ECANCELED);
    }
}

static void deadline_can_be_moved_and_taken_away(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_cancel_set_deadline(&scene->chain[0], plait_after(0.05)), 0);
    assert_int_equal(plait_cancel_set_deadline(&scene->chain[0], PLAIT_FOREVER), 0);
    assert_int_equal(wait_bound_to(&scene->chain[1], scene, stage->flags, plait_after(0.06)), ETIMEDOUT);
    assert_false(plait_cancel_is_set(&scene->chain[0]));
    assert_int_equal(plait_cancel_set_deadline(&scene->chain[0], plait_after(3600)), 0);
    assert_int_equal(plait_cancel_set_deadline(&scene->chain[0], plait_after(0.001)), 0);
    assert_int_equal(wait_bound_to(&scene->chain[1], scene, stage->flags, PLAIT_FOREVER), ECANCELED);
}

static void deadline_given_later_holds_for_those_who_wait(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    plait_cancel_set_deadline(&scene->chain[0], plait_after(3600));
    w = worker_start(stage, wait_at_the_leaf, scene);
    assert_true(worker_sleeps(w, 1));
    plait_cancel_set_deadline(&scene->chain[0], plait_after(1800));
    plait_cancel_set_deadline(&scene->chain[5], plait_after(0.01));
    assert_int_equal(worker_result(w), ECANCELED);
}

static void wait_until_late(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = wait_bound_to(&scene->chain[2], scene, self->stage->flags, PLAIT_FOREVER);
    self->took = plait_now();
}

static void deadline_moved_away_is_not_obeyed(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    plait_time_t late;
    struct worker *w;

    for (int tries = 0;; tries++) { /* until we are in time to move it */
        late = plait_after(0.4);
        plait_cancel_init(&scene->chain[0], stage->flags);
        plait_cancel_set_deadline(&scene->chain[0], plait_after(0.1));
        w = worker_start(stage, wait_until_late, scene);
        assert_true(worker_said(w, 1));
        if (plait_cancel_set_deadline(&scene->chain[0], late) == 0)
            break;
        assert_int_equal(worker_result(w), ECANCELED);
        assert_true(tries < 20);
    }
    assert_int_equal(worker_result(w), ECANCELED);
    assert_true(w->took >= late);
}

/* Many give deadlines and look, one sets in the end: whoever saw the token set sees it set for ever. */
static void give_deadlines(struct worker *self)
{
    struct scene *scene = self->with;
    plait_cancel_t *token = &scene->chain[0];
    bool was_set = false;

    self->result = 0;
    for (int i = 0; i < 3000; i++) {
        bool is_set = plait_cancel_is_set(token);

        if (was_set && !is_set)
            self->result = 1;
        was_set = is_set;
        if (plait_cancel_set_deadline(token, plait_now() + (i % 7 ? 100 * PLAIT__SECOND : 20000)) == ECANCELED)
            was_set = true;
        else if (was_set)
            self->result = 2;
    }
    if (was_set && plait_cancel_reason(token, NULL, NULL) != ETIMEDOUT)
        self->result = 3;
}

static void deadlines_given_by_many_never_unset(void **state)
{
    struct stage *stage = *state;

    for (int round = 0; round < 5; round++) {
        struct scene *scene = scene_of(stage);
        struct worker *w[3];

        for (int i = 0; i < 3; i++)
            w[i] = worker_start(stage, give_deadlines, scene);
        for (int i = 0; i < 3; i++)
            assert_int_equal(worker_result(w[i]), 0);
    }
}

/* ---- Waiting for a token ---------------------------------------------------------------- */

static void wait_for_the_leaf(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_cancel_wait(&scene->chain[DEPTH - 1], PLAIT_FOREVER);
}

static void token_waited_for_is_set(void **state)
{
    struct stage *stage = *state;

    for (int i = 0; i < DEPTH; i += 7)
        for (int by_deadline = 0; by_deadline < 2; by_deadline++) {
            struct scene *scene = scene_of(stage);
            struct worker *w = worker_start(stage, wait_for_the_leaf, scene);

            assert_true(worker_sleeps(w, 1));
            if (by_deadline)
                plait_cancel_set_deadline(&scene->chain[i], plait_after(0.005));
            else
                plait_cancel_set(&scene->chain[i]);
            assert_int_equal(worker_result(w), 0);
            assert_int_equal(plait_cancel_wait(&scene->chain[DEPTH - 1], PLAIT_NOW), 0);
        }
}

static void token_waited_for_until_the_deadline(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    plait_time_t deadline = plait_after(0.02);

    assert_int_equal(plait_cancel_wait(&scene->chain[1], PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_cancel_wait(&scene->chain[1], -5), ETIMEDOUT);
    assert_int_equal(plait_cancel_wait(&scene->chain[1], deadline), ETIMEDOUT);
    assert_true(plait_now() >= deadline);
    assert_false(plait_cancel_is_set(&scene->chain[1]));
}

static void wait_for_a_token_obeys_the_callers(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    plait_cancel_set(&scene->member[0]);
    plait_cancel_bind(&scene->member[0]);
    assert_int_equal(plait_cancel_wait(&scene->chain[DEPTH - 1], PLAIT_FOREVER), ECANCELED);
    assert_int_equal(plait_cancel_wait(&scene->chain[DEPTH - 1], PLAIT_NOW), ECANCELED);
    assert_int_equal(plait_cancel_wait(&scene->member[0], PLAIT_FOREVER), 0);
    plait_cancel_bind(&scene->chain[DEPTH - 1]); /* both chains at once */
    assert_int_equal(plait_cancel_wait(&scene->chain[DEPTH - 1], plait_after(0.01)), ETIMEDOUT);
    plait_cancel_set_deadline(&scene->chain[0], plait_after(0.01));
    assert_int_equal(plait_cancel_wait(&scene->chain[DEPTH - 1], PLAIT_FOREVER), 0);
    plait_cancel_bind(NULL);
}

/* ---- Signals ---------------------------------------------------------------------------- */

static volatile sig_atomic_t alarms_seen;
static plait_cancel_t *handler_token;

static void on_alarm(int number)
{
    int saved = errno;

    errno = 0;
    alarms_seen++;
    if (alarms_seen == 1)
        plait_cancel_set_deadline(handler_token, plait_after(3600));
    else if (alarms_seen == 3)
        plait_cancel_set_code(handler_token, 3);
    if (errno || plait_cancel_is_set(handler_token) != (alarms_seen >= 3))
        alarms_seen = 1000;
    errno = saved;
}

static void token_is_set_in_a_signal_handler_for_a_waiter_bound_to_its_child(void **state)
{
    struct stage *stage = *state;
    struct sigaction action = { .sa_handler = on_alarm };
    struct itimerval each = { { 0, 700 }, { 0, 700 } }, never = { { 0, 0 }, { 0, 0 } };

    sigaction(SIGALRM, &action, NULL);
    for (int i = 0; i < 10; i++) {
        struct scene *scene = scene_of(stage);

        handler_token = &scene->chain[0];
        alarms_seen = 0;
        setitimer(ITIMER_REAL, &each, NULL);
        int err = wait_bound_to(&scene->chain[i % DEPTH], scene, stage->flags, PLAIT_FOREVER);
        setitimer(ITIMER_REAL, &never, NULL);
        assert_int_equal(err, ECANCELED);
        assert_in_range(alarms_seen, 3, 999);
    }
}

/* ---- Without futex_waitv ---------------------------------------------------------------- */

static int steps_without_waitv(struct worker *self)
{
    struct scene *scene = self->with;
    unsigned flags = self->stage->flags;
    plait_time_t deadline = plait_after(0.03);
    plait_cancel_t *leaf = &scene->chain[DEPTH - 1];

    if (wait_bound_to(leaf, scene, flags, deadline) != ETIMEDOUT || plait_now() < deadline)
        return 1;
    if (plait_cancel_wait(leaf, plait_after(0.01)) != ETIMEDOUT)
        return 2;
    deadline = plait_after(0.03);
    plait_cancel_set_deadline(&scene->member[0], deadline);
    if (wait_bound_to(&scene->member[0], scene, flags, PLAIT_FOREVER) != ECANCELED || plait_now() < deadline)
        return 3;
    worker_says(self, 1); /* the test sets the root */
    return wait_bound_to(leaf, scene, flags, PLAIT_FOREVER) == ECANCELED && plait_cancel_wait(leaf, PLAIT_NOW) == 0 ? 0 : 4;
}

static void run_without_waitv(struct worker *self)
{
    static const long calls[] = { NR_FUTEX_WAITV };

    if (refuse_calls(calls, 1, self->number % 2 ? EPERM : ENOSYS) != 0)
        self->result = -2;
    else
        self->result = steps_without_waitv(self);
}

static void chain_is_looked_at_in_turns_without_futex_waitv(void **state)
{
    struct stage *stage = *state;

    for (int i = 0; i < 2; i++) {
        struct scene *scene = scene_of(stage);
        struct worker *w = worker_start(stage, run_without_waitv, scene);

        assert_true(worker_said(w, 1) || w->result == -2);
        if (w->result == -2)
            skip();
        plait_cancel_set(&scene->chain[0]);
        assert_int_equal(worker_result(w), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(child_of_a_set_parent_is_set),
        EVERYWHERE(child_set_leaves_parent_and_siblings_alone),
        EVERYWHERE(child_of_a_set_parent_is_born_set),
        EVERYWHERE(child_without_parent_is_a_plain_token),
        EVERYWHERE(chain_too_long_is_refused),
        PRIVATE(child_in_a_wrong_place_is_refused),
        EVERYWHERE(waits_end_whichever_token_of_the_chain_is_set),
        EVERYWHERE(group_ends_the_waits_of_all_members),
        EVERYWHERE(longest_chain_fits_beside_the_most_words),
        SHARED(wait_notices_a_canceller_that_died_before_its_wake),
        PROCESSES(chain_survives_the_death_of_a_members_owner),
        PRIVATE(forked_child_obeys_the_shared_parent_of_its_private_token),
        EVERYWHERE(reason_tells_code_and_token),
        EVERYWHERE(reason_first_given_stays),
        EVERYWHERE(reason_code_out_of_range_is_refused),
        EVERYWHERE(deadline_ends_waits_at_its_time),
        EVERYWHERE(deadline_of_the_wait_tells_when_it_is_earlier),
        EVERYWHERE(deadline_that_has_passed_sets_for_good),
        EVERYWHERE(deadline_can_be_moved_and_taken_away),
        EVERYWHERE(deadline_given_later_holds_for_those_who_wait),
        EVERYWHERE(deadline_moved_away_is_not_obeyed),
        EVERYWHERE(deadlines_given_by_many_never_unset),
        EVERYWHERE(token_waited_for_is_set),
        EVERYWHERE(token_waited_for_until_the_deadline),
        EVERYWHERE(wait_for_a_token_obeys_the_callers),
        EVERYWHERE(token_is_set_in_a_signal_handler_for_a_waiter_bound_to_its_child),
        PROCESSES(chain_is_looked_at_in_turns_without_futex_waitv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
