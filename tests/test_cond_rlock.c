/* SPDX-License-Identifier: MIT */
/* A condition on a recursive lock: all levels are given up and taken back. */
#include <errno.h>
#include <string.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { LEVELS = 3, WAITERS = 6 };

struct scene {
    plait_rlock_t rlock;
    plait_cond_t cond;
    plait_cancel_t token;
    plait_time_t deadline;
    uint32_t done;    /* atomic: waits that have ended; written under rlock */
    bool ready;       /* guarded by rlock: the predicate */
    uint32_t asked;   /* guarded by rlock: how often it was called */
    unsigned shallow; /* guarded by rlock: how often it was called at another depth than LEVELS */
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_rlock_init(&scene->rlock, stage->flags), 0);
    assert_int_equal(plait_cond_init(&scene->cond, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    return scene;
}

static int enter(struct scene *scene, unsigned levels)
{
    int err = 0;

    for (unsigned i = 0; i < levels && err == 0; i++) {
        err = plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER);
        if (err == EOWNERDEAD)
            err = plait_rlock_consistent(&scene->rlock);
    }
    return err;
}

static int leave(struct scene *scene, unsigned levels)
{
    int err = 0;

    for (unsigned i = 0; i < levels && err == 0; i++)
        err = plait_rlock_release(&scene->rlock);
    return err;
}

static bool is_ready(void *arg)
{
    struct scene *scene = arg;

    scene->asked++;
    scene->shallow += plait_rlock_depth(&scene->rlock) != LEVELS;
    return scene->ready;
}

static void wait_at_depth(struct worker *self)
{
    struct scene *scene = self->with;
    unsigned levels = self->number % 2 ? 1 : LEVELS;

    self->result = enter(scene, levels);
    if (self->result == 0)
        self->result = plait_cond_wait(&scene->cond, &scene->rlock.lock, scene->deadline);
    if (self->result == EOWNERDEAD)
        plait_rlock_consistent(&scene->rlock);
    if (plait_rlock_depth(&scene->rlock) != levels)
        self->result = -3;
    __atomic_fetch_add(&scene->done, 1, __ATOMIC_RELEASE);
    if (leave(scene, levels) != 0)
        self->result = -2;
}

static void wait_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    wait_at_depth(self);
}

static void wait_until_ready(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = enter(scene, LEVELS);
    if (self->result == 0)
        self->result = plait_cond_wait_for(&scene->cond, &scene->rlock.lock, is_ready, scene, scene->deadline);
    if (leave(scene, LEVELS) != 0)
        self->result = -2;
}

static void wait_as_a_stranger(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_cond_wait(&scene->cond, &scene->rlock.lock, PLAIT_NOW);
}

static void hold_and_die(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = enter(scene, LEVELS);
    plait_cond_notify(&scene->cond, 1);
    worker_die(self);
}

/* Who arrives holds the lock. */
static uint64_t arrivals(struct scene *scene)
{
    uint64_t count = UINT64_MAX;

    if (enter(scene, 1) == 0) {
        count = scene->cond.arrivals;
        leave(scene, 1);
    }
    return count;
}

static struct worker *add_waiter(struct stage *stage, struct scene *scene, void (*run)(struct worker *))
{
    uint64_t before = arrivals(scene);
    struct worker *w = worker_start(stage, run, scene);

    assert_non_null(w);
    assert_true(EVENTUALLY(arrivals(scene) == before + 1));
    return w;
}

static uint32_t done(struct scene *scene)
{
    return __atomic_load_n(&scene->done, __ATOMIC_ACQUIRE);
}

/* ---- Cases ------------------------------------------------------------------------------ */

static void cond_gives_up_all_levels_and_takes_them_back(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < WAITERS; i++)
        add_waiter(stage, scene, wait_at_depth); /* each enters, so the ones before have given all up */
    for (int i = 0; i < WAITERS; i++) {
        assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
        assert_true(EVENTUALLY(done(scene) == (uint32_t)i + 1));
    }
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_false(plait_rlock_is_locked(&scene->rlock));
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

