/* SPDX-License-Identifier: MIT */
/* Packed: several items, or their results, in one run of bytes. */
#ifndef PLAIT_EXEC_PACKED_H
#define PLAIT_EXEC_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exec/task.h"

/* Bytes that grow; all zero is an empty one. */
struct plait__bytes {
    char *start;
    size_t size, room;
};

/* Make room for `size` bytes at the end, aligned to 16 as long as all sizes are packed ones. NULL: no memory. */
void *plait__bytes_add(struct plait__bytes *bytes, size_t size);
void plait__bytes_free(struct plait__bytes *bytes);

/* Append an item. 0, ENOMEM. */
int plait__packed_add(struct plait__bytes *bytes, const void *item, size_t size);

/* Run a task function over packed items; the result is packed as well. 0, ENOMEM, ENOSPC. */
int plait__packed_run(struct plait_task *task, plait_task_fn *fn, const struct plait__work *work, const char *items);

/* How long the items took, in nanoseconds. */
uint64_t plait__packed_took(const void *results);

/* One result out of packed ones. */
struct plait__packed_result {
    int code;
    const char *text;
    const void *bytes;
    size_t size;
};

/* Read the result at *at, which is 0 for the first one, and move on. */
void plait__packed_read(const void *results, size_t *at, struct plait__packed_result *result_out);

#endif
