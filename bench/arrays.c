/* SPDX-License-Identifier: MIT */
/*
 * A value to which all add, and an array of 100 numbers that is read and written, by one thread or between processes: against
 * C's own atomic operations on bare memory, which check nothing, and Python's multiprocessing.Value and Array.
 */
#include <plait.h>

#include <stdatomic.h>

#include "bench.h"
#include "python.h"

enum { CELLS = 100 };

/* ---- Ours ---- */

struct work {
    plait_array_t *array;
    _Atomic int64_t *bare;
    uint64_t ops;
};

#define MEMBER(name, statement)                               \
    static void name##_member(unsigned index, void *arg)      \
    {                                                         \
        struct work *work = arg;                              \
        int64_t cells[CELLS], number;                         \
                                                              \
        for (uint64_t i = 0; i < work->ops; i++) {            \
            statement;                                        \
            __asm__ volatile("" : : "r"(&cells), "r"(&number) : "memory"); \
        }                                                     \
    }

MEMBER(ours_add, number = plait_value_fetch_add(work->array, 1))
MEMBER(ours_get, number = plait_array_get_int(work->array, i % CELLS))
MEMBER(ours_set, plait_array_set_int(work->array, i % CELLS, (int64_t)i))
MEMBER(ours_slice, plait_array_get_many(work->array, 0, CELLS, cells))
MEMBER(bare_add, number = atomic_fetch_add_explicit(work->bare, 1, memory_order_acq_rel))
MEMBER(bare_get, number = atomic_load_explicit(&work->bare[i % CELLS], memory_order_acquire))
MEMBER(bare_set, atomic_store_explicit(&work->bare[i % CELLS], (int64_t)i, memory_order_release))

static double ours(const struct bench_load *load, bench_member *member, size_t cells)
{
    struct work work = { .ops = load->ops / load->width + 1 };
    plait_arena_t *arena;
    double seconds;

    if (plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4u << 20 }) != 0 ||
        plait_array_new(&work.array, &(struct plait_array_opts){ .count = cells, .arena = arena }) != 0)
        bench_die("plait_array_new");
    seconds = bench_processes(load->width, member, &work, NULL);
    if (cells == 1 && (uint64_t)plait_value_get_int(work.array) != work.ops * load->width)
        bench_die("a wrong sum");
    plait_array_destroy(work.array);
    plait_arena_free(arena);
    return seconds / (double)(work.ops * load->width);
}

static double bare(const struct bench_load *load, bench_member *member)
{
    struct work work = { .bare = bench_share(CELLS * sizeof(int64_t)), .ops = load->ops / load->width + 1 };
    double seconds = bench_processes(load->width, member, &work, NULL);

    bench_unshare((void *)work.bare, CELLS * sizeof(int64_t));
    return seconds / (double)(work.ops * load->width);
}

static double add(const struct bench_load *load) { return ours(load, ours_add_member, 1); }
static double get(const struct bench_load *load) { return ours(load, ours_get_member, CELLS); }
static double set(const struct bench_load *load) { return ours(load, ours_set_member, CELLS); }
static double slice(const struct bench_load *load) { return ours(load, ours_slice_member, CELLS); }
static double plain_add(const struct bench_load *load) { return bare(load, bare_add_member); }
static double plain_get(const struct bench_load *load) { return bare(load, bare_get_member); }
static double plain_set(const struct bench_load *load) { return bare(load, bare_set_member); }
static double python_add(const struct bench_load *load) { return bench_python("value-add", load, 20000); }
static double python_get(const struct bench_load *load) { return bench_python("array-get", load, 20000); }
static double python_set(const struct bench_load *load) { return bench_python("array-set", load, 20000); }
static double python_slice(const struct bench_load *load) { return bench_python("array-slice", load, 20000); }

#define METRIC(name, processes, one, plain, python)                           \
    { "array." name, BENCH_NS, { .width = processes, .size = CELLS },         \
      { { "plait", one }, { "c11_atomics_unchecked", plain }, { "python_multiprocessing", python } }, 0 }

const struct bench_metric bench_arrays[] = {
    METRIC("value_add.1p", 1, add, plain_add, python_add),
    METRIC("value_add.2p", 2, add, plain_add, python_add),
    METRIC("get.1p", 1, get, plain_get, python_get),
    METRIC("get.2p", 2, get, plain_get, python_get),
    METRIC("set.1p", 1, set, plain_set, python_set),
    METRIC("get_all_100.1p", 1, slice, NULL, python_slice),
    { 0 },
};
