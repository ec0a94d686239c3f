/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The thread is a joinable pthread, because only pthread_join learns what pthread_exit was given and that the
 * thread's own destructors have run. A state word says how far it is; all waits are on that word:
 *
 *     NEW -> STARTING -> RUNNING -> ENDED -> JOINING -> JOINED
 *      ^--------'  (the system made no thread)
 *      ^--------------- REFUSED  (the thread may not use those CPUs)
 *
 *   STARTING  plait_thread_start has claimed it; from RUNNING on `pthread` is valid
 *   ENDED     set when its thread-specific values have been destroyed, so after return, pthread_exit and pthread_cancel alike
 *   JOINING   one of those who join is in pthread_join, which now takes no time; the others wait for
 *   JOINED    `result` is valid
 *
 * A thread that was not made here is adopted when it asks who it is: RUNNING until its thread-specific destructors run, JOINED
 * from then on.
 *
 * E1 result: whoever joined stores `result`, then releases JOINED; joiners acquire the word, then read. What the thread says of
 * its failure (thread_failure.c) is stored before it releases ENDED.
 * E2 pthread, native_id: the thread stores them, then releases RUNNING; readers acquire.
 * E4 pid: who starts stores `pid`, then releases STARTING; who has acquired a later state than NEW reads it. Two may try to
 * start at once, so it is atomic; they are of one process and store the same.
 *
 * The struct belongs to its handles and to the running thread: `owners` counts them, and the last one gives the memory back (E3:
 * acquire and release on `owners`). A pthread that nobody has joined is detached by that last one.
 *
 * All threads that are alive are in a list (thread_list.c).
 *
 * Exit: `unfinished` counts the running threads that are not daemons; its top bit says that exit waits.
 * The count and the list are of one process: a child after fork starts with its only thread.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "base/options.h"
#include "base/races.h"
#include "base/tls.h"
#include "exec/finish.h"
#include "exec/thread.h"
#include "wait/point.h"
#include "wait/waitable.h"

#define EXIT_WAITS 0x80000000u

static PLAIT_TLS plait_thread_t *current;

static uint32_t unfinished;   /* atomic: see above */
static uint32_t names_given;  /* atomic */
static pid_t unfinished_pid;  /* process that `unfinished` is about; written by prepare and after fork */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t adopted_key; /* const after prepare: an adopted thread's own handle */
static pthread_key_t leaving_key; /* the same: of one made here, when its target has returned */

/* ---- Owners ------------------------------------------------------------------------------ */

static void destroy(plait_thread_t *thread)
{
    pthread_attr_destroy(&thread->attr);
    free(thread->cpus);
    free(thread->error_text);
    free(thread);
}

/* The last owner gives the memory back, and a pthread that is not joined away. */
static void drop(plait_thread_t *thread)
{
    if (sub_acqrel(&thread->owners, 1) != 1) /* E3 */
        return;
    if (load_acquire(&thread->state) == ENDED)
        pthread_detach(thread->pthread);
    destroy(thread);
}

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

