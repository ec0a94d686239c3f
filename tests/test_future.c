/* SPDX-License-Identifier: MIT */
/* The contract of promises, chains, sets and groups of futures; all but the first over futures of every make. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait/as_completed.h>
#include <plait/cancel.h>
#include <plait/event.h>
#include <plait/future.h>
#include <plait/group.h>
#include <plait/init.h>
#include <plait/pool.h>
#include <plait/promise.h>
#include <plait/thread.h>
#include <plait/wait.h>
#include <plait/wait_any.h>

#include "support/cmocka.h"

enum make { OF_PROMISE, OF_THREADS, OF_PROCESSES };

static enum make make; /* of the group that runs */

/* ---- Task functions ---- */

static int twice(plait_task_t *task, const void *arg, size_t size)
{
    long value = *(const long *)arg * 2;

    return size == sizeof value ? plait_task_return(task, &value, sizeof value) : EINVAL;
}

static int fail_with_text(plait_task_t *task, const void *arg, size_t size)
{
    return plait_task_fail(task, 42, "number %ld is no good", *(const long *)arg);
}

static int large(plait_task_t *task, const void *arg, size_t size)
{
    static char bytes[10000];

    memset(bytes, *(const char *)arg, sizeof bytes);
    return plait_task_return(task, bytes, sizeof bytes);
}

static int length(plait_task_t *task, const void *arg, size_t size)
{
    return plait_task_return(task, &size, sizeof size);
}

static int until_cancelled(plait_task_t *task, const void *arg, size_t size)
{
    while (!plait_task_is_cancelled(task))
        plait_sleep(0.001);
    return plait_task_fail(task, EINTR, "stopped");
}

/* ---- Futures of each make, which succeed or fail when told ---- */

struct source {
    plait_pool_t *pool;
    plait_promise_t *promise;
    plait_future_t *future;
};

static plait_pool_t *pool_of_make(unsigned workers)
{
    plait_pool_t *pool = NULL;

    if (make != OF_PROMISE)
        assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){
                             .backend = make == OF_THREADS ? PLAIT_THREADS : PLAIT_PROCESSES, .workers = workers }), 0);
    return pool;
}

/* A future that will be `value` doubled, or fail. A promise is kept by settle_source. */
static struct source source_of(plait_pool_t *pool, long value, bool fails)
{
    struct source source = { .pool = pool };

    if (pool)
        assert_int_equal(plait_pool_apply_async(pool, fails ? fail_with_text : twice, &value, sizeof value, &source.future), 0);
    else
        assert_int_equal(plait_promise_new(&source.promise, &source.future), 0);
    return source;
}

static void keep_source(struct source *source, long value, bool fails)
{
    if (!source->promise)
        return;
    value *= 2;
    if (fails)
        assert_int_equal(plait_promise_fail(source->promise, 42, "number %ld is no good", value / 2), 0);
    else
        assert_int_equal(plait_promise_set(source->promise, &value, sizeof value), 0);
    plait_promise_free(source->promise);
    source->promise = NULL;
}

static long value_of(plait_future_t *future)
{
    const void *bytes = NULL;
    size_t size = 0;

    assert_int_equal(plait_future_get(future, &bytes, &size, plait_after(60)), 0);
    assert_int_equal(size, sizeof(long));
    return *(const long *)bytes;
}

/* ---- Promises ---- */

