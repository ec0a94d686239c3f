/* SPDX-License-Identifier: MIT */
/* Tasks that end their thread instead of returning. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <plait.h>

#include "support/child.h"
#include "support/pools.h"

/* Seen by workers of both kinds: mapped before the nursery was made. */
static struct shared {
    uint32_t begun, ran, gate;
} *shared;

static uint32_t load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static void count(uint32_t *word) { __atomic_fetch_add(word, 1, __ATOMIC_ACQ_REL); }

/* ---- Tasks ---- */

static int leave(plait_task_t *task, const void *arg, size_t size)
{
    static char room[100000];

    count(&shared->ran);
    plait_task_return(task, room, sizeof room); /* which nobody gets */
    pthread_exit(NULL);
}

static void *stay(void *unused)
{
    plait_sleep_until(PLAIT_FOREVER);
    return NULL;
}

static int leave_another_thread_behind(plait_task_t *task, const void *arg, size_t size)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, stay, NULL) == 0)
        pthread_exit(NULL);
    return 0;
}

static int leave_by_failing(plait_task_t *task, const void *arg, size_t size) { plait_thread_fail(7, "no more"); }

static int square(plait_task_t *task, const void *arg, size_t size)
{
    long n = *(const long *)arg;

    n *= n;
    return plait_task_return(task, &n, sizeof n);
}

/* Every seventh does not come back. */
static int square_or_leave(plait_task_t *task, const void *arg, size_t size)
{
    if (*(const long *)arg % 7 == 6)
        pthread_exit(NULL);
    return square(task, arg, size);
}

static int leave_the_first_time(plait_task_t *task, const void *arg, size_t size)
{
    if (plait_task_attempt(task) < *(const unsigned *)arg)
        pthread_exit(NULL);
    return plait_task_return(task, "there", 5);
}

static int begin(plait_task_t *task, const void *arg, size_t size)
{
    count(&shared->begun);
    return 0;
}

static int kill_the_process(plait_task_t *task, const void *arg, size_t size) { return raise(SIGKILL); }
static int leave_from_a_function(plait_task_t *task, const void *arg, size_t size) { pthread_exit(NULL); }

static int wait_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    while (load(&shared->gate) == 0)
        plait_wait(&shared->gate, 0, PLAIT_SHARED, PLAIT_FOREVER);
    return 0;
}

static int count_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    count(&shared->ran);
    return wait_at_gate(task, arg, size);
}

static void open_gate(void)
{
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    plait_wake(&shared->gate, UINT_MAX, PLAIT_SHARED);
}

/* ---- Helpers ---- */

static plait_pool_t *make(const struct plait_pool_opts *opts)
{
    *shared = (struct shared){ 0 };
    return pool_make(opts);
}

static void assert_lost(plait_future_t *future)
{
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(POOL_PATIENCE)), EOWNERDEAD);
    assert_true(plait_future_error_text(future)[0] != '\0');
    plait_future_free(future);
}

static void assert_works(plait_pool_t *pool)
{
    for (long i = 0; i < 20; i++) {
        long n = 0;
        size_t size = sizeof n;

        assert_int_equal(plait_pool_apply(pool, square, &i, sizeof i, &n, &size, plait_after(POOL_PATIENCE)), 0);
        assert_int_equal(n, i * i);
    }
}

/* ---- Cases ---- */

static void task_that_ends_its_thread_fails_alone(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .initializer = begin });
    struct plait_pool_stats stats;

    for (int i = 0; i < 5; i++) {
        assert_lost(pool_submit(pool, leave, NULL, 0));
        assert_works(pool);
    }
    assert_lost(pool_submit(pool, leave_by_failing, NULL, 0));
    assert_works(pool);
    assert_int_equal(plait_pool_stats(pool, &stats), 0);
    assert_int_equal(stats.workers, 1);
    pool_unmake(pool);
    assert_int_equal(shared->begun, 7); /* and each that took a place began */
}

static void process_is_lost_with_all_its_threads(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });

    assert_lost(pool_submit(pool, leave_another_thread_behind, NULL, 0));
    assert_works(pool);
    pool_unmake(pool);
}

