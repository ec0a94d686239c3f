/* SPDX-License-Identifier: MIT */
/* The contract of plait_list_t, private and shared, by threads and by processes. What a list does is compared with a plain model. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "queue/list.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { SECONDS = 20 };

static plait_arena_t *arena; /* of the present list, NULL: private */

static plait_list_t *make_in(bool shared, size_t limit)
{
    plait_list_t *l;

    arena = NULL;
    if (shared)
        assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = limit, .participants = 64 }), 0);
    assert_int_equal(plait_list_new(&l, &(struct plait_list_opts){ .arena = arena }), 0);
    return l;
}

static plait_list_t *make(bool shared) { return make_in(shared, 64u << 20); }

static size_t used(void)
{
    size_t bytes = 0;

    assert_int_equal(plait_arena_usage(arena, &bytes, NULL, NULL), 0);
    return bytes;
}

static void drop(plait_list_t *l)
{
    char text[200];

    assert_int_equal(plait_list_destroy(l), 0);
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

static void add_words(plait_list_t *l, const char *words)
{
    for (; *words; words++)
        assert_int_equal(plait_list_append(l, words, 1), 0);
}

/* The list has these items, of one letter each. */
static void has(plait_list_t *l, const char *words)
{
    struct plait_list_item *items;
    size_t count;

    assert_int_equal(plait_list_items(l, &items, &count), 0);
    assert_int_equal(count, strlen(words));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(items[i].size, 1);
        assert_memory_equal(items[i].bytes, words + i, 1);
    }
    assert_int_equal(plait_list_len(l), count);
    free(items);
}

/* ---- One item ---- */

IN_BOTH(items_stand_where_they_were_put)
{
    plait_list_t *l = make(shared);
    char got = 0;
    size_t size;

    has(l, "");
    add_words(l, "bd");
    assert_int_equal(plait_list_insert(l, 0, "a", 1), 0);
    assert_int_equal(plait_list_insert(l, 2, "c", 1), 0);
    assert_int_equal(plait_list_insert(l, -1, "x", 1), 0); /* before the last */
    has(l, "abcxd");
    assert_int_equal(plait_list_insert(l, 99, "z", 1), 0);
    assert_int_equal(plait_list_insert(l, -99, "0", 1), 0);
    has(l, "0abcxdz");
    assert_int_equal(plait_list_set(l, 4, "C", 1), 0);
    assert_int_equal(plait_list_set(l, -1, "Z", 1), 0);
    has(l, "0abcCdZ");
    assert_int_equal(plait_list_delete(l, 0), 0);
    assert_int_equal(plait_list_delete(l, -3), 0);
    has(l, "abcdZ");
    assert_int_equal(plait_list_pop(l, -1, &got, 1, NULL), 0);
    assert_int_equal(got, 'Z');
    assert_int_equal(plait_list_pop(l, 1, &got, 1, &size), 0);
    assert_int_equal(got, 'b');
    has(l, "acd");
    assert_int_equal(plait_list_get(l, 2, &got, 1, NULL), 0);
    assert_int_equal(got, 'd');
    assert_int_equal(plait_list_get(l, -3, &got, 1, NULL), 0);
    assert_int_equal(got, 'a');
    drop(l);
}

IN_BOTH(index_of_no_item_is_told)
{
    static const int64_t nowhere[] = { 3, 4, -4, -5, INT64_MAX, INT64_MIN, (int64_t)1 << 61 };
    plait_list_t *l = make(shared);
    char got;
    void *copy;
    size_t size;

    assert_int_equal(plait_list_get(l, 0, &got, 1, NULL), ENOENT);
    assert_int_equal(plait_list_get(l, -1, &got, 1, NULL), ENOENT);
    assert_int_equal(plait_list_pop(l, -1, &got, 1, NULL), ENOENT);
    add_words(l, "abc");
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        assert_int_equal(plait_list_get(l, nowhere[i], &got, 1, &size), ENOENT);
        assert_int_equal(plait_list_get_copy(l, nowhere[i], &copy, &size), ENOENT);
        assert_null(copy);
        assert_int_equal(plait_list_set(l, nowhere[i], "x", 1), ENOENT);
        assert_int_equal(plait_list_delete(l, nowhere[i]), ENOENT);
        assert_int_equal(plait_list_pop(l, nowhere[i], &got, 1, &size), ENOENT);
        assert_int_equal(plait_list_modify(l, nowhere[i], NULL, NULL), ENOENT);
    }
    has(l, "abc");
    drop(l);
}

