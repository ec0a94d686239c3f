/* SPDX-License-Identifier: MIT */
/* Who is the caller: a thread, or a fiber in it. */
#ifndef PLAIT_WAIT_CALLER_H
#define PLAIT_WAIT_CALLER_H

#include <stdint.h>

#include <plait/wait.h>

#include "base/tls.h"

/*
 * Two names for the same thing. Private objects know a caller by an address: the fiber's, or one in the thread's own memory;
 * no two living callers of a process have the same, its lowest three bits are 0, and in the child of a fork the
 * forking thread keeps it. Shared objects know a caller by the thread's TID (wait/robust.h) and the fiber's number in
 * the thread, of 30 bits: 0 is the thread itself.
 */
enum { PLAIT__FIBER_NUMBER_MAX = 0x3fffffff };

/* The running fiber's number; set by plait__caller_set. */
extern PLAIT_TLS uint32_t plait__fiber_number;

/* The slow path of plait__caller: the thread's own name, known from now on. */
void *plait__caller_of_thread(void);

static inline void *plait__caller(void)
{
    void *self = plait_caller;

    return __builtin_expect(self != NULL, 1) ? self : plait__caller_of_thread();
}

/*
 * For a scheduler, whenever it switches: from now on the caller is this fiber, whose address is a multiple of 8 and whose
 * number is unlike those of the thread's other living fibers; or with NULL and 0 the thread itself.
 */
void plait__caller_set(void *fiber, uint32_t number);

#endif
