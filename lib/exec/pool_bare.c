/* SPDX-License-Identifier: MIT */
/* Pool on threads: bare jobs, of which nobody asks the outcome. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "exec/pool_threads.h"

/*
 * How it works
 *
 * A bare job belongs to the worker that takes it, which runs it and is through. Its memory is some blocks of the pool's bulk memory
 * (bulk.h), which the worker gives back many at a time; malloc'ed, if it is large, or another submitter is at the bulk memory.
 */

struct bare {
    struct job job; /* first */
    char arg[] __attribute__((aligned(16)));
};

static void run_bare(struct plait__crew_task *node, plait_worker_t *unused);

/* ---- Memory ------------------------------------------------------------------------------- */

/* All of it is written without a look at what was there: that lies in another CPU's cache. */
static struct bare *make_bare(struct pool *pool, plait_task_fn *fn, const void *arg, size_t arg_size)
{
    size_t blocks = (sizeof(struct bare) + arg_size + BULK_BLOCK - 1) / BULK_BLOCK;
    struct bare *bare = NULL;

    if (arg_size > JOB_ARG_MAX)
        return NULL;
    if (blocks <= BULK_RUN_MAX)
        bare = plait__bulk_take(&pool->bulk, (unsigned)blocks);
    if (!bare) {
        blocks = 0;
        bare = malloc(sizeof *bare + arg_size);
    }
    if (!bare)
        return NULL;
    bare->job.node.run = run_bare;
    bare->job.fn = fn;
    bare->job.size = arg_size | (uint64_t)blocks << JOB_BLOCKS_SHIFT;
    if (arg_size)
        memcpy(bare->arg, arg, arg_size);
    return bare;
}

/* `back` is the calling thread's. */
static void drop_bare(struct pool *pool, struct plait__bulk_return *back, struct bare *bare)
{
    unsigned blocks = (unsigned)(bare->job.size >> JOB_BLOCKS_SHIFT);

    if (blocks)
        plait__bulk_give(&pool->bulk, back, bare, blocks);
    else
        free(bare);
}

/* ---- Running ------------------------------------------------------------------------------ */

static void forget_context(void *task)
{
    free(((struct plait_task *)task)->context);
}

int plait__threads_call(struct worker *worker, plait_task_fn *fn, const void *arg, size_t arg_size, char *text_out)
{
    static const uint32_t word = TASK_RUNNING;
    struct plait_task task;
    int code;

    plait__task_prepare(&task);
    task.word = &word;
    task.stop = &worker->pool->stop;
    task.worker = worker->number;
    task.room = plait__task_room;
    pthread_cleanup_push(forget_context, &task);
    code = fn(&task, arg, arg_size);
    pthread_cleanup_pop(task.context != NULL);
    if (text_out)
        memcpy(text_out, task.text, TASK_TEXT);
    return code;
}

static void lost_bare(void *running)
{
    struct running *r = running;

    threads_end_task(r->worker, r->outer, EOWNERDEAD);
    drop_bare(r->worker->pool, &r->worker->back, (struct bare *)r->job);
}

static void run_bare(struct plait__crew_task *node, plait_worker_t *unused)
{
    struct bare *bare = (struct bare *)node;
    struct worker *worker = plait__threads_current;
    struct pool *pool = worker->pool;

    if (load_acquire(&pool->stop)) {
        add64_relaxed(&pool->front.settled, 1);
    } else {
        struct running r = { worker, &bare->job, threads_show(worker, bare->job.fn) };
        int code;

        pthread_cleanup_push(lost_bare, &r);
        code = plait__threads_call(worker, bare->job.fn, bare->arg, bare->job.size & JOB_ARG_MASK, NULL);
        pthread_cleanup_pop(0);
        threads_end_task(worker, r.outer, code);
    }
    drop_bare(pool, &worker->back, bare);
}

/* ---- Submitting, and the opposite ----------------------------------------------------------- */

/* Bulk memory counts what it gives out; only what it did not is to be counted here. */
int plait__threads_submit_bare(struct pool *pool, plait_task_fn *fn, const void *arg, const struct plait__work *work)
{
    struct bare *bare = make_bare(pool, fn, arg, work->arg_size);
    struct plait__bulk_return back = { 0 };
    int err;

    if (!bare)
        return ENOMEM;
    if (bare->job.size <= JOB_ARG_MASK)
        plait__pool_count(&pool->front, 1);
    err = plait__threads_enqueue(pool, &bare->job, work->priority);
    if (err == 0)
        return 0;
    drop_bare(pool, &back, bare);
    plait__bulk_flush(&pool->bulk, &back);
    plait__pool_count(&pool->front, -1);
    return err;
}

bool plait__threads_cancel_bare(struct pool *pool, struct job *job, struct plait__bulk_return *back)
{
    if (job->node.run != run_bare)
        return false;
    add64_relaxed(&pool->front.settled, 1);
    drop_bare(pool, back, (struct bare *)job);
    return true;
}
