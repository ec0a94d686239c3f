/* SPDX-License-Identifier: MIT */
/*
 * Records lie in segments, each of twice as many as the one before, and never move. Their states are the truth (ledger.c); the lists
 * are found again from them after a death, in time by the number of records and its logarithm. All is guarded by the get side's lock.
 *
 * Killed at any instruction: a segment counts once it was cleared; one that was allocated and not counted is cleared by the next who
 * wants it.
 */
#include "queue/record.h"

#include <errno.h>
#include <string.h>

#include "queue/ledger.h"
#include "queue/parcel.h"

enum { SEGMENT_BYTES = 4 * 1024 };

static uint64_t records_in(const struct plait_queue *q, uint32_t segment)
{
    return (uint64_t)1 << (q->record_shift + segment);
}

uint64_t plait__records_ready(const struct plait_queue *q)
{
    return records_in(q, q->ledger->segments_ready) - records_in(q, 0);
}

/* ---- Lists ------------------------------------------------------------------------------------------------------- */

static void set_count(struct plait__record_list *list, uint32_t count)
{
    store_relaxed(&list->count, count); /* relaxed: a figure to all but who holds the lock */
}

void plait__record_append(struct plait_queue *q, struct plait__record_list *list, uint32_t number)
{
    struct plait__record *r = plait__record_at(q, number);

    r->prev = list->last;
    r->next = 0;
    if (list->last)
        plait__record_at(q, list->last)->next = number;
    else
        list->first = number;
    list->last = number;
    set_count(list, list->count + 1);
}

static void take_out(struct plait_queue *q, struct plait__record_list *list, uint32_t number)
{
    struct plait__record *r = plait__record_at(q, number);

    if (r->prev)
        plait__record_at(q, r->prev)->next = r->next;
    else
        list->first = r->next;
    if (r->next)
        plait__record_at(q, r->next)->prev = r->prev;
    else
        list->last = r->prev;
    set_count(list, list->count - 1);
}

void plait__record_move(struct plait_queue *q, struct plait__record_list *from, struct plait__record_list *to,
                 uint32_t number)
{
    take_out(q, from, number);
    plait__record_append(q, to, number);
}

/* Sees that there is a free record, the first of its list. */
int plait__records_reach(struct plait_queue *q)
{
    struct plait__ledger *l = q->ledger;
    uint32_t segment = l->segments_ready;
    uint64_t first = plait__records_ready(q), size;
    int err;

    if (l->free.first)
        return 0;
    if (segment == PLAIT__LEDGER_SEGMENTS || first + records_in(q, segment) > UINT32_MAX)
        return q->base ? ENOSPC : ENOMEM;
    size = records_in(q, segment) * q->record_size;
    err = l->segments[segment] ? 0 : plait__memory_alloc(q->base, size, &l->segments[segment]);
    if (err)
        return err;
    if (q->base && !plait__queue_is_block(q, l->segments[segment], size)) /* it was not looked at before it was wanted */
        return EBADMSG;
    memset(plait__memory_at(q, l->segments[segment]), 0, size);
    compiler_barrier();
    l->segments_ready = segment + 1;
    compiler_barrier();
    for (uint64_t i = 1; i <= records_in(q, segment); i++)
        plait__record_append(q, &l->free, (uint32_t)(first + i));
    return 0;
}

/* ---- After a death ----------------------------------------------------------------------------------------------- */

void plait__record_repair(struct plait_queue *q, struct plait__queue_side *side)
{
    uint64_t offset = side->hand - 1;
    struct plait__record *r = plait__at(q->base, offset);
    bool happened;

    if (offset % 8 == 0 && offset >= plait__slots_offset() && offset < load64_acquire(&q->base->top) - sizeof *r) {
        happened = r->at != load64_relaxed(&side->at);
        if (plait__record_state_of(r) == PLAIT__RECORD_TAKING)
            plait__record_set_state(r, happened ? PLAIT__RECORD_TAKEN : PLAIT__RECORD_FREE);
        else if (plait__record_state_of(r) == PLAIT__RECORD_POSTING)
            plait__record_set_state(r, happened ? PLAIT__RECORD_POSTED : PLAIT__RECORD_LETTER);
    }
    compiler_barrier();
    side->hand = 0;
}

/* The list in which a record stands, its state made one that it can have without the lock. NULL: damaged. */
static struct plait__record_list *list_of(struct plait_queue *q, struct plait__record *r)
{
    struct plait__ledger *l = q->ledger;

    switch (plait__record_state_of(r)) {
    case PLAIT__RECORD_DONE:
        if (q->is_message && plait__queue_is_block(q, *(uint64_t *)(void *)r->item, sizeof(struct plait__parcel)))
            plait__memory_free(q->base, (uint64_t *)(void *)r->item);
        plait__record_set(r, PLAIT__RECORD_FREE, 0);
        return &l->free;
    case PLAIT__RECORD_TAKING: /* the hand was not seen, so there was no step */
    case PLAIT__RECORD_POSTED:
        plait__record_set(r, PLAIT__RECORD_FREE, 0);
        return &l->free;
    case PLAIT__RECORD_FREE:
        return &l->free;
    case PLAIT__RECORD_TAKEN:
        return &l->taken;
    case PLAIT__RECORD_RETURNED:
        return &l->returned;
    case PLAIT__RECORD_POSTING:
        plait__record_set_state(r, PLAIT__RECORD_LETTER);
        return &l->letters;
    case PLAIT__RECORD_LETTER:
        return &l->letters;
    }
    return NULL;
}

