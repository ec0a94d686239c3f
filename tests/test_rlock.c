/* SPDX-License-Identifier: MIT */
/* The contract of plait/rlock.h, sentence by sentence. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { SLEEPERS = 4, ROUNDS = 20000, LOCKS_MAX = 1900 };

/* What a case's workers share. */
struct scene {
    plait_rlock_t rlock;
    plait_cancel_t token;
    plait_time_t deadline;
    uint32_t go;    /* atomic: the test's permission to go on */
    uint32_t inner; /* guarded by rlock: how many are inside */
    uint64_t count; /* guarded by rlock */
    unsigned depth; /* what a worker saw */
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_rlock_init(&scene->rlock, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    return scene;
}

/* ---- Workers ---------------------------------------------------------------------------- */

static void acquire_and_release(struct worker *self)
{
    struct scene *scene = self->with;
    plait_time_t start = plait_now();

    worker_says(self, 1);
    self->result = plait_rlock_acquire(&scene->rlock, scene->deadline);
    self->took = plait_now() - start;
    scene->depth = plait_rlock_depth(&scene->rlock);
    if (self->result == 0)
        self->result = plait_rlock_release(&scene->rlock);
}

static void acquire_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    acquire_and_release(self);
}

/* Hold it at three levels until told. */
static void hold_until_told(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    for (int i = 0; i < 3; i++)
        self->result |= plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER);
    worker_says(self, 1);
    if (!EVENTUALLY(__atomic_load_n(&scene->go, __ATOMIC_ACQUIRE)))
        self->result = -2;
    for (int i = 0; i < 3; i++)
        self->result |= plait_rlock_release(&scene->rlock);
}

static void hold_and_die(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    for (int i = 0; i < 3; i++)
        self->result |= plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER);
    worker_die(self);
}

static void release_only(struct worker *self)
{
    self->result = plait_rlock_release(&((struct scene *)self->with)->rlock);
}

static void consistent_only(struct worker *self)
{
    self->result = plait_rlock_consistent(&((struct scene *)self->with)->rlock);
}

static void look_at_depth(struct worker *self)
{
    self->result = (int)plait_rlock_depth(&((struct scene *)self->with)->rlock);
}

/* Come and go at changing depths; inside, there is nobody else. */
static void count_up(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    for (int i = 0; i < ROUNDS; i++) {
        unsigned levels = 1 + worker_random(self, 3);

        for (unsigned n = 0; n < levels; n++)
            self->result |= plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER);
        if (scene->inner++ != 0 || plait_rlock_depth(&scene->rlock) != levels)
            self->result = -2;
        scene->count++;
        for (unsigned n = 0; n < levels; n++) {
            if (n + 1 == levels)
                scene->inner--;
            self->result |= plait_rlock_release(&scene->rlock);
        }
    }
}

static void lose_the_holder(struct stage *stage, struct scene *scene)
{
    stage->worker_count = 0;
    assert_int_equal(worker_result(worker_start(stage, hold_and_die, scene)), 0);
}

static struct worker *holder_of(struct stage *stage, struct scene *scene)
{
    struct worker *holder = worker_start(stage, hold_until_told, scene);

    assert_non_null(holder);
    assert_true(worker_said(holder, 1));
    return holder;
}

static void let_go(struct scene *scene)
{
    __atomic_store_n(&scene->go, 1, __ATOMIC_RELEASE);
}

/* ---- Levels ----------------------------------------------------------------------------- */

static void rlock_is_free_after_as_many_releases_as_acquires(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (unsigned levels = 1; levels < 6; levels++) {
        for (unsigned i = 0; i < levels; i++) {
            assert_int_equal(plait_rlock_depth(&scene->rlock), i);
            assert_int_equal(plait_rlock_acquire(&scene->rlock, i % 2 ? PLAIT_NOW : PLAIT_FOREVER), 0);
            assert_true(plait_rlock_is_locked(&scene->rlock));
        }
        for (unsigned i = levels; i > 0; i--) {
            assert_true(plait_rlock_is_locked(&scene->rlock));
            assert_int_equal(plait_rlock_depth(&scene->rlock), i);
            assert_int_equal(plait_rlock_fini(&scene->rlock), EBUSY);
            assert_int_equal(plait_rlock_release(&scene->rlock), 0);
        }
        assert_false(plait_rlock_is_locked(&scene->rlock));
        assert_int_equal(plait_rlock_release(&scene->rlock), EPERM);
    }
    assert_int_equal(plait_rlock_fini(&scene->rlock), 0);
}

