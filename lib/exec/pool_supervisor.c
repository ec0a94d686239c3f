/* SPDX-License-Identifier: MIT */
/* Pool on processes: the supervisor. How it works is told in pool_processes.c. */
#include "exec/pool_processes.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <plait/wait.h>

#include "base/atomic.h"
#include "base/clock.h"

#define LOOK_EVERY (800 * PLAIT__MILLISECOND)
#define LIVES_LONG PLAIT__SECOND
#define BACK_OFF_MIN (10 * PLAIT__MILLISECOND)
#define BACK_OFF_MAX (5 * PLAIT__SECOND)

enum { BROKEN_STARTS = 3 };

/* ---- The supervisor: finished tasks ------------------------------------------------------------ */

/* With the lock held: a stack gives the last first, so turn it round. */
static uint64_t turn_round(struct pool *pool, uint64_t offset)
{
    uint64_t turned = 0;

    while (offset) {
        struct plait__pool_record *record = plait__at(pool->base, offset);
        uint64_t below = record->next;

        record->next = turned;
        turned = offset;
        offset = below;
    }
    return turned;
}

/* Take what the workers have announced. */
static void collect_finished(struct pool *pool)
{
    uint64_t offset = load64_acquire(&pool->shared->finished);

    while (offset && !casptr_acqrel(&pool->shared->finished, &offset, 0))
        ;
    if (!offset)
        return;
    pthread_mutex_lock(&pool->lock);
    offset = turn_round(pool, offset);
    while (offset) {
        struct plait__pool_record *record = plait__at(pool->base, offset);

        offset = record->next;
        plait__pool_make_due(pool, task_of(record));
    }
    pthread_mutex_unlock(&pool->lock);
    plait__pool_hand_over(pool);
}

/* ---- The supervisor: deaths -------------------------------------------------------------------- */

/* Is there a worker that is through with its initializer? */
static bool serves(struct pool *pool)
{
    bool any = false;

    for (unsigned i = 0; i < pool->front.workers; i++) {
        uint32_t state = load_acquire(&pool->shared->slots[i].state);

        any = any || (pool->workers[i].runs && (state == SLOT_TAKING || state == SLOT_BUSY));
    }
    return any;
}

/* With the lock held: all pending tasks get an entry, but those that will get one anyway. */
static void put_pending_again(struct pool *pool)
{
    struct plait__pool_record *record;

    for (struct walk walk = { NULL, 0 }; (record = plait__pool_walk(pool, &walk)) != NULL;)
        if (is_pending(record) && !plait__pool_is_later(pool, record))
            plait__pool_put_surely(pool, record);
}

/*
 * With the lock held: the dead worker had perhaps an entry in hand, which then stands in its slot. If it had it from a queue
 * by priority, it does not, so all pending tasks get one more. Claims make a second entry harmless.
 */
static void put_taken_again(struct pool *pool, uint64_t taking)
{
    struct plait__pool_record *record = plait__entry_offset(taking) ? plait__at(pool->base, plait__entry_offset(taking)) : NULL;

    if (pool->by_priority)
        put_pending_again(pool);
    if (record && record->generation == (taking & GENERATION_MASK) && is_pending(record))
        plait__pool_put_again(pool, record);
}

uint32_t plait__pool_end_task(struct pool *pool, struct task *task, int code, const char *text)
{
    plait__pool_settle(&task->future, code, text);
    add64_relaxed(&pool->front.settled, 1);
    plait__pool_make_room(&pool->front);
    return plait__task_done(task->future.word);
}

void plait__pool_tell_end(struct pool *pool, struct task *task, uint32_t before)
{
    if (before & TASK_WAITERS)
        plait_wake(task->future.word, UINT_MAX, PLAIT_SHARED);
    if (before & TASK_NOTIFY)
        plait__pool_make_due(pool, task);
}

/* With the lock held: one task that the dead worker number `number` may have had. */
static void see_to_task(struct pool *pool, struct plait__pool_record *record, uint32_t number, const char *text)
{
    uint32_t seen = load_acquire(&record->word); /* E2 */
    bool runs = (seen & TASK_STATUS) == TASK_RUNNING, terminated = load_acquire(&pool->front.state) == POOL_TERMINATED;

    if ((seen >> TASK_WORKER_SHIFT & ~(uint32_t)TASK_FINISHING) != number || (seen & TASK_STATUS) < TASK_RUNNING)
        return;
    if (!record->owner) {
        if (runs)
            plait__pool_end_bare(pool, record);
        else
            plait__pool_give_record(pool, record); /* it had it in hand */
        return;
    }
    if (runs && plait__pool_run_again(pool, task_of(record)))
        return;
    if (runs)
        seen = plait__pool_end_task(pool, task_of(record), terminated ? ECANCELED : EOWNERDEAD,
                                    terminated ? "the pool was terminated" : text);
    plait__pool_tell_end(pool, task_of(record), seen);
}

