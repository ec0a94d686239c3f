/* SPDX-License-Identifier: MIT */
/* Pools of two workers: empty tasks, from one submitter; and short ones whose results are read as they come. */
#include <plait.h>
#include <plait/pool.h>

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "contend.h"
#include "peers.h"
#include "python.h"

enum { WORKERS = 2 };

static uint64_t left; /* atomic: tasks that have not yet run */
static plait_event_t all_done;

static int count_down(plait_task_t *task, const void *arg, size_t arg_size)
{
    if (__atomic_sub_fetch(&left, 1, __ATOMIC_ACQ_REL) == 0)
        plait_event_set(&all_done);
    return 0;
}

static int nothing(plait_task_t *task, const void *arg, size_t arg_size)
{
    return 0;
}

static plait_pool_t *pool_of(enum plait_backend backend)
{
    plait_pool_t *pool;

    if (plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = backend, .workers = WORKERS }) != 0 ||
        plait_pool_apply(pool, nothing, NULL, 0, NULL, NULL, PLAIT_FOREVER) != 0)
        bench_die("plait_pool_new");
    return pool;
}

static double ended(plait_pool_t *pool, const struct bench_load *load, double start)
{
    double seconds = (bench_now() - start) / (double)load->ops;

    plait_pool_free(pool);
    return seconds;
}

/* Nobody asks for the outcome: the tasks themselves tell when the last one has run. */
static double async_threads(const struct bench_load *load)
{
    plait_pool_t *pool = pool_of(PLAIT_THREADS);
    double start = bench_now();

    left = load->ops;
    plait_event_clear(&all_done);
    for (uint64_t i = 0; i < load->ops; i++)
        if (plait_pool_apply_async(pool, count_down, NULL, 0, NULL) != 0)
            bench_die("plait_pool_apply_async");
    plait_event_wait(&all_done, PLAIT_FOREVER);
    return ended(pool, load, start);
}

static double async_processes(const struct bench_load *load)
{
    plait_pool_t *pool = pool_of(PLAIT_PROCESSES);
    double start = bench_now();

    for (uint64_t i = 0; i < load->ops; i++)
        if (plait_pool_apply_async(pool, nothing, NULL, 0, NULL) != 0)
            bench_die("plait_pool_apply_async");
    plait_pool_close(pool);
    plait_pool_join(pool, PLAIT_FOREVER); /* the peers wait for their results */
    return ended(pool, load, start);
}

static double apply_in(enum plait_backend backend, const struct bench_load *load)
{
    plait_pool_t *pool = pool_of(backend);
    double start = bench_now();

    for (uint64_t i = 0; i < load->ops; i++)
        if (plait_pool_apply(pool, nothing, NULL, 0, NULL, NULL, PLAIT_FOREVER) != 0)
            bench_die("plait_pool_apply");
    return ended(pool, load, start);
}

static double apply_threads(const struct bench_load *load) { return apply_in(PLAIT_THREADS, load); }
static double apply_processes(const struct bench_load *load) { return apply_in(PLAIT_PROCESSES, load); }

