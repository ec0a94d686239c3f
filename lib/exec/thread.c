/* SPDX-License-Identifier: MIT */
/* Thread: a pthread whose end can be waited for with a deadline, by several. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/thread.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "base/options.h"
#include "base/races.h"
#include "base/tls.h"
#include "exec/finish.h"
#include "wait/point.h"
#include "wait/waitable.h"

/*
 * How it works
 *
 * The thread is a joinable pthread, because only pthread_join learns what pthread_exit was given and that the
 * thread's own destructors have run. A state word says how far it is; all waits are on that word:
 *
 *     NEW -> STARTING -> RUNNING -> ENDED -> JOINING -> JOINED
 *      ^--------'  (the system made no thread)
 *
 *   STARTING  plait_thread_start has claimed it; from RUNNING on `pthread` is valid
 *   ENDED     set by a cleanup handler, so by return, pthread_exit and pthread_cancel alike
 *   JOINING   one of those who join is in pthread_join, which now takes only as long as the thread's
 *             destructors; the others wait for
 *   JOINED    `result` is valid
 *
 * E1 result: whoever joined stores `result`, then releases JOINED; joiners acquire the word, then read.
 * E2 pthread: the thread stores `pthread`, then releases RUNNING; readers acquire.
 * E4 pid: who starts stores `pid`, then releases STARTING; who has acquired a later state than NEW reads it. Two may try to
 * start at once, so it is atomic; they are of one process and store the same.
 *
 * The struct belongs to two: the handle and the running thread. Each sets its bit in `left` when it goes, and the
 * second one gives the memory back (E3: acquire and release on `left`). A pthread that nobody has joined is
 * detached by that second one.
 *
 * Exit: `unfinished` counts the running threads that are not daemons; its top bit says that exit waits.
 * The count is of one process: a child after fork starts with its only thread.
 */

enum thread_state { NEW, STARTING, RUNNING, ENDED, JOINING, JOINED };

enum { HANDLE_LEFT = 1u << 0, THREAD_LEFT = 1u << 1 };

#define EXIT_WAITS 0x80000000u

struct plait_thread {
    uint32_t state;         /* atomic: enum thread_state (E1, E2) */
    uint32_t left;          /* atomic: who has gone (E3) */
    void *(*target)(void *); /* const after new */
    void *arg;              /* const after new */
    void *result;           /* written before JOINED (E1) */
    pthread_t pthread;      /* written before RUNNING (E2) */
    pthread_attr_t attr;    /* const after new */
    uint32_t pid;           /* atomic: of the process that started it; stored before STARTING (E4) */
    bool daemon;            /* const after new */
    char name[];            /* const after new */
};

static PLAIT_TLS plait_thread_t *current;

static uint32_t unfinished;   /* atomic: see above */
static uint32_t names_given;  /* atomic */
static pid_t unfinished_pid;  /* process that `unfinished` is about; written by exit_register and after fork */
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

/* ---- Exit ------------------------------------------------------------------------------- */

static uint32_t caller_counts(void)
{
    return current && !current->daemon ? 1 : 0;
}

void plait__threads_finish(void)
{
    if (unfinished_pid != getpid())
        return;
    plait_cancel_bind(NULL);
    __atomic_fetch_or(&unfinished, EXIT_WAITS, __ATOMIC_ACQ_REL);
    for (;;) {
        uint32_t seen = load_acquire(&unfinished);
        if ((seen & ~EXIT_WAITS) <= caller_counts())
            return;
        plait_wait(&unfinished, seen, 0, PLAIT_FOREVER);
    }
}

static void forget_after_fork(void)
{
    unfinished_pid = getpid();
    store_relaxed(&unfinished, caller_counts());
    if (current)
        store_relaxed(&current->pid, (uint32_t)unfinished_pid); /* the only thread */
}

void plait__thread_forget(void)
{
    current = NULL;
    store_relaxed(&unfinished, 0);
}

static void exit_register(void)
{
    unfinished_pid = getpid();
    pthread_atfork(NULL, NULL, forget_after_fork);
    atexit(plait__threads_finish);
}

static void finished(void)
{
    if (sub_release(&unfinished, 1) & EXIT_WAITS) /* no acquire: one end is not before another */
        plait_wake(&unfinished, UINT_MAX, 0);
}

/* ---- The life of a thread ---------------------------------------------------------------- */

static void set_state(plait_thread_t *thread, enum thread_state state)
{
    store_release(&thread->state, state);
    plait_wake(&thread->state, UINT_MAX, 0);
}

static void destroy(plait_thread_t *thread)
{
    pthread_attr_destroy(&thread->attr);
    free(thread);
}

/* One of the two owners goes; the second gives the memory back, and a pthread that is not joined away. */
static void leave(plait_thread_t *thread, uint32_t who)
{
    if (__atomic_fetch_or(&thread->left, who, __ATOMIC_ACQ_REL) == 0)
        return;
    if (load_acquire(&thread->state) == ENDED)
        pthread_detach(thread->pthread);
    destroy(thread);
}

static void ended(void *arg)
{
    plait_thread_t *thread = arg;
    bool counts = !thread->daemon;

    current = NULL;
    set_state(thread, ENDED);
    leave(thread, THREAD_LEFT);
    if (counts)
        finished();
}

static void *run(void *arg)
{
    plait_thread_t *thread = arg;
    char shown[16];
    void *result;

    current = thread;
    snprintf(shown, sizeof shown, "%.15s", thread->name);
    pthread_setname_np(pthread_self(), shown);
    thread->pthread = pthread_self();
    set_state(thread, RUNNING);
    pthread_cleanup_push(ended, thread);
    result = thread->target(thread->arg);
    pthread_cleanup_pop(1);
    return result;
}

