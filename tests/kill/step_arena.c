/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: memory and names of an arena. */
#include "kill/world.h"

#include <sys/stat.h>

/* ---- Arena ---- */

static void with_free_block(void)
{
    void *memory;

    if (plait_arena_alloc(arena, 700, &memory) || plait_arena_dealloc(arena, memory))
        abort();
    remember_use();
}

static void alloc_700(void)
{
    void *memory;

    step_page->out = plait_arena_alloc(arena, 700, &memory);
    if (step_page->out == 0)
        step_page->out = (long)plait__offset_in(arena->base, memory);
}

/* At most the one block that was being handed over is lost; give it back if we know it. */
static const char *alloc_loses_one_block_at_most(bool done)
{
    size_t now = used();
    void *memory;

    if (done && plait_arena_dealloc(arena, plait__at(arena->base, (uint64_t)step_page->out)))
        return "the block that was given out is none";
    if (done && used() != used_before)
        return "the use is wrong";
    if (now < used_before || now > used_before + 1024)
        return "the use is wrong";
    if (plait_arena_alloc(arena, 700, &memory) || plait_arena_dealloc(arena, memory))
        return "the allocator does not go on";
    return checked();
}

/* From the end of the heap, where memory has to be reserved first: no free block is that large. */
static const size_t top_size = 300 * 1024;

static void alloc_at_top_of_other(void)
{
    uint64_t offset;

    step_page->out = plait__arena_alloc_raw(other->base, top_size, &offset);
}

static const char *other_goes_on(bool done)
{
    static char text[200];
    void *memory;

    if (plait_arena_check(other, text, sizeof text))
        return text;
    if (plait_arena_alloc(other, top_size, &memory))
        return "the allocator does not go on";
    memset(memory, 1, top_size);
    return plait_arena_check(other, text, sizeof text) ? text : NULL;
}

/* No room at the top, and free blocks of other sizes: three neighbours whose pages were given back, then one in use. */
static void other_in_wrong_sizes(void)
{
    void *memory, *three[3];

    plait_arena_free(other);
    if (plait_arena_new(&other, &(struct plait_arena_opts){ .limit = 2 << 20, .participants = 8 }))
        abort();
    for (int i = 0; i < 3; i++)
        if (plait_arena_alloc(other, top_size, &three[i]))
            abort();
    while (plait_arena_alloc(other, top_size, &memory) == 0)
        ;
    while (plait_arena_alloc(other, 20000, &memory) == 0)
        ;
    for (int i = 0; i < 3; i++)
        if (plait_arena_dealloc(other, three[i]))
            abort();
    plait_arena_usage(other, &used_before, NULL, NULL);
}

static void cut_in_other(void)
{
    uint64_t offset;

    step_page->out = plait__arena_alloc_raw(other->base, 40000, &offset);
}

static void join_in_other(void)
{
    uint64_t offset;

    step_page->out = plait__arena_alloc_raw(other->base, 2 * top_size, &offset);
}

static const char *wrong_sizes_are_served(size_t bytes, bool done)
{
    static char text[200];
    size_t now;
    void *memory;

    if (plait_arena_check(other, text, sizeof text))
        return text;
    if (done && step_page->out)
        return "there was room, and it was not given";
    plait_arena_usage(other, &now, NULL, NULL);
    if (now != used_before && (now < used_before + bytes || now > used_before + bytes + bytes / 4 + 64))
        return "the use is wrong";
    if (now == used_before && done)
        return "the block that was given out is none";
    if (plait_arena_alloc(other, 200 * 1024, &memory)) /* beside it */
        return "the allocator does not go on";
    memset(memory, 1, 200 * 1024);
    return plait_arena_check(other, text, sizeof text) ? text : NULL;
}

static const char *small_one_is_cut_or_not(bool done)
{
    return wrong_sizes_are_served(40000, done);
}

static const char *large_one_is_joined_or_not(bool done)
{
    return wrong_sizes_are_served(2 * top_size, done);
}

static void small_block(void)
{
    remember_use();
    if (plait_arena_alloc(arena, 700, &block))
        abort();
}

static void free_block(void)
{
    step_page->out = plait_arena_dealloc(arena, block);
}

