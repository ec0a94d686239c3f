/* SPDX-License-Identifier: MIT */
/* The contract of pools' workers, over both back-ends: initializers, renewal, how many there are, the backlog, the table of workers. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <plait.h>

#include "support/cmocka.h"
#include "support/pools.h"

enum { SECONDS = 60, WORKERS = 4, MARKS = 4096 };

/* Seen by workers of both kinds: mapped before the nursery was made. */
static struct shared {
    uint32_t gate;
    uint32_t inside; /* tasks that are at the gate */
    uint32_t begun, ended; /* workers that have run the initializer, and the finalizer */
    uint32_t order_is_wrong;
    uint32_t ran;
    uint32_t mark[MARKS];
} *shared;

static uint32_t load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static void count(uint32_t *word) { __atomic_fetch_add(word, 1, __ATOMIC_ACQ_REL); }

/* ---- Functions of tasks and workers ---- */

/* Of one worker: thread-local, and in a process of its own anyway. */
static __thread long prepared;

static int prepare(plait_task_t *task, const void *arg, size_t size)
{
    if (prepared)
        count(&shared->order_is_wrong);
    prepared = *(const long *)arg;
    count(&shared->begun);
    return 0;
}

static int tidy(plait_task_t *task, const void *arg, size_t size)
{
    if (prepared != *(const long *)arg)
        count(&shared->order_is_wrong);
    prepared = 0;
    count(&shared->ended);
    return 0;
}

static int show_prepared(plait_task_t *task, const void *arg, size_t size)
{
    return plait_task_return(task, &prepared, sizeof prepared);
}

static int refuse(plait_task_t *task, const void *arg, size_t size)
{
    return plait_task_fail(task, 44, "no licence for worker %u", plait_task_worker(task));
}

static int die(plait_task_t *task, const void *arg, size_t size)
{
    raise(SIGKILL);
    return 0;
}

/* The first worker waits at the gate in its initializer. */
static int wait_in_initializer(plait_task_t *task, const void *arg, size_t size)
{
    count(&shared->begun);
    while (load(&shared->gate) == 0)
        plait_wait(&shared->gate, 0, PLAIT_SHARED, PLAIT_FOREVER);
    return 0;
}

static int refuse_in_the_end(plait_task_t *task, const void *arg, size_t size)
{
    wait_in_initializer(task, arg, size);
    return refuse(task, arg, size);
}

static int stay_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    count(&shared->inside);
    plait_wake(&shared->inside, UINT_MAX, PLAIT_SHARED);
    while (load(&shared->gate) == 0 && !plait_task_is_cancelled(task))
        plait_wait(&shared->gate, 0, PLAIT_SHARED, plait_after(0.05));
    return 0;
}

static int count_run(plait_task_t *task, const void *arg, size_t size)
{
    count(&shared->ran);
    return 0;
}

static int mark(plait_task_t *task, const void *arg, size_t size)
{
    count(&shared->ran);
    count(&shared->mark[*(const long *)arg]);
    return 0;
}

/* Which worker thread or process is it? */
static int tell_who(plait_task_t *task, const void *arg, size_t size)
{
    uintptr_t who = (uintptr_t)getpid() << 32 ^ (uintptr_t)pthread_self();

    return plait_task_return(task, &who, sizeof who);
}

/* ---- Helpers ---- */

static plait_pool_t *make(const struct plait_pool_opts *opts)
{
    struct plait_pool_opts mine = *opts;
    plait_pool_t *pool = NULL;

    *shared = (struct shared){ 0 };
    mine.backend = backend;
    assert_int_equal(plait_pool_new(&pool, &mine), 0);
    return pool;
}

static void open_gate(void)
{
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    plait_wake(&shared->gate, UINT_MAX, PLAIT_SHARED);
}

static unsigned workers_of(const plait_pool_t *pool)
{
    struct plait_pool_stats stats;

    plait_pool_stats(pool, &stats);
    return stats.workers;
}

static bool comes_to_have(const plait_pool_t *pool, unsigned workers)
{
    plait_time_t end = plait_after(SECONDS);

    while (workers_of(pool) != workers && plait_now() < end)
        plait_sleep(0.001);
    return workers_of(pool) == workers;
}

