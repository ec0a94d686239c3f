/* SPDX-License-Identifier: MIT */
/* The wheel of timers beside a model that looks at all of them, in a time of its own. */
#include <stdlib.h>

#include <plait.h>

#include "exec/timer_wheel.h"
#include "support/cmocka.h"
#include "support/watched.h"

enum { TIMERS = 300, TICK = 1 << WHEEL_TICK_BITS };

/* The model knows of each timer whether it is in the wheel. */
struct scene {
    struct plait__wheel wheel;
    plait_timer_t timers[TIMERS];
    bool is_in[TIMERS];
    plait_time_t now;
    uint64_t random;
    unsigned removed, vain; /* looks at the time that next told, with nothing ripe */
};

static uint64_t random_number(struct scene *s)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return s->random;
}

/* Near ones as often as far ones. */
static plait_time_t random_span(struct scene *s)
{
    return (plait_time_t)(random_number(s) >> (1 + random_number(s) % 62));
}

static plait_time_t sum(plait_time_t time, plait_time_t span)
{
    return time > PLAIT_FOREVER - span ? PLAIT_FOREVER : time + span;
}

/* A due, as the wheel rounds it. */
static plait_time_t rounded(plait_time_t due)
{
    return due <= 0 ? 0 : due > PLAIT_FOREVER - TICK ? PLAIT_FOREVER : (due + TICK - 1) / TICK * TICK;
}

static plait_time_t model_next(const struct scene *s)
{
    plait_time_t next = PLAIT_FOREVER;

    for (int i = 0; i < TIMERS; i++)
        if (s->is_in[i] && rounded(s->timers[i].due) < next)
            next = rounded(s->timers[i].due);
    return next;
}

static void add(struct scene *s, int i, plait_time_t due)
{
    s->timers[i].due = due;
    s->is_in[i] = true;
    assert_int_equal(plait__wheel_add(&s->wheel, &s->timers[i]), rounded(due));
}

static void take_out(struct scene *s, int i)
{
    plait__wheel_remove(&s->wheel, &s->timers[i]);
    s->is_in[i] = false;
    s->removed++;
}

/* It is `now`: what comes out is what is due, in its order, and all of it. */
static unsigned take_all(struct scene *s, plait_time_t now)
{
    plait_timer_t *timer;
    plait_time_t last = 0;
    unsigned count = 0;

    s->now = now;
    do {
        plait__wheel_advance(&s->wheel, now);
        while ((timer = plait__wheel_take(&s->wheel))) {
            assert_true(s->is_in[timer - s->timers]);
            assert_true(timer->due <= now);
            assert_true(rounded(timer->due) >= last);
            last = rounded(timer->due);
            s->is_in[timer - s->timers] = false;
            count++;
        }
    } while (plait__wheel_next(&s->wheel) <= now && plait__wheel_next(&s->wheel) < PLAIT_FOREVER);
    assert_true(model_next(s) > now || model_next(s) == PLAIT_FOREVER);
    return count;
}

static void look_at_next(struct scene *s)
{
    plait_time_t next = plait__wheel_next(&s->wheel);

    assert_true(next <= model_next(s));
    if (s->removed == 0)
        assert_true(next == PLAIT_NOW || next == model_next(s));
    if (next < PLAIT_FOREVER && next > s->now)
        s->vain += take_all(s, next) == 0;
}

static void step(struct scene *s, bool removes)
{
    int i = (int)(random_number(s) % TIMERS);

    switch (random_number(s) % 8) {
    case 0:
        take_all(s, sum(s->now, random_span(s) / 1000));
        break;
    case 1:
        take_all(s, s->now); /* what was added late goes in order */
        look_at_next(s);
        break;
    default:
        if (!s->is_in[i])
            add(s, i, sum(s->now, random_span(s)));
        else if (removes)
            take_out(s, i);
    }
}

static struct scene *begin(plait_time_t now)
{
    struct scene *s = calloc(1, sizeof *s);

    assert_non_null(s);
    s->random = (uint64_t)plait_now() | 1;
    s->now = now;
    print_message("seed %llu\n", (unsigned long long)s->random);
    plait__wheel_init(&s->wheel);
    plait__wheel_advance(&s->wheel, now);
    return s;
}

static int steps(void) { return is_watched() ? 20000 : 500000; }

static void wheel_gives_what_a_sorted_list_would(void **state)
{
    for (int round = 0; round < 20; round++) {
        struct scene *s = begin(round % 2 ? 0 : (plait_time_t)1 << (2 * round + 20));

        for (int i = 0; i < steps() / 20; i++)
            step(s, true);
        assert_true(s->vain <= s->removed);
        free(s);
    }
}

static void wheel_without_removals_never_wakes_in_vain(void **state)
{
    struct scene *s = begin(12345);

    for (int i = 0; i < steps(); i++)
        step(s, false);
    assert_int_equal(s->vain, 0);
    free(s);
}

