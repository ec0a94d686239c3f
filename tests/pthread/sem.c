/* SPDX-License-Identifier: MIT */
/* Unnamed semaphores, as POSIX describes them. */
#include "pthread/program.h"

#include <limits.h>

static void *wait_for(void *sem)
{
    return as_result(sem_wait(sem));
}

static int value_of(sem_t *sem)
{
    int value = -1;

    assert_int_equal(sem_getvalue(sem, &value), 0);
    return value;
}

static void sem_counts(void **state)
{
    sem_t sem;

    assert_int_equal(sem_init(&sem, 0, 2), 0);
    assert_int_equal(value_of(&sem), 2);
    assert_int_equal(sem_wait(&sem), 0);
    assert_int_equal(sem_trywait(&sem), 0);
    assert_int_equal(value_of(&sem), 0);
    errno = 0;
    assert_int_equal(sem_trywait(&sem), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(sem_post(&sem), 0);
    assert_int_equal(value_of(&sem), 1);
    assert_int_equal(sem_destroy(&sem), 0);
}

static void sem_has_a_greatest_value(void **state)
{
    sem_t sem;

    errno = 0;
    assert_int_equal(sem_init(&sem, 0, (unsigned)SEM_VALUE_MAX + 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(sem_init(&sem, 0, SEM_VALUE_MAX), 0);
    assert_int_equal(value_of(&sem), SEM_VALUE_MAX);
    errno = 0;
    assert_int_equal(sem_post(&sem), -1);
    assert_int_equal(errno, EOVERFLOW);
    assert_int_equal(value_of(&sem), SEM_VALUE_MAX);
    assert_int_equal(sem_wait(&sem), 0);
    assert_int_equal(sem_post(&sem), 0);
    assert_int_equal(sem_destroy(&sem), 0);
}

static void sem_deadlines_hold_on_both_clocks(void **state)
{
    struct timespec past = { 1, 0 }, bad = { 1, 1000000000 }, soon;
    sem_t sem;

    assert_int_equal(sem_init(&sem, 0, 1), 0);
    assert_int_equal(sem_timedwait(&sem, &past), 0); /* there is one */
    errno = 0;
    assert_int_equal(sem_timedwait(&sem, &past), -1);
    assert_int_equal(errno, ETIMEDOUT);
    errno = 0;
    assert_int_equal(sem_timedwait(&sem, &bad), -1);
    assert_int_equal(errno, EINVAL);
    soon = in_ms(CLOCK_REALTIME, 20);
    errno = 0;
    assert_int_equal(sem_timedwait(&sem, &soon), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_true(has_passed(CLOCK_REALTIME, soon));
#ifdef __GLIBC__
    soon = in_ms(CLOCK_MONOTONIC, 20);
    errno = 0;
    assert_int_equal(sem_clockwait(&sem, CLOCK_MONOTONIC, &soon), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_true(has_passed(CLOCK_MONOTONIC, soon));
    errno = 0;
    assert_int_equal(sem_clockwait(&sem, CLOCK_PROCESS_CPUTIME_ID, &soon), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(sem_post(&sem), 0);
    assert_int_equal(sem_clockwait(&sem, CLOCK_PROCESS_CPUTIME_ID, &soon), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(sem_wait(&sem), 0);
#endif
    assert_int_equal(sem_destroy(&sem), 0);
}

static void sem_post_wakes_one_each(void **state)
{
    struct runner runners[4];
    sem_t sem;

    assert_int_equal(sem_init(&sem, 0, 0), 0);
    for (int i = 0; i < 4; i++)
        start(&runners[i], wait_for, &sem);
    for (int i = 0; i < 4; i++)
        until_asleep(&runners[i]);
    for (int i = 0; i < 4; i++)
        assert_int_equal(sem_post(&sem), 0);
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(finish(&runners[i]), as_result(0));
    assert_int_equal(value_of(&sem), 0);
    assert_int_equal(sem_destroy(&sem), 0);
}

static sem_t posted_by_handler;

static void post_it(int signal)
{
    sem_post(&posted_by_handler);
}

static void sem_is_posted_in_a_signal_handler(void **state)
{
    struct sigaction action = { .sa_handler = post_it }, before;
    struct runner runner;

    assert_int_equal(sem_init(&posted_by_handler, 0, 0), 0);
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    start(&runner, wait_for, &posted_by_handler);
    until_asleep(&runner);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_ptr_equal(finish(&runner), as_result(0));
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    assert_int_equal(sem_destroy(&posted_by_handler), 0);
}

static int post_in_child(void *sem)
{
    return sem_post(sem) != 0;
}

static void sem_shared_serves_processes(void **state)
{
    sem_t *sem = shared_memory(sizeof *sem);

    assert_non_null(sem);
    assert_int_equal(sem_init(sem, 1, 0), 0);
    assert_int_equal(child_run(post_in_child, sem), 0);
    assert_int_equal(sem_wait(sem), 0);
    assert_int_equal(sem_destroy(sem), 0);
}

static void *wait_and_count(void *arg)
{
    return as_result(sem_wait(arg));
}

static void sem_wait_is_ended_by_pthread_cancel(void **state)
{
    struct runner runner;
    sem_t sem;

    assert_int_equal(sem_init(&sem, 0, 0), 0);
    start(&runner, wait_and_count, &sem);
    until_asleep(&runner);
    assert_int_equal(pthread_cancel(runner.thread), 0);
    assert_ptr_equal(finish(&runner), PTHREAD_CANCELED);
    assert_int_equal(value_of(&sem), 0);
    assert_int_equal(sem_post(&sem), 0);
    assert_int_equal(sem_trywait(&sem), 0);
    assert_int_equal(sem_destroy(&sem), 0);
}

static void *cancel_self_and_wait(void *arg)
{
    pthread_cancel(pthread_self());
    sem_wait(arg);
    return NULL;
}

static void sem_wait_acts_on_a_request_even_if_it_need_not_wait(void **state)
{
    sem_t sem;

    assert_int_equal(sem_init(&sem, 0, 1), 0);
    assert_ptr_equal(elsewhere(cancel_self_and_wait, &sem), PTHREAD_CANCELED);
    assert_int_equal(value_of(&sem), 1);
    assert_int_equal(sem_destroy(&sem), 0);
}

static void *wait_with_requests_off(void *arg)
{
    int err;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    err = sem_wait(arg);
    return as_result(err);
}

static void sem_wait_with_requests_off_is_not_cancelled(void **state)
{
    struct runner runner;
    sem_t sem;

    assert_int_equal(sem_init(&sem, 0, 0), 0);
    start(&runner, wait_with_requests_off, &sem);
    until_asleep(&runner);
    assert_int_equal(sem_post(&sem), 0);
    assert_ptr_equal(finish(&runner), as_result(0));
    assert_int_equal(sem_destroy(&sem), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sem_counts),
        cmocka_unit_test(sem_has_a_greatest_value),
        cmocka_unit_test(sem_deadlines_hold_on_both_clocks),
        cmocka_unit_test(sem_post_wakes_one_each),
        cmocka_unit_test(sem_is_posted_in_a_signal_handler),
        cmocka_unit_test(sem_shared_serves_processes),
        cmocka_unit_test(sem_wait_is_ended_by_pthread_cancel),
        cmocka_unit_test(sem_wait_acts_on_a_request_even_if_it_need_not_wait),
        cmocka_unit_test(sem_wait_with_requests_off_is_not_cancelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
