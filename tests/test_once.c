/* SPDX-License-Identifier: MIT */
/* The contract of plait/once.h, sentence by sentence. */
#include <errno.h>
#include <string.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { CROWD = 6, REFUSED = 77, ROUNDS = 200 };

struct scene {
    plait_once_t once;
    plait_cancel_t token;
    plait_time_t deadline;
    uint32_t go;       /* atomic: the test's permission to go on */
    uint32_t inner;    /* atomic: how many run the function now */
    uint32_t most;     /* written by who runs the function: how many did at one time */
    uint32_t runs;     /* written by who runs the function */
    uint32_t failures; /* const: how many runs fail, the first ones */
    uint32_t sum;      /* what the function is for */
    int inside;        /* what a run within the run answered */
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_once_init(&scene->once, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    return scene;
}

/* ---- Functions, workers ----------------------------------------------------------------- */

static int make(void *arg)
{
    struct scene *scene = arg;
    uint32_t inner = __atomic_add_fetch(&scene->inner, 1, __ATOMIC_RELAXED);
    bool fails;

    if (inner > scene->most)
        scene->most = inner;
    fails = scene->runs++ < scene->failures;
    for (uint32_t i = 0; i < 1000 && !fails; i++)
        scene->sum += i;
    __atomic_sub_fetch(&scene->inner, 1, __ATOMIC_RELAXED);
    return fails ? REFUSED : 0;
}

static void run(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_once_run(&scene->once, make, scene, scene->deadline);
    if (self->result == 0 && scene->sum != 499500)
        self->result = -3;
}

static void run_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    run(self);
}

static struct worker *makers_worker; /* in a worker: itself */

static int make_when_told(void *arg)
{
    worker_says(makers_worker, 1);
    if (!EVENTUALLY(__atomic_load_n(&((struct scene *)arg)->go, __ATOMIC_ACQUIRE)))
        return -2;
    return make(arg);
}

static void run_when_told(struct worker *self)
{
    struct scene *scene = self->with;

    makers_worker = self;
    self->result = plait_once_run(&scene->once, make_when_told, scene, PLAIT_FOREVER);
}

static int make_and_die(void *arg)
{
    ((struct scene *)arg)->sum = 1; /* half done */
    worker_die(makers_worker);
}

static void run_and_die(struct worker *self)
{
    struct scene *scene = self->with;

    makers_worker = self;
    self->result = 0;
    plait_once_run(&scene->once, make_and_die, scene, PLAIT_FOREVER);
}

static int make_within(void *arg)
{
    struct scene *scene = arg;

    scene->inside = plait_once_run(&scene->once, make, scene, PLAIT_FOREVER);
    return make(arg);
}

static int make_afresh(void *arg)
{
    ((struct scene *)arg)->sum = 0;
    return make(arg);
}

static struct worker *runner_of(struct stage *stage, struct scene *scene)
{
    struct worker *w = worker_start(stage, run_when_told, scene);

    assert_non_null(w);
    assert_true(worker_said(w, 1));
    return w;
}

static void let_go(struct scene *scene)
{
    __atomic_store_n(&scene->go, 1, __ATOMIC_RELEASE);
}

/* ---- Cases ------------------------------------------------------------------------------ */

static void once_runs_the_function_once(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_false(plait_once_is_done(&scene->once));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_once_run(&scene->once, make, scene, i == 1 ? PLAIT_NOW : PLAIT_FOREVER), 0);
        assert_true(plait_once_is_done(&scene->once));
        assert_int_equal(scene->runs, 1);
    }
    assert_int_equal(plait_once_fini(&scene->once), 0);
}

static void once_not_done_is_run_whatever_the_deadline(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_once_run(&scene->once, make, scene, PLAIT_NOW), 0);
    assert_int_equal(scene->runs, 1);
}

static void once_in_a_crowd_is_run_by_one(void **state)
{
    struct stage *stage = *state;

    for (int round = 0; round < ROUNDS / 10; round++) {
        struct scene *scene = scene_of(stage);

        stage->worker_count = 0;
        for (int i = 0; i < CROWD; i++)
            assert_non_null(worker_start(stage, run, scene));
        for (int i = 0; i < CROWD; i++)
            assert_int_equal(worker_result(&stage->workers[i]), 0);
        assert_int_equal(scene->runs, 1);
        assert_int_equal(scene->most, 1);
    }
}

