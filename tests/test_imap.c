/* SPDX-License-Identifier: MIT */
/* The contract of imap and map_async, over both back-ends. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <plait.h>

#include "support/backends.h"
#include "support/cmocka.h"

/* Seen by workers of both kinds: mapped before the nursery was made. */
static struct shared {
    uint32_t gate;
    uint32_t inside; /* tasks that are at the gate */
    uint32_t ran;
    uint32_t stopped;
} *shared;

enum { SECONDS = 60 };

/* ---- Task functions ---- */

static int square(plait_task_t *task, const void *arg, size_t size)
{
    long value = *(const long *)arg;

    if (size != sizeof value)
        return plait_task_fail(task, EBADMSG, "not a number");
    value *= value;
    return plait_task_return(task, &value, sizeof value);
}

static int square_but_not_seven(plait_task_t *task, const void *arg, size_t size)
{
    if (*(const long *)arg % 10 == 7)
        return plait_task_fail(task, 7, "no sevens, so no %ld", *(const long *)arg);
    return square(task, arg, size);
}

static int reversed(plait_task_t *task, const void *arg, size_t size)
{
    const char *from = arg;
    char *to = malloc(size + 1);
    int err;

    if (!to || (uintptr_t)arg % 16) {
        free(to);
        return ENOMEM;
    }
    for (size_t i = 0; i < size; i++)
        to[i] = from[size - 1 - i];
    err = plait_task_return(task, to, size);
    free(to);
    return err;
}

static int stay_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    __atomic_fetch_add(&shared->inside, 1, __ATOMIC_ACQ_REL);
    plait_wake(&shared->inside, UINT_MAX, PLAIT_SHARED);
    while (__atomic_load_n(&shared->gate, __ATOMIC_ACQUIRE) == 0) {
        if (plait_task_is_cancelled(task)) {
            __atomic_fetch_add(&shared->stopped, 1, __ATOMIC_ACQ_REL);
            return EINTR;
        }
        plait_wait(&shared->gate, 0, PLAIT_SHARED, plait_after(0.01));
    }
    return plait_task_return(task, arg, size);
}

static int first_stays(plait_task_t *task, const void *arg, size_t size)
{
    return *(const long *)arg == 0 ? stay_at_gate(task, arg, size) : square(task, arg, size);
}

static int count_run(plait_task_t *task, const void *arg, size_t size)
{
    __atomic_fetch_add(&shared->ran, 1, __ATOMIC_ACQ_REL);
    return 0;
}

static int die_of_thirteen(plait_task_t *task, const void *arg, size_t size)
{
    if (*(const long *)arg == 13)
        kill(getpid(), SIGKILL);
    return square(task, arg, size);
}

