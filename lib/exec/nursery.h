/* SPDX-License-Identifier: MIT */
/* Nursery: the process from which all processes of the program are forked; this is the program's side of it. */
#ifndef PLAIT_EXEC_NURSERY_H
#define PLAIT_EXEC_NURSERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <plait/process.h>
#include <plait/time.h>
#include <plait/wait.h>

/* What a new process is to be. Either target or program. */
struct plait__spawn {
    int (*target)(const void *arg, size_t arg_size);
    const void *arg;
    size_t arg_size;
    const char *program; /* looked up in PATH unless it contains '/' */
    char *const *argv;   /* NULL: the program alone */
    const char *name;    /* what ps shows, cut to 15 bytes; for a target */
    bool daemon;         /* dies with the nursery, and so with the program */
    bool ignores_interrupt; /* starts with SIGINT ignored */
    int carry_fd;        /* a descriptor that it gets as number PLAIT__CARRIED_FD, or -1 */
    const char *directory; /* NULL: as the program's */
    char *const *envp;     /* NULL: as the program's */
    int streams[3];        /* for input, output and errors; 0: the program's own; -1: /dev/null */
    const struct plait_process_fd *fds; /* what else it gets: fd_count descriptors, no two with one number */
    size_t fd_count;
    bool from_now;         /* forked from the program as it is now; for a target */
    bool afresh;           /* called by plait_init in a new execution of the program; for a target */
};

enum { PLAIT__CARRIED_FD = 3 };

/* A process that was started. A plain value; its parts are owned by whoever got it from plait__child_start. */
struct plait__child {
    struct plait__nursery *nursery;
    uint32_t record; /* index in the nursery's page */
    pid_t pid;
    int pidfd; /* -1: none to be had */
};

/* Make sure that there is a nursery for this process. 0, EAGAIN, ENOMEM, or what else the system refused. */
int plait__nursery_enter(void);

/*
 * Start a process; returns when it exists, and when its exec has succeeded if it is a program. EINVAL: the target lies in no
 * loaded module. EOWNERDEAD: the nursery was killed meanwhile; the next call makes another.
 */
int plait__child_start(const struct plait__spawn *spawn, struct plait__child *child_out);

enum plait__child_state { PLAIT__CHILD_RUNS, PLAIT__CHILD_ENDED, PLAIT__CHILD_LOST };

/* Does it run? ENDED: *status_out is as from waitpid. LOST: it has ended, but the nursery died before it could say how. */
enum plait__child_state plait__child_state(const struct plait__child *child, int *status_out);

/* Wait until it no longer runs. 0, ETIMEDOUT, ECANCELED. */
int plait__child_wait(const struct plait__child *child, plait_time_t deadline);

/*
 * The shared word that changes, and wakes all, when it has ended; false: it has. The death of the nursery changes nothing: look
 * again after a slice of time.
 */
bool plait__child_word(const struct plait__child *child, struct plait_wait_word *word_out);

/* Send a signal. ESRCH: it has ended. EINVAL: no such signal. */
int plait__child_signal(const struct plait__child *child, int signal);

/* Give back what belongs to a process that no longer runs. */
void plait__child_drop(struct plait__child *child);

/* At exit, of a daemon: if it has a nursery of its own, have that kill it and end. */
void plait__child_leave(struct plait__child *child);

/* A shared word that changes, and is woken, whenever a process of that nursery ends; and does the nursery live? */
const uint32_t *plait__nursery_ends(const struct plait__nursery *nursery);
bool plait__nursery_is_alive(struct plait__nursery *nursery);

/* At exit: have the nursery kill the daemons and end. */
void plait__nursery_leave(void);

#endif
