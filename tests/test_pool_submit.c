/* SPDX-License-Identifier: MIT */
/* The contract of plait_pool_submit, over both back-ends: callbacks, priorities, limits of time; and of pausing. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <plait.h>

#include "support/cmocka.h"
#include "support/pools.h"

enum { SECONDS = 60, MARKS = 100 };

/* Seen by workers of both kinds: mapped before the nursery was made. */
static struct shared {
    uint32_t gate;
    uint32_t inside; /* tasks that are at the gate */
    uint32_t marks;
    int mark[MARKS];
} *shared;

/* ---- Task functions ---- */

static int twice(plait_task_t *task, const void *arg, size_t size)
{
    long value = *(const long *)arg * 2;

    return plait_task_return(task, &value, sizeof value);
}

static int fail_always(plait_task_t *task, const void *arg, size_t size)
{
    return plait_task_fail(task, 33, "as was to be expected");
}

static int stay_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    __atomic_fetch_add(&shared->inside, 1, __ATOMIC_ACQ_REL);
    plait_wake(&shared->inside, UINT_MAX, PLAIT_SHARED);
    while (__atomic_load_n(&shared->gate, __ATOMIC_ACQUIRE) == 0)
        plait_wait(&shared->gate, 0, PLAIT_SHARED, PLAIT_FOREVER);
    return 0;
}

static int leave_mark(plait_task_t *task, const void *arg, size_t size)
{
    shared->mark[__atomic_fetch_add(&shared->marks, 1, __ATOMIC_ACQ_REL) % MARKS] = *(const int *)arg;
    return 0;
}

static int until_asked(plait_task_t *task, const void *arg, size_t size)
{
    while (!plait_task_is_cancelled(task))
        plait_sleep(0.001);
    return plait_task_fail(task, EINTR, "stopped when asked");
}

static int for_ever(plait_task_t *task, const void *arg, size_t size)
{
    for (;;)
        pause();
    return 0;
}

static int for_ever_and_deaf(plait_task_t *task, const void *arg, size_t size)
{
    signal(SIGTERM, SIG_IGN);
    return for_ever(task, arg, size);
}

static int for_a_while(plait_task_t *task, const void *arg, size_t size)
{
    plait_sleep(*(const double *)arg);
    return plait_task_return(task, arg, size);
}

/* ---- Helpers ---- */

static plait_pool_t *make(unsigned workers, bool by_priority)
{
    plait_pool_t *pool = NULL;

    *shared = (struct shared){ 0 };
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){
                         .backend = backend, .workers = workers, .by_priority = by_priority }), 0);
    return pool;
}

static void unmake_and_look(plait_pool_t *pool, struct plait_pool_stats *stats)
{
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    plait_pool_stats(pool, stats);
    assert_int_equal(plait_pool_free(pool), 0);
}

static plait_future_t *submit(plait_pool_t *pool, const struct plait_task_opts *opts)
{
    plait_future_t *future = NULL;

    assert_int_equal(plait_pool_submit(pool, opts, &future), 0);
    return future;
}

static void await_inside(uint32_t count)
{
    uint32_t seen;

    while ((seen = __atomic_load_n(&shared->inside, __ATOMIC_ACQUIRE)) < count)
        assert_int_equal(plait_wait(&shared->inside, seen, PLAIT_SHARED, plait_after(SECONDS)), 0);
}

static void open_gate(void)
{
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    plait_wake(&shared->gate, UINT_MAX, PLAIT_SHARED);
}

/* What callbacks have seen; written in other threads, read after the semaphore. */
struct told {
    plait_sem_t sem;
    int succeeded, failed, code;
};

static void note_success(plait_future_t *future, void *context)
{
    struct told *told = context;

    told->succeeded++;
    told->code = plait_future_error(future);
    plait_sem_release(&told->sem, 1);
}

static void note_failure(plait_future_t *future, void *context)
{
    struct told *told = context;

    told->failed++;
    told->code = plait_future_error(future);
    plait_sem_release(&told->sem, 1);
}

/* ---- Cases ---- */

