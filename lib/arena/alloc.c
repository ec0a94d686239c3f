/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The heap is a row of blocks from heap_offset to `top`, each with 16 bytes of header: its class (and so its size) and its
 * state. That is the truth. A free one waits in the free list of its class. Sizes are multiples of 64, four classes to a
 * doubling: at most a quarter of a large block is lost. Free lists and `out` are caches, made anew from the blocks when
 * a holder of the lock has died (repair).
 *
 * A block is taken from the list of its class, else from above `top`. Only where neither has any is a larger free block cut;
 * and only where there is none, are free neighbours joined (block.c), unless nothing was freed since the last time. So what is
 * used again and again in the same sizes is found at once, and memory is not at its end while it only lies in the wrong sizes, or in stocks.
 *
 * In front of all this each participant has a stock of small free blocks (stock.c), which it takes and gives without the lock. In this file is
 * what happens with the lock held. `out` counts what is in use or in a stock.
 *
 * Killed at any instruction, with the lock held:
 *   - a new block at `top` exists when `top` has moved past it, one store after its header was written;
 *   - a larger one is cut by one store to its header, after those of the rest were written behind it;
 *   - a block being allocated is TAKEN and stands in `pending_block` until it is committed: its offset stands in the place that
 *     `pending_place` names (a variable of the arena: alloc_into). Then it becomes USED. Repair frees one that is TAKEN and
 *     not named, and finishes one that is named. Where there is no place, USED alone commits.
 *   - a release (pending_free) has begun when the block is no more USED, an exchange, as another may be releasing it into a stock; repair then
 *     clears the place that still names it.
 * In any other state the block is not touched: it has come or gone, and may be another's by now.
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
#include "arena/stock.h"
#include "base/atomic.h"
#include "base/races.h"

static struct plait__block *block_at(const struct plait__arena_header *h, uint64_t offset)
{
    return plait__block_at(h, offset);
}

static uint64_t size_at(const struct plait__arena_header *h, uint64_t offset)
{
    return plait__class_size(plait__block_look(h, offset).class);
}

static void push_free(struct plait__arena_header *h, uint64_t offset)
{
    unsigned class = plait__block_look(h, offset).class;

    plait__block_set_next(h, offset, h->free_lists[class]);
    h->free_lists[class] = offset;
}

void plait__arena_free_push(struct plait__arena_header *h, uint64_t offset)
{
    push_free(h, offset);
    h->out -= size_at(h, offset);
    h->unjoined = 1;
}

/* The block that was under way when the lock's holder died: to be seen to only if its state says that it still is. */
static void settle_pending(struct plait__arena_header *h, uint64_t pending)
{
    uint64_t *place = h->pending_place ? plait__at(h, h->pending_place) : NULL;
    bool named = place && *place == pending;
    enum plait__block_state state = plait__block_state(h, pending);

    if (h->pending_free && plait__block_state_is_free(state) && named)
        *place = 0;
    else if (!h->pending_free && !named && (state == PLAIT__BLOCK_TAKEN || state == PLAIT__BLOCK_STOCK))
        plait__block_turn(h, pending, PLAIT__BLOCK_FREE);
    else if (!h->pending_free && state == PLAIT__BLOCK_TAKEN)
        plait__block_turn(h, pending, PLAIT__BLOCK_USED);
}

int plait__arena_remake(struct plait__arena_header *h)
{
    uint64_t out = 0;

    memset(h->free_lists, 0, sizeof h->free_lists);
    for (uint64_t offset = plait__heap_offset(h->participants); offset < h->top; offset += size_at(h, offset)) {
        struct plait__block look;

        if (!plait__block_look_sound(h, offset, &look))
            return EBADMSG;
        if (plait__block_state_is_free(look.state))
            push_free(h, offset);
        else if (look.state != PLAIT__BLOCK_STOCK)
            out += plait__class_size(look.class);
    }
    h->out = out;
    h->unjoined = 1;
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
    if (h->pending_place && !plait__place_is_sound(h, h->pending_place) &&
        h->pending_place != offsetof(struct plait__arena_header, names))
        return EBADMSG;
    if (pending && plait__block_is_sound(h, pending))
        settle_pending(h, pending);
    plait__stocks_repair(h);
    err = plait__arena_remake(h);
    if (err)
        return err;
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

    if (err)
        return err;
    err = plait__stocks_settle(h);
    plait__arena_unlock(h);
    return err;
}

/* On its way out by whoever holds the lock. */
static uint64_t taken_word(uint64_t offset, unsigned class)
{
    return plait__block_word(offset, class, PLAIT__BLOCK_TAKEN, PLAIT__BLOCK_NO_OWNER);
}

static int take_from_list(struct plait__arena_header *h, unsigned class, uint64_t *offset_out)
{
    uint64_t offset = h->free_lists[class];
    struct plait__block look;
    int err;

    if (!plait__block_look_sound(h, offset, &look) || !plait__block_state_is_free(look.state) || look.class != class)
        return EBADMSG;
    err = plait__pages_take_again(h, offset);
    if (err)
        return err;
    h->pending_block = offset;
    plait__block_set(h, offset, taken_word(offset, class));
    h->free_lists[class] = plait__block_next(h, offset);
    *offset_out = offset;
    return 0;
}

