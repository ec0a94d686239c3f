/* SPDX-License-Identifier: MIT */
/* The contract of map with options, and of the progress of maps and imaps, over both back-ends. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <plait.h>

#include "support/backends.h"
#include "support/cmocka.h"

enum { SECONDS = 60, COUNT = 1003 };

/* Seen by workers of both kinds: mapped before the nursery was made. */
static struct shared {
    uint32_t gate;
    uint32_t biggest; /* chunk, in items that a worker had side by side */
} *shared;

/* ---- Task functions ---- */

static int square(plait_task_t *task, const void *arg, size_t size)
{
    long value = *(const long *)arg;

    if (size != sizeof value)
        return plait_task_fail(task, EBADMSG, "not a number");
    if (value == -7)
        return plait_task_fail(task, 7, "no sevens");
    value *= value;
    return plait_task_return(task, &value, sizeof value);
}

static int wait_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    if (*(const long *)arg == 0)
        while (__atomic_load_n(&shared->gate, __ATOMIC_ACQUIRE) == 0 && !plait_task_is_cancelled(task))
            plait_wait(&shared->gate, 0, PLAIT_SHARED, plait_after(0.01));
    return square(task, arg, size);
}

/* Items of one chunk lie side by side: how many in a row has this worker seen? */
static int measure_chunk(plait_task_t *task, const void *arg, size_t size)
{
    static __thread const char *next;
    static __thread uint32_t length;
    uint32_t biggest = __atomic_load_n(&shared->biggest, __ATOMIC_RELAXED);

    length = arg == next ? length + 1 : 1;
    next = (const char *)arg + size;
    while (length > biggest &&
           !__atomic_compare_exchange_n(&shared->biggest, &biggest, length, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    return 0;
}

/* ---- Helpers ---- */

static plait_pool_t *make(unsigned workers)
{
    plait_pool_t *pool = NULL;

    *shared = (struct shared){ 0 };
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = backend, .workers = workers }), 0);
    return pool;
}

static void open_gate(void)
{
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    plait_wake(&shared->gate, UINT_MAX, PLAIT_SHARED);
}

static long items[COUNT], results[COUNT];

static void fill(void)
{
    for (long i = 0; i < COUNT; i++) {
        items[i] = i;
        results[i] = -1;
    }
}

static struct plait_map_opts options(plait_progress_t *progress)
{
    return (struct plait_map_opts){ .items = items, .item_size = sizeof *items, .count = COUNT, .results = results,
                                    .result_size = sizeof *results, .progress = progress };
}

static struct plait_progress_look look_at(plait_progress_t *progress)
{
    struct plait_progress_look look = { 0 };

    plait_progress_look(progress, &look);
    return look;
}

static void await_items(plait_progress_t *progress, uint64_t count)
{
    plait_time_t deadline = plait_after(SECONDS);

    while (look_at(progress).items < count && plait_now() < deadline)
        plait_sleep(0.001);
    assert_true(look_at(progress).items >= count);
}

/* ---- Cases ---- */

static void map_with_options_maps(void **state)
{
    plait_pool_t *pool = make(2);
    struct plait_map_opts opts = options(NULL);

    for (opts.chunk_size = 0; opts.chunk_size < 3 * COUNT; opts.chunk_size = 3 * opts.chunk_size + 1) {
        fill();
        assert_int_equal(plait_pool_map_with(pool, square, &opts, plait_after(SECONDS)), 0);
        for (long i = 0; i < COUNT; i++)
            assert_int_equal(results[i], i * i);
    }
    opts.count = 0;
    assert_int_equal(plait_pool_map_with(pool, square, &opts, PLAIT_NOW), 0);
    assert_int_equal(plait_pool_map_with(pool, square, NULL, PLAIT_NOW), 0);
    assert_int_equal(plait_pool_map_with(pool, NULL, &opts, PLAIT_NOW), EINVAL);
    opts = (struct plait_map_opts){ .item_size = 1, .count = 1 };
    assert_int_equal(plait_pool_map_with(pool, square, &opts, PLAIT_NOW), EINVAL);
    plait_pool_free(pool);
}

static void chunk_size_is_what_workers_get(void **state)
{
    plait_pool_t *pool = make(1);
    struct plait_map_opts opts = options(NULL);

    fill();
    opts.results = NULL;
    opts.chunk_size = 10;
    assert_int_equal(plait_pool_map_with(pool, measure_chunk, &opts, plait_after(SECONDS)), 0);
    assert_int_equal(shared->biggest, 10);
    plait_pool_free(pool);
}

static void map_tells_its_progress(void **state)
{
    plait_pool_t *pool = make(2);
    plait_progress_t progress = { 0 };
    struct plait_map_opts opts = options(&progress);

    fill();
    items[7] = -7; /* fails, and counts */
    assert_int_equal(plait_pool_map_with(pool, square, &opts, plait_after(SECONDS)), 7);
    assert_int_equal(look_at(&progress).items, COUNT);
    assert_int_equal(look_at(&progress).items_total, COUNT);
    fill();
    opts.chunk_size = 50; /* the last one is smaller */
    assert_int_equal(plait_pool_map_with(pool, square, &opts, plait_after(SECONDS)), 0);
    assert_int_equal(look_at(&progress).items, 2 * COUNT);
    assert_int_equal(look_at(&progress).items_total, 2 * COUNT);
    plait_pool_free(pool);
}

