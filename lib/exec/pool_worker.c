/* SPDX-License-Identifier: MIT */
/* A pool's worker process. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <plait/queue.h>
#include <plait/wait.h>

#include "arena/arena.h"
#include "base/atomic.h"
#include "exec/nursery.h"
#include "exec/pool_shared.h"

/*
 * How it works
 *
 * Get an entry, claim its record, run, write the outcome, make it DONE; until STOP. Killed anywhere in that, it leaves:
 *
 *   an entry got and not claimed     the slot says TAKING: the supervisor queues all pending tasks again
 *   a task RUNNING with its number   the supervisor fails it; the result is freed with the record, because
 *                                    its offset and its memory come to be in one step
 *   a task DONE but not announced    the supervisor announces it
 */

struct state {
    struct plait_arena *arena;
    struct plait__arena_header *base;
    struct plait__pool_shared *shared;
    struct plait__pool_slot *slot;
    plait_queue_t *queue;
    uint32_t number;
};

static struct state self;

/* Functions that were found before. */
static struct {
    uint64_t module, function;
    plait_task_fn *fn;
} known[64];

static plait_task_fn *find_function(const struct plait__pool_record *record)
{
    size_t place = (record->function / 16 ^ record->module / 64) % (sizeof known / sizeof known[0]);
    const struct plait__module *module = plait__at(self.base, record->module);
    void *address;

    if (known[place].fn && known[place].module == record->module && known[place].function == record->function)
        return known[place].fn;
    if (plait__function_open(module, record->function, &address) != 0)
        return NULL;
    known[place].module = record->module;
    known[place].function = record->function;
    known[place].fn = (plait_task_fn *)(uintptr_t)address;
    return known[place].fn;
}

/* Room for a large result, in the arena. */
static int give_room(struct plait_task *task, size_t size, void **room_out)
{
    struct plait__pool_record *record = task->context;
    int err;

    if (task->result != task->bytes) {
        task->result = NULL;
        task->result_size = 0;
    }
    plait__pool_release(self.base, &record->result_offset);
    err = plait__arena_alloc_into(self.base, size, &record->result_offset);
    if (err)
        return err;
    *room_out = plait__pool_memory(self.base, record->result_offset);
    return 0;
}

static int run(struct plait__pool_record *record, struct plait_task *task)
{
    plait_task_fn *fn = find_function(record);
    const struct plait__module *module = plait__at(self.base, record->module);
    const void *arg = record->arg_offset ? plait__pool_memory(self.base, record->arg_offset) : record->payload;

    memset(task, 0, offsetof(struct plait_task, bytes));
    task->word = &record->word;
    task->stop = &self.shared->stop;
    task->worker = self.number;
    task->room = give_room;
    task->context = record;
    if (!fn)
        return plait_task_fail(task, EINVAL, "the worker cannot load %s as the program has it", module->path);
    return plait__task_run(task, fn, &record->work, arg);
}

static void keep_outcome(struct plait__pool_record *record, struct plait_task *task, int code)
{
    record->code = code;
    record->result_size = code ? 0 : task->result_size;
    if (code || task->result == task->bytes || !task->result)
        plait__pool_release(self.base, &record->result_offset);
    if (code)
        memcpy(record->payload, task->text, TASK_TEXT);
    else if (task->result == task->bytes)
        memcpy(record->payload, task->bytes, task->result_size);
}

/* Put it on the stack of those that the supervisor must see to; it sleeps if the stack was empty. */
static void announce(struct plait__pool_record *record)
{
    uint64_t offset = plait__offset_in(self.base, record);
    uint64_t top = load64_relaxed(&self.shared->finished);

    do
        record->next = top;
    while (!casptr_acqrel(&self.shared->finished, &top, offset));
    if (top == 0) {
        add_release(&self.shared->bell, 1);
        plait_wake(&self.shared->bell, 1, PLAIT_SHARED);
    }
}

static void serve(uint64_t entry)
{
    struct plait__pool_record *record = plait__at(self.base, plait__entry_offset(entry));
    struct plait_task task;
    uint32_t before;
    int code;

    /* A stale entry of a record that has become another task: that one has an entry of its own, further back.
     * Should the change come between the look and the claim, the task merely starts earlier. */
    if (load_acquire(&record->generation) != (entry & GENERATION_MASK))
        return;
    /* A pool that was told to stop has its pending tasks cancelled by who told it. */
    if (load_acquire(&self.shared->stop) || !plait__task_claim(&record->word, self.number))
        return;
    store_release(&self.slot->state, SLOT_BUSY);
    code = run(record, &task);
    keep_outcome(record, &task, code);
    if (code)
        store64_relaxed(&self.slot->failed, self.slot->failed + 1);
    store64_relaxed(&self.slot->done, self.slot->done + 1);
    before = plait__task_done(&record->word);
    store_release(&self.slot->state, SLOT_TAKING);
    if (before & TASK_WAITERS)
        plait_wake(&record->word, UINT_MAX, PLAIT_SHARED);
    if (before & TASK_NOTIFY)
        announce(record);
}

int plait__pool_worker_main(const void *arg, size_t arg_size)
{
    const struct plait__pool_worker_arg *given = arg;
    uint64_t entry;
    int err = plait__arena_attach_fd(PLAIT__CARRIED_FD, &self.arena);

    close(PLAIT__CARRIED_FD);
    if (err) {
        fprintf(stderr, "plait_pool: a worker cannot map its pool: %s\n", strerror(err));
        return 1;
    }
    self.base = self.arena->base;
    self.shared = plait__at(self.base, given->shared);
    self.number = given->number;
    self.slot = &self.shared->slots[self.number];
    err = plait_queue_open(&self.queue, given->queue);
    while (err == 0) {
        store_release(&self.slot->state, SLOT_TAKING);
        err = plait_queue_get(self.queue, &entry, PLAIT_FOREVER);
        if (err == 0 && entry == ENTRY_STOP) {
            store_release(&self.slot->state, SLOT_LEFT);
            return 0;
        }
        if (err == 0)
            serve(entry);
    }
    return 1;
}
