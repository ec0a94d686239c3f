/* SPDX-License-Identifier: MIT */
/* Pool on processes: tasks that have failed, and are run again. */
#include <errno.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "exec/pool_processes.h"

/*
 * How it works
 *
 * A task that is to be run again is pending, so that it can be cancelled, and has no entry in the queue; its time is in the
 * record. The supervisor has a heap of such entries-to-be, and makes each when its time has come. It needs no reference on
 * the task: if that was cancelled, and the record serves another one, the entry's generation is an old one, and it is
 * dropped.
 *
 * A worker whose task has failed writes the attempt and the time, says that it is taking the entry (SLOT_TAKING), makes the
 * task PENDING, puts the entry into a queue of its own kind (`again`), and rings. Killed before PENDING, it leaves a task
 * RUNNING with its number, which the supervisor deals with as always; behind that, a worker that holds an entry, which is
 * put again. In this order, for an entry that is seen before its task is PENDING would be dropped by whoever took it. If the
 * task is cancelled in the meantime, the entry means nothing.
 *
 * An entry that is put outside of a submission has nobody who could be told that there was no memory for it. Then the pool owes it: STOP
 * entries are counted, and of tasks it is known that some have none, so that all that are pending get one more (claims make a second one
 * harmless). The supervisor tries again every OWED_AFTER; what was in the way goes by as workers take what is queued.
 *
 * The heap is a skew one: two are merged along their right sides, and on the way each node's sides are swapped, so that what grew
 * becomes the left one. A long side is gone through once and is then short: log n steps for each on the average.
 */

#define OWED_AFTER (100 * PLAIT__MILLISECOND)

static struct later *merge(struct later *a, struct later *b)
{
    struct later *first = NULL, **link = &first;

    while (a && b) {
        struct later *sooner = b->due < a->due ? b : a;

        b = sooner == a ? b : a;
        a = sooner->right;
        sooner->right = sooner->left;
        *link = sooner;
        link = &sooner->left;
    }
    *link = a ? a : b;
    return first;
}

/* With the lock held; without memory it is queued at once. */
static void put_later(struct pool *pool, const struct plait__pool_record *record, plait_time_t due)
{
    uint64_t entry = plait__entry(plait__offset_in(pool->base, record), record->generation);
    struct later *later = malloc(sizeof *later);

    if (!later) {
        plait__pool_put_surely(pool, record);
        return;
    }
    *later = (struct later){ .due = due, .entry = entry };
    pool->later = merge(pool->later, later);
}

bool plait__pool_run_again(struct pool *pool, struct task *task)
{
    struct plait__pool_record *record = record_of(task);
    struct plait__pool_extra *extra = plait__pool_extra(pool->base, record);
    uint32_t seen = load_acquire(&record->word);
    plait_time_t due;
    int64_t delay;

    if (!extra || extra->attempt >= extra->work.retries || load_acquire(&pool->front.state) == POOL_TERMINATED)
        return false;
    delay = plait__retry_delay(&extra->work, (unsigned)extra->attempt);
    due = plait_now() + delay;
    extra->attempt++;
    store64_relaxed(&extra->not_before, (uint64_t)due);
    plait__pool_release(pool->base, &record->result_offset); /* a dead worker's */
    do
        if (seen & TASK_STOP)
            return false;
    while (!cas_acqrel(&record->word, &seen, (seen & TASK_FLAGS & ~(uint32_t)TASK_LATE) | TASK_PENDING));
    put_later(pool, record, due);
    return true;
}

static plait_time_t due_time(struct pool *pool, const struct plait__pool_record *record)
{
    const struct plait__pool_extra *extra = plait__pool_extra(pool->base, record);

    return extra ? (plait_time_t)load64_relaxed(&extra->not_before) : 0;
}

bool plait__pool_is_later(struct pool *pool, const struct plait__pool_record *record)
{
    return due_time(pool, record) > plait_now();
}

void plait__pool_put_again(struct pool *pool, struct plait__pool_record *record)
{
    if (plait__pool_is_later(pool, record))
        put_later(pool, record, due_time(pool, record));
    else
        plait__pool_put_surely(pool, record);
}

/* With the lock held: the record that an entry names, if it still is what the entry means. */
static struct plait__pool_record *record_for(struct pool *pool, uint64_t entry)
{
    struct plait__pool_record *record = plait__at(pool->base, plait__entry_offset(entry));

    return record->generation == (entry & GENERATION_MASK) ? record : NULL;
}

/* What workers have announced. */
static void collect(struct pool *pool)
{
    uint64_t entry;

    while (plait_queue_get(pool->again, &entry, PLAIT_NOW) == 0) {
        struct plait__pool_record *record;

        pthread_mutex_lock(&pool->lock);
        record = record_for(pool, entry);
        if (record)
            plait__pool_put_again(pool, record);
        pthread_mutex_unlock(&pool->lock);
    }
}

plait_time_t plait__pool_queue_again(struct pool *pool)
{
    plait_time_t next = PLAIT_FOREVER, now;
    struct later *later;

    collect(pool);
    now = plait_now();
    pthread_mutex_lock(&pool->lock);
    while ((later = pool->later) != NULL && later->due <= now) {
        struct plait__pool_record *record = record_for(pool, later->entry);

        pool->later = merge(later->left, later->right);
        if (record)
            plait__pool_put_surely(pool, record);
        free(later);
    }
    if (later)
        next = later->due;
    pthread_mutex_unlock(&pool->lock);
    return next;
}

/* ---- Without memory ---- */

void plait__pool_put_stop(struct pool *pool)
{
    if (plait__pool_put_entry(pool, ENTRY_STOP, INT64_MAX) != 0)
        pool->owed_stops++;
}

void plait__pool_put_surely(struct pool *pool, const struct plait__pool_record *record)
{
    if (plait__pool_put_record(pool, record) != 0)
        pool->owes_entries = true;
}

/* With the lock held. Those that have to wait for their time may not be in the heap. */
static void put_owed_entries(struct pool *pool)
{
    struct plait__pool_record *record;

    pool->owes_entries = false;
    for (struct walk walk = { NULL, 0 }; !pool->owes_entries && (record = plait__pool_walk(pool, &walk)) != NULL;)
        if (is_pending(record))
            plait__pool_put_again(pool, record);
}

plait_time_t plait__pool_put_owed(struct pool *pool)
{
    bool owes;

    pthread_mutex_lock(&pool->lock);
    if (pool->owes_entries)
        put_owed_entries(pool);
    while (pool->owed_stops && !pool->owes_entries && plait__pool_put_entry(pool, ENTRY_STOP, INT64_MAX) == 0) /* behind the tasks */
        pool->owed_stops--;
    owes = pool->owed_stops || pool->owes_entries;
    pthread_mutex_unlock(&pool->lock);
    return owes ? plait_now() + OWED_AFTER : PLAIT_FOREVER;
}

void plait__pool_free_again(struct pool *pool)
{
    for (struct later *later; (later = pool->later) != NULL; free(later))
        pool->later = merge(later->left, later->right);
}