int plait__arena_extend(struct plait__arena_header *h, unsigned class, uint64_t word, uint64_t *pending, uint64_t *offset_out)
{
    uint64_t offset = h->top, size = plait__class_size(class);
    int err;

    if (size > h->limit - offset)
        return ENOSPC;
    err = plait__arena_reserve(h, offset + size);
    if (err)
        return err;
    plait__block_set(h, offset, word);
    *pending = offset;
    compiler_barrier();
    store64_release(&h->top, offset + size); /* E2 */
    compiler_barrier();
    *offset_out = offset;
    return 0;
}

static int take_from_top(struct plait__arena_header *h, unsigned class, uint64_t *offset_out)
{
    return plait__arena_extend(h, class, taken_word(h->top, class), &h->pending_block, offset_out);
}

/* The first free block of more than the class's size, and all its pages; ENOSPC: there is none. */
static int find_larger(struct plait__arena_header *h, unsigned class, uint64_t *offset_out)
{
    while (++class < PLAIT__ARENA_CLASSES) {
        uint64_t offset = h->free_lists[class];
        struct plait__block look;

        if (!offset)
            continue;
        if (!plait__block_look_sound(h, offset, &look) || !plait__block_state_is_free(look.state) || look.class != class)
            return EBADMSG;
        if (plait__pages_take_again(h, offset) == 0) {
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
    larger = plait__block_look(h, offset).class;
    next = plait__block_next(h, offset);
    rest = offset + plait__class_size(class);
    end = offset + plait__class_size(larger);
    plait__blocks_tile(h, rest, end - rest);
    h->pending_block = offset;
    compiler_barrier();
    plait__block_set(h, offset, taken_word(offset, class));
    h->free_lists[larger] = next;
    for (; rest < end; rest += size_at(h, rest)) {
        plait__pages_give_back(h, rest);
        push_free(h, rest);
    }
    *offset_out = offset;
    return 0;
}

/* The end of the run of free blocks that starts there. */
static uint64_t run_of_free(const struct plait__arena_header *h, uint64_t offset, unsigned *count_out, bool *has_hole_out)
{
    *count_out = 0;
    *has_hole_out = false;
    while (offset < h->top && plait__block_is_sound(h, offset) && plait__block_is_free(h, offset)) {
        *has_hole_out |= plait__block_state(h, offset) == PLAIT__BLOCK_FREE_HOLE;
        ++*count_out;
        offset += size_at(h, offset);
    }
    return offset;
}

/* Join all free neighbours, so that there are as large blocks as can be. */
static int join(struct plait__arena_header *h)
{
    uint64_t offset = plait__heap_offset(h->participants);
    int err;

    while (offset < h->top) {
        unsigned count;
        bool has_hole;
        uint64_t end = run_of_free(h, offset, &count, &has_hole);

        /* Headers will come to lie in the holes. */
        if (count > 1 && (!has_hole || plait__pages_reserve(h, offset, end - offset) == 0))
            plait__blocks_tile(h, offset, end - offset);
        for (; offset < end; offset += size_at(h, offset))
            if (plait__block_state(h, offset) == PLAIT__BLOCK_FREE)
                plait__pages_give_back(h, offset);
        if (offset < h->top) {
            if (!plait__block_is_sound(h, offset))
                return EBADMSG;
            offset += size_at(h, offset);
        }
    }
    err = plait__arena_remake(h);
    h->unjoined = 0;
    return err;
}

/* What is there without joining. */
static int take_as_it_is(struct plait__arena_header *h, unsigned class, uint64_t *offset_out)
{
    int err = h->free_lists[class] ? take_from_list(h, class, offset_out) : take_from_top(h, class, offset_out);

    return err == ENOSPC ? cut(h, class, offset_out) : err;
}

static int take(struct plait__arena_header *h, unsigned class, uint64_t *offset_out)
{
    int err = take_as_it_is(h, class, offset_out);

    if (err != ENOSPC)
        return err;
    err = plait__stocks_settle(h);
    if (err)
        return err;
    plait__stocks_drain(h);
    err = take_as_it_is(h, class, offset_out);
    if (err != ENOSPC || !h->unjoined)
        return err;
    err = join(h);
    return err ? err : take_as_it_is(h, class, offset_out);
}

/* Is there room in the quota, if need be by way of the stocks? */
static int meet_quota(struct plait__arena_header *h, uint64_t size)
{
    int err;

    if (h->quota == 0 || h->out + size <= h->quota)
        return 0;
    err = plait__stocks_settle(h);
    if (err)
        return err;
    plait__stocks_drain(h);
    return h->out + size <= h->quota ? 0 : ENOSPC;
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
    err = meet_quota(h, plait__class_size(class));
    if (err == 0)
        err = take(h, class, offset_out);
    if (err == 0) {
        h->out += plait__class_size(class);
        *offset_out += sizeof(struct plait__block);
    }
    return err;
}

void plait__arena_alloc_commit(struct plait__arena_header *h, uint64_t *place)
{
    uint64_t block = h->pending_block;

    if (place) {
        h->pending_place = plait__offset_in(h, place);
        compiler_barrier();
        /* Repair compares the place with the block: both are block offsets until the last step. */
        store64_release(place, block); /* some places are looked at without a lock (E2 of holds.c) */
    }
    if (plait__block_state(h, block) == PLAIT__BLOCK_TAKEN)
        plait__block_turn(h, block, PLAIT__BLOCK_USED);
    h->pending_block = 0;
}

/* With the arena's lock: where the stock does not serve. */
static int alloc_locked(struct plait__arena_header *h, size_t size, uint64_t *place, uint64_t *offset_out)
{
    int err = plait__arena_lock(h);

    if (err)
        return err;
    err = plait__arena_alloc_begin(h, size, offset_out);
    if (err == 0) {
        plait__arena_alloc_commit(h, place);
        h->allocs++;
        plait__stock_restock(h, plait__class_for(size + sizeof(struct plait__block)));
    }
    plait__arena_unlock(h);
    return err;
}

static int alloc(struct plait__arena_header *h, size_t size, uint64_t *place, uint64_t *offset_out)
{
    int err;

    if (size - 1 >= h->limit) /* 0, too */
        return size ? ENOSPC : EINVAL;
    err = plait__stock_take(h, plait__class_for(size + sizeof(struct plait__block)), place, offset_out);
    if (err == 0)
        *offset_out += sizeof(struct plait__block);
    return __builtin_expect(err == EAGAIN, 0) ? alloc_locked(h, size, place, offset_out) : err;
}

int plait__arena_alloc_raw(struct plait__arena_header *h, size_t size, uint64_t *offset_out)
{
    return alloc(h, size, NULL, offset_out);
}

/* Is it a variable of the arena's? */
static bool is_place(const struct plait__arena_header *h, const uint64_t *place)
{
    return (uintptr_t)place > (uintptr_t)h && plait__place_is_sound(h, (uintptr_t)place - (uintptr_t)h);
}

int plait__arena_alloc_into(struct plait__arena_header *h, size_t size, uint64_t *place)
{
    uint64_t offset;

    return is_place(h, place) ? alloc(h, size, place, &offset) : EINVAL;
}

/* With the lock held: free a block, and with it the place that names it. */
static int free_block(struct plait__arena_header *h, uint64_t offset, uint64_t *place)
{
    struct plait__block look;
    uint64_t used;

    if (!plait__block_look_sound(h, offset, &look) || look.state != PLAIT__BLOCK_USED)
        return EINVAL;
    plait__races_forget(block_at(h, offset) + 1, plait__class_size(look.class) - sizeof look);
    h->pending_block = 0;
    compiler_barrier();
    h->pending_place = place ? plait__offset_in(h, place) : 0;
    h->pending_free = 1;
    compiler_barrier();
    h->pending_block = offset;
    compiler_barrier();
    used = look.word;
    if (!cas64_acqrel(&block_at(h, offset)->word, &used, plait__block_word(offset, look.class, PLAIT__BLOCK_FREE, 0))) {
        h->pending_block = 0; /* somebody else frees it, into a stock */
        return EINVAL;
    }
    compiler_barrier();
    if (place)
        *place = 0;
    plait__pages_give_back(h, offset);
    plait__arena_free_push(h, offset);
    compiler_barrier();
    h->pending_block = 0;
    return 0;
}

/* With the lock held, what the dead have left settled, if that may be why the block is not in use. */
static int free_anyhow(struct plait__arena_header *h, uint64_t offset, uint64_t *place)
{
    int err = free_block(h, offset, place);

    if (err != EINVAL)
        return err;
    err = plait__stocks_settle(h);
    if (err || (place && *place == 0))
        return err;
    return free_block(h, offset, place);
}

static int free_locked(struct plait__arena_header *h, uint64_t offset, uint64_t *place)
{
    struct plait__block look;
    int err = plait__arena_lock(h);

    if (err)
        return err;
    if (!place || *place) /* settled, maybe */
        err = free_anyhow(h, place ? *place : offset, place);
    if (err == 0 && plait__block_look_sound(h, offset, &look)) {
        h->deallocs++;
        plait__stock_reduce(h, look.class);
    }
    plait__arena_unlock(h);
    return err;
}

static int dealloc(struct plait__arena_header *h, uint64_t offset, uint64_t *place)
{
    int err = plait__stock_give(h, offset, place);

    return __builtin_expect(err == EAGAIN, 0) ? free_locked(h, offset, place) : err;
}

int plait__arena_dealloc_from(struct plait__arena_header *h, uint64_t *place)
{
    if (!is_place(h, place))
        return EINVAL;
    return *place ? dealloc(h, *place, place) : 0;
}

int plait__arena_dealloc_offset(struct plait__arena_header *h, uint64_t offset)
{
    return offset < sizeof(struct plait__block) ? EINVAL : dealloc(h, offset - sizeof(struct plait__block), NULL);
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
