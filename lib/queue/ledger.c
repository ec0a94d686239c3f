/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Every item that is got from a joinable queue is copied into a record too, which stays until it is done. All of it is guarded by
 * the lock of the get side, so a get, a task_done and a look at whether all is done exclude one another; puts do not know of
 * it. A record's state says where its item is (how records lie: record.c):
 *
 *     FREE      nowhere
 *     TAKING    in the queue, until the get that is under way takes effect: then TAKEN
 *     TAKEN     with the process `owner`
 *     RETURNED  nobody's: the process died; it comes out again
 *     LETTER    nobody's, died of too often: it goes to the dead letters once there is room
 *     POSTING   the same, until the put there that is under way takes effect: then POSTED
 *     POSTED    there
 *     DONE      nowhere; the message's memory is still to be given back
 *
 * The count of an item's deaths is in the same word, so one store changes both. Lists and counts are found again from the states.
 *
 * What is unfinished is not counted, but told: what is in the queue, TAKEN, RETURNED or LETTER. So no death can make it
 * wrong. Who makes that zero, counts `zeros` up, under the lock, and wakes the joiners, who wait for `zeros` to change or nothing
 * to be left: so a joiner returns though more was put before it ran.
 *
 * Whose process died? The record says who got it as a hold would (arena/holds.h): a living thread's slot tells at a look. Who
 * finds nothing to get, who joins, and every LOOK_GETS-th get look at all records that are TAKEN, at most once in LOOK_AFTER.
 * A sleeping getter or joiner looks at each slice of its sleep.
 *
 * Killed at any instruction: TAKING and POSTING exist only while the lock is held of the side that makes the step (POSTING: of
 * the other queue's put side, besides ours), whose `hand` names the record, and `at` of the record where the side was. Who takes that lock
 * next first repairs the side and then sees whether its `at` is another: then the step took effect (plait__record_repair).
 * Our own repair takes and gives back the lock of the dead letters' side if a record is POSTING or POSTED: so that one
 * is repaired, and its `hand` empty, before the record can mean anything else. In order of stores: at, hand, TAKING, step, TAKEN,
 * no hand. A RETURNED item that is got gets its new owner before it is TAKEN.
 *
 * No wake is lost: RETURNED and `zeros` are stored before the lock is released, and the event counts looked at after that: E3
 * of queue.c.
 *
 * tests/models/ledger.pml is a model of it.
 */
#include "queue/ledger.h"

#include <errno.h>
#include <string.h>

#include "arena/holds.h"
#include "arena/start_time.h"
#include "base/clock.h"
#include "queue/parcel.h"
#include "wait/caller.h"

enum { LOOK_GETS = 16, LOOK_AFTER = 50 /* milliseconds */ };

/* ---- All is done ------------------------------------------------------------------------------------------------- */

/* Of what is no longer in the queue. */
static size_t recorded(const struct plait__ledger *l)
{
    return (size_t)load_relaxed(&l->taken.count) + load_relaxed(&l->returned.count) + load_relaxed(&l->letters.count);
}

size_t plait__ledger_unfinished(const struct plait_queue *q)
{
    bool is_discarded = load_acquire(&q->body->closed) == PLAIT__QUEUE_DISCARDED;

    return recorded(q->ledger) + (is_discarded ? 0 : plait__queue_count(q));
}

bool plait__ledger_note_if_done(struct plait_queue *q)
{
    struct plait__ledger *l = q->ledger;

    if (recorded(l) || (!q->is_pile && plait__fifo_has_next(q) && load_relaxed(&q->body->closed) != PLAIT__QUEUE_DISCARDED) ||
        plait__ledger_unfinished(q)) /* in this order: the last looks at what putters write */
        return false;
    store64_release(&l->zeros, l->zeros + 1);
    return true;
}

void plait__ledger_tell(struct plait_queue *q)
{
    struct plait__eventcount *ec = &q->ledger->joiners;

    if (load_seqcst(&ec->word) & 1)
        plait__eventcount_wake(ec, INT32_MAX, plait__queue_flags(q));
}

/* The item is nowhere any more. */
void plait__ledger_finish(struct plait_queue *q, struct plait__record_list *from, uint32_t number)
{
    struct plait__record *r = plait__record_at(q, number);

    plait__record_set_state(r, PLAIT__RECORD_DONE);
    if (q->is_message)
        plait__memory_free(q->base, (uint64_t *)(void *)r->item);
    plait__record_set(r, PLAIT__RECORD_FREE, 0);
    plait__record_move(q, from, &q->ledger->free, number);
}

void plait__ledger_discard(struct plait_queue *q)
{
    struct plait__ledger *l = q->ledger;

    while (l->returned.first)
        plait__ledger_finish(q, &l->returned, l->returned.first);
    while (l->letters.first)
        plait__ledger_finish(q, &l->letters, l->letters.first);
    plait__ledger_note_if_done(q);
}

/* ---- After deaths ------------------------------------------------------------------------------------------------ */

static void discard(struct plait_queue *q, struct plait__record_list *from, uint32_t number)
{
    uint64_t *discarded = &q->ledger->discarded;

    store64_relaxed(discarded, load64_relaxed(discarded) + 1); /* relaxed: a figure, under the lock */
    plait__ledger_finish(q, from, number);
}

/* One look at many records asks the system about each process once. */
struct asked {
    uint64_t process;
    bool is_dead;
};

static bool is_lost(struct plait_queue *q, const struct plait__record *r, struct asked *asked)
{
    const struct plait__slot *slot;

    if (r->slot >= plait__slots_high(q->base))
        return true; /* damaged: nobody's */
    slot = plait__slot_at(q->base, r->slot);
    if (!plait__hold_is_orphan(slot, r->thread))
        return false;
    if (plait__hold_died(slot, r->thread))
        return true;
    if (asked->process != r->owner)
        *asked = (struct asked){ r->owner, plait__process_is_dead(r->owner) };
    return asked->is_dead;
}

static void give_back(struct plait_queue *q, uint32_t number)
{
    struct plait__ledger *l = q->ledger;
    struct plait__record *r = plait__record_at(q, number);
    uint32_t times = plait__record_deaths(r) + 1;
    bool enough = l->max_deliveries && times >= l->max_deliveries;

    if (load_relaxed(&q->body->closed) == PLAIT__QUEUE_DISCARDED) { /* relaxed: set under this lock */
        plait__ledger_finish(q, &l->taken, number);
        return;
    }
    plait__record_set(r, enough ? PLAIT__RECORD_LETTER : PLAIT__RECORD_RETURNED, times);
    plait__record_move(q, &l->taken, enough ? &l->letters : &l->returned, number);
}

/* EAGAIN: no room, or somebody has been at it for long: later. Whatever else hinders, the item is discarded. */
static int post(struct plait_queue *q, uint32_t number)
{
    struct plait_queue *letters = q->dead_letters;
    struct plait__queue_side *side = plait__side(letters, PLAIT__PUTS);
    struct plait__record *r = plait__record_at(q, number);
    int err = load_acquire(&letters->body->magic) == PLAIT__QUEUE_MAGIC
                  ? plait__side_lock(letters, side, PLAIT_NOW)
                  : EBADMSG;

    if (err)
        return err == ETIMEDOUT ? EAGAIN : err;
    r->at = load64_relaxed(&side->at);
    compiler_barrier();
    side->hand = plait__offset_in(q->base, r) | 1;
    plait__record_set_state(r, PLAIT__RECORD_POSTING);
    err = load_relaxed(&letters->body->closed) ? EPIPE : plait__put_step(letters, r->item, r->priority);
    plait__record_set_state(r, err ? PLAIT__RECORD_LETTER : PLAIT__RECORD_POSTED);
    side->hand = 0;
    plait__side_unlock(letters, side);
    if (err == 0)
        plait__queue_signal(letters, PLAIT__GETS, 1);
    return err;
}

static void post_letters(struct plait_queue *q)
{
    struct plait__ledger *l = q->ledger;
    int err = 0;

    while (l->letters.first && err != EAGAIN) {
        uint32_t number = l->letters.first;

        err = q->dead_letters ? post(q, number) : EPIPE;
        if (err == 0) {
            plait__record_set(plait__record_at(q, number), PLAIT__RECORD_FREE, 0);
            plait__record_move(q, &l->letters, &l->free, number);
        } else if (err != EAGAIN) {
            discard(q, &l->letters, number);
        }
    }
}

/* Give back what the dead have taken. True if that makes anything to get. */
static bool look_for_deaths(struct plait_queue *q)
{
    struct plait__ledger *l = q->ledger;
    struct asked asked = { 0 };
    uint32_t before = l->returned.count;
    bool had = l->taken.count || l->letters.count;

    for (uint32_t number = l->taken.first, next; number; number = next) {
        next = plait__record_at(q, number)->next;
        if (is_lost(q, plait__record_at(q, number), &asked))
            give_back(q, number);
    }
    post_letters(q);
    had = had && plait__ledger_note_if_done(q);
    if (!had && l->returned.count == before)
        return false;
    add_seqcst(&l->returned.count, 0); /* instead of the lock's release, before the event counts are looked at */
    barrier_after_rmw();
    if (had)
        plait__ledger_tell(q);
    plait__queue_signal(q, PLAIT__GETS, l->returned.count - before);
    return l->returned.count > before;
}

bool plait__ledger_look_if_due(struct plait_queue *q)
{
    struct plait__ledger *l = q->ledger;
    plait_time_t now;

    if (!q->base || (!l->taken.count && !l->letters.count))
        return false;
    now = plait_now();
    if ((uint64_t)now - (uint64_t)l->looked < LOOK_AFTER * (uint64_t)PLAIT__MILLISECOND) /* else due, or damaged */
        return false;
    l->looked = now;
    return look_for_deaths(q);
}

void plait__ledger_glance(struct plait_queue *q)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);

    if (plait__side_lock(q, side, PLAIT_NOW) == 0) {
        plait__ledger_look_if_due(q);
        plait__side_unlock(q, side);
    }
}

