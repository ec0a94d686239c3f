/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Putters exclude one another by the lock of the put side, getters by that of the get side; a putter and a getter meet only
 * in the state of a cell.
 *
 * Bounded: a ring of exactly maxsize cells. `at` is lap << 32 | index, stored whole. A cell in lap n:
 *
 *     2n      free for the putter of lap n
 *     2n + 1  ready for the getter of lap n; the getter leaves 2n + 2
 *
 * Unbounded: a chain of segments whose cells are used once: FREE, READY, TAKEN. `at` counts all items ever; the cell is
 * the (at - segment.first)th. The putter that finds its segment full links a new one; the getter that
 * has emptied one goes to the next and frees it.
 *
 * E1 item: the putter copies the item, then releases the state; the getter acquires the state, then copies. Back the
 *    same way: the getter's release of the state lets the putter of the next lap overwrite the cell.
 * E2 segment: `next` is released when the new segment is ready, and acquired by getters.
 *
 * Killed at any instruction (the lock tells the next, who repairs):
 * In between stand compiler barriers: the order in which this thread's stores are issued is the order in which they survive it.
 *   - the store of the state is the moment at which a put or get takes effect. If `at` was not moved on after it, the
 *     state shows it: repair moves `at` past cells that are done. A cell half written is free; one half read is ready.
 *   - a new segment stands in put.in_hand from its allocation (one step with it) until it is in the chain;
 *     repair sees whether it is. It is prepared again before use. Before repair believes put.in_hand, the
 *     allocator must have settled that step, or it would free later what has been linked meanwhile.
 *   - an emptied segment stands in get.in_hand from before `segment` moves on until it is freed (one step with it);
 *     repair sees whether `segment` has moved on. Before repair believes get.in_hand, or the place of that segment's annex (annex.c), the
 *     allocator must have settled its step.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "queue/annex.h"
#include "queue/steps.h"

/* With what a block of an arena has itself, so that it is one of a size that is there. */
enum { SEGMENT_BYTES = 16 * 1024 - sizeof(struct plait__segment) - sizeof(struct plait__block), SEGMENT_CELLS_MIN = 8 };

static size_t segment_size(const struct plait_queue *q)
{
    return sizeof(struct plait__segment) + q->cells * q->stride;
}

static int allocate_segment(struct plait_queue *q, uint64_t *to)
{
    return plait__memory_alloc(q->base, segment_size(q), to);
}

static void prepare_segment(struct plait_queue *q, uint64_t at, uint64_t first)
{
    struct plait__segment *s = segment_at(q, at);

    memset(s, 0, segment_size(q));
    s->first = first;
}

bool plait__fifo_look_at(struct plait_queue *q, uint64_t at, uint64_t *looked_at)
{
    if (q->base && !plait__queue_is_block(q, at, segment_size(q)))
        return false;
    *looked_at = at;
    return true;
}

int plait__fifo_lengthen(struct plait_queue *q)
{
    struct plait__queue_side *side = &q->body->put;
    struct plait__segment *full = segment_at(q, side->segment);
    int err = side->in_hand ? 0 : allocate_segment(q, &side->in_hand);

    if (err)
        return err;
    if (side->in_hand == side->segment || !is_segment(q, side->in_hand, &q->looked_at[0]))
        return EBADMSG;
    prepare_segment(q, side->in_hand, full->first + q->cells);
    store64_release(&full->next, side->in_hand); /* E2 */
    compiler_barrier();
    store64_relaxed(&side->segment, side->in_hand);
    compiler_barrier();
    store64_relaxed(&side->in_hand, 0);
    return 0;
}

/* The segment that getters have left, and its annex before it. */
static void free_in_hand(struct plait_queue *q, struct plait__queue_side *side)
{
    plait__annex_drop(q, &segment_at(q, side->in_hand)->annex);
    plait__memory_free(q->base, &side->in_hand);
}

