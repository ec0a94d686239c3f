/* SPDX-License-Identifier: MIT */
/* Tools that run inside a test program, or run it: their work is counted with the program's, and their limits are its own. */
#ifndef TESTS_SUPPORT_WATCHED_H
#define TESTS_SUPPORT_WATCHED_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef RUNNING_ON_VALGRIND
#define RUNNING_ON_VALGRIND 0
#endif

/* A sanitizer, or valgrind? */
static inline bool is_watched(void)
{
    const char *instrumented = getenv("PLAIT_INSTRUMENTED");

    return RUNNING_ON_VALGRIND || (instrumented && strcmp(instrumented, "yes") == 0);
}

#endif
