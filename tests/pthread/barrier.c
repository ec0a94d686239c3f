/* SPDX-License-Identifier: MIT */
/* Barriers, as POSIX describes them. */
#include "pthread/program.h"

enum { PARTIES = 4, ROUNDS = 200 };

struct meeting {
    pthread_barrier_t barrier;
    uint32_t arrived; /* atomic */
    uint32_t serial;  /* atomic: who was told to be the one */
    uint32_t faults;  /* atomic */
};

static void *meet(void *arg)
{
    struct meeting *m = arg;

    for (uint32_t round = 1; round <= ROUNDS; round++) {
        int answer;

        __atomic_fetch_add(&m->arrived, 1, __ATOMIC_RELAXED);
        answer = pthread_barrier_wait(&m->barrier);
        if (answer == PTHREAD_BARRIER_SERIAL_THREAD)
            __atomic_fetch_add(&m->serial, 1, __ATOMIC_RELAXED);
        else if (answer != 0)
            __atomic_fetch_add(&m->faults, 1, __ATOMIC_RELAXED);
        if (__atomic_load_n(&m->arrived, __ATOMIC_RELAXED) < round * PARTIES)
            __atomic_fetch_add(&m->faults, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static int meet_in_child(void *arg)
{
    meet(arg);
    return 0;
}

static void barrier_lets_all_go_and_names_one(void **state)
{
    struct runner runners[PARTIES];
    struct meeting m = { .arrived = 0 };

    assert_int_equal(pthread_barrier_init(&m.barrier, NULL, PARTIES), 0);
    for (int i = 0; i < PARTIES; i++)
        start(&runners[i], meet, &m);
    for (int i = 0; i < PARTIES; i++)
        finish(&runners[i]);
    assert_int_equal(m.faults, 0);
    assert_int_equal(m.serial, ROUNDS);
    assert_int_equal(pthread_barrier_destroy(&m.barrier), 0);
}

static void barrier_of_one_is_no_obstacle_and_of_none_is_refused(void **state)
{
    pthread_barrier_t barrier;

    assert_int_equal(pthread_barrier_init(&barrier, NULL, 0), EINVAL);
    assert_int_equal(pthread_barrier_init(&barrier, NULL, 1), 0);
    assert_int_equal(pthread_barrier_wait(&barrier), PTHREAD_BARRIER_SERIAL_THREAD);
    assert_int_equal(pthread_barrier_destroy(&barrier), 0);
}

static void *pass(void *arg)
{
    return as_result(pthread_barrier_wait(arg));
}

/* Whoever has passed may destroy it, though others are still on their way out. */
static void barrier_is_destroyed_by_who_has_passed(void **state)
{
    for (int round = 0; round < 100; round++) {
        pthread_barrier_t *barrier = malloc(sizeof *barrier);
        struct runner runner;
        int mine;

        assert_int_equal(pthread_barrier_init(barrier, NULL, 2), 0);
        start(&runner, pass, barrier);
        mine = pthread_barrier_wait(barrier);
        assert_int_equal(pthread_barrier_destroy(barrier), 0);
        memset(barrier, 0xff, sizeof *barrier);
        free(barrier);
        assert_int_equal(mine + (int)(intptr_t)finish(&runner), PTHREAD_BARRIER_SERIAL_THREAD);
    }
}

static void barrier_shared_serves_processes(void **state)
{
    struct meeting *m = shared_memory(sizeof *m);
    pthread_barrierattr_t attr;
    pid_t pids[PARTIES];
    int pshared;

    assert_non_null(m);
    assert_int_equal(pthread_barrierattr_init(&attr), 0);
    assert_int_equal(pthread_barrierattr_getpshared(&attr, &pshared), 0);
    assert_int_equal(pshared, PTHREAD_PROCESS_PRIVATE);
    assert_int_equal(pthread_barrierattr_setpshared(&attr, 4711), EINVAL);
    assert_int_equal(pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_barrier_init(&m->barrier, &attr, PARTIES), 0);
    assert_int_equal(pthread_barrierattr_destroy(&attr), 0);
    for (int i = 0; i < PARTIES; i++)
        pids[i] = child_start(meet_in_child, m);
    for (int i = 0; i < PARTIES; i++)
        assert_int_equal(child_end(pids[i]), 0);
    assert_int_equal(m->faults, 0);
    assert_int_equal(m->serial, ROUNDS);
    assert_int_equal(pthread_barrier_destroy(&m->barrier), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(barrier_lets_all_go_and_names_one),
        cmocka_unit_test(barrier_of_one_is_no_obstacle_and_of_none_is_refused),
        cmocka_unit_test(barrier_is_destroyed_by_who_has_passed),
        cmocka_unit_test(barrier_shared_serves_processes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
