/* SPDX-License-Identifier: MIT */
/* Pool: workers, threads or processes, that run tasks. */
#ifndef PLAIT_POOL_H
#define PLAIT_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <plait/export.h>
#include <plait/future.h>
#include <plait/group.h>
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
 * States: running, closed (no more tasks; what is queued is done), terminated (what is queued is cancelled), broken (a worker's
 * initializer has failed: as terminated, and with its code and text instead of ECANCELED).
 * Tasks start in the order of submission, or by priority; so that many short ones cost little, a worker thread may take some at a time,
 * which moves the start of one against another by a few microseconds. Threads and processes are used in the same way; which it is, one option
 * says. The arguments and results of tasks on processes travel through an arena of the pool's own.
 *
 * A worker process that dies fails only the task that it ran, with EOWNERDEAD, and is replaced. The error's text has its exit status or signal;
 * and that memory ran out, if the kernel has ended processes for that meanwhile (as its control group, or the system, counts). Workers end with
 * the program, however it ends (what they were to do, too: join first what must be done), and ignore the terminal's SIGINT, so that
 * Ctrl-C is the program's to handle.
 *
 * A task may submit tasks to the pool it runs in only on threads; one that waits there for a task not yet started runs
 * it itself, so that nesting cannot deadlock. A task that is run so is run to its end, also past the deadline of who waits; with PLAIT_NOW
 * none is run.
 *
 * A child after fork has none of the workers: there, apply answers EPIPE, and join EOWNERDEAD, as do waits for what is not done.
 *
 * A task that ends its thread instead of returning (pthread_exit, plait_thread_fail) fails with EOWNERDEAD and costs its worker, which
 * is replaced; on threads also the tasks that waited in that worker for this one. A worker's finalizer is not called then.
 */
typedef struct plait_pool plait_pool_t;

enum plait_backend { PLAIT_THREADS = 0, PLAIT_PROCESSES = 1 };

/* What becomes of a task that is submitted while the backlog is full. */
enum plait_when_full {
    PLAIT_FULL_WAITS = 0,    /* the caller waits for room, until the deadline, if the call has one; it is cancelled by its token */
    PLAIT_FULL_REFUSES = 1,  /* EAGAIN; the parts of a map wait all the same */
    PLAIT_FULL_RUNS_HERE = 2 /* the caller runs the task itself, in the program; the future is then done. Past its deadline: as above */
};

/*
 * Options of plait_pool_new; zero is the default of each.
 *
 * With min_workers the pool is elastic: it begins with so many, a further one starts when a task finds all others at work, up to
 * `workers`, so that there are never more than tasks; and one that had nothing to do for idle_time ends, down to min_workers.
 *
 * Each worker runs the initializer before its first task, and the finalizer, if the first did not fail, when it leaves in peace: at the
 * end of a pool that was closed, on renewal, or idle; not when it is killed, as by terminate on processes. They are called as a task
 * is, with init_arg; plait_task_worker tells them the worker's number. What they set up is found in static and thread-local variables.
 *
 * A task that is submitted by a task of the same pool (on threads; there also by a callback, which a worker calls) when the backlog is full runs
 * at once, inside of that one: it could wait for ever. On processes when_full goes for callbacks as for anybody.
 */
struct plait_pool_opts {
    enum plait_backend backend;
    unsigned workers;  /* 0: plait_cpu_count(); at most 1024 */
    size_t memory;     /* processes: bytes that arguments and results can take at one time; 0: 1 GiB */
    const char *name;  /* of the workers, for ps and top; NULL: "plait-pool"; copied */
    bool by_priority;  /* tasks start by their priority */
    unsigned min_workers;      /* 0: as many as `workers` */
    double idle_time;          /* seconds; 0: ten */
    unsigned tasks_per_worker; /* after so many a new worker takes its place, and no task is lost; a map's chunk is one. 0: any number */
    plait_task_fn *initializer; /* NULL: none */
    plait_task_fn *finalizer;   /* NULL: none; its code does not matter */
    const void *init_arg;      /* of both; copied */
    size_t init_arg_size;
    size_t backlog;            /* tasks that may wait while all workers are at work: submitted and not ended are at most this and
                                  `workers`. 0: any number */
    enum plait_when_full when_full;
};

