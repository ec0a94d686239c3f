/* SPDX-License-Identifier: MIT */
/* The contract of plait/wait_any.h with read-write locks among the entries: they answer, wait and die as the plain calls. */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/refuse.h"
#include "support/rwlock_scene.h"
#include "support/stage.h"

enum { NR_FUTEX_WAITV = 449, NONE = 777, STRESS_WORKERS = 6, ROUNDS = 40, STALL_SECONDS = 10 };

/* A scene and what a worker's call of plait_wait_any is about. */
struct others {
    struct scene *scene;
    plait_event_t event;
    enum { READ, WRITE, READ_AND_WRITE, WRITE_TWICE, READ_TWICE, WAYS } way;
    bool event_first;
    plait_time_t deadline;
};

static struct others *others_of(struct stage *stage)
{
    struct others *o = stage_alloc(stage, sizeof *o);

    assert_non_null(o);
    o->scene = scene_of(stage);
    o->deadline = PLAIT_FOREVER;
    assert_int_equal(plait_event_init(&o->event, stage->flags), 0);
    return o;
}

static struct plait_wait_entry reading(struct scene *scene)
{
    return plait_any_rwlock_acquire_read(&scene->lock);
}

static struct plait_wait_entry writing(struct scene *scene)
{
    return plait_any_rwlock_acquire_write(&scene->lock);
}

/* The event, then what the way says. Returns how many entries. */
static size_t fill(struct plait_wait_entry *entries, struct others *o)
{
    entries[0] = plait_any_event_wait(&o->event);
    if (o->event_first)
        entries[0] = plait_any_first(entries[0]);
    entries[1] =
        o->way == READ || o->way == READ_AND_WRITE || o->way == READ_TWICE ? reading(o->scene) : writing(o->scene);
    entries[2] = o->way == READ_TWICE ? reading(o->scene) : writing(o->scene);
    return o->way >= READ_AND_WRITE ? 3 : 2;
}

/* Does the caller have what the entry that was performed says, and once? Gives it back. */
static int give_back(struct others *o, size_t which)
{
    bool reads = o->way == READ || o->way == READ_TWICE || (o->way == READ_AND_WRITE && which == 1);
    plait_rwlock_t *lock = &o->scene->lock;

    if (which == 0)
        return plait_rwlock_release(lock) == EPERM ? 0 : -2;
    if (plait_rwlock_is_written(lock) == reads || (reads && plait_rwlock_readers(lock) == 0))
        return -3;
    if (plait_rwlock_release(lock) != 0)
        return -4;
    return plait_rwlock_release(lock) == EPERM ? 0 : -5;
}

/* News: 1, then 2 + which entry was performed. */
static void wait_for_any(struct worker *self)
{
    struct others *o = self->with;
    struct plait_wait_entry entries[3];
    size_t count = fill(entries, o), which = NONE;

    plait_cancel_bind(&o->scene->token);
    worker_says(self, 1);
    self->result = plait_wait_any(entries, count, &which, o->deadline);
    if (self->result == EOWNERDEAD)
        self->result = plait_rwlock_is_written(&o->scene->lock) && plait_rwlock_consistent(&o->scene->lock) == 0 &&
                               plait_rwlock_release(&o->scene->lock) == 0
                           ? EOWNERDEAD
                           : -6;
    else if (self->result == 0)
        self->result = give_back(o, which);
    worker_says(self, 2 + (uint32_t)which);
}

static struct worker *start_any(struct stage *stage, struct others *o, int way)
{
    struct worker *w;

    o->way = way;
    assert_non_null(w = worker_start(stage, wait_for_any, o));
    assert_true(worker_sleeps(w, 1));
    return w;
}

/* ---- At once ---------------------------------------------------------------------------------- */

static void any_acquires_a_free_one(void **state)
{
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry entries[2] = { writing(scene), reading(scene) };

    for (int i = 0; i < 60; i++) {
        size_t which = NONE, from = i % 3 == 2, count = i % 3 ? 1 : 2;

        assert_int_equal(plait_wait_any(entries + from, count, &which, i % 2 ? PLAIT_NOW : PLAIT_FOREVER), 0);
        which += from;
        assert_in_range(which, from, from + count - 1);
        assert_int_equal(plait_rwlock_is_written(&scene->lock), which == 0);
        assert_int_equal(plait_rwlock_readers(&scene->lock), which == 1);
        assert_int_equal(release(scene), 0);
        assert_int_equal(release(scene), EPERM);
    }
    assert_free(scene);
}

