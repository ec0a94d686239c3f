/* SPDX-License-Identifier: MIT */
/*
 * What users of Python's threads, processes, pools and futures, and of libraries like them, have complained about, tried
 * here. Only what no other test has; the numbers are those of cpython's issues where nothing else is said.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/backends.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/watched.h"

enum { SECONDS = 60, JOINERS = 5, PRINTERS = 3 };

/* Seen by workers of both kinds. */
static struct shared {
    uint32_t pid; /* of a worker that is busy; 0: none yet */
} *shared;

static uint32_t stop; /* atomic: for threads that go on and on */

static bool is_stopped(void) { return __atomic_load_n(&stop, __ATOMIC_ACQUIRE); }

static void start_threads(pthread_t *threads, int count, void *(*run)(void *), void *arg)
{
    __atomic_store_n(&stop, 0, __ATOMIC_RELEASE);
    for (int i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, arg), 0);
}

static void join_threads(pthread_t *threads, int count)
{
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

/* ---- #130895, #148318, #92881: join and poll race, or somebody's waitpid takes the status, and the exit code is lost ---- */

static int give_code(const void *arg, size_t size) { return *(const int *)arg; }

static void *reap_all(void *unused)
{
    while (!is_stopped())
        if (waitpid(-1, NULL, WNOHANG) <= 0)
            plait_sleep(20e-6);
    return unused;
}

struct joint {
    plait_process_t *process;
    int expected;
    uint32_t wrong; /* atomic */
};

static void *join_and_look(void *arg)
{
    struct joint *joint = arg;
    int code = -1000;

    while (plait_process_exitcode(joint->process, &code) == EBUSY && plait_process_is_alive(joint->process))
        plait_sleep(20e-6);
    if (plait_process_join(joint->process, plait_after(SECONDS)) != 0 || plait_process_is_alive(joint->process) ||
        plait_process_exitcode(joint->process, &code) != 0 || code != joint->expected)
        __atomic_fetch_add(&joint->wrong, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void process_joined_by_many_beside_a_foreign_waitpid_has_one_status(void **state)
{
    pthread_t reaper, joiners[JOINERS];

    for (int round = 0; round < (is_watched() ? 6 : 40); round++) {
        struct joint joint = { .expected = round };

        start_threads(&reaper, 1, reap_all, NULL);
        assert_int_equal(plait_process_new(&joint.process, &(struct plait_process_opts){
                             .target = give_code, .arg = &round, .arg_size = sizeof round,
                             .method = round % 2 ? PLAIT_FORK : PLAIT_NURSERY }), 0);
        assert_int_equal(plait_process_start(joint.process), 0);
        for (int i = 0; i < JOINERS; i++)
            assert_int_equal(pthread_create(&joiners[i], NULL, join_and_look, &joint), 0);
        for (int i = 0; i < JOINERS; i++)
            pthread_join(joiners[i], NULL);
        join_threads(&reaper, 1);
        assert_int_equal(joint.wrong, 0);
        plait_process_free(joint.process);
    }
}

/* ---- #91776: a child hangs at its end, for it flushes a stream that another thread had locked at the fork ---- */

static FILE *stream;

static void *print_on(void *unused)
{
    while (!is_stopped()) {
        for (int i = 0; i < 200; i++)
            fprintf(stream, "%d\n", i);
        plait_sleep(100e-6);
    }
    return unused;
}

static int print_once(const void *arg, size_t size)
{
    printf("one line\n");
    return stream && fprintf(stream, "another line\n") > 0 ? 5 : 6;
}

static void process_ends_whatever_threads_print_at_its_start(void **state)
{
    pthread_t printers[PRINTERS];

    stream = fopen("/dev/null", "w");
    assert_non_null(stream);
    start_threads(printers, PRINTERS, print_on, NULL);
    for (int i = 0; i < 10; i++) {
        plait_process_t *process;
        int code = -1000;

        assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .target = print_once, .stdout_fd = PLAIT_DEVNULL,
                                                                                   .method = PLAIT_FORK }), 0);
        assert_int_equal(plait_process_start(process), 0);
        assert_int_equal(plait_process_join(process, plait_after(SECONDS)), 0);
        assert_int_equal(plait_process_exitcode(process, &code), 0);
        assert_in_range(code, 5, 6); /* its descriptor is not there, but the stream is no trap */
        plait_process_free(process);
    }
    join_threads(printers, PRINTERS);
    fclose(stream);
}

/* ---- #80961, #86575, #148280, #87135, #124149: at exit, futures hang and threads that run on crash ---- */

static int nap(plait_task_t *task, const void *arg, size_t size) { return plait_sleep(0.001); }
static void ring(plait_timer_t *timer, void *arg) { __atomic_fetch_add((uint32_t *)arg, 1, __ATOMIC_RELAXED); }

