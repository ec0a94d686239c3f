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

template <size_t size> struct block {
    unsigned char bytes[size];
};

template <size_t size> using blocks = moodycamel::BlockingConcurrentQueue<block<size>>;

template <size_t size> BENCH_INLINE void put_sized(void *q, uint64_t number)
{
    bench_item_number(number);
    static_cast<blocks<size> *>(q)->enqueue(*reinterpret_cast<const block<size> *>(bench_item));
}

template <size_t size> BENCH_INLINE uint64_t get_sized(void *q)
{
    static_cast<blocks<size> *>(q)->wait_dequeue(*reinterpret_cast<block<size> *>(bench_item));
    return bench_number_of_item();
}

template <size_t size> void sized_member(unsigned index, void *flow)
{
    bench_flow_member(index, flow, put_sized<size>, get_sized<size>);
}

template <size_t size> double run_sized(const bench_load *load)
{
    blocks<size> q;

    return bench_flow_run(load, &q, sized_member<size>, bench_threads);
}

} // namespace

double moodycamel_sized(const bench_load *load)
{
    switch (load->size) {
    case 64: return run_sized<64>(load);
    case 1024: return run_sized<1024>(load);
    case 65536: return run_sized<65536>(load);
    default: return -1;
    }
}

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
