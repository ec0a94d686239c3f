/* SPDX-License-Identifier: MIT */
/* Function identity: naming a function so that another process finds it. */
#ifndef PLAIT_BASE_MODULE_H
#define PLAIT_BASE_MODULE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum { PLAIT__BUILD_ID_MAX = 32 };

/* A program or shared library, as plain bytes. */
struct plait__module {
    uint64_t extent;        /* bytes from its base to the end of its last segment */
    uint32_t is_program;    /* the main program, not a library */
    uint32_t build_id_size; /* 0: it was linked without one */
    uint8_t build_id[PLAIT__BUILD_ID_MAX];
    char path[PATH_MAX]; /* absolute where it could be found out; "" of the program */
};

/* A function: a module and the distance from its base. */
struct plait__function {
    struct plait__module module;
    uint64_t offset;
};

/* Describe the function at `address`. EINVAL: it lies in no module's code. */
int plait__function_of(const void *address, struct plait__function *function_out);

/* The same for any address in a module's memory, data included. */
int plait__module_of(const void *address, struct plait__function *function_out);

/*
 * Find the described function in this process; a library that is not loaded is loaded. EINVAL: no such module can
 * be had, or it is another one than described.
 */
int plait__function_open(const struct plait__module *module, uint64_t offset, void **address_out);

/* A number that changes whenever a module was loaded or unloaded: what was learnt under another number is stale. */
uint64_t plait__modules_generation(void);

#endif
