/* SPDX-License-Identifier: MIT */
/* The contract of plait/wait_group.h, sentence by sentence. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { CROWD = 6, ROUNDS = 300, JOBS = 20000 };

struct scene {
    plait_wait_group_t group;
    plait_cancel_t token;
    plait_time_t deadline;
    uint32_t stop;            /* atomic */
    unsigned written[CROWD];  /* each by its worker, before its done */
    unsigned round;           /* by the test, between the rounds */
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_wait_group_init(&scene->group, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    return scene;
}

static void wait_for_it(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_wait_group_wait(&scene->group, scene->deadline);
}

static void wait_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    wait_for_it(self);
}

static void write_and_be_done(struct worker *self)
{
    struct scene *scene = self->with;

    scene->written[self->number] = scene->round;
    self->result = plait_wait_group_done(&scene->group);
}

/* Something is under way nearly all the time. */
static void come_and_go(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    for (int i = 0; i < JOBS && !self->result; i++) {
        self->result |= plait_wait_group_add(&scene->group, 2);
        self->result |= plait_wait_group_done(&scene->group);
        self->result |= plait_wait_group_done(&scene->group);
    }
}

static void wait_again_and_again(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    while (!self->result && !__atomic_load_n(&scene->stop, __ATOMIC_ACQUIRE))
        self->result = plait_wait_group_wait(&scene->group, PLAIT_FOREVER);
}

static void wait_group_counts_what_is_under_way(void **state)
{
    struct scene *scene = scene_of(*state);

    for (int again = 0; again < 3; again++) {
        assert_int_equal(plait_wait_group_wait(&scene->group, PLAIT_NOW), 0);
        assert_int_equal(plait_wait_group_fini(&scene->group), 0);
        assert_int_equal(plait_wait_group_add(&scene->group, 2), 0);
        assert_int_equal(plait_wait_group_add(&scene->group, 1), 0);
        for (unsigned left = 3; left > 0; left--) {
            assert_int_equal(plait_wait_group_count(&scene->group), left);
            assert_int_equal(plait_wait_group_wait(&scene->group, PLAIT_NOW), ETIMEDOUT);
            assert_int_equal(plait_wait_group_fini(&scene->group), EBUSY);
            assert_int_equal(plait_wait_group_done(&scene->group), 0);
        }
        assert_int_equal(plait_wait_group_count(&scene->group), 0);
    }
}

static void wait_group_below_0_or_too_great_is_refused(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_wait_group_done(&scene->group), EOVERFLOW);
    assert_int_equal(plait_wait_group_add(&scene->group, 0), EINVAL);
    assert_int_equal(plait_wait_group_add(&scene->group, UINT_MAX), 0);
    assert_int_equal(plait_wait_group_add(&scene->group, 1), EOVERFLOW);
    assert_int_equal(plait_wait_group_count(&scene->group), UINT_MAX);
    assert_int_equal(plait_wait_group_done(&scene->group), 0);
    assert_int_equal(plait_wait_group_add(&scene->group, 1), 0);
    assert_int_equal(plait_wait_group_count(&scene->group), UINT_MAX);
}

