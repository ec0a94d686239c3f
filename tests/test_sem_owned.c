/* SPDX-License-Identifier: MIT */
/* The contract of plait/sem.h about PLAIT_OWNED, sentence by sentence. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <plait.h>

#include "arena/arena.h"
#include "base/clock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { SLEEPERS = 4, PERMITS = 5 };

struct scene {
    plait_sem_t sem;
    plait_cancel_t token;
    plait_time_t deadline;
    uint32_t wanted; /* const */
    uint32_t done;   /* atomic: how many have returned */
};

static struct scene *scene_with(struct stage *stage, unsigned more_flags)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_sem_init(&scene->sem, PERMITS, stage->flags | PLAIT_OWNED | more_flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    scene->wanted = 1;
    return scene;
}

static struct scene *scene_of(struct stage *stage)
{
    return scene_with(stage, 0);
}

static uint32_t done(struct scene *scene)
{
    return __atomic_load_n(&scene->done, __ATOMIC_ACQUIRE);
}

/* ---- Workers ---------------------------------------------------------------------------- */

static void acquire(struct worker *self)
{
    struct scene *scene = self->with;
    uint32_t wanted = scene->wanted; /* the test changes them for the next */
    plait_time_t deadline = scene->deadline;

    worker_says(self, 1);
    self->result = plait_sem_acquire(&scene->sem, wanted, deadline);
    __atomic_fetch_add(&scene->done, 1, __ATOMIC_RELEASE);
}

static void acquire_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    acquire(self);
}

/* Stays, with its permits, until it is killed or the deadline has come. */
static void acquire_and_stay(struct worker *self)
{
    struct scene *scene = self->with;
    plait_time_t deadline = scene->deadline;

    self->result = plait_sem_acquire(&scene->sem, scene->wanted, PLAIT_FOREVER);
    worker_says(self, 1);
    plait_sleep_until(deadline);
}

static void acquire_and_release(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    for (int i = 0; i < 2000 && self->result == 0; i++) {
        unsigned count = 1 + worker_random(self, PERMITS);

        self->result = plait_sem_acquire(&scene->sem, count, plait_after(20));
        if (self->result == 0)
            self->result = plait_sem_release(&scene->sem, count);
    }
}

static void release_two(struct worker *self)
{
    self->result = plait_sem_release(&((struct scene *)self->with)->sem, 2);
}

static void put_to_sleep(struct stage *stage, struct scene *scene, void (*run)(struct worker *), unsigned count)
{
    unsigned first = stage->worker_count;

    for (unsigned i = 0; i < count; i++)
        assert_non_null(worker_start(stage, run, scene));
    for (unsigned i = 0; i < count; i++)
        assert_true(worker_sleeps(&stage->workers[first + i], 1));
}

/* ---- Counting --------------------------------------------------------------------------- */

