/* SPDX-License-Identifier: MIT */
/* The contracts of plait/array.h and plait/value.h, private and shared, by threads and by processes. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "arena/arena.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { SECONDS = 20 };

static plait_arena_t *arena; /* of the present array, NULL: private */

static void begin(bool shared)
{
    arena = NULL;
    if (shared)
        assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 16u << 20, .participants = 64 }), 0);
}

static plait_array_t *make_of(enum plait_type type, size_t item_size, size_t count, const void *initial)
{
    plait_array_t *a;

    assert_int_equal(plait_array_new(&a, &(struct plait_array_opts){
        .type = type, .item_size = item_size, .count = count, .initial = initial, .arena = arena }), 0);
    return a;
}

static plait_array_t *make(bool shared, enum plait_type type, size_t item_size, size_t count)
{
    begin(shared);
    return make_of(type, item_size, count, NULL);
}

static void end(void)
{
    char text[200];
    size_t used;

    if (arena) {
        if (plait_arena_check(arena, text, sizeof text) != 0)
            fail_msg("arena: %s", text);
        assert_int_equal(plait_arena_usage(arena, &used, NULL, NULL), 0);
        assert_int_equal(used, 0);
        assert_int_equal(plait_arena_free(arena), 0);
    }
    arena = NULL;
}

static void drop(plait_array_t *a)
{
    assert_int_equal(plait_array_destroy(a), 0);
    end();
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

/* ---- One cell ---- */

static const struct integer {
    enum plait_type type;
    size_t size;
    int64_t min, max;
} integers[] = {
    { PLAIT_INT64, 8, INT64_MIN, INT64_MAX }, { PLAIT_INT32, 4, INT32_MIN, INT32_MAX },
    { PLAIT_INT16, 2, INT16_MIN, INT16_MAX }, { PLAIT_INT8, 1, INT8_MIN, INT8_MAX },
    { PLAIT_UINT64, 8, INT64_MIN, INT64_MAX }, { PLAIT_UINT32, 4, 0, UINT32_MAX },
    { PLAIT_UINT16, 2, 0, UINT16_MAX }, { PLAIT_UINT8, 1, 0, UINT8_MAX },
};
enum { INTEGERS = sizeof integers / sizeof integers[0] };

IN_BOTH(integers_hold_what_their_type_holds)
{
    for (int i = 0; i < INTEGERS; i++) {
        const struct integer *n = &integers[i];
        plait_array_t *a = make(shared, n->type, 0, 5);
        int64_t got = -1;

        assert_int_equal(plait_array_len(a), 5);
        assert_int_equal(plait_array_type(a), n->type);
        assert_int_equal(plait_array_item_size(a), n->size);
        for (size_t at = 0; at < 5; at++)
            assert_int_equal(plait_array_get_int(a, at), 0);
        assert_int_equal(plait_array_set_int(a, 1, n->max), 0);
        assert_int_equal(plait_array_set_int(a, 3, n->min), 0);
        assert_true(plait_array_get_int(a, 1) == n->max);
        assert_true(plait_array_get_int(a, 3) == n->min);
        assert_int_equal(plait_array_get_int(a, 2), 0);
        assert_int_equal(plait_array_exchange(a, 1, 7, &got), 0);
        assert_true(got == n->max);
        assert_int_equal(plait_array_fetch_add(a, 1, -3), 7);
        assert_int_equal(plait_array_add(a, 1, 1, &got), 0);
        assert_int_equal(got, 4);
        assert_int_equal(plait_array_or(a, 1, 8, &got), 0);
        assert_int_equal(got, 5);
        assert_int_equal(plait_array_and(a, 1, 12, &got), 0);
        assert_int_equal(got, 13);
        assert_int_equal(plait_array_xor(a, 1, 5, &got), 0);
        assert_int_equal(got, 12);
        assert_int_equal(plait_array_add(a, 1, 1, NULL), 0);
        assert_int_equal(plait_array_get_int(a, 1), 10);
        if (n->size < 8) {
            assert_int_equal(plait_array_set_int(a, 1, n->max + 1), EOVERFLOW);
            assert_int_equal(plait_array_exchange(a, 1, n->min - 1, &got), EOVERFLOW);
            assert_int_equal(plait_array_get_int(a, 1), 10);
        }
        assert_int_equal(plait_array_set_int(a, 1, n->max), 0); /* a sum goes round, in its cell */
        assert_int_equal(plait_array_add(a, 1, 1, &got), 0);
        assert_true(got == n->max);
        assert_true(plait_array_get_int(a, 1) == n->min);
        assert_int_equal(plait_array_get_int(a, 0), 0);
        assert_int_equal(plait_array_get_int(a, 2), 0);
        drop(a);
    }
}

IN_BOTH(compare_exchange_says_what_is_there)
{
    for (int i = 0; i < INTEGERS; i++) {
        plait_array_t *a = make(shared, integers[i].type, 0, 2);
        int64_t expected = 0;

        assert_int_equal(plait_array_compare_exchange(a, 1, &expected, 9), 0);
        assert_int_equal(expected, 0);
        assert_int_equal(plait_array_compare_exchange(a, 1, &expected, 10), EAGAIN);
        assert_int_equal(expected, 9);
        expected = INT64_MAX - 7; /* narrow cells cannot have it; its lowest bits are no reason */
        assert_int_equal(plait_array_compare_exchange(a, 1, &expected, 10), EAGAIN);
        assert_int_equal(expected, 9);
        assert_int_equal(plait_array_compare_exchange(a, 1, &expected, 10), 0);
        assert_int_equal(plait_array_get_int(a, 1), 10);
        assert_int_equal(plait_array_compare_exchange(a, 2, &expected, 10), ENOENT);
        drop(a);
    }
}

IN_BOTH(floating_point_cells_hold_and_add)
{
    static const enum plait_type types[] = { PLAIT_DOUBLE, PLAIT_FLOAT };

    for (int i = 0; i < 2; i++) {
        plait_array_t *a = make(shared, types[i], 0, 3);
        double old = -1;

        assert_true(plait_array_get_double(a, 2) == 0);
        assert_int_equal(plait_array_set_double(a, 2, 1.5), 0);
        assert_int_equal(plait_array_add_double(a, 2, -0.25, &old), 0);
        assert_true(old == 1.5);
        assert_int_equal(plait_array_add_double(a, 2, 1, NULL), 0);
        assert_true(plait_array_get_double(a, 2) == 2.25);
        assert_int_equal(plait_array_set_double(a, 0, (double)INFINITY), 0);
        assert_true(isinf(plait_array_get_double(a, 0)));
        assert_int_equal(plait_array_set_double(a, 0, (double)NAN), 0);
        assert_int_equal(plait_array_add_double(a, 0, 1, NULL), 0); /* not equal to itself, and added to all the same */
        assert_true(isnan(plait_array_get_double(a, 0)));
        drop(a);
    }
}

/* Of any size; none touches its neighbours. */
IN_BOTH(bytes_are_copied_in_and_out)
{
    static const size_t sizes[] = { 1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 63, 64, 65, 1000 };

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        plait_array_t *a = make(shared, PLAIT_BYTES, sizes[i], 4);
        unsigned char cell[1001], got[1001];

        memset(cell, 0x5a, sizeof cell);
        assert_int_equal(plait_array_set(a, 1, cell + 1), 0); /* need not be aligned */
        assert_int_equal(plait_array_set(a, 3, cell + 1), 0);
        for (size_t at = 0; at < 4; at++) {
            memset(got, 'x', sizeof got);
            assert_int_equal(plait_array_get(a, at, got + 1), 0);
            for (size_t byte = 0; byte < sizes[i]; byte++)
                assert_int_equal(got[byte + 1], at % 2 ? 0x5a : 0);
            assert_int_equal(got[0], 'x');
            if (sizes[i] < 1000)
                assert_int_equal(got[sizes[i] + 1], 'x');
        }
        assert_int_equal(plait_array_set(a, 4, cell), ENOENT);
        assert_int_equal(plait_array_get(a, 4, got), ENOENT);
        drop(a);
    }
}

