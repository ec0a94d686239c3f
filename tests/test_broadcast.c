/* SPDX-License-Identifier: MIT */
/* The contract of plait/broadcast.h, sentence by sentence. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { PUBLISHERS = 3, SUBSCRIBERS = 3, SECONDS = 20 };

/* What a case's workers share. */
struct scene {
    plait_broadcast_t *broadcast;
    plait_subscriber_t *subscriber; /* the test's */
    plait_subscriber_t *theirs;     /* a worker's */
    plait_cancel_t token;
    plait_lock_t lock;
    size_t item_size;
    uint64_t got, number;
    uint64_t order[SUBSCRIBERS]; /* what each has seen, and in which order, in one number */
    uint64_t received[SUBSCRIBERS], missed[SUBSCRIBERS];
    uint64_t sum; /* atomic */
    uint32_t wanted, stop; /* atomic */
};

static struct scene *scene_with(struct stage *stage, struct plait_broadcast_opts opts)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    if (opts.item_size == 0)
        opts.item_size = sizeof(uint64_t);
    opts.arena = stage->flags ? stage->arena : NULL;
    scene->item_size = opts.item_size;
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    assert_int_equal(plait_lock_init(&scene->lock, stage->flags), 0);
    assert_int_equal(plait_broadcast_new(&scene->broadcast, &opts), 0);
    return scene;
}

static struct scene *scene_of(struct stage *stage, size_t maxsize, enum plait_queue_overflow overflow)
{
    return scene_with(stage, (struct plait_broadcast_opts){ .maxsize = maxsize, .overflow = overflow });
}

static void scene_end(struct stage *stage, struct scene *scene)
{
    char text[200];

    assert_int_equal(plait_subscriber_free(scene->subscriber), 0);
    assert_int_equal(plait_broadcast_destroy(scene->broadcast), 0);
    if (plait_arena_check(stage->arena, text, sizeof text) != 0)
        fail_msg("arena: %s", text);
}

static plait_subscriber_t *subscribe(struct scene *scene, enum plait_broadcast_from from)
{
    plait_subscriber_t *s;

    assert_int_equal(plait_broadcast_subscribe(scene->broadcast, from, &s), 0);
    return s;
}

static int put(struct scene *scene, uint64_t number)
{
    return plait_broadcast_put(scene->broadcast, &number, PLAIT_NOW);
}

static void puts_in(struct scene *scene, uint64_t first, uint64_t end)
{
    for (; first < end; first++)
        assert_int_equal(put(scene, first), 0);
}

static void gets(plait_subscriber_t *s, uint64_t first, uint64_t end)
{
    for (; first < end; first++) {
        uint64_t number = ~first;

        assert_int_equal(plait_subscriber_get(s, &number, PLAIT_NOW), 0);
        assert_int_equal(number, first);
    }
}

static void gets_nothing(plait_subscriber_t *s)
{
    uint64_t number;

    assert_int_equal(plait_subscriber_get(s, &number, PLAIT_NOW), ETIMEDOUT);
}

/* All bytes of an item are told by its number. */
static void fill(unsigned char *item, size_t size, uint64_t number)
{
    for (size_t i = 0; i < size; i++)
        item[i] = (unsigned char)(number * 31 + number / 256 * 7 + i);
    if (size >= sizeof number)
        memcpy(item, &number, sizeof number);
}

static bool is_whole(const unsigned char *item, size_t size, uint64_t *number_out)
{
    uint64_t number;

    memcpy(&number, item, sizeof number);
    *number_out = number;
    for (size_t i = sizeof number; i < size; i++)
        if (item[i] != (unsigned char)(number * 31 + number / 256 * 7 + i))
            return false;
    return true;
}

/* ---- One caller ---- */

static void every_subscriber_gets_every_item_in_order(void **state)
{
    struct scene *scene = scene_of(*state, 10, PLAIT_OVERFLOW_WAIT);
    plait_subscriber_t *subscribers[4];
    size_t count;

    for (int i = 0; i < 4; i++)
        subscribers[i] = subscribe(scene, PLAIT_FROM_NEWEST);
    for (uint64_t i = 0; i < 500; i += 10) {
        puts_in(scene, i, i + 10);
        for (int j = 0; j < 4; j++) {
            gets(subscribers[j], i, i + 10);
            gets_nothing(subscribers[j]);
        }
    }
    assert_int_equal(plait_broadcast_subscribers(scene->broadcast, &count), 0);
    assert_int_equal(count, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(plait_subscriber_free(subscribers[i]), 0);
    assert_int_equal(plait_broadcast_subscribers(scene->broadcast, &count), 0);
    assert_int_equal(count, 0);
    scene_end(*state, scene);
}

static void items_of_any_size_are_copied_whole_and_no_further(void **state)
{
    static const size_t sizes[] = { 1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 100, 4096, 100001 };

    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t size = sizes[s];
        struct scene *scene = scene_with(*state, (struct plait_broadcast_opts){ .item_size = size, .maxsize = 3 });
        unsigned char *item = malloc(2 * size + 16), *got = item + size, guard = 0;

        assert_non_null(item);
        scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
        assert_int_equal(plait_broadcast_item_size(scene->broadcast), size);
        for (uint64_t i = 1; i <= 9; i++) {
            fill(item, size, i);
            assert_int_equal(plait_broadcast_put(scene->broadcast, item, PLAIT_NOW), 0);
            memset(got, 0xee, size + 16);
            assert_int_equal(plait_subscriber_get(scene->subscriber, got, PLAIT_NOW), 0);
            assert_memory_equal(item, got, size);
            for (int j = 0; j < 16; j++)
                guard |= got[size + (size_t)j] ^ 0xee;
            assert_int_equal(guard, 0);
        }
        free(item);
        scene_end(*state, scene);
    }
}

static void late_subscriber_begins_with_the_next_item_or_the_oldest(void **state)
{
    struct scene *scene = scene_of(*state, 7, PLAIT_OVERFLOW_WAIT);
    plait_subscriber_t *newest, *oldest;

    oldest = subscribe(scene, PLAIT_FROM_OLDEST);
    gets_nothing(oldest);
    assert_int_equal(plait_subscriber_free(oldest), 0);
    puts_in(scene, 0, 3);
    newest = subscribe(scene, PLAIT_FROM_NEWEST);
    oldest = subscribe(scene, PLAIT_FROM_OLDEST);
    gets_nothing(newest);
    assert_int_equal(plait_subscriber_lag(newest), 0);
    assert_int_equal(plait_subscriber_lag(oldest), 3);
    puts_in(scene, 3, 7);
    assert_int_equal(put(scene, 7), ETIMEDOUT); /* who came late is waited for like anybody */
    gets(oldest, 0, 7);
    gets(newest, 3, 7);
    assert_int_equal(plait_subscriber_free(oldest), 0);
    assert_int_equal(plait_subscriber_free(newest), 0);
    puts_in(scene, 7, 100);
    oldest = subscribe(scene, PLAIT_FROM_OLDEST);
    gets(oldest, 93, 100); /* the last maxsize, though nobody wanted them */
    gets_nothing(oldest);
    scene->subscriber = oldest;
    scene_end(*state, scene);
}

static void ring_without_subscribers_is_never_full(void **state)
{
    for (enum plait_queue_overflow rule = PLAIT_OVERFLOW_WAIT; rule <= PLAIT_OVERFLOW_DROP_NEWEST; rule++) {
        struct scene *scene = scene_of(*state, 2, rule);
        plait_subscriber_t *s;

        assert_int_equal(plait_broadcast_overflow(scene->broadcast), rule);
        puts_in(scene, 0, 100);
        assert_int_equal(plait_broadcast_qsize(scene->broadcast), 0);
        assert_int_equal(plait_broadcast_published(scene->broadcast), 100);
        s = subscribe(scene, PLAIT_FROM_NEWEST);
        puts_in(scene, 100, 102);
        assert_int_equal(plait_broadcast_qsize(scene->broadcast), 2);
        assert_int_equal(plait_subscriber_free(s), 0);
        puts_in(scene, 102, 200);
        assert_int_equal(plait_broadcast_dropped(scene->broadcast), 0);
        scene_end(*state, scene);
    }
}

