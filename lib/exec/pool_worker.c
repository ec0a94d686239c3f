/* SPDX-License-Identifier: MIT */
/* A pool's worker process. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait/queue.h>
#include <plait/wait.h>

#include "arena/arena.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/fork_epoch.h"
#include "exec/nursery.h"
#include "exec/pool_shared.h"

/*
 * How it works
 *
 * Get an entry, claim its record, run, write the outcome, make it DONE; until STOP. Killed anywhere in that, it leaves:
 *
 *   an entry got and not claimed     the slot says TAKING, and which: the supervisor puts it again
 *   a task RUNNING with its number   the supervisor fails it
 *   memory for a result              its offset came to be with it in one step, in the slot; from there it goes to the
 *                                    record, when nobody else can end the task any more
 *   bare records in hand             they are DONE, with its number (pool_records.c)
 *
 * A task with a limit ends in two steps: it takes itself out of the supervisor's reach (FINISHING), and then writes its
 * outcome. If the supervisor was first, the outcome has been written, and the worker ends, so that no signal meant for it
 * hits the next task.
 *
 *   a task DONE but not announced    the supervisor announces it
 *
 * A task that has failed and is to be run again becomes PENDING in place of DONE: pool_again.c.
 *
 * A task may fork, and its child return from the task as well. The child has the arena and this struct, but is no worker: it
 * ends where it returns (task.h, plait__task_call).
 */

enum { IN_HAND_MAX = 32 };

struct state {
    struct plait_arena *arena;
    struct plait__arena_header *base;
    struct plait__pool_shared *shared;
    struct plait__pool_slot *slot;
    struct plait__line_end line;
    plait_queue_t *again;
    uint32_t number;
    uint32_t epoch;   /* const: fork epoch of this process */
    uint32_t served;  /* tasks */
    uint32_t in_hand; /* bare records to be given back, in a chain by `next` */
    struct plait__pool_record *first_in_hand, *last_in_hand;
};

static struct state self;

/* Functions that were found before. */
static struct {
    uint64_t offset;
    plait_task_fn *fn;
} known[64];

static plait_task_fn *find_function(uint64_t offset)
{
    size_t place = offset / 64 % (sizeof known / sizeof known[0]);
    const struct plait__pool_function *function;
    void *address;

    if (known[place].offset == offset)
        return known[place].fn;
    function = plait__at(self.base, offset);
    if (plait__function_open(plait__at(self.base, function->module), function->function, &address) != 0)
        return NULL;
    known[place].offset = offset;
    known[place].fn = (plait_task_fn *)(uintptr_t)address;
    return known[place].fn;
}

/* Room for a large result, in the arena. Not in the record: if it is too late, the task may have ended. */
static int give_room(struct plait_task *task, size_t size, void **room_out)
{
    int err;

    if (task->result != task->bytes) {
        task->result = NULL;
        task->result_size = 0;
    }
    plait__pool_release(self.base, &self.slot->result);
    err = plait__arena_alloc_into(self.base, size, &self.slot->result);
    if (err)
        return err;
    *room_out = plait__pool_memory(self.base, self.slot->result);
    return 0;
}

static int call(uint64_t function, const struct plait__work *work, const void *arg, struct plait_task *task)
{
    plait_task_fn *fn = find_function(function);
    const struct plait__pool_function *named = plait__at(self.base, function);

    if (!fn)
        return plait_task_fail(task, EINVAL, "the worker cannot load %s as the program has it",
                               ((const struct plait__module *)plait__at(self.base, named->module))->path);
    return plait__task_run(task, fn, work, arg);
}

static int run(struct plait__pool_record *record, const struct plait__pool_extra *extra, struct plait_task *task)
{
    const void *arg = record->arg_offset ? plait__pool_memory(self.base, record->arg_offset) : record->payload;
    struct plait__work work = { .arg_size = record->arg_size };

    plait__task_prepare(task);
    task->word = &record->word;
    task->stop = &self.shared->stop;
    task->worker = self.number;
    task->epoch = self.epoch;
    task->attempt = extra ? (unsigned)extra->attempt : 0;
    task->inline_max = RECORD_INLINE;
    task->room = give_room;
    return call(load64_relaxed(&record->function), extra ? &extra->work : &work, arg, task); /* relaxed: since the claim (E1) */
}

