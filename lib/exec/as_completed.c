/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Futures that are not done are members of the set (members.c); those that are stand in `done`, in the order of their ends, until they
 * are read. Readers sleep on the set's `changes`. One is woken for each future that comes to be done; all when the last one has been
 * taken, and there is nothing left to wait for.
 */
#include <plait/as_completed.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <plait/wait.h>

#include "base/atomic.h"
#include "exec/members.h"
#include "wait/waitable.h"

struct plait_as_completed {
    struct plait__members members; /* first; its count is of both lists */
    struct plait__member_list done; /* guarded by its lock */
};

static void on_left(struct plait__members *members, struct plait__member *member)
{
    plait__members_append(&((plait_as_completed_t *)members)->done, member);
    plait__members_wake(members, 1);
}

int plait_as_completed_add(plait_as_completed_t *set, plait_future_t *future)
{
    return future ? plait__members_add(&set->members, future) : EINVAL;
}

int plait_as_completed_new(plait_as_completed_t **set_out, plait_future_t *const *futures, size_t count)
{
    plait_as_completed_t *set;
    int err;

    if (!set_out || (count && !futures))
        return EINVAL;
    set = malloc(sizeof *set);
    if (!set)
        return ENOMEM;
    plait__members_init(&set->members, on_left);
    set->done = (struct plait__member_list){ NULL, &set->done.first };
    for (size_t i = 0; i < count; i++) {
        err = plait_as_completed_add(set, futures[i]);
        if (err) {
            plait_as_completed_free(set);
            return err;
        }
    }
    *set_out = set;
    return 0;
}

/* With the lock held: why is none done? */
static int reason(const plait_as_completed_t *set)
{
    if (load64_relaxed(&set->members.count) == 0)
        return EPIPE;
    return plait__members_are_orphans(&set->members) ? EOWNERDEAD : EAGAIN;
}

/* Take one that is done. EPIPE, EOWNERDEAD: there will be none. EAGAIN: not yet; *seen_out: until `changes` differs. */
static int take(plait_as_completed_t *set, plait_future_t **future_out, uint32_t *seen_out)
{
    struct plait__members *members = &set->members;
    struct plait__member *member;
    int err = 0;

    pthread_mutex_lock(&members->lock);
    member = set->done.first;
    if (member) {
        plait__members_cut(&set->done, member);
        if (add64_relaxed(&members->count, (uint64_t)-1) == 1)
            plait__members_wake(members, UINT_MAX);
    } else {
        err = reason(set);
        *seen_out = load_relaxed(&members->changes);
    }
    pthread_mutex_unlock(&members->lock);
    if (member) {
        *future_out = member->future;
        plait__member_free(member);
    }
    return err;
}

int plait_as_completed_next(plait_as_completed_t *set, plait_future_t **future_out, plait_time_t deadline)
{
    uint32_t seen;
    int err;

    while ((err = take(set, future_out, &seen)) == EAGAIN) {
        if (deadline > PLAIT_NOW && plait__members_help(&set->members))
            continue;
        err = plait_wait(&set->members.changes, seen, 0, deadline);
        if (err)
            return take(set, future_out, &seen) == 0 ? 0 : err;
    }
    return err;
}

size_t plait_as_completed_count(const plait_as_completed_t *set)
{
    return load64_relaxed(&set->members.count);
}

int plait_as_completed_free(plait_as_completed_t *set)
{
    struct plait__member *member;

    if (!set)
        return 0;
    plait__members_fini(&set->members);
    while ((member = set->done.first) != NULL) {
        plait__members_cut(&set->done, member);
        plait__member_free(member);
    }
    free(set);
    return 0;
}

/* ---- Among others ---- */

static int attempt_next(struct plait__waiting *waiting)
{
    uint32_t seen = 0;
    int err = take(waiting->entry->object, waiting->entry->buffer, &seen);

    waiting->kept = seen;
    return err;
}

static bool enlist_next(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_as_completed_t *set = waiting->entry->object;

    *word_out = (struct plait_wait_word){ &set->members.changes, (uint32_t)waiting->kept, 0 };
    return !plait__members_help(&set->members);
}

/* The one wake of a future may have been for the caller. */
static void delist_next(struct plait__waiting *waiting)
{
    plait_as_completed_t *set = waiting->entry->object;

    pthread_mutex_lock(&set->members.lock);
    if (set->done.first)
        plait__members_wake(&set->members, 1);
    pthread_mutex_unlock(&set->members.lock);
}

struct plait_wait_entry plait_any_as_completed_next(plait_as_completed_t *set, plait_future_t **future_out)
{
    static const struct plait_waitable next = { attempt_next, enlist_next, delist_next, PLAIT__UNWATCHED, NULL };

    return (struct plait_wait_entry){ .how = &next, .object = set, .buffer = future_out };
}
