/* SPDX-License-Identifier: MIT */
/* Pool: the front, the same for every back-end. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <plait/cancel.h>
#include <plait/init.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "base/fork_epoch.h"
#include "base/options.h"
#include "base/tls.h"
#include "exec/pool_backend.h"
#include "wait/point.h"

/*
 * How it works
 *
 * The front checks arguments and states; a back-end (pool_backend.h) queues and runs. map is made of ordinary tasks,
 * each with a run of items as its argument and all their results as its result (task.c).
 *
 * A pool's struct lives as long as its handle or one of its futures, because their results and locks are in it or
 * in its arena.
 */

static PLAIT_TLS const struct plait_pool *current; /* whose worker or supervisor this thread is */

enum { WORKERS_MAX = 1024, CHUNKS_PER_WORKER = 4 };

int plait_pool_new_sized(plait_pool_t **pool_out, const struct plait_pool_opts *given, size_t given_size)
{
    struct plait_pool_opts opts;

    if (!pool_out || plait__options_read(&opts, sizeof opts, given, given_size) || opts.workers > WORKERS_MAX ||
        opts.memory > (size_t)1 << 46)
        return EINVAL;
    if (opts.workers == 0)
        opts.workers = plait_cpu_count() < WORKERS_MAX ? plait_cpu_count() : WORKERS_MAX;
    if (opts.memory == 0)
        opts.memory = (size_t)1 << 30;
    if (!opts.name)
        opts.name = "plait-pool";
    switch (opts.backend) {
    case PLAIT_THREADS:
        return plait__pool_threads.open(&opts, pool_out);
    case PLAIT_PROCESSES:
        return plait__pool_processes.open(&opts, pool_out);
    }
    return EINVAL;
}

void plait__pool_enter(const struct plait_pool *pool)
{
    current = pool;
}

bool plait__pool_is_inside(const struct plait_pool *pool)
{
    return current == pool;
}

void plait__pool_unreference(struct plait_pool *pool)
{
    if (sub_acqrel(&pool->references, 1) == 1)
        pool->backend->destroy(pool);
}

/* In a child after fork the workers are not ours. */
static bool is_inherited(const struct plait_pool *pool)
{
    return pool->epoch != plait__fork_epoch();
}

/* ---- Submitting ------------------------------------------------------------------------ */

static int submit(plait_pool_t *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                  plait_future_t **future_out)
{
    int err;

    if (is_inherited(pool) || load_acquire(&pool->state) != POOL_RUNNING)
        return EPIPE;
    add64_relaxed(&pool->submitted, 1);
    err = pool->backend->submit(pool, fn, arg, work, future_out);
    if (err)
        add64_relaxed(&pool->submitted, (uint64_t)-1);
    return err;
}

int plait_pool_apply_async(plait_pool_t *pool, plait_task_fn *fn, const void *arg, size_t arg_size,
                           plait_future_t **future_out)
{
    struct plait__work work = { .arg_size = arg_size };

    if (!fn || (arg_size && !arg))
        return EINVAL;
    return submit(pool, fn, arg, &work, future_out);
}

int plait_pool_apply(plait_pool_t *pool, plait_task_fn *fn, const void *arg, size_t arg_size, void *result,
                     size_t *result_size, plait_time_t deadline)
{
    plait_future_t *future;
    const void *bytes;
    size_t size;
    int err;

    if (result && !result_size)
        return EINVAL;
    err = plait_pool_apply_async(pool, fn, arg, arg_size, &future);
    if (err)
        return err;
    err = plait_future_get(future, &bytes, &size, deadline);
    if (err == 0 && result_size) {
        size_t kept = size < *result_size ? size : *result_size;
        if (result && kept)
            memcpy(result, bytes, kept);
        *result_size = size;
    }
    plait_future_cancel(future);
    plait_future_free(future);
    return err;
}

/* Wait for one chunk of a map and put its results in place. */
static int collect(plait_future_t *future, char *results, size_t size, plait_time_t deadline)
{
    const void *bytes;
    const struct plait__map_result *result;
    int err = plait_future_get(future, &bytes, NULL, deadline);

    if (err) {
        if (size)
            memset(results, 0, size);
        return err;
    }
    result = bytes;
    if (size)
        memcpy(results, result + 1, size);
    return result->code;
}

