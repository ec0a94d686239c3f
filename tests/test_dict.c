/* SPDX-License-Identifier: MIT */
/* The contract of plait_dict_t, private and shared, by threads and by processes. What a dict does is compared with a plain model. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "queue/dict.h"
#include "support/child.h"
#include "support/cmocka.h"

static plait_arena_t *arena; /* of the present dict, NULL: private */

static plait_dict_t *make_in(bool shared, size_t limit)
{
    plait_dict_t *d;

    arena = NULL;
    if (shared)
        assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = limit, .participants = 64 }), 0);
    assert_int_equal(plait_dict_new(&d, &(struct plait_dict_opts){ .arena = arena }), 0);
    return d;
}

static plait_dict_t *make(bool shared)
{
    return make_in(shared, 64u << 20);
}

static size_t used(void)
{
    size_t bytes = 0;

    assert_int_equal(plait_arena_usage(arena, &bytes, NULL, NULL), 0);
    return bytes;
}

static void drop(plait_dict_t *d)
{
    char text[200];

    assert_int_equal(plait_dict_destroy(d), 0);
    if (arena) {
        if (plait_arena_check(arena, text, sizeof text) != 0)
            fail_msg("arena: %s", text);
        assert_int_equal(used(), 0);
        assert_int_equal(plait_arena_free(arena), 0);
    }
    arena = NULL;
}

/* Each case twice. */
#define IN_BOTH(name) \
    static void name##_in(bool shared); \
    static void name(void **state) \
    { \
        name##_in(false); \
        name##_in(true); \
    } \
    static void name##_in(bool shared)

static int set_number(plait_dict_t *d, const char *key, int64_t number)
{
    return plait_dict_set(d, PLAIT_TEXT(key), &number, sizeof number);
}

/* -1: there is none. */
static int64_t number_of(plait_dict_t *d, const char *key)
{
    int64_t number = -2;
    int err = plait_dict_get(d, PLAIT_TEXT(key), &number, sizeof number, NULL);

    return err == ENOENT ? -1 : err ? -1000 - err : number;
}

/* ---- One key ---- */

IN_BOTH(value_is_what_was_set_last)
{
    plait_dict_t *d = make(shared);

    assert_int_equal(plait_dict_len(d), 0);
    assert_int_equal(number_of(d, "a"), -1);
    assert_false(plait_dict_contains(d, PLAIT_TEXT("a")));
    assert_int_equal(set_number(d, "a", 1), 0);
    assert_int_equal(set_number(d, "b", 2), 0);
    assert_int_equal(set_number(d, "a", 3), 0);
    assert_int_equal(number_of(d, "a"), 3);
    assert_int_equal(number_of(d, "b"), 2);
    assert_true(plait_dict_contains(d, PLAIT_TEXT("a")));
    assert_int_equal(plait_dict_len(d), 2);
    assert_int_equal(plait_dict_delete(d, PLAIT_TEXT("a")), 0);
    assert_int_equal(plait_dict_delete(d, PLAIT_TEXT("a")), ENOENT);
    assert_int_equal(number_of(d, "a"), -1);
    assert_int_equal(plait_dict_len(d), 1);
    drop(d);
}

/* Lengths around words and blocks, and bytes of 0; one key may be the beginning of another. */
IN_BOTH(keys_and_values_are_bytes_of_any_length)
{
    static const size_t sizes[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 4095, 100000 };
    enum { SIZES = sizeof sizes / sizeof *sizes };
    plait_dict_t *d = make(shared);
    static char bytes[100000], got[100001];
    size_t size;

    for (int fill = 0; fill < 2; fill++) {
        memset(bytes, fill, sizeof bytes);
        for (int i = 0; i < SIZES; i++)
            assert_int_equal(plait_dict_set(d, bytes, sizes[i], bytes, sizes[SIZES - 1 - i]), 0);
    }
    assert_int_equal(plait_dict_len(d), 2 * SIZES - 1); /* nothing is nothing, whatever it is filled with */
    for (int fill = 0; fill < 2; fill++) {
        memset(bytes, fill, sizeof bytes);
        for (int i = 0; i < SIZES; i++) {
            memset(got, 'x', sizeof got);
            assert_int_equal(plait_dict_get(d, bytes, sizes[i], got, sizeof got, &size), 0);
            assert_int_equal(size, sizes[SIZES - 1 - i]);
            if (i > 0)
                assert_memory_equal(got, bytes, size);
            assert_int_equal(got[size], 'x');
        }
    }
    assert_int_equal(plait_dict_set(d, NULL, 0, NULL, 0), 0);
    assert_int_equal(plait_dict_get(d, NULL, 0, NULL, 0, NULL), 0);
    assert_int_equal(plait_dict_delete(d, NULL, 0), 0);
    assert_int_equal(plait_dict_get(d, NULL, 0, NULL, 0, NULL), ENOENT);
    drop(d);
}

/* Sizes at which what an entry looks like changes (queue/dict.h), for key and value in all combinations. */
IN_BOTH(lengths_around_those_that_are_kept_otherwise)
{
    static const size_t sizes[] = { 0, 8, 65534, 65535, 65536, 200000 };
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    plait_dict_t *d = make(shared);
    char *key = malloc(200000), *value = malloc(200000), *copy;
    struct plait_dict_item *items;
    size_t count, size;

    memset(key, 'k', 200000);
    for (int turn = 0; turn < 2; turn++)
        for (size_t v = 0; v < SIZES; v++) {
            for (size_t k = 0; k < SIZES; k++) {
                size_t value_size = sizes[(v + k) % SIZES];

                memset(value, (int)('a' + v), value_size);
                assert_int_equal(plait_dict_set(d, key, sizes[k], value, value_size), 0);
            }
            for (size_t k = 0; k < SIZES; k++) {
                size_t value_size = sizes[(v + k) % SIZES];

                assert_int_equal(plait_dict_get_copy(d, key, sizes[k], (void **)&copy, &size), 0);
                assert_int_equal(size, value_size);
                for (size_t i = 0; i < size; i++)
                    assert_int_equal(copy[i], 'a' + (int)v);
                free(copy);
            }
            assert_int_equal(plait_dict_items(d, &items, &count), 0);
            assert_int_equal(count, SIZES);
            for (size_t k = 0; k < SIZES; k++) {
                assert_int_equal(items[k].key_size, sizes[k]); /* they keep their places */
                assert_memory_equal(items[k].key, key, sizes[k]);
                assert_int_equal(items[k].value_size, sizes[(v + k) % SIZES]);
            }
            free(items);
        }
    for (size_t k = 0; k < SIZES; k++)
        assert_int_equal(plait_dict_delete(d, key, sizes[k]), 0);
    free(key);
    free(value);
    drop(d);
}

