/* SPDX-License-Identifier: MIT */
/*
 * How it works: the system's memory is reserved up to `reserved`, by fallocate, before the heap's `top` moves there: so no touch
 * can fail for want of it (SIGBUS). Large free blocks give their whole pages back, but for the one that their header lies in, and
 * reserve them again when they are used. A program's own memory is its own affair.
 */
#include "arena/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "arena/open.h"
#include "base/atomic.h"

enum {
    RESERVE_STEP = 256 * 1024, /* what is taken from the system at a time */
    HOLE_MIN = 256 * 1024      /* blocks from this size on give their pages back when freed */
};

int plait__pages_reserve(struct plait__arena_header *h, uint64_t offset, uint64_t size)
{
    struct plait_arena *arena = plait__arena_find(h, 1);

    if (!arena)
        return EINVAL;
    if (arena->kind == PLAIT__ARENA_OWN_MEMORY)
        return 0;
    return plait__open_is_ours(arena) ? plait__open_reserve(arena->fd, offset, size) : ENOSPC;
}

int plait__arena_reserve(struct plait__arena_header *h, uint64_t end)
{
    uint64_t generous = (end + RESERVE_STEP - 1) / RESERVE_STEP * RESERVE_STEP;

    if (end <= h->reserved)
        return 0;
    if (end > h->limit)
        return ENOSPC;
    if (generous > h->limit)
        generous = h->limit;
    if (plait__pages_reserve(h, h->reserved, generous - h->reserved) == 0) {
        store64_relaxed(&h->reserved, generous);
        return 0;
    }
    if (plait__pages_reserve(h, h->reserved, end - h->reserved) != 0)
        return ENOSPC;
    store64_relaxed(&h->reserved, end);
    return 0;
}

/* The whole pages inside a large block, but for its header's. */
static bool inner_pages(uint64_t offset, uint64_t size, uint64_t *start_out, uint64_t *length_out)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t start = (offset + sizeof(struct plait__block) + page - 1) / page * page;
    uint64_t end = (offset + size) / page * page;

    *start_out = start;
    *length_out = end > start ? end - start : 0;
    return size >= HOLE_MIN && end > start;
}

void plait__pages_give_back(struct plait__arena_header *h, uint64_t offset, struct plait__block *b)
{
    struct plait_arena *arena = plait__arena_find(h, 1);
    uint64_t start, length;

    if (!arena || arena->kind == PLAIT__ARENA_OWN_MEMORY ||
        !inner_pages(offset, plait__class_size(b->class), &start, &length) || !plait__open_is_ours(arena))
        return;
    b->state = PLAIT__BLOCK_FREE_HOLE;
    plait__open_punch(arena->fd, start, length);
}

int plait__pages_take_again(struct plait__arena_header *h, uint64_t offset, const struct plait__block *b)
{
    uint64_t start, length;

    if (b->state != PLAIT__BLOCK_FREE_HOLE || !inner_pages(offset, plait__class_size(b->class), &start, &length))
        return 0;
    return plait__pages_reserve(h, start, length);
}
