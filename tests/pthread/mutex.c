/* SPDX-License-Identifier: MIT */
/* Mutexes of all kinds, as POSIX describes them. */
#include "pthread/program.h"

static void make(pthread_mutex_t *mutex, int type, int robust, int pshared)
{
    pthread_mutexattr_t attr;

    assert_int_equal(pthread_mutexattr_init(&attr), 0);
    assert_int_equal(pthread_mutexattr_settype(&attr, type), 0);
    assert_int_equal(pthread_mutexattr_setrobust(&attr, robust), 0);
    assert_int_equal(pthread_mutexattr_setpshared(&attr, pshared), 0);
    assert_int_equal(pthread_mutex_init(mutex, &attr), 0);
    assert_int_equal(pthread_mutexattr_destroy(&attr), 0);
}

static void *try(void *mutex)
{
    int err = pthread_mutex_trylock(mutex);

    if (err == 0)
        pthread_mutex_unlock(mutex);
    return as_result(err);
}

static void *lock(void *mutex)
{
    int err = pthread_mutex_lock(mutex);

    if (err == 0)
        pthread_mutex_unlock(mutex);
    return as_result(err);
}

static void *unlock(void *mutex)
{
    return as_result(pthread_mutex_unlock(mutex));
}

static void *lock_and_end(void *mutex)
{
    return as_result(pthread_mutex_lock(mutex));
}

static void mutex_of_every_initialiser_excludes(void **state)
{
    pthread_mutex_t mutexes[] = {
        PTHREAD_MUTEX_INITIALIZER,
#ifdef PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP
        PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP,
        PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP,
        PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP,
#endif
    };

    for (size_t i = 0; i < sizeof mutexes / sizeof mutexes[0]; i++) {
        assert_ptr_equal(elsewhere(try, &mutexes[i]), as_result(0));
        assert_int_equal(pthread_mutex_lock(&mutexes[i]), 0);
        assert_ptr_equal(elsewhere(try, &mutexes[i]), as_result(EBUSY));
        assert_int_equal(pthread_mutex_unlock(&mutexes[i]), 0);
        assert_ptr_equal(elsewhere(try, &mutexes[i]), as_result(0));
        assert_int_equal(pthread_mutex_destroy(&mutexes[i]), 0);
    }
}

static void mutex_recursive_is_free_after_as_many_unlocks(void **state)
{
    pthread_mutex_t mutex;

    make(&mutex, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    assert_int_equal(pthread_mutex_trylock(&mutex), 0);
    assert_ptr_equal(elsewhere(unlock, &mutex), as_result(EPERM));
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(elsewhere(try, &mutex), as_result(EBUSY));
        assert_int_equal(pthread_mutex_unlock(&mutex), 0);
    }
    assert_ptr_equal(elsewhere(try, &mutex), as_result(0));
    assert_int_equal(pthread_mutex_unlock(&mutex), EPERM);
    assert_int_equal(pthread_mutex_destroy(&mutex), 0);
}

static void mutex_errorcheck_tells_errors(void **state)
{
    struct timespec soon = in_ms(CLOCK_REALTIME, 10000), past = { 1, 0 };
    pthread_mutex_t mutex;

    make(&mutex, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
    assert_int_equal(pthread_mutex_unlock(&mutex), EPERM);
    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    assert_int_equal(pthread_mutex_lock(&mutex), EDEADLK);
    assert_int_equal(pthread_mutex_trylock(&mutex), EBUSY);
    assert_int_equal(pthread_mutex_timedlock(&mutex, &soon), EDEADLK);
    assert_int_equal(pthread_mutex_timedlock(&mutex, &past), EDEADLK);
    assert_ptr_equal(elsewhere(unlock, &mutex), as_result(EPERM));
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
    assert_int_equal(pthread_mutex_unlock(&mutex), EPERM);
    assert_int_equal(pthread_mutex_destroy(&mutex), 0);
}

static void mutex_normal_locked_twice_deadlocks(void **state)
{
    struct timespec soon = in_ms(CLOCK_REALTIME, 30);
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    assert_int_equal(pthread_mutex_trylock(&mutex), EBUSY);
    assert_int_equal(pthread_mutex_timedlock(&mutex, &soon), ETIMEDOUT);
    assert_true(has_passed(CLOCK_REALTIME, soon));
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
}

static void mutex_deadlines_hold_on_both_clocks(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    struct timespec past = { 1, 0 }, bad = { 1, 1000000000 }, negative = { -1, 0 };

    assert_int_equal(pthread_mutex_timedlock(&mutex, &past), 0); /* free: no deadline counts */
    assert_int_equal(pthread_mutex_timedlock(&mutex, &past), ETIMEDOUT);
    assert_int_equal(pthread_mutex_timedlock(&mutex, &negative), ETIMEDOUT);
    assert_int_equal(pthread_mutex_timedlock(&mutex, &bad), EINVAL);
    bad.tv_nsec = -1;
    assert_int_equal(pthread_mutex_timedlock(&mutex, &bad), EINVAL);
#ifdef __GLIBC__
    {
        struct timespec soon = in_ms(CLOCK_MONOTONIC, 20);

        assert_int_equal(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &soon), ETIMEDOUT);
        assert_true(has_passed(CLOCK_MONOTONIC, soon));
        soon = in_ms(CLOCK_REALTIME, 20);
        assert_int_equal(pthread_mutex_clocklock(&mutex, CLOCK_REALTIME, &soon), ETIMEDOUT);
        assert_true(has_passed(CLOCK_REALTIME, soon));
        assert_int_equal(pthread_mutex_clocklock(&mutex, CLOCK_PROCESS_CPUTIME_ID, &soon), EINVAL);
        assert_int_equal(pthread_mutex_unlock(&mutex), 0);
        assert_int_equal(pthread_mutex_clocklock(&mutex, CLOCK_PROCESS_CPUTIME_ID, &soon), EINVAL);
        assert_int_equal(pthread_mutex_lock(&mutex), 0);
    }
#endif
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
}

