/* SPDX-License-Identifier: MIT */
/* Tests of lib/arena/holds.h: taking, dropping, many, walking, and what stays of the dead. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

#include <plait.h>

#include "arena/arena.h"
#include "arena/holds.h"
#include "arena/member.h"
#include "support/child.h"
#include "support/cmocka.h"

static plait_arena_t *arena;
static struct plait__arena_header *h;
static uint64_t *place; /* where the objects of these tests lie: bare addresses */

static int make(void **state)
{
    if (plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20, .participants = 4 }))
        return 1;
    h = arena->base;
    return plait_arena_alloc(arena, 4096, (void **)&place);
}

static int drop(void **state)
{
    return plait_arena_free(arena);
}

static uint64_t object(unsigned number, enum plait__hold_kind kind)
{
    return plait__hold_of(plait__offset_in(h, &place[number]), kind);
}

static struct plait__slot *self(void)
{
    struct plait__slot *slot = NULL;

    return plait__member(h, &slot) ? NULL : slot;
}

static struct plait__hold *take(uint64_t of, uint64_t number)
{
    struct plait__hold *hold = NULL;

    return plait__hold_take(h, self(), of, &(struct plait__hold){ .number = number, .count = 7 }, &hold) ? NULL : hold;
}

/* How many holds of it are there, and how many of them orphans? */
static unsigned count(uint64_t of, unsigned *orphans_out)
{
    struct plait__holds_walk walk = plait__holds_of(h, of);
    unsigned all = 0, orphans = 0;

    while (plait__holds_next(&walk)) {
        all++;
        orphans += plait__holds_is_orphan(&walk);
    }
    if (orphans_out)
        *orphans_out = orphans;
    return all;
}

static void hold_is_there_from_take_to_drop(void **state)
{
    uint64_t of = object(0, PLAIT__HOLD_COUNT);
    struct plait__hold *hold;
    unsigned orphans;

    assert_int_equal(count(of, NULL), 0);
    assert_null(plait__hold_find(h, self(), of));
    hold = take(of, 12);
    assert_non_null(hold);
    assert_int_equal(hold->number, 12);
    assert_int_equal(hold->count, 7);
    assert_ptr_equal(plait__hold_find(h, self(), of), hold);
    assert_int_equal(count(of, &orphans), 1);
    assert_int_equal(orphans, 0);
    assert_int_equal(count(object(0, PLAIT__HOLD_WAIT), NULL), 0);
    assert_int_equal(count(object(1, PLAIT__HOLD_COUNT), NULL), 0);
    plait__hold_drop(hold);
    assert_int_equal(count(of, NULL), 0);
    assert_null(plait__hold_find(h, self(), of));
    assert_ptr_equal(take(of, 13), hold); /* free again */
}

static void holds_are_as_many_as_one_likes(void **state)
{
    enum { MANY = 4 * PLAIT__HOLDS_IN_ROW + 1 };
    struct plait__hold *holds[MANY];
    size_t used, used_later;

    for (unsigned i = 0; i < MANY; i++) {
        assert_non_null(holds[i] = take(object(i, PLAIT__HOLD_COUNT), i));
        for (unsigned j = 0; j < i; j++)
            assert_ptr_not_equal(holds[i], holds[j]);
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(holds[i]->number, i);
        assert_int_equal(count(object(i, PLAIT__HOLD_COUNT), NULL), 1);
        assert_ptr_equal(plait__hold_find(h, self(), object(i, PLAIT__HOLD_COUNT)), holds[i]);
    }
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
    plait_arena_usage(arena, &used, NULL, NULL);
    for (unsigned i = 0; i < MANY; i++)
        plait__hold_drop(holds[i]);
    for (unsigned i = 0; i < MANY; i++)
        assert_non_null(take(object(0, PLAIT__HOLD_COUNT), i));
    assert_int_equal(count(object(0, PLAIT__HOLD_COUNT), NULL), MANY);
    plait_arena_usage(arena, &used_later, NULL, NULL);
    assert_int_equal(used_later, used); /* the rows stay, and are used again */
}

