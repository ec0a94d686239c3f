/* SPDX-License-Identifier: MIT */
/* Tests of lib/arena: stocks, from which participants allocate without the arena's lock; and what they leave when they are killed. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include <plait.h>

#include "arena/arena.h"
#include "arena/member.h"
#include "arena/stock.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "wait/robust_list.h"

enum { LIMIT = 8 << 20, SOME = 1000 };

static plait_arena_t *arena;

static int make(void **state)
{
    return plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = LIMIT, .participants = 16 });
}

static int drop(void **state)
{
    char text[200];
    int err = plait_arena_check(arena, text, sizeof text);

    if (err)
        print_error("check: %s\n", text);
    return err ? err : plait_arena_free(arena);
}

static size_t used(void)
{
    size_t bytes = 0;

    assert_int_equal(plait_arena_usage(arena, &bytes, NULL, NULL), 0);
    return bytes;
}

static int put_by(size_t size, int count)
{
    void *memory[100];
    int err = 0;

    for (int i = 0; i < count; i++)
        err |= plait_arena_alloc(arena, size, &memory[i]);
    for (int i = 0; i < count; i++)
        err |= plait_arena_dealloc(arena, memory[i]);
    return err;
}

/* ---- Without the lock ---- */

struct holder {
    plait_event_t held, go;
    int err;
};

static void *hold_the_lock(void *arg)
{
    struct holder *h = arg;

    h->err = plait__arena_lock(arena->base);
    plait_event_set(&h->held);
    plait_event_wait(&h->go, PLAIT_FOREVER);
    plait__arena_unlock(arena->base);
    return NULL;
}

static void stock_serves_while_the_lock_is_held(void **state)
{
    struct holder h = { .err = -1 };
    pthread_t thread;
    uint64_t *place;
    void *memory;

    assert_int_equal(plait_arena_alloc(arena, sizeof *place, (void **)&place), 0);
    assert_int_equal(put_by(SOME, 10), 0);
    assert_int_equal(pthread_create(&thread, NULL, hold_the_lock, &h), 0);
    assert_int_equal(plait_event_wait(&h.held, PLAIT_FOREVER), 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(plait_arena_alloc(arena, SOME, &memory), 0);
        assert_int_equal(plait__arena_alloc_into(arena->base, SOME, place), 0);
        assert_int_equal(plait_arena_dealloc(arena, memory), 0);
        assert_int_equal(plait__arena_dealloc_from(arena->base, place), 0);
        assert_int_equal(*place, 0);
    }
    plait_event_set(&h.go);
    pthread_join(thread, NULL);
    assert_int_equal(h.err, 0);
}

static void *put_some_by(void *err_out)
{
    *(int *)err_out = put_by(SOME, 20);
    return NULL;
}

static int in_thread(void *(*function)(void *))
{
    pthread_t thread;
    int err = -1;

    if (pthread_create(&thread, NULL, function, &err))
        return -2;
    pthread_join(thread, NULL);
    return err;
}

/* What the slot's owner before us gave back last is what we get first. */
static void *last;

static void *take_and_give_last(void *err_out)
{
    void *memory;
    int err = plait_arena_alloc(arena, SOME, &memory);

    if (err == 0 && last && memory != last)
        err = -1;
    if (err == 0 && !last)
        err = put_by(SOME, 20);
    last = memory;
    *(int *)err_out = err ? err : plait_arena_dealloc(arena, memory);
    return NULL;
}

static void stock_stays_with_the_slot(void **state)
{
    last = NULL;
    assert_int_equal(put_by(1, 1), 0); /* so that the first slot is ours */
    for (int i = 0; i < 10; i++)
        assert_int_equal(in_thread(take_and_give_last), 0);
    assert_int_equal(used(), 0);
}

static void stocks_of_others_are_drained_before_memory_is_at_an_end(void **state)
{
    void *memory;

    assert_int_equal(in_thread(put_some_by), 0);
    assert_true(plait__stocks_figures(arena->base).bytes > 0);
    for (size_t size = LIMIT; size; size = size * 3 / 4)
        while (plait_arena_alloc(arena, size, &memory) == 0)
            ;
    assert_int_equal(plait__stocks_figures(arena->base).bytes, 0);
    assert_in_range(used(), LIMIT * 98u / 100, LIMIT);
}

static void stocks_are_an_eighth_of_the_arena_at_most(void **state)
{
    static void *blocks[20000];
    size_t count = 0;

    for (size_t size = 1; size < 9000; size = size * 5 / 4 + 1)
        for (int i = 0; i < 80; i++)
            assert_int_equal(plait_arena_alloc(arena, size, &blocks[count++]), 0);
    while (count) {
        assert_int_equal(plait_arena_dealloc(arena, blocks[--count]), 0);
        assert_in_range(plait__stocks_figures(arena->base).bytes, 0, LIMIT / 8 / 16);
    }
    assert_true(plait__stocks_figures(arena->base).bytes > 0);
    assert_int_equal(used(), 0);
}

