/* SPDX-License-Identifier: MIT */
/*
 * A stopped process is alive: for two seconds SIGSTOP holds up processes that each have something in their hands, and nobody is given
 * any of it. When they go on, all is as if nothing had been.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { STOPPED_SECONDS = 2, PATIENCE = 20 };

static struct world {
    plait_lock_t lock;
    plait_rlock_t rlock;
    plait_sem_t permit; /* owned, one */
    plait_rwlock_t read, written;
    plait_once_t once;
    plait_barrier_t barrier; /* of two */
    plait_lock_t cond_lock;
    plait_cond_t cond;
    bool waits; /* guarded by cond_lock */
    plait_event_t go_on;
    uint32_t runs;    /* atomic: of the once's function */
    uint32_t done[8]; /* atomic: what each child has done with what it had */
} *world;

/* What the children have in their hands. */
struct kind {
    const char *name;
    int (*hold)(void);                     /* in the child; barrier and cond: until let go */
    int (*end)(void);                      /* in the child */
    bool (*is_held)(void);                 /* does the child have it? */
    int (*attempt)(plait_time_t deadline); /* be given it, and give it back: ETIMEDOUT while it is held */
};

static int hold_lock(void) { return plait_lock_acquire(&world->lock, PLAIT_FOREVER); }
static int end_lock(void) { return plait_lock_release(&world->lock); }
static bool lock_is_held(void) { return plait_lock_is_locked(&world->lock); }

static int attempt_lock(plait_time_t deadline)
{
    int err = plait_lock_acquire(&world->lock, deadline);

    return err ? err : plait_lock_release(&world->lock);
}

static int hold_rlock(void)
{
    int err = plait_rlock_acquire(&world->rlock, PLAIT_FOREVER);

    return err ? err : plait_rlock_acquire(&world->rlock, PLAIT_FOREVER);
}

static int end_rlock(void)
{
    int err = plait_rlock_release(&world->rlock);

    return err ? err : plait_rlock_release(&world->rlock);
}

static bool rlock_is_held(void) { return plait_rlock_is_locked(&world->rlock); }

static int attempt_rlock(plait_time_t deadline)
{
    int err = plait_rlock_acquire(&world->rlock, deadline);

    return err ? err : plait_rlock_release(&world->rlock);
}

static int hold_permit(void) { return plait_sem_acquire(&world->permit, 1, PLAIT_FOREVER); }
static int end_permit(void) { return plait_sem_release(&world->permit, 1); }
static bool permit_is_held(void) { return plait_sem_value(&world->permit) == 0; }

static int attempt_permit(plait_time_t deadline)
{
    int err = plait_sem_acquire(&world->permit, 1, deadline);

    return err ? err : plait_sem_release(&world->permit, 1);
}

static int hold_read(void) { return plait_rwlock_acquire_read(&world->read, PLAIT_FOREVER); }
static int end_read(void) { return plait_rwlock_release(&world->read); }
static bool is_read(void) { return plait_rwlock_readers(&world->read) == 1; }

static int attempt_to_write(plait_time_t deadline)
{
    int err = plait_rwlock_acquire_write(&world->read, deadline);

    return err ? err : plait_rwlock_release(&world->read);
}

static int hold_write(void) { return plait_rwlock_acquire_write(&world->written, PLAIT_FOREVER); }
static int end_write(void) { return plait_rwlock_release(&world->written); }
static bool is_written(void) { return plait_rwlock_is_written(&world->written); }

static int attempt_to_read(plait_time_t deadline)
{
    int err = plait_rwlock_acquire_read(&world->written, deadline);

    return err ? err : plait_rwlock_release(&world->written);
}

static int run_until_let_go(void *unused)
{
    __atomic_fetch_add(&world->runs, 1, __ATOMIC_RELEASE);
    return plait_event_wait(&world->go_on, PLAIT_FOREVER);
}

static int hold_once(void) { return plait_once_run(&world->once, run_until_let_go, NULL, PLAIT_FOREVER); }
static bool once_runs(void) { return __atomic_load_n(&world->runs, __ATOMIC_ACQUIRE) == 1; }

static int attempt_once(plait_time_t deadline)
{
    return plait_once_run(&world->once, run_until_let_go, NULL, deadline);
}

static int hold_place(void) { return plait_barrier_wait(&world->barrier, NULL, PLAIT_FOREVER); }
static bool place_is_held(void) { return plait_barrier_waiting(&world->barrier) == 1; }

/* While the other is stopped its place stays its own; later the two make a round. */
static int attempt_barrier(plait_time_t deadline)
{
    if (plait_event_is_set(&world->go_on))
        return plait_barrier_wait(&world->barrier, NULL, deadline);
    plait_sleep_until(deadline);
    if (plait_barrier_is_broken(&world->barrier))
        return EPIPE;
    return place_is_held() ? ETIMEDOUT : 0;
}

static int nothing(void) { return 0; }

static int hold_notification(void)
{
    int err = plait_lock_acquire(&world->cond_lock, PLAIT_FOREVER);

    if (err)
        return err;
    world->waits = true;
    err = plait_cond_wait(&world->cond, &world->cond_lock, PLAIT_FOREVER);
    return err ? err : plait_lock_release(&world->cond_lock);
}

static bool waits_in_cond(void)
{
    bool waits;

    plait_lock_acquire(&world->cond_lock, PLAIT_FOREVER);
    waits = world->waits;
    plait_lock_release(&world->cond_lock);
    return waits;
}

