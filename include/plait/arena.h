/* SPDX-License-Identifier: MIT */
/* Arena: memory that processes share, and what makes the objects in it survive anybody's death. */
#ifndef PLAIT_ARENA_H
#define PLAIT_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/export.h>

PLAIT_BEGIN_DECLS

/*
 * plait_arena_t - a handle on shared memory in which shared objects live.
 *
 * Three kinds: anonymous (inherited over fork, gone with its last process), named (any program that knows the name
 * may attach, subject to the permissions of the file in /dev/shm), and the program's own mapping.
 *
 *     plait_arena_t *arena;
 *     plait_arena_new(&arena, &(struct plait_arena_opts){ .name = "tickets" });
 *
 *     struct office *office;
 *     if (plait_arena_alloc(arena, sizeof *office, (void **)&office) == 0) {
 *         plait_lock_init(&office->lock, PLAIT_SHARED);
 *         plait_arena_publish(arena, "office", office);
 *     }
 *     ...                                                // in another program
 *     plait_arena_lookup(arena, "office", (void **)&office);
 *
 * Allocation scales: each thread keeps some small free blocks at hand, and takes the arena's lock only when it has too few or too many.
 *
 * Each process maps it where there is room: keep offsets or references inside, never pointers. Memory is
 * reserved from the system as it is allocated, so a full /dev/shm is ENOSPC from alloc and never a SIGBUS later.
 *
 * A thread enters the arena's table of participants when it first uses a shared object in it, and leaves
 * when it ends; the kernel marks the entries of those that were killed. The allocator survives them as well: its state is
 * repaired by whoever comes next; a block that a killed process had allocated stays allocated.
 *
 * Closing: the last handle's process unmaps the arena once no thread of the process takes part any more. A
 * name disappears when the last process that has the arena open closes it or ends by exit() or a return from main; if all were
 * killed, or ended by _exit, the next open recognises that nobody is left and starts afresh.
 *
 * Handles and calls may be used by any thread, and by children after fork. Out of scope: a process that
 * writes hostile bytes while others run, and a file that is truncated under them.
 */
typedef struct plait_arena plait_arena_t;

/* How to treat a name. */
enum plait_open {
    PLAIT_OPEN_OR_CREATE = 0, /* take part in the arena of that name, or make it */
    PLAIT_CREATE = 1,         /* make it; EEXIST if it is in use */
    PLAIT_OPEN = 2            /* take part in it; ENOENT if there is none */
};

/* Wishes, of which it is no error if the system does not take them; plait_arena_stats tells. */
enum plait_arena_hint {
    PLAIT_HINT_HUGE_PAGES = 1 << 0, /* back it by huge pages (madvise): where shmem_enabled of the system says "advise" or more */
    PLAIT_HINT_INTERLEAVE = 1 << 1, /* spread its pages over all nodes of memory (mbind) */
    PLAIT_HINT_LOCAL = 1 << 2       /* take its pages from the node of the thread for which memory is reserved */
};

/* Options of plait_arena_new; zero is the default of each. */
struct plait_arena_opts {
    const char *name;      /* 1 to 200 characters without '/'; NULL: anonymous. Copied. */
    size_t limit;          /* bytes of address space, the most it can grow to; 0: 1 GiB. Rounded up to pages.
                              Only its creator's counts. */
    unsigned participants; /* threads that can take part at one time; 0: 1024; at most 32768 */
    unsigned mode;         /* permissions of a named one; 0: 0600 */
    enum plait_open open;
    void *memory;          /* the program's own MAP_SHARED mapping, page aligned: it becomes the arena */
    size_t memory_size;    /* its size in bytes, at least 256 KiB */
    unsigned hints;        /* bits of enum plait_arena_hint; only its maker's count */
    size_t quota;          /* see plait_arena_set_quota; only its maker's counts */
};