static void stock_is_not_for_small_arenas(void **state)
{
    plait_arena_t *whole = arena;
    uint64_t bytes;
    int err;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1 << 20, .participants = 512 }), 0);
    err = put_by(SOME, 50);
    bytes = plait__stocks_figures(arena->base).bytes;
    assert_int_equal(plait_arena_free(arena), 0);
    arena = whole;
    assert_int_equal(err, 0);
    assert_int_equal(bytes, 0);
}

/* ---- Mistakes ---- */

static void *block; /* atomic by the barrier */
static plait_barrier_t together;

static void *free_it(void *count_out)
{
    for (int i = 0; i < 300; i++) {
        plait_barrier_wait(&together, NULL, PLAIT_FOREVER);
        *(int *)count_out += plait_arena_dealloc(arena, block) == 0;
        plait_barrier_wait(&together, NULL, PLAIT_FOREVER);
    }
    return NULL;
}

static void block_freed_by_two_at_once_is_freed_once(void **state)
{
    int first = 0, second = 0;
    pthread_t threads[2];

    assert_int_equal(plait_barrier_init(&together, 3, 0), 0);
    assert_int_equal(pthread_create(&threads[0], NULL, free_it, &first), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, free_it, &second), 0);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(plait_arena_alloc(arena, SOME, &block), 0);
        plait_barrier_wait(&together, NULL, PLAIT_FOREVER);
        plait_barrier_wait(&together, NULL, PLAIT_FOREVER);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    assert_int_equal(first + second, 300);
    assert_int_equal(used(), 0);
    plait_barrier_fini(&together);
}

static void block_in_a_stock_cannot_be_freed(void **state)
{
    void *memory;

    assert_int_equal(put_by(SOME, 10), 0);
    assert_int_equal(plait_arena_alloc(arena, SOME, &memory), 0);
    assert_int_equal(plait_arena_dealloc(arena, memory), 0);
    assert_int_equal(plait_arena_dealloc(arena, memory), EINVAL);
    assert_int_equal(used(), 0);
}

static void stock_itself_cannot_be_freed(void **state)
{
    assert_int_equal(put_by(SOME, 3), 0);
    assert_non_null(plait__member_cache.stock);
    assert_int_equal(plait_arena_dealloc(arena, plait__member_cache.stock), EINVAL);
    assert_int_equal(plait_arena_dealloc(arena, &plait__member_cache.stock->bytes), EINVAL);
}

static void place_outside_the_arena_is_refused(void **state)
{
    uint64_t outside = 0, *inside;

    assert_int_equal(plait_arena_alloc(arena, 2 * sizeof *inside, (void **)&inside), 0);
    assert_int_equal(plait__arena_alloc_into(arena->base, SOME, &outside), EINVAL);
    assert_int_equal(plait__arena_alloc_into(arena->base, SOME, (uint64_t *)(void *)((char *)inside + 4)), EINVAL);
    assert_int_equal(plait__arena_alloc_into(arena->base, SOME, inside), 0);
    outside = *inside;
    assert_int_equal(plait__arena_dealloc_from(arena->base, &outside), EINVAL);
    assert_int_equal(outside, *inside);
    assert_int_equal(plait__arena_dealloc_from(arena->base, inside), 0);
    assert_int_equal(plait__arena_dealloc_from(arena->base, inside), 0);
    *inside = outside; /* names what is not in use */
    assert_int_equal(plait__arena_dealloc_from(arena->base, inside), EINVAL);
    *inside = (uint64_t)LIMIT * 2;
    assert_int_equal(plait__arena_dealloc_from(arena->base, inside), EINVAL);
}

/* ---- Sizes ---- */

static void class_for_a_size_is_the_smallest_that_holds_it(void **state)
{
    unsigned class = 0;

    for (uint64_t total = 1; total < 1 << 20; total++) {
        while (plait__class_size(class) < total)
            class++;
        if (plait__class_for(total) != class)
            fail_msg("%llu: %u, not %u", (unsigned long long)total, plait__class_for(total), class);
    }
    for (class = 0; class < PLAIT__ARENA_CLASSES; class++) {
        assert_int_equal(plait__class_for(plait__class_size(class)), class);
        assert_int_equal(plait__class_for(plait__class_size(class) + 1), class + 1);
    }
}

/* ---- Deaths ---- */

