/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 *     items      { size, bytes }...                          each part begins at a multiple of 16
 *     results    { nanoseconds } { code, size, text size, bytes, text }...
 *
 * The results grow in ordinary memory and are moved to where the pool wants them at the end, for nobody knows before how long they
 * are. A single item's large result is moved once more than it would be by itself.
 */
#include "exec/packed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <plait/time.h>

enum { ALIGNMENT = 16, ROOM_MIN = 256 };

struct item {
    uint64_t size;
    uint64_t spare;
    char bytes[];
};

struct head {
    uint64_t took;
    uint64_t spare;
};

struct result {
    int32_t code;
    uint32_t text_size; /* with its last zero; 0: there is none */
    uint64_t size;
    char bytes[]; /* and behind them the text */
};

static size_t rounded(size_t size)
{
    return (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

void *plait__bytes_add(struct plait__bytes *bytes, size_t size)
{
    size_t needed, room = bytes->room ? bytes->room : ROOM_MIN;
    char *larger;

    if (size > SIZE_MAX / 4 - bytes->size)
        return NULL;
    size = rounded(size);
    needed = bytes->size + size;
    if (needed > bytes->room) {
        while (room < needed)
            room *= 2;
        larger = realloc(bytes->start, room);
        if (!larger)
            return NULL;
        bytes->start = larger;
        bytes->room = room;
    }
    larger = bytes->start + bytes->size;
    bytes->size = needed;
    return larger;
}

void plait__bytes_free(struct plait__bytes *bytes)
{
    free(bytes->start);
    *bytes = (struct plait__bytes){ 0 };
}

int plait__packed_add(struct plait__bytes *bytes, const void *item, size_t size)
{
    struct item *place = size < SIZE_MAX / 4 ? plait__bytes_add(bytes, sizeof *place + size) : NULL;

    if (!place)
        return ENOMEM;
    *place = (struct item){ .size = size };
    if (size)
        memcpy(place->bytes, item, size);
    return 0;
}

/* ---- Running ---- */

static int pack_result(struct plait__bytes *results, const struct plait_task *item, int code)
{
    size_t size = code ? 0 : item->result_size, text_size = code && item->text[0] ? strlen(item->text) + 1 : 0;
    struct result *place = plait__bytes_add(results, sizeof *place + size + text_size);

    if (!place)
        return ENOMEM;
    *place = (struct result){ .code = code, .text_size = (uint32_t)text_size, .size = size };
    if (size)
        memcpy(place->bytes, item->result, size);
    if (text_size)
        memcpy(place->bytes + size, item->text, text_size);
    return 0;
}

/* Call the function on each item. */
static int run_all(struct plait_task *task, plait_task_fn *fn, const struct plait__work *work, const char *items,
                   struct plait__bytes *results)
{
    struct plait_task item;
    int err = 0;

    memset(&item, 0, offsetof(struct plait_task, bytes));
    item.word = task->word;
    item.stop = task->stop;
    item.worker = task->worker;
    item.attempt = task->attempt;
    item.epoch = task->epoch;
    item.room = plait__task_room;
    for (uint64_t i = 0; i < work->count && err == 0; i++) {
        const struct item *next = (const struct item *)(const void *)items;

        item.result = NULL;
        item.result_size = 0;
        item.text[0] = '\0';
        err = pack_result(results, &item, plait__task_call(&item, fn, next->bytes, next->size));
        items += rounded(sizeof *next + next->size);
    }
    free(item.context);
    return err;
}

int plait__packed_run(struct plait_task *task, plait_task_fn *fn, const struct plait__work *work, const char *items)
{
    struct plait__bytes results = { 0 };
    plait_time_t start = plait_now();
    int err = plait__bytes_add(&results, sizeof(struct head)) ? run_all(task, fn, work, items, &results) : ENOMEM;

    if (err == 0) {
        *(struct head *)(void *)results.start = (struct head){ .took = (uint64_t)(plait_now() - start) };
        err = plait_task_return(task, results.start, results.size);
    }
    plait__bytes_free(&results);
    return err;
}

/* ---- Reading ---- */

uint64_t plait__packed_took(const void *results)
{
    return ((const struct head *)results)->took;
}

void plait__packed_read(const void *results, size_t *at, struct plait__packed_result *result_out)
{
    size_t place = *at ? *at : sizeof(struct head);
    const struct result *r = (const struct result *)(const void *)((const char *)results + place);

    *result_out = (struct plait__packed_result){ .code = r->code, .text = r->text_size ? r->bytes + r->size : "",
                                                 .bytes = r->bytes, .size = r->size };
    *at = place + rounded(sizeof *r + r->size + r->text_size);
}
