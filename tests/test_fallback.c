/* SPDX-License-Identifier: MIT */
/*
 * Shared objects where the kernel keeps no robust lists: owners are watched by their start time.
 *
 * The program starts itself again behind a filter that refuses the lists from the first instruction on, so that no thread
 * ever has one; the cases inside run there.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>
#define PLAIT_PTHREAD_NO_NAMES
#include <plait/pthread.h>

#include "arena/layout.h"
#include "base/clock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/refuse.h"
#include "support/stage.h"
#include "wait/robust.h"

enum { SLEEPERS = 3, NO_SECCOMP = 77 };

static const char *foreign_name; /* inside: an arena that was made outside, where there are lists; "none": nowhere */

/* What a case's workers share. */
struct scene {
    plait_lock_t lock;
    plait_cond_t cond;
    plait_cancel_t token;
    uint32_t go;
    uint64_t count;
};

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_lock_init(&scene->lock, PLAIT_SHARED), 0);
    assert_int_equal(plait_cond_init(&scene->cond, PLAIT_SHARED), 0);
    assert_int_equal(plait_cancel_init(&scene->token, PLAIT_SHARED), 0);
    return scene;
}

static bool may_go(struct scene *scene)
{
    return EVENTUALLY(__atomic_load_n(&scene->go, __ATOMIC_ACQUIRE));
}

static void let_go(struct scene *scene)
{
    __atomic_store_n(&scene->go, 1, __ATOMIC_RELEASE);
}

static void hold_and_die(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    worker_says(self, 1);
    may_go(scene);
    worker_die(self);
}

static void hold_until_told(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    worker_says(self, 1);
    may_go(scene);
    if (self->result == 0)
        self->result = plait_lock_release(&scene->lock);
}

static void acquire_from_the_dead(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    if (self->result == EOWNERDEAD)
        plait_lock_consistent(&scene->lock);
    plait_lock_release(&scene->lock);
}

static void wait_for_a_notification(struct worker *self)
{
    struct scene *scene = self->with;

    plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    self->result = plait_cond_wait(&scene->cond, &scene->lock, PLAIT_FOREVER);
    if (plait_lock_release(&scene->lock) != 0)
        self->result = -2;
}

static void count_up(struct worker *self)
{
    struct scene *scene = self->with;

    for (int i = 0; i < 5000; i++) {
        if (plait_lock_acquire(&scene->lock, PLAIT_FOREVER) != 0)
            return;
        scene->count++;
        plait_lock_release(&scene->lock);
    }
    self->result = 0;
}

static void add_waiters(struct stage *stage, struct scene *scene, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t before = __atomic_load_n(&scene->cond.arrivals, __ATOMIC_ACQUIRE);

        assert_non_null(worker_start(stage, wait_for_a_notification, scene));
        assert_true(EVENTUALLY(__atomic_load_n(&scene->cond.arrivals, __ATOMIC_ACQUIRE) == before + 1));
    }
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

/* ---- Inside ----------------------------------------------------------------------------- */

static void lists_do_not_work_here(void **state)
{
    assert_false(plait__robust_list_works());
}

static void lock_excludes(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < SLEEPERS; i++)
        assert_non_null(worker_start(stage, count_up, scene));
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_true(scene->count == SLEEPERS * 5000);
}

static void lock_of_a_dead_holder_is_told_to_a_try(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, hold_and_die, scene);

    assert_true(worker_said(w, 1));
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_lock_acquire(&scene->lock, plait_after(0.3)), ETIMEDOUT); /* it lives */
    let_go(scene);
    assert_true(worker_join(w));
    assert_true(EVENTUALLY(!plait_lock_is_locked(&scene->lock)));
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), EOWNERDEAD);
    assert_int_equal(plait_lock_consistent(&scene->lock), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), EDEADLK);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(plait_lock_release(&scene->lock), EPERM);
}

