/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A call takes its side's lock (side.h), makes one step (steps.h), gives the lock back, and signals the other side. If the step
 * finds the queue full or empty, the call sleeps on the side's event count and tries again. An overflow rule steps in before
 * that (DROP_OLDEST needs both locks of a FIFO queue, and takes them in the order of everyone who does).
 *
 * No wake is lost: E3: the step's store of the cell's state (a pile's count) comes before the release of the lock, and that
 * before the look at the event count; a sleeper announces itself there and then makes another step. The sleeper's step finds the cell or
 * the signaller finds the sleeper. For:
 *   - shared: a barrier lies between on both sides (wait/eventcount.h); the release is an exchange.
 *   - private: the release is a plain store (sync/asym_lock.c), and no barrier. Instead the sleeper, after it has announced itself, is between two
 *     holders of each side's lock for a moment (plait__asym_pass). Steps made before that under this lock it sees; who makes one afterwards
 *     has acquired the lock later, and the announcement with it. tests/models/announce.pml.
 * Closing sets `closed` under both locks and then wakes everybody: every put has either been made before, or sees it.
 *
 * E4 close: a getter reads `closed` before it looks for an item; if it is set, all items that will ever come are visible,
 * because who set it held the put side's lock after their putters.
 *
 * Destroying: handles are memory of the process; a private queue's body goes with its handle.
 */
#include <plait/queue.h>

#include <errno.h>

#include "base/atomic.h"
#include "queue/brief.h"
#include "queue/ledger.h"
#include "queue/order.h"
#include "queue/parcel.h"
#include "queue/steps.h"
#include "wait/point.h"
#include "wait/spin.h"

/* Discarding makes room at once, or a getter has done so; what is full and empty is damaged. */
enum { DISCARDS_MAX = 100 };

static void drop(struct plait_queue *q)
{
    uint64_t *dropped = &q->body->put.dropped;

    store64_relaxed(dropped, load64_relaxed(dropped) + 1); /* relaxed: a figure, under the lock */
}

/* far: to make room at a deque's front. */
static int discard_in_side(struct plait_queue *q, bool far)
{
    if (q->is_message)
        return plait__mail_discard(q, far ? PLAIT__LAST : PLAIT__OLDEST);
    if (far)
        return plait__pile_skip_back(q);
    return q->is_pile ? plait__pile_skip(q) : plait__fifo_skip(q);
}

/* Discard the first item, with the put side's lock held. A getter may be faster, which makes room as well. */
static int discard_first(struct plait_queue *q, bool far, plait_time_t deadline)
{
    struct plait__queue_side *gets = plait__side(q, PLAIT__GETS);
    int err = q->is_pile ? 0 : plait__side_lock(q, gets, deadline);

    if (err)
        return err;
    err = discard_in_side(q, far);
    if (!q->is_pile)
        plait__side_unlock(q, gets);
    if (err == 0)
        drop(q);
    return err == EAGAIN ? 0 : err;
}

static int put_after_discard(struct plait_queue *q, struct plait__order *o)
{
    return o->hand ? plait__hand_put(q, o->hand, o->priority, o->far)
                   : plait__put_at(q, o->items, o->priority, o->far);
}

__attribute__((noinline)) int plait__queue_overflow(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    int err = EAGAIN;

    switch (q->body->overflow) {
    case PLAIT_OVERFLOW_REFUSE:
        return ETIMEDOUT;
    case PLAIT_OVERFLOW_DROP_NEWEST:
        drop(q);
        return 0;
    case PLAIT_OVERFLOW_DROP_OLDEST:
        for (unsigned tries = 0; err == EAGAIN && tries < DISCARDS_MAX; tries++) {
            err = discard_first(q, o->far, deadline);
            if (err == 0)
                err = put_after_discard(q, o);
        }
        return err == EAGAIN ? EBADMSG : err;
    default:
        return EAGAIN;
    }
}

static inline __attribute__((always_inline)) int
try_put(struct plait_queue *q, struct plait__order *o, bool far, plait_time_t deadline)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__PUTS);
    int err = !far && q->is_brief ? plait__put_briefly(q, o->items) : EBUSY;

    if (err != EBUSY)
        return err;
    err = plait__side_lock(q, side, deadline);
    if (err)
        return err;
    if (load_relaxed(&q->body->closed)) /* set under this lock */
        err = EPIPE;
    else
        err = far ? plait__pile_put_front(q, o->items) : plait__put_step(q, o->items, o->priority);
    if (__builtin_expect(err == EAGAIN, 0))
        err = plait__queue_overflow(q, o, deadline);
    plait__side_unlock(q, side);
    if (err == 0)
        plait__queue_signal(q, PLAIT__GETS, 1);
    return err;
}

