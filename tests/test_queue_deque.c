/* SPDX-License-Identifier: MIT */
/* The contract of deques beyond that of all kinds (test_queue_kinds.c): both ends, of items and messages, private and shared. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <plait.h>

#include "queue/row.h"
#include "support/child.h"
#include "support/queue_scene.h"

enum { SECONDS = 30, MANY = 4000, LARGEST = 3000 };

static plait_queue_t *make_deque(bool shared, size_t item_size, size_t maxsize, enum plait_queue_overflow overflow)
{
    return make(shared, (struct plait_queue_opts){
                            .kind = PLAIT_DEQUE, .item_size = item_size, .maxsize = maxsize, .overflow = overflow });
}

/* An item's, or message's, bytes are told by its number. */
static size_t size_of(const plait_queue_t *q, uint64_t number)
{
    return plait_queue_item_size(q) ? plait_queue_item_size(q) : 8 + number % 200;
}

static void fill(unsigned char *bytes, size_t size, uint64_t number)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(number * 31 + number / 200 + i);
}

static int put_at(plait_queue_t *q, bool front, uint64_t number)
{
    unsigned char bytes[LARGEST];
    struct plait_message m;
    int err;

    fill(bytes, size_of(q, number), number);
    if (plait_queue_item_size(q))
        return front ? plait_queue_put_front(q, bytes, PLAIT_NOW) : plait_queue_put(q, bytes, PLAIT_NOW);
    err = plait_queue_reserve(q, size_of(q, number), &m);
    if (err)
        return err;
    memcpy(m.data, bytes, m.size);
    err = front ? plait_queue_commit_front(q, &m, PLAIT_NOW) : plait_queue_commit(q, &m, PLAIT_NOW);
    plait_queue_give_back(q, &m);
    return err;
}

/* 0, and it is that one; or EINVAL for another; or get's error. */
static int get_at(plait_queue_t *q, bool back, uint64_t number)
{
    unsigned char bytes[LARGEST], expected[LARGEST];
    struct plait_message m = { .data = bytes, .size = size_of(q, number) };
    bool right;
    int err;

    fill(expected, size_of(q, number), number);
    if (plait_queue_item_size(q))
        err = back ? plait_queue_get_back(q, bytes, PLAIT_NOW) : plait_queue_get(q, bytes, PLAIT_NOW);
    else
        err = back ? plait_queue_borrow_back(q, &m, PLAIT_NOW) : plait_queue_borrow(q, &m, PLAIT_NOW);
    if (err)
        return err;
    right = m.size == size_of(q, number) && memcmp(m.data, expected, m.size) == 0;
    if (!plait_queue_item_size(q))
        assert_int_equal(plait_queue_give_back(q, &m), 0);
    return right ? 0 : EINVAL;
}

static void puts_at(plait_queue_t *q, bool front, uint64_t number)
{
    assert_int_equal(put_at(q, front, number), 0);
}

static void gets_at(plait_queue_t *q, bool back, uint64_t number) { assert_int_equal(get_at(q, back, number), 0); }

/* ---- Both ends, against a model ---- */