static pid_t own_id(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static void forget_after_fork(void)
{
    unfinished_pid = getpid();
    store_relaxed(&unfinished, caller_counts());
    plait__threads_only(current);
    if (current) { /* the only thread */
        store_relaxed(&current->pid, (uint32_t)unfinished_pid);
        store_relaxed(&current->native_id, (uint32_t)own_id());
    }
}

void plait__thread_forget(void)
{
    if (current && current->adopted)
        pthread_setspecific(adopted_key, NULL);
    current = NULL;
    plait__threads_only(NULL);
    store_relaxed(&unfinished, 0);
}

static void adopted_ended(void *thread);
static void leaves(void *thread);

static void prepare(void)
{
    unfinished_pid = getpid();
    pthread_key_create(&adopted_key, adopted_ended);
    pthread_key_create(&leaving_key, leaves);
    pthread_atfork(NULL, NULL, forget_after_fork);
    atexit(plait__threads_finish);
}

static void finished(void)
{
    if (sub_release(&unfinished, 1) & EXIT_WAITS) /* no acquire: one end is not before another */
        plait_wake(&unfinished, UINT_MAX, 0);
}

/* ---- The life of a thread ---------------------------------------------------------------- */

static void set_state(plait_thread_t *thread, enum plait__thread_state state)
{
    store_release(&thread->state, state);
    plait_wake(&thread->state, UINT_MAX, 0);
}

static void ended(plait_thread_t *thread)
{
    bool counts = !thread->daemon;

    current = NULL;
    plait__threads_leave(thread);
    set_state(thread, ENDED);
    drop(thread);
    if (counts)
        finished();
}

/*
 * A value of ours is destroyed like all others, in rounds as long as there are any; so those of the program have had their turn if ours has come again
 * and again. Not the last round of all: there sanitizers end the thread.
 */
enum { ROUNDS = PTHREAD_DESTRUCTOR_ITERATIONS - 1 };

static void leaves(void *arg)
{
    plait_thread_t *thread = arg;

    if (thread->rounds++ == ROUNDS || pthread_setspecific(leaving_key, thread) != 0)
        ended(thread);
}

static void *run(void *arg)
{
    plait_thread_t *thread = arg;
    char shown[16];
    void *result;

    if (thread->cpus && syscall(SYS_sched_setaffinity, 0, sizeof *thread->cpus, thread->cpus) < 0) {
        set_state(thread, REFUSED);
        return NULL;
    }
    current = thread;
    snprintf(shown, sizeof shown, "%.15s", thread->name);
    pthread_setname_np(pthread_self(), shown);
    thread->pthread = pthread_self();
    store_relaxed(&thread->native_id, (uint32_t)own_id()); /* E2 */
    set_state(thread, RUNNING);
    pthread_cleanup_push(leaves, thread);
    result = thread->target(thread->arg);
    pthread_cleanup_pop(1);
    return result;
}

/* ---- Threads that were not made here ------------------------------------------------------ */

static void adopted_ended(void *arg)
{
    plait_thread_t *thread = arg;

    current = NULL;
    plait__threads_leave(thread);
    set_state(thread, JOINED);
    drop(thread);
}

/* NULL: no memory. */
static plait_thread_t *make_handle(const char *name)
{
    plait_thread_t *thread = calloc(1, sizeof *thread + strlen(name) + 1);

    if (!thread)
        return NULL;
    strcpy(thread->name, name);
    thread->owners = 1;
    if (pthread_attr_init(&thread->attr) != 0) {
        free(thread);
        return NULL;
    }
    return thread;
}

/* The caller becomes one of ours. */
static plait_thread_t *adopt(void)
{
    char name[16] = "";
    plait_thread_t *thread;

    plait__races_once(&once, prepare);
    prctl(PR_GET_NAME, name, 0, 0, 0);
    thread = make_handle(own_id() == getpid() ? "main" : name);
    if (!thread)
        return NULL;
    if (pthread_setspecific(adopted_key, thread) != 0) {
        destroy(thread);
        return NULL;
    }
    thread->daemon = thread->adopted = true;
    thread->pthread = pthread_self();
    store_relaxed(&thread->pid, (uint32_t)getpid());
    store_relaxed(&thread->native_id, (uint32_t)own_id());
    store_release(&thread->state, RUNNING); /* E2 */
    current = thread;
    plait__threads_enter(thread);
    return thread;
}

plait_thread_t *plait_thread_current(void)
{
    return current ? current : adopt();
}

/* ---- The public calls -------------------------------------------------------------------- */

static int set_cpus(plait_thread_t *thread, const unsigned *cpus, size_t count)
{
    if (count == 0)
        return EINVAL;
    thread->cpus = calloc(1, sizeof *thread->cpus);
    if (!thread->cpus)
        return ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (cpus[i] >= CPUS_MAX)
            return EINVAL;
        thread->cpus->words[cpus[i] / WORD_BITS] |= 1ul << cpus[i] % WORD_BITS;
    }
    return 0;
}

static int set_policy(plait_thread_t *thread, int policy, int priority)
{
    struct sched_param param = { .sched_priority = priority };
    int least = sched_get_priority_min(policy), most = sched_get_priority_max(policy);

    if (least < 0 || most < 0 || priority < least || priority > most)
        return EINVAL;
    if (policy == SCHED_OTHER)
        return 0; /* inherited */
    if (pthread_attr_setinheritsched(&thread->attr, PTHREAD_EXPLICIT_SCHED) != 0 ||
        pthread_attr_setschedpolicy(&thread->attr, policy) != 0 || pthread_attr_setschedparam(&thread->attr, &param) != 0)
        return EINVAL;
    return 0;
}

static int set_options(plait_thread_t *thread, const struct plait_thread_opts *opts)
{
    int err = set_policy(thread, opts->policy, opts->priority);

    thread->target = opts->target;
    thread->arg = opts->arg;
    thread->daemon = opts->daemon;
    if (err == 0 && opts->stack_size && pthread_attr_setstacksize(&thread->attr, opts->stack_size) != 0)
        err = EINVAL;
    if (err == 0 && (opts->cpus || opts->cpu_count))
        err = opts->cpus ? set_cpus(thread, opts->cpus, opts->cpu_count) : EINVAL;
    return err;
}