static void any_try_of_a_held_one_changes_nothing(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_entry entries[2] = { writing(scene), reading(scene) };
    plait_time_t past[] = { PLAIT_NOW, -1, INT64_MIN, 1, plait_now() - 1 };

    for (int written = 0; written < 2; written++) {
        struct worker *w = start_said(stage, written ? write_until_told : read_until_told, scene);

        for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
            size_t which = NONE, count = written ? 2 : 1;

            assert_int_equal(plait_wait_any(entries, count, &which, past[i]), ETIMEDOUT);
            assert_int_equal(which, count);
            assert_int_equal(run(stage, try_read, scene), written ? ETIMEDOUT : 0);
            assert_int_equal(plait_rwlock_readers(&scene->lock), !written);
        }
        stage->worker_count = w->number + 1; /* those after it have ended */
        let_go(scene);
        assert_int_equal(worker_result(w), 0);
        __atomic_store_n(&scene->go, 0, __ATOMIC_RELEASE);
    }
    assert_free(scene);
}

static void any_answers_a_holder_as_the_plain_call(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_entry entries[3] = { writing(scene), reading(scene) };
    plait_event_t never = PLAIT_EVENT_INIT;
    struct worker *w;
    size_t which;

    entries[2] = plait_any_event_wait(&never);
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    for (size_t i = 0; i < 2; i++) {
        struct plait_wait_entry two[2] = { entries[2], entries[i] };

        assert_int_equal(plait_wait_any(two, 2, &which, PLAIT_FOREVER), EDEADLK);
        assert_int_equal(which, 1);
    }
    assert_int_equal(release(scene), 0);

    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(plait_wait_any(entries, 1, &which, PLAIT_FOREVER), EDEADLK);
    w = start_asleep(stage, write_through, scene);
    for (int i = 0; i < 3; i++) { /* again, which never waits */
        assert_int_equal(plait_wait_any(entries + 1, 2, &which, PLAIT_FOREVER), 0);
        assert_int_equal(which, 0);
    }
    assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
    for (int i = 0; i < 4; i++) {
        assert_false(plait_rwlock_is_written(&scene->lock));
        assert_int_equal(release(scene), 0);
    }
    assert_int_equal(release(scene), EPERM);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

/* ---- Woken ------------------------------------------------------------------------------------ */

/* Behind a writer in every way, and behind a reader in those that wait for one. */
static void any_is_let_in(void **state)
{
    struct stage *stage = *state;
    struct others *o = others_of(stage);

    for (int way = 0; way < WAYS; way++)
        for (int i = 0; i < 8; i++) {
            bool written = i % 2 || way == READ || way == READ_TWICE || way == READ_AND_WRITE;
            struct worker *w;

            stage->worker_count = 0; /* those before have ended */
            assert_int_equal((written ? write_lock : read_lock)(o->scene, PLAIT_FOREVER), 0);
            w = start_any(stage, o, way);
            assert_int_equal(plait_rwlock_is_written(&o->scene->lock), written);
            assert_int_equal(plait_rwlock_readers(&o->scene->lock), !written);
            if (written && i % 4 == 3) { /* by a downgrade: only readers */
                assert_int_equal(plait_rwlock_downgrade(&o->scene->lock), 0);
                if (way == READ || way == READ_TWICE)
                    assert_int_equal(worker_result(w), 0);
            }
            assert_int_equal(release(o->scene), 0);
            assert_int_equal(worker_result(w), 0);
            assert_in_range(w->phase, 3, 4);
        }
    assert_free(o->scene);
}

/* The writer's wish keeps readers out, and is given up: something else has won, the time is up, or the token is set. */
static void any_that_gives_up_writing_lets_readers_in(void **state)
{
    struct stage *stage = *state;
    struct others *o = others_of(stage);
    struct scene *scene = o->scene;

    for (int i = 0; i < 6; i++) {
        struct worker *readers[READERS], *w;

        stage->worker_count = 0; /* those before have ended */
        assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
        o->deadline = i % 3 == 2 ? plait_after(0.3) : PLAIT_FOREVER;
        o->way = i < 3 ? WRITE : WRITE_TWICE;
        assert_non_null(w = worker_start(stage, wait_for_any, o));
        if (i % 3 != 2) { /* else the time might be up */
            assert_true(worker_sleeps(w, 1));
            assert_int_equal(run(stage, try_read, scene), ETIMEDOUT);
        }
        for (int k = 0; k < READERS; k++)
            readers[k] = start_said(stage, read_through, scene);
        if (i % 3 == 0)
            plait_event_set(&o->event);
        else if (i % 3 == 1)
            plait_cancel_set(&scene->token);
        assert_int_equal(worker_result(w), i % 3 == 0 ? 0 : i % 3 == 1 ? ECANCELED : ETIMEDOUT);
        assert_int_equal(w->phase, i % 3 == 0 ? 2 : i < 3 ? 4 : 5);
        for (int k = 0; k < READERS; k++) /* while we read */
            assert_int_equal(worker_result(readers[k]), 0);
        assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
        assert_int_equal(release(scene), 0);
        plait_event_clear(&o->event);
        assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    }
    assert_free(scene);
}

/* It was let in to read while it got something else: the hold is gone, and a writer gets in. */
static void any_that_does_not_use_its_way_in_is_in_nobodys_way(void **state)
{
    struct stage *stage = *state;
    struct others *o = others_of(stage);

    o->event_first = true;
    for (int i = 0; i < ROUNDS; i++) {
        struct worker *any, *writer;

        stage->worker_count = 0; /* those before have ended */
        assert_int_equal(write_lock(o->scene, PLAIT_FOREVER), 0);
        any = start_any(stage, o, i % 2 ? READ : READ_AND_WRITE);
        writer = start_asleep(stage, write_through, o->scene);
        if (i % 4 < 2) {
            plait_event_set(&o->event);
            assert_int_equal(release(o->scene), 0);
        } else {
            assert_int_equal(release(o->scene), 0);
            plait_event_set(&o->event);
        }
        assert_int_equal(worker_result(any), 0);
        assert_int_equal(worker_result(writer), 0);
        plait_event_clear(&o->event);
    }
    assert_free(o->scene);
}

/* One wake for one writer, spent on a sleeper that got something else. */
static void any_passes_on_a_writers_wake(void **state)
{
    struct stage *stage = *state;
    struct others *o = others_of(stage);

    o->event_first = true;
    for (int i = 0; i < ROUNDS; i++) {
        struct worker *any, *plain[2];

        stage->worker_count = 0; /* those before have ended */
        assert_int_equal(write_lock(o->scene, PLAIT_FOREVER), 0);
        any = start_any(stage, o, i % 2 ? WRITE : WRITE_TWICE);
        for (int k = 0; k < 2; k++)
            plain[k] = start_asleep(stage, write_through, o->scene);
        if (i % 4 < 2) {
            plait_event_set(&o->event);
            assert_int_equal(release(o->scene), 0);
        } else {
            assert_int_equal(release(o->scene), 0);
            plait_event_set(&o->event);
        }
        assert_int_equal(worker_result(any), 0);
        for (int k = 0; k < 2; k++)
            assert_int_equal(worker_result(plain[k]), 0);
        plait_event_clear(&o->event);
    }
    assert_free(o->scene);
}

static void any_never_ends_early(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_entry entries[2] = { writing(scene), reading(scene) };

    for (int written = 0; written < 2; written++) {
        struct worker *w = start_said(stage, written ? write_until_told : read_until_told, scene);

        for (int i = 0; i < 20; i++) {
            plait_time_t deadline = plait_after(i * 2e-4);
            size_t which = NONE, count = written ? 2 : 1;

            assert_int_equal(plait_wait_any(entries, count, &which, deadline), ETIMEDOUT);
            assert_true(plait_now() >= deadline);
            assert_int_equal(which, count);
            assert_int_equal(release(scene), EPERM);
        }
        let_go(scene);
        assert_int_equal(worker_result(w), 0);
        __atomic_store_n(&scene->go, 0, __ATOMIC_RELEASE);
    }
    assert_free(scene);
}

/* More than a row of holds has place for, and those of other locks. */
static void any_waits_for_many_at_once(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_entry entries[2 * MANY];

    for (int i = 0; i < MANY; i++) {
        entries[2 * i] = plait_any_rwlock_acquire_read(&scene->more[i]);
        entries[2 * i + 1] = plait_any_rwlock_acquire_write(&scene->more[i]);
    }
    for (int i = 0; i < MANY; i++) {
        size_t which = NONE;

        assert_int_equal(plait_wait_any(entries + 2 * i, (size_t)(2 * (MANY - i)), &which, PLAIT_FOREVER), 0);
        which += (size_t)(2 * i);
        assert_int_equal(plait_rwlock_readers(&scene->more[which / 2]), which % 2 == 0);
        assert_int_equal(plait_rwlock_is_written(&scene->more[which / 2]), which % 2);
        assert_int_equal(plait_rwlock_release(&scene->more[which / 2]), 0);
        assert_int_equal(plait_rwlock_acquire_read(&scene->more[i], PLAIT_NOW), 0);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(plait_rwlock_release(&scene->more[i]), 0);
        assert_int_equal(plait_rwlock_fini(&scene->more[i]), 0);
    }
}

static void wait_without_waitv(struct worker *self)
{
    static const long calls[] = { NR_FUTEX_WAITV };

    if (refuse_calls(calls, 1, ENOSYS) != 0)
        self->result = -7;
    else
        wait_for_any(self);
}

static void any_works_without_futex_waitv(void **state)
{
    struct stage *stage = *state;
    struct others *o = others_of(stage);

    for (int way = 0; way < WAYS; way++) {
        struct worker *w;

        o->way = way;
        assert_int_equal(write_lock(o->scene, PLAIT_FOREVER), 0);
        w = worker_start(stage, wait_without_waitv, o);
        assert_true(worker_said(w, 1) || w->result == -7);
        if (w->result == -7) {
            assert_int_equal(release(o->scene), 0);
            skip();
        }
        assert_int_equal(release(o->scene), 0);
        assert_int_equal(worker_result(w), 0);
    }
    assert_free(o->scene);
}

/* ---- Death ------------------------------------------------------------------------------------ */

static void any_tells_of_a_dead_writer(void **state)
{
    struct stage *stage = *state;
    struct others *o = others_of(stage);

    for (int way = 0; way < WAYS; way++)
        for (int asleep = 0; asleep < 2; asleep++) {
            struct worker *writer, *w;

            stage->worker_count = 0; /* those before have ended */
            __atomic_store_n(&o->scene->go, 0, __ATOMIC_RELEASE);
            writer = start_said(stage, write_and_die, o->scene);
            if (!asleep) {
                let_go(o->scene);
                assert_true(worker_join(writer));
                o->way = way;
                w = worker_start(stage, wait_for_any, o);
            } else {
                w = start_any(stage, o, way);
                let_go(o->scene);
                assert_true(worker_join(writer));
            }
            assert_int_equal(worker_result(w), EOWNERDEAD);
            assert_in_range(w->phase, 3, 4);
        }
    assert_free(o->scene);
}

static void any_tells_that_one_is_not_recoverable(void **state)
{
    struct stage *stage = *state;
    struct others *o = others_of(stage);
    struct worker *w[2];

    lose(stage, o->scene, write_and_die);
    assert_int_equal(read_lock(o->scene, PLAIT_FOREVER), EOWNERDEAD);
    w[0] = start_any(stage, o, READ);
    w[1] = worker_start(stage, wait_for_any, o);
    assert_true(worker_sleeps(w[1], 1));
    assert_int_equal(release(o->scene), 0);
    assert_int_equal(worker_result(w[0]), ENOTRECOVERABLE);
    assert_int_equal(worker_result(w[1]), ENOTRECOVERABLE);
    o->way = WRITE;
    assert_int_equal(worker_result(worker_start(stage, wait_for_any, o)), ENOTRECOVERABLE);
}

static void any_writes_after_the_death_of_a_reader(void **state)
{
    struct stage *stage = *state;
    struct others *o = others_of(stage);
    struct worker *reader = start_said(stage, read_and_die, o->scene);
    struct worker *w = start_any(stage, o, WRITE);

    let_go(o->scene);
    assert_true(worker_join(reader));
    assert_int_equal(worker_result(w), 0);
    assert_int_equal(w->phase, 3);
    assert_free(o->scene);
}

static void any_that_is_killed_leaves_nothing_behind(void **state)
{
    struct stage *stage = *state;
    struct others *o = others_of(stage);

    for (int way = 0; way < WAYS; way++)
        for (int written = 0; written < 2; written++) {
            struct worker *any, *plain[2];

            if (!written && (way == READ || way == READ_TWICE || way == READ_AND_WRITE))
                continue;            /* would not wait */
            stage->worker_count = 0; /* those before have ended */
            assert_int_equal((written ? write_lock : read_lock)(o->scene, PLAIT_FOREVER), 0);
            any = start_any(stage, o, way);
            plain[0] = start_said(stage, write_through, o->scene);
            plain[1] = start_said(stage, read_through, o->scene);
            worker_kill(any);
            assert_int_equal(release(o->scene), 0);
            for (int k = 0; k < 2; k++)
                assert_int_equal(worker_result(plain[k]), 0);
            assert_int_equal(plait_rwlock_readers(&o->scene->lock), 0);
        }
    assert_free(o->scene);
}

/* ---- Stress ----------------------------------------------------------------------------------- */

/* Two locks, each with its pair. */
struct ring {
    struct scene *side[2];
    plait_event_t event;
    plait_time_t end;
    uint32_t progress; /* atomic */
    uint32_t home;     /* atomic */
};

static bool use(struct worker *self, struct scene *s, bool write)
{
    long a = s->a;
    bool right = a == s->b;

    if (write)
        s->a = a + 1;
    if (worker_random(self, 20) == 0)
        sched_yield();
    if (write)
        s->b++;
    return s->a == s->b && right && plait_rwlock_release(&s->lock) == 0;
}

static plait_time_t some_deadline(struct worker *self)
{
    unsigned n = worker_random(self, 4);

    return n == 0 ? PLAIT_NOW : n == 1 ? plait_after(1e-6 * worker_random(self, 200)) : PLAIT_FOREVER;
}

static bool step(struct worker *self, struct ring *ring)
{
    struct plait_wait_entry entries[5];
    bool writes[5] = { false };
    struct scene *of[5] = { NULL };
    size_t count = 1 + worker_random(self, 4), which = NONE;
    plait_time_t deadline = some_deadline(self);
    int err;

    for (size_t i = 0; i < count; i++) {
        of[i] = ring->side[worker_random(self, 2)];
        writes[i] = worker_random(self, 3) == 0;
        entries[i] = writes[i] ? writing(of[i]) : reading(of[i]);
    }
    if (worker_random(self, 4) == 0) /* alone, as plain */
        err = (writes[which = 0] ? write_lock : read_lock)(of[0], deadline);
    else {
        entries[count] = plait_any_event_wait(&ring->event);
        if (worker_random(self, 2))
            entries[count] = plait_any_first(entries[count]);
        err = plait_wait_any(entries, count + 1, &which, deadline);
    }
    if (err == EOWNERDEAD) {
        of[which]->b = of[which]->a;
        if (plait_rwlock_consistent(&of[which]->lock) != 0)
            return false;
        return use(self, of[which], true);
    }
    if (err)
        return err == ETIMEDOUT;
    if (which == count)
        return plait_event_clear(&ring->event) == 0;
    if (worker_random(self, 50) == 0)
        plait_event_set(&ring->event);
    return use(self, of[which], writes[which]);
}

static void live(struct worker *self)
{
    struct ring *ring = self->with;
    bool right = true;

    while (right && plait_now() < ring->end) {
        right = step(self, ring);
        __atomic_fetch_add(&ring->progress, 1, __ATOMIC_RELAXED);
    }
    self->result = right ? 0 : 1;
    __atomic_fetch_add(&ring->home, 1, __ATOMIC_RELEASE);
}

static struct ring *ring_of(struct stage *stage)
{
    struct ring *ring = stage_alloc(stage, sizeof *ring);

    assert_non_null(ring);
    for (int i = 0; i < 2; i++)
        ring->side[i] = scene_of(stage);
    assert_int_equal(plait_event_init(&ring->event, stage->flags), 0);
    return ring;
}

static void any_under_stress_is_never_torn_and_loses_no_wake(void **state)
{
    struct stage *stage = *state;
    struct ring *ring = ring_of(stage);
    plait_time_t moved = plait_now();
    uint32_t seen = 0;

    stage_seed();
    ring->end = plait_after(stage_stress_seconds());
    for (int i = 0; i < STRESS_WORKERS; i++)
        assert_non_null(worker_start(stage, live, ring));
    while (__atomic_load_n(&ring->home, __ATOMIC_ACQUIRE) < STRESS_WORKERS) {
        uint32_t progress = __atomic_load_n(&ring->progress, __ATOMIC_RELAXED);

        if (progress != seen)
            moved = plait_now();
        seen = progress;
        assert_true(plait_now() < moved + STALL_SECONDS * PLAIT__SECOND);
        stage_pause();
    }
    for (int i = 0; i < STRESS_WORKERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    print_message("%u steps, %ld changes\n", ring->progress, ring->side[0]->a + ring->side[1]->a);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ring->side[i]->a, ring->side[i]->b);
        assert_free(ring->side[i]);
    }
}