static void promise_set_gives_the_future_a_copy(void **state)
{
    plait_promise_t *promise;
    plait_future_t *future;
    char bytes[] = "copied";
    const void *got;
    size_t size;

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    assert_false(plait_future_is_ready(future));
    assert_int_equal(plait_future_get(future, NULL, NULL, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_promise_set(promise, bytes, sizeof bytes), 0);
    memset(bytes, 'x', sizeof bytes);
    plait_promise_free(promise);
    assert_true(plait_future_is_ready(future));
    assert_true(plait_future_is_successful(future));
    assert_int_equal(plait_future_get(future, &got, &size, PLAIT_NOW), 0);
    assert_int_equal(size, 7);
    assert_string_equal(got, "copied");
    plait_future_free(future);
}

static void promise_set_to_nothing_is_kept(void **state)
{
    plait_promise_t *promise;
    plait_future_t *future;
    size_t size = 77;

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    assert_int_equal(plait_promise_set(promise, NULL, 0), 0);
    assert_int_equal(plait_future_get(future, NULL, &size, PLAIT_NOW), 0);
    assert_int_equal(size, 0);
    plait_future_free(future);
    plait_promise_free(promise);
}

static void promise_failed_gives_code_and_text(void **state)
{
    plait_promise_t *promise;
    plait_future_t *future;
    char text[400];

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    assert_int_equal(plait_promise_fail(promise, 5, "lost in room %d", 7), 0);
    assert_int_equal(plait_future_get(future, NULL, NULL, PLAIT_NOW), 5);
    assert_int_equal(plait_future_error(future), 5);
    assert_string_equal(plait_future_error_text(future), "lost in room 7");
    assert_false(plait_future_is_successful(future));
    plait_future_free(future);
    plait_promise_free(promise);

    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(plait_promise_new(&promise, &future), 0);
    assert_int_equal(plait_promise_fail(promise, 0, "%s", text), 0);
    assert_int_equal(plait_future_error(future), EINVAL);
    assert_int_equal(strlen(plait_future_error_text(future)), 255);
    plait_future_free(future);
    plait_promise_free(promise);

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    assert_int_equal(plait_promise_fail(promise, ECANCELED, "by its maker, which is no cancelling"), 0);
    assert_false(plait_promise_is_cancelled(promise));
    assert_int_equal(plait_promise_set(promise, NULL, 0), EINVAL);
    assert_int_equal(plait_future_error(future), ECANCELED);
    plait_future_free(future);
    plait_promise_free(promise);
}

static void promise_is_kept_once(void **state)
{
    plait_promise_t *promise;
    plait_future_t *future;

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    assert_int_equal(plait_promise_begin(promise), 0);
    assert_int_equal(plait_promise_begin(promise), EINVAL);
    assert_int_equal(plait_promise_set(promise, "first", 6), 0);
    assert_int_equal(plait_promise_set(promise, "second", 7), EINVAL);
    assert_int_equal(plait_promise_fail(promise, 3, "third"), EINVAL);
    assert_int_equal(plait_promise_begin(promise), EINVAL);
    assert_int_equal(plait_future_cancel(future), EINVAL);
    assert_false(plait_promise_is_cancelled(promise));
    assert_int_equal(plait_future_error(future), 0);
    plait_future_free(future);
    plait_promise_free(promise);
}

static void promise_dropped_fails_its_future(void **state)
{
    plait_promise_t *promise;
    plait_future_t *future;

    for (int begun = 0; begun < 2; begun++) {
        assert_int_equal(plait_promise_new(&promise, &future), 0);
        if (begun)
            assert_int_equal(plait_promise_begin(promise), 0);
        plait_promise_free(promise);
        assert_int_equal(plait_future_get(future, NULL, NULL, PLAIT_FOREVER), EOWNERDEAD);
        assert_string_equal(plait_future_error_text(future), "the promise was dropped");
        plait_future_free(future);
    }
    assert_int_equal(plait_promise_free(NULL), 0);
}

static void promise_whose_future_was_cancelled_says_so(void **state)
{
    plait_promise_t *promise;
    plait_future_t *future;

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    assert_false(plait_promise_is_cancelled(promise));
    assert_int_equal(plait_future_cancel(future), 0);
    assert_true(plait_promise_is_cancelled(promise));
    assert_int_equal(plait_promise_begin(promise), ECANCELED);
    assert_int_equal(plait_promise_set(promise, "x", 1), ECANCELED);
    assert_int_equal(plait_promise_fail(promise, 1, "x"), ECANCELED);
    assert_int_equal(plait_future_get(future, NULL, NULL, PLAIT_NOW), ECANCELED);
    plait_future_free(future);
    plait_promise_free(promise);
}

static void promise_that_has_begun_is_asked_to_stop(void **state)
{
    plait_promise_t *promise;
    plait_future_t *future;

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    assert_int_equal(plait_promise_begin(promise), 0);
    assert_int_equal(plait_future_cancel(future), EBUSY);
    assert_true(plait_promise_is_cancelled(promise));
    assert_false(plait_future_is_ready(future));
    assert_int_equal(plait_promise_set(promise, "all the same", 13), 0);
    assert_true(plait_future_is_successful(future));
    plait_future_free(future);
    plait_promise_free(promise);
}

static void promise_outlives_its_future(void **state)
{
    plait_promise_t *promise;
    plait_future_t *future;

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    plait_future_free(future);
    assert_int_equal(plait_promise_set(promise, "nobody reads it", 16), 0);
    plait_promise_free(promise);
}

static void promise_without_a_place_is_refused(void **state)
{
    plait_promise_t *promise;
    plait_future_t *future;

    assert_int_equal(plait_promise_new(NULL, &future), EINVAL);
    assert_int_equal(plait_promise_new(&promise, NULL), EINVAL);
}

static void *wait_for_it(void *arg)
{
    return (void *)(intptr_t)plait_future_wait(arg, plait_after(60));
}

static void promise_kept_wakes_every_waiter(void **state)
{
    enum { WAITERS = 5 };
    pthread_t waiter[WAITERS];
    plait_promise_t *promise;
    plait_future_t *future;

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(pthread_create(&waiter[i], NULL, wait_for_it, future), 0);
    plait_sleep(0.02); /* most of them sleep by now; those who do not are right as well */
    assert_int_equal(plait_promise_set(promise, NULL, 0), 0);
    for (int i = 0; i < WAITERS; i++) {
        void *err;
        assert_int_equal(pthread_join(waiter[i], &err), 0);
        assert_null(err);
    }
    plait_future_free(future);
    plait_promise_free(promise);
}

struct rival {
    pthread_t thread;
    plait_promise_t *promise;
    int number, err;
};

static void *keep_it(void *arg)
{
    struct rival *rival = arg;

    rival->err = rival->number % 2 ? plait_promise_set(rival->promise, &rival->number, sizeof rival->number)
                                   : plait_promise_fail(rival->promise, rival->number + 1, "by %d", rival->number);
    return NULL;
}

static void of_several_who_keep_it_one_does(void **state)
{
    enum { RIVALS = 4, ROUNDS = 200 };

    for (int round = 0; round < ROUNDS; round++) {
        struct rival rivals[RIVALS];
        plait_future_t *future;
        plait_promise_t *promise;
        int winner = -1, cancelled;
        char text[20];

        assert_int_equal(plait_promise_new(&promise, &future), 0);
        for (int i = 0; i < RIVALS; i++) {
            rivals[i] = (struct rival){ .promise = promise, .number = i };
            assert_int_equal(pthread_create(&rivals[i].thread, NULL, keep_it, &rivals[i]), 0);
        }
        cancelled = round % 4 == 0 && plait_future_cancel(future) == 0;
        for (int i = 0; i < RIVALS; i++) {
            pthread_join(rivals[i].thread, NULL);
            if (rivals[i].err == 0) {
                assert_int_equal(winner, -1);
                winner = i;
            } else {
                assert_int_equal(rivals[i].err, cancelled ? ECANCELED : EINVAL);
            }
        }
        if (cancelled) {
            assert_int_equal(winner, -1);
            assert_int_equal(plait_future_error(future), ECANCELED);
        } else if (winner % 2) {
            const void *bytes;
            assert_int_equal(plait_future_get(future, &bytes, NULL, PLAIT_NOW), 0);
            assert_int_equal(*(const int *)bytes, winner);
        } else {
            snprintf(text, sizeof text, "by %d", winner);
            assert_int_equal(plait_future_error(future), winner + 1);
            assert_string_equal(plait_future_error_text(future), text);
        }
        plait_future_free(future);
        plait_promise_free(promise);
    }
}

/* ---- Chains ---- */

static void chain_hands_the_result_on(void **state)
{
    plait_pool_t *pool = pool_of_make(2);
    struct source source = source_of(pool, 5, false);
    plait_future_t *second, *third;

    assert_int_equal(plait_future_then(source.future, pool, twice, &second), 0);
    assert_int_equal(plait_future_then(second, pool, twice, &third), 0);
    if (source.promise) {
        assert_false(plait_future_is_ready(second));
        keep_source(&source, 5, false);
    }
    plait_future_free(source.future);
    assert_int_equal(value_of(third), 40);
    assert_int_equal(value_of(second), 20);
    assert_int_equal(plait_future_cancel(second), EINVAL);
    plait_future_free(second);
    assert_int_equal(value_of(third), 40);
    plait_future_free(third);
    plait_pool_free(pool);
}

static void chain_on_what_is_done_begins_at_once(void **state)
{
    plait_pool_t *pool = pool_of_make(1);
    struct source source = source_of(pool, 3, false);
    plait_future_t *next;

    keep_source(&source, 3, false);
    assert_int_equal(plait_future_wait(source.future, plait_after(60)), 0);
    assert_int_equal(plait_future_then(source.future, NULL, twice, &next), 0);
    assert_true(plait_future_is_ready(next)); /* in our own thread */
    assert_int_equal(value_of(next), 12);
    plait_future_free(next);
    assert_int_equal(plait_future_then(source.future, pool, twice, &next), 0);
    assert_int_equal(value_of(next), 12);
    plait_future_free(next);
    plait_future_free(source.future);
    plait_pool_free(pool);
}

static void chain_hands_failures_on_and_runs_nothing(void **state)
{
    plait_pool_t *pool = pool_of_make(1);
    struct source source = source_of(pool, 9, true);
    plait_future_t *second, *third;

    assert_int_equal(plait_future_then(source.future, pool, twice, &second), 0);
    assert_int_equal(plait_future_then(second, NULL, twice, &third), 0);
    keep_source(&source, 9, true);
    assert_int_equal(plait_future_get(third, NULL, NULL, plait_after(60)), 42);
    assert_string_equal(plait_future_error_text(third), "number 9 is no good");
    assert_int_equal(plait_future_error(second), 42);
    plait_future_free(source.future);
    plait_future_free(second);
    assert_string_equal(plait_future_error_text(third), "number 9 is no good");
    plait_future_free(third);
    plait_pool_free(pool);
}

static void chain_whose_own_task_fails_says_so(void **state)
{
    plait_pool_t *pool = pool_of_make(1);
    struct source source = source_of(pool, 4, false);
    plait_future_t *next;

    assert_int_equal(plait_future_then(source.future, pool, fail_with_text, &next), 0);
    keep_source(&source, 4, false);
    assert_int_equal(plait_future_get(next, NULL, NULL, plait_after(60)), 42);
    assert_string_equal(plait_future_error_text(next), "number 8 is no good");
    plait_future_free(next);
    plait_future_free(source.future);
    plait_pool_free(pool);
}

static void chain_takes_results_of_any_length(void **state)
{
    plait_pool_t *pool = pool_of_make(1);
    plait_promise_t *promise;
    plait_future_t *first, *second, *third;
    const void *bytes;

    assert_int_equal(plait_promise_new(&promise, &first), 0);
    assert_int_equal(plait_future_then(first, pool, large, &second), 0);
    assert_int_equal(plait_future_then(second, pool, length, &third), 0);
    plait_promise_set(promise, "z", 1);
    plait_promise_free(promise);
    assert_int_equal(plait_future_get(third, &bytes, NULL, plait_after(60)), 0);
    assert_int_equal(*(const size_t *)bytes, 10000);
    assert_int_equal(plait_future_get(second, &bytes, NULL, PLAIT_NOW), 0);
    assert_int_equal(((const char *)bytes)[9999], 'z');
    plait_future_free(first);
    plait_future_free(second);
    plait_future_free(third);
    plait_pool_free(pool);
}

static void chain_cancelled_early_leaves_the_first_alone(void **state)
{
    plait_promise_t *promise;
    plait_future_t *first, *second, *third;
    plait_pool_t *pool = pool_of_make(1);

    assert_int_equal(plait_promise_new(&promise, &first), 0);
    assert_int_equal(plait_future_then(first, pool, twice, &second), 0);
    assert_int_equal(plait_future_then(second, pool, twice, &third), 0);
    assert_int_equal(plait_future_cancel(second), 0);
    assert_int_equal(plait_future_cancel(second), EINVAL);
    assert_int_equal(plait_future_error(second), ECANCELED);
    assert_int_equal(plait_future_error(third), ECANCELED);
    assert_false(plait_future_is_ready(first));
    assert_int_equal(plait_promise_set(promise, &(long){ 1 }, sizeof(long)), 0);
    assert_int_equal(plait_future_error(second), ECANCELED);
    plait_future_free(first);
    plait_future_free(second);
    plait_future_free(third);
    plait_promise_free(promise);
    plait_pool_free(pool);
}

static void chain_cancelled_while_it_runs_is_asked_to_stop(void **state)
{
    plait_pool_t *pool = pool_of_make(1);
    struct source source;
    plait_future_t *next;
    int err;

    if (!pool) /* it would run in this thread */
        skip();
    source = source_of(pool, 1, false);
    assert_int_equal(plait_future_then(source.future, pool, until_cancelled, &next), 0);
    while ((err = plait_future_cancel(next)) == 0) { /* too early: that was no running task */
        plait_future_free(next);
        assert_int_equal(plait_future_then(source.future, pool, until_cancelled, &next), 0);
        plait_sleep(0.002);
    }
    assert_int_equal(err, EBUSY);
    assert_int_equal(plait_future_get(next, NULL, NULL, plait_after(60)), EINTR);
    assert_string_equal(plait_future_error_text(next), "stopped");
    plait_future_free(next);
    plait_future_free(source.future);
    plait_pool_free(pool);
}

static void chain_dropped_runs_all_the_same(void **state)
{
    plait_pool_t *pool = pool_of_make(1);
    struct source source = source_of(pool, 6, false);
    plait_future_t *second, *third;

    assert_int_equal(plait_future_then(source.future, pool, twice, &second), 0);
    assert_int_equal(plait_future_then(second, pool, twice, &third), 0);
    plait_future_free(second);
    keep_source(&source, 6, false);
    plait_future_free(source.future);
    assert_int_equal(value_of(third), 48);
    plait_future_free(third);
    plait_pool_free(pool);
}

static void chain_on_a_closed_pool_fails(void **state)
{
    plait_pool_t *pool = pool_of_make(1);
    plait_promise_t *promise;
    plait_future_t *first, *second;

    if (!pool)
        skip();
    assert_int_equal(plait_promise_new(&promise, &first), 0);
    assert_int_equal(plait_future_then(first, pool, twice, &second), 0);
    plait_pool_free(pool);
    plait_promise_set(promise, &(long){ 1 }, sizeof(long));
    plait_promise_free(promise);
    assert_int_equal(plait_future_get(second, NULL, NULL, plait_after(60)), EPIPE);
    assert_string_equal(plait_future_error_text(second), "the pool was closed");
    plait_future_free(first);
    plait_future_free(second);
}

static void chain_of_a_promise_never_kept_is_freed(void **state)
{
    plait_promise_t *promise;
    plait_future_t *first, *second;

    assert_int_equal(plait_promise_new(&promise, &first), 0);
    assert_int_equal(plait_future_then(first, NULL, twice, &second), 0);
    plait_future_free(first);
    plait_future_free(second);
    plait_promise_free(promise); /* the leak checkers see the rest */
}

static void chain_without_a_function_is_refused(void **state)
{
    plait_promise_t *promise;
    plait_future_t *first, *second;

    assert_int_equal(plait_promise_new(&promise, &first), 0);
    assert_int_equal(plait_future_then(first, NULL, NULL, &second), EINVAL);
    assert_int_equal(plait_future_then(first, NULL, twice, NULL), EINVAL);
    plait_future_free(first);
    plait_promise_free(promise);
}

static plait_pool_t *nested_pool;

/* In the only worker of nested_pool: wait for chains whose tasks come to that pool while it sleeps. */
static int wait_for_chains(plait_task_t *task, const void *arg, size_t size)
{
    plait_future_t *first = *(plait_future_t *const *)arg, *next[3], *done = NULL;
    plait_as_completed_t *set;
    int err = plait_future_then(first, nested_pool, twice, &next[0]);

    for (int i = 1; i < 3 && err == 0; i++)
        err = plait_future_then(next[i - 1], nested_pool, twice, &next[i]);
    if (err)
        return err;
    err = plait_as_completed_new(&set, &next[0], 1);
    if (err == 0)
        err = plait_as_completed_next(set, &done, plait_after(60));
    if (err == 0)
        err = plait_future_wait(next[2], plait_after(60));
    if (err == 0 && done == next[0])
        err = plait_task_return(task, &(long){ value_of(next[2]) }, sizeof(long));
    plait_as_completed_free(set);
    for (int i = 0; i < 3; i++)
        plait_future_free(next[i]);
    return err;
}

static uint32_t looked_ran;

static int count_looked(plait_task_t *task, const void *arg, size_t size)
{
    __atomic_fetch_add(&looked_ran, 1, __ATOMIC_RELAXED);
    return 0;
}

/* In the only worker of nested_pool: the number of the first look that does not say ETIMEDOUT, or after which something has run. */
static int look_in_each_way(plait_task_t *task, const void *arg, size_t size)
{
    enum { LOOKS = 7 };
    plait_future_t *future = NULL, *done;
    plait_as_completed_t *set = NULL;
    plait_group_t *group = NULL;
    int number = 0, err = plait_pool_apply_async(nested_pool, count_looked, NULL, 0, &future);

    if (err == 0)
        err = plait_as_completed_new(&set, &future, 1);
    if (err == 0)
        err = plait_group_new(&group);
    if (err == 0)
        err = plait_group_add(group, future);
    while (err == 0 && number < LOOKS) {
        struct plait_wait_entry entry = plait_any_future_wait(future);
        int answer = number == 0   ? plait_future_wait(future, PLAIT_NOW)
                     : number == 1 ? plait_future_get(future, NULL, NULL, PLAIT_NOW)
                     : number == 2 ? plait_future_wait_many(&future, 1, PLAIT_ALL_COMPLETED, NULL, PLAIT_NOW)
                     : number == 3 ? plait_future_wait_many(&future, 1, PLAIT_FIRST_COMPLETED, NULL, PLAIT_NOW)
                     : number == 4 ? plait_as_completed_next(set, &done, PLAIT_NOW)
                     : number == 5 ? plait_group_wait(group, PLAIT_NOW)
                                   : plait_wait_any(&entry, 1, NULL, PLAIT_NOW);

        if (answer != ETIMEDOUT || __atomic_load_n(&looked_ran, __ATOMIC_RELAXED))
            break;
        number++;
    }
    if (err == 0 && number == LOOKS)
        err = plait_future_get(future, NULL, NULL, plait_after(60)); /* this one runs it */
    else if (err == 0)
        err = plait_task_fail(task, EBADMSG, "look %d", number);
    plait_group_free(group);
    plait_as_completed_free(set);
    plait_future_free(future);
    return err;
}

static void worker_that_looks_runs_nothing(void **state)
{
    plait_future_t *all;

    looked_ran = 0;
    assert_int_equal(plait_pool_new(&nested_pool, &(struct plait_pool_opts){ .workers = 1 }), 0);
    assert_int_equal(plait_pool_apply_async(nested_pool, look_in_each_way, NULL, 0, &all), 0);
    assert_int_equal(plait_future_wait(all, plait_after(60)), 0);
    assert_string_equal(plait_future_error_text(all), "");
    assert_int_equal(plait_future_error(all), 0);
    assert_int_equal(looked_ran, 1);
    plait_future_free(all);
    plait_pool_free(nested_pool);
}

static void worker_that_waits_for_a_chain_runs_it(void **state)
{
    for (int i = 0; i < 50; i++) {
        plait_promise_t *promise;
        plait_future_t *first, *all;

        assert_int_equal(plait_pool_new(&nested_pool, &(struct plait_pool_opts){ .workers = 1 }), 0);
        assert_int_equal(plait_promise_new(&promise, &first), 0);
        assert_int_equal(plait_pool_apply_async(nested_pool, wait_for_chains, &first, sizeof first, &all), 0);
        if (i % 2)
            plait_sleep(0.002); /* it sleeps already */
        plait_promise_set(promise, &(long){ 3 }, sizeof(long));
        plait_promise_free(promise);
        assert_int_equal(value_of(all), 24);
        plait_future_free(all);
        plait_future_free(first);
        plait_pool_free(nested_pool);
    }
}

/* ---- As completed ---- */

static void set_gives_each_future_once(void **state)
{
    enum { FUTURES = 200 };
    plait_pool_t *pool = pool_of_make(2);
    struct source source[FUTURES];
    plait_future_t *future, *futures[FUTURES];
    plait_as_completed_t *set;
    bool seen[FUTURES] = { false };

    for (int i = 0; i < FUTURES; i++) {
        source[i] = source_of(pool, i, i % 10 == 7);
        futures[i] = source[i].future;
    }
    assert_int_equal(plait_as_completed_new(&set, futures, FUTURES), 0);
    assert_int_equal(plait_as_completed_count(set), FUTURES);
    for (int i = 0; i < FUTURES; i++)
        keep_source(&source[FUTURES - 1 - i], FUTURES - 1 - i, (FUTURES - 1 - i) % 10 == 7);
    for (int i = 0; i < FUTURES; i++) {
        int k;
        assert_int_equal(plait_as_completed_next(set, &future, plait_after(60)), 0);
        assert_true(plait_future_is_ready(future));
        for (k = 0; k < FUTURES && futures[k] != future; k++)
            ;
        assert_true(k < FUTURES && !seen[k]);
        seen[k] = true;
        if (make == OF_PROMISE)
            assert_int_equal(k, FUTURES - 1 - i); /* in the order in which they got done */
        assert_int_equal(plait_future_error(future), k % 10 == 7 ? 42 : 0);
        plait_future_free(future);
    }
    assert_int_equal(plait_as_completed_count(set), 0);
    assert_int_equal(plait_as_completed_next(set, &future, PLAIT_FOREVER), EPIPE);
    plait_as_completed_free(set);
    plait_pool_free(pool);
}

static void set_that_is_empty_has_nothing_to_give(void **state)
{
    plait_as_completed_t *set;
    plait_future_t *future;

    assert_int_equal(plait_as_completed_new(&set, NULL, 0), 0);
    assert_int_equal(plait_as_completed_next(set, &future, PLAIT_FOREVER), EPIPE);
    plait_as_completed_free(set);
    assert_int_equal(plait_as_completed_free(NULL), 0);
    assert_int_equal(plait_as_completed_new(NULL, NULL, 0), EINVAL);
    assert_int_equal(plait_as_completed_new(&set, NULL, 1), EINVAL);
}

static void set_waits_until_the_deadline(void **state)
{
    plait_as_completed_t *set;
    plait_promise_t *promise;
    plait_future_t *future, *got;
    plait_cancel_t token = { 0 };

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    assert_int_equal(plait_as_completed_new(&set, &future, 1), 0);
    assert_int_equal(plait_as_completed_next(set, &got, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_as_completed_next(set, &got, plait_after(0.01)), ETIMEDOUT);
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    assert_int_equal(plait_as_completed_next(set, &got, PLAIT_FOREVER), ECANCELED);
    plait_promise_set(promise, NULL, 0);
    assert_int_equal(plait_as_completed_next(set, &got, PLAIT_FOREVER), 0); /* needs no wait */
    plait_cancel_bind(NULL);
    assert_ptr_equal(got, future);
    plait_as_completed_free(set);
    plait_future_free(future);
    plait_promise_free(promise);
}

static void set_grows_while_it_is_read(void **state)
{
    enum { TASKS = 500, IN_FLIGHT = 4 };
    plait_pool_t *pool = pool_of_make(2);
    plait_as_completed_t *set;
    plait_future_t *future;
    long sum = 0;
    int begun = 0, ended = 0;

    assert_int_equal(plait_as_completed_new(&set, NULL, 0), 0);
    while (ended < TASKS) {
        while (begun < TASKS && plait_as_completed_count(set) < IN_FLIGHT) {
            struct source source = source_of(pool, begun, false);
            assert_int_equal(plait_as_completed_add(set, source.future), 0);
            keep_source(&source, begun++, false);
        }
        assert_int_equal(plait_as_completed_next(set, &future, plait_after(60)), 0);
        sum += value_of(future);
        plait_future_free(future);
        ended++;
    }
    assert_int_equal(sum, TASKS * (TASKS - 1L));
    assert_int_equal(plait_as_completed_next(set, &future, PLAIT_NOW), EPIPE);
    plait_as_completed_free(set);
    plait_pool_free(pool);
}

static void set_freed_early_lets_the_futures_go_on(void **state)
{
    plait_pool_t *pool = pool_of_make(2);

    for (int round = 0; round < 50; round++) {
        struct source source[8];
        plait_future_t *futures[8];
        plait_as_completed_t *set;

        for (int i = 0; i < 8; i++) {
            source[i] = source_of(pool, i, false);
            futures[i] = source[i].future;
        }
        assert_int_equal(plait_as_completed_new(&set, futures, 8), 0);
        if (round % 2)
            keep_source(&source[3], 3, false);
        plait_as_completed_free(set);
        for (int i = 0; i < 8; i++) {
            keep_source(&source[i], i, false);
            assert_int_equal(value_of(futures[i]), 2 * i);
            plait_future_free(futures[i]);
        }
    }
    plait_pool_free(pool);
}

static void future_that_is_in_twice_is_given_twice(void **state)
{
    plait_as_completed_t *set;
    plait_promise_t *promise;
    plait_future_t *future, *got;

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    assert_int_equal(plait_as_completed_new(&set, (plait_future_t *[]){ future, future }, 2), 0);
    plait_promise_free(promise);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(plait_as_completed_next(set, &got, PLAIT_NOW), 0);
        assert_ptr_equal(got, future);
    }
    assert_int_equal(plait_as_completed_next(set, &got, PLAIT_NOW), EPIPE);
    plait_as_completed_free(set);
    plait_future_free(future);
}

struct reader {
    pthread_t thread;
    plait_as_completed_t *set;
    long sum;
    int count, err;
};

static void *read_all(void *arg)
{
    struct reader *reader = arg;
    plait_future_t *future;
    const void *bytes;

    while ((reader->err = plait_as_completed_next(reader->set, &future, plait_after(60))) == 0) {
        if (plait_future_get(future, &bytes, NULL, PLAIT_NOW) == 0)
            reader->sum += *(const long *)bytes;
        reader->count++;
        plait_future_free(future);
    }
    return NULL;
}

static void several_readers_share_a_set(void **state)
{
    enum { FUTURES = 1000, READERS = 4 };
    plait_pool_t *pool = pool_of_make(2);
    static struct source source[FUTURES];
    struct reader readers[READERS];
    plait_as_completed_t *set;
    long sum = 0;
    int count = 0;

    assert_int_equal(plait_as_completed_new(&set, NULL, 0), 0);
    for (int i = 0; i < FUTURES; i++) {
        source[i] = source_of(pool, i, false);
        assert_int_equal(plait_as_completed_add(set, source[i].future), 0);
    }
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){ .set = set };
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_all, &readers[i]), 0);
    }
    for (int i = 0; i < FUTURES; i++)
        keep_source(&source[i], i, false);
    for (int i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_int_equal(readers[i].err, EPIPE);
        sum += readers[i].sum;
        count += readers[i].count;
    }
    assert_int_equal(count, FUTURES);
    assert_int_equal(sum, FUTURES * (FUTURES - 1L));
    plait_as_completed_free(set);
    plait_pool_free(pool);
}

