/* SPDX-License-Identifier: MIT */
/* The contract of pools and futures, run over both back-ends; then what only one of them has. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/future.h>
#include <plait/init.h>
#include <plait/pool.h>
#include <plait/wait.h>

#include "support/cmocka.h"
#include "support/pools.h"

/* Seen by workers of both kinds: mapped before the nursery was made. */
static struct shared {
    uint32_t gate;
    uint32_t inside; /* tasks that are at the gate */
    uint32_t ran;
} *shared;

/* ---- Task functions ---- */

static int square(plait_task_t *task, const void *arg, size_t size)
{
    long value = *(const long *)arg;
    value *= value;
    return plait_task_return(task, &value, sizeof value);
}

static int repeat(plait_task_t *task, const void *arg, size_t size)
{
    size_t count = *(const size_t *)arg;
    unsigned char *bytes = malloc(count + 1);
    if (!bytes)
        return plait_task_fail(task, ENOMEM, "no room for %zu bytes", count);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)(i * 31);
    int err = plait_task_return(task, bytes, count);
    free(bytes);
    return err;
}

static int check_arg(plait_task_t *task, const void *arg, size_t size)
{
    const unsigned char *bytes = arg;
    if (size && (uintptr_t)arg % 16 != 0)
        return 77;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != (unsigned char)(i * 31))
            return 78;
    return plait_task_return(task, &size, sizeof size);
}

static int fail_with(plait_task_t *task, const void *arg, size_t size)
{
    int code = *(const int *)arg;
    plait_task_return(task, "lost", 4);
    return plait_task_fail(task, code, "code %d was asked for", code);
}

static int fail_without_text(plait_task_t *task, const void *arg, size_t size)
{
    return 1234;
}

static int return_twice(plait_task_t *task, const void *arg, size_t size)
{
    char large[5000] = "large";
    plait_task_return(task, large, sizeof large);
    plait_task_return(task, large, sizeof large - 1);
    plait_task_return(task, "small", 6);
    return 0;
}

static int stay_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    __atomic_fetch_add(&shared->inside, 1, __ATOMIC_ACQ_REL);
    plait_wake(&shared->inside, UINT_MAX, PLAIT_SHARED);
    while (__atomic_load_n(&shared->gate, __ATOMIC_ACQUIRE) == 0) {
        if (plait_task_is_cancelled(task))
            return plait_task_fail(task, EINTR, "stopped");
        plait_wait(&shared->gate, 0, PLAIT_SHARED, plait_after(0.01));
    }
    return 0;
}

static int count_run(plait_task_t *task, const void *arg, size_t size)
{
    __atomic_fetch_add(&shared->ran, 1, __ATOMIC_ACQ_REL);
    return 0;
}

static int square_but_not_seven(plait_task_t *task, const void *arg, size_t size)
{
    if (*(const long *)arg % 10 == 7)
        return plait_task_fail(task, (int)*(const long *)arg, "no sevens");
    return square(task, arg, size);
}

static int die(plait_task_t *task, const void *arg, size_t size)
{
    kill(getpid(), *(const int *)arg);
    return 0;
}

static int leave(plait_task_t *task, const void *arg, size_t size)
{
    _exit(9);
}

/* ---- Helpers ---- */

static plait_pool_t *make(unsigned workers)
{
    plait_pool_t *pool = NULL;
    shared->gate = shared->inside = shared->ran = 0;
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = backend, .workers = workers }), 0);
    return pool;
}

static void open_gate(void)
{
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    plait_wake(&shared->gate, UINT_MAX, PLAIT_SHARED);
}

static void await(uint32_t *word, uint32_t least, unsigned flags)
{
    uint32_t seen;
    while ((seen = __atomic_load_n(word, __ATOMIC_ACQUIRE)) < least)
        plait_wait(word, seen, flags, PLAIT_FOREVER);
}

/* ---- The contract ---- */

