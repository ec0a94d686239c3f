/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: read-write lock. */
#include "kill/world.h"

#include <errno.h>

/* ---- Read-write lock ---- */

static void fresh_rwlock(void)
{
    world->a = world->b = 0;
    if (plait_rwlock_init(&world->rwlock, PLAIT_SHARED))
        abort();
}

/* A child that acquires it and dies. */
static int acquire_and_be_killed(void *acquire)
{
    if (((int (*)(plait_rwlock_t *, plait_time_t))acquire)(&world->rwlock, PLAIT_FOREVER))
        return 1;
    world->a++;
    raise(SIGKILL);
    return 2;
}

static void rwlock_of_a_dead_reader(void)
{
    fresh_rwlock();
    child_run(acquire_and_be_killed, plait_rwlock_acquire_read);
    world->a = 0;
}

static void rwlock_of_a_dead_writer(void)
{
    fresh_rwlock();
    child_run(acquire_and_be_killed, plait_rwlock_acquire_write);
}

static void look_at_both(void)
{
    if (world->a != world->b)
        _exit(7);
}

static void read_both(void)
{
    if (plait_rwlock_acquire_read(&world->rwlock, PLAIT_FOREVER))
        _exit(4);
    look_at_both();
    if (plait_rwlock_release(&world->rwlock))
        _exit(5);
}

static void change_both(void)
{
    world->a++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    world->b++;
}

static void start_writing(void)
{
    if (plait_rwlock_acquire_write(&world->rwlock, PLAIT_FOREVER))
        _exit(4);
    change_both();
}

static void start_reading(void)
{
    if (plait_rwlock_acquire_read(&world->rwlock, PLAIT_FOREVER))
        _exit(4);
}

static void end_either(void)
{
    if (plait_rwlock_release(&world->rwlock))
        _exit(5);
}

static void write_both(void)
{
    start_writing();
    end_either();
}

static void write_then_read(void)
{
    if (plait_rwlock_downgrade(&world->rwlock))
        _exit(6);
    look_at_both();
    end_either();
}

/* As a reader that is told; where nobody is, as it finds it. */
static void read_or_repair(void)
{
    int err = plait_rwlock_acquire_read(&world->rwlock, PLAIT_FOREVER);

    if (err == EOWNERDEAD) {
        world->b = world->a;
        if (plait_rwlock_consistent(&world->rwlock))
            _exit(4);
        write_then_read();
    } else {
        _exit(5);
    }
}

/* Acquire, mend, release; `told`: the death of a writer may be told. NULL, or what is wrong. */
static const char *use_rwlock(int (*acquire)(plait_rwlock_t *, plait_time_t), bool told)
{
    switch (acquire(&world->rwlock, plait_after(PATIENCE))) {
    case 0:
        if (world->a != world->b)
            return "the lock was free, the counters differ";
        break;
    case EOWNERDEAD:
        if (!told)
            return "a death was told that harmed nobody";
        world->b = world->a;
        if (plait_rwlock_consistent(&world->rwlock))
            return "consistent failed";
        break;
    case ETIMEDOUT:
        return "the read-write lock hangs";
    default:
        return "acquire failed";
    }
    return plait_rwlock_release(&world->rwlock) ? "release failed" : NULL;
}

static const char *rwlock_goes_on_told(bool told)
{
    const char *wrong = use_rwlock(plait_rwlock_acquire_read, told);

    wrong = wrong ? wrong : use_rwlock(plait_rwlock_acquire_write, false);
    wrong = wrong ? wrong : use_rwlock(plait_rwlock_acquire_read, false);
    if (!wrong && plait_rwlock_readers(&world->rwlock))
        wrong = "a reader is left over";
    return wrong ? wrong : checked();
}

static const char *rwlock_goes_on(bool done) { return rwlock_goes_on_told(!done); }
static const char *rwlock_goes_on_silently(bool done) { return rwlock_goes_on_told(false); }

static int reading_helper(void *unused) { return use_rwlock(plait_rwlock_acquire_read, true) ? 1 : 0; }
static int reading_helper_untold(void *unused) { return use_rwlock(plait_rwlock_acquire_read, false) ? 1 : 0; }
static int writing_helper(void *unused) { return use_rwlock(plait_rwlock_acquire_write, true) ? 1 : 0; }
static int writing_helper_untold(void *unused) { return use_rwlock(plait_rwlock_acquire_write, false) ? 1 : 0; }

static const char *sleeper_gets_rwlock(bool done)
{
    return helper_end_by(PATIENCE) ? "the sleeper did not get the lock" : rwlock_goes_on_told(false);
}

/* ---- Waiting in vain for what the test holds ---- */

static void read_by_the_test(void)
{
    fresh_rwlock();
    plait_event_init(&world->event, PLAIT_SHARED);
    plait_rwlock_acquire_read(&world->rwlock, PLAIT_FOREVER);
}

