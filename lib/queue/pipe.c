/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A pipe is a queue of messages for each direction, and a state for each end (pipe_ends.c). The queues are never closed: each
 * attempt to send or receive also looks at the state of the other end, and so do those that sleep, which an end that
 * is closed wakes, and a death does not: they look again after each slice of time, as sleepers on shared words do.
 *
 * What comes first decides. Send: an end that is over, then room. Recv: a message, then an end that is over; but the state
 * is read before the message is looked for, or one that came just before the end could be missed.
 */
#include "queue/pipe.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "queue/annex.h"
#include "queue/order.h"
#include "queue/parcel.h"
#include "queue/steps.h"
#include "wait/waitable.h"

/* What the attempts of one call are handed. */
struct order {
    struct plait__order of_queue; /* the first */
    plait_pipe_t *pipe;
};

static plait_pipe_t *pipe_of(struct plait__order *o)
{
    return ((struct order *)o)->pipe;
}

/* Has another thread closed the handle since the call began? */
static bool is_shut(const plait_pipe_t *pipe)
{
    return load_relaxed(&pipe->closed); /* relaxed: the wake orders */
}

/* ---- Attempts -------------------------------------------------------------------------------------------------- */

static int attempt_commit(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    plait_pipe_t *pipe = pipe_of(o);

    if (is_shut(pipe) || plait__pipe_peer_is_over(pipe))
        return EPIPE;
    return plait__queue_attempt_commit(q, o, deadline);
}

/* The same of a short one, which is copied into the queue. */
static int attempt_put(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    plait_pipe_t *pipe = pipe_of(o);

    if (is_shut(pipe) || plait__pipe_peer_is_over(pipe))
        return EPIPE;
    return plait__queue_attempt_put(q, o, deadline);
}

static int look_for_message(struct plait_queue *q, struct plait__order *unused, plait_time_t deadline)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    int err = plait__side_lock(q, side, deadline);

    (void)unused;
    if (err)
        return err;
    err = plait__look(q, PLAIT__NEXT) ? 0 : EAGAIN;
    plait__side_unlock(q, side);
    return err;
}

/* Of what takes a message, or looks for one. */
static int attempt_at_message(struct plait_queue *q, struct plait__order *o, plait_time_t deadline, plait__attempt_fn *attempt)
{
    plait_pipe_t *pipe = pipe_of(o);
    bool is_over = plait__pipe_is_over(load_acquire(&pipe->body->state[plait__pipe_other(pipe)])); /* E1 of pipe_ends.c */
    int err = is_shut(pipe) ? EPIPE : attempt(q, o, deadline);

    if (err == EAGAIN && !is_over && plait__pipe_peer_is_over(pipe)) {
        is_over = true;
        err = attempt(q, o, deadline);
    }
    return err == EAGAIN && is_over ? EPIPE : err;
}

static int attempt_borrow(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    return attempt_at_message(q, o, deadline, plait__queue_attempt_borrow);
}

static int attempt_poll(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    return attempt_at_message(q, o, deadline, look_for_message);
}

static int attempt_until(struct plait_queue *q, plait__attempt_fn *attempt, enum plait__queue_end end, struct order *o,
                         plait_time_t deadline)
{
    int err = attempt(q, &o->of_queue, deadline);

    return err == EAGAIN ? plait__queue_wait_and_try(q, attempt, end, &o->of_queue, deadline) : err;
}

/* Is there such a direction, and may the process use the handle? */
static int enter(plait_pipe_t *pipe, const struct plait_queue *q)
{
    return q ? plait__pipe_enter(pipe) : EINVAL;
}

/* ---- Sending --------------------------------------------------------------------------------------------------- */

int plait_pipe_reserve(plait_pipe_t *pipe, size_t size, struct plait_message *message_out)
{
    int err = enter(pipe, pipe->out);

    if (err == 0)
        return plait_queue_reserve(pipe->out, size, message_out);
    *message_out = (struct plait_message){ 0 };
    return err;
}