int plait__fifo_shorten(struct plait_queue *q)
{
    struct plait__queue_side *side = &q->body->get;
    uint64_t next = load64_acquire(&segment_at(q, side->segment)->next); /* E2 */

    /* The putters' segment stays theirs, even if one was killed after linking the next: repair starts there. */
    if (!next || load64_relaxed(&q->body->put.segment) == side->segment || !is_segment(q, next, &q->looked_at[1]))
        return EAGAIN;
    store64_relaxed(&side->in_hand, side->segment);
    compiler_barrier();
    store64_relaxed(&side->segment, next);
    compiler_barrier();
    free_in_hand(q, side);
    return 0;
}

/* Ring: move on while the cell is further than `at` says; `done` is what the side leaves in a cell of lap 0. */
static int ring_repair(struct plait_queue *q, struct plait__queue_side *side, uint32_t done)
{
    if (!is_in_ring(q, side->at))
        return EBADMSG;
    for (uint64_t i = 0; (int32_t)(load_acquire(&ring_cell(q, side->at)->state) - (2 * lap_of(side->at) + done)) >= 0; i++) {
        if (i == q->maxsize) /* all of them, by damage */
            return EBADMSG;
        store64_relaxed(&side->at, next_place(q, side->at));
    }
    return 0;
}

/* Chain: the first cell of the segment that is below `done`. */
static uint64_t first_below(const struct plait_queue *q, struct plait__segment *s, uint32_t done)
{
    uint64_t i = 0;

    while (i < q->cells && load_acquire(&cell_in(q, s->cells, i)->state) >= done)
        i++;
    return s->first + i;
}

int plait__fifo_repair_put(struct plait_queue *q)
{
    struct plait__queue_side *side = &q->body->put;
    uint64_t next, left = q->base ? q->base->limit / segment_size(q) : UINT64_MAX;

    if (q->maxsize)
        return ring_repair(q, side, 1);
    if (q->base)
        plait__arena_settle(q->base);
    if (!is_segment(q, side->segment, &q->looked_at[0]))
        return EBADMSG;
    while ((next = load64_acquire(&segment_at(q, side->segment)->next))) {
        if (!is_segment(q, next, &q->looked_at[0]) || left-- == 0)
            return EBADMSG;
        store64_relaxed(&side->segment, next);
    }
    if (side->in_hand == side->segment)
        store64_relaxed(&side->in_hand, 0);
    store64_relaxed(&side->at, first_below(q, segment_at(q, side->segment), READY));
    return 0;
}

int plait__fifo_repair_get(struct plait_queue *q)
{
    struct plait__queue_side *side = &q->body->get;
    uint64_t looked_at = 0;

    if (q->maxsize)
        return ring_repair(q, side, 2);
    if (!is_segment(q, side->segment, &q->looked_at[1]))
        return EBADMSG;
    if (q->base)
        plait__arena_settle(q->base);
    if (side->in_hand && side->in_hand != side->segment && is_segment(q, side->in_hand, &looked_at))
        free_in_hand(q, side);
    store64_relaxed(&side->in_hand, 0);
    store64_relaxed(&side->at, first_below(q, segment_at(q, side->segment), TAKEN));
    return 0;
}

int plait__fifo_make(struct plait_queue *q)
{
    struct plait__queue_body *b = q->body;
    uint64_t bytes = b->maxsize * b->stride;
    int err;

    if (b->maxsize) {
        if (!q->base) {
            q->cells = b->cells = (uint64_t)(uintptr_t)calloc(b->maxsize, b->stride);
            return b->cells ? 0 : ENOMEM;
        }
        err = plait__arena_alloc_raw(q->base, bytes, &b->cells);
        q->cells = b->cells;
        if (err == 0)
            memset(place(q, b->cells), 0, bytes);
        return err;
    }
    q->cells = b->cells = SEGMENT_BYTES / b->stride > SEGMENT_CELLS_MIN ? SEGMENT_BYTES / b->stride
                                                             : SEGMENT_CELLS_MIN;
    err = allocate_segment(q, &b->put.segment);
    if (err)
        return err;
    prepare_segment(q, b->put.segment, 0);
    b->get.segment = b->put.segment;
    q->looked_at[0] = q->looked_at[1] = b->put.segment;
    return 0;
}