/* ---- Steps ------------------------------------------------------------------------------------------------------- */

/* Who is the caller, as a record says it. */
void plait__ledger_sign(struct plait_queue *q, struct plait__record *r)
{
    struct plait__slot *self;

    if (!q->base) {
        r->thread = (uint64_t)(uintptr_t)plait__caller();
        return;
    }
    plait__member(q->base, &self); /* who has the lock is one */
    r->owner = plait__process_id();
    r->thread = plait__hold_own_name(self, 0);
    r->slot = (uint32_t)(self - plait__slot_at(q->base, 0));
    r->fiber = plait__fiber_number;
}

static void set_owner(struct plait_queue *q, struct plait__record *r)
{
    r->number = ++q->ledger->gets;
    plait__ledger_sign(q, r);
}

/* What comes again before all in the queue; 0: none does. */
static uint32_t first_returned(struct plait_queue *q)
{
    uint32_t first = q->ledger->returned.first;
    int64_t priority, key = 0;

    if (!first || q->body->kind != PLAIT_PRIORITY)
        return first;
    for (uint32_t number = first; number; number = plait__record_at(q, number)->next) {
        int64_t other = plait__pile_key(q, plait__record_at(q, number)->priority);

        if (number == first || other < key) {
            first = number;
            key = other;
        }
    }
    return plait__pile_first_priority(q, &priority) == 0 && plait__pile_key(q, priority) < key ? 0 : first;
}