static void set_is_an_entry_of_wait_any(void **state)
{
    plait_pool_t *pool = pool_of_make(1);
    struct source source = source_of(pool, 8, false);
    plait_future_t *got = NULL;
    plait_as_completed_t *set;
    plait_event_t never = { 0 };
    size_t which;

    assert_int_equal(plait_as_completed_new(&set, &source.future, 1), 0);
    struct plait_wait_entry entries[] = { plait_any_event_wait(&never), plait_any_as_completed_next(set, &got) };
    if (source.promise)
        assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(0.01)), ETIMEDOUT);
    keep_source(&source, 8, false);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(60)), 0);
    assert_int_equal(which, 1);
    assert_ptr_equal(got, source.future);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(60)), EPIPE);
    assert_int_equal(which, 1);
    plait_as_completed_free(set);
    plait_future_free(source.future);
    plait_pool_free(pool);
}

/* ---- Waiting for many ---- */

static void wait_for_all_waits_for_all(void **state)
{
    enum { FUTURES = 20 };
    plait_pool_t *pool = pool_of_make(2);
    struct source source[FUTURES];
    plait_future_t *futures[FUTURES];
    size_t index = 77;

    for (int i = 0; i < FUTURES; i++) {
        source[i] = source_of(pool, i, i == 3);
        futures[i] = source[i].future;
    }
    if (make == OF_PROMISE)
        assert_int_equal(plait_future_wait_many(futures, FUTURES, PLAIT_ALL_COMPLETED, &index, PLAIT_NOW), ETIMEDOUT);
    for (int i = 0; i < FUTURES; i++)
        keep_source(&source[i], i, i == 3);
    assert_int_equal(plait_future_wait_many(futures, FUTURES, PLAIT_ALL_COMPLETED, &index, plait_after(60)), 0);
    assert_int_equal(index, FUTURES);
    for (int i = 0; i < FUTURES; i++) {
        assert_true(plait_future_is_ready(futures[i]));
        plait_future_free(futures[i]);
    }
    plait_pool_free(pool);
}

