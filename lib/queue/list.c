/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * All that a list has is guarded by a read-write lock, as with a dict: readers write nothing that others read, a dead reader is forgotten, and
 * whoever finds a dead writer repairs (guard.h, list_row.c). E1: the lock orders everything.
 *
 * A function that is called under the lock cannot change what is looked at: the lock answers EDEADLK to who holds it. It has changed nothing
 * of the list when it is killed, so the repair that follows finds nothing in hand.
 */
#include "queue/list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <plait/cancel.h>

#include "queue/guard.h"

#define ITEM_MAX ((uint64_t)1 << 40)

/* ---- The lock ---- */

int plait__list_lock_write(struct plait_list *l)
{
    return plait__guard_write(&l->body->lock, plait__list_repair, l);
}

int plait__list_lock_read(struct plait_list *l)
{
    return plait__guard_read(&l->body->lock, plait__list_repair, l);
}

int plait__list_lock_always(struct plait_list *l, int (*lock)(struct plait_list *l))
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int err = lock(l);

    plait_cancel_bind(token);
    return err;
}

void plait__list_unlock(struct plait_list *l)
{
    plait_rwlock_release(&l->body->lock);
}

/* ---- Items ---- */

/* Where an index is, of so many. False: nowhere. */
static bool find(int64_t index, uint64_t count, uint64_t *at_out)
{
    *at_out = (uint64_t)index + (index < 0 ? count : 0);
    return *at_out < count;
}

/* The nearest place to insert. */
static uint64_t near(int64_t index, uint64_t count)
{
    uint64_t at;

    if (index < 0)
        return find(index, count, &at) ? at : 0;
    return (uint64_t)index < count ? (uint64_t)index : count;
}

/* Lock, and look at the row. With 0, the caller unlocks. */
static inline int enter(struct plait_list *l, int (*lock)(struct plait_list *l), const uint64_t **places_out)
{
    int err = lock(l);

    if (err)
        return err;
    *places_out = plait__list_places(l);
    if (*places_out)
        return 0;
    plait__list_unlock(l);
    return EBADMSG;
}

/* The same, and find the item. */
static inline int enter_at(struct plait_list *l, int (*lock)(struct plait_list *l), int64_t index, uint64_t *at_out,
                           const struct plait__list_entry **entry_out)
{
    const uint64_t *places;
    int err = enter(l, lock, &places);

    if (err)
        return err;
    if (!find(index, l->body->count, at_out))
        err = ENOENT;
    else if (!(*entry_out = plait__list_entry(l, places[*at_out])))
        err = EBADMSG;
    if (err)
        plait__list_unlock(l);
    return err;
}

static int copy_out(const struct plait__list_entry *e, void *bytes, size_t room, size_t *size_out)
{
    if (size_out)
        *size_out = e->size;
    if (size_out ? e->size > room : e->size != room)
        return EMSGSIZE;
    if (e->size)
        memcpy(bytes, e->bytes, e->size);
    return 0;
}

/* ---- Reading ---- */

int plait_list_get(plait_list_t *l, int64_t index, void *bytes, size_t room, size_t *size_out)
{
    const struct plait__list_entry *e;
    uint64_t at;
    int err = enter_at(l, plait__list_lock_read, index, &at, &e);

    if (err)
        return err;
    err = copy_out(e, bytes, room, size_out);
    plait__list_unlock(l);
    return err;
}

int plait_list_get_copy(plait_list_t *l, int64_t index, void **bytes_out, size_t *size_out)
{
    const struct plait__list_entry *e;
    uint64_t at;
    char *copy;
    int err = enter_at(l, plait__list_lock_read, index, &at, &e);

    *bytes_out = NULL;
    if (err)
        return err;
    copy = malloc(e->size + 1);
    if (copy) {
        memcpy(copy, e->bytes, e->size);
        copy[e->size] = 0;
        if (size_out)
            *size_out = e->size;
    }
    plait__list_unlock(l);
    *bytes_out = copy;
    return copy ? 0 : ENOMEM;
}

