/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A hold is 40 bytes in its thread's slot: four of them, and when they are all taken, rows of four more in blocks of their
 * own, which stay with the slot. Its name says all at once, in one store: free (0), or
 *
 *     bits 0-2    the kind
 *     bits 3-47   offset of the object (a multiple of 8)
 *     bits 48-63  low bits of the generation of the slot's owner
 *
 * E1: the name is stored with a release after the rest: a hold that names an object is complete; who finds the name acquires
 * it. Dropping is a release too: who takes the hold next comes after whoever dropped it.
 *
 * A hold lives as long as the owner who took it: the slot's life word has an owner, and the slot's generation is that of
 * the name. Otherwise it is an orphan, which nobody touches but who sees to what it means for the object (buries
 * it). Orphans do not keep a slot from its next owner, who lets them lie and uses other holds.
 *
 * E3, what the generation promises: from the moment when a slot has a new owner, no hold of an earlier one has the present
 * generation. Before a slot is claimed, its generation is counted up, by anybody, while the life word is empty ("retire").
 * Looked at in this order - generation, life word, then compare and swap of the generation - this cannot hit a
 * living owner, because an owner counts up once more after its claim, and by that makes all who had looked before fail.
 * Who judges a hold looks the other way round: life word, then generation. If it sees the life of the next owner, it
 * sees the next generation. The new owner counts on until no orphan in the slot has its number, whose 16 bits may
 * have come round.
 *
 * E2: the block of a further row is linked by one store, after it was cleared (plait__arena_alloc_commit).
 *
 * A signal handler that takes a hold interrupts one that is being taken at any instruction. `taking` has a bit for each that
 * is in work; handlers end before what they interrupt goes on, and put `taking` back, so plain stores do.
 *
 * Killed at any instruction: before the name is stored, the hold is free; afterwards an orphan.
 */
#include "arena/holds.h"

#include <errno.h>
#include <string.h>

#include "arena/arena.h"
#include "arena/member.h"
#include "arena/start_time.h"

_Static_assert(offsetof(struct plait__slot, row) == 64, "a thread's first hold shares a line with the row's head");

void plait__hold_raise_used(struct plait__hold_row *row, uint32_t used)
{
    uint32_t v = load_relaxed(&row->used);

    while (v < used && !cas_relaxed(&row->used, &v, used)) /* at once: a handler raises it, too */
        ;
}

enum { ROWS_MAX = 1 << 20 }; /* of one slot: more are a circle, which is damage */

/* The row after this one; NULL: none, or damaged. */
static struct plait__hold_row *next_row(struct plait__arena_header *h, const struct plait__hold_row *row)
{
    uint64_t more = load64_acquire(&row->more); /* E2 */

    if (!more || !plait__arena_block_is_used(h, more + sizeof(struct plait__block), sizeof *row))
        return NULL;
    return plait__place_memory(h, more);
}

/* The same, for a walk through all rows of a slot; *rows is 0 at first. */
static struct plait__hold_row *next_of_few(struct plait__arena_header *h, const struct plait__hold_row *row, uint32_t *rows)
{
    return ++*rows < ROWS_MAX ? next_row(h, row) : NULL;
}

static uint32_t used_in(const struct plait__hold_row *row)
{
    uint32_t used = load_relaxed(&row->used); /* relaxed: what matters was there before, by the object's own order */

    return used < PLAIT__HOLDS_IN_ROW ? used : PLAIT__HOLDS_IN_ROW;
}

/* Link an empty row behind the last one. */
static int add_row(struct plait__arena_header *h, struct plait__hold_row *last)
{
    uint64_t offset;
    int err = plait__arena_lock(h);

    if (err)
        return err;
    if (last->more == 0) { /* else a signal handler was faster */
        err = plait__arena_alloc_begin(h, sizeof *last, &offset);
        if (err == 0) {
            memset(plait__at(h, offset), 0, sizeof *last);
            plait__arena_alloc_commit(h, &last->more); /* E2 */
        }
    }
    plait__arena_unlock(h);
    return err;
}

int plait__hold_take_more(struct plait__arena_header *h, struct plait__slot *self, uint64_t of,
                          const struct plait__hold *contents, struct plait__hold **hold_out)
{
    struct plait__hold_row *row = &self->row;

    for (uint32_t rows = 0; rows < ROWS_MAX; rows++) {
        struct plait__hold_row *next = next_row(h, row);

        if (!next) {
            int err = load64_relaxed(&row->more) ? EBADMSG : add_row(h, row);

            if (err)
                return err;
            next = next_row(h, row);
        }
        row = next;
        *hold_out = plait__hold_take_in(row, plait__hold_own_name(self, of), contents);
        if (*hold_out)
            return 0;
    }
    return EBADMSG;
}

struct plait__hold *plait__hold_find(struct plait__arena_header *h, struct plait__slot *self, uint64_t of)
{
    uint64_t name = plait__hold_own_name(self, of);
    uint32_t rows = 0;

    for (struct plait__hold_row *row = &self->row; row; row = next_of_few(h, row, &rows))
        for (uint32_t i = 0; i < used_in(row); i++)
            if (load64_relaxed(&row->holds[i].name) == name) /* relaxed: our own */
                return &row->holds[i];
    return NULL;
}

