/* SPDX-License-Identifier: MIT */
/* Verifying a whole arena: nothing is believed, everything is walked, the first fault is named. */
#include <plait/arena.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "arena/arena.h"
#include "arena/holds.h"
#include "arena/stock.h"
#include "base/atomic.h"

struct report {
    char *text;
    size_t size;
};

static int fault(const struct report *r, const char *format, ...) PLAIT_PRINTF(2, 3);

static int fault(const struct report *r, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (r->text && r->size)
        vsnprintf(r->text, r->size, format, args);
    va_end(args);
    return EBADMSG;
}

/* What a walk over the blocks has found. */
struct tally {
    uint64_t free;
    uint64_t stocked;
    uint32_t high;  /* slots whose stocks are kept as they are meanwhile */
    uint32_t busy;  /* but for so many, at which their owners are, and may stay */
};

static int check_blocks(const struct plait__arena_header *h, struct tally *t, const struct report *r)
{
    uint64_t offset = plait__heap_offset(h->participants), out = 0;
    struct plait__block look;

    for (; offset < h->top; offset += plait__class_size(look.class)) {
        if (!plait__block_look_sound(h, offset, &look))
            return fault(r, "block at %#llx: damaged header", (unsigned long long)offset);
        t->stocked += look.state == PLAIT__BLOCK_STOCKED;
        if (plait__block_state_is_free(look.state))
            t->free++;
        else if (look.state != PLAIT__BLOCK_STOCK)
            out += plait__class_size(look.class);
    }
    if (offset != h->top)
        return fault(r, "the last block ends at %#llx, the heap at %#llx", (unsigned long long)offset,
                     (unsigned long long)h->top);
    if (out != h->out)
        return fault(r, "%llu bytes are in use or put by, the header says %llu", (unsigned long long)out,
                     (unsigned long long)h->out);
    return 0;
}

static int check_free_lists(const struct plait__arena_header *h, const struct tally *t, const struct report *r)
{
    uint64_t seen = 0;
    struct plait__block look;

    for (unsigned class = 0; class < PLAIT__ARENA_CLASSES; class++)
        for (uint64_t offset = h->free_lists[class]; offset; offset = plait__block_next(h, offset)) {
            if (!plait__block_look_sound(h, offset, &look) || !plait__block_state_is_free(look.state) || look.class != class)
                return fault(r, "free list %u: %#llx is no free block of its size", class,
                             (unsigned long long)offset);
            if (++seen > t->free)
                return fault(r, "free list %u goes round in a circle", class);
        }
    if (seen != t->free)
        return fault(r, "%llu blocks are free, %llu are in the lists", (unsigned long long)t->free,
                     (unsigned long long)seen);
    return 0;
}

static int check_stock(const struct plait__arena_header *h, const struct plait__stock *s, uint64_t *seen, const struct tally *t,
                       const struct report *r)
{
    uint64_t bytes = 0;
    struct plait__block look;

    for (unsigned class = 0; class < PLAIT__STOCK_CLASSES; class++)
        for (uint64_t offset = s->heads[class]; offset; offset = plait__block_next(h, offset)) {
            if (!plait__block_look_sound(h, offset, &look) || look.state != PLAIT__BLOCK_STOCKED || look.class != class ||
                look.owner != s->number)
                return fault(r, "stock of participant %u, list %u: %#llx is no free block of its", s->number, class,
                             (unsigned long long)offset);
            if (++*seen > t->stocked)
                return fault(r, "stock of participant %u, list %u goes round in a circle", s->number, class);
            bytes += plait__class_size(class);
        }
    if (bytes != s->bytes)
        return fault(r, "stock of participant %u: %llu bytes, it says %llu", s->number, (unsigned long long)bytes,
                     (unsigned long long)s->bytes);
    return 0;
}

/* Of those that are tapped. */
static int check_stocks(struct plait__arena_header *h, const struct tally *t, const struct report *r)
{
    uint64_t seen = 0;
    int err = 0;

    for (uint32_t i = 0; i < t->high && err == 0; i++) {
        const struct plait__slot *slot = plait__slot_at(h, i);
        const struct plait__stock *s = plait__stock_of(h, slot);

        if (!s && load64_relaxed(&slot->row.stock))
            return fault(r, "participant %u: its stock is none", i);
        if (s && plait__stock_is_tapped(s))
            err = check_stock(h, s, &seen, t, r);
    }
    if (err == 0 && seen != t->stocked && !t->busy)
        return fault(r, "%llu blocks are put by, %llu are in stocks", (unsigned long long)t->stocked, (unsigned long long)seen);
    return err;
}

static void tap_all(struct plait__arena_header *h, struct tally *t)
{
    for (uint32_t i = 0; i < t->high; i++) {
        struct plait__stock *s = plait__stock_of(h, plait__slot_at(h, i));

        if (s && !plait__stock_tap(s))
            t->busy++;
    }
}

static void untap_all(struct plait__arena_header *h, const struct tally *t)
{
    for (uint32_t i = 0; i < t->high; i++) {
        struct plait__stock *s = plait__stock_of(h, plait__slot_at(h, i));

        if (s && plait__stock_is_tapped(s))
            plait__stock_untap(s);
    }
}

static int check_memory(struct plait__arena_header *h, const struct report *r)
{
    struct tally t = { .high = load_acquire(&h->slots_high) };
    int err;

    tap_all(h, &t);
    err = check_blocks(h, &t, r);
    if (err == 0)
        err = check_free_lists(h, &t, r);
    if (err == 0)
        err = check_stocks(h, &t, r);
    untap_all(h, &t);
    return err;
}

static int check_names(const struct plait__arena_header *h, const struct report *r)
{
    uint64_t budget = (h->top - plait__heap_offset(h->participants)) / PLAIT__BLOCK_UNIT;

    for (uint64_t block = h->names; block;) {
        const struct plait__name_record *record;

        if (!plait__block_is_sound(h, block) || plait__block_state(h, block) != PLAIT__BLOCK_USED)
            return fault(r, "name record at %#llx: no block in use", (unsigned long long)block);
        record = plait__at(h, block + sizeof(struct plait__block));
        if (record->target >= h->limit || record->name[PLAIT__ARENA_NAME_SIZE - 1])
            return fault(r, "name record at %#llx: damaged", (unsigned long long)block);
        if (budget-- == 0)
            return fault(r, "the list of names goes round in a circle");
        block = record->next;
    }
    return 0;
}

static int check_slots(struct plait__arena_header *h, const struct report *r)
{
    uint32_t high = plait__slots_high(h);

    for (uint32_t i = 0; i < high; i++) {
        const struct plait__slot *slot = plait__slot_at(h, i);

        if (slot->life.state != PLAIT__LOCK_IS_SHARED || !plait__holds_are_sound(h, slot))
            return fault(r, "participant %u: damaged", i);
    }
    return 0;
}

int plait_arena_check(plait_arena_t *arena, char *text, size_t text_size)
{
    const struct plait__arena_header *h = arena->base;
    struct report r = { text, text_size };
    int err;

    if (text && text_size)
        text[0] = 0;
    if (plait__header_verify(h, arena->limit) != 0)
        return fault(&r, "damaged header");
    err = plait__arena_lock(arena->base);
    if (err)
        return err == EBADMSG ? fault(&r, "damaged beyond repair when a holder of its lock died") : err;
    plait__stocks_settle(arena->base); /* what it meets is found below */
    err = check_memory(arena->base, &r);
    if (err == 0)
        err = check_names(h, &r);
    if (err == 0)
        err = check_slots(arena->base, &r);
    plait__arena_unlock(arena->base);
    return err;
}
