/* SPDX-License-Identifier: MIT */
/* libev: its timers lie in a heap of one loop, which is one thread's; here behind a mutex, as programs with more do it. */
#include <ev.h>
#include <pthread.h>

#include "bench.h"
#include "peers.h"
#include "timing.h"

static struct ev_loop *loop;
static ev_timer *timers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void nothing(struct ev_loop *unused, ev_timer *timer, int events) { (void)unused, (void)timer, (void)events; }

BENCH_INLINE void start(size_t i, double seconds)
{
    pthread_mutex_lock(&lock);
    ev_timer_set(&timers[i], seconds, 0.);
    ev_timer_start(loop, &timers[i]);
    pthread_mutex_unlock(&lock);
}

BENCH_INLINE void cancel(size_t i)
{
    pthread_mutex_lock(&lock);
    ev_timer_stop(loop, &timers[i]);
    pthread_mutex_unlock(&lock);
}

BENCH_INLINE void move_one(size_t i, double seconds)
{
    pthread_mutex_lock(&lock);
    timers[i].repeat = seconds; /* its quickest way: the node stays in the heap */
    ev_timer_again(loop, &timers[i]);
    pthread_mutex_unlock(&lock);
}

static void fill(void)
{
    uint64_t random = 1;

    if (timers)
        return;
    loop = ev_loop_new(EVFLAG_AUTO);
    timers = (ev_timer *)calloc(BENCH_PENDING + BENCH_TIMERS_SPARE, sizeof *timers);
    if (!loop || !timers)
        bench_die("libev");
    for (size_t i = 0; i < BENCH_PENDING + BENCH_TIMERS_SPARE; i++) {
        ev_timer_init(&timers[i], nothing, 0., 0.);
        if (i < BENCH_PENDING)
            start(i, bench_timing_span(bench_timing_random(&random)));
    }
}

static void add_and_cancel(unsigned index, void *timing) { bench_add_and_cancel(index, timing, start, cancel); }
static void move(unsigned index, void *timing) { bench_move(index, timing, move_one); }

double ev_add_and_cancel(const struct bench_load *load)
{
    fill();
    return bench_timing_run(load, add_and_cancel);
}

double ev_move(const struct bench_load *load)
{
    fill();
    return bench_timing_run(load, move);
}

static void tell(struct ev_loop *unused, ev_timer *timer, int events)
{
    double *late = (double *)timer->data;

    (void)unused, (void)events;
    *late = bench_now() - *late;
}

double ev_late(const struct bench_load *load)
{
    struct ev_loop *own = ev_loop_new(EVFLAG_AUTO);
    ev_timer *few = (ev_timer *)calloc(load->ops, sizeof *few);
    double *late = (double *)calloc(load->ops, sizeof *late), told, now;

    if (!own || !few || !late)
        bench_die("libev");
    ev_now_update(own);
    now = bench_now();
    for (uint64_t i = 0; i < load->ops; i++) {
        double after = 0.001 + 1e-6 * (double)(load->ops + i * BENCH_LATE_STEP);

        ev_timer_init(&few[i], tell, after, 0.);
        late[i] = now + after;
        few[i].data = &late[i];
        ev_timer_start(own, &few[i]);
    }
    ev_run(own, 0);
    told = bench_late_quantile(late, load, "libev");
    ev_loop_destroy(own);
    free(late);
    free(few);
    return told;
}
