/* SPDX-License-Identifier: MIT */
/* Beside pthreads: cancellation, signals, fork, the ends of threads, libc's own robust mutexes, what a thread's handle is for. */
#include "support/cmocka.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <plait.h>

#include "base/asan.h"
#include "support/child.h"
#include "support/refuse.h"
#include "support/stage.h"
#include "wait/parked.h"

/* Cancellation and the like are about threads, whatever the objects are. */
#define THREADED(f) STAGE_CASE(f, PRIVATE), STAGE_CASE(f, THREADS)

struct props {
    plait_lock_t lock;
    plait_rlock_t rlock;
    plait_cond_t cond;
    plait_sem_t sem;
    plait_event_t event;
    plait_cancel_t token;
    uint32_t cleaned;   /* atomic: clean-up handlers that ran */
    uint32_t in_order;  /* atomic: and found the lock as they should */
    int permits;        /* guarded by lock */
    bool with_token;
    plait_queue_t *queue;
    plait_thread_t *thread;
};

static struct props *make(struct stage *stage)
{
    struct props *p = stage_alloc(stage, sizeof *p);

    assert_non_null(p);
    assert_int_equal(plait_lock_init(&p->lock, stage->flags), 0);
    assert_int_equal(plait_rlock_init(&p->rlock, stage->flags), 0);
    assert_int_equal(plait_cond_init(&p->cond, stage->flags), 0);
    assert_int_equal(plait_sem_init(&p->sem, 0, stage->flags), 0);
    assert_int_equal(plait_event_init(&p->event, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&p->token, stage->flags), 0);
    return p;
}

static void make_queue(struct stage *stage, struct props *p)
{
    assert_int_equal(plait_queue_new(&p->queue, &(struct plait_queue_opts){
                                                    .item_size = sizeof(int),
                                                    .maxsize = 1,
                                                    .arena = stage->flags ? stage->arena : NULL }), 0);
}

static void *end_of(struct worker *w)
{
    void *result = NULL;

    assert_true(w->started);
    assert_int_equal(pthread_join(w->thread, &result), 0);
    w->ended = true;
    return result;
}

/*
 * Its call was not cut short. What pthread_join says cannot tell: glibc sends its signal to who sleeps, and if that one is awake
 * and done before the signal comes, it ends as cancelled nevertheless.
 */
static bool end_with_success(struct worker *w)
{
    end_of(w);
    return w->result == 0;
}

static void count_cleaning(void *arg)
{
    struct props *p = arg;

    __atomic_fetch_add(&p->cleaned, 1, __ATOMIC_RELAXED);
}

/* The instrumented frames of the test itself are left, too. */
static void testcancel(void)
{
    plait__leaving_frames();
    pthread_testcancel();
}

/* ---- What is a cancellation point ------------------------------------------------------------------- */

static void begin(struct worker *self)
{
    struct props *p = self->with;

    if (p->with_token)
        plait_cancel_bind(&p->token);
    worker_says(self, 1);
}

static void wait_for_event(struct worker *self)
{
    struct props *p = self->with;

    pthread_cleanup_push(count_cleaning, p);
    begin(self);
    self->result = plait_event_wait(&p->event, PLAIT_FOREVER);
    pthread_cleanup_pop(0);
}

static void wait_for_permit(struct worker *self)
{
    struct props *p = self->with;

    pthread_cleanup_push(count_cleaning, p);
    begin(self);
    self->result = plait_sem_acquire(&p->sem, 1, plait_after(1000));
    pthread_cleanup_pop(0);
}

static void wait_for_item(struct worker *self)
{
    struct props *p = self->with;
    int item;

    pthread_cleanup_push(count_cleaning, p);
    begin(self);
    self->result = plait_queue_get(p->queue, &item, PLAIT_FOREVER);
    pthread_cleanup_pop(0);
}

static void wait_for_room(struct worker *self)
{
    struct props *p = self->with;

    pthread_cleanup_push(count_cleaning, p);
    begin(self);
    self->result = plait_queue_put(p->queue, &(int){ 2 }, PLAIT_FOREVER);
    pthread_cleanup_pop(0);
}

