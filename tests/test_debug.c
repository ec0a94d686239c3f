/* SPDX-License-Identifier: MIT */
/* The contract of plait/debug.h: each report, its text, and what is not reported. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"

enum { LOCKS = 12, TEXT = 16384 };

/* Set up before each case: locks, three in an arena, and what was reported. */
static struct scene {
    plait_lock_t lock[LOCKS];
    plait_arena_t *arena;
    struct {
        plait_lock_t lock[2];
        plait_rlock_t rlock;
    } *shared;
    unsigned reports; /* atomic */
    enum plait_debug_kind kind;
    const void *object;
    char function[64];
    char text[TEXT];
} scene;

static void note(const struct plait_debug_report *report, void *arg)
{
    struct scene *s = arg;
    plait_lock_t own = PLAIT_LOCK_INIT;

    /* What a handler does is not watched. */
    plait_lock_acquire(&own, PLAIT_FOREVER);
    plait_lock_release(&own);
    s->kind = report->kind;
    s->object = report->object;
    snprintf(s->function, sizeof s->function, "%s", report->function);
    snprintf(s->text, sizeof s->text, "%s", report->text);
    __atomic_fetch_add(&s->reports, 1, __ATOMIC_RELEASE);
}

static int set_up(void **state)
{
    void *memory;

    (void)state;
    memset(&scene, 0, sizeof scene);
    if (plait_arena_new(&scene.arena, NULL) != 0 || plait_arena_alloc(scene.arena, sizeof *scene.shared, &memory) != 0)
        return -1;
    scene.shared = memory;
    if (plait_lock_init(&scene.shared->lock[0], PLAIT_SHARED) != 0 ||
        plait_lock_init(&scene.shared->lock[1], PLAIT_SHARED) != 0 ||
        plait_rlock_init(&scene.shared->rlock, PLAIT_SHARED) != 0)
        return -1;
    plait_debug_set_handler(note, &scene);
    return plait_debug_start("report,wait=0");
}

static int tear_down(void **state)
{
    (void)state;
    plait_debug_stop();
    plait_debug_set_handler(NULL, NULL);
    return plait_arena_free(scene.arena);
}

static bool says(const char *words)
{
    return strstr(scene.text, words) != NULL;
}

/* `before`, the name of this thread, `after`. */
static bool says_of_us(const char *before, const char *after)
{
    char name[16] = "", words[256];

    prctl(PR_GET_NAME, name);
    snprintf(words, sizeof words, "%s thread \"%s\"%s", before, name, after);
    return says(words);
}

/* Take the reports noted since the last time. */
static unsigned reports(void)
{
    return __atomic_exchange_n(&scene.reports, 0, __ATOMIC_ACQUIRE);
}

static void *on_thread(void *(*body)(void *), void *arg)
{
    pthread_t thread;
    void *result = NULL;

    if (pthread_create(&thread, NULL, body, arg) != 0 || pthread_join(thread, &result) != 0)
        abort();
    return result;
}

/* ---- Order ------------------------------------------------------------------------------ */

struct pair {
    plait_lock_t *first, *second;
    plait_time_t deadline; /* of the second */
};

/* Not inlined, and not static: to be named in reports. */
__attribute__((noinline)) void *take_both(void *arg);
void *take_both(void *arg)
{
    struct pair *pair = arg;

    plait_lock_acquire(pair->first, PLAIT_FOREVER);
    if (plait_lock_acquire(pair->second, pair->deadline) == 0)
        plait_lock_release(pair->second);
    plait_lock_release(pair->first);
    return NULL;
}

static void take(plait_lock_t *first, plait_lock_t *second)
{
    take_both(&(struct pair){ first, second, PLAIT_FOREVER });
}

static void order_reversed_is_reported_before_it_deadlocks(void **state)
{
    plait_lock_t *a = &scene.lock[0], *b = &scene.lock[1];

    (void)state;
    on_thread(take_both, &(struct pair){ a, b, PLAIT_FOREVER });
    assert_int_equal(reports(), 0);
    plait_lock_acquire(b, PLAIT_FOREVER);
    assert_int_equal(plait_lock_acquire(a, PLAIT_FOREVER), 0); /* nobody competes: it is reported all the same */
    assert_int_equal(reports(), 1);
    assert_int_equal(scene.kind, PLAIT_DEBUG_ORDER);
    assert_ptr_equal(scene.object, a);
    assert_string_equal(scene.function, "plait_lock_acquire");
    plait_lock_release(a);
    plait_lock_release(b);
}

