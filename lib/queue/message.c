/* SPDX-License-Identifier: MIT */
/* The calls for messages of any length. How they lie in memory is told in mail.c, and whose they are in parcel.c. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include <plait/queue.h>

#include "base/atomic.h"
#include "queue/brief.h"
#include "queue/ledger.h"
#include "queue/order.h"
#include "queue/parcel.h"

static const struct plait_message none;

int plait_queue_reserve(plait_queue_t *q, size_t size, struct plait_message *message_out)
{
    struct plait__hand hand;
    int err = q->is_message ? plait__hand_make(q, size, &hand) : EINVAL;

    *message_out = err ? none : plait__parcel_message(plait__parcel_at(q, plait__hand_place(&hand)));
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
        err = plait__queue_overflow(q, o, deadline);
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

static __attribute__((noinline)) int put_parcel(plait_queue_t *q, const void *data, size_t size, int64_t priority,
                                                plait_time_t deadline)
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

static __attribute__((noinline)) int put_anyhow(plait_queue_t *q, const void *data, size_t size, int64_t priority,
                                                plait_time_t deadline)
{
    if (__builtin_expect(size < q->slips_below, 1)) {
        struct plait__outgoing slip = { plait__slip_label(size), data };
        int err = plait__queue_put_slip(q, &slip, priority, deadline);

        if (!plait__annex_is_missing(q, size, err))
            return err;
    }
    return put_parcel(q, data, size, priority, deadline);
}

static inline int put_bytes(plait_queue_t *q, const void *data, size_t size, int64_t priority, plait_time_t deadline)
{
    int err = q->is_plain && size < q->slips_below ? plait__put_slip_briefly(q, data, size) : EBUSY;

    return err == EBUSY || err == EAGAIN ? put_anyhow(q, data, size, priority, deadline) : err;
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

static int take_as(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    int err = plait__queue_attempt_borrow(q, o, deadline);

    return err == EAGAIN ? plait__queue_wait_and_try(q, plait__queue_attempt_borrow, PLAIT__GETS, o, deadline) : err;
}

static int borrow(struct plait_queue *q, struct plait_message *message_out, bool far, plait_time_t deadline)
{
    struct plait__order o = { .items = message_out, .far = far, .max = SIZE_MAX };
    int err = q->is_message && (!far || q->body->kind == PLAIT_DEQUE) ? take_as(q, &o, deadline) : EINVAL;

    if (err)
        *message_out = none;
    return err;
}

int plait_queue_borrow(plait_queue_t *q, struct plait_message *message_out, plait_time_t deadline)
{
    return borrow(q, message_out, false, deadline);
}

int plait_queue_borrow_back(plait_queue_t *q, struct plait_message *message_out, plait_time_t deadline)
{
    return borrow(q, message_out, true, deadline);
}

/* A parcel that was taken for its copy. */
static __attribute__((noinline)) void copy_out(struct plait_queue *q, struct plait_message *message, void *buffer)
{
    if (message->size)
        memcpy(buffer, message->data, message->size);
    if (!q->ledger)
        plait_queue_give_back(q, message);
}

/* What came of it so far: EBUSY, EAGAIN or PLAIT__SETTLED. */
static __attribute__((noinline)) int get_anyhow(plait_queue_t *q, void *buffer, size_t room, size_t *size_out, int begun,
                                                plait_time_t deadline)
{
    struct plait_message message;
    struct plait__order o = { .items = &message, .max = room, .copy = buffer, .copies = true };
    int err = begun;

    if (begun != EAGAIN)
        err = plait__queue_go_on_borrowing(q, &o, begun == PLAIT__SETTLED, deadline);
    if (err == EAGAIN)
        err = plait__queue_wait_and_try(q, plait__queue_attempt_borrow, PLAIT__GETS, &o, deadline);
    *size_out = o.done;
    if (err == 0 && message.data) /* a slip is in the buffer */
        copy_out(q, &message, buffer);
    return err;
}

int plait_queue_get_bytes(plait_queue_t *q, void *buffer, size_t room, size_t *size_out, plait_time_t deadline)
{
    int err = EBUSY;

    *size_out = 0;
    if (!q->is_message)
        return EINVAL;
    if (q->is_plain)
        err = plait__mail_copy_briefly(q, buffer, room, size_out);
    if (__builtin_expect(err == EBUSY || err == EAGAIN || err == PLAIT__SETTLED, 0))
        err = get_anyhow(q, buffer, room, size_out, err, deadline);
    return err;
}
