/* SPDX-License-Identifier: MIT */
/* The contract of progress and bar; bars are drawn on a pseudo-terminal, whose other side a small terminal reads. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <plait.h>

#include "exec/bar_line.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { SECONDS = 60, THREADS = 4, ROUNDS = 20000 };

/* ---- Counting ---- */

static void *count_up(void *progress)
{
    for (int i = 0; i < ROUNDS; i++)
        plait_progress_advance(progress, 1, 3);
    return NULL;
}

static void advance_by_threads_adds_up(void **state)
{
    plait_progress_t progress;
    struct plait_progress_look look = { 0 };
    pthread_t threads[THREADS];

    assert_int_equal(plait_progress_init(&progress, THREADS * ROUNDS, 0, 0), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, &progress), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(plait_progress_look(&progress, &look), 0);
    assert_int_equal(look.items, THREADS * ROUNDS);
    assert_int_equal(look.units, 3 * THREADS * ROUNDS);
    assert_true(look.fraction == 1 && look.left == 0);
    assert_int_equal(plait_progress_fini(&progress), 0);
}

static int count_up_in_child(void *progress)
{
    count_up(progress);
    return 0;
}

static void advance_by_processes_adds_up(void **state)
{
    plait_progress_t outside, *progress;
    void *memory;
    struct plait_progress_look look = { 0 };
    plait_arena_t *arena;
    pid_t children[THREADS];

    assert_int_equal(plait_arena_new(&arena, NULL), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *progress, &memory), 0);
    progress = memory;
    assert_int_equal(plait_progress_init(&outside, 0, 0, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_progress_init(progress, 0, 0, 1u << 30), EINVAL);
    assert_int_equal(plait_progress_init(progress, 0, 0, PLAIT_SHARED), 0);
    for (int i = 0; i < THREADS; i++)
        children[i] = child_start(count_up_in_child, progress);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(child_end(children[i]), 0);
    plait_progress_look(progress, &look);
    assert_int_equal(look.items, THREADS * ROUNDS);
    assert_int_equal(look.units, 3 * THREADS * ROUNDS);
    plait_progress_fini(progress);
    plait_arena_free(arena);
}

static void zero_bytes_are_a_progress_that_begins_with_its_use(void **state)
{
    static plait_progress_t progress;
    struct plait_progress_look look = { 0 };

    plait_progress_look(&progress, &look);
    assert_true(look.fraction < 0 && look.left < 0 && look.rate == 0);
    assert_true(look.elapsed >= 0 && look.elapsed < 3600);
    plait_progress_advance(&progress, 0, 0);
    plait_progress_look(&progress, &look);
    assert_int_equal(look.items, 0);
}

static void fraction_is_of_units_where_their_total_is_known(void **state)
{
    plait_progress_t progress;
    struct plait_progress_look look = { 0 };

    plait_progress_init(&progress, 10, 0, 0);
    plait_progress_advance(&progress, 5, 100);
    plait_progress_look(&progress, &look);
    assert_true(look.fraction == 0.5 && !look.is_by_units);
    plait_progress_expect(&progress, 10, 0);
    plait_progress_look(&progress, &look);
    assert_true(look.fraction == 0.25);
    plait_progress_expect(&progress, 0, 1000);
    plait_progress_look(&progress, &look);
    assert_true(look.fraction == 0.1 && look.is_by_units);
    plait_progress_advance(&progress, 0, 1000); /* more than expected */
    plait_progress_look(&progress, &look);
    assert_true(look.fraction == 1 && look.left == 0);
    assert_int_equal(look.units, 1100);
}

static bool is_near(double value, double expected)
{
    return fabs(value - expected) <= 0.05 * fabs(expected);
}