IN_BOTH(index_and_type_are_checked)
{
    static const size_t beyond[] = { 3, 4, SIZE_MAX, SIZE_MAX / 8, (size_t)1 << 61 };
    plait_array_t *a = make(shared, PLAIT_INT32, 0, 3), *others[4];
    int32_t cells[4] = { 0 };
    int64_t number = 0;

    for (int i = 0; i < 5; i++) {
        size_t at = beyond[i];

        assert_int_equal(plait_array_get(a, at, cells), ENOENT);
        assert_int_equal(plait_array_set(a, at, cells), ENOENT);
        assert_int_equal(plait_array_set_int(a, at, 1), ENOENT);
        assert_int_equal(plait_array_add(a, at, 1, NULL), ENOENT);
        assert_int_equal(plait_array_exchange(a, at, 1, NULL), ENOENT);
        assert_int_equal(plait_array_and(a, at, 1, NULL), ENOENT);
        assert_int_equal(plait_array_or(a, at, 1, NULL), ENOENT);
        assert_int_equal(plait_array_xor(a, at, 1, NULL), ENOENT);
        assert_int_equal(plait_array_compare_exchange(a, at, &number, 1), ENOENT);
        assert_int_equal(plait_array_modify(a, at, NULL, NULL), ENOENT);
        assert_int_equal(plait_array_get_many(a, at, 1, cells), ENOENT);
        assert_int_equal(plait_array_set_many(a, 1, at, cells), ENOENT);
        assert_int_equal(plait_array_fill(a, 2, at, cells), ENOENT);
    }
    assert_int_equal(plait_array_get_many(a, 3, 0, NULL), 0);
    assert_int_equal(plait_array_set_double(a, 0, 1), EINVAL);
    assert_int_equal(plait_array_add_double(a, 0, 1, NULL), EINVAL);
    others[0] = make_of(PLAIT_DOUBLE, 0, 3, NULL);
    others[1] = make_of(PLAIT_FLOAT, 0, 3, NULL);
    others[2] = make_of(PLAIT_BYTES, 8, 3, NULL);
    others[3] = make_of(PLAIT_BYTES, 100, 3, NULL);
    for (int i = 0; i < 4; i++) {
        plait_array_t *other = others[i];

        assert_int_equal(plait_array_set_int(other, 0, 1), EINVAL);
        assert_int_equal(plait_array_add(other, 0, 1, NULL), EINVAL);
        assert_int_equal(plait_array_exchange(other, 0, 1, NULL), EINVAL);
        assert_int_equal(plait_array_and(other, 0, 1, NULL), EINVAL);
        assert_int_equal(plait_array_or(other, 0, 1, NULL), EINVAL);
        assert_int_equal(plait_array_xor(other, 0, 1, NULL), EINVAL);
        assert_int_equal(plait_array_compare_exchange(other, 0, &number, 1), EINVAL);
        assert_int_equal(plait_array_set_double(other, 0, 1), i < 2 ? 0 : EINVAL);
        assert_int_equal(plait_array_add_double(other, 3, 1, NULL), i < 2 ? ENOENT : EINVAL);
        assert_int_equal(plait_array_destroy(other), 0);
    }
    drop(a);
}

