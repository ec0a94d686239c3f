/* SPDX-License-Identifier: MIT */
/*
 * The contract of the kinds of plait_queue_t, and of what is there for all kinds beyond put and get: priorities, batches, looks,
 * overflow rules. Each in private and shared, bounded and unbounded. What a queue does is compared with a plain model.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/queue_scene.h"

enum { MANY = 3000, SECONDS = 30 };

static struct plait_queue_opts options(enum plait_queue_kind kind, size_t item_size, size_t maxsize)
{
    return (struct plait_queue_opts){ .kind = kind, .item_size = item_size, .maxsize = maxsize };
}

static void put(plait_queue_t *q, uint64_t number)
{
    assert_int_equal(plait_queue_put(q, &number, PLAIT_NOW), 0);
}

static void gets(plait_queue_t *q, uint64_t number)
{
    uint64_t got = ~number;

    assert_int_equal(plait_queue_get(q, &got, PLAIT_NOW), 0);
    assert_int_equal(got, number);
}

/* ---- Order, against a model ---- */

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

/* What has been put and not got, in the order of the puts. */
static struct model {
    int64_t priority;
    uint64_t number;
} model[MANY];
static size_t model_count;

static size_t next_of_model(enum plait_queue_kind kind, bool largest_first)
{
    size_t next = 0;

    if (kind == PLAIT_FIFO || kind == PLAIT_DEQUE)
        return 0;
    if (kind == PLAIT_LIFO)
        return model_count - 1;
    for (size_t i = 1; i < model_count; i++)
        if (largest_first ? model[i].priority > model[next].priority : model[i].priority < model[next].priority)
            next = i;
    return next;
}

/* The bytes of an item are told by its number. */
static void fill(unsigned char *item, size_t size, uint64_t number)
{
    for (size_t i = 0; i < size; i++)
        item[i] = (unsigned char)(number * 31 + number / 200 + i);
}

static int64_t some_priority(void)
{
    static const int64_t some[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX };

    return draw(4) ? (int64_t)draw(20) : some[draw(sizeof some / sizeof *some)];
}

static void behaves_as_the_model(bool shared, struct plait_queue_opts opts)
{
    plait_queue_t *q = make(shared, opts);
    unsigned char *item = malloc(2 * opts.item_size), *expected = item + opts.item_size;
    uint64_t number = 0;

    assert_non_null(item);
    model_count = 0;
    for (int i = 0; i < 3 * MANY; i++) {
        bool fills = (i / 700) % 3 != 2; /* fuller and fuller, emptier and emptier */
        bool puts = draw(100) < (fills ? 65 : 20);

        assert_int_equal(plait_queue_qsize(q), model_count);
        if (puts && model_count < (opts.maxsize ? opts.maxsize : MANY)) {
            struct model m = { opts.kind == PLAIT_PRIORITY ? some_priority() : 0, number++ };

            fill(item, opts.item_size, m.number);
            assert_int_equal(opts.kind == PLAIT_PRIORITY ? plait_queue_put_priority(q, item, m.priority, PLAIT_NOW)
                                                         : plait_queue_put(q, item, PLAIT_NOW), 0);
            model[model_count++] = m;
        } else if (puts) {
            assert_true(!opts.maxsize || plait_queue_is_full(q));
            if (opts.maxsize)
                assert_int_equal(plait_queue_put(q, item, PLAIT_NOW), ETIMEDOUT);
        } else if (model_count) {
            size_t next = next_of_model(opts.kind, opts.largest_first);
            int64_t priority = model[next].priority;

            fill(expected, opts.item_size, model[next].number);
            assert_int_equal(plait_queue_peek(q, item, PLAIT_NOW), 0);
            assert_memory_equal(item, expected, opts.item_size);
            memset(item, 0, opts.item_size);
            assert_int_equal(opts.kind == PLAIT_PRIORITY ? plait_queue_get_priority(q, item, &priority, PLAIT_NOW)
                                                         : plait_queue_get(q, item, PLAIT_NOW), 0);
            assert_memory_equal(item, expected, opts.item_size);
            assert_true(priority == model[next].priority);
            memmove(&model[next], &model[next + 1], (--model_count - next) * sizeof *model);
        } else {
            assert_int_equal(plait_queue_get(q, item, PLAIT_NOW), ETIMEDOUT);
            assert_int_equal(plait_queue_peek(q, item, PLAIT_NOW), ETIMEDOUT);
        }
    }
    free(item);
    drop(q); /* with what is in it */
}

