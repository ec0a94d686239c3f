/* SPDX-License-Identifier: MIT */
/*
 * The contract of plait_queue_t, run over private, shared between threads and shared between processes, each
 * bounded and unbounded; and what does not depend on the order over each order, and joinable. Workers record what they saw; the test's own
 * thread asserts.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/cmocka.h"

enum { SECONDS = 30, WORKERS_MAX = 8 };

/* How a queue is made and who works on it. */
struct kind {
    const char *name;
    bool shared;    /* in an arena */
    bool processes; /* workers are forked */
    size_t maxsize;
};

static struct kind kinds[] = {
    { "private bounded", false, false, 64 },          { "private unbounded", false, false, 0 },
    { "shared bounded, threads", true, false, 64 },   { "shared unbounded, threads", true, false, 0 },
    { "shared bounded, processes", true, true, 64 },  { "shared unbounded, processes", true, true, 0 },
};
#define KIND_COUNT (sizeof kinds / sizeof *kinds)

static plait_arena_t *arena; /* of the present kind, NULL: private */

/* Of the case that runs. */
static enum plait_queue_kind order;
static bool joinable;

static int set_up(enum plait_queue_kind its_order, bool is_joinable)
{
    order = its_order;
    joinable = is_joinable;
    return 0;
}

static int in_fifo(void **state) { return set_up(PLAIT_FIFO, false); }
static int in_lifo(void **state) { return set_up(PLAIT_LIFO, false); }
static int in_priority(void **state) { return set_up(PLAIT_PRIORITY, false); }
static int in_deque(void **state) { return set_up(PLAIT_DEQUE, false); }
static int in_joinable(void **state) { return set_up(PLAIT_FIFO, true); }

#define IN_EACH(f)                                                                                              \
    { #f "/fifo", f, in_fifo, NULL, NULL }, { #f "/lifo", f, in_lifo, NULL, NULL },                             \
    { #f "/priority", f, in_priority, NULL, NULL }, { #f "/deque", f, in_deque, NULL, NULL },                   \
    { #f "/joinable", f, in_joinable, NULL, NULL }
#define IN_FIFO(f) cmocka_unit_test_setup_teardown(f, in_fifo, NULL)

static plait_queue_t *make(const struct kind *kind, size_t item_size, size_t maxsize)
{
    plait_queue_t *q;

    arena = NULL;
    if (kind->shared)
        assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 32u << 20 }), 0);
    assert_int_equal(plait_queue_new(&q, &(struct plait_queue_opts){ .item_size = item_size, .maxsize = maxsize,
                                                                     .arena = arena, .kind = order, .joinable = joinable }), 0);
    return q;
}

static void drop(plait_queue_t *q)
{
    char text[200];

    assert_int_equal(plait_queue_destroy(q), 0);
    if (arena) {
        int err = plait_arena_check(arena, text, sizeof text);
        size_t used = 1;

        if (err)
            fail_msg("arena: %s", text);
        assert_int_equal(plait_arena_usage(arena, &used, NULL, NULL), 0);
        assert_int_equal(used, 0);
        assert_int_equal(plait_arena_free(arena), 0);
    }
    arena = NULL;
}

/* A worker: a thread or a process that runs one function on the queue and leaves its findings in shared memory. */
struct worker {
    plait_queue_t *q;
    void (*run)(struct worker *self);
    uint64_t number;
    uint64_t count;
    uint64_t sum;
    plait_time_t deadline;
    int err;
    bool in_order;
    uint64_t last[WORKERS_MAX];
    pthread_t thread;
    pid_t pid;
};

static struct worker *workers; /* WORKERS_MAX in MAP_SHARED memory */

