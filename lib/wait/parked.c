/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A hash table of 256 buckets. Parkers enter and leave under the bucket's spin lock. Wakers take no lock, because a
 * waker may be a signal handler that interrupted a parker of its own thread: they walk the list while counted in the
 * bucket's `readers`, and take a waiter by exchanging its state, which only one of them can.
 *
 * E1 enter: a parker adds itself to plait__parked_total, enters the list, then looks at its words; a waker changes
 *    the word, then reads the total. A full barrier lies between the two steps on both sides, so the parker sees the
 *    change or the waker sees the parker.
 * E2 walk: a node is linked with a release, followed with an acquire. A node that leaves keeps its own `next`,
 *    so a walker that stands on it goes on. Its memory is not reused before the bucket's readers were once seen to
 *    be 0 after the unlinking (both seq_cst): who comes later cannot find it any more.
 * E3 take: the waker's exchange of `state` (acq_rel) makes the woken one see what it wrote before; the
 *    waiter's own exchange in plait__unpark tells it whether a wake was spent on it.
 *
 * Fork: the child has none of the threads that stand in the table or are at it, and its own threads get their stacks. So it
 * keeps only what belongs to the thread that forked: its fibers, and itself if a handler forks that interrupted its sleep. The lists
 * are whole at any instant for who walks them, and each thread counts its own.
 *
 * A waker that was taken off the CPU while counted as a reader delays those who leave the same bucket; they yield.
 * A signal handler that interrupts such a delay only reads, and ends.
 */
#include "wait/parked.h"

#include <pthread.h>
#include <sched.h>

#include "base/atomic.h"
#include "base/races.h"
#include "base/tls.h"

enum { BUCKETS = 256 };

struct bucket {
    uint32_t lock;    /* 0 free, 1 held: by parkers only, never across a wait */
    uint32_t readers; /* atomic: wakers that walk the list (E2) */
    struct plait__parked_node *first; /* written under lock, read without (E2) */
    uint64_t padding[6];
};

uint32_t plait__parked_total;

static struct bucket buckets[BUCKETS];

static pthread_once_t watch_once = PTHREAD_ONCE_INIT;

static PLAIT_TLS uint32_t parked_here; /* of plait__parked_total, by this thread, whom its address names */

static void forget_others(void)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        struct plait__parked_node **link = &buckets[i].first;

        while (*link)
            if ((*link)->parking->owner == &parked_here)
                link = &(*link)->next;
            else
                *link = (*link)->next;
        buckets[i].lock = buckets[i].readers = 0;
    }
    store_relaxed(&plait__parked_total, parked_here);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_others);
}

static struct bucket *bucket_of(const uint32_t *word)
{
    uint64_t hash = ((uintptr_t)word >> 2) * 0x9e3779b97f4a7c15u;

    return &buckets[hash >> 56];
}

static void lock_bucket(struct bucket *b)
{
    while (exchange_acquire(&b->lock, 1))
        sched_yield();
}

static void unlock_bucket(struct bucket *b)
{
    store_release(&b->lock, 0);
}

static void enter(struct plait__parked_node *node)
{
    struct bucket *b = bucket_of(node->word);
    struct plait__parked_node **link = &b->first;

    lock_bucket(b);
    node->next = NULL;
    while (*link)
        link = &(*link)->next;
    storeptr_seqcst(link, node); /* E1, E2 */
    unlock_bucket(b);
}

static void leave(struct plait__parked_node *node)
{
    struct bucket *b = bucket_of(node->word);
    struct plait__parked_node **link = &b->first;

    lock_bucket(b);
    while (*link != node)
        link = &(*link)->next;
    storeptr_seqcst(link, node->next);
    unlock_bucket(b);
    while (load_seqcst(&b->readers)) /* E2 */
        sched_yield();
}

void plait__park(struct plait__parking *parking, const struct plait_wait_word *words, size_t count)
{
    plait__races_once(&watch_once, watch_forks);
    parking->state = PLAIT__PARKED;
    parking->index = 0;
    parking->count = count;
    parking->owner = &parked_here;
    parked_here++;
    add_seqcst(&plait__parked_total, 1); /* E1 */
    for (size_t i = 0; i < count; i++) {
        parking->nodes[i].word = words[i].flags & PLAIT_SHARED ? NULL : words[i].word;
        parking->nodes[i].parking = parking;
        if (parking->nodes[i].word)
            enter(&parking->nodes[i]);
    }
}

bool plait__park_still(const struct plait__parking *parking, const struct plait_wait_word *words)
{
    for (size_t i = 0; i < parking->count; i++)
        if (load_seqcst(words[i].word) != words[i].expected) /* E1 */
            return false;
    return load_acquire(&parking->state) == PLAIT__PARKED;
}

bool plait__unpark(struct plait__parking *parking)
{
    uint32_t state = PLAIT__PARKED;
    bool woken = !cas_acqrel(&parking->state, &state, PLAIT__UNPARKED); /* E3 */

    for (size_t i = 0; i < parking->count; i++)
        if (parking->nodes[i].word)
            leave(&parking->nodes[i]);
    sub_seqcst(&plait__parked_total, 1);
    parked_here--;
    return woken;
}

bool plait__parked_anyone(void)
{
    return add_seqcst(&plait__parked_total, 0) != 0; /* E1: a read that is a full barrier as well */
}

unsigned plait__parked_wake(const uint32_t *word, unsigned count)
{
    struct bucket *b = bucket_of(word);
    unsigned woken = 0;

    add_seqcst(&b->readers, 1);
    barrier_after_rmw(); /* E1, E2: the waker's store of the word, and the walk's acquires, are no part of the order of seq_cst */
    for (struct plait__parked_node *n = loadptr_seqcst(&b->first); n && woken < count; n = loadptr_acquire(&n->next)) {
        struct plait__parking *parking = n->parking;
        uint32_t state = PLAIT__PARKED;

        if (n->word != word || !cas_acqrel(&parking->state, &state, PLAIT__UNPARKED))
            continue;
        parking->index = (uint32_t)(n - parking->nodes);
        parking->notify(parking);
        woken++;
    }
    sub_seqcst(&b->readers, 1);
    return woken;
}
