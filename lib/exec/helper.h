/* SPDX-License-Identifier: MIT */
/* Threads of the library's own, which leave the program's signals to the program's threads. */
#ifndef PLAIT_EXEC_HELPER_H
#define PLAIT_EXEC_HELPER_H

#include <signal.h>

/* For a thread that is started in between: block all signals but those that mark a fault, which cannot be blocked with sense. */
void plait__helper_mask(sigset_t *before_out);
void plait__helper_unmask(const sigset_t *before);

/* Start one that nobody joins. EAGAIN, or pthread_create's other reasons. */
int plait__helper_start(void *(*run)(void *), void *arg);

#endif
