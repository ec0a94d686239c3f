/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: latest value. */
#include "kill/world.h"

#include <errno.h>

static plait_latest_t *latest;
static long written; /* by the test and its children, but for the one that is stepped: the last number, and version */

static int write_number(long number)
{
    struct item value;

    fill_item(&value, number);
    return plait_latest_write(latest, &value, plait_after(PATIENCE));
}

static void empty_cell(void)
{
    used_before = used();
    written = 0;
    world->seen = 0;
    if (plait_latest_new(&latest, &(struct plait_latest_opts){ .value_size = sizeof(struct item), .arena = arena }))
        abort();
}

static void written_cell(void)
{
    empty_cell();
    while (written < 6)
        if (write_number(++written))
            abort();
}

static void prepare_value(void)
{
    take_part();
    fill_item(&child_item, written + 1);
}

static void write_value(void) { step_page->out = plait_latest_write(latest, &child_item, PLAIT_FOREVER); }
static void read_value(void) { step_page->out = plait_latest_read(latest, &world->got, NULL); }
static void close_cell(void) { step_page->out = plait_latest_close(latest); }

static void read_next(void)
{
    uint64_t version = (uint64_t)written;

    step_page->out = plait_latest_read_newer(latest, &world->got, &version, PLAIT_FOREVER);
}

static void read_in_vain(void)
{
    uint64_t version = (uint64_t)written;

    step_page->out = plait_latest_read_newer(latest, &child_item, &version, plait_after(MOMENT));
}

static const char *destroyed(void)
{
    plait_latest_destroy(latest);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

/* The latest is whole; so are those written after it, whose versions follow each other. */
static const char *goes_on(uint64_t expected)
{
    uint64_t version;
    struct item value;

    for (int i = 0; i < 9; i++, expected++) {
        int err = plait_latest_read(latest, &value, &version);

        if (expected ? err || !item_is(&value, (long)expected) || version != expected : err != ENOENT)
            return "the latest value is not the one that was written last, or torn";
        if (write_number((long)expected + 1))
            return "write failed";
    }
    return destroyed();
}

static const char *value_is_written_or_not(bool done)
{
    uint64_t version = plait_latest_version(latest);

    if ((done && step_page->out) || (version != (uint64_t)written + 1 && (done || version != (uint64_t)written)))
        return "the value that was written is lost, or more than that";
    return goes_on(version);
}

static const char *value_is_read_or_not(bool done)
{
    if (done && (step_page->out || !item_is(&world->got, written)))
        return "a wrong or torn value";
    return goes_on((uint64_t)written);
}

/* ---- With a sleeper ---- */

static int read_helper(void *unused)
{
    uint64_t version = (uint64_t)written;
    struct item value;
    int err = plait_latest_read_newer(latest, &value, &version, plait_after(PATIENCE));

    return err || version != (uint64_t)written + 1 || !item_is(&value, written + 1);
}

static int told_reader(void *unused)
{
    uint64_t version = (uint64_t)written;
    struct item value;

    return plait_latest_read_newer(latest, &value, &version, plait_after(PATIENCE)) == EPIPE ? 0 : 1;
}

static const char *sleeper_reads_value(bool done)
{
    if (!done && plait_latest_version(latest) == (uint64_t)written && write_number(written + 1))
        return "write failed";
    if (helper_end_by(PATIENCE))
        return "the sleeper got no value, or a wrong one";
    return goes_on((uint64_t)written + 1);
}

static const char *reader_beside_reads(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "a value from nowhere";
    return sleeper_reads_value(false);
}

static const char *sleeper_is_told(bool done)
{
    if (done && (step_page->out || !plait_latest_is_closed(latest)))
        return "it is not closed";
    if (!plait_latest_is_closed(latest) && plait_latest_close(latest))
        return "it cannot be closed";
    if (helper_end_by(PATIENCE))
        return "the sleeper was not told";
    if (plait_latest_read(latest, &child_item, NULL) || !item_is(&child_item, written))
        return "the last value is lost, or torn";
    return destroyed();
}

/* ---- Woken, before another; and overtaken ---- */

static int write_for_two(void *unused)
{
    pid_t second = sleep_behind_child(read_helper);

    return write_number(written + 1) || child_end_by(second, PATIENCE);
}

static const char *both_read_it(bool done)
{
    if (waker_end_by(2 * PATIENCE))
        return "the second sleeper got no value, or a wrong one";
    if (done && (step_page->out || !item_is(&world->got, written + 1)))
        return "a wrong or torn value";
    return goes_on((uint64_t)written + 1);
}

/*
 * Writes as long as the child is stepped, which is slower by far: its read is overtaken whenever it can be, and never comes to an end
 * if nobody leaves it alone.
 */
static int write_all_the_time(void *unused)
{
    for (long i = 1; !__atomic_load_n(&world->seen, __ATOMIC_RELAXED); i++)
        if (write_number(written + i))
            return 1;
    return 0;
}

static const char *slow_reader_gets_a_value(bool done)
{
    __atomic_store_n(&world->seen, 1, __ATOMIC_RELAXED);
    if (waker_end_by(2 * PATIENCE))
        return "a slow reader holds writers up";
    if (done && (step_page->out || !item_is(&world->got, world->got.number) || world->got.number < written))
        return "a wrong or torn value";
    return goes_on(plait_latest_version(latest));
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "latest write",
      .prepare = written_cell, .before = prepare_value, .operate = write_value, .verify = value_is_written_or_not },
    { .name = "latest write, the first",
      .prepare = empty_cell, .before = prepare_value, .operate = write_value, .verify = value_is_written_or_not },
    { .name = "latest write, with a sleeper",
      .prepare = written_cell, .before = prepare_value, .operate = write_value, .helper = read_helper,
      .verify = sleeper_reads_value },
    { .name = "latest read",
      .prepare = written_cell, .before = take_part, .operate = read_value, .verify = value_is_read_or_not },
    { .name = "latest read, beside a writer who is faster",
      .prepare = written_cell, .before = take_part, .operate = read_value, .waker = write_all_the_time,
      .verify = slow_reader_gets_a_value },
    { .name = "latest read_newer, in vain, beside a sleeper",
      .prepare = written_cell, .before = take_part, .operate = read_in_vain, .helper = read_helper,
      .verify = reader_beside_reads },
    { .name = "latest read_newer, as the one woken, before a sleeper",
      .prepare = written_cell, .before = take_part, .operate = read_next, .waker = write_for_two,
      .verify = both_read_it },
    { .name = "latest close, with a sleeper",
      .prepare = written_cell, .before = take_part, .operate = close_cell, .helper = told_reader,
      .verify = sleeper_is_told },
};

const struct step_table step_latest = { ops, sizeof ops / sizeof ops[0] };
