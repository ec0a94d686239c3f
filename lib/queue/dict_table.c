/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A table of buckets, each the beginning of a chain of entries. There are twice as many buckets as keys, about: with each new key the
 * table gets two buckets more, and some less when it has become four times too large (linear hashing, Litwin 1980). With n
 * buckets, and 2^L the largest power of two in n, a hash belongs to the bucket of its L + 1 lowest bits, or if there is none
 * of that number as yet, to that of its L lowest. So bucket n, when it comes, gets what has bit L set from bucket n - 2^L, its parent.
 *
 * The chains are sorted by the lowest bit in which two hashes differ: who has it clear comes first (the order of the split-ordered
 * lists of Shalev and Shavit, 2006). So what a new bucket gets is the rest of its parent's chain from some entry on, and what a bucket
 * gives back, when it goes, is hung to the end of it. No entry is ever moved.
 *
 * Buckets lie in segments that double the table, found by the highest bit of the number. A segment that is no longer used is given back when the
 * table has shrunk to half of what is before it, so to and fro costs nothing.
 *
 * Killed at any instruction, with the lock held for writing: a change takes effect by one store, and what is lost or left over by a death
 * beside it stands in the body beforehand:
 *
 *     set, new key     fresh = a block (one step with its allocation); it is filled; after = count + 1;
 *                      LINK: the link before it = fresh; count = after; fresh = 0
 *     set, known key   the same with after = count and gone = the old one: the store of the link puts one in the other's place; at
 *                      last gone is freed (one step with gone = 0)
 *     delete           after = count - 1; gone = the entry; LINK: the link before it = the one behind; count = after; gone is freed
 *
 * Whoever finds a fresh or gone looks whether that is linked, so it knows whether LINK has happened, and goes on from there or forgets it.
 * What a fresh block contains may not be written yet: it is looked for in the chain that it says, and is in no other.
 *
 *     a bucket more    bucket n = the rest of the parent's chain; buckets = n + 1; CUT: the end of what the parent keeps = 0
 *     a bucket less    HANG: the end of the parent's chain = what bucket n has; buckets = n
 *
 * In between, the parent's chain goes on into that of the last bucket. Who repairs cuts it there, which finishes the one and undoes the
 * other. A bucket beyond the last means nothing.
 *
 *     clear            clearing = 1; then from the last bucket on, each entry as by delete. Who repairs goes on with it.
 *
 * Compiler barriers keep the stores of the one that dies in their order, and the lock tells the next. Before repair believes a place, the
 * allocator must have settled its own step.
 *
 * Damage: what is read in an arena is looked at before it is followed. A place can be that of a block, and its memory is there; a
 * chain is not longer than there can be blocks; sizes end in the arena's memory. Blocks are freed only if the arena knows them.
 */
#include "queue/dict_place.h"

#include <errno.h>
#include <stdlib.h>

#include "base/atomic.h"

enum { SPARSE = 2 /* buckets for each key */, GROW_STEPS = 2 * SPARSE, SHRINK_STEPS = 5 * SPARSE };

static void set_link(uint64_t *link, uint64_t place)
{
    compiler_barrier();
    store64_relaxed(link, place); /* relaxed: the lock orders it */
    compiler_barrier();
}

/* ---- Memory ------------------------------------------------------------------------------------------------------ */

static bool is_block(const struct plait_dict *d, uint64_t place, uint64_t size)
{
    return size < d->base->limit && plait__arena_block_is_used(d->base, place + d->skew, size);
}

bool plait__dict_reaches_now(struct plait_dict *d, uint64_t end)
{
    uint64_t top = load64_acquire(&d->base->top); /* E2 of alloc.c */

    if (top > d->arena->limit)
        return false;
    store64_relaxed(&d->safe, top);
    return end <= top;
}

/* Do its bytes lie in the arena as well? */
static inline bool is_whole(struct plait_dict *d, const struct plait__dict_entry *e)
{
    uint64_t at = plait__offset_in(d->base, e->bytes), key = e->key_size, value = e->value_size;

    if (!d->base)
        return true;
    if (__builtin_expect(key == PLAIT__DICT_LONG, 0)) {
        const struct plait__dict_sizes *sizes = (const void *)e->bytes;

        at += sizeof *sizes;
        if (!plait__dict_reaches(d, at))
            return false;
        key = sizes->key;
        value = sizes->value;
    }
    return key <= UINT32_MAX && value < d->arena->limit && plait__dict_reaches(d, at + (key + 7) / 8 * 8 + value);
}

/* ---- Buckets ----------------------------------------------------------------------------------------------------- */

