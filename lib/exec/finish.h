/* SPDX-License-Identifier: MIT */
/* The end of a process, as far as threads and processes have a part in it. */
#ifndef PLAIT_EXEC_FINISH_H
#define PLAIT_EXEC_FINISH_H

/* Wait for the threads of this process that are not daemons, except the caller. */
void plait__threads_finish(void);

/* Wait for the processes that this one has started and that are not daemons; then let its nursery end. */
void plait__processes_finish(void);

/* The caller is alone in a new process, and no longer the thread that it was in the old one. */
void plait__thread_forget(void);

#endif