static void items_come_out_by_their_kind(void **state)
{
    static const size_t sizes[] = { 1, 8, 20, 64, 65, 72, 73, 3000 };

    random_state = 1;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int shared = 0; shared < 2; shared++)
            for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++)
                for (int bounded = 0; bounded < 2; bounded++) {
                    struct plait_queue_opts opts = options(kind, sizes[s], bounded ? 100 + 7 * s : 0);

                    opts.largest_first = kind == PLAIT_PRIORITY && draw(2);
                    behaves_as_the_model(shared, opts);
                }
}

static void largest_come_first_if_wanted_and_equal_ones_as_they_came(void **state)
{
    struct plait_queue_opts opts = options(PLAIT_PRIORITY, 8, 0);
    uint64_t number = 0;

    opts.largest_first = 1;
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make(shared, opts);
        static const int64_t priorities[] = { 5, INT64_MIN, 7, INT64_MAX, 7, 5 };
        static const uint64_t order[] = { 3, 2, 4, 0, 5, 1 };

        for (number = 0; number < 6; number++)
            assert_int_equal(plait_queue_put_priority(q, &number, priorities[number], PLAIT_NOW), 0);
        for (int i = 0; i < 6; i++) {
            int64_t priority;

            assert_int_equal(plait_queue_get_priority(q, &number, &priority, PLAIT_NOW), 0);
            assert_int_equal(number, order[i]);
            assert_true(priority == priorities[number]);
        }
        drop(q);
    }
}

static void plain_put_and_get_of_a_queue_by_priority_are_of_priority_0(void **state)
{
    plait_queue_t *q = make(false, options(PLAIT_PRIORITY, 8, 0));
    uint64_t number = 1;
    int64_t priority = -5;

    assert_int_equal(plait_queue_put_priority(q, &number, 1, PLAIT_NOW), 0);
    put(q, 2);
    number = 3;
    assert_int_equal(plait_queue_put_priority(q, &number, -1, PLAIT_NOW), 0);
    gets(q, 3);
    assert_int_equal(plait_queue_get_priority(q, &number, &priority, PLAIT_NOW), 0);
    assert_int_equal(number, 2);
    assert_int_equal(priority, 0);
    assert_int_equal(plait_queue_get_priority(q, &number, NULL, PLAIT_NOW), 0);
    assert_int_equal(number, 1);
    drop(q);
}

static void priorities_are_for_queues_by_priority(void **state)
{
    for (int kind = PLAIT_FIFO; kind < PLAIT_PRIORITY; kind++) {
        plait_queue_t *q = make(false, options(kind, 8, 0));
        uint64_t number = 1;

        assert_int_equal(plait_queue_kind(q), kind);
        assert_int_equal(plait_queue_put_priority(q, &number, 1, PLAIT_NOW), EINVAL);
        assert_true(plait_queue_is_empty(q));
        put(q, 4);
        assert_int_equal(plait_queue_get_priority(q, &number, NULL, PLAIT_NOW), EINVAL);
        gets(q, 4);
        drop(q);
    }
}

/* ---- Memory ---- */

