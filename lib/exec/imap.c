/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A chunk is an ordinary task with packed items (packed.h) and a future. Chunks stand in a list in the order of their items, from
 * their submission until their results have been read. Before a reader sleeps, and after each chunk that was read, the list is filled
 * up: so the workers have something to do while it reads. The reader waits for the first chunk of the list; if the order does not matter, for
 * any, through a set (as_completed.h).
 *
 * An item that was taken from the source and could not be submitted stays in `packed`, and is tried again.
 *
 * Chunk sizes: each chunk tells how long it took. The next ones have as many items as would have taken TARGET at that rate, at most
 * twice as many as before, so that a few short items at the beginning do not make a chunk of long ones.
 */
#include <plait/imap.h>

#include <errno.h>
#include <stdlib.h>

#include <plait/as_completed.h>

#include "base/clock.h"
#include "base/options.h"
#include "exec/packed.h"
#include "exec/pool_backend.h"

#define TARGET (PLAIT__MILLISECOND / 2)

enum { CHUNKS_PER_WORKER = 4, CHUNK_MAX = 4096, CHUNK_BYTES_MAX = 1 << 20 };

struct chunk {
    plait_future_t *future;
    size_t first, count; /* const: indexes of its items */
    bool is_alone;       /* const: it is not in the set, which had no memory for it */
    struct chunk *next;
};

struct plait_imap {
    plait_pool_t *pool;          /* const: a reference is held */
    plait_task_fn *fn;           /* const */
    struct plait_imap_opts opts; /* const */
    struct chunk *chunks, **last;
    plait_as_completed_t *done;  /* const: the chunks' futures; NULL: in order */
    size_t chunk_count;          /* in the list */
    size_t unread;               /* items that were submitted and have not been read */
    size_t chunk_size;           /* the next one's */
    size_t taken;                /* items taken from the array or the source */
    struct plait__bytes packed;  /* items that were taken and not submitted yet */
    size_t packed_count;
    int end;                     /* why there are no more items: 0: there are; EPIPE: they are over; else what the source said */
    struct chunk *current;       /* the one that is being read, no longer in the list */
    const void *results;         /* its results; NULL: it has failed as a whole */
    size_t at, read;             /* where in them, and how many items have been read */
};

/* ---- Submitting ---- */

static int take_from_array(struct plait_imap *imap, const void **item_out, size_t *size_out)
{
    if (imap->taken == imap->opts.count)
        return EPIPE;
    *item_out = (const char *)imap->opts.items + imap->taken * imap->opts.item_size;
    *size_out = imap->opts.item_size;
    return 0;
}

/* Take one more item, if there is one. */
static void take_item(struct plait_imap *imap)
{
    const void *item;
    size_t size;
    int err = imap->opts.source ? imap->opts.source(imap->opts.context, &item, &size)
                                : take_from_array(imap, &item, &size);

    if (err == 0)
        err = plait__packed_add(&imap->packed, item, size);
    if (err == 0) {
        imap->taken++;
        imap->packed_count++;
    }
    imap->end = err;
}

static size_t chunk_size(const struct plait_imap *imap)
{
    size_t size = imap->opts.chunk_size ? imap->opts.chunk_size : imap->chunk_size;
    size_t share = imap->opts.look_ahead / (2 * (size_t)imap->pool->workers);
    size_t left = imap->opts.source ? SIZE_MAX : (imap->opts.count - imap->taken + imap->packed_count) / imap->pool->workers;

    if (imap->opts.look_ahead && !imap->opts.chunk_size && size > share)
        size = share;
    if (!imap->opts.chunk_size && size > left) /* the last ones of an array are divided among all */
        size = left;
    if (imap->opts.look_ahead && size > imap->opts.look_ahead - imap->unread)
        size = imap->opts.look_ahead - imap->unread;
    return size ? size : 1;
}

/* Submit what is packed as a chunk. */
static int submit_packed(struct plait_imap *imap, plait_time_t deadline)
{
    struct plait__work work = { .arg_size = imap->packed.size, .count = imap->packed_count, .is_packed = true };
    struct chunk *chunk = malloc(sizeof *chunk);
    int err;

    if (!chunk)
        return ENOMEM;
    *chunk = (struct chunk){ .first = imap->taken - imap->packed_count, .count = imap->packed_count };
    err = plait__pool_submit(imap->pool, imap->fn, imap->packed.start, &work, &chunk->future, deadline);
    if (err) {
        free(chunk);
        return err;
    }
    chunk->is_alone = imap->done && plait_as_completed_add(imap->done, chunk->future) != 0;
    *imap->last = chunk;
    imap->last = &chunk->next;
    imap->chunk_count++;
    imap->unread += chunk->count;
    imap->packed.size = imap->packed_count = 0;
    return 0;
}

static bool has_room(const struct plait_imap *imap)
{
    return imap->opts.look_ahead ? imap->unread < imap->opts.look_ahead
                                 : imap->chunk_count < (size_t)CHUNKS_PER_WORKER * imap->pool->workers;
}

/*
 * Submit as much as the look-ahead allows. 0; or why the next chunk could not be submitted. For room in a backlog it waits only if there
 * is no chunk to wait for instead.
 */
