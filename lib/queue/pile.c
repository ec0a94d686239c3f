/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A LIFO queue, a deque, and a queue by priority are a row of entries (row.c), numbered from 0, and a count: `at` of the put side,
 * whose lock guards all. Bounded, and of a deque, `at` is bottom << 32 | count: the row begins at `bottom` and goes round, so it
 * grows and shrinks at both ends, and the oldest item of a stack can be discarded. Else `at` is the count.
 *
 * LIFO: the entry is the item. A put writes it behind the last, and then counts it: that store is the moment at which it takes
 * effect. A get copies the last, and then counts it out. Deque: the same, and at the front as well. By priority: heap.c.
 *
 * Killed at any instruction: compiler barriers keep this thread's stores in order, and the lock tells the next, who repairs.
 *
 * The lock orders everything here. `at` is atomic because it is read without it: as a figure, and by who is about to sleep or
 * to spin, whose look is ordered by E3 of queue.c.
 */
#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "queue/row.h"
#include "queue/side.h"
#include "queue/steps.h"

uint64_t plait__pile_stride(uint64_t item_size, uint32_t kind)
{
    uint64_t inlined =
        kind != PLAIT_PRIORITY || item_size <= PLAIT__RANKED_INLINE ? item_size : sizeof(uint64_t);

    return (kind == PLAIT_PRIORITY ? sizeof(struct plait__ranked) : 0) + (inlined + 7) / 8 * 8;
}

size_t plait__pile_size(const struct plait_queue *q)
{
    return plait__count_in(q, load64_relaxed(&q->body->put.at)); /* relaxed: a figure; a sleeper's look is ordered by E3 */
}

static bool is_deque(const struct plait_queue *q)
{
    return q->body->kind == PLAIT_DEQUE;
}

/* ---- Steps ----------------------------------------------------------------------------------------------------- */

int plait__pile_put(struct plait_queue *q, const void *item, int64_t priority)
{
    uint64_t count = plait__count_of(q);
    int err = plait__row_reach(q);

    if (err)
        return err;
    if (plait__is_ranked(q))
        return plait__heap_put(q, item, priority);
    err = copy_in(q, plait__row_entry(q, count), item, NULL, 0);
    if (err == 0)
        plait__set_count(q, count + 1);
    return err;
}

int plait__pile_put_front(struct plait_queue *q, const void *item)
{
    int err = plait__row_reach_front(q);

    if (err)
        return err;
    err = copy_in(q, plait__row_entry(q, UINT64_MAX), item, NULL, 0);
    if (err == 0)
        plait__set_bottom(q, plait__position(q, UINT64_MAX), plait__count_of(q) + 1);
    return err;
}

/* The last goes. */
static void drop_last(struct plait_queue *q)
{
    plait__set_count(q, plait__count_of(q) - 1);
    if (!q->maxsize)
        plait__row_retreat(q);
}

/* The first goes: the row begins one later. */
static void drop_first(struct plait_queue *q)
{
    plait__set_bottom(q, plait__position(q, 1), plait__count_of(q) - 1);
    if (!q->maxsize)
        plait__row_retreat_front(q);
}

/* Of so many. */
static void take_last(struct plait_queue *q, void *item, uint64_t count)
{
    copy_item(item, plait__row_entry(q, count - 1), q->item_size);
    drop_last(q);
}

int plait__pile_get(struct plait_queue *q, void *item, int64_t *priority_out)
{
    uint64_t count = plait__count_of(q);

    if (count == 0)
        return EAGAIN;
    if (plait__is_ranked(q)) {
        plait__heap_get(q, item, priority_out);
        if (!q->maxsize)
            plait__row_retreat(q);
    } else if (is_deque(q)) {
        copy_item(item, plait__row_entry(q, 0), q->item_size);
        drop_first(q);
    } else {
        take_last(q, item, count);
    }
    return 0;
}

