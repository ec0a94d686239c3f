/* SPDX-License-Identifier: MIT */
/* Queues of one thread, and by priority: what a pair of put and get costs, what a batch saves, and a heap of 65,536 items. */
#include <stdlib.h>

#include <plait.h>

#include "bench.h"
#include "heap.h"
#include "peers.h"

enum { BATCH = 32 };

static plait_queue_t *make(enum plait_queue_kind kind, unsigned maxsize)
{
    plait_queue_t *queue;

    if (plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8, .kind = kind, .maxsize = maxsize }) != 0)
        bench_die("plait_queue_new");
    return queue;
}

/* ---- Pairs of one thread ---- */

static double pairs(const struct bench_load *load, enum plait_queue_kind kind)
{
    plait_queue_t *queue = make(kind, load->size);
    double seconds = bench_now();

    for (uint64_t i = 0; i < load->ops; i++) {
        uint64_t item = i;

        plait_queue_put(queue, &item, PLAIT_FOREVER);
        plait_queue_get(queue, &item, PLAIT_FOREVER);
        if (item != i)
            bench_die("a wrong item");
    }
    seconds = bench_now() - seconds;
    plait_queue_free(queue);
    return seconds / (double)load->ops;
}

static double fifo_pairs(const struct bench_load *load) { return pairs(load, PLAIT_FIFO); }
static double lifo_pairs(const struct bench_load *load) { return pairs(load, PLAIT_LIFO); }
static double priority_pairs(const struct bench_load *load) { return pairs(load, PLAIT_PRIORITY); }

/* ---- Batches ---- */

/* So many items in, and out again; the time of one. */
static double through(const struct bench_load *load, bool many)
{
    plait_queue_t *queue = make(PLAIT_FIFO, load->size);
    uint64_t items[BATCH] = { 0 }, rounds = load->ops / BATCH + 1;
    double seconds = bench_now();
    size_t count;

    for (uint64_t i = 0; i < rounds; i++) {
        if (many) {
            if (plait_queue_put_many(queue, items, BATCH, NULL, PLAIT_NOW) ||
                plait_queue_get_many(queue, items, BATCH, BATCH, &count, PLAIT_NOW))
                bench_die("a batch");
            continue;
        }
        for (int j = 0; j < BATCH; j++)
            plait_queue_put(queue, &items[j], PLAIT_NOW);
        for (int j = 0; j < BATCH; j++)
            plait_queue_get(queue, &items[j], PLAIT_NOW);
    }
    seconds = bench_now() - seconds;
    plait_queue_free(queue);
    return seconds / (double)(rounds * BATCH);
}

static double in_batches(const struct bench_load *load) { return through(load, true); }
static double one_by_one(const struct bench_load *load) { return through(load, false); }

/* ---- Messages ---- */

static double message_pairs(const struct bench_load *load, bool shared)
{
    plait_arena_t *arena = NULL;
    plait_queue_t *queue;
    char *bytes = calloc(1, load->size);
    double seconds;
    size_t size;

    if (!bytes || (shared && plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 16u << 20 })) ||
        plait_queue_new(&queue, &(struct plait_queue_opts){ .maxsize = 16, .arena = arena }))
        bench_die("plait_queue_new");
    seconds = bench_now();
    for (uint64_t i = 0; i < load->ops; i++)
        if (plait_queue_put_bytes(queue, bytes, load->size, PLAIT_NOW) ||
            plait_queue_get_bytes(queue, bytes, load->size, &size, PLAIT_NOW))
            bench_die("a message");
    seconds = bench_now() - seconds;
    plait_queue_destroy(queue);
    plait_arena_free(arena);
    free(bytes);
    return seconds / (double)load->ops;
}

static double private_messages(const struct bench_load *load) { return message_pairs(load, false); }
static double shared_messages(const struct bench_load *load) { return message_pairs(load, true); }

/* ---- By priority ---- */

BENCH_INLINE void heap_put(void *queue, uint64_t item)
{
    plait_queue_put_priority(queue, &item, (int64_t)item, PLAIT_FOREVER);
}

BENCH_INLINE uint64_t heap_get(void *queue)
{
    uint64_t item = 0;

    plait_queue_get(queue, &item, PLAIT_FOREVER);
    return item;
}

static void heap_member(unsigned index, void *heap) { bench_heap_member(index, heap, heap_put, heap_get); }

static double heap(const struct bench_load *load)
{
    plait_queue_t *queue = make(PLAIT_PRIORITY, 0);
    double seconds = bench_heap_run(load, queue, heap_member, heap_put, heap_get);

    plait_queue_free(queue);
    return seconds;
}

/* ---- The table ---- */

enum { RESIDENT = 65536 };

#define HEAP(name, threads)                                                                                        \
    { name, BENCH_NS, { .width = threads, .size = RESIDENT }, { { "plait", heap }, { "tbb_concurrent_priority", tbb_heap }, { "tbb, bare numbers", tbb_heap_of_numbers } }, 0 }

const struct bench_metric bench_piles[] = {
    { "queue.pair.fifo", BENCH_NS, { .width = 1 }, { { "plait", fifo_pairs }, { "gasyncqueue", glib_queue_pairs } }, 0 },
    { "queue.pair.lifo", BENCH_NS, { .width = 1 }, { { "plait", lifo_pairs }, { "gasyncqueue", glib_queue_pairs } }, 0 },
    { "queue.pair.priority", BENCH_NS, { .width = 1 },
      { { "plait", priority_pairs }, { "gasyncqueue", glib_queue_pairs } }, 0 },
    { "queue.batch.32", BENCH_NS, { .width = 1, .size = 1024 }, { { "plait", in_batches }, { "singles", one_by_one } }, 0 },
    { "queue.message.64", BENCH_NS, { .width = 1, .size = 64 },
      { { "plait", private_messages }, { "gasyncqueue", glib_message_pairs } }, 0 },
    { "queue.message.65536", BENCH_NS, { .width = 1, .size = 65536 },
      { { "plait", private_messages }, { "gasyncqueue", glib_message_pairs } }, 0 },
    { "queue.message.shared.8", BENCH_NS, { .width = 1, .size = 8 },
      { { "plait", shared_messages }, { "boost_message_queue", boost_message_pairs } }, 0 },
    { "queue.message.shared.64", BENCH_NS, { .width = 1, .size = 64 },
      { { "plait", shared_messages }, { "boost_message_queue", boost_message_pairs } }, 0 },
    { "queue.message.shared.65536", BENCH_NS, { .width = 1, .size = 65536 },
      { { "plait", shared_messages }, { "boost_message_queue", boost_message_pairs } }, 0 },
    HEAP("queue.priority.1t", 1),
    HEAP("queue.priority.2t", 2),
    HEAP("queue.priority.4t", 4),
    HEAP("queue.priority.8t", 8),
    { 0 },
};