/* With the lock held: all of them. */
static void see_to_tasks(struct pool *pool, uint32_t number, const char *text)
{
    struct plait__pool_record *record;

    plait__pool_have_back(pool);
    for (struct walk walk = { NULL, 0 }; (record = plait__pool_walk(pool, &walk)) != NULL;)
        see_to_task(pool, record, number, text);
}

/* With the lock held: its task was too late, and may have waited for the worker's end. Returns the reference on it. */
static struct task *see_to_late(struct pool *pool, struct worker *worker)
{
    struct task *task = worker->late;
    char text[TASK_TEXT];

    worker->late = NULL;
    if (!task || plait_future_is_ready(&task->future) || plait__pool_run_again(pool, task))
        return task;
    plait__pool_describe_lateness(text, worker, plait__pool_extra(pool->base, record_of(task)));
    plait__pool_tell_end(pool, task, plait__pool_end_task(pool, task, ETIMEDOUT, text));
    return task;
}

/* Had the worker of that number claimed it, and not ended it? */
static bool is_run_by(const struct plait__pool_record *record, uint32_t number)
{
    uint32_t seen = load_acquire(&record->word);

    return (seen & TASK_STATUS) == TASK_RUNNING && (seen >> TASK_WORKER_SHIFT & ~(uint32_t)TASK_FINISHING) == number;
}

/*
 * With the lock held: memory for a result that the dead worker had got and not handed over. It was handing it over if its
 * task's record has it as well; then it goes with that.
 */
static void see_to_result(struct pool *pool, struct plait__pool_slot *slot, uint32_t number)
{
    uint64_t running = load64_relaxed(&slot->running);
    struct plait__pool_record *record = running ? plait__at(pool->base, running) : NULL;

    plait__arena_settle(pool->base);
    if (record && is_run_by(record, number) && record->result_offset == slot->result)
        slot->result = 0;
    plait__pool_release(pool->base, &slot->result);
}

/* With the lock held: when is a worker to be there again that has ended in that state? 0: not until it is wanted. */
static plait_time_t restart_time(const struct pool *pool, struct worker *worker, enum plait__slot_state state, bool had_task)
{
    plait_time_t now = plait_now(), delay = worker->back_off;
    bool soon = now - worker->started < LIVES_LONG && !had_task; /* if a task has killed it, that task is over: no loop comes of it */

    if (state == SLOT_LEFT || state == SLOT_SPARED || load_acquire(&pool->front.state) == POOL_TERMINATED)
        return 0;
    if (state == SLOT_RENEWED)
        return now;
    /* The first early death is taken for an accident. */
    worker->back_off = !soon                      ? 0
                       : !delay                   ? BACK_OFF_MIN
                       : delay * 2 < BACK_OFF_MAX ? delay * 2
                                                  : BACK_OFF_MAX;
    return soon && delay ? now + delay : now;
}

