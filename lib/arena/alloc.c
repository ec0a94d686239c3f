/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The heap is a row of blocks from heap_offset to `top`, each with 16 bytes of header: its class (and so its size) and its
 * state. That is the truth. A block never changes its size and never merges; a free one waits in the free list of its
 * class. Sizes are multiples of 64, four classes to a doubling: at most a quarter of a large block is lost. Free lists
 * and `used` are caches, made anew from the blocks when a holder of the lock has died (repair).
 *
 * Killed at any instruction, with the lock held:
 *   - a new block at `top` exists when `top` has moved past it, one store after its header was written;
 *   - a block being allocated stands in `pending_block` until it is committed. Committed means: its offset stands in
 *     the place that `pending_place` names (a variable of the arena: alloc_into), or, where there is none, that
 *     `pending_block` was cleared. Repair frees a pending block that was not committed. Releases run the other way
 *     round (pending_free): repair finishes them.
 * So a death loses no memory but a block that plait_arena_alloc was just handing to a caller who is now dead.
 *
 * The system's memory is reserved up to `reserved`, by fallocate, before `top` moves there: so no touch can fail for
 * want of it (SIGBUS). Large free blocks give their whole pages back, and reserve them again when they are used.
 *
 * E1: the lock orders everything here. E2: `top` is released after `reserved` and the block below it: who looks without
 * the lock (opening, verifying) acquires `top` and then finds a `reserved` that is not smaller.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena/arena.h"
#include "arena/member.h"
#include "arena/open.h"
#include "base/atomic.h"

enum {
    RESERVE_STEP = 256 * 1024, /* what is taken from the system at a time */
    HOLE_MIN = 256 * 1024      /* blocks from this size on give their pages back when freed */
};

/* Sizes of blocks, header included: 64 * (4 + r) << e / 4 for class 4e + r, and the first three by hand. */
uint64_t plait__class_size(unsigned class)
{
    if (class < 4)
        return (uint64_t)PLAIT__BLOCK_UNIT * (class + 1);
    return ((uint64_t)PLAIT__BLOCK_UNIT * (4 + class % 4 + 1)) << (class / 4 - 1);
}

static unsigned class_for(uint64_t total)
{
    unsigned class = 0;

    while (class < PLAIT__ARENA_CLASSES && plait__class_size(class) < total)
        class++;
    return class;
}

static uint32_t block_check(uint64_t offset, unsigned class)
{
    return (uint32_t)((offset ^ 0x706c61697430u) * 0x9e3779b1u) ^ (class * 0x85ebca6bu);
}

static struct plait__block *block_at(const struct plait__arena_header *h, uint64_t offset)
{
    return plait__at(h, offset);
}

bool plait__block_is_sound(const struct plait__arena_header *h, uint64_t offset)
{
    const struct plait__block *b;
    uint64_t top = load64_acquire(&h->top); /* E2 */

    if (offset < plait__heap_offset(h->participants) || offset >= top ||
        offset % PLAIT__BLOCK_UNIT != PLAIT__BLOCK_UNIT - sizeof(struct plait__block))
        return false;
    b = block_at(h, offset);
    return b->class < PLAIT__ARENA_CLASSES && b->check == block_check(offset, b->class) &&
           plait__class_size(b->class) <= top - offset &&
           (b->state == PLAIT__BLOCK_USED || b->state == PLAIT__BLOCK_FREE || b->state == PLAIT__BLOCK_FREE_HOLE);
}

static int reserve_range(struct plait__arena_header *h, uint64_t offset, uint64_t size)
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
    if (reserve_range(h, h->reserved, generous - h->reserved) == 0) {
        store64_relaxed(&h->reserved, generous);
        return 0;
    }
    if (reserve_range(h, h->reserved, end - h->reserved) != 0)
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

static void give_pages_back(struct plait__arena_header *h, uint64_t offset, struct plait__block *b)
{
    struct plait_arena *arena = plait__arena_find(h, 1);
    uint64_t start, length;

    if (!arena || arena->kind == PLAIT__ARENA_OWN_MEMORY ||
        !inner_pages(offset, plait__class_size(b->class), &start, &length) || !plait__open_is_ours(arena))
        return;
    b->state = PLAIT__BLOCK_FREE_HOLE;
    fallocate(arena->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start, (off_t)length);
}

static int take_pages_again(struct plait__arena_header *h, uint64_t offset, const struct plait__block *b)
{
    uint64_t start, length;

    if (b->state != PLAIT__BLOCK_FREE_HOLE || !inner_pages(offset, plait__class_size(b->class), &start, &length))
        return 0;
    return reserve_range(h, start, length);
}

