/* SPDX-License-Identifier: MIT */
/* Process: a function or a program that runs in a process of its own. */
#ifndef PLAIT_PROCESS_H
#define PLAIT_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <plait/export.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_process_t - a handle on a process: made, started once, ended by itself or by a signal.
 *
 *     int sell(const void *arg, size_t size)        // in the new process; its result is the exit code
 *     {
 *         const struct order *order = arg;          // a copy of what was given
 *         ...
 *         return 0;
 *     }
 *
 *     plait_process_t *p;
 *     int code;
 *     plait_process_new(&p, &(struct plait_process_opts){ .target = sell, .arg = &order, .arg_size = sizeof order });
 *     plait_process_start(p);
 *     plait_process_join(p, PLAIT_FOREVER);
 *     plait_process_exitcode(p, &code);             // 0 to 255, or -9 if it was killed by signal 9
 *     plait_process_free(p);
 *
 * It is forked from the nursery (plait/init.h), so it sees the program's memory as it was when the nursery was made, not as
 * it is now; what it needs comes in `arg` and in arenas, whose references (plait_ref_t) it can open. The target may be any
 * function, static ones included, of the program or of a library it has loaded, also one loaded later. Standard streams,
 * environment and current directory are the program's at the time of the start, unless others are given; other descriptors
 * are not passed on, but for those that .fds lists; signals have their default dispositions and none is blocked. When the
 * target has returned, its streams are flushed, and exit handlers are not run: those are the program's.
 *
 * With .method = PLAIT_FORK a target sees the program's memory as it is when start is called: it is forked from a copy of
 * the program made at that moment, in which the calling thread goes on and no other exists. All else is as said here:
 * descriptors are those listed, whatever the memory has to say of others; nobody sees the process but this library; its
 * status is exact. The price is a second process, asleep, which keeps the copy as long as the process runs. What to mind is
 * what there is to mind with fork:
 *   - A lock that another thread held at that moment is held for ever in the process: of libplait a private lock, rlock,
 *     rwlock, sem, or a queue with a call under way. What the calling thread held is the process's to release. In libc,
 *     malloc, stdio and the loader work, and so does what has handlers of pthread_atfork: where a copy is caught that does
 *     not work, another one is taken, for up to some seconds.
 *   - Shared objects in arenas, processes and threads of its own, new pools and timers work at once. The program's pools,
 *     timers and bars are not there: calls answer as in any child of fork.
 *
 * With .method = PLAIT_SPAWN a target starts from nothing: the program is executed afresh, the same file even if it was
 * replaced, with the same arguments; and plait_init, which has to be called first in main, does not return there but calls
 * the target. It finds none of the program's memory, only what static initialisers make: that is for libraries that bear no
 * fork.
 *
 * Nothing of this touches SIGCHLD or the program's own children: its waitpid(-1) never sees these processes, and works
 * undisturbed. No zombie is left, whether they are joined or not. A daemon process (the default is not) is killed when the
 * program ends, however it ends; exit() waits for the others. A program that is itself killed takes its daemons along and
 * leaves the others running.
 */
typedef struct plait_process plait_process_t;

/* From what a process is forked. */
enum plait_process_method {
    PLAIT_NURSERY = 0, /* from the nursery: quick, and safe with threads */
    PLAIT_FORK = 1,    /* from the program as it is at the start: it sees its memory; targets only */
    PLAIT_SPAWN = 2    /* from nothing: the program is executed afresh; targets only */
};

/* A descriptor that a process receives. */
struct plait_process_fd {
    int fd; /* open at the start; close-on-exec does not matter */
    int as; /* its number there, from 3 on; 0: the same */
};

/* The most of them. */
#define PLAIT_PROCESS_FDS_MAX 240

/* Options of plait_process_new; zero is the default of each. Either target or program. */
struct plait_process_opts {
    int (*target)(const void *arg, size_t arg_size);
    const void *arg;      /* copied at start; the target finds it aligned to 16 */
    size_t arg_size;      /* bytes, up to 64 MiB */
    const char *program;  /* looked up in PATH unless it contains '/'; copied */
    char *const *argv;    /* NULL-terminated, argv[0] included; NULL: the program alone; copied */
    const char *name;     /* NULL: "plait-N"; shown by ps for a target; copied */
    bool daemon;
    const char *directory; /* where it begins; NULL: the program's at the start; copied */
    char *const *envp;     /* "NAME=value", NULL-terminated; NULL: the program's at the start; copied */
    int stdin_fd;          /* open descriptors, which stay the caller's and become its standard streams */
    int stdout_fd;         /* 0: what the program has there at the start; PLAIT_DEVNULL: /dev/null */
    int stderr_fd;
    const struct plait_process_fd *fds; /* what else it receives: `fd_count` descriptors, which stay the caller's too; copied */
    size_t fd_count;
    enum plait_process_method method;
};

