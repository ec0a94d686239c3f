/* SPDX-License-Identifier: MIT */
/* What tests of pools begin and end with; includes backends.h. */
#ifndef TESTS_SUPPORT_POOLS_H
#define TESTS_SUPPORT_POOLS_H

#include <plait.h>

#include "support/backends.h"
#include "support/cmocka.h"

enum { POOL_PATIENCE = 60 /* seconds */ };

/* A pool on the back-end of the case that runs. */
static inline plait_pool_t *pool_make(const struct plait_pool_opts *opts)
{
    struct plait_pool_opts mine = *opts;
    plait_pool_t *pool = NULL;

    mine.backend = backend;
    assert_int_equal(plait_pool_new(&pool, &mine), 0);
    return pool;
}

/* Close it, let it end, and free it. */
static inline void pool_unmake(plait_pool_t *pool)
{
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(POOL_PATIENCE)), 0);
    assert_int_equal(plait_pool_free(pool), 0);
}

static inline plait_future_t *pool_submit(plait_pool_t *pool, plait_task_fn *fn, const void *arg, size_t size)
{
    plait_future_t *future = NULL;

    assert_int_equal(plait_pool_apply_async(pool, fn, arg, size, &future), 0);
    return future;
}

/* Does a word that tasks count in come to have at least that value? */
static inline bool pool_reaches(const uint32_t *word, uint32_t value)
{
    plait_time_t end = plait_after(POOL_PATIENCE);

    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < value && plait_now() < end)
        plait_sleep(0.0005);
    return __atomic_load_n(word, __ATOMIC_ACQUIRE) >= value;
}

#endif