int plait__pile_get_back(struct plait_queue *q, void *item)
{
    uint64_t count = plait__count_of(q);

    if (count == 0)
        return EAGAIN;
    take_last(q, item, count);
    return 0;
}

/* Of the items that would come out, the one after so many, a heap's as they lie. */
static void *item_after(const struct plait_queue *q, uint64_t others)
{
    struct plait__row row = plait__row(q);

    if (plait__is_ranked(q))
        return plait__heap_item(q, &row, others);
    return plait__row_entry(q, is_deque(q) ? others : plait__count_of(q) - 1 - others);
}

int plait__pile_peek(struct plait_queue *q, void *item)
{
    if (plait__count_of(q) == 0)
        return EAGAIN;
    memcpy(item, item_after(q, 0), q->item_size);
    return 0;
}

int plait__pile_peek_back(struct plait_queue *q, void *item)
{
    if (plait__count_of(q) == 0)
        return EAGAIN;
    memcpy(item, plait__row_entry(q, plait__count_of(q) - 1), q->item_size);
    return 0;
}

int plait__pile_skip(struct plait_queue *q)
{
    if (plait__count_of(q) == 0)
        return EAGAIN;
    drop_first(q);
    return 0;
}

int plait__pile_skip_back(struct plait_queue *q)
{
    if (plait__count_of(q) == 0)
        return EAGAIN;
    drop_last(q);
    return 0;
}

void *plait__pile_look(const struct plait_queue *q, enum plait__queue_from from)
{
    uint64_t count = plait__count_of(q);

    if (count == 0)
        return NULL;
    return from == PLAIT__NEXT ? item_after(q, 0) : plait__row_entry(q, from == PLAIT__LAST ? count - 1 : 0);
}

void plait__pile_take_out(struct plait_queue *q, enum plait__queue_from from)
{
    if (plait__is_ranked(q)) {
        plait__heap_get(q, NULL, NULL);
        if (!q->maxsize)
            plait__row_retreat(q);
    } else if (from == PLAIT__OLDEST || (from == PLAIT__NEXT && is_deque(q))) {
        drop_first(q);
    } else {
        drop_last(q);
    }
}

size_t plait__pile_copy(struct plait_queue *q, void *items, size_t max)
{
    uint64_t count = plait__count_of(q);

    if (max > count)
        max = count;
    for (size_t i = 0; i < max; i++)
        memcpy((char *)items + i * q->item_size, item_after(q, i), q->item_size);
    return max;
}

/* ---- Repair, beginning and end --------------------------------------------------------------------------------- */

int plait__pile_repair(struct plait_queue *q)
{
    if (q->base)
        plait__arena_settle(q->base);
    plait__row_repair(q);
    return plait__is_ranked(q) ? plait__heap_repair(q) : 0;
}

int plait__pile_make(struct plait_queue *q)
{
    int err = plait__memory_alloc(q->base, sizeof(struct plait__pile), &q->body->cells);

    if (err)
        return err;
    q->cells = q->body->cells;
    memset(plait__pile_of(q), 0, sizeof(struct plait__pile));
    err = plait__row_make(q);
    if (err)
        plait__memory_free(q->base, &q->body->cells);
    return err;
}

void plait__pile_unmake(struct plait_queue *q)
{
    if (plait__is_ranked(q))
        plait__heap_unmake(q);
    plait__row_unmake(q);
    plait__memory_free(q->base, &q->body->cells);
}

bool plait__pile_is_sound(struct plait_queue *q)
{
    bool sound = plait__queue_is_block(q, q->cells, sizeof(struct plait__pile)) &&
                 plait__row_is_founded(q) &&
                 plait__side_lock(q, &q->body->put, PLAIT_FOREVER) == 0;

    if (!sound)
        return false;
    sound = plait__row_is_reached(q, plait__count_of(q)) &&
            (!plait__is_ranked(q) || plait__heap_is_sound(q));
    plait__side_unlock(q, &q->body->put);
    return sound;
}
