/* SPDX-License-Identifier: MIT */
/* Where signals come from, and where they go. */
#ifndef PLAIT_EXEC_SIGNAL_H
#define PLAIT_EXEC_SIGNAL_H

#include <pthread.h>
#include <signal.h>

#include <plait/signal.h>

/* Guards all objects for signals and the feeder; held for a few instructions, never across a wait. */
extern pthread_mutex_t plait__signal_lock;

/* ---- The feeder (signal_feed.c); with the lock held --------------------------------------- */

struct plait__feeder;

/* Have a thread take exactly the signals of `wanted`, starting one if there is none. EAGAIN, ENOMEM, EMFILE, ENFILE, ENOSYS. */
int plait__feeder_want(const sigset_t *wanted);

/* Nothing is wanted any more: give the feeder away, to be ended by plait__feeder_end without the lock. May be NULL. */
struct plait__feeder *plait__feeder_detach(void);
void plait__feeder_end(struct plait__feeder *feeder);

/* Is there one in this process? */
int plait__feeder_is_here(void);

/* In a child after fork: the parent's is not ours. */
void plait__feeder_forget(void);

/* ---- The objects (signal.c) --------------------------------------------------------------- */

/* A signal has arrived: hand it to each object that it is for. With the lock held. */
void plait__signal_deliver(const struct plait_signal_info *info);

#endif