static void submit_does_what_apply_async_does(void **state)
{
    plait_pool_t *pool = make(2, false);
    long value = 21;
    plait_future_t *future = submit(pool, &(struct plait_task_opts){ .fn = twice, .arg = &value, .arg_size = sizeof value });
    const void *bytes;

    assert_int_equal(plait_future_get(future, &bytes, NULL, plait_after(SECONDS)), 0);
    assert_int_equal(*(const long *)bytes, 42);
    plait_future_free(future);
    pool_unmake(pool);
}

static void one_of_the_callbacks_is_called(void **state)
{
    struct told told = { .sem = PLAIT_SEM_INIT(0) };
    struct plait_task_opts opts = { .callback = note_success, .error_callback = note_failure, .context = &told };
    plait_pool_t *pool = make(1, false);
    plait_future_t *future, *blocking;
    long value = 1;

    opts.fn = twice;
    opts.arg = &value;
    opts.arg_size = sizeof value;
    assert_int_equal(plait_pool_submit(pool, &opts, NULL), 0);
    assert_int_equal(plait_sem_acquire(&told.sem, 1, plait_after(SECONDS)), 0);
    assert_int_equal(told.succeeded, 1);
    assert_int_equal(told.failed, 0);

    opts.fn = fail_always;
    future = submit(pool, &opts);
    assert_int_equal(plait_sem_acquire(&told.sem, 1, plait_after(SECONDS)), 0);
    assert_int_equal(told.succeeded, 1);
    assert_int_equal(told.failed, 1);
    assert_int_equal(told.code, 33);
    plait_future_free(future);

    blocking = submit(pool, &(struct plait_task_opts){ .fn = stay_at_gate });
    await_inside(1);
    future = submit(pool, &opts);
    assert_int_equal(plait_future_cancel(future), 0);
    assert_int_equal(plait_sem_acquire(&told.sem, 1, plait_after(SECONDS)), 0);
    assert_int_equal(told.failed, 2);
    assert_int_equal(told.code, ECANCELED);
    open_gate();
    plait_future_free(future);
    plait_future_free(blocking);
    pool_unmake(pool);
}

static void callback_that_is_not_there_is_not_called(void **state)
{
    struct told told = { .sem = PLAIT_SEM_INIT(0) };
    plait_pool_t *pool = make(1, false);
    long value = 1;

    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){
                         .fn = twice, .arg = &value, .arg_size = sizeof value, .error_callback = note_failure, .context = &told }, NULL), 0);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){
                         .fn = fail_always, .callback = note_success, .context = &told }, NULL), 0);
    pool_unmake(pool);
    assert_int_equal(told.succeeded + told.failed, 0);
}

static void tasks_start_by_priority(void **state)
{
    static const struct { int64_t priority; int mark; } tasks[] = {
        { 5, 50 }, { 0, 0 }, { -3, -30 }, { 5, 51 }, { INT64_MIN, -99 }, { 0, 1 }, { INT64_MAX, 99 }, { -3, -31 },
    };
    static const int order[] = { -99, -30, -31, 0, 1, 50, 51, 99 };
    enum { COUNT = sizeof order / sizeof order[0] };
    plait_pool_t *pool = make(1, true);
    plait_future_t *blocking = submit(pool, &(struct plait_task_opts){ .fn = stay_at_gate });

    await_inside(1);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){
                             .fn = leave_mark, .arg = &tasks[i].mark, .arg_size = sizeof(int), .priority = tasks[i].priority }, NULL), 0);
    open_gate();
    pool_unmake(pool);
    assert_int_equal(shared->marks, COUNT);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(shared->mark[i], order[i]);
    plait_future_free(blocking);
}

static void priority_means_nothing_where_the_pool_does_not_go_by_it(void **state)
{
    plait_pool_t *pool = make(1, false);
    plait_future_t *blocking = submit(pool, &(struct plait_task_opts){ .fn = stay_at_gate });

    await_inside(1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){
                             .fn = leave_mark, .arg = &i, .arg_size = sizeof i, .priority = -i }, NULL), 0);
    open_gate();
    pool_unmake(pool);
    for (int i = 0; i < 5; i++)
        assert_int_equal(shared->mark[i], i);
    plait_future_free(blocking);
}

