/* SPDX-License-Identifier: MIT */
/* The contract of timers. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <plait.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/watched.h"

enum { SECONDS = 30, CALLS = 64 };

/* What a function of a timer has seen; read by the test when the timer is idle. */
struct diary {
    plait_timer_t timer;
    uint32_t calls;              /* atomic */
    uint32_t inside;             /* atomic: calls at this moment */
    uint32_t overlaps;           /* atomic */
    uint32_t limit;              /* const: ends its series after so many; 0: never */
    plait_time_t due[CALLS], at[CALLS];
    uint64_t missed[CALLS];
    pthread_t thread;
    int answer;                  /* of what it has called */
    plait_event_t begun, go_on;  /* of functions that wait inside */
    plait_pool_t *pool;
};

static struct diary *diary_new_of(void (*target)(plait_timer_t *, void *), plait_pool_t *pool, enum plait_timer_clock clock)
{
    struct diary *d = calloc(1, sizeof *d);
    struct plait_timer_opts opts = { .target = target, .arg = d, .pool = pool, .clock = clock };

    assert_non_null(d);
    d->pool = pool;
    assert_int_equal(plait_timer_init(&d->timer, &opts), 0);
    return d;
}

static struct diary *diary_new(void (*target)(plait_timer_t *, void *))
{
    return diary_new_of(target, NULL, PLAIT_MONOTONIC);
}

static void diary_free(struct diary *d)
{
    assert_int_equal(plait_timer_fini(&d->timer), 0);
    free(d);
}

static void note(plait_timer_t *timer, void *arg)
{
    struct diary *d = arg;
    uint32_t call = load_relaxed(&d->calls);

    if (add_seqcst(&d->inside, 1) != 0)
        add_relaxed(&d->overlaps, 1);
    if (call < CALLS) {
        d->due[call] = plait_timer_due(timer);
        d->at[call] = plait_timer_now(timer);
        d->missed[call] = plait_timer_missed(timer);
    }
    d->thread = pthread_self();
    if (d->limit && call + 1 >= d->limit)
        d->answer = plait_timer_cancel(timer);
    sub_seqcst(&d->inside, 1);
    add_release(&d->calls, 1);
}

/* Says that it is there, and stays until it is let go. */
static void stay(plait_timer_t *timer, void *arg)
{
    struct diary *d = arg;

    plait_event_set(&d->begun);
    plait_event_wait(&d->go_on, PLAIT_FOREVER);
    note(timer, arg);
}

static plait_time_t patience(void) { return plait_after(SECONDS); }

static void await_calls(struct diary *d, uint32_t count)
{
    plait_time_t end = patience();

    while (load_acquire(&d->calls) < count && plait_now() < end)
        plait_sleep(0.001);
    assert_true(load_acquire(&d->calls) >= count);
}

/* ---- Once ------------------------------------------------------------------------------------------------------- */

static void timer_is_called_once_and_not_before_its_time(void **state)
{
    struct diary *d = diary_new(note);
    plait_time_t due = plait_after(0.02);

    assert_false(plait_timer_is_pending(&d->timer));
    assert_int_equal(plait_timer_start(&d->timer, due), 0);
    assert_int_equal(plait_timer_due(&d->timer), due);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    assert_false(plait_timer_is_pending(&d->timer));
    plait_sleep(0.05);
    assert_int_equal(load_acquire(&d->calls), 1);
    assert_int_equal(d->due[0], due);
    assert_true(d->at[0] >= due);
    assert_int_equal(d->missed[0], 0);
    diary_free(d);
}

static void timer_that_is_due_is_called_at_once(void **state)
{
    const plait_time_t passed[] = { PLAIT_NOW, -1, INT64_MIN, 1, plait_now() };
    struct diary *d = diary_new(note);

    for (uint32_t i = 0; i < sizeof passed / sizeof passed[0]; i++) {
        assert_int_equal(plait_timer_start(&d->timer, passed[i]), 0);
        assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
        assert_int_equal(load_acquire(&d->calls), i + 1);
        assert_true(d->due[i] == passed[i]);
    }
    diary_free(d);
}

static void timer_of_forever_is_pending_until_cancelled(void **state)
{
    struct diary *d = diary_new(note);

    assert_int_equal(plait_timer_start(&d->timer, PLAIT_FOREVER), 0);
    assert_true(plait_timer_is_pending(&d->timer));
    assert_int_equal(plait_timer_join(&d->timer, plait_after(0.01)), ETIMEDOUT);
    assert_int_equal(plait_timer_cancel(&d->timer), 0);
    assert_int_equal(load_acquire(&d->calls), 0);
    diary_free(d);
}

