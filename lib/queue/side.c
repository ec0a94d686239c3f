/* SPDX-License-Identifier: MIT */
/* The slow ways into a side of a queue. */
#include "queue/side.h"

#include <plait/cancel.h>

#include "base/clock.h"
#include "queue/ledger.h"
#include "queue/parcel.h"
#include "wait/spin.h"

enum { GRACE = 100 }; /* milliseconds that a lock is waited for by a call that would not wait */

static int lock_contended(plait_lock_t *lock, bool shared, plait_time_t deadline)
{
    plait_time_t grace = plait_now() + GRACE * PLAIT__MILLISECOND;
    plait_cancel_t *token;
    int err;

    if (!plait__inner_is_sound(lock, shared))
        return EBADMSG;
    token = plait_cancel_bind(NULL);
    err = plait__lock_acquire(lock, deadline > grace ? deadline : grace);
    plait_cancel_bind(token);
    return err;
}

/* A side is held for one step at a time: let its holder make many before looking again. */
int plait__side_lock_private(struct plait__queue_side *side, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_RIVALS, PLAIT_FOREVER);

    while (plait__spin_pause(&spin)) {
        uint32_t free = 0;

        if (load_relaxed(&side->lock.state) == free && cas_acquire(&side->lock.state, &free, 1)) {
            plait__spin_paid(&spin);
            return 0;
        }
    }
    return lock_contended(&side->lock, false, deadline);
}

static int repair_items(struct plait_queue *q, struct plait__queue_side *side)
{
    if (q->is_pile)
        return plait__pile_repair(q);
    return side == &q->body->put ? plait__fifo_repair_put(q) : plait__fifo_repair_get(q);
}

static int repair(struct plait_queue *q, struct plait__queue_side *side)
{
    int err = repair_items(q, side);

    if (err)
        return err;
    if (plait__hand_is_record(side->hand))
        plait__record_repair(q, side);
    else if (q->is_message)
        plait__hand_repair(q, side);
    return q->ledger && side == plait__side(q, PLAIT__GETS) ? plait__ledger_repair(q) : 0;
}

int plait__side_lock_shared(struct plait_queue *q, struct plait__queue_side *side, int err,
                            plait_time_t deadline)
{
    struct plait__slot *slot;

    if (err == EAGAIN)
        err = plait__member(q->base, &slot);
    if (err == ETIMEDOUT || err == ECANCELED || err == 0)
        err = lock_contended(&side->lock, true, deadline);
    if (err == EOWNERDEAD) {
        err = repair(q, side);
        if (err == 0)
            return plait_lock_consistent(&side->lock);
        plait_lock_release(&side->lock); /* not consistent: not recoverable from here on */
        return ENOTRECOVERABLE;
    }
    return err;
}

int plait__sides_lock(struct plait_queue *q)
{
    struct plait__queue_body *b = q->body;
    int err = plait__side_lock(q, &b->put, PLAIT_FOREVER);

    if (err || q->is_pile)
        return err;
    err = plait__side_lock(q, &b->get, PLAIT_FOREVER);
    if (err)
        plait__side_unlock(q, &b->put);
    return err;
}

void plait__sides_unlock(struct plait_queue *q)
{
    if (!q->is_pile)
        plait__side_unlock(q, &q->body->get);
    plait__side_unlock(q, &q->body->put);
}