/*
 * Open or make an arena; *arena_out receives the handle. Opening again what this process has open gives
 * another handle on the same mapping. Memory given with .memory is made an arena if it is all zero at
 * its start, or if it was being made one by a process that was killed; else opened as one. Of several that do so at once,
 * one makes it. Returns 0 or
 *   EINVAL   absurd sizes; a bad name; .memory with .name, not aligned or too small; hints unknown or contrary
 *   EBADMSG  what is there is not an arena, is damaged, cut short, of another version, or made for
 *            another libc, lock mode or pid namespace
 *   EEXIST, ENOENT   see enum plait_open
 *   EACCES   the file's permissions refuse
 *   ENOSPC   no room in /dev/shm
 *   ENOMEM, EMFILE, ENFILE   no memory, address space or descriptors
 */
PLAIT_API int plait_arena_new_sized(plait_arena_t **arena_out, const struct plait_arena_opts *opts,
                                    size_t opts_size);

PLAIT_API int plait_arena_new(plait_arena_t **arena_out, const struct plait_arena_opts *opts);
PLAIT_INLINE_ALWAYS int plait_arena_new(plait_arena_t **arena_out, const struct plait_arena_opts *opts)
{
    return plait_arena_new_sized(arena_out, opts, sizeof(struct plait_arena_opts));
}

/*
 * Drop the handle; NULL is allowed. Pointers into the arena must not be used any more once the last handle of the process
 * is gone. EBUSY, and nothing done: the caller holds a lock in it, and this is the last handle.
 */
PLAIT_API int plait_arena_free(plait_arena_t *arena);

/*
 * Allocate `size` bytes, zeroed and aligned to 16 (64 from 64 bytes up). EINVAL: size is 0. ENOSPC: the limit is
 * or the quota is reached, or the system has no memory left. Other processes find it by reference or name.
 */
PLAIT_API int plait_arena_alloc(plait_arena_t *arena, size_t size, void **memory_out);

/*
 * Give allocated memory back; NULL is allowed. EINVAL, and nothing done: it is not the start of a block in use.
 * Locks in it must be free and nobody about to use them.
 */
PLAIT_API int plait_arena_dealloc(plait_arena_t *arena, void *memory);

/* The arena that the address lies in, among those that this process has open, or NULL. */
PLAIT_API plait_arena_t *plait_arena_of(const void *address);

/*
 * Give the memory at `address` in the arena a name (1 to 63 bytes). EEXIST: the name is taken. EINVAL: a bad
 * name, or the address is not in this arena. ENOSPC. EBADMSG, of all three: the list of names is damaged.
 */
PLAIT_API int plait_arena_publish(plait_arena_t *arena, const char *name, const void *address);

/* Find what was published; ENOENT: nothing by that name. */
PLAIT_API int plait_arena_lookup(plait_arena_t *arena, const char *name, void **address_out);

/* Take a name away; the memory stays. ENOENT: nothing by that name. */
PLAIT_API int plait_arena_unpublish(plait_arena_t *arena, const char *name);

/*
 * Walk the whole arena and verify it: header, blocks, free lists, names, participants. 0, or EBADMSG with a
 * sentence about the first fault in text[0..text_size). Takes the allocator's lock meanwhile.
 */
PLAIT_API int plait_arena_check(plait_arena_t *arena, char *text, size_t text_size);

/*
 * Figures of an arena: exact while nobody allocates. What is put by are free blocks that participants keep at hand, to allocate without
 * waiting for each other, an eighth of the limit at most; others get them before memory is at an end.
 */
struct plait_arena_stats {
    size_t used;                /* bytes in allocated blocks, with what these need themselves */
    size_t put_by;              /* bytes in free blocks at hand of participants */
    size_t reserved;            /* bytes that the system has set aside; without what large free blocks gave back */
    size_t limit;               /* bytes it can grow to */
    size_t quota;               /* as set; 0: none */
    size_t largest;             /* bytes: so much can be allocated in one piece, and perhaps more */
    uint64_t allocs;            /* allocations since the arena was made */
    uint64_t deallocs;
    uint64_t allocs_locked;     /* those that needed the arena's lock */
    uint64_t deallocs_locked;
    unsigned participants;      /* threads that take part now */
    unsigned participants_most;
    unsigned hints;             /* bits of enum plait_arena_hint: asked for by its maker */
    unsigned hints_taken;       /* and of those, what the system has taken, in the maker's process */
};

