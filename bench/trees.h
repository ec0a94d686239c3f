/* SPDX-License-Identifier: MIT */
/* Trees of tasks, and loops, the same for all sides: what a node does, and how many nodes there are. */
#ifndef BENCH_TREES_H
#define BENCH_TREES_H

#include <stdbool.h>
#include <stdint.h>

#include "bench.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BENCH_QUEENS = 10, BENCH_TREE_ROOTS = 2000, BENCH_TREE_FORKS = 4, BENCH_TREE_SEED = 1 };

/* Queens on a board, as bits of the next row: what the ones before it attack. */
struct bench_board {
    uint32_t columns, left, right;
};

static inline bool bench_board_is_full(const struct bench_board *b) { return b->columns == (1u << BENCH_QUEENS) - 1; }

static inline uint32_t bench_board_places(const struct bench_board *b)
{
    return ((1u << BENCH_QUEENS) - 1) & ~(b->columns | b->left | b->right);
}

static inline struct bench_board bench_board_with(const struct bench_board *b, uint32_t place)
{
    struct bench_board next = { b->columns | place, (b->left | place) << 1, (b->right | place) >> 1 };

    return next;
}

/*
 * A tree whose shape is made of a hash, as in "UTS: an unbalanced tree search benchmark" (Olivier et al. 2006), binomial:
 * many children of the root, each with four children with a probability of a little less than a quarter, and so on.
 */
static inline uint64_t bench_tree_hash(uint64_t z)
{
    z += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static inline uint64_t bench_tree_child(uint64_t node, unsigned i) { return bench_tree_hash(node + i); }
static inline unsigned bench_tree_children(uint64_t node) { return node % 1000 < 240 ? BENCH_TREE_FORKS : 0; }

/* Bodies of loops: one that is cheap, one of which the last numbers take longest, and a sum. */
static inline void bench_scale(uint64_t *numbers, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++)
        numbers[i] = numbers[i] * 3 + 1;
}

static inline void bench_uneven(size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++)
        bench_spin((unsigned)(i / 8));
}

static inline uint64_t bench_add(const uint64_t *numbers, size_t begin, size_t end)
{
    uint64_t sum = 0;

    for (size_t i = begin; i < end; i++)
        sum += numbers[i] ^ i;
    return sum;
}

/* Time loops over load->size numbers: seconds for a number. */
double bench_loop(const struct bench_load *load, void (*run)(uint64_t *numbers, size_t count, unsigned width));
double bench_sum(const struct bench_load *load, uint64_t (*run)(uint64_t *numbers, size_t count, unsigned width));

/* Time one: seconds for a call, or a node. A wrong answer ends the program. */
double bench_fib(const struct bench_load *load, uint64_t (*run)(unsigned n, unsigned width));
double bench_queens(const struct bench_load *load, uint64_t (*run)(unsigned width));
double bench_tree(const struct bench_load *load, uint64_t (*run)(unsigned width));

#ifdef __cplusplus
}
#endif

#endif
