/* SPDX-License-Identifier: MIT */
/*
 * Every call that waits obeys cancel tokens in the same way: one table of calls, one case for each, over private and
 * shared objects, with futex_waitv and, in a program that is started for it, without. A new noun adds its lines to `calls`.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/cmocka.h"
#include "support/refuse.h"
#include "support/stage.h"

enum { NR_FUTEX_WAITV = 449, NO_SECCOMP = 77 };

/* What the processes of pools and of plait_process see: mapped before there is a nursery. */
static struct gate {
    uint32_t open;
} *gate;

struct call;

struct scene {
    struct stage *stage;
    const struct call *call;
    uint32_t words[PLAIT_WAIT_MANY_MAX];
    plait_lock_t lock;
    plait_rlock_t rlock;
    plait_rwlock_t rwlock;
    plait_barrier_t barrier;
    plait_once_t once;
    plait_latch_t latch;
    plait_wait_group_t wait_group;
    plait_cond_t cond;
    plait_sem_t sem;
    plait_event_t event;
    plait_cancel_t awaited;
    plait_cancel_t group, member; /* the member is a child of the group */
    plait_cancel_t timed, late;   /* the same, for a deadline */
    plait_queue_t *queue;         /* handles are good in forked children too */
    plait_thread_t *thread;
    plait_process_t *process;
    plait_pool_t *pool;
    plait_future_t *future;
    plait_signal_t *signal;
    uint32_t ready;  /* atomic: predicates are true, holders let go */
    bool end_holder; /* the first worker holds what is waited for */
};

struct call {
    const char *name;
    int (*call)(struct scene *s, plait_time_t deadline);
    void (*block)(struct scene *s);   /* make the call wait; NULL: it does so on fresh objects */
    void (*unblock)(struct scene *s); /* let the call do its work without waiting; NULL: it always has to wait */
    bool everywhere;                  /* shared objects as well */
    bool sleeps;                      /* its deadline is what it waits for: 0 then, also as a try */
};

/* ---- The ground ------------------------------------------------------------------------- */

static int call_wait(struct scene *s, plait_time_t deadline)
{
    return plait_wait(&s->words[0], 0, s->stage->flags, deadline);
}

static int call_wait_many(struct scene *s, plait_time_t deadline)
{
    struct plait_wait_word vector[PLAIT_WAIT_MANY_MAX];

    for (size_t i = 0; i < PLAIT_WAIT_MANY_MAX; i++)
        vector[i] = (struct plait_wait_word){ &s->words[i], 0, i % 2 ? 0 : s->stage->flags };
    return plait_wait_many(vector, PLAIT_WAIT_MANY_MAX, NULL, deadline);
}

static void change_word(struct scene *s)
{
    __atomic_store_n(&s->words[0], 1, __ATOMIC_RELEASE);
}

static int call_sleep_until(struct scene *s, plait_time_t deadline) { return plait_sleep_until(deadline); }

static int call_sleep(struct scene *s, plait_time_t deadline)
{
    return plait_sleep(deadline == PLAIT_FOREVER ? 1e12 : (double)(deadline - plait_now()) / 1e9);
}

static int call_cancel_wait(struct scene *s, plait_time_t deadline) { return plait_cancel_wait(&s->awaited, deadline); }
static void set_awaited(struct scene *s) { plait_cancel_set(&s->awaited); }

/* ---- Locks and the like ----------------------------------------------------------------- */

static int call_lock_acquire(struct scene *s, plait_time_t deadline)
{
    int err = plait_lock_acquire(&s->lock, deadline);

    return err ? err : plait_lock_release(&s->lock);
}

/* What a worker that has something in its hands does next. */
static void hold_until_ready(struct worker *self)
{
    struct scene *s = self->with;

    worker_says(self, 1);
    while (__atomic_load_n(&s->ready, __ATOMIC_ACQUIRE) == 0)
        plait_wait(&s->ready, 0, s->stage->flags, PLAIT_FOREVER);
}

