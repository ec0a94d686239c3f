/* SPDX-License-Identifier: MIT */
/* Trees of tasks, and loops: timing them. */
#include "trees.h"

static uint64_t values[100000];

double bench_loop(const struct bench_load *load, void (*run)(uint64_t *numbers, size_t count, unsigned width))
{
    uint64_t times = load->ops / load->size + 1;
    double start = bench_now();

    for (uint64_t i = 0; i < times; i++)
        run(values, load->size, load->width);
    return (bench_now() - start) / (double)(times * load->size);
}

double bench_sum(const struct bench_load *load, uint64_t (*run)(uint64_t *numbers, size_t count, unsigned width))
{
    uint64_t times = load->ops / load->size + 1, right = bench_add(values, 0, load->size);
    double start = bench_now();

    for (uint64_t i = 0; i < times; i++)
        if (run(values, load->size, load->width) != right)
            bench_die("a wrong sum");
    return (bench_now() - start) / (double)(times * load->size);
}

/* The largest of which all calls are not more than wanted. */
double bench_fib(const struct bench_load *load, uint64_t (*run)(unsigned n, unsigned width))
{
    uint64_t calls = 1, calls_before = 1, result = 1, result_before = 0; /* of n = 1, and of the one before */
    unsigned n = 1;
    double start;

    while (calls + calls_before + 1 <= load->ops || n < 5) {
        uint64_t more = calls + calls_before + 1, sum = result + result_before;

        calls_before = calls;
        calls = more;
        result_before = result;
        result = sum;
        n++;
    }
    start = bench_now();
    if (run(n, load->width) != result)
        bench_die("a wrong number of Fibonacci");
    return (bench_now() - start) / (double)calls;
}

/* As often as it takes for so many nodes. */
static double repeat(const struct bench_load *load, uint64_t (*run)(unsigned width), uint64_t result, uint64_t nodes)
{
    uint64_t times = load->ops / nodes + 1;
    double start = bench_now();

    for (uint64_t i = 0; i < times; i++)
        if (run(load->width) != result)
            bench_die("a wrong tree");
    return (bench_now() - start) / (double)(times * nodes);
}

static void count_boards(const struct bench_board *b, uint64_t *nodes, uint64_t *found)
{
    (*nodes)++;
    *found += bench_board_is_full(b);
    for (uint32_t places = bench_board_places(b); places; places &= places - 1) {
        struct bench_board next = bench_board_with(b, places & -places);

        count_boards(&next, nodes, found);
    }
}

double bench_queens(const struct bench_load *load, uint64_t (*run)(unsigned width))
{
    struct bench_board none = { 0, 0, 0 };
    uint64_t nodes = 0, found = 0;

    count_boards(&none, &nodes, &found);
    return repeat(load, run, found, nodes);
}

static uint64_t count_nodes(uint64_t node)
{
    uint64_t count = 1;

    for (unsigned i = 0; i < bench_tree_children(node); i++)
        count += count_nodes(bench_tree_child(node, i));
    return count;
}

double bench_tree(const struct bench_load *load, uint64_t (*run)(unsigned width))
{
    static uint64_t nodes;

    if (nodes == 0) {
        nodes = 1;
        for (unsigned i = 0; i < BENCH_TREE_ROOTS; i++)
            nodes += count_nodes(bench_tree_child(BENCH_TREE_SEED, i));
    }
    return repeat(load, run, nodes, nodes);
}