static void sem_owned_counts(void **state)
{
    struct scene *scene = scene_of(*state);
    plait_sem_t *sem = &scene->sem;

    assert_int_equal(plait_sem_value(sem), PERMITS);
    assert_int_equal(plait_sem_acquire(sem, 1, PLAIT_NOW), 0);
    assert_int_equal(plait_sem_acquire(sem, 2, PLAIT_FOREVER), 0);
    assert_int_equal(plait_sem_value(sem), 2);
    assert_int_equal(plait_sem_acquire(sem, 3, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_sem_acquire(sem, 2, PLAIT_NOW), 0);
    assert_int_equal(plait_sem_value(sem), 0);
    assert_int_equal(plait_sem_acquire(sem, 1, plait_after(0.002)), ETIMEDOUT);
    assert_int_equal(plait_sem_release(sem, 4), 0);
    assert_int_equal(plait_sem_release(sem, 1), 0);
    assert_int_equal(plait_sem_value(sem), PERMITS);
    assert_int_equal(plait_sem_fini(sem), 0);
}

static void sem_owned_with_absurd_counts_is_refused(void **state)
{
    plait_sem_t *sem = &scene_of(*state)->sem;

    assert_int_equal(plait_sem_acquire(sem, 0, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_sem_acquire(sem, PERMITS + 1, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_sem_acquire(sem, UINT32_MAX, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_sem_release(sem, 0), EINVAL);
    assert_int_equal(plait_sem_release(sem, UINT32_MAX), EPERM);
    assert_int_equal(plait_sem_value(sem), PERMITS);
}

static void sem_owned_with_bad_flags_or_place_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    plait_sem_t local;

    assert_int_equal(plait_sem_init(&local, 1, PLAIT_OWNED), EINVAL);
    assert_int_equal(plait_sem_init(&local, 1, PLAIT_OWNED | PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_sem_init(&scene->sem, 0, PLAIT_OWNED | PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_sem_init(&scene->sem, PLAIT_SEM_MAX + 1, PLAIT_OWNED | PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_sem_value(&scene->sem), PERMITS);
}

static void sem_owned_gives_its_memory_back(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    size_t before, after;

    assert_int_equal(plait_arena_usage(stage->arena, &before, NULL, NULL), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(plait_sem_fini(&scene->sem), 0);
        assert_int_equal(plait_sem_init(&scene->sem, PERMITS, PLAIT_OWNED | PLAIT_SHARED), 0);
    }
    assert_int_equal(plait_arena_usage(stage->arena, &after, NULL, NULL), 0);
    assert_int_equal(after, before);
}

static void sem_owned_in_a_full_arena_is_refused(void **state)
{
    struct stage *stage = *state;
    plait_sem_t *sem = stage_alloc(stage, sizeof *sem);
    void *memory;

    for (size_t size = 1 << 20; size >= 16; size /= 2)
        while (plait_arena_alloc(stage->arena, size, &memory) == 0)
            ;
    assert_int_equal(plait_sem_init(sem, 1, PLAIT_OWNED | PLAIT_SHARED), ENOSPC);
}

/* ---- Whose they are --------------------------------------------------------------------- */

static void sem_owned_releases_no_more_than_the_process_has(void **state)
{
    struct stage *stage = *state;

    for (unsigned flags = 0; flags <= PLAIT_BOUNDED; flags += PLAIT_BOUNDED) {
        struct scene *scene = scene_with(stage, flags);

        assert_int_equal(plait_sem_release(&scene->sem, 1), EPERM);
        assert_int_equal(plait_sem_acquire(&scene->sem, 2, PLAIT_NOW), 0);
        assert_int_equal(plait_sem_release(&scene->sem, 3), EPERM);
        assert_int_equal(plait_sem_value(&scene->sem), 3);
        assert_int_equal(plait_sem_release(&scene->sem, 2), 0);
        assert_int_equal(plait_sem_release(&scene->sem, 1), EPERM);
        assert_int_equal(plait_sem_value(&scene->sem), PERMITS);
    }
}

static void sem_owned_is_released_by_a_sibling_but_no_stranger(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    bool is_stranger = stage->setting == STAGE_PROCESSES;

    assert_int_equal(plait_sem_acquire(&scene->sem, 2, PLAIT_NOW), 0);
    assert_int_equal(worker_result(worker_start(stage, release_two, scene)), is_stranger ? EPERM : 0);
    assert_int_equal(plait_sem_value(&scene->sem), is_stranger ? PERMITS - 2 : PERMITS);
    assert_int_equal(plait_sem_release(&scene->sem, 2), is_stranger ? 0 : EPERM);
}

/* Threads that have ended have left their permits to the process, which releases them together with its own. */
static void sem_owned_permits_of_a_thread_that_ends_stay_with_its_process(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 3; i++)
        assert_int_equal(worker_result(worker_start(stage, acquire, scene)), 0);
    assert_int_equal(plait_sem_acquire(&scene->sem, 1, PLAIT_NOW), 0);
    assert_int_equal(plait_sem_acquire(&scene->sem, 2, PLAIT_NOW), ETIMEDOUT); /* looked for the dead, found none */
    assert_int_equal(plait_sem_value(&scene->sem), 1);
    assert_int_equal(plait_sem_release(&scene->sem, 5), EPERM);
    assert_int_equal(plait_sem_release(&scene->sem, 4), 0);
    assert_int_equal(plait_sem_value(&scene->sem), PERMITS);
}

static int release_one(void *arg)
{
    return plait_sem_release(arg, 1);
}

static void sem_owned_permits_are_not_inherited(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_sem_acquire(&scene->sem, 1, PLAIT_NOW), 0);
    assert_int_equal(child_run(release_one, &scene->sem), EPERM);
    assert_int_equal(plait_sem_value(&scene->sem), PERMITS - 1);
    assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
}

static void sem_owned_that_a_living_process_has_permits_of_is_not_ended(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, acquire_and_stay, scene);

    assert_true(worker_said(w, 1));
    assert_int_equal(plait_sem_fini(&scene->sem), EBUSY);
    worker_kill(w);
    assert_int_equal(plait_sem_fini(&scene->sem), 0);
}

/* ---- Sleeping --------------------------------------------------------------------------- */

static struct scene *empty_scene(struct stage *stage)
{
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_sem_acquire(&scene->sem, PERMITS, PLAIT_NOW), 0);
    return scene;
}

static void sem_owned_release_of_n_wakes_n(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = empty_scene(stage);

    scene->deadline = plait_after(20);
    put_to_sleep(stage, scene, acquire, SLEEPERS);
    assert_int_equal(plait_sem_release(&scene->sem, 3), 0);
    assert_true(EVENTUALLY(done(scene) >= 3));
    for (int i = 3; i < SLEEPERS; i++)
        assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void sem_owned_single_releases_reach_every_sleeper(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = empty_scene(stage);

    put_to_sleep(stage, scene, acquire, PERMITS);
    for (int i = 0; i < PERMITS; i++)
        assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
    for (int i = 0; i < PERMITS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void sem_owned_sleeper_for_several_is_served_when_there_are_enough(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = empty_scene(stage);

    scene->wanted = 3;
    put_to_sleep(stage, scene, acquire, 1);
    scene->wanted = 1;
    put_to_sleep(stage, scene, acquire, 2);
    assert_int_equal(plait_sem_release(&scene->sem, 2), 0);
    assert_true(EVENTUALLY(done(scene) == 2));
    assert_int_equal(plait_sem_release(&scene->sem, 3), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void sem_owned_sleepers_time_out_or_are_cancelled_with_nothing(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = empty_scene(stage);

    put_to_sleep(stage, scene, acquire_bound, SLEEPERS);
    put_to_sleep(stage, scene, acquire, 1);
    scene->deadline = plait_after(0.02);
    assert_int_equal(worker_result(worker_start(stage, acquire, scene)), ETIMEDOUT);
    assert_true(plait_now() >= scene->deadline);
    plait_cancel_set(&scene->token);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), ECANCELED);
    assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
    assert_int_equal(worker_result(&stage->workers[SLEEPERS]), 0);
}

static void sem_owned_permits_are_neither_lost_nor_made(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < SLEEPERS; i++)
        assert_non_null(worker_start(stage, acquire_and_release, scene));
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(plait_sem_value(&scene->sem), PERMITS);
    assert_int_equal(plait_sem_fini(&scene->sem), 0);
}

/* ---- Among others ----------------------------------------------------------------------- */

static void acquire_by_any(struct worker *self)
{
    struct scene *scene = self->with;
    plait_event_t never = PLAIT_EVENT_INIT;
    struct plait_wait_entry entries[] = { plait_any_event_wait(&never), plait_any_sem_acquire(&scene->sem, scene->wanted) };
    size_t which = 0;

    worker_says(self, 1);
    self->result = plait_wait_any(entries, 2, &which, PLAIT_FOREVER);
    if (self->result == 0 && which != 1)
        self->result = -1;
    worker_says(self, 2);
    plait_sleep_until(scene->deadline);
}

static void sem_owned_is_acquired_by_wait_any_and_released(void **state)
{
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry entry = plait_any_sem_acquire(&scene->sem, 2);

    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_wait_any(&entry, 1, NULL, PLAIT_NOW), 0);
    assert_int_equal(plait_sem_value(&scene->sem), 1);
    assert_int_equal(plait_wait_any(&entry, 1, NULL, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_wait_any(&entry, 1, NULL, plait_after(0.002)), ETIMEDOUT);
    assert_int_equal(plait_sem_release(&scene->sem, 4), 0);
    assert_int_equal(plait_sem_release(&scene->sem, 1), EPERM);
    assert_int_equal(plait_sem_value(&scene->sem), PERMITS);
}

static void sem_owned_wakes_who_waits_for_any(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = empty_scene(stage);

    scene->deadline = PLAIT_NOW;
    put_to_sleep(stage, scene, acquire_by_any, 2);
    put_to_sleep(stage, scene, acquire_by_any, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void sem_owned_permits_of_the_killed_reach_who_waits_for_any(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *first, *second;
    plait_time_t start;

    scene->wanted = PERMITS;
    first = worker_start(stage, acquire_by_any, scene);
    assert_true(worker_said(first, 2));
    second = worker_start(stage, acquire_by_any, scene);
    assert_true(worker_sleeps(second, 1));
    assert_int_equal(plait_sem_value(&scene->sem), 0);
    start = plait_now();
    worker_kill(first);
    assert_true(worker_said(second, 2));
    assert_true(plait_now() < start + 2 * PLAIT__SECOND);
    worker_kill(second);
    assert_int_equal(plait_sem_acquire(&scene->sem, PERMITS, PLAIT_NOW), 0);
}

/* ---- Death ------------------------------------------------------------------------------ */

static void sem_owned_permits_of_the_killed_are_there_for_who_asks(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    scene->wanted = 3;
    w = worker_start(stage, acquire_and_stay, scene);
    assert_true(worker_said(w, 1));
    assert_int_equal(plait_sem_acquire(&scene->sem, 3, PLAIT_NOW), ETIMEDOUT);
    worker_kill(w);
    assert_int_equal(plait_sem_acquire(&scene->sem, PERMITS, PLAIT_NOW), 0);
    assert_int_equal(plait_sem_release(&scene->sem, PERMITS), 0);
}

static void sem_owned_permits_of_the_killed_reach_those_who_sleep(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;
    plait_time_t start;

    scene->wanted = PERMITS;
    w = worker_start(stage, acquire_and_stay, scene);
    assert_true(worker_said(w, 1));
    scene->wanted = 1;
    put_to_sleep(stage, scene, acquire, PERMITS);
    plait_sleep(0.5); /* not to order anything: slices have grown */
    start = plait_now();
    worker_kill(w);
    for (int i = 0; i < PERMITS; i++)
        assert_int_equal(worker_result(&stage->workers[1 + i]), 0);
    assert_true(plait_now() < start + 2 * PLAIT__SECOND);
}

static void sem_owned_permits_of_an_ended_process_come_back(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    scene->deadline = PLAIT_NOW;
    assert_int_equal(worker_result(worker_start(stage, acquire_and_stay, scene)), 0);
    assert_int_equal(plait_sem_acquire(&scene->sem, PERMITS, PLAIT_NOW), 0);
}

/* Others have joined in the place of the dead before anybody asks. */
static void take_part(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_sem_acquire(&scene->sem, 1, PLAIT_NOW);
    if (self->result == 0)
        self->result = plait_sem_release(&scene->sem, 1);
    worker_says(self, 1);
    plait_sleep_until(scene->deadline);
}

static void sem_owned_permits_come_back_when_the_place_has_a_new_owner(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    scene->wanted = 2;
    for (int i = 0; i < 2; i++) {
        w = worker_start(stage, acquire_and_stay, scene);
        assert_true(worker_said(w, 1));
        worker_kill(w);
        w = worker_start(stage, take_part, scene);
        assert_true(worker_said(w, 1));
    }
    assert_int_equal(plait_sem_value(&scene->sem), 1);
    assert_int_equal(plait_sem_acquire(&scene->sem, PERMITS, PLAIT_NOW), 0);
}

/* The thread that acquired has ended in order, its process is killed: nothing marks that but /proc. */
static void *acquire_two(void *arg)
{
    return (void *)(intptr_t)plait_sem_acquire(arg, 2, PLAIT_NOW);
}

static void acquire_in_a_thread_that_ends(struct worker *self)
{
    struct scene *scene = self->with;
    pthread_t thread;
    void *err = (void *)(intptr_t)EAGAIN;

    if (pthread_create(&thread, NULL, acquire_two, &scene->sem) == 0)
        pthread_join(thread, &err);
    self->result = (int)(intptr_t)err;
    worker_says(self, 1);
    plait_sleep_until(PLAIT_FOREVER);
}

static void sem_owned_permits_of_a_thread_that_ended_die_with_its_process(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, acquire_in_a_thread_that_ends, scene);

    assert_true(worker_said(w, 1));
    assert_int_equal(plait_sem_acquire(&scene->sem, 4, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_sem_value(&scene->sem), 3);
    worker_kill(w);
    assert_int_equal(plait_sem_acquire(&scene->sem, PERMITS, PLAIT_NOW), 0);
}

static void sem_owned_permits_of_a_stopped_process_are_its_own(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, acquire_and_stay, scene);

    assert_true(worker_said(w, 1));
    kill(w->pid, SIGSTOP);
    assert_int_equal(plait_sem_acquire(&scene->sem, PERMITS, plait_after(2)), ETIMEDOUT);
    assert_int_equal(plait_sem_value(&scene->sem), PERMITS - 1);
    kill(w->pid, SIGCONT);
    worker_kill(w);
    assert_int_equal(plait_sem_acquire(&scene->sem, PERMITS, PLAIT_NOW), 0);
}

/* What was left of one at the same place does not count in the next. */
static void sem_owned_made_where_another_was_has_all_its_permits(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    scene->wanted = 3;
    w = worker_start(stage, acquire_and_stay, scene);
    assert_true(worker_said(w, 1));
    worker_kill(w);
    assert_int_equal(plait_sem_init(&scene->sem, PERMITS, PLAIT_OWNED | PLAIT_SHARED), 0);
    assert_int_equal(plait_sem_value(&scene->sem), PERMITS);
    assert_int_equal(plait_sem_acquire(&scene->sem, PERMITS, PLAIT_NOW), 0);
    assert_int_equal(plait_sem_release(&scene->sem, PERMITS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHARED(sem_owned_counts),
        SHARED(sem_owned_with_absurd_counts_is_refused),
        STAGE_CASE(sem_owned_with_bad_flags_or_place_is_refused, THREADS),
        STAGE_CASE(sem_owned_gives_its_memory_back, THREADS),
        STAGE_CASE(sem_owned_in_a_full_arena_is_refused, THREADS),
        SHARED(sem_owned_releases_no_more_than_the_process_has),
        SHARED(sem_owned_is_released_by_a_sibling_but_no_stranger),
        STAGE_CASE(sem_owned_permits_of_a_thread_that_ends_stay_with_its_process, THREADS),
        STAGE_CASE(sem_owned_permits_are_not_inherited, THREADS),
        PROCESSES(sem_owned_that_a_living_process_has_permits_of_is_not_ended),
        SHARED(sem_owned_release_of_n_wakes_n),
        SHARED(sem_owned_single_releases_reach_every_sleeper),
        SHARED(sem_owned_sleeper_for_several_is_served_when_there_are_enough),
        SHARED(sem_owned_sleepers_time_out_or_are_cancelled_with_nothing),
        SHARED(sem_owned_permits_are_neither_lost_nor_made),
        SHARED(sem_owned_is_acquired_by_wait_any_and_released),
        SHARED(sem_owned_wakes_who_waits_for_any),
        PROCESSES(sem_owned_permits_of_the_killed_reach_who_waits_for_any),
        PROCESSES(sem_owned_permits_of_the_killed_are_there_for_who_asks),
        PROCESSES(sem_owned_permits_of_the_killed_reach_those_who_sleep),
        PROCESSES(sem_owned_permits_of_an_ended_process_come_back),
        PROCESSES(sem_owned_permits_come_back_when_the_place_has_a_new_owner),
        PROCESSES(sem_owned_permits_of_a_thread_that_ended_die_with_its_process),
        PROCESSES(sem_owned_permits_of_a_stopped_process_are_its_own),
        PROCESSES(sem_owned_made_where_another_was_has_all_its_permits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