static int return_much(plait_task_t *task, const void *arg, size_t size)
{
    size_t much = *(const size_t *)arg;
    char *bytes = malloc(much + 1);
    int err;

    if (!bytes)
        return ENOMEM;
    memset(bytes, 'm', much);
    plait_task_return(task, "less", 4);
    err = plait_task_return(task, bytes, much);
    free(bytes);
    return err;
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

static void await_inside(uint32_t count)
{
    uint32_t seen;

    while ((seen = __atomic_load_n(&shared->inside, __ATOMIC_ACQUIRE)) < count)
        assert_int_equal(plait_wait(&shared->inside, seen, PLAIT_SHARED, plait_after(SECONDS)), 0);
}

static long *numbers(size_t count)
{
    long *items = malloc((count + 1) * sizeof *items);

    assert_non_null(items);
    for (size_t i = 0; i < count; i++)
        items[i] = (long)i;
    return items;
}

/* Numbers from 0, for ever or until one at which it ends with an error. */
struct counter {
    long next, end;
    int err;
};

static int count_up(void *context, const void **item_out, size_t *size_out)
{
    struct counter *counter = context;

    if (counter->err && counter->next == counter->end)
        return counter->err;
    counter->next++;
    *item_out = &(counter->next);
    *size_out = sizeof counter->next;
    return 0;
}

/* ---- Cases ---- */

static void results_come_in_the_order_of_the_items(void **state)
{
    enum { COUNT = 5000 };
    plait_pool_t *pool = make(2);
    long *items = numbers(COUNT);
    struct plait_imap_result r;
    plait_imap_t *imap;

    assert_int_equal(plait_pool_imap(pool, square, &(struct plait_imap_opts){
                         .items = items, .item_size = sizeof *items, .count = COUNT }, &imap), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
        assert_int_equal(r.index, i);
        assert_int_equal(r.code, 0);
        assert_string_equal(r.text, "");
        assert_int_equal(r.size, sizeof(long));
        assert_int_equal((uintptr_t)r.bytes % 16, 0);
        assert_int_equal(*(const long *)r.bytes, i * i);
    }
    assert_int_equal(plait_imap_next(imap, &r, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_imap_next(imap, &r, PLAIT_NOW), EPIPE);
    plait_imap_free(imap);
    free(items);
    plait_pool_free(pool);
}

static void unordered_results_come_once_each(void **state)
{
    enum { COUNT = 3000 };
    plait_pool_t *pool = make(2);
    long *items = numbers(COUNT);
    bool *seen = calloc(COUNT, sizeof *seen);
    struct plait_imap_result r;
    plait_imap_t *imap;

    assert_non_null(seen);
    assert_int_equal(plait_pool_imap_unordered(pool, square, &(struct plait_imap_opts){
                         .items = items, .item_size = sizeof *items, .count = COUNT }, &imap), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
        assert_true(r.index < COUNT && !seen[r.index]);
        seen[r.index] = true;
        assert_int_equal(*(const long *)r.bytes, r.index * r.index);
    }
    assert_int_equal(plait_imap_next(imap, &r, PLAIT_FOREVER), EPIPE);
    plait_imap_free(imap);
    free(seen);
    free(items);
    plait_pool_free(pool);
}

static void unordered_does_not_wait_for_the_slow(void **state)
{
    plait_pool_t *pool = make(2);
    long *items = numbers(6);
    struct plait_imap_result r;
    plait_imap_t *imap;

    assert_int_equal(plait_pool_imap_unordered(pool, first_stays, &(struct plait_imap_opts){
                         .items = items, .item_size = sizeof *items, .count = 6, .chunk_size = 1 }, &imap), 0);
    for (int i = 1; i < 6; i++) {
        assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
        assert_true(r.index > 0);
    }
    assert_int_equal(plait_imap_next(imap, &r, PLAIT_NOW), ETIMEDOUT);
    open_gate();
    assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
    assert_int_equal(r.index, 0);
    assert_int_equal(plait_imap_next(imap, &r, PLAIT_FOREVER), EPIPE);
    plait_imap_free(imap);
    free(items);
    plait_pool_free(pool);
}

static void ordered_waits_for_the_first_until_the_deadline(void **state)
{
    plait_pool_t *pool = make(2);
    long *items = numbers(4);
    struct plait_imap_result r;
    plait_imap_t *imap;

    assert_int_equal(plait_pool_imap(pool, first_stays, &(struct plait_imap_opts){
                         .items = items, .item_size = sizeof *items, .count = 4, .chunk_size = 1 }, &imap), 0);
    assert_int_equal(plait_imap_next(imap, &r, plait_after(0.02)), ETIMEDOUT);
    open_gate();
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
        assert_int_equal(r.index, i);
    }
    plait_imap_free(imap);
    free(items);
    plait_pool_free(pool);
}

struct words {
    size_t next, count;
    char word[300];
};

/* Words of 0 to 299 letters. */
static int next_word(void *context, const void **item_out, size_t *size_out)
{
    struct words *words = context;

    if (words->next == words->count)
        return EPIPE;
    *size_out = words->next * 37 % sizeof words->word;
    for (size_t i = 0; i < *size_out; i++)
        words->word[i] = (char)('a' + (words->next + i) % 26);
    words->next++;
    *item_out = words->word;
    return 0;
}

static void items_and_results_are_of_any_length(void **state)
{
    struct words words = { .count = 1000 }, again = { .count = 1000 };
    plait_pool_t *pool = make(2);
    struct plait_imap_result r;
    plait_imap_t *imap;

    assert_int_equal(plait_pool_imap(pool, reversed, &(struct plait_imap_opts){ .source = next_word, .context = &words }, &imap), 0);
    for (size_t i = 0; i < words.count; i++) {
        const void *word;
        size_t size = 0;

        assert_int_equal(next_word(&again, &word, &size), 0);
        assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
        assert_int_equal(r.size, size);
        for (size_t k = 0; k < size; k++)
            assert_int_equal(((const char *)r.bytes)[k], ((const char *)word)[size - 1 - k]);
    }
    assert_int_equal(plait_imap_next(imap, &r, PLAIT_FOREVER), EPIPE);
    plait_imap_free(imap);
    plait_pool_free(pool);
}

static void large_results_arrive_whole(void **state)
{
    size_t sizes[] = { 0, 3, 255, 256, 257, 5000, 3 << 20 };
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    plait_pool_t *pool = make(1);
    struct plait_imap_result r;
    plait_imap_t *imap;

    assert_int_equal(plait_pool_imap(pool, return_much, &(struct plait_imap_opts){
                         .items = sizes, .item_size = sizeof sizes[0], .count = COUNT, .chunk_size = 3 }, &imap), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
        assert_int_equal(r.size, sizes[i]);
        if (sizes[i]) {
            assert_int_equal(((const char *)r.bytes)[0], 'm');
            assert_int_equal(((const char *)r.bytes)[sizes[i] - 1], 'm');
        }
    }
    plait_imap_free(imap);
    plait_pool_free(pool);
}

static void item_that_fails_concerns_no_other(void **state)
{
    enum { COUNT = 100 };
    plait_pool_t *pool = make(2);
    long *items = numbers(COUNT);
    struct plait_imap_result r;
    plait_imap_t *imap;
    char text[40];

    assert_int_equal(plait_pool_imap(pool, square_but_not_seven, &(struct plait_imap_opts){
                         .items = items, .item_size = sizeof *items, .count = COUNT, .chunk_size = 9 }, &imap), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
        assert_int_equal(r.index, i);
        if (i % 10 == 7) {
            snprintf(text, sizeof text, "no sevens, so no %zu", i);
            assert_int_equal(r.code, 7);
            assert_string_equal(r.text, text);
            assert_int_equal(r.size, 0);
        } else {
            assert_int_equal(r.code, 0);
            assert_int_equal(*(const long *)r.bytes, i * i);
        }
    }
    plait_imap_free(imap);
    free(items);
    plait_pool_free(pool);
}

static void source_that_never_ends_is_asked_no_further_than_the_look_ahead(void **state)
{
    static const struct { size_t look_ahead, chunk_size; } limits[] = { { 10, 0 }, { 1, 0 }, { 10, 4 }, { 3, 7 } };

    for (size_t k = 0; k < sizeof limits / sizeof limits[0]; k++) {
        struct counter counter = { 0 };
        plait_pool_t *pool = make(2);
        struct plait_imap_result r;
        plait_imap_t *imap;

        assert_int_equal(plait_pool_imap(pool, square, &(struct plait_imap_opts){
                             .source = count_up, .context = &counter, .look_ahead = limits[k].look_ahead,
                             .chunk_size = limits[k].chunk_size }, &imap), 0);
        for (long i = 0; i < 500; i++) {
            assert_true(counter.next - i <= (long)limits[k].look_ahead);
            assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
            assert_int_equal(*(const long *)r.bytes, (i + 1) * (i + 1));
        }
        plait_imap_free(imap);
        plait_pool_free(pool);
    }
}

static void short_items_travel_in_large_chunks(void **state)
{
    enum { COUNT = 50000 };
    plait_pool_t *pool = make(2);
    long *items = numbers(COUNT);
    struct plait_pool_stats stats;
    struct plait_imap_result r;
    plait_imap_t *imap;
    size_t read = 0;

    assert_int_equal(plait_pool_imap(pool, count_run, &(struct plait_imap_opts){
                         .items = items, .item_size = sizeof *items, .count = COUNT }, &imap), 0);
    while (plait_imap_next(imap, &r, plait_after(SECONDS)) == 0)
        read++;
    assert_int_equal(read, COUNT);
    assert_int_equal(shared->ran, COUNT);
    plait_pool_stats(pool, &stats);
    assert_true(stats.done < COUNT / 2); /* far fewer, where the machine is not busy with other things */
    plait_imap_free(imap);
    free(items);
    plait_pool_free(pool);
}

static int nap(plait_task_t *task, const void *arg, size_t size)
{
    return plait_sleep(0.003);
}

static void long_items_travel_alone(void **state)
{
    enum { COUNT = 40 };
    plait_pool_t *pool = make(2);
    long *items = numbers(COUNT);
    struct plait_pool_stats stats;
    struct plait_imap_result r;
    plait_imap_t *imap;
    size_t read = 0;

    assert_int_equal(plait_pool_imap(pool, nap, &(struct plait_imap_opts){
                         .items = items, .item_size = sizeof *items, .count = COUNT }, &imap), 0);
    while (plait_imap_next(imap, &r, plait_after(SECONDS)) == 0)
        read++;
    assert_int_equal(read, COUNT);
    plait_pool_stats(pool, &stats);
    assert_int_equal(stats.done, COUNT);
    plait_imap_free(imap);
    free(items);
    plait_pool_free(pool);
}

static void source_that_fails_ends_it_after_what_came_before(void **state)
{
    struct counter counter = { .end = 25, .err = EIO };
    plait_pool_t *pool = make(2);
    struct plait_imap_result r;
    plait_imap_t *imap;

    assert_int_equal(plait_pool_imap(pool, square, &(struct plait_imap_opts){ .source = count_up, .context = &counter }, &imap), 0);
    for (int i = 0; i < 25; i++)
        assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
    assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), EIO);
    assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), EIO);
    plait_imap_free(imap);
    plait_pool_free(pool);
}

