/* SPDX-License-Identifier: MIT */
/* The contract of plait/barrier.h, sentence by sentence. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <plait.h>

#include "arena/arena.h"
#include "base/clock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { PARTIES = 4, ROUNDS = 2000 };

struct scene {
    plait_barrier_t barrier;
    plait_cancel_t token;
    plait_time_t deadline;
    uint32_t rounds;            /* const: of each worker */
    uint32_t actions;           /* atomic: how often an action was called */
    uint32_t go_on;             /* atomic: the action may return */
    int action_result;          /* const */
    uint32_t seen[PARTIES];     /* atomic: by index, how often it was given */
    uint64_t written[PARTIES];  /* by worker: the round that it was in; ordered by the barrier alone */
    uint32_t wrong;             /* atomic: something that may not be */
    uint32_t resets;            /* atomic: begun */
    uint32_t too_late;          /* atomic: parties that looked after four resets */
};

static struct scene *scene_with(struct stage *stage, unsigned parties)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_barrier_init(&scene->barrier, parties, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    scene->rounds = 1;
    return scene;
}

static struct scene *scene_of(struct stage *stage)
{
    return scene_with(stage, PARTIES);
}

static int count_action(void *arg)
{
    __atomic_fetch_add(&((struct scene *)arg)->actions, 1, __ATOMIC_RELAXED);
    return ((struct scene *)arg)->action_result;
}

static int slow_action(void *arg)
{
    struct scene *scene = arg;

    __atomic_fetch_add(&scene->actions, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&scene->go_on, __ATOMIC_ACQUIRE))
        stage_pause();
    return 0;
}

static int die_in_action(void *arg)
{
    return kill(getpid(), SIGKILL);
}

/* ---- Workers ---------------------------------------------------------------------------- */

static void pass(struct worker *self)
{
    struct scene *scene = self->with;
    unsigned index = 1000;

    worker_says(self, 1);
    for (uint32_t i = 0; i < scene->rounds; i++) {
        self->result = plait_barrier_wait(&scene->barrier, &index, scene->deadline);
        if (self->result)
            break;
        if (index < PARTIES)
            __atomic_fetch_add(&scene->seen[index], 1, __ATOMIC_RELAXED);
        else
            scene->wrong = 1;
    }
    if (self->result && index != 1000 && scene->rounds == 1)
        self->result = -1; /* stored at an error */
}

static void pass_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    pass(self);
}

static void pass_counting(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    for (uint32_t i = 0; i < scene->rounds; i++) {
        self->result = plait_barrier_wait_then(&scene->barrier, count_action, scene, NULL, scene->deadline);
        if (self->result)
            break;
        if (__atomic_load_n(&scene->actions, __ATOMIC_RELAXED) < i + 1)
            scene->wrong = 1;
    }
}

static void pass_slowly(struct worker *self)
{
    struct scene *scene = self->with;
    plait_time_t deadline = scene->deadline; /* the test changes it for the next */

    worker_says(self, 1);
    self->result = plait_barrier_wait_then(&scene->barrier, slow_action, scene, NULL, deadline);
}

static void pass_and_die_in_action(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_barrier_wait_then(&scene->barrier, die_in_action, NULL, NULL, PLAIT_FOREVER);
}

/* Writes without any order but the barrier's, and reads what the others wrote. */
static void pass_writing(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    for (uint32_t i = 1; i <= scene->rounds && self->result == 0; i++) {
        scene->written[self->number] = i;
        self->result = plait_barrier_wait(&scene->barrier, NULL, PLAIT_FOREVER);
        for (int j = 0; j < PARTIES; j++)
            if (scene->written[j] != i)
                scene->wrong = 1;
        if (self->result == 0)
            self->result = plait_barrier_wait(&scene->barrier, NULL, PLAIT_FOREVER);
    }
}

/* Passes once, and stays, knowing nothing of the next round, until it is told to leave in order or is killed. */
static void pass_and_stay(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_barrier_wait(&scene->barrier, NULL, PLAIT_FOREVER);
    worker_says(self, 2);
    while (!__atomic_load_n(&scene->go_on, __ATOMIC_ACQUIRE))
        stage_pause();
    if (self->stage->setting == STAGE_PROCESSES)
        plait_arena_free(self->stage->arena); /* a thread leaves by ending; _exit would be a death */
}

