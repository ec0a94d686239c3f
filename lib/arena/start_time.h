/* SPDX-License-Identifier: MIT */
/* Who lives, asked of /proc: a thread or process is told from a later one of the same number by when it was started. */
#ifndef PLAIT_ARENA_START_TIME_H
#define PLAIT_ARENA_START_TIME_H

#include <stdbool.h>
#include <stdint.h>

/* When the living thread of that number was started, in clock ticks since boot; 0: there is none, or it is not known. */
uint64_t plait__start_time(uint32_t tid);

/* Is the thread of that number that was started then (0: whenever) dead for certain? */
bool plait__thread_is_dead(uint32_t tid, uint64_t start_time);

/*
 * The calling process, as a number that no other has had since the machine was started; never 0. Is the process of that
 * number dead for certain, or a zombie?
 */
uint64_t plait__process_id(void);
bool plait__process_is_dead(uint64_t id);

/* The same number of another process; 0: there is none, or it has ended. */
uint64_t plait__process_id_of(uint32_t pid);

#endif
