/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: joinable queues. */
#include "kill/world.h"

#include <errno.h>
#include <signal.h>

#include "arena/start_time.h"
#include "queue/ledger.h"

enum { ITEMS_MAX = 40, ROOM = 30 };

/* What is there and what may be: filled by prepare, checked by verify. */
static struct plait_queue_opts opts;
static plait_queue_t *letters;     /* NULL: there are none */
static int count;                  /* items put, numbered from 0 */
static bool expected[ITEMS_MAX];   /* those that must come out, once, of the queue or of the dead letters, but for `loose` */
static int loose;                  /* one that the child puts, or has done: may come out or not; -1: none */
static bool loose_is_put;          /* with the operation done: it must come out; else it must not */
static uint32_t deaths[ITEMS_MAX]; /* before the child came */
static int touched;                /* one that the child gets: one death more; -1: none */
static struct plait_ticket child_ticket;

static int64_t priority_of(long number) { return number * 7 % 5; }

static int put_numbered(long number)
{
    struct item item = { .number = number };

    if (opts.item_size)
        return opts.kind == PLAIT_PRIORITY ? plait_queue_put_priority(queue, &item, priority_of(number), PLAIT_NOW)
                                           : plait_queue_put(queue, &item, PLAIT_NOW);
    return opts.kind == PLAIT_PRIORITY
               ? plait_queue_put_bytes_priority(queue, &number, sizeof number, priority_of(number), PLAIT_NOW)
               : plait_queue_put_bytes(queue, &number, sizeof number, PLAIT_NOW);
}

static int get_numbered(plait_queue_t *q, long *number, struct plait_ticket *ticket)
{
    struct plait_message m;
    struct item item;
    int err;

    *ticket = (struct plait_ticket){ 0 };
    if (opts.item_size) {
        err = q->ledger ? plait_queue_get_ticket(q, &item, ticket, PLAIT_NOW) : plait_queue_get(q, &item, PLAIT_NOW);
        *number = item.number;
        return err;
    }
    err = plait_queue_borrow(q, &m, PLAIT_NOW);
    if (err)
        return err;
    memcpy(number, m.data, sizeof *number);
    *ticket = m.ticket;
    return q->ledger ? 0 : plait_queue_give_back(q, &m);
}

static void put_more(int number)
{
    for (; number; number--) {
        expected[count] = true;
        if (put_numbered(count++))
            abort();
    }
}

static void make(enum plait_queue_kind kind, size_t item_size, size_t maxsize)
{
    memset(expected, 0, sizeof expected);
    memset(deaths, 0, sizeof deaths);
    count = 0;
    loose = touched = -1;
    opts.item_size = item_size;
    opts.maxsize = maxsize;
    opts.arena = arena;
    opts.kind = kind;
    opts.joinable = 1;
    if (plait_queue_new(&queue, &opts))
        abort();
    put_more(3);
}

static void plain(enum plait_queue_kind kind, size_t item_size, size_t maxsize)
{
    used_before = used();
    opts = (struct plait_queue_opts){ 0 };
    letters = NULL;
    make(kind, item_size, maxsize);
}

/* One death is enough. */
static void with_letters(enum plait_queue_kind kind, size_t item_size, size_t maxsize)
{
    used_before = used();
    opts = (struct plait_queue_opts){ .item_size = item_size, .arena = arena, .kind = kind, .maxsize = maxsize };
    if (plait_queue_new(&letters, &opts))
        abort();
    opts.dead_letters = letters;
    opts.max_deliveries = 1;
    make(PLAIT_FIFO, item_size, maxsize);
}

static int first_of_all(void)
{
    int first = -1;

    for (int i = 0; i < count; i++)
        if (expected[i] && (first < 0 || opts.kind == PLAIT_LIFO ||
                            (opts.kind == PLAIT_PRIORITY && priority_of(i) < priority_of(first))))
            first = i;
    return first;
}

static int get_one_and_die(void *unused)
{
    long number;

    if (get_numbered(queue, &number, &child_ticket) == 0)
        raise(SIGKILL);
    return 1;
}

static void after_death(void)
{
    deaths[first_of_all()]++;
    if (child_run(get_one_and_die, NULL) != CHILD_SIGNALLED + SIGKILL)
        abort();
    queue->ledger->looked = 0; /* the next who looks may look at once */
}

/* It is noticed, so the item waits to come again. */
static void after_noticed_death(void)
{
    after_death();
    plait_queue_join(queue, PLAIT_NOW);
    if (queue->ledger->returned.count != 1)
        abort();
}

