/* SPDX-License-Identifier: MIT */
/* Door: who has the file of a named arena open, and who removes its name. */
#ifndef PLAIT_ARENA_DOOR_H
#define PLAIT_ARENA_DOOR_H

#include "arena/arena.h"

/* Be the only one who opens or closes the file. EBUSY: somebody else is; come again. */
int plait__door_enter(int fd);
void plait__door_close(int fd);

/* Behind the door: does nobody else have it open? Then the caller must join, or close the descriptor. */
bool plait__door_is_alone(int fd);

/* Have it open, as others shall see. */
int plait__door_join(int fd);

/* Another opening of the same file: a descriptor, or -1. */
int plait__door_reopen(int fd);

/* Have it open no more; the name goes too if nobody else has. Mapping and descriptor stay. EBUSY: nothing done, come again. */
int plait__door_sign_off(struct plait_arena *arena);

/* The same, and give the descriptor back. */
int plait__door_leave(struct plait_arena *arena);

/* Around a fork: an opening of the file for the child, which says "in use" in its own right. */
void plait__door_before_fork(struct plait_arena *arena);
void plait__door_after_fork(struct plait_arena *arena, bool in_child);

#endif