static void start_takes_the_place_of_the_one_before(void **state)
{
    struct diary *d = diary_new(note);
    plait_time_t due;

    assert_int_equal(plait_timer_start(&d->timer, plait_after(3600)), 0);
    assert_int_equal(plait_timer_start(&d->timer, plait_after(0.01)), 0); /* sooner */
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    due = plait_after(0.3);
    assert_int_equal(plait_timer_start(&d->timer, plait_after(0.1)), 0);
    assert_int_equal(plait_timer_start(&d->timer, due), 0); /* later */
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    assert_true(load_acquire(&d->calls) == 2 || load_acquire(&d->calls) == 3); /* a machine that stopped here */
    assert_true(d->at[load_acquire(&d->calls) - 1] >= due);
    diary_free(d);
}

enum { CROWD = 500 };

static uint32_t order[CROWD]; /* the timer thread's: numbers, as they were called */
static uint32_t called;

static void note_order(plait_timer_t *timer, void *arg)
{
    order[called++] = (uint32_t)(uintptr_t)arg;
    if (plait_now() < plait_timer_due(timer))
        order[0] = CROWD; /* refused below */
}

static void timers_are_called_in_the_order_of_their_times(void **state)
{
    static plait_timer_t timers[CROWD];
    plait_time_t base = plait_after(0.05);

    called = 0;
    for (uintptr_t i = 0; i < CROWD; i++) {
        uintptr_t n = i * 7 % CROWD; /* mixed */

        assert_int_equal(plait_timer_init(&timers[n], &(struct plait_timer_opts){ .target = note_order, .arg = (void *)n }), 0);
        assert_int_equal(plait_timer_start(&timers[n], base + (plait_time_t)n * 20000), 0);
    }
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(plait_timer_join(&timers[i], patience()), 0);
    assert_int_equal(called, CROWD);
    for (uint32_t i = 0; i < CROWD; i++)
        assert_int_equal(order[i], i);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(plait_timer_fini(&timers[i]), 0);
}

/* ---- Cancel and join -------------------------------------------------------------------------------------------- */

static void cancel_tells_prevented_from_running_from_over(void **state)
{
    struct diary *d = diary_new(stay);

    assert_int_equal(plait_timer_cancel(&d->timer), EINVAL); /* never started */
    assert_int_equal(plait_timer_start(&d->timer, plait_after(3600)), 0);
    assert_int_equal(plait_timer_cancel(&d->timer), 0);
    assert_int_equal(plait_timer_cancel(&d->timer), EINVAL);

    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    assert_int_equal(plait_event_wait(&d->begun, patience()), 0);
    assert_int_equal(plait_timer_cancel(&d->timer), EBUSY);
    assert_int_equal(plait_timer_join(&d->timer, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_timer_join(&d->timer, plait_after(0.01)), ETIMEDOUT);
    plait_event_set(&d->go_on);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    assert_int_equal(plait_timer_cancel(&d->timer), EINVAL);
    assert_int_equal(load_acquire(&d->calls), 1);
    diary_free(d);
}

static void join_himself(plait_timer_t *timer, void *arg)
{
    struct diary *d = arg;
    struct plait_wait_entry entry = plait_any_timer_join(timer);

    d->answer = plait_timer_join(timer, PLAIT_FOREVER);
    if (d->answer == EDEADLK)
        d->answer = plait_wait_any(&entry, 1, NULL, PLAIT_FOREVER);
    note(timer, arg);
}

static void join_by_its_own_function_is_refused(void **state)
{
    struct diary *d = diary_new(join_himself);

    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    assert_int_equal(d->answer, EDEADLK);
    diary_free(d);
}

static void join_ends_by_the_cancel_token(void **state)
{
    static plait_cancel_t token;
    struct diary *d = diary_new(note);

    assert_int_equal(plait_timer_start(&d->timer, PLAIT_FOREVER), 0);
    plait_cancel_init(&token, 0);
    plait_cancel_bind(&token);
    plait_cancel_set(&token);
    assert_int_equal(plait_timer_join(&d->timer, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(plait_timer_cancel(&d->timer), 0); /* a token is no matter of it */
    assert_int_equal(plait_timer_join(&d->timer, PLAIT_FOREVER), 0);
    plait_cancel_bind(NULL);
    diary_free(d);
}

static void *join_it(void *timer)
{
    return (void *)(intptr_t)plait_timer_join(timer, patience());
}

static void all_joiners_return_when_it_is_cancelled(void **state)
{
    struct diary *d = diary_new(note);
    pthread_t joiners[3];
    void *result;

    for (int round = 0; round < 20; round++) {
        assert_int_equal(plait_timer_start(&d->timer, PLAIT_FOREVER), 0);
        for (int i = 0; i < 3; i++)
            assert_int_equal(pthread_create(&joiners[i], NULL, join_it, &d->timer), 0);
        plait_sleep(round % 2 ? 0.005 : 0);
        assert_int_equal(plait_timer_cancel(&d->timer), 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(pthread_join(joiners[i], &result), 0);
            assert_int_equal((intptr_t)result, 0);
        }
    }
    diary_free(d);
}

static uint32_t joined; /* atomic */

static void *join_and_tell(void *timer)
{
    void *result = join_it(timer);

    store_release(&joined, 1);
    return result;
}

static void joiner_returns_if_it_was_idle_but_for_a_moment(void **state)
{
    struct diary *d = diary_new(note);
    plait_time_t end = patience();
    pthread_t joiner;
    void *result;

    assert_int_equal(plait_timer_start(&d->timer, PLAIT_FOREVER), 0);
    store_relaxed(&joined, 0);
    assert_int_equal(pthread_create(&joiner, NULL, join_and_tell, &d->timer), 0);
    while (!load_acquire(&joined) && plait_now() < end) {
        plait_sleep(0.01);
        assert_int_equal(plait_timer_cancel(&d->timer), 0);
        assert_int_equal(plait_timer_start(&d->timer, PLAIT_FOREVER), 0);
    }
    assert_int_equal(pthread_join(joiner, &result), 0);
    assert_int_equal((intptr_t)result, 0);
    assert_int_equal(plait_timer_cancel(&d->timer), 0);
    diary_free(d);
}

static void timer_is_an_entry_beside_others_and_is_watched(void **state)
{
    struct diary *d = diary_new(note);
    plait_event_t never = PLAIT_EVENT_INIT;
    struct plait_wait_entry entries[] = { plait_any_event_wait(&never), plait_any_timer_join(&d->timer) };
    plait_watch_t *watch;
    size_t which;

    assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_NOW), 0); /* idle */
    assert_int_equal(which, 1);
    assert_int_equal(plait_timer_start(&d->timer, plait_after(0.02)), 0);
    assert_int_equal(plait_wait_any(entries, 2, &which, patience()), 0);
    assert_int_equal(which, 1);
    assert_int_equal(load_acquire(&d->calls), 1);
    assert_int_equal(plait_timer_start(&d->timer, PLAIT_FOREVER), 0);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(0.01)), ETIMEDOUT);

    assert_int_equal(plait_watch_new(&watch, entries[1]), 0);
    plait_watch_arm(watch);
    assert_false(plait_watch_is_told(watch));
    assert_int_equal(plait_timer_cancel(&d->timer), 0);
    for (plait_time_t end = patience(); !plait_watch_is_told(watch) && plait_now() < end;)
        plait_sleep(0.001);
    assert_true(plait_watch_is_told(watch));
    plait_watch_free(watch);
    diary_free(d);
}

