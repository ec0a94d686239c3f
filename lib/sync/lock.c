/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A shared lock is a robust lock (wait/robust.c), and so is one with priority inheritance, shared or not; its `state` is a
 * constant that sends the inlined fast path here. A private lock is its `state`:
 *
 *     0  FREE
 *     1  HELD     and nobody sleeps
 *     2  WANTED   held, and somebody sleeps, or may
 *     3  OWED     held, wanted, and one of the sleepers has waited for too long
 *     4  HANDED   held by nobody, and for one who has slept
 *
 * The first three are the third mutex of Drepper's "Futexes are tricky" (2011), with deadlines. Acquire: FREE -> HELD,
 * inlined; else spin for it; else make it WANTED and sleep while it is that. Release: HELD -> FREE, inlined; else WANTED ->
 * FREE, and wake one. Who has slept acquires it as WANTED, for it cannot know whether others sleep still. A wake-up costs
 * the releaser one system call; until the woken one has come back to the word, which takes microseconds, the lock
 * goes FREE -> HELD -> FREE by the inlined paths, so a streak of them costs one wake.
 *
 * Such a streak may win against the woken every time. So a sleeper that is woken in vain after PATIENCE is
 * starving, and makes the lock OWED. Its release hands it over, OWED -> HANDED, and wakes one: who has slept takes it, and
 * who has not must wait behind it. The kernel wakes in order of arrival, so after at most as many hand-overs as there are
 * sleepers it is the starving one's turn. It takes the lock as WANTED, and all is as before; others that are handed
 * the lock meanwhile leave it OWED. A starving one that gives up turns OWED into WANTED. So OWED there is only while
 * somebody starves, who takes a lock that is HANDED at the latest when it is woken. Only in the child of a fork may
 * nobody be left who would: there who comes later takes it after GRACE.
 *
 * No wake is lost. Invariant: while somebody sleeps, the lock is WANTED, OWED or HANDED with a wake under way, or a thread is
 * on its way that has been woken, or is about to be by a releaser, and will, with its next step on the word, make it one
 * of these. For: a sleeper falls asleep only on these (futex wait compares); who takes them off is a releaser, and wakes
 * one. The woken one either acquires (WANTED or OWED), or sleeps again, or gives up, and in both cases makes it WANTED first
 * where it finds the lock HELD. Nobody gives up while it is FREE or HANDED: then it acquires. That not all who sleep are woken
 * is no loss: the one that was passes it on when it releases.
 *
 * Among others, in plait_wait_any, the caller may leave while it is FREE or HANDED, because it has got something else: then
 * it makes it FREE and wakes one, as a release would.
 *
 * E1 hand over: the operation that makes it free releases, the one that makes it held acquires.
 *
 * The last thing a release does to the memory is that operation; the wake uses the address alone. So the next holder
 * may free the lock. Who still waits for a lock that is freed has itself to blame; a sleeper that was woken and not yet
 * come back is a waiter.
 */
#include <plait/lock.h>

#include <errno.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "base/races.h"
#include "sync/held.h"
#include "sync/hooked.h"
#include "sync/lock.h"
#include "wait/membership.h"
#include "wait/robust.h"
#include "wait/spin.h"
#include "wait/waitable.h"

enum { FREE, HELD, WANTED, OWED, HANDED };

uint32_t plait_hooks = PLAIT__HOOKS_FIRST;

static bool is_held(uint32_t v)
{
    return v != FREE && v != HANDED; /* what is none of them, by damage, too: then waits end by their deadlines */
}

int plait_lock_init(plait_lock_t *lock, unsigned flags)
{
    uint64_t offset;
    int err = plait__shared_place(lock, flags, PLAIT_PRIO_INHERIT, &offset);

    if (err)
        return err;
    if (flags & PLAIT_PRIO_INHERIT && !plait__robust_pi_works())
        return ENOSYS;
    if (flags & PLAIT_SHARED)
        flags |= plait__lock_mode(plait__arena_header_of(lock, offset));
    if (plait__lock_is_owned(flags))
        plait__robust_init(lock, flags, offset);
    else
        *lock = (plait_lock_t)PLAIT_LOCK_INIT;
    plait__hooked_forget(lock, lock->arena_offset);
    return 0;
}

int plait_lock_fini(plait_lock_t *lock)
{
    if (plait_lock_is_locked(lock))
        return EBUSY;
    plait__hooked_forget(lock, lock->arena_offset);
    plait__races_forget(lock, sizeof *lock);
    return 0;
}

bool plait_lock_is_locked(const plait_lock_t *lock)
{
    if (plait__lock_is_owned(lock->mode))
        return plait__robust_is_locked(lock);
    return is_held(load_relaxed(&lock->state));
}

/* Take the lock if it is `from`, free or handed over. *v: what was seen. */
static bool take(plait_lock_t *lock, uint32_t *v, uint32_t from, uint32_t as)
{
    while (*v == from)
        if (cas_acquire(&lock->state, v, as)) /* E1 */
            return true;
    return false;
}

