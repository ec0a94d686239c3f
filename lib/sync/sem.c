/* SPDX-License-Identifier: MIT */
/*
 * How it works: one word.
 *
 *     bits 0-28  the value
 *     bit 29     SLACK     releases have carried the value above its maximum, and are about to take that back
 *     bit 30     SEVERAL   a sleeper wants more than one permit: a release wakes all, who sort it out
 *     bit 31     SLEEPERS  somebody sleeps, or may
 *
 * With neither flag set, acquire is one inlined exchange, and release one addition (where there is a bound, an exchange). A
 * release that finds SLEEPERS wakes as many as it gave permits (all, with SEVERAL). The inlined one leaves the
 * flags, which costs a wake too many, never one too few; the slow one takes them off in its exchange. A sleeper puts
 * them on again before it sleeps.
 *
 * Neither side looks at the word first: on today's CPUs to look at what was just changed by a locked instruction
 * takes nearly as long as another one. Acquire guesses that all permits are there, and learns the word when it is
 * wrong. Release adds first; should that carry the value above the maximum, the release takes it back, unless acquires have
 * brought it down meanwhile: then it was in order after all. One that is killed in between has given its permits: the maximum
 * is what the word can hold and not what the program asked for, and those above it are acquired like others. (To look first
 * would be an exchange for each release. Where there is a bound, there is one, and nobody can be killed between.)
 *
 * No wake is lost. A sleeper has seen too small a value with SLEEPERS set, and futex wait compares the word again. A
 * release takes the flag off while several may sleep, and the next release then wakes nobody; therefore who has
 * slept and takes permits sets the flag again, in the same exchange, and wakes one more if anything is left. So a
 * chain of wakes reaches every sleeper that can be served. Who slept and leaves without permits (time-out,
 * cancel) may have consumed a wake and does the same. The flag left on by the last of them costs one wake.
 *
 * A sleeper that pthread_cancel ends leaves like one whose time is up.
 *
 * A shared semaphore whose releaser dies before its wake, or whose woken sleeper dies before the chain goes on, is
 * healed by the slices in which sleepers look again.
 *
 * The owned kind (sem_owned.c) has another word; here it is only told apart.
 *
 * E1: release's exchange or addition releases, acquire's exchange acquires. After it the semaphore may be gone: only its
 * address is used.
 */
#include <plait/sem.h>

#include <errno.h>
#include <limits.h>

#include "base/atomic.h"
#include "base/races.h"
#include "sync/hooked.h"
#include "sync/sem_owned.h"
#include "wait/membership.h"
#include "wait/point.h"
#include "wait/spin.h"
#include "wait/waitable.h"

#define VALUE 0x3fffffffu /* with SLACK */
#define SEVERAL 0x40000000u
#define SLEEPERS 0x80000000u

int plait_sem_init(plait_sem_t *sem, unsigned value, unsigned flags)
{
    bool is_bounded = flags & (PLAIT_BOUNDED | PLAIT_OWNED);
    plait_sem_t fresh = { .word = value, .mode = flags, .max = is_bounded ? value : 0 };
    int err = plait__shared_place(sem, flags, PLAIT_BOUNDED | PLAIT_OWNED, &fresh.arena_offset);

    if (err)
        return err;
    if (value > PLAIT_SEM_MAX || (is_bounded && value == 0) || ((flags & PLAIT_OWNED) && !(flags & PLAIT_SHARED)))
        return EINVAL;
    fresh.usual = value ? value : 1; /* a signal is either not there, or one is */
    *sem = fresh;
    return flags & PLAIT_OWNED ? plait__sem_owned_init(sem, value) : 0;
}

int plait_sem_fini(plait_sem_t *sem)
{
    int err = sem->mode & PLAIT_OWNED ? plait__sem_owned_fini(sem) : 0;

    if (err == 0)
        plait__races_forget(sem, sizeof *sem);
    return err;
}

unsigned plait_sem_value(const plait_sem_t *sem)
{
    uint32_t value = load_relaxed(&sem->word) & VALUE;

    return value < PLAIT_SEM_MAX ? value : PLAIT_SEM_MAX;
}

static uint32_t bound(const plait_sem_t *sem)
{
    return sem->max ? sem->max : PLAIT_SEM_MAX;
}

/* Take permits if there are enough. A caller that has slept keeps the flags on and passes a wake on. */
static bool take(plait_sem_t *sem, uint32_t *v, uint32_t count, uint32_t flags)
{
    uint32_t shared = sem->mode & PLAIT_SHARED;

    while ((*v & VALUE) >= count) {
        uint32_t left = (*v - count) | flags;

        if (!cas_acquire(&sem->word, v, left)) /* E1 */
            continue;
        if (flags && (left & VALUE))
            plait_wake(&sem->word, left & SEVERAL ? UINT_MAX : 1, shared);
        return true;
    }
    return false;
}

/* Leave without permits after having slept: others may still sleep, and a wake may have been spent on us. */
static void leave(plait_sem_t *sem, uint32_t flags)
{
    uint32_t v = __atomic_fetch_or(&sem->word, flags, __ATOMIC_RELAXED);

    if (v & VALUE)
        plait_wake(&sem->word, (v | flags) & SEVERAL ? UINT_MAX : 1, sem->mode & PLAIT_SHARED);
}

/* Somebody who sleeps, and may be cancelled meanwhile. */
struct sleeper {
    plait_sem_t *sem;
    uint32_t flags;
};

static void cancelled(void *arg)
{
    struct sleeper *self = arg;

    leave(self->sem, self->flags);
}

