/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Shared: a robust lock (wait/robust.c), which knows its owner, and a number of levels beside it. Who finds the lock
 * to be its own already (EDEADLK) goes one level deeper. The number is 0 whenever the lock is free; what a dead holder left in it
 * is cleared by who is told.
 *
 * Private: one word, where a shared lock keeps `prev`, says who holds it (wait/caller.h):
 *
 *     FREE        0
 *     C           held by the caller C, and nobody sleeps
 *     C | WANTED  held by C, and somebody sleeps, or may
 *     C | OWED    held by C, wanted, and one of the sleepers has waited for too long
 *     HANDED      held by nobody, and for one who has slept
 *
 * It is the lock of sync/lock.c with an owner's name in place of HELD; what is said there of lost wakes and of those
 * who starve holds here. They sleep on the half of the word that has the marks; that the other half is not compared is no harm,
 * as what they see is WANTED or OWED in any case.
 *
 * Acquire is 0 -> C, release C -> 0, each one exchange with a comparison that looks at nothing before: a
 * look at a word that has just been exchanged costs half as much again. The exchange of a release fails for a stranger too, so
 * ownership is checked for nothing. `depth` counts the levels beyond the first and is not touched by the first.
 *
 * E1 hand over: the exchange that makes it free releases, the one that makes it held acquires. After it only the
 * address is used.
 */
#include <plait/rlock.h>

#include <errno.h>
#include <stddef.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "base/races.h"
#include "sync/held.h"
#include "sync/hooked.h"
#include "sync/lock.h"
#include "wait/caller.h"
#include "wait/membership.h"
#include "wait/robust.h"
#include "wait/spin.h"
#include "wait/waitable.h"

enum { FREE = 0, WANTED = 1, OWED = 2, HANDED = 4, MARKS = 7 };

#define DEPTH_MAX (UINT32_MAX - 1)

_Static_assert(sizeof(void *) == 8 && sizeof(plait_rlock_t) == 64, "part of the ABI");
_Static_assert(offsetof(plait_rlock_t, lock) == 0, "an rlock begins with a lock");

static uintptr_t look(const plait_rlock_t *rlock)
{
    return (uintptr_t)loadptr_relaxed(&rlock->lock.prev);
}

static uintptr_t holder_of(uintptr_t v)
{
    return v & ~(uintptr_t)MARKS;
}

/* Nobody can take it. What is none of its states, by damage, is as if held: waits end by their deadlines. */
static bool is_taken(uintptr_t v)
{
    return v != FREE && v != HANDED;
}

static bool is_by(uintptr_t v, void *caller)
{
    return holder_of(v) == (uintptr_t)caller;
}