static void pool_closed_in_between_is_told(void **state)
{
    struct counter counter = { 0 };
    plait_pool_t *pool = make(1);
    struct plait_imap_result r;
    plait_imap_t *imap;
    long read = 0;
    int err;

    assert_int_equal(plait_pool_imap(pool, square, &(struct plait_imap_opts){
                         .source = count_up, .context = &counter, .look_ahead = 8, .chunk_size = 2 }, &imap), 0);
    assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
    read++;
    plait_pool_close(pool);
    while ((err = plait_imap_next(imap, &r, plait_after(SECONDS))) == 0) {
        assert_int_equal(r.code, 0);
        read++;
    }
    assert_int_equal(err, ECANCELED);
    assert_true(read >= 8);
    assert_int_equal(plait_imap_next(imap, &r, PLAIT_NOW), ECANCELED);
    plait_imap_free(imap);
    assert_int_equal(plait_pool_imap(pool, square, &(struct plait_imap_opts){ .source = count_up, .context = &counter }, &imap), EPIPE);
    plait_pool_free(pool);
}

static void imap_freed_early_cancels_what_is_left(void **state)
{
    plait_pool_t *pool = make(1);
    long *items = numbers(20);
    plait_imap_t *imap;

    assert_int_equal(plait_pool_imap(pool, stay_at_gate, &(struct plait_imap_opts){
                         .items = items, .item_size = sizeof *items, .count = 20, .chunk_size = 1 }, &imap), 0);
    await_inside(1);
    plait_imap_free(imap);
    free(items);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0); /* the gate was not opened */
    assert_int_equal(shared->inside, 1);
    assert_int_equal(shared->stopped, 1);
    plait_pool_free(pool);
    assert_int_equal(plait_imap_free(NULL), 0);
}

