/* SPDX-License-Identifier: MIT */
/* How it works: a countdown (sync/countdown.c) that is never raised. */
#include <plait/latch.h>

#include "base/races.h"
#include "sync/countdown.h"
#include "wait/membership.h"

int plait_latch_init(plait_latch_t *latch, unsigned count, unsigned flags)
{
    plait_latch_t fresh = { .state = count, .mode = flags };
    int err = plait__shared_place(latch, flags, 0, &fresh.arena_offset);

    if (err == 0)
        *latch = fresh;
    return err;
}

int plait_latch_fini(plait_latch_t *latch)
{
    plait__races_forget(latch, sizeof *latch);
    return 0;
}

int plait_latch_count_down(plait_latch_t *latch, unsigned n)
{
    return plait__countdown_lower(&latch->state, n, latch->mode & PLAIT_SHARED);
}

int plait_latch_wait(plait_latch_t *latch, plait_time_t deadline)
{
    return plait__countdown_wait(&latch->state, latch->mode & PLAIT_SHARED, deadline);
}

unsigned plait_latch_count(const plait_latch_t *latch)
{
    return plait__countdown_look(&latch->state);
}

/* ---- Among others ------------------------------------------------------------------------ */

static int attempt(struct plait__waiting *waiting)
{
    return plait__countdown_attempt(waiting, &((plait_latch_t *)waiting->entry->object)->state);
}

static bool enlist(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_latch_t *latch = waiting->entry->object;

    return plait__countdown_enlist(waiting, &latch->state, latch->mode & PLAIT_SHARED, word_out);
}

struct plait_wait_entry plait_any_latch_wait(plait_latch_t *latch)
{
    static const struct plait_waitable waiting = { attempt, enlist, NULL, PLAIT__WATCH_ATTEMPT, NULL };

    return (struct plait_wait_entry){ .how = &waiting, .object = latch };
}
