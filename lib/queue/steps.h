/* SPDX-License-Identifier: MIT */
/*
 * One put, one get: the steps that are made with a side's lock held, inlined into the calls. How the cells work is told
 * in fifo.c, whose edges E1 and E2 these are.
 */
#ifndef PLAIT_QUEUE_STEPS_H
#define PLAIT_QUEUE_STEPS_H

#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "base/prefetch.h"
#include "queue/body.h"

enum { FREE, READY, TAKEN }; /* a cell in a segment */

static inline void *place(const struct plait_queue *q, uint64_t place)
{
    return (void *)((uintptr_t)q->base + (uintptr_t)place);
}

static inline struct plait__segment *segment_at(const struct plait_queue *q, uint64_t at)
{
    return plait__memory_at(q, at);
}

static inline struct plait__cell *cell_in(const struct plait_queue *q, void *cells, uint64_t index)
{
    return (struct plait__cell *)((char *)cells + index * q->stride);
}

static inline void copy_item(void *to, const void *from, size_t size)
{
    if (size == 8)
        memcpy(to, from, 8);
    else if (size == 16)
        memcpy(to, from, 16);
    else
        memcpy(to, from, size);
}

/* Into the queue: a message's bytes may come from elsewhere than its label, and go elsewhere: see plait__mail_write. */
static inline int copy_in(struct plait_queue *q, void *to, const void *from, uint64_t *annex, uint64_t number)
{
    if (q->item_size != 8 && q->item_size != 16 && q->is_message)
        return plait__mail_write(q, to, from, annex, number);
    copy_item(to, from, q->item_size);
    return 0;
}

static inline uint32_t index_of(uint64_t at)
{
    return (uint32_t)at;
}
static inline uint32_t lap_of(uint64_t at)
{
    return (uint32_t)(at >> 32);
}

static inline uint64_t next_place(const struct plait_queue *q, uint64_t at)
{
    return index_of(at) + 1 == q->maxsize ? (uint64_t)(lap_of(at) + 1) << 32 : at + 1;
}

static inline struct plait__cell *ring_cell(const struct plait_queue *q, uint64_t at)
{
    return cell_in(q, place(q, q->cells), index_of(at));
}

/* Does the place name a cell? Else it was damaged. */
static inline bool is_in_ring(const struct plait_queue *q, uint64_t at)
{
    return __builtin_expect(index_of(at) < q->maxsize, 1);
}

/* The putters' next cell. EAGAIN: it is not free. */
static inline int ring_room(const struct plait_queue *q, struct plait__cell **cell_out)
{
    uint64_t at = q->body->put.at;

    *cell_out = ring_cell(q, at);
    prefetch_to_write(*cell_out);
    if (!is_in_ring(q, at))
        return EBADMSG;
    return load_acquire(&(*cell_out)->state) == 2 * lap_of(at) ? 0 : EAGAIN; /* E1 */
}

/* It has an item. */
static inline void ring_made(struct plait_queue *q, struct plait__cell *cell)
{
    struct plait__queue_side *side = &q->body->put;
    uint64_t at = side->at;

    store_release(&cell->state, 2 * lap_of(at) + 1); /* E1 */
    compiler_barrier();
    store64_relaxed(&side->at, next_place(q, at));
}

static inline int ring_put(struct plait_queue *q, const void *item)
{
    struct plait__queue_side *side = &q->body->put;
    struct plait__cell *cell;
    int err = ring_room(q, &cell);

    if (err == 0)
        err = copy_in(q, cell->item, item, &side->annex, index_of(side->at));
    if (err == 0)
        ring_made(q, cell);
    return err;
}

/* The getters' next cell; NULL: it is not ready. */
static inline struct plait__cell *ring_first(const struct plait_queue *q)
{
    uint64_t at = q->body->get.at;
    struct plait__cell *cell = ring_cell(q, at);

    if (!is_in_ring(q, at))
        return NULL;
    return load_acquire(&cell->state) == 2 * lap_of(at) + 1 ? cell : NULL; /* E1 */
}

/* It is got, or discarded. */
static inline void ring_advance(struct plait_queue *q, struct plait__cell *cell)
{
    struct plait__queue_side *side = &q->body->get;
    uint64_t at = side->at;

    store_release(&cell->state, 2 * lap_of(at) + 2); /* E1 */
    compiler_barrier();
    store64_relaxed(&side->at, next_place(q, at));
}

