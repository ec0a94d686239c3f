/* SPDX-License-Identifier: MIT */
/* Telling those who look for data races (ThreadSanitizer, helgrind, DRD) what they cannot see; nothing in other builds. */
#ifndef PLAIT_BASE_RACES_H
#define PLAIT_BASE_RACES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/export.h>

/*
 *     plait__races_before(address)           what this thread has done so far comes before what a thread does that
 *     plait__races_after(address)            calls this one later, with the same address
 *     plait__races_word(address, size)       these bytes are no data but synchronisation, for anyone at any time
 *     plait__races_forget(address, size)     the object in these bytes has ended: what they were used for counts no more
 *     plait__races_once(once, function)      pthread_once, which the tools of valgrind do not know
 *     plait__races_look(word)                load it, with acquire, whatever it is by now; only if plait__races_can_look()
 *     plait__races_address_only(begins)      from true to false the kernel gets addresses whose memory may be gone
 *
 * ThreadSanitizer understands atomics, and is told of the orders that the kernel makes. The tools of valgrind do not
 * understand atomics either; base/watched.h tells them of each.
 */

#ifdef PLAIT_VALGRIND

void plait__races_before(const void *address);
void plait__races_after(const void *address);
void plait__races_word(const void *address, size_t size);
void plait__races_forget(const void *address, size_t size);
int plait__races_once(pthread_once_t *once, void (*function)(void));
void plait__races_address_only(bool begins);
static inline bool plait__races_can_look(void) { return false; }
static inline uint64_t plait__races_look(const uint64_t *word) { return *word; }

#else

#ifdef PLAIT_UNDER_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define PLAIT__NOT_WATCHED __attribute__((no_sanitize("thread")))
#else
#define PLAIT__NOT_WATCHED
static inline void __tsan_acquire(void *address) { (void)address; }
static inline void __tsan_release(void *address) { (void)address; }
#endif

static inline void plait__races_before(const void *address) { __tsan_release((void *)address); }
static inline void plait__races_after(const void *address) { __tsan_acquire((void *)address); }
static inline void plait__races_word(const void *address, size_t size) { (void)address, (void)size; }
static inline void plait__races_forget(const void *address, size_t size) { (void)address, (void)size; }
static inline int plait__races_once(pthread_once_t *once, void (*function)(void)) { return pthread_once(once, function); }
static inline void plait__races_address_only(bool begins) { (void)begins; }
static inline bool plait__races_can_look(void) { return true; }
PLAIT__NOT_WATCHED static inline uint64_t plait__races_look(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

#endif

#endif
