/* SPDX-License-Identifier: MIT */
/* Future: what all of them have in common, and what differs with whoever makes them. */
#ifndef PLAIT_EXEC_FUTURE_H
#define PLAIT_EXEC_FUTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/future.h>
#include <plait/promise.h>

#include "exec/task.h"

/* How a task ended; the bytes live as long as the future. */
struct plait__outcome {
    int code;
    const char *text;
    const void *bytes;
    size_t size;
};

/* Somebody to be told of the end. The library's own lie in what they tell, and can be taken back. */
struct plait__callback {
    struct plait__callback *next;
    void (*call)(plait_future_t *future, void *context);
    void (*stirred)(void *context); /* a worker that waits for it may now be able to help; NULL: does not matter */
    void *context;
    bool allocated; /* free it after the call */
    bool is_own;    /* neither waits nor calls anything of the program's: whoever ends the task may call it */
};

/* Where futures come from: a back-end of pools, a promise, a chain. */
struct plait__future_kind {
    /* How it ended (it is done); write how one ended that was claimed from outside (NULL where `cancel` needs none). */
    void (*outcome)(plait_future_t *future, struct plait__outcome *outcome_out);
    void (*settle)(plait_future_t *future, int code, const char *text);

    /* Run it here, if the caller, who is a worker of some pool, can, and it is pending. NULL: no worker can. */
    bool (*help)(plait_future_t *future);

    /* The last reference is gone: wait for who uses it without one, such as a timer. NULL: there is nobody. */
    void (*quieten)(plait_future_t *future);

    /* The handle goes; the last reference is gone. */
    void (*abandon)(plait_future_t *future);
    void (*reclaim)(plait_future_t *future);

    /* A task that somebody outside has claimed is DONE; `notify`: NOTIFY was set. NULL: nothing to do. */
    void (*settled)(plait_future_t *future, bool notify);

    /* plait_future_cancel; NULL: plait__future_cancel_task. */
    int (*cancel)(plait_future_t *future);
};

/*
 * The first member of the maker's own struct. References: one for the handle, one for the maker until the task is done and
 * delivered, and one for each set or chain that it is in.
 */
struct plait_future {
    const struct plait__future_kind *kind; /* const */
    uint32_t references;      /* atomic */
    uint32_t lock;            /* atomic: 0: free, 1: held, 2: held and slept on; guards what follows `wait_flags` */
    uint32_t *word;           /* const: the task's state (task.h) */
    struct plait_pool *pool;  /* const: a reference on it is held; NULL: none */
    uint8_t wait_flags;       /* const: of the state word */
    bool delivering;          /* somebody is calling the callbacks */
    struct plait__callback *first, **last; /* callbacks not yet called */
};

/* Begin a future with one reference, which also holds the pool, if there is one. */
void plait__future_begin(plait_future_t *future, const struct plait__future_kind *kind, struct plait_pool *pool,
                         uint32_t *word, unsigned wait_flags);

/* The opposite, of one that nobody has seen; the pool does not go with it. */
void plait__future_end(plait_future_t *future);

void plait__future_reference(plait_future_t *future);
void plait__future_unreference(plait_future_t *future);

/* The same, as a clean-up handler: a callback or a task may end its thread. */
void plait__future_clean_up(void *future);

/* The task is done: call the callbacks; or those of the library's own before the first that is not. Returns whether any are left. */
void plait__future_deliver(plait_future_t *future);
bool plait__future_deliver_own(plait_future_t *future);

/* Claimed and written: make it DONE, wake and tell those who wait. The caller holds a reference. Returns the state before. */
uint32_t plait__future_finish(plait_future_t *future);

/* Claim a pending task from outside and end it so. False: it is not pending. The caller holds a reference. */
bool plait__future_settle(plait_future_t *future, int code, const char *text);

/* Settle it as cancelled, if it is pending, else ask it to stop: 0, EBUSY, or EINVAL, as plait_future_cancel. */
int plait__future_cancel_task(plait_future_t *future);

/* Have the callback called when it is done, or at once. Allocates nothing. */
void plait__future_listen(plait_future_t *future, struct plait__callback *callback);

/* Take it back. False: it has been called, or is about to be. */
bool plait__future_ignore(plait_future_t *future, struct plait__callback *callback);

/* Is the pool, which is to end it, a parent's? Then there is nobody here who does. */
bool plait__future_is_orphan(const plait_future_t *future);

/* The caller is about to wait for it: run it here, if it is a worker that can. */
bool plait__future_help(plait_future_t *future);

/* Make workers that wait for it look once more whether they can help. */
void plait__future_stir(plait_future_t *future);

/* Keep a promise by calling a task function (promise.c); nothing, if it is kept. */
void plait__promise_run(plait_promise_t *promise, plait_task_fn *fn, const void *arg, size_t arg_size);

#endif
