/* SPDX-License-Identifier: MIT */
/*
 * Who was let go may use the object's memory again at once, though the call that let him go has not returned: what the headers
 * of lock, rlock, sem, event, cond, latch and wait group promise, over private and shared ones. Private ones are freed, for a
 * sanitizer to see what comes late; of shared ones the memory is filled, and must stay so.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <plait.h>

#include "support/cmocka.h"
#include "support/stage.h"

enum { ROUNDS = 2000, PAUSED = 16, LOOKS = 2000, FILLING = 0xa5 };

union object {
    plait_lock_t lock;
    plait_rlock_t rlock;
    plait_sem_t sem;
    plait_event_t event;
    plait_cond_t cond;
    plait_latch_t latch;
    plait_wait_group_t group;
};

/* One who waits, and frees; one who lets him go. */
struct scene {
    const struct noun *noun;
    union object *object;
    plait_lock_t outside; /* of the condition */
    bool entered;         /* guarded by outside: who waits has had it in this round */
    uint32_t turn;        /* atomic: 4 in each round, see below */
    union object place;   /* of a shared one */
};

/* Each call: 0, or what is wrong. `prepare` is by who lets go, before the other waits; NULL: nothing. */
struct noun {
    int (*make)(union object *object, unsigned flags);
    int (*prepare)(struct scene *scene);
    int (*wait)(struct scene *scene);
    int (*let_go)(struct scene *scene);
};

/* ---- The nouns -------------------------------------------------------------------------- */

static int lock_make(union object *object, unsigned flags) { return plait_lock_init(&object->lock, flags); }
static int lock_prepare(struct scene *scene) { return plait_lock_acquire(&scene->object->lock, PLAIT_NOW); }
static int lock_let_go(struct scene *scene) { return plait_lock_release(&scene->object->lock); }

/* Released once more before it is filled: a holder's list would lead through what is no lock any more. */
static int lock_wait(struct scene *scene)
{
    int err = plait_lock_acquire(&scene->object->lock, PLAIT_FOREVER);

    return err ? err : plait_lock_release(&scene->object->lock);
}

static int rlock_make(union object *object, unsigned flags) { return plait_rlock_init(&object->rlock, flags); }
static int rlock_prepare(struct scene *scene) { return plait_rlock_acquire(&scene->object->rlock, PLAIT_NOW); }
static int rlock_let_go(struct scene *scene) { return plait_rlock_release(&scene->object->rlock); }

static int rlock_wait(struct scene *scene)
{
    int err = plait_rlock_acquire(&scene->object->rlock, PLAIT_FOREVER);

    return err ? err : plait_rlock_release(&scene->object->rlock);
}

static int sem_make(union object *object, unsigned flags) { return plait_sem_init(&object->sem, 0, flags); }
static int sem_wait_for_it(struct scene *scene) { return plait_sem_acquire(&scene->object->sem, 1, PLAIT_FOREVER); }
static int sem_let_go(struct scene *scene) { return plait_sem_release(&scene->object->sem, 1); }

static int event_make(union object *object, unsigned flags) { return plait_event_init(&object->event, flags); }
static int event_wait(struct scene *scene) { return plait_event_wait(&scene->object->event, PLAIT_FOREVER); }
static int event_let_go(struct scene *scene) { return plait_event_set(&scene->object->event); }

static int latch_make(union object *object, unsigned flags) { return plait_latch_init(&object->latch, 1, flags); }
static int latch_wait(struct scene *scene) { return plait_latch_wait(&scene->object->latch, PLAIT_FOREVER); }
static int latch_let_go(struct scene *scene) { return plait_latch_count_down(&scene->object->latch, 1); }

static int group_make(union object *object, unsigned flags)
{
    int err = plait_wait_group_init(&object->group, flags);

    return err ? err : plait_wait_group_add(&object->group, 1);
}
static int group_wait(struct scene *scene) { return plait_wait_group_wait(&scene->object->group, PLAIT_FOREVER); }
static int group_let_go(struct scene *scene) { return plait_wait_group_done(&scene->object->group); }

static int cond_make(union object *object, unsigned flags) { return plait_cond_init(&object->cond, flags); }

static int cond_prepare(struct scene *scene)
{
    scene->entered = false;
    return 0;
}

static int cond_wait(struct scene *scene)
{
    int err;

    plait_lock_acquire(&scene->outside, PLAIT_FOREVER);
    scene->entered = true;
    err = plait_cond_wait(&scene->object->cond, &scene->outside, PLAIT_FOREVER);
    plait_lock_release(&scene->outside);
    return err;
}

