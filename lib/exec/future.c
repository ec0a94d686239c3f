/* SPDX-License-Identifier: MIT */
/* Future: waiting for a task, and what is done with one from outside. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

#include <plait/as_completed.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "exec/future.h"
#include "exec/pool_backend.h"
#include "wait/futex.h"
#include "wait/spin.h"
#include "wait/waitable.h"

/*
 * How it works
 *
 * All is in the task's state word (task.h); a waiter sets WAITERS and sleeps on it, in shared memory if the task runs in
 * another process. Callbacks stand in a list here; the first one sets NOTIFY, which makes whoever ends the task
 * have them called. If the task is done before NOTIFY could be set, the caller of on_done calls them. Only one
 * thread at a time does the calling, in order, and goes on until the list is empty: so order is kept when a callback is
 * added meanwhile.
 *
 * A worker that waits runs the task itself if it can, but for PLAIT_NOW, which only looks. Where that becomes possible only while it sleeps (a chain's second
 * task, then.c) it is stirred: the state word changes, without meaning anything else.
 */

void plait__future_begin(plait_future_t *future, const struct plait__future_kind *kind, struct plait_pool *pool,
                         uint32_t *word, unsigned wait_flags)
{
    future->kind = kind;
    future->references = 1;
    future->wait_flags = (uint8_t)wait_flags;
    future->word = word;
    future->pool = pool;
    future->lock = 0;
    future->delivering = false;
    future->first = NULL;
    future->last = &future->first;
    if (pool)
        plait__pool_reference(pool);
}

void plait__future_end(plait_future_t *future)
{
    if (future->pool)
        sub_acqrel(&future->pool->references, 1); /* not the last: the caller has the handle */
}

/*
 * The lock of the callbacks is a word, and not a mutex of 40 bytes: there may be a hundred thousand futures. It is held for
 * a few instructions. Who finds it held says so (2) and sleeps on it; who has slept leaves it at 2, as there may be others.
 */
static void lock_callbacks(plait_future_t *future)
{
    uint32_t free = 0;

    if (cas_acquire(&future->lock, &free, 1))
        return;
    while (exchange_acquire(&future->lock, 2) != 0)
        plait__futex_wait(&future->lock, 2, false, PLAIT_FOREVER);
}

static void unlock_callbacks(plait_future_t *future)
{
    if (exchange_release(&future->lock, 0) == 2)
        plait__futex_wake(&future->lock, 1, false);
}

void plait__future_reference(plait_future_t *future)
{
    add_relaxed(&future->references, 1);
}

void plait__future_unreference(plait_future_t *future)
{
    struct plait_pool *pool = future->pool;

    if (sub_acqrel(&future->references, 1) != 1)
        return;
    if (future->kind->quieten)
        future->kind->quieten(future);
    for (struct plait__callback *callback; (callback = future->first) != NULL;) { /* it never came to be done */
        future->first = callback->next;
        if (callback->allocated)
            free(callback);
    }
    future->kind->reclaim(future);
    if (pool)
        plait__pool_unreference(pool);
}

/* ---- Callbacks ---- */

struct delivery {
    plait_future_t *future;
    struct plait__callback *allocated; /* to be freed afterwards, or NULL: it may be gone by then */
};

void plait__future_clean_up(void *future)
{
    plait__future_unreference(future);
}

/* It has ended its thread instead of returning. The others are called all the same. */
static void lost(void *delivery)
{
    const struct delivery *d = delivery;

    free(d->allocated);
    lock_callbacks(d->future);
    d->future->delivering = false;
    unlock_callbacks(d->future);
    pthread_cleanup_push(plait__future_clean_up, d->future); /* one of these may do the same */
    plait__future_deliver(d->future);
    pthread_cleanup_pop(1);
}

static void call_back(plait_future_t *future, struct plait__callback *callback)
{
    struct delivery delivery = { future, callback->allocated ? callback : NULL };

    pthread_cleanup_push(lost, &delivery);
    callback->call(future, callback->context);
    pthread_cleanup_pop(0);
    free(delivery.allocated);
}

/* Returns whether any are left. */
static bool deliver(plait_future_t *future, bool own_only)
{
    struct plait__callback *callback;
    bool left;

    lock_callbacks(future);
    if (!future->delivering) {
        future->delivering = true;
        while ((callback = future->first) != NULL && (callback->is_own || !own_only)) {
            future->first = callback->next;
            if (!future->first)
                future->last = &future->first;
            unlock_callbacks(future);
            call_back(future, callback);
            lock_callbacks(future);
        }
        future->delivering = false;
    }
    left = future->first != NULL;
    unlock_callbacks(future);
    return left;
}

