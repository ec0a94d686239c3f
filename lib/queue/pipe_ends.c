/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Who holds an end of a shared pipe says so in a hold (arena/holds.h), one for each handle, that outlives its thread:
 *
 *     state    0: not yet (whoever is about to open); else HOLDER, the side, and
 *              GIVEN: by another process, in whose slot it is; LEAVING: closed, but the handle is not freed yet
 *     number   the process that it belongs to (start_time.h)
 *     other    which handle of the process it is, among all that there were
 *
 * The states of the ends say what has become of them:
 *
 *     UNOPENED -> OPEN          open: after the hold says HOLDER
 *     OPEN     -> CLOSED        close: before the hold is dropped, if no other holder lives
 *     OPEN     -> DEAD          whoever finds no holder who lives
 *
 * All this is changed with the arena's lock held, and each change is one store; so there is nothing to repair. Killed at
 * any instruction: a holder that is lost is dropped by the next survey, and an end without holders is DEAD from then on. Killed in open
 * before the store of OPEN: as if it had not come. Killed in close before CLOSED: DEAD; after it, before the wake: sleepers look by
 * slices. Killed in between unname, the end of the magic number and the release of memory: memory is lost, as with any
 * object that is killed while it is being destroyed; nobody finds it any more.
 *
 * Who closes keeps its hold, as LEAVING, until the handle is freed: calls with it may be under way, and whoever drops the last
 * hold ends the pipe and frees what they sleep on. An end that is over stays so; so once both are, no holder can come, and the one who
 * finds himself alone then is the last.
 *
 * A child of fork has a copy of the handle, with another epoch than the one in it: plait__pipe_adopt takes a hold for it.
 *
 * Is the other end's last holder dead? All holds would have to be looked at; instead a handle remembers one thread that has a hold of that
 * end, its witness, in one word:
 *
 *     bits 0-15   its slot
 *     bits 16-39  low bits of the slot's generation
 *     bits 40-62  low bits of `changes`
 *     bit  63     always 1
 *
 * As long as that thread lives and nobody has let go of any end, the end is held. That is three loads of words that nobody
 * writes. Otherwise the holds are looked at, without the lock; only if no holder lives, with it. Without a witness (the thread that opened
 * has ended before its process; a hold that was given; no robust lists) the look asks /proc, and is made every 50 ms.
 *
 * E1: who makes an end over stores its state with release; nobody sends from it any more (the dead's messages were committed
 * under locks that the next holder takes from them). So who acquires the state and then finds no message knows that none will
 * come. The store is followed by wakes that change the words slept on (a read-modify-write), and who sleeps has announced itself there
 * before its last look at the state (wait/eventcount.h): no wake is lost.
 * E2: `changes` is counted up after a hold was dropped, released; a witness was found after `changes` was acquired.
 * E3: the hold is ours before the epoch says so.
 */
#include "queue/pipe.h"

#include <errno.h>
#include <string.h>

#include "arena/member.h"
#include "arena/start_time.h"
#include "base/clock.h"
#include "queue/side.h"

enum { HOLDER = 0x50697000, RIGHT = 1, GIVEN = 2, LEAVING = 4 }; /* of hold.state; no other object's holds have this */
enum { LOOK_PAUSE = 50 };                             /* milliseconds */

#define WITNESS ((uint64_t)1 << 63)
enum { SLOT_BITS = 16, GENERATION_BITS = 24, CHANGES_BITS = 23 };

static uint64_t name_of(const plait_pipe_t *pipe)
{
    return plait__hold_of(plait__offset_in(pipe->base, pipe->body), PLAIT__HOLD_PERMIT);
}

/* Does it bind anybody to the pipe? Relaxed, here and below: the name was acquired, or the lock is held. */
static bool is_bound(const struct plait__hold *hold)
{
    return (load_relaxed(&hold->state) & ~(uint32_t)(RIGHT | GIVEN | LEAVING)) == HOLDER;
}

static bool is_holder(const struct plait__hold *hold)
{
    return is_bound(hold) && !(load_relaxed(&hold->state) & LEAVING);
}

