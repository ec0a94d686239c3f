/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * An item of a queue of messages begins with a label. Even, it is the place of a parcel: a block of the message's own, whose
 * owner is known at every instant (parcel.c). Odd, it says the size of a slip: a short message whose bytes lie behind the label, in the
 * item itself, and of a FIFO queue's the 17th and those that follow in its annex (annex.c). put_bytes makes slips of what is short
 * enough; what was reserved is a parcel, of whatever size, as its bytes must not move.
 *
 * A slip is nobody's but the queue's, and is copied in and out like an item of fixed size. So what was said of those (fifo.c,
 * pile.c, heap.c) is all there is to say of deaths:
 *
 *   - put: the label and the bytes are written where nobody looks before the one store that makes the item (a state, a count).
 *     Killed before that store, the put has not happened, and the next one writes there again; after it, it has.
 *   - get: the bytes are copied into the caller's buffer, where only the caller looks, before the one store that takes the item
 *     out. Killed before it, the message is there for others; after it, it was in the hands of the dead.
 *   - no lock's `hand` is used, as there is nothing that could have two owners, or none.
 *
 * Who borrows a slip gets a parcel with a copy of it, so that he may write it and commit it again as any other. It is made with the side's
 * lock held, before the slip goes:
 *
 *   - it stands in a hold from its allocation on (one step with it), OWNED by this process, as what is reserved does. Killed before
 *     the slip is taken out, the message is still there, and the parcel a piece of memory that settling frees.
 *   - killed after it, the message was in the hands of the dead, and its copy is freed just so.
 *
 * What allocating may find missing, it finds before anything has been taken. It must not look for the messages of the dead with a
 * side's lock held, which needs both; so its caller does, without the lock, and tries again.
 *
 * A damaged label is a slip that is too long for its item, or names a place where no parcel is: EBADMSG. It is read once.
 *
 * The bytes are published as all of an item (E1 of fifo.c, the lock of a pile).
 */
#include "queue/mail.h"

#include <errno.h>

#include "queue/annex.h"
#include "queue/brief.h"
#include "queue/ledger.h"
#include "queue/order.h"
#include "queue/parcel.h"
#include "queue/steps.h"

/* A slip of which not all is near. */
static int write_far(struct plait_queue *q, struct plait__mail *mail, const char *bytes, size_t size, uint64_t *annex, uint64_t number)
{
    char *far;
    int err = plait__annex_reach(q, annex, number, &far);

    if (err)
        return err;
    memcpy(mail->slip, bytes, PLAIT__SLIP_NEAR);
    plait__slip_copy(far, bytes + PLAIT__SLIP_NEAR, size - PLAIT__SLIP_NEAR);
    return 0;
}

int plait__mail_write_far(struct plait_queue *q, struct plait__mail *mail, const void *bytes, size_t size)
{
    char *far = plait__annex_known(q);

    if (!far)
        return EBUSY;
    mail->label = plait__slip_label(size);
    memcpy(mail->slip, bytes, PLAIT__SLIP_NEAR);
    plait__slip_copy(far, (const char *)bytes + PLAIT__SLIP_NEAR, size - PLAIT__SLIP_NEAR);
    return 0;
}

int plait__mail_write(struct plait_queue *q, void *to, const void *from, uint64_t *annex, uint64_t number)
{
    const struct plait__outgoing *outgoing = from;
    struct plait__mail *mail = to;
    uint64_t label = outgoing->label;
    size_t size = plait__slip_size(label);

    mail->label = label;
    if (!plait__label_is_slip(label))
        return 0;
    if (__builtin_expect(size <= PLAIT__SLIP_NEAR, 1))
        plait__slip_copy_near(mail->slip, outgoing->slip, size);
    else if (size > q->slip_near)
        return write_far(q, mail, outgoing->slip, size, annex, number);
    else
        plait__slip_copy(mail->slip, outgoing->slip, size);
    return 0;
}

