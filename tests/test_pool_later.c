/* SPDX-License-Identifier: MIT */
/* Tasks that are run again, when memory, timers and queues fail just then; and many at a time. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <plait.h>

#include "support/pools.h"

#define HOUR 3600.0 /* cut to a minute: longer than anybody waits here */

/* Seen by workers of both kinds: mapped before the nursery was made. */
static struct shared {
    uint32_t runs, early, gate;
    plait_time_t not_before[400]; /* by the failed run of each */
} *shared;

static uint32_t load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static uint32_t count(uint32_t *word) { return __atomic_add_fetch(word, 1, __ATOMIC_ACQ_REL); }

/* ---- What fails ---- */

static uint32_t failing_puts, failing_timers, failing_mallocs; /* atomic: so often; those of other threads than the test's */
static pthread_t test_thread;

static bool fails(uint32_t *times)
{
    uint32_t left = load(times);

    while (left && !__atomic_compare_exchange_n(times, &left, left - 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        ;
    return left != 0;
}

int __real_plait_queue_put_priority(plait_queue_t *queue, const void *item, int64_t priority, plait_time_t deadline);
int __wrap_plait_queue_put_priority(plait_queue_t *queue, const void *item, int64_t priority, plait_time_t deadline);
int __real_plait_timer_start(plait_timer_t *timer, plait_time_t due);
int __wrap_plait_timer_start(plait_timer_t *timer, plait_time_t due);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

int __wrap_plait_queue_put_priority(plait_queue_t *queue, const void *item, int64_t priority, plait_time_t deadline)
{
    return fails(&failing_puts) ? ENOMEM : __real_plait_queue_put_priority(queue, item, priority, deadline);
}

int __wrap_plait_timer_start(plait_timer_t *timer, plait_time_t due)
{
    return fails(&failing_timers) ? ENOMEM : __real_plait_timer_start(timer, due);
}

void *__wrap_malloc(size_t size)
{
    return load(&failing_mallocs) && !pthread_equal(pthread_self(), test_thread) && fails(&failing_mallocs) ? NULL
                                                                                                            : __real_malloc(size);
}

static void let_fail(uint32_t *what, uint32_t times) { __atomic_store_n(what, times, __ATOMIC_RELEASE); }

/* ---- Tasks ---- */

static int fail_at_first(plait_task_t *task, const void *arg, size_t size)
{
    count(&shared->runs);
    return plait_task_attempt(task) ? plait_task_return(task, "there", 5) : plait_task_fail(task, ENODEV, "not yet");
}

static int fail_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    while (!load(&shared->gate))
        plait_wait(&shared->gate, 0, PLAIT_SHARED, plait_after(1));
    return fail_at_first(task, arg, size);
}

/* What comes next has no memory. */
static int fail_and_take_memory(plait_task_t *task, const void *arg, size_t size)
{
    if (plait_task_attempt(task) == 0)
        let_fail(&failing_puts, *(const uint32_t *)arg);
    return fail_at_first(task, arg, size);
}

static int leave_and_take_memory(plait_task_t *task, const void *arg, size_t size)
{
    count(&shared->runs);
    let_fail(&failing_puts, *(const uint32_t *)arg);
    pthread_exit(NULL);
}

/* Fails once, and writes down when it may come again. */
static int fail_for_a_while(plait_task_t *task, const void *arg, size_t size)
{
    unsigned number = *(const unsigned *)arg;

    if (plait_task_attempt(task) == 0) {
        shared->not_before[number] = plait_now() + *((const unsigned *)arg + 1) * 1000000LL;
        return ENODEV;
    }
    if (plait_now() < shared->not_before[number])
        count(&shared->early);
    return 0;
}

/* ---- Helpers ---- */

/* By priority, so that what is queued again needs memory. */
static plait_pool_t *make(void)
{
    *shared = (struct shared){ 0 };
    return pool_make(&(struct plait_pool_opts){ .workers = 1, .by_priority = true });
}

static plait_future_t *submit(plait_pool_t *pool, plait_task_fn *fn, double retry_after, uint32_t times)
{
    plait_future_t *future = NULL;

    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = fn, .arg = &times, .arg_size = sizeof times,
                                                                        .retries = 1, .retry_after = retry_after }, &future), 0);
    return future;
}

static void assert_there(plait_future_t *future)
{
    const void *bytes;
    size_t size;

    assert_int_equal(plait_future_get(future, &bytes, &size, plait_after(20)), 0);
    assert_true(size == 5 && memcmp(bytes, "there", 5) == 0);
    assert_int_equal(shared->runs, 2);
    plait_future_free(future);
}

static void assert_no_memory(plait_future_t *future, const char *text)
{
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(20)), ENOMEM);
    assert_non_null(strstr(plait_future_error_text(future), text));
    assert_int_equal(shared->runs, 1);
    plait_future_free(future);
}

static void assert_works(plait_pool_t *pool)
{
    plait_future_t *future = submit(pool, fail_at_first, 0, 0);

    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(POOL_PATIENCE)), 0);
    plait_future_free(future);
    pool_unmake(pool);
}

/* ---- On threads ---- */

