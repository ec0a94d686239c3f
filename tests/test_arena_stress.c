/* SPDX-License-Identifier: MIT */
/* Stress of lib/arena: threads and processes allocate, free, publish and open at the same time. Seed: PLAIT_SEED. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <plait.h>

#include "arena/arena.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { THREADS = 3, PROCESSES = 3, HELD = 40, BUDGET_MS = 1500 };

static plait_arena_t *arena;
static unsigned seed;

struct held {
    unsigned char *memory;
    size_t size;
    unsigned char mark;
};

struct worker {
    pthread_t thread;
    unsigned seed;
    unsigned char mark;
    plait_time_t until;
    unsigned long rounds;
    int err; /* 0, or the line of the first fault */
};

static bool is_filled(const struct held *h)
{
    for (size_t i = 0; i < h->size; i++)
        if (h->memory[i] != h->mark)
            return false;
    return true;
}

static bool is_zero(const struct held *h)
{
    for (size_t i = 0; i < h->size; i++)
        if (h->memory[i])
            return false;
    return true;
}

/* Mostly small, some of pages, a few that give their pages back. */
static size_t random_size(unsigned *s)
{
    unsigned kind = (unsigned)rand_r(s) % 100;

    return 1 + (unsigned)rand_r(s) % (kind < 80 ? 500u : kind < 98 ? 20000u : 400000u);
}

static int one_round(struct worker *w, struct held *h)
{
    if (h->memory) {
        if (!is_filled(h))
            return __LINE__;
        if (plait_arena_dealloc(arena, h->memory))
            return __LINE__;
        h->memory = NULL;
        return 0;
    }
    h->size = random_size(&w->seed);
    h->mark = w->mark;
    switch (plait_arena_alloc(arena, h->size, (void **)&h->memory)) {
    case 0:
        break;
    case ENOSPC:
        h->memory = NULL;
        return 0;
    default:
        return __LINE__;
    }
    if (!is_zero(h))
        return __LINE__;
    memset(h->memory, h->mark, h->size);
    return 0;
}

static int name_round(struct worker *w)
{
    void *found;
    char name[8];
    int err;

    snprintf(name, sizeof name, "n%u", (unsigned)rand_r(&w->seed) % 20);
    switch (rand_r(&w->seed) % 3) {
    case 0:
        err = plait_arena_publish(arena, name, (char *)arena->base + 64);
        return err && err != EEXIST && err != ENOSPC ? __LINE__ : 0;
    case 1:
        err = plait_arena_lookup(arena, name, &found);
        return (err && err != ENOENT) || (!err && found != (char *)arena->base + 64) ? __LINE__ : 0;
    default:
        err = plait_arena_unpublish(arena, name);
        return err && err != ENOENT ? __LINE__ : 0;
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct held held[HELD] = { { 0 } };

    while (!w->err && plait_now() < w->until) {
        w->err = one_round(w, &held[(unsigned)rand_r(&w->seed) % HELD]);
        if (!w->err && w->rounds % 8 == 0)
            w->err = name_round(w);
        w->rounds++;
    }
    for (int i = 0; i < HELD && !w->err; i++)
        if (held[i].memory)
            w->err = one_round(w, &held[i]);
    return NULL;
}

static int work_in_threads(void *arg)
{
    unsigned first = *(unsigned *)arg;
    struct worker workers[THREADS];
    int err = 0;

    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){ .seed = seed + first + i, .mark = (unsigned char)(1 + first + i),
                                      .until = plait_after(BUDGET_MS / 1000.0) };
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            return 99;
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        err = err ? err : workers[i].err;
    }
    return err ? 1 + err % 250 : 0;
}

static void blocks_stay_their_owners_under_threads_and_processes(void **state)
{
    const struct plait_arena_opts opts = { .limit = 24 << 20, .participants = THREADS * (PROCESSES + 1) + 4 };
    pid_t children[PROCESSES];
    unsigned first[PROCESSES + 1];
    char text[200] = "";
    size_t used;

    print_message("seed %u\n", seed);
    assert_int_equal(plait_arena_new(&arena, &opts), 0);
    for (unsigned i = 0; i < PROCESSES; i++) {
        first[i] = (i + 1) * THREADS;
        children[i] = child_start(work_in_threads, &first[i]);
    }
    first[PROCESSES] = 0;
    assert_int_equal(work_in_threads(&first[PROCESSES]), 0);
    for (int i = 0; i < PROCESSES; i++)
        assert_int_equal(child_end(children[i]), 0);
    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof text, "n%d", i);
        plait_arena_unpublish(arena, text);
    }
    if (plait_arena_check(arena, text, sizeof text))
        fail_msg("%s", text);
    assert_int_equal(plait_arena_usage(arena, &used, NULL, NULL), 0);
    assert_true(used <= 20 * 128); /* the name records stay */
    assert_int_equal(plait_arena_free(arena), 0);
}

struct opener {
    pthread_t thread;
    plait_time_t until;
    unsigned long rounds;
    int err;
};

static void *open_and_verify(void *arg)
{
    struct opener *o = arg;
    int fd = plait__arena_fd(arena);

    while (!o->err && plait_now() < o->until) {
        plait_arena_t *again;

        o->err = plait__arena_attach_fd(fd, &again);
        if (!o->err)
            o->err = plait_arena_check(again, NULL, 0);
        if (!o->err)
            o->err = plait_arena_free(again);
        o->rounds++;
    }
    return NULL;
}

/* Verifying takes no lock at first: what it reads changes meanwhile, and must not look damaged. */
static void arena_in_use_is_sound_to_those_who_open_it(void **state)
{
    struct opener o = { .until = plait_after(0.7) };
    size_t rounds = 0;
    void *memory;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = (size_t)4 << 30 }), 0);
    assert_int_equal(pthread_create(&o.thread, NULL, open_and_verify, &o), 0);
    while (plait_now() < o.until && rounds < 8000 && plait_arena_alloc(arena, 100000, &memory) == 0)
        rounds++;
    assert_int_equal(pthread_join(o.thread, NULL), 0);
    assert_int_equal(o.err, 0);
    assert_int_equal(plait_arena_free(arena), 0);
    assert_true(rounds > 0 && o.rounds > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_stay_their_owners_under_threads_and_processes),
        cmocka_unit_test(arena_in_use_is_sound_to_those_who_open_it),
    };

    seed = getenv("PLAIT_SEED") ? (unsigned)atoi(getenv("PLAIT_SEED")) : (unsigned)time(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