/* The half of the holder's word that has the marks. */
const uint32_t *plait__rlock_word(const plait_rlock_t *rlock)
{
    return (const uint32_t *)(const void *)&rlock->lock.prev + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

/* Shared, or with priority inheritance: the inner lock knows its owner. */
static bool is_shared(const plait_rlock_t *rlock)
{
    return plait__lock_is_owned(rlock->lock.mode);
}

int plait_rlock_init(plait_rlock_t *rlock, unsigned flags)
{
    int err = plait_lock_init(&rlock->lock, flags);

    if (err)
        return err;
    if (is_shared(rlock))
        rlock->lock.mode |= PLAIT__LOCK_RECURSIVE;
    rlock->depth = 0;
    for (size_t i = 0; i < sizeof rlock->spare / sizeof rlock->spare[0]; i++)
        rlock->spare[i] = 0;
    return 0;
}

int plait_rlock_fini(plait_rlock_t *rlock)
{
    if (plait_rlock_is_locked(rlock))
        return EBUSY;
    plait__hooked_forget(rlock, rlock->lock.arena_offset);
    plait__races_forget(rlock, sizeof *rlock);
    return 0;
}

bool plait_rlock_is_locked(const plait_rlock_t *rlock)
{
    return is_shared(rlock) ? plait__robust_is_locked(&rlock->lock) : holder_of(look(rlock)) != 0;
}

static bool is_mine(const plait_rlock_t *rlock)
{
    return is_shared(rlock) ? plait__robust_is_mine(&rlock->lock) : is_by(look(rlock), plait__caller());
}

unsigned plait_rlock_depth(const plait_rlock_t *rlock)
{
    return is_mine(rlock) ? load_relaxed(&rlock->depth) + 1 : 0;
}

/* One level more, or less, of what the caller holds. Relaxed: others may look, and then see that it is not theirs. */
static int go_deeper(plait_rlock_t *rlock)
{
    uint32_t depth = load_relaxed(&rlock->depth);

    if (depth >= DEPTH_MAX)
        return EOVERFLOW;
    store_relaxed(&rlock->depth, depth + 1);
    return 0;
}

static bool go_up(plait_rlock_t *rlock)
{
    uint32_t depth = load_relaxed(&rlock->depth);

    if (depth == 0)
        return false;
    store_relaxed(&rlock->depth, depth - 1);
    return true;
}

/* ---- Private ---- */

/* *v -> to; false: it has changed, *v to what. */
static bool change(plait_rlock_t *rlock, uintptr_t *v, uintptr_t to)
{
    void *seen = (void *)*v;
    bool changed = casptr_acqrel(&rlock->lock.prev, &seen, (void *)to); /* E1 */

    *v = (uintptr_t)seen;
    return changed;
}

/* Take it if it is `from`, FREE or HANDED. *v: what was seen. */
static bool take(plait_rlock_t *rlock, uintptr_t *v, uintptr_t from, uintptr_t as)
{
    while (*v == from)
        if (change(rlock, v, as))
            return true;
    return false;
}

static bool spin_for_it(plait_rlock_t *rlock, void *self, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_RIVALS, deadline);

    while (plait__spin_pause(&spin)) {
        uintptr_t v = look(rlock);

        if (take(rlock, &v, FREE, (uintptr_t)self)) {
            plait__spin_paid(&spin);
            return true;
        }
    }
    return false;
}

/* Behind those who have slept, for whom it is. True: nobody has come for it. */
static bool is_abandoned(plait_rlock_t *rlock, plait_time_t deadline, int *err_out)
{
    plait_time_t until = plait_now() + PLAIT__LOCK_GRACE;

    *err_out = plait_wait(plait__rlock_word(rlock), HANDED, 0, until < deadline ? until : deadline);
    if (*err_out != ETIMEDOUT || until >= deadline)
        return false;
    *err_out = 0;
    return true;
}

/* Say in the word that there are sleepers, or that there is one less who starves. True: *v says so. */
static bool mark(plait_rlock_t *rlock, uintptr_t *v, bool starving, bool leaving)
{
    bool owed = starving ? !leaving : (*v & OWED) != 0;
    uintptr_t marked = holder_of(*v) | (owed ? OWED : WANTED);

    if (*v != marked && !change(rlock, v, marked))
        return false;
    *v = marked;
    return true;
}

/* As in lock.c. `slept`: the caller has slept on the word already, in a condition. */
static int sleep_for_it(plait_rlock_t *rlock, uintptr_t self, plait_time_t deadline, bool slept)
{
    plait_time_t starves_at = plait_now() + PLAIT__LOCK_PATIENCE;
    uintptr_t v = look(rlock);
    bool starving = false, abandoned = false;
    int err = 0;

    for (;;) {
        if (take(rlock, &v, FREE, self | WANTED))
            return 0;
        if (slept && take(rlock, &v, HANDED, self | (starving || abandoned ? WANTED : OWED)))
            return 0;
        if (v == HANDED && !slept) {
            abandoned = is_abandoned(rlock, deadline, &err);
        } else if (is_taken(v) && mark(rlock, &v, starving, err != 0)) {
            if (err)
                return err;
            err = plait_wait(plait__rlock_word(rlock), (uint32_t)v, 0, deadline);
            starving = starving || plait_now() > starves_at;
        } else {
            continue; /* v is new */
        }
        slept = true;
        v = look(rlock);
    }
}