struct plait__holds_walk plait__holds_of(struct plait__arena_header *h, uint64_t of)
{
    return (struct plait__holds_walk){ .h = h, .of = of, .high = plait__slots_high(h) };
}

/* On to the next slot; false: there is none. */
static bool next_slot(struct plait__holds_walk *walk)
{
    if (walk->slot_number == walk->high)
        return false;
    walk->slot = plait__slot_at(walk->h, walk->slot_number++);
    walk->row = &walk->slot->row;
    walk->rows_left = walk->h->limit / sizeof *walk->row;
    walk->place = 0;
    return true;
}

struct plait__hold *plait__holds_next(struct plait__holds_walk *walk)
{
    while (walk->row || next_slot(walk)) {
        uint32_t used = used_in(walk->row);

        while (walk->place < used) {
            struct plait__hold *hold = &walk->row->holds[walk->place++];

            walk->name = load64_acquire(&hold->name); /* E1 */
            if (plait__hold_strip(walk->name) == walk->of)
                return hold;
        }
        walk->row = walk->rows_left-- ? next_row(walk->h, walk->row) : NULL; /* a circle would be damage */
        walk->place = 0;
    }
    return NULL;
}

bool plait__hold_is_orphan(const struct plait__slot *slot, uint64_t name)
{
    bool empty = plait__slot_is_empty(slot);

    return empty || plait__hold_generation_bits(load_acquire(&slot->generation)) != name - plait__hold_strip(name); /* E3 */
}

bool plait__hold_died(const struct plait__slot *slot, uint64_t name)
{
    bool died = plait__slot_is_dead(slot);

    return died && plait__hold_generation_bits(load_acquire(&slot->generation)) == name - plait__hold_strip(name); /* E3 */
}

bool plait__holds_is_orphan(const struct plait__holds_walk *walk)
{
    return plait__hold_is_orphan(walk->slot, walk->name);
}

bool plait__holds_is_lost(const struct plait__holds_walk *walk, const struct plait__hold *hold)
{
    if (!plait__holds_is_orphan(walk))
        return false;
    return plait__hold_died(walk->slot, walk->name) || plait__process_is_dead(hold->number);
}

void plait__holds_forget(struct plait__arena_header *h, uint64_t of)
{
    struct plait__holds_walk walk = plait__holds_of(h, of);
    struct plait__hold *hold;

    while ((hold = plait__holds_next(&walk)))
        if (plait__holds_is_orphan(&walk))
            plait__holds_bury(&walk, hold);
}

void plait__holds_end(struct plait__arena_header *h, uint64_t of)
{
    struct plait__holds_walk walk = plait__holds_of(h, of);
    struct plait__hold *hold;

    while ((hold = plait__holds_next(&walk)))
        plait__hold_drop(hold);
}

void plait__holds_leave(struct plait__arena_header *h, struct plait__slot *self)
{
    uint32_t rows = 0;

    for (struct plait__hold_row *row = &self->row; row; row = next_of_few(h, row, &rows))
        for (uint32_t i = 0; i < used_in(row); i++) {
            struct plait__hold *hold = &row->holds[i];
            uint64_t name = load64_relaxed(&hold->name);
            uint64_t of = plait__hold_strip(name);

            if (of % (1u << PLAIT__HOLD_KIND_BITS) == PLAIT__HOLD_COUNT && name == plait__hold_own_name(self, of))
                plait__hold_drop(hold);
        }
}

void plait__holds_retire(struct plait__slot *slot)
{
    uint32_t generation = load_acquire(&slot->generation); /* E3: before the life word */

    if (plait__slot_is_empty(slot))
        cas_acqrel(&slot->generation, &generation, generation + 1);
}

/* Does any hold in the slot, all of them orphans, bear this generation? */
static bool is_borne(struct plait__arena_header *h, struct plait__slot *self, uint32_t generation)
{
    uint32_t rows = 0;

    for (struct plait__hold_row *row = &self->row; row; row = next_of_few(h, row, &rows))
        for (uint32_t i = 0; i < used_in(row); i++) {
            uint64_t name = load64_relaxed(&row->holds[i].name);

            if (name && name - plait__hold_strip(name) == plait__hold_generation_bits(generation))
                return true;
        }
    return false;
}

void plait__holds_take_over(struct plait__arena_header *h, struct plait__slot *self)
{
    uint32_t generation, rows = 0;

    for (struct plait__hold_row *row = &self->row; row; row = next_of_few(h, row, &rows))
        row->taking = 0;
    do {
        generation = load_acquire(&self->generation);
        while (!cas_acqrel(&self->generation, &generation, generation + 1)) /* E3: after the claim */
            ;
    } while (is_borne(h, self, generation + 1));
}

bool plait__holds_are_sound(struct plait__arena_header *h, const struct plait__slot *slot)
{
    uint64_t budget = h->limit / sizeof(struct plait__hold_row);

    for (const struct plait__hold_row *row = &slot->row; row; row = next_row(h, row)) {
        if (load_relaxed(&row->used) > PLAIT__HOLDS_IN_ROW || budget-- == 0)
            return false;
        if (load64_acquire(&row->more) && !next_row(h, row))
            return false;
        for (uint32_t i = 0; i < PLAIT__HOLDS_IN_ROW; i++)
            if (plait__hold_strip(load64_relaxed(&row->holds[i].name)) >= h->limit)
                return false;
    }
    return true;
}
