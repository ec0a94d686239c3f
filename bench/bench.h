/* SPDX-License-Identifier: MIT */
/* What a benchmark is made of: metrics, each a race of several sides over the same load. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A metric is measured in rounds. In each round every side runs once, in turn, so what disturbs the machine disturbs
 * all of them; the side that begins changes from round to round. How many operations a side does in a round is found
 * beforehand, so that a round of each takes about BENCH_ROUND seconds. `times_better` is the median over the rounds of
 * theirs / ours in time, and `spread` the distance of the quartiles of that ratio, divided by its median.
 *
 * A second thread lives all the time: glibc drops the atomic operations of a program with one thread.
 */
#define BENCH_ROUND 0.03

/* What a side is asked to do. */
struct bench_load {
    uint64_t ops;    /* operations to time; chosen by the framework */
    unsigned width;  /* threads or processes; for a queue, on each of its sides */
    unsigned work;   /* in the table: nanoseconds in each critical section; for the side: bench_spin's argument */
    unsigned size;   /* capacity, bytes or permits, as the metric says */
};

/*
 * Do the load and give the seconds that an operation took. A contest that runs for a time rather than for a
 * number of operations takes BENCH_ROUND. Negative: this machine does not let us (counts as absent).
 */
typedef double bench_run(const struct bench_load *load);

struct bench_side {
    const char *name; /* of a peer, or "limit:..." for what the machine itself can do, or "noise" */
    bench_run *run;   /* NULL: not installed */
};

enum { BENCH_SIDES_MAX = 8 };

/* Time of an operation; operations in a second; or no time at all, but a count. */
enum bench_unit { BENCH_NS, BENCH_US, BENCH_PER_SECOND, BENCH_COUNT };

struct bench_metric {
    const char *name;
    enum bench_unit unit;
    struct bench_load load;
    struct bench_side sides[BENCH_SIDES_MAX]; /* ours first */
    unsigned rivals; /* sides 1 to this stand for "the best of" in the group's mean; 0: in no group */
};

/* The tables, each ended by a metric without a name. */
extern const struct bench_metric bench_locks[], bench_rwlocks[], bench_sems[], bench_barriers[], bench_events[], bench_turns[], bench_counts[],
    bench_arenas[], bench_queues[], bench_sizes[], bench_piles[], bench_pipes[], bench_broadcasts[], bench_dicts[], bench_lists[], bench_latest[], bench_arrays[],
    bench_pools[], bench_crews[], bench_timers[], bench_any[];

/* The monotonic clock, in seconds. */
double bench_now(void);

/* Say what went wrong and give up: a race whose result is wrong proves nothing. */
void bench_die(const char *what) __attribute__((noreturn));

/* Burn time, in about equal pieces. */
static inline void bench_spin(unsigned pieces)
{
    for (unsigned i = 0; i < pieces; i++)
        __asm__ volatile("" : : "r"(i));
}

/* One of a team. `index` counts from 0. */
typedef void bench_member(unsigned index, void *arg);

/*
 * Run `count` members, started together, as threads or as processes. Returns the seconds from the first one's start to the
 * last one's end. With `stop`, which must be shared memory for processes, it is set to 1 after BENCH_ROUND.
 */
double bench_threads(unsigned count, bench_member *member, void *arg, uint32_t *stop);
double bench_processes(unsigned count, bench_member *member, void *arg, uint32_t *stop);

/* Zeroed memory that children share; and away with it. */
void *bench_share(size_t size);
void bench_unshare(void *memory, size_t size);

#ifdef __cplusplus
}
#endif

#endif