/* ---- Again and again -------------------------------------------------------------------------------------------- */

static void series_has_no_drift(void **state)
{
    struct diary *d = diary_new(note);
    plait_time_t first = plait_after(0.01);

    d->limit = 20;
    assert_int_equal(plait_timer_start_every(&d->timer, first, 0.005), 0);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    assert_int_equal(load_acquire(&d->calls), 20);
    assert_int_equal(d->answer, EBUSY);
    for (plait_time_t i = 0, n = 0; i < 20; i++, n++) {
        n += (plait_time_t)d->missed[i];
        assert_int_equal(d->due[i], first + n * 5 * PLAIT__MILLISECOND);
        assert_true(d->at[i] >= d->due[i]);
    }
    diary_free(d);
}

static void dawdle(plait_timer_t *timer, void *arg)
{
    plait_sleep(0.05);
    note(timer, arg);
}

static void series_leaves_out_what_has_passed_and_tells(void **state)
{
    struct diary *d = diary_new(dawdle);
    uint64_t total = 0;

    d->limit = 5;
    assert_int_equal(plait_timer_start_every(&d->timer, PLAIT_NOW, 0.01), 0);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    for (int i = 1; i < 5; i++) {
        assert_true(d->missed[i] >= 3); /* five periods passed, the last of which is this call's */
        total += d->missed[i];
        assert_int_equal(d->due[i], d->due[0] + ((plait_time_t)total + i) * 10 * PLAIT__MILLISECOND);
    }
    diary_free(d);
}

static void series_from_the_past_keeps_its_grid(void **state)
{
    struct diary *d = diary_new(note);
    plait_time_t first = plait_now() - 10 * PLAIT__SECOND;

    d->limit = 1;
    assert_int_equal(plait_timer_start_every(&d->timer, first, 1), 0);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    assert_true(d->missed[0] >= 10);
    assert_int_equal(d->due[0], first + (plait_time_t)d->missed[0] * PLAIT__SECOND);
    diary_free(d);
}

static void series_with_an_impossible_period_is_refused(void **state)
{
    const double bad[] = { 0, -1, 0.9e-9, (double)NAN, (double)INFINITY, 1e10 };
    struct diary *d = diary_new(note);

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(plait_timer_start_every(&d->timer, PLAIT_NOW, bad[i]), EINVAL);
    assert_false(plait_timer_is_pending(&d->timer));
    assert_int_equal(plait_timer_start_every(&d->timer, PLAIT_FOREVER, 9e9), 0); /* 285 years */
    assert_int_equal(plait_timer_cancel(&d->timer), 0);
    diary_free(d);
}

