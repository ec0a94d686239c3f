/* SPDX-License-Identifier: MIT */
/* The nouns of the ground waited for in fibers, woken from everywhere; the fibers are a toy. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"
#include "support/toy_fiber.h"
#include "wait/parked.h"
#include "wait/robust.h"

enum { FIBERS = 5, STRESS_FIBERS = 40, STRESS_WAKERS = 2 };

/* What fibers can wait for, and what ends the wait. */
enum noun { WORD, LOCK, SEM, EVENT, COND, NOUNS };
enum waker { THREAD, HANDLER, CANCEL, PARENT, EXPIRY, DEADLINE, FIBER, WAKERS };

struct scene {
    enum noun noun;
    enum waker waker;
    struct toy *toy;
    uint32_t word;
    plait_lock_t lock;
    plait_sem_t sem;
    plait_event_t event;
    plait_lock_t cond_lock;
    plait_cond_t cond;
    plait_cancel_t token;
};

static int wait_for_noun(struct scene *s, plait_time_t deadline)
{
    int err = 0;

    switch (s->noun) {
    case WORD:
        while (err == 0 && __atomic_load_n(&s->word, __ATOMIC_ACQUIRE) == 0)
            err = plait_wait(&s->word, 0, 0, deadline);
        return err;
    case LOCK:
        err = plait_lock_acquire(&s->lock, deadline);
        return err ? err : plait_lock_release(&s->lock);
    case SEM:
        return plait_sem_acquire(&s->sem, 1, deadline);
    case EVENT:
        return plait_event_wait(&s->event, deadline);
    default:
        if (plait_lock_acquire(&s->cond_lock, PLAIT_FOREVER) != 0)
            return -3;
        err = plait_cond_wait(&s->cond, &s->cond_lock, deadline);
        return plait_lock_release(&s->cond_lock) ? -4 : err;
    }
}

/* Let all fibers go on. All but the lock's and the condition's part may be done in a signal handler. */
static void wake_noun(struct scene *s)
{
    switch (s->noun) {
    case WORD:
        __atomic_store_n(&s->word, 1, __ATOMIC_RELEASE);
        plait_wake(&s->word, UINT_MAX, 0);
        break;
    case LOCK:
        plait_lock_release(&s->lock);
        break;
    case SEM:
        plait_sem_release(&s->sem, FIBERS);
        break;
    case EVENT:
        plait_event_set(&s->event);
        break;
    default:
        plait_cond_notify_all(&s->cond);
    }
}

static void wait_in_fiber(struct toy_fiber *self)
{
    struct scene *s = self->with;
    plait_time_t time = plait_after(0.02);
    plait_time_t deadline = s->waker == DEADLINE ? time : PLAIT_FOREVER;
    plait_cancel_t own, *token = s->waker == CANCEL ? &s->token : s->waker == PARENT || s->waker == EXPIRY ? &own : NULL;

    plait_cancel_init_child(&own, &s->token, 0);
    if (s->waker == EXPIRY)
        plait_cancel_set_deadline(&own, time);
    plait_cancel_bind(token);
    self->result = wait_for_noun(s, deadline);
    if ((s->waker == DEADLINE || s->waker == EXPIRY) && plait_now() < time)
        self->result = -5;
    if (plait_cancel_current() != token)
        self->result = -6;
}

static struct scene *handler_scene;

static void wake_in_handler(int number)
{
    setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 0 } }, NULL);
    wake_noun(handler_scene);
}

static void wake_in_fiber(struct toy_fiber *self)
{
    struct scene *s = self->with;

    for (int i = 0; toy_parked(s->toy) < FIBERS && i < 1000; i++)
        toy_yield(self);
    if (s->waker == HANDLER) {
        handler_scene = s;
        setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 1000 } }, NULL);
    } else {
        wake_noun(s);
    }
    self->result = 0;
}

static void *wake_in_thread(void *arg)
{
    struct scene *s = arg;

    EVENTUALLY(toy_parked(s->toy) == FIBERS);
    if (s->waker == CANCEL || s->waker == PARENT)
        plait_cancel_set(&s->token);
    else
        wake_noun(s);
    return NULL;
}

