/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: array. */
#include "kill/world.h"

#include <errno.h>

enum { CELLS = 5, ODD = 44 }; /* a size of which there are no atomic operations */

/* Cells, of what bytes their seeds say. */
static plait_array_t *array;
static size_t cell_size;
static unsigned char before_it[CELLS], after_it[CELLS]; /* the seeds, before and after the child's operation */
static bool by_parts;                                   /* each cell for itself */

static void make_array(size_t size)
{
    used_before = used();
    cell_size = size;
    by_parts = false;
    if (plait_array_new(&array, &(struct plait_array_opts){
            .count = CELLS, .type = size == ODD ? PLAIT_BYTES : PLAIT_INT64, .item_size = size, .arena = arena }))
        abort();
    for (int i = 0; i < CELLS; i++) {
        before_it[i] = after_it[i] = (unsigned char)(i + 1);
        memset((char *)plait_array_data(array) + (size_t)i * size, i + 1, size);
    }
}

static void numbers(void) { make_array(8); }
static void odd_cells(void) { make_array(ODD); }
static void number_to_change(void) { numbers(); after_it[2] = 9; }
static void odd_cell_to_change(void) { odd_cells(); after_it[2] = 9; }

static void some_to_change(void)
{
    for (int i = 1; i < 4; i++)
        after_it[i] = (unsigned char)(i + 20);
    by_parts = true;
}

static void numbers_to_change(void) { numbers(); some_to_change(); }
static void odd_cells_to_change(void) { odd_cells(); some_to_change(); }

/* ---- What the child does ---- */

static const int64_t ones = 0x0101010101010101;

static void add(void) { step_page->out = plait_array_add(array, 2, 6 * ones, NULL); } /* 3 to 9 */

static void compare_exchange(void)
{
    int64_t expected = 3 * ones;

    step_page->out = plait_array_compare_exchange(array, 2, &expected, 9 * ones);
}

static void set_one(void)
{
    char cell[ODD];

    memset(cell, 9, sizeof cell);
    step_page->out = plait_array_set(array, 2, cell);
}

static void set_many(void)
{
    char cells[3 * ODD];

    for (int i = 1; i < 4; i++)
        memset(cells + (size_t)(i - 1) * cell_size, i + 20, cell_size);
    step_page->out = plait_array_set_many(array, 1, 3, cells);
}

static void get_many(void)
{
    char cells[CELLS * ODD];

    step_page->out = plait_array_get_many(array, 0, CELLS, cells);
}

static int make_nine(void *cell, void *arg)
{
    memset(cell, 9, cell_size);
    return 0;
}

static void modify(void) { step_page->out = plait_array_modify(array, 2, make_nine, NULL); }

/* Done: the lock has been given back. */
static void change_under_lock(void)
{
    int err = plait_array_lock(array, PLAIT_FOREVER);

    if (err == EOWNERDEAD)
        err = plait_array_consistent(array);
    set_many();
    step_page->out |= err | plait_array_unlock(array);
}

static void leave_and_destroy(void) { step_page->out = plait_array_destroy(array); }

static int die(void *cell, void *arg)
{
    memset(cell, 77, cell_size);
    raise(SIGKILL);
    return 0;
}

static int modify_and_die(void *unused) { return plait_array_modify(array, 0, die, NULL); }

static int lock_and_die(void *unused)
{
    plait_array_lock(array, PLAIT_FOREVER);
    raise(SIGKILL);
    return 0;
}

static void left_in_a_function(void)
{
    odd_cell_to_change();
    child_run(modify_and_die, NULL);
}

static void left_with_the_lock(void)
{
    odd_cells_to_change();
    child_run(lock_and_die, NULL);
}

/* ---- What the others find ---- */

/* The seed of a cell; 0: torn. */
static unsigned char seed_of(const unsigned char *cell)
{
    for (size_t i = 1; i < cell_size; i++)
        if (cell[i] != cell[0])
            return 0;
    return cell[0];
}

static const char *cells_are_so(bool done)
{
    unsigned char cells[CELLS * ODD];
    bool before = true, after = true;

    if (plait_array_get_many(array, 0, CELLS, cells))
        return "get_many failed";
    for (int i = 0; i < CELLS; i++) {
        unsigned char seed = seed_of(cells + (size_t)i * cell_size);

        if (seed != before_it[i] && seed != after_it[i])
            return "a cell is torn, or has what nobody wrote";
        before &= seed == before_it[i];
        after &= seed == after_it[i];
    }
    if (done && !after)
        return "what had returned is not there";
    return before || after || by_parts ? NULL : "a change is there in part";
}