static int get_beyond(void *a) { close(STDERR_FILENO); return plait_array_get_int(a, 3) != 0; }
static int add_beyond(void *a) { close(STDERR_FILENO); return plait_array_fetch_add(a, SIZE_MAX, 1) != 0; }
static int get_other_type(void *a) { close(STDERR_FILENO); return plait_array_get_double(a, 0) != 0; }

static void value_that_is_not_there_ends_the_program(void **state)
{
    plait_array_t *a = make(false, PLAIT_INT32, 0, 3);

    assert_int_equal(child_run(get_beyond, a), CHILD_SIGNALLED + SIGABRT);
    assert_int_equal(child_run(add_beyond, a), CHILD_SIGNALLED + SIGABRT);
    assert_int_equal(child_run(get_other_type, a), CHILD_SIGNALLED + SIGABRT);
    drop(a);
}

/* ---- Many cells ---- */

/* All beginnings and lengths of a small array, of sizes around words. */
IN_BOTH(many_cells_are_those_and_no_others)
{
    static const size_t sizes[] = { 1, 2, 3, 4, 8, 11, 64 };
    enum { COUNT = 21 };

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        plait_array_t *a = make(shared, PLAIT_BYTES, size, COUNT);
        unsigned char model[COUNT * 64] = { 0 }, news[COUNT * 64 + 1], got[COUNT * 64 + 1];
        unsigned char number = 0;

        for (size_t first = 0; first < COUNT; first++) {
            for (size_t count = 0; count <= COUNT - first; count++) {
                for (size_t at = 0; at < count * size; at++)
                    news[at + 1] = ++number;
                if (count % 5 == 4) {
                    assert_int_equal(plait_array_fill(a, first, count, news + 1), 0);
                    for (size_t at = 0; at < count; at++)
                        memcpy(model + (first + at) * size, news + 1, size);
                } else {
                    assert_int_equal(plait_array_set_many(a, first, count, news + 1), 0);
                    memcpy(model + first * size, news + 1, count * size);
                }
                assert_memory_equal(plait_array_data(a), model, COUNT * size);
                memset(got, 'x', sizeof got);
                assert_int_equal(plait_array_get_many(a, first, count, got + 1), 0);
                assert_memory_equal(got + 1, model + first * size, count * size);
                assert_int_equal(got[0], 'x');
                if (first > 0 || count < COUNT)
                    assert_int_equal(got[1 + count * size], 'x');
            }
        }
        drop(a);
    }
}

IN_BOTH(cells_are_at_first_what_was_given)
{
    static const double reals[] = { 1.5, -2, 1e300 };
    static const unsigned char triples[] = { 1, 2, 3, 4, 5, 6 };
    unsigned char got[6];
    plait_array_t *a;

    begin(shared);
    a = make_of(PLAIT_DOUBLE, 0, 3, reals);
    for (size_t i = 0; i < 3; i++)
        assert_true(plait_array_get_double(a, i) == reals[i]);
    assert_int_equal(plait_array_destroy(a), 0);
    a = make_of(PLAIT_BYTES, 3, 2, triples);
    assert_int_equal(plait_array_get_many(a, 0, 2, got), 0);
    assert_memory_equal(got, triples, 6);
    drop(a);
}

/* ---- modify ---- */

struct change {
    plait_array_t *a;
    int answer, calls;
};

