/* SPDX-License-Identifier: MIT */
/* Tests of lib/exec/local.c. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"

enum { MANY = 3000, THREADS = 4 };

/* What was destroyed: how often, and by which thread last. */
static struct {
    int calls; /* atomic */
    pthread_t by;
    void *value, *seen;
} destroyed;

static plait_local_t counted; /* made by each test */

static void note_destroyed(void *value)
{
    destroyed.by = pthread_self();
    destroyed.value = value;
    destroyed.seen = plait_local_get(&counted);
    __atomic_fetch_add(&destroyed.calls, 1, __ATOMIC_RELAXED);
}

static void make_counted(void)
{
    memset(&destroyed, 0, sizeof destroyed);
    assert_int_equal(plait_local_init(&counted, note_destroyed), 0);
}

/* In a thread made by pthreads, to its end. */
static void *in_thread(void *(*target)(void *), void *arg)
{
    pthread_t thread;
    void *result;

    assert_int_equal(pthread_create(&thread, NULL, target, arg), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    return result;
}

static void *set_it(void *value)
{
    bool was_null = plait_local_get(&counted) == NULL;

    if (plait_local_set(&counted, value) != 0 || plait_local_get(&counted) != value)
        return NULL;
    return was_null ? value : NULL;
}

static void each_thread_has_a_value_of_its_own(void **state)
{
    int mine, theirs;

    make_counted();
    assert_null(plait_local_get(&counted));
    assert_int_equal(plait_local_set(&counted, &mine), 0);
    assert_ptr_equal(in_thread(set_it, &theirs), &theirs);
    assert_ptr_equal(plait_local_get(&counted), &mine);
    assert_int_equal(plait_local_set(&counted, NULL), 0);
    assert_null(plait_local_get(&counted));
    assert_int_equal(plait_local_fini(&counted), 0);
}

static void value_is_destroyed_by_its_thread_when_that_ends(void **state)
{
    pthread_t thread;
    int value;

    make_counted();
    assert_int_equal(pthread_create(&thread, NULL, set_it, &value), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(destroyed.calls, 1);
    assert_ptr_equal(destroyed.value, &value);
    assert_true(pthread_equal(destroyed.by, thread));
    assert_null(destroyed.seen);
    plait_local_fini(&counted);
}

static void *set_and_exit(void *value)
{
    set_it(value);
    pthread_exit(NULL);
}

static void *set_and_be_cancelled(void *value)
{
    set_it(value);
    pthread_cancel(pthread_self());
    for (;;)
        pause();
    return value;
}

static void value_is_destroyed_however_the_thread_ends(void **state)
{
    plait_thread_t *thread;
    int value;

    make_counted();
    in_thread(set_and_exit, &value);
    assert_int_equal(destroyed.calls, 1);
    in_thread(set_and_be_cancelled, &value);
    assert_int_equal(destroyed.calls, 2);
    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = set_it, .arg = &value }), 0);
    assert_int_equal(plait_thread_start(thread), 0);
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(destroyed.calls, 3);
    plait_thread_free(thread);
    plait_local_fini(&counted);
}

static void *set_and_take_back(void *value)
{
    set_it(value);
    plait_local_set(&counted, NULL);
    return NULL;
}

static void what_is_null_or_replaced_is_not_destroyed(void **state)
{
    int value;

    make_counted();
    in_thread(set_and_take_back, &value);
    assert_int_equal(destroyed.calls, 0);
    plait_local_fini(&counted);
}

static plait_local_t plain = PLAIT_LOCAL_INIT(NULL);

static void *set_plain(void *value) { return plait_local_set(&plain, value) == 0 ? plait_local_get(&plain) : NULL; }

static void static_one_needs_no_call_and_may_destroy_nothing(void **state)
{
    int value;

    assert_null(plait_local_get(&plain));
    assert_ptr_equal(in_thread(set_plain, &value), &value);
    assert_null(plait_local_get(&plain));
}

/* More than pthreads have keys; and in another order, so that rows grow by leaps. */
static void there_may_be_very_many(void **state)
{
    plait_local_t *locals = calloc(MANY, sizeof *locals);

    assert_non_null(locals);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(plait_local_init(&locals[i], NULL), 0);
        assert_int_equal(plait_local_set(&locals[i], &locals[i]), 0);
    }
    for (int i = MANY - 1; i >= 0; i--)
        assert_ptr_equal(plait_local_get(&locals[i]), &locals[i]);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(plait_local_fini(&locals[i]), 0);
    free(locals);
}

