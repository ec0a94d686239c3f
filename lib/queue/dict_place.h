/* SPDX-License-Identifier: MIT */
/* Where the things of a dict are: entries at their places, chains in their buckets. Nothing here believes what an arena says. */
#ifndef PLAIT_QUEUE_DICT_PLACE_H
#define PLAIT_QUEUE_DICT_PLACE_H

#include "base/atomic.h"
#include "queue/dict.h"

/* ---- Memory ---- */

/* Is there memory up to here, other than when last looked? */
bool plait__dict_reaches_now(struct plait_dict *d, uint64_t end);

/* Is there memory up to here? */
static inline bool plait__dict_reaches(struct plait_dict *d, uint64_t end)
{
    return __builtin_expect(end <= load64_relaxed(&d->safe), 1) /* relaxed: it never shrinks */ || plait__dict_reaches_now(d, end);
}

/* The entry at a place, or NULL: none can be there. */
static inline struct plait__dict_entry *plait__dict_entry_at(struct plait_dict *d, uint64_t place)
{
    if (d->base &&
        (place % PLAIT__BLOCK_UNIT != PLAIT__BLOCK_UNIT - sizeof(struct plait__block) || place > d->arena->limit ||
         !plait__dict_reaches(d, place + d->skew + sizeof(struct plait__dict_entry))))
        return NULL;
    return plait__dict_memory(d, place);
}

/* ---- Order (dict_table.c) ---- */

enum { PLAIT__DICT_SEGMENT_FIRST_LOG = 3 };

static inline unsigned plait__dict_log_of(uint32_t number)
{
    return 31 - (unsigned)__builtin_clz(number);
}

/* The bucket of a hash, of so many. */
static inline uint32_t plait__dict_bucket_of(uint32_t buckets, uint32_t hash)
{
    uint32_t low = ((uint32_t)1 << plait__dict_log_of(buckets)) - 1, bucket = hash & (2 * low + 1);

    return bucket < buckets ? bucket : hash & low;
}

/* Does a hash come before another in a chain? */
static inline bool plait__dict_is_before(uint32_t hash, uint32_t other)
{
    uint32_t differ = hash ^ other;

    return (differ & -differ & other) != 0;
}

#endif
