/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * All that a dict has is guarded by a read-write lock: readers write nothing but what says that they read, in memory of their own, so they do not
 * disturb each other, and a dead reader is forgotten. A dead writer is found by the next who comes, reader or writer: that one gets the lock
 * for writing, repairs (dict_table.c), and goes on as what it came as. E1: the lock orders everything, but for a glance: short values
 * of a shared dict are mostly found without it (dict_glance.c).
 *
 * A call on the way into the lock waits as plait_rwlock does, for as long as it takes: the caller's cancel token ends it, unless
 * the call has no way to say so (contains, len).
 *
 * A function that is called under the lock cannot change what is looked at: the lock answers EDEADLK to who holds it. It has changed nothing
 * of the dict when it is killed, so the repair that follows finds nothing in hand.
 */
#include "queue/dict.h"

#include <errno.h>
#include <stdlib.h>

#include <plait/cancel.h>

#include "base/atomic.h"
#include "queue/guard.h"

#define VALUE_MAX ((uint64_t)1 << 40)

/* ---- The lock ---- */

int plait__dict_lock_write(struct plait_dict *d)
{
    int err = plait__guard_write(&d->body->lock, plait__dict_repair, d);

    if (err == 0)
        plait__dict_change_begins(d);
    return err;
}

int plait__dict_lock_read(struct plait_dict *d)
{
    return plait__guard_read(&d->body->lock, plait__dict_repair, d);
}

int plait__dict_lock_always(struct plait_dict *d, int (*lock)(struct plait_dict *d))
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int err = lock(d);

    plait_cancel_bind(token);
    return err;
}

void plait__dict_unlock(struct plait_dict *d)
{
    if (load64_relaxed(&d->body->changes) & 1) /* relaxed: under lock; odd: the caller has it for writing */
        plait__dict_change_ends(d);
    plait_rwlock_release(&d->body->lock);
}

/* ---- Keys and values ---- */

static int make_key(const struct plait_dict *d, const void *bytes, size_t size, struct plait__dict_key *key_out)
{
    if (size > UINT32_MAX)
        return EINVAL;
    *key_out = (struct plait__dict_key){ size ? bytes : "", (uint32_t)size, plait__dict_hash(d, bytes, size) };
    return 0;
}

static inline int copy_bytes_out(const void *bytes, uint64_t size, void *value, size_t room, size_t *size_out)
{
    if (size_out)
        *size_out = size;
    if (size_out ? size > room : size != room)
        return EMSGSIZE;
    if (size == sizeof(uint64_t))
        memcpy(value, bytes, sizeof(uint64_t));
    else if (size)
        memcpy(value, bytes, size);
    return 0;
}

static int copy_out(const struct plait__dict_entry *e, void *value, size_t room, size_t *size_out)
{
    struct plait__dict_pair pair;

    if (!e)
        return ENOENT;
    pair = plait__dict_pair_of(e);
    return copy_bytes_out(pair.value, pair.value_size, value, room, size_out);
}

/* Lock and find. With 0, the caller unlocks. */
static inline int find(struct plait_dict *d, int (*lock)(struct plait_dict *d), const struct plait__dict_key *key,
                       struct plait__dict_found *found_out)
{
    int err = lock(d);

    if (err)
        return err;
    err = plait__dict_find(d, key, found_out);
    if (err)
        plait__dict_unlock(d);
    return err;
}

static inline int find_to_read(struct plait_dict *d, const struct plait__dict_key *key, struct plait__dict_found *found_out)
{
    return find(d, plait__dict_lock_read, key, found_out);
}

static inline int find_to_write(struct plait_dict *d, const void *key, size_t key_size, struct plait__dict_key *key_out,
                                struct plait__dict_found *found_out)
{
    int err = make_key(d, key, key_size, key_out);

    return err ? err : find(d, plait__dict_lock_write, key_out, found_out);
}

static uint64_t version_of(const struct plait__dict_entry *e)
{
    return e ? e->version : 0;
}

/* ---- Reading ---- */

static __attribute__((noinline)) int get_locked(struct plait_dict *d, const struct plait__dict_key *key, void *value, size_t room,
                                                size_t *size_out, uint64_t *version_out)
{
    struct plait__dict_found found;
    int err = find_to_read(d, key, &found);

    if (err)
        return err;
    err = copy_out(found.entry, value, room, size_out);
    if (version_out)
        *version_out = version_of(found.entry);
    plait__dict_unlock(d);
    return err;
}