static void task_over_its_limit_is_asked_to_stop(void **state)
{
    plait_pool_t *pool = make(1, false);

    for (int i = 0; i < 3; i++) {
        plait_time_t start = plait_now();
        plait_future_t *future = submit(pool, &(struct plait_task_opts){ .fn = until_asked, .limit = 0.02, .grace = 60 });

        assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), EINTR);
        assert_string_equal(plait_future_error_text(future), "stopped when asked");
        assert_true(plait_now() - start >= 20000000);
        plait_future_free(future);
    }
    pool_unmake(pool);
}

static void task_within_its_limit_notices_nothing(void **state)
{
    plait_pool_t *pool = make(2, false);
    plait_future_t *futures[50];
    long value;

    for (long i = 0; i < 50; i++)
        futures[i] = submit(pool, &(struct plait_task_opts){ .fn = twice, .arg = &i, .arg_size = sizeof i, .limit = 1e30, .grace = 1e-12 });
    for (long i = 0; i < 50; i++) {
        const void *bytes;

        assert_int_equal(plait_future_get(futures[i], &bytes, NULL, plait_after(SECONDS)), 0);
        value = *(const long *)bytes;
        assert_int_equal(value, 2 * i);
        plait_future_free(futures[i]);
    }
    pool_unmake(pool);
}

static void absurd_options_are_refused(void **state)
{
    plait_pool_t *pool = make(1, false);
    plait_future_t *future = NULL;

    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ 0 }, &future), EINVAL);
    assert_int_equal(plait_pool_submit(pool, NULL, &future), EINVAL);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = fail_always, .arg_size = 1 }, &future), EINVAL);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = fail_always, .limit = -1 }, &future), EINVAL);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = fail_always, .limit = (double)NAN }, &future), EINVAL);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = fail_always, .grace = -1 }, &future), EINVAL);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = fail_always, .grace = (double)NAN }, &future), EINVAL);
    assert_null(future);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = fail_always, .callback = note_success }, &future), EPIPE);
    pool_unmake(pool);
}

/* ---- Pausing ---- */

static int count_mark(plait_task_t *task, const void *arg, size_t size)
{
    __atomic_fetch_add(&shared->marks, 1, __ATOMIC_ACQ_REL);
    return 0;
}

static uint32_t marks(void)
{
    return __atomic_load_n(&shared->marks, __ATOMIC_ACQUIRE);
}

static void paused_pool_starts_nothing(void **state)
{
    plait_pool_t *pool = make(2, false);
    plait_future_t *running = submit(pool, &(struct plait_task_opts){ .fn = stay_at_gate });

    await_inside(1);
    assert_false(plait_pool_is_paused(pool));
    assert_int_equal(plait_pool_pause(pool), 0);
    assert_int_equal(plait_pool_pause(pool), 0);
    assert_true(plait_pool_is_paused(pool));
    for (int i = 0; i < 20; i++)
        assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = count_mark }, NULL), 0);
    open_gate();
    assert_int_equal(plait_future_wait(running, plait_after(SECONDS)), 0); /* what runs goes on */
    plait_sleep(0.05);
    assert_int_equal(marks(), 0);
    assert_int_equal(plait_pool_resume(pool), 0);
    assert_false(plait_pool_is_paused(pool));
    pool_unmake(pool);
    assert_int_equal(marks(), 20);
    plait_future_free(running);
}

static void paused_again_and_again_nothing_is_lost(void **state)
{
    enum { TASKS = 3000 };
    plait_pool_t *pool = make(2, false);

    for (int i = 0; i < TASKS; i++) {
        if (i % 50 == 0)
            plait_pool_pause(pool);
        if (i % 50 == 25)
            plait_pool_resume(pool);
        assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = count_mark }, NULL), 0);
    }
    plait_pool_resume(pool);
    pool_unmake(pool);
    assert_int_equal(marks(), TASKS);
}

static void paused_pool_that_is_closed_ends_after_it_was_resumed(void **state)
{
    plait_pool_t *pool = make(1, false);

    plait_pool_pause(pool);
    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = count_mark }, NULL), 0);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(0.05)), ETIMEDOUT);
    assert_int_equal(marks(), 0);
    plait_pool_resume(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    assert_int_equal(marks(), 1);
    plait_pool_free(pool);
}

