/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: memory and names of an arena. */
#include "kill/world.h"

#include <signal.h>
#include <sys/stat.h>

#include "arena/stock.h"

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

/* ---- Stocks: of a child that has one, and of an arena in which all else is known ---- */

enum { SOME = 700, SOME_BLOCK = 768, SOME_CLASS = 9 };

static uint64_t *place; /* names a block of SOME bytes, or is 0 */

static struct plait__stock *own_stock_in(plait_arena_t *a)
{
    struct plait__slot *slot;

    if (plait__member(a->base, &slot) || !plait__stock_of(a->base, slot))
        _exit(4);
    return plait__stock_of(a->base, slot);
}

static void put_some_by(plait_arena_t *a)
{
    void *memory[6];

    for (int i = 0; i < 6; i++)
        if (plait_arena_alloc(a, SOME, &memory[i]))
            abort();
    for (int i = 0; i < 6; i++)
        if (plait_arena_dealloc(a, memory[i]))
            abort();
}

static void have_stock(void)
{
    take_part();
    put_some_by(arena);
    if (!own_stock_in(arena)->heads[SOME_CLASS])
        _exit(5);
}

static void empty_place(void)
{
    if (!block && plait_arena_alloc(arena, 100, &block))
        abort();
    place = block;
    if (plait__arena_dealloc_from(arena->base, place))
        abort();
    remember_use();
}

static void full_place(void)
{
    empty_place();
    if (plait__arena_alloc_into(arena->base, SOME, place))
        abort();
}

static void alloc_into_place(void)
{
    step_page->out = plait__arena_alloc_into(arena->base, SOME, place);
}

static void dealloc_from_place(void)
{
    step_page->out = plait__arena_dealloc_from(arena->base, place);
}

/* The place and its block are in use both or neither. */
static const char *place_is_whole(bool done, bool done_is_full)
{
    if (plait__arena_settle(arena->base))
        return "the arena cannot be settled";
    if (done && (step_page->out || !*place == done_is_full))
        return "it was done, and is not";
    if (*place && !plait__arena_block_is_used(arena->base, *place + sizeof(struct plait__block), SOME))
        return "the place names a block that is not in use";
    if (used() != used_before + (*place ? SOME_BLOCK : 0))
        return "the use is wrong";
    if (plait__arena_dealloc_from(arena->base, place) || *place || used() != used_before)
        return "the block cannot be given back";
    return checked();
}

static const char *place_is_full_or_not(bool done) { return place_is_whole(done, true); }
static const char *place_is_empty_or_not(bool done) { return place_is_whole(done, false); }

/* Nobody settles: the next one just gives back what the place names. */
static const char *place_is_emptied_unsettled(bool done)
{
    if (plait__arena_dealloc_from(arena->base, place) || *place)
        return "the block cannot be given back";
    if (used() != used_before)
        return "the use is wrong";
    return checked();
}

static size_t used_in_other(void)
{
    size_t bytes = 0;

    plait_arena_usage(other, &bytes, NULL, NULL);
    return bytes;
}

static void fresh_other_known(void)
{
    fresh_other();
    used_before = 0;
}

static void have_empty_stock(void)
{
    uint64_t offset;

    do
        if (plait__arena_alloc_raw(other->base, SOME, &offset))
            _exit(6);
    while (own_stock_in(other)->batches[SOME_CLASS] < 7 || own_stock_in(other)->heads[SOME_CLASS]);
    step_page->out = (long)used_in_other();
}

static void have_full_stock(void)
{
    void *memory[100];
    int count = 0;

    for (; count < 100; count++)
        if (plait_arena_alloc(other, SOME, &memory[count]))
            _exit(7);
    while (count > 1 && own_stock_in(other)->counts[SOME_CLASS] < 16 * 1024 / SOME_BLOCK)
        if (plait_arena_dealloc(other, memory[--count]))
            _exit(8);
    block = memory[0];
    step_page->out = (long)used_in_other();
}

