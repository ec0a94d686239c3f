/* SPDX-License-Identifier: MIT */
/* Task: the state word that both ends share, and running a task function. */
#ifndef PLAIT_EXEC_TASK_H
#define PLAIT_EXEC_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <plait/future.h>

#include "base/fork_epoch.h"

/*
 * The state word of a task:
 *
 *     bits 0-1    status: FREE (a record without a task), PENDING, RUNNING, DONE
 *     bit 2       STOP     it is asked to stop
 *     bit 3       WAITERS  somebody may sleep on the word: who makes it DONE wakes it
 *     bit 4       NOTIFY   somebody beside the waiters must hear of the end: who makes it DONE passes it on
 *     bit 5       STIRRED  changes when a waiter may have become able to help
 *     bit 6       LATE     it has run longer than its limit: it is asked to stop, but may be run again
 *     bits 16-31  the number of the worker that claimed it, with TASK_FINISHING perhaps; or TASK_CLAIMED_OUTSIDE
 *
 *     FREE -> PENDING -> RUNNING -> DONE
 *
 * PENDING to RUNNING is a compare-and-swap that names the claimer: whoever wins runs the task, or settles it
 * otherwise (cancelled, lost), and alone writes the outcome.
 *
 * E1 submit: the submitter writes the task, then releases PENDING; the claimer acquires the word, then reads it.
 * E2 done: the claimer writes the outcome, then releases DONE; whoever looks acquires the word, then reads it.
 */
enum {
    TASK_FREE = 0,
    TASK_PENDING = 1,
    TASK_RUNNING = 2,
    TASK_DONE = 3,
    TASK_STATUS = 3,
    TASK_STOP = 1 << 2,
    TASK_WAITERS = 1 << 3,
    TASK_NOTIFY = 1 << 4,
    TASK_STIRRED = 1 << 5,
    TASK_LATE = 1 << 6,
    TASK_FLAGS = TASK_STOP | TASK_WAITERS | TASK_NOTIFY | TASK_STIRRED | TASK_LATE,
    TASK_WORKER_SHIFT = 16,
    TASK_CLAIMED_OUTSIDE = 0xffff,
    TASK_FINISHING = 0x4000, /* beside a worker's number: it writes the outcome of a task with a limit, which is too late to end */
};

enum { TASK_TEXT = 256, TASK_INLINE = 256 };

/* Claim a pending task; false: it is not pending. */
bool plait__task_claim(uint32_t *word, uint32_t claimer);

/* Become the claimer of a task that runs in the place of another; false: the other is not its claimer. */
bool plait__task_reclaim(uint32_t *word, uint32_t other, uint32_t claimer);

/* Make a claimed task DONE; returns the word before. The task may be gone the instant this returns, unless a
 * reference is held or NOTIFY was set. */
uint32_t plait__task_done(uint32_t *word);

/* Set a flag as long as the task is not DONE; false: it is. */
bool plait__task_flag(uint32_t *word, uint32_t flag);

/* Change STIRRED, whatever the state is; returns the word before. */
uint32_t plait__task_stir(uint32_t *word);

/* What is to be done, in plain bytes. A map has `count` items, which its function gets one by one. */
struct plait__work {
    uint64_t arg_size;
    uint64_t count; /* 0: no map, one call with the whole argument */
    uint64_t item_size;
    uint64_t result_size; /* of each item */
    uint64_t is_packed;   /* not 0: the items are of any length, and so are their results (packed.h) */
    int64_t priority;
    int64_t limit, grace; /* nanoseconds; 0: none */
    uint64_t retries;
    int64_t retry_after;  /* nanoseconds */
};

/* How long to wait when it has failed after so many attempts that had failed before. */
int64_t plait__retry_delay(const struct plait__work *work, unsigned attempt);

/* The result of a map's task: this, and then count * result_size bytes. It succeeds, whatever its items do. */
struct plait__map_result {
    int32_t code; /* of the first item that failed, 0: none */
    uint32_t spare;
    uint64_t spare2;
    char text[TASK_TEXT];
};

/* The worker's end of a task. */
struct plait_task {
    const uint32_t *word; /* its state: is STOP set? */
    const uint32_t *stop; /* not 0 once the whole pool is told to stop; NULL: there is none */
    unsigned worker;
    unsigned attempt;
    uint32_t epoch;       /* fork epoch of the worker's process; 0: a child of fork that comes back from the task may go on */
    /* Give memory for a result of that size, in place of what was given before. 0, ENOMEM, ENOSPC. */
    int (*room)(struct plait_task *task, size_t size, void **room_out);
    void *context;      /* of room */
    size_t inline_max;  /* a larger result gets room */
    void *result;       /* NULL: none; else `bytes`, or what room gave */
    size_t result_size;
    void *slot;         /* an item of a map: its place among the results, else NULL */
    size_t slot_size;
    bool is_item;       /* of a map */
    char text[TASK_TEXT];
    char bytes[TASK_INLINE] __attribute__((aligned(16)));
};

/* Make it empty; what must be 0 becomes so. */
static inline void plait__task_prepare(struct plait_task *task)
{
    memset(task, 0, offsetof(struct plait_task, text));
    task->inline_max = TASK_INLINE;
    task->text[0] = '\0';
}

/* Its `room` in ordinary memory, which `context` is; who set it frees that in the end. */
int plait__task_room(struct plait_task *task, size_t size, void **room_out);

/*
 * Is the caller a child of fork, made inside of a task whose worker is a process? What it has of the worker is the worker's: it writes no
 * result, and must not come back to where tasks are got.
 */
static inline bool plait__task_is_twin(const struct plait_task *task)
{
    return task->epoch && task->epoch != plait__fork_epoch();
}

/* Call a task function, once; returns its code. A twin ends here. */
int plait__task_call(struct plait_task *task, plait_task_fn *fn, const void *arg, size_t arg_size);

/* Run it; returns the code. */
int plait__task_run(struct plait_task *task, plait_task_fn *fn, const struct plait__work *work, const void *arg);

#endif