static int map_workers(void **state)
{
    (void)state;
    workers = mmap(NULL, WORKERS_MAX * sizeof *workers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return workers == MAP_FAILED;
}

static void *run_thread(void *worker)
{
    ((struct worker *)worker)->run(worker);
    return NULL;
}

static struct worker *start(const struct kind *kind, plait_queue_t *q, uint64_t number,
                            void (*run)(struct worker *self), uint64_t count, plait_time_t deadline)
{
    struct worker *w = &workers[number];
    pid_t pid;

    memset(w, 0, sizeof *w);
    *w = (struct worker){ .q = q, .run = run, .number = number, .count = count, .deadline = deadline, .in_order = true,
                          .err = -1 };
    if (!kind->processes) {
        assert_int_equal(pthread_create(&w->thread, NULL, run_thread, w), 0);
        return w;
    }
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        run(w);
        _exit(0);
    }
    w->pid = pid; /* by the parent alone: the memory is shared */
    return w;
}

static void finish(const struct kind *kind, struct worker *w)
{
    int status = -1;

    if (!kind->processes) {
        assert_int_equal(pthread_join(w->thread, NULL), 0);
        return;
    }
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    assert_int_equal(status, 0);
}

/* Makes it likely, not certain, that the workers sleep by now: the outcome must be the same either way. */
static void let_others_run(void)
{
    plait_sleep(0.01);
}

static uint64_t item_of(uint64_t producer, uint64_t sequence)
{
    return producer << 32 | sequence;
}

static void produce(struct worker *w)
{
    for (uint64_t i = 1; i <= w->count; i++) {
        uint64_t item = item_of(w->number, i);

        w->err = plait_queue_put(w->q, &item, plait_after(SECONDS));
        if (w->err)
            return;
        w->sum += item;
    }
}

static void consume(struct worker *w)
{
    uint64_t item;

    while ((w->err = plait_queue_get(w->q, &item, plait_after(SECONDS))) == 0) {
        uint64_t *last = &w->last[item >> 32];

        if ((uint32_t)item <= *last)
            w->in_order = false;
        *last = (uint32_t)item;
        w->sum += item;
        w->count++;
        if (joinable)
            plait_queue_task_done(w->q, NULL);
    }
}

static void one_get(struct worker *w)
{
    w->err = plait_queue_get(w->q, &w->sum, w->deadline);
    if (w->err == 0 && joinable)
        w->err = plait_queue_task_done(w->q, NULL); /* or another worker would have it when this one has ended */
}

static void one_put(struct worker *w)
{
    w->err = plait_queue_put(w->q, &w->number, w->deadline);
}

static void items_come_out_in_order(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k++) {
        plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), kinds[k].maxsize);
        uint64_t item;

        for (int round = 0; round < 100; round++) {
            for (uint64_t i = 0; i < 50; i++)
                assert_int_equal(plait_queue_put(q, &i, PLAIT_NOW), 0);
            assert_int_equal(plait_queue_qsize(q), 50);
            for (uint64_t i = 0; i < 50; i++) {
                assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), 0);
                assert_int_equal(item, i);
            }
        }
        assert_true(plait_queue_is_empty(q));
        drop(q);
    }
}

static void items_of_any_size_arrive_whole(void **state)
{
    static const size_t sizes[] = { 1, 3, 4, 7, 8, 9, 16, 17, 40, 1000, 65536 };
    unsigned char in[65536], out[65536];

    for (size_t k = 0; k < KIND_COUNT; k++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            plait_queue_t *q = make(&kinds[k], sizes[s], kinds[k].maxsize ? 5 : 0);

            assert_int_equal(plait_queue_item_size(q), sizes[s]);
            for (int i = 0; i < 23; i++) {
                memset(in, i + 1, sizes[s]);
                memset(out, 0, sizeof out);
                assert_int_equal(plait_queue_put(q, in, PLAIT_NOW), 0);
                assert_int_equal(plait_queue_get(q, out, PLAIT_NOW), 0);
                assert_memory_equal(in, out, sizes[s]);
                if (sizes[s] < sizeof out)
                    assert_int_equal(out[sizes[s]], 0);
            }
            drop(q);
        }
}

