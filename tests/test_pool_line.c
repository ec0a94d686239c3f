/* SPDX-License-Identifier: MIT */
/* The line of a pool on processes by itself: one thread puts, others take, as workers do. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <plait.h>

#include "exec/pool_line.h"
#include "support/cmocka.h"

enum { TAKERS = 3, ENTRIES = 60000, BURSTS_MAX = 3000, SECONDS = 120 };

static struct {
    plait_arena_t *arena;
    struct plait__line *line;
    plait_queue_t *queue;
    uint32_t taken;               /* atomic */
    uint8_t times[ENTRIES];       /* atomic: that it was taken */
    uint32_t disorders, failures; /* atomic */
} scene;

static struct plait__line_end end_of_line(void)
{
    return (struct plait__line_end){ .base = scene.arena->base, .line = scene.line, .by_priority = scene.queue };
}

static void open_line(bool by_priority, struct plait__line_end *end)
{
    memset(&scene, 0, sizeof scene);
    assert_int_equal(plait_arena_new(&scene.arena, NULL), 0);
    assert_int_equal(plait_arena_alloc(scene.arena, sizeof *scene.line, (void **)&scene.line), 0);
    if (by_priority)
        assert_int_equal(plait_queue_new(&scene.queue, &(struct plait_queue_opts){ .item_size = sizeof(uint64_t), .arena = scene.arena,
                                                                                    .kind = PLAIT_PRIORITY }), 0);
    *end = end_of_line();
    assert_int_equal(plait__line_make(end), 0);
}

static void close_line(void)
{
    plait_queue_free(scene.queue);
    assert_int_equal(plait_arena_free(scene.arena), 0);
}

static unsigned seed(void)
{
    const char *given = getenv("PLAIT_TEST_SEED");
    unsigned number = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);

    printf("PLAIT_TEST_SEED=%u\n", number);
    return number;
}

/* ---- By one thread ---- */

static void entries_come_in_the_order_in_which_they_were_put(void **state)
{
    struct plait__line_end end;
    uint64_t entry, taking = 0, next = 0;

    open_line(false, &end);
    srand(seed());
    for (uint64_t put = 0; put < ENTRIES;) {
        for (int more = rand() % BURSTS_MAX; more > 0 && put < ENTRIES; more--)
            assert_int_equal(plait__line_put(&end, put++, 0), 0);
        for (int some = rand() % BURSTS_MAX; some > 0 && next < put; some--) {
            assert_int_equal(plait__line_get(&end, 0, &taking, &entry, PLAIT_NOW), 0);
            assert_true(entry == next++ && taking == entry);
        }
    }
    while (next < ENTRIES) {
        assert_int_equal(plait__line_get(&end, 0, &taking, &entry, PLAIT_NOW), 0);
        assert_true(entry == next++);
    }
    assert_true(plait__line_is_empty(&end));
    assert_int_equal(plait__line_get(&end, 0, &taking, &entry, plait_after(0.01)), ETIMEDOUT);
    close_line();
}

static void line_by_priority_gives_the_most_urgent_first(void **state)
{
    struct plait__line_end end;
    uint64_t entry, taking = 0;

    open_line(true, &end);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(plait__line_put(&end, i, -(int64_t)i), 0);
    for (uint64_t i = 100; i-- > 0;) {
        assert_int_equal(plait__line_get(&end, 0, &taking, &entry, PLAIT_NOW), 0);
        assert_true(entry == i);
    }
    assert_true(plait__line_is_empty(&end));
    close_line();
}

static void searchers_name_goes_with_it(void **state)
{
    struct plait__line_end end;

    open_line(false, &end);
    plait__line_expect(&end, 4);
    assert_int_equal(scene.line->searcher, 5);
    plait__line_expect(&end, 3); /* there is one */
    plait__line_bury(&end, 3);
    assert_int_equal(scene.line->searcher, 5);
    plait__line_bury(&end, 4);
    assert_int_equal(scene.line->searcher, 0);
    assert_int_equal(plait__line_put(&end, 1, 0), 0);
    plait__line_expect(&end, 4); /* there is something to take */
    assert_int_equal(scene.line->searcher, 0);
    close_line();
}

/* ---- By several ---- */

/* Takes until all are taken; now and then it takes long, says that it will come back, or does not keep its word. */
static void *take_all(void *number)
{
    struct plait__line_end end = end_of_line();
    uint32_t me = (uint32_t)(uintptr_t)number;
    uint64_t taking = 0, entry, last = 0;

    while (__atomic_load_n(&scene.taken, __ATOMIC_ACQUIRE) < ENTRIES) {
        int err = plait__line_get(&end, me, &taking, &entry, plait_after(0.05));

        if (err == ETIMEDOUT)
            continue;
        if (err || entry >= ENTRIES) {
            __atomic_fetch_add(&scene.failures, 1, __ATOMIC_RELAXED);
            return NULL;
        }
        if (!scene.queue && entry < last)
            __atomic_fetch_add(&scene.disorders, 1, __ATOMIC_RELAXED);
        last = entry;
        __atomic_fetch_add(&scene.times[entry], 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&scene.taken, 1, __ATOMIC_RELEASE);
        if (entry % 7 == 0)
            plait__line_expect(&end, me);
        if (entry % 49 == 0)
            plait__line_forget(&end, me);
        if (entry % 5000 == 0)
            nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
    }
    return NULL;
}

/* In bursts, with pauses in between in which all may fall asleep. */
static void put_all(struct plait__line_end *end)
{
    for (uint64_t put = 0; put < ENTRIES;) {
        int pause = rand() % 4;

        for (int more = rand() % (pause ? 8 : BURSTS_MAX); more > 0 && put < ENTRIES; more--)
            assert_int_equal(plait__line_put(end, put++, rand() % 3), 0);
        if (pause == 1)
            nanosleep(&(struct timespec){ 0, rand() % 200000 }, NULL);
    }
}

static void takers_share(bool by_priority)
{
    struct plait__line_end end;
    pthread_t takers[TAKERS];

    open_line(by_priority, &end);
    srand(seed());
    for (uintptr_t i = 0; i < TAKERS; i++)
        assert_int_equal(pthread_create(&takers[i], NULL, take_all, (void *)i), 0);
    put_all(&end);
    for (int i = 0; i < TAKERS; i++)
        pthread_join(takers[i], NULL);
    assert_int_equal(scene.failures, 0);
    assert_int_equal(scene.disorders, 0);
    for (int i = 0; i < ENTRIES; i++)
        assert_int_equal(scene.times[i], 1);
    close_line();
}

static void each_entry_is_taken_once_and_each_taker_sees_them_in_order(void **state) { takers_share(false); }
static void each_entry_is_taken_once_by_priority(void **state) { takers_share(true); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_in_the_order_in_which_they_were_put),
        cmocka_unit_test(line_by_priority_gives_the_most_urgent_first),
        cmocka_unit_test(searchers_name_goes_with_it),
        cmocka_unit_test(each_entry_is_taken_once_and_each_taker_sees_them_in_order),
        cmocka_unit_test(each_entry_is_taken_once_by_priority),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
