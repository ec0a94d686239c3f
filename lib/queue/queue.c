/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A call takes its side's lock, makes one step (steps.h), gives the lock back, and signals the other side. If the step finds the
 * queue full or empty, the call sleeps on the side's event count and tries again.
 *
 * No wake is lost: E3: the step's store of the cell's state comes before the release of the lock, an exchange, and that
 * before the look at the event count; a sleeper announces itself there and then makes another step. A barrier lies
 * between on both sides (wait/eventcount.h), so the sleeper's step finds the cell or the signaller finds the sleeper.
 * Closing sets `closed` under both locks and then wakes everybody: every put has either been made before, or sees it.
 *
 * Locks are held for one step, and are waited for at least a little even by a call that does not want to wait:
 * that somebody else is at it does not make a queue full or empty. The caller's cancel token is about items and room, not
 * about these locks.
 *
 * E4 close: a getter reads `closed` before it looks for an item; if it is set, all items that will ever come are visible,
 * because who set it held the put side's lock after their putters.
 *
 * Destroying: handles are memory of the process; a private queue's body goes with its handle.
 */
#include <plait/queue.h>

#include <errno.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "queue/steps.h"
#include "sync/lock.h"
#include "wait/point.h"
#include "wait/spin.h"
#include "wait/waitable.h"

enum { GRACE = 100 }; /* milliseconds that a lock is waited for by a call that would not wait */

static inline unsigned flags_of(const struct plait_queue *q)
{
    return q->base ? PLAIT_SHARED : 0;
}

static __attribute__((noinline)) int lock_contended(plait_lock_t *lock, plait_time_t deadline)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    plait_time_t grace = plait_now() + GRACE * PLAIT__MILLISECOND;
    int err = plait__lock_acquire(lock, deadline > grace ? deadline : grace);

    plait_cancel_bind(token);
    return err;
}

/* A side is held for one step at a time: let its holder make many before looking again. */
static __attribute__((noinline)) int lock_private(plait_lock_t *lock, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_RIVALS, PLAIT_FOREVER);

    while (plait__spin_pause(&spin)) {
        uint32_t free = 0;

        if (load_relaxed(&lock->state) == free && cas_acquire(&lock->state, &free, 1)) {
            plait__spin_paid(&spin);
            return 0;
        }
    }
    return lock_contended(lock, deadline);
}

/* A shared side that could not be had at the first try: not yet a participant, somebody holds it, or its holder died. */
static __attribute__((noinline)) int lock_shared(struct plait_queue *q, struct plait__queue_side *side, int err,
                                                 plait_time_t deadline)
{
    struct plait__slot *slot;

    if (err == EAGAIN)
        err = plait__member(q->base, &slot);
    if (err == ETIMEDOUT || err == ECANCELED || err == 0)
        err = lock_contended(&side->lock, deadline);
    if (err == EOWNERDEAD) {
        if (side == &q->body->put)
            plait__fifo_repair_put(q);
        else
            plait__fifo_repair_get(q);
        err = plait_lock_consistent(&side->lock);
    }
    return err;
}

static inline int lock_side(struct plait_queue *q, struct plait__queue_side *side, plait_time_t deadline)
{
    uint32_t unheld = 0;
    int err = EAGAIN;

    if (!q->base) {
        if (__builtin_expect(cas_acquire(&side->lock.state, &unheld, 1), 1))
            return 0;
        return lock_private(&side->lock, deadline);
    }
    if (__builtin_expect(plait__member_is_cached(q->base), 1))
        err = plait__robust_acquire(&side->lock, PLAIT_NOW);
    return __builtin_expect(err == 0, 1) ? 0 : lock_shared(q, side, err, deadline);
}

static inline void unlock_side(struct plait_queue *q, struct plait__queue_side *side)
{
    if (q->base)
        plait__robust_release(&side->lock);
    else
        plait__inner_release(&side->lock);
    barrier_after_rmw(); /* E3 */
}

/* What a call does on its side, once: 0 done, EAGAIN not now, EPIPE closed, or an error. */
typedef int attempt_fn(struct plait_queue *q, void *item, plait_time_t deadline);

static int attempt_put(struct plait_queue *q, void *item, plait_time_t deadline)
{
    struct plait__queue_body *b = q->body;
    int err = lock_side(q, &b->put, deadline);

    if (err)
        return err;
    err = load_relaxed(&b->closed) ? EPIPE : plait__fifo_put_step(q, item); /* relaxed: set under this lock */
    unlock_side(q, &b->put);
    if (err == 0)
        plait__eventcount_signal(&b->items, flags_of(q));
    return err;
}