static void bound_is_exact(void **state)
{
    static const size_t bounds[] = { 1, 2, 3, 10, 64, 1000 };
    uint64_t item = 0;

    for (size_t k = 0; k < KIND_COUNT; k += 2)
        for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++) {
            plait_queue_t *q = make(&kinds[k], sizeof item, bounds[b]);

            assert_int_equal(plait_queue_maxsize(q), bounds[b]);
            for (int round = 0; round < 3; round++) {
                for (size_t i = 0; i < bounds[b]; i++) {
                    assert_false(plait_queue_is_full(q));
                    assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
                }
                assert_true(plait_queue_is_full(q));
                assert_int_equal(plait_queue_qsize(q), bounds[b]);
                assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), ETIMEDOUT);
                assert_int_equal(plait_queue_put(q, &item, plait_after(0.01)), ETIMEDOUT);
                for (size_t i = 0; i < bounds[b]; i++)
                    assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), 0);
            }
            drop(q);
        }
}

static void empty_queue_times_out_not_before_the_deadline(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k++) {
        plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), kinds[k].maxsize);
        plait_time_t deadline = plait_after(0.03);
        uint64_t item = 7;

        assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(plait_queue_get(q, &item, plait_now() - 1), ETIMEDOUT);
        assert_int_equal(plait_queue_get(q, &item, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
        assert_int_equal(item, 7);
        drop(q);
    }
}

static void unbounded_queue_takes_and_returns_bursts(void **state)
{
    for (size_t k = 1; k < KIND_COUNT; k += 2) {
        plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), 0);
        uint64_t item;

        for (int round = 0; round < 2; round++) {
            for (uint64_t i = 0; i < 100000; i++)
                assert_int_equal(plait_queue_put(q, &i, PLAIT_NOW), 0);
            assert_int_equal(plait_queue_qsize(q), 100000);
            assert_false(plait_queue_is_full(q));
            for (uint64_t i = 0; i < 100000; i++) {
                assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), 0);
                assert_int_equal(item, i);
            }
        }
        if (arena) {
            size_t used;

            assert_int_equal(plait_arena_usage(arena, &used, NULL, NULL), 0);
            assert_true(used < 100000);
        }
        drop(q);
    }
}

static void sleeping_getter_is_woken_by_a_put(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k++) {
        plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), kinds[k].maxsize);
        struct worker *w = start(&kinds[k], q, 0, one_get, 0, plait_after(SECONDS));
        uint64_t item = 42;

        let_others_run();
        assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
        finish(&kinds[k], w);
        assert_int_equal(w->err, 0);
        assert_int_equal(w->sum, 42);
        drop(q);
    }
}

static void sleeping_putter_is_woken_by_a_get(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k += 2) {
        plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), 1);
        uint64_t item = 42;
        struct worker *w;

        assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
        w = start(&kinds[k], q, 3, one_put, 0, plait_after(SECONDS));
        let_others_run();
        assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), 0);
        finish(&kinds[k], w);
        assert_int_equal(w->err, 0);
        assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), 0);
        assert_int_equal(item, 3);
        drop(q);
    }
}

static void each_of_several_sleepers_gets_one_of_several_items(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k++)
        for (int round = 0; round < 20; round++) {
            plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), kinds[k].maxsize);
            uint64_t sum = 0;

            for (uint64_t i = 0; i < 4; i++)
                start(&kinds[k], q, i, one_get, 0, plait_after(SECONDS));
            if (round % 2)
                let_others_run();
            for (uint64_t i = 1; i <= 4; i++)
                assert_int_equal(plait_queue_put(q, &i, PLAIT_NOW), 0);
            for (uint64_t i = 0; i < 4; i++) {
                finish(&kinds[k], &workers[i]);
                assert_int_equal(workers[i].err, 0);
                sum += workers[i].sum;
            }
            assert_int_equal(sum, 1 + 2 + 3 + 4);
            drop(q);
        }
}

static void closed_queue_drains_and_then_answers_epipe(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k++) {
        plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), kinds[k].maxsize);
        uint64_t item = 1;

        assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
        assert_false(plait_queue_is_closed(q));
        assert_int_equal(plait_queue_close(q), 0);
        assert_int_equal(plait_queue_close(q), 0);
        assert_true(plait_queue_is_closed(q));
        assert_int_equal(plait_queue_put(q, &item, PLAIT_FOREVER), EPIPE);
        assert_int_equal(plait_queue_qsize(q), 1);
        assert_int_equal(plait_queue_get(q, &item, PLAIT_FOREVER), 0);
        assert_int_equal(plait_queue_get(q, &item, PLAIT_FOREVER), EPIPE);
        assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), EPIPE);
        drop(q);
    }
}