static void hold_lock(struct worker *self)
{
    struct scene *s = self->with;

    self->result = plait_lock_acquire(&s->lock, PLAIT_FOREVER);
    hold_until_ready(self);
    plait_lock_release(&s->lock);
}

static void have_held(struct scene *s, void (*hold)(struct worker *))
{
    assert_true(worker_said(worker_start(s->stage, hold, s), 1));
    s->end_holder = true;
}

static void have_lock_held(struct scene *s) { have_held(s, hold_lock); }

/* Where there are none, it is the ordinary lock again. */
static void have_lock_with_priorities_held(struct scene *s)
{
    int err = plait_lock_init(&s->lock, s->stage->flags | PLAIT_PRIO_INHERIT);

    assert_true(err == 0 || err == ENOSYS);
    have_lock_held(s);
}

static int call_rlock_acquire(struct scene *s, plait_time_t deadline)
{
    int err = plait_rlock_acquire(&s->rlock, deadline);

    return err ? err : plait_rlock_release(&s->rlock);
}

static void hold_rlock(struct worker *self)
{
    struct scene *s = self->with;

    self->result = plait_rlock_acquire(&s->rlock, PLAIT_FOREVER);
    hold_until_ready(self);
    plait_rlock_release(&s->rlock);
}

static void have_rlock_held(struct scene *s) { have_held(s, hold_rlock); }

static int call_acquire_read(struct scene *s, plait_time_t deadline)
{
    int err = plait_rwlock_acquire_read(&s->rwlock, deadline);

    return err ? err : plait_rwlock_release(&s->rwlock);
}

static int call_acquire_write(struct scene *s, plait_time_t deadline)
{
    int err = plait_rwlock_acquire_write(&s->rwlock, deadline);

    return err ? err : plait_rwlock_release(&s->rwlock);
}

static void hold_as_reader(struct worker *self)
{
    struct scene *s = self->with;

    self->result = plait_rwlock_acquire_read(&s->rwlock, PLAIT_FOREVER);
    hold_until_ready(self);
    plait_rwlock_release(&s->rwlock);
}

static void hold_as_writer(struct worker *self)
{
    struct scene *s = self->with;

    self->result = plait_rwlock_acquire_write(&s->rwlock, PLAIT_FOREVER);
    hold_until_ready(self);
    plait_rwlock_release(&s->rwlock);
}

static void have_reader(struct scene *s) { have_held(s, hold_as_reader); }
static void have_writer(struct scene *s) { have_held(s, hold_as_writer); }

/* Who gives up breaks it: made whole for the next. */
static int call_barrier_wait(struct scene *s, plait_time_t deadline)
{
    int err = plait_barrier_wait(&s->barrier, NULL, deadline);

    if (plait_barrier_is_broken(&s->barrier))
        plait_barrier_reset(&s->barrier);
    return err;
}

static void need_nobody_else(struct scene *s) { plait_barrier_init(&s->barrier, 1, s->stage->flags); }

static int run_until_ready(void *worker)
{
    hold_until_ready(worker);
    return 0;
}

static void run_once(struct worker *self)
{
    struct scene *s = self->with;

    self->result = plait_once_run(&s->once, run_until_ready, self, PLAIT_FOREVER);
}

static int never_run(void *unused) { return -4; }
static void have_once_running(struct scene *s) { have_held(s, run_once); }

static int call_once_run(struct scene *s, plait_time_t deadline)
{
    return plait_once_run(&s->once, never_run, NULL, deadline);
}

static int call_latch_wait(struct scene *s, plait_time_t deadline) { return plait_latch_wait(&s->latch, deadline); }
static void open_latch(struct scene *s) { plait_latch_count_down(&s->latch, 1); }

static int call_group_wait(struct scene *s, plait_time_t deadline) { return plait_wait_group_wait(&s->wait_group, deadline); }
static void add_to_group(struct scene *s) { plait_wait_group_add(&s->wait_group, 1); }
static void finish_group(struct scene *s) { plait_wait_group_done(&s->wait_group); }

