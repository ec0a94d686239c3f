/* SPDX-License-Identifier: MIT */
/* The calls for messages of any length. How they lie in memory, and whose they are, is told in parcel.c. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <plait/queue.h>

#include "base/atomic.h"
#include "queue/ledger.h"
#include "queue/order.h"
#include "queue/parcel.h"

static const struct plait_message none;

static struct plait_message message_in(struct plait__parcel *parcel)
{
    return (struct plait_message){ .data = parcel->data, .size = parcel->size, .priority = parcel->priority };
}

int plait_queue_reserve(plait_queue_t *q, size_t size, struct plait_message *message_out)
{
    struct plait__hand hand;
    int err = q->is_message ? plait__hand_make(q, size, &hand) : EINVAL;

    *message_out = err ? none : message_in(plait__parcel_at(q, plait__hand_place(&hand)));
    return err;
}

int plait_queue_give_back(plait_queue_t *q, struct plait_message *message)
{
    struct plait__hand hand;
    int err = q->is_message ? 0 : EINVAL;

    if (err || !message->data)
        return err;
    err = plait__hand_find(q, message->data, &hand);
    if (err)
        return err;
    plait__hand_drop(q, &hand);
    message->data = NULL;
    return 0;
}

/* ---- In -------------------------------------------------------------------------------------------------------- */

/* The message's own word of its size and priority goes into the parcel, where it is still in hand. */
static int find(struct plait_queue *q, const struct plait_message *message, struct plait__hand *hand)
{
    struct plait__parcel *parcel;
    int err = q->is_message ? plait__hand_find(q, message->data, hand) : EINVAL;

    if (err)
        return err;
    parcel = plait__parcel_at(q, plait__hand_place(hand));
    if (message->size > parcel->room)
        return EINVAL;
    parcel->size = message->size;
    parcel->priority = message->priority;
    return 0;
}

int plait__queue_attempt_commit(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__PUTS);
    struct plait_message *message = o->items;
    struct plait__hand hand;
    int err = find(q, message, &hand);

    if (err)
        return err;
    err = plait__side_lock(q, side, deadline);
    if (err)
        return err;
    o->priority = message->priority;
    o->hand = &hand;
    err = load_relaxed(&q->body->closed) ? EPIPE /* relaxed: set under this lock */
                                         : plait__hand_put(q, &hand, o->priority, o->far);
    if (__builtin_expect(err == EAGAIN, 0))
        err = plait__queue_overflow(q, o);
    plait__side_unlock(q, side);
    if (err)
        return err;
    message->data = NULL;
    if (plait__hand_place(&hand))
        plait__hand_drop(q, &hand); /* the newest, which the overflow rule discards */
    else
        plait__queue_signal(q, PLAIT__GETS, 1);
    return 0;
}

static int commit(struct plait_queue *q, struct plait_message *message, bool far, plait_time_t deadline)
{
    struct plait__order o = { .items = message, .far = far };
    int err = plait__queue_attempt_commit(q, &o, deadline);

    return err == EAGAIN ? plait__queue_wait_and_try(q, plait__queue_attempt_commit, PLAIT__PUTS, &o, deadline) : err;
}

int plait_queue_commit(plait_queue_t *q, struct plait_message *message, plait_time_t deadline)
{
    return commit(q, message, false, deadline);
}

int plait_queue_commit_front(plait_queue_t *q, struct plait_message *message, plait_time_t deadline)
{
    return q->body->kind == PLAIT_DEQUE ? commit(q, message, true, deadline) : EINVAL;
}

/* A copy that waits for room, by a thread that may be cancelled meanwhile. */
struct waiting_copy {
    struct plait_queue *q;
    struct plait_message *message;
};

static void discard(void *arg)
{
    struct waiting_copy *copy = arg;

    plait_queue_give_back(copy->q, copy->message);
}

static int commit_copy(struct plait_queue *q, struct plait_message *message, plait_time_t deadline)
{
    struct plait__order o = { .items = message };
    struct waiting_copy copy = { q, message };
    int err = plait__queue_attempt_commit(q, &o, deadline);

    if (err == EAGAIN) {
        pthread_cleanup_push(discard, &copy);
        err = plait__queue_wait_and_try(q, plait__queue_attempt_commit, PLAIT__PUTS, &o, deadline);
        pthread_cleanup_pop(0);
    }
    if (err)
        discard(&copy);
    return err;
}