static bool spin_for_it(plait_lock_t *lock, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_RIVALS, deadline);

    while (plait__spin_pause(&spin)) {
        uint32_t v = load_relaxed(&lock->state);

        if (take(lock, &v, FREE, HELD)) {
            plait__spin_paid(&spin);
            return true;
        }
    }
    return false;
}

/* Behind those who have slept, for whom the lock is. True: nobody has come for it. */
static bool is_abandoned(plait_lock_t *lock, plait_time_t deadline, int *err_out)
{
    plait_time_t until = plait_now() + PLAIT__LOCK_GRACE;

    *err_out = plait_wait(&lock->state, HANDED, 0, until < deadline ? until : deadline);
    if (*err_out != ETIMEDOUT || until >= deadline)
        return false;
    *err_out = 0;
    return true;
}

/* Say in the word that there are sleepers, or that there is one less who starves. True: *v says so. */
static bool mark(plait_lock_t *lock, uint32_t *v, bool starving, bool leaving)
{
    uint32_t owed = starving ? !leaving : *v == OWED;
    uint32_t marked = owed ? OWED : WANTED;

    if (*v != marked && !cas_relaxed(&lock->state, v, marked))
        return false;
    *v = marked;
    return true;
}

/*
 * `slept`: the caller has slept on the word already, in a condition. Also the way out for who gives up: the lock is marked,
 * or the caller has it after all.
 */
static int sleep_for_it(plait_lock_t *lock, plait_time_t deadline, bool slept)
{
    plait_time_t starves_at = plait_now() + PLAIT__LOCK_PATIENCE;
    uint32_t v = load_relaxed(&lock->state);
    bool starving = false, abandoned = false;
    int err = 0;

    for (;;) {
        if (take(lock, &v, FREE, WANTED))
            return 0;
        if (slept && take(lock, &v, HANDED, starving || abandoned ? WANTED : OWED))
            return 0;
        if (v == HANDED && !slept) {
            abandoned = is_abandoned(lock, deadline, &err);
        } else if (is_held(v) && mark(lock, &v, starving, err != 0)) {
            if (err)
                return err;
            err = plait_wait(&lock->state, v, 0, deadline);
            starving = starving || plait_now() > starves_at;
        } else {
            continue; /* v is new */
        }
        slept = true;
        v = load_relaxed(&lock->state);
    }
}

int plait__lock_acquire_moved(plait_lock_t *lock)
{
    return sleep_for_it(lock, PLAIT_FOREVER, true);
}

/* The kernel has moved them before we look: a release that we do not see finds them. HANDED: one is on its way. */
void plait__lock_adopt(plait_lock_t *lock)
{
    uint32_t v = load_seqcst(&lock->state);

    while (v == HELD)
        if (cas_relaxed(&lock->state, &v, WANTED))
            return;
    if (v == FREE)
        plait_wake(&lock->state, 1, 0);
}

static __attribute__((noinline)) int acquire_private(plait_lock_t *lock, plait_time_t deadline)
{
    uint32_t v = load_relaxed(&lock->state);

    if (take(lock, &v, FREE, HELD))
        return 0;
    if (plait__lock_is_contradictory(lock))
        return EBADMSG;
    if (deadline > PLAIT_NOW)
        return spin_for_it(lock, deadline) ? 0 : sleep_for_it(lock, deadline, false);
    if (take(lock, &v, HANDED, OWED)) /* who starves will take that back */
        return 0;
    return plait_wait(&lock->state, v, 0, PLAIT_NOW) == ECANCELED ? ECANCELED : ETIMEDOUT;
}

static __attribute__((noinline)) int release_private(plait_lock_t *lock)
{
    uint32_t v = load_relaxed(&lock->state);

    do
        if (!is_held(v))
            return EPERM;
    while (!cas_release(&lock->state, &v, v == OWED ? HANDED : FREE)); /* E1; from here on only the address is used */
    if (v != HELD)
        plait_wake(&lock->state, 1, 0);
    return 0;
}

static __attribute__((noinline)) int join_and_acquire(plait_lock_t *lock, plait_time_t deadline)
{
    int err = plait__member_of(lock, lock->arena_offset);

    return err ? err : plait__robust_acquire(lock, deadline);
}

int plait__lock_acquire(plait_lock_t *lock, plait_time_t deadline)
{
    if (!plait__lock_is_owned(lock->mode))
        return acquire_private(lock, deadline);
    if (!(lock->mode & PLAIT_SHARED) || plait__member_is_cached(plait__arena_header_of(lock, lock->arena_offset)))
        return plait__robust_acquire(lock, deadline);
    return join_and_acquire(lock, deadline);
}

int plait__lock_release(plait_lock_t *lock)
{
    return plait__lock_is_owned(lock->mode) ? plait__robust_release(lock) : release_private(lock);
}

/* ---- Seen by debug mode and figures ----------------------------------------------------- */

static bool is_busy(const void *object, unsigned count)
{
    const plait_lock_t *lock = object;

    (void)count;
    return plait__lock_is_owned(lock->mode) ? plait__robust_is_locked(lock) : load_relaxed(&lock->state) != FREE;
}