/* ---- The test's side -------------------------------------------------------------------- */

static void start(struct stage *stage, struct scene *scene, void (*run)(struct worker *), unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_non_null(worker_start(stage, run, scene));
}

static void await_waiting(struct scene *scene, unsigned count)
{
    assert_true(EVENTUALLY(plait_barrier_waiting(&scene->barrier) == count));
}

static void assert_results(struct stage *stage, int expected)
{
    for (unsigned i = 0; i < stage->worker_count; i++)
        if (!stage->workers[i].ended)
            assert_int_equal(worker_result(&stage->workers[i]), expected);
}

static int wait_now(struct scene *scene)
{
    unsigned index = 77;
    int err = plait_barrier_wait(&scene->barrier, &index, PLAIT_NOW);

    return err && index != 77 ? -1 : err;
}

/* ---- Passing ---------------------------------------------------------------------------- */

static void barrier_lets_all_pass_with_an_index_each(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    scene->rounds = ROUNDS;
    start(stage, scene, pass, PARTIES);
    assert_results(stage, 0);
    assert_int_equal(scene->wrong, 0);
    for (int i = 0; i < PARTIES; i++)
        assert_int_equal(scene->seen[i], ROUNDS);
    assert_int_equal(plait_barrier_waiting(&scene->barrier), 0);
    assert_int_equal(plait_barrier_parties(&scene->barrier), PARTIES);
    assert_false(plait_barrier_is_broken(&scene->barrier));
    assert_int_equal(plait_barrier_fini(&scene->barrier), 0);
}

static void barrier_indexes_tell_the_order_of_arrival(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    unsigned index = 1000;

    for (unsigned i = 1; i < PARTIES; i++) {
        start(stage, scene, pass, 1);
        await_waiting(scene, i);
        assert_int_equal(scene->seen[PARTIES - i], 0);
    }
    assert_int_equal(plait_barrier_wait(&scene->barrier, &index, PLAIT_FOREVER), 0);
    assert_int_equal(index, 0);
    assert_results(stage, 0);
    for (int i = 1; i < PARTIES; i++)
        assert_int_equal(scene->seen[i], 1);
}

static void barrier_orders_what_parties_write(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    scene->rounds = ROUNDS / 4;
    start(stage, scene, pass_writing, PARTIES);
    assert_results(stage, 0);
    assert_int_equal(scene->wrong, 0);
}

static void barrier_of_one_never_waits(void **state)
{
    struct scene *scene = scene_with(*state, 1);
    unsigned index = 5;

    for (int i = 0; i < 10; i++)
        assert_int_equal(plait_barrier_wait(&scene->barrier, &index, PLAIT_NOW), 0);
    assert_int_equal(index, 0);
    assert_int_equal(plait_barrier_wait_then(&scene->barrier, count_action, scene, &index, PLAIT_NOW), 0);
    assert_int_equal(scene->actions, 1);
}

static void barrier_made_static_is_private(void **state)
{
    static plait_barrier_t two = PLAIT_BARRIER_INIT(2), zero;
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_barrier_wait(&two, NULL, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_barrier_parties(&two), 2);
    assert_int_equal(plait_barrier_wait(&zero, NULL, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_barrier_init(&scene->barrier, 2, 0), 0);
    scene->barrier.birth = 0;
    assert_memory_equal(&scene->barrier, &two, sizeof two);
}

/* More callers than parties: two full rounds and one caller that has to wait for the next. */
static void barrier_caller_too_many_waits_for_the_next_round(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    start(stage, scene, pass_slowly, PARTIES);
    assert_true(EVENTUALLY(__atomic_load_n(&scene->actions, __ATOMIC_ACQUIRE) == 1));
    assert_int_equal(wait_now(scene), ETIMEDOUT);
    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, plait_after(0.005)), ETIMEDOUT);
    assert_false(plait_barrier_is_broken(&scene->barrier));
    start(stage, scene, pass_slowly, PARTIES);
    for (int i = PARTIES; i < 2 * PARTIES; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    assert_int_equal(plait_barrier_waiting(&scene->barrier), PARTIES);
    __atomic_store_n(&scene->go_on, 1, __ATOMIC_RELEASE);
    assert_results(stage, 0);
    assert_int_equal(scene->actions, 2);
}

