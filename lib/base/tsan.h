/* SPDX-License-Identifier: MIT */
/* Telling ThreadSanitizer of an order that the kernel makes and it cannot see; nothing in other builds. */
#ifndef PLAIT_BASE_TSAN_H
#define PLAIT_BASE_TSAN_H

#include <plait/export.h>

#ifdef PLAIT_UNDER_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#else
static inline void __tsan_acquire(void *address) { (void)address; }
static inline void __tsan_release(void *address) { (void)address; }
#endif

#endif