static int hooked_acquire(void *object, unsigned count, plait_time_t deadline)
{
    (void)count;
    return plait__lock_acquire(object, deadline);
}

static int hooked_release(void *object, unsigned count)
{
    (void)count;
    return plait__lock_release(object);
}

static uint32_t owner(const void *object)
{
    return plait__robust_owner(object);
}

/* One that knows its owner sees to it that nobody else releases it. */
const struct plait__hooked_noun *plait__lock_noun(const plait_lock_t *lock)
{
    static const struct plait__hooked_noun plain = {
        "lock", "plait_lock_acquire", "plait_lock_release", PLAIT__HELD, is_busy, hooked_acquire, hooked_release, NULL
    };
    static const struct plait__hooked_noun owned = {
        "lock", "plait_lock_acquire", "plait_lock_release", PLAIT__HELD | PLAIT__CHECKED,
        is_busy, hooked_acquire, hooked_release, owner
    };

    return plait__lock_is_owned(lock->mode) ? &owned : &plain;
}

int plait_lock_acquire_slow(plait_lock_t *lock, plait_time_t deadline)
{
    if (__builtin_expect(load_relaxed(&plait_hooks), 0))
        return plait__hooked_acquire(plait__lock_noun(lock), lock, lock->arena_offset, 1, deadline, PLAIT__CALLER);
    return plait__lock_acquire(lock, deadline);
}

int plait_lock_release_slow(plait_lock_t *lock)
{
    if (__builtin_expect(load_relaxed(&plait_hooks), 0))
        return plait__hooked_release(plait__lock_noun(lock), lock, lock->arena_offset, 1, PLAIT__CALLER);
    return plait__lock_release(lock);
}

int plait_lock_consistent(plait_lock_t *lock)
{
    return plait__lock_is_owned(lock->mode) ? plait__robust_consistent(lock) : EINVAL;
}

/* ---- Among others ------------------------------------------------------------------------ */

static int attempt_private(struct plait__waiting *waiting)
{
    plait_lock_t *lock = waiting->entry->object;
    uint32_t v = load_relaxed(&lock->state);

    if (take(lock, &v, FREE, waiting->enlisted ? WANTED : HELD))
        return 0;
    if ((waiting->enlisted || waiting->is_try) && take(lock, &v, HANDED, waiting->kept == PLAIT__LOCK_STARVES ? WANTED : OWED))
        return 0;
    return EAGAIN;
}

static bool enlist_private(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_lock_t *lock = waiting->entry->object;
    uint32_t v = load_relaxed(&lock->state);

    if (!waiting->enlisted)
        waiting->kept = (uint64_t)(plait_now() + PLAIT__LOCK_PATIENCE);
    else if (waiting->kept != PLAIT__LOCK_STARVES && (uint64_t)plait_now() > waiting->kept)
        waiting->kept = PLAIT__LOCK_STARVES;
    do {
        if (v == HANDED && !waiting->enlisted)
            plait_wait(&lock->state, HANDED, 0, plait_now() + PLAIT__LOCK_MOMENT);
        if (!is_held(v))
            return false;
    } while (!mark(lock, &v, waiting->kept == PLAIT__LOCK_STARVES, false));
    *word_out = (struct plait_wait_word){ &lock->state, v, 0 };
    return true;
}

static void delist_private(struct plait__waiting *waiting)
{
    plait_lock_t *lock = waiting->entry->object;
    uint32_t v = load_relaxed(&lock->state);

    while (is_held(v))
        if (mark(lock, &v, waiting->kept == PLAIT__LOCK_STARVES, true))
            return;
    if (v == HANDED && !cas_release(&lock->state, &v, FREE)) /* perhaps for the caller: E1 */
        return;                                              /* no: another has it */
    plait_wake(&lock->state, 1, 0);
}

static int attempt(struct plait__waiting *waiting)
{
    plait_lock_t *lock = waiting->entry->object;
    int err;

    if (!plait__lock_is_owned(lock->mode))
        return attempt_private(waiting);
    err = lock->mode & PLAIT_SHARED ? plait__member_of(lock, lock->arena_offset) : 0;
    return err ? err : plait__robust_attempt(lock, waiting);
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_lock_t *lock = waiting->entry->object;

    return plait__lock_is_owned(lock->mode) ? plait__robust_enlist(lock, waiting, word_out) :
                                              enlist_private(waiting, word_out);
}

static void delist(struct plait__waiting *waiting)
{
    plait_lock_t *lock = waiting->entry->object;

    if (plait__lock_is_owned(lock->mode))
        plait__robust_delist(lock, waiting);
    else
        delist_private(waiting);
}

struct plait_wait_entry plait_any_lock_acquire(plait_lock_t *lock)
{
    static const struct plait_waitable acquiring = { attempt, enlist, delist, PLAIT__UNWATCHED, NULL };

    return (struct plait_wait_entry){ .how = &acquiring, .object = lock };
}