static void imap_of_nothing_is_over_at_once(void **state)
{
    plait_pool_t *pool = make(1);
    struct plait_imap_result r;
    plait_imap_t *imap;

    assert_int_equal(plait_pool_imap(pool, square, NULL, &imap), 0);
    assert_int_equal(plait_imap_next(imap, &r, PLAIT_FOREVER), EPIPE);
    plait_imap_free(imap);
    plait_pool_free(pool);
}

static void absurd_arguments_are_refused(void **state)
{
    plait_pool_t *pool = make(1);
    plait_imap_t *imap;

    assert_int_equal(plait_pool_imap(NULL, square, NULL, &imap), EINVAL);
    assert_int_equal(plait_pool_imap(pool, NULL, NULL, &imap), EINVAL);
    assert_int_equal(plait_pool_imap(pool, square, NULL, NULL), EINVAL);
    assert_int_equal(plait_pool_imap(pool, square, &(struct plait_imap_opts){ .count = 3, .item_size = 1 }, &imap), EINVAL);
    assert_int_equal(plait_pool_imap(pool, square, &(struct plait_imap_opts){
                         .items = shared, .count = SIZE_MAX / 2, .item_size = 8 }, &imap), EINVAL);
    plait_pool_free(pool);
}

static void worker_that_is_killed_fails_its_chunk_only(void **state)
{
    enum { COUNT = 40, CHUNK = 5 };
    plait_pool_t *pool;
    struct plait_imap_result r;
    plait_imap_t *imap;
    long *items;

    backend = PLAIT_PROCESSES;
    pool = make(2);
    items = numbers(COUNT);
    assert_int_equal(plait_pool_imap(pool, die_of_thirteen, &(struct plait_imap_opts){
                         .items = items, .item_size = sizeof *items, .count = COUNT, .chunk_size = CHUNK }, &imap), 0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(plait_imap_next(imap, &r, plait_after(SECONDS)), 0);
        assert_int_equal(r.index, i);
        if (i / CHUNK == 13 / CHUNK) {
            assert_int_equal(r.code, EOWNERDEAD);
            assert_non_null(strstr(r.text, "killed by signal 9"));
        } else {
            assert_int_equal(r.code, 0);
        }
    }
    plait_imap_free(imap);
    free(items);
    plait_pool_free(pool);
}

