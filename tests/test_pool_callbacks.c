/* SPDX-License-Identifier: MIT */
/* Callbacks of a pool's futures that take their time: they wait for tasks, submit some, sleep; and the threads that they are called in. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <plait.h>

#include "support/pools.h"

/* Seen by workers of both kinds: mapped before the nursery was made. */
static struct shared {
    uint32_t gate;
} *shared;

static uint32_t load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static uint32_t count(uint32_t *word) { return __atomic_add_fetch(word, 1, __ATOMIC_ACQ_REL); }

/* ---- What fails ---- */

static uint32_t no_threads; /* atomic: 1: none can be started */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    return load(&no_threads) ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}

/* ---- Tasks ---- */

static int nothing(plait_task_t *task, const void *arg, size_t size) { return 0; }
static int die(plait_task_t *task, const void *arg, size_t size) { _exit(3); }
static int fail_always(plait_task_t *task, const void *arg, size_t size) { return plait_task_fail(task, 33, "as was to be expected"); }

static int go_on_for_ever(plait_task_t *task, const void *arg, size_t size)
{
    for (;;)
        pause();
    return 0;
}

static int until_asked(plait_task_t *task, const void *arg, size_t size)
{
    while (!plait_task_is_cancelled(task))
        plait_sleep(0.001);
    return plait_task_fail(task, EINTR, "stopped when asked");
}

static int wait_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    while (load(&shared->gate) == 0)
        plait_wait(&shared->gate, 0, PLAIT_SHARED, PLAIT_FOREVER);
    return 0;
}

static int fail_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    wait_at_gate(task, arg, size);
    return plait_task_fail(task, ENODEV, "not here");
}

static void open_gate(void)
{
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    plait_wake(&shared->gate, UINT_MAX, PLAIT_SHARED);
}

/* ---- Callbacks ---- */

/* What they have seen: the test's thread looks when `called` says so. */
static struct seen {
    plait_pool_t *pool;
    plait_future_t *other;
    uint32_t called, go_on; /* atomic */
    uint32_t order[100];
    int err, code;
    sigset_t mask;
} seen;

static plait_pool_t *make(const struct plait_pool_opts *opts)
{
    *shared = (struct shared){ 0 };
    seen = (struct seen){ 0 };
    seen.pool = pool_make(opts);
    return seen.pool;
}

static void call_when_done(plait_future_t *future, void (*callback)(plait_future_t *future, void *context), void *context)
{
    assert_int_equal(plait_future_on_done(future, callback, context), 0);
    plait_future_free(future);
}

/* Have it called with a task that succeeds; that has ended when this returns. */
static void assert_called(plait_pool_t *pool, void (*callback)(plait_future_t *future, void *context))
{
    call_when_done(pool_submit(pool, wait_at_gate, NULL, 0), callback, pool);
    open_gate();
    assert_true(pool_reaches(&seen.called, 1));
}

static void wait_for_one_that_dies(plait_future_t *future, void *pool)
{
    seen.err = plait_pool_apply(pool, die, NULL, 0, NULL, NULL, plait_after(POOL_PATIENCE));
    count(&seen.called);
}

static void wait_for_one_over_its_limit(plait_future_t *future, void *pool)
{
    plait_future_t *late = NULL;

    seen.err = plait_pool_submit(pool, &(struct plait_task_opts){ .fn = go_on_for_ever, .limit = 0.01, .grace = 0.01 }, &late);
    if (seen.err == 0)
        seen.err = plait_future_get(late, NULL, NULL, plait_after(POOL_PATIENCE));
    plait_future_free(late);
    count(&seen.called);
}

static void wait_for_three(plait_future_t *future, void *pool)
{
    for (int i = 0; i < 3 && seen.err == 0; i++)
        seen.err = plait_pool_apply(pool, nothing, NULL, 0, NULL, NULL, plait_after(POOL_PATIENCE));
    count(&seen.called);
}