IN_BOTH(value_that_does_not_fit_is_told_and_not_copied)
{
    plait_dict_t *d = make(shared);
    char got[10] = "untouched";
    size_t size = 99;
    void *copy;

    assert_int_equal(plait_dict_set(d, PLAIT_TEXT("k"), "12345", 5), 0);
    assert_int_equal(plait_dict_get(d, PLAIT_TEXT("k"), got, 4, &size), EMSGSIZE);
    assert_int_equal(size, 5);
    assert_int_equal(plait_dict_get(d, PLAIT_TEXT("k"), NULL, 0, &size), EMSGSIZE);
    assert_int_equal(plait_dict_get(d, PLAIT_TEXT("k"), got, 4, NULL), EMSGSIZE);
    assert_int_equal(plait_dict_get(d, PLAIT_TEXT("k"), got, 6, NULL), EMSGSIZE);
    assert_int_equal(plait_dict_pop(d, PLAIT_TEXT("k"), got, 4, &size), EMSGSIZE);
    assert_string_equal(got, "untouched");
    assert_int_equal(plait_dict_get(d, PLAIT_TEXT("k"), got, 5, NULL), 0);
    assert_memory_equal(got, "12345", 5);
    assert_int_equal(plait_dict_get_copy(d, PLAIT_TEXT("k"), &copy, &size), 0);
    assert_int_equal(size, 5);
    assert_string_equal(copy, "12345");
    free(copy);
    assert_int_equal(plait_dict_get_copy(d, PLAIT_TEXT("none"), &copy, NULL), ENOENT);
    assert_null(copy);
    assert_int_equal(plait_dict_pop(d, PLAIT_TEXT("k"), got, sizeof got, &size), 0);
    assert_int_equal(size, 5);
    assert_int_equal(plait_dict_pop(d, PLAIT_TEXT("k"), got, sizeof got, &size), ENOENT);
    assert_int_equal(plait_dict_len(d), 0);
    drop(d);
}

IN_BOTH(setdefault_sets_only_what_is_missing)
{
    plait_dict_t *d = make(shared);
    int64_t value = 5;
    size_t size = 0;

    assert_int_equal(plait_dict_setdefault(d, PLAIT_TEXT("k"), &value, sizeof value, &value, sizeof value, NULL), 0);
    assert_int_equal(value, 5);
    assert_int_equal(number_of(d, "k"), 5);
    value = 7;
    assert_int_equal(plait_dict_setdefault(d, PLAIT_TEXT("k"), &value, sizeof value, &value, sizeof value, NULL), 0);
    assert_int_equal(value, 5);
    assert_int_equal(plait_dict_setdefault(d, PLAIT_TEXT("l"), "abc", 3, NULL, 0, &size), EMSGSIZE);
    assert_int_equal(size, 3);
    assert_int_equal(plait_dict_len(d), 2);
    drop(d);
}

IN_BOTH(absurd_sizes_are_refused)
{
    plait_dict_t *d = make(shared);
    char byte = 0;

    assert_int_equal(plait_dict_set(d, &byte, (size_t)UINT32_MAX + 1, &byte, 1), EINVAL);
    assert_int_equal(plait_dict_get(d, &byte, (size_t)UINT32_MAX + 1, &byte, 1, NULL), EINVAL);
    assert_int_equal(plait_dict_delete(d, &byte, (size_t)UINT32_MAX + 1), EINVAL);
    assert_false(plait_dict_contains(d, &byte, SIZE_MAX));
    assert_int_equal(plait_dict_set(d, &byte, 1, &byte, ((size_t)1 << 40) + 1), EINVAL);
    assert_int_equal(plait_dict_setdefault(d, &byte, 1, &byte, SIZE_MAX, &byte, 1, NULL), EINVAL);
    assert_int_equal(plait_dict_compare_set(d, &byte, 1, 0, &byte, SIZE_MAX, NULL), EINVAL);
    assert_int_equal(plait_dict_len(d), 0);
    drop(d);
}

/* ---- Against a model ---- */

enum { KEYS = 600, SECONDS = 30 };

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % below;
}

static int model[KEYS]; /* the seed of the value; 0: there is none */
static size_t model_count;

static size_t key_bytes(int key, char *bytes)
{
    return (size_t)sprintf(bytes, "%0*d", 1 + key % 30, key);
}

static size_t value_bytes(int seed, char *bytes)
{
    size_t size = (size_t)seed * 7 % 200;

    memset(bytes, seed, size);
    return size;
}

static void assert_key(plait_dict_t *d, int key)
{
    char bytes[40], got[300], expected[300];
    size_t key_size = key_bytes(key, bytes), size = 0, expected_size;
    int err = plait_dict_get(d, bytes, key_size, got, sizeof got, &size);

    assert_int_equal(err, model[key] ? 0 : ENOENT);
    assert_int_equal(plait_dict_contains(d, bytes, key_size), model[key] != 0);
    if (err)
        return;
    expected_size = value_bytes(model[key], expected);
    assert_int_equal(size, expected_size);
    assert_memory_equal(got, expected, size);
}

static void assert_all(plait_dict_t *d)
{
    assert_int_equal(plait_dict_len(d), model_count);
    for (int key = 0; key < KEYS; key++)
        assert_key(d, key);
}

