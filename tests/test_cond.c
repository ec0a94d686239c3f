/* SPDX-License-Identifier: MIT */
/* The contract of plait/cond.h, sentence by sentence. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <plait.h>

#include "arena/arena.h"
#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { WAITERS = 6 };

/* What a case's workers share. */
struct scene {
    plait_lock_t lock;
    plait_cond_t cond;
    plait_cancel_t token;
    plait_time_t deadline;
    uint32_t done;           /* atomic: waits that have ended; written under lock */
    uint32_t order[WAITERS]; /* guarded by lock: who ended as the how-many-eth */
    bool ready;              /* guarded by lock: the predicate */
    uint32_t asked;          /* guarded by lock: how often it was called */
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_lock_init(&scene->lock, stage->flags), 0);
    assert_int_equal(plait_cond_init(&scene->cond, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    return scene;
}

static bool is_ready(void *arg)
{
    struct scene *scene = arg;

    scene->asked++;
    return scene->ready;
}

/* ---- Workers ---------------------------------------------------------------------------- */

/* The lock, taken over from whoever died with it. */
static int enter(struct scene *scene)
{
    int err = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);

    return err == EOWNERDEAD ? plait_lock_consistent(&scene->lock) : err;
}

static void wait_for_a_notification(struct worker *self)
{
    struct scene *scene = self->with;
    plait_time_t start = plait_now();

    self->result = enter(scene);
    if (self->result == 0)
        self->result = plait_cond_wait(&scene->cond, &scene->lock, scene->deadline);
    self->took = plait_now() - start;
    if (self->result == EOWNERDEAD)
        plait_lock_consistent(&scene->lock);
    if (scene->done < WAITERS)
        scene->order[scene->done] = self->number;
    __atomic_fetch_add(&scene->done, 1, __ATOMIC_RELEASE);
    if (plait_lock_release(&scene->lock) != 0) /* held, whatever was returned */
        self->result = -2;
}

static void wait_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    wait_for_a_notification(self);
}

static void wait_until_ready(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = enter(scene);
    if (self->result == 0)
        self->result = plait_cond_wait_for(&scene->cond, &scene->lock, is_ready, scene, scene->deadline);
    if (plait_lock_release(&scene->lock) != 0)
        self->result = -2;
}

static void hold_and_die(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    plait_cond_notify(&scene->cond, 1);
    worker_die(self);
}

/* ---- The test's side -------------------------------------------------------------------- */

/* Who arrives holds the lock. */
static uint64_t arrivals(struct scene *scene)
{
    uint64_t count = UINT64_MAX;

    if (enter(scene) == 0) {
        count = scene->cond.arrivals;
        plait_lock_release(&scene->lock);
    }
    return count;
}

static uint32_t arena_slots(struct stage *stage)
{
    return stage->arena->base->slots_high;
}

static uint32_t done(struct scene *scene)
{
    return __atomic_load_n(&scene->done, __ATOMIC_ACQUIRE);
}

/* Start one waiter and see it in the queue: it has arrived, and has given up the lock. */
static struct worker *add_waiter(struct stage *stage, struct scene *scene, void (*run)(struct worker *))
{
    uint64_t before = arrivals(scene);
    struct worker *w = worker_start(stage, run, scene);

    assert_non_null(w);
    assert_true(EVENTUALLY(arrivals(scene) == before + 1));
    return w;
}

static void add_waiters(struct stage *stage, struct scene *scene, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        add_waiter(stage, scene, wait_for_a_notification);
}

/* ---- Notifying -------------------------------------------------------------------------- */

static void cond_notification_ends_a_wait(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, 1);
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_int_equal(worker_result(&stage->workers[0]), 0);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

static void cond_notifies_exactly_n_in_order_of_arrival(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, WAITERS);
    for (uint32_t i = 0; i < WAITERS; i++) {
        assert_int_equal(done(scene), i);
        assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
        assert_true(EVENTUALLY(done(scene) == i + 1));
    }
    for (uint32_t i = 0; i < WAITERS; i++) {
        assert_int_equal(scene->order[i], i);
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    }
}