static int attempt_get(struct plait_queue *q, void *item, plait_time_t deadline)
{
    struct plait__queue_body *b = q->body;
    uint32_t closed = load_acquire(&b->closed); /* E4 */
    int err;

    if (__builtin_expect(closed == PLAIT__QUEUE_DISCARDED, 0))
        return EPIPE;
    err = lock_side(q, &b->get, deadline);
    if (err)
        return err;
    err = load_relaxed(&b->closed) == PLAIT__QUEUE_DISCARDED ? EPIPE : plait__fifo_get_step(q, item);
    unlock_side(q, &b->get);
    if (err == 0 && b->maxsize)
        plait__eventcount_signal(&b->room, flags_of(q));
    return err == EAGAIN && closed ? EPIPE : err;
}

/* How many steps would succeed by now? A look without the lock. */
static size_t possible(const struct plait_queue *q, const struct plait__queue_side *side)
{
    size_t size = plait__fifo_size(q);

    if (side == &q->body->get)
        return size;
    return q->body->maxsize ? q->body->maxsize - size : 1;
}

/* Wait a while for the other side's progress. */
static bool spin_for_it(const struct plait_queue *q, const struct plait__queue_side *side, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_BATCH, deadline);

    while (plait__spin_pause(&spin)) {
        size_t count = possible(q, side);

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
    struct plait__queue_side *side;
    struct plait__eventcount *ec;
};

/* A wake may have been spent on who leaves: there may be something for the next. */
static void slept(const struct sleeper *self)
{
    if (plait__eventcount_done(self->ec) && possible(self->q, self->side))
        plait__eventcount_signal(self->ec, flags_of(self->q));
}

static void cancelled(void *arg)
{
    struct sleeper *self = arg;

    plait__eventcount_cancel(self->ec);
    slept(self);
}

static int sleep_for_it(struct sleeper *self, uint32_t prepared, plait_time_t deadline, plait_time_t *slice)
{
    int err;

    pthread_cleanup_push(cancelled, self);
    err = plait__eventcount_wait(self->ec, prepared, flags_of(self->q), deadline, slice);
    pthread_cleanup_pop(0);
    return err;
}

/* The rest of a call whose first attempt answered EAGAIN. */
static __attribute__((noinline)) int wait_and_try(struct plait_queue *q, attempt_fn *attempt,
                                                  struct plait__queue_side *side, struct plait__eventcount *ec,
                                                  void *item, plait_time_t deadline)
{
    struct sleeper self = { q, side, ec };
    plait_time_t slice = 0;
    int err;

    if (deadline <= PLAIT_NOW)
        return plait_cancel_current() && plait_cancel_is_set(plait_cancel_current()) ? ECANCELED : ETIMEDOUT;
    for (unsigned spins = 0; spins < 3 && spin_for_it(q, side, deadline); spins++) {
        err = attempt(q, item, deadline);
        if (err != EAGAIN)
            return err;
    }
    for (;;) {
        uint32_t prepared = plait__eventcount_prepare(ec);
        int wait_err;

        err = attempt(q, item, deadline);
        if (err != EAGAIN) {
            plait__eventcount_cancel(ec);
            return err;
        }
        wait_err = sleep_for_it(&self, prepared, deadline, &slice);
        err = attempt(q, item, deadline);
        slept(&self);
        if (err != EAGAIN)
            return err;
        if (wait_err)
            return wait_err;
    }
}

int plait_queue_put(plait_queue_t *q, const void *item, plait_time_t deadline)
{
    /* The item is only read: attempt_put hands it to the put step, which takes it const. */
    void *unconst = (void *)(uintptr_t)item;
    int err = attempt_put(q, unconst, deadline);

    if (__builtin_expect(err == EAGAIN, 0))
        err = wait_and_try(q, attempt_put, &q->body->put, &q->body->room, unconst, deadline);
    return err;
}

int plait_queue_get(plait_queue_t *q, void *item, plait_time_t deadline)
{
    int err = attempt_get(q, item, deadline);

    if (__builtin_expect(err == EAGAIN, 0))
        err = wait_and_try(q, attempt_get, &q->body->get, &q->body->items, item, deadline);
    return err;
}

/* ---- Among others ------------------------------------------------------------------------ */

