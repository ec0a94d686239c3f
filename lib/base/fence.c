/* SPDX-License-Identifier: MIT */
/*
 * How it works: membarrier interrupts those CPUs that run a thread of this process; a thread that does not run has passed a full
 * barrier on its way off the CPU. A process must register first, and its children again where the kernel says so. That is done when the
 * library is loaded: it takes a few microseconds as long as there is one thread, and tens of milliseconds later.
 */
#include "base/fence.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { GLOBAL_EXPEDITED = 2, REGISTER_GLOBAL_EXPEDITED = 4, PRIVATE_EXPEDITED = 8, REGISTER_PRIVATE_EXPEDITED = 16 };

static bool ask_kernel(int command)
{
#ifdef SYS_membarrier
    return syscall(SYS_membarrier, command, 0, 0) == 0;
#else
    (void)command;
    return false;
#endif
}

__attribute__((constructor)) static void register_early(void)
{
    ask_kernel(REGISTER_PRIVATE_EXPEDITED);
}

bool plait__fence_everywhere(void)
{
    return ask_kernel(PRIVATE_EXPEDITED) || (ask_kernel(REGISTER_PRIVATE_EXPEDITED) && ask_kernel(PRIVATE_EXPEDITED));
}

bool plait__fence_join(void)
{
    return ask_kernel(REGISTER_GLOBAL_EXPEDITED);
}

bool plait__fence_all(void)
{
    return ask_kernel(GLOBAL_EXPEDITED);
}