static void new_one_has_no_values_of_one_that_has_ended(void **state)
{
    static plait_local_t locals[20];
    int value;

    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 20; i++) {
            assert_int_equal(plait_local_init(&locals[i], NULL), 0);
            assert_null(plait_local_get(&locals[i]));
            assert_int_equal(plait_local_set(&locals[i], &value), 0);
            if (i % 3 == 0 || round == 2)
                plait_local_fini(&locals[i]);
        }
}

/* A thread that stays until it is told. */
struct stay {
    plait_event_t has_set, go;
    void *value;
};

static void *set_and_stay(void *arg)
{
    struct stay *stay = arg;

    set_it(stay->value);
    plait_event_set(&stay->has_set);
    plait_event_wait(&stay->go, PLAIT_FOREVER);
    return NULL;
}

static void values_of_one_that_has_ended_are_not_destroyed(void **state)
{
    static struct stay stay;
    plait_local_t next;
    pthread_t thread;
    int value;

    make_counted();
    stay.value = &value;
    assert_int_equal(pthread_create(&thread, NULL, set_and_stay, &stay), 0);
    plait_event_wait(&stay.has_set, PLAIT_FOREVER);
    plait_local_fini(&counted);
    plait_local_init(&next, note_destroyed); /* has the number of that */
    plait_local_set(&next, NULL);
    plait_event_set(&stay.go);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(destroyed.calls, 0);
    plait_local_fini(&next);
}

static plait_local_t chained[2];
static int chain_length, chain_ends_at;

static void set_the_next(void *value)
{
    if (++chain_length < chain_ends_at)
        plait_local_set(&chained[chain_length % 2], value);
}

static void *begin_chain(void *value)
{
    plait_local_set(&chained[0], value);
    return NULL;
}

static void what_a_destroy_function_sets_is_destroyed_for_some_rounds(void **state)
{
    for (int i = 0; i < 2; i++)
        plait_local_init(&chained[i], set_the_next);
    chain_ends_at = 3;
    in_thread(begin_chain, chained);
    assert_int_equal(chain_length, 3);
    chain_length = 0;
    chain_ends_at = 1000000;
    in_thread(begin_chain, chained);
    assert_in_range(chain_length, 4, 100); /* and there was an end */
    for (int i = 0; i < 2; i++)
        plait_local_fini(&chained[i]);
}

static plait_local_t raced[200];

static void *set_all(void *value)
{
    for (size_t i = 0; i < 200; i++)
        if (plait_local_set(&raced[i], (char *)value + i) != 0)
            return NULL;
    for (size_t i = 0; i < 200; i++)
        if (plait_local_get(&raced[i]) != (char *)value + i)
            return NULL;
    return value;
}

static void threads_may_set_one_for_the_first_time_at_once(void **state)
{
    static char values[THREADS][200];
    pthread_t threads[THREADS];
    void *result;

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, set_all, values[i]), 0);
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(threads[i], &result), 0);
            assert_ptr_equal(result, values[i]);
        }
        for (int i = 0; i < 200; i++)
            plait_local_fini(&raced[i]);
    }
}

static int look_in_child(void *value)
{
    if (plait_local_get(&counted) != value)
        return 1;
    plait_local_set(&counted, NULL);
    return plait_local_get(&counted) ? 2 : 0;
}

static void child_of_fork_keeps_the_forking_threads_value(void **state)
{
    int value;

    make_counted();
    plait_local_set(&counted, &value);
    assert_int_equal(child_run(look_in_child, &value), 0);
    assert_ptr_equal(plait_local_get(&counted), &value);
    assert_int_equal(destroyed.calls, 0);
    plait_local_set(&counted, NULL);
    plait_local_fini(&counted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_thread_has_a_value_of_its_own),
        cmocka_unit_test(value_is_destroyed_by_its_thread_when_that_ends),
        cmocka_unit_test(value_is_destroyed_however_the_thread_ends),
        cmocka_unit_test(what_is_null_or_replaced_is_not_destroyed),
        cmocka_unit_test(static_one_needs_no_call_and_may_destroy_nothing),
        cmocka_unit_test(there_may_be_very_many),
        cmocka_unit_test(new_one_has_no_values_of_one_that_has_ended),
        cmocka_unit_test(values_of_one_that_has_ended_are_not_destroyed),
        cmocka_unit_test(what_a_destroy_function_sets_is_destroyed_for_some_rounds),
        cmocka_unit_test(threads_may_set_one_for_the_first_time_at_once),
        cmocka_unit_test(child_of_fork_keeps_the_forking_threads_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
