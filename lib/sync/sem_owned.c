/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A thread that acquires says in a hold (arena/holds.h) how many permits, and of which process. The holds are the truth; the
 * value in the word is what they leave of the total, a cache. Everything that changes either does so with a guard held, a
 * robust lock; it lies in a block of its own, as a semaphore has no room for one.
 *
 *     word    bits 0-28  the value
 *             bit 30     SLEEPERS  somebody sleeps, or may
 *             bit 31     always 1: what is inlined in the header steps aside
 *
 * settle() counts anew: it drops the holds of processes that are dead, and gives what is left of the total to the word. Whoever
 * gets the guard from a dead holder does so, and whoever finds too few permits: at first and after each slice of time,
 * but for all sleepers together not more often than every 50 ms. It may be killed and repeated.
 *
 * Whose is a hold? Its thread's process's, told by process id and start time, so that any thread of it may release. While the
 * thread lives, nothing is asked. If the kernel has marked it as dead, its process is: threads leave before they
 * end. If it has left, or its slot has another owner since, the process is looked up in /proc. (What a program
 * that calls exec had, comes back at once, or if its slot was taken over meanwhile, when that program ends.)
 *
 * No wake is lost: a sleeper sets SLEEPERS with the guard held, and sleeps on the word as it then was. A release takes the
 * flag off and wakes as many as it gave permits (all, if one wants several); so who has slept sets it again when it
 * takes permits or leaves, and wakes one more if any are left.
 *
 * Killed at any instruction: acquire and release change holds first, then the word. In between, the guard tells the next.
 * Killed between its change and its wake: the slices.
 *
 * E1: the guard orders everything here; the word is read without it, to sleep on and as a number.
 */
#include "sync/sem_owned.h"

#include <errno.h>
#include <limits.h>

#include <plait/cancel.h>

#include "arena/arena.h"
#include "arena/holds.h"
#include "arena/member.h"
#include "arena/start_time.h"
#include "base/clock.h"
#include "sync/lock.h"
#include "wait/robust.h"
#include "wait/waitable.h"
#include "wait/waiting.h"

#define VALUE PLAIT_SEM_MAX
#define SLEEPERS 0x40000000u
#define NOT_INLINED 0x80000000u

enum { SETTLE_PAUSE = 50, SETTLE_ANY = 400 }; /* milliseconds */

/* The block. */
struct owned {
    plait_lock_t guard;
    plait_time_t settled; /* guarded by guard: when the holds were counted last */
    uint32_t total;       /* const */
    uint32_t several;     /* guarded by guard: a sleeper may want more than one permit */
};

static struct plait__arena_header *header_of(plait_sem_t *sem)
{
    return plait__arena_header_of(sem, sem->arena_offset);
}

static struct owned *owned_of(plait_sem_t *sem)
{
    return plait__place_memory(header_of(sem), sem->owned);
}

static uint64_t name_of(plait_sem_t *sem)
{
    return plait__hold_of(sem->arena_offset, PLAIT__HOLD_PERMIT);
}

static uint32_t value_of(const plait_sem_t *sem)
{
    return load_relaxed(&sem->word) & VALUE;
}

static void set_value(plait_sem_t *sem, uint32_t value)
{
    store_relaxed(&sem->word, (load_relaxed(&sem->word) & ~VALUE) | (value & VALUE));
}

/* Relaxed: with the guard held nobody else writes it. */
static void set_sleepers(plait_sem_t *sem, uint32_t flag)
{
    store_relaxed(&sem->word, (load_relaxed(&sem->word) & ~SLEEPERS) | flag);
}

/* Wake as many sleepers as `count` permits may serve. */
static void wake(plait_sem_t *sem, unsigned count)
{
    struct owned *o = owned_of(sem);

    if (!(load_relaxed(&sem->word) & SLEEPERS))
        return;
    if (o->several)
        count = UINT_MAX;
    o->several = 0;
    set_sleepers(sem, 0);
    plait_wake(&sem->word, count, PLAIT_SHARED);
}

