/* SPDX-License-Identifier: MIT */
/* A list's memory: what all its users share, in an arena or in the heap; and the steps that change it (list_row.c). */
#ifndef PLAIT_QUEUE_LIST_H
#define PLAIT_QUEUE_LIST_H

#include <plait/list.h>
#include <plait/rwlock.h>

#include "arena/arena.h"
#include "queue/memory.h"

/* Places are numbers: offsets in the arena, or addresses (then the base is 0). 0 is none. All guarded by lock but for the constants. */
struct plait__list_body {
    uint32_t magic; /* const, stored last; 0 once destroyed */
    uint32_t flags; /* const: PLAIT_SHARED or 0 */
    uint64_t spare[3];
    plait_rwlock_t lock;

    uint64_t count; /* items in it */
    uint64_t row;   /* place of the row */

    /* The change in hand: see list_row.c. */
    uint32_t change;   /* enum plait__list_change */
    uint32_t clearing; /* 1: all items are to go */
    uint64_t at;       /* which item is changed */
    uint64_t hole;     /* how far moving has come */
    uint64_t after;    /* what the count is then */
    uint64_t fresh;    /* entry, or row, that is to come */
    uint64_t gone;     /* entry, or row, that is to be freed */
};

#define PLAIT__LIST_MAGIC 0x4c697374u

enum plait__list_change {
    PLAIT__LIST_NONE,
    PLAIT__LIST_INSERT,
    PLAIT__LIST_SET,
    PLAIT__LIST_DELETE,
    PLAIT__LIST_SWITCH /* another row */
};

/* Where the items are, in their order. It knows its size itself, so that one store puts another in its place. */
struct plait__list_row {
    uint64_t room;     /* const: how many places fit in here */
    uint64_t places[]; /* of entries; beyond the count they mean nothing */
};

/* An item: const. */
struct plait__list_entry {
    uint64_t size;
    char bytes[];
};

/* A handle. */
struct plait_list {
    struct plait__list_body *body;    /* const */
    struct plait__arena_header *base; /* const: NULL: private */
    plait_arena_t *arena;             /* const: a handle of our own, NULL: private */
    uint64_t skew;                    /* const: from a place to its memory */
};

static inline void *plait__list_memory(const struct plait_list *l, uint64_t place)
{
    return (void *)((uintptr_t)l->base + (uintptr_t)(place + l->skew));
}

/* With the lock held, for reading or writing: the places of the items. NULL: damaged. */
const uint64_t *plait__list_places(const struct plait_list *l);

/* The entry at a place, or NULL: none can be there. */
const struct plait__list_entry *plait__list_entry(const struct plait_list *l, uint64_t place);

/*
 * With the lock held for writing; `at` is that of an item, but of insert may be the count. ENOMEM, ENOSPC: nothing is changed. EBADMSG: damaged.
 * reorder: the items are to be these, the same in another order.
 */
int plait__list_insert(struct plait_list *l, uint64_t at, const void *bytes, size_t size);
int plait__list_set(struct plait_list *l, uint64_t at, const void *bytes, size_t size);
int plait__list_delete(struct plait_list *l, uint64_t at);
int plait__list_reorder(struct plait_list *l, const uint64_t *places);
int plait__list_clear(struct plait_list *l);

/* The first row; and away with the last. */
int plait__list_make_row(struct plait_list *l);
void plait__list_drop_row(struct plait_list *l);

/* The holder of the lock has died: finish or undo what it did. May itself be killed and repeated. EBADMSG: damaged. */
int plait__list_repair(void *list);

/* Take the lock: as plait__guard_read and plait__guard_write. always: whatever the caller's cancel token says. */
int plait__list_lock_read(struct plait_list *l);
int plait__list_lock_write(struct plait_list *l);
int plait__list_lock_always(struct plait_list *l, int (*lock)(struct plait_list *l));
void plait__list_unlock(struct plait_list *l);

#endif
