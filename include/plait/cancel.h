/* SPDX-License-Identifier: MIT */
/* Cancel token: ends every wait of those who are bound to it. */
#ifndef PLAIT_CANCEL_H
#define PLAIT_CANCEL_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/wait.h>

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
 * The token must outlive every wait of those bound to it. With PLAIT_SHARED (and in an arena) it reaches
 * into other processes. A process that dies after setting it and before waking the sleepers delays them by less
 * than a second.
 */
typedef struct plait_cancel {
    uint32_t word;         /* atomic: 0, or 1 once set */
    uint32_t mode;         /* const after init: flags */
    uint64_t arena_offset; /* const after init: distance from the arena's header, 0 if private */
    uint64_t spare[2];
} plait_cancel_t;

#define PLAIT_CANCEL_INIT { 0, 0, 0, { 0, 0 } }

/* Make a token that is not set. EINVAL: an unknown flag, or PLAIT_SHARED outside an arena. */
PLAIT_API int plait_cancel_init(plait_cancel_t *token, unsigned flags);

/* End the token's life; nobody may be bound to it. Always 0. */
PLAIT_API int plait_cancel_fini(plait_cancel_t *token);

/* Set the token for good and end the waits of all who are bound to it. Always 0. Async-signal-safe. */
PLAIT_API int plait_cancel_set(plait_cancel_t *token);

/* Is it set? Async-signal-safe. */
PLAIT_API bool plait_cancel_is_set(const plait_cancel_t *token);

/*
 * Bind the calling thread (in a fiber: that fiber) to `token`, or to none with NULL. Returns the token bound
 * before, to be bound again at the end of a scope.
 */
PLAIT_API plait_cancel_t *plait_cancel_bind(plait_cancel_t *token);

/* The token that the caller is bound to, or NULL. */
PLAIT_API plait_cancel_t *plait_cancel_current(void);

PLAIT_END_DECLS

#endif
