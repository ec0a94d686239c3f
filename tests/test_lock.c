/* SPDX-License-Identifier: MIT */
/* The contract of plait/lock.h, sentence by sentence. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"
#include "wait/robust.h"

enum { LOCKS_MAX = 1900, SLEEPERS = 4, MIXED = 12, ROUNDS = 20000 };

/* What a case's workers share. */
struct scene {
    plait_lock_t lock;
    plait_cancel_t token;
    plait_time_t deadline;
    uint32_t go;    /* atomic: the test's permission to go on */
    uint32_t inner; /* guarded by lock: how many are inside */
    uint64_t count; /* guarded by lock */
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_lock_init(&scene->lock, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    return scene;
}

static void let_go(struct scene *scene)
{
    __atomic_store_n(&scene->go, 1, __ATOMIC_RELEASE);
}

static bool may_go(struct scene *scene)
{
    return EVENTUALLY(__atomic_load_n(&scene->go, __ATOMIC_ACQUIRE));
}

/* ---- Workers ---------------------------------------------------------------------------- */

static void acquire_and_release(struct worker *self)
{
    struct scene *scene = self->with;
    plait_time_t start = plait_now();

    worker_says(self, 1);
    self->result = plait_lock_acquire(&scene->lock, scene->deadline);
    self->took = plait_now() - start;
    if (self->result == 0)
        self->result = plait_lock_release(&scene->lock);
}

static void acquire_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    acquire_and_release(self);
}

static void hold_until_told(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    worker_says(self, 1);
    may_go(scene);
    if (self->result == 0)
        self->result = plait_lock_release(&scene->lock);
}

static void hold_and_die(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    if (self->result == EOWNERDEAD)
        plait_lock_consistent(&scene->lock);
    worker_says(self, 1);
    may_go(scene);
    worker_die(self);
}

static void release_only(struct worker *self)
{
    self->result = plait_lock_release(&((struct scene *)self->with)->lock);
}

static void consistent_only(struct worker *self)
{
    self->result = plait_lock_consistent(&((struct scene *)self->with)->lock);
}

static void count_up(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    for (int i = 0; i < ROUNDS && self->result == 0; i++) {
        self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
        if (scene->inner++ != 0)
            self->result = -2;
        scene->count++;
        scene->inner--;
        if (plait_lock_release(&scene->lock) != 0)
            self->result = -3;
    }
}

/* Let a worker take the lock and die with it. */
static void lose_the_holder(struct stage *stage, struct scene *scene)
{
    let_go(scene);
    struct worker *w = worker_start(stage, hold_and_die, scene);

    assert_true(worker_said(w, 1));
    assert_true(worker_join(w));
}

/* ---- Free and held ---------------------------------------------------------------------- */

static void lock_free_is_acquired_and_released(void **state)
{
    struct scene *scene = scene_of(*state);

    for (int i = 0; i < 3; i++) {
        assert_false(plait_lock_is_locked(&scene->lock));
        assert_int_equal(plait_lock_acquire(&scene->lock, i ? PLAIT_NOW : PLAIT_FOREVER), 0);
        assert_true(plait_lock_is_locked(&scene->lock));
        assert_int_equal(plait_lock_release(&scene->lock), 0);
    }
    assert_int_equal(plait_lock_fini(&scene->lock), 0);
}

static void lock_held_answers_a_try_with_timeout(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, hold_until_told, scene);
    plait_time_t past[] = { PLAIT_NOW, -5, INT64_MIN, plait_now() - 1 };

    assert_true(worker_said(w, 1));
    for (size_t i = 0; i < sizeof past / sizeof past[0]; i++)
        assert_int_equal(plait_lock_acquire(&scene->lock, past[i]), ETIMEDOUT);
    assert_true(plait_lock_is_locked(&scene->lock));
    let_go(scene);
    assert_int_equal(worker_result(w), 0);
    assert_false(plait_lock_is_locked(&scene->lock));
}

