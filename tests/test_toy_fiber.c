/* SPDX-License-Identifier: MIT */
/* The nouns of the ground waited for in fibers, woken from everywhere; the fibers are a toy. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"
#include "support/toy_fiber.h"
#include "wait/parked.h"
#include "wait/robust.h"

enum { FIBERS = 5, CROWD_SIZE = 150, STRESS_FIBERS = 40, STRESS_WAKERS = 2 };

/* What fibers can wait for, and what ends the wait. */
enum noun { WORD, LOCK, SEM, EVENT, LATCH, GROUP, ANY, CROWD, COND, NOUNS };
enum waker { THREAD, HANDLER, CANCEL, PARENT, EXPIRY, DEADLINE, FIBER, WAKERS };

struct scene {
    enum noun noun;
    enum waker waker;
    struct toy *toy;
    uint32_t word;
    plait_lock_t lock;
    plait_sem_t sem;
    plait_event_t event, never;
    plait_latch_t latch;
    plait_wait_group_t group;
    plait_lock_t cond_lock;
    plait_cond_t cond;
    plait_cancel_t token;
};

/* A permit among others; with a crowd, among more than the kernel or a hook takes. */
static int wait_for_any(struct scene *s, size_t count, plait_time_t deadline)
{
    struct plait_wait_entry entries[CROWD_SIZE];
    size_t which = 777;
    int err;

    for (size_t i = 0; i < count; i++)
        entries[i] = i % 3 ? plait_any_event_wait(&s->never) : plait_any_lock_acquire(&s->lock);
    entries[count - 1] = plait_any_sem_acquire(&s->sem, 1);
    err = plait_wait_any(entries, count, &which, deadline);
    return which == (err ? count : count - 1) ? err : -7;
}

static int wait_for_noun(struct scene *s, plait_time_t deadline)
{
    int err = 0;

    switch (s->noun) {
    case WORD:
        while (err == 0 && __atomic_load_n(&s->word, __ATOMIC_ACQUIRE) == 0)
            err = plait_wait(&s->word, 0, 0, deadline);
        return err;
    case LOCK:
        err = plait_lock_acquire(&s->lock, deadline);
        return err ? err : plait_lock_release(&s->lock);
    case SEM:
        return plait_sem_acquire(&s->sem, 1, deadline);
    case EVENT:
        return plait_event_wait(&s->event, deadline);
    case LATCH:
        return plait_latch_wait(&s->latch, deadline);
    case GROUP:
        return plait_wait_group_wait(&s->group, deadline);
    case ANY:
        return wait_for_any(s, 3, deadline);
    case CROWD:
        return wait_for_any(s, CROWD_SIZE, deadline);
    default:
        if (plait_lock_acquire(&s->cond_lock, PLAIT_FOREVER) != 0)
            return -3;
        err = plait_cond_wait(&s->cond, &s->cond_lock, deadline);
        return plait_lock_release(&s->cond_lock) ? -4 : err;
    }
}

/* Let all fibers go on. All but the lock's and the condition's part may be done in a signal handler. */
static void wake_noun(struct scene *s)
{
    switch (s->noun) {
    case WORD:
        __atomic_store_n(&s->word, 1, __ATOMIC_RELEASE);
        plait_wake(&s->word, UINT_MAX, 0);
        break;
    case LOCK:
        plait_lock_release(&s->lock);
        break;
    case SEM:
    case ANY:
    case CROWD:
        plait_sem_release(&s->sem, FIBERS);
        break;
    case EVENT:
        plait_event_set(&s->event);
        break;
    case LATCH:
        plait_latch_count_down(&s->latch, 1);
        break;
    case GROUP:
        plait_wait_group_done(&s->group);
        break;
    default:
        plait_cond_notify_all(&s->cond);
    }
}

static void wait_in_fiber(struct toy_fiber *self)
{
    struct scene *s = self->with;
    plait_time_t time = plait_after(0.02);
    plait_time_t deadline = s->waker == DEADLINE ? time : PLAIT_FOREVER;
    plait_cancel_t own, *token = s->waker == CANCEL ? &s->token : s->waker == PARENT || s->waker == EXPIRY ? &own : NULL;

    plait_cancel_init_child(&own, &s->token, 0);
    if (s->waker == EXPIRY)
        plait_cancel_set_deadline(&own, time);
    plait_cancel_bind(token);
    self->result = wait_for_noun(s, deadline);
    if ((s->waker == DEADLINE || s->waker == EXPIRY) && plait_now() < time)
        self->result = -5;
    if (plait_cancel_current() != token)
        self->result = -6;
}

