/* SPDX-License-Identifier: MIT */
/* The first of several: turns where one of the two waits for eight objects and is woken through one, and a ready one among eight. */
#include <plait.h>

#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "contend.h"

enum { OBJECTS = 8 };

BENCH_INLINE void nothing(void *unused) { (void)unused; }

/* ---- Ours ---- */

struct our_table {
    plait_event_t events[OBJECTS] __attribute__((aligned(64))); /* the first player's, who is told through the last */
    plait_event_t other __attribute__((aligned(64)));
};

static void wait_for_any(struct our_table *t, const struct plait_wait_entry *entries)
{
    size_t which;

    if (plait_wait_any(entries, OBJECTS, &which, PLAIT_FOREVER) != 0 || which != OBJECTS - 1)
        bench_die("plait_wait_any");
    plait_event_clear(&t->events[which]);
}

static void our_member(unsigned index, void *turns)
{
    struct bench_turns *rounds = turns;
    struct our_table *t = rounds->object;
    struct plait_wait_entry entries[OBJECTS];

    for (int i = 0; i < OBJECTS; i++)
        entries[i] = plait_any_event_wait(&t->events[i]);
    for (uint64_t i = 0; i < rounds->ops; i++) {
        if (index == 0) {
            wait_for_any(t, entries);
            plait_event_set(&t->other);
        } else {
            plait_event_wait(&t->other, PLAIT_FOREVER);
            plait_event_clear(&t->other);
            plait_event_set(&t->events[OBJECTS - 1]);
        }
    }
}

static double our_turns(const struct bench_load *load)
{
    struct our_table table = { 0 };

    plait_event_set(&table.events[OBJECTS - 1]);
    return bench_turns_threads(load, &table, our_member);
}

static double our_ready(const struct bench_load *load)
{
    struct our_table table = { 0 };
    struct plait_wait_entry entries[OBJECTS];
    double start;

    for (int i = 0; i < OBJECTS; i++)
        entries[i] = plait_any_event_wait(&table.events[i]);
    plait_event_set(&table.events[OBJECTS - 1]);
    start = bench_now();
    for (uint64_t i = 0; i < load->ops; i++)
        if (plait_wait_any(entries, OBJECTS, NULL, PLAIT_FOREVER) != 0)
            bench_die("plait_wait_any");
    return (bench_now() - start) / (double)load->ops;
}

/* ---- One futex ---- */

