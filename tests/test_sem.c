/* SPDX-License-Identifier: MIT */
/* The contract of plait/sem.h, sentence by sentence. */
#include <errno.h>
#include <signal.h>
#include <sys/time.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { SLEEPERS = 4 };

/* What a case's workers share. */
struct scene {
    plait_sem_t sem;
    plait_cancel_t token;
    plait_time_t deadline;
    uint32_t done;  /* atomic: how many have returned */
};

static struct scene *scene_of(struct stage *stage, unsigned value, unsigned more_flags)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_sem_init(&scene->sem, value, stage->flags | more_flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    return scene;
}

static void acquire(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_sem_acquire(&scene->sem, 1, scene->deadline);
    __atomic_fetch_add(&scene->done, 1, __ATOMIC_RELEASE);
}

static void acquire_three(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_sem_acquire(&scene->sem, 3, PLAIT_FOREVER);
    __atomic_fetch_add(&scene->done, 1, __ATOMIC_RELEASE);
}

static void acquire_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    acquire(self);
}

/* Start workers and see them asleep. */
static void put_to_sleep(struct stage *stage, struct scene *scene, void (*run)(struct worker *), unsigned count)
{
    unsigned first = stage->worker_count;

    for (unsigned i = 0; i < count; i++)
        assert_non_null(worker_start(stage, run, scene));
    for (unsigned i = 0; i < count; i++)
        assert_true(worker_sleeps(&stage->workers[first + i], 1));
}

static uint32_t done(struct scene *scene)
{
    return __atomic_load_n(&scene->done, __ATOMIC_ACQUIRE);
}

/* ---- Counting --------------------------------------------------------------------------- */

