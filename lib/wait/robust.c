/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A lock whose word holds the TID of its owner. The thread keeps it in the list that the kernel walks when the thread ends
 * (wait/robust_list.c), so that a death releases the lock and is told to the next.
 *
 * The word: 0 free; else TID of the owner | WAITERS (somebody sleeps, or may); OWNER_DIED with TID 0 when the
 * kernel has marked it.
 *
 * Acquire: announce the entry in the list's `pending` word, exchange 0 or OWNER_DIED for the TID, link, clear
 * `pending`. Release: announce, unlink, exchange to 0, wake, clear. Killed between any two instructions, the kernel finds
 * the lock in the list or in `pending`; with `pending` and a word of 0 it wakes one sleeper, which covers a death between
 * the exchange and the wake, and that of a sleeper just woken. `pending` is saved and restored, as the
 * interrupted code of this thread (libc's or ours) may be using it. Only compiler barriers are needed: the kernel looks
 * on behalf of this same thread.
 *
 * No wake is lost: who sleeps has seen the word with WAITERS set, and futex wait compares it again; a release that finds
 * WAITERS wakes one; who was woken keeps WAITERS set when it acquires, since it cannot know whether it was the
 * last. Who leaves without the lock after being woken (time-out, cancel) sets WAITERS for the present holder, or wakes
 * the next if there is none. Whatever else may go wrong with a dying peer on older kernels is healed by the
 * slices in which sleepers look again.
 *
 * Two fibers of one thread have the same TID, and so has the thread itself: which of them holds the lock stands in `fault`,
 * written after the word has been taken and cleared before it is given. Who finds its own TID there runs on the owner's
 * thread, so it reads the number in program order.
 *
 * Fairness. The word is the kernel's, so it cannot be handed over; instead a sleeper that is woken in vain after PATIENCE sets the
 * word `owed`. Those who come new see it and let those who sleep go first, who are woken in the order in which they came,
 * until the starving one has the lock and clears the word. If it is killed before that, the first to wait for GRACE clears it.
 *
 * E1 hand over: release's exchange releases, acquire's exchange acquires; `fault` and the guarded data go with it.
 * Death is such a release too: the kernel's compare-and-exchange of the word is a full barrier.
 *
 * With priority inheritance (wait/pi.c) the word is the same and the kernel does the waiting and the handing over; the
 * list's entry says so in its lowest bit, which musl would not understand: only glibc has these.
 *
 * Without lists (PLAIT__LOCK_NO_LIST: qemu-user, some filters of system calls) the word is the same, and each slice
 * of a wait asks whether the owner's thread has ended, by its start time in the participants' table; who finds that
 * it has marks the word as the kernel would.
 *
 * A lock that is held for a few instructions only need not enter the list: wait/brief.h.
 *
 * Cost of a free lock: two atomic operations and a dozen plain stores, most of them in the thread's own lines.
 */
#include "wait/robust.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/races.h"
#include "wait/caller.h"
#include "wait/hook.h"
#include "wait/membership.h"
#include "wait/pi.h"
#include "wait/robust_list.h"
#include "wait/spin.h"
#include "wait/waiting.h"

static const plait_time_t PATIENCE = 5 * PLAIT__MILLISECOND; /* until a sleeper starves */
static const plait_time_t GRACE = 20 * PLAIT__MILLISECOND;   /* until those who come new no longer believe it */
static const plait_time_t MOMENT = 1 * PLAIT__MILLISECOND;   /* the same, for who waits for others as well */

enum {
    WAITERS = (int)FUTEX_WAITERS,
    FAULTS = PLAIT__FAULT_INCONSISTENT | PLAIT__FAULT_NOT_RECOVERABLE
};

/* Of what the caller's thread holds: is it held by the caller, be that a fiber or the thread itself? */
static inline bool is_this_fibers(const plait_lock_t *lock)
{
    return load_relaxed(&lock->fault) >> PLAIT__FAULT_FIBER_SHIFT == plait__fiber_number;
}

/* The caller, woken or not, goes away without the lock: see to it that a wake spent on it is not lost. */
static void pass_wake_on(uint32_t *word)
{
    uint32_t v = load_relaxed(word);

    while ((v & FUTEX_TID_MASK) && !(v & FUTEX_WAITERS))
        if (cas_relaxed(word, &v, v | FUTEX_WAITERS))
            return;
    if (!(v & FUTEX_TID_MASK))
        plait_wake(word, 1, PLAIT_SHARED);
}

/* Without lists: mark the word of a dead owner as the kernel would have. */
static void stamp_if_dead(plait_lock_t *lock, uint32_t *word, uint32_t v)
{
    if ((v & FUTEX_TID_MASK) && plait__owner_is_dead(lock, v & FUTEX_TID_MASK))
        cas_acqrel(word, &v, (v & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
}

/*
 * Of a lock whose word has the caller's TID: is it in its list? In damaged memory it may not be, and then what it says of its neighbours
 * must not be followed. What was acquired last comes first behind the life words.
 */
static inline bool is_in_list(const struct plait__robust_self *s, const plait_lock_t *lock)
{
    return __builtin_expect(((uintptr_t)*s->spot & ~(uintptr_t)1) == (uintptr_t)&lock->next, 1) ||
           plait__robust_holds_within(lock, sizeof *lock);
}

/* Is the lock in the caller's list, or on its way in or out? */
static bool is_listed(void *saved, plait_lock_t *lock)
{
    return saved == plait__robust_entry(lock) || plait__robust_holds_within(lock, sizeof *lock);
}

/*
 * The word has said for a slice of time that it is held: can it be true? A word that was damaged names a thread that takes no part;
 * it is marked as that of a dead owner, so that no wait without a deadline is one for ever. At the second look: a
 * thread that has closed the arena, and opened it again, may be in neither slot at the first.
 */
static void doubt(plait_lock_t *lock, uint32_t *word, uint32_t v, unsigned *doubts)
{
    if (load_relaxed(word) != v || !(lock->mode & PLAIT_SHARED) || !plait__owner_is_nobody(lock, v & FUTEX_TID_MASK))
        *doubts = 0;
    else if (++*doubts == 2)
        cas_acqrel(word, &v, (v & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
}

/*
 * Sleep, with the lock announced. But where other fibers of this thread run meanwhile: their announcements do not
 * nest in ours.
 */
static int sleep_announced(struct plait__robust_self *s, void **saved, plait_lock_t *lock, uint32_t expected,
                           plait_time_t deadline, plait_time_t *slice)
{
    bool fiber = plait__wait_is_hooked();
    int err;

    if (fiber)
        plait__robust_unannounce(s, *saved);
    err = plait__wait_sliced(plait__robust_word_of(lock, s), expected, PLAIT_SHARED, deadline, slice);
    if (fiber)
        *saved = plait__robust_announce(s, lock);
    return err;
}

/*
 * The caller's thread holds it. Has the caller itself? Without a hook no other fiber of this thread will run before
 * the caller goes on.
 */
static bool is_deadlock(const plait_lock_t *lock)
{
    return is_this_fibers(lock) || !plait__wait_is_hooked();
}

/* A starving one has the lock, or gives up: others may go first again. */
static void be_served(plait_lock_t *lock)
{
    store_relaxed(plait__robust_owed(lock), 0);
    plait_wake(plait__robust_owed(lock), UINT_MAX, PLAIT_SHARED);
}

/* Somebody starves: those who come new let those who sleep go first, for as long as a living one can take. */
static void let_pass(plait_lock_t *lock, plait_time_t deadline)
{
    plait_time_t until = plait_now() + GRACE;

    if (plait_wait(plait__robust_owed(lock), 1, PLAIT_SHARED, until < deadline ? until : deadline) == ETIMEDOUT && until < deadline)
        be_served(lock); /* it was killed, or stopped */
}

/* `waiters`: what we must leave set; after a sleep we cannot know who else sleeps. *starving: the caller has told so, and must
 * be_served. */
static int contend(struct plait__robust_self *s, void **saved, plait_lock_t *lock, plait_time_t deadline,
                   uint32_t waiters, bool *starving)
{
    plait_time_t starves_at = PLAIT_FOREVER;
    uint32_t *word = plait__robust_word_of(lock, s);
    uint32_t tid = s->tid;
    plait_time_t slice = 0;
    struct plait__spin spin;
    unsigned doubts = 0;
    bool spun = false;
    int err = 0;

    if ((load_relaxed(word) & FUTEX_TID_MASK) == tid && is_deadlock(lock)) {
        if (is_listed(*saved, lock))
            return EDEADLK;
        store_relaxed(word, FUTEX_WAITERS | FUTEX_OWNER_DIED); /* damage: nobody else would ever change it */
    }
    spin = plait__spin_begin(PLAIT__SPIN_RIVALS, deadline);
    for (;;) {
        uint32_t v = load_relaxed(word);

        if (load_relaxed(&lock->fault) & PLAIT__FAULT_NOT_RECOVERABLE) {
            if (waiters)
                pass_wake_on(word);
            return ENOTRECOVERABLE;
        }
        if (!(v & FUTEX_TID_MASK)) {
            if (!cas_acquire(word, &v, tid | waiters | (v & FUTEX_WAITERS))) /* E1 */
                continue;
            if (!spun)
                plait__spin_paid(&spin);
            if (!(v & FUTEX_OWNER_DIED))
                return 0;
            plait__races_after(&plait__robust_deaths);
            return EOWNERDEAD;
        }
        if (!spun && !plait__spin_pause(&spin))
            spun = true;
        if (!spun)
            continue;
        if (err) {
            if (waiters)
                pass_wake_on(word);
            return err;
        }
        if (lock->mode & PLAIT__LOCK_NO_LIST)
            stamp_if_dead(lock, word, v);
        if (!(v & FUTEX_WAITERS) && deadline > PLAIT_NOW && !cas_relaxed(word, &v, v | FUTEX_WAITERS))
            continue;
        if (starves_at == PLAIT_FOREVER)
            starves_at = plait_now() + PATIENCE;
        err = sleep_announced(s, saved, lock, deadline > PLAIT_NOW ? v | FUTEX_WAITERS : v, deadline, &slice);
        if (err == 0)
            doubt(lock, word, v | FUTEX_WAITERS, &doubts);
        if (!*starving && plait_now() > starves_at) {
            *starving = true;
            store_relaxed(plait__robust_owed(lock), 1);
        }
        waiters = deadline > PLAIT_NOW ? FUTEX_WAITERS : 0;
    }
}

static int acquire_contended(struct plait__robust_self *s, void **saved, plait_lock_t *lock, plait_time_t deadline,
                             uint32_t waiters)
{
    bool starving = false;
    int err;

    if (lock->mode & PLAIT_PRIO_INHERIT) {
        err = plait__pi_acquire(plait__robust_word_of(lock, s), s->tid, deadline);
        if (err == EOWNERDEAD)
            plait__races_after(&plait__robust_deaths);
        return err;
    }
    err = contend(s, saved, lock, deadline, waiters, &starving);
    if (starving)
        be_served(lock);
    return err;
}

/* The lock is the caller's, acquired with `err`: say which fiber has it, unless it cannot be held any more. */
static __attribute__((noinline)) int take_over(plait_lock_t *lock, int err)
{
    uint32_t fault = load_relaxed(&lock->fault) & FAULTS;

    if (err == EOWNERDEAD)
        fault |= PLAIT__FAULT_INCONSISTENT;
    store_relaxed(&lock->fault, fault | plait__fiber_number << PLAIT__FAULT_FIBER_SHIFT);
    if (!(fault & PLAIT__FAULT_NOT_RECOVERABLE))
        return err;
    plait__robust_release(lock);
    return ENOTRECOVERABLE;
}

/* The rest of an acquire that is announced and did not find the word free. */
static __attribute__((noinline)) int acquire_announced(struct plait__robust_self *s, plait_lock_t *lock,
                                                       plait_time_t deadline, void *saved, uint32_t waiters)
{
    int err = acquire_contended(s, &saved, lock, deadline, waiters);

    if (err == 0 || err == EOWNERDEAD) {
        plait__robust_link(s, lock);
        s->held++;
    }
    plait__robust_unannounce(s, saved);
    return err == 0 || err == EOWNERDEAD ? take_over(lock, err) : err;
}

/* The whole of it, whatever the thread and the lock are like. */
static __attribute__((noinline)) int acquire_anyhow(plait_lock_t *lock, plait_time_t deadline, uint32_t waiters)
{
    struct plait__robust_self *s = plait__robust_me();

    if (s->held >= PLAIT__ROBUST_HELD_MAX)
        return EOVERFLOW;
    if (deadline > PLAIT_NOW && !waiters && load_relaxed(plait__robust_owed(lock)) && !plait__robust_is_mine(lock))
        let_pass(lock, deadline);
    return acquire_announced(s, lock, deadline, plait__robust_announce(s, lock), waiters);
}

/* Is what stands in *s known since the last fork, and the lock not one that the kernel hands over? */
static inline bool is_ordinary(const struct plait__robust_self *s, const plait_lock_t *lock)
{
    return __builtin_expect(s->epoch == plait__fork_epoch() && !(lock->mode & PLAIT_PRIO_INHERIT), 1);
}

/* A free lock: nothing is called here, so that no registers need saving. */
int plait__robust_acquire(plait_lock_t *lock, plait_time_t deadline)
{
    struct plait__robust_self *s = &plait__robust_self;
    struct plait__robust_head *head = s->head;
    uint32_t unheld = 0;
    void *saved;

    if (!is_ordinary(s, lock) || __builtin_expect((s->held >= PLAIT__ROBUST_HELD_MAX) | load_relaxed(plait__robust_owed(lock)), 0))
        return acquire_anyhow(lock, deadline, 0);
    saved = head->pending;
    head->pending = &lock->next;
    compiler_barrier();
    if (__builtin_expect(!cas_acquire(plait__robust_word_of(lock, s), &unheld, s->tid), 0)) /* E1 */
        return acquire_announced(s, lock, deadline, saved, 0);
    plait__robust_link(s, lock);
    s->held++;
    compiler_barrier();
    head->pending = saved;
    if (__builtin_expect((load_relaxed(&lock->fault) | plait__fiber_number) != 0, 0))
        return take_over(lock, 0);
    return 0;
}

/* The lock has been released, and `word` may be gone: the rest of a release that is announced. */
static __attribute__((noinline)) int wake_announced(struct plait__robust_self *s, uint32_t *word, unsigned count,
                                                    void *saved)
{
    plait_wake(word, count, PLAIT_SHARED);
    plait__robust_unannounce(s, saved);
    return 0;
}

/* Release what the caller's thread holds, and leave it to the caller to wake whom that lets go on. */
static struct plait__robust_wake give_quietly(struct plait__robust_self *s, plait_lock_t *lock)
{
    uint32_t *word = plait__robust_word_of(lock, s);
    uint32_t fault = load_relaxed(&lock->fault) & FAULTS;
    struct plait__robust_wake wake = { .count = fault ? UINT_MAX : 1 };
    uint32_t v;

    store_relaxed(&lock->fault, fault ? PLAIT__FAULT_NOT_RECOVERABLE : 0);
    wake.saved = plait__robust_announce(s, lock);
    s->held--;
    plait__robust_unlink(s->head, lock);
    compiler_barrier();
    if (lock->mode & PLAIT_PRIO_INHERIT)
        v = plait__pi_release(word, s->tid);
    else
        v = exchange_release(word, 0); /* E1; from here on the lock may be freed by others */
    if (v & FUTEX_WAITERS)
        wake.word = word;
    else
        plait__robust_unannounce(s, wake.saved);
    return wake;
}

static int give(struct plait__robust_self *s, plait_lock_t *lock)
{
    struct plait__robust_wake wake = give_quietly(s, lock);

    return wake.word ? wake_announced(s, wake.word, wake.count, wake.saved) : 0;
}

struct plait__robust_wake plait__robust_release_quietly(plait_lock_t *lock)
{
    return give_quietly(plait__robust_me(), lock);
}

void plait__robust_wake(const struct plait__robust_wake *wake)
{
    if (wake->word)
        wake_announced(plait__robust_me(), wake->word, wake->count, wake->saved);
}

static __attribute__((noinline)) int release_anyhow(plait_lock_t *lock)
{
    return plait__robust_is_mine(lock) ? give(plait__robust_me(), lock) : EPERM;
}

int plait__robust_release(plait_lock_t *lock)
{
    struct plait__robust_self *s = &plait__robust_self;
    struct plait__robust_head *head = s->head;
    uint32_t *word;
    uint32_t v;
    void *saved;

    if (!is_ordinary(s, lock) || __builtin_expect((load_relaxed(&lock->fault) | plait__fiber_number) != 0, 0))
        return release_anyhow(lock);
    word = plait__robust_word_of(lock, s);
    if (__builtin_expect((load_relaxed(word) & FUTEX_TID_MASK) != s->tid, 0))
        return EPERM;
    if (__builtin_expect(lock->prev != (void *)s->spot, 0)) /* not the last that was acquired, or damaged */
        return release_anyhow(lock);
    saved = head->pending;
    head->pending = &lock->next;
    s->held--;
    plait__robust_unlink(head, lock);
    compiler_barrier();
    v = exchange_release(word, 0); /* E1; from here on the lock may be freed by others */
    if (__builtin_expect(v & FUTEX_WAITERS, 0))
        return wake_announced(s, word, 1, saved);
    compiler_barrier();
    head->pending = saved;
    return 0;
}

void plait__robust_doubt(plait_lock_t *lock, unsigned *doubts)
{
    struct plait__robust_self *s = plait__robust_me();
    uint32_t *word = plait__robust_word_of(lock, s);
    uint32_t v = load_relaxed(word);

    if ((v & FUTEX_TID_MASK) == s->tid && !is_in_list(s, lock)) /* the caller waits, and has it not */
        cas_acqrel(word, &v, (v & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
    else if (v & FUTEX_TID_MASK)
        doubt(lock, word, v, doubts);
}

const uint32_t *plait__robust_word(const plait_lock_t *lock)
{
    return plait__robust_word_of(lock, plait__robust_me());
}

void plait__robust_adopt(plait_lock_t *lock)
{
    pass_wake_on(plait__robust_word_of(lock, plait__robust_me()));
}

int plait__robust_acquire_moved(plait_lock_t *lock)
{
    return acquire_anyhow(lock, PLAIT_FOREVER, FUTEX_WAITERS);
}

int plait__robust_consistent(plait_lock_t *lock)
{
    if (!plait__robust_is_mine(lock))
        return EPERM;
    if (!(lock->fault & PLAIT__FAULT_INCONSISTENT))
        return EINVAL;
    store_relaxed(&lock->fault, lock->fault & ~(uint32_t)FAULTS);
    return 0;
}

bool plait__robust_is_locked(const plait_lock_t *lock)
{
    uint32_t owner = load_relaxed(plait__robust_word_of(lock, plait__robust_me())) & FUTEX_TID_MASK;

    return owner && !((lock->mode & PLAIT__LOCK_NO_LIST) && plait__owner_is_dead(lock, owner));
}

bool plait__robust_is_mine(const plait_lock_t *lock)
{
    const struct plait__robust_self *s = plait__robust_me();

    return (load_relaxed(plait__robust_word_of(lock, s)) & FUTEX_TID_MASK) == s->tid && is_this_fibers(lock) &&
           is_in_list(s, lock);
}

/* What is kept: when the caller starves, or that it does. */
enum { STARVES = 1 };

int plait__robust_attempt(plait_lock_t *lock, struct plait__waiting *waiting)
{
    int err;

    if (!waiting->enlisted && !waiting->is_try && load_relaxed(plait__robust_owed(lock)))
        return EAGAIN;
    err = plait__robust_acquire(lock, PLAIT_NOW);
    if (err == ETIMEDOUT || err == ECANCELED)
        return EAGAIN;
    /* Killed before this: the kernel wakes nobody, and the others find out after a slice. */
    if (waiting->enlisted && !waiting->unwoken && (err == 0 || err == EOWNERDEAD))
        __atomic_fetch_or(plait__robust_word_of(lock, plait__robust_me()), FUTEX_WAITERS, __ATOMIC_RELAXED);
    if (waiting->kept == STARVES)
        be_served(lock);
    return err;
}

bool plait__robust_enlist(plait_lock_t *lock, struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    uint32_t *word = plait__robust_word_of(lock, plait__robust_me());
    uint32_t v;

    if (lock->mode & PLAIT_PRIO_INHERIT) { /* the kernel wakes only those who sleep for this alone */
        *word_out = (struct plait_wait_word){ &plait__never, 0, 0 };
        waiting->unwoken = true;
        return load_relaxed(word) & FUTEX_TID_MASK;
    }
    if (!waiting->enlisted) {
        if (load_relaxed(plait__robust_owed(lock)))
            plait_wait(plait__robust_owed(lock), 1, PLAIT_SHARED, plait_now() + MOMENT);
        waiting->kept = (uint64_t)(plait_now() + PATIENCE);
    } else if (waiting->kept != STARVES && (uint64_t)plait_now() > waiting->kept) {
        waiting->kept = STARVES;
        store_relaxed(plait__robust_owed(lock), 1);
    }
    v = load_relaxed(word);
    do
        if (!(v & FUTEX_TID_MASK) || (load_relaxed(&lock->fault) & PLAIT__FAULT_NOT_RECOVERABLE))
            return false;
    while (!(v & FUTEX_WAITERS) && !cas_relaxed(word, &v, v | FUTEX_WAITERS));
    *word_out = (struct plait_wait_word){ word, v | FUTEX_WAITERS, PLAIT_SHARED };
    return true;
}

void plait__robust_delist(plait_lock_t *lock, struct plait__waiting *waiting)
{
    if (waiting->kept == STARVES)
        be_served(lock);
    if (!waiting->unwoken)
        pass_wake_on(plait__robust_word_of(lock, plait__robust_me()));
}

int plait__robust_claim(plait_lock_t *life, uint32_t dead_owner, bool *was_dead_out)
{
    struct plait__robust_self *s = plait__robust_me();
    uint32_t *word = plait__robust_word_of(life, s);
    uint32_t v = load_relaxed(word);
    int err = EBUSY;
    void *saved;

    if (dead_owner && (v & FUTEX_TID_MASK) == dead_owner) {
        cas_acqrel(word, &v, (v & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
        v = load_relaxed(word);
    }
    if (v & FUTEX_TID_MASK)
        return EBUSY;
    saved = plait__robust_announce(s, life);
    if (cas_acqrel(word, &v, s->tid)) {
        plait__races_after(&plait__robust_deaths);
        plait__robust_link_life(s, life);
        *was_dead_out = v & FUTEX_OWNER_DIED;
        err = 0;
    }
    plait__robust_unannounce(s, saved);
    return err;
}

void plait__robust_resign(plait_lock_t *life)
{
    struct plait__robust_self *s = plait__robust_me();

    s->held++; /* give counts one down, claim has counted none up */
    plait__robust_forget_life(s, life);
    give(s, life);
}

bool plait__robust_owner_died(const plait_lock_t *life)
{
    return load_acquire(plait__robust_word_of(life, plait__robust_me())) & FUTEX_OWNER_DIED;
}

uint32_t plait__robust_owner(const plait_lock_t *life)
{
    return load_acquire(plait__robust_word_of(life, plait__robust_me())) & FUTEX_TID_MASK;
}