static plait_pool_t *nested_pool;

static int map_inside(plait_task_t *task, const void *arg, size_t size)
{
    struct counter counter = { .end = 50, .err = EPIPE };
    bool unordered = *(const bool *)arg;
    struct plait_imap_opts opts = { .source = count_up, .context = &counter };
    struct plait_imap_result r;
    plait_imap_t *imap;
    long sum = 0;
    int err = unordered ? plait_pool_imap_unordered(nested_pool, square, &opts, &imap)
                        : plait_pool_imap(nested_pool, square, &opts, &imap);

    while (err == 0 && (err = plait_imap_next(imap, &r, plait_after(SECONDS))) == 0)
        sum += *(const long *)r.bytes;
    if (err != EPIPE)
        return err;
    plait_imap_free(imap);
    return plait_task_return(task, &sum, sizeof sum);
}

static void task_that_maps_in_its_own_pool_does_not_deadlock(void **state)
{
    for (int i = 0; i < 2; i++) {
        bool unordered = i;
        long sum = 0;
        size_t size = sizeof sum;

        assert_int_equal(plait_pool_new(&nested_pool, &(struct plait_pool_opts){ .workers = 1 }), 0);
        assert_int_equal(plait_pool_apply(nested_pool, map_inside, &unordered, sizeof unordered, &sum, &size, plait_after(SECONDS)), 0);
        assert_int_equal(sum, 50L * 51 * 101 / 6);
        plait_pool_free(nested_pool);
    }
}

/* ---- Map, without waiting ---- */

static void map_async_gives_all_results_in_place(void **state)
{
    enum { COUNT = 1001 };
    plait_pool_t *pool = make(2);
    long *items = numbers(COUNT);
    plait_future_t *future;
    const void *bytes;
    size_t size;

    assert_int_equal(plait_pool_map_async(pool, square, items, sizeof *items, COUNT, sizeof(long), &future), 0);
    memset(items, 0, COUNT * sizeof *items); /* they were copied */
    assert_int_equal(plait_future_get(future, &bytes, &size, plait_after(SECONDS)), 0);
    assert_int_equal(size, COUNT * sizeof(long));
    for (long i = 0; i < COUNT; i++)
        assert_int_equal(((const long *)bytes)[i], i * i);
    assert_int_equal(plait_future_cancel(future), EINVAL);
    plait_future_free(future);
    free(items);
    plait_pool_free(pool);
}

static void map_async_tells_the_first_failure(void **state)
{
    enum { COUNT = 100 };
    plait_pool_t *pool = make(2);
    long *items = numbers(COUNT);
    plait_future_t *future;

    assert_int_equal(plait_pool_map_async(pool, square_but_not_seven, items, sizeof *items, COUNT, sizeof(long), &future), 0);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), 7);
    assert_string_equal(plait_future_error_text(future), "no sevens, so no 7");
    plait_future_free(future);
    free(items);
    plait_pool_free(pool);
}

static void map_async_of_nothing_is_done(void **state)
{
    plait_pool_t *pool = make(1);
    plait_future_t *future;
    size_t size = 77;

    assert_int_equal(plait_pool_map_async(pool, square, NULL, 8, 0, 8, &future), 0);
    assert_int_equal(plait_future_get(future, NULL, &size, PLAIT_NOW), 0);
    assert_int_equal(size, 0);
    plait_future_free(future);
    assert_int_equal(plait_pool_map_async(pool, NULL, NULL, 8, 0, 8, &future), EINVAL);
    assert_int_equal(plait_pool_map_async(pool, square, NULL, 8, 1, 8, &future), EINVAL);
    assert_int_equal(plait_pool_map_async(pool, square, NULL, 8, 0, 8, NULL), EINVAL);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_map_async(pool, square, shared, 8, 1, 8, &future), EPIPE);
    plait_pool_free(pool);
}

