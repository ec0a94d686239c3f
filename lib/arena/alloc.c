/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The heap is a row of blocks from heap_offset to `top`, each with 16 bytes of header: its class (and so its size) and its
 * state. That is the truth. A free one waits in the free list of its class. Sizes are multiples of 64, four classes to a
 * doubling: at most a quarter of a large block is lost. Free lists and `used` are caches, made anew from the blocks when
 * a holder of the lock has died (repair).
 *
 * A block is taken from the list of its class, else from above `top`. Only where neither has any is a larger free block cut;
 * and only where there is none, are free neighbours joined (block.c), unless nothing was freed since the last time. So what is
 * used again and again in the same sizes is found at once, and memory is not at its end while it only lies in the wrong sizes.
 *
 * Killed at any instruction, with the lock held:
 *   - a new block at `top` exists when `top` has moved past it, one store after its header was written;
 *   - a larger one is cut by one store to its header, after those of the rest were written behind it;
 *   - a block being allocated stands in `pending_block` until it is committed. Committed means: its offset stands in
 *     the place that `pending_place` names (a variable of the arena: alloc_into), or, where there is none, that
 *     `pending_block` was cleared. Repair frees a pending block that was not committed. Releases run the other way
 *     round (pending_free): repair finishes them.
 * So a death loses no memory but a block that plait_arena_alloc was just handing to a caller who is now dead.
 *
 * E1: the lock orders everything here. E2: `top` is released after `reserved` and the block below it: who looks without
 * the lock (opening, verifying) acquires `top` and then finds a `reserved` that is not smaller.
 */
#include <errno.h>
#include <string.h>

#include "arena/arena.h"
#include "arena/member.h"
#include "arena/pages.h"
#include "base/atomic.h"
#include "base/races.h"