void plait__future_deliver(plait_future_t *future)
{
    plait__future_reference(future); /* a callback may free the handle */
    deliver(future, false);
    plait__future_unreference(future);
}

bool plait__future_deliver_own(plait_future_t *future)
{
    return deliver(future, true);
}

void plait__future_listen(plait_future_t *future, struct plait__callback *callback)
{
    callback->next = NULL;
    lock_callbacks(future);
    *future->last = callback;
    future->last = &callback->next;
    unlock_callbacks(future);
    if (!plait__task_flag(future->word, TASK_NOTIFY))
        plait__future_deliver(future);
}

bool plait__future_ignore(plait_future_t *future, struct plait__callback *callback)
{
    struct plait__callback **link;

    lock_callbacks(future);
    for (link = &future->first; *link && *link != callback; link = &(*link)->next)
        ;
    if (*link) {
        *link = callback->next;
        if (!*link)
            future->last = link;
    } else {
        callback = NULL;
    }
    unlock_callbacks(future);
    return callback != NULL;
}

int plait_future_on_done(plait_future_t *future, void (*call)(plait_future_t *future, void *context), void *context)
{
    struct plait__callback *callback;

    if (!future || !call)
        return EINVAL;
    callback = malloc(sizeof *callback);
    if (!callback)
        return ENOMEM;
    *callback = (struct plait__callback){ .call = call, .context = context, .allocated = true };
    plait__future_listen(future, callback);
    return 0;
}

void plait__future_stir(plait_future_t *future)
{
    uint32_t before = plait__task_stir(future->word);

    if (before & TASK_WAITERS)
        plait_wake(future->word, UINT_MAX, future->wait_flags);
    lock_callbacks(future);
    for (struct plait__callback *callback = future->first; callback; callback = callback->next)
        if (callback->stirred)
            callback->stirred(callback->context);
    unlock_callbacks(future);
}

/* ---- Ending ---- */

uint32_t plait__future_finish(plait_future_t *future)
{
    uint32_t before = plait__task_done(future->word);

    if (before & TASK_WAITERS)
        plait_wake(future->word, UINT_MAX, future->wait_flags);
    if (before & TASK_NOTIFY)
        plait__future_deliver(future);
    return before;
}

static void tell_maker(plait_future_t *future, bool notify)
{
    if (future->pool)
        plait__pool_make_room(future->pool);
    if (future->kind->settled)
        future->kind->settled(future, notify);
}

/* A callback has ended the thread. */
static void lost_settler(void *future)
{
    tell_maker(future, true);
}

bool plait__future_settle(plait_future_t *future, int code, const char *text)
{
    uint32_t before;

    if (!plait__task_claim(future->word, TASK_CLAIMED_OUTSIDE))
        return false;
    future->kind->settle(future, code, text);
    if (future->pool)
        add64_relaxed(&future->pool->settled, 1);
    pthread_cleanup_push(lost_settler, future);
    before = plait__future_finish(future);
    pthread_cleanup_pop(0);
    tell_maker(future, before & TASK_NOTIFY);
    return true;
}

int plait_future_cancel(plait_future_t *future)
{
    return future->kind->cancel ? future->kind->cancel(future) : plait__future_cancel_task(future);
}

int plait__future_cancel_task(plait_future_t *future)
{
    if (plait__future_settle(future, ECANCELED, "cancelled before it started"))
        return 0;
    if (!plait__task_flag(future->word, TASK_STOP))
        return EINVAL;
    if (load_acquire(future->word) & TASK_WAITERS) /* one of them may wait to run it again */
        plait_wake(future->word, UINT_MAX, future->wait_flags);
    return EBUSY;
}

int plait_future_free(plait_future_t *future)
{
    if (future)
        future->kind->abandon(future);
    return 0;
}

/* ---- Waiting ---- */

bool plait_future_is_ready(const plait_future_t *future)
{
    return (load_acquire(future->word) & TASK_STATUS) == TASK_DONE; /* E2 */
}

bool plait__future_is_orphan(const plait_future_t *future)
{
    return future->pool && plait__pool_is_inherited(future->pool);
}

bool plait__future_help(plait_future_t *future)
{
    return plait__pool_is_anyones() && future->kind->help && future->kind->help(future);
}

/* Look for a while: who ends it then need not wake anybody. */
static void spin_for_it(const plait_future_t *future, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_ANSWER, deadline);

    while (plait__spin_pause(&spin))
        if ((load_relaxed(future->word) & TASK_STATUS) == TASK_DONE) { /* relaxed: who has waited looks again */
            plait__spin_paid(&spin);
            return;
        }
}