static void apply_gives_the_result(void **state)
{
    plait_pool_t *pool = make(2);
    for (long i = 0; i < 50; i++) {
        long result = -1;
        size_t size = sizeof result;
        assert_int_equal(plait_pool_apply(pool, square, &i, sizeof i, &result, &size, plait_after(30)), 0);
        assert_int_equal(result, i * i);
        assert_int_equal(size, sizeof result);
    }
    assert_int_equal(plait_pool_apply(pool, count_run, NULL, 0, NULL, NULL, PLAIT_FOREVER), 0);
    pool_unmake(pool);
}

static void apply_cuts_what_does_not_fit_and_tells_the_length(void **state)
{
    plait_pool_t *pool = make(1);
    size_t count = 1000, size = 10;
    unsigned char bytes[11] = { 0 };
    assert_int_equal(plait_pool_apply(pool, repeat, &count, sizeof count, bytes, &size, PLAIT_FOREVER), 0);
    assert_int_equal(size, 1000);
    assert_int_equal(bytes[9], (unsigned char)(9 * 31));
    assert_int_equal(bytes[10], 0);
    pool_unmake(pool);
}

static void futures_give_results_of_any_length(void **state)
{
    const size_t lengths[] = { 0, 1, 255, 256, 257, 4096, 1000000, (size_t)64 << 20 };
    plait_pool_t *pool = make(2);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        const unsigned char *bytes;
        const void *lent;
        size_t size = 1;
        plait_future_t *future = pool_submit(pool, repeat, &lengths[i], sizeof lengths[i]);
        assert_int_equal(plait_future_get(future, &lent, &size, plait_after(60)), 0);
        bytes = lent;
        assert_int_equal(size, lengths[i]);
        size_t wrong = 0;
        for (size_t at = 0; at < size; at++)
            wrong += bytes[at] != (unsigned char)(at * 31);
        assert_int_equal(wrong, 0);
        assert_true(plait_future_is_successful(future));
        plait_future_free(future);
    }
    pool_unmake(pool);
}

static void arguments_of_any_length_arrive(void **state)
{
    const size_t lengths[] = { 0, 1, 256, 257, 70000, (size_t)8 << 20 };
    plait_pool_t *pool = make(2);
    unsigned char *bytes = malloc((size_t)8 << 20);
    for (size_t i = 0; i < (size_t)8 << 20; i++)
        bytes[i] = (unsigned char)(i * 31);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t got = 1, size = sizeof got;
        assert_int_equal(plait_pool_apply(pool, check_arg, bytes, lengths[i], &got, &size, PLAIT_FOREVER), 0);
        assert_int_equal(got, lengths[i]);
    }
    free(bytes);
    pool_unmake(pool);
}

static void last_return_of_a_task_counts(void **state)
{
    plait_pool_t *pool = make(1);
    char bytes[16] = "";
    size_t size = sizeof bytes;
    assert_int_equal(plait_pool_apply(pool, return_twice, NULL, 0, bytes, &size, PLAIT_FOREVER), 0);
    assert_int_equal(size, 6);
    assert_string_equal(bytes, "small");
    pool_unmake(pool);
}

static void failures_come_with_code_and_text(void **state)
{
    plait_pool_t *pool = make(1);
    int code = 42;
    const void *bytes = &code;
    size_t size = 9;
    plait_future_t *future = pool_submit(pool, fail_with, &code, sizeof code);
    assert_int_equal(plait_future_get(future, &bytes, &size, PLAIT_FOREVER), 42);
    assert_int_equal(size, 0);
    assert_int_equal(plait_future_error(future), 42);
    assert_string_equal(plait_future_error_text(future), "code 42 was asked for");
    assert_true(plait_future_is_ready(future));
    assert_false(plait_future_is_successful(future));
    plait_future_free(future);
    code = 0;
    assert_int_equal(plait_pool_apply(pool, fail_with, &code, sizeof code, NULL, NULL, PLAIT_FOREVER), EINVAL);
    future = pool_submit(pool, fail_without_text, NULL, 0);
    assert_int_equal(plait_future_get(future, NULL, NULL, PLAIT_FOREVER), 1234);
    assert_string_equal(plait_future_error_text(future), "");
    plait_future_free(future);
    pool_unmake(pool);
}

