/* SPDX-License-Identifier: MIT */
/*
 * Idle: who waits costs nothing. A thousand sleepers on shared objects, which look now and then whether a peer has died,
 * are to take less than a hundredth of a core together; on private ones nothing at all. What is counted is how often they wake,
 * which is the same on every machine: at eight microseconds a look, 1.25 looks in a second each are that hundredth; twice as
 * many are allowed, as the looks become rarer step by step. The processor time is told, and depends on the machine.
 */
#include <errno.h>
#include <sys/resource.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"
#include "support/stage.h"
#include "support/watched.h"

enum { SLEEPERS = 60, SETTLING = 2, SECONDS = 4, CALLS = 6 };

struct scene {
    plait_lock_t lock, guard;
    plait_sem_t sem;
    plait_event_t event;
    plait_cond_t cond;
    plait_queue_t *empty, *full;
    plait_time_t end;
};

static int wait_for_nothing(struct scene *s, unsigned call)
{
    long item = 1;
    int err;

    switch (call) {
    case 0:
        err = plait_lock_acquire(&s->lock, s->end);
        plait_lock_release(&s->lock);
        return err;
    case 1:
        return plait_sem_acquire(&s->sem, 1, s->end);
    case 2:
        return plait_event_wait(&s->event, s->end);
    case 3:
        return plait_queue_get(s->empty, &item, s->end);
    case 4:
        return plait_queue_put(s->full, &item, s->end);
    default:
        plait_lock_acquire(&s->guard, PLAIT_FOREVER);
        err = plait_cond_wait(&s->cond, &s->guard, s->end);
        plait_lock_release(&s->guard);
        return err;
    }
}

static void sleeper(struct worker *self)
{
    worker_says(self, 1);
    self->result = wait_for_nothing(self->with, self->number % CALLS);
}

/* Times that a thread of this process went to sleep. */
static long sleeps(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

static double seconds_used(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void sleepers_hardly_wake(void **state)
{
    struct stage *stage = *state;
    struct scene *s = stage_alloc(stage, sizeof *s);
    struct plait_queue_opts opts = { .item_size = sizeof(long), .maxsize = 1 };
    struct worker *w[SLEEPERS];
    long woken, allowed = stage->flags & PLAIT_SHARED ? SLEEPERS * SECONDS * 5 / 2 : 5; /* the test's thread sleeps, too */
    double used;
    long item = 1;

    assert_non_null(s);
    if (stage->flags & PLAIT_SHARED)
        opts.arena = stage->arena;
    assert_int_equal(plait_lock_init(&s->lock, stage->flags), 0);
    assert_int_equal(plait_lock_init(&s->guard, stage->flags), 0);
    assert_int_equal(plait_sem_init(&s->sem, 0, stage->flags), 0);
    assert_int_equal(plait_event_init(&s->event, stage->flags), 0);
    assert_int_equal(plait_cond_init(&s->cond, stage->flags), 0);
    assert_int_equal(plait_queue_new(&s->empty, &opts), 0);
    assert_int_equal(plait_queue_new(&s->full, &opts), 0);
    assert_int_equal(plait_queue_put(s->full, &item, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_FOREVER), 0);
    s->end = plait_after(60);
    for (unsigned i = 0; i < SLEEPERS; i++)
        w[i] = worker_start(stage, sleeper, s);
    for (unsigned i = 0; i < SLEEPERS; i++)
        assert_true(worker_sleeps(w[i], 1));

    plait_sleep(SETTLING); /* the first looks come sooner */
    used = -seconds_used();
    woken = -sleeps();
    plait_sleep(SECONDS);
    woken += sleeps();
    used += seconds_used();
    print_message("%d sleepers woke %ld times in %d s, and took %.2f ms\n", SLEEPERS, woken, SECONDS, 1e3 * used);
    assert_true(woken <= allowed);

    assert_int_equal(plait_lock_release(&s->lock), 0);
    assert_int_equal(plait_sem_release(&s->sem, SLEEPERS), 0);
    assert_int_equal(plait_event_set(&s->event), 0);
    assert_int_equal(plait_queue_close(s->empty), 0);
    assert_int_equal(plait_queue_close(s->full), 0);
    assert_int_equal(plait_cond_notify_all(&s->cond), 0);
    for (unsigned i = 0; i < SLEEPERS; i++) {
        int result = worker_result(w[i]);

        assert_true(result == 0 || result == EPIPE);
    }
    plait_queue_free(s->empty);
    plait_queue_free(s->full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_CASE(sleepers_hardly_wake, PRIVATE),
        STAGE_CASE(sleepers_hardly_wake, THREADS),
    };

    if (is_watched() || is_emulated()) { /* their own threads sleep as they like */
        print_message("skipped under an emulator or a tool\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
