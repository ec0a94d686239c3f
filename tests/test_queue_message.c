/* SPDX-License-Identifier: MIT */
/* The contract of queues of messages: any length, copied or lent, private and shared, and after deaths. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "queue/parcel.h"
#include "queue/steps.h"
#include "support/child.h"
#define SCENE_LIMIT ((size_t)4 << 20)
#include "support/queue_scene.h"

enum { SECONDS = 30, LONGEST = 6000, MODEL = 60 };
enum {
    SHORT = 64, /* of those that lie in the queue itself, the longest */
    NEAR = 16,  /* of those that never need other memory, the longest */
};

/* Longer than those. */
#define LONG_TEXT "a text that is too long for a place in the queue itself, and has a block of memory of its own"

static plait_queue_t *make_kind(bool shared, enum plait_queue_kind kind, size_t maxsize)
{
    return make(shared, (struct plait_queue_opts){ .kind = kind, .maxsize = maxsize });
}

static void put(plait_queue_t *q, const char *text)
{
    assert_int_equal(plait_queue_put_bytes(q, text, strlen(text), PLAIT_NOW), 0);
}

static void gets(plait_queue_t *q, const char *text)
{
    char got[200];
    size_t size = 999;

    assert_int_equal(plait_queue_get_bytes(q, got, sizeof got, &size, PLAIT_NOW), 0);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(got, text, size);
}

/* ---- Order and contents, against a model ---- */

static uint32_t draw(uint32_t below)
{
    static uint64_t state = 1;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

static struct model {
    uint64_t number;
    int64_t priority;
    size_t size;
} model[MODEL];
static size_t model_count;

/* Mostly short; a message's bytes are told by its number. */
static size_t size_of(uint64_t number)
{
    return number % 7 == 0 ? 0 : number % 11 == 0 ? LONGEST - number % 100 : number * 13 % 200;
}

static void fill(unsigned char *bytes, const struct model *m)
{
    for (size_t i = 0; i < m->size; i++)
        bytes[i] = (unsigned char)(m->number * 31 + i);
}

static size_t next_of_model(enum plait_queue_kind kind)
{
    size_t next = 0;

    if (kind != PLAIT_PRIORITY)
        return kind != PLAIT_LIFO ? 0 : model_count - 1;
    for (size_t i = 1; i < model_count; i++)
        if (model[i].priority < model[next].priority)
            next = i;
    return next;
}

static void put_one(plait_queue_t *q, enum plait_queue_kind kind, const struct model *m)
{
    unsigned char bytes[LONGEST];
    struct plait_message message;

    if (draw(2)) {
        fill(bytes, m);
        assert_int_equal(kind == PLAIT_PRIORITY
                             ? plait_queue_put_bytes_priority(q, bytes, m->size, m->priority, PLAIT_NOW)
                             : plait_queue_put_bytes(q, bytes, m->size, PLAIT_NOW), 0);
        return;
    }
    assert_int_equal(plait_queue_reserve(q, LONGEST, &message), 0);
    assert_int_equal(message.size, LONGEST);
    assert_int_equal((uintptr_t)message.data % 16, 0);
    fill(message.data, m);
    message.size = m->size;
    message.priority = m->priority;
    assert_int_equal(plait_queue_commit(q, &message, PLAIT_NOW), 0);
    assert_null(message.data);
}

static void get_one(plait_queue_t *q, enum plait_queue_kind kind, const struct model *m)
{
    unsigned char bytes[LONGEST], expected[LONGEST];
    struct plait_message message;
    size_t size;

    fill(expected, m);
    if (draw(2)) {
        assert_int_equal(plait_queue_get_bytes(q, bytes, sizeof bytes, &size, PLAIT_NOW), 0);
        assert_int_equal(size, m->size);
        assert_memory_equal(bytes, expected, size);
        return;
    }
    assert_int_equal(plait_queue_borrow(q, &message, PLAIT_NOW), 0);
    assert_int_equal(message.size, m->size);
    assert_memory_equal(message.data, expected, m->size);
    assert_true(kind != PLAIT_PRIORITY || message.priority == m->priority);
    assert_int_equal(plait_queue_give_back(q, &message), 0);
    assert_null(message.data);
}

static void behaves_as_the_model(bool shared, enum plait_queue_kind kind, size_t maxsize)
{
    plait_queue_t *q = make_kind(shared, kind, maxsize);
    uint64_t number = 0;

    model_count = 0;
    for (int i = 0; i < 4000; i++) {
        bool puts = draw(100) < ((i / 200) % 2 ? 30 : 70);

        assert_int_equal(plait_queue_qsize(q), model_count);
        if (puts && model_count < (maxsize ? maxsize : MODEL)) {
            model[model_count] = (struct model){ number, draw(10), size_of(number) };
            put_one(q, kind, &model[model_count++]);
            number++;
        } else if (puts && maxsize) {
            assert_int_equal(plait_queue_put_bytes(q, "no", 2, PLAIT_NOW), ETIMEDOUT);
        } else if (!puts && model_count) {
            size_t next = next_of_model(kind);

            get_one(q, kind, &model[next]);
            memmove(&model[next], &model[next + 1], (--model_count - next) * sizeof *model);
        } else if (!puts) {
            struct plait_message message = { .data = &message };

            assert_int_equal(plait_queue_borrow(q, &message, PLAIT_NOW), ETIMEDOUT);
            assert_null(message.data);
        }
    }
    drop(q); /* with what is in it */
}

static void messages_come_out_by_their_kind(void **state)
{
    for (int shared = 0; shared < 2; shared++)
        for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++)
            for (int bounded = 0; bounded < 2; bounded++)
                behaves_as_the_model(shared, kind, bounded ? 20 : 0);
}

