/* SPDX-License-Identifier: MIT */
/* Locks: free and contended, between threads and between processes. */
#include <plait.h>

#include <pthread.h>

#include "bench.h"
#include "contend.h"
#include "peers.h"

/* ---- Ours ---- */

BENCH_INLINE void ours_acquire(void *lock) { plait_lock_acquire(lock, PLAIT_FOREVER); }
BENCH_INLINE void ours_release(void *lock) { plait_lock_release(lock); }

static double ours_free(const struct bench_load *load)
{
    static plait_lock_t lock;

    return bench_free(load, &lock, ours_acquire, ours_release);
}

static void ours_member(unsigned index, void *contest) { bench_contend(contest, ours_acquire, ours_release); }

static double ours_contended(const struct bench_load *load)
{
    plait_lock_t lock __attribute__((aligned(64))) = PLAIT_LOCK_INIT;

    return bench_contest_threads(load, &lock, ours_member);
}

BENCH_INLINE void rlock_acquire(void *rlock) { plait_rlock_acquire(rlock, PLAIT_FOREVER); }
BENCH_INLINE void rlock_release(void *rlock) { plait_rlock_release(rlock); }

static double ours_recursive_free(const struct bench_load *load)
{
    static plait_rlock_t rlock __attribute__((aligned(64)));

    return bench_free(load, &rlock, rlock_acquire, rlock_release);
}

static double ours_recursive_nested(const struct bench_load *load)
{
    static plait_rlock_t rlock __attribute__((aligned(64)));
    double seconds;

    plait_rlock_acquire(&rlock, PLAIT_FOREVER);
    seconds = bench_free(load, &rlock, rlock_acquire, rlock_release);
    plait_rlock_release(&rlock);
    return seconds;
}

static void ours_recursive_member(unsigned index, void *contest)
{
    bench_contend(contest, rlock_acquire, rlock_release);
}

static double ours_recursive_contended(const struct bench_load *load)
{
    plait_rlock_t rlock __attribute__((aligned(64))) = PLAIT_RLOCK_INIT;

    return bench_contest_threads(load, &rlock, ours_recursive_member);
}

static plait_lock_t *shared_lock(plait_arena_t **arena_out)
{
    plait_lock_t *lock;
    void *memory;

    if (plait_arena_new(arena_out, &(struct plait_arena_opts){ .limit = 4 << 20 }) != 0 ||
        plait_arena_alloc(*arena_out, 64, &memory) != 0)
        bench_die("plait_arena");
    lock = memory;
    if (plait_lock_init(lock, PLAIT_SHARED) != 0)
        bench_die("plait_lock_init");
    return lock;
}

static double ours_shared_free(const struct bench_load *load)
{
    plait_arena_t *arena;
    double seconds = bench_free(load, shared_lock(&arena), ours_acquire, ours_release);

    plait_arena_free(arena);
    return seconds;
}

static double ours_shared_contended(const struct bench_load *load)
{
    plait_arena_t *arena;
    double seconds = bench_contest_processes(load, shared_lock(&arena), ours_member);

    plait_arena_free(arena);
    return seconds;
}

/* ---- pthreads ---- */

BENCH_INLINE void pthread_acquire(void *lock) { pthread_mutex_lock(lock); }
BENCH_INLINE void pthread_release(void *lock) { pthread_mutex_unlock(lock); }
static void pthread_member(unsigned index, void *contest) { bench_contend(contest, pthread_acquire, pthread_release); }

enum { ROBUST_SHARED = -1 };

static void make_mutex(pthread_mutex_t *mutex, int type)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    if (type == ROBUST_SHARED) {
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    } else {
        pthread_mutexattr_settype(&attr, type);
    }
    pthread_mutex_init(mutex, &attr);
    pthread_mutexattr_destroy(&attr);
}

static double mutex_free(const struct bench_load *load, int type)
{
    pthread_mutex_t mutex;
    double seconds;

    make_mutex(&mutex, type);
    seconds = bench_free(load, &mutex, pthread_acquire, pthread_release);
    pthread_mutex_destroy(&mutex);
    return seconds;
}

static double mutex_contended(const struct bench_load *load, int type)
{
    pthread_mutex_t mutex __attribute__((aligned(64)));
    double seconds;

    make_mutex(&mutex, type);
    seconds = bench_contest_threads(load, &mutex, pthread_member);
    pthread_mutex_destroy(&mutex);
    return seconds;
}

static double normal_free(const struct bench_load *load) { return mutex_free(load, PTHREAD_MUTEX_NORMAL); }
static double normal_contended(const struct bench_load *load) { return mutex_contended(load, PTHREAD_MUTEX_NORMAL); }

static double recursive_free(const struct bench_load *load) { return mutex_free(load, PTHREAD_MUTEX_RECURSIVE); }
static double recursive_contended(const struct bench_load *load)
{
    return mutex_contended(load, PTHREAD_MUTEX_RECURSIVE);
}