static int double_it(void *cell, void *arg)
{
    struct change *change = arg;
    int32_t number;

    memcpy(&number, cell, sizeof number);
    number *= 2;
    memcpy(cell, &number, sizeof number);
    change->calls++;
    return change->answer;
}

/* Somebody else's change, made without the lock, is not lost. */
static int interrupted(void *cell, void *arg)
{
    struct change *change = arg;

    if (change->calls == 0)
        plait_array_add(change->a, 1, 100, NULL);
    return double_it(cell, arg);
}

static int write_within(void *cell, void *arg)
{
    struct change *change = arg;
    char other[12] = { 0 };

    change->calls += plait_array_set(change->a, 2, other) == EDEADLK;
    change->calls += plait_array_set_many(change->a, 0, 1, other) == EDEADLK;
    change->calls += plait_array_fill(change->a, 0, 1, other) == EDEADLK;
    change->calls += plait_array_modify(change->a, 1, double_it, change) == EDEADLK;
    change->calls += plait_array_get(change->a, 2, other) == 0;
    return 0;
}

IN_BOTH(modify_writes_what_its_function_makes)
{
    plait_array_t *a = make(shared, PLAIT_INT32, 0, 3), *b = make_of(PLAIT_BYTES, 12, 3, NULL);
    struct change change = { .a = a };
    int32_t cell[3] = { 21, 22, 23 };

    assert_int_equal(plait_array_set_int(a, 1, 21), 0);
    assert_int_equal(plait_array_modify(a, 1, double_it, &change), 0);
    assert_int_equal(plait_array_get_int(a, 1), 42);
    change.answer = EPERM;
    assert_int_equal(plait_array_modify(a, 1, double_it, &change), EPERM);
    assert_int_equal(plait_array_get_int(a, 1), 42);
    change = (struct change){ .a = a };
    assert_int_equal(plait_array_modify(a, 1, interrupted, &change), 0);
    assert_int_equal(plait_array_get_int(a, 1), 284);
    assert_int_equal(change.calls, 2);

    assert_int_equal(plait_array_set(b, 1, cell), 0);
    assert_int_equal(plait_array_modify(b, 1, double_it, &change), 0);
    assert_int_equal(plait_array_get(b, 1, cell), 0);
    assert_int_equal(cell[0], 42);
    assert_int_equal(cell[2], 23);
    change.answer = EPERM;
    assert_int_equal(plait_array_modify(b, 1, double_it, &change), EPERM);
    assert_int_equal(plait_array_get(b, 1, cell), 0);
    assert_int_equal(cell[0], 42);
    change = (struct change){ .a = b };
    assert_int_equal(plait_array_modify(b, 1, write_within, &change), 0);
    assert_int_equal(change.calls, 5);
    assert_int_equal(plait_array_set(b, 1, cell), 0);
    assert_int_equal(plait_array_destroy(b), 0);
    drop(a);
}

/* ---- The lock ---- */

static void *lock_at_once(void *a)
{
    static _Thread_local int answer;
    long cell[3] = { 0 };

    answer = plait_array_lock(a, PLAIT_NOW);
    if (answer == 0)
        plait_array_unlock(a);
    if (plait_array_unlock(a) != EPERM || plait_array_consistent(a) != EPERM)
        answer = -1;
    if (answer == ETIMEDOUT && (plait_array_item_size(a) != 8 || plait_array_set(a, 0, cell) != 0))
        answer = -2; /* a number needs no lock */
    return (void *)(intptr_t)answer;
}

static int locks_elsewhere(plait_array_t *a)
{
    pthread_t thread;
    void *answer;

    assert_int_equal(pthread_create(&thread, NULL, lock_at_once, a), 0);
    assert_int_equal(pthread_join(thread, &answer), 0);
    return (int)(intptr_t)answer;
}

IN_BOTH(lock_is_its_holders_who_may_make_all_calls)
{
    plait_array_t *a = make(shared, PLAIT_INT64, 0, 3);
    int64_t cells[3] = { 1, 2, 3 };
    struct change change = { .a = a };

    assert_int_equal(plait_array_unlock(a), EPERM);
    assert_int_equal(plait_array_lock(a, PLAIT_NOW), 0);
    assert_int_equal(plait_array_lock(a, PLAIT_NOW), 0);
    assert_int_equal(plait_array_set_many(a, 0, 3, cells), 0);
    assert_int_equal(plait_array_get_many(a, 0, 3, cells), 0);
    assert_int_equal(plait_array_fill(a, 0, 1, cells + 2), 0);
    assert_int_equal(plait_array_modify(a, 1, double_it, &change), 0);
    assert_int_equal(plait_array_consistent(a), EINVAL);
    assert_int_equal(locks_elsewhere(a), ETIMEDOUT);
    assert_int_equal(plait_array_destroy(a), EBUSY);
    assert_int_equal(plait_array_unlock(a), 0);
    assert_int_equal(locks_elsewhere(a), ETIMEDOUT);
    assert_int_equal(plait_array_unlock(a), 0);
    assert_int_equal(plait_array_unlock(a), EPERM);
    assert_int_equal(locks_elsewhere(a), 0);
    drop(a);
}

