/* SPDX-License-Identifier: MIT */
/* Glance: a short look at memory of an arena that others may free at the same time. */
#ifndef PLAIT_ARENA_GLANCE_H
#define PLAIT_ARENA_GLANCE_H

#include "arena/layout.h"
#include "arena/member.h"
#include "base/atomic.h"

/*
 * Freed memory stays what it is, memory of the arena with whatever bytes, until the end of a glance that began before: its pages are not
 * given back to the system meanwhile, which could not always be had again (SIGBUS). Which place may be looked at, and whether to believe
 * what is found there, is up to the object. Nothing is called within, nothing waits, and no glance begins in another.
 */

/* Fork epoch of the process in which its threads can. */
extern uint32_t plait__glance_epoch;

/*
 * Whoever glances in an arena has called this before, in the process or in one that it was forked from: make the process one that can,
 * if that is possible. May take some milliseconds, once.
 */
void plait__glance_prepare(struct plait__arena_header *h);

/* By a thread that takes part in the arena, or else NULL; NULL, too, where the process cannot. What it gives ends the glance. */
static inline uint32_t *plait__glance_begin(struct plait__arena_header *h)
{
    uint32_t *glancing;

    if (!plait__member_is_cached(h))
        return NULL;
    if (__builtin_expect(load_relaxed(&plait__glance_epoch) != plait__fork_epoch(), 0)) {
        plait__glance_prepare(h);
        return NULL;
    }
    glancing = &plait__member_cache.slot->row.glancing;
    store_relaxed(glancing, 1);
    compiler_barrier(); /* E1 of glance.c */
    return glancing;
}

static inline void plait__glance_end(uint32_t *glancing)
{
    store_release(glancing, 0); /* E1 */
}

/* With the arena's lock held: has every glance ended that can have found what is free? False, too: it cannot be told. */
bool plait__glances_are_over(const struct plait__arena_header *h);

#endif