static void barrier_try_arrives_only_as_the_last(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(wait_now(scene), ETIMEDOUT);
    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, -5), ETIMEDOUT);
    assert_int_equal(plait_barrier_waiting(&scene->barrier), 0);
    start(stage, scene, pass, PARTIES - 1);
    await_waiting(scene, PARTIES - 1);
    assert_int_equal(wait_now(scene), 0);
    assert_results(stage, 0);
}

/* ---- Actions ---------------------------------------------------------------------------- */

static void barrier_action_is_called_once_a_round_before_anybody_goes(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    scene->rounds = ROUNDS / 4;
    start(stage, scene, pass_counting, PARTIES);
    assert_results(stage, 0);
    assert_int_equal(scene->wrong, 0);
    assert_int_equal(scene->actions, ROUNDS / 4);
}

static void barrier_action_that_fails_breaks_it(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    scene->action_result = 4711;
    start(stage, scene, pass, PARTIES - 1);
    await_waiting(scene, PARTIES - 1);
    assert_int_equal(plait_barrier_wait_then(&scene->barrier, count_action, scene, NULL, PLAIT_FOREVER), 4711);
    assert_true(plait_barrier_is_broken(&scene->barrier));
    assert_results(stage, EPIPE);
}

static void barrier_aborted_in_an_action_is_broken_for_all(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    start(stage, scene, pass_slowly, PARTIES);
    assert_true(EVENTUALLY(__atomic_load_n(&scene->actions, __ATOMIC_ACQUIRE) == 1));
    assert_int_equal(plait_barrier_abort(&scene->barrier), 0);
    __atomic_store_n(&scene->go_on, 1, __ATOMIC_RELEASE);
    assert_results(stage, EPIPE);
}

/* ---- Breaking --------------------------------------------------------------------------- */

static void barrier_breaks_when_a_deadline_passes(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    start(stage, scene, pass, PARTIES - 2);
    await_waiting(scene, PARTIES - 2);
    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, plait_now()), ETIMEDOUT); /* too late to have arrived */
    assert_false(plait_barrier_is_broken(&scene->barrier));
    /* On a busy machine it may be too late at first. */
    for (double patience = 0.01; patience < 30 && !plait_barrier_is_broken(&scene->barrier); patience *= 2) {
        plait_time_t deadline = plait_after(patience);

        assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
    }
    assert_true(plait_barrier_is_broken(&scene->barrier));
    assert_results(stage, EPIPE);
    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, PLAIT_FOREVER), EPIPE);
    assert_int_equal(wait_now(scene), EPIPE);
    assert_int_equal(plait_barrier_waiting(&scene->barrier), 0);
}

/* Both come with the same deadline; the last runs the action, until the other's has passed. True: both came in time. */
static bool break_in_the_action(struct stage *stage, double patience)
{
    struct scene *scene = scene_with(stage, 2);
    int results[2];

    stage->worker_count = 0;
    scene->deadline = plait_after(patience);
    start(stage, scene, pass_slowly, 2);
    plait_sleep_until(scene->deadline);
    assert_true(EVENTUALLY(plait_barrier_is_broken(&scene->barrier) || !plait_barrier_waiting(&scene->barrier)));
    __atomic_store_n(&scene->go_on, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < 2; i++)
        results[i] = worker_result(&stage->workers[i]);
    if (scene->actions == 0 || results[0] + results[1] == 0) /* one was too late, or both not before go_on was set */
        return false;
    assert_int_equal(scene->actions, 1);
    assert_true(plait_barrier_is_broken(&scene->barrier));
    assert_true((results[0] == ETIMEDOUT && results[1] == EPIPE) || (results[0] == EPIPE && results[1] == ETIMEDOUT));
    return true;
}

