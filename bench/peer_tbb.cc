// SPDX-License-Identifier: MIT
// oneTBB: concurrent_bounded_queue, with and without a capacity set.
#include <tbb/concurrent_queue.h>

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