static inline int ring_get(struct plait_queue *q, void *item)
{
    struct plait__cell *cell = ring_first(q);

    if (!cell)
        return EAGAIN;
    copy_item(item, cell->item, q->item_size);
    ring_advance(q, cell);
    return 0;
}

/* Are the side's next cells as it wants them: 0, 1, or 2 for more than one. A look without the lock. */
static inline size_t ring_possible(const struct plait_queue *q, const struct plait__queue_side *side, uint32_t wanted)
{
    uint64_t at = load64_relaxed(&side->at), next;

    if (!is_in_ring(q, at) || load_relaxed(&ring_cell(q, at)->state) != 2 * lap_of(at) + wanted)
        return 0;
    next = next_place(q, at);
    return load_relaxed(&ring_cell(q, next)->state) == 2 * lap_of(next) + wanted ? 2 : 1;
}

/* The rest of is_segment, for a place that was not looked at before: is there a block of a segment's size? */
bool plait__fifo_look_at(struct plait_queue *q, uint64_t at, uint64_t *looked_at);

/* Does the place, which that side's lock guards, name a segment? Else it was damaged. */
static inline bool is_segment(struct plait_queue *q, uint64_t at, uint64_t *looked_at)
{
    return __builtin_expect(at == *looked_at, 1) || plait__fifo_look_at(q, at, looked_at);
}

/* The putter's segment is full: make the next one. ENOMEM, ENOSPC. */
int plait__fifo_lengthen(struct plait_queue *q);

/* The getter's segment is empty for good: go to the next. EAGAIN: there is none. */
int plait__fifo_shorten(struct plait_queue *q);

/* The putters' next cell, in *segment_out. */
static inline int chain_room(struct plait_queue *q, struct plait__segment **segment_out, struct plait__cell **cell_out)
{
    struct plait__queue_side *side = &q->body->put;
    struct plait__segment *s = segment_at(q, side->segment);

    if (!is_segment(q, side->segment, &q->looked_at[0]))
        return EBADMSG;
    if (__builtin_expect(side->at - s->first >= q->cells, 0)) {
        int err = side->at - s->first == q->cells ? plait__fifo_lengthen(q) : EBADMSG;

        if (err)
            return err;
        s = segment_at(q, side->segment);
    }
    *segment_out = s;
    *cell_out = cell_in(q, s->cells, side->at - s->first);
    prefetch_to_write(*cell_out);
    return 0;
}

static inline void chain_made(struct plait_queue *q, struct plait__cell *cell)
{
    struct plait__queue_side *side = &q->body->put;

    store_release(&cell->state, READY); /* E1 */
    compiler_barrier();
    store64_relaxed(&side->at, side->at + 1);
}

static inline int chain_put(struct plait_queue *q, const void *item)
{
    struct plait__segment *s;
    struct plait__cell *cell;
    int err = chain_room(q, &s, &cell);

    if (err == 0)
        err = copy_in(q, cell->item, item, &s->annex, q->body->put.at - s->first);
    if (err == 0)
        chain_made(q, cell);
    return err;
}

/* The getters' next cell; NULL: it is not ready. */
static inline struct plait__cell *chain_first(struct plait_queue *q)
{
    struct plait__queue_side *side = &q->body->get;
    struct plait__segment *s = segment_at(q, side->segment);
    struct plait__cell *cell;

    if (!is_segment(q, side->segment, &q->looked_at[1]))
        return NULL;
    if (__builtin_expect(side->at - s->first >= q->cells, 0)) {
        if (side->at - s->first > q->cells || plait__fifo_shorten(q) != 0)
            return NULL;
        s = segment_at(q, side->segment);
        if (side->at - s->first >= q->cells) /* damaged */
            return NULL;
    }
    cell = cell_in(q, s->cells, side->at - s->first);
    return load_acquire(&cell->state) == READY ? cell : NULL; /* E1 */
}

static inline void chain_advance(struct plait_queue *q, struct plait__cell *cell)
{
    struct plait__queue_side *side = &q->body->get;

    store_release(&cell->state, TAKEN);
    compiler_barrier();
    store64_relaxed(&side->at, side->at + 1);
}

static inline int chain_get(struct plait_queue *q, void *item)
{
    struct plait__cell *cell = chain_first(q);

    if (!cell)
        return EAGAIN;
    copy_item(item, cell->item, q->item_size);
    chain_advance(q, cell);
    return 0;
}

static inline int plait__fifo_peek_step(struct plait_queue *q, void *item)
{
    struct plait__cell *cell = q->maxsize ? ring_first(q) : chain_first(q);

    if (!cell)
        return EAGAIN;
    copy_item(item, cell->item, q->item_size);
    return 0;
}

