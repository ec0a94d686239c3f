/* SPDX-License-Identifier: MIT */
/* Barriers: a round of `width` threads or processes that do nothing but wait for each other. */
#include <plait.h>

#include <pthread.h>

#include "bench.h"

struct race {
    void *barrier;
    uint64_t ops;
};

static void our_member(unsigned index, void *arg)
{
    const struct race *race = arg;

    (void)index;
    for (uint64_t i = 0; i < race->ops; i++)
        if (plait_barrier_wait(race->barrier, NULL, PLAIT_FOREVER) != 0)
            bench_die("plait_barrier_wait");
}

static void their_member(unsigned index, void *arg)
{
    const struct race *race = arg;

    (void)index;
    for (uint64_t i = 0; i < race->ops; i++)
        pthread_barrier_wait(race->barrier);
}

static double ours(const struct bench_load *load)
{
    plait_barrier_t barrier __attribute__((aligned(64)));
    struct race race = { &barrier, load->ops };

    if (plait_barrier_init(&barrier, load->width, 0) != 0)
        bench_die("plait_barrier_init");
    return bench_threads(load->width, our_member, &race, NULL) / (double)load->ops;
}

static double theirs(const struct bench_load *load)
{
    pthread_barrier_t barrier __attribute__((aligned(64)));
    struct race race = { &barrier, load->ops };

    pthread_barrier_init(&barrier, NULL, load->width);
    return bench_threads(load->width, their_member, &race, NULL) / (double)load->ops;
}

static double our_processes(const struct bench_load *load)
{
    plait_arena_t *arena;
    struct race race = { NULL, load->ops };
    double seconds;

    if (plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20 }) != 0 ||
        plait_arena_alloc(arena, sizeof(plait_barrier_t), &race.barrier) != 0 ||
        plait_barrier_init(race.barrier, load->width, PLAIT_SHARED) != 0)
        bench_die("plait_barrier_init");
    seconds = bench_processes(load->width, our_member, &race, NULL) / (double)load->ops;
    plait_arena_free(arena);
    return seconds;
}

static double their_processes(const struct bench_load *load)
{
    pthread_barrier_t *barrier = bench_share(sizeof *barrier);
    struct race race = { barrier, load->ops };
    pthread_barrierattr_t attr;
    double seconds;

    pthread_barrierattr_init(&attr);
    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(barrier, &attr, load->width);
    seconds = bench_processes(load->width, their_member, &race, NULL) / (double)load->ops;
    bench_unshare(barrier, sizeof *barrier);
    return seconds;
}

const struct bench_metric bench_barriers[] = {
    { "barrier.2", BENCH_NS, { .width = 2 }, { { "plait", ours }, { "pthread", theirs } }, 0 },
    { "barrier.8", BENCH_NS, { .width = 8 }, { { "plait", ours }, { "pthread", theirs } }, 0 },
    { "barrier.processes.2", BENCH_NS, { .width = 2 }, { { "plait", our_processes }, { "pthread", their_processes } }, 0 },
    { "barrier.processes.8", BENCH_NS, { .width = 8 }, { { "plait", our_processes }, { "pthread", their_processes } }, 0 },
    { 0 },
};
