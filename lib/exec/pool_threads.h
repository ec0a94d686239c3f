/* SPDX-License-Identifier: MIT */
/* Pool on threads: what its parts share. How it works is told in pool_threads.c, pool_bare.c and pool_watched.c. */
#ifndef PLAIT_EXEC_POOL_THREADS_H
#define PLAIT_EXEC_POOL_THREADS_H

#include <plait/queue.h>
#include <plait/timer.h>

#include "base/clock.h"
#include "base/tls.h"
#include "exec/bulk.h"
#include "exec/crew.h"
#include "exec/kept.h"
#include "exec/pool_backend.h"

struct job {
    struct plait__crew_task node; /* first */
    plait_task_fn *fn;            /* const */
    uint64_t size;                /* const: of the argument; above that, of bare ones, how many blocks of bulk memory; 0: it is malloc'ed */
};

enum { JOB_BLOCKS_SHIFT = 48 };
#define JOB_ARG_MAX (((uint64_t)1 << JOB_BLOCKS_SHIFT) - 4096)
#define JOB_ARG_MASK (((uint64_t)1 << JOB_BLOCKS_SHIFT) - 1)

/* What is said of a job beside its argument. */
struct extra {
    struct plait__work work; /* const */
    plait_timer_t timer;     /* until it is run again; who has failed to do it */
    bool has_timer;
    plait_time_t not_before; /* atomic */
    struct watched *next, **link; /* guarded by the pool's lock: in `later`; link NULL: it is not there */
    bool has_entry;          /* the same: its node is in the queue, where it can be only once */
};

struct watched {
    struct plait__kept kept; /* first */
    struct job job;
    struct extra *extra;     /* const: behind the argument; NULL: nothing is said */
    unsigned attempt;        /* of the claimer */
    char arg[] __attribute__((aligned(16)));
};

enum threads_stage { WORKER_AWAY, WORKER_PREPARES, WORKER_SERVES };

struct worker {
    struct pool *pool;        /* const */
    unsigned number;          /* const */
    uint32_t stage;           /* atomic: enum threads_stage */
    plait_task_fn *task;      /* atomic: what it runs, the innermost; NULL: nothing */
    plait_time_t since;       /* atomic: when that changed */
    uint64_t done, failed;    /* atomic, written by the worker only */
    uint32_t restarts;        /* the same */
    struct plait__bulk_return back; /* owner only: memory of bare jobs */
} __attribute__((aligned(64)));

struct pool {
    struct plait_pool front;
    plait_crew_t *crew;       /* const */
    plait_queue_t *queue;     /* of struct job *, by priority; NULL: the crew's own is used */
    uint32_t stop;            /* atomic: 1: tasks are asked to stop; waited on */
    pthread_mutex_t lock;     /* guards: */
    struct watched *later;
    bool is_closed;           /* nothing is put there any more */
    struct plait__bulk bulk; /* memory of bare jobs */
    struct worker workers[];
};

/* What the calling thread serves; NULL: nothing. */
extern PLAIT_TLS struct worker *plait__threads_current;

#define THREADS_LEFT "the task has ended its thread"

/* Of a task, is nothing said beside its argument? */
static inline bool threads_is_plain(const struct plait__work *work)
{
    return !(work->count || work->is_packed || work->limit || work->retries);
}

static inline void threads_date(struct worker *worker)
{
    __atomic_store_n(&worker->since, plait__now_coarse(), __ATOMIC_RELAXED);
}

/* What the worker does from now on, for who looks; returns what it did before. */
static inline plait_task_fn *threads_show(struct worker *worker, plait_task_fn *fn)
{
    plait_task_fn *before = loadptr_relaxed(&worker->task);

    threads_date(worker);
    storeptr_release(&worker->task, fn);
    return before;
}

/* If nothing follows at once, the crew's `rest` sets the date. */
static inline void threads_end_task(struct worker *worker, plait_task_fn *outer, int code)
{
    if (code)
        store64_relaxed(&worker->failed, worker->failed + 1);
    store64_relaxed(&worker->done, worker->done + 1);
    storeptr_release(&worker->task, outer);
    plait__pool_make_room(&worker->pool->front);
}

/* What a thread is in the middle of. */
struct running {
    struct worker *worker;
    struct job *job;
    plait_task_fn *outer;
};

/* Make an entry for the job. EPIPE: the pool is closed. ENOMEM. */
int plait__threads_enqueue(struct pool *pool, struct job *job, int64_t priority);

/* ---- pool_bare.c: jobs of which nobody asks the outcome ---- */

/* Have the function run by some worker. EPIPE: the pool is closed. ENOMEM. */
int plait__threads_submit_bare(struct pool *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work);

/* One that was taken out of the queue will not be run; `back` is the calling thread's. False: it is not a bare one. */
bool plait__threads_cancel_bare(struct pool *pool, struct job *job, struct plait__bulk_return *back);

/* Call a function of which only the code is wanted; *text_out, of TASK_TEXT bytes, may be NULL. The thread has no cancel token. */
int plait__threads_call(struct worker *worker, plait_task_fn *fn, const void *arg, size_t arg_size, char *text_out);

/* ---- pool_watched.c: jobs with a future ---- */

/* The same two; future_out may be NULL. */
int plait__threads_submit_watched(struct pool *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                                  plait_future_t **future_out);
void plait__threads_cancel_watched(struct pool *pool, struct job *job);

/* ---- pool_later.c: jobs that are run again ---- */

/* What becomes of a job that has failed. */
enum threads_fate {
    JOB_OVER,  /* that was its end */
    JOB_LATER, /* it is no longer the caller's: it is run again */
    JOB_AGAIN  /* it is still the caller's, who is to run it again now */
};

/* Of a job that the worker of that number has claimed, and that has failed; `is_leaving`: who calls cannot run it again. */
enum threads_fate plait__threads_fate(struct pool *pool, struct watched *w, unsigned number, bool is_leaving);

/* Its entry was taken out. False: that was too early, and another one will be made. */
bool plait__threads_take_entry(struct pool *pool, struct watched *w);

/* Wait until its time has come, or the pool is terminated, or it is cancelled. */
void plait__threads_await(struct pool *pool, struct watched *w);

/* Is it to be run at a later time? */
static inline bool threads_is_later(const struct watched *w)
{
    return w->extra && __atomic_load_n(&w->extra->not_before, __ATOMIC_RELAXED) > plait_now();
}

/* Make all entries now, and no others from now on; or end all, since the pool is terminated. */
void plait__threads_close_later(struct pool *pool);

/* Its memory is about to go. */
void plait__threads_forget_later(struct watched *w);

#endif
