/* SPDX-License-Identifier: MIT */
/* Read-write locks, as POSIX describes them; then what glibc and plait have besides, and what plait alone tells. */
#include "pthread/program.h"

#if defined(__GLIBC__) || defined(PLAIT_PTHREAD_H)
#define HAS_GLIBCS_MORE
#endif

#ifdef PLAIT_PTHREAD_H
#include <plait/cancel.h>
#endif

static void *read_lock(void *rwlock)
{
    int err = pthread_rwlock_rdlock(rwlock);

    if (err == 0)
        pthread_rwlock_unlock(rwlock);
    return as_result(err);
}

static void *write_lock(void *rwlock)
{
    int err = pthread_rwlock_wrlock(rwlock);

    if (err == 0)
        pthread_rwlock_unlock(rwlock);
    return as_result(err);
}

static void *try_read(void *rwlock)
{
    int err = pthread_rwlock_tryrdlock(rwlock);

    if (err == 0)
        pthread_rwlock_unlock(rwlock);
    return as_result(err);
}

static void *try_write(void *rwlock)
{
    int err = pthread_rwlock_trywrlock(rwlock);

    if (err == 0)
        pthread_rwlock_unlock(rwlock);
    return as_result(err);
}

/* What strangers get of it, who do not wait. */
static void assert_open_for(pthread_rwlock_t *rwlock, bool readers, bool writers)
{
    assert_ptr_equal(elsewhere(try_read, rwlock), as_result(readers ? 0 : EBUSY));
    assert_ptr_equal(elsewhere(try_write, rwlock), as_result(writers ? 0 : EBUSY));
}

static void make(pthread_rwlock_t *rwlock, int pshared)
{
    pthread_rwlockattr_t attr;

    assert_int_equal(pthread_rwlockattr_init(&attr), 0);
    assert_int_equal(pthread_rwlockattr_setpshared(&attr, pshared), 0);
    assert_int_equal(pthread_rwlock_init(rwlock, &attr), 0);
    assert_int_equal(pthread_rwlockattr_destroy(&attr), 0);
}

static void rwlock_of_every_initialiser_has_readers_or_a_writer(void **state)
{
    pthread_rwlock_t rwlocks[] = {
        PTHREAD_RWLOCK_INITIALIZER,
        PTHREAD_RWLOCK_INITIALIZER,
#ifdef PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
        PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP,
#endif
    };

    assert_int_equal(pthread_rwlock_init(&rwlocks[1], NULL), 0);
    for (size_t i = 0; i < sizeof rwlocks / sizeof rwlocks[0]; i++) {
        assert_open_for(&rwlocks[i], true, true);
        assert_int_equal(pthread_rwlock_rdlock(&rwlocks[i]), 0);
        assert_open_for(&rwlocks[i], true, false);
        assert_int_equal(pthread_rwlock_unlock(&rwlocks[i]), 0);
        assert_int_equal(pthread_rwlock_wrlock(&rwlocks[i]), 0);
        assert_open_for(&rwlocks[i], false, false);
        assert_int_equal(pthread_rwlock_unlock(&rwlocks[i]), 0);
        assert_open_for(&rwlocks[i], true, true);
        assert_int_equal(pthread_rwlock_destroy(&rwlocks[i]), 0);
    }
}

static void rwlock_holder_that_tries_again_is_busy(void **state)
{
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

    assert_int_equal(pthread_rwlock_tryrdlock(&rwlock), 0);
    assert_int_equal(pthread_rwlock_trywrlock(&rwlock), EBUSY);
    assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
    assert_int_equal(pthread_rwlock_trywrlock(&rwlock), 0);
    assert_int_equal(pthread_rwlock_trywrlock(&rwlock), EBUSY);
    assert_int_equal(pthread_rwlock_tryrdlock(&rwlock), EBUSY);
    assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
    assert_open_for(&rwlock, true, true);
    assert_int_equal(pthread_rwlock_destroy(&rwlock), 0);
}