static void cancel_of_a_series_ends_it(void **state)
{
    struct diary *d = diary_new(note);
    uint32_t calls;
    int err;

    assert_int_equal(plait_timer_start_every(&d->timer, PLAIT_NOW, 0.001), 0);
    await_calls(d, 3);
    assert_true(plait_timer_is_pending(&d->timer));
    err = plait_timer_cancel(&d->timer);
    assert_true(err == 0 || err == EBUSY);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    calls = load_acquire(&d->calls);
    plait_sleep(0.02);
    assert_int_equal(load_acquire(&d->calls), calls);
    diary_free(d);
}

/* Starts itself, always at a time that has passed, until another timer had its turn. */
static void again_at_once(plait_timer_t *timer, void *arg)
{
    struct diary *d = arg;

    note(timer, arg);
    if (load_relaxed(&d->calls) < 10 || !plait_event_is_set(&d->go_on))
        d->answer |= plait_timer_start(timer, PLAIT_NOW);
}

static void set_event(plait_timer_t *timer, void *event)
{
    (void)timer;
    plait_event_set(event);
}

static void function_that_starts_itself_keeps_nobody_out(void **state)
{
    struct diary *d = diary_new(again_at_once);
    plait_timer_t other;

    assert_int_equal(plait_timer_init(&other, &(struct plait_timer_opts){ .target = set_event, .arg = &d->go_on }), 0);
    assert_int_equal(plait_timer_start(&other, plait_after(0.02)), 0);
    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    assert_int_equal(plait_timer_join(&other, patience()), 0);
    assert_int_equal(d->answer, 0);
    assert_true(load_acquire(&d->calls) >= 10);
    assert_int_equal(plait_timer_fini(&other), 0);
    diary_free(d);
}

static void start_while_it_runs_has_it_called_again(void **state)
{
    struct diary *d = diary_new(stay);
    plait_time_t due = plait_after(0.01);

    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    assert_int_equal(plait_event_wait(&d->begun, patience()), 0);
    assert_false(plait_timer_is_pending(&d->timer));
    assert_int_equal(plait_timer_start(&d->timer, due), 0);
    assert_true(plait_timer_is_pending(&d->timer));
    assert_int_equal(plait_timer_due(&d->timer), due);
    plait_sleep(0.03);
    assert_int_equal(load_acquire(&d->calls), 0);
    plait_event_set(&d->go_on);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    assert_int_equal(load_acquire(&d->calls), 2);
    assert_int_equal(d->overlaps, 0);

    plait_event_clear(&d->begun);
    plait_event_clear(&d->go_on);
    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    assert_int_equal(plait_event_wait(&d->begun, patience()), 0);
    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    assert_int_equal(plait_timer_cancel(&d->timer), EBUSY); /* of that, too */
    plait_event_set(&d->go_on);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    assert_int_equal(load_acquire(&d->calls), 3);
    diary_free(d);
}

/* ---- Making and ending ------------------------------------------------------------------------------------------ */

static void nonsense_is_refused(void **state)
{
    plait_timer_t timer;
    plait_pool_t *pool;

    assert_int_equal(plait_timer_init(&timer, NULL), EINVAL);
    assert_int_equal(plait_timer_init(NULL, &(struct plait_timer_opts){ .target = note }), EINVAL);
    assert_int_equal(plait_timer_init(&timer, &(struct plait_timer_opts){ .arg = &timer }), EINVAL);
    assert_int_equal(plait_timer_init(&timer, &(struct plait_timer_opts){ .target = note, .clock = 3 }), EINVAL);
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = PLAIT_PROCESSES, .workers = 1 }), 0);
    assert_int_equal(plait_timer_init(&timer, &(struct plait_timer_opts){ .target = note, .pool = pool }), EINVAL);
    plait_pool_free(pool);
}

static void fini_refuses_a_pending_and_a_running_one(void **state)
{
    struct diary *d = diary_new(stay);

    assert_int_equal(plait_timer_start(&d->timer, plait_after(3600)), 0);
    assert_int_equal(plait_timer_fini(&d->timer), EBUSY);
    assert_true(plait_timer_is_pending(&d->timer));
    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    assert_int_equal(plait_event_wait(&d->begun, patience()), 0);
    assert_int_equal(plait_timer_fini(&d->timer), EBUSY);
    plait_event_set(&d->go_on);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    diary_free(d);
}

struct suicide {
    plait_timer_t timer;
    plait_event_t *done;
    int *answer;
    bool is_series;
};

static void end_himself(plait_timer_t *timer, void *arg)
{
    struct suicide *s = arg;
    plait_event_t *done = s->done;

    *s->answer = 0;
    if (s->is_series) {
        *s->answer = plait_timer_fini(timer) == EBUSY ? 0 : 1; /* it would be called again */
        plait_timer_cancel(timer);
    }
    *s->answer |= plait_timer_fini(timer);
    memset(s, 0xa5, sizeof *s);
    free(s);
    plait_event_set(done);
}

