/* SPDX-License-Identifier: MIT */
/* Membership: the calling thread as a participant of an arena. */
#ifndef PLAIT_ARENA_MEMBER_H
#define PLAIT_ARENA_MEMBER_H

#include "arena/layout.h"
#include "base/fork_epoch.h"
#include "base/tls.h"

/* The arena that this thread used last, and its slot there: a cache in front of the thread's list. */
struct plait__member_cache {
    uint32_t epoch; /* fork epoch in which the rest was filled */
    const void *base;
    struct plait__slot *slot;
    struct plait__stock *stock; /* that of the slot (stock.h); NULL: none as yet */
};

extern PLAIT_TLS struct plait__member_cache plait__member_cache;

/* The slow path of plait__member: looks in the list, else joins. */
int plait__member_join(const void *base, struct plait__slot **slot_out);

/* Is it known without a call that the calling thread takes part? */
static inline bool plait__member_is_cached(const void *base)
{
    struct plait__member_cache *cache = &plait__member_cache;

    return __builtin_expect(cache->base == base && cache->epoch == plait__fork_epoch(), 1);
}

/*
 * The calling thread's slot in the arena whose header is at `base`; it joins at the first time. ENOSPC: the table is
 * full. ENOSYS: this thread cannot take part, because its robust list is missing. EINVAL: no arena of this process.
 */
static inline int plait__member(const void *base, struct plait__slot **slot_out)
{
    if (plait__member_is_cached(base)) {
        *slot_out = plait__member_cache.slot;
        return 0;
    }
    return plait__member_join(base, slot_out);
}

/* The arena header of a shared object that keeps its own offset. */
static inline struct plait__arena_header *plait__arena_header_of(const void *object, uint64_t arena_offset)
{
    return (struct plait__arena_header *)((uintptr_t)object - (uintptr_t)arena_offset);
}

/* The slow path of plait__arena_is_ours. */
bool plait__arena_is_known(const void *base);

/*
 * Does this process have an arena there? What an object in the memory says of its place is believed after this, or after
 * plait__member has answered 0.
 */
static inline bool plait__arena_is_ours(const void *base)
{
    return plait__member_is_cached(base) || plait__arena_is_known(base);
}

/* Become a participant of the arena that a shared object lies in. */
static inline int plait__member_of(const void *object, uint64_t arena_offset)
{
    struct plait__slot *slot;

    return plait__member(plait__arena_header_of(object, arena_offset), &slot);
}

/* Is the owner of the slot dead (killed or ended without leaving)? */
bool plait__slot_is_dead(const struct plait__slot *slot);

/* Is there no owner who lives: nobody yet, or one who has left or is dead? */
bool plait__slot_is_empty(const struct plait__slot *slot);

/* The calling thread leaves the arena, if it takes part. For the last close. */
void plait__member_leave(const void *base);

#endif