/* Also while a writer waits, which gets in after as many unlocks. */
static void rwlock_reader_reads_again_and_unlocks_as_often(void **state)
{
    struct timespec past = { 1, 0 };

    for (int shared = 0; shared < 2; shared++) {
        pthread_rwlock_t *rwlock = shared_memory(sizeof *rwlock);
        struct runner writer;

        assert_non_null(rwlock);
        make(rwlock, shared ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE);
        assert_int_equal(pthread_rwlock_rdlock(rwlock), 0);
        start(&writer, write_lock, rwlock);
        until_asleep(&writer);
        assert_int_equal(pthread_rwlock_rdlock(rwlock), 0);
        assert_int_equal(pthread_rwlock_tryrdlock(rwlock), 0);
        assert_int_equal(pthread_rwlock_timedrdlock(rwlock, &past), 0);
        for (int i = 0; i < 4; i++) {
            assert_ptr_equal(elsewhere(try_write, rwlock), as_result(EBUSY));
            until_asleep(&writer);
            assert_int_equal(pthread_rwlock_unlock(rwlock), 0);
        }
        assert_ptr_equal(finish(&writer), as_result(0));
        assert_int_equal(pthread_rwlock_destroy(rwlock), 0);
    }
}

/* A thread that has it, until it is told to go. */
struct holder {
    struct runner runner;
    pthread_rwlock_t *rwlock;
    int (*lock)(pthread_rwlock_t *rwlock);
    sem_t held, go;
};

static void *hold(void *arg)
{
    struct holder *holder = arg;
    int err = holder->lock(holder->rwlock);

    sem_post(&holder->held);
    sem_wait(&holder->go);
    return as_result(err ? err : pthread_rwlock_unlock(holder->rwlock));
}

static void start_holder(struct holder *holder, pthread_rwlock_t *rwlock, int (*lock)(pthread_rwlock_t *rwlock))
{
    holder->rwlock = rwlock;
    holder->lock = lock;
    assert_int_equal(sem_init(&holder->held, 0, 0), 0);
    assert_int_equal(sem_init(&holder->go, 0, 0), 0);
    start(&holder->runner, hold, holder);
    assert_int_equal(sem_wait(&holder->held), 0);
}

static void end_holder(struct holder *holder)
{
    assert_int_equal(sem_post(&holder->go), 0);
    assert_ptr_equal(finish(&holder->runner), as_result(0));
    assert_int_equal(sem_destroy(&holder->held), 0);
    assert_int_equal(sem_destroy(&holder->go), 0);
}

static void rwlock_free_asks_for_no_deadline(void **state)
{
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
    struct timespec past = { 1, 0 };

    assert_int_equal(pthread_rwlock_timedrdlock(&rwlock, &past), 0);
    assert_open_for(&rwlock, true, false);
    assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
    assert_int_equal(pthread_rwlock_timedwrlock(&rwlock, &past), 0);
    assert_open_for(&rwlock, false, false);
    assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
}

static void rwlock_held_times_out_never_early(void **state)
{
    struct timespec past = { 1, 0 }, bad = { 1, 1000000000 }, negative = { -1, 0 }, soon;
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
    struct holder holder;

    start_holder(&holder, &rwlock, pthread_rwlock_wrlock);
    assert_int_equal(pthread_rwlock_timedrdlock(&rwlock, &past), ETIMEDOUT);
    assert_int_equal(pthread_rwlock_timedrdlock(&rwlock, &negative), ETIMEDOUT);
    assert_int_equal(pthread_rwlock_timedrdlock(&rwlock, &bad), EINVAL);
    soon = in_ms(CLOCK_REALTIME, 20);
    assert_int_equal(pthread_rwlock_timedrdlock(&rwlock, &soon), ETIMEDOUT);
    assert_true(has_passed(CLOCK_REALTIME, soon));
    end_holder(&holder);

    start_holder(&holder, &rwlock, pthread_rwlock_rdlock);
    bad.tv_nsec = -1;
    assert_int_equal(pthread_rwlock_timedwrlock(&rwlock, &past), ETIMEDOUT);
    assert_int_equal(pthread_rwlock_timedwrlock(&rwlock, &negative), ETIMEDOUT);
    assert_int_equal(pthread_rwlock_timedwrlock(&rwlock, &bad), EINVAL);
    soon = in_ms(CLOCK_REALTIME, 20);
    assert_int_equal(pthread_rwlock_timedwrlock(&rwlock, &soon), ETIMEDOUT);
    assert_true(has_passed(CLOCK_REALTIME, soon));
    assert_open_for(&rwlock, true, false);
    end_holder(&holder);
    assert_open_for(&rwlock, true, true);
}

