/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Counters, all relaxed: nobody concludes anything from them about other memory, and each is right by itself. The time of
 * the beginning is written once, by whoever finds it 0.
 *
 * The rate is a mean over time that forgets: of a span dt since the last look, the new rate has the weight dt / (dt +
 * MEMORY). All that this needs is kept in the caller's struct, so anybody may look, as often as he likes. Looks that follow
 * too soon after each other would measure noise: they leave the rate alone.
 */
#include <plait/progress.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/races.h"
#include "wait/membership.h"

#define MEMORY (5 * PLAIT__SECOND)
#define TOO_SOON (PLAIT__SECOND / 20)

int plait_progress_init(plait_progress_t *progress, uint64_t items_total, uint64_t units_total, unsigned flags)
{
    plait_progress_t fresh = { .items_total = items_total, .units_total = units_total, .began = plait_now(), .mode = flags };
    int err = plait__shared_place(progress, flags, 0, &fresh.arena_offset);

    if (err == 0)
        *progress = fresh;
    return err;
}

int plait_progress_fini(plait_progress_t *progress)
{
    plait__races_forget(progress, sizeof *progress);
    return 0;
}

/* When it began, which is now if nobody has used it. */
static plait_time_t beginning(plait_progress_t *progress)
{
    uint64_t *began = (uint64_t *)&progress->began, found = load64_relaxed(began), now;

    if (__builtin_expect(found != 0, 1))
        return (plait_time_t)found;
    now = (uint64_t)plait_now();
    return (plait_time_t)(cas64_relaxed(began, &found, now) ? now : found);
}

static void count(uint64_t *counter, uint64_t n)
{
    if (n)
        add64_relaxed(counter, n);
}

int plait_progress_advance(plait_progress_t *progress, uint64_t items, uint64_t units)
{
    beginning(progress);
    count(&progress->items, items);
    count(&progress->units, units);
    return 0;
}

int plait_progress_expect(plait_progress_t *progress, uint64_t items, uint64_t units)
{
    beginning(progress);
    count(&progress->items_total, items);
    count(&progress->units_total, units);
    return 0;
}

/* ---- Looking ---- */

static double seconds(plait_time_t span)
{
    return (double)span / (double)PLAIT__SECOND;
}

/* Go on with the rate from the look before, or begin with the one since the beginning. */
static void measure(struct plait_progress_look *look, uint64_t done, bool is_by_units, plait_time_t began, plait_time_t now)
{
    plait_time_t span = now - look->at;
    bool goes_on = look->at >= began && look->at != 0 && look->is_by_units == is_by_units && look->counted <= done;

    if (goes_on && span < TOO_SOON)
        return;
    if (goes_on)
        look->rate += ((double)(done - look->counted) / seconds(span) - look->rate) * (double)span / (double)(span + MEMORY);
    else
        look->rate = now > began ? (double)done / seconds(now - began) : 0;
    look->is_by_units = is_by_units;
    look->at = now;
    look->counted = done;
}

int plait_progress_look(plait_progress_t *progress, struct plait_progress_look *look)
{
    plait_time_t began = beginning(progress), now = plait_now();
    uint64_t done, total;

    look->items = load64_relaxed(&progress->items);
    look->units = load64_relaxed(&progress->units);
    look->items_total = load64_relaxed(&progress->items_total);
    look->units_total = load64_relaxed(&progress->units_total);
    bool is_by_units = look->units_total || (!look->items_total && look->units);
    done = is_by_units ? look->units : look->items;
    total = is_by_units ? look->units_total : look->items_total;
    look->elapsed = seconds(now - began);
    look->fraction = total == 0 ? -1 : done < total ? (double)done / (double)total : 1;
    measure(look, done, is_by_units, began, now);
    if (total && done >= total)
        look->left = 0;
    else
        look->left = total && look->rate > 0 ? (double)(total - done) / look->rate : -1;
    return 0;
}
