/* SPDX-License-Identifier: MIT */
/* The contract of plait/latest.h, sentence by sentence. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"
#include "support/stage.h"
#include "support/watched.h"

enum { WRITERS = 2, READERS = 3, SECONDS = 20 };

/* What a case's workers share. */
struct scene {
    plait_latest_t *latest;
    size_t value_size;
    plait_cancel_t token;
    plait_lock_t lock;
    uint64_t version;           /* that a worker got */
    uint64_t wanted;            /* versions to be written, or the last one of all */
    uint64_t written[WRITERS];  /* what each has written last */
    uint32_t stop;              /* atomic */
    bool is_ordered;            /* of each writer there is one, and its values grow */
    uint64_t got;
};

static struct scene *scene_of_size(struct stage *stage, size_t value_size)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    scene->value_size = value_size;
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    assert_int_equal(plait_lock_init(&scene->lock, stage->flags), 0);
    assert_int_equal(plait_latest_new(&scene->latest, &(struct plait_latest_opts){
                         .value_size = value_size, .arena = stage->flags ? stage->arena : NULL }), 0);
    return scene;
}

static struct scene *scene_of(struct stage *stage) { return scene_of_size(stage, sizeof(uint64_t)); }

static void scene_end(struct stage *stage, struct scene *scene)
{
    char text[200];

    assert_int_equal(plait_latest_destroy(scene->latest), 0);
    if (plait_arena_check(stage->arena, text, sizeof text) != 0)
        fail_msg("arena: %s", text);
}

static void writes(struct scene *scene, uint64_t number)
{
    assert_int_equal(plait_latest_write(scene->latest, &number, PLAIT_NOW), 0);
}

static void reads(struct scene *scene, uint64_t number, uint64_t version)
{
    uint64_t value = ~number, got = 777;

    assert_int_equal(plait_latest_read(scene->latest, &value, &got), 0);
    assert_int_equal(value, number);
    assert_int_equal(got, version);
    assert_int_equal(plait_latest_version(scene->latest), version);
}

/* All bytes of a value are told by its number; two of them tell that. */
static void fill(unsigned char *value, size_t size, uint64_t number)
{
    for (size_t i = 0; i < size; i++)
        value[i] = (unsigned char)(number * 31 + number / 256 * 7 + i);
    if (size >= sizeof number)
        memcpy(value, &number, sizeof number);
}

/* A whole value? *number_out: which. */
static bool is_whole(const unsigned char *value, size_t size, uint64_t *number_out)
{
    uint64_t number;

    memcpy(&number, value, sizeof number);
    *number_out = number;
    for (size_t i = sizeof number; i < size; i++)
        if (value[i] != (unsigned char)(number * 31 + number / 256 * 7 + i))
            return false;
    return true;
}

/* ---- One caller ---- */

static void read_gives_what_was_written_last(void **state)
{
    struct scene *scene = scene_of(*state);

    for (uint64_t i = 1; i <= 1000; i++) {
        writes(scene, i * i);
        if (i % 3)
            reads(scene, i * i, i);
        if (i % 5 == 0)
            reads(scene, i * i, i);
    }
    assert_int_equal(plait_latest_read(scene->latest, &scene->got, NULL), 0);
    assert_int_equal(scene->got, 1000 * 1000);
    scene_end(*state, scene);
}

static void nothing_is_there_before_the_first_write(void **state)
{
    struct scene *scene = scene_of(*state);
    uint64_t value, version = 777;

    assert_int_equal(plait_latest_read(scene->latest, &value, &version), ENOENT);
    assert_int_equal(version, 0);
    assert_int_equal(plait_latest_read(scene->latest, &value, NULL), ENOENT);
    assert_int_equal(plait_latest_version(scene->latest), 0);
    assert_int_equal(plait_latest_read_newer(scene->latest, &value, &version, PLAIT_NOW), ETIMEDOUT);
    writes(scene, 5);
    reads(scene, 5, 1);
    scene_end(*state, scene);
}

