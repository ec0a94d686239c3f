/* SPDX-License-Identifier: MIT */
/* Arena: memory of `size` bytes allocated and given back, 64 of them alive at a time. */
#include <plait.h>

#include <stdlib.h>

#include "bench.h"
#include "contend.h"
#include "peers.h"

enum { ALIVE = 64 };

struct shop {
    plait_arena_t *arena;
    size_t size;
    unsigned next;
    void *alive[ALIVE];
};

BENCH_INLINE void ours_alloc(void *shop)
{
    struct shop *s = shop;

    if (plait_arena_alloc(s->arena, s->size, &s->alive[s->next % ALIVE]) != 0)
        bench_die("plait_arena_alloc");
}

BENCH_INLINE void ours_dealloc(void *shop)
{
    struct shop *s = shop;
    unsigned oldest = ++s->next % ALIVE;

    plait_arena_dealloc(s->arena, s->alive[oldest]);
    s->alive[oldest] = NULL;
}

static double ours(const struct bench_load *load)
{
    struct shop shop = { .size = load->size };
    double seconds;

    if (plait_arena_new(&shop.arena, &(struct plait_arena_opts){ .limit = 16 << 20 }) != 0)
        bench_die("plait_arena_new");
    seconds = bench_free(load, &shop, ours_alloc, ours_dealloc);
    plait_arena_free(shop.arena);
    return seconds;
}

BENCH_INLINE void malloc_alloc(void *shop)
{
    struct shop *s = shop;

    s->alive[s->next % ALIVE] = calloc(1, s->size);
}

BENCH_INLINE void malloc_dealloc(void *shop)
{
    struct shop *s = shop;
    unsigned oldest = ++s->next % ALIVE;

    free(s->alive[oldest]);
    s->alive[oldest] = NULL;
}

static double with_malloc(const struct bench_load *load)
{
    struct shop shop = { .size = load->size };
    double seconds = bench_free(load, &shop, malloc_alloc, malloc_dealloc);

    for (unsigned i = 0; i < ALIVE; i++)
        free(shop.alive[i]);
    return seconds;
}

#define ARENA(name, bytes)                                                                                         \
    { name, BENCH_NS, { .size = bytes },                                                                           \
      { { "plait", ours }, { "boost_managed_shared_memory", boost_managed_memory }, { "calloc", with_malloc } }, 0 }

const struct bench_metric bench_arenas[] = {
    ARENA("arena.alloc.64", 64),
    ARENA("arena.alloc.1000", 1000),
    { 0 },
};