/* The kernel marks in the list's order: who hears of a death by a lock must find the life word marked. */
static bool life_words_come_first(void)
{
    const struct plait__robust_self *me = plait__robust_me();
    bool lock_seen = false;

    for (void *entry = me->head->first; entry != &me->head->first; entry = *(void **)entry) {
        const plait_lock_t *lock = (const plait_lock_t *)((const char *)entry - offsetof(plait_lock_t, next));
        plait_arena_t *a = plait_arena_of(lock);
        uint64_t offset = a ? plait__offset_in(a->base, lock) : 0;
        bool life = a && offset >= plait__slots_offset() && offset < plait__heap_offset(a->base->participants);

        if (life && lock_seen)
            return false;
        lock_seen = lock_seen || (a && !life);
    }
    return lock_seen;
}

static void *take_part_in_many(void *fault_out)
{
    enum { ARENAS = 3 };
    plait_arena_t *arenas[ARENAS];
    plait_lock_t *locks[ARENAS];
    int *fault = fault_out;

    *fault = 0;
    for (int i = 0; i < ARENAS; i++) {
        if (plait_arena_new(&arenas[i], &(struct plait_arena_opts){ .limit = 1 << 20, .participants = 8 }) ||
            plait_arena_alloc(arenas[i], sizeof *locks[i], (void **)&locks[i]) || plait_lock_init(locks[i], PLAIT_SHARED) ||
            plait_lock_acquire(locks[i], PLAIT_FOREVER) || !life_words_come_first())
            *fault = __LINE__;
    }
    for (int i = 0; i < ARENAS; i++) { /* in the order in which they came, and with a lock in hand */
        if (!life_words_come_first())
            *fault = __LINE__;
        if (plait_lock_release(locks[i]) || plait_arena_free(arenas[i]))
            *fault = __LINE__;
    }
    return NULL;
}

static void life_words_are_in_front_of_locks(void **state)
{
    assert_int_equal(in_thread(take_part_in_many), 0);
}

/*
 * Killed in the midst of it, as far as these stores: TAKEN, and not or just named; no more USED, and still or no more named. Every instruction
 * has its turn in tests/kill/step_arena.c.
 */
struct half {
    enum plait__block_state state;
    bool gives, named;
    bool is_in_use; /* afterwards */
    uint64_t *place;
};

static int die_half_way(void *half)
{
    const struct half *how = half;
    struct plait__arena_header *h = arena->base;
    struct plait__slot *slot;
    struct plait__stock *s;
    uint64_t taken;

    if (put_by(SOME, 10) || plait__member(h, &slot) || plait__arena_alloc_into(h, SOME, how->place))
        return 1;
    s = plait__member_cache.stock;
    taken = *how->place;
    s->word = 1 | slot->generation << 2;
    s->place = plait__offset_in(h, how->place);
    s->pending = taken | (how->gives ? 1 : 0);
    plait__block_set(h, taken, plait__block_word(taken, plait__class_for(SOME + 16), how->state, s->number));
    *how->place = how->named ? taken : 0;
    return raise(SIGKILL);
}

static void what_the_dead_had_half_done_is_done_or_undone(void **state)
{
    static struct half halves[] = {
        { PLAIT__BLOCK_TAKEN, .named = false },
        { PLAIT__BLOCK_TAKEN, .named = true, .is_in_use = true },
        { PLAIT__BLOCK_STOCKED, .gives = true, .named = true },
        { PLAIT__BLOCK_STOCKED, .gives = true, .named = false },
    };
    uint64_t *place;
    size_t before;

    assert_int_equal(plait_arena_alloc(arena, sizeof *place, (void **)&place), 0);
    before = used();
    for (size_t i = 0; i < sizeof halves / sizeof halves[0]; i++) {
        halves[i].place = place;
        assert_int_equal(child_run(die_half_way, &halves[i]), CHILD_SIGNALLED + SIGKILL);
        assert_int_equal(plait__arena_settle(arena->base), 0);
        assert_int_equal(*place != 0, halves[i].is_in_use);
        assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
        assert_int_equal(used() == before, !halves[i].is_in_use);
        assert_int_equal(plait__arena_dealloc_from(arena->base, place), 0);
        assert_int_equal(used(), before);
    }
}

/* Workers that are killed at any moment, with blocks in places of their own, and in places that all of them use under a lock. */
enum { WORKERS = 4, THREADS = 2, OWN = 30, BOXES = 8, KILLS = 60 };

static struct yard {
    plait_lock_t locks[BOXES];
    uint64_t boxes[BOXES];                /* guarded by its lock */
    uint64_t own[WORKERS][THREADS][OWN]; /* of that worker */
} *yard;

static size_t some_size(unsigned *seed)
{
    unsigned kind = (unsigned)rand_r(seed) % 100;

    return 1 + (unsigned)rand_r(seed) % (kind < 70 ? 300u : kind < 95 ? 5000u : 60000u);
}