static int expected(enum waker waker)
{
    return waker >= CANCEL && waker <= EXPIRY ? ECANCELED : waker == DEADLINE ? ETIMEDOUT : 0;
}

static void try_one(enum noun noun, enum waker waker)
{
    struct scene s = { .noun = noun, .waker = waker, .toy = toy_new() };
    struct toy_fiber *fibers[FIBERS];
    bool by_thread = waker == THREAD || waker == CANCEL || waker == PARENT;
    pthread_t thread;

    assert_non_null(s.toy);
    assert_int_equal(plait_lock_acquire(&s.lock, PLAIT_FOREVER), 0);
    for (int i = 0; i < FIBERS; i++)
        assert_non_null(fibers[i] = toy_spawn(s.toy, wait_in_fiber, &s, 0));
    if (waker == FIBER || waker == HANDLER)
        assert_non_null(toy_spawn(s.toy, wake_in_fiber, &s, 0));
    if (by_thread)
        assert_int_equal(pthread_create(&thread, NULL, wake_in_thread, &s), 0);
    toy_run(s.toy);
    if (by_thread)
        pthread_join(thread, NULL);
    for (int i = 0; i < FIBERS; i++)
        assert_int_equal(fibers[i]->result, expected(waker));
    assert_int_equal(plait__parked_total, 0);
    assert_null(plait_cancel_current());
    toy_free(s.toy);
}

static void try_all_nouns(enum waker waker)
{
    signal(SIGALRM, wake_in_handler);
    for (int i = 0; i < 20; i++)
        for (unsigned noun = 0; noun < NOUNS; noun++)
            if (waker != HANDLER || noun < COND) /* notify takes a lock */
                try_one((enum noun)noun, waker);
}

static void fiber_is_woken_by_a_thread(void **state) { try_all_nouns(THREAD); }
static void fiber_is_woken_by_a_signal_handler(void **state) { try_all_nouns(HANDLER); }
static void fiber_is_woken_by_another_fiber(void **state) { try_all_nouns(FIBER); }
static void fiber_is_cancelled(void **state) { try_all_nouns(CANCEL); }
static void fiber_is_cancelled_by_its_tokens_parent(void **state) { try_all_nouns(PARENT); }
static void fiber_is_cancelled_by_its_tokens_deadline(void **state) { try_all_nouns(EXPIRY); }

static void fiber_times_out_never_early(void **state)
{
    for (unsigned noun = 0; noun < NOUNS; noun++)
        try_one((enum noun)noun, DEADLINE);
}

/* ---- Shared objects in fibers ----------------------------------------------------------- */

struct two_locks {
    plait_lock_t lock[3];
    plait_sem_t sem;
};

/* Waits for a lock that another thread holds, while a sibling does the same with another lock. */
static void wait_for_a_shared_lock(struct toy_fiber *self)
{
    struct two_locks *two = self->with;

    self->result = plait_lock_acquire(&two->lock[self->number], PLAIT_FOREVER);
    plait_sem_release(&two->sem, 1);
}

static void *release_both(void *arg)
{
    struct two_locks *two = arg;

    for (int i = 0; i < 2; i++)
        plait_lock_acquire(&two->lock[i], PLAIT_FOREVER);
    plait_sem_release(&two->sem, 1);
    plait_lock_acquire(&two->lock[2], PLAIT_FOREVER);
    for (int i = 0; i < 2; i++)
        plait_lock_release(&two->lock[i]);
    plait_lock_release(&two->lock[2]);
    return NULL;
}

static void *run_toy(void *arg)
{
    toy_run(arg);
    return NULL; /* what its fibers hold, the thread dies with */
}

/* What stays announced to the kernel when all fibers are through; nothing may. */
static void *run_toy_and_look(void *arg)
{
    struct { void *first; long offset; void *pending; } *head = NULL;
    size_t size = 0;

    toy_run(arg);
    if (!plait__robust_list_works())
        return NULL;
    return syscall(SYS_get_robust_list, 0, &head, &size) == 0 && head ? head->pending : arg;
}