static void unbounded_pile_gives_its_memory_back(void **state)
{
    static const size_t sizes[] = { 8, 200 };

    for (int kind = PLAIT_LIFO; kind <= PLAIT_DEQUE; kind++)
        for (int s = 0; s < 2; s++) {
            plait_queue_t *q = make(true, options(kind, sizes[s], 0));
            char item[200] = { 0 };
            size_t before, filled;

            assert_int_equal(plait_queue_put(q, item, PLAIT_NOW), 0);
            before = used();
            for (int i = 0; i < 20000; i++)
                assert_int_equal(plait_queue_put(q, item, PLAIT_NOW), 0);
            filled = used();
            assert_true(filled > 20000 * sizes[s]);
            for (int i = 0; i < 20000; i++)
                assert_int_equal(plait_queue_get(q, item, PLAIT_NOW), 0);
            assert_true(used() < before + filled / 50);
            drop(q);
        }
}

static void pile_goes_on_after_the_arena_was_full(void **state)
{
    for (int kind = PLAIT_LIFO; kind <= PLAIT_DEQUE; kind++)
        for (int large = 0; large < 2; large++) {
            struct plait_queue_opts opts = options(kind, large ? 100 : 8, 0);
            char item[100] = { 0 };
            plait_queue_t *q;
            int err;
            long count = 0;

            assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 2u << 20 }), 0);
            opts.arena = arena;
            assert_int_equal(plait_queue_new(&q, &opts), 0);
            while ((err = plait_queue_put(q, item, PLAIT_NOW)) == 0)
                count++;
            assert_int_equal(err, ENOSPC);
            assert_int_equal(plait_queue_qsize(q), count);
            for (long i = 0; i < count; i++)
                assert_int_equal(plait_queue_get(q, item, PLAIT_NOW), 0);
            assert_int_equal(plait_queue_get(q, item, PLAIT_NOW), ETIMEDOUT);
            assert_int_equal(plait_queue_put(q, item, PLAIT_NOW), 0);
            drop(q);
        }
}

/* ---- Overflow ---- */

static void refusing_queue_does_not_wait(void **state)
{
    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++) {
        struct plait_queue_opts opts = options(kind, 8, 2);
        plait_queue_t *q;
        uint64_t number = 3;

        opts.overflow = PLAIT_OVERFLOW_REFUSE;
        q = make(kind == PLAIT_LIFO, opts);
        put(q, 1);
        put(q, 2);
        assert_int_equal(plait_queue_put(q, &number, PLAIT_FOREVER), ETIMEDOUT);
        assert_int_equal(plait_queue_qsize(q), 2);
        assert_int_equal(plait_queue_dropped(q), 0);
        drop(q);
    }
}

static void newest_is_dropped_and_counted(void **state)
{
    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++) {
        struct plait_queue_opts opts = options(kind, 8, 3);
        plait_queue_t *q;

        opts.overflow = PLAIT_OVERFLOW_DROP_NEWEST;
        q = make(kind == PLAIT_FIFO, opts);
        for (uint64_t i = 0; i < 10; i++)
            put(q, i);
        assert_int_equal(plait_queue_dropped(q), 7);
        assert_int_equal(plait_queue_qsize(q), 3);
        for (uint64_t i = 0; i < 3; i++)
            gets(q, kind == PLAIT_LIFO ? 2 - i : i);
        drop(q);
    }
}

static void oldest_is_dropped_and_counted(void **state)
{
    for (int kind = PLAIT_FIFO; kind <= PLAIT_LIFO; kind++)
        for (int shared = 0; shared < 2; shared++) {
            struct plait_queue_opts opts = options(kind, 8, 3);
            plait_queue_t *q;
            uint64_t items[4];
            size_t count;

            opts.overflow = PLAIT_OVERFLOW_DROP_OLDEST;
            q = make(shared, opts);
            for (uint64_t i = 0; i < 10; i++) {
                put(q, i);
                assert_int_equal(plait_queue_qsize(q), i < 3 ? i + 1 : 3);
            }
            assert_int_equal(plait_queue_dropped(q), 7);
            gets(q, kind == PLAIT_FIFO ? 7 : 9);
            put(q, 10); /* there is room */
            assert_int_equal(plait_queue_dropped(q), 7);
            assert_int_equal(plait_queue_put_many(q, (uint64_t[]){ 20, 21 }, 2, NULL, PLAIT_FOREVER), 0);
            assert_int_equal(plait_queue_dropped(q), 9);
            assert_int_equal(plait_queue_get_many(q, items, 1, 4, &count, PLAIT_NOW), 0);
            assert_int_equal(count, 3);
            assert_int_equal(items[0], kind == PLAIT_FIFO ? 10 : 21);
            assert_int_equal(items[1], 20);
            assert_int_equal(items[2], kind == PLAIT_FIFO ? 21 : 10);
            drop(q);
        }
}

