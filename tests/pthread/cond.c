/* SPDX-License-Identifier: MIT */
/* Conditions, as POSIX describes them. */
#include "pthread/program.h"

struct box {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int waiting; /* guarded by mutex */
    int permits; /* guarded by mutex */
    int cleaned; /* guarded by mutex: clean-up handlers that found it locked */
    pthread_t taker; /* guarded by mutex: who took a permit last */
};

static void make(struct box *box)
{
    memset(box, 0, sizeof *box);
    assert_int_equal(pthread_mutex_init(&box->mutex, NULL), 0);
    assert_int_equal(pthread_cond_init(&box->cond, NULL), 0);
}

static void end(struct box *box)
{
    assert_int_equal(pthread_cond_destroy(&box->cond), 0);
    assert_int_equal(pthread_mutex_destroy(&box->mutex), 0);
}

static void *take(void *arg)
{
    struct box *box = arg;
    int err = 0;

    pthread_mutex_lock(&box->mutex);
    box->waiting++;
    while (box->permits == 0 && err == 0)
        err = pthread_cond_wait(&box->cond, &box->mutex);
    box->permits--;
    box->waiting--;
    pthread_mutex_unlock(&box->mutex);
    return as_result(err);
}

/* Wait until so many wait; then each of them is in the condition, as the mutex was free. */
static void until_waiting(struct box *box, int count)
{
    bool enough = false;

    while (!enough) {
        pthread_mutex_lock(&box->mutex);
        enough = box->waiting >= count;
        pthread_mutex_unlock(&box->mutex);
        stage_pause();
    }
}

static void give(struct box *box, int count, bool all)
{
    pthread_mutex_lock(&box->mutex);
    box->permits += count;
    assert_int_equal(all ? pthread_cond_broadcast(&box->cond) : pthread_cond_signal(&box->cond), 0);
    pthread_mutex_unlock(&box->mutex);
}

static void cond_signal_wakes_one_and_broadcast_all(void **state)
{
    struct runner runners[5];
    struct box box;

    make(&box);
    for (int i = 0; i < 5; i++)
        start(&runners[i], take, &box);
    until_waiting(&box, 5);
    give(&box, 1, false);
    give(&box, 4, true);
    for (int i = 0; i < 5; i++)
        assert_ptr_equal(finish(&runners[i]), as_result(0));
    assert_int_equal(box.permits, 0);
    end(&box);
}

static void cond_without_waiters_forgets_signals(void **state)
{
    struct timespec soon = in_ms(CLOCK_REALTIME, 20);
    struct box box;

    make(&box);
    assert_int_equal(pthread_cond_signal(&box.cond), 0);
    assert_int_equal(pthread_cond_broadcast(&box.cond), 0);
    assert_int_equal(pthread_mutex_lock(&box.mutex), 0);
    assert_int_equal(pthread_cond_timedwait(&box.cond, &box.mutex, &soon), ETIMEDOUT);
    assert_true(has_passed(CLOCK_REALTIME, soon));
    assert_int_equal(pthread_mutex_trylock(&box.mutex), EBUSY);
    assert_int_equal(pthread_mutex_unlock(&box.mutex), 0);
    end(&box);
}

static void cond_with_bad_or_past_deadlines_keeps_the_mutex(void **state)
{
    struct timespec past = { 1, 0 }, bad = { 1, 1000000000 };
    struct box box;

    make(&box);
    assert_int_equal(pthread_mutex_lock(&box.mutex), 0);
    assert_int_equal(pthread_cond_timedwait(&box.cond, &box.mutex, &past), ETIMEDOUT);
    assert_int_equal(pthread_mutex_trylock(&box.mutex), EBUSY);
    assert_int_equal(pthread_cond_timedwait(&box.cond, &box.mutex, &bad), EINVAL);
    assert_int_equal(pthread_mutex_trylock(&box.mutex), EBUSY);
    assert_int_equal(pthread_mutex_unlock(&box.mutex), 0);
    end(&box);
}