static enum plait_pipe_side side_of(const struct plait__hold *hold)
{
    return load_relaxed(&hold->state) & RIGHT ? PLAIT_PIPE_RIGHT : PLAIT_PIPE_LEFT;
}

static bool is_given(const struct plait__hold *hold)
{
    return load_relaxed(&hold->state) & GIVEN;
}

/* Is nobody left for whom this holder stands? Of what was given the slot says nothing. */
static bool is_lost(const struct plait__holds_walk *walk, const struct plait__hold *hold)
{
    return is_given(hold) ? plait__process_is_dead(load64_relaxed(&hold->number)) : plait__holds_is_lost(walk, hold);
}

/* ---- With the arena's lock held -------------------------------------------------------------------------------- */

/* Is it still the pipe that the handle was made for? */
static bool is_there(const plait_pipe_t *pipe)
{
    const struct plait__pipe_body *b = pipe->body;

    return plait__arena_block_is_used(pipe->base, plait__offset_in(pipe->base, b), sizeof *b) &&
           load_acquire(&b->magic) == PLAIT__PIPE_MAGIC && b->id == pipe->id;
}

static void drop(struct plait__pipe_body *b, struct plait__hold *hold)
{
    plait__hold_drop(hold);
    store_release(&b->changes, load_relaxed(&b->changes) + 1); /* E2 */
}

/* Who has something to do with the pipe, but for one hold: holders by their sides, and all who have a handle. */
struct others {
    unsigned held[2], bound;
};

/* Drop the lost, count the others; an end without any holder is dead. True: an end died. */
static bool survey(plait_pipe_t *pipe, const struct plait__hold *self, struct others *others)
{
    struct plait__holds_walk walk = plait__holds_of(pipe->base, name_of(pipe));
    struct plait__pipe_body *b = pipe->body;
    struct plait__hold *hold;
    bool died = false;

    *others = (struct others){ 0 };
    while ((hold = plait__holds_next(&walk))) {
        if (hold == self || !is_bound(hold))
            continue;
        if (is_lost(&walk, hold)) {
            drop(b, hold);
            continue;
        }
        others->bound++;
        others->held[side_of(hold)] += is_holder(hold);
    }
    for (int i = 0; i < 2; i++)
        if (load_relaxed(&b->state[i]) == PLAIT_PIPE_OPEN && others->held[i] == 0 &&
            !(self && is_holder(self) && (int)side_of(self) == i)) {
            store_release(&b->state[i], PLAIT_PIPE_DEAD); /* E1 */
            died = true;
        }
    return died;
}

/* What was given to this process, of the handle's end. */
static struct plait__hold *find_given(const plait_pipe_t *pipe)
{
    struct plait__holds_walk walk = plait__holds_of(pipe->base, name_of(pipe));
    uint64_t process = plait__process_id();
    struct plait__hold *hold;

    while ((hold = plait__holds_next(&walk)))
        if (is_holder(hold) && is_given(hold) && side_of(hold) == pipe->side && load64_relaxed(&hold->number) == process)
            return hold;
    return NULL;
}

static bool is_ours(const plait_pipe_t *pipe)
{
    return load_relaxed(&pipe->epoch) == plait__fork_epoch(); /* relaxed: the lock is held */
}

/* The hold of this handle; NULL: it has none, as it is a copy in a child, or the pipe has ended. */
static struct plait__hold *hold_of(const plait_pipe_t *pipe)
{
    struct plait__hold *hold = pipe->hold;

    if (!is_ours(pipe) || plait__hold_strip(load64_acquire(&hold->name)) != name_of(pipe) || !is_bound(hold) ||
        load64_relaxed(&hold->other) != pipe->token)
        return NULL;
    return hold;
}

static void take_over(plait_pipe_t *pipe, struct plait__hold *hold)
{
    pipe->hold = hold;
    pipe->token = load64_relaxed(&hold->other);
    store64_relaxed(&pipe->witness, 0); /* a parent's, perhaps; relaxed: a hint */
    store_release(&pipe->epoch, plait__fork_epoch_renew()); /* E3 */
}