void plait__fifo_unmake(struct plait_queue *q)
{
    struct plait__queue_body *b = q->body;

    if (b->maxsize) {
        if (q->base)
            plait__arena_dealloc_offset(q->base, b->cells);
        else
            free(place(q, b->cells));
        plait__annex_drop(q, &b->put.annex);
        return;
    }
    if (b->put.in_hand)
        plait__memory_free(q->base, &b->put.in_hand);
    while (b->get.segment && (!q->base || plait__queue_is_block(q, b->get.segment, segment_size(q)))) {
        uint64_t at = b->get.segment;

        b->get.segment = segment_at(q, at)->next;
        b->get.in_hand = at; /* what is freed must be named in the arena */
        free_in_hand(q, &b->get);
    }
}

int plait__fifo_skip(struct plait_queue *q)
{
    struct plait__cell *cell = ring_first(q);

    if (!cell)
        return EAGAIN;
    ring_advance(q, cell);
    return 0;
}

static size_t ring_copy(struct plait_queue *q, char *items, size_t max)
{
    uint64_t at = q->body->get.at;
    size_t count = 0;

    for (; count < max && at != q->body->put.at && is_in_ring(q, at); at = next_place(q, at))
        memcpy(items + count++ * q->item_size, ring_cell(q, at)->item, q->item_size);
    return count;
}

static size_t chain_copy(struct plait_queue *q, char *items, size_t max)
{
    uint64_t at = q->body->get.at, segment = q->body->get.segment, looked_at = q->looked_at[1];
    struct plait__segment *s = segment_at(q, segment);
    size_t count = 0;

    for (; count < max && at != q->body->put.at && is_segment(q, segment, &looked_at); at++) {
        if (at - s->first == q->cells) {
            segment = load64_acquire(&s->next);
            if (!is_segment(q, segment, &looked_at))
                break;
            s = segment_at(q, segment);
        }
        if (at - s->first >= q->cells)
            break;
        memcpy(items + count++ * q->item_size, cell_in(q, s->cells, at - s->first)->item,
               q->item_size);
    }
    return count;
}

size_t plait__fifo_copy(struct plait_queue *q, void *items, size_t max)
{
    return q->maxsize ? ring_copy(q, items, max) : chain_copy(q, items, max);
}

bool plait__fifo_is_sound(struct plait_queue *q)
{
    const struct plait__queue_body *b = q->body;

    if (q->maxsize)
        return q->stride <= q->base->limit / q->maxsize && is_in_ring(q, b->put.at) && is_in_ring(q, b->get.at) &&
               plait__arena_block_is_used(q->base, q->cells, q->maxsize * q->stride);
    return q->cells && q->cells <= q->base->limit / q->stride &&
           plait__fifo_look_at(q, b->put.segment, &q->looked_at[0]) &&
           plait__fifo_look_at(q, b->get.segment, &q->looked_at[1]);
}

size_t plait__fifo_size(const struct plait_queue *q)
{
    uint64_t get = load64_acquire(&q->body->get.at);
    uint64_t put = load64_acquire(&q->body->put.at);
    int64_t size;

    if (q->maxsize)
        size = (int64_t)(int32_t)(lap_of(put) - lap_of(get)) * (int64_t)q->maxsize +
               index_of(put) - (int64_t)index_of(get);
    else
        size = (int64_t)(put - get);
    if (size < 0)
        return 0;
    return q->maxsize && (uint64_t)size > q->maxsize ? q->maxsize : (size_t)size;
}
