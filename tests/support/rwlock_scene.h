/* SPDX-License-Identifier: MIT */
/* What the tests of read-write locks share: a scene with one, and workers that use it. */
#ifndef TESTS_SUPPORT_RWLOCK_SCENE_H
#define TESTS_SUPPORT_RWLOCK_SCENE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include <plait.h>

#include "support/cmocka.h"
#include "support/stage.h"

enum { READERS = 4, MANY = 12 };

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

static inline struct scene *scene_of(struct stage *stage)
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

static inline void let_go(struct scene *scene)
{
    __atomic_store_n(&scene->go, 1, __ATOMIC_RELEASE);
}

static inline bool may_go(struct scene *scene)
{
    return EVENTUALLY(__atomic_load_n(&scene->go, __ATOMIC_ACQUIRE));
}

static inline int read_lock(struct scene *scene, plait_time_t deadline)
{
    return plait_rwlock_acquire_read(&scene->lock, deadline);
}

static inline int write_lock(struct scene *scene, plait_time_t deadline)
{
    return plait_rwlock_acquire_write(&scene->lock, deadline);
}

static inline int release(struct scene *scene)
{
    return plait_rwlock_release(&scene->lock);
}

/* ---- Workers ---------------------------------------------------------------------------- */

static inline void go_through(struct worker *self, int (*acquire)(struct scene *, plait_time_t))
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

static inline void read_through(struct worker *self) { go_through(self, read_lock); }
static inline void write_through(struct worker *self) { go_through(self, write_lock); }

static inline void read_through_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    read_through(self);
}

static inline void write_through_bound(struct worker *self)
{
    plait_cancel_bind(&((struct scene *)self->with)->token);
    write_through(self);
}

static inline void hold_until_told(struct worker *self, int (*acquire)(struct scene *, plait_time_t))
{
    struct scene *scene = self->with;

    self->result = acquire(scene, PLAIT_FOREVER);
    worker_says(self, 1);
    may_go(scene);
    if (self->result == 0)
        self->result = release(scene);
}

static inline void wait_and_read_until_told(struct worker *self)
{
    worker_says(self, 1);
    self->result = read_lock(self->with, PLAIT_FOREVER);
    worker_says(self, 2);
    may_go(self->with);
    if (self->result == 0)
        self->result = release(self->with);
}

static inline void read_until_told(struct worker *self) { hold_until_told(self, read_lock); }
static inline void write_until_told(struct worker *self) { hold_until_told(self, write_lock); }

static inline void hold_and_die(struct worker *self, int (*acquire)(struct scene *, plait_time_t))
{
    struct scene *scene = self->with;

    self->result = acquire(scene, PLAIT_FOREVER);
    if (self->result == EOWNERDEAD)
        plait_rwlock_consistent(&scene->lock);
    worker_says(self, 1);
    may_go(scene);
    worker_die(self);
}

static inline void read_and_die(struct worker *self) { hold_and_die(self, read_lock); }
static inline void write_and_die(struct worker *self) { hold_and_die(self, write_lock); }

static inline void try_read(struct worker *self)
{
    self->result = read_lock(self->with, PLAIT_NOW);
    if (self->result == 0)
        self->result = release(self->with);
}

static inline void try_write(struct worker *self)
{
    self->result = write_lock(self->with, PLAIT_NOW);
    if (self->result == 0)
        self->result = release(self->with);
}

static inline void release_only(struct worker *self) { self->result = release(self->with); }
static inline void downgrade_only(struct worker *self) { self->result = plait_rwlock_downgrade(&((struct scene *)self->with)->lock); }
static inline void consistent_only(struct worker *self) { self->result = plait_rwlock_consistent(&((struct scene *)self->with)->lock); }

static inline int run(struct stage *stage, void (*what)(struct worker *), struct scene *scene)
{
    return worker_result(worker_start(stage, what, scene));
}

static inline struct worker *start_said(struct stage *stage, void (*what)(struct worker *), struct scene *scene)
{
    struct worker *w = worker_start(stage, what, scene);

    assert_true(worker_said(w, 1));
    return w;
}

static inline struct worker *start_asleep(struct stage *stage, void (*what)(struct worker *), struct scene *scene)
{
    struct worker *w = worker_start(stage, what, scene);

    assert_true(worker_sleeps(w, 1));
    return w;
}

/* A worker takes the lock and dies with it. */
static inline void lose(struct stage *stage, struct scene *scene, void (*how)(struct worker *))
{
    let_go(scene);
    assert_true(worker_join(start_said(stage, how, scene)));
    __atomic_store_n(&scene->go, 0, __ATOMIC_RELEASE);
}

static inline void assert_free(struct scene *scene)
{
    assert_false(plait_rwlock_is_written(&scene->lock));
    assert_int_equal(plait_rwlock_readers(&scene->lock), 0);
    assert_int_equal(write_lock(scene, PLAIT_NOW), 0);
    assert_int_equal(release(scene), 0);
    assert_int_equal(read_lock(scene, PLAIT_NOW), 0);
    assert_int_equal(release(scene), 0);
    assert_int_equal(plait_rwlock_fini(&scene->lock), 0);
}

#endif
