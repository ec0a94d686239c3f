/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A thread takes part in an arena by owning the life word of a slot, a robust lock, until it ends (or the arena is closed
 * under it). The claim is one exchange of that word, which also says whose it is, so there is no moment at which a slot
 * is taken by nobody. A slot whose owner died is free again; what the dead had in its hands stays there under the old
 * generation, until somebody sees to it (holds.c).
 *
 * Each thread keeps a list of its memberships, and in front of it a cache of the one used last. After a fork the child's
 * copies are void: the memberships are the parent's. They are recognised by the fork epoch and dropped without a
 * touch. At the end of the thread a destructor leaves all arenas, and another does at the end of the
 * process for the thread that calls exit; who uses a shared object in a later destructor joins again and leaves again.
 *
 * The number of members keeps a closed arena mapped, because the life words are in the threads' robust lists.
 */
#include "arena/member.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "arena/arena.h"
#include "arena/holds.h"
#include "arena/start_time.h"
#include "arena/stock.h"
#include "base/atomic.h"
#include "base/races.h"
#include "wait/membership.h"
#include "wait/robust.h"
#include "wait/point.h"

struct membership {
    struct membership *next;
    struct plait_arena *arena;
    struct plait__slot *slot;
};

/* All owner only. */
PLAIT_TLS struct plait__member_cache plait__member_cache = { .epoch = PLAIT__EPOCH_NONE };
static PLAIT_TLS struct membership *memberships;
static PLAIT_TLS uint32_t memberships_epoch = PLAIT__EPOCH_NONE;

static pthread_key_t at_thread_end;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static int key_error;

/*
 * A thread that ends with a lock in its hands is dead to those who want the lock: so it is to all, and its slot stays its own until
 * then, as everybody who holds a lock takes part (plait__owner_is_nobody). The mapping stays for the list's sake.
 */
static bool holds_locks(const struct membership *m)
{
    uint64_t heap = plait__heap_offset(m->arena->base->participants);

    return plait__robust_holds_within(plait__at(m->arena->base, heap), m->arena->limit - heap);
}

static void leave(struct membership *m)
{
    plait__holds_leave(m->arena->base, m->slot);
    plait__robust_resign(&m->slot->life);
    plait__arena_member_left(m->arena);
    free(m);
}

static void leave_all(void *unused)
{
    (void)unused;
    plait__member_cache.base = NULL;
    if (memberships_epoch != plait__fork_epoch())
        return;
    while (memberships) {
        struct membership *m = memberships;

        memberships = m->next;
        if (holds_locks(m))
            free(m);
        else
            leave(m);
    }
}

/*
 * exit() runs no destructors of threads, but its caller ends in order. The arenas stay as they are, as other threads may be
 * using them.
 */
static __attribute__((destructor)) void leave_at_exit(void)
{
    plait__member_cache.base = NULL;
    if (memberships_epoch != plait__fork_epoch())
        return;
    while (memberships) {
        struct membership *m = memberships;

        memberships = m->next;
        if (!holds_locks(m)) {
            plait__holds_leave(m->arena->base, m->slot);
            plait__robust_resign(&m->slot->life);
        }
        free(m);
    }
}

static void make_key(void)
{
    key_error = pthread_key_create(&at_thread_end, leave_all);
}

static int prepare_thread(void)
{
    plait__races_once(&key_once, make_key);
    if (key_error)
        return ENOMEM;
    if (memberships_epoch != plait__fork_epoch()) { /* a new thread, or a child with its parent's list */
        memberships_epoch = plait__fork_epoch_renew();
        while (memberships) { /* the parent's: not ours to leave, only to forget */
            struct membership *m = memberships;

            memberships = m->next;
            free(m);
        }
    }
    return pthread_setspecific(at_thread_end, &memberships) ? ENOMEM : 0;
}

/* When the slot's owner was started, if the slot says so: a new owner's TID comes before its time. */
static uint64_t start_time_in(const struct plait__slot *slot, uint32_t tid)
{
    uint64_t v = load64_relaxed(&slot->start_time);

    return (v & ((1u << PLAIT__TID_BITS) - 1)) == tid ? v >> PLAIT__TID_BITS : 0;
}

bool plait__owner_is_dead(const plait_lock_t *lock, uint32_t tid)
{
    struct plait__arena_header *h = plait__arena_header_of(lock, lock->arena_offset);
    bool found = false;
    uint32_t high;

    if (!plait__arena_is_ours(h))
        return false;
    high = plait__slots_high(h);

    /* Slots of that TID tell when their threads started. There may be several, left by dead ones whose TID was given to
     * another: it lives if any says so. None: it was killed before it could write it, or has left. */
    for (uint32_t i = 0; i < high; i++) {
        const struct plait__slot *slot = plait__slot_at(h, i);

        if (plait__robust_owner(&slot->life) != tid)
            continue;
        if (!plait__thread_is_dead(tid, start_time_in(slot, tid)))
            return false;
        found = true;
    }
    return found || plait__thread_is_dead(tid, 0);
}

