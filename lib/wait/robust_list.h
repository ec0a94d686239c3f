/* SPDX-License-Identifier: MIT */
/* A thread's list of held robust locks, which the kernel walks when the thread ends; and the layout of a lock in it. */
#ifndef PLAIT_WAIT_ROBUST_LIST_H
#define PLAIT_WAIT_ROBUST_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/lock.h>

#include "base/atomic.h"
#include "base/fork_epoch.h"
#include "base/races.h"
#include "base/tls.h"

/* The kernel walks 2,048 entries, libc's own among them. */
enum { PLAIT__ROBUST_HELD_MAX = 1900 };

/* The head of the list, as the kernel defines it; ours to read, and `first` and `pending` to write. */
struct plait__robust_head {
    void *first;
    long offset;
    void *pending;
};

/* What a thread knows of itself and its list; owner only. */
struct plait__robust_self {
    uint32_t epoch; /* fork epoch in which the rest was filled */
    uint32_t tid;
    uint32_t held;                   /* shared locks that this thread holds */
    uint32_t word_at;                /* which of a lock's robust[] is the owner's word */
    uint32_t lives;                  /* life words among its entries */
    bool is_watched;                 /* the kernel knows the list */
    void **spot;                     /* behind which its next entry comes: the last life word, or the head */
    struct plait__robust_head *head; /* NULL: not looked for yet */
};

extern PLAIT_TLS struct plait__robust_self plait__robust_self;

/* Fill it: at its first use, and in the child of a fork. */
void plait__robust_fill_self(void);

/* The calling thread's, up to date. */
static inline struct plait__robust_self *plait__robust_me(void)
{
    if (__builtin_expect(plait__robust_self.epoch != plait__fork_epoch(), 0))
        plait__robust_fill_self();
    return &plait__robust_self;
}

/* The owner's word; const cast away for the looks, which do not write. */
static inline uint32_t *plait__robust_word_of(const plait_lock_t *lock, const struct plait__robust_self *s)
{
    plait_lock_t *l = (plait_lock_t *)(uintptr_t)lock;

    return &l->robust[s->word_at];
}

/*
 * For ThreadSanitizer, which does not see the kernel hand the locks of the dead over (E1): what a thread did to its list
 * comes before whatever is done by one who finds a death.
 */
extern char plait__robust_deaths;

static inline void **plait__robust_prev_of(void *entry)
{
    return (void **)((uintptr_t)entry & ~(uintptr_t)1) - 1;
}

/* How the kernel wants the entry named: the lowest bit tells it that the word is one of its PI futexes. */
static inline void *plait__robust_entry(plait_lock_t *lock)
{
    return (char *)&lock->next + (lock->mode & PLAIT_PRIO_INHERIT ? 1 : 0);
}

/*
 * Enter the lock, whose word holds our TID now: behind the life words, which the kernel thus marks first. So whoever is told of a
 * death by one of our locks finds the dead one's life words marked.
 */
static inline void plait__robust_link(struct plait__robust_self *s, plait_lock_t *lock)
{
    void **spot = s->spot;
    void *next = *spot;

    storeptr_relaxed(&lock->prev, spot); /* relaxed: owner only; said so to keep gcc from a vector of two */
    storeptr_relaxed(&lock->next, next);
    compiler_barrier();
    if (((uintptr_t)next & ~(uintptr_t)1) != (uintptr_t)&s->head->first)
        *plait__robust_prev_of(next) = &lock->next;
    compiler_barrier();
    *spot = plait__robust_entry(lock);
    plait__races_before(&plait__robust_deaths);
}

/*
 * A life word: behind those that are there, so that they lie side by side, and what is in front of one is another one, or, of the first, whatever
 * libc has put there.
 */
static inline void plait__robust_link_life(struct plait__robust_self *s, plait_lock_t *life)
{
    plait__robust_link(s, life);
    s->spot = &life->next;
    s->lives++;
}

/* Before it is unlinked. */
static inline void plait__robust_forget_life(struct plait__robust_self *s, plait_lock_t *life)
{
    s->lives--;
    if (s->spot == &life->next)
        s->spot = s->lives ? (void **)((uintptr_t)life->prev & ~(uintptr_t)1) : &s->head->first;
}

/* Take out the lock, whose word still holds our TID. */
static inline void plait__robust_unlink(struct plait__robust_head *head, plait_lock_t *lock)
{
    void *next = lock->next;
    void **prev = (void **)((uintptr_t)lock->prev & ~(uintptr_t)1);

    if (((uintptr_t)next & ~(uintptr_t)1) != (uintptr_t)&head->first)
        *plait__robust_prev_of(next) = lock->prev;
    compiler_barrier();
    *prev = next;
    plait__races_before(&plait__robust_deaths);
}

/* Tell the kernel that the lock is about to come or go; what it was told before is to be put back by unannounce. */
static inline void *plait__robust_announce(struct plait__robust_self *s, plait_lock_t *lock)
{
    void *saved = s->head->pending;

    s->head->pending = plait__robust_entry(lock);
    compiler_barrier();
    return saved;
}

static inline void plait__robust_unannounce(struct plait__robust_self *s, void *saved)
{
    compiler_barrier();
    s->head->pending = saved;
}

#endif