static void rlock_held_is_not_the_strangers_until_the_last_release(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    scene->deadline = PLAIT_NOW;
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(worker_result(worker_start(stage, acquire_and_release, scene)), ETIMEDOUT);
        assert_int_equal(scene->depth, 0);
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    }
    assert_int_equal(worker_result(worker_start(stage, acquire_and_release, scene)), 0);
    assert_int_equal(scene->depth, 1);
}

static void rlock_released_by_stranger_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 2; i++) {
        assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER), 0);
        assert_int_equal(worker_result(worker_start(stage, release_only, scene)), EPERM);
        assert_int_equal(worker_result(worker_start(stage, consistent_only, scene)), EPERM);
        assert_int_equal(worker_result(worker_start(stage, look_at_depth, scene)), 0);
        assert_int_equal(plait_rlock_depth(&scene->rlock), i + 1);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    assert_int_equal(worker_result(worker_start(stage, release_only, scene)), EPERM);
    assert_int_equal(worker_result(worker_start(stage, consistent_only, scene)), EPERM);
}

static void rlock_at_the_most_levels_refuses_another(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER), 0);
    scene->rlock.depth = UINT32_MAX - 2;
    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), 0);
    assert_int_equal(plait_rlock_depth(&scene->rlock), UINT32_MAX);
    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER), EOVERFLOW);
    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), EOVERFLOW);
    assert_int_equal(plait_rlock_depth(&scene->rlock), UINT32_MAX);
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    scene->rlock.depth = 0;
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    assert_false(plait_rlock_is_locked(&scene->rlock));
}

static void rlock_further_level_asks_no_token(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_cancel_set(&scene->token), 0);
    plait_cancel_bind(&scene->token);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_rlock_acquire(&scene->rlock, i ? PLAIT_FOREVER : PLAIT_NOW), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    plait_cancel_bind(NULL);
}

/* ---- Waiting ---------------------------------------------------------------------------- */

static void rlock_held_times_out_never_early(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *holder = holder_of(stage, scene);

    for (int i = 0; i < 5; i++) {
        plait_time_t deadline = plait_after(0.002 * i);

        assert_int_equal(plait_rlock_acquire(&scene->rlock, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
    }
    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_rlock_acquire(&scene->rlock, -5), ETIMEDOUT);
    let_go(scene);
    assert_int_equal(plait_rlock_acquire(&scene->rlock, plait_after(10)), 0);
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    assert_int_equal(worker_result(holder), 0);
}

static void rlock_released_wakes_one_sleeper_after_the_other(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER), 0);
    for (int i = 0; i < SLEEPERS; i++)
        assert_non_null(worker_start(stage, acquire_and_release, scene));
    for (int i = 0; i < SLEEPERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    for (int i = 0; i < SLEEPERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void rlock_excludes_everybody_else(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    stage_seed();
    for (int i = 0; i < SLEEPERS; i++)
        assert_non_null(worker_start(stage, count_up, scene));
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(scene->count, (uint64_t)SLEEPERS * ROUNDS);
    assert_false(plait_rlock_is_locked(&scene->rlock));
}

static void rlock_waiter_is_cancelled(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER), 0);
    w = worker_start(stage, acquire_bound, scene);
    assert_true(worker_sleeps(w, 1));
    assert_int_equal(plait_cancel_set(&scene->token), 0);
    assert_int_equal(worker_result(w), ECANCELED);
    scene->deadline = PLAIT_NOW;
    assert_int_equal(worker_result(worker_start(stage, acquire_bound, scene)), ECANCELED);
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    assert_int_equal(worker_result(worker_start(stage, acquire_bound, scene)), 0);
}

/* Half of them give up all the time; if a wake were lost on those, the others would not end. */
static void acquire_or_give_up(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    for (int i = 0; i < 2000; i++) {
        plait_time_t deadline = self->number % 2 ? plait_now() + (plait_time_t)worker_random(self, 50000) : PLAIT_FOREVER;
        int err = plait_rlock_acquire(&scene->rlock, deadline);

        if (err == ETIMEDOUT && self->number % 2)
            continue;
        if (err || plait_rlock_release(&scene->rlock))
            self->result = -2;
    }
}

