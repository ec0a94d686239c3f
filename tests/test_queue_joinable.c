/* SPDX-License-Identifier: MIT */
/* The contract of joinable queues: what was got and is not done, of every kind, items and messages, private and shared, after deaths. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "queue/ledger.h"
#include "support/child.h"
#include "support/queue_scene.h"

enum { SECONDS = 30, MANY = 1000, KINDS = 4 };

static plait_queue_t *make_joinable(bool shared, enum plait_queue_kind kind, size_t item_size, size_t maxsize)
{
    return make(shared, (struct plait_queue_opts){
                            .item_size = item_size, .kind = kind, .maxsize = maxsize, .joinable = 1 });
}

static plait_queue_t *make_plain(bool shared) { return make_joinable(shared, PLAIT_FIFO, sizeof(uint64_t), 0); }

/* An item is a number, also as a message. */
static int put_as(plait_queue_t *q, uint64_t number, int64_t priority, plait_time_t deadline)
{
    bool ranked = plait_queue_kind(q) == PLAIT_PRIORITY;

    if (plait_queue_item_size(q))
        return ranked ? plait_queue_put_priority(q, &number, priority, deadline)
                      : plait_queue_put(q, &number, deadline);
    return ranked ? plait_queue_put_bytes_priority(q, &number, sizeof number, priority, deadline)
                  : plait_queue_put_bytes(q, &number, sizeof number, deadline);
}

static void put(plait_queue_t *q, uint64_t number) { assert_int_equal(put_as(q, number, 0, PLAIT_NOW), 0); }

static int get_by(plait_queue_t *q, uint64_t *number, struct plait_ticket *ticket, plait_time_t deadline)
{
    struct plait_message m;
    int err;

    if (plait_queue_item_size(q))
        return plait_queue_get_ticket(q, number, ticket, deadline);
    err = plait_queue_borrow(q, &m, deadline);
    if (err == 0)
        memcpy(number, m.data, sizeof *number);
    *ticket = m.ticket;
    return err;
}

static struct plait_ticket gets(plait_queue_t *q, uint64_t number)
{
    struct plait_ticket ticket;
    uint64_t got = ~number;

    assert_int_equal(get_by(q, &got, &ticket, plait_after(SECONDS)), 0);
    assert_int_equal(got, number);
    assert_int_not_equal(ticket.number, 0);
    return ticket;
}

static void finish(plait_queue_t *q, struct plait_ticket ticket)
{
    assert_int_equal(plait_queue_task_done(q, &ticket), 0);
}

static void all_is_done(plait_queue_t *q)
{
    assert_int_equal(plait_queue_unfinished(q), 0);
    assert_int_equal(plait_queue_join(q, PLAIT_NOW), 0);
}

/* In a child: get so many, and answer 0; what is then? */
struct taking {
    plait_queue_t *q;
    int count;
    enum { DIE, EXIT, STOP_FIRST } then;
};

static int take_and_end(void *arg)
{
    struct taking *taking = arg;

    for (int i = 0; i < taking->count; i++) {
        struct plait_ticket ticket;
        uint64_t number;

        if (get_by(taking->q, &number, &ticket, plait_after(SECONDS)) != 0)
            return 1;
    }
    if (taking->then == DIE)
        raise(SIGKILL);
    if (taking->then == STOP_FIRST) {
        raise(SIGSTOP);
        for (int i = 0; i < taking->count; i++)
            if (plait_queue_task_done(taking->q, NULL) != 0)
                return 2;
    }
    return 0;
}

/* And by the end of it that has been noticed: who joins looks, though not again at once. */
static void a_child_takes_and_dies(plait_queue_t *q, int count)
{
    assert_int_equal(child_run(take_and_end, &(struct taking){ q, count, DIE }), CHILD_SIGNALLED + SIGKILL);
    plait_sleep(0.06);
    plait_queue_join(q, PLAIT_NOW);
}

/* Every kind, of items and of messages. */
static void for_all(bool shared, void (*body)(plait_queue_t *q))
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int bounded = 0; bounded < 2; bounded++)
            for (int messages = 0; messages < 2; messages++) {
                plait_queue_t *q = make_joinable(shared, (enum plait_queue_kind)kind,
                                                 messages ? 0 : sizeof(uint64_t), bounded ? 20 : 0);

                body(q);
                drop(q);
            }
}

/* ---- What Python's queue and JoinableQueue promise ---- */

