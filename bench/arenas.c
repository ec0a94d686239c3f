/* SPDX-License-Identifier: MIT */
/* Arena: memory allocated and given back, 64 pieces of it alive at a time: of one size, or of many, by one or by several. */
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

/* ---- Sizes of all kinds: half up to 128 bytes, the rest up to 4 KiB ---- */

enum { SIZES = 1024 };

static unsigned sizes[SIZES];

static void draw_sizes(void)
{
    unsigned seed = 1;

    for (unsigned i = 0; i < SIZES; i++)
        sizes[i] = 1 + (unsigned)rand_r(&seed) % (i % 2 ? 128u : i % 16 ? 1024u : 4096u);
}

struct team {
    plait_arena_t *arena; /* NULL: calloc */
    uint64_t ops;         /* of each */
};

BENCH_INLINE void *get(plait_arena_t *arena, size_t size)
{
    void *memory = NULL;

    if (!arena)
        memory = calloc(1, size);
    else if (plait_arena_alloc(arena, size, &memory) != 0)
        bench_die("plait_arena_alloc");
    return memory;
}

BENCH_INLINE void put(plait_arena_t *arena, void *memory)
{
    if (arena)
        plait_arena_dealloc(arena, memory);
    else
        free(memory);
}

static void mix(unsigned index, void *arg)
{
    const struct team *team = arg;
    void *alive[ALIVE] = { NULL };

    for (uint64_t i = 0; i < team->ops; i++) {
        unsigned victim = (unsigned)(i * 7 + index) % ALIVE;

        put(team->arena, alive[victim]);
        alive[victim] = get(team->arena, sizes[(i + index * 100) % SIZES]);
    }
    for (unsigned i = 0; i < ALIVE; i++)
        put(team->arena, alive[i]);
}

static double mixed(const struct bench_load *load, bool in_arena, double run(unsigned, bench_member *, void *, uint32_t *))
{
    struct team team = { .ops = load->ops };
    double seconds;

    draw_sizes();
    if (in_arena && plait_arena_new(&team.arena, &(struct plait_arena_opts){ .limit = 64 << 20, .participants = 32 }) != 0)
        bench_die("plait_arena_new");
    seconds = run(load->width, mix, &team, NULL);
    plait_arena_free(team.arena);
    return seconds / (double)load->ops;
}

static double ours_threads(const struct bench_load *load) { return mixed(load, true, bench_threads); }
static double ours_processes(const struct bench_load *load) { return mixed(load, true, bench_processes); }
static double calloc_threads(const struct bench_load *load) { return mixed(load, false, bench_threads); }
static double calloc_processes(const struct bench_load *load) { return mixed(load, false, bench_processes); }

#define MIXED(name, count, how)                                                                                    \
    { name, BENCH_NS, { .width = count }, { { "plait", ours_##how }, { "calloc", calloc_##how } }, 0 }

#define ARENA(name, bytes)                                                                                         \
    { name, BENCH_NS, { .size = bytes },                                                                           \
      { { "plait", ours }, { "boost_managed_shared_memory", boost_managed_memory }, { "calloc", with_malloc } }, 0 }

const struct bench_metric bench_arenas[] = {
    ARENA("arena.alloc.64", 64),
    ARENA("arena.alloc.1000", 1000),
    MIXED("arena.mixed.1", 1, threads),
    MIXED("arena.mixed.2threads", 2, threads),
    MIXED("arena.mixed.4threads", 4, threads),
    MIXED("arena.mixed.2processes", 2, processes),
    { 0 },
};
