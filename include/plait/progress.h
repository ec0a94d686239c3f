/* SPDX-License-Identifier: MIT */
/* Progress: how much is done, counted by anybody and shown on a terminal. */
#ifndef PLAIT_PROGRESS_H
#define PLAIT_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/time.h>
#include <plait/wait.h>

PLAIT_BEGIN_DECLS

/*
 * plait_progress_t - counts of what is done and of what there is to do: items, and beside them units of work, as bytes are
 * to files.
 *
 *     plait_progress_t progress;
 *     plait_bar_t *bar;
 *     plait_progress_init(&progress, file_count, bytes_total, 0);
 *     plait_bar_new(&bar, &(struct plait_bar_opts){ .progress = &progress, .title = "copy", .items = "files", .units = "B" });
 *     for (size_t i = 0; i < file_count; i++) {
 *         copy(&files[i]);                                       // by threads, for all that matters
 *         plait_progress_advance(&progress, 1, files[i].size);
 *     }
 *     plait_bar_free(bar);
 *
 * A total of 0 is not known, or not known yet; it may grow at any time. Where there are both kinds of counts and both
 * totals, the units tell how far it is, because items may differ in size.
 *
 * Anybody may count and look, signal handlers too: there is no lock, and nobody waits. A count says nothing about memory:
 * what was written before it may not be seen by whom the count shows. Threads that count a lot share one cache line, so let
 * them count a hundred at once rather than each.
 *
 * All-zero bytes are a private progress without totals, whose time begins with its first use. With PLAIT_SHARED, in an
 * arena, it serves processes; one that dies has counted what it has counted.
 */
typedef struct plait_progress {
    uint64_t items;        /* atomic, as all that is counted */
    uint64_t units;
    uint64_t items_total;
    uint64_t units_total;
    plait_time_t began;    /* atomic; 0: not yet */
    uint32_t mode;         /* const after init: flags */
    uint32_t spare;
    uint64_t arena_offset; /* const after init: distance from the arena's header, 0 if private */
    uint64_t spare2;
} plait_progress_t;

/* Begin, at 0 of these totals (0: not known). EINVAL: an unknown flag, or PLAIT_SHARED outside an arena. */
PLAIT_API int plait_progress_init(plait_progress_t *progress, uint64_t items_total, uint64_t units_total, unsigned flags);

/* End its life; no bar may show it any more. Always 0. */
PLAIT_API int plait_progress_fini(plait_progress_t *progress);

/* So many more are done; either may be 0. Always 0. */
PLAIT_API int plait_progress_advance(plait_progress_t *progress, uint64_t items, uint64_t units);

/* There are so many more to do: the totals grow; either may be 0. Always 0. */
PLAIT_API int plait_progress_expect(plait_progress_t *progress, uint64_t items, uint64_t units);

/* What plait_progress_look has seen. All zero before the first look. */
struct plait_progress_look {
    uint64_t items, items_total;
    uint64_t units, units_total;
    double fraction; /* of the total that is done, 0 to 1; negative: there is no total */
    double elapsed;  /* seconds since it began */
    double rate;     /* a second, lately: units if is_by_units, else items */
    double left;     /* seconds to go at that rate; negative: nobody knows */
    bool is_by_units; /* fraction and rate are of units */
    plait_time_t at; /* of the rate, as all that follows; for the next look */
    uint64_t counted;
    uint64_t spare[2];
};

/*
 * Look: each count is right, not all of them together. *look is read as well: it holds the look before, from which the rate
 * goes on, so give the same one each time, or one of all zero for the rate since the beginning. The rate forgets what is
 * more than some five seconds past. Always 0.
 */
PLAIT_API int plait_progress_look(plait_progress_t *progress, struct plait_progress_look *look);

/*
 * plait_bar_t - a progress that is shown, ten times a second, until the bar is freed:
 *
 *     copy:  42% [########............] 1234/2942 files, 210 MB/501 MB, 32.1 MB/s, 0:09 left
 *
 * It is drawn in one line of the terminal behind the descriptor, over itself, and taken away at the end (or left with
 * .keep). What does not fit into the terminal's present width is left out. Nothing is drawn if that is no terminal, or TERM
 * is "dumb" or missing; and nothing as long as the program is in the background. There are no colours. A terminal that takes
 * nothing more, stopped by Ctrl-S or gone, holds up nobody: what it does not take is dropped.
 *
 * The library's timer thread draws (plait/timer.h); where nothing is drawn there is none. What the program prints to the
 * same terminal goes between a hide and a show:
 *
 *     plait_bar_hide(bar);
 *     printf("%s\n", path);
 *     plait_bar_show(bar);
 *
 * With .callback, that is called instead, with what there is to show: in the same thread, so it should take no time to speak
 * of, and never twice at once.
 *
 * Threads may make any of the calls at any time, but for free, which is the last one. A child of fork has nothing of the
 * bar: there, calls do nothing, and free gives its memory back.
 */
typedef struct plait_bar plait_bar_t;

/* Options of plait_bar_new; zero is the default of each but progress. */
struct plait_bar_opts {
    plait_progress_t *progress; /* it must outlive the bar */
    const char *title;          /* NULL: none; copied, as all strings here */
    const char *items;          /* what an item is called, in the plural; NULL: only numbers */
    const char *units;          /* what a unit is called; shown by thousands: with "B" as B, kB, MB...; NULL: units are not shown */
    int fd;                     /* of the terminal; 0: standard error */
    bool keep;                  /* leave the last state behind, in a line of its own */
    double interval;            /* seconds from one drawing or call to the next; 0: 0.1 */
    void (*callback)(const struct plait_progress_look *look, void *context);
    void *context;
};

/*
 * Begin to show it, one interval from now. EINVAL: no progress, or an interval that is negative, no number, less than a
 * nanosecond, or above 292 years. ENOMEM. EAGAIN: there is no thread to be had.
 */
PLAIT_API int plait_bar_new_sized(plait_bar_t **bar_out, const struct plait_bar_opts *opts, size_t opts_size);

PLAIT_API int plait_bar_new(plait_bar_t **bar_out, const struct plait_bar_opts *opts);
PLAIT_INLINE_ALWAYS int plait_bar_new(plait_bar_t **bar_out, const struct plait_bar_opts *opts)
{
    return plait_bar_new_sized(bar_out, opts, sizeof(struct plait_bar_opts));
}

/*
 * Take the line away, and draw none until plait_bar_show has been called as often as this: when this returns, the terminal
 * is the caller's. If there was a line, the last show draws it anew. Callbacks are not concerned. NULL is allowed. 0;
 * EOVERFLOW: show without hide.
 */
PLAIT_API int plait_bar_hide(plait_bar_t *bar);
PLAIT_API int plait_bar_show(plait_bar_t *bar);

/*
 * The end: the line goes, or is drawn a last time and stays (.keep); the callback is called a last time, by the caller. NULL
 * is allowed. 0; EDEADLK, and nothing done: called by the callback.
 */
PLAIT_API int plait_bar_free(plait_bar_t *bar);

PLAIT_END_DECLS

#endif