/* Dies with the lock held, in the middle of a get, which has taken effect, or has not. */
static int die_amid_get(void *happened)
{
    struct plait__queue_side *side = plait__side(queue, PLAIT__GETS);
    struct plait__record *r;
    struct item item;

    if (plait__side_lock(queue, side, PLAIT_FOREVER) || plait__records_reach(queue))
        return 1;
    r = plait__record_at(queue, queue->ledger->free.first);
    if (plait__peek_step(queue, r->item))
        return 2;
    r->number = ++queue->ledger->gets;
    plait__ledger_sign(queue, r);
    r->at = side->at;
    side->hand = plait__offset_in(queue->base, r) | 1;
    plait__record_set_state(r, PLAIT__RECORD_TAKING);
    if (happened)
        plait__get_step(queue, &item, NULL);
    raise(SIGKILL);
    return 3;
}

/* The same amid the posting of what the dead had, with both queues' locks. */
static int die_amid_post(void *happened)
{
    struct plait__queue_side *side = plait__side(letters, PLAIT__PUTS);
    struct plait__record *r;

    if (plait__side_lock(queue, plait__side(queue, PLAIT__GETS), PLAIT_FOREVER) ||
        plait__side_lock(letters, side, PLAIT_FOREVER))
        return 1;
    r = plait__record_at(queue, queue->ledger->taken.first);
    r->at = side->at;
    plait__record_set(r, PLAIT__RECORD_LETTER, 1);
    side->hand = plait__offset_in(queue->base, r) | 1;
    plait__record_set_state(r, PLAIT__RECORD_POSTING);
    if (happened)
        plait__put_step(letters, r->item, 0);
    raise(SIGKILL);
    return 2;
}

static void amid(int (*how)(void *), bool happened)
{
    if (child_run(how, happened ? opts.arena : NULL) != CHILD_SIGNALLED + SIGKILL)
        abort();
    queue->ledger->looked = 0;
}

static void amid_get(bool happened)
{
    deaths[first_of_all()] += happened;
    amid(die_amid_get, happened);
}

static void child_will_put(void)
{
    loose_is_put = true;
    loose = count++;
}

static void child_will_get(void) { touched = first_of_all(); }

static void fifo_to_get(void) { plain(PLAIT_FIFO, sizeof(long), ROOM); child_will_get(); }
static void chain_to_get(void) { plain(PLAIT_FIFO, sizeof(long), 0); child_will_get(); }
static void lifo_to_get(void) { plain(PLAIT_LIFO, sizeof(long), ROOM); child_will_get(); }
static void heap_to_get(void) { plain(PLAIT_PRIORITY, sizeof(long), ROOM); child_will_get(); }
static void messages_to_get(void) { plain(PLAIT_FIFO, 0, ROOM); child_will_get(); }
static void heap_of_messages_to_get(void) { plain(PLAIT_PRIORITY, 0, 0); child_will_get(); }
static void large_to_get(void) { plain(PLAIT_FIFO, sizeof(struct item), ROOM); child_will_get(); }
static void fifo_to_put(void) { plain(PLAIT_FIFO, sizeof(long), ROOM); child_will_put(); }
static void messages_to_put(void) { plain(PLAIT_LIFO, 0, ROOM); child_will_put(); }
static void fifo_to_get_again(void) { plain(PLAIT_FIFO, sizeof(long), ROOM); after_noticed_death(); child_will_get(); }
static void heap_to_get_again(void) { plain(PLAIT_PRIORITY, sizeof(long), 0); after_noticed_death(); child_will_get(); }
static void messages_to_get_again(void) { plain(PLAIT_FIFO, 0, ROOM); after_noticed_death(); child_will_get(); }
static void fifo_to_look(void) { plain(PLAIT_FIFO, sizeof(long), ROOM); after_death(); }
static void heap_to_look(void) { plain(PLAIT_PRIORITY, sizeof(long), ROOM); after_death(); }
static void messages_to_look(void) { plain(PLAIT_LIFO, 0, ROOM); after_death(); }
static void letters_by_fifo(void) { with_letters(PLAIT_FIFO, sizeof(long), ROOM); after_death(); }
static void letters_by_chain(void) { with_letters(PLAIT_FIFO, sizeof(long), 0); after_death(); }
static void letters_by_lifo(void) { with_letters(PLAIT_LIFO, sizeof(long), ROOM); after_death(); }
static void letters_by_heap(void) { with_letters(PLAIT_PRIORITY, sizeof(long), 0); after_death(); }
static void letters_of_messages(void) { with_letters(PLAIT_FIFO, 0, ROOM); after_death(); }

