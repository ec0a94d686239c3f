/* SPDX-License-Identifier: MIT */
/* The arena as the rest of the library sees it. */
#ifndef PLAIT_ARENA_ARENA_H
#define PLAIT_ARENA_ARENA_H

#include <plait/arena.h>

#include <sys/types.h>

#include "arena/block.h"
#include "arena/layout.h"

enum plait__arena_kind { PLAIT__ARENA_MEMFD, PLAIT__ARENA_NAMED, PLAIT__ARENA_OWN_MEMORY };

/* A mapping, with all its handles: one for each arena in a process. Fields guarded by the registry's mutex. */
struct plait_arena {
    struct plait__arena_header *base; /* const */
    size_t limit;                     /* const */
    uint64_t id;                      /* const */
    enum plait__arena_kind kind;      /* const */
    int fd;                           /* const until the last handle is gone; -1: the program's own memory */
    pid_t opener;                     /* the process that has the file open in its own right (door.c) */
    int child_fd;                     /* during a fork: the child's opening of the file; else -1 */
    dev_t device;                     /* const: of the file, as programs close what is not theirs */
    ino_t inode;                      /* const */
    char *name;                       /* const: with its prefix; NULL: not named */
    unsigned handles;                 /* 0: closed, and unmapped when `members` is 0 */
    unsigned members;                 /* threads of this process in the participants' table */
    struct plait_arena *next;
};

/* The arena among this process's whose mapping holds [address, address + size), or NULL; `closed` ones count too. */
struct plait_arena *plait__arena_find(const void *address, size_t size);

/* This process's arena of that number, or NULL. */
plait_arena_t *plait__arena_by_id(uint64_t id);

/* The descriptor of an arena (-1: has none), and an arena from a descriptor, which it duplicates. */
int plait__arena_fd(const plait_arena_t *arena);
int plait__arena_attach_fd(int fd, plait_arena_t **arena_out);

/*
 * Go through the published names that begin with `prefix`; *cursor is 0 at first. *address_out: what has the name, with room for
 * `size` bytes. ENOENT: that was the last. EBADMSG.
 */
int plait__arena_name_next(plait_arena_t *arena, const char *prefix, size_t *cursor, size_t size, void **address_out);

/* With the arena's lock held: take the name away, if it is that of the place `target`. ENOENT, EBADMSG. */
int plait__arena_unname(struct plait__arena_header *h, const char *name, uint64_t target);

/* What lies at that address is no more: take away all names that it has. */
void plait__arena_forget(plait_arena_t *arena, const void *address);

/* One handle more on an arena; dropped with plait_arena_free. */
void plait__arena_hold(plait_arena_t *arena);

/* The process ends: have no named arena open any more. Memory and handles stay as they are, for threads that go on. */
void plait__arena_sign_off(void);

/* Bookkeeping for participants: one thread more, or less; the last to leave a closed arena unmaps it. */
void plait__arena_member_joined(struct plait_arena *arena);
void plait__arena_member_left(struct plait_arena *arena);

/*
 * Allocate without zeroing. In one step that a death cannot split, the offset of the new block is stored in *place, which lies
 * in the arena: either it is there and the block is in use, or neither. dealloc_from: the same in reverse; 0 in
 * *place means there is nothing to do. Guarding *place is the caller's part; who takes over from a dead guard calls
 * plait__arena_settle before looking at it: until then the block is judged by what stands in *place. Errors as
 * plait_arena_alloc.
 */
int plait__arena_alloc_into(struct plait__arena_header *h, size_t size, uint64_t *place);
int plait__arena_dealloc_from(struct plait__arena_header *h, uint64_t *place);

/* Finish or undo what a dead holder of the arena's lock was doing. EBADMSG: damaged. */
int plait__arena_settle(struct plait__arena_header *h);

/* The memory of the block in a place that plait__arena_alloc_into has filled. */
static inline void *plait__place_memory(struct plait__arena_header *h, uint64_t place)
{
    return plait__at(h, place + sizeof(struct plait__block));
}

/* Allocate without zeroing, free by offset; as plait_arena_alloc and plait_arena_dealloc. */
int plait__arena_alloc_raw(struct plait__arena_header *h, size_t size, uint64_t *offset_out);
int plait__arena_dealloc_offset(struct plait__arena_header *h, uint64_t offset);

/* Does a block in use start at the offset, with room for `size` bytes? For references of unknown origin. */
static inline bool plait__arena_block_is_used(const struct plait__arena_header *h, uint64_t offset, size_t size)
{
    struct plait__block look;

    return offset >= sizeof look && plait__block_look_sound(h, offset - sizeof look, &look) &&
           (look.state == PLAIT__BLOCK_USED || look.state == PLAIT__BLOCK_TAKEN) &&
           plait__class_size(look.class) >= size + sizeof look;
}

/* Take and give the arena's lock, repairing what a dead holder left. EBADMSG: damaged beyond that. */
int plait__arena_lock(struct plait__arena_header *h);
void plait__arena_unlock(struct plait__arena_header *h);

/* With the lock held: allocate, leaving it pending; then store its offset in *place and so commit (alloc.c). */
int plait__arena_alloc_begin(struct plait__arena_header *h, size_t size, uint64_t *offset_out);
void plait__arena_alloc_commit(struct plait__arena_header *h, uint64_t *place);

/* Make sure that the system has memory for [0, end) of the arena. ENOSPC. With the lock held. */
int plait__arena_reserve(struct plait__arena_header *h, uint64_t end);

/* With the lock held: a block at `top`, whose header is that word; to be freed later by repair if the stock or the lock's pending names it. */
int plait__arena_extend(struct plait__arena_header *h, unsigned class, uint64_t word, uint64_t *pending, uint64_t *offset_out);

/* With the lock held: enter a block that has been marked free into its list, as no more out. */
void plait__arena_free_push(struct plait__arena_header *h, uint64_t offset);

/* With the lock held: free lists and `out` anew, from the blocks. EBADMSG. */
int plait__arena_remake(struct plait__arena_header *h);

/* Lies the variable in the arena, so that it can name a block? */
static inline bool plait__place_is_sound(const struct plait__arena_header *h, uint64_t offset)
{
    return offset % sizeof(uint64_t) == 0 && offset >= sizeof *h && offset <= h->limit - sizeof(uint64_t);
}

/* Header: make; is it whole; and is it one that this process can use? `size`: of the memory behind it. */
void plait__header_build(struct plait__arena_header *h, uint64_t limit, uint32_t participants, uint32_t flags,
                         uint64_t id);
bool plait__header_is_sound(const struct plait__arena_header *h, uint64_t size);
int plait__header_verify(const struct plait__arena_header *h, uint64_t size);

#endif