static void callers_of_any_may_be_killed_and_the_others_get_on(void **state)
{
    struct stage *stage = *state;
    struct ring *ring = ring_of(stage);
    struct worker *alive[STRESS_WORKERS];

    stage_seed();
    ring->end = PLAIT_FOREVER;
    for (int i = 0; i < STRESS_WORKERS; i++)
        assert_non_null(alive[i] = worker_start(stage, live, ring));
    for (plait_time_t end = plait_after(stage_stress_seconds());
         plait_now() < end && stage->worker_count < STAGE_WORKERS_MAX - 1;) {
        unsigned n = stage->worker_count % STRESS_WORKERS;
        uint32_t seen = __atomic_load_n(&ring->progress, __ATOMIC_RELAXED);

        assert_true(EVENTUALLY(__atomic_load_n(&ring->progress, __ATOMIC_RELAXED) - seen > 20));
        worker_kill(alive[n]);
        assert_int_equal(alive[n]->result, -1);
        assert_non_null(alive[n] = worker_start(stage, live, ring));
    }
    for (int i = 0; i < STRESS_WORKERS; i++)
        worker_kill(alive[i]);
    for (int i = 0; i < 2; i++) {
        struct scene *s = ring->side[i];

        if (write_lock(s, plait_after(10)) == EOWNERDEAD) {
            s->b = s->a;
            assert_int_equal(plait_rwlock_consistent(&s->lock), 0);
        }
        assert_int_equal(s->a, s->b);
        assert_int_equal(release(s), 0);
        assert_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(any_acquires_a_free_one),
        EVERYWHERE(any_try_of_a_held_one_changes_nothing),
        EVERYWHERE(any_answers_a_holder_as_the_plain_call),
        EVERYWHERE(any_is_let_in),
        EVERYWHERE(any_that_gives_up_writing_lets_readers_in),
        EVERYWHERE(any_that_does_not_use_its_way_in_is_in_nobodys_way),
        EVERYWHERE(any_passes_on_a_writers_wake),
        EVERYWHERE(any_never_ends_early),
        EVERYWHERE(any_waits_for_many_at_once),
        PROCESSES(any_works_without_futex_waitv),
        SHARED(any_tells_of_a_dead_writer),
        SHARED(any_tells_that_one_is_not_recoverable),
        SHARED(any_writes_after_the_death_of_a_reader),
        PROCESSES(any_that_is_killed_leaves_nothing_behind),
        EVERYWHERE(any_under_stress_is_never_torn_and_loses_no_wake),
        PROCESSES(callers_of_any_may_be_killed_and_the_others_get_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
