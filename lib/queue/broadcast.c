/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A ring of maxsize slots. Item number n lies in slot n % maxsize, behind a word that says which item is there:
 *
 *     2 n        item n is being written (0: also nothing yet)
 *     2 n + 1    item n is there
 *
 * A publisher, with the lock: stores 2 n, the item, 2 n + 1, and counts `next` up. The store of 2 n + 1 is the put.
 *
 * A subscriber has a position, the number of the item that it gets next, in a record of its own (subscriber.c). It looks at the
 * word of that slot: smaller, and the item is not there yet; larger, and it was overwritten; else it copies the item, looks at
 * the word again, and moves its position on by a compare-and-swap. Any change of the word meanwhile, or of the position by
 * another thread of the process, and what it copied counts for nothing. So subscribers take no lock, write nothing that others
 * read but their positions, and need not know the overflow rule.
 *
 * Room: a put may overwrite the slot of item n - maxsize once no position is smaller or equal, which holds whenever
 * n - floor < maxsize: `floor` is how slow the slowest was when it was last looked. Only when that does not suffice all
 * records are looked at, as a rule once in maxsize puts; and if there is still no room, whether they all live, at most each 50
 * ms. With DROP_OLDEST nobody looks.
 *
 * Who starts with the oldest lowers `floor` first. Who is overtaken (DROP_OLDEST; a child of fork that comes late) finds a
 * larger word, and moves its position to the oldest item that is in the ring then.
 *
 * Killed at any instruction: a publisher before 2 n + 1: the next one writes the same slot anew; whoever is to get the item
 * that was there before finds it overwritten, which only with DROP_OLDEST can be anybody (or who subscribes to the oldest: it
 * begins behind). After 2 n + 1, before `next`: the next holder of the lock counts it up; subscribers may have got it already.
 * After the release, before the wake: sleepers on shared words look again by slices. A subscriber: its position has moved or
 * not, and is nobody's business once its process is dead. Records: subscriber.c.
 *
 * Order. Items are copied word by word by atomic operations, because a subscriber may copy what is being overwritten.
 * E1 item: 2 n + 1 is stored with release, and the word loaded with acquire before the copy. Overwriting: the word is stored
 *    before the item's words, each of which is stored with release and loaded with acquire; who got any of a later item finds a
 *    later word behind it (base/words.h). `next` says nothing that the words do not, but that what is older by maxsize is gone.
 * E2 room: the swap of a position comes after the copy (release); who acquires the position may overwrite what was copied.
 * E3 sleep for room: a publisher announces itself at `room` and then looks at the positions; where all room is gone it stores
 *    the slowest in `floor`, if that is not there already, with a full barrier, and looks once more. A subscriber moves its
 *    position on, a full barrier, and looks at `room`, then at `floor`: if it was not the slowest, it wakes nobody. So either
 *    its move is seen in the last look, or it sees the announcement and the floor. Who makes room otherwise (leaves, is
 *    buried) wakes all.
 * E4 sleep for items: the word is stored before the release of the lock, a full barrier, and that before the look at `items`;
 *    a sleeper announces itself there and then looks at the word (wait/eventcount.h). All are woken, at both ends, so nobody
 *    has a wake to pass on.
 * E5 close: `closed` is set under the lock, so after the last item; who acquires it, and then does not find an item, will
 *    find none.
 * E6: a record is ours before the epoch says so.
 *
 * tests/models/broadcast.pml is a model of waiting at both ends, with deaths.
 */
#include "queue/broadcast.h"

#include <errno.h>
#include <limits.h>

#include <plait/cancel.h>

#include "base/clock.h"
#include "base/words.h"
#include "wait/point.h"
#include "wait/spin.h"
#include "wait/waitable.h"

enum { GRACE = 100 }; /* milliseconds that the lock is waited for by a call that would not wait */

/* ---- The lock -------------------------------------------------------------------------------------------------- */

