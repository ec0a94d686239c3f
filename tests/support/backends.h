/* SPDX-License-Identifier: MIT */
/* Cases that are run over both back-ends of pools: CONTRACT(name) in the table of tests; `backend` says over which. */
#ifndef TESTS_SUPPORT_BACKENDS_H
#define TESTS_SUPPORT_BACKENDS_H

#include <plait/pool.h>

static enum plait_backend backend; /* of the case that runs */

static int on_threads(void **state)
{
    backend = PLAIT_THREADS;
    return 0;
}

static int on_processes(void **state)
{
    backend = PLAIT_PROCESSES;
    return 0;
}

#define CONTRACT(name) { #name "/threads", name, on_threads, NULL, NULL }, { #name "/processes", name, on_processes, NULL, NULL }

#endif