static void be_ready(struct scene *s)
{
    __atomic_store_n(&s->ready, 1, __ATOMIC_RELEASE);
    plait_wake(&s->ready, UINT_MAX, s->stage->flags);
    if (s->end_holder)
        assert_int_equal(worker_result(&s->stage->workers[0]), 0);
}

static int call_sem_acquire(struct scene *s, plait_time_t deadline) { return plait_sem_acquire(&s->sem, 1, deadline); }
static int call_sem_acquire_two(struct scene *s, plait_time_t deadline) { return plait_sem_acquire(&s->sem, 2, deadline); }
static void have_one_permit(struct scene *s) { plait_sem_release(&s->sem, 1); }

/* Only shared permits are owned. */
static void hold_permit(struct worker *self)
{
    struct scene *s = self->with;

    self->result = plait_sem_acquire(&s->sem, 1, PLAIT_FOREVER);
    hold_until_ready(self);
    plait_sem_release(&s->sem, 1);
}

static void have_owned_permit_taken(struct scene *s)
{
    assert_int_equal(plait_sem_init(&s->sem, 1, s->stage->flags ? s->stage->flags | PLAIT_OWNED : PLAIT_BOUNDED), 0);
    have_held(s, hold_permit);
}

static int call_event_wait(struct scene *s, plait_time_t deadline) { return plait_event_wait(&s->event, deadline); }
static void set_event(struct scene *s) { plait_event_set(&s->event); }

static bool is_ready(void *scene)
{
    return __atomic_load_n(&((struct scene *)scene)->ready, __ATOMIC_ACQUIRE);
}

/* The lock is taken and given back outside what is tried; it must be held when the wait returns. */
static int with_lock(struct scene *s, plait_time_t deadline, bool predicate)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int err = plait_lock_acquire(&s->lock, PLAIT_FOREVER);

    plait_cancel_bind(token);
    if (err)
        return -1;
    err = predicate ? plait_cond_wait_for(&s->cond, &s->lock, is_ready, s, deadline)
                    : plait_cond_wait(&s->cond, &s->lock, deadline);
    return plait_lock_release(&s->lock) ? -2 : err;
}

static int call_cond_wait(struct scene *s, plait_time_t deadline) { return with_lock(s, deadline, false); }
static int call_cond_wait_for(struct scene *s, plait_time_t deadline) { return with_lock(s, deadline, true); }

/* ---- Queues ----------------------------------------------------------------------------- */

static void make_queue(struct scene *s)
{
    const struct plait_queue_opts opts = { .item_size = sizeof(int), .maxsize = 1,
                                           .arena = s->stage->flags ? s->stage->arena : NULL };

    assert_int_equal(plait_queue_new(&s->queue, &opts), 0);
}

static int put_one(struct scene *s, plait_time_t deadline) { return plait_queue_put(s->queue, &(int){ 1 }, deadline); }
static int get_one(struct scene *s, plait_time_t deadline) { return plait_queue_get(s->queue, &(int){ 0 }, deadline); }

static void make_full_queue(struct scene *s)
{
    make_queue(s);
    assert_int_equal(put_one(s, PLAIT_NOW), 0);
}

static void fill_queue(struct scene *s) { assert_int_equal(put_one(s, PLAIT_FOREVER), 0); }
static void empty_queue(struct scene *s) { assert_int_equal(get_one(s, PLAIT_FOREVER), 0); }

/* ---- Several objects -------------------------------------------------------------------- */

static int call_wait_any(struct scene *s, plait_time_t deadline)
{
    const struct plait_wait_entry entries[] = { plait_any_event_wait(&s->event), plait_any_sem_acquire(&s->sem, 1),
                                                plait_any_cancel_wait(&s->awaited), plait_any_queue_get(s->queue, &(int){ 0 }) };

    return plait_wait_any(entries, 4, NULL, deadline);
}

/* ---- What runs -------------------------------------------------------------------------- */

static bool gate_is_open(void)
{
    return __atomic_load_n(&gate->open, __ATOMIC_ACQUIRE);
}

static void open_gate(void)
{
    __atomic_store_n(&gate->open, 1, __ATOMIC_RELEASE);
    plait_wake(&gate->open, UINT_MAX, PLAIT_SHARED);
}

