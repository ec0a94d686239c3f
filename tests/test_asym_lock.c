/* SPDX-License-Identifier: MIT */
/* The lock inside private queues and timers (sync/asym_lock.h), with the fences of the kernel and without. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <plait.h>

#include "base/clock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/refuse.h"
#include "support/stage.h"
#include "sync/asym_lock.h"

enum { THREADS = 5, NO_SECCOMP = 77, STALL_SECONDS = 20 };

/* What the threads of a case share. */
struct scene {
    struct plait__asym_lock lock;
    plait_time_t end;
    uint64_t seed;
    uint64_t inside;              /* guarded by lock */
    uint64_t done[THREADS];
    uint32_t errors, seen, ready; /* atomic */
};

struct part {
    struct scene *scene;
    unsigned number;
    int err;
    pthread_t thread;
};

static void start(struct part *part, struct scene *scene, unsigned number, void *(*body)(void *))
{
    *part = (struct part){ .scene = scene, .number = number };
    assert_int_equal(pthread_create(&part->thread, NULL, body, part), 0);
}

/* ---- Many ---- */

/* Some of those who have it lose their CPU, so that others sleep, and are woken together with new ones. */
static void *hold_now_and_then(void *arg)
{
    struct part *part = arg;
    struct scene *scene = part->scene;
    uint64_t random = scene->seed + part->number;

    while (plait_now() < scene->end) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        if (plait__asym_acquire(&scene->lock, plait_after(STALL_SECONDS)) != 0) {
            __atomic_fetch_add(&scene->errors, 1, __ATOMIC_RELAXED);
            break;
        }
        scene->inside++;
        if (random >> 58 == 0)
            sched_yield();
        else if (random >> 53 == 1)
            plait_sleep(0.0002);
        scene->inside++;
        plait__asym_release(&scene->lock);
        scene->done[part->number]++;
        if (random >> 48 == 2) /* and the lock comes to be plain again */
            plait_sleep(0.002);
    }
    return NULL;
}

static int run_many(void *seconds)
{
    struct scene scene = { .end = plait_after(*(double *)seconds), .seed = stage_seed() };
    struct part parts[THREADS];
    uint64_t done = 0;

    for (unsigned i = 0; i < THREADS; i++) {
        parts[i] = (struct part){ .scene = &scene, .number = i };
        if (pthread_create(&parts[i].thread, NULL, hold_now_and_then, &parts[i]) != 0)
            return 2;
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(parts[i].thread, NULL);
        done += scene.done[i];
    }
    if (scene.errors)
        return 3;
    if (scene.inside != 2 * done)
        return 4;
    return scene.lock.held || scene.lock.sleepers ? 5 : 0;
}

static void one_at_a_time_and_nobody_is_forgotten(void **state)
{
    double seconds = stage_stress_seconds();

    assert_int_equal(run_many(&seconds), 0);
}

static int run_many_without_fences(void *seconds)
{
    static const long calls[] = { SYS_membarrier };

    return refuse_calls(calls, 1, ENOSYS) ? NO_SECCOMP : run_many(seconds);
}

static void the_same_where_the_kernel_has_no_fences(void **state)
{
    double seconds = stage_stress_seconds();
    int answer;

    child_await_quiet(0);
    answer = child_run(run_many_without_fences, &seconds);
    if (answer == NO_SECCOMP)
        skip();
    assert_int_equal(answer, 0);
}

/* ---- One ---- */

static void *acquire_soon(void *arg)
{
    struct part *part = arg;

    part->err = plait__asym_acquire(&part->scene->lock, plait_after(0.05));
    if (part->err == 0)
        plait__asym_release(&part->scene->lock);
    return NULL;
}