static void *lock_far_away(void *mutex)
{
    struct timespec at = { INT32_MAX, 0 };
    int err = pthread_mutex_timedlock(mutex, &at);

    if (err == 0)
        pthread_mutex_unlock(mutex);
    return as_result(err);
}

static void mutex_sleepers_all_get_it(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    struct runner runners[8];

    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    for (int i = 0; i < 8; i++)
        start(&runners[i], i % 2 ? lock : lock_far_away, &mutex);
    for (int i = 0; i < 8; i++)
        until_asleep(&runners[i]);
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
    for (int i = 0; i < 8; i++)
        assert_ptr_equal(finish(&runners[i]), as_result(0));
}

static void mutex_held_is_not_destroyed(void **state)
{
    pthread_mutex_t mutex;

    assert_int_equal(pthread_mutex_init(&mutex, NULL), 0);
    assert_int_equal(pthread_mutex_lock(&mutex), 0);
#ifdef __GLIBC__ /* POSIX leaves it open */
    assert_int_equal(pthread_mutex_destroy(&mutex), EBUSY);
#endif
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
    assert_int_equal(pthread_mutex_destroy(&mutex), 0);
    assert_int_equal(pthread_mutex_init(&mutex, NULL), 0);
    assert_int_equal(pthread_mutex_destroy(&mutex), 0);
}

static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK };

static void mutex_robust_tells_of_its_dead_holder(void **state)
{
    struct timespec soon = in_ms(CLOCK_REALTIME, 10000);

    if (!deaths_are_told())
        skip();
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        pthread_mutex_t mutex;

        make(&mutex, types[i], PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_PRIVATE);
        assert_ptr_equal(elsewhere(lock_and_end, &mutex), as_result(0));
        assert_int_equal(pthread_mutex_lock(&mutex), EOWNERDEAD);
        assert_int_equal(pthread_mutex_consistent(&mutex), 0);
        assert_int_equal(pthread_mutex_consistent(&mutex), EINVAL);
        assert_int_equal(pthread_mutex_unlock(&mutex), 0);

        assert_ptr_equal(elsewhere(lock_and_end, &mutex), as_result(0));
        assert_int_equal(pthread_mutex_trylock(&mutex), EOWNERDEAD);
        assert_ptr_equal(elsewhere(try, &mutex), as_result(EBUSY));
        assert_int_equal(pthread_mutex_consistent(&mutex), 0);
        assert_int_equal(pthread_mutex_unlock(&mutex), 0);
        assert_ptr_equal(elsewhere(try, &mutex), as_result(0));
        assert_ptr_equal(elsewhere(lock, &mutex), as_result(0));

        assert_ptr_equal(elsewhere(lock_and_end, &mutex), as_result(0));
        assert_int_equal(pthread_mutex_timedlock(&mutex, &soon), EOWNERDEAD);
        assert_int_equal(pthread_mutex_unlock(&mutex), 0);
        assert_int_equal(pthread_mutex_lock(&mutex), ENOTRECOVERABLE);
        assert_int_equal(pthread_mutex_trylock(&mutex), ENOTRECOVERABLE);
        assert_int_equal(pthread_mutex_destroy(&mutex), 0);
    }
}