static void paused_pool_is_terminated_without_a_resume(void **state)
{
    plait_pool_t *pool = make(2, false);
    plait_future_t *future;

    plait_pool_pause(pool);
    future = submit(pool, &(struct plait_task_opts){ .fn = count_mark });
    plait_sleep(0.01); /* a worker may have it in hand */
    plait_pool_terminate(pool);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), ECANCELED);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    assert_int_equal(marks(), 0);
    plait_future_free(future);
    plait_pool_pause(pool);
    plait_pool_free(pool);
}

/* ---- Processes ---- */

static void ends_late(plait_task_fn *fn)
{
    struct plait_pool_worker before, after;
    plait_pool_t *pool;
    plait_future_t *late;
    long value = 4, result = 0;
    size_t size = sizeof result;

    backend = PLAIT_PROCESSES;
    pool = make(1, false);
    plait_pool_worker(pool, 0, &before);
    late = submit(pool, &(struct plait_task_opts){ .fn = fn, .limit = 0.02, .grace = 0.02 });
    assert_int_equal(plait_future_get(late, NULL, NULL, plait_after(SECONDS)), ETIMEDOUT);
    assert_true(plait_future_is_ready(late));
    assert_non_null(strstr(plait_future_error_text(late), "ran longer than its limit of 0.02 s"));
    assert_int_equal(plait_pool_apply(pool, twice, &value, sizeof value, &result, &size, plait_after(SECONDS)), 0);
    assert_int_equal(result, 8);
    do /* the new one may be done with the task before it is noted */
        plait_pool_worker(pool, 0, &after);
    while (after.restarts == before.restarts);
    assert_int_equal(after.restarts, before.restarts + 1);
    assert_int_not_equal(after.pid, before.pid);
    plait_future_free(late);
    pool_unmake(pool);
}

/* And what it had to do goes on in another one. */
static void ends_when_cancelled(plait_task_fn *fn, double limit)
{
    plait_pool_t *pool;
    plait_future_t *future;
    long value = 4, result = 0;
    size_t size = sizeof result;

    backend = PLAIT_PROCESSES;
    pool = make(1, false);
    future = submit(pool, &(struct plait_task_opts){ .fn = fn, .limit = limit, .grace = 0.03, .retries = 3 });
    while (!plait_future_is_running(future))
        plait_sleep(0.001);
    plait_sleep(0.02); /* so that it runs, as a rule, and not only was claimed */
    assert_int_equal(plait_future_cancel(future), EBUSY);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), ECANCELED);
    assert_non_null(strstr(plait_future_error_text(future), "it was cancelled, and still ran 0.03 s later; worker "));
    assert_int_equal(plait_future_cancel(future), EINVAL);
    assert_int_equal(plait_pool_apply(pool, twice, &value, sizeof value, &result, &size, plait_after(SECONDS)), 0);
    assert_int_equal(result, 8);
    plait_future_free(future);
    pool_unmake(pool);
}

static void process_of_a_cancelled_task_is_replaced(void **state) { ends_when_cancelled(for_ever, 0); }
static void process_that_ignores_its_cancellation_is_killed(void **state) { ends_when_cancelled(for_ever_and_deaf, 600); }

static void cancelled_task_that_stops_by_itself_has_its_own_outcome(void **state)
{
    plait_pool_t *pool = make(1, false);
    plait_future_t *future = submit(pool, &(struct plait_task_opts){ .fn = until_asked, .grace = 60 });

    while (!plait_future_is_running(future))
        plait_sleep(0.001);
    assert_int_equal(plait_future_cancel(future), EBUSY);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), EINTR);
    assert_string_equal(plait_future_error_text(future), "stopped when asked");
    plait_future_free(future);
    pool_unmake(pool);
}

/* Nobody has said how long to wait for it: it is asked, and no more. */
static void cancelled_task_without_a_grace_is_only_asked(void **state)
{
    plait_pool_t *pool = make(1, false);
    plait_future_t *future = submit(pool, &(struct plait_task_opts){ .fn = until_asked });

    while (!plait_future_is_running(future))
        plait_sleep(0.001);
    assert_int_equal(plait_future_cancel(future), EBUSY);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), EINTR);
    plait_future_free(future);
    pool_unmake(pool);
}

static void process_over_its_limit_is_replaced(void **state) { ends_late(for_ever); }
static void process_that_ignores_the_signal_is_killed(void **state) { ends_late(for_ever_and_deaf); }

