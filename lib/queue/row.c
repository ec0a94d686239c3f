/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Bounded: one piece of memory for maxsize entries. Unbounded: segments of 2^shift entries, found by their places in a
 * directory. A segment is made when the row reaches it, and given back when the one before is half empty again, so a queue
 * that goes to and fro between two does not make and free one each time. A directory that is full is replaced by one of twice
 * the size. A deque's row begins anywhere, at `bottom`, and its directory is a ring: segment n is at n modulo its size.
 *
 * Killed at any instruction:
 *   - A segment's place stands in the directory from its allocation until it is freed (one step with it each).
 *   - A new directory stands in `larger` until its place is stored in `directory`, the old one in `smaller` from before that
 *     until it is freed. Repair drops whichever is not in use.
 *   - Before repair believes any of these places, the allocator must have settled its own step.
 */
#include "queue/row.h"

#include <errno.h>
#include <string.h>

enum { SEGMENT_BYTES = 16 * 1024, SEGMENT_SHIFT_MIN = 3, DIRECTORY_ROOM = 16 };

static uint32_t shift_for(uint64_t stride)
{
    uint32_t shift = SEGMENT_SHIFT_MIN;

    while (stride << (shift + 1) <= SEGMENT_BYTES)
        shift++;
    return shift;
}

static size_t directory_size(uint64_t room)
{
    return sizeof(struct plait__directory) + room * sizeof(uint64_t);
}

static int make_directory(struct plait_queue *q, uint64_t room, uint64_t *place)
{
    struct plait__directory *d;
    int err = plait__memory_alloc(q->base, directory_size(room), place);

    if (err)
        return err;
    d = plait__memory_at(q, *place);
    memset(d, 0, directory_size(room));
    d->room = room;
    return 0;
}

static int enlarge_directory(struct plait_queue *q)
{
    struct plait__pile *pile = plait__pile_of(q);
    struct plait__directory *old = plait__directory(q), *new;
    int err = make_directory(q, 2 * old->room, &pile->larger);

    if (err)
        return err;
    new = plait__memory_at(q, pile->larger);
    for (uint64_t i = 0, first = plait__position(q, 0) >> pile->shift; i < old->room; i++)
        new->segments[(first + i) & (new->room - 1)] = old->segments[(first + i) & (old->room - 1)];
    pile->smaller = pile->directory;
    compiler_barrier();
    store64_relaxed(&pile->directory, pile->larger);
    compiler_barrier();
    pile->larger = 0;
    plait__memory_free(q->base, &pile->smaller);
    return 0;
}

/* The most that a deque's numbers have room for; others run out of memory before. */
#define COUNT_MAX (UINT32_MAX / 2)

/* How many segments so many entries lie in, of which the first is at `position`. */
static uint64_t segments_of(const struct plait_queue *q, uint64_t position, uint64_t count)
{
    uint64_t shift = plait__pile_of(q)->shift, mask = ((uint64_t)1 << shift) - 1;

    return count ? (((position & mask) + count - 1) >> shift) + 1 : 0;
}

static uint64_t *segment_of(struct plait_queue *q, uint64_t position)
{
    struct plait__directory *d = plait__directory(q);

    return &d->segments[position >> plait__pile_of(q)->shift & (d->room - 1)];
}

/* What the row had not reached when the queue was opened may hold anything: is it a segment? */
static int look_at(struct plait_queue *q, uint64_t place)
{
    if (q->base && !plait__queue_is_block(q, place, q->stride << plait__pile_of(q)->shift))
        return EBADMSG;
    q->looked_at[0] = place;
    return 0;
}

/* Unbounded: memory for the entry at `position`, in a row that then has so many from `first` on. */
static int reach(struct plait_queue *q, uint64_t position, uint64_t first, uint64_t count)
{
    int err = 0;

    if (__builtin_expect(segments_of(q, first, count) > plait__directory(q)->room, 0))
        err = enlarge_directory(q);
    if (__builtin_expect(err == 0 && !*segment_of(q, position), 0))
        err = plait__memory_alloc(q->base, q->stride << plait__pile_of(q)->shift, segment_of(q, position));
    if (err == 0 && __builtin_expect(*segment_of(q, position) != q->looked_at[0], 0))
        err = look_at(q, *segment_of(q, position));
    return err;
}