static int look_at_message(struct plait_queue *q, const struct plait__record *r, size_t room, size_t *size_out)
{
    uint64_t place;

    if (!q->is_message)
        return 0;
    memcpy(&place, r->item, sizeof place);
    return plait__parcel_look(q, place, room, size_out);
}

static int take_again(struct plait_queue *q, uint32_t number, size_t room, size_t *size_out)
{
    struct plait__record *r = plait__record_at(q, number);
    int err = look_at_message(q, r, room, size_out);

    if (err)
        return err;
    set_owner(q, r);
    plait__record_set_state(r, PLAIT__RECORD_TAKEN);
    plait__record_move(q, &q->ledger->returned, &q->ledger->taken, number);
    return 0;
}

static int take_new(struct plait_queue *q, void *item, bool far, size_t room, size_t *size_out)
{
    struct plait__ledger *l = q->ledger;
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);
    struct plait__record *r;
    uint32_t number;
    int err = plait__look(q, far ? PLAIT__LAST : PLAIT__NEXT) ? plait__records_reach(q) : EAGAIN;

    if (err)
        return err;
    number = l->free.first;
    r = plait__record_at(q, number);
    err = plait__peek_at(q, r->item, far);
    if (err == 0)
        err = look_at_message(q, r, room, size_out);
    if (err)
        return err;
    if (q->body->kind == PLAIT_PRIORITY)
        plait__pile_first_priority(q, &r->priority);
    set_owner(q, r);
    if (q->base) {
        r->at = load64_relaxed(&side->at);
        compiler_barrier();
        side->hand = plait__offset_in(q->base, r) | 1;
    }
    plait__record_set_state(r, PLAIT__RECORD_TAKING);
    err = plait__get_at(q, item, NULL, far); /* 0: it is there, and the lock is held */
    plait__record_set_state(r, PLAIT__RECORD_TAKEN);
    side->hand = 0;
    plait__record_move(q, &l->free, &l->taken, number);
    return err;
}