/* Who comes later does not get the notification of the one who is stopped; nor is there another when that one goes on. */
static int attempt_notification(plait_time_t deadline)
{
    bool is_over = plait_event_is_set(&world->go_on);
    int err = plait_lock_acquire(&world->cond_lock, deadline);

    if (err)
        return err;
    err = plait_cond_wait(&world->cond, &world->cond_lock, is_over ? PLAIT_NOW : deadline);
    plait_lock_release(&world->cond_lock);
    if (is_over)
        return err == ETIMEDOUT ? 0 : EOVERFLOW;
    return err;
}

static const struct kind kinds[] = {
    { "lock", hold_lock, end_lock, lock_is_held, attempt_lock },
    { "rlock, two levels", hold_rlock, end_rlock, rlock_is_held, attempt_rlock },
    { "owned permit", hold_permit, end_permit, permit_is_held, attempt_permit },
    { "rwlock, as a reader", hold_read, end_read, is_read, attempt_to_write },
    { "rwlock, as a writer", hold_write, end_write, is_written, attempt_to_read },
    { "once", hold_once, nothing, once_runs, attempt_once },
    { "barrier, a place", hold_place, nothing, place_is_held, attempt_barrier },
    { "cond, a notification", hold_notification, nothing, waits_in_cond, attempt_notification },
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* One of the children. */
static int hold_on(void *kind)
{
    const struct kind *k = kind;

    if (k->hold() || plait_event_wait(&world->go_on, PLAIT_FOREVER))
        return 1;
    __atomic_fetch_add(&world->done[k - kinds], 1, __ATOMIC_RELEASE);
    return k->end() ? 2 : 0;
}

struct attempt {
    const struct kind *kind;
    plait_time_t deadline;
    pthread_t thread;
    int err;
};

static void *attempt(void *arg)
{
    struct attempt *a = arg;

    a->err = a->kind->attempt(a->deadline);
    return NULL;
}

/* All kinds at one time, each in a thread of its own. */
static void attempt_all(struct attempt *attempts, plait_time_t deadline)
{
    for (int i = 0; i < KINDS; i++) {
        attempts[i] = (struct attempt){ .kind = &kinds[i], .deadline = deadline };
        assert_int_equal(pthread_create(&attempts[i].thread, NULL, attempt, &attempts[i]), 0);
    }
    for (int i = 0; i < KINDS; i++)
        assert_int_equal(pthread_join(attempts[i].thread, NULL), 0);
}

static void make_world(plait_arena_t **arena_out)
{
    void *memory;

    assert_int_equal(plait_arena_new(arena_out, &(struct plait_arena_opts){ .limit = 4u << 20 }), 0);
    assert_int_equal(plait_arena_alloc(*arena_out, sizeof *world, &memory), 0);
    world = memory;
    memset(world, 0, sizeof *world);
    assert_int_equal(plait_lock_init(&world->lock, PLAIT_SHARED), 0);
    assert_int_equal(plait_rlock_init(&world->rlock, PLAIT_SHARED), 0);
    assert_int_equal(plait_sem_init(&world->permit, 1, PLAIT_SHARED | PLAIT_OWNED), 0);
    assert_int_equal(plait_rwlock_init(&world->read, PLAIT_SHARED), 0);
    assert_int_equal(plait_rwlock_init(&world->written, PLAIT_SHARED), 0);
    assert_int_equal(plait_once_init(&world->once, PLAIT_SHARED), 0);
    assert_int_equal(plait_barrier_init(&world->barrier, 2, PLAIT_SHARED), 0);
    assert_int_equal(plait_lock_init(&world->cond_lock, PLAIT_SHARED), 0);
    assert_int_equal(plait_cond_init(&world->cond, PLAIT_SHARED), 0);
    assert_int_equal(plait_event_init(&world->go_on, PLAIT_SHARED), 0);
}

static void stop(pid_t pid)
{
    int status;

    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
}

static void stopped_process_is_robbed_of_nothing(void **state)
{
    struct attempt attempts[KINDS];
    plait_arena_t *arena;
    pid_t pids[KINDS];

    make_world(&arena);
    for (int i = 0; i < KINDS; i++)
        pids[i] = child_start(hold_on, (void *)(uintptr_t)&kinds[i]);
    for (int i = 0; i < KINDS; i++) {
        print_message("%s\n", kinds[i].name);
        assert_true(EVENTUALLY(kinds[i].is_held() && child_state(pids[i]) == 'S')); /* and does nothing more */
        stop(pids[i]);
    }
    assert_int_equal(plait_cond_notify(&world->cond, 1), 0);
    attempt_all(attempts, plait_after(STOPPED_SECONDS));
    for (int i = 0; i < KINDS; i++) {
        print_message("%s\n", kinds[i].name);
        assert_int_equal(attempts[i].err, ETIMEDOUT);
        assert_true(kinds[i].is_held());
        assert_int_equal(world->done[i], 0);
    }

    assert_int_equal(plait_event_set(&world->go_on), 0);
    for (int i = 0; i < KINDS; i++)
        assert_int_equal(kill(pids[i], SIGCONT), 0);
    attempt_all(attempts, plait_after(PATIENCE));
    for (int i = 0; i < KINDS; i++) {
        print_message("%s\n", kinds[i].name);
        assert_int_equal(child_end(pids[i]), 0);
        assert_int_equal(attempts[i].err, 0);
        assert_int_equal(world->done[i], 1);
    }
    assert_int_equal(plait_sem_value(&world->permit), 1);
    assert_int_equal(plait_rwlock_readers(&world->read), 0);
    assert_int_equal(world->runs, 1);
    assert_int_equal(plait_cond_fini(&world->cond), 0);
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_process_is_robbed_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
