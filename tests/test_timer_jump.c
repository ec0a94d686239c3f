/* SPDX-License-Identifier: MIT */
/*
 * Timers whose clock jumps: the time of day that is set, the machine that was suspended. The clocks are the system's, moved
 * by what the test wants: reading a clock adds that, and setting a timerfd takes it off; a jump sets the timerfds anew, as
 * the kernel does.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>

#include <plait.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/watched.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define HOUR (3600 * PLAIT__SECOND)

enum { SECONDS = 60, CLOCKS = 16, CALLS = 1024 };

/* ---- Clocks that jump ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    plait_time_t moved; /* atomic */
    int fd;             /* guarded by lock, as what follows: its timerfd */
    plait_time_t until; /* by the moved clock; 0: never */
} clocks[CLOCKS];

int __real_clock_gettime(clockid_t id, struct timespec *now);
int __wrap_clock_gettime(clockid_t id, struct timespec *now);
int __real_timerfd_create(int id, int flags);
int __wrap_timerfd_create(int id, int flags);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *before);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *before);

static plait_time_t moved(clockid_t id)
{
    return id >= 0 && id < CLOCKS ? __atomic_load_n(&clocks[id].moved, __ATOMIC_RELAXED) : 0;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *now)
{
    int answer = __real_clock_gettime(id, now);

    if (answer == 0 && moved(id))
        *now = plait__timespec((plait_time_t)now->tv_sec * PLAIT__SECOND + now->tv_nsec + moved(id));
    return answer;
}

int __wrap_timerfd_create(int id, int flags)
{
    int fd = __real_timerfd_create(id, flags);

    pthread_mutex_lock(&lock);
    clocks[id].fd = fd;
    clocks[id].until = 0;
    pthread_mutex_unlock(&lock);
    return fd;
}

/* With the lock held. */
static int arm(int id)
{
    plait_time_t until = clocks[id].until - moved(id);
    struct itimerspec at = { .it_value = { 0, 0 } };

    if (clocks[id].until)
        at.it_value = plait__timespec(until > 0 ? until : 1);
    return __real_timerfd_settime(clocks[id].fd, TFD_TIMER_ABSTIME, &at, NULL);
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *before)
{
    int answer = EBADF;

    pthread_mutex_lock(&lock);
    for (int id = 0; id < CLOCKS; id++)
        if (clocks[id].fd == fd) {
            clocks[id].until = (plait_time_t)at->it_value.tv_sec * PLAIT__SECOND + at->it_value.tv_nsec;
            answer = arm(id);
        }
    pthread_mutex_unlock(&lock);
    return answer;
}

static void jump(clockid_t id, plait_time_t by)
{
    pthread_mutex_lock(&lock);
    __atomic_fetch_add(&clocks[id].moved, by, __ATOMIC_RELAXED);
    if (clocks[id].fd > 0)
        arm(id);
    pthread_mutex_unlock(&lock);
}

/* ---- Timers that write down ---- */

struct diary {
    plait_timer_t timer;
    uint32_t calls; /* atomic */
    plait_time_t due[CALLS], at[CALLS];
    uint64_t missed[CALLS];
};

static void note(plait_timer_t *timer, void *arg)
{
    struct diary *d = arg;
    uint32_t call = load_relaxed(&d->calls);

    if (call < CALLS) {
        d->due[call] = plait_timer_due(timer);
        d->at[call] = plait_timer_now(timer);
        d->missed[call] = plait_timer_missed(timer);
    }
    store_release(&d->calls, call + 1);
}

static struct diary *diary_new(enum plait_timer_clock clock)
{
    struct diary *d = calloc(1, sizeof *d);

    assert_non_null(d);
    assert_int_equal(plait_timer_init(&d->timer, &(struct plait_timer_opts){ .target = note, .arg = d, .clock = clock }), 0);
    return d;
}

static void diary_free(struct diary *d)
{
    if (plait_timer_cancel(&d->timer) == EBUSY)
        assert_int_equal(plait_timer_join(&d->timer, plait_after(SECONDS)), 0);
    assert_int_equal(plait_timer_fini(&d->timer), 0);
    free(d);
}

static uint32_t calls(const struct diary *d) { return load_acquire(&d->calls); }