/* What had been given to this process is its own now. */
static void claim(plait_pipe_t *pipe, struct plait__hold *hold)
{
    struct plait__hold *given;

    store_relaxed(&hold->state, HOLDER | (pipe->side == PLAIT_PIPE_RIGHT ? RIGHT : 0));
    compiler_barrier();
    store_release(&pipe->body->state[pipe->side], PLAIT_PIPE_OPEN);
    take_over(pipe, hold);
    given = find_given(pipe);
    if (given)
        drop(pipe->body, given);
}

static bool both_are_over(const struct plait__pipe_body *b)
{
    return plait__pipe_is_over(load_relaxed(&b->state[0])) && plait__pipe_is_over(load_relaxed(&b->state[1]));
}

/* Nobody finds it from now on. */
static void vanish(struct plait__pipe_body *b, struct plait__arena_header *h)
{
    if (b->name[0] && strnlen(b->name, sizeof b->name) < sizeof b->name)
        plait__arena_unname(h, b->name, plait__offset_in(h, b));
    compiler_barrier();
    store_release(&b->magic, 0);
}

/* ---- Opening --------------------------------------------------------------------------------------------------- */

/* A hold that says nothing as yet. Before the lock, as it may need memory of the arena. */
static int prepare(const plait_pipe_t *pipe, uint64_t process, struct plait__hold **hold_out)
{
    static uint64_t count;
    struct plait__hold contents = { .number = process };
    struct plait__slot *self;
    int err = plait__member(pipe->base, &self);

    contents.other = (add64_relaxed(&count, 1) << PLAIT__TID_BITS) ^ plait__process_id(); /* relaxed: distinct is all */
    return err ? err : plait__hold_take(pipe->base, self, name_of(pipe), &contents, hold_out);
}

/* Can those ends be held? */
static int may_hold(plait_pipe_t *const ends[2], bool *abandoned_out)
{
    plait_pipe_t *any = ends[0] ? ends[0] : ends[1];
    struct others others;

    *abandoned_out = false;
    if (!is_there(any))
        return EBADMSG;
    survey(any, NULL, &others);
    for (int i = 0; i < 2; i++)
        if (ends[i] && plait__pipe_is_over(load_relaxed(&any->body->state[i]))) {
            *abandoned_out = others.bound == 0;
            return EPIPE;
        }
    return 0;
}

int plait__pipe_hold_ends(plait_pipe_t *ends[2], bool *abandoned_out)
{
    struct plait__arena_header *h = ends[0] ? ends[0]->base : ends[1]->base;
    struct plait__hold *holds[2] = { NULL, NULL };
    int err = 0;

    *abandoned_out = false;
    for (int i = 0; i < 2 && err == 0; i++)
        if (ends[i])
            err = prepare(ends[i], plait__process_id(), &holds[i]);
    if (err == 0)
        err = plait__arena_lock(h);
    if (err == 0) {
        err = may_hold(ends, abandoned_out);
        for (int i = 0; i < 2 && err == 0; i++)
            if (ends[i])
                claim(ends[i], holds[i]);
        plait__arena_unlock(h);
    }
    for (int i = 0; i < 2 && err; i++)
        if (holds[i])
            plait__hold_drop(holds[i]);
    return err;
}

int plait__pipe_adopt(plait_pipe_t *pipe)
{
    plait_pipe_t *ends[2] = { NULL, NULL };
    struct plait__hold *hold;
    bool abandoned, needless = true;
    int err = prepare(pipe, plait__process_id(), &hold);

    if (err)
        return err;
    err = plait__arena_lock(pipe->base);
    if (err == 0) {
        if (!is_ours(pipe)) { /* else another thread was faster */
            ends[pipe->side] = pipe;
            err = may_hold(ends, &abandoned);
            needless = err != 0;
        }
        if (!needless)
            claim(pipe, hold);
        plait__arena_unlock(pipe->base);
    }
    if (needless)
        plait__hold_drop(hold);
    return err == EBADMSG ? EPIPE : err; /* it has ended: its last holder closed it */
}