int plait_pipe_commit(plait_pipe_t *pipe, struct plait_message *message, plait_time_t deadline)
{
    struct order o = { { .items = message }, pipe };
    int err = enter(pipe, pipe->out);

    return err ? err : attempt_until(pipe->out, attempt_commit, PLAIT__PUTS, &o, deadline);
}

/* A copy that may wait for room, by a thread that may be cancelled meanwhile. */
struct copy {
    struct plait_queue *q;
    struct plait_message message;
};

static void discard(void *arg)
{
    struct copy *copy = arg;

    plait_queue_give_back(copy->q, &copy->message);
}

static int make_copy(struct copy *copy, const void *data, size_t size)
{
    int err = plait_queue_reserve(copy->q, size, &copy->message);

    if (err == 0 && size)
        memcpy(copy->message.data, data, size);
    return err;
}

static int send_slip(plait_pipe_t *pipe, const void *data, size_t size, plait_time_t deadline)
{
    struct plait__outgoing slip = { plait__slip_label(size), data };
    struct order o = { { .items = &slip }, pipe };

    return attempt_until(pipe->out, attempt_put, PLAIT__PUTS, &o, deadline);
}

static int send_parcel(plait_pipe_t *pipe, const void *data, size_t size, plait_time_t deadline)
{
    struct copy copy = { .q = pipe->out };
    struct order o = { { .items = &copy.message }, pipe };
    int err = plait__pipe_peer_is_over(pipe) ? EPIPE : make_copy(&copy, data, size);

    if (err)
        return err;
    pthread_cleanup_push(discard, &copy);
    err = attempt_until(copy.q, attempt_commit, PLAIT__PUTS, &o, deadline);
    pthread_cleanup_pop(0);
    if (err)
        discard(&copy);
    return err;
}

int plait_pipe_send(plait_pipe_t *pipe, const void *data, size_t size, plait_time_t deadline)
{
    int err = enter(pipe, pipe->out);

    if (err)
        return err;
    if (size < pipe->out->slips_below) {
        err = send_slip(pipe, data, size, deadline);
        if (!plait__annex_is_missing(pipe->out, size, err))
            return err;
    }
    return send_parcel(pipe, data, size, deadline);
}

/* ---- Receiving ------------------------------------------------------------------------------------------------- */

int plait_pipe_borrow(plait_pipe_t *pipe, struct plait_message *message_out, plait_time_t deadline)
{
    struct order o = { { .items = message_out, .max = SIZE_MAX }, pipe };
    int err = enter(pipe, pipe->in);

    if (err == 0)
        err = attempt_until(pipe->in, attempt_borrow, PLAIT__GETS, &o, deadline);
    if (err)
        *message_out = (struct plait_message){ 0 };
    return err;
}

static void copy_out(plait_pipe_t *pipe, void *buffer, struct plait_message *message)
{
    if (!message->data) /* it is there */
        return;
    if (message->size)
        memcpy(buffer, message->data, message->size);
    plait_queue_give_back(pipe->in, message);
}

int plait_pipe_recv(plait_pipe_t *pipe, void *buffer, size_t room, size_t *size_out, plait_time_t deadline)
{
    struct plait_message message;
    struct order o = { { .items = &message, .max = room, .copy = buffer, .copies = true }, pipe };
    int err = enter(pipe, pipe->in);

    if (err == 0)
        err = attempt_until(pipe->in, attempt_borrow, PLAIT__GETS, &o, deadline);
    *size_out = o.of_queue.done;
    if (err == 0)
        copy_out(pipe, buffer, &message);
    return err;
}

/* Reserved for one direction, or borrowed from the other: only in a shared pipe can, and must, they be told apart. */
int plait_pipe_give_back(plait_pipe_t *pipe, struct plait_message *message)
{
    int err = pipe->out ? plait_queue_give_back(pipe->out, message) : EINVAL;

    return err == EINVAL && pipe->in ? plait_queue_give_back(pipe->in, message) : err;
}

