/* SPDX-License-Identifier: MIT */
/* Pool back-end: what a pool's front and its futures ask of threads, processes, and whatever comes later. */
#ifndef PLAIT_EXEC_POOL_BACKEND_H
#define PLAIT_EXEC_POOL_BACKEND_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/future.h>
#include <plait/pool.h>

#include "exec/task.h"

/* How a task ended; the bytes live as long as the future. */
struct plait__outcome {
    int code;
    const char *text;
    const void *bytes;
    size_t size;
};

struct plait__callback {
    struct plait__callback *next;
    void (*call)(plait_future_t *future, void *context);
    void *context;
};

/*
 * The caller's end of a task: the first member of the back-end's own struct. References: one for the handle, one
 * for the back-end until the task is done and delivered.
 */
struct plait_future {
    uint32_t references;      /* atomic */
    unsigned wait_flags;      /* const: of the state word */
    uint32_t *word;           /* const: the task's state (task.h) */
    struct plait_pool *pool;  /* const: a reference on it is held */
    pthread_mutex_t lock;     /* guards what follows */
    bool delivering;          /* somebody is calling the callbacks */
    struct plait__callback *first, **last; /* callbacks not yet called */
};

enum plait__pool_state { POOL_RUNNING, POOL_CLOSED, POOL_TERMINATED };

/* The front of a pool: the first member of the back-end's own struct. */
struct plait_pool {
    const struct plait__pool_backend *backend; /* const */
    uint32_t references; /* atomic: the handle and each future */
    uint32_t state;      /* atomic: enum plait__pool_state, only grows */
    uint32_t epoch;      /* const: fork epoch of the process that it belongs to */
    unsigned workers;    /* const */
    char name[16];       /* const: of the workers */
    uint64_t submitted;  /* atomic */
    uint64_t settled;    /* atomic: ended without a worker's doing: cancelled, or lost with it */
};

struct plait__pool_backend {
    /* Make a pool with its workers; opts are checked and complete. */
    int (*open)(const struct plait_pool_opts *opts, struct plait_pool **pool_out);

    /* Queue a task. The future has the back-end's reference, and the handle's if wanted. EPIPE: closed. */
    int (*submit)(struct plait_pool *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work,
                  plait_future_t **future_out);

    /* Let workers end when all is done; cancel what is pending and stop them. The state has been set. */
    void (*close)(struct plait_pool *pool);
    void (*terminate)(struct plait_pool *pool);

    /* Wait until no worker is left. */
    int (*join)(struct plait_pool *pool, plait_time_t deadline);

    /* What a worker does: pid, busy, done, restarts, and of those that are done how many failed. */
    void (*look)(const struct plait_pool *pool, unsigned number, struct plait_pool_worker *worker_out,
                 uint64_t *failed_out);

    /* Free all memory: the last reference is gone, and the workers. */
    void (*destroy)(struct plait_pool *pool);

    /* Of a future: how it ended (it is done); write how a claimed task ended; run it here if the caller is a worker and it is
     * pending; the handle goes; the last reference is gone. */
    void (*outcome)(plait_future_t *future, struct plait__outcome *outcome_out);
    void (*settle)(plait_future_t *future, int code, const char *text);
    bool (*help)(plait_future_t *future);
    void (*abandon)(plait_future_t *future);
    void (*reclaim)(plait_future_t *future);
    /* A task that somebody outside has claimed is DONE; `notify`: NOTIFY was set. */
    void (*settled)(plait_future_t *future, bool notify);
};

extern const struct plait__pool_backend plait__pool_threads;
extern const struct plait__pool_backend plait__pool_processes;

/* Begin a future with one reference, which also holds the pool. */
void plait__future_begin(plait_future_t *future, struct plait_pool *pool, uint32_t *word, unsigned wait_flags);

void plait__future_unreference(plait_future_t *future);

/* The task is done: call the callbacks. */
void plait__future_deliver(plait_future_t *future);

/* Claim a pending task from outside and end it so. False: it is not pending. The caller holds a reference. */
bool plait__future_settle(plait_future_t *future, int code, const char *text);

void plait__pool_unreference(struct plait_pool *pool);

/* The calling thread serves the pool from here on, as a worker or by calling its callbacks; and does it? */
void plait__pool_enter(const struct plait_pool *pool);
bool plait__pool_is_inside(const struct plait_pool *pool);

#endif
