/* SPDX-License-Identifier: MIT */
/* Array, value, dict, list. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz/fuzz.h"

enum { NUMBERS, CELLS, VALUE, CELL = 24 };

static int note(unsigned number, plait_ref_t ref)
{
    void *body;
    int err = plait_ref_open(ref, &body);

    if (err == 0)
        remember(number, body);
    return err;
}

/* ---- Array and value ---------------------------------------------------------------------- */

static int make_array(unsigned number, struct plait_array_opts opts)
{
    plait_array_t *a;
    plait_ref_t ref;
    int err;

    opts.arena = arena;
    err = plait_array_new(&a, &opts);
    if (err)
        return err;
    err = plait_array_ref(a, &ref) || note(number, ref);
    plait_array_free(a);
    return err;
}

static int make_cells(void)
{
    return make_array(NUMBERS, (struct plait_array_opts){ .count = 20, .type = PLAIT_INT32 }) ||
           make_array(CELLS, (struct plait_array_opts){ .count = 9, .type = PLAIT_BYTES, .item_size = CELL }) ||
           make_array(VALUE, (struct plait_array_opts){ .count = 1, .type = PLAIT_DOUBLE });
}

static void spoil_cells(void)
{
    plait_array_t *a;

    for (unsigned i = 0; i < 2; i++)
        if (plait_array_open(&a, ref_to(i)) == 0)
            plait_array_lock(a, PLAIT_FOREVER);
}

static int change_cell(void *cell, void *size)
{
    memset(cell, 7, *(size_t *)size);
    return 0;
}

static void use_array(plait_array_t *a)
{
    size_t size = plait_array_item_size(a), length = plait_array_len(a), last = length - 1;
    char cells[20 * CELL] = { 0 };

    if (size > CELL) { /* as any careful user looks */
        CALL(plait_array_free(a));
        return;
    }
    moment();
    CALL(plait_array_get(a, last, cells));
    CALL(plait_array_set(a, 0, cells));
    CALL(plait_array_get_many(a, 0, length < 20 ? length : 20, cells));
    CALL(plait_array_set_many(a, 0, length < 20 ? length : 20, cells));
    moment();
    CALL(plait_array_fill(a, 0, length, cells));
    CALL(plait_array_modify(a, last, change_cell, &size));
    if (plait_array_type(a) < PLAIT_DOUBLE) {
        int64_t old, expected = 0;

        CALL(plait_array_add(a, last, 1, &old));
        CALL(plait_array_exchange(a, last, 1, &old));
        LOOK(plait_array_compare_exchange(a, last, &expected, 1));
    } else if (plait_array_type(a) < PLAIT_BYTES) {
        CALL(plait_array_set_double(a, last, 1));
    }
    if (CALL(plait_array_lock(a, soon())) == EOWNERDEAD)
        CALL(plait_array_consistent(a));
    CALL(plait_array_set(a, 0, cells));
    CALL(plait_array_unlock(a));
    if (choice(2) || CALL(plait_array_destroy(a)))
        CALL(plait_array_free(a));
}

static void open_array(unsigned number)
{
    plait_array_t *a;

    if (CALL(plait_array_open(&a, ref_to(number))) == 0)
        use_array(a);
}

static void step_numbers(void)
{
    open_array(NUMBERS);
}

static void step_cells(void)
{
    open_array(CELLS);
}

static void step_value(void)
{
    plait_value_t *v;

    if (CALL(plait_value_open(&v, ref_to(VALUE))) == 0)
        use_array(v);
}

const struct scene cell_scene = { "cells", make_cells, spoil_cells, { step_numbers, step_cells, step_value } };

/* ---- Dict --------------------------------------------------------------------------------- */

static int set_keys(plait_dict_t *dict, int from, int to)
{
    char key[32], value[300] = "value";
    int err = 0;

    for (int i = from; err == 0 && i < to; i++) {
        int size = snprintf(key, sizeof key, "key %d", i);

        err = CALL(plait_dict_set(dict, key, (size_t)size, value, (size_t)(i * 37 % 300)));
    }
    return err;
}

