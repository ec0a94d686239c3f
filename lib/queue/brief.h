/* SPDX-License-Identifier: MIT */
/*
 * Steps of a FIFO queue that touch nothing but cells: with the side's lock held briefly, which means something to a
 * shared one's (wait/brief.h).
 *
 * They are those of steps.h, but for what these may go on to: memory that comes or goes, a lock that is not free,
 * both locks, what the dead left. All that is answered by EBUSY: nothing has been done, and the call goes the way
 * that those of every queue go.
 */
#ifndef PLAIT_QUEUE_BRIEF_H
#define PLAIT_QUEUE_BRIEF_H

#include "queue/annex.h"
#include "queue/side.h"
#include "queue/steps.h"
#include "wait/brief.h"

static inline bool plait__side_lock_briefly(struct plait_queue *q, struct plait__queue_side *side, struct plait__brief *brief)
{
    *brief = (struct plait__brief){ 0 };
    if (!q->base)
        return __builtin_expect(plait__asym_try(&side->own), 1);
    return __builtin_expect(plait__member_is_cached(q->base), 1) && plait__brief_acquire(&side->lock, brief);
}

static inline void plait__side_unlock_briefly(struct plait_queue *q, struct plait__queue_side *side, const struct plait__brief *brief)
{
    if (q->base) {
        plait__brief_release(brief);
        barrier_after_rmw(); /* E3 of queue.c */
    } else {
        plait__asym_release(&side->own);
    }
}

/* From here on it is held as plait__side_lock would hold it. False: it is not. */
static inline bool plait__side_settle(struct plait_queue *q, struct plait__queue_side *side, const struct plait__brief *brief)
{
    return !q->base || plait__brief_settle(&side->lock, brief);
}

static inline bool plait__side_is_faulty(const struct plait_queue *q, const struct plait__queue_side *side)
{
    return q->base && plait__brief_is_faulty(&side->lock);
}

/* Is the next cell of that side in the segment that it had last, so that none comes or goes? */
static inline bool plait__is_amid_segment(const struct plait_queue *q, const struct plait__queue_side *side, uint64_t looked_at)
{
    return side->segment == looked_at && side->at - segment_at(q, side->segment)->first < q->cells;
}

/* ---- Puts ------------------------------------------------------------------------------------------------------- */

/* The next cell. */
static inline int plait__light_room(struct plait_queue *q, struct plait__cell **cell_out)
{
    struct plait__segment *s;
    int err;

    if (q->maxsize)
        err = ring_room(q, cell_out);
    else
        err = plait__is_amid_segment(q, &q->body->put, q->looked_at[0]) ? chain_room(q, &s, cell_out) : EBUSY;
    return __builtin_expect(err == EAGAIN, 0) && q->body->overflow != PLAIT_OVERFLOW_WAIT ? EBUSY : err;
}

static inline void plait__light_made(struct plait_queue *q, struct plait__cell *cell)
{
    if (q->maxsize)
        ring_made(q, cell);
    else
        chain_made(q, cell);
}

/* Into the next cell: one that is short enough, or has an annex that is there. */
static inline int plait__light_write_slip(struct plait_queue *q, struct plait__mail *mail, const void *bytes, size_t size)
{
    if (__builtin_expect(size > PLAIT__SLIP_NEAR, 0))
        return plait__mail_write_far(q, mail, bytes, size);
    mail->label = plait__slip_label(size);
    plait__slip_copy_near(mail->slip, bytes, size);
    return 0;
}

static inline int plait__light_write(struct plait_queue *q, void *to, const void *item)
{
    const struct plait__outgoing *slip = item;

    if (q->is_message)
        return plait__light_write_slip(q, to, slip->slip, plait__slip_size(slip->label));
    copy_item(to, item, q->item_size);
    return 0;
}