static void closing_at_once_discards(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k++)
        for (int close_before = 0; close_before < 2; close_before++) {
            plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), kinds[k].maxsize);
            uint64_t item = 1;

            assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
            if (close_before)
                plait_queue_close(q);
            assert_int_equal(plait_queue_close_now(q), 0);
            assert_int_equal(plait_queue_qsize(q), 0);
            assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), EPIPE);
            assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), EPIPE);
            assert_int_equal(plait_queue_close(q), 0);
            assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), EPIPE);
            drop(q);
        }
}

static void close_wakes_everybody(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k++)
        for (int now = 0; now < 2; now++) {
            plait_queue_t *empty = make(&kinds[k], sizeof(uint64_t), kinds[k].maxsize);

            for (uint64_t i = 0; i < 4; i++)
                start(&kinds[k], empty, i, one_get, 0, PLAIT_FOREVER);
            let_others_run();
            if (now)
                plait_queue_close_now(empty);
            else
                plait_queue_close(empty);
            for (uint64_t i = 0; i < 4; i++) {
                finish(&kinds[k], &workers[i]);
                assert_int_equal(workers[i].err, EPIPE);
            }
            drop(empty);
        }
}

static void close_wakes_sleeping_putters(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k += 2) {
        plait_queue_t *full = make(&kinds[k], sizeof(uint64_t), 1);
        uint64_t item = 9;

        assert_int_equal(plait_queue_put(full, &item, PLAIT_NOW), 0);
        for (uint64_t i = 0; i < 4; i++)
            start(&kinds[k], full, i, one_put, 0, PLAIT_FOREVER);
        let_others_run();
        plait_queue_close(full);
        for (uint64_t i = 0; i < 4; i++) {
            finish(&kinds[k], &workers[i]);
            assert_int_equal(workers[i].err, EPIPE);
        }
        assert_int_equal(plait_queue_get(full, &item, PLAIT_NOW), 0);
        assert_int_equal(item, 9);
        assert_int_equal(plait_queue_get(full, &item, PLAIT_NOW), EPIPE);
        drop(full);
    }
}

static void cancel_ends_the_wait_and_loses_nothing(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k++) {
        plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), kinds[k].maxsize);
        plait_cancel_t token = PLAIT_CANCEL_INIT;
        uint64_t item = 5;

        plait_cancel_set(&token);
        plait_cancel_bind(&token);
        assert_int_equal(plait_queue_get(q, &item, PLAIT_FOREVER), ECANCELED);
        assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), ECANCELED);
        assert_int_equal(plait_queue_put(q, &item, PLAIT_FOREVER), 0);
        assert_int_equal(plait_queue_get(q, &item, PLAIT_FOREVER), 0);
        plait_cancel_bind(NULL);
        assert_int_equal(item, 5);
        drop(q);
    }
}

/* Many to many: every item exactly once, each producer's in order. */
static void every_item_is_got_exactly_once(void **state)
{
    enum { SIDE = 3 };
    const uint64_t each = order == PLAIT_FIFO && !joinable ? 20000 : 5000;

    for (size_t k = 0; k < KIND_COUNT; k++) {
        plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), kinds[k].maxsize ? 7 : 0);
        uint64_t put = 0, got = 0, count = 0;

        for (uint64_t i = 0; i < SIDE; i++)
            start(&kinds[k], q, SIDE + i, consume, 0, 0);
        for (uint64_t i = 0; i < SIDE; i++)
            start(&kinds[k], q, i, produce, each, 0);
        for (uint64_t i = 0; i < SIDE; i++) {
            finish(&kinds[k], &workers[i]);
            assert_int_equal(workers[i].err, 0);
            put += workers[i].sum;
        }
        plait_queue_close(q);
        for (uint64_t i = SIDE; i < 2 * SIDE; i++) {
            finish(&kinds[k], &workers[i]);
            assert_int_equal(workers[i].err, EPIPE);
            assert_true(workers[i].in_order || order == PLAIT_LIFO);
            got += workers[i].sum;
            count += workers[i].count;
        }
        assert_int_equal(count, SIDE * each);
        if (joinable)
            assert_int_equal(plait_queue_join(q, PLAIT_NOW), 0);
        assert_int_equal(got, put);
        drop(q);
    }
}

