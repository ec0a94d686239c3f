/* SPDX-License-Identifier: MIT */
/* Failure: why nobody can work in a pool, as told by the first of its workers that finds out. May lie in shared memory. */
#ifndef PLAIT_EXEC_POOL_FAILURE_H
#define PLAIT_EXEC_POOL_FAILURE_H

#include <stdbool.h>
#include <stdint.h>

#include "exec/task.h"

/* Zeroed at first. */
struct plait__pool_failure {
    uint32_t word;   /* atomic (E1): 0: none; n + 2: worker n is about to tell it; 1: told, and the rest is const */
    uint32_t worker;
    int32_t code;
    char text[TASK_TEXT + 64]; /* with what the program puts before it */
};

/* Tell it. False: another one has, or is about to. */
bool plait__failure_tell(struct plait__pool_failure *failure, unsigned worker, int code, const char *text);

/* Is it told? What is in there may be read then. */
bool plait__failure_is_told(const struct plait__pool_failure *failure);

/* The worker is dead. True: it was about to tell, and nobody will. */
bool plait__failure_is_left(const struct plait__pool_failure *failure, unsigned worker);

#endif