/* ---- Initializer and finalizer ---- */

static void each_worker_begins_and_ends_with_its_functions(void **state)
{
    long number = 77;
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = WORKERS, .initializer = prepare, .finalizer = tidy,
                                                         .init_arg = &number, .init_arg_size = sizeof number });
    number = 78; /* it was copied */
    for (int i = 0; i < 50; i++) {
        long seen = 0;
        size_t size = sizeof seen;

        assert_int_equal(plait_pool_apply(pool, show_prepared, NULL, 0, &seen, &size, plait_after(SECONDS)), 0);
        assert_int_equal(seen, 77);
    }
    pool_unmake(pool);
    assert_int_equal(shared->begun, WORKERS);
    assert_int_equal(shared->ended, WORKERS);
    assert_int_equal(shared->order_is_wrong, 0);
}

static void initializer_that_fails_breaks_the_pool(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2, .initializer = refuse, .finalizer = tidy, .init_arg = "12345678",
                                                         .init_arg_size = 8 });
    plait_future_t *future = NULL;
    int err = plait_pool_apply_async(pool, count_run, NULL, 0, &future);

    assert_true(err == 0 || err == EPIPE); /* it may be broken already */
    if (err == 0) {
        assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), 44);
        assert_non_null(strstr(plait_future_error_text(future), "the initializer of worker "));
        assert_non_null(strstr(plait_future_error_text(future), "no licence for worker "));
        plait_future_free(future);
    }
    assert_true(comes_to_have(pool, 0));
    assert_int_equal(plait_pool_apply(pool, count_run, NULL, 0, NULL, NULL, plait_after(SECONDS)), EPIPE);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    assert_int_equal(plait_pool_free(pool), 0);
    assert_int_equal(shared->ran, 0);
    assert_int_equal(shared->ended, 0);
}

/* Tasks that were there before it failed. */
static void tasks_in_the_queue_of_a_broken_pool_have_its_reason(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .initializer = refuse_in_the_end });
    plait_future_t *futures[20];

    for (int i = 0; i < 20; i++)
        futures[i] = pool_submit(pool, count_run, NULL, 0);
    assert_true(pool_reaches(&shared->begun, 1));
    open_gate();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(plait_future_get(futures[i], NULL, NULL, plait_after(SECONDS)), 44);
        assert_string_equal(plait_future_error_text(futures[i]), "the initializer of worker 0 has failed: no licence for worker 0");
        plait_future_free(futures[i]);
    }
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    assert_int_equal(plait_pool_free(pool), 0);
    assert_int_equal(shared->ran, 0);
}

static void pool_terminated_while_its_workers_prepare_cancels_what_is_queued(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .min_workers = 1, .initializer = wait_in_initializer });
    plait_future_t *futures[20];

    for (int i = 0; i < 20; i++)
        futures[i] = pool_submit(pool, count_run, NULL, 0);
    assert_true(pool_reaches(&shared->begun, 1));
    plait_pool_terminate(pool);
    open_gate();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(plait_future_get(futures[i], NULL, NULL, plait_after(SECONDS)), ECANCELED);
        assert_string_equal(plait_future_error_text(futures[i]), "the pool was terminated");
        plait_future_free(futures[i]);
    }
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    assert_int_equal(plait_pool_free(pool), 0);
    assert_int_equal(shared->ran, 0);
}

/* Python's multiprocessing.Pool starts such workers again for ever. */
static void workers_that_die_in_their_initializer_break_the_pool(void **state)
{
    plait_pool_t *pool;
    plait_future_t *future;

    backend = PLAIT_PROCESSES;
    pool = make(&(struct plait_pool_opts){ .workers = 1, .initializer = die });
    future = pool_submit(pool, count_run, NULL, 0);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), EOWNERDEAD);
    assert_non_null(strstr(plait_future_error_text(future), "killed by signal 9"));
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    plait_future_free(future);
    plait_pool_free(pool);
}

static void worker_that_prepares_is_shown_so(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .initializer = wait_in_initializer });
    struct plait_pool_worker worker;

    assert_true(pool_reaches(&shared->begun, 1));
    assert_int_equal(plait_pool_worker(pool, 0, &worker), 0);
    assert_int_equal(worker.state, PLAIT_WORKER_PREPARING);
    open_gate();
    pool_unmake(pool);
}