/* ---- Batches and looks ---- */

static void batches_go_in_and_come_out_in_order(void **state)
{
    static uint64_t in[500], out[500];

    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++)
        for (int shared = 0; shared < 2; shared++)
            for (int bounded = 0; bounded < 2; bounded++) {
                plait_queue_t *q = make(shared, options(kind, 8, bounded ? 300 : 0));
                size_t done = 99, count = 99;

                for (size_t i = 0; i < 500; i++)
                    in[i] = i;
                assert_int_equal(plait_queue_put_many(q, in, 500, &done, PLAIT_NOW), bounded ? ETIMEDOUT : 0);
                assert_int_equal(done, bounded ? 300 : 500);
                assert_int_equal(plait_queue_get_many(q, out, 1, 200, &count, PLAIT_NOW), 0);
                assert_int_equal(count, 200);
                for (size_t i = 0; i < 200; i++)
                    assert_int_equal(out[i], kind == PLAIT_LIFO ? done - 1 - i : i);
                assert_int_equal(plait_queue_get_many(q, out, done, done, &count, PLAIT_NOW), ETIMEDOUT);
                assert_int_equal(count, done - 200);
                assert_int_equal(plait_queue_get_many(q, out, 0, 5, &count, PLAIT_FOREVER), 0);
                assert_int_equal(count, 0);
                assert_int_equal(plait_queue_get_many(q, out, 1, 5, &count, PLAIT_NOW), ETIMEDOUT);
                assert_int_equal(plait_queue_get_many(q, out, 6, 5, &count, PLAIT_NOW), EINVAL);
                assert_int_equal(plait_queue_put_many(q, in, 0, &done, PLAIT_NOW), 0);
                assert_int_equal(done, 0);
                assert_int_equal(plait_queue_put_many(q, in, 3, NULL, PLAIT_NOW), 0);
                assert_int_equal(plait_queue_close(q), 0);
                assert_int_equal(plait_queue_put_many(q, in, 3, &done, PLAIT_NOW), EPIPE);
                assert_int_equal(done, 0);
                assert_int_equal(plait_queue_get_many(q, out, 5, 5, &count, PLAIT_FOREVER), EPIPE);
                assert_int_equal(count, 3);
                drop(q);
            }
}

struct waiter {
    plait_queue_t *q;
    size_t min, max, count;
    uint64_t items[100];
    int err;
};

static void *get_batch(void *arg)
{
    struct waiter *w = arg;

    w->err = plait_queue_get_many(w->q, w->items, w->min, w->max, &w->count, plait_after(SECONDS));
    return NULL;
}

static void *put_batch(void *arg)
{
    struct waiter *w = arg;

    w->err = plait_queue_put_many(w->q, w->items, w->max, &w->count, plait_after(SECONDS));
    return NULL;
}

static void *peek(void *arg)
{
    struct waiter *w = arg;

    w->err = plait_queue_peek(w->q, w->items, plait_after(SECONDS));
    return NULL;
}

static void pause_a_little(void)
{
    plait_sleep_until(plait_after(0.02));
}