/* Is there a next item in the segment that getters are in, or in the ring? With their lock held; nothing is changed. */
static inline bool plait__fifo_has_next(struct plait_queue *q)
{
    struct plait__queue_side *side = &q->body->get;

    if (q->maxsize)
        return ring_first(q) != NULL;
    return is_segment(q, side->segment, &q->looked_at[1]) && side->at - segment_at(q, side->segment)->first < q->cells &&
           chain_first(q) != NULL;
}

/* The item that is next where it lies, NULL: there is none; and take it out, as it is there. */
static inline void *plait__fifo_look(struct plait_queue *q)
{
    struct plait__cell *cell = q->maxsize ? ring_first(q) : chain_first(q);

    return cell ? cell->item : NULL;
}

static inline void plait__fifo_take_out(struct plait_queue *q, void *item)
{
    struct plait__cell *cell = (struct plait__cell *)(void *)((char *)item - offsetof(struct plait__cell, item));

    if (q->maxsize)
        ring_advance(q, cell);
    else
        chain_advance(q, cell);
}

/*
 * Has a cell become free, or ready, without the lock: 0, 1, or more if the one behind it has as well. In a ring they are looked at themselves:
 * their line has to come in any case, and that of the other side's `at` would be one more, which comes later. A segment may be gone by the time
 * that it is looked at: there the hint makes both lines come at once.
 */
static inline size_t plait__fifo_room_seen(const struct plait_queue *q)
{
    return q->maxsize ? ring_possible(q, &q->body->put, 0) : 1;
}

static inline size_t plait__fifo_items_seen(const struct plait_queue *q)
{
    const struct plait__queue_side *side = &q->body->get;
    uint64_t segment, index;

    if (q->maxsize)
        return ring_possible(q, side, 1);
    segment = load64_relaxed(&side->segment) + offsetof(struct plait__segment, cells);
    index = load64_relaxed(&side->at) % q->cells; /* segments are of one size */
    prefetch_to_read(plait__memory_at(q, segment + index * q->stride));
    return plait__fifo_size(q);
}

/* 0, or EAGAIN: full, empty; ENOMEM, ENOSPC. With the side's lock held. */
static inline int plait__fifo_put_step(struct plait_queue *q, const void *item)
{
    return q->maxsize ? ring_put(q, item) : chain_put(q, item);
}

static inline int plait__fifo_get_step(struct plait_queue *q, void *item)
{
    return q->maxsize ? ring_get(q, item) : chain_get(q, item);
}

/* Of whatever kind. */
static inline int plait__put_step(struct plait_queue *q, const void *item, int64_t priority)
{
    return __builtin_expect(q->is_pile, 0) ? plait__pile_put(q, item, priority)
                                           : plait__fifo_put_step(q, item);
}

static inline int plait__get_step(struct plait_queue *q, void *item, int64_t *priority_out)
{
    return __builtin_expect(q->is_pile, 0) ? plait__pile_get(q, item, priority_out)
                                           : plait__fifo_get_step(q, item);
}

static inline int plait__peek_step(struct plait_queue *q, void *item)
{
    return q->is_pile ? plait__pile_peek(q, item) : plait__fifo_peek_step(q, item);
}

/* An item where it lies, of whatever kind, NULL: there is none; and take it out, as it is there. */
static inline void *plait__look(struct plait_queue *q, enum plait__queue_from from)
{
    return __builtin_expect(q->is_pile, 0) ? plait__pile_look(q, from) : plait__fifo_look(q);
}

static inline void plait__take_out(struct plait_queue *q, void *item, enum plait__queue_from from)
{
    if (__builtin_expect(q->is_pile, 0))
        plait__pile_take_out(q, from);
    else
        plait__fifo_take_out(q, item);
}

/* The same, or `far`: at the other end of a deque. */
static inline int plait__put_at(struct plait_queue *q, const void *item, int64_t priority, bool far)
{
    return far ? plait__pile_put_front(q, item) : plait__put_step(q, item, priority);
}

static inline int plait__get_at(struct plait_queue *q, void *item, int64_t *priority_out, bool far)
{
    return far ? plait__pile_get_back(q, item) : plait__get_step(q, item, priority_out);
}

static inline int plait__peek_at(struct plait_queue *q, void *item, bool far)
{
    return far ? plait__pile_peek_back(q, item) : plait__peek_step(q, item);
}

#endif