static void future_of_a_running_task_is_not_ready(void **state)
{
    plait_pool_t *pool = make(1);
    plait_future_t *future = pool_submit(pool, stay_at_gate, NULL, 0);
    assert_int_equal(plait_future_wait(future, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(0.02)), ETIMEDOUT);
    assert_false(plait_future_is_ready(future));
    assert_int_equal(plait_future_error(future), 0);
    plait_cancel_t token = { 0 };
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    int err = plait_future_wait(future, PLAIT_FOREVER);
    plait_cancel_bind(NULL);
    assert_int_equal(err, ECANCELED);
    open_gate();
    assert_int_equal(plait_future_wait(future, PLAIT_FOREVER), 0);
    assert_int_equal(plait_future_cancel(future), EINVAL);
    plait_future_free(future);
    pool_unmake(pool);
}

static void tasks_cancelled_before_they_start_never_run(void **state)
{
    plait_pool_t *pool = make(1);
    plait_future_t *first = pool_submit(pool, stay_at_gate, NULL, 0);
    plait_future_t *second = pool_submit(pool, count_run, NULL, 0);
    plait_future_t *third = pool_submit(pool, count_run, NULL, 0);
    await(&shared->inside, 1, PLAIT_SHARED);
    assert_true(plait_future_is_running(first));
    assert_false(plait_future_is_running(second));
    assert_false(plait_future_is_cancelled(second));
    assert_int_equal(plait_future_cancel(second), 0);
    assert_true(plait_future_is_cancelled(second));
    assert_false(plait_future_is_running(second));
    assert_int_equal(plait_future_get(second, NULL, NULL, PLAIT_NOW), ECANCELED);
    assert_int_equal(plait_future_cancel(second), EINVAL);
    assert_int_equal(plait_future_cancel(first), EBUSY);
    assert_int_equal(plait_future_get(first, NULL, NULL, PLAIT_FOREVER), EINTR);
    assert_int_equal(plait_future_get(third, NULL, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(shared->ran, 1);
    assert_false(plait_future_is_running(first));
    assert_false(plait_future_is_cancelled(first));
    assert_false(plait_future_is_cancelled(third));
    plait_future_free(first);
    plait_future_free(second);
    plait_future_free(third);
    pool_unmake(pool);
}

static int return_ecanceled(plait_task_t *task, const void *arg, size_t size) { return ECANCELED; }

static void task_that_says_it_was_cancelled_was_not(void **state)
{
    plait_pool_t *pool = make(1);
    plait_future_t *future = pool_submit(pool, return_ecanceled, NULL, 0);

    assert_int_equal(plait_future_get(future, NULL, NULL, PLAIT_FOREVER), ECANCELED);
    assert_false(plait_future_is_cancelled(future));
    plait_future_free(future);
    pool_unmake(pool);
}

static void map_keeps_the_order(void **state)
{
    static const size_t counts[] = { 1, 2, 7, 100, 5000 };
    plait_pool_t *pool = make(3);
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        long numbers[5000], squares[5000];
        for (long i = 0; i < 5000; i++) {
            numbers[i] = i;
            squares[i] = -1;
        }
        assert_int_equal(plait_pool_map(pool, square, numbers, sizeof(long), counts[c], squares, sizeof(long),
                                        plait_after(60)), 0);
        for (size_t i = 0; i < counts[c]; i++)
            assert_int_equal(squares[i], numbers[i] * numbers[i]);
    }
    assert_int_equal(plait_pool_map(pool, square, NULL, 8, 0, NULL, 0, PLAIT_FOREVER), 0);
    pool_unmake(pool);
}

static void map_fills_cuts_and_pads_places(void **state)
{
    plait_pool_t *pool = make(2);
    long numbers[10];
    char wide[10][16];
    unsigned char narrow[10];
    memset(wide, 1, sizeof wide);
    for (long i = 0; i < 10; i++)
        numbers[i] = i;
    assert_int_equal(plait_pool_map(pool, square, numbers, 8, 10, wide, 16, PLAIT_FOREVER), 0);
    assert_int_equal(plait_pool_map(pool, square, numbers, 8, 10, narrow, 1, PLAIT_FOREVER), 0);
    assert_int_equal(plait_pool_map(pool, count_run, numbers, 8, 10, NULL, 0, PLAIT_FOREVER), 0);
    assert_int_equal(shared->ran, 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(wide[i][0], i * i);
        assert_int_equal(wide[i][8], 0);
        assert_int_equal(narrow[i], i * i);
    }
    pool_unmake(pool);
}

static void map_tells_the_first_failure_and_does_the_rest(void **state)
{
    plait_pool_t *pool = make(2);
    long numbers[100], squares[100];
    for (long i = 0; i < 100; i++)
        numbers[i] = i;
    assert_int_equal(plait_pool_map(pool, square_but_not_seven, numbers, sizeof(long), 100, squares, sizeof(long),
                                    PLAIT_FOREVER), 7);
    for (long i = 0; i < 100; i++)
        assert_int_equal(squares[i], i % 10 == 7 ? 0 : i * i);
    pool_unmake(pool);
}

static void pool_closed_does_what_is_queued_and_takes_no_more(void **state)
{
    plait_pool_t *pool = make(2);
    plait_future_t *future;
    assert_int_equal(plait_pool_join(pool, PLAIT_NOW), EINVAL);
    for (int i = 0; i < 200; i++)
        assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, NULL), 0);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, &future), EPIPE);
    assert_int_equal(plait_pool_apply(pool, count_run, NULL, 0, NULL, NULL, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pool_map(pool, count_run, "", 1, 1, NULL, 0, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pool_close(pool), 0);
    assert_int_equal(plait_pool_join(pool, PLAIT_FOREVER), 0);
    assert_int_equal(plait_pool_join(pool, PLAIT_NOW), 0);
    assert_int_equal(shared->ran, 200);
    plait_pool_free(pool);
}

static void pool_terminated_cancels_and_stops(void **state)
{
    plait_pool_t *pool = make(2);
    plait_future_t *running[2], *queued[20];
    for (int i = 0; i < 2; i++)
        running[i] = pool_submit(pool, stay_at_gate, NULL, 0);
    for (int i = 0; i < 20; i++)
        queued[i] = pool_submit(pool, count_run, NULL, 0);
    await(&shared->inside, 2, PLAIT_SHARED);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(0.02)), ETIMEDOUT);
    assert_int_equal(plait_pool_terminate(pool), 0);
    assert_int_equal(plait_pool_join(pool, plait_after(30)), 0);
    for (int i = 0; i < 2; i++) {
        /* A process may hear that it should stop in the instant before it is killed. */
        int err = plait_future_get(running[i], NULL, NULL, PLAIT_FOREVER);
        assert_true(err == EINTR || (err == ECANCELED && backend == PLAIT_PROCESSES));
        plait_future_free(running[i]);
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(plait_future_get(queued[i], NULL, NULL, PLAIT_NOW), ECANCELED);
        plait_future_free(queued[i]);
    }
    assert_int_equal(shared->ran, 0);
    plait_pool_free(pool);
}