static uint32_t draw(uint32_t below)
{
    static uint64_t state = 1;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

/* The numbers that are there are [first, end) of it. */
static uint64_t model[20 * MANY];

/* It begins at some position: the numbers of entries go round. */
static void behaves_as_the_model(plait_queue_t *q, uint32_t bottom)
{
    size_t first = 10 * MANY, end = first, limit = plait_queue_maxsize(q) ? plait_queue_maxsize(q) : MANY;
    uint64_t number = 0;

    if (!plait_queue_maxsize(q))
        q->body->put.at = (uint64_t)bottom << 32;
    for (int i = 0; i < 2 * MANY; i++) {
        bool far = draw(100) < (i / 500 % 2 ? 20u : 70u); /* now more at the one end, then at the other */
        bool puts = draw(100) < (i / 700 % 3 != 2 ? 65u : 20u);

        assert_int_equal(plait_queue_qsize(q), end - first);
        if (puts && end - first < limit) {
            puts_at(q, far, number);
            model[far ? --first : end++] = number++;
        } else if (puts) {
            assert_int_equal(put_at(q, far, number), ETIMEDOUT);
        } else if (end > first) {
            gets_at(q, !far, model[!far ? --end : first++]);
        } else {
            assert_int_equal(get_at(q, far, 0), ETIMEDOUT);
        }
        if (plait_queue_maxsize(q))
            assert_int_equal(plait_queue_is_full(q), end - first == limit);
        else if (end - first == limit)
            while (end > first) {
                bool back = end % 2;

                gets_at(q, back, model[back ? --end : first++]);
            }
    }
}

static void both_ends_give_and_take(void **state)
{
    static const size_t sizes[] = { 1, 8, 100, LARGEST, 0 };
    static const uint32_t bottoms[] = { 0, 12345, UINT32_MAX - 100 };

    for (int shared = 0; shared < 2; shared++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            plait_queue_t *q = make_deque(shared, sizes[s], 50 + s, 0);

            behaves_as_the_model(q, 0);
            drop(q);
            for (size_t b = 0; b < sizeof bottoms / sizeof *bottoms; b++) {
                q = make_deque(shared, sizes[s], 0, 0);
                behaves_as_the_model(q, bottoms[b]);
                drop(q); /* with what is in it */
            }
        }
}

static void other_ends_are_for_deques(void **state)
{
    for (int kind = PLAIT_FIFO; kind < PLAIT_DEQUE; kind++) {
        plait_queue_t *q = make(false, (struct plait_queue_opts){ .kind = (enum plait_queue_kind)kind, .item_size = 8 });
        plait_queue_t *messages = make(false, (struct plait_queue_opts){ .kind = (enum plait_queue_kind)kind });
        struct plait_message m;
        uint64_t number = 7;

        assert_int_equal(plait_queue_put_front(q, &number, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_get_back(q, &number, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_borrow_back(messages, &m, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_reserve(messages, 8, &m), 0);
        assert_int_equal(plait_queue_commit_front(messages, &m, PLAIT_NOW), EINVAL);
        assert_int_equal(plait_queue_give_back(messages, &m), 0);
        drop(q);
        drop(messages);
    }
    for (int messages = 0; messages < 2; messages++) {
        plait_queue_t *q = make_deque(false, messages ? 0 : 8, 0, 0);
        struct plait_message m = { .data = &m };
        uint64_t number = 7;

        if (messages) {
            assert_int_equal(plait_queue_put_front(q, &number, PLAIT_NOW), EINVAL);
            assert_int_equal(plait_queue_get_back(q, &number, PLAIT_NOW), EINVAL);
        } else {
            assert_int_equal(plait_queue_commit_front(q, &m, PLAIT_NOW), EINVAL);
            assert_int_equal(plait_queue_borrow_back(q, &m, PLAIT_NOW), EINVAL);
        }
        drop(q);
    }
}

/* Python's deque(maxlen=3). */
static void full_deque_drops_at_the_other_end(void **state)
{
    for (int shared = 0; shared < 2; shared++)
        for (int messages = 0; messages < 2; messages++) {
            plait_queue_t *q = make_deque(shared, messages ? 0 : 8, 3, PLAIT_OVERFLOW_DROP_OLDEST);

            for (uint64_t i = 0; i < 5; i++)
                puts_at(q, false, i); /* 2 3 4 */
            puts_at(q, true, 5);      /* 5 2 3 */
            puts_at(q, true, 6);      /* 6 5 2 */
            assert_int_equal(plait_queue_dropped(q), 4);
            gets_at(q, true, 2);
            gets_at(q, false, 6);
            gets_at(q, false, 5);
            assert_int_equal(get_at(q, false, 0), ETIMEDOUT);
            drop(q);

            q = make_deque(shared, messages ? 0 : 8, 2, PLAIT_OVERFLOW_DROP_NEWEST);
            puts_at(q, true, 1);
            puts_at(q, true, 2);
            puts_at(q, true, 3);
            assert_int_equal(plait_queue_dropped(q), 1);
            gets_at(q, false, 2);
            gets_at(q, false, 1);
            drop(q);
        }
}

/* As a queue that only goes through, as two stacks, and growing from the middle. */
static void unbounded_deque_gives_its_memory_back(void **state)
{
    for (int way = 0; way < 4; way++) {
        plait_queue_t *q = make_deque(true, 200, 0, 0);
        bool puts_front = way & 1, gets_back = way & 2;
        size_t before, filled;

        puts_at(q, puts_front, 0);
        before = used();
        for (int round = 0; round < 3; round++) {
            for (uint64_t i = 1; i <= MANY; i++)
                puts_at(q, puts_front, i);
            filled = used();
            assert_true(filled > (size_t)MANY * 200);
            for (uint64_t i = 0; i < MANY; i++)
                gets_at(q, gets_back, puts_front == gets_back ? i : MANY - i);
            assert_true(used() < before + filled / 50);
            gets_at(q, gets_back, puts_front == gets_back ? MANY : 0);
            puts_at(q, puts_front, 0);
        }
        drop(q);
    }
}

static void deque_is_looked_at_from_its_front(void **state)
{
    plait_queue_t *q = make_deque(false, 8, 0, 0);
    uint64_t seen[4], items[] = { 2, 3 }, number = 1;
    size_t count;

    assert_int_equal(plait_queue_put_many(q, items, 2, NULL, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_put_front(q, &number, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_peek(q, &number, PLAIT_NOW), 0);
    assert_int_equal(number, 1);
    assert_int_equal(plait_queue_snapshot(q, seen, 4, &count), 0);
    assert_int_equal(count, 3);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(seen[i], i + 1);
    assert_int_equal(plait_queue_get_many(q, seen, 3, 4, &count, PLAIT_NOW), 0);
    assert_int_equal(seen[0], 1);
    assert_int_equal(seen[2], 3);
    drop(q);
}

/* ---- Waiting ---- */

static void *put_front_and_get_back(void *arg)
{
    plait_queue_t *q = arg;
    uint64_t number = 5;
    int err = plait_queue_put_front(q, &number, plait_after(SECONDS));

    if (err == 0)
        err = plait_queue_get_back(q, &number, plait_after(SECONDS));
    return (void *)(intptr_t)(err ? -err : (int)number);
}

static void await_sleeper(struct plait__eventcount *ec)
{
    while (__atomic_load_n(&ec->sleepers, __ATOMIC_SEQ_CST) < 1)
        plait_sleep(0.001);
}

static void both_ends_wait(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make_deque(shared, 8, 1, 0);
        uint64_t number = 1;
        pthread_t thread;
        void *result;

        assert_int_equal(plait_queue_put(q, &number, PLAIT_NOW), 0);
        assert_int_equal(plait_queue_put_front(q, &number, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(pthread_create(&thread, NULL, put_front_and_get_back, q), 0);
        await_sleeper(&q->body->room);
        assert_int_equal(plait_queue_get(q, &number, PLAIT_NOW), 0); /* the thread's goes in... */
        assert_int_equal(number, 1);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_int_equal((intptr_t)result, 5); /* and out again */

        assert_int_equal(pthread_create(&thread, NULL, put_front_and_get_back, q), 0);
        assert_int_equal(pthread_join(thread, &result), 0);
        plait_queue_close(q);
        assert_int_equal(plait_queue_put_front(q, &number, PLAIT_FOREVER), EPIPE);
        assert_int_equal(plait_queue_get_back(q, &number, PLAIT_FOREVER), EPIPE);
        drop(q);
    }
}

/* ---- Joinable, found again, damaged ---- */

static int get_back_and_die(void *q)
{
    uint64_t number;

    if (plait_queue_get_back(q, &number, PLAIT_NOW) == 0 && number == 3)
        raise(SIGKILL);
    return 1;
}

static void what_was_got_at_the_back_comes_again(void **state)
{
    plait_queue_t *q = make(true, (struct plait_queue_opts){ .kind = PLAIT_DEQUE, .item_size = 8, .joinable = 1 });
    uint64_t items[] = { 1, 2, 3 }, number;

    assert_int_equal(plait_queue_put_many(q, items, 3, NULL, PLAIT_NOW), 0);
    assert_int_equal(child_run(get_back_and_die, q), CHILD_SIGNALLED + SIGKILL);
    plait_sleep(0.06);
    assert_int_equal(plait_queue_join(q, PLAIT_NOW), ETIMEDOUT); /* looks */
    assert_int_equal(plait_queue_get_back(q, &number, PLAIT_NOW), 0);
    assert_int_equal(number, 3);
    assert_int_equal(plait_queue_get_back(q, &number, PLAIT_NOW), 0);
    assert_int_equal(number, 2);
    assert_int_equal(plait_queue_unfinished(q), 3);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    assert_int_equal(plait_queue_get(q, &number, PLAIT_NOW), 0);
    assert_int_equal(number, 1);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    assert_int_equal(plait_queue_join(q, PLAIT_NOW), 0);
    drop(q);
}

static void damaged_deque_is_refused_or_answers(void **state)
{
    plait_queue_t *q = make_deque(true, 8, 0, 0), *again;
    struct plait__pile *pile = plait__pile_of(q);
    struct plait__directory *d = plait__directory(q);
    uint64_t at, number = 0;
    plait_ref_t ref;

    for (int i = 0; i < 5000; i++)
        assert_int_equal(i % 2 ? plait_queue_put(q, &number, PLAIT_NOW) : plait_queue_put_front(q, &number, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_ref(q, &ref), 0);
    assert_int_equal(plait_queue_open(&again, ref), 0);
    plait_queue_free(again);

    at = q->body->put.at;
    q->body->put.at = at + 1000000; /* more than there are */
    assert_int_equal(plait_queue_open(&again, ref), EBADMSG);
    q->body->put.at = at ^ (uint64_t)8 << 32 << pile->shift; /* they begin elsewhere */
    assert_int_equal(plait_queue_open(&again, ref), EBADMSG);
    q->body->put.at = at;
    d->room = 24;
    assert_int_equal(plait_queue_open(&again, ref), EBADMSG);
    d->room = 16;
    d->segments[at >> 32 >> pile->shift & 15] += 8;
    assert_int_equal(plait_queue_open(&again, ref), EBADMSG);
    d->segments[at >> 32 >> pile->shift & 15] -= 8;
    assert_int_equal(plait_queue_open(&again, ref), 0);
    assert_int_equal(plait_queue_qsize(again), 5000);
    plait_queue_free(again);
    drop(q);
}

/* ---- Many at once ---- */

enum { THREADS = 4, EACH = 20000 };

static uint32_t seen[THREADS * EACH]; /* atomic */

struct member {
    plait_queue_t *q;
    unsigned index;
    int err;
};

static void *put_and_get(void *arg)
{
    struct member *m = arg;
    uint64_t number;

    for (unsigned i = 0; i < EACH && m->err == 0; i++) {
        number = (uint64_t)m->index * EACH + i;
        m->err = i % 3 ? plait_queue_put_front(m->q, &number, PLAIT_FOREVER) : plait_queue_put(m->q, &number, PLAIT_FOREVER);
        if (m->err == 0)
            m->err = i % 2 ? plait_queue_get_back(m->q, &number, PLAIT_FOREVER) : plait_queue_get(m->q, &number, PLAIT_FOREVER);
        if (m->err == 0)
            __atomic_fetch_add(&seen[number], 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void each_item_is_got_once(void **state)
{
    for (int shared = 0; shared < 2; shared++)
        for (int bounded = 0; bounded < 2; bounded++) {
            plait_queue_t *q = make_deque(shared, 8, bounded ? THREADS : 0, 0);
            struct member members[THREADS];
            pthread_t threads[THREADS];

            memset(seen, 0, sizeof seen);
            for (unsigned i = 0; i < THREADS; i++) {
                members[i] = (struct member){ q, i, 0 };
                assert_int_equal(pthread_create(&threads[i], NULL, put_and_get, &members[i]), 0);
            }
            for (int i = 0; i < THREADS; i++) {
                assert_int_equal(pthread_join(threads[i], NULL), 0);
                assert_int_equal(members[i].err, 0);
            }
            for (int i = 0; i < THREADS * EACH; i++)
                assert_int_equal(seen[i], 1);
            drop(q);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_give_and_take),
        cmocka_unit_test(other_ends_are_for_deques),
        cmocka_unit_test(full_deque_drops_at_the_other_end),
        cmocka_unit_test(unbounded_deque_gives_its_memory_back),
        cmocka_unit_test(deque_is_looked_at_from_its_front),
        cmocka_unit_test(both_ends_wait),
        cmocka_unit_test(what_was_got_at_the_back_comes_again),
        cmocka_unit_test(damaged_deque_is_refused_or_answers),
        cmocka_unit_test(each_item_is_got_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