/* ---- One call at a time ---- */

static void message_that_does_not_fit_stays_and_is_told(void **state)
{
    for (int shared = 0; shared < 2; shared++)
        for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++) {
            plait_queue_t *q = make_kind(shared, kind, 0);
            char buffer[8] = "before";
            size_t size = 0;

            for (int is_long = 0; is_long < 2; is_long++) {
                const char *text = is_long ? LONG_TEXT : "not so long";

                put(q, text);
                for (int i = 0; i < 3; i++) {
                    assert_int_equal(plait_queue_get_bytes(q, buffer, sizeof buffer, &size, PLAIT_FOREVER), EMSGSIZE);
                    assert_int_equal(size, strlen(text));
                    assert_string_equal(buffer, "before");
                }
                assert_int_equal(plait_queue_get_bytes(q, NULL, 0, &size, PLAIT_NOW), EMSGSIZE);
                gets(q, text);
            }
            assert_int_equal(plait_queue_put_bytes(q, NULL, 0, PLAIT_NOW), 0);
            assert_int_equal(plait_queue_get_bytes(q, NULL, 0, &size, PLAIT_NOW), 0);
            assert_int_equal(size, 0);
            drop(q);
        }
}

static void what_was_reserved_may_be_given_back_or_committed_shorter(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make_kind(shared, PLAIT_FIFO, 0);
        struct plait_message m, none = { 0 };
        size_t before = used();

        assert_int_equal(plait_queue_reserve(q, 1000, &m), 0);
        assert_int_equal(plait_queue_qsize(q), 0);
        m.size = 1001;
        assert_int_equal(plait_queue_commit(q, &m, PLAIT_NOW), EINVAL);
        assert_non_null(m.data);
        assert_int_equal(plait_queue_give_back(q, &m), 0);
        assert_null(m.data);
        assert_int_equal(used(), before);
        assert_int_equal(plait_queue_give_back(q, &m), 0);
        assert_int_equal(plait_queue_commit(q, &none, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_reserve(q, 1000, &m), 0);
        memcpy(m.data, "short", 5);
        m.size = 5;
        assert_int_equal(plait_queue_commit(q, &m, PLAIT_NOW), 0);
        assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), 0); /* changed, and on it goes */
        memcpy(m.data, "other", 5);
        assert_int_equal(plait_queue_commit(q, &m, PLAIT_NOW), 0);
        gets(q, "other");
        assert_int_equal(used(), before);
        assert_int_equal(plait_queue_reserve(q, SIZE_MAX, &m), shared ? ENOSPC : ENOMEM);
        assert_int_equal(plait_queue_reserve(q, SIZE_MAX - 100, &m), shared ? ENOSPC : ENOMEM);
        assert_null(m.data);
        drop(q);
    }
}

static void what_is_not_the_callers_is_refused(void **state)
{
    plait_queue_t *q = make_kind(true, PLAIT_FIFO, 0), *other;
    struct plait_message m, again;
    char stranger[100];

    assert_int_equal(plait_queue_new(&other, &(struct plait_queue_opts){ .arena = arena }), 0);
    assert_int_equal(plait_queue_reserve(q, 10, &m), 0);
    again = m;
    assert_int_equal(plait_queue_commit(other, &m, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_queue_give_back(other, &m), EINVAL);
    assert_int_equal(plait_queue_give_back(q, &m), 0);
    assert_int_equal(plait_queue_give_back(q, &again), EINVAL); /* twice */
    assert_int_equal(plait_queue_commit(q, &again, PLAIT_NOW), EINVAL);
    again.data = stranger + 50;
    assert_int_equal(plait_queue_give_back(q, &again), EINVAL);
    put(q, "x");
    assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), 0);
    again = m;
    assert_int_equal(plait_queue_commit(q, &m, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_give_back(q, &again), EINVAL); /* the queue's again */
    gets(q, "x");
    assert_int_equal(plait_queue_destroy(other), 0);
    drop(q);
}

static int give_back_in_child(void *arg)
{
    void **what = arg;
    struct plait_message m = *(struct plait_message *)what[1];

    return plait_queue_commit(what[0], &m, PLAIT_NOW) == EPERM ? plait_queue_give_back(what[0], &m) : 100;
}

