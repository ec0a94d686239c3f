/* SPDX-License-Identifier: MIT */
/*
 * How it works: a list of records, each a block of the arena, guarded by the arena's lock. A record appears with one store
 * (the list's head, through the allocator's commit), counts while its `target` is not 0, and is used again afterwards.
 * Killed at any instruction, a name is there, whole, or not.
 */
#include <plait/arena.h>

#include <errno.h>
#include <string.h>

#include "arena/arena.h"
#include "base/atomic.h"

static bool name_is_good(const char *name)
{
    size_t length = name ? strnlen(name, PLAIT__ARENA_NAME_SIZE) : 0;

    return length > 0 && length < PLAIT__ARENA_NAME_SIZE;
}

/* The most records that fit into the heap: more of them are a circle. */
static uint64_t most_records(const struct plait__arena_header *h)
{
    return (h->top - plait__heap_offset(h->participants)) / PLAIT__BLOCK_UNIT;
}

static struct plait__name_record *record_at(struct plait__arena_header *h, uint64_t block)
{
    if (block > h->top || !plait__arena_block_is_used(h, block + sizeof(struct plait__block), sizeof(struct plait__name_record)))
        return NULL;
    return plait__place_memory(h, block);
}

/*
 * Find the record of that name (NULL: there is none), and one that is free, if that is asked for. A list that leads to what is
 * no record, or that has more of them than fit into the heap, is damaged: EBADMSG.
 */
static int find(struct plait__arena_header *h, const char *name, struct plait__name_record **record_out,
                struct plait__name_record **unused_out)
{
    uint64_t budget = most_records(h);
    struct plait__name_record *r;

    *record_out = NULL;
    for (uint64_t block = h->names; block; block = r->next) {
        r = budget-- == 0 ? NULL : record_at(h, block);
        if (!r)
            return EBADMSG;
        if (r->target && strncmp(r->name, name, sizeof r->name) == 0) {
            *record_out = r;
            return 0;
        }
        if (!r->target && unused_out)
            *unused_out = r;
    }
    return 0;
}

/* Fill a record; it counts from the last store on. */
static void fill(struct plait__name_record *r, const char *name, uint64_t target)
{
    memset(r->name, 0, sizeof r->name);
    memcpy(r->name, name, strlen(name));
    store64_release(&r->target, target);
}

static int publish(struct plait__arena_header *h, const char *name, uint64_t target)
{
    struct plait__name_record *r, *unused = NULL;
    uint64_t offset;
    int err;

    err = find(h, name, &r, &unused);
    if (err || r)
        return err ? err : EEXIST;
    if (unused) {
        fill(unused, name, target);
        return 0;
    }
    err = plait__arena_alloc_begin(h, sizeof *r, &offset);
    if (err)
        return err;
    r = plait__at(h, offset);
    r->next = h->names;
    fill(r, name, target);
    plait__arena_alloc_commit(h, &h->names);
    return 0;
}

int plait_arena_publish(plait_arena_t *arena, const char *name, const void *address)
{
    uintptr_t distance = (uintptr_t)address - (uintptr_t)arena->base;
    int err;

    if (!name_is_good(name) || (uintptr_t)address <= (uintptr_t)arena->base || distance >= arena->limit)
        return EINVAL;
    err = plait__arena_lock(arena->base);
    if (err)
        return err;
    err = publish(arena->base, name, distance);
    plait__arena_unlock(arena->base);
    return err;
}

int plait_arena_lookup(plait_arena_t *arena, const char *name, void **address_out)
{
    struct plait__name_record *r;
    int err;

    if (!name_is_good(name))
        return EINVAL;
    err = plait__arena_lock(arena->base);
    if (err)
        return err;
    err = find(arena->base, name, &r, NULL);
    if (err == 0 && !r)
        err = ENOENT;
    else if (err == 0 && r->target >= arena->limit)
        err = EBADMSG;
    else if (err == 0)
        *address_out = plait__at(arena->base, r->target);
    plait__arena_unlock(arena->base);
    return err;
}

int plait_arena_unpublish(plait_arena_t *arena, const char *name)
{
    struct plait__name_record *r;
    int err;

    if (!name_is_good(name))
        return EINVAL;
    err = plait__arena_lock(arena->base);
    if (err)
        return err;
    err = find(arena->base, name, &r, NULL);
    if (err == 0 && !r)
        err = ENOENT;
    else if (err == 0)
        store64_release(&r->target, 0);
    plait__arena_unlock(arena->base);
    return err;
}

int plait__arena_unname(struct plait__arena_header *h, const char *name, uint64_t target)
{
    struct plait__name_record *r;
    int err = name_is_good(name) ? find(h, name, &r, NULL) : EINVAL;

    if (err == 0 && (!r || r->target != target))
        err = ENOENT;
    if (err == 0)
        store64_release(&r->target, 0);
    return err;
}

void plait__arena_forget(plait_arena_t *arena, const void *address)
{
    struct plait__arena_header *h = arena->base;
    uint64_t target = (uintptr_t)address - (uintptr_t)h, budget;
    struct plait__name_record *r;

    if (plait__arena_lock(h) != 0)
        return;
    budget = most_records(h);
    for (uint64_t block = h->names; block && budget-- && (r = record_at(h, block)) != NULL; block = r->next)
        if (r->target == target)
            store64_release(&r->target, 0);
    plait__arena_unlock(h);
}

static int find_next(struct plait__arena_header *h, const char *prefix, size_t *cursor, size_t size, void **address_out)
{
    uint64_t budget = most_records(h);
    struct plait__name_record *r;
    size_t number = 0;

    for (uint64_t block = h->names; block; block = r->next) {
        r = budget-- == 0 ? NULL : record_at(h, block);
        if (!r)
            return EBADMSG;
        if (number++ < *cursor)
            continue;
        *cursor = number;
        if (!r->target || strncmp(r->name, prefix, strlen(prefix)) != 0)
            continue;
        if (r->target >= h->limit || size > h->limit - r->target)
            return EBADMSG;
        *address_out = plait__at(h, r->target);
        return 0;
    }
    return ENOENT;
}

int plait__arena_name_next(plait_arena_t *arena, const char *prefix, size_t *cursor, size_t size, void **address_out)
{
    int err = plait__arena_lock(arena->base);

    if (err)
        return err;
    err = find_next(arena->base, prefix, cursor, size, address_out);
    plait__arena_unlock(arena->base);
    return err;
}
