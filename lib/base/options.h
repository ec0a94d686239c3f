/* SPDX-License-Identifier: MIT */
/* Options: reading an option struct whose size may differ from ours. */
#ifndef PLAIT_BASE_OPTIONS_H
#define PLAIT_BASE_OPTIONS_H

#include <stddef.h>

/*
 * Fill `ours` (our_size bytes) from the caller's struct of `size` bytes, NULL standing for all defaults. A program compiled
 * with an older header passes fewer bytes: the rest is zero, the default. One compiled with a newer header passes more: if
 * it set any of them, EINVAL, because we would not do what it asks.
 */
int plait__options_read(void *ours, size_t our_size, const void *theirs, size_t size);

#endif
