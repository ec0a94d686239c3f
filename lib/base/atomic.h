/* SPDX-License-Identifier: MIT */
/* Atomic operations with their memory order in the name; nothing else in the library orders memory. */
#ifndef PLAIT_BASE_ATOMIC_H
#define PLAIT_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watched.h"

static inline uint32_t load_relaxed(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline uint32_t load_acquire(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline uint32_t load_seqcst(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void store_relaxed(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static inline void store_release(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

static inline uint32_t exchange_acquire(uint32_t *p, uint32_t v) { return __atomic_exchange_n(p, v, __ATOMIC_ACQUIRE); }
static inline uint32_t exchange_release(uint32_t *p, uint32_t v) { return __atomic_exchange_n(p, v, __ATOMIC_RELEASE); }
static inline uint32_t exchange_seqcst(uint32_t *p, uint32_t v) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }

static inline uint32_t add_relaxed(uint32_t *p, uint32_t v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
static inline uint32_t sub_relaxed(uint32_t *p, uint32_t v) { return __atomic_fetch_sub(p, v, __ATOMIC_RELAXED); }
static inline uint32_t add_release(uint32_t *p, uint32_t v) { return __atomic_fetch_add(p, v, __ATOMIC_RELEASE); }
static inline uint32_t add_seqcst(uint32_t *p, uint32_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
static inline uint32_t sub_release(uint32_t *p, uint32_t v) { return __atomic_fetch_sub(p, v, __ATOMIC_RELEASE); }
static inline uint32_t sub_acqrel(uint32_t *p, uint32_t v) { return __atomic_fetch_sub(p, v, __ATOMIC_ACQ_REL); }
static inline uint32_t sub_seqcst(uint32_t *p, uint32_t v) { return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST); }

/* Compare and swap: true when *p was *expected and is now `desired`; else *expected is what *p was. */
static inline bool cas_relaxed(uint32_t *p, uint32_t *expected, uint32_t desired)
{
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
static inline bool cas_acquire(uint32_t *p, uint32_t *expected, uint32_t desired)
{
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}
static inline bool cas_release(uint32_t *p, uint32_t *expected, uint32_t desired)
{
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}
static inline bool cas_acqrel(uint32_t *p, uint32_t *expected, uint32_t desired)
{
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
static inline bool cas_seqcst(uint32_t *p, uint32_t *expected, uint32_t desired)
{
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline uint64_t load64_relaxed(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline uint64_t load64_acquire(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void store64_relaxed(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static inline void store64_release(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint64_t load64_seqcst(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline uint64_t exchange64_seqcst(uint64_t *p, uint64_t v) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }
static inline uint64_t or64_seqcst(uint64_t *p, uint64_t v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
static inline bool cas64_relaxed(uint64_t *p, uint64_t *expected, uint64_t desired)
{
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
static inline bool cas64_release(uint64_t *p, uint64_t *expected, uint64_t desired)
{
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}
static inline bool cas64_seqcst(uint64_t *p, uint64_t *expected, uint64_t desired)
{
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
static inline bool cas64_acqrel(uint64_t *p, uint64_t *expected, uint64_t desired)
{
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
static inline uint64_t add64_relaxed(uint64_t *p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }

/* The same for pointers: `p` is the address of a pointer variable. */
#define loadptr_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define loadptr_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define loadptr_seqcst(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define storeptr_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define storeptr_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define storeptr_seqcst(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define casptr_acqrel(p, expected, desired) \
    __atomic_compare_exchange_n((p), (expected), (desired), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

/* Order for the compiler alone: against the kernel, or a signal handler, looking at this thread's memory. */
static inline void compiler_barrier(void) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

/*
 * A full barrier after an atomic read-modify-write of this thread, which on x86 is one already. For store, then load of
 * something else, where the other side does the same the other way round.
 */
static inline void barrier_after_rmw(void)
{
#if !defined __x86_64__ && !defined __i386__
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#else
    compiler_barrier();
#endif
}

/* Stores before it come before stores after it, for whoever acquires. */
static inline void barrier_between_stores(void)
{
#if !defined __x86_64__ && !defined __i386__
    __atomic_thread_fence(__ATOMIC_RELEASE);
#else
    compiler_barrier();
#endif
}

/* Tell the CPU that this is a loop that waits for another one. */
static inline void cpu_relax(void)
{
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ __volatile__("isb");
#endif
}

#endif
