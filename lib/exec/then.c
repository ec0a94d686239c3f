/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A chain's second future is made at once, though its task can be submitted only when the first is done. It owns no outcome
 * but shows another's: of the first, if that failed, or of the task that came of it; both are ordinary futures that it
 * keeps. Only a chain that was cancelled before there was a task has an end of its own.
 *
 * States: PENDING until it has an outcome to show. While `second` is NULL it is cancelled like any task; from then on by
 * cancelling that. `lock` decides between the two: with it held either the chain is settled or `second` comes to be, not both.
 *
 * A chain lets go of the first as soon as its result has been handed on.
 *
 * A worker that waits for the chain helps with whichever task there is; the coming of the second stirs it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <plait/pool.h>
#include <plait/promise.h>

#include "base/atomic.h"
#include "exec/future.h"
#include "exec/pool_backend.h"

struct chain {
    plait_future_t future;          /* first */
    uint32_t word;                  /* atomic: task.h */
    int code;                       /* of an end of its own; written by the claimer, before DONE */
    plait_pool_t *pool;             /* const: a reference is held by future; NULL: run it here */
    plait_task_fn *fn;              /* const */
    struct plait__callback of_first, of_second;
    pthread_mutex_t lock;           /* guards what follows until DONE */
    plait_future_t *first, *second; /* a reference is held until there is the second; a handle; one of them there is */
    const char *text;               /* of an end of its own */
};

static struct chain *chain_of(plait_future_t *future)
{
    return (struct chain *)future;
}

/* ---- Its future ---- */

static void outcome(plait_future_t *future, struct plait__outcome *outcome_out)
{
    struct chain *chain = chain_of(future);
    plait_future_t *shown = chain->second ? chain->second : chain->first;

    if (chain->code == 0)
        shown->kind->outcome(shown, outcome_out);
    else
        *outcome_out = (struct plait__outcome){ .code = chain->code, .text = chain->text };
}

/* The task that stands for the chain now, with a reference. */
static plait_future_t *task_of(struct chain *chain)
{
    plait_future_t *task;

    pthread_mutex_lock(&chain->lock);
    task = chain->second ? chain->second : chain->first;
    plait__future_reference(task);
    pthread_mutex_unlock(&chain->lock);
    return task;
}

static bool help(plait_future_t *future)
{
    plait_future_t *task;
    bool helped;

    task = task_of(chain_of(future));
    helped = plait__future_help(task);
    plait__future_unreference(task);
    return helped;
}

static void reclaim(plait_future_t *future)
{
    struct chain *chain = chain_of(future);

    if (chain->first)
        plait__future_unreference(chain->first);
    plait_future_free(chain->second);
    pthread_mutex_destroy(&chain->lock);
    free(chain);
}

/* It has an end of its own (code not 0), or that which it shows; the text is constant. */
static void end_with(struct chain *chain, int code, const char *text)
{
    chain->code = code;
    chain->text = text;
    plait__future_finish(&chain->future);
}

static int cancel(plait_future_t *future)
{
    struct chain *chain = chain_of(future);
    plait_future_t *second;
    bool claimed = false;
    int err;

    pthread_mutex_lock(&chain->lock);
    second = chain->second;
    if (second)
        plait__future_reference(second);
    else
        claimed = plait__task_claim(&chain->word, TASK_CLAIMED_OUTSIDE);
    pthread_mutex_unlock(&chain->lock);
    if (claimed)
        end_with(chain, ECANCELED, "cancelled before it started");
    if (!second)
        return claimed ? 0 : EINVAL;
    err = plait_future_cancel(second); /* its end is ours, if on_first has not come to listen yet as well */
    if (err == 0 && plait__task_claim(&chain->word, TASK_CLAIMED_OUTSIDE))
        end_with(chain, 0, NULL);
    plait__future_unreference(second);
    return err;
}

static const struct plait__future_kind kind = {
    .outcome = outcome,
    .help = help,
    .abandon = plait__future_unreference,
    .reclaim = reclaim,
    .cancel = cancel,
};

/* ---- Going on ---- */

/* The second task is done, or there will be none. Drops the chain's own reference. */
static void end(struct chain *chain, int code, const char *text)
{
    if (plait__task_claim(&chain->word, TASK_CLAIMED_OUTSIDE))
        end_with(chain, code, text);
    plait__future_unreference(&chain->future);
}

static void on_second(plait_future_t *second, void *context)
{
    end(context, 0, NULL);
}

/* Where it is not for a pool, the second is a promise. It has begun before anyone sees it: then it cannot be cancelled. */
static int make_promise(plait_promise_t **promise_out, plait_future_t **second_out)
{
    int err = plait_promise_new(promise_out, second_out);

    if (err == 0)
        plait_promise_begin(*promise_out);
    return err;
}

/* Let the second come to be, unless the chain has been cancelled. */
static int begin_second(struct chain *chain, const struct plait__outcome *arg, plait_promise_t **promise_out)
{
    plait_future_t *second = NULL;
    int err = ECANCELED;

    pthread_mutex_lock(&chain->lock);
    if ((load_acquire(&chain->word) & TASK_STATUS) == TASK_PENDING)
        err = chain->pool ? plait_pool_apply_async(chain->pool, chain->fn, arg->bytes, arg->size, &second)
                          : make_promise(promise_out, &second);
    chain->second = second;
    pthread_mutex_unlock(&chain->lock);
    return err;
}

/* Its result has been copied, or used. Who calls us has a reference. */
static void forget_first(struct chain *chain)
{
    plait_future_t *first = chain->first;

    pthread_mutex_lock(&chain->lock);
    chain->first = NULL;
    pthread_mutex_unlock(&chain->lock);
    plait__future_unreference(first);
}

static void on_first(plait_future_t *first, void *context)
{
    struct chain *chain = context;
    plait_promise_t *promise = NULL;
    struct plait__outcome arg;
    int err;

    first->kind->outcome(first, &arg);
    if (arg.code) {
        end(chain, 0, NULL);
        return;
    }
    err = begin_second(chain, &arg, &promise);
    if (err) {
        end(chain, err, err == EPIPE ? "the pool was closed" : "the task could not be submitted");
        return;
    }
    if (promise)
        plait__promise_run(promise, chain->fn, arg.bytes, arg.size);
    else
        plait__future_stir(&chain->future);
    plait_promise_free(promise);
    forget_first(chain);
    plait__future_listen(chain->second, &chain->of_second);
}

int plait_future_then(plait_future_t *future, plait_pool_t *pool, plait_task_fn *fn, plait_future_t **next_out)
{
    struct chain *chain;

    if (!future || !fn || !next_out)
        return EINVAL;
    chain = calloc(1, sizeof *chain);
    if (!chain)
        return ENOMEM;
    plait__future_begin(&chain->future, &kind, pool, &chain->word, 0);
    chain->future.references = 2; /* the handle's, and one until it is done */
    chain->pool = pool;
    chain->fn = fn;
    chain->of_first = (struct plait__callback){ .call = on_first, .context = chain };
    chain->of_second = (struct plait__callback){ .call = on_second, .context = chain };
    pthread_mutex_init(&chain->lock, NULL);
    chain->first = future;
    plait__future_reference(future);
    chain->word = TASK_PENDING;
    *next_out = &chain->future;
    plait__future_listen(future, &chain->of_first);
    return 0;
}
