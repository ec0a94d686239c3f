/* SPDX-License-Identifier: MIT */
/* Records of the ledger of a joinable queue: how they lie in memory, and the lists in which they stand. */
#ifndef PLAIT_QUEUE_RECORD_H
#define PLAIT_QUEUE_RECORD_H

#include "base/atomic.h"
#include "queue/body.h"
#include "queue/side.h"

/* Where an item is: the truth, of which lists and counts are caches. See ledger.c. */
enum plait__record_state {
    PLAIT__RECORD_FREE,
    PLAIT__RECORD_TAKING,
    PLAIT__RECORD_TAKEN,
    PLAIT__RECORD_RETURNED,
    PLAIT__RECORD_LETTER,
    PLAIT__RECORD_POSTING,
    PLAIT__RECORD_POSTED,
    PLAIT__RECORD_DONE
};

/* All guarded by the get side's lock. */
struct plait__record {
    uint64_t state;  /* enum plait__record_state; in the upper half, how often the item was redelivered */
    uint64_t number; /* of the getting */
    uint64_t owner;  /* the process that got it (start_time.h); private: 0 */
    uint64_t thread; /* the thread that did, as its holds in slot `slot` are named (holds.h); private: the caller (caller.h) */
    int64_t priority;
    uint64_t at;         /* TAKING, POSTING: where the side was before the step */
    uint32_t slot;
    uint32_t fiber;      /* shared: and which fiber of it */
    uint32_t prev, next; /* in the list of its state; record numbers, 0: none */
    char item[];         /* a message: the place of its parcel */
};

/* Record number 1 and so on; it is there. The first segment has 2^record_shift of them, each further one twice as many as the last. */
static inline struct plait__record *plait__record_at(const struct plait_queue *q, uint32_t number)
{
    uint64_t index = number - 1, turn = (index >> q->record_shift) + 1;
    uint32_t segment = 63 - (uint32_t)__builtin_clzll(turn);

    index -= (((uint64_t)1 << segment) - 1) << q->record_shift;
    return (struct plait__record *)((char *)plait__memory_at(q, q->ledger->segments[segment]) + index * q->record_size);
}

static inline enum plait__record_state plait__record_state_of(const struct plait__record *r)
{
    return (enum plait__record_state)(uint32_t)r->state;
}

static inline uint32_t plait__record_deaths(const struct plait__record *r)
{
    return (uint32_t)(r->state >> 32);
}

static inline void plait__record_set(struct plait__record *r, enum plait__record_state state, uint32_t times)
{
    compiler_barrier();
    store64_relaxed(&r->state, (uint64_t)times << 32 | (uint32_t)state); /* relaxed: guarded by the lock */
    compiler_barrier();
}

static inline void plait__record_set_state(struct plait__record *r, enum plait__record_state state)
{
    plait__record_set(r, state, plait__record_deaths(r));
}

/* How many there are, in all segments that are ready. */
uint64_t plait__records_ready(const struct plait_queue *q);

/* See that there is a free one, the first of its list. ENOMEM, ENOSPC. */
int plait__records_reach(struct plait_queue *q);

void plait__record_append(struct plait_queue *q, struct plait__record_list *list, uint32_t number);
void plait__record_move(struct plait_queue *q, struct plait__record_list *from, struct plait__record_list *to,
                        uint32_t number);

/* Find all lists again from the states, which are made such as records have while nobody holds the lock. EBADMSG: damaged. */
int plait__records_find_lists(struct plait_queue *q);

#endif
