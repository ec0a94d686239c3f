/* SPDX-License-Identifier: MIT */
/* The contract of plait/rwlock.h, sentence by sentence: deaths, forks, its end and its memory; and stress. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "base/clock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/rwlock_scene.h"
#include "support/stage.h"
#include "arena/holds.h"
#include "sync/rwlock_shared.h"
#include "wait/robust.h"

enum { STRESS_WORKERS = 6, STALL_SECONDS = 10 };

/* ---- Death (shared), and the end of threads --------------------------------------------------- */

static void dead_reader_is_taken_out_silently(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 3; i++)
        lose(stage, scene, read_and_die);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 0);
    assert_int_equal(write_lock(scene, PLAIT_NOW), 0);
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

/* By its death, or by the end of its thread. */
static void reader_that_ends_lets_a_sleeping_writer_in(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *reader = start_said(stage, read_and_die, scene);
    struct worker *w = start_asleep(stage, write_through, scene);

    let_go(scene);
    assert_true(worker_join(reader));
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

static void dead_writer_is_told_to_the_next(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 4; i++) {
        lose(stage, scene, write_and_die);
        assert_int_equal((i % 2 ? read_lock : write_lock)(scene, i < 2 ? PLAIT_FOREVER : PLAIT_NOW), EOWNERDEAD);
        assert_true(plait_rwlock_is_written(&scene->lock));
        assert_int_equal(run(stage, try_read, scene), ETIMEDOUT);
        assert_int_equal(plait_rwlock_downgrade(&scene->lock), EINVAL);
        assert_int_equal(plait_rwlock_consistent(&scene->lock), 0);
        assert_int_equal(plait_rwlock_consistent(&scene->lock), EINVAL);
        if (i % 2) {
            assert_int_equal(plait_rwlock_downgrade(&scene->lock), 0);
            assert_int_equal(run(stage, try_read, scene), 0);
        }
        assert_int_equal(release(scene), 0);
        assert_int_equal(release(scene), EPERM);
    }
    assert_free(scene);
}

static void told_repairs_and_releases(struct worker *self)
{
    struct scene *scene = self->with;
    int err;

    worker_says(self, 1);
    err = (self->number % 2 ? read_lock : write_lock)(scene, PLAIT_FOREVER);
    if (err == EOWNERDEAD)
        plait_rwlock_consistent(&scene->lock);
    self->result = release(scene) ? -2 : err;
}

/* Of those who sleep, one is told, whoever it is, and the others go on. */
static void dead_writer_is_told_to_one_of_the_sleepers(void **state)
{
    struct stage *stage = *state;

    for (int round = 0; round < 2; round++) {
        struct scene *scene = scene_of(stage);
        struct worker *writer = start_said(stage, write_and_die, scene), *w[READERS];
        int told = 0;

        for (int i = 0; i < READERS; i++) {
            if (round == 0 && stage->worker_count % 2 == 0) /* readers alone, which are numbered odd */
                assert_true(worker_join(worker_start(stage, release_only, scene)));
            w[i] = start_asleep(stage, told_repairs_and_releases, scene);
        }
        let_go(scene);
        assert_true(worker_join(writer));
        for (int i = 0; i < READERS; i++) {
            int err = worker_result(w[i]);

            assert_true(err == 0 || err == EOWNERDEAD);
            told += err == EOWNERDEAD;
        }
        assert_int_equal(told, 1);
        assert_free(scene);
    }
}

static void dead_repairer_is_told_again(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    lose(stage, scene, write_and_die);
    lose(stage, scene, write_and_die); /* declares the data good, and dies with it */
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), EOWNERDEAD);
    assert_int_equal(plait_rwlock_consistent(&scene->lock), 0);
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

/* It changed nothing as yet. */
static void writer_that_dies_waiting_is_not_told(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
        w = start_asleep(stage, write_through, scene);
        assert_int_equal(run(stage, try_read, scene), ETIMEDOUT);
        worker_kill(w);
        assert_int_equal(run(stage, i ? try_read : read_through, scene), 0);
        assert_int_equal(release(scene), 0);
        assert_int_equal((i ? write_lock : read_lock)(scene, PLAIT_NOW), 0);
        assert_int_equal(release(scene), 0);
    }
    assert_free(scene);
}