static int make_dict(void)
{
    plait_dict_t *dict;
    plait_ref_t ref;
    int err = plait_dict_new(&dict, &(struct plait_dict_opts){ .arena = arena, .name = "dict" });

    if (err)
        return err;
    err = set_keys(dict, 0, 70) || plait_dict_ref(dict, &ref) || note(0, ref);
    plait_dict_free(dict);
    return err;
}

/* In the middle of a change, with the lock for writing. */
static int die(struct plait_dict_change *change, void *unused)
{
    change->new_value = "new";
    change->new_size = 3;
    plait_sleep(0);
    raise(SIGKILL);
    return 0;
}

static void spoil_dict(void)
{
    plait_dict_t *dict;

    if (plait_dict_open(&dict, ref_to(0)) == 0)
        plait_dict_modify(dict, "key 5", 5, die, NULL);
}

static int change_value(struct plait_dict_change *change, void *unused)
{
    volatile const char *value = change->value;

    for (size_t i = 0; value && i < change->value_size; i++)
        (void)value[i];
    change->new_value = "new";
    change->new_size = 3;
    return 0;
}

static int see_item(const struct plait_dict_item *item, void *sum)
{
    for (size_t i = 0; i < item->key_size; i++)
        *(unsigned *)sum += ((const unsigned char *)item->key)[i];
    for (size_t i = 0; i < item->value_size; i++)
        *(unsigned *)sum += ((const unsigned char *)item->value)[i];
    return 0;
}

static void read_dict(plait_dict_t *dict)
{
    struct plait_dict_item *items = NULL;
    char key[32], value[400];
    unsigned sum = 0;
    void *copy = NULL;
    size_t size, count;

    for (unsigned i = 0; i < 6; i++) {
        size_t length = (size_t)snprintf(key, sizeof key, "key %u", choice(75));

        CALL(plait_dict_get(dict, key, length, value, sizeof value, &size));
        if (CALL(plait_dict_get_copy(dict, key, length, &copy, &size)) == 0)
            free(copy);
        LOOK(plait_dict_contains(dict, key, length));
    }
    CALL(plait_dict_for_each(dict, see_item, &sum));
    if (CALL(plait_dict_items(dict, &items, &count)) == 0)
        free(items);
    if (CALL(plait_dict_keys(dict, &items, &count)) == 0)
        free(items);
    LOOK(plait_dict_len(dict));
}

static void write_dict(plait_dict_t *dict)
{
    char key[32], value[400];
    uint64_t version = 0;
    int64_t sum;
    size_t size;

    set_keys(dict, 60, 60 + (int)choice(80));
    moment();
    for (unsigned i = 0; i < 8; i++) {
        size_t length = (size_t)snprintf(key, sizeof key, "key %u", choice(75));

        CALL(plait_dict_set(dict, key, length, value, i * 20));
        CALL(plait_dict_delete(dict, key, length));
        CALL(plait_dict_setdefault(dict, key, length, "d", 1, value, sizeof value, &size));
        CALL(plait_dict_modify(dict, key, length, change_value, NULL));
        CALL(plait_dict_get_version(dict, key, length, value, sizeof value, &size, &version));
        CALL(plait_dict_compare_set(dict, key, length, version, "x", 1, &version));
        CALL(plait_dict_pop(dict, key, length, value, sizeof value, &size));
    }
    CALL(plait_dict_add(dict, "sum", 3, 5, &sum));
}

static void step_read_dict(void)
{
    plait_dict_t *dict;

    if (CALL(plait_dict_lookup(&dict, arena, "dict")))
        return;
    moment();
    read_dict(dict);
    CALL(plait_dict_free(dict));
}

static void step_write_dict(void)
{
    plait_dict_t *dict;

    if (CALL(plait_dict_open(&dict, ref_to(0))))
        return;
    moment();
    write_dict(dict);
    read_dict(dict);
    if (choice(2))
        CALL(plait_dict_clear(dict));
    CALL(plait_dict_free(dict));
}

static void step_end_dict(void)
{
    plait_dict_t *dict;

    if (choice(3) == 0 && CALL(plait_dict_open(&dict, ref_to(0))) == 0 && CALL(plait_dict_destroy(dict)))
        CALL(plait_dict_free(dict));
}

const struct scene dict_scene = { "dict", make_dict, spoil_dict, { step_read_dict, step_write_dict, step_end_dict } };

