/* SPDX-License-Identifier: MIT */
/* Figures: how often an object was acquired, and how long callers waited for it. */
#ifndef PLAIT_STATS_H
#define PLAIT_STATS_H

#include <stddef.h>
#include <stdint.h>

#include <plait/arena.h>
#include <plait/export.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * Figures of an object that is being watched: a lock, an rlock, a semaphore, and what else is acquired.
 *
 *     plait_stats_watch(&table->lock, "table");
 *     work();
 *     plait_stats_read(&table->lock, &stats);
 *     printf("%.1f %% waited\n", 100.0 * (double)stats.contended / (double)stats.acquired);
 *
 * Each process counts its own calls, from its plait_stats_watch on; a child of fork goes on watching. The
 * figures of a private object lie in the process. Those of a shared one lie in its arena: all processes that watch it add to the
 * same ones, and any process that has the arena can read them.
 *
 * An object that nobody watches costs nothing more. As long as a process watches any, all its acquires and releases leave
 * the inlined path, and those of the watched take some 100 ns more.
 */
struct plait_stats {
    uint64_t acquired;    /* calls that acquired it */
    uint64_t contended;   /* those of them that found it taken */
    uint64_t given_up;    /* calls that did not get it: deadline, cancel token, error */
    plait_time_t waited;  /* total time that callers waited for it, in vain as well */
    plait_time_t longest; /* the longest of those waits */
    uint64_t spare[3];
};

/* The most bytes of a name, with the zero at its end; what is longer is cut off. */
#define PLAIT_STATS_NAME_SIZE 32

/*
 * Begin to watch an object, under a name for who reads the figures (NULL: none). Before an object ends, whoever watches it
 * calls unwatch. Figures that its arena still has from before are added to. The arena stays open until unwatch. EBUSY: this process
 * watches it already. EINVAL: no object. ENOMEM; ENOSPC: the arena is full; or as plait_arena_alloc.
 */
PLAIT_API int plait_stats_watch(void *object, const char *name);

/* Stop watching it. The figures of a shared one stay in the arena. ENOENT: this process does not watch it. */
PLAIT_API int plait_stats_unwatch(void *object);

/*
 * Read the figures; each is exact, but they are not of one instant. ENOENT: there are none: it is private and not watched,
 * or shared and never was.
 */
PLAIT_API int plait_stats_read(const void *object, struct plait_stats *stats_out);

/* Begin again at 0. ENOENT as above. */
PLAIT_API int plait_stats_reset(const void *object);

/* One of a list. */
struct plait_stats_entry {
    void *object; /* as this process sees it */
    char name[PLAIT_STATS_NAME_SIZE];
    struct plait_stats stats;
};

/*
 * Go through all figures in an arena, whoever watches; with NULL, through those of private objects of this process. *cursor
 * is 0 at first. ENOENT: that was the last. What begins or ends meanwhile may be seen or not, or another twice.
 *
 *     for (size_t cursor = 0; plait_stats_next(arena, &cursor, &entry) == 0;)
 *         show(&entry);
 */
PLAIT_API int plait_stats_next(plait_arena_t *arena, size_t *cursor, struct plait_stats_entry *entry_out);

PLAIT_END_DECLS

#endif
