/* SPDX-License-Identifier: MIT */
/* Future: waiting for a task, and what is done with one from outside. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <plait/wait.h>

#include "base/atomic.h"
#include "exec/pool_backend.h"
#include "wait/waitable.h"

/*
 * How it works
 *
 * All is in the task's state word (task.h); a waiter sets WAITERS and sleeps on it, in shared memory if the task runs in
 * another process. Callbacks stand in a list here; the first one sets NOTIFY, which makes whoever ends the task
 * have them called. If the task is done before NOTIFY could be set, the caller of on_done calls them. Only one
 * thread at a time does the calling, in order, and goes on until the list is empty: so order is kept when a callback is
 * added meanwhile.
 */

void plait__future_begin(plait_future_t *future, struct plait_pool *pool, uint32_t *word, unsigned wait_flags)
{
    future->references = 1;
    future->wait_flags = wait_flags;
    future->word = word;
    future->pool = pool;
    pthread_mutex_init(&future->lock, NULL);
    future->delivering = false;
    future->first = NULL;
    future->last = &future->first;
    add_relaxed(&pool->references, 1);
}

void plait__future_unreference(plait_future_t *future)
{
    struct plait_pool *pool = future->pool;

    if (sub_acqrel(&future->references, 1) != 1)
        return;
    for (struct plait__callback *callback; (callback = future->first) != NULL;) {
        future->first = callback->next;
        free(callback);
    }
    pthread_mutex_destroy(&future->lock);
    pool->backend->reclaim(future);
    plait__pool_unreference(pool);
}

void plait__future_deliver(plait_future_t *future)
{
    struct plait__callback *callback;

    add_relaxed(&future->references, 1); /* a callback may free the handle */
    pthread_mutex_lock(&future->lock);
    if (!future->delivering) {
        future->delivering = true;
        while ((callback = future->first) != NULL) {
            future->first = callback->next;
            if (!future->first)
                future->last = &future->first;
            pthread_mutex_unlock(&future->lock);
            callback->call(future, callback->context);
            free(callback);
            pthread_mutex_lock(&future->lock);
        }
        future->delivering = false;
    }
    pthread_mutex_unlock(&future->lock);
    plait__future_unreference(future);
}

bool plait__future_settle(plait_future_t *future, int code, const char *text)
{
    struct plait_pool *pool = future->pool;
    uint32_t before;

    if (!plait__task_claim(future->word, TASK_CLAIMED_OUTSIDE))
        return false;
    pool->backend->settle(future, code, text);
    add64_relaxed(&pool->settled, 1);
    before = plait__task_done(future->word);
    if (before & TASK_WAITERS)
        plait_wake(future->word, UINT_MAX, future->wait_flags);
    if (before & TASK_NOTIFY)
        plait__future_deliver(future);
    pool->backend->settled(future, before & TASK_NOTIFY);
    return true;
}

static bool is_done(const plait_future_t *future)
{
    return (load_acquire(future->word) & TASK_STATUS) == TASK_DONE; /* E2 */
}

int plait_future_wait(plait_future_t *future, plait_time_t deadline)
{
    while (!is_done(future)) {
        uint32_t seen;
        int err;

        if (future->pool->backend->help(future))
            continue;
        if (!plait__task_flag(future->word, TASK_WAITERS))
            break;
        seen = load_acquire(future->word);
        if ((seen & TASK_STATUS) == TASK_DONE)
            break;
        err = plait_wait(future->word, seen, future->wait_flags, deadline);
        if (err && !is_done(future))
            return err;
    }
    return 0;
}

static int attempt_wait(struct plait__waiting *waiting)
{
    return is_done(waiting->entry->object) ? 0 : EAGAIN;
}

static bool enlist_wait(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_future_t *future = waiting->entry->object;
    uint32_t seen;

    if (future->pool->backend->help(future) || !plait__task_flag(future->word, TASK_WAITERS))
        return false;
    seen = load_acquire(future->word);
    *word_out = (struct plait_wait_word){ future->word, seen, future->wait_flags };
    return (seen & TASK_STATUS) != TASK_DONE;
}

struct plait_wait_entry plait_any_future_wait(plait_future_t *future)
{
    static const struct plait_waitable waiting = { attempt_wait, enlist_wait, NULL, PLAIT__WATCH_ATTEMPT };

    return (struct plait_wait_entry){ .how = &waiting, .object = future };
}

int plait_future_get(plait_future_t *future, const void **bytes_out, size_t *size_out, plait_time_t deadline)
{
    struct plait__outcome outcome;
    int err = plait_future_wait(future, deadline);

    if (err)
        return err;
    future->pool->backend->outcome(future, &outcome);
    if (bytes_out)
        *bytes_out = outcome.bytes;
    if (size_out)
        *size_out = outcome.size;
    return outcome.code;
}

bool plait_future_is_ready(const plait_future_t *future)
{
    return is_done(future);
}

bool plait_future_is_successful(const plait_future_t *future)
{
    return is_done(future) && plait_future_error(future) == 0;
}

int plait_future_error(const plait_future_t *future)
{
    struct plait__outcome outcome;

    if (!is_done(future))
        return 0;
    future->pool->backend->outcome((plait_future_t *)future, &outcome);
    return outcome.code;
}

const char *plait_future_error_text(const plait_future_t *future)
{
    struct plait__outcome outcome;

    if (!is_done(future))
        return "";
    future->pool->backend->outcome((plait_future_t *)future, &outcome);
    return outcome.code ? outcome.text : "";
}

int plait_future_cancel(plait_future_t *future)
{
    if (plait__future_settle(future, ECANCELED, "cancelled before it started"))
        return 0;
    return plait__task_flag(future->word, TASK_STOP) ? EBUSY : EINVAL;
}

int plait_future_on_done(plait_future_t *future, void (*call)(plait_future_t *future, void *context), void *context)
{
    struct plait__callback *callback = malloc(sizeof *callback);

    if (!callback)
        return ENOMEM;
    *callback = (struct plait__callback){ NULL, call, context };
    pthread_mutex_lock(&future->lock);
    *future->last = callback;
    future->last = &callback->next;
    pthread_mutex_unlock(&future->lock);
    if (!plait__task_flag(future->word, TASK_NOTIFY))
        plait__future_deliver(future);
    return 0;
}

int plait_future_free(plait_future_t *future)
{
    if (future)
        future->pool->backend->abandon(future);
    return 0;
}
