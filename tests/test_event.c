/* SPDX-License-Identifier: MIT */
/* The contract of plait/event.h, sentence by sentence. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { WAITERS = 6, ROUNDS = 2000 };

/* What a case's workers share. */
struct scene {
    plait_event_t event;
    plait_cancel_t token;
    plait_time_t deadline;
    uint64_t plain; /* written before the set, read after the wait */
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_event_init(&scene->event, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    return scene;
}

static void wait_for_it(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_event_wait(&scene->event, scene->deadline);
    if (self->result == 0 && scene->plain != 42)
        self->result = -2;
}

static void wait_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    wait_for_it(self);
}

static void put_to_sleep(struct stage *stage, struct scene *scene, void (*run)(struct worker *), unsigned count)
{
    unsigned first = stage->worker_count;

    for (unsigned i = 0; i < count; i++)
        assert_non_null(worker_start(stage, run, scene));
    for (unsigned i = 0; i < count; i++)
        assert_true(worker_sleeps(&stage->workers[first + i], 1));
}

static void event_is_set_and_cleared(void **state)
{
    struct scene *scene = scene_of(*state);
    plait_event_t *event = &scene->event;

    assert_false(plait_event_is_set(event));
    assert_int_equal(plait_event_wait(event, PLAIT_NOW), ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_event_set(event), 0);
        assert_int_equal(plait_event_set(event), 0);
        assert_true(plait_event_is_set(event));
        assert_int_equal(plait_event_wait(event, PLAIT_NOW), 0);
        assert_int_equal(plait_event_wait(event, PLAIT_FOREVER), 0);
        assert_int_equal(plait_event_clear(event), 0);
        assert_int_equal(plait_event_clear(event), 0);
        assert_false(plait_event_is_set(event));
        assert_int_equal(plait_event_wait(event, PLAIT_NOW), ETIMEDOUT);
    }
    assert_int_equal(plait_event_fini(event), 0);
}