static void mutex_robust_is_given_back_only_by_its_holder(void **state)
{
    if (!deaths_are_told())
        skip();
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        pthread_mutex_t mutex;

        make(&mutex, types[i], PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_PRIVATE);
        assert_int_equal(pthread_mutex_unlock(&mutex), EPERM);
        assert_int_equal(pthread_mutex_lock(&mutex), 0);
        assert_ptr_equal(elsewhere(unlock, &mutex), as_result(EPERM));
        assert_int_equal(pthread_mutex_consistent(&mutex), EINVAL);
        assert_int_equal(pthread_mutex_unlock(&mutex), 0);
        assert_int_equal(pthread_mutex_destroy(&mutex), 0);
    }
}

struct pass {
    pthread_mutex_t mutex;
    sem_t held, die;
};

static void *hold(void *arg)
{
    struct pass *pass = arg;

    pthread_mutex_lock(&pass->mutex);
    sem_post(&pass->held);
    sem_wait(&pass->die);
    return NULL;
}

static void mutex_robust_wakes_who_sleeps_when_its_holder_dies(void **state)
{
    struct runner sleeper, holder;
    struct pass pass;

    if (!deaths_are_told())
        skip();
    make(&pass.mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_PRIVATE);
    assert_int_equal(sem_init(&pass.held, 0, 0), 0);
    assert_int_equal(sem_init(&pass.die, 0, 0), 0);
    start(&holder, hold, &pass);
    assert_int_equal(sem_wait(&pass.held), 0);
    start(&sleeper, lock_and_end, &pass.mutex);
    until_asleep(&sleeper);
    assert_int_equal(sem_post(&pass.die), 0);
    assert_ptr_equal(finish(&sleeper), as_result(EOWNERDEAD));
    finish(&holder);
    assert_int_equal(pthread_mutex_lock(&pass.mutex), EOWNERDEAD);
    assert_int_equal(pthread_mutex_consistent(&pass.mutex), 0);
    assert_int_equal(pthread_mutex_unlock(&pass.mutex), 0);
}

static void mutex_that_is_not_robust_is_never_consistent(void **state)
{
    pthread_mutex_t mutex;

    make(&mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
    assert_int_equal(pthread_mutex_consistent(&mutex), EINVAL);
    assert_int_equal(pthread_mutex_destroy(&mutex), 0);
}

struct counted {
    pthread_mutex_t mutex;
    long count;
};

static int count_in_child(void *arg)
{
    struct counted *c = arg;

    for (int i = 0; i < 10000; i++) {
        if (pthread_mutex_lock(&c->mutex) != 0)
            return 1;
        c->count++;
        pthread_mutex_unlock(&c->mutex);
    }
    return 0;
}

static int die_in_child(void *arg)
{
    pthread_mutex_lock(&((struct counted *)arg)->mutex);
    raise(SIGKILL);
    return 1;
}

static void mutex_shared_excludes_processes(void **state)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct counted *c = shared_memory(sizeof *c);
        pid_t pids[3];

        assert_non_null(c);
        make(&c->mutex, types[i], i ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_SHARED);
        for (int k = 0; k < 3; k++)
            pids[k] = child_start(count_in_child, c);
        for (int k = 0; k < 3; k++)
            assert_int_equal(child_end(pids[k]), 0);
        assert_int_equal(c->count, 30000);
        assert_int_equal(pthread_mutex_destroy(&c->mutex), 0);
    }
}