static void function_may_end_its_timer_and_free_it(void **state)
{
    plait_pool_t *pool;
    plait_event_t done = PLAIT_EVENT_INIT;
    int answer;

    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .workers = 1 }), 0);
    for (int way = 0; way < 4; way++) {
        struct suicide *s = calloc(1, sizeof *s);

        *s = (struct suicide){ .done = &done, .answer = &answer, .is_series = way & 1 };
        plait_event_clear(&done);
        assert_int_equal(plait_timer_init(&s->timer, &(struct plait_timer_opts){ .target = end_himself, .arg = s,
                                                                                 .pool = way & 2 ? pool : NULL }), 0);
        if (way & 1)
            assert_int_equal(plait_timer_start_every(&s->timer, PLAIT_NOW, 0.001), 0);
        else
            assert_int_equal(plait_timer_start(&s->timer, PLAIT_NOW), 0);
        assert_int_equal(plait_event_wait(&done, patience()), 0);
        assert_int_equal(answer, 0);
    }
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, patience()), 0);
    plait_pool_free(pool);
}

static void see_signals(plait_timer_t *timer, void *arg)
{
    sigset_t *mask = arg;

    (void)timer;
    pthread_sigmask(SIG_BLOCK, NULL, mask);
}

static void timer_thread_leaves_signals_to_the_program(void **state)
{
    plait_timer_t timer;
    sigset_t mask;

    sigemptyset(&mask);
    assert_int_equal(plait_timer_init(&timer, &(struct plait_timer_opts){ .target = see_signals, .arg = &mask }), 0);
    assert_int_equal(plait_timer_start(&timer, PLAIT_NOW), 0);
    assert_int_equal(plait_timer_join(&timer, patience()), 0);
    assert_true(sigismember(&mask, SIGTERM) && sigismember(&mask, SIGINT) && sigismember(&mask, SIGCHLD));
    assert_int_equal(plait_timer_fini(&timer), 0);
}

/* ---- Pools ------------------------------------------------------------------------------------------------------ */

static plait_pool_t *pool_of(unsigned workers)
{
    plait_pool_t *pool;

    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .workers = workers }), 0);
    return pool;
}

static void pool_free(plait_pool_t *pool)
{
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, patience()), 0);
    plait_pool_free(pool);
}

static void pool_calls_the_function(void **state)
{
    plait_pool_t *pool = pool_of(2);
    struct diary *d = diary_new_of(note, pool, PLAIT_MONOTONIC), *other = diary_new(note);

    assert_int_equal(plait_timer_start(&other->timer, PLAIT_NOW), 0);
    assert_int_equal(plait_timer_join(&other->timer, patience()), 0);
    d->limit = 20;
    assert_int_equal(plait_timer_start_every(&d->timer, PLAIT_NOW, 0.001), 0);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    assert_int_equal(load_acquire(&d->calls), 20);
    assert_int_equal(d->overlaps, 0);
    assert_false(pthread_equal(d->thread, other->thread));
    diary_free(d);
    diary_free(other);
    pool_free(pool);
}

static void slow_function_in_a_pool_delays_nobody(void **state)
{
    plait_pool_t *pool = pool_of(1);
    struct diary *slow = diary_new_of(stay, pool, PLAIT_MONOTONIC), *d = diary_new(note);

    assert_int_equal(plait_timer_start_every(&slow->timer, PLAIT_NOW, 0.001), 0);
    assert_int_equal(plait_event_wait(&slow->begun, patience()), 0);
    assert_int_equal(plait_timer_start(&d->timer, plait_after(0.01)), 0);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    plait_event_set(&slow->go_on);
    await_calls(slow, 2);
    assert_true(slow->missed[1] >= 5);
    assert_int_equal(slow->overlaps, 0);
    plait_timer_cancel(&slow->timer);
    assert_int_equal(plait_timer_join(&slow->timer, patience()), 0);
    diary_free(slow);
    diary_free(d);
    pool_free(pool);
}

/* A pool whose only worker is busy, until *go_on is set. */
static int occupy(plait_task_t *task, const void *arg, size_t size)
{
    struct diary *d = *(struct diary *const *)arg;

    (void)task, (void)size;
    plait_event_set(&d->begun);
    return plait_event_wait(&d->go_on, PLAIT_FOREVER);
}

static void await_pending(plait_pool_t *pool, size_t count)
{
    struct plait_pool_stats stats;
    plait_time_t end = patience();

    do
        plait_pool_stats(pool, &stats);
    while (stats.pending < count && plait_now() < end);
    assert_int_equal(stats.pending, count);
}

/* A timer is due, and its call waits in the pool, behind a task that lasts until go_on. */
static struct diary *diary_that_waits_in(plait_pool_t *pool)
{
    struct diary *d = diary_new_of(note, pool, PLAIT_MONOTONIC);