static void wait_for_the_first_tells_which(void **state)
{
    plait_promise_t *promise[3];
    plait_future_t *futures[3];
    size_t index = 77;

    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_promise_new(&promise[i], &futures[i]), 0);
    assert_int_equal(plait_future_wait_many(futures, 3, PLAIT_FIRST_COMPLETED, &index, plait_after(0.01)), ETIMEDOUT);
    assert_int_equal(index, 3);
    plait_promise_set(promise[2], NULL, 0);
    assert_int_equal(plait_future_wait_many(futures, 3, PLAIT_FIRST_COMPLETED, &index, PLAIT_NOW), 0);
    assert_int_equal(index, 2);
    assert_int_equal(plait_future_wait_many(futures, 3, PLAIT_FIRST_FAILED, &index, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_future_cancel(futures[1]), 0);
    assert_int_equal(plait_future_wait_many(futures, 3, PLAIT_FIRST_FAILED, &index, PLAIT_NOW), 0);
    assert_int_equal(index, 1);
    plait_promise_set(promise[0], NULL, 0);
    assert_int_equal(plait_future_wait_many(futures, 1, PLAIT_FIRST_FAILED, &index, PLAIT_NOW), 0);
    assert_int_equal(index, 1); /* all are done, and none has failed */
    for (int i = 0; i < 3; i++) {
        plait_promise_free(promise[i]);
        plait_future_free(futures[i]);
    }
}

