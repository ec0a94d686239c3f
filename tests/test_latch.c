/* SPDX-License-Identifier: MIT */
/* The contract of plait/latch.h, sentence by sentence. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/time.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { CROWD = 6, ROUNDS = 300 };

struct scene {
    plait_latch_t latch;
    plait_cancel_t token;
    plait_time_t deadline;
    unsigned prepared[CROWD]; /* each written by its worker before it counts */
};

static struct scene *scene_of(struct stage *stage, unsigned count)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_latch_init(&scene->latch, count, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    return scene;
}

static void wait_for_it(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_latch_wait(&scene->latch, scene->deadline);
}

static void wait_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    wait_for_it(self);
}

/* Prepare, count, wait; then all are prepared. */
static void meet(struct worker *self)
{
    struct scene *scene = self->with;

    scene->prepared[self->number] = self->number + 1;
    self->result = plait_latch_count_down(&scene->latch, 1);
    if (self->result == 0)
        self->result = plait_latch_wait(&scene->latch, PLAIT_FOREVER);
    for (unsigned i = 0; i < CROWD; i++)
        if (scene->prepared[i] != i + 1)
            self->result = -2;
}

static void latch_opens_at_0_for_good(void **state)
{
    struct scene *scene = scene_of(*state, 5);

    assert_int_equal(plait_latch_count(&scene->latch), 5);
    assert_int_equal(plait_latch_wait(&scene->latch, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_latch_count_down(&scene->latch, 2), 0);
    assert_int_equal(plait_latch_count_down(&scene->latch, 2), 0);
    assert_int_equal(plait_latch_count(&scene->latch), 1);
    assert_int_equal(plait_latch_wait(&scene->latch, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_latch_count_down(&scene->latch, 1), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_latch_wait(&scene->latch, i ? PLAIT_FOREVER : PLAIT_NOW), 0);
    assert_int_equal(plait_latch_count(&scene->latch), 0);
    assert_int_equal(plait_latch_fini(&scene->latch), 0);
}

static void latch_below_0_is_refused(void **state)
{
    struct scene *scene = scene_of(*state, 3);

    assert_int_equal(plait_latch_count_down(&scene->latch, 4), EOVERFLOW);
    assert_int_equal(plait_latch_count_down(&scene->latch, UINT_MAX), EOVERFLOW);
    assert_int_equal(plait_latch_count_down(&scene->latch, 0), EINVAL);
    assert_int_equal(plait_latch_count(&scene->latch), 3);
    assert_int_equal(plait_latch_count_down(&scene->latch, 3), 0);
    assert_int_equal(plait_latch_count_down(&scene->latch, 1), EOVERFLOW);
    assert_int_equal(plait_latch_wait(&scene->latch, PLAIT_NOW), 0);
}

static void latch_of_the_greatest_count_works(void **state)
{
    struct scene *scene = scene_of(*state, UINT_MAX);

    assert_int_equal(plait_latch_wait(&scene->latch, plait_after(0.001)), ETIMEDOUT);
    assert_int_equal(plait_latch_count_down(&scene->latch, UINT_MAX - 1), 0);
    assert_int_equal(plait_latch_wait(&scene->latch, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_latch_count_down(&scene->latch, 1), 0);
    assert_int_equal(plait_latch_wait(&scene->latch, PLAIT_NOW), 0);
}

static void latch_opened_wakes_all(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 2);

    for (int i = 0; i < CROWD; i++)
        assert_non_null(worker_start(stage, wait_for_it, scene));
    for (int i = 0; i < CROWD; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    assert_int_equal(plait_latch_count_down(&scene->latch, 1), 0);
    for (int i = 0; i < CROWD; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    assert_int_equal(plait_latch_count_down(&scene->latch, 1), 0);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void latch_shows_what_was_written_before(void **state)
{
    struct stage *stage = *state;

    for (int round = 0; round < ROUNDS / 10; round++) {
        struct scene *scene = scene_of(stage, CROWD);

        stage->worker_count = 0;
        for (int i = 0; i < CROWD; i++)
            assert_non_null(worker_start(stage, meet, scene));
        for (int i = 0; i < CROWD; i++)
            assert_int_equal(worker_result(&stage->workers[i]), 0);
    }
}

static void latch_wait_times_out_never_early(void **state)
{
    struct scene *scene = scene_of(*state, 1);

    for (int i = 0; i < 5; i++) {
        plait_time_t deadline = plait_after(0.002 * i);

        assert_int_equal(plait_latch_wait(&scene->latch, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
    }
}

static void latch_waiter_is_cancelled(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 1);
    struct worker *w = worker_start(stage, wait_bound, scene);

    assert_true(worker_sleeps(w, 1));
    assert_int_equal(plait_cancel_set(&scene->token), 0);
    assert_int_equal(worker_result(w), ECANCELED);
    assert_int_equal(plait_latch_count_down(&scene->latch, 1), 0);
    assert_int_equal(worker_result(worker_start(stage, wait_bound, scene)), 0);
}

static void latch_sleepers_killed_leave_nothing_behind(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 1);

    for (int i = 0; i < CROWD; i++)
        assert_non_null(worker_start(stage, wait_for_it, scene));
    for (int i = 0; i < CROWD; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    for (int i = 0; i < CROWD; i += 2)
        worker_kill(&stage->workers[i]);
    assert_int_equal(plait_latch_count_down(&scene->latch, 1), 0);
    for (int i = 1; i < CROWD; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void latch_with_bad_flags_or_place_is_refused(void **state)
{
    plait_latch_t latch;

    assert_int_equal(plait_latch_init(&latch, 1, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_latch_init(&latch, 1, PLAIT_BOUNDED), EINVAL);
}

static plait_latch_t zero;

static void latch_of_zero_bytes_is_open(void **state)
{
    static plait_latch_t open = PLAIT_LATCH_INIT(0), closed = PLAIT_LATCH_INIT(1);

    assert_memory_equal(&zero, &open, sizeof zero);
    assert_int_equal(plait_latch_wait(&zero, PLAIT_NOW), 0);
    assert_int_equal(plait_latch_wait(&closed, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_latch_count_down(&closed, 1), 0);
    assert_int_equal(plait_latch_wait(&closed, PLAIT_NOW), 0);
}

static plait_latch_t *in_handler;
static volatile sig_atomic_t handled, handler_failed; /* the alarm repeats: see tests/test_toy_fiber.c */

static void count_down_in_handler(int number)
{
    setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 0 } }, NULL);
    if (handled++)
        return;
    handler_failed = plait_latch_count(in_handler) != 1 || plait_latch_count_down(in_handler, 1);
}

static void latch_is_opened_in_a_signal_handler_of_the_waiter(void **state)
{
    struct scene *scene = scene_of(*state, 1);

    in_handler = &scene->latch;
    handled = 0;
    signal(SIGALRM, count_down_in_handler);
    setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 2000 }, { 0, 2000 } }, NULL);
    assert_int_equal(plait_latch_wait(&scene->latch, plait_after(10)), 0);
    assert_true(handled);
    assert_false(handler_failed);
    signal(SIGALRM, SIG_DFL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(latch_opens_at_0_for_good),
        EVERYWHERE(latch_below_0_is_refused),
        EVERYWHERE(latch_of_the_greatest_count_works),
        EVERYWHERE(latch_opened_wakes_all),
        EVERYWHERE(latch_shows_what_was_written_before),
        EVERYWHERE(latch_wait_times_out_never_early),
        EVERYWHERE(latch_waiter_is_cancelled),
        PROCESSES(latch_sleepers_killed_leave_nothing_behind),
        EVERYWHERE(latch_is_opened_in_a_signal_handler_of_the_waiter),
        PRIVATE(latch_with_bad_flags_or_place_is_refused),
        PRIVATE(latch_of_zero_bytes_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
