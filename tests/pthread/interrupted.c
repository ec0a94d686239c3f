/* SPDX-License-Identifier: MIT */
/* What ends no wait by the names of <plait/pthread.h>: signals, and the caller's cancel token. */
#include "pthread/program.h"

#include <signal.h>

#include <plait/cancel.h>

/* ---- Signals --------------------------------------------------------------------------------------- */

static uint32_t handled; /* atomic: how often the handler has run */
static uint32_t may_end; /* atomic: the handler may */
static struct timespec handled_until; /* and not before this, CLOCK_REALTIME */

static void linger(int number)
{
    struct timespec moment = { 0, 1000000 };
    int saved = errno;

    (void)number;
    __atomic_fetch_add(&handled, 1, __ATOMIC_ACQ_REL);
    while (!__atomic_load_n(&may_end, __ATOMIC_ACQUIRE) || !has_passed(CLOCK_REALTIME, handled_until))
        nanosleep(&moment, NULL);
    errno = saved;
}

/* Interrupt the sleeper's wait; true once it is in the handler. */
static void interrupt(struct runner *runner)
{
    uint32_t before = __atomic_load_n(&handled, __ATOMIC_ACQUIRE);

    until_asleep(runner);
    assert_int_equal(pthread_kill(runner->thread, SIGUSR1), 0);
    while (__atomic_load_n(&handled, __ATOMIC_ACQUIRE) == before)
        stage_pause();
}

struct waits {
    pthread_mutex_t mutex;
    pthread_rwlock_t rwlock;
    sem_t sem;
    pthread_cond_t cond;
    pthread_mutex_t guard;
    bool signalled;           /* guarded by guard */
    struct timespec deadline; /* const while anybody waits */
};

static void *wait_for_mutex(void *arg)
{
    struct waits *w = arg;
    int err = pthread_mutex_timedlock(&w->mutex, &w->deadline);

    return as_result(err ? err : pthread_mutex_unlock(&w->mutex));
}

static void *wait_to_read(void *arg)
{
    struct waits *w = arg;
    int err = pthread_rwlock_timedrdlock(&w->rwlock, &w->deadline);

    return as_result(err ? err : pthread_rwlock_unlock(&w->rwlock));
}

static void *wait_to_write(void *arg)
{
    struct waits *w = arg;
    int err = pthread_rwlock_timedwrlock(&w->rwlock, &w->deadline);

    return as_result(err ? err : pthread_rwlock_unlock(&w->rwlock));
}

static void *wait_for_sem(void *arg)
{
    struct waits *w = arg;

    return as_result(sem_timedwait(&w->sem, &w->deadline) == 0 ? 0 : errno);
}

/* One wait only, which must not end by itself. */
static void *wait_for_signal(void *arg)
{
    struct waits *w = arg;
    int err;

    pthread_mutex_lock(&w->guard);
    err = pthread_cond_timedwait(&w->cond, &w->guard, &w->deadline);
    if (err == 0 && !w->signalled)
        err = EINTR;
    pthread_mutex_unlock(&w->guard);
    return as_result(err);
}

static void *(*const ways[])(void *) = { wait_for_mutex, wait_to_read, wait_to_write, wait_for_sem, wait_for_signal };

enum { WAYS = sizeof ways / sizeof ways[0] };

static void hold_all(struct waits *w)
{
    memset(w, 0, sizeof *w);
    assert_int_equal(sem_init(&w->sem, 0, 0), 0);
    assert_int_equal(pthread_mutex_lock(&w->mutex), 0);
    assert_int_equal(pthread_rwlock_wrlock(&w->rwlock), 0);
}

static void release_all(struct waits *w)
{
    assert_int_equal(pthread_mutex_unlock(&w->mutex), 0);
    assert_int_equal(pthread_rwlock_unlock(&w->rwlock), 0);
    assert_int_equal(sem_post(&w->sem), 0);
    assert_int_equal(pthread_mutex_lock(&w->guard), 0);
    w->signalled = true;
    assert_int_equal(pthread_cond_signal(&w->cond), 0);
    assert_int_equal(pthread_mutex_unlock(&w->guard), 0);
}