static void wait_for_none_is_over_at_once(void **state)
{
    size_t index = 77;

    for (int when = 0; when < 3; when++) {
        assert_int_equal(plait_future_wait_many(NULL, 0, (enum plait_future_when)when, &index, PLAIT_FOREVER), 0);
        assert_int_equal(index, 0);
    }
    assert_int_equal(plait_future_wait_many(NULL, 1, PLAIT_ALL_COMPLETED, NULL, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_future_wait_many(NULL, 0, (enum plait_future_when)3, NULL, PLAIT_FOREVER), EINVAL);
}

/* ---- Groups ---- */

static void group_is_waited_for(void **state)
{
    enum { FUTURES = 100 };
    plait_pool_t *pool = pool_of_make(2);
    struct source source[FUTURES];
    plait_group_t *group;

    assert_int_equal(plait_group_new(&group), 0);
    assert_int_equal(plait_group_wait(group, PLAIT_NOW), 0);
    for (int i = 0; i < FUTURES; i++) {
        source[i] = source_of(pool, i, i % 10 == 3);
        assert_int_equal(plait_group_add(group, source[i].future), 0);
        plait_future_free(source[i].future); /* the group has it */
    }
    if (make == OF_PROMISE) {
        assert_int_equal(plait_group_count(group), FUTURES);
        assert_int_equal(plait_group_wait(group, plait_after(0.01)), ETIMEDOUT);
        assert_int_equal(plait_group_error(group), 0);
        assert_string_equal(plait_group_error_text(group), "");
    }
    for (int i = 0; i < FUTURES; i++)
        keep_source(&source[i], i, i % 10 == 3);
    assert_int_equal(plait_group_wait(group, plait_after(60)), 0);
    assert_int_equal(plait_group_count(group), 0);
    assert_int_equal(plait_group_failed(group), 10);
    assert_int_equal(plait_group_error(group), 42);
    assert_non_null(strstr(plait_group_error_text(group), "is no good"));
    if (make == OF_PROMISE)
        assert_string_equal(plait_group_error_text(group), "number 3 is no good");
    plait_group_free(group);
    plait_pool_free(pool);
}

static void group_is_cancelled(void **state)
{
    enum { FUTURES = 30 };
    plait_pool_t *pool = pool_of_make(1);
    plait_promise_t *promises[FUTURES];
    plait_future_t *future;
    plait_group_t *group;

    assert_int_equal(plait_group_new(&group), 0);
    for (int i = 0; i < FUTURES; i++) {
        if (pool)
            assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = until_cancelled, .group = group }, NULL), 0);
        else {
            assert_int_equal(plait_promise_new(&promises[i], &future), 0);
            assert_int_equal(plait_group_add(group, future), 0);
            plait_future_free(future);
        }
    }
    assert_int_equal(plait_group_cancel(group), 0);
    assert_int_equal(plait_group_wait(group, plait_after(60)), 0);
    assert_int_equal(plait_group_failed(group), FUTURES);
    for (int i = 0; !pool && i < FUTURES; i++) {
        assert_int_equal(plait_promise_set(promises[i], NULL, 0), ECANCELED);
        plait_promise_free(promises[i]);
    }
    plait_group_free(group);
    plait_pool_free(pool);
}