static void counts(plait_queue_t *q)
{
    struct plait_ticket ticket;
    uint64_t number;

    all_is_done(q);
    assert_int_equal(plait_queue_task_done(q, NULL), EOVERFLOW);
    for (uint64_t i = 0; i < 3; i++)
        put(q, i);
    assert_int_equal(plait_queue_unfinished(q), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_queue_join(q, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(get_by(q, &number, &ticket, PLAIT_NOW), 0);
        assert_int_equal(ticket.redelivered, 0);
        assert_int_equal(plait_queue_qsize(q), 2 - i);
        assert_int_equal(plait_queue_unfinished(q), 3 - i);
        assert_int_equal(plait_queue_join(q, plait_after(0.001)), ETIMEDOUT);
        assert_int_equal(plait_queue_task_done(q, NULL), 0);
    }
    all_is_done(q);
    assert_int_equal(plait_queue_task_done(q, NULL), EOVERFLOW);
    assert_int_equal(plait_queue_get_ticket(q, &number, &ticket, PLAIT_NOW),
                     plait_queue_item_size(q) ? ETIMEDOUT : EINVAL);
    assert_int_equal(ticket.number, 0);
}

static void all_that_was_got_must_be_done(void **state)
{
    for_all(false, counts);
    for_all(true, counts);
}

static struct work {
    plait_queue_t *q;
    uint32_t done, failed; /* atomic */
} work;

static void *consume(void *arg)
{
    struct plait_ticket ticket;
    uint64_t number;
    int err;

    while ((err = get_by(work.q, &number, &ticket, plait_after(SECONDS))) == 0) {
        __atomic_fetch_add(&work.done, 1, __ATOMIC_RELAXED);
        if (plait_queue_task_done(work.q, number % 2 ? NULL : &ticket) != 0)
            __atomic_fetch_add(&work.failed, 1, __ATOMIC_RELAXED);
    }
    if (err != EPIPE)
        __atomic_fetch_add(&work.failed, 1, __ATOMIC_RELAXED);
    return arg;
}

static void work_off(plait_queue_t *q)
{
    uint64_t items = getenv("PLAIT_STRESS_SECONDS") ? MANY / 5 : MANY; /* set where time is short */
    pthread_t consumers[3];

    work = (struct work){ .q = q };
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&consumers[i], NULL, consume, NULL), 0);
    for (uint64_t i = 0; i < items; i++)
        assert_int_equal(put_as(q, i, (int64_t)(i * 7 % 13), plait_after(SECONDS)), 0);
    assert_int_equal(plait_queue_join(q, plait_after(SECONDS)), 0);
    assert_int_equal(__atomic_load_n(&work.done, __ATOMIC_RELAXED), items);
    plait_queue_close(q);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(consumers[i], NULL), 0);
    assert_int_equal(work.failed, 0);
    all_is_done(q);
}

static void join_waits_until_all_is_done(void **state)
{
    for_all(false, work_off);
    for_all(true, work_off);
}

static void *join(void *arg)
{
    return (void *)(intptr_t)plait_queue_join(arg, plait_after(SECONDS));
}

/* Sees to it that those many sleep. */
static void await_joiners(plait_queue_t *q, uint32_t count)
{
    while (__atomic_load_n(&q->ledger->joiners.sleepers, __ATOMIC_SEQ_CST) < count)
        plait_sleep(0.001);
}

static void join_returns_though_more_was_put_at_once(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make_plain(shared);
        pthread_t joiners[3];
        void *result;

        put(q, 1);
        for (int i = 0; i < 3; i++)
            assert_int_equal(pthread_create(&joiners[i], NULL, join, q), 0);
        await_joiners(q, 3);
        finish(q, gets(q, 1));
        put(q, 2);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(pthread_join(joiners[i], &result), 0);
            assert_int_equal((intptr_t)result, 0);
        }
        assert_int_equal(plait_queue_unfinished(q), 1);
        drop(q);
    }
}

static void *join_with_token(void *arg)
{
    void **what = arg;

    plait_cancel_bind(what[1]);
    return (void *)(intptr_t)plait_queue_join(what[0], plait_after(SECONDS));
}

