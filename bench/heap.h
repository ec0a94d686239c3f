/* SPDX-License-Identifier: MIT */
/*
 * The loops of queues by priority: `width` threads that each get an item and put one, while `size` items are in the queue. As
 * in a simulation the new one comes some time after that which was got (the hold model), so that what is in the queue is alike
 * for however long it goes on; with items drawn from a fixed range, more and more would come out as soon as they were in.
 */
#ifndef BENCH_HEAP_H
#define BENCH_HEAP_H

#include "bench.h"
#include "contend.h"

struct bench_heap {
    void *queue;      /* const */
    uint64_t each;    /* const: pairs for each thread */
    uint64_t balance; /* atomic: sum of what went in less what came out, of the pairs */
};

BENCH_INLINE uint64_t bench_heap_draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 20;
}

BENCH_INLINE void bench_heap_member(unsigned index, void *heap, void (*put)(void *, uint64_t), uint64_t (*get)(void *))
{
    struct bench_heap *h = (struct bench_heap *)heap;
    uint64_t state = index + 1, balance = 0;

    for (uint64_t i = 0; i < h->each; i++) {
        uint64_t item = get(h->queue), later = bench_heap_draw(&state);

        put(h->queue, item + later);
        balance += later;
    }
    __atomic_fetch_add(&h->balance, balance, __ATOMIC_RELAXED);
}

/* Seconds for a pair. What is left in the end must be what was there and what was put, less what was got. */
BENCH_INLINE double bench_heap_run(const struct bench_load *load, void *queue, bench_member *member,
                                   void (*put)(void *, uint64_t), uint64_t (*get)(void *))
{
    struct bench_heap heap = { queue, (load->ops + load->width - 1) / load->width, 0 };
    uint64_t state = 99, before = 0, left = 0, last = 0;
    double seconds;

    for (unsigned i = 0; i < load->size; i++) {
        uint64_t item = bench_heap_draw(&state);

        before += item;
        put(queue, item);
    }
    seconds = bench_threads(load->width, member, &heap, NULL);
    for (unsigned i = 0; i < load->size; i++) {
        uint64_t item = get(queue);

        if (item < last)
            bench_die("items out of order");
        left += last = item;
    }
    if (left != before + heap.balance)
        bench_die("items lost or got twice");
    return seconds / (double)(heap.each * load->width);
}

#endif