int plait__row_reach_far(struct plait_queue *q)
{
    uint64_t count = plait__count_of(q), all = count + plait__row_lead(q);

    if (plait__has_bottom(q) && count == COUNT_MAX)
        return q->base ? ENOSPC : ENOMEM;
    return reach(q, plait__position(q, all), plait__position(q, 0), all + 1);
}

int plait__row_reach_front(struct plait_queue *q)
{
    uint64_t count = plait__count_of(q), position = plait__position(q, UINT64_MAX);

    if (q->maxsize)
        return count < q->maxsize ? 0 : EAGAIN;
    if (count == COUNT_MAX)
        return q->base ? ENOSPC : ENOMEM;
    return reach(q, position, position, count + 1);
}

void plait__row_give_back(struct plait_queue *q, uint64_t segment)
{
    struct plait__directory *d = plait__directory(q);
    uint64_t first = plait__position(q, 0);
    uint64_t used = segments_of(q, first, plait__count_of(q) + plait__row_lead(q));
    uint64_t *place = &d->segments[segment & (d->room - 1)];

    if (*place && ((segment - (first >> plait__pile_of(q)->shift)) & (d->room - 1)) >= used)
        plait__memory_free(q->base, place);
}

/* A directory that is not in use, after a death. */
static void drop_directory(struct plait_queue *q, uint64_t *place)
{
    if (*place && *place != plait__pile_of(q)->directory)
        plait__memory_free(q->base, place);
    *place = 0;
}

void plait__row_repair(struct plait_queue *q)
{
    struct plait__pile *pile = plait__pile_of(q);

    drop_directory(q, &pile->larger);
    drop_directory(q, &pile->smaller);
}

int plait__row_make(struct plait_queue *q)
{
    struct plait__pile *pile = plait__pile_of(q);

    if (q->maxsize)
        return plait__memory_alloc(q->base, (q->maxsize + plait__row_lead(q)) * q->stride,
                                     &pile->flat);
    pile->shift = shift_for(q->stride);
    return make_directory(q, DIRECTORY_ROOM, &pile->directory);
}

void plait__row_unmake(struct plait_queue *q)
{
    struct plait__pile *pile = plait__pile_of(q);
    struct plait__directory *d;

    if (q->maxsize) {
        plait__memory_free(q->base, &pile->flat);
        return;
    }
    d = plait__directory(q);
    for (uint64_t i = 0; i < d->room; i++)
        if (d->segments[i])
            plait__memory_free(q->base, &d->segments[i]);
    plait__memory_free(q->base, &pile->directory);
}

bool plait__row_is_founded(struct plait_queue *q)
{
    uint64_t maxsize = q->maxsize;

    if (!maxsize)
        return plait__pile_of(q)->shift == shift_for(q->stride);
    return maxsize <= q->base->limit / q->stride &&
           plait__queue_is_block(q, plait__pile_of(q)->flat,
                                 (maxsize + plait__row_lead(q)) * q->stride);
}

bool plait__row_is_reached(struct plait_queue *q, uint64_t count)
{
    struct plait__pile *pile = plait__pile_of(q);
    uint64_t first = plait__position(q, 0), used;
    struct plait__directory *d;

    if (q->maxsize)
        return count <= q->maxsize &&
               plait__bottom_in(q, q->body->put.at) < q->maxsize;
    used = count ? segments_of(q, first, count + plait__row_lead(q)) : 0;
    if (count > q->base->limit / q->stride ||
        !plait__queue_is_block(q, pile->directory, directory_size(0)))
        return false;
    d = plait__directory(q);
    if (d->room > q->base->limit / sizeof(uint64_t) || d->room & (d->room - 1) || used > d->room ||
        !plait__queue_is_block(q, pile->directory, directory_size(d->room)))
        return false;
    for (uint64_t i = 0; i < used; i++)
        if (!plait__queue_is_block(q, d->segments[((first >> pile->shift) + i) & (d->room - 1)],
                                   q->stride << pile->shift))
            return false;
    return true;
}
