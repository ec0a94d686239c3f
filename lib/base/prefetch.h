/* SPDX-License-Identifier: MIT */
/* Hints to the CPU to fetch a cache line that is needed soon. Any address will do, also of memory that is there no more. */
#ifndef PLAIT_BASE_PREFETCH_H
#define PLAIT_BASE_PREFETCH_H

static inline void prefetch_to_read(const void *p) { __builtin_prefetch(p); }

/* As its only owner: a load that is followed by a store fetches it once in place of twice. */
static inline void prefetch_to_write(const void *p)
{
#ifdef __x86_64__
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p)); /* compilers use it where they are told to only; older CPUs ignore it */
#else
    __builtin_prefetch(p, 1);
#endif
}

#endif