/* ---- Renewal ---- */

static void workers_are_renewed_and_no_task_is_lost(void **state)
{
    enum { TASKS = 300, EACH = 7 };
    long number = 5;
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 3, .tasks_per_worker = EACH, .initializer = prepare,
                                                         .finalizer = tidy, .init_arg = &number, .init_arg_size = sizeof number });
    struct plait_pool_worker worker;
    struct plait_pool_stats stats;
    unsigned restarts = 0;

    for (long i = 0; i < TASKS; i++)
        assert_int_equal(plait_pool_apply_async(pool, mark, &i, sizeof i, NULL), 0);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    for (long i = 0; i < TASKS; i++)
        assert_int_equal(shared->mark[i], 1);
    plait_pool_stats(pool, &stats);
    assert_int_equal(stats.done, TASKS);
    for (unsigned i = 0; plait_pool_worker(pool, i, &worker) == 0; i++)
        restarts += worker.restarts;
    assert_int_equal(restarts, 0); /* nobody has died */
    assert_int_equal(plait_pool_free(pool), 0);
    assert_int_equal(shared->begun, shared->ended);
    assert_int_equal(shared->order_is_wrong, 0);
    if (backend == PLAIT_PROCESSES)
        assert_true(shared->begun >= TASKS / EACH);
}

static void renewed_worker_is_another_thread_or_process(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .tasks_per_worker = 1 });
    plait_future_t *futures[8];
    unsigned changes = 0;

    for (int i = 0; i < 8; i++) /* none is missed while the next is being started */
        futures[i] = pool_submit(pool, tell_who, NULL, 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(plait_future_wait(futures[i], plait_after(SECONDS)), 0);
    for (int i = 1; i < 8; i++) {
        const void *a, *b;

        assert_int_equal(plait_future_get(futures[i - 1], &a, NULL, PLAIT_NOW), 0);
        assert_int_equal(plait_future_get(futures[i], &b, NULL, PLAIT_NOW), 0);
        changes += memcmp(a, b, sizeof(uintptr_t)) != 0;
    }
    for (int i = 0; i < 8; i++)
        plait_future_free(futures[i]);
    /* Each next one is started before the last has ended, so it has another address; the one after may have the first's. */
    assert_int_equal(changes, 7);
    pool_unmake(pool);
}

/* ---- How many there are ---- */

static void elastic_pool_grows_with_its_tasks_and_shrinks_without(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = WORKERS, .min_workers = 1, .idle_time = 0.05 });
    plait_future_t *futures[2 * WORKERS];

    for (int round = 0; round < 3; round++) {
        assert_true(comes_to_have(pool, 1));
        *shared = (struct shared){ 0 };
        for (unsigned i = 0; i < 3; i++) {
            futures[i] = pool_submit(pool, stay_at_gate, NULL, 0);
            assert_true(pool_reaches(&shared->inside, i + 1));
            assert_true(workers_of(pool) <= i + 1); /* never more than tasks */
        }
        for (unsigned i = 3; i < 2 * WORKERS; i++)
            futures[i] = pool_submit(pool, stay_at_gate, NULL, 0);
        assert_true(pool_reaches(&shared->inside, WORKERS));
        assert_true(comes_to_have(pool, WORKERS));
        open_gate();
        for (unsigned i = 0; i < 2 * WORKERS; i++) {
            assert_int_equal(plait_future_get(futures[i], NULL, NULL, plait_after(SECONDS)), 0);
            plait_future_free(futures[i]);
        }
    }
    pool_unmake(pool);
}

static void fixed_pool_stays_as_it_is(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 3, .idle_time = 0.001 });

    assert_true(comes_to_have(pool, 3));
    plait_sleep(0.03);
    assert_int_equal(workers_of(pool), 3);
    pool_unmake(pool);
}

/* Tasks come at all moments, also in the one in which a worker goes. */
static void elastic_pool_that_breathes_loses_no_task(void **state)
{
    enum { TASKS = 1500 };
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = WORKERS, .min_workers = 1, .idle_time = 0.0005 });

    for (long i = 0; i < TASKS; i++) {
        assert_int_equal(plait_pool_apply_async(pool, mark, &i, sizeof i, NULL), 0);
        if (i % 10 == 9)
            plait_sleep(0.0001 * (double)(i / 10 % 12));
    }
    pool_unmake(pool);
    for (long i = 0; i < TASKS; i++)
        assert_int_equal(shared->mark[i], 1);
}

