/* SPDX-License-Identifier: MIT */
/* Pool on threads: what its parts share. How it works is told in pool_threads.c. */
#ifndef PLAIT_EXEC_POOL_THREADS_H
#define PLAIT_EXEC_POOL_THREADS_H

#include <plait/queue.h>
#include <plait/timer.h>

#include "exec/crew.h"
#include "exec/kept.h"
#include "exec/pool_backend.h"
#include "exec/bulk.h"

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

/* Make an entry for the job. EPIPE: the pool is closed. ENOMEM. */
int plait__threads_enqueue(struct pool *pool, struct job *job, int64_t priority);

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
