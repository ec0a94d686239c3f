/* SPDX-License-Identifier: MIT */
/* The contract of plait/stats.h. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"

enum { ROUNDS = 1000, THREADS = 4, MANY = 2000 };

static struct {
    plait_lock_t lock, other;
    plait_rlock_t rlock;
    plait_sem_t sem;
    plait_arena_t *arena;
    struct {
        plait_lock_t lock;
        plait_sem_t sem;
        uint32_t go; /* atomic */
    } *shared;
} scene;

static int set_up(void **state)
{
    void *memory;

    (void)state;
    memset(&scene, 0, sizeof scene);
    if (plait_arena_new(&scene.arena, NULL) != 0 || plait_arena_alloc(scene.arena, sizeof *scene.shared, &memory) != 0)
        return -1;
    scene.shared = memory;
    return plait_lock_init(&scene.shared->lock, PLAIT_SHARED) || plait_sem_init(&scene.shared->sem, 1, PLAIT_SHARED);
}

static int tear_down(void **state)
{
    (void)state;
    return plait_arena_free(scene.arena);
}

static struct plait_stats read_of(const void *object)
{
    struct plait_stats stats = { 0 };

    assert_int_equal(plait_stats_read(object, &stats), 0);
    return stats;
}

static void figures_of_a_watched_lock_count_calls(void **state)
{
    struct plait_stats stats;

    (void)state;
    assert_int_equal(plait_stats_read(&scene.lock, &stats), ENOENT);
    assert_int_equal(plait_stats_watch(&scene.lock, "lock"), 0);
    assert_int_equal(plait_stats_watch(&scene.lock, "lock"), EBUSY);
    for (int i = 0; i < 3; i++) {
        plait_lock_acquire(&scene.lock, PLAIT_FOREVER);
        plait_lock_acquire(&scene.other, PLAIT_FOREVER); /* not watched */
        assert_int_equal(plait_lock_acquire(&scene.lock, PLAIT_NOW), ETIMEDOUT);
        plait_lock_release(&scene.other);
        plait_lock_release(&scene.lock);
    }
    stats = read_of(&scene.lock);
    assert_int_equal(stats.acquired, 3);
    assert_int_equal(stats.contended, 0);
    assert_int_equal(stats.given_up, 3);
    assert_int_equal(plait_stats_read(&scene.other, &stats), ENOENT);

    assert_int_equal(plait_stats_reset(&scene.lock), 0);
    stats = read_of(&scene.lock);
    assert_int_equal(stats.acquired + stats.given_up + (uint64_t)stats.waited + (uint64_t)stats.longest, 0);
    assert_int_equal(plait_stats_unwatch(&scene.lock), 0);
    assert_int_equal(plait_stats_unwatch(&scene.lock), ENOENT);
    assert_int_equal(plait_stats_read(&scene.lock, &stats), ENOENT);
}

static void figures_tell_how_long_callers_waited(void **state)
{
    struct plait_stats stats;
    plait_time_t waited = plait_now();

    (void)state;
    assert_int_equal(plait_stats_watch(&scene.lock, NULL), 0);
    plait_lock_acquire(&scene.lock, PLAIT_FOREVER);
    for (int i = 1; i <= 2; i++)
        assert_int_equal(plait_lock_acquire(&scene.lock, plait_after(0.003 * i)), ETIMEDOUT);
    waited = plait_now() - waited;
    plait_lock_release(&scene.lock);
    stats = read_of(&scene.lock);
    assert_true(stats.waited > 8 * 1000000 && stats.waited <= waited);
    assert_true(stats.longest > 5 * 1000000 && stats.longest < stats.waited);
    assert_int_equal(plait_stats_unwatch(&scene.lock), 0);
}

static void *acquire_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        plait_lock_acquire(&scene.lock, PLAIT_FOREVER);
        plait_rlock_acquire(&scene.rlock, PLAIT_FOREVER);
        plait_rlock_acquire(&scene.rlock, PLAIT_FOREVER);
        plait_rlock_release(&scene.rlock);
        plait_rlock_release(&scene.rlock);
        plait_lock_release(&scene.lock);
        plait_sem_acquire(&scene.sem, 1, PLAIT_FOREVER);
        plait_sem_release(&scene.sem, 1);
    }
    return NULL;
}