/* Call the initializer or the finalizer. */
static int call_own(const struct plait__pool_function *function, struct plait_task *task)
{
    static const uint32_t word = TASK_RUNNING;
    struct plait__work work = { .arg_size = self.shared->init_arg_size };
    int code;

    if (!function->module)
        return 0;
    plait__task_prepare(task);
    task->word = &word;
    task->stop = &self.shared->stop;
    task->worker = self.number;
    task->epoch = self.epoch;
    task->room = plait__task_room;
    code = call(plait__offset_in(self.base, function), &work, work.arg_size ? plait__at(self.base, self.shared->init_arg) : NULL, task);
    free(task->context);
    return code;
}

/* The large result becomes the record's. The supervisor may find it in both, but not in neither. */
static void hand_over(struct plait__pool_record *record)
{
    record->result_offset = self.slot->result;
    compiler_barrier();
    self.slot->result = 0;
}

static void keep_text(struct plait__pool_record *record, struct plait_task *task)
{
    size_t size = strlen(task->text) + 1;
    void *room = record->payload;

    plait__pool_release(self.base, &self.slot->result);
    if (size > RECORD_INLINE && give_room(task, size, &room) != 0)
        size = RECORD_INLINE; /* the beginning of it */
    memcpy(room, task->text, size - 1);
    ((char *)room)[size - 1] = '\0';
    if (room != record->payload)
        hand_over(record);
    record->result_size = size;
}

static void keep_outcome(struct plait__pool_record *record, struct plait_task *task, int code)
{
    record->code = code;
    if (code) {
        keep_text(record, task);
        return;
    }
    record->result_size = task->result_size;
    if (task->result && task->result != task->bytes) {
        hand_over(record);
        return;
    }
    plait__pool_release(self.base, &self.slot->result);
    if (task->result_size)
        memcpy(record->payload, task->bytes, task->result_size);
}

/* ---- Telling of it ---- */

static void ring(void)
{
    add_release(&self.shared->bell, 1);
    plait_wake(&self.shared->bell, 1, PLAIT_SHARED);
}

/* Put a chain of records on a stack. Was it empty? */
static bool push(uint64_t *stack, struct plait__pool_record *first, struct plait__pool_record *last)
{
    uint64_t top = load64_relaxed(stack);

    do
        last->next = top;
    while (!casptr_acqrel(stack, &top, plait__offset_in(self.base, first)));
    return top == 0;
}

/* The supervisor must see to it; it sleeps if the stack was empty. */
static void announce(struct plait__pool_record *record)
{
    if (push(&self.shared->finished, record, record))
        ring();
}

/* The supervisor has a limit, or a grace after a cancellation, to watch from now on. */
static void announce_start(struct plait__pool_record *record, struct plait__pool_extra *extra)
{
    store64_release(&extra->started, (uint64_t)plait_now());
    store64_release(&self.slot->limited, plait__offset_in(self.base, record));
    ring();
}

static void change(enum plait__slot_state state)
{
    store64_relaxed(&self.slot->since, (uint64_t)plait__now_coarse());
    store_release(&self.slot->state, state);
}