static void pool_freed_unjoined_ends(void **state)
{
    plait_pool_t *pool = make(2);
    plait_future_t *running = pool_submit(pool, stay_at_gate, NULL, 0);
    plait_future_t *queued = pool_submit(pool, stay_at_gate, NULL, 0);
    plait_future_t *third = pool_submit(pool, stay_at_gate, NULL, 0);
    await(&shared->inside, 2, PLAIT_SHARED);
    plait_pool_free(pool);
    assert_true(plait_future_is_ready(running));
    assert_int_equal(plait_future_get(third, NULL, NULL, PLAIT_NOW), ECANCELED);
    plait_future_free(running);
    plait_future_free(queued);
    plait_future_free(third);
    plait_pool_free(NULL);
}

static void future_outlives_its_pool(void **state)
{
    plait_pool_t *pool = make(1);
    size_t count = 100000, size;
    const void *bytes;
    plait_future_t *future = pool_submit(pool, repeat, &count, sizeof count);
    pool_unmake(pool);
    assert_int_equal(plait_future_get(future, &bytes, &size, PLAIT_NOW), 0);
    assert_int_equal(size, count);
    assert_int_equal(((const unsigned char *)bytes)[99999], (unsigned char)(99999 * 31));
    plait_future_free(future);
}

struct heard {
    uint32_t count;
    int order[4];
    int codes[4];
};

