/* SPDX-License-Identifier: MIT */
/* The loads that every side's timers go through; a peer gives its functions, which are inlined here. */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "contend.h"

enum { BENCH_PENDING = 1000000, BENCH_TIMERS_SPARE = 8 /* one for each member, which is not pending */ };

struct bench_timing {
    uint64_t ops;   /* const */
    unsigned width; /* const */
};

static inline uint64_t bench_timing_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Times far enough for none to come during the race. */
static inline double bench_timing_span(uint64_t random)
{
    return 10000 + (double)(random >> 40) / (1 << 12); /* to 14096 seconds */
}

/* Start and cancel one timer again and again, while a million others are pending. */
BENCH_INLINE void bench_add_and_cancel(unsigned index, void *timing, void (*start)(size_t, double), void (*cancel)(size_t))
{
    struct bench_timing *t = (struct bench_timing *)timing;
    uint64_t random = index * 7919u + 88172645463325252u;

    for (uint64_t i = 0; i < t->ops / t->width; i++) {
        start(BENCH_PENDING + index, bench_timing_span(bench_timing_random(&random)));
        cancel(BENCH_PENDING + index);
    }
}

/* Of a million that are pending give any one another time, as a connection on which something was heard does. */
BENCH_INLINE void bench_move(unsigned index, void *timing, void (*move)(size_t, double))
{
    struct bench_timing *t = (struct bench_timing *)timing;
    uint64_t random = index * 7919u + 88172645463325252u;
    size_t part = BENCH_PENDING / t->width;

    for (uint64_t i = 0; i < t->ops / t->width; i++) {
        uint64_t r = bench_timing_random(&random);

        move(index * part + (r & 0xffffffff) % part, bench_timing_span(bench_timing_random(&random)));
    }
}

static inline double bench_timing_run(const struct bench_load *load, bench_member *member)
{
    struct bench_timing timing = { load->ops, load->width };

    return bench_threads(load->width, member, &timing, NULL) / (double)load->ops;
}

/* ---- Lateness: timers every 137 microseconds; `size` is which per cent of them are not later than what is told ---- */

enum { BENCH_LATE_STEP = 137 /* microseconds */ };

static inline int bench_late_by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Each of them, with whose it is, at the end of the file that BENCH_LATENESS names: for a picture. */
static inline void bench_late_note(const double *late, const struct bench_load *load, const char *whose)
{
    const char *path = getenv("BENCH_LATENESS");
    FILE *file = path ? fopen(path, "a") : NULL;

    for (uint64_t i = 0; file && i < load->ops; i++)
        fprintf(file, "%s\t%.3f\n", whose, 1e6 * late[i]);
    if (file)
        fclose(file);
}

static inline double bench_late_quantile(double *late, const struct bench_load *load, const char *whose)
{
    uint64_t at = load->ops * load->size / 100;

    bench_late_note(late, load, whose);
    qsort(late, load->ops, sizeof *late, bench_late_by_size);
    at = at < load->ops ? at : load->ops - 1;
    return late[at] > 1e-9 ? late[at] : 1e-9;
}

#endif