/* Make a pool and start its workers, not waiting for their initializers. EINVAL: absurd options. EAGAIN, ENOMEM, ENOSPC: what the system refused. */
PLAIT_API int plait_pool_new_sized(plait_pool_t **pool_out, const struct plait_pool_opts *opts, size_t opts_size);

PLAIT_API int plait_pool_new(plait_pool_t **pool_out, const struct plait_pool_opts *opts);
PLAIT_INLINE_ALWAYS int plait_pool_new(plait_pool_t **pool_out, const struct plait_pool_opts *opts)
{
    return plait_pool_new_sized(pool_out, opts, sizeof(struct plait_pool_opts));
}

/*
 * Submit a task; arg[0..arg_size) is copied. *future_out receives its future; with NULL nobody cares for
 * the outcome. EPIPE: closed. EINVAL: no pool, no function, or one that lies in no loaded module (processes). ENOMEM,
 * ENOSPC: no room for the argument. Where there is a backlog: EAGAIN, ECANCELED: it is full, see enum plait_when_full.
 */
PLAIT_API int plait_pool_apply_async(plait_pool_t *pool, plait_task_fn *fn, const void *arg, size_t arg_size,
                                     plait_future_t **future_out);

/* Options of plait_pool_submit; zero is the default of each but fn. */
struct plait_task_opts {
    plait_task_fn *fn;
    const void *arg; /* copied */
    size_t arg_size;
    int64_t priority; /* where the pool goes by it: the smaller starts first, equal ones in the order of submission */
    double limit;     /* seconds that it may run; 0: no limit */
    double grace;     /* seconds from one step against a task that runs too long, or was cancelled, to the next; 0: one second if it has a limit */
    void (*callback)(plait_future_t *future, void *context);       /* when it has succeeded */
    void (*error_callback)(plait_future_t *future, void *context); /* when it has failed or was cancelled */
    void *context;    /* of both */
    plait_group_t *group; /* that it is put into; NULL: none */
    unsigned retries;     /* times that it is run again when it has failed */
    double retry_after;   /* seconds until it is run again, twice as many each time, but at most a minute. 0: at once */
};

/*
 * plait_pool_apply_async with all that can be said of a task. Errors as there, and EINVAL: a limit or grace that is negative or no
 * number. The callbacks are called as those of plait_future_on_done; where future_out is NULL the future is not theirs to free.
 *
 *     plait_pool_submit(pool, &(struct plait_task_opts){ .fn = render, .arg = &page, .arg_size = sizeof page, .limit = 10 }, &f);
 *
 * A task that runs longer than its limit is asked to stop (plait_task_is_cancelled). On processes, if it still runs a grace later,
 * it fails with ETIMEDOUT, whatever it does from then on, and its worker gets SIGTERM, and after another grace SIGKILL; a new one takes its place.
 * A worker thread cannot be ended so: there the request is all. A task that ends by itself before has the outcome that it made.
 * The same goes for one with a limit or a grace that is cancelled while it runs (plait_future_cancel), but that it fails with ECANCELED.
 *
 * A task with retries that fails, whichever way (its worker's death and a limit passed as well), is queued again; plait_task_attempt tells it how
 * often it has been run before. Not if it was cancelled, or the pool is terminated. The future is done once it has succeeded, or has failed
 * for the last time, with the last code and text. A pool that was closed waits for them.
 */
PLAIT_API int plait_pool_submit_sized(plait_pool_t *pool, const struct plait_task_opts *opts, size_t opts_size,
                                      plait_future_t **future_out);

PLAIT_API int plait_pool_submit(plait_pool_t *pool, const struct plait_task_opts *opts, plait_future_t **future_out);
PLAIT_INLINE_ALWAYS int plait_pool_submit(plait_pool_t *pool, const struct plait_task_opts *opts, plait_future_t **future_out)
{
    return plait_pool_submit_sized(pool, opts, sizeof(struct plait_task_opts), future_out);
}

/*
 * Run a task and wait for it. Up to *result_size bytes of the result are copied to `result` (may be NULL, with
 * result_size NULL), *result_size becomes the whole length. Errors as apply_async and plait_future_get; after
 * ETIMEDOUT and ECANCELED the task is cancelled as by plait_future_cancel, or, if the backlog was full, has not been submitted.
 */
PLAIT_API int plait_pool_apply(plait_pool_t *pool, plait_task_fn *fn, const void *arg, size_t arg_size,
                               void *result, size_t *result_size, plait_time_t deadline);

