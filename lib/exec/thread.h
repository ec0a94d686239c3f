/* SPDX-License-Identifier: MIT */
/* Thread: what a handle on one is made of, for the files that share it. */
#ifndef PLAIT_EXEC_THREAD_H
#define PLAIT_EXEC_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <plait/thread.h>

/* How far it is; the top of thread.c has the transitions. */
enum plait__thread_state { NEW, STARTING, RUNNING, ENDED, JOINING, JOINED, REFUSED };

enum { CPUS_MAX = 4096, WORD_BITS = 8 * sizeof(unsigned long) };

/* As the kernel wants it. */
struct plait__cpus {
    unsigned long words[CPUS_MAX / WORD_BITS];
};

struct plait_thread {
    uint32_t state;         /* atomic: enum plait__thread_state (E1, E2) */
    uint32_t owners;        /* atomic: handles, and the running thread (E3) */
    void *(*target)(void *); /* const after new */
    void *arg;              /* const after new */
    void *result;           /* written before JOINED (E1) */
    pthread_t pthread;      /* written before RUNNING (E2) */
    pthread_attr_t attr;    /* const after new */
    struct plait__cpus *cpus;      /* const after new; NULL: any */
    uint32_t pid;           /* atomic: of the process that started it; stored before STARTING (E4) */
    uint32_t native_id;     /* atomic: written before RUNNING (E2) */
    bool daemon;            /* const after new */
    bool adopted;           /* const after new: it was not made here */
    unsigned rounds;        /* the thread's own: see leaves */
    int error;              /* written before ENDED (E1) */
    char *error_text;       /* the same; NULL: none */
    plait_thread_t *next;   /* guarded by the lock of the list, as prev */
    plait_thread_t *prev;
    char name[];            /* const after new */
};

/* Into the list of those that are alive, and out of it; and, in a child of fork: nobody is but this one (NULL: nobody). */
void plait__threads_enter(plait_thread_t *thread);
void plait__threads_leave(plait_thread_t *thread);
void plait__threads_only(plait_thread_t *thread);

#endif