static int fill_up(struct plait_imap *imap, plait_time_t deadline)
{
    int err = 0;

    while (err == 0 && has_room(imap) && (imap->end == 0 || imap->packed_count)) {
        size_t wanted = chunk_size(imap);

        while (imap->end == 0 && imap->packed_count < wanted && imap->packed.size < CHUNK_BYTES_MAX)
            take_item(imap);
        if (imap->packed_count)
            err = submit_packed(imap, imap->chunks ? PLAIT_NOW : deadline);
    }
    if (err == EPIPE) { /* the pool was closed */
        imap->end = ECANCELED;
        imap->packed.size = imap->packed_count = 0;
    }
    return err == EPIPE ? 0 : err;
}

/* ---- Reading ---- */

/* Learn from how long the chunk took. */
static void adapt(struct plait_imap *imap, const struct chunk *chunk, uint64_t took)
{
    uint64_t each = took / chunk->count, wanted = (uint64_t)TARGET / (each ? each : 1);
    size_t most = 2 * chunk->count;

    if (wanted > most)
        wanted = most;
    imap->chunk_size = wanted > CHUNK_MAX ? CHUNK_MAX : wanted ? (size_t)wanted : 1;
}

static void end_current(struct plait_imap *imap)
{
    if (!imap->current)
        return;
    plait_future_free(imap->current->future);
    free(imap->current);
    imap->current = NULL;
}

/* Wait for a chunk that is done. */
static int await_chunk(struct plait_imap *imap, plait_time_t deadline, plait_future_t **future_out)
{
    struct chunk *chunk = imap->chunks;

    while (imap->done && chunk && !chunk->is_alone)
        chunk = chunk->next;
    if (!chunk)
        return plait_as_completed_next(imap->done, future_out, deadline);
    *future_out = chunk->future;
    return plait_future_wait(chunk->future, deadline);
}

/* Take it out of the list and begin to read it. */
static void begin_chunk(struct plait_imap *imap, plait_future_t *future)
{
    struct chunk **link = &imap->chunks, *chunk;
    const void *bytes = NULL;

    while ((*link)->future != future)
        link = &(*link)->next;
    chunk = *link;
    *link = chunk->next;
    if (!*link)
        imap->last = link;
    imap->chunk_count--;
    imap->current = chunk;
    imap->at = imap->read = 0;
    imap->results = plait_future_get(future, &bytes, NULL, PLAIT_NOW) == 0 ? bytes : NULL;
    if (imap->results)
        adapt(imap, chunk, plait__packed_took(imap->results));
}

static void read_one(struct plait_imap *imap, struct plait_imap_result *result_out)
{
    struct plait__packed_result result = { 0 };

    if (imap->results) {
        plait__packed_read(imap->results, &imap->at, &result);
    } else {
        result.code = plait_future_error(imap->current->future);
        result.text = plait_future_error_text(imap->current->future);
    }
    *result_out = (struct plait_imap_result){ .index = imap->current->first + imap->read++, .code = result.code,
                                              .text = result.text, .bytes = result.bytes, .size = result.size };
    imap->unread--;
    if (imap->opts.progress)
        plait_progress_advance(imap->opts.progress, 1, 0);
}

int plait_imap_next(plait_imap_t *imap, struct plait_imap_result *result_out, plait_time_t deadline)
{
    plait_future_t *future;
    int err;

    if (!imap->current || imap->read == imap->current->count) {
        end_current(imap);
        err = fill_up(imap, deadline);
        if (!imap->chunks)
            return err ? err : imap->end;
        err = await_chunk(imap, deadline, &future);
        if (err)
            return err;
        begin_chunk(imap, future);
        fill_up(imap, PLAIT_NOW); /* what cannot be submitted now is told when it is missing */
    }
    read_one(imap, result_out);
    return 0;
}

/* ---- Beginning and end ---- */

int plait_pool_imap_sized(plait_pool_t *pool, plait_task_fn *fn, const struct plait_imap_opts *given, size_t given_size,
                          bool unordered, plait_imap_t **imap_out)
{
    struct plait_imap_opts opts;
    plait_imap_t *imap;
    size_t bytes;
    int err;

    if (!pool || !fn || !imap_out || plait__options_read(&opts, sizeof opts, given, given_size) ||
        (!opts.source && !opts.items && opts.count) || __builtin_mul_overflow(opts.count, opts.item_size, &bytes))
        return EINVAL;
    if (!plait__pool_is_open(pool))
        return EPIPE;
    imap = calloc(1, sizeof *imap);
    if (!imap)
        return ENOMEM;
    imap->pool = pool;
    plait__pool_reference(pool);
    imap->fn = fn;
    imap->opts = opts;
    imap->last = &imap->chunks;
    imap->chunk_size = 1;
    err = unordered ? plait_as_completed_new(&imap->done, NULL, 0) : 0;
    if (err == 0)
        err = fill_up(imap, PLAIT_FOREVER);
    if (err && !imap->chunks) {
        plait_imap_free(imap);
        return err;
    }
    if (opts.progress && !opts.source)
        plait_progress_expect(opts.progress, opts.count, 0);
    *imap_out = imap;
    return 0;
}

int plait_imap_free(plait_imap_t *imap)
{
    struct chunk *chunk;

    if (!imap)
        return 0;
    plait_as_completed_free(imap->done);
    end_current(imap);
    while ((chunk = imap->chunks) != NULL) {
        imap->chunks = chunk->next;
        plait_future_cancel(chunk->future);
        plait_future_free(chunk->future);
        free(chunk);
    }
    plait__bytes_free(&imap->packed);
    plait__pool_unreference(imap->pool);
    free(imap);
    return 0;
}