static void values_of_any_size_are_copied_whole_and_no_further(void **state)
{
    static const size_t sizes[] = { 1, 2, 3, 7, 8, 9, 15, 16, 17, 55, 56, 57, 64, 119, 120, 121, 4095, 4096, 100001, 500000 };
    struct stage *stage = *state;

    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t size = sizes[s];
        struct scene *scene = scene_of_size(stage, size);
        unsigned char *value = malloc(2 * size + 16), *got = value + size, guard = 0;

        assert_non_null(value);
        assert_int_equal(plait_latest_value_size(scene->latest), size);
        for (uint64_t i = 1; i <= 9; i++) {
            fill(value, size, i);
            assert_int_equal(plait_latest_write(scene->latest, value, PLAIT_FOREVER), 0);
            memset(got, 0xee, size + 16);
            assert_int_equal(plait_latest_read(scene->latest, got, NULL), 0);
            assert_memory_equal(value, got, size);
            for (int j = 0; j < 16; j++)
                guard |= got[size + (size_t)j] ^ 0xee;
            assert_int_equal(guard, 0);
        }
        free(value);
        scene_end(stage, scene);
    }
}

static void newer_is_only_what_was_not_seen(void **state)
{
    struct scene *scene = scene_of(*state);
    uint64_t value = 0, version = 0;

    writes(scene, 10);
    writes(scene, 20);
    assert_int_equal(plait_latest_read_newer(scene->latest, &value, &version, PLAIT_FOREVER), 0);
    assert_int_equal(value, 20); /* the first was missed */
    assert_int_equal(version, 2);
    value = 7;
    assert_int_equal(plait_latest_read_newer(scene->latest, &value, &version, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_latest_read_newer(scene->latest, &value, &version, plait_after(0.01)), ETIMEDOUT);
    assert_int_equal(value, 7);
    assert_int_equal(version, 2);
    version = 1; /* says that it has seen less than it has */
    assert_int_equal(plait_latest_read_newer(scene->latest, &value, &version, PLAIT_NOW), 0);
    assert_int_equal(version, 2);
    version = UINT64_MAX; /* and more than there is */
    writes(scene, 30);
    assert_int_equal(plait_latest_read_newer(scene->latest, &value, &version, PLAIT_NOW), ETIMEDOUT);
    assert_true(version == UINT64_MAX);
    scene_end(*state, scene);
}

static void closed_one_takes_no_value_and_keeps_the_last(void **state)
{
    struct scene *scene = scene_of(*state);
    uint64_t value = 9, version = 0;

    writes(scene, 3);
    assert_false(plait_latest_is_closed(scene->latest));
    assert_int_equal(plait_latest_close(scene->latest), 0);
    assert_true(plait_latest_is_closed(scene->latest));
    assert_int_equal(plait_latest_write(scene->latest, &value, PLAIT_FOREVER), EPIPE);
    reads(scene, 3, 1);
    assert_int_equal(plait_latest_read_newer(scene->latest, &value, &version, PLAIT_FOREVER), 0);
    assert_int_equal(value, 3);
    assert_int_equal(version, 1);
    assert_int_equal(plait_latest_read_newer(scene->latest, &value, &version, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_latest_read_newer(scene->latest, &value, &version, PLAIT_NOW), EPIPE);
    assert_int_equal(plait_latest_close(scene->latest), 0);
    reads(scene, 3, 1);
    scene_end(*state, scene);
}

static void closed_empty_one_stays_empty(void **state)
{
    struct scene *scene = scene_of(*state);
    uint64_t value, version = 0;

    assert_int_equal(plait_latest_close(scene->latest), 0);
    assert_int_equal(plait_latest_read(scene->latest, &value, &version), ENOENT);
    assert_int_equal(plait_latest_read_newer(scene->latest, &value, &version, PLAIT_FOREVER), EPIPE);
    scene_end(*state, scene);
}

/* ---- Waiting ---- */

static void wait_for_newer(struct worker *self)
{
    struct scene *scene = self->with;

    scene->version = scene->wanted - 1;
    worker_says(self, 1);
    self->result = plait_latest_read_newer(scene->latest, &scene->got, &scene->version, plait_after(SECONDS));
}

static void sleeping_reader_is_woken_by_a_write(void **state)
{
    struct scene *scene = scene_of(*state);

    for (uint64_t i = 1; i <= 5; i++) {
        struct worker *worker;

        scene->wanted = i;
        worker = worker_start(*state, wait_for_newer, scene);
        assert_non_null(worker);
        assert_true(worker_sleeps(worker, 1));
        writes(scene, 100 + i);
        assert_int_equal(worker_result(worker), 0);
        assert_int_equal(scene->got, 100 + i);
        assert_int_equal(scene->version, i);
    }
    scene_end(*state, scene);
}

static void count_versions(struct worker *self)
{
    struct scene *scene = self->with;
    uint64_t version = 0, before = 0, value;
    int err;

    worker_says(self, 1);
    while ((err = plait_latest_read_newer(scene->latest, &value, &version, plait_after(SECONDS))) == 0) {
        if (version <= before || value != version * 3)
            break;
        before = version;
    }
    self->result = err == EPIPE && version == scene->wanted ? 0 : 100 + err;
}

static void all_who_wait_are_woken_and_told_the_end(void **state)
{
    struct scene *scene = scene_of(*state);
    struct worker *workers[4];

    scene->wanted = 200;
    for (int i = 0; i < 4; i++) {
        workers[i] = worker_start(*state, count_versions, scene);
        assert_non_null(workers[i]);
    }
    for (int i = 0; i < 4; i++)
        assert_true(worker_sleeps(workers[i], 1));
    for (uint64_t i = 1; i <= scene->wanted; i++) {
        writes(scene, i * 3);
        if (i % 10 == 0)
            assert_true(worker_sleeps(workers[i / 10 % 4], 1));
    }
    for (int i = 0; i < 4; i++)
        assert_true(worker_sleeps(workers[i], 1));
    assert_int_equal(plait_latest_close(scene->latest), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(worker_result(workers[i]), 0);
    scene_end(*state, scene);
}

static void wait_with_token(struct worker *self)
{
    struct scene *scene = self->with;

    plait_cancel_bind(&scene->token);
    wait_for_newer(self);
}

static void cancelled_reader_stops_waiting(void **state)
{
    struct scene *scene = scene_of(*state);
    struct worker *worker;

    scene->wanted = 1;
    worker = worker_start(*state, wait_with_token, scene);
    assert_non_null(worker);
    assert_true(worker_sleeps(worker, 1));
    assert_int_equal(plait_cancel_set(&scene->token), 0);
    assert_int_equal(worker_result(worker), ECANCELED);
    assert_int_equal(scene->version, 0);
    scene_end(*state, scene);
}

static void any_wait_for_newer(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_entry entries[] = {
        plait_any_lock_acquire(&scene->lock),
        plait_any_latest_read_newer(scene->latest, &scene->got, &scene->version),
    };
    size_t which = 777;

    worker_says(self, 1);
    self->result = plait_wait_any(entries, 2, &which, plait_after(SECONDS));
    self->result = self->result ? self->result : which == 1 ? 0 : -1;
}

static void newer_version_is_one_of_several_things_waited_for(void **state)
{
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry entry = plait_any_latest_read_newer(scene->latest, &scene->got, &scene->version);
    struct worker *worker;

    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    assert_int_equal(plait_wait_any(&entry, 1, NULL, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_wait_any(&entry, 1, NULL, plait_after(0.01)), ETIMEDOUT);
    for (uint64_t i = 1; i <= 3; i++) {
        worker = worker_start(*state, any_wait_for_newer, scene);
        assert_non_null(worker);
        assert_true(worker_sleeps(worker, 1));
        writes(scene, i + 50);
        assert_int_equal(worker_result(worker), 0);
        assert_int_equal(scene->got, i + 50);
        assert_int_equal(scene->version, i);
    }
    writes(scene, 99); /* ready at once */
    assert_int_equal(plait_wait_any(&entry, 1, NULL, PLAIT_NOW), 0);
    assert_int_equal(scene->version, 4);
    worker = worker_start(*state, any_wait_for_newer, scene);
    assert_non_null(worker);
    assert_true(worker_sleeps(worker, 1));
    assert_int_equal(plait_latest_close(scene->latest), 0);
    assert_int_equal(worker_result(worker), EPIPE);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    scene_end(*state, scene);
}

static void cancelled_by_pthread(struct worker *self)
{
    wait_for_newer(self);
}

static void pthread_cancel_ends_a_wait(void **state)
{
    struct scene *scene = scene_of(*state);
    struct worker *worker;
    void *result;

    scene->wanted = 1;
    worker = worker_start(*state, cancelled_by_pthread, scene);
    assert_non_null(worker);
    assert_true(worker_sleeps(worker, 1));
    assert_int_equal(pthread_cancel(worker->thread), 0);
    assert_int_equal(pthread_join(worker->thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    worker->ended = true;
    writes(scene, 4); /* nobody sleeps any more, nobody is missing */
    reads(scene, 4, 1);
    scene_end(*state, scene);
}

/* ---- Many at a time ---- */

/* Values of writer w are w, w + WRITERS, w + 2 WRITERS... */
static void write_all_the_time(struct worker *self)
{
    struct scene *scene = self->with;
    unsigned char *value = malloc(scene->value_size);
    unsigned number = self->number % WRITERS;

    self->result = value ? 0 : ENOMEM;
    for (uint64_t i = number; self->result == 0 && !__atomic_load_n(&scene->stop, __ATOMIC_RELAXED); i += WRITERS) {
        fill(value, scene->value_size, i);
        self->result = plait_latest_write(scene->latest, value, PLAIT_FOREVER);
        scene->written[number] = i;
    }
    free(value);
}

/* Whole values, versions that do not go backward, and of each writer none that is older than one seen before. */
static void read_all_the_time(struct worker *self)
{
    struct scene *scene = self->with;
    unsigned char *value = malloc(scene->value_size);
    uint64_t before = 0, number, last[WRITERS] = { 0 }, version = 0;
    int err = value ? 0 : ENOMEM;

    for (uint64_t i = 0; err == 0 && !__atomic_load_n(&scene->stop, __ATOMIC_RELAXED); i++) {
        err = i % 4 ? plait_latest_read(scene->latest, value, &version)
                    : plait_latest_read_newer(scene->latest, value, &version, plait_after(SECONDS));
        if (err == ENOENT && before == 0) {
            err = 0;
            continue;
        }
        if (err)
            break;
        if (!is_whole(value, scene->value_size, &number))
            err = 201;
        else if (version < before || (version == before && i % 4 == 0))
            err = 202;
        else if (scene->is_ordered && number < last[number % WRITERS])
            err = 203;
        before = version;
        last[number % WRITERS] = number;
    }
    self->result = err == EPIPE ? 0 : err;
    free(value);
}

static void nobody_sees_a_torn_or_an_old_value(void **state)
{
    static const size_t sizes[] = { 8, 40, 1000, 70000 };

    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct scene *scene = scene_of_size(*state, sizes[s]);
        struct worker *workers[WRITERS + READERS];
        uint64_t number;
        unsigned char *value = malloc(sizes[s]);

        assert_non_null(value);
        scene->is_ordered = true;
        for (int i = 0; i < WRITERS + READERS; i++) {
            workers[i] = worker_start(*state, i < WRITERS ? write_all_the_time : read_all_the_time, scene);
            assert_non_null(workers[i]);
        }
        plait_sleep(stage_stress_seconds() / 8);
        __atomic_store_n(&scene->stop, 1, __ATOMIC_RELAXED);
        for (int i = 0; i < WRITERS; i++)
            assert_int_equal(worker_result(workers[i]), 0);
        assert_int_equal(plait_latest_close(scene->latest), 0);
        for (int i = WRITERS; i < WRITERS + READERS; i++)
            assert_int_equal(worker_result(workers[i]), 0);
        assert_int_equal(plait_latest_read(scene->latest, value, NULL), 0);
        assert_true(is_whole(value, sizes[s], &number));
        assert_int_equal(number, scene->written[number % WRITERS]); /* the last of one of them */
        free(value);
        scene_end(*state, scene);
    }
}

/* ---- Who stops or dies ---- */

static void write_until_killed(struct worker *self)
{
    worker_says(self, 1);
    write_all_the_time(self);
}

static void read_until_killed(struct worker *self)
{
    worker_says(self, 1);
    read_all_the_time(self);
}

static void killed_writers_and_readers_harm_nobody(void **state)
{
    struct scene *scene = scene_of_size(*state, 3000);
    struct worker *reader = worker_start(*state, read_all_the_time, scene);
    unsigned char value[3000];
    uint64_t number, version = 0, before = 0;

    assert_non_null(reader);
    for (unsigned i = 0; i < 20; i++) {
        struct worker *writer = worker_start(*state, write_until_killed, scene);
        struct worker *other = worker_start(*state, read_until_killed, scene);

        assert_non_null(writer);
        assert_non_null(other);
        assert_true(worker_said(writer, 1));
        assert_true(worker_said(other, 1));
        assert_int_equal(plait_latest_read_newer(scene->latest, value, &version, plait_after(SECONDS)), 0);
        worker_kill(writer);
        worker_kill(other);
        assert_int_equal(plait_latest_read(scene->latest, value, &before), 0);
        assert_true(before >= version);
        assert_true(is_whole(value, sizeof value, &number));
        fill(value, sizeof value, 2 * i);
        assert_int_equal(plait_latest_write(scene->latest, value, plait_after(SECONDS)), 0);
        assert_int_equal(plait_latest_read(scene->latest, value, &version), 0);
        assert_int_equal(version, before + 1);
        assert_true(is_whole(value, sizeof value, &number));
        assert_int_equal(number, 2 * i);
    }
    __atomic_store_n(&scene->stop, 1, __ATOMIC_RELAXED);
    assert_int_equal(plait_latest_close(scene->latest), 0);
    assert_int_equal(worker_result(reader), 0);
    scene_end(*state, scene);
}

/* Find a moment at which the stopped writer holds up others: then they can give up, and readers do not notice. */
static void stopped_writer_holds_up_writers_with_a_deadline_and_no_reader(void **state)
{
    struct scene *scene = scene_of_size(*state, 70000);
    struct worker *writer = worker_start(*state, write_until_killed, scene);
    unsigned char *value = malloc(70000);
    uint64_t number;
    int err = 0;

    assert_non_null(value);
    assert_non_null(writer);
    assert_true(worker_said(writer, 1));
    assert_true(EVENTUALLY(plait_latest_version(scene->latest) > 0));
    for (int i = 0; i < 1000 && err == 0; i++) {
        assert_int_equal(kill(writer->pid, SIGSTOP), 0);
        assert_true(EVENTUALLY(waitid(P_PID, (id_t)writer->pid, &(siginfo_t){ 0 }, WSTOPPED) == 0));
        fill(value, 70000, 1);
        err = plait_latest_write(scene->latest, value, PLAIT_NOW);
        if (err) {
            assert_int_equal(err, ETIMEDOUT);
            assert_int_equal(plait_latest_write(scene->latest, value, plait_after(0.01)), ETIMEDOUT);
            assert_int_equal(plait_cancel_set(&scene->token), 0);
            plait_cancel_bind(&scene->token);
            assert_int_equal(plait_latest_write(scene->latest, value, PLAIT_FOREVER), ECANCELED);
            plait_cancel_bind(NULL);
        }
        for (int j = 0; j < 3; j++) {
            assert_int_equal(plait_latest_read(scene->latest, value, NULL), 0);
            assert_true(is_whole(value, 70000, &number));
        }
        assert_int_equal(kill(writer->pid, SIGCONT), 0);
        plait_sleep(0.0001 * (i % 10));
    }
    assert_int_equal(err, ETIMEDOUT);
    worker_kill(writer);
    assert_int_equal(plait_latest_write(scene->latest, value, plait_after(SECONDS)), 0);
    free(value);
    scene_end(*state, scene);
}

static sig_atomic_t in_handler;
static struct scene *scene_of_handler;

static void read_in_handler(int signal_number)
{
    unsigned char value[4000];
    uint64_t number;

    (void)signal_number;
    if (plait_latest_read(scene_of_handler->latest, value, NULL) == 0 && is_whole(value, sizeof value, &number))
        in_handler++;
    else
        in_handler = -1000000;
}

static void read_works_in_a_signal_handler_amid_a_write(void **state)
{
    struct scene *scene = scene_of_size(*state, 4000);
    struct sigaction action = { .sa_handler = read_in_handler }, before;
    unsigned char value[4000];
    timer_t timer;
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
    struct itimerspec each = { { 0, 1000000 }, { 0, 1000000 } }; /* long enough for a handler under valgrind */
    uint64_t i;

    scene_of_handler = scene;
    in_handler = 0;
    fill(value, sizeof value, 0);
    assert_int_equal(plait_latest_write(scene->latest, value, PLAIT_NOW), 0);
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_int_equal(timer_settime(timer, 0, &each, NULL), 0);
    for (i = 1; i < 100000000 && in_handler >= 0 && in_handler < 100; i++) {
        fill(value, sizeof value, i);
        assert_int_equal(plait_latest_write(scene->latest, value, PLAIT_NOW), 0);
    }
    assert_int_equal(timer_delete(timer), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    assert_in_range(in_handler, 100, 100000);
    scene_end(*state, scene);
}

/* ---- Making and finding ---- */

static void bad_options_are_refused(void **state)
{
    static const struct plait_latest_opts bad[] = {
        { .value_size = 0 }, { .value_size = ((size_t)1 << 30) + 1 }, { .value_size = SIZE_MAX },
        { .value_size = 8, .name = "x" },
    };
    plait_latest_t *l = (plait_latest_t *)state;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        l = (plait_latest_t *)state;
        assert_int_equal(plait_latest_new(&l, &bad[i]), EINVAL);
        assert_null(l);
    }
    assert_int_equal(plait_latest_new(&l, NULL), EINVAL);
    assert_int_equal(plait_latest_free(NULL), 0);
    assert_int_equal(plait_latest_destroy(NULL), 0);
}

static void private_one_has_no_reference_and_no_name(void **state)
{
    plait_latest_t *l;
    plait_ref_t ref;

    assert_int_equal(plait_latest_new(&l, &(struct plait_latest_opts){ .value_size = 3 }), 0);
    assert_int_equal(plait_latest_ref(l, &ref), EINVAL);
    assert_int_equal(plait_latest_publish(l, "x"), EINVAL);
    assert_int_equal(plait_latest_free(l), 0);
}

static void full_arena_is_told(void **state)
{
    plait_arena_t *arena;
    plait_latest_t *l;
    size_t used = 1;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1 << 20 }), 0);
    assert_int_equal(plait_latest_new(&l, &(struct plait_latest_opts){ .value_size = 1 << 19, .arena = arena }), ENOSPC);
    assert_null(l);
    assert_int_equal(plait_arena_usage(arena, &used, NULL, NULL), 0);
    assert_int_equal(used, 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void *use_without_a_place(void *arg)
{
    static int results[4];
    plait_latest_t *l = arg;
    uint64_t version = 0;
    int value = 3;

    results[0] = plait_latest_write(l, &value, PLAIT_FOREVER);
    results[1] = plait_latest_read(l, &value, NULL);
    results[2] = plait_latest_read_newer(l, &value, &version, PLAIT_FOREVER);
    results[3] = value;
    return results;
}

/* Readers take no place among the participants. */
static void full_table_of_participants_is_told_to_writers_alone(void **state)
{
    plait_arena_t *arena;
    plait_latest_t *l;
    pthread_t thread;
    int value = 2;
    void *result;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20, .participants = 1 }), 0);
    assert_int_equal(plait_latest_new(&l, &(struct plait_latest_opts){ .value_size = sizeof value, .arena = arena }), 0);
    assert_int_equal(plait_latest_write(l, &value, PLAIT_NOW), 0);
    assert_int_equal(pthread_create(&thread, NULL, use_without_a_place, l), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal(((int *)result)[0], ENOSPC);
    assert_int_equal(((int *)result)[1], 0);
    assert_int_equal(((int *)result)[2], 0);
    assert_int_equal(((int *)result)[3], 2);
    assert_int_equal(plait_latest_destroy(l), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void one_is_found_by_reference_and_by_name(void **state)
{
    plait_latest_t *l, *same, *named;
    struct plait_latest_opts opts = { .value_size = sizeof(int), .name = "price" };
    plait_arena_t *arena;
    plait_ref_t ref;
    int value = 5;
    size_t used = 1, used_before = 0;
    void *memory;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20 }), 0);
    opts.arena = arena;
    assert_int_equal(plait_arena_alloc(arena, 1000, &memory), 0);
    assert_int_equal(plait_arena_publish(arena, "bytes", memory), 0);
    assert_int_equal(plait_arena_publish(arena, "price", memory), 0); /* names take memory, and keep it */
    assert_int_equal(plait_arena_unpublish(arena, "price"), 0);
    assert_int_equal(plait_arena_usage(arena, &used_before, NULL, NULL), 0);
    assert_int_equal(plait_latest_lookup(&l, arena, "price"), ENOENT);
    assert_null(l);
    assert_int_equal(plait_latest_new(&l, &opts), 0);
    assert_int_equal(plait_latest_write(l, &value, PLAIT_NOW), 0);
    assert_int_equal(plait_latest_ref(l, &ref), 0);
    assert_int_equal(plait_latest_open(&same, ref), 0);
    assert_int_equal(plait_latest_new(&named, &opts), 0);
    value = 0;
    assert_int_equal(plait_latest_read(named, &value, NULL), 0);
    assert_int_equal(value, 5);
    value = 6;
    assert_int_equal(plait_latest_write(same, &value, PLAIT_NOW), 0);
    assert_int_equal(plait_latest_read(l, &value, NULL), 0);
    assert_int_equal(value, 6);
    assert_int_equal(plait_latest_free(named), 0);
    opts.value_size++;
    assert_int_equal(plait_latest_new(&named, &opts), EINVAL);
    assert_null(named);
    opts.name = "bytes";
    assert_int_equal(plait_latest_new(&named, &opts), EBADMSG);
    assert_null(named);
    assert_int_equal(plait_arena_unpublish(arena, "price"), 0);
    assert_int_equal(plait_latest_publish(l, "cost"), 0);
    assert_int_equal(plait_latest_lookup(&named, arena, "cost"), 0);
    assert_int_equal(plait_latest_free(named), 0);
    assert_int_equal(plait_arena_unpublish(arena, "cost"), 0);
    assert_int_equal(plait_latest_destroy(l), 0);
    assert_int_equal(plait_latest_open(&l, ref), EBADMSG);
    assert_null(l);
    assert_int_equal(plait_latest_free(same), 0); /* all that may still be done with it */
    assert_int_equal(plait_arena_usage(arena, &used, NULL, NULL), 0);
    assert_int_equal(used, used_before);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* Whatever stands in its memory: opening it answers, and what can be opened can be used, with an answer. */
static int open_and_use(void *arg)
{
    plait_ref_t *ref = arg;
    uint64_t version = 0;
    plait_latest_t *l;
    char value[100];
    int err = plait_latest_open(&l, *ref);

    if (err)
        return err == EBADMSG ? 1 : 2;
    for (int i = 0; i < 6; i++) {
        plait_latest_read(l, value, NULL);
        plait_latest_read_newer(l, value, &version, PLAIT_NOW);
        plait_latest_write(l, value, plait_after(0.01));
    }
    return 0;
}

static void damaged_one_is_refused_or_answers(void **state)
{
    plait_arena_t *arena;
    plait_latest_t *l;
    plait_ref_t ref;
    unsigned char *body;
    char value[100] = { 0 };
    int refused = 0;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 << 20 }), 0);
    assert_int_equal(plait_latest_new(&l, &(struct plait_latest_opts){ .value_size = 100, .arena = arena }), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_latest_write(l, value, PLAIT_NOW), 0);
    assert_int_equal(plait_latest_ref(l, &ref), 0);
    assert_int_equal(plait_ref_open(ref, (void **)&body), 0);
    for (size_t at = 0; at < 128; at++) {
        unsigned char was = body[at];
        int result;

        body[at] = was ^ 0x41;
        result = child_run(open_and_use, &ref);
        refused += result == 1;
        assert_in_range(result, 0, 1);
        body[at] = was;
    }
    assert_true(refused >= 15);
    assert_int_equal(child_run(open_and_use, &ref), 0);
    memset(body + 64, 0x55, 8); /* a version that no slot has */
    assert_int_equal(plait_latest_read(l, value, NULL), EBADMSG);
    assert_int_equal(plait_latest_destroy(l), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(read_gives_what_was_written_last),
        EVERYWHERE(nothing_is_there_before_the_first_write),
        EVERYWHERE(values_of_any_size_are_copied_whole_and_no_further),
        EVERYWHERE(newer_is_only_what_was_not_seen),
        EVERYWHERE(closed_one_takes_no_value_and_keeps_the_last),
        EVERYWHERE(closed_empty_one_stays_empty),
        EVERYWHERE(sleeping_reader_is_woken_by_a_write),
        EVERYWHERE(all_who_wait_are_woken_and_told_the_end),
        EVERYWHERE(cancelled_reader_stops_waiting),
        EVERYWHERE(newer_version_is_one_of_several_things_waited_for),
        PRIVATE(pthread_cancel_ends_a_wait),
        EVERYWHERE(nobody_sees_a_torn_or_an_old_value),
        PROCESSES(killed_writers_and_readers_harm_nobody),
        PROCESSES(stopped_writer_holds_up_writers_with_a_deadline_and_no_reader),
        EVERYWHERE(read_works_in_a_signal_handler_amid_a_write),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(private_one_has_no_reference_and_no_name),
        cmocka_unit_test(full_arena_is_told),
        cmocka_unit_test(full_table_of_participants_is_told_to_writers_alone),
        cmocka_unit_test(one_is_found_by_reference_and_by_name),
        cmocka_unit_test(damaged_one_is_refused_or_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