/* The end of a sleep: others may sleep on a wake that was spent on us. */
static void leave(struct plait_queue *q, struct plait__queue_side *side, struct plait__eventcount *ec)
{
    plait__eventcount_cancel(ec);
    if (plait__eventcount_done(ec) && possible(q, side))
        plait__eventcount_signal(ec, flags_of(q));
}

/* No room for, or no item from, a side whose lock somebody holds for long: not now. */
static int attempt_among(struct plait__waiting *waiting, attempt_fn *attempt, struct plait__queue_side *side,
                         struct plait__eventcount *ec)
{
    struct plait_queue *q = waiting->entry->object;
    int err = plait__not_now(attempt(q, waiting->entry->buffer, PLAIT_NOW));

    if (err != EAGAIN && waiting->enlisted)
        leave(q, side, ec);
    return err;
}

static bool enlist_among(struct plait__waiting *waiting, struct plait__queue_side *side, struct plait__eventcount *ec,
                         struct plait_wait_word *word_out)
{
    struct plait_queue *q = waiting->entry->object;
    uint32_t prepared = waiting->enlisted ? plait__eventcount_renew(ec) : plait__eventcount_prepare(ec);

    *word_out = (struct plait_wait_word){ &ec->word, prepared, flags_of(q) };
    return !possible(q, side) && load_acquire(&q->body->closed) == PLAIT__QUEUE_OPEN;
}

static int attempt_put_among(struct plait__waiting *waiting)
{
    struct plait__queue_body *b = ((struct plait_queue *)waiting->entry->object)->body;

    return attempt_among(waiting, attempt_put, &b->put, &b->room);
}

static bool enlist_put(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    struct plait__queue_body *b = ((struct plait_queue *)waiting->entry->object)->body;

    return enlist_among(waiting, &b->put, &b->room, word_out);
}

static void delist_put(struct plait__waiting *waiting)
{
    struct plait_queue *q = waiting->entry->object;

    leave(q, &q->body->put, &q->body->room);
}

static int attempt_get_among(struct plait__waiting *waiting)
{
    struct plait__queue_body *b = ((struct plait_queue *)waiting->entry->object)->body;

    return attempt_among(waiting, attempt_get, &b->get, &b->items);
}

static bool enlist_get(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    struct plait__queue_body *b = ((struct plait_queue *)waiting->entry->object)->body;

    return enlist_among(waiting, &b->get, &b->items, word_out);
}

static void delist_get(struct plait__waiting *waiting)
{
    struct plait_queue *q = waiting->entry->object;

    leave(q, &q->body->get, &q->body->items);
}

struct plait_wait_entry plait_any_queue_put(plait_queue_t *q, const void *item)
{
    static const struct plait_waitable putting = { attempt_put_among, enlist_put, delist_put };

    return (struct plait_wait_entry){ .how = &putting, .object = q, .buffer = (void *)(uintptr_t)item };
}

struct plait_wait_entry plait_any_queue_get(plait_queue_t *q, void *item)
{
    static const struct plait_waitable getting = { attempt_get_among, enlist_get, delist_get };

    return (struct plait_wait_entry){ .how = &getting, .object = q, .buffer = item };
}

/* Both locks, put side first: the order for everyone who needs both. */
static int close_as(struct plait_queue *q, uint32_t closed)
{
    struct plait__queue_body *b = q->body;
    int err = lock_side(q, &b->put, PLAIT_FOREVER);

    if (err)
        return err;
    err = lock_side(q, &b->get, PLAIT_FOREVER);
    if (err == 0) {
        if (load_relaxed(&b->closed) < closed)
            store_release(&b->closed, closed); /* E4 */
        unlock_side(q, &b->get);
    }
    unlock_side(q, &b->put);
    plait__eventcount_broadcast(&b->items, flags_of(q));
    plait__eventcount_broadcast(&b->room, flags_of(q));
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
    return load_acquire(&q->body->closed) == PLAIT__QUEUE_DISCARDED ? 0 : plait__fifo_size(q);
}

bool plait_queue_is_empty(const plait_queue_t *q)
{
    return plait_queue_qsize(q) == 0;
}

bool plait_queue_is_full(const plait_queue_t *q)
{
    return q->body->maxsize && plait_queue_qsize(q) >= q->body->maxsize;
}

size_t plait_queue_maxsize(const plait_queue_t *q)
{
    return q->body->maxsize;
}

size_t plait_queue_item_size(const plait_queue_t *q)
{
    return q->item_size;
}