/* With the lock held. ENOENT; EBADMSG. */
static int search(const struct plait_list *l, const uint64_t *places, uint64_t from, const void *bytes, size_t size,
                  uint64_t *at_out)
{
    for (uint64_t at = from; at < l->body->count; at++) {
        const struct plait__list_entry *e = plait__list_entry(l, places[at]);

        if (!e)
            return EBADMSG;
        if (e->size == size && (size == 0 || memcmp(e->bytes, bytes, size) == 0)) {
            *at_out = at;
            return 0;
        }
    }
    return ENOENT;
}

int plait_list_index(plait_list_t *l, const void *bytes, size_t size, int64_t start, size_t *index_out)
{
    const uint64_t *places;
    uint64_t at;
    int err = enter(l, plait__list_lock_read, &places);

    if (err)
        return err;
    err = search(l, places, near(start, l->body->count), bytes, size, &at);
    if (err == 0 && index_out)
        *index_out = at;
    plait__list_unlock(l);
    return err;
}

int plait_list_count(plait_list_t *l, const void *bytes, size_t size, size_t *count_out)
{
    const uint64_t *places;
    uint64_t at = 0;
    size_t count = 0;
    int err = enter(l, plait__list_lock_read, &places);

    *count_out = 0;
    if (err)
        return err;
    while ((err = search(l, places, at, bytes, size, &at)) == 0) {
        count++;
        at++;
    }
    plait__list_unlock(l);
    if (err != ENOENT)
        return err;
    *count_out = count;
    return 0;
}

bool plait_list_contains(plait_list_t *l, const void *bytes, size_t size)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    bool contains = plait_list_index(l, bytes, size, 0, NULL) == 0;

    plait_cancel_bind(token);
    return contains;
}

size_t plait_list_len(plait_list_t *l)
{
    int err = plait__list_lock_always(l, plait__list_lock_read); /* a dead writer may not have come to count */
    size_t count = l->body->count;

    if (err == 0)
        plait__list_unlock(l);
    return count;
}

/* ---- Changing ---- */

int plait_list_insert(plait_list_t *l, int64_t index, const void *bytes, size_t size)
{
    const uint64_t *places;
    int err = size > ITEM_MAX ? EINVAL : enter(l, plait__list_lock_write, &places);

    if (err)
        return err;
    err = plait__list_insert(l, near(index, l->body->count), bytes, size);
    plait__list_unlock(l);
    return err;
}

int plait_list_append(plait_list_t *l, const void *bytes, size_t size)
{
    return plait_list_insert(l, INT64_MAX, bytes, size);
}

int plait_list_extend(plait_list_t *l, const struct plait_list_item *items, size_t count, size_t *done_out)
{
    const uint64_t *places;
    size_t done = 0;
    int err = enter(l, plait__list_lock_write, &places);

    if (done_out)
        *done_out = 0;
    if (err)
        return err;
    for (; done < count && err == 0; done += err == 0)
        err = items[done].size > ITEM_MAX ? EINVAL
                                          : plait__list_insert(l, l->body->count, items[done].bytes, items[done].size);
    plait__list_unlock(l);
    if (done_out)
        *done_out = done;
    return err;
}

int plait_list_set(plait_list_t *l, int64_t index, const void *bytes, size_t size)
{
    const struct plait__list_entry *e;
    uint64_t at;
    int err = size > ITEM_MAX ? EINVAL : enter_at(l, plait__list_lock_write, index, &at, &e);

    if (err)
        return err;
    err = plait__list_set(l, at, bytes, size);
    plait__list_unlock(l);
    return err;
}

int plait_list_delete(plait_list_t *l, int64_t index)
{
    const struct plait__list_entry *e;
    uint64_t at;
    int err = enter_at(l, plait__list_lock_write, index, &at, &e);

    if (err)
        return err;
    err = plait__list_delete(l, at);
    plait__list_unlock(l);
    return err;
}