static void fifo_amid_get(void) { plain(PLAIT_FIFO, sizeof(long), ROOM); amid_get(true); }
static void fifo_before_get(void) { plain(PLAIT_FIFO, sizeof(long), ROOM); amid_get(false); }
static void heap_amid_get(void) { plain(PLAIT_PRIORITY, sizeof(long), 0); amid_get(true); }
static void messages_amid_get(void) { plain(PLAIT_FIFO, 0, ROOM); amid_get(true); }
static void letters_amid_post(void) { letters_by_fifo(); amid(die_amid_post, true); }
static void letters_before_post(void) { letters_by_heap(); amid(die_amid_post, false); }
static void messages_amid_post(void) { letters_of_messages(); amid(die_amid_post, true); }
static void deque_to_get(void) { plain(PLAIT_DEQUE, sizeof(long), 0); touched = count - 1; }

/* The child has it before it is stepped, and says that it is done. */
static void child_will_finish(void)
{
    loose = first_of_all();
    loose_is_put = false;
}

static void fifo_to_finish(void) { plain(PLAIT_FIFO, sizeof(long), ROOM); child_will_finish(); }
static void heap_to_finish(void) { plain(PLAIT_PRIORITY, sizeof(long), ROOM); child_will_finish(); }
static void messages_to_finish(void) { plain(PLAIT_FIFO, 0, ROOM); child_will_finish(); }

/* Nothing else is left, and somebody joins. */
static void last_to_finish(void)
{
    long number;

    fifo_to_finish();
    loose = -1;
    for (int i = 0; i < 2; i++) {
        if (get_numbered(queue, &number, &child_ticket) || plait_queue_task_done(queue, NULL))
            abort();
        expected[number] = false;
    }
    child_will_finish();
}

static pid_t joiner;

static int join_to_the_end(void *unused)
{
    return plait_queue_join(queue, plait_after(20)) == 0 ? 0 : 1;
}

static void last_to_finish_for_a_joiner(void)
{
    last_to_finish();
    joiner = child_start(join_to_the_end, NULL);
    while (__atomic_load_n(&queue->ledger->joiners.sleepers, __ATOMIC_SEQ_CST) == 0)
        plait_sleep(0.001);
}

/* ---- What the child does ---- */

/* What a process finds out once about itself is not what is stepped through. */
static void be_ready(void)
{
    take_part();
    plait__process_id();
}

static void get_first(void)
{
    long number;

    be_ready();
    if (get_numbered(queue, &number, &child_ticket))
        abort();
}

static void put(void) { step_page->out = put_numbered(loose); }

static void get(void)
{
    static struct item item;

    step_page->out = opts.item_size ? plait_queue_get_ticket(queue, &item, &child_ticket, PLAIT_FOREVER)
                                    : plait_queue_borrow(queue, (struct plait_message *)&item, PLAIT_FOREVER);
}

static void get_last(void)
{
    static struct item item;

    step_page->out = plait_queue_get_back(queue, &item, PLAIT_FOREVER);
}

static void finish(void) { step_page->out = plait_queue_task_done(queue, NULL); }

static void finish_by_ticket(void) { step_page->out = plait_queue_task_done(queue, &child_ticket); }

static void look(void)
{
    plait_queue_join(queue, PLAIT_NOW);
    step_page->out = 0;
}

static void close_now(void) { step_page->out = plait_queue_close_now(queue); }

/* ---- What must be so in the end ---- */

static const char *take_all(plait_queue_t *q, bool *seen)
{
    struct plait_ticket ticket;
    long number = -1;
    int err;

    while ((err = get_numbered(q, &number, &ticket)) == 0) {
        if (number < 0 || number >= count || seen[number])
            return "a wrong item, or one that came twice";
        seen[number] = true;
        if (!q->ledger)
            continue;
        if (ticket.redelivered != deaths[number] && (number != touched || ticket.redelivered != deaths[number] + 1) &&
            (number != loose || ticket.redelivered != 1))
            return "a wrong count of deaths";
        if (plait_queue_task_done(q, &ticket))
            return "what was got could not be done";
    }
    return err == ETIMEDOUT || err == EPIPE ? NULL : "get failed";
}

static const char *nothing_is_left(void)
{
    if (plait_queue_unfinished(queue) || plait_queue_join(queue, PLAIT_NOW))
        return "something is not done, though all was";
    plait_queue_destroy(queue);
    if (letters)
        plait_queue_destroy(letters);
    return used() != used_before ? "memory is lost, or freed twice" : checked();
}

static const char *all_come_out_once(bool done)
{
    bool seen[ITEMS_MAX] = { false };
    const char *wrong;

    queue->ledger->looked = 0;
    put_more(4); /* others go on, upon what the child left */
    wrong = take_all(queue, seen);
    if (!wrong && letters)
        wrong = take_all(letters, seen);
    for (int i = 0; !wrong && i < count; i++)
        if (i == loose) {
            if (done && seen[i] != loose_is_put)
                wrong = loose_is_put ? "the item that was put is lost" : "the item that was done came again";
        } else if (seen[i] != expected[i]) {
            wrong = seen[i] ? "an item that was done before" : "an item is lost";
        }
    return wrong ? wrong : nothing_is_left();
}

