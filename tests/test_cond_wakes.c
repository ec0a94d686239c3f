/* SPDX-License-Identifier: MIT */
/* How a condition wakes: one switch of context for each waiter of many, nothing touched afterwards, nobody forgotten. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"
#include "support/watched.h"

enum { CROWD = 60, FREED = 2000, MIXERS = 6 };

struct scene {
    plait_lock_t lock;
    plait_cond_t cond;
    unsigned round;   /* guarded by lock: a waiter waits until it is another */
    uint32_t arrived; /* guarded by lock */
    uint64_t sleeps;  /* guarded by lock: voluntary switches of context, from the start of the wait to the release */
    plait_time_t end; /* const */
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_lock_init(&scene->lock, stage->flags), 0);
    assert_int_equal(plait_cond_init(&scene->cond, stage->flags), 0);
    return scene;
}

/* ---- A crowd ---------------------------------------------------------------------------- */

static long switches(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

static void wait_in_the_crowd(struct worker *self)
{
    struct scene *scene = self->with;
    long before;
    unsigned round;

    self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    round = scene->round;
    scene->arrived++;
    before = switches();
    while (self->result == 0 && scene->round == round)
        self->result = plait_cond_wait(&scene->cond, &scene->lock, PLAIT_FOREVER);
    for (volatile int i = 0; i < 2000; i++) /* a critical section that others would run into */
        ;
    scene->sleeps += (uint64_t)(switches() - before);
    if (plait_lock_release(&scene->lock) != 0)
        self->result = -2;
}

static uint32_t arrived(struct scene *scene)
{
    uint32_t count = 0;

    if (plait_lock_acquire(&scene->lock, PLAIT_FOREVER) == 0) {
        count = scene->arrived;
        plait_lock_release(&scene->lock);
    }
    return count;
}

/*
 * One switch each to wait; to run into each other would cost one more each, and more. Who waits for a shared word looks
 * up every 100 milliseconds or more seldom.
 */
static uint64_t switches_allowed(const struct stage *stage, plait_time_t took)
{
    uint64_t looks = stage->flags & PLAIT_SHARED ? (uint64_t)(took / (100 * PLAIT__MILLISECOND)) : 0;

    return CROWD * (looks + 1) + CROWD / 2;
}

static void notify_the_crowd(struct stage *stage, bool under_lock)
{
    struct scene *scene = scene_of(stage);
    plait_time_t start = plait_now();

    stage->worker_count = 0;
    for (int i = 0; i < CROWD; i++)
        assert_non_null(worker_start(stage, wait_in_the_crowd, scene));
    assert_true(EVENTUALLY(arrived(scene) == CROWD));
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    scene->round++;
    if (under_lock)
        assert_int_equal(plait_cond_notify_all(&scene->cond), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    if (!under_lock)
        assert_int_equal(plait_cond_notify_all(&scene->cond), 0);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    print_message("%.2f switches of context for a wake-up\n", (double)scene->sleeps / CROWD);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
    assert_true(is_watched() || scene->sleeps <= switches_allowed(stage, plait_now() - start));
}

static void cond_crowd_notified_under_the_lock_wakes_in_turn(void **state) { notify_the_crowd(*state, true); }
static void cond_crowd_notified_without_the_lock_wakes_in_turn(void **state) { notify_the_crowd(*state, false); }

/* ---- Freed by the last ------------------------------------------------------------------ */

struct freed {
    plait_lock_t lock;
    plait_cond_t cond;
    bool over;        /* guarded by lock */
    unsigned waiting; /* guarded by lock; who brings it to 0 frees it all */
};

static void wait_and_free(struct freed *f)
{
    bool last;

    plait_lock_acquire(&f->lock, PLAIT_FOREVER);
    while (!f->over)
        plait_cond_wait(&f->cond, &f->lock, PLAIT_FOREVER);
    last = --f->waiting == 0;
    plait_lock_release(&f->lock);
    if (last) {
        memset(f, 0xa5, sizeof *f);
        free(f);
    }
}

/* Handed over through a slot, one after the other. */
struct hand {
    plait_lock_t lock;
    plait_cond_t changed;
    struct freed *slot[2]; /* guarded by lock: one for each waiter */
};

static void take_and_wait(struct worker *self)
{
    struct hand *hand = self->with;

    self->result = 0;
    for (int i = 0; i < FREED; i++) {
        struct freed *f;

        plait_lock_acquire(&hand->lock, PLAIT_FOREVER);
        while (!(f = hand->slot[self->number]))
            plait_cond_wait(&hand->changed, &hand->lock, PLAIT_FOREVER);
        hand->slot[self->number] = NULL;
        plait_lock_release(&hand->lock);
        wait_and_free(f);
    }
}

static void cond_is_freed_as_soon_as_the_last_wait_has_returned(void **state)
{
    struct stage *stage = *state;
    struct hand *hand = stage_alloc(stage, sizeof *hand);

    assert_non_null(hand);
    for (int i = 0; i < 2; i++)
        assert_non_null(worker_start(stage, take_and_wait, hand));
    for (int i = 0; i < FREED; i++) {
        struct freed *f = calloc(1, sizeof *f);

        assert_non_null(f);
        f->waiting = 2;
        plait_lock_acquire(&hand->lock, PLAIT_FOREVER);
        hand->slot[0] = hand->slot[1] = f;
        plait_cond_notify_all(&hand->changed);
        plait_lock_release(&hand->lock);
        for (bool both = false; !both;) { /* wait until both wait, or are about to */
            plait_lock_acquire(&f->lock, PLAIT_FOREVER);
            both = f->cond.arrivals == 2;
            if (both)
                f->over = true;
            plait_lock_release(&f->lock);
        }
        plait_cond_notify_all(&f->cond);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

/* ---- Nobody forgotten ------------------------------------------------------------------- */

/*
 * All wait for the round to change, some with deadlines that end at any moment; who wakes changes it in turn, notifying
 * one, several or all, with the lock or without it. If a moved sleeper were forgotten, it would not come to its end.
 */
static void change_rounds(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    while (self->result == 0 && plait_now() < scene->end) {
        plait_time_t deadline = plait_now() + (plait_time_t)worker_random(self, 200000);
        bool under_lock = worker_random(self, 2);
        unsigned count = worker_random(self, 4), round;
        int err = 0;

        plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
        round = scene->round;
        while (err == 0 && scene->round == round)
            err = plait_cond_wait(&scene->cond, &scene->lock, deadline);
        if (err && err != ETIMEDOUT)
            self->result = err;
        scene->round++;
        if (under_lock)
            self->result |= plait_cond_notify(&scene->cond, count == 3 ? UINT32_MAX : count);
        self->result |= plait_lock_release(&scene->lock);
        if (!under_lock)
            self->result |= plait_cond_notify(&scene->cond, count == 3 ? UINT32_MAX : count);
    }
}

/* They have no deadline: they sleep until somebody changes the round, and what is left undone shows here. */
static void wait_for_rounds(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    while (self->result == 0 && scene->round != UINT32_MAX)
        self->result = plait_cond_wait(&scene->cond, &scene->lock, PLAIT_FOREVER);
    self->result |= plait_lock_release(&scene->lock);
}

static void cond_under_stress_forgets_nobody(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    scene->end = plait_after(stage_stress_seconds() / 2);
    stage_seed();
    for (int i = 0; i < MIXERS; i++) {
        assert_non_null(worker_start(stage, change_rounds, scene));
        assert_non_null(worker_start(stage, wait_for_rounds, scene));
    }
    for (int i = 0; i < 2 * MIXERS; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, plait_after(10)), 0);
    scene->round = UINT32_MAX;
    assert_int_equal(plait_cond_notify_all(&scene->cond), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    for (int i = 1; i < 2 * MIXERS; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(cond_crowd_notified_under_the_lock_wakes_in_turn),
        EVERYWHERE(cond_crowd_notified_without_the_lock_wakes_in_turn),
        PRIVATE(cond_is_freed_as_soon_as_the_last_wait_has_returned),
        EVERYWHERE(cond_under_stress_forgets_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