static void task_without_a_future_does_so_too(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2 });
    struct plait_pool_worker worker;
    uint64_t done = 0, failed = 0, restarts = 0;

    for (int i = 0; i < 30; i++)
        assert_int_equal(plait_pool_apply_async(pool, leave, NULL, 0, NULL), 0);
    assert_works(pool);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(POOL_PATIENCE)), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(plait_pool_worker(pool, i, &worker), 0);
        done += worker.done;
        failed += worker.failed;
        restarts += worker.restarts;
    }
    assert_int_equal(done, backend == PLAIT_THREADS ? 50 : 20); /* those that have cost a process are not counted there */
    assert_int_equal(failed, backend == PLAIT_THREADS ? 30 : 0);
    assert_int_equal(restarts, 30);
    assert_int_equal(plait_pool_free(pool), 0);
    assert_int_equal(shared->ran, 30);
}

static void closed_pool_does_what_is_queued_behind_it(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });
    plait_future_t *first = pool_submit(pool, wait_at_gate, NULL, 0), *bad[20], *good[20];

    for (long i = 0; i < 20; i++) {
        bad[i] = pool_submit(pool, leave, NULL, 0);
        good[i] = pool_submit(pool, square, &i, sizeof i);
    }
    plait_pool_close(pool);
    open_gate();
    assert_int_equal(plait_pool_join(pool, plait_after(POOL_PATIENCE)), 0);
    for (long i = 0; i < 20; i++) {
        const void *bytes;

        assert_true(plait_future_is_ready(bad[i]));
        assert_lost(bad[i]);
        assert_int_equal(plait_future_get(good[i], &bytes, NULL, PLAIT_NOW), 0);
        assert_int_equal(*(const long *)bytes, i * i);
        plait_future_free(good[i]);
    }
    plait_future_free(first);
    assert_int_equal(plait_pool_free(pool), 0);
}

static void limit_of_a_task_that_ends_its_thread_is_forgotten(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });

    for (int i = 0; i < 50; i++) {
        plait_future_t *future = NULL;

        assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = leave, .limit = 0.001 }, &future), 0);
        assert_lost(future);
    }
    assert_works(pool);
    pool_unmake(pool);
}

static void it_is_run_again_if_that_is_wanted(void **state)
{
    static const double pauses[] = { 0, 0.002 };

    for (int i = 0; i < 2; i++) {
        plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2 });
        unsigned times = 3;
        plait_future_t *future = NULL;
        const void *bytes;
        struct plait_task_opts opts = { .fn = leave_the_first_time, .arg = &times, .arg_size = sizeof times, .retries = 3,
                                        .retry_after = pauses[i] };

        assert_int_equal(plait_pool_submit(pool, &opts, &future), 0);
        assert_int_equal(plait_future_get(future, &bytes, NULL, plait_after(POOL_PATIENCE)), 0);
        assert_memory_equal(bytes, "there", 5);
        plait_future_free(future);
        opts.retries = 2;
        assert_int_equal(plait_pool_submit(pool, &opts, &future), 0);
        assert_lost(future);
        pool_unmake(pool);
    }
}

static void map_with_such_items_has_the_others(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2 });
    long items[14], results[14];

    for (long i = 0; i < 14; i++)
        items[i] = i;
    assert_int_equal(plait_pool_map(pool, square_or_leave, items, sizeof *items, 14, results, sizeof *results,
                                    plait_after(POOL_PATIENCE)), EOWNERDEAD);
    assert_int_equal(plait_pool_map(pool, square, items, sizeof *items, 14, results, sizeof *results,
                                    plait_after(POOL_PATIENCE)), 0);
    assert_int_equal(results[13], 169);
    pool_unmake(pool);
}

static void every_one_of_many_is_accounted_for(void **state)
{
    enum { COUNT = 2000 };
    static plait_future_t *futures[COUNT];
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 3, .min_workers = 1, .idle_time = 0.001,
                                                         .tasks_per_worker = 20 });
    long count = backend == PLAIT_PROCESSES ? COUNT / 10 : COUNT;

    for (long i = 0; i < count; i++)
        futures[i] = pool_submit(pool, square_or_leave, &i, sizeof i);
    for (long i = 0; i < count; i++) {
        const void *bytes;

        if (i % 7 == 6) {
            assert_lost(futures[i]);
            continue;
        }
        assert_int_equal(plait_future_get(futures[i], &bytes, NULL, plait_after(POOL_PATIENCE)), 0);
        assert_int_equal(*(const long *)bytes, i * i);
        plait_future_free(futures[i]);
    }
    pool_unmake(pool);
}