/* What a round trip between two processes costs that do nothing else: each wakes the other and sleeps. */
BENCH_INLINE void futex_pass(void *words, unsigned me)
{
    uint32_t *mine = (uint32_t *)words + 16 * me, *other = (uint32_t *)words + 16 * !me;

    while (__atomic_load_n(mine, __ATOMIC_ACQUIRE) == 0)
        syscall(SYS_futex, mine, FUTEX_WAIT_BITSET, 0, NULL, NULL, FUTEX_BITSET_MATCH_ANY);
    __atomic_store_n(mine, 0, __ATOMIC_RELAXED);
    __atomic_store_n(other, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, other, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void futex_member(unsigned index, void *turns) { bench_take_turns(index, turns, futex_pass); }

static double ping_pong(const struct bench_load *load)
{
    uint32_t *words = bench_share(4096);
    double seconds;

    words[0] = 1;
    seconds = bench_processes(2, futex_member, &(struct bench_turns){ words, load->ops }, NULL);
    bench_unshare(words, 4096);
    return seconds / (double)load->ops;
}

static double map_processes(const struct bench_load *load)
{
    static uint64_t items[1 << 20];
    plait_pool_t *pool = pool_of(PLAIT_PROCESSES);
    size_t most = sizeof items / sizeof items[0];
    double start = bench_now();

    for (uint64_t done = 0; done < load->ops; done += most) {
        size_t count = load->ops - done < most ? (size_t)(load->ops - done) : most;

        if (plait_pool_map(pool, nothing, items, sizeof items[0], count, NULL, 0, PLAIT_FOREVER) != 0)
            bench_die("plait_pool_map");
    }
    return ended(pool, load, start);
}

/* ---- Results that are read as they come ---- */

static int one_more(plait_task_t *task, const void *arg, size_t arg_size)
{
    uint64_t value = *(const uint64_t *)arg + 1;

    return plait_task_return(task, &value, sizeof value);
}

struct numbers {
    uint64_t next, end;
};

static int next_number(void *context, const void **item_out, size_t *size_out)
{
    struct numbers *numbers = context;

    if (numbers->next == numbers->end)
        return EPIPE;
    numbers->next++;
    *item_out = &numbers->next;
    *size_out = sizeof numbers->next;
    return 0;
}

static double imap_with(bool unordered, const struct bench_load *load)
{
    struct numbers numbers = { 0, load->ops };
    struct plait_imap_opts opts = { .source = next_number, .context = &numbers };
    plait_pool_t *pool = pool_of(PLAIT_PROCESSES);
    struct plait_imap_result result;
    plait_imap_t *imap;
    uint64_t sum = 0;
    double start = bench_now();

    if ((unordered ? plait_pool_imap_unordered(pool, one_more, &opts, &imap) : plait_pool_imap(pool, one_more, &opts, &imap)) != 0)
        bench_die("plait_pool_imap");
    while (plait_imap_next(imap, &result, PLAIT_FOREVER) == 0)
        sum += *(const uint64_t *)result.bytes;
    if (sum != load->ops * (load->ops + 3) / 2)
        bench_die("plait_imap_next");
    plait_imap_free(imap);
    return ended(pool, load, start);
}

static double imap_processes(const struct bench_load *load) { return imap_with(false, load); }
static double imap_unordered_processes(const struct bench_load *load) { return imap_with(true, load); }

static double python_imap(const struct bench_load *load) { return bench_python("pool-imap", load, 5000); }
static double python_imap_chunks(const struct bench_load *load) { return bench_python("pool-imap-chunks", load, 200000); }
static double python_imap_unordered(const struct bench_load *load) { return bench_python("pool-imap-unordered", load, 5000); }

static double python_threads(const struct bench_load *load) { return bench_python("executor", load, 10000); }
static double python_threads_apply(const struct bench_load *load) { return bench_python("executor-apply", load, 2000); }
static double python_async(const struct bench_load *load) { return bench_python("pool-async", load, 5000); }
static double python_apply(const struct bench_load *load) { return bench_python("pool-apply", load, 500); }
static double python_map(const struct bench_load *load) { return bench_python("pool-map", load, 200000); }

const struct bench_metric bench_pools[] = {
    { "pool.threads.async", BENCH_NS, { .width = WORKERS },
      { { "plait", async_threads }, { "libuv_work", uv_tasks }, { "gthreadpool", glib_tasks },
        { "tbb_task_group", tbb_tasks }, { "python_threadpool", python_threads } }, 0 },
    { "pool.threads.apply", BENCH_US, { .width = WORKERS },
      { { "plait", apply_threads }, { "python_threadpool", python_threads_apply } }, 0 },
    { "pool.processes.async", BENCH_US, { .width = WORKERS },
      { { "plait", async_processes }, { "python_pool", python_async } }, 0 },
    { "pool.processes.apply", BENCH_US, { .width = WORKERS },
      { { "plait", apply_processes }, { "python_pool", python_apply }, { "limit:two_futexes", ping_pong } }, 0 },
    { "pool.processes.map", BENCH_NS, { .width = WORKERS },
      { { "plait", map_processes }, { "python_pool", python_map } }, 0 },
    { "pool.processes.imap", BENCH_NS, { .width = WORKERS },
      { { "plait", imap_processes }, { "python_pool", python_imap }, { "python_pool_chunks", python_imap_chunks } }, 0 },
    { "pool.processes.imap_unordered", BENCH_NS, { .width = WORKERS },
      { { "plait", imap_unordered_processes }, { "python_pool", python_imap_unordered } }, 0 },
    { 0 },
};
