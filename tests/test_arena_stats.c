/* SPDX-License-Identifier: MIT */
/* Tests of lib/arena: figures, quota, hints. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <plait.h>

#include "arena/arena.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { LIMIT = 4 << 20 };

static plait_arena_t *arena;

static int make(void **state)
{
    return plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = LIMIT, .participants = 8 });
}

static int drop(void **state)
{
    return plait_arena_check(arena, NULL, 0) || plait_arena_free(arena);
}

static struct plait_arena_stats stats(void)
{
    struct plait_arena_stats s;

    memset(&s, 0xee, sizeof s);
    assert_int_equal(plait_arena_stats(arena, &s), 0);
    return s;
}

static void *alloc(size_t size)
{
    void *memory = NULL;

    assert_int_equal(plait_arena_alloc(arena, size, &memory), 0);
    return memory;
}

/* ---- Figures ---- */

static void figures_of_a_new_arena(void **state)
{
    struct plait_arena_stats s = stats();

    assert_int_equal(s.used, 0);
    assert_int_equal(s.put_by, 0);
    assert_in_range(s.reserved, 1, LIMIT);
    assert_int_equal(s.limit, LIMIT);
    assert_int_equal(s.quota, 0);
    assert_int_equal(s.allocs, 0);
    assert_int_equal(s.deallocs, 0);
    assert_int_equal(s.participants, 1); /* by asking */
    assert_int_equal(s.participants_most, 8);
    assert_int_equal(s.hints, 0);
    assert_int_equal(s.hints_taken, 0);
}

static void figures_count_what_is_done(void **state)
{
    void *memory[100], *large = alloc(100000);
    struct plait_arena_stats s;
    size_t used;

    for (int i = 0; i < 100; i++)
        memory[i] = alloc(100);
    s = stats();
    assert_int_equal(s.allocs, 101);
    assert_int_equal(s.deallocs, 0);
    assert_true(s.allocs_locked < s.allocs); /* most from the stock */
    assert_int_equal(s.used, 100 * 128 + 114688);
    assert_int_equal(plait_arena_usage(arena, &used, NULL, NULL), 0);
    assert_int_equal(used, s.used);
    for (int i = 0; i < 100; i++)
        assert_int_equal(plait_arena_dealloc(arena, memory[i]), 0);
    assert_int_equal(plait_arena_dealloc(arena, large), 0);
    assert_int_equal(plait_arena_dealloc(arena, large), EINVAL);
    s = stats();
    assert_int_equal(s.deallocs, 101);
    assert_int_equal(s.used, 0);
    assert_in_range(s.put_by, 1, LIMIT / 8);
    assert_true(s.deallocs_locked < s.deallocs);
}

static void largest_can_be_allocated(void **state)
{
    for (int round = 0; round < 40; round++) {
        struct plait_arena_stats s = stats();

        if (s.largest == 0)
            break;
        alloc(s.largest);
        assert_true(stats().used <= LIMIT);
    }
    assert_in_range(stats().used, LIMIT * 95u / 100, LIMIT);
}

static void *take_part(void *err_out)
{
    void *memory;

    *(int *)err_out = plait_arena_alloc(arena, 1, &memory) || plait_arena_dealloc(arena, memory) || stats().participants != 2;
    return NULL;
}

static void figures_count_participants(void **state)
{
    pthread_t thread;
    int err;

    assert_int_equal(stats().participants, 1);
    assert_int_equal(pthread_create(&thread, NULL, take_part, &err), 0);
    pthread_join(thread, NULL);
    assert_int_equal(err, 0);
    assert_int_equal(stats().participants, 1);
    assert_int_equal(stats().allocs, 1);
}

static void figures_for_an_older_or_newer_program(void **state)
{
    struct { struct plait_arena_stats s; char more[64]; } newer;

    memset(&newer, 0xee, sizeof newer);
    assert_int_equal(plait_arena_stats_sized(arena, &newer.s, 8), 0);
    assert_int_equal(newer.s.used, 0);
    assert_int_equal((unsigned char)((char *)&newer)[8], 0xee);
    assert_int_equal(plait_arena_stats_sized(arena, &newer.s, sizeof newer), 0);
    assert_int_equal(newer.s.limit, LIMIT);
    for (size_t i = 0; i < sizeof newer.more; i++)
        assert_int_equal(newer.more[i], 0);
}

/* ---- Quota ---- */