static inline __attribute__((always_inline)) int
try_get(struct plait_queue *q, struct plait__order *o, bool far, plait_time_t deadline)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    uint32_t closed;
    int err = !far && q->is_brief ? plait__get_briefly(q, o->items) : EBUSY;

    if (err != EBUSY)
        return err;
    closed = load_acquire(&q->body->closed); /* E4 */
    if (__builtin_expect(closed == PLAIT__QUEUE_DISCARDED, 0))
        return EPIPE;
    err = plait__side_lock(q, side, deadline);
    if (err)
        return err;
    if (load_relaxed(&q->body->closed) == PLAIT__QUEUE_DISCARDED) /* set under this lock */
        err = EPIPE;
    else if (far)
        err = plait__take_slowly(q, o->items, NULL, NULL, true);
    else
        err = plait__take_step(q, o->items, o->priority_out, o->ticket_out);
    plait__side_unlock(q, side);
    if (err == 0 && q->maxsize)
        plait__queue_signal(q, PLAIT__PUTS, 1);
    return err == EAGAIN && closed ? EPIPE : err;
}

static int attempt_put(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    return try_put(q, o, false, deadline);
}

static int attempt_get(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    return try_get(q, o, false, deadline);
}

int plait__queue_attempt_put(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    return o->far ? try_put(q, o, true, deadline) : attempt_put(q, o, deadline);
}

int plait__queue_attempt_get(struct plait_queue *q, struct plait__order *o, plait_time_t deadline)
{
    return o->far ? try_get(q, o, true, deadline) : attempt_get(q, o, deadline);
}

/* How much has come, if anything, for who waits at that end? As plait__queue_possible, but where it can be seen first. */
static size_t look(const struct plait_queue *q, enum plait__queue_end end)
{
    if (!q->is_plain)
        return plait__queue_possible(q, end);
    return end == PLAIT__GETS ? plait__fifo_items_seen(q) : plait__fifo_room_seen(q);
}

/* Wait a while for the other side's progress. */
static bool spin_for_it(const struct plait_queue *q, enum plait__queue_end end,
                        plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_BATCH, deadline);

    while (plait__spin_pause(&spin)) {
        size_t count = look(q, end);

        if (count) {
            plait__spin_came(&spin, count);
            return true;
        }
    }
    return false;
}

/* Somebody who sleeps, and may be cancelled meanwhile. */
struct sleeper {
    struct plait_queue *q;
    enum plait__queue_end end;
};

/* A wake may have been spent on who leaves: there may be something for the next. */
static void slept(struct plait_queue *q, enum plait__queue_end end)
{
    struct plait__eventcount *ec = plait__sleepers(q, end);

    if (!plait__eventcount_done(ec))
        return;
    plait__sides_pass(q);
    if (plait__queue_possible(q, end))
        plait__eventcount_signal(ec, plait__queue_flags(q));
}

static void cancelled(void *arg)
{
    struct sleeper *self = arg;

    plait__eventcount_cancel(plait__sleepers(self->q, self->end));
    slept(self->q, self->end);
}

static int sleep_for_it(struct sleeper *self, uint32_t prepared, plait_time_t deadline,
                        plait_time_t *slice)
{
    int err;

    pthread_cleanup_push(cancelled, self);
    err = plait__eventcount_wait(plait__sleepers(self->q, self->end), prepared,
                                 plait__queue_flags(self->q), deadline, slice);
    pthread_cleanup_pop(0);
    return err;
}