static void what_another_process_has_is_refused(void **state)
{
    plait_queue_t *q = make_kind(true, PLAIT_FIFO, 0);
    struct plait_message m;
    void *what[] = { q, &m };

    assert_int_equal(plait_queue_reserve(q, 10, &m), 0);
    assert_int_equal(child_run(give_back_in_child, what), EPERM);
    assert_int_equal(plait_queue_commit(q, &m, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_qsize(q), 1);
    drop(q);
}

static void calls_for_items_and_for_messages_are_not_mixed(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *messages = make_kind(shared, PLAIT_PRIORITY, 0), *items;
        struct plait_message m = { 0 };
        uint64_t item = 0;
        size_t count, index;

        assert_int_equal(plait_queue_put(messages, &item, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_get(messages, &item, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_put_priority(messages, &item, 1, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_get_priority(messages, &item, NULL, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_put_many(messages, &item, 1, NULL, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_get_many(messages, &item, 0, 1, &count, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_peek(messages, &item, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_snapshot(messages, &item, 1, &count), EINVAL);
        assert_int_equal(plait_wait_any((struct plait_wait_entry[]){ plait_any_queue_put(messages, &item) }, 1, &index,
                                        PLAIT_NOW), EINVAL);
        assert_int_equal(plait_wait_any((struct plait_wait_entry[]){ plait_any_queue_get(messages, &item) }, 1, &index,
                                        PLAIT_NOW), EINVAL);
        assert_true(plait_queue_is_empty(messages));
        assert_int_equal(plait_queue_new(&items, &(struct plait_queue_opts){ .item_size = 8, .arena = arena }), 0);
        assert_int_equal(plait_queue_reserve(items, 8, &m), EINVAL);
        assert_int_equal(plait_queue_commit(items, &m, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_borrow(items, &m, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_give_back(items, &m), EINVAL);
        assert_int_equal(plait_queue_put_bytes(items, &item, 8, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_get_bytes(items, &item, 8, &count, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_put_bytes_priority(items, &item, 8, 1, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_destroy(items), 0);
        drop(messages);
    }
}

static void priorities_of_messages_are_for_queues_by_priority(void **state)
{
    plait_queue_t *q = make_kind(false, PLAIT_FIFO, 0);

    assert_int_equal(plait_queue_put_bytes_priority(q, "x", 1, 1, PLAIT_NOW), EINVAL);
    assert_true(plait_queue_is_empty(q));
    drop(q);
}

static void queue_of_messages_is_found_by_name_and_reference(void **state)
{
    plait_queue_t *q = make_kind(true, PLAIT_FIFO, 4), *same, *wrong;
    plait_ref_t ref;

    assert_int_equal(plait_queue_publish(q, "lines"), 0);
    assert_int_equal(plait_queue_new(&same, &(struct plait_queue_opts){ .arena = arena, .maxsize = 4, .name = "lines" }), 0);
    put(q, "seen by both");
    gets(same, "seen by both");
    assert_int_equal(plait_queue_new(&wrong, &(struct plait_queue_opts){ .arena = arena, .maxsize = 4, .item_size = 8,
                                                                         .name = "lines" }), EINVAL);
    assert_int_equal(plait_queue_free(same), 0);
    assert_int_equal(plait_queue_ref(q, &ref), 0);
    assert_int_equal(plait_queue_open(&same, ref), 0);
    put(same, "again");
    gets(q, "again");
    assert_int_equal(plait_queue_free(same), 0);
    assert_int_equal(plait_arena_unpublish(arena, "lines"), 0);
    assert_int_equal(plait_queue_destroy(q), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

/* ---- Short ones ---- */

static void short_messages_need_no_memory_beside_the_queue(void **state)
{
    static const size_t sizes[] = { 0, 1, NEAR, NEAR + 1, SHORT };
    char bytes[SHORT + 1], got[SHORT + 2];
    size_t before, size;

    memset(bytes, 'b', sizeof bytes);
    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++) {
        plait_queue_t *q = make_kind(true, kind, 5);

        before = used();
        assert_int_equal(plait_queue_put_bytes(q, bytes, NEAR, PLAIT_NOW), 0);
        assert_int_equal(used(), before);
        assert_int_equal(plait_queue_put_bytes(q, bytes, SHORT, PLAIT_NOW), 0); /* once, what such ones need is got */
        assert_true(kind == PLAIT_FIFO ? used() > before && used() <= before + 5 * SHORT + 64 : used() == before);
        assert_int_equal(plait_queue_get_bytes(q, got, SHORT, &size, PLAIT_NOW), 0);
        assert_int_equal(plait_queue_get_bytes(q, got, SHORT, &size, PLAIT_NOW), 0);
        before = used();
        for (int round = 0; round < 10; round++) {
            for (int i = 0; i < 5; i++)
                assert_int_equal(plait_queue_put_bytes(q, bytes, sizes[i], PLAIT_NOW), 0);
            assert_int_equal(used(), before);
            for (int i = 0; i < 5; i++) {
                memset(got, 'g', sizeof got);
                assert_int_equal(plait_queue_get_bytes(q, got, SHORT, &size, PLAIT_NOW), 0);
                assert_int_equal(size, sizes[kind == PLAIT_LIFO ? 4 - i : i]);
                assert_memory_equal(got, bytes, size);
                assert_int_equal(got[size], 'g');
            }
            assert_int_equal(used(), before);
        }
        assert_int_equal(plait_queue_put_bytes(q, bytes, SHORT + 1, PLAIT_NOW), 0);
        assert_true(used() > before);
        drop(q);
    }
}

/* Numbered by its first byte, as long as there is one. */
static void fill_short(char *bytes, size_t size, unsigned number)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(number + 7 * i);
}

static void get_short(plait_queue_t *q, size_t expected_size, unsigned number, bool borrowed)
{
    char expected[SHORT + 2], got[SHORT + 3];
    struct plait_message m;
    size_t size;

    fill_short(expected, expected_size, number);
    if (borrowed) {
        assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), 0);
        assert_int_equal(m.size, expected_size);
        assert_memory_equal(m.data, expected, m.size);
        assert_int_equal(plait_queue_give_back(q, &m), 0);
        return;
    }
    memset(got, 'g', sizeof got);
    assert_int_equal(plait_queue_get_bytes(q, got, sizeof got, &size, PLAIT_NOW), 0);
    assert_int_equal(size, expected_size);
    assert_memory_equal(got, expected, size);
    assert_int_equal(got[size], 'g');
}

/* Three at a time, so that a bounded one goes round, with neighbours of other lengths. */
static void lengths_come_out_whole(plait_queue_t *q, enum plait_queue_kind kind)
{
    char bytes[SHORT + 2];

    for (unsigned size = 0; size + 2 <= SHORT + 2; size++) {
        for (unsigned i = 0; i < 3; i++) {
            fill_short(bytes, size + i, size * 3 + i);
            assert_int_equal(plait_queue_put_bytes(q, bytes, size + i, PLAIT_NOW), 0);
        }
        for (unsigned i = 0; i < 3; i++) {
            unsigned next = kind == PLAIT_LIFO ? 2 - i : i;

            get_short(q, size + next, size * 3 + next, (size + i) % 4 == 3);
        }
    }
}

static void short_messages_of_all_lengths_come_out_whole(void **state)
{
    for (int shared = 0; shared < 2; shared++)
        for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++)
            for (int bounded = 0; bounded < 2; bounded++) {
                plait_queue_t *q = make_kind(shared, kind, bounded ? 7 : 0);

                lengths_come_out_whole(q, kind);
                drop(q);
            }
}

/* Many pieces of an unbounded queue come and go, some with long ones and some without. */
static void pieces_of_an_unbounded_queue_go_with_all_that_they_had(void **state)
{
    enum { ALL = 3000 };
    char bytes[SHORT];

    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make_kind(shared, PLAIT_FIFO, 0);
        size_t before = used(), full;

        for (unsigned i = 0; i < ALL; i++) {
            size_t size = i < ALL / 2 ? i % (SHORT + 1) : i % (NEAR + 1);

            fill_short(bytes, size, i);
            assert_int_equal(plait_queue_put_bytes(q, bytes, size, PLAIT_NOW), 0);
        }
        full = used();
        for (unsigned i = 0; i < ALL; i++)
            get_short(q, i < ALL / 2 ? i % (SHORT + 1) : i % (NEAR + 1), i, false);
        assert_true(!shared || (used() < full && used() <= before + 4096));
        drop(q);
    }
}

static void short_message_that_is_borrowed_is_as_any_other(void **state)
{
    for (int shared = 0; shared < 2; shared++)
        for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++) {
            plait_queue_t *q = make_kind(shared, kind, 4);
            size_t before = used();
            struct plait_message m;

            if (kind == PLAIT_PRIORITY)
                assert_int_equal(plait_queue_put_bytes_priority(q, "short", 5, -3, PLAIT_NOW), 0);
            else
                put(q, "short");
            assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), 0);
            assert_true(plait_queue_is_empty(q));
            assert_int_equal((uintptr_t)m.data % 16, 0);
            assert_int_equal(m.size, 5);
            assert_memory_equal(m.data, "short", 5);
            assert_int_equal(m.priority, kind == PLAIT_PRIORITY ? -3 : 0);
            put(q, "that"); /* whatever comes where it was */
            gets(q, "that");
            assert_memory_equal(m.data, "short", 5);
            m.size = 6;
            assert_int_equal(plait_queue_commit(q, &m, PLAIT_NOW), EINVAL);
            m.size = 4;
            memcpy(m.data, "less", 4);
            assert_int_equal(plait_queue_commit(q, &m, PLAIT_NOW), 0);
            gets(q, "less");
            put(q, "back");
            assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), 0);
            assert_int_equal(plait_queue_give_back(q, &m), 0);
            assert_int_equal(used(), before);
            drop(q);
        }
}

enum { BLOCKS_MAX = 20000 };

/* All of the arena that can be had. */
static size_t fill_arena(void *blocks[BLOCKS_MAX])
{
    size_t count = 0;

    for (size_t size = 4096; size >= 16; size /= 2)
        while (count < BLOCKS_MAX && plait_arena_alloc(arena, size, &blocks[count]) == 0)
            count++;
    assert_true(count < BLOCKS_MAX);
    return count;
}

static int reserve_and_die(void *q)
{
    struct plait_message m;

    if (plait_queue_reserve(q, 500, &m) == 0)
        raise(SIGKILL);
    return 1;
}

static void where_no_memory_is_left_short_messages_come_and_go(void **state)
{
    static void *blocks[BLOCKS_MAX];

    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++) {
        plait_queue_t *q = make_kind(true, kind, 4);
        struct plait_message m;
        size_t count;

        put(q, "first");
        gets(q, "first"); /* and this thread takes part */
        assert_int_equal(child_run(reserve_and_die, q), CHILD_SIGNALLED + SIGKILL);
        count = fill_arena(blocks);
        put(q, "second");
        assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), 0); /* in memory that the dead had */
        assert_int_equal(plait_queue_give_back(q, &m), 0);
        count += fill_arena(blocks + count);
        put(q, "third");
        assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), ENOSPC);
        assert_null(m.data);
        assert_int_equal(plait_queue_qsize(q), 1);
        gets(q, "third");
        for (size_t i = 0; i < count; i++)
            assert_int_equal(plait_arena_dealloc(arena, blocks[i]), 0);
        drop(q);
    }
}

