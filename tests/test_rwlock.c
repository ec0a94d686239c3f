/* SPDX-License-Identifier: MIT */
/* The contract of plait/rwlock.h, sentence by sentence. */
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
#include "support/stage.h"

enum { READERS = 4, MANY = 12, STRESS_WORKERS = 6, STALL_SECONDS = 10 };

/* What a case's workers share. */
struct scene {
    plait_rwlock_t lock;
    plait_rwlock_t more[MANY];
    plait_cancel_t token;
    plait_time_t deadline, end;
    uint32_t go;       /* atomic: the test's permission to go on */
    uint32_t turns;    /* atomic: how often the flooders went in */
    uint32_t progress; /* atomic */
    uint32_t home;     /* atomic: workers that are through */
    volatile long a, b; /* guarded by lock; a == b */
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_rwlock_init(&scene->lock, stage->flags), 0);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(plait_rwlock_init(&scene->more[i], stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    return scene;
}

static void let_go(struct scene *scene)
{
    __atomic_store_n(&scene->go, 1, __ATOMIC_RELEASE);
}

static bool may_go(struct scene *scene)
{
    return EVENTUALLY(__atomic_load_n(&scene->go, __ATOMIC_ACQUIRE));
}

static int read_lock(struct scene *scene, plait_time_t deadline)
{
    return plait_rwlock_acquire_read(&scene->lock, deadline);
}

static int write_lock(struct scene *scene, plait_time_t deadline)
{
    return plait_rwlock_acquire_write(&scene->lock, deadline);
}

static int release(struct scene *scene)
{
    return plait_rwlock_release(&scene->lock);
}

/* ---- Workers ---------------------------------------------------------------------------- */

static void go_through(struct worker *self, int (*acquire)(struct scene *, plait_time_t))
{
    struct scene *scene = self->with;
    plait_time_t start = plait_now();

    worker_says(self, 1);
    self->result = acquire(scene, scene->deadline);
    self->took = plait_now() - start;
    worker_says(self, 2);
    if (self->result == 0)
        self->result = release(scene);
}

static void read_through(struct worker *self) { go_through(self, read_lock); }
static void write_through(struct worker *self) { go_through(self, write_lock); }

static void read_through_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    read_through(self);
}

static void write_through_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    write_through(self);
}

static void hold_until_told(struct worker *self, int (*acquire)(struct scene *, plait_time_t))
{
    struct scene *scene = self->with;

    self->result = acquire(scene, PLAIT_FOREVER);
    worker_says(self, 1);
    may_go(scene);
    if (self->result == 0)
        self->result = release(scene);
}

static void wait_and_read_until_told(struct worker *self)
{
    worker_says(self, 1);
    self->result = read_lock(self->with, PLAIT_FOREVER);
    worker_says(self, 2);
    may_go(self->with);
    if (self->result == 0)
        self->result = release(self->with);
}

static void read_until_told(struct worker *self) { hold_until_told(self, read_lock); }
static void write_until_told(struct worker *self) { hold_until_told(self, write_lock); }

static void hold_and_die(struct worker *self, int (*acquire)(struct scene *, plait_time_t))
{
    struct scene *scene = self->with;

    self->result = acquire(scene, PLAIT_FOREVER);
    if (self->result == EOWNERDEAD)
        plait_rwlock_consistent(&scene->lock);
    worker_says(self, 1);
    may_go(scene);
    worker_die(self);
}

static void read_and_die(struct worker *self) { hold_and_die(self, read_lock); }
static void write_and_die(struct worker *self) { hold_and_die(self, write_lock); }

static void try_read(struct worker *self)
{
    self->result = read_lock(self->with, PLAIT_NOW);
    if (self->result == 0)
        self->result = release(self->with);
}

static void try_write(struct worker *self)
{
    self->result = write_lock(self->with, PLAIT_NOW);
    if (self->result == 0)
        self->result = release(self->with);
}

static void release_only(struct worker *self) { self->result = release(self->with); }
static void downgrade_only(struct worker *self) { self->result = plait_rwlock_downgrade(&((struct scene *)self->with)->lock); }
static void consistent_only(struct worker *self) { self->result = plait_rwlock_consistent(&((struct scene *)self->with)->lock); }

static int run(struct stage *stage, void (*what)(struct worker *), struct scene *scene)
{
    return worker_result(worker_start(stage, what, scene));
}

static struct worker *start_said(struct stage *stage, void (*what)(struct worker *), struct scene *scene)
{
    struct worker *w = worker_start(stage, what, scene);

    assert_true(worker_said(w, 1));
    return w;
}

