/* SPDX-License-Identifier: MIT */
/* Promise: the other end of a future that the program itself completes. */
#ifndef PLAIT_PROMISE_H
#define PLAIT_PROMISE_H

#include <stdbool.h>
#include <stddef.h>

#include <plait/export.h>
#include <plait/future.h>

PLAIT_BEGIN_DECLS

/*
 * plait_promise_t - the end at which a result is put in; at the other end stands an ordinary future.
 *
 *     plait_promise_t *promise;
 *     plait_future_t *answer;
 *     plait_promise_new(&promise, &answer);
 *     send_request(server, question, promise);              // whoever gets the reply does this:
 *         plait_promise_set(promise, reply, reply_size);
 *         plait_promise_free(promise);
 *     err = plait_future_get(answer, &bytes, &size, plait_after(5));
 *
 * States: pending; begun, by plait_promise_begin, if the work for it can be told from the time before; then kept, by set or
 * fail, which is for good: the first to do it decides, whatever comes after it answers EINVAL. A future that was cancelled before
 * anyone began answers ECANCELED to all of them. A promise that is dropped unkept fails its future with EOWNERDEAD, so nobody waits in vain.
 *
 * Any thread may use it, several at a time; none of it waits. Callbacks of the future are called by who keeps the promise. It is
 * private to its process: a child after fork has a copy of its own, and nobody there to keep it.
 */
typedef struct plait_promise plait_promise_t;

/* Make both ends. Each is dropped by itself. EINVAL: nowhere to put one of them. ENOMEM. */
PLAIT_API int plait_promise_new(plait_promise_t **promise_out, plait_future_t **future_out);

/*
 * Say that the work has begun: from now on the future is not cancelled but asked to stop (plait_promise_is_cancelled).
 * 0; ECANCELED: it was cancelled, there is nothing to do; EINVAL: begun or kept before.
 */
PLAIT_API int plait_promise_begin(plait_promise_t *promise);

/* Keep it: the future succeeds with a copy of `size` bytes (0 allowed). 0; ECANCELED; EINVAL: kept before, or no bytes; ENOMEM: nothing done. */
PLAIT_API int plait_promise_set(plait_promise_t *promise, const void *bytes, size_t size);

/*
 * Keep it badly: the future fails with `code` (EINVAL for 0) and printf-like text, cut to 255 bytes. 0; ECANCELED; EINVAL: kept
 * before.
 */
PLAIT_API int plait_promise_fail(plait_promise_t *promise, int code, const char *format, ...) PLAIT_PRINTF(3, 4);

/* Was the future cancelled, or asked to stop? */
PLAIT_API bool plait_promise_is_cancelled(const plait_promise_t *promise);

/* Drop it; NULL is allowed. Unkept, the future fails with EOWNERDEAD. Always 0. */
PLAIT_API int plait_promise_free(plait_promise_t *promise);

PLAIT_END_DECLS

#endif