static void rlock_wake_is_not_lost_on_one_who_gives_up(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    stage_seed();
    for (int i = 0; i < 6; i++)
        assert_non_null(worker_start(stage, acquire_or_give_up, scene));
    for (int i = 0; i < 6; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

/* ---- Making ----------------------------------------------------------------------------- */

static void rlock_with_bad_flags_or_place_is_refused(void **state)
{
    plait_rlock_t rlock;

    assert_int_equal(plait_rlock_init(&rlock, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_rlock_init(&rlock, PLAIT_BOUNDED), EINVAL);
    assert_int_equal(plait_rlock_init(&rlock, 1u << 29), EINVAL);
}

static plait_rlock_t zero;

static void rlock_of_zero_bytes_is_private_and_free(void **state)
{
    static plait_rlock_t named = PLAIT_RLOCK_INIT;

    assert_memory_equal(&zero, &named, sizeof zero);
    assert_false(plait_rlock_is_locked(&zero));
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_rlock_acquire(&zero, PLAIT_NOW), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_rlock_release(&zero), 0);
    assert_int_equal(plait_rlock_fini(&zero), 0);
    assert_memory_equal(&zero, &named, sizeof zero);
}

static void rlock_inlined_and_called_are_the_same(void **state)
{
    int (*volatile acquire)(plait_rlock_t *, plait_time_t) = plait_rlock_acquire;
    int (*volatile release)(plait_rlock_t *) = plait_rlock_release;
    struct scene *scene = scene_of(*state);

    for (int hooks = 0; hooks < 2; hooks++) {
        plait_hooks = (uint32_t)hooks;
        assert_int_equal(acquire(&scene->rlock, PLAIT_NOW), 0);
        assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), 0);
        assert_int_equal(plait_rlock_depth(&scene->rlock), 2);
        assert_int_equal(release(&scene->rlock), 0);
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
        assert_int_equal(release(&scene->rlock), EPERM);
        assert_int_equal(plait_rlock_release(&scene->rlock), EPERM);
    }
    plait_hooks = 0;
}

/* ---- Private: fork ---------------------------------------------------------------------- */

static void rlock_private_held_over_fork_is_the_childs(void **state)
{
    static plait_rlock_t rlock;
    int status = -1;

    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_rlock_acquire(&rlock, PLAIT_FOREVER), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (plait_rlock_depth(&rlock) != 2 || plait_rlock_acquire(&rlock, PLAIT_NOW) != 0)
            _exit(1);
        for (int i = 0; i < 3; i++)
            if (plait_rlock_release(&rlock) != 0)
                _exit(2);
        _exit(plait_rlock_is_locked(&rlock) || plait_rlock_release(&rlock) != EPERM);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(plait_rlock_depth(&rlock), 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_rlock_release(&rlock), 0);
}

static void rlock_private_is_never_inconsistent(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_rlock_consistent(&scene->rlock), EPERM);
    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), 0);
    assert_int_equal(plait_rlock_consistent(&scene->rlock), EINVAL);
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
}

/* ---- Shared: death ---------------------------------------------------------------------- */

static void rlock_of_a_dead_holder_is_held_at_one_level_by_the_next(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 3; i++) {
        lose_the_holder(stage, scene);
        assert_int_equal(plait_rlock_acquire(&scene->rlock, i ? PLAIT_NOW : PLAIT_FOREVER), EOWNERDEAD);
        assert_int_equal(plait_rlock_depth(&scene->rlock), 1);
        assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), 0);
        assert_int_equal(plait_rlock_depth(&scene->rlock), 2);
        assert_int_equal(plait_rlock_consistent(&scene->rlock), 0);
        assert_int_equal(plait_rlock_consistent(&scene->rlock), EINVAL);
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
        assert_int_equal(plait_rlock_release(&scene->rlock), EPERM);
        assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), 0);
        assert_int_equal(plait_rlock_depth(&scene->rlock), 1);
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    }
}

static void rlock_whose_holder_dies_wakes_a_sleeper(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *holder = holder_of(stage, scene), *sleeper;

    sleeper = worker_start(stage, acquire_and_release, scene);
    assert_true(worker_sleeps(sleeper, 1));
    if (stage->setting == STAGE_PROCESSES)
        worker_kill(holder);
    else
        let_go(scene);
    assert_int_equal(worker_result(sleeper), stage->setting == STAGE_PROCESSES ? EOWNERDEAD : 0);
}