static void map_async_cancelled_stops_its_tasks(void **state)
{
    plait_pool_t *pool = make(1);
    long *items = numbers(20);
    plait_future_t *future;

    assert_int_equal(plait_pool_map_async(pool, stay_at_gate, items, sizeof *items, 20, 0, &future), 0);
    await_inside(1);
    assert_int_equal(plait_future_wait(future, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_future_cancel(future), 0);
    assert_int_equal(plait_future_get(future, NULL, NULL, PLAIT_NOW), ECANCELED);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0); /* the gate was not opened */
    assert_int_equal(plait_future_error(future), ECANCELED);
    plait_future_free(future);
    free(items);
    plait_pool_free(pool);
}

static void map_async_dropped_runs_all_the_same(void **state)
{
    enum { COUNT = 300 };
    plait_pool_t *pool = make(2);
    long *items = numbers(COUNT);
    plait_future_t *future;

    assert_int_equal(plait_pool_map_async(pool, count_run, items, sizeof *items, COUNT, 0, &future), 0);
    plait_future_free(future);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    assert_int_equal(shared->ran, COUNT);
    free(items);
    plait_pool_free(pool);
}

static int map_async_inside(plait_task_t *task, const void *arg, size_t size)
{
    long items[30], sum = 0;
    plait_future_t *future;
    const void *bytes;
    int err;

    for (long i = 0; i < 30; i++)
        items[i] = i;
    err = plait_pool_map_async(nested_pool, square, items, sizeof items[0], 30, sizeof(long), &future);
    if (err == 0)
        err = plait_future_get(future, &bytes, NULL, plait_after(SECONDS));
    if (err)
        return err;
    for (int i = 0; i < 30; i++)
        sum += ((const long *)bytes)[i];
    plait_future_free(future);
    return plait_task_return(task, &sum, sizeof sum);
}

static void task_that_waits_for_a_map_in_its_own_pool_does_not_deadlock(void **state)
{
    long sum = 0;
    size_t size = sizeof sum;

    assert_int_equal(plait_pool_new(&nested_pool, &(struct plait_pool_opts){ .workers = 1 }), 0);
    assert_int_equal(plait_pool_apply(nested_pool, map_async_inside, NULL, 0, &sum, &size, plait_after(SECONDS)), 0);
    assert_int_equal(sum, 29L * 30 * 59 / 6);
    plait_pool_free(nested_pool);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(results_come_in_the_order_of_the_items),
        CONTRACT(unordered_results_come_once_each),
        CONTRACT(unordered_does_not_wait_for_the_slow),
        CONTRACT(ordered_waits_for_the_first_until_the_deadline),
        CONTRACT(items_and_results_are_of_any_length),
        CONTRACT(large_results_arrive_whole),
        CONTRACT(item_that_fails_concerns_no_other),
        CONTRACT(source_that_never_ends_is_asked_no_further_than_the_look_ahead),
        CONTRACT(short_items_travel_in_large_chunks),
        CONTRACT(long_items_travel_alone),
        CONTRACT(source_that_fails_ends_it_after_what_came_before),
        CONTRACT(pool_closed_in_between_is_told),
        CONTRACT(imap_freed_early_cancels_what_is_left),
        CONTRACT(imap_of_nothing_is_over_at_once),
        CONTRACT(absurd_arguments_are_refused),
        cmocka_unit_test(worker_that_is_killed_fails_its_chunk_only),
        cmocka_unit_test(task_that_maps_in_its_own_pool_does_not_deadlock),
        CONTRACT(map_async_gives_all_results_in_place),
        CONTRACT(map_async_tells_the_first_failure),
        CONTRACT(map_async_of_nothing_is_done),
        CONTRACT(map_async_cancelled_stops_its_tasks),
        CONTRACT(map_async_dropped_runs_all_the_same),
        cmocka_unit_test(task_that_waits_for_a_map_in_its_own_pool_does_not_deadlock),
    };

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
