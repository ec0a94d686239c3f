/* SPDX-License-Identifier: MIT */
/* Process: the handle on a child of the nursery. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/init.h>
#include <plait/process.h>

#include "base/atomic.h"
#include "base/options.h"
#include "base/races.h"
#include "exec/finish.h"
#include "exec/nursery_wire.h"
#include "wait/waitable.h"

/*
 * How it works
 *
 * A process is a struct plait__child of the nursery (nursery.c) and a copy of what it is to run. State:
 *
 *     NEW -> STARTING -> STARTED           STARTING -> NEW when it could not be started
 *
 * E1 start: the starter writes `child`, then releases STARTED; all others acquire the state before they read it.
 *
 * All that were started stand in a list until their handles are dropped and they have ended: exit() walks it to wait for those
 * that are not daemons. A last handle dropped early leaves its struct there; later starts and drops
 * sweep such structs out. The list belongs to one process: after fork the child's is empty.
 */

enum process_state { NEW, STARTING, STARTED };

enum { ARG_SIZE_MAX = 64 << 20 };

struct plait_process {
    uint32_t state;            /* atomic: enum process_state (E1) */
    unsigned handles;          /* guarded by lock: how many there are of it */
    pid_t owner;               /* const after start: the process that started it */
    struct plait__child child; /* const after start (E1) */
    struct plait__spawn spawn; /* const after new; what it points to lies behind the struct */
    plait_process_t *next;     /* guarded by lock */
    plait_process_t **link;    /* guarded by lock: what points to it */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static plait_process_t *started;       /* guarded by lock */
static pid_t owner;                    /* whose list that is */
static uint32_t names_given;           /* atomic */
static uint32_t was_entered;           /* atomic: plait_init was called; a new execution of this program will do so, too */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* ---- The list ----------------------------------------------------------------------------- */

static void forget_after_fork(void)
{
    pthread_mutex_init(&lock, NULL);
    started = NULL; /* the structs may still be handles: they are not freed here */
    owner = getpid();
}

/* With the lock held. */
static void enlist(plait_process_t *process)
{
    process->next = started;
    process->link = &started;
    if (started)
        started->link = &process->next;
    started = process;
}

/* With the lock held; the process has ended and nobody has its handle. */
static void discard(plait_process_t *process)
{
    if (process->owner == owner) {
        *process->link = process->next;
        if (process->next)
            process->next->link = process->link;
    }
    plait__child_drop(&process->child);
    free(process);
}

/* With the lock held. */
static void sweep(void)
{
    plait_process_t *next;

    for (plait_process_t *process = started; process; process = next) {
        next = process->next;
        if (process->handles == 0 && plait__child_state(&process->child, NULL) != PLAIT__CHILD_RUNS)
            discard(process);
    }
}

/* One that exit has to wait for, with the lock held. */
static plait_process_t *unfinished(void)
{
    for (plait_process_t *process = started; process; process = process->next)
        if (!process->spawn.daemon && plait__child_state(&process->child, NULL) == PLAIT__CHILD_RUNS)
            return process;
    return NULL;
}

void plait__processes_finish(void)
{
    plait_process_t *process;

    if (owner != getpid())
        return;
    plait_cancel_bind(NULL);
    for (;;) {
        pthread_mutex_lock(&lock);
        process = unfinished();
        if (process)
            process->handles++; /* others may drop theirs meanwhile */
        pthread_mutex_unlock(&lock);
        if (!process)
            break;
        plait__child_wait(&process->child, PLAIT_FOREVER);
        plait_process_free(process);
    }
    pthread_mutex_lock(&lock);
    for (process = started; process; process = process->next)
        plait__child_leave(&process->child);
    pthread_mutex_unlock(&lock);
    plait__nursery_leave();
}

static void register_handlers(void)
{
    owner = getpid();
    pthread_atfork(NULL, NULL, forget_after_fork);
    atexit(plait__processes_finish);
}

int plait_init(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    plait__races_once(&once, register_handlers);
    store_relaxed(&was_entered, 1);
    plait__newborn_enter();
    return plait__nursery_enter();
}

/* ---- Making ------------------------------------------------------------------------------- */

static size_t string_size(const char *string)
{
    return string ? strlen(string) + 1 : 0;
}

static char *copy_string(char **room, const char *string)
{
    char *copy = *room;

    if (!string)
        return NULL;
    *room = stpcpy(copy, string) + 1;
    return copy;
}

/* Copy what the options point to behind the struct; the argument itself stays the caller's until the start. */
static plait_process_t *copy_options(const struct plait_process_opts *opts)
{
    size_t argc = 0, envc = 0, size = string_size(opts->name) + string_size(opts->program) + string_size(opts->directory);
    plait_process_t *process;

    for (; opts->argv && opts->argv[argc]; argc++)
        size += string_size(opts->argv[argc]);
    for (; opts->envp && opts->envp[envc]; envc++)
        size += string_size(opts->envp[envc]);
    process = calloc(1, sizeof *process + (argc + envc + 2) * sizeof(char *) + opts->fd_count * sizeof *opts->fds + size);
    if (!process)
        return NULL;
    char **argv = (char **)(process + 1), **envp = argv + argc + 1;
    struct plait_process_fd *fds = (struct plait_process_fd *)(envp + envc + 1);
    char *room = (char *)(fds + opts->fd_count);
    process->spawn = (struct plait__spawn){ .target = opts->target, .arg = opts->arg, .arg_size = opts->arg_size,
                                            .daemon = opts->daemon, .carry_fd = -1, .fds = fds, .fd_count = opts->fd_count,
                                            .from_now = opts->method == PLAIT_FORK, .afresh = opts->method == PLAIT_SPAWN,
                                            .streams = { opts->stdin_fd, opts->stdout_fd, opts->stderr_fd } };
    process->handles = 1;
    process->spawn.name = copy_string(&room, opts->name);
    process->spawn.program = copy_string(&room, opts->program);
    for (size_t i = 0; i < argc; i++)
        argv[i] = copy_string(&room, opts->argv[i]);
    for (size_t i = 0; i < envc; i++)
        envp[i] = copy_string(&room, opts->envp[i]);
    process->spawn.argv = opts->argv ? argv : NULL;
    process->spawn.envp = opts->envp ? envp : NULL;
    process->spawn.directory = copy_string(&room, opts->directory);
    for (size_t i = 0; i < opts->fd_count; i++)
        fds[i] = opts->fds[i];
    return process;
}

static int number_of(const struct plait_process_fd *fd)
{
    return fd->as ? fd->as : fd->fd;
}

static bool are_sound(const struct plait_process_fd *fds, size_t count)
{
    if (count > PLAIT_PROCESS_FDS_MAX || (count && !fds))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (number_of(&fds[i]) < 3)
            return false;
        for (size_t j = 0; j < i; j++)
            if (number_of(&fds[j]) == number_of(&fds[i]))
                return false;
    }
    return true;
}