/* Killed from outside, also between taking itself out of the supervisor's reach and the outcome. */
static void workers_killed_at_random_lose_no_limited_task(void **state)
{
    enum { COUNT = 3000, KILL_EACH = 100 };
    plait_future_t **futures = malloc(COUNT * sizeof *futures);
    unsigned lost = 0, wrong = 0;
    plait_pool_t *pool;

    assert_non_null(futures);
    backend = PLAIT_PROCESSES;
    pool = make(3, false);
    for (long i = 0; i < COUNT; i++) {
        struct plait_pool_worker worker;

        futures[i] = submit(pool, &(struct plait_task_opts){ .fn = twice, .arg = &i, .arg_size = sizeof i, .limit = 600 });
        if (i % KILL_EACH == KILL_EACH - 1 && plait_pool_worker(pool, (unsigned)(i / KILL_EACH) % 3, &worker) == 0 && worker.pid > 0)
            kill(worker.pid, SIGKILL);
    }
    for (long i = 0; i < COUNT; i++) {
        const void *bytes;
        int err = plait_future_get(futures[i], &bytes, NULL, plait_after(SECONDS));

        if (err == EOWNERDEAD)
            lost++;
        else if (err || *(const long *)bytes != 2 * i)
            wrong++;
        plait_future_free(futures[i]);
    }
    assert_int_equal(wrong, 0);
    assert_true(lost <= COUNT / KILL_EACH);
    pool_unmake(pool);
    free(futures);
}

/* A worker may have a task in hand that it must not begin yet. */
static void workers_killed_in_a_pause_lose_no_task(void **state)
{
    plait_pool_t *pool;

    backend = PLAIT_PROCESSES;
    pool = make(2, false);
    for (int round = 0; round < 5; round++) {
        plait_pool_pause(pool);
        for (int i = 0; i < 4; i++)
            assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = count_mark }, NULL), 0);
        plait_sleep(0.005);
        for (unsigned i = 0; i < 2; i++) {
            struct plait_pool_worker worker;

            if (plait_pool_worker(pool, i, &worker) == 0 && worker.pid > 0)
                kill(worker.pid, SIGKILL);
        }
        plait_pool_resume(pool);
    }
    pool_unmake(pool);
    assert_int_equal(marks(), 20);
}

/* Tasks that take about as long as they may, and others between them: no signal hits those. */
static void signal_for_one_task_hits_no_other(void **state)
{
    enum { ROUNDS = 60 };
    plait_future_t *close_ones[ROUNDS], *others[ROUNDS];
    plait_pool_t *pool;
    int ended = 0;

    backend = PLAIT_PROCESSES;
    pool = make(2, false);
    for (long i = 0; i < ROUNDS; i++) {
        double span = 0.0040 + 0.00002 * (double)(i % 30);

        close_ones[i] = submit(pool, &(struct plait_task_opts){ .fn = for_a_while, .arg = &span, .arg_size = sizeof span,
                                                                .limit = 0.004, .grace = 0.0003 });
        others[i] = submit(pool, &(struct plait_task_opts){ .fn = twice, .arg = &i, .arg_size = sizeof i });
    }
    for (long i = 0; i < ROUNDS; i++) {
        const void *bytes;
        int err = plait_future_get(close_ones[i], NULL, NULL, plait_after(SECONDS));

        assert_true(err == 0 || err == ETIMEDOUT);
        ended += err != 0;
        assert_int_equal(plait_future_get(others[i], &bytes, NULL, plait_after(SECONDS)), 0);
        assert_int_equal(*(const long *)bytes, 2 * i);
        plait_future_free(close_ones[i]);
        plait_future_free(others[i]);
    }
    print_message("%d of %d were ended\n", ended, ROUNDS);
    pool_unmake(pool);
}

/* ---- Running again ---- */

static plait_pool_t *inner_pool;

struct trial {
    unsigned failures; /* so often it fails first */
    bool dies;         /* its worker, rather */
    char padding[300];
};

