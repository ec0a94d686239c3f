/* SPDX-License-Identifier: MIT */
/* Place: an address in the program, in words. */
#ifndef PLAIT_BASE_PLACE_H
#define PLAIT_BASE_PLACE_H

#include <limits.h>
#include <stdint.h>

#include "base/module.h"

struct plait__place {
    struct plait__function in; /* the module, and the offset of the address in it */
    char path[PATH_MAX];       /* the module's file; "" if it cannot be found out */
    char symbol[80];           /* the function or variable that it lies in; "" if the file does not tell */
    uint64_t distance;         /* from its start */
};

/* Describe an address of code or data. EINVAL: it lies in no module, but on the heap or a stack. */
int plait__place_of(const void *address, struct plait__place *place_out);

/*
 * The source line of the described code, "file:line", asked from addr2line; "" if that does not know. Where a function of
 * our headers was inlined, the line is that of its caller.
 */
void plait__place_line(const struct plait__place *place, char *line, unsigned size);

#endif
