/* SPDX-License-Identifier: MIT */
/* Short values of a shared dict are found without its lock: while it changes, memory goes and comes, and readers and writers are killed. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <plait.h>

#include "arena/glance.h"
#include "queue/dict.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/stage.h"

static plait_dict_t *make(struct stage *stage)
{
    plait_dict_t *d;

    assert_int_equal(plait_dict_new(&d, &(struct plait_dict_opts){ .arena = stage->arena }), 0);
    return d;
}

static int64_t number_at(plait_dict_t *d, int64_t key)
{
    int64_t value = 0;
    int err = plait_dict_get(d, &key, sizeof key, &value, sizeof value, NULL);

    return err ? -err : value;
}

static void set_number(plait_dict_t *d, int64_t key, int64_t value)
{
    assert_int_equal(plait_dict_set(d, &key, sizeof key, &value, sizeof value), 0);
}

/* Not where the kernel has no membarrier, or a tool watches. */
static bool can_glance(void)
{
    return plait__glance_epoch == plait__fork_epoch();
}

static void a_held_lock_is_in_nobodys_way(void **state)
{
    plait_dict_t *d = make(*state);
    plait_rwlock_t *lock = &d->body->lock;

    if (!can_glance())
        skip();
    for (int64_t key = 1; key < 100; key++)
        set_number(d, key, key * key);
    assert_int_equal(plait_rwlock_acquire_write(lock, PLAIT_FOREVER), 0); /* and nothing is changed */
    for (int64_t key = 1; key < 100; key++)
        assert_int_equal(number_at(d, key), key * key);
    assert_int_equal(number_at(d, 100), -ENOENT);
    assert_true(plait_dict_contains(d, &(int64_t){ 9 }, sizeof(int64_t)));
    assert_int_equal(plait_rwlock_release(lock), 0);
    assert_int_equal(plait_dict_destroy(d), 0);
}

/* As a change, or a death in it, leaves the number. */
static void during_a_change_the_lock_is_asked(void **state)
{
    plait_dict_t *d = make(*state);

    set_number(d, 1, 7);
    assert_int_equal(plait_rwlock_acquire_write(&d->body->lock, PLAIT_FOREVER), 0);
    d->body->changes++;
    assert_int_equal(number_at(d, 1), -EDEADLK);
    assert_int_equal(plait_rwlock_release(&d->body->lock), 0);
    assert_int_equal(number_at(d, 1), 7);
    assert_int_equal(number_at(d, 2), -ENOENT);
    set_number(d, 1, 8);
    assert_int_equal(d->body->changes % 2, 0);
    assert_int_equal(number_at(d, 1), 8);
    assert_int_equal(plait_dict_destroy(d), 0);
}

/* ---- Pages ---- */

static enum plait__block_state state_after_freeing(plait_arena_t *arena)
{
    uint64_t offset;
    void *memory;

    assert_int_equal(plait_arena_alloc(arena, 600000, &memory), 0);
    offset = plait__offset_in(arena->base, memory) - sizeof(struct plait__block);
    assert_int_equal(plait_arena_dealloc(arena, memory), 0);
    return plait__block_state(arena->base, offset);
}

static int glance_and_die(void *stage)
{
    struct plait__arena_header *h = ((struct stage *)stage)->arena->base;
    struct plait__slot *slot;

    if (plait__member(h, &slot) || (!plait__glance_begin(h) && !plait__glance_begin(h))) /* the first makes the process one that can */
        return 1;
    raise(SIGKILL);
    return 0;
}