static void full_one_refuses_by_rule(void **state)
{
    struct scene *scene = scene_of(*state, 5, PLAIT_OVERFLOW_REFUSE);
    plait_subscriber_t *slow = subscribe(scene, PLAIT_FROM_NEWEST), *fast = subscribe(scene, PLAIT_FROM_NEWEST);
    uint64_t number = 9;

    puts_in(scene, 0, 5);
    gets(fast, 0, 5);
    assert_int_equal(plait_broadcast_put(scene->broadcast, &number, PLAIT_FOREVER), ETIMEDOUT);
    assert_int_equal(plait_broadcast_qsize(scene->broadcast), 5);
    gets(slow, 0, 1);
    puts_in(scene, 5, 6);
    assert_int_equal(put(scene, 6), ETIMEDOUT);
    gets(slow, 1, 6);
    gets(fast, 5, 6);
    gets_nothing(slow);
    gets_nothing(fast);
    assert_int_equal(plait_subscriber_free(slow), 0);
    assert_int_equal(plait_subscriber_free(fast), 0);
    scene_end(*state, scene);
}

static void full_one_drops_the_newest_by_rule(void **state)
{
    struct scene *scene = scene_of(*state, 5, PLAIT_OVERFLOW_DROP_NEWEST);
    plait_subscriber_t *slow = subscribe(scene, PLAIT_FROM_NEWEST), *fast = subscribe(scene, PLAIT_FROM_NEWEST);

    puts_in(scene, 0, 5);
    gets(fast, 0, 5);
    puts_in(scene, 5, 8); /* these are gone, for all */
    assert_int_equal(plait_broadcast_dropped(scene->broadcast), 3);
    assert_int_equal(plait_broadcast_published(scene->broadcast), 5);
    gets_nothing(fast);
    gets(slow, 0, 2);
    puts_in(scene, 8, 10);
    gets(fast, 8, 10);
    gets(slow, 2, 5);
    gets(slow, 8, 10);
    assert_int_equal(plait_subscriber_missed(slow), 0);
    assert_int_equal(plait_subscriber_free(slow), 0);
    assert_int_equal(plait_subscriber_free(fast), 0);
    scene_end(*state, scene);
}

static void slow_subscriber_misses_the_oldest_by_rule_and_is_told_once(void **state)
{
    struct scene *scene = scene_of(*state, 5, PLAIT_OVERFLOW_DROP_OLDEST);
    plait_subscriber_t *slow = subscribe(scene, PLAIT_FROM_NEWEST), *fast = subscribe(scene, PLAIT_FROM_NEWEST);
    uint64_t number = 77;

    puts_in(scene, 0, 5);
    gets(fast, 0, 5);
    gets(slow, 0, 1);
    puts_in(scene, 5, 9); /* 0 to 3 are overwritten */
    assert_int_equal(plait_subscriber_lag(slow), 8);
    assert_int_equal(plait_broadcast_qsize(scene->broadcast), 5);
    assert_int_equal(plait_subscriber_missed(slow), 0);
    assert_int_equal(plait_subscriber_get(slow, &number, PLAIT_NOW), EOVERFLOW);
    assert_int_equal(plait_subscriber_missed(slow), 3);
    assert_int_equal(plait_subscriber_lag(slow), 5);
    gets(slow, 4, 9);
    gets_nothing(slow);
    gets(fast, 5, 9);
    assert_int_equal(plait_subscriber_missed(fast), 0);
    assert_int_equal(plait_subscriber_missed(slow), 3);
    puts_in(scene, 9, 30);
    assert_int_equal(plait_subscriber_peek(slow, &number, PLAIT_FOREVER), EOVERFLOW);
    assert_int_equal(plait_subscriber_missed(slow), 3 + 16);
    gets(slow, 25, 30);
    assert_int_equal(plait_broadcast_dropped(scene->broadcast), 0);
    assert_int_equal(plait_subscriber_free(slow), 0);
    assert_int_equal(plait_subscriber_free(fast), 0);
    scene_end(*state, scene);
}

static void overtaken_again_it_goes_on_further_behind(void **state)
{
    struct scene *scene = scene_of(*state, 8, PLAIT_OVERFLOW_DROP_OLDEST);
    uint64_t number;

    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    puts_in(scene, 0, 20);
    assert_int_equal(plait_subscriber_get(scene->subscriber, &number, PLAIT_NOW), EOVERFLOW);
    puts_in(scene, 20, 22);
    assert_int_equal(plait_subscriber_get(scene->subscriber, &number, PLAIT_NOW), EOVERFLOW);
    gets(scene->subscriber, 18, 22);
    assert_int_equal(plait_subscriber_missed(scene->subscriber), 18);
    puts_in(scene, 22, 40);
    assert_int_equal(plait_subscriber_get(scene->subscriber, &number, PLAIT_NOW), EOVERFLOW);
    gets(scene->subscriber, 32, 40); /* once it got one, from the oldest again */
    scene_end(*state, scene);
}

