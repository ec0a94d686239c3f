/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Most messages are much shorter than the longest slip, so an item of a FIFO queue has room for PLAIT__SLIP_NEAR
 * bytes alone. Where a slip is longer, the rest of it lies in the annex: a block with PLAIT__SLIP_FAR bytes for each
 * cell of the ring, or of the segment, and found by the cell's number. It is allocated with the first slip that needs
 * it, and goes with its cells. So a queue that has no such slips pays nothing for them, and to one that has, they are
 * nearly what they would be in the item itself.
 *
 * Bytes in the annex belong to the cell: its state says whose turn it is to touch them, they are written before it is
 * READY, and copied before it is TAKEN. So E1 of fifo.c is theirs too, and nothing new is to be said of deaths, but
 * of the block itself:
 *   - its place is stored by the allocation (one step with it), under the put side's lock, and does not change as
 *     long as the cells are there. Getters read it after the state of a cell that needs it, which came later (E1).
 *   - a segment's goes before the segment (one step with it), while that stands in get.in_hand; repair goes on with it.
 *
 * Where there is no memory for an annex, the message becomes a parcel, which needs less; the next ones do, too,
 * before it is tried again.
 */
#include "queue/annex.h"

enum { PARCELS_BEFORE_RETRY = 64 };

static size_t annex_size(const struct plait_queue *q)
{
    return (q->maxsize ? q->maxsize : q->cells) * PLAIT__SLIP_FAR;
}

/* Does the place name an annex? Else it was damaged. */
static inline bool is_annex(struct plait_queue *q, uint64_t place, uint64_t *looked_at)
{
    if (__builtin_expect(place == *looked_at, 1))
        return true;
    if (q->base && !plait__queue_is_block(q, place, annex_size(q)))
        return false;
    *looked_at = place;
    return true;
}

static __attribute__((noinline)) int make(struct plait_queue *q, uint64_t *place)
{
    int err = q->annex_refusals ? ENOSPC : plait__memory_alloc(q->base, annex_size(q), place);

    if (err)
        q->annex_refusals = (q->annex_refusals + 1) % PARCELS_BEFORE_RETRY;
    return err;
}

int plait__annex_reach(struct plait_queue *q, uint64_t *place, uint64_t number, char **far_out)
{
    int err = __builtin_expect(*place == 0, 0) ? make(q, place) : 0;

    if (err)
        return err;
    if (!is_annex(q, *place, &q->annex_looked_at[0]))
        return EBADMSG;
    *far_out = plait__annex_at(q, *place, number);
    return 0;
}

const char *plait__annex_look_for_next(struct plait_queue *q)
{
    uint64_t place = q->maxsize ? q->body->put.annex : segment_at(q, q->body->get.segment)->annex;

    return place && is_annex(q, place, &q->annex_looked_at[1]) ? plait__annex_of_next(q) : NULL;
}

void plait__annex_drop(struct plait_queue *q, uint64_t *place)
{
    if (*place)
        plait__memory_free(q->base, place);
}