static void who_waits_for_too_long_gives_up_and_leaves_it_sound(void **state)
{
    struct scene scene = { .end = 0 };
    struct part parts[2];

    assert_int_equal(plait__asym_acquire(&scene.lock, PLAIT_FOREVER), 0);
    for (unsigned i = 0; i < 2; i++)
        start(&parts[i], &scene, i, acquire_soon);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(parts[i].thread, NULL);
        assert_int_equal(parts[i].err, ETIMEDOUT);
    }
    assert_int_equal(scene.lock.sleepers, 0);
    plait__asym_release(&scene.lock);
    start(&parts[0], &scene, 0, acquire_soon);
    pthread_join(parts[0].thread, NULL);
    assert_int_equal(parts[0].err, 0);
}

static void *acquire_though_cancelled(void *arg)
{
    struct part *part = arg;
    plait_cancel_t token;

    plait_cancel_init(&token, 0);
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    __atomic_store_n(&part->scene->ready, 1, __ATOMIC_RELEASE);
    part->err = plait__asym_acquire(&part->scene->lock, PLAIT_FOREVER);
    if (part->err == 0)
        plait__asym_release(&part->scene->lock);
    if (plait_cancel_bind(NULL) != &token)
        part->err = -1;
    return NULL;
}

static void waiting_for_it_is_no_business_of_a_cancel_token(void **state)
{
    struct scene scene = { .end = 0 };
    struct part part;

    assert_int_equal(plait__asym_acquire(&scene.lock, PLAIT_FOREVER), 0);
    start(&part, &scene, 0, acquire_though_cancelled);
    assert_true(EVENTUALLY(__atomic_load_n(&scene.lock.sleepers, __ATOMIC_ACQUIRE)));
    plait_sleep(0.01);
    plait__asym_release(&scene.lock);
    pthread_join(part.thread, NULL);
    assert_int_equal(part.err, 0);
}

/* ---- Passing ---- */

static void *pass(void *arg)
{
    struct part *part = arg;

    __atomic_store_n(&part->scene->ready, 1, __ATOMIC_RELEASE);
    plait__asym_pass(&part->scene->lock, STALL_SECONDS * PLAIT__SECOND);
    __atomic_store_n(&part->scene->seen, __atomic_load_n(&part->scene->done[0], __ATOMIC_RELAXED) == 7 ? 1 : 2, __ATOMIC_RELEASE);
    return NULL;
}

static void who_passes_waits_for_the_holder(void **state)
{
    struct scene scene = { .end = 0 };
    struct part part;

    plait__asym_pass(&scene.lock, 0); /* free: at once */
    assert_int_equal(scene.lock.held, 0);
    assert_int_equal(plait__asym_acquire(&scene.lock, PLAIT_FOREVER), 0);
    start(&part, &scene, 0, pass);
    assert_true(EVENTUALLY(__atomic_load_n(&scene.ready, __ATOMIC_ACQUIRE)));
    plait_sleep(0.02);
    assert_int_equal(__atomic_load_n(&scene.seen, __ATOMIC_ACQUIRE), 0);
    __atomic_store_n(&scene.done[0], 7, __ATOMIC_RELAXED);
    plait__asym_release(&scene.lock);
    pthread_join(part.thread, NULL);
    assert_int_equal(scene.seen, 1);
    assert_int_equal(scene.lock.held, 0);
}

static void who_passes_waits_no_longer_than_that(void **state)
{
    struct scene scene = { .end = 0 };
    plait_time_t before = plait_now();

    assert_int_equal(plait__asym_acquire(&scene.lock, PLAIT_FOREVER), 0);
    plait__asym_pass(&scene.lock, PLAIT__SECOND / 20);
    assert_true(plait_now() - before >= PLAIT__SECOND / 20);
    assert_int_equal(scene.lock.held, 1); /* by us, still */
    plait__asym_release(&scene.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_for_too_long_gives_up_and_leaves_it_sound),
        cmocka_unit_test(waiting_for_it_is_no_business_of_a_cancel_token),
        cmocka_unit_test(who_passes_waits_for_the_holder),
        cmocka_unit_test(who_passes_waits_no_longer_than_that),
        cmocka_unit_test(one_at_a_time_and_nobody_is_forgotten),
        cmocka_unit_test(the_same_where_the_kernel_has_no_fences),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