/* Time is moved by what the structs say of it. */
static void rate_begins_with_the_mean_and_forgets_it(void **state)
{
    plait_progress_t progress;
    struct plait_progress_look look = { 0 }, fresh = { 0 };

    plait_progress_init(&progress, 1000, 0, 0);
    progress.began -= 100 * (plait_time_t)1000000000;
    plait_progress_advance(&progress, 100, 0);
    plait_progress_look(&progress, &look);
    assert_true(is_near(look.rate, 1) && is_near(look.left, 900) && is_near(look.elapsed, 100));

    plait_progress_look(&progress, &look); /* too soon: nothing new */
    assert_true(is_near(look.rate, 1));

    look.at -= 5 * (plait_time_t)1000000000;
    plait_progress_advance(&progress, 100, 0);
    plait_progress_look(&progress, &look); /* 20 a second in the last five, which count for a half */
    assert_true(is_near(look.rate, 10.5) && is_near(look.left, 800 / 10.5));

    plait_progress_look(&progress, &fresh); /* another one, without a past */
    assert_true(is_near(fresh.rate, 2));

    plait_progress_init(&progress, 1000, 0, 0); /* from the beginning again, with the old look */
    plait_progress_look(&progress, &look);
    assert_true(look.rate == 0 && look.left < 0);
}

/* ---- Lines ---- */

static const struct plait__bar_words files = { "psum", "files", "B" }, bare = { "", "", NULL };

static const char *line(size_t columns, const struct plait__bar_words *words, const struct plait_progress_look *look)
{
    static char text[BAR_LINE_SIZE];
    size_t size = plait__bar_line(text, columns, words, look);

    text[size] = 0;
    return text;
}

static const struct plait_progress_look half = {
    .items = 1234, .items_total = 2942, .units = 210200000, .units_total = 501000000, .fraction = 0.42, .elapsed = 7,
    .rate = 32100000, .left = 9, .is_by_units = true,
};

static void line_has_all_where_there_is_room(void **state)
{
    assert_string_equal(line(200, &files, &half),
                        "psum:  42% [############..................] 1234/2942 files, 210 MB/501 MB, 32.1 MB/s, 0:09 left");
}

static void line_leaves_out_what_is_least_important(void **state)
{
    assert_string_equal(line(79, &files, &half),
                        "psum:  42% [#####........] 1234/2942 files, 210 MB/501 MB, 32.1 MB/s, 0:09 left");
    assert_string_equal(line(64, &files, &half), "psum:  42% 1234/2942 files, 210 MB/501 MB, 32.1 MB/s, 0:09 left");
    assert_string_equal(line(63, &files, &half), "psum:  42% 1234/2942 files, 210 MB/501 MB, 32.1 MB/s, 0:09 left");
    assert_string_equal(line(62, &files, &half), "psum:  42% [##.....] 1234/2942 files, 210 MB/501 MB, 0:09 left");
    assert_string_equal(line(40, &files, &half), "psum:  42% 1234/2942 files, 0:09 left");
    assert_string_equal(line(30, &files, &half), "psum:  42% 1234/2942 files");
    assert_string_equal(line(20, &files, &half), "psum:  42% [##....]");
    assert_string_equal(line(10, &files, &half), "psum:  42%");
    assert_string_equal(line(4, &files, &half), "psum");
    assert_string_equal(line(0, &files, &half), "");
}

static void line_is_never_too_wide(void **state)
{
    static const char wide[] = "\xe6\x95\xb0\xe3\x82\x92\xe3\x81\x8b\xe3\x81\x9e\xe3\x81\x88\xe3\x82\x8b";
    char title[3000];
    struct plait__bar_words words = { title, wide, wide };

    memset(title, 'x', sizeof title - 1);
    title[sizeof title - 1] = 0;
    for (size_t columns = 0; columns < 500; columns++) {
        const char *text = line(columns, &words, &half);
        size_t width = 0;

        for (const char *at = text; *at; at++)
            width += (unsigned char)*at < 0x80 ? 1 : ((unsigned char)*at & 0xc0) == 0x80 ? 0 : 2;
        assert_true(width <= columns);
        words.title = wide;
        assert_true(strlen(line(columns, &words, &half)) <= 3 * columns);
        words.title = title;
    }
    assert_string_equal(line(5, &(struct plait__bar_words){ wide, "", NULL }, &half), "\xe6\x95\xb0\xe3\x82\x92"); /* no half ones */
}