static void lock_of_a_dead_holder_is_told_to_sleepers_within_two_seconds(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, hold_and_die, scene);
    int told = 0;

    assert_true(worker_said(w, 1));
    for (int i = 0; i < SLEEPERS; i++)
        assert_non_null(worker_start(stage, acquire_from_the_dead, scene));
    for (int i = 0; i < SLEEPERS; i++)
        assert_true(worker_sleeps(&stage->workers[1 + i], 1));
    plait_time_t start = plait_now();
    let_go(scene);
    for (int i = 0; i < SLEEPERS; i++)
        told += worker_result(&stage->workers[1 + i]) == EOWNERDEAD;
    assert_int_equal(told, 1);
    assert_true(plait_now() < start + 2 * PLAIT__SECOND);
}

static void acquire_with_a_request_pending(struct worker *self)
{
    struct scene *scene = self->with;

    pthread_cancel(pthread_self());
    self->result = plait_lock_acquire(&scene->lock, plait_after(0.3)); /* longer than the first slice */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
}

/* To see whether the holder lives files are read, which is a cancellation point otherwise. */
static void lock_is_no_cancellation_point(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(worker_result(worker_start(stage, acquire_with_a_request_pending, scene)), ETIMEDOUT);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
}

static void lock_sleepers_killed_leave_nothing_behind(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    for (int i = 0; i < 2 * SLEEPERS; i++)
        assert_non_null(worker_start(stage, acquire_from_the_dead, scene));
    for (int i = 0; i < 2 * SLEEPERS; i++)
        assert_true(worker_sleeps(&stage->workers[i], 1));
    for (int i = 0; i < 2 * SLEEPERS; i += 2)
        worker_kill(&stage->workers[i]);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    for (int i = 1; i < 2 * SLEEPERS; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
}

static void cond_works_and_passes_over_the_dead(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, 2 * SLEEPERS);
    for (int i = 0; i < 2 * SLEEPERS; i += 2)
        worker_kill(&stage->workers[i]);
    assert_int_equal(plait_cond_notify(&scene->cond, SLEEPERS), 0);
    for (int i = 1; i < 2 * SLEEPERS; i += 2)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

static void cond_notifications_of_killed_waiters_pass_on(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    add_waiters(stage, scene, 2);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_cond_notify(&scene->cond, 1), 0);
    worker_kill(&stage->workers[0]);
    plait_time_t start = plait_now();
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(worker_result(&stage->workers[1]), 0);
    assert_true(plait_now() < start + 2 * PLAIT__SECOND);
}

/* A dead waiter's slot has no new owner yet, and its TID is given to another: who lives must not be taken for the dead one. */
static void lock_of_one_who_got_a_dead_ones_tid_is_not_taken_away(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait__arena_header *h = plait__at(&scene->lock, 0 - scene->lock.arena_offset);
    struct worker *heir;
    bool forged = false;

    add_waiters(stage, scene, 1);
    heir = worker_start(stage, hold_until_told, scene);
    assert_true(worker_said(heir, 1));
    worker_kill(&stage->workers[0]);
    for (uint32_t i = 0; i < h->slots_high; i++)
        if (plait__slot_at(h, i)->life.robust[0] == stage->workers[0].tid) {
            plait__slot_at(h, i)->life.robust[0] = heir->tid;
            plait__slot_at(h, i)->start_time = (uint64_t)1 << PLAIT__TID_BITS | heir->tid;
            forged = true;
        }
    assert_true(forged);
    assert_int_equal(plait_lock_acquire(&scene->lock, plait_after(0.25)), ETIMEDOUT);
    let_go(scene);
    assert_int_equal(worker_result(heir), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_int_equal(plait_cond_fini(&scene->cond), 0);
}

static void token_set_by_another_process_ends_a_wait(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, hold_until_told, scene);

    assert_true(worker_said(w, 1));
    plait_cancel_set(&scene->token);
    plait_cancel_bind(&scene->token);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_FOREVER), ECANCELED);
    plait_cancel_bind(NULL);
    let_go(scene);
    assert_int_equal(worker_result(w), 0);
}

static void arena_of_the_other_mode_is_refused(void **state)
{
    plait_arena_t *arena = NULL;

    assert_non_null(foreign_name);
    if (strcmp(foreign_name, "none") == 0)
        skip();
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .name = foreign_name, .open = PLAIT_OPEN }),
                     EBADMSG);
}

struct own {
    struct plait_arena_opts opts;
    uint32_t *go; /* atomic */
};

