/* SPDX-License-Identifier: MIT */
/* Fork and join, a task at each node of a tree: Fibonacci, queens, and a tree that no one can divide beforehand; loops. */
#include <plait.h>

#include "bench.h"
#include "peers.h"
#include "trees.h"

static plait_crew_t *crew_of(unsigned width)
{
    static plait_crew_t *crews[8];

    if (!crews[width] && plait_crew_new(&crews[width], &(struct plait_crew_opts){ .workers = width }) != 0)
        bench_die("plait_crew_new");
    return crews[width];
}

/* ---- Fibonacci ---- */

struct fib {
    unsigned n;
    uint64_t result;
};

static void fib(plait_worker_t *worker, void *arg)
{
    struct fib *f = arg;

    if (f->n < 2) {
        f->result = f->n;
        return;
    }
    struct fib a = { .n = f->n - 1 }, b = { .n = f->n - 2 };
    plait_worker_spawn(worker, fib, &a);
    fib(worker, &b);
    plait_worker_sync(worker);
    f->result = a.result + b.result;
}

static uint64_t run_fib(unsigned n, unsigned width)
{
    struct fib f = { .n = n };

    plait_crew_run(crew_of(width), fib, &f);
    return f.result;
}

static double fibs(const struct bench_load *load) { return bench_fib(load, run_fib); }

static uint64_t fib_serial(unsigned n) { return n < 2 ? n : fib_serial(n - 1) + fib_serial(n - 2); }
static uint64_t run_fib_serial(unsigned n, unsigned width) { return fib_serial(n); }
static double fibs_serial(const struct bench_load *load) { return bench_fib(load, run_fib_serial); }

/* ---- Queens ---- */

struct queens {
    struct bench_board board;
    uint64_t found;
};

static void queens(plait_worker_t *worker, void *arg)
{
    struct queens *q = arg, next[BENCH_QUEENS];
    unsigned count = 0;

    if (bench_board_is_full(&q->board)) {
        q->found = 1;
        return;
    }
    for (uint32_t places = bench_board_places(&q->board); places; places &= places - 1) {
        next[count].board = bench_board_with(&q->board, places & -places);
        plait_worker_spawn(worker, queens, &next[count++]);
    }
    q->found = 0;
    while (count-- > 0) {
        plait_worker_sync(worker);
        q->found += next[count].found;
    }
}

static uint64_t run_queens(unsigned width)
{
    struct queens q = { .board = { 0 } };

    plait_crew_run(crew_of(width), queens, &q);
    return q.found;
}

static double all_queens(const struct bench_load *load) { return bench_queens(load, run_queens); }

/* ---- An unbalanced tree ---- */

struct node {
    uint64_t random;
    uint64_t size;
};

static void grow(plait_worker_t *worker, void *arg)
{
    struct node *n = arg, next[BENCH_TREE_FORKS];
    unsigned count = bench_tree_children(n->random);

    for (unsigned i = 0; i < count; i++) {
        next[i].random = bench_tree_child(n->random, i);
        plait_worker_spawn(worker, grow, &next[i]);
    }
    n->size = 1;
    while (count-- > 0) {
        plait_worker_sync(worker);
        n->size += next[count].size;
    }
}

static void grow_root(plait_worker_t *worker, void *arg)
{
    struct node *n = arg, next[BENCH_TREE_ROOTS];

    for (unsigned i = 0; i < BENCH_TREE_ROOTS; i++) {
        next[i].random = bench_tree_child(n->random, i);
        plait_worker_spawn(worker, grow, &next[i]);
    }
    n->size = 1;
    for (unsigned i = BENCH_TREE_ROOTS; i-- > 0;) {
        plait_worker_sync(worker);
        n->size += next[i].size;
    }
}

static uint64_t run_tree(unsigned width)
{
    struct node root = { .random = BENCH_TREE_SEED };

    plait_crew_run(crew_of(width), grow_root, &root);
    return root.size;
}

static double trees(const struct bench_load *load) { return bench_tree(load, run_tree); }

/* ---- The least that can be run ---- */