static void put_and_get_of(plait_queue_t *q, size_t size)
{
    char bytes[SHORT + 1];

    fill_short(bytes, size, 1);
    assert_int_equal(plait_queue_put_bytes(q, bytes, size, PLAIT_NOW), 0);
    get_short(q, size, 1, false);
}

/* A queue whose longer short ones find no memory for all of them uses what there is for the one. */
static void short_message_has_a_block_where_no_memory_is_for_all_like_it(void **state)
{
    static void *blocks[BLOCKS_MAX];
    char bytes[SHORT] = { 0 };
    plait_queue_t *q = make_kind(true, PLAIT_FIFO, 4000);
    size_t count, before;

    put_and_get_of(q, NEAR);
    put_and_get_of(q, SHORT + 1);
    count = fill_arena(blocks);
    assert_int_equal(plait_queue_put_bytes(q, bytes, NEAR + 1, PLAIT_NOW), ENOSPC);
    assert_int_equal(plait_queue_put_bytes(q, bytes, SHORT, PLAIT_NOW), ENOSPC);
    assert_true(plait_queue_is_empty(q));
    put_and_get_of(q, NEAR);
    for (int i = 0; i < 20; i++) /* far from enough for all */
        assert_int_equal(plait_arena_dealloc(arena, blocks[--count]), 0);
    before = used();
    for (int i = 0; i < 300; i++)
        put_and_get_of(q, i % 2 ? NEAR + 1 : SHORT);
    assert_int_equal(used(), before);
    while (count)
        assert_int_equal(plait_arena_dealloc(arena, blocks[--count]), 0);
    before = used();
    for (int i = 0; i < 300; i++)
        put_and_get_of(q, SHORT);
    assert_true(used() > before); /* and when there is, has it again */
    drop(q);
}