static struct heard heard;

static void hear(plait_future_t *future, void *context)
{
    uint32_t at = __atomic_load_n(&heard.count, __ATOMIC_RELAXED);
    heard.order[at] = (int)(intptr_t)context;
    heard.codes[at] = plait_future_error(future);
    __atomic_store_n(&heard.count, at + 1, __ATOMIC_RELEASE);
    plait_wake(&heard.count, 1, 0);
}

static void free_it(plait_future_t *future, void *context)
{
    plait_future_free(future);
    hear(future, context);
}

static void callbacks_are_called_in_order_and_may_free(void **state)
{
    plait_pool_t *pool = make(1);
    memset(&heard, 0, sizeof heard);
    plait_future_t *future = pool_submit(pool, stay_at_gate, NULL, 0);
    assert_int_equal(plait_future_on_done(future, hear, (void *)1), 0);
    assert_int_equal(plait_future_on_done(future, hear, (void *)2), 0);
    assert_int_equal(__atomic_load_n(&heard.count, __ATOMIC_ACQUIRE), 0);
    open_gate();
    await(&heard.count, 2, 0);
    assert_int_equal(plait_future_on_done(future, free_it, (void *)3), 0);
    await(&heard.count, 3, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(heard.order[i], i + 1);
    pool_unmake(pool);
}

static void callback_of_a_cancelled_task_is_called(void **state)
{
    plait_pool_t *pool = make(1);
    memset(&heard, 0, sizeof heard);
    plait_future_t *first = pool_submit(pool, stay_at_gate, NULL, 0);
    plait_future_t *second = pool_submit(pool, count_run, NULL, 0);
    await(&shared->inside, 1, PLAIT_SHARED);
    plait_future_on_done(second, hear, NULL);
    assert_int_equal(plait_future_cancel(second), 0);
    await(&heard.count, 1, 0);
    assert_int_equal(heard.codes[0], ECANCELED);
    open_gate();
    plait_future_free(first);
    plait_future_free(second);
    pool_unmake(pool);
}

static void stats_add_up(void **state)
{
    plait_pool_t *pool = make(2);
    struct plait_pool_stats stats;
    struct plait_pool_worker worker;
    int code = 5;
    plait_future_t *futures[6];
    for (int i = 0; i < 2; i++)
        futures[i] = pool_submit(pool, stay_at_gate, NULL, 0);
    await(&shared->inside, 2, PLAIT_SHARED);
    for (int i = 2; i < 5; i++)
        futures[i] = pool_submit(pool, count_run, NULL, 0);
    futures[5] = pool_submit(pool, fail_with, &code, sizeof code);
    plait_future_cancel(futures[4]);
    plait_pool_stats(pool, &stats);
    assert_int_equal(stats.workers, 2);
    assert_int_equal(stats.busy, 2);
    assert_int_equal(stats.pending, 3);
    assert_int_equal(stats.done, 1);
    assert_int_equal(plait_pool_worker(pool, 0, &worker), 0);
    assert_int_equal(worker.state, PLAIT_WORKER_BUSY);
    assert_true(backend == PLAIT_THREADS ? worker.pid == getpid() : worker.pid != getpid());
    assert_int_equal(plait_pool_worker(pool, 2, &worker), EINVAL);
    open_gate();
    for (int i = 0; i < 6; i++)
        plait_future_wait(futures[i], PLAIT_FOREVER);
    plait_pool_close(pool);
    plait_pool_join(pool, PLAIT_FOREVER);
    plait_pool_stats(pool, &stats);
    assert_int_equal(stats.done, 6);
    assert_int_equal(stats.failed, 2);
    assert_int_equal(stats.busy, 0);
    assert_int_equal(stats.pending, 0);
    for (int i = 0; i < 6; i++)
        plait_future_free(futures[i]);
    plait_pool_free(pool);
}

static void many_tasks_from_many_threads_all_run_once(void **state)
{
    enum { COUNT = 20000 };
    plait_pool_t *pool = make(4);
    plait_future_t **futures = malloc(COUNT * sizeof *futures);
    for (int i = 0; i < COUNT; i++) {
        if (i % 3 == 0) {
            futures[i] = NULL;
            assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, NULL), 0);
        } else {
            futures[i] = pool_submit(pool, count_run, NULL, 0);
        }
        if (i % 7 == 1) {
            plait_future_free(futures[i]);
            futures[i] = NULL;
        }
    }
    for (int i = 0; i < COUNT; i++) {
        if (futures[i])
            assert_int_equal(plait_future_get(futures[i], NULL, NULL, PLAIT_FOREVER), 0);
        plait_future_free(futures[i]);
    }
    free(futures);
    pool_unmake(pool);
    assert_int_equal(shared->ran, COUNT);
}