/* EBADMSG: it says that it has bytes in an annex, and there is none. */
static int read_slip(struct plait_queue *q, void *to, const struct plait__mail *slip, size_t size)
{
    const char *far;

    if (__builtin_expect(size <= PLAIT__SLIP_NEAR, 1)) {
        plait__slip_copy_near(to, slip->slip, size);
    } else if (size > q->slip_near) {
        far = plait__annex_of_next(q);
        if (!far)
            return EBADMSG;
        memcpy(to, slip->slip, PLAIT__SLIP_NEAR);
        plait__slip_copy((char *)to + PLAIT__SLIP_NEAR, far, size - PLAIT__SLIP_NEAR);
    } else {
        plait__slip_copy(to, slip->slip, size);
    }
    return 0;
}

static enum plait__queue_from from_of(const struct plait__order *o)
{
    return o->far ? PLAIT__LAST : PLAIT__NEXT;
}

/* Of the one that is next. */
static int64_t priority_of(const struct plait_queue *q)
{
    int64_t priority = 0;

    if (q->body->kind == PLAIT_PRIORITY)
        plait__pile_first_priority(q, &priority); /* there is one */
    return priority;
}

/* A copy of the slip in hand. */
static __attribute__((noinline)) int lend(struct plait_queue *q, const struct plait__mail *slip, size_t size, struct plait__hand *hand)
{
    struct plait__parcel *parcel;
    int err = plait__hand_fill(q, size, hand);

    if (err)
        return err;
    parcel = plait__parcel_at(q, plait__hand_place(hand));
    parcel->priority = priority_of(q);
    err = read_slip(q, parcel->data, slip, size);
    if (err)
        plait__hand_drop(q, hand);
    return err;
}

/* Into the caller's buffer, and then its message's data is NULL, or lent. */
static inline int take_slip(struct plait_queue *q, struct plait__order *o, struct plait__mail *slip, size_t size,
                     struct plait__hand *hand)
{
    struct plait_message *message = o->items;
    int err;

    if (size >= q->slips_below)
        return EBADMSG;
    o->done = size;
    if (size > o->max)
        return EMSGSIZE;
    if (o->copies) {
        err = read_slip(q, o->copy, slip, size);
        if (err)
            return err;
        message->data = NULL;
    } else {
        err = lend(q, slip, size, hand);
        if (err)
            return err;
        *message = plait__parcel_message(plait__parcel_at(q, plait__hand_place(hand)));
    }
    plait__take_out(q, slip, from_of(o));
    return 0;
}

static __attribute__((noinline)) int take_parcel(struct plait_queue *q, struct plait__order *o, struct plait__mail *mail, uint64_t place,
                       struct plait__hand *hand)
{
    int err = plait__parcel_look(q, place, o->max, &o->done);

    if (err == 0)
        err = plait__hand_open(q, hand);
    if (err)
        return err;
    plait__hand_take(q, hand, mail, place, from_of(o));
    *(struct plait_message *)o->items = plait__parcel_message(plait__parcel_at(q, place));
    return 0;
}

static inline int take(struct plait_queue *q, struct plait__order *o, struct plait__hand *hand)
{
    struct plait__mail *mail = plait__look(q, from_of(o));
    uint64_t label;

    if (!mail)
        return EAGAIN;
    label = load64_relaxed(&mail->label); /* relaxed: published with the item */
    return plait__label_is_slip(label) ? take_slip(q, o, mail, plait__slip_size(label), hand)
                                       : take_parcel(q, o, mail, label, hand);
}

/* The ledger has it then. */
static __attribute__((noinline)) int take_noted(struct plait_queue *q, struct plait__order *o)
{
    struct plait_message *message = o->items;
    struct plait_ticket ticket;
    uint64_t place;
    int err = plait__ledger_take(q, &place, o->far, o->max, &o->done, &ticket);

    if (err)
        return err;
    *message = plait__parcel_message(plait__parcel_at(q, place));
    message->ticket = ticket;
    return 0;
}