static void wheel_follows_a_clock_that_goes_back(void **state)
{
    struct scene *s = begin((plait_time_t)1 << 50);

    for (int i = 0; i < steps(); i++) {
        step(s, true);
        if (random_number(s) % 50 == 0) {
            plait_time_t back = random_span(s);

            take_all(s, s->now); /* the order of what is ripe is that of the time in which it became so */
            s->now = back < s->now ? s->now - back : 1;
            plait__wheel_advance(&s->wheel, s->now);
            assert_true(plait__wheel_next(&s->wheel) > PLAIT_NOW);
        }
        if (s->now > (plait_time_t)1 << 60)
            take_all(s, (plait_time_t)1 << 50);
    }
    free(s);
}

static void ripe_timers_that_the_clock_left_are_not_ripe(void **state)
{
    struct scene *s = begin(1000 * TICK);

    add(s, 0, 900 * TICK);
    add(s, 1, 500 * TICK);
    assert_int_equal(plait__wheel_next(&s->wheel), PLAIT_NOW);
    plait__wheel_advance(&s->wheel, 600 * TICK);
    assert_ptr_equal(plait__wheel_take(&s->wheel), &s->timers[1]);
    assert_null(plait__wheel_take(&s->wheel));
    assert_int_equal(plait__wheel_next(&s->wheel), 900 * TICK);
    free(s);
}

static void removal_from_any_place_keeps_the_others(void **state)
{
    for (int gone = 0; gone < 3; gone++)
        for (int is_ripe = 0; is_ripe < 2; is_ripe++) {
            struct scene *s = begin(is_ripe ? 1000 * TICK : 0);

            for (int i = 0; i < 3; i++)
                add(s, i, 100 * TICK);
            take_out(s, gone);
            add(s, gone, 100 * TICK);
            take_out(s, gone);
            assert_int_equal(take_all(s, 1000 * TICK), 2);
            assert_int_equal(plait__wheel_next(&s->wheel), PLAIT_FOREVER);
            add(s, gone, 2000 * TICK);
            assert_int_equal(plait__wheel_next(&s->wheel), 2000 * TICK);
            free(s);
        }
}

/* Removed, added and turned back in the middle of it. */
static void many_of_one_slot_fall_a_few_at_a_time(void **state)
{
    for (int turn = 0; turn < 2; turn++) {
        struct scene *s = begin(0);
        plait_time_t base = (plait_time_t)1 << 40;
        int advances = 0;

        for (int i = 0; i < TIMERS; i++)
            add(s, i, base + 100 * TICK + i * TICK);
        plait__wheel_advance(&s->wheel, base + TICK);
        assert_int_equal(plait__wheel_next(&s->wheel), PLAIT_NOW);
        assert_null(plait__wheel_take(&s->wheel));
        for (int i = 0; i < TIMERS; i += 7)
            take_out(s, i);
        for (int i = 0; i < TIMERS; i += 7)
            add(s, i, base + (i % 2 ? 1000 : 0) * TICK);
        if (turn)
            plait__wheel_advance(&s->wheel, base / 2);
        for (; plait__wheel_next(&s->wheel) <= base + TICK && advances < TIMERS; advances++) {
            plait_timer_t *timer;

            plait__wheel_advance(&s->wheel, base + TICK);
            while ((timer = plait__wheel_take(&s->wheel)))
                s->is_in[timer - s->timers] = false;
        }
        assert_true(advances > 2);
        assert_true(advances < TIMERS / 4);
        s->removed = 0;
        s->now = base + TICK;
        while (model_next(s) < PLAIT_FOREVER)
            look_at_next(s);
        assert_int_equal(plait__wheel_next(&s->wheel), PLAIT_FOREVER);
        free(s);
    }
}

static void last_times_are_reached_and_forever_is_not(void **state)
{
    struct scene *s = begin(1);

    add(s, 0, PLAIT_FOREVER - TICK);
    add(s, 1, PLAIT_FOREVER);
    add(s, 2, INT64_MIN);
    assert_int_equal(take_all(s, 1), 1);
    assert_int_equal(take_all(s, PLAIT_FOREVER - 1), 1);
    assert_int_equal(plait__wheel_next(&s->wheel), PLAIT_FOREVER);
    take_out(s, 1);
    assert_int_equal(plait__wheel_next(&s->wheel), PLAIT_FOREVER);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wheel_gives_what_a_sorted_list_would),
        cmocka_unit_test(wheel_without_removals_never_wakes_in_vain),
        cmocka_unit_test(wheel_follows_a_clock_that_goes_back),
        cmocka_unit_test(ripe_timers_that_the_clock_left_are_not_ripe),
        cmocka_unit_test(removal_from_any_place_keeps_the_others),
        cmocka_unit_test(many_of_one_slot_fall_a_few_at_a_time),
        cmocka_unit_test(last_times_are_reached_and_forever_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
