/* SPDX-License-Identifier: MIT */
/*
 * The row of entries that a pile is: numbered from 0, in one piece of memory with a limit, else in segments that come and go.
 * All of it is guarded by the queue's lock. Where an entry's memory is, inlined; the rest in row.c.
 */
#ifndef PLAIT_QUEUE_ROW_H
#define PLAIT_QUEUE_ROW_H

#include <errno.h>

#include "base/atomic.h"
#include "queue/body.h"

/* A heap leaves so many places in front unused: then four children of one parent lie side by side in one segment (heap.c). */
enum { PLAIT__HEAP_LEAD = 3 };

/* Where the segments are. It knows its size itself, so that one store puts another in its place. */
struct plait__directory {
    uint64_t room;       /* const: how many places fit in here */
    uint64_t segments[]; /* 0: there is none */
};

/* What is needed to find entries, for as long as the row grows no longer. */
struct plait__row {
    uintptr_t origin;       /* places count from here */
    const uint64_t *places; /* of the segments, or of the one piece */
    uint64_t mask;
    uint32_t shift;
    size_t stride;
};

static inline bool plait__is_ranked(const struct plait_queue *q)
{
    return q->body->kind == PLAIT_PRIORITY;
}

static inline struct plait__pile *plait__pile_of(const struct plait_queue *q)
{
    return plait__memory_at(q, q->cells);
}

static inline struct plait__directory *plait__directory(const struct plait_queue *q)
{
    return plait__memory_at(q, plait__pile_of(q)->directory);
}

static inline struct plait__row plait__row(const struct plait_queue *q)
{
    const struct plait__pile *pile = plait__pile_of(q);
    uint32_t shift = q->maxsize ? 63 : pile->shift;

    return (struct plait__row){
        .origin = (uintptr_t)q->base + (uintptr_t)q->skew,
        .places = q->maxsize ? &pile->flat : plait__directory(q)->segments,
        .mask = ((uint64_t)1 << shift) - 1,
        .shift = shift,
        .stride = q->stride,
    };
}

static inline void *plait__row_at(const struct plait__row *row, uint64_t position)
{
    return (void *)(row->origin + (uintptr_t)(row->places[position >> row->shift] +
                                              (position & row->mask) * row->stride));
}

/* Places that are never used, in front of the first entry. */
static inline uint64_t plait__row_lead(const struct plait_queue *q)
{
    return plait__is_ranked(q) ? PLAIT__HEAP_LEAD : 0;
}

/* The count and the bottom, as `at` of the put side has them: see pile.c. */
static inline bool plait__has_bottom(const struct plait_queue *q)
{
    return q->maxsize || q->body->kind == PLAIT_DEQUE;
}

static inline uint64_t plait__count_in(const struct plait_queue *q, uint64_t at)
{
    return plait__has_bottom(q) ? (uint32_t)at : at;
}

static inline uint64_t plait__bottom_in(const struct plait_queue *q, uint64_t at)
{
    return plait__has_bottom(q) ? at >> 32 : 0;
}

/* The position of entry `number` in the row, or with -1 the one before it. */
static inline uint64_t plait__position(const struct plait_queue *q, uint64_t number)
{
    uint64_t position = plait__bottom_in(q, q->body->put.at) + number;

    if (!q->maxsize)
        return plait__has_bottom(q) ? (uint32_t)position : position;
    if (position == UINT64_MAX)
        return q->maxsize - 1;
    return position < q->maxsize ? position : position - q->maxsize;
}

static inline uint64_t plait__count_of(const struct plait_queue *q)
{
    return plait__count_in(q, q->body->put.at);
}

static inline void plait__set_count(struct plait_queue *q, uint64_t count)
{
    uint64_t *at = &q->body->put.at;

    compiler_barrier();
    store64_relaxed(at, plait__has_bottom(q) ? plait__bottom_in(q, *at) << 32 | count : count);
    compiler_barrier();
}

