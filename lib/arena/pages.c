/* SPDX-License-Identifier: MIT */
/*
 * How it works: the system's memory is reserved up to `reserved`, by fallocate, before the heap's `top` moves there: so no touch
 * can fail for want of it (SIGBUS). Large free blocks give their whole pages back, but for the one that their header lies in, and
 * reserve them again when they are used; unless somebody may be looking at them (glance.h). A program's own memory is its own affair.
 */
#include "arena/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "arena/glance.h"
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
    uint64_t page, start, end;

    if (size < HOLE_MIN)
        return false;
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    start = (offset + sizeof(struct plait__block) + page - 1) / page * page;
    end = (offset + size) / page * page;
    *start_out = start;
    *length_out = end > start ? end - start : 0;
    return end > start;
}

void plait__pages_give_back(struct plait__arena_header *h, uint64_t offset)
{
    unsigned class = plait__block_look(h, offset).class;
    struct plait_arena *arena;
    uint64_t start, length;

    if (!inner_pages(offset, plait__class_size(class), &start, &length))
        return;
    arena = plait__arena_find(h, 1);
    if (!arena || arena->kind == PLAIT__ARENA_OWN_MEMORY || !plait__open_is_ours(arena))
        return;
    if (!plait__glances_are_over(h))
        return;
    plait__block_write(h, offset, class, PLAIT__BLOCK_FREE_HOLE);
    plait__open_punch(arena->fd, start, length);
}

int plait__pages_take_again(struct plait__arena_header *h, uint64_t offset)
{
    struct plait__block look = plait__block_look(h, offset);
    uint64_t start, length;

    if (look.state != PLAIT__BLOCK_FREE_HOLE || !inner_pages(offset, plait__class_size(look.class), &start, &length))
        return 0;
    return plait__pages_reserve(h, start, length);
}
