/* SPDX-License-Identifier: MIT */
#include "pthread/program.h"

#include <plait/arena.h>

void *shared_memory(size_t size)
{
    static plait_arena_t *arena;
    void *memory = NULL;

    if (!arena && plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4u << 20 }) != 0)
        return NULL;
    return plait_arena_alloc(arena, size, &memory) == 0 ? memory : NULL;
}