static void hold_too_many_for_a_full_arena_is_refused(void **state)
{
    struct plait__hold *hold;
    void *memory;

    for (size_t size = 1 << 20; size >= 16; size /= 2)
        while (plait_arena_alloc(arena, size, &memory) == 0)
            ;
    for (unsigned i = 0; i < PLAIT__HOLDS_IN_ROW; i++)
        assert_non_null(take(object(i, PLAIT__HOLD_COUNT), i));
    assert_int_equal(plait__hold_take(h, self(), object(5, PLAIT__HOLD_COUNT), &(struct plait__hold){ 0 }, &hold), ENOSPC);
    plait__hold_drop(plait__hold_find(h, self(), object(2, PLAIT__HOLD_COUNT)));
    assert_non_null(take(object(5, PLAIT__HOLD_COUNT), 0));
}

/* ---- Ends ---- */

static int take_three_and(void (*end)(void))
{
    bool taken = take(object(0, PLAIT__HOLD_WAIT), 1) && take(object(1, PLAIT__HOLD_COUNT), 2) &&
                 take(object(2, PLAIT__HOLD_PERMIT), 3);

    if (end)
        end();
    return taken ? 0 : 1;
}

static int take_and_die(void *arg)
{
    take_three_and(NULL);
    return kill(getpid(), SIGKILL);
}

static void leave(void)
{
    plait__member_leave(h);
}

static int take_and_leave(void *arg)
{
    return take_three_and(leave);
}

static void assert_holds_and_orphans(const unsigned *expected)
{
    static const enum plait__hold_kind kinds[] = { PLAIT__HOLD_WAIT, PLAIT__HOLD_COUNT, PLAIT__HOLD_PERMIT };
    unsigned orphans;

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(count(object(i, kinds[i]), &orphans), expected[i]);
        assert_int_equal(orphans, expected[i]);
    }
}

static void holds_of_the_killed_are_orphans(void **state)
{
    assert_int_equal(child_run(take_and_die, NULL), CHILD_SIGNALLED + SIGKILL);
    assert_holds_and_orphans((unsigned[]){ 1, 1, 1 });
}

static void holds_of_a_thread_that_leaves_are_dropped_if_they_only_count(void **state)
{
    assert_int_equal(child_run(take_and_leave, NULL), 0);
    assert_holds_and_orphans((unsigned[]){ 1, 0, 1 });
}

static int look_for_my_own(void *arg)
{
    for (unsigned i = 0; i < 3; i++)
        if (plait__hold_find(h, self(), object(i, (enum plait__hold_kind)(i + 1))))
            return 1;
    return take_three_and(NULL);
}

/* The slot has a new owner; what its dead owners held is nobody's still, and in nobody's way. */
static void orphans_stay_orphans_when_their_slot_is_taken_over(void **state)
{
    for (unsigned i = 1; i <= 10; i++) {
        assert_int_equal(child_run(take_and_die, NULL), CHILD_SIGNALLED + SIGKILL);
        assert_holds_and_orphans((unsigned[]){ i, i, i });
    }
    assert_int_equal(child_run(look_for_my_own, NULL), 0);
    assert_holds_and_orphans((unsigned[]){ 11, 11, 11 });
    assert_int_equal(h->slots_high, 2); /* the test's own, and one for all children */
    assert_non_null(take(object(0, PLAIT__HOLD_WAIT), 0));
    for (unsigned i = 0; i < 3; i++)
        plait__holds_forget(h, object(i, (enum plait__hold_kind)(i + 1)));
    assert_int_equal(count(object(0, PLAIT__HOLD_WAIT), NULL), 1); /* the living's */
    assert_int_equal(count(object(1, PLAIT__HOLD_COUNT), NULL), 0);
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
}

static int join_slot(void *arg)
{
    struct plait__slot *slot = self();
    unsigned orphans;

    count(object(0, PLAIT__HOLD_WAIT), &orphans);
    return slot == plait__slot_at(h, 1) && orphans == 1 ? 0 : 1;
}

