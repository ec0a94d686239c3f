// SPDX-License-Identifier: MIT
// Boost.Interprocess: message_queue between processes, and the allocator of managed_shared_memory.
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>

#include <cstring>
#include <string>
#include <unistd.h>

#include "bench.h"
#include "flow.h"
#include "peers.h"

namespace bi = boost::interprocess;

namespace {

enum { ALIVE = 64 };

std::string own_name() { return "plait-bench-" + std::to_string(getpid()); }

BENCH_INLINE void put(void *q, uint64_t item) { static_cast<bi::message_queue *>(q)->send(&item, sizeof item, 0); }

BENCH_INLINE uint64_t get(void *q)
{
    bi::message_queue::size_type size;
    unsigned priority;
    uint64_t item;

    static_cast<bi::message_queue *>(q)->receive(&item, sizeof item, size, priority);
    return item;
}

void member(unsigned index, void *flow) { bench_flow_member(index, flow, put, get); }

struct shop {
    bi::managed_shared_memory *memory;
    size_t size;
    unsigned next;
    void *alive[ALIVE];
};

BENCH_INLINE void alloc(void *object)
{
    shop *s = static_cast<shop *>(object);
    void *block = s->memory->allocate(s->size);

    s->alive[s->next % ALIVE] = std::memset(block, 0, s->size); // as zeroed as ours
}

BENCH_INLINE void dealloc(void *object)
{
    shop *s = static_cast<shop *>(object);
    unsigned oldest = ++s->next % ALIVE;

    if (s->alive[oldest])
        s->memory->deallocate(s->alive[oldest]);
    s->alive[oldest] = nullptr;
}

} // namespace

double boost_message_queue(const bench_load *load)
{
    std::string name = own_name();
    double seconds;

    bi::message_queue::remove(name.c_str());
    {
        bi::message_queue q(bi::create_only, name.c_str(), load->size, sizeof(uint64_t));
        seconds = bench_flow_run(load, &q, member, bench_processes);
    }
    bi::message_queue::remove(name.c_str());
    return seconds;
}

double boost_managed_memory(const bench_load *load)
{
    std::string name = own_name();
    double seconds;

    bi::shared_memory_object::remove(name.c_str());
    {
        bi::managed_shared_memory memory(bi::create_only, name.c_str(), 16 << 20);
        shop s = { &memory, load->size, 0, {} };
        seconds = bench_free(load, &s, alloc, dealloc);
    }
    bi::shared_memory_object::remove(name.c_str());
    return seconds;
}
