/* SPDX-License-Identifier: MIT */
/* Entering the library: for programs that start processes. */
#ifndef PLAIT_INIT_H
#define PLAIT_INIT_H

#include <plait/export.h>

PLAIT_BEGIN_DECLS

/*
 * Enter the library; to be called first in main, before any thread is started and any file is opened that
 * workers should not inherit:
 *
 *     int main(int argc, char **argv)
 *     {
 *         plait_init(&argc, &argv);
 *         ...
 *
 * It forks the nursery: a small process without threads, from which every later process of this program is
 * forked (plait/process.h), so that forking stays safe however many threads run by then. The nursery is not a
 * child that the program could see or reap, ends with the program, and costs a few hundred KiB.
 *
 * A program that starts no processes need not call it. One that does and has not called it gets its nursery
 * when it makes its first process or process pool: with a danger of fork in a program with threads, if
 * there are any: a lock of some other library that another thread held at that moment stays held for ever in the
 * processes. (Locks of libc are seen to.)
 *
 * In a process that is to run a target afresh (PLAIT_SPAWN), this calls it, and does not return.
 *
 * argc and argv may be NULL; they are not changed. Calling it again does nothing. Returns 0; EAGAIN or ENOMEM: no
 * process could be made.
 */
PLAIT_API int plait_init(int *argc, char ***argv);

/*
 * The number of CPUs that this process may use: by affinity mask and by the CPU quota of its control group,
 * at least 1.
 */
PLAIT_API unsigned plait_cpu_count(void);

PLAIT_END_DECLS

#endif
