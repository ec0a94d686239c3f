// SPDX-License-Identifier: MIT
// oneTBB: concurrent_bounded_queue, with and without a capacity set; task_group in an arena of its own.
#include <tbb/concurrent_queue.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>

#include "bench.h"
#include "flow.h"
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

} // namespace

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