static void rwlock_released_inconsistent_is_not_recoverable(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w[2];

    lose(stage, scene, write_and_die);
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), EOWNERDEAD);
    for (int i = 0; i < 2; i++)
        w[i] = start_asleep(stage, i ? read_through : write_through, scene);
    assert_int_equal(release(scene), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(worker_result(w[i]), ENOTRECOVERABLE);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(read_lock(scene, i ? PLAIT_NOW : PLAIT_FOREVER), ENOTRECOVERABLE);
        assert_int_equal(write_lock(scene, i ? PLAIT_NOW : PLAIT_FOREVER), ENOTRECOVERABLE);
    }
    assert_int_equal(release(scene), EPERM);
}

static void sleepers_killed_leave_nothing_behind(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w[2 * READERS];

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    for (int i = 0; i < 2 * READERS; i++)
        w[i] = start_asleep(stage, i % 2 ? read_through : write_through, scene);
    for (int i = 0; i < 2 * READERS - 1; i++)
        worker_kill(w[i]);
    assert_int_equal(release(scene), 0);
    assert_int_equal(worker_result(w[2 * READERS - 1]), 0);
    assert_free(scene);
}

/* ---- Fork ---------------------------------------------------------------------------------- */

static int inherited_hold_is_released(void *arg)
{
    struct scene *s = arg;

    if (write_lock(s, PLAIT_NOW) != EDEADLK || release(s) || release(s) != EPERM)
        return 1;
    return write_lock(s, PLAIT_NOW) || release(s) || read_lock(s, PLAIT_NOW) || release(s) ? 2 : 0;
}

static void rwlock_held_over_fork_is_released_in_the_child(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal((i ? write_lock : read_lock)(scene, PLAIT_FOREVER), 0);
        assert_int_equal(child_run(inherited_hold_is_released, scene), 0);
        assert_int_equal(plait_rwlock_is_written(&scene->lock), i);
        assert_int_equal(plait_rwlock_readers(&scene->lock), !i);
        assert_int_equal(release(scene), 0);
    }
    assert_free(scene);
    free(scene);
}

static void *write_in_thread(void *arg)
{
    return (void *)(intptr_t)write_lock(arg, PLAIT_NOW);
}

/* The child's other threads respect what the forking thread holds, though it has not touched any lock there. */
static int inherited_hold_is_respected(void *arg)
{
    pthread_t thread;
    void *err;

    if (pthread_create(&thread, NULL, write_in_thread, arg) || pthread_join(thread, &err) || (intptr_t)err != ETIMEDOUT)
        return 1;
    return release(arg);
}

static void rwlock_held_over_fork_is_respected_in_the_child(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal((i ? write_lock : read_lock)(scene, PLAIT_FOREVER), 0);
        assert_int_equal(child_run(inherited_hold_is_respected, scene), 0);
        assert_int_equal(release(scene), 0);
    }
    free(scene);
}

static int rwlock_goes_on(void *arg)
{
    struct scene *s = arg;

    for (int i = 0; i < 2; i++)
        if (read_lock(s, plait_after(5)) || release(s) || write_lock(s, plait_after(5)) || release(s))
            return 1;
    return 0;
}

static int release_and_go_on(void *arg)
{
    return release(arg) ? 3 : rwlock_goes_on(arg);
}

static void child_does_not_wait_for_readers_that_are_not_there(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct scene *own = malloc(sizeof *own); /* what the child has of it is a copy */
    struct worker *w;

    *own = (struct scene){ .deadline = PLAIT_FOREVER };
    w = start_said(stage, read_until_told, own);
    assert_int_equal(child_run(rwlock_goes_on, own), 0);
    let_go(own);
    assert_int_equal(worker_result(w), 0);
    assert_free(own);
    free(own);
    assert_free(scene);
}

/* Waiting writers and readers are not in the child either. */
static void child_does_not_wait_for_waiters_that_are_not_there(void **state)
{
    struct stage *stage = *state;
    struct scene *own = malloc(sizeof *own);

    for (int i = 0; i < 2; i++) {
        struct worker *w[2 * READERS];

        *own = (struct scene){ .deadline = PLAIT_FOREVER };
        assert_int_equal((i ? write_lock : read_lock)(own, PLAIT_FOREVER), 0);
        for (int k = 0; k < 2 * READERS; k++)
            w[k] = start_asleep(stage, k % 2 ? read_through : write_through, own);
        assert_int_equal(child_run(release_and_go_on, own), 0);
        assert_int_equal(release(own), 0);
        for (int k = 0; k < 2 * READERS; k++)
            assert_int_equal(worker_result(w[k]), 0);
        assert_free(own);
    }
    free(own);
}