IN_BOTH(items_are_bytes_of_any_length)
{
    static const size_t sizes[] = { 0, 1, 7, 8, 9, 40, 63, 64, 65, 4095, 100000 };
    enum { SIZES = sizeof sizes / sizeof *sizes };
    plait_list_t *l = make(shared);
    static char bytes[100000], got[100001];
    void *copy;
    size_t size;

    for (int i = 0; i < SIZES; i++) {
        memset(bytes, i, sizeof bytes);
        assert_int_equal(plait_list_append(l, bytes, sizes[i]), 0);
    }
    for (int i = 0; i < SIZES; i++) {
        memset(bytes, i, sizeof bytes);
        memset(got, 'x', sizeof got);
        assert_int_equal(plait_list_get(l, i, got, sizeof got, &size), 0);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(got, bytes, size);
        assert_int_equal(got[size], 'x');
        assert_int_equal(plait_list_get_copy(l, i, &copy, &size), 0);
        assert_int_equal(size, sizes[i]);
        assert_memory_equal(copy, bytes, size);
        assert_int_equal(((char *)copy)[size], 0);
        free(copy);
        size = 77;
        assert_int_equal(plait_list_get(l, i, got, sizes[i] + 1, NULL), EMSGSIZE);
        if (sizes[i] > 0) {
            assert_int_equal(plait_list_pop(l, i, got, sizes[i] - 1, &size), EMSGSIZE);
            assert_int_equal(size, sizes[i]);
        }
    }
    assert_int_equal(plait_list_len(l), SIZES);
    assert_int_equal(plait_list_set(l, 3, NULL, 0), 0);
    assert_int_equal(plait_list_get(l, 3, NULL, 0, NULL), 0);
    assert_int_equal(plait_list_append(l, bytes, ((size_t)1 << 40) + 1), EINVAL);
    assert_int_equal(plait_list_set(l, 0, bytes, SIZE_MAX), EINVAL);
    drop(l);
}

IN_BOTH(items_are_found_by_their_bytes)
{
    plait_list_t *l = make(shared);
    size_t at = 99;

    add_words(l, "abcab");
    assert_int_equal(plait_list_append(l, "abc", 3), 0);
    assert_int_equal(plait_list_append(l, NULL, 0), 0);
    assert_int_equal(plait_list_index(l, "b", 1, 0, &at), 0);
    assert_int_equal(at, 1);
    assert_int_equal(plait_list_index(l, "b", 1, 2, &at), 0);
    assert_int_equal(at, 4);
    assert_int_equal(plait_list_index(l, "a", 1, -4, &at), 0);
    assert_int_equal(at, 3);
    assert_int_equal(plait_list_index(l, "a", 1, -99, &at), 0);
    assert_int_equal(at, 0);
    assert_int_equal(plait_list_index(l, "abc", 3, 0, &at), 0);
    assert_int_equal(at, 5);
    assert_int_equal(plait_list_index(l, "", 0, 0, &at), 0);
    assert_int_equal(at, 6);
    assert_int_equal(plait_list_index(l, "a", 1, 5, NULL), ENOENT);
    assert_int_equal(plait_list_index(l, "a", 1, 99, NULL), ENOENT);
    assert_int_equal(plait_list_index(l, "ab", 2, 0, NULL), ENOENT);
    assert_int_equal(plait_list_count(l, "a", 1, &at), 0);
    assert_int_equal(at, 2);
    assert_int_equal(plait_list_count(l, "", 0, &at), 0);
    assert_int_equal(at, 1);
    assert_int_equal(plait_list_count(l, "d", 1, &at), 0);
    assert_int_equal(at, 0);
    assert_true(plait_list_contains(l, "c", 1));
    assert_false(plait_list_contains(l, "d", 1));
    assert_int_equal(plait_list_remove(l, "b", 1), 0);
    assert_int_equal(plait_list_remove(l, "abc", 3), 0);
    assert_int_equal(plait_list_remove(l, NULL, 0), 0);
    assert_int_equal(plait_list_remove(l, "d", 1), ENOENT);
    has(l, "acab");
    drop(l);
}

/* ---- All of it ---- */