static void barrier_breaks_when_a_deadline_passes_in_the_action(void **state)
{
    double patience = 0.05;

    while (!break_in_the_action(*state, patience) && patience < 30)
        patience *= 2;
    assert_true(patience < 30);
}

static void barrier_breaks_when_a_party_is_cancelled(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    start(stage, scene, pass, PARTIES - 2);
    start(stage, scene, pass_bound, 1);
    await_waiting(scene, PARTIES - 1);
    plait_cancel_set(&scene->token);
    assert_int_equal(worker_result(&stage->workers[PARTIES - 2]), ECANCELED);
    assert_results(stage, EPIPE);
    assert_true(plait_barrier_is_broken(&scene->barrier));
}

static void barrier_cancelled_try_does_nothing(void **state)
{
    struct scene *scene = scene_of(*state);

    plait_cancel_set(&scene->token);
    plait_cancel_bind(&scene->token);
    assert_int_equal(wait_now(scene), ECANCELED);
    plait_cancel_bind(NULL);
    assert_false(plait_barrier_is_broken(&scene->barrier));
}

static void barrier_aborted_stays_broken_until_reset(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    start(stage, scene, pass, PARTIES - 1);
    await_waiting(scene, PARTIES - 1);
    assert_int_equal(plait_barrier_abort(&scene->barrier), 0);
    assert_results(stage, EPIPE);
    assert_int_equal(plait_barrier_abort(&scene->barrier), 0);
    assert_int_equal(wait_now(scene), EPIPE);
    assert_int_equal(plait_barrier_reset(&scene->barrier), 0);
    assert_false(plait_barrier_is_broken(&scene->barrier));
    start(stage, scene, pass, PARTIES);
    assert_results(stage, 0);
}

static void barrier_reset_lets_go_who_waits_and_is_whole(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 6; i++) {
        stage->worker_count = 0;
        start(stage, scene, pass, PARTIES - 1);
        await_waiting(scene, PARTIES - 1);
        assert_int_equal(plait_barrier_reset(&scene->barrier), 0);
        assert_false(plait_barrier_is_broken(&scene->barrier));
        assert_int_equal(plait_barrier_waiting(&scene->barrier), 0);
        assert_results(stage, EPIPE);
    }
    stage->worker_count = 0;
    start(stage, scene, pass, PARTIES);
    assert_results(stage, 0);
}

static void reset_counted(struct scene *scene)
{
    __atomic_fetch_add(&scene->resets, 1, __ATOMIC_SEQ_CST);
    plait_barrier_reset(&scene->barrier);
}

/* One call of many: a wait, now and then an abort or a reset. */
static int do_something(struct worker *self)
{
    struct scene *scene = self->with;
    unsigned dice = worker_random(self, 100), index;
    uint32_t resets = __atomic_load_n(&scene->resets, __ATOMIC_SEQ_CST);
    int err;

    if (dice == 0)
        reset_counted(scene);
    if (dice == 1)
        plait_barrier_abort(&scene->barrier);
    err = plait_barrier_wait(&scene->barrier, &index,
                             dice < 10 ? PLAIT_NOW : dice < 20 ? plait_after(2e-5) : PLAIT_FOREVER);
    if (err == 0)
        __atomic_fetch_add(&scene->seen[index], 1, __ATOMIC_RELAXED);
    else if (err == EPIPE && __atomic_load_n(&scene->resets, __ATOMIC_SEQ_CST) - resets >= 4)
        __atomic_fetch_add(&scene->too_late, 1, __ATOMIC_RELAXED);
    if (err == EOWNERDEAD || (err == EPIPE && worker_random(self, 2))) /* a process that has ended is a dead party */
        reset_counted(scene);
    return err == EPIPE || err == EOWNERDEAD || err == ETIMEDOUT ? 0 : err;
}

/* Every round that completes gives each index once, but to who looks after four resets only. */
static void pass_or_reset(struct worker *self)
{
    self->result = 0;
    for (int i = 0; i < ROUNDS && self->result == 0; i++)
        self->result = do_something(self);
    worker_says(self, 2);
}

