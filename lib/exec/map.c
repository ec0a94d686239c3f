/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A map is made of ordinary tasks, its chunks, each with a run of items as its argument and all their results as its result
 * (task.c). They are submitted at once, four for each worker, so that workers which are done sooner get more. What a full backlog
 * has no room for until the deadline is not submitted, and has failed.
 *
 * map waits for one chunk after the other, or, to tell its progress, first for each as it is done (as_completed.h), in the
 * caller's thread: so nobody touches the progress once the call has returned. map_async makes a future of its own kind, with
 * a callback at each chunk that puts the results in place; the last of them ends it. To cancel it cancels the chunks, and
 * lets go of the progress beforehand.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <plait/as_completed.h>
#include <plait/map.h>
#include <plait/pool.h>

#include "base/options.h"
#include "exec/kept.h"
#include "exec/pool_backend.h"

enum { CHUNKS_PER_WORKER = 4, CHUNKS_TO_SHOW = 200 };

/* What is asked for. */
struct request {
    plait_pool_t *pool;
    plait_task_fn *fn;
    const char *items;
    size_t item_size, count, result_size;
    plait_progress_t *progress; /* NULL: none */
    size_t chunk, chunks;       /* items in each but the last (0: as many as seem good); how many chunks */
};

static size_t count_in(const struct request *r, size_t chunk)
{
    size_t left = r->count - chunk * r->chunk;

    return left < r->chunk ? left : r->chunk;
}

static int check(struct request *r)
{
    size_t most, bytes;

    if (!r->pool || !r->fn || (!r->items && r->item_size && r->count) || __builtin_mul_overflow(r->count, r->item_size, &bytes) ||
        __builtin_mul_overflow(r->count, r->result_size, &bytes))
        return EINVAL;
    most = (size_t)CHUNKS_PER_WORKER * r->pool->workers;
    if (r->progress && most < CHUNKS_TO_SHOW)
        most = CHUNKS_TO_SHOW;
    if (r->chunk == 0)
        r->chunk = r->count / most + (r->count % most != 0);
    r->chunks = r->count ? r->count / r->chunk + (r->count % r->chunk != 0) : 0;
    return 0;
}

static int submit_chunk(const struct request *r, size_t chunk, plait_future_t **future_out, plait_time_t deadline)
{
    size_t n = count_in(r, chunk);
    struct plait__work work = { .arg_size = n * r->item_size, .count = n, .item_size = r->item_size,
                                .result_size = r->result_size };

    return plait__pool_submit(r->pool, r->fn, r->items + chunk * r->chunk * r->item_size, &work, future_out, deadline);
}

/* Put the results of a chunk that has ended in place; returns why it, or its first item that did, has failed. */
static int place_results(const struct request *r, size_t chunk, plait_future_t *future, char *results,
                         const char **text_out)
{
    char *place = results + chunk * r->chunk * r->result_size;
    size_t size = count_in(r, chunk) * r->result_size;
    const struct plait__map_result *result;
    const void *bytes;
    int err = plait_future_get(future, &bytes, NULL, PLAIT_NOW);

    if (err) {
        if (size)
            memset(place, 0, size);
        *text_out = plait_future_error_text(future);
        return err;
    }
    result = bytes;
    if (size)
        memcpy(place, result + 1, size);
    *text_out = result->text;
    return result->code;
}

/* ---- Waiting for it ---- */

/* Wait for a chunk, and drop it. */
static int collect(const struct request *r, size_t chunk, plait_future_t *future, char *results, plait_time_t deadline)
{
    size_t size = count_in(r, chunk) * r->result_size;
    const char *text;
    int err = plait_future_wait(future, deadline);

    if (err == 0)
        err = place_results(r, chunk, future, results, &text);
    else if (size)
        memset(results + chunk * r->chunk * r->result_size, 0, size);
    plait_future_cancel(future); /* nothing, if it is done */
    plait_future_free(future);
    return err;
}

/* Count those that were submitted as they get done, until the deadline. False: no memory, and nothing counted. */
static bool count_done(const struct request *r, plait_future_t *const *futures, size_t begun, plait_time_t deadline)
{
    const plait_future_t *last = begun == r->chunks ? futures[begun - 1] : NULL;
    plait_as_completed_t *set;
    plait_future_t *future;

    if (plait_as_completed_new(&set, futures, begun) != 0)
        return false;
    while (plait_as_completed_next(set, &future, deadline) == 0)
        plait_progress_advance(r->progress, count_in(r, future == last ? r->chunks - 1 : 0), 0);
    plait_as_completed_free(set);
    return true;
}