static void cond_goes_by_the_clock_of_its_attribute(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_condattr_t attr;
    pthread_cond_t cond;
    struct timespec soon;
    clockid_t clock;

    assert_int_equal(pthread_condattr_init(&attr), 0);
    assert_int_equal(pthread_condattr_getclock(&attr, &clock), 0);
    assert_int_equal(clock, CLOCK_REALTIME);
    assert_int_equal(pthread_condattr_setclock(&attr, CLOCK_PROCESS_CPUTIME_ID), EINVAL);
    assert_int_equal(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC), 0);
    assert_int_equal(pthread_condattr_getclock(&attr, &clock), 0);
    assert_int_equal(clock, CLOCK_MONOTONIC);
    assert_int_equal(pthread_cond_init(&cond, &attr), 0);
    assert_int_equal(pthread_condattr_destroy(&attr), 0);
    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    soon = in_ms(CLOCK_MONOTONIC, 20);
    assert_int_equal(pthread_cond_timedwait(&cond, &mutex, &soon), ETIMEDOUT);
    assert_true(has_passed(CLOCK_MONOTONIC, soon));
#ifdef __GLIBC__
    soon = in_ms(CLOCK_REALTIME, 20);
    assert_int_equal(pthread_cond_clockwait(&cond, &mutex, CLOCK_REALTIME, &soon), ETIMEDOUT);
    assert_true(has_passed(CLOCK_REALTIME, soon));
#endif
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
    assert_int_equal(pthread_cond_destroy(&cond), 0);
}

static void cond_gives_up_mutexes_of_all_types(void **state)
{
    static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK };
    bool robust = deaths_are_told();

    for (size_t i = 0; i < 2 * sizeof types / sizeof types[0]; i++) {
        pthread_mutexattr_t attr;
        struct runner runner;
        struct box box;

        memset(&box, 0, sizeof box);
        assert_int_equal(pthread_mutexattr_init(&attr), 0);
        assert_int_equal(pthread_mutexattr_settype(&attr, types[i / 2]), 0);
        assert_int_equal(pthread_mutexattr_setrobust(&attr, i % 2 && robust ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED), 0);
        assert_int_equal(pthread_mutex_init(&box.mutex, &attr), 0);
        assert_int_equal(pthread_cond_init(&box.cond, NULL), 0);
        start(&runner, take, &box);
        until_waiting(&box, 1);
        give(&box, 1, false);
        assert_ptr_equal(finish(&runner), as_result(0));
        end(&box);
    }
}

static void *hold_and_die(void *arg)
{
    struct box *box = arg;

    pthread_mutex_lock(&box->mutex);
    box->permits = 1;
    pthread_cond_signal(&box->cond);
    return NULL;
}