static void initializer_that_ends_its_thread_breaks_the_pool(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2, .initializer = leave_from_a_function });
    plait_future_t *future = NULL;
    int err = plait_pool_apply_async(pool, leave, NULL, 0, &future);

    assert_true(err == 0 || err == EPIPE); /* it may be broken already */
    if (err == 0)
        assert_lost(future);
    assert_int_equal(plait_pool_join(pool, plait_after(POOL_PATIENCE)), 0);
    assert_int_equal(plait_pool_free(pool), 0);
    assert_int_equal(shared->ran, 0);
}

/* It is called when a worker is renewed, when it is not needed for a while, and in the end. */
static void assert_ends_with(plait_task_fn *finalizer)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2, .min_workers = 1, .idle_time = 0.01, .finalizer = finalizer,
                                                         .tasks_per_worker = 3 });
    plait_future_t *first = pool_submit(pool, wait_at_gate, NULL, 0), *second = pool_submit(pool, wait_at_gate, NULL, 0);
    struct plait_pool_stats stats;
    plait_time_t end = plait_after(POOL_PATIENCE);

    open_gate();
    plait_future_wait(first, end);
    plait_future_wait(second, end);
    do {
        plait_sleep(0.005);
        plait_pool_stats(pool, &stats);
    } while (stats.workers > 1 && plait_now() < end);
    assert_int_equal(stats.workers, 1);
    assert_works(pool);
    plait_future_free(first);
    plait_future_free(second);
    pool_unmake(pool);
}

static void finalizer_that_ends_its_thread_harms_nobody(void **state) { assert_ends_with(leave_from_a_function); }
static void finalizer_that_kills_its_process_harms_nobody(void **state) { assert_ends_with(kill_the_process); }

/* ---- On threads, where a worker that waits runs what it waits for ---- */

static plait_pool_t *nested;
static plait_future_t *inner; /* nobody returns who could free it */

static int wait_for_one_that_leaves(plait_task_t *task, const void *arg, size_t size)
{
    int err = plait_pool_apply_async(nested, leave, NULL, 0, &inner);

    if (err == 0)
        err = plait_future_wait(inner, plait_after(POOL_PATIENCE)); /* it is run here, and takes this with it */
    return err;
}

static void task_that_runs_another_is_lost_with_it(void **state)
{
    nested = make(&(struct plait_pool_opts){ .workers = 1 });
    assert_lost(pool_submit(nested, wait_for_one_that_leaves, NULL, 0));
    assert_lost(inner);
    assert_works(nested);
    pool_unmake(nested);
    assert_int_equal(shared->ran, 1);
}

static void leave_from_callback(plait_future_t *future, void *unused) { pthread_exit(NULL); }
static void count_callback(plait_future_t *future, void *unused) { count(&shared->begun); }

static void callback_that_ends_the_thread_costs_nothing_else(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });
    plait_future_t *gate = pool_submit(pool, wait_at_gate, NULL, 0);
    long n = 12;
    plait_future_t *future = pool_submit(pool, square, &n, sizeof n);
    const void *bytes;

    assert_int_equal(plait_future_on_done(future, leave_from_callback, NULL), 0);
    assert_int_equal(plait_future_on_done(future, leave_from_callback, NULL), 0);
    assert_int_equal(plait_future_on_done(future, count_callback, NULL), 0);
    open_gate();
    assert_int_equal(plait_future_get(future, &bytes, NULL, plait_after(POOL_PATIENCE)), 0);
    assert_int_equal(*(const long *)bytes, 144);
    assert_works(pool);
    plait_future_free(future);
    plait_future_free(gate);
    pool_unmake(pool);
    assert_int_equal(shared->begun, 1);
}

enum { MANY = 150 }; /* under musl, each one that ends a thread costs half a KiB of its 128 */

static void submit_many(plait_pool_t *pool, plait_task_fn *fn, plait_future_t *futures[MANY])
{
    for (long i = 0; i < MANY; i++) {
        futures[i] = pool_submit(pool, fn, &i, sizeof i);
        assert_int_equal(plait_future_on_done(futures[i], leave_from_callback, NULL), 0);
        assert_int_equal(plait_future_on_done(futures[i], count_callback, NULL), 0);
    }
}

