// SPDX-License-Identifier: MIT
// oneTBB: concurrent_bounded_queue, with and without a capacity set; concurrent_priority_queue; task_group in an arena of its own,
// parallel_invoke, parallel_for and parallel_reduce.
#include <functional>
#include <memory>

#include <tbb/concurrent_priority_queue.h>
#include <tbb/concurrent_queue.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <tbb/parallel_invoke.h>
#include <tbb/parallel_reduce.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include "bench.h"
#include "flow.h"
#include "heap.h"
#include "peers.h"
#include "trees.h"

namespace {

using queue = tbb::concurrent_bounded_queue<uint64_t>;

BENCH_INLINE void put(void *q, uint64_t item) { static_cast<queue *>(q)->push(item); }

BENCH_INLINE uint64_t get(void *q)
{
    uint64_t item;

    static_cast<queue *>(q)->pop(item);
    return item;
}

void member(unsigned index, void *flow) { bench_flow_member(index, flow, put, get); }

/*
 * The least first, as ours; of a priority and an item as ours, or of numbers that are their own priority. It does not block: who
 * puts before it gets finds something.
 */
struct job {
    int64_t priority;
    uint64_t item;

    bool operator>(const job &other) const { return priority > other.priority; }
};
using jobs = tbb::concurrent_priority_queue<job, std::greater<job>>;
using numbers = tbb::concurrent_priority_queue<uint64_t, std::greater<uint64_t>>;

BENCH_INLINE void put_job(void *h, uint64_t item)
{
    static_cast<jobs *>(h)->push({static_cast<int64_t>(item), item});
}

BENCH_INLINE uint64_t get_job(void *h)
{
    job got = {};

    while (!static_cast<jobs *>(h)->try_pop(got))
        ;
    return got.item;
}

BENCH_INLINE void put_number(void *h, uint64_t item) { static_cast<numbers *>(h)->push(item); }

BENCH_INLINE uint64_t get_number(void *h)
{
    uint64_t item = 0;

    while (!static_cast<numbers *>(h)->try_pop(item))
        ;
    return item;
}

void jobs_member(unsigned index, void *h) { bench_heap_member(index, h, put_job, get_job); }
void numbers_member(unsigned index, void *h) { bench_heap_member(index, h, put_number, get_number); }

} // namespace

double tbb_heap(const bench_load *load)
{
    jobs h;

    return bench_heap_run(load, &h, jobs_member, put_job, get_job);
}

double tbb_heap_of_numbers(const bench_load *load)
{
    numbers h;

    return bench_heap_run(load, &h, numbers_member, put_number, get_number);
}

double tbb_queue_bounded(const bench_load *load)
{
    queue q;

    q.set_capacity(load->size);
    return bench_flow_run(load, &q, member, bench_threads);
}

double tbb_queue_unbounded(const bench_load *load)
{
    queue q;

    return bench_flow_run(load, &q, member, bench_threads);
}

double tbb_tasks(const bench_load *load)
{
    tbb::task_arena arena(static_cast<int>(load->width));
    tbb::task_group group;
    double start = bench_now();

    arena.execute([&] {
        for (uint64_t i = 0; i < load->ops; i++)
            group.run([] {});
        group.wait();
    });
    return (bench_now() - start) / static_cast<double>(load->ops);
}

/* ---- Fork and join ---- */

namespace {

/* One for each number of threads, which stays: its threads come with the first task. */
tbb::task_arena &arena_of(unsigned width)
{
    static std::unique_ptr<tbb::task_arena> arenas[8];

    if (!arenas[width])
        arenas[width] = std::make_unique<tbb::task_arena>(static_cast<int>(width));
    return *arenas[width];
}

uint64_t fib(unsigned n)
{
    uint64_t a, b;

    if (n < 2)
        return n;
    tbb::task_group group;
    group.run([&a, n] { a = fib(n - 1); });
    b = fib(n - 2);
    group.wait();
    return a + b;
}

uint64_t fib_invoked(unsigned n)
{
    uint64_t a, b;

    if (n < 2)
        return n;
    tbb::parallel_invoke([&a, n] { a = fib_invoked(n - 1); }, [&b, n] { b = fib_invoked(n - 2); });
    return a + b;
}

uint64_t queens(const bench_board &board)
{
    uint64_t found[BENCH_QUEENS], sum = 0;
    unsigned count = 0;

    if (bench_board_is_full(&board))
        return 1;
    tbb::task_group group;
    for (uint32_t places = bench_board_places(&board); places; places &= places - 1) {
        bench_board next = bench_board_with(&board, places & -places);
        uint64_t *to = &found[count++];

        group.run([next, to] { *to = queens(next); });
    }
    group.wait();
    while (count-- > 0)
        sum += found[count];
    return sum;
}

uint64_t grow(uint64_t node, unsigned children)
{
    uint64_t size[BENCH_TREE_ROOTS], sum = 1;

    if (children == 0)
        return 1;
    tbb::task_group group;
    for (unsigned i = 0; i < children; i++) {
        uint64_t child = bench_tree_child(node, i), *to = &size[i];

        group.run([child, to] { *to = grow(child, bench_tree_children(child)); });
    }
    group.wait();
    for (unsigned i = 0; i < children; i++)
        sum += size[i];
    return sum;
}

} // namespace

double tbb_fibs(const bench_load *load)
{
    return bench_fib(load, [](unsigned n, unsigned width) { return arena_of(width).execute([n] { return fib(n); }); });
}

double tbb_fibs_invoked(const bench_load *load)
{
    return bench_fib(load, [](unsigned n, unsigned width) { return arena_of(width).execute([n] { return fib_invoked(n); }); });
}

double tbb_queens(const bench_load *load)
{
    return bench_queens(load, [](unsigned width) { return arena_of(width).execute([] { return queens(bench_board{0, 0, 0}); }); });
}

double tbb_trees(const bench_load *load)
{
    return bench_tree(load, [](unsigned width) {
        return arena_of(width).execute([] { return grow(BENCH_TREE_SEED, BENCH_TREE_ROOTS); });
    });
}

double tbb_regions(const bench_load *load)
{
    tbb::task_arena &arena = arena_of(load->width);
    double start = bench_now();

    for (uint64_t i = 0; i < load->ops; i++)
        arena.execute([] {
            tbb::task_group group;

            group.run([] {});
            group.wait();
        });
    return (bench_now() - start) / static_cast<double>(load->ops);
}

using range = tbb::blocked_range<size_t>;

double tbb_scales(const bench_load *load)
{
    return bench_loop(load, [](uint64_t *numbers, size_t count, unsigned width) {
        arena_of(width).execute([=] {
            tbb::parallel_for(range(0, count), [=](const range &r) { bench_scale(numbers, r.begin(), r.end()); });
        });
    });
}

double tbb_unevens(const bench_load *load)
{
    return bench_loop(load, [](uint64_t *, size_t count, unsigned width) {
        arena_of(width).execute([=] { tbb::parallel_for(range(0, count), [](const range &r) { bench_uneven(r.begin(), r.end()); }); });
    });
}

double tbb_sums(const bench_load *load)
{
    return bench_sum(load, [](uint64_t *numbers, size_t count, unsigned width) {
        return arena_of(width).execute([=] {
            return tbb::parallel_reduce(
                range(0, count), uint64_t{0},
                [=](const range &r, uint64_t sum) { return sum + bench_add(numbers, r.begin(), r.end()); },
                std::plus<uint64_t>());
        });
    });
}