static void line_without_a_total_tells_what_is_known(void **state)
{
    struct plait_progress_look look = { .items = 17, .fraction = -1, .elapsed = 83, .rate = 0.25, .left = -1 };

    assert_string_equal(line(100, &bare, &look), "17, 0.25/s, 1:23");
    assert_string_equal(line(100, &(struct plait__bar_words){ "walk", "files", NULL }, &look), "walk: 17 files, 0.25 files/s, 1:23");
    look = (struct plait_progress_look){ .units = 999, .fraction = -1, .rate = 999600, .left = -1, .is_by_units = true };
    assert_string_equal(line(100, &(struct plait__bar_words){ "", "", "B" }, &look), "999 B, 1.00 MB/s, 0:00");
}

static void line_shows_numbers_of_any_size(void **state)
{
    struct plait__bar_words words = { "", "", "B" };
    struct plait_progress_look look = { .units = UINT64_MAX, .units_total = UINT64_MAX, .fraction = 1, .is_by_units = true };

    assert_string_equal(line(47, &words, &look), "100% [######] 18.4 EB/18.4 EB, 0 B/s, 0:00 left");
    look.left = 3725;
    look.units = 9999;
    assert_string_equal(line(47, &words, &look), "100% 10.0 kB/18.4 EB, 0 B/s, 1:02:05 left");
    look.left = 1e7;
    assert_string_equal(line(47, &words, &look), "100% [#####] 10.0 kB/18.4 EB, 0 B/s, 115 d left");
}

/* ---- A small terminal ---- */

struct terminal {
    int master, slave;
    char row[1024]; /* the one in which the cursor is */
    size_t column, widest;
    unsigned rows;  /* finished */
    char last_row[1024];
    size_t bytes;   /* that have come */
    int escape;     /* how much of \033[K has come */
};

