/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The places of the items stand in one row, in their order; each item is a block of its own, so what moves is small. A row that is full is
 * replaced by one of twice the size, one of which three quarters are unused by one of half the size.
 *
 * Killed at any instruction, with the lock held for writing: a change is written down in the body, and then made. The store of `change`
 * decides: what is written down by then is finished by whoever comes next, else forgotten.
 *
 *     insert    fresh = a block (one step with its allocation); it is filled; at; hole = count; after = count + 1; CHANGE
 *               each place from the last one down to `at` moves up by one; row[at] = fresh
 *     set       the same with after = count and gone = row[at]; CHANGE; row[at] = fresh
 *     delete    gone = row[at]; at; hole = at; after = count - 1; CHANGE; each place behind `at` moves down by one
 *     switch    fresh = another row, which is filled; gone = the row; after = count; CHANGE; row = fresh
 *     and then  count = after; fresh = 0; gone is freed (one step with gone = 0); change = NONE
 *
 * Each of these steps may be made twice. Of moving, `hole` says which place is being written: it is stored before, and what the place is written
 * from is overwritten only after `hole` has gone on. A fresh of 0 has been put where it belongs.
 *
 *     clear     clearing = 1; then each item by delete, from the last on. Who repairs goes on with it.
 *
 * Sorting and reversing make another row, so who dies in the midst of it has done nothing.
 *
 * Compiler barriers keep the stores of the one that dies in their order, and the lock tells the next. Before repair believes a place, the
 * allocator must have settled its own step.
 *
 * Damage: what is read in an arena is looked at before it is followed: the row is a block that holds as many places as there are
 * items, each of these a block that holds its bytes.
 */
#include "queue/list.h"

#include <errno.h>
#include <string.h>

#include "base/atomic.h"

enum { ROOM_FIRST = 7 }; /* with its size, a line; and then doubled and one more */

static void set(uint64_t *word, uint64_t value)
{
    compiler_barrier();
    store64_relaxed(word, value); /* relaxed: the lock orders it */
    compiler_barrier();
}

/* ---- Memory ---- */

static bool is_block(const struct plait_list *l, uint64_t place, uint64_t size)
{
    return size < l->arena->limit && place < l->arena->limit && plait__arena_block_is_used(l->base, place + l->skew, size);
}

static uint64_t row_size(uint64_t room)
{
    return sizeof(struct plait__list_row) + room * sizeof(uint64_t);
}

static struct plait__list_row *row_of(const struct plait_list *l)
{
    return plait__list_memory(l, l->body->row);
}

/* Is this a row that holds so many? */
static bool is_row(const struct plait_list *l, uint64_t place, uint64_t count)
{
    const struct plait__list_row *row = plait__list_memory(l, place);

    return !l->base || (is_block(l, place, sizeof *row) && row->room < l->arena->limit / sizeof(uint64_t) &&
                        count <= row->room && is_block(l, place, row_size(row->room)));
}

const uint64_t *plait__list_places(const struct plait_list *l)
{
    return is_row(l, l->body->row, l->body->count) ? row_of(l)->places : NULL;
}

const struct plait__list_entry *plait__list_entry(const struct plait_list *l, uint64_t place)
{
    const struct plait__list_entry *e = plait__list_memory(l, place);

    if (l->base && (!is_block(l, place, sizeof *e) || e->size >= l->arena->limit || !is_block(l, place, sizeof *e + e->size)))
        return NULL;
    return e;
}

/* ---- Changes ---- */

/* In a private list nobody sees what one who dies leaves. */
static void move_at_once(struct plait__list_body *b, uint64_t *places)
{
    uint64_t *here = &places[b->at];

    if (b->change == PLAIT__LIST_INSERT)
        memmove(here + 1, here, (b->count - b->at) * sizeof *here);
    else
        memmove(here, here + 1, (b->after - b->at) * sizeof *here);
}

static void move_up(struct plait__list_body *b, uint64_t *places)
{
    for (uint64_t hole = b->hole; hole > b->at; hole--) {
        set(&b->hole, hole);
        set(&places[hole], places[hole - 1]);
    }
    set(&b->hole, b->at);
}

static void move_down(struct plait__list_body *b, uint64_t *places)
{
    for (uint64_t hole = b->hole; hole < b->after; hole++) {
        set(&b->hole, hole);
        set(&places[hole], places[hole + 1]);
    }
    set(&b->hole, b->after);
}

/* CHANGE has been stored: all that is left to do, by its maker or by who finds it. */
static void finish(struct plait_list *l)
{
    struct plait__list_body *b = l->body;
    uint64_t *places = row_of(l)->places;

    if (b->change == PLAIT__LIST_SWITCH && b->fresh)
        set(&b->row, b->fresh);
    else if (!l->base && b->change != PLAIT__LIST_SET)
        move_at_once(b, places);
    else if (b->change == PLAIT__LIST_INSERT)
        move_up(b, places);
    else if (b->change == PLAIT__LIST_DELETE)
        move_down(b, places);
    if (b->fresh && b->change != PLAIT__LIST_SWITCH)
        set(&places[b->at], b->fresh);
    set(&b->count, b->after);
    set(&b->fresh, 0);
    if (b->gone)
        plait__memory_free(l->base, &b->gone);
    compiler_barrier();
    store_relaxed(&b->change, PLAIT__LIST_NONE);
    compiler_barrier();
}

static void change(struct plait_list *l, enum plait__list_change how)
{
    compiler_barrier();
    store_relaxed(&l->body->change, how); /* CHANGE */
    finish(l);
}