    assert_int_equal(plait_pool_apply_async(pool, occupy, &d, sizeof d, NULL), 0);
    assert_int_equal(plait_event_wait(&d->begun, patience()), 0);
    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    await_pending(pool, 1);
    return d;
}

static void call_that_waits_in_the_pool_can_be_prevented(void **state)
{
    plait_pool_t *pool = pool_of(1);
    struct diary *d = diary_that_waits_in(pool);

    assert_true(plait_timer_is_pending(&d->timer));
    assert_int_equal(plait_timer_fini(&d->timer), EBUSY);
    assert_int_equal(plait_timer_cancel(&d->timer), 0);
    assert_int_equal(plait_timer_cancel(&d->timer), EINVAL);
    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0); /* twice in the queue, one of them is nobody's */
    await_pending(pool, 2);
    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    await_pending(pool, 3);
    plait_event_set(&d->go_on);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    pool_free(pool);
    assert_int_equal(load_acquire(&d->calls), 1);
    diary_free(d);
}

static void closed_pool_is_told(void **state)
{
    plait_pool_t *pool = pool_of(1);
    struct diary *d = diary_new_of(note, pool, PLAIT_MONOTONIC);
    struct plait_wait_entry entry = plait_any_timer_join(&d->timer);

    plait_pool_close(pool);
    assert_int_equal(plait_timer_start_every(&d->timer, plait_after(0.01), 0.01), 0);
    assert_int_equal(plait_timer_join(&d->timer, patience()), EPIPE);
    assert_int_equal(plait_wait_any(&entry, 1, NULL, PLAIT_NOW), EPIPE);
    assert_int_equal(plait_timer_cancel(&d->timer), EINVAL);
    assert_int_equal(load_acquire(&d->calls), 0);
    diary_free(d);
    pool_free(pool);
}

static void terminated_pool_is_told(void **state)
{
    plait_pool_t *pool = pool_of(1);
    struct diary *d = diary_that_waits_in(pool);

    plait_pool_terminate(pool);
    assert_int_equal(plait_timer_join(&d->timer, patience()), EPIPE);
    plait_event_set(&d->go_on);
    assert_int_equal(plait_pool_join(pool, patience()), 0);
    assert_int_equal(load_acquire(&d->calls), 0);
    diary_free(d);
    plait_pool_free(pool);
}

/* ---- Clocks ----------------------------------------------------------------------------------------------------- */

static void other_clocks_have_timers_too(void **state)
{
    for (enum plait_timer_clock clock = PLAIT_REALTIME; clock <= PLAIT_BOOTTIME; clock++) {
        struct diary *d = diary_new_of(note, NULL, clock);
        plait_time_t first = plait_timer_now(&d->timer) + 20 * PLAIT__MILLISECOND;

        if (clock == PLAIT_REALTIME)
            assert_true(plait_timer_now(&d->timer) / PLAIT__SECOND - time(NULL) <= 1);
        assert_int_equal(plait_timer_start(&d->timer, PLAIT_FOREVER), 0);
        plait_sleep(0.01);
        d->limit = 5;
        assert_int_equal(plait_timer_start_every(&d->timer, first, 0.01), 0);
        assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
        for (plait_time_t i = 0, n = 0; i < 5; i++, n++) {
            n += (plait_time_t)d->missed[i];
            assert_int_equal(d->due[i], first + n * 10 * PLAIT__MILLISECOND);
            assert_true(d->at[i] >= d->due[i]);
        }
        assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0); /* while the thread sleeps for ever */
        assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
        diary_free(d);
    }
}

/* ---- Fork ------------------------------------------------------------------------------------------------------- */

static int look_in_child(void *arg)
{
    struct diary *d = arg;
    plait_timer_t own;
    plait_event_t event = PLAIT_EVENT_INIT;

    if (plait_timer_is_pending(&d->timer) || plait_timer_cancel(&d->timer) != EINVAL)
        return 1;
    if (plait_timer_join(&d->timer, PLAIT_FOREVER) != 0)
        return 2;
    if (plait_timer_start(&d->timer, PLAIT_NOW) || plait_timer_join(&d->timer, patience()) || load_acquire(&d->calls) != 1)
        return 3;
    if (plait_timer_init(&own, &(struct plait_timer_opts){ .target = set_event, .arg = &event }))
        return 4;
    if (plait_timer_start(&own, plait_after(0.01)) || plait_event_wait(&event, patience()))
        return 5;
    return plait_timer_join(&own, patience()) || plait_timer_fini(&own) || plait_timer_fini(&d->timer) ? 6 : 0;
}

