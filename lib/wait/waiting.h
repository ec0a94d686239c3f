/* SPDX-License-Identifier: MIT */
/* Waiting inside the library: sleeping in slices where a peer may die. */
#ifndef PLAIT_WAIT_WAITING_H
#define PLAIT_WAIT_WAITING_H

#include <stdint.h>

#include <plait/wait.h>

/*
 * plait_wait for the loops of shared objects: also returns 0 ("look again") when a slice of time has passed,
 * because the peer that should have woken us may have died between its change and its wake. *slice starts
 * as 0 and grows from 100 to 800 ms over the calls of one loop. Private waits are not sliced.
 */
int plait__wait_sliced(const uint32_t *word, uint32_t expected, unsigned flags, plait_time_t deadline,
                       plait_time_t *slice);

#endif
