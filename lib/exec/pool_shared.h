/* SPDX-License-Identifier: MIT */
/* What a pool on processes and its workers have in common: the layout of its arena. */
#ifndef PLAIT_EXEC_POOL_SHARED_H
#define PLAIT_EXEC_POOL_SHARED_H

#include <stdint.h>

#include <plait/arena.h>

#include "arena/arena.h"
#include "base/module.h"
#include "exec/task.h"

/*
 * One task. Records are made in slabs and never become anything else, so a stale entry in the queue may be looked up at any
 * time. Offsets are from the arena's start, 0: none. arg_offset and result_offset are block offsets, see below.
 */
struct plait__pool_record {
    uint32_t word;           /* atomic, waited on with PLAIT_SHARED: task.h */
    uint32_t generation;     /* atomic: of the task in it, 24 bits; changes before the record is used again */
    uint64_t module;         /* offset of a struct plait__module; const for the task's life, as all to `work` */
    uint64_t function;       /* offset in that module */
    uint64_t arg_offset;     /* 0: the argument is in `payload` */
    struct plait__work work;
    uint64_t result_offset;  /* claimer only until DONE; 0: the result is in `payload` */
    uint64_t result_size;    /* claimer only until DONE */
    int32_t code;            /* claimer only until DONE */
    uint32_t spare;
    uint64_t next;           /* the record below it in `finished`; owner only while it is FREE */
    uint64_t owner;          /* for the program: the address of its task */
    char payload[TASK_INLINE] __attribute__((aligned(16))); /* argument, then the result or the text of a failure */
} __attribute__((aligned(64)));

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

/* An entry in the queue: which record, and which of its tasks. STOP ends the worker that gets it. */
enum { GENERATION_BITS = 24 };
#define GENERATION_MASK ((1u << GENERATION_BITS) - 1)
#define ENTRY_STOP ((uint64_t)0)

static inline uint64_t plait__entry(uint64_t offset, uint32_t generation)
{
    return offset / 64 << GENERATION_BITS | generation;
}

static inline uint64_t plait__entry_offset(uint64_t entry)
{
    return (entry >> GENERATION_BITS) * 64;
}

enum plait__slot_state {
    SLOT_IDLE,   /* not started, or its end has been dealt with */
    SLOT_TAKING, /* between tasks: it may hold an entry that is no longer in the queue */
    SLOT_BUSY,   /* runs a task that it has claimed */
    SLOT_LEFT    /* got STOP */
};

struct plait__pool_slot {
    uint32_t state; /* atomic: enum plait__slot_state; the worker's, and the supervisor's when it is dead */
    uint32_t spare;
    uint64_t done;   /* atomic, worker only */
    uint64_t failed; /* atomic, worker only */
    uint64_t spare2[5];
};

struct plait__pool_shared {
    uint32_t bell;     /* atomic, waited on with PLAIT_SHARED: the supervisor has something to do */
    uint32_t stop;     /* atomic: 1: tasks are asked to stop */
    uint64_t finished; /* atomic: offset of the last of the records that are DONE and had NOTIFY, by `next` */
    uint64_t spare[6];
    struct plait__pool_slot slots[];
};

/* The argument of a worker process; the arena's descriptor comes as PLAIT__CARRIED_FD. */
struct plait__pool_worker_arg {
    plait_ref_t queue;
    uint64_t shared; /* offset of the struct plait__pool_shared */
    uint32_t number;
    uint32_t spare;
};

int plait__pool_worker_main(const void *arg, size_t arg_size);

#endif