static void group_freed_early_lets_the_futures_go_on(void **state)
{
    plait_pool_t *pool = pool_of_make(2);

    for (int round = 0; round < 50; round++) {
        struct source source[8];
        plait_group_t *group;

        assert_int_equal(plait_group_new(&group), 0);
        for (int i = 0; i < 8; i++) {
            source[i] = source_of(pool, i, false);
            assert_int_equal(plait_group_add(group, source[i].future), 0);
        }
        if (round % 2)
            keep_source(&source[3], 3, false);
        plait_group_free(group);
        for (int i = 0; i < 8; i++) {
            keep_source(&source[i], i, false);
            assert_int_equal(value_of(source[i].future), 2 * i);
            plait_future_free(source[i].future);
        }
    }
    plait_pool_free(pool);
}

static void submitted_task_is_in_its_group(void **state)
{
    plait_pool_t *pool = pool_of_make(2);
    plait_group_t *group;
    plait_future_t *future;
    long value = 4;

    if (!pool)
        skip();
    assert_int_equal(plait_group_new(&group), 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){
                             .fn = twice, .arg = &value, .arg_size = sizeof value, .group = group }, NULL), 0);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){
                         .fn = fail_with_text, .arg = &value, .arg_size = sizeof value, .group = group }, &future), 0);
    assert_int_equal(plait_group_wait(group, plait_after(60)), 0);
    assert_true(plait_future_is_ready(future));
    assert_int_equal(plait_group_failed(group), 1);
    assert_string_equal(plait_group_error_text(group), "number 4 is no good");
    plait_future_free(future);
    plait_group_free(group);
    plait_pool_free(pool);
}