IN_BOTH(extend_appends_all_and_takes_what_items_gives)
{
    plait_list_t *l = make(shared);
    struct plait_list_item *items;
    size_t count, done = 77;

    add_words(l, "abc");
    assert_int_equal(plait_list_items(l, &items, &count), 0);
    assert_int_equal(plait_list_extend(l, items, count, &done), 0);
    assert_int_equal(done, 3);
    assert_int_equal(plait_list_extend(l, items, 0, NULL), 0);
    has(l, "abcabc");
    items[1].size = SIZE_MAX;
    assert_int_equal(plait_list_extend(l, items, count, &done), EINVAL);
    assert_int_equal(done, 1);
    has(l, "abcabca");
    free(items);
    assert_int_equal(plait_list_clear(l), 0);
    has(l, "");
    assert_int_equal(plait_list_clear(l), 0);
    assert_int_equal(plait_list_items(l, &items, &count), 0);
    assert_null(items);
    add_words(l, "z");
    has(l, "z");
    drop(l);
}

static int backward(const struct plait_list_item *a, const struct plait_list_item *b, void *calls)
{
    ++*(int *)calls;
    return *(const char *)b->bytes - *(const char *)a->bytes;
}

static int by_first(const struct plait_list_item *a, const struct plait_list_item *b, void *unused)
{
    return *(const char *)a->bytes - *(const char *)b->bytes;
}

IN_BOTH(order_is_changed_by_sort_and_reverse)
{
    static const char *const pairs[] = { "b1", "a2", "b0", "a1", "c9", "a0", "b2" };
    static const char *const sorted[] = { "a2", "a1", "a0", "b1", "b0", "b2", "c9" };
    plait_list_t *l = make(shared);
    char got[2];
    int calls = 0;

    assert_int_equal(plait_list_sort(l, NULL, NULL), 0);
    assert_int_equal(plait_list_reverse(l), 0);
    add_words(l, "hello");
    assert_int_equal(plait_list_reverse(l), 0);
    has(l, "olleh");
    assert_int_equal(plait_list_sort(l, NULL, NULL), 0);
    has(l, "ehllo");
    assert_int_equal(plait_list_sort(l, backward, &calls), 0);
    has(l, "ollhe");
    assert_in_range(calls, 4, 12);
    assert_int_equal(plait_list_clear(l), 0);
    for (int i = 0; i < 7; i++)
        assert_int_equal(plait_list_append(l, pairs[i], 2), 0);
    assert_int_equal(plait_list_sort(l, by_first, NULL), 0); /* equal ones stay as they were */
    for (int i = 0; i < 7; i++) {
        assert_int_equal(plait_list_get(l, i, got, 2, NULL), 0);
        assert_memory_equal(got, sorted[i], 2);
    }
    assert_int_equal(plait_list_append(l, "b", 1), 0);
    assert_int_equal(plait_list_append(l, NULL, 0), 0);
    assert_int_equal(plait_list_sort(l, NULL, NULL), 0);
    assert_int_equal(plait_list_get(l, 0, got, 0, NULL), 0);
    assert_int_equal(plait_list_get(l, 4, got, 1, NULL), 0); /* before b0 */
    drop(l);
}

/* ---- The model ---- */

enum { MODEL_MAX = 400, STEPS = 20000 };

static int model[MODEL_MAX], model_count; /* the seeds of the items */

static unsigned random_state;

static unsigned next_random(unsigned below)
{
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 8) % below;
}

static size_t fill(int seed, char *bytes)
{
    size_t size = 4 + (size_t)seed * 13 % 150;

    memset(bytes, seed, size);
    memcpy(bytes, &seed, sizeof seed);
    return size;
}

static void same_as_model(plait_list_t *l)
{
    struct plait_list_item *items;
    char bytes[160];
    size_t count;

    assert_int_equal(plait_list_items(l, &items, &count), 0);
    assert_int_equal(count, model_count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(items[i].size, fill(model[i], bytes));
        assert_memory_equal(items[i].bytes, bytes, items[i].size);
    }
    free(items);
}

static int by_seed(const struct plait_list_item *a, const struct plait_list_item *b, void *unused)
{
    int left, right;

    memcpy(&left, a->bytes, sizeof left);
    memcpy(&right, b->bytes, sizeof right);
    return (left > right) - (left < right);
}

