/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: semaphore, plain and owned. */
#include "kill/world.h"

#include "arena/start_time.h"

/* ---- Semaphore ---- */

static void five_permits(void)
{
    plait_sem_init(&world->sem, 5, PLAIT_SHARED);
}

static void take_permit(void)
{
    step_page->out = plait_sem_acquire(&world->sem, 1, PLAIT_FOREVER);
}

static void give_permit(void)
{
    step_page->out = plait_sem_release(&world->sem, 1);
}

static const char *permit_is_taken_or_not(bool done)
{
    unsigned value = plait_sem_value(&world->sem);

    return value == 4 || (value == 5 && !done) ? checked() : "a permit too many or too few";
}

static const char *permit_is_given_or_not(bool done)
{
    unsigned value = plait_sem_value(&world->sem);

    return value == 6 || (value == 5 && !done) ? checked() : "a permit too many or too few";
}

static int sem_helper(void *unused)
{
    return plait_sem_acquire(&world->sem, 1, plait_after(PATIENCE));
}

static const char *sleeper_gets_permit(bool done)
{
    if (plait_sem_value(&world->sem) == 0 && !done)
        plait_sem_release(&world->sem, 1); /* it had not been given, or the helper has it already */
    if (helper_end_by(PATIENCE) != 0)
        return "the sleeper did not get the permit";
    return plait_sem_value(&world->sem) <= 1 ? checked() : "a permit too many";
}

/* ---- Owned semaphore: whatever a dead process had, all permits are there for the next who asks ---- */

enum { OWNED = 5 };

static void fresh_owned(void)
{
    if (world->owned.owned && plait_sem_fini(&world->owned))
        abort();
    if (plait_sem_init(&world->owned, OWNED, PLAIT_SHARED | PLAIT_OWNED))
        abort();
    used_before = used();
}

/* Asking /proc who one is takes thousands of instructions, once. */
static void know_myself(void)
{
    take_part();
    if (plait__process_id() == 0)
        _exit(3);
}

static void take_owned(void)
{
    step_page->out = plait_sem_acquire(&world->owned, 2, PLAIT_FOREVER);
}

static void have_owned(void)
{
    if (plait_sem_acquire(&world->owned, OWNED, PLAIT_NOW))
        _exit(3);
}

static void give_owned(void)
{
    step_page->out = plait_sem_release(&world->owned, 3);
}

static const char *all_permits_are_back(bool done)
{
    if (plait_sem_acquire(&world->owned, OWNED, PLAIT_NOW))
        return "permits are lost";
    if (plait_sem_acquire(&world->owned, 1, PLAIT_NOW) != ETIMEDOUT)
        return "a permit too many";
    if (plait_sem_release(&world->owned, OWNED) || plait_sem_value(&world->owned) != OWNED)
        return "they cannot be given back";
    return used() == used_before ? checked() : "memory is lost";
}

static int owned_helper(void *unused)
{
    return plait_sem_acquire(&world->owned, 2, plait_after(PATIENCE));
}

static const char *sleeper_gets_owned(bool done)
{
    return helper_end_by(PATIENCE) ? "the sleeper did not get its permits" : all_permits_are_back(done);
}

/* Dies with two permits and the guard, having changed the value. */
static int die_in_guard(void *unused)
{
    plait_lock_t *guard = plait__place_memory(arena->base, world->owned.owned);

    if (plait_sem_acquire(&world->owned, 2, PLAIT_NOW) == 0 && plait_lock_acquire(guard, PLAIT_NOW) == 0) {
        world->owned.word -= 1;
        kill(getpid(), SIGKILL);
    }
    return 1;
}

static void owned_of_a_dead_guard(void)
{
    fresh_owned();
    if (child_run(die_in_guard, NULL) != CHILD_SIGNALLED + SIGKILL)
        abort();
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "sem acquire",
      .prepare = five_permits, .before = take_part, .operate = take_permit, .verify = permit_is_taken_or_not },
    { .name = "sem release",
      .prepare = five_permits, .before = take_part, .operate = give_permit, .verify = permit_is_given_or_not },
    { .name = "sem release, with a sleeper",
      .prepare = no_permit, .operate = give_permit, .helper = sem_helper, .verify = sleeper_gets_permit },
    { .name = "owned sem acquire",
      .prepare = fresh_owned, .before = know_myself, .operate = take_owned, .verify = all_permits_are_back },
    { .name = "owned sem release",
      .prepare = fresh_owned, .before = have_owned, .operate = give_owned, .verify = all_permits_are_back },
    { .name = "owned sem release, with a sleeper",
      .prepare = fresh_owned, .before = have_owned, .operate = give_owned, .helper = owned_helper,
      .verify = sleeper_gets_owned },
    { .name = "owned sem repair",
      .prepare = owned_of_a_dead_guard, .before = know_myself, .operate = take_owned, .verify = all_permits_are_back },
};

const struct step_table step_sem = { ops, sizeof ops / sizeof ops[0] };
