/* SPDX-License-Identifier: MIT */
/* What a pool on processes and its workers have in common: the layout of its arena. */
#ifndef PLAIT_EXEC_POOL_SHARED_H
#define PLAIT_EXEC_POOL_SHARED_H

#include <stdint.h>

#include <plait/arena.h>

#include "arena/arena.h"
#include "base/module.h"
#include "exec/pool_backend.h"
#include "exec/pool_failure.h"
#include "exec/pool_line.h"
#include "exec/task.h"

/* A function, as workers find it; module 0: none. Once there, it stays. */
struct plait__pool_function {
    uint64_t module;   /* const: offset of a struct plait__module */
    uint64_t function; /* const: offset in that module */
    uint64_t fn;       /* const: for the program: the address there */
};

/* What is said of a task beside its function and argument, if anything is. */
struct plait__pool_extra {
    struct plait__work work; /* const */
    uint64_t started;        /* atomic: when, if it has a limit; 0: not yet; the claimer's, after it has claimed */
    uint64_t not_before;     /* atomic: when it may be run again, 0: at once; the claimer's, before it makes it PENDING */
    uint64_t attempt;        /* the same */
    uint64_t cancelled;      /* atomic, the program's: when it was, running; 0: not */
};

/* May its worker be told to end? Then this takes it out of reach before it writes an outcome. */
static inline bool plait__pool_is_guarded(const struct plait__pool_extra *extra)
{
    return extra && (extra->work.limit || extra->work.grace);
}

enum { RECORD_INLINE = 16 };

/*
 * One task, of which there may be many: so it is small, and what most do not have lies elsewhere. Records are made in slabs
 * and never become anything else, so a stale entry in the line may be looked up at any time. Offsets are from the arena's
 * start, 0: none. Those of the argument, the extra and the result are block offsets, see below.
 *
 * A bare one, whose outcome nobody asks for, has no owner: the worker that ends it gives it back (pool_records.c).
 */
struct plait__pool_record {
    uint32_t word;           /* atomic, waited on with PLAIT_SHARED: task.h */
    uint32_t generation;     /* atomic: of the task in it, 22 bits; changes before the record is used again */
    uint64_t function;       /* atomic: offset of a struct plait__pool_function; const for the task's life, as all to `extra` */
    uint64_t owner;          /* for the program: the address of its task; 0: it is bare */
    uint64_t arg_size;
    uint64_t arg_offset;     /* 0: the argument is in `payload` */
    uint64_t extra;          /* of a struct plait__pool_extra */
    uint64_t result_offset;  /* claimer only until DONE: the result, or the text of a failure; 0: it is in `payload` */
    uint64_t result_size;    /* claimer only until DONE */
    int32_t code;            /* claimer only until DONE */
    uint32_t is_collected;   /* supervisor only: the back-end's reference is being dropped */
    uint64_t next;           /* the record below it in `finished` or `given_back`; owner only while it is FREE */
    char payload[RECORD_INLINE] __attribute__((aligned(16))); /* argument, then the result or the text */
};

/* The memory of a block that plait__arena_alloc_into has noted in a record, and giving it back. */
static inline void *plait__pool_memory(struct plait__arena_header *base, uint64_t place)
{
    return plait__at(base, place + sizeof(struct plait__block));
}

static inline void plait__pool_release(struct plait__arena_header *base, uint64_t *place)
{
    if (*place)
        plait__arena_dealloc_from(base, place);
}

static inline struct plait__pool_extra *plait__pool_extra(struct plait__arena_header *base, const struct plait__pool_record *record)
{
    return record->extra ? plait__pool_memory(base, record->extra) : NULL;
}

/* An entry in the line: which record, and which of its tasks. STOP and SPARE end who gets them, for good or until it is needed. */
enum { GENERATION_BITS = 22, RECORD_UNIT = 16 };
#define GENERATION_MASK ((1u << GENERATION_BITS) - 1)
#define ENTRY_STOP ((uint64_t)0)
#define ENTRY_SPARE ((uint64_t)1)

static inline uint64_t plait__entry(uint64_t offset, uint32_t generation)
{
    return offset / RECORD_UNIT << GENERATION_BITS | generation;
}

static inline uint64_t plait__entry_offset(uint64_t entry)
{
    return (entry >> GENERATION_BITS) * RECORD_UNIT;
}

enum plait__slot_state {
    SLOT_IDLE,      /* not started, or its end has been dealt with */
    SLOT_PREPARING, /* runs the initializer */
    SLOT_TAKING,    /* between tasks: it may hold an entry that is no longer in the queue */
    SLOT_BUSY,      /* runs a task that it has claimed */
    SLOT_TIDYING,   /* runs the finalizer */
    SLOT_LEFT,      /* got STOP, or its initializer has failed */
    SLOT_SPARED,    /* got SPARE */
    SLOT_RENEWED    /* has run as many tasks as it may */
};

struct plait__pool_slot {
    uint32_t state; /* atomic: enum plait__slot_state; the worker's, and the supervisor's when it is dead */
    uint32_t pid;   /* worker only, set before the first change of `state` */
    uint32_t leaves; /* atomic, worker only: while it is TIDYING: what comes after that, if it gets so far */
    uint64_t done;   /* atomic, worker only */
    uint64_t failed; /* atomic, worker only */
    uint64_t limited; /* atomic, worker only: offset of the record with a limit that it ran last */
    uint64_t running; /* atomic, worker only: offset of the record that it ran last */
    uint64_t since;   /* atomic, worker only: when the state changed */
    uint64_t taking;  /* atomic, worker only: TAKING: the entry that it may hold though it is no longer in the line */
    uint64_t result;  /* worker only: block offset of a large result that is not yet the record's */
};

struct plait__pool_shared {
    uint32_t stop;     /* atomic: 1: tasks are asked to stop */
    uint32_t paused;   /* atomic, waited on with PLAIT_SHARED: 1: no tasks are to start */
    struct plait__pool_room room; /* its word is waited on with PLAIT_SHARED */
    struct plait__pool_function initializer, finalizer; /* const, as all to `has_backlog` */
    uint64_t init_arg; /* offset */
    uint64_t init_arg_size;
    int64_t idle_time; /* nanoseconds after which a worker says that it is idle; 0: never */
    uint32_t tasks_per_worker; /* 0: any number */
    uint32_t has_backlog;
    struct plait__pool_failure failure; /* an initializer's, for the supervisor */
    uint32_t bell __attribute__((aligned(64))); /* atomic, waited on with PLAIT_SHARED: the supervisor has something to do */
    uint32_t idle;       /* atomic: how many workers have waited for idle_time, since the supervisor looked */
    uint64_t finished;   /* atomic: offset of the last of the records that are DONE and had NOTIFY, by `next` */
    uint64_t given_back; /* atomic: the same of bare ones that are DONE */
    struct plait__line line;
    struct plait__pool_slot slots[] __attribute__((aligned(64)));
};

/* The argument of a worker process; the arena's descriptor comes as PLAIT__CARRIED_FD. */
struct plait__pool_worker_arg {
    plait_ref_t queue, again; /* of entries, where they go by priority; and of those that are to be run again */
    uint64_t shared; /* offset of the struct plait__pool_shared */
    uint32_t number;
    uint32_t by_priority; /* there is a queue */
};

int plait__pool_worker_main(const void *arg, size_t arg_size);

#endif