static void batch_waits_until_it_has_enough(void **state)
{
    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++)
        for (int shared = 0; shared < 2; shared++) {
            plait_queue_t *q = make(shared, options(kind, 8, 10));
            struct waiter w = { .q = q, .min = 25, .max = 25 };
            pthread_t thread;
            uint64_t sum = 0;

            assert_int_equal(pthread_create(&thread, NULL, get_batch, &w), 0);
            pause_a_little();
            for (uint64_t i = 1; i <= 25; i++)
                assert_int_equal(plait_queue_put(q, &i, plait_after(SECONDS)), 0);
            assert_int_equal(pthread_join(thread, NULL), 0);
            assert_int_equal(w.err, 0);
            assert_int_equal(w.count, 25);
            for (int i = 0; i < 25; i++)
                sum += w.items[i];
            assert_int_equal(sum, 25 * 26 / 2);
            drop(q);
        }
}

static void batch_waits_for_room(void **state)
{
    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++)
        for (int shared = 0; shared < 2; shared++) {
            plait_queue_t *q = make(shared, options(kind, 8, 4));
            struct waiter w = { .q = q, .max = 30 };
            pthread_t thread;
            uint64_t number, sum = 0;

            for (uint64_t i = 0; i < 30; i++)
                w.items[i] = i;
            assert_int_equal(pthread_create(&thread, NULL, put_batch, &w), 0);
            pause_a_little();
            for (int i = 0; i < 30; i++) {
                assert_int_equal(plait_queue_get(q, &number, plait_after(SECONDS)), 0);
                sum += number;
            }
            assert_int_equal(pthread_join(thread, NULL), 0);
            assert_int_equal(w.err, 0);
            assert_int_equal(w.count, 30);
            assert_int_equal(sum, 30 * 29 / 2);
            drop(q);
        }
}

/* A batch serves as many sleepers, and whoever only looks hands the wake on. */
static void batch_and_look_wake_all_whom_they_serve(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make(shared, options(PLAIT_LIFO, 8, 0));
        struct waiter looker = { .q = q }, w[5];
        pthread_t look, threads[5];

        assert_int_equal(pthread_create(&look, NULL, peek, &looker), 0);
        pause_a_little();
        for (int i = 0; i < 5; i++) {
            w[i] = (struct waiter){ .q = q, .min = 1, .max = 1 };
            assert_int_equal(pthread_create(&threads[i], NULL, get_batch, &w[i]), 0);
        }
        pause_a_little();
        assert_int_equal(plait_queue_put_many(q, (uint64_t[]){ 1, 2, 3, 4, 5, 6 }, 6, NULL, PLAIT_NOW), 0);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_int_equal(w[i].err, 0);
        }
        assert_int_equal(pthread_join(look, NULL), 0);
        assert_int_equal(looker.err, 0);
        assert_int_equal(plait_queue_qsize(q), 1);
        drop(q);
    }
}

static void look_leaves_the_item_and_ends_with_the_queue(void **state)
{
    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++)
        for (int shared = 0; shared < 2; shared++) {
            plait_queue_t *q = make(shared, options(kind, 8, 0));
            uint64_t number = 0;

            put(q, 7);
            for (int i = 0; i < 3; i++) {
                number = 0;
                assert_int_equal(plait_queue_peek(q, &number, PLAIT_FOREVER), 0);
                assert_int_equal(number, 7);
            }
            assert_int_equal(plait_queue_close(q), 0);
            assert_int_equal(plait_queue_peek(q, &number, PLAIT_FOREVER), 0);
            gets(q, 7);
            assert_int_equal(plait_queue_peek(q, &number, PLAIT_FOREVER), EPIPE);
            drop(q);
            q = make(shared, options(kind, 8, 0));
            put(q, 7);
            assert_int_equal(plait_queue_close_now(q), 0);
            assert_int_equal(plait_queue_peek(q, &number, PLAIT_FOREVER), EPIPE);
            assert_int_equal(plait_queue_qsize(q), 0);
            drop(q);
        }
}

