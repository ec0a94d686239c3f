/* SPDX-License-Identifier: MIT */
/* Pool back-end: what a pool's front asks of threads, processes, and whatever comes later. */
#ifndef PLAIT_EXEC_POOL_BACKEND_H
#define PLAIT_EXEC_POOL_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <limits.h>

#include <plait/future.h>
#include <plait/pool.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "base/fork_epoch.h"
#include "exec/future.h"
#include "exec/pool_failure.h"
#include "exec/task.h"

enum plait__pool_state { POOL_RUNNING, POOL_CLOSED, POOL_TERMINATED };

/* What each worker begins and ends with, and other options as the back-ends want them. */
struct plait__pool_setup {
    plait_task_fn *initializer, *finalizer; /* NULL: none */
    void *arg;              /* of both, malloc'ed: the pool's copy */
    size_t arg_size;
    plait_time_t idle_time; /* nanoseconds */
};

/* Who waits until there is room for a task: an eventcount (wait/eventcount.h has the general one). */
struct plait__pool_room {
    uint32_t waiters; /* atomic */
    uint32_t word;    /* atomic, waited on: changes when a task has ended while there were waiters */
};

/* The front of a pool: the first member of the back-end's own struct. */
struct plait_pool {
    const struct plait__pool_backend *backend; /* const */
    uint32_t references; /* atomic: the handle and each future */
    uint32_t state;      /* atomic: enum plait__pool_state, only grows */
    uint32_t epoch;      /* const: fork epoch of the process that it belongs to */
    unsigned workers;    /* const: at most */
    char name[16];       /* const: of the workers */
    struct plait__pool_setup setup; /* const */
    uint64_t under_way_max; /* const: tasks submitted and not ended; 0: any number */
    enum plait_when_full when_full; /* const */
    struct plait__pool_room own_room, *room; /* const but for what it says; the back-end may set another one */
    unsigned room_flags; /* const: of its word */
    struct plait__pool_failure failure; /* why it is broken */
    uint64_t submitted __attribute__((aligned(64))); /* atomic */
    uint64_t settled __attribute__((aligned(64)));   /* atomic: ended without a worker's doing: cancelled, or lost with it */
    uint64_t here, here_failed; /* atomic: run by who has submitted them */
};

/*
 * What runs the tasks of pools; another one is added by writing these calls. All are given the pool that `open` has made, in the process that made
 * it. The front counts what is submitted, keeps the states and checks arguments; the back-end keeps the promises about order, about
 * deaths, and about each future, which it makes (future.h).
 */
struct plait__pool_backend {
    /* Make a pool with its workers; opts are checked and complete. Begins with plait__pool_begin. */
    int (*open)(const struct plait_pool_opts *opts, const struct plait__pool_setup *setup, struct plait_pool **pool_out);

    /* Queue a task. The future has the back-end's reference, and the handle's if wanted. EPIPE: closed. */
    int (*submit)(struct plait_pool *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                  plait_future_t **future_out);

    /*
     * Let workers end when all is done; cancel what is pending (plait__pool_cancel) and stop them. The state has been set. Where
     * the pool breaks, the caller is who serves it, and callbacks are called by whoever does that for it.
     */
    void (*close)(struct plait_pool *pool);
    void (*terminate)(struct plait_pool *pool, bool breaks);

    /* Keep tasks from starting; let them. Do they start? */
    void (*hold)(struct plait_pool *pool, bool held);
    bool (*is_held)(const struct plait_pool *pool);

    /* Wait until no worker is left. */
    int (*join)(struct plait_pool *pool, plait_time_t deadline);

    /* What a worker does; and how many tasks all have ended, which never goes back. */
    void (*look)(const struct plait_pool *pool, unsigned number, struct plait_pool_worker *worker_out);
    uint64_t (*ended)(const struct plait_pool *pool);

    /* Tasks that were submitted and not counted, where there is no backlog (plait__pool_count). NULL: none. */
    uint64_t (*uncounted)(const struct plait_pool *pool);

    /* Free all memory but the front's own: the last reference is gone, and the workers. */
    void (*destroy)(struct plait_pool *pool);
};

extern const struct plait__pool_backend plait__pool_threads;
extern const struct plait__pool_backend plait__pool_processes;

void plait__pool_reference(struct plait_pool *pool);
void plait__pool_unreference(struct plait_pool *pool);

/* In a child after fork the workers are not ours. */
static inline bool plait__pool_is_inherited(const struct plait_pool *pool)
{
    return pool->epoch != plait__fork_epoch();
}

/* Does it take tasks? And: submit one. EPIPE: it does not. ETIMEDOUT: there was no room in its backlog until then. */
bool plait__pool_is_open(const struct plait_pool *pool);
int plait__pool_submit(struct plait_pool *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                       plait_future_t **future_out, plait_time_t deadline);

/* Fill the front of a pool that is being made; all of it is 0. */
void plait__pool_begin(struct plait_pool *pool, const struct plait__pool_backend *backend, const struct plait_pool_opts *opts,
                       const struct plait__pool_setup *setup);

/* Count a task that is submitted, before it can end; -1: it is not after all. With a backlog the front counts. */
static inline void plait__pool_count(struct plait_pool *pool, int tasks)
{
    if (!pool->under_way_max)
        add64_relaxed(&pool->submitted, (uint64_t)(int64_t)tasks);
}

/* Tasks that are submitted and have not ended, more or less: a dead worker's last one may be missing. */
uint64_t plait__pool_under_way(const struct plait_pool *pool);

/* End a task that is pending, because the pool is; nothing, if it is not pending. The caller holds a reference. */
void plait__pool_cancel(struct plait_pool *pool, plait_future_t *future);

/* The code and text of such an end. */
int plait__pool_reason(const struct plait_pool *pool, const char **text_out);

/* The initializer of a worker has failed: end the pool. */
void plait__pool_break(struct plait_pool *pool, unsigned worker, int code, const char *text);

/* A task has ended, and is counted: tell who waits for that. */
static inline void plait__room_tell(struct plait__pool_room *room, unsigned flags)
{
    if (add_seqcst(&room->waiters, 0) == 0) /* pool.c: E1 */
        return;
    add_release(&room->word, 1);
    plait_wake(&room->word, UINT_MAX, flags);
}

static inline void plait__pool_make_room(struct plait_pool *pool)
{
    if (pool->under_way_max)
        plait__room_tell(pool->room, pool->room_flags);
}

/* What a thread does for a pool. */
enum plait__pool_role {
    POOL_WORKS,      /* runs its tasks, and calls callbacks */
    POOL_CALLS_BACK, /* only that: it may wait for workers */
    POOL_SUPERVISES  /* calls callbacks for want of such a thread, and cannot wait */
};

/* The calling thread serves the pool from here on, as a worker of that number or otherwise; NULL: no more. And does it? */
void plait__pool_enter(const struct plait_pool *pool, enum plait__pool_role role, unsigned number);
bool plait__pool_is_inside(const struct plait_pool *pool);
bool plait__pool_is_anyones(void); /* of any pool */

#endif