static void *wait_for_lock(void *a)
{
    plait_cancel_t token = PLAIT_CANCEL_INIT;
    int64_t cell;
    int wrong = 0;

    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    wrong += plait_array_lock(a, PLAIT_FOREVER) != ECANCELED;
    wrong += plait_array_get_many(a, 0, 1, &cell) != ECANCELED;
    wrong += plait_array_set_many(a, 0, 1, &cell) != ECANCELED;
    plait_cancel_bind(NULL);
    wrong += plait_array_lock(a, plait_after(0.02)) != ETIMEDOUT;
    return (void *)(intptr_t)wrong;
}

IN_BOTH(wait_for_the_lock_ends_by_deadline_and_token)
{
    plait_array_t *a = make(shared, PLAIT_INT64, 0, 3);
    pthread_t thread;
    void *wrong;

    assert_int_equal(plait_array_lock(a, PLAIT_FOREVER), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, a), 0);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    assert_int_equal(plait_array_unlock(a), 0);
    drop(a);
}

/* ---- Death ---- */

static int lock_and_die(void *a)
{
    plait_array_lock(a, PLAIT_FOREVER);
    plait_array_set_int(a, 0, 5);
    raise(SIGKILL);
    return 0;
}

static int die(void *cell, void *arg)
{
    memset(cell, 0xff, 3);
    raise(SIGKILL);
    return 0;
}

static int modify_and_die(void *a) { return plait_array_modify(a, 0, die, NULL); }