/*
 * Run fn on each of `count` items of item_size bytes and wait for all; result i, of result_size bytes (0: none), goes
 * to place i of `results`, cut or padded with zeros. Items are sent in chunks, whose start is aligned to 16. On failure the first error by index is
 * returned, after all have ended; the places of failed ones are zero. At the deadline what has not ended is cancelled, what a full backlog
 * has kept from being submitted is left out, and both have failed with ETIMEDOUT. Errors as apply.
 */
PLAIT_API int plait_pool_map(plait_pool_t *pool, plait_task_fn *fn, const void *items, size_t item_size,
                             size_t count, void *results, size_t result_size, plait_time_t deadline);

/*
 * The same without waiting: *future_out receives the future of all of it, whose result is the array of results. It ends when the last item has;
 * if some have failed, with the code and text of the first by index. Items are copied. Cancelling it ends it at once: items that have not
 * begun are not run, tasks that run are asked to stop. Errors as apply_async.
 */
PLAIT_API int plait_pool_map_async(plait_pool_t *pool, plait_task_fn *fn, const void *items, size_t item_size,
                                   size_t count, size_t result_size, plait_future_t **future_out);

/*
 * Let no more tasks start until plait_pool_resume; those that run go on, and tasks may be submitted. What a running task itself waits for
 * is started all the same, where its worker can run it (threads). A pool that is closed while it is paused ends after it was resumed; terminate
 * needs no resume. To do it twice is to do it once. Always 0.
 */
PLAIT_API int plait_pool_pause(plait_pool_t *pool);
PLAIT_API int plait_pool_resume(plait_pool_t *pool);
PLAIT_API bool plait_pool_is_paused(const plait_pool_t *pool);

/* No more tasks: apply answers EPIPE. What is queued is done. Closing again changes nothing. Always 0. */
PLAIT_API int plait_pool_close(plait_pool_t *pool);

/*
 * Stop: close, cancel what is queued, ask what runs to stop; worker processes are killed (their tasks
 * fail with ECANCELED, unless they end in that instant), worker threads end when their task has returned. Always 0.
 */
PLAIT_API int plait_pool_terminate(plait_pool_t *pool);

/*
 * Wait until all workers have ended, and their tasks' callbacks have been called. EINVAL: neither closed nor terminated. EDEADLK: called by one of
 * its tasks (threads) or callbacks. ETIMEDOUT, ECANCELED as everywhere.
 */
PLAIT_API int plait_pool_join(plait_pool_t *pool, plait_time_t deadline);

/*
 * Drop the pool; NULL is allowed. One that was not joined is terminated and joined first. 0; EDEADLK, and nothing done: called
 * by one of its tasks (threads) or callbacks.
 */
PLAIT_API int plait_pool_free(plait_pool_t *pool);

enum plait_worker_state {
    PLAIT_WORKER_NONE = 0, /* there is none of this number at present: an elastic pool has no need for it, or it is being replaced */
    PLAIT_WORKER_IDLE = 1,
    PLAIT_WORKER_BUSY = 2,
    PLAIT_WORKER_PREPARING = 3 /* it runs the initializer, or the finalizer */
};

/* What one worker is and has done. */
struct plait_pool_worker {
    enum plait_worker_state state;
    pid_t pid;               /* of its process; 0: none */
    plait_task_fn *task;     /* what it runs; of tasks inside each other the inner one. NULL: nothing */
    plait_time_t since;      /* since when it is in that state, as plait_now, to about 10 ms */
    unsigned long long done; /* tasks ended well or badly by this number's workers */
    unsigned long long failed; /* of these: badly */
    unsigned restarts;       /* times it was replaced because it had died */
};

/* Live figures: consistent each, not together. */
struct plait_pool_stats {
    unsigned workers;            /* at present */
    unsigned busy;
    size_t pending;              /* submitted, not started */
    unsigned long long done;     /* ended: failed ones included */
    unsigned long long failed;
};

/* Read the figures. EINVAL: nowhere to put them. */
PLAIT_API int plait_pool_stats(const plait_pool_t *pool, struct plait_pool_stats *stats_out);

/* Read what worker `number` is doing. EINVAL: there is no such number; they go from 0 to before opts.workers. Or nowhere to put it. */
PLAIT_API int plait_pool_worker(const plait_pool_t *pool, unsigned number, struct plait_pool_worker *worker_out);

PLAIT_END_DECLS

#endif