static int map_and_wait(struct request *r, char *results, plait_time_t deadline)
{
    size_t begun = 0;
    bool counted = true;
    plait_future_t **futures;
    int first_err = 0, submit_err = 0, err = check(r);

    if (err || r->count == 0)
        return err;
    futures = calloc(r->chunks, sizeof *futures);
    if (!futures)
        return ENOMEM;
    if (r->progress)
        plait_progress_expect(r->progress, r->count, 0);
    for (; begun < r->chunks && submit_err == 0; begun += submit_err == 0)
        submit_err = submit_chunk(r, begun, &futures[begun], deadline);
    if (submit_err && r->result_size)
        memset(results + begun * r->chunk * r->result_size, 0, (r->count - begun * r->chunk) * r->result_size);
    if (r->progress && begun)
        counted = count_done(r, futures, begun, deadline);
    for (size_t i = 0; i < begun; i++) {
        err = collect(r, i, futures[i], results, deadline);
        if (!counted)
            plait_progress_advance(r->progress, count_in(r, i), 0);
        if (first_err == 0)
            first_err = err;
    }
    free(futures);
    return first_err ? first_err : submit_err;
}

int plait_pool_map(plait_pool_t *pool, plait_task_fn *fn, const void *items, size_t item_size, size_t count,
                   void *results, size_t result_size, plait_time_t deadline)
{
    return map_and_wait(&(struct request){ .pool = pool, .fn = fn, .items = items, .item_size = item_size, .count = count,
                                           .result_size = results ? result_size : 0 }, results, deadline);
}

static struct request request_of(plait_pool_t *pool, plait_task_fn *fn, const struct plait_map_opts *opts)
{
    return (struct request){ .pool = pool, .fn = fn, .items = opts->items, .item_size = opts->item_size, .count = opts->count,
                             .result_size = opts->result_size, .progress = opts->progress, .chunk = opts->chunk_size };
}

int plait_pool_map_with_sized(plait_pool_t *pool, plait_task_fn *fn, const struct plait_map_opts *given, size_t given_size,
                              plait_time_t deadline)
{
    struct plait_map_opts opts;
    struct request r;

    if (plait__options_read(&opts, sizeof opts, given, given_size))
        return EINVAL;
    r = request_of(pool, fn, &opts);
    if (!opts.results)
        r.result_size = 0;
    return map_and_wait(&r, opts.results, deadline);
}

/* ---- Not waiting for it ---- */

struct part {
    struct plait__callback callback;
    struct map *map;        /* const */
    plait_future_t *future; /* const once all are submitted */
};

/* The future of the whole. It has the maker's reference until all parts are done, also if it was cancelled before. */
struct map {
    struct plait__kept kept; /* first */
    struct request request;  /* const, but for progress; its items are not ours to read once they are submitted */
    pthread_mutex_t lock;    /* guards what follows, and request.progress, which goes when the future may be done */
    size_t left;             /* parts that are not done */
    size_t failed;           /* the first part that has failed; chunks: none */
    int code;                /* its */
    char text[TASK_TEXT];    /* its */
    char *results;
    struct part parts[];
};

static struct map *map_of(plait_future_t *future)
{
    return (struct map *)future;
}

/* A worker that waits for the whole runs one of the parts. */
static bool help(plait_future_t *future)
{
    struct map *map = map_of(future);
    bool helped = false;

    for (size_t i = 0; i < map->request.chunks && !helped; i++)
        helped = plait__future_help(map->parts[i].future);
    return helped;
}

static void reclaim(plait_future_t *future)
{
    struct map *map = map_of(future);

    for (size_t i = 0; i < map->request.chunks; i++)
        plait_future_free(map->parts[i].future);
    pthread_mutex_destroy(&map->lock);
    free(map->results);
    plait__kept_reclaim(future);
}

static int cancel(plait_future_t *future)
{
    struct map *map = map_of(future);

    if (!plait__task_claim(&map->kept.word, TASK_CLAIMED_OUTSIDE))
        return EINVAL;
    pthread_mutex_lock(&map->lock);
    map->request.progress = NULL;
    pthread_mutex_unlock(&map->lock);
    plait__kept_settle(future, ECANCELED, "cancelled before all was done");
    plait__future_reference(future); /* a callback may free it */
    plait__future_finish(future);
    for (size_t i = 0; i < map->request.chunks; i++)
        plait_future_cancel(map->parts[i].future);
    plait__future_unreference(future);
    return 0;
}