/* Count anew what the living hold. */
static void settle(plait_sem_t *sem)
{
    struct owned *o = owned_of(sem);
    struct plait__holds_walk walk = plait__holds_of(header_of(sem), name_of(sem));
    struct plait__hold *hold;
    uint32_t held = 0, before = value_of(sem);

    while ((hold = plait__holds_next(&walk)))
        if (plait__holds_is_lost(&walk, hold) || load_relaxed(&hold->count) == 0)
            plait__hold_drop(hold);
        else
            held += load_relaxed(&hold->count);
    o->settled = plait_now();
    set_value(sem, o->total - held);
    if (value_of(sem) > before)
        wake(sem, value_of(sem) - before);
}

/* Is the rest of it where it says? */
static bool is_whole(plait_sem_t *sem)
{
    return plait__arena_is_ours(header_of(sem)) &&
           plait__arena_block_is_used(header_of(sem), sem->owned + sizeof(struct plait__block), sizeof(struct owned));
}

/* The guard is held for a short time: its wait is no business of the caller's deadline and cancel token. */
static int guard(plait_sem_t *sem)
{
    plait_cancel_t *token;
    plait_lock_t *lock;
    int err;

    if (!is_whole(sem))
        return EBADMSG;
    lock = &owned_of(sem)->guard;
    if (!plait__inner_is_sound(lock, true))
        return EBADMSG;
    token = plait_cancel_bind(NULL);
    err = plait_lock_acquire(lock, PLAIT_FOREVER);
    plait_cancel_bind(token);
    if (err != EOWNERDEAD)
        return err;
    settle(sem);
    return plait_lock_consistent(lock);
}

static void unguard(plait_sem_t *sem)
{
    plait_lock_release(&owned_of(sem)->guard);
}

/* With the guard held, and enough permits. */
static int take(plait_sem_t *sem, uint32_t count)
{
    struct plait__arena_header *h = header_of(sem);
    struct plait__slot *self;
    struct plait__hold *hold;
    int err = plait__member(h, &self);

    if (err)
        return err;
    hold = plait__hold_find(h, self, name_of(sem));
    if (hold)
        store_relaxed(&hold->count, load_relaxed(&hold->count) + count);
    else
        err = plait__hold_take(h, self, name_of(sem),
                               &(struct plait__hold){ .number = plait__process_id(), .count = count }, &hold);
    compiler_barrier();
    if (err == 0)
        set_value(sem, value_of(sem) - count);
    return err;
}

/* After having slept, with the guard held: others may sleep still, and a wake may have been spent on us. */
static void pass_on(plait_sem_t *sem, uint32_t count)
{
    if (count > 1)
        owned_of(sem)->several = 1;
    set_sleepers(sem, SLEEPERS);
    if (value_of(sem))
        wake(sem, 1);
}

static bool is_time_to_settle(plait_sem_t *sem)
{
    uint64_t since = (uint64_t)plait_now() - (uint64_t)owned_of(sem)->settled;

    return since >= SETTLE_PAUSE * (uint64_t)PLAIT__MILLISECOND; /* or in the future, by damage */
}

int plait__sem_owned_acquire(plait_sem_t *sem, unsigned count, plait_time_t deadline)
{
    plait_time_t slice = 0;
    bool slept = false;
    int wait_err = 0;

    for (;;) {
        int err = guard(sem);
        uint32_t word;

        if (err)
            return err;
        if (value_of(sem) < count && (!slept || is_time_to_settle(sem)))
            settle(sem);
        if (value_of(sem) >= count || wait_err) {
            err = value_of(sem) >= count ? take(sem, count) : wait_err;
            if (slept)
                pass_on(sem, count);
            unguard(sem);
            return err;
        }
        if (deadline > PLAIT_NOW) {
            set_sleepers(sem, SLEEPERS);
            owned_of(sem)->several |= count > 1;
            slept = true;
        }
        word = load_relaxed(&sem->word);
        unguard(sem);
        wait_err = plait__wait_sliced(&sem->word, word, PLAIT_SHARED, deadline, &slice);
    }
}

/* Take up to `count` permits off a hold. */
static uint32_t reduce(struct plait__hold *hold, uint32_t count)
{
    uint32_t held = load_relaxed(&hold->count);

    if (held > count) {
        store_relaxed(&hold->count, held - count);
        return count;
    }
    plait__hold_drop(hold);
    return held;
}