int plait__rlock_acquire_moved(plait_rlock_t *rlock)
{
    return sleep_for_it(rlock, (uintptr_t)plait__caller(), PLAIT_FOREVER, true);
}

/* The kernel has moved them before we look: a release that we do not see finds them. HANDED: one is on its way. */
void plait__rlock_adopt(plait_rlock_t *rlock)
{
    uintptr_t v = (uintptr_t)loadptr_seqcst(&rlock->lock.prev);

    while (v != FREE)
        if ((v & MARKS) || change(rlock, &v, v | WANTED))
            return;
    plait_wake(plait__rlock_word(rlock), 1, 0);
}

static int acquire_private(plait_rlock_t *rlock, plait_time_t deadline)
{
    void *self = plait__caller();
    uintptr_t v = look(rlock);

    if (take(rlock, &v, FREE, (uintptr_t)self))
        return 0;
    if (is_by(v, self))
        return go_deeper(rlock);
    if (plait__lock_is_contradictory(&rlock->lock))
        return EBADMSG;
    if (deadline > PLAIT_NOW)
        return spin_for_it(rlock, self, deadline) ? 0 : sleep_for_it(rlock, (uintptr_t)self, deadline, false);
    if (take(rlock, &v, HANDED, (uintptr_t)self | OWED)) /* who starves will take that back */
        return 0;
    return plait_wait(plait__rlock_word(rlock), (uint32_t)v, 0, PLAIT_NOW) == ECANCELED ? ECANCELED : ETIMEDOUT;
}

static int release_private(plait_rlock_t *rlock)
{
    uintptr_t v = look(rlock);

    if (!is_by(v, plait__caller()))
        return EPERM;
    if (go_up(rlock))
        return 0;
    while (!change(rlock, &v, v & OWED ? HANDED : FREE))
        ;
    if (v & MARKS)
        plait_wake(plait__rlock_word(rlock), 1, 0);
    return 0;
}

/* ---- Shared ---- */

/* The rest of an acquire of the lock that answered `err`. */
static int acquired_shared(plait_rlock_t *rlock, int err)
{
    switch (err) {
    case EOWNERDEAD:
        store_relaxed(&rlock->depth, 0);
        return err;
    case EDEADLK:
    case EOVERFLOW: /* it is not one shared lock more */
        return is_mine(rlock) ? go_deeper(rlock) : err;
    default:
        return err;
    }
}

static int acquire_shared(plait_rlock_t *rlock, plait_time_t deadline)
{
    return acquired_shared(rlock, plait__lock_acquire(&rlock->lock, deadline));
}

static int release_shared(plait_rlock_t *rlock)
{
    if (!is_mine(rlock))
        return EPERM;
    return go_up(rlock) ? 0 : plait__robust_release(&rlock->lock);
}

static int acquire(void *rlock, unsigned count, plait_time_t deadline)
{
    (void)count;
    return is_shared(rlock) ? acquire_shared(rlock, deadline) : acquire_private(rlock, deadline);
}

static int release(void *rlock, unsigned count)
{
    (void)count;
    return is_shared(rlock) ? release_shared(rlock) : release_private(rlock);
}

/* ---- Seen by debug mode and figures ----------------------------------------------------- */

static bool is_busy(const void *rlock, unsigned count)
{
    (void)count;
    return plait_rlock_is_locked(rlock) && !is_mine(rlock);
}

static uint32_t owner(const void *rlock)
{
    return plait__robust_owner(rlock);
}

const struct plait__hooked_noun plait__rlock_noun = { "rlock", "plait_rlock_acquire", "plait_rlock_release",
                                                      PLAIT__HELD | PLAIT__RECURSIVE | PLAIT__CHECKED,
                                                      is_busy, acquire, release, owner };

int plait_rlock_acquire_slow(plait_rlock_t *rlock, plait_time_t deadline)
{
    if (__builtin_expect(load_relaxed(&plait_hooks), 0))
        return plait__hooked_acquire(&plait__rlock_noun, rlock, rlock->lock.arena_offset, 1, deadline, PLAIT__CALLER);
    return acquire(rlock, 1, deadline);
}