static void quota_bounds_what_is_in_use(void **state)
{
    enum { QUOTA = 300000 };
    static void *blocks[3000];
    void *memory;
    int count = 0;

    assert_int_equal(plait_arena_set_quota(arena, QUOTA), 0);
    assert_int_equal(stats().quota, QUOTA);
    assert_int_equal(plait_arena_alloc(arena, QUOTA, &memory), ENOSPC); /* with its header */
    while (plait_arena_alloc(arena, 200, &blocks[count]) == 0)
        count++;
    assert_in_range(stats().used, QUOTA - 256, QUOTA);
    assert_int_equal(plait_arena_alloc(arena, 200, &memory), ENOSPC);
    assert_int_equal(plait_arena_dealloc(arena, blocks[--count]), 0);
    assert_int_equal(plait_arena_alloc(arena, 200, &blocks[count++]), 0);

    /* what others have put by does not count */
    while (count > 0)
        assert_int_equal(plait_arena_dealloc(arena, blocks[--count]), 0);
    assert_true(stats().put_by > 0);
    assert_int_equal(plait_arena_alloc(arena, 200000, &memory), 0);
    assert_int_equal(plait_arena_alloc(arena, stats().largest, &memory), 0);
}

static void quota_may_come_and_go(void **state)
{
    void *first = alloc(500000), *memory;

    assert_int_equal(plait_arena_set_quota(arena, 1000), 0);
    assert_int_equal(stats().used, 524288);
    assert_int_equal(stats().largest, 0);
    assert_int_equal(plait_arena_alloc(arena, 1, &memory), ENOSPC);
    assert_int_equal(plait_arena_dealloc(arena, first), 0);
    assert_int_equal(plait_arena_alloc(arena, 1, &memory), 0);
    assert_int_equal(plait_arena_set_quota(arena, 0), 0);
    alloc(2 << 20);
}

static int alloc_in_child(void *size)
{
    void *memory;

    return plait_arena_alloc(arena, *(size_t *)size, &memory);
}

static void quota_is_for_all_participants_together(void **state)
{
    size_t size = 60000;

    assert_int_equal(plait_arena_set_quota(arena, 100000), 0);
    assert_int_equal(child_run(alloc_in_child, &size), 0);
    assert_int_equal(child_run(alloc_in_child, &size), ENOSPC);
}

static void quota_can_be_an_option(void **state)
{
    plait_arena_t *a;
    void *memory;

    assert_int_equal(plait_arena_new(&a, &(struct plait_arena_opts){ .limit = LIMIT, .participants = 8, .quota = 5000 }), 0);
    assert_int_equal(plait_arena_alloc(a, 6000, &memory), ENOSPC);
    assert_int_equal(plait_arena_alloc(a, 4000, &memory), 0);
    assert_int_equal(plait_arena_free(a), 0);
}

/* ---- Hints: whether the system takes them is its affair, but the figures tell, and the arena works ---- */

static void assert_works_with(struct plait_arena_opts opts)
{
    struct plait_arena_stats s;
    plait_arena_t *a;
    void *memory;

    assert_int_equal(plait_arena_new(&a, &opts), 0);
    assert_int_equal(plait_arena_stats(a, &s), 0);
    assert_int_equal(s.hints, opts.hints);
    assert_int_equal(s.hints_taken & ~opts.hints, 0);
    assert_int_equal(plait_arena_alloc(a, 3 << 20, &memory), 0);
    memset(memory, 1, 3 << 20);
    assert_int_equal(plait_arena_dealloc(a, memory), 0);
    assert_int_equal(plait_arena_check(a, NULL, 0), 0);
    assert_int_equal(plait_arena_free(a), 0);
}

static void hints_are_no_errors(void **state)
{
    static const unsigned hints[] = { PLAIT_HINT_HUGE_PAGES, PLAIT_HINT_INTERLEAVE, PLAIT_HINT_LOCAL,
                                      PLAIT_HINT_HUGE_PAGES | PLAIT_HINT_INTERLEAVE };

    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) {
        void *memory = mmap(NULL, LIMIT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert_works_with((struct plait_arena_opts){ .limit = LIMIT, .participants = 8, .hints = hints[i] });
        assert_works_with((struct plait_arena_opts){ .memory = memory, .memory_size = LIMIT, .participants = 8, .hints = hints[i] });
        munmap(memory, LIMIT);
    }
}

static void hints_unknown_or_contrary_are_refused(void **state)
{
    static const unsigned hints[] = { 8, 1u << 31, PLAIT_HINT_INTERLEAVE | PLAIT_HINT_LOCAL };
    plait_arena_t *a;

    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        assert_int_equal(plait_arena_new(&a, &(struct plait_arena_opts){ .hints = hints[i] }), EINVAL);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(figures_of_a_new_arena),
        CASE(figures_count_what_is_done),
        CASE(largest_can_be_allocated),
        CASE(figures_count_participants),
        CASE(figures_for_an_older_or_newer_program),
        CASE(quota_bounds_what_is_in_use),
        CASE(quota_may_come_and_go),
        CASE(quota_is_for_all_participants_together),
        cmocka_unit_test(quota_can_be_an_option),
        cmocka_unit_test(hints_are_no_errors),
        cmocka_unit_test(hints_unknown_or_contrary_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