/* A worker has ended. */
static void bury(struct pool *pool, uint32_t number, enum plait__child_state state, int status)
{
    struct worker *worker = &pool->workers[number];
    struct plait__pool_slot *slot = &pool->shared->slots[number];
    enum plait__slot_state slot_state = (enum plait__slot_state)load_acquire(&slot->state);
    bool has_died = slot_state < SLOT_LEFT;
    struct task *late;
    char text[TASK_TEXT];

    if (slot_state == SLOT_TIDYING) /* its finalizer has ended it; it is through with all else */
        slot_state = (enum plait__slot_state)load_relaxed(&slot->leaves);
    collect_finished(pool);
    plait__pool_describe_end(text, pool, worker, state, status);
    pthread_mutex_lock(&pool->lock);
    see_to_result(pool, slot, number);
    see_to_tasks(pool, number, text);
    late = see_to_late(pool, worker);
    if (slot_state == SLOT_TAKING && load_acquire(&pool->front.state) != POOL_TERMINATED) {
        put_taken_again(pool, load64_relaxed(&slot->taking));
        pool->leaving = 0; /* what it may have had was perhaps a SPARE */
    }
    if (slot_state == SLOT_SPARED && pool->leaving)
        pool->leaving--;
    pool->broken_starts = slot_state == SLOT_PREPARING ? pool->broken_starts + 1 : 0;
    store_release(&slot->state, SLOT_IDLE);
    worker->runs = false;
    pool->running--;
    store64_relaxed(&slot->limited, 0);
    worker->has_died = has_died;
    worker->restart_at = restart_time(pool, worker, slot_state, load64_relaxed(&slot->running) != 0);
    store64_relaxed(&slot->running, 0);
    store64_relaxed(&slot->taking, 0);
    plait__line_bury(&pool->line, number);
    if (worker->restart_at && load_acquire(&pool->front.state) == POOL_CLOSED)
        plait__pool_put_stop(pool);
    worker->kill_at = 0;
    pthread_mutex_unlock(&pool->lock);
    plait__child_drop(&worker->child);
    if (late)
        plait__future_unreference(&late->future);
    if (plait__failure_is_left(&pool->shared->failure, number) ||
        (slot_state == SLOT_PREPARING && pool->broken_starts >= BROKEN_STARTS && !serves(pool)))
        plait__pool_break(&pool->front, number, EOWNERDEAD, text);
    plait__pool_hand_over(pool);
}

static void look_for_deaths(struct pool *pool)
{
    for (unsigned i = 0; i < pool->front.workers; i++) {
        int status = 0;
        enum plait__child_state state;

        if (!pool->workers[i].runs)
            continue;
        state = plait__child_state(&pool->workers[i].child, &status);
        if (state != PLAIT__CHILD_RUNS)
            bury(pool, i, state, status);
    }
}

/* ---- The supervisor: limits --------------------------------------------------------------------- */

/*
 * With the lock held: it is over the limit, or was cancelled, and over the grace. The task ends here and now, if it is not to be run again; its
 * record, which the worker may still read and write, stays until that has ended, too.
 */
static void end_late(struct pool *pool, uint32_t number, struct plait__pool_record *record, bool is_cancelled)
{
    struct worker *worker = &pool->workers[number];
    struct plait__pool_extra *extra = plait__pool_extra(pool->base, record);
    struct task *task = task_of(record);
    char text[TASK_TEXT];

    if (!plait__task_reclaim(&record->word, number, TASK_CLAIMED_OUTSIDE))
        return;
    worker->kill_at = plait_now() + extra->work.grace;
    plait__child_signal(&worker->child, SIGTERM);
    worker->late = task;
    plait__future_reference(&task->future);
    if (is_cancelled)
        plait__pool_describe_deafness(text, worker, extra);
    else if (extra->attempt < extra->work.retries)
        return;
    else
        plait__pool_describe_lateness(text, worker, extra);
    plait__pool_tell_end(pool, task, plait__pool_end_task(pool, task, is_cancelled ? ECANCELED : ETIMEDOUT, text));
}

/* When is it too late, without the grace? */
static plait_time_t too_late(const struct plait__pool_extra *extra, plait_time_t started, plait_time_t cancelled)
{
    plait_time_t late = extra->work.limit ? started + extra->work.limit : PLAIT_FOREVER;

    return cancelled && cancelled < late ? cancelled : late;
}

/* With the lock held: see to the task that the worker runs, if it may be ended. Returns when to look again. */
static plait_time_t watch_task(struct pool *pool, uint32_t number)
{
    uint64_t offset = load64_acquire(&pool->shared->slots[number].limited);
    struct plait__pool_record *record;
    struct plait__pool_extra *extra;
    plait_time_t started, cancelled, late, now;
    uint32_t seen;

    if (!offset)
        return PLAIT_FOREVER;
    record = plait__at(pool->base, offset);
    seen = load_acquire(&record->word);
    if (seen >> TASK_WORKER_SHIFT != number || (seen & TASK_STATUS) != TASK_RUNNING)
        return PLAIT_FOREVER;
    /* If it is another task by now, its extra is not the worker's to free, and stays while we have the lock. */
    extra = plait__pool_extra(pool->base, record);
    started = extra ? (plait_time_t)load64_acquire(&extra->started) : 0;
    if (!started || !plait__pool_is_guarded(extra)) /* or it is about to begin, then the bell will ring */
        return PLAIT_FOREVER;
    now = plait_now();
    cancelled = (plait_time_t)load64_relaxed(&extra->cancelled); /* relaxed: the bell was read before */
    late = too_late(extra, started, cancelled);
    if (now < late)
        return late;
    if (!cancelled)
        plait__task_flag(&record->word, TASK_LATE);
    if (now < late + extra->work.grace)
        return late + extra->work.grace;
    end_late(pool, number, record, cancelled != 0);
    return pool->workers[number].kill_at ? pool->workers[number].kill_at : PLAIT_FOREVER;
}