static struct scene *handler_scene;

/*
 * The alarm comes each millisecond until the handler has run: ThreadSanitizer keeps a signal back until the thread is in
 * a call that it knows, and a futex is none; one that comes just before the thread falls asleep would stay there.
 */
static void wake_in_handler(int number)
{
    struct scene *s = handler_scene;

    setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 0 } }, NULL);
    handler_scene = NULL;
    if (s)
        wake_noun(s);
}

static void wake_in_fiber(struct toy_fiber *self)
{
    struct scene *s = self->with;

    for (int i = 0; toy_parked(s->toy) < FIBERS && i < 1000; i++)
        toy_yield(self);
    if (s->waker == HANDLER) {
        handler_scene = s;
        setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 1000 }, { 0, 1000 } }, NULL);
    } else {
        wake_noun(s);
    }
    self->result = 0;
}

static void *wake_in_thread(void *arg)
{
    struct scene *s = arg;

    EVENTUALLY(toy_parked(s->toy) == FIBERS);
    if (s->waker == CANCEL || s->waker == PARENT)
        plait_cancel_set(&s->token);
    else
        wake_noun(s);
    return NULL;
}

static int expected(enum waker waker)
{
    return waker >= CANCEL && waker <= EXPIRY ? ECANCELED : waker == DEADLINE ? ETIMEDOUT : 0;
}

static void try_one(enum noun noun, enum waker waker)
{
    struct scene s = { .noun = noun, .waker = waker, .toy = toy_new() };
    struct toy_fiber *fibers[FIBERS];
    bool by_thread = waker == THREAD || waker == CANCEL || waker == PARENT;
    pthread_t thread;

    assert_non_null(s.toy);
    assert_int_equal(plait_lock_acquire(&s.lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_latch_init(&s.latch, 1, 0), 0);
    assert_int_equal(plait_wait_group_add(&s.group, 1), 0);
    for (int i = 0; i < FIBERS; i++)
        assert_non_null(fibers[i] = toy_spawn(s.toy, wait_in_fiber, &s, 0));
    if (waker == FIBER || waker == HANDLER)
        assert_non_null(toy_spawn(s.toy, wake_in_fiber, &s, 0));
    if (by_thread)
        assert_int_equal(pthread_create(&thread, NULL, wake_in_thread, &s), 0);
    toy_run(s.toy);
    if (by_thread)
        pthread_join(thread, NULL);
    for (int i = 0; i < FIBERS; i++)
        assert_int_equal(fibers[i]->result, expected(waker));
    assert_int_equal(plait__parked_total, 0);
    assert_null(plait_cancel_current());
    toy_free(s.toy);
}

static void try_all_nouns(enum waker waker)
{
    signal(SIGALRM, wake_in_handler);
    for (int i = 0; i < 20; i++)
        for (unsigned noun = 0; noun < NOUNS; noun++)
            if (waker != HANDLER || noun < COND) /* notify takes a lock */
                try_one((enum noun)noun, waker);
}

static void fiber_is_woken_by_a_thread(void **state) { try_all_nouns(THREAD); }
static void fiber_is_woken_by_a_signal_handler(void **state) { try_all_nouns(HANDLER); }
static void fiber_is_woken_by_another_fiber(void **state) { try_all_nouns(FIBER); }
static void fiber_is_cancelled(void **state) { try_all_nouns(CANCEL); }
static void fiber_is_cancelled_by_its_tokens_parent(void **state) { try_all_nouns(PARENT); }
static void fiber_is_cancelled_by_its_tokens_deadline(void **state) { try_all_nouns(EXPIRY); }

static void fiber_times_out_never_early(void **state)
{
    for (unsigned noun = 0; noun < NOUNS; noun++)
        try_one((enum noun)noun, DEADLINE);
}

/* ---- Shared objects in fibers ----------------------------------------------------------- */

struct two_locks {
    plait_lock_t lock[3];
    plait_sem_t sem;
};

/* Waits for a lock that another thread holds, while a sibling does the same with another lock. */
static void wait_for_a_shared_lock(struct toy_fiber *self)
{
    struct two_locks *two = self->with;

    self->result = plait_lock_acquire(&two->lock[self->number], PLAIT_FOREVER);
    plait_sem_release(&two->sem, 1);
}

static void *release_both(void *arg)
{
    struct two_locks *two = arg;

    for (int i = 0; i < 2; i++)
        plait_lock_acquire(&two->lock[i], PLAIT_FOREVER);
    plait_sem_release(&two->sem, 1);
    plait_lock_acquire(&two->lock[2], PLAIT_FOREVER);
    for (int i = 0; i < 2; i++)
        plait_lock_release(&two->lock[i]);
    plait_lock_release(&two->lock[2]);
    return NULL;
}

static void *run_toy(void *arg)
{
    toy_run(arg);
    return NULL; /* what its fibers hold, the thread dies with */
}

/* What stays announced to the kernel when all fibers are through; nothing may. */
static void *run_toy_and_look(void *arg)
{
    struct { void *first; long offset; void *pending; } *head = NULL;
    size_t size = 0;

    toy_run(arg);
    if (!plait__robust_list_works())
        return NULL;
    return syscall(SYS_get_robust_list, 0, &head, &size) == 0 && head ? head->pending : arg;
}

/* By when the death of a thread that was joined is known: without lists it may be seen for another moment. */
static plait_time_t once_joined(void)
{
    return plait__robust_list_works() ? PLAIT_NOW : plait_after(10);
}

static void fibers_locks_are_watched_though_their_waits_do_not_nest(void **state)
{
    struct two_locks *two;
    struct toy *toy = toy_new();
    plait_arena_t *arena;
    pthread_t holder, runner;
    void *pending = NULL;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *two, (void **)&two), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_lock_init(&two->lock[i], PLAIT_SHARED), 0);
    assert_int_equal(plait_sem_init(&two->sem, 0, PLAIT_SHARED), 0);
    assert_int_equal(plait_lock_acquire(&two->lock[2], PLAIT_FOREVER), 0);
    for (int i = 0; i < 2; i++)
        assert_non_null(toy_spawn(toy, wait_for_a_shared_lock, two, 0));
    assert_int_equal(pthread_create(&holder, NULL, release_both, two), 0);
    assert_int_equal(plait_sem_acquire(&two->sem, 1, plait_after(10)), 0);
    assert_int_equal(pthread_create(&runner, NULL, run_toy_and_look, toy), 0);
    assert_true(EVENTUALLY(toy_parked(toy) == 2));
    assert_int_equal(plait_lock_release(&two->lock[2]), 0);
    pthread_join(holder, NULL);
    pthread_join(runner, &pending);
    assert_null(pending);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(plait_lock_acquire(&two->lock[i], once_joined()), EOWNERDEAD);
        assert_int_equal(plait_lock_consistent(&two->lock[i]), 0);
        assert_int_equal(plait_lock_release(&two->lock[i]), 0);
    }
    toy_free(toy);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* Fibers of one thread, in two shared conditions: more than a slot has holds in its first row. */
