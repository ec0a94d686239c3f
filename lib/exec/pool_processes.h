/* SPDX-License-Identifier: MIT */
/* Pool on processes: what the program's side (pool_processes.c) and its supervisor (pool_supervisor.c) share. */
#ifndef PLAIT_EXEC_POOL_PROCESSES_H
#define PLAIT_EXEC_POOL_PROCESSES_H

#include <plait/queue.h>
#include <plait/thread.h>

#include "arena/arena.h"
#include "exec/nursery.h"
#include "exec/pool_backend.h"
#include "exec/pool_shared.h"

enum { CACHED_FUNCTIONS = 64 };

struct task {
    plait_future_t future;             /* first */
    struct plait__pool_record *record; /* const */
    struct task *next, **link;         /* guarded by the pool's lock: the list of all tasks */
    struct task *next_due;             /* supervisor only */
    struct task *next_held;            /* terminate only, which runs once */
    bool collected;                    /* supervisor only: the back-end's reference is being dropped */
};

struct worker {
    struct plait__child child;
    bool runs;               /* child is valid */
    plait_time_t started;    /* when */
    plait_time_t restart_at; /* 0: not to be started */
    plait_time_t back_off;   /* the last delay, 0: none */
    unsigned restarts;
};

struct module {
    struct plait__module *shared; /* in the arena */
    struct module *next;
};

struct pool {
    struct plait_pool front;
    plait_arena_t *arena;              /* const */
    struct plait__arena_header *base;  /* const */
    struct plait__pool_shared *shared; /* const */
    plait_queue_t *queue;              /* const: of 64-bit entries */
    plait_thread_t *supervisor;        /* const after open */
    pthread_mutex_t lock;
    struct task *tasks;                      /* guarded by lock */
    struct plait__pool_record *free_records; /* guarded by lock: linked by `next` */
    struct module *modules;                  /* guarded by lock */
    struct {
        plait_task_fn *fn;
        uint64_t generation, module, function;
    } functions[CACHED_FUNCTIONS]; /* guarded by lock */
    struct worker workers[];       /* guarded by lock */
};

/* Make the supervisor look; put an entry, or a record, into the queue. The caller's cancel token does not concern it. */
void plait__pool_ring(struct pool *pool);
int plait__pool_put_entry(struct pool *pool, uint64_t entry);
int plait__pool_put_record(struct pool *pool, const struct plait__pool_record *record);

/* Write how a claimed task ended, and wake who waits for it: the back-end's call of that name. */
void plait__pool_settle(plait_future_t *future, int code, const char *text);

/* The supervisor's thread; and starting the worker of that number, by it or before it runs. */
void *plait__pool_supervise(void *pool);
int plait__pool_start_worker(struct pool *pool, uint32_t number);

#endif