static void *read_far_away(void *rwlock)
{
    struct timespec at = { INT32_MAX, 0 };
    int err = pthread_rwlock_timedrdlock(rwlock, &at);

    if (err == 0)
        pthread_rwlock_unlock(rwlock);
    return as_result(err);
}

static void *write_far_away(void *rwlock)
{
    struct timespec at = { INT32_MAX, 0 };
    int err = pthread_rwlock_timedwrlock(rwlock, &at);

    if (err == 0)
        pthread_rwlock_unlock(rwlock);
    return as_result(err);
}

static void rwlock_sleepers_all_get_it(void **state)
{
    static void *(*const ways[])(void *) = { read_lock, write_lock, read_far_away, write_far_away };
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
    struct runner runners[12];

    assert_int_equal(pthread_rwlock_wrlock(&rwlock), 0);
    for (int i = 0; i < 12; i++)
        start(&runners[i], ways[i % 4], &rwlock);
    for (int i = 0; i < 12; i++)
        until_asleep(&runners[i]);
    assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
    for (int i = 0; i < 12; i++)
        assert_ptr_equal(finish(&runners[i]), as_result(0));
    assert_open_for(&rwlock, true, true);
}

/* ---- What it guards ------------------------------------------------------------------------- */

enum { CHANGES = 3000, PARTIES = 3 };

struct guarded {
    pthread_rwlock_t rwlock;
    volatile long a, b; /* guarded by rwlock; equal */
};

/* One write among two reads. */
static void *change_and_look(void *arg)
{
    struct guarded *g = arg;
    intptr_t faults = 0;

    for (int i = 0; i < 3 * CHANGES; i++) {
        if ((i % 3 ? pthread_rwlock_rdlock : pthread_rwlock_wrlock)(&g->rwlock) != 0)
            return (void *)-1;
        faults += g->a != g->b;
        if (i % 3 == 0) {
            g->a++;
            g->b++;
        }
        faults += pthread_rwlock_unlock(&g->rwlock) != 0;
    }
    return (void *)faults;
}

static int change_in_child(void *arg)
{
    return change_and_look(arg) != NULL;
}

static void rwlock_guards_among_threads(void **state)
{
    struct guarded g = { .rwlock = PTHREAD_RWLOCK_INITIALIZER };
    struct runner runners[PARTIES];

    for (int i = 0; i < PARTIES; i++)
        start(&runners[i], change_and_look, &g);
    for (int i = 0; i < PARTIES; i++)
        assert_null(finish(&runners[i]));
    assert_int_equal(g.a, PARTIES * CHANGES);
    assert_int_equal(g.b, PARTIES * CHANGES);
}

static void rwlock_shared_guards_among_processes(void **state)
{
    struct guarded *g = shared_memory(sizeof *g);
    pid_t pids[PARTIES];

    assert_non_null(g);
    make(&g->rwlock, PTHREAD_PROCESS_SHARED);
    for (int i = 0; i < PARTIES; i++)
        pids[i] = child_start(change_in_child, g);
    for (int i = 0; i < PARTIES; i++)
        assert_int_equal(child_end(pids[i]), 0);
    assert_int_equal(g->a, PARTIES * CHANGES);
    assert_int_equal(g->b, PARTIES * CHANGES);
    assert_int_equal(pthread_rwlock_destroy(&g->rwlock), 0);
}

/* ---- Ends ------------------------------------------------------------------------------------- */

