/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A timer of the library ticks; each tick draws, or calls the callback. The lock guards what is on the terminal: it is held
 * for one look and one write that does not wait. Where nothing would ever be drawn there is neither timer nor thread.
 *
 * The write must not wait: the timer thread has other timers. Descriptors of the same opening share O_NONBLOCK with programs
 * that would not bear it, so the terminal is opened once more, through /proc; where that does not go, poll is asked before,
 * which is right but for the last few bytes of room. (A pseudo-terminal's other side is not opened again: that would be a
 * new one.)
 *
 * A write to the terminal from the background stops the whole process (SIGTTOU, if the user wants that), unless the signal
 * is blocked. So it is, and nothing is drawn in the background anyway; there is but a moment between that look and the
 * write.
 */
#include <plait/progress.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/timer.h>

#include "base/fork_epoch.h"
#include "base/options.h"
#include "exec/bar_line.h"
#include "exec/helper.h"
#include "wait/point.h"

#define INTERVAL 0.1

enum { COLUMNS_UNKNOWN = 80 };

struct plait_bar {
    struct plait_bar_opts opts;    /* const; its strings are copies, behind the struct */
    struct plait__bar_words words; /* const */
    uint32_t epoch;                /* const: of the process that shows it */
    int fd;                        /* const: the terminal; -1: nothing is drawn */
    bool ticks;                    /* const: there is a timer */
    bool is_ours;                  /* const: the descriptor is an opening of our own, which does not wait */
    plait_timer_t timer;
    pthread_mutex_t lock;          /* guards what follows */
    struct plait_progress_look look;
    unsigned hidden;               /* how often it was hidden and not shown again */
    bool is_drawn;                 /* there is a line of ours */
    bool was_drawn;                /* there was when it was hidden */
};

/* ---- The terminal ---- */

static bool is_smart(void)
{
    const char *kind = getenv("TERM");

    return kind && *kind && strcmp(kind, "dumb") != 0;
}

static void open_terminal(plait_bar_t *bar, int given)
{
    char path[32];
    int number;

    bar->fd = -1;
    if (!isatty(given) || !is_smart())
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", given);
    if (ioctl(given, TIOCGPTN, &number) != 0) /* so it is no master */
        bar->fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    bar->is_ours = bar->fd >= 0;
    if (!bar->is_ours)
        bar->fd = given;
}

/* A terminal that is not the one which controls us has no foreground for us to be in. */
static bool is_in_background(const plait_bar_t *bar)
{
    pid_t group = tcgetpgrp(bar->fd);

    return group > 0 && group != getpgrp();
}