static void join_can_be_cancelled(void **state)
{
    plait_queue_t *q = make_plain(false);
    plait_cancel_t token;
    pthread_t joiner;
    void *result;

    assert_int_equal(plait_cancel_init(&token, 0), 0);
    put(q, 1);
    assert_int_equal(pthread_create(&joiner, NULL, join_with_token, (void *[]){ q, &token }), 0);
    await_joiners(q, 1);
    plait_cancel_set(&token);
    assert_int_equal(pthread_join(joiner, &result), 0);
    assert_int_equal((intptr_t)result, ECANCELED);
    assert_int_equal(pthread_create(&joiner, NULL, join, q), 0);
    await_joiners(q, 1);
    assert_int_equal(pthread_cancel(joiner), 0);
    assert_int_equal(pthread_join(joiner, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    finish(q, gets(q, 1));
    all_is_done(q);
    plait_cancel_fini(&token);
    drop(q);
}

/* ---- Tickets ---- */

static void use_tickets(plait_queue_t *q)
{
    bool ranked = plait_queue_kind(q) == PLAIT_PRIORITY;
    struct plait_ticket tickets[3], bad;
    uint64_t number;

    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(put_as(q, i, -5 + (int64_t)i, PLAIT_NOW), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(get_by(q, &number, &tickets[i], PLAIT_NOW), 0);
        assert_int_equal(tickets[i].priority, ranked ? -5 + i : 0);
    }
    finish(q, tickets[1]);
    assert_int_equal(plait_queue_task_done(q, &tickets[1]), EOVERFLOW);
    assert_int_equal(plait_queue_task_done(q, NULL), 0); /* the oldest */
    assert_int_equal(plait_queue_task_done(q, &tickets[0]), EOVERFLOW);
    bad = tickets[2];
    bad.number++;
    assert_int_equal(plait_queue_task_done(q, &bad), EOVERFLOW);
    bad = tickets[2];
    bad.record = 1000000000;
    assert_int_equal(plait_queue_task_done(q, &bad), EOVERFLOW);
    assert_int_equal(plait_queue_task_done(q, &(struct plait_ticket){ 0 }), EOVERFLOW);
    finish(q, tickets[2]);
    all_is_done(q);
    put(q, 9); /* a record is used again, which old tickets do not name */
    gets(q, 9);
    for (int i = 0; i < 3; i++)
        assert_int_equal(plait_queue_task_done(q, &tickets[i]), EOVERFLOW);
    assert_int_equal(plait_queue_unfinished(q), 1);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
}

static void ticket_says_which(void **state)
{
    for_all(false, use_tickets);
    for_all(true, use_tickets);
}

static void *get_one_and_finish_it_without_ticket(void *arg)
{
    uint64_t number;
    int err = plait_queue_get(arg, &number, plait_after(SECONDS));

    if (err == 0)
        err = plait_queue_task_done(arg, NULL);
    return (void *)(intptr_t)err;
}

static void *finish_without_ticket(void *arg) { return (void *)(intptr_t)plait_queue_task_done(arg, NULL); }

static intptr_t by_thread(void *(*body)(void *), void *arg)
{
    pthread_t thread;
    void *result;

    assert_int_equal(pthread_create(&thread, NULL, body, arg), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    return (intptr_t)result;
}

static void without_ticket_a_thread_means_its_own_first(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make_plain(shared);
        struct plait_ticket ours;

        put(q, 1);
        put(q, 2);
        ours = gets(q, 1);
        assert_int_equal(by_thread(get_one_and_finish_it_without_ticket, q), 0);
        assert_int_equal(plait_queue_unfinished(q), 1);
        finish(q, ours);
        put(q, 3);
        ours = gets(q, 3);
        assert_int_equal(by_thread(finish_without_ticket, q), 0); /* has none of its own: the process's */
        assert_int_equal(plait_queue_task_done(q, &ours), EOVERFLOW);
        all_is_done(q);
        drop(q);
    }
}

static void ticket_of_the_latest_is_told_afterwards(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make_joinable(shared, PLAIT_PRIORITY, sizeof(uint64_t), 0);
        struct plait_ticket ticket, first;
        uint64_t number = 0;
        struct plait_wait_entry entry = plait_any_queue_get(q, &number);
        size_t index;

        assert_int_equal(plait_queue_taken(q, &ticket), EINVAL);
        assert_int_equal(ticket.number, 0);
        assert_int_equal(put_as(q, 1, 5, PLAIT_NOW), 0);
        assert_int_equal(put_as(q, 2, 6, PLAIT_NOW), 0);
        assert_int_equal(plait_wait_any(&entry, 1, &index, PLAIT_NOW), 0);
        assert_int_equal(plait_queue_taken(q, &first), 0);
        assert_int_equal(first.priority, 5);
        assert_int_equal(plait_queue_get(q, &number, PLAIT_NOW), 0);
        assert_int_equal(plait_queue_taken(q, &ticket), 0);
        assert_int_equal(ticket.priority, 6);
        finish(q, ticket);
        assert_int_equal(plait_queue_taken(q, &ticket), 0);
        assert_memory_equal(&ticket, &first, sizeof ticket);
        assert_int_equal(by_thread(get_one_and_finish_it_without_ticket, put_as(q, 3, 7, PLAIT_NOW) ? NULL : q), 0);
        finish(q, ticket);
        assert_int_equal(plait_queue_taken(q, &ticket), EINVAL);
        drop(q);
    }
}

static int try_to_finish(void *arg)
{
    void **what = arg;

    if (plait_queue_task_done(what[0], what[1]) != EPERM)
        return 1;
    return plait_queue_task_done(what[0], NULL) == EOVERFLOW ? 0 : 2;
}

static void what_another_process_got_is_its_own(void **state)
{
    plait_queue_t *q = make_plain(true);
    struct plait_ticket ticket;

    put(q, 1);
    ticket = gets(q, 1);
    assert_int_equal(child_run(try_to_finish, (void *[]){ q, &ticket }), 0);
    finish(q, ticket);
    drop(q);
}

static void batches_are_done_one_by_one(void **state)
{
    static uint64_t numbers[MANY];

    for (int shared = 0; shared < 2; shared++)
        for (int kind = 0; kind < KINDS; kind++) {
            plait_queue_t *q = make_joinable(shared, (enum plait_queue_kind)kind, sizeof(uint64_t), 0);
            size_t count;

            for (uint64_t i = 0; i < MANY; i++)
                numbers[i] = i;
            assert_int_equal(plait_queue_put_many(q, numbers, MANY, NULL, PLAIT_NOW), 0);
            assert_int_equal(plait_queue_get_many(q, numbers, MANY, MANY, &count, PLAIT_NOW), 0);
            assert_int_equal(plait_queue_qsize(q), 0);
            assert_int_equal(plait_queue_unfinished(q), MANY);
            for (int i = 0; i < MANY; i++)
                assert_int_equal(plait_queue_task_done(q, NULL), 0);
            assert_int_equal(plait_queue_task_done(q, NULL), EOVERFLOW);
            all_is_done(q);
            drop(q);
        }
}

/* ---- Deaths ---- */

static void come_again(plait_queue_t *q)
{
    size_t before = used();
    struct plait_ticket ticket;

    put(q, 7);
    a_child_takes_and_dies(q, 1);
    assert_int_equal(plait_queue_unfinished(q), 1);
    a_child_takes_and_dies(q, 1);
    ticket = gets(q, 7);
    assert_int_equal(ticket.redelivered, 2);
    assert_int_equal(plait_queue_join(q, PLAIT_NOW), ETIMEDOUT);
    finish(q, ticket);
    all_is_done(q);
    put(q, 8);
    assert_int_equal(gets(q, 8).redelivered, 0); /* another item */
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    if (plait_queue_maxsize(q) && !plait_queue_item_size(q) && plait_queue_kind(q) != PLAIT_PRIORITY)
        assert_in_range(used(), before, before + 8192); /* the first records; no message is left */
}

static void item_of_a_dead_consumer_comes_again(void **state)
{
    for_all(true, come_again);
}

static void *get_one_ticket(void *arg)
{
    struct plait_ticket *ticket = calloc(1, sizeof *ticket);
    uint64_t number;

    if (plait_queue_get_ticket(arg, &number, ticket, plait_after(SECONDS)) != 0 || number != 5)
        ticket->number = 0;
    return ticket;
}

static void await_getter(plait_queue_t *q)
{
    while (__atomic_load_n(&q->body->items.sleepers, __ATOMIC_SEQ_CST) < 1)
        plait_sleep(0.001);
}

static void sleeping_getter_gets_what_the_dead_had(void **state)
{
    plait_queue_t *q = make_plain(true);
    struct taking taking = { q, 1, STOP_FIRST };
    struct plait_ticket *ticket;
    pthread_t getter;
    pid_t child;
    int status;

    put(q, 5);
    child = child_start(take_and_end, &taking);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(pthread_create(&getter, NULL, get_one_ticket, q), 0);
    await_getter(q);
    child_kill(child);
    assert_int_equal(pthread_join(getter, (void **)&ticket), 0);
    assert_int_not_equal(ticket->number, 0);
    assert_int_equal(ticket->redelivered, 1);
    finish(q, *ticket);
    free(ticket);
    drop(q);
}

static void stopped_consumer_keeps_what_it_got(void **state)
{
    plait_queue_t *q = make_plain(true);
    struct taking taking = { q, 2, STOP_FIRST };
    struct plait_ticket ticket;
    uint64_t number;
    pid_t child;
    int status;

    put(q, 1);
    put(q, 2);
    child = child_start(take_and_end, &taking);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(plait_queue_get_ticket(q, &number, &ticket, plait_after(1.2)), ETIMEDOUT);
    assert_int_equal(plait_queue_join(q, plait_after(0.3)), ETIMEDOUT);
    kill(child, SIGCONT);
    assert_int_equal(plait_queue_join(q, plait_after(SECONDS)), 0);
    assert_int_equal(child_end(child), 0);
    drop(q);
}

static void exit_without_task_done_is_a_death(void **state)
{
    plait_queue_t *q = make_plain(true);

    put(q, 3);
    assert_int_equal(child_run(take_and_end, &(struct taking){ q, 1, EXIT }), 0);
    assert_int_equal(gets(q, 3).redelivered, 1);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    drop(q);
}

static void *get_only(void *arg)
{
    uint64_t number;

    return (void *)(intptr_t)plait_queue_get(arg, &number, plait_after(SECONDS));
}

static void end_of_the_thread_is_none(void **state)
{
    plait_queue_t *q = make_plain(true);
    struct plait_ticket ticket;
    uint64_t number;

    put(q, 3);
    assert_int_equal(by_thread(get_only, q), 0);
    assert_int_equal(plait_queue_get_ticket(q, &number, &ticket, plait_after(0.3)), ETIMEDOUT);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    all_is_done(q);
    drop(q);
}

static void what_comes_again_comes_first(void **state)
{
    for (int kind = 0; kind < KINDS; kind++) {
        plait_queue_t *q = make_joinable(true, (enum plait_queue_kind)kind, sizeof(uint64_t), 4);
        uint64_t got, expected[] = { 2, 4, 8, 9 }, seen[8];
        size_t count;

        /* Taken, then killed: 4 and 8, in whichever order the kind has. */
        assert_int_equal(put_as(q, 4, 4, PLAIT_NOW), 0);
        assert_int_equal(put_as(q, 8, 8, PLAIT_NOW), 0);
        a_child_takes_and_dies(q, 2);
        assert_int_equal(put_as(q, 2, 2, PLAIT_NOW), 0);
        assert_int_equal(put_as(q, 9, 9, PLAIT_NOW), 0);
        assert_int_equal(put_as(q, 10, 10, PLAIT_NOW), 0);
        assert_int_equal(put_as(q, 11, 11, PLAIT_NOW), 0); /* four, beside those that are to come again */
        assert_int_equal(plait_queue_qsize(q), 6);
        assert_true(plait_queue_is_full(q));
        assert_int_equal(plait_queue_snapshot(q, seen, 8, &count), 0);
        assert_int_equal(count, 6);
        if (kind == PLAIT_PRIORITY) {
            for (int i = 0; i < 4; i++) {
                assert_int_equal(plait_queue_peek(q, &got, PLAIT_NOW), 0);
                assert_int_equal(got, expected[i]);
                assert_int_equal(gets(q, expected[i]).priority, expected[i]);
            }
        } else {
            assert_int_equal(plait_queue_peek(q, &got, PLAIT_NOW), 0);
            assert_int_equal(got, kind == PLAIT_LIFO ? 8 : 4);
            assert_int_equal(seen[0], got);
            assert_int_equal(gets(q, kind == PLAIT_LIFO ? 8 : 4).redelivered, 1);
            assert_int_equal(gets(q, kind == PLAIT_LIFO ? 4 : 8).redelivered, 1);
            assert_int_equal(gets(q, kind == PLAIT_LIFO ? 11 : 2).redelivered, 0);
        }
        drop(q);
    }
}

static void many_of_the_dead_come_again_in_their_order(void **state)
{
    plait_queue_t *q = make_plain(true);

    for (uint64_t i = 0; i < MANY; i++)
        put(q, i);
    a_child_takes_and_dies(q, MANY);
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(gets(q, i).redelivered, 1);
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(plait_queue_task_done(q, NULL), 0);
    all_is_done(q);
    drop(q);
}

static void dead_consumers_item_is_waited_for_among_others(void **state)
{
    plait_queue_t *q = make_plain(true);
    uint64_t number = 0;
    struct plait_wait_entry entry = plait_any_queue_get(q, &number);
    size_t index = 9;

    put(q, 6);
    a_child_takes_and_dies(q, 1);
    assert_int_equal(plait_wait_any(&entry, 1, &index, plait_after(SECONDS)), 0);
    assert_int_equal(number, 6);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    drop(q);
}

/* ---- Dead letters ---- */

static plait_queue_t *make_limited(uint32_t deliveries, size_t item_size, plait_queue_t *letters)
{
    return make(true, (struct plait_queue_opts){ .item_size = item_size,
                                                 .joinable = 1,
                                                 .max_deliveries = deliveries,
                                                 .dead_letters = letters });
}

static void item_that_kills_goes_to_the_dead_letters(void **state)
{
    for (int messages = 0; messages < 2; messages++)
        for (int kind = 0; kind < KINDS; kind++) {
            size_t size = messages ? 0 : sizeof(uint64_t);
            plait_queue_t *letters = make(true, (struct plait_queue_opts){
                                                    .item_size = size, .kind = (enum plait_queue_kind)kind });
            plait_queue_t *q = make_limited(2, size, letters);

            put(q, 13);
            put(q, 14);
            a_child_takes_and_dies(q, 1);
            a_child_takes_and_dies(q, 1); /* 13, the second time */
            finish(q, gets(q, 14));
            assert_int_equal(plait_queue_join(q, plait_after(SECONDS)), 0);
            assert_int_equal(plait_queue_qsize(q), 0);
            assert_int_equal(plait_queue_dropped(q), 0);
            assert_int_equal(plait_queue_qsize(letters), 1);
            if (messages) {
                struct plait_message m;

                assert_int_equal(plait_queue_borrow(letters, &m, PLAIT_NOW), 0);
                assert_int_equal(*(uint64_t *)m.data, 13);
                assert_int_equal(plait_queue_give_back(letters, &m), 0);
            } else {
                uint64_t number;

                assert_int_equal(plait_queue_get(letters, &number, PLAIT_NOW), 0);
                assert_int_equal(number, 13);
            }
            assert_int_equal(plait_queue_destroy(q), 0);
            drop(letters);
        }
}

static void without_dead_letters_it_is_discarded(void **state)
{
    plait_queue_t *q = make_limited(1, 0, NULL);

    put(q, 13);
    a_child_takes_and_dies(q, 1);
    assert_int_equal(plait_queue_join(q, plait_after(SECONDS)), 0);
    assert_int_equal(plait_queue_dropped(q), 1);
    drop(q);
}

static void dead_letter_waits_for_room(void **state)
{
    plait_queue_t *letters =
        make(true, (struct plait_queue_opts){ .item_size = sizeof(uint64_t), .maxsize = 1, .joinable = 1 });
    plait_queue_t *q = make_limited(1, sizeof(uint64_t), letters);

    put(letters, 1);
    put(q, 13);
    a_child_takes_and_dies(q, 1);
    assert_int_equal(plait_queue_join(q, plait_after(0.3)), ETIMEDOUT);
    assert_int_equal(plait_queue_unfinished(q), 1);
    assert_int_equal(plait_queue_qsize(q), 0);
    finish(letters, gets(letters, 1));
    assert_int_equal(plait_queue_join(q, plait_after(SECONDS)), 0);
    finish(letters, gets(letters, 13));
    all_is_done(letters);
    assert_int_equal(plait_queue_destroy(q), 0);
    drop(letters);
}

static void dead_letter_for_a_closed_queue_is_discarded(void **state)
{
    plait_queue_t *letters = make(true, (struct plait_queue_opts){ .item_size = sizeof(uint64_t) });
    plait_queue_t *q = make_limited(1, sizeof(uint64_t), letters);

    plait_queue_close(letters);
    put(q, 13);
    a_child_takes_and_dies(q, 1);
    assert_int_equal(plait_queue_join(q, plait_after(SECONDS)), 0);
    assert_int_equal(plait_queue_dropped(q), 1);
    assert_int_equal(plait_queue_destroy(q), 0);
    drop(letters);
}

/* ---- Closing ---- */

static void close_and_finish(plait_queue_t *q)
{
    struct plait_ticket ticket;
    uint64_t number;

    put(q, 1);
    ticket = gets(q, 1);
    plait_queue_close(q);
    assert_int_equal(get_by(q, &number, &(struct plait_ticket){ 0 }, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_queue_join(q, PLAIT_NOW), ETIMEDOUT);
    finish(q, ticket);
    all_is_done(q);
}

static void discard_and_finish(plait_queue_t *q)
{
    struct plait_ticket ticket;

    put(q, 1);
    put(q, 1);
    put(q, 1);
    ticket = gets(q, 1);
    plait_queue_close_now(q);
    assert_int_equal(plait_queue_unfinished(q), 1);
    assert_int_equal(plait_queue_join(q, PLAIT_NOW), ETIMEDOUT);
    finish(q, ticket);
    all_is_done(q);
}

static void join_works_after_close(void **state)
{
    for_all(false, close_and_finish);
    for_all(true, close_and_finish);
    for_all(false, discard_and_finish);
    for_all(true, discard_and_finish);
}

static void close_now_ends_join(void **state)
{
    plait_queue_t *q = make_plain(false);
    pthread_t joiner;
    void *result;

    put(q, 1);
    assert_int_equal(pthread_create(&joiner, NULL, join, q), 0);
    await_joiners(q, 1);
    plait_queue_close_now(q);
    assert_int_equal(pthread_join(joiner, &result), 0);
    assert_int_equal((intptr_t)result, 0);
    drop(q);
}

static void what_comes_back_after_close_can_be_got(void **state)
{
    plait_queue_t *q = make_plain(true);
    struct taking taking = { q, 1, STOP_FIRST };
    uint64_t number;
    pid_t child;
    int status;

    put(q, 4);
    child = child_start(take_and_end, &taking);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    plait_queue_close(q);
    assert_int_equal(plait_queue_get(q, &number, PLAIT_FOREVER), EPIPE);
    child_kill(child);
    assert_int_equal(plait_queue_join(q, plait_after(0.3)), ETIMEDOUT);
    assert_int_equal(gets(q, 4).redelivered, 1);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    all_is_done(q);
    drop(q);
}

static void what_comes_back_after_close_now_is_discarded(void **state)
{
    for (int messages = 0; messages < 2; messages++) {
        plait_queue_t *q = make_joinable(true, PLAIT_FIFO, messages ? 0 : sizeof(uint64_t), 0);
        struct taking taking = { q, 1, STOP_FIRST };
        pid_t child;
        int status;

        put(q, 4);
        put(q, 5);
        a_child_takes_and_dies(q, 1);
        gets(q, 4);
        assert_int_equal(plait_queue_task_done(q, NULL), 0);
        child = child_start(take_and_end, &taking);
        assert_int_equal(waitpid(child, &status, WUNTRACED), child);
        plait_queue_close_now(q);
        assert_int_equal(plait_queue_join(q, plait_after(0.1)), ETIMEDOUT);
        child_kill(child);
        assert_int_equal(plait_queue_join(q, plait_after(SECONDS)), 0);
        drop(q);
    }
}

/* ---- Messages ---- */

static void message_is_the_queues_until_it_is_done(void **state)
{
    for (int shared = 0; shared < 2; shared++) {
        plait_queue_t *q = make_joinable(shared, PLAIT_FIFO, 0, 10);
        struct plait_message m, reserved;
        char buffer[100] = { 0 };
        size_t size, before;

        put(q, 1);
        gets(q, 1);
        assert_int_equal(plait_queue_task_done(q, NULL), 0);
        before = used(); /* with records */
        assert_int_equal(plait_queue_put_bytes(q, "first", 5, PLAIT_NOW), 0);
        assert_int_equal(plait_queue_put_bytes(q, "second", 6, PLAIT_NOW), 0);
        assert_int_equal(plait_queue_get_bytes(q, buffer, 4, &size, PLAIT_NOW), EMSGSIZE);
        assert_int_equal(size, 5);
        assert_int_equal(plait_queue_qsize(q), 2);
        assert_int_equal(plait_queue_get_bytes(q, buffer, sizeof buffer, &size, PLAIT_NOW), 0);
        assert_string_equal(buffer, "first");
        assert_int_equal(plait_queue_borrow(q, &m, PLAIT_NOW), 0);
        assert_int_equal(plait_queue_give_back(q, &m), EINVAL);
        assert_int_equal(plait_queue_commit(q, &m, PLAIT_NOW), EINVAL);
        assert_memory_equal(m.data, "second", 6);
        assert_int_equal(plait_queue_reserve(q, 10, &reserved), 0);
        assert_int_equal(plait_queue_give_back(q, &reserved), 0);
        finish(q, m.ticket);
        assert_int_equal(plait_queue_task_done(q, NULL), 0);
        all_is_done(q);
        assert_int_equal(used(), before);
        /* What nobody finishes ends with the queue. */
        put(q, 2);
        gets(q, 2);
        drop(q);
    }
}

enum { LARGE = 100000 };

static int take_large_and_die(void *q)
{
    unsigned char *item = malloc(LARGE);

    if (plait_queue_get(q, item, PLAIT_NOW) == 0)
        raise(SIGKILL);
    return 1;
}

static void large_items_come_again_whole(void **state)
{
    for (int kind = 0; kind < KINDS; kind++) {
        plait_queue_t *q = make_joinable(true, (enum plait_queue_kind)kind, LARGE, 4);
        unsigned char *item = malloc(LARGE);

        for (int i = 0; i < LARGE; i++)
            item[i] = (unsigned char)(i * 7);
        assert_int_equal(plait_queue_put(q, item, PLAIT_NOW), 0);
        assert_int_equal(child_run(take_large_and_die, q), CHILD_SIGNALLED + SIGKILL);
        memset(item, 0, LARGE);
        assert_int_equal(plait_queue_get(q, item, plait_after(SECONDS)), 0);
        for (int i = 0; i < LARGE; i++)
            if (item[i] != (unsigned char)(i * 7))
                fail_msg("byte %d", i);
        assert_int_equal(plait_queue_task_done(q, NULL), 0);
        free(item);
        drop(q);
    }
}

/* ---- Options, names ---- */

static int try_options(struct plait_queue_opts opts)
{
    plait_queue_t *q;
    int err = plait_queue_new(&q, &opts);

    plait_queue_free(q);
    return err;
}

static void bad_options_are_refused(void **state)
{
    plait_queue_t *letters = make(true, (struct plait_queue_opts){ .item_size = 8 });
    plait_queue_t *private, *limited = make_limited(3, 8, letters);
    struct plait_ticket ticket;
    uint64_t number;

    assert_int_equal(plait_queue_new(&private, &(struct plait_queue_opts){ .item_size = 8 }), 0);
    assert_int_equal(try_options((struct plait_queue_opts){ .item_size = 8, .max_deliveries = 1 }), EINVAL);
    assert_int_equal(try_options((struct plait_queue_opts){ .item_size = 8, .joinable = 1, .dead_letters = private }),
                     EINVAL);
    assert_int_equal(try_options((struct plait_queue_opts){
                         .item_size = 8, .arena = arena, .joinable = 1, .max_deliveries = 1, .dead_letters = private }),
                     EINVAL);
    assert_int_equal(try_options((struct plait_queue_opts){
                         .item_size = 16, .arena = arena, .joinable = 1, .max_deliveries = 1, .dead_letters = letters }),
                     EINVAL);
    assert_int_equal(try_options((struct plait_queue_opts){
                         .item_size = 8, .arena = arena, .joinable = 1, .max_deliveries = 1, .dead_letters = limited }),
                     EINVAL);
    /* And what is not joinable is not joined. */
    assert_int_equal(plait_queue_task_done(private, NULL), EINVAL);
    assert_int_equal(plait_queue_join(private, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_queue_get_ticket(private, &number, &ticket, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_queue_unfinished(private), 0);
    assert_int_equal(plait_queue_taken(private, &ticket), EINVAL);
    plait_queue_free(private);
    assert_int_equal(plait_queue_destroy(limited), 0);
    drop(letters);
}

static void joinable_queue_is_found_by_name(void **state)
{
    plait_queue_t *letters = make(true, (struct plait_queue_opts){ .item_size = 8 });
    struct plait_queue_opts opts = { .item_size = 8, .arena = arena, .name = "work", .joinable = 1 };
    plait_queue_t *q, *again;

    opts.max_deliveries = 1;
    opts.dead_letters = letters;
    assert_int_equal(plait_queue_new(&q, &opts), 0);
    put(q, 1);
    gets(q, 1);
    assert_int_equal(plait_queue_new(&again, &opts), 0);
    assert_int_equal(plait_queue_unfinished(again), 1);
    assert_int_equal(plait_queue_task_done(again, NULL), 0);
    put(again, 2);
    a_child_takes_and_dies(q, 1);
    assert_int_equal(plait_queue_join(again, plait_after(SECONDS)), 0);
    assert_int_equal(plait_queue_qsize(letters), 1);
    assert_int_equal(plait_queue_free(again), 0);
    opts.max_deliveries = 2;
    assert_int_equal(try_options(opts), EINVAL);
    opts.max_deliveries = 1;
    opts.dead_letters = NULL;
    assert_int_equal(try_options(opts), EINVAL);
    opts.max_deliveries = 0;
    opts.joinable = 0;
    assert_int_equal(try_options(opts), EINVAL);
    assert_int_equal(plait_queue_destroy(q), 0);
    assert_int_equal(plait_queue_destroy(letters), 0);
    assert_int_equal(plait_arena_free(arena), 0); /* its table of names is not empty */
    arena = NULL;
}

/* ---- Damage ---- */

/* Every word of the ledger and of a record in it: an error, or an answer. */
static void damaged_ledger_is_refused_or_answers(void **state)
{
    static const uint64_t values[] = { 0, 1, 7, (uint64_t)1 << 20, (uint64_t)1 << 40, UINT64_MAX };
    plait_queue_t *q = make_joinable(true, PLAIT_FIFO, 0, 0), *again;
    struct plait__record *record;
    plait_ref_t ref;
    int opened = 0, refused = 0;

    put(q, 1);
    put(q, 2);
    gets(q, 1);
    assert_int_equal(plait_queue_ref(q, &ref), 0);
    record = plait__memory_at(q, q->ledger->segments[0]);
    for (size_t word = 0; word < sizeof *q->ledger / 8 + sizeof *record / 8 + 1; word++)
        for (size_t value = 0; value < sizeof values / sizeof values[0]; value++) {
            size_t ledger_words = sizeof *q->ledger / 8;
            uint64_t *place = word < ledger_words ? (uint64_t *)q->ledger + word
                                                  : (uint64_t *)record + (word - ledger_words);
            struct plait__ledger ledger = *q->ledger;
            uint64_t before[sizeof *record / 8 + 1];
            int err;

            memcpy(before, record, sizeof before);
            *place = values[value];
            err = plait_queue_open(&again, ref);
            if (err == 0) {
                opened++;
                plait_queue_unfinished(again);
                plait_queue_join(again, PLAIT_NOW);
                plait_queue_free(again);
            } else {
                refused++;
                assert_int_equal(err, EBADMSG);
            }
            memcpy(record, before, sizeof before);
            *q->ledger = ledger;
        }
    assert_in_range(opened, 10, 1000);
    assert_in_range(refused, 10, 1000);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    finish(q, gets(q, 2));
    drop(q);
}

/* ---- All together ---- */

enum { WORKERS = 4, TASKS = 400 };

/* Works until the queue is closed and empty, unless it dies of an item before it has done it. */
struct shift {
    plait_queue_t *q;
    uint32_t *done; /* by item, in shared memory */
    uint32_t seed;
};

static int work_and_die(void *arg)
{
    struct shift *shift = arg;
    struct plait_ticket ticket;
    uint64_t number;
    int err;

    while ((err = get_by(shift->q, &number, &ticket, plait_after(SECONDS))) == 0) {
        shift->seed = shift->seed * 1664525 + 1013904223;
        if (shift->seed >> 16 & 15)
            __atomic_fetch_add(&shift->done[number], 1, __ATOMIC_RELAXED);
        else
            raise(SIGKILL);
        if (plait_queue_task_done(shift->q, &ticket) != 0)
            return 1;
    }
    return err == EPIPE ? 0 : 2;
}

static void all_work_is_done_though_workers_die(void **state)
{
    for (int messages = 0; messages < 2; messages++)
        for (int kind = 0; kind < KINDS; kind++) {
            plait_queue_t *q = make_joinable(true, (enum plait_queue_kind)kind, messages ? 0 : 8, 50);
            struct shift shift = { .q = q, .seed = 1 };
            pid_t workers[WORKERS];
            uint64_t next = 0;
            void *memory;
            int deaths = 0;

            assert_int_equal(plait_arena_alloc(arena, TASKS * sizeof(uint32_t), &memory), 0);
            shift.done = memory;
            memset(shift.done, 0, TASKS * sizeof(uint32_t));
            for (int i = 0; i < WORKERS; i++) {
                shift.seed += 77;
                workers[i] = child_start(work_and_die, &shift);
            }
            for (;;) {
                int status;
                pid_t pid;

                while (next < TASKS && put_as(q, next, (int64_t)(next % 7), PLAIT_NOW) == 0)
                    next++;
                if (next == TASKS && plait_queue_join(q, plait_after(0.002)) == 0)
                    break;
                pid = waitpid(-1, &status, WNOHANG);
                for (int i = 0; pid > 0 && i < WORKERS; i++)
                    if (workers[i] == pid) {
                        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                        deaths++;
                        shift.seed += 77;
                        workers[i] = child_start(work_and_die, &shift);
                    }
            }
            plait_queue_close(q);
            for (int i = 0; i < WORKERS; i++) {
                int end = child_end(workers[i]);

                assert_true(end == 0 || end == CHILD_SIGNALLED + SIGKILL); /* died since we last looked */
                deaths += end != 0;
            }
            for (int i = 0; i < TASKS; i++)
                assert_int_equal(shift.done[i], 1);
            assert_in_range(deaths, 1, TASKS);
            all_is_done(q);
            plait_arena_dealloc(arena, memory);
            drop(q);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_was_got_must_be_done),
        cmocka_unit_test(join_waits_until_all_is_done),
        cmocka_unit_test(join_returns_though_more_was_put_at_once),
        cmocka_unit_test(join_can_be_cancelled),
        cmocka_unit_test(ticket_says_which),
        cmocka_unit_test(without_ticket_a_thread_means_its_own_first),
        cmocka_unit_test(ticket_of_the_latest_is_told_afterwards),
        cmocka_unit_test(what_another_process_got_is_its_own),
        cmocka_unit_test(batches_are_done_one_by_one),
        cmocka_unit_test(item_of_a_dead_consumer_comes_again),
        cmocka_unit_test(sleeping_getter_gets_what_the_dead_had),
        cmocka_unit_test(stopped_consumer_keeps_what_it_got),
        cmocka_unit_test(exit_without_task_done_is_a_death),
        cmocka_unit_test(end_of_the_thread_is_none),
        cmocka_unit_test(what_comes_again_comes_first),
        cmocka_unit_test(many_of_the_dead_come_again_in_their_order),
        cmocka_unit_test(dead_consumers_item_is_waited_for_among_others),
        cmocka_unit_test(item_that_kills_goes_to_the_dead_letters),
        cmocka_unit_test(without_dead_letters_it_is_discarded),
        cmocka_unit_test(dead_letter_waits_for_room),
        cmocka_unit_test(dead_letter_for_a_closed_queue_is_discarded),
        cmocka_unit_test(join_works_after_close),
        cmocka_unit_test(close_now_ends_join),
        cmocka_unit_test(what_comes_back_after_close_can_be_got),
        cmocka_unit_test(what_comes_back_after_close_now_is_discarded),
        cmocka_unit_test(message_is_the_queues_until_it_is_done),
        cmocka_unit_test(large_items_come_again_whole),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(joinable_queue_is_found_by_name),
        cmocka_unit_test(damaged_ledger_is_refused_or_answers),
        cmocka_unit_test(all_work_is_done_though_workers_die),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
