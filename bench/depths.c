/* SPDX-License-Identifier: MIT */
/*
 * What a put and a get cost while so many items are in the queue: make bench-plots. Prints a line for each depth:
 *
 *     depth  fifo  lifo  priority  shared_fifo  shared_lifo  shared_priority        (nanoseconds for the pair; -: no memory)
 *
 * Usage: depths [MOST]; 10,000,000 items if it does not say. Each figure is the median of ROUNDS, which go through all queues of a
 * depth in turn. An item is 8 bytes; priorities are random, and the put that follows a get has one of its own.
 */
#include <plait.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUES = 6, ROUNDS = 9, PAIRS = 20000, BATCH = 1000 };

static const enum plait_queue_kind kinds[QUEUES / 2] = { PLAIT_FIFO, PLAIT_LIFO, PLAIT_PRIORITY };

static uint64_t state = 88172645463325252u;

/* Xorshift (Marsaglia, 2003). */
static int64_t random_priority(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (int64_t)(state >> 1);
}

static void check(int err, const char *what)
{
    if (err) {
        fprintf(stderr, "depths: %s: %s\n", what, strerror(err));
        exit(1);
    }
}

static int put(plait_queue_t *q, uint64_t item)
{
    return plait_queue_kind(q) == PLAIT_PRIORITY ? plait_queue_put_priority(q, &item, random_priority(), PLAIT_NOW)
                                                 : plait_queue_put(q, &item, PLAIT_NOW);
}

/* ENOMEM, ENOSPC: so many do not fit. */
static int fill(plait_queue_t *q, size_t depth)
{
    static uint64_t items[BATCH];

    for (size_t n = plait_queue_qsize(q); n < depth;) {
        size_t count = depth - n < BATCH ? depth - n : BATCH, done = 1;
        int err = plait_queue_kind(q) == PLAIT_PRIORITY ? put(q, n) : plait_queue_put_many(q, items, count, &done, PLAIT_NOW);

        if (err)
            return err;
        n += done;
    }
    return 0;
}

static double pairs(plait_queue_t *q)
{
    plait_time_t begin = plait_now();
    uint64_t item;

    for (int i = 0; i < PAIRS; i++) {
        check(plait_queue_get(q, &item, PLAIT_NOW), "get");
        check(put(q, item), "put");
    }
    return (double)(plait_now() - begin) / PAIRS;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void measure(plait_queue_t *queues[QUEUES], bool full[QUEUES], size_t depth)
{
    double took[QUEUES][ROUNDS] = { { 0 } };

    for (int i = 0; i < QUEUES; i++)
        if (full[i])
            full[i] = fill(queues[i], depth) == 0;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < QUEUES; i++)
            if (full[i])
                took[i][round] = pairs(queues[i]);
    printf("%zu", depth);
    for (int i = 0; i < QUEUES; i++) {
        qsort(took[i], ROUNDS, sizeof took[i][0], compare);
        if (full[i])
            printf("\t%.1f", took[i][ROUNDS / 2]);
        else
            printf("\t-");
    }
    printf("\n");
    fflush(stdout);
}

/* A second thread: glibc drops the atomic operations of a program that has but one. */
static void *live(void *event)
{
    plait_event_wait(event, PLAIT_FOREVER);
    return NULL;
}

int main(int argc, char **argv)
{
    size_t most = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
    plait_event_t end = PLAIT_EVENT_INIT;
    plait_queue_t *queues[QUEUES];
    bool full[QUEUES];
    plait_arena_t *arena;
    pthread_t second;

    check(pthread_create(&second, NULL, live, &end), "pthread_create");
    check(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = (size_t)8 << 30 }), "plait_arena_new");
    for (int i = 0; i < QUEUES; i++) {
        struct plait_queue_opts opts = { .item_size = 8, .kind = kinds[i % 3], .arena = i < 3 ? NULL : arena };

        check(plait_queue_new(&queues[i], &opts), "plait_queue_new");
        full[i] = true;
    }
    printf("# depth\tfifo\tlifo\tpriority\tshared_fifo\tshared_lifo\tshared_priority\n");
    for (size_t depth = 10; depth <= most; depth *= 10)
        measure(queues, full, depth);
    plait_event_set(&end);
    pthread_join(second, NULL);
    for (int i = 0; i < QUEUES; i++)
        plait_queue_destroy(queues[i]);
    plait_arena_free(arena);
    return 0;
}