static int make_when_told(void *arg)
{
    struct own *own = arg;
    plait_arena_t *arena;

    while (!__atomic_load_n(own->go, __ATOMIC_ACQUIRE))
        ;
    return plait_arena_new(&arena, &own->opts) || plait_arena_free(arena);
}

/* Whether who makes it lives is asked while the asker opens it itself. */
static void arena_in_own_memory_is_made_by_one_of_several(void **state)
{
    enum { SIZE = 1 << 20, MAKERS = 4 };
    uint32_t *go = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(go, MAP_FAILED);
    for (int round = 0; round < 30; round++) {
        void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        struct own own = { { .memory = memory, .memory_size = SIZE, .participants = 1000 }, go };
        plait_arena_t *arena;
        pid_t pids[MAKERS];

        assert_ptr_not_equal(memory, MAP_FAILED);
        __atomic_store_n(go, 0, __ATOMIC_RELAXED);
        for (int i = 0; i < MAKERS; i++)
            pids[i] = child_start(make_when_told, &own);
        __atomic_store_n(go, 1, __ATOMIC_RELEASE);
        for (int i = 0; i < MAKERS; i++)
            assert_int_equal(child_end(pids[i]), 0);
        assert_int_equal(plait_arena_new(&arena, &own.opts), 0);
        assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
        assert_int_equal(plait_arena_free(arena), 0);
        munmap(memory, SIZE);
    }
    munmap(go, 4096);
}

static void robust_mutex_of_pthread_names_is_refused(void **state)
{
    plait_pthread_mutexattr_t attr;
    plait_pthread_mutex_t mutex;

    assert_int_equal(plait_pthread_mutexattr_init(&attr), 0);
    assert_int_equal(plait_pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
    assert_int_equal(plait_pthread_mutex_init(&mutex, &attr), ENOTSUP);
    assert_int_equal(plait_pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_STALLED), 0);
    assert_int_equal(plait_pthread_mutex_init(&mutex, &attr), 0);
    assert_int_equal(plait_pthread_mutex_lock(&mutex), 0);
    assert_int_equal(plait_pthread_mutex_unlock(&mutex), 0);
    assert_int_equal(plait_pthread_mutex_destroy(&mutex), 0);
    assert_int_equal(plait_pthread_mutexattr_destroy(&attr), 0);
}

static int run_inside(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_do_not_work_here),
        SHARED(lock_excludes),
        SHARED(lock_is_no_cancellation_point),
        SHARED(lock_of_a_dead_holder_is_told_to_a_try),
        SHARED(lock_of_a_dead_holder_is_told_to_sleepers_within_two_seconds),
        PROCESSES(lock_sleepers_killed_leave_nothing_behind),
        PROCESSES(cond_works_and_passes_over_the_dead),
        PROCESSES(cond_notifications_of_killed_waiters_pass_on),
        PROCESSES(lock_of_one_who_got_a_dead_ones_tid_is_not_taken_away),
        SHARED(token_set_by_another_process_ends_a_wait),
        cmocka_unit_test(arena_of_the_other_mode_is_refused),
        cmocka_unit_test(arena_in_own_memory_is_made_by_one_of_several),
        cmocka_unit_test(robust_mutex_of_pthread_names_is_refused),
    };

    foreign_name = name;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* ---- Outside ---------------------------------------------------------------------------- */

static void exec_without_lists(const char *name)
{
    static const long calls[] = { SYS_set_robust_list, SYS_get_robust_list };

    if (plait__robust_list_works() && refuse_calls(calls, 2, ENOSYS) != 0)
        _exit(NO_SECCOMP);
    exec_self("inside", name);
}

static void shared_objects_work_without_robust_lists(void **state)
{
    plait_arena_t *arena = NULL;
    char name[40];
    int status = -1;

    snprintf(name, sizeof name, "test-fallback-%d", (int)getpid());
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .name = name, .limit = 1u << 20 }), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        exec_without_lists(plait__robust_list_works() ? name : "none");
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(plait_arena_free(arena), 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SECCOMP)
        skip();
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(shared_objects_work_without_robust_lists) };

    if (argc == 3 && strcmp(argv[1], "inside") == 0)
        return run_inside(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