static void fibers_locks_are_watched_though_their_waits_do_not_nest(void **state)
{
    struct two_locks *two;
    struct toy *toy = toy_new();
    plait_arena_t *arena;
    pthread_t holder, runner;
    void *pending = NULL;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *two, (void **)&two), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_lock_init(&two->lock[i], PLAIT_SHARED), 0);
    assert_int_equal(plait_sem_init(&two->sem, 0, PLAIT_SHARED), 0);
    assert_int_equal(plait_lock_acquire(&two->lock[2], PLAIT_FOREVER), 0);
    for (int i = 0; i < 2; i++)
        assert_non_null(toy_spawn(toy, wait_for_a_shared_lock, two, 0));
    assert_int_equal(pthread_create(&holder, NULL, release_both, two), 0);
    assert_int_equal(plait_sem_acquire(&two->sem, 1, plait_after(10)), 0);
    assert_int_equal(pthread_create(&runner, NULL, run_toy_and_look, toy), 0);
    assert_true(EVENTUALLY(toy_parked(toy) == 2));
    assert_int_equal(plait_lock_release(&two->lock[2]), 0);
    pthread_join(holder, NULL);
    pthread_join(runner, &pending);
    assert_null(pending);
    for (int i = 0; i < 2; i++) {
        /* without lists, a thread may be seen for a moment after it was joined */
        assert_int_equal(plait_lock_acquire(&two->lock[i], plait__robust_list_works() ? PLAIT_NOW : plait_after(10)),
                         EOWNERDEAD);
        assert_int_equal(plait_lock_consistent(&two->lock[i]), 0);
        assert_int_equal(plait_lock_release(&two->lock[i]), 0);
    }
    toy_free(toy);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* Fibers of one thread share its TID, and are strangers to each other's locks all the same. */
struct owners {
    plait_lock_t lock;
    uint32_t step; /* how far they are */
    int again, released_by_other, declared_by_other, tried_by_other, got_by_other;
};

static void hold_among_fibers(struct toy_fiber *self)
{
    struct owners *o = self->with;

    self->result = plait_lock_acquire(&o->lock, PLAIT_FOREVER);
    o->again = plait_lock_acquire(&o->lock, PLAIT_FOREVER);
    o->step = 1;
    while (o->step == 1)
        toy_yield(self);
    for (int i = 0; i < 5; i++)
        toy_yield(self); /* the other waits meanwhile */
    if (plait_lock_release(&o->lock) != 0)
        self->result = -2;
}

static void meddle_among_fibers(struct toy_fiber *self)
{
    struct owners *o = self->with;

    while (o->step == 0)
        toy_yield(self);
    o->released_by_other = plait_lock_release(&o->lock);
    o->declared_by_other = plait_lock_consistent(&o->lock);
    o->tried_by_other = plait_lock_acquire(&o->lock, PLAIT_NOW);
    o->step = 2;
    self->result = plait_lock_acquire(&o->lock, PLAIT_FOREVER);
    o->got_by_other = plait_lock_release(&o->lock);
}

static void fibers_of_one_thread_are_strangers_to_its_shared_locks(void **state)
{
    struct toy *toy = toy_new();
    struct toy_fiber *holder, *other;
    plait_arena_t *arena;
    struct owners *o;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *o, (void **)&o), 0);
    assert_int_equal(plait_lock_init(&o->lock, PLAIT_SHARED), 0);
    assert_non_null(holder = toy_spawn(toy, hold_among_fibers, o, 0));
    assert_non_null(other = toy_spawn(toy, meddle_among_fibers, o, 0));
    toy_run(toy);
    assert_int_equal(holder->result, 0);
    assert_int_equal(o->again, EDEADLK);
    assert_int_equal(o->released_by_other, EPERM);
    assert_int_equal(o->declared_by_other, EPERM);
    assert_int_equal(o->tried_by_other, ETIMEDOUT);
    assert_int_equal(other->result, 0);
    assert_int_equal(o->got_by_other, 0);
    assert_int_equal(plait_lock_acquire(&o->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&o->lock), 0);
    toy_free(toy);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void acquire_and_end(struct toy_fiber *self)
{
    self->result = plait_lock_acquire(self->with, PLAIT_FOREVER);
}

