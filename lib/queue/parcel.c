/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A message that is not short (mail.c) lies in a block of its own, a parcel, and the queue's item says its place. Whose is the
 * block? In a private queue, of the queue or of the caller, and nobody dies. In a shared one a parcel in somebody's hands stands
 * in a hold (arena/holds.h) that outlives its thread: `other` is its place, `number` the process, and `state` says how that is to
 * be taken:
 *
 *     EMPTY   `other` means nothing
 *     OWNED   the parcel at `other` (0: none) is this process's: allocated into it, freed from it, one step with the block each
 *     GIVING  a put of it is under way: it is the process's, until the put takes effect
 *     TAKING  a get of it is under way: it is the queue's, until the get takes effect
 *
 * GIVING and TAKING exist only while the side's lock is held, whose `hand` says which hold it is, and `next` of the hold
 * where the side was (`at`) before the step. If the holder dies, the next one to take the lock first repairs the side, and then
 * sees whether `at` is another: then the step has taken effect. So it settles whose the parcel is, before anybody makes another
 * step. The hold may have got another owner by then; but that one cannot be GIVING or TAKING without the lock.
 *
 * Order of stores, kept by compiler barriers: put: `next`, `hand`, GIVING, the step, drop the hold, no `hand`. Take: `other`,
 * `next`, `hand`, TAKING, the step, OWNED, no `hand`. Before TAKING the hold is EMPTY, so its `other` is not believed.
 *
 * `state` and `next` are relaxed: they are read by the process itself, which hands messages from thread to thread by means of its own, or
 * of the dead, by who has taken the lock from them or knows from the kernel that they are dead.
 *
 * What the dead had OWNED is freed by whoever finds no memory, and when the queue ends (settle): with both locks held, so
 * that no dead one's hold is GIVING or TAKING, after the allocator has settled its own step.
 *
 * A parcel is published as items are (E1 of fifo.c, the lock of a pile); so its bytes are.
 *
 * tests/models/parcel.pml is a model of it.
 */
#include "queue/parcel.h"

#include <errno.h>
#include <stdlib.h>

#include "arena/start_time.h"
#include "queue/steps.h"

static uint64_t name_of(const struct plait_queue *q)
{
    return plait__hold_of(plait__offset_in(q->base, q->body), PLAIT__HOLD_PERMIT);
}

static bool is_of(const struct plait_queue *q, const struct plait__hold *hold)
{
    return plait__hold_strip(load64_acquire(&hold->name)) == name_of(q);
}

static void set_state(struct plait__hold *hold, enum plait__hand_state state)
{
    compiler_barrier();
    store_relaxed(&hold->state, state);
    compiler_barrier();
}

/* A hold's memory, NULL: there can be none. */
static struct plait__hold *hold_at(const struct plait_queue *q, uint64_t offset)
{
    if (offset % sizeof(uint64_t) || offset < plait__slots_offset() ||
        offset > load64_acquire(&q->base->top) - sizeof(struct plait__hold))
        return NULL;
    return plait__at(q->base, offset);
}

/* ---- Hands ----------------------------------------------------------------------------------------------------- */

static int take_hold(struct plait_queue *q, struct plait__hand *hand, enum plait__hand_state state)
{
    struct plait__hold contents = { .number = plait__process_id(), .state = state };
    struct plait__slot *self;
    int err = plait__member(q->base, &self);

    return err ? err : plait__hold_take(q->base, self, name_of(q), &contents, &hand->hold);
}

int plait__hand_open(struct plait_queue *q, struct plait__hand *hand)
{
    *hand = (struct plait__hand){ 0 };
    return q->base ? take_hold(q, hand, PLAIT__HAND_EMPTY) : 0;
}