static void await_calls(const struct diary *d, uint32_t count)
{
    plait_time_t end = plait_after(SECONDS);

    while (calls(d) < count && plait_now() < end)
        plait_sleep(0.001);
    assert_true(calls(d) >= count);
}

/* Each call was in time, and none of them for the same time as another. */
static void assert_orderly(const struct diary *d)
{
    uint32_t count = calls(d) < CALLS ? calls(d) : CALLS;

    for (uint32_t i = 0; i < count; i++) {
        assert_true(d->at[i] >= d->due[i]);
        if (i)
            assert_true(d->due[i] > d->due[i - 1]);
    }
}

/* ---- The time of day ---- */

static void clock_set_forward_calls_what_it_has_passed(void **state)
{
    struct diary *d = diary_new(PLAIT_REALTIME), *later = diary_new(PLAIT_REALTIME);
    plait_time_t now = plait_timer_now(&d->timer);

    assert_int_equal(plait_timer_start(&d->timer, now + HOUR), 0);
    assert_int_equal(plait_timer_start(&later->timer, now + 3 * HOUR), 0);
    jump(CLOCK_REALTIME, 2 * HOUR);
    assert_int_equal(plait_timer_join(&d->timer, plait_after(SECONDS)), 0);
    assert_int_equal(calls(d), 1);
    assert_orderly(d);
    assert_true(plait_timer_is_pending(&later->timer));
    diary_free(d);
    diary_free(later);
}

static void clock_set_back_delays_what_is_pending(void **state)
{
    struct diary *d = diary_new(PLAIT_REALTIME), *fresh = diary_new(PLAIT_REALTIME);

    assert_int_equal(plait_timer_start(&d->timer, plait_timer_now(&d->timer) + PLAIT__SECOND), 0);
    jump(CLOCK_REALTIME, -HOUR);
    plait_sleep(1.2);
    assert_int_equal(calls(d), 0);
    assert_true(plait_timer_is_pending(&d->timer));
    assert_int_equal(plait_timer_start(&fresh->timer, plait_timer_now(&fresh->timer) + PLAIT__SECOND / 50), 0); /* by the clock as it is */
    assert_int_equal(plait_timer_join(&fresh->timer, plait_after(SECONDS)), 0);
    assert_orderly(fresh);
    assert_int_equal(calls(d), 0);
    jump(CLOCK_REALTIME, HOUR);
    assert_int_equal(plait_timer_join(&d->timer, plait_after(SECONDS)), 0);
    assert_int_equal(calls(d), 1);
    assert_orderly(d);
    diary_free(d);
    diary_free(fresh);
}

static void series_over_a_jump_is_called_once_and_keeps_its_grid(void **state)
{
    struct diary *d = diary_new(PLAIT_REALTIME);
    plait_time_t first = plait_timer_now(&d->timer), period = PLAIT__SECOND / 50;

    assert_int_equal(plait_timer_start_every(&d->timer, first, 0.02), 0);
    await_calls(d, 3);
    jump(CLOCK_REALTIME, HOUR);
    uint32_t before = calls(d);
    await_calls(d, before + 5);
    plait_timer_cancel(&d->timer);
    plait_timer_join(&d->timer, plait_after(SECONDS));
    assert_orderly(d);

    uint64_t left_out = 0, most = 0;
    uint32_t count = calls(d) < CALLS ? calls(d) : CALLS;
    for (uint32_t i = 0; i < count; i++) { /* each time of the series is called for or told as missed, on its grid */
        left_out += d->missed[i];
        assert_int_equal(d->due[i], first + (plait_time_t)(i + left_out) * period);
        if (d->missed[i] > most)
            most = d->missed[i];
    }
    assert_in_range(most, 3600 * 50 - 1, 3600 * 50 + SECONDS * 50); /* by one call */
    diary_free(d);
}

