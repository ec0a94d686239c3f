/* SPDX-License-Identifier: MIT */
/* What tasks take that are queued: the memory of the whole program before and after, and whether it comes back into use. */
#include <plait.h>
#include <plait/init.h>
#include <plait/pool.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/cmocka.h"

enum { TASKS = 100000, BYTES_MAX = 200, SECONDS = 120 };

static int add_up(plait_task_t *task, const void *arg, size_t arg_size)
{
    uint64_t sum = *(const uint64_t *)arg + 1;

    return plait_task_return(task, &sum, sizeof sum);
}

/* All that is in memory, shared and not, in bytes. */
static long resident(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long size, pages = 0;

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &size, &pages), 2);
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

static plait_pool_t *paused_pool(void)
{
    plait_pool_t *pool;
    uint64_t none = 0;

    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = PLAIT_PROCESSES, .workers = 2 }), 0);
    assert_int_equal(plait_pool_apply(pool, add_up, &none, sizeof none, NULL, NULL, PLAIT_FOREVER), 0);
    plait_pool_pause(pool);
    return pool;
}

static void queue_all(plait_pool_t *pool, plait_future_t **futures)
{
    for (uint64_t i = 0; i < TASKS; i++)
        assert_int_equal(plait_pool_apply_async(pool, add_up, &i, sizeof i, futures ? &futures[i] : NULL), 0);
}

static void check_results(plait_future_t **futures)
{
    for (uint64_t i = 0; i < TASKS; i++) {
        const void *sum;

        assert_int_equal(plait_future_get(futures[i], &sum, NULL, plait_after(SECONDS)), 0);
        assert_true(*(const uint64_t *)sum == i + 1);
        plait_future_free(futures[i]);
    }
}

static void end(plait_pool_t *pool)
{
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    plait_pool_free(pool);
}

/* Where the allocator and the memory are another's, the figure means nothing. */
static void check_bytes(const char *of, long bytes)
{
    printf("a queued task %s: %.1f bytes\n", of, (double)bytes / TASKS);
    if (!getenv("PLAIT_INSTRUMENTED") || strcmp(getenv("PLAIT_INSTRUMENTED"), "yes") != 0)
        assert_true(bytes <= (long)BYTES_MAX * TASKS);
}

static void queued_task_that_nobody_asks_for_takes_little(void **state)
{
    plait_pool_t *pool = paused_pool();
    long before = resident(), after;
    struct plait_pool_stats stats;

    queue_all(pool, NULL);
    after = resident();
    check_bytes("that nobody asks for", after - before);
    plait_pool_resume(pool);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    plait_pool_stats(pool, &stats);
    assert_int_equal(stats.done, TASKS + 1);
    plait_pool_free(pool);
}

static void queued_task_with_a_future_takes_little(void **state)
{
    plait_future_t **futures = malloc(TASKS * sizeof *futures);
    plait_pool_t *pool = paused_pool();
    long before, after;

    assert_non_null(futures);
    memset(futures, 0, TASKS * sizeof *futures);
    before = resident();
    queue_all(pool, futures);
    after = resident();
    check_bytes("with a future", after - before);
    plait_pool_resume(pool);
    check_results(futures);
    end(pool);
    free(futures);
}

/* The memory of those that have ended is used again. */
static void memory_of_tasks_that_have_ended_is_used_again(void **state)
{
    plait_pool_t *pool = paused_pool();
    long first;

    queue_all(pool, NULL);
    first = resident();
    for (int round = 0; round < 5; round++) {
        uint64_t none = 0;

        plait_pool_resume(pool);
        assert_int_equal(plait_pool_apply(pool, add_up, &none, sizeof none, NULL, NULL, plait_after(SECONDS)), 0);
        plait_pool_pause(pool);
        queue_all(pool, NULL);
    }
    printf("queued six times: %.1f bytes more\n", (double)(resident() - first) / TASKS);
    if (!getenv("PLAIT_INSTRUMENTED") || strcmp(getenv("PLAIT_INSTRUMENTED"), "yes") != 0)
        assert_true(resident() - first <= 20 * (long)TASKS);
    plait_pool_resume(pool);
    end(pool);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queued_task_that_nobody_asks_for_takes_little),
        cmocka_unit_test(queued_task_with_a_future_takes_little),
        cmocka_unit_test(memory_of_tasks_that_have_ended_is_used_again),
    };

    plait_init(&argc, &argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