static int succeed_in_the_end(plait_task_t *task, const void *arg, size_t size)
{
    const struct trial *trial = arg;
    unsigned attempt = plait_task_attempt(task);

    shared->mark[__atomic_fetch_add(&shared->marks, 1, __ATOMIC_ACQ_REL) % MARKS] = (int)attempt;
    if (attempt < trial->failures && trial->dies)
        raise(SIGKILL);
    if (attempt < trial->failures) {
        plait_task_return(task, trial, sizeof *trial); /* of no consequence */
        return plait_task_fail(task, 50 + (int)attempt, "attempt %u", attempt);
    }
    return plait_task_return(task, &attempt, sizeof attempt);
}

static plait_future_t *submit_trial(plait_pool_t *pool, const struct trial *trial, unsigned retries, double after)
{
    return submit(pool, &(struct plait_task_opts){ .fn = succeed_in_the_end, .arg = trial, .arg_size = sizeof *trial,
                                                   .retries = retries, .retry_after = after });
}

static void task_that_fails_is_run_again(void **state)
{
    plait_pool_t *pool = make(2, false);
    struct trial trial = { .failures = 3 };
    plait_future_t *future = submit_trial(pool, &trial, 5, 0);
    struct plait_pool_stats stats;
    const void *bytes;

    assert_int_equal(plait_future_get(future, &bytes, NULL, plait_after(SECONDS)), 0);
    assert_int_equal(*(const unsigned *)bytes, 3);
    assert_int_equal(marks(), 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(shared->mark[i], i);
    plait_future_free(future);
    unmake_and_look(pool, &stats);
    assert_int_equal(stats.done, 1); /* it is one task */
    assert_int_equal(stats.failed, 0);
}

static void task_that_fails_too_often_has_its_last_outcome(void **state)
{
    plait_pool_t *pool = make(2, false);
    struct trial trial = { .failures = 9 };
    plait_future_t *future = submit_trial(pool, &trial, 2, 0.001);
    struct plait_pool_stats stats;

    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), 52);
    assert_string_equal(plait_future_error_text(future), "attempt 2");
    assert_int_equal(marks(), 3);
    plait_future_free(future);
    unmake_and_look(pool, &stats);
    assert_int_equal(stats.failed, 1);
}

/* 20, 40 and 80 ms between them. */
static void retries_wait_twice_as_long_each_time(void **state)
{
    plait_pool_t *pool = make(1, false);
    struct trial trial = { .failures = 3 };
    plait_time_t start = plait_now();
    plait_future_t *future = submit_trial(pool, &trial, 3, 0.02);
    long value = 21, result = 0;
    size_t size = sizeof result;

    /* The worker is free meanwhile. */
    assert_int_equal(plait_pool_apply(pool, twice, &value, sizeof value, &result, &size, plait_after(SECONDS)), 0);
    assert_int_equal(result, 42);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), 0);
    assert_true(plait_now() - start >= 140000000);
    plait_future_free(future);
    pool_unmake(pool);
}

static void task_that_waits_to_be_run_again_can_be_cancelled(void **state)
{
    plait_pool_t *pool = make(1, false);
    struct trial trial = { .failures = 1000 };
    plait_future_t *future = submit_trial(pool, &trial, 1000, 500);

    while (marks() == 0 || plait_future_cancel(future) == EBUSY) /* that asks a running one to stop: then it is not run again either */
        plait_sleep(0.001);
    assert_int_equal(plait_future_wait(future, plait_after(SECONDS)), 0);
    assert_true(plait_future_error(future) == ECANCELED || plait_future_error(future) == 50);
    plait_future_free(future);
    pool_unmake(pool); /* and is not waited for */
    assert_int_equal(marks(), 1);
}

static void closed_pool_waits_for_what_is_run_again(void **state)
{
    plait_pool_t *pool = make(2, false);
    struct trial once = { .failures = 1 }, thrice = { .failures = 3 };
    plait_future_t *futures[] = { submit_trial(pool, &once, 1, 0.03), submit_trial(pool, &thrice, 3, 0.01) };

    while (marks() < 2)
        plait_sleep(0.001);
    pool_unmake(pool);
    for (int i = 0; i < 2; i++) {
        assert_true(plait_future_is_ready(futures[i]));
        assert_int_equal(plait_future_error(futures[i]), 0);
        plait_future_free(futures[i]);
    }
    assert_int_equal(marks(), 6);
}

