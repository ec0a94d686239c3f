/* SPDX-License-Identifier: MIT */
/* A dict's memory: what all its users share, in an arena or in the heap; and the steps that find and change it (dict_table.c). */
#ifndef PLAIT_QUEUE_DICT_H
#define PLAIT_QUEUE_DICT_H

#include <plait/dict.h>
#include <plait/rwlock.h>

#include "arena/arena.h"
#include "base/atomic.h"
#include "queue/memory.h"

enum {
    PLAIT__DICT_FIRST = 8,     /* buckets that there always are */
    PLAIT__DICT_SEGMENTS = 28, /* more of them: segment i has 8 * 2^i, numbered from 8 * 2^i on */
    PLAIT__DICT_BUCKETS_LOG = 31
};

/* Places are numbers: offsets in the arena, or addresses (then the base is 0). 0 is none. All guarded by lock but for the constants. */
struct plait__dict_body {
    uint32_t magic; /* const, stored last; 0 once destroyed */
    uint32_t flags; /* const: PLAIT_SHARED or 0 */
    uint64_t seed;  /* const: of the hashes */
    uint64_t changes; /* atomic, written under lock: odd while the rest changes (dict_glance.c) */
    uint64_t spare;
    plait_rwlock_t lock;

    uint64_t count;    /* keys in it */
    uint64_t versions; /* the version that was given last */
    uint32_t buckets;  /* in use, from 0 on */
    uint32_t clearing; /* 1: all keys are to go */

    /* The change in hand: see dict_table.c. */
    uint64_t fresh; /* entry that is to be linked */
    uint64_t gone;  /* entry that is to be unlinked and freed */
    uint64_t after; /* what the count is once that has happened */

    uint64_t segments[PLAIT__DICT_SEGMENTS]; /* places; 0: not made */
    uint64_t first[PLAIT__DICT_FIRST];       /* buckets: places of the first entries of their chains */
};

#define PLAIT__DICT_MAGIC 0x44696374u

/*
 * A key and its value, const but for `next`: the bytes of the key, and from the next multiple of 8 on those of the value. Where one of
 * them is too long for 16 bits, both sizes are LONG, and stand in front of the key (dict_sizes). So a short key and value, of 16 bytes
 * together, fit into the smallest block of an arena, which is one line of the cache.
 */
struct plait__dict_entry {
    uint64_t next; /* guarded by lock: the chain goes on there */
    union {
        struct {
            uint32_t hash;
            uint16_t key_size, value_size;
        };
        uint64_t label; /* the three in one load */
    };
    uint64_t version;
    uint64_t number; /* the first version that this key had */
    char bytes[];
};

enum { PLAIT__DICT_LONG = UINT16_MAX };

_Static_assert(sizeof(struct plait__dict_entry) + 16 <= PLAIT__BLOCK_UNIT - sizeof(struct plait__block), "the smallest block");

struct plait__dict_sizes {
    uint64_t key, value;
};

/* What an entry has: where, and of what sizes. */
struct plait__dict_pair {
    const char *key, *value;
    uint64_t key_size, value_size;
};

/* A handle. */
struct plait_dict {
    struct plait__dict_body *body;    /* const */
    struct plait__arena_header *base; /* const: NULL: private */
    plait_arena_t *arena;             /* const: a handle of our own, NULL: private */
    uint64_t skew;                    /* const: from a place to its memory */
    uint64_t most;                    /* const: no chain is longer */
    uint64_t safe;                    /* atomic: the arena's memory was seen to reach so far, at least */
};

/* What is looked for. */
struct plait__dict_key {
    const void *bytes;
    uint32_t size, hash;
};

/* Where it is: `link` holds its place; or, without an entry, where it would have to be linked. */
struct plait__dict_found {
    struct plait__dict_entry *entry;
    uint64_t *link;
};

/* The way through all entries; zero at first. */
struct plait__dict_walk {
    uint64_t place, seen;
    uint32_t bucket; /* the next one */
};

static inline void *plait__dict_memory(const struct plait_dict *d, uint64_t place)
{
    return (void *)((uintptr_t)d->base + (uintptr_t)(place + d->skew));
}

static inline struct plait__dict_pair plait__dict_pair_of(const struct plait__dict_entry *e)
{
    struct plait__dict_pair pair = { .key = e->bytes, .key_size = e->key_size, .value_size = e->value_size };

    if (__builtin_expect(pair.key_size == PLAIT__DICT_LONG, 0)) {
        const struct plait__dict_sizes *sizes = (const void *)e->bytes;

        pair = (struct plait__dict_pair){ .key = (const char *)(sizes + 1), .key_size = sizes->key, .value_size = sizes->value };
    }
    pair.value = pair.key + (pair.key_size + 7) / 8 * 8;
    return pair;
}

/* With the lock held for writing: what is stored from here on changes the dict; and no more (E1, E2 of dict_glance.c). */
static inline void plait__dict_change_begins(struct plait_dict *d)
{
    store64_relaxed(&d->body->changes, load64_relaxed(&d->body->changes) | 1);
    barrier_between_stores(); /* E1 */
}

static inline void plait__dict_change_ends(struct plait_dict *d)
{
    store64_release(&d->body->changes, (load64_relaxed(&d->body->changes) | 1) + 1); /* E2 */
}

uint32_t plait__dict_hash(const struct plait_dict *d, const void *key, size_t size);

/* What a glance without the lock has found: a copy. */
struct plait__dict_glance {
    uint64_t version, size;
    uint64_t words[8]; /* the value */
};

/* 0; ENOENT; EAGAIN: it cannot be told without the lock. Of a dict in an arena. */
int plait__dict_glance(struct plait_dict *d, const struct plait__dict_key *key, struct plait__dict_glance *glance_out);

/* With the lock held, for reading or writing. 0; EBADMSG: damaged. next: at the end, *entry_out is NULL. */
int plait__dict_find(struct plait_dict *d, const struct plait__dict_key *key, struct plait__dict_found *found_out);
int plait__dict_next(struct plait_dict *d, struct plait__dict_walk *walk, struct plait__dict_entry **entry_out);

/*
 * With the lock held for writing. set: a new entry at what was found, in the place of the entry there if there is one; ENOMEM, ENOSPC. remove:
 * there is one. clear: EBADMSG: damaged, and some of it is still there.
 */
int plait__dict_set(struct plait_dict *d, const struct plait__dict_key *key, const struct plait__dict_found *found,
                    const void *value, size_t value_size, uint64_t *version_out);
void plait__dict_remove(struct plait_dict *d, const struct plait__dict_found *found);
int plait__dict_clear(struct plait_dict *d);

/* The holder of the lock has died: finish or undo what it did. May itself be killed and repeated. EBADMSG: damaged. */
int plait__dict_repair(void *dict);

/* Are the places in the body such that they can be followed? */
bool plait__dict_is_founded(const struct plait_dict *d);

/*
 * Take the lock, and give it back: as plait__guard_read and plait__guard_write. always: whatever the caller's cancel token says.
 */
int plait__dict_lock_read(struct plait_dict *d);
int plait__dict_lock_write(struct plait_dict *d);
int plait__dict_lock_always(struct plait_dict *d, int (*lock)(struct plait_dict *d));
void plait__dict_unlock(struct plait_dict *d);

#endif