/* The thread itself waits without a hook: the fiber that holds the lock will never run again. */
static void *run_toy_then_acquire(void *lock)
{
    struct toy *toy = toy_new();
    intptr_t err = -1;

    if (toy && toy_spawn(toy, acquire_and_end, lock, 0)) {
        toy_run(toy);
        err = plait_lock_acquire(lock, PLAIT_FOREVER);
        if (plait_lock_release(lock) != EPERM)
            err = -2;
        toy_free(toy);
    }
    return (void *)err;
}

static void lock_of_a_fiber_that_cannot_run_is_a_deadlock(void **state)
{
    plait_arena_t *arena;
    plait_lock_t *lock;
    pthread_t thread;
    void *answer;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *lock, (void **)&lock), 0);
    assert_int_equal(plait_lock_init(lock, PLAIT_SHARED), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_toy_then_acquire, lock), 0);
    pthread_join(thread, &answer);
    assert_int_equal((intptr_t)answer, EDEADLK);
    assert_int_equal(plait_lock_acquire(lock, PLAIT_NOW), EOWNERDEAD); /* the next is no fiber */
    assert_int_equal(plait_lock_consistent(lock), 0);
    assert_int_equal(plait_lock_release(lock), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* ---- Stress ----------------------------------------------------------------------------- */

/*
 * Fibers of two threads and two plain threads take permits, locks and turns from each other, with deadlines and tokens
 * among them. Every permit is given back, so if no wake is lost, all come to their end.
 */
struct stress {
    plait_lock_t lock;
    plait_sem_t sem;
    plait_cond_t cond;
    plait_event_t event;
    plait_time_t end;
    uint64_t inside;   /* guarded by lock */
    uint32_t progress; /* atomic: steps done */
    uint32_t wrong;    /* atomic: something that may not happen */
};

static void wrong_if(struct stress *s, bool wrong)
{
    if (wrong)
        __atomic_store_n(&s->wrong, 1, __ATOMIC_RELAXED);
}

static plait_time_t some_deadline(unsigned dice)
{
    return dice % 3 == 0 ? plait_after(1e-6 * dice) : PLAIT_FOREVER;
}

static void step(struct stress *s, unsigned what, unsigned dice)
{
    int err;

    switch (what) {
    case 0:
        err = plait_lock_acquire(&s->lock, some_deadline(dice));
        wrong_if(s, err != 0 && err != ETIMEDOUT && err != ECANCELED);
        if (err)
            break;
        wrong_if(s, s->inside++ != 0);
        if (dice % 5 == 0)
            plait_sleep(1e-6); /* in a fiber: others run, and find the lock held */
        s->inside--;
        plait_lock_release(&s->lock);
        break;
    case 1:
        err = plait_sem_acquire(&s->sem, 1 + dice % 2, some_deadline(dice));
        wrong_if(s, err != 0 && err != ETIMEDOUT && err != ECANCELED);
        if (err)
            break;
        if (dice % 7 == 0)
            plait_sleep(1e-6);
        plait_sem_release(&s->sem, 1 + dice % 2);
        break;
    case 2:
        plait_event_set(&s->event);
        plait_event_clear(&s->event);
        break;
    case 3:
        err = plait_event_wait(&s->event, plait_after(1e-6 * dice));
        wrong_if(s, err != 0 && err != ETIMEDOUT && err != ECANCELED);
        break;
    case 4:
        plait_cond_notify(&s->cond, dice % 3);
        break;
    default:
        if (plait_lock_acquire(&s->lock, PLAIT_FOREVER) != 0)
            break; /* cancelled */
        wrong_if(s, s->inside != 0);
        err = plait_cond_wait(&s->cond, &s->lock, plait_after(1e-6 * dice));
        wrong_if(s, (err != 0 && err != ETIMEDOUT && err != ECANCELED) || s->inside != 0);
        plait_lock_release(&s->lock);
    }
    __atomic_fetch_add(&s->progress, 1, __ATOMIC_RELAXED);
}

static void stress_in_fiber(struct toy_fiber *self)
{
    struct stress *s = self->with;
    plait_cancel_t token = { 0 };

    while (plait_now() < s->end) {
        plait_cancel_t *before = plait_cancel_bind(toy_random(self, 8) ? NULL : &token);

        if (toy_random(self, 4) == 0)
            plait_cancel_set(&token);
        step(s, toy_random(self, 6), toy_random(self, 300));
        plait_cancel_bind(before);
        token = (plait_cancel_t){ 0 };
        if (toy_random(self, 3) == 0)
            toy_yield(self);
    }
    self->result = 0;
}

static void *stress_in_thread(void *arg)
{
    struct stress *s = arg;
    struct toy_fiber dice = { .random = (uintptr_t)&dice };

    while (plait_now() < s->end)
        step(s, toy_random(&dice, 6), toy_random(&dice, 300));
    return NULL;
}

/* Progress must go on until the end, however few are left. */
static bool watch(struct stress *s, struct toy *toys[2])
{
    uint32_t seen = 0;
    plait_time_t since = plait_now();

    for (;;) {
        uint32_t now = __atomic_load_n(&s->progress, __ATOMIC_RELAXED);

        if (plait_now() > s->end + 10 * PLAIT__SECOND)
            return toy_parked(toys[0]) + toy_parked(toys[1]) == 0;
        if (now != seen)
            since = plait_now();
        seen = now;
        if (plait_now() > since + 5 * PLAIT__SECOND && plait_now() < s->end)
            return false;
        if (plait_now() > s->end && toy_parked(toys[0]) + toy_parked(toys[1]) == 0)
            return true;
        stage_pause();
    }
}

static void fibers_and_threads_under_stress_lose_no_wake(void **state)
{
    struct stress s = { .end = plait_after(stage_stress_seconds()), .sem = PLAIT_SEM_INIT(3) };
    uint64_t seed = stage_seed();
    pthread_t threads[2 + STRESS_WAKERS];
    struct toy *toys[2];

    for (int t = 0; t < 2; t++) {
        assert_non_null(toys[t] = toy_new());
        for (int i = 0; i < STRESS_FIBERS; i++)
            assert_non_null(toy_spawn(toys[t], stress_in_fiber, &s, seed + (uint64_t)t));
        assert_int_equal(pthread_create(&threads[t], NULL, run_toy, toys[t]), 0);
    }
    for (int i = 0; i < STRESS_WAKERS; i++)
        assert_int_equal(pthread_create(&threads[2 + i], NULL, stress_in_thread, &s), 0);
    assert_true(watch(&s, toys));
    for (int i = 0; i < 2 + STRESS_WAKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(s.wrong, 0);
    assert_int_equal(plait_sem_value(&s.sem), 3);
    assert_int_equal(plait_cond_fini(&s.cond), 0);
    assert_int_equal(plait__parked_total, 0);
    print_message("%u steps, %lu switches\n", s.progress, toy_switches(toys[0]) + toy_switches(toys[1]));
    for (int t = 0; t < 2; t++)
        toy_free(toys[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fiber_is_woken_by_a_thread),
        cmocka_unit_test(fiber_is_woken_by_a_signal_handler),
        cmocka_unit_test(fiber_is_woken_by_another_fiber),
        cmocka_unit_test(fiber_is_cancelled),
        cmocka_unit_test(fiber_is_cancelled_by_its_tokens_parent),
        cmocka_unit_test(fiber_is_cancelled_by_its_tokens_deadline),
        cmocka_unit_test(fiber_times_out_never_early),
        cmocka_unit_test(fibers_locks_are_watched_though_their_waits_do_not_nest),
        cmocka_unit_test(fibers_of_one_thread_are_strangers_to_its_shared_locks),
        cmocka_unit_test(lock_of_a_fiber_that_cannot_run_is_a_deadlock),
        cmocka_unit_test(fibers_and_threads_under_stress_lose_no_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