static int finds_it_written(void *arg)
{
    struct scene *s = arg;

    if (read_lock(s, PLAIT_NOW) != ETIMEDOUT || write_lock(s, plait_after(0.02)) != ETIMEDOUT)
        return 1;
    return plait_rwlock_is_written(&s->lock) && release(s) == EPERM ? 0 : 2;
}

static void child_finds_what_another_thread_writes_held(void **state)
{
    struct stage *stage = *state;
    struct scene *own = malloc(sizeof *own); /* what the child has of it is a copy */
    struct worker *w;

    *own = (struct scene){ .deadline = PLAIT_FOREVER };
    w = start_said(stage, write_until_told, own);
    assert_int_equal(child_run(finds_it_written, own), 0);
    let_go(own);
    assert_int_equal(worker_result(w), 0);
    assert_free(own);
    free(own);
}

static int holds_nothing(void *arg)
{
    struct scene *s = arg;

    if (release(s) != EPERM)
        return 1;
    return write_lock(s, PLAIT_NOW) == ETIMEDOUT ? 0 : 2;
}

static void rwlock_shared_held_over_fork_is_not_the_childs(void **state)
{
    struct scene *scene = scene_of(*state);

    for (int i = 0; i < 2; i++) {
        assert_int_equal((i ? write_lock : read_lock)(scene, PLAIT_FOREVER), 0);
        assert_int_equal(child_run(holds_nothing, scene), 0);
        assert_int_equal(release(scene), 0);
    }
    assert_free(scene);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

struct box {
    plait_rwlock_t *lock;
    uint32_t reading;
};

static void read_and_release(struct worker *self)
{
    struct box *box = self->with;

    for (int i = 0; i < 2000; i++) {
        plait_rwlock_t *lock;

        while ((lock = __atomic_load_n(&box->lock, __ATOMIC_ACQUIRE)) == NULL)
            sched_yield();
        plait_rwlock_acquire_read(lock, PLAIT_FOREVER);
        __atomic_store_n(&box->lock, NULL, __ATOMIC_RELAXED);
        __atomic_store_n(&box->reading, 1, __ATOMIC_RELEASE);
        plait_rwlock_release(lock);
    }
    self->result = 0;
}

/* Each round's lock is freed by the writer, perhaps before the reader's release has returned. */
static void rwlock_is_freed_by_whoever_writes_next(void **state)
{
    struct stage *stage = *state;
    struct box *box = stage_alloc(stage, sizeof *box);
    struct worker *w = worker_start(stage, read_and_release, box);

    for (int i = 0; i < 2000; i++) {
        plait_rwlock_t *lock = calloc(1, sizeof *lock);

        __atomic_store_n(&box->lock, lock, __ATOMIC_RELEASE);
        while (!__atomic_load_n(&box->reading, __ATOMIC_ACQUIRE))
            sched_yield();
        box->reading = 0;
        assert_int_equal(plait_rwlock_acquire_write(lock, PLAIT_FOREVER), 0);
        memset(lock, 0xff, sizeof *lock);
        free(lock);
    }
    assert_int_equal(worker_result(w), 0);
}

/* ---- Its end ----------------------------------------------------------------------------------- */

enum { ENDINGS = 3000, POISON = 0xa5 };

/* A lock for each round; whoever holds it last ends it, as soon as it is let in. */
struct ending {
    plait_rwlock_t *lock; /* atomic: NULL: the worker has it */
    uint32_t out;         /* atomic: the round of which the worker has released it */
    plait_rwlock_t place;
};

enum way { WRITES, READS, WRITES_THEN_READS, WAYS };

static void hold_before_another(struct worker *self)
{
    struct ending *e = self->with;

    self->result = 0;
    for (uint32_t round = 1; round <= ENDINGS; round++) {
        enum way way = (enum way)(round % WAYS);
        plait_rwlock_t *lock;

        while ((lock = __atomic_load_n(&e->lock, __ATOMIC_ACQUIRE)) == NULL)
            sched_yield();
        self->result |= way == READS ? plait_rwlock_acquire_read(lock, PLAIT_FOREVER) : plait_rwlock_acquire_write(lock, PLAIT_FOREVER);
        __atomic_store_n(&e->lock, NULL, __ATOMIC_RELEASE);
        if (worker_random(self, 4) == 0) /* let the other fall asleep, now and then */
            plait_sleep(50e-6);
        if (way == WRITES_THEN_READS)
            self->result |= plait_rwlock_downgrade(lock);
        self->result |= plait_rwlock_release(lock);
        __atomic_store_n(&e->out, round, __ATOMIC_RELEASE);
    }
}

static bool is_poisoned(const plait_rwlock_t *lock)
{
    const unsigned char *bytes = (const unsigned char *)lock;
    size_t i = 0;

    while (i < sizeof *lock && bytes[i] == POISON)
        i++;
    return i == sizeof *lock;
}

/* The one before may not have returned from its release; it must not touch the lock any more. */
static void rwlock_is_ended_by_whoever_has_it_last(void **state)
{
    struct stage *stage = *state;
    struct ending *e = stage_alloc(stage, sizeof *e);
    struct worker *w;

    assert_non_null(e);
    stage_seed();
    w = worker_start(stage, hold_before_another, e);
    for (uint32_t round = 1; round <= ENDINGS; round++) {
        bool reads = round % WAYS == WRITES && round / WAYS % 2;
        bool is_own = stage->setting == STAGE_PRIVATE && round / WAYS % 4 >= 2; /* freed: for the tools that see that */
        plait_rwlock_t *lock = is_own ? malloc(sizeof *lock) : &e->place;

        assert_int_equal(plait_rwlock_init(lock, stage->flags), 0);
        __atomic_store_n(&e->lock, lock, __ATOMIC_RELEASE);
        while (__atomic_load_n(&e->lock, __ATOMIC_ACQUIRE))
            sched_yield();
        assert_int_equal((reads ? plait_rwlock_acquire_read : plait_rwlock_acquire_write)(lock, PLAIT_FOREVER), 0);
        assert_int_equal(plait_rwlock_release(lock), 0);
        assert_int_equal(plait_rwlock_fini(lock), 0);
        memset(lock, POISON, sizeof *lock);
        if (is_own)
            free(lock);
        while (__atomic_load_n(&e->out, __ATOMIC_ACQUIRE) != round)
            sched_yield();
        assert_true(is_own || is_poisoned(lock));
    }
    assert_int_equal(worker_result(w), 0);
}

/* Nobody holds it, and nobody writes. */
static void rwlock_of_the_dead_may_be_ended(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int released = 0; released < 2; released++) {
        lose(stage, scene, write_and_die);
        assert_false(plait_rwlock_is_written(&scene->lock));
        if (released) {
            assert_int_equal(read_lock(scene, PLAIT_FOREVER), EOWNERDEAD);
            assert_true(plait_rwlock_is_written(&scene->lock));
            assert_int_equal(plait_rwlock_fini(&scene->lock), EBUSY);
            assert_int_equal(release(scene), 0);
            assert_int_equal(write_lock(scene, PLAIT_NOW), ENOTRECOVERABLE);
            assert_false(plait_rwlock_is_written(&scene->lock));
        }
        assert_int_equal(plait_rwlock_fini(&scene->lock), 0);
        assert_int_equal(plait_rwlock_init(&scene->lock, stage->flags), 0);
    }
    assert_free(scene);
}