int plait__queue_not_waiting(void)
{
    plait_cancel_t *token = plait_cancel_current();

    return token && plait_cancel_is_set(token) ? ECANCELED : ETIMEDOUT;
}

__attribute__((noinline)) int plait__queue_wait_and_try(struct plait_queue *q,
                                                        plait__attempt_fn *attempt,
                                                        enum plait__queue_end end,
                                                        struct plait__order *order,
                                                        plait_time_t deadline)
{
    struct plait__eventcount *ec = plait__sleepers(q, end);
    struct sleeper self = { q, end };
    plait_time_t slice = 0;
    int err;

    if (deadline <= PLAIT_NOW)
        return plait__queue_not_waiting();
    for (unsigned spins = 0; spins < 3 && spin_for_it(q, end, deadline); spins++) {
        err = attempt(q, order, deadline);
        if (err != EAGAIN)
            return err;
    }
    for (;;) {
        uint32_t prepared = plait__side_announce(q, end, false);
        int wait_err;

        err = attempt(q, order, deadline);
        if (err != EAGAIN) {
            plait__eventcount_cancel(ec);
            return err;
        }
        wait_err = sleep_for_it(&self, prepared, deadline, &slice);
        err = attempt(q, order, deadline);
        slept(q, end);
        if (err != EAGAIN)
            return err;
        if (wait_err)
            return wait_err;
    }
}

/* A message: a struct plait__outgoing. */
static inline __attribute__((always_inline)) int put_anything(struct plait_queue *q, const void *item,
                                                              int64_t priority, plait_time_t deadline)
{
    /* The item is only read: the put step takes it const. */
    struct plait__order o = { .items = (void *)(uintptr_t)item, .priority = priority };
    int err = try_put(q, &o, false, deadline);

    if (__builtin_expect(err == EAGAIN, 0)) {
        struct plait__order waiting = o; /* so that the first attempt's stays in registers */

        err = plait__queue_wait_and_try(q, attempt_put, PLAIT__PUTS, &waiting, deadline);
    }
    return err;
}

static inline __attribute__((always_inline)) int put(struct plait_queue *q, const void *item,
                                                     int64_t priority, plait_time_t deadline)
{
    return __builtin_expect(q->is_message, 0) ? EINVAL : put_anything(q, item, priority, deadline);
}

int plait__queue_put_slip(struct plait_queue *q, const struct plait__outgoing *slip, int64_t priority, plait_time_t deadline)
{
    return put_anything(q, slip, priority, deadline);
}

static inline __attribute__((always_inline)) int get(struct plait_queue *q, void *item,
                                                     int64_t *priority_out,
                                                     struct plait_ticket *ticket_out,
                                                     plait_time_t deadline)
{
    struct plait__order o = { .items = item, .priority_out = priority_out, .ticket_out = ticket_out };
    int err = __builtin_expect(q->is_message, 0) ? EINVAL : try_get(q, &o, false, deadline);

    if (__builtin_expect(err == EAGAIN, 0)) {
        struct plait__order waiting = o;

        err = plait__queue_wait_and_try(q, attempt_get, PLAIT__GETS, &waiting, deadline);
    }
    return err;
}

int plait_queue_put(plait_queue_t *q, const void *item, plait_time_t deadline)
{
    return put(q, item, 0, deadline);
}

int plait_queue_get(plait_queue_t *q, void *item, plait_time_t deadline)
{
    return get(q, item, NULL, NULL, deadline);
}

int plait_queue_get_ticket(plait_queue_t *q, void *item, struct plait_ticket *ticket_out, plait_time_t deadline)
{
    int err = q->ledger ? get(q, item, NULL, ticket_out, deadline) : EINVAL;

    if (err)
        *ticket_out = (struct plait_ticket){ 0 };
    return err;
}