static uint64_t *bucket_at(const struct plait_dict *d, uint32_t bucket)
{
    unsigned log;
    uint64_t *segment;

    if (bucket < PLAIT__DICT_FIRST)
        return &d->body->first[bucket];
    log = plait__dict_log_of(bucket);
    segment = plait__dict_memory(d, d->body->segments[log - PLAIT__DICT_SEGMENT_FIRST_LOG]);
    return segment + (bucket - ((uint32_t)1 << log));
}

static uint64_t segment_size(unsigned segment)
{
    return ((uint64_t)PLAIT__DICT_FIRST << segment) * sizeof(uint64_t);
}

bool plait__dict_is_founded(const struct plait_dict *d)
{
    uint32_t buckets = d->body->buckets;

    if (buckets < PLAIT__DICT_FIRST || buckets > (uint32_t)1 << PLAIT__DICT_BUCKETS_LOG)
        return false;
    for (unsigned i = 0; (uint32_t)PLAIT__DICT_FIRST << i < buckets; i++)
        if (!is_block(d, d->body->segments[i], segment_size(i)))
            return false;
    return true;
}

/* ---- Finding ----------------------------------------------------------------------------------------------------- */

static const uint64_t MIX = 0x9e3779b97f4a7c15u;

/*
 * Multiplied by an odd factor that is the dict's own secret, with both halves of the product folded: so nobody who does not know it can tell
 * which change of one word is undone by which of the next.
 */
static uint64_t mix(uint64_t state, uint64_t word, uint64_t factor)
{
#ifdef __SIZEOF_INT128__
    __extension__ unsigned __int128 product = (unsigned __int128)(state ^ word) * factor;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    uint64_t a = state ^ word, low = (a & UINT32_MAX) * (factor & UINT32_MAX), high = (a >> 32) * (factor >> 32);
    uint64_t mid = (a >> 32) * (factor & UINT32_MAX), other = (a & UINT32_MAX) * (factor >> 32);
    uint64_t carry = (low >> 32) + (mid & UINT32_MAX) + (other & UINT32_MAX);

    return ((low & UINT32_MAX) | carry << 32) ^ (high + (mid >> 32) + (other >> 32) + (carry >> 32));
#endif
}

/* The last 0 to 7 bytes as a word. */
static uint64_t rest_of(const unsigned char *bytes, size_t size)
{
    uint32_t low, high;

    if (size >= sizeof low) {
        memcpy(&low, bytes, sizeof low);
        memcpy(&high, bytes + size - sizeof high, sizeof high);
        return low | (uint64_t)high << 32;
    }
    return size ? bytes[0] | (uint64_t)bytes[size / 2] << 8 | (uint64_t)bytes[size - 1] << 16 : 0;
}

uint32_t plait__dict_hash(const struct plait_dict *d, const void *key, size_t size)
{
    const unsigned char *bytes = key;
    uint64_t seed = d->body->seed, state = seed ^ size, factor = seed * MIX | 1, word;

    for (; size >= sizeof word; size -= sizeof word, bytes += sizeof word) {
        memcpy(&word, bytes, sizeof word);
        state = mix(state, word, factor);
    }
    if (size)
        state = mix(state, rest_of(bytes, size), factor);
    return (uint32_t)(state * MIX >> 32);
}

/* Keys of one size that is that of a word are many. */
static inline bool is_same(const void *bytes, const void *others, size_t size)
{
    uint64_t word, other;

    if (size != sizeof word)
        return memcmp(bytes, others, size) == 0;
    memcpy(&word, bytes, sizeof word);
    memcpy(&other, others, sizeof other);
    return word == other;
}

int plait__dict_find(struct plait_dict *d, const struct plait__dict_key *key, struct plait__dict_found *found_out)
{
    uint64_t *link = bucket_at(d, plait__dict_bucket_of(d->body->buckets, key->hash)), steps = 0;
    struct plait__dict_entry *e;

    found_out->entry = NULL;
    for (; *link; link = &e->next) {
        e = plait__dict_entry_at(d, *link);
        if (__builtin_expect(!e || steps++ > d->most, 0))
            return EBADMSG;
        if (e->hash == key->hash) {
            struct plait__dict_pair pair;

            if (!is_whole(d, e))
                return EBADMSG;
            pair = plait__dict_pair_of(e);
            if (pair.key_size == key->size && is_same(pair.key, key->bytes, key->size)) {
                found_out->entry = e;
                break;
            }
        } else if (plait__dict_is_before(key->hash, e->hash)) {
            break;
        }
    }
    found_out->link = link;
    return 0;
}