static void wait_for_end(struct worker *self)
{
    struct props *p = self->with;

    pthread_cleanup_push(count_cleaning, p);
    begin(self);
    self->result = plait_thread_join(p->thread, NULL, PLAIT_FOREVER);
    pthread_cleanup_pop(0);
}

static void wait_for_end_once_started(struct worker *self)
{
    struct props *p = self->with;

    begin(self);
    do
        self->result = plait_thread_join(p->thread, NULL, PLAIT_FOREVER);
    while (self->result == EINVAL);
}

static void *wait_for_event_there(void *arg)
{
    return plait_event_wait(arg, PLAIT_FOREVER) ? arg : NULL;
}

/* With a token the sleep is for several words at once. */
static void assert_cancelled(struct stage *stage, struct props *p, void (*run)(struct worker *))
{
    for (int round = 0; round < 2; round++) {
        struct worker *w;

        p->with_token = round;
        p->cleaned = 0;
        w = worker_start(stage, run, p);
        assert_true(worker_sleeps(w, 1));
        assert_int_equal(pthread_cancel(w->thread), 0);
        assert_ptr_equal(end_of(w), PTHREAD_CANCELED);
        assert_int_equal(p->cleaned, 1);
    }
}

static void waits_end_by_pthread_cancel(void **state)
{
    struct stage *stage = *state;
    struct props *p = make(stage);
    int item;

    assert_cancelled(stage, p, wait_for_event);
    assert_cancelled(stage, p, wait_for_permit);
    make_queue(stage, p);
    assert_cancelled(stage, p, wait_for_item);
    assert_int_equal(plait_queue_put(p->queue, &(int){ 1 }, PLAIT_NOW), 0);
    assert_cancelled(stage, p, wait_for_room);
    assert_int_equal(plait_queue_get(p->queue, &item, PLAIT_NOW), 0);
    assert_int_equal(item, 1);
    assert_int_equal(plait_queue_qsize(p->queue), 0);
    assert_int_equal(plait_queue_free(p->queue), 0);

    assert_int_equal(plait_thread_new(&p->thread, &(struct plait_thread_opts){ .target = wait_for_event_there,
                                                                               .arg = &p->event }), 0);
    assert_int_equal(plait_thread_start(p->thread), 0);
    assert_cancelled(stage, p, wait_for_end);
    assert_int_equal(plait_event_set(&p->event), 0);
    assert_int_equal(plait_thread_join(p->thread, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(plait_thread_free(p->thread), 0);
}

enum { NR_FUTEX_WAITV = 449, NO_SECCOMP = 77 };

static void *wait_bound(void *token)
{
    static plait_event_t never;

    plait_cancel_bind(token);
    plait_event_wait(&never, PLAIT_FOREVER);
    return token;
}

/* In a child: 0 if all who were cancelled have left the table of parked waiters. */
static int cancel_the_parked(void *unused)
{
    static const long calls[] = { NR_FUTEX_WAITV };
    static plait_cancel_t token;
    bool missing = syscall(NR_FUTEX_WAITV, NULL, 0, 0, NULL, 0) < 0 && errno == ENOSYS;

    if (!missing && refuse_calls(calls, 1, ENOSYS) != 0)
        return NO_SECCOMP;
    for (int i = 0; i < 10; i++) {
        pthread_t thread;
        void *result;

        if (pthread_create(&thread, NULL, wait_bound, &token) != 0)
            return 1;
        if (!EVENTUALLY(plait__parked_anyone()))
            return 2;
        if (pthread_cancel(thread) != 0 || pthread_join(thread, &result) != 0 || result != PTHREAD_CANCELED)
            return 3;
        if (plait__parked_anyone())
            return 4;
    }
    return 0;
}

/* Without futex_waitv who waits for several words stands in a table, with nodes on the stack that goes. */
static void parked_waiter_leaves_the_table_by_pthread_cancel(void **state)
{
    int answer = child_run(cancel_the_parked, NULL);

    if (answer == NO_SECCOMP)
        skip();
    assert_int_equal(answer, 0);
}

static void nap(const void *arg, size_t arg_size)
{
    pause();
}

static int sleep_on(const void *arg, size_t arg_size)
{
    nap(arg, arg_size);
    return 0;
}

static void *join_process(void *process)
{
    plait_process_join(process, PLAIT_FOREVER);
    return NULL;
}

static void process_join_ends_by_pthread_cancel(void **state)
{
    plait_process_t *process;
    pthread_t thread;
    void *result;

    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .target = sleep_on }), 0);
    assert_int_equal(plait_process_start(process), 0);
    assert_int_equal(pthread_create(&thread, NULL, join_process, process), 0);
    assert_int_equal(pthread_cancel(thread), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    assert_true(plait_process_is_alive(process));
    assert_int_equal(plait_process_kill(process), 0);
    assert_int_equal(plait_process_join(process, PLAIT_FOREVER), 0);
    assert_int_equal(plait_process_free(process), 0);
}

