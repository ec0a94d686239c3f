/* SPDX-License-Identifier: MIT */
/* Readers of private read-write locks: what each thread reads, said in its own memory, where writers look. */
#ifndef PLAIT_SYNC_READERS_H
#define PLAIT_SYNC_READERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/fork_epoch.h"
#include "base/tls.h"

enum { PLAIT__READER_HOLDS = 4, PLAIT__READER_GROUPS = 64 };

/* That a caller reads a lock, or waits to (rwlock_gate.h says which states there are). */
struct plait__reader_hold {
    uint64_t lock;  /* atomic (E1, E3 of rwlock_gate.h): address of the lock, 0: free */
    uint32_t state; /* atomic: 0 while free */
    uint32_t depth; /* owner only: levels */
    void *caller;   /* owner only: the thread, or which fiber of it; + 1: waits among other things */
};

/* The holds of a thread; some more rows if it reads many locks at once. Rows are never freed, but given to other threads. */
struct plait__reader_row {
    uint32_t wanted; /* atomic: 1: a writer sleeps here until something is released */
    uint32_t epoch;  /* atomic: fork epoch of the process whose thread has the row; 0: free */
    uint32_t number; /* const once the row was had: its group is number % PLAIT__READER_GROUPS */
    uint32_t spare;
    struct plait__reader_row *next; /* owner only: the thread's next row */
    struct plait__reader_hold holds[PLAIT__READER_HOLDS];
    uint64_t spare2;
};

_Static_assert(sizeof(struct plait__reader_row) == 128, "two cache lines that no other thread writes");

struct plait__reader {
    uint32_t epoch;                 /* fork epoch in which the rest is good */
    uint32_t used;                  /* holds that are not free */
    uint64_t group;                 /* of the first row: one bit */
    struct plait__reader_row *rows; /* NULL: none as yet */
    const void *first;              /* the lock that the first hold is of, if it is the caller's that took it last; else NULL */
};

/* The calling thread's. */
extern PLAIT_TLS struct plait__reader plait__reader;

static inline bool plait__reader_is_ready(void)
{
    return __builtin_expect(plait__reader.epoch == plait__fork_epoch(), 1);
}

/* Make the calling thread's record good, with a row. ENOMEM. */
int plait__reader_prepare(void);

/* A free hold of the calling thread, which has been prepared. ENOMEM. */
int plait__reader_find_free(struct plait__reader_row **row_out, struct plait__reader_hold **hold_out);

/* The caller's hold of that lock; NULL: it has none. */
struct plait__reader_hold *plait__reader_find(const void *lock, void *caller, struct plait__reader_row **row_out);

/* One above the highest number of a row that was ever had; and a row below it. */
uint32_t plait__reader_rows(void);
struct plait__reader_row *plait__reader_row_at(uint32_t number);

/* The group of a row: one bit. */
static inline uint64_t plait__reader_group(const struct plait__reader_row *row)
{
    return (uint64_t)1 << row->number % PLAIT__READER_GROUPS;
}

/* The row of a hold: rows lie at multiples of their size. */
static inline struct plait__reader_row *plait__reader_row_of(struct plait__reader_hold *hold)
{
    return (struct plait__reader_row *)((uintptr_t)hold & ~(uintptr_t)(sizeof(struct plait__reader_row) - 1));
}

/* Those who sleep on this row look again. */
void plait__reader_wake(uint32_t *wanted);

/*
 * Give up a hold. Between the store and the look at `wanted` there is no barrier: who sleeps on the row makes it for
 * both (E3 of rwlock_gate.h).
 */
static inline void plait__reader_drop(struct plait__reader_row *row, struct plait__reader_hold *hold)
{
    plait__reader.used--;
    plait__reader.first = NULL;
    store64_release(&hold->lock, 0); /* E1, E3: from here on the lock may be freed by others */
    compiler_barrier();
    if (__builtin_expect(load_relaxed(&row->wanted) != 0, 0))
        plait__reader_wake(&row->wanted);
}

#endif
