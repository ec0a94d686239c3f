/* SPDX-License-Identifier: MIT */
/* The arena itself: blocks of many sizes, names, figures, the check. */
#include "fuzz/fuzz.h"

enum { BLOCKS = 20, LOCK = BLOCKS };

static const size_t sizes[] = { 1, 40, 100, 700, 3000, 9000, 20000 };

static int make(void)
{
    char name[] = "name a";
    plait_lock_t *lock;
    int err = plait_arena_alloc(arena, sizeof *lock, (void **)&lock) || plait_lock_init(lock, PLAIT_SHARED) ||
              plait_stats_watch(lock, "watched") || plait_stats_unwatch(lock);

    remember(LOCK, lock);
    for (unsigned i = 0; err == 0 && i < BLOCKS; i++) {
        void *block;

        err = plait_arena_alloc(arena, sizes[i % 7], &block);
        if (err)
            return err;
        remember(i, block);
        name[5] = (char)('a' + i);
        if (i % 3 == 0)
            err = plait_arena_publish(arena, name, block);
    }
    for (unsigned i = 0; err == 0 && i < BLOCKS; i += 4)
        err = plait_arena_dealloc(arena, at(i));
    return err ? err : plait_arena_unpublish(arena, "name d");
}

static void spoil(void)
{
    plait_lock_acquire(&arena->base->lock, PLAIT_FOREVER);
    arena->base->pending_block = plait__offset_in(arena->base, at(1)) - sizeof(struct plait__block);
}

static void step_blocks(void)
{
    void *blocks[14];

    for (unsigned i = 0; i < 14; i++)
        if (CALL(plait_arena_alloc(arena, sizes[choice(7)] + choice(60), &blocks[i])))
            blocks[i] = NULL;
    moment();
    for (unsigned i = 0; i < 14; i++)
        CALL(plait_arena_dealloc(arena, blocks[i]));
    for (unsigned i = 0; i < BLOCKS; i += 3)
        CALL(plait_arena_dealloc(arena, at(i)));
}

static void step_full(void)
{
    void *block;

    for (int i = 0; i < 200 && CALL(plait_arena_alloc(arena, 30000 >> choice(8), &block)) == 0; i++)
        ;
    moment();
    for (unsigned i = 1; i < BLOCKS; i += 2)
        CALL(plait_arena_dealloc(arena, at(i)));
    CALL(plait_arena_alloc(arena, 100, &block));
}

static void step_names(void)
{
    void *found;

    CALL(plait_arena_lookup(arena, "name a", &found));
    CALL(plait_arena_lookup(arena, "name z", &found));
    moment();
    CALL(plait_arena_publish(arena, "name y", at(2)));
    CALL(plait_arena_unpublish(arena, "name g"));
    CALL(plait_arena_publish(arena, "name x", at(2)));
}

static void step_figures(void)
{
    struct plait_stats_entry entry;
    struct plait_stats stats;
    plait_lock_t *lock = at(LOCK);
    size_t cursor = 0;

    CALL(plait_stats_watch(lock, "watched"));
    if (CALL(plait_lock_acquire(lock, soon())) == 0)
        CALL(plait_lock_release(lock));
    moment();
    CALL(plait_stats_read(lock, &stats));
    while (CALL(plait_stats_next(arena, &cursor, &entry)) == 0 && cursor < 1000)
        ;
    CALL(plait_stats_unwatch(lock));
}

static void step_check(void)
{
    size_t used, reserved, limit;
    char text[200];

    CALL(plait_arena_check(arena, text, sizeof text));
    CALL(plait_arena_usage(arena, &used, &reserved, &limit));
}

const struct scene arena_scene = { "arena", make, spoil,
                                   { step_blocks, step_full, step_names, step_figures, step_check } };