/* It has failed: is it to be run again? Then it is pending, and no longer ours. */
static bool is_left_to_others(struct plait__pool_record *record, struct plait__pool_extra *extra, uint32_t claimed_as)
{
    uint64_t entry = plait__entry(plait__offset_in(self.base, record), record->generation);
    int64_t delay = plait__retry_delay(&extra->work, (unsigned)extra->attempt);
    uint32_t seen = load_acquire(&record->word);

    if (extra->attempt >= extra->work.retries || (seen & TASK_STOP) || load_acquire(&self.shared->stop))
        return false;
    store64_relaxed(&extra->not_before, (uint64_t)(delay ? plait_now() + delay : 0));
    extra->attempt++;
    store64_relaxed(&extra->started, 0);
    store64_relaxed(&self.slot->taking, entry);
    change(SLOT_TAKING);
    do
        if ((seen & TASK_STOP) || seen >> TASK_WORKER_SHIFT != claimed_as)
            return false;
    while (!cas_acqrel(&record->word, &seen, (seen & TASK_FLAGS & ~(uint32_t)TASK_LATE) | TASK_PENDING));
    if (plait_queue_put(self.again, &entry, PLAIT_FOREVER) != 0)
        _exit(1); /* no memory: our death has it put again */
    ring();
    return true;
}

/* ---- Bare tasks ---- */

static void give_back_in_hand(void)
{
    if (!self.in_hand)
        return;
    push(&self.shared->given_back, self.first_in_hand, self.last_in_hand); /* pool_records.c: E1 */
    self.in_hand = 0;
}

/* Nobody asks for its outcome: the record is ours. */
static void end_bare(struct plait__pool_record *record)
{
    plait__pool_release(self.base, &self.slot->result);
    plait__pool_release(self.base, &record->arg_offset);
    store_release(&record->word, TASK_DONE | self.number << TASK_WORKER_SHIFT);
    if (self.in_hand++ == 0)
        self.last_in_hand = record;
    else
        record->next = plait__offset_in(self.base, self.first_in_hand);
    self.first_in_hand = record;
    if (self.in_hand == IN_HAND_MAX)
        give_back_in_hand();
}

/* ---- Serving ---- */

/* Somebody may ask: write it down, and tell. */
static void end_watched(struct plait__pool_record *record, struct plait_task *task, int code)
{
    uint32_t before;

    keep_outcome(record, task, code);
    before = plait__task_done(&record->word);
    if (before & TASK_WAITERS)
        plait_wake(&record->word, UINT_MAX, PLAIT_SHARED);
    if (before & TASK_NOTIFY)
        announce(record);
}

static void count(int code)
{
    if (code)
        store64_relaxed(&self.slot->failed, self.slot->failed + 1);
    store64_relaxed(&self.slot->done, self.slot->done + 1);
}

/* Run a task that was claimed, to its end or until others have it. */
static void run_to_end(struct plait__pool_record *record)
{
    struct plait__pool_extra *extra = plait__pool_extra(self.base, record);
    uint32_t claimed_as = self.number;
    struct plait_task task;
    int code;

    if (plait__pool_is_guarded(extra))
        announce_start(record, extra);
    code = run(record, extra, &task);
    self.served++;
    if (plait__pool_is_guarded(extra)) {
        claimed_as |= TASK_FINISHING;
        if (!plait__task_reclaim(&record->word, self.number, claimed_as))
            _exit(1); /* it took too long: its outcome is another's, and we have been told to go */
    }
    if (code && extra && extra->work.retries && is_left_to_others(record, extra, claimed_as))
        return;
    count(code);
    plait__line_expect(&self.line, self.number);
    if (record->owner)
        end_watched(record, &task, code);
    else
        end_bare(record);
    if (self.shared->has_backlog)
        plait__room_tell(&self.shared->room, PLAIT_SHARED);
}

static void serve(uint64_t entry)
{
    struct plait__pool_record *record = plait__at(self.base, plait__entry_offset(entry));

    /* A stale entry of a record that has become another task: that one has an entry of its own, further back.
     * Should the change come between the look and the claim, the task merely starts earlier. */
    if (load_acquire(&record->generation) != (entry & GENERATION_MASK))
        return;
    /* A pool that was told to stop has its pending tasks cancelled by who told it. */
    if (load_acquire(&self.shared->stop) || !plait__task_claim(&record->word, self.number))
        return;
    store64_relaxed(&self.slot->running, plait__offset_in(self.base, record));
    change(SLOT_BUSY);
    run_to_end(record);
    change(SLOT_TAKING);
}

