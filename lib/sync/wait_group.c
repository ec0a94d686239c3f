/* SPDX-License-Identifier: MIT */
/* How it works: a countdown (sync/countdown.c) that is raised and lowered. */
#include <plait/wait_group.h>

#include <errno.h>

#include "base/races.h"
#include "sync/countdown.h"
#include "wait/membership.h"

int plait_wait_group_init(plait_wait_group_t *group, unsigned flags)
{
    plait_wait_group_t fresh = { .mode = flags };
    int err = plait__shared_place(group, flags, 0, &fresh.arena_offset);

    if (err == 0)
        *group = fresh;
    return err;
}

int plait_wait_group_fini(plait_wait_group_t *group)
{
    if (plait__countdown_look(&group->state))
        return EBUSY;
    plait__races_forget(group, sizeof *group);
    return 0;
}

int plait_wait_group_add(plait_wait_group_t *group, unsigned n)
{
    return plait__countdown_raise(&group->state, n);
}

int plait_wait_group_done(plait_wait_group_t *group)
{
    return plait__countdown_lower(&group->state, 1, group->mode & PLAIT_SHARED);
}

int plait_wait_group_wait(plait_wait_group_t *group, plait_time_t deadline)
{
    return plait__countdown_wait(&group->state, group->mode & PLAIT_SHARED, deadline);
}

unsigned plait_wait_group_count(const plait_wait_group_t *group)
{
    return plait__countdown_look(&group->state);
}

/* ---- Among others ------------------------------------------------------------------------ */

static int attempt(struct plait__waiting *waiting)
{
    return plait__countdown_attempt(waiting, &((plait_wait_group_t *)waiting->entry->object)->state);
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_wait_group_t *group = waiting->entry->object;

    return plait__countdown_enlist(waiting, &group->state, group->mode & PLAIT_SHARED, word_out);
}

struct plait_wait_entry plait_any_wait_group_wait(plait_wait_group_t *group)
{
    static const struct plait_waitable waiting = { attempt, enlist, NULL, PLAIT__WATCH_ATTEMPT, NULL };

    return (struct plait_wait_entry){ .how = &waiting, .object = group };
}