static void order_report_names_both_orders_and_places(void **state)
{
    char now[256], before[256];

    (void)state;
    take(&scene.lock[0], &scene.lock[1]);
    take(&scene.lock[1], &scene.lock[0]);
    assert_int_equal(reports(), 1);
    assert_true(says_of_us("plait: lock order: plait_lock_acquire:", " ("));
    snprintf(now, sizeof now, "acquires lock %p (scene) in take_both+0x", (void *)&scene.lock[0]);
    assert_true(says(now));
    snprintf(before, sizeof before, "holds    lock %p (scene+0x%zx), acquired in take_both+0x", (void *)&scene.lock[1],
             sizeof scene.lock[0]);
    assert_true(says(before));
    snprintf(before, sizeof before, "held     lock %p (scene), acquired in take_both+0x", (void *)&scene.lock[0]);
    assert_true(says(before));
    snprintf(before, sizeof before, "acquired lock %p (scene+0x%zx) in take_both+0x", (void *)&scene.lock[1],
             sizeof scene.lock[0]);
    assert_true(says(before));
    assert_true(says("(test_debug+0x"));
    assert_true(says("test_debug, build-id "));
}

static void order_is_reported_once(void **state)
{
    (void)state;
    take(&scene.lock[0], &scene.lock[1]);
    for (int i = 0; i < 3; i++)
        take(&scene.lock[1], &scene.lock[0]);
    assert_int_equal(reports(), 1);
}

static void order_round_many_locks_is_reported(void **state)
{
    (void)state;
    for (int i = 0; i + 1 < LOCKS; i++)
        take(&scene.lock[i], &scene.lock[i + 1]);
    assert_int_equal(reports(), 0);
    take(&scene.lock[2], &scene.lock[0]);
    assert_int_equal(reports(), 1);
    assert_non_null(strstr(strstr(scene.text, "before, thread"), "before, thread")); /* two older steps */
    take(&scene.lock[LOCKS - 1], &scene.lock[0]);                                  /* and here eleven */
    assert_int_equal(reports(), 1);
    assert_true(says("and 4 more"));
}

static void order_among_shared_locks_is_reported(void **state)
{
    (void)state;
    take(&scene.shared->lock[0], &scene.shared->lock[1]);
    take(&scene.shared->lock[1], &scene.lock[0]);
    assert_int_equal(reports(), 0);
    take(&scene.lock[0], &scene.shared->lock[0]);
    assert_int_equal(reports(), 1);
}

static void order_kept_is_not_reported(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < LOCKS; i++)
            for (int j = i + 1; j < LOCKS; j++)
                take(&scene.lock[i], &scene.lock[j]);
    /* One after the other is no order. */
    for (int i = LOCKS - 1; i >= 0; i--) {
        plait_lock_acquire(&scene.lock[i], PLAIT_FOREVER);
        plait_lock_release(&scene.lock[i]);
    }
    assert_int_equal(reports(), 0);
}

static void order_of_a_try_is_not_reported(void **state)
{
    (void)state;
    take(&scene.lock[0], &scene.lock[1]);
    take_both(&(struct pair){ &scene.lock[1], &scene.lock[0], PLAIT_NOW });
    assert_int_equal(reports(), 0);
    take_both(&(struct pair){ &scene.lock[1], &scene.lock[0], plait_after(10) }); /* a deadline is no try */
    assert_int_equal(reports(), 1);
}

static void order_of_what_a_try_acquired_is_reported(void **state)
{
    (void)state;
    take(&scene.lock[0], &scene.lock[1]);
    assert_int_equal(plait_lock_acquire(&scene.lock[1], PLAIT_NOW), 0);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    assert_int_equal(reports(), 1);
    plait_lock_release(&scene.lock[0]);
    plait_lock_release(&scene.lock[1]);
}