/* Instead of a descriptor: /dev/null. */
#define PLAIT_DEVNULL (-1)

/*
 * Make a process that does not run yet. EINVAL: neither or both of target and program; too large an arg; no such method, or
 * one with a program; descriptors that are too many, two with one number, or one whose number is that of a standard stream.
 * ENOMEM.
 */
PLAIT_API int plait_process_new_sized(plait_process_t **process_out, const struct plait_process_opts *opts,
                                      size_t opts_size);

PLAIT_API int plait_process_new(plait_process_t **process_out, const struct plait_process_opts *opts);
PLAIT_INLINE_ALWAYS int plait_process_new(plait_process_t **process_out, const struct plait_process_opts *opts)
{
    return plait_process_new_sized(process_out, opts, sizeof(struct plait_process_opts));
}

/*
 * Start it; returns when it exists. EBUSY: started before. ENOENT, EACCES, ENOEXEC...: the program cannot be executed, for
 * exec's own reason. ENOENT, ENOTDIR, EACCES: the directory cannot be entered. EBADF: a descriptor is not open, or is to
 * have a number beyond the limit of them. EMFILE: so many cannot be passed on. EINVAL: the target lies in no loaded module,
 * or (PLAIT_SPAWN) the program has not called plait_init. EAGAIN, ENOMEM: the system makes no more processes, or
 * (PLAIT_FORK) no copy of the program worked. EOWNERDEAD: the nursery was killed meanwhile; a further start makes another
 * nursery.
 */
PLAIT_API int plait_process_start(plait_process_t *process);

/*
 * Wait until it has ended. May be called any number of times, by anyone. ETIMEDOUT: it still runs. EINVAL: it was never
 * started. ECANCELED: the caller's cancel token was set. EOWNERDEAD: it has ended, but the nursery was
 * killed before it could tell how.
 */
PLAIT_API int plait_process_join(plait_process_t *process, plait_time_t deadline);

/* plait_process_join as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_process_join(plait_process_t *process);

/* Started and not yet ended? */
PLAIT_API bool plait_process_is_alive(const plait_process_t *process);

/*
 * How it ended: *code_out is the exit code (0 to 255) or minus the number of the signal. EBUSY: it still runs. EINVAL: never
 * started. EOWNERDEAD: ended, but how is not known.
 */
PLAIT_API int plait_process_exitcode(const plait_process_t *process, int *code_out);

/* Its process number; 0 before the start. */
PLAIT_API pid_t plait_process_pid(const plait_process_t *process);

/*
 * Of the calling process, if it runs a target: the process number of the program that started it; else what getppid() says.
 * A program's getppid() is its nursery.
 */
PLAIT_API pid_t plait_process_parent_pid(void);

/* Is it killed when the program ends? */
PLAIT_API bool plait_process_is_daemon(const plait_process_t *process);

/*
 * The processes that this one has started and that run at this instant, those without a handle included. Each of up to
 * `room` is a handle of the caller's own, to be freed. *count_out: how many there are, which may be more. Always 0.
 */
PLAIT_API int plait_process_active_children(plait_process_t **processes, size_t room, size_t *count_out);

/* Its name; lives as long as the handle. */
PLAIT_API const char *plait_process_name(const plait_process_t *process);

/*
 * Send it SIGTERM, SIGKILL, SIGINT, or any signal: never to another process that got the same number later. ESRCH: it has
 * ended or never started. EINVAL: no such signal.
 */
PLAIT_API int plait_process_terminate(plait_process_t *process);
PLAIT_API int plait_process_kill(plait_process_t *process);
PLAIT_API int plait_process_interrupt(plait_process_t *process);
PLAIT_API int plait_process_signal(plait_process_t *process, int signal);

/*
 * A descriptor that becomes readable when the process has ended, for anyone's poll; owned by the handle, not to be read or
 * closed. ENOSYS: the kernel has no pidfd. EINVAL: not started.
 */
PLAIT_API int plait_process_sentinel(const plait_process_t *process, int *fd_out);

/* Drop the handle; NULL is allowed. A running process runs on and is reaped all the same. Always 0. */
PLAIT_API int plait_process_free(plait_process_t *process);

PLAIT_END_DECLS

#endif