static int write_and_die(void *rwlock)
{
    pthread_rwlock_wrlock(rwlock);
    raise(SIGKILL);
    return 1;
}

static void rwlock_shared_stays_locked_by_a_dead_writer(void **state)
{
    pthread_rwlock_t *rwlock = shared_memory(sizeof *rwlock);

    assert_non_null(rwlock);
    make(rwlock, PTHREAD_PROCESS_SHARED);
    assert_int_equal(child_run(write_and_die, rwlock), CHILD_SIGNALLED + SIGKILL);
    for (int i = 0; i < 2; i++) {
        struct timespec soon = in_ms(CLOCK_REALTIME, 20);

        assert_int_equal(pthread_rwlock_tryrdlock(rwlock), EBUSY);
        assert_int_equal(pthread_rwlock_timedrdlock(rwlock, &soon), ETIMEDOUT);
        assert_true(has_passed(CLOCK_REALTIME, soon));
        soon = in_ms(CLOCK_REALTIME, 20);
        assert_int_equal(pthread_rwlock_trywrlock(rwlock), EBUSY);
        assert_int_equal(pthread_rwlock_timedwrlock(rwlock, &soon), ETIMEDOUT);
        assert_true(has_passed(CLOCK_REALTIME, soon));
    }
}

struct short_lived {
    pthread_rwlock_t rwlock;
    bool done; /* guarded by rwlock */
};

static void *say_done(void *arg)
{
    struct short_lived *s = arg;

    if (pthread_rwlock_wrlock(&s->rwlock) != 0)
        return arg;
    s->done = true;
    return as_result(pthread_rwlock_unlock(&s->rwlock));
}

static bool is_done(struct short_lived *s)
{
    bool done;

    assert_int_equal(pthread_rwlock_rdlock(&s->rwlock), 0);
    done = s->done;
    assert_int_equal(pthread_rwlock_unlock(&s->rwlock), 0);
    return done;
}

/* The writer may still be on its way out of unlock. */
static void rwlock_is_destroyed_by_who_has_seen_the_last_writer(void **state)
{
    for (int round = 0; round < 400; round++) {
        struct short_lived *s = shared_memory(sizeof *s);
        struct runner runner;

        assert_non_null(s);
        make(&s->rwlock, round % 2 ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE);
        start(&runner, say_done, s);
        while (!is_done(s))
            ;
        assert_int_equal(pthread_rwlock_destroy(&s->rwlock), 0);
        memset(s, 0xff, sizeof *s);
        assert_null(finish(&runner));
    }
}

static void rwlock_is_made_anew_after_its_end(void **state)
{
    pthread_rwlock_t rwlock;

    for (int i = 0; i < 3; i++) {
        make(&rwlock, PTHREAD_PROCESS_PRIVATE);
        assert_int_equal(pthread_rwlock_rdlock(&rwlock), 0);
        assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
        assert_int_equal(pthread_rwlock_destroy(&rwlock), 0);
    }
}

static void rwlockattr_keeps_what_it_is_told(void **state)
{
    pthread_rwlockattr_t attr;
    int value;

    assert_int_equal(pthread_rwlockattr_init(&attr), 0);
    assert_int_equal(pthread_rwlockattr_getpshared(&attr, &value), 0);
    assert_int_equal(value, PTHREAD_PROCESS_PRIVATE);
    assert_int_equal(pthread_rwlockattr_setpshared(&attr, 4711), EINVAL);
    assert_int_equal(pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_rwlockattr_getpshared(&attr, &value), 0);
    assert_int_equal(value, PTHREAD_PROCESS_SHARED);
    assert_int_equal(pthread_rwlockattr_destroy(&attr), 0);
}

/* ---- What glibc and plait have besides ---------------------------------------------------------- */

#ifdef HAS_GLIBCS_MORE