static int allocate(struct plait_queue *q, size_t size, struct plait__hand *hand)
{
    size_t total = sizeof(struct plait__parcel) + size;

    if (size > PTRDIFF_MAX - sizeof(struct plait__parcel))
        return q->base ? ENOSPC : ENOMEM;
    if (!q->base) {
        hand->place = (uint64_t)(uintptr_t)malloc(total);
        return hand->place ? 0 : ENOMEM;
    }
    return plait__arena_alloc_into(q->base, total, &hand->hold->other);
}

int plait__hand_fill(struct plait_queue *q, size_t size, struct plait__hand *hand)
{
    struct plait__parcel *parcel;
    int err;

    *hand = (struct plait__hand){ 0 };
    err = q->base ? take_hold(q, hand, PLAIT__HAND_OWNED) : 0;
    if (err)
        return err;
    err = allocate(q, size, hand);
    if (err) {
        plait__hand_drop(q, hand);
        return err;
    }
    parcel = plait__parcel_at(q, plait__hand_place(hand));
    parcel->room = parcel->size = size;
    parcel->priority = 0;
    parcel->hold = q->base ? plait__offset_in(q->base, hand->hold) : 0;
    return 0;
}

int plait__hand_make(struct plait_queue *q, size_t size, struct plait__hand *hand)
{
    int err = plait__hand_fill(q, size, hand);

    if (__builtin_expect(err == ENOSPC, 0)) {
        plait__hands_settle(q);
        err = plait__hand_fill(q, size, hand);
    }
    return err;
}

int plait__hand_find(struct plait_queue *q, const void *data, struct plait__hand *hand)
{
    const struct plait__parcel *parcel;
    uint64_t place;

    *hand = (struct plait__hand){ 0 };
    if (!data)
        return EINVAL;
    place = (uint64_t)((uintptr_t)data - sizeof *parcel - (uintptr_t)q->base - q->skew);
    parcel = plait__parcel_at(q, place);
    if (!q->base) {
        hand->place = place;
        return parcel->hold == PLAIT__PARCEL_RECORDED ? EINVAL : 0;
    }
    if (!plait__queue_is_block(q, place, sizeof *parcel))
        return EINVAL;
    hand->hold = hold_at(q, parcel->hold);
    if (!hand->hold || !is_of(q, hand->hold) || hand->hold->other != place ||
        load_relaxed(&hand->hold->state) != PLAIT__HAND_OWNED)
        return EINVAL;
    return hand->hold->number == plait__process_id() ? 0 : EPERM;
}

void plait__hand_drop(struct plait_queue *q, struct plait__hand *hand)
{
    if (!q->base) {
        free((void *)(uintptr_t)hand->place);
    } else if (hand->hold) {
        if (load_relaxed(&hand->hold->state) == PLAIT__HAND_OWNED)
            plait__arena_dealloc_from(q->base, &hand->hold->other);
        plait__hold_drop(hand->hold);
    }
    *hand = (struct plait__hand){ 0 };
}

/* ---- Steps ----------------------------------------------------------------------------------------------------- */

/* Not inlined: the compiler would think of items of other sizes than this has, and warn. */
static __attribute__((noinline)) int put_mail(struct plait_queue *q, const struct plait__outgoing *mail, int64_t priority, bool far)
{
    return plait__put_at(q, mail, priority, far);
}

static void begin_step(struct plait_queue *q, struct plait__queue_side *side, struct plait__hold *hold,
                       enum plait__hand_state state)
{
    store64_relaxed(&hold->next, load64_relaxed(&side->at));
    compiler_barrier();
    side->hand = plait__offset_in(q->base, hold);
    set_state(hold, state);
}

static void end_step(struct plait__queue_side *side)
{
    compiler_barrier();
    side->hand = 0;
}

int plait__hand_put(struct plait_queue *q, struct plait__hand *hand, int64_t priority, bool far)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__PUTS);
    struct plait__outgoing mail = { .label = plait__hand_place(hand) };
    int err;

    if (hand->hold)
        begin_step(q, side, hand->hold, PLAIT__HAND_GIVING);
    err = put_mail(q, &mail, priority, far);
    if (hand->hold) {
        if (err)
            set_state(hand->hold, PLAIT__HAND_OWNED);
        else
            plait__hold_drop(hand->hold);
        end_step(side);
    }
    if (err == 0)
        *hand = (struct plait__hand){ 0 };
    return err;
}

