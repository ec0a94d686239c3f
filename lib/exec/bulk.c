/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Blocks are given out in the order of their addresses, so who goes through a queue of them goes through memory as through an
 * array. A slab knows only how many of its blocks are still to come back; it begins with all, and who is done with it as the
 * current one subtracts those that he has not given out. A block that comes back is not touched. When the count is 0, the slab is
 * spare: whoever has brought it to that puts it there.
 *
 *   E1  who has used a block subtracts it (release); who brings the count to 0 (acquire) sees that all are through, and pushes the slab
 *       (release) for who takes it (acquire). Only the holder of the lock takes, so a slab that it has seen on top cannot
 *       have been taken and put back meanwhile.
 */
#include "exec/bulk.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/atomic.h"

enum { SPARES_MAX = 32, AHEAD = 8 * BULK_BLOCK };

struct plait__bulk_slab {
    uint32_t due;             /* atomic: blocks that are to come back, or to be given out */
    struct plait__bulk_slab *next; /* among the spare ones */
};

static inline struct plait__bulk_slab *slab_of(void *memory)
{
    return (struct plait__bulk_slab *)((uintptr_t)memory & ~(uintptr_t)(BULK_BYTES - 1));
}

static void put_spare(struct plait__bulk *bulk, struct plait__bulk_slab *slab)
{
    if (load_relaxed(&bulk->spares) >= SPARES_MAX) {
        free(slab);
        return;
    }
    add_relaxed(&bulk->spares, 1);
    slab->next = loadptr_relaxed(&bulk->spare);
    while (!casptr_acqrel(&bulk->spare, &slab->next, slab))
        ;
}

/* With the lock held. */
static struct plait__bulk_slab *take_spare(struct plait__bulk *bulk)
{
    struct plait__bulk_slab *slab = loadptr_acquire(&bulk->spare);

    while (slab && !casptr_acqrel(&bulk->spare, &slab, slab->next))
        ;
    if (slab)
        sub_release(&bulk->spares, 1);
    return slab;
}

static void give(struct plait__bulk *bulk, struct plait__bulk_slab *slab, uint32_t blocks)
{
    if (sub_acqrel(&slab->due, blocks) == blocks) /* E1 */
        put_spare(bulk, slab);
}

/* With the lock held: another current one. False: there is no memory. */
static bool turn_over(struct plait__bulk *bulk)
{
    struct plait__bulk_slab *last = bulk->current, *slab = take_spare(bulk);

    if (!slab)
        slab = aligned_alloc(BULK_BYTES, BULK_BYTES);
    if (!slab)
        return false;
    store_relaxed(&slab->due, BULK_BLOCKS);
    bulk->current = slab;
    if (last && bulk->next <= BULK_BLOCKS)
        give(bulk, last, BULK_BLOCKS + 1 - bulk->next);
    bulk->next = 1; /* block 0 is the head */
    return true;
}

void *plait__bulk_take(struct plait__bulk *bulk, unsigned blocks)
{
    char *memory = NULL;
    uint32_t free = 0;

    if (load_relaxed(&bulk->lock) || !cas_acquire(&bulk->lock, &free, 1))
        return NULL;
    if ((bulk->current && bulk->next + blocks <= BULK_BLOCKS + 1) || turn_over(bulk)) {
        memory = (char *)bulk->current + (size_t)bulk->next * BULK_BLOCK;
        bulk->next += blocks;
        store64_relaxed(&bulk->taken, bulk->taken + 1);
        __builtin_prefetch(memory + AHEAD, 1); /* it was last in the cache of who gave it back */
    }
    store_release(&bulk->lock, 0);
    return memory;
}

void plait__bulk_flush(struct plait__bulk *bulk, struct plait__bulk_return *back)
{
    if (back->slab)
        give(bulk, back->slab, back->blocks);
    *back = (struct plait__bulk_return){ 0 };
}

void plait__bulk_give(struct plait__bulk *bulk, struct plait__bulk_return *back, void *memory, unsigned blocks)
{
    struct plait__bulk_slab *slab = slab_of(memory);

    if (back->slab != slab) {
        plait__bulk_flush(bulk, back);
        back->slab = slab;
    }
    back->blocks += blocks;
}

void plait__bulk_free(struct plait__bulk *bulk)
{
    struct plait__bulk_slab *slab;

    free(bulk->current);
    while ((slab = bulk->spare) != NULL) {
        bulk->spare = slab->next;
        free(slab);
    }
}