/* With the lock held: a worker that was told to end. */
static plait_time_t watch_end(struct worker *worker)
{
    if (plait_now() < worker->kill_at)
        return worker->kill_at;
    if (worker->kill_at != PLAIT_FOREVER)
        plait__child_signal(&worker->child, SIGKILL);
    worker->kill_at = PLAIT_FOREVER;
    return PLAIT_FOREVER;
}

/* See to tasks that run too long; returns when to look again. */
static plait_time_t watch_limits(struct pool *pool)
{
    plait_time_t next = PLAIT_FOREVER;

    pthread_mutex_lock(&pool->lock);
    for (unsigned i = 0; i < pool->front.workers; i++) {
        struct worker *worker = &pool->workers[i];
        plait_time_t look;

        if (!worker->runs)
            continue;
        look = worker->kill_at ? watch_end(worker) : watch_task(pool, i);
        if (look < next)
            next = look;
    }
    pthread_mutex_unlock(&pool->lock);
    plait__pool_hand_over(pool);
    return next;
}

/* ---- The supervisor: workers -------------------------------------------------------------------- */

int plait__pool_start_worker(struct pool *pool, uint32_t number)
{
    struct worker *worker = &pool->workers[number];
    struct plait__pool_worker_arg arg = { .shared = plait__offset_in(pool->base, pool->shared), .number = number };
    struct plait__child child;
    int err;

    arg.by_priority = pool->by_priority;
    if (pool->queue)
        plait_queue_ref(pool->queue, &arg.queue);
    plait_queue_ref(pool->again, &arg.again);
    err = plait__child_start(&(struct plait__spawn){ .target = plait__pool_worker_main, .arg = &arg,
                                                     .arg_size = sizeof arg, .name = pool->front.name, .daemon = true,
                                                     .ignores_interrupt = true, .carry_fd = plait__arena_fd(pool->arena) },
                             &child);
    if (err)
        return err;
    pthread_mutex_lock(&pool->lock);
    worker->child = child;
    worker->runs = true;
    pool->running++;
    worker->restarts += worker->has_died;
    worker->has_died = false;
    worker->started = plait_now();
    worker->restart_at = 0;
    if (load_acquire(&pool->front.state) == POOL_TERMINATED)
        plait__child_signal(&child, SIGKILL);
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

bool plait__pool_wants_worker(struct pool *pool)
{
    if (pool->running >= pool->front.workers || pool->min_workers == pool->front.workers ||
        load_acquire(&pool->front.state) == POOL_TERMINATED || load_acquire(&pool->shared->paused))
        return false;
    return plait__pool_under_way(&pool->front) > pool->running;
}

/* Have one more started, if it is wanted. */
static void want_worker(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    if (plait__pool_wants_worker(pool))
        for (unsigned i = 0; i < pool->front.workers; i++) {
            struct worker *worker = &pool->workers[i];

            if (worker->runs || worker->restart_at)
                continue;
            worker->restart_at = plait_now();
            if (load_acquire(&pool->front.state) == POOL_CLOSED)
                plait__pool_put_stop(pool);
            break;
        }
    pthread_mutex_unlock(&pool->lock);
}

/* Let workers go that have waited for long. */
static void see_to_idle(struct pool *pool)
{
    uint32_t idle = __atomic_exchange_n(&pool->shared->idle, 0, __ATOMIC_ACQUIRE);

    if (!idle || load_acquire(&pool->front.state) != POOL_RUNNING)
        return;
    pthread_mutex_lock(&pool->lock);
    for (; idle && pool->running > pool->min_workers + pool->leaving; idle--)
        if (plait__pool_put_entry(pool, ENTRY_SPARE, INT64_MAX) == 0)
            pool->leaving++;
    pthread_mutex_unlock(&pool->lock);
}

/* A worker's initializer has failed. */
static void see_to_failure(struct pool *pool)
{
    const struct plait__pool_failure *failure = &pool->shared->failure;

    if (!plait__failure_is_told(failure) || load_acquire(&pool->front.state) == POOL_TERMINATED)
        return;
    plait__pool_break(&pool->front, failure->worker, failure->code, failure->text);
    plait__pool_hand_over(pool);
}

/* Start those whose time has come; returns when the next one's does. */
static plait_time_t restart_due(struct pool *pool)
{
    plait_time_t next = PLAIT_FOREVER;

    for (unsigned i = 0; i < pool->front.workers; i++) {
        struct worker *worker = &pool->workers[i];

        if (worker->runs || !worker->restart_at)
            continue;
        if (load_acquire(&pool->front.state) == POOL_TERMINATED) {
            worker->restart_at = 0;
            continue;
        }
        if (worker->restart_at <= plait_now()) {
            if (plait__pool_start_worker(pool, i) == 0)
                continue;
            worker->restart_at = plait_now() + PLAIT__SECOND / 2;
        }
        if (worker->restart_at < next)
            next = worker->restart_at;
    }
    return next;
}

/* Is nothing left to supervise? If tasks are pending without a worker, have one started. */
static bool is_over(struct pool *pool)
{
    bool over = load_acquire(&pool->front.state) != POOL_RUNNING, now = false;
    struct plait__pool_record *record;

    for (unsigned i = 0; i < pool->front.workers && over; i++)
        over = !pool->workers[i].runs && !pool->workers[i].restart_at;
    if (!over || load_acquire(&pool->front.state) == POOL_TERMINATED)
        return over;
    pthread_mutex_lock(&pool->lock);
    for (struct walk walk = { NULL, 0 }; (record = plait__pool_walk(pool, &walk)) != NULL;) {
        bool pending = is_pending(record);

        over = over && !pending;
        now = now || (pending && !plait__pool_is_later(pool, record));
    }
    if (now) {
        put_pending_again(pool);
        plait__pool_put_stop(pool);
        pool->workers[0].restart_at = plait_now();
    }
    pthread_mutex_unlock(&pool->lock);
    return over;
}

static const uint32_t *ends_word(struct pool *pool)
{
    for (unsigned i = 0; i < pool->front.workers; i++)
        if (pool->workers[i].runs)
            return plait__nursery_ends(pool->workers[i].child.nursery);
    return NULL;
}

/* Until nothing is left. */
static void supervise(struct pool *pool)
{
    if (!pool->oom_kills) /* else it goes on for another one */
        plait__pool_memory_ran_out(pool); /* or did so before: what comes from now on counts */
    for (;;) {
        const uint32_t *ends = ends_word(pool);
        struct plait_wait_word words[] = {
            { &pool->shared->bell, load_acquire(&pool->shared->bell), PLAIT_SHARED },
            { ends, ends ? load_acquire(ends) : 0, PLAIT_SHARED },
        };

        collect_finished(pool);
        look_for_deaths(pool);
        see_to_failure(pool);
        see_to_idle(pool);
        want_worker(pool);
        plait_time_t until = restart_due(pool), limit = watch_limits(pool), again = plait__pool_queue_again(pool);
        plait_time_t owed = plait__pool_put_owed(pool);
        if (is_over(pool))
            break;
        if (again < until)
            until = again;
        if (owed < until)
            until = owed;
        if (ends != ends_word(pool))
            continue;
        /* The nursery itself may die without a word. */
        plait_time_t look = plait_now() + LOOK_EVERY;
        if (limit < until)
            until = limit;
        plait_wait_many(words, ends ? 2 : 1, NULL, until < look ? until : look);
    }
    collect_finished(pool);
}

/* A callback has ended the thread. Without memory for another one it goes on here, on its way out. */
static void lost_supervisor(void *pool)
{
    plait__pool_enter(NULL, POOL_WORKS, 0);
    if (plait__pool_start_thread(pool, plait__pool_supervise, &((struct pool *)pool)->supervisor) != 0)
        plait__pool_supervise(pool);
}

void *plait__pool_supervise(void *arg)
{
    struct pool *pool = arg;

    plait__pool_begin_thread(pool);
    plait__pool_enter(&pool->front, POOL_SUPERVISES, 0);
    pthread_cleanup_push(lost_supervisor, pool);
    plait__pool_hand_over(pool);
    supervise(pool);
    plait__pool_end_delivery(pool);
    pthread_cleanup_pop(0);
    store_release(&pool->is_over, 1);
    plait_wake(&pool->is_over, UINT_MAX, 0);
    return NULL;
}