/* Rendezvous of two through queues of one: every item needs both to sleep and be woken. */
static void queue_of_one_hands_over_each_item(void **state)
{
    for (size_t k = 0; k < KIND_COUNT; k += 2) {
        plait_queue_t *q = make(&kinds[k], sizeof(uint64_t), 1);

        start(&kinds[k], q, 1, consume, 0, 0);
        start(&kinds[k], q, 0, produce, 3000, 0);
        finish(&kinds[k], &workers[0]);
        plait_queue_close(q);
        finish(&kinds[k], &workers[1]);
        assert_int_equal(workers[1].count, 3000);
        assert_true(workers[1].in_order);
        drop(q);
    }
}

static void absurd_options_are_refused(void **state)
{
    static const struct plait_queue_opts absurd[] = {
        { .item_size = (1 << 20) + 1 },
        { .item_size = SIZE_MAX },
        { .item_size = 8, .maxsize = ((size_t)1 << 31) + 1 },
        { .item_size = 8, .name = "no arena" },
    };
    plait_queue_t *q = (plait_queue_t *)&q;

    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        assert_int_equal(plait_queue_new(&q, &absurd[i]), EINVAL);
        assert_null(q);
    }
    assert_int_equal(plait_queue_new(&q, NULL), 0); /* all by default: messages of any length, without limit */
    assert_int_equal(plait_queue_item_size(q), 0);
    assert_int_equal(plait_queue_free(q), 0);
    assert_int_equal(plait_queue_free(NULL), 0);
    assert_int_equal(plait_queue_destroy(NULL), 0);
}

/* A program of tomorrow passes options that this library does not know: refused if it uses them. */
static void unknown_options_are_refused_if_set(void **state)
{
    struct {
        struct plait_queue_opts known;
        int unknown;
    } opts = { .known = { .item_size = 8 } };
    plait_queue_t *q;

    assert_int_equal(plait_queue_new_sized(&q, &opts.known, sizeof opts), 0);
    plait_queue_free(q);
    opts.unknown = 1;
    assert_int_equal(plait_queue_new_sized(&q, &opts.known, sizeof opts), EINVAL);
    assert_int_equal(plait_queue_new_sized(&q, &opts.known, sizeof opts.known.item_size), 0);
    plait_queue_free(q);
}

static void no_room_in_the_arena_is_enospc(void **state)
{
    uint64_t item = 1;
    size_t puts = 0;
    plait_queue_t *q;
    int err;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1 << 20 }), 0);
    assert_int_equal(plait_queue_new(&q, &(struct plait_queue_opts){ .item_size = 8, .maxsize = 1 << 20,
                                                                     .arena = arena }), ENOSPC);
    assert_int_equal(plait_queue_new(&q, &(struct plait_queue_opts){ .item_size = 8, .arena = arena }), 0);
    while ((err = plait_queue_put(q, &item, PLAIT_NOW)) == 0)
        puts++;
    assert_int_equal(err, ENOSPC);
    assert_int_equal(plait_queue_qsize(q), puts);
    while (puts--)
        assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
    drop(q);
}