int plait_pipe_give(plait_pipe_t *pipe, pid_t pid)
{
    uint64_t process = pipe->base && pid > 0 ? plait__process_id_of((uint32_t)pid) : 0;
    struct plait__hold *hold;
    int err = pipe->base ? plait__pipe_enter(pipe) : EINVAL;

    if (err == 0 && process == 0)
        err = ESRCH;
    if (err == 0)
        err = prepare(pipe, process, &hold);
    if (err)
        return err;
    err = plait__arena_lock(pipe->base);
    if (err == 0) {
        struct plait__holds_walk walk = plait__holds_of(pipe->base, name_of(pipe));
        struct plait__hold *other;
        bool has_it = hold_of(pipe) == NULL; /* closed meanwhile */

        err = has_it ? EPIPE : 0;
        while (!has_it && (other = plait__holds_next(&walk)))
            has_it = other != hold && is_holder(other) && side_of(other) == pipe->side &&
                     load64_relaxed(&other->number) == process;
        if (has_it)
            plait__hold_drop(hold);
        else
            store_relaxed(&hold->state, HOLDER | GIVEN | (pipe->side == PLAIT_PIPE_RIGHT ? RIGHT : 0));
        plait__arena_unlock(pipe->base);
    } else {
        plait__hold_drop(hold);
    }
    return err;
}

/* ---- Letting go ------------------------------------------------------------------------------------------------ */

static void wake_at(struct plait_queue *q)
{
    if (!q)
        return;
    plait__eventcount_broadcast(&q->body->items, plait__queue_flags(q));
    plait__eventcount_broadcast(&q->body->room, plait__queue_flags(q));
}

void plait__pipe_wake(plait_pipe_t *pipe)
{
    wake_at(pipe->in);
    wake_at(pipe->out);
}

int plait__pipe_let_go(plait_pipe_t *pipe)
{
    uint32_t *state = &pipe->body->state[pipe->side];
    struct plait__hold *hold = NULL;
    struct others others;
    int err = plait__arena_lock(pipe->base);

    if (err)
        return err;
    if (is_there(pipe) && !is_ours(pipe) && (hold = find_given(pipe)))
        take_over(pipe, hold);
    hold = is_there(pipe) ? hold_of(pipe) : NULL;
    if (hold && is_holder(hold)) {
        survey(pipe, hold, &others);
        if (others.held[pipe->side] == 0 && load_relaxed(state) == PLAIT_PIPE_OPEN)
            store_release(state, PLAIT_PIPE_CLOSED); /* E1 */
        compiler_barrier();
        store_relaxed(&hold->state, load_relaxed(&hold->state) | LEAVING);
        store_release(&pipe->body->changes, load_relaxed(&pipe->body->changes) + 1); /* E2 */
    }
    plait__arena_unlock(pipe->base);
    if (hold)
        plait__pipe_wake(pipe);
    return 0;
}

int plait__pipe_leave(plait_pipe_t *pipe, bool *last_out)
{
    struct plait__hold *hold;
    struct others others;
    int err = plait__arena_lock(pipe->base);

    *last_out = false;
    if (err)
        return err;
    hold = is_there(pipe) ? hold_of(pipe) : NULL;
    if (hold) {
        survey(pipe, hold, &others);
        *last_out = both_are_over(pipe->body) && others.bound == 0;
        if (*last_out)
            vanish(pipe->body, pipe->base);
        drop(pipe->body, hold);
    }
    plait__arena_unlock(pipe->base);
    return 0;
}

bool plait__pipe_end(plait_pipe_t *pipe, bool by_force)
{
    struct others others;
    bool ends = false;

    if (plait__arena_lock(pipe->base) != 0)
        return false;
    if (is_there(pipe)) {
        survey(pipe, NULL, &others);
        ends = by_force || others.bound == 0;
    }
    if (ends) {
        vanish(pipe->body, pipe->base);
        plait__holds_end(pipe->base, name_of(pipe));
    }
    plait__arena_unlock(pipe->base);
    return ends;
}