static void cond_notify_of_several_wakes_the_first(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, WAITERS);
    assert_int_equal(plait_cond_notify(&scene->cond, 0), 0);
    assert_int_equal(plait_cond_notify(&scene->cond, 4), 0);
    assert_true(EVENTUALLY(done(scene) == 4));
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(done(scene), 4);
    assert_int_equal(plait_cond_notify_all(&scene->cond), 0);
    for (uint32_t i = 4; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void cond_notification_without_waiters_is_not_kept(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_cond_notify(&scene->cond, 100), 0);
    assert_int_equal(plait_cond_notify_all(&scene->cond), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_cond_wait(&scene->cond, &scene->lock, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_cond_wait(&scene->cond, &scene->lock, plait_after(0.005)), ETIMEDOUT);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void cond_notified_with_the_lock_held_returns_with_it(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, WAITERS);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_cond_notify_all(&scene->cond), 0);
    for (int i = 0; i < WAITERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 0)); /* for the lock now */
    assert_int_equal(done(scene), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void cond_waiter_who_comes_later_takes_no_notification(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, 2);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_cond_notify(&scene->cond, 5), 0);
    /* The two are notified, and wait for the lock; the test comes later. */
    assert_int_equal(plait_cond_wait(&scene->cond, &scene->lock, plait_after(0.01)), ETIMEDOUT);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void cond_waiters_do_not_wake_spuriously(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, WAITERS);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
        assert_int_equal(plait_cond_wait(&scene->cond, &scene->lock, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(plait_lock_release(&scene->lock), 0);
    }
    assert_int_equal(done(scene), 0);
    assert_int_equal(plait_cond_notify_all(&scene->cond), 0);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static plait_cond_t zero;
static plait_lock_t zero_lock;

static void cond_of_zero_bytes_is_private_and_empty(void **state)
{
    static plait_cond_t named = PLAIT_COND_INIT;

    assert_int_equal(memcmp(&zero, &named, sizeof zero), 0);
    assert_int_equal(plait_lock_acquire(&zero_lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_cond_notify(&zero, 1), 0);
    assert_int_equal(plait_cond_wait(&zero, &zero_lock, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_lock_release(&zero_lock), 0);
    assert_int_equal(plait_cond_fini(&zero), 0);
}

/* ---- Deadlines, cancel, predicates ------------------------------------------------------ */

static void cond_wait_times_out_never_early_with_the_lock_held(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    for (int i = 0; i < 10; i++) {
        plait_time_t deadline = plait_after(i * 5e-4);

        assert_int_equal(plait_cond_wait(&scene->cond, &scene->lock, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
        assert_true(plait_lock_is_locked(&scene->lock));
    }
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

static void cond_waiter_that_timed_out_has_left(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    scene->deadline = plait_after(0.05);
    assert_non_null(worker_start(stage, wait_for_a_notification, scene));
    assert_int_equal(worker_result(&stage->workers[0]), ETIMEDOUT);
    scene->deadline = PLAIT_FOREVER;
    add_waiter(stage, scene, wait_for_a_notification);
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_int_equal(worker_result(&stage->workers[1]), 0);
}

static void cond_waiters_are_cancelled_and_hold_the_lock(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < WAITERS - 1; i++)
        add_waiter(stage, scene, wait_bound);
    add_waiter(stage, scene, wait_for_a_notification);
    plait_cancel_set(&scene->token);
    for (int i = 0; i < WAITERS - 1; i++)
        assert_int_equal(worker_result(&stage->workers[i]), ECANCELED);
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_int_equal(worker_result(&stage->workers[WAITERS - 1]), 0);
}

static void cond_cancelled_takes_the_lock_back_however_long_it_takes(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = add_waiter(stage, scene, wait_bound);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    plait_cancel_set(&scene->token);
    plait_sleep(0.02); /* not to order anything: to give the waiter the time to be wrong */
    assert_int_equal(done(scene), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(worker_result(w), ECANCELED);
}

static void cond_wait_for_asks_at_once_and_after_each_notification(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = add_waiter(stage, scene, wait_until_ready);

    assert_int_equal(scene->asked, 1);
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_true(EVENTUALLY(arrivals(scene) == 2));
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(scene->asked, 2);
    scene->ready = true;
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(worker_result(w), 0);
    assert_int_equal(scene->asked, 3);
}

static void cond_wait_for_has_one_deadline(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    scene->deadline = plait_after(1);
    w = worker_start(stage, wait_until_ready, scene);
    for (plait_time_t end = plait_after(10); plait_now() < scene->deadline && plait_now() < end; stage_pause())
        plait_cond_notify(&scene->cond, 1); /* each of them would start a new second otherwise */
    assert_int_equal(worker_result(w), ETIMEDOUT);
    assert_true(plait_now() < scene->deadline + 5 * PLAIT__SECOND);
    assert_true(scene->asked > 2);
}

static void cond_wait_for_asks_once_more_at_the_deadline(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_cond_wait_for(&scene->cond, &scene->lock, is_ready, scene, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(scene->asked, 2);
    scene->ready = true;
    assert_int_equal(plait_cond_wait_for(&scene->cond, &scene->lock, is_ready, scene, PLAIT_NOW), 0);
    assert_int_equal(scene->asked, 3);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

/* ---- Misuse ----------------------------------------------------------------------------- */

static void wait_without_the_lock(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_cond_wait(&scene->cond, &scene->lock, PLAIT_NOW);
}

static void cond_wait_without_the_lock_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_cond_wait(&scene->cond, &scene->lock, PLAIT_FOREVER), EPERM);
    if (stage->setting != STAGE_PRIVATE) {
        assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
        assert_int_equal(worker_result(worker_start(stage, wait_without_the_lock, scene)), EPERM);
        assert_true(plait_lock_is_locked(&scene->lock));
        assert_int_equal(plait_lock_release(&scene->lock), 0);
    }
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

static void cond_private_with_a_strangers_shared_lock_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_cond_init(&scene->cond, 0), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(worker_result(worker_start(stage, wait_without_the_lock, scene)), EPERM);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void cond_shared_with_a_private_lock_is_refused(void **state)
{
    struct scene *scene = scene_of(*state);
    plait_lock_t private = PLAIT_LOCK_INIT;

    assert_int_equal(plait_lock_acquire(&private, PLAIT_FOREVER), 0);
    assert_int_equal(plait_cond_wait(&scene->cond, &private, PLAIT_FOREVER), EINVAL);
    assert_true(plait_lock_is_locked(&private));
    assert_int_equal(plait_lock_release(&private), 0);
}

static void cond_with_bad_flags_or_place_is_refused(void **state)
{
    plait_cond_t cond;

    assert_int_equal(plait_cond_init(&cond, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_cond_init(&cond, PLAIT_BOUNDED), EINVAL);
    assert_int_equal(plait_cond_init(&cond, 1u << 31), EINVAL);
}

static void cond_waited_for_is_not_ended(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, 2);
    assert_int_equal(plait_cond_fini(&scene->cond), EBUSY);
    assert_int_equal(plait_cond_notify(&scene->cond, 2), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

/* ---- Death ------------------------------------------------------------------------------ */

static void cond_dead_waiters_do_not_count(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, WAITERS);
    for (int i = 0; i < WAITERS; i += 2)
        worker_kill(&stage->workers[i]);
    assert_int_equal(plait_cond_notify(&scene->cond, WAITERS / 2), 0);
    for (int i = 1; i < WAITERS; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

static void cond_with_only_dead_waiters_is_ended(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, WAITERS);
    assert_int_equal(plait_cond_fini(&scene->cond), EBUSY);
    for (int i = 0; i < WAITERS; i++)
        worker_kill(&stage->workers[i]);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

/* They are notified while the test holds the lock, so none can return; killed then, their notifications pass on. */
static void cond_notifications_of_killed_waiters_pass_on(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, WAITERS);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_cond_notify(&scene->cond, 3), 0);
    for (int i = 0; i < 3; i++)
        worker_kill(&stage->workers[i]);
    plait_time_t start = plait_now();
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    for (int i = 3; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_true(plait_now() < start + 2 * PLAIT__SECOND);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

static void cond_lock_holders_death_is_told_to_the_waiter(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, 2);
    assert_true(worker_join(worker_start(stage, hold_and_die, scene)));
    assert_int_equal(worker_result(&stage->workers[0]), EOWNERDEAD);
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_int_equal(worker_result(&stage->workers[1]), 0);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

static void cond_with_an_unrecoverable_lock_does_not_hold_it(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = add_waiter(stage, scene, wait_for_a_notification);

    assert_true(worker_join(worker_start(stage, hold_and_die, scene)));
    assert_true(worker_join(w));
    assert_int_equal(plait_lock_init(&scene->lock, stage->flags), 0);
    w = add_waiter(stage, scene, wait_for_a_notification);
    scene->lock.fault = 2; /* as after a release without plait_lock_consistent */
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_int_equal(worker_result(w), -2); /* its release was refused */
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

/* Notifiers are killed at any moment; whoever waits must be reached by the notifier that comes after them. */
static void notify_for_ever(struct worker *self)
{
    struct scene *scene = self->with;

    for (;;) {
        plait_cond_notify(&scene->cond, 1);
        worker_says(self, 1);
    }
}

static void wait_many_times(struct worker *self)
{
    struct scene *scene = self->with;

    for (;;) {
        int err = enter(scene);

        if (err == 0)
            err = plait_cond_wait(&scene->cond, &scene->lock, PLAIT_FOREVER);
        if (err == EOWNERDEAD)
            err = plait_lock_consistent(&scene->lock);
        if (err) {
            self->result = err;
            return;
        }
        __atomic_fetch_add(&scene->done, 1, __ATOMIC_RELEASE);
        plait_lock_release(&scene->lock);
    }
}

static void cond_survives_the_death_of_anyone_at_any_time(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int round = 0; round < 20; round++) {
        struct worker *w[4];
        uint32_t before;

        stage->worker_count = 0;
        for (int i = 0; i < 4; i++)
            w[i] = worker_start(stage, i % 2 ? notify_for_ever : wait_many_times, scene);
        assert_true(worker_said(w[1], 1) && worker_said(w[3], 1));
        worker_kill(w[round & 1]);
        before = done(scene);
        assert_true(EVENTUALLY(done(scene) > before + 10));
        worker_kill(w[2 + (round >> 1 & 1)]);
        for (int i = 0; i < 4; i++)
            if (!w[i]->ended)
                worker_kill(w[i]);
        for (int i = 0; i < 4; i++)
            assert_int_equal(w[i]->result, -1); /* none of them ever had an error */
        assert_int_equal(plait_cond_fini(&scene->cond), 0);
        assert_in_range(plait_lock_acquire(&scene->lock, plait_after(5)) == EOWNERDEAD, 0, 1);
        plait_lock_consistent(&scene->lock);
        assert_int_equal(plait_lock_release(&scene->lock), 0);
    }
}

/* A signal handler waits in another condition, while its thread waits in one. */
static struct scene *handler_scene;
static int handler_result = -1;

static void wait_in_handler(int number)
{
    int saved = errno;
    int err = plait_lock_acquire(&handler_scene->lock, PLAIT_FOREVER);

    if (err == 0)
        err = plait_cond_wait(&handler_scene->cond, &handler_scene->lock, plait_after(0.002));
    plait_lock_release(&handler_scene->lock);
    errno = saved;
    __atomic_store_n(&handler_result, err, __ATOMIC_RELEASE);
}

static void cond_waits_nest(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    handler_scene = scene_of(stage);
    signal(SIGUSR1, wait_in_handler);
    w = add_waiter(stage, scene, wait_for_a_notification);
    assert_true(worker_sleeps(w, 0));
    for (int i = 0; i < 3; i++) {
        __atomic_store_n(&handler_result, -1, __ATOMIC_RELAXED);
        pthread_kill(w->thread, SIGUSR1);
        assert_true(EVENTUALLY(__atomic_load_n(&handler_result, __ATOMIC_ACQUIRE) == ETIMEDOUT));
        assert_int_equal(done(scene), 0);
    }
    assert_int_equal(plait_cond_fini(&handler_scene->cond), 0);
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_int_equal(worker_result(w), 0);
    signal(SIGUSR1, SIG_DFL);
}

/* A place where a condition was, with a waiter that is dead: the next condition there knows nothing of it. */
static void cond_made_where_another_was_has_no_waiters(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    worker_kill(add_waiter(stage, scene, wait_for_a_notification));
    assert_int_equal(plait_cond_init(&scene->cond, stage->flags), 0);
    for (uint32_t i = 0; i < arena_slots(stage); i++)
        assert_int_equal(plait__slot_at(stage->arena->base, i)->row.holds[0].name, 0);
}

static void cond_in_a_full_arena_has_no_place_for_another_thread(void **state)
{
    struct stage *stage = *state;
    plait_arena_t *arena = NULL;
    struct scene *scene = NULL;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 1 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *scene, (void **)&scene), 0);
    assert_int_equal(plait_cond_init(&scene->cond, PLAIT_SHARED), 0);
    struct worker *w = worker_start(stage, hold_and_die, scene); /* its lock is private: it notifies in vain */
    assert_true(worker_join(w));
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(cond_notification_ends_a_wait),
        EVERYWHERE(cond_notifies_exactly_n_in_order_of_arrival),
        EVERYWHERE(cond_notify_of_several_wakes_the_first),
        EVERYWHERE(cond_notification_without_waiters_is_not_kept),
        EVERYWHERE(cond_notified_with_the_lock_held_returns_with_it),
        EVERYWHERE(cond_waiter_who_comes_later_takes_no_notification),
        EVERYWHERE(cond_waiters_do_not_wake_spuriously),
        PRIVATE(cond_of_zero_bytes_is_private_and_empty),
        EVERYWHERE(cond_wait_times_out_never_early_with_the_lock_held),
        EVERYWHERE(cond_waiter_that_timed_out_has_left),
        EVERYWHERE(cond_waiters_are_cancelled_and_hold_the_lock),
        EVERYWHERE(cond_cancelled_takes_the_lock_back_however_long_it_takes),
        EVERYWHERE(cond_wait_for_asks_at_once_and_after_each_notification),
        EVERYWHERE(cond_wait_for_has_one_deadline),
        EVERYWHERE(cond_wait_for_asks_once_more_at_the_deadline),
        EVERYWHERE(cond_wait_without_the_lock_is_refused),
        SHARED(cond_private_with_a_strangers_shared_lock_is_refused),
        SHARED(cond_shared_with_a_private_lock_is_refused),
        PRIVATE(cond_with_bad_flags_or_place_is_refused),
        EVERYWHERE(cond_waited_for_is_not_ended),
        PROCESSES(cond_dead_waiters_do_not_count),
        PROCESSES(cond_with_only_dead_waiters_is_ended),
        PROCESSES(cond_notifications_of_killed_waiters_pass_on),
        SHARED(cond_lock_holders_death_is_told_to_the_waiter),
        SHARED(cond_with_an_unrecoverable_lock_does_not_hold_it),
        PROCESSES(cond_survives_the_death_of_anyone_at_any_time),
        STAGE_CASE(cond_waits_nest, PRIVATE),
        STAGE_CASE(cond_waits_nest, THREADS),
        PROCESSES(cond_made_where_another_was_has_no_waiters),
        SHARED(cond_in_a_full_arena_has_no_place_for_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