static void lock_held_times_out_never_early(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, hold_until_told, scene);

    assert_true(worker_said(w, 1));
    for (int i = 0; i < 10; i++) {
        plait_time_t deadline = plait_after(0.002);

        assert_int_equal(plait_lock_acquire(&scene->lock, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
    }
    let_go(scene);
    assert_int_equal(worker_result(w), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void lock_released_wakes_one_sleeper_after_the_other(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    for (int i = 0; i < SLEEPERS; i++)
        assert_non_null(worker_start(stage, acquire_and_release, scene));
    for (int i = 0; i < SLEEPERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_false(plait_lock_is_locked(&scene->lock));
}

static void lock_excludes_everybody_else(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < SLEEPERS; i++)
        assert_non_null(worker_start(stage, count_up, scene));
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_true(scene->count == (uint64_t)SLEEPERS * ROUNDS);
}

static void lock_held_is_not_ended(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_fini(&scene->lock), EBUSY);
    assert_true(plait_lock_is_locked(&scene->lock));
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(plait_lock_fini(&scene->lock), 0);
}

static void lock_not_held_is_not_released(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_lock_release(&scene->lock), EPERM);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(plait_lock_release(&scene->lock), EPERM);
}

static void lock_with_bad_flags_or_place_is_refused(void **state)
{
    plait_lock_t outside;

    assert_int_equal(plait_lock_init(&outside, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_lock_init(&outside, PLAIT_BOUNDED), EINVAL);
    assert_int_equal(plait_lock_init(&outside, 1u << 30), EINVAL);
    assert_int_equal(plait_lock_init(NULL, 0), EINVAL);
}

static plait_lock_t zero;

static void lock_of_zero_bytes_is_private_and_free(void **state)
{
    static plait_lock_t named = PLAIT_LOCK_INIT;

    assert_int_equal(memcmp(&zero, &named, sizeof zero), 0);
    assert_int_equal(plait_lock_acquire(&zero, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_acquire(&zero, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_lock_release(&zero), 0);
    assert_int_equal(plait_lock_fini(&zero), 0);
}

static void lock_inlined_and_called_are_the_same(void **state)
{
    struct scene *scene = scene_of(*state);
    int (*acquire)(plait_lock_t *, plait_time_t) = plait_lock_acquire;
    int (*release)(plait_lock_t *) = plait_lock_release;

    assert_int_equal(plait_lock_acquire_slow(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(acquire(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release_slow(&scene->lock), 0);
    assert_int_equal(release(&scene->lock), EPERM);
    plait_hooks |= 1u << 31;
    int first = plait_lock_acquire(&scene->lock, PLAIT_NOW);
    int second = plait_lock_release(&scene->lock);
    plait_hooks &= ~(1u << 31);
    assert_int_equal(first, 0);
    assert_int_equal(second, 0);
}

/* ---- Cancel ----------------------------------------------------------------------------- */

static void lock_waiter_is_cancelled(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    for (int i = 0; i < SLEEPERS; i++)
        assert_non_null(worker_start(stage, acquire_bound, scene));
    for (int i = 0; i < SLEEPERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    plait_cancel_set(&scene->token);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), ECANCELED);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void lock_with_the_token_set_is_acquired_only_if_free(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    plait_cancel_set(&scene->token);
    plait_cancel_bind(&scene->token);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    w = worker_start(stage, hold_until_told, scene);
    assert_true(worker_said(w, 1));
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), ECANCELED);
    let_go(scene);
    assert_int_equal(worker_result(w), 0);
}

/* Some of the sleepers give up just as the lock is released: the others must get it all the same. */
static void acquire_or_give_up(struct worker *self)
{
    struct scene *scene = self->with;

    for (int i = 0; i < 2000; i++) {
        int err = plait_lock_acquire(&scene->lock, self->number % 2 ? plait_after(2e-5) : PLAIT_FOREVER);

        if (err == 0)
            scene->count++;
        if (err == 0 && plait_lock_release(&scene->lock) != 0)
            return;
        if (err != 0 && (err != ETIMEDOUT || self->number % 2 == 0))
            return;
    }
    self->result = 0;
}

static void lock_wake_is_not_lost_on_one_who_gives_up(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 2 * SLEEPERS; i++)
        assert_non_null(worker_start(stage, acquire_or_give_up, scene));
    for (int i = 0; i < 2 * SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

/* ---- Private only ----------------------------------------------------------------------- */

static void lock_private_is_released_by_any_thread(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(worker_result(worker_start(stage, release_only, scene)), 0);
    assert_false(plait_lock_is_locked(&scene->lock));
}

static void lock_private_acquired_twice_waits(void **state)
{
    struct scene *scene = scene_of(*state);
    plait_time_t deadline = plait_after(0.005);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, deadline), ETIMEDOUT);
    assert_true(plait_now() >= deadline);
    assert_int_equal(plait_lock_consistent(&scene->lock), EINVAL);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void lock_private_held_over_fork_is_released_in_the_child(void **state)
{
    struct scene *scene = scene_of(*state);
    int status = 0;

    assert_int_equal(plait_lock_acquire(&zero, PLAIT_FOREVER), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(plait_lock_acquire(&zero, PLAIT_NOW) != ETIMEDOUT || plait_lock_release(&zero) != 0 ||
              plait_lock_acquire(&zero, PLAIT_NOW) != 0 || plait_lock_release(&zero) != 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(plait_lock_is_locked(&zero));
    assert_int_equal(plait_lock_release(&zero), 0);
    assert_false(plait_lock_is_locked(&scene->lock));
}

/* The state of a lock with sleepers is copied by fork; the sleepers are not. */
static void lock_private_with_sleepers_works_in_the_child(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = malloc(sizeof *scene);
    int status = 0;

    assert_non_null(scene);
    *scene = (struct scene){ .deadline = PLAIT_FOREVER };
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    for (int i = 0; i < 2; i++)
        assert_true(worker_sleeps(worker_start(stage, acquire_and_release, scene), 1));
    pid_t pid = fork();
    if (pid == 0) {
        int err = plait_lock_release(&scene->lock);

        for (int i = 0; i < 3 && err == 0; i++)
            err = plait_lock_acquire(&scene->lock, PLAIT_NOW) || plait_lock_release(&scene->lock);
        _exit(err);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    free(scene);
}

/* ---- Shared: owners --------------------------------------------------------------------- */

static void lock_released_by_stranger_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(worker_result(worker_start(stage, release_only, scene)), EPERM);
    assert_true(plait_lock_is_locked(&scene->lock));
    assert_int_equal(worker_result(worker_start(stage, consistent_only, scene)), EPERM);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void lock_acquired_twice_is_a_deadlock(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), EDEADLK);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), EDEADLK);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(plait_lock_release(&scene->lock), EPERM);
}

static void lock_consistent_without_a_death_is_refused(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_lock_consistent(&scene->lock), EPERM);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_consistent(&scene->lock), EINVAL);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

/* ---- Shared: death ---------------------------------------------------------------------- */

static void lock_of_a_dead_holder_is_held_by_the_next_who_is_told(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 3; i++) {
        lose_the_holder(stage, scene);
        assert_int_equal(plait_lock_acquire(&scene->lock, i ? PLAIT_NOW : PLAIT_FOREVER), EOWNERDEAD);
        assert_true(plait_lock_is_locked(&scene->lock));
        assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), EDEADLK);
        assert_int_equal(plait_lock_consistent(&scene->lock), 0);
        assert_int_equal(plait_lock_consistent(&scene->lock), EINVAL);
        assert_int_equal(plait_lock_release(&scene->lock), 0);
        assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
        assert_int_equal(plait_lock_release(&scene->lock), 0);
    }
}

