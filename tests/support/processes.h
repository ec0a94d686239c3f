/* SPDX-License-Identifier: MIT */
/* What tests of processes that are started in some way have in common: targets, and their end. */
#ifndef TESTS_SUPPORT_PROCESSES_H
#define TESTS_SUPPORT_PROCESSES_H

#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include <plait.h>

static inline int give_code(const void *arg, size_t size) { return *(const int *)arg; }

static inline int kill_self(const void *arg, size_t size)
{
    kill(getpid(), *(const int *)arg);
    return 0;
}

/* 255: the argument does not lie as it should. */
static inline int sum_bytes(const void *arg, size_t size)
{
    const unsigned char *bytes = arg;
    unsigned sum = 0;

    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    return (uintptr_t)arg % 16 ? 255 : (int)(sum % 251);
}

/* Its exit code, or 12345; also where it was not started (NULL). */
static inline int finish(plait_process_t *process)
{
    int code = 12345;

    if (!process || plait_process_join(process, plait_after(60)) != 0 || plait_process_exitcode(process, &code) != 0)
        code = 12345;
    plait_process_free(process);
    return code;
}

#endif
