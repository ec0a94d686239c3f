/* SPDX-License-Identifier: MIT */
#include "exec/kept.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

void plait__kept_outcome(plait_future_t *future, struct plait__outcome *outcome_out)
{
    const struct plait__kept *kept = (const struct plait__kept *)future;

    *outcome_out = (struct plait__outcome){ kept->code, kept->text ? kept->text : "", kept->result, kept->result_size };
}

void plait__kept_settle(plait_future_t *future, int code, const char *text)
{
    struct plait__kept *kept = (struct plait__kept *)future;

    kept->code = code;
    kept->text = text[0] ? strdup(text) : NULL; /* without memory there is a code and no text */
}

void plait__kept_clear(struct plait__kept *kept)
{
    free(kept->result);
    free(kept->text);
    kept->code = 0;
    kept->text = NULL;
    kept->result = NULL;
    kept->result_size = 0;
}

void plait__kept_reclaim(plait_future_t *future)
{
    struct plait__kept *kept = (struct plait__kept *)future;

    free(kept->result);
    free(kept->text);
    free(kept);
}

/* Small results lie in the struct of the task that ran until here. */
static int keep_result(struct plait__kept *kept, struct plait_task *ran)
{
    size_t size = ran->result_size;
    void *room;

    if (size == 0)
        return 0;
    if (ran->result == ran->bytes) {
        if (plait__task_room(ran, size, &room) != 0)
            return ENOMEM;
        ran->result = memcpy(room, ran->bytes, size);
    }
    kept->result = ran->result;
    kept->result_size = size;
    return 0;
}

/* A task that ends its thread comes here instead of back. */
static void forget_running(void *running)
{
    free(((struct plait_task *)running)->context);
}

void plait__kept_run(struct plait__kept *kept, plait_task_fn *fn, const struct plait__work *work, const void *arg,
                     unsigned worker, const uint32_t *stop, unsigned attempt)
{
    struct plait_task running;
    int code;

    plait__task_prepare(&running);
    running.word = &kept->word;
    running.stop = stop;
    running.worker = worker;
    running.attempt = attempt;
    running.room = plait__task_room;
    pthread_cleanup_push(forget_running, &running);
    code = plait__task_run(&running, fn, work, arg);
    pthread_cleanup_pop(0);
    if (code == 0)
        code = keep_result(kept, &running);
    if (kept->result != running.context)
        free(running.context);
    if (code)
        plait__kept_settle(&kept->future, code, running.text);
}