/* As above; and the joiner was not forgotten. Others do what the child did not. */
static const char *joiner_returns(bool done)
{
    struct plait_ticket ticket;
    long number;
    int end;

    queue->ledger->looked = 0;
    if (!done && get_numbered(queue, &number, &ticket) == 0 && plait_queue_task_done(queue, &ticket))
        return "what was got could not be done";
    end = child_end_by(joiner, 10);
    if (end)
        return end == CHILD_HANGS ? "the joiner was not told" : "join failed";
    return all_come_out_once(done);
}

/* Nothing comes out, whatever it was; if the child was killed before, others close it. */
static const char *nothing_comes_out(bool done)
{
    bool seen[ITEMS_MAX] = { false };
    const char *wrong;

    plait_queue_close_now(queue);
    queue->ledger->looked = 0;
    wrong = take_all(queue, seen);
    for (int i = 0; !wrong && i < count; i++)
        if (seen[i])
            wrong = "an item came out of a queue that is closed at once";
    return wrong ? wrong : nothing_is_left();
}

#define CASE(what, how_prepared, first, what_is_done, check) \
    { .name = "joinable " what, .prepare = how_prepared, .before = first, .operate = what_is_done, .verify = check }

static const struct step_op ops[] = {
    CASE("put", fifo_to_put, be_ready, put, all_come_out_once),
    CASE("put, messages", messages_to_put, be_ready, put, all_come_out_once),
    CASE("get, fifo", fifo_to_get, be_ready, get, all_come_out_once),
    CASE("get, fifo, unbounded", chain_to_get, be_ready, get, all_come_out_once),
    CASE("get, lifo", lifo_to_get, be_ready, get, all_come_out_once),
    CASE("get, by priority", heap_to_get, be_ready, get, all_come_out_once),
    CASE("get, messages", messages_to_get, be_ready, get, all_come_out_once),
    CASE("get, messages by priority", heap_of_messages_to_get, be_ready, get, all_come_out_once),
    CASE("get, large items", large_to_get, be_ready, get, all_come_out_once),
    CASE("get of what comes again, fifo", fifo_to_get_again, be_ready, get, all_come_out_once),
    CASE("get of what comes again, by priority", heap_to_get_again, be_ready, get, all_come_out_once),
    CASE("get of what comes again, messages", messages_to_get_again, be_ready, get, all_come_out_once),
    CASE("look at deaths, fifo", fifo_to_look, be_ready, look, all_come_out_once),
    CASE("look at deaths, by priority", heap_to_look, be_ready, look, all_come_out_once),
    CASE("look at deaths, messages", messages_to_look, be_ready, look, all_come_out_once),
    CASE("dead letter, fifo", letters_by_fifo, be_ready, look, all_come_out_once),
    CASE("dead letter, fifo, unbounded", letters_by_chain, be_ready, look, all_come_out_once),
    CASE("dead letter, lifo", letters_by_lifo, be_ready, look, all_come_out_once),
    CASE("dead letter, by priority", letters_by_heap, be_ready, look, all_come_out_once),
    CASE("dead letter, messages", letters_of_messages, be_ready, look, all_come_out_once),
    CASE("get of the last, deque", deque_to_get, be_ready, get_last, all_come_out_once),
    CASE("look after a death amid a get, fifo", fifo_amid_get, be_ready, look, all_come_out_once),
    CASE("look after a death before a get, fifo", fifo_before_get, be_ready, look, all_come_out_once),
    CASE("look after a death amid a get, by priority", heap_amid_get, be_ready, look, all_come_out_once),
    CASE("look after a death amid a get, messages", messages_amid_get, be_ready, look, all_come_out_once),
    CASE("look after a death amid a dead letter, fifo", letters_amid_post, be_ready, look, all_come_out_once),
    CASE("look after a death before a dead letter, by priority", letters_before_post, be_ready, look, all_come_out_once),
    CASE("look after a death amid a dead letter, messages", messages_amid_post, be_ready, look, all_come_out_once),
    CASE("task_done, fifo", fifo_to_finish, get_first, finish, all_come_out_once),
    CASE("task_done, by priority, with a ticket", heap_to_finish, get_first, finish_by_ticket, all_come_out_once),
    CASE("task_done, messages", messages_to_finish, get_first, finish, all_come_out_once),
    CASE("task_done, the last", last_to_finish_for_a_joiner, get_first, finish, joiner_returns),
    CASE("close at once", messages_to_get_again, be_ready, close_now, nothing_comes_out),
};

const struct step_table step_joinable = { ops, sizeof ops / sizeof ops[0] };