static void elastic_pool_with_everything_loses_no_task(void **state)
{
    enum { TASKS = 600 };
    long number = 6;
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = WORKERS, .min_workers = 2, .idle_time = 0.001, .tasks_per_worker = 5,
                                                         .backlog = 3, .by_priority = true, .initializer = prepare, .finalizer = tidy,
                                                         .init_arg = &number, .init_arg_size = sizeof number });

    for (long i = 0; i < TASKS; i++) {
        assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = mark, .arg = &i, .arg_size = sizeof i, .priority = i % 7 },
                                           NULL), 0);
        if (i % 50 == 49)
            plait_sleep(0.004);
    }
    pool_unmake(pool);
    for (long i = 0; i < TASKS; i++)
        assert_int_equal(shared->mark[i], 1);
    assert_int_equal(shared->begun, shared->ended);
    assert_int_equal(shared->order_is_wrong, 0);
}

static void elastic_pool_grows_after_it_was_closed(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2, .min_workers = 1 });

    plait_pool_pause(pool);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_pool_apply_async(pool, stay_at_gate, NULL, 0, NULL), 0);
    plait_pool_close(pool);
    plait_pool_resume(pool);
    assert_true(pool_reaches(&shared->inside, 1));
    open_gate();
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    assert_int_equal(shared->inside, 2);
    plait_pool_free(pool);
}

/* ---- The backlog ---- */

static int square(plait_task_t *task, const void *arg, size_t size)
{
    long value = *(const long *)arg;

    value *= value;
    return plait_task_return(task, &value, sizeof value);
}

static int square_but_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    int code = *(const long *)arg < 0 ? stay_at_gate(task, NULL, 0) : 0;

    return code ? code : square(task, arg, size);
}

/* A pool of one worker, which is busy, and whose backlog of two is full. */
static plait_pool_t *make_full(enum plait_when_full when_full)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .backlog = 2, .when_full = when_full });

    assert_int_equal(plait_pool_apply_async(pool, stay_at_gate, NULL, 0, NULL), 0);
    assert_true(pool_reaches(&shared->inside, 1));
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, NULL), 0);
    return pool;
}

static void full_backlog_refuses(void **state)
{
    plait_pool_t *pool = make_full(PLAIT_FULL_REFUSES);
    struct plait_pool_stats stats;
    plait_future_t *future = NULL;

    assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, &future), EAGAIN);
    assert_null(future);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = count_run }, NULL), EAGAIN);
    plait_pool_stats(pool, &stats);
    assert_int_equal(stats.pending, 2);
    open_gate();
    assert_true(pool_reaches(&shared->ran, 2));
    while (plait_pool_apply_async(pool, count_run, NULL, 0, NULL) == EAGAIN)
        plait_sleep(0.001);
    pool_unmake(pool);
    assert_int_equal(shared->ran, 3);
}

static void huge_backlog_is_never_full(void **state)
{
    static const size_t huge[] = { SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2 + 1, SIZE_MAX / 2 };

    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2, .backlog = huge[i], .when_full = PLAIT_FULL_REFUSES });

        plait_pool_pause(pool);
        for (int task = 0; task < 10; task++)
            assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, NULL), 0);
        plait_pool_resume(pool);
        pool_unmake(pool);
        assert_int_equal(shared->ran, 10);
    }
}

static void full_backlog_makes_the_caller_wait(void **state)
{
    plait_pool_t *pool = make_full(PLAIT_FULL_WAITS);
    plait_cancel_t token;
    plait_time_t start = plait_now();

    plait_cancel_init(&token, 0);
    plait_cancel_set_deadline(&token, plait_after(0.03));
    plait_cancel_bind(&token);
    assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, NULL), ECANCELED);
    plait_cancel_bind(NULL);
    assert_true(plait_now() - start >= 30000000);
    open_gate();
    for (int i = 0; i < 200; i++)
        assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, NULL), 0);
    pool_unmake(pool);
    assert_int_equal(shared->ran, 202);
}

