/* SPDX-License-Identifier: MIT */
/* Atomic operations on a cell of 1, 2, 4 or 8 bytes whose size is known at run time. Values are its bits; what it cannot hold is cut off. */
#ifndef PLAIT_BASE_CELL_H
#define PLAIT_BASE_CELL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watched.h"

/* Has a cell of this size such operations? Without them, they do nothing and give 0. */
static inline bool cell_is_atomic(uint64_t size)
{
    return size == 8 || size == 4 || size == 2 || size == 1;
}

static inline uint64_t cell_load_acquire(void *cell, uint64_t size)
{
    switch (size) {
    case 8: return __atomic_load_n((uint64_t *)cell, __ATOMIC_ACQUIRE);
    case 4: return __atomic_load_n((uint32_t *)cell, __ATOMIC_ACQUIRE);
    case 2: return __atomic_load_n((uint16_t *)cell, __ATOMIC_ACQUIRE);
    case 1: return __atomic_load_n((uint8_t *)cell, __ATOMIC_ACQUIRE);
    default: return 0;
    }
}

static inline void cell_store_release(void *cell, uint64_t size, uint64_t value)
{
    switch (size) {
    case 8: __atomic_store_n((uint64_t *)cell, value, __ATOMIC_RELEASE); break;
    case 4: __atomic_store_n((uint32_t *)cell, (uint32_t)value, __ATOMIC_RELEASE); break;
    case 2: __atomic_store_n((uint16_t *)cell, (uint16_t)value, __ATOMIC_RELEASE); break;
    case 1: __atomic_store_n((uint8_t *)cell, (uint8_t)value, __ATOMIC_RELEASE); break;
    default: break;
    }
}

static inline uint64_t cell_exchange_acqrel(void *cell, uint64_t size, uint64_t value)
{
    switch (size) {
    case 8: return __atomic_exchange_n((uint64_t *)cell, value, __ATOMIC_ACQ_REL);
    case 4: return __atomic_exchange_n((uint32_t *)cell, (uint32_t)value, __ATOMIC_ACQ_REL);
    case 2: return __atomic_exchange_n((uint16_t *)cell, (uint16_t)value, __ATOMIC_ACQ_REL);
    case 1: return __atomic_exchange_n((uint8_t *)cell, (uint8_t)value, __ATOMIC_ACQ_REL);
    default: return 0;
    }
}

static inline uint64_t cell_add_acqrel(void *cell, uint64_t size, uint64_t value)
{
    switch (size) {
    case 8: return __atomic_fetch_add((uint64_t *)cell, value, __ATOMIC_ACQ_REL);
    case 4: return __atomic_fetch_add((uint32_t *)cell, (uint32_t)value, __ATOMIC_ACQ_REL);
    case 2: return __atomic_fetch_add((uint16_t *)cell, (uint16_t)value, __ATOMIC_ACQ_REL);
    case 1: return __atomic_fetch_add((uint8_t *)cell, (uint8_t)value, __ATOMIC_ACQ_REL);
    default: return 0;
    }
}

static inline uint64_t cell_and_acqrel(void *cell, uint64_t size, uint64_t value)
{
    switch (size) {
    case 8: return __atomic_fetch_and((uint64_t *)cell, value, __ATOMIC_ACQ_REL);
    case 4: return __atomic_fetch_and((uint32_t *)cell, (uint32_t)value, __ATOMIC_ACQ_REL);
    case 2: return __atomic_fetch_and((uint16_t *)cell, (uint16_t)value, __ATOMIC_ACQ_REL);
    case 1: return __atomic_fetch_and((uint8_t *)cell, (uint8_t)value, __ATOMIC_ACQ_REL);
    default: return 0;
    }
}

static inline uint64_t cell_or_acqrel(void *cell, uint64_t size, uint64_t value)
{
    switch (size) {
    case 8: return __atomic_fetch_or((uint64_t *)cell, value, __ATOMIC_ACQ_REL);
    case 4: return __atomic_fetch_or((uint32_t *)cell, (uint32_t)value, __ATOMIC_ACQ_REL);
    case 2: return __atomic_fetch_or((uint16_t *)cell, (uint16_t)value, __ATOMIC_ACQ_REL);
    case 1: return __atomic_fetch_or((uint8_t *)cell, (uint8_t)value, __ATOMIC_ACQ_REL);
    default: return 0;
    }
}

static inline uint64_t cell_xor_acqrel(void *cell, uint64_t size, uint64_t value)
{
    switch (size) {
    case 8: return __atomic_fetch_xor((uint64_t *)cell, value, __ATOMIC_ACQ_REL);
    case 4: return __atomic_fetch_xor((uint32_t *)cell, (uint32_t)value, __ATOMIC_ACQ_REL);
    case 2: return __atomic_fetch_xor((uint16_t *)cell, (uint16_t)value, __ATOMIC_ACQ_REL);
    case 1: return __atomic_fetch_xor((uint8_t *)cell, (uint8_t)value, __ATOMIC_ACQ_REL);
    default: return 0;
    }
}

/* True when the cell was *expected and is now `desired`; else *expected is what it was. */
static inline bool cell_cas_acqrel(void *cell, uint64_t size, uint64_t *expected, uint64_t desired)
{
    uint64_t was = *expected;
    uint32_t was32 = (uint32_t)was;
    uint16_t was16 = (uint16_t)was;
    uint8_t was8 = (uint8_t)was;
    bool done = false;

    switch (size) {
    case 8:
        done = __atomic_compare_exchange_n((uint64_t *)cell, &was, desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        *expected = was;
        break;
    case 4:
        done = __atomic_compare_exchange_n((uint32_t *)cell, &was32, (uint32_t)desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        *expected = was32;
        break;
    case 2:
        done = __atomic_compare_exchange_n((uint16_t *)cell, &was16, (uint16_t)desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        *expected = was16;
        break;
    case 1:
        done = __atomic_compare_exchange_n((uint8_t *)cell, &was8, (uint8_t)desired, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        *expected = was8;
        break;
    default: break;
    }
    return done;
}

#endif