static void assert_all_end_with(plait_future_t *futures[MANY], int code)
{
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(plait_future_get(futures[i], NULL, NULL, plait_after(POOL_PATIENCE)), code);
        plait_future_free(futures[i]);
    }
    assert_true(pool_reaches(&shared->begun, MANY));
}

static void threads_that_callbacks_end_are_replaced(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });
    plait_future_t *futures[MANY], *gate = pool_submit(pool, wait_at_gate, NULL, 0);
    int threads;

    assert_int_equal(plait_future_on_done(gate, count_callback, NULL), 0);
    open_gate();
    assert_true(pool_reaches(&shared->begun, 1)); /* who calls them is there now */
    threads = count_threads();
    plait_future_free(gate);
    *shared = (struct shared){ 0 };
    gate = pool_submit(pool, wait_at_gate, NULL, 0);
    submit_many(pool, square, futures);
    open_gate();
    assert_all_end_with(futures, 0);
    plait_future_free(gate);
    assert_works(pool);
    for (int i = 0; i < 1000 * POOL_PATIENCE && count_threads() > threads; i++)
        plait_sleep(0.001);
    assert_true(count_threads() <= threads);
    pool_unmake(pool);
    assert_int_equal(shared->begun, MANY);
}

static void *terminate_pool(void *pool)
{
    plait_pool_terminate(pool);
    return pool;
}

static void termination_goes_on_when_a_callback_ends_its_thread(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1 });
    plait_future_t *futures[MANY], *gate = pool_submit(pool, count_at_gate, NULL, 0);
    pthread_t thread;
    void *result = pool;

    assert_true(pool_reaches(&shared->ran, 1));
    submit_many(pool, square, futures);
    assert_int_equal(pthread_create(&thread, NULL, terminate_pool, pool), 0);
    pthread_join(thread, &result);
    assert_null(result); /* it has not come back */
    assert_all_end_with(futures, ECANCELED);
    open_gate();
    assert_int_equal(plait_pool_join(pool, plait_after(POOL_PATIENCE)), 0);
    plait_future_free(gate);
    pool_unmake(pool);
    assert_int_equal(shared->begun, MANY);
}

static int fail_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    wait_at_gate(task, arg, size);
    return plait_task_fail(task, ENODEV, "not here");
}

static void pool_breaks_though_callbacks_end_their_thread(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .initializer = fail_at_gate });
    plait_future_t *futures[MANY];

    submit_many(pool, square, futures);
    open_gate();
    assert_all_end_with(futures, ENODEV);
    assert_int_equal(plait_pool_join(pool, plait_after(POOL_PATIENCE)), 0);
    pool_unmake(pool);
    assert_int_equal(shared->begun, MANY);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(task_that_ends_its_thread_fails_alone),
        { "process_is_lost_with_all_its_threads", process_is_lost_with_all_its_threads, on_processes, NULL, NULL },
        CONTRACT(task_without_a_future_does_so_too),
        CONTRACT(closed_pool_does_what_is_queued_behind_it),
        CONTRACT(limit_of_a_task_that_ends_its_thread_is_forgotten),
        CONTRACT(it_is_run_again_if_that_is_wanted),
        CONTRACT(map_with_such_items_has_the_others),
        CONTRACT(every_one_of_many_is_accounted_for),
        CONTRACT(initializer_that_ends_its_thread_breaks_the_pool),
        CONTRACT(finalizer_that_ends_its_thread_harms_nobody),
        { "finalizer_that_kills_its_process_harms_nobody", finalizer_that_kills_its_process_harms_nobody, on_processes, NULL, NULL },
        { "task_that_runs_another_is_lost_with_it", task_that_runs_another_is_lost_with_it, on_threads, NULL, NULL },
        CONTRACT(callback_that_ends_the_thread_costs_nothing_else),
        CONTRACT(threads_that_callbacks_end_are_replaced),
        CONTRACT(termination_goes_on_when_a_callback_ends_its_thread),
        CONTRACT(pool_breaks_though_callbacks_end_their_thread),
    };

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
