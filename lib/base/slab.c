/* SPDX-License-Identifier: MIT */
#include "base/slab.h"

#include <string.h>
#include <sys/mman.h>

enum { CHUNK = 1 << 16 };

static void *take_new(struct plait__slab *slab)
{
    char *piece;

    if (!slab->at || (size_t)(slab->end - slab->at) < slab->size) {
        char *chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (chunk == MAP_FAILED)
            return NULL;
        slab->at = chunk;
        slab->end = chunk + CHUNK;
    }
    piece = slab->at;
    slab->at += slab->size;
    return piece;
}

void *plait__slab_take(struct plait__slab *slab)
{
    void *piece = slab->free;

    if (!piece)
        return take_new(slab);
    slab->free = *(void **)piece;
    return memset(piece, 0, slab->size);
}

void plait__slab_give(struct plait__slab *slab, void *piece)
{
    *(void **)piece = slab->free;
    slab->free = piece;
}
