/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Class and state of a block, and a check of both, are one word of its header, written with one store. The row of blocks is walked from
 * header to header.
 *
 * Tiling lays a row of free blocks over a stretch of memory: the largest class that fits, then the largest that fits into
 * the rest, and so on; any multiple of 64 comes out even, and the rest is less than a fifth each time. The headers are written from the last to the
 * first. Where the stretch was a row of free blocks before, whoever walks it at any moment (repair, after the death of the one who tiles) meets either an old header or a
 * new one; from a new one on all is new, since those behind were written before. Old and new headers lie at the same place or do
 * not overlap at all. So the row is whole after every store, and free neighbours are joined, or a block is cut, without an instant
 * at which a death could lose memory.
 */
#include "arena/arena.h"
#include "base/atomic.h"

enum { TILES_MAX = 32 }; /* a stretch of 2^46 bytes has less than 20 */

/* Sizes of blocks, header included: 64 * (4 + r) << e / 4 for class 4e + r, and the first three by hand. */
uint64_t plait__class_size(unsigned class)
{
    if (class < 4)
        return (uint64_t)PLAIT__BLOCK_UNIT * (class + 1);
    return ((uint64_t)PLAIT__BLOCK_UNIT * (4 + class % 4 + 1)) << (class / 4 - 1);
}

unsigned plait__class_for(uint64_t total)
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

void plait__block_write(struct plait__arena_header *h, uint64_t offset, unsigned class, enum plait__block_state state)
{
    struct plait__block header = { .check = block_check(offset, class), .class = (uint16_t)class, .state = (uint16_t)state };

    compiler_barrier();
    store64_relaxed(&block_at(h, offset)->word, header.word); /* relaxed: the lock, or `top`, publishes it */
    compiler_barrier();
}

static unsigned largest_class_within(uint64_t size)
{
    unsigned class = plait__class_for(size);

    return class == PLAIT__ARENA_CLASSES || plait__class_size(class) > size ? class - 1 : class;
}

void plait__blocks_tile(struct plait__arena_header *h, uint64_t offset, uint64_t size)
{
    uint64_t at[TILES_MAX];
    unsigned classes[TILES_MAX];
    unsigned count = 0;

    for (; size; count++) {
        at[count] = offset;
        classes[count] = largest_class_within(size);
        offset += plait__class_size(classes[count]);
        size -= plait__class_size(classes[count]);
    }
    while (count--)
        plait__block_write(h, at[count], classes[count], PLAIT__BLOCK_FREE);
}