struct two_conds {
    plait_lock_t lock;
    plait_cond_t cond[2];
    struct toy *toy;
    uint32_t ended[2]; /* guarded by lock */
};

enum { COND_FIBERS = 8 };

static void wait_in_one_of_two(struct toy_fiber *self)
{
    struct two_conds *two = self->with;
    unsigned which = self->number % 2;

    self->result = plait_lock_acquire(&two->lock, PLAIT_FOREVER);
    if (self->result == 0)
        self->result = plait_cond_wait(&two->cond[which], &two->lock, plait_after(20));
    two->ended[which]++;
    if (plait_lock_release(&two->lock))
        self->result = -1;
}

static void notify_in_turn(struct toy_fiber *self)
{
    struct two_conds *two = self->with;

    self->result = 0;
    while (toy_parked(two->toy) < COND_FIBERS)
        toy_yield(self);
    for (uint32_t i = 0; i < COND_FIBERS; i++) {
        plait_cond_notify(&two->cond[i % 2], 1);
        for (plait_time_t end = plait_after(10); two->ended[i % 2] <= i / 2 && plait_now() < end;)
            toy_yield(self);
        self->result |= two->ended[i % 2] != i / 2 + 1 || two->ended[1 - i % 2] != (i + 1) / 2;
    }
}

static void fibers_of_one_thread_wait_in_several_shared_conditions(void **state)
{
    struct two_conds *two;
    struct toy *toy = toy_new();
    struct toy_fiber *fibers[COND_FIBERS + 1];
    plait_arena_t *arena;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *two, (void **)&two), 0);
    two->toy = toy;
    assert_int_equal(plait_lock_init(&two->lock, PLAIT_SHARED), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_cond_init(&two->cond[i], PLAIT_SHARED), 0);
    for (int i = 0; i <= COND_FIBERS; i++)
        assert_non_null(fibers[i] = toy_spawn(toy, i < COND_FIBERS ? wait_in_one_of_two : notify_in_turn, two, 0));
    toy_run(toy);
    for (int i = 0; i <= COND_FIBERS; i++)
        assert_int_equal(fibers[i]->result, 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plait_cond_fini(&two->cond[i]), 0);
    toy_free(toy);
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* Fibers of one thread share its TID, and are strangers to each other's locks all the same. */
struct owners {
    plait_lock_t lock;
    uint32_t step; /* how far they are */
    int again, released_by_other, declared_by_other, tried_by_other, got_by_other;
};

