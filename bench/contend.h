/* SPDX-License-Identifier: MIT */
/* The loops that every lock runs through; a peer gives two functions, which are inlined here. */
#ifndef BENCH_CONTEND_H
#define BENCH_CONTEND_H

#include <sys/resource.h>

#include "bench.h"

#define BENCH_INLINE static inline __attribute__((always_inline))

struct bench_contest {
    uint32_t stop;    /* atomic */
    unsigned work;    /* const */
    unsigned timed;   /* const: look for the longest wait */
    void *lock;       /* const */
    char gap[40];
    uint64_t entries; /* guarded by the lock; becomes the same as `passes` */
    char gap2[56];
    uint64_t passes;  /* atomic, added to at the end */
    double longest;   /* guarded by the lock: seconds that an acquire took */
};

/* Seconds for one acquire and release of a lock that nobody else wants. */
BENCH_INLINE double bench_free(const struct bench_load *load, void *lock, void (*acquire)(void *), void (*release)(void *))
{
    double start = bench_now();

    for (uint64_t i = 0; i < load->ops; i++) {
        acquire(lock);
        release(lock);
    }
    return (bench_now() - start) / (double)load->ops;
}

BENCH_INLINE uint64_t bench_contend_timed(struct bench_contest *c, void (*acquire)(void *), void (*release)(void *))
{
    uint64_t passes = 0;

    while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
        double wait = -bench_now();

        acquire(c->lock);
        wait += bench_now();
        if (wait > c->longest)
            c->longest = wait;
        c->entries++;
        bench_spin(c->work);
        release(c->lock);
        passes++;
    }
    return passes;
}

/* The member's loop of a contest, until it is stopped. */
BENCH_INLINE void bench_contend(void *contest, void (*acquire)(void *), void (*release)(void *))
{
    struct bench_contest *c = (struct bench_contest *)contest;
    uint64_t passes = 0;

    if (c->timed)
        passes = bench_contend_timed(c, acquire, release);
    while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
        acquire(c->lock);
        c->entries++;
        bench_spin(c->work);
        release(c->lock);
        passes++;
    }
    __atomic_fetch_add(&c->passes, passes, __ATOMIC_RELAXED);
}

BENCH_INLINE double bench_contest_result(const struct bench_contest *c, double seconds)
{
    if (c->entries != c->passes)
        bench_die("two held the lock at one time");
    if (c->timed)
        return c->longest;
    return seconds / (double)(c->passes ? c->passes : 1);
}

BENCH_INLINE double bench_contest_threads(const struct bench_load *load, void *lock, bench_member *member)
{
    struct bench_contest contest __attribute__((aligned(64))) = {};

    contest.work = load->work;
    contest.timed = load->size;
    contest.lock = lock;
    return bench_contest_result(&contest, bench_threads(load->width, member, &contest, &contest.stop));
}

BENCH_INLINE double bench_contest_processes(const struct bench_load *load, void *lock, bench_member *member)
{
    struct bench_contest *contest = (struct bench_contest *)bench_share(sizeof *contest);
    double seconds;

    contest->work = load->work;
    contest->timed = load->size;
    contest->lock = lock;
    seconds = bench_processes(load->width, member, contest, &contest->stop);
    seconds = bench_contest_result(contest, seconds);
    bench_unshare(contest, sizeof *contest);
    return seconds;
}

/* Two threads that hand a turn to and fro: `pass` waits for its turn (0 or 1) and gives it to the other one. */
struct bench_turns {
    void *object;  /* const */
    uint64_t ops;  /* const: round trips */
};

BENCH_INLINE void bench_take_turns(unsigned index, void *turns, void (*pass)(void *, unsigned))
{
    struct bench_turns *t = (struct bench_turns *)turns;

    for (uint64_t i = 0; i < t->ops; i++)
        pass(t->object, index);
}

BENCH_INLINE double bench_turns_threads(const struct bench_load *load, void *object, bench_member *member)
{
    struct bench_turns turns = { object, load->ops };

    return bench_threads(2, member, &turns, NULL) / (double)load->ops;
}

/*
 * A crowd that waits for the round to change, and one that changes it when all are there, notifying all. `wait` waits until
 * the round is another than it was, and gives the new one; `change` waits until `width` wait, and starts the next.
 */
struct bench_crowd {
    void *object;      /* const */
    uint64_t ops;      /* const: rounds */
    unsigned width;    /* const: who wait; one more changes */
    uint64_t switches; /* atomic: voluntary switches of context of those who wait */
};

static inline uint64_t bench_switches(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_nvcsw : 0;
}

BENCH_INLINE void bench_crowd_member(unsigned index, void *crowd, unsigned (*wait)(void *, unsigned),
                                     void (*change)(void *, unsigned))
{
    struct bench_crowd *c = (struct bench_crowd *)crowd;
    uint64_t before = bench_switches();
    unsigned round = 0;

    for (uint64_t i = 0; i < c->ops; i++)
        if (index == c->width)
            change(c->object, c->width);
        else
            round = wait(c->object, round);
    if (index < c->width)
        __atomic_fetch_add(&c->switches, bench_switches() - before, __ATOMIC_RELAXED);
}

/* Seconds for a wake-up, or with load->size switches of context. */
BENCH_INLINE double bench_crowd_threads(const struct bench_load *load, void *object, bench_member *member)
{
    struct bench_crowd crowd = { object, load->size ? 20 : load->ops, load->width, 0 };
    double wake_ups = (double)crowd.ops * crowd.width;
    double seconds = bench_threads(load->width + 1, member, &crowd, NULL);

    return load->size ? (double)crowd.switches / wake_ups : seconds / wake_ups;
}

#endif