static void barrier_gives_each_index_once_whatever_happens(void **state)
{
    enum { THREE = 3 };
    struct stage *stage = *state;
    struct scene *scene = scene_with(stage, THREE);
    int ended = 0;

    stage_seed();
    start(stage, scene, pass_or_reset, THREE);
    for (plait_time_t end = plait_after(20); ended < THREE && plait_now() < end; stage_pause()) {
        ended = 0;
        for (int i = 0; i < THREE; i++)
            ended += __atomic_load_n(&stage->workers[i].phase, __ATOMIC_ACQUIRE) == 2;
        if (ended) /* who is left alone shall not wait for ever */
            plait_barrier_abort(&scene->barrier);
    }
    assert_results(stage, 0);
    assert_true(scene->seen[0] > 0);
    for (int i = 0; i < THREE; i++)
        assert_true(abs((int)scene->seen[i] - (int)scene->seen[(i + 1) % THREE]) <= (int)scene->too_late);
    assert_true(scene->too_late < scene->seen[0] / 4);
}

/* ---- Ends ------------------------------------------------------------------------------- */

static void barrier_waited_for_is_not_ended(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_with(stage, 2);

    start(stage, scene, pass, 1);
    await_waiting(scene, 1);
    assert_int_equal(plait_barrier_fini(&scene->barrier), EBUSY);
    assert_int_equal(wait_now(scene), 0);
    assert_results(stage, 0);
    assert_int_equal(plait_barrier_fini(&scene->barrier), 0);
}

static void barrier_with_bad_parties_flags_or_place_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    plait_barrier_t barrier;

    assert_int_equal(plait_barrier_init(&scene->barrier, 0, stage->flags), EINVAL);
    assert_int_equal(plait_barrier_init(&scene->barrier, PLAIT_BARRIER_MAX + 1, stage->flags), EINVAL);
    assert_int_equal(plait_barrier_init(&scene->barrier, 1, stage->flags | PLAIT_BOUNDED), EINVAL);
    assert_int_equal(plait_barrier_init(&barrier, 1, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_barrier_parties(&scene->barrier), PARTIES);
    assert_int_equal(plait_barrier_init(&scene->barrier, PLAIT_BARRIER_MAX, stage->flags), 0);
}

static plait_barrier_t *handler_barrier;

/* The alarm repeats: see tests/test_toy_fiber.c. */
static void abort_in_handler(int number)
{
    setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 0 } }, NULL);
    plait_barrier_abort(handler_barrier);
}

static void barrier_is_aborted_in_a_signal_handler(void **state)
{
    struct scene *scene = scene_of(*state);

    handler_barrier = &scene->barrier;
    signal(SIGALRM, abort_in_handler);
    setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 2000 }, { 0, 2000 } }, NULL);
    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, plait_after(10)), EPIPE);
    signal(SIGALRM, SIG_DFL);
}

static int wait_in_child(void *arg)
{
    return plait_barrier_wait(arg, NULL, plait_after(10));
}

static void barrier_counts_a_forked_child_as_a_party(void **state)
{
    struct scene *scene = scene_with(*state, 2);
    pid_t child;

    assert_int_equal(wait_now(scene), ETIMEDOUT); /* the parent is known */
    child = child_start(wait_in_child, &scene->barrier);
    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, plait_after(10)), 0);
    assert_int_equal(child_end(child), 0);
}

/* ---- Death ------------------------------------------------------------------------------ */

static void barrier_breaks_when_a_party_is_killed_that_waits(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    plait_time_t start_time;

    start(stage, scene, pass, PARTIES - 1);
    await_waiting(scene, PARTIES - 1);
    start_time = plait_now();
    worker_kill(&stage->workers[1]);
    assert_results(stage, EOWNERDEAD);
    assert_true(plait_now() < start_time + 2 * PLAIT__SECOND);
    assert_int_equal(wait_now(scene), EOWNERDEAD);
    assert_true(plait_barrier_is_broken(&scene->barrier));
    assert_int_equal(plait_barrier_reset(&scene->barrier), 0);
    stage->worker_count = 0;
    start(stage, scene, pass, PARTIES);
    assert_results(stage, 0);
    assert_int_equal(plait_barrier_fini(&scene->barrier), 0);
}