static void hold_among_fibers(struct toy_fiber *self)
{
    struct owners *o = self->with;

    self->result = plait_lock_acquire(&o->lock, PLAIT_FOREVER);
    o->again = plait_lock_acquire(&o->lock, PLAIT_FOREVER);
    o->step = 1;
    while (o->step == 1)
        toy_yield(self);
    for (int i = 0; i < 5; i++)
        toy_yield(self); /* the other waits meanwhile */
    if (plait_lock_release(&o->lock) != 0)
        self->result = -2;
}

static void meddle_among_fibers(struct toy_fiber *self)
{
    struct owners *o = self->with;

    while (o->step == 0)
        toy_yield(self);
    o->released_by_other = plait_lock_release(&o->lock);
    o->declared_by_other = plait_lock_consistent(&o->lock);
    o->tried_by_other = plait_lock_acquire(&o->lock, PLAIT_NOW);
    o->step = 2;
    self->result = plait_lock_acquire(&o->lock, PLAIT_FOREVER);
    o->got_by_other = plait_lock_release(&o->lock);
}

static void fibers_of_one_thread_are_strangers_to_its_shared_locks(void **state)
{
    struct toy *toy = toy_new();
    struct toy_fiber *holder, *other;
    plait_arena_t *arena;
    struct owners *o;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *o, (void **)&o), 0);
    assert_int_equal(plait_lock_init(&o->lock, PLAIT_SHARED), 0);
    assert_non_null(holder = toy_spawn(toy, hold_among_fibers, o, 0));
    assert_non_null(other = toy_spawn(toy, meddle_among_fibers, o, 0));
    toy_run(toy);
    assert_int_equal(holder->result, 0);
    assert_int_equal(o->again, EDEADLK);
    assert_int_equal(o->released_by_other, EPERM);
    assert_int_equal(o->declared_by_other, EPERM);
    assert_int_equal(o->tried_by_other, ETIMEDOUT);
    assert_int_equal(other->result, 0);
    assert_int_equal(o->got_by_other, 0);
    assert_int_equal(plait_lock_acquire(&o->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_lock_release(&o->lock), 0);
    toy_free(toy);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* One with priority inheritance belongs to the thread, and tells its fibers at once. */
static void hold_with_priority(struct toy_fiber *self)
{
    struct owners *o = self->with;

    self->result = plait_lock_acquire(&o->lock, PLAIT_FOREVER);
    o->step = 1;
    while (o->step == 1)
        toy_yield(self);
    self->result |= plait_lock_release(&o->lock);
}

static void ask_for_it(struct toy_fiber *self)
{
    struct owners *o = self->with;

    while (o->step == 0)
        toy_yield(self);
    o->tried_by_other = plait_lock_acquire(&o->lock, PLAIT_NOW);
    self->result = plait_lock_acquire(&o->lock, PLAIT_FOREVER);
    o->step = 2;
}

static void fibers_of_one_thread_share_its_locks_with_priority_inheritance(void **state)
{
    struct toy *toy = toy_new();
    struct owners o = { .step = 0 };
    struct toy_fiber *holder, *other;
    int err = plait_lock_init(&o.lock, PLAIT_PRIO_INHERIT);

    if (err == ENOSYS) {
        toy_free(toy);
        skip();
    }
    assert_int_equal(err, 0);
    assert_non_null(holder = toy_spawn(toy, hold_with_priority, &o, 0));
    assert_non_null(other = toy_spawn(toy, ask_for_it, &o, 0));
    toy_run(toy);
    assert_int_equal(o.tried_by_other, EDEADLK);
    assert_int_equal(other->result, EDEADLK);
    assert_int_equal(holder->result, 0);
    assert_int_equal(plait_lock_fini(&o.lock), 0);
    toy_free(toy);
}

/* The same with rlocks, private and shared, which know their levels; and a condition that gives up all of them. */
struct rowners {
    plait_rlock_t rlock;
    plait_cond_t cond;
    uint32_t step; /* how far they are */
    int released_by_other, tried_by_other, depth_after;
    unsigned depth_of_other;
};

static void hold_rlock_among_fibers(struct toy_fiber *self)
{
    struct rowners *o = self->with;

    self->result = 0;
    for (int i = 0; i < 2; i++)
        self->result |= plait_rlock_acquire(&o->rlock, PLAIT_FOREVER);
    o->step = 1;
    while (o->step == 1)
        toy_yield(self);
    self->result |= plait_cond_wait(&o->cond, &o->rlock.lock, PLAIT_FOREVER);
    o->depth_after = (int)plait_rlock_depth(&o->rlock);
    for (int i = 0; i < 2; i++)
        self->result |= plait_rlock_release(&o->rlock);
}

static void meddle_with_rlock_among_fibers(struct toy_fiber *self)
{
    struct rowners *o = self->with;

    while (o->step == 0)
        toy_yield(self);
    o->released_by_other = plait_rlock_release(&o->rlock);
    o->depth_of_other = plait_rlock_depth(&o->rlock);
    o->tried_by_other = plait_rlock_acquire(&o->rlock, PLAIT_NOW);
    o->step = 2;
    self->result = plait_rlock_acquire(&o->rlock, PLAIT_FOREVER); /* until the other waits for the condition */
    self->result |= plait_cond_notify_all(&o->cond);
    for (int i = 0; i < 3; i++)
        toy_yield(self);
    self->result |= plait_rlock_release(&o->rlock);
}

static void try_rlock_among_fibers(struct rowners *o, unsigned flags)
{
    struct toy *toy = toy_new();
    struct toy_fiber *holder, *other;

    assert_int_equal(plait_rlock_init(&o->rlock, flags), 0);
    assert_int_equal(plait_cond_init(&o->cond, 0), 0);
    assert_non_null(holder = toy_spawn(toy, hold_rlock_among_fibers, o, 0));
    assert_non_null(other = toy_spawn(toy, meddle_with_rlock_among_fibers, o, 0));
    toy_run(toy);
    assert_int_equal(holder->result, 0);
    assert_int_equal(other->result, 0);
    assert_int_equal(o->released_by_other, EPERM);
    assert_int_equal(o->depth_of_other, 0);
    assert_int_equal(o->tried_by_other, ETIMEDOUT);
    assert_int_equal(o->depth_after, 2);
    assert_false(plait_rlock_is_locked(&o->rlock));
    toy_free(toy);
}

static void fibers_of_one_thread_are_strangers_to_its_rlocks(void **state)
{
    static struct rowners private;
    plait_arena_t *arena;
    struct rowners *shared;

    try_rlock_among_fibers(&private, 0);
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *shared, (void **)&shared), 0);
    try_rlock_among_fibers(shared, PLAIT_SHARED);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* The same with read-write locks: a hold is the fiber's; who waits, also among others, lets the holder run. */