static void change_at_random(plait_dict_t *d, bool fills)
{
    char bytes[40], value[300];
    int key = (int)draw(KEYS), seed = 1 + (int)draw(120);
    size_t key_size = key_bytes(key, bytes), value_size = value_bytes(seed, value);
    bool sets = draw(100) < (fills ? 80u : 15u);

    if (sets) {
        assert_int_equal(plait_dict_set(d, bytes, key_size, value, value_size), 0);
        model_count += !model[key];
        model[key] = seed;
    } else {
        assert_int_equal(plait_dict_delete(d, bytes, key_size), model[key] ? 0 : ENOENT);
        model_count -= model[key] != 0;
        model[key] = 0;
    }
    assert_key(d, key);
}

IN_BOTH(behaves_as_the_model)
{
    plait_dict_t *d = make(shared);

    memset(model, 0, sizeof model);
    model_count = 0;
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 500; i++)
            change_at_random(d, round % 4 < 2);
        assert_all(d);
        if (round == 8) {
            assert_int_equal(plait_dict_clear(d), 0);
            memset(model, 0, sizeof model);
            model_count = 0;
            assert_all(d);
        }
    }
    drop(d);
}

/* ---- Growth ---- */

enum { MANY = 20000 };

IN_BOTH(dict_grows_and_gives_its_memory_back)
{
    plait_dict_t *d = make(shared);
    size_t empty = shared ? used() : 0;

    for (int round = 0; round < 2; round++) {
        for (int64_t i = 0; i < MANY; i++)
            assert_int_equal(plait_dict_set(d, &i, sizeof i, &i, sizeof i), 0);
        assert_int_equal(plait_dict_len(d), MANY);
        assert_true(d->body->buckets >= MANY - 1); /* so chains are short */
        for (int64_t i = 0, got; i < MANY; i++) {
            assert_int_equal(plait_dict_get(d, &i, sizeof i, &got, sizeof got, NULL), 0);
            assert_int_equal(got, i);
        }
        if (round) {
            assert_int_equal(plait_dict_clear(d), 0);
        } else {
            for (int64_t i = 0; i < MANY; i++)
                assert_int_equal(plait_dict_delete(d, &i, sizeof i), 0);
        }
        assert_int_equal(plait_dict_len(d), 0);
        if (shared)
            assert_in_range(used(), empty, empty + 2048);
    }
    drop(d);
}

static void full_arena_changes_nothing_and_the_dict_goes_on(void **state)
{
    plait_dict_t *d = make_in(true, 1u << 20);
    char *large = calloc(1, 2u << 20);
    struct plait_dict_item items[3] = { { .key = "x", .key_size = 1, .value = "1", .value_size = 1 },
                                        { .key = "y", .key_size = 1, .value_size = 2u << 20 },
                                        { .key = "z", .key_size = 1 } };
    int64_t count = 0;
    size_t done = 99;
    int err;

    assert_non_null(large);
    items[1].value = large;
    assert_int_equal(plait_dict_set(d, PLAIT_TEXT("old"), "value", 5), 0);
    assert_int_equal(plait_dict_set(d, PLAIT_TEXT("old"), large, 2u << 20), ENOSPC);
    assert_int_equal(plait_dict_set(d, PLAIT_TEXT("new"), large, 2u << 20), ENOSPC);
    assert_int_equal(plait_dict_len(d), 1);
    assert_int_equal(plait_dict_get(d, PLAIT_TEXT("old"), large, 5, NULL), 0);
    assert_memory_equal(large, "value", 5);
    assert_int_equal(plait_dict_update(d, items, 3, &done), ENOSPC);
    assert_int_equal(done, 1);
    assert_true(plait_dict_contains(d, "x", 1));
    assert_false(plait_dict_contains(d, "z", 1));
    while ((err = plait_dict_set(d, &count, sizeof count, &count, sizeof count)) == 0)
        count++;
    assert_int_equal(err, ENOSPC);
    assert_int_equal(plait_dict_len(d), count + 2);
    for (int64_t i = 0, got; i < count; i++)
        assert_int_equal(plait_dict_get(d, &i, sizeof i, &got, sizeof got, NULL), 0);
    assert_int_equal(plait_dict_delete(d, PLAIT_TEXT("old")), 0);
    assert_int_equal(plait_dict_set(d, &count, sizeof count, &count, sizeof count), 0);
    free(large);
    drop(d);
}

/* ---- Read, then write ---- */

static int take_out(struct plait_dict_change *change, void *arg)
{
    *(size_t *)arg = change->value ? change->value_size : 99;
    change->new_value = NULL;
    return 0;
}

static int refuse(struct plait_dict_change *change, void *arg)
{
    change->new_value = NULL;
    return 4711;
}

static int look_only(struct plait_dict_change *change, void *arg)
{
    return 0;
}

/* The value with an x behind it. */
static int lengthen(struct plait_dict_change *change, void *arg)
{
    char *room = arg;

    if (change->value_size)
        memcpy(room, change->value, change->value_size);
    room[change->value_size] = 'x';
    change->new_value = room;
    change->new_size = change->value_size + 1;
    return 0;
}

/* Only the first half, which lies in what is being replaced. */
static int halve(struct plait_dict_change *change, void *arg)
{
    change->new_size /= 2;
    return 0;
}