static void order_of_an_ended_lock_is_forgotten(void **state)
{
    (void)state;
    take(&scene.lock[0], &scene.lock[1]);
    assert_int_equal(plait_lock_fini(&scene.lock[0]), 0);
    take(&scene.lock[1], &scene.lock[0]);
    assert_int_equal(reports(), 0);
    assert_int_equal(plait_lock_init(&scene.lock[1], 0), 0);
    take(&scene.lock[0], &scene.lock[1]);
    assert_int_equal(reports(), 0);
    take(&scene.lock[1], &scene.lock[0]);
    assert_int_equal(reports(), 1);
}

static void order_with_an_rlock_held_deeper_is_not_reported(void **state)
{
    plait_rlock_t rlock = PLAIT_RLOCK_INIT;

    (void)state;
    plait_rlock_acquire(&rlock, PLAIT_FOREVER);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    plait_rlock_acquire(&rlock, PLAIT_FOREVER); /* its own already: nothing to wait for */
    plait_rlock_release(&rlock);
    plait_lock_release(&scene.lock[0]);
    plait_rlock_release(&rlock);
    assert_int_equal(reports(), 0);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    plait_rlock_acquire(&rlock, PLAIT_FOREVER);
    assert_int_equal(reports(), 1);
    assert_true(says("plait_rlock_acquire: thread"));
    plait_rlock_release(&rlock);
    plait_lock_release(&scene.lock[0]);
    plait_rlock_fini(&rlock);
}

static void order_of_a_condition_wait_counts_the_lock_taken_back(void **state)
{
    plait_cond_t cond = PLAIT_COND_INIT;

    (void)state;
    take(&scene.lock[0], &scene.lock[1]);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    plait_lock_acquire(&scene.lock[1], PLAIT_FOREVER);
    assert_int_equal(plait_cond_wait(&cond, &scene.lock[0], plait_after(0.001)), ETIMEDOUT);
    assert_int_equal(reports(), 1); /* lock 0 acquired while 1 was held */
    assert_true(says("order_of_a_condition_wait_counts_the_lock_taken_back+0x"));
    plait_lock_release(&scene.lock[1]);
    plait_lock_release(&scene.lock[0]);
    assert_int_equal(reports(), 0);
}

static void condition_gives_and_takes_all_levels(void **state)
{
    plait_cond_t cond = PLAIT_COND_INIT;
    plait_rlock_t rlock = PLAIT_RLOCK_INIT;

    (void)state;
    for (int i = 0; i < 3; i++)
        plait_rlock_acquire(&rlock, PLAIT_FOREVER);
    assert_int_equal(plait_cond_wait(&cond, &rlock.lock, plait_after(0.001)), ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_rlock_release(&rlock), 0);
    assert_int_equal(reports(), 0);
    /* It is not held any more: to acquire another and then it is in order. */
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    plait_rlock_acquire(&rlock, PLAIT_FOREVER);
    plait_rlock_release(&rlock);
    plait_lock_release(&scene.lock[0]);
    assert_int_equal(reports(), 0);
    plait_rlock_fini(&rlock);
}

static void queues_and_conditions_inside_are_not_reported(void **state)
{
    plait_queue_t *queue[2];
    plait_cond_t cond = PLAIT_COND_INIT;
    int item = 1;

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_queue_new(&queue[i], &(struct plait_queue_opts){ .item_size = sizeof item,
                                                                              .arena = i ? scene.arena : NULL }), 0);
    for (int i = 0; i < 2; i++) {
        plait_lock_acquire(&scene.lock[i], PLAIT_FOREVER);
        assert_int_equal(plait_queue_put(queue[i], &item, PLAIT_FOREVER), 0);
        assert_int_equal(plait_queue_get(queue[i], &item, PLAIT_FOREVER), 0);
        plait_cond_notify(&cond, 1);
        plait_lock_release(&scene.lock[i]);
    }
    assert_int_equal(reports(), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_queue_free(queue[i]), 0);
}

/* ---- Self-deadlock, strangers ------------------------------------------------------------ */