/* How many permits has this process, up to `count`; with `give`, they are given up. */
static uint32_t of_this_process(plait_sem_t *sem, uint32_t count, bool give)
{
    struct plait__holds_walk walk = plait__holds_of(header_of(sem), name_of(sem));
    uint64_t process = plait__process_id();
    struct plait__hold *hold;
    uint32_t found = 0;

    while (found < count && (hold = plait__holds_next(&walk)))
        if (hold->number == process)
            found += give ? reduce(hold, count - found) : load_relaxed(&hold->count);
    return found;
}

/* Give permits up: the thread's own, then those of other threads of its process. False: they have not as many. */
static bool give(plait_sem_t *sem, uint32_t count)
{
    struct plait__arena_header *h = header_of(sem);
    struct plait__slot *self;
    struct plait__hold *own = plait__member(h, &self) == 0 ? plait__hold_find(h, self, name_of(sem)) : NULL;

    if (own && load_relaxed(&own->count) >= count)
        return reduce(own, count) == count;
    return of_this_process(sem, count, false) >= count && of_this_process(sem, count, true) == count;
}

int plait__sem_owned_release(plait_sem_t *sem, unsigned count)
{
    int err = guard(sem);

    if (err)
        return err;
    if (give(sem, count)) {
        compiler_barrier();
        set_value(sem, value_of(sem) + count);
        wake(sem, count);
    } else {
        err = EPERM;
    }
    unguard(sem);
    return err;
}

/* ---- As an entry of plait_wait_any ---- */

static int attempt(struct plait__waiting *waiting)
{
    plait_sem_t *sem = waiting->entry->object;
    uint32_t count = (uint32_t)waiting->entry->size;
    int err;

    if (count == 0 || count > sem->max)
        return EINVAL;
    err = guard(sem);
    if (err)
        return err;
    if (value_of(sem) < count && (!waiting->tried || is_time_to_settle(sem)))
        settle(sem);
    if (value_of(sem) >= count) {
        err = take(sem, count);
        if (waiting->enlisted)
            pass_on(sem, count);
    } else {
        err = EAGAIN;
    }
    unguard(sem);
    return err;
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_sem_t *sem = waiting->entry->object;
    uint32_t count = (uint32_t)waiting->entry->size;
    bool has_enough;

    if (guard(sem) != 0)
        return false;
    if (value_of(sem) < count && is_time_to_settle(sem))
        settle(sem); /* no attempt comes first where this is but watched */
    has_enough = value_of(sem) >= count;
    if (!has_enough) {
        set_sleepers(sem, SLEEPERS);
        owned_of(sem)->several |= count > 1;
        *word_out = (struct plait_wait_word){ &sem->word, load_relaxed(&sem->word), PLAIT_SHARED };
        waiting->until = plait_now() + SETTLE_ANY * PLAIT__MILLISECOND;
    }
    unguard(sem);
    return !has_enough;
}

static void delist(struct plait__waiting *waiting)
{
    plait_sem_t *sem = waiting->entry->object;

    if (guard(sem) != 0)
        return;
    pass_on(sem, (uint32_t)waiting->entry->size);
    unguard(sem);
}

struct plait_wait_entry plait__any_sem_owned_acquire(plait_sem_t *sem, unsigned count)
{
    static const struct plait_waitable acquiring = { attempt, enlist, delist, PLAIT__WATCH_ENLIST, NULL };

    return (struct plait_wait_entry){ .how = &acquiring, .object = sem, .size = count };
}

/* ---- Beginning and end ---- */

int plait__sem_owned_init(plait_sem_t *sem, unsigned value)
{
    struct plait__arena_header *h = header_of(sem);
    int err = plait__arena_alloc_into(h, sizeof(struct owned), &sem->owned);
    struct owned *o;

    if (err)
        return err;
    o = owned_of(sem);
    plait__robust_init(&o->guard, PLAIT_SHARED | plait__lock_mode(h), plait__offset_in(h, &o->guard));
    o->settled = 0;
    o->total = value;
    o->several = 0;
    sem->usual = 0;
    store_relaxed(&sem->word, NOT_INLINED | value);
    plait__holds_forget(h, name_of(sem));
    return 0;
}

int plait__sem_owned_fini(plait_sem_t *sem)
{
    int err = guard(sem);
    bool is_whole;

    if (err)
        return err;
    settle(sem);
    is_whole = value_of(sem) == owned_of(sem)->total;
    unguard(sem);
    return is_whole ? plait__arena_dealloc_from(header_of(sem), &sem->owned) : EBUSY;
}
