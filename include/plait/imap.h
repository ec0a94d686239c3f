/* SPDX-License-Identifier: MIT */
/* Imap: a function over many items in a pool, with the results one after the other. */
#ifndef PLAIT_IMAP_H
#define PLAIT_IMAP_H

#include <stdbool.h>
#include <stddef.h>

#include <plait/export.h>
#include <plait/future.h>
#include <plait/pool.h>
#include <plait/progress.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * plait_imap_t - results that are read while the items are still being worked on.
 *
 *     struct plait_imap_result line;
 *     plait_imap_t *lines;
 *     plait_pool_imap(pool, to_upper, &(struct plait_imap_opts){ .source = read_line, .context = stdin }, &lines);
 *     while ((err = plait_imap_next(lines, &line, PLAIT_FOREVER)) == 0)
 *         fwrite(line.bytes, 1, line.size, stdout);
 *     plait_imap_free(lines);
 *
 * The items come from an array, or one by one from a function (the source), which need never end: only so many are under way as the look-ahead
 * allows, and no more are taken until results have been read. Items and results are of any length. plait_pool_imap gives the
 * results in the order of the items, plait_pool_imap_unordered as they get done.
 *
 * Items go to the workers in chunks. Where no size is given, chunks of one item come first, and then as many as take a worker about half a
 * millisecond, as measured: so that long tasks are spread and short ones cost little.
 *
 * An item whose function fails has its code and text; the others are not concerned. If a worker process dies, all items of the chunk that
 * it had fail with EOWNERDEAD.
 *
 * Where the pool has a backlog, and it is full, room is waited for only while no chunk is under way; in plait_imap_next until its deadline.
 *
 * One thread at a time reads; it also calls the source, in plait_imap_next and in the call that makes the imap. Nothing goes on in the
 * background but what was submitted.
 */
typedef struct plait_imap plait_imap_t;

/*
 * The next item: 0, with where it lies and its size (any, also 0), or EPIPE: there are no more. Any other number ends the items as well,
 * and is what plait_imap_next answers in place of EPIPE. The bytes are copied before it is called again.
 */
typedef int plait_imap_source_fn(void *context, const void **item_out, size_t *size_out);

/* Options of plait_pool_imap; zero is the default of each. */
struct plait_imap_opts {
    plait_imap_source_fn *source; /* where items come from; NULL: the array */
    void *context;                /* of the source */
    const void *items;            /* an array of `count` items of item_size bytes; it is read until the last item has been submitted */
    size_t item_size;
    size_t count;
    size_t chunk_size; /* items that a worker gets at once; 0: by measured time */
    size_t look_ahead; /* items at most that are submitted and whose results have not been read; 0: 4 chunks for each worker */
    plait_progress_t *progress; /* advances by an item with each result that is read; an array's `count` is expected */
};

/* One result; what it points to is lent until the next call. */
struct plait_imap_result {
    size_t index;      /* of the item, from 0 */
    int code;          /* 0, or what the function returned, or why there is no result */
    const char *text;  /* of a failure, "" if there is none */
    const void *bytes; /* aligned to 16 */
    size_t size;
};

/*
 * Begin, with the first chunks submitted. EINVAL: no function, no pool, or neither a source nor an array. EPIPE: the pool is closed. ENOMEM; ENOSPC:
 * no room for the items (processes).
 */
PLAIT_API int plait_pool_imap_sized(plait_pool_t *pool, plait_task_fn *fn, const struct plait_imap_opts *opts,
                                    size_t opts_size, bool unordered, plait_imap_t **imap_out);

PLAIT_API int plait_pool_imap(plait_pool_t *pool, plait_task_fn *fn, const struct plait_imap_opts *opts, plait_imap_t **imap_out);
PLAIT_INLINE_ALWAYS int plait_pool_imap(plait_pool_t *pool, plait_task_fn *fn, const struct plait_imap_opts *opts,
                                        plait_imap_t **imap_out)
{
    return plait_pool_imap_sized(pool, fn, opts, sizeof(struct plait_imap_opts), false, imap_out);
}

/* The same, with the results in the order in which they get done. */
PLAIT_API int plait_pool_imap_unordered(plait_pool_t *pool, plait_task_fn *fn, const struct plait_imap_opts *opts,
                                        plait_imap_t **imap_out);
PLAIT_INLINE_ALWAYS int plait_pool_imap_unordered(plait_pool_t *pool, plait_task_fn *fn, const struct plait_imap_opts *opts,
                                                  plait_imap_t **imap_out)
{
    return plait_pool_imap_sized(pool, fn, opts, sizeof(struct plait_imap_opts), true, imap_out);
}

/*
 * Read the next result. 0, whatever the item's own code is; EPIPE: all have been read; ETIMEDOUT; ECANCELED: the caller's token was
 * set, or the pool was closed before all items were submitted; ENOMEM, ENOSPC: the next items could not be submitted, which is tried again
 * at the next call, or there was no memory to take one; or what the source answered. Results of items that were submitted come before any of these, but for the deadline
 * and the token.
 */
PLAIT_API int plait_imap_next(plait_imap_t *imap, struct plait_imap_result *result_out, plait_time_t deadline);

/* Drop it; NULL is allowed. What has not begun is cancelled, what runs is asked to stop. Always 0. */
PLAIT_API int plait_imap_free(plait_imap_t *imap);

PLAIT_END_DECLS

#endif
