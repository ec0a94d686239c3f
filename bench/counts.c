/* SPDX-License-Identifier: MIT */
/* Once, latch, wait group, progress: the look at one that is done, and counting while nobody waits. */
#include <plait.h>

#include <pthread.h>

#include "bench.h"
#include "contend.h"
#include "peers.h"

BENCH_INLINE void nothing(void *unused) { (void)unused; }

/* ---- Ours ---- */

static int succeed(void *unused) { return 0; }

BENCH_INLINE void run_once(void *once) { plait_once_run(once, succeed, NULL, PLAIT_FOREVER); }

static double ours_once(const struct bench_load *load)
{
    static plait_once_t once __attribute__((aligned(64)));

    return bench_free(load, &once, run_once, nothing);
}

BENCH_INLINE void count_down(void *latch) { plait_latch_count_down(latch, 1); }

static double ours_latch(const struct bench_load *load)
{
    plait_latch_t latch __attribute__((aligned(64)));

    plait_latch_init(&latch, 0xffffffffu, 0);
    return bench_free(load, &latch, count_down, nothing);
}

BENCH_INLINE void begin(void *group) { plait_wait_group_add(group, 1); }
BENCH_INLINE void end(void *group) { plait_wait_group_done(group); }

static double ours_group(const struct bench_load *load)
{
    static plait_wait_group_t group __attribute__((aligned(64)));

    return bench_free(load, &group, begin, end);
}

BENCH_INLINE void advance(void *progress) { plait_progress_advance(progress, 1, 4096); }

/* A bar looks at it meanwhile, as it would in a program; where there is no terminal, a callback. */
static void look(const struct plait_progress_look *seen, void *unused) { (void)seen, (void)unused; }

static double ours_progress(const struct bench_load *load)
{
    static plait_progress_t progress __attribute__((aligned(64)));
    plait_bar_t *bar = NULL;
    double took;

    if (plait_bar_new(&bar, &(struct plait_bar_opts){ .progress = &progress, .callback = look }) != 0)
        return -1;
    took = bench_free(load, &progress, advance, nothing);
    plait_bar_free(bar);
    return took;
}

/* ---- pthreads ---- */

static void do_nothing(void) { }

BENCH_INLINE void pthread_run(void *once) { pthread_once(once, do_nothing); }

static double pthread_onced(const struct bench_load *load)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    return bench_free(load, &once, pthread_run, nothing);
}

/* ---- The machine ---- */

BENCH_INLINE void add_one(void *word) { __atomic_fetch_add((uint32_t *)word, 1, __ATOMIC_ACQUIRE); }
BENCH_INLINE void take_one(void *word) { __atomic_fetch_sub((uint32_t *)word, 1, __ATOMIC_RELEASE); }

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

const struct bench_metric bench_counts[] = {
    { "once.done", BENCH_NS, { 0 },
      { { "plait", ours_once }, { "pthread_once", pthread_onced }, { "nsync_once", nsync_onced } }, 0 },
    { "latch.count_down", BENCH_NS, { 0 },
      { { "plait", ours_latch }, { "nsync_counter", nsync_count_down }, { "absl_blocking_counter", absl_count_down },
        { "limit:one_rmw", one_rmw } }, 0 },
    { "wait_group.add_done", BENCH_NS, { 0 },
      { { "plait", ours_group }, { "nsync_counter", nsync_count_up_and_down }, { "limit:two_rmw", two_rmw } }, 0 },
    { "progress.advance", BENCH_NS, { 0 },
      { { "plait", ours_progress }, { "boost_progress_display", boost_progress }, { "limit:two_rmw", two_rmw } }, 0 },
    { 0 },
};