static const char *block_is_freed_or_not(bool done)
{
    int err = plait_arena_dealloc(arena, block);

    if (err != (done ? EINVAL : 0) && err != EINVAL)
        return "the block is neither free nor in use";
    return used() == used_before ? checked() : "the use is wrong";
}

static void large_block_of_other(void)
{
    fresh_other();
    if (plait_arena_alloc(other, 1 << 20, &block))
        abort();
}

static void free_block_of_other(void)
{
    step_page->out = plait_arena_dealloc(other, block);
}

/* A block whose pages went back to the system has them again when it is given out: a full system is no SIGBUS. */
static const char *pages_are_reserved_again(bool done)
{
    struct stat st;
    void *memory;
    int err = plait_arena_dealloc(other, block);
    uint64_t offset;

    if (err && err != EINVAL)
        return "the block is neither free nor in use";
    if (plait__arena_alloc_raw(other->base, 1 << 20, &offset))
        return "the allocator does not go on";
    memory = plait__at(other->base, offset);
    if (fstat(plait__arena_fd(other), &st) || (uint64_t)st.st_blocks * 512 < other->base->reserved)
        return "memory was given out that is not reserved";
    memset(memory, 1, 1 << 20);
    return other_goes_on(done);
}

static void without_name(void)
{
    if (!block && plait_arena_alloc(arena, 100, &block))
        abort();
    plait_arena_unpublish(arena, "it");
    remember_use();
}

static void with_name(void)
{
    without_name();
    if (plait_arena_publish(arena, "it", block))
        abort();
    remember_use();
}

static void publish_it(void)
{
    step_page->out = plait_arena_publish(arena, "it", block);
}

static void unpublish_it(void)
{
    step_page->out = plait_arena_unpublish(arena, "it");
}

static const char *name_is_there_or_not(bool expected_after)
{
    void *found = NULL;
    int err = plait_arena_lookup(arena, "it", &found);

    (void)expected_after;
    if (err == 0 && found != block)
        return "the name leads elsewhere";
    if (err && err != ENOENT)
        return "lookup failed";
    if (plait_arena_publish(arena, "it", block) != (err ? 0 : EEXIST))
        return "the name is neither free nor taken";
    if (used() > used_before + 128)
        return "memory is lost";
    return checked();
}

static const char *name_is_published_or_not(bool done)
{
    void *found;

    if (done && plait_arena_lookup(arena, "it", &found))
        return "the name that was published is lost";
    return name_is_there_or_not(done);
}

static const char *name_is_unpublished_or_not(bool done)
{
    void *found;

    if (done && plait_arena_lookup(arena, "it", &found) != ENOENT)
        return "the name is still there";
    return name_is_there_or_not(done);
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "arena alloc, from a free list",
      .prepare = with_free_block, .before = take_part, .operate = alloc_700, .verify = alloc_loses_one_block_at_most },
    { .name = "arena alloc, from the top",
      .prepare = fresh_other, .before = take_part_in_other, .operate = alloc_at_top_of_other, .verify = other_goes_on },
    { .name = "arena alloc, cut from a larger",
      .prepare = other_in_wrong_sizes, .before = take_part_in_other, .operate = cut_in_other,
      .verify = small_one_is_cut_or_not },
    { .name = "arena alloc, neighbours joined",
      .prepare = other_in_wrong_sizes, .before = take_part_in_other, .operate = join_in_other,
      .verify = large_one_is_joined_or_not },
    { .name = "arena dealloc",
      .prepare = small_block, .before = take_part, .operate = free_block, .verify = block_is_freed_or_not },
    { .name = "arena dealloc, large",
      .prepare = large_block_of_other, .before = take_part_in_other, .operate = free_block_of_other,
      .verify = pages_are_reserved_again },
    { .name = "arena publish",
      .prepare = without_name, .before = take_part, .operate = publish_it, .verify = name_is_published_or_not },
    { .name = "arena unpublish",
      .prepare = with_name, .before = take_part, .operate = unpublish_it, .verify = name_is_unpublished_or_not },
};

const struct step_table step_arena = { ops, sizeof ops / sizeof ops[0] };
