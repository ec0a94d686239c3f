/* SPDX-License-Identifier: MIT */
/* A fence in all threads at once, so that those who come by often need none. */
#ifndef PLAIT_BASE_FENCE_H
#define PLAIT_BASE_FENCE_H

#include <stdbool.h>

/*
 * For "store mine, then look at yours" on two sides of which one is taken much more often: the frequent side has only a
 * compiler_barrier() in between, the seldom one calls this. Then one of the two sees the other, as if both had a full
 * barrier. Among the threads of this process. False: the kernel cannot (membarrier); nothing is ordered.
 */
bool plait__fence_everywhere(void);

/*
 * The same among processes: the frequent side has joined, once in its process and again in children of a fork, which may take some
 * milliseconds; the seldom one calls plait__fence_all. False, again: the kernel cannot.
 */
bool plait__fence_join(void);
bool plait__fence_all(void);

#endif