/* The row begins elsewhere, and has so many entries. */
static inline void plait__set_bottom(struct plait_queue *q, uint64_t bottom, uint64_t count)
{
    compiler_barrier();
    store64_relaxed(&q->body->put.at, bottom << 32 | count);
    compiler_barrier();
}

/* Where entry `number` of a LIFO queue or deque lies, or with -1 the one before it. A deque's segments go round in the directory. */
static inline void *plait__row_entry(const struct plait_queue *q, uint64_t number)
{
    struct plait__row row = plait__row(q);
    uint64_t position = plait__position(q, number);

    if (!q->maxsize && q->body->kind == PLAIT_DEQUE)
        position &= (plait__directory(q)->room << row.shift) - 1;
    return plait__row_at(&row, position);
}

/* The rest of plait__row_reach: the row has no limit, and its last segment may be new. */
int plait__row_reach_far(struct plait_queue *q);

/* See that there is memory for an entry behind the last, or before the first. 0; EAGAIN: no room; ENOMEM, ENOSPC. */
static inline int plait__row_reach(struct plait_queue *q)
{
    uint64_t count = plait__count_of(q), segment;
    struct plait__directory *d;

    if (q->maxsize)
        return count < q->maxsize ? 0 : EAGAIN;
    if (q->body->kind == PLAIT_DEQUE)
        return plait__row_reach_far(q);
    d = plait__directory(q);
    segment = (count + plait__row_lead(q)) >> plait__pile_of(q)->shift;
    if (__builtin_expect(segment < d->room && d->segments[segment] && d->segments[segment] == q->looked_at[0], 1))
        return 0;
    return plait__row_reach_far(q);
}

int plait__row_reach_front(struct plait_queue *q);

/* In the middle of a segment? Then the one beyond is far enough from being needed. */
static inline bool plait__row_is_half(const struct plait_queue *q, uint64_t position)
{
    uint64_t half = (uint64_t)1 << (plait__pile_of(q)->shift - 1);

    return (position & (2 * half - 1)) == half;
}

/* Give that segment back, unless in a ring that is nearly full it is one of those in use. */
void plait__row_give_back(struct plait_queue *q, uint64_t segment);

/* The row has become shorter by one at that end: a segment may no longer be wanted. */
static inline void plait__row_retreat(struct plait_queue *q)
{
    uint64_t end = plait__position(q, plait__count_of(q) + plait__row_lead(q));

    if (__builtin_expect(plait__row_is_half(q, end), 0))
        plait__row_give_back(q, (end >> plait__pile_of(q)->shift) + 1);
}

static inline void plait__row_retreat_front(struct plait_queue *q)
{
    uint64_t first = plait__position(q, 0);

    if (__builtin_expect(plait__row_is_half(q, first), 0))
        plait__row_give_back(q, (first >> plait__pile_of(q)->shift) - 1);
}

int plait__row_make(struct plait_queue *q);
void plait__row_unmake(struct plait_queue *q);
void plait__row_repair(struct plait_queue *q);

/* Is what never changes such that it can be followed? The pile itself is a block. Can as many entries, with the lock held? */
bool plait__row_is_founded(struct plait_queue *q);
bool plait__row_is_reached(struct plait_queue *q, uint64_t count);

/* A heap's steps, with the lock held, and memory for the new entry, or an entry to get. */
int plait__heap_put(struct plait_queue *q, const void *item, int64_t priority);
void plait__heap_get(struct plait_queue *q, void *item, int64_t *priority_out); /* item: NULL: not wanted */

/* The item of entry `number`. */
void *plait__heap_item(const struct plait_queue *q, const struct plait__row *row, uint64_t number);

/* After a death: go on, or undo. EBADMSG: damaged. */
int plait__heap_repair(struct plait_queue *q);

/* Give back the blocks of all items; do all of them name blocks? */
void plait__heap_unmake(struct plait_queue *q);
bool plait__heap_is_sound(struct plait_queue *q);

#endif