static void group_is_an_entry_of_wait_any(void **state)
{
    plait_pool_t *pool = pool_of_make(1);
    struct source source = source_of(pool, 8, false);
    plait_event_t never = { 0 };
    plait_group_t *group;
    size_t which;

    assert_int_equal(plait_group_new(&group), 0);
    assert_int_equal(plait_group_add(group, source.future), 0);
    struct plait_wait_entry entries[] = { plait_any_event_wait(&never), plait_any_group_wait(group) };
    if (source.promise)
        assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(0.01)), ETIMEDOUT);
    keep_source(&source, 8, false);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(60)), 0);
    assert_int_equal(which, 1);
    plait_group_free(group);
    plait_future_free(source.future);
    plait_pool_free(pool);
}

static void group_without_a_place_is_refused(void **state)
{
    assert_int_equal(plait_group_new(NULL), EINVAL);
    assert_int_equal(plait_group_free(NULL), 0);
}

static int wait_for_own_group(plait_task_t *task, const void *arg, size_t size)
{
    long value = 2;
    plait_group_t *group;
    int err = plait_group_new(&group);

    for (int i = 0; i < 20 && err == 0; i++)
        err = plait_pool_submit(nested_pool, &(struct plait_task_opts){
                                    .fn = twice, .arg = &value, .arg_size = sizeof value, .group = group }, NULL);
    if (err == 0)
        err = plait_group_wait(group, plait_after(60));
    plait_group_free(group);
    return err;
}

