/* SPDX-License-Identifier: MIT */
/* Map: plait_pool_map and plait_pool_map_async with all that can be said. */
#ifndef PLAIT_MAP_H
#define PLAIT_MAP_H

#include <stddef.h>

#include <plait/export.h>
#include <plait/future.h>
#include <plait/pool.h>
#include <plait/progress.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * A function over an array in a pool, as <plait/pool.h> has it:
 *
 *     plait_pool_map_with(pool, square, &(struct plait_map_opts){ .items = numbers, .item_size = sizeof *numbers, .count = n,
 *                         .results = squares, .result_size = sizeof *squares, .progress = &progress }, PLAIT_FOREVER);
 *
 * The progress expects `count` more items at the beginning, and advances by those of each chunk when it is done, failed ones
 * included; it must live until the call has returned, or the future is done. Where no size of chunks is given there are four
 * for each worker, or, with a progress, 200 if that is more.
 */

/* Options; zero is the default of each. */
struct plait_map_opts {
    const void *items; /* `count` of item_size bytes */
    size_t item_size;
    size_t count;
    void *results;      /* `count` of result_size bytes; not for map_async */
    size_t result_size; /* 0: none */
    size_t chunk_size;  /* items that a worker gets at once; 0: see above */
    plait_progress_t *progress;
};

/* plait_pool_map. Errors as there. */
PLAIT_API int plait_pool_map_with_sized(plait_pool_t *pool, plait_task_fn *fn, const struct plait_map_opts *opts,
                                        size_t opts_size, plait_time_t deadline);

PLAIT_API int plait_pool_map_with(plait_pool_t *pool, plait_task_fn *fn, const struct plait_map_opts *opts, plait_time_t deadline);
PLAIT_INLINE_ALWAYS int plait_pool_map_with(plait_pool_t *pool, plait_task_fn *fn, const struct plait_map_opts *opts,
                                            plait_time_t deadline)
{
    return plait_pool_map_with_sized(pool, fn, opts, sizeof(struct plait_map_opts), deadline);
}

/* plait_pool_map_async. Errors as there, and EINVAL: there is a place for results, which are the future's. */
PLAIT_API int plait_pool_map_async_with_sized(plait_pool_t *pool, plait_task_fn *fn, const struct plait_map_opts *opts,
                                              size_t opts_size, plait_future_t **future_out);

PLAIT_API int plait_pool_map_async_with(plait_pool_t *pool, plait_task_fn *fn, const struct plait_map_opts *opts,
                                        plait_future_t **future_out);
PLAIT_INLINE_ALWAYS int plait_pool_map_async_with(plait_pool_t *pool, plait_task_fn *fn, const struct plait_map_opts *opts,
                                                  plait_future_t **future_out)
{
    return plait_pool_map_async_with_sized(pool, fn, opts, sizeof(struct plait_map_opts), future_out);
}

PLAIT_END_DECLS

#endif