static void wait_for_some(plait_future_t *future, void *pool)
{
    plait_future_t *some[5];
    plait_group_t *group = NULL;
    int err = plait_group_new(&group);
    size_t submitted = 0, index = 0;

    while (err == 0 && submitted < 5) {
        err = plait_pool_apply_async(pool, submitted == 3 ? fail_always : nothing, NULL, 0, &some[submitted]);
        if (err == 0)
            err = plait_group_add(group, some[submitted++]);
    }
    if (err == 0)
        err = plait_group_wait(group, plait_after(POOL_PATIENCE));
    if (err == 0 || err == 33)
        err = plait_future_wait_many(some, submitted, PLAIT_FIRST_FAILED, &index, plait_after(POOL_PATIENCE));
    for (size_t i = 0; i < submitted; i++)
        plait_future_free(some[i]);
    plait_group_free(group);
    seen.err = err;
    seen.code = (int)index;
    count(&seen.called);
}

static void wait_for_the_other(plait_future_t *future, void *unused)
{
    seen.err = plait_future_get(seen.other, NULL, NULL, plait_after(POOL_PATIENCE));
    seen.code = plait_future_error(future);
    count(&seen.called);
}

static void take_long(plait_future_t *future, void *unused)
{
    count(&seen.called);
    while (load(&seen.go_on) == 0)
        plait_sleep(0.001);
}

static void submit_one_more(plait_future_t *future, void *pool)
{
    seen.err = plait_pool_apply_async(pool, nothing, NULL, 0, &seen.other);
    count(&seen.called);
}

static void fill_and_submit(plait_future_t *future, void *pool)
{
    __atomic_store_n(&shared->gate, 0, __ATOMIC_RELEASE);
    for (int i = 0; i < 3 && seen.err == 0; i++)
        seen.err = plait_pool_apply_async(pool, wait_at_gate, NULL, 0, NULL);
    if (seen.err == 0)
        seen.code = plait_pool_apply_async(pool, nothing, NULL, 0, NULL);
    open_gate();
    count(&seen.called);
}

static void fill_and_let_go(plait_future_t *future, void *pool)
{
    for (int i = 0; i < 20 && seen.err == 0; i++)
        seen.err = plait_pool_apply_async(pool, nothing, NULL, 0, NULL);
    count(&seen.called);
}

static void note_order(plait_future_t *future, void *context)
{
    uint32_t place = load(&seen.called);

    plait_sleep(place % 10 ? 0 : 0.005);
    seen.order[place] = (uint32_t)(uintptr_t)context;
    count(&seen.called);
}

static void end_the_pool(plait_future_t *future, void *pool)
{
    plait_pool_close(pool);
    seen.err = plait_pool_join(pool, plait_after(POOL_PATIENCE));
    seen.code = plait_pool_free(pool);
    count(&seen.called);
}

static void leave_a_token(plait_future_t *future, void *token)
{
    plait_cancel_set(token);
    plait_cancel_bind(token);
    count(&seen.called);
}

static void note_signals(plait_future_t *future, void *unused)
{
    pthread_sigmask(SIG_SETMASK, NULL, &seen.mask);
    count(&seen.called);
}

static void count_call(plait_future_t *future, void *unused) { count(&seen.called); }
static void leave(plait_future_t *future, void *unused) { pthread_exit(NULL); }

/* ---- It waits ---- */

static void callback_may_wait_for_a_task_that_dies(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });

    assert_called(pool, wait_for_one_that_dies);
    assert_int_equal(seen.err, EOWNERDEAD);
    pool_unmake(pool);
}

static void callback_may_wait_for_a_task_over_its_limit(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });

    assert_called(pool, wait_for_one_over_its_limit);
    assert_int_equal(seen.err, ETIMEDOUT);
    pool_unmake(pool);
}

static void callback_may_wait_where_workers_are_renewed(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .tasks_per_worker = 1 });

    assert_called(pool, wait_for_three);
    assert_int_equal(seen.err, 0);
    pool_unmake(pool);
}

static void callback_may_wait_where_workers_come_and_go(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2, .min_workers = 1, .idle_time = 0.001 });

    assert_called(pool, wait_for_three);
    assert_int_equal(seen.err, 0);
    pool_unmake(pool);
}

static void callback_may_wait_for_sets(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2 });

    assert_called(pool, wait_for_some);
    assert_int_equal(seen.err, 0);
    assert_int_equal(seen.code, 3);
    pool_unmake(pool);
}

