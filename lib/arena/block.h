/* SPDX-License-Identifier: MIT */
/* Block: 16 bytes of header, and the memory that is given out. */
#ifndef PLAIT_ARENA_BLOCK_H
#define PLAIT_ARENA_BLOCK_H

#include "arena/layout.h"
#include "base/atomic.h"

/* Sizes of blocks, header included: 64 * (4 + r) << e / 4 for class 4e + r, and the first four by hand. */
static inline uint64_t plait__class_size(unsigned class)
{
    if (class < 4)
        return (uint64_t)PLAIT__BLOCK_UNIT * (class + 1);
    return ((uint64_t)PLAIT__BLOCK_UNIT * (4 + class % 4 + 1)) << (class / 4 - 1);
}

/* The smallest class for a size, at least 1, header included; PLAIT__ARENA_CLASSES: none. */
static inline unsigned plait__class_for(uint64_t total)
{
    uint64_t last = (total - 1) / PLAIT__BLOCK_UNIT; /* the last of its units */
    unsigned log, class;

    if (last < 4)
        return (unsigned)last;
    log = 63 - (unsigned)__builtin_clzll(last);
    class = 4 * (log - 1) + (unsigned)(last >> (log - 2) & 3);
    return class < PLAIT__ARENA_CLASSES ? class : PLAIT__ARENA_CLASSES;
}

static inline uint32_t plait__block_check(uint64_t offset, unsigned class)
{
    return (uint32_t)((offset ^ 0x706c61697430u) * 0x9e3779b1u) ^ (class * 0x85ebca6bu);
}

static inline struct plait__block *plait__block_at(const struct plait__arena_header *h, uint64_t offset)
{
    return (struct plait__block *)plait__at(h, offset);
}

/* Its header as it is at this moment. */
static inline struct plait__block plait__block_look(const struct plait__arena_header *h, uint64_t offset)
{
    return (struct plait__block){ .word = load64_relaxed(&plait__block_at(h, offset)->word) }; /* relaxed: a lock orders it */
}

static inline enum plait__block_state plait__block_state(const struct plait__arena_header *h, uint64_t offset)
{
    return (enum plait__block_state)plait__block_look(h, offset).state;
}

/* What the header of a block says in one word. */
static inline uint64_t plait__block_word(uint64_t offset, unsigned class, enum plait__block_state state, unsigned owner)
{
    struct plait__block header = { .check = plait__block_check(offset, class), .class = (uint8_t)class,
                                   .state = (uint8_t)state, .owner = (uint16_t)owner };

    return header.word;
}

/* Write it, with one store. */
static inline void plait__block_set(struct plait__arena_header *h, uint64_t offset, uint64_t word)
{
    compiler_barrier();
    store64_relaxed(&plait__block_at(h, offset)->word, word); /* relaxed: a lock, or `top`, publishes it */
    compiler_barrier();
}

static inline void plait__block_write(struct plait__arena_header *h, uint64_t offset, unsigned class,
                                      enum plait__block_state state)
{
    plait__block_set(h, offset, plait__block_word(offset, class, state, 0));
}

/*
 * The block behind it in its list. Relaxed, and atomic at all, only because tools do not see an order that is made by
 * other processes in between.
 */
static inline uint64_t plait__block_next(const struct plait__arena_header *h, uint64_t offset)
{
    return load64_relaxed(&plait__block_at(h, offset)->next_free);
}

static inline void plait__block_set_next(struct plait__arena_header *h, uint64_t offset, uint64_t next)
{
    store64_relaxed(&plait__block_at(h, offset)->next_free, next);
}

/* Another state for a block that is sound. */
static inline void plait__block_turn(struct plait__arena_header *h, uint64_t offset, enum plait__block_state state)
{
    plait__block_write(h, offset, plait__block_look(h, offset).class, state);
}

static inline bool plait__block_state_is_free(unsigned state)
{
    return state == PLAIT__BLOCK_FREE || state == PLAIT__BLOCK_FREE_HOLE;
}

/* Is it in the common free lists? */
static inline bool plait__block_is_free(const struct plait__arena_header *h, uint64_t offset)
{
    return plait__block_state_is_free(plait__block_look(h, offset).state);
}

/* Is that the offset of a block? *look_out: its header. */
static inline bool plait__block_look_sound(const struct plait__arena_header *h, uint64_t offset, struct plait__block *look_out)
{
    uint64_t top = load64_acquire(&h->top); /* E2 */
    uint64_t heap = plait__heap_offset(h->participants);

    if (offset < heap || offset >= top || top > h->limit ||
        offset % PLAIT__BLOCK_UNIT != PLAIT__BLOCK_UNIT - sizeof(struct plait__block))
        return false;
    *look_out = plait__block_look(h, offset);
    if (look_out->class >= PLAIT__ARENA_CLASSES || look_out->check != plait__block_check(offset, look_out->class) ||
        plait__class_size(look_out->class) > top - offset)
        return false;
    switch (look_out->state) {
    case PLAIT__BLOCK_USED:
    case PLAIT__BLOCK_FREE:
    case PLAIT__BLOCK_FREE_HOLE:
    case PLAIT__BLOCK_STOCKED:
    case PLAIT__BLOCK_TAKEN:
    case PLAIT__BLOCK_STOCK:
        return true;
    default:
        return false;
    }
}

static inline bool plait__block_is_sound(const struct plait__arena_header *h, uint64_t offset)
{
    struct plait__block look;

    return plait__block_look_sound(h, offset, &look);
}

/* Lay free blocks over a stretch, last header first (block.c). With the lock held. */
void plait__blocks_tile(struct plait__arena_header *h, uint64_t offset, uint64_t size);

#endif