static void figures_of_many_threads_are_exact(void **state)
{
    pthread_t thread[THREADS];
    struct plait_stats stats;

    (void)state;
    assert_int_equal(plait_sem_init(&scene.sem, 1, 0), 0);
    assert_int_equal(plait_stats_watch(&scene.lock, NULL), 0);
    assert_int_equal(plait_stats_watch(&scene.rlock, NULL), 0);
    assert_int_equal(plait_stats_watch(&scene.sem, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, acquire_often, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    stats = read_of(&scene.lock);
    assert_int_equal(stats.acquired, THREADS * ROUNDS);
    assert_true(stats.contended <= stats.acquired && stats.longest <= stats.waited);
    assert_true((stats.contended > 0) == (stats.waited > 0));
    stats = read_of(&scene.rlock);
    assert_int_equal(stats.acquired, 2 * THREADS * ROUNDS);
    assert_int_equal(stats.contended, 0); /* under the lock */
    stats = read_of(&scene.sem);
    assert_int_equal(stats.acquired, THREADS * ROUNDS);
    assert_int_equal(plait_stats_unwatch(&scene.lock), 0);
    assert_int_equal(plait_stats_unwatch(&scene.rlock), 0);
    assert_int_equal(plait_stats_unwatch(&scene.sem), 0);
}

static int use_shared(void *unused)
{
    (void)unused;
    for (int i = 0; i < 10; i++) {
        if (plait_lock_acquire(&scene.shared->lock, PLAIT_FOREVER) != 0)
            return 1;
        plait_lock_release(&scene.shared->lock);
    }
    return plait_sem_acquire(&scene.shared->sem, 1, PLAIT_NOW) ? 2 : 0;
}

static int watch_in_the_child(void *unused)
{
    if (plait_stats_watch(&scene.shared->sem, "permits") != 0)
        return 3;
    return use_shared(unused);
}

static void figures_of_a_shared_lock_are_of_all_processes(void **state)
{
    struct plait_stats stats;

    (void)state;
    assert_int_equal(plait_stats_watch(&scene.shared->lock, "the lock"), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(child_run(i ? watch_in_the_child : use_shared, NULL), i ? 2 : 0); /* one permit in all */
    assert_int_equal(read_of(&scene.shared->lock).acquired, 20);
    assert_int_equal(read_of(&scene.shared->sem).given_up, 1); /* read, not watched */
    assert_int_equal(plait_stats_unwatch(&scene.shared->lock), 0);
    assert_int_equal(read_of(&scene.shared->lock).acquired, 20);
    assert_int_equal(plait_stats_watch(&scene.shared->lock, NULL), 0);
    assert_int_equal(use_shared(NULL), 2);
    stats = read_of(&scene.shared->lock);
    assert_int_equal(stats.acquired, 30);
    assert_int_equal(plait_stats_unwatch(&scene.shared->lock), 0);
}

static void figures_are_listed(void **state)
{
    struct plait_stats_entry entry;
    size_t cursor = 0;

    (void)state;
    assert_int_equal(plait_stats_next(NULL, &cursor, &entry), ENOENT);
    cursor = 0;
    assert_int_equal(plait_stats_next(scene.arena, &cursor, &entry), ENOENT);
    assert_int_equal(plait_arena_publish(scene.arena, "something else", scene.shared), 0);
    assert_int_equal(plait_stats_watch(&scene.lock, "a name that is longer than thirty-one bytes"), 0);
    assert_int_equal(plait_stats_watch(&scene.shared->lock, "shared"), 0);
    plait_lock_acquire(&scene.shared->lock, PLAIT_FOREVER);
    plait_lock_release(&scene.shared->lock);

    cursor = 0;
    assert_int_equal(plait_stats_next(NULL, &cursor, &entry), 0);
    assert_ptr_equal(entry.object, &scene.lock);
    assert_string_equal(entry.name, "a name that is longer than thir");
    assert_int_equal(plait_stats_next(NULL, &cursor, &entry), ENOENT);
    cursor = 0;
    assert_int_equal(plait_stats_next(scene.arena, &cursor, &entry), 0);
    assert_ptr_equal(entry.object, &scene.shared->lock);
    assert_string_equal(entry.name, "shared");
    assert_int_equal(entry.stats.acquired, 1);
    assert_int_equal(plait_stats_next(scene.arena, &cursor, &entry), ENOENT);
    assert_int_equal(plait_stats_unwatch(&scene.lock), 0);
    assert_int_equal(plait_stats_unwatch(&scene.shared->lock), 0);
}

static void figures_of_many_objects_are_kept_apart(void **state)
{
    static plait_lock_t locks[MANY];

    (void)state;
    assert_int_equal(plait_stats_watch(NULL, NULL), EINVAL);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            assert_int_equal(plait_stats_watch(&locks[i], NULL), 0);
        for (int i = 0; i < MANY; i++)
            for (int n = 0; n < i % 4; n++) {
                plait_lock_acquire(&locks[i], PLAIT_FOREVER);
                plait_lock_release(&locks[i]);
            }
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(read_of(&locks[i]).acquired, i % 4);
            assert_int_equal(plait_stats_unwatch(&locks[i]), 0);
        }
    }
    assert_int_equal(plait_hooks & 2u, 0);
}

static void watched_arena_stays_until_unwatch(void **state)
{
    plait_arena_t *arena;
    plait_lock_t *lock;
    void *memory;

    (void)state;
    assert_int_equal(plait_arena_new(&arena, NULL), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *lock, &memory), 0);
    lock = memory;
    assert_int_equal(plait_lock_init(lock, PLAIT_SHARED), 0);
    assert_int_equal(plait_stats_watch(lock, NULL), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    assert_int_equal(plait_lock_acquire(lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_release(lock), 0);
    assert_int_equal(read_of(lock).acquired, 1);
    assert_int_equal(plait_stats_unwatch(lock), 0);
    assert_null(plait_arena_of(lock));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(figures_of_a_watched_lock_count_calls),
        CASE(figures_tell_how_long_callers_waited),
        CASE(figures_of_many_threads_are_exact),
        CASE(figures_of_a_shared_lock_are_of_all_processes),
        CASE(figures_are_listed),
        CASE(figures_of_many_objects_are_kept_apart),
        CASE(watched_arena_stays_until_unwatch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
