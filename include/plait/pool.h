/* SPDX-License-Identifier: MIT */
/* Pool: workers, threads or processes, that run tasks. */
#ifndef PLAIT_POOL_H
#define PLAIT_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <plait/export.h>
#include <plait/future.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * plait_pool_t - a number of workers and the queue of tasks before them.
 *
 *     plait_pool_t *pool;
 *     plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = PLAIT_PROCESSES });
 *     plait_pool_map(pool, square, numbers, sizeof *numbers, n, squares, sizeof *squares, PLAIT_FOREVER);
 *     plait_pool_close(pool);
 *     plait_pool_join(pool, PLAIT_FOREVER);
 *     plait_pool_free(pool);
 *
 * States: running, closed (no more tasks; what is queued is done), terminated (what is queued is cancelled).
 * Tasks start in the order of submission. Threads and processes are used in the same way; which it is, one option
 * says. The arguments and results of tasks on processes travel through an arena of the pool's own.
 *
 * A worker process that dies fails only the task that it ran, with EOWNERDEAD, and is replaced. Workers end with
 * the program, however it ends, and ignore the terminal's SIGINT, so that Ctrl-C is the program's to handle.
 *
 * A task may submit tasks to the pool it runs in only on threads; one that waits there for a task not yet started runs
 * it itself, so that nesting cannot deadlock.
 *
 * A child after fork has none of the workers: there, apply answers EPIPE and join EOWNERDEAD.
 */
typedef struct plait_pool plait_pool_t;

enum plait_backend { PLAIT_THREADS = 0, PLAIT_PROCESSES = 1 };

/* Options of plait_pool_new; zero is the default of each. */
struct plait_pool_opts {
    enum plait_backend backend;
    unsigned workers;  /* 0: plait_cpu_count(); at most 1024 */
    size_t memory;     /* processes: bytes that arguments and results can take at one time; 0: 1 GiB */
    const char *name;  /* of the workers, for ps and top; NULL: "plait-pool"; copied */
};

/* Make a pool and start its workers. EINVAL: absurd options. EAGAIN, ENOMEM, ENOSPC: what the system refused. */
PLAIT_API int plait_pool_new_sized(plait_pool_t **pool_out, const struct plait_pool_opts *opts, size_t opts_size);

PLAIT_API int plait_pool_new(plait_pool_t **pool_out, const struct plait_pool_opts *opts);
PLAIT_INLINE_ALWAYS int plait_pool_new(plait_pool_t **pool_out, const struct plait_pool_opts *opts)
{
    return plait_pool_new_sized(pool_out, opts, sizeof(struct plait_pool_opts));
}

/*
 * Submit a task; arg[0..arg_size) is copied. *future_out receives its future; with NULL nobody cares for
 * the outcome. EPIPE: closed. EINVAL: no function, or one that lies in no loaded module (processes). ENOMEM,
 * ENOSPC: no room for the argument.
 */
PLAIT_API int plait_pool_apply_async(plait_pool_t *pool, plait_task_fn *fn, const void *arg, size_t arg_size,
                                     plait_future_t **future_out);

/*
 * Run a task and wait for it. Up to *result_size bytes of the result are copied to `result` (may be NULL, with
 * result_size NULL), *result_size becomes the whole length. Errors as apply_async and plait_future_get; after
 * ETIMEDOUT and ECANCELED the task is cancelled as by plait_future_cancel.
 */
PLAIT_API int plait_pool_apply(plait_pool_t *pool, plait_task_fn *fn, const void *arg, size_t arg_size,
                               void *result, size_t *result_size, plait_time_t deadline);

/*
 * Run fn on each of `count` items of item_size bytes and wait for all; result i, of result_size bytes (0: none), goes
 * to place i of `results`, cut or padded with zeros. Items are sent in chunks, whose start is aligned to 16. On failure the first error by index is
 * returned, after all have ended; the places of failed ones are zero. Errors as apply.
 */
PLAIT_API int plait_pool_map(plait_pool_t *pool, plait_task_fn *fn, const void *items, size_t item_size,
                             size_t count, void *results, size_t result_size, plait_time_t deadline);

/* No more tasks: apply answers EPIPE. What is queued is done. Closing again changes nothing. Always 0. */
PLAIT_API int plait_pool_close(plait_pool_t *pool);

/*
 * Stop: close, cancel what is queued, ask what runs to stop; worker processes are killed (their tasks
 * fail with ECANCELED, unless they end in that instant), worker threads end when their task has returned. Always 0.
 */
PLAIT_API int plait_pool_terminate(plait_pool_t *pool);

/*
 * Wait until all workers have ended. EINVAL: neither closed nor terminated. EDEADLK: called by a worker. ETIMEDOUT,
 * ECANCELED as everywhere.
 */
PLAIT_API int plait_pool_join(plait_pool_t *pool, plait_time_t deadline);

/*
 * Drop the pool; NULL is allowed. One that was not joined is terminated and joined first. 0; EDEADLK, and nothing done: called
 * by one of its tasks (threads) or callbacks.
 */
PLAIT_API int plait_pool_free(plait_pool_t *pool);

/* What one worker is and has done. */
struct plait_pool_worker {
    pid_t pid;              /* of its process */
    bool busy;
    unsigned long long done; /* tasks ended well or badly by this number's workers */
    unsigned restarts;      /* times it was replaced */
};

/* Live figures: consistent each, not together. */
struct plait_pool_stats {
    unsigned workers;
    unsigned busy;
    size_t pending;              /* submitted, not started */
    unsigned long long done;     /* ended: failed ones included */
    unsigned long long failed;
};

/* Read the figures. Always 0. */
PLAIT_API int plait_pool_stats(const plait_pool_t *pool, struct plait_pool_stats *stats_out);

/* Read what worker `number` is doing. EINVAL: there is no such number. */
PLAIT_API int plait_pool_worker(const plait_pool_t *pool, unsigned number, struct plait_pool_worker *worker_out);

PLAIT_END_DECLS

#endif