static void mutex_shared_and_robust_outlives_a_killed_process(void **state)
{
    struct counted *c = shared_memory(sizeof *c);

    if (!IS_PLAIT && !deaths_are_told())
        skip();
    assert_non_null(c);
    make(&c->mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_SHARED);
    assert_int_equal(child_run(die_in_child, c), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(pthread_mutex_lock(&c->mutex), EOWNERDEAD);
    assert_int_equal(pthread_mutex_consistent(&c->mutex), 0);
    assert_int_equal(pthread_mutex_unlock(&c->mutex), 0);
    assert_int_equal(child_run(count_in_child, c), 0);
}

static void mutex_shared_and_stalled_stays_locked_by_the_dead(void **state)
{
    struct counted *c = shared_memory(sizeof *c);

    assert_non_null(c);
    make(&c->mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_SHARED);
    assert_int_equal(child_run(die_in_child, c), CHILD_SIGNALLED + SIGKILL);
    for (int i = 0; i < 3; i++) {
        struct timespec soon = in_ms(CLOCK_REALTIME, 20);

        assert_int_equal(pthread_mutex_trylock(&c->mutex), EBUSY);
        assert_int_equal(pthread_mutex_timedlock(&c->mutex, &soon), ETIMEDOUT);
        assert_true(has_passed(CLOCK_REALTIME, soon));
    }
}

static void mutexattr_keeps_what_it_is_told(void **state)
{
    pthread_mutexattr_t attr;
    int value, err;

    assert_int_equal(pthread_mutexattr_init(&attr), 0);
    assert_int_equal(pthread_mutexattr_gettype(&attr, &value), 0);
    assert_int_equal(value, PTHREAD_MUTEX_DEFAULT);
    assert_int_equal(pthread_mutexattr_getpshared(&attr, &value), 0);
    assert_int_equal(value, PTHREAD_PROCESS_PRIVATE);
    assert_int_equal(pthread_mutexattr_getrobust(&attr, &value), 0);
    assert_int_equal(value, PTHREAD_MUTEX_STALLED);
    assert_int_equal(pthread_mutexattr_getprotocol(&attr, &value), 0);
    assert_int_equal(value, PTHREAD_PRIO_NONE);

    assert_int_equal(pthread_mutexattr_settype(&attr, 4711), EINVAL);
    assert_int_equal(pthread_mutexattr_setpshared(&attr, 4711), EINVAL);
    assert_int_equal(pthread_mutexattr_setrobust(&attr, 4711), EINVAL);
    assert_int_equal(pthread_mutexattr_setprotocol(&attr, 4711), EINVAL);

    assert_int_equal(pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK), 0);
    assert_int_equal(pthread_mutexattr_gettype(&attr, &value), 0);
    assert_int_equal(value, PTHREAD_MUTEX_ERRORCHECK);
    assert_int_equal(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_mutexattr_getpshared(&attr, &value), 0);
    assert_int_equal(value, PTHREAD_PROCESS_SHARED);
    assert_int_equal(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
    assert_int_equal(pthread_mutexattr_getrobust(&attr, &value), 0);
    assert_int_equal(value, PTHREAD_MUTEX_ROBUST);
    err = pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
    assert_true(err == 0 || err == ENOTSUP); /* not everywhere */
    assert_int_equal(pthread_mutexattr_getprotocol(&attr, &value), 0);
    assert_int_equal(value, err ? PTHREAD_PRIO_NONE : PTHREAD_PRIO_INHERIT);
    err = pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_PROTECT);
    assert_true(err == 0 || err == ENOTSUP);
    assert_int_equal(pthread_mutexattr_destroy(&attr), 0);
}

static void mutex_with_priority_inheritance_excludes(void **state)
{
    pthread_mutexattr_t attr;
    pthread_mutex_t mutex;

    assert_int_equal(pthread_mutexattr_init(&attr), 0);
    if (pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT) != 0)
        skip();
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct runner runner;

        assert_int_equal(pthread_mutexattr_settype(&attr, types[i]), 0);
        assert_int_equal(pthread_mutex_init(&mutex, &attr), 0);
        assert_int_equal(pthread_mutex_lock(&mutex), 0);
        assert_ptr_equal(elsewhere(try, &mutex), as_result(EBUSY));
        start(&runner, lock, &mutex);
        until_asleep(&runner);
        assert_int_equal(pthread_mutex_unlock(&mutex), 0);
        assert_ptr_equal(finish(&runner), as_result(0));
        assert_int_equal(pthread_mutex_destroy(&mutex), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutex_of_every_initialiser_excludes),
        cmocka_unit_test(mutex_recursive_is_free_after_as_many_unlocks),
        cmocka_unit_test(mutex_errorcheck_tells_errors),
        cmocka_unit_test(mutex_normal_locked_twice_deadlocks),
        cmocka_unit_test(mutex_deadlines_hold_on_both_clocks),
        cmocka_unit_test(mutex_sleepers_all_get_it),
        cmocka_unit_test(mutex_held_is_not_destroyed),
        cmocka_unit_test(mutex_robust_tells_of_its_dead_holder),
        cmocka_unit_test(mutex_robust_is_given_back_only_by_its_holder),
        cmocka_unit_test(mutex_robust_wakes_who_sleeps_when_its_holder_dies),
        cmocka_unit_test(mutex_that_is_not_robust_is_never_consistent),
        cmocka_unit_test(mutex_shared_excludes_processes),
        cmocka_unit_test(mutex_shared_and_robust_outlives_a_killed_process),
        cmocka_unit_test(mutex_shared_and_stalled_stays_locked_by_the_dead),
        cmocka_unit_test(mutexattr_keeps_what_it_is_told),
        cmocka_unit_test(mutex_with_priority_inheritance_excludes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
