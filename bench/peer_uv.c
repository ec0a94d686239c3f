/* SPDX-License-Identifier: MIT */
/* libuv: uv_queue_work, whose loop runs in the submitter, and timers. */
#include <pthread.h>
#include <stdlib.h>
#include <uv.h>

#include "bench.h"
#include "peers.h"
#include "timing.h"

static void work(uv_work_t *request) { (void)request; }
static void after(uv_work_t *request, int status) { (void)request; }

double uv_tasks(const struct bench_load *load)
{
    uv_work_t *requests = calloc(load->ops, sizeof *requests);
    uv_loop_t loop;
    double start;

    if (!requests || uv_loop_init(&loop) != 0)
        bench_die("uv_loop_init");
    start = bench_now();
    for (uint64_t i = 0; i < load->ops; i++)
        uv_queue_work(&loop, &requests[i], work, after);
    uv_run(&loop, UV_RUN_DEFAULT);
    start = (bench_now() - start) / (double)load->ops;
    uv_loop_close(&loop);
    free(requests);
    return start;
}

/* ---- Timers, of a loop behind a mutex ---- */

static uv_loop_t timer_loop;
static uv_timer_t *timers;
static pthread_mutex_t timers_lock = PTHREAD_MUTEX_INITIALIZER;

static void fire(uv_timer_t *timer) { (void)timer; }

BENCH_INLINE void start_timer(size_t i, double seconds)
{
    pthread_mutex_lock(&timers_lock);
    uv_timer_start(&timers[i], fire, (uint64_t)(1e3 * seconds), 0); /* moves it, if it is pending */
    pthread_mutex_unlock(&timers_lock);
}

BENCH_INLINE void cancel_timer(size_t i)
{
    pthread_mutex_lock(&timers_lock);
    uv_timer_stop(&timers[i]);
    pthread_mutex_unlock(&timers_lock);
}

static void fill_timers(void)
{
    uint64_t random = 1;

    if (timers)
        return;
    timers = calloc(BENCH_PENDING + BENCH_TIMERS_SPARE, sizeof *timers);
    if (!timers || uv_loop_init(&timer_loop) != 0)
        bench_die("uv_loop_init");
    for (size_t i = 0; i < BENCH_PENDING + BENCH_TIMERS_SPARE; i++) {
        uv_timer_init(&timer_loop, &timers[i]);
        if (i < BENCH_PENDING)
            start_timer(i, bench_timing_span(bench_timing_random(&random)));
    }
}

static void add_and_cancel(unsigned index, void *timing) { bench_add_and_cancel(index, timing, start_timer, cancel_timer); }
static void move(unsigned index, void *timing) { bench_move(index, timing, start_timer); }

double uv_add_and_cancel(const struct bench_load *load)
{
    fill_timers();
    return bench_timing_run(load, add_and_cancel);
}

double uv_move(const struct bench_load *load)
{
    fill_timers();
    return bench_timing_run(load, move);
}

static void tell(uv_timer_t *timer)
{
    double *late = timer->data;

    *late = bench_now() - *late;
}

/* Its clock counts whole milliseconds: what counts as due is what it says itself. */
double uv_late(const struct bench_load *load)
{
    uv_timer_t *few = calloc(load->ops, sizeof *few);
    double *late = calloc(load->ops, sizeof *late), told;
    uv_loop_t loop;

    if (!few || !late || uv_loop_init(&loop) != 0)
        bench_die("uv_loop_init");
    uv_update_time(&loop);
    for (uint64_t i = 0; i < load->ops; i++) {
        uint64_t after = 1 + (load->ops + i * BENCH_LATE_STEP) / 1000;

        uv_timer_init(&loop, &few[i]);
        late[i] = 1e-3 * (double)(uv_now(&loop) + after);
        few[i].data = &late[i];
        uv_timer_start(&few[i], tell, after, 0);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    told = bench_late_quantile(late, load, "libuv");
    for (uint64_t i = 0; i < load->ops; i++)
        uv_close((uv_handle_t *)&few[i], NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    free(late);
    free(few);
    return told;
}