static void sem_has_the_permits_it_was_given(void **state)
{
    struct scene *scene = scene_of(*state, 3, 0);

    assert_int_equal(plait_sem_value(&scene->sem), 3);
    assert_int_equal(plait_sem_acquire(&scene->sem, 1, PLAIT_NOW), 0);
    assert_int_equal(plait_sem_acquire(&scene->sem, 2, PLAIT_FOREVER), 0);
    assert_int_equal(plait_sem_value(&scene->sem), 0);
    assert_int_equal(plait_sem_acquire(&scene->sem, 1, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_sem_release(&scene->sem, 5), 0);
    assert_int_equal(plait_sem_value(&scene->sem), 5);
    assert_int_equal(plait_sem_fini(&scene->sem), 0);
}

static void sem_acquires_all_or_nothing(void **state)
{
    struct scene *scene = scene_of(*state, 2, 0);
    plait_time_t deadline = plait_after(0.003);

    assert_int_equal(plait_sem_acquire(&scene->sem, 3, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_sem_acquire(&scene->sem, 3, deadline), ETIMEDOUT);
    assert_true(plait_now() >= deadline);
    assert_int_equal(plait_sem_value(&scene->sem), 2);
    assert_int_equal(plait_sem_acquire(&scene->sem, 2, PLAIT_NOW), 0);
}

static void sem_with_absurd_counts_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 2, 0);
    plait_sem_t *sem = &scene->sem;

    assert_int_equal(plait_sem_acquire(sem, 0, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_sem_acquire(sem, PLAIT_SEM_MAX + 1, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_sem_acquire(sem, UINT32_MAX, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_sem_release(sem, 0), EINVAL);
    assert_int_equal(plait_sem_value(sem), 2);
    assert_int_equal(plait_sem_init(sem, PLAIT_SEM_MAX + 1, stage->flags), EINVAL);
    assert_int_equal(plait_sem_init(sem, 0, stage->flags | PLAIT_BOUNDED), EINVAL);
    assert_int_equal(plait_sem_init(sem, 1, stage->flags | 1u << 30), EINVAL);
    assert_int_equal(plait_sem_value(sem), 2);
}

static void sem_outside_an_arena_is_not_shared(void **state)
{
    plait_sem_t sem;

    assert_int_equal(plait_sem_init(&sem, 0, PLAIT_SHARED), EINVAL);
}

static void sem_never_exceeds_the_greatest_value(void **state)
{
    struct scene *scene = scene_of(*state, PLAIT_SEM_MAX - 1, 0);
    plait_sem_t *sem = &scene->sem;

    assert_int_equal(plait_sem_release(sem, 2), EOVERFLOW);
    assert_int_equal(plait_sem_release(sem, UINT32_MAX), EOVERFLOW);
    assert_int_equal(plait_sem_release(sem, 1), 0);
    assert_int_equal(plait_sem_release(sem, 1), EOVERFLOW);
    assert_int_equal(plait_sem_value(sem), PLAIT_SEM_MAX);
    assert_int_equal(plait_sem_acquire(sem, PLAIT_SEM_MAX, PLAIT_NOW), 0);
    assert_int_equal(plait_sem_release(sem, PLAIT_SEM_MAX), 0);
    assert_int_equal(plait_sem_value(sem), PLAIT_SEM_MAX);
}

static void sem_bounded_never_exceeds_its_first_value(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 3, PLAIT_BOUNDED);
    plait_sem_t *sem = &scene->sem;

    assert_int_equal(plait_sem_release(sem, 1), EOVERFLOW);
    assert_int_equal(plait_sem_acquire(sem, 4, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_sem_acquire(sem, 3, PLAIT_NOW), 0);
    put_to_sleep(stage, scene, acquire, 1);
    assert_int_equal(plait_sem_release(sem, 4), EOVERFLOW);
    assert_int_equal(done(scene), 0);
    assert_int_equal(plait_sem_release(sem, 3), 0);
    assert_int_equal(worker_result(&stage->workers[0]), 0);
    assert_int_equal(plait_sem_value(sem), 2);
    assert_int_equal(plait_sem_release(sem, 2), EOVERFLOW);
    assert_int_equal(plait_sem_release(sem, 1), 0);
}

static plait_sem_t zero;

static void sem_of_zero_bytes_is_private_without_permits(void **state)
{
    static plait_sem_t two = PLAIT_SEM_INIT(2);

    assert_int_equal(plait_sem_value(&two), 2);
    assert_int_equal(plait_sem_acquire(&zero, 1, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_sem_release(&zero, 1), 0);
    assert_int_equal(plait_sem_acquire(&zero, 1, PLAIT_NOW), 0);
}

/* ---- Sleeping --------------------------------------------------------------------------- */

static void sem_release_of_n_wakes_n(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 0, 0);

    put_to_sleep(stage, scene, acquire, SLEEPERS);
    assert_int_equal(plait_sem_release(&scene->sem, 3), 0);
    assert_true(EVENTUALLY(done(scene) == 3));
    assert_int_equal(plait_sem_value(&scene->sem), 0);
    assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

/* Releases come so fast that the later ones find nobody marked as asleep: the chain must reach all. */
static void sem_single_releases_reach_every_sleeper(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 0, 0);

    put_to_sleep(stage, scene, acquire, 2 * SLEEPERS);
    for (int i = 0; i < 2 * SLEEPERS; i++)
        assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
    for (int i = 0; i < 2 * SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(plait_sem_value(&scene->sem), 0);
}

static void sem_sleeper_for_several_is_served_when_there_are_enough(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 0, 0);

    put_to_sleep(stage, scene, acquire_three, 2);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(done(scene), i > 2 ? 1 : 0);
        assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
        if (i == 2)
            assert_true(EVENTUALLY(done(scene) == 1));
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(plait_sem_value(&scene->sem), 0);
}

/* One who wants several sleeps in front of some who want one: they must not be kept from it. */
static void sem_sleeper_for_several_does_not_set_permits_aside(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 0, 0);

    put_to_sleep(stage, scene, acquire_three, 1);
    put_to_sleep(stage, scene, acquire, 2);
    assert_int_equal(plait_sem_release(&scene->sem, 2), 0);
    assert_true(EVENTUALLY(done(scene) == 2));
    assert_int_equal(plait_sem_release(&scene->sem, 3), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void sem_sleeper_times_out_with_nothing(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 0, 0);

    scene->deadline = plait_after(0.02);
    assert_non_null(worker_start(stage, acquire, scene));
    assert_int_equal(worker_result(&stage->workers[0]), ETIMEDOUT);
    assert_true(plait_now() >= scene->deadline);
    assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
    assert_int_equal(plait_sem_value(&scene->sem), 1);
}

static void sem_sleepers_are_cancelled_with_nothing(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 0, 0);

    put_to_sleep(stage, scene, acquire_bound, SLEEPERS);
    put_to_sleep(stage, scene, acquire, 1);
    plait_cancel_set(&scene->token);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), ECANCELED);
    assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
    assert_int_equal(worker_result(&stage->workers[SLEEPERS]), 0);
    assert_int_equal(plait_sem_value(&scene->sem), 0);
}