static void child_has_timers_of_its_own(void **state)
{
    enum plait_timer_clock clocks[] = { PLAIT_MONOTONIC, PLAIT_REALTIME };

#ifdef PLAIT_UNDER_TSAN
    skip(); /* its run-time ends a child of a threaded program that starts threads */
#endif
    if (is_emulated()) /* and so does qemu-user */
        skip();
    for (size_t i = 0; i < 2; i++) {
        struct diary *d = diary_new_of(note, NULL, clocks[i]);

        assert_int_equal(plait_timer_start(&d->timer, PLAIT_FOREVER), 0);
        assert_int_equal(child_run(look_in_child, d), 0);
        assert_int_equal(plait_timer_cancel(&d->timer), 0);
        assert_int_equal(load_acquire(&d->calls), 0);
        diary_free(d);
    }
}

static int look_and_free_in_child(void *arg)
{
    struct diary *d = arg;

    return plait_timer_fini(&d->timer) ? 1 : 0;
}

static void child_may_end_what_is_running_in_the_parent(void **state)
{
    struct diary *d = diary_new(stay);

    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    assert_int_equal(plait_event_wait(&d->begun, patience()), 0);
    assert_int_equal(child_run(look_and_free_in_child, d), 0);
    plait_event_set(&d->go_on);
    assert_int_equal(plait_timer_join(&d->timer, patience()), 0);
    diary_free(d);
}

static void fork_here(plait_timer_t *timer, void *arg)
{
    struct diary *d = arg;
    pid_t pid = fork();

    if (pid)
        d->answer = child_end(pid);
    note(timer, arg);
}

static void child_that_a_function_forks_ends_with_it(void **state)
{
    struct diary *d;

    if (is_watched() || is_emulated()) /* what watches has work of its own when the child ends */
        skip();
    d = diary_new(fork_here);
    assert_int_equal(plait_timer_start(&d->timer, PLAIT_NOW), 0);
    assert_int_equal(plait_timer_join(&d->timer, plait_after(2 * CHILD_SECONDS)), 0);
    assert_int_equal(d->answer, 0);
    assert_int_equal(load_acquire(&d->calls), 1);
    diary_free(d);
}

/* ---- Many ------------------------------------------------------------------------------------------------------- */

static uint32_t fired; /* atomic */

static void count(plait_timer_t *timer, void *arg)
{
    (void)timer, (void)arg;
    add_relaxed(&fired, 1);
}

static void of_a_million_pending_99_in_100_are_cancelled(void **state)
{
    uint32_t n = is_watched() ? 20000 : 1000000, prevented = 0;
    plait_timer_t *timers = malloc(n * sizeof *timers);
    plait_time_t first = plait_after(3);

    assert_non_null(timers);
    store_relaxed(&fired, 0);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(plait_timer_init(&timers[i], &(struct plait_timer_opts){ .target = count }), 0);
        assert_int_equal(plait_timer_start(&timers[i], first + (plait_time_t)(i * 7919u % n) * 1000), 0);
    }
    for (uint32_t i = 0; i < n; i++)
        if (i % 100)
            prevented += plait_timer_cancel(&timers[i]) == 0;
    for (uint32_t i = 0; i < n; i += 100)
        assert_int_equal(plait_timer_join(&timers[i], patience()), 0);
    assert_int_equal(load_relaxed(&fired) + prevented, n);
    assert_true(prevented <= n / 100 * 99);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(plait_timer_fini(&timers[i]), 0);
    free(timers);
}