int plait_process_new_sized(plait_process_t **process_out, const struct plait_process_opts *given, size_t given_size)
{
    struct plait_process_opts opts;
    char made_up[32];

    if (!process_out || plait__options_read(&opts, sizeof opts, given, given_size) || !opts.target == !opts.program ||
        opts.arg_size > ARG_SIZE_MAX || (opts.arg_size && !opts.arg) || !are_sound(opts.fds, opts.fd_count) ||
        (unsigned)opts.method > PLAIT_SPAWN || (opts.method != PLAIT_NURSERY && opts.program))
        return EINVAL;
    if (!opts.name) {
        snprintf(made_up, sizeof made_up, "plait-%u", add_relaxed(&names_given, 1) + 1);
        opts.name = made_up;
    }
    *process_out = copy_options(&opts);
    return *process_out ? 0 : ENOMEM;
}

int plait_process_start(plait_process_t *process)
{
    uint32_t state = NEW;
    int err;

    if (process->spawn.afresh && !load_relaxed(&was_entered))
        return EINVAL;
    if (!cas_acqrel(&process->state, &state, STARTING))
        return EBUSY;
    plait__races_once(&once, register_handlers);
    err = plait__child_start(&process->spawn, &process->child);
    if (err) {
        store_release(&process->state, NEW);
        return err;
    }
    pthread_mutex_lock(&lock);
    sweep();
    process->owner = owner = getpid();
    enlist(process);
    store_release(&process->state, STARTED); /* E1 */
    pthread_mutex_unlock(&lock);
    return 0;
}