static void terminated_pool_runs_nothing_again(void **state)
{
    plait_pool_t *pool = make(2, false);
    struct trial trial = { .failures = 1000 };
    plait_future_t *futures[] = { submit_trial(pool, &trial, 1000, 300), submit_trial(pool, &trial, 1000, 400) };

    while (marks() < 2)
        plait_sleep(0.001);
    plait_sleep(0.005);
    plait_pool_terminate(pool);
    for (int i = 0; i < 2; i++) {
        int err = plait_future_get(futures[i], NULL, NULL, plait_after(SECONDS));

        assert_true(err == ECANCELED || err == 50);
        plait_future_free(futures[i]);
    }
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    assert_int_equal(plait_pool_free(pool), 0);
    assert_int_equal(marks(), 2);
}

static void pool_freed_amid_retries_leaves_nothing(void **state)
{
    for (int i = 0; i < 5; i++) {
        plait_pool_t *pool = make(2, i % 2);
        struct trial trial = { .failures = 1000 };

        for (int j = 0; j < 10; j++)
            assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = succeed_in_the_end, .arg = &trial,
                                                                                .arg_size = sizeof trial, .retries = 1000,
                                                                                .retry_after = j % 2 ? 0.0001 : 300 }, NULL), 0);
        plait_sleep(0.003);
        assert_int_equal(plait_pool_free(pool), 0);
    }
}

static int fail_when_asked(plait_task_t *task, const void *arg, size_t size)
{
    unsigned attempt = plait_task_attempt(task);

    while (attempt == 0 && !plait_task_is_cancelled(task))
        plait_sleep(0.001);
    return attempt == 0 ? plait_task_fail(task, EINTR, "stopped when asked") : plait_task_return(task, &attempt, sizeof attempt);
}

static void task_over_its_limit_is_run_again(void **state)
{
    plait_pool_t *pool = make(1, false);
    plait_future_t *future = submit(pool, &(struct plait_task_opts){ .fn = fail_when_asked, .limit = 0.02, .grace = SECONDS,
                                                                     .retries = 1 });

    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), 0);
    plait_future_free(future);
    pool_unmake(pool);
}

static int stay_the_first_time(plait_task_t *task, const void *arg, size_t size)
{
    if (plait_task_attempt(task) == 0)
        for_ever_and_deaf(task, arg, size);
    return 0;
}

static void process_over_its_limit_is_replaced_and_its_task_run_again(void **state)
{
    plait_future_t *future;
    plait_pool_t *pool;

    backend = PLAIT_PROCESSES;
    pool = make(1, false);
    future = submit(pool, &(struct plait_task_opts){ .fn = stay_the_first_time, .limit = 0.03, .grace = 0.02, .retries = 1 });
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), 0);
    plait_future_free(future);
    future = submit(pool, &(struct plait_task_opts){ .fn = for_ever, .limit = 0.02, .grace = 0.02, .retries = 2 });
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), ETIMEDOUT);
    assert_non_null(strstr(plait_future_error_text(future), "ran longer than its limit"));
    plait_future_free(future);
    pool_unmake(pool);
}

static void task_whose_worker_dies_is_run_again(void **state)
{
    struct trial trial = { .failures = 2, .dies = true };
    plait_future_t *future;
    const void *bytes;
    plait_pool_t *pool;

    backend = PLAIT_PROCESSES;
    pool = make(2, false);
    future = submit_trial(pool, &trial, 2, 0.002);
    assert_int_equal(plait_future_get(future, &bytes, NULL, plait_after(SECONDS)), 0);
    assert_int_equal(*(const unsigned *)bytes, 2);
    plait_future_free(future);
    future = submit_trial(pool, &trial, 1, 0);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), EOWNERDEAD);
    assert_non_null(strstr(plait_future_error_text(future), "killed by signal 9"));
    plait_future_free(future);
    pool_unmake(pool);
}