static void closed_one_drains_and_then_says_so(void **state)
{
    struct scene *scene = scene_of(*state, 8, PLAIT_OVERFLOW_WAIT);
    plait_subscriber_t *late;
    uint64_t number;

    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    puts_in(scene, 0, 4);
    assert_false(plait_broadcast_is_closed(scene->broadcast));
    assert_int_equal(plait_broadcast_close(scene->broadcast), 0);
    assert_true(plait_broadcast_is_closed(scene->broadcast));
    assert_int_equal(put(scene, 4), EPIPE);
    gets(scene->subscriber, 0, 4);
    assert_int_equal(plait_subscriber_get(scene->subscriber, &number, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_subscriber_get(scene->subscriber, &number, PLAIT_NOW), EPIPE);
    late = subscribe(scene, PLAIT_FROM_OLDEST);
    gets(late, 0, 2);
    assert_int_equal(plait_broadcast_close_now(scene->broadcast), 0);
    assert_int_equal(plait_subscriber_get(late, &number, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_subscriber_peek(late, &number, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_broadcast_close(scene->broadcast), 0);
    assert_int_equal(plait_subscriber_get(late, &number, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_subscriber_free(late), 0);
    scene_end(*state, scene);
}

static void many_are_got_at_once_and_peeked_at(void **state)
{
    struct scene *scene = scene_of(*state, 200, PLAIT_OVERFLOW_DROP_OLDEST);
    plait_subscriber_t *s = scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    uint64_t numbers[300], number;
    size_t count = 777;

    assert_int_equal(plait_subscriber_get_many(s, numbers, 2, 1, &count, PLAIT_NOW), EINVAL);
    assert_int_equal(count, 0);
    assert_int_equal(plait_subscriber_get_many(s, numbers, 0, 300, &count, PLAIT_FOREVER), 0);
    assert_int_equal(count, 0);
    assert_int_equal(plait_subscriber_get_many(s, numbers, 1, 300, &count, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_subscriber_peek(s, &number, plait_after(0.01)), ETIMEDOUT);
    puts_in(scene, 0, 150);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(plait_subscriber_peek(s, &number, PLAIT_NOW), 0);
        assert_int_equal(number, 0);
    }
    assert_int_equal(plait_subscriber_get_many(s, numbers, 0, 10, &count, PLAIT_NOW), 0);
    assert_int_equal(count, 10);
    assert_int_equal(plait_subscriber_get_many(s, numbers + 10, 141, 290, &count, plait_after(0.01)), ETIMEDOUT);
    assert_int_equal(count, 140);
    for (uint64_t i = 0; i < 150; i++)
        assert_int_equal(numbers[i], i);
    puts_in(scene, 150, 400);
    assert_int_equal(plait_subscriber_get_many(s, numbers, 1, 300, &count, PLAIT_NOW), EOVERFLOW);
    assert_int_equal(count, 0);
    assert_int_equal(plait_subscriber_missed(s), 50);
    assert_int_equal(plait_subscriber_get_many(s, numbers, 200, 300, &count, PLAIT_NOW), 0);
    assert_int_equal(count, 200);
    assert_int_equal(numbers[0], 200);
    assert_int_equal(numbers[199], 399);
    puts_in(scene, 400, 401);
    assert_int_equal(plait_broadcast_close(scene->broadcast), 0);
    assert_int_equal(plait_subscriber_get_many(s, numbers, 1, 5, &count, PLAIT_FOREVER), 0);
    assert_int_equal(count, 1);
    assert_int_equal(plait_subscriber_get_many(s, numbers, 0, 5, &count, PLAIT_FOREVER), EPIPE);
    assert_int_equal(count, 0);
    scene_end(*state, scene);
}

static void private_one_lives_as_long_as_its_subscribers(void **state)
{
    struct scene *scene = scene_of(*state, 8, PLAIT_OVERFLOW_WAIT);
    plait_subscriber_t *s = subscribe(scene, PLAIT_FROM_NEWEST);
    uint64_t number;

    puts_in(scene, 0, 3);
    assert_int_equal(plait_broadcast_free(scene->broadcast), 0);
    gets(s, 0, 3);
    assert_int_equal(plait_subscriber_get(s, &number, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_subscriber_free(s), 0);
}

static void memory_of_subscriptions_is_used_again(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage, 8, PLAIT_OVERFLOW_WAIT);
    plait_subscriber_t *s[5];
    size_t used[3];

    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 5; j++)
            s[j] = subscribe(scene, PLAIT_FROM_NEWEST);
        for (int j = 0; j < 5; j++)
            assert_int_equal(plait_subscriber_free(s[j]), 0);
        assert_int_equal(plait_arena_usage(stage->arena, &used[i], NULL, NULL), 0);
    }
    assert_int_equal(used[1], used[0]);
    assert_int_equal(used[2], used[0]);
    scene_end(stage, scene);
}

/* ---- Waiting ---- */

static void get_next(struct worker *self)
{
    struct scene *scene = self->with;
    plait_subscriber_t *s;

    self->result = plait_broadcast_subscribe(scene->broadcast, PLAIT_FROM_NEWEST, &s);
    if (self->result)
        return;
    scene->theirs = s;
    worker_says(self, 1);
    self->result = plait_subscriber_get(s, &scene->got, plait_after(SECONDS));
    plait_subscriber_free(s);
}

static void sleeping_subscriber_is_woken_by_a_put(void **state)
{
    struct scene *scene = scene_of(*state, 8, PLAIT_OVERFLOW_WAIT);

    for (uint64_t i = 1; i <= 5; i++) {
        struct worker *worker = worker_start(*state, get_next, scene);

        assert_non_null(worker);
        assert_true(worker_sleeps(worker, 1));
        puts_in(scene, i, i + 1);
        assert_int_equal(worker_result(worker), 0);
        assert_int_equal(scene->got, i);
    }
    scene_end(*state, scene);
}

static void count_all(struct worker *self)
{
    struct scene *scene = self->with;
    plait_subscriber_t *s;
    uint64_t number, next = 0;
    int err = plait_broadcast_subscribe(scene->broadcast, PLAIT_FROM_NEWEST, &s);

    worker_says(self, 1);
    if (err == 0) {
        while ((err = plait_subscriber_get(s, &number, plait_after(SECONDS))) == 0 && number == next)
            next++;
        plait_subscriber_free(s);
    }
    self->result = err == EPIPE && next == scene->wanted ? 0 : 100 + err;
}

static void all_who_wait_are_woken_and_told_the_end(void **state)
{
    struct scene *scene = scene_of(*state, 8, PLAIT_OVERFLOW_WAIT);
    struct worker *workers[4];

    scene->wanted = 200;
    for (int i = 0; i < 4; i++) {
        workers[i] = worker_start(*state, count_all, scene);
        assert_non_null(workers[i]);
    }
    for (int i = 0; i < 4; i++)
        assert_true(worker_sleeps(workers[i], 1));
    for (uint64_t i = 0; i < scene->wanted; i++) {
        assert_int_equal(plait_broadcast_put(scene->broadcast, &i, plait_after(SECONDS)), 0);
        if (i % 10 == 0)
            assert_true(worker_sleeps(workers[i / 10 % 4], 1));
    }
    assert_int_equal(plait_broadcast_close(scene->broadcast), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(worker_result(workers[i]), 0);
    scene_end(*state, scene);
}

static void put_one(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_broadcast_put(scene->broadcast, &scene->number, plait_after(SECONDS));
}

/* A full ring of 4, with 0 to 3 in it, and somebody asleep who wants to put 4. */
static struct worker *worker_at_full_ring(struct stage *stage, struct scene *scene, void (*run)(struct worker *))
{
    struct worker *worker;

    puts_in(scene, 0, 4);
    scene->number = 4;
    worker = worker_start(stage, run, scene);
    assert_non_null(worker);
    assert_true(worker_sleeps(worker, 1));
    return worker;
}

static void full_one_waits_for_the_slowest(void **state)
{
    struct scene *scene = scene_of(*state, 4, PLAIT_OVERFLOW_WAIT);
    plait_subscriber_t *slow = subscribe(scene, PLAIT_FROM_NEWEST), *fast = subscribe(scene, PLAIT_FROM_NEWEST);
    struct worker *worker = worker_at_full_ring(*state, scene, put_one);

    assert_int_equal(put(scene, 9), ETIMEDOUT);
    assert_int_equal(plait_broadcast_put(scene->broadcast, &scene->number, plait_after(0.01)), ETIMEDOUT);
    gets(fast, 0, 4);
    gets_nothing(fast);
    assert_true(worker_sleeps(worker, 1));
    gets(slow, 0, 1);
    assert_int_equal(worker_result(worker), 0);
    gets(fast, 4, 5);
    gets(slow, 1, 5);
    assert_int_equal(plait_subscriber_free(slow), 0);
    assert_int_equal(plait_subscriber_free(fast), 0);
    scene_end(*state, scene);
}

static void who_leaves_is_not_waited_for(void **state)
{
    struct scene *scene = scene_of(*state, 4, PLAIT_OVERFLOW_WAIT);
    plait_subscriber_t *slow = subscribe(scene, PLAIT_FROM_NEWEST);
    struct worker *worker = worker_at_full_ring(*state, scene, put_one);

    assert_int_equal(plait_subscriber_free(slow), 0);
    assert_int_equal(worker_result(worker), 0);
    scene_end(*state, scene);
}

static void close_ends_waits_at_both_ends(void **state)
{
    struct scene *scene = scene_of(*state, 4, PLAIT_OVERFLOW_WAIT);
    struct worker *putter, *getter;

    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    putter = worker_at_full_ring(*state, scene, put_one);
    getter = worker_start(*state, get_next, scene);
    assert_non_null(getter);
    assert_true(worker_sleeps(getter, 1));
    assert_int_equal(plait_broadcast_close(scene->broadcast), 0);
    assert_int_equal(worker_result(putter), EPIPE);
    assert_int_equal(worker_result(getter), EPIPE);
    scene_end(*state, scene);
}

static void put_with_token(struct worker *self)
{
    struct scene *scene = self->with;

    plait_cancel_bind(&scene->token);
    put_one(self);
}

static void get_with_token(struct worker *self)
{
    struct scene *scene = self->with;

    plait_cancel_bind(&scene->token);
    get_next(self);
}

static void cancel_ends_waits_at_both_ends(void **state)
{
    struct scene *scene = scene_of(*state, 4, PLAIT_OVERFLOW_WAIT);
    struct worker *putter, *getter;

    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    putter = worker_at_full_ring(*state, scene, put_with_token);
    getter = worker_start(*state, get_with_token, scene);
    assert_non_null(getter);
    assert_true(worker_sleeps(getter, 1));
    assert_int_equal(plait_cancel_set(&scene->token), 0);
    assert_int_equal(worker_result(putter), ECANCELED);
    assert_int_equal(worker_result(getter), ECANCELED);
    gets(scene->subscriber, 0, 4);
    gets_nothing(scene->subscriber);
    scene_end(*state, scene);
}

static void pthread_cancel_ends_waits_at_both_ends(void **state)
{
    struct scene *scene = scene_of(*state, 4, PLAIT_OVERFLOW_WAIT);
    struct worker *workers[2];
    void *result;

    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    workers[0] = worker_at_full_ring(*state, scene, put_one);
    workers[1] = worker_start(*state, get_next, scene);
    assert_non_null(workers[1]);
    assert_true(worker_sleeps(workers[1], 1));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_cancel(workers[i]->thread), 0);
        assert_int_equal(pthread_join(workers[i]->thread, &result), 0);
        assert_ptr_equal(result, PTHREAD_CANCELED);
        workers[i]->ended = true;
    }
    gets(scene->subscriber, 0, 4);
    gets_nothing(scene->subscriber);
    puts_in(scene, 4, 8);
    assert_int_equal(put(scene, 8), ETIMEDOUT); /* its subscription is there still: the process's */
    gets(scene->theirs, 4, 8);
    assert_int_equal(plait_subscriber_free(scene->theirs), 0);
    scene_end(*state, scene);
}

static void any_get(struct worker *self)
{
    struct scene *scene = self->with;
    plait_subscriber_t *s;
    size_t which = 777;

    self->result = plait_broadcast_subscribe(scene->broadcast, PLAIT_FROM_NEWEST, &s);
    if (self->result)
        return;
    worker_says(self, 1);
    self->result = plait_wait_any((struct plait_wait_entry[]){ plait_any_lock_acquire(&scene->lock),
                                                               plait_any_subscriber_get(s, &scene->got) },
                                  2, &which, plait_after(SECONDS));
    self->result = self->result ? self->result : which == 1 ? 0 : -1;
    plait_subscriber_free(s);
}

static void any_put(struct worker *self)
{
    struct scene *scene = self->with;
    size_t which = 777;

    worker_says(self, 1);
    self->result = plait_wait_any((struct plait_wait_entry[]){ plait_any_lock_acquire(&scene->lock),
                                                               plait_any_broadcast_put(scene->broadcast, &scene->number) },
                                  2, &which, plait_after(SECONDS));
    self->result = self->result ? self->result : which == 1 ? 0 : -1;
}

static void both_ends_are_among_things_waited_for(void **state)
{
    for (enum plait_queue_overflow rule = PLAIT_OVERFLOW_WAIT; rule <= PLAIT_OVERFLOW_REFUSE; rule++) {
        struct scene *scene = scene_of(*state, 4, rule);
        struct plait_wait_entry get_entry, put_entry = plait_any_broadcast_put(scene->broadcast, &scene->number);
        struct worker *worker;

        scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
        get_entry = plait_any_subscriber_get(scene->subscriber, &scene->got);
        assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
        assert_int_equal(plait_wait_any(&get_entry, 1, NULL, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(plait_wait_any(&get_entry, 1, NULL, plait_after(0.01)), ETIMEDOUT);
        worker = worker_at_full_ring(*state, scene, any_put);
        assert_int_equal(plait_wait_any(&put_entry, 1, NULL, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(plait_wait_any(&put_entry, 1, NULL, plait_after(0.01)), ETIMEDOUT);
        assert_int_equal(plait_wait_any(&get_entry, 1, NULL, PLAIT_NOW), 0);
        assert_int_equal(scene->got, 0);
        assert_int_equal(worker_result(worker), 0);
        gets(scene->subscriber, 1, 5);
        for (uint64_t i = 5; i < 8; i++) {
            worker = worker_start(*state, any_get, scene);
            assert_non_null(worker);
            assert_true(worker_sleeps(worker, 1));
            puts_in(scene, i, i + 1);
            assert_int_equal(worker_result(worker), 0);
            assert_int_equal(scene->got, i);
        }
        worker = worker_start(*state, any_get, scene);
        assert_non_null(worker);
        assert_true(worker_sleeps(worker, 1));
        assert_int_equal(plait_broadcast_close(scene->broadcast), 0);
        assert_int_equal(worker_result(worker), EPIPE);
        assert_int_equal(plait_wait_any(&put_entry, 1, NULL, PLAIT_FOREVER), EPIPE);
        assert_int_equal(plait_lock_release(&scene->lock), 0);
        scene_end(*state, scene);
    }
}

/* ---- Many at a time ---- */

/* Items say who put them, and the how many-eth it was. */
static void put_all_the_time(struct worker *self)
{
    struct scene *scene = self->with;
    unsigned char *item = malloc(scene->item_size);
    unsigned number = self->number % PUBLISHERS;
    int err = item ? 0 : ENOMEM;

    for (uint64_t i = 1; err == 0 && !__atomic_load_n(&scene->stop, __ATOMIC_RELAXED); i++) {
        fill(item, scene->item_size, i * PUBLISHERS + number);
        err = plait_broadcast_put(scene->broadcast, item, plait_after(SECONDS));
    }
    self->result = err;
    free(item);
}

/* Subscribers come before publishers; each sees all, in the same order, which is that of each publisher. */
static void get_all_the_time(struct worker *self)
{
    struct scene *scene = self->with;
    unsigned me = self->number % SUBSCRIBERS;
    unsigned char *items = malloc(10 * scene->item_size);
    uint64_t last[PUBLISHERS] = { 0 }, number, order = 0, received = 0;
    bool misses = plait_broadcast_overflow(scene->broadcast) == PLAIT_OVERFLOW_DROP_OLDEST;
    plait_subscriber_t *s;
    int err = items ? plait_broadcast_subscribe(scene->broadcast, PLAIT_FROM_NEWEST, &s) : ENOMEM;

    if (err) {
        self->result = err;
        return;
    }
    worker_says(self, 1);
    while (err == 0 || (misses && err == EOVERFLOW)) {
        size_t count = 1;

        if (me == 0)
            err = plait_subscriber_get_many(s, items, 1, 10, &count, plait_after(SECONDS));
        else
            err = plait_subscriber_get(s, items, plait_after(SECONDS));
        if (err && me != 0)
            count = 0;
        for (size_t i = 0; i < count; i++) {
            if (!is_whole(items + i * scene->item_size, scene->item_size, &number))
                err = 201;
            else if (misses ? number / PUBLISHERS <= last[number % PUBLISHERS]
                            : number / PUBLISHERS != last[number % PUBLISHERS] + 1)
                err = 202;
            if (err > 200)
                break;
            last[number % PUBLISHERS] = number / PUBLISHERS;
            order = order * 1099511628211u ^ number;
            received++;
        }
    }
    scene->order[me] = order;
    scene->received[me] = received;
    scene->missed[me] = plait_subscriber_missed(s);
    self->result = err == EPIPE ? 0 : err;
    plait_subscriber_free(s);
    free(items);
}

static void run_all(struct stage *stage, struct scene *scene, double seconds)
{
    struct worker *workers[SUBSCRIBERS + PUBLISHERS];

    for (int i = 0; i < SUBSCRIBERS + PUBLISHERS; i++) {
        workers[i] = worker_start(stage, i < SUBSCRIBERS ? get_all_the_time : put_all_the_time, scene);
        assert_non_null(workers[i]);
        if (i == SUBSCRIBERS - 1)
            for (int j = 0; j < SUBSCRIBERS; j++)
                assert_true(worker_said(workers[j], 1));
    }
    plait_sleep(seconds);
    __atomic_store_n(&scene->stop, 1, __ATOMIC_RELAXED);
    for (int i = SUBSCRIBERS; i < SUBSCRIBERS + PUBLISHERS; i++)
        assert_int_equal(worker_result(workers[i]), 0);
    assert_int_equal(plait_broadcast_close(scene->broadcast), 0);
    for (int i = 0; i < SUBSCRIBERS; i++)
        assert_int_equal(worker_result(workers[i]), 0);
}

static void all_see_the_same_order_which_is_that_of_each_publisher(void **state)
{
    static const struct plait_broadcast_opts kinds[] = {
        { .item_size = 8, .maxsize = 1 }, { .item_size = 40, .maxsize = 7 },
        { .item_size = 3000, .maxsize = 4 }, { .item_size = 8, .maxsize = 1000 },
    };

    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct scene *scene = scene_with(*state, kinds[k]);

        run_all(*state, scene, stage_stress_seconds() / 8);
        for (int i = 0; i < SUBSCRIBERS; i++) {
            assert_int_equal(scene->received[i], plait_broadcast_published(scene->broadcast));
            assert_int_equal(scene->order[i], scene->order[0]);
            assert_int_equal(scene->missed[i], 0);
        }
        scene_end(*state, scene);
    }
}

static void nothing_is_torn_and_what_is_missed_is_counted(void **state)
{
    static const struct plait_broadcast_opts kinds[] = {
        { .item_size = 8, .maxsize = 1 }, { .item_size = 40, .maxsize = 7 },
        { .item_size = 3000, .maxsize = 4 }, { .item_size = 8, .maxsize = 1000 }, { .item_size = 70000, .maxsize = 8 },
    };

    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct plait_broadcast_opts opts = kinds[k];
        struct scene *scene;

        opts.overflow = PLAIT_OVERFLOW_DROP_OLDEST;
        scene = scene_with(*state, opts);
        run_all(*state, scene, stage_stress_seconds() / 8);
        for (int i = 0; i < SUBSCRIBERS; i++)
            assert_int_equal(scene->received[i] + scene->missed[i], plait_broadcast_published(scene->broadcast));
        scene_end(*state, scene);
    }
}

static void get_for_all(struct worker *self)
{
    struct scene *scene = self->with;
    uint64_t number;
    int err;

    while ((err = plait_subscriber_get(scene->subscriber, &number, plait_after(SECONDS))) == 0)
        __atomic_fetch_add(&scene->sum, number, __ATOMIC_RELAXED);
    self->result = err == EPIPE ? 0 : err;
}

/* Threads alone: a subscription is a process's. */
static void threads_of_one_subscription_get_each_item_once(void **state)
{
    struct scene *scene = scene_of(*state, 16, PLAIT_OVERFLOW_WAIT);
    struct worker *workers[3];
    uint64_t sum = 0;

    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    for (int i = 0; i < 3; i++) {
        workers[i] = worker_start(*state, get_for_all, scene);
        assert_non_null(workers[i]);
    }
    for (uint64_t i = 1; i <= 20000; i++) {
        assert_int_equal(plait_broadcast_put(scene->broadcast, &i, plait_after(SECONDS)), 0);
        sum += i;
    }
    assert_int_equal(plait_broadcast_close(scene->broadcast), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(worker_result(workers[i]), 0);
    assert_int_equal(scene->sum, sum);
    scene_end(*state, scene);
}

static void come_and_go(struct worker *self)
{
    struct scene *scene = self->with;
    int err = 0;

    while (err == 0 && !__atomic_load_n(&scene->stop, __ATOMIC_RELAXED)) {
        plait_subscriber_t *s;
        uint64_t first = 0, number;

        err = plait_broadcast_subscribe(scene->broadcast, worker_random(self, 2) ? PLAIT_FROM_OLDEST : PLAIT_FROM_NEWEST, &s);
        for (unsigned i = worker_random(self, 20); err == 0 && i > 0; i--) {
            err = plait_subscriber_get(s, &number, plait_after(SECONDS));
            if (err == 0 && first && number != first)
                err = 201;
            first = number + 1;
        }
        if (err == 0 || err == EPIPE)
            err = plait_subscriber_free(s);
    }
    self->result = err;
}

static void subscribers_come_and_go_while_others_get_all(void **state)
{
    struct scene *scene = scene_of(*state, 8, PLAIT_OVERFLOW_WAIT);
    struct worker *workers[3];
    plait_time_t end = plait_after(stage_stress_seconds() / 4);
    uint64_t number;

    stage_seed();
    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    for (int i = 0; i < 3; i++) {
        workers[i] = worker_start(*state, come_and_go, scene);
        assert_non_null(workers[i]);
    }
    for (uint64_t i = 0; plait_now() < end; i++) {
        assert_int_equal(plait_broadcast_put(scene->broadcast, &i, plait_after(SECONDS)), 0);
        assert_int_equal(plait_subscriber_get(scene->subscriber, &number, PLAIT_NOW), 0);
        assert_int_equal(number, i);
    }
    __atomic_store_n(&scene->stop, 1, __ATOMIC_RELAXED);
    assert_int_equal(plait_broadcast_close(scene->broadcast), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(worker_result(workers[i]), 0);
    scene_end(*state, scene);
}

/* ---- Who stops or dies ---- */

static void subscribe_and_stay(struct worker *self)
{
    struct scene *scene = self->with;
    plait_subscriber_t *s;

    self->result = plait_broadcast_subscribe(scene->broadcast, PLAIT_FROM_NEWEST, &s);
    worker_says(self, 1);
    for (;;)
        pause();
}

static void subscribe_and_go(struct worker *self)
{
    struct scene *scene = self->with;
    plait_subscriber_t *s;

    self->result = plait_broadcast_subscribe(scene->broadcast, PLAIT_FROM_NEWEST, &s);
    worker_says(self, 1);
}

static void killed_subscriber_is_not_waited_for(void **state)
{
    struct scene *scene = scene_of(*state, 4, PLAIT_OVERFLOW_WAIT);
    struct worker *dead = worker_start(*state, subscribe_and_stay, scene), *putter;
    size_t count;

    assert_non_null(dead);
    assert_true(worker_said(dead, 1));
    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    putter = worker_at_full_ring(*state, scene, put_one);
    gets(scene->subscriber, 0, 4);
    assert_int_equal(put(scene, 9), ETIMEDOUT);
    assert_int_equal(plait_broadcast_subscribers(scene->broadcast, &count), 0);
    assert_int_equal(count, 2);
    worker_kill(dead);
    assert_int_equal(worker_result(putter), 0);
    gets(scene->subscriber, 4, 5);
    assert_int_equal(plait_broadcast_subscribers(scene->broadcast, &count), 0);
    assert_int_equal(count, 1);
    scene_end(*state, scene);
}

static void killed_subscriber_is_noticed_by_who_does_not_wait(void **state)
{
    for (enum plait_queue_overflow rule = PLAIT_OVERFLOW_WAIT; rule <= PLAIT_OVERFLOW_REFUSE; rule++) {
        struct scene *scene = scene_of(*state, 4, rule);
        struct worker *dead = worker_start(*state, subscribe_and_stay, scene);

        assert_non_null(dead);
        assert_true(worker_said(dead, 1));
        puts_in(scene, 0, 4);
        assert_int_equal(put(scene, 4), ETIMEDOUT);
        worker_kill(dead);
        assert_true(EVENTUALLY(put(scene, 4) == 0));
        scene_end(*state, scene);
    }
}

static void who_exits_without_unsubscribing_is_not_waited_for(void **state)
{
    struct scene *scene = scene_of(*state, 4, PLAIT_OVERFLOW_WAIT);
    uint64_t number = 4;

    for (int i = 0; i < 3; i++) {
        struct worker *gone = worker_start(*state, subscribe_and_go, scene);

        assert_non_null(gone);
        assert_int_equal(worker_result(gone), 0);
        for (int j = 0; j < 6; j++)
            assert_int_equal(plait_broadcast_put(scene->broadcast, &number, plait_after(SECONDS)), 0);
    }
    scene_end(*state, scene);
}

static void stopped_subscriber_is_alive_and_waited_for(void **state)
{
    struct scene *scene = scene_of(*state, 4, PLAIT_OVERFLOW_WAIT);
    struct worker *stopped = worker_start(*state, subscribe_and_stay, scene);
    size_t count;

    assert_non_null(stopped);
    assert_true(worker_said(stopped, 1));
    puts_in(scene, 0, 4);
    assert_int_equal(kill(stopped->pid, SIGSTOP), 0);
    assert_true(EVENTUALLY(waitid(P_PID, (id_t)stopped->pid, &(siginfo_t){ 0 }, WSTOPPED) == 0));
    assert_int_equal(plait_broadcast_put(scene->broadcast, &scene->number, plait_after(0.3)), ETIMEDOUT);
    assert_int_equal(plait_broadcast_subscribers(scene->broadcast, &count), 0);
    assert_int_equal(count, 1);
    worker_kill(stopped);
    assert_int_equal(plait_broadcast_put(scene->broadcast, &scene->number, plait_after(SECONDS)), 0);
    scene_end(*state, scene);
}

static void put_until_killed(struct worker *self)
{
    worker_says(self, 1);
    put_all_the_time(self);
}

/* Find a moment at which the stopped publisher holds up others: then they can give up, and subscribers do not notice. */
static void stopped_publisher_holds_up_publishers_with_a_deadline_and_no_subscriber(void **state)
{
    struct scene *scene = scene_with(*state, (struct plait_broadcast_opts){
                                                 .item_size = 70000, .maxsize = 8, .overflow = PLAIT_OVERFLOW_DROP_OLDEST });
    struct worker *publisher = worker_start(*state, put_until_killed, scene);
    unsigned char *item = malloc(70000);
    uint64_t number;
    int err = 0;

    assert_non_null(item);
    assert_non_null(publisher);
    assert_true(worker_said(publisher, 1));
    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    assert_true(EVENTUALLY(plait_subscriber_lag(scene->subscriber) > 8));
    for (int i = 0; i < 1000 && err == 0; i++) {
        int got = 0, answer;

        assert_int_equal(kill(publisher->pid, SIGSTOP), 0);
        assert_true(EVENTUALLY(waitid(P_PID, (id_t)publisher->pid, &(siginfo_t){ 0 }, WSTOPPED) == 0));
        while ((answer = plait_subscriber_get(scene->subscriber, item, PLAIT_NOW)) != ETIMEDOUT) {
            assert_true(answer == EOVERFLOW || (answer == 0 && is_whole(item, 70000, &number)));
            got += answer == 0;
        }
        assert_true(got > 0 || i > 0);
        fill(item, 70000, 1);
        err = plait_broadcast_put(scene->broadcast, item, PLAIT_NOW);
        if (err) {
            assert_int_equal(err, ETIMEDOUT);
            assert_int_equal(plait_broadcast_put(scene->broadcast, item, plait_after(0.01)), ETIMEDOUT);
            assert_int_equal(plait_cancel_set(&scene->token), 0);
            plait_cancel_bind(&scene->token);
            assert_int_equal(plait_broadcast_put(scene->broadcast, item, PLAIT_FOREVER), ECANCELED);
            plait_cancel_bind(NULL);
        }
        assert_int_equal(kill(publisher->pid, SIGCONT), 0);
        plait_sleep(0.0001 * (i % 10));
    }
    assert_int_equal(err, ETIMEDOUT);
    worker_kill(publisher);
    assert_int_equal(plait_broadcast_put(scene->broadcast, item, plait_after(SECONDS)), 0);
    free(item);
    scene_end(*state, scene);
}

/* Publishers of one number follow each other: what they put grows, but begins anew. */
static void killed_publishers_leave_the_ring_whole(void **state)
{
    for (enum plait_queue_overflow rule = PLAIT_OVERFLOW_WAIT; rule <= PLAIT_OVERFLOW_DROP_OLDEST; rule += 2) {
        struct scene *scene = scene_with(*state, (struct plait_broadcast_opts){
                                                     .item_size = 3000, .maxsize = 6, .overflow = rule });
        plait_subscriber_t *s = scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
        unsigned char item[3000];
        uint64_t number, got = 0;

        for (unsigned i = 0; i < 20; i++) {
            struct worker *publisher = worker_start(*state, put_until_killed, scene);
            int err;

            assert_non_null(publisher);
            assert_true(worker_said(publisher, 1));
            for (unsigned j = 0; j < 20 + i; j++) {
                err = plait_subscriber_get(s, item, plait_after(SECONDS));
                assert_true(err == 0 || (err == EOVERFLOW && rule == PLAIT_OVERFLOW_DROP_OLDEST));
                if (err == 0)
                    assert_true(is_whole(item, sizeof item, &number));
                got += err == 0;
            }
            worker_kill(publisher);
            while ((err = plait_subscriber_get(s, item, PLAIT_NOW)) != ETIMEDOUT) {
                assert_true(err == 0 || (err == EOVERFLOW && rule == PLAIT_OVERFLOW_DROP_OLDEST));
                if (err == 0)
                    assert_true(is_whole(item, sizeof item, &number));
                got += err == 0;
            }
            fill(item, sizeof item, 3 * i);
            assert_int_equal(plait_broadcast_put(scene->broadcast, item, plait_after(SECONDS)), 0);
            memset(item, 0, sizeof item);
            assert_int_equal(plait_subscriber_get(s, item, PLAIT_NOW), 0);
            assert_true(is_whole(item, sizeof item, &number));
            assert_int_equal(number, 3 * i);
            got++;
        }
        assert_int_equal(got + plait_subscriber_missed(s), plait_broadcast_published(scene->broadcast));
        scene_end(*state, scene);
    }
}

static void get_until_killed(struct worker *self)
{
    struct scene *scene = self->with;
    plait_subscriber_t *s;
    uint64_t number;

    self->result = plait_broadcast_subscribe(scene->broadcast, PLAIT_FROM_OLDEST, &s);
    worker_says(self, 1);
    while (self->result == 0)
        self->result = plait_subscriber_get(s, &number, PLAIT_FOREVER);
}

static void killed_subscribers_harm_nobody(void **state)
{
    struct scene *scene = scene_of(*state, 16, PLAIT_OVERFLOW_WAIT);
    uint64_t next = 0, number;
    size_t count;

    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    for (int i = 0; i < 20; i++) {
        struct worker *worker = worker_start(*state, get_until_killed, scene);

        assert_non_null(worker);
        for (uint64_t end = next + 200; next < end; next++) {
            if (next == end - 150)
                worker_kill(worker);
            assert_int_equal(plait_broadcast_put(scene->broadcast, &next, plait_after(SECONDS)), 0);
            assert_int_equal(plait_subscriber_get(scene->subscriber, &number, PLAIT_NOW), 0);
            assert_int_equal(number, next);
        }
    }
    assert_int_equal(plait_broadcast_subscribers(scene->broadcast, &count), 0);
    assert_int_equal(count, 1);
    scene_end(*state, scene);
}

/* The test's own subscription, in a child. */
static void go_on_in_child(struct worker *self)
{
    struct scene *scene = self->with;
    uint64_t number = 777;
    int err;

    worker_says(self, 1);
    if (!EVENTUALLY(__atomic_load_n(&scene->wanted, __ATOMIC_ACQUIRE) == 1)) {
        self->result = 203;
        return;
    }
    err = plait_subscriber_get(scene->subscriber, &number, plait_after(SECONDS));
    self->result = err ? err : number == 2 ? 0 : 201;
    if (self->result == 0 && plait_subscriber_free(scene->subscriber) != 0)
        self->result = 202;
}

static void copy_in_a_child_holds_nothing_before_its_first_use(void **state)
{
    struct scene *scene = scene_of(*state, 4, PLAIT_OVERFLOW_WAIT);
    struct worker *worker;
    size_t count;

    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    puts_in(scene, 0, 2);
    gets(scene->subscriber, 0, 2);
    worker = worker_start(*state, go_on_in_child, scene);
    assert_non_null(worker);
    assert_true(worker_said(worker, 1));
    puts_in(scene, 2, 6);
    assert_int_equal(plait_broadcast_subscribers(scene->broadcast, &count), 0);
    assert_int_equal(count, 1);
    __atomic_store_n(&scene->wanted, 1, __ATOMIC_RELEASE);
    assert_int_equal(worker_result(worker), 0); /* it goes on behind what was got before the fork */
    gets(scene->subscriber, 2, 6); /* and that is nothing to the parent's, which is there still */
    puts_in(scene, 6, 10);
    __atomic_store_n(&scene->wanted, 0, __ATOMIC_RELEASE);
    worker = worker_start(*state, go_on_in_child, scene);
    assert_non_null(worker);
    assert_true(worker_said(worker, 1));
    gets(scene->subscriber, 6, 10);
    puts_in(scene, 10, 14);
    __atomic_store_n(&scene->wanted, 1, __ATOMIC_RELEASE);
    assert_int_equal(worker_result(worker), EOVERFLOW); /* 6 to 9 were not kept for it */
    assert_true(EVENTUALLY(plait_broadcast_subscribers(scene->broadcast, &count) == 0 && count == 1));
    scene_end(*state, scene);
}

static void drop_in_child(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_subscriber_free(scene->subscriber);
}

static void child_drops_its_copy_alone(void **state)
{
    struct scene *scene = scene_of(*state, 4, PLAIT_OVERFLOW_WAIT);
    struct worker *worker;
    size_t count;

    scene->subscriber = subscribe(scene, PLAIT_FROM_NEWEST);
    puts_in(scene, 0, 2);
    worker = worker_start(*state, drop_in_child, scene);
    assert_non_null(worker);
    assert_int_equal(worker_result(worker), 0);
    assert_int_equal(plait_broadcast_subscribers(scene->broadcast, &count), 0);
    assert_int_equal(count, 1);
    gets(scene->subscriber, 0, 2);
    scene_end(*state, scene);
}

/* ---- Making and finding ---- */

static void bad_options_are_refused(void **state)
{
    static const struct plait_broadcast_opts bad[] = {
        { .item_size = 0 }, { .item_size = ((size_t)1 << 20) + 1 }, { .item_size = SIZE_MAX },
        { .item_size = 8, .maxsize = ((size_t)1 << 31) + 1 }, { .item_size = 8, .maxsize = SIZE_MAX },
        { .item_size = 8, .name = "x" }, { .item_size = 8, .spare = 1 },
        { .item_size = 8, .overflow = (enum plait_queue_overflow)4 },
    };
    plait_broadcast_t *b;
    plait_subscriber_t *s;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        b = (plait_broadcast_t *)state;
        assert_int_equal(plait_broadcast_new(&b, &bad[i]), EINVAL);
        assert_null(b);
    }
    assert_int_equal(plait_broadcast_new(&b, NULL), EINVAL);
    assert_int_equal(plait_broadcast_free(NULL), 0);
    assert_int_equal(plait_broadcast_destroy(NULL), 0);
    assert_int_equal(plait_subscriber_free(NULL), 0);
    assert_int_equal(plait_broadcast_new(&b, &(struct plait_broadcast_opts){ .item_size = 8 }), 0);
    assert_int_equal(plait_broadcast_maxsize(b), 1024);
    s = (plait_subscriber_t *)state;
    assert_int_equal(plait_broadcast_subscribe(b, (enum plait_broadcast_from)2, &s), EINVAL);
    assert_null(s);
    assert_int_equal(plait_broadcast_free(b), 0);
}

static void private_one_has_no_reference_and_no_name(void **state)
{
    plait_broadcast_t *b;
    plait_ref_t ref;

    assert_int_equal(plait_broadcast_new(&b, &(struct plait_broadcast_opts){ .item_size = 3 }), 0);
    assert_int_equal(plait_broadcast_ref(b, &ref), EINVAL);
    assert_int_equal(plait_broadcast_publish(b, "x"), EINVAL);
    assert_int_equal(plait_broadcast_free(b), 0);
}

static void full_arena_is_told(void **state)
{
    plait_arena_t *arena;
    plait_broadcast_t *b;
    plait_subscriber_t *s[100];
    size_t used = 1;
    void *memory;
    int count = 0, err;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1 << 20 }), 0);
    assert_int_equal(plait_broadcast_new(&b, &(struct plait_broadcast_opts){ .item_size = 1 << 19, .arena = arena }), ENOSPC);
    assert_null(b);
    assert_int_equal(plait_arena_usage(arena, &used, NULL, NULL), 0);
    assert_int_equal(used, 0);
    assert_int_equal(plait_broadcast_new(&b, &(struct plait_broadcast_opts){ .item_size = 8, .arena = arena, .maxsize = 2 }), 0);
    for (size_t size = 1 << 19; size >= 128; size /= 2)
        while (plait_arena_alloc(arena, size, &memory) == 0)
            ;
    while (count < 100 && (err = plait_broadcast_subscribe(b, PLAIT_FROM_NEWEST, &s[count])) == 0)
        count++;
    assert_int_equal(err, ENOSPC);
    assert_null(s[count]);
    while (count > 0)
        assert_int_equal(plait_subscriber_free(s[--count]), 0);
    assert_int_equal(plait_broadcast_destroy(b), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void one_is_found_by_reference_and_by_name(void **state)
{
    plait_broadcast_t *b, *same, *named;
    struct plait_broadcast_opts opts = { .item_size = sizeof(int), .maxsize = 3, .name = "prices" };
    plait_subscriber_t *s;
    plait_arena_t *arena;
    plait_ref_t ref;
    int item = 5;
    size_t used = 1, used_before = 0;
    void *memory;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20 }), 0);
    opts.arena = arena;
    assert_int_equal(plait_arena_alloc(arena, 1000, &memory), 0);
    assert_int_equal(plait_arena_publish(arena, "bytes", memory), 0);
    assert_int_equal(plait_arena_publish(arena, "prices", memory), 0); /* names take memory, and keep it */
    assert_int_equal(plait_arena_unpublish(arena, "prices"), 0);
    assert_int_equal(plait_arena_usage(arena, &used_before, NULL, NULL), 0);
    assert_int_equal(plait_broadcast_lookup(&b, arena, "prices"), ENOENT);
    assert_null(b);
    assert_int_equal(plait_broadcast_new(&b, &opts), 0);
    assert_int_equal(plait_broadcast_ref(b, &ref), 0);
    assert_int_equal(plait_broadcast_open(&same, ref), 0);
    assert_int_equal(plait_broadcast_new(&named, &opts), 0);
    assert_int_equal(plait_broadcast_subscribe(named, PLAIT_FROM_NEWEST, &s), 0);
    assert_int_equal(plait_broadcast_free(named), 0); /* the subscription stays */
    assert_int_equal(plait_broadcast_put(b, &item, PLAIT_NOW), 0);
    item = 6;
    assert_int_equal(plait_broadcast_put(same, &item, PLAIT_NOW), 0);
    assert_int_equal(plait_subscriber_get(s, &item, PLAIT_NOW), 0);
    assert_int_equal(item, 5);
    assert_int_equal(plait_subscriber_get(s, &item, PLAIT_NOW), 0);
    assert_int_equal(item, 6);
    opts.item_size++;
    assert_int_equal(plait_broadcast_new(&named, &opts), EINVAL);
    opts.item_size--;
    opts.maxsize = 0;
    assert_int_equal(plait_broadcast_new(&named, &opts), EINVAL);
    opts.maxsize = 3;
    opts.overflow = PLAIT_OVERFLOW_DROP_OLDEST;
    assert_int_equal(plait_broadcast_new(&named, &opts), EINVAL);
    assert_null(named);
    opts.name = "bytes";
    assert_int_equal(plait_broadcast_new(&named, &opts), EBADMSG);
    assert_null(named);
    assert_int_equal(plait_arena_unpublish(arena, "prices"), 0);
    assert_int_equal(plait_broadcast_publish(b, "costs"), 0);
    assert_int_equal(plait_broadcast_lookup(&named, arena, "costs"), 0);
    assert_int_equal(plait_broadcast_free(named), 0);
    assert_int_equal(plait_arena_unpublish(arena, "costs"), 0);
    assert_int_equal(plait_broadcast_destroy(b), 0);
    assert_int_equal(plait_broadcast_open(&b, ref), EBADMSG);
    assert_null(b);
    assert_int_equal(plait_subscriber_free(s), 0); /* all that may still be done with them */
    assert_int_equal(plait_broadcast_free(same), 0);
    assert_int_equal(plait_arena_usage(arena, &used, NULL, NULL), 0);
    assert_int_equal(used, used_before);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* Whatever stands in its memory: opening it answers, and what can be opened can be used, with an answer. */
static int open_and_use(void *arg)
{
    plait_ref_t *ref = arg;
    plait_broadcast_t *b;
    plait_subscriber_t *s;
    char item[20] = { 0 };
    size_t count;
    int err = plait_broadcast_open(&b, *ref);

    if (err)
        return err == EBADMSG ? 1 : 2;
    plait_broadcast_qsize(b);
    plait_broadcast_subscribers(b, &count);
    if (plait_broadcast_subscribe(b, PLAIT_FROM_OLDEST, &s))
        return 0;
    for (int i = 0; i < 8; i++) {
        plait_subscriber_get(s, item, PLAIT_NOW);
        plait_subscriber_peek(s, item, PLAIT_NOW);
        plait_broadcast_put(b, item, plait_after(0.001));
    }
    plait_subscriber_free(s);
    return 0;
}

static void damaged_one_is_refused_or_answers(void **state)
{
    static const unsigned char flips[] = { 0x41, 0xff };
    plait_arena_t *arena;
    plait_broadcast_t *b;
    plait_subscriber_t *s;
    plait_ref_t ref;
    unsigned char *body;
    char item[20] = { 0 };
    int refused = 0;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20 }), 0);
    assert_int_equal(plait_broadcast_new(&b, &(struct plait_broadcast_opts){
                                                 .item_size = sizeof item, .maxsize = 4, .arena = arena }), 0);
    assert_int_equal(plait_broadcast_subscribe(b, PLAIT_FROM_NEWEST, &s), 0);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(plait_broadcast_put(b, item, PLAIT_NOW), 0);
        assert_int_equal(plait_subscriber_get(s, item, PLAIT_NOW), 0);
    }
    assert_int_equal(plait_broadcast_ref(b, &ref), 0);
    assert_int_equal(plait_ref_open(ref, (void **)&body), 0);
    for (size_t f = 0; f < sizeof flips; f++)
        for (size_t at = 0; at < 256 + 64 + 4 * 32; at++) {
            unsigned char *byte = body + at, was[512];
            int result;

            if (at >= 256 && at < 256 + 64) /* the lock has tests of its own */
                continue;
            memcpy(was, body, sizeof was);
            *byte ^= flips[f];
            result = child_run(open_and_use, &ref);
            refused += result == 1;
            assert_in_range(result, 0, 1);
            memcpy(body, was, sizeof was);
        }
    assert_true(refused >= 30);
    assert_int_equal(child_run(open_and_use, &ref), 0);
    assert_int_equal(plait_subscriber_free(s), 0);
    assert_int_equal(plait_broadcast_destroy(b), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(every_subscriber_gets_every_item_in_order),
        EVERYWHERE(items_of_any_size_are_copied_whole_and_no_further),
        EVERYWHERE(late_subscriber_begins_with_the_next_item_or_the_oldest),
        EVERYWHERE(ring_without_subscribers_is_never_full),
        EVERYWHERE(full_one_refuses_by_rule),
        EVERYWHERE(full_one_drops_the_newest_by_rule),
        EVERYWHERE(slow_subscriber_misses_the_oldest_by_rule_and_is_told_once),
        EVERYWHERE(overtaken_again_it_goes_on_further_behind),
        EVERYWHERE(closed_one_drains_and_then_says_so),
        EVERYWHERE(many_are_got_at_once_and_peeked_at),
        PRIVATE(private_one_lives_as_long_as_its_subscribers),
        SHARED(memory_of_subscriptions_is_used_again),
        EVERYWHERE(sleeping_subscriber_is_woken_by_a_put),
        EVERYWHERE(all_who_wait_are_woken_and_told_the_end),
        EVERYWHERE(full_one_waits_for_the_slowest),
        EVERYWHERE(who_leaves_is_not_waited_for),
        EVERYWHERE(close_ends_waits_at_both_ends),
        EVERYWHERE(cancel_ends_waits_at_both_ends),
        PRIVATE(pthread_cancel_ends_waits_at_both_ends),
        EVERYWHERE(both_ends_are_among_things_waited_for),
        EVERYWHERE(all_see_the_same_order_which_is_that_of_each_publisher),
        EVERYWHERE(nothing_is_torn_and_what_is_missed_is_counted),
        PRIVATE(threads_of_one_subscription_get_each_item_once),
        STAGE_CASE(threads_of_one_subscription_get_each_item_once, THREADS),
        EVERYWHERE(subscribers_come_and_go_while_others_get_all),
        PROCESSES(killed_subscriber_is_not_waited_for),
        PROCESSES(killed_subscriber_is_noticed_by_who_does_not_wait),
        PROCESSES(who_exits_without_unsubscribing_is_not_waited_for),
        PROCESSES(stopped_subscriber_is_alive_and_waited_for),
        PROCESSES(stopped_publisher_holds_up_publishers_with_a_deadline_and_no_subscriber),
        PROCESSES(killed_publishers_leave_the_ring_whole),
        PROCESSES(killed_subscribers_harm_nobody),
        PROCESSES(copy_in_a_child_holds_nothing_before_its_first_use),
        PROCESSES(child_drops_its_copy_alone),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(private_one_has_no_reference_and_no_name),
        cmocka_unit_test(full_arena_is_told),
        cmocka_unit_test(one_is_found_by_reference_and_by_name),
        cmocka_unit_test(damaged_one_is_refused_or_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