/* Times that a thread of this process went to sleep. */
static long sleeps(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

static void nobody_wakes_while_none_is_due(void **state)
{
    enum { PENDING_COUNT = 2000 };
    plait_timer_t *timers = calloc(PENDING_COUNT, sizeof *timers);
    long woken;

    assert_non_null(timers);
    for (int i = 0; i < PENDING_COUNT; i++) {
        assert_int_equal(plait_timer_init(&timers[i], &(struct plait_timer_opts){ .target = count }), 0);
        assert_int_equal(plait_timer_start(&timers[i], plait_after(3600 + i)), 0);
    }
    plait_sleep(0.1);
    woken = -sleeps();
    for (int i = 1; i < PENDING_COUNT; i++) /* none is the earliest */
        assert_int_equal(plait_timer_start(&timers[i], plait_after(7200 + i)), 0);
    plait_sleep(2);
    woken += sleeps();
    print_message("%ld sleeps\n", woken);
    if (!is_watched()) /* the threads of such sleep now and then */
        assert_true(woken <= 10); /* the test's own */
    for (int i = 0; i < PENDING_COUNT; i++)
        assert_int_equal(plait_timer_cancel(&timers[i]), 0);
    free(timers);
}

/* Threads that start and cancel their own timers, and cancel those of others: every start is either called or prevented. */
enum { THREADS = 4, EACH = 16 };

struct mixer {
    pthread_t thread;
    uint64_t random;
    uint32_t started, prevented, bad;
    plait_time_t end;
};

static struct { plait_timer_t timer; uint32_t calls; } mixed[THREADS * EACH];
static struct mixer mixers[THREADS];

static void count_own(plait_timer_t *timer, void *arg)
{
    (void)timer;
    add_relaxed(arg, 1);
}

static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static void start_afresh(struct mixer *m, plait_timer_t *timer)
{
    int err = plait_timer_cancel(timer);

    m->prevented += err == 0;
    m->bad += err && err != EBUSY && err != EINVAL;
    if (err == EBUSY && plait_timer_join(timer, patience()))
        m->bad++;
    m->bad += plait_timer_start(timer, plait_timer_now(timer) + (plait_time_t)(next_random(&m->random) % 200000)) != 0;
    m->started++;
}

static void *mix(void *arg)
{
    struct mixer *m = arg;
    size_t first = (size_t)(m - mixers) * EACH;

    while (plait_now() < m->end) {
        uint64_t r = next_random(&m->random);

        if (r % 4)
            start_afresh(m, &mixed[first + r / 4 % EACH].timer);
        else
            m->prevented += plait_timer_cancel(&mixed[r / 4 % (THREADS * EACH)].timer) == 0;
    }
    return NULL;
}

static void each_start_is_called_or_prevented(void **state)
{
    plait_pool_t *pool = pool_of(2);
    uint32_t started = 0, ended = 0, bad = 0;
    uint64_t seed = (uint64_t)plait_now() | 1;

    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < THREADS * EACH; i++) {
        struct plait_timer_opts opts = { .target = count_own, .arg = &mixed[i].calls, .pool = i % 4 ? NULL : pool,
                                         .clock = i % 8 == 1 ? PLAIT_BOOTTIME : PLAIT_MONOTONIC };

        mixed[i].calls = 0;
        assert_int_equal(plait_timer_init(&mixed[i].timer, &opts), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        mixers[i] = (struct mixer){ .random = seed * (i + 1) | 1, .end = plait_after(3) };
        assert_int_equal(pthread_create(&mixers[i].thread, NULL, mix, &mixers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(mixers[i].thread, NULL);
        started += mixers[i].started;
        ended += mixers[i].prevented;
        bad += mixers[i].bad;
    }
    for (size_t i = 0; i < THREADS * EACH; i++) {
        int err = plait_timer_join(&mixed[i].timer, plait_after(SECONDS));

        assert_int_equal(err, 0);
        ended += load_relaxed(&mixed[i].calls);
        assert_int_equal(plait_timer_fini(&mixed[i].timer), 0);
    }
    print_message("%u starts\n", started);
    assert_int_equal(bad, 0);
    assert_int_equal(started, ended);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timer_is_called_once_and_not_before_its_time),
        cmocka_unit_test(timer_that_is_due_is_called_at_once),
        cmocka_unit_test(timer_of_forever_is_pending_until_cancelled),
        cmocka_unit_test(start_takes_the_place_of_the_one_before),
        cmocka_unit_test(timers_are_called_in_the_order_of_their_times),
        cmocka_unit_test(cancel_tells_prevented_from_running_from_over),
        cmocka_unit_test(join_by_its_own_function_is_refused),
        cmocka_unit_test(join_ends_by_the_cancel_token),
        cmocka_unit_test(all_joiners_return_when_it_is_cancelled),
        cmocka_unit_test(joiner_returns_if_it_was_idle_but_for_a_moment),
        cmocka_unit_test(timer_is_an_entry_beside_others_and_is_watched),
        cmocka_unit_test(series_has_no_drift),
        cmocka_unit_test(series_leaves_out_what_has_passed_and_tells),
        cmocka_unit_test(series_from_the_past_keeps_its_grid),
        cmocka_unit_test(series_with_an_impossible_period_is_refused),
        cmocka_unit_test(cancel_of_a_series_ends_it),
        cmocka_unit_test(function_that_starts_itself_keeps_nobody_out),
        cmocka_unit_test(start_while_it_runs_has_it_called_again),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(fini_refuses_a_pending_and_a_running_one),
        cmocka_unit_test(function_may_end_its_timer_and_free_it),
        cmocka_unit_test(timer_thread_leaves_signals_to_the_program),
        cmocka_unit_test(pool_calls_the_function),
        cmocka_unit_test(slow_function_in_a_pool_delays_nobody),
        cmocka_unit_test(call_that_waits_in_the_pool_can_be_prevented),
        cmocka_unit_test(closed_pool_is_told),
        cmocka_unit_test(terminated_pool_is_told),
        cmocka_unit_test(nobody_wakes_while_none_is_due),
        cmocka_unit_test(child_has_timers_of_its_own),
        cmocka_unit_test(child_may_end_what_is_running_in_the_parent),
        cmocka_unit_test(child_that_a_function_forks_ends_with_it),
        cmocka_unit_test(other_clocks_have_timers_too),
        cmocka_unit_test(of_a_million_pending_99_in_100_are_cancelled),
        cmocka_unit_test(each_start_is_called_or_prevented),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