static void barrier_breaks_when_a_party_is_killed_in_the_action(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    start(stage, scene, pass, PARTIES - 1);
    await_waiting(scene, PARTIES - 1);
    assert_true(worker_join(worker_start(stage, pass_and_die_in_action, scene)));
    stage->workers[PARTIES - 1].ended = true;
    assert_results(stage, EOWNERDEAD);
}

static void barrier_breaks_when_a_party_is_killed_between_its_rounds(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_with(stage, 2);
    struct worker *w = worker_start(stage, pass_and_stay, scene);

    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, plait_after(10)), 0);
    assert_true(worker_said(w, 2));
    assert_int_equal(wait_now(scene), ETIMEDOUT);
    worker_kill(w);
    assert_int_equal(wait_now(scene), EOWNERDEAD);
    plait_barrier_reset(&scene->barrier); /* and nobody is known any more */
    assert_int_equal(wait_now(scene), ETIMEDOUT);
    start(stage, scene, pass, 1);
    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, plait_after(10)), 0);
    assert_int_equal(worker_result(&stage->workers[1]), 0);
}

static void barrier_party_that_ends_in_order_is_no_death(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_with(stage, 2);
    struct worker *w = worker_start(stage, pass_and_stay, scene);

    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, plait_after(10)), 0);
    assert_true(worker_said(w, 2));
    __atomic_store_n(&scene->go_on, 1, __ATOMIC_RELEASE);
    assert_true(worker_join(w));
    assert_int_equal(wait_now(scene), ETIMEDOUT);
    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, plait_after(0.3)), ETIMEDOUT);
}

static int pass_and_exit(void *arg)
{
    int err = plait_barrier_wait(arg, NULL, plait_after(10));

    exit(err);
}

static void barrier_party_that_calls_exit_is_no_death(void **state)
{
    struct scene *scene = scene_with(*state, 2);
    pid_t child;

    fflush(NULL);
    child = child_start(pass_and_exit, &scene->barrier);
    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, plait_after(10)), 0);
    assert_int_equal(child_end(child), 0);
    assert_int_equal(wait_now(scene), ETIMEDOUT);
}

static void barrier_does_not_mind_a_party_that_died_before_the_reset(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_with(stage, 2);

    for (int i = 0; i < 20; i++) {
        stage->worker_count = 0;
        start(stage, scene, pass, 1);
        await_waiting(scene, 1);
        plait_barrier_reset(&scene->barrier);
        assert_int_equal(worker_result(&stage->workers[0]), EPIPE); /* ends by _exit: dead, and known before */
        assert_int_equal(wait_now(scene), ETIMEDOUT);
    }
    for (uint32_t i = 0; i < stage->arena->base->slots_high; i++)
        assert_true(plait__slot_at(stage->arena->base, i)->row.used <= 2);
}

static void barrier_of_the_dead_is_ended(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    start(stage, scene, pass, 2);
    await_waiting(scene, 2);
    worker_kill(&stage->workers[0]);
    worker_kill(&stage->workers[1]);
    assert_int_equal(plait_barrier_fini(&scene->barrier), 0);
    for (uint32_t i = 0; i < stage->arena->base->slots_high; i++)
        assert_int_equal(plait__slot_at(stage->arena->base, i)->row.holds[0].name, 0);
}

static void barrier_with_a_stopped_party_waits_for_it(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_with(stage, 3);

    start(stage, scene, pass, 2);
    await_waiting(scene, 2);
    kill(stage->workers[0].pid, SIGSTOP);
    plait_sleep(1.5);
    assert_int_equal(plait_barrier_waiting(&scene->barrier), 2);
    assert_int_equal(wait_now(scene), 0);
    assert_int_equal(worker_result(&stage->workers[1]), 0);
    kill(stage->workers[0].pid, SIGCONT);
    assert_int_equal(worker_result(&stage->workers[0]), 0);
}