static void snapshot_shows_what_is_there(void **state)
{
    static uint64_t items[6000];

    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++)
        for (int shared = 0; shared < 2; shared++)
            for (int bounded = 0; bounded < 2; bounded++) {
                plait_queue_t *q = make(shared, options(kind, 8, bounded ? 5000 : 0));
                size_t count = 99;
                uint64_t sum = 0;

                assert_int_equal(plait_queue_snapshot(q, items, 6000, &count), 0);
                assert_int_equal(count, 0);
                for (uint64_t i = 0; i < 5000; i++)
                    put(q, i);
                for (uint64_t i = 0; i < 10; i++)
                    gets(q, kind == PLAIT_LIFO ? 4999 - i : i);
                assert_int_equal(plait_queue_snapshot(q, items, 6000, &count), 0);
                assert_int_equal(count, 4990);
                for (uint64_t i = 0; i < 4990; i++) {
                    if (kind != PLAIT_PRIORITY)
                        assert_int_equal(items[i], kind == PLAIT_LIFO ? 4989 - i : i + 10);
                    sum += items[i];
                }
                assert_int_equal(sum, kind == PLAIT_LIFO ? 4989ul * 4990 / 2 : 4999ul * 5000 / 2 - 45);
                assert_int_equal(items[0], kind == PLAIT_LIFO ? 4989 : 10);
                assert_int_equal(plait_queue_snapshot(q, items, 3, &count), 0);
                assert_int_equal(count, 3);
                assert_int_equal(plait_queue_qsize(q), 4990);
                assert_int_equal(plait_queue_close_now(q), 0);
                assert_int_equal(plait_queue_snapshot(q, items, 6000, &count), 0);
                assert_int_equal(count, 0);
                drop(q);
            }
}

static void snapshot_of_a_queue_by_priority_begins_with_what_get_would_take(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make(shared, options(PLAIT_PRIORITY, 8, 0));
        uint64_t items[20], seen, number;
        size_t count;

        for (uint64_t i = 0; i < 20; i++) {
            assert_int_equal(plait_queue_put_priority(q, &i, i % 2 ? -(int64_t)i : (int64_t)i, PLAIT_NOW), 0);
            assert_int_equal(plait_queue_snapshot(q, items, 20, &count), 0);
            assert_int_equal(count, i + 1);
            assert_int_equal(items[0], i % 2 ? i : i ? i - 1 : 0);
            seen = 0;
            for (size_t k = 0; k < count; k++)
                seen |= (uint64_t)1 << items[k];
            assert_true(seen == ((uint64_t)2 << i) - 1);
        }
        for (int i = 19; i > 0; i -= 2) {
            assert_int_equal(plait_queue_peek(q, &number, PLAIT_NOW), 0);
            assert_int_equal(number, i);
            gets(q, (uint64_t)i);
        }
        drop(q);
    }
}

/* ---- Many at once ---- */

enum { WORKERS = 4, EACH = 4000 };

struct crowd {
    plait_queue_t *q;
    uint64_t put_sum, got_sum; /* atomic */
    int errors;                /* atomic */
};

static uint32_t draw_from(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

/* Puts, alone and in batches. */
static void produce(struct crowd *c, uint64_t seed)
{
    uint64_t items[7], sum = 0;
    size_t done;

    for (int i = 0; i < EACH; i++) {
        for (int j = 0; j < 7; j++)
            items[j] = draw_from(&seed);
        if (draw_from(&seed) % 2) {
            if (plait_queue_put(c->q, items, plait_after(SECONDS)) != 0)
                __atomic_fetch_add(&c->errors, 1, __ATOMIC_RELAXED);
            sum += items[0];
        } else {
            if (plait_queue_put_many(c->q, items, 7, &done, plait_after(SECONDS)) != 0 || done != 7)
                __atomic_fetch_add(&c->errors, 1, __ATOMIC_RELAXED);
            for (int j = 0; j < 7; j++)
                sum += items[j];
        }
    }
    __atomic_fetch_add(&c->put_sum, sum, __ATOMIC_RELAXED);
}

/* Gets, alone and in batches, until all is over. */
static void consume(struct crowd *c, uint64_t seed)
{
    uint64_t items[9], sum = 0;
    size_t count;
    int err;

    do {
        if (draw_from(&seed) % 2) {
            count = 1;
            err = plait_queue_get(c->q, items, plait_after(SECONDS));
            if (err)
                count = 0;
        } else {
            err = plait_queue_get_many(c->q, items, 1 + draw_from(&seed) % 3, 9, &count, plait_after(SECONDS));
        }
        for (size_t j = 0; j < count; j++)
            sum += items[j];
    } while (err == 0);
    if (err != EPIPE)
        __atomic_fetch_add(&c->errors, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&c->got_sum, sum, __ATOMIC_RELAXED);
}

struct hand {
    struct crowd *c;
    uint64_t seed;
    bool puts;
    pthread_t thread;
    pid_t pid; /* 0: a thread */
};

static void work(struct hand *hand)
{
    if (hand->puts)
        produce(hand->c, hand->seed);
    else
        consume(hand->c, hand->seed);
}

static void *work_in_thread(void *hand)
{
    work(hand);
    return NULL;
}

static void begin(struct hand *hand, bool as_process)
{
    pid_t pid = 0;

    if (!as_process) {
        assert_int_equal(pthread_create(&hand->thread, NULL, work_in_thread, hand), 0);
        return;
    }
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        work(hand);
        _exit(0);
    }
    hand->pid = pid;
}