static int descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void pools_made_and_freed_leak_no_descriptors(void **state)
{
    plait_pool_t *pool = make(2);
    pool_unmake(pool);
    int before = descriptors();
    for (int i = 0; i < 10; i++) {
        pool = make(2);
        plait_pool_apply(pool, count_run, NULL, 0, NULL, NULL, PLAIT_FOREVER);
        if (i % 2)
            pool_unmake(pool);
        else
            plait_pool_free(pool);
    }
    assert_int_equal(descriptors(), before);
}

static void options_and_arguments_that_are_absurd_are_refused(void **state)
{
    plait_pool_t *pool = NULL;
    plait_future_t *future;
    size_t size = 1;
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = 7 }), EINVAL);
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = backend, .workers = 1025 }), EINVAL);
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = backend, .memory = SIZE_MAX }),
                     EINVAL);
    assert_null(pool);
    pool = make(1);
    assert_int_equal(plait_pool_apply_async(pool, NULL, NULL, 0, &future), EINVAL);
    assert_int_equal(plait_pool_apply_async(pool, square, NULL, 8, &future), EINVAL);
    assert_int_equal(plait_pool_apply(pool, square, NULL, 0, &size, NULL, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_pool_apply_async(NULL, square, &size, sizeof size, &future), EINVAL);
    assert_int_equal(plait_pool_submit(NULL, &(struct plait_task_opts){ .fn = count_run }, NULL), EINVAL);
    assert_int_equal(plait_pool_map(NULL, square, &size, sizeof size, 1, NULL, 0, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_pool_map_async(NULL, square, &size, sizeof size, 1, 0, &future), EINVAL);
    assert_int_equal(plait_pool_stats(pool, NULL), EINVAL);
    assert_int_equal(plait_pool_worker(pool, 0, NULL), EINVAL);
    assert_int_equal(plait_pool_map(pool, square, &size, SIZE_MAX / 2, 4, NULL, 0, PLAIT_FOREVER), EINVAL);
    pool_unmake(pool);
}

/* ---- Threads only ---- */

static plait_pool_t *of_tasks;

static int fibonacci(plait_task_t *task, const void *arg, size_t size)
{
    long n = *(const long *)arg, left = n - 1, right = n - 2, sum = n;
    plait_future_t *future;
    const void *bytes;
    if (n >= 2) {
        size_t length = sizeof right;
        int err = plait_pool_apply_async(of_tasks, fibonacci, &left, sizeof left, &future);
        if (err)
            return err;
        err = plait_pool_apply(of_tasks, fibonacci, &right, sizeof right, &sum, &length, PLAIT_FOREVER);
        if (err || (err = plait_future_get(future, &bytes, NULL, PLAIT_FOREVER)))
            return err;
        sum += *(const long *)bytes;
        plait_future_free(future);
    }
    return plait_task_return(task, &sum, sizeof sum);
}

static int join_own_pool(plait_task_t *task, const void *arg, size_t size)
{
    plait_pool_close(of_tasks);
    return plait_pool_join(of_tasks, PLAIT_FOREVER);
}

static void tasks_that_wait_for_tasks_do_not_deadlock(void **state)
{
    long n = 15, result = 0;
    size_t size = sizeof result;
    backend = PLAIT_THREADS;
    of_tasks = make(2);
    assert_int_equal(plait_pool_apply(of_tasks, fibonacci, &n, sizeof n, &result, &size, PLAIT_FOREVER), 0);
    assert_int_equal(result, 610);
    assert_int_equal(plait_pool_apply(of_tasks, join_own_pool, NULL, 0, NULL, NULL, PLAIT_FOREVER), EDEADLK);
    pool_unmake(of_tasks);
}

/* ---- Processes only ---- */

static void worker_killed_fails_only_its_task(void **state)
{
    int signal = SIGKILL;
    struct plait_pool_worker worker;
    unsigned restarts = 0;
    backend = PLAIT_PROCESSES;
    plait_pool_t *pool = make(2);
    plait_future_t *futures[60];
    for (int i = 0; i < 60; i++)
        futures[i] = i % 20 == 7 ? pool_submit(pool, die, &signal, sizeof signal)
                     : i == 33   ? pool_submit(pool, leave, NULL, 0)
                                 : pool_submit(pool, square, &(long){ i }, sizeof(long));
    for (int i = 0; i < 60; i++) {
        const void *bytes;
        int err = plait_future_get(futures[i], &bytes, NULL, plait_after(60));
        if (i % 20 == 7) {
            assert_int_equal(err, EOWNERDEAD);
            assert_non_null(strstr(plait_future_error_text(futures[i]), "killed by signal 9"));
        } else if (i == 33) {
            assert_int_equal(err, EOWNERDEAD);
            assert_non_null(strstr(plait_future_error_text(futures[i]), "exited with status 9"));
        } else {
            assert_int_equal(err, 0);
            assert_int_equal(*(const long *)bytes, i * i);
        }
        plait_future_free(futures[i]);
    }
    pool_unmake(pool);
    pool = make(1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_pool_apply(pool, die, &signal, sizeof signal, NULL, NULL, PLAIT_FOREVER), EOWNERDEAD);
    plait_pool_apply(pool, count_run, NULL, 0, NULL, NULL, PLAIT_FOREVER);
    plait_pool_close(pool);
    plait_pool_join(pool, PLAIT_FOREVER);
    plait_pool_worker(pool, 0, &worker);
    restarts = worker.restarts;
    plait_pool_free(pool);
    assert_int_equal(restarts, 3);
}

/* Workers are killed from outside, in the middle of whatever they do; every task ends once, and most succeed. */
static void workers_killed_at_random_lose_no_task(void **state)
{
    enum { COUNT = 4000 };
    unsigned failed = 0, wrong = 0;
    backend = PLAIT_PROCESSES;
    plait_pool_t *pool = make(3);
    plait_future_t **futures = malloc(COUNT * sizeof *futures);
    for (long i = 0; i < COUNT; i++) {
        futures[i] = pool_submit(pool, square, &i, sizeof i);
        struct plait_pool_worker worker;
        if (i % 400 == 399 && plait_pool_worker(pool, (unsigned)(i / 400) % 3, &worker) == 0 && worker.pid > 0)
            kill(worker.pid, SIGKILL);
    }
    plait_pool_close(pool);
    for (long i = 0; i < COUNT; i++) {
        const void *bytes;
        int err = plait_future_get(futures[i], &bytes, NULL, plait_after(60));
        if (err == EOWNERDEAD)
            failed++;
        else if (err || *(const long *)bytes != i * i)
            wrong++;
        plait_future_free(futures[i]);
    }
    assert_int_equal(wrong, 0);
    assert_true(failed <= COUNT / 400);
    assert_int_equal(plait_pool_join(pool, plait_after(60)), 0);
    plait_pool_free(pool);
    free(futures);
}

static void function_in_no_module_is_refused(void **state)
{
    plait_future_t *future;
    backend = PLAIT_PROCESSES;
    plait_pool_t *pool = make(1);
    void *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_int_equal(plait_pool_apply_async(pool, (plait_task_fn *)(uintptr_t)code, NULL, 0, &future), EINVAL);
    munmap(code, 4096);
    pool_unmake(pool);
}

static void argument_without_room_is_refused(void **state)
{
    plait_future_t *future;
    plait_pool_t *pool;
    void *large = calloc(1, (size_t)64 << 20);
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = PLAIT_PROCESSES, .workers = 1,
                                                                      .memory = (size_t)8 << 20 }), 0);
    assert_int_equal(plait_pool_apply_async(pool, count_run, large, (size_t)64 << 20, &future), ENOSPC);
    size_t count = (size_t)64 << 20;
    assert_int_equal(plait_pool_apply(pool, repeat, &count, sizeof count, NULL, NULL, PLAIT_FOREVER), ENOSPC);
    assert_int_equal(plait_pool_apply(pool, count_run, NULL, 0, NULL, NULL, PLAIT_FOREVER), 0);
    pool_unmake(pool);
    free(large);
}

