/* SPDX-License-Identifier: MIT */
/* Tests of lib/arena: taking part, leaving, closing while others take part. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <plait.h>

#include "arena/arena.h"
#include "arena/member.h"
#include "support/child.h"
#include "support/cmocka.h"

static plait_arena_t *arena;

static int make_of(unsigned participants)
{
    return plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 16 << 20, .participants = participants });
}

static bool is_mapped(void *address)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long long begin, end;
    bool found = false;
    char line[512];

    assert_non_null(maps);
    while (!found && fgets(line, sizeof line, maps))
        found = sscanf(line, "%llx-%llx", &begin, &end) == 2 && (uintptr_t)address >= begin && (uintptr_t)address < end;
    fclose(maps);
    return found;
}

/* A thread that takes part, says so, and stays until it is told to go. */
struct member {
    pthread_t thread;
    plait_sem_t *there, *go; /* private */
    plait_lock_t *lock;      /* held meanwhile; may be NULL */
    int *shared;             /* touched at the end; may be NULL */
    struct plait__slot *slot;
    int err;
};

static void *take_part(void *arg)
{
    struct member *m = arg;

    m->err = plait__member(arena->base, &m->slot);
    if (m->lock && !m->err)
        m->err = plait_lock_acquire(m->lock, PLAIT_FOREVER);
    plait_sem_release(m->there, 1);
    plait_sem_acquire(m->go, 1, PLAIT_FOREVER);
    if (m->shared)
        ++*m->shared;
    if (m->lock && !m->err)
        m->err = plait_lock_release(m->lock);
    return NULL;
}

static void start(struct member *m, plait_sem_t *there, plait_sem_t *go)
{
    m->there = there;
    m->go = go;
    assert_int_equal(pthread_create(&m->thread, NULL, take_part, m), 0);
    plait_sem_acquire(there, 1, PLAIT_FOREVER);
}

static void *use_and_record(void *arg)
{
    int *errs = arg;
    void *memory;

    errs[0] = plait_arena_alloc(arena, 1, &memory);
    errs[1] = plait_arena_publish(arena, "x", (char *)arena->base + 1);
    errs[2] = plait_arena_usage(arena, NULL, NULL, NULL);
    errs[3] = plait_arena_check(arena, NULL, 0);
    return NULL;
}