static void *thread_at_gate(void *unused)
{
    while (!gate_is_open())
        plait_wait(&gate->open, 0, PLAIT_SHARED, PLAIT_FOREVER);
    return NULL;
}

static int process_at_gate(const void *arg, size_t size)
{
    thread_at_gate(NULL);
    return 0;
}

static int task_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    while (!gate_is_open() && !plait_task_is_cancelled(task))
        plait_wait(&gate->open, 0, PLAIT_SHARED, plait_after(0.005));
    return 0;
}

static void make_thread(struct scene *s)
{
    assert_int_equal(plait_thread_new(&s->thread, &(struct plait_thread_opts){ .target = thread_at_gate }), 0);
    assert_int_equal(plait_thread_start(s->thread), 0);
}

static int call_thread_join(struct scene *s, plait_time_t deadline) { return plait_thread_join(s->thread, NULL, deadline); }

static void end_thread(struct scene *s)
{
    open_gate();
    assert_true(EVENTUALLY(!plait_thread_is_alive(s->thread)));
}

static void make_process(struct scene *s)
{
    assert_int_equal(plait_process_new(&s->process, &(struct plait_process_opts){ .target = process_at_gate }), 0);
    assert_int_equal(plait_process_start(s->process), 0);
}

static int call_process_join(struct scene *s, plait_time_t deadline) { return plait_process_join(s->process, deadline); }

static void end_process(struct scene *s)
{
    open_gate();
    assert_true(EVENTUALLY(!plait_process_is_alive(s->process)));
}

static void make_pool(struct scene *s, enum plait_backend backend)
{
    const struct plait_pool_opts opts = { .backend = backend, .workers = 2, .memory = 1u << 20 };

    assert_int_equal(plait_pool_new(&s->pool, &opts), 0);
    assert_int_equal(plait_pool_apply_async(s->pool, task_at_gate, NULL, 0, &s->future), 0);
}

static void make_thread_pool(struct scene *s) { make_pool(s, PLAIT_THREADS); }
static void make_process_pool(struct scene *s) { make_pool(s, PLAIT_PROCESSES); }

static void make_closed_thread_pool(struct scene *s)
{
    make_thread_pool(s);
    plait_pool_close(s->pool);
}

static void make_closed_process_pool(struct scene *s)
{
    make_process_pool(s);
    plait_pool_close(s->pool);
}

static int call_future_wait(struct scene *s, plait_time_t deadline) { return plait_future_wait(s->future, deadline); }

static int call_future_get(struct scene *s, plait_time_t deadline)
{
    return plait_future_get(s->future, NULL, NULL, deadline);
}

static void end_task(struct scene *s)
{
    open_gate();
    assert_true(EVENTUALLY(plait_future_is_ready(s->future)));
}

static int call_pool_apply(struct scene *s, plait_time_t deadline)
{
    return plait_pool_apply(s->pool, task_at_gate, NULL, 0, NULL, NULL, deadline);
}

static int call_pool_map(struct scene *s, plait_time_t deadline)
{
    return plait_pool_map(s->pool, task_at_gate, "ab", 1, is_ready(s) ? 0 : 2, NULL, 0, deadline);
}

static int call_pool_join(struct scene *s, plait_time_t deadline) { return plait_pool_join(s->pool, deadline); }

static void end_pool(struct scene *s)
{
    open_gate();
    assert_int_equal(plait_pool_join(s->pool, PLAIT_FOREVER), 0);
}

/* SIGUSR1 is blocked from the start of main. */
static void make_signal(struct scene *s)
{
    const struct plait_signal_opts opts = { .signals = (const int[]){ SIGUSR1, 0 } };

    assert_int_equal(plait_signal_new(&s->signal, &opts), 0);
}

static int call_signal_wait(struct scene *s, plait_time_t deadline) { return plait_signal_wait(s->signal, NULL, deadline); }

static void send_signal(struct scene *s)
{
    kill(getpid(), SIGUSR1);
    assert_true(EVENTUALLY(plait_signal_count(s->signal, SIGUSR1) > 0));
}

