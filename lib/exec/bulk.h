/* SPDX-License-Identifier: MIT */
/* Bulk: blocks of memory that are given out one after the other, by anybody, and given back many at a time. */
#ifndef PLAIT_EXEC_BULK_H
#define PLAIT_EXEC_BULK_H

#include <stddef.h>
#include <stdint.h>

enum { BULK_BLOCK = 64, BULK_BYTES = 32768, BULK_BLOCKS = BULK_BYTES / BULK_BLOCK - 1, BULK_RUN_MAX = 8 };

struct plait__bulk_slab;

struct plait__bulk {
    uint32_t lock __attribute__((aligned(64)));  /* atomic: who takes; only tried */
    struct plait__bulk_slab *current;                 /* under lock */
    unsigned next;                               /* under lock: its first block that has not been given out */
    uint64_t taken;                              /* atomic, written under lock: how often something was */
    struct plait__bulk_slab *spare __attribute__((aligned(64))); /* atomic: slabs of which all has come back */
    uint32_t spares;                             /* atomic: how many, about */
};

/* What one thread has to give back. */
struct plait__bulk_return {
    struct plait__bulk_slab *slab; /* NULL: nothing */
    uint32_t blocks;
};

/* Take so many blocks (1 to BULK_RUN_MAX) that lie together. NULL: there is no memory, or somebody else is at it: use malloc. */
void *plait__bulk_take(struct plait__bulk *bulk, unsigned blocks);

/* Give them back, some time; and give back what has been collected. */
void plait__bulk_give(struct plait__bulk *bulk, struct plait__bulk_return *back, void *memory, unsigned blocks);
void plait__bulk_flush(struct plait__bulk *bulk, struct plait__bulk_return *back);

/* Free all. Everything has been given back. */
void plait__bulk_free(struct plait__bulk *bulk);

#endif