static size_t columns(const plait_bar_t *bar)
{
    struct winsize size;

    /* The last one stays free: what is written there makes some terminals begin a new line. */
    return (ioctl(bar->fd, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : COLUMNS_UNKNOWN) - 1u;
}

static void put(const plait_bar_t *bar, const char *bytes, size_t size)
{
    struct pollfd polled = { bar->fd, POLLOUT, 0 };
    sigset_t before;

    plait__helper_mask(&before);
    if (bar->is_ours || (poll(&polled, 1, 0) > 0 && polled.revents & POLLOUT))
        if (write(bar->fd, bytes, size) < 0)
            (void)errno; /* the next one is as good */
    plait__helper_unmask(&before);
}

/* ---- Drawing, with the lock held ---- */

static void draw(plait_bar_t *bar, const char *end)
{
    char out[BAR_LINE_SIZE + 16] = "\r";
    size_t size;

    plait_progress_look(bar->opts.progress, &bar->look);
    if (bar->hidden || is_in_background(bar))
        return;
    size = 1 + plait__bar_line(out + 1, columns(bar), &bar->words, &bar->look);
    size += (size_t)snprintf(out + size, sizeof out - size, "\033[K%s", end);
    put(bar, out, size);
    bar->is_drawn = true;
}

/* In the background, what was drawn is the shell's by now. */
static void take_away(plait_bar_t *bar)
{
    static const char erase[] = "\r\033[K";

    if (bar->is_drawn && !is_in_background(bar))
        put(bar, erase, sizeof erase - 1);
    bar->is_drawn = false;
}

static void tick(plait_timer_t *timer, void *arg)
{
    plait_bar_t *bar = arg;

    (void)timer;
    if (bar->opts.callback) { /* the lock is not needed: nobody else looks */
        plait_progress_look(bar->opts.progress, &bar->look);
        bar->opts.callback(&bar->look, bar->opts.context);
        return;
    }
    pthread_mutex_lock(&bar->lock);
    draw(bar, "");
    pthread_mutex_unlock(&bar->lock);
}

/* ---- Beginning ---- */

static size_t string_size(const char *string)
{
    return string ? strlen(string) + 1 : 1;
}

/* What a terminal would take for a command is replaced. */
static const char *copy_string(char **room, const char *string)
{
    char *copy = *room;

    *room = stpcpy(copy, string ? string : "") + 1;
    for (char *at = copy; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    return copy;
}

static plait_bar_t *make(const struct plait_bar_opts *opts)
{
    plait_bar_t *bar = calloc(1, sizeof *bar + string_size(opts->title) + string_size(opts->items) + string_size(opts->units));
    char *room = (char *)(bar + 1);

    if (!bar)
        return NULL;
    bar->opts = *opts;
    bar->words.title = copy_string(&room, opts->title);
    bar->words.items = copy_string(&room, opts->items);
    bar->words.units = opts->units ? copy_string(&room, opts->units) : NULL;
    bar->epoch = plait__fork_epoch_renew();
    bar->fd = -1;
    pthread_mutex_init(&bar->lock, NULL);
    return bar;
}

static void destroy(plait_bar_t *bar)
{
    if (bar->is_ours)
        close(bar->fd);
    pthread_mutex_destroy(&bar->lock);
    free(bar);
}

static int start_ticking(plait_bar_t *bar)
{
    double interval = bar->opts.interval > 0 ? bar->opts.interval : INTERVAL;
    int err = plait_timer_init(&bar->timer, &(struct plait_timer_opts){ .target = tick, .arg = bar });

    if (err == 0)
        err = plait_timer_start_every(&bar->timer, plait_after(interval), interval);
    bar->ticks = err == 0;
    return err;
}

int plait_bar_new_sized(plait_bar_t **bar_out, const struct plait_bar_opts *given, size_t given_size)
{
    struct plait_bar_opts opts;
    plait_bar_t *bar;
    int err = 0;

    if (!bar_out || plait__options_read(&opts, sizeof opts, given, given_size) || !opts.progress || !(opts.interval >= 0))
        return EINVAL;
    bar = make(&opts);
    if (!bar)
        return ENOMEM;
    if (!opts.callback)
        open_terminal(bar, opts.fd ? opts.fd : STDERR_FILENO);
    if (opts.callback || bar->fd >= 0)
        err = start_ticking(bar);
    if (err)
        destroy(bar);
    else
        *bar_out = bar;
    return err;
}

/* ---- Hiding, and the end ---- */

/* Is it shown by this process? A child's lock may be in the hand of the parent's timer thread. */
static bool is_shown_here(const plait_bar_t *bar)
{
    return bar && bar->epoch == plait__fork_epoch_renew();
}

int plait_bar_hide(plait_bar_t *bar)
{
    if (!is_shown_here(bar))
        return 0;
    pthread_mutex_lock(&bar->lock);
    if (bar->hidden++ == 0) {
        bar->was_drawn = bar->is_drawn;
        take_away(bar);
    }
    pthread_mutex_unlock(&bar->lock);
    return 0;
}

int plait_bar_show(plait_bar_t *bar)
{
    int err = 0;

    if (!is_shown_here(bar))
        return 0;
    pthread_mutex_lock(&bar->lock);
    if (bar->hidden == 0)
        err = EOVERFLOW;
    else if (--bar->hidden == 0 && bar->was_drawn)
        draw(bar, "");
    pthread_mutex_unlock(&bar->lock);
    return err;
}

/* Nobody's request may cut this short. */
static int stop_ticking(plait_bar_t *bar)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int closed = plait__point_close(), err;

    err = plait_timer_join(&bar->timer, PLAIT_NOW);
    if (err != EDEADLK)
        err = plait_timer_cancel(&bar->timer) == EBUSY ? plait_timer_join(&bar->timer, PLAIT_FOREVER) : 0;
    plait__point_restore(closed);
    plait_cancel_bind(token);
    return err;
}

static void end(plait_bar_t *bar)
{
    if (bar->opts.callback) {
        tick(&bar->timer, bar);
    } else if (bar->fd >= 0) {
        if (bar->opts.keep)
            draw(bar, "\n");
        else
            take_away(bar);
    }
}

int plait_bar_free(plait_bar_t *bar)
{
    int err;

    if (!bar)
        return 0;
    if (is_shown_here(bar)) {
        err = bar->ticks ? stop_ticking(bar) : 0;
        if (err)
            return err;
        end(bar);
    }
    if (bar->ticks)
        plait_timer_fini(&bar->timer);
    destroy(bar);
    return 0;
}