static void call_that_need_not_wait(struct worker *self)
{
    struct props *p = self->with;

    pthread_cancel(pthread_self());
    self->result = plait_event_wait(&p->event, PLAIT_FOREVER);
    self->result += plait_sem_acquire(&p->sem, 1, PLAIT_FOREVER);
    self->result += plait_sem_acquire(&p->sem, 1, PLAIT_NOW) != ETIMEDOUT;
    worker_says(self, 1);
    testcancel();
}

static void wait_that_need_not_sleep_is_no_cancellation_point(void **state)
{
    struct stage *stage = *state;
    struct props *p = make(stage);
    struct worker *w;

    plait_event_set(&p->event);
    plait_sem_release(&p->sem, 1);
    w = worker_start(stage, call_that_need_not_wait, p);
    assert_true(worker_said(w, 1));
    assert_ptr_equal(end_of(w), PTHREAD_CANCELED);
    assert_int_equal(w->result, 0);
}

static void wait_with_requests_off(struct worker *self)
{
    struct props *p = self->with;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    worker_says(self, 1);
    self->result = plait_event_wait(&p->event, PLAIT_FOREVER);
}

static void wait_with_requests_off_goes_on(void **state)
{
    struct stage *stage = *state;
    struct props *p = make(stage);
    struct worker *w = worker_start(stage, wait_with_requests_off, p);

    assert_true(worker_sleeps(w, 1));
    assert_int_equal(pthread_cancel(w->thread), 0);
    assert_int_equal(plait_event_set(&p->event), 0);
    assert_null(end_of(w));
    assert_int_equal(w->result, 0);
}

static void acquire_and_tell(struct worker *self)
{
    struct props *p = self->with;

    worker_says(self, 1);
    self->result = plait_lock_acquire(&p->lock, PLAIT_FOREVER);
    self->result += plait_rlock_acquire(&p->rlock, PLAIT_FOREVER);
    worker_says(self, 2);
    self->result += plait_rlock_release(&p->rlock);
    self->result += plait_lock_release(&p->lock);
    testcancel();
    self->result = -1;
}

static void locks_are_no_cancellation_points(void **state)
{
    struct stage *stage = *state;
    struct props *p = make(stage);
    struct worker *w;

    assert_int_equal(plait_lock_acquire(&p->lock, PLAIT_FOREVER), 0);
    assert_int_equal(plait_rlock_acquire(&p->rlock, PLAIT_FOREVER), 0);
    w = worker_start(stage, acquire_and_tell, p);
    assert_true(worker_sleeps(w, 1));
    assert_int_equal(pthread_cancel(w->thread), 0);
    assert_int_equal(plait_lock_release(&p->lock), 0);
    assert_true(worker_sleeps(w, 1));
    assert_int_equal(plait_rlock_release(&p->rlock), 0);
    assert_ptr_equal(end_of(w), PTHREAD_CANCELED);
    assert_int_equal(w->phase, 2);
    assert_int_equal(w->result, 0);
}

/* ---- The lock of a condition, and what a cancelled waiter had been given ---------------------------------- */

static void release_in_handler(void *arg)
{
    struct props *p = arg;

    p->cleaned++;
    __atomic_fetch_add(&p->in_order, plait_lock_is_locked(&p->lock), __ATOMIC_RELAXED);
    __atomic_fetch_add(&p->in_order, plait_lock_release(&p->lock) == 0, __ATOMIC_RELAXED); /* no longer under the lock */
}