/* ---- List --------------------------------------------------------------------------------- */

static int append(plait_list_t *list, unsigned count)
{
    char bytes[200] = "bytes";
    int err = 0;

    for (unsigned i = 0; err == 0 && i < count; i++)
        err = CALL(plait_list_append(list, bytes, i * 37 % 200));
    return err;
}

static int make_list(void)
{
    plait_list_t *list;
    plait_ref_t ref;
    int err = plait_list_new(&list, &(struct plait_list_opts){ .arena = arena, .name = "list" });

    if (err)
        return err;
    err = append(list, 40) || plait_list_delete(list, 3) || plait_list_ref(list, &ref) || note(0, ref);
    plait_list_free(list);
    return err;
}

static int die_in_list(struct plait_list_change *change, void *unused)
{
    change->new_bytes = NULL;
    raise(SIGKILL);
    return 0;
}

static void spoil_list(void)
{
    plait_list_t *list;

    if (plait_list_open(&list, ref_to(0)) == 0)
        plait_list_modify(list, 7, die_in_list, NULL);
}

static int change_item(struct plait_list_change *change, void *unused)
{
    volatile const char *bytes = change->bytes;

    for (size_t i = 0; i < change->size; i++)
        (void)bytes[i];
    change->new_bytes = change->index % 2 ? NULL : "new";
    change->new_size = change->index % 2 ? 0 : 3;
    return 0;
}

static int by_size(const struct plait_list_item *a, const struct plait_list_item *b, void *unused)
{
    return a->size < b->size ? -1 : a->size > b->size;
}

static int see(const struct plait_list_item *item, void *sum)
{
    for (size_t i = 0; i < item->size; i++)
        *(unsigned *)sum += ((const unsigned char *)item->bytes)[i];
    return 0;
}

static void read_list(plait_list_t *list)
{
    struct plait_list_item *items = NULL;
    char bytes[300];
    unsigned sum = 0;
    void *copy = NULL;
    size_t size, index;

    for (unsigned i = 0; i < 5; i++)
        CALL(plait_list_get(list, (int64_t)choice(50) - 5, bytes, sizeof bytes, &size));
    if (CALL(plait_list_get_copy(list, 4, &copy, &size)) == 0)
        free(copy);
    CALL(plait_list_index(list, "new", 3, 0, &index));
    LOOK(plait_list_contains(list, bytes, 7));
    CALL(plait_list_for_each(list, see, &sum));
    if (CALL(plait_list_items(list, &items, &index)) == 0)
        free(items);
    LOOK(plait_list_len(list));
}

static void write_list(plait_list_t *list)
{
    char bytes[300] = "bytes";
    size_t size;

    append(list, choice(40));
    moment();
    for (unsigned i = 0; i < 4; i++) {
        CALL(plait_list_insert(list, choice(40), bytes, i * 30));
        CALL(plait_list_set(list, choice(40), bytes, i * 50));
        CALL(plait_list_delete(list, choice(40)));
        CALL(plait_list_pop(list, (int64_t)choice(40) - 1, bytes, sizeof bytes, &size));
        CALL(plait_list_modify(list, choice(40), change_item, NULL));
        CALL(plait_list_remove(list, bytes, i * 30));
    }
    moment();
    CALL(plait_list_sort(list, by_size, NULL));
    CALL(plait_list_reverse(list));
}

static void step_read_list(void)
{
    plait_list_t *list;

    if (CALL(plait_list_lookup(&list, arena, "list")))
        return;
    moment();
    read_list(list);
    CALL(plait_list_free(list));
}

static void step_write_list(void)
{
    plait_list_t *list;

    if (CALL(plait_list_open(&list, ref_to(0))))
        return;
    moment();
    write_list(list);
    read_list(list);
    if (choice(2))
        CALL(plait_list_clear(list));
    CALL(plait_list_free(list));
}

static void step_end_list(void)
{
    plait_list_t *list;

    if (choice(3) == 0 && CALL(plait_list_open(&list, ref_to(0))) == 0 && CALL(plait_list_destroy(list)))
        CALL(plait_list_free(list));
}

const struct scene list_scene = { "list", make_list, spoil_list, { step_read_list, step_write_list, step_end_list } };
