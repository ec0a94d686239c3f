/* SPDX-License-Identifier: MIT */
#include "queue/memory.h"

#include <errno.h>
#include <stdlib.h>

int plait__memory_alloc(struct plait__arena_header *base, size_t size, uint64_t *place)
{
    if (base)
        return plait__arena_alloc_into(base, size, place);
    *place = (uint64_t)(uintptr_t)malloc(size);
    return *place ? 0 : ENOMEM;
}

void plait__memory_free(struct plait__arena_header *base, uint64_t *place)
{
    if (base)
        plait__arena_dealloc_from(base, place);
    else
        free((void *)(uintptr_t)*place);
    *place = 0;
}