static int put_bytes(plait_queue_t *q, const void *data, size_t size, int64_t priority, plait_time_t deadline)
{
    struct plait_message message;
    int err = plait_queue_reserve(q, size, &message);

    if (err)
        return err;
    if (size)
        memcpy(message.data, data, size);
    message.priority = priority;
    return commit_copy(q, &message, deadline);
}

int plait_queue_put_bytes(plait_queue_t *q, const void *data, size_t size, plait_time_t deadline)
{
    return put_bytes(q, data, size, 0, deadline);
}

int plait_queue_put_bytes_priority(plait_queue_t *q, const void *data, size_t size, int64_t priority,
                                   plait_time_t deadline)
{
    return q->body->kind == PLAIT_PRIORITY ? put_bytes(q, data, size, priority, deadline) : EINVAL;
}

/* ---- Out ------------------------------------------------------------------------------------------------------- */

/* What was taken is in the caller's hand, or in the ledger. */
static int take(struct plait_queue *q, struct plait__order *o, struct plait__hand *hand)
{
    struct plait_message *message = o->items;
    struct plait_ticket ticket = { 0 };
    uint64_t place;
    int err;

    if (load_relaxed(&q->body->closed) == PLAIT__QUEUE_DISCARDED) /* relaxed: set under this lock */
        return EPIPE;
    if (q->ledger) {
        err = plait__ledger_take(q, &place, o->far, o->max, &o->done, &ticket);
    } else {
        err = plait__hand_take(q, hand, o->far ? PLAIT__HAND_LAST : PLAIT__HAND_NEXT, o->max, &o->done);
        place = plait__hand_place(hand);
    }
    if (err)
        return err;
    *message = message_in(plait__parcel_at(q, place));
    message->ticket = ticket;
    return 0;
}

/* `max` of the order: bytes that the caller has room for; `done`: how many it would want. */
int plait__queue_attempt_borrow(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    uint32_t closed = load_acquire(&q->body->closed); /* E4 of queue.c */
    struct plait__hand hand = { 0 };
    int err = closed == PLAIT__QUEUE_DISCARDED ? EPIPE : q->ledger ? 0 : plait__hand_open(q, &hand);

    if (err)
        return err;
    err = plait__side_lock(q, side, deadline);
    if (err == 0) {
        err = take(q, o, &hand);
        plait__side_unlock(q, side);
    }
    if (err) {
        plait__hand_drop(q, &hand);
        return err == EAGAIN && closed ? EPIPE : err;
    }
    if (q->body->maxsize)
        plait__queue_signal(q, PLAIT__PUTS, 1);
    return 0;
}

static int borrow(struct plait_queue *q, struct plait_message *message_out, bool far, size_t room, size_t *size_out,
                  plait_time_t deadline)
{
    struct plait__order o = { .items = message_out, .far = far, .max = room };
    int err = q->is_message && (!far || q->body->kind == PLAIT_DEQUE) ? plait__queue_attempt_borrow(q, &o, deadline) : EINVAL;

    if (err == EAGAIN)
        err = plait__queue_wait_and_try(q, plait__queue_attempt_borrow, PLAIT__GETS, &o, deadline);
    *size_out = o.done;
    if (err)
        *message_out = none;
    return err;
}

int plait_queue_borrow(plait_queue_t *q, struct plait_message *message_out, plait_time_t deadline)
{
    size_t size;

    return borrow(q, message_out, false, SIZE_MAX, &size, deadline);
}

int plait_queue_borrow_back(plait_queue_t *q, struct plait_message *message_out, plait_time_t deadline)
{
    size_t size;

    return borrow(q, message_out, true, SIZE_MAX, &size, deadline);
}

int plait_queue_get_bytes(plait_queue_t *q, void *buffer, size_t room, size_t *size_out, plait_time_t deadline)
{
    struct plait_message message;
    int err = borrow(q, &message, false, room, size_out, deadline);

    if (err)
        return err;
    if (message.size)
        memcpy(buffer, message.data, message.size);
    if (!q->ledger)
        plait_queue_give_back(q, &message);
    return 0;
}
