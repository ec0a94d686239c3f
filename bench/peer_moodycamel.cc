// SPDX-License-Identifier: MIT
// moodycamel: BlockingConcurrentQueue, without tokens and with one for each producer and consumer. It knows no bound.
#include <concurrentqueue/blockingconcurrentqueue.h>

#include "bench.h"
#include "flow.h"
#include "peers.h"

namespace {

using queue = moodycamel::BlockingConcurrentQueue<uint64_t>;

BENCH_INLINE void put(void *q, uint64_t item) { static_cast<queue *>(q)->enqueue(item); }

BENCH_INLINE uint64_t get(void *q)
{
    uint64_t item;

    static_cast<queue *>(q)->wait_dequeue(item);
    return item;
}

void member(unsigned index, void *flow) { bench_flow_member(index, flow, put, get); }

void member_with_token(unsigned index, void *flow)
{
    bench_flow *f = static_cast<bench_flow *>(flow);
    queue *q = static_cast<queue *>(f->queue);

    if (index < f->width) {
        moodycamel::ProducerToken token(*q);

        for (uint64_t i = 1; i <= f->items; i++)
            q->enqueue(token, i);
    } else {
        moodycamel::ConsumerToken token(*q);
        uint64_t item, sum = 0;

        for (uint64_t i = 1; i <= f->items; i++) {
            q->wait_dequeue(token, item);
            sum += item;
        }
        __atomic_fetch_add(&f->sum, sum, __ATOMIC_RELAXED);
    }
}

} // namespace

double moodycamel_queue(const bench_load *load)
{
    queue q;

    return bench_flow_run(load, &q, member, bench_threads);
}

double moodycamel_queue_tokens(const bench_load *load)
{
    queue q;

    return bench_flow_run(load, &q, member_with_token, bench_threads);
}