static void series_over_a_jump_back_waits_and_repeats_nothing(void **state)
{
    struct diary *d = diary_new(PLAIT_REALTIME);

    assert_int_equal(plait_timer_start_every(&d->timer, plait_timer_now(&d->timer), 0.02), 0);
    await_calls(d, 2);
    jump(CLOCK_REALTIME, -HOUR);
    uint32_t before, looks = 0;
    do { /* a call may have been under way */
        before = calls(d);
        plait_sleep(0.2);
    } while (calls(d) != before && ++looks < 50);
    assert_int_equal(calls(d), before);
    jump(CLOCK_REALTIME, HOUR);
    await_calls(d, before + 3);
    plait_timer_cancel(&d->timer);
    plait_timer_join(&d->timer, plait_after(SECONDS));
    assert_orderly(d);
    diary_free(d);
}

static void deadlines_and_monotonic_timers_know_of_no_jump(void **state)
{
    plait_event_t never = PLAIT_EVENT_INIT;

    for (int back = 0; back < 2; back++) {
        struct diary *d = diary_new(PLAIT_MONOTONIC), *far = diary_new(PLAIT_MONOTONIC);
        plait_time_t began = plait_now();

        assert_int_equal(plait_timer_start(&d->timer, began + PLAIT__SECOND / 5), 0);
        assert_int_equal(plait_timer_start(&far->timer, began + HOUR), 0);
        jump(CLOCK_REALTIME, back ? -10 * HOUR : 10 * HOUR);
        jump(CLOCK_BOOTTIME, 10 * HOUR);
        assert_int_equal(plait_event_wait(&never, began + PLAIT__SECOND / 10), ETIMEDOUT);
        assert_true(plait_now() - began >= PLAIT__SECOND / 10);
        assert_int_equal(plait_timer_join(&d->timer, plait_after(SECONDS)), 0);
        assert_true(d->at[0] - began >= PLAIT__SECOND / 5);
        assert_true(plait_timer_is_pending(&far->timer));
        diary_free(d);
        diary_free(far);
    }
}

/* ---- Suspended machines ---- */

/* Eight hours pass for BOOTTIME and for the time of day, none for the monotonic clock. */
static void suspend(void)
{
    jump(CLOCK_BOOTTIME, 8 * HOUR);
    jump(CLOCK_REALTIME, 8 * HOUR);
}

static void suspended_time_counts_for_those_who_want_it(void **state)
{
    struct diary *awake = diary_new(PLAIT_MONOTONIC), *all = diary_new(PLAIT_BOOTTIME), *day = diary_new(PLAIT_REALTIME);
    struct diary *series = diary_new(PLAIT_BOOTTIME);
    plait_time_t first = plait_timer_now(&series->timer) + 60 * PLAIT__SECOND;

    assert_int_equal(plait_timer_start(&awake->timer, plait_timer_now(&awake->timer) + HOUR), 0);
    assert_int_equal(plait_timer_start(&all->timer, plait_timer_now(&all->timer) + HOUR), 0);
    assert_int_equal(plait_timer_start(&day->timer, plait_timer_now(&day->timer) + HOUR), 0);
    assert_int_equal(plait_timer_start_every(&series->timer, first, 60), 0);
    suspend();
    assert_int_equal(plait_timer_join(&all->timer, plait_after(SECONDS)), 0);
    assert_int_equal(plait_timer_join(&day->timer, plait_after(SECONDS)), 0);
    await_calls(series, 1);
    assert_orderly(all);
    assert_orderly(day);
    assert_int_equal(calls(awake), 0);
    assert_true(plait_timer_is_pending(&awake->timer));
    assert_int_equal(calls(series), 1); /* for the last of 480 minutes */
    assert_in_range(series->missed[0], 479, 480);
    assert_int_equal(series->due[0], first + (plait_time_t)series->missed[0] * 60 * PLAIT__SECOND);
    diary_free(awake);
    diary_free(all);
    diary_free(day);
    diary_free(series);
}

/* ---- Many at once ---- */

struct crowd {
    plait_timer_t *timers;
    uint32_t called; /* atomic */
    plait_time_t last;
    uint32_t early, disorderly;
};

/* Of times that differ by five microseconds or more the earlier is called first. */
static void note_in_crowd(plait_timer_t *timer, void *arg)
{
    struct crowd *crowd = arg;
    plait_time_t due = plait_timer_due(timer);

    crowd->early += plait_timer_now(timer) < due;
    crowd->disorderly += due < crowd->last - 5000;
    crowd->last = due;
    add_release(&crowd->called, 1);
}

