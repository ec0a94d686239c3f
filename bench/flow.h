/* SPDX-License-Identifier: MIT */
/* The loops that every queue runs through: `width` producers, as many consumers, 8-byte items, each checked. */
#ifndef BENCH_FLOW_H
#define BENCH_FLOW_H

#include "bench.h"
#include "contend.h"

struct bench_flow {
    void *queue;    /* const */
    uint64_t items; /* const: for each producer and each consumer */
    unsigned width; /* const: members below it produce, the others consume */
    uint64_t sum;   /* atomic, added to at the end: of all items that came out */
};

/* A queue that holds pointers takes no 0. */
BENCH_INLINE void bench_flow_member(unsigned index, void *flow, void (*put)(void *, uint64_t), uint64_t (*get)(void *))
{
    struct bench_flow *f = (struct bench_flow *)flow;
    uint64_t sum = 0;

    if (index < f->width) {
        for (uint64_t i = 1; i <= f->items; i++)
            put(f->queue, i);
    } else {
        for (uint64_t i = 1; i <= f->items; i++)
            sum += get(f->queue);
        __atomic_fetch_add(&f->sum, sum, __ATOMIC_RELAXED);
    }
}

BENCH_INLINE double bench_flow_run(const struct bench_load *load, void *queue, bench_member *member,
                                   double (*team)(unsigned, bench_member *, void *, uint32_t *))
{
    struct bench_flow *flow = (struct bench_flow *)bench_share(sizeof *flow);
    uint64_t expected;
    double seconds;

    flow->queue = queue;
    flow->items = (load->ops + load->width - 1) / load->width;
    flow->width = load->width;
    seconds = team(2 * load->width, member, flow, NULL);
    seconds /= (double)(flow->items * load->width);
    expected = flow->items * (flow->items + 1) / 2 * load->width;
    if (flow->sum != expected)
        bench_die("items lost or got twice");
    bench_unshare(flow, sizeof *flow);
    return seconds;
}

/* Items of `size` bytes, which begin with the number: copied in from a buffer, and out into one, as their users have them. */
enum { BENCH_ITEM_MAX = 65536 };

struct bench_sized {
    void *queue;
    size_t size;
    unsigned capacity;
};

static __thread __attribute__((aligned(64), unused)) unsigned char bench_item[BENCH_ITEM_MAX];

/* Of large items fewer: 4 MiB at most. */
static inline struct bench_sized bench_sized_of(const struct bench_load *load)
{
    struct bench_sized sized = { NULL, load->size, 1024 };

    if (load->size > 4096)
        sized.capacity = (4u << 20) / load->size;
    return sized;
}

BENCH_INLINE void bench_item_number(uint64_t number) { __builtin_memcpy(bench_item, &number, sizeof number); }

BENCH_INLINE uint64_t bench_number_of_item(void)
{
    uint64_t number;

    __builtin_memcpy(&number, bench_item, sizeof number);
    return number;
}

#endif