static void in_a_thread(void *(*body)(void *), void *arg)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, body, arg), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void table_that_is_full_answers_ENOSPC_until_a_thread_ends(void **state)
{
    plait_sem_t there = PLAIT_SEM_INIT(0), go = PLAIT_SEM_INIT(0);
    struct member members[3] = { { 0 } };
    int errs[4];

    assert_int_equal(make_of(3), 0);
    for (int i = 0; i < 3; i++)
        start(&members[i], &there, &go);
    in_a_thread(use_and_record, errs);
    for (int i = 0; i < 4; i++)
        assert_int_equal(errs[i], ENOSPC);
    plait_sem_release(&go, 1);
    plait_sem_release(&go, 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(members[i].thread, NULL), 0);
        assert_int_equal(members[i].err, 0);
    }
    in_a_thread(use_and_record, errs);
    for (int i = 0; i < 4; i++)
        assert_int_equal(errs[i], 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void slots_of_threads_that_ended_are_used_again(void **state)
{
    int errs[4];

    assert_int_equal(make_of(2), 0);
    for (int i = 0; i < 100; i++) {
        in_a_thread(use_and_record, errs);
        assert_int_equal(errs[0], 0);
    }
    assert_int_equal(arena->base->slots_high, 1);
    assert_true(plait__slot_at(arena->base, 0)->generation >= 100);
    assert_int_equal(plait_arena_free(arena), 0);
}

static int join_and_die(void *arg)
{
    struct plait__slot *slot;

    if (plait__member(arena->base, &slot) == 0)
        kill(getpid(), SIGKILL);
    return 1;
}

static int join_and_leave(void *arg)
{
    struct plait__slot *slot;

    return plait__member(arena->base, &slot);
}

static void slots_of_the_killed_are_used_again(void **state)
{
    assert_int_equal(make_of(2), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(child_run(join_and_die, NULL), CHILD_SIGNALLED + SIGKILL);
        assert_true(plait__slot_is_dead(plait__slot_at(arena->base, 0)));
    }
    assert_int_equal(child_run(join_and_leave, NULL), 0);
    assert_int_equal(arena->base->slots_high, 1);
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* Many threads enter an untouched table in the same moment: each gets a slot of its own, which stays its own. */
enum { CROWD = 16, CROWD_ROUNDS = 150 };

struct crowd {
    pthread_barrier_t start, joined;
    struct plait__slot *slots[CROWD];
    int errs[CROWD];
    plait_lock_t *lock;
    int counter; /* guarded by lock */
};

struct face {
    struct crowd *crowd;
    int number;
};

static void *enter_with_the_crowd(void *arg)
{
    struct face *f = arg;
    struct crowd *c = f->crowd;

    pthread_barrier_wait(&c->start);
    c->errs[f->number] = plait__member(arena->base, &c->slots[f->number]);
    pthread_barrier_wait(&c->joined);
    if (plait__robust_owner(&c->slots[f->number]->life) != plait__robust_tid())
        c->errs[f->number] = EOWNERDEAD;
    if (plait_lock_acquire(c->lock, PLAIT_FOREVER) == 0) {
        c->counter++;
        plait_lock_release(c->lock);
    }
    return NULL;
}

static void slots_are_not_shared_by_threads_that_come_together(void **state)
{
    for (int round = 0; round < CROWD_ROUNDS; round++) {
        struct crowd c = { .counter = 0 };
        struct face faces[CROWD];
        pthread_t threads[CROWD];

        pthread_barrier_init(&c.start, NULL, CROWD);
        pthread_barrier_init(&c.joined, NULL, CROWD);
        assert_int_equal(make_of(CROWD + 1), 0);
        assert_int_equal(plait_arena_alloc(arena, sizeof *c.lock, (void **)&c.lock), 0);
        assert_int_equal(plait_lock_init(c.lock, PLAIT_SHARED), 0);
        for (int i = 0; i < CROWD; i++) {
            faces[i] = (struct face){ &c, i };
            assert_int_equal(pthread_create(&threads[i], NULL, enter_with_the_crowd, &faces[i]), 0);
        }
        for (int i = 0; i < CROWD; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (int i = 0; i < CROWD; i++) {
            assert_int_equal(c.errs[i], 0);
            for (int j = 0; j < i; j++)
                assert_ptr_not_equal(c.slots[i], c.slots[j]);
        }
        assert_int_equal(c.counter, CROWD);
        assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
        assert_int_equal(plait_arena_free(arena), 0);
        pthread_barrier_destroy(&c.start);
        pthread_barrier_destroy(&c.joined);
    }
}

/* ---- Closing ---- */

static void free_while_another_thread_takes_part_keeps_the_mapping(void **state)
{
    plait_sem_t there = PLAIT_SEM_INIT(0), go = PLAIT_SEM_INIT(0);
    struct member m = { 0 };
    int *shared;

    assert_int_equal(make_of(4), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof(plait_lock_t), (void **)&m.lock), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *shared, (void **)&shared), 0);
    assert_int_equal(plait_lock_init(m.lock, PLAIT_SHARED), 0);
    m.shared = shared;
    start(&m, &there, &go);
    assert_int_equal(plait_arena_free(arena), 0);
    assert_null(plait_arena_of(shared));
    assert_true(is_mapped(shared));
    plait_sem_release(&go, 1);
    assert_int_equal(pthread_join(m.thread, NULL), 0);
    assert_int_equal(m.err, 0);
    assert_false(is_mapped(shared));
}

static void free_with_a_held_lock_answers_EBUSY(void **state)
{
    plait_lock_t *lock;

    assert_int_equal(make_of(4), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *lock, (void **)&lock), 0);
    assert_int_equal(plait_lock_init(lock, PLAIT_SHARED), 0);
    assert_int_equal(plait_lock_acquire(lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_arena_free(arena), EBUSY);
    assert_ptr_equal(plait_arena_of(lock), arena);
    assert_int_equal(plait_lock_release(lock), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    assert_false(is_mapped(lock));
}

static void *close_it(void *arg)
{
    *(int *)arg = plait_arena_free(arena);
    return NULL;
}

/* The holder's own EBUSY must not have made it a stranger whose lock may be unmapped. */
static int hold_on_while_another_closes(void *arg)
{
    plait_lock_t *lock;
    pthread_t thread;
    int err = -1;

    if (make_of(4) || plait_arena_alloc(arena, sizeof *lock, (void **)&lock) ||
        plait_lock_init(lock, PLAIT_SHARED) || plait_lock_acquire(lock, PLAIT_FOREVER))
        return 1;
    if (plait_arena_free(arena) != EBUSY)
        return 2;
    if (pthread_create(&thread, NULL, close_it, &err) || pthread_join(thread, NULL) || err)
        return 3;
    return plait_lock_release(lock) ? 4 : 0;
}

static void free_by_another_thread_spares_a_held_lock(void **state)
{
    assert_int_equal(child_run(hold_on_while_another_closes, NULL), 0);
}

static void make_robust(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(mutex, &attr);
    pthread_mutexattr_destroy(&attr);
}

/* The life word and locks lie between libc's own robust mutexes in the thread's list. */
static int weave_and_die(void *arg)
{
    pthread_mutex_t *mutexes = arg;
    plait_lock_t *lock;

    for (int i = 0; i < 100; i++) {
        if (pthread_mutex_lock(&mutexes[0]) || make_of(4) ||
            plait_arena_alloc(arena, sizeof *lock, (void **)&lock) || plait_lock_init(lock, PLAIT_SHARED))
            return 1;
        if (pthread_mutex_lock(&mutexes[1]) || plait_lock_acquire(lock, PLAIT_FOREVER) ||
            pthread_mutex_lock(&mutexes[2]))
            return 2;
        if (pthread_mutex_unlock(&mutexes[1]) || plait_lock_release(lock) || plait_arena_free(arena))
            return 3;
        if (pthread_mutex_unlock(&mutexes[0]) || pthread_mutex_unlock(&mutexes[2]))
            return 4;
    }
    if (pthread_mutex_lock(&mutexes[0]) || make_of(4) || plait_arena_usage(arena, NULL, NULL, NULL) ||
        pthread_mutex_lock(&mutexes[1]) || plait_arena_free(arena) || pthread_mutex_lock(&mutexes[2]))
        return 5;
    kill(getpid(), SIGKILL);
    return 6;
}

static void robust_mutexes_of_the_thread_work_after_closing(void **state)
{
    pthread_mutex_t *mutexes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (!plait__robust_list_works()) /* then libc's are not robust */
        skip();
    for (int i = 0; i < 3; i++)
        make_robust(&mutexes[i]);
    assert_int_equal(child_run(weave_and_die, mutexes), CHILD_SIGNALLED + SIGKILL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_mutex_lock(&mutexes[i]), EOWNERDEAD);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_mutex_unlock(&mutexes[i]), 0);
    munmap(mutexes, 4096);
}

struct race {
    pthread_barrier_t start;
    int errs[2];
};

static void *close_together(void *arg)
{
    struct race *r = arg;
    int n = pthread_barrier_wait(&r->start) == PTHREAD_BARRIER_SERIAL_THREAD;

    r->errs[n] = plait_arena_free(arena);
    return NULL;
}

static void handles_are_dropped_by_several_threads_at_once(void **state)
{
    struct race r = { .errs = { 0 } };
    struct plait_arena_opts opts = { .memory_size = 1 << 20, .participants = 16 };
    pthread_t threads[2];
    plait_arena_t *second;

    opts.memory = mmap(NULL, opts.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_barrier_init(&r.start, NULL, 2);
    for (int round = 0; round < 100; round++) {
        assert_int_equal(plait_arena_new(&arena, &opts), 0);
        assert_int_equal(plait_arena_new(&second, &opts), 0);
        assert_ptr_equal(arena, second);
        assert_int_equal(pthread_create(&threads[0], NULL, close_together, &r), 0);
        assert_int_equal(pthread_create(&threads[1], NULL, close_together, &r), 0);
        assert_int_equal(pthread_join(threads[0], NULL), 0);
        assert_int_equal(pthread_join(threads[1], NULL), 0);
        assert_int_equal(r.errs[0], 0);
        assert_int_equal(r.errs[1], 0);
        assert_null(plait_arena_of(opts.memory));
    }
    pthread_barrier_destroy(&r.start);
    munmap(opts.memory, opts.memory_size);
}

/* ---- Fork ---- */

static int use_then_close(void *arg)
{
    plait_lock_t *lock = arg;

    for (int i = 0; i < 100; i++)
        if (plait_lock_acquire(lock, PLAIT_FOREVER) || plait_lock_release(lock))
            return 1;
    return plait_arena_free(arena) || is_mapped(lock) ? 2 : 0;
}

static void child_closes_for_itself_alone(void **state)
{
    plait_lock_t *lock;

    assert_int_equal(make_of(8), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *lock, (void **)&lock), 0);
    assert_int_equal(plait_lock_init(lock, PLAIT_SHARED), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(child_run(use_then_close, lock), 0);
        assert_int_equal(plait_lock_acquire(lock, PLAIT_FOREVER), 0);
        assert_int_equal(plait_lock_release(lock), 0);
    }
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

static int does_not_own(void *arg)
{
    plait_lock_t *lock = arg;

    if (plait_lock_release(lock) != EPERM)
        return 1;
    if (plait_lock_acquire(lock, PLAIT_NOW) != ETIMEDOUT)
        return 2;
    return plait_arena_free(arena) ? 3 : 0;
}

static void child_owns_none_of_its_parents_locks(void **state)
{
    plait_lock_t *lock;

    assert_int_equal(make_of(8), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *lock, (void **)&lock), 0);
    assert_int_equal(plait_lock_init(lock, PLAIT_SHARED), 0);
    assert_int_equal(plait_lock_acquire(lock, PLAIT_FOREVER), 0);
    assert_int_equal(child_run(does_not_own, lock), 0);
    assert_int_equal(plait_lock_release(lock), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* A closed arena that lives on for another thread's sake is nothing to the child, which has no such thread. */
static int has_it_no_more(void *arg)
{
    return is_mapped(arg) ? 1 : 0;
}

static void child_does_not_inherit_what_is_closed(void **state)
{
    plait_sem_t there = PLAIT_SEM_INIT(0), go = PLAIT_SEM_INIT(0);
    struct member m = { 0 };
    void *memory;

    assert_int_equal(make_of(4), 0);
    assert_int_equal(plait_arena_alloc(arena, 1, &memory), 0);
    start(&m, &there, &go);
    assert_int_equal(plait_arena_free(arena), 0);
    assert_int_equal(child_run(has_it_no_more, memory), 0);
    plait_sem_release(&go, 1);
    assert_int_equal(pthread_join(m.thread, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_that_is_full_answers_ENOSPC_until_a_thread_ends),
        cmocka_unit_test(slots_of_threads_that_ended_are_used_again),
        cmocka_unit_test(slots_of_the_killed_are_used_again),
        cmocka_unit_test(slots_are_not_shared_by_threads_that_come_together),
        cmocka_unit_test(free_while_another_thread_takes_part_keeps_the_mapping),
        cmocka_unit_test(free_with_a_held_lock_answers_EBUSY),
        cmocka_unit_test(free_by_another_thread_spares_a_held_lock),
        cmocka_unit_test(robust_mutexes_of_the_thread_work_after_closing),
        cmocka_unit_test(handles_are_dropped_by_several_threads_at_once),
        cmocka_unit_test(child_closes_for_itself_alone),
        cmocka_unit_test(child_owns_none_of_its_parents_locks),
        cmocka_unit_test(child_does_not_inherit_what_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