static int sleep_for_it(struct sleeper *self, uint32_t v, plait_time_t deadline, plait_time_t *slice)
{
    int err;

    pthread_cleanup_push(cancelled, self);
    err = plait__wait_point(&self->sem->word, v, self->sem->mode & PLAIT_SHARED, deadline, slice);
    pthread_cleanup_pop(0);
    return err;
}

static uint32_t flags_for(unsigned count)
{
    return SLEEPERS | (count > 1 ? SEVERAL : 0);
}

static int acquire(void *object, unsigned count, plait_time_t deadline)
{
    plait_sem_t *sem = object;
    uint32_t mine = flags_for(count);
    uint32_t v = load_relaxed(&sem->word);
    uint32_t slept = 0; /* the flags, once we have slept */
    plait_time_t slice = 0;
    int err = 0;

    if (count == 0 || count > bound(sem))
        return EINVAL;
    if (sem->mode & PLAIT_OWNED)
        return plait__sem_owned_acquire(sem, count, deadline);
    if ((v & VALUE) < count && plait__spin_until_changed(PLAIT__SPIN_STREAM, &sem->word, v, deadline))
        v = load_relaxed(&sem->word);
    for (;;) {
        if (take(sem, &v, count, slept))
            return 0;
        if (err) {
            if (slept)
                leave(sem, slept);
            return err;
        }
        if (deadline > PLAIT_NOW && (v & mine) != mine) {
            if (!cas_relaxed(&sem->word, &v, v | mine))
                continue;
            v |= mine;
        }
        err = sleep_for_it(&(struct sleeper){ sem, mine }, v, deadline, &slice);
        slept = deadline > PLAIT_NOW ? mine : 0;
        v = load_relaxed(&sem->word);
    }
}

static bool is_busy(const void *sem, unsigned count)
{
    return plait_sem_value(sem) < count;
}

/* Permits have no holder: figures only. */
static const struct plait__hooked_noun noun = { "sem", "plait_sem_acquire", "plait_sem_release", 0,
                                                is_busy, acquire, NULL, NULL };

int plait_sem_acquire_slow(plait_sem_t *sem, unsigned count, plait_time_t deadline)
{
    if (__builtin_expect(load_relaxed(&plait_hooks), 0))
        return plait__hooked_acquire(&noun, sem, sem->arena_offset, count, deadline, PLAIT__CALLER);
    return acquire(sem, count, deadline);
}

/* The value is above the maximum after a release of `count`. EOVERFLOW: taken back; 0: it need not be. */
static int take_back(plait_sem_t *sem, uint32_t count)
{
    uint32_t v = load_relaxed(&sem->word);

    while ((v & VALUE) > PLAIT_SEM_MAX)
        if (cas_relaxed(&sem->word, &v, v - count))
            return EOVERFLOW;
    return 0;
}

/* The rest of an inlined release: `word` is what its addition left, which is not a plain value. */
int plait_sem_released_slow(plait_sem_t *sem, unsigned count, uint32_t word, uint32_t mode)
{
    int err = (word & VALUE) > PLAIT_SEM_MAX ? take_back(sem, count) : 0;

    if (!err && (word & SLEEPERS))
        plait_wake(&sem->word, word & SEVERAL ? UINT_MAX : count, mode & PLAIT_SHARED);
    return err;
}

int plait_sem_release_slow(plait_sem_t *sem, unsigned count)
{
    uint32_t v = load_relaxed(&sem->word);
    uint32_t shared = sem->mode & PLAIT_SHARED;

    if (count == 0)
        return EINVAL;
    if (sem->mode & PLAIT_OWNED)
        return plait__sem_owned_release(sem, count);
    do
        if (count > bound(sem) - (v & VALUE) || (v & VALUE) > bound(sem))
            return EOVERFLOW;
    while (!cas_release(&sem->word, &v, (v & VALUE) + count)); /* E1 */
    if (v & SLEEPERS)
        plait_wake(&sem->word, v & SEVERAL ? UINT_MAX : count, shared);
    return 0;
}

/* ---- Among others ------------------------------------------------------------------------ */

static int attempt(struct plait__waiting *waiting)
{
    plait_sem_t *sem = waiting->entry->object;
    unsigned count = (unsigned)waiting->entry->size;
    uint32_t v = load_relaxed(&sem->word);

    if (count == 0 || count > bound(sem))
        return EINVAL;
    return take(sem, &v, count, waiting->enlisted ? flags_for(count) : 0) ? 0 : EAGAIN;
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_sem_t *sem = waiting->entry->object;
    unsigned count = (unsigned)waiting->entry->size;
    uint32_t mine = flags_for(count);
    uint32_t v = load_relaxed(&sem->word);

    do
        if ((v & VALUE) >= count)
            return false;
    while ((v & mine) != mine && !cas_relaxed(&sem->word, &v, v | mine));
    *word_out = (struct plait_wait_word){ &sem->word, v | mine, sem->mode & PLAIT_SHARED };
    return true;
}

static void delist(struct plait__waiting *waiting)
{
    leave(waiting->entry->object, flags_for((unsigned)waiting->entry->size));
}

struct plait_wait_entry plait_any_sem_acquire(plait_sem_t *sem, unsigned count)
{
    static const struct plait_waitable acquiring = { attempt, enlist, delist, PLAIT__WATCH_ENLIST, NULL };

    if (sem->mode & PLAIT_OWNED)
        return plait__any_sem_owned_acquire(sem, count);
    return (struct plait_wait_entry){ .how = &acquiring, .object = sem, .size = count };
}
