/* SPDX-License-Identifier: MIT */
/*
 * What <plait/pthread.h> says besides POSIX, or where POSIX leaves a choice. (Of read-write locks: rwlock.c; of signals and
 * cancel tokens: interrupted.c.)
 */
#include "pthread/program.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include <plait/arena.h>

static void make(pthread_mutex_t *mutex, int type, int robust, int pshared)
{
    pthread_mutexattr_t attr;

    assert_int_equal(pthread_mutexattr_init(&attr), 0);
    assert_int_equal(pthread_mutexattr_settype(&attr, type), 0);
    assert_int_equal(pthread_mutexattr_setrobust(&attr, robust), 0);
    assert_int_equal(pthread_mutexattr_setpshared(&attr, pshared), 0);
    assert_int_equal(pthread_mutex_init(mutex, &attr), 0);
}

/* ---- What is not there --------------------------------------------------------------------------- */

#define EXPANDED(name) #name
#define MEANING(name) EXPANDED(name)

static void names_without_an_object_do_not_compile(void **state)
{
    assert_string_equal(MEANING(sem_open), "plait_has_no_sem_open");
    assert_string_equal(MEANING(sem_close), "plait_has_no_sem_open");
    assert_string_equal(MEANING(sem_unlink), "plait_has_no_sem_open");
    assert_string_equal(MEANING(pthread_mutexattr_setprioceiling), "plait_has_no_PTHREAD_PRIO_PROTECT");
    assert_string_equal(MEANING(pthread_mutex_setprioceiling), "plait_has_no_PTHREAD_PRIO_PROTECT");
}

static void mutexattr_has_no_priority_ceilings(void **state)
{
    pthread_mutexattr_t attr;
    int protocol = -1;

    assert_int_equal(pthread_mutexattr_init(&attr), 0);
    assert_int_equal(pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_PROTECT), ENOTSUP);
    assert_int_equal(pthread_mutexattr_getprotocol(&attr, &protocol), 0);
    assert_int_equal(protocol, PTHREAD_PRIO_NONE);
}

static void attributes_that_are_null_are_refused(void **state)
{
    assert_int_equal(pthread_mutexattr_destroy(NULL), EINVAL);
    assert_int_equal(pthread_condattr_destroy(NULL), EINVAL);
    assert_int_equal(pthread_rwlockattr_destroy(NULL), EINVAL);
    assert_int_equal(pthread_barrierattr_destroy(NULL), EINVAL);
}

static void clocks_are_two(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    struct timespec past = { 1, 0 };
    sem_t sem;

    assert_int_equal(sem_init(&sem, 0, 1), 0);
    errno = 0;
    assert_int_equal(sem_clockwait(&sem, CLOCK_PROCESS_CPUTIME_ID, &past), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(sem_clockwait(&sem, CLOCK_MONOTONIC, &past), 0);
    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    assert_int_equal(pthread_cond_clockwait(&cond, &mutex, CLOCK_PROCESS_CPUTIME_ID, &past), EINVAL);
    assert_int_equal(pthread_cond_clockwait(&cond, &mutex, CLOCK_MONOTONIC, &past), ETIMEDOUT);
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
}

/* ---- Where process-shared objects lie -------------------------------------------------------------- */

static void shared_objects_outside_an_arena_are_refused(void **state)
{
    pthread_mutexattr_t mutexattr;
    pthread_condattr_t condattr;
    pthread_barrierattr_t barrierattr;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    pthread_barrier_t barrier;
    sem_t sem;

    assert_int_equal(pthread_mutexattr_init(&mutexattr), 0);
    assert_int_equal(pthread_condattr_init(&condattr), 0);
    assert_int_equal(pthread_barrierattr_init(&barrierattr), 0);
    assert_int_equal(pthread_mutexattr_setpshared(&mutexattr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_condattr_setpshared(&condattr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_barrierattr_setpshared(&barrierattr, PTHREAD_PROCESS_SHARED), 0);
    for (size_t i = 0; i < 3; i++) {
        static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK };

        assert_int_equal(pthread_mutexattr_settype(&mutexattr, types[i]), 0);
        assert_int_equal(pthread_mutex_init(&mutex, &mutexattr), ENOTSUP);
        assert_int_equal(pthread_mutex_lock(&mutex), EINVAL);
    }
    assert_int_equal(pthread_cond_init(&cond, &condattr), ENOTSUP);
    assert_int_equal(pthread_barrier_init(&barrier, &barrierattr, 2), ENOTSUP);
    errno = 0;
    assert_int_equal(sem_init(&sem, 1, 0), -1);
    assert_int_equal(errno, ENOTSUP);
}

static void shared_mutex_in_another_mapping_is_refused(void **state)
{
    enum { SIZE = 1 << 20 };
    FILE *file = tmpfile();
    plait_arena_t *arena;
    pthread_mutex_t *mutex, *other;
    char *first, *second;

    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), SIZE), 0);
    first = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    second = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    assert_true(first != MAP_FAILED && second != MAP_FAILED);
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .memory = first, .memory_size = SIZE }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *mutex, (void **)&mutex), 0);
    make(mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_SHARED);
    other = (pthread_mutex_t *)(second + ((char *)mutex - first));
    assert_int_equal(pthread_mutex_lock(other), EINVAL);
    assert_int_equal(pthread_mutex_lock(mutex), 0);
    assert_int_equal(pthread_mutex_unlock(mutex), 0);
    assert_int_equal(pthread_mutex_destroy(mutex), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    munmap(second, SIZE);
    fclose(file);
}

