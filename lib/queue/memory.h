/* SPDX-License-Identifier: MIT */
/* Memory for what is in a queue or dict: of the arena `base`, or where that is NULL, of the heap. */
#ifndef PLAIT_QUEUE_MEMORY_H
#define PLAIT_QUEUE_MEMORY_H

#include "arena/arena.h"

/*
 * `place` names the memory from one step on, and until one step: in a shared one, *place lies in the arena. free allows 0, and
 * leaves 0. ENOMEM, ENOSPC, EBADMSG.
 */
int plait__memory_alloc(struct plait__arena_header *base, size_t size, uint64_t *place);
void plait__memory_free(struct plait__arena_header *base, uint64_t *place);

#endif