static void cond_wait_tells_of_the_mutexs_dead_holder(void **state)
{
    pthread_mutexattr_t attr;
    struct runner runner;
    struct box box;

    if (!deaths_are_told())
        skip();
    memset(&box, 0, sizeof box);
    assert_int_equal(pthread_mutexattr_init(&attr), 0);
    assert_int_equal(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
    assert_int_equal(pthread_mutex_init(&box.mutex, &attr), 0);
    assert_int_equal(pthread_cond_init(&box.cond, NULL), 0);
    start(&runner, take, &box);
    until_waiting(&box, 1);
    elsewhere(hold_and_die, &box);
    assert_ptr_equal(finish(&runner), as_result(EOWNERDEAD));
    assert_int_equal(pthread_mutex_lock(&box.mutex), ENOTRECOVERABLE); /* take() has not made it consistent */
}

static void unlock_and_count(void *arg)
{
    struct box *box = arg;

    if (pthread_mutex_trylock(&box->mutex) == EBUSY)
        box->cleaned++;
    box->waiting--;
    pthread_mutex_unlock(&box->mutex);
}

static void *wait_to_be_cancelled(void *arg)
{
    struct box *box = arg;

    pthread_mutex_lock(&box->mutex);
    pthread_cleanup_push(unlock_and_count, box);
    box->waiting++;
    while (box->permits == 0)
        pthread_cond_wait(&box->cond, &box->mutex);
    box->permits--;
    box->taker = pthread_self();
    pthread_cleanup_pop(1);
    return NULL;
}

static void cond_cancelled_waiter_holds_the_mutex_in_its_handlers(void **state)
{
    struct runner runners[4];
    struct box box;

    make(&box);
    for (int i = 0; i < 4; i++)
        start(&runners[i], wait_to_be_cancelled, &box);
    until_waiting(&box, 4);
    for (int i = 0; i < 4; i++)
        until_asleep(&runners[i]);
    assert_int_equal(pthread_mutex_lock(&box.mutex), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_cancel(runners[i].thread), 0);
    assert_int_equal(box.cleaned, 0);
    assert_int_equal(pthread_mutex_unlock(&box.mutex), 0);
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(finish(&runners[i]), PTHREAD_CANCELED);
    assert_int_equal(box.cleaned, 4);
    assert_int_equal(box.waiting, 0);
    end(&box);
}

/* A signal and a request for one of two waiters come at the same time: whoever is left gets the permit. */
static void cond_cancelled_waiter_consumes_no_signal(void **state)
{
    for (int round = 0; round < 300; round++) {
        struct runner first, second;
        struct box box;
        bool taken;

        make(&box);
        start(&first, wait_to_be_cancelled, &box);
        until_waiting(&box, 1);
        start(&second, wait_to_be_cancelled, &box);
        until_waiting(&box, 2);
        if (round % 2) {
            assert_int_equal(pthread_cancel(first.thread), 0);
            give(&box, 1, false);
        } else {
            give(&box, 1, false);
            assert_int_equal(pthread_cancel(first.thread), 0);
        }
        finish(&first);
        /* Not asked of pthread_join: glibc says "cancelled" also of who was done before its signal came. */
        pthread_mutex_lock(&box.mutex);
        taken = box.taker == first.thread;
        pthread_mutex_unlock(&box.mutex);
        if (taken)
            give(&box, 1, false);
        assert_null(finish(&second));
        assert_int_equal(box.permits, 0);
        end(&box);
    }
}

static void *cancel_self_and_wait(void *arg)
{
    pthread_cancel(pthread_self());
    return wait_to_be_cancelled(arg);
}

static void cond_wait_acts_on_a_request_made_before(void **state)
{
    struct box box;

    make(&box);
    assert_ptr_equal(elsewhere(cancel_self_and_wait, &box), PTHREAD_CANCELED);
    assert_int_equal(box.cleaned, 1);
    end(&box);
}

static int take_in_child(void *arg)
{
    return take(arg) != as_result(0);
}

static void cond_shared_serves_processes(void **state)
{
    struct box *box = shared_memory(sizeof *box);
    pthread_mutexattr_t mutexattr;
    pthread_condattr_t condattr;
    int pshared;
    pid_t pid;

    assert_non_null(box);
    assert_int_equal(pthread_mutexattr_init(&mutexattr), 0);
    assert_int_equal(pthread_mutexattr_setpshared(&mutexattr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_condattr_init(&condattr), 0);
    assert_int_equal(pthread_condattr_setpshared(&condattr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_condattr_getpshared(&condattr, &pshared), 0);
    assert_int_equal(pshared, PTHREAD_PROCESS_SHARED);
    assert_int_equal(pthread_mutex_init(&box->mutex, &mutexattr), 0);
    assert_int_equal(pthread_cond_init(&box->cond, &condattr), 0);
    pid = child_start(take_in_child, box);
    until_waiting(box, 1);
    give(box, 1, false);
    assert_int_equal(child_end(pid), 0);
    end(box);
}

struct farewell {
    struct box box;
    bool done;   /* guarded by box.mutex */
};

static void *wait_for_farewell(void *arg)
{
    struct farewell *f = arg;

    pthread_mutex_lock(&f->box.mutex);
    f->box.waiting++;
    while (!f->done)
        pthread_cond_wait(&f->box.cond, &f->box.mutex);
    pthread_mutex_unlock(&f->box.mutex);
    return NULL;
}

static int wait_in_child(void *arg)
{
    return wait_for_farewell(arg) != NULL;
}

/* Some of the woken have not got the mutex back when the condition is gone. */
static void cond_shared_is_destroyed_as_soon_as_all_were_woken(void **state)
{
    struct farewell *f = shared_memory(sizeof *f);
    pthread_mutexattr_t mutexattr;
    pthread_condattr_t condattr;

    assert_non_null(f);
    assert_int_equal(pthread_mutexattr_init(&mutexattr), 0);
    assert_int_equal(pthread_mutexattr_setpshared(&mutexattr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_condattr_init(&condattr), 0);
    assert_int_equal(pthread_condattr_setpshared(&condattr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_mutex_init(&f->box.mutex, &mutexattr), 0);
    for (int round = 0; round < 20; round++) {
        struct runner runners[3];
        pid_t pids[3];

        f->box.waiting = 0;
        f->done = false;
        assert_int_equal(pthread_cond_init(&f->box.cond, &condattr), 0);
        for (int i = 0; i < 3; i++)
            pids[i] = child_start(wait_in_child, f);
        for (int i = 0; i < 3; i++)
            start(&runners[i], wait_for_farewell, f);
        until_waiting(&f->box, 6);
        pthread_mutex_lock(&f->box.mutex);
        f->done = true;
        pthread_cond_broadcast(&f->box.cond);
        pthread_mutex_unlock(&f->box.mutex);
        assert_int_equal(pthread_cond_destroy(&f->box.cond), 0);
        memset(&f->box.cond, 0xff, sizeof f->box.cond);
        for (int i = 0; i < 3; i++) {
            finish(&runners[i]);
            assert_int_equal(child_end(pids[i]), 0);
        }
    }
    assert_int_equal(pthread_mutex_destroy(&f->box.mutex), 0);
}

struct short_lived {
    pthread_mutex_t mutex;
    pthread_cond_t *cond; /* freed by whoever signals last */
    int waiting;
    bool done;
};

static void *wait_for_done(void *arg)
{
    struct short_lived *s = arg;

    pthread_mutex_lock(&s->mutex);
    s->waiting++;
    while (!s->done)
        pthread_cond_wait(s->cond, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

static void cond_is_destroyed_as_soon_as_all_were_woken(void **state)
{
    for (int round = 0; round < 100; round++) {
        struct short_lived s = { .mutex = PTHREAD_MUTEX_INITIALIZER };
        struct runner runners[3];
        int waiting = 0;

        s.cond = malloc(sizeof *s.cond);
        assert_int_equal(pthread_cond_init(s.cond, NULL), 0);
        for (int i = 0; i < 3; i++)
            start(&runners[i], wait_for_done, &s);
        while (waiting < 3) {
            pthread_mutex_lock(&s.mutex);
            waiting = s.waiting;
            pthread_mutex_unlock(&s.mutex);
        }
        pthread_mutex_lock(&s.mutex);
        s.done = true;
        pthread_cond_broadcast(s.cond);
        pthread_mutex_unlock(&s.mutex);
        assert_int_equal(pthread_cond_destroy(s.cond), 0);
        memset(s.cond, 0xff, sizeof *s.cond);
        free(s.cond);
        for (int i = 0; i < 3; i++)
            finish(&runners[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cond_signal_wakes_one_and_broadcast_all),
        cmocka_unit_test(cond_without_waiters_forgets_signals),
        cmocka_unit_test(cond_with_bad_or_past_deadlines_keeps_the_mutex),
        cmocka_unit_test(cond_goes_by_the_clock_of_its_attribute),
        cmocka_unit_test(cond_gives_up_mutexes_of_all_types),
        cmocka_unit_test(cond_wait_tells_of_the_mutexs_dead_holder),
        cmocka_unit_test(cond_cancelled_waiter_holds_the_mutex_in_its_handlers),
        cmocka_unit_test(cond_cancelled_waiter_consumes_no_signal),
        cmocka_unit_test(cond_wait_acts_on_a_request_made_before),
        cmocka_unit_test(cond_shared_serves_processes),
        cmocka_unit_test(cond_is_destroyed_as_soon_as_all_were_woken),
        cmocka_unit_test(cond_shared_is_destroyed_as_soon_as_all_were_woken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