static void sem_with_the_token_set_is_acquired_only_if_it_has_permits(void **state)
{
    struct scene *scene = scene_of(*state, 1, 0);

    plait_cancel_set(&scene->token);
    plait_cancel_bind(&scene->token);
    assert_int_equal(plait_sem_acquire(&scene->sem, 1, PLAIT_FOREVER), 0);
    assert_int_equal(plait_sem_acquire(&scene->sem, 1, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(plait_sem_acquire(&scene->sem, 1, PLAIT_NOW), ECANCELED);
}

/* ---- Death, signals, the end of life ----------------------------------------------------- */

static void sem_sleepers_killed_take_nothing(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 0, 0);

    put_to_sleep(stage, scene, acquire, 2 * SLEEPERS);
    for (int i = 0; i < 2 * SLEEPERS; i += 2)
        worker_kill(&stage->workers[i]);
    assert_int_equal(plait_sem_release(&scene->sem, SLEEPERS), 0);
    for (int i = 1; i < 2 * SLEEPERS; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(plait_sem_value(&scene->sem), 0);
}

static void acquire_release_die(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_sem_acquire(&scene->sem, 2, PLAIT_FOREVER);
    plait_sem_release(&scene->sem, 1);
    worker_die(self);
}

static void sem_permits_of_the_dead_stay_as_they_are(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 3, 0);

    assert_int_equal(worker_result(worker_start(stage, acquire_release_die, scene)), 0);
    assert_int_equal(plait_sem_value(&scene->sem), 2);
}

static plait_sem_t *handler_sem;
static volatile sig_atomic_t released;

static void release_in_handler(int number)
{
    int saved = errno;

    errno = 0;
    if (released < 200 && plait_sem_value(handler_sem) < PLAIT_SEM_MAX && plait_sem_release(handler_sem, 1) == 0)
        released++;
    if (errno)
        released = 1000;
    errno = saved;
}

static void sem_is_released_in_the_sleepers_own_signal_handler(void **state)
{
    struct scene *scene = scene_of(*state, 0, 0);
    struct sigaction action = { .sa_handler = release_in_handler };
    struct itimerval timer = { { 0, 200 }, { 0, 200 } }, off = { { 0, 0 }, { 0, 0 } };
    int err = 0;

    handler_sem = &scene->sem;
    released = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (int i = 0; i < 200 && err == 0; i++)
        err = plait_sem_acquire(&scene->sem, 1, plait_after(10));
    setitimer(ITIMER_REAL, &off, NULL);
    assert_int_equal(err, 0);
    assert_int_equal(released, 200);
    assert_int_equal(plait_sem_value(&scene->sem), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(sem_has_the_permits_it_was_given),
        EVERYWHERE(sem_acquires_all_or_nothing),
        EVERYWHERE(sem_with_absurd_counts_is_refused),
        PRIVATE(sem_outside_an_arena_is_not_shared),
        EVERYWHERE(sem_never_exceeds_the_greatest_value),
        EVERYWHERE(sem_bounded_never_exceeds_its_first_value),
        PRIVATE(sem_of_zero_bytes_is_private_without_permits),
        EVERYWHERE(sem_release_of_n_wakes_n),
        EVERYWHERE(sem_single_releases_reach_every_sleeper),
        EVERYWHERE(sem_sleeper_for_several_is_served_when_there_are_enough),
        EVERYWHERE(sem_sleeper_for_several_does_not_set_permits_aside),
        EVERYWHERE(sem_sleeper_times_out_with_nothing),
        EVERYWHERE(sem_sleepers_are_cancelled_with_nothing),
        EVERYWHERE(sem_with_the_token_set_is_acquired_only_if_it_has_permits),
        PROCESSES(sem_sleepers_killed_take_nothing),
        SHARED(sem_permits_of_the_dead_stay_as_they_are),
        EVERYWHERE(sem_is_released_in_the_sleepers_own_signal_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