static void full_backlog_is_waited_for_until_the_deadline(void **state)
{
    static const double patience[] = { 0, 0.03 };
    plait_pool_t *pool = make_full(PLAIT_FULL_WAITS);
    long items[4] = { 1, 2, 3, 4 }, results[4];

    for (int i = 0; i < 2; i++) {
        plait_time_t start = plait_now(), until = patience[i] > 0 ? plait_after(patience[i]) : PLAIT_NOW;

        assert_int_equal(plait_pool_apply(pool, count_run, NULL, 0, NULL, NULL, until), ETIMEDOUT);
        assert_true(plait_now() >= until && plait_now() - start < 10000000000);
        until = patience[i] > 0 ? plait_after(patience[i]) : PLAIT_NOW;
        memset(results, 1, sizeof results);
        assert_int_equal(plait_pool_map(pool, square, items, sizeof items[0], 4, results, sizeof results[0], until), ETIMEDOUT);
        assert_true(plait_now() >= until && plait_now() - start < 20000000000);
        for (int j = 0; j < 4; j++)
            assert_int_equal(results[j], 0);
    }
    open_gate();
    assert_int_equal(plait_pool_apply(pool, count_run, NULL, 0, NULL, NULL, plait_after(SECONDS)), 0);
    pool_unmake(pool);
    assert_int_equal(shared->ran, 3);
}

/* What could be submitted has its results, if it is done. */
static void map_cut_by_its_deadline_has_what_was_done(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .backlog = 1 });
    long items[] = { 2, 3, -1, 4, 5, 6 }, results[6];
    struct plait_map_opts opts = { .items = items, .item_size = sizeof items[0], .count = 6, .results = results,
                                   .result_size = sizeof results[0], .chunk_size = 1 };

    assert_int_equal(plait_pool_map_with(pool, square_but_at_gate, &opts, plait_after(0.2)), ETIMEDOUT);
    for (int i = 2; i < 6; i++)
        assert_int_equal(results[i], 0);
    open_gate();
    assert_int_equal(plait_pool_map_with(pool, square_but_at_gate, &opts, plait_after(SECONDS)), 0);
    for (int i = 0; i < 6; i++)
        assert_int_equal(results[i], items[i] * items[i]);
    pool_unmake(pool);
}

static void imap_waits_for_room_until_the_deadline(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .backlog = 2 });
    long items[6] = { 0, 1, 2, 3, 4, 5 };
    struct plait_imap_opts opts = { .items = items, .item_size = sizeof items[0], .count = 6, .chunk_size = 1, .look_ahead = 1 };
    struct plait_imap_result result;
    plait_imap_t *imap;
    plait_time_t until;

    assert_int_equal(plait_pool_imap(pool, square, &opts, &imap), 0);
    assert_int_equal(plait_imap_next(imap, &result, plait_after(SECONDS)), 0);
    assert_int_equal(plait_pool_apply_async(pool, stay_at_gate, NULL, 0, NULL), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, NULL), 0);
    assert_int_equal(plait_imap_next(imap, &result, PLAIT_NOW), ETIMEDOUT);
    until = plait_after(0.03);
    assert_int_equal(plait_imap_next(imap, &result, until), ETIMEDOUT);
    assert_true(plait_now() >= until);
    open_gate();
    for (long i = 1; i < 6; i++) {
        assert_int_equal(plait_imap_next(imap, &result, plait_after(SECONDS)), 0);
        assert_int_equal(result.index, i);
        assert_int_equal(*(const long *)result.bytes, i * i);
    }
    assert_int_equal(plait_imap_next(imap, &result, PLAIT_NOW), EPIPE);
    plait_imap_free(imap);
    pool_unmake(pool);
}

