/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A promise and its future are one block of memory with a reference for each end, and one state word (task.h). There is no
 * worker: PENDING to RUNNING by BEGUN says that the work has begun, and by KEPT, from either of the two, that somebody writes the
 * outcome; whoever gets it that far keeps the promise. CLAIMED_OUTSIDE is who has cancelled the future.
 */
#include <plait/promise.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "exec/kept.h"

struct plait_promise {
    struct plait__kept kept; /* first */
};

enum { BEGUN = 0, KEPT = 1 };

static const struct plait__future_kind kind = {
    .outcome = plait__kept_outcome,
    .settle = plait__kept_settle,
    .abandon = plait__future_unreference,
    .reclaim = plait__kept_reclaim,
};

int plait_promise_new(plait_promise_t **promise_out, plait_future_t **future_out)
{
    plait_promise_t *promise;

    if (!promise_out || !future_out)
        return EINVAL;
    promise = calloc(1, sizeof *promise);
    if (!promise)
        return ENOMEM;
    plait__future_begin(&promise->kept.future, &kind, NULL, &promise->kept.word, 0);
    promise->kept.future.references = 2;
    promise->kept.word = TASK_PENDING;
    *promise_out = promise;
    *future_out = &promise->kept.future;
    return 0;
}

/* What an end that cannot be had any more is called. */
static int refusal(const plait_promise_t *promise)
{
    return load_acquire(&promise->kept.word) >> TASK_WORKER_SHIFT == TASK_CLAIMED_OUTSIDE ? ECANCELED : EINVAL;
}

int plait_promise_begin(plait_promise_t *promise)
{
    return plait__task_claim(&promise->kept.word, BEGUN) ? 0 : refusal(promise);
}

/* Become the one who writes the outcome. */
static int claim(plait_promise_t *promise)
{
    if (plait__task_claim(&promise->kept.word, KEPT) || plait__task_reclaim(&promise->kept.word, BEGUN, KEPT))
        return 0;
    return refusal(promise);
}

int plait_promise_set(plait_promise_t *promise, const void *bytes, size_t size)
{
    void *copy = NULL;
    int err;

    if (size && !bytes)
        return EINVAL;
    if (size) {
        copy = malloc(size);
        if (!copy)
            return ENOMEM;
        memcpy(copy, bytes, size);
    }
    err = claim(promise);
    if (err) {
        free(copy);
        return err;
    }
    promise->kept.result = copy;
    promise->kept.result_size = size;
    plait__future_finish(&promise->kept.future);
    return 0;
}

static int fail(plait_promise_t *promise, int code, const char *text)
{
    int err = claim(promise);

    if (err)
        return err;
    plait__kept_settle(&promise->kept.future, code ? code : EINVAL, text);
    plait__future_finish(&promise->kept.future);
    return 0;
}

int plait_promise_fail(plait_promise_t *promise, int code, const char *format, ...)
{
    char text[TASK_TEXT];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(promise, code, text);
}

void plait__promise_run(plait_promise_t *promise, plait_task_fn *fn, const void *arg, size_t arg_size)
{
    struct plait__work work = { .arg_size = arg_size };

    if (claim(promise) != 0)
        return;
    plait__kept_run(&promise->kept, fn, &work, arg, 0, NULL, 0);
    plait__future_finish(&promise->kept.future);
}

bool plait_promise_is_cancelled(const plait_promise_t *promise)
{
    return (load_acquire(&promise->kept.word) & TASK_STOP) || refusal(promise) == ECANCELED;
}

int plait_promise_free(plait_promise_t *promise)
{
    if (!promise)
        return 0;
    fail(promise, EOWNERDEAD, "the promise was dropped");
    plait__future_unreference(&promise->kept.future);
    return 0;
}