static void event_clear_times_out_never_early(void **state)
{
    struct scene *scene = scene_of(*state);

    for (int i = 0; i < 20; i++) {
        plait_time_t deadline = plait_after(i * 2e-4);

        assert_int_equal(plait_event_wait(&scene->event, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
    }
    assert_int_equal(plait_event_wait(&scene->event, -1), ETIMEDOUT);
}

static plait_event_t zero;

static void event_of_zero_bytes_is_private_and_clear(void **state)
{
    assert_false(plait_event_is_set(&zero));
    assert_int_equal(plait_event_wait(&zero, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_event_set(&zero), 0);
    assert_int_equal(plait_event_wait(&zero, PLAIT_FOREVER), 0);
}

static void event_with_bad_flags_or_place_is_refused(void **state)
{
    plait_event_t event;

    assert_int_equal(plait_event_init(&event, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_event_init(&event, PLAIT_BOUNDED), EINVAL);
    assert_int_equal(plait_event_init(&event, 1u << 31), EINVAL);
}

static void event_set_wakes_all_and_shows_what_was_written(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    put_to_sleep(stage, scene, wait_for_it, WAITERS);
    scene->plain = 42;
    assert_int_equal(plait_event_set(&scene->event), 0);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void event_set_and_cleared_at_once_wakes_all(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    put_to_sleep(stage, scene, wait_for_it, WAITERS);
    scene->plain = 42;
    plait_event_set(&scene->event);
    plait_event_clear(&scene->event);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_false(plait_event_is_set(&scene->event));
    assert_int_equal(plait_event_wait(&scene->event, PLAIT_NOW), ETIMEDOUT); /* a later waiter is not meant */
}

static void wait_many_times(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    for (int i = 0; i < ROUNDS && self->result == 0; i++)
        self->result = plait_event_wait(&scene->event, plait_after(10));
    worker_says(self, 1);
}

/* Bit 1 of the word says that a waiter sleeps or is about to: from then on, one short pulse must end its wait. */
static void event_one_pulse_ends_one_wait(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, wait_many_times, scene);
    plait_time_t end = plait_after(20);

    assert_non_null(w);
    while (__atomic_load_n(&w->phase, __ATOMIC_ACQUIRE) == 0 && plait_now() < end) {
        if (!(__atomic_load_n(&scene->event.word, __ATOMIC_ACQUIRE) & 2u)) {
            sched_yield();
            continue;
        }
        plait_event_set(&scene->event);
        plait_event_clear(&scene->event);
    }
    assert_int_equal(worker_result(w), 0);
    assert_true(plait_now() < end);
}

static void event_waiters_are_cancelled(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    put_to_sleep(stage, scene, wait_bound, WAITERS);
    put_to_sleep(stage, scene, wait_for_it, 1);
    plait_cancel_set(&scene->token);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), ECANCELED);
    scene->plain = 42;
    plait_event_set(&scene->event);
    assert_int_equal(worker_result(&stage->workers[WAITERS]), 0);
}

static void event_with_the_token_set_is_waited_for_only_if_set(void **state)
{
    struct scene *scene = scene_of(*state);

    plait_cancel_set(&scene->token);
    plait_cancel_bind(&scene->token);
    assert_int_equal(plait_event_wait(&scene->event, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(plait_event_wait(&scene->event, PLAIT_NOW), ECANCELED);
    plait_event_set(&scene->event);
    assert_int_equal(plait_event_wait(&scene->event, PLAIT_FOREVER), 0);
}

static void event_waiters_killed_leave_nothing_behind(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    put_to_sleep(stage, scene, wait_for_it, WAITERS);
    for (int i = 0; i < WAITERS; i += 2)
        worker_kill(&stage->workers[i]);
    scene->plain = 42;
    plait_event_set(&scene->event);
    for (int i = 1; i < WAITERS; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    plait_event_clear(&scene->event);
    assert_int_equal(plait_event_wait(&scene->event, PLAIT_NOW), ETIMEDOUT);
}

/* The setter's exchange without its wake, as after a death in between: bit 0 and the next round. */
static void set_without_wake(struct worker *self)
{
    struct scene *scene = self->with;

    __atomic_store_n(&scene->event.word, 4 + 1, __ATOMIC_RELEASE);
    self->result = 0;
    worker_die(self);
}

static void event_whose_setter_died_before_its_wake_is_seen_within_a_second(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    put_to_sleep(stage, scene, wait_for_it, 2);
    scene->plain = 42;
    plait_time_t start = plait_now();
    assert_int_equal(worker_result(worker_start(stage, set_without_wake, scene)), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_true(plait_now() < start + 2 * PLAIT__SECOND);
}

static plait_event_t *handler_event;
static volatile sig_atomic_t handled;

static void pulse_in_handler(int number)
{
    int saved = errno;

    errno = 0;
    if (plait_event_is_set(handler_event))
        plait_event_clear(handler_event);
    plait_event_set(handler_event);
    plait_event_clear(handler_event);
    handled = errno ? -1000000 : handled + 1;
    errno = saved;
}

static void event_is_set_in_the_waiters_own_signal_handler(void **state)
{
    struct scene *scene = scene_of(*state);
    struct sigaction action = { .sa_handler = pulse_in_handler };
    struct itimerval timer = { { 0, 200 }, { 0, 200 } }, off = { { 0, 0 }, { 0, 0 } };
    int err = 0;

    handler_event = &scene->event;
    handled = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    for (int i = 0; i < 200 && err == 0; i++)
        err = plait_event_wait(&scene->event, plait_after(10));
    setitimer(ITIMER_REAL, &off, NULL);
    assert_int_equal(err, 0);
    assert_true(handled > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(event_is_set_and_cleared),
        EVERYWHERE(event_clear_times_out_never_early),
        PRIVATE(event_of_zero_bytes_is_private_and_clear),
        PRIVATE(event_with_bad_flags_or_place_is_refused),
        EVERYWHERE(event_set_wakes_all_and_shows_what_was_written),
        EVERYWHERE(event_set_and_cleared_at_once_wakes_all),
        EVERYWHERE(event_one_pulse_ends_one_wait),
        EVERYWHERE(event_waiters_are_cancelled),
        EVERYWHERE(event_with_the_token_set_is_waited_for_only_if_set),
        PROCESSES(event_waiters_killed_leave_nothing_behind),
        SHARED(event_whose_setter_died_before_its_wake_is_seen_within_a_second),
        EVERYWHERE(event_is_set_in_the_waiters_own_signal_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