/* What a put of the dead holder has left. */
static int mend(const struct plait_broadcast *b)
{
    struct plait__broadcast_body *body = b->body;
    uint64_t next = load64_relaxed(&body->next);

    if (load64_acquire(plait__broadcast_slot(b, next)) == plait__broadcast_ready(next))
        store64_release(&body->next, next + 1);
    return plait__broadcast_mend_records(b);
}

/* As a rule it is free in a moment, which no caller notices, whatever its deadline or token; else its holder is stopped. */
static int lock_contended(const struct plait_broadcast *b, plait_time_t deadline)
{
    plait_time_t grace = plait_now() + GRACE * PLAIT__MILLISECOND;
    plait_cancel_t *token;
    int err;

    if (!plait__inner_is_sound(&b->body->lock, b->base != NULL))
        return EBADMSG;
    token = plait_cancel_bind(NULL);
    err = plait__inner_acquire(&b->body->lock, grace);
    plait_cancel_bind(token);
    return err == ETIMEDOUT && deadline > grace ? plait__inner_acquire(&b->body->lock, deadline) : err;
}

int plait__broadcast_lock(const struct plait_broadcast *b, plait_time_t deadline)
{
    int err = plait__inner_acquire(&b->body->lock, PLAIT_NOW);

    if (__builtin_expect(err == 0, 1))
        return 0;
    if (err == ETIMEDOUT || err == ECANCELED)
        err = lock_contended(b, deadline);
    if (err != EOWNERDEAD)
        return err;
    err = mend(b);
    if (err == 0)
        return plait_lock_consistent(&b->body->lock);
    plait_lock_release(&b->body->lock); /* not consistent: not recoverable from here on */
    return ENOTRECOVERABLE;
}

int plait__broadcast_enter(const struct plait_broadcast *b)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int err = plait__broadcast_lock(b, PLAIT_FOREVER);

    plait_cancel_bind(token);
    return err;
}

void plait__broadcast_unlock(const struct plait_broadcast *b)
{
    plait__inner_release(&b->body->lock);
    barrier_after_rmw(); /* E4 */
}

/* ---- Putting --------------------------------------------------------------------------------------------------- */

static bool has_room(const struct plait_broadcast *b, uint64_t floor)
{
    return load64_relaxed(&b->body->next) - floor < b->maxsize; /* relaxed: under the lock, or a look */
}

/* Look at all subscribers. EAGAIN: there is no room; who makes some will wake (E3). *slowest_out: who has to. */
static int look_for_room(const struct plait_broadcast *b, struct plait__broadcast_record **slowest_out)
{
    struct plait__broadcast_body *body = b->body;
    uint64_t slowest;
    int err;

    while ((err = plait__broadcast_slowest(b, &slowest, slowest_out)) == 0) {
        if (load64_relaxed(&body->floor) == slowest)
            return has_room(b, slowest) ? 0 : EAGAIN;
        exchange64_seqcst(&body->floor, slowest); /* E3 */
        barrier_after_rmw();
        if (has_room(b, slowest))
            return 0;
    }
    return err;
}

static int find_room(const struct plait_broadcast *b, struct plait__broadcast_record **slowest_out)
{
    int err;

    if (__builtin_expect(has_room(b, load64_relaxed(&b->body->floor)), 1)) /* relaxed: under the lock */
        return 0;
    err = look_for_room(b, slowest_out);
    return err == EAGAIN && plait__broadcast_bury(b, false) ? look_for_room(b, slowest_out) : err;
}

static void publish(const struct plait_broadcast *b, const void *item)
{
    uint64_t number = load64_relaxed(&b->body->next); /* relaxed: under the lock */
    uint64_t *slot = plait__broadcast_slot(b, number);

    store64_release(slot, 2 * number); /* E1 */
    plait__words_store(slot + 1, item, b->item_size);
    store64_release(slot, plait__broadcast_ready(number)); /* E1 */
    store64_release(&b->body->next, number + 1);
}