/* Two lists by `next` alone, each in order of getting, become one. */
static uint32_t merge(struct plait_queue *q, uint32_t a, uint32_t b)
{
    uint32_t first = 0, *end = &first;

    while (a && b) {
        uint32_t *least = plait__record_at(q, a)->number <= plait__record_at(q, b)->number ? &a : &b;

        *end = *least;
        end = &plait__record_at(q, *least)->next;
        *least = *end;
    }
    *end = a ? a : b;
    return first;
}

/* In order of getting: merge sort, by lists of 1, 2, 4 and so on, of each of which there is one at most. */
static void sort(struct plait_queue *q, struct plait__record_list *list)
{
    uint32_t sorted[32] = { 0 }, all = 0, prev = 0;

    for (uint32_t number = list->first, next; number; number = next) {
        uint32_t i = 0;

        next = plait__record_at(q, number)->next;
        plait__record_at(q, number)->next = 0;
        for (; sorted[i]; sorted[i++] = 0)
            number = merge(q, sorted[i], number);
        sorted[i] = number;
    }
    for (unsigned i = 0; i < 32; i++)
        all = merge(q, sorted[i], all);
    list->first = all;
    for (uint32_t number = all; number; number = plait__record_at(q, number)->next) {
        plait__record_at(q, number)->prev = prev;
        prev = number;
    }
    list->last = prev;
}

int plait__records_find_lists(struct plait_queue *q)
{
    struct plait__ledger *l = q->ledger;
    struct plait__record_list *list;

    l->free = l->taken = l->returned = l->letters = (struct plait__record_list){ 0 };
    for (uint64_t number = 1; number <= plait__records_ready(q); number++) {
        list = list_of(q, plait__record_at(q, (uint32_t)number));
        if (!list)
            return EBADMSG;
        plait__record_append(q, list, (uint32_t)number);
    }
    sort(q, &l->taken);
    sort(q, &l->returned);
    return 0;
}

/* ---- Beginning and end ------------------------------------------------------------------------------------------- */

void plait__ledger_attach(struct plait_queue *q)
{
    q->ledger = plait__memory_at(q, q->body->ledger);
    q->is_plain = q->is_brief = false;
    q->record_size = sizeof(struct plait__record) + (q->item_size + 7) / 8 * 8;
    q->record_shift = 0;
    while (q->record_size << (q->record_shift + 1) <= SEGMENT_BYTES)
        q->record_shift++;
}

int plait__ledger_make(struct plait_queue *q, const struct plait_queue_opts *o)
{
    int err = plait__memory_alloc(q->base, sizeof *q->ledger, &q->body->ledger);

    if (err)
        return err;
    plait__ledger_attach(q);
    memset(q->ledger, 0, sizeof *q->ledger);
    q->ledger->max_deliveries = o->max_deliveries;
    if (o->dead_letters && q->base)
        q->ledger->dead_letters = plait__offset_in(q->base, o->dead_letters->body);
    return 0;
}

void plait__ledger_unmake(struct plait_queue *q)
{
    struct plait__ledger *l = q->ledger;

    for (uint64_t number = 1; q->is_message && number <= plait__records_ready(q); number++) {
        struct plait__record *r = plait__record_at(q, (uint32_t)number);

        if (plait__record_state_of(r) != PLAIT__RECORD_FREE)
            plait__memory_free(q->base, (uint64_t *)(void *)r->item);
    }
    for (uint32_t i = 0; i < PLAIT__LEDGER_SEGMENTS; i++)
        if (l->segments[i])
            plait__memory_free(q->base, &l->segments[i]);
    q->ledger = NULL;
    plait__memory_free(q->base, &q->body->ledger);
}

bool plait__ledger_is_founded(struct plait_queue *q)
{
    const struct plait__ledger *l = q->ledger;

    if (!plait__queue_is_block(q, q->body->ledger, sizeof *l) || l->segments_ready > PLAIT__LEDGER_SEGMENTS)
        return false;
    for (uint32_t i = 0; i < l->segments_ready; i++)
        if (records_in(q, i) > q->base->limit / q->record_size ||
            !plait__queue_is_block(q, l->segments[i], records_in(q, i) * q->record_size))
            return false;
    return true;
}

/* Are the messages that records name there? */
static bool messages_are_sound(const struct plait_queue *q)
{
    for (uint64_t number = 1; q->is_message && number <= plait__records_ready(q); number++) {
        const struct plait__record *r = plait__record_at(q, (uint32_t)number);
        uint64_t place;
        size_t size;

        memcpy(&place, r->item, sizeof place);
        if (plait__record_state_of(r) != PLAIT__RECORD_FREE && plait__parcel_look(q, place, SIZE_MAX, &size) != 0)
            return false;
    }
    return true;
}

bool plait__ledger_is_sound(struct plait_queue *q)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    bool sound;

    if (plait__side_lock(q, side, PLAIT_FOREVER) != 0)
        return false;
    sound = plait__ledger_is_founded(q) && messages_are_sound(q) && plait__records_find_lists(q) == 0;
    plait__side_unlock(q, side);
    return sound;
}