static void end(struct hand *hand)
{
    int status = 0;

    if (hand->pid)
        assert_int_equal(waitpid(hand->pid, &status, 0), hand->pid);
    else
        assert_int_equal(pthread_join(hand->thread, NULL), 0);
    assert_int_equal(status, 0);
}

static void every_item_is_got_once_whatever_the_kind(void **state)
{
    struct crowd *c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(c != MAP_FAILED);
    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++)
        for (int how = 0; how < 3; how++) /* private; shared by threads; by processes */
            for (int bounded = 0; bounded < 2; bounded++) {
                struct hand hands[WORKERS];

                *c = (struct crowd){ .q = make(how > 0, options(kind, 8, bounded ? 60 : 0)) };
                for (int i = 0; i < WORKERS; i++) {
                    hands[i] = (struct hand){ .c = c, .seed = (uint64_t)(100 * kind + 10 * how + i), .puts = i % 2 };
                    begin(&hands[i], how == 2);
                }
                for (int i = 1; i < WORKERS; i += 2)
                    end(&hands[i]);
                assert_int_equal(plait_queue_close(c->q), 0);
                for (int i = 0; i < WORKERS; i += 2)
                    end(&hands[i]);
                assert_int_equal(c->errors, 0);
                assert_true(c->got_sum == c->put_sum);
                drop(c->q);
            }
    assert_int_equal(munmap(c, sizeof *c), 0);
}

/* ---- Bad input ---- */

static void no_such_kind_is_refused(void **state)
{
    plait_queue_t *q = (plait_queue_t *)1;
    struct plait_queue_opts bad[6];

    for (int i = 0; i < 6; i++)
        bad[i] = options(i < 4 ? PLAIT_FIFO : PLAIT_PRIORITY, 8, 4);
    bad[0].kind = 4;
    bad[1].overflow = 4;
    bad[2].largest_first = 1;
    bad[3].spare = 1;
    bad[4].overflow = PLAIT_OVERFLOW_DROP_OLDEST;
    bad[5].kind = (enum plait_queue_kind)-1;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(plait_queue_new(&q, &bad[i]), EINVAL);
        assert_null(q);
    }
    /* A program that was compiled before there were kinds. */
    assert_int_equal(plait_queue_new_sized(&q, &bad[0], offsetof(struct plait_queue_opts, kind)), 0);
    assert_int_equal(plait_queue_kind(q), PLAIT_FIFO);
    assert_int_equal(plait_queue_free(q), 0);
}