static void pages_stay_until_who_glances_is_through_or_dead(void **state)
{
    struct stage *stage = *state;
    struct plait__arena_header *h = stage->arena->base;
    plait_dict_t *d = make(stage);
    uint32_t *glancing;

    if (!can_glance())
        skip();
    set_number(d, 1, 7);
    assert_int_equal(state_after_freeing(stage->arena), PLAIT__BLOCK_FREE_HOLE);
    glancing = plait__glance_begin(h);
    assert_non_null(glancing);
    assert_int_equal(state_after_freeing(stage->arena), PLAIT__BLOCK_FREE);
    plait__glance_end(glancing);
    assert_int_equal(state_after_freeing(stage->arena), PLAIT__BLOCK_FREE_HOLE);
    assert_int_equal(child_run(glance_and_die, stage), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(state_after_freeing(stage->arena), PLAIT__BLOCK_FREE_HOLE);
    assert_int_equal(plait_dict_destroy(d), 0);
}

/* ---- Stress ---- */

enum { WORKERS = 4, WRITERS = 2, RESIDENTS = 32, VISITORS = 32, CROWD = 300, WORDS = 12, PIECES = 16 };

struct scene {
    plait_dict_t *d;
    plait_time_t end;
};

/* A value: any number of words, each of them which key it is of and, above, the how manieth it is. */
static size_t fill(uint64_t *words, unsigned key, uint64_t count, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        words[i] = count << 16 | key;
    return size * sizeof *words;
}

/* What is wrong with what was found; *last: the greatest count that was seen of the key. */
static const char *is_wrong(const uint64_t *words, size_t size, unsigned key, uint64_t *last)
{
    if (size == 0 || size % sizeof *words)
        return "a size that nobody has written";
    for (size_t i = 0; i < size / sizeof *words; i++)
        if (words[i] != words[0] || (words[i] & 0xffff) != key)
            return "a torn value, or another key's";
    if (words[0] >> 16 < *last)
        return "an older value than before";
    *last = words[0] >> 16;
    return NULL;
}

static void read_on(struct worker *self)
{
    struct scene *s = self->with;
    uint64_t last[RESIDENTS + VISITORS] = { 0 };

    while (plait_now() < s->end) {
        unsigned key = worker_random(self, RESIDENTS + VISITORS);
        uint64_t words[WORDS] = { 0 };
        const char *wrong = NULL;
        size_t size = 0;
        int err = plait_dict_get(s->d, &key, sizeof key, words, sizeof words, &size);

        if (err == 0)
            wrong = is_wrong(words, size, key, &last[key]);
        else if (err != ENOENT || key < RESIDENTS)
            wrong = "a key is lost";
        else if (words[0])
            wrong = "something was copied of what is not there";
        if (wrong) {
            printf("key %u: %s\n", key, wrong);
            return;
        }
    }
    self->result = 0;
}

/* Others' memory: small blocks as entries were, with bytes that would lead anywhere, and large ones, which leave holes. */
static void use_memory(struct worker *self, plait_arena_t *arena, void **piece)
{
    size_t size = worker_random(self, 20) ? 48 : 300000;

    if (*piece)
        plait_arena_dealloc(arena, *piece);
    if (plait_arena_alloc(arena, size, piece) == 0)
        memset(*piece, (int)worker_random(self, 256), size < 4096 ? size : 4096);
    else
        *piece = NULL;
}

/* Many keys come and go: the table grows and shrinks. */
static int crowd(struct worker *self, plait_dict_t *d)
{
    int err = 0;

    for (unsigned key = 0; key < CROWD && !err; key++)
        err = plait_dict_set(d, &(unsigned[]){ key, self->number }, 2 * sizeof key, "x", 1);
    for (unsigned key = 0; key < CROWD && !err; key++)
        err = plait_dict_delete(d, &(unsigned[]){ key, self->number }, 2 * sizeof key);
    return err;
}

static void write_on(struct worker *self)
{
    struct scene *s = self->with;
    void *pieces[PIECES] = { 0 };
    int err = 0;

    for (uint64_t count = 1; err == 0 && plait_now() < s->end; count++) {
        unsigned key = worker_random(self, (RESIDENTS + VISITORS) / WRITERS) * WRITERS + self->number; /* its own */
        uint64_t words[WORDS];

        if (key >= RESIDENTS && worker_random(self, 2)) {
            err = plait_dict_delete(s->d, &key, sizeof key);
            err = err == ENOENT ? 0 : err;
        } else {
            err = plait_dict_set(s->d, &key, sizeof key, words, fill(words, key, count, 1 + worker_random(self, WORDS)));
        }
        use_memory(self, self->stage->arena, &pieces[worker_random(self, PIECES)]);
        if (!err && worker_random(self, 400) == 0)
            err = crowd(self, s->d);
    }
    for (int i = 0; i < PIECES; i++)
        if (pieces[i])
            plait_arena_dealloc(self->stage->arena, pieces[i]);
    self->result = err;
}

static void nobody_sees_a_torn_or_an_old_value(void **state)
{
    struct stage *stage = *state;
    struct scene *s = stage_alloc(stage, sizeof *s);
    struct worker *workers[WORKERS];

    stage_seed();
    s->d = make(stage);
    for (unsigned key = 0; key < RESIDENTS; key++) {
        uint64_t word;

        assert_int_equal(plait_dict_set(s->d, &key, sizeof key, &word, fill(&word, key, 0, 1)), 0);
    }
    s->end = plait_after(stage_stress_seconds());
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = worker_start(stage, i < WRITERS ? write_on : read_on, s);
        assert_non_null(workers[i]);
    }
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(worker_result(workers[i]), 0);
    assert_int_equal(plait_dict_destroy(s->d), 0);
    assert_int_equal(plait_arena_check(stage->arena, NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGE_CASE(a_held_lock_is_in_nobodys_way, THREADS),
        STAGE_CASE(during_a_change_the_lock_is_asked, THREADS),
        STAGE_CASE(pages_stay_until_who_glances_is_through_or_dead, THREADS),
        SHARED(nobody_sees_a_torn_or_an_old_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
