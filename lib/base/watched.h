/* SPDX-License-Identifier: MIT */
/* Watched atomics: in a build for valgrind each atomic operation of the library tells the tools of its order. */
#ifndef PLAIT_BASE_WATCHED_H
#define PLAIT_BASE_WATCHED_H

#ifdef PLAIT_VALGRIND

#include "base/races.h"

/*
 * The tools see an atomic operation as an access like any other, or as half of one. But its order is among its arguments,
 * and that it is atomic says that the word is no data. So the compiler's own operations are wrapped here, under their
 * names, and no call says anything twice. What releases is told before the operation, what acquires after it: another thread may run between.
 *
 * A chain of releases on a word is not cut by a plain store, as C11 would have it: so an order too many may be believed, never one too few.
 */

static inline bool plait__releases(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static inline bool plait__acquires(int order)
{
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static inline void plait__watch_begin(const void *word, size_t size, int order)
{
    plait__races_word(word, size);
    if (plait__releases(order))
        plait__races_before(word);
}

static inline void plait__watch_end(const void *word, int order)
{
    if (plait__acquires(order))
        plait__races_after(word);
}

/* A load releases nothing: what it is called with says so. */
#define PLAIT__WATCH(operation, word, begins, ends, ...)            \
    ({                                                              \
        __auto_type word_ = (word);                                 \
        plait__watch_begin(word_, sizeof *word_, begins);           \
        __auto_type result_ = operation(word_, __VA_ARGS__);        \
        plait__watch_end(word_, ends);                              \
        result_;                                                    \
    })

#define __atomic_load_n(word, order) PLAIT__WATCH(__atomic_load_n, word, __ATOMIC_RELAXED, order, order)
#define __atomic_exchange_n(word, v, order) PLAIT__WATCH(__atomic_exchange_n, word, order, order, v, order)
#define __atomic_fetch_add(word, v, order) PLAIT__WATCH(__atomic_fetch_add, word, order, order, v, order)
#define __atomic_fetch_sub(word, v, order) PLAIT__WATCH(__atomic_fetch_sub, word, order, order, v, order)
#define __atomic_fetch_or(word, v, order) PLAIT__WATCH(__atomic_fetch_or, word, order, order, v, order)
#define __atomic_fetch_and(word, v, order) PLAIT__WATCH(__atomic_fetch_and, word, order, order, v, order)
#define __atomic_fetch_xor(word, v, order) PLAIT__WATCH(__atomic_fetch_xor, word, order, order, v, order)
#define __atomic_add_fetch(word, v, order) PLAIT__WATCH(__atomic_add_fetch, word, order, order, v, order)

#define __atomic_store_n(word, v, order)                            \
    ({                                                              \
        __auto_type word_ = (word);                                 \
        plait__watch_begin(word_, sizeof *word_, order);            \
        __atomic_store_n(word_, v, order);                          \
    })

#define __atomic_compare_exchange_n(word, expected, v, weak, order, failed)                             \
    ({                                                                                                  \
        __auto_type word_ = (word);                                                                     \
        plait__watch_begin(word_, sizeof *word_, order);                                                \
        bool done_ = __atomic_compare_exchange_n(word_, expected, v, weak, order, failed);              \
        plait__watch_end(word_, done_ ? order : failed);                                                \
        done_;                                                                                          \
    })

#endif

#endif