static void *get_for_ever(void *queue)
{
    int item;

    while (plait_queue_get(queue, &item, PLAIT_FOREVER) == 0)
        ;
    return NULL;
}

static int exit_in_the_middle_of_all(void *arg)
{
    /* static: a future that is done before exit is in no one's hands but these, and LeakSanitizer would be right */
    static plait_timer_t timer;
    static uint32_t rung;
    static plait_queue_t *queue;
    static plait_pool_t *pool;
    static plait_thread_t *thread;
    static plait_future_t *futures[25];

    if (plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = backend, .workers = 2 }) != 0 ||
        plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = sizeof(int) }) != 0 ||
        plait_thread_new(&thread, &(struct plait_thread_opts){ .target = get_for_ever, .arg = queue, .daemon = true }) != 0 ||
        plait_thread_start(thread) != 0)
        return 1;
    plait_timer_init(&timer, &(struct plait_timer_opts){ .target = ring, .arg = &rung });
    plait_timer_start_every(&timer, PLAIT_NOW, 50e-6);
    for (int i = 0; i < 50; i++)
        if (plait_pool_apply_async(pool, nap, NULL, 0, i % 2 ? &futures[i / 2] : NULL) != 0)
            return 2;
    for (int i = 0; i < 3; i++)
        plait_queue_put(queue, &i, PLAIT_FOREVER);
    exit(42); /* nothing was waited for, closed or freed */
}

static void exit_in_the_middle_of_all_ends_the_program(void **state)
{
    child_await_quiet(0);
    for (int i = 0; i < (is_watched() ? 3 : 20); i++)
        assert_int_equal(child_run(exit_in_the_middle_of_all, NULL), 42);
}

/* ---- #101081: what leaves a task otherwise than by return hangs the pool ---- */

static int leave_by_exit(plait_task_t *task, const void *arg, size_t size) { exit(3); }
static int leave_by_quick_exit(plait_task_t *task, const void *arg, size_t size) { _exit(4); }
static int leave_by_abort(plait_task_t *task, const void *arg, size_t size) { signal(SIGABRT, SIG_DFL); abort(); }
static int succeed(plait_task_t *task, const void *arg, size_t size) { return plait_task_return(task, "x", 1); }

static void task_that_ends_its_process_fails_alone(void **state)
{
    plait_task_fn *const leave[] = { leave_by_exit, leave_by_quick_exit, leave_by_abort };
    plait_future_t *bad, *good;
    plait_pool_t *pool;

    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = PLAIT_PROCESSES, .workers = 1 }), 0);
    for (size_t i = 0; i < sizeof leave / sizeof leave[0]; i++) {
        assert_int_equal(plait_pool_apply_async(pool, leave[i], NULL, 0, &bad), 0);
        assert_int_equal(plait_pool_apply_async(pool, succeed, NULL, 0, &good), 0);
        assert_int_equal(plait_future_get(bad, NULL, NULL, plait_after(SECONDS)), EOWNERDEAD);
        assert_int_equal(plait_future_get(good, NULL, NULL, plait_after(SECONDS)), 0);
        assert_true(plait_future_error_text(bad)[0] != 0); /* #101267, billiard 370: each says what has happened to it */
        plait_future_free(bad);
        plait_future_free(good);
    }
    assert_int_equal(plait_pool_free(pool), 0);
}

/* ---- #73945, #78178: terminate hangs, also when a callback calls it ---- */

static void terminate_it(plait_future_t *future, void *pool) { plait_pool_terminate(pool); }

static int fail_at_once(plait_task_t *task, const void *arg, size_t size) { return plait_task_fail(task, 9, "as planned"); }

static void pool_terminated_by_an_error_callback_ends(void **state)
{
    for (int i = 0; i < (is_watched() ? 3 : 15); i++) {
        plait_pool_t *pool;

        assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = backend, .workers = 2 }), 0);
        for (int k = 0; k < 20; k++) {
            int err = plait_pool_submit(pool, &(struct plait_task_opts){ .fn = k == 3 ? fail_at_once : nap, .context = pool,
                                                                         .error_callback = k == 3 ? terminate_it : NULL }, NULL);
            assert_true(err == 0 || err == EPIPE);
        }
        assert_int_equal(plait_pool_close(pool), 0);
        assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
        assert_int_equal(plait_pool_free(pool), 0);
    }
}

/* ---- #94777, #105829, bpo-17560: deadlocks of who submits a lot, or large things, while a worker dies ---- */

static int take_large(plait_task_t *task, const void *arg, size_t size)
{
    __atomic_store_n(&shared->pid, (uint32_t)getpid(), __ATOMIC_RELEASE);
    return ((const char *)arg)[size - 1] == 'l' ? 0 : 1;
}