/* EAGAIN: full. */
static int put_in_lock(struct plait__broadcast_call *call)
{
    const struct plait_broadcast *b = call->broadcast;
    int err = 0;

    if (load_relaxed(&b->body->closed)) /* relaxed: under the lock */
        return EPIPE;
    if (b->overflow != PLAIT_OVERFLOW_DROP_OLDEST)
        err = find_room(b, &call->slowest);
    if (err == 0)
        publish(b, call->item);
    if (err != EAGAIN || b->overflow != PLAIT_OVERFLOW_DROP_NEWEST)
        return err;
    store64_relaxed(&b->body->dropped, load64_relaxed(&b->body->dropped) + 1); /* relaxed: a figure, under the lock */
    return 0;
}

static void wake_subscribers(const struct plait_broadcast *b)
{
    struct plait__eventcount *ec = &b->body->items;

    if (__builtin_expect(load_seqcst(&ec->word) & 1, 0))
        plait__eventcount_wake(ec, INT_MAX, plait__broadcast_flags(b));
}

static int attempt_put(struct plait__broadcast_call *call, plait_time_t deadline)
{
    const struct plait_broadcast *b = call->broadcast;
    int err = plait__broadcast_lock(b, deadline);

    if (err)
        return err;
    err = put_in_lock(call);
    plait__broadcast_unlock(b);
    if (err == 0)
        wake_subscribers(b);
    return err;
}

/* How far has the slowest moved on since the last attempt? */
static size_t room_that_came(const struct plait__broadcast_call *call)
{
    struct plait__broadcast_body *body = call->broadcast->body;
    uint64_t floor = load64_relaxed(&body->floor); /* relaxed, as all here: a look */

    if (load_relaxed(&body->closed) || !call->slowest || load_relaxed(&call->slowest->state) != PLAIT__RECORD_SUBSCRIBED)
        return 1;
    return load64_relaxed(&call->slowest->position) - floor;
}

int plait_broadcast_put(plait_broadcast_t *b, const void *item, plait_time_t deadline)
{
    struct plait__broadcast_call call = {
        .attempt = attempt_put, .possible = room_that_came, .broadcast = b, .item = item
    };
    int err = attempt_put(&call, deadline);

    if (__builtin_expect(err != EAGAIN, 1))
        return err;
    if (b->overflow == PLAIT_OVERFLOW_REFUSE)
        return ETIMEDOUT;
    return plait__broadcast_wait(&call, &b->body->room, deadline);
}

/* ---- Waiting, at either end ------------------------------------------------------------------------------------ */

static bool spin_for_it(const struct plait__broadcast_call *call, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_BATCH, deadline);

    while (plait__spin_pause(&spin)) {
        size_t count = call->possible(call);

        if (count) {
            plait__spin_came(&spin, count);
            return true;
        }
    }
    return false;
}

static void cancelled(void *ec)
{
    plait__eventcount_cancel(ec);
}

static int sleep_for_it(const struct plait_broadcast *b, struct plait__eventcount *ec, uint32_t prepared, plait_time_t deadline,
                        plait_time_t *slice)
{
    int err;

    pthread_cleanup_push(cancelled, ec);
    err = plait__eventcount_wait(ec, prepared, plait__broadcast_flags(b), deadline, slice);
    pthread_cleanup_pop(0);
    return err;
}

int plait__broadcast_wait(struct plait__broadcast_call *call, struct plait__eventcount *ec, plait_time_t deadline)
{
    plait_time_t slice = 0;
    int err = EAGAIN, wait_err = 0;

    for (unsigned spins = 0; err == EAGAIN && deadline > PLAIT_NOW && spins < 3 && spin_for_it(call, deadline); spins++)
        err = call->attempt(call, deadline);
    while (err == EAGAIN && wait_err == 0) {
        uint32_t prepared = plait__eventcount_prepare(ec); /* E3, E4 */

        err = call->attempt(call, deadline);
        if (err != EAGAIN) {
            plait__eventcount_cancel(ec);
            return err;
        }
        wait_err = sleep_for_it(call->broadcast, ec, prepared, deadline, &slice);
        err = call->attempt(call, deadline);
    }
    return err == EAGAIN ? wait_err : err;
}