static void push_free(struct plait__arena_header *h, uint64_t offset, struct plait__block *b)
{
    b->next_free = h->free_lists[b->class];
    h->free_lists[b->class] = offset;
}

/* Free the pending block, or see that it is committed. One whose pages may be gone already stays marked so. */
static void settle_pending(struct plait__arena_header *h, struct plait__block *b)
{
    uint64_t *place = h->pending_place ? plait__at(h, h->pending_place) : NULL;
    bool committed = place && *place == h->pending_block;

    if (committed && !h->pending_free)
        return;
    if (committed)
        *place = 0;
    if (b->state == PLAIT__BLOCK_USED)
        b->state = PLAIT__BLOCK_FREE;
}

/* Finish or undo what a dead holder of the lock was doing, and make the caches anew. */
static int repair(struct plait__arena_header *h)
{
    uint64_t pending = h->pending_block;
    uint64_t heap = plait__heap_offset(h->participants);
    uint64_t used = 0;

    if (h->top < heap || (h->top - heap) % PLAIT__BLOCK_UNIT || h->top > h->reserved || h->reserved > h->limit)
        return EBADMSG;
    if (h->pending_place % sizeof(uint64_t) || h->pending_place > h->reserved - sizeof(uint64_t))
        return EBADMSG;
    if (pending && plait__block_is_sound(h, pending))
        settle_pending(h, block_at(h, pending));
    memset(h->free_lists, 0, sizeof h->free_lists);
    for (uint64_t offset = heap; offset < h->top; offset += plait__class_size(block_at(h, offset)->class)) {
        struct plait__block *b = block_at(h, offset);

        if (!plait__block_is_sound(h, offset))
            return EBADMSG;
        if (b->state == PLAIT__BLOCK_USED)
            used += plait__class_size(b->class);
        else
            push_free(h, offset, b);
    }
    h->used = used;
    h->pending_block = 0;
    return 0;
}

int plait__arena_lock(struct plait__arena_header *h)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    struct plait__slot *slot;
    int err = plait__member(h, &slot);

    if (err == 0)
        err = plait__robust_acquire(&h->lock, PLAIT_FOREVER);
    plait_cancel_bind(token);
    if (err == EOWNERDEAD) {
        err = repair(h);
        if (err == 0)
            plait__robust_consistent(&h->lock);
        else
            plait__robust_release(&h->lock); /* not consistent: not recoverable from here on */
    }
    return err == ENOTRECOVERABLE || err == EDEADLK ? EBADMSG : err;
}

void plait__arena_unlock(struct plait__arena_header *h)
{
    plait__robust_release(&h->lock);
}

int plait__arena_settle(struct plait__arena_header *h)
{
    int err = plait__arena_lock(h);

    if (err == 0)
        plait__arena_unlock(h);
    return err;
}

static int take_from_list(struct plait__arena_header *h, unsigned class, uint64_t *offset_out)
{
    uint64_t offset = h->free_lists[class];
    struct plait__block *b;
    int err;

    if (!plait__block_is_sound(h, offset))
        return EBADMSG;
    b = block_at(h, offset);
    if (b->state == PLAIT__BLOCK_USED || b->class != class)
        return EBADMSG;
    err = take_pages_again(h, offset, b);
    if (err)
        return err;
    h->pending_block = offset;
    compiler_barrier();
    b->state = PLAIT__BLOCK_USED;
    h->free_lists[class] = b->next_free;
    *offset_out = offset;
    return 0;
}

static int take_from_top(struct plait__arena_header *h, unsigned class, uint64_t *offset_out)
{
    uint64_t offset = h->top, size = plait__class_size(class);
    int err;

    if (size > h->limit - offset)
        return ENOSPC;
    err = plait__arena_reserve(h, offset + size);
    if (err)
        return err;
    *block_at(h, offset) = (struct plait__block){ block_check(offset, class), (uint16_t)class, PLAIT__BLOCK_USED, 0 };
    h->pending_block = offset;
    compiler_barrier();
    store64_release(&h->top, offset + size); /* E2 */
    *offset_out = offset;
    return 0;
}

int plait__arena_alloc_begin(struct plait__arena_header *h, size_t size, uint64_t *offset_out)
{
    unsigned class;
    int err;

    if (size == 0)
        return EINVAL;
    if (size > h->limit)
        return ENOSPC;
    class = class_for(size + sizeof(struct plait__block));
    if (class == PLAIT__ARENA_CLASSES)
        return ENOSPC;
    h->pending_block = 0;
    compiler_barrier();
    h->pending_place = 0;
    h->pending_free = 0;
    compiler_barrier();
    err = h->free_lists[class] ? take_from_list(h, class, offset_out) : take_from_top(h, class, offset_out);
    if (err == 0) {
        h->used += plait__class_size(class);
        *offset_out += sizeof(struct plait__block);
    }
    return err;
}