/* With `told`, whoever takes the lock may be told that somebody died; and must be, if only some cells are changed. */
static const char *lock_goes_on_telling(bool told, bool torn)
{
    int err = plait_array_lock(array, plait_after(PATIENCE));

    if (err == EOWNERDEAD && !told)
        return "a death is told that is none of the user's business";
    if (err == 0 && torn)
        return "a death in the midst of a change is not told";
    if (err && err != EOWNERDEAD)
        return "lock failed";
    if (err == EOWNERDEAD && plait_array_consistent(array))
        return "consistent failed";
    if (plait_array_unlock(array) || plait_array_lock(array, PLAIT_NOW) || plait_array_unlock(array))
        return "the lock does not go on";
    return NULL;
}

static const char *others_go_on(bool told, bool torn)
{
    const char *wrong = lock_goes_on_telling(told, torn);
    char cell[ODD] = { 0 }, got[ODD];

    for (size_t i = 0; i < CELLS && !wrong; i++)
        if (plait_array_set(array, i, cell) || plait_array_get(array, i, got) || memcmp(cell, got, cell_size) != 0)
            wrong = "set and get do not go on";
    if (!wrong && plait_array_destroy(array))
        wrong = "destroy failed";
    if (wrong)
        return wrong;
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

static bool is_torn(void)
{
    const unsigned char *cells = plait_array_data(array);
    bool before = true, after = true;

    for (int i = 0; i < CELLS; i++) {
        before &= cells[(size_t)i * cell_size] == before_it[i];
        after &= cells[(size_t)i * cell_size] == after_it[i];
    }
    return !before && !after;
}

static const char *changed_or_not(bool done)
{
    const char *wrong = done && step_page->out ? "the operation failed" : cells_are_so(done);

    return wrong ? wrong : others_go_on(false, false);
}

static const char *changed_in_part(bool done)
{
    const char *wrong = done && step_page->out ? "the operation failed" : cells_are_so(done);

    return wrong ? wrong : others_go_on(!done, is_torn());
}

/* The first who comes takes the lock. */
static const char *changed_in_part_to_a_locker(bool done)
{
    const char *wrong = lock_goes_on_telling(!done, false);

    if (!wrong)
        wrong = done && step_page->out ? "the operation failed" : cells_are_so(done);
    return wrong ? wrong : others_go_on(false, false);
}

/* Somebody had died before; it may be told still. */
static const char *changed_after_a_death(bool done)
{
    const char *wrong = done && step_page->out ? "the operation failed" : cells_are_so(done);

    return wrong ? wrong : others_go_on(!done, !done && is_torn());
}

static const char *arena_is_sound(bool done)
{
    if (done && used() != used_before)
        return "memory is lost, or freed twice";
    return checked();
}

/* Somebody has the lock, asleep, until the child waits for it or is dead. */
static void some_among_others(void)
{
    odd_cell_to_change();
    plait_event_clear(&world->go);
}

static int stay_with_lock(void *unused)
{
    if (plait_array_lock(array, PLAIT_FOREVER))
        return 1;
    await_go();
    return plait_array_unlock(array);
}

static const char *all_end_well(bool done)
{
    return others_end_well() ? changed_or_not(done) : "who was inside, or came then, hangs";
}

#define ALONE(what, prepared, operation, verified) \
    { .name = "array " what, .prepare = prepared, .before = take_part, .operate = operation, .verify = verified }

static const struct step_op ops[] = {
    ALONE("add", number_to_change, add, changed_or_not),
    ALONE("compare_exchange", number_to_change, compare_exchange, changed_or_not),
    ALONE("set of a number", number_to_change, set_one, changed_or_not),
    ALONE("set", odd_cell_to_change, set_one, changed_or_not),
    ALONE("set_many of numbers", numbers_to_change, set_many, changed_in_part),
    ALONE("set_many", odd_cells_to_change, set_many, changed_in_part),
    ALONE("set_many, a locker next", odd_cells_to_change, set_many, changed_in_part_to_a_locker),
    ALONE("get_many", odd_cells, get_many, changed_or_not),
    ALONE("modify of a number", number_to_change, modify, changed_or_not),
    ALONE("modify", odd_cell_to_change, modify, changed_or_not),
    ALONE("lock, change, unlock", odd_cells_to_change, change_under_lock, changed_in_part),
    ALONE("set, as who repairs", left_in_a_function, set_one, changed_or_not),
    ALONE("lock, change, unlock, as who repairs", left_with_the_lock, change_under_lock, changed_after_a_death),
    ALONE("destroy", odd_cells, leave_and_destroy, arena_is_sound),
    { .name = "array set, waiting for a holder", .prepare = some_among_others, .before = take_part, .operate = set_one,
      .helper = stay_with_lock, .waker = let_holder_go, .verify = all_end_well },
};

const struct step_table step_array = { ops, sizeof ops / sizeof ops[0] };
