/* SPDX-License-Identifier: MIT */
/* Initializers that fail, all at once, or in a worker that dies while it tells of it. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <plait.h>

#include "base/atomic.h"
#include "exec/pool_failure.h"
#include "exec/pool_processes.h"
#include "support/pools.h"

enum { WORKERS = 4, CODE = 44 };

/* Seen by workers of both kinds: mapped before the nursery was made. */
static struct shared {
    uint32_t begun, gate, ran;
} *shared;

static plait_pool_t *make(unsigned workers, plait_task_fn *initializer)
{
    *shared = (struct shared){ 0 };
    return pool_make(&(struct plait_pool_opts){ .workers = workers, .min_workers = workers, .initializer = initializer });
}

static int run(plait_task_t *task, const void *arg, size_t size)
{
    add_seqcst(&shared->ran, 1);
    return 0;
}

/* ---- In the initializer ---- */

static int fail_with_all_others(plait_task_t *task, const void *arg, size_t size)
{
    add_seqcst(&shared->begun, 1);
    while (load_acquire(&shared->begun) < WORKERS)
        ;
    return plait_task_fail(task, CODE, "no licence for worker %u", plait_task_worker(task));
}

static int fail_when_told(plait_task_t *task, const void *arg, size_t size)
{
    add_seqcst(&shared->begun, 1);
    while (load_acquire(&shared->gate) == 0)
        plait_wait(&shared->gate, 0, PLAIT_SHARED, PLAIT_FOREVER);
    return CODE;
}

/* ---- Cases ---- */

/* Whichever is the first: what was queued has a reason, and not that the pool was terminated by somebody. */
static void workers_that_fail_at_once_are_one_failure(void **state)
{
    enum { TASKS = 20 };
    int rounds = backend == PLAIT_THREADS ? 300 : 10;

    for (int round = 0; round < rounds; round++) {
        plait_pool_t *pool = make(WORKERS, fail_with_all_others);
        plait_future_t *futures[TASKS];
        int count = 0, err = 0;

        while (count < TASKS && (err = plait_pool_apply_async(pool, run, NULL, 0, &futures[count])) == 0)
            count++;
        assert_true(err == 0 || err == EPIPE);
        for (int i = 0; i < count; i++) {
            assert_int_equal(plait_future_get(futures[i], NULL, NULL, plait_after(POOL_PATIENCE)), CODE);
            assert_non_null(strstr(plait_future_error_text(futures[i]), "has failed: no licence for worker "));
            plait_future_free(futures[i]);
        }
        while (plait_pool_join(pool, plait_after(POOL_PATIENCE)) == EINVAL) /* not one task was queued, and it is not broken yet */
            plait_sleep(0.001);
        assert_int_equal(plait_pool_free(pool), 0);
        assert_int_equal(shared->ran, 0);
    }
}

static void first_one_tells(void **state)
{
    struct plait__pool_failure failure = { 0 };

    assert_false(plait__failure_is_told(&failure));
    assert_true(plait__failure_tell(&failure, 3, CODE, "why"));
    assert_true(plait__failure_is_told(&failure));
    assert_false(plait__failure_tell(&failure, 2, 1, "why not"));
    assert_int_equal(failure.worker, 3);
    assert_int_equal(failure.code, CODE);
    assert_string_equal(failure.text, "why");
    assert_false(plait__failure_is_left(&failure, 3));
}

static void let_them_fail(void)
{
    store_release(&shared->gate, 1);
    plait_wake(&shared->gate, UINT32_MAX, PLAIT_SHARED);
}

/* The one is slow, and has not yet written down why; the other one waits for nothing, and must not end the tasks without the reason. */
static void tasks_do_not_end_before_the_reason_is_there(void **state)
{
    plait_pool_t *pool = make(2, fail_when_told);
    plait_future_t *future = pool_submit(pool, run, NULL, 0);
    plait_time_t end = plait_after(POOL_PATIENCE);
    struct plait_pool_worker worker = { 0 };

    assert_true(pool_reaches(&shared->begun, 2));
    store_release(&pool->failure.word, 2 + 7); /* there is no such worker: both are the other one */
    let_them_fail();
    for (unsigned i = 0; i < 2; i++)
        do {
            plait_sleep(0.001);
            assert_int_equal(plait_pool_worker(pool, i, &worker), 0);
        } while (worker.state != PLAIT_WORKER_NONE && plait_now() < end);
    assert_int_equal(worker.state, PLAIT_WORKER_NONE);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(0.05)), ETIMEDOUT);
    store_release(&pool->failure.word, 0);
    plait__pool_break(pool, 7, CODE, "too late");
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(POOL_PATIENCE)), CODE);
    assert_string_equal(plait_future_error_text(future), "the initializer of worker 7 has failed: too late");
    plait_future_free(future);
    assert_int_equal(plait_pool_join(pool, plait_after(POOL_PATIENCE)), 0);
    assert_int_equal(plait_pool_free(pool), 0);
    assert_int_equal(shared->ran, 0);
}

/* The one is killed while it tells, the other one leaves it at that: nobody else can break the pool, and none works in it. */
static void worker_that_dies_while_it_tells_breaks_the_pool(void **state)
{
    plait_pool_t *pool = make(2, fail_when_told);
    struct plait__pool_shared *inside = ((struct pool *)pool)->shared;
    plait_future_t *future = pool_submit(pool, run, NULL, 0);
    plait_time_t end = plait_after(POOL_PATIENCE);
    struct plait_pool_worker worker;

    assert_true(pool_reaches(&shared->begun, 2));
    store_release(&inside->failure.word, 2 + 1); /* as worker 1 does first */
    assert_int_equal(plait_pool_worker(pool, 1, &worker), 0);
    kill(worker.pid, SIGSTOP); /* where it is not told that it may fail */
    let_them_fail();
    while (load_acquire(&inside->slots[0].state) != SLOT_IDLE && plait_now() < end)
        plait_sleep(0.001);
    assert_int_equal(load_acquire(&inside->slots[0].state), SLOT_IDLE);
    assert_false(plait_future_is_ready(future));
    kill(worker.pid, SIGKILL);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(POOL_PATIENCE)), EOWNERDEAD);
    assert_non_null(strstr(plait_future_error_text(future), "the initializer of worker 1 has failed: "));
    assert_non_null(strstr(plait_future_error_text(future), "killed by signal 9"));
    plait_future_free(future);
    assert_int_equal(plait_pool_join(pool, plait_after(POOL_PATIENCE)), 0);
    assert_int_equal(plait_pool_free(pool), 0);
    assert_int_equal(shared->ran, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(workers_that_fail_at_once_are_one_failure),
        { "first_one_tells", first_one_tells, NULL, NULL, NULL },
        { "tasks_do_not_end_before_the_reason_is_there", tasks_do_not_end_before_the_reason_is_there, on_threads, NULL, NULL },
        { "worker_that_dies_while_it_tells_breaks_the_pool", worker_that_dies_while_it_tells_breaks_the_pool, on_processes, NULL, NULL },
    };

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