static int compare_seeds(const void *a, const void *b)
{
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

static void step(plait_list_t *l, int seed, bool grows)
{
    int at = model_count ? (int)next_random((unsigned)model_count) : 0, index = next_random(2) ? at : at - model_count;
    char bytes[160], got[160];
    size_t size = fill(seed, bytes), got_size;

    switch (next_random(grows ? 6 : 9)) {
    case 0:
    case 1:
        if (model_count == MODEL_MAX)
            break;
        assert_int_equal(plait_list_append(l, bytes, size), 0);
        model[model_count++] = seed;
        break;
    case 2:
    case 3:
        if (model_count == MODEL_MAX || model_count == 0)
            break;
        assert_int_equal(plait_list_insert(l, index, bytes, size), 0);
        memmove(model + at + 1, model + at, (size_t)(model_count - at) * sizeof *model);
        model[at] = seed;
        model_count++;
        break;
    case 4:
        assert_int_equal(plait_list_set(l, index, bytes, size), model_count ? 0 : ENOENT);
        if (model_count)
            model[at] = seed;
        break;
    case 5:
        if (next_random(100) > 3)
            break;
        assert_int_equal(plait_list_sort(l, by_seed, NULL), 0);
        qsort(model, (size_t)model_count, sizeof *model, compare_seeds);
        break;
    default:
        assert_int_equal(plait_list_pop(l, index, got, sizeof got, &got_size), model_count ? 0 : ENOENT);
        if (model_count) {
            assert_int_equal(got_size, fill(model[at], bytes));
            assert_memory_equal(got, bytes, got_size);
            model_count--;
            memmove(model + at, model + at + 1, (size_t)(model_count - at) * sizeof *model);
        }
        break;
    }
}

IN_BOTH(behaves_as_the_model)
{
    plait_list_t *l = make(shared);

    random_state = (unsigned)getpid();
    printf("seed %u\n", random_state);
    model_count = 0;
    for (int i = 0; i < STEPS; i++) {
        step(l, i, i / 2000 % 2 == 0);
        if (i % 500 == 0)
            same_as_model(l);
    }
    same_as_model(l);
    drop(l);
}

IN_BOTH(list_grows_and_gives_its_memory_back)
{
    enum { MANY = 20000 };
    plait_list_t *l = make(shared);
    size_t empty = shared ? used() : 0;

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++)
            assert_int_equal(plait_list_append(l, &i, sizeof i), 0);
        for (int i = 0; i < MANY; i += 777) {
            int got;

            assert_int_equal(plait_list_get(l, i, &got, sizeof got, NULL), 0);
            assert_int_equal(got, i);
        }
        if (round == 0)
            while (plait_list_len(l))
                assert_int_equal(plait_list_delete(l, -1), 0);
        else
            assert_int_equal(plait_list_clear(l), 0);
        if (shared)
            assert_int_equal(used(), empty);
    }
    drop(l);
}

static void full_arena_changes_nothing_and_the_list_goes_on(void **state)
{
    plait_list_t *l = make_in(true, 1u << 20);
    static char bytes[5000];
    size_t count = 0, done;
    struct plait_list_item items[2] = { { bytes, 4000 }, { bytes, 4000 } };
    int err;

    while ((err = plait_list_append(l, bytes, 5000)) == 0)
        count++;
    assert_int_equal(err, ENOSPC);
    assert_true(count > 50);
    assert_int_equal(plait_list_len(l), count);
    while (plait_list_append(l, bytes, 10) == 0)
        count++;
    assert_int_equal(plait_list_insert(l, 0, bytes, 5000), ENOSPC);
    assert_int_equal(plait_list_set(l, 0, bytes, 5000), ENOSPC);
    assert_int_equal(plait_list_extend(l, items, 2, &done), ENOSPC);
    assert_int_equal(done, 0);
    assert_int_equal(plait_list_len(l), count);
    err = plait_list_reverse(l);
    assert_true(err == 0 || err == ENOSPC);
    for (int i = 0; i < 3; i++) { /* room for a larger row, if it needs one */
        assert_int_equal(plait_list_index(l, bytes, 5000, 0, &done), 0);
        assert_int_equal(plait_list_delete(l, (int64_t)done), 0);
    }
    assert_int_equal(plait_list_append(l, bytes, 4000), 0);
    drop(l);
}

/* ---- Functions ---- */

static int make_twice(struct plait_list_change *change, void *arg)
{
    static char twice[100];

    memcpy(twice, change->bytes, change->size);
    memcpy(twice + change->size, change->bytes, change->size);
    change->new_bytes = twice;
    change->new_size = 2 * change->size;
    return *(int *)arg;
}