/* It neither keeps the imap from being made, nor results that are there from being read. */
static void imap_with_chunks_does_not_wait_for_room(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .backlog = 2 });
    long items[6] = { 0, 1, 2, 3, 4, 5 };
    struct plait_imap_opts opts = { .items = items, .item_size = sizeof items[0], .count = 6, .chunk_size = 1 };
    struct plait_imap_result result;
    plait_imap_t *imap;

    assert_int_equal(plait_pool_apply_async(pool, stay_at_gate, NULL, 0, NULL), 0);
    assert_int_equal(plait_pool_imap(pool, square, &opts, &imap), 0);
    assert_int_equal(plait_imap_next(imap, &result, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_imap_next(imap, &result, plait_after(0.03)), ETIMEDOUT);
    open_gate();
    for (long i = 0; i < 6; i++) {
        assert_int_equal(plait_imap_next(imap, &result, plait_after(SECONDS)), 0);
        assert_int_equal(result.index, i);
    }
    plait_imap_free(imap);
    pool_unmake(pool);
}

static void full_backlog_makes_the_caller_run_it(void **state)
{
    plait_pool_t *pool = make_full(PLAIT_FULL_RUNS_HERE);
    struct plait_pool_stats stats;
    uintptr_t me = (uintptr_t)getpid() << 32 ^ (uintptr_t)pthread_self();
    plait_future_t *future;
    const void *who;
    size_t size;

    future = pool_submit(pool, tell_who, NULL, 0);
    assert_true(plait_future_is_ready(future));
    assert_int_equal(plait_future_get(future, &who, &size, PLAIT_NOW), 0);
    assert_int_equal(size, sizeof me);
    assert_memory_equal(who, &me, sizeof me);
    plait_future_free(future);
    future = pool_submit(pool, refuse, NULL, 0);
    assert_int_equal(plait_future_error(future), 44);
    plait_future_free(future);
    plait_pool_stats(pool, &stats);
    assert_int_equal(stats.done, 2);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.pending, 2);
    open_gate();
    pool_unmake(pool);
}

static void *submit_one(void *pool)
{
    return (void *)(intptr_t)plait_pool_apply_async(pool, count_run, NULL, 0, NULL);
}

static void who_waits_for_room_learns_of_the_end(void **state)
{
    plait_pool_t *pool = make_full(PLAIT_FULL_WAITS);
    plait_thread_t *thread;
    void *result;

    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = submit_one, .arg = pool }), 0);
    assert_int_equal(plait_thread_start(thread), 0);
    plait_sleep(0.01);
    plait_pool_close(pool);
    assert_int_equal(plait_thread_join(thread, &result, plait_after(SECONDS)), 0);
    assert_int_equal((intptr_t)result, EPIPE);
    plait_thread_free(thread);
    open_gate();
    pool_unmake(pool);
    assert_int_equal(shared->ran, 2);
}

static void cancelled_task_makes_room(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 1, .backlog = 1, .when_full = PLAIT_FULL_REFUSES });
    plait_future_t *future;

    assert_int_equal(plait_pool_apply_async(pool, stay_at_gate, NULL, 0, NULL), 0);
    assert_true(pool_reaches(&shared->inside, 1));
    future = pool_submit(pool, count_run, NULL, 0);
    assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, NULL), EAGAIN);
    assert_int_equal(plait_future_cancel(future), 0);
    assert_int_equal(plait_pool_apply_async(pool, count_run, NULL, 0, NULL), 0);
    plait_future_free(future);
    open_gate();
    pool_unmake(pool);
    assert_int_equal(shared->ran, 1);
}

static plait_pool_t *own_pool;

static int submit_to_own_pool(plait_task_t *task, const void *arg, size_t size)
{
    for (int i = 0; i < 20; i++)
        if (plait_pool_apply_async(own_pool, count_run, NULL, 0, NULL) != 0)
            return 1;
    return 0;
}

static void task_that_fills_its_own_pool_does_not_wait_for_itself(void **state)
{
    backend = PLAIT_THREADS;
    own_pool = make(&(struct plait_pool_opts){ .workers = 1, .backlog = 2 });
    assert_int_equal(plait_pool_apply(own_pool, submit_to_own_pool, NULL, 0, NULL, NULL, plait_after(SECONDS)), 0);
    pool_unmake(own_pool);
    assert_int_equal(shared->ran, 20);
}

struct flood {
    plait_pool_t *pool;
    long first, count;
};

static uint32_t accepted; /* by the pool, as its submitters have been told */

static void *submit_many(void *arg)
{
    const struct flood *flood = arg;

    for (long i = 0; i < flood->count; i++) {
        long number = flood->first + i;

        if (plait_pool_apply_async(flood->pool, mark, &number, sizeof number, NULL) != 0)
            return arg;
        count(&accepted);
    }
    return NULL;
}

