/* SPDX-License-Identifier: MIT */
/*
 * Batches, looks, and priorities
 *
 * A batch makes up to SPELL steps with its side's lock held, each of which takes effect by itself, then lets others in. What it
 * has put, or the room it has made, is signalled once, to as many sleepers.
 */
#include <errno.h>

#include "queue/ledger.h"
#include "queue/order.h"
#include "queue/steps.h"

enum { SPELL = 64 };

/* One spell of puts. */
static int put_spell(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    int err = load_relaxed(&q->body->closed) ? EPIPE : 0; /* relaxed: set under this lock */

    for (unsigned i = 0; err == 0 && i < SPELL && o->done < o->max; i++) {
        struct plait__order one = { .items = (char *)o->items + o->done * q->item_size };

        err = plait__put_step(q, one.items, 0);
        if (err == EAGAIN)
            err = plait__queue_overflow(q, &one, deadline);
        o->done += err == 0;
    }
    return err;
}

static int attempt_put_many(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__PUTS);
    int err = 0;

    while (err == 0 && o->done < o->max) {
        size_t before = o->done;

        err = plait__side_lock(q, side, deadline);
        if (err)
            break;
        err = put_spell(q, o, deadline);
        plait__side_unlock(q, side);
        if (o->done > before)
            plait__queue_signal(q, PLAIT__GETS, o->done - before);
    }
    return err;
}

static int get_spell(struct plait_queue *q, struct plait__order *o)
{
    int err = load_relaxed(&q->body->closed) == PLAIT__QUEUE_DISCARDED ? EPIPE : 0;

    for (unsigned i = 0; err == 0 && i < SPELL && o->done < o->max; i++) {
        err = plait__take_step(q, (char *)o->items + o->done * q->item_size, NULL, NULL);
        o->done += err == 0;
    }
    return err;
}

static int attempt_get_many(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    uint32_t closed = load_acquire(&q->body->closed); /* E4 of queue.c */
    int err = closed == PLAIT__QUEUE_DISCARDED ? EPIPE : 0;

    while (err == 0 && o->done < o->max) {
        size_t before = o->done;

        err = plait__side_lock(q, side, deadline);
        if (err)
            break;
        err = get_spell(q, o);
        plait__side_unlock(q, side);
        if (o->done > before && q->body->maxsize)
            plait__queue_signal(q, PLAIT__PUTS, o->done - before);
    }
    if (err == EAGAIN && o->done >= o->min && (o->done || !closed))
        return 0;
    return err == EAGAIN && closed ? EPIPE : err;
}

int plait_queue_put_many(plait_queue_t *q, const void *items, size_t count, size_t *done_out,
                         plait_time_t deadline)
{
    struct plait__order o = { .items = (void *)(uintptr_t)items, .max = count };
    int err = q->is_message ? EINVAL : attempt_put_many(q, &o, deadline);

    if (err == EAGAIN)
        err = plait__queue_wait_and_try(q, attempt_put_many, PLAIT__PUTS, &o, deadline);
    if (done_out)
        *done_out = o.done;
    return err;
}

int plait_queue_get_many(plait_queue_t *q, void *items, size_t min, size_t max, size_t *count_out,
                         plait_time_t deadline)
{
    struct plait__order o = { .items = items, .min = min, .max = max };
    int err = min > max || q->is_message ? EINVAL : attempt_get_many(q, &o, deadline);

    if (err == EAGAIN)
        err = plait__queue_wait_and_try(q, attempt_get_many, PLAIT__GETS, &o, deadline);
    *count_out = o.done;
    return err;
}

/* ---- Looks ----------------------------------------------------------------------------------------------------- */

int plait__queue_attempt_peek(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    uint32_t closed = load_acquire(&q->body->closed); /* E4 of queue.c */
    int err;

    if (closed == PLAIT__QUEUE_DISCARDED)
        return EPIPE;
    err = plait__side_lock(q, side, deadline);
    if (err)
        return err;
    err = q->ledger ? plait__ledger_peek(q, o->items) : plait__peek_step(q, o->items);
    plait__side_unlock(q, side);
    return err == EAGAIN && closed ? EPIPE : err;
}

int plait_queue_peek(plait_queue_t *q, void *item, plait_time_t deadline)
{
    struct plait__order o = { .items = item };
    int err = q->is_message ? EINVAL : plait__queue_attempt_peek(q, &o, deadline);

    return err == EAGAIN ? plait__queue_wait_and_try(q, plait__queue_attempt_peek, PLAIT__GETS, &o, deadline)
                         : err;
}

static size_t copy_all(struct plait_queue *q, char *items, size_t max)
{
    size_t again = q->ledger ? plait__ledger_copy(q, items, max) : 0;

    items += again * q->item_size;
    max -= again;
    return again + (q->is_pile ? plait__pile_copy(q, items, max) : plait__fifo_copy(q, items, max));
}

int plait_queue_snapshot(plait_queue_t *q, void *items, size_t max, size_t *count_out)
{
    int err = q->is_message ? EINVAL : plait__sides_lock(q);

    *count_out = 0;
    if (err)
        return err;
    if (load_relaxed(&q->body->closed) != PLAIT__QUEUE_DISCARDED)
        *count_out = copy_all(q, items, max);
    plait__sides_unlock(q);
    return 0;
}