/* ---- Looking for deaths ---------------------------------------------------------------------------------------- */

static uint64_t bits(uint64_t value, unsigned count)
{
    return value & (((uint64_t)1 << count) - 1);
}

static uint64_t witness_in(uint32_t number, uint32_t generation, uint32_t changes)
{
    return WITNESS | bits(changes, CHANGES_BITS) << (SLOT_BITS + GENERATION_BITS) |
           bits(generation, GENERATION_BITS) << SLOT_BITS | number;
}

/* A thread's life word is looked at before the generation (E3 of holds.c). */
static bool testifies(const plait_pipe_t *pipe, uint64_t witness)
{
    uint32_t number = (uint32_t)bits(witness, SLOT_BITS), changes = load_acquire(&pipe->body->changes); /* E2 */
    const struct plait__slot *slot;

    if (number >= pipe->base->participants)
        return false;
    slot = plait__slot_at(pipe->base, number);
    if (plait__slot_is_empty(slot))
        return false;
    return witness == witness_in(number, load_acquire(&slot->generation), changes);
}

/* Does anybody hold the other end? *witness_out: a thread that does; 0: none that can be asked in this way. */
static bool is_held(const plait_pipe_t *pipe, uint64_t *witness_out)
{
    struct plait__holds_walk walk = plait__holds_of(pipe->base, name_of(pipe));
    uint32_t changes = load_acquire(&pipe->body->changes); /* E2 */
    struct plait__hold *hold;
    bool held = false;

    *witness_out = 0;
    while ((hold = plait__holds_next(&walk))) {
        uint32_t generation = load_acquire(&walk.slot->generation);

        if (!is_holder(hold) || side_of(hold) == pipe->side || is_lost(&walk, hold))
            continue;
        held = true;
        if (is_given(hold) || (pipe->base->flags & PLAIT__ARENA_NO_LISTS) || plait__holds_is_orphan(&walk))
            continue;
        *witness_out = witness_in(walk.slot_number - 1, generation, changes);
        return true;
    }
    return held;
}

static __attribute__((noinline)) bool look_at_all(plait_pipe_t *pipe)
{
    struct others others;
    uint64_t witness;
    bool died;

    if (is_held(pipe, &witness)) {
        store64_relaxed(&pipe->witness, witness);
        return false;
    }
    if (plait__arena_lock(pipe->base) != 0)
        return false;
    died = survey(pipe, NULL, &others);
    plait__arena_unlock(pipe->base);
    if (died)
        plait__pipe_wake(pipe);
    return plait__pipe_is_over(load_acquire(&pipe->body->state[plait__pipe_other(pipe)])); /* E1 */
}

bool plait__pipe_look(plait_pipe_t *pipe)
{
    uint64_t witness = load64_relaxed(&pipe->witness); /* relaxed, as look_at: a hint, which says itself what it is good for */

    if (__builtin_expect(witness != 0, 1)) {
        if (__builtin_expect(testifies(pipe, witness), 1))
            return false;
    } else if ((uint64_t)plait_now() < load64_relaxed(&pipe->look_at)) {
        return false;
    }
    store64_relaxed(&pipe->look_at, (uint64_t)(plait_now() + LOOK_PAUSE * PLAIT__MILLISECOND));
    store64_relaxed(&pipe->witness, 0);
    return look_at_all(pipe);
}

enum plait_pipe_state plait_pipe_peer(plait_pipe_t *pipe)
{
    if (plait__pipe_enter(pipe) == 0)
        plait__pipe_peer_is_over(pipe);
    else if (!load_relaxed(&pipe->closed)) /* a child's copy, of an end that is over, or could not be taken */
        return PLAIT_PIPE_CLOSED;
    return (enum plait_pipe_state)load_acquire(&pipe->body->state[plait__pipe_other(pipe)]);
}
