/* SPDX-License-Identifier: MIT */
/* A queue's memory: what all its users share, in an arena or in the heap. */
#ifndef PLAIT_QUEUE_BODY_H
#define PLAIT_QUEUE_BODY_H

#include <plait/lock.h>
#include <plait/queue.h>

#include "arena/arena.h"
#include "wait/eventcount.h"

/*
 * Places are numbers: offsets in the arena, or addresses (then the base is 0). Cells are the truth: each has a state
 * that is stored once per change; `tail` and `head` say where to look, and can be found again from the cells.
 */
struct plait__queue_body {
    /* const after creation */
    uint32_t magic; /* stored last; 0 once destroyed */
    uint32_t flags; /* PLAIT_SHARED or 0 */
    uint64_t item_size;
    uint64_t stride;  /* bytes from cell to cell */
    uint64_t maxsize; /* 0: unbounded */
    uint64_t cells;   /* bounded: place of the ring; unbounded: cells in a segment */
    uint64_t spare[3];

    /* Read by all, seldom written. */
    uint32_t closed __attribute__((aligned(64))); /* atomic: enum plait__queue_closed; set under both locks */
    uint32_t spare2;
    struct plait__eventcount items; /* getters sleep here until there is an item, or it is closed */
    struct plait__eventcount room;  /* putters sleep here until there is room, or it is closed */

    struct plait__queue_side {
        plait_lock_t lock __attribute__((aligned(64)));
        uint64_t at;      /* atomic, written under lock: bounded: lap << 32 | index; unbounded: items so far */
        uint64_t segment; /* guarded by lock: unbounded: where `at` is */
        uint64_t in_hand; /* guarded by lock: unbounded: a segment to be linked (put), to be freed (get) */
        uint64_t spare[5];
    } put, get;
};

enum plait__queue_closed { PLAIT__QUEUE_OPEN, PLAIT__QUEUE_CLOSED, PLAIT__QUEUE_DISCARDED };

#define PLAIT__QUEUE_MAGIC 0x51756575u

struct plait__cell {
    uint32_t state; /* atomic (E1); see fifo.c */
    uint32_t spare;
    char item[];
};

/* A run of cells that are used once each, for unbounded queues. */
struct plait__segment {
    uint64_t next;  /* atomic (E2): place of the next one, 0: none as yet */
    uint64_t first; /* const once linked: the number of the item in cell 0 */
    struct plait__cell cells[];
};

/* A handle. */
struct plait_queue {
    struct plait__queue_body *body;      /* const */
    struct plait__arena_header *base;    /* const: NULL: private */
    plait_arena_t *arena;                /* const: a handle of our own, NULL: private */
    uint64_t skew;                       /* const: from a segment's place to its memory */
    size_t item_size, stride;            /* const: copies of the body's */
};

/* The holder of the side's lock has died: find `at` and `segment` again. May itself be killed and repeated. */
void plait__fifo_repair_put(struct plait_queue *q);
void plait__fifo_repair_get(struct plait_queue *q);

/* Make the cells of a new queue; give them back. */
int plait__fifo_make(struct plait_queue *q);
void plait__fifo_unmake(struct plait_queue *q);

/* Are the places in the body such that they can be followed? For opening by reference. */
bool plait__fifo_is_sound(struct plait_queue *q);

/* Items in it. */
size_t plait__fifo_size(const struct plait_queue *q);

#endif