static void self_deadlock_is_reported_and_refused(void **state)
{
    (void)state;
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    assert_int_equal(plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER), EDEADLK);
    assert_int_equal(reports(), 1);
    assert_int_equal(scene.kind, PLAIT_DEBUG_SELF);
    assert_true(says_of_us("plait: self-deadlock: plait_lock_acquire:", ""));
    assert_true(says("would wait for itself: it holds lock"));
    assert_true(says("in self_deadlock_is_reported_and_refused+0x"));
    assert_true(says_of_us("held by", ""));
    plait_lock_release(&scene.lock[0]);

    plait_lock_acquire(&scene.shared->lock[0], PLAIT_FOREVER);
    assert_int_equal(plait_lock_acquire(&scene.shared->lock[0], PLAIT_FOREVER), EDEADLK);
    assert_int_equal(reports(), 1);
    plait_lock_release(&scene.shared->lock[0]);
}

static void acquire_again_with_a_deadline_waits(void **state)
{
    (void)state;
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    assert_int_equal(plait_lock_acquire(&scene.lock[0], PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_lock_acquire(&scene.lock[0], plait_after(0.001)), ETIMEDOUT);
    plait_lock_release(&scene.lock[0]);
    assert_int_equal(reports(), 0);
}

static void memory_used_for_another_lock_is_not_held(void **state)
{
    (void)state;
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    scene.lock[0] = (plait_lock_t)PLAIT_LOCK_INIT; /* neither fini nor init */
    assert_int_equal(plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_release(&scene.lock[0]), 0);
    assert_int_equal(reports(), 0);
}

static void *release(void *lock)
{
    return (void *)(intptr_t)plait_lock_release(lock);
}

static void *release_rlock(void *rlock)
{
    return (void *)(intptr_t)plait_rlock_release(rlock);
}

static void stranger_is_reported_and_refused(void **state)
{
    plait_rlock_t rlock = PLAIT_RLOCK_INIT;

    (void)state;
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    assert_int_equal((intptr_t)on_thread(release, &scene.lock[0]), EPERM);
    assert_int_equal(reports(), 1);
    assert_int_equal(scene.kind, PLAIT_DEBUG_STRANGER);
    assert_string_equal(scene.function, "plait_lock_release");
    assert_true(says_of_us("plait: not the holder: plait_lock_release:", ""));
    assert_true(says("in release+0x"));
    assert_true(says("acquired in stranger_is_reported_and_refused+0x"));
    assert_true(plait_lock_is_locked(&scene.lock[0]));
    plait_lock_release(&scene.lock[0]);

    plait_lock_acquire(&scene.shared->lock[0], PLAIT_FOREVER);
    assert_int_equal((intptr_t)on_thread(release, &scene.shared->lock[0]), EPERM);
    assert_int_equal(reports(), 1);
    plait_lock_release(&scene.shared->lock[0]);

    plait_rlock_acquire(&rlock, PLAIT_FOREVER);
    assert_int_equal((intptr_t)on_thread(release_rlock, &rlock), EPERM);
    assert_int_equal(reports(), 1);
    plait_rlock_release(&rlock);
    plait_rlock_fini(&rlock);
}

static void release_of_a_free_lock_is_reported(void **state)
{
    (void)state;
    assert_int_equal(plait_lock_release(&scene.lock[0]), EPERM);
    assert_int_equal(reports(), 1);
    assert_int_equal(scene.kind, PLAIT_DEBUG_STRANGER);
    assert_true(says("nobody is known to hold it"));
}

static void handover_is_allowed_on_request(void **state)
{
    (void)state;
    assert_int_equal(plait_debug_start("handover,report"), 0);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    assert_int_equal((intptr_t)on_thread(release, &scene.lock[0]), 0);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    plait_lock_release(&scene.lock[0]);
    assert_int_equal(reports(), 0);
}

static void what_was_held_before_is_not_known(void **state)
{
    (void)state;
    plait_debug_stop();
    assert_false(plait_debug_is_on());
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    assert_int_equal(plait_debug_start("report"), 0);
    assert_true(plait_debug_is_on());
    assert_int_equal(plait_lock_release(&scene.lock[0]), 0);
    assert_int_equal(reports(), 0);
}

/* ---- Long waits, ends of threads ----------------------------------------------------------- */

static void *acquire_and_release(void *lock)
{
    int err = plait_lock_acquire(lock, PLAIT_FOREVER);

    return (void *)(intptr_t)(err ? err : plait_lock_release(lock));
}

static void try_long_wait(plait_lock_t *lock)
{
    pthread_t thread;
    void *result;

    assert_int_equal(plait_debug_start("report,wait=0.002"), 0);
    plait_lock_acquire(lock, PLAIT_FOREVER);
    assert_int_equal(pthread_create(&thread, NULL, acquire_and_release, lock), 0);
    while (__atomic_load_n(&scene.reports, __ATOMIC_ACQUIRE) == 0)
        sched_yield();
    assert_int_equal(reports(), 1); /* while it waits */
    plait_lock_release(lock);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, 0);
    assert_int_equal(scene.kind, PLAIT_DEBUG_WAIT);
    assert_ptr_equal(scene.object, lock);
    assert_true(says_of_us("plait: long wait: plait_lock_acquire:", ""));
    assert_true(says("in acquire_and_release+0x"));
    assert_true(says_of_us("held by", ""));
    assert_true(says("acquired in try_long_wait"));
    assert_int_equal(reports(), 0);
}