static void lock_whose_holder_dies_wakes_a_sleeper_at_once(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *holder = worker_start(stage, hold_and_die, scene);
    struct worker *sleeper;

    assert_true(worker_said(holder, 1));
    sleeper = worker_start(stage, acquire_and_release, scene);
    assert_true(worker_sleeps(sleeper, 1));
    let_go(scene);
    assert_int_equal(worker_result(sleeper), EOWNERDEAD);
    assert_true(worker_join(holder));
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), EOWNERDEAD); /* the sleeper ended with it */
    assert_int_equal(plait_lock_consistent(&scene->lock), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void lock_of_a_process_killed_from_outside_is_told(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, hold_until_told, scene);

    assert_true(worker_said(w, 1));
    worker_kill(w);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), EOWNERDEAD);
    assert_int_equal(plait_lock_consistent(&scene->lock), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void lock_released_inconsistent_is_not_recoverable(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    lose_the_holder(stage, scene);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), EOWNERDEAD);
    for (int i = 0; i < SLEEPERS; i++)
        assert_non_null(worker_start(stage, acquire_and_release, scene));
    for (int i = 0; i < SLEEPERS; i++)
        assert_true(worker_sleeps(&stage->workers[1 + i], 1));
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[1 + i]), ENOTRECOVERABLE);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), ENOTRECOVERABLE);
    assert_false(plait_lock_is_locked(&scene->lock));
    assert_int_equal(plait_lock_release(&scene->lock), EPERM);
    assert_int_equal(plait_lock_init(&scene->lock, stage->flags), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void lock_of_a_dead_repairer_is_told_again(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    lose_the_holder(stage, scene);
    struct worker *w = worker_start(stage, acquire_and_release, scene); /* ends without repair or release */
    assert_int_equal(worker_result(w), EOWNERDEAD);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), EOWNERDEAD);
    assert_int_equal(plait_lock_consistent(&scene->lock), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void lock_sleepers_killed_leave_nothing_behind(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    for (int i = 0; i < 2 * SLEEPERS; i++)
        assert_non_null(worker_start(stage, acquire_and_release, scene));
    for (int i = 0; i < 2 * SLEEPERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    for (int i = 0; i < 2 * SLEEPERS; i += 2)
        worker_kill(&stage->workers[i]);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    for (int i = 1; i < 2 * SLEEPERS; i += 2) {
        assert_int_equal(worker_result(&stage->workers[i]), 0);
        assert_true(stage->workers[i].took < 20 * PLAIT__SECOND);
    }
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

/* ---- Shared: many locks ----------------------------------------------------------------- */

static void hold_them_all_and_die(struct worker *self)
{
    plait_lock_t *locks = self->with;

    self->result = 0;
    for (int i = 0; i < LOCKS_MAX && self->result == 0; i++)
        self->result = plait_lock_acquire(&locks[i], PLAIT_NOW);
    worker_die(self);
}

static plait_lock_t *many_locks(struct stage *stage, unsigned count)
{
    plait_lock_t *locks = stage_alloc(stage, count * sizeof *locks);

    assert_non_null(locks);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(plait_lock_init(&locks[i], stage->flags), 0);
    return locks;
}

static void lock_beyond_1900_is_refused(void **state)
{
    plait_lock_t *locks = many_locks(*state, LOCKS_MAX + 1);

    for (int i = 0; i < LOCKS_MAX; i++)
        assert_int_equal(plait_lock_acquire(&locks[i], PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_acquire(&locks[LOCKS_MAX], PLAIT_FOREVER), EOVERFLOW);
    assert_false(plait_lock_is_locked(&locks[LOCKS_MAX]));
    assert_int_equal(plait_lock_release(&locks[7]), 0);
    assert_int_equal(plait_lock_acquire(&locks[LOCKS_MAX], PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_acquire(&locks[7], PLAIT_FOREVER), EOVERFLOW);
    for (int i = 0; i <= LOCKS_MAX; i++)
        assert_int_equal(plait_lock_release(&locks[i]), i == 7 ? EPERM : 0);
}

static void lock_held_among_1900_by_the_dead_is_told(void **state)
{
    struct stage *stage = *state;
    plait_lock_t *locks = many_locks(stage, LOCKS_MAX);

    assert_int_equal(worker_result(worker_start(stage, hold_them_all_and_die, locks)), 0);
    for (int i = 0; i < LOCKS_MAX; i++) {
        assert_int_equal(plait_lock_acquire(&locks[i], PLAIT_NOW), EOWNERDEAD);
        assert_int_equal(plait_lock_consistent(&locks[i]), 0);
        assert_int_equal(plait_lock_release(&locks[i]), 0);
    }
}

/* Ours and libc's robust mutexes in one thread, in any order. */
struct mix {
    plait_lock_t ours[MIXED];
    pthread_mutex_t libcs[MIXED];
    bool held[2 * MIXED]; /* when the worker died: ours, then libc's */
};

static void mix_and_die(struct worker *self)
{
    struct mix *mix = self->with;

    self->result = 0;
    for (int i = 0; i < 300; i++) {
        unsigned n = worker_random(self, 2 * MIXED);
        int err;

        if (n < MIXED)
            err = mix->held[n] ? plait_lock_release(&mix->ours[n]) : plait_lock_acquire(&mix->ours[n], PLAIT_NOW);
        else
            err = mix->held[n] ? pthread_mutex_unlock(&mix->libcs[n - MIXED])
                               : pthread_mutex_trylock(&mix->libcs[n - MIXED]);
        if (err)
            self->result = 1000 + err;
        mix->held[n] = !mix->held[n];
    }
    worker_die(self);
}

static void make_mix(struct mix *mix, unsigned flags)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    for (int i = 0; i < MIXED; i++) {
        assert_int_equal(plait_lock_init(&mix->ours[i], flags), 0);
        assert_int_equal(pthread_mutex_init(&mix->libcs[i], &attr), 0);
    }
    pthread_mutexattr_destroy(&attr);
}

static void lock_and_libcs_robust_mutexes_are_told_alike(void **state)
{
    struct stage *stage = *state;
    struct mix *mix = stage_alloc(stage, sizeof *mix);

    if (!plait__robust_list_works()) /* then libc's are not robust */
        skip();
    assert_non_null(mix);
    stage_seed();
    for (unsigned round = 0; round < 20; round++) {
        struct worker *w;

        memset(mix, 0, sizeof *mix);
        make_mix(mix, stage->flags);
        stage->worker_count = 0;
        w = worker_start(stage, mix_and_die, mix);
        assert_non_null(w);
        assert_int_equal(worker_result(w), 0);
        for (int i = 0; i < MIXED; i++) {
            assert_int_equal(plait_lock_acquire(&mix->ours[i], PLAIT_NOW), mix->held[i] ? EOWNERDEAD : 0);
            assert_int_equal(pthread_mutex_trylock(&mix->libcs[i]), mix->held[MIXED + i] ? EOWNERDEAD : 0);
            plait_lock_consistent(&mix->ours[i]);
            pthread_mutex_consistent(&mix->libcs[i]);
        }
        for (int i = 0; i < MIXED; i++) {
            assert_int_equal(plait_lock_release(&mix->ours[i]), 0);
            assert_int_equal(pthread_mutex_unlock(&mix->libcs[i]), 0);
        }
    }
}

/* ---- Shared: fork and places ------------------------------------------------------------ */

static int child_of_a_holder(struct scene *scene, plait_lock_t *other)
{
    if (plait_lock_release(&scene->lock) != EPERM)
        return 1;
    if (plait_lock_acquire(&scene->lock, PLAIT_NOW) != ETIMEDOUT)
        return 2;
    if (plait_lock_acquire(other, PLAIT_FOREVER) != 0)
        return 3;
    return 0; /* it ends with the other lock held */
}

static void lock_held_over_fork_is_not_the_childs(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    plait_lock_t *other = many_locks(stage, 2);
    int status = 0;

    assert_int_equal(plait_lock_acquire(&other[1], PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(child_of_a_holder(scene, other));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(plait_lock_acquire(other, PLAIT_FOREVER), EOWNERDEAD);
    assert_int_equal(plait_lock_consistent(other), 0);
    assert_int_equal(plait_lock_release(other), 0);
    assert_int_equal(plait_lock_release(&other[1]), 0);
}

/* The same in a worker that dies afterwards: the child must not have spoilt its list. */
static void fork_release_and_die(struct worker *self)
{
    struct scene *scene = self->with;
    plait_lock_t *locks = (plait_lock_t *)(scene + 1);
    int status = -1;

    for (int i = 0; i < 3; i++)
        plait_lock_acquire(&locks[i], PLAIT_FOREVER);
    plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    pid_t pid = fork();
    if (pid == 0)
        _exit(child_of_a_holder(scene, &locks[3]));
    waitpid(pid, &status, 0);
    plait_lock_release(&scene->lock);
    plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    self->result = status;
    worker_die(self);
}

static void lock_held_over_fork_is_still_watched(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage_alloc(stage, sizeof *scene + 4 * sizeof(plait_lock_t));
    plait_lock_t *locks = (plait_lock_t *)(scene + 1);

    assert_non_null(scene);
    assert_int_equal(plait_lock_init(&scene->lock, stage->flags), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(plait_lock_init(&locks[i], stage->flags), 0);
    assert_int_equal(worker_result(worker_start(stage, fork_release_and_die, scene)), 0);
    for (int i = 0; i < 5; i++) {
        plait_lock_t *lock = i < 4 ? &locks[i] : &scene->lock;

        assert_int_equal(plait_lock_acquire(lock, PLAIT_NOW), EOWNERDEAD);
        assert_int_equal(plait_lock_consistent(lock), 0);
        assert_int_equal(plait_lock_release(lock), 0);
    }
}

static void lock_in_a_full_arena_has_no_place_for_another_thread(void **state)
{
    struct stage *stage = *state;
    plait_arena_t *arena = NULL;
    struct scene *scene = NULL;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 1 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *scene, (void **)&scene), 0);
    assert_int_equal(plait_lock_init(&scene->lock, PLAIT_SHARED), 0);
    scene->deadline = PLAIT_NOW;
    assert_int_equal(worker_result(worker_start(stage, acquire_and_release, scene)), ENOSPC);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(lock_free_is_acquired_and_released),
        EVERYWHERE(lock_held_answers_a_try_with_timeout),
        EVERYWHERE(lock_held_times_out_never_early),
        EVERYWHERE(lock_released_wakes_one_sleeper_after_the_other),
        EVERYWHERE(lock_excludes_everybody_else),
        EVERYWHERE(lock_held_is_not_ended),
        EVERYWHERE(lock_not_held_is_not_released),
        PRIVATE(lock_with_bad_flags_or_place_is_refused),
        PRIVATE(lock_of_zero_bytes_is_private_and_free),
        EVERYWHERE(lock_inlined_and_called_are_the_same),
        EVERYWHERE(lock_waiter_is_cancelled),
        EVERYWHERE(lock_with_the_token_set_is_acquired_only_if_free),
        EVERYWHERE(lock_wake_is_not_lost_on_one_who_gives_up),
        PRIVATE(lock_private_is_released_by_any_thread),
        PRIVATE(lock_private_acquired_twice_waits),
        PRIVATE(lock_private_held_over_fork_is_released_in_the_child),
        PRIVATE(lock_private_with_sleepers_works_in_the_child),
        SHARED(lock_released_by_stranger_is_refused),
        SHARED(lock_acquired_twice_is_a_deadlock),
        SHARED(lock_consistent_without_a_death_is_refused),
        SHARED(lock_of_a_dead_holder_is_held_by_the_next_who_is_told),
        SHARED(lock_whose_holder_dies_wakes_a_sleeper_at_once),
        PROCESSES(lock_of_a_process_killed_from_outside_is_told),
        SHARED(lock_released_inconsistent_is_not_recoverable),
        SHARED(lock_of_a_dead_repairer_is_told_again),
        PROCESSES(lock_sleepers_killed_leave_nothing_behind),
        SHARED(lock_beyond_1900_is_refused),
        SHARED(lock_held_among_1900_by_the_dead_is_told),
        SHARED(lock_and_libcs_robust_mutexes_are_told_alike),
        SHARED(lock_held_over_fork_is_not_the_childs),
        SHARED(lock_held_over_fork_is_still_watched),
        SHARED(lock_in_a_full_arena_has_no_place_for_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