/* A row of so much room, not filled yet, in `fresh`. */
static int make_row(struct plait_list *l, uint64_t room)
{
    struct plait__list_row *row;
    int err = plait__memory_alloc(l->base, row_size(room), &l->body->fresh);

    if (err)
        return err;
    row = plait__list_memory(l, l->body->fresh);
    row->room = room;
    return 0;
}

static int switch_row(struct plait_list *l, uint64_t room, const uint64_t *places)
{
    struct plait__list_body *b = l->body;
    struct plait__list_row *row;
    int err = make_row(l, room);

    if (err)
        return err;
    row = plait__list_memory(l, b->fresh);
    memcpy(row->places, places, b->count * sizeof(uint64_t));
    b->gone = b->row;
    b->after = b->count;
    change(l, PLAIT__LIST_SWITCH);
    return 0;
}

int plait__list_reorder(struct plait_list *l, const uint64_t *places)
{
    return switch_row(l, row_of(l)->room, places);
}

/* Without memory for a smaller row, it stays as it is. */
static void shrink(struct plait_list *l)
{
    const struct plait__list_row *row = row_of(l);

    if (row->room > ROOM_FIRST && l->body->count <= row->room / 4)
        switch_row(l, row->room / 2, row->places);
}

/* A block with these bytes in `fresh`. */
static int make_entry(struct plait_list *l, const void *bytes, size_t size)
{
    struct plait__list_entry *e;
    int err = plait__memory_alloc(l->base, sizeof *e + size, &l->body->fresh);

    if (err)
        return err;
    e = plait__list_memory(l, l->body->fresh);
    e->size = size;
    if (size)
        memcpy(e->bytes, bytes, size);
    return 0;
}

int plait__list_insert(struct plait_list *l, uint64_t at, const void *bytes, size_t size)
{
    struct plait__list_body *b = l->body;
    const struct plait__list_row *row = row_of(l);
    int err = b->count < row->room ? 0 : switch_row(l, 2 * row->room + 1, row->places);

    if (err == 0)
        err = make_entry(l, bytes, size);
    if (err)
        return err;
    b->at = at;
    b->hole = b->count;
    b->after = b->count + 1;
    change(l, PLAIT__LIST_INSERT);
    return 0;
}

int plait__list_set(struct plait_list *l, uint64_t at, const void *bytes, size_t size)
{
    struct plait__list_body *b = l->body;
    uint64_t gone = row_of(l)->places[at];
    int err = plait__list_entry(l, gone) ? make_entry(l, bytes, size) : EBADMSG;

    if (err)
        return err;
    b->gone = gone;
    b->at = at;
    b->after = b->count;
    change(l, PLAIT__LIST_SET);
    return 0;
}

static int delete(struct plait_list *l, uint64_t at)
{
    struct plait__list_body *b = l->body;
    uint64_t gone = row_of(l)->places[at];

    if (!plait__list_entry(l, gone))
        return EBADMSG;
    b->gone = gone;
    b->at = at;
    b->hole = at;
    b->after = b->count - 1;
    change(l, PLAIT__LIST_DELETE);
    return 0;
}

int plait__list_delete(struct plait_list *l, uint64_t at)
{
    int err = delete(l, at);

    if (err == 0)
        shrink(l);
    return err;
}

int plait__list_clear(struct plait_list *l)
{
    struct plait__list_body *b = l->body;
    int err = plait__list_places(l) ? 0 : EBADMSG;

    compiler_barrier();
    store_relaxed(&b->clearing, 1);
    compiler_barrier();
    while (err == 0 && b->count)
        err = delete(l, b->count - 1);
    compiler_barrier();
    store_relaxed(&b->clearing, 0);
    compiler_barrier();
    if (err == 0 && row_of(l)->room > ROOM_FIRST)
        switch_row(l, ROOM_FIRST, row_of(l)->places);
    return err;
}

/* ---- Making, and ending ---- */

int plait__list_make_row(struct plait_list *l)
{
    int err = make_row(l, ROOM_FIRST);

    if (err)
        return err;
    l->body->row = l->body->fresh;
    l->body->fresh = 0;
    return 0;
}

void plait__list_drop_row(struct plait_list *l)
{
    if (is_row(l, l->body->row, 0))
        plait__memory_free(l->base, &l->body->row);
}

/* ---- Repair ---- */

/* Can the change in hand be finished? */
static bool is_change(const struct plait_list *l)
{
    const struct plait__list_body *b = l->body;
    uint64_t room = row_of(l)->room;

    if ((b->fresh && !is_block(l, b->fresh, sizeof(uint64_t))) || (b->gone && !is_block(l, b->gone, sizeof(uint64_t))))
        return false;
    switch (b->change) {
    case PLAIT__LIST_INSERT:
        return b->after <= room && b->at < b->after && b->hole < b->after && b->hole >= b->at;
    case PLAIT__LIST_SET:
        return b->after <= room && b->at < b->after;
    case PLAIT__LIST_DELETE:
        return b->after < room && b->hole <= b->after && !b->fresh;
    case PLAIT__LIST_SWITCH:
        return b->after <= room && (!b->fresh || is_row(l, b->fresh, b->after));
    default:
        return b->change == PLAIT__LIST_NONE;
    }
}

int plait__list_repair(void *list)
{
    struct plait_list *l = list;
    struct plait__list_body *b = l->body;
    int err;

    if (!l->base)
        return 0;
    err = plait__arena_settle(l->base);
    if (err)
        return err;
    if (!is_row(l, b->row, b->count) || !is_change(l))
        return EBADMSG;
    if (b->change != PLAIT__LIST_NONE) {
        finish(l);
    } else {
        b->gone = 0;
        compiler_barrier();
        if (b->fresh)
            plait__memory_free(l->base, &b->fresh);
    }
    return b->clearing ? plait__list_clear(l) : 0;
}