static void rwlock_writer_that_locks_again_is_told(void **state)
{
    struct timespec later = in_ms(CLOCK_REALTIME, 10000);
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

    assert_int_equal(pthread_rwlock_wrlock(&rwlock), 0);
    assert_int_equal(pthread_rwlock_wrlock(&rwlock), EDEADLK);
    assert_int_equal(pthread_rwlock_rdlock(&rwlock), EDEADLK);
    assert_int_equal(pthread_rwlock_timedwrlock(&rwlock, &later), EDEADLK);
    assert_int_equal(pthread_rwlock_timedrdlock(&rwlock, &later), EDEADLK);
    later.tv_sec = 1; /* long past */
    assert_int_equal(pthread_rwlock_timedwrlock(&rwlock, &later), EDEADLK);
    assert_int_equal(pthread_rwlock_timedrdlock(&rwlock, &later), EDEADLK);
    assert_open_for(&rwlock, false, false);
    assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
    assert_open_for(&rwlock, true, true);
}

static void rwlock_goes_by_the_clock_it_is_told(void **state)
{
    static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_REALTIME };
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
    struct holder holder;

    start_holder(&holder, &rwlock, pthread_rwlock_wrlock);
    for (int i = 0; i < 2; i++) {
        struct timespec soon = in_ms(clocks[i], 20);

        assert_int_equal(pthread_rwlock_clockrdlock(&rwlock, clocks[i], &soon), ETIMEDOUT);
        assert_true(has_passed(clocks[i], soon));
        soon = in_ms(clocks[i], 20);
        assert_int_equal(pthread_rwlock_clockwrlock(&rwlock, clocks[i], &soon), ETIMEDOUT);
        assert_true(has_passed(clocks[i], soon));
        assert_int_equal(pthread_rwlock_clockrdlock(&rwlock, CLOCK_PROCESS_CPUTIME_ID, &soon), EINVAL);
        assert_int_equal(pthread_rwlock_clockwrlock(&rwlock, CLOCK_PROCESS_CPUTIME_ID, &soon), EINVAL);
    }
    end_holder(&holder);
    for (int i = 0; i < 2; i++) {
        struct timespec past = { 1, 0 };

        assert_int_equal(pthread_rwlock_clockrdlock(&rwlock, CLOCK_PROCESS_CPUTIME_ID, &past), EINVAL);
        assert_int_equal(pthread_rwlock_clockwrlock(&rwlock, CLOCK_PROCESS_CPUTIME_ID, &past), EINVAL);
        assert_int_equal(pthread_rwlock_clockwrlock(&rwlock, clocks[i], &past), 0);
        assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
        assert_int_equal(pthread_rwlock_clockrdlock(&rwlock, clocks[i], &past), 0);
        assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
    }
}

static void rwlockattr_keeps_its_kind(void **state)
{
    static const int kinds[] = { PTHREAD_RWLOCK_PREFER_WRITER_NP, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP,
                                 PTHREAD_RWLOCK_PREFER_READER_NP };
    pthread_rwlockattr_t attr;
    int value;

    assert_int_equal(pthread_rwlockattr_init(&attr), 0);
    assert_int_equal(pthread_rwlockattr_getkind_np(&attr, &value), 0);
    assert_int_equal(value, PTHREAD_RWLOCK_DEFAULT_NP);
    for (int i = 0; i < 3; i++) {
        pthread_rwlock_t rwlock;

        assert_int_equal(pthread_rwlockattr_setkind_np(&attr, kinds[i]), 0);
        assert_int_equal(pthread_rwlockattr_setkind_np(&attr, -1), EINVAL);
        assert_int_equal(pthread_rwlockattr_setkind_np(&attr, 3), EINVAL);
        assert_int_equal(pthread_rwlockattr_getkind_np(&attr, &value), 0);
        assert_int_equal(value, kinds[i]);
        assert_int_equal(pthread_rwlock_init(&rwlock, &attr), 0);
        assert_open_for(&rwlock, true, true);
        assert_int_equal(pthread_rwlock_destroy(&rwlock), 0);
    }
    assert_int_equal(pthread_rwlockattr_destroy(&attr), 0);
}

