/* SPDX-License-Identifier: MIT */
/* Opening: files and mappings behind arenas. */
#ifndef PLAIT_ARENA_OPEN_H
#define PLAIT_ARENA_OPEN_H

#include <sys/types.h>

#include "arena/arena.h"

/* Make or open what `opts` asks for, mapped and verified; the caller owns what comes out. Errors as plait_arena_new, and
 * EBUSY: somebody else is opening or closing it, or making it; come again. */
int plait__open_named(const struct plait_arena_opts *opts, struct plait_arena *out);
int plait__open_anonymous(const struct plait_arena_opts *opts, struct plait_arena *out);
int plait__open_memory(const struct plait_arena_opts *opts, struct plait_arena *out);
int plait__open_fd(int fd, struct plait_arena *out);

/*
 * Open a file if it is a sound arena that nobody uses any more, and hold its door: whoever comes to open it meanwhile waits, and
 * finds out when it has been removed. The caller drops it. EBUSY, EBADMSG, and others: it is not such a one.
 */
int plait__open_leftover(const char *file, struct plait_arena *out);

/* The file name of a named arena, malloc'ed. EINVAL, ENOMEM. */
int plait__arena_file_name(const char *name, char **file_out);

/* Are these hints, and do they not contradict each other? */
bool plait__open_hints_are_good(unsigned hints);

/* Have the system set memory aside for that part of the file. ENOSPC. */
int plait__open_reserve(int fd, uint64_t offset, uint64_t size);

/* Give that part of the file back to the system; it reads as zeros. */
void plait__open_punch(int fd, uint64_t offset, uint64_t size);

/* Is the descriptor still that of our file? A program that closes all it does not know may have put another there. */
bool plait__open_is_ours(const struct plait_arena *arena);

/* Drop a second opening of what this process has open already. */
void plait__open_drop(struct plait_arena *arena);

/* Take the mapping away (the program's own memory stays), and the name's copy. */
void plait__open_unmap(struct plait_arena *arena);

/* Where the maker of an anonymous arena keeps its descriptor; false: that is not in the number. */
bool plait__arena_id_maker(uint64_t id, pid_t *pid_out, int *fd_out);

#endif
