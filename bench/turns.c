/* SPDX-License-Identifier: MIT */
/*
 * One item to and fro between two threads or two processes, beside a word that is spun on, and one with the kernel's futex: each may
 * spin as it likes ("turns"), or both share one CPU, so that each has to sleep until the other has gone to sleep ("asleep").
 */
#include <plait.h>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "contend.h"
#include "peers.h"

struct table {
    void *to[2]; /* const: what each of the two takes from */
    uint64_t ops;
    bool on_one_cpu;
};

static void sit_down(const struct table *t)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (t->on_one_cpu && sched_setaffinity(0, sizeof one, &one) != 0)
        bench_die("sched_setaffinity");
}

BENCH_INLINE void take_turns(unsigned me, void *table, void (*take)(void *), void (*give)(void *))
{
    const struct table *t = (struct table *)table;

    sit_down(t);
    for (uint64_t i = 0; i < t->ops; i++) {
        if (me == 0)
            give(t->to[1]);
        take(t->to[me]);
        if (me == 1)
            give(t->to[0]);
    }
}

static double run_threads(const struct bench_load *load, void *a, void *b, bench_member *member)
{
    struct table table = { { a, b }, load->ops, load->width == 1 };

    return bench_threads(2, member, &table, NULL) / (double)load->ops;
}

static double run_processes(const struct bench_load *load, void *a, void *b, bench_member *member)
{
    struct table table = { { a, b }, load->ops, load->width == 1 };

    return bench_processes(2, member, &table, NULL) / (double)load->ops;
}

/* ---- Ours ---- */

BENCH_INLINE void get(void *queue)
{
    uint64_t item;

    if (plait_queue_get((plait_queue_t *)queue, &item, PLAIT_FOREVER) != 0)
        bench_die("plait_queue_get");
}

BENCH_INLINE void put(void *queue)
{
    uint64_t item = 1;

    if (plait_queue_put((plait_queue_t *)queue, &item, PLAIT_FOREVER) != 0)
        bench_die("plait_queue_put");
}

static void queue_member(unsigned me, void *table) { take_turns(me, table, get, put); }

static void two_queues(plait_arena_t *arena, plait_queue_t *queues[2], size_t maxsize)
{
    const struct plait_queue_opts opts = { .item_size = sizeof(uint64_t), .maxsize = maxsize, .arena = arena };

    for (int i = 0; i < 2; i++)
        if (plait_queue_new(&queues[i], &opts) != 0)
            bench_die("plait_queue_new");
}

static double queues_of(const struct bench_load *load, size_t maxsize)
{
    plait_queue_t *queues[2];
    double seconds;

    two_queues(NULL, queues, maxsize);
    seconds = run_threads(load, queues[0], queues[1], queue_member);
    plait_queue_free(queues[0]);
    plait_queue_free(queues[1]);
    return seconds;
}

static double queues(const struct bench_load *load) { return queues_of(load, 16); }
static double unbounded_queues(const struct bench_load *load) { return queues_of(load, 0); }

static double queues_of_processes(const struct bench_load *load)
{
    plait_arena_t *arena;
    plait_queue_t *queues[2];
    double seconds;

    if (plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20 }) != 0)
        bench_die("plait_arena_new");
    two_queues(arena, queues, 16);
    seconds = run_processes(load, queues[0], queues[1], queue_member);
    plait_queue_free(queues[0]);
    plait_queue_free(queues[1]);
    plait_arena_free(arena);
    return seconds;
}

BENCH_INLINE void acquire(void *sem) { plait_sem_acquire((plait_sem_t *)sem, 1, PLAIT_FOREVER); }
BENCH_INLINE void release(void *sem) { plait_sem_release((plait_sem_t *)sem, 1); }
static void sem_member(unsigned me, void *table) { take_turns(me, table, acquire, release); }

static double sems(const struct bench_load *load)
{
    plait_sem_t a __attribute__((aligned(64))) = PLAIT_SEM_INIT(0), b __attribute__((aligned(64))) = PLAIT_SEM_INIT(0);

    return run_threads(load, &a, &b, sem_member);
}