static void long_wait_is_reported_with_the_holder(void **state)
{
    (void)state;
    try_long_wait(&scene.lock[0]);
    try_long_wait(&scene.shared->lock[0]);
}

static void wait_below_the_limit_is_not_reported(void **state)
{
    (void)state;
    assert_int_equal(plait_debug_start("report,wait=100"), 0);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    assert_int_equal(plait_lock_acquire(&scene.lock[0], plait_after(0.002)), ETIMEDOUT);
    plait_lock_release(&scene.lock[0]);
    assert_int_equal(reports(), 0);
}

static void *acquire_only(void *lock)
{
    plait_lock_acquire(lock, PLAIT_FOREVER);
    return NULL;
}

static void lock_held_at_the_end_of_a_thread_is_reported(void **state)
{
    (void)state;
    on_thread(acquire_only, &scene.lock[0]);
    assert_int_equal(reports(), 1);
    assert_int_equal(scene.kind, PLAIT_DEBUG_EXIT);
    assert_ptr_equal(scene.object, &scene.lock[0]);
    assert_true(says("plait: held at the end of a thread: thread"));
    assert_true(says("acquired in acquire_only+0x"));
    /* And who waits for it is told. */
    assert_int_equal(plait_debug_start("report,wait=0.001"), 0);
    assert_int_equal(plait_lock_acquire(&scene.lock[0], plait_after(0.01)), ETIMEDOUT);
    assert_int_equal(reports(), 1);
    assert_true(says("which has ended"));

    assert_int_equal(plait_debug_start("report,wait=100"), 0); /* without robust lists the death is found after a while */
    on_thread(acquire_only, &scene.shared->lock[0]);
    assert_int_equal(reports(), 1);
    assert_int_equal(plait_lock_acquire(&scene.shared->lock[0], PLAIT_FOREVER), EOWNERDEAD);
    assert_int_equal(plait_lock_consistent(&scene.shared->lock[0]), 0);
    assert_int_equal(plait_lock_release(&scene.shared->lock[0]), 0);
    assert_int_equal(reports(), 0);
}

static pthread_key_t late;

static void release_late(void *lock)
{
    plait_lock_release(lock);
}

static void *acquire_for_the_destructor(void *lock)
{
    pthread_setspecific(late, lock);
    return acquire_only(lock);
}

static void lock_released_by_a_destructor_is_not_reported(void **state)
{
    (void)state;
    assert_int_equal(pthread_key_create(&late, release_late), 0);
    on_thread(acquire_for_the_destructor, &scene.lock[0]);
    assert_int_equal(pthread_key_delete(late), 0);
    assert_int_equal(reports(), 0);
}

/* ---- Fork ------------------------------------------------------------------------------- */

