/* SPDX-License-Identifier: MIT */
/* A queue for a case, private or in an arena of its own, which must be empty and whole in the end. */
#ifndef TESTS_SUPPORT_QUEUE_SCENE_H
#define TESTS_SUPPORT_QUEUE_SCENE_H

#include <plait.h>

#include "support/cmocka.h"

static plait_arena_t *arena; /* of the present queue, NULL: private */

#ifndef SCENE_LIMIT
#define SCENE_LIMIT ((size_t)64 << 20) /* bytes, of the arena */
#endif

/* Makes the arena, unless there is one. */
static inline plait_queue_t *make(bool shared, struct plait_queue_opts opts)
{
    plait_queue_t *q;

    if (shared && !arena)
        assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = SCENE_LIMIT }), 0);
    opts.arena = shared ? arena : NULL;
    assert_int_equal(plait_queue_new(&q, &opts), 0);
    return q;
}

static inline size_t used(void)
{
    size_t bytes = 0;

    if (arena)
        assert_int_equal(plait_arena_usage(arena, &bytes, NULL, NULL), 0);
    return bytes;
}

/* The last queue of the case. */
static inline void drop(plait_queue_t *q)
{
    char text[200];

    assert_int_equal(plait_queue_destroy(q), 0);
    if (arena) {
        if (plait_arena_check(arena, text, sizeof text) != 0)
            fail_msg("arena: %s", text);
        assert_int_equal(used(), 0);
        assert_int_equal(plait_arena_free(arena), 0);
    }
    arena = NULL;
}

#endif
