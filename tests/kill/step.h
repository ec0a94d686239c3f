/* SPDX-License-Identifier: MIT */
/* Stepping: kill a child after its first, second, third... instruction of an operation, and use the object then. */
#ifndef TESTS_KILL_STEP_H
#define TESTS_KILL_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>

#include <plait.h>

#include "support/child.h"

/* Too short a wait makes a busy machine fail, too long a one a hang expensive. */
enum { PATIENCE = 10 };

/*
 * For k = 0, 1, 2, ...: prepare; fork; the child executes exactly k instructions of the operation and is killed (a system
 * call counts as one); verify. Until the operation is over before k.
 */
struct step_op {
    const char *name;
    void (*prepare)(void);              /* in the test; may be NULL */
    void (*before)(void);               /* in the child, not stepped; may be NULL */
    void (*operate)(void);              /* in the child, stepped */
    int (*helper)(void *unused);        /* another child, asleep before the first step; may be NULL */
    int (*waker)(void *unused);         /* one more, which runs beside the child: see await_child; may be NULL */
    const char *(*verify)(bool done);   /* in the test: NULL, or what is wrong; done: the operation was over */
    bool helper_may_end;                /* it finds out by itself, after a slice of time, what it waits for */
    bool hangs;                         /* a broken one: that verify finds fault is what is expected */
};

/* The cases of one file. */
struct step_table {
    const struct step_op *ops;
    size_t count;
};

extern const struct step_table step_lock;
extern const struct step_table step_rwlock;
extern const struct step_table step_sem;
extern const struct step_table step_cancel;
extern const struct step_table step_queue;
extern const struct step_table step_pile;
extern const struct step_table step_message;
extern const struct step_table step_joinable;
extern const struct step_table step_pipe;
extern const struct step_table step_broadcast;
extern const struct step_table step_dict;
extern const struct step_table step_list;
extern const struct step_table step_latest;
extern const struct step_table step_array;
extern const struct step_table step_cond;
extern const struct step_table step_barrier;
extern const struct step_table step_any;
extern const struct step_table step_once;
extern const struct step_table step_line;
extern const struct step_table step_failure;
extern const struct step_table step_arena;
extern const struct step_table step_member;

/* Where the child says how far it is. */
struct step_page {
    volatile int done;
    volatile long out; /* what the operation answers */
};

extern struct step_page *step_page;

/* The process sleeps: the helpers do so nowhere but in a wait. False: it does not fall asleep. */
bool await_sleep(pid_t pid);

/* The same of one who may not have to sleep: it has ended, but for somebody to ask how. */
bool await_sleep_or_end(pid_t pid);

/* For a waker: return when the child has fallen asleep in its operation, or is dead. */
void await_child(void);

/* How long a sleeper sleeps whose time is up then: longer than it is stepped on its way there. */
#define MOMENT 0.06

/* The exit status of the helper, or of the waker, which ends by itself within `seconds`; 0 where there is none. */
int helper_end_by(int seconds);
int waker_end_by(int seconds);

#endif
