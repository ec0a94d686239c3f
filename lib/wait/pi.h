/* SPDX-License-Identifier: MIT */
/* Words with priority inheritance: the kernel's PI futexes. */
#ifndef PLAIT_WAIT_PI_H
#define PLAIT_WAIT_PI_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/time.h>

/*
 * The word is 0 when free, else the TID of its owner, and the kernel's bits. Who waits lends the owner its priority,
 * and that of who waits for it; the kernel hands the word to the waiter of the highest.
 */

/* Has this kernel such words? */
bool plait__pi_works(void);

/*
 * Take the word for the calling thread, whose id is `tid`. 0; EOWNERDEAD: taken, its last owner died; ETIMEDOUT; ECANCELED
 * (the kernel's wait does not see tokens: looked at every 20 ms by those who are bound to one); EDEADLK: it is the caller's
 * already, or the kernel found a circle of owners.
 */
int plait__pi_acquire(uint32_t *word, uint32_t tid, plait_time_t deadline);

/* Give the word that the calling thread has to the first of the waiters, or make it free. Always 0: no wake is left to do. */
uint32_t plait__pi_release(uint32_t *word, uint32_t tid);

#endif