/* The beginning and the end of a put, as an attempt makes it (order.h). In between, if that is 0, the cell is written. */
static inline int plait__begin_put_briefly(struct plait_queue *q, struct plait__cell **cell_out)
{
    if (plait__side_is_faulty(q, &q->body->put))
        return EBUSY;
    return load_relaxed(&q->body->closed) ? EPIPE : plait__light_room(q, cell_out); /* relaxed: set under this lock */
}

static inline int plait__end_put_briefly(struct plait_queue *q, struct plait__brief *brief, struct plait__cell *cell, int err)
{
    if (err == 0)
        plait__light_made(q, cell);
    plait__side_unlock_briefly(q, &q->body->put, brief);
    if (err == 0)
        plait__queue_signal(q, PLAIT__GETS, 1);
    return err;
}

/* A message: a struct plait__outgoing with a slip. */
static inline int plait__put_briefly(struct plait_queue *q, const void *item)
{
    struct plait__brief brief;
    struct plait__cell *cell;
    int err;

    if (!plait__side_lock_briefly(q, &q->body->put, &brief))
        return EBUSY;
    err = plait__begin_put_briefly(q, &cell);
    if (err == 0)
        err = plait__light_write(q, cell->item, item);
    return plait__end_put_briefly(q, &brief, cell, err);
}

static inline int plait__put_slip_briefly(struct plait_queue *q, const void *bytes, size_t size)
{
    struct plait__brief brief;
    struct plait__cell *cell;
    int err;

    if (!plait__side_lock_briefly(q, &q->body->put, &brief))
        return EBUSY;
    err = plait__begin_put_briefly(q, &cell);
    if (err == 0)
        err = plait__light_write_slip(q, (struct plait__mail *)(void *)cell->item, bytes, size);
    return plait__end_put_briefly(q, &brief, cell, err);
}

/* ---- Gets ------------------------------------------------------------------------------------------------------- */

/* The cell that is next out, with the lock held. EBUSY also where closing at once, or a fault of the lock, is to be told. */
static inline int plait__light_next(struct plait_queue *q, struct plait__cell **cell_out)
{
    const struct plait__queue_side *side = &q->body->get;

    if (plait__side_is_faulty(q, side) ||
        load_relaxed(&q->body->closed) == PLAIT__QUEUE_DISCARDED) /* relaxed: set under this lock */
        return EBUSY;
    if (q->maxsize)
        *cell_out = ring_first(q);
    else if (plait__is_amid_segment(q, side, q->looked_at[1]))
        *cell_out = chain_first(q);
    else
        return EBUSY;
    return __builtin_expect(*cell_out != NULL, 1) ? 0 : EAGAIN;
}

static inline void plait__light_taken(struct plait_queue *q, struct plait__cell *cell)
{
    if (q->maxsize)
        ring_advance(q, cell);
    else
        chain_advance(q, cell);
}

/* The end of a get, as an attempt makes it. `closed` was read before it began: E4 of queue.c. */
static inline int plait__end_get_briefly(struct plait_queue *q, struct plait__brief *brief, struct plait__cell *cell, uint32_t closed,
                                         int err)
{
    if (err == 0)
        plait__light_taken(q, cell);
    plait__side_unlock_briefly(q, &q->body->get, brief);
    if (err == 0 && q->maxsize)
        plait__queue_signal(q, PLAIT__PUTS, 1);
    return err == EAGAIN && closed ? EPIPE : err;
}

static inline int plait__get_briefly(struct plait_queue *q, void *item)
{
    uint32_t closed = load_acquire(&q->body->closed); /* E4 of queue.c */
    struct plait__brief brief;
    struct plait__cell *cell;
    int err;

    if (!plait__side_lock_briefly(q, &q->body->get, &brief))
        return EBUSY;
    err = plait__light_next(q, &cell);
    if (err == 0)
        copy_item(item, cell->item, q->item_size);
    return plait__end_get_briefly(q, &brief, cell, closed, err);
}

#endif