/* Where the rest of a message shall be, nothing is, or something else. */
static void damaged_place_of_the_rest_is_refused(void **state)
{
    for (int bounded = 0; bounded < 2; bounded++) {
        plait_queue_t *q = make_kind(true, PLAIT_FIFO, bounded ? 4 : 0), *other;
        char bytes[SHORT] = { 0 };
        uint64_t *annex, place;
        plait_ref_t ref;
        size_t size;

        put_and_get_of(q, SHORT);
        assert_int_equal(plait_queue_put_bytes(q, bytes, SHORT, PLAIT_NOW), 0);
        annex = bounded ? &q->body->put.annex : &((struct plait__segment *)plait__memory_at(q, q->body->get.segment))->annex;
        place = *annex;
        for (uint64_t wrong = 0; wrong < 3; wrong++) {
            *annex = wrong == 2 ? UINT64_MAX - 63 : wrong * 64;
            assert_int_equal(plait_queue_ref(q, &ref), 0);
            assert_int_equal(plait_queue_open(&other, ref), 0);
            assert_int_equal(plait_queue_get_bytes(other, bytes, SHORT, &size, PLAIT_NOW), EBADMSG);
            if (wrong)
                assert_int_equal(plait_queue_put_bytes(other, bytes, SHORT, PLAIT_NOW), EBADMSG);
            plait_queue_free(other);
        }
        *annex = place;
        assert_int_equal(plait_queue_get_bytes(q, bytes, SHORT, &size, PLAIT_NOW), 0);
        drop(q);
    }
}

/* Wherever the label points, and however long the message is said to be. */
static void damaged_label_is_refused(void **state)
{
    static const uint64_t wrong[] = { 0, 2, 8, (uint64_t)1 << 40, UINT64_MAX - 1, UINT64_MAX, 1 + 2 * (SHORT + 1), (uint64_t)1 << 63 | 1 };

    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++) {
        plait_queue_t *q = make_kind(true, kind, 4);
        char buffer[SHORT];
        struct plait__mail *mail;
        struct plait_message m;
        uint64_t label;
        size_t size;

        put(q, "x");
        mail = plait__look(q, PLAIT__NEXT);
        label = mail->label;
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            mail->label = wrong[i];
            assert_int_equal(plait_queue_borrow(q, &m, PLAIT_FOREVER), EBADMSG);
            assert_int_equal(plait_queue_get_bytes(q, buffer, sizeof buffer, &size, PLAIT_FOREVER), EBADMSG);
        }
        mail->label = label;
        gets(q, "x");
        put(q, "ends so");
        mail = plait__look(q, PLAIT__NEXT);
        mail->label = UINT64_MAX;
        drop(q);
    }
}

/* ---- Overflow ---- */

static void overflow_rules_free_what_they_discard(void **state)
{
    static const char *const words[] = { "one", LONG_TEXT, "three", "four", LONG_TEXT " too" };

    for (int shared = 0; shared < 2; shared++)
        for (int kind = PLAIT_FIFO; kind <= PLAIT_LIFO; kind++)
            for (int oldest = 0; oldest < 2; oldest++) {
                plait_queue_t *q = make(shared, (struct plait_queue_opts){
                                                    .kind = kind, .maxsize = 3,
                                                    .overflow = oldest ? PLAIT_OVERFLOW_DROP_OLDEST : PLAIT_OVERFLOW_DROP_NEWEST });
                size_t before = 0;

                for (int round = 0; round < 50; round++) {
                    int first = oldest ? 2 : 0;

                    for (int i = 0; i < 5; i++)
                        put(q, words[i]);
                    assert_int_equal(plait_queue_dropped(q), 2 * (round + 1));
                    for (int i = 0; i < 3; i++)
                        gets(q, words[kind == PLAIT_FIFO ? first + i : first + 2 - i]);
                    if (round == 0)
                        before = used();
                }
                assert_int_equal(used(), before);
                drop(q);
            }
}

/* ---- Waiting ---- */

struct waiter {
    plait_queue_t *q;
    plait_cancel_t *token;
    int err;
    size_t size;
    char text[200];
    pthread_t thread;
};