/* While the pool is paused. A pool that is terminated kills those who wait here. */
static void hold_back(void)
{
    while (load_acquire(&self.shared->paused))
        plait_wait(&self.shared->paused, 1, PLAIT_SHARED, PLAIT_FOREVER);
}

/* Its initializer has failed: the first one says so. */
static void announce_failure(int code, const char *text)
{
    plait__failure_tell(&self.shared->failure, self.number, code, text);
    store_release(&self.slot->state, SLOT_LEFT);
}

/* Leave in peace. */
static int leave(enum plait__slot_state state)
{
    struct plait_task task;

    store_relaxed(&self.slot->leaves, state);
    plait__line_forget(&self.line, self.number);
    give_back_in_hand();
    change(SLOT_TIDYING);
    call_own(&self.shared->finalizer, &task);
    store_release(&self.slot->state, state);
    return 0;
}

/* Get the next entry; ETIMEDOUT: there was none for a while. */
static int get(uint64_t *entry_out)
{
    int64_t idle_time = self.shared->idle_time;
    int err;

    hold_back(); /* before one is taken, too: more urgent ones may come meanwhile */
    if (plait__line_is_empty(&self.line))
        give_back_in_hand();
    err = plait__line_get(&self.line, self.number, &self.slot->taking, entry_out,
                          idle_time ? plait_now() + idle_time : PLAIT_FOREVER);
    if (err == 0 && plait__entry_offset(*entry_out))
        hold_back();
    return err;
}

static int work(void)
{
    uint64_t entry;

    for (;;) {
        int err = get(&entry);

        if (err == ETIMEDOUT) {
            add_release(&self.shared->idle, 1);
            ring();
            continue;
        }
        if (err)
            return 1;
        if (entry == ENTRY_STOP || entry == ENTRY_SPARE)
            return leave(entry == ENTRY_STOP ? SLOT_LEFT : SLOT_SPARED);
        serve(entry);
        if (self.shared->tasks_per_worker && self.served >= self.shared->tasks_per_worker)
            return leave(SLOT_RENEWED);
    }
}

/* A task has ended its thread: that is the end of the process, whatever other threads it has. */
static void end_process(void *unused)
{
    _exit(1);
}

static int prepare_and_work(const struct plait__pool_worker_arg *given)
{
    struct plait_task task;
    int err;

    memset(&self, 0, sizeof self); /* our ancestor may have been a worker, of another pool */
    memset(known, 0, sizeof known);
    err = plait__arena_attach_fd(PLAIT__CARRIED_FD, &self.arena);
    close(PLAIT__CARRIED_FD);
    if (err) {
        fprintf(stderr, "plait_pool: a worker cannot map its pool: %s\n", strerror(err));
        return 1;
    }
    self.base = self.arena->base;
    self.shared = plait__at(self.base, given->shared);
    self.number = given->number;
    plait__fork_epoch_renew();
    self.epoch = plait__fork_epoch(); /* 0, if there is no memory to know it by */
    self.slot = &self.shared->slots[self.number];
    self.line = (struct plait__line_end){ .base = self.base, .line = &self.shared->line };
    err = given->by_priority ? plait_queue_open(&self.line.by_priority, given->queue) : 0;
    if (err == 0)
        err = plait_queue_open(&self.again, given->again);
    if (err)
        return 1;
    self.slot->pid = (uint32_t)getpid();
    change(SLOT_PREPARING);
    err = call_own(&self.shared->initializer, &task);
    if (err) {
        announce_failure(err, task.text);
        return 1;
    }
    change(SLOT_TAKING);
    return work();
}

int plait__pool_worker_main(const void *arg, size_t arg_size)
{
    int code;

    pthread_cleanup_push(end_process, NULL);
    code = prepare_and_work(arg);
    pthread_cleanup_pop(0);
    return code;
}