/* ---- Asking ------------------------------------------------------------------------------- */

static bool has_started(const plait_process_t *process)
{
    return load_acquire(&process->state) == STARTED; /* E1 */
}

int plait_process_join(plait_process_t *process, plait_time_t deadline)
{
    int err;

    if (!has_started(process))
        return EINVAL;
    err = plait__child_wait(&process->child, deadline);
    if (err)
        return err;
    return plait__child_state(&process->child, NULL) == PLAIT__CHILD_LOST ? EOWNERDEAD : 0;
}

static int attempt_join(struct plait__waiting *waiting)
{
    return plait__not_now(plait_process_join(waiting->entry->object, PLAIT_NOW));
}

static bool enlist_join(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_process_t *process = waiting->entry->object;

    return plait__child_word(&process->child, word_out);
}

struct plait_wait_entry plait_any_process_join(plait_process_t *process)
{
    static const struct plait_waitable joining = { attempt_join, enlist_join, NULL, PLAIT__WATCH_ATTEMPT, NULL };

    return (struct plait_wait_entry){ .how = &joining, .object = process };
}

bool plait_process_is_alive(const plait_process_t *process)
{
    return has_started(process) && plait__child_state(&process->child, NULL) == PLAIT__CHILD_RUNS;
}

int plait_process_exitcode(const plait_process_t *process, int *code_out)
{
    int status = 0;

    if (!has_started(process))
        return EINVAL;
    switch (plait__child_state(&process->child, &status)) {
    case PLAIT__CHILD_RUNS:
        return EBUSY;
    case PLAIT__CHILD_LOST:
        return EOWNERDEAD;
    case PLAIT__CHILD_ENDED:
        break;
    }
    *code_out = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    return 0;
}

pid_t plait_process_pid(const plait_process_t *process)
{
    return has_started(process) ? process->child.pid : 0;
}

const char *plait_process_name(const plait_process_t *process)
{
    return process->spawn.name;
}

int plait_process_signal(plait_process_t *process, int signal)
{
    if (signal < 0 || signal >= NSIG)
        return EINVAL;
    return has_started(process) ? plait__child_signal(&process->child, signal) : ESRCH;
}

int plait_process_terminate(plait_process_t *process)
{
    return plait_process_signal(process, SIGTERM);
}

int plait_process_kill(plait_process_t *process)
{
    return plait_process_signal(process, SIGKILL);
}

int plait_process_interrupt(plait_process_t *process)
{
    return plait_process_signal(process, SIGINT);
}

bool plait_process_is_daemon(const plait_process_t *process)
{
    return process->spawn.daemon;
}

int plait_process_active_children(plait_process_t **processes, size_t room, size_t *count_out)
{
    size_t count = 0;

    pthread_mutex_lock(&lock);
    for (plait_process_t *process = owner == getpid() ? started : NULL; process; process = process->next) {
        if (plait__child_state(&process->child, NULL) != PLAIT__CHILD_RUNS)
            continue;
        if (count < room) {
            process->handles++;
            processes[count] = process;
        }
        count++;
    }
    pthread_mutex_unlock(&lock);
    *count_out = count;
    return 0;
}

int plait_process_sentinel(const plait_process_t *process, int *fd_out)
{
    if (!has_started(process))
        return EINVAL;
    if (process->child.pidfd < 0)
        return ENOSYS;
    *fd_out = process->child.pidfd;
    return 0;
}

int plait_process_free(plait_process_t *process)
{
    if (!process)
        return 0;
    if (!has_started(process)) {
        free(process);
        return 0;
    }
    pthread_mutex_lock(&lock);
    if (--process->handles == 0 && plait__child_state(&process->child, NULL) != PLAIT__CHILD_RUNS)
        discard(process);
    sweep();
    pthread_mutex_unlock(&lock);
    return 0;
}