int plait_queue_put_priority(plait_queue_t *q, const void *item, int64_t priority,
                             plait_time_t deadline)
{
    return q->body->kind == PLAIT_PRIORITY ? put(q, item, priority, deadline) : EINVAL;
}

int plait_queue_get_priority(plait_queue_t *q, void *item, int64_t *priority_out,
                             plait_time_t deadline)
{
    return q->body->kind == PLAIT_PRIORITY ? get(q, item, priority_out, NULL, deadline) : EINVAL;
}

static bool is_deque_of_items(const struct plait_queue *q)
{
    return q->body->kind == PLAIT_DEQUE && !q->is_message;
}

int plait_queue_put_front(plait_queue_t *q, const void *item, plait_time_t deadline)
{
    struct plait__order o = { .items = (void *)(uintptr_t)item, .far = true };
    int err = is_deque_of_items(q) ? plait__queue_attempt_put(q, &o, deadline) : EINVAL;

    return err == EAGAIN ? plait__queue_wait_and_try(q, plait__queue_attempt_put, PLAIT__PUTS, &o, deadline) : err;
}

int plait_queue_get_back(plait_queue_t *q, void *item, plait_time_t deadline)
{
    struct plait__order o = { .items = item, .far = true };
    int err = is_deque_of_items(q) ? plait__queue_attempt_get(q, &o, deadline) : EINVAL;

    return err == EAGAIN ? plait__queue_wait_and_try(q, plait__queue_attempt_get, PLAIT__GETS, &o, deadline) : err;
}

/* ---- For others of the room ---- */

/* The end of a sleep: others may sleep on a wake that was spent on us. */
void plait__queue_leave(struct plait_queue *q, enum plait__queue_end end)
{
    plait__eventcount_cancel(plait__sleepers(q, end));
    slept(q, end);
}

/* ---- Closing, and figures ---- */

static int close_as(struct plait_queue *q, uint32_t closed)
{
    struct plait__queue_body *b = q->body;
    int err = plait__sides_lock(q);

    if (err == 0) {
        if (load_relaxed(&b->closed) < closed)
            store_release(&b->closed, closed); /* E4 */
        if (q->ledger && load_relaxed(&b->closed) == PLAIT__QUEUE_DISCARDED)
            plait__ledger_discard(q);
        plait__sides_unlock(q);
    }
    if (q->ledger)
        plait__ledger_tell(q);
    plait__eventcount_broadcast(&b->items, plait__queue_flags(q));
    plait__eventcount_broadcast(&b->room, plait__queue_flags(q));
    return err;
}

int plait_queue_close(plait_queue_t *q)
{
    return close_as(q, PLAIT__QUEUE_CLOSED);
}

int plait_queue_close_now(plait_queue_t *q)
{
    return close_as(q, PLAIT__QUEUE_DISCARDED);
}

bool plait_queue_is_closed(const plait_queue_t *q)
{
    return load_acquire(&q->body->closed) != PLAIT__QUEUE_OPEN;
}

size_t plait_queue_qsize(const plait_queue_t *q)
{
    return load_acquire(&q->body->closed) == PLAIT__QUEUE_DISCARDED ? 0 : plait__queue_possible(q, PLAIT__GETS);
}

bool plait_queue_is_empty(const plait_queue_t *q)
{
    return plait_queue_qsize(q) == 0;
}

bool plait_queue_is_full(const plait_queue_t *q)
{
    return q->maxsize && plait_queue_qsize(q) && plait__queue_count(q) >= q->maxsize;
}

size_t plait_queue_maxsize(const plait_queue_t *q)
{
    return q->maxsize;
}

size_t plait_queue_item_size(const plait_queue_t *q)
{
    return q->is_message ? 0 : q->item_size;
}

enum plait_queue_kind plait_queue_kind(const plait_queue_t *q)
{
    return q->body->kind;
}

unsigned long long plait_queue_dropped(const plait_queue_t *q)
{
    return load64_relaxed(&q->body->put.dropped) + (q->ledger ? load64_relaxed(&q->ledger->discarded) : 0);
}