/* The first chunk stays; all others are counted meanwhile. */
static void map_counts_chunks_as_they_get_done(void **state)
{
    plait_pool_t *pool = make(2);
    plait_progress_t progress = { 0 };
    struct plait_map_opts opts = options(&progress);
    plait_future_t *future;

    fill();
    opts.results = NULL;
    opts.chunk_size = 10;
    assert_int_equal(plait_pool_map_async_with(pool, wait_at_gate, &opts, &future), 0);
    await_items(&progress, COUNT - 10);
    assert_int_equal(look_at(&progress).items, COUNT - 10);
    assert_false(plait_future_is_ready(future));
    open_gate();
    assert_int_equal(plait_future_wait(future, plait_after(SECONDS)), 0);
    assert_int_equal(look_at(&progress).items, COUNT);
    plait_future_free(future);

    fill();
    *shared = (struct shared){ 0 };
    opts.results = results;
    assert_int_equal(plait_pool_map_with(pool, wait_at_gate, &opts, plait_after(0.5)), ETIMEDOUT);
    assert_true(look_at(&progress).items <= 2 * COUNT - 10);
    assert_int_equal(results[0], 0);
    plait_pool_free(pool);
}

static void map_async_with_options_is_map_async(void **state)
{
    plait_pool_t *pool = make(2);
    plait_progress_t progress = { 0 };
    struct plait_map_opts opts = options(&progress);
    plait_future_t *future;
    const void *bytes;
    size_t size;

    fill();
    assert_int_equal(plait_pool_map_async_with(pool, square, &opts, &future), EINVAL); /* a place for results */
    opts.results = NULL;
    assert_int_equal(plait_pool_map_async_with(pool, square, &opts, NULL), EINVAL);
    assert_int_equal(look_at(&progress).items_total, 0);
    assert_int_equal(plait_pool_map_async_with(pool, square, &opts, &future), 0);
    assert_int_equal(plait_future_get(future, &bytes, &size, plait_after(SECONDS)), 0);
    assert_int_equal(size, COUNT * sizeof(long));
    for (long i = 0; i < COUNT; i++)
        assert_int_equal(((const long *)bytes)[i], i * i);
    assert_int_equal(look_at(&progress).items, COUNT);
    plait_future_free(future);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_map_async_with(pool, square, &opts, &future), EPIPE);
    plait_pool_free(pool);
}

/* Its memory is the caller's again as soon as the future is cancelled; a sanitizer would tell. */
/* So many that their number times the size of what is kept for each is more than a size can say, and comes round to little. */
static void map_async_of_too_many_chunks_has_no_memory(void **state)
{
    plait_pool_t *pool = make(1);

    for (size_t size = 2; size <= 28; size++) {
        plait_future_t *future = NULL;
        struct plait_map_opts opts = { .count = SIZE_MAX / size + 1, .chunk_size = 1 };

        assert_int_equal(plait_pool_map_async_with(pool, square, &opts, &future), ENOMEM);
        assert_null(future);
    }
    plait_pool_free(pool);
}

static void map_cancelled_lets_go_of_the_progress(void **state)
{
    plait_pool_t *pool = make(2);

    for (int i = 0; i < 50; i++) {
        plait_progress_t *progress = calloc(1, sizeof *progress);
        struct plait_map_opts opts = options(progress);
        plait_future_t *future;

        assert_non_null(progress);
        fill();
        opts.results = NULL;
        opts.chunk_size = 5;
        assert_int_equal(plait_pool_map_async_with(pool, wait_at_gate, &opts, &future), 0);
        await_items(progress, (uint64_t)i);
        assert_int_equal(plait_future_cancel(future), 0);
        free(progress);
        plait_future_free(future);
    }
    open_gate();
    plait_pool_free(pool);
}

static void imap_tells_its_progress(void **state)
{
    plait_pool_t *pool = make(2);
    plait_progress_t progress = { 0 };
    struct plait_imap_opts opts = { .items = items, .item_size = sizeof *items, .count = COUNT, .progress = &progress };
    struct plait_imap_result result;
    plait_imap_t *imap;

    fill();
    items[7] = -7;
    assert_int_equal(plait_pool_imap_unordered(pool, square, &opts, &imap), 0);
    assert_int_equal(look_at(&progress).items_total, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_int_equal(look_at(&progress).items, i);
        assert_int_equal(plait_imap_next(imap, &result, plait_after(SECONDS)), 0);
    }
    assert_int_equal(plait_imap_next(imap, &result, plait_after(SECONDS)), EPIPE);
    assert_int_equal(look_at(&progress).items, COUNT);
    plait_imap_free(imap);
    plait_pool_free(pool);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(map_with_options_maps),
        CONTRACT(chunk_size_is_what_workers_get),
        CONTRACT(map_tells_its_progress),
        CONTRACT(map_counts_chunks_as_they_get_done),
        CONTRACT(map_async_with_options_is_map_async),
        CONTRACT(map_async_of_too_many_chunks_has_no_memory),
        CONTRACT(map_cancelled_lets_go_of_the_progress),
        CONTRACT(imap_tells_its_progress),
    };

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