static void open_terminal(struct terminal *t, unsigned short columns)
{
    struct winsize size = { .ws_row = 24, .ws_col = columns };

    *t = (struct terminal){ .master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) };
    assert_true(t->master >= 0 && grantpt(t->master) == 0 && unlockpt(t->master) == 0);
    t->slave = open(ptsname(t->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(t->slave >= 0);
    assert_int_equal(ioctl(t->slave, TIOCSWINSZ, &size), 0);
    memset(t->row, ' ', sizeof t->row);
}

static void close_terminal(struct terminal *t)
{
    close(t->master);
    close(t->slave);
}

static void take_character(struct terminal *t, char c)
{
    if (c == '\r') {
        t->column = 0;
    } else if (c == '\033' || (c == '[' && t->escape == 1)) {
        t->escape++;
    } else if (c == 'K' && t->escape == 2) {
        memset(t->row + t->column, ' ', sizeof t->row - t->column);
        t->escape = 0;
    } else if (c == '\n') {
        memcpy(t->last_row, t->row, sizeof t->row);
        memset(t->row, ' ', sizeof t->row);
        t->rows++;
    } else if (t->column < sizeof t->row) {
        t->row[t->column++] = c;
        if (t->column > t->widest)
            t->widest = t->column;
    }
}

/* Read what is there, having waited a little for it. */
static void read_terminal(struct terminal *t, int wait_ms)
{
    struct pollfd polled = { t->master, POLLIN, 0 };
    char bytes[4096];
    ssize_t n;

    poll(&polled, 1, wait_ms);
    while ((n = read(t->master, bytes, sizeof bytes)) > 0) {
        t->bytes += (size_t)n;
        for (ssize_t i = 0; i < n; i++)
            take_character(t, bytes[i]);
    }
}

static bool starts_with(const char *row, const char *text)
{
    return strncmp(row, text, strlen(text)) == 0;
}

static bool is_empty(const char *row)
{
    return strspn(row, " ") >= 1024;
}

static void await_row(struct terminal *t, const char *text)
{
    plait_time_t deadline = plait_after(SECONDS);

    while (!starts_with(t->row, text) && plait_now() < deadline)
        read_terminal(t, 100);
    assert_true(starts_with(t->row, text));
}

static plait_bar_t *show(struct plait_bar_opts opts)
{
    plait_bar_t *bar = NULL;

    assert_int_equal(plait_bar_new(&bar, &opts), 0);
    return bar;
}

/* ---- Where nothing is drawn ---- */

static void bar_without_a_terminal_writes_nothing_and_starts_no_thread(void **state)
{
    plait_progress_t progress = { 0 };
    int before = count_threads(), descriptors = count_descriptors(), ends[2];
    struct terminal t;
    plait_bar_t *bar;
    char byte;

    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    bar = show((struct plait_bar_opts){ .progress = &progress, .fd = ends[1], .keep = true, .interval = 0.001 });
    assert_int_equal(plait_bar_free(bar), 0);
    bar = show((struct plait_bar_opts){ .progress = &progress, .fd = 9999 });
    assert_int_equal(plait_bar_hide(bar), 0);
    assert_int_equal(plait_bar_show(bar), 0);
    assert_int_equal(plait_bar_free(bar), 0);
    assert_int_equal(read(ends[0], &byte, 1), -1);
    close(ends[0]);
    close(ends[1]);

    open_terminal(&t, 80);
    for (int dumb = 0; dumb < 2; dumb++) {
        if (dumb)
            setenv("TERM", "dumb", 1);
        else
            unsetenv("TERM");
        bar = show((struct plait_bar_opts){ .progress = &progress, .fd = t.slave, .keep = true, .interval = 0.001 });
        assert_int_equal(plait_bar_free(bar), 0);
    }
    setenv("TERM", "xterm", 1);
    read_terminal(&t, 50);
    assert_int_equal(t.bytes, 0);
    close_terminal(&t);
    assert_int_equal(count_threads(), before);
    assert_int_equal(count_descriptors(), descriptors);
}

static void bar_with_bad_options_is_refused(void **state)
{
    plait_progress_t progress = { 0 };
    plait_bar_t *bar;

    assert_int_equal(plait_bar_new(&bar, NULL), EINVAL);
    assert_int_equal(plait_bar_new(&bar, &(struct plait_bar_opts){ .title = "no progress" }), EINVAL);
    assert_int_equal(plait_bar_new(NULL, &(struct plait_bar_opts){ .progress = &progress }), EINVAL);
    assert_int_equal(plait_bar_new(&bar, &(struct plait_bar_opts){ .progress = &progress, .interval = -1 }), EINVAL);
    assert_int_equal(plait_bar_new(&bar, &(struct plait_bar_opts){ .progress = &progress, .interval = NAN }), EINVAL);
    assert_int_equal(plait_bar_hide(NULL), 0);
    assert_int_equal(plait_bar_show(NULL), 0);
    assert_int_equal(plait_bar_free(NULL), 0);
}

/* ---- On a terminal ---- */

static void bar_is_drawn_and_leaves_a_clean_line(void **state)
{
    plait_progress_t progress;
    int descriptors = count_descriptors();
    struct terminal t;
    plait_bar_t *bar;

    open_terminal(&t, 80);
    plait_progress_init(&progress, 100, 0, 0);
    bar = show((struct plait_bar_opts){ .progress = &progress, .title = "work", .items = "files", .fd = t.slave });
    await_row(&t, "work:   0% [..............................] 0/100 files, 0.00 files/s");
    plait_progress_advance(&progress, 50, 0);
    await_row(&t, "work:  50% [");
    assert_true(strstr(t.row, "] 50/100 files, ") && strstr(t.row, " left"));
    assert_int_equal(plait_bar_free(bar), 0);
    read_terminal(&t, 100);
    assert_true(is_empty(t.row));
    assert_int_equal(t.column, 0);
    assert_int_equal(t.rows, 0);
    close_terminal(&t);
    assert_int_equal(count_descriptors(), descriptors);
}

static void bar_kept_stays_in_a_line_of_its_own(void **state)
{
    plait_progress_t progress;
    struct terminal t;
    plait_bar_t *bar;

    open_terminal(&t, 60);
    plait_progress_init(&progress, 10, 0, 0);
    bar = show((struct plait_bar_opts){ .progress = &progress, .title = "a\033[2Jb\n", .fd = t.slave, .keep = true });
    plait_progress_advance(&progress, 10, 0);
    assert_int_equal(plait_bar_free(bar), 0);
    read_terminal(&t, 100);
    assert_int_equal(t.rows, 1);
    assert_true(starts_with(t.last_row, "a?[2Jb?: 100% [####"));
    assert_true(is_empty(t.row));
    close_terminal(&t);
}

static void bar_hidden_leaves_the_terminal_to_the_program(void **state)
{
    static const char message[] = "said by the program\n";
    plait_progress_t progress = { 0 };
    struct terminal t;
    plait_bar_t *bar;
    size_t bytes;

    open_terminal(&t, 80);
    bar = show((struct plait_bar_opts){ .progress = &progress, .title = "work", .fd = t.slave, .interval = 0.01 });
    await_row(&t, "work: 0, ");
    assert_int_equal(plait_bar_hide(bar), 0);
    assert_int_equal(plait_bar_hide(bar), 0);
    assert_int_equal(write(t.slave, message, sizeof message - 1), sizeof message - 1);
    assert_int_equal(plait_bar_show(bar), 0); /* the other one still hides it */
    read_terminal(&t, 100);
    bytes = t.bytes;
    plait_sleep(0.1);
    read_terminal(&t, 0);
    assert_int_equal(t.bytes, bytes);
    assert_true(starts_with(t.last_row, "said by the program   "));
    assert_true(is_empty(t.row));
    assert_int_equal(plait_bar_show(bar), 0);
    await_row(&t, "work: 0, ");
    assert_int_equal(plait_bar_show(bar), EOVERFLOW);
    assert_int_equal(plait_bar_free(bar), 0);
    read_terminal(&t, 100);
    assert_true(is_empty(t.row));
    close_terminal(&t);
}

static void bar_follows_the_width_of_the_terminal(void **state)
{
    plait_progress_t progress;
    struct terminal t;
    plait_bar_t *bar;

    open_terminal(&t, 24);
    plait_progress_init(&progress, 1000, 0, 0);
    bar = show((struct plait_bar_opts){ .progress = &progress, .title = "work", .items = "files", .fd = t.slave, .interval = 0.01 });
    await_row(&t, "work:   0% 0/1000 files ");
    assert_true(t.widest < 24); /* the last column stays free */
    ioctl(t.slave, TIOCSWINSZ, &(struct winsize){ .ws_row = 24, .ws_col = 100 });
    await_row(&t, "work:   0% [..............................] 0/1000 files, 0.00 files/s ");
    ioctl(t.slave, TIOCSWINSZ, &(struct winsize){ .ws_row = 24, .ws_col = 1 });
    await_row(&t, "  ");
    ioctl(t.slave, TIOCSWINSZ, &(struct winsize){ 0 }); /* says that it does not know */
    t.widest = 0;
    await_row(&t, "work:   0% [");
    assert_true(t.widest < 80);
    plait_bar_free(bar);
    close_terminal(&t);
}

/* ---- Terminals that take nothing ---- */

static void terminal_that_is_stopped_or_full_holds_up_nobody(void **state)
{
    plait_progress_t progress = { 0 };
    struct terminal t;
    plait_bar_t *bar;

    for (int stopped = 0; stopped < 2; stopped++) {
        open_terminal(&t, 80);
        if (stopped)
            assert_int_equal(tcflow(t.slave, TCOOFF), 0);
        bar = show((struct plait_bar_opts){ .progress = &progress, .title = "work", .fd = t.slave, .interval = 0.0001 });
        plait_sleep(0.3); /* some thousand lines, or as many as the machine makes */
        assert_int_equal(plait_bar_hide(bar), 0);
        assert_int_equal(plait_bar_show(bar), 0);
        assert_int_equal(plait_bar_free(bar), 0);
        close_terminal(&t);
    }
}

static void terminal_that_is_gone_is_ignored(void **state)
{
    plait_progress_t progress = { 0 };
    struct terminal t;
    plait_bar_t *bar;

    open_terminal(&t, 80);
    bar = show((struct plait_bar_opts){ .progress = &progress, .title = "work", .fd = t.slave, .interval = 0.001, .keep = true });
    await_row(&t, "work: 0, ");
    close(t.master);
    plait_sleep(0.05);
    assert_int_equal(plait_bar_hide(bar), 0);
    assert_int_equal(plait_bar_show(bar), 0);
    assert_int_equal(plait_bar_free(bar), 0);
    close(t.slave);
}

/* The other side of a pseudo-terminal is a terminal as well: what is drawn there is its input. */
static void bar_on_a_master_is_drawn_there(void **state)
{
    plait_progress_t progress = { 0 };
    struct terminal t;
    struct termios raw;
    plait_bar_t *bar;
    char byte = 0;

    open_terminal(&t, 80);
    tcgetattr(t.slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(t.slave, TCSANOW, &raw);
    bar = show((struct plait_bar_opts){ .progress = &progress, .title = "work", .fd = t.master, .interval = 0.01 });
    assert_int_equal(read(t.slave, &byte, 1), 1);
    assert_int_equal(byte, '\r');
    plait_bar_free(bar);
    close_terminal(&t);
}

/* ---- The background ---- */

/* In a process group in the background of its terminal, with TOSTOP: who writes is stopped. */
static int show_in_background(void *arg)
{
    struct terminal *t = arg;
    plait_progress_t progress = { 0 };
    plait_bar_t *bar;

    if (setpgid(0, 0) != 0 || tcgetpgrp(t->slave) == getpgrp())
        return 2;
    if (plait_bar_new(&bar, &(struct plait_bar_opts){ .progress = &progress, .title = "work", .fd = t->slave, .interval = 0.001,
                                                      .keep = true }) != 0)
        return 3;
    plait_sleep(0.1);
    plait_bar_hide(bar);
    plait_bar_show(bar);
    return plait_bar_free(bar);
}

static int lead_a_session(void *arg)
{
    struct terminal *t = arg;
    struct termios mode;
    int status = 0;
    pid_t child;

    if (setsid() < 0 || ioctl(t->slave, TIOCSCTTY, 0) != 0 || tcgetattr(t->slave, &mode) != 0)
        return 10;
    mode.c_lflag |= TOSTOP;
    if (tcsetattr(t->slave, TCSANOW, &mode) != 0)
        return 11;
    child = child_start(show_in_background, t);
    if (waitpid(child, &status, WUNTRACED) != child)
        return 12;
    if (WIFSTOPPED(status)) {
        child_kill(child);
        return 13;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 14;
}

static void bar_in_the_background_is_not_drawn_and_not_stopped(void **state)
{
    struct terminal t;

    child_await_quiet(0);
    open_terminal(&t, 80);
    assert_int_equal(child_run(lead_a_session, &t), 0);
    read_terminal(&t, 50);
    assert_int_equal(t.bytes, 0);
    close_terminal(&t);
}

/* ---- Callbacks ---- */

struct told {
    plait_bar_t *bar;
    uint32_t calls; /* atomic */
    int free_err;
    struct plait_progress_look last;
};

static void tell(const struct plait_progress_look *look, void *context)
{
    struct told *told = context;

    plait_bar_t *bar = __atomic_load_n(&told->bar, __ATOMIC_ACQUIRE);

    told->last = *look;
    if (bar)
        told->free_err = plait_bar_free(bar);
    __atomic_fetch_add(&told->calls, 1, __ATOMIC_ACQ_REL);
    plait_wake(&told->calls, 1, 0);
}

static void callback_is_called_with_what_there_is_and_at_the_end(void **state)
{
    plait_progress_t progress;
    struct told told = { 0 };
    plait_bar_t *bar;
    uint32_t calls;

    plait_progress_init(&progress, 10, 0, 0);
    bar = show((struct plait_bar_opts){ .progress = &progress, .interval = 0.01, .callback = tell, .context = &told });
    plait_progress_advance(&progress, 4, 0);
    while ((calls = __atomic_load_n(&told.calls, __ATOMIC_ACQUIRE)) < 3)
        assert_int_equal(plait_wait(&told.calls, calls, 0, plait_after(SECONDS)), 0);
    plait_bar_hide(bar); /* no concern of callbacks */
    plait_progress_advance(&progress, 6, 0);
    assert_int_equal(plait_bar_free(bar), 0);
    assert_int_equal(told.last.items, 10);
    assert_true(told.last.fraction == 1 && told.last.left == 0);
    calls = told.calls;
    plait_sleep(0.05);
    assert_int_equal(told.calls, calls);

    told.calls = 0; /* one that is never called in between */
    bar = show((struct plait_bar_opts){ .progress = &progress, .interval = 1e6, .callback = tell, .context = &told });
    assert_int_equal(plait_bar_free(bar), 0);
    assert_int_equal(told.calls, 1);
}

static void callback_cannot_end_its_bar(void **state)
{
    plait_progress_t progress = { 0 };
    struct told told = { 0 };
    plait_bar_t *bar = NULL;
    uint32_t calls;

    bar = show((struct plait_bar_opts){ .progress = &progress, .interval = 0.05, .callback = tell, .context = &told });
    plait_bar_hide(bar);
    __atomic_store_n(&told.bar, bar, __ATOMIC_RELEASE);
    while ((calls = __atomic_load_n(&told.calls, __ATOMIC_ACQUIRE)) < 3) /* so the series went on */
        assert_int_equal(plait_wait(&told.calls, calls, 0, plait_after(SECONDS)), 0);
    __atomic_store_n(&told.bar, NULL, __ATOMIC_RELEASE);
    assert_int_equal(plait_bar_free(bar), 0);
    assert_int_equal(told.free_err, EDEADLK);
}

/* ---- Fork ---- */

static int free_in_child(void *bar)
{
    plait_bar_hide(bar);
    return plait_bar_show(bar) + plait_bar_free(bar);
}

static void child_of_fork_draws_nothing(void **state)
{
    plait_progress_t progress;
    struct terminal t;
    plait_bar_t *bar;

    open_terminal(&t, 80);
    plait_progress_init(&progress, 4, 0, 0);
    bar = show((struct plait_bar_opts){ .progress = &progress, .title = "work", .fd = t.slave, .interval = 0.01, .keep = true });
    await_row(&t, "work:   0%");
    for (int i = 0; i < 20; i++)
        assert_int_equal(child_run(free_in_child, bar), 0);
    plait_progress_advance(&progress, 2, 0);
    await_row(&t, "work:  50%");
    assert_int_equal(plait_bar_free(bar), 0);
    read_terminal(&t, 100);
    assert_int_equal(t.rows, 1);
    close_terminal(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bar_without_a_terminal_writes_nothing_and_starts_no_thread), /* first: there is no timer thread yet */
        cmocka_unit_test(bar_with_bad_options_is_refused),
        cmocka_unit_test(bar_in_the_background_is_not_drawn_and_not_stopped),
        cmocka_unit_test(advance_by_threads_adds_up),
        cmocka_unit_test(advance_by_processes_adds_up),
        cmocka_unit_test(zero_bytes_are_a_progress_that_begins_with_its_use),
        cmocka_unit_test(fraction_is_of_units_where_their_total_is_known),
        cmocka_unit_test(rate_begins_with_the_mean_and_forgets_it),
        cmocka_unit_test(line_has_all_where_there_is_room),
        cmocka_unit_test(line_leaves_out_what_is_least_important),
        cmocka_unit_test(line_is_never_too_wide),
        cmocka_unit_test(line_without_a_total_tells_what_is_known),
        cmocka_unit_test(line_shows_numbers_of_any_size),
        cmocka_unit_test(bar_is_drawn_and_leaves_a_clean_line),
        cmocka_unit_test(bar_kept_stays_in_a_line_of_its_own),
        cmocka_unit_test(bar_hidden_leaves_the_terminal_to_the_program),
        cmocka_unit_test(bar_follows_the_width_of_the_terminal),
        cmocka_unit_test(terminal_that_is_stopped_or_full_holds_up_nobody),
        cmocka_unit_test(terminal_that_is_gone_is_ignored),
        cmocka_unit_test(bar_on_a_master_is_drawn_there),
        cmocka_unit_test(callback_is_called_with_what_there_is_and_at_the_end),
        cmocka_unit_test(callback_cannot_end_its_bar),
        cmocka_unit_test(child_of_fork_draws_nothing),
    };
    setenv("TERM", "xterm", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
