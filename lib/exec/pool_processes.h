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

/* One that somebody asks for. Its record is where the future's word is. */
struct task {
    plait_future_t future;  /* first */
    struct task *next_due;  /* of the list that it is in: the pool's `ended`, then `due` */
    char *text;             /* of a failure that was written here, by who claimed it from outside; malloc'ed, or NULL */
};

static inline struct plait__pool_record *record_of(const struct task *task)
{
    return (struct plait__pool_record *)task->future.word; /* its first member */
}

static inline bool is_pending(const struct plait__pool_record *record)
{
    return (load_relaxed(&record->word) & TASK_STATUS) == TASK_PENDING;
}

/* The task of a record that is not bare. */
static inline struct task *task_of(const struct plait__pool_record *record)
{
    return (struct task *)(uintptr_t)record->owner;
}

/* Tasks whose callbacks are to be called, in the order of their ends; a reference on each. */
struct due {
    struct task *first, *last; /* NULL: it is empty; `last` means something if it is not */
};

/* A task that is to be run again, as its entry says, if it has not become another one meanwhile. */
struct later {
    plait_time_t due;
    uint64_t entry;
    struct later *left, *right; /* none of those below is due before it */
};

struct worker {
    struct plait__child child;
    bool runs;               /* child is valid */
    plait_time_t started;    /* when */
    plait_time_t restart_at; /* 0: not to be started */
    plait_time_t back_off;   /* the last delay, 0: none */
    unsigned restarts;
    bool has_died;           /* the last one, of itself */
    struct task *late;       /* supervisor only: its task that was too late, of which it may still use the record */
    plait_time_t kill_at;    /* supervisor only: it was told to end because its task took too long; 0: it was not */
};

struct module {
    struct plait__module *shared; /* in the arena */
    struct module *next;
};

/* A function that was named once; the same address may be another one when modules have come and gone. */
struct function {
    struct plait__pool_function *shared; /* in the arena */
    uint64_t generation;                 /* of the modules */
    struct function *next;
};

/* In the arena; fits a block of 8 KiB, whose own head takes 16 bytes. */
enum { SLAB_RECORDS = 85 };

struct slab {
    struct slab *next; /* for the program */
    uint64_t spare;
    struct plait__pool_record records[SLAB_RECORDS];
};

struct pool {
    struct plait_pool front;
    plait_arena_t *arena;              /* const */
    struct plait__arena_header *base;  /* const */
    struct plait__pool_shared *shared; /* const */
    plait_queue_t *queue, *again;      /* const: of entries, if they go by priority; from workers, of tasks to be run again */
    struct plait__line_end line;       /* guarded by lock, as its putter */
    unsigned min_workers;              /* const */
    plait_thread_t *supervisor;        /* of open, then its own: a callback that ends the thread puts another one in its place */
    plait_thread_t *deliverer;         /* of its starter, then its own, likewise; NULL: there was no need of one yet */
    uint32_t is_over;                  /* atomic, waited on: 1: nothing is left to supervise, and `supervisor` is the last one */
    bool by_priority;                  /* const: the queue's order */
    pthread_mutex_t lock;
    struct slab *slabs, **last_slab;         /* guarded by lock: of all records */
    struct plait__pool_record *free_records; /* guarded by lock: linked by `next` */
    struct module *modules;                  /* guarded by lock */
    struct function *functions;              /* guarded by lock */
    struct function *cached[CACHED_FUNCTIONS]; /* guarded by lock: by their addresses; NULL: nothing there */
    struct later *later;           /* guarded by lock: a heap; the first that is due */
    unsigned owed_stops;           /* guarded by lock: for which there was no memory */
    bool owes_entries;             /* guarded by lock: the same, of pending tasks */
    unsigned running;              /* guarded by lock: workers with a process */
    struct due due;                /* guarded by lock: for who calls callbacks */
    uint32_t due_bell;             /* atomic, waited on: `due` is no longer empty, or the end has come */
    uint32_t is_all_due;           /* atomic: 1: nothing comes to `due` any more */
    uint32_t is_delivered;         /* atomic, waited on: 1: nothing is left there, and `deliverer` is the last one */
    struct due ended;              /* supervisor only: for it to sort out */
    bool delivers;                 /* supervisor only: there is a deliverer */
    bool owes_ring;                /* supervisor only: something came to `due` since it was empty, and nobody was told */
    unsigned leaving;              /* supervisor only: SPARE entries that nobody has got yet */
    uint64_t oom_kills;            /* supervisor only: at the last look */
    unsigned broken_starts;        /* supervisor only: workers that have died in their initializer, one after the other */
    struct worker workers[];       /* guarded by lock */
};

/* ---- pool_records.c: with the lock held ---- */

/* Name a function as workers find it: the offset of a struct plait__pool_function. EINVAL, ENOMEM, ENOSPC. */
int plait__pool_name_function(struct pool *pool, plait_task_fn *fn, uint64_t *function_out);