static void *put_waiting(void *arg)
{
    struct waiter *w = arg;

    plait_cancel_bind(w->token);
    w->err = plait_queue_put_bytes(w->q, w->text, w->size, PLAIT_FOREVER);
    plait_cancel_bind(NULL);
    return NULL;
}

static void *get_waiting(void *arg)
{
    struct waiter *w = arg;

    w->err = plait_queue_get_bytes(w->q, w->text, sizeof w->text, &w->size, PLAIT_FOREVER);
    return NULL;
}

static void start(struct waiter *w, void *(*body)(void *))
{
    assert_int_equal(pthread_create(&w->thread, NULL, body, w), 0);
    plait_sleep_until(plait_after(0.02));
}

static void getter_waits_for_a_message_and_putter_for_room(void **state)
{
    for (int shared = 0; shared < 2; shared++)
        for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++) {
            plait_queue_t *q = make_kind(shared, kind, 1);
            struct waiter w = { .q = q };

            start(&w, get_waiting);
            put(q, "hello");
            assert_int_equal(pthread_join(w.thread, NULL), 0);
            assert_int_equal(w.err, 0);
            assert_int_equal(w.size, 5);
            assert_memory_equal(w.text, "hello", 5);
            put(q, "full");
            start(&w, put_waiting);
            gets(q, "full");
            assert_int_equal(pthread_join(w.thread, NULL), 0);
            assert_int_equal(w.err, 0);
            gets(q, "hello");
            drop(q);
        }
}