static void wait_for_news(struct worker *self)
{
    struct props *p = self->with;

    plait_lock_acquire(&p->lock, PLAIT_FOREVER);
    pthread_cleanup_push(release_in_handler, p);
    worker_says(self, 1);
    while (p->permits == 0)
        plait_cond_wait(&p->cond, &p->lock, PLAIT_FOREVER);
    p->permits--;
    pthread_cleanup_pop(1);
    self->result = 0;
}

static void cond_lock_is_held_when_the_handlers_run(void **state)
{
    struct stage *stage = *state;
    struct props *p = make(stage);
    struct worker *w[3];

    for (int i = 0; i < 3; i++)
        w[i] = worker_start(stage, wait_for_news, p);
    for (int i = 0; i < 3; i++)
        assert_true(worker_sleeps(w[i], 1));
    assert_int_equal(plait_lock_acquire(&p->lock, PLAIT_FOREVER), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_cancel(w[i]->thread), 0);
    assert_int_equal(p->cleaned, 0);
    assert_int_equal(plait_lock_release(&p->lock), 0);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(end_of(w[i]), PTHREAD_CANCELED);
    assert_int_equal(p->cleaned, 3);
    assert_int_equal(p->in_order, 6);
    assert_int_equal(plait_cond_fini(&p->cond), 0);
}

static void release_levels(void *arg)
{
    struct props *p = arg;

    p->cleaned += plait_rlock_depth(&p->rlock);
    while (plait_rlock_release(&p->rlock) == 0)
        p->in_order++;
}

static void wait_at_two_levels(struct worker *self)
{
    struct props *p = self->with;

    plait_rlock_acquire(&p->rlock, PLAIT_FOREVER);
    plait_rlock_acquire(&p->rlock, PLAIT_FOREVER);
    pthread_cleanup_push(release_levels, p);
    worker_says(self, 1);
    plait_cond_wait(&p->cond, &p->rlock.lock, PLAIT_FOREVER);
    pthread_cleanup_pop(1);
}

static void cond_rlock_is_held_at_all_levels_when_the_handlers_run(void **state)
{
    struct stage *stage = *state;
    struct props *p = make(stage);
    struct worker *w = worker_start(stage, wait_at_two_levels, p);

    assert_true(worker_sleeps(w, 1));
    assert_int_equal(pthread_cancel(w->thread), 0);
    assert_ptr_equal(end_of(w), PTHREAD_CANCELED);
    assert_int_equal(p->cleaned, 2);
    assert_int_equal(p->in_order, 2);
}

/* Notified, moved to the lock's sleepers, and cancelled there. */
static void cond_notified_and_cancelled_passes_the_notification_on(void **state)
{
    struct stage *stage = *state;

    for (int round = 0; round < 20; round++) {
        struct props *p = make(stage);
        struct worker *first = worker_start(stage, wait_for_news, p), *second;

        assert_true(worker_sleeps(first, 1));
        second = worker_start(stage, wait_for_news, p);
        assert_true(worker_sleeps(second, 1));
        assert_int_equal(plait_lock_acquire(&p->lock, PLAIT_FOREVER), 0);
        p->permits = 1;
        if (round % 2)
            assert_int_equal(pthread_cancel(first->thread), 0);
        assert_int_equal(plait_cond_notify(&p->cond, 1), 0);
        if (round % 2 == 0)
            assert_int_equal(pthread_cancel(first->thread), 0);
        assert_int_equal(plait_lock_release(&p->lock), 0);
        if (end_with_success(first)) {
            assert_int_equal(plait_lock_acquire(&p->lock, PLAIT_FOREVER), 0);
            p->permits++;
            assert_int_equal(plait_cond_notify(&p->cond, 1), 0);
            assert_int_equal(plait_lock_release(&p->lock), 0);
        }
        assert_null(end_of(second));
        assert_int_equal(p->permits, 0);
        assert_int_equal(plait_cond_fini(&p->cond), 0);
    }
}

