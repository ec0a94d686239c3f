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

static struct plait__name_record *record_at(struct plait__arena_header *h, uint64_t block)
{
    if (!block || !plait__block_is_sound(h, block))
        return NULL;
    return plait__place_memory(h, block);
}

static struct plait__name_record *find(struct plait__arena_header *h, const char *name,
                                       struct plait__name_record **unused_out)
{
    for (struct plait__name_record *r = record_at(h, h->names); r; r = record_at(h, r->next)) {
        if (r->target && strncmp(r->name, name, sizeof r->name) == 0)
            return r;
        if (!r->target && unused_out)
            *unused_out = r;
    }
    return NULL;
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

    if (find(h, name, &unused))
        return EEXIST;
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
    r = find(arena->base, name, NULL);
    if (!r)
        err = ENOENT;
    else if (r->target >= arena->limit)
        err = EBADMSG;
    else
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
    r = find(arena->base, name, NULL);
    if (r)
        store64_release(&r->target, 0);
    else
        err = ENOENT;
    plait__arena_unlock(arena->base);
    return err;
}

int plait__arena_name_next(plait_arena_t *arena, const char *prefix, size_t *cursor, size_t size, void **address_out)
{
    size_t number = 0;
    int err = plait__arena_lock(arena->base);

    if (err)
        return err;
    err = ENOENT;
    for (struct plait__name_record *r = record_at(arena->base, arena->base->names); r && err == ENOENT;
         r = record_at(arena->base, r->next)) {
        if (number++ < *cursor)
            continue;
        *cursor = number;
        if (!r->target || strncmp(r->name, prefix, strlen(prefix)) != 0)
            continue;
        err = r->target < arena->limit && size <= arena->limit - r->target ? 0 : EBADMSG;
        if (err == 0)
            *address_out = plait__at(arena->base, r->target);
    }
    plait__arena_unlock(arena->base);
    return err;
}