/* 0, or the line. */
static int turn(uint64_t *place, unsigned *seed)
{
    int err;

    if (*place) {
        if (!plait__arena_block_is_used(arena->base, *place + sizeof(struct plait__block), 1))
            return __LINE__;
        return plait__arena_dealloc_from(arena->base, place) ? __LINE__ : 0;
    }
    err = plait__arena_alloc_into(arena->base, some_size(seed), place);
    return err && err != ENOSPC ? __LINE__ : 0;
}

static int turn_box(unsigned *seed)
{
    unsigned i = (unsigned)rand_r(seed) % BOXES;
    int err = plait_lock_acquire(&yard->locks[i], PLAIT_FOREVER);

    if (err == EOWNERDEAD) {
        if (plait__arena_settle(arena->base) || plait_lock_consistent(&yard->locks[i]))
            return __LINE__;
    } else if (err) {
        return __LINE__;
    }
    err = turn(&yard->boxes[i], seed);
    return plait_lock_release(&yard->locks[i]) ? __LINE__ : err;
}

struct worker {
    unsigned number, thread, seed;
};

static void *work_until_killed(void *worker)
{
    struct worker *w = worker;

    for (;;) {
        int line = rand_r(&w->seed) % 4 ? turn(&yard->own[w->number][w->thread][(unsigned)rand_r(&w->seed) % OWN], &w->seed)
                                        : turn_box(&w->seed);

        if (line) {
            fprintf(stderr, "worker %u: line %d\n", w->number, line);
            _exit(1);
        }
    }
    return NULL;
}

static int work(void *worker)
{
    struct worker *w = worker, second = { w->number, 1, w->seed + 1 };
    pthread_t thread;

    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails buries nobody */
    if (pthread_create(&thread, NULL, work_until_killed, &second))
        return 99;
    work_until_killed(w);
    return 0;
}

static void give_back(uint64_t *place)
{
    assert_int_equal(plait__arena_dealloc_from(arena->base, place), 0);
    assert_int_equal(*place, 0);
}

/* It has been killed, and not ended by itself. */
static void bury(pid_t pid, unsigned number)
{
    kill(pid, SIGKILL);
    assert_int_equal(child_end(pid), CHILD_SIGNALLED + SIGKILL);
    for (unsigned t = 0; t < THREADS; t++)
        for (unsigned i = 0; i < OWN; i++)
            give_back(&yard->own[number][t][i]);
}

static void kills_lose_no_memory(void **state)
{
    const char *given = getenv("PLAIT_SEED"), *kills = getenv("PLAIT_ARENA_KILLS");
    unsigned seed = given ? (unsigned)atoi(given) : (unsigned)time(NULL);
    struct worker workers[WORKERS];
    pid_t pids[WORKERS];
    char text[200];
    size_t before;

    print_message("PLAIT_SEED=%u\n", seed);
    assert_int_equal(plait_arena_alloc(arena, sizeof *yard, (void **)&yard), 0);
    for (int i = 0; i < BOXES; i++)
        assert_int_equal(plait_lock_init(&yard->locks[i], PLAIT_SHARED), 0);
    before = used();
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){ i, 0, seed + 2 * i };
        pids[i] = child_start(work, &workers[i]);
    }
    for (int n = kills ? atoi(kills) : KILLS; n > 0; n--) {
        unsigned i = (unsigned)rand_r(&seed) % WORKERS;

        plait_sleep(rand_r(&seed) % 3000 / 1e6);
        bury(pids[i], i);
        if (plait_arena_check(arena, text, sizeof text))
            fail_msg("%d kills to go: %s", n, text);
        workers[i].seed += 1000;
        pids[i] = child_start(work, &workers[i]);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        bury(pids[i], i);
    assert_int_equal(plait__arena_settle(arena->base), 0);
    for (int i = 0; i < BOXES; i++)
        give_back(&yard->boxes[i]);
    if (plait_arena_check(arena, text, sizeof text))
        fail_msg("%s", text);
    assert_int_equal(used(), before);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(stock_serves_while_the_lock_is_held),
        CASE(stock_stays_with_the_slot),
        CASE(stocks_of_others_are_drained_before_memory_is_at_an_end),
        CASE(stocks_are_an_eighth_of_the_arena_at_most),
        CASE(stock_is_not_for_small_arenas),
        CASE(block_freed_by_two_at_once_is_freed_once),
        CASE(block_in_a_stock_cannot_be_freed),
        CASE(stock_itself_cannot_be_freed),
        CASE(place_outside_the_arena_is_refused),
        CASE(class_for_a_size_is_the_smallest_that_holds_it),
        CASE(life_words_are_in_front_of_locks),
        CASE(what_the_dead_had_half_done_is_done_or_undone),
        CASE(kills_lose_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
