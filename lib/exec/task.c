/* SPDX-License-Identifier: MIT */
#include "exec/task.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait/cancel.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "exec/packed.h"

#define RETRY_MAX (60 * PLAIT__SECOND)

bool plait__task_claim(uint32_t *word, uint32_t claimer)
{
    uint32_t seen = load_relaxed(word);

    while ((seen & TASK_STATUS) == TASK_PENDING)
        if (cas_acquire(word, &seen, (seen & TASK_FLAGS) | TASK_RUNNING | claimer << TASK_WORKER_SHIFT)) /* E1 */
            return true;
    return false;
}

bool plait__task_reclaim(uint32_t *word, uint32_t other, uint32_t claimer)
{
    uint32_t seen = load_relaxed(word);

    while ((seen & ~(uint32_t)TASK_FLAGS) == (TASK_RUNNING | other << TASK_WORKER_SHIFT))
        if (cas_acquire(word, &seen, (seen & TASK_FLAGS) | TASK_RUNNING | claimer << TASK_WORKER_SHIFT))
            return true;
    return false;
}

uint32_t plait__task_done(uint32_t *word)
{
    uint32_t seen = load_relaxed(word);

    while (!cas_acqrel(word, &seen, (seen & ~(uint32_t)TASK_STATUS) | TASK_DONE)) /* E2 */
        ;
    return seen;
}

bool plait__task_flag(uint32_t *word, uint32_t flag)
{
    uint32_t seen = load_acquire(word); /* E2 */

    while ((seen & TASK_STATUS) != TASK_DONE)
        if ((seen & flag) || cas_acqrel(word, &seen, seen | flag))
            return true;
    return false;
}

int64_t plait__retry_delay(const struct plait__work *work, unsigned attempt)
{
    int64_t delay = work->retry_after;

    while (attempt-- > 0 && delay > 0 && delay < RETRY_MAX)
        delay *= 2;
    return delay > RETRY_MAX && work->retry_after < RETRY_MAX ? RETRY_MAX : delay;
}

uint32_t plait__task_stir(uint32_t *word)
{
    uint32_t seen = load_relaxed(word);

    while (!cas_acqrel(word, &seen, seen ^ TASK_STIRRED))
        ;
    return seen;
}

int plait__task_room(struct plait_task *task, size_t size, void **room_out)
{
    if (task->result == task->context) {
        task->result = NULL;
        task->result_size = 0;
    }
    free(task->context);
    *room_out = task->context = malloc(size);
    return task->context ? 0 : ENOMEM;
}

int plait_task_return(plait_task_t *task, const void *bytes, size_t size)
{
    void *room = task->bytes;
    int err;

    if (plait__task_is_twin(task))
        return 0;
    if (task->is_item) {
        size_t kept = size < task->slot_size ? size : task->slot_size;
        if (kept)
            memcpy(task->slot, bytes, kept);
        if (task->slot_size > kept)
            memset((char *)task->slot + kept, 0, task->slot_size - kept);
        return 0;
    }
    if (size > task->inline_max) {
        err = task->room(task, size, &room);
        if (err)
            return err;
    }
    if (size)
        memcpy(room, bytes, size);
    task->result = room;
    task->result_size = size;
    return 0;
}

int plait_task_fail(plait_task_t *task, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(task->text, sizeof task->text, format, args);
    va_end(args);
    return code ? code : EINVAL;
}

bool plait_task_is_cancelled(const plait_task_t *task)
{
    return (load_relaxed(task->word) & (TASK_STOP | TASK_LATE)) || (task->stop && load_relaxed(task->stop));
}

unsigned plait_task_attempt(const plait_task_t *task)
{
    return task->attempt;
}

unsigned plait_task_worker(const plait_task_t *task)
{
    return task->worker;
}

/* Quietly: neither streams nor anything else that it has a copy of is its own to end. */
int plait__task_call(struct plait_task *task, plait_task_fn *fn, const void *arg, size_t arg_size)
{
    int code = fn(task, arg, arg_size);

    if (plait__task_is_twin(task))
        _exit(0);
    return code;
}

/* Call fn on each item; a failure does not keep the others from running. */
static int run_map(struct plait_task *task, plait_task_fn *fn, const struct plait__work *work, const char *items)
{
    size_t size = sizeof(struct plait__map_result) + work->count * work->result_size;
    void *room;
    int err = task->room(task, size, &room);

    if (err)
        return err;
    memset(room, 0, size);
    struct plait__map_result *result = room;
    struct plait_task item = { .word = task->word, .stop = task->stop, .worker = task->worker, .attempt = task->attempt,
                               .epoch = task->epoch, .is_item = true, .slot_size = work->result_size };
    for (uint64_t i = 0; i < work->count; i++) {
        item.slot = (char *)(result + 1) + i * work->result_size;
        item.text[0] = '\0';
        int code = plait__task_call(&item, fn, items + i * work->item_size, work->item_size);
        if (code == 0)
            continue;
        memset(item.slot, 0, item.slot_size);
        if (result->code == 0) {
            result->code = code;
            memcpy(result->text, item.text, sizeof item.text);
        }
    }
    task->result = room;
    task->result_size = size;
    return 0;
}

int plait__task_run(struct plait_task *task, plait_task_fn *fn, const struct plait__work *work, const void *arg)
{
    plait_cancel_t *token = plait_cancel_bind(NULL); /* the waits of a task are not its worker's */
    int code;

    if (work->is_packed)
        code = plait__packed_run(task, fn, work, arg);
    else if (work->count)
        code = run_map(task, fn, work, arg);
    else
        code = plait__task_call(task, fn, arg, work->arg_size);
    plait_cancel_bind(token);
    return code;
}
