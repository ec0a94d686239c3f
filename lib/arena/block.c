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

enum { TILES_MAX = 32 }; /* a stretch of 2^46 bytes has less than 20 */

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
