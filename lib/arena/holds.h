/* SPDX-License-Identifier: MIT */
/* Holds: what participants have in their hands, or wait for, so that others can see to it when they die. */
#ifndef PLAIT_ARENA_HOLDS_H
#define PLAIT_ARENA_HOLDS_H

#include "arena/layout.h"
#include "base/atomic.h"

/*
 * Whoever counts in a shared object without owning a robust lock of it - a reader, a waiter, a party, a holder of permits -
 * says so in a hold of its thread's slot. The holds are the truth; counters in the objects are caches. A thread has
 * as many holds as it likes, also several of one object (its fibers); a signal handler may take and drop them, too.
 *
 * A hold is taken by its thread, and dropped by its thread or, once that is gone, by anybody. Objects that want more order than
 * that (chains, fields that others write) make it with a guard of their own.
 */
enum plait__hold_kind {
    PLAIT__HOLD_WAIT = 1,  /* stands in a chain of its object's, which takes it out: also when its thread leaves in order */
    PLAIT__HOLD_COUNT = 2, /* dropped silently when its thread leaves in order */
    PLAIT__HOLD_PERMIT = 3 /* belongs to the process: outlives its thread */
};

enum { PLAIT__HOLD_KIND_BITS = 3, PLAIT__HOLD_GENERATION_SHIFT = 48 };

/* The object and the kind in one number, as plait__hold_take and plait__holds_next want it. `object`: its offset. */
static inline uint64_t plait__hold_of(uint64_t object, enum plait__hold_kind kind)
{
    return object | (uint64_t)kind;
}

static inline uint64_t plait__hold_generation_bits(uint32_t generation)
{
    return (uint64_t)generation << PLAIT__HOLD_GENERATION_SHIFT;
}

/* The name without the generation; 0: free. */
static inline uint64_t plait__hold_strip(uint64_t name)
{
    return name & (((uint64_t)1 << PLAIT__HOLD_GENERATION_SHIFT) - 1);
}

/* What the calling thread's own hold of that is named. */
static inline uint64_t plait__hold_own_name(const struct plait__slot *self, uint64_t of)
{
    return of | plait__hold_generation_bits(load_relaxed(&self->generation));
}

/* plait__hold_take where the first row has no free hold. */
int plait__hold_take_more(struct plait__arena_header *h, struct plait__slot *self, uint64_t of,
                          const struct plait__hold *contents, struct plait__hold **hold_out);

void plait__hold_raise_used(struct plait__hold_row *row, uint32_t used);

/*
 * Find a free hold in a row and name it. A signal handler that comes in between keeps off the hold whose bit is set, and
 * leaves `taking` as it was. NULL: there is none.
 */
static inline struct plait__hold *plait__hold_take_in(struct plait__hold_row *row, uint64_t name,
                                                      const struct plait__hold *contents)
{
    uint32_t taking = row->taking;

    for (uint32_t i = 0; i < PLAIT__HOLDS_IN_ROW; i++) {
        struct plait__hold *hold = &row->holds[i];

        if (taking & 1u << i)
            continue;
        row->taking = taking | 1u << i;
        compiler_barrier();
        if (load64_acquire(&hold->name) == 0) { /* E1: who dropped it was another, perhaps */
            if (__builtin_expect(load_relaxed(&row->used) <= i, 0))
                plait__hold_raise_used(row, i + 1);
            store64_relaxed(&hold->next, contents->next);     /* who walks may look at what this hold was before */
            store64_relaxed(&hold->number, contents->number);
            store64_relaxed(&hold->other, contents->other);
            store_relaxed(&hold->state, contents->state);
            store_relaxed(&hold->count, contents->count);
            store64_release(&hold->name, name); /* E1 */
            compiler_barrier();
            row->taking = taking;
            return hold;
        }
    }
    row->taking = taking;
    return NULL;
}

/*
 * Take a hold of an object, by the calling thread, whose slot is `self`: from one store on it is there, with these contents
 * (their name is not looked at). A few plain stores, unless many are taken. Who must then look whether somebody forbids
 * it (a reader at a writer) has a full barrier to put in between. ENOSPC: the arena is full; EBADMSG: damaged.
 */
static inline int plait__hold_take(struct plait__arena_header *h, struct plait__slot *self, uint64_t of,
                                   const struct plait__hold *contents, struct plait__hold **hold_out)
{
    *hold_out = plait__hold_take_in(&self->row, plait__hold_own_name(self, of), contents);
    if (__builtin_expect(*hold_out != NULL, 1))
        return 0;
    return plait__hold_take_more(h, self, of, contents, hold_out);
}

/* Give it up: from one store on it is free. Not to be touched afterwards. */
static inline void plait__hold_drop(struct plait__hold *hold)
{
    store64_release(&hold->name, 0); /* E1 */
}

/* A hold of that by the calling thread, NULL: it has none. */
struct plait__hold *plait__hold_find(struct plait__arena_header *h, struct plait__slot *self, uint64_t of);

/*
 * A walk over the holds of one object by all participants. Holds that are taken or dropped meanwhile may or may not be seen;
 * those which were there before, and stay, are.
 *
 *     struct plait__holds_walk walk = plait__holds_of(h, plait__hold_of(offset, PLAIT__HOLD_WAIT));
 *
 *     while ((hold = plait__holds_next(&walk)))
 *         ...
 */
struct plait__holds_walk {
    struct plait__arena_header *h;
    uint64_t of;
    uint32_t high, slot_number, place;
    struct plait__slot *slot;    /* of the hold that was given last */
    struct plait__hold_row *row;
    uint64_t rows_left;
    uint64_t name;               /* under which it was found */
};

struct plait__holds_walk plait__holds_of(struct plait__arena_header *h, uint64_t of);
struct plait__hold *plait__holds_next(struct plait__holds_walk *walk);

/* Is the thread gone (dead, or it has left) that took the hold given last? Then nobody but buriers touches it. */
bool plait__holds_is_orphan(const struct plait__holds_walk *walk);

/* The same for any hold whose slot is known. */
bool plait__hold_is_orphan(const struct plait__slot *slot, uint64_t name);

/* Drop the orphan given last, where no guard keeps others from doing so, and its slot's next owner from taking it again. */
static inline void plait__holds_bury(const struct plait__holds_walk *walk, struct plait__hold *hold)
{
    uint64_t name = walk->name;

    cas64_acqrel(&hold->name, &name, 0);
}

/* An orphan: is it known that its thread died rather than left? False when it is not known any more. */
bool plait__hold_died(const struct plait__slot *slot, uint64_t name);

/*
 * The hold given last is a PLAIT__HOLD_PERMIT with the process's number (start_time.h) in `number`: is nobody left to whom it
 * belongs?
 */
bool plait__holds_is_lost(const struct plait__holds_walk *walk, const struct plait__hold *hold);

/* Drop what the gone have left of an object that was at this place before. For an object's init. */
void plait__holds_forget(struct plait__arena_header *h, uint64_t of);

/* Drop all holds of an object that ends: nobody is in a call of it. */
void plait__holds_end(struct plait__arena_header *h, uint64_t of);

/*
 * For member.c: the calling thread leaves in order; it is about to claim a slot that may be empty (others may be, too); it has
 * claimed it.
 */
void plait__holds_leave(struct plait__arena_header *h, struct plait__slot *self);
void plait__holds_retire(struct plait__slot *slot);
void plait__holds_take_over(struct plait__arena_header *h, struct plait__slot *self);

/* Are the rows of a slot whole? For plait_arena_check. */
bool plait__holds_are_sound(struct plait__arena_header *h, const struct plait__slot *slot);

#endif