/* ---- The public calls -------------------------------------------------------------------- */

int plait_thread_new_sized(plait_thread_t **thread_out, const struct plait_thread_opts *given, size_t given_size)
{
    struct plait_thread_opts opts;
    char made_up[32];
    plait_thread_t *thread;

    if (!thread_out || plait__options_read(&opts, sizeof opts, given, given_size) || !opts.target)
        return EINVAL;
    if (!opts.name) {
        snprintf(made_up, sizeof made_up, "plait-%u", add_relaxed(&names_given, 1) + 1);
        opts.name = made_up;
    }
    thread = calloc(1, sizeof *thread + strlen(opts.name) + 1);
    if (!thread)
        return ENOMEM;
    strcpy(thread->name, opts.name);
    thread->target = opts.target;
    thread->arg = opts.arg;
    thread->daemon = opts.daemon;
    if (pthread_attr_init(&thread->attr) != 0) {
        free(thread);
        return ENOMEM;
    }
    if (opts.stack_size && pthread_attr_setstacksize(&thread->attr, opts.stack_size) != 0) {
        destroy(thread);
        return EINVAL;
    }
    *thread_out = thread;
    return 0;
}

int plait_thread_start(plait_thread_t *thread)
{
    uint32_t state = NEW;
    pthread_t ignored;

    if (load_relaxed(&thread->state) != NEW)
        return EBUSY; /* perhaps started by the parent of this process, whose it stays */
    store_relaxed(&thread->pid, (uint32_t)getpid());
    if (!cas_acqrel(&thread->state, &state, STARTING)) /* E4 */
        return EBUSY;
    plait__races_once(&exit_once, exit_register);
    if (!thread->daemon)
        add_relaxed(&unfinished, 1);
    if (pthread_create(&ignored, &thread->attr, run, thread) == 0)
        return 0;
    if (!thread->daemon)
        finished();
    set_state(thread, NEW);
    return EAGAIN;
}

/* Was it started by this process? The state has been acquired, and is not NEW. */
static bool is_ours(const plait_thread_t *thread)
{
    return load_relaxed(&thread->pid) == (uint32_t)getpid(); /* E4 */
}

static void not_collected(void *thread)
{
    set_state(thread, ENDED);
}

/* The state is ENDED: have one of those who join learn the result. */
static void collect(plait_thread_t *thread)
{
    uint32_t state = ENDED;
    int closed;

    if (!cas_acqrel(&thread->state, &state, JOINING))
        return;
    closed = plait__point_close(); /* who died in here would leave the others waiting for JOINED */
    pthread_cleanup_push(not_collected, thread); /* glibc acts all the same on a request that was made before */
    pthread_join(thread->pthread, &thread->result);
    pthread_cleanup_pop(0);
    set_state(thread, JOINED);
    plait__point_restore(closed);
}

int plait_thread_join(plait_thread_t *thread, void **result_out, plait_time_t deadline)
{
    plait_time_t slice = 0;
    uint32_t state;
    int err;

    if (thread == current)
        return EDEADLK;
    while ((state = load_acquire(&thread->state)) != JOINED) {
        if (state == NEW)
            return EINVAL;
        if (!is_ours(thread))
            return EOWNERDEAD;
        if (state == ENDED) {
            collect(thread);
            continue;
        }
        err = plait__wait_point(&thread->state, state, 0, deadline, &slice);
        if (err)
            return err;
    }
    if (result_out)
        *result_out = thread->result;
    return 0;
}

static int attempt_join(struct plait__waiting *waiting)
{
    return plait__not_now(plait_thread_join(waiting->entry->object, waiting->entry->buffer, PLAIT_NOW));
}

/* All who join sleep on the state, and each change wakes all of them: nothing to announce. */
static bool enlist_join(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_thread_t *thread = waiting->entry->object;
    uint32_t state = load_relaxed(&thread->state); /* relaxed: the attempt that follows acquires */

    *word_out = (struct plait_wait_word){ &thread->state, state, 0 };
    return state == STARTING || state == RUNNING || state == JOINING;
}

struct plait_wait_entry plait_any_thread_join(plait_thread_t *thread, void **result_out)
{
    static const struct plait_waitable joining = { attempt_join, enlist_join, NULL, PLAIT__WATCH_ATTEMPT };

    return (struct plait_wait_entry){ .how = &joining, .object = thread, .buffer = (void *)result_out };
}

bool plait_thread_is_alive(const plait_thread_t *thread)
{
    uint32_t state = load_acquire(&thread->state);

    return (state == STARTING || state == RUNNING) && is_ours(thread);
}

const char *plait_thread_name(const plait_thread_t *thread)
{
    return thread->name;
}

plait_thread_t *plait_thread_current(void)
{
    return current;
}

int plait_thread_pthread(const plait_thread_t *thread, pthread_t *pthread_out)
{
    /* The wait is for a thread that exists to take its first steps: not one to be cancelled. */
    plait_cancel_t *token = plait_cancel_bind(NULL);

    while (load_acquire(&thread->state) == STARTING && is_ours(thread))
        plait_wait(&thread->state, STARTING, 0, PLAIT_FOREVER);
    plait_cancel_bind(token);
    if (load_acquire(&thread->state) != RUNNING || !is_ours(thread))
        return EINVAL;
    *pthread_out = thread->pthread;
    return 0;
}

int plait_thread_free(plait_thread_t *thread)
{
    if (!thread)
        return 0;
    /* Without a thread of its own (never started, or left behind by fork) the handle is the only owner. */
    if (load_acquire(&thread->state) == NEW || !is_ours(thread))
        destroy(thread);
    else
        leave(thread, HANDLE_LEFT);
    return 0;
}