static void *lock(void *mutex)
{
    int err = pthread_mutex_lock(mutex);

    if (err == 0)
        pthread_mutex_unlock(mutex);
    return as_result(err);
}

static void *try(void *mutex)
{
    int err = pthread_mutex_trylock(mutex);

    if (err == 0)
        pthread_mutex_unlock(mutex);
    return as_result(err);
}

static void shared_mutex_in_an_arena_without_room_is_refused(void **state)
{
    plait_arena_t *arena;
    pthread_mutex_t *mutex;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 1 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *mutex, (void **)&mutex), 0);
    make(mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_SHARED);
    assert_ptr_equal(elsewhere(lock, mutex), as_result(ENOSPC));
    assert_int_equal(pthread_mutex_destroy(mutex), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* ---- Who unlocks ------------------------------------------------------------------------------- */

static int unlock_mutex_in_child(void *mutex)
{
    return pthread_mutex_unlock(mutex);
}

static int unlock_rwlock_in_child(void *rwlock)
{
    return pthread_rwlock_unlock(rwlock);
}

/* The child of a fork is another thread than its parent's. */
static void shared_locks_are_not_unlocked_by_a_child(void **state)
{
    pthread_mutex_t *mutex = shared_memory(sizeof *mutex);
    pthread_rwlock_t *rwlock = shared_memory(sizeof *rwlock);
    pthread_rwlockattr_t attr;

    assert_non_null(mutex);
    assert_non_null(rwlock);
    make(mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_SHARED);
    assert_int_equal(pthread_rwlockattr_init(&attr), 0);
    assert_int_equal(pthread_rwlockattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_rwlock_init(rwlock, &attr), 0);
    assert_int_equal(pthread_mutex_lock(mutex), 0);
    assert_int_equal(pthread_rwlock_rdlock(rwlock), 0);
    assert_int_equal(child_run(unlock_mutex_in_child, mutex), EPERM);
    assert_int_equal(child_run(unlock_rwlock_in_child, rwlock), EPERM);
    assert_int_equal(pthread_mutex_unlock(mutex), 0);
    assert_int_equal(pthread_rwlock_unlock(rwlock), 0);
    assert_int_equal(pthread_mutex_destroy(mutex), 0);
    assert_int_equal(pthread_rwlock_destroy(rwlock), 0);
}

static void mutex_that_is_free_is_not_unlocked(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

    assert_int_equal(pthread_mutex_unlock(&mutex), EPERM);
    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
    assert_int_equal(pthread_mutex_unlock(&mutex), EPERM);
}

/* ---- Beginnings, ends and bounds ------------------------------------------------------------------- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    pthread_rwlock_t rwlock;
} zeroes;

static void objects_of_zero_bytes_are_ready(void **state)
{
    struct timespec past = { 1, 0 };

    assert_int_equal(pthread_mutex_lock(&zeroes.mutex), 0);
    assert_int_equal(pthread_cond_timedwait(&zeroes.cond, &zeroes.mutex, &past), ETIMEDOUT);
    assert_int_equal(pthread_mutex_unlock(&zeroes.mutex), 0);
    assert_int_equal(pthread_rwlock_rdlock(&zeroes.rwlock), 0);
    assert_int_equal(pthread_rwlock_unlock(&zeroes.rwlock), 0);
}

static void mutex_that_is_held_is_not_destroyed(void **state)
{
    static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK };

    for (size_t i = 0; i < 2 * sizeof types / sizeof types[0]; i++) {
        pthread_mutex_t *mutex = shared_memory(sizeof *mutex);

        assert_non_null(mutex);
        make(mutex, types[i / 2], PTHREAD_MUTEX_STALLED, i % 2 ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE);
        assert_int_equal(pthread_mutex_lock(mutex), 0);
        assert_int_equal(pthread_mutex_destroy(mutex), EBUSY);
        assert_ptr_equal(elsewhere(try, mutex), as_result(EBUSY));
        assert_int_equal(pthread_mutex_unlock(mutex), 0);
        assert_int_equal(pthread_mutex_destroy(mutex), 0);
    }
}

static void mutex_that_has_ended_is_not_used(void **state)
{
    static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK };
    struct timespec later = in_ms(CLOCK_REALTIME, 10000);

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        pthread_mutex_t mutex;

        make(&mutex, types[i], PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
        assert_int_equal(pthread_mutex_destroy(&mutex), 0);
        assert_int_equal(pthread_mutex_destroy(&mutex), EINVAL);
        assert_int_equal(pthread_mutex_lock(&mutex), EINVAL);
        assert_int_equal(pthread_mutex_trylock(&mutex), EINVAL);
        assert_int_equal(pthread_mutex_timedlock(&mutex, &later), EINVAL);
        assert_int_equal(pthread_mutex_unlock(&mutex), EINVAL);
    }
}

static void mutexes_that_are_robust_are_held_in_bounds(void **state)
{
    enum { MOST = 1900 };
    pthread_mutex_t *mutexes = calloc(MOST + 1, sizeof *mutexes);
    int held = 0, err = 0;

    if (!deaths_are_told())
        skip();
    assert_non_null(mutexes);
    for (int i = 0; i <= MOST; i++)
        make(&mutexes[i], PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_PRIVATE);
    while (held <= MOST && (err = pthread_mutex_lock(&mutexes[held])) == 0)
        held++;
    assert_int_equal(err, EAGAIN);
    assert_int_equal(held, MOST);
    while (held > 0)
        assert_int_equal(pthread_mutex_unlock(&mutexes[--held]), 0);
    assert_int_equal(pthread_mutex_lock(&mutexes[MOST]), 0);
    assert_int_equal(pthread_mutex_unlock(&mutexes[MOST]), 0);
    for (int i = 0; i <= MOST; i++)
        assert_int_equal(pthread_mutex_destroy(&mutexes[i]), 0);
    free(mutexes);
}

static void mutex_recursive_at_the_most_levels_refuses_another(void **state)
{
    pthread_mutex_t mutex;

    make(&mutex, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    mutex.rlock.depth = UINT32_MAX - 1;
    assert_int_equal(pthread_mutex_lock(&mutex), EAGAIN);
    assert_int_equal(pthread_mutex_trylock(&mutex), EAGAIN);
    mutex.rlock.depth = 0;
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
    assert_int_equal(pthread_mutex_unlock(&mutex), EPERM);
    assert_int_equal(pthread_mutex_destroy(&mutex), 0);
}

/* ---- Conditions ---------------------------------------------------------------------------------- */

static void cond_wait_without_the_mutex_is_refused(void **state)
{
    static const int types[] = { PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_NORMAL };
    struct timespec later = in_ms(CLOCK_REALTIME, 10000);
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    pthread_mutex_t *shared = shared_memory(sizeof *shared);

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        pthread_mutex_t mutex;
        bool robust = types[i] == PTHREAD_MUTEX_NORMAL;

        if (robust && !deaths_are_told())
            continue;
        make(&mutex, types[i], robust ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
        assert_int_equal(pthread_cond_timedwait(&cond, &mutex, &later), EPERM);
        assert_int_equal(pthread_cond_wait(&cond, &mutex), EPERM);
        assert_int_equal(pthread_mutex_destroy(&mutex), 0);
    }
    assert_non_null(shared);
    make(shared, PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_SHARED);
    assert_int_equal(pthread_cond_wait(&cond, shared), EPERM);
    assert_int_equal(pthread_mutex_destroy(shared), 0);
}

static void cond_shared_takes_no_private_mutex(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    struct timespec later = in_ms(CLOCK_REALTIME, 10000);
    pthread_cond_t *cond = shared_memory(sizeof *cond);
    pthread_condattr_t attr;

    assert_non_null(cond);
    assert_int_equal(pthread_condattr_init(&attr), 0);
    assert_int_equal(pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_cond_init(cond, &attr), 0);
    assert_int_equal(pthread_mutex_lock(&mutex), 0);
    assert_int_equal(pthread_cond_timedwait(cond, &mutex, &later), EINVAL);
    assert_int_equal(pthread_cond_wait(cond, &mutex), EINVAL);
    assert_int_equal(pthread_mutex_unlock(&mutex), 0);
    assert_int_equal(pthread_cond_destroy(cond), 0);
}

struct levels {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool signalled; /* guarded by mutex */
};

static void *wait_at_three_levels(void *arg)
{
    struct levels *l = arg;
    int err = 0, unlocked = 0;

    for (int i = 0; i < 3; i++)
        pthread_mutex_lock(&l->mutex);
    while (!l->signalled && err == 0)
        err = pthread_cond_wait(&l->cond, &l->mutex);
    while (pthread_mutex_unlock(&l->mutex) == 0)
        unlocked++;
    return as_result(err ? err : unlocked);
}

static void cond_wait_gives_up_all_levels(void **state)
{
    struct levels l = { .cond = PTHREAD_COND_INITIALIZER };
    struct runner runner;

    make(&l.mutex, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
    start(&runner, wait_at_three_levels, &l);
    until_asleep(&runner);
    assert_int_equal(pthread_mutex_lock(&l.mutex), 0);
    l.signalled = true;
    assert_int_equal(pthread_cond_signal(&l.cond), 0);
    assert_int_equal(pthread_mutex_unlock(&l.mutex), 0);
    assert_ptr_equal(finish(&runner), as_result(3));
    assert_ptr_equal(elsewhere(try, &l.mutex), as_result(0));
    assert_int_equal(pthread_mutex_destroy(&l.mutex), 0);
    assert_int_equal(pthread_cond_destroy(&l.cond), 0);
}

/* ---- Barriers and deaths ----------------------------------------------------------------------------- */

static int meet_in_child(void *barrier)
{
    pthread_barrier_wait(barrier);
    return 1;
}

static void barrier_shared_tells_of_a_dead_party(void **state)
{
    pthread_barrier_t *barrier = shared_memory(sizeof *barrier);
    pthread_barrierattr_t attr;
    pid_t pid;
    int err;

    assert_non_null(barrier);
    assert_int_equal(pthread_barrierattr_init(&attr), 0);
    assert_int_equal(pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_barrier_init(barrier, &attr, 3), 0);
    pid = child_start(meet_in_child, barrier);
    while (plait_barrier_waiting(&barrier->barrier) == 0)
        stage_pause();
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(child_end(pid), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(pthread_barrier_wait(barrier), EOWNERDEAD);
    err = pthread_barrier_wait(barrier);
    assert_true(err == EOWNERDEAD || err == EPIPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_without_an_object_do_not_compile),
        cmocka_unit_test(mutexattr_has_no_priority_ceilings),
        cmocka_unit_test(attributes_that_are_null_are_refused),
        cmocka_unit_test(clocks_are_two),
        cmocka_unit_test(shared_objects_outside_an_arena_are_refused),
        cmocka_unit_test(shared_mutex_in_another_mapping_is_refused),
        cmocka_unit_test(shared_mutex_in_an_arena_without_room_is_refused),
        cmocka_unit_test(shared_locks_are_not_unlocked_by_a_child),
        cmocka_unit_test(mutex_that_is_free_is_not_unlocked),
        cmocka_unit_test(objects_of_zero_bytes_are_ready),
        cmocka_unit_test(mutex_that_is_held_is_not_destroyed),
        cmocka_unit_test(mutex_that_has_ended_is_not_used),
        cmocka_unit_test(mutexes_that_are_robust_are_held_in_bounds),
        cmocka_unit_test(mutex_recursive_at_the_most_levels_refuses_another),
        cmocka_unit_test(cond_wait_without_the_mutex_is_refused),
        cmocka_unit_test(cond_shared_takes_no_private_mutex),
        cmocka_unit_test(cond_wait_gives_up_all_levels),
        cmocka_unit_test(barrier_shared_tells_of_a_dead_party),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
