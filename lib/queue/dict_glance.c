/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Getting a short value from a shared dict without its lock. `changes` is odd while somebody changes the dict, and after a death in the midst
 * of that until the repair is done; each change leaves another even number. A reader who finds the same even number before and after his
 * looks has seen what was so at one instant. Else, or where anything looks odd, he has seen nothing: who called takes the lock, so
 * nobody looks in vain more than once, and errors and repairs have one place.
 *
 *     reader                              writer, with the lock
 *     changes: even? n                    changes = n + 1
 *     a place, or a label                 stores, blocks freed, and by whoever gets these: other stores
 *     changes: still n? it may be used    changes = n + 2
 *
 * A place is followed, and a size believed, only after that last line: it was right when it was read. What is behind it may have been freed
 * since, and be anybody's memory, which is in the arena all the same (arena/glance.h); what is read there is not believed before
 * the next look at `changes`. So he never follows what was no place of this dict; in damaged memory, where no number
 * helps, the bounds are those that the lock's holders keep to (dict_place.h).
 *
 * The value goes to the caller's memory after the last look: with any error nothing is copied. That is why it must be short.
 *
 * E1: `changes` becomes odd before all stores that follow under the lock, and those of whom the memory is given to; all looks are loads that
 * acquire. Who has seen one of the stores sees the odd number or a later one.
 * E2: it becomes even with release, and the first look acquires it: who finds n + 2 finds all of the change. It is a seq_cst load because it
 * is what a reader has instead of the lock's full barrier: a change that he has made in another dict is seen before it is done.
 *
 * A reader writes nothing of the dict, so a killed one leaves nothing. A writer who is killed leaves an odd number, or has changed nothing.
 * After 2^63 changes the numbers begin again; nobody sleeps for so long.
 *
 * Private dicts have their entries in the heap, which may give memory back to the system at any time: they are read with the lock.
 */
#include "arena/glance.h"

#include <errno.h>

#include "base/atomic.h"
#include "base/races.h"
#include "queue/dict_place.h"

/* Others may be writing there what is no business of ours; so no tool is told of it. */
static inline uint64_t look(const uint64_t *word)
{
    return plait__races_look(word); /* E1 */
}

/* Is it all right, what has been looked at since then? */
static inline bool is_still(const struct plait_dict *d, uint64_t changes)
{
    return __builtin_expect(load64_acquire(&d->body->changes) == changes, 1); /* E1 */
}

/* The link that begins the bucket's chain; NULL: it may not be looked at. */
static inline const uint64_t *first_link(struct plait_dict *d, uint32_t hash, uint64_t changes)
{
    uint32_t buckets = load_acquire(&d->body->buckets) /* E1 */, bucket;
    unsigned log;
    uint64_t place;

    if (__builtin_expect(buckets < PLAIT__DICT_FIRST || buckets > (uint32_t)1 << PLAIT__DICT_BUCKETS_LOG, 0))
        return NULL;
    bucket = plait__dict_bucket_of(buckets, hash);
    if (bucket < PLAIT__DICT_FIRST)
        return &d->body->first[bucket];
    log = plait__dict_log_of(bucket);
    place = look(&d->body->segments[log - PLAIT__DICT_SEGMENT_FIRST_LOG]) + (bucket - ((uint64_t)1 << log)) * sizeof(uint64_t);
    if (place % sizeof(uint64_t) || place > d->arena->limit ||
        !plait__dict_reaches(d, place + d->skew + sizeof(uint64_t)) || !is_still(d, changes))
        return NULL;
    return plait__dict_memory(d, place);
}

/* Is it that key, in these words? */
static inline bool is_key(const uint64_t *words, const struct plait__dict_key *key)
{
    const char *bytes = key->bytes;
    uint32_t size = key->size;
    uint64_t word;

    for (; size >= sizeof word; size -= sizeof word, bytes += sizeof word) {
        memcpy(&word, bytes, sizeof word);
        if (look(words++) != word)
            return false;
    }
    if (size == 0)
        return true;
    word = look(words);
    return memcmp(&word, bytes, size) == 0;
}

/* An entry with the key's hash. 0; ENOENT: it has another key; EAGAIN. */
static inline int look_at(struct plait_dict *d, const struct plait__dict_entry *e, const struct plait__dict_key *key,
                          uint64_t changes, struct plait__dict_glance *out)
{
    const uint64_t *words = (const uint64_t *)(const void *)e->bytes;
    struct plait__dict_entry sizes = { .label = look(&e->label) };
    uint32_t key_words = (sizes.key_size + 7u) / 8;

    if (sizes.key_size != key->size && sizes.key_size != PLAIT__DICT_LONG)
        return ENOENT;
    if (sizes.value_size > sizeof out->words ||
        !plait__dict_reaches(d, plait__offset_in(d->base, words + key_words) + sizes.value_size) || !is_still(d, changes))
        return EAGAIN;
    if (!is_key(words, key))
        return ENOENT;
    out->version = look(&e->version);
    out->size = sizes.value_size;
    for (uint32_t i = 0; i < (sizes.value_size + 7u) / 8; i++)
        out->words[i] = look(words + key_words + i);
    return 0;
}

static inline int glance(struct plait_dict *d, const struct plait__dict_key *key, uint64_t changes, struct plait__dict_glance *out)
{
    const uint64_t *link = first_link(d, key->hash, changes);
    uint64_t place;

    for (uint64_t steps = 0; link && (place = look(link)) != 0; steps++) {
        struct plait__dict_entry *e = plait__dict_entry_at(d, place);
        uint32_t hash;

        if (__builtin_expect(!e || steps > d->most || !is_still(d, changes), 0))
            return EAGAIN;
        hash = (uint32_t)look(&e->label);
        if (hash == key->hash) {
            int err = look_at(d, e, key, changes, out);

            if (err != ENOENT)
                return err;
        } else if (plait__dict_is_before(key->hash, hash)) {
            return ENOENT;
        }
        link = &e->next;
    }
    return link ? ENOENT : EAGAIN;
}

int plait__dict_glance(struct plait_dict *d, const struct plait__dict_key *key, struct plait__dict_glance *out)
{
    uint32_t *glancing = d->base ? plait__glance_begin(d->base) : NULL;
    uint64_t changes;
    int err = EAGAIN;

    if (!glancing)
        return EAGAIN;
    changes = load64_seqcst(&d->body->changes); /* E2 */
    if (!(changes & 1))
        err = glance(d, key, changes, out);
    if (!is_still(d, changes))
        err = EAGAIN;
    plait__glance_end(glancing);
    return err;
}