static int child_of_holder(void *unused)
{
    (void)unused;
    /* Private: held by the copy of the thread. Shared: the parent's. */
    if (plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER) != EDEADLK || reports() != 1)
        return 1;
    if (plait_lock_release(&scene.lock[0]) != 0 || reports() != 0)
        return 2;
    if (plait_lock_release(&scene.shared->lock[0]) != EPERM || reports() != 1)
        return 3;
    /* The order that the parent has seen holds. */
    take(&scene.lock[2], &scene.lock[1]);
    if (reports() != 1)
        return 4;
    /* What another thread of the parent held stays held. */
    plait_debug_start("report,wait=0.001");
    if (plait_lock_acquire(&scene.lock[3], plait_after(0.01)) != ETIMEDOUT || reports() != 1 ||
        !says("of the parent process"))
        return 5;
    return 0;
}

struct held {
    plait_lock_t *lock;
    plait_event_t acquired, told;
};

static void *hold_until_told(void *arg)
{
    struct held *held = arg;

    plait_lock_acquire(held->lock, PLAIT_FOREVER);
    plait_event_set(&held->acquired);
    plait_event_wait(&held->told, PLAIT_FOREVER);
    plait_lock_release(held->lock);
    return NULL;
}

static void child_knows_what_its_parent_knew(void **state)
{
    struct held held = { .lock = &scene.lock[3] };
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, hold_until_told, &held), 0);
    assert_int_equal(plait_event_wait(&held.acquired, PLAIT_FOREVER), 0);
    take(&scene.lock[1], &scene.lock[2]);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    plait_lock_acquire(&scene.shared->lock[0], PLAIT_FOREVER);
    assert_int_equal(child_run(child_of_holder, NULL), 0);
    plait_lock_release(&scene.shared->lock[0]);
    plait_lock_release(&scene.lock[0]);
    plait_event_set(&held.told);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(reports(), 0);
}

static uint32_t told;

static void *stir(void *lock)
{
    while (!__atomic_load_n(&told, __ATOMIC_RELAXED)) {
        plait_lock_acquire(lock, PLAIT_FOREVER);
        plait_lock_release(lock);
    }
    return NULL;
}

static int child_of_the_stirred(void *unused)
{
    (void)unused;
    take(&scene.lock[2], &scene.lock[3]); /* the others may be held for ever */
    take(&scene.lock[3], &scene.lock[2]);
    return reports() == 1 ? 0 : 1;
}

static void forks_amid_threads_leave_working_children(void **state)
{
    pthread_t thread[2];

    (void)state;
    told = 0;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, stir, &scene.lock[i]), 0);
    for (int i = 0; i < 30; i++)
        assert_int_equal(child_run(child_of_the_stirred, NULL), 0);
    __atomic_store_n(&told, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(reports(), 0);
}

/* ---- Options, aborts, environment --------------------------------------------------------- */

static void bad_options_are_refused(void **state)
{
    static const char *const bad[] = { "wait", "wait=", "wait=x", "wait=-1", "wait=1s", "nonsense", "report,abort", "lines ",
                                       "wait=nan" };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(plait_debug_start(bad[i]), EINVAL);
    assert_int_equal(plait_debug_start(NULL), 0);
    assert_int_equal(plait_debug_start("wait=1.5,lines,handover,abort"), 0);
    assert_int_equal(plait_debug_start("off"), 0);
    assert_false(plait_debug_is_on());
}

static void lines_are_named_on_request(void **state)
{
    (void)state;
    if (system("addr2line --version >/dev/null 2>&1") != 0)
        skip();
    assert_int_equal(plait_debug_start("report,lines"), 0);
    assert_int_equal(plait_lock_release(&scene.lock[0]), EPERM);
    assert_int_equal(reports(), 1);
    if (!says(", test_debug.c:"))
        print_message("no line, built without: %s", scene.text);
}

static int deadlock_myself(void *options)
{
    plait_debug_start(options);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    return 0;
}

static int release_anothers(void *options)
{
    plait_debug_start(options);
    plait_lock_acquire(&scene.lock[0], PLAIT_FOREVER);
    on_thread(release, &scene.lock[0]);
    return 0;
}

static int release_a_free_one(void *options)
{
    plait_debug_start(options);
    plait_lock_release(&scene.lock[0]);
    return 0;
}

static void what_cannot_go_on_aborts(void **state)
{
    char no_options[] = "", always[] = "abort";

    (void)state;
    assert_int_equal(child_run(deadlock_myself, no_options), CHILD_SIGNALLED + SIGABRT);
    assert_int_equal(child_run(release_anothers, no_options), CHILD_SIGNALLED + SIGABRT);
    assert_int_equal(child_run(release_a_free_one, no_options), 0);
    assert_int_equal(child_run(release_a_free_one, always), CHILD_SIGNALLED + SIGABRT);
}

