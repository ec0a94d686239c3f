/* SPDX-License-Identifier: MIT */
/* Pools of two workers: empty tasks, from one submitter. */
#include <plait.h>
#include <plait/pool.h>

#include <limits.h>

#include "bench.h"
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
      { { "plait", apply_processes }, { "python_pool", python_apply } }, 0 },
    { "pool.processes.map", BENCH_NS, { .width = WORKERS },
      { { "plait", map_processes }, { "python_pool", python_map } }, 0 },
    { 0 },
};
