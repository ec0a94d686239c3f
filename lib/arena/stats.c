/* SPDX-License-Identifier: MIT */
/*
 * How it works: what is in use is what is out of the free lists, without what lies in stocks. The stocks go on meanwhile, so
 * figures of an arena that is in use are those of a moment only roughly; of one at rest they are exact, also after deaths, as these are
 * seen to first.
 */
#include <plait/arena.h>

#include <errno.h>
#include <string.h>

#include "arena/arena.h"
#include "arena/member.h"
#include "arena/stock.h"

/* The largest block that could be had as things are, without what it says of itself. */
static uint64_t largest(const struct plait__arena_header *h)
{
    uint64_t size = h->limit - h->top;
    unsigned class = PLAIT__ARENA_CLASSES;

    while (class > 0 && h->free_lists[class - 1] == 0)
        class--;
    if (class > 0 && plait__class_size(class - 1) > size)
        size = plait__class_size(class - 1);
    if (h->quota && h->out + size > h->quota)
        size = h->quota > h->out ? h->quota - h->out : 0;
    class = size ? plait__class_for(size) : 0;
    if (size && (class == PLAIT__ARENA_CLASSES || plait__class_size(class) > size)) /* the next smaller one fits */
        size = class ? plait__class_size(class - 1) : 0;
    return size > sizeof(struct plait__block) ? size - sizeof(struct plait__block) : 0;
}

static unsigned participants(struct plait__arena_header *h)
{
    uint32_t high = load_acquire(&h->slots_high);
    unsigned count = 0;

    for (uint32_t i = 0; i < high; i++)
        count += !plait__slot_is_empty(plait__slot_at(h, i));
    return count;
}

static void fill(struct plait__arena_header *h, struct plait_arena_stats *out)
{
    struct plait__stocks_figures stocks = plait__stocks_figures(h);
    uint64_t hints = load64_relaxed(&h->hints);

    out->used = h->out > stocks.bytes ? h->out - stocks.bytes : 0;
    out->put_by = stocks.bytes;
    out->reserved = h->reserved;
    out->limit = h->limit;
    out->quota = h->quota;
    out->largest = largest(h);
    out->allocs = h->allocs + stocks.allocs;
    out->deallocs = h->deallocs + stocks.deallocs;
    out->allocs_locked = h->allocs;
    out->deallocs_locked = h->deallocs;
    out->participants = participants(h);
    out->participants_most = h->participants;
    out->hints = (unsigned)(hints >> 32);
    out->hints_taken = (unsigned)(hints & UINT32_MAX);
}

int plait_arena_stats_sized(plait_arena_t *arena, struct plait_arena_stats *stats_out, size_t stats_size)
{
    struct plait_arena_stats stats = { 0 };
    int err = plait__arena_lock(arena->base);

    if (err)
        return err;
    err = plait__stocks_settle(arena->base);
    fill(arena->base, &stats);
    plait__arena_unlock(arena->base);
    memset(stats_out, 0, stats_size);
    memcpy(stats_out, &stats, stats_size < sizeof stats ? stats_size : sizeof stats);
    return err;
}

int plait_arena_usage(plait_arena_t *arena, size_t *used_out, size_t *reserved_out, size_t *limit_out)
{
    struct plait_arena_stats stats;
    int err = plait_arena_stats_sized(arena, &stats, sizeof stats);

    if (err)
        return err;
    if (used_out)
        *used_out = stats.used;
    if (reserved_out)
        *reserved_out = stats.reserved;
    if (limit_out)
        *limit_out = stats.limit;
    return 0;
}

int plait_arena_set_quota(plait_arena_t *arena, size_t quota)
{
    int err = plait__arena_lock(arena->base);

    if (err)
        return err;
    arena->base->quota = quota;
    plait__arena_unlock(arena->base);
    return 0;
}