static double recursive_nested(const struct bench_load *load)
{
    pthread_mutex_t mutex;
    double seconds;

    make_mutex(&mutex, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_lock(&mutex);
    seconds = bench_free(load, &mutex, pthread_acquire, pthread_release);
    pthread_mutex_unlock(&mutex);
    pthread_mutex_destroy(&mutex);
    return seconds;
}

#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP /* glibc's own */
static double adaptive_free(const struct bench_load *load) { return mutex_free(load, PTHREAD_MUTEX_ADAPTIVE_NP); }
static double adaptive_contended(const struct bench_load *load)
{
    return mutex_contended(load, PTHREAD_MUTEX_ADAPTIVE_NP);
}
#else
#define adaptive_free NULL
#define adaptive_contended NULL
#endif

static double robust_free(const struct bench_load *load) { return mutex_free(load, ROBUST_SHARED); }

static double robust_contended(const struct bench_load *load)
{
    pthread_mutex_t *mutex = bench_share(sizeof *mutex);
    double seconds;

    make_mutex(mutex, ROBUST_SHARED);
    seconds = bench_contest_processes(load, mutex, pthread_member);
    pthread_mutex_destroy(mutex);
    bench_unshare(mutex, sizeof *mutex);
    return seconds;
}

/* ---- The machine ---- */

BENCH_INLINE void add_one(void *word) { __atomic_fetch_add((uint32_t *)word, 1, __ATOMIC_ACQUIRE); }
BENCH_INLINE void take_one(void *word) { __atomic_fetch_sub((uint32_t *)word, 1, __ATOMIC_RELEASE); }
BENCH_INLINE void nothing(void *word) { (void)word; }

static double one_rmw(const struct bench_load *load)
{
    static uint32_t word __attribute__((aligned(64)));

    return bench_free(load, &word, add_one, nothing);
}

static double two_rmw(const struct bench_load *load)
{
    static uint32_t word __attribute__((aligned(64)));

    return bench_free(load, &word, add_one, take_one);
}

/* ---- The table ---- */

#define FREE_PEERS                                                                                                 \
    { "pthread_mutex", normal_free }, { "pthread_mutex_adaptive", adaptive_free }, { "nsync_mu", nsync_free },     \
        { "absl_mutex", absl_free }, { "limit:one_rmw", one_rmw }, { "limit:two_rmw", two_rmw }

#define CONTENDED(name, threads, ns)                                                                               \
    { name, BENCH_PER_SECOND, { .width = threads, .work = ns },                                                    \
      { { "plait", ours_contended }, { "pthread_mutex", normal_contended },                                        \
        { "pthread_mutex_adaptive", adaptive_contended }, { "nsync_mu", nsync_contended },                         \
        { "absl_mutex", absl_contended } }, 3 }

/* The longest that anybody waits in a round. */
#define WORST(name, threads)                                                                                       \
    { name, BENCH_US, { .width = threads, .work = 1000, .size = 1 },                                               \
      { { "plait", ours_contended }, { "pthread_mutex", normal_contended },                                        \
        { "pthread_mutex_adaptive", adaptive_contended }, { "nsync_mu", nsync_contended },                         \
        { "absl_mutex", absl_contended } }, 0 }

#define CONTENDED_SHARED(name, processes, ns)                                                                      \
    { name, BENCH_PER_SECOND, { .width = processes, .work = ns },                                                  \
      { { "plait", ours_shared_contended }, { "pthread_mutex_robust", robust_contended } }, 1 }

const struct bench_metric bench_locks[] = {
    { "noise.lock", BENCH_NS, { 0 }, { { "pthread_mutex", normal_free }, { "noise", normal_free } }, 0 },
    { "noise.contended", BENCH_PER_SECOND, { .width = 2, .work = 100 },
      { { "pthread_mutex", normal_contended }, { "noise", normal_contended } }, 0 },
    { "lock.free", BENCH_NS, { 0 }, { { "plait", ours_free }, FREE_PEERS }, 0 },
    { "rlock.free", BENCH_NS, { 0 },
      { { "plait", ours_recursive_free }, { "pthread_mutex_recursive", recursive_free },
        { "pthread_mutex", normal_free }, { "limit:two_rmw", two_rmw } }, 0 },
    { "rlock.nested", BENCH_NS, { 0 },
      { { "plait", ours_recursive_nested }, { "pthread_mutex_recursive", recursive_nested } }, 0 },
    { "rlock.contended.2t.cs100ns", BENCH_PER_SECOND, { .width = 2, .work = 100 },
      { { "plait", ours_recursive_contended }, { "pthread_mutex_recursive", recursive_contended } }, 0 },
    { "lock.shared.free", BENCH_NS, { 0 },
      { { "plait", ours_shared_free }, { "pthread_mutex_robust", robust_free }, { "limit:two_rmw", two_rmw } }, 0 },
    CONTENDED("lock.contended.2t.cs0ns", 2, 0),
    CONTENDED("lock.contended.2t.cs100ns", 2, 100),
    CONTENDED("lock.contended.2t.cs1000ns", 2, 1000),
    CONTENDED("lock.contended.4t.cs0ns", 4, 0),
    CONTENDED("lock.contended.4t.cs100ns", 4, 100),
    CONTENDED("lock.contended.4t.cs1000ns", 4, 1000),
    CONTENDED("lock.contended.8t.cs0ns", 8, 0),
    CONTENDED("lock.contended.8t.cs100ns", 8, 100),
    CONTENDED("lock.contended.8t.cs1000ns", 8, 1000),
    CONTENDED("lock.contended.16t.cs0ns", 16, 0),
    CONTENDED("lock.contended.16t.cs100ns", 16, 100),
    CONTENDED("lock.contended.16t.cs1000ns", 16, 1000),
    WORST("lock.worst.2t.cs1000ns", 2),
    WORST("lock.worst.4t.cs1000ns", 4),
    WORST("lock.worst.16t.cs1000ns", 16),
    CONTENDED_SHARED("lock.shared.2p.cs0ns", 2, 0),
    CONTENDED_SHARED("lock.shared.2p.cs100ns", 2, 100),
    CONTENDED_SHARED("lock.shared.2p.cs1000ns", 2, 1000),
    CONTENDED_SHARED("lock.shared.8p.cs0ns", 8, 0),
    CONTENDED_SHARED("lock.shared.8p.cs100ns", 8, 100),
    CONTENDED_SHARED("lock.shared.8p.cs1000ns", 8, 1000),
    { 0 },
};