/*
 * A writer that is stopped, or killed, where it has given `writer` back and not opened the gate yet: as plait__rwlock_shared_leave
 * does it, in slow motion.
 */
static void leave_slowly(struct worker *self, bool die)
{
    struct scene *scene = self->with;
    plait_rwlock_t *rw = &scene->lock;
    struct plait__robust_wake wake;
    struct plait__slot *slot;

    self->result = write_lock(scene, PLAIT_FOREVER);
    plait__member(plait__rwlock_header(rw), &slot);
    __atomic_store_n(&rw->owner, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&rw->leaver, plait__hold_own_name(slot, (uint64_t)(slot - plait__slot_at(plait__rwlock_header(rw), 0)) + 1),
                     __ATOMIC_RELAXED);
    wake = plait__robust_release_quietly(&rw->writer);
    worker_says(self, 1);
    may_go(scene);
    if (die)
        worker_die(self);
    plait__gate_open(rw, load64_relaxed(&rw->state), PLAIT__GATE_PHASE);
    plait__robust_wake(&wake);
}

static void stop_before_opening(struct worker *self) { leave_slowly(self, false); }
static void die_before_opening(struct worker *self) { leave_slowly(self, true); }

static void read_or_write_among_others(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_entry entry = self->number % 2 ? plait_any_rwlock_acquire_read(&scene->lock) :
                                                       plait_any_rwlock_acquire_write(&scene->lock);

    worker_says(self, 1);
    self->result = plait_wait_any(&entry, 1, NULL, scene->deadline);
    worker_says(self, 2);
    if (self->result == 0)
        self->result = release(scene);
}

