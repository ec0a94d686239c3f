/* SPDX-License-Identifier: MIT */
/*
 * Fairness: a hog holds a lock for 100 microseconds, releases it and takes it again at once; a
 * modest one wants it now and then. The time for which the lock is its holder's is counted in passes of the hog, so a
 * slow machine slows both. Of a read-write lock two hogs write, and the modest one reads.
 */
#include <sched.h>
#include <stdio.h>

#include <plait.h>

#include "support/cmocka.h"
#include "support/stage.h"

enum {
    HOLD = 100 * 1000,  /* nanoseconds */
    TURNS = 25,         /* of the modest one */
    PASSES_MAX = 2000   /* 200 ms of the hog: without a rule it goes on for as long as it likes */
};

/* Which of them is wanted. */
enum kind { LOCK, RLOCK, RWLOCK };

struct scene {
    plait_lock_t lock;
    plait_rlock_t rlock;
    plait_rwlock_t rwlock;
    enum kind kind;  /* const */
    uint32_t passes; /* atomic: the hog's */
    uint32_t over;   /* atomic: the modest one has had its turns */
};

static int take(struct scene *s, bool modestly)
{
    if (s->kind == LOCK)
        return plait_lock_acquire(&s->lock, PLAIT_FOREVER);
    if (s->kind == RLOCK)
        return plait_rlock_acquire(&s->rlock, PLAIT_FOREVER);
    return modestly ? plait_rwlock_acquire_read(&s->rwlock, PLAIT_FOREVER)
                    : plait_rwlock_acquire_write(&s->rwlock, PLAIT_FOREVER);
}

static int give(struct scene *s)
{
    if (s->kind == LOCK)
        return plait_lock_release(&s->lock);
    return s->kind == RLOCK ? plait_rlock_release(&s->rlock) : plait_rwlock_release(&s->rwlock);
}

static void hold(void)
{
    plait_time_t until = plait_now() + HOLD;

    while (plait_now() < until)
        ;
}

static void hog(struct worker *self)
{
    struct scene *s = self->with;

    while (!__atomic_load_n(&s->over, __ATOMIC_ACQUIRE)) {
        if (take(s, false) != 0)
            return;
        hold();
        __atomic_fetch_add(&s->passes, 1, __ATOMIC_RELAXED);
        if (give(s) != 0)
            return;
    }
    self->result = 1;
}

/* Its result: the most passes of the hog for which it had to wait, or -1. */
static void modest(struct worker *self)
{
    struct scene *s = self->with;
    uint32_t worst = 0;

    for (unsigned turn = 0; turn < TURNS; turn++) {
        uint32_t before = __atomic_load_n(&s->passes, __ATOMIC_RELAXED);
        uint32_t waited;

        if (take(s, true) != 0)
            worst = UINT32_MAX;
        waited = __atomic_load_n(&s->passes, __ATOMIC_RELAXED) - before;
        worst = waited > worst ? waited : worst;
        give(s);
        sched_yield();
    }
    __atomic_store_n(&s->over, 1, __ATOMIC_RELEASE);
    self->result = (int)worst;
}

static void keep_nothing_from_the_modest(struct stage *stage, enum kind kind)
{
    struct scene *s = stage_alloc(stage, sizeof *s);
    struct worker *the_hog, *another = NULL, *one;
    int worst;

    assert_non_null(s);
    s->kind = kind;
    assert_int_equal(plait_lock_init(&s->lock, stage->flags), 0);
    assert_int_equal(plait_rlock_init(&s->rlock, stage->flags), 0);
    assert_int_equal(plait_rwlock_init(&s->rwlock, stage->flags), 0);
    the_hog = worker_start(stage, hog, s);
    if (kind == RWLOCK)
        another = worker_start(stage, hog, s);
    assert_true(EVENTUALLY(__atomic_load_n(&s->passes, __ATOMIC_RELAXED) > 10));
    one = worker_start(stage, modest, s);
    worst = worker_result(one);
    __atomic_store_n(&s->over, 1, __ATOMIC_RELEASE);
    assert_int_equal(worker_result(the_hog), 1);
    if (another)
        assert_int_equal(worker_result(another), 1);
    print_message("the longest wait: %d passes of the hog\n", worst);
    assert_in_range(worst, 0, PASSES_MAX);
    assert_int_equal(plait_lock_fini(&s->lock), 0);
    assert_int_equal(plait_rlock_fini(&s->rlock), 0);
    assert_int_equal(plait_rwlock_fini(&s->rwlock), 0);
}

static void lock_is_not_kept_from_the_modest(void **state) { keep_nothing_from_the_modest(*state, LOCK); }
static void rlock_is_not_kept_from_the_modest(void **state) { keep_nothing_from_the_modest(*state, RLOCK); }
static void rwlock_is_not_kept_from_modest_readers(void **state) { keep_nothing_from_the_modest(*state, RWLOCK); }

/* What one who was killed while it starved leaves behind (wait/robust.c). */
static void lock_forgets_one_that_starved_and_was_killed(void **state)
{
    struct stage *stage = *state;
    plait_lock_t *lock = stage_alloc(stage, sizeof *lock);

    assert_non_null(lock);
    assert_int_equal(plait_lock_init(lock, stage->flags), 0);
    lock->robust[2] = 1;
    assert_int_equal(plait_lock_acquire(lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(lock), 0);
    assert_int_equal(lock->robust[2], 1);
    assert_int_equal(plait_lock_acquire(lock, plait_after(1e-3)), 0);
    assert_int_equal(plait_lock_release(lock), 0);
    assert_int_equal(plait_lock_acquire(lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_release(lock), 0);
    assert_int_equal(lock->robust[2], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(lock_is_not_kept_from_the_modest),
        EVERYWHERE(rlock_is_not_kept_from_the_modest),
        EVERYWHERE(rwlock_is_not_kept_from_modest_readers),
        SHARED(lock_forgets_one_that_starved_and_was_killed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