static void callback_may_wait_for_another_task_of_a_broken_pool(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .initializer = fail_at_gate });
    plait_future_t *future = pool_submit(pool, nothing, NULL, 0);

    seen.other = pool_submit(pool, nothing, NULL, 0);
    call_when_done(future, wait_for_the_other, NULL);
    open_gate();
    assert_true(pool_reaches(&seen.called, 1));
    assert_int_equal(seen.err, ENODEV);
    assert_int_equal(seen.code, ENODEV);
    plait_future_free(seen.other);
    pool_unmake(pool);
}

static void slow_callback_delays_no_limit(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2 });
    plait_future_t *late = NULL;

    assert_called(pool, take_long);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = until_asked, .limit = 0.01, .grace = POOL_PATIENCE },
                                       &late), 0);
    assert_int_equal(plait_future_get(late, NULL, NULL, plait_after(POOL_PATIENCE)), EINTR);
    plait_future_free(late);
    __atomic_store_n(&seen.go_on, 1, __ATOMIC_RELEASE);
    pool_unmake(pool);
}

static void slow_callback_delays_no_deaths(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2 });

    assert_called(pool, take_long);
    for (int i = 0; i < 5; i++)
        assert_int_equal(plait_pool_apply(pool, die, NULL, 0, NULL, NULL, plait_after(POOL_PATIENCE)), EOWNERDEAD);
    __atomic_store_n(&seen.go_on, 1, __ATOMIC_RELEASE);
    pool_unmake(pool);
}

/* ---- It submits ---- */

/* On threads it is called by a worker, for which the others might wait in vain. */
static void callback_is_refused_as_others_are(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .backlog = 2, .when_full = PLAIT_FULL_REFUSES });

    assert_called(pool, fill_and_submit);
    assert_int_equal(seen.err, 0);
    assert_int_equal(seen.code, backend == PLAIT_PROCESSES ? EAGAIN : 0);
    pool_unmake(pool);
}

static void callback_may_wait_for_room(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .backlog = 1, .tasks_per_worker = 1 });
    struct plait_pool_stats stats;

    assert_called(pool, fill_and_let_go);
    assert_int_equal(seen.err, 0);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(POOL_PATIENCE)), 0);
    assert_int_equal(plait_pool_stats(pool, &stats), 0);
    assert_int_equal(stats.done, 21);
    assert_int_equal(plait_pool_free(pool), 0);
}

static void callback_runs_it_itself_if_that_is_wanted(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .backlog = 1, .when_full = PLAIT_FULL_RUNS_HERE });
    plait_future_t *first = pool_submit(pool, nothing, NULL, 0), *gate[2];

    plait_future_wait(first, plait_after(POOL_PATIENCE));
    for (int i = 0; i < 2; i++)
        gate[i] = pool_submit(pool, wait_at_gate, NULL, 0);
    assert_int_equal(plait_future_on_done(first, submit_one_more, pool), 0); /* here, and at once */
    assert_int_equal(seen.err, 0);
    assert_true(plait_future_is_ready(seen.other));
    open_gate();
    for (int i = 0; i < 2; i++)
        plait_future_free(gate[i]);
    plait_future_free(first);
    plait_future_free(seen.other);
    pool_unmake(pool);
}

/* ---- All are called ---- */

static void callbacks_are_called_in_the_order_of_ends(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });
    plait_future_t *gate = pool_submit(pool, wait_at_gate, NULL, 0);

    for (uintptr_t i = 0; i < 100; i++)
        call_when_done(pool_submit(pool, nothing, NULL, 0), note_order, (void *)i);
    open_gate();
    pool_unmake(pool); /* which ends when all have been called */
    assert_int_equal(load(&seen.called), 100);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(seen.order[i], i);
    plait_future_free(gate);
}

static void pool_ends_after_its_callbacks(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });

    assert_called(pool, take_long);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(0.02)), ETIMEDOUT);
    __atomic_store_n(&seen.go_on, 1, __ATOMIC_RELEASE);
    pool_unmake(pool);
}

