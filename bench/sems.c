/* SPDX-License-Identifier: MIT */
/* Semaphores: an acquire and a release of one permit that nobody else wants, out of `size` of them. */
#include <plait.h>

#include <semaphore.h>

#include "bench.h"
#include "contend.h"

BENCH_INLINE void ours_acquire(void *sem) { plait_sem_acquire(sem, 1, PLAIT_FOREVER); }
BENCH_INLINE void ours_release(void *sem) { plait_sem_release(sem, 1); }

static double ours(const struct bench_load *load)
{
    plait_sem_t sem __attribute__((aligned(64)));

    plait_sem_init(&sem, load->size, 0);
    return bench_free(load, &sem, ours_acquire, ours_release);
}

static double ours_in_arena(const struct bench_load *load, unsigned flags)
{
    plait_arena_t *arena;
    void *sem;
    double seconds;

    if (plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20 }) != 0 ||
        plait_arena_alloc(arena, 64, &sem) != 0 || plait_sem_init(sem, load->size, PLAIT_SHARED | flags) != 0)
        bench_die("plait_sem_init");
    seconds = bench_free(load, sem, ours_acquire, ours_release);
    plait_arena_free(arena);
    return seconds;
}

static double ours_shared(const struct bench_load *load) { return ours_in_arena(load, 0); }
static double ours_owned(const struct bench_load *load) { return ours_in_arena(load, PLAIT_OWNED); }

/* Some permits are out already: how many there are is not what it was at first. */
static double ours_used(const struct bench_load *load)
{
    plait_sem_t sem __attribute__((aligned(64)));

    plait_sem_init(&sem, load->size, 0);
    plait_sem_acquire(&sem, load->size / 2, PLAIT_NOW);
    return bench_free(load, &sem, ours_acquire, ours_release);
}

BENCH_INLINE void posix_acquire(void *sem) { sem_wait(sem); }
BENCH_INLINE void posix_release(void *sem) { sem_post(sem); }

static double posix_with(const struct bench_load *load, int shared)
{
    sem_t sem __attribute__((aligned(64)));

    sem_init(&sem, shared, load->size);
    return bench_free(load, &sem, posix_acquire, posix_release);
}

static double posix_used(const struct bench_load *load)
{
    sem_t sem __attribute__((aligned(64)));

    sem_init(&sem, 0, load->size - load->size / 2);
    return bench_free(load, &sem, posix_acquire, posix_release);
}

static double posix(const struct bench_load *load) { return posix_with(load, 0); }
static double posix_shared(const struct bench_load *load) { return posix_with(load, 1); }

const struct bench_metric bench_sems[] = {
    { "sem.free.1", BENCH_NS, { .size = 1 }, { { "plait", ours }, { "sem_t", posix } }, 0 },
    { "sem.free.5", BENCH_NS, { .size = 5 }, { { "plait", ours }, { "sem_t", posix } }, 0 },
    { "sem.used.5", BENCH_NS, { .size = 5 }, { { "plait", ours_used }, { "sem_t", posix_used } }, 0 },
    { "sem.shared.1", BENCH_NS, { .size = 1 }, { { "plait", ours_shared }, { "sem_t", posix_shared } }, 0 },
    /* No peer has permits that come back: this is what they cost. */
    { "sem.owned.1", BENCH_NS, { .size = 1 }, { { "plait", ours_owned }, { "sem_t", posix_shared } }, 0 },
    { 0 },
};
