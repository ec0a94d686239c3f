/* SPDX-License-Identifier: MIT */
/* The slow ways into a side of a queue. */
#include "queue/side.h"

#include <plait/cancel.h>

#include "base/clock.h"
#include "queue/ledger.h"
#include "queue/parcel.h"

enum { GRACE = 100 }; /* milliseconds that a lock is waited for by a call that would not wait */

static plait_time_t patient(plait_time_t deadline)
{
    plait_time_t grace;

    if (deadline == PLAIT_FOREVER)
        return deadline;
    grace = plait_now() + GRACE * PLAIT__MILLISECOND;
    return deadline > grace ? deadline : grace;
}

/* A side is held for one step at a time: its holder makes many before this one looks again. */
int plait__side_lock_private(struct plait__queue_side *side, plait_time_t deadline)
{
    return plait__asym_acquire_slow(&side->own, patient(deadline));
}

static int lock_contended(plait_lock_t *lock, plait_time_t deadline)
{
    plait_cancel_t *token;
    int err;

    if (!plait__inner_is_sound(lock, true))
        return EBADMSG;
    token = plait_cancel_bind(NULL);
    err = plait__lock_acquire(lock, patient(deadline));
    plait_cancel_bind(token);
    return err;
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
        err = lock_contended(&side->lock, deadline);
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

void plait__sides_pass(struct plait_queue *q)
{
    plait_time_t patience = GRACE * PLAIT__MILLISECOND;

    if (q->base)
        return;
    plait__asym_pass(&q->body->put.own, patience);
    if (!q->is_pile)
        plait__asym_pass(&q->body->get.own, patience);
}

uint32_t plait__side_announce(struct plait_queue *q, enum plait__queue_end end, bool again)
{
    struct plait__eventcount *ec = plait__sleepers(q, end);
    uint32_t prepared = again ? plait__eventcount_renew(ec) : plait__eventcount_prepare(ec);

    plait__sides_pass(q);
    return prepared;
}