IN_BOTH(modify_does_what_its_function_decides)
{
    plait_dict_t *d = make(shared);
    char room[20], got[20];
    size_t seen = 0, size;

    for (int i = 0; i < 4; i++)
        assert_int_equal(plait_dict_modify(d, PLAIT_TEXT("k"), lengthen, room), 0);
    assert_int_equal(plait_dict_get(d, PLAIT_TEXT("k"), got, sizeof got, &size), 0);
    assert_int_equal(size, 4);
    assert_memory_equal(got, "xxxx", 4);
    assert_int_equal(plait_dict_modify(d, PLAIT_TEXT("k"), look_only, NULL), 0);
    assert_int_equal(plait_dict_modify(d, PLAIT_TEXT("none"), look_only, NULL), 0);
    assert_int_equal(plait_dict_modify(d, PLAIT_TEXT("k"), refuse, NULL), 4711);
    assert_int_equal(plait_dict_len(d), 1);
    assert_int_equal(plait_dict_modify(d, PLAIT_TEXT("k"), halve, NULL), 0);
    assert_int_equal(plait_dict_get(d, PLAIT_TEXT("k"), got, 2, NULL), 0);
    assert_int_equal(plait_dict_modify(d, PLAIT_TEXT("k"), take_out, &seen), 0);
    assert_int_equal(seen, 2);
    assert_int_equal(plait_dict_modify(d, PLAIT_TEXT("k"), take_out, &seen), 0);
    assert_int_equal(seen, 99);
    assert_int_equal(plait_dict_len(d), 0);
    drop(d);
}

/* Everything that a function under the lock might try. */
static int use_it(struct plait_dict_change *change, void *arg)
{
    struct plait_dict_item *items;
    plait_dict_t *d = arg;
    char byte;
    size_t count;
    void *copy;

    if (plait_dict_set(d, "k", 1, "", 0) != EDEADLK || plait_dict_get(d, "k", 1, &byte, 1, NULL) != EDEADLK ||
        plait_dict_delete(d, "k", 1) != EDEADLK || plait_dict_clear(d) != EDEADLK ||
        plait_dict_update(d, NULL, 0, NULL) != EDEADLK || plait_dict_items(d, &items, &count) != EDEADLK ||
        plait_dict_get_copy(d, "k", 1, &copy, NULL) != EDEADLK || plait_dict_add(d, "k", 1, 1, NULL) != EDEADLK ||
        plait_dict_contains(d, "k", 1) || plait_dict_len(d) != 1)
        return 1;
    return arena && plait_dict_destroy(d) != EDEADLK;
}

static int read_it(const struct plait_dict_item *item, void *arg)
{
    plait_dict_t *d = arg;
    char byte;

    if (plait_dict_get(d, item->key, item->key_size, &byte, 1, NULL) != 0 || plait_dict_len(d) != 1 ||
        !plait_dict_contains(d, item->key, item->key_size))
        return 1;
    return plait_dict_set(d, "k", 1, "", 0) != EDEADLK || plait_dict_delete(d, "k", 1) != EDEADLK ||
           plait_dict_clear(d) != EDEADLK || plait_dict_setdefault(d, "l", 1, "", 0, NULL, 0, NULL) != EDEADLK;
}

IN_BOTH(function_cannot_change_the_dict_that_calls_it)
{
    plait_dict_t *d = make(shared);

    assert_int_equal(plait_dict_set(d, "k", 1, "v", 1), 0);
    assert_int_equal(plait_dict_modify(d, "k", 1, use_it, d), 0);
    assert_int_equal(plait_dict_for_each(d, read_it, d), 0);
    assert_int_equal(plait_dict_set(d, "k", 1, "w", 1), 0);
    drop(d);
}

IN_BOTH(add_counts_and_refuses_what_is_no_number)
{
    plait_dict_t *d = make(shared);
    int64_t sum = 0;

    assert_int_equal(plait_dict_add(d, PLAIT_TEXT("n"), 5, &sum), 0);
    assert_int_equal(sum, 5);
    assert_int_equal(plait_dict_add(d, PLAIT_TEXT("n"), -7, NULL), 0);
    assert_int_equal(number_of(d, "n"), -2);
    assert_int_equal(set_number(d, "n", INT64_MAX), 0);
    assert_int_equal(plait_dict_add(d, PLAIT_TEXT("n"), 1, &sum), EOVERFLOW);
    assert_int_equal(sum, 5);
    assert_int_equal(number_of(d, "n"), INT64_MAX);
    assert_int_equal(plait_dict_set(d, PLAIT_TEXT("n"), "text", 4), 0);
    assert_int_equal(plait_dict_add(d, PLAIT_TEXT("n"), 1, NULL), EINVAL);
    drop(d);
}