/* Of two sleepers one is cancelled while one permit comes: the permit is the other's, or it is still there. */
static void sem_permit_is_not_lost_in_a_cancelled_sleeper(void **state)
{
    struct stage *stage = *state;

    for (int round = 0; round < 25; round++) {
        struct props *p = make(stage);
        struct worker *first = worker_start(stage, wait_for_permit, p), *second;

        assert_true(worker_sleeps(first, 1));
        second = worker_start(stage, wait_for_permit, p);
        assert_true(worker_sleeps(second, 1));
        if (round % 2)
            pthread_cancel(first->thread);
        assert_int_equal(plait_sem_release(&p->sem, 1), 0);
        if (round % 2 == 0)
            pthread_cancel(first->thread);
        if (end_with_success(first))
            assert_int_equal(plait_sem_release(&p->sem, 1), 0);
        assert_null(end_of(second));
        assert_int_equal(second->result, 0);
        assert_int_equal(plait_sem_value(&p->sem), 0);
    }
}

static void queue_item_is_not_lost_in_a_cancelled_sleeper(void **state)
{
    struct stage *stage = *state;
    struct props *p = make(stage);

    make_queue(stage, p);
    for (int round = 0; round < 25; round++) {
        struct worker *first = worker_start(stage, wait_for_item, p), *second;

        assert_true(worker_sleeps(first, 1));
        second = worker_start(stage, wait_for_item, p);
        assert_true(worker_sleeps(second, 1));
        if (round % 2)
            pthread_cancel(first->thread);
        assert_int_equal(plait_queue_put(p->queue, &round, PLAIT_NOW), 0);
        if (round % 2 == 0)
            pthread_cancel(first->thread);
        if (end_with_success(first))
            assert_int_equal(plait_queue_put(p->queue, &round, PLAIT_FOREVER), 0);
        assert_null(end_of(second));
        assert_int_equal(second->result, 0);
        assert_int_equal(plait_queue_qsize(p->queue), 0);
    }
    assert_int_equal(plait_queue_free(p->queue), 0);
}

/* Who is cancelled in join leaves the thread to be joined by others. */
static void *return_arg_soon(void *arg)
{
    sched_yield();
    return arg;
}

static void thread_is_joined_once_whoever_is_cancelled(void **state)
{
    struct stage *stage = *state;

    for (int round = 0; round < 30; round++) {
        struct props *p = make(stage);
        struct worker *w;
        void *result;

        assert_int_equal(plait_thread_new(&p->thread, &(struct plait_thread_opts){ .target = return_arg_soon,
                                                                                   .arg = p }), 0);
        /* Now the request comes into the wait, now into the collection of the result. */
        if (round % 2)
            assert_int_equal(plait_thread_start(p->thread), 0);
        w = worker_start(stage, wait_for_end_once_started, p);
        assert_true(worker_said(w, 1));
        if (round % 2 == 0)
            assert_int_equal(plait_thread_start(p->thread), 0);
        pthread_cancel(w->thread);
        end_of(w);
        assert_int_equal(plait_thread_join(p->thread, &result, plait_after(20)), 0);
        assert_ptr_equal(result, p);
        assert_int_equal(plait_thread_free(p->thread), 0);
    }
}

/* ---- Signals --------------------------------------------------------------------------------------------- */

static struct props *in_handler;

static void use_what_is_safe(int signal)
{
    struct props *p = in_handler;

    plait_sem_release(&p->sem, 1);
    plait_event_set(&p->event);
    plait_cancel_set(&p->token);
    __atomic_fetch_add(&p->cleaned, 1, __ATOMIC_RELEASE);
}

static void acquire_lock_and_permit(struct worker *self)
{
    struct props *p = self->with;

    worker_says(self, 1);
    self->result = plait_lock_acquire(&p->lock, PLAIT_FOREVER);
    self->result += plait_sem_acquire(&p->sem, 1, PLAIT_FOREVER);
    self->result += plait_event_wait(&p->event, PLAIT_FOREVER);
    self->result += plait_lock_release(&p->lock);
}

static void handler_runs_during_a_wait_which_goes_on(void **state)
{
    struct sigaction action = { .sa_handler = use_what_is_safe }, before; /* without SA_RESTART */
    struct stage *stage = *state;
    struct props *p = in_handler = make(stage);
    struct worker *w;

    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(plait_lock_acquire(&p->lock, PLAIT_FOREVER), 0);
    w = worker_start(stage, acquire_lock_and_permit, p);
    assert_true(worker_sleeps(w, 1));
    assert_int_equal(pthread_kill(w->thread, SIGUSR1), 0);
    assert_true(EVENTUALLY(__atomic_load_n(&p->cleaned, __ATOMIC_ACQUIRE) == 1));
    assert_true(worker_sleeps(w, 1));
    assert_int_equal(plait_lock_release(&p->lock), 0);
    assert_int_equal(worker_result(w), 0);
    assert_true(plait_cancel_is_set(&p->token));
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
}