struct rwowners {
    plait_rwlock_t rwlock;
    plait_event_t never;
    uint32_t step; /* how far they are */
    bool writes;
    int again, released_by_other, downgraded_by_other, tried_by_other;
};

static void hold_rwlock_among_fibers(struct toy_fiber *self)
{
    struct rwowners *o = self->with;

    self->result = (o->writes ? plait_rwlock_acquire_write : plait_rwlock_acquire_read)(&o->rwlock, PLAIT_FOREVER);
    o->step = 1;
    while (o->step < 3)
        toy_yield(self);
    for (int i = 0; i < 5; i++) /* those who wait are parked by now */
        toy_yield(self);
    o->again = (o->writes ? plait_rwlock_acquire_write : plait_rwlock_acquire_read)(&o->rwlock, PLAIT_FOREVER);
    if (o->again == 0)
        self->result |= plait_rwlock_release(&o->rwlock);
    self->result |= plait_rwlock_release(&o->rwlock);
}

static void meddle_with_rwlock_among_fibers(struct toy_fiber *self)
{
    struct rwowners *o = self->with;

    while (o->step == 0)
        toy_yield(self);
    o->released_by_other = plait_rwlock_release(&o->rwlock);
    o->downgraded_by_other = plait_rwlock_downgrade(&o->rwlock);
    o->tried_by_other = plait_rwlock_acquire_write(&o->rwlock, PLAIT_NOW);
    o->step = 2;
    self->result = plait_rwlock_acquire_write(&o->rwlock, PLAIT_FOREVER);
    self->result |= plait_rwlock_release(&o->rwlock);
}

