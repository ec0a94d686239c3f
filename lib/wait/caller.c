/* SPDX-License-Identifier: MIT */
/* How it works: a thread is known by the address of its own copy of the variable that says who runs. */
#include "wait/caller.h"

#include <stddef.h>

PLAIT_THREAD_LOCAL void *plait_caller;
PLAIT_TLS uint32_t plait__fiber_number;

void *plait__caller_of_thread(void)
{
    plait_caller = &plait_caller;
    return plait_caller;
}

void plait__caller_set(void *fiber, uint32_t number)
{
    plait_caller = fiber ? fiber : &plait_caller;
    plait__fiber_number = number;
}