/* ---- A word, and nothing else ---- */

static long futex(uint32_t *word, int op, uint32_t value) { return syscall(SYS_futex, word, op, value, NULL, NULL, 0); }

BENCH_INLINE void await_word(uint32_t *word, int is_private)
{
    while (__atomic_exchange_n(word, 0, __ATOMIC_ACQUIRE) == 0)
        futex(word, FUTEX_WAIT | is_private, 0);
}

BENCH_INLINE void set_word(uint32_t *word, int is_private)
{
    __atomic_store_n(word, 1, __ATOMIC_RELEASE);
    futex(word, FUTEX_WAKE | is_private, 1);
}

BENCH_INLINE void await_private(void *word) { await_word((uint32_t *)word, FUTEX_PRIVATE_FLAG); }
BENCH_INLINE void set_private(void *word) { set_word((uint32_t *)word, FUTEX_PRIVATE_FLAG); }
BENCH_INLINE void await_shared(void *word) { await_word((uint32_t *)word, 0); }
BENCH_INLINE void set_shared(void *word) { set_word((uint32_t *)word, 0); }
static void private_member(unsigned me, void *table) { take_turns(me, table, await_private, set_private); }
static void shared_member(unsigned me, void *table) { take_turns(me, table, await_shared, set_shared); }

static double between_threads(const struct bench_load *load, bench_member *member)
{
    uint32_t a __attribute__((aligned(64))) = 0, b __attribute__((aligned(64))) = 0;

    return run_threads(load, &a, &b, member);
}

static double between_processes(const struct bench_load *load, bench_member *member)
{
    uint32_t *pair = bench_share(128);
    double seconds = run_processes(load, pair, pair + 16, member);

    bench_unshare(pair, 128);
    return seconds;
}

static double words(const struct bench_load *load) { return between_threads(load, private_member); }
static double words_of_processes(const struct bench_load *load) { return between_processes(load, shared_member); }

/* The same without the kernel: what the machine takes to carry a cache line to and fro. Neither looks at the time, nor lets others run. */

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static void await_store(void *word)
{
    while (__atomic_load_n((uint32_t *)word, __ATOMIC_ACQUIRE) == 0)
        relax();
    __atomic_store_n((uint32_t *)word, 0, __ATOMIC_RELAXED);
}

static void store(void *word) { __atomic_store_n((uint32_t *)word, 1, __ATOMIC_RELEASE); }
static void spinning_member(unsigned me, void *table) { take_turns(me, table, await_store, store); }

static double spins(const struct bench_load *load) { return between_threads(load, spinning_member); }
static double spins_of_processes(const struct bench_load *load) { return between_processes(load, spinning_member); }

/* `width` 1: both on one CPU. */
const struct bench_metric bench_turns[] = {
    { "turns.queue", BENCH_NS, { .width = 2 }, { { "plait", queues }, { "limit:bare_spin", spins }, { "limit:one_futex", words } }, 0 },
    { "turns.queue.unbounded", BENCH_NS, { .width = 2 }, { { "plait", unbounded_queues }, { "limit:bare_spin", spins } }, 0 },
    { "turns.queue.asleep", BENCH_NS, { .width = 1 }, { { "plait", queues }, { "limit:one_futex", words } }, 0 },
    { "turns.queue.processes", BENCH_NS, { .width = 2 },
      { { "plait", queues_of_processes }, { "limit:bare_spin", spins_of_processes }, { "limit:one_futex", words_of_processes } }, 0 },
    { "turns.queue.processes.asleep", BENCH_NS, { .width = 1 },
      { { "plait", queues_of_processes }, { "limit:one_futex", words_of_processes } }, 0 },
    { "turns.sem", BENCH_NS, { .width = 2 }, { { "plait", sems }, { "limit:bare_spin", spins }, { "limit:one_futex", words } }, 0 },
    { "turns.sem.asleep", BENCH_NS, { .width = 1 }, { { "plait", sems }, { "limit:one_futex", words } }, 0 },
    { 0 },
};
