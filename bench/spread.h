/* SPDX-License-Identifier: MIT */
/* The loop that every broadcast runs through: one publisher, `width` subscribers who each get every item, all of them checked. */
#ifndef BENCH_SPREAD_H
#define BENCH_SPREAD_H

#include <sched.h>
#include <string.h>

#include "bench.h"
#include "contend.h"

enum { BENCH_SPREAD_WIDTH_MAX = 8, BENCH_SPREAD_SIZE_MAX = 64, BENCH_SPREAD_ROOM = 1024 };

struct bench_spread {
    void *way;      /* const */
    uint64_t items; /* const */
    unsigned width; /* const */
    unsigned size;  /* const: bytes of an item, the first 8 of which are its number from 1 on */
    uint32_t ready; /* atomic: subscribers who are there */
    double began;   /* the publisher's: when all of them were */
    double ended[BENCH_SPREAD_WIDTH_MAX + 1]; /* each member's */
};

/* enter: what a subscriber (from 0 on) has to do before the first item comes; get returns what it needs from then on. */
BENCH_INLINE void bench_spread_member(unsigned index, void *spread, void (*put)(void *, const char *, unsigned),
                                      void *(*enter)(void *, unsigned), void (*get)(void *, char *, unsigned),
                                      void (*leave)(void *))
{
    struct bench_spread *s = (struct bench_spread *)spread;
    char item[BENCH_SPREAD_SIZE_MAX] = { 0 };
    uint64_t number;
    void *self;

    if (index == 0) {
        while (__atomic_load_n(&s->ready, __ATOMIC_ACQUIRE) < s->width)
            sched_yield();
        s->began = bench_now();
        for (number = 1; number <= s->items; number++) {
            memcpy(item, &number, sizeof number);
            put(s->way, item, s->size);
        }
        s->ended[0] = bench_now();
        return;
    }
    self = enter(s->way, index - 1);
    __atomic_fetch_add(&s->ready, 1, __ATOMIC_RELEASE);
    for (uint64_t i = 1; i <= s->items; i++) {
        get(self, item, s->size);
        memcpy(&number, item, sizeof number);
        if (number != i)
            bench_die("an item is lost, or came twice");
    }
    s->ended[index] = bench_now();
    leave(self);
}

/* The seconds for an item, from the time on when all are there until all have it: starting processes is no part of it. */
BENCH_INLINE double bench_spread_run(const struct bench_load *load, void *way, bench_member *member,
                                     double (*team)(unsigned, bench_member *, void *, uint32_t *))
{
    struct bench_spread *s = (struct bench_spread *)bench_share(sizeof *s);
    double ended = 0;

    s->way = way;
    s->items = load->ops;
    s->width = load->width;
    s->size = load->size;
    team(load->width + 1, member, s, NULL);
    for (unsigned i = 0; i <= load->width; i++)
        ended = s->ended[i] > ended ? s->ended[i] : ended;
    ended -= s->began;
    bench_unshare(s, sizeof *s);
    return ended / (double)load->ops;
}

#endif
