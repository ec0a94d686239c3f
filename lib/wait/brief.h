/* SPDX-License-Identifier: MIT */
/*
 * A robust lock held briefly: for a few instructions that call nothing, take no other lock, and cannot wait.
 *
 * How it works
 *
 * The kernel looks at a dying thread's list, and besides at the one entry that `pending` of its head names. That word
 * alone does for a lock that goes back before the thread touches another one: it is announced from before the
 * exchange that takes it to after the one that gives it back, and never enters the list. So a death at any
 * instruction finds it as robust.c has it; what is saved are a dozen loads and stores.
 *
 * A signal handler that interrupts such a section and uses shared locks puts its own there, and `pending` back
 * afterwards. Killed in those few instructions, the kernel does not see the outer lock; who waits for it finds at the
 * second slice that its owner takes part in the arena no more (doubt in robust.c). The same can happen in the middle
 * of plait__robust_acquire.
 *
 * Others see no difference: E1 of robust.c. Checked in tests/models/brief.pml.
 */
#ifndef PLAIT_WAIT_BRIEF_H
#define PLAIT_WAIT_BRIEF_H

#include <linux/futex.h>

#include "wait/caller.h"
#include "wait/robust.h"
#include "wait/robust_list.h"

/* What the holder knows of it. */
struct plait__brief {
    struct plait__robust_head *head;
    void *saved; /* what was announced before */
    uint32_t *word;
};

/* Take it, if that is done at once. False: plait__robust_acquire knows why. By who takes part in the lock's arena. */
static inline bool plait__brief_acquire(plait_lock_t *lock, struct plait__brief *brief)
{
    struct plait__robust_self *s = &plait__robust_self;
    uint32_t unheld = 0;

    if (__builtin_expect(s->epoch != plait__fork_epoch(), 0) ||
        __builtin_expect((lock->mode & PLAIT_PRIO_INHERIT) | plait__fiber_number | load_relaxed(plait__robust_owed(lock)), 0))
        return false;
    *brief = (struct plait__brief){ s->head, s->head->pending, plait__robust_word_of(lock, s) };
    brief->head->pending = &lock->next;
    compiler_barrier();
    if (__builtin_expect(!cas_acquire(brief->word, &unheld, s->tid), 0)) { /* E1 */
        brief->head->pending = brief->saved;
        return false;
    }
    return true;
}

/* Is it one that cannot be held any more, or whose last holder left it inconsistent? Then it is to be given back. */
static inline bool plait__brief_is_faulty(const plait_lock_t *lock)
{
    return __builtin_expect(load_relaxed(&lock->fault) != 0, 0); /* relaxed: guarded by the lock */
}

/*
 * It is held for longer than thought: from here on as one that plait__robust_acquire has taken. False: the thread
 * holds too many for that, and it is held as before.
 */
static inline bool plait__brief_settle(plait_lock_t *lock, const struct plait__brief *brief)
{
    struct plait__robust_self *s = &plait__robust_self;

    if (s->held >= PLAIT__ROBUST_HELD_MAX)
        return false;
    plait__robust_link(s, lock);
    s->held++;
    plait__robust_unannounce(s, brief->saved);
    return true;
}

static inline void plait__brief_release(const struct plait__brief *brief)
{
    uint32_t v;

    compiler_barrier();
    v = exchange_release(brief->word, 0); /* E1; from here on the lock may be freed by others */
    if (__builtin_expect(v & FUTEX_WAITERS, 0)) {
        struct plait__robust_wake wake = { .word = brief->word, .count = 1, .saved = brief->saved };

        plait__robust_wake(&wake);
        return;
    }
    compiler_barrier();
    brief->head->pending = brief->saved;
}

#endif
