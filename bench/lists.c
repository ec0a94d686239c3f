/* SPDX-License-Identifier: MIT */
/*
 * Lists of items of 8 bytes: append, get, and in and out at a quarter of 1,000 items, by threads against GLib's GPtrArray of such blocks
 * under a pthread_mutex, and between processes against Python's Manager().list.
 */
#include <plait.h>

#include "bench.h"
#include "peers.h"
#include "python.h"

enum { ITEMS = 1000 };

struct work {
    plait_list_t *list;
    uint64_t ops;
};

static void append_member(unsigned index, void *arg)
{
    struct work *work = arg;

    for (uint64_t i = 0; i < work->ops; i++)
        if (plait_list_append(work->list, &i, sizeof i) != 0)
            bench_die("append");
}

static void get_member(unsigned index, void *arg)
{
    struct work *work = arg;

    for (uint64_t i = 0; i < work->ops; i++) {
        uint64_t at = (i + index * 1000) * 40503 % ITEMS, value;

        if (plait_list_get(work->list, (int64_t)at, &value, sizeof value, NULL) != 0 || value != at)
            bench_die("a wrong value");
    }
}

static void move_member(unsigned index, void *arg)
{
    struct work *work = arg;

    for (uint64_t i = 0; i < work->ops; i++)
        if (plait_list_insert(work->list, ITEMS / 4, &i, sizeof i) != 0 || plait_list_delete(work->list, ITEMS / 4) != 0)
            bench_die("insert and delete");
}

typedef double bench_team(unsigned count, bench_member *member, void *arg, uint32_t *stop);

static double ours(const struct bench_load *load, bool shared, bench_member *member, bench_team *team)
{
    struct work work = { .ops = load->ops / load->width + 1 };
    plait_arena_t *arena = NULL;
    double seconds;

    if ((shared && plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = (size_t)4 << 30 }) != 0) ||
        plait_list_new(&work.list, &(struct plait_list_opts){ .arena = arena }) != 0)
        bench_die("plait_list_new");
    for (uint64_t i = 0; i < ITEMS; i++)
        if (plait_list_append(work.list, &i, sizeof i) != 0)
            bench_die("append");
    seconds = team(load->width, member, &work, NULL);
    plait_list_destroy(work.list);
    if (arena)
        plait_arena_free(arena);
    return seconds / (double)(work.ops * load->width);
}

static double private_append(const struct bench_load *load) { return ours(load, false, append_member, bench_threads); }
static double private_get(const struct bench_load *load) { return ours(load, false, get_member, bench_threads); }
static double private_move(const struct bench_load *load) { return ours(load, false, move_member, bench_threads); }
static double shared_append(const struct bench_load *load) { return ours(load, true, append_member, bench_threads); }
static double shared_get(const struct bench_load *load) { return ours(load, true, get_member, bench_threads); }
static double shared_move(const struct bench_load *load) { return ours(load, true, move_member, bench_threads); }
static double processes_append(const struct bench_load *load) { return ours(load, true, append_member, bench_processes); }
static double processes_get(const struct bench_load *load) { return ours(load, true, get_member, bench_processes); }
static double python_append(const struct bench_load *load) { return bench_python("manager-list-append", load, 2000); }
static double python_get(const struct bench_load *load) { return bench_python("manager-list-get", load, 2000); }

#define BOTH(name, threads, private_one, shared_one, glib)                            \
    { "list." name ".private", BENCH_NS, { .width = threads, .size = ITEMS },         \
      { { "plait", private_one }, { "gptrarray_pthread_mutex", glib } }, 0 },         \
    { "list." name ".shared", BENCH_NS, { .width = threads, .size = ITEMS },          \
      { { "plait", shared_one }, { "gptrarray_pthread_mutex", glib } }, 0 }

#define PROCESSES(name, one, python)                                  \
    { "list." name ".2p", BENCH_NS, { .width = 2, .size = ITEMS },    \
      { { "plait", one }, { "python_manager_list", python } }, 0 }

const struct bench_metric bench_lists[] = {
    BOTH("append.1t", 1, private_append, shared_append, glib_list_append),
    BOTH("append.2t", 2, private_append, shared_append, glib_list_append),
    BOTH("get.1t", 1, private_get, shared_get, glib_list_get),
    BOTH("get.2t", 2, private_get, shared_get, glib_list_get),
    BOTH("insert_and_delete.1t", 1, private_move, shared_move, glib_list_move),
    PROCESSES("append", processes_append, python_append),
    PROCESSES("get", processes_get, python_get),
    { 0 },
};