static void put_that_ends_without_room_leaves_no_memory_behind(void **state)
{
    for (int each = 0; each < 4; each++) {
        bool shared = each % 2;
        plait_queue_t *q = make_kind(shared, PLAIT_FIFO, 1);
        plait_cancel_t token = { 0 };
        struct waiter w = { .q = q, .token = &token, .size = each < 2 ? SHORT : SHORT + 1 };
        struct plait_message m;
        size_t before;
        void *result;

        put(q, "full");
        before = used();
        assert_int_equal(plait_queue_put_bytes(q, w.text, w.size, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(plait_queue_put_bytes(q, w.text, w.size, plait_after(0.01)), ETIMEDOUT);
        start(&w, put_waiting);
        plait_cancel_set(&token);
        assert_int_equal(pthread_join(w.thread, NULL), 0);
        assert_int_equal(w.err, ECANCELED);
        w.token = NULL;
        w.err = -1;
        start(&w, put_waiting);
        pthread_cancel(w.thread);
        assert_int_equal(pthread_join(w.thread, &result), 0);
        assert_int_equal(w.err, -1);
        assert_int_equal(used(), before);
        assert_int_equal(plait_queue_reserve(q, 5, &m), 0);
        start(&w, put_waiting);
        assert_int_equal(plait_queue_close(q), 0);
        assert_int_equal(pthread_join(w.thread, NULL), 0);
        assert_int_equal(w.err, EPIPE);
        assert_int_equal(plait_queue_commit(q, &m, PLAIT_NOW), EPIPE);
        assert_int_equal(plait_queue_give_back(q, &m), 0);
        assert_int_equal(used(), before);
        gets(q, "full");
        assert_int_equal(plait_queue_borrow(q, &m, PLAIT_FOREVER), EPIPE);
        drop(q);
    }
}

static void messages_are_waited_for_among_others(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make_kind(shared, PLAIT_FIFO, 1), *second;
        struct plait_message in, out = { 0 }, out2 = { 0 };
        struct waiter w;
        size_t index = 9;

        assert_int_equal(plait_queue_new(&second, &(struct plait_queue_opts){ .arena = arena }), 0);
        struct plait_wait_entry either[] = { plait_any_queue_borrow(q, &out), plait_any_queue_borrow(second, &out2) };

        assert_int_equal(plait_wait_any(either, 2, &index, plait_after(0.01)), ETIMEDOUT);
        w = (struct waiter){ .q = second, .size = 3, .text = "abc" };
        start(&w, put_waiting);
        assert_int_equal(plait_wait_any(either, 2, &index, plait_after(SECONDS)), 0);
        assert_int_equal(index, 1);
        assert_int_equal(out2.size, 3);
        assert_null(out.data);
        assert_int_equal(pthread_join(w.thread, NULL), 0);
        assert_int_equal(plait_queue_give_back(second, &out2), 0);
        assert_int_equal(plait_queue_reserve(q, 2, &in), 0);
        memcpy(in.data, "go", 2);
        struct plait_wait_entry putting[] = { plait_any_queue_commit(q, &in) };

        assert_int_equal(plait_wait_any(putting, 1, &index, PLAIT_NOW), 0);
        assert_null(in.data);
        assert_int_equal(plait_queue_reserve(q, 2, &in), 0);
        assert_int_equal(plait_wait_any(putting, 1, &index, plait_after(0.01)), ETIMEDOUT);
        assert_non_null(in.data);
        assert_int_equal(plait_queue_give_back(q, &in), 0);
        gets(q, "go");
        assert_int_equal(plait_queue_destroy(second), 0);
        drop(q);
    }
}

/* ---- Many at once ---- */

enum { PRODUCERS = 3, CONSUMERS = 2, EACH = 3000, EXTRA = 150 };

/* Shared by the workers of one case. */
static struct tally {
    uint64_t sum;    /* atomic: of the messages' numbers, got */
    uint64_t errors; /* atomic */
} private_tally, *tally;
static plait_queue_t *work;

static void count_error(void)
{
    __atomic_fetch_add(&tally->errors, 1, __ATOMIC_RELAXED);
}

struct record {
    uint32_t producer, number;
    unsigned char bytes[];
};

static void produce(uint32_t producer)
{
    for (uint32_t number = 0; number < EACH; number++) {
        size_t size = sizeof(struct record) + (number * 7 + producer) % EXTRA;
        union { struct record record; unsigned char bytes[sizeof(struct record) + EXTRA]; } own;
        struct plait_message m = { .data = &own };
        bool is_copied = number % 3;
        struct record *r;

        if (!is_copied && plait_queue_reserve(work, size, &m) != 0) {
            count_error();
            return;
        }
        r = m.data;
        *r = (struct record){ producer, number };
        memset(r->bytes, (unsigned char)(producer + number), size - sizeof *r);
        if ((is_copied ? plait_queue_put_bytes(work, r, size, plait_after(SECONDS))
                       : plait_queue_commit(work, &m, plait_after(SECONDS))) != 0)
            count_error();
    }
}

/* A copy, or lent. */
static int take(struct plait_message *m, void *buffer, size_t room, bool copy)
{
    if (!copy)
        return plait_queue_borrow(work, m, plait_after(SECONDS));
    m->data = buffer;
    return plait_queue_get_bytes(work, buffer, room, &m->size, plait_after(SECONDS));
}

static void consume(void)
{
    union { struct record record; unsigned char bytes[sizeof(struct record) + EXTRA]; } own;
    uint32_t next[PRODUCERS] = { 0 };
    struct plait_message m;
    uint64_t sum = 0;
    bool copy = false;
    int err;

    while ((err = take(&m, &own, sizeof own, copy)) == 0) {
        struct record *r = m.data;
        bool sound = r->producer < PRODUCERS && m.size == sizeof *r + (r->number * 7 + r->producer) % EXTRA &&
                     r->number >= next[r->producer];

        for (size_t i = 0; sound && i < m.size - sizeof *r; i++)
            sound = r->bytes[i] == (unsigned char)(r->producer + r->number);
        if (sound)
            next[r->producer] = r->number + 1;
        else
            count_error();
        sum += r->number + 1;
        if (!copy && plait_queue_give_back(work, &m) != 0)
            count_error();
        copy = sum % 2;
    }
    if (err != EPIPE)
        count_error();
    __atomic_fetch_add(&tally->sum, sum, __ATOMIC_RELAXED);
}

static void *run(void *number)
{
    uint32_t n = (uint32_t)(uintptr_t)number;

    if (n < PRODUCERS)
        produce(n);
    else
        consume();
    return NULL;
}

static int run_in_child(void *number)
{
    run(number);
    return 0;
}

/* Each producer's order is kept for each consumer; every message is got once, whole. */
static void messages_of_many_are_got_once_each(bool shared, bool processes, size_t maxsize)
{
    plait_queue_t *q = make_kind(shared, PLAIT_FIFO, maxsize);
    pthread_t threads[PRODUCERS + CONSUMERS];
    pid_t pids[PRODUCERS + CONSUMERS];
    void *memory = &private_tally;

    if (shared)
        assert_int_equal(plait_arena_alloc(arena, sizeof *tally, &memory), 0);
    tally = memory;
    *tally = (struct tally){ 0 };
    work = q;
    child_await_quiet(0); /* of the cases before */
    for (uintptr_t i = 0; i < PRODUCERS + CONSUMERS; i++)
        if (processes)
            pids[i] = child_start(run_in_child, (void *)i);
        else
            assert_int_equal(pthread_create(&threads[i], NULL, run, (void *)i), 0);
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) {
        if (i == PRODUCERS)
            assert_int_equal(plait_queue_close(q), 0);
        if (processes)
            assert_int_equal(child_end(pids[i]), 0);
        else
            assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(tally->errors, 0);
    assert_int_equal(tally->sum, (uint64_t)PRODUCERS * EACH * (EACH + 1) / 2);
    if (shared)
        assert_int_equal(plait_arena_dealloc(arena, tally), 0);
    drop(q);
}

static void messages_of_many_threads_and_processes_are_got_once_each(void **state)
{
    for (int bounded = 0; bounded < 2; bounded++) {
        messages_of_many_are_got_once_each(false, false, bounded ? 10 : 0);
        messages_of_many_are_got_once_each(true, false, bounded ? 10 : 0);
        messages_of_many_are_got_once_each(true, true, 10);
    }
}

/* ---- Death ---- */

static size_t put_until_full(plait_queue_t *q)
{
    static const char block[20000];
    size_t count = 0;
    int err;

    while ((err = plait_queue_put_bytes(q, block, sizeof block, PLAIT_NOW)) == 0)
        count++;
    assert_int_equal(err, ENOSPC);
    return count;
}

static void empty(plait_queue_t *q)
{
    struct plait_message m;

    while (plait_queue_borrow(q, &m, PLAIT_NOW) == 0)
        assert_int_equal(plait_queue_give_back(q, &m), 0);
}

/* No more at one time than a participant's first row of holds has; further ones stay in the arena. */
static int take_and_die(void *arg)
{
    struct plait_message m;

    for (int i = 0; i < 2; i++)
        if (plait_queue_borrow(arg, &m, PLAIT_NOW) != 0 || plait_queue_reserve(arg, 20000, &m) != 0)
            return 1;
    raise(SIGKILL);
    return 2;
}

/* Rows of holds stay with the participants' slots; anything else of the queue's is gone. */
static void drop_after_deaths(plait_queue_t *q)
{
    char text[200];

    assert_int_equal(plait_queue_destroy(q), 0);
    assert_int_equal(plait_arena_check(arena, text, sizeof text), 0);
    assert_true(used() < 10000);
    assert_int_equal(plait_arena_free(arena), 0);
    arena = NULL;
}

static void memory_of_messages_that_the_dead_had_comes_back(void **state)
{
    for (int kind = PLAIT_FIFO; kind <= PLAIT_DEQUE; kind++) {
        plait_queue_t *q = make_kind(true, kind, 0);
        size_t before = put_until_full(q), after;

        empty(q);
        for (int i = 0; i < 60; i++)
            put(q, "had by the dead");
        for (int i = 0; i < 10; i++)
            assert_int_equal(child_run(take_and_die, q), CHILD_SIGNALLED + SIGKILL);
        assert_int_equal(plait_queue_qsize(q), 40);
        empty(q);
        after = put_until_full(q);
        assert_true(after + 1 >= before);
        drop_after_deaths(q);
        q = make_kind(true, kind, 0);
        for (int i = 0; i < 30; i++)
            put(q, "the queue ends with what the dead had");
        assert_int_equal(child_run(take_and_die, q), CHILD_SIGNALLED + SIGKILL);
        drop_after_deaths(q);
    }
}

static void *borrow_and_end(void *arg)
{
    struct plait_message *m = calloc(1, sizeof *m);

    if (m)
        plait_queue_borrow(arg, m, PLAIT_NOW); /* without one .data stays NULL, and the test says so */
    return m;
}

static void message_outlives_the_thread_that_borrowed_it(void **state)
{
    plait_queue_t *q = make_kind(true, PLAIT_FIFO, 0);
    pthread_t thread;
    void *m;

    put(q, "kept");
    assert_int_equal(pthread_create(&thread, NULL, borrow_and_end, q), 0);
    assert_int_equal(pthread_join(thread, &m), 0);
    assert_non_null(m);
    assert_non_null(((struct plait_message *)m)->data);
    put_until_full(q); /* which looks for what the dead had */
    assert_memory_equal(((struct plait_message *)m)->data, "kept", 4);
    assert_int_equal(plait_queue_give_back(q, m), 0);
    free(m);
    drop(q);
}

/* Whatever a parcel's own words say, nothing beyond its block is touched. */
static void damaged_message_is_refused(void **state)
{
    plait_queue_t *q = make_kind(true, PLAIT_FIFO, 0);
    struct plait_message m;
    struct plait__parcel *parcel;
    char buffer[8];
    size_t size;

    assert_int_equal(plait_queue_reserve(q, 8, &m), 0);
    parcel = (struct plait__parcel *)((char *)m.data - sizeof *parcel);
    assert_int_equal(plait_queue_commit(q, &m, PLAIT_NOW), 0);
    parcel->size = 4096;
    assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), EBADMSG);
    parcel->room = SIZE_MAX - 8;
    assert_int_equal(plait_queue_get_bytes(q, buffer, 8, &size, PLAIT_FOREVER), EBADMSG);
    parcel->room = 1 << 20;
    assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), EBADMSG);
    parcel->room = parcel->size = 8;
    assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), 0);
    parcel->hold = (uint64_t)1 << 40;
    assert_int_equal(plait_queue_give_back(q, &m), EINVAL);
    parcel->hold = 8;
    assert_int_equal(plait_queue_give_back(q, &m), EINVAL);
    drop(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_out_by_their_kind),
        cmocka_unit_test(message_that_does_not_fit_stays_and_is_told),
        cmocka_unit_test(what_was_reserved_may_be_given_back_or_committed_shorter),
        cmocka_unit_test(what_is_not_the_callers_is_refused),
        cmocka_unit_test(what_another_process_has_is_refused),
        cmocka_unit_test(calls_for_items_and_for_messages_are_not_mixed),
        cmocka_unit_test(priorities_of_messages_are_for_queues_by_priority),
        cmocka_unit_test(queue_of_messages_is_found_by_name_and_reference),
        cmocka_unit_test(short_messages_need_no_memory_beside_the_queue),
        cmocka_unit_test(short_messages_of_all_lengths_come_out_whole),
        cmocka_unit_test(pieces_of_an_unbounded_queue_go_with_all_that_they_had),
        cmocka_unit_test(short_message_that_is_borrowed_is_as_any_other),
        cmocka_unit_test(where_no_memory_is_left_short_messages_come_and_go),
        cmocka_unit_test(short_message_has_a_block_where_no_memory_is_for_all_like_it),
        cmocka_unit_test(damaged_place_of_the_rest_is_refused),
        cmocka_unit_test(damaged_label_is_refused),
        cmocka_unit_test(overflow_rules_free_what_they_discard),
        cmocka_unit_test(getter_waits_for_a_message_and_putter_for_room),
        cmocka_unit_test(put_that_ends_without_room_leaves_no_memory_behind),
        cmocka_unit_test(messages_are_waited_for_among_others),
        cmocka_unit_test(messages_of_many_threads_and_processes_are_got_once_each),
        cmocka_unit_test(memory_of_messages_that_the_dead_had_comes_back),
        cmocka_unit_test(message_outlives_the_thread_that_borrowed_it),
        cmocka_unit_test(damaged_message_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