/* The bits of the generation come round while an orphan waits: it does not come back to life. */
static void orphan_stays_one_when_the_generation_comes_round(void **state)
{
    uint32_t at_death;
    unsigned orphans;

    assert_int_equal(child_run(take_and_die, NULL), CHILD_SIGNALLED + SIGKILL);
    at_death = plait__slot_at(h, 1)->generation;
    for (uint32_t distance = 0; distance < 4; distance++) {
        plait__slot_at(h, 1)->generation = at_death + 0x10000 - distance;
        assert_int_equal(child_run(join_slot, NULL), 0);
        assert_int_equal(count(object(0, PLAIT__HOLD_WAIT), &orphans), 1);
        assert_int_equal(orphans, 1);
    }
}

/* ---- Nesting ---- */

static uint64_t handler_faults, handler_runs;
static struct plait__hold *kept[3];

/* Takes two, and drops one that an earlier run has kept. */
static void take_in_handler(int number)
{
    struct plait__hold *a = take(object(10, PLAIT__HOLD_COUNT), 10), *b = take(object(11, PLAIT__HOLD_COUNT), 11);
    unsigned i = handler_runs++ % 3;

    handler_faults += !a || !b || a == b || (kept[i] && kept[i]->number != 10);
    if (kept[i])
        plait__hold_drop(kept[i]);
    kept[i] = a;
    if (b)
        plait__hold_drop(b);
}

static void *take_and_drop_while_interrupted(void *arg)
{
    uint64_t faults = 0, i = 0;

    while (handler_runs < 3000) {
        struct plait__hold *a = take(object(1, PLAIT__HOLD_COUNT), i), *b = take(object(2, PLAIT__HOLD_COUNT), ~i);

        faults += !a || !b || a == b || a->number != i || b->number != ~i;
        faults += plait__hold_find(h, self(), object(1, PLAIT__HOLD_COUNT)) != a;
        plait__hold_drop(a);
        plait__hold_drop(b);
        i++;
    }
    *(uint64_t *)arg = faults;
    return NULL;
}

static void holds_are_taken_and_dropped_by_signal_handlers_too(void **state)
{
    const struct itimerval often = { { 0, 20 }, { 0, 20 } }, never = { { 0, 0 }, { 0, 0 } };
    uint64_t faults = 1;

    assert_non_null(take(object(0, PLAIT__HOLD_COUNT), 0)); /* so that the handler needs no membership made */
    for (unsigned i = 0; i < 2 * PLAIT__HOLDS_IN_ROW; i++)  /* nor a row */
        assert_non_null(take(object(20, PLAIT__HOLD_COUNT), 0));
    while (count(object(20, PLAIT__HOLD_COUNT), NULL))
        plait__hold_drop(plait__hold_find(h, self(), object(20, PLAIT__HOLD_COUNT)));
    signal(SIGALRM, take_in_handler);
    setitimer(ITIMER_REAL, &often, NULL);
    take_and_drop_while_interrupted(&faults);
    setitimer(ITIMER_REAL, &never, NULL);
    signal(SIGALRM, SIG_IGN);
    assert_int_equal(faults, 0);
    assert_int_equal(handler_faults, 0);
    assert_int_equal(count(object(10, PLAIT__HOLD_COUNT), NULL), 3);
    assert_int_equal(count(object(1, PLAIT__HOLD_COUNT), NULL), 0);
    assert_int_equal(self()->row.taking, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(hold_is_there_from_take_to_drop),
        CASE(holds_are_as_many_as_one_likes),
        CASE(hold_too_many_for_a_full_arena_is_refused),
        CASE(holds_of_the_killed_are_orphans),
        CASE(holds_of_a_thread_that_leaves_are_dropped_if_they_only_count),
        CASE(orphans_stay_orphans_when_their_slot_is_taken_over),
        CASE(orphan_stays_one_when_the_generation_comes_round),
        CASE(holds_are_taken_and_dropped_by_signal_handlers_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
