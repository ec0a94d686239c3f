/* SPDX-License-Identifier: MIT */
/* Read-write locks: free, and many readers with no, one and ten writers in a hundred. */
#include <plait.h>

#include <pthread.h>

#include "bench.h"
#include "contend.h"
#include "peers.h"
#include "reading.h"

/* ---- Ours ---- */

BENCH_INLINE void ours_read(void *lock) { plait_rwlock_acquire_read(lock, PLAIT_FOREVER); }
BENCH_INLINE void ours_write(void *lock) { plait_rwlock_acquire_write(lock, PLAIT_FOREVER); }
BENCH_INLINE void ours_release(void *lock) { plait_rwlock_release(lock); }

static const struct bench_rw ours = { ours_read, ours_release, ours_write, ours_release };

static void ours_member(unsigned index, void *reading) { bench_read_and_write(index, reading, ours); }

static double ours_free_read(const struct bench_load *load)
{
    static plait_rwlock_t lock __attribute__((aligned(64)));

    return bench_free(load, &lock, ours_read, ours_release);
}

static double ours_free_write(const struct bench_load *load)
{
    static plait_rwlock_t lock __attribute__((aligned(64)));

    return bench_free(load, &lock, ours_write, ours_release);
}

static double ours_reading(const struct bench_load *load)
{
    plait_rwlock_t lock __attribute__((aligned(64))) = PLAIT_RWLOCK_INIT;

    return bench_reading_run(load, &lock, ours_member, bench_threads);
}

static plait_rwlock_t *shared_lock(plait_arena_t **arena_out)
{
    plait_rwlock_t *lock;
    void *memory;

    if (plait_arena_new(arena_out, &(struct plait_arena_opts){ .limit = 4 << 20 }) != 0 ||
        plait_arena_alloc(*arena_out, sizeof *lock, &memory) != 0)
        bench_die("plait_arena");
    lock = memory;
    if (plait_rwlock_init(lock, PLAIT_SHARED) != 0)
        bench_die("plait_rwlock_init");
    return lock;
}

static double ours_shared_free_read(const struct bench_load *load)
{
    plait_arena_t *arena;
    double seconds = bench_free(load, shared_lock(&arena), ours_read, ours_release);

    plait_arena_free(arena);
    return seconds;
}

static double ours_shared_free_write(const struct bench_load *load)
{
    plait_arena_t *arena;
    double seconds = bench_free(load, shared_lock(&arena), ours_write, ours_release);

    plait_arena_free(arena);
    return seconds;
}

static double ours_shared_reading(const struct bench_load *load)
{
    plait_arena_t *arena;
    double seconds = bench_reading_run(load, shared_lock(&arena), ours_member, bench_processes);

    plait_arena_free(arena);
    return seconds;
}

/* ---- pthreads ---- */

BENCH_INLINE void pthread_read(void *lock) { pthread_rwlock_rdlock(lock); }
BENCH_INLINE void pthread_write(void *lock) { pthread_rwlock_wrlock(lock); }
BENCH_INLINE void pthread_release(void *lock) { pthread_rwlock_unlock(lock); }

static const struct bench_rw pthreads = { pthread_read, pthread_release, pthread_write, pthread_release };

static void pthread_member(unsigned index, void *reading) { bench_read_and_write(index, reading, pthreads); }

static pthread_rwlock_t *make_rwlock(int shared)
{
    pthread_rwlock_t *lock = bench_share(sizeof *lock);
    pthread_rwlockattr_t attr;

    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setpshared(&attr, shared);
    pthread_rwlock_init(lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    return lock;
}

static double drop_rwlock(pthread_rwlock_t *lock, double seconds)
{
    pthread_rwlock_destroy(lock);
    bench_unshare(lock, sizeof *lock);
    return seconds;
}

static double pthread_free_read(const struct bench_load *load)
{
    pthread_rwlock_t *lock = make_rwlock(PTHREAD_PROCESS_PRIVATE);

    return drop_rwlock(lock, bench_free(load, lock, pthread_read, pthread_release));
}

static double pthread_free_write(const struct bench_load *load)
{
    pthread_rwlock_t *lock = make_rwlock(PTHREAD_PROCESS_PRIVATE);

    return drop_rwlock(lock, bench_free(load, lock, pthread_write, pthread_release));
}

static double pthread_reading(const struct bench_load *load)
{
    pthread_rwlock_t *lock = make_rwlock(PTHREAD_PROCESS_PRIVATE);

    return drop_rwlock(lock, bench_reading_run(load, lock, pthread_member, bench_threads));
}

static double pthread_shared_reading(const struct bench_load *load)
{
    pthread_rwlock_t *lock = make_rwlock(PTHREAD_PROCESS_SHARED);

    return drop_rwlock(lock, bench_reading_run(load, lock, pthread_member, bench_processes));
}

/* ---- The table ---- */

#define READING(name, threads, writers)                                                                        \
    { name, BENCH_PER_SECOND, { .width = threads, .size = writers },                                           \
      { { "plait", ours_reading }, { "pthread_rwlock", pthread_reading }, { "nsync_mu", nsync_reading },       \
        { "absl_mutex", absl_reading } }, 0 }

#define READING_SHARED(name, processes, writers)                                                               \
    { name, BENCH_PER_SECOND, { .width = processes, .size = writers },                                         \
      { { "plait", ours_shared_reading }, { "pthread_rwlock_pshared", pthread_shared_reading },                \
        { "boost_sharable_mutex", boost_reading } }, 0 }

const struct bench_metric bench_rwlocks[] = {
    { "rwlock.read.free", BENCH_NS, { 0 },
      { { "plait", ours_free_read }, { "pthread_rwlock", pthread_free_read }, { "nsync_mu", nsync_free_read },
        { "absl_mutex", absl_free_read } }, 0 },
    { "rwlock.write.free", BENCH_NS, { 0 },
      { { "plait", ours_free_write }, { "pthread_rwlock", pthread_free_write }, { "nsync_mu", nsync_free },
        { "absl_mutex", absl_free } }, 0 },
    { "rwlock.shared.read.free", BENCH_NS, { 0 },
      { { "plait", ours_shared_free_read }, { "boost_sharable_mutex", boost_free_read } }, 0 },
    { "rwlock.shared.write.free", BENCH_NS, { 0 },
      { { "plait", ours_shared_free_write }, { "boost_sharable_mutex", boost_free_write } }, 0 },
    READING("rwlock.2t.writers0", 2, 0),
    READING("rwlock.2t.writers1", 2, 1),
    READING("rwlock.2t.writers10", 2, 10),
    READING("rwlock.8t.writers0", 8, 0),
    READING("rwlock.8t.writers1", 8, 1),
    READING("rwlock.8t.writers10", 8, 10),
    READING_SHARED("rwlock.shared.2p.writers0", 2, 0),
    READING_SHARED("rwlock.shared.2p.writers1", 2, 1),
    READING_SHARED("rwlock.shared.2p.writers10", 2, 10),
    READING_SHARED("rwlock.shared.8p.writers0", 8, 0),
    READING_SHARED("rwlock.shared.8p.writers1", 8, 1),
    { 0 },
};