static void written_by_the_test(void)
{
    fresh_rwlock();
    plait_event_init(&world->event, PLAIT_SHARED);
    plait_rwlock_acquire_write(&world->rwlock, PLAIT_FOREVER);
}

static void wait_in_vain(struct plait_wait_entry entry)
{
    const struct plait_wait_entry entries[] = { plait_any_event_wait(&world->event), entry };

    step_page->out = plait_wait_any(entries, 2, NULL, plait_after(MOMENT));
}

static void write_in_vain_among_others(void) { wait_in_vain(plait_any_rwlock_acquire_write(&world->rwlock)); }
static void read_in_vain_among_others(void) { wait_in_vain(plait_any_rwlock_acquire_read(&world->rwlock)); }

static void write_in_vain(void) { step_page->out = plait_rwlock_acquire_write(&world->rwlock, plait_after(MOMENT)); }
static void read_in_vain(void) { step_page->out = plait_rwlock_acquire_read(&world->rwlock, plait_after(MOMENT)); }

/* The readers that it kept out are let in. */
static const char *reading_goes_on(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "it wrote while the test read";
    if (child_run(reading_helper, NULL))
        return "readers are kept out for one who is gone";
    return plait_rwlock_release(&world->rwlock) ? "the test does not read any more" : rwlock_goes_on_told(false);
}

static const char *writing_goes_on(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "it read while the test wrote";
    if (!plait_rwlock_is_written(&world->rwlock))
        return "the test does not write any more";
    change_both();
    return plait_rwlock_release(&world->rwlock) ? "release failed" : rwlock_goes_on_told(false);
}

/* ---- Waiting while others wait too ---- */

/* Who slept beside the child gets what the test had; a writer that the child was is not told of, it has changed nothing. */
static const char *rwlock_is_given_to_sleeper(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "it got what the test has";
    if (plait_rwlock_release(&world->rwlock))
        return "the test has it no more";
    return sleeper_gets_rwlock(done);
}

/* A reader that comes behind a writer, which waits in vain for the test to stop reading. */
static int read_behind_child(void *unused)
{
    await_child();
    return reading_helper_untold(NULL);
}

static const char *reader_behind_is_let_in(bool done)
{
    if (waker_end_by(2 * PATIENCE))
        return "a reader is kept out for one who is gone";
    return reading_goes_on(done);
}

/* ---- As the one woken ---- */

static void rwlock_to_be_let_go(void)
{
    fresh_rwlock();
    plait_event_clear(&world->go);
}

static int reading_holder(void *unused)
{
    start_reading();
    await_go();
    return plait_rwlock_release(&world->rwlock);
}

static int writing_holder(void *unused)
{
    start_writing();
    await_go();
    return plait_rwlock_release(&world->rwlock);
}

static int let_go_before_reader(void *unused) { return let_holder_go_before(reading_helper); }
static int let_go_before_reader_untold(void *unused) { return let_holder_go_before(reading_helper_untold); }
static int let_go_before_writer(void *unused) { return let_holder_go_before(writing_helper); }
static int let_go_before_writer_untold(void *unused) { return let_holder_go_before(writing_helper_untold); }

/* The second was told if there was something to tell; so nobody is told after it. */
static const char *rwlock_is_passed_on(bool done)
{
    return others_end_well() ? rwlock_goes_on_told(false) : "the second sleeper did not get the lock";
}