/* version_out: NULL: not wanted. */
static inline int get(struct plait_dict *d, const void *key, size_t key_size, void *value, size_t room,
                      size_t *size_out, uint64_t *version_out)
{
    struct plait__dict_glance seen;
    struct plait__dict_key k;
    int err = make_key(d, key, key_size, &k);

    if (err)
        return err;
    err = plait__dict_glance(d, &k, &seen);
    if (err == EAGAIN)
        return get_locked(d, &k, value, room, size_out, version_out);
    if (version_out)
        *version_out = err ? 0 : seen.version;
    return err ? err : copy_bytes_out(seen.words, seen.size, value, room, size_out);
}

int plait_dict_get_version(plait_dict_t *d, const void *key, size_t key_size, void *value, size_t room,
                           size_t *size_out, uint64_t *version_out)
{
    return get(d, key, key_size, value, room, size_out, version_out);
}

int plait_dict_get(plait_dict_t *d, const void *key, size_t key_size, void *value, size_t room, size_t *size_out)
{
    return get(d, key, key_size, value, room, size_out, NULL);
}

int plait_dict_get_copy(plait_dict_t *d, const void *key, size_t key_size, void **value_out, size_t *size_out)
{
    struct plait__dict_found found;
    struct plait__dict_key k;
    char *copy = NULL;
    size_t size, room;
    int err = make_key(d, key, key_size, &k);

    *value_out = NULL;
    if (!err)
        err = find_to_read(d, &k, &found);
    if (err)
        return err;
    if (found.entry) {
        room = plait__dict_pair_of(found.entry).value_size;
        copy = malloc(room + 1);
        err = copy ? copy_out(found.entry, copy, room, size_out ? size_out : &size) : ENOMEM;
        if (copy)
            copy[room] = 0;
    } else {
        err = ENOENT;
    }
    plait__dict_unlock(d);
    *value_out = copy;
    return err;
}

static bool contains_locked(struct plait_dict *d, const struct plait__dict_key *key)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    struct plait__dict_found found;
    bool contains = false;

    if (find_to_read(d, key, &found) == 0) {
        contains = found.entry != NULL;
        plait__dict_unlock(d);
    }
    plait_cancel_bind(token);
    return contains;
}

bool plait_dict_contains(plait_dict_t *d, const void *key, size_t key_size)
{
    struct plait__dict_glance seen;
    struct plait__dict_key k;
    int err;

    if (make_key(d, key, key_size, &k) != 0)
        return false;
    err = plait__dict_glance(d, &k, &seen);
    return err == EAGAIN ? contains_locked(d, &k) : err == 0;
}

size_t plait_dict_len(plait_dict_t *d)
{
    int err = plait__dict_lock_always(d, plait__dict_lock_read); /* a dead writer may not have come to count */
    size_t count = d->body->count;

    if (err == 0)
        plait__dict_unlock(d);
    return count;
}

/* ---- Changing ---- */

int plait_dict_set(plait_dict_t *d, const void *key, size_t key_size, const void *value, size_t value_size)
{
    struct plait__dict_found found;
    struct plait__dict_key k;
    int err = value_size > VALUE_MAX ? EINVAL : find_to_write(d, key, key_size, &k, &found);

    if (err)
        return err;
    err = plait__dict_set(d, &k, &found, value, value_size, NULL);
    plait__dict_unlock(d);
    return err;
}

int plait_dict_delete(plait_dict_t *d, const void *key, size_t key_size)
{
    struct plait__dict_found found;
    struct plait__dict_key k;
    int err = find_to_write(d, key, key_size, &k, &found);

    if (err)
        return err;
    if (found.entry)
        plait__dict_remove(d, &found);
    plait__dict_unlock(d);
    return found.entry ? 0 : ENOENT;
}

int plait_dict_pop(plait_dict_t *d, const void *key, size_t key_size, void *value, size_t room, size_t *size_out)
{
    struct plait__dict_found found;
    struct plait__dict_key k;
    int err = find_to_write(d, key, key_size, &k, &found);

    if (err)
        return err;
    err = copy_out(found.entry, value, room, size_out);
    if (err == 0)
        plait__dict_remove(d, &found);
    plait__dict_unlock(d);
    return err;
}

