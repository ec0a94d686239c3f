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

/* ---- Sleepers that give up or are woken; bounds ---- */

static void take_permit_in_vain(void)
{
    step_page->out = plait_sem_acquire(&world->sem, 1, plait_after(MOMENT));
}

static const char *sleeper_beside_gets_permit(bool done)
{
    if (plait_sem_value(&world->sem) != 0 || (done && step_page->out != ETIMEDOUT))
        return "a permit from nowhere";
    plait_sem_release(&world->sem, 1);
    if (helper_end_by(PATIENCE))
        return "the sleeper did not get the permit";
    return plait_sem_value(&world->sem) == 0 ? checked() : "a permit too many";
}

/* Each release wakes one at most, and the second one finds no mark of a sleeper: the child has to wake on. */
static int release_twice(void *unused)
{
    pid_t second = sleep_behind_child(sem_helper);

    if (plait_sem_release(&world->sem, 1) || plait_sem_release(&world->sem, 1))
        return 1;
    return child_end_by(second, PATIENCE);
}

static const char *second_gets_permit_too(bool done)
{
    if (!others_end_well())
        return "the second sleeper did not get a permit";
    return plait_sem_value(&world->sem) <= !done ? checked() : "a permit too many";
}

static int sem_helper_of_two(void *unused)
{
    return plait_sem_acquire(&world->sem, 2, plait_after(PATIENCE));
}

static void give_two_permits(void)
{
    step_page->out = plait_sem_release(&world->sem, 2);
}

static const char *sleeper_gets_two_permits(bool done)
{
    if (plait_sem_value(&world->sem) == 0 && !done)
        plait_sem_release(&world->sem, 2); /* they had not been given, or the helper has them already */
    if (helper_end_by(PATIENCE))
        return "the sleeper did not get its permits";
    return plait_sem_value(&world->sem) % 2 == 0 ? checked() : "an odd permit";
}

static void all_of_a_bound(void) { plait_sem_init(&world->sem, 5, PLAIT_SHARED | PLAIT_BOUNDED); }
static void as_many_as_there_can_be(void) { plait_sem_init(&world->sem, PLAIT_SEM_MAX, PLAIT_SHARED); }

/*
 * Refused, and nothing done: nobody may see a permit more, then or later. `loose`: but who is killed before it has taken back what
 * was too much may have given it.
 */
static const char *bound_holds(bool done, unsigned bound, bool loose)
{
    int err;

    if (done && step_page->out != EOVERFLOW)
        return "it was not refused";
    if (plait_sem_value(&world->sem) != bound)
        return "a permit too many or too few";
    if (plait_sem_release(&world->sem, 1) != EOVERFLOW)
        return "the next was not refused";
    if (plait_sem_acquire(&world->sem, bound, PLAIT_NOW))
        return "there are not as many as the bound says";
    err = plait_sem_acquire(&world->sem, 1, PLAIT_NOW);
    if (err != ETIMEDOUT && (err || !loose || done || plait_sem_acquire(&world->sem, 1, PLAIT_NOW) != ETIMEDOUT))
        return "there are more than the bound says";
    if (plait_sem_release(&world->sem, 1) || plait_sem_value(&world->sem) != 1)
        return "it does not go on";
    return checked();
}

static const char *five_are_the_bound(bool done) { return bound_holds(done, 5, false); }
static const char *maximum_is_the_bound(bool done) { return bound_holds(done, PLAIT_SEM_MAX, true); }

static void owned_by_the_test(void)
{
    fresh_owned();
    have_owned();
}

static void take_owned_in_vain(void)
{
    step_page->out = plait_sem_acquire(&world->owned, 2, plait_after(MOMENT));
}

static const char *sleeper_beside_gets_owned(bool done)
{
    if (plait_sem_value(&world->owned) != 0 || (done && step_page->out != ETIMEDOUT))
        return "a permit from nowhere";
    if (plait_sem_release(&world->owned, OWNED))
        return "the test has its permits no more";
    return sleeper_gets_owned(done);
}

static int owned_holder(void *unused)
{
    have_owned();
    await_go();
    return plait_sem_release(&world->owned, 2) || plait_sem_release(&world->owned, OWNED - 2);
}

static void owned_to_be_let_go(void)
{
    fresh_owned();
    plait_event_clear(&world->go);
}

static int release_owned_for_two(void *unused) { return let_holder_go_before(owned_helper); }

static const char *owned_are_passed_on(bool done)
{
    return others_end_well() ? all_permits_are_back(done) : "the permits are stuck";
}

static void take_owned_by_any(void)
{
    const struct plait_wait_entry entries[] = { plait_any_event_wait(&world->event), plait_any_sem_acquire(&world->owned, 2) };

    step_page->out = plait_wait_any(entries, 2, NULL, PLAIT_FOREVER);
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
    { .name = "sem acquire, in vain, beside a sleeper",
      .prepare = no_permit, .before = take_part, .operate = take_permit_in_vain, .helper = sem_helper,
      .verify = sleeper_beside_gets_permit },
    { .name = "sem acquire, as the one woken, before a sleeper",
      .prepare = no_permit, .before = take_part, .operate = take_permit, .waker = release_twice,
      .verify = second_gets_permit_too },
    { .name = "sem release of two, with a sleeper that wants both",
      .prepare = no_permit, .operate = give_two_permits, .helper = sem_helper_of_two, .verify = sleeper_gets_two_permits },
    { .name = "sem release, above the bound",
      .prepare = all_of_a_bound, .before = take_part, .operate = give_permit, .verify = five_are_the_bound },
    { .name = "sem release, above what is possible",
      .prepare = as_many_as_there_can_be, .before = take_part, .operate = give_permit, .verify = maximum_is_the_bound },
    { .name = "owned sem acquire, in vain, beside a sleeper",
      .prepare = owned_by_the_test, .before = know_myself, .operate = take_owned_in_vain, .helper = owned_helper,
      .verify = sleeper_beside_gets_owned },
    { .name = "owned sem acquire, as the one woken, before a sleeper",
      .prepare = owned_to_be_let_go, .before = know_myself, .operate = take_owned, .helper = owned_holder,
      .waker = release_owned_for_two, .verify = owned_are_passed_on },
    { .name = "owned sem acquire by wait_any",
      .prepare = fresh_owned, .before = know_myself, .operate = take_owned_by_any, .verify = all_permits_are_back },
};

const struct step_table step_sem = { ops, sizeof ops / sizeof ops[0] };
