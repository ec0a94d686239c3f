/* SPDX-License-Identifier: MIT */
/* Tests of plait/time.h: deadlines and sleeping. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/time.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"

static plait_cancel_t token;

static void now_never_goes_back(void **state)
{
    plait_time_t last = plait_now();

    assert_true(last > 0);
    for (int i = 0; i < 100000; i++) {
        plait_time_t now = plait_now();

        assert_true(now >= last);
        last = now;
    }
}

static void after_lies_that_far_away(void **state)
{
    plait_time_t before = plait_now();
    plait_time_t deadline = plait_after(2.5);
    plait_time_t after = plait_now();

    assert_true(deadline >= before + 2500 * PLAIT__MILLISECOND);
    assert_true(deadline <= after + 2500 * PLAIT__MILLISECOND);
}

static void after_negative_or_nan_is_now(void **state)
{
    static const double spans[] = { -1e-9, -1, -1e300, 0, -0.0, -(double)INFINITY, (double)NAN, -(double)NAN };

    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        assert_true(plait_after(spans[i]) == PLAIT_NOW);
}

static void after_beyond_the_clock_is_forever(void **state)
{
    static const double spans[] = { 9.3e9, 1e10, 1e300, (double)INFINITY };

    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        assert_true(plait_after(spans[i]) == PLAIT_FOREVER);
    assert_true(plait_after(9.1e9) < PLAIT_FOREVER);
}

static void after_a_little_is_in_the_future(void **state)
{
    plait_time_t before = plait_now();

    assert_true(plait_after(1e-9) > before);
    assert_true(plait_after(1e-12) >= before);
}

static void sleep_is_never_shorter(void **state)
{
    for (int i = 1; i <= 20; i++) {
        plait_time_t deadline = plait_after(i * 1e-4);

        assert_int_equal(plait_sleep_until(deadline), 0);
        assert_true(plait_now() >= deadline);
    }
    plait_time_t before = plait_now();
    assert_int_equal(plait_sleep(0.01), 0);
    assert_true(plait_now() >= before + 10 * PLAIT__MILLISECOND);
}

static void sleep_until_the_past_returns_at_once(void **state)
{
    assert_int_equal(plait_sleep_until(PLAIT_NOW), 0);
    assert_int_equal(plait_sleep_until(-1), 0);
    assert_int_equal(plait_sleep_until(INT64_MIN), 0);
    assert_int_equal(plait_sleep_until(plait_now() - 1), 0);
    assert_int_equal(plait_sleep(-3), 0);
}

static volatile sig_atomic_t signals;
static volatile sig_atomic_t set_at;

static void on_alarm(int number)
{
    int saved = errno;

    errno = 0;
    if (++signals == set_at)
        plait_cancel_set(&token);
    if (errno)
        signals = -1000000;
    errno = saved;
}

/* A signal each millisecond that interrupts system calls; 0: no more. */
static void alarms(long each_us)
{
    struct sigaction action = { .sa_handler = on_alarm };
    struct itimerval timer = { { 0, each_us }, { 0, each_us } };

    signals = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void sleep_does_not_see_signals(void **state)
{
    plait_time_t deadline = plait_after(0.05);

    set_at = 0;
    alarms(1000);
    int err = plait_sleep_until(deadline);
    plait_time_t end = plait_now();
    alarms(0);
    assert_int_equal(err, 0);
    assert_true(end >= deadline);
}

static void sleep_is_ended_by_a_token_set_in_a_signal_handler(void **state)
{
    plait_cancel_init(&token, 0);
    plait_cancel_bind(&token);
    set_at = 5;
    alarms(1000);
    int err = plait_sleep_until(PLAIT_FOREVER);
    int count = signals;
    alarms(0);
    plait_cancel_bind(NULL);
    assert_int_equal(err, ECANCELED);
    assert_true(count >= 5);
}

static void sleep_with_a_token_set_before_is_cancelled(void **state)
{
    plait_cancel_init(&token, 0);
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    int err = plait_sleep(3600);
    plait_cancel_bind(NULL);
    assert_int_equal(err, ECANCELED);
}

/* Nothing has to be waited for, so the token does not matter. */
static void sleep_until_the_past_with_a_token_set_is_done(void **state)
{
    plait_cancel_init(&token, 0);
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    int errs = plait_sleep_until(PLAIT_NOW) | plait_sleep_until(-1) | plait_sleep_until(plait_now() - 1) | plait_sleep(0);
    plait_cancel_bind(NULL);
    assert_int_equal(errs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(now_never_goes_back),
        cmocka_unit_test(after_lies_that_far_away),
        cmocka_unit_test(after_negative_or_nan_is_now),
        cmocka_unit_test(after_beyond_the_clock_is_forever),
        cmocka_unit_test(after_a_little_is_in_the_future),
        cmocka_unit_test(sleep_is_never_shorter),
        cmocka_unit_test(sleep_until_the_past_returns_at_once),
        cmocka_unit_test(sleep_does_not_see_signals),
        cmocka_unit_test(sleep_is_ended_by_a_token_set_in_a_signal_handler),
        cmocka_unit_test(sleep_with_a_token_set_before_is_cancelled),
        cmocka_unit_test(sleep_until_the_past_with_a_token_set_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