/* Notified without the lock, so that the wait may end before this call does. */
static int cond_let_go(struct scene *scene)
{
    for (bool waits = false; !waits;) {
        plait_lock_acquire(&scene->outside, PLAIT_FOREVER);
        waits = scene->entered;
        plait_lock_release(&scene->outside);
    }
    return plait_cond_notify(&scene->object->cond, 1);
}

/* ---- Round after round ------------------------------------------------------------------- */

static void await_turn(struct scene *scene, uint32_t turn)
{
    for (int looks = 1; __atomic_load_n(&scene->turn, __ATOMIC_ACQUIRE) != turn; looks++)
        if (looks % LOOKS == 0)
            sched_yield();
}

static void give_turn(struct scene *scene, uint32_t turn)
{
    __atomic_store_n(&scene->turn, turn, __ATOMIC_RELEASE);
}

/* Now and then the other is given time to fall asleep. */
static void let_go_each(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        await_turn(scene, 4 * round + 1); /* it is made */
        if (scene->noun->prepare)
            self->result |= scene->noun->prepare(scene);
        give_turn(scene, 4 * round + 2);
        await_turn(scene, 4 * round + 3); /* the other begins to wait */
        if (round % PAUSED == 0)
            stage_pause();
        self->result |= scene->noun->let_go(scene);
        give_turn(scene, 4 * round + 4);
    }
}

static bool is_filled(const union object *object)
{
    const unsigned char *byte = (const unsigned char *)object;

    for (size_t i = 0; i < sizeof *object; i++)
        if (byte[i] != FILLING)
            return false;
    return true;
}

static void one_round(struct stage *stage, struct scene *scene, uint32_t round)
{
    scene->object = stage->flags ? &scene->place : calloc(1, sizeof *scene->object);
    assert_non_null(scene->object);
    assert_int_equal(scene->noun->make(scene->object, stage->flags), 0);
    give_turn(scene, 4 * round + 1);
    await_turn(scene, 4 * round + 2);
    give_turn(scene, 4 * round + 3);
    assert_int_equal(scene->noun->wait(scene), 0);
    memset(scene->object, FILLING, sizeof *scene->object);
    if (!stage->flags)
        free(scene->object);
    await_turn(scene, 4 * round + 4);
    if (stage->flags)
        assert_true(is_filled(scene->object));
}

static void try_it(struct stage *stage, const struct noun *noun)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);
    struct worker *w;

    assert_non_null(scene);
    scene->noun = noun;
    assert_int_equal(plait_lock_init(&scene->outside, stage->flags), 0);
    w = worker_start(stage, let_go_each, scene);
    assert_non_null(w);
    for (uint32_t round = 0; round < ROUNDS; round++)
        one_round(stage, scene, round);
    assert_int_equal(worker_result(w), 0);
}

static void lock_is_freed_by_the_next_holder(void **state)
{
    try_it(*state, &(const struct noun){ lock_make, lock_prepare, lock_wait, lock_let_go });
}

static void rlock_is_freed_by_the_next_holder(void **state)
{
    try_it(*state, &(const struct noun){ rlock_make, rlock_prepare, rlock_wait, rlock_let_go });
}

static void sem_is_freed_by_who_got_the_permit(void **state)
{
    try_it(*state, &(const struct noun){ sem_make, NULL, sem_wait_for_it, sem_let_go });
}

static void event_is_freed_by_who_waited(void **state)
{
    try_it(*state, &(const struct noun){ event_make, NULL, event_wait, event_let_go });
}

static void cond_is_freed_by_who_was_notified(void **state)
{
    try_it(*state, &(const struct noun){ cond_make, cond_prepare, cond_wait, cond_let_go });
}

static void latch_is_freed_by_who_is_let_through(void **state)
{
    try_it(*state, &(const struct noun){ latch_make, NULL, latch_wait, latch_let_go });
}

static void wait_group_is_freed_by_who_waited(void **state)
{
    try_it(*state, &(const struct noun){ group_make, NULL, group_wait, group_let_go });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(lock_is_freed_by_the_next_holder),
        EVERYWHERE(rlock_is_freed_by_the_next_holder),
        EVERYWHERE(sem_is_freed_by_who_got_the_permit),
        EVERYWHERE(event_is_freed_by_who_waited),
        EVERYWHERE(cond_is_freed_by_who_was_notified),
        EVERYWHERE(latch_is_freed_by_who_is_let_through),
        EVERYWHERE(wait_group_is_freed_by_who_waited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