static const struct plait__future_kind kind = {
    .outcome = plait__kept_outcome,
    .help = help,
    .abandon = plait__future_unreference,
    .reclaim = reclaim,
    .cancel = cancel,
};

/* All parts are done. */
static void end(struct map *map)
{
    if (plait__task_claim(&map->kept.word, TASK_CLAIMED_OUTSIDE)) {
        if (map->code) {
            plait__kept_settle(&map->kept.future, map->code, map->text);
        } else {
            map->kept.result = map->results;
            map->kept.result_size = map->request.count * map->request.result_size;
            map->results = NULL;
        }
        plait__future_finish(&map->kept.future);
    }
    plait__future_unreference(&map->kept.future);
}

static void on_part(plait_future_t *future, void *context)
{
    struct part *part = context;
    struct map *map = part->map;
    size_t index = (size_t)(part - map->parts);
    const char *text;
    bool last;
    int code;

    pthread_mutex_lock(&map->lock);
    if (map->request.progress)
        plait_progress_advance(map->request.progress, count_in(&map->request, index), 0);
    code = place_results(&map->request, index, future, map->results, &text);
    if (code && index < map->failed) {
        map->failed = index;
        map->code = code;
        snprintf(map->text, sizeof map->text, "%s", text);
    }
    last = --map->left == 0;
    pthread_mutex_unlock(&map->lock);
    if (last)
        end(map);
}

static struct map *make_map(const struct request *r)
{
    size_t size = r->count * r->result_size, bytes; /* check: the product fits */
    struct map *map;

    if (__builtin_mul_overflow(r->chunks, sizeof map->parts[0], &bytes) || __builtin_add_overflow(bytes, sizeof *map, &bytes))
        return NULL;
    map = calloc(1, bytes);
    if (!map)
        return NULL;
    map->results = malloc(size ? size : 1);
    if (!map->results) {
        free(map);
        return NULL;
    }
    plait__future_begin(&map->kept.future, &kind, r->pool, &map->kept.word, 0);
    map->kept.word = TASK_PENDING;
    map->request = *r;
    map->left = map->failed = r->chunks;
    pthread_mutex_init(&map->lock, NULL);
    return map;
}

/* Not all could be submitted: what was begun is for nothing. */
static void give_up(struct map *map, size_t begun)
{
    map->request.chunks = begun;
    for (size_t i = 0; i < begun; i++)
        plait_future_cancel(map->parts[i].future);
    plait__future_unreference(&map->kept.future);
}

static int map_async(struct request *r, plait_future_t **future_out)
{
    struct map *map;
    int err = future_out ? check(r) : EINVAL;

    if (err)
        return err;
    if (!plait__pool_is_open(r->pool))
        return EPIPE;
    map = make_map(r);
    if (!map)
        return ENOMEM;
    for (size_t i = 0; i < r->chunks; i++) {
        err = submit_chunk(r, i, &map->parts[i].future, PLAIT_FOREVER);
        if (err) {
            give_up(map, i);
            return err;
        }
        map->parts[i].map = map;
        map->parts[i].callback = (struct plait__callback){ .call = on_part, .context = &map->parts[i] };
    }
    plait__future_reference(&map->kept.future); /* the handle's */
    *future_out = &map->kept.future;
    if (r->progress)
        plait_progress_expect(r->progress, r->count, 0);
    for (size_t i = 0; i < r->chunks; i++)
        plait__future_listen(map->parts[i].future, &map->parts[i].callback);
    if (r->chunks == 0)
        end(map);
    return 0;
}

int plait_pool_map_async(plait_pool_t *pool, plait_task_fn *fn, const void *items, size_t item_size, size_t count,
                         size_t result_size, plait_future_t **future_out)
{
    return map_async(&(struct request){ .pool = pool, .fn = fn, .items = items, .item_size = item_size, .count = count,
                                        .result_size = result_size }, future_out);
}

int plait_pool_map_async_with_sized(plait_pool_t *pool, plait_task_fn *fn, const struct plait_map_opts *given, size_t given_size,
                                    plait_future_t **future_out)
{
    struct plait_map_opts opts;
    struct request r;

    if (plait__options_read(&opts, sizeof opts, given, given_size) || opts.results)
        return EINVAL;
    r = request_of(pool, fn, &opts);
    return map_async(&r, future_out);
}