/* Slow to look: by the time it does, the barrier was broken, or broken and reset, more than once. */
static void barrier_party_that_is_slow_to_look_knows_its_round(void **state)
{
    struct stage *stage = *state;

    for (int resets = 0; resets <= 3; resets++)
        for (int is_completed = 0; is_completed <= 1; is_completed++) {
            struct scene *scene = scene_with(stage, 2);

            stage->worker_count = 0;
            start(stage, scene, pass, 1);
            await_waiting(scene, 1);
            kill(stage->workers[0].pid, SIGSTOP);
            if (is_completed)
                assert_int_equal(wait_now(scene), 0);
            plait_barrier_abort(&scene->barrier);
            for (int i = 0; i < resets; i++)
                plait_barrier_reset(&scene->barrier);
            kill(stage->workers[0].pid, SIGCONT);
            assert_int_equal(worker_result(&stage->workers[0]), is_completed ? 0 : EPIPE);
        }
}

static void barrier_in_a_full_arena_has_no_place_for_another_thread(void **state)
{
    plait_arena_t *arena = NULL;
    struct scene *scene = NULL;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 1 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *scene, (void **)&scene), 0);
    memset(scene, 0, sizeof *scene);
    assert_int_equal(plait_barrier_init(&scene->barrier, 1, PLAIT_SHARED), 0);
    scene->deadline = PLAIT_FOREVER;
    scene->rounds = 1;
    assert_int_equal(worker_result(worker_start(*state, pass, scene)), ENOSPC);
    assert_int_equal(plait_barrier_waiting(&scene->barrier), 0);
    assert_int_equal(plait_barrier_wait(&scene->barrier, NULL, PLAIT_NOW), 0);
    assert_false(plait_barrier_is_broken(&scene->barrier));
    assert_int_equal(plait_arena_free(arena), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(barrier_lets_all_pass_with_an_index_each),
        EVERYWHERE(barrier_indexes_tell_the_order_of_arrival),
        EVERYWHERE(barrier_orders_what_parties_write),
        EVERYWHERE(barrier_of_one_never_waits),
        PRIVATE(barrier_made_static_is_private),
        EVERYWHERE(barrier_caller_too_many_waits_for_the_next_round),
        EVERYWHERE(barrier_try_arrives_only_as_the_last),
        EVERYWHERE(barrier_action_is_called_once_a_round_before_anybody_goes),
        EVERYWHERE(barrier_action_that_fails_breaks_it),
        EVERYWHERE(barrier_aborted_in_an_action_is_broken_for_all),
        EVERYWHERE(barrier_breaks_when_a_deadline_passes),
        EVERYWHERE(barrier_breaks_when_a_deadline_passes_in_the_action),
        EVERYWHERE(barrier_breaks_when_a_party_is_cancelled),
        EVERYWHERE(barrier_cancelled_try_does_nothing),
        EVERYWHERE(barrier_aborted_stays_broken_until_reset),
        EVERYWHERE(barrier_reset_lets_go_who_waits_and_is_whole),
        EVERYWHERE(barrier_gives_each_index_once_whatever_happens),
        EVERYWHERE(barrier_waited_for_is_not_ended),
        EVERYWHERE(barrier_with_bad_parties_flags_or_place_is_refused),
        EVERYWHERE(barrier_is_aborted_in_a_signal_handler),
        SHARED(barrier_counts_a_forked_child_as_a_party),
        PROCESSES(barrier_breaks_when_a_party_is_killed_that_waits),
        PROCESSES(barrier_breaks_when_a_party_is_killed_in_the_action),
        PROCESSES(barrier_breaks_when_a_party_is_killed_between_its_rounds),
        SHARED(barrier_party_that_ends_in_order_is_no_death),
        PROCESSES(barrier_party_that_calls_exit_is_no_death),
        PROCESSES(barrier_does_not_mind_a_party_that_died_before_the_reset),
        PROCESSES(barrier_of_the_dead_is_ended),
        PROCESSES(barrier_with_a_stopped_party_waits_for_it),
        PROCESSES(barrier_party_that_is_slow_to_look_knows_its_round),
        SHARED(barrier_in_a_full_arena_has_no_place_for_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
