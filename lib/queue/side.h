/* SPDX-License-Identifier: MIT */
/*
 * The two sides of a queue, putters' and getters', and what excludes whom: each side of a FIFO queue has a lock of its own, a
 * pile has one for both.
 */
#ifndef PLAIT_QUEUE_SIDE_H
#define PLAIT_QUEUE_SIDE_H

#include <errno.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "queue/body.h"
#include "sync/asym_lock.h"
#include "sync/lock.h"
#include "wait/robust.h"

enum plait__queue_end { PLAIT__PUTS, PLAIT__GETS };

static inline struct plait__queue_side *plait__side(const struct plait_queue *q,
                                                    enum plait__queue_end end)
{
    return end == PLAIT__GETS && !q->is_pile ? &q->body->get : &q->body->put;
}

/* Where those sleep who would be at that end. */
static inline struct plait__eventcount *plait__sleepers(const struct plait_queue *q,
                                                        enum plait__queue_end end)
{
    return end == PLAIT__GETS ? &q->body->items : &q->body->room;
}

static inline unsigned plait__queue_flags(const struct plait_queue *q)
{
    return q->base ? PLAIT_SHARED : 0;
}

/* Items in it. */
static inline size_t plait__queue_count(const struct plait_queue *q)
{
    return q->is_pile ? plait__pile_size(q) : plait__fifo_size(q);
}

/* Items that come again, and can be got. A look without the lock. */
static inline size_t plait__returned(const struct plait_queue *q)
{
    return q->ledger ? load_relaxed(&q->ledger->returned.count) : 0; /* relaxed: a figure; a sleeper's look: E3 of queue.c */
}

/* How many steps at that end would succeed by now? A look without the lock. */
static inline size_t plait__queue_possible(const struct plait_queue *q, enum plait__queue_end end)
{
    size_t count = plait__queue_count(q);

    if (end == PLAIT__GETS)
        return count + plait__returned(q);
    return q->maxsize ? q->maxsize - count : 1;
}

/* The rest of plait__side_lock: somebody holds the lock, or died with it, or the caller does not take part in the arena yet. */
int plait__side_lock_private(struct plait__queue_side *side, plait_time_t deadline);
int plait__side_lock_shared(struct plait_queue *q, struct plait__queue_side *side, int err,
                            plait_time_t deadline);

/*
 * Locks are held for one step or a batch of them, and are waited for at least a little even by a call that does not want to
 * wait: that somebody else is at it does not make a queue full or empty. The caller's cancel token is about items and room, not
 * about these locks. A dead holder's side is repaired.
 */
static inline int plait__side_lock(struct plait_queue *q, struct plait__queue_side *side,
                                   plait_time_t deadline)
{
    int err = EAGAIN;

    if (!q->base)
        return __builtin_expect(plait__asym_try(&side->own), 1) ? 0 : plait__side_lock_private(side, deadline);
    if (__builtin_expect(plait__member_is_cached(q->base), 1))
        err = plait__robust_acquire(&side->lock, PLAIT_NOW);
    return __builtin_expect(err == 0, 1) ? 0 : plait__side_lock_shared(q, side, err, deadline);
}

static inline void plait__side_unlock(struct plait_queue *q, struct plait__queue_side *side)
{
    if (q->base) {
        plait__robust_release(&side->lock);
        barrier_after_rmw(); /* E3 of queue.c */
    } else {
        plait__asym_release(&side->own);
    }
}

/* Both sides, the putters' first: the order for everyone who needs both. */
int plait__sides_lock(struct plait_queue *q);
void plait__sides_unlock(struct plait_queue *q);

/*
 * Announce that the caller will sleep at that end, for the first time or once more, and then look: E3 of queue.c. Returns the word to sleep
 * on. The second: the same for an announcement that has been made. With no lock held.
 */
uint32_t plait__side_announce(struct plait_queue *q, enum plait__queue_end end, bool again);
void plait__sides_pass(struct plait_queue *q);

/* So many steps have become possible at that end; after plait__side_unlock. */
static inline void plait__queue_signal(struct plait_queue *q, enum plait__queue_end end,
                                       size_t count)
{
    struct plait__eventcount *ec = plait__sleepers(q, end);

    if (__builtin_expect(load_seqcst(&ec->word) & 1, 0))
        plait__eventcount_wake(ec, count > INT32_MAX ? INT32_MAX : (unsigned)count,
                               plait__queue_flags(q));
}

#endif