int plait_thread_new_sized(plait_thread_t **thread_out, const struct plait_thread_opts *given, size_t given_size)
{
    struct plait_thread_opts opts;
    char made_up[32];
    plait_thread_t *thread;
    int err;

    if (!thread_out || plait__options_read(&opts, sizeof opts, given, given_size) || !opts.target)
        return EINVAL;
    if (!opts.name)
        snprintf(made_up, sizeof made_up, "plait-%u", add_relaxed(&names_given, 1) + 1);
    thread = make_handle(opts.name ? opts.name : made_up);
    if (!thread)
        return ENOMEM;
    err = set_options(thread, &opts);
    if (err) {
        destroy(thread);
        return err;
    }
    *thread_out = thread;
    return 0;
}

/* Wait until it has taken its first steps; that is not to be cancelled. */
static void await_first_steps(const plait_thread_t *thread)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);

    while (load_acquire(&thread->state) == STARTING)
        plait_wait(&thread->state, STARTING, 0, PLAIT_FOREVER);
    plait_cancel_bind(token);
}

/*
 * A pthread for it. Whether it may use its CPUs only the thread itself is told. Where they do not matter, the thread may have
 * ended before this returns, and whoever it has told of may have freed the handle.
 */
static int create(plait_thread_t *thread)
{
    bool has_cpus = thread->cpus != NULL;
    pthread_t pthread;
    int err = pthread_create(&pthread, &thread->attr, run, thread);

    if (err)
        return err == EPERM ? EPERM : EAGAIN;
    if (!has_cpus)
        return 0;
    await_first_steps(thread);
    if (load_acquire(&thread->state) != REFUSED)
        return 0;
    pthread_join(pthread, NULL);
    return EINVAL;
}

int plait_thread_start(plait_thread_t *thread)
{
    uint32_t state = NEW;
    int err;

    if (load_relaxed(&thread->state) != NEW)
        return EBUSY; /* perhaps started by the parent of this process, whose it stays */
    store_relaxed(&thread->pid, (uint32_t)getpid());
    if (!cas_acqrel(&thread->state, &state, STARTING)) /* E4 */
        return EBUSY;
    plait__races_once(&once, prepare);
    if (!current && own_id() == getpid())
        adopt(); /* it counts as active; without memory it does not */
    if (!thread->daemon)
        add_relaxed(&unfinished, 1);
    add_relaxed(&thread->owners, 1); /* relaxed: pthread_create comes after it */
    plait__threads_enter(thread);
    err = create(thread);
    if (err == 0)
        return 0;
    plait__threads_leave(thread);
    sub_acqrel(&thread->owners, 1); /* E3; the caller's handle is left */
    if (!thread->daemon)
        finished();
    set_state(thread, NEW);
    return err;
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
    static const struct plait_waitable joining = { attempt_join, enlist_join, NULL, PLAIT__WATCH_ATTEMPT, NULL };

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

bool plait_thread_is_daemon(const plait_thread_t *thread)
{
    return thread->daemon;
}

/* Running, and in this process? */
static bool is_running(const plait_thread_t *thread)
{
    if (load_acquire(&thread->state) == STARTING && is_ours(thread))
        await_first_steps(thread);
    return load_acquire(&thread->state) == RUNNING && is_ours(thread); /* E2 */
}

pid_t plait_thread_native_id(const plait_thread_t *thread)
{
    return is_running(thread) ? (pid_t)load_relaxed(&thread->native_id) : 0;
}

int plait_thread_pthread(const plait_thread_t *thread, pthread_t *pthread_out)
{
    if (!is_running(thread))
        return EINVAL;
    *pthread_out = thread->pthread;
    return 0;
}

/* In a child of fork, whose copy of somebody else's handle this is: the thread cannot drop its share any more. */
static void drop_inherited(plait_thread_t *thread, enum plait__thread_state state)
{
    uint32_t last = state == STARTING || state == RUNNING ? 2 : 1;

    if (sub_acqrel(&thread->owners, 1) == last)
        destroy(thread);
}

int plait_thread_free(plait_thread_t *thread)
{
    enum plait__thread_state state;

    if (!thread)
        return 0;
    state = load_acquire(&thread->state);
    if (state == NEW || is_ours(thread))
        drop(thread);
    else
        drop_inherited(thread, state);
    return 0;
}