static void pool_in_a_child_after_fork_takes_no_tasks(void **state)
{
    for (int i = 0; i < 2; i++) {
        int status;
        backend = i ? PLAIT_PROCESSES : PLAIT_THREADS;
        plait_pool_t *pool = make(2);
        pid_t pid = fork();
        if (pid == 0) {
            if (plait_pool_apply(pool, count_run, NULL, 0, NULL, NULL, PLAIT_FOREVER) != EPIPE)
                _exit(1);
            if (plait_pool_join(pool, PLAIT_FOREVER) != EOWNERDEAD)
                _exit(2);
            plait_pool_free(pool);
            _exit(0);
        }
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
        assert_int_equal(plait_pool_apply(pool, count_run, NULL, 0, NULL, NULL, PLAIT_FOREVER), 0);
        pool_unmake(pool);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(apply_gives_the_result),
        CONTRACT(apply_cuts_what_does_not_fit_and_tells_the_length),
        CONTRACT(futures_give_results_of_any_length),
        CONTRACT(arguments_of_any_length_arrive),
        CONTRACT(last_return_of_a_task_counts),
        CONTRACT(failures_come_with_code_and_text),
        CONTRACT(future_of_a_running_task_is_not_ready),
        CONTRACT(tasks_cancelled_before_they_start_never_run),
        CONTRACT(task_that_says_it_was_cancelled_was_not),
        CONTRACT(map_keeps_the_order),
        CONTRACT(map_fills_cuts_and_pads_places),
        CONTRACT(map_tells_the_first_failure_and_does_the_rest),
        CONTRACT(pool_closed_does_what_is_queued_and_takes_no_more),
        CONTRACT(pool_terminated_cancels_and_stops),
        CONTRACT(pool_freed_unjoined_ends),
        CONTRACT(future_outlives_its_pool),
        CONTRACT(callbacks_are_called_in_order_and_may_free),
        CONTRACT(callback_of_a_cancelled_task_is_called),
        CONTRACT(stats_add_up),
        CONTRACT(many_tasks_from_many_threads_all_run_once),
        CONTRACT(pools_made_and_freed_leak_no_descriptors),
        CONTRACT(options_and_arguments_that_are_absurd_are_refused),
        cmocka_unit_test(tasks_that_wait_for_tasks_do_not_deadlock),
        cmocka_unit_test(worker_killed_fails_only_its_task),
        cmocka_unit_test(workers_killed_at_random_lose_no_task),
        cmocka_unit_test(function_in_no_module_is_refused),
        cmocka_unit_test(argument_without_room_is_refused),
        cmocka_unit_test(pool_in_a_child_after_fork_takes_no_tasks),
    };
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