/* Nobody gets in before it is through, whoever tries in between; or is gone. Nobody is told, for the data are whole. */
static void go_in_after(struct stage *stage, void (*leaver)(struct worker *))
{
    struct scene *scene = scene_of(stage);
    struct worker *first = start_said(stage, leaver, scene), *w[8];

    assert_false(plait_rwlock_is_written(&scene->lock));
    for (int i = 0; i < 2; i++) {
        struct plait_wait_entry entries[2] = { plait_any_rwlock_acquire_read(&scene->lock),
                                               plait_any_rwlock_acquire_write(&scene->lock) };

        assert_int_equal(read_lock(scene, i ? plait_after(0.15) : PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(write_lock(scene, i ? plait_after(0.15) : PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(plait_wait_any(entries, 2, NULL, i ? plait_after(0.15) : PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(plait_rwlock_readers(&scene->lock), 0);
    }
    for (int i = 0; i < 8; i++)
        w[i] = start_asleep(stage, i < 4 ? read_or_write_among_others : i % 2 ? read_through : write_through, scene);
    let_go(scene);
    if (leaver == die_before_opening)
        assert_true(worker_join(first));
    else
        assert_int_equal(worker_result(first), 0);
    for (int i = 0; i < 8; i++)
        assert_int_equal(worker_result(w[i]), 0);
    assert_free(scene);
}

static void leaving_writer_is_waited_for_until_it_is_through(void **state) { go_in_after(*state, stop_before_opening); }
static void leaving_writer_that_is_gone_is_not_waited_for(void **state) { go_in_after(*state, die_before_opening); }

/* ---- Stress ---------------------------------------------------------------------------------- */

static plait_time_t some_deadline(struct worker *self)
{
    switch (worker_random(self, 4)) {
    case 0:
        return PLAIT_NOW;
    case 1:
        return plait_after(1e-6 * worker_random(self, 200));
    default:
        return PLAIT_FOREVER;
    }
}

static void change(struct worker *self, struct scene *s)
{
    s->a++;
    if (worker_random(self, 20) == 0)
        sched_yield();
    s->b++;
}

static bool look(struct worker *self, struct scene *s)
{
    long a = s->a;

    if (worker_random(self, 20) == 0)
        sched_yield();
    return a == s->b && a == s->a;
}

/* False: a torn pair was seen, or an error that may not be. */
static bool step(struct worker *self, struct scene *s)
{
    bool write = worker_random(self, 5) == 0, again = worker_random(self, 5) == 0, right;
    int err = (write ? write_lock : read_lock)(s, some_deadline(self));

    if (err == EOWNERDEAD) {
        s->b = s->a;
        right = plait_rwlock_consistent(&s->lock) == 0;
        write = true;
    } else if (err)
        return err == ETIMEDOUT || err == ECANCELED;
    else
        right = true;
    if (write) {
        right = look(self, s) && right;
        change(self, s);
        if (again)
            right = plait_rwlock_downgrade(&s->lock) == 0 && look(self, s) && right;
    } else {
        right = look(self, s) && right;
        if (again)
            right = read_lock(s, PLAIT_NOW) == 0 && release(s) == 0 && look(self, s) && right;
    }
    return release(s) == 0 && right;
}

static void live(struct worker *self)
{
    struct scene *s = self->with;
    bool right = true;

    if (self->number % 2)
        plait_cancel_bind(&s->token);
    while (right && plait_now() < s->end) {
        if (worker_random(self, 50) == 0)
            __atomic_store_n(&s->token.word, worker_random(self, 2), __ATOMIC_RELAXED);
        right = step(self, s);
        __atomic_fetch_add(&s->progress, 1, __ATOMIC_RELAXED);
    }
    self->result = right ? 0 : 1;
    __atomic_fetch_add(&s->home, 1, __ATOMIC_RELEASE);
}

/* False: for STALL_SECONDS nobody made a step, or not all came home after the end. */
static bool watch(struct scene *s, uint32_t count)
{
    plait_time_t moved = plait_now();
    uint32_t seen = 0;

    while (__atomic_load_n(&s->home, __ATOMIC_ACQUIRE) < count) {
        uint32_t progress = __atomic_load_n(&s->progress, __ATOMIC_RELAXED);

        if (progress != seen)
            moved = plait_now();
        seen = progress;
        if (plait_now() > moved + STALL_SECONDS * PLAIT__SECOND)
            return false;
        stage_pause();
    }
    return true;
}

static void rwlock_under_stress_is_never_torn(void **state)
{
    struct stage *stage = *state;
    struct scene *s = scene_of(stage);

    stage_seed();
    s->end = plait_after(stage_stress_seconds());
    for (int i = 0; i < STRESS_WORKERS; i++)
        assert_non_null(worker_start(stage, live, s));
    assert_true(watch(s, STRESS_WORKERS));
    for (int i = 0; i < STRESS_WORKERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    print_message("%u steps, %ld changes\n", s->progress, s->a);
    assert_int_equal(s->a, s->b);
    assert_free(s);
}

/* One after the other is killed at any moment and replaced. The others must get on within a few slices. */
static void readers_and_writers_may_be_killed_and_the_others_get_on(void **state)
{
    struct stage *stage = *state;
    struct scene *s = scene_of(stage);
    struct worker *alive[STRESS_WORKERS];

    stage_seed();
    s->end = PLAIT_FOREVER;
    for (int i = 0; i < STRESS_WORKERS; i++)
        assert_non_null(alive[i] = worker_start(stage, live, s));
    for (plait_time_t end = plait_after(stage_stress_seconds());
         plait_now() < end && stage->worker_count < STAGE_WORKERS_MAX - 1;) {
        unsigned n = stage->worker_count % STRESS_WORKERS;
        uint32_t seen = __atomic_load_n(&s->progress, __ATOMIC_RELAXED);

        assert_true(EVENTUALLY(__atomic_load_n(&s->progress, __ATOMIC_RELAXED) - seen > 20));
        worker_kill(alive[n]);
        assert_int_equal(alive[n]->result, -1);
        assert_non_null(alive[n] = worker_start(stage, live, s));
    }
    for (int i = 0; i < STRESS_WORKERS; i++)
        worker_kill(alive[i]);
    plait_cancel_bind(NULL);
    if (write_lock(s, plait_after(10)) == EOWNERDEAD) {
        s->b = s->a;
        assert_int_equal(plait_rwlock_consistent(&s->lock), 0);
    }
    assert_int_equal(s->a, s->b);
    assert_int_equal(release(s), 0);
    assert_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHARED(dead_reader_is_taken_out_silently),
        SHARED(reader_that_ends_lets_a_sleeping_writer_in),
        SHARED(dead_writer_is_told_to_the_next),
        SHARED(dead_writer_is_told_to_one_of_the_sleepers),
        SHARED(dead_repairer_is_told_again),
        PROCESSES(writer_that_dies_waiting_is_not_told),
        SHARED(rwlock_released_inconsistent_is_not_recoverable),
        PROCESSES(sleepers_killed_leave_nothing_behind),
        PRIVATE(reader_that_ends_lets_a_sleeping_writer_in),
        PRIVATE(rwlock_held_over_fork_is_released_in_the_child),
        PRIVATE(rwlock_held_over_fork_is_respected_in_the_child),
        PRIVATE(child_does_not_wait_for_readers_that_are_not_there),
        PRIVATE(child_does_not_wait_for_waiters_that_are_not_there),
        PRIVATE(child_finds_what_another_thread_writes_held),
        SHARED(rwlock_shared_held_over_fork_is_not_the_childs),
        PRIVATE(rwlock_is_freed_by_whoever_writes_next),
        EVERYWHERE(rwlock_is_ended_by_whoever_has_it_last),
        SHARED(rwlock_of_the_dead_may_be_ended),
        SHARED(leaving_writer_is_waited_for_until_it_is_through),
        SHARED(leaving_writer_that_is_gone_is_not_waited_for),
        EVERYWHERE(rwlock_under_stress_is_never_torn),
        PROCESSES(readers_and_writers_may_be_killed_and_the_others_get_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
