/* SPDX-License-Identifier: MIT */
/*
 * How it works: one page, mapped at first use and marked MADV_WIPEONFORK, holds the epoch. In a child the
 * kernel hands out a page of zeros in its place; the first who meets the zero there draws the next number from a counter
 * that lies in ordinary memory and so was copied. Some do not wipe: kernels before 4.14 say so, qemu-user says that
 * it will and does not. Therefore a fork handler clears the word as well, if it still is the parent's; without wiping only _Fork
 * and raw clone are missed. It is registered when the library is loaded, before any other handler that asks for the epoch.
 *
 * Two threads may race to map the page or to draw a number; the loser of the exchange takes the winner's.
 */
#include "base/fork_epoch.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"

static uint32_t unknown; /* always 0: where the pointer points before there is a page */
static uint32_t counter = PLAIT__EPOCH_NONE;

uint32_t *plait__fork_epoch_word = &unknown;

static uint32_t epoch_at_fork; /* relaxed: threads that fork at the same time write the same */

static void note_epoch(void)
{
    store_relaxed(&epoch_at_fork, load_relaxed(loadptr_acquire(&plait__fork_epoch_word)));
}

/* Not if a handler that ran before this one has a new number already. */
static void clear_in_child(void)
{
    uint32_t parents = load_relaxed(&epoch_at_fork);

    if (parents)
        cas_relaxed(loadptr_acquire(&plait__fork_epoch_word), &parents, 0);
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(note_epoch, NULL, clear_in_child);
}

void plait__fork_epoch_forget(void)
{
    uint32_t *word = loadptr_acquire(&plait__fork_epoch_word);

    if (word != &unknown)
        store_relaxed(word, 0);
}

static void map_page(void)
{
    long size = sysconf(_SC_PAGESIZE);
    uint32_t *expected = &unknown;
    uint32_t *page = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return;
    madvise(page, (size_t)size, MADV_WIPEONFORK);
    if (!casptr_acqrel(&plait__fork_epoch_word, &expected, page))
        munmap(page, (size_t)size);
}

uint32_t plait__fork_epoch_renew(void)
{
    uint32_t *word = loadptr_acquire(&plait__fork_epoch_word);
    uint32_t epoch, found = 0;

    if (word == &unknown) {
        map_page();
        word = loadptr_acquire(&plait__fork_epoch_word);
        if (word == &unknown) /* no memory for a page: every cache is refilled each time */
            return __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED) | 0x80000000u;
    }
    epoch = load_relaxed(word);
    if (epoch)
        return epoch;
    epoch = __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED);
    return cas_relaxed(word, &found, epoch) ? epoch : found;
}