static void worker_that_waits_for_a_group_runs_it(void **state)
{
    assert_int_equal(plait_pool_new(&nested_pool, &(struct plait_pool_opts){ .workers = 1 }), 0);
    assert_int_equal(plait_pool_apply(nested_pool, wait_for_own_group, NULL, 0, NULL, NULL, plait_after(60)), 0);
    plait_pool_free(nested_pool);
}

/* ---- Running it over each make ---- */

static void what_is_not_there_is_refused(void **state)
{
    plait_future_t *future, *next, *some[2] = { NULL, NULL };
    plait_as_completed_t *set;
    plait_promise_t *promise;
    plait_group_t *group;

    assert_int_equal(plait_promise_new(&promise, &future), 0);
    some[0] = future;
    for (int when = PLAIT_ALL_COMPLETED; when <= PLAIT_FIRST_FAILED; when++)
        assert_int_equal(plait_future_wait_many(some, 2, (enum plait_future_when)when, NULL, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_future_on_done(future, NULL, NULL), EINVAL);
    assert_int_equal(plait_future_then(NULL, NULL, twice, &next), EINVAL);
    assert_int_equal(plait_group_new(&group), 0);
    assert_int_equal(plait_group_add(group, NULL), EINVAL);
    assert_int_equal(plait_group_wait(group, PLAIT_NOW), 0);
    assert_int_equal(plait_as_completed_new(&set, some, 2), EINVAL);
    assert_int_equal(plait_as_completed_new(&set, some, 1), 0);
    assert_int_equal(plait_as_completed_add(set, NULL), EINVAL);
    assert_int_equal(plait_as_completed_count(set), 1);
    assert_int_equal(plait_promise_set(promise, NULL, 5), EINVAL);
    assert_int_equal(plait_promise_set(promise, NULL, 0), 0);
    plait_as_completed_free(set);
    plait_group_free(group);
    plait_promise_free(promise);
    plait_future_free(future);
}

static int set_make(void **state)
{
    make = (enum make)(intptr_t)*state;
    return 0;
}

#define ONCE(f) cmocka_unit_test(f)
#define OVER(f, m, what) { what ": " #f, f, set_make, NULL, (void *)(intptr_t)(m) }
#define CONTRACT(f) OVER(f, OF_PROMISE, "promise"), OVER(f, OF_THREADS, "threads"), OVER(f, OF_PROCESSES, "processes")

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        ONCE(promise_set_gives_the_future_a_copy),
        ONCE(promise_set_to_nothing_is_kept),
        ONCE(promise_failed_gives_code_and_text),
        ONCE(promise_is_kept_once),
        ONCE(promise_dropped_fails_its_future),
        ONCE(promise_whose_future_was_cancelled_says_so),
        ONCE(promise_that_has_begun_is_asked_to_stop),
        ONCE(promise_outlives_its_future),
        ONCE(promise_without_a_place_is_refused),
        ONCE(promise_kept_wakes_every_waiter),
        ONCE(of_several_who_keep_it_one_does),
        CONTRACT(chain_hands_the_result_on),
        CONTRACT(chain_on_what_is_done_begins_at_once),
        CONTRACT(chain_hands_failures_on_and_runs_nothing),
        CONTRACT(chain_whose_own_task_fails_says_so),
        CONTRACT(chain_takes_results_of_any_length),
        CONTRACT(chain_cancelled_early_leaves_the_first_alone),
        CONTRACT(chain_cancelled_while_it_runs_is_asked_to_stop),
        CONTRACT(chain_dropped_runs_all_the_same),
        CONTRACT(chain_on_a_closed_pool_fails),
        ONCE(chain_of_a_promise_never_kept_is_freed),
        ONCE(chain_without_a_function_is_refused),
        ONCE(worker_that_looks_runs_nothing),
        ONCE(worker_that_waits_for_a_chain_runs_it),
        CONTRACT(set_gives_each_future_once),
        ONCE(set_that_is_empty_has_nothing_to_give),
        ONCE(set_waits_until_the_deadline),
        CONTRACT(set_grows_while_it_is_read),
        CONTRACT(set_freed_early_lets_the_futures_go_on),
        ONCE(future_that_is_in_twice_is_given_twice),
        CONTRACT(several_readers_share_a_set),
        CONTRACT(set_is_an_entry_of_wait_any),
        CONTRACT(wait_for_all_waits_for_all),
        ONCE(wait_for_the_first_tells_which),
        ONCE(wait_for_none_is_over_at_once),
        CONTRACT(group_is_waited_for),
        CONTRACT(group_is_cancelled),
        CONTRACT(group_freed_early_lets_the_futures_go_on),
        CONTRACT(submitted_task_is_in_its_group),
        CONTRACT(group_is_an_entry_of_wait_any),
        ONCE(group_without_a_place_is_refused),
        ONCE(what_is_not_there_is_refused),
        ONCE(worker_that_waits_for_a_group_runs_it),
    };

    if (plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
