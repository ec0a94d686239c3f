/* SPDX-License-Identifier: MIT */
/* The process-wide table of parked waiters: fibers that wait for private words. */
#ifndef PLAIT_WAIT_PARKED_H
#define PLAIT_WAIT_PARKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/wait.h>

struct plait__parking;

/* One word that a parked waiter waits for. */
struct plait__parked_node {
    const uint32_t *word;           /* const while in the table */
    struct plait__parking *parking; /* const while in the table */
    struct plait__parked_node *next; /* written under the bucket's lock, read without (E2) */
};

enum plait__parking_state { PLAIT__PARKED, PLAIT__UNPARKED };

/*
 * One waiter, parked on one or several words. The fiber room embeds it with its nodes in the fiber's stack frame:
 *
 *     plait__park(&parking, words, count)          // enters the table
 *     if (plait__park_still(&parking, words))      // looks again
 *         switch away; somebody calls notify; switched back
 *     woken = plait__unpark(&parking)              // leaves the table; afterwards nobody touches it
 *
 * notify is called at most once, by the waker, perhaps in a signal handler or another thread, perhaps before the
 * fiber has switched away: it may only make the fiber's scheduler look (a store and plait__futex_wake, say).
 */
struct plait__parking {
    uint32_t state;                              /* atomic: PARKED until one waker has taken it (E3) */
    uint32_t index;                              /* which word was woken; written by that waker before notify */
    void (*notify)(struct plait__parking *self); /* const; async-signal-safe */
    struct plait__parked_node *nodes;            /* const: `count` of them */
    size_t count;
    const void *owner;                           /* the thread, which also unparks; set by plait__park */
};

/* How many are parked in the whole process; seq_cst (E1). */
extern uint32_t plait__parked_total;

/* Enter the table. notify, nodes (room for `count`) are set by the caller. PLAIT_SHARED words are left out. */
void plait__park(struct plait__parking *parking, const struct plait_wait_word *words, size_t count);

/* After plait__park: are all words still as expected, and has nobody woken us? */
bool plait__park_still(const struct plait__parking *parking, const struct plait_wait_word *words);

/* Leave the table. True: a waker had taken us: its wake is spent on us and must not be forgotten. */
bool plait__unpark(struct plait__parking *parking);

/* Is anyone parked? To be asked after the word was changed. Async-signal-safe. */
bool plait__parked_anyone(void);

/* Wake up to `count` who are parked on the word, in order of arrival; returns how many. Async-signal-safe. */
unsigned plait__parked_wake(const uint32_t *word, unsigned count);

#endif