static void who_cannot_queue_it_again_runs_it_again(void **state)
{
    plait_pool_t *pool = make();

    assert_there(submit(pool, fail_and_take_memory, 0, 1));
    assert_int_equal(failing_puts, 0);
    assert_works(pool);
}

static void who_ends_its_thread_and_cannot_queue_it_says_so(void **state)
{
    plait_pool_t *pool = make();

    assert_no_memory(submit(pool, leave_and_take_memory, 0, 1), "no memory to run it again");
    assert_int_equal(failing_puts, 0);
    assert_works(pool);
}

static void timer_that_cannot_queue_it_tries_again(void **state)
{
    plait_pool_t *pool = make();

    assert_there(submit(pool, fail_and_take_memory, 0.001, 3));
    assert_int_equal(failing_puts, 0);
    assert_works(pool);
}

static void task_whose_timer_does_not_start_is_run_again(void **state)
{
    plait_pool_t *pool = make();
    plait_future_t *future;

    let_fail(&failing_timers, 1);
    future = submit(pool, fail_at_first, HOUR, 0);
    assert_there(future);
    assert_int_equal(failing_timers, 0);
    assert_works(pool);
}

static void pool_that_closes_and_cannot_queue_it_says_so(void **state)
{
    plait_pool_t *pool = make();
    plait_future_t *future = submit(pool, fail_at_first, HOUR, 0);
    struct plait_pool_worker worker;
    plait_time_t end = plait_after(POOL_PATIENCE);

    assert_true(pool_reaches(&shared->runs, 1)); /* from its beginning to its end the worker is not idle */
    do
        plait_pool_worker(pool, 0, &worker);
    while (worker.state != PLAIT_WORKER_IDLE && plait_now() < end);
    let_fail(&failing_puts, 1);
    plait_pool_close(pool);
    assert_no_memory(future, "no memory to queue it again");
    assert_int_equal(failing_puts, 0);
    pool_unmake(pool);
}

/* ---- On processes ---- */

static void supervisor_without_memory_queues_it_at_once(void **state)
{
    plait_pool_t *pool = make();
    plait_future_t *future;

    assert_there(submit(pool, fail_at_first, 0, 0)); /* it takes part in the arena from now on */
    shared->runs = 0;
    let_fail(&failing_mallocs, 1);
    future = submit(pool, fail_at_first, HOUR, 0);
    assert_there(future);
    assert_int_equal(failing_mallocs, 0);
    assert_works(pool);
}

/* The first run's end, and then the supervisor, each 0.1 s. */
static void supervisor_that_cannot_queue_it_again_does_so_later(void **state)
{
    plait_pool_t *pool = make();
    plait_future_t *future = submit(pool, fail_at_gate, 0, 0);

    let_fail(&failing_puts, 3);
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    plait_wake(&shared->gate, 1, PLAIT_SHARED);
    assert_there(future);
    assert_int_equal(failing_puts, 0);
    assert_works(pool);
}

static void workers_that_cannot_be_told_of_the_end_are_told_later(void **state)
{
    plait_pool_t *pool = make();

    assert_there(submit(pool, fail_at_first, 0, 0));
    let_fail(&failing_puts, 3);
    pool_unmake(pool);
    assert_int_equal(failing_puts, 0);
}

/* ---- On both ---- */

static void many_are_each_run_at_their_time(void **state)
{
    enum { MANY = sizeof shared->not_before / sizeof shared->not_before[0] };
    plait_pool_t *pool = make();
    plait_future_t *futures[MANY];

    for (unsigned i = 0; i < MANY; i++) {
        unsigned arg[2] = { i, i * 37 % 101 };

        assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = fail_for_a_while, .arg = arg, .arg_size = sizeof arg,
                                                                            .retries = 1, .retry_after = arg[1] / 1000.0 },
                                           &futures[i]), 0);
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(plait_future_get(futures[i], NULL, NULL, plait_after(POOL_PATIENCE)), 0);
        plait_future_free(futures[i]);
    }
    assert_int_equal(shared->early, 0);
    pool_unmake(pool);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        { "who_cannot_queue_it_again_runs_it_again", who_cannot_queue_it_again_runs_it_again, on_threads, NULL, NULL },
        { "who_ends_its_thread_and_cannot_queue_it_says_so", who_ends_its_thread_and_cannot_queue_it_says_so, on_threads, NULL, NULL },
        { "timer_that_cannot_queue_it_tries_again", timer_that_cannot_queue_it_tries_again, on_threads, NULL, NULL },
        { "task_whose_timer_does_not_start_is_run_again", task_whose_timer_does_not_start_is_run_again, on_threads, NULL, NULL },
        { "pool_that_closes_and_cannot_queue_it_says_so", pool_that_closes_and_cannot_queue_it_says_so, on_threads, NULL, NULL },
        { "supervisor_without_memory_queues_it_at_once", supervisor_without_memory_queues_it_at_once, on_processes, NULL, NULL },
        { "supervisor_that_cannot_queue_it_again_does_so_later", supervisor_that_cannot_queue_it_again_does_so_later, on_processes, NULL, NULL },
        { "workers_that_cannot_be_told_of_the_end_are_told_later", workers_that_cannot_be_told_of_the_end_are_told_later, on_processes, NULL, NULL },
        CONTRACT(many_are_each_run_at_their_time),
    };

    test_thread = pthread_self();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