/* ---- Fork ------------------------------------------------------------------------------------------------- */

static plait_lock_t forked_lock;

static int try_in_child(void *arg)
{
    return plait_lock_acquire(&forked_lock, PLAIT_NOW);
}

static void hold_until_told(struct worker *self)
{
    struct props *p = self->with;

    plait_lock_acquire(&forked_lock, PLAIT_FOREVER);
    worker_says(self, 1);
    plait_event_wait(&p->event, PLAIT_FOREVER);
    plait_lock_release(&forked_lock);
}

static void private_lock_of_another_thread_stays_held_in_the_child(void **state)
{
    struct stage *stage = *state;
    struct props *p = make(stage);
    struct worker *w = worker_start(stage, hold_until_told, p);

    assert_true(worker_said(w, 1));
    assert_int_equal(child_run(try_in_child, NULL), ETIMEDOUT);
    assert_int_equal(plait_event_set(&p->event), 0);
    assert_true(worker_join(w));
    assert_int_equal(child_run(try_in_child, NULL), 0);
}

static bool with_recipe;

static void before_fork(void)
{
    if (with_recipe)
        plait_lock_acquire(&forked_lock, PLAIT_FOREVER);
}

static void after_fork(void)
{
    if (with_recipe)
        plait_lock_release(&forked_lock);
}

static void hold_now_and_then(struct worker *self)
{
    struct props *p = self->with;

    worker_says(self, 1);
    while (!plait_event_is_set(&p->event)) {
        plait_lock_acquire(&forked_lock, PLAIT_FOREVER);
        plait_lock_release(&forked_lock);
    }
}

/* The recipe of the manual: held over the fork, so nobody else holds it then. */
static void private_lock_taken_by_fork_handlers_is_free_in_the_child(void **state)
{
    struct stage *stage = *state;
    struct props *p = make(stage);
    struct worker *w = worker_start(stage, hold_now_and_then, p);

    assert_int_equal(pthread_atfork(before_fork, after_fork, after_fork), 0);
    assert_true(worker_said(w, 1));
    with_recipe = true;
    for (int i = 0; i < 20; i++)
        assert_int_equal(child_run(try_in_child, NULL), 0);
    with_recipe = false;
    assert_int_equal(plait_event_set(&p->event), 0);
    assert_true(worker_join(w));
}

/* ---- Ends of threads, and libc's own robust mutexes ------------------------------------------------------------ */

struct both {
    plait_lock_t ours[3];
    pthread_mutex_t theirs[3];
};

static void hold_both_and_end(struct worker *self)
{
    struct both *both = self->with;

    for (int i = 0; i < 3; i++) {
        self->result = plait_lock_acquire(&both->ours[i], PLAIT_FOREVER);
        self->result += pthread_mutex_lock(&both->theirs[i]);
    }
    self->result += plait_lock_release(&both->ours[1]);
    self->result += pthread_mutex_unlock(&both->theirs[1]);
    worker_die(self);
}

static void locks_of_both_kinds_tell_of_their_dead_holder(void **state)
{
    struct stage *stage = *state;
    struct both *both = stage_alloc(stage, sizeof *both);
    pthread_mutexattr_t attr;
    struct worker *w;

    if (is_emulated()) { /* libc's own robust mutexes hang after a death where the system has no robust lists */
        print_message("skipped under an emulator\n");
        skip();
    }
    assert_non_null(both);
    assert_int_equal(pthread_mutexattr_init(&attr), 0);
    assert_int_equal(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED), 0);
    assert_int_equal(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_lock_init(&both->ours[i], PLAIT_SHARED), 0);
        assert_int_equal(pthread_mutex_init(&both->theirs[i], &attr), 0);
    }
    w = worker_start(stage, hold_both_and_end, both);
    assert_true(worker_join(w));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_lock_acquire(&both->ours[i], PLAIT_FOREVER), i == 1 ? 0 : EOWNERDEAD);
        assert_int_equal(pthread_mutex_lock(&both->theirs[i]), i == 1 ? 0 : EOWNERDEAD);
        assert_int_equal(plait_lock_consistent(&both->ours[i]), i == 1 ? EINVAL : 0);
        if (i != 1)
            assert_int_equal(pthread_mutex_consistent(&both->theirs[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_lock_release(&both->ours[i]), 0);
        assert_int_equal(pthread_mutex_unlock(&both->theirs[i]), 0);
        assert_int_equal(pthread_mutex_destroy(&both->theirs[i]), 0);
    }
}