static void shared_queue_is_opened_by_reference_and_by_name(void **state)
{
    plait_queue_t *q = make(&kinds[2], sizeof(uint64_t), 3), *other, *third;
    uint64_t item = 11;
    plait_ref_t ref;

    assert_int_equal(plait_queue_ref(q, &ref), 0);
    assert_int_equal(plait_queue_open(&other, ref), 0);
    assert_int_equal(plait_queue_maxsize(other), 3);
    assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_get(other, &item, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_publish(q, "jobs"), 0);
    assert_int_equal(plait_queue_lookup(&third, arena, "jobs"), 0);
    assert_int_equal(plait_queue_free(third), 0);
    assert_int_equal(plait_queue_lookup(&third, arena, "nothing"), ENOENT);
    assert_int_equal(plait_queue_new(&third, &(struct plait_queue_opts){ .item_size = 8, .maxsize = 3, .arena = arena,
                                                                         .name = "jobs" }), 0);
    assert_int_equal(plait_queue_put(third, &item, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_qsize(q), 1);
    assert_int_equal(plait_queue_free(third), 0);
    assert_int_equal(plait_queue_new(&third, &(struct plait_queue_opts){ .item_size = 4, .maxsize = 3, .arena = arena,
                                                                         .name = "jobs" }), EINVAL);
    assert_int_equal(plait_queue_free(other), 0);
    assert_int_equal(plait_arena_unpublish(arena, "jobs"), 0);
    assert_int_equal(plait_queue_destroy(q), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

static void what_is_no_queue_is_refused(void **state)
{
    plait_queue_t *q = make(&kinds[2], sizeof(uint64_t), 3), *other;
    plait_ref_t ref, wrong;
    void *memory;

    assert_int_equal(plait_queue_ref(q, &ref), 0);
    for (uint64_t offset = 1; offset < 4096; offset += 7) {
        wrong = (plait_ref_t){ ref.arena, ref.offset + offset };
        assert_int_not_equal(plait_queue_open(&other, wrong), 0);
        assert_null(other);
    }
    wrong = (plait_ref_t){ ref.arena, (uint64_t)1 << 40 };
    assert_int_equal(plait_queue_open(&other, wrong), EINVAL);
    wrong = (plait_ref_t){ ref.arena ^ 1, ref.offset };
    assert_int_equal(plait_queue_open(&other, wrong), ENOENT);
    assert_int_equal(plait_queue_open(&other, (plait_ref_t){ 0, 0 }), EINVAL);
    assert_int_equal(plait_arena_alloc(arena, 1000, &memory), 0);
    assert_int_equal(plait_arena_publish(arena, "memory", memory), 0);
    assert_int_equal(plait_queue_lookup(&other, arena, "memory"), EBADMSG);
    assert_int_equal(plait_queue_new(&other, &(struct plait_queue_opts){ .item_size = 8, .arena = arena,
                                                                         .name = "memory" }), EBADMSG);
    assert_int_equal(plait_queue_destroy(q), 0);
    assert_int_equal(plait_queue_open(&other, ref), EBADMSG);
    assert_int_equal(plait_arena_free(arena), 0);
    assert_int_equal(plait_queue_new(&q, &(struct plait_queue_opts){ .item_size = 8 }), 0);
    assert_int_equal(plait_queue_ref(q, &ref), EINVAL);
    assert_int_equal(plait_queue_publish(q, "private"), EINVAL);
    assert_int_equal(plait_queue_free(q), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FIFO(items_come_out_in_order),
        IN_EACH(items_of_any_size_arrive_whole),
        IN_EACH(bound_is_exact),
        IN_EACH(empty_queue_times_out_not_before_the_deadline),
        IN_FIFO(unbounded_queue_takes_and_returns_bursts),
        IN_EACH(sleeping_getter_is_woken_by_a_put),
        IN_EACH(sleeping_putter_is_woken_by_a_get),
        IN_EACH(each_of_several_sleepers_gets_one_of_several_items),
        IN_EACH(closed_queue_drains_and_then_answers_epipe),
        IN_EACH(closing_at_once_discards),
        IN_EACH(close_wakes_everybody),
        IN_EACH(close_wakes_sleeping_putters),
        IN_EACH(cancel_ends_the_wait_and_loses_nothing),
        IN_EACH(every_item_is_got_exactly_once),
        IN_EACH(queue_of_one_hands_over_each_item),
        IN_FIFO(absurd_options_are_refused),
        IN_FIFO(unknown_options_are_refused_if_set),
        IN_FIFO(no_room_in_the_arena_is_enospc),
        IN_FIFO(shared_queue_is_opened_by_reference_and_by_name),
        IN_FIFO(what_is_no_queue_is_refused),
    };

    return cmocka_run_group_tests(tests, map_workers, NULL);
}
