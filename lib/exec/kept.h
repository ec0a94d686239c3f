/* SPDX-License-Identifier: MIT */
/* Kept: a task that is run in this process, with its outcome in ordinary memory. */
#ifndef PLAIT_EXEC_KEPT_H
#define PLAIT_EXEC_KEPT_H

#include "exec/future.h"

/* The first member of the maker's own struct, which is allocated with malloc. */
struct plait__kept {
    plait_future_t future; /* first */
    uint32_t word;         /* atomic: task.h */
    int code;              /* written by the claimer, before DONE */
    void *result;          /* the same: malloc'ed, or NULL */
    size_t result_size;    /* the same */
    char *text;            /* the same: malloc'ed, or NULL */
};

/* Calls of its kind of future. */
void plait__kept_outcome(plait_future_t *future, struct plait__outcome *outcome_out);
void plait__kept_settle(plait_future_t *future, int code, const char *text);
void plait__kept_reclaim(plait_future_t *future);

/* Run a task that the caller has claimed, and write how it ended. `stop` (not NULL): not 0 once its pool is told to stop. */
void plait__kept_run(struct plait__kept *kept, plait_task_fn *fn, const struct plait__work *work, const void *arg,
                     unsigned worker, const uint32_t *stop, unsigned attempt);

/* Forget how it ended. */
void plait__kept_clear(struct plait__kept *kept);

#endif
