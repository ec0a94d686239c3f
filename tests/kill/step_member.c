/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: who takes part in an arena, and what it holds; arenas that are opened and made. */
#include "kill/world.h"

#include "arena/holds.h"

/* ---- Holds ---- */

static void take_holds_of_other(void)
{
    struct plait__slot *self;
    struct plait__hold *hold;

    if (plait__member(other->base, &self))
        _exit(3);
    for (int i = 0; i <= PLAIT__HOLDS_IN_ROW; i++)
        if (plait__hold_take(other->base, self, plait__hold_of(4096, PLAIT__HOLD_COUNT), &(struct plait__hold){ 0 }, &hold))
            _exit(4);
}

/* Some are there, as orphans, and a row that is whole, or none. The next owner of the slot takes as many. */
static const char *holds_are_orphans_or_not(bool done)
{
    static char text[200];
    struct plait__holds_walk walk = plait__holds_of(other->base, plait__hold_of(4096, PLAIT__HOLD_COUNT));
    int count = 0;

    if (plait_arena_check(other, text, sizeof text))
        return text;
    while (plait__holds_next(&walk)) {
        count++;
        if (!plait__holds_is_orphan(&walk))
            return "a hold of the living";
    }
    if (count > PLAIT__HOLDS_IN_ROW + 1 || (done && count <= PLAIT__HOLDS_IN_ROW))
        return "too many or too few holds";
    plait__holds_forget(other->base, plait__hold_of(4096, PLAIT__HOLD_COUNT));
    take_holds_of_other();
    plait__member_leave(other->base);
    return plait_arena_check(other, text, sizeof text) ? text : NULL;
}

/* ---- Membership: a table of two, for the test and one more ---- */

static void leave_other(void)
{
    plait__member_leave(other->base);
}

static void fresh_table_of_two(void)
{
    plait_arena_free(other);
    if (plait_arena_new(&other, &(struct plait_arena_opts){ .limit = 1 << 20, .participants = 2 }) ||
        plait_arena_usage(other, NULL, NULL, NULL))
        abort();
}

static int join_and_use(void *unused)
{
    void *memory;

    return plait_arena_alloc(other, 1, &memory);
}

static const char *a_place_is_free(bool done)
{
    static char text[200];

    if (plait_arena_check(other, text, sizeof text))
        return text;
    for (int i = 0; i < 2; i++)
        if (child_run(join_and_use, NULL))
            return "the table is full of the dead";
    return plait_arena_check(other, text, sizeof text) ? text : NULL;
}

/* ---- A named arena ---- */

static char arena_name[40], arena_file[60];

static void name_arena(void)
{
    snprintf(arena_name, sizeof arena_name, "step-%d", (int)getpid());
    snprintf(arena_file, sizeof arena_file, "/dev/shm/plait.%s", arena_name);
}

static int open_named(plait_arena_t **out, enum plait_open how)
{
    return plait_arena_new(out, &(struct plait_arena_opts){ .name = arena_name, .limit = 1 << 20, .participants = 8,
                                                            .open = how });
}

static void open_and_close_named(void)
{
    plait_arena_t *a;

    step_page->out = open_named(&a, PLAIT_OPEN_OR_CREATE);
    if (step_page->out == 0)
        step_page->out = plait_arena_free(a);
}

static const char *name_of_the_dead_is_free(bool done)
{
    plait_arena_t *a;
    void *memory;

    if (open_named(&a, PLAIT_OPEN) != ENOENT)
        return "an arena without users was opened";
    if (open_named(&a, PLAIT_CREATE))
        return "the name is not free";
    if (plait_arena_alloc(a, 1000, &memory) || plait_arena_check(a, NULL, 0))
        return "the arena made afresh is no good";
    if (plait_arena_free(a))
        return "closing failed";
    return access(arena_file, F_OK) == 0 ? "the file is left in /dev/shm" : NULL;
}

/* ---- The program's own memory ---- */

enum { OWN_SIZE = 256 * 1024 };

static void *own_memory;

static void fresh_memory(void)
{
    if (own_memory)
        munmap(own_memory, OWN_SIZE);
    own_memory = mmap(NULL, OWN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (own_memory == MAP_FAILED)
        abort();
}

static int make_of_memory(plait_arena_t **out)
{
    return plait_arena_new(out, &(struct plait_arena_opts){ .memory = own_memory, .memory_size = OWN_SIZE, .participants = 4 });
}

static void make_of_memory_and_close(void)
{
    plait_arena_t *a;

    step_page->out = make_of_memory(&a);
    if (step_page->out == 0)
        step_page->out = plait_arena_free(a);
}

static const char *memory_is_made_an_arena(bool done)
{
    static char text[200];
    plait_arena_t *a;
    void *memory;

    if (make_of_memory(&a))
        return "the memory is no arena, and cannot be made one";
    if (plait_arena_check(a, text, sizeof text))
        return text;
    if (plait_arena_alloc(a, 1000, &memory) || plait_arena_publish(a, "it", memory))
        return "the arena is no good";
    return plait_arena_free(a) ? "closing failed" : NULL;
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "holds, more than a row",
      .prepare = fresh_other, .before = take_part_in_other, .operate = take_holds_of_other,
      .verify = holds_are_orphans_or_not },
    { .name = "join", .prepare = fresh_table_of_two, .operate = take_part_in_other, .verify = a_place_is_free },
    { .name = "leave",
      .prepare = fresh_table_of_two, .before = take_part_in_other, .operate = leave_other, .verify = a_place_is_free },
    { .name = "own memory, made an arena",
      .prepare = fresh_memory, .operate = make_of_memory_and_close, .verify = memory_is_made_an_arena },
    { .name = "named arena, open + close", .prepare = name_arena, .operate = open_and_close_named, .verify = name_of_the_dead_is_free },
};

const struct step_table step_member = { ops, sizeof ops / sizeof ops[0] };