bool plait__owner_is_nobody(const plait_lock_t *lock, uint32_t tid)
{
    struct plait__arena_header *h = plait__arena_header_of(lock, lock->arena_offset);
    uint32_t high;

    if (!plait__arena_is_ours(h))
        return false;
    high = plait__slots_high(h);
    for (uint32_t i = 0; i < high; i++)
        if (plait__robust_owner(&plait__slot_at(h, i)->life) == tid)
            return false;
    return true;
}

/* Without lists: the slot's owner, if that is dead and the slot does not say so yet; else 0. */
static uint32_t dead_owner_in(const struct plait__slot *slot)
{
    uint32_t owner = slot->life.mode & PLAIT__LOCK_NO_LIST ? plait__robust_owner(&slot->life) : 0;

    return owner && plait__thread_is_dead(owner, start_time_in(slot, owner)) ? owner : 0;
}

bool plait__slot_is_dead(const struct plait__slot *slot)
{
    if (!(slot->life.mode & PLAIT__LOCK_NO_LIST) || plait__robust_owner(&slot->life) == 0)
        return plait__robust_owner_died(&slot->life);
    return dead_owner_in(slot) != 0;
}

bool plait__slot_is_empty(const struct plait__slot *slot)
{
    return plait__robust_owner(&slot->life) == 0 || plait__slot_is_dead(slot);
}

bool plait__arena_is_known(const void *base)
{
    const struct plait_arena *arena = plait__arena_find(base, 1);

    return arena && arena->base == base;
}

/* Whoever looks through the table shall see this slot, from before it is claimed. */
static void raise_high(struct plait__arena_header *h, uint32_t number)
{
    uint32_t high = load_acquire(&h->slots_high);

    while (high <= number && !cas_acqrel(&h->slots_high, &high, number + 1))
        ;
}

static int claim_slot(struct plait__arena_header *h, struct plait__slot **slot_out)
{
    for (uint32_t i = 0; i < h->participants; i++) {
        struct plait__slot *slot = plait__slot_at(h, i);
        bool was_dead;

        raise_high(h, i);
        plait__holds_retire(slot);
        if (plait__robust_claim(&slot->life, dead_owner_in(slot), &was_dead) != 0)
            continue;
        if (!plait__holds_are_sound(h, slot)) {
            plait__robust_resign(&slot->life);
            continue;
        }
        plait__holds_take_over(h, slot);
        store_relaxed(&slot->row.glancing, 0);
        slot->pid = (uint32_t)getpid();
        store64_relaxed(&slot->start_time, 0);
        if (h->flags & PLAIT__ARENA_NO_LISTS) {
            uint32_t tid = plait__robust_tid();

            store64_relaxed(&slot->start_time, plait__start_time(tid) << PLAIT__TID_BITS | tid);
        }
        *slot_out = slot;
        return 0;
    }
    return ENOSPC;
}

/* The calling thread's membership in the arena at `base`; NULL: it takes no part. */
static struct membership *membership_in(const void *base)
{
    struct membership *m = memberships_epoch == plait__fork_epoch() ? memberships : NULL;

    while (m && m->arena->base != base)
        m = m->next;
    return m;
}

static int join(const void *base, struct plait__slot **slot_out)
{
    struct plait_arena *arena;
    struct membership *m;
    int err = prepare_thread();

    if (err)
        return err;
    m = membership_in(base);
    if (!m) {
        arena = plait__arena_find(base, 1);
        if (!arena || arena->base != base)
            return EINVAL;
        if (plait__robust_list_works() == ((arena->base->flags & PLAIT__ARENA_NO_LISTS) != 0))
            return ENOSYS;
        m = malloc(sizeof *m);
        if (!m)
            return ENOMEM;
        m->arena = arena;
        err = claim_slot(arena->base, &m->slot);
        if (err) {
            free(m);
            return err;
        }
        plait__arena_member_joined(arena);
        m->next = memberships;
        memberships = m;
    }
    plait__member_cache = (struct plait__member_cache){ plait__fork_epoch(), base, m->slot, plait__stock_of(m->arena->base, m->slot) };
    *slot_out = m->slot;
    return 0;
}

/* Files may be read on the way, with locks held, and this is on the way of lock and release. */
int plait__member_join(const void *base, struct plait__slot **slot_out)
{
    int closed = plait__point_close();
    int err = join(base, slot_out);

    plait__point_restore(closed);
    return err;
}

void plait__member_leave(const void *base)
{
    struct membership **link = &memberships;

    if (plait__member_cache.base == base)
        plait__member_cache.base = NULL;
    if (memberships_epoch != plait__fork_epoch())
        return;
    while (*link && (*link)->arena->base != base)
        link = &(*link)->next;
    if (*link) {
        struct membership *m = *link;

        *link = m->next;
        leave(m);
    }
}

int plait__shared_place(const void *object, unsigned flags, unsigned more_flags, uint64_t *offset_out)
{
    struct plait_arena *arena;

    *offset_out = 0;
    if (!object || (flags & ~(PLAIT_SHARED | more_flags)))
        return EINVAL;
    if (!(flags & PLAIT_SHARED))
        return 0;
    arena = plait__arena_find(object, 1);
    if (!arena)
        return EINVAL;
    *offset_out = plait__offset_in(arena->base, object);
    return plait__member_of(object, *offset_out);
}