int plait__dict_next(struct plait_dict *d, struct plait__dict_walk *walk, struct plait__dict_entry **entry_out)
{
    struct plait__dict_entry *e = NULL;

    while (!walk->place && walk->bucket < d->body->buckets)
        walk->place = *bucket_at(d, walk->bucket++);
    if (walk->place) {
        e = plait__dict_entry_at(d, walk->place);
        if (!e || !is_whole(d, e) || walk->seen++ > d->most)
            return EBADMSG;
        walk->place = e->next;
    }
    *entry_out = e;
    return 0;
}

/* ---- Growing and shrinking ----------------------------------------------------------------------------------------- */

static uint32_t parent_of(uint32_t bucket)
{
    return bucket - ((uint32_t)1 << plait__dict_log_of(bucket));
}

/* Where in the parent's chain that begins which belongs, or would belong, to a bucket; maybe its end. NULL: damaged. */
static uint64_t *part_for(struct plait_dict *d, uint32_t bucket)
{
    uint64_t *link = bucket_at(d, parent_of(bucket)), steps = 0;
    uint32_t bit = (uint32_t)1 << plait__dict_log_of(bucket);

    while (*link) {
        struct plait__dict_entry *e = plait__dict_entry_at(d, *link);

        if (!e || steps++ > d->most)
            return NULL;
        if (e->hash & bit)
            break;
        link = &e->next;
    }
    return link;
}

static void set_buckets(struct plait_dict *d, uint32_t buckets)
{
    compiler_barrier();
    store_relaxed(&d->body->buckets, buckets);
    compiler_barrier();
}

/* A bucket more. Without memory for it, chains become longer, and the next one tries again. */
static void grow(struct plait_dict *d)
{
    uint32_t bucket = d->body->buckets;
    unsigned segment = plait__dict_log_of(bucket) - PLAIT__DICT_SEGMENT_FIRST_LOG;
    uint64_t *part;

    if (bucket == (uint32_t)1 << PLAIT__DICT_BUCKETS_LOG)
        return;
    if (!d->body->segments[segment] && plait__memory_alloc(d->base, segment_size(segment), &d->body->segments[segment]) != 0)
        return;
    if (d->base && !is_block(d, d->body->segments[segment], segment_size(segment))) /* not looked at before it is wanted */
        return;
    part = part_for(d, bucket);
    if (!part)
        return;
    set_link(bucket_at(d, bucket), *part);
    set_buckets(d, bucket + 1);
    set_link(part, 0); /* CUT */
}

/* A segment is not wanted any more that is not even the next to be. */
static void drop_segments(struct plait_dict *d, uint32_t buckets)
{
    unsigned next = plait__dict_log_of(buckets) - PLAIT__DICT_SEGMENT_FIRST_LOG + 1;

    for (; next < PLAIT__DICT_SEGMENTS && d->body->segments[next]; next++)
        plait__memory_free(d->base, &d->body->segments[next]);
}

static void shrink(struct plait_dict *d)
{
    uint32_t bucket = d->body->buckets - 1;
    uint64_t *part = part_for(d, bucket);

    if (!part)
        return;
    set_link(part, *bucket_at(d, bucket)); /* HANG */
    set_buckets(d, bucket);
    if ((bucket & (bucket - 1)) == 0)
        drop_segments(d, bucket);
}

static void fit(struct plait_dict *d)
{
    for (int i = 0; i < GROW_STEPS && d->body->buckets < SPARSE * d->body->count; i++)
        grow(d);
    for (int i = 0; i < SHRINK_STEPS && d->body->buckets > PLAIT__DICT_FIRST &&
                    d->body->count < d->body->buckets / (4 * SPARSE); i++)
        shrink(d);
}

/* ---- Changes ------------------------------------------------------------------------------------------------------- */

/* LINK has happened: what is left to do. */
static void finish_change(struct plait_dict *d)
{
    struct plait__dict_body *b = d->body;

    b->count = b->after;
    compiler_barrier();
    b->fresh = 0;
    compiler_barrier();
    if (b->gone)
        plait__memory_free(d->base, &b->gone);
}

static void unlink_entry(struct plait_dict *d, uint64_t *link, const struct plait__dict_entry *e)
{
    d->body->after = d->body->count - 1;
    d->body->gone = *link;
    set_link(link, e->next); /* LINK */
    finish_change(d);
}

