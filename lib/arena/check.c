/* SPDX-License-Identifier: MIT */
/* Verifying a whole arena: nothing is believed, everything is walked, the first fault is named. */
#include <plait/arena.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "arena/arena.h"
#include "arena/holds.h"
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

static const struct plait__block *block_at(const struct plait__arena_header *h, uint64_t offset)
{
    return plait__at(h, offset);
}

static int check_blocks(const struct plait__arena_header *h, uint64_t *free_count, const struct report *r)
{
    uint64_t offset = plait__heap_offset(h->participants), used = 0;

    *free_count = 0;
    while (offset < h->top) {
        if (!plait__block_is_sound(h, offset))
            return fault(r, "block at %#llx: damaged header", (unsigned long long)offset);
        if (block_at(h, offset)->state == PLAIT__BLOCK_USED)
            used += plait__class_size(block_at(h, offset)->class);
        else
            ++*free_count;
        offset += plait__class_size(block_at(h, offset)->class);
    }
    if (offset != h->top)
        return fault(r, "the last block ends at %#llx, the heap at %#llx", (unsigned long long)offset,
                     (unsigned long long)h->top);
    if (used != h->used)
        return fault(r, "%llu bytes are in use, the header says %llu", (unsigned long long)used,
                     (unsigned long long)h->used);
    return 0;
}

static int check_free_lists(const struct plait__arena_header *h, uint64_t free_count, const struct report *r)
{
    uint64_t seen = 0;

    for (unsigned class = 0; class < PLAIT__ARENA_CLASSES; class++)
        for (uint64_t offset = h->free_lists[class]; offset; offset = block_at(h, offset)->next_free) {
            if (!plait__block_is_sound(h, offset) || block_at(h, offset)->state == PLAIT__BLOCK_USED ||
                block_at(h, offset)->class != class)
                return fault(r, "free list %u: %#llx is no free block of its size", class,
                             (unsigned long long)offset);
            if (++seen > free_count)
                return fault(r, "free list %u goes round in a circle", class);
        }
    if (seen != free_count)
        return fault(r, "%llu blocks are free, %llu are in the lists", (unsigned long long)free_count,
                     (unsigned long long)seen);
    return 0;
}

static int check_names(const struct plait__arena_header *h, const struct report *r)
{
    uint64_t budget = (h->top - plait__heap_offset(h->participants)) / PLAIT__BLOCK_UNIT;

    for (uint64_t block = h->names; block;) {
        const struct plait__name_record *record;

        if (!plait__block_is_sound(h, block) || block_at(h, block)->state != PLAIT__BLOCK_USED)
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
    uint64_t free_count;
    int err;

    if (text && text_size)
        text[0] = 0;
    if (plait__header_verify(h, arena->limit) != 0)
        return fault(&r, "damaged header");
    err = plait__arena_lock(arena->base);
    if (err)
        return err == EBADMSG ? fault(&r, "damaged beyond repair when a holder of its lock died") : err;
    err = check_blocks(h, &free_count, &r);
    if (err == 0)
        err = check_free_lists(h, free_count, &r);
    if (err == 0)
        err = check_names(h, &r);
    if (err == 0)
        err = check_slots(arena->base, &r);
    plait__arena_unlock(arena->base);
    return err;
}
