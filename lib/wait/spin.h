/* SPDX-License-Identifier: MIT */
/* Spinning: looking for a while before a sleep. */
#ifndef PLAIT_WAIT_SPIN_H
#define PLAIT_WAIT_SPIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/time.h>

/* What is waited for decides how often to look (spin.c). */
enum plait__spin_way {
    PLAIT__SPIN_CHANGE, /* one change */
    PLAIT__SPIN_TURN,   /* one change that may as well be long in coming */
    PLAIT__SPIN_REGION, /* the next work for a CPU that is there for it: as long as it takes to be woken, at least */
    PLAIT__SPIN_STREAM, /* one of a stream of changes, by somebody who is to be disturbed little */
    PLAIT__SPIN_BATCH,  /* the same, where what has come can be counted (plait__spin_came) */
    /* Without yields: */
    PLAIT__SPIN_ANSWER, /* what another process or thread is asked for now, and may have to be woken for */
    PLAIT__SPIN_ASKED,  /* the next that is asked for, which can be counted as with BATCH */
    PLAIT__SPIN_RIVALS, /* a thing that others take and give back again and again */
    PLAIT__SPIN_WAYS
};

/*
 * One spin:
 *
 *     struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_RIVALS, deadline);
 *
 *     while (plait__spin_pause(&spin))
 *         if (take(it)) {
 *             plait__spin_paid(&spin);
 *             return 0;
 *         }
 *     sleep
 *
 * It ends by itself: when the time that this thread spends on such spins, which adapts to how they went of late, is over, and
 * not after the deadline; at once in a fiber, and with PLAIT_NOW. At its end it gives the CPU to others, if that was of use of late.
 */
struct plait__spin {
    enum plait__spin_way way;
    uint32_t total, left;   /* pauses */
    uint32_t gap, gap_last; /* pauses until the next look; the longest */
    uint32_t yields;        /* left, after the pauses */
    bool has_yielded;
};

struct plait__spin plait__spin_begin(enum plait__spin_way way, plait_time_t deadline);

/* Pause until the next look. False: enough. */
bool plait__spin_pause(struct plait__spin *spin);

/* What was waited for has come; the spin is over. */
void plait__spin_paid(struct plait__spin *spin);

/* The same, for PLAIT__SPIN_BATCH and _ASKED: so much has come. It tells the next spin how long to stay away. */
void plait__spin_came(struct plait__spin *spin, size_t count);

/* A whole spin as long as *word equals `expected`; true when it changed. */
bool plait__spin_until_changed(enum plait__spin_way way, const uint32_t *word, uint32_t expected, plait_time_t deadline);

/*
 * Where those who are to change *word want this CPU: give it to others, a few times, as long as *word equals `expected`. True when it
 * changed. False at once in a fiber, shortly before the deadline, and for a while after a CPU came back late, to this process, as
 * somebody else had use for it.
 */
bool plait__yield_until_changed(const uint32_t *word, uint32_t expected, plait_time_t deadline);

/* The number of CPUs that this process could run on when it was first asked. */
unsigned plait__cpus(void);

#endif
