/* SPDX-License-Identifier: MIT */
#ifndef FUZZ_DAMAGED_ARENA_H
#define FUZZ_DAMAGED_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How far one is; the driver lays it in memory that it shares. */
struct fuzz_progress {
    const char *call; /* NULL: none */
    uint64_t calls;
    uint64_t input;
};

extern struct fuzz_progress *fuzz_progress;
extern bool fuzz_talks; /* say each call and its answer */
extern bool fuzz_late;  /* do late damage too */

/*
 * One input, images_make having been called. False: the thread could not leave the arena in order; the process should not do many more.
 */
bool fuzz_one(const uint8_t *data, size_t size);

#endif