/* Tasks that fail and succeed, workers that are killed from outside: each has one outcome, and with retries enough it is a success. */
static void workers_killed_at_random_lose_no_retried_task(void **state)
{
    enum { COUNT = 1000, KILL_EACH = 40 };
    plait_future_t **futures = malloc(COUNT * sizeof *futures);
    plait_pool_t *pool;

    assert_non_null(futures);
    backend = PLAIT_PROCESSES;
    pool = make(3, false);
    for (unsigned i = 0; i < COUNT; i++) {
        struct plait_pool_worker worker;
        struct trial trial = { .failures = i % 3 };

        futures[i] = submit_trial(pool, &trial, 1000, i % 2 ? 0.0005 : 0);
        if (i % KILL_EACH == KILL_EACH - 1 && plait_pool_worker(pool, i / KILL_EACH % 3, &worker) == 0 && worker.pid > 0)
            kill(worker.pid, SIGKILL);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        const void *bytes;

        assert_int_equal(plait_future_get(futures[i], &bytes, NULL, plait_after(SECONDS)), 0);
        assert_true(*(const unsigned *)bytes >= i % 3);
        plait_future_free(futures[i]);
    }
    pool_unmake(pool);
    free(futures);
}

static int wait_for_a_trial(plait_task_t *task, const void *arg, size_t size)
{
    struct trial trial = { .failures = 2 };
    plait_future_t *future;
    int err = plait_pool_submit(inner_pool, &(struct plait_task_opts){ .fn = succeed_in_the_end, .arg = &trial, .arg_size = sizeof trial,
                                                                       .retries = 5, .retry_after = *(const double *)arg }, &future);

    if (err)
        return err;
    err = plait_future_get(future, NULL, NULL, plait_after(SECONDS));
    plait_future_free(future);
    return err;
}

/* The one worker waits for it, and runs it itself. */
static void task_that_waits_for_one_that_is_run_again_does_not_deadlock(void **state)
{
    static const double after[] = { 0, 0.002 };

    backend = PLAIT_THREADS;
    inner_pool = make(1, false);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_pool_apply(inner_pool, wait_for_a_trial, &after[i], sizeof after[i], NULL, NULL, plait_after(SECONDS)), 0);
    pool_unmake(inner_pool);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CONTRACT(submit_does_what_apply_async_does),
        CONTRACT(one_of_the_callbacks_is_called),
        CONTRACT(callback_that_is_not_there_is_not_called),
        CONTRACT(tasks_start_by_priority),
        CONTRACT(priority_means_nothing_where_the_pool_does_not_go_by_it),
        CONTRACT(task_over_its_limit_is_asked_to_stop),
        CONTRACT(task_within_its_limit_notices_nothing),
        CONTRACT(absurd_options_are_refused),
        CONTRACT(paused_pool_starts_nothing),
        CONTRACT(paused_again_and_again_nothing_is_lost),
        CONTRACT(paused_pool_that_is_closed_ends_after_it_was_resumed),
        CONTRACT(paused_pool_is_terminated_without_a_resume),
        cmocka_unit_test(process_over_its_limit_is_replaced),
        cmocka_unit_test(process_of_a_cancelled_task_is_replaced),
        cmocka_unit_test(process_that_ignores_its_cancellation_is_killed),
        CONTRACT(cancelled_task_that_stops_by_itself_has_its_own_outcome),
        CONTRACT(cancelled_task_without_a_grace_is_only_asked),
        cmocka_unit_test(process_that_ignores_the_signal_is_killed),
        cmocka_unit_test(workers_killed_at_random_lose_no_limited_task),
        cmocka_unit_test(workers_killed_in_a_pause_lose_no_task),
        cmocka_unit_test(signal_for_one_task_hits_no_other),
        CONTRACT(task_that_fails_is_run_again),
        CONTRACT(task_that_fails_too_often_has_its_last_outcome),
        CONTRACT(retries_wait_twice_as_long_each_time),
        CONTRACT(task_that_waits_to_be_run_again_can_be_cancelled),
        CONTRACT(closed_pool_waits_for_what_is_run_again),
        CONTRACT(terminated_pool_runs_nothing_again),
        CONTRACT(pool_freed_amid_retries_leaves_nothing),
        CONTRACT(task_over_its_limit_is_run_again),
        cmocka_unit_test(process_over_its_limit_is_replaced_and_its_task_run_again),
        cmocka_unit_test(task_whose_worker_dies_is_run_again),
        cmocka_unit_test(workers_killed_at_random_lose_no_retried_task),
        cmocka_unit_test(task_that_waits_for_one_that_is_run_again_does_not_deadlock),
    };

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