/* Readers that wait behind a writer are let in when it releases, before the writers: the child may die after the second is gone. */
static const char *rwlock_is_passed_to_both(bool done)
{
    return others_end_well() ? rwlock_goes_on_told(!done) : "the second sleeper did not get the lock";
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "rwlock read acquire + release",
      .prepare = fresh_rwlock, .before = take_part, .operate = read_both, .verify = rwlock_goes_on_silently },
    { .name = "rwlock write acquire + release",
      .prepare = fresh_rwlock, .before = take_part, .operate = write_both, .verify = rwlock_goes_on },
    { .name = "rwlock write acquire + release, past a dead reader",
      .prepare = rwlock_of_a_dead_reader, .before = take_part, .operate = write_both, .verify = rwlock_goes_on },
    { .name = "rwlock read release, with a sleeping writer",
      .prepare = fresh_rwlock, .before = start_reading, .operate = end_either, .helper = writing_helper_untold,
      .verify = sleeper_gets_rwlock },
    { .name = "rwlock write release, with a sleeping reader",
      .prepare = fresh_rwlock, .before = start_writing, .operate = end_either, .helper = reading_helper,
      .verify = sleeper_gets_rwlock },
    { .name = "rwlock write release, with a sleeping writer",
      .prepare = fresh_rwlock, .before = start_writing, .operate = end_either, .helper = writing_helper,
      .verify = sleeper_gets_rwlock },
    { .name = "rwlock downgrade + release",
      .prepare = fresh_rwlock, .before = start_writing, .operate = write_then_read, .verify = rwlock_goes_on },
    { .name = "rwlock downgrade + release, with a sleeping reader",
      .prepare = fresh_rwlock, .before = start_writing, .operate = write_then_read, .helper = reading_helper,
      .verify = sleeper_gets_rwlock },
    { .name = "rwlock repair, downgrade, release",
      .prepare = rwlock_of_a_dead_writer, .before = take_part, .operate = read_or_repair, .verify = rwlock_goes_on },
    { .name = "rwlock write acquire, in vain",
      .prepare = read_by_the_test, .before = take_part, .operate = write_in_vain, .verify = reading_goes_on },
    { .name = "rwlock read acquire, in vain",
      .prepare = written_by_the_test, .before = take_part, .operate = read_in_vain, .verify = writing_goes_on },
    { .name = "rwlock write acquire among others, in vain, behind a reader",
      .prepare = read_by_the_test, .before = take_part, .operate = write_in_vain_among_others, .verify = reading_goes_on },
    { .name = "rwlock write acquire among others, in vain, behind a writer",
      .prepare = written_by_the_test, .before = take_part, .operate = write_in_vain_among_others, .verify = writing_goes_on },
    { .name = "rwlock read acquire among others, in vain",
      .prepare = written_by_the_test, .before = take_part, .operate = read_in_vain_among_others, .verify = writing_goes_on },
    { .name = "rwlock write acquire, in vain, beside a sleeping writer",
      .prepare = written_by_the_test, .before = take_part, .operate = write_in_vain, .helper = writing_helper_untold,
      .verify = rwlock_is_given_to_sleeper },
    { .name = "rwlock write acquire, in vain, beside a sleeping reader",
      .prepare = written_by_the_test, .before = take_part, .operate = write_in_vain, .helper = reading_helper_untold,
      .verify = rwlock_is_given_to_sleeper },
    { .name = "rwlock write acquire, in vain, behind a writer that waits for a reader",
      .prepare = read_by_the_test, .before = take_part, .operate = write_in_vain, .helper = writing_helper_untold,
      .verify = rwlock_is_given_to_sleeper },
    { .name = "rwlock write acquire, in vain, before a reader",
      .prepare = read_by_the_test, .before = take_part, .operate = write_in_vain, .waker = read_behind_child,
      .verify = reader_behind_is_let_in },
    { .name = "rwlock read acquire, in vain, beside a sleeping reader",
      .prepare = written_by_the_test, .before = take_part, .operate = read_in_vain, .helper = reading_helper_untold,
      .verify = rwlock_is_given_to_sleeper },
    { .name = "rwlock read acquire, in vain, beside a sleeping writer",
      .prepare = written_by_the_test, .before = take_part, .operate = read_in_vain, .helper = writing_helper_untold,
      .verify = rwlock_is_given_to_sleeper },
    { .name = "rwlock read acquire, in vain, behind a writer that waits for a reader",
      .prepare = read_by_the_test, .before = take_part, .operate = read_in_vain, .helper = writing_helper_untold,
      .verify = rwlock_is_given_to_sleeper },
    { .name = "rwlock read acquire + release, as the one woken, before a sleeping reader",
      .prepare = rwlock_to_be_let_go, .before = take_part, .operate = read_both, .helper = writing_holder,
      .waker = let_go_before_reader_untold, .verify = rwlock_is_passed_on },
    { .name = "rwlock read acquire + release, as the one woken, before a sleeping writer",
      .prepare = rwlock_to_be_let_go, .before = take_part, .operate = read_both, .helper = writing_holder,
      .waker = let_go_before_writer_untold, .verify = rwlock_is_passed_on },
    { .name = "rwlock write acquire + release, as the one woken by a writer, before a sleeping writer",
      .prepare = rwlock_to_be_let_go, .before = take_part, .operate = write_both, .helper = writing_holder,
      .waker = let_go_before_writer, .verify = rwlock_is_passed_on },
    { .name = "rwlock write acquire + release, as the one woken by a writer, before a sleeping reader",
      .prepare = rwlock_to_be_let_go, .before = take_part, .operate = write_both, .helper = writing_holder,
      .waker = let_go_before_reader, .verify = rwlock_is_passed_to_both },
    { .name = "rwlock write acquire + release, as the one woken by a reader, before a sleeping reader",
      .prepare = rwlock_to_be_let_go, .before = take_part, .operate = write_both, .helper = reading_holder,
      .waker = let_go_before_reader, .verify = rwlock_is_passed_on },
    { .name = "rwlock write acquire + release, as the one woken by a reader, before a sleeping writer",
      .prepare = rwlock_to_be_let_go, .before = take_part, .operate = write_both, .helper = reading_holder,
      .waker = let_go_before_writer, .verify = rwlock_is_passed_on },
};

const struct step_table step_rwlock = { ops, sizeof ops / sizeof ops[0] };