/* ---- The table -------------------------------------------------------------------------- */

static const struct call calls[] = {
    { "wait", call_wait, NULL, change_word, true, false },
    { "wait_many", call_wait_many, NULL, change_word, true, false },
    { "sleep_until", call_sleep_until, NULL, NULL, true, true },
    { "sleep", call_sleep, NULL, NULL, true, true },
    { "cancel_wait", call_cancel_wait, NULL, set_awaited, true, false },
    { "lock_acquire", call_lock_acquire, have_lock_held, be_ready, true, false },
    { "lock_acquire, priorities", call_lock_acquire, have_lock_with_priorities_held, be_ready, true, false },
    { "rlock_acquire", call_rlock_acquire, have_rlock_held, be_ready, true, false },
    { "rwlock_acquire_read", call_acquire_read, have_writer, be_ready, true, false },
    { "rwlock_acquire_write", call_acquire_write, have_reader, be_ready, true, false },
    { "barrier_wait", call_barrier_wait, NULL, need_nobody_else, true, false },
    { "once_run", call_once_run, have_once_running, be_ready, true, false },
    { "latch_wait", call_latch_wait, NULL, open_latch, true, false },
    { "wait_group_wait", call_group_wait, add_to_group, finish_group, true, false },
    { "sem_acquire", call_sem_acquire, NULL, have_one_permit, true, false },
    { "sem_acquire of two", call_sem_acquire_two, have_one_permit, have_one_permit, true, false },
    { "sem_acquire, owned", call_sem_acquire, have_owned_permit_taken, be_ready, true, false },
    { "event_wait", call_event_wait, NULL, set_event, true, false },
    { "cond_wait", call_cond_wait, NULL, NULL, true, false },
    { "cond_wait_for", call_cond_wait_for, NULL, be_ready, true, false },
    { "queue_put", put_one, make_full_queue, empty_queue, true, false },
    { "queue_get", get_one, make_queue, fill_queue, true, false },
    { "wait_any", call_wait_any, make_queue, fill_queue, true, false },
    { "thread_join", call_thread_join, make_thread, end_thread, false, false },
    { "process_join", call_process_join, make_process, end_process, false, false },
    { "future_wait, threads", call_future_wait, make_thread_pool, end_task, false, false },
    { "future_wait, processes", call_future_wait, make_process_pool, end_task, false, false },
    { "future_get, threads", call_future_get, make_thread_pool, end_task, false, false },
    { "future_get, processes", call_future_get, make_process_pool, end_task, false, false },
    { "pool_apply, threads", call_pool_apply, make_thread_pool, NULL, false, false },
    { "pool_apply, processes", call_pool_apply, make_process_pool, NULL, false, false },
    { "pool_map, threads", call_pool_map, make_thread_pool, be_ready, false, false },
    { "pool_map, processes", call_pool_map, make_process_pool, be_ready, false, false },
    { "pool_join, threads", call_pool_join, make_closed_thread_pool, end_pool, false, false },
    { "pool_join, processes", call_pool_join, make_closed_process_pool, end_pool, false, false },
    { "signal_wait", call_signal_wait, make_signal, send_signal, false, false },
};

enum { CALLS = sizeof calls / sizeof calls[0] };

/* ---- One case for each ------------------------------------------------------------------ */

static struct scene *scene_of(struct stage *stage, const struct call *call)
{
    struct scene *s = stage_alloc(stage, sizeof *s);
    unsigned flags = stage->flags;