static void nothing(plait_worker_t *worker, void *arg)
{
}

static void two_of_nothing(plait_worker_t *worker, void *arg)
{
    plait_worker_spawn(worker, nothing, NULL);
    nothing(worker, NULL);
    plait_worker_sync(worker);
}

static double regions(const struct bench_load *load)
{
    plait_crew_t *crew = crew_of(load->width);
    double start = bench_now();

    for (uint64_t i = 0; i < load->ops; i++)
        plait_crew_run(crew, two_of_nothing, NULL);
    return (bench_now() - start) / (double)load->ops;
}

/* ---- Loops ---- */

static void scale(plait_worker_t *worker, size_t begin, size_t end, void *numbers) { bench_scale(numbers, begin, end); }
static void spin(plait_worker_t *worker, size_t begin, size_t end, void *context) { bench_uneven(begin, end); }

static void add(plait_worker_t *worker, size_t begin, size_t end, void *into, void *numbers)
{
    *(uint64_t *)into += bench_add(numbers, begin, end);
}

static void join(void *into, const void *from, void *context) { *(uint64_t *)into += *(const uint64_t *)from; }

static void run_scale(uint64_t *numbers, size_t count, unsigned width)
{
    plait_crew_for(crew_of(width), 0, count, 0, scale, numbers);
}

static void run_uneven(uint64_t *numbers, size_t count, unsigned width)
{
    plait_crew_for(crew_of(width), 0, count, 0, spin, NULL);
}

static uint64_t run_add(uint64_t *numbers, size_t count, unsigned width)
{
    uint64_t sum = 0;

    plait_crew_reduce(crew_of(width), 0, count, 0, add, join, sizeof sum, &sum, numbers);
    return sum;
}

static double scales(const struct bench_load *load) { return bench_loop(load, run_scale); }
static double unevens(const struct bench_load *load) { return bench_loop(load, run_uneven); }
static double sums(const struct bench_load *load) { return bench_sum(load, run_add); }

const struct bench_metric bench_crews[] = {
    { "crew.fib.1", BENCH_NS, { .width = 1 },
      { { "plait", fibs }, { "tbb_task_group", tbb_fibs }, { "tbb_parallel_invoke", tbb_fibs_invoked },
        { "limit:no_tasks", fibs_serial } }, 0 },
    { "crew.fib.2", BENCH_NS, { .width = 2 },
      { { "plait", fibs }, { "tbb_task_group", tbb_fibs }, { "tbb_parallel_invoke", tbb_fibs_invoked } }, 0 },
    { "crew.queens.1", BENCH_NS, { .width = 1 }, { { "plait", all_queens }, { "tbb_task_group", tbb_queens } }, 0 },
    { "crew.queens.2", BENCH_NS, { .width = 2 }, { { "plait", all_queens }, { "tbb_task_group", tbb_queens } }, 0 },
    { "crew.unbalanced.1", BENCH_NS, { .width = 1 }, { { "plait", trees }, { "tbb_task_group", tbb_trees } }, 0 },
    { "crew.unbalanced.2", BENCH_NS, { .width = 2 }, { { "plait", trees }, { "tbb_task_group", tbb_trees } }, 0 },
    { "crew.region.1", BENCH_NS, { .width = 1 }, { { "plait", regions }, { "tbb_task_group", tbb_regions } }, 0 },
    { "crew.region.2", BENCH_NS, { .width = 2 }, { { "plait", regions }, { "tbb_task_group", tbb_regions } }, 0 },
    { "crew.for.even", BENCH_NS, { .width = 2, .size = 100000 },
      { { "plait", scales }, { "tbb_parallel_for", tbb_scales } }, 0 },
    { "crew.for.uneven", BENCH_NS, { .width = 2, .size = 2000 },
      { { "plait", unevens }, { "tbb_parallel_for", tbb_unevens } }, 0 },
    { "crew.reduce", BENCH_NS, { .width = 2, .size = 100000 },
      { { "plait", sums }, { "tbb_parallel_reduce", tbb_sums } }, 0 },
    { 0 },
};