static struct worker *start_asleep(struct stage *stage, void (*what)(struct worker *), struct scene *scene)
{
    struct worker *w = worker_start(stage, what, scene);

    assert_true(worker_sleeps(w, 1));
    return w;
}

/* A worker takes the lock and dies with it. */
static void lose(struct stage *stage, struct scene *scene, void (*how)(struct worker *))
{
    let_go(scene);
    assert_true(worker_join(start_said(stage, how, scene)));
    __atomic_store_n(&scene->go, 0, __ATOMIC_RELEASE);
}

static void assert_free(struct scene *scene)
{
    assert_false(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(plait_rwlock_readers(&scene->lock), 0);
    assert_int_equal(write_lock(scene, PLAIT_NOW), 0);
    assert_int_equal(release(scene), 0);
    assert_int_equal(read_lock(scene, PLAIT_NOW), 0);
    assert_int_equal(release(scene), 0);
    assert_int_equal(plait_rwlock_fini(&scene->lock), 0);
}

/* ---- Many readers or one writer ------------------------------------------------------------ */

static void rwlock_free_is_acquired_and_released(void **state)
{
    struct scene *scene = scene_of(*state);

    for (int i = 0; i < 3; i++) {
        assert_int_equal(read_lock(scene, i ? PLAIT_NOW : PLAIT_FOREVER), 0);
        assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
        assert_false(plait_rwlock_is_written(&scene->lock));
        assert_int_equal(release(scene), 0);
        assert_int_equal(plait_rwlock_readers(&scene->lock), 0);
        assert_int_equal(write_lock(scene, i ? PLAIT_NOW : PLAIT_FOREVER), 0);
        assert_true(plait_rwlock_is_written(&scene->lock));
        assert_int_equal(plait_rwlock_readers(&scene->lock), 0);
        assert_int_equal(release(scene), 0);
    }
    assert_free(scene);
}

static void rwlock_read_lets_readers_in_and_no_writer(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w[READERS];

    for (int i = 0; i < READERS; i++)
        w[i] = start_said(stage, read_until_told, scene);
    assert_int_equal(plait_rwlock_readers(&scene->lock), READERS);
    assert_int_equal(read_lock(scene, PLAIT_NOW), 0);
    assert_int_equal(plait_rwlock_readers(&scene->lock), READERS + 1);
    assert_int_equal(release(scene), 0);
    assert_int_equal(write_lock(scene, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_rwlock_fini(&scene->lock), EBUSY);
    let_go(scene);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(w[i]), 0);
    assert_free(scene);
}

static void rwlock_written_lets_nobody_in(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = start_said(stage, write_until_told, scene);
    plait_time_t past[] = { PLAIT_NOW, -5, INT64_MIN, plait_now() - 1 };

    for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
        assert_int_equal(read_lock(scene, past[i]), ETIMEDOUT);
        assert_int_equal(write_lock(scene, past[i]), ETIMEDOUT);
    }
    assert_true(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(plait_rwlock_fini(&scene->lock), EBUSY);
    assert_int_equal(release(scene), EPERM);
    let_go(scene);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

static void rwlock_times_out_never_early(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = start_said(stage, write_until_told, scene);

    for (int i = 0; i < 10; i++) {
        plait_time_t deadline = plait_after(0.002);

        assert_int_equal((i % 2 ? read_lock : write_lock)(scene, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
    }
    let_go(scene);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

static void rwlock_released_wakes_all_who_sleep(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w[2 * READERS];

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    for (int i = 0; i < 2 * READERS; i++)
        w[i] = start_asleep(stage, i % 2 ? read_through : write_through, scene);
    assert_int_equal(release(scene), 0);
    for (int i = 0; i < 2 * READERS; i++)
        assert_int_equal(worker_result(w[i]), 0);
    assert_free(scene);
}

static void rwlock_last_reader_lets_the_writer_in(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *readers[READERS], *w;

    for (int i = 0; i < READERS; i++)
        readers[i] = start_said(stage, read_until_told, scene);
    w = start_asleep(stage, write_through, scene);
    assert_false(plait_rwlock_is_written(&scene->lock));
    let_go(scene);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(readers[i]), 0);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

static void rwlock_of_zero_bytes_is_private_and_free(void **state)
{
    static plait_rwlock_t zero, named = PLAIT_RWLOCK_INIT;

    (void)state;
    assert_int_equal(memcmp(&zero, &named, sizeof zero), 0);
    assert_int_equal(plait_rwlock_acquire_read(&zero, PLAIT_NOW), 0);
    assert_int_equal(plait_rwlock_release(&zero), 0);
    assert_int_equal(plait_rwlock_acquire_write(&zero, PLAIT_NOW), 0);
    assert_int_equal(plait_rwlock_release(&zero), 0);
    assert_int_equal(plait_rwlock_fini(&zero), 0);
}

static void rwlock_with_bad_flags_or_place_is_refused(void **state)
{
    plait_rwlock_t outside;

    (void)state;
    assert_int_equal(plait_rwlock_init(&outside, PLAIT_SHARED), EINVAL);
    assert_int_equal(plait_rwlock_init(&outside, PLAIT_BOUNDED), EINVAL);
    assert_int_equal(plait_rwlock_init(&outside, 1u << 30), EINVAL);
    assert_int_equal(plait_rwlock_init(NULL, 0), EINVAL);
}

static void rwlock_in_reused_memory_is_free(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    lose(stage, scene, read_and_die);
    memset(&scene->lock, 0xa5, sizeof scene->lock);
    assert_int_equal(plait_rwlock_init(&scene->lock, stage->flags), 0);
    assert_free(scene);
}

/* ---- Whose hold it is ----------------------------------------------------------------------- */

static void rwlock_is_released_by_its_holder_only(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(release(scene), EPERM);
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(run(stage, release_only, scene), EPERM);
    assert_int_equal(run(stage, downgrade_only, scene), EPERM);
    assert_int_equal(release(scene), 0);
    assert_int_equal(release(scene), EPERM);
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(run(stage, release_only, scene), EPERM);
    assert_int_equal(run(stage, downgrade_only, scene), EPERM);
    assert_int_equal(run(stage, consistent_only, scene), stage->flags ? EPERM : EINVAL);
    assert_int_equal(release(scene), 0);
    assert_int_equal(release(scene), EPERM);
    assert_free(scene);
}

static void rwlock_reader_reads_again_while_a_writer_waits(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    w = start_asleep(stage, write_through, scene);
    assert_int_equal(run(stage, try_read, scene), ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(read_lock(scene, i ? PLAIT_NOW : PLAIT_FOREVER), 0);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(release(scene), 0);
    assert_false(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(release(scene), 0);
    assert_int_equal(release(scene), EPERM);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

static void rwlock_is_not_upgraded(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), EDEADLK);
    assert_int_equal(write_lock(scene, PLAIT_NOW), EDEADLK);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
    assert_int_equal(plait_rwlock_downgrade(&scene->lock), EPERM);
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

static void rwlock_writer_acquires_nothing_more(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), EDEADLK);
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), EDEADLK);
    assert_int_equal(read_lock(scene, PLAIT_NOW), EDEADLK);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 0);
    assert_true(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

static void rwlock_downgraded_is_read(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *readers[READERS], *w;

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    for (int i = 0; i < READERS; i++)
        readers[i] = start_asleep(stage, read_through, scene);
    w = start_asleep(stage, write_through, scene);
    assert_int_equal(plait_rwlock_downgrade(&scene->lock), 0);
    assert_false(plait_rwlock_is_written(&scene->lock));
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(readers[i]), 0);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
    assert_int_equal(write_lock(scene, PLAIT_NOW), EDEADLK);
    assert_int_equal(plait_rwlock_downgrade(&scene->lock), EPERM);
    assert_int_equal(run(stage, try_write, scene), ETIMEDOUT);
    assert_true(EVENTUALLY(thread_sleeps(w->tid)));
    assert_false(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(release(scene), 0);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

/* More than a row of holds has place for, released in another order. */
static void rwlock_many_are_read_at_once(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++)
            assert_int_equal(plait_rwlock_acquire_read(&scene->more[i], PLAIT_FOREVER), 0);
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(plait_rwlock_acquire_write(&scene->more[i], PLAIT_NOW), EDEADLK);
            assert_int_equal(plait_rwlock_readers(&scene->more[i]), 1);
        }
        for (int i = 0; i < MANY; i++) {
            int n = i * 5 % MANY;

            assert_int_equal(plait_rwlock_acquire_read(&scene->more[n], PLAIT_NOW), 0);
            assert_int_equal(plait_rwlock_release(&scene->more[n]), 0);
            assert_int_equal(plait_rwlock_release(&scene->more[n]), 0);
            assert_int_equal(plait_rwlock_release(&scene->more[n]), EPERM);
            assert_int_equal(plait_rwlock_acquire_write(&scene->more[n], PLAIT_NOW), 0);
            assert_int_equal(plait_rwlock_release(&scene->more[n]), 0);
        }
    }
}

/* ---- Cancel ----------------------------------------------------------------------------- */

static void rwlock_waiters_are_cancelled(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w[READERS];

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    for (int i = 0; i < READERS; i++)
        w[i] = start_asleep(stage, i % 2 ? read_through_bound : write_through_bound, scene);
    plait_cancel_set(&scene->token);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(w[i]), ECANCELED);
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

static void rwlock_with_the_token_set_is_acquired_only_if_free(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w;

    plait_cancel_set(&scene->token);
    plait_cancel_bind(&scene->token);
    assert_free(scene);
    w = start_said(stage, write_until_told, scene);
    assert_int_equal(read_lock(scene, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(write_lock(scene, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(read_lock(scene, PLAIT_NOW), ECANCELED);
    assert_int_equal(write_lock(scene, PLAIT_NOW), ECANCELED);
    let_go(scene);
    assert_int_equal(worker_result(w), 0);
    plait_cancel_bind(NULL);
    assert_free(scene);
}

/* ---- Fairness ------------------------------------------------------------------------------ */

static void writer_keeps_new_readers_out_until_it_gives_up(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *readers[READERS], *w;

    assert_int_equal(read_lock(scene, PLAIT_FOREVER), 0);
    w = start_asleep(stage, write_through_bound, scene);
    for (int i = 0; i < READERS; i++)
        readers[i] = start_asleep(stage, read_through, scene);
    assert_int_equal(plait_rwlock_readers(&scene->lock), 1);
    plait_cancel_set(&scene->token);
    assert_int_equal(worker_result(w), ECANCELED);
    for (int i = 0; i < READERS; i++) /* while we read */
        assert_int_equal(worker_result(readers[i]), 0);
    assert_int_equal(release(scene), 0);
    assert_free(scene);
}

/* Two writers in a row: the reader that sleeps already reads between them. */
static void readers_who_wait_get_in_before_the_next_writer(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *readers[READERS], *w;

    assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
    for (int i = 0; i < READERS; i++)
        readers[i] = start_asleep(stage, wait_and_read_until_told, scene);
    w = start_asleep(stage, write_through, scene);
    assert_int_equal(release(scene), 0);
    for (int i = 0; i < READERS; i++)
        assert_true(worker_said(readers[i], 2));
    assert_int_equal(plait_rwlock_readers(&scene->lock), READERS);
    assert_true(__atomic_load_n(&w->phase, __ATOMIC_ACQUIRE) == 1);
    let_go(scene);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(readers[i]), 0);
    assert_int_equal(worker_result(w), 0);
    assert_free(scene);
}

/* The same, when the writer that releases is at once the next to come: the sleeping reader was let in by the release. */
static void readers_who_wait_get_in_before_the_same_writer_again(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int round = 0; round < 20; round++) {
        struct worker *reader;

        assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
        reader = start_asleep(stage, read_through, scene);
        assert_int_equal(release(scene), 0);
        assert_int_equal(write_lock(scene, PLAIT_FOREVER), 0);
        assert_true(__atomic_load_n(&reader->phase, __ATOMIC_ACQUIRE) == 2);
        assert_int_equal(release(scene), 0);
        assert_int_equal(worker_result(reader), 0);
    }
    assert_free(scene);
}

static void flood(struct worker *self, int (*acquire)(struct scene *, plait_time_t))
{
    struct scene *scene = self->with;

    self->result = 0;
    while (self->result == 0 && !__atomic_load_n(&scene->go, __ATOMIC_ACQUIRE)) {
        self->result = acquire(scene, PLAIT_FOREVER);
        __atomic_fetch_add(&scene->turns, 1, __ATOMIC_RELAXED);
        if (self->result == 0)
            self->result = release(scene);
    }
}

static void flood_reading(struct worker *self) { flood(self, read_lock); }
static void flood_writing(struct worker *self) { flood(self, write_lock); }

/* Somebody goes through a hundred times among those who do nothing else. */
static void go_through_a_flood(struct stage *stage, void (*flooder)(struct worker *),
                               int (*acquire)(struct scene *, plait_time_t))
{
    struct scene *scene = scene_of(stage);
    struct worker *w[READERS];

    for (int i = 0; i < READERS; i++)
        assert_non_null(w[i] = worker_start(stage, flooder, scene));
    assert_true(EVENTUALLY(__atomic_load_n(&scene->turns, __ATOMIC_RELAXED) > 100));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(acquire(scene, plait_after(20)), 0);
        assert_int_equal(release(scene), 0);
    }
    let_go(scene);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(worker_result(w[i]), 0);
    assert_free(scene);
}

static void writer_is_not_starved_by_readers(void **state) { go_through_a_flood(*state, flood_reading, write_lock); }
static void reader_is_not_starved_by_writers(void **state) { go_through_a_flood(*state, flood_writing, read_lock); }
static void writer_is_not_starved_by_writers(void **state) { go_through_a_flood(*state, flood_writing, write_lock); }

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

static void dead_reader_lets_a_sleeping_writer_in(void **state)
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

static void reading_thread_that_ends_is_taken_out(void **state)
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

/* More threads than have rows in the library itself, all reading. */
enum { CROWD = 200 };

struct crowd {
    struct scene *scene;
    pthread_barrier_t in;
};

static void *read_in_crowd(void *arg)
{
    struct crowd *crowd = arg;
    int err = read_lock(crowd->scene, PLAIT_FOREVER);

    pthread_barrier_wait(&crowd->in);
    may_go(crowd->scene);
    return (void *)(intptr_t)(err ? err : release(crowd->scene));
}

static void rwlock_is_read_by_hundreds(void **state)
{
    struct crowd crowd = { .scene = scene_of(*state) };
    pthread_t threads[CROWD];
    void *err;

    pthread_barrier_init(&crowd.in, NULL, CROWD + 1);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_in_crowd, &crowd), 0);
    pthread_barrier_wait(&crowd.in);
    assert_int_equal(plait_rwlock_readers(&crowd.scene->lock), CROWD);
    assert_int_equal(write_lock(crowd.scene, PLAIT_NOW), ETIMEDOUT);
    let_go(crowd.scene);
    assert_int_equal(write_lock(crowd.scene, plait_after(20)), 0);
    assert_int_equal(release(crowd.scene), 0);
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(pthread_join(threads[i], &err), 0);
        assert_int_equal((intptr_t)err, 0);
    }
    pthread_barrier_destroy(&crowd.in);
    assert_free(crowd.scene);
}

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
        EVERYWHERE(rwlock_free_is_acquired_and_released),
        EVERYWHERE(rwlock_read_lets_readers_in_and_no_writer),
        EVERYWHERE(rwlock_written_lets_nobody_in),
        EVERYWHERE(rwlock_times_out_never_early),
        EVERYWHERE(rwlock_released_wakes_all_who_sleep),
        EVERYWHERE(rwlock_last_reader_lets_the_writer_in),
        PRIVATE(rwlock_of_zero_bytes_is_private_and_free),
        PRIVATE(rwlock_with_bad_flags_or_place_is_refused),
        PROCESSES(rwlock_in_reused_memory_is_free),
        EVERYWHERE(rwlock_is_released_by_its_holder_only),
        EVERYWHERE(rwlock_reader_reads_again_while_a_writer_waits),
        EVERYWHERE(rwlock_is_not_upgraded),
        EVERYWHERE(rwlock_writer_acquires_nothing_more),
        EVERYWHERE(rwlock_downgraded_is_read),
        EVERYWHERE(rwlock_many_are_read_at_once),
        EVERYWHERE(rwlock_waiters_are_cancelled),
        EVERYWHERE(rwlock_with_the_token_set_is_acquired_only_if_free),
        EVERYWHERE(writer_keeps_new_readers_out_until_it_gives_up),
        EVERYWHERE(readers_who_wait_get_in_before_the_next_writer),
        EVERYWHERE(readers_who_wait_get_in_before_the_same_writer_again),
        EVERYWHERE(writer_is_not_starved_by_readers),
        EVERYWHERE(reader_is_not_starved_by_writers),
        EVERYWHERE(writer_is_not_starved_by_writers),
        SHARED(dead_reader_is_taken_out_silently),
        SHARED(dead_reader_lets_a_sleeping_writer_in),
        SHARED(dead_writer_is_told_to_the_next),
        SHARED(dead_writer_is_told_to_one_of_the_sleepers),
        SHARED(dead_repairer_is_told_again),
        PROCESSES(writer_that_dies_waiting_is_not_told),
        SHARED(rwlock_released_inconsistent_is_not_recoverable),
        PROCESSES(sleepers_killed_leave_nothing_behind),
        PRIVATE(reading_thread_that_ends_is_taken_out),
        PRIVATE(rwlock_held_over_fork_is_released_in_the_child),
        PRIVATE(rwlock_held_over_fork_is_respected_in_the_child),
        PRIVATE(child_does_not_wait_for_readers_that_are_not_there),
        PRIVATE(child_does_not_wait_for_waiters_that_are_not_there),
        SHARED(rwlock_shared_held_over_fork_is_not_the_childs),
        PRIVATE(rwlock_is_freed_by_whoever_writes_next),
        PRIVATE(rwlock_is_read_by_hundreds),
        EVERYWHERE(rwlock_under_stress_is_never_torn),
        PROCESSES(readers_and_writers_may_be_killed_and_the_others_get_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