    assert_non_null(s);
    s->stage = stage;
    s->call = call;
    assert_int_equal(plait_lock_init(&s->lock, flags), 0);
    assert_int_equal(plait_rlock_init(&s->rlock, flags), 0);
    assert_int_equal(plait_rwlock_init(&s->rwlock, flags), 0);
    assert_int_equal(plait_barrier_init(&s->barrier, 2, flags), 0);
    assert_int_equal(plait_once_init(&s->once, flags), 0);
    assert_int_equal(plait_latch_init(&s->latch, 1, flags), 0);
    assert_int_equal(plait_wait_group_init(&s->wait_group, flags), 0);
    assert_int_equal(plait_cond_init(&s->cond, flags), 0);
    assert_int_equal(plait_sem_init(&s->sem, 0, flags), 0);
    assert_int_equal(plait_event_init(&s->event, flags), 0);
    assert_int_equal(plait_cancel_init(&s->awaited, flags), 0);
    assert_int_equal(plait_cancel_init(&s->group, flags), 0);
    assert_int_equal(plait_cancel_init_child(&s->member, &s->group, flags), 0);
    assert_int_equal(plait_cancel_init(&s->timed, flags), 0);
    assert_int_equal(plait_cancel_init_child(&s->late, &s->timed, flags), 0);
    __atomic_store_n(&gate->open, 0, __ATOMIC_RELEASE);
    if (call->block)
        call->block(s);
    return s;
}

static void drop(struct scene *s)
{
    open_gate();
    if (s->pool) {
        assert_int_equal(plait_future_free(s->future), 0);
        assert_int_equal(plait_pool_free(s->pool), 0);
    }
    assert_int_equal(plait_queue_destroy(s->queue), 0);
    if (s->thread)
        assert_int_equal(plait_thread_join(s->thread, NULL, PLAIT_FOREVER), 0);
    plait_thread_free(s->thread);
    if (s->process)
        assert_int_equal(plait_process_join(s->process, PLAIT_FOREVER), 0);
    plait_process_free(s->process);
    plait_signal_free(s->signal);
}

static int call_bound_to(plait_cancel_t *token, struct scene *s, plait_time_t deadline)
{
    plait_cancel_t *before = plait_cancel_bind(token);
    int err = s->call->call(s, deadline);

    if (plait_cancel_bind(before) != token)
        err = -3;
    return err;
}

/* Bound to a private child of the member: four words at least to wait for. */
static void call_in_worker(struct worker *self)
{
    struct scene *s = self->with;
    plait_cancel_t own;

    if (plait_cancel_init_child(&own, &s->member, 0) != 0)
        return;
    worker_says(self, 1);
    self->result = call_bound_to(&own, s, PLAIT_FOREVER);
}

static void try_call(struct stage *stage, const struct call *call)
{
    struct scene *s = scene_of(stage, call);
    int timed_out = call->sleeps ? 0 : ETIMEDOUT;
    plait_time_t deadline = plait_after(0.005);
    struct worker *w;

    /* The deadline of the call, earlier than the token's. */
    plait_cancel_set_deadline(&s->timed, plait_after(3600));
    assert_int_equal(call_bound_to(&s->late, s, deadline), timed_out);
    assert_true(plait_now() >= deadline);
    assert_int_equal(call_bound_to(&s->late, s, PLAIT_NOW), timed_out);

    /* The token's deadline, earlier than the call's, or at the same time. */
    deadline = plait_after(0.01);
    plait_cancel_set_deadline(&s->timed, deadline);
    assert_int_equal(call_bound_to(&s->late, s, plait_after(3600)), ECANCELED);
    assert_true(plait_now() >= deadline);
    assert_int_equal(plait_cancel_reason(&s->late, NULL, NULL), ETIMEDOUT);

    /* A group that is set while the call sleeps. */
    assert_non_null(w = worker_start(stage, call_in_worker, s));
    assert_true(worker_sleeps(w, 1));
    plait_cancel_set(&s->group);
    assert_int_equal(worker_result(w), ECANCELED);

    /* One that was set before; and shielded from it. */
    assert_int_equal(call_bound_to(&s->member, s, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(call_bound_to(&s->member, s, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(call_bound_to(&s->member, s, PLAIT_NOW), call->sleeps ? 0 : ECANCELED);
    assert_int_equal(call_bound_to(NULL, s, plait_after(0.002)), timed_out);

    /* What takes no waiting is done. */
    if (call->unblock) {
        call->unblock(s);
        assert_int_equal(call_bound_to(&s->member, s, PLAIT_FOREVER), 0);
    }
    drop(s);
}

static void call_is_cancelled(void **state)
{
    struct stage *stage = *state;

    for (size_t i = 0; i < CALLS; i++)
        if (calls[i].everywhere || stage->setting == STAGE_PRIVATE) {
            print_message("%s\n", calls[i].name);
            stage->worker_count = 0; /* all have ended */
            try_call(stage, &calls[i]);
        }
}

/* ---- Calls without deadline take no notice ------------------------------------------------ */

static void calls_on_arenas_take_no_notice(void **state)
{
    struct stage *stage = *state;
    plait_cancel_t token = PLAIT_CANCEL_INIT;
    plait_arena_t *arena;
    plait_queue_t *queue;
    void *memory, *found;

    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1u << 20 }), 0);
    assert_int_equal(plait_arena_alloc(arena, 100, &memory), 0);
    assert_int_equal(plait_arena_publish(arena, "it", memory), 0);
    assert_int_equal(plait_arena_lookup(arena, "it", &found), 0);
    assert_int_equal(plait_arena_unpublish(arena, "it"), 0);
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
    assert_int_equal(plait_arena_dealloc(arena, memory), 0);
    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8, .arena = arena, .name = "q" }), 0);
    for (int i = 0; i < 5000; i++) /* several segments, and room for each */
        assert_int_equal(plait_queue_put(queue, "sevench", PLAIT_FOREVER), 0);
    assert_int_equal(plait_queue_close(queue), 0);
    assert_int_equal(plait_queue_close_now(queue), 0);
    assert_int_equal(plait_queue_destroy(queue), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    plait_cancel_bind(NULL);
    assert_non_null(stage);
}