static int take_out(struct plait_list_change *change, void *index_out)
{
    *(size_t *)index_out = change->index;
    change->new_bytes = NULL;
    return 0;
}

static int leave_it(struct plait_list_change *change, void *unused) { return 0; }

static int shorten(struct plait_list_change *change, void *unused)
{
    change->new_size = 1;
    return 0;
}

IN_BOTH(modify_does_what_its_function_decides)
{
    plait_list_t *l = make(shared);
    char got[2];
    size_t index = 99;

    add_words(l, "abc");
    assert_int_equal(plait_list_modify(l, 1, leave_it, NULL), 0);
    assert_int_equal(plait_list_modify(l, 1, make_twice, &(int){ 0 }), 0);
    assert_int_equal(plait_list_get(l, 1, got, 2, NULL), 0);
    assert_memory_equal(got, "bb", 2);
    assert_int_equal(plait_list_modify(l, 1, make_twice, &(int){ EPERM }), EPERM);
    assert_int_equal(plait_list_get(l, 1, got, 2, NULL), 0);
    assert_int_equal(plait_list_modify(l, -2, shorten, NULL), 0);
    has(l, "abc");
    assert_int_equal(plait_list_modify(l, -3, take_out, &index), 0);
    assert_int_equal(index, 0);
    has(l, "bc");
    drop(l);
}

struct within {
    plait_list_t *l;
    int reads, writes;
};

static void try_all(struct within *w)
{
    struct plait_list_item *items;
    size_t count;
    char got;

    w->reads += plait_list_get(w->l, 0, &got, 1, NULL) == EDEADLK;
    w->reads += plait_list_items(w->l, &items, &count) == EDEADLK;
    w->writes += plait_list_append(w->l, "x", 1) == EDEADLK;
    w->writes += plait_list_set(w->l, 0, "x", 1) == EDEADLK;
    w->writes += plait_list_clear(w->l) == EDEADLK;
}

static int try_in_modify(struct plait_list_change *change, void *w)
{
    try_all(w);
    return 0;
}

static int try_in_sort(const struct plait_list_item *a, const struct plait_list_item *b, void *w)
{
    try_all(w);
    return 0;
}

static int read_in_loop(const struct plait_list_item *item, void *arg)
{
    struct within *w = arg;
    char got;

    w->reads += plait_list_get(w->l, 0, &got, 1, NULL) == 0 && plait_list_len(w->l) == 2;
    w->writes += plait_list_append(w->l, "x", 1) == EDEADLK;
    return *(const char *)item->bytes == 'a' ? 0 : 77;
}

static void function_cannot_change_the_list_that_calls_it(void **state)
{
    plait_list_t *l = make(true);
    struct within w = { .l = l };

    add_words(l, "ab");
    assert_int_equal(plait_list_modify(l, 0, try_in_modify, &w), 0);
    assert_int_equal(w.reads, 2);
    assert_int_equal(w.writes, 3);
    assert_int_equal(plait_list_sort(l, try_in_sort, &w), 0);
    assert_int_equal(w.reads, 4);
    assert_int_equal(w.writes, 6);
    assert_int_equal(plait_list_for_each(l, read_in_loop, &w), 77);
    assert_int_equal(w.reads, 6);
    assert_int_equal(w.writes, 8);
    has(l, "ab");
    drop(l);
}

/* ---- Names ---- */

static int append_by_name(void *unused)
{
    plait_list_t *l;

    if (plait_list_new(&l, &(struct plait_list_opts){ .arena = arena, .name = "hosts" }))
        return 1;
    if (plait_list_append(l, "b", 1))
        return 2;
    return plait_list_free(l);
}

static void shared_list_is_found_by_reference_and_by_name(void **state)
{
    plait_list_t *l, *again;
    plait_ref_t ref;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 8u << 20, .participants = 64 }), 0);
    assert_int_equal(plait_list_lookup(&l, arena, "hosts"), ENOENT);
    assert_null(l);
    assert_int_equal(plait_list_new(&l, &(struct plait_list_opts){ .arena = arena, .name = "hosts" }), 0);
    add_words(l, "a");
    assert_int_equal(child_run(append_by_name, NULL), 0);
    has(l, "ab");
    assert_int_equal(plait_list_ref(l, &ref), 0);
    assert_int_equal(plait_list_open(&again, ref), 0);
    add_words(again, "c");
    has(l, "abc");
    assert_int_equal(plait_list_publish(again, "also"), 0);
    assert_int_equal(plait_list_publish(again, "hosts"), EEXIST);
    assert_int_equal(plait_list_free(again), 0);
    assert_int_equal(plait_list_lookup(&again, arena, "also"), 0);
    assert_int_equal(plait_list_free(again), 0);
    assert_int_equal(plait_list_destroy(l), 0);
    assert_int_equal(plait_list_open(&again, ref), EBADMSG);
    assert_null(again);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