int plait_list_pop(plait_list_t *l, int64_t index, void *bytes, size_t room, size_t *size_out)
{
    const struct plait__list_entry *e;
    uint64_t at;
    int err = enter_at(l, plait__list_lock_write, index, &at, &e);

    if (err)
        return err;
    err = copy_out(e, bytes, room, size_out);
    if (err == 0)
        err = plait__list_delete(l, at);
    plait__list_unlock(l);
    return err;
}

int plait_list_remove(plait_list_t *l, const void *bytes, size_t size)
{
    const uint64_t *places;
    uint64_t at;
    int err = enter(l, plait__list_lock_write, &places);

    if (err)
        return err;
    err = search(l, places, 0, bytes, size, &at);
    if (err == 0)
        err = plait__list_delete(l, at);
    plait__list_unlock(l);
    return err;
}

int plait_list_clear(plait_list_t *l)
{
    int err = plait__list_lock_write(l);

    if (err)
        return err;
    err = plait__list_clear(l);
    plait__list_unlock(l);
    return err;
}

/* ---- Read, then write ---- */

/* What the function has decided. */
static int make_change(struct plait_list *l, const struct plait_list_change *change)
{
    if (change->new_bytes == change->bytes && change->new_size == change->size)
        return 0;
    if (!change->new_bytes)
        return plait__list_delete(l, change->index);
    return change->new_size > ITEM_MAX ? EINVAL : plait__list_set(l, change->index, change->new_bytes, change->new_size);
}

int plait_list_modify(plait_list_t *l, int64_t index, int (*function)(struct plait_list_change *change, void *arg), void *arg)
{
    struct plait_list_change change;
    const struct plait__list_entry *e;
    uint64_t at;
    int err = enter_at(l, plait__list_lock_write, index, &at, &e);

    if (err)
        return err;
    change = (struct plait_list_change){ at, e->bytes, e->size, e->bytes, e->size };
    err = function(&change, arg);
    change.index = at;
    if (err == 0)
        err = make_change(l, &change);
    plait__list_unlock(l);
    return err;
}

/* ---- Order ---- */

struct sorting {
    const struct plait_list *l;
    int (*compare)(const struct plait_list_item *a, const struct plait_list_item *b, void *arg);
    void *arg;
};

static int by_bytes(const struct plait_list_item *a, const struct plait_list_item *b, void *unused)
{
    size_t size = a->size < b->size ? a->size : b->size;
    int order = size ? memcmp(a->bytes, b->bytes, size) : 0;

    return order ? order : (a->size > b->size) - (a->size < b->size);
}

/* Is the item at place b to come before that at a, although it is behind it? All places have been looked at. */
static bool is_before(const struct sorting *s, uint64_t b, uint64_t a)
{
    const struct plait__list_entry *first = plait__list_memory(s->l, a), *second = plait__list_memory(s->l, b);
    struct plait_list_item items[2] = { { first->bytes, first->size }, { second->bytes, second->size } };

    return s->compare(&items[1], &items[0], s->arg) < 0;
}

/* Merge two sorted pieces of `from`, [start, middle) and [middle, end), into `to`. */
static void merge(const struct sorting *s, const uint64_t *from, uint64_t *to, size_t start, size_t middle, size_t end)
{
    size_t left = start, right = middle;

    for (size_t i = start; i < end; i++)
        to[i] = left < middle && (right == end || !is_before(s, from[right], from[left])) ? from[left++] : from[right++];
}

/* `places` and `spare` have room for `count`. Returns which of them is sorted. */
static uint64_t *sort(const struct sorting *s, uint64_t *places, uint64_t *spare, size_t count)
{
    for (size_t piece = 1; piece < count; piece *= 2) {
        uint64_t *sorted = spare;

        for (size_t start = 0; start < count; start += 2 * piece) {
            size_t middle = count - start > piece ? start + piece : count;
            size_t end = count - middle > piece ? middle + piece : count;

            merge(s, places, spare, start, middle, end);
        }
        spare = places;
        places = sorted;
    }
    return places;
}