static int compare_hashes(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/*
 * For a hash that multiplies words by a known factor: in each pair of words a change of the first which one of the second undoes, whatever
 * the seed. Any subset of the pairs makes another key.
 */
static void keys_made_to_collide_do_not(void **state)
{
    enum { PAIRS = 13, MADE = 1 << PAIRS };
    static uint32_t hashes[MADE];
    plait_dict_t *dict;
    int distinct = 1;

    assert_int_equal(plait_dict_new(&dict, &(struct plait_dict_opts){ 0 }), 0);
    for (unsigned i = 0; i < MADE; i++) {
        uint64_t key[2 * PAIRS];

        memset(key, 'a', sizeof key);
        for (int pair = 0; pair < PAIRS; pair++)
            if (i >> pair & 1) {
                key[2 * pair] ^= (uint64_t)1 << 63;
                key[2 * pair + 1] ^= (uint64_t)1 << 63 | (uint64_t)1 << 31;
            }
        hashes[i] = plait__dict_hash(dict, key, sizeof key);
    }
    qsort(hashes, MADE, sizeof hashes[0], compare_hashes);
    for (unsigned i = 1; i < MADE; i++)
        distinct += hashes[i] != hashes[i - 1];
    assert_true(distinct > MADE * 9 / 10);
    plait_dict_free(dict);
}

IN_BOTH(version_tells_whether_a_value_is_still_that_one)
{
    plait_dict_t *d = make(shared);
    uint64_t first, second, third = 99;
    int64_t got;

    assert_int_equal(plait_dict_get_version(d, PLAIT_TEXT("k"), &got, sizeof got, NULL, &third), ENOENT);
    assert_int_equal(third, 0);
    assert_int_equal(plait_dict_compare_set(d, PLAIT_TEXT("k"), 1, "1", 1, NULL), EAGAIN);
    assert_int_equal(plait_dict_compare_set(d, PLAIT_TEXT("k"), 0, "1", 1, &first), 0);
    assert_int_equal(plait_dict_compare_set(d, PLAIT_TEXT("k"), 0, "2", 1, NULL), EAGAIN);
    assert_int_equal(plait_dict_compare_set(d, PLAIT_TEXT("k"), first, "1", 1, &second), 0);
    assert_int_not_equal(first, second);
    assert_int_equal(plait_dict_compare_set(d, PLAIT_TEXT("k"), first, "3", 1, NULL), EAGAIN);
    assert_int_equal(plait_dict_compare_delete(d, PLAIT_TEXT("k"), first), EAGAIN);
    assert_int_equal(plait_dict_get_version(d, PLAIT_TEXT("k"), &got, 1, NULL, &third), 0);
    assert_int_equal(third, second);
    assert_int_equal(plait_dict_get_version(d, PLAIT_TEXT("k"), &got, 8, NULL, &third), EMSGSIZE);
    assert_int_equal(third, second);
    assert_int_equal(plait_dict_modify(d, PLAIT_TEXT("k"), look_only, NULL), 0); /* nothing has changed */
    assert_int_equal(plait_dict_compare_delete(d, PLAIT_TEXT("k"), second), 0);
    assert_int_equal(plait_dict_compare_delete(d, PLAIT_TEXT("k"), second), EAGAIN);
    assert_int_equal(plait_dict_compare_delete(d, PLAIT_TEXT("k"), 0), EAGAIN);
    assert_int_equal(plait_dict_set(d, PLAIT_TEXT("k"), "1", 1), 0); /* the same again, and another */
    assert_int_equal(plait_dict_compare_delete(d, PLAIT_TEXT("k"), second), EAGAIN);
    drop(d);
}

/* ---- All of it ---- */

static int count_some(const struct plait_dict_item *item, void *arg)
{
    int *left = arg;

    return --*left == 0 ? 77 : 0;
}

IN_BOTH(items_come_in_the_order_in_which_the_keys_came)
{
    enum { COUNT = 300 };
    plait_dict_t *d = make(shared);
    struct plait_dict_item *items;
    char key[20], value[20];
    int left = 0;
    size_t count;

    assert_int_equal(plait_dict_items(d, &items, &count), 0);
    assert_null(items);
    assert_int_equal(count, 0);
    assert_int_equal(plait_dict_for_each(d, count_some, &left), 0);
    for (int round = 0; round < 2; round++) /* a new value does not make a key younger */
        for (int i = 0; i < COUNT; i++) {
            int number = round ? COUNT - 1 - i : i;

            sprintf(key, "key %d", number);
            sprintf(value, "%d %d", number, round);
            assert_int_equal(plait_dict_set(d, PLAIT_TEXT(key), PLAIT_TEXT(value)), 0);
        }
    assert_int_equal(plait_dict_delete(d, PLAIT_TEXT("key 0")), 0);
    assert_int_equal(plait_dict_set(d, PLAIT_TEXT("key 0"), PLAIT_TEXT("0 1")), 0); /* but this does */
    for (int values = 0; values < 2; values++) {
        assert_int_equal(values ? plait_dict_items(d, &items, &count) : plait_dict_keys(d, &items, &count), 0);
        assert_int_equal(count, COUNT);
        for (int i = 0; i < COUNT; i++) {
            sprintf(key, "key %d", (i + 1) % COUNT);
            sprintf(value, "%d 1", (i + 1) % COUNT);
            assert_int_equal(items[i].key_size, strlen(key));
            assert_string_equal(items[i].key, key);
            if (values)
                assert_string_equal(items[i].value, value);
            else
                assert_null(items[i].value);
            assert_int_equal(items[i].value_size, values ? strlen(value) : 0);
        }
        free(items);
    }
    left = 10;
    assert_int_equal(plait_dict_for_each(d, count_some, &left), 77);
    assert_int_equal(left, 0);
    left = 2 * COUNT;
    assert_int_equal(plait_dict_for_each(d, count_some, &left), 0);
    assert_int_equal(left, COUNT);
    drop(d);
}

IN_BOTH(update_sets_all_and_takes_what_items_gives)
{
    plait_dict_t *d = make(shared), *copy;
    struct plait_dict_item *items;
    size_t count, done = 0;

    assert_int_equal(set_number(d, "a", 1), 0);
    assert_int_equal(set_number(d, "b", 2), 0);
    assert_int_equal(plait_dict_new(&copy, &(struct plait_dict_opts){ .arena = arena }), 0);
    assert_int_equal(set_number(copy, "a", 7), 0);
    assert_int_equal(plait_dict_items(d, &items, &count), 0);
    assert_int_equal(plait_dict_update(copy, items, count, &done), 0);
    assert_int_equal(done, 2);
    free(items);
    assert_int_equal(number_of(copy, "a"), 1);
    assert_int_equal(number_of(copy, "b"), 2);
    assert_int_equal(plait_dict_len(copy), 2);
    assert_int_equal(plait_dict_update(copy, NULL, 0, NULL), 0);
    assert_int_equal(plait_dict_destroy(copy), 0);
    drop(d);
}

/* ---- Names, references, bad ones ---- */

static int in_another_process(void *arg)
{
    const plait_ref_t *ref = arg;
    plait_dict_t *d;

    if (plait_dict_open(&d, *ref))
        return 1;
    if (number_of(d, "parent") != 1)
        return 2;
    if (set_number(d, "child", 2))
        return 3;
    return plait_dict_free(d) ? 4 : 0;
}

static void shared_dict_is_found_by_reference_and_by_name(void **state)
{
    plait_dict_t *d, *same, *found;
    plait_ref_t ref;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 8u << 20, .participants = 64 }), 0);
    assert_int_equal(plait_dict_lookup(&found, arena, "stock"), ENOENT);
    assert_null(found);
    assert_int_equal(plait_dict_new(&d, &(struct plait_dict_opts){ .arena = arena, .name = "stock" }), 0);
    assert_int_equal(plait_dict_new(&same, &(struct plait_dict_opts){ .arena = arena, .name = "stock" }), 0);
    assert_int_equal(plait_dict_lookup(&found, arena, "stock"), 0);
    assert_int_equal(set_number(d, "parent", 1), 0);
    assert_int_equal(plait_dict_ref(same, &ref), 0);
    assert_int_equal(child_run(in_another_process, &ref), 0);
    assert_int_equal(number_of(found, "child"), 2);
    assert_int_equal(number_of(same, "child"), 2);
    assert_int_equal(plait_dict_publish(d, "stock"), EEXIST);
    assert_int_equal(plait_dict_publish(d, "again"), 0);
    assert_int_equal(plait_dict_free(found), 0);
    assert_int_equal(plait_dict_lookup(&found, arena, "again"), 0);
    assert_int_equal(plait_dict_free(found), 0);
    assert_int_equal(plait_dict_free(same), 0);
    assert_int_equal(plait_dict_destroy(d), 0);
    assert_int_equal(plait_dict_open(&found, ref), EBADMSG);
    assert_null(found);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