/* With the lock held. */
static inline int copy_slip(struct plait_queue *q, const struct plait__mail *mail, void *buffer, size_t room, size_t *size_out)
{
    uint64_t label = load64_relaxed(&mail->label); /* relaxed: published with the item */
    size_t size = plait__slip_size(label);

    if (__builtin_expect(!plait__label_is_slip(label), 0))
        return EBUSY;
    if (__builtin_expect(size >= q->slips_below, 0))
        return EBADMSG;
    *size_out = size;
    return __builtin_expect(size > room, 0) ? EMSGSIZE : read_slip(q, buffer, mail, size);
}

int plait__mail_copy_briefly(struct plait_queue *q, void *buffer, size_t room, size_t *size_out)
{
    struct plait__queue_side *side = &q->body->get;
    uint32_t closed = load_acquire(&q->body->closed); /* E4 of queue.c */
    struct plait__brief brief;
    struct plait__cell *cell;
    int err;

    if (!plait__side_lock_briefly(q, side, &brief))
        return EBUSY;
    err = plait__light_next(q, &cell);
    if (err == 0) {
        err = copy_slip(q, (const struct plait__mail *)(const void *)cell->item, buffer, room, size_out);
        if (err == EBUSY && plait__side_settle(q, side, &brief))
            return PLAIT__SETTLED;
    }
    return plait__end_get_briefly(q, &brief, cell, closed, err);
}

/* settled: the lock is held. */
static int borrow_once(struct plait_queue *q, struct plait__order *o, bool settled, plait_time_t deadline)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    uint32_t closed = load_acquire(&q->body->closed); /* E4 of queue.c */
    struct plait__hand hand = { 0 };
    int err = 0;

    if (!settled)
        err = closed == PLAIT__QUEUE_DISCARDED ? EPIPE : plait__side_lock(q, side, deadline);
    if (err)
        return err;
    if (load_relaxed(&q->body->closed) == PLAIT__QUEUE_DISCARDED) /* relaxed: set under this lock */
        err = EPIPE;
    else
        err = q->ledger ? take_noted(q, o) : take(q, o, &hand);
    plait__side_unlock(q, side);
    if (err == 0 && q->maxsize)
        plait__queue_signal(q, PLAIT__PUTS, 1);
    return err == EAGAIN && closed ? EPIPE : err;
}

int plait__queue_go_on_borrowing(struct plait_queue *q, struct plait__order *o, bool settled, plait_time_t deadline)
{
    int err = borrow_once(q, o, settled, deadline);

    if (__builtin_expect(err != ENOSPC, 1))
        return err;
    plait__hands_settle(q); /* there was no memory for what shall be lent */
    return borrow_once(q, o, false, deadline);
}

int plait__queue_attempt_borrow(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    int err = EBUSY;

    if (q->is_plain && o->copies) {
        err = plait__mail_copy_briefly(q, o->copy, o->max, &o->done);
        ((struct plait_message *)o->items)->data = NULL;
    }
    return err == EBUSY || err == PLAIT__SETTLED ? plait__queue_go_on_borrowing(q, o, err == PLAIT__SETTLED, deadline) : err;
}

int plait__mail_discard(struct plait_queue *q, enum plait__queue_from from)
{
    struct plait__mail *mail = plait__look(q, from);
    struct plait__hand hand;
    uint64_t label;
    size_t size;
    int err;

    if (!mail)
        return EAGAIN;
    label = load64_relaxed(&mail->label); /* relaxed: published with the item */
    if (plait__label_is_slip(label)) {
        plait__take_out(q, mail, from);
        return 0;
    }
    err = plait__parcel_look(q, label, SIZE_MAX, &size);
    if (err == 0)
        err = plait__hand_open(q, &hand);
    if (err)
        return err;
    plait__hand_take(q, &hand, mail, label, from);
    plait__hand_drop(q, &hand);
    return 0;
}