static bool are_entries(const struct plait_list *l, const uint64_t *places, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!plait__list_entry(l, places[i]))
            return false;
    return true;
}

int plait_list_sort(plait_list_t *l,
                    int (*compare)(const struct plait_list_item *a, const struct plait_list_item *b, void *arg), void *arg)
{
    struct sorting sorting = { l, compare ? compare : by_bytes, arg };
    const uint64_t *places;
    uint64_t *copies;
    size_t count;
    int err = enter(l, plait__list_lock_write, &places);

    if (err)
        return err;
    count = l->body->count;
    copies = count ? calloc(2 * count, sizeof *copies) : NULL;
    if (count && !copies)
        err = ENOMEM;
    else if (!are_entries(l, places, count))
        err = EBADMSG;
    if (err == 0 && count) {
        memcpy(copies, places, count * sizeof *copies);
        err = plait__list_reorder(l, sort(&sorting, copies, copies + count, count));
    }
    free(copies);
    plait__list_unlock(l);
    return err;
}

int plait_list_reverse(plait_list_t *l)
{
    const uint64_t *places;
    uint64_t *copies;
    size_t count;
    int err = enter(l, plait__list_lock_write, &places);

    if (err)
        return err;
    count = l->body->count;
    copies = count ? malloc(count * sizeof *copies) : NULL;
    for (size_t i = 0; copies && i < count; i++)
        copies[i] = places[count - 1 - i];
    if (count)
        err = copies ? plait__list_reorder(l, copies) : ENOMEM;
    free(copies);
    plait__list_unlock(l);
    return err;
}

/* ---- All of it ---- */

/* With the lock held: how much memory a copy takes. 0: damaged. */
static size_t size_of_copy(const struct plait_list *l, const uint64_t *places)
{
    size_t size = l->body->count * sizeof(struct plait_list_item);

    for (uint64_t i = 0; i < l->body->count; i++) {
        const struct plait__list_entry *e = plait__list_entry(l, places[i]);

        if (!e || __builtin_add_overflow(size, e->size + 1, &size))
            return 0;
    }
    return size;
}

static struct plait_list_item *copy_all(const struct plait_list *l, const uint64_t *places, size_t size)
{
    struct plait_list_item *items = malloc(size);
    char *to;

    if (!items)
        return NULL;
    to = (char *)(items + l->body->count);
    for (uint64_t i = 0; i < l->body->count; i++) {
        const struct plait__list_entry *e = plait__list_memory(l, places[i]);

        items[i] = (struct plait_list_item){ to, e->size };
        memcpy(to, e->bytes, e->size);
        to[e->size] = 0;
        to += e->size + 1;
    }
    return items;
}

int plait_list_items(plait_list_t *l, struct plait_list_item **items_out, size_t *count_out)
{
    const uint64_t *places;
    size_t size;
    int err = enter(l, plait__list_lock_read, &places);

    *items_out = NULL;
    *count_out = 0;
    if (err)
        return err;
    if (l->body->count) {
        size = size_of_copy(l, places);
        *items_out = size ? copy_all(l, places, size) : NULL;
        err = size ? *items_out ? 0 : ENOMEM : EBADMSG;
        *count_out = err ? 0 : l->body->count;
    }
    plait__list_unlock(l);
    return err;
}

int plait_list_for_each(plait_list_t *l, int (*function)(const struct plait_list_item *item, void *arg), void *arg)
{
    const uint64_t *places;
    int err = enter(l, plait__list_lock_read, &places);

    if (err)
        return err;
    for (uint64_t i = 0; i < l->body->count && err == 0; i++) {
        const struct plait__list_entry *e = plait__list_entry(l, places[i]);
        struct plait_list_item item;

        if (!e) {
            err = EBADMSG;
            break;
        }
        item = (struct plait_list_item){ e->bytes, e->size };
        err = function(&item, arg);
    }
    plait__list_unlock(l);
    return err;
}