/* ---- Closing --------------------------------------------------------------------------------------------------- */

static int end(const struct plait_broadcast *b, uint32_t how)
{
    int err = plait__broadcast_enter(b);

    if (err)
        return err;
    if (load_relaxed(&b->body->closed) < how) /* relaxed: under the lock */
        store_release(&b->body->closed, how); /* E5 */
    plait__broadcast_unlock(b);
    plait__eventcount_broadcast(&b->body->items, plait__broadcast_flags(b));
    plait__eventcount_broadcast(&b->body->room, plait__broadcast_flags(b));
    return 0;
}

int plait_broadcast_close(plait_broadcast_t *b)
{
    return end(b, PLAIT__BROADCAST_CLOSED);
}

int plait_broadcast_close_now(plait_broadcast_t *b)
{
    return end(b, PLAIT__BROADCAST_DISCARDED);
}

/* ---- Among others ---------------------------------------------------------------------------------------------- */

static void delist(struct plait__waiting *waiting)
{
    const struct plait_broadcast *b = waiting->entry->object;

    plait__eventcount_cancel(&b->body->room);
}

static int attempt_among(struct plait__waiting *waiting)
{
    struct plait__broadcast_call call = { .broadcast = waiting->entry->object, .item = waiting->entry->buffer };
    int err = plait__not_now(attempt_put(&call, PLAIT_NOW));

    if (err != EAGAIN && waiting->enlisted)
        delist(waiting);
    return err;
}

static bool is_full(const struct plait_broadcast *b)
{
    struct plait__broadcast_record *slowest;
    bool full = false;

    if (b->overflow <= PLAIT_OVERFLOW_REFUSE && plait__broadcast_lock(b, PLAIT_NOW) == 0) {
        full = !load_relaxed(&b->body->closed) && find_room(b, &slowest) == EAGAIN; /* relaxed: under the lock */
        plait__broadcast_unlock(b);
    }
    return full;
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    const struct plait_broadcast *b = waiting->entry->object;
    struct plait__eventcount *ec = &b->body->room;
    uint32_t prepared = waiting->enlisted ? plait__eventcount_renew(ec) : plait__eventcount_prepare(ec);

    *word_out = (struct plait_wait_word){ &ec->word, prepared, plait__broadcast_flags(b) };
    return is_full(b); /* E3 */
}

struct plait_wait_entry plait_any_broadcast_put(plait_broadcast_t *b, const void *item)
{
    static const struct plait_waitable putting = { attempt_among, enlist, delist, PLAIT__UNWATCHED, NULL };

    return (struct plait_wait_entry){ .how = &putting, .object = b, .buffer = (void *)(uintptr_t)item };
}

/* ---- Figures --------------------------------------------------------------------------------------------------- */

bool plait_broadcast_is_closed(const plait_broadcast_t *b)
{
    return load_acquire(&b->body->closed);
}

size_t plait_broadcast_qsize(const plait_broadcast_t *b)
{
    struct plait__broadcast_record *record;
    uint64_t slowest, count = 0;

    if (plait__broadcast_enter(b) != 0)
        return 0;
    if (plait__broadcast_slowest(b, &slowest, &record) == 0)
        count = load64_relaxed(&b->body->next) - slowest; /* relaxed: under the lock */
    plait__broadcast_unlock(b);
    return count < b->maxsize ? count : b->maxsize;
}

unsigned long long plait_broadcast_published(const plait_broadcast_t *b)
{
    return load64_acquire(&b->body->next);
}

unsigned long long plait_broadcast_dropped(const plait_broadcast_t *b)
{
    return load64_relaxed(&b->body->dropped); /* relaxed: a figure */
}

size_t plait_broadcast_maxsize(const plait_broadcast_t *b)
{
    return b->maxsize;
}

size_t plait_broadcast_item_size(const plait_broadcast_t *b)
{
    return b->item_size;
}

enum plait_queue_overflow plait_broadcast_overflow(const plait_broadcast_t *b)
{
    return b->overflow;
}