static void death_with_the_lock_is_told_until_somebody_has_looked(void **state)
{
    plait_array_t *a = make(true, PLAIT_INT64, 0, 3);
    int64_t cells[3];

    assert_int_equal(child_run(lock_and_die, a), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(plait_array_get_many(a, 0, 3, cells), 0); /* the first who comes does not ask */
    assert_int_equal(cells[0], 5);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(plait_array_lock(a, PLAIT_NOW), EOWNERDEAD);
        assert_int_equal(plait_array_lock(a, PLAIT_NOW), 0);
        assert_int_equal(plait_array_unlock(a), 0);
        if (i == 1)
            assert_int_equal(plait_array_consistent(a), 0);
        assert_int_equal(plait_array_unlock(a), 0);
    }
    assert_int_equal(plait_array_lock(a, PLAIT_NOW), 0);
    assert_int_equal(plait_array_unlock(a), 0);
    assert_int_equal(child_run(lock_and_die, a), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(plait_array_lock(a, PLAIT_NOW), EOWNERDEAD); /* the first who comes asks */
    assert_int_equal(plait_array_consistent(a), 0);
    assert_int_equal(plait_array_unlock(a), 0);
    assert_int_equal(child_run(lock_and_die, a), CHILD_SIGNALLED + SIGKILL);
    drop(a);
}

static void death_in_a_function_leaves_the_cell(void **state)
{
    static const size_t sizes[] = { 3, 8 };

    for (int i = 0; i < 2; i++) {
        plait_array_t *a = make(true, PLAIT_BYTES, sizes[i], 3);
        char cell[8] = "abcdefg", got[8];

        assert_int_equal(plait_array_set(a, 0, cell), 0);
        assert_int_equal(child_run(modify_and_die, a), CHILD_SIGNALLED + SIGKILL);
        assert_int_equal(plait_array_get(a, 0, got), 0);
        assert_memory_equal(got, cell, sizes[i]);
        assert_int_equal(plait_array_lock(a, PLAIT_NOW), 0); /* nothing is wrong */
        assert_int_equal(plait_array_set(a, 1, cell), 0);
        assert_int_equal(plait_array_unlock(a), 0);
        drop(a);
    }
}

/* ---- Names ---- */

static int count_by_name(void *unused)
{
    plait_array_t *a;

    if (plait_array_new(&a, &(struct plait_array_opts){ .count = 4, .arena = arena, .name = "hits",
                                                        .initial = (int64_t[]){ 0, 0, 0, 9 } }))
        return 1;
    if (plait_array_get_int(a, 3) != 40) /* not the first, so not 9 */
        return 2;
    plait_array_add(a, 3, 2, NULL);
    return plait_array_free(a);
}

static void shared_array_is_found_by_reference_and_by_name(void **state)
{
    struct plait_array_opts opts = { .count = 4, .name = "hits" };
    plait_array_t *a, *again;
    plait_ref_t ref;

    begin(true);
    opts.arena = arena;
    assert_int_equal(plait_array_lookup(&a, arena, "hits"), ENOENT);
    assert_null(a);
    assert_int_equal(plait_array_new(&a, &opts), 0);
    assert_int_equal(plait_array_set_int(a, 3, 40), 0);
    assert_int_equal(child_run(count_by_name, NULL), 0);
    assert_int_equal(plait_array_get_int(a, 3), 42);
    assert_int_equal(plait_array_ref(a, &ref), 0);
    assert_int_equal(plait_array_open(&again, ref), 0);
    assert_int_equal(plait_array_len(again), 4);
    assert_int_equal(plait_array_get_int(again, 3), 42);
    assert_int_equal(plait_array_publish(again, "also"), 0);
    assert_int_equal(plait_array_publish(again, "hits"), EEXIST);
    assert_int_equal(plait_array_free(again), 0);
    assert_int_equal(plait_array_lookup(&again, arena, "also"), 0);
    assert_int_equal(plait_array_free(again), 0);
    opts.count = 5;
    assert_int_equal(plait_array_new(&again, &opts), EINVAL);
    assert_null(again);
    opts = (struct plait_array_opts){ .count = 4, .type = PLAIT_UINT64, .arena = arena, .name = "hits" };
    assert_int_equal(plait_array_new(&again, &opts), EINVAL);
    assert_int_equal(plait_array_destroy(a), 0);
    assert_int_equal(plait_array_open(&again, ref), EBADMSG);
    assert_null(again);
    assert_int_equal(plait_array_lookup(&again, arena, "hits"), ENOENT);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

static void what_is_no_array_is_refused(void **state)
{
    static const struct plait_array_opts wrong[] = {
        { .count = 0 }, { .count = ((size_t)1 << 40) + 1 }, { .count = SIZE_MAX }, { .count = 1, .type = PLAIT_BYTES },
        { .count = 1, .type = (enum plait_type)11 }, { .count = 1, .type = PLAIT_INT32, .item_size = 8 },
        { .count = 1, .type = PLAIT_BYTES, .item_size = ((size_t)1 << 30) + 1 }, { .count = 1, .name = "x" },
        { .count = (size_t)1 << 40, .type = PLAIT_BYTES, .item_size = 1 << 30 },
    };
    plait_array_t *a;
    plait_ref_t ref;
    void *memory;

    assert_int_equal(plait_array_free(NULL), 0);
    assert_int_equal(plait_array_destroy(NULL), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(plait_array_new(&a, &wrong[i]), EINVAL);
        assert_null(a);
    }
    assert_int_equal(plait_array_new(&a, NULL), EINVAL);
    assert_int_equal(plait_array_new(&a, &(struct plait_array_opts){ .count = 1, .type = PLAIT_INT32, .item_size = 4 }), 0);
    assert_int_equal(plait_array_ref(a, &ref), EINVAL);
    assert_int_equal(plait_array_publish(a, "x"), EINVAL);
    assert_int_equal(plait_array_free(a), 0);
    begin(true);
    assert_int_equal(plait_array_new(&a, &(struct plait_array_opts){ .count = 1u << 30, .arena = arena }), ENOSPC);
    assert_null(a);
    assert_int_equal(plait_arena_alloc(arena, 5000, &memory), 0);
    assert_int_equal(plait_ref_of(memory, &ref), 0);
    for (int fill = 0; fill < 256; fill += 51) {
        memset(memory, fill, 5000);
        assert_int_equal(plait_array_open(&a, ref), EBADMSG);
    }
    assert_int_equal(plait_arena_dealloc(arena, memory), 0);
    end();
}

/* Each byte of the body is spoilt; whatever is answered, it is answered, and nothing outside of the array is touched. */
static int open_and_use(void *arg)
{
    plait_ref_t *ref = arg;
    plait_array_t *a;
    char cell[12] = "abc";
    int err;

    alarm(SECONDS);
    err = plait_array_open(&a, *ref);
    if (err)
        return err == EBADMSG ? 1 : 2;
    if (plait_array_len(a) != 3 || plait_array_item_size(a) != 12)
        return 3;
    for (size_t i = 0; i < 4; i++) {
        plait_array_get(a, i, cell);
        plait_array_set(a, i, cell);
    }
    err = plait_array_lock(a, plait_after(0.01));
    if (err == 0 || err == EOWNERDEAD)
        plait_array_unlock(a);
    return 0;
}

static void damaged_array_answers(void **state)
{
    enum { BODY = 128, LOCK = 48, TYPE = 8 };
    plait_array_t *a = make(true, PLAIT_BYTES, 12, 3);
    unsigned char *body = (unsigned char *)plait_array_data(a) - BODY, image[BODY];
    int refused = 0;
    plait_ref_t ref;

    assert_int_equal(plait_array_ref(a, &ref), 0);
    memcpy(image, body, BODY);
    for (size_t at = 0; at < BODY; at++) {
        int answer;

        if (at >= LOCK && at < LOCK + sizeof(plait_rlock_t))
            continue; /* one that seems to be held is waited for */
        body[at] ^= 0x41;
        answer = child_run(open_and_use, &ref);
        memcpy(body, image, BODY);
        assert_in_range(answer, 0, 1);
        refused += answer;
    }
    assert_true(refused >= 4 + 4 + 4 + 8 + 8 - 1);
    assert_int_equal(child_run(open_and_use, &ref), 0);
    drop(a);
}

/* ---- Value ---- */

static int set_to_nine(void *cell, void *arg)
{
    *(int64_t *)cell = 9;
    return 0;
}

IN_BOTH(value_is_an_array_of_one)
{
    plait_value_t *v, *real;
    int64_t old = 7;
    double old_real;

    begin(shared);
    assert_int_equal(plait_value_new(&v, &(struct plait_value_opts){ .initial = &(int64_t){ 100 }, .arena = arena }), 0);
    assert_int_equal(plait_array_len(v), 1);
    assert_int_equal(plait_value_get_int(v), 100);
    assert_int_equal(plait_value_fetch_add(v, -1), 100);
    assert_int_equal(plait_value_add(v, -1, &old), 0);
    assert_int_equal(old, 99);
    assert_int_equal(plait_value_set_int(v, 6), 0);
    assert_int_equal(plait_value_exchange(v, 5, &old), 0);
    assert_int_equal(old, 6);
    assert_int_equal(plait_value_compare_exchange(v, &old, 1), EAGAIN);
    assert_int_equal(plait_value_compare_exchange(v, &old, 12), 0);
    assert_int_equal(plait_value_and(v, 6, NULL), 0);
    assert_int_equal(plait_value_or(v, 1, NULL), 0);
    assert_int_equal(plait_value_xor(v, 15, NULL), 0);
    assert_int_equal(plait_value_get(v, &old), 0);
    assert_int_equal(old, 10);
    assert_int_equal(plait_value_modify(v, set_to_nine, NULL), 0);
    assert_int_equal(plait_value_lock(v, PLAIT_NOW), 0);
    assert_int_equal(plait_value_consistent(v), EINVAL);
    assert_int_equal(plait_value_unlock(v), 0);
    assert_int_equal(plait_value_get_int(v), 9);
    old = 3;
    assert_int_equal(plait_value_set(v, &old), 0);
    assert_int_equal(plait_value_get_int(v), 3);
    assert_int_equal(plait_value_new(&real, &(struct plait_value_opts){ .type = PLAIT_FLOAT, .arena = arena }), 0);
    assert_int_equal(plait_value_set_double(real, 1.5), 0);
    assert_int_equal(plait_value_add_double(real, 1, &old_real), 0);
    assert_true(plait_value_get_double(real) == 2.5);
    assert_int_equal(plait_value_set_int(real, 1), EINVAL);
    assert_int_equal(plait_value_destroy(real), 0);
    assert_int_equal(plait_value_destroy(v), 0);
    assert_int_equal(plait_value_new(&v, &(struct plait_value_opts){ .item_size = 4 }), EINVAL);
    assert_null(v);
    end();
}

static void value_is_found_and_an_array_is_not_taken_for_one(void **state)
{
    plait_value_t *v, *again;
    plait_array_t *a;
    plait_ref_t ref;

    begin(true);
    assert_int_equal(plait_value_new(&v, &(struct plait_value_opts){ .arena = arena, .name = "v" }), 0);
    assert_int_equal(plait_value_publish(v, "w"), 0);
    assert_int_equal(plait_value_add(v, 4, NULL), 0);
    assert_int_equal(plait_value_lookup(&again, arena, "w"), 0);
    assert_int_equal(plait_value_get_int(again), 4);
    assert_int_equal(plait_value_free(again), 0);
    assert_int_equal(plait_value_ref(v, &ref), 0);
    assert_int_equal(plait_value_open(&again, ref), 0);
    assert_int_equal(plait_value_free(again), 0);
    assert_int_equal(plait_array_new(&a, &(struct plait_array_opts){ .count = 2, .arena = arena, .name = "a" }), 0);
    assert_int_equal(plait_array_ref(a, &ref), 0);
    assert_int_equal(plait_value_open(&again, ref), EBADMSG);
    assert_null(again);
    assert_int_equal(plait_value_lookup(&again, arena, "a"), EBADMSG);
    assert_int_equal(plait_value_new(&again, &(struct plait_value_opts){ .arena = arena, .name = "a" }), EINVAL);
    assert_int_equal(plait_array_destroy(a), 0);
    assert_int_equal(plait_value_destroy(v), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

/* ---- Many at once ---- */

enum { WORKERS = 4, ROUNDS = 3000 };

struct hand {
    plait_array_t *numbers, *triples, *reals;
    int index;
    pthread_t thread;
    pid_t pid; /* 0: a thread */
    long wrong;
};

struct triple { int32_t a, b, c; };

static int count_triple(void *cell, void *arg)
{
    struct triple t;

    memcpy(&t, cell, sizeof t);
    *(long *)arg += t.a != t.b || t.b != t.c;
    t = (struct triple){ t.a + 1, t.b + 1, t.c + 1 };
    memcpy(cell, &t, sizeof t);
    return 0;
}

static int count_number(void *cell, void *arg)
{
    ++*(int64_t *)cell;
    return 0;
}

/*
 * 0: add; 1: compare_exchange; 2: modify; 3: under the lock; 4, 5: in one value from all, unless torn; 6 and 7: equal under the lock; 8: bits.
 */
static long work(struct hand *hand)
{
    plait_array_t *a = hand->numbers;
    long wrong = 0;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t half = (int64_t)(hand->index + 1) * 0x0101010101010101, seen[2], old;
        struct triple t;

        wrong += plait_array_add(a, 0, 1, NULL) != 0;
        old = plait_array_get_int(a, 1);
        while (plait_array_compare_exchange(a, 1, &old, old + 1) == EAGAIN)
            ;
        wrong += plait_array_modify(a, 2, count_number, NULL) != 0;
        wrong += plait_array_lock(a, plait_after(SECONDS)) != 0;
        wrong += plait_array_set_int(a, 3, plait_array_get_int(a, 3) + 1) != 0;
        wrong += plait_array_unlock(a) != 0;
        wrong += plait_array_set_int(a, 4, half) != 0;
        old = plait_array_get_int(a, 4);
        wrong += old != (old & 0xff) * 0x0101010101010101;
        wrong += plait_array_set_many(a, 6, 2, (int64_t[]){ half + i, half + i }) != 0;
        wrong += plait_array_get_many(a, 6, 2, seen) != 0 || seen[0] != seen[1];
        wrong += plait_array_or(a, 8, (int64_t)1 << (hand->index * 8 + i % 8), NULL) != 0;
        wrong += plait_array_modify(hand->triples, 1, count_triple, &wrong) != 0;
        wrong += plait_array_get(hand->triples, 1, &t) != 0 || t.a != t.b || t.b != t.c;
        wrong += plait_array_add_double(hand->reals, 2, 0.5, NULL) != 0;
    }
    return wrong;
}

static void *work_in_thread(void *arg)
{
    struct hand *hand = arg;

    hand->wrong = work(hand);
    return NULL;
}

static void start(struct hand *hand, bool as_process)
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

static void finish(struct hand *hand)
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
        struct hand hands[WORKERS], all = { 0 };
        struct triple t;

        all.numbers = make(how > 0, PLAIT_INT64, 0, 9);
        all.triples = make_of(PLAIT_BYTES, sizeof(struct triple), 3, NULL);
        all.reals = make_of(PLAIT_FLOAT, 0, 3, NULL);
        for (int i = 0; i < WORKERS; i++) {
            hands[i] = all;
            hands[i].index = i;
            start(&hands[i], how == 2);
        }
        for (int i = 0; i < WORKERS; i++)
            finish(&hands[i]);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(plait_array_get_int(all.numbers, i), WORKERS * ROUNDS);
        assert_int_equal(plait_array_get_int(all.numbers, 8), UINT32_MAX);
        assert_int_equal(plait_array_get(all.triples, 1, &t), 0);
        assert_int_equal(t.a, WORKERS * ROUNDS);
        assert_true(plait_array_get_double(all.reals, 2) == WORKERS * ROUNDS / 2.0);
        assert_int_equal(plait_array_destroy(all.reals), 0);
        assert_int_equal(plait_array_destroy(all.triples), 0);
        drop(all.numbers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_hold_what_their_type_holds),
        cmocka_unit_test(compare_exchange_says_what_is_there),
        cmocka_unit_test(floating_point_cells_hold_and_add),
        cmocka_unit_test(bytes_are_copied_in_and_out),
        cmocka_unit_test(index_and_type_are_checked),
        cmocka_unit_test(value_that_is_not_there_ends_the_program),
        cmocka_unit_test(many_cells_are_those_and_no_others),
        cmocka_unit_test(cells_are_at_first_what_was_given),
        cmocka_unit_test(modify_writes_what_its_function_makes),
        cmocka_unit_test(lock_is_its_holders_who_may_make_all_calls),
        cmocka_unit_test(wait_for_the_lock_ends_by_deadline_and_token),
        cmocka_unit_test(death_with_the_lock_is_told_until_somebody_has_looked),
        cmocka_unit_test(death_in_a_function_leaves_the_cell),
        cmocka_unit_test(shared_array_is_found_by_reference_and_by_name),
        cmocka_unit_test(what_is_no_array_is_refused),
        cmocka_unit_test(damaged_array_answers),
        cmocka_unit_test(value_is_an_array_of_one),
        cmocka_unit_test(value_is_found_and_an_array_is_not_taken_for_one),
        cmocka_unit_test(every_change_counts_whoever_makes_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
