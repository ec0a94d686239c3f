/* SPDX-License-Identifier: MIT */
/* Pages: what the system has set aside for an arena. All with the arena's lock held. */
#ifndef PLAIT_ARENA_PAGES_H
#define PLAIT_ARENA_PAGES_H

#include "arena/arena.h"

/* Have memory set aside for that stretch, in which there may be holes. ENOSPC. */
int plait__pages_reserve(struct plait__arena_header *h, uint64_t offset, uint64_t size);

/* A block was freed: give its pages back, if it is large. A free block is used or cut: take them again; ENOSPC. */
void plait__pages_give_back(struct plait__arena_header *h, uint64_t offset);
int plait__pages_take_again(struct plait__arena_header *h, uint64_t offset);

#endif
