// SPDX-License-Identifier: MIT
// oneTBB: concurrent_bounded_queue, with and without a capacity set; concurrent_priority_queue; task_group in an arena of its own.
#include <functional>

#include <tbb/concurrent_priority_queue.h>
#include <tbb/concurrent_queue.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include "bench.h"
#include "flow.h"
#include "heap.h"
#include "peers.h"

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
