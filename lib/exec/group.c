/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Futures that are not done are members (members.c); one that is done is noted, if it failed, and gone. Who waits sleeps on the set's
 * `changes` until none is left; all are woken then.
 *
 * Cancelling goes round the line: each member is taken from its head, put at its end, and cancelled without the lock, as that calls
 * callbacks, the group's own among them.
 */
#include <plait/group.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <plait/wait.h>

#include "base/atomic.h"
#include "exec/members.h"
#include "wait/waitable.h"

struct plait_group {
    struct plait__members members; /* first */
    uint64_t failed;               /* atomic; changed with the lock held */
    uint32_t code;                 /* atomic (E1): of the first that has failed; text was written before */
    char text[TASK_TEXT];
};

/* E1: the text is written before the code is released; who acquires a code that is not 0 reads it. */
static void note_failure(plait_group_t *group, const struct plait__outcome *outcome)
{
    if (add64_relaxed(&group->failed, 1) != 0)
        return;
    snprintf(group->text, sizeof group->text, "%s", outcome->text);
    store_release(&group->code, (uint32_t)outcome->code);
}

static void on_left(struct plait__members *members, struct plait__member *member)
{
    struct plait__outcome outcome;

    member->future->kind->outcome(member->future, &outcome);
    if (outcome.code)
        note_failure((plait_group_t *)members, &outcome);
    plait__member_free(member); /* not the last reference: who calls us has one */
    if (add64_relaxed(&members->count, (uint64_t)-1) == 1)
        plait__members_wake(members, UINT_MAX);
}

int plait_group_new(plait_group_t **group_out)
{
    plait_group_t *group;

    if (!group_out)
        return EINVAL;
    group = calloc(1, sizeof *group);
    if (!group)
        return ENOMEM;
    plait__members_init(&group->members, on_left);
    *group_out = group;
    return 0;
}

int plait_group_add(plait_group_t *group, plait_future_t *future)
{
    return future ? plait__members_add(&group->members, future) : EINVAL;
}

/* 0: there is nobody left. EOWNERDEAD: those that are will stay. EAGAIN: there are some; *seen_out: until `changes` differs. */
static int look(plait_group_t *group, uint32_t *seen_out)
{
    int err = EAGAIN;

    pthread_mutex_lock(&group->members.lock);
    if (load64_relaxed(&group->members.count) == 0)
        err = 0;
    else if (plait__members_are_orphans(&group->members))
        err = EOWNERDEAD;
    *seen_out = load_relaxed(&group->members.changes);
    pthread_mutex_unlock(&group->members.lock);
    return err;
}

int plait_group_wait(plait_group_t *group, plait_time_t deadline)
{
    uint32_t seen;
    int err = 0, state;

    while ((state = look(group, &seen)) == EAGAIN) {
        if (err)
            return err;
        if (deadline <= PLAIT_NOW || !plait__members_help(&group->members))
            err = plait_wait(&group->members.changes, seen, 0, deadline);
    }
    return state;
}

int plait_group_cancel(plait_group_t *group)
{
    uint64_t count = load64_relaxed(&group->members.count); /* relaxed: who adds meanwhile is not meant */
    plait_future_t *future;

    for (; count > 0 && (future = plait__members_next(&group->members)) != NULL; count--) {
        plait_future_cancel(future);
        plait__future_unreference(future);
    }
    return 0;
}

size_t plait_group_count(const plait_group_t *group)
{
    return load64_relaxed(&group->members.count);
}

size_t plait_group_failed(const plait_group_t *group)
{
    return load64_relaxed(&group->failed);
}

int plait_group_error(const plait_group_t *group)
{
    return (int)load_acquire(&group->code);
}

const char *plait_group_error_text(const plait_group_t *group)
{
    return load_acquire(&group->code) ? group->text : ""; /* E1 */
}

int plait_group_free(plait_group_t *group)
{
    if (group)
        plait__members_fini(&group->members);
    free(group);
    return 0;
}

/* ---- Among others ---- */

static int attempt_wait(struct plait__waiting *waiting)
{
    uint32_t seen = 0;
    int err = look(waiting->entry->object, &seen);

    waiting->kept = seen;
    return err;
}

static bool enlist_wait(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_group_t *group = waiting->entry->object;

    *word_out = (struct plait_wait_word){ &group->members.changes, (uint32_t)waiting->kept, 0 };
    return !plait__members_help(&group->members);
}

struct plait_wait_entry plait_any_group_wait(plait_group_t *group)
{
    static const struct plait_waitable waiting = { attempt_wait, enlist_wait, NULL, PLAIT__UNWATCHED, NULL };

    return (struct plait_wait_entry){ .how = &waiting, .object = group };
}
