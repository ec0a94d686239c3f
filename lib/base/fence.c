/* SPDX-License-Identifier: MIT */
/*
 * How it works: membarrier interrupts those CPUs that run a thread of this process; a thread that does not run has passed a full
 * barrier on its way off the CPU. A process must register first, and its children again where the kernel says so.
 */
#include "base/fence.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { PRIVATE_EXPEDITED = 8, REGISTER_PRIVATE_EXPEDITED = 16 };

bool plait__fence_everywhere(void)
{
#ifdef SYS_membarrier
    if (syscall(SYS_membarrier, PRIVATE_EXPEDITED, 0, 0) == 0)
        return true;
    return syscall(SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
           syscall(SYS_membarrier, PRIVATE_EXPEDITED, 0, 0) == 0;
#else
    return false;
#endif
}