static void large_arguments_beside_dying_workers_all_end(void **state)
{
    enum { LARGE = 1 << 20, COUNT = 60 };
    plait_future_t *futures[COUNT];
    char *large = malloc(LARGE);
    plait_pool_t *pool;
    int lost = 0;

    assert_non_null(large);
    memset(large, 'l', LARGE);
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = PLAIT_PROCESSES, .workers = 2 }), 0);
    for (int i = 0; i < COUNT; i++) {
        uint32_t victim = __atomic_exchange_n(&shared->pid, 0, __ATOMIC_ACQ_REL);

        if (victim && i % 5 == 0)
            kill((pid_t)victim, SIGKILL); /* at worst a process that has just ended, and that nobody else has become */
        assert_int_equal(plait_pool_apply_async(pool, take_large, large, LARGE, &futures[i]), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        int err = plait_future_get(futures[i], NULL, NULL, plait_after(SECONDS));

        assert_true(err == 0 || err == EOWNERDEAD);
        lost += err != 0;
        plait_future_free(futures[i]);
    }
    assert_true(lost <= COUNT / 5);
    plait_pool_free(pool);
    free(large);
}

static void a_hundred_thousand_tasks_that_nobody_reads_are_done(void **state)
{
    int count = is_watched() ? 3000 : 100000;
    struct plait_pool_stats stats;
    plait_pool_t *pool;

    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = backend, .workers = 2 }), 0);
    for (int i = 0; i < count; i++)
        assert_int_equal(plait_pool_apply_async(pool, succeed, NULL, 0, NULL), 0);
    assert_int_equal(plait_pool_close(pool), 0);
    assert_int_equal(plait_pool_join(pool, plait_after(2 * SECONDS)), 0);
    plait_pool_stats(pool, &stats);
    assert_int_equal(stats.done, count);
    plait_pool_free(pool);
}

/* ---- loky 1, 101: pools within workers, left as they are, hang at exit ---- */

static int leave_a_pool_behind(plait_task_t *task, const void *arg, size_t size)
{
    plait_pool_t *inner;
    int err = plait_pool_new(&inner, &(struct plait_pool_opts){ .backend = *(const enum plait_backend *)arg, .workers = 2 });

    return err ? err : plait_pool_apply(inner, succeed, NULL, 0, NULL, NULL, plait_after(SECONDS));
}

static void pools_that_tasks_leave_behind_hold_nobody_up(void **state)
{
    plait_pool_t *pool;

#ifdef PLAIT_UNDER_TSAN
    skip(); /* a child of a program with threads may start none there */
#endif
    if (is_emulated())
        skip();
    for (enum plait_backend inner = PLAIT_THREADS; inner <= PLAIT_PROCESSES; inner++) {
        assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = PLAIT_PROCESSES, .workers = 2 }), 0);
        for (int i = 0; i < 4; i++)
            assert_int_equal(plait_pool_apply(pool, leave_a_pool_behind, &inner, sizeof inner, NULL, NULL, plait_after(SECONDS)), 0);
        assert_int_equal(plait_pool_close(pool), 0);
        assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
        assert_int_equal(plait_pool_free(pool), 0);
    }
}

/* ---- #98268, billiard 293, pebble 160: pools that come and go fill /dev/shm ---- */

static void pools_that_come_and_go_leave_nothing_in_dev_shm(void **state)
{
    int before = count_in("/dev/shm", "plait");
    plait_time_t end = plait_after(SECONDS);

    for (int i = 0; i < 20; i++) {
        plait_pool_t *pool;

        assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = PLAIT_PROCESSES, .workers = 1 }), 0);
        assert_int_equal(plait_pool_apply(pool, succeed, NULL, 0, NULL, NULL, plait_after(SECONDS)), 0);
        if (i % 2)
            plait_pool_terminate(pool);
        plait_pool_free(pool);
    }
    while (count_in("/dev/shm", "plait") > before && plait_now() < end) /* other programs may have some for a while */
        plait_sleep(0.01);
    assert_true(count_in("/dev/shm", "plait") <= before);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(exit_in_the_middle_of_all_ends_the_program), /* first: there are no threads yet */
        cmocka_unit_test(process_joined_by_many_beside_a_foreign_waitpid_has_one_status),
        cmocka_unit_test(process_ends_whatever_threads_print_at_its_start),
        cmocka_unit_test(task_that_ends_its_process_fails_alone),
        CONTRACT(pool_terminated_by_an_error_callback_ends),
        cmocka_unit_test(large_arguments_beside_dying_workers_all_end),
        CONTRACT(a_hundred_thousand_tasks_that_nobody_reads_are_done),
        cmocka_unit_test(pools_that_tasks_leave_behind_hold_nobody_up),
        cmocka_unit_test(pools_that_come_and_go_leave_nothing_in_dev_shm),
    };

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