/* This program, started afresh with PLAIT_DEBUG. */
static int answer_of_environment(const char *value)
{
    pid_t pid = fork();

    if (pid == 0) {
        setenv("PLAIT_DEBUG", value, 1);
        exec_self("is_on", NULL);
    }
    return child_end(pid);
}

static void environment_begins_debug_mode(void **state)
{
    (void)state;
    assert_int_equal(answer_of_environment(""), 1);
    assert_int_equal(answer_of_environment("wait=3,report"), 1);
    assert_int_equal(answer_of_environment("off"), 0);
}

static int print_a_report(void *pipe_end)
{
    plait_debug_set_handler(NULL, NULL);
    dup2(*(int *)pipe_end, 2);
    plait_lock_release(&scene.lock[0]);
    return 0;
}

static void report_goes_to_the_standard_error_output(void **state)
{
    int ends[2];
    ssize_t n;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(child_run(print_a_report, &ends[1]), 0);
    close(ends[1]);
    n = read(ends[0], scene.text, sizeof scene.text - 1);
    close(ends[0]);
    assert_true(n > 0);
    assert_true(says_of_us("plait: not the holder: plait_lock_release:", ""));
    assert_int_equal(scene.text[n - 1], '\n');
}

/* ---- Stress ----------------------------------------------------------------------------- */

static void *work_in_order(void *seed)
{
    uint64_t random = (uintptr_t)seed;

    for (int round = 0; round < 3000; round++) {
        unsigned held = 0;

        for (unsigned i = 0; i < LOCKS; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            if (random >> 61 == 0 && plait_lock_acquire(&scene.lock[i], PLAIT_FOREVER) == 0)
                held |= 1u << i;
        }
        for (unsigned i = 0; i < LOCKS; i++)
            if (held & 1u << i)
                plait_lock_release(&scene.lock[i]);
    }
    return NULL;
}

static void threads_that_keep_an_order_are_not_reported(void **state)
{
    pthread_t thread[4];

    (void)state;
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work_in_order, (void *)(i + 1)), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(reports(), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CASE(order_reversed_is_reported_before_it_deadlocks),
        CASE(order_report_names_both_orders_and_places),
        CASE(order_is_reported_once),
        CASE(order_round_many_locks_is_reported),
        CASE(order_among_shared_locks_is_reported),
        CASE(order_kept_is_not_reported),
        CASE(order_of_a_try_is_not_reported),
        CASE(order_of_what_a_try_acquired_is_reported),
        CASE(order_of_an_ended_lock_is_forgotten),
        CASE(order_with_an_rlock_held_deeper_is_not_reported),
        CASE(order_of_a_condition_wait_counts_the_lock_taken_back),
        CASE(condition_gives_and_takes_all_levels),
        CASE(queues_and_conditions_inside_are_not_reported),
        CASE(self_deadlock_is_reported_and_refused),
        CASE(acquire_again_with_a_deadline_waits),
        CASE(memory_used_for_another_lock_is_not_held),
        CASE(stranger_is_reported_and_refused),
        CASE(release_of_a_free_lock_is_reported),
        CASE(handover_is_allowed_on_request),
        CASE(what_was_held_before_is_not_known),
        CASE(long_wait_is_reported_with_the_holder),
        CASE(wait_below_the_limit_is_not_reported),
        CASE(lock_held_at_the_end_of_a_thread_is_reported),
        CASE(lock_released_by_a_destructor_is_not_reported),
        CASE(child_knows_what_its_parent_knew),
        CASE(forks_amid_threads_leave_working_children),
        CASE(bad_options_are_refused),
        CASE(lines_are_named_on_request),
        CASE(what_cannot_go_on_aborts),
        CASE(environment_begins_debug_mode),
        CASE(report_goes_to_the_standard_error_output),
        CASE(threads_that_keep_an_order_are_not_reported),
    };

    if (argc > 1 && strcmp(argv[1], "is_on") == 0)
        return plait_debug_is_on();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