static void cond_notified_under_the_rlock_takes_turns(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < WAITERS; i++)
        add_waiter(stage, scene, wait_at_depth);
    assert_int_equal(enter(scene, 2), 0);
    assert_int_equal(plait_cond_notify(&scene->cond, 2), 0);
    assert_int_equal(plait_cond_notify_all(&scene->cond), 0);
    for (int i = 0; i < WAITERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 0));
    assert_int_equal(leave(scene, 1), 0);
    assert_int_equal(done(scene), 0);
    assert_int_equal(leave(scene, 1), 0);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void cond_wait_times_out_at_the_same_depth(void **state)
{
    struct scene *scene = scene_of(*state);

    for (unsigned levels = 1; levels <= LEVELS; levels++) {
        plait_time_t deadline = plait_after(0.002 * levels);

        assert_int_equal(enter(scene, levels), 0);
        assert_int_equal(plait_cond_wait(&scene->cond, &scene->rlock.lock, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(plait_rlock_depth(&scene->rlock), levels);
        assert_int_equal(plait_cond_wait(&scene->cond, &scene->rlock.lock, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
        assert_int_equal(plait_rlock_depth(&scene->rlock), levels);
        assert_int_equal(leave(scene, levels), 0);
    }
}

static void cond_wait_cancelled_has_all_levels(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < WAITERS; i++)
        add_waiter(stage, scene, wait_bound);
    assert_int_equal(enter(scene, 1), 0);
    plait_cancel_set(&scene->token);
    plait_sleep(0.005); /* not to order anything: to give the waiters the time to be wrong */
    assert_int_equal(done(scene), 0);
    assert_int_equal(leave(scene, 1), 0);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), ECANCELED);
}

static void cond_wait_for_asks_at_full_depth(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = add_waiter(stage, scene, wait_until_ready);

    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_true(EVENTUALLY(arrivals(scene) == 2));
    assert_int_equal(enter(scene, 2), 0);
    scene->ready = true;
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_int_equal(leave(scene, 2), 0);
    assert_int_equal(worker_result(w), 0);
    assert_int_equal(scene->asked, 3);
    scene->ready = false;
    scene->deadline = plait_after(0.01);
    assert_int_equal(worker_result(worker_start(stage, wait_until_ready, scene)), ETIMEDOUT);
    assert_int_equal(scene->asked, 5);
    assert_int_equal(scene->shallow, 0);
}

static void cond_wait_with_a_strangers_rlock_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_cond_wait(&scene->cond, &scene->rlock.lock, PLAIT_FOREVER), EPERM);
    assert_int_equal(enter(scene, 2), 0);
    assert_int_equal(worker_result(worker_start(stage, wait_as_a_stranger, scene)), EPERM);
    assert_int_equal(plait_rlock_depth(&scene->rlock), 2);
    assert_int_equal(leave(scene, 2), 0);
}

static void cond_shared_with_a_private_rlock_is_refused(void **state)
{
    struct scene *scene = scene_of(*state);
    plait_rlock_t private = PLAIT_RLOCK_INIT;

    assert_int_equal(plait_rlock_acquire(&private, PLAIT_FOREVER), 0);
    assert_int_equal(plait_cond_wait(&scene->cond, &private.lock, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_rlock_depth(&private), 1);
    assert_int_equal(plait_rlock_release(&private), 0);
}

static void cond_private_goes_with_a_shared_rlock(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_cond_init(&scene->cond, 0), 0);
    if (stage->setting == STAGE_THREADS) {
        for (int i = 0; i < WAITERS; i++)
            add_waiter(stage, scene, wait_at_depth);
        assert_int_equal(enter(scene, 1), 0);
        assert_int_equal(plait_cond_notify_all(&scene->cond), 0);
        assert_int_equal(leave(scene, 1), 0);
        for (int i = 0; i < WAITERS; i++)
            assert_int_equal(worker_result(&stage->workers[i]), 0);
    }
    assert_int_equal(enter(scene, 2), 0);
    assert_int_equal(plait_cond_wait(&scene->cond, &scene->rlock.lock, plait_after(0.001)), ETIMEDOUT);
    assert_int_equal(plait_rlock_depth(&scene->rlock), 2);
    assert_int_equal(leave(scene, 2), 0);
}

static void cond_rlock_holders_death_is_told_with_all_levels(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 2; i++)
        add_waiter(stage, scene, wait_at_depth);
    assert_true(worker_join(worker_start(stage, hold_and_die, scene)));
    assert_int_equal(worker_result(&stage->workers[0]), EOWNERDEAD);
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_int_equal(worker_result(&stage->workers[1]), 0);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(cond_gives_up_all_levels_and_takes_them_back),
        EVERYWHERE(cond_notified_under_the_rlock_takes_turns),
        EVERYWHERE(cond_wait_times_out_at_the_same_depth),
        EVERYWHERE(cond_wait_cancelled_has_all_levels),
        EVERYWHERE(cond_wait_for_asks_at_full_depth),
        EVERYWHERE(cond_wait_with_a_strangers_rlock_is_refused),
        SHARED(cond_shared_with_a_private_rlock_is_refused),
        SHARED(cond_private_goes_with_a_shared_rlock),
        SHARED(cond_rlock_holders_death_is_told_with_all_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