/* Is there a parcel? */
static bool is_sound(const struct plait_queue *q, uint64_t place)
{
    const struct plait__parcel *parcel = plait__parcel_at(q, place);

    if (!q->base)
        return true;
    return plait__queue_is_block(q, place, sizeof *parcel) && parcel->size <= parcel->room &&
           parcel->room < q->base->limit && plait__queue_is_block(q, place, sizeof *parcel + parcel->room);
}

int plait__parcel_look(const struct plait_queue *q, uint64_t place, size_t room, size_t *size_out)
{
    if (!is_sound(q, place))
        return EBADMSG;
    *size_out = plait__parcel_at(q, place)->size;
    return *size_out > room ? EMSGSIZE : 0;
}

void plait__hand_take(struct plait_queue *q, struct plait__hand *hand, struct plait__mail *mail, uint64_t place,
                      enum plait__queue_from from)
{
    struct plait__queue_side *side = plait__side(q, PLAIT__GETS);

    if (hand->hold) {
        hand->hold->other = place;
        begin_step(q, side, hand->hold, PLAIT__HAND_TAKING);
    } else {
        hand->place = place;
    }
    plait__take_out(q, mail, from);
    if (hand->hold) {
        set_state(hand->hold, PLAIT__HAND_OWNED);
        end_step(side);
        plait__parcel_at(q, place)->hold = plait__offset_in(q->base, hand->hold);
    }
}

/* ---- After deaths ---------------------------------------------------------------------------------------------- */

void plait__hand_repair(struct plait_queue *q, struct plait__queue_side *side)
{
    struct plait__hold *hold = side->hand ? hold_at(q, side->hand) : NULL;

    if (hold && is_of(q, hold)) {
        bool happened = load64_relaxed(&hold->next) != load64_relaxed(&side->at);
        uint32_t state = load_relaxed(&hold->state);

        if (state == PLAIT__HAND_GIVING && happened)
            plait__hold_drop(hold);
        else if (state == PLAIT__HAND_GIVING)
            set_state(hold, PLAIT__HAND_OWNED);
        else if (state == PLAIT__HAND_TAKING)
            set_state(hold, happened ? PLAIT__HAND_OWNED : PLAIT__HAND_EMPTY);
    }
    end_step(side);
}

void plait__hands_settle(struct plait_queue *q)
{
    struct plait__holds_walk walk = plait__holds_of(q->base, name_of(q));
    struct plait__hold *hold;

    if (plait__sides_lock(q) != 0)
        return;
    if (plait__arena_settle(q->base) == 0)
        while ((hold = plait__holds_next(&walk)))
            if (plait__holds_is_lost(&walk, hold))
                plait__hand_drop(q, &(struct plait__hand){ .hold = hold });
    plait__sides_unlock(q);
}

void plait__hands_forget(struct plait_queue *q)
{
    plait__holds_forget(q->base, name_of(q));
}

void plait__parcels_unmake(struct plait_queue *q)
{
    struct plait__hold *hold;
    struct plait__mail *mail;
    uint64_t *place = &q->body->put.hand; /* what is freed must be named in the arena */

    while ((mail = plait__look(q, PLAIT__NEXT))) {
        uint64_t label = load64_relaxed(&mail->label); /* relaxed: nobody else is here */

        *place = plait__label_is_slip(label) ? 0 : label;
        compiler_barrier();
        plait__take_out(q, mail, PLAIT__NEXT);
        plait__memory_free(q->base, place);
    }
    if (q->base) {
        struct plait__holds_walk walk = plait__holds_of(q->base, name_of(q));

        while ((hold = plait__holds_next(&walk)))
            plait__hand_drop(q, &(struct plait__hand){ .hold = hold });
    }
}