int plait_pipe_poll(plait_pipe_t *pipe, plait_time_t deadline)
{
    struct order o = { { 0 }, pipe };
    int err = enter(pipe, pipe->in);

    return err ? err : attempt_until(pipe->in, attempt_poll, PLAIT__GETS, &o, deadline);
}

/* ---- Among others ---------------------------------------------------------------------------------------------- */

/* To the queue an entry is one of its own. */
struct as_queue {
    struct plait_wait_entry entry;
    struct plait__waiting waiting;
};

static struct plait__waiting *as_queue(const struct plait__waiting *waiting, struct plait_queue *q, struct as_queue *as)
{
    as->entry = *waiting->entry;
    as->entry.object = q;
    as->waiting = *waiting;
    as->waiting.entry = &as->entry;
    return &as->waiting;
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out, enum plait__queue_end end)
{
    plait_pipe_t *pipe = waiting->entry->object;
    struct as_queue as;
    bool sleep = end == PLAIT__GETS ? plait__queue_enlist_get(as_queue(waiting, pipe->in, &as), word_out)
                                    : plait__queue_enlist_put(as_queue(waiting, pipe->out, &as), word_out);

    return sleep && !is_shut(pipe) && !plait__pipe_peer_is_over(pipe);
}

static bool enlist_put(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    return enlist(waiting, word_out, PLAIT__PUTS);
}

static bool enlist_get(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    return enlist(waiting, word_out, PLAIT__GETS);
}

static int check_put(const struct plait_wait_entry *entry) { return ((const plait_pipe_t *)entry->object)->out ? 0 : EINVAL; }
static int check_get(const struct plait_wait_entry *entry) { return ((const plait_pipe_t *)entry->object)->in ? 0 : EINVAL; }

static void delist_put(struct plait__waiting *waiting)
{
    plait_pipe_t *pipe = waiting->entry->object;
    struct as_queue as;

    plait__queue_delist_put(as_queue(waiting, pipe->out, &as));
}

static void delist_get(struct plait__waiting *waiting)
{
    plait_pipe_t *pipe = waiting->entry->object;
    struct as_queue as;

    plait__queue_delist_get(as_queue(waiting, pipe->in, &as));
}

/* The attempt of an entry has answered so. */
static int answer(struct plait__waiting *waiting, int err, void (*delist)(struct plait__waiting *))
{
    err = plait__not_now(err);
    if (err != EAGAIN && waiting->enlisted)
        delist(waiting);
    return err;
}

static int commit_now(plait_pipe_t *pipe, struct plait_message *message)
{
    struct order o = { { .items = message }, pipe };
    int err = enter(pipe, pipe->out);

    return err ? err : attempt_commit(pipe->out, &o.of_queue, PLAIT_NOW);
}

static int commit_among(struct plait__waiting *waiting)
{
    return answer(waiting, commit_now(waiting->entry->object, waiting->entry->buffer), delist_put);
}

static int send_slip_now(plait_pipe_t *pipe, const void *data, size_t size)
{
    struct plait__outgoing slip = { plait__slip_label(size), data };
    struct order o = { { .items = &slip }, pipe };

    return attempt_put(pipe->out, &o.of_queue, PLAIT_NOW);
}

static int send_parcel_now(plait_pipe_t *pipe, const void *data, size_t size)
{
    struct copy copy = { .q = pipe->out };
    int err = make_copy(&copy, data, size);

    if (err)
        return err;
    err = commit_now(pipe, &copy.message);
    if (err)
        discard(&copy);
    return err;
}

static int send_now(plait_pipe_t *pipe, const void *data, size_t size)
{
    int err;

    if (size < pipe->out->slips_below) {
        err = send_slip_now(pipe, data, size);
        if (!plait__annex_is_missing(pipe->out, size, err))
            return err;
    }
    return send_parcel_now(pipe, data, size);
}