int plait_future_wait(plait_future_t *future, plait_time_t deadline)
{
    bool has_spun = false;

    while (!plait_future_is_ready(future)) {
        uint32_t seen;
        int err;

        if (plait__future_is_orphan(future))
            return EOWNERDEAD;
        if (deadline > PLAIT_NOW && plait__future_help(future))
            continue;
        if (!has_spun) {
            has_spun = true;
            spin_for_it(future, deadline);
            continue;
        }
        if (!plait__task_flag(future->word, TASK_WAITERS))
            break;
        seen = load_acquire(future->word);
        if ((seen & TASK_STATUS) == TASK_DONE)
            break;
        err = plait_wait(future->word, seen, future->wait_flags, deadline);
        if (err && !plait_future_is_ready(future))
            return err;
    }
    return 0;
}

static int attempt_wait(struct plait__waiting *waiting)
{
    const plait_future_t *future = waiting->entry->object;

    if (plait_future_is_ready(future))
        return 0;
    return plait__future_is_orphan(future) ? EOWNERDEAD : EAGAIN;
}

static bool enlist_wait(struct plait__waiting *waiting, struct plait_wait_word *word_out)
{
    plait_future_t *future = waiting->entry->object;
    uint32_t seen;

    if (plait__future_help(future) || !plait__task_flag(future->word, TASK_WAITERS))
        return false;
    seen = load_acquire(future->word);
    *word_out = (struct plait_wait_word){ future->word, seen, future->wait_flags };
    return (seen & TASK_STATUS) != TASK_DONE;
}

struct plait_wait_entry plait_any_future_wait(plait_future_t *future)
{
    static const struct plait_waitable waiting = { attempt_wait, enlist_wait, NULL, PLAIT__WATCH_ATTEMPT, NULL };

    return (struct plait_wait_entry){ .how = &waiting, .object = future };
}

int plait_future_get(plait_future_t *future, const void **bytes_out, size_t *size_out, plait_time_t deadline)
{
    struct plait__outcome outcome;
    int err = plait_future_wait(future, deadline);

    if (err)
        return err;
    future->kind->outcome(future, &outcome);
    if (bytes_out)
        *bytes_out = outcome.bytes;
    if (size_out)
        *size_out = outcome.size;
    return outcome.code;
}

/* Wait until one is done that counts. */
static int wait_for_first(plait_future_t *const *futures, size_t count, bool failed_only, size_t *index_out,
                          plait_time_t deadline)
{
    plait_as_completed_t *done;
    plait_future_t *future = NULL;
    int err = plait_as_completed_new(&done, futures, count);

    if (err)
        return err;
    do {
        err = plait_as_completed_next(done, &future, deadline);
    } while (err == 0 && failed_only && plait_future_is_successful(future));
    for (size_t i = 0; i < count && err == 0; i++)
        if (futures[i] == future) {
            *index_out = i;
            break;
        }
    plait_as_completed_free(done);
    return err == EPIPE ? 0 : err;
}

int plait_future_wait_many(plait_future_t *const *futures, size_t count, enum plait_future_when when,
                           size_t *index_out, plait_time_t deadline)
{
    size_t index = count;
    int err = 0;

    if ((!futures && count) || (unsigned)when > PLAIT_FIRST_FAILED)
        return EINVAL;
    for (size_t i = 0; i < count; i++)
        if (!futures[i])
            return EINVAL;
    if (when == PLAIT_ALL_COMPLETED)
        for (size_t i = 0; i < count && err == 0; i++)
            err = plait_future_wait(futures[i], deadline);
    else
        err = wait_for_first(futures, count, when == PLAIT_FIRST_FAILED, &index, deadline);
    if (index_out)
        *index_out = index;
    return err;
}

/* ---- Looking ---- */

bool plait_future_is_successful(const plait_future_t *future)
{
    return plait_future_is_ready(future) && plait_future_error(future) == 0;
}

bool plait_future_is_running(const plait_future_t *future)
{
    return (load_acquire(future->word) & TASK_STATUS) == TASK_RUNNING;
}

/* What a worker has claimed has its number in the word, which stays as it is once the task is done. */
bool plait_future_is_cancelled(const plait_future_t *future)
{
    return plait_future_is_ready(future) && load_relaxed(future->word) >> TASK_WORKER_SHIFT == TASK_CLAIMED_OUTSIDE &&
           plait_future_error(future) == ECANCELED;
}

int plait_future_error(const plait_future_t *future)
{
    struct plait__outcome outcome;

    if (!plait_future_is_ready(future))
        return 0;
    future->kind->outcome((plait_future_t *)future, &outcome);
    return outcome.code;
}

const char *plait_future_error_text(const plait_future_t *future)
{
    struct plait__outcome outcome;

    if (!plait_future_is_ready(future))
        return "";
    future->kind->outcome((plait_future_t *)future, &outcome);
    return outcome.code ? outcome.text : "";
}
