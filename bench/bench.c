/* SPDX-License-Identifier: MIT */
/*
 * The framework: measures the metrics whose names match the arguments (all without), prints a table, and writes
 * results.tsv. How it measures stands in bench.h. BENCH_ROUNDS in the environment: how many rounds (at least 15).
 */
#include <plait/init.h>

#include "bench.h"

#include <fnmatch.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS_MIN = 15, ROUNDS_MAX = 999, GROUP_MAX = 64 };

static unsigned rounds = ROUNDS_MIN;
static double piece; /* seconds that a piece of bench_spin takes */
static FILE *results;

/* What a metric with rivals leaves behind for its group's mean: logarithms of times better. */
static struct {
    unsigned metrics;
    double best;
    double rival[BENCH_SIDES_MAX];
    const char *name[BENCH_SIDES_MAX];
} group;

void bench_die(const char *what)
{
    fflush(stdout);
    fprintf(stderr, "bench: %s\n", what);
    _exit(1);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The value below which the given part of them lies; sorts them. */
static double quantile(double *values, unsigned count, double part)
{
    double at = part * (count - 1);
    unsigned below = (unsigned)at;

    qsort(values, count, sizeof *values, by_size);
    if (below + 1 >= count)
        return values[count - 1];
    return values[below] + (at - below) * (values[below + 1] - values[below]);
}

static double median(const double *values)
{
    double copy[ROUNDS_MAX];

    memcpy(copy, values, rounds * sizeof *copy);
    return quantile(copy, rounds, 0.5);
}

static void *live_on(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void measure_piece(void)
{
    piece = 1;
    for (int i = 0; i < 1000; i++) { /* short ones, so that some are not disturbed */
        double start = bench_now();
        double took;

        bench_spin(100000);
        took = (bench_now() - start) / 1e5;
        if (took < piece)
            piece = took;
    }
}

static double shown(double seconds, enum bench_unit unit)
{
    static const double factor[] = { [BENCH_NS] = 1e9, [BENCH_US] = 1e6, [BENCH_COUNT] = 1 };

    return unit == BENCH_PER_SECOND ? 1e-6 / seconds : seconds * factor[unit];
}

static const char *unit_name(enum bench_unit unit)
{
    static const char *const name[] = { [BENCH_NS] = "ns", [BENCH_US] = "us", [BENCH_PER_SECOND] = "M/s",
                                       [BENCH_COUNT] = "count" };

    return name[unit];
}

static void row(const char *metric, const char *unit, double ours, const char *peer, double theirs, double better,
                double spread)
{
    printf("%-32s %-5s %10.4g  %-28s %10.4g %8.2f %6.2f\n", metric, unit, ours, peer, theirs, better, spread);
    fprintf(results, "%s\t%s\t%.6g\t%s\t%.6g\t%.4g\t%.3g\n", metric, unit, ours, peer, theirs, better, spread);
}

static void row_absent(const char *metric, const char *unit, double ours, const char *peer)
{
    printf("%-32s %-5s %10.4g  %-28s %10s\n", metric, unit, ours, peer, "absent");
    fprintf(results, "%s\t%s\t%.6g\t%s\tabsent\t-\t-\n", metric, unit, ours, peer);
}

/* Find the number of operations that takes about a round. This is the warm-up as well. False: it cannot run here. */
static bool calibrate(const struct bench_side *side, struct bench_load *load)
{
    load->ops = 64;
    for (;;) {
        double each = side->run(load);
        double took = each * (double)load->ops;

        if (each < 0)
            return false;
        if (took > BENCH_ROUND / 3) {
            load->ops = (uint64_t)(BENCH_ROUND / each) + 1;
            return side->run(load) >= 0;
        }
        load->ops *= took < BENCH_ROUND / 100 ? 16 : 4;
    }
}

static void add_to_group(const struct bench_metric *m, const double *better)
{
    double best = INFINITY;

    for (unsigned i = 1; i <= m->rivals; i++)
        if (better[i] > 0 && better[i] < best)
            best = better[i];
    for (unsigned i = 1; i < BENCH_SIDES_MAX; i++) {
        group.rival[i] += log(better[i]);
        group.name[i] = m->sides[i].name;
    }
    group.best += log(best);
    group.metrics++;
}

static void race(const struct bench_metric *m)
{
    static double seconds[BENCH_SIDES_MAX][ROUNDS_MAX];
    struct bench_load load[BENCH_SIDES_MAX];
    bool runs[BENCH_SIDES_MAX] = { false };
    double better[BENCH_SIDES_MAX] = { 0 };
    unsigned sides = 0;

    while (sides < BENCH_SIDES_MAX && m->sides[sides].name)
        sides++;
    for (unsigned i = 0; i < sides; i++) {
        load[i] = m->load;
        load[i].work = (unsigned)(m->load.work * 1e-9 / piece);
        runs[i] = m->sides[i].run && calibrate(&m->sides[i], &load[i]);
    }
    if (!runs[0])
        bench_die(m->name);
    for (unsigned r = 0; r < rounds; r++)
        for (unsigned turn = 0; turn < sides; turn++) {
            unsigned i = (r + turn) % sides;

            if (runs[i])
                seconds[i][r] = m->sides[i].run(&load[i]);
        }
    for (unsigned i = 1; i < sides; i++) {
        const char *unit = unit_name(m->unit);
        double ours = shown(median(seconds[0]), m->unit);
        double ratio[ROUNDS_MAX];

        if (!runs[i]) {
            row_absent(m->name, unit, ours, m->sides[i].name);
            continue;
        }
        for (unsigned r = 0; r < rounds; r++)
            ratio[r] = seconds[i][r] / seconds[0][r];
        better[i] = quantile(ratio, rounds, 0.5);
        row(m->name, unit, ours, m->sides[i].name, shown(median(seconds[i]), m->unit), better[i],
            (quantile(ratio, rounds, 0.75) - quantile(ratio, rounds, 0.25)) / better[i]);
    }
    if (m->rivals)
        add_to_group(m, better);
    fflush(stdout);
}

/* The group's rows: geometric means over its metrics of how many times better we were. */
static void close_group(const char *name)
{
    if (group.metrics == 0)
        return;
    for (unsigned i = 1; i < BENCH_SIDES_MAX && group.name[i]; i++) {
        double mean = exp(group.rival[i] / group.metrics);

        if (mean > 0)
            row(name, "ratio", mean, group.name[i], 1, mean, 0);
    }
    row(name, "ratio", exp(group.best / group.metrics), "best_of_rivals", 1, exp(group.best / group.metrics), 0);
    memset(&group, 0, sizeof group);
}

static bool is_wanted(const char *name, char **globs)
{
    if (!globs[0])
        return true;
    for (; globs[0]; globs++)
        if (fnmatch(globs[0], name, 0) == 0)
            return true;
    return false;
}

/* The name of a group: that of its metric up to the second dot, and "geomean". */
static void group_name(char *to, size_t size, const char *metric)
{
    const char *dot = strchr(metric, '.');

    dot = dot ? strchr(dot + 1, '.') : NULL;
    snprintf(to, size, "%.*s.geomean", dot ? (int)(dot - metric) : (int)strlen(metric), metric);
}

static void race_all(const struct bench_metric *m, char **globs)
{
    char current[128] = "";

    for (; m->name; m++) {
        char name[128] = "";

        if (!is_wanted(m->name, globs))
            continue;
        if (m->rivals)
            group_name(name, sizeof name, m->name);
        if (strcmp(current, name) != 0)
            close_group(current);
        strcpy(current, name);
        race(m);
    }
    close_group(current);
}

int main(int argc, char **argv)
{
    const struct bench_metric *const tables[] = { bench_locks, bench_rwlocks, bench_sems, bench_barriers, bench_events, bench_turns,
                                                  bench_counts, bench_arenas, bench_queues, bench_sizes, bench_piles, bench_pipes, bench_broadcasts, bench_dicts,
                                                  bench_lists, bench_latest, bench_arrays, bench_pools, bench_crews, bench_timers, bench_any };
    const char *wanted = getenv("BENCH_ROUNDS");
    pthread_t second;

    if (wanted && atoi(wanted) > ROUNDS_MIN)
        rounds = atoi(wanted) < ROUNDS_MAX ? (unsigned)atoi(wanted) : ROUNDS_MAX;
    if (plait_init(&argc, &argv) != 0)
        bench_die("plait_init");
    results = fopen("bench/results.tsv", "w");
    if (!results)
        bench_die("cannot write bench/results.tsv");
    if (pthread_create(&second, NULL, live_on, NULL) != 0)
        bench_die("pthread_create");
    measure_piece();
    printf("%-32s %-5s %10s  %-28s %10s %8s %6s\n", "metric", "unit", "ours", "peer", "theirs", "better", "spread");
    fprintf(results, "metric\tunit\tours\tpeer\ttheirs\ttimes_better\tspread\n");
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        race_all(tables[i], argv + 1);
    return fclose(results) ? 1 : 0;
}
