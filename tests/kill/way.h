/* SPDX-License-Identifier: MIT */
/*
 * The way of an operation: the addresses of its instructions, one after the other, as a child was seen to go it step by step. Another child that
 * goes the same way is brought to any place on it without stepping: by a breakpoint on the last instruction before that
 * place which does not come often, and a few steps from there.
 */
#ifndef TESTS_KILL_WAY_H
#define TESTS_KILL_WAY_H

#include <stdbool.h>
#include <sys/types.h>

/* One instruction of a stopped child. False: it is not there any more. */
bool way_step(pid_t pid);

/* Begin to write one down; the child is at its first instruction. way_note: after each step. */
void way_begin(pid_t pid);
void way_note(pid_t pid);

/*
 * Bring a child that is at the first instruction to where it has executed k of them. How many instructions of the way that was: less than k
 * where the child has gone another way and is at the end of its operation, which has set *done then. -1: it is not there any more.
 */
long way_go(pid_t pid, long k, const volatile int *done);

/* So far: steps taken, breakpoints hit, and children that were found elsewhere than expected. */
extern unsigned long way_steps, way_hits, way_strays;

#endif