static void what_is_no_list_is_refused(void **state)
{
    plait_list_t *l;
    plait_dict_t *d;
    plait_ref_t ref;
    void *memory;

    assert_int_equal(plait_list_free(NULL), 0);
    assert_int_equal(plait_list_destroy(NULL), 0);
    assert_int_equal(plait_list_new(&l, &(struct plait_list_opts){ .name = "x" }), EINVAL);
    assert_null(l);
    assert_int_equal(plait_list_new(&l, NULL), 0);
    assert_int_equal(plait_list_ref(l, &ref), EINVAL);
    assert_int_equal(plait_list_publish(l, "x"), EINVAL);
    assert_int_equal(plait_list_free(l), 0);
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 8u << 20, .participants = 64 }), 0);
    assert_int_equal(plait_dict_new(&d, &(struct plait_dict_opts){ .arena = arena, .name = "x" }), 0);
    assert_int_equal(plait_list_new(&l, &(struct plait_list_opts){ .arena = arena, .name = "x" }), EBADMSG);
    assert_null(l);
    assert_int_equal(plait_list_lookup(&l, arena, "x"), EBADMSG);
    assert_int_equal(plait_arena_alloc(arena, 5000, &memory), 0);
    assert_int_equal(plait_ref_of(memory, &ref), 0);
    for (int byte = 0; byte < 256; byte += 51) {
        memset(memory, byte, 5000);
        assert_int_equal(plait_list_open(&l, ref), EBADMSG);
    }
    assert_int_equal(plait_list_open(&l, (plait_ref_t){ 0 }), EINVAL);
    assert_int_equal(plait_dict_destroy(d), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

/* ---- Damage ---- */

/* Everything is tried; whatever it answers, it answers. */
static int open_and_use(void *arg)
{
    plait_ref_t *ref = arg;
    struct plait_list_item *items;
    plait_list_t *l;
    char bytes[100] = { 0 };
    size_t size, count;
    int err, refused = 0;

    alarm(SECONDS);
    err = plait_list_open(&l, *ref);
    if (err)
        return err == EBADMSG ? 1 : 2;
    for (int64_t i = 0; i < 12; i++) {
        refused += plait_list_get(l, i, bytes, sizeof bytes, &size) == EBADMSG;
        refused += plait_list_set(l, i, bytes, 90) == EBADMSG; /* another size of block: what is freed is not used again */
        refused += plait_list_insert(l, i, bytes, 90) == EBADMSG;
        refused += plait_list_delete(l, i) == EBADMSG;
    }
    refused += plait_list_index(l, "nothing", 7, 0, NULL) == EBADMSG;
    refused += plait_list_sort(l, NULL, NULL) == EBADMSG;
    if (plait_list_items(l, &items, &count) == 0)
        free(items);
    else
        refused++;
    plait_list_clear(l);
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

static void damaged_list_answers(void **state)
{
    plait_list_t *l = make_in(true, 1u << 20);
    unsigned char *image, *body = (unsigned char *)l->body, *row, *entry;
    int refused = 0, answer;
    const uint64_t *places;
    plait_ref_t ref;
    size_t size;

    add_words(l, "abcdefghij");
    assert_int_equal(plait_list_ref(l, &ref), 0);
    assert_int_equal(plait_arena_usage(arena, NULL, &size, NULL), 0);
    image = malloc(size);
    assert_non_null(image);
    for (size_t at = 0; at < sizeof *l->body; at++) {
        if (at >= offsetof(struct plait__list_body, lock) + offsetof(plait_rwlock_t, writer.state) &&
            at < offsetof(struct plait__list_body, lock) + sizeof(plait_rwlock_t))
            continue; /* a lock that seems to be held is waited for */
        answer = damaged(&body[at], &ref, image, size);
        assert_in_range(answer, 0, 1);
        refused += answer;
    }
    assert_true(refused > 20);
    places = plait__list_places(l);
    assert_non_null(places);
    row = plait__list_memory(l, l->body->row);
    for (size_t at = 0; at < 11 * sizeof(uint64_t); at++)
        assert_in_range(damaged(&row[at], &ref, image, size), 0, 1);
    entry = plait__list_memory(l, places[3]);
    for (size_t at = 0; at < sizeof(struct plait__list_entry); at++)
        assert_in_range(damaged(&entry[at], &ref, image, size), 0, 1);
    memcpy(image, arena->base, size);
    memcpy(row + 16, row + 8, 8); /* one item twice */
    assert_int_equal(child_run(open_and_use, &ref), 1);
    memcpy(arena->base, image, size);
    assert_int_equal(child_run(open_and_use, &ref), 0);
    free(image);
    assert_int_equal(plait_list_clear(l), 0);
    drop(l);
}

/* ---- Death ---- */

static int die(struct plait_list_change *change, void *arg) { return raise(SIGKILL); }
static int die_sorting(const struct plait_list_item *a, const struct plait_list_item *b, void *arg) { return raise(SIGKILL); }
static int die_reading(const struct plait_list_item *item, void *arg) { return raise(SIGKILL); }
static int modify_and_die(void *l) { return plait_list_modify(l, 0, die, NULL); }
static int sort_and_die(void *l) { return plait_list_sort(l, die_sorting, NULL); }
static int read_and_die(void *l) { return plait_list_for_each(l, die_reading, NULL); }

static void death_in_a_function_changes_nothing_and_hinders_nobody(void **state)
{
    static int (*const deaths[])(void *l) = { modify_and_die, sort_and_die, read_and_die };
    plait_list_t *l = make(true);

    add_words(l, "cab");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(child_run(deaths[i], l), CHILD_SIGNALLED + SIGKILL);
        has(l, "cab"); /* the first who comes reads */
        assert_int_equal(child_run(deaths[i], l), CHILD_SIGNALLED + SIGKILL);
        assert_int_equal(plait_list_append(l, "x", 1), 0); /* writes */
        assert_int_equal(plait_list_delete(l, -1), 0);
    }
    assert_int_equal(child_run(modify_and_die, l), CHILD_SIGNALLED + SIGKILL);
    drop(l); /* destroys */
}

/* A dead writer and damage: who comes next is told, and so are all others. */
static int damage_it(struct plait_list_change *change, void *arg)
{
    plait_list_t *l = arg;

    l->body->change = 99;
    return raise(SIGKILL);
}

static int damage_and_die(void *l) { return plait_list_modify(l, 0, damage_it, l); }

static void damage_found_after_a_death_is_told_for_good(void **state)
{
    plait_list_t *l = make(true);
    char got;

    add_words(l, "a");
    assert_int_equal(child_run(damage_and_die, l), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(plait_list_get(l, 0, &got, 1, NULL), ENOTRECOVERABLE);
    assert_int_equal(plait_list_append(l, "b", 1), ENOTRECOVERABLE);
    assert_false(plait_list_contains(l, "a", 1));
    assert_int_equal(plait_list_destroy(l), 0); /* its items are lost */
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

/* ---- Waiting ---- */

struct held {
    plait_list_t *l;
    plait_event_t inside, go;
};

static int stay(struct plait_list_change *change, void *arg)
{
    struct held *h = arg;

    plait_event_set(&h->inside);
    return plait_event_wait(&h->go, plait_after(SECONDS));
}

static void *hold(void *arg)
{
    struct held *h = arg;

    plait_list_modify(h->l, 0, stay, h);
    return NULL;
}

static int stay_reading(const struct plait_list_item *item, void *arg) { return stay(NULL, arg); }

static void *hold_reading(void *arg)
{
    struct held *h = arg;

    plait_list_for_each(h->l, stay_reading, h);
    return NULL;
}

IN_BOTH(wait_for_others_is_ended_by_the_callers_token)
{
    struct held h = { .l = make(shared) };
    plait_cancel_t token = PLAIT_CANCEL_INIT;
    pthread_t thread;
    char got;

    add_words(h.l, "a");
    assert_int_equal(pthread_create(&thread, NULL, hold, &h), 0);
    assert_int_equal(plait_event_wait(&h.inside, plait_after(SECONDS)), 0);
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    assert_int_equal(plait_list_append(h.l, "b", 1), ECANCELED);
    assert_int_equal(plait_list_get(h.l, 0, &got, 1, NULL), ECANCELED);
    plait_event_set(&h.go);
    assert_true(plait_list_contains(h.l, "a", 1)); /* waits */
    assert_int_equal(pthread_join(thread, NULL), 0);
    plait_cancel_bind(NULL);
    has(h.l, "a");
    drop(h.l);
}

IN_BOTH(readers_do_not_wait_for_readers)
{
    struct held h = { .l = make(shared) };
    pthread_t thread;

    add_words(h.l, "a");
    assert_int_equal(pthread_create(&thread, NULL, hold_reading, &h), 0);
    assert_int_equal(plait_event_wait(&h.inside, plait_after(SECONDS)), 0);
    has(h.l, "a");
    plait_event_set(&h.go);
    assert_int_equal(pthread_join(thread, NULL), 0);
    drop(h.l);
}

/* ---- Many at once ---- */

enum { WORKERS = 4, ROUNDS = 1500 };

struct hand {
    plait_list_t *l;
    int index;
    pthread_t thread;
    pid_t pid; /* 0: a thread */
    long wrong;
};

static int add_one(struct plait_list_change *change, void *arg)
{
    int *number = arg;

    memcpy(number, change->bytes, sizeof *number);
    ++*number;
    change->new_bytes = number;
    return 0;
}

/* Item 0 counts; what others take off the end is what somebody put there, whole. */
static long work(struct hand *hand)
{
    plait_list_t *l = hand->l;
    long wrong = 0;

    for (int i = 0; i < ROUNDS; i++) {
        int pair[2] = { hand->index, i }, got[2], number;
        struct plait_list_item two[2] = { { pair, sizeof pair }, { pair, sizeof pair } };
        size_t size = 0;

        wrong += plait_list_modify(l, 0, add_one, &number) != 0;
        wrong += plait_list_extend(l, two, 2, NULL) != 0;
        wrong += plait_list_insert(l, 1, pair, sizeof pair) != 0;
        for (int times = 0; times < 3; times++) {
            wrong += plait_list_pop(l, times ? -1 : 1, got, sizeof got, &size) != 0 || size != sizeof got;
            wrong += got[0] < 0 || got[0] >= WORKERS || got[1] < 0 || got[1] >= ROUNDS;
        }
        wrong += plait_list_len(l) > 1 + 3 * WORKERS;
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
        plait_list_t *l = make(how > 0);
        struct hand hands[WORKERS];
        int number = 0;

        assert_int_equal(plait_list_append(l, &number, sizeof number), 0);
        for (int i = 0; i < WORKERS; i++) {
            hands[i] = (struct hand){ .l = l, .index = i };
            begin(&hands[i], how == 2);
        }
        for (int i = 0; i < WORKERS; i++)
            end(&hands[i]);
        assert_int_equal(plait_list_len(l), 1);
        assert_int_equal(plait_list_get(l, 0, &number, sizeof number, NULL), 0);
        assert_int_equal(number, WORKERS * ROUNDS);
        drop(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_stand_where_they_were_put),
        cmocka_unit_test(index_of_no_item_is_told),
        cmocka_unit_test(items_are_bytes_of_any_length),
        cmocka_unit_test(items_are_found_by_their_bytes),
        cmocka_unit_test(extend_appends_all_and_takes_what_items_gives),
        cmocka_unit_test(order_is_changed_by_sort_and_reverse),
        cmocka_unit_test(behaves_as_the_model),
        cmocka_unit_test(list_grows_and_gives_its_memory_back),
        cmocka_unit_test(full_arena_changes_nothing_and_the_list_goes_on),
        cmocka_unit_test(modify_does_what_its_function_decides),
        cmocka_unit_test(function_cannot_change_the_list_that_calls_it),
        cmocka_unit_test(shared_list_is_found_by_reference_and_by_name),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(damaged_list_answers),
        cmocka_unit_test(death_in_a_function_changes_nothing_and_hinders_nobody),
        cmocka_unit_test(damage_found_after_a_death_is_told_for_good),
        cmocka_unit_test(wait_for_others_is_ended_by_the_callers_token),
        cmocka_unit_test(readers_do_not_wait_for_readers),
        cmocka_unit_test(every_change_counts_whoever_makes_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