void plait__arena_alloc_commit(struct plait__arena_header *h, uint64_t *place)
{
    if (place) {
        uint64_t block = h->pending_block;

        h->pending_place = plait__offset_in(h, place);
        compiler_barrier();
        /* Repair compares the place with the block: both are block offsets until the last step. */
        store64_release(place, block); /* some places are looked at without a lock (E2 of holds.c) */
        compiler_barrier();
    }
    h->pending_block = 0;
}

int plait__arena_alloc_raw(struct plait__arena_header *h, size_t size, uint64_t *offset_out)
{
    int err = plait__arena_lock(h);

    if (err)
        return err;
    err = plait__arena_alloc_begin(h, size, offset_out);
    if (err == 0)
        plait__arena_alloc_commit(h, NULL);
    plait__arena_unlock(h);
    return err;
}

int plait__arena_alloc_into(struct plait__arena_header *h, size_t size, uint64_t *place)
{
    uint64_t offset;
    int err = plait__arena_lock(h);

    if (err)
        return err;
    err = plait__arena_alloc_begin(h, size, &offset);
    if (err == 0)
        plait__arena_alloc_commit(h, place);
    plait__arena_unlock(h);
    return err;
}

/* With the lock held: free a block, and with it the place that names it. */
static int free_block(struct plait__arena_header *h, uint64_t offset, uint64_t *place)
{
    struct plait__block *b = block_at(h, offset);

    if (!plait__block_is_sound(h, offset) || b->state != PLAIT__BLOCK_USED)
        return EINVAL;
    h->pending_block = 0;
    compiler_barrier();
    h->pending_place = place ? plait__offset_in(h, place) : 0;
    h->pending_free = 1;
    compiler_barrier();
    h->pending_block = offset;
    compiler_barrier();
    if (place)
        *place = 0;
    b->state = PLAIT__BLOCK_FREE;
    give_pages_back(h, offset, b);
    push_free(h, offset, b);
    h->used -= plait__class_size(b->class);
    compiler_barrier();
    h->pending_block = 0;
    return 0;
}

int plait__arena_dealloc_from(struct plait__arena_header *h, uint64_t *place)
{
    int err = plait__arena_lock(h);

    if (err)
        return err;
    if (*place)
        err = free_block(h, *place, place);
    plait__arena_unlock(h);
    return err;
}

int plait__arena_dealloc_offset(struct plait__arena_header *h, uint64_t offset)
{
    int err;

    if (offset < sizeof(struct plait__block))
        return EINVAL;
    err = plait__arena_lock(h);
    if (err)
        return err;
    err = free_block(h, offset - sizeof(struct plait__block), NULL);
    plait__arena_unlock(h);
    return err;
}

bool plait__arena_block_is_used(struct plait__arena_header *h, uint64_t offset, size_t size)
{
    uint64_t block = offset - sizeof(struct plait__block);

    return offset >= sizeof(struct plait__block) && plait__block_is_sound(h, block) &&
           block_at(h, block)->state == PLAIT__BLOCK_USED &&
           plait__class_size(block_at(h, block)->class) >= size + sizeof(struct plait__block);
}

int plait_arena_alloc(plait_arena_t *arena, size_t size, void **memory_out)
{
    uint64_t offset;
    int err = plait__arena_alloc_raw(arena->base, size, &offset);

    if (err)
        return err;
    *memory_out = plait__at(arena->base, offset);
    memset(*memory_out, 0, size);
    return 0;
}

int plait_arena_dealloc(plait_arena_t *arena, void *memory)
{
    uintptr_t start = (uintptr_t)arena->base, at = (uintptr_t)memory;

    if (!memory)
        return 0;
    if (at <= start || at - start >= arena->limit)
        return EINVAL;
    return plait__arena_dealloc_offset(arena->base, at - start);
}

int plait_arena_usage(plait_arena_t *arena, size_t *used_out, size_t *reserved_out, size_t *limit_out)
{
    int err = plait__arena_lock(arena->base);

    if (err)
        return err;
    if (used_out)
        *used_out = arena->base->used;
    if (reserved_out)
        *reserved_out = arena->base->reserved;
    if (limit_out)
        *limit_out = arena->limit;
    plait__arena_unlock(arena->base);
    return 0;
}