static void use_rwlock_among_others(struct toy_fiber *self)
{
    struct rwowners *o = self->with;
    struct plait_wait_entry entries[] = { plait_any_event_wait(&o->never), plait_any_rwlock_acquire_write(&o->rwlock) };
    size_t which = 0;

    if (self->number % 2)
        entries[1] = plait_any_rwlock_acquire_read(&o->rwlock);
    while (o->step < 2)
        toy_yield(self);
    o->step = 3;
    self->result = plait_wait_any(entries, 2, &which, PLAIT_FOREVER);
    toy_yield(self);
    self->result |= which != 1 || plait_rwlock_is_written(&o->rwlock) != (self->number % 2 == 0);
    self->result |= plait_rwlock_release(&o->rwlock);
}

static void try_rwlock_among_fibers(struct rwowners *o, unsigned flags)
{
    for (int writes = 0; writes < 2; writes++) {
        struct toy *toy = toy_new();
        struct toy_fiber *fibers[6];

        *o = (struct rwowners){ .writes = writes };
        assert_int_equal(plait_rwlock_init(&o->rwlock, flags), 0);
        assert_int_equal(plait_event_init(&o->never, flags), 0);
        for (int i = 0; i < 6; i++) {
            fibers[i] = toy_spawn(toy, i == 0 ? hold_rwlock_among_fibers : i == 1 ? meddle_with_rwlock_among_fibers : use_rwlock_among_others, o, 0);
            assert_non_null(fibers[i]);
        }
        toy_run(toy);
        for (int i = 0; i < 6; i++)
            assert_int_equal(fibers[i]->result, 0);
        assert_int_equal(o->again, writes ? EDEADLK : 0);
        assert_int_equal(o->released_by_other, EPERM);
        assert_int_equal(o->downgraded_by_other, EPERM);
        assert_int_equal(o->tried_by_other, ETIMEDOUT);
        assert_int_equal(plait_rwlock_fini(&o->rwlock), 0);
        toy_free(toy);
    }
}

static void fibers_of_one_thread_are_strangers_to_its_rwlocks(void **state)
{
    static struct rwowners private;
    plait_arena_t *arena;
    struct rwowners *shared;

    try_rwlock_among_fibers(&private, 0);
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *shared, (void **)&shared), 0);
    try_rwlock_among_fibers(shared, PLAIT_SHARED);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* Many fibers of one thread in the queue of one shared condition. */
struct shared_crowd {
    plait_lock_t lock;
    plait_cond_t cond;
    uint32_t waiting; /* guarded by lock */
};

static void wait_for_shared_cond(struct toy_fiber *self)
{
    struct shared_crowd *c = self->with;

    self->result = plait_lock_acquire(&c->lock, PLAIT_FOREVER);
    c->waiting++;
    self->result |= plait_cond_wait(&c->cond, &c->lock, self->number % 2 ? PLAIT_FOREVER : plait_after(0.005));
    c->waiting--;
    if (plait_lock_release(&c->lock) != 0)
        self->result = -2;
}

/* All have come, and so many of them are still there. */
static bool still_wait(struct shared_crowd *c, uint32_t count)
{
    bool so = false;

    if (plait_lock_acquire(&c->lock, PLAIT_FOREVER) == 0) {
        so = c->waiting == count && c->cond.arrivals == 2 * FIBERS;
        plait_lock_release(&c->lock);
    }
    return so;
}

static void fibers_of_one_thread_wait_for_a_shared_condition(void **state)
{
    struct toy *toy = toy_new();
    struct toy_fiber *fibers[2 * FIBERS];
    struct shared_crowd *c;
    plait_arena_t *arena;
    pthread_t thread;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *c, (void **)&c), 0);
    assert_int_equal(plait_lock_init(&c->lock, PLAIT_SHARED), 0);
    assert_int_equal(plait_cond_init(&c->cond, PLAIT_SHARED), 0);
    for (int i = 0; i < 2 * FIBERS; i++)
        assert_non_null(fibers[i] = toy_spawn(toy, wait_for_shared_cond, c, 0));
    assert_int_equal(pthread_create(&thread, NULL, run_toy, toy), 0);
    assert_true(EVENTUALLY(still_wait(c, FIBERS))); /* every other one has no time */
    assert_int_equal(plait_cond_notify(&c->cond, 2), 0);
    assert_true(EVENTUALLY(still_wait(c, FIBERS - 2)));
    assert_int_equal(plait_cond_notify_all(&c->cond), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 2 * FIBERS; i++)
        assert_int_equal(fibers[i]->result, i % 2 ? 0 : ETIMEDOUT);
    assert_int_equal(plait_cond_fini(&c->cond), 0);
    toy_free(toy);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void acquire_and_end(struct toy_fiber *self)
{
    self->result = plait_lock_acquire(self->with, PLAIT_FOREVER);
}

