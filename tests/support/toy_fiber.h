/* SPDX-License-Identifier: MIT */
/* A toy scheduler on ucontext, just enough to try how the ground waits in fibers (lib/wait/hook.h). */
#ifndef TESTS_SUPPORT_TOY_FIBER_H
#define TESTS_SUPPORT_TOY_FIBER_H

#include <stdbool.h>
#include <stdint.h>

#include <plait.h>

enum { TOY_FIBERS_MAX = 64 };

struct toy;

struct toy_fiber {
    struct toy *toy;
    void (*run)(struct toy_fiber *self);
    void *with;      /* the test's */
    unsigned number; /* 0 for the first of its scheduler */
    int result;      /* the fiber's answer, to be read after toy_run */
    uint64_t random; /* state of toy_random */
    uint32_t done;   /* atomic: it has ended */
};

/* A scheduler; it belongs to the thread that runs it. */
struct toy *toy_new(void);
void toy_free(struct toy *toy);

/* Add a fiber before toy_run; NULL: too many, or no memory. */
struct toy_fiber *toy_spawn(struct toy *toy, void (*run)(struct toy_fiber *), void *with, uint64_t seed);

/* Run all until they have ended. */
void toy_run(struct toy *toy);

/* In a fiber: let the others run. */
void toy_yield(struct toy_fiber *self);

/* How many of this scheduler's fibers are parked now? For any thread. */
unsigned toy_parked(struct toy *toy);

/* How often a fiber was switched to. */
unsigned long toy_switches(struct toy *toy);

unsigned toy_random(struct toy_fiber *self, unsigned below);

#endif