static int send_among(struct plait__waiting *waiting)
{
    plait_pipe_t *pipe = waiting->entry->object;
    const void *data = waiting->entry->buffer;
    size_t size = (size_t)waiting->entry->size;
    int err = enter(pipe, pipe->out);

    if (err == 0)
        err = send_now(pipe, data, size);
    return answer(waiting, err, delist_put);
}

static int take_now(plait_pipe_t *pipe, struct order *o)
{
    int err = enter(pipe, pipe->in);

    return err ? err : attempt_borrow(pipe->in, &o->of_queue, PLAIT_NOW);
}

static int borrow_among(struct plait__waiting *waiting)
{
    plait_pipe_t *pipe = waiting->entry->object;
    struct order o = { { .items = waiting->entry->buffer, .max = SIZE_MAX }, pipe };

    return answer(waiting, take_now(pipe, &o), delist_get);
}

/* An entry has room for one address and one number; the latter serves as the second address. */
static int recv_among(struct plait__waiting *waiting)
{
    size_t *size = (size_t *)(uintptr_t)waiting->entry->size;
    plait_pipe_t *pipe = waiting->entry->object;
    void *buffer = waiting->entry->buffer;
    struct plait_message message;
    struct order o = { { .items = &message, .max = *size, .copy = buffer, .copies = true }, pipe };
    int err = take_now(pipe, &o);

    if (err == 0 || err == EMSGSIZE)
        *size = o.of_queue.done;
    if (err == 0)
        copy_out(pipe, buffer, &message);
    return answer(waiting, err, delist_get);
}

static int poll_among(struct plait__waiting *waiting)
{
    plait_pipe_t *pipe = waiting->entry->object;
    struct order o = { { 0 }, pipe };
    int err = enter(pipe, pipe->in);

    return answer(waiting, err ? err : attempt_poll(pipe->in, &o.of_queue, PLAIT_NOW), delist_get);
}

struct plait_wait_entry plait_any_pipe_send(plait_pipe_t *pipe, const void *data, size_t size)
{
    static const struct plait_waitable sending = { send_among, enlist_put, delist_put, PLAIT__WATCH_ENLIST, check_put };

    return (struct plait_wait_entry){
        .how = &sending, .object = pipe, .buffer = (void *)(uintptr_t)data, .size = size
    };
}

struct plait_wait_entry plait_any_pipe_recv(plait_pipe_t *pipe, void *buffer, size_t *size)
{
    static const struct plait_waitable receiving = { recv_among, enlist_get, delist_get, PLAIT__WATCH_ENLIST, check_get };

    return (struct plait_wait_entry){
        .how = &receiving, .object = pipe, .buffer = buffer, .size = (uint64_t)(uintptr_t)size
    };
}

struct plait_wait_entry plait_any_pipe_poll(plait_pipe_t *pipe)
{
    static const struct plait_waitable polling = { poll_among, enlist_get, delist_get, PLAIT__WATCH_ATTEMPT, check_get };

    return (struct plait_wait_entry){ .how = &polling, .object = pipe };
}

struct plait_wait_entry plait_any_pipe_commit(plait_pipe_t *pipe, struct plait_message *message)
{
    static const struct plait_waitable committing = { commit_among, enlist_put, delist_put, PLAIT__WATCH_ENLIST, check_put };

    return (struct plait_wait_entry){ .how = &committing, .object = pipe, .buffer = message };
}

struct plait_wait_entry plait_any_pipe_borrow(plait_pipe_t *pipe, struct plait_message *message_out)
{
    static const struct plait_waitable borrowing = { borrow_among, enlist_get, delist_get, PLAIT__WATCH_ENLIST, check_get };

    return (struct plait_wait_entry){ .how = &borrowing, .object = pipe, .buffer = message_out };
}
