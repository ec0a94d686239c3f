/* SPDX-License-Identifier: MIT */
/* The loop that every read-write lock runs through: `width` members read, and `size` of each hundred passes write. */
#ifndef BENCH_READING_H
#define BENCH_READING_H

#include "bench.h"
#include "contend.h"

struct bench_reading {
    uint32_t stop;  /* atomic */
    unsigned size;  /* const */
    void *lock;     /* const */
    char gap[48];
    uint64_t a, b;  /* guarded by the lock; a == b */
    char gap2[48];
    uint64_t passes; /* atomic, added to at the end */
};

struct bench_rw {
    void (*read)(void *lock), (*end_read)(void *lock), (*write)(void *lock), (*end_write)(void *lock);
};

BENCH_INLINE void bench_read_and_write(unsigned index, void *reading, struct bench_rw rw)
{
    struct bench_reading *r = (struct bench_reading *)reading;
    unsigned turn = index * 37 % 100;
    uint64_t passes = 0, torn = 0;

    while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
        if (turn < r->size) {
            rw.write(r->lock);
            r->a++;
            __asm__ volatile("" ::: "memory");
            r->b++;
            rw.end_write(r->lock);
        } else {
            rw.read(r->lock);
            torn += *(volatile uint64_t *)&r->a != *(volatile uint64_t *)&r->b;
            rw.end_read(r->lock);
        }
        turn = turn + 71 < 100 ? turn + 71 : turn - 29; /* all hundred in turn, writers not in a row */
        passes++;
    }
    if (torn)
        bench_die("a reader beside a writer");
    __atomic_fetch_add(&r->passes, passes, __ATOMIC_RELAXED);
}

typedef double bench_team(unsigned count, bench_member *member, void *arg, uint32_t *stop);

BENCH_INLINE double bench_reading_run(const struct bench_load *load, void *lock, bench_member *member, bench_team *team)
{
    struct bench_reading *r = (struct bench_reading *)bench_share(sizeof *r);
    double seconds;

    r->size = load->size;
    r->lock = lock;
    seconds = team(load->width, member, r, &r->stop);
    seconds /= (double)(r->passes ? r->passes : 1);
    bench_unshare(r, sizeof *r);
    return seconds;
}

#endif
