/* SPDX-License-Identifier: MIT */
/* Task and future: the two ends of one piece of work. */
#ifndef PLAIT_FUTURE_H
#define PLAIT_FUTURE_H

#include <stdbool.h>
#include <stddef.h>

#include <plait/export.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_task_t - what a task function gets: its handle on the work it does. Valid until the function returns.
 *
 * One signature for every pool, on threads as on processes: bytes in, bytes out.
 *
 *     int word_count(plait_task_t *task, const void *arg, size_t arg_size)
 *     {
 *         const char *path = arg;                       // aligned to 16, the task's own copy
 *         FILE *f = fopen(path, "r");
 *         if (!f)
 *             return plait_task_fail(task, errno, "%s: %s", path, strerror(errno));
 *         ...
 *         return plait_task_return(task, &count, sizeof count);
 *     }
 *
 * The function returns 0 when the task succeeded, or a code of its own that is not 0.
 */
typedef struct plait_task plait_task_t;

typedef int plait_task_fn(plait_task_t *task, const void *arg, size_t arg_size);

/* Set the task's result to a copy of `size` bytes (0 allowed); the last call counts. 0, ENOMEM, or ENOSPC. */
PLAIT_API int plait_task_return(plait_task_t *task, const void *bytes, size_t size);

/* Explain a failure: printf-like text, cut to 255 bytes. Returns `code` (EINVAL for 0), to be returned in turn. */
PLAIT_API int plait_task_fail(plait_task_t *task, int code, const char *format, ...) PLAIT_PRINTF(3, 4);

/* Has somebody asked for this task to stop (plait_future_cancel, plait_pool_terminate)? */
PLAIT_API bool plait_task_is_cancelled(const plait_task_t *task);

/* How often this task has been run before and has failed (plait_task_opts.retries): 0 the first time. */
PLAIT_API unsigned plait_task_attempt(const plait_task_t *task);

/* The worker's number in its pool, from 0; a replaced worker's successor has its number. Outside pools 0. */
PLAIT_API unsigned plait_task_worker(const plait_task_t *task);

/*
 * plait_future_t - the caller's handle on a task: pending, running, then done for good: succeeded, failed or
 * cancelled. Pools make them, and a program makes its own with a plait_promise_t.
 *
 *     plait_future_t *f;
 *     const void *bytes;
 *     size_t size;
 *     plait_pool_apply_async(pool, word_count, path, strlen(path) + 1, &f);
 *     err = plait_future_get(f, &bytes, &size, PLAIT_FOREVER);
 *     if (err)
 *         fprintf(stderr, "%s\n", plait_future_error_text(f));
 *     plait_future_free(f);
 *
 * Any number of threads may wait for it. It may outlive its pool.
 */
typedef struct plait_future plait_future_t;

typedef struct plait_pool plait_pool_t; /* <plait/pool.h> */

/*
 * Wait until it is done and look at the result: *bytes_out and *size_out (may be NULL) are lent until the future is freed.
 * Returns 0, or
 *   ETIMEDOUT   not done by the deadline (plait_future_is_ready tells this from a task that failed with this code)
 *   ECANCELED   it was cancelled, or the caller's cancel token was set
 *   EOWNERDEAD  its worker died; the text says of what. Or it is not done, and its pool a parent's: see plait_future_wait
 *   any other   the code that the task function returned
 */
PLAIT_API int plait_future_get(plait_future_t *future, const void **bytes_out, size_t *size_out,
                               plait_time_t deadline);

/*
 * Wait until it is done, however. 0; ETIMEDOUT; ECANCELED: the caller's token was set. EOWNERDEAD, at once: it was not done when this process was
 * forked, and its pool is the parent's, which tells nothing here.
 */
PLAIT_API int plait_future_wait(plait_future_t *future, plait_time_t deadline);

/* plait_future_wait as an entry of plait_wait_any. A pool's worker may run the task itself, as in plait_future_wait. */
PLAIT_API struct plait_wait_entry plait_any_future_wait(plait_future_t *future);

/* Done? And: done and succeeded? */
PLAIT_API bool plait_future_is_ready(const plait_future_t *future);
PLAIT_API bool plait_future_is_successful(const plait_future_t *future);