static void rlock_released_inconsistent_is_not_recoverable(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    lose_the_holder(stage, scene);
    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), EOWNERDEAD);
    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), 0);
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER), ENOTRECOVERABLE);
    assert_false(plait_rlock_is_locked(&scene->rlock));
    assert_int_equal(plait_rlock_depth(&scene->rlock), 0);
    assert_int_equal(plait_rlock_init(&scene->rlock, stage->flags), 0);
    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), 0);
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
}

static void rlock_held_over_fork_is_not_the_childs(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    int status = -1;

    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(plait_rlock_release(&scene->rlock) != EPERM || plait_rlock_depth(&scene->rlock) != 0 ||
              plait_rlock_acquire(&scene->rlock, PLAIT_NOW) != ETIMEDOUT);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
}

static void rlock_beyond_1900_is_refused_but_for_further_levels(void **state)
{
    struct stage *stage = *state;
    plait_rlock_t *rlocks = stage_alloc(stage, (LOCKS_MAX + 1) * sizeof *rlocks);

    assert_non_null(rlocks);
    for (int i = 0; i <= LOCKS_MAX; i++)
        assert_int_equal(plait_rlock_init(&rlocks[i], stage->flags), 0);
    for (int i = 0; i < LOCKS_MAX; i++)
        assert_int_equal(plait_rlock_acquire(&rlocks[i], PLAIT_FOREVER), 0);
    assert_int_equal(plait_rlock_acquire(&rlocks[LOCKS_MAX], PLAIT_FOREVER), EOVERFLOW);
    assert_int_equal(plait_rlock_depth(&rlocks[LOCKS_MAX]), 0);
    assert_int_equal(plait_rlock_acquire(&rlocks[7], PLAIT_NOW), 0);
    assert_int_equal(plait_rlock_depth(&rlocks[7]), 2);
    assert_int_equal(plait_rlock_release(&rlocks[7]), 0);
    for (int i = 0; i < LOCKS_MAX; i++)
        assert_int_equal(plait_rlock_release(&rlocks[i]), 0);
}

static void rlock_in_a_full_arena_has_no_place_for_another_thread(void **state)
{
    struct stage *stage = *state;
    plait_arena_t *arena = NULL;
    struct scene *scene = NULL;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 1 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *scene, (void **)&scene), 0);
    assert_int_equal(plait_rlock_init(&scene->rlock, PLAIT_SHARED), 0);
    scene->deadline = PLAIT_NOW;
    assert_int_equal(worker_result(worker_start(stage, acquire_and_release, scene)), ENOSPC);
    assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_NOW), 0);
    assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(rlock_is_free_after_as_many_releases_as_acquires),
        EVERYWHERE(rlock_held_is_not_the_strangers_until_the_last_release),
        EVERYWHERE(rlock_released_by_stranger_is_refused),
        EVERYWHERE(rlock_at_the_most_levels_refuses_another),
        EVERYWHERE(rlock_further_level_asks_no_token),
        EVERYWHERE(rlock_held_times_out_never_early),
        EVERYWHERE(rlock_released_wakes_one_sleeper_after_the_other),
        EVERYWHERE(rlock_excludes_everybody_else),
        EVERYWHERE(rlock_waiter_is_cancelled),
        EVERYWHERE(rlock_wake_is_not_lost_on_one_who_gives_up),
        PRIVATE(rlock_with_bad_flags_or_place_is_refused),
        PRIVATE(rlock_of_zero_bytes_is_private_and_free),
        EVERYWHERE(rlock_inlined_and_called_are_the_same),
        PRIVATE(rlock_private_held_over_fork_is_the_childs),
        PRIVATE(rlock_private_is_never_inconsistent),
        SHARED(rlock_of_a_dead_holder_is_held_at_one_level_by_the_next),
        SHARED(rlock_whose_holder_dies_wakes_a_sleeper),
        SHARED(rlock_released_inconsistent_is_not_recoverable),
        SHARED(rlock_held_over_fork_is_not_the_childs),
        SHARED(rlock_beyond_1900_is_refused_but_for_further_levels),
        SHARED(rlock_in_a_full_arena_has_no_place_for_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