/* And the limit holds at each moment. */
static void many_who_wait_for_room_lose_nothing(void **state)
{
    enum { SUBMITTERS = 4, EACH = 500, BACKLOG = 3 };
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2, .backlog = BACKLOG });
    plait_thread_t *threads[SUBMITTERS];
    struct flood floods[SUBMITTERS];
    uint32_t most = 0;

    accepted = 0;
    for (long i = 0; i < SUBMITTERS; i++) {
        floods[i] = (struct flood){ pool, i * EACH, EACH };
        assert_int_equal(plait_thread_new(&threads[i], &(struct plait_thread_opts){ .target = submit_many, .arg = &floods[i] }), 0);
        assert_int_equal(plait_thread_start(threads[i]), 0);
    }
    for (int i = 0; i < SUBMITTERS; i++) {
        void *failed;

        while (plait_thread_join(threads[i], &failed, plait_after(0.0001)) == ETIMEDOUT) {
            uint32_t so_many = load(&accepted), ran = load(&shared->ran);

            if (so_many > ran && so_many - ran > most)
                most = so_many - ran;
        }
        assert_null(failed);
        plait_thread_free(threads[i]);
    }
    pool_unmake(pool);
    for (long i = 0; i < SUBMITTERS * EACH; i++)
        assert_int_equal(shared->mark[i], 1);
    assert_true(most <= BACKLOG + 2);
}

static void map_is_not_refused_by_a_backlog(void **state)
{
    enum { COUNT = 1000 };
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2, .backlog = 1, .when_full = PLAIT_FULL_REFUSES });
    static long items[COUNT], results[COUNT];

    for (long i = 0; i < COUNT; i++)
        items[i] = i;
    assert_int_equal(plait_pool_map(pool, square, items, sizeof items[0], COUNT, results, sizeof results[0], plait_after(SECONDS)), 0);
    for (long i = 0; i < COUNT; i++)
        assert_int_equal(results[i], i * i);
    pool_unmake(pool);
}

/* ---- The table ---- */

static void table_shows_what_each_does_and_since_when(void **state)
{
    plait_pool_t *pool = make(&(struct plait_pool_opts){ .workers = 2 });
    struct plait_pool_worker a, b, worker;
    plait_future_t *future;
    plait_time_t before;

    for (unsigned i = 0; i < 2; i++)
        do
            assert_int_equal(plait_pool_worker(pool, i, &worker), 0);
        while (worker.state != PLAIT_WORKER_IDLE);
    assert_int_equal(plait_pool_apply(pool, refuse, NULL, 0, NULL, NULL, plait_after(SECONDS)), 44);
    before = plait_now();
    future = pool_submit(pool, stay_at_gate, NULL, 0);
    assert_true(pool_reaches(&shared->inside, 1));
    assert_int_equal(plait_pool_worker(pool, 0, &a), 0);
    assert_int_equal(plait_pool_worker(pool, 1, &b), 0);
    if (a.state != PLAIT_WORKER_BUSY) {
        worker = a;
        a = b;
        b = worker;
    }
    assert_int_equal(a.state, PLAIT_WORKER_BUSY);
    assert_ptr_equal(a.task, stay_at_gate);
    assert_true(a.since > before - 20000000 && a.since <= plait_now());
    assert_int_equal(b.state, PLAIT_WORKER_IDLE);
    assert_null(b.task);
    assert_true(b.since > 0 && b.since <= plait_now());
    assert_int_equal(a.done + b.done, 1);
    assert_int_equal(a.failed + b.failed, 1);
    assert_true(a.pid > 0 && b.pid > 0);
    open_gate();
    assert_int_equal(plait_future_wait(future, plait_after(SECONDS)), 0);
    plait_future_free(future);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    assert_int_equal(plait_pool_worker(pool, 0, &a), 0);
    assert_int_equal(a.state, PLAIT_WORKER_NONE);
    assert_int_equal(plait_pool_worker(pool, 2, &a), EINVAL);
    plait_pool_free(pool);
}

