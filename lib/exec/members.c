/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Each future that is in the set has a member, with a callback in it. When the future is done the callback takes the member out of the list
 * and gives it to the keeper, who puts it elsewhere or frees it.
 *
 * No wake is lost: who sleeps looks at the set and at `changes` with the lock held; whoever changes the set changes that word with the lock
 * held too, and wakes afterwards.
 *
 * Lock order: a future's lock, then the set's. The callbacks are called without the future's lock; stirred with it.
 *
 * The end: a callback that could not be taken back is waited for, because its member is the set's.
 */
#include "exec/members.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <plait/cancel.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "exec/pool_backend.h"
#include "wait/point.h"

void plait__members_append(struct plait__member_list *list, struct plait__member *member)
{
    member->next = NULL;
    member->link = list->last;
    *list->last = member;
    list->last = &member->next;
}

void plait__members_cut(struct plait__member_list *list, struct plait__member *member)
{
    *member->link = member->next;
    if (member->next)
        member->next->link = member->link;
    else
        list->last = member->link;
}

void plait__member_free(struct plait__member *member)
{
    plait__future_unreference(member->future);
    free(member);
}

void plait__members_wake(struct plait__members *set, unsigned sleepers)
{
    add_release(&set->changes, 1);
    plait_wake(&set->changes, sleepers, 0);
}

void plait__members_init(struct plait__members *set,
                         void (*left)(struct plait__members *set, struct plait__member *member))
{
    pthread_mutex_init(&set->lock, NULL);
    set->waiting = (struct plait__member_list){ NULL, &set->waiting.first };
    set->is_ending = false;
    set->count = 0;
    set->changes = 0;
    set->left = left;
}

/* ---- Coming and going ---- */

static void on_done(plait_future_t *future, void *context)
{
    struct plait__member *member = context;
    struct plait__members *set = member->set;

    pthread_mutex_lock(&set->lock);
    plait__members_cut(&set->waiting, member);
    set->left(set, member);
    if (set->is_ending)
        plait__members_wake(set, UINT_MAX);
    pthread_mutex_unlock(&set->lock);
}

static void on_stirred(void *context)
{
    struct plait__members *set = ((struct plait__member *)context)->set;

    pthread_mutex_lock(&set->lock);
    plait__members_wake(set, UINT_MAX);
    pthread_mutex_unlock(&set->lock);
}

struct plait__member *plait__member_new(void)
{
    return malloc(sizeof(struct plait__member));
}

void plait__members_adopt(struct plait__members *set, struct plait__member *member, plait_future_t *future)
{
    *member = (struct plait__member){ .callback = { .call = on_done, .stirred = on_stirred, .context = member, .is_own = true },
                                      .set = set, .future = future };
    plait__future_reference(future);
    pthread_mutex_lock(&set->lock);
    plait__members_append(&set->waiting, member);
    add64_relaxed(&set->count, 1);
    pthread_mutex_unlock(&set->lock);
    plait__future_listen(future, &member->callback);
}

int plait__members_add(struct plait__members *set, plait_future_t *future)
{
    struct plait__member *member = plait__member_new();

    if (!member)
        return ENOMEM;
    plait__members_adopt(set, member, future);
    return 0;
}

/* Outside of children of fork the first one is none. */
bool plait__members_are_orphans(const struct plait__members *set)
{
    const struct plait__member *member = set->waiting.first;

    while (member && plait__future_is_orphan(member->future))
        member = member->next;
    return !member && set->waiting.first;
}

plait_future_t *plait__members_next(struct plait__members *set)
{
    plait_future_t *future = NULL;
    struct plait__member *member;

    pthread_mutex_lock(&set->lock);
    member = set->waiting.first;
    if (member) {
        plait__members_cut(&set->waiting, member);
        plait__members_append(&set->waiting, member);
        future = member->future;
        plait__future_reference(future); /* the member may be gone as soon as the lock is not held */
    }
    pthread_mutex_unlock(&set->lock);
    return future;
}

bool plait__members_help(struct plait__members *set)
{
    uint64_t tries = plait__pool_is_anyones() ? load64_relaxed(&set->count) : 0;
    plait_future_t *future;
    bool helped = false;

    for (; tries > 0 && !helped && (future = plait__members_next(set)) != NULL; tries--) {
        helped = plait__future_help(future);
        plait__future_unreference(future);
    }
    return helped;
}

/* ---- The end ---- */

static struct plait__member *first_of(struct plait__members *set, plait_future_t **future_out, uint32_t *seen_out)
{
    struct plait__member *member;

    pthread_mutex_lock(&set->lock);
    set->is_ending = true;
    member = set->waiting.first;
    if (member) {
        *future_out = member->future;
        plait__future_reference(member->future); /* the member may be gone as soon as the lock is not held */
    }
    *seen_out = load_relaxed(&set->changes);
    pthread_mutex_unlock(&set->lock);
    return member;
}

static void take_all_back(struct plait__members *set)
{
    struct plait__member *member;
    plait_future_t *future;
    uint32_t seen;

    while ((member = first_of(set, &future, &seen)) != NULL) {
        if (plait__future_ignore(future, &member->callback)) { /* compares addresses only */
            pthread_mutex_lock(&set->lock);
            plait__members_cut(&set->waiting, member);
            pthread_mutex_unlock(&set->lock);
            plait__member_free(member);
        } else {
            plait_wait(&set->changes, seen, 0, PLAIT_FOREVER);
        }
        plait__future_unreference(future);
    }
}

void plait__members_fini(struct plait__members *set)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int closed = plait__point_close();

    take_all_back(set);
    plait__point_restore(closed);
    plait_cancel_bind(token);
    pthread_mutex_destroy(&set->lock);
}