static void what_is_no_dict_is_refused(void **state)
{
    plait_dict_t *d, *found;
    plait_queue_t *q;
    plait_ref_t ref;
    void *memory;

    assert_int_equal(plait_dict_free(NULL), 0);
    assert_int_equal(plait_dict_destroy(NULL), 0);
    assert_int_equal(plait_dict_new(&d, &(struct plait_dict_opts){ .name = "x" }), EINVAL);
    assert_null(d);
    assert_int_equal(plait_dict_new(&d, NULL), 0);
    assert_int_equal(plait_dict_ref(d, &ref), EINVAL);
    assert_int_equal(plait_dict_publish(d, "x"), EINVAL);
    assert_int_equal(plait_dict_free(d), 0);
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 8u << 20, .participants = 64 }), 0);
    assert_int_equal(plait_queue_new(&q, &(struct plait_queue_opts){ .item_size = 8, .arena = arena, .name = "x" }), 0);
    assert_int_equal(plait_dict_new(&d, &(struct plait_dict_opts){ .arena = arena, .name = "x" }), EBADMSG);
    assert_null(d);
    assert_int_equal(plait_dict_lookup(&d, arena, "x"), EBADMSG);
    assert_int_equal(plait_arena_alloc(arena, 5000, &memory), 0);
    assert_int_equal(plait_ref_of(memory, &ref), 0);
    for (int fill = 0; fill < 256; fill += 51) {
        memset(memory, fill, 5000);
        assert_int_equal(plait_dict_open(&found, ref), EBADMSG);
    }
    assert_int_equal(plait_dict_open(&found, (plait_ref_t){ 0 }), EINVAL);
    assert_int_equal(plait_queue_destroy(q), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

/* ---- Damage ---- */

/* Everything is tried; whatever it answers, it answers. */
static int open_and_use(void *arg)
{
    plait_ref_t *ref = arg;
    struct plait_dict_item *items;
    plait_dict_t *d;
    char value[100];
    size_t size, count;
    int err, refused = 0;

    alarm(SECONDS);
    err = plait_dict_open(&d, *ref);
    if (err)
        return err == EBADMSG ? 1 : 2;
    for (int64_t i = 0; i < 60; i++) {
        refused += plait_dict_get(d, &i, sizeof i, value, sizeof value, &size) == EBADMSG;
        refused += plait_dict_set(d, &i, sizeof i, value, 40) == EBADMSG;
        refused += plait_dict_delete(d, &i, sizeof i) == EBADMSG;
    }
    if (plait_dict_items(d, &items, &count) == 0)
        free(items);
    else
        refused++;
    plait_dict_clear(d);
    return refused ? 1 : 0;
}

/* The child works on the memory that the parent has. */
static int damaged(unsigned char *byte, plait_ref_t *ref, unsigned char *image, size_t size)
{
    void *start = arena->base;
    int answer;

    memcpy(image, start, size);
    *byte ^= 0x41;
    answer = child_run(open_and_use, ref);
    memcpy(start, image, size);
    return answer;
}

static void damaged_dict_answers(void **state)
{
    static const char large[70000];
    plait_dict_t *d = make_in(true, 1u << 20);
    unsigned char *image, *body, *entry;
    struct plait__dict_found found;
    struct plait__dict_key key;
    int refused = 0;
    plait_ref_t ref;
    size_t size;

    for (int64_t i = 0; i < 40; i++)
        assert_int_equal(plait_dict_set(d, &i, sizeof i, &i, sizeof i), 0);
    assert_int_equal(plait_dict_ref(d, &ref), 0);
    assert_int_equal(plait_arena_usage(arena, NULL, &size, NULL), 0);
    image = malloc(size);
    assert_non_null(image);
    body = (unsigned char *)d->body;
    for (size_t at = 0; at < sizeof *d->body; at++) {
        if (at >= offsetof(struct plait__dict_body, lock) + offsetof(plait_rwlock_t, writer.state) &&
            at < offsetof(struct plait__dict_body, lock) + sizeof(plait_rwlock_t))
            continue; /* a lock that seems to be held is waited for */
        int answer = damaged(&body[at], &ref, image, size);

        assert_in_range(answer, 0, 1);
        refused += answer;
    }
    assert_true(refused > 50);
    key = (struct plait__dict_key){ &(int64_t){ 7 }, 8, 0 };
    key.hash = plait__dict_hash(d, key.bytes, 8);
    assert_int_equal(plait__dict_find(d, &key, &found), 0);
    entry = (unsigned char *)found.entry;
    for (size_t at = 0; at < sizeof *found.entry; at++)
        assert_in_range(damaged(&entry[at], &ref, image, size), 0, 1);
    assert_int_equal(plait_dict_set(d, key.bytes, 8, large, sizeof large), 0); /* its sizes stand elsewhere */
    assert_int_equal(plait_arena_usage(arena, NULL, &size, NULL), 0);
    image = realloc(image, size);
    assert_non_null(image);
    memcpy(image, arena->base, size);
    assert_int_equal(plait__dict_find(d, &key, &found), 0);
    entry = (unsigned char *)found.entry;
    for (size_t at = 0; at < sizeof *found.entry + sizeof(struct plait__dict_sizes); at++)
        assert_in_range(damaged(&entry[at], &ref, image, size), 0, 1);
    found.entry->next = *found.link; /* a circle */
    assert_int_equal(child_run(open_and_use, &ref), 1);
    memcpy(arena->base, image, size);
    assert_int_equal(child_run(open_and_use, &ref), 0);
    free(image);
    assert_int_equal(plait_dict_clear(d), 0);
    drop(d);
}

/* ---- Death ---- */

static int die(struct plait_dict_change *change, void *arg)
{
    raise(SIGKILL);
    return 0;
}

static int die_reading(const struct plait_dict_item *item, void *arg)
{
    raise(SIGKILL);
    return 0;
}

static int modify_and_die(void *d) { return plait_dict_modify(d, PLAIT_TEXT("k"), die, NULL); }
static int read_and_die(void *d) { return plait_dict_for_each(d, die_reading, NULL); }

static void death_in_a_function_changes_nothing_and_hinders_nobody(void **state)
{
    plait_dict_t *d = make(true);

    assert_int_equal(set_number(d, "k", 5), 0);
    assert_int_equal(child_run(modify_and_die, d), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(number_of(d, "k"), 5); /* the first who comes reads */
    assert_int_equal(child_run(modify_and_die, d), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(plait_dict_len(d), 1);
    assert_int_equal(child_run(modify_and_die, d), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(set_number(d, "k", 6), 0); /* writes */
    assert_int_equal(child_run(read_and_die, d), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(set_number(d, "k", 7), 0);
    assert_int_equal(child_run(modify_and_die, d), CHILD_SIGNALLED + SIGKILL);
    drop(d); /* destroys */
}

/* A dead writer and damage: who comes next is told, and so are all others. */
static int change_and_die(struct plait_dict_change *change, void *arg)
{
    plait_dict_t *d = arg;

    d->body->buckets = UINT32_MAX;
    raise(SIGKILL);
    return 0;
}

static int damage_and_die(void *d) { return plait_dict_modify(d, PLAIT_TEXT("k"), change_and_die, d); }

static void damage_found_after_a_death_is_told_for_good(void **state)
{
    plait_dict_t *d = make(true), *again;
    plait_ref_t ref;
    int64_t value;

    assert_int_equal(set_number(d, "k", 5), 0);
    assert_int_equal(plait_dict_ref(d, &ref), 0);
    assert_int_equal(child_run(damage_and_die, d), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(plait_dict_get(d, PLAIT_TEXT("k"), &value, sizeof value, NULL), ENOTRECOVERABLE);
    assert_int_equal(set_number(d, "k", 6), ENOTRECOVERABLE);
    assert_int_equal(plait_dict_clear(d), ENOTRECOVERABLE);
    assert_false(plait_dict_contains(d, PLAIT_TEXT("k")));
    assert_int_equal(plait_dict_open(&again, ref), EBADMSG);
    assert_int_equal(plait_dict_destroy(d), 0); /* its entries are lost */
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

/* ---- Waiting ---- */

struct held {
    plait_dict_t *d;
    plait_event_t inside, go;
};

static int stay(struct plait_dict_change *change, void *arg)
{
    struct held *h = arg;

    plait_event_set(&h->inside);
    return plait_event_wait(&h->go, plait_after(SECONDS));
}

static void *hold(void *arg)
{
    struct held *h = arg;

    plait_dict_modify(h->d, PLAIT_TEXT("k"), stay, h);
    return NULL;
}

IN_BOTH(wait_for_others_is_ended_by_the_callers_token)
{
    struct held h = { .d = make(shared) };
    plait_cancel_t token = PLAIT_CANCEL_INIT;
    pthread_t thread;
    int64_t value;

    assert_int_equal(set_number(h.d, "k", 1), 0);
    assert_int_equal(pthread_create(&thread, NULL, hold, &h), 0);
    assert_int_equal(plait_event_wait(&h.inside, plait_after(SECONDS)), 0);
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    assert_int_equal(set_number(h.d, "k", 2), ECANCELED);
    assert_int_equal(plait_dict_get(h.d, PLAIT_TEXT("k"), &value, sizeof value, NULL), ECANCELED);
    plait_event_set(&h.go);
    assert_true(plait_dict_contains(h.d, PLAIT_TEXT("k"))); /* waits */
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(set_number(h.d, "k", 3), 0); /* free: there is nothing to wait for */
    plait_cancel_bind(NULL);
    assert_int_equal(number_of(h.d, "k"), 3);
    drop(h.d);
}

static int stay_reading(const struct plait_dict_item *item, void *arg)
{
    return stay(NULL, arg);
}

static void *hold_reading(void *arg)
{
    struct held *h = arg;

    plait_dict_for_each(h->d, stay_reading, h);
    return NULL;
}

IN_BOTH(readers_do_not_wait_for_readers)
{
    struct held h = { .d = make(shared) };
    pthread_t thread;

    assert_int_equal(set_number(h.d, "k", 1), 0);
    assert_int_equal(pthread_create(&thread, NULL, hold_reading, &h), 0);
    assert_int_equal(plait_event_wait(&h.inside, plait_after(SECONDS)), 0);
    assert_int_equal(number_of(h.d, "k"), 1);
    assert_int_equal(plait_dict_len(h.d), 1);
    plait_event_set(&h.go);
    assert_int_equal(pthread_join(thread, NULL), 0);
    drop(h.d);
}

/* ---- Many at once ---- */

enum { WORKERS = 4, ROUNDS = 1500, SPREAD = 64 };

struct hand {
    plait_dict_t *d;
    int index;
    pthread_t thread;
    pid_t pid; /* 0: a thread */
    long wrong;
};

/* Two values of one pair are equal at every instant; counters lose nothing; what is one's own is as one left it. */
static long work(struct hand *hand)
{
    plait_dict_t *d = hand->d;
    long wrong = 0;

    for (int i = 0; i < ROUNDS; i++) {
        struct plait_dict_item pair[2] = { { .key = "left", .key_size = 4, .value = &i, .value_size = sizeof i },
                                           { .key = "right", .key_size = 5, .value = &i, .value_size = sizeof i } };
        int own[2] = { hand->index, i % SPREAD }, got = -1, value;
        struct plait_dict_item *items;
        uint64_t version;
        size_t count;

        wrong += plait_dict_add(d, PLAIT_TEXT("sum"), 1, NULL) != 0;
        wrong += plait_dict_set(d, own, sizeof own, &i, sizeof i) != 0;
        wrong += plait_dict_get(d, own, sizeof own, &got, sizeof got, NULL) != 0 || got != i;
        if (i % 3 == 0)
            wrong += plait_dict_delete(d, own, sizeof own) != 0 || plait_dict_contains(d, own, sizeof own);
        do {
            value = 0;
            plait_dict_get_version(d, PLAIT_TEXT("tally"), &value, sizeof value, NULL, &version);
            value++;
        } while (plait_dict_compare_set(d, PLAIT_TEXT("tally"), version, &value, sizeof value, NULL) == EAGAIN);
        if (i % 16 == 0) {
            wrong += plait_dict_update(d, pair, 2, NULL) != 0;
            wrong += plait_dict_items(d, &items, &count) != 0;
            value = got = -1;
            for (size_t at = 0; at < count; at++) {
                if (items[at].key_size == 4)
                    memcpy(&value, items[at].value, sizeof value);
                if (items[at].key_size == 5 && memcmp(items[at].key, "right", 5) == 0)
                    memcpy(&got, items[at].value, sizeof got);
            }
            wrong += value < 0 || value != got;
            free(items);
        }
    }
    return wrong;
}

static void *work_in_thread(void *arg)
{
    struct hand *hand = arg;

    hand->wrong = work(hand);
    return NULL;
}

static void begin(struct hand *hand, bool as_process)
{
    if (!as_process) {
        assert_int_equal(pthread_create(&hand->thread, NULL, work_in_thread, hand), 0);
        return;
    }
    hand->pid = fork();
    assert_true(hand->pid >= 0);
    if (hand->pid == 0)
        _exit(work(hand) != 0);
}

static void end(struct hand *hand)
{
    int status = 0;

    if (hand->pid)
        assert_int_equal(waitpid(hand->pid, &status, 0), hand->pid);
    else
        assert_int_equal(pthread_join(hand->thread, NULL), 0);
    assert_int_equal(status, 0);
    assert_int_equal(hand->wrong, 0);
}

static void every_change_counts_whoever_makes_it(void **state)
{
    for (int how = 0; how < 3; how++) { /* private; shared by threads; by processes */
        plait_dict_t *d = make(how > 0);
        struct hand hands[WORKERS];
        int tally = 0;

        for (int i = 0; i < WORKERS; i++) {
            hands[i] = (struct hand){ .d = d, .index = i };
            begin(&hands[i], how == 2);
        }
        for (int i = 0; i < WORKERS; i++)
            end(&hands[i]);
        assert_int_equal(number_of(d, "sum"), WORKERS * ROUNDS);
        assert_int_equal(plait_dict_get(d, PLAIT_TEXT("tally"), &tally, sizeof tally, NULL), 0);
        assert_int_equal(tally, WORKERS * ROUNDS);
        drop(d);
    }
}

static int use_private_one(void *d)
{
    return number_of(d, "k") == 1 && set_number(d, "k", 2) == 0 && number_of(d, "k") == 2 ? 0 : 1;
}

static void private_dict_is_the_childs_own_after_fork(void **state)
{
    plait_dict_t *d = make(false);

    assert_int_equal(set_number(d, "k", 1), 0);
    assert_int_equal(child_run(use_private_one, d), 0);
    assert_int_equal(number_of(d, "k"), 1);
    drop(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(value_is_what_was_set_last),
        cmocka_unit_test(keys_and_values_are_bytes_of_any_length),
        cmocka_unit_test(lengths_around_those_that_are_kept_otherwise),
        cmocka_unit_test(value_that_does_not_fit_is_told_and_not_copied),
        cmocka_unit_test(setdefault_sets_only_what_is_missing),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(keys_made_to_collide_do_not),
        cmocka_unit_test(behaves_as_the_model),
        cmocka_unit_test(dict_grows_and_gives_its_memory_back),
        cmocka_unit_test(full_arena_changes_nothing_and_the_dict_goes_on),
        cmocka_unit_test(modify_does_what_its_function_decides),
        cmocka_unit_test(function_cannot_change_the_dict_that_calls_it),
        cmocka_unit_test(add_counts_and_refuses_what_is_no_number),
        cmocka_unit_test(version_tells_whether_a_value_is_still_that_one),
        cmocka_unit_test(items_come_in_the_order_in_which_the_keys_came),
        cmocka_unit_test(update_sets_all_and_takes_what_items_gives),
        cmocka_unit_test(shared_dict_is_found_by_reference_and_by_name),
        cmocka_unit_test(what_is_no_dict_is_refused),
        cmocka_unit_test(damaged_dict_answers),
        cmocka_unit_test(death_in_a_function_changes_nothing_and_hinders_nobody),
        cmocka_unit_test(damage_found_after_a_death_is_told_for_good),
        cmocka_unit_test(wait_for_others_is_ended_by_the_callers_token),
        cmocka_unit_test(readers_do_not_wait_for_readers),
        cmocka_unit_test(every_change_counts_whoever_makes_it),
        cmocka_unit_test(private_dict_is_the_childs_own_after_fork),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