/* Of what is set if nothing is there, and given out then. */
static int set_and_copy(struct plait_dict *d, const struct plait__dict_key *k, struct plait__dict_found *found,
                        const void *initial, size_t initial_size)
{
    int err = plait__dict_set(d, k, found, initial, initial_size, NULL);

    return err ? err : plait__dict_find(d, k, found);
}

int plait_dict_setdefault(plait_dict_t *d, const void *key, size_t key_size, const void *initial, size_t initial_size,
                          void *value, size_t room, size_t *size_out)
{
    struct plait__dict_found found;
    struct plait__dict_key k;
    int err = get(d, key, key_size, value, room, size_out, NULL); /* mostly it is there */

    if (err != ENOENT)
        return err;
    err = initial_size > VALUE_MAX ? EINVAL : find_to_write(d, key, key_size, &k, &found);
    if (err)
        return err;
    if (!found.entry)
        err = set_and_copy(d, &k, &found, initial, initial_size);
    if (err == 0)
        err = copy_out(found.entry, value, room, size_out);
    plait__dict_unlock(d);
    return err;
}

int plait_dict_update(plait_dict_t *d, const struct plait_dict_item *items, size_t count, size_t *done_out)
{
    size_t done = 0;
    int err = plait__dict_lock_write(d);

    if (done_out)
        *done_out = 0;
    if (err)
        return err;
    for (; done < count; done++) {
        const struct plait_dict_item *item = &items[done];
        struct plait__dict_found found;
        struct plait__dict_key k;

        err = item->value_size > VALUE_MAX ? EINVAL : make_key(d, item->key, item->key_size, &k);
        if (!err)
            err = plait__dict_find(d, &k, &found);
        if (!err)
            err = plait__dict_set(d, &k, &found, item->value, item->value_size, NULL);
        if (err)
            break;
    }
    plait__dict_unlock(d);
    if (done_out)
        *done_out = done;
    return err;
}

int plait_dict_clear(plait_dict_t *d)
{
    int err = plait__dict_lock_write(d);

    if (err)
        return err;
    err = plait__dict_clear(d);
    plait__dict_unlock(d);
    return err;
}

/* ---- Read, then write ---- */

/* What the function has decided. */
static int make_change(struct plait_dict *d, const struct plait__dict_key *k, const struct plait__dict_found *found,
                       const struct plait_dict_change *change)
{
    if (change->new_value == change->value && (!change->value || change->new_size == change->value_size))
        return 0;
    if (!change->new_value) {
        plait__dict_remove(d, found);
        return 0;
    }
    if (change->new_size > VALUE_MAX)
        return EINVAL;
    return plait__dict_set(d, k, found, change->new_value, change->new_size, NULL);
}

int plait_dict_modify(plait_dict_t *d, const void *key, size_t key_size,
                      int (*function)(struct plait_dict_change *change, void *arg), void *arg)
{
    struct plait_dict_change change = { .key = key, .key_size = key_size };
    struct plait__dict_found found;
    struct plait__dict_key k;
    int err = find_to_write(d, key, key_size, &k, &found);

    if (err)
        return err;
    if (found.entry) {
        struct plait__dict_pair pair = plait__dict_pair_of(found.entry);

        change.value = change.new_value = pair.value;
        change.value_size = change.new_size = pair.value_size;
    }
    err = function(&change, arg);
    if (err == 0)
        err = make_change(d, &k, &found, &change);
    plait__dict_unlock(d);
    return err;
}

struct sum {
    int64_t summand, sum;
};

static int add(struct plait_dict_change *change, void *arg)
{
    struct sum *s = arg;
    int64_t value = 0;

    if (change->value) {
        if (change->value_size != sizeof value)
            return EINVAL;
        memcpy(&value, change->value, sizeof value);
    }
    if (__builtin_add_overflow(value, s->summand, &s->sum))
        return EOVERFLOW;
    change->new_value = &s->sum;
    change->new_size = sizeof s->sum;
    return 0;
}

int plait_dict_add(plait_dict_t *d, const void *key, size_t key_size, int64_t summand, int64_t *sum_out)
{
    struct sum s = { summand, 0 };
    int err = plait_dict_modify(d, key, key_size, add, &s);

    if (err == 0 && sum_out)
        *sum_out = s.sum;
    return err;
}

