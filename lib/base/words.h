/* SPDX-License-Identifier: MIT */
/* Copying bytes that others may be writing, or reading, at the same time: whoever gets a mixture must find out by other means. */
#ifndef PLAIT_BASE_WORDS_H
#define PLAIT_BASE_WORDS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <plait/export.h>

#include "base/asan.h"
#include "base/atomic.h"

/*
 * Each word is one atomic operation, so there is no data race: plait__words_store stores each with release, plait__words_load loads each
 * with acquire. `words` is as long as `size` rounded up to 8; `bytes` may lie anywhere, and is the caller's own.
 *
 * On x86-64 every load acquires and every store releases, also those of 16 bytes, whose halves are whole; the compiler has no
 * operation that says so, and does not join those of 8. So long copies are made of pieces in assembler, in three to four times fewer
 * cycles. Not where a tool must see the accesses.
 */

enum { PLAIT__PIECE = 64 };

#if defined __x86_64__ && !defined PLAIT_UNDER_TSAN && !defined PLAIT__UNDER_ASAN && !defined PLAIT_VALGRIND

enum { PLAIT__HAS_PIECES = 1 };

static inline void plait__piece_copy(void *to, const void *from)
{
    __asm__ volatile("movups   (%1), %%xmm0\n\t"
                     "movups 16(%1), %%xmm1\n\t"
                     "movups 32(%1), %%xmm2\n\t"
                     "movups 48(%1), %%xmm3\n\t"
                     "movups %%xmm0,   (%0)\n\t"
                     "movups %%xmm1, 16(%0)\n\t"
                     "movups %%xmm2, 32(%0)\n\t"
                     "movups %%xmm3, 48(%0)"
                     : : "r"(to), "r"(from) : "xmm0", "xmm1", "xmm2", "xmm3", "memory");
}

#else

enum { PLAIT__HAS_PIECES = 0 };

static inline void plait__piece_copy(void *to, const void *from)
{
    (void)to, (void)from;
}

#endif

static inline void plait__words_store(uint64_t *words, const void *bytes, size_t size)
{
    const char *from = bytes;

    for (; PLAIT__HAS_PIECES && size >= PLAIT__PIECE; size -= PLAIT__PIECE) {
        plait__piece_copy(words, from);
        words += PLAIT__PIECE / sizeof *words;
        from += PLAIT__PIECE;
    }
    for (; size >= sizeof *words; size -= sizeof *words, from += sizeof *words) {
        uint64_t word;

        memcpy(&word, from, sizeof word);
        store64_release(words++, word);
    }
    if (size) {
        uint64_t word = 0;

        memcpy(&word, from, size);
        store64_release(words, word);
    }
}

static inline void plait__words_load(void *bytes, const uint64_t *words, size_t size)
{
    char *to = bytes;

    for (; PLAIT__HAS_PIECES && size >= PLAIT__PIECE; size -= PLAIT__PIECE) {
        plait__piece_copy(to, words);
        words += PLAIT__PIECE / sizeof *words;
        to += PLAIT__PIECE;
    }
    for (; size >= sizeof *words; size -= sizeof *words, to += sizeof *words) {
        uint64_t word = load64_acquire(words++);

        memcpy(to, &word, sizeof word);
    }
    if (size) {
        uint64_t word = load64_acquire(words);

        memcpy(to, &word, size);
    }
}

#endif