static void wait_group_at_0_wakes_all(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_wait_group_add(&scene->group, 2), 0);
    for (int i = 0; i < CROWD; i++)
        assert_non_null(worker_start(stage, wait_for_it, scene));
    for (int i = 0; i < CROWD; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    assert_int_equal(plait_wait_group_add(&scene->group, 1), 0);
    for (int n = 0; n < 2; n++) {
        assert_int_equal(plait_wait_group_done(&scene->group), 0);
        for (int i = 0; i < CROWD; i++)
            assert_true(worker_sleeps(&stage->workers[i], 1));
    }
    assert_int_equal(plait_wait_group_done(&scene->group), 0);
    assert_int_equal(plait_wait_group_add(&scene->group, 1), 0); /* perhaps before they run */
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void wait_group_shows_what_was_written_before(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (scene->round = 1; scene->round < ROUNDS / 10; scene->round++) {
        stage->worker_count = 0;
        assert_int_equal(plait_wait_group_add(&scene->group, CROWD), 0);
        for (int i = 0; i < CROWD; i++)
            assert_non_null(worker_start(stage, write_and_be_done, scene));
        assert_int_equal(plait_wait_group_wait(&scene->group, plait_after(20)), 0);
        for (int i = 0; i < CROWD; i++)
            assert_int_equal(scene->written[i], scene->round);
        for (int i = 0; i < CROWD; i++)
            assert_int_equal(worker_result(&stage->workers[i]), 0);
    }
}

/* If a fall to 0 were missed, a waiter would sleep on when all are gone. */
static void wait_group_under_stress_misses_no_0(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < CROWD; i++)
        assert_non_null(worker_start(stage, i % 2 ? wait_again_and_again : come_and_go, scene));
    for (int i = 0; i < CROWD; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(plait_wait_group_count(&scene->group), 0);
    __atomic_store_n(&scene->stop, 1, __ATOMIC_RELEASE);
    for (int i = 1; i < CROWD; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void wait_group_wait_times_out_never_early(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_wait_group_add(&scene->group, 1), 0);
    for (int i = 0; i < 5; i++) {
        plait_time_t deadline = plait_after(0.002 * i);

        assert_int_equal(plait_wait_group_wait(&scene->group, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
    }
}

static void wait_group_waiter_is_cancelled(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    assert_int_equal(plait_wait_group_add(&scene->group, 1), 0);
    w = worker_start(stage, wait_bound, scene);
    assert_true(worker_sleeps(w, 1));
    assert_int_equal(plait_cancel_set(&scene->token), 0);
    assert_int_equal(worker_result(w), ECANCELED);
    assert_int_equal(plait_wait_group_done(&scene->group), 0);
    assert_int_equal(worker_result(worker_start(stage, wait_bound, scene)), 0);
}

static void wait_group_sleepers_killed_leave_nothing_behind(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_wait_group_add(&scene->group, 1), 0);
    for (int i = 0; i < CROWD; i++)
        assert_non_null(worker_start(stage, wait_for_it, scene));
    for (int i = 0; i < CROWD; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    for (int i = 0; i < CROWD; i += 2)
        worker_kill(&stage->workers[i]);
    assert_int_equal(plait_wait_group_done(&scene->group), 0);
    for (int i = 1; i < CROWD; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static plait_wait_group_t zero;
static volatile sig_atomic_t handled, handler_failed; /* the alarm repeats: see tests/test_toy_fiber.c */

static void be_done_in_handler(int number)
{
    setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 0 } }, NULL);
    if (handled++)
        return;
    handler_failed = plait_wait_group_add(&zero, 1) || plait_wait_group_done(&zero) || plait_wait_group_done(&zero);
}

static void wait_group_is_done_in_a_signal_handler_of_the_waiter(void **state)
{
    assert_int_equal(plait_wait_group_add(&zero, 1), 0);
    signal(SIGALRM, be_done_in_handler);
    setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 2000 }, { 0, 2000 } }, NULL);
    assert_int_equal(plait_wait_group_wait(&zero, plait_after(10)), 0);
    assert_true(handled);
    assert_false(handler_failed);
    signal(SIGALRM, SIG_DFL);
}

static void wait_group_with_bad_flags_or_place_is_refused(void **state)
{
    plait_wait_group_t group;
    static const plait_wait_group_t named = PLAIT_WAIT_GROUP_INIT;
    static const plait_wait_group_t zeros;

    assert_memory_equal(&named, &zeros, sizeof named);
    assert_int_equal(plait_wait_group_init(&group, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_wait_group_init(&group, PLAIT_BOUNDED), EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(wait_group_counts_what_is_under_way),
        EVERYWHERE(wait_group_below_0_or_too_great_is_refused),
        EVERYWHERE(wait_group_at_0_wakes_all),
        EVERYWHERE(wait_group_shows_what_was_written_before),
        EVERYWHERE(wait_group_under_stress_misses_no_0),
        EVERYWHERE(wait_group_wait_times_out_never_early),
        EVERYWHERE(wait_group_waiter_is_cancelled),
        PROCESSES(wait_group_sleepers_killed_leave_nothing_behind),
        PRIVATE(wait_group_is_done_in_a_signal_handler_of_the_waiter),
        PRIVATE(wait_group_with_bad_flags_or_place_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