int plait_dict_compare_set(plait_dict_t *d, const void *key, size_t key_size, uint64_t version, const void *value,
                           size_t value_size, uint64_t *version_out)
{
    struct plait__dict_found found;
    struct plait__dict_key k;
    int err = value_size > VALUE_MAX ? EINVAL : find_to_write(d, key, key_size, &k, &found);

    if (err)
        return err;
    err = version_of(found.entry) == version ? plait__dict_set(d, &k, &found, value, value_size, version_out) : EAGAIN;
    plait__dict_unlock(d);
    return err;
}

int plait_dict_compare_delete(plait_dict_t *d, const void *key, size_t key_size, uint64_t version)
{
    struct plait__dict_found found;
    struct plait__dict_key k;
    int err = find_to_write(d, key, key_size, &k, &found);

    if (err)
        return err;
    if (!found.entry || found.entry->version != version)
        err = EAGAIN;
    else
        plait__dict_remove(d, &found);
    plait__dict_unlock(d);
    return err;
}

/* ---- All of it ---- */

static struct plait_dict_item item_of(const struct plait__dict_entry *e)
{
    struct plait__dict_pair pair = plait__dict_pair_of(e);

    return (struct plait_dict_item){ .key = pair.key, .key_size = pair.key_size,
                                     .value = pair.value, .value_size = pair.value_size,
                                     .version = e->version, .number = e->number };
}

int plait_dict_for_each(plait_dict_t *d, int (*function)(const struct plait_dict_item *item, void *arg), void *arg)
{
    struct plait__dict_walk walk = { 0 };
    struct plait__dict_entry *e = NULL;
    int err = plait__dict_lock_read(d);

    if (err)
        return err;
    while (!err && (err = plait__dict_next(d, &walk, &e)) == 0 && e) {
        struct plait_dict_item item = item_of(e);

        err = function(&item, arg);
    }
    plait__dict_unlock(d);
    return err;
}

/* A copy of it all, with or without values: how much there is, and where the next goes. */
struct copies {
    bool values;
    size_t count, bytes;
    struct plait_dict_item *items;
    char *at;
};

static int reckon(const struct plait_dict_item *item, void *arg)
{
    struct copies *c = arg;

    c->count++;
    c->bytes += item->key_size + 1 + (c->values ? item->value_size + 1 : 0);
    return 0;
}

static const char *copy_bytes(struct copies *c, const void *bytes, size_t size)
{
    char *copy = c->at;

    memcpy(copy, bytes, size);
    copy[size] = 0;
    c->at += size + 1;
    return copy;
}

static int copy_item(const struct plait_dict_item *item, void *arg)
{
    struct copies *c = arg;
    struct plait_dict_item *copy = &c->items[c->count++];

    *copy = *item;
    copy->key = copy_bytes(c, item->key, item->key_size);
    if (c->values) {
        copy->value = copy_bytes(c, item->value, item->value_size);
    } else {
        copy->value = NULL;
        copy->value_size = 0;
    }
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const struct plait_dict_item *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

/* Read twice in one hold of the lock, so the second time finds what the first has reckoned. */
static int copy_all(struct plait_dict *d, struct copies *c)
{
    int err = plait_dict_for_each(d, reckon, c);

    if (err || c->count == 0)
        return err;
    c->items = malloc(c->count * sizeof *c->items + c->bytes);
    if (!c->items)
        return ENOMEM;
    c->at = (char *)(c->items + c->count);
    c->count = 0;
    return plait_dict_for_each(d, copy_item, c);
}

static int all(struct plait_dict *d, bool values, struct plait_dict_item **items_out, size_t *count_out)
{
    struct copies c = { .values = values };
    int err = plait__dict_lock_read(d);

    *items_out = NULL;
    *count_out = 0;
    if (err)
        return err;
    err = copy_all(d, &c);
    plait__dict_unlock(d);
    if (err) {
        free(c.items);
        return err;
    }
    if (c.count)
        qsort(c.items, c.count, sizeof *c.items, by_number);
    *items_out = c.items;
    *count_out = c.count;
    return 0;
}

int plait_dict_items(plait_dict_t *d, struct plait_dict_item **items_out, size_t *count_out)
{
    return all(d, true, items_out, count_out);
}

int plait_dict_keys(plait_dict_t *d, struct plait_dict_item **items_out, size_t *count_out)
{
    return all(d, false, items_out, count_out);
}