static void calls_that_start_and_wake_take_no_notice(void **state)
{
    struct stage *stage = *state;
    struct scene *s = scene_of(stage, &calls[0]);
    plait_cancel_t *token = &s->member;

    plait_cancel_set(&s->group);
    plait_cancel_bind(token);
    assert_int_equal(plait_lock_acquire(&s->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_lock_release(&s->lock), 0);
    assert_int_equal(plait_cond_notify(&s->cond, 3), 0);
    assert_int_equal(plait_cond_notify_all(&s->cond), 0);
    assert_int_equal(plait_sem_release(&s->sem, 2), 0);
    assert_int_equal(plait_event_set(&s->event), 0);
    if (stage->setting == STAGE_PRIVATE) {
        make_thread(s);
        make_process(s);
        make_thread_pool(s);
        assert_int_equal(plait_future_cancel(s->future) & ~EBUSY, 0);
        assert_int_equal(plait_pool_terminate(s->pool), 0);
        assert_int_equal(plait_pool_free(s->pool), 0);
        plait_future_free(s->future);
        make_process_pool(s);
        assert_int_equal(plait_pool_close(s->pool), 0);
        assert_int_equal(plait_process_terminate(s->process), 0);
    }
    assert_ptr_equal(plait_cancel_bind(NULL), token);
    drop(s);
}

/* ---- Again, without futex_waitv ------------------------------------------------------------ */

static const char *program;

static int run_table(void)
{
    const struct CMUnitTest tests[] = { EVERYWHERE(call_is_cancelled) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

static void calls_are_cancelled_without_futex_waitv(void **state)
{
    static const long refused[] = { NR_FUTEX_WAITV };
    int status = -1;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        if (refuse_calls(refused, 1, ENOSYS) != 0)
            _exit(NO_SECCOMP);
        execl(program, program, "inside", (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SECCOMP)
        skip();
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(call_is_cancelled),
        PRIVATE(calls_on_arenas_take_no_notice),
        EVERYWHERE(calls_that_start_and_wake_take_no_notice),
        cmocka_unit_test(calls_are_cancelled_without_futex_waitv),
    };

    if (plait_signal_block((const int[]){ SIGUSR1, 0 }) != 0)
        return 99;
    gate = mmap(NULL, sizeof *gate, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (gate == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    program = argv[0];
    if (argc == 2 && strcmp(argv[1], "inside") == 0)
        return run_table();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
