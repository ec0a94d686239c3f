/* SPDX-License-Identifier: MIT */
/* Cancel token: ends every wait of those who are bound to it, or to one of its children. */
#ifndef PLAIT_CANCEL_H
#define PLAIT_CANCEL_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/time.h>
#include <plait/wait.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_cancel_t - a token that any number of threads and fibers bind themselves to; once it is set, every
 * call of theirs that waits, or would have to, answers ECANCELED, at once and for ever.
 *
 * A call that can do its work without waiting does it, token or not (and one that cannot, with PLAIT_NOW, answers ECANCELED
 * too), so nothing is lost: an item is got or it
 * is still in the queue, a lock is held or it is not. A cancelled plait_cond_wait holds the lock again, as it
 * does after a time-out; taking it back is not cut short. The token never stops code that does not wait: ask
 * plait_cancel_is_set in long computations.
 *
 *     static plait_cancel_t stop;                   // all-zero bytes are a private token that is not set
 *
 *     void *worker(void *unused)
 *     {
 *         plait_cancel_bind(&stop);                 // this thread, from here on
 *         while (plait_queue_get(jobs, &job, PLAIT_FOREVER) == 0)
 *             work(&job);
 *         return NULL;                              // EPIPE or ECANCELED
 *     }
 *
 *     plait_cancel_set(&stop);                      // from anywhere, also from a signal handler
 *
 * Children: a token made with a parent counts as set when its parent does, and its parent's parent, and so on; setting a
 * child leaves the parent alone. So a group is a token with a child for each member, and a scope that may end early
 * is a child of the token that is bound at the time:
 *
 *     plait_cancel_t scope, *outer = plait_cancel_current();
 *     plait_cancel_init_child(&scope, outer, 0);
 *     plait_cancel_set_deadline(&scope, plait_after(2));
 *     plait_cancel_bind(&scope);
 *     err = talk_to(server);                        // ECANCELED after two seconds, or when outer is set
 *     plait_cancel_bind(outer);
 *
 * Nobody keeps lists: a parent does not know its children, and a wait watches the words of the whole chain. So the death
 * of a canceller or of a child's owner harms nobody, and setting a token costs one wake, whatever hangs on it.
 *
 * Deadline: when a token's has passed, it is set, for good. The waits end at that time; a wait whose own deadline is earlier
 * answers ETIMEDOUT then.
 *
 * Shield: between plait_cancel_bind(NULL) and binding the token again nothing is cut short.
 *
 * The token must outlive every wait of those bound to it, and its children. With PLAIT_SHARED (and in an arena) it reaches
 * into other processes. A process that dies after setting it, or giving it a deadline, and before waking the sleepers
 * delays them by less than a second.
 */
typedef struct plait_cancel {
    uint32_t word;    /* atomic: bit 0 set; then bit 1 by its deadline, above: the code; not set: deadlines given */
    uint32_t mode;    /* const after init: flags; above: how many ancestors */
    int64_t parent;   /* const after init: bytes from here to the parent, 0: none */
    int64_t deadline; /* atomic: as plait_time_t, 0: none; means nothing once set */
    uint64_t check;   /* const after init: of `parent`, if there is one */
} plait_cancel_t;

#define PLAIT_CANCEL_INIT { 0, 0, 0, 0, 0 }

/* The longest chain: a token and its ancestors. */
#define PLAIT_CANCEL_DEPTH_MAX 8

/* The greatest code. */
#define PLAIT_CANCEL_CODE_MAX 0x3fffffff

/* Make a token that is not set. EINVAL: an unknown flag, or PLAIT_SHARED outside an arena. ENOSPC: the arena's table of
 * participants is full. */
PLAIT_API int plait_cancel_init(plait_cancel_t *token, unsigned flags);

/*
 * Make a child of `parent`; NULL: a token without one. A private child may have a shared parent. EINVAL: as init; a shared
 * child of a private parent, or of one in another arena. EOVERFLOW: the chain would be longer than
 * PLAIT_CANCEL_DEPTH_MAX. ENOSPC as init.
 */
PLAIT_API int plait_cancel_init_child(plait_cancel_t *token, plait_cancel_t *parent, unsigned flags);

/* End the token's life; nobody may be bound to it, and it may have no children. Always 0. */
PLAIT_API int plait_cancel_fini(plait_cancel_t *token);

/* Set the token for good and end the waits of all who are bound to it or to a descendant. Always 0. Async-signal-safe. */
PLAIT_API int plait_cancel_set(plait_cancel_t *token);

/*
 * The same, and say why, with a number of the program's own (0, which plait_cancel_set gives, to PLAIT_CANCEL_CODE_MAX).
 * What set it first stays. EINVAL, and nothing done: no such code. Async-signal-safe.
 */
PLAIT_API int plait_cancel_set_code(plait_cancel_t *token, int code);

/*
 * Have the token set at `deadline`: PLAIT_FOREVER for never, a time in the past for now. It replaces the
 * deadline given before, also for those who wait. ECANCELED, and nothing done: the token itself is set already, or its
 * deadline has passed. Async-signal-safe.
 */
PLAIT_API int plait_cancel_set_deadline(plait_cancel_t *token, plait_time_t deadline);

/* Is it set, by whatever reason: a call, its deadline, an ancestor? Async-signal-safe. Reads the clock if there is a deadline. */
PLAIT_API bool plait_cancel_is_set(const plait_cancel_t *token);

/*
 * Why is it set? Returns 0: it is not. ECANCELED: by a call, whose code is in *code_out. ETIMEDOUT: its deadline passed.
 * *source_out: which token of the chain that was about, the nearest if several are set, so that a scope can tell its own
 * end from that of the whole; NULL if none is. code_out and source_out may be NULL; *code_out is 0 where there is no
 * code. The answer about one token never changes again. Async-signal-safe.
 */
PLAIT_API int plait_cancel_reason(const plait_cancel_t *token, int *code_out, const plait_cancel_t **source_out);

/*
 * Wait until the token is set. 0: it is; also to a caller who is bound to it. ETIMEDOUT: not by the deadline. ECANCELED: the token
 * that the caller is bound to was set first.
 */
PLAIT_API int plait_cancel_wait(const plait_cancel_t *token, plait_time_t deadline);

/* plait_cancel_wait as an entry of plait_wait_any; there a token with ancestors is looked at every few milliseconds. */
PLAIT_API struct plait_wait_entry plait_any_cancel_wait(const plait_cancel_t *token);

/*
 * Bind the calling thread (in a fiber: that fiber) to `token`, or to none with NULL. Returns the token bound
 * before, to be bound again at the end of a scope.
 */
PLAIT_API plait_cancel_t *plait_cancel_bind(plait_cancel_t *token);

/* The token that the caller is bound to, or NULL. */
PLAIT_API plait_cancel_t *plait_cancel_current(void);

PLAIT_END_DECLS

#endif
