/* SPDX-License-Identifier: MIT */
/* Timers: starting and cancelling them while a million are pending, and how late they are. */
#include <plait.h>

#include "bench.h"
#include "peers.h"
#include "python.h"
#include "timing.h"

static plait_timer_t *timers;

static void nothing(plait_timer_t *timer, void *arg) { (void)timer, (void)arg; }

static void make(plait_timer_t *timer, void (*target)(plait_timer_t *, void *), void *arg)
{
    if (plait_timer_init(timer, &(struct plait_timer_opts){ .target = target, .arg = arg }) != 0)
        bench_die("plait_timer_init");
}

/* The clock is read once in a round, as libev and libuv read theirs once in a turn of their loops. */
static plait_time_t now;

BENCH_INLINE void start(size_t i, double seconds) { plait_timer_start(&timers[i], now + (plait_time_t)(1e9 * seconds)); }
BENCH_INLINE void cancel(size_t i) { plait_timer_cancel(&timers[i]); }

static void fill(void)
{
    uint64_t random = 1;

    now = plait_now();
    if (timers)
        return;
    timers = calloc(BENCH_PENDING + BENCH_TIMERS_SPARE, sizeof *timers);
    if (!timers)
        bench_die("no memory for a million timers");
    for (size_t i = 0; i < BENCH_PENDING + BENCH_TIMERS_SPARE; i++) {
        make(&timers[i], nothing, NULL);
        if (i < BENCH_PENDING)
            start(i, bench_timing_span(bench_timing_random(&random)));
    }
}

static void add_and_cancel(unsigned index, void *timing) { bench_add_and_cancel(index, timing, start, cancel); }
static void move(unsigned index, void *timing) { bench_move(index, timing, start); }

static double ours_add_and_cancel(const struct bench_load *load)
{
    fill();
    return bench_timing_run(load, add_and_cancel);
}

static double ours_move(const struct bench_load *load)
{
    fill();
    return bench_timing_run(load, move);
}

/* ---- Lateness ---- */

static void tell(plait_timer_t *timer, void *late)
{
    *(double *)late = 1e-9 * (double)(plait_now() - plait_timer_due(timer));
}

static double ours_late(const struct bench_load *load)
{
    plait_timer_t *few = calloc(load->ops, sizeof *few);
    double *late = calloc(load->ops, sizeof *late), told;
    plait_time_t first;

    if (!few || !late)
        bench_die("no memory for timers");
    first = plait_after(0.001 + 1e-6 * (double)load->ops);
    for (uint64_t i = 0; i < load->ops; i++) {
        make(&few[i], tell, &late[i]);
        plait_timer_start(&few[i], first + (plait_time_t)i * 1000 * BENCH_LATE_STEP);
    }
    for (uint64_t i = 0; i < load->ops; i++)
        plait_timer_join(&few[i], PLAIT_FOREVER);
    told = bench_late_quantile(late, load, "plait");
    free(late);
    free(few);
    return told;
}

/* ---- One at a time, beside Python's ---- */

static double ours_alone(const struct bench_load *load)
{
    plait_timer_t timer;
    double begun = bench_now();

    for (uint64_t i = 0; i < load->ops; i++) {
        make(&timer, nothing, NULL);
        plait_timer_start(&timer, plait_after(3600));
        plait_timer_cancel(&timer);
        plait_timer_join(&timer, PLAIT_FOREVER);
        plait_timer_fini(&timer);
    }
    return (bench_now() - begun) / (double)load->ops;
}

static double python_alone(const struct bench_load *load) { return bench_python("timer", load, 2000); }

const struct bench_metric bench_timers[] = {
    { "timer.add_cancel.1M.1", BENCH_NS, { .width = 1 },
      { { "plait", ours_add_and_cancel }, { "libev+mutex", ev_add_and_cancel }, { "libuv+mutex", uv_add_and_cancel } }, 0 },
    { "timer.add_cancel.1M.2", BENCH_NS, { .width = 2 },
      { { "plait", ours_add_and_cancel }, { "libev+mutex", ev_add_and_cancel }, { "libuv+mutex", uv_add_and_cancel } }, 0 },
    { "timer.move.1M.1", BENCH_NS, { .width = 1 },
      { { "plait", ours_move }, { "libev+mutex", ev_move }, { "libuv+mutex", uv_move } }, 0 },
    { "timer.move.1M.2", BENCH_NS, { .width = 2 },
      { { "plait", ours_move }, { "libev+mutex", ev_move }, { "libuv+mutex", uv_move } }, 0 },
    { "timer.late.median", BENCH_US, { .size = 50 },
      { { "plait", ours_late }, { "libev", ev_late }, { "libuv", uv_late } }, 0 },
    { "timer.late.p99", BENCH_US, { .size = 99 },
      { { "plait", ours_late }, { "libev", ev_late }, { "libuv", uv_late } }, 0 },
    { "timer.late.max", BENCH_US, { .size = 100 },
      { { "plait", ours_late }, { "libev", ev_late }, { "libuv", uv_late } }, 0 },
    { "timer.start_cancel_join", BENCH_NS, { 0 },
      { { "plait", ours_alone }, { "python_threading", python_alone } }, 0 },
    { 0 },
};
