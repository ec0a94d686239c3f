/* SPDX-License-Identifier: MIT */
/* Crowd: waiting for more words than the kernel takes in one call. */
#ifndef PLAIT_WAIT_CROWD_H
#define PLAIT_WAIT_CROWD_H

#include <stdbool.h>
#include <stddef.h>

#include <plait/cancel.h>
#include <plait/wait.h>
#include <plait/wait_any.h>

/* The most words: of plait_wait_any, and of the caller's cancel tokens. */
enum { PLAIT__WAIT_CROWD_MAX = PLAIT_WAIT_ANY_MAX + PLAIT_CANCEL_DEPTH_MAX };

/*
 * Sleep until one of the words is no longer as expected, or is woken. `kernel_max`: how many words one
 * sleep may have, PLAIT_WAIT_MANY_MAX at most: 1 where there is no futex_waitv. 0: look again, *index_out as it was if no word is known to be the
 * reason. ETIMEDOUT.
 */
int plait__wait_crowd(const struct plait_wait_word *words, size_t count, size_t kernel_max, plait_time_t deadline,
                      size_t *index_out);

/* What it stands on (wait.c): sleep on at most PLAIT__WAIT_WORDS_MAX words, in the kernel or, in a fiber, parked. */
int plait__wait_few(const struct plait_wait_word *words, size_t count, plait_time_t deadline, size_t *index_out);

/* Is a word no longer as expected? */
bool plait__wait_changed(const struct plait_wait_word *words, size_t count, size_t *index_out);

#endif