/* The thread itself waits without a hook: the fiber that holds the lock will never run again. */
static void *run_toy_then_acquire(void *lock)
{
    struct toy *toy = toy_new();
    intptr_t err = -1;

    if (toy && toy_spawn(toy, acquire_and_end, lock, 0)) {
        toy_run(toy);
        err = plait_lock_acquire(lock, PLAIT_FOREVER);
        if (plait_lock_release(lock) != EPERM)
            err = -2;
        toy_free(toy);
    }
    return (void *)err;
}

static void lock_of_a_fiber_that_cannot_run_is_a_deadlock(void **state)
{
    plait_arena_t *arena;
    plait_lock_t *lock;
    pthread_t thread;
    void *answer;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *lock, (void **)&lock), 0);
    assert_int_equal(plait_lock_init(lock, PLAIT_SHARED), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_toy_then_acquire, lock), 0);
    pthread_join(thread, &answer);
    assert_int_equal((intptr_t)answer, EDEADLK);
    assert_int_equal(plait_lock_acquire(lock, once_joined()), EOWNERDEAD); /* the next is no fiber */
    assert_int_equal(plait_lock_consistent(lock), 0);
    assert_int_equal(plait_lock_release(lock), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* ---- Stress ----------------------------------------------------------------------------- */

/*
 * Fibers of two threads and two plain threads take permits, locks and turns from each other, with deadlines and tokens
 * among them. Every permit is given back, so if no wake is lost, all come to their end.
 */
struct stress {
    plait_lock_t lock;
    plait_sem_t sem;
    plait_cond_t cond;
    plait_event_t event;
    plait_time_t end;
    uint64_t inside;   /* guarded by lock */
    uint32_t progress; /* atomic: steps done */
    uint32_t wrong;    /* atomic: something that may not happen */
};

static void wrong_if(struct stress *s, bool wrong)
{
    if (wrong)
        __atomic_store_n(&s->wrong, 1, __ATOMIC_RELAXED);
}

static plait_time_t some_deadline(unsigned dice)
{
    return dice % 3 == 0 ? plait_after(1e-6 * dice) : PLAIT_FOREVER;
}

static void any_step(struct stress *s, unsigned dice)
{
    struct plait_wait_entry entries[] = {
        plait_any_lock_acquire(&s->lock),
        plait_any_sem_acquire(&s->sem, 1),
        plait_any_event_wait(&s->event),
    };
    size_t which;
    int err = plait_wait_any(entries, dice % 2 ? 2 : 3, &which, some_deadline(dice));

    wrong_if(s, err != 0 && err != ETIMEDOUT && err != ECANCELED);
    if (err == 0 && which == 0) {
        wrong_if(s, s->inside++ != 0);
        s->inside--;
        plait_lock_release(&s->lock);
    }
    if (err == 0 && which == 1)
        plait_sem_release(&s->sem, 1);
}

static void step(struct stress *s, unsigned what, unsigned dice)
{
    int err;

    switch (what) {
    case 0:
        err = plait_lock_acquire(&s->lock, some_deadline(dice));
        wrong_if(s, err != 0 && err != ETIMEDOUT && err != ECANCELED);
        if (err)
            break;
        wrong_if(s, s->inside++ != 0);
        if (dice % 5 == 0)
            plait_sleep(1e-6); /* in a fiber: others run, and find the lock held */
        s->inside--;
        plait_lock_release(&s->lock);
        break;
    case 1:
        err = plait_sem_acquire(&s->sem, 1 + dice % 2, some_deadline(dice));
        wrong_if(s, err != 0 && err != ETIMEDOUT && err != ECANCELED);
        if (err)
            break;
        if (dice % 7 == 0)
            plait_sleep(1e-6);
        plait_sem_release(&s->sem, 1 + dice % 2);
        break;
    case 2:
        plait_event_set(&s->event);
        plait_event_clear(&s->event);
        break;
    case 3:
        err = plait_event_wait(&s->event, plait_after(1e-6 * dice));
        wrong_if(s, err != 0 && err != ETIMEDOUT && err != ECANCELED);
        break;
    case 4:
        plait_cond_notify(&s->cond, dice % 3);
        break;
    case 5:
        any_step(s, dice);
        break;
    default:
        if (plait_lock_acquire(&s->lock, PLAIT_FOREVER) != 0)
            break; /* cancelled */
        wrong_if(s, s->inside != 0);
        err = plait_cond_wait(&s->cond, &s->lock, plait_after(1e-6 * dice));
        wrong_if(s, (err != 0 && err != ETIMEDOUT && err != ECANCELED) || s->inside != 0);
        plait_lock_release(&s->lock);
    }
    __atomic_fetch_add(&s->progress, 1, __ATOMIC_RELAXED);
}

static void stress_in_fiber(struct toy_fiber *self)
{
    struct stress *s = self->with;
    plait_cancel_t token = { 0 };

    while (plait_now() < s->end) {
        plait_cancel_t *before = plait_cancel_bind(toy_random(self, 8) ? NULL : &token);

        if (toy_random(self, 4) == 0)
            plait_cancel_set(&token);
        step(s, toy_random(self, 7), toy_random(self, 300));
        plait_cancel_bind(before);
        token = (plait_cancel_t){ 0 };
        if (toy_random(self, 3) == 0)
            toy_yield(self);
    }
    self->result = 0;
}

static void *stress_in_thread(void *arg)
{
    struct stress *s = arg;
    struct toy_fiber dice = { .random = (uintptr_t)&dice };

    while (plait_now() < s->end)
        step(s, toy_random(&dice, 7), toy_random(&dice, 300));
    return NULL;
}

/* Progress must go on until the end, however few are left. */
static bool watch(struct stress *s, struct toy *toys[2])
{
    uint32_t seen = 0;
    plait_time_t since = plait_now();

    for (;;) {
        uint32_t now = __atomic_load_n(&s->progress, __ATOMIC_RELAXED);

        if (plait_now() > s->end + 10 * PLAIT__SECOND)
            return toy_parked(toys[0]) + toy_parked(toys[1]) == 0;
        if (now != seen)
            since = plait_now();
        seen = now;
        if (plait_now() > since + 5 * PLAIT__SECOND && plait_now() < s->end)
            return false;
        if (plait_now() > s->end && toy_parked(toys[0]) + toy_parked(toys[1]) == 0)
            return true;
        stage_pause();
    }
}

static void fibers_and_threads_under_stress_lose_no_wake(void **state)
{
    struct stress s = { .end = plait_after(stage_stress_seconds()), .sem = PLAIT_SEM_INIT(3) };
    uint64_t seed = stage_seed();
    pthread_t threads[2 + STRESS_WAKERS];
    struct toy *toys[2];

    for (int t = 0; t < 2; t++) {
        assert_non_null(toys[t] = toy_new());
        for (int i = 0; i < STRESS_FIBERS; i++)
            assert_non_null(toy_spawn(toys[t], stress_in_fiber, &s, seed + (uint64_t)t));
        assert_int_equal(pthread_create(&threads[t], NULL, run_toy, toys[t]), 0);
    }
    for (int i = 0; i < STRESS_WAKERS; i++)
        assert_int_equal(pthread_create(&threads[2 + i], NULL, stress_in_thread, &s), 0);
    assert_true(watch(&s, toys));
    for (int i = 0; i < 2 + STRESS_WAKERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(s.wrong, 0);
    assert_int_equal(plait_sem_value(&s.sem), 3);
    assert_int_equal(plait_cond_fini(&s.cond), 0);
    assert_int_equal(plait__parked_total, 0);
    print_message("%u steps, %lu switches\n", s.progress, toy_switches(toys[0]) + toy_switches(toys[1]));
    for (int t = 0; t < 2; t++)
        toy_free(toys[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fiber_is_woken_by_a_thread),
        cmocka_unit_test(fiber_is_woken_by_a_signal_handler),
        cmocka_unit_test(fiber_is_woken_by_another_fiber),
        cmocka_unit_test(fiber_is_cancelled),
        cmocka_unit_test(fiber_is_cancelled_by_its_tokens_parent),
        cmocka_unit_test(fiber_is_cancelled_by_its_tokens_deadline),
        cmocka_unit_test(fiber_times_out_never_early),
        cmocka_unit_test(fibers_locks_are_watched_though_their_waits_do_not_nest),
        cmocka_unit_test(fibers_of_one_thread_wait_in_several_shared_conditions),
        cmocka_unit_test(fibers_of_one_thread_are_strangers_to_its_shared_locks),
        cmocka_unit_test(fibers_of_one_thread_share_its_locks_with_priority_inheritance),
        cmocka_unit_test(fibers_of_one_thread_are_strangers_to_its_rlocks),
        cmocka_unit_test(fibers_of_one_thread_are_strangers_to_its_rwlocks),
        cmocka_unit_test(fibers_of_one_thread_wait_for_a_shared_condition),
        cmocka_unit_test(lock_of_a_fiber_that_cannot_run_is_a_deadlock),
        cmocka_unit_test(fibers_and_threads_under_stress_lose_no_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