/* Get a free record, with a generation of its own; and give it back, when its task has ended or never was. */
int plait__pool_take_record(struct pool *pool, struct plait__pool_record **record_out);
void plait__pool_give_record(struct pool *pool, struct plait__pool_record *record);

/* All records, one after the other; begin with {NULL}. NULL: that was the last. */
struct walk {
    struct slab *slab;
    unsigned next;
};

struct plait__pool_record *plait__pool_walk(struct pool *pool, struct walk *walk);

/* Have back what workers have given back, so that what is DONE otherwise was not. */
void plait__pool_have_back(struct pool *pool);

/* End a bare task that the caller has claimed, or whose worker is dead. */
void plait__pool_end_bare(struct pool *pool, struct plait__pool_record *record);

void plait__pool_free_functions(struct pool *pool);

/* ---- pool_processes.c ---- */

/* Make the supervisor look; with the lock held put an entry, or a record's, into the line, whatever the caller's cancel token says. */
void plait__pool_ring(struct pool *pool);
int plait__pool_put_entry(struct pool *pool, uint64_t entry, int64_t priority);
int plait__pool_put_record(struct pool *pool, const struct plait__pool_record *record);

/* The same, with the lock held, for who has nobody to tell an error: without memory it is put when there is some. */
void plait__pool_put_stop(struct pool *pool);
void plait__pool_put_surely(struct pool *pool, const struct plait__pool_record *record);

/* With the lock held: does the submitter, or the supervisor, have to see to it that one more worker is started? */
bool plait__pool_wants_worker(struct pool *pool);

/* ---- pool_again.c: tasks that are run again ---- */

/* With the lock held: a claimed task, which nobody else will end, has failed: is it pending from now on? Then it will be run again. */
bool plait__pool_run_again(struct pool *pool, struct task *task);

/* With the lock held: has it to wait for its time, and is seen to? */
bool plait__pool_is_later(struct pool *pool, const struct plait__pool_record *record);

/* With the lock held: see to it that a pending record gets an entry, at its time. */
void plait__pool_put_again(struct pool *pool, struct plait__pool_record *record);

/* Make the entries whose time has come; returns when the next one's does. */
plait_time_t plait__pool_queue_again(struct pool *pool);

/* Put what is owed for want of memory; returns when to try again. */
plait_time_t plait__pool_put_owed(struct pool *pool);

/* The pool goes: no more of them. */
void plait__pool_free_again(struct pool *pool);

/*
 * Cancel all that is pending, of a terminated pool: nothing becomes pending any more but what is run again, and that the supervisor does
 * not do then. The argument is the pool. The callbacks are called here.
 */
void plait__pool_cancel_pending(void *pool);

/* The same by the supervisor, which then hands over. */
void plait__pool_end_pending(struct pool *pool);

/* Write how a claimed task ended, and wake who waits for it: the back-end's call of that name. */
void plait__pool_settle(plait_future_t *future, int code, const char *text);

/* Start a thread for the pool, in the place of the calling one if that has it. It begins with the second of these, which waits until the first is through. */
int plait__pool_start_thread(struct pool *pool, void *(*run)(void *), plait_thread_t **place);
void plait__pool_begin_thread(struct pool *pool);

/* ---- pool_delivery.c: for the supervisor ---- */

/* With the lock held: its callbacks are to be called, and its reference to be dropped. */
void plait__pool_make_due(struct pool *pool, struct task *task);

/*
 * Have that done. The last that the caller does, or what is left to do the next round does as well: if there can be no thread for it, callbacks
 * are called here, and one may end the thread.
 */
void plait__pool_hand_over(struct pool *pool);

/* The same for the last time; all have been called then. */
void plait__pool_end_delivery(struct pool *pool);

/* ---- pool_ends.c: for the supervisor ---- */

/* Has the kernel ended processes for want of memory, since the last look? */
bool plait__pool_memory_ran_out(struct pool *pool);

/* A worker has ended; one is told to, as its task was cancelled, or over its limit, and ran on. */
void plait__pool_describe_end(char text[TASK_TEXT], struct pool *pool, const struct worker *worker, enum plait__child_state state,
                              int status);
void plait__pool_describe_deafness(char text[TASK_TEXT], const struct worker *worker, const struct plait__pool_extra *extra);
void plait__pool_describe_lateness(char text[TASK_TEXT], const struct worker *worker, const struct plait__pool_extra *extra);

/* ---- pool_supervisor.c ---- */

/* With the lock held: end a task that its worker will not end; returns the state before. And tell of the end, as the worker would have. */
uint32_t plait__pool_end_task(struct pool *pool, struct task *task, int code, const char *text);
void plait__pool_tell_end(struct pool *pool, struct task *task, uint32_t before);

/* The supervisor's thread; and starting the worker of that number, by it or before it runs. */
void *plait__pool_supervise(void *pool);
int plait__pool_start_worker(struct pool *pool, uint32_t number);

#endif