static void once_running_lets_others_wait(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *runner = runner_of(stage, scene);
    plait_time_t deadline = plait_after(0.01);

    assert_int_equal(plait_once_run(&scene->once, make, scene, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_once_run(&scene->once, make, scene, deadline), ETIMEDOUT);
    assert_true(plait_now() >= deadline);
    assert_false(plait_once_is_done(&scene->once));
    assert_int_equal(plait_once_fini(&scene->once), EBUSY);
    for (int i = 0; i < CROWD; i++)
        assert_non_null(worker_start(stage, run, scene));
    for (int i = 0; i < CROWD; i++)
        assert_true(worker_sleeps(&stage->workers[1 + i], 1));
    let_go(scene);
    assert_int_equal(worker_result(runner), 0);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(worker_result(&stage->workers[1 + i]), 0);
    assert_int_equal(scene->runs, 1);
}

static void once_waiter_is_cancelled_and_a_runner_is_not(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *runner = runner_of(stage, scene), *w;

    w = worker_start(stage, run_bound, scene);
    assert_true(worker_sleeps(w, 1));
    assert_int_equal(plait_cancel_set(&scene->token), 0);
    assert_int_equal(worker_result(w), ECANCELED);
    let_go(scene);
    assert_int_equal(worker_result(runner), 0);
    assert_int_equal(worker_result(worker_start(stage, run_bound, scene)), 0);
    assert_int_equal(plait_once_init(&scene->once, stage->flags), 0);
    scene->sum = 0;
    assert_int_equal(worker_result(worker_start(stage, run_bound, scene)), 0);
    assert_int_equal(scene->runs, 2);
}

static void once_failed_lets_the_next_try(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    int refused = 0;

    scene->failures = 3;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_once_run(&scene->once, make, scene, PLAIT_FOREVER), REFUSED);
        assert_false(plait_once_is_done(&scene->once));
    }
    assert_int_equal(plait_once_run(&scene->once, make, scene, PLAIT_FOREVER), 0);
    assert_int_equal(plait_once_init(&scene->once, stage->flags), 0);
    scene->runs = scene->sum = 0;
    for (int i = 0; i < CROWD; i++)
        assert_non_null(worker_start(stage, run, scene));
    for (int i = 0; i < CROWD; i++) {
        int result = worker_result(&stage->workers[i]);

        refused += result == REFUSED;
        assert_true(result == 0 || result == REFUSED);
    }
    assert_int_equal(refused, 3); /* each failure is told to who ran it, and to nobody else */
    assert_int_equal(scene->runs, 4);
    assert_int_equal(scene->most, 1);
}

static void once_within_itself_is_a_deadlock(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_once_run(&scene->once, make_within, scene, PLAIT_FOREVER), 0);
    assert_int_equal(scene->inside, EDEADLK);
    assert_int_equal(scene->runs, 1);
    assert_int_equal(plait_once_fini(&scene->once), 0);
}

static void once_with_bad_flags_or_place_is_refused(void **state)
{
    plait_once_t once;

    assert_int_equal(plait_once_init(&once, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_once_init(&once, PLAIT_BOUNDED), EINVAL);
}

static plait_once_t zero;

static void once_of_zero_bytes_is_private_and_not_done(void **state)
{
    static plait_once_t named = PLAIT_ONCE_INIT;
    struct scene scene = { .sum = 0 };

    assert_memory_equal(&zero, &named, sizeof zero);
    assert_false(plait_once_is_done(&zero));
    assert_int_equal(plait_once_run(&zero, make, &scene, PLAIT_NOW), 0);
    assert_true(plait_once_is_done(&zero));
}

static void once_inlined_and_called_are_the_same(void **state)
{
    int (*volatile called)(plait_once_t *, int (*)(void *), void *, plait_time_t) = plait_once_run;
    struct scene *scene = scene_of(*state);

    assert_int_equal(called(&scene->once, make, scene, PLAIT_NOW), 0);
    plait_hooks = 1;
    assert_int_equal(plait_once_run(&scene->once, make, scene, PLAIT_NOW), 0);
    plait_hooks = 0;
    assert_int_equal(scene->runs, 1);
}

static void once_whose_runner_died_is_tried_by_the_next(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 3; i++) {
        assert_int_equal(worker_result(worker_start(stage, run_and_die, scene)), 0);
        assert_false(plait_once_is_done(&scene->once));
        assert_int_equal(plait_once_fini(&scene->once), 0);
    }
    assert_int_equal(scene->sum, 1); /* the traces */
    assert_int_equal(plait_once_run(&scene->once, make_afresh, scene, PLAIT_FOREVER), 0);
    assert_int_equal(scene->sum, 499500);
}

static void once_whose_runner_is_killed_is_tried_by_a_waiter(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *runner = runner_of(stage, scene);

    for (int i = 0; i < CROWD; i++)
        assert_non_null(worker_start(stage, run, scene));
    for (int i = 0; i < CROWD; i++)
        assert_true(worker_sleeps(&stage->workers[1 + i], 1));
    worker_kill(runner);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(worker_result(&stage->workers[1 + i]), 0);
    assert_int_equal(scene->runs, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(once_runs_the_function_once),
        EVERYWHERE(once_not_done_is_run_whatever_the_deadline),
        EVERYWHERE(once_in_a_crowd_is_run_by_one),
        EVERYWHERE(once_running_lets_others_wait),
        EVERYWHERE(once_waiter_is_cancelled_and_a_runner_is_not),
        EVERYWHERE(once_failed_lets_the_next_try),
        EVERYWHERE(once_within_itself_is_a_deadlock),
        PRIVATE(once_with_bad_flags_or_place_is_refused),
        PRIVATE(once_of_zero_bytes_is_private_and_not_done),
        EVERYWHERE(once_inlined_and_called_are_the_same),
        SHARED(once_whose_runner_died_is_tried_by_the_next),
        PROCESSES(once_whose_runner_is_killed_is_tried_by_a_waiter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