static void handle_signals(struct sigaction *before)
{
    struct sigaction action = { .sa_handler = linger };

    assert_int_equal(sigaction(SIGUSR1, &action, before), 0);
}

static void waits_are_not_ended_by_signals(void **state)
{
    struct sigaction before;

    handle_signals(&before);
    __atomic_store_n(&may_end, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < WAYS; i++) {
        struct runner runner;
        struct waits w;

        hold_all(&w);
        w.deadline = (struct timespec){ INT32_MAX, 0 };
        start(&runner, ways[i], &w);
        for (int k = 0; k < 5; k++)
            interrupt(&runner);
        until_asleep(&runner);
        release_all(&w);
        assert_ptr_equal(finish(&runner), as_result(0));
    }
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

/*
 * What becomes free while a handler runs is had, though the deadline passes meanwhile. False: the handler came so late
 * that the deadline may have passed before. (A condition is another matter: a signal counts only before the deadline.)
 */
static bool is_had_after_the_handler(void *(*way)(void *), long ms)
{
    struct runner runner;
    struct waits w;
    void *result;
    bool late;

    hold_all(&w);
    __atomic_store_n(&may_end, 0, __ATOMIC_RELEASE);
    w.deadline = handled_until = in_ms(CLOCK_REALTIME, ms);
    start(&runner, way, &w);
    interrupt(&runner);
    late = has_passed(CLOCK_REALTIME, w.deadline);
    release_all(&w);
    __atomic_store_n(&may_end, 1, __ATOMIC_RELEASE);
    result = finish(&runner);
    if (!late)
        assert_ptr_equal(result, as_result(0));
    return !late;
}

static void waits_go_on_after_a_handler_longer_than_the_deadline(void **state)
{
    struct sigaction before;

    handle_signals(&before);
    for (int i = 0; i < WAYS - 1; i++)
        for (long ms = 100; ms < 100000 && !is_had_after_the_handler(ways[i], ms); ms *= 2)
            ;
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

/* ---- Cancel tokens --------------------------------------------------------------------------------- */

static void waits_know_no_cancel_token(void **state)
{
    plait_cancel_t token;

    assert_int_equal(plait_cancel_init(&token, 0), 0);
    assert_int_equal(plait_cancel_set(&token), 0);
    for (int i = 0; i < WAYS; i++) {
        struct waits w;

        if (ways[i] == wait_to_read || ways[i] == wait_to_write)
            continue; /* their holder is told of its mistake instead; rwlock.c has these */
        hold_all(&w);
        w.deadline = in_ms(CLOCK_REALTIME, 20);
        plait_cancel_bind(&token);
        if (ways[i] == wait_for_mutex)
            assert_int_equal(pthread_mutex_trylock(&w.mutex), EBUSY);
        assert_ptr_equal(ways[i](&w), as_result(ETIMEDOUT));
        assert_ptr_equal(plait_cancel_bind(NULL), &token);
        assert_true(has_passed(CLOCK_REALTIME, w.deadline));
        release_all(&w);
    }
}

struct party {
    pthread_barrier_t barrier;
    plait_cancel_t token;
};

static void *meet_with_token(void *arg)
{
    struct party *p = arg;
    int err;

    plait_cancel_bind(&p->token);
    err = pthread_barrier_wait(&p->barrier);
    return plait_cancel_bind(NULL) == &p->token ? as_result(err) : NULL;
}

static void barrier_knows_no_cancel_token(void **state)
{
    struct runner runner;
    struct party p;

    assert_int_equal(plait_cancel_init(&p.token, 0), 0);
    assert_int_equal(plait_cancel_set(&p.token), 0);
    assert_int_equal(pthread_barrier_init(&p.barrier, NULL, 2), 0);
    start(&runner, meet_with_token, &p);
    until_asleep(&runner);
    assert_int_equal(pthread_barrier_wait(&p.barrier) + (int)(intptr_t)finish(&runner), PTHREAD_BARRIER_SERIAL_THREAD);
    assert_int_equal(pthread_barrier_destroy(&p.barrier), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_are_not_ended_by_signals),
        cmocka_unit_test(waits_go_on_after_a_handler_longer_than_the_deadline),
        cmocka_unit_test(waits_know_no_cancel_token),
        cmocka_unit_test(barrier_knows_no_cancel_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