struct plait_ticket plait__ledger_ticket(const struct plait_queue *q, uint32_t number)
{
    const struct plait__record *r = plait__record_at(q, number);

    return (struct plait_ticket){
        .number = r->number, .record = number, .redelivered = plait__record_deaths(r), .priority = r->priority
    };
}

int plait__ledger_take(struct plait_queue *q, void *item, bool far, size_t room, size_t *size_out,
                       struct plait_ticket *ticket_out)
{
    struct plait__ledger *l = q->ledger;
    struct plait__record *r;
    uint32_t again = first_returned(q);
    int err;

    if (!again && l->gets % LOOK_GETS == 0 && plait__ledger_look_if_due(q))
        again = first_returned(q);
    err = again ? take_again(q, again, room, size_out) : take_new(q, item, far, room, size_out);
    if (err == EAGAIN && plait__ledger_look_if_due(q))
        err = take_again(q, first_returned(q), room, size_out);
    if (err)
        return err;
    r = plait__record_at(q, l->taken.last);
    if (plait__record_deaths(r))
        memcpy(item, r->item, q->item_size);
    if (q->is_message)
        plait__parcel_at(q, *(const uint64_t *)(const void *)r->item)->hold = PLAIT__PARCEL_RECORDED;
    if (ticket_out)
        *ticket_out = plait__ledger_ticket(q, l->taken.last);
    return 0;
}

int plait__ledger_peek(struct plait_queue *q, void *item)
{
    uint32_t again = first_returned(q);
    int err = again ? 0 : plait__peek_step(q, item);

    if (err == EAGAIN && plait__ledger_look_if_due(q)) {
        again = first_returned(q);
        err = 0;
    }
    if (again)
        memcpy(item, plait__record_at(q, again)->item, q->item_size);
    return err;
}

size_t plait__ledger_copy(struct plait_queue *q, void *items, size_t max)
{
    size_t count = 0;

    for (uint32_t number = q->ledger->returned.first; number && count < max; number = plait__record_at(q, number)->next)
        memcpy((char *)items + count++ * q->item_size, plait__record_at(q, number)->item, q->item_size);
    return count;
}

int plait__take_slowly(struct plait_queue *q, void *item, int64_t *priority_out, struct plait_ticket *ticket_out, bool far)
{
    struct plait_ticket ticket;
    int err;

    if (!q->ledger)
        return plait__get_at(q, item, priority_out, far);
    err = plait__ledger_take(q, item, far, SIZE_MAX, NULL, &ticket);
    if (err == 0 && priority_out)
        *priority_out = ticket.priority;
    if (err == 0 && ticket_out)
        *ticket_out = ticket;
    return err;
}

/* ---- Repair ------------------------------------------------------------------------------------------------------ */

static bool is_of_post(struct plait__record *r)
{
    return plait__record_state_of(r) == PLAIT__RECORD_POSTING || plait__record_state_of(r) == PLAIT__RECORD_POSTED;
}

/* So that the other side's `hand` names none of our records. */
static void settle_post(struct plait_queue *q)
{
    struct plait__queue_side *side;

    if (q->dead_letters && load_acquire(&q->dead_letters->body->magic) == PLAIT__QUEUE_MAGIC) {
        side = plait__side(q->dead_letters, PLAIT__PUTS);
        if (plait__side_lock(q->dead_letters, side, PLAIT_FOREVER) == 0)
            plait__side_unlock(q->dead_letters, side);
    }
}

int plait__ledger_repair(struct plait_queue *q)
{
    bool posting = false;
    int err;

    plait__arena_settle(q->base);
    for (uint64_t number = 1; number <= plait__records_ready(q); number++)
        posting = posting || is_of_post(plait__record_at(q, (uint32_t)number));
    if (posting)
        settle_post(q);
    err = plait__records_find_lists(q);
    if (err == 0) {
        q->ledger->looked = 0;
        if (plait__ledger_note_if_done(q))
            plait__ledger_tell(q);
    }
    return err;
}