int plait_pool_map(plait_pool_t *pool, plait_task_fn *fn, const void *items, size_t item_size, size_t count,
                   void *results, size_t result_size, plait_time_t deadline)
{
    size_t chunk = (count + CHUNKS_PER_WORKER * pool->workers - 1) / (CHUNKS_PER_WORKER * pool->workers);
    size_t chunks = count ? (count + chunk - 1) / chunk : 0;
    plait_future_t **futures;
    size_t begun = 0, bytes;
    int first_err = 0, err = 0;

    if (!results)
        result_size = 0;
    if (!fn || (!items && item_size && count) || __builtin_mul_overflow(count, item_size, &bytes) ||
        __builtin_mul_overflow(count, result_size, &bytes))
        return EINVAL;
    if (count == 0)
        return 0;
    futures = calloc(chunks, sizeof *futures);
    if (!futures)
        return ENOMEM;
    for (; begun < chunks; begun++) {
        size_t from = begun * chunk, n = count - from < chunk ? count - from : chunk;
        struct plait__work work = { .arg_size = n * item_size, .count = n, .item_size = item_size,
                                    .result_size = result_size };
        err = submit(pool, fn, (const char *)items + from * item_size, &work, &futures[begun]);
        if (err)
            break;
    }
    if (err && results)
        memset((char *)results + begun * chunk * result_size, 0, (count - begun * chunk) * result_size);
    for (size_t i = 0; i < begun; i++) {
        size_t from = i * chunk, n = count - from < chunk ? count - from : chunk;
        int chunk_err = collect(futures[i], (char *)results + from * result_size, n * result_size, deadline);
        if (first_err == 0)
            first_err = chunk_err;
        plait_future_cancel(futures[i]); /* nothing, if it is done */
        plait_future_free(futures[i]);
    }
    free(futures);
    return first_err ? first_err : err;
}

/* ---- Ending ---------------------------------------------------------------------------- */

/* Move the state forward; false: it was there or further already. */
static bool advance(struct plait_pool *pool, uint32_t state)
{
    uint32_t seen = load_acquire(&pool->state);

    while (seen < state)
        if (cas_acqrel(&pool->state, &seen, state))
            return true;
    return false;
}

int plait_pool_close(plait_pool_t *pool)
{
    if (!is_inherited(pool) && advance(pool, POOL_CLOSED))
        pool->backend->close(pool);
    return 0;
}

int plait_pool_terminate(plait_pool_t *pool)
{
    if (!is_inherited(pool) && advance(pool, POOL_TERMINATED))
        pool->backend->terminate(pool);
    return 0;
}

int plait_pool_join(plait_pool_t *pool, plait_time_t deadline)
{
    if (is_inherited(pool))
        return EOWNERDEAD;
    if (load_acquire(&pool->state) == POOL_RUNNING)
        return EINVAL;
    if (plait__pool_is_inside(pool))
        return EDEADLK;
    return pool->backend->join(pool, deadline);
}

int plait_pool_free(plait_pool_t *pool)
{
    plait_cancel_t *token;
    int closed, err;

    if (!pool || is_inherited(pool)) /* the memory is the parent's copy: its locks may be held for ever */
        return 0;
    if (plait__pool_is_inside(pool))
        return EDEADLK;
    token = plait_cancel_bind(NULL);
    closed = plait__point_close();
    err = load_acquire(&pool->state) == POOL_RUNNING ? ETIMEDOUT : pool->backend->join(pool, PLAIT_NOW);
    if (err) {
        plait_pool_terminate(pool);
        pool->backend->join(pool, PLAIT_FOREVER);
    }
    plait__point_restore(closed);
    plait_cancel_bind(token);
    plait__pool_unreference(pool);
    return 0;
}

/* ---- Figures --------------------------------------------------------------------------- */

int plait_pool_stats(const plait_pool_t *pool, struct plait_pool_stats *stats_out)
{
    struct plait_pool_stats stats = { .workers = pool->workers };
    uint64_t submitted, ended;

    for (unsigned i = 0; i < pool->workers; i++) {
        struct plait_pool_worker worker;
        uint64_t failed;

        pool->backend->look(pool, i, &worker, &failed);
        stats.busy += worker.busy;
        stats.done += worker.done;
        stats.failed += failed;
    }
    stats.done += load64_relaxed(&pool->settled);
    stats.failed += load64_relaxed(&pool->settled);
    submitted = load64_relaxed(&pool->submitted);
    ended = stats.done + stats.busy;
    stats.pending = submitted > ended ? submitted - ended : 0;
    *stats_out = stats;
    return 0;
}

int plait_pool_worker(const plait_pool_t *pool, unsigned number, struct plait_pool_worker *worker_out)
{
    uint64_t failed;

    if (number >= pool->workers)
        return EINVAL;
    pool->backend->look(pool, number, worker_out, &failed);
    return 0;
}