/* Begun and not done? And: done without having begun, cancelled by plait_future_cancel or with its pool? (One that returned ECANCELED was not.) */
PLAIT_API bool plait_future_is_running(const plait_future_t *future);
PLAIT_API bool plait_future_is_cancelled(const plait_future_t *future);

/* The code and the text of the failure: 0 and "" if it is not done or has succeeded. The text lives as long as the future. */
PLAIT_API int plait_future_error(const plait_future_t *future);
PLAIT_API const char *plait_future_error_text(const plait_future_t *future);

/*
 * Cancel it. 0: it had not started and never will; it is done, with ECANCELED. EBUSY: it runs, and is asked to stop
 * (plait_task_is_cancelled); on processes, one that was given a grace and runs on is ended then (plait_pool_submit). EINVAL: it was done already.
 */
PLAIT_API int plait_future_cancel(plait_future_t *future);

/*
 * Have callback(future, context) called when it is done, at once if it is already; in a thread of the pool (the worker that has run the task; on
 * processes one that does nothing else), in the one that keeps the promise or cancels the task, or in the caller's. Callbacks are called in the
 * order in which they were added, and may free the future. One that takes long, or waits, keeps others of that thread waiting: on processes it may
 * wait for tasks of its pool and for sets of them, but not for what callbacks bring on, which are chains and plait_pool_map_async. One that ends
 * its thread instead of returning costs that thread, which a pool replaces, and nothing else; under musl, which takes nothing off the stack of a
 * thread that ends, also half a KiB of it for each further one that is called there and does the same. EINVAL: no future, or no callback. ENOMEM.
 */
PLAIT_API int plait_future_on_done(plait_future_t *future, void (*callback)(plait_future_t *future, void *context),
                                   void *context);

/*
 * Chain: once it has succeeded, `pool` runs fn with its result as the argument, and *next_out is the future of that. If
 * it fails or is cancelled, *next_out ends in the same way, with its code and text, and fn never runs.
 *
 *     plait_pool_apply_async(pool, fetch, url, strlen(url) + 1, &page);
 *     plait_future_then(page, pool, parse, &tree);
 *     plait_future_free(page);                          // the chain goes on
 *     err = plait_future_get(tree, &bytes, &size, PLAIT_FOREVER);
 *
 * With a pool of NULL fn runs where callbacks are called, which suits short functions that do not wait. Cancelling *next_out
 * leaves the first future alone; freeing it does not keep fn from running. If the pool is closed by then, *next_out fails with
 * EPIPE, and likewise with whatever else apply_async answers. EINVAL: no future, no function, or nowhere to put the new one. ENOMEM.
 */
PLAIT_API int plait_future_then(plait_future_t *future, plait_pool_t *pool, plait_task_fn *fn,
                                plait_future_t **next_out);

/* What plait_future_wait_many waits for. */
enum plait_future_when {
    PLAIT_ALL_COMPLETED,   /* all are done */
    PLAIT_FIRST_COMPLETED, /* one is done */
    PLAIT_FIRST_FAILED     /* one has failed or was cancelled, or all are done */
};

/*
 * Wait for some of `count` futures. *index_out (may be NULL) receives the index of one that is done (FIRST_COMPLETED) or has failed
 * (FIRST_FAILED), else count. 0, also if there are none to wait for; ETIMEDOUT; ECANCELED: the caller's token was set; EOWNERDEAD as plait_future_wait, if only such
 * are left to wait for, or, for PLAIT_ALL_COMPLETED, at the first of them; EINVAL:
 * no array, or a NULL in it, or something else than one of the three; ENOMEM, before anything was waited for. Which are done, plait_future_is_ready
 * tells; to get one after the other as they come, see <plait/as_completed.h>.
 */
PLAIT_API int plait_future_wait_many(plait_future_t *const *futures, size_t count, enum plait_future_when when,
                                     size_t *index_out, plait_time_t deadline);

/* Drop the handle; NULL is allowed. The task runs all the same. Always 0. */
PLAIT_API int plait_future_free(plait_future_t *future);

PLAIT_END_DECLS

#endif