static void rwlock_that_prefers_writers_keeps_new_readers_out(void **state)
{
    pthread_rwlock_t rwlock;
    pthread_rwlockattr_t attr;
    struct holder holder;
    struct runner writer;

    assert_int_equal(pthread_rwlockattr_init(&attr), 0);
    assert_int_equal(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP), 0);
    assert_int_equal(pthread_rwlock_init(&rwlock, &attr), 0);
    start_holder(&holder, &rwlock, pthread_rwlock_rdlock);
    start(&writer, write_lock, &rwlock);
    until_asleep(&writer);
    assert_open_for(&rwlock, false, false);
    end_holder(&holder);
    assert_ptr_equal(finish(&writer), as_result(0));
    assert_open_for(&rwlock, true, true);
    assert_int_equal(pthread_rwlock_destroy(&rwlock), 0);
}

#endif

/* ---- What plait alone tells --------------------------------------------------------------------- */

#ifdef PLAIT_PTHREAD_H

static void *unlock(void *rwlock)
{
    return as_result(pthread_rwlock_unlock(rwlock));
}

static void rwlock_is_unlocked_by_its_holder_only(void **state)
{
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

    assert_int_equal(pthread_rwlock_unlock(&rwlock), EPERM);
    for (int i = 0; i < 2; i++) {
        assert_int_equal((i ? pthread_rwlock_wrlock : pthread_rwlock_rdlock)(&rwlock), 0);
        assert_ptr_equal(elsewhere(unlock, &rwlock), as_result(EPERM));
        assert_open_for(&rwlock, !i, false);
        assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
        assert_int_equal(pthread_rwlock_unlock(&rwlock), EPERM);
    }
}

static void rwlock_reader_that_wants_to_write_is_told(void **state)
{
    struct timespec later = in_ms(CLOCK_REALTIME, 10000);
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

    assert_int_equal(pthread_rwlock_rdlock(&rwlock), 0);
    assert_int_equal(pthread_rwlock_wrlock(&rwlock), EDEADLK);
    assert_int_equal(pthread_rwlock_timedwrlock(&rwlock, &later), EDEADLK);
    assert_open_for(&rwlock, true, false);
    assert_int_equal(pthread_rwlock_unlock(&rwlock), 0);
}

static void rwlock_of_any_kind_keeps_new_readers_out(void **state)
{
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
    struct holder holder;
    struct runner writer;

    start_holder(&holder, &rwlock, pthread_rwlock_rdlock);
    start(&writer, write_lock, &rwlock);
    until_asleep(&writer);
    assert_open_for(&rwlock, false, false);
    end_holder(&holder);
    assert_ptr_equal(finish(&writer), as_result(0));
}

static void rwlock_held_is_not_destroyed_and_ended_is_not_used(void **state)
{
    struct timespec later = in_ms(CLOCK_REALTIME, 10000);

    for (int i = 0; i < 4; i++) {
        pthread_rwlock_t *rwlock = shared_memory(sizeof *rwlock);

        assert_non_null(rwlock);
        make(rwlock, i < 2 ? PTHREAD_PROCESS_PRIVATE : PTHREAD_PROCESS_SHARED);
        assert_int_equal((i % 2 ? pthread_rwlock_wrlock : pthread_rwlock_rdlock)(rwlock), 0);
        assert_int_equal(pthread_rwlock_destroy(rwlock), EBUSY);
        assert_int_equal(pthread_rwlock_unlock(rwlock), 0);
        assert_int_equal(pthread_rwlock_destroy(rwlock), 0);
        assert_int_equal(pthread_rwlock_destroy(rwlock), EINVAL);
        assert_int_equal(pthread_rwlock_rdlock(rwlock), EINVAL);
        assert_int_equal(pthread_rwlock_trywrlock(rwlock), EINVAL);
        assert_int_equal(pthread_rwlock_timedwrlock(rwlock, &later), EINVAL);
        assert_int_equal(pthread_rwlock_unlock(rwlock), EINVAL);
    }
}

static void rwlock_shared_outside_an_arena_is_refused(void **state)
{
    pthread_rwlockattr_t attr;
    pthread_rwlock_t rwlock;

    assert_int_equal(pthread_rwlockattr_init(&attr), 0);
    assert_int_equal(pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_rwlock_init(&rwlock, &attr), ENOTSUP);
    assert_int_equal(pthread_rwlock_rdlock(&rwlock), EINVAL);
}