static struct plait__block *block_at(const struct plait__arena_header *h, uint64_t offset)
{
    return plait__at(h, offset);
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

/* Make free lists and `used` anew from the blocks. */
static int remake_caches(struct plait__arena_header *h)
{
    uint64_t used = 0;

    memset(h->free_lists, 0, sizeof h->free_lists);
    for (uint64_t offset = plait__heap_offset(h->participants); offset < h->top;
         offset += plait__class_size(block_at(h, offset)->class)) {
        struct plait__block *b = block_at(h, offset);

        if (!plait__block_is_sound(h, offset))
            return EBADMSG;
        if (b->state == PLAIT__BLOCK_USED)
            used += plait__class_size(b->class);
        else
            push_free(h, offset, b);
    }
    h->used = used;
    return 0;
}

/* Finish or undo what a dead holder of the lock was doing, and make the caches anew. */
static int repair(struct plait__arena_header *h)
{
    uint64_t pending = h->pending_block;
    uint64_t heap = plait__heap_offset(h->participants);
    int err;

    if (h->top < heap || (h->top - heap) % PLAIT__BLOCK_UNIT || h->top > h->reserved || h->reserved > h->limit)
        return EBADMSG;
    if (h->pending_place % sizeof(uint64_t) || h->pending_place > h->reserved - sizeof(uint64_t))
        return EBADMSG;
    if (pending && plait__block_is_sound(h, pending))
        settle_pending(h, block_at(h, pending));
    err = remake_caches(h);
    if (err)
        return err;
    h->unjoined = 1;
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
    err = plait__pages_take_again(h, offset, b);
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
    plait__block_write(h, offset, class, PLAIT__BLOCK_USED);
    h->pending_block = offset;
    compiler_barrier();
    store64_release(&h->top, offset + size); /* E2 */
    *offset_out = offset;
    return 0;
}

/* The first free block of more than the class's size, and all its pages; ENOSPC: there is none. */
static int find_larger(struct plait__arena_header *h, unsigned class, uint64_t *offset_out)
{
    while (++class < PLAIT__ARENA_CLASSES) {
        uint64_t offset = h->free_lists[class];

        if (!offset)
            continue;
        if (!plait__block_is_sound(h, offset) || block_at(h, offset)->state == PLAIT__BLOCK_USED ||
            block_at(h, offset)->class != class)
            return EBADMSG;
        if (plait__pages_take_again(h, offset, block_at(h, offset)) == 0) {
            *offset_out = offset;
            return 0;
        }
    }
    return ENOSPC;
}

/* Cut a block of the class off a larger one; the rest becomes free blocks. */
static int cut(struct plait__arena_header *h, unsigned class, uint64_t *offset_out)
{
    uint64_t offset, rest, end, next;
    unsigned larger;
    int err = find_larger(h, class, &offset);

    if (err)
        return err;
    larger = block_at(h, offset)->class;
    next = block_at(h, offset)->next_free;
    rest = offset + plait__class_size(class);
    end = offset + plait__class_size(larger);
    plait__blocks_tile(h, rest, end - rest);
    h->pending_block = offset;
    compiler_barrier();
    plait__block_write(h, offset, class, PLAIT__BLOCK_USED);
    h->free_lists[larger] = next;
    for (; rest < end; rest += plait__class_size(block_at(h, rest)->class)) {
        plait__pages_give_back(h, rest, block_at(h, rest));
        push_free(h, rest, block_at(h, rest));
    }
    *offset_out = offset;
    return 0;
}

/* The end of the run of free blocks that starts there. */
static uint64_t run_of_free(const struct plait__arena_header *h, uint64_t offset, unsigned *count_out, bool *has_hole_out)
{
    *count_out = 0;
    *has_hole_out = false;
    while (offset < h->top && plait__block_is_sound(h, offset) && block_at(h, offset)->state != PLAIT__BLOCK_USED) {
        *has_hole_out |= block_at(h, offset)->state == PLAIT__BLOCK_FREE_HOLE;
        ++*count_out;
        offset += plait__class_size(block_at(h, offset)->class);
    }
    return offset;
}

/* Join all free neighbours, so that there are as large blocks as can be. */
static int join(struct plait__arena_header *h)
{
    uint64_t offset = plait__heap_offset(h->participants);

    h->unjoined = 0;
    while (offset < h->top) {
        unsigned count;
        bool has_hole;
        uint64_t end = run_of_free(h, offset, &count, &has_hole);

        /* Headers will come to lie in the holes. */
        if (count > 1 && (!has_hole || plait__pages_reserve(h, offset, end - offset) == 0))
            plait__blocks_tile(h, offset, end - offset);
        for (; offset < end; offset += plait__class_size(block_at(h, offset)->class))
            if (block_at(h, offset)->state == PLAIT__BLOCK_FREE)
                plait__pages_give_back(h, offset, block_at(h, offset));
        if (offset < h->top) {
            if (!plait__block_is_sound(h, offset))
                return EBADMSG;
            offset += plait__class_size(block_at(h, offset)->class);
        }
    }
    return remake_caches(h);
}

static int take(struct plait__arena_header *h, unsigned class, uint64_t *offset_out)
{
    int err = h->free_lists[class] ? take_from_list(h, class, offset_out) : take_from_top(h, class, offset_out);

    if (err != ENOSPC)
        return err;
    err = cut(h, class, offset_out);
    if (err != ENOSPC || !h->unjoined)
        return err;
    err = join(h);
    if (err)
        return err;
    return h->free_lists[class] ? take_from_list(h, class, offset_out) : cut(h, class, offset_out);
}

int plait__arena_alloc_begin(struct plait__arena_header *h, size_t size, uint64_t *offset_out)
{
    unsigned class;
    int err;

    if (size == 0)
        return EINVAL;
    if (size > h->limit)
        return ENOSPC;
    class = plait__class_for(size + sizeof(struct plait__block));
    if (class == PLAIT__ARENA_CLASSES)
        return ENOSPC;
    h->pending_block = 0;
    compiler_barrier();
    h->pending_place = 0;
    h->pending_free = 0;
    compiler_barrier();
    err = take(h, class, offset_out);
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
    plait__races_forget(b + 1, plait__class_size(b->class) - sizeof *b);
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
    plait__pages_give_back(h, offset, b);
    push_free(h, offset, b);
    h->used -= plait__class_size(b->class);
    h->unjoined = 1;
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