int plait_rlock_release_slow(plait_rlock_t *rlock)
{
    if (__builtin_expect(load_relaxed(&plait_hooks), 0))
        return plait__hooked_release(&plait__rlock_noun, rlock, rlock->lock.arena_offset, 1, PLAIT__CALLER);
    return release(rlock, 1);
}

int plait_rlock_consistent(plait_rlock_t *rlock)
{
    if (is_shared(rlock))
        return plait__robust_consistent(&rlock->lock);
    return is_mine(rlock) ? EINVAL : EPERM;
}

/* ---- Among others ------------------------------------------------------------------------ */

/* As in lock.c. */
static int attempt_private(struct plait__waiting *waiting)
{
    plait_rlock_t *rlock = waiting->entry->object;
    uintptr_t self = (uintptr_t)plait__caller();
    uintptr_t v = look(rlock);

    if (take(rlock, &v, FREE, self | (waiting->enlisted ? WANTED : 0)))
        return 0;
    if ((waiting->enlisted || waiting->is_try) &&
        take(rlock, &v, HANDED, self | (waiting->kept == PLAIT__LOCK_STARVES ? WANTED : OWED)))
        return 0;
    return is_by(v, (void *)self) ? go_deeper(rlock) : EAGAIN;
}

static bool enlist_private(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_rlock_t *rlock = waiting->entry->object;
    uintptr_t v = look(rlock);

    if (!waiting->enlisted)
        waiting->kept = (uint64_t)(plait_now() + PLAIT__LOCK_PATIENCE);
    else if (waiting->kept != PLAIT__LOCK_STARVES && (uint64_t)plait_now() > waiting->kept)
        waiting->kept = PLAIT__LOCK_STARVES;
    do {
        if (v == HANDED && !waiting->enlisted)
            plait_wait(plait__rlock_word(rlock), HANDED, 0, plait_now() + PLAIT__LOCK_MOMENT);
        if (!is_taken(v))
            return false;
    } while (!mark(rlock, &v, waiting->kept == PLAIT__LOCK_STARVES, false));
    *word_out = (struct plait_wait_word){ plait__rlock_word(rlock), (uint32_t)v, 0 };
    return true;
}

static void delist_private(struct plait__waiting *waiting)
{
    plait_rlock_t *rlock = waiting->entry->object;
    uintptr_t v = look(rlock);

    while (is_taken(v))
        if (mark(rlock, &v, waiting->kept == PLAIT__LOCK_STARVES, true))
            return;
    if (v == HANDED && !change(rlock, &v, FREE)) /* perhaps for the caller */
        return;                                  /* no: another has it */
    plait_wake(plait__rlock_word(rlock), 1, 0);
}

static int attempt(struct plait__waiting *waiting)
{
    plait_rlock_t *rlock = waiting->entry->object;
    int err;

    if (!is_shared(rlock))
        return attempt_private(waiting);
    err = rlock->lock.mode & PLAIT_SHARED ? plait__member_of(rlock, rlock->lock.arena_offset) : 0;
    return err ? err : acquired_shared(rlock, plait__robust_attempt(&rlock->lock, waiting));
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_rlock_t *rlock = waiting->entry->object;

    return is_shared(rlock) ? plait__robust_enlist(&rlock->lock, waiting, word_out) : enlist_private(waiting, word_out);
}

static void delist(struct plait__waiting *waiting)
{
    plait_rlock_t *rlock = waiting->entry->object;

    if (is_shared(rlock))
        plait__robust_delist(&rlock->lock, waiting);
    else
        delist_private(waiting);
}

struct plait_wait_entry plait_any_rlock_acquire(plait_rlock_t *rlock)
{
    static const struct plait_waitable acquiring = { attempt, enlist, delist, PLAIT__UNWATCHED, NULL };

    return (struct plait_wait_entry){ .how = &acquiring, .object = rlock };
}
