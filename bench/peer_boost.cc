// SPDX-License-Identifier: MIT
// Boost.Interprocess: message_queue and sharable mutex between processes, and the allocator of managed_shared_memory.
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/timer/progress_display.hpp>

#include <cstring>
#include <new>
#include <ostream>
#include <string>
#include <vector>
#include <unistd.h>

#include "bench.h"
#include "flow.h"
#include "peers.h"
#include "reading.h"
#include "spread.h"

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

// A queue for each subscriber.
struct spread {
    std::vector<bi::message_queue *> queues;
};

void spread_put(void *way, const char *item, unsigned size)
{
    for (bi::message_queue *q : static_cast<spread *>(way)->queues)
        q->send(item, size, 0);
}

void *spread_enter(void *way, unsigned index) { return static_cast<spread *>(way)->queues[index]; }

void spread_get(void *q, char *item, unsigned size)
{
    bi::message_queue::size_type got;
    unsigned priority;

    static_cast<bi::message_queue *>(q)->receive(item, size, got, priority);
}

void spread_leave(void *) {}

void spread_member(unsigned index, void *s)
{
    bench_spread_member(index, s, spread_put, spread_enter, spread_get, spread_leave);
}

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

using sharable = bi::interprocess_sharable_mutex;

BENCH_INLINE void read_acquire(void *m) { static_cast<sharable *>(m)->lock_sharable(); }
BENCH_INLINE void read_release(void *m) { static_cast<sharable *>(m)->unlock_sharable(); }
BENCH_INLINE void write_acquire(void *m) { static_cast<sharable *>(m)->lock(); }
BENCH_INLINE void write_release(void *m) { static_cast<sharable *>(m)->unlock(); }

const bench_rw rw = { read_acquire, read_release, write_acquire, write_release };

void reading_member(unsigned index, void *reading) { bench_read_and_write(index, reading, rw); }

double with_sharable(double (*run)(const bench_load *, sharable *), const bench_load *load)
{
    sharable *m = new (bench_share(sizeof(sharable))) sharable;
    double seconds = run(load, m);

    m->~sharable();
    bench_unshare(m, sizeof *m);
    return seconds;
}

BENCH_INLINE void put_sized(void *sized, uint64_t number)
{
    bench_sized *s = static_cast<bench_sized *>(sized);

    bench_item_number(number);
    static_cast<bi::message_queue *>(s->queue)->send(bench_item, s->size, 0);
}

BENCH_INLINE uint64_t get_sized(void *sized)
{
    bench_sized *s = static_cast<bench_sized *>(sized);
    bi::message_queue::size_type size;
    unsigned priority;

    static_cast<bi::message_queue *>(s->queue)->receive(bench_item, s->size, size, priority);
    return bench_number_of_item();
}

void sized_member(unsigned index, void *flow) { bench_flow_member(index, flow, put_sized, get_sized); }

} // namespace

double boost_sized(const bench_load *load)
{
    std::string name = own_name();
    bench_sized sized = bench_sized_of(load);
    double seconds;

    bi::message_queue::remove(name.c_str());
    {
        bi::message_queue q(bi::create_only, name.c_str(), sized.capacity, sized.size);
        sized.queue = &q;
        seconds = bench_flow_run(load, &sized, sized_member, bench_processes);
    }
    bi::message_queue::remove(name.c_str());
    return seconds;
}

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

double boost_spread(const bench_load *load)
{
    spread s;
    double seconds;

    for (unsigned i = 0; i < load->width; i++) {
        std::string name = own_name() + "-" + std::to_string(i);

        bi::message_queue::remove(name.c_str());
        s.queues.push_back(new bi::message_queue(bi::create_only, name.c_str(), BENCH_SPREAD_ROOM, load->size));
        bi::message_queue::remove(name.c_str()); // who has it mapped keeps it
    }
    seconds = bench_spread_run(load, &s, spread_member, bench_processes);
    for (bi::message_queue *q : s.queues)
        delete q;
    return seconds;
}

double boost_message_pairs(const bench_load *load)
{
    std::string name = own_name();
    std::vector<char> bytes(load->size);
    double seconds;

    bi::message_queue::remove(name.c_str());
    {
        bi::message_queue q(bi::create_only, name.c_str(), 16, load->size);

        seconds = bench_now();
        for (uint64_t i = 0; i < load->ops; i++) {
            bi::message_queue::size_type got;
            unsigned priority;

            q.send(bytes.data(), bytes.size(), 0);
            q.receive(bytes.data(), bytes.size(), got, priority);
        }
        seconds = bench_now() - seconds;
    }
    bi::message_queue::remove(name.c_str());
    return seconds / static_cast<double>(load->ops);
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

double boost_free_read(const bench_load *load)
{
    return with_sharable([](const bench_load *l, sharable *m) { return bench_free(l, m, read_acquire, read_release); }, load);
}

double boost_free_write(const bench_load *load)
{
    return with_sharable([](const bench_load *l, sharable *m) { return bench_free(l, m, write_acquire, write_release); },
                         load);
}

double boost_reading(const bench_load *load)
{
    return with_sharable(
        [](const bench_load *l, sharable *m) { return bench_reading_run(l, m, reading_member, bench_processes); }, load);
}

double boost_progress(const bench_load *load)
{
    std::ostream nowhere(nullptr);
    boost::timer::progress_display display(load->ops, nowhere);

    return bench_free(load, &display, [](void *d) { ++*static_cast<boost::timer::progress_display *>(d); }, [](void *) {});
}