BENCH_INLINE void futex_pass(void *words, unsigned me)
{
    uint32_t *mine = (uint32_t *)words + 16 * me, *other = (uint32_t *)words + 16 * !me;

    while (__atomic_load_n(mine, __ATOMIC_ACQUIRE) == 0)
        syscall(SYS_futex, mine, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, FUTEX_BITSET_MATCH_ANY);
    __atomic_store_n(mine, 0, __ATOMIC_RELAXED);
    __atomic_store_n(other, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, other, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

static void futex_member(unsigned index, void *turns) { bench_take_turns(index, turns, futex_pass); }

static double futex_turns(const struct bench_load *load)
{
    uint32_t words[32] __attribute__((aligned(64))) = { 1 };

    return bench_turns_threads(load, words, futex_member);
}

/* ---- Eight descriptors in poll ---- */

static void make_descriptors(struct pollfd *fds, int count)
{
    for (int i = 0; i < count; i++) {
        fds[i] = (struct pollfd){ .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
        if (fds[i].fd < 0)
            bench_die("eventfd");
    }
}

static void poll_pass(void *arg, unsigned me)
{
    struct pollfd *fds = arg;
    int mine = me == 0 ? OBJECTS - 1 : OBJECTS, other = me == 0 ? OBJECTS : OBJECTS - 1;
    uint64_t value;

    if (me == 0 && (poll(fds, OBJECTS, -1) != 1 || !(fds[mine].revents & POLLIN)))
        bench_die("poll");
    if (read(fds[mine].fd, &value, sizeof value) != sizeof value)
        bench_die("read");
    value = 1;
    if (write(fds[other].fd, &value, sizeof value) != sizeof value)
        bench_die("write");
}

static void poll_member(unsigned index, void *turns) { bench_take_turns(index, turns, poll_pass); }

static double poll_turns(const struct bench_load *load)
{
    struct pollfd fds[OBJECTS + 1];
    uint64_t value = 1;
    double seconds;

    make_descriptors(fds, OBJECTS + 1);
    if (write(fds[OBJECTS - 1].fd, &value, sizeof value) != sizeof value)
        bench_die("write");
    seconds = bench_turns_threads(load, fds, poll_member);
    for (int i = 0; i <= OBJECTS; i++)
        close(fds[i].fd);
    return seconds;
}

/* ---- A descriptor beside something of one's own ---- */

struct beside {
    struct pollfd fds[4]; /* each player's own, and one that never comes */
    plait_event_t never;
};

static void pass_on(struct beside *b, unsigned me)
{
    uint64_t value;

    if (read(b->fds[2 * me].fd, &value, sizeof value) != sizeof value)
        bench_die("read");
    value = 1;
    if (write(b->fds[2 * !me].fd, &value, sizeof value) != sizeof value)
        bench_die("write");
}

static void our_beside_pass(void *arg, unsigned me)
{
    struct beside *b = arg;
    struct plait_wait_entry entries[] = { plait_any_fd(b->fds[2 * me].fd, POLLIN, NULL), plait_any_event_wait(&b->never) };

    if (plait_wait_any(entries, 2, NULL, PLAIT_FOREVER) != 0)
        bench_die("plait_wait_any");
    pass_on(b, me);
}

static void poll_beside_pass(void *arg, unsigned me)
{
    struct beside *b = arg;

    if (poll(&b->fds[2 * me], 2, -1) != 1)
        bench_die("poll");
    pass_on(b, me);
}

static void our_beside_member(unsigned index, void *turns) { bench_take_turns(index, turns, our_beside_pass); }
static void poll_beside_member(unsigned index, void *turns) { bench_take_turns(index, turns, poll_beside_pass); }

static double beside_turns(const struct bench_load *load, bench_member *member)
{
    struct beside b = { .never = PLAIT_EVENT_INIT };
    uint64_t value = 1;
    double seconds;

    make_descriptors(b.fds, 4);
    if (write(b.fds[0].fd, &value, sizeof value) != sizeof value)
        bench_die("write");
    seconds = bench_turns_threads(load, &b, member);
    for (int i = 0; i < 4; i++)
        close(b.fds[i].fd);
    return seconds;
}

static double our_beside(const struct bench_load *load) { return beside_turns(load, our_beside_member); }
static double poll_beside(const struct bench_load *load) { return beside_turns(load, poll_beside_member); }

BENCH_INLINE void poll_all(void *fds) { poll(fds, OBJECTS, -1); }

static double poll_ready(const struct bench_load *load)
{
    struct pollfd fds[OBJECTS];
    uint64_t value = 1;
    double seconds;

    make_descriptors(fds, OBJECTS);
    if (write(fds[OBJECTS - 1].fd, &value, sizeof value) != sizeof value)
        bench_die("write");
    seconds = bench_free(load, fds, poll_all, nothing);
    for (int i = 0; i < OBJECTS; i++)
        close(fds[i].fd);
    return seconds;
}

const struct bench_metric bench_any[] = {
    { "any.turns.8", BENCH_US, { 0 },
      { { "plait", our_turns }, { "poll_eventfd", poll_turns }, { "limit:one_futex", futex_turns } }, 0 },
    { "any.ready.8", BENCH_NS, { 0 }, { { "plait", our_ready }, { "poll_eventfd", poll_ready } }, 0 },
    { "any.turns.fd", BENCH_US, { 0 }, { { "plait", our_beside }, { "poll_eventfd", poll_beside } }, 0 },
    { 0 },
};
