/* SPDX-License-Identifier: MIT */
/* What excludes: lock, rlock, with priority inheritance, read-write lock, and conditions with them. */
#include <pthread.h>

#include "fuzz/fuzz.h"

struct locks {
    plait_lock_t lock, heir;
    plait_rlock_t rlock;
    plait_rwlock_t rwlock, read;
    plait_cond_t cond, waited;
};

static struct locks *locks(void)
{
    return at(0);
}

static int make(void)
{
    struct locks *l;

    if (plait_arena_alloc(arena, sizeof *l, (void **)&l))
        return 1;
    remember(0, l);
    if (plait_lock_init(&l->heir, PLAIT_SHARED | PLAIT_PRIO_INHERIT) && plait_lock_init(&l->heir, PLAIT_SHARED))
        return 1;
    return plait_lock_init(&l->lock, PLAIT_SHARED) || plait_rlock_init(&l->rlock, PLAIT_SHARED) ||
           plait_rwlock_init(&l->rwlock, PLAIT_SHARED) || plait_rwlock_init(&l->read, PLAIT_SHARED) ||
           plait_cond_init(&l->cond, PLAIT_SHARED) || plait_cond_init(&l->waited, PLAIT_SHARED) ||
           plait_arena_publish(arena, "locks", l);
}

static void *wait_for_ever(void *unused)
{
    struct locks *l = locks();

    plait_rwlock_acquire_read(&l->read, PLAIT_FOREVER);
    plait_lock_acquire(&l->lock, PLAIT_FOREVER);
    plait_cond_wait(&l->waited, &l->lock, PLAIT_FOREVER);
    return unused;
}

static void spoil(void)
{
    struct locks *l = locks();
    pthread_t thread;

    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, wait_for_ever, NULL);
    plait_sleep(0.05);
    plait_lock_acquire(&l->lock, PLAIT_FOREVER);
    plait_cond_notify(&l->waited, 1);
    plait_lock_acquire(&l->heir, PLAIT_FOREVER);
    plait_rlock_acquire(&l->rlock, PLAIT_FOREVER);
    plait_rlock_acquire(&l->rlock, PLAIT_FOREVER);
    plait_rwlock_acquire_write(&l->rwlock, PLAIT_FOREVER);
    plait_lock_acquire(&l->cond.guard, PLAIT_FOREVER);
}

static void use_lock(plait_lock_t *lock)
{
    struct plait_wait_entry entry = plait_any_lock_acquire(lock);
    int err = CALL(plait_lock_acquire(lock, soon()));

    moment();
    if (err == EOWNERDEAD)
        CALL(plait_lock_consistent(lock));
    if (err == 0 || err == EOWNERDEAD)
        CALL(plait_lock_release(lock));
    err = CALL(plait_wait_any(&entry, 1, NULL, soon()));
    if (err == 0 || err == EOWNERDEAD)
        CALL(plait_lock_release(lock));
    LOOK(plait_lock_is_locked(lock));
}

static void step_lock(void)
{
    use_lock(&locks()->lock);
}

static void step_heir(void)
{
    use_lock(&locks()->heir);
}

static void step_rlock(void)
{
    plait_rlock_t *r = &locks()->rlock;

    for (int i = 0; i < 2; i++) {
        int err = CALL(plait_rlock_acquire(r, soon()));

        if (err == EOWNERDEAD)
            CALL(plait_rlock_consistent(r));
        moment();
    }
    LOOK(plait_rlock_depth(r));
    for (int i = 0; i < 3; i++)
        CALL(plait_rlock_release(r));
    for (int i = 0; i < 10 && plait_rlock_depth(r); i++)
        CALL(plait_rlock_release(r));
}

static void use_rwlock(plait_rwlock_t *rw)
{
    for (int i = 0; i < 2; i++) {
        int err = CALL(plait_rwlock_acquire_read(rw, soon()));

        moment();
        if (err == 0 || err == EOWNERDEAD)
            CALL(plait_rwlock_release(rw));
        err = CALL(plait_rwlock_acquire_write(rw, soon()));
        moment();
        if (err == EOWNERDEAD)
            CALL(plait_rwlock_consistent(rw));
        if (err == 0 && i == 1)
            CALL(plait_rwlock_downgrade(rw));
        if (err == 0 || err == EOWNERDEAD)
            CALL(plait_rwlock_release(rw));
    }
    LOOK(plait_rwlock_readers(rw));
    LOOK(plait_rwlock_is_written(rw));
}

static void step_rwlock(void)
{
    use_rwlock(&locks()->rwlock);
}

static void step_read(void)
{
    struct plait_wait_entry entries[] = { plait_any_rwlock_acquire_read(&locks()->read),
                                          plait_any_rwlock_acquire_write(&locks()->rwlock) };
    size_t first = 0;
    int err;

    use_rwlock(&locks()->read);
    err = CALL(plait_wait_any(entries, 2, &first, soon()));
    if (err == 0 || err == EOWNERDEAD)
        CALL(plait_rwlock_release(entries[first].object));
}

static void use_cond(plait_cond_t *cond, plait_lock_t *lock)
{
    int err = CALL(plait_lock_acquire(lock, soon()));

    if (err == EOWNERDEAD)
        CALL(plait_lock_consistent(lock));
    if (err == 0 || err == EOWNERDEAD) {
        moment();
        CALL(plait_cond_wait(cond, lock, soon()));
        CALL(plait_cond_notify(cond, 1));
        CALL(plait_lock_release(lock));
    }
    moment();
    CALL(plait_cond_notify(cond, 1));
    CALL(plait_cond_notify_all(cond));
}

static void step_cond(void)
{
    use_cond(&locks()->cond, &locks()->lock);
}

static void step_waited(void)
{
    use_cond(&locks()->waited, &locks()->lock);
}

static void step_end(void)
{
    struct locks *l = locks();

    if (choice(4))
        return;
    CALL(plait_lock_fini(&l->lock));
    CALL(plait_rlock_fini(&l->rlock));
    CALL(plait_rwlock_fini(&l->rwlock));
    CALL(plait_rwlock_fini(&l->read));
    CALL(plait_cond_fini(&l->cond));
    CALL(plait_cond_fini(&l->waited));
}

const struct scene lock_scene = { "locks", make, spoil,
                                  { step_lock, step_heir, step_rlock, step_rwlock, step_read, step_cond, step_waited,
                                    step_end } };