static void all_of_a_million_due_at_once_are_called_or_prevented(void **state)
{
    uint32_t n = is_watched() ? 20000 : 1000000, prevented = 0;
    struct crowd crowd = { .timers = malloc(n * sizeof *crowd.timers) };
    struct plait_timer_opts opts = { .target = note_in_crowd, .arg = &crowd, .clock = PLAIT_BOOTTIME };
    struct diary *in_between = diary_new(PLAIT_BOOTTIME);
    plait_time_t now = plait_timer_now(&in_between->timer);

    assert_non_null(crowd.timers);
    for (uint32_t i = 0; i < n; i++) { /* over an hour, but for the first minute */
        assert_int_equal(plait_timer_init(&crowd.timers[i], &opts), 0);
        assert_int_equal(plait_timer_start(&crowd.timers[i], now + HOUR / 60 + (plait_time_t)(i * 7919u % n) * (HOUR / n)), 0);
    }
    assert_int_equal(load_relaxed(&crowd.called), 0);
    suspend();
    for (uint32_t i = 0; i < n; i += 10)
        prevented += plait_timer_cancel(&crowd.timers[i]) == 0;
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(plait_timer_join(&crowd.timers[i], plait_after(SECONDS)), 0);
    assert_int_equal(load_acquire(&crowd.called) + prevented, n);
    assert_int_equal(crowd.early, 0);
    assert_int_equal(crowd.disorderly, 0);
    assert_int_equal(plait_timer_start(&in_between->timer, plait_timer_now(&in_between->timer)), 0); /* and life goes on */
    assert_int_equal(plait_timer_join(&in_between->timer, plait_after(SECONDS)), 0);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(plait_timer_fini(&crowd.timers[i]), 0);
    free(crowd.timers);
    diary_free(in_between);
}

/* ---- A namespace of times ---- */

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return written;
}

/* The monotonic clock a thousand days further than this machine's, and the one with suspended time two thousand. */
static int use_clocks_far_away(void *arg)
{
    plait_time_t days = 24 * HOUR;

    for (enum plait_timer_clock clock = PLAIT_MONOTONIC; clock <= PLAIT_BOOTTIME; clock++) {
        struct diary *d = diary_new(clock);
        plait_time_t now = plait_timer_now(&d->timer), began = plait_now();

        if (now < (clock == PLAIT_BOOTTIME ? 2000 : 1000) * days)
            return 10 + (int)clock;
        if (plait_timer_start(&d->timer, now + PLAIT__SECOND / 50) != 0 || plait_timer_join(&d->timer, plait_after(SECONDS)) != 0)
            return 20 + (int)clock;
        if (d->at[0] < d->due[0] || plait_now() - began < PLAIT__SECOND / 50)
            return 30 + (int)clock;
        diary_free(d);
    }
    return plait_sleep(0.01);
}

/* Another process enters it: the one that makes it stays outside. */
static int enter_namespace(void *arg)
{
    if (unshare(CLONE_NEWTIME) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWTIME) != 0)
        return 77;
    if (!write_text("/proc/self/timens_offsets", "monotonic 86400000 0\nboottime 172800000 0\n"))
        return 77;
    return child_run(use_clocks_far_away, NULL);
}

static void timers_work_in_a_namespace_of_times(void **state)
{
    int answer;

    child_await_quiet(0);
    answer = child_run(enter_namespace, NULL);
    if (answer == 77) {
        print_message("no namespace of times is to be had here\n");
        skip();
    }
    assert_int_equal(answer, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_work_in_a_namespace_of_times), /* first: there are no threads yet */
        cmocka_unit_test(clock_set_forward_calls_what_it_has_passed),
        cmocka_unit_test(clock_set_back_delays_what_is_pending),
        cmocka_unit_test(series_over_a_jump_is_called_once_and_keeps_its_grid),
        cmocka_unit_test(series_over_a_jump_back_waits_and_repeats_nothing),
        cmocka_unit_test(deadlines_and_monotonic_timers_know_of_no_jump),
        cmocka_unit_test(suspended_time_counts_for_those_who_want_it),
        cmocka_unit_test(all_of_a_million_due_at_once_are_called_or_prevented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
