/* SPDX-License-Identifier: MIT */
/* Python as a peer: a program of its own, timed by itself, without its start. */
#ifndef BENCH_PYTHON_H
#define BENCH_PYTHON_H

#include <stdio.h>

#include "bench.h"

/* Run peer_python.py's `what` with at least `least` operations, or its figures would be those of its beginning. */
static inline double bench_python(const char *what, const struct bench_load *load, uint64_t least)
{
    uint64_t ops = load->ops < least ? least : load->ops;
    char command[512];
    double seconds = -1;
    FILE *out;

    snprintf(command, sizeof command, "%s %s/bench/peer_python.py %s %llu %u", BENCH_PYTHON, BENCH_SRCDIR, what,
             (unsigned long long)ops, load->width);
    out = BENCH_PYTHON[0] ? popen(command, "r") : NULL;
    if (!out)
        return -1;
    if (fscanf(out, "%lf", &seconds) != 1)
        seconds = -1;
    return pclose(out) == 0 ? seconds : -1;
}

#endif