static int read_and_die(void *rwlock)
{
    pthread_rwlock_rdlock(rwlock);
    raise(SIGKILL);
    return 1;
}

static void rwlock_shared_takes_dead_readers_out(void **state)
{
    pthread_rwlock_t *rwlock = shared_memory(sizeof *rwlock);

    assert_non_null(rwlock);
    make(rwlock, PTHREAD_PROCESS_SHARED);
    assert_int_equal(child_run(read_and_die, rwlock), CHILD_SIGNALLED + SIGKILL);
    assert_open_for(rwlock, true, true);
    assert_int_equal(pthread_rwlock_wrlock(rwlock), 0);
    assert_int_equal(pthread_rwlock_unlock(rwlock), 0);
    assert_int_equal(pthread_rwlock_destroy(rwlock), 0);
}

/* Its waits go on, whatever the caller's token says. */
static void rwlock_knows_no_cancel_token(void **state)
{
    pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
    struct timespec soon = in_ms(CLOCK_REALTIME, 20);
    plait_cancel_t token;
    struct holder holder;

    assert_int_equal(plait_cancel_init(&token, 0), 0);
    assert_int_equal(plait_cancel_set(&token), 0);
    start_holder(&holder, &rwlock, pthread_rwlock_wrlock);
    plait_cancel_bind(&token);
    assert_int_equal(pthread_rwlock_tryrdlock(&rwlock), EBUSY);
    assert_int_equal(pthread_rwlock_trywrlock(&rwlock), EBUSY);
    assert_int_equal(pthread_rwlock_timedrdlock(&rwlock, &soon), ETIMEDOUT);
    assert_int_equal(pthread_rwlock_timedwrlock(&rwlock, &soon), ETIMEDOUT);
    assert_ptr_equal(plait_cancel_bind(NULL), &token);
    assert_true(has_passed(CLOCK_REALTIME, soon));
    end_holder(&holder);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rwlock_of_every_initialiser_has_readers_or_a_writer),
        cmocka_unit_test(rwlock_holder_that_tries_again_is_busy),
        cmocka_unit_test(rwlock_reader_reads_again_and_unlocks_as_often),
        cmocka_unit_test(rwlock_free_asks_for_no_deadline),
        cmocka_unit_test(rwlock_held_times_out_never_early),
        cmocka_unit_test(rwlock_sleepers_all_get_it),
        cmocka_unit_test(rwlock_guards_among_threads),
        cmocka_unit_test(rwlock_shared_guards_among_processes),
        cmocka_unit_test(rwlock_shared_stays_locked_by_a_dead_writer),
        cmocka_unit_test(rwlock_is_destroyed_by_who_has_seen_the_last_writer),
        cmocka_unit_test(rwlock_is_made_anew_after_its_end),
        cmocka_unit_test(rwlockattr_keeps_what_it_is_told),
#ifdef HAS_GLIBCS_MORE
        cmocka_unit_test(rwlock_writer_that_locks_again_is_told),
        cmocka_unit_test(rwlock_goes_by_the_clock_it_is_told),
        cmocka_unit_test(rwlockattr_keeps_its_kind),
        cmocka_unit_test(rwlock_that_prefers_writers_keeps_new_readers_out),
#endif
#ifdef PLAIT_PTHREAD_H
        cmocka_unit_test(rwlock_is_unlocked_by_its_holder_only),
        cmocka_unit_test(rwlock_reader_that_wants_to_write_is_told),
        cmocka_unit_test(rwlock_of_any_kind_keeps_new_readers_out),
        cmocka_unit_test(rwlock_held_is_not_destroyed_and_ended_is_not_used),
        cmocka_unit_test(rwlock_shared_outside_an_arena_is_refused),
        cmocka_unit_test(rwlock_shared_takes_dead_readers_out),
        cmocka_unit_test(rwlock_knows_no_cancel_token),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
