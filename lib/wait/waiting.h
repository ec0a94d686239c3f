/* SPDX-License-Identifier: MIT */
/* Waiting inside the library: sleeping in slices where a peer may die. */
#ifndef PLAIT_WAIT_WAITING_H
#define PLAIT_WAIT_WAITING_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/wait.h>

struct plait__polls;

/*
 * plait_wait for the loops of shared objects: also returns 0 ("look again") when a slice of time has passed,
 * because the peer that should have woken us may have died between its change and its wake. *slice starts
 * as 0 and grows from 100 to 800 ms over the calls of one loop. Private waits are not sliced.
 */
int plait__wait_sliced(const uint32_t *word, uint32_t expected, unsigned flags, plait_time_t deadline,
                       plait_time_t *slice);

/*
 * Its two halves, for who waits in another way: until when to wait at first, and what the end of that wait means, 0 or
 * ETIMEDOUT or another error.
 */
plait_time_t plait__slice_begin(plait_time_t *slice, plait_time_t deadline);
int plait__slice_over(plait_time_t *slice, int err, plait_time_t until, plait_time_t deadline);

/* Is a wait of the calling thread nothing but a futex: is it bound to no token, and runs no fibers? */
bool plait__wait_is_plain(void);

/*
 * For loops that sleep on several words: how long to sleep at once. *slice starts as 0, and grows from `first` to `last` nanoseconds
 * over the calls; with shared words among them as in plait__wait_sliced.
 */
plait_time_t plait__slice_end(plait_time_t *slice, plait_time_t first, plait_time_t last, plait_time_t deadline);
plait_time_t plait__slice_end_shared(plait_time_t *slice, plait_time_t deadline);

/*
 * plait_wait_many for as many words as plait_wait_any takes, in an array with room for PLAIT_CANCEL_DEPTH_MAX more behind
 * them. *index_out is `count` or less when it returns. With `polls` (NULL: none) also until one of these descriptors is ready: 0 then, or
 * ENOSYS if that cannot be done (ring.h).
 */
int plait__wait_words(struct plait_wait_word *words, size_t count, const struct plait__polls *polls, plait_time_t deadline,
                      size_t *index_out);

#endif