static void alloc_some_of_other(void)
{
    uint64_t offset;

    if (plait__arena_alloc_raw(other->base, SOME, &offset))
        step_page->out = -1;
}

static void free_some_of_other(void)
{
    if (plait_arena_dealloc(other, block))
        step_page->out = -1;
}

static const char *use_differs_by(long difference, bool done)
{
    long now = (long)used_in_other();

    if (step_page->out < 0)
        return "it failed";
    if (now != step_page->out + difference && (done || now != step_page->out))
        return "the use is wrong";
    return other_goes_on(done);
}

static const char *other_has_one_more_or_not(bool done) { return use_differs_by(SOME_BLOCK, done); }
static const char *other_has_one_less_or_not(bool done) { return use_differs_by(-SOME_BLOCK, done); }

/* All memory is in use, but for what we have put by: neighbours. */
static void other_with_all_in_our_stock(void)
{
    enum { COUNT = 16 };
    void *memory, *some[COUNT];

    plait_arena_free(other);
    if (plait_arena_new(&other, &(struct plait_arena_opts){ .limit = 1 << 20, .participants = 8 }))
        abort();
    for (int i = 0; i < COUNT; i++)
        if (plait_arena_alloc(other, SOME, &some[i]))
            abort();
    for (size_t size = 100000; size; size /= 3)
        while (plait_arena_alloc(other, size, &memory) == 0)
            ;
    for (int i = 0; i < COUNT; i++)
        if (plait_arena_dealloc(other, some[i]))
            abort();
    used_before = used_in_other();
}

static void alloc_4000_of_other(void)
{
    uint64_t offset;

    step_page->out = plait__arena_alloc_raw(other->base, 4000, &offset);
}

static const char *our_stock_served_or_not(bool done)
{
    static char text[200];
    size_t now = used_in_other();
    void *memory;

    if (done && step_page->out)
        return "there was memory, and it was not given";
    if (now != used_before + 4096 && (done || now != used_before))
        return "the use is wrong";
    if (plait_arena_check(other, text, sizeof text))
        return text;
    if (plait_arena_alloc(other, 4000, &memory))
        return "the allocator does not go on";
    return plait_arena_check(other, text, sizeof text) ? text : NULL;
}

/* A participant that is killed in the midst of taking a block out of its stock: as far as TAKEN. */
static int die_taking(void *unused)
{
    struct plait__arena_header *h = other->base;
    struct plait__stock *s;
    struct plait__slot *slot;
    uint64_t offset;

    put_some_by(other);
    s = own_stock_in(other);
    if (plait__member(h, &slot))
        return 1;
    offset = s->heads[SOME_CLASS];
    s->word = 1 | slot->generation << 2;
    s->pending = offset;
    s->heads[SOME_CLASS] = plait__block_at(h, offset)->next_free;
    plait__block_set(h, offset, plait__block_word(offset, SOME_CLASS, PLAIT__BLOCK_TAKEN, s->number));
    return raise(SIGKILL);
}

/* And one that is killed while it drains the stock of another, with the arena's lock: the head of a list is free. */
static int die_draining(void *unused)
{
    struct plait__arena_header *h = other->base;
    struct plait__stock *s;

    put_some_by(other);
    s = own_stock_in(other);
    if (plait__arena_lock(h))
        return 1;
    s->word = 2;
    plait__block_write(h, s->heads[SOME_CLASS], SOME_CLASS, PLAIT__BLOCK_FREE);
    return raise(SIGKILL);
}

static void dead_one_was_taking(void)
{
    fresh_other();
    if (child_run(die_taking, NULL) != CHILD_SIGNALLED + SIGKILL)
        abort();
}

static void dead_one_was_draining(void)
{
    fresh_other();
    if (child_run(die_draining, NULL) != CHILD_SIGNALLED + SIGKILL)
        abort();
}

static void settle_other(void)
{
    step_page->out = plait__arena_settle(other->base);
}

