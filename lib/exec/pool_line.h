/* SPDX-License-Identifier: MIT */
/* Line: where the entries of a pool's tasks stand, put there by one process and taken by its workers, without a lock. */
#ifndef PLAIT_EXEC_POOL_LINE_H
#define PLAIT_EXEC_POOL_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/queue.h>
#include <plait/time.h>

#include "arena/arena.h"
#include "wait/eventcount.h"

/* What lies in the arena, zeroed at first. How it works is told in pool_line.c. */
struct plait__line {
    uint64_t tail __attribute__((aligned(64))); /* atomic (E1, E3): entries that were ever put; the putter's */
    uint64_t cells;                             /* atomic (E2): offset of the cells | log2 of their number; the putter's */
    uint64_t head __attribute__((aligned(64))); /* atomic (E1): entries that were ever taken */
    struct plait__eventcount sleepers __attribute__((aligned(64)));
    uint32_t searcher; /* atomic (E3): number + 1 of the worker that looks for entries without sleeping; 0: none */
};

/* A process's end of it. */
struct plait__line_end {
    struct plait__arena_header *base; /* const */
    struct plait__line *line;         /* const */
    plait_queue_t *by_priority;       /* const: the entries are in there; NULL: first come, first served */
    uint64_t head_seen;               /* putter only: `head` is that far at least */
};

/* Make the cells. ENOSPC. */
int plait__line_make(struct plait__line_end *end);

/* Put an entry; one putter at a time. ENOSPC, and what a queue says. */
int plait__line_put(struct plait__line_end *end, uint64_t entry, int64_t priority);

/* Is there none? By the time the answer is read it may be wrong. */
bool plait__line_is_empty(const struct plait__line_end *end);

/*
 * Take the next entry, for the worker of that number; it stands in *taking before it is out of the line, if that is not by
 * priority. ETIMEDOUT: there was none until the deadline.
 */
int plait__line_get(struct plait__line_end *end, uint32_t number, uint64_t *taking, uint64_t *entry_out, plait_time_t deadline);

/*
 * The worker of that number is about to be through with a task, and will then get the next one: as long as nothing else is
 * there to take, who puts something in the meantime need not wake anybody. And it will not after all.
 */
void plait__line_expect(struct plait__line_end *end, uint32_t number);
void plait__line_forget(struct plait__line_end *end, uint32_t number);

/* A worker is dead: whatever it was about to do here, others do. */
void plait__line_bury(struct plait__line_end *end, uint32_t number);

#endif