static void absurd_options_are_refused(void **state)
{
    static const struct plait_pool_opts bad[] = {
        { .workers = 2, .min_workers = 3 }, { .workers = 1, .idle_time = -1 },      { .workers = 1, .init_arg_size = 5 },
        { .workers = 1, .when_full = 3 },   { .workers = 1, .when_full = (enum plait_when_full)-1 }, { .workers = 1025 },
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct plait_pool_opts opts = bad[i];
        plait_pool_t *pool = NULL;

        opts.backend = backend;
        assert_int_equal(plait_pool_new(&pool, &opts), EINVAL);
        assert_null(pool);
    }
}

/* ---- Deaths ---- */

static void elastic_workers_killed_at_random_lose_no_task(void **state)
{
    enum { COUNT = 1200, KILL_EACH = 60 };
    plait_future_t **futures = malloc(COUNT * sizeof *futures);
    unsigned lost = 0;
    long number = 9;
    plait_pool_t *pool;

    assert_non_null(futures);
    backend = PLAIT_PROCESSES;
    pool = make(&(struct plait_pool_opts){ .workers = 3, .min_workers = 1, .idle_time = 0.002, .tasks_per_worker = 50,
                                           .initializer = prepare, .init_arg = &number, .init_arg_size = sizeof number });
    for (long i = 0; i < COUNT; i++) {
        struct plait_pool_worker worker;

        futures[i] = pool_submit(pool, square, &i, sizeof i);
        if (i % KILL_EACH == KILL_EACH - 1 && plait_pool_worker(pool, (unsigned)(i / KILL_EACH) % 3, &worker) == 0 && worker.pid > 0)
            kill(worker.pid, SIGKILL);
        if (i % KILL_EACH == KILL_EACH / 2)
            plait_sleep(0.004);
    }
    for (long i = 0; i < COUNT; i++) {
        const void *bytes;
        int err = plait_future_get(futures[i], &bytes, NULL, plait_after(SECONDS));

        assert_true(err == 0 || err == EOWNERDEAD);
        lost += err != 0;
        if (err == 0)
            assert_int_equal(*(const long *)bytes, i * i);
        plait_future_free(futures[i]);
    }
    assert_true(lost <= COUNT / KILL_EACH);
    pool_unmake(pool);
    free(futures);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(each_worker_begins_and_ends_with_its_functions),
        CONTRACT(initializer_that_fails_breaks_the_pool),
        CONTRACT(tasks_in_the_queue_of_a_broken_pool_have_its_reason),
        CONTRACT(pool_terminated_while_its_workers_prepare_cancels_what_is_queued),
        cmocka_unit_test(workers_that_die_in_their_initializer_break_the_pool),
        CONTRACT(worker_that_prepares_is_shown_so),
        CONTRACT(workers_are_renewed_and_no_task_is_lost),
        CONTRACT(renewed_worker_is_another_thread_or_process),
        CONTRACT(elastic_pool_grows_with_its_tasks_and_shrinks_without),
        CONTRACT(fixed_pool_stays_as_it_is),
        CONTRACT(elastic_pool_that_breathes_loses_no_task),
        CONTRACT(elastic_pool_with_everything_loses_no_task),
        CONTRACT(elastic_pool_grows_after_it_was_closed),
        CONTRACT(full_backlog_refuses),
        CONTRACT(huge_backlog_is_never_full),
        CONTRACT(full_backlog_makes_the_caller_wait),
        CONTRACT(full_backlog_is_waited_for_until_the_deadline),
        CONTRACT(map_cut_by_its_deadline_has_what_was_done),
        CONTRACT(imap_waits_for_room_until_the_deadline),
        CONTRACT(imap_with_chunks_does_not_wait_for_room),
        CONTRACT(full_backlog_makes_the_caller_run_it),
        CONTRACT(who_waits_for_room_learns_of_the_end),
        CONTRACT(cancelled_task_makes_room),
        cmocka_unit_test(task_that_fills_its_own_pool_does_not_wait_for_itself),
        CONTRACT(many_who_wait_for_room_lose_nothing),
        CONTRACT(map_is_not_refused_by_a_backlog),
        CONTRACT(table_shows_what_each_does_and_since_when),
        CONTRACT(absurd_options_are_refused),
        cmocka_unit_test(elastic_workers_killed_at_random_lose_no_task),
    };

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