static void name_of_another_kind_is_refused(void **state)
{
    struct plait_queue_opts opts = options(PLAIT_PRIORITY, 8, 4), wanted;
    plait_queue_t *q, *other;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4u << 20 }), 0);
    opts.arena = arena;
    opts.name = "jobs";
    opts.largest_first = 1;
    assert_int_equal(plait_queue_new(&q, &opts), 0);
    put(q, 5);
    assert_int_equal(plait_queue_new(&other, &opts), 0);
    gets(other, 5);
    assert_int_equal(plait_queue_free(other), 0);
    for (int i = 0; i < 3; i++) {
        wanted = opts;
        wanted.kind = i == 0 ? PLAIT_LIFO : PLAIT_PRIORITY;
        wanted.largest_first = i == 2;
        wanted.overflow = i == 2 ? PLAIT_OVERFLOW_REFUSE : PLAIT_OVERFLOW_WAIT;
        assert_int_equal(plait_queue_new(&other, &wanted), EINVAL);
        assert_null(other);
    }
    assert_int_equal(plait_arena_unpublish(arena, "jobs"), 0);
    assert_int_equal(plait_queue_destroy(q), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

/* Whatever stands in a pile's memory: opening it answers, and what can be opened can be used, with an answer. */
static int open_and_use(void *arg)
{
    plait_ref_t *ref = arg;
    plait_queue_t *q;
    char item[100];
    int err = plait_queue_open(&q, *ref);

    if (err)
        return err == EBADMSG ? 1 : 2;
    for (int i = 0; i < 20; i++) {
        plait_queue_put(q, item, PLAIT_NOW);
        plait_queue_get(q, item, PLAIT_NOW);
        plait_queue_peek(q, item, PLAIT_NOW);
    }
    return 0;
}

static void damaged_pile_is_refused_or_answers(void **state)
{
    for (int kind = PLAIT_LIFO; kind <= PLAIT_DEQUE; kind++)
        for (int bounded = 0; bounded < 2; bounded++) {
            struct plait_queue_opts opts = options(kind, 100, bounded ? 10 : 0);
            plait_queue_t *q = make(true, opts);
            char item[100] = { 0 };
            unsigned char *body;
            plait_ref_t ref;
            int refused = 0;

            for (int i = 0; i < 5; i++)
                assert_int_equal(plait_queue_put(q, item, PLAIT_NOW), 0);
            assert_int_equal(plait_queue_ref(q, &ref), 0);
            assert_int_equal(plait_ref_open(ref, (void **)&body), 0);
            for (size_t at = 0; at < 64; at++) { /* what does not change: kind, sizes, places */
                body[at] ^= 0x41;
                refused += child_run(open_and_use, &ref) == 1;
                body[at] ^= 0x41;
            }
            assert_true(refused >= 32);
            assert_int_equal(child_run(open_and_use, &ref), 0);
            drop(q);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_by_their_kind),
        cmocka_unit_test(largest_come_first_if_wanted_and_equal_ones_as_they_came),
        cmocka_unit_test(plain_put_and_get_of_a_queue_by_priority_are_of_priority_0),
        cmocka_unit_test(priorities_are_for_queues_by_priority),
        cmocka_unit_test(unbounded_pile_gives_its_memory_back),
        cmocka_unit_test(pile_goes_on_after_the_arena_was_full),
        cmocka_unit_test(refusing_queue_does_not_wait),
        cmocka_unit_test(newest_is_dropped_and_counted),
        cmocka_unit_test(oldest_is_dropped_and_counted),
        cmocka_unit_test(batches_go_in_and_come_out_in_order),
        cmocka_unit_test(batch_waits_until_it_has_enough),
        cmocka_unit_test(batch_waits_for_room),
        cmocka_unit_test(batch_and_look_wake_all_whom_they_serve),
        cmocka_unit_test(look_leaves_the_item_and_ends_with_the_queue),
        cmocka_unit_test(snapshot_shows_what_is_there),
        cmocka_unit_test(snapshot_of_a_queue_by_priority_begins_with_what_get_would_take),
        cmocka_unit_test(every_item_is_got_once_whatever_the_kind),
        cmocka_unit_test(no_such_kind_is_refused),
        cmocka_unit_test(name_of_another_kind_is_refused),
        cmocka_unit_test(damaged_pile_is_refused_or_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