static const char *other_is_settled(bool done)
{
    static char text[200];

    if (done && step_page->out)
        return "it could not be settled";
    if (used_in_other() != 0)
        return "the use is wrong";
    if (plait_arena_check(other, text, sizeof text))
        return text;
    put_some_by(other);
    return other_goes_on(done);
}

static void check_other(void)
{
    step_page->out = plait_arena_check(other, NULL, 0);
}

static void other_with_our_stock(void)
{
    fresh_other();
    put_some_by(other);
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

static void with_two_names(void)
{
    with_name();
    plait_arena_unpublish(arena, "too");
    if (plait_arena_publish(arena, "too", block))
        abort();
    remember_use();
}

static void forget_it(void)
{
    plait__arena_forget(arena, block);
    step_page->out = 0;
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

static const char *names_are_forgotten_or_not(bool done)
{
    void *found = block;
    int err = plait_arena_lookup(arena, "too", &found);

    if (done ? err != ENOENT : err && err != ENOENT)
        return "the other name is still there, or cannot be looked up";
    if (found != block)
        return "the other name leads elsewhere";
    plait__arena_forget(arena, block); /* as the next one that destroys it: no name is left */
    if (plait_arena_lookup(arena, "too", &found) != ENOENT || plait_arena_lookup(arena, "it", &found) != ENOENT)
        return "it still has a name";
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
    { .name = "arena stock, alloc",
      .prepare = with_free_block, .before = have_stock, .operate = alloc_700, .verify = alloc_loses_one_block_at_most },
    { .name = "arena stock, alloc into a place",
      .prepare = empty_place, .before = have_stock, .operate = alloc_into_place, .verify = place_is_full_or_not },
    { .name = "arena stock, alloc into a place, given back unsettled",
      .prepare = empty_place, .before = have_stock, .operate = alloc_into_place, .verify = place_is_emptied_unsettled },
    { .name = "arena stock, dealloc",
      .prepare = small_block, .before = have_stock, .operate = free_block, .verify = block_is_freed_or_not },
    { .name = "arena stock, dealloc from a place",
      .prepare = full_place, .before = have_stock, .operate = dealloc_from_place, .verify = place_is_empty_or_not },
    { .name = "arena stock, dealloc from a place, given back unsettled",
      .prepare = full_place, .before = have_stock, .operate = dealloc_from_place, .verify = place_is_emptied_unsettled },
    { .name = "arena stock, is made",
      .prepare = empty_place, .before = take_part, .operate = alloc_into_place, .verify = place_is_full_or_not },
    { .name = "arena stock, restocked",
      .prepare = fresh_other_known, .before = have_empty_stock, .operate = alloc_some_of_other,
      .verify = other_has_one_more_or_not },
    { .name = "arena stock, reduced",
      .prepare = fresh_other_known, .before = have_full_stock, .operate = free_some_of_other,
      .verify = other_has_one_less_or_not },
    { .name = "arena stock, another's drained",
      .prepare = other_with_all_in_our_stock, .before = take_part_in_other, .operate = alloc_4000_of_other,
      .verify = our_stock_served_or_not },
    { .name = "arena stock, a dead one's settled",
      .prepare = dead_one_was_taking, .before = take_part_in_other, .operate = settle_other, .verify = other_is_settled },
    { .name = "arena stock, a dead drainer's repaired",
      .prepare = dead_one_was_draining, .before = take_part_in_other, .operate = settle_other, .verify = other_is_settled },
    { .name = "arena stock, checked",
      .prepare = other_with_our_stock, .before = take_part_in_other, .operate = check_other, .verify = other_is_settled },
    { .name = "arena publish",
      .prepare = without_name, .before = take_part, .operate = publish_it, .verify = name_is_published_or_not },
    { .name = "arena unpublish",
      .prepare = with_name, .before = take_part, .operate = unpublish_it, .verify = name_is_unpublished_or_not },
    { .name = "arena forget, what has two names",
      .prepare = with_two_names, .before = take_part, .operate = forget_it, .verify = names_are_forgotten_or_not },
};

const struct step_table step_arena = { ops, sizeof ops / sizeof ops[0] };