/* ---- What a thread's handle is for ------------------------------------------------------------------------------- */

static void *measure_stack(void *size_out)
{
    pthread_attr_t attr;
    size_t size = 0;

    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        pthread_attr_getstacksize(&attr, &size);
        pthread_attr_destroy(&attr);
    }
    *(size_t *)size_out = size;
    return NULL;
}

static void thread_has_the_stack_it_was_given(void **state)
{
    plait_thread_t *thread;
    size_t size = 0;

    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = measure_stack, .arg = &size,
                                                                            .stack_size = 768 << 10 }), 0);
    assert_int_equal(plait_thread_start(thread), 0);
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), 0);
    assert_true(size >= 700 << 10 && size < 2 << 20);
    assert_int_equal(plait_thread_free(thread), 0);
}

static void thread_is_named_placed_and_scheduled_by_its_pthread(void **state)
{
    static plait_event_t done;
    struct sched_param param = { 0 };
    plait_thread_t *thread;
    pthread_t pthread;
    char name[16] = "";
    cpu_set_t one, seen;
    int policy, cpu = 0;

    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = wait_for_event_there,
                                                                            .arg = &done, .name = "before" }), 0);
    assert_int_equal(plait_thread_pthread(thread, &pthread), EINVAL);
    assert_int_equal(plait_thread_start(thread), 0);
    assert_int_equal(plait_thread_pthread(thread, &pthread), 0);

    assert_int_equal(pthread_setname_np(pthread, "after"), 0);
    assert_int_equal(pthread_getname_np(pthread, name, sizeof name), 0);
    assert_string_equal(name, "after");

    assert_int_equal(pthread_getaffinity_np(pthread, sizeof seen, &seen), 0);
    while (!CPU_ISSET(cpu, &seen))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    assert_int_equal(pthread_setaffinity_np(pthread, sizeof one, &one), 0);
    assert_int_equal(pthread_getaffinity_np(pthread, sizeof seen, &seen), 0);
    assert_true(CPU_EQUAL(&one, &seen));

    assert_int_equal(pthread_setschedparam(pthread, SCHED_BATCH, &param), 0);
    assert_int_equal(pthread_getschedparam(pthread, &policy, &param), 0);
    assert_int_equal(policy, SCHED_BATCH);

    assert_int_equal(plait_event_set(&done), 0);
    assert_int_equal(plait_thread_join(thread, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(plait_thread_free(thread), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parked_waiter_leaves_the_table_by_pthread_cancel), /* first: its child has no threads yet */
        THREADED(waits_end_by_pthread_cancel),
        cmocka_unit_test(process_join_ends_by_pthread_cancel),
        THREADED(wait_that_need_not_sleep_is_no_cancellation_point),
        THREADED(wait_with_requests_off_goes_on),
        THREADED(locks_are_no_cancellation_points),
        THREADED(cond_lock_is_held_when_the_handlers_run),
        THREADED(cond_rlock_is_held_at_all_levels_when_the_handlers_run),
        THREADED(cond_notified_and_cancelled_passes_the_notification_on),
        THREADED(sem_permit_is_not_lost_in_a_cancelled_sleeper),
        THREADED(queue_item_is_not_lost_in_a_cancelled_sleeper),
        THREADED(thread_is_joined_once_whoever_is_cancelled),
        THREADED(handler_runs_during_a_wait_which_goes_on),
        PRIVATE(private_lock_of_another_thread_stays_held_in_the_child),
        PRIVATE(private_lock_taken_by_fork_handlers_is_free_in_the_child),
        SHARED(locks_of_both_kinds_tell_of_their_dead_holder),
        cmocka_unit_test(thread_has_the_stack_it_was_given),
        cmocka_unit_test(thread_is_named_placed_and_scheduled_by_its_pthread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
