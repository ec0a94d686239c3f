/* SPDX-License-Identifier: MIT */
/* Out of memory: does the kernel end processes for want of it? */
#ifndef PLAIT_EXEC_OOM_H
#define PLAIT_EXEC_OOM_H

#include <stdint.h>

/*
 * How often it has, as far as is told to this process: in its control group, else anywhere. That only grows; 0: it is not told. `root` is put
 * before the names of the system's files: "".
 */
uint64_t plait__oom_kills(const char *root);

#endif