/* Fill *stats_out. Takes the allocator's lock; EBADMSG: damaged. */
PLAIT_API int plait_arena_stats_sized(plait_arena_t *arena, struct plait_arena_stats *stats_out, size_t stats_size);

PLAIT_API int plait_arena_stats(plait_arena_t *arena, struct plait_arena_stats *stats_out);
PLAIT_INLINE_ALWAYS int plait_arena_stats(plait_arena_t *arena, struct plait_arena_stats *stats_out)
{
    return plait_arena_stats_sized(arena, stats_out, sizeof *stats_out);
}

/*
 * Let at most `quota` bytes be in use, for all participants together, from now on; 0: as many as the limit allows. What is in use beyond
 * it stays; who allocates gets ENOSPC until it has become less. Anybody who has the arena open may set it.
 */
PLAIT_API int plait_arena_set_quota(plait_arena_t *arena, size_t quota);

/*
 * A descriptor of the arena's memory, for sending it to an unrelated process (SCM_RIGHTS); the caller closes it. It keeps the memory, not the name
 * of a named one. EINVAL: the program's own memory has none. EBADF: somebody has closed the library's descriptor. EMFILE, ENFILE.
 */
PLAIT_API int plait_arena_fd(plait_arena_t *arena, int *fd_out);

/*
 * Open the arena that a descriptor leads to, as one got from plait_arena_fd; it stays the caller's, to be closed. Another handle, if the process has
 * the arena open. EBADF: it is no descriptor. EACCES: not for writing. EBADMSG and the others as plait_arena_new.
 */
PLAIT_API int plait_arena_from_fd(plait_arena_t **arena_out, int fd);

/*
 * Remove from /dev/shm the arenas of dead programs: those of which all users were killed, or ended by _exit. Only arenas of
 * this library that are whole, that nobody has open, and that the permissions let us remove; never one that is in use or just being opened. `each`
 * (NULL: nothing) is called with each name, before it is removed; it returns false to keep that one, and must not call the library about it. *count_out (NULL: not wanted): how many were
 * removed. Unlike the next open of a name, this needs no guess of the names.
 *
 *     plait_arena_sweep(NULL, NULL, &count);
 *
 * EACCES: /dev/shm cannot be read. ENOMEM, EMFILE, ENFILE.
 */
typedef bool plait_arena_sweep_fn(const char *name, void *arg);
PLAIT_API int plait_arena_sweep(plait_arena_sweep_fn *each, void *arg, size_t *count_out);

/* Bytes in use by allocated blocks, bytes reserved from the system, and the limit; any may be NULL. */
PLAIT_API int plait_arena_usage(plait_arena_t *arena, size_t *used_out, size_t *reserved_out,
                                size_t *limit_out);

/* Remove a named arena from /dev/shm, whoever uses it; they go on with what they have mapped. ENOENT, EACCES. */
PLAIT_API int plait_arena_unlink(const char *name);

/*
 * plait_ref_t - the name of a place in some arena, as plain bytes: it can be an item in a queue, an argument of a
 * task, or lie in the arena itself. All-zero bytes refer to nothing.
 */
typedef struct plait_ref {
    uint64_t arena;  /* the arena's number, unlikely to be given twice (64 random bits) */
    uint64_t offset; /* from the arena's start */
} plait_ref_t;

/* Make a reference to an address in an arena that this process has open. EINVAL: it is in none. */
PLAIT_API int plait_ref_of(const void *address, plait_ref_t *ref_out);

/*
 * Turn a reference into an address of this process. An arena that a parent or sibling made in the meantime is
 * opened where the system lets us. ENOENT: the arena is not open here. EINVAL: nothing can lie there.
 */
PLAIT_API int plait_ref_open(plait_ref_t ref, void **address_out);

PLAIT_END_DECLS

#endif