int plait__dict_set(struct plait_dict *d, const struct plait__dict_key *key, const struct plait__dict_found *found,
                    const void *value, size_t value_size, uint64_t *version_out)
{
    struct plait__dict_body *b = d->body;
    const struct plait__dict_entry *old = found->entry;
    struct plait__dict_entry *e;
    uint64_t version = b->versions + 1;
    bool is_long = key->size >= PLAIT__DICT_LONG || value_size >= PLAIT__DICT_LONG;
    struct plait__dict_pair pair;
    int err = plait__memory_alloc(d->base,
                                  sizeof *e + (is_long ? sizeof(struct plait__dict_sizes) : 0) +
                                      ((uint64_t)key->size + 7) / 8 * 8 + value_size,
                                  &b->fresh);

    if (err)
        return err;
    b->versions = version;
    e = plait__dict_memory(d, b->fresh);
    e->next = old ? old->next : *found->link;
    e->hash = key->hash;
    e->key_size = is_long ? PLAIT__DICT_LONG : (uint16_t)key->size;
    e->value_size = is_long ? PLAIT__DICT_LONG : (uint16_t)value_size;
    e->version = version;
    e->number = old ? old->number : version;
    if (is_long) {
        struct plait__dict_sizes sizes = { key->size, value_size };

        memcpy(e->bytes, &sizes, sizeof sizes);
    }
    pair = plait__dict_pair_of(e);
    if (key->size)
        memcpy((char *)(uintptr_t)pair.key, key->bytes, key->size);
    if (value_size)
        memcpy((char *)(uintptr_t)pair.value, value, value_size);
    b->after = b->count + !old;
    b->gone = old ? *found->link : 0;
    set_link(found->link, b->fresh); /* LINK */
    finish_change(d);
    if (!old)
        fit(d);
    if (version_out)
        *version_out = version;
    return 0;
}

void plait__dict_remove(struct plait_dict *d, const struct plait__dict_found *found)
{
    unlink_entry(d, found->link, found->entry);
    fit(d);
}

static int finish_clear(struct plait_dict *d)
{
    for (uint32_t bucket = d->body->buckets; bucket-- > 0;) {
        uint64_t *link = bucket_at(d, bucket);

        while (*link) {
            struct plait__dict_entry *e = plait__dict_entry_at(d, *link);

            if (!e || (d->base && !is_block(d, *link, sizeof *e))) /* freed: a circle */
                return EBADMSG;
            unlink_entry(d, link, e);
        }
        if (bucket >= PLAIT__DICT_FIRST)
            set_buckets(d, bucket);
    }
    for (unsigned i = 0; i < PLAIT__DICT_SEGMENTS; i++)
        if (d->body->segments[i])
            plait__memory_free(d->base, &d->body->segments[i]);
    compiler_barrier();
    return 0;
}

int plait__dict_clear(struct plait_dict *d)
{
    int err;

    compiler_barrier();
    d->body->clearing = 1;
    compiler_barrier();
    err = finish_clear(d);
    d->body->clearing = 0;
    return err;
}

/* ---- Repair -------------------------------------------------------------------------------------------------------- */

/* Is it in the chain that it says? */
static int look_for(struct plait_dict *d, uint64_t place, bool *linked_out)
{
    uint64_t *link, steps = 0;
    struct plait__dict_entry *e;

    *linked_out = false;
    if (!place || !is_block(d, place, sizeof *e))
        return 0;
    e = plait__dict_memory(d, place);
    for (link = bucket_at(d, plait__dict_bucket_of(d->body->buckets, e->hash)); *link && !*linked_out; link = &e->next) {
        *linked_out = *link == place;
        e = plait__dict_entry_at(d, *link);
        if (!e || steps++ > d->most)
            return EBADMSG;
    }
    return 0;
}

/* Find out whether the change in hand has happened, and finish or forget it. */
static int settle_change(struct plait_dict *d)
{
    struct plait__dict_body *b = d->body;
    bool linked;
    int err = look_for(d, b->fresh ? b->fresh : b->gone, &linked);

    if (err)
        return err;
    if (b->fresh ? linked : b->gone && !linked) {
        finish_change(d);
        return 0;
    }
    b->gone = 0;
    compiler_barrier();
    if (b->fresh)
        plait__memory_free(d->base, &b->fresh);
    return 0;
}

/* The parent's chain ends where that of the last bucket begins. */
static int cut_again(struct plait_dict *d)
{
    uint32_t last = d->body->buckets - 1;
    uint64_t *part;

    if (last < PLAIT__DICT_FIRST)
        return 0;
    part = part_for(d, last);
    if (!part || (*part && *part != *bucket_at(d, last)))
        return EBADMSG;
    set_link(part, 0);
    return 0;
}

int plait__dict_repair(void *dict)
{
    struct plait_dict *d = dict;
    int err;

    if (!d->base)
        return 0;
    plait__dict_change_begins(d);
    err = plait__arena_settle(d->base);
    if (err == 0 && !plait__dict_is_founded(d))
        err = EBADMSG;
    if (err == 0)
        err = cut_again(d);
    if (err == 0)
        err = settle_change(d);
    if (err == 0 && d->body->clearing)
        err = plait__dict_clear(d);
    if (err == 0)
        plait__dict_change_ends(d);
    return err;
}
