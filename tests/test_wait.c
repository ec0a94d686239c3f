/* SPDX-License-Identifier: MIT */
/* Tests of plait/wait.h and plait/cancel.h, over threads and processes, with and without futex_waitv. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "base/clock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/refuse.h"
#include "support/stage.h"
#include "wait/parked.h"
#include "wait/spin.h"

enum { NR_FUTEX_WAITV = 449, WAITERS = 4 };

/* What a case's workers share. */
struct scene {
    uint32_t words[PLAIT_WAIT_MANY_MAX + 1];
    uint32_t done; /* atomic: workers that have returned */
    plait_cancel_t token;
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    return scene;
}

static void change(uint32_t *word)
{
    __atomic_fetch_add(word, 1, __ATOMIC_RELEASE);
}

static uint32_t look(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* ---- One word --------------------------------------------------------------------------- */

static void wait_for_a_word_that_differs_returns_at_once(void **state)
{
    struct stage *stage = *state;
    uint32_t word = 1;

    assert_int_equal(plait_wait(&word, 0, stage->flags, PLAIT_FOREVER), 0);
    assert_int_equal(plait_wait(&word, 0, stage->flags, PLAIT_NOW), 0);
}

static void wait_with_a_past_deadline_is_a_try(void **state)
{
    struct stage *stage = *state;
    uint32_t word = 1;
    const plait_time_t past[] = { PLAIT_NOW, -1, INT64_MIN, 1, plait_now() - 1 };

    for (size_t i = 0; i < sizeof past / sizeof past[0]; i++)
        assert_int_equal(plait_wait(&word, 1, stage->flags, past[i]), ETIMEDOUT);
}

static void wait_never_ends_early(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 40; i++) {
        plait_time_t deadline = plait_after(i * 1e-4);

        plait_cancel_bind(i % 2 ? &scene->token : NULL);
        assert_int_equal(plait_wait(&scene->words[0], 0, stage->flags, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
    }
}

static void wait_for_a_bad_word_is_refused(void **state)
{
    uint32_t words[2] = { 0, 0 };
    const uint32_t *askew = (const uint32_t *)(const void *)((char *)words + 2);

    assert_int_equal(plait_wait(NULL, 0, 0, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_wait(askew, 0, 0, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_wait(words, 0, PLAIT_BOUNDED, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_wait(words, 0, 1u << 31, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_wake(NULL, 1, 0), EINVAL);
    assert_int_equal(plait_wake(askew, 1, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_wake(words, 1, 4), EINVAL);
}

static void wait_for_change(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    while (look(&scene->words[0]) == 0) {
        self->result = plait_wait(&scene->words[0], 0, self->stage->flags, PLAIT_FOREVER);
        if (self->result)
            return;
    }
    self->result = 0;
}

static void wait_ends_with_a_change_and_a_wake(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < WAITERS; i++)
        assert_non_null(worker_start(stage, wait_for_change, scene));
    for (int i = 0; i < WAITERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    change(&scene->words[0]);
    assert_int_equal(plait_wake(&scene->words[0], UINT_MAX, stage->flags), 0);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void wait_once(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_wait(&scene->words[0], 0, self->stage->flags, PLAIT_FOREVER);
    __atomic_fetch_add(&scene->done, 1, __ATOMIC_RELEASE);
}

static void wake_of_two_wakes_two(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < WAITERS; i++)
        assert_non_null(worker_start(stage, wait_once, scene));
    for (int i = 0; i < WAITERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    plait_wake(&scene->words[0], 2, stage->flags);
    assert_true(EVENTUALLY(look(&scene->done) >= 2));
    plait_sleep(0.01); /* not to order anything: to give a third the time to be wrong */
    assert_int_equal(look(&scene->done), 2);
    plait_wake(&scene->words[0], UINT_MAX, stage->flags);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void wake_of_memory_that_is_gone_does_nothing(void **state)
{
    struct stage *stage = *state;
    uint32_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(word != MAP_FAILED);
    munmap(word, 4096);
    errno = ENOTTY;
    assert_int_equal(plait_wake(word, 1, stage->flags), 0);
    assert_int_equal(errno, ENOTTY);
}

/* ---- Signals ---------------------------------------------------------------------------- */

static volatile sig_atomic_t signals, set_at;
static plait_cancel_t *handler_token;

static void on_alarm(int number)
{
    if (++signals == set_at)
        plait_cancel_set(handler_token);
}

static void alarms(long each_us)
{
    struct sigaction action = { .sa_handler = on_alarm };
    struct itimerval timer = { { 0, each_us }, { 0, each_us } };

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void wait_does_not_see_signals(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int bound = 0; bound < 2; bound++) {
        plait_time_t deadline = plait_after(0.03);

        plait_cancel_bind(bound ? &scene->token : NULL);
        signals = set_at = 0;
        alarms(500);
        int err = plait_wait(&scene->words[0], 0, stage->flags, deadline);
        plait_time_t end = plait_now();
        alarms(0);
        assert_int_equal(err, ETIMEDOUT);
        assert_true(end >= deadline);
        assert_true(signals > 0);
    }
}

static void wait_is_ended_by_a_token_set_in_a_signal_handler(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 20; i++) {
        assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
        plait_cancel_bind(&scene->token);
        handler_token = &scene->token;
        signals = 0;
        set_at = 1 + i % 3;
        alarms(300 + 17 * i);
        int err = plait_wait(&scene->words[0], 0, stage->flags, PLAIT_FOREVER);
        alarms(0);
        plait_cancel_bind(NULL);
        assert_int_equal(err, ECANCELED);
    }
}

/* ---- Cancel tokens ---------------------------------------------------------------------- */

static void token_set_before_ends_a_wait_that_would_have_to_wait(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_false(plait_cancel_is_set(&scene->token));
    assert_int_equal(plait_cancel_set(&scene->token), 0);
    assert_int_equal(plait_cancel_set(&scene->token), 0);
    assert_true(plait_cancel_is_set(&scene->token));
    plait_cancel_bind(&scene->token);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_wait(&scene->words[0], 0, stage->flags, PLAIT_FOREVER), ECANCELED);
        assert_int_equal(plait_wait(&scene->words[0], 0, stage->flags, PLAIT_NOW), ECANCELED);
    }
    assert_int_equal(plait_wait(&scene->words[0], 1, stage->flags, PLAIT_FOREVER), 0);
    plait_cancel_bind(NULL);
    assert_int_equal(plait_wait(&scene->words[0], 0, stage->flags, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_cancel_fini(&scene->token), 0);
}

static void wait_bound(struct worker *self)
{
    struct scene *scene = self->with;

    plait_cancel_bind(&scene->token);
    worker_says(self, 1);
    self->result = plait_wait(&scene->words[0], 0, self->stage->flags, PLAIT_FOREVER);
}

static void token_ends_the_waits_of_all_who_are_bound(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < WAITERS; i++)
        assert_non_null(worker_start(stage, wait_bound, scene));
    for (int i = 0; i < WAITERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    plait_cancel_set(&scene->token);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), ECANCELED);
}

static void token_bound_is_given_back(void **state)
{
    plait_cancel_t a, b;

    assert_int_equal(plait_cancel_init(&a, 0), 0);
    assert_int_equal(plait_cancel_init(&b, 0), 0);
    assert_null(plait_cancel_current());
    assert_null(plait_cancel_bind(&a));
    assert_ptr_equal(plait_cancel_bind(&b), &a);
    assert_ptr_equal(plait_cancel_current(), &b);
    assert_ptr_equal(plait_cancel_bind(NULL), &b);
    assert_null(plait_cancel_current());
}

static void token_with_bad_flags_or_place_is_refused(void **state)
{
    plait_cancel_t token;

    assert_int_equal(plait_cancel_init(&token, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_cancel_init(&token, PLAIT_BOUNDED), EINVAL);
    assert_int_equal(plait_cancel_init(&token, 1u << 31), EINVAL);
}

/* ---- Many words ------------------------------------------------------------------------- */

static void fill(struct plait_wait_word *vector, struct scene *scene, struct stage *stage)
{
    for (size_t i = 0; i <= PLAIT_WAIT_MANY_MAX; i++)
        vector[i] = (struct plait_wait_word){ &scene->words[i], 0, i % 2 ? stage->flags : 0 };
}

static void wait_many_tells_which_word_differs(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_word vector[PLAIT_WAIT_MANY_MAX + 1];
    static const size_t counts[] = { 1, 2, 3, 64, PLAIT_WAIT_MANY_MAX };

    fill(vector, scene, stage);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        size_t last = counts[i] - 1, index = 777;

        assert_int_equal(plait_wait_many(vector, counts[i], &index, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(index, counts[i]);
        change(&scene->words[last]);
        assert_int_equal(plait_wait_many(vector, counts[i], &index, PLAIT_FOREVER), 0);
        assert_int_equal(index, last);
        assert_int_equal(plait_wait_many(vector, counts[i], NULL, PLAIT_FOREVER), 0);
        scene->words[last] = 0;
    }
}

static void wait_many_with_bad_arguments_is_refused(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_word vector[PLAIT_WAIT_MANY_MAX + 1];

    fill(vector, scene, stage);
    assert_int_equal(plait_wait_many(vector, 0, NULL, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_wait_many(vector, PLAIT_WAIT_MANY_MAX + 1, NULL, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_wait_many(vector, SIZE_MAX, NULL, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_wait_many(NULL, 1, NULL, PLAIT_NOW), EINVAL);
    vector[7].word = (const uint32_t *)(const void *)((char *)scene->words + 1);
    assert_int_equal(plait_wait_many(vector, 8, NULL, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_wait_many(vector, 7, NULL, PLAIT_NOW), ETIMEDOUT);
    vector[7] = (struct plait_wait_word){ NULL, 0, 0 };
    assert_int_equal(plait_wait_many(vector, 8, NULL, PLAIT_NOW), EINVAL);
    vector[7] = (struct plait_wait_word){ scene->words, 0, 2 };
    assert_int_equal(plait_wait_many(vector, 8, NULL, PLAIT_NOW), EINVAL);
}

static void wait_many_never_ends_early(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_word vector[PLAIT_WAIT_MANY_MAX + 1];

    fill(vector, scene, stage);
    for (int i = 0; i < 20; i++) {
        plait_time_t deadline = plait_after(i * 1e-4);
        size_t index;

        assert_int_equal(plait_wait_many(vector, PLAIT_WAIT_MANY_MAX, &index, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
        assert_int_equal(index, PLAIT_WAIT_MANY_MAX);
    }
}

static void wait_for_many(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_word vector[PLAIT_WAIT_MANY_MAX + 1];
    size_t index = 777;

    fill(vector, scene, self->stage);
    plait_cancel_bind(&scene->token);
    worker_says(self, 1);
    self->result = plait_wait_many(vector, PLAIT_WAIT_MANY_MAX, &index, PLAIT_FOREVER);
    worker_says(self, 2 + (uint32_t)index);
}

static void wait_many_is_woken_by_the_last_word(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    size_t last = PLAIT_WAIT_MANY_MAX - 1;
    struct worker *w = worker_start(stage, wait_for_many, scene);

    assert_true(worker_sleeps(w, 1));
    change(&scene->words[last]);
    plait_wake(&scene->words[last], 1, stage->flags);
    assert_int_equal(worker_result(w), 0);
    assert_int_equal(w->phase, 2 + last);
}

static void wait_many_is_cancelled(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, wait_for_many, scene);

    assert_true(worker_sleeps(w, 1));
    plait_cancel_set(&scene->token);
    assert_int_equal(worker_result(w), ECANCELED);
    assert_int_equal(w->phase, 2 + PLAIT_WAIT_MANY_MAX);
}

/* ---- Without futex_waitv ---------------------------------------------------------------- */

/* Run as a worker that gets no futex_waitv: the number of the first step that went wrong, 0 if none did. */
static int steps_without_waitv(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_word vector[PLAIT_WAIT_MANY_MAX + 1];
    plait_time_t deadline = plait_after(0.03);
    unsigned flags = self->stage->flags;
    size_t index;

    fill(vector, scene, self->stage);
    if (plait_wait_many(vector, 3, &index, deadline) != ETIMEDOUT || plait_now() < deadline || index != 3)
        return 1;
    plait_cancel_bind(&scene->token);
    deadline = plait_after(0.03);
    if (plait_wait(&scene->words[0], 0, flags, deadline) != ETIMEDOUT || plait_now() < deadline)
        return 2;
    worker_says(self, 1); /* the test changes word 5 */
    if (plait_wait_many(vector, PLAIT_WAIT_MANY_MAX, &index, PLAIT_FOREVER) != 0 || index != 5)
        return 3;
    worker_says(self, 2); /* the test changes and wakes word 0 */
    if (plait_wait(&scene->words[0], 0, flags, PLAIT_FOREVER) != 0)
        return 4;
    worker_says(self, 3); /* the test sets the token */
    if (plait_wait(&scene->words[1], 0, flags, PLAIT_FOREVER) != ECANCELED)
        return 5;
    return plait_wait(&scene->words[1], 0, flags, PLAIT_FOREVER) == ECANCELED ? 0 : 6;
}

static void run_without_waitv(struct worker *self)
{
    static const long calls[] = { NR_FUTEX_WAITV };
    int error = self->number % 2 ? EPERM : ENOSYS;

    if (refuse_calls(calls, 1, error) != 0)
        self->result = -2;
    else
        self->result = steps_without_waitv(self);
}

static void wait_many_without_futex_waitv_looks_in_turns(void **state)
{
    struct stage *stage = *state;

    for (int i = 0; i < 2; i++) {
        struct scene *scene = scene_of(stage);
        struct worker *w = worker_start(stage, run_without_waitv, scene);

        assert_true(worker_said(w, 1) || w->result == -2);
        if (w->result == -2)
            skip();
        change(&scene->words[5]);
        plait_wake(&scene->words[5], 1, stage->flags);
        assert_true(worker_said(w, 2));
        change(&scene->words[0]);
        plait_wake(&scene->words[0], 1, stage->flags);
        assert_true(worker_said(w, 3));
        plait_cancel_set(&scene->token);
        assert_int_equal(worker_result(w), 0);
    }
}

enum { CROWD = 32, CROWD_WORDS = 8 };

static uint32_t crowd_words[CROWD][CROWD_WORDS]; /* in most buckets of the table */

static void *wait_in_crowd(void *words)
{
    struct plait_wait_word vector[CROWD_WORDS];
    size_t index;

    for (int i = 0; i < CROWD_WORDS; i++)
        vector[i] = (struct plait_wait_word){ (uint32_t *)words + i, 0, 0 };
    while (look((uint32_t *)words + CROWD_WORDS - 1) == 0)
        if (plait_wait_many(vector, CROWD_WORDS, &index, PLAIT_FOREVER) != 0)
            return words;
    return NULL;
}

static bool start_crowd(pthread_t *threads)
{
    for (int i = 0; i < CROWD; i++)
        if (pthread_create(&threads[i], NULL, wait_in_crowd, crowd_words[i]) != 0)
            return false;
    return true;
}

/* How many of them a change and a wake has not reached. */
static int end_crowd(const pthread_t *threads)
{
    int wrong = 0;
    void *result;

    for (int i = 0; i < CROWD; i++) {
        change(&crowd_words[i][CROWD_WORDS - 1]);
        plait_wake(&crowd_words[i][CROWD_WORDS - 1], 1, 0);
        wrong += pthread_join(threads[i], &result) != 0 || result;
    }
    return wrong;
}

static int crowd_after_fork(void *arg)
{
    pthread_t threads[CROWD];

    alarm(20);
    return start_crowd(threads) ? end_crowd(threads) : 100;
}

static int fork_beside_a_crowd(void *arg)
{
    static const long calls[] = { NR_FUTEX_WAITV };
    pthread_t threads[CROWD];
    int wrong;

    if (refuse_calls(calls, 1, ENOSYS) != 0)
        return 77;
    if (!start_crowd(threads) || !EVENTUALLY(__atomic_load_n(&plait__parked_total, __ATOMIC_ACQUIRE) == CROWD))
        return 101;
    wrong = child_run(crowd_after_fork, NULL);
    return wrong ? wrong : end_crowd(threads);
}

/* The threads that are in the table do not exist in the child, whose own get their stacks. */
static void fork_leaves_the_parked_behind(void **state)
{
    int answer;

#ifdef PLAIT_UNDER_TSAN
    skip(); /* its run-time ends a child of a threaded program that starts threads */
#endif
    if (is_emulated()) /* and so does qemu-user */
        skip();
    answer = child_run(fork_beside_a_crowd, NULL);
    if (answer == 77)
        skip();
    assert_int_equal(answer, 0);
}

/* ---- Spinning ------------------------------------------------------------------------------------ */

/* A spin that does not pay; how long it was, in pauses. */
static uint32_t spin_in_vain(enum plait__spin_way way)
{
    struct plait__spin spin = plait__spin_begin(way, PLAIT_FOREVER);
    uint32_t total = spin.total;

    while (plait__spin_pause(&spin))
        ;
    return total;
}

static void spin_is_tried_for_long_now_and_then_though_it_does_not_pay(void **state)
{
    uint32_t most = 0, last = 0, tries = 0;

    if (plait__cpus() == 1)
        skip();
    for (int i = 0; i < 100; i++) {
        uint32_t total = spin_in_vain(PLAIT__SPIN_TURN);

        assert_true(total > 0);
        if (most && total > 4 * last)
            tries++;
        else
            last = total;
        most = total > most ? total : most;
    }
    assert_true(tries >= 1 && tries <= 4);
    assert_true(last < most / 10);
}

/* A partner that was always there is waited for a little longer, once: it will have been interrupted. */
static void spin_after_many_that_paid_is_long_once(void **state)
{
    uint32_t first;

    if (plait__cpus() == 1)
        skip();
    for (int row = 0; row < 2; row++) {
        for (int i = 0; i < 20; i++) {
            struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_CHANGE, PLAIT_FOREVER);

            assert_true(plait__spin_pause(&spin));
            plait__spin_paid(&spin);
        }
        first = spin_in_vain(PLAIT__SPIN_CHANGE);
        for (int i = 0; i < 10; i++)
            assert_true(spin_in_vain(PLAIT__SPIN_CHANGE) < first / 4);
    }
}

static void spin_for_a_batch_stays_away_the_longer_the_more_had_come(void **state)
{
    uint32_t before = 0;

    if (plait__cpus() == 1)
        skip();
    for (int i = 0; i < 10; i++) {
        struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_BATCH, PLAIT_FOREVER);

        assert_true(spin.gap >= before);
        before = spin.gap;
        plait__spin_came(&spin, 5);
    }
    assert_true(before > 1);
    for (int i = 0; i < 20; i++) {
        struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_BATCH, PLAIT_FOREVER);

        plait__spin_came(&spin, 1);
    }
    assert_int_equal(plait__spin_begin(PLAIT__SPIN_BATCH, PLAIT_FOREVER).gap, 1);
}

static void spin_without_time_to_wait_is_none(void **state)
{
    assert_int_equal(spin_in_vain(PLAIT__SPIN_TURN) > 0, plait__cpus() > 1);
    assert_int_equal(plait__spin_begin(PLAIT__SPIN_TURN, PLAIT_NOW).total, 0);
    assert_int_equal(plait__spin_begin(PLAIT__SPIN_TURN, plait_now() - 1).total, plait__cpus() > 1); /* one look */
}

/* Spin until there is a yield, or no more to try. */
static struct plait__spin spin_to_the_yields(void)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_STREAM, PLAIT_FOREVER);

    while (!spin.has_yielded && plait__spin_pause(&spin))
        ;
    return spin;
}

static void spin_ends_with_yields_as_long_as_they_are_of_use(void **state)
{
    plait_time_t patience = plait_after(60);
    struct plait__spin spin;

    assert_int_equal(plait__spin_begin(PLAIT__SPIN_STREAM, PLAIT_NOW).yields, 0);
    assert_int_equal(plait__spin_begin(PLAIT__SPIN_STREAM, plait_now() + 1000).yields, 0);
    assert_int_equal(plait__spin_begin(PLAIT__SPIN_RIVALS, PLAIT_FOREVER).yields, 0);
    do /* a few may be left out, after one that came back late */
        spin = spin_to_the_yields();
    while (!spin.has_yielded && plait_now() < patience);
    assert_true(spin.has_yielded);
    plait__spin_paid(&spin);
    for (int i = 0; i < 3; i++)
        assert_true(plait__spin_begin(PLAIT__SPIN_STREAM, PLAIT_FOREVER).yields > 0);
    do /* in vain */
        spin = spin_to_the_yields();
    while (spin.yields > 0 && plait_now() < patience);
    assert_int_equal(spin.yields, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(wait_for_a_word_that_differs_returns_at_once),
        EVERYWHERE(wait_with_a_past_deadline_is_a_try),
        EVERYWHERE(wait_never_ends_early),
        PRIVATE(wait_for_a_bad_word_is_refused),
        EVERYWHERE(wait_ends_with_a_change_and_a_wake),
        EVERYWHERE(wake_of_two_wakes_two),
        EVERYWHERE(wake_of_memory_that_is_gone_does_nothing),
        EVERYWHERE(wait_does_not_see_signals),
        EVERYWHERE(wait_is_ended_by_a_token_set_in_a_signal_handler),
        EVERYWHERE(token_set_before_ends_a_wait_that_would_have_to_wait),
        EVERYWHERE(token_ends_the_waits_of_all_who_are_bound),
        PRIVATE(token_bound_is_given_back),
        PRIVATE(token_with_bad_flags_or_place_is_refused),
        EVERYWHERE(wait_many_tells_which_word_differs),
        EVERYWHERE(wait_many_with_bad_arguments_is_refused),
        EVERYWHERE(wait_many_never_ends_early),
        EVERYWHERE(wait_many_is_woken_by_the_last_word),
        EVERYWHERE(wait_many_is_cancelled),
        PROCESSES(wait_many_without_futex_waitv_looks_in_turns),
        cmocka_unit_test(fork_leaves_the_parked_behind),
        cmocka_unit_test(spin_is_tried_for_long_now_and_then_though_it_does_not_pay),
        cmocka_unit_test(spin_after_many_that_paid_is_long_once),
        cmocka_unit_test(spin_for_a_batch_stays_away_the_longer_the_more_had_come),
        cmocka_unit_test(spin_without_time_to_wait_is_none),
        cmocka_unit_test(spin_ends_with_yields_as_long_as_they_are_of_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