static void callback_cannot_end_its_pool(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2 });

    assert_called(pool, end_the_pool);
    assert_int_equal(seen.err, EDEADLK);
    assert_int_equal(seen.code, EDEADLK);
    pool_unmake(pool);
}

static void signals_are_left_to_the_program(void **state)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGCHLD, SIGUSR1, SIGALRM };
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });

    assert_called(pool, note_signals);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        assert_true(sigismember(&seen.mask, signals[i]));
    pool_unmake(pool);
}

static void token_that_a_callback_leaves_does_not_stop_the_others(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });
    plait_cancel_t token = PLAIT_CANCEL_INIT;

    call_when_done(pool_submit(pool, wait_at_gate, NULL, 0), leave_a_token, &token); /* not in this thread */
    open_gate();
    assert_true(pool_reaches(&seen.called, 1));
    for (uint32_t i = 2; i < 5; i++) {
        call_when_done(pool_submit(pool, nothing, NULL, 0), count_call, NULL);
        assert_true(pool_reaches(&seen.called, i));
    }
    pool_unmake(pool);
    plait_cancel_fini(&token);
}

/* ---- Without a thread for them ---- */

static void callbacks_are_called_though_no_thread_can_be_started(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .backlog = 2, .when_full = PLAIT_FULL_REFUSES });

    __atomic_store_n(&no_threads, 1, __ATOMIC_RELEASE);
    assert_called(pool, fill_and_submit);
    assert_int_equal(seen.err, 0);
    assert_int_equal(seen.code, EAGAIN);
    __atomic_store_n(&no_threads, 0, __ATOMIC_RELEASE);
    pool_unmake(pool);
}

static void ends_of_threads_without_another_cost_nothing(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });

    for (uint32_t round = 0; round < 2; round++) { /* the second one begins with a thread */
        __atomic_store_n(&shared->gate, 0, __ATOMIC_RELEASE);
        for (int i = 0; i < 20; i++) {
            plait_future_t *future = pool_submit(pool, wait_at_gate, NULL, 0);

            assert_int_equal(plait_future_on_done(future, leave, NULL), 0);
            call_when_done(future, count_call, NULL);
        }
        __atomic_store_n(&no_threads, 1, __ATOMIC_RELEASE);
        open_gate();
        assert_true(pool_reaches(&seen.called, 20 + round * 21));
        __atomic_store_n(&no_threads, 0, __ATOMIC_RELEASE);
        if (round == 0) {
            call_when_done(pool_submit(pool, nothing, NULL, 0), count_call, NULL);
            assert_true(pool_reaches(&seen.called, 21));
        }
    }
    assert_int_equal(plait_pool_apply(pool, die, NULL, 0, NULL, NULL, plait_after(POOL_PATIENCE)), EOWNERDEAD);
    pool_unmake(pool);
    assert_int_equal(load(&seen.called), 41);
}

#define PROCESSES(name) { #name, name, on_processes, NULL, NULL }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PROCESSES(callback_may_wait_for_a_task_that_dies),
        PROCESSES(callback_may_wait_for_a_task_over_its_limit),
        CONTRACT(callback_may_wait_where_workers_are_renewed),
        CONTRACT(callback_may_wait_where_workers_come_and_go),
        CONTRACT(callback_may_wait_for_sets),
        PROCESSES(callback_may_wait_for_another_task_of_a_broken_pool),
        CONTRACT(slow_callback_delays_no_limit),
        PROCESSES(slow_callback_delays_no_deaths),
        CONTRACT(callback_is_refused_as_others_are),
        CONTRACT(callback_may_wait_for_room),
        CONTRACT(callback_runs_it_itself_if_that_is_wanted),
        CONTRACT(callbacks_are_called_in_the_order_of_ends),
        CONTRACT(pool_ends_after_its_callbacks),
        CONTRACT(callback_cannot_end_its_pool),
        CONTRACT(signals_are_left_to_the_program),
        CONTRACT(token_that_a_callback_leaves_does_not_stop_the_others),
        PROCESSES(callbacks_are_called_though_no_thread_can_be_started),
        PROCESSES(ends_of_threads_without_another_cost_nothing),
    };

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
