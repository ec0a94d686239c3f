/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: queues of messages. */
#include "kill/world.h"

#include <errno.h>
#include <signal.h>

#include "arena/block.h"
#include "arena/start_time.h"
#include "queue/parcel.h"
#include "queue/steps.h"

enum { MESSAGES_MAX = 40, ROOM = 30, SIZE_MIN = 500 };

/* What is there and what may be: filled by prepare, checked by verify. */
static struct plait_queue_opts opts;
static size_t used_by_empty;        /* with the queue, and no message */
static int count;                   /* messages put, numbered from 0 */
static bool expected[MESSAGES_MAX]; /* those that must come out, but for `loose` */
static int loose;                   /* one that may come out or not: the child's; -1: none */
static bool loose_is_put;           /* with the operation done: it must come out; else it must not */
static struct plait_message in_hand; /* by the child, before it is stepped */
static bool want_slips, are_slips;  /* the messages are short, and lie in the queue itself: of the next case, of this one */

static size_t size_of(long number)
{
    return are_slips ? 8 + 8 * ((size_t)number % 8) : SIZE_MIN + 24 * (size_t)number;
}

static void fill(unsigned char *bytes, long number)
{
    for (size_t i = 0; i < size_of(number); i++)
        bytes[i] = (unsigned char)(number * 5 + (long)i);
    memcpy(bytes, &number, sizeof number);
}

static long number_of(const struct plait_message *m)
{
    unsigned char bytes[SIZE_MIN + 24 * MESSAGES_MAX];
    long number = -1;

    if (m->size >= sizeof number)
        memcpy(&number, m->data, sizeof number);
    if (number < 0 || number >= count || m->size != size_of(number))
        return -1;
    fill(bytes, number);
    return memcmp(bytes, m->data, m->size) == 0 ? number : -1;
}

static int64_t priority_of(long number) { return number * 7 % 5; }

static int put_numbered(long number)
{
    unsigned char bytes[SIZE_MIN + 24 * MESSAGES_MAX];

    fill(bytes, number);
    return opts.kind == PLAIT_PRIORITY
               ? plait_queue_put_bytes_priority(queue, bytes, size_of(number), priority_of(number), PLAIT_NOW)
               : plait_queue_put_bytes(queue, bytes, size_of(number), PLAIT_NOW);
}

static void put_more(int number)
{
    for (; number; number--) {
        expected[count] = true;
        if (put_numbered(count++))
            abort();
    }
}

static void make(enum plait_queue_kind kind, size_t maxsize, enum plait_queue_overflow overflow)
{
    used_before = used();
    memset(expected, 0, sizeof expected);
    count = 0;
    loose = -1;
    are_slips = want_slips;
    want_slips = false;
    opts = (struct plait_queue_opts){ .maxsize = maxsize, .arena = arena, .kind = kind, .overflow = overflow };
    if (plait_queue_new(&queue, &opts))
        abort();
    used_by_empty = used();
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

static void child_will_put(void)
{
    loose_is_put = true;
    loose = count++;
}

static void child_will_get(void)
{
    loose_is_put = false;
    loose = first_of_all();
}

static void some_fifo(void) { make(PLAIT_FIFO, ROOM, 0); put_more(3); }
static void some_chain(void) { make(PLAIT_FIFO, 0, 0); put_more(3); }
static void some_lifo(void) { make(PLAIT_LIFO, ROOM, 0); put_more(3); }
static void some_heap(void) { make(PLAIT_PRIORITY, ROOM, 0); put_more(9); }

static void some_deque(void) { make(PLAIT_DEQUE, 0, 0); put_more(3); }
static void deque_to_commit(void) { some_deque(); child_will_put(); }

static void deque_to_borrow(void)
{
    some_deque();
    loose_is_put = false;
    loose = count - 1;
}

static void fifo_to_put(void) { some_fifo(); child_will_put(); }
static void chain_to_put(void) { some_chain(); child_will_put(); }
static void lifo_to_put(void) { some_lifo(); child_will_put(); }
static void heap_to_put(void) { some_heap(); child_will_put(); }
static void fifo_to_get(void) { some_fifo(); child_will_get(); }
static void chain_to_get(void) { some_chain(); child_will_get(); }
static void lifo_to_get(void) { some_lifo(); child_will_get(); }
static void heap_to_get(void) { some_heap(); child_will_get(); }

/* The oldest is discarded first, and may be gone without the put. */
static int oldest = -1;

static void full_of(enum plait_queue_kind kind)
{
    make(kind, 3, PLAIT_OVERFLOW_DROP_OLDEST);
    put_more(3);
    oldest = 0;
    child_will_put();
}

static void full_fifo(void) { full_of(PLAIT_FIFO); }
static void full_lifo(void) { full_of(PLAIT_LIFO); }

/* What is borrowed and put again comes where it was. */
static void lifo_to_get_and_put(void)
{
    lifo_to_get();
    loose_is_put = true;
}

static void of_slips(void (*prepare)(void))
{
    want_slips = true;
    prepare();
}

static void slips_to_put(void) { of_slips(fifo_to_put); }
static void chain_of_slips_to_put(void) { of_slips(chain_to_put); }
static void lifo_of_slips_to_put(void) { of_slips(lifo_to_put); }
static void heap_of_slips_to_put(void) { of_slips(heap_to_put); }
static void slips_to_get(void) { of_slips(fifo_to_get); }
static void chain_of_slips_to_get(void) { of_slips(chain_to_get); }
static void lifo_of_slips_to_get(void) { of_slips(lifo_to_get); }
static void heap_of_slips_to_get(void) { of_slips(heap_to_get); }
static void deque_of_slips_to_borrow(void) { of_slips(deque_to_borrow); }
static void lifo_of_slips_to_get_and_put(void) { of_slips(lifo_to_get_and_put); }
static void full_of_slips(void) { of_slips(full_fifo); }
static void lifo_full_of_slips(void) { of_slips(full_lifo); }

/* The child's is the first that has bytes in an annex. */
static void far_slip_to_put(size_t maxsize)
{
    want_slips = true;
    make(PLAIT_FIFO, maxsize, 0);
    put_more(2);
    child_will_put();
}

static void first_far_slip(void) { far_slip_to_put(ROOM); }
static void first_far_slip_of_chain(void) { far_slip_to_put(0); }

/* A segment has been filled, and emptied, and had an annex. */
static void chain_after_a_segment(void)
{
    static const unsigned char bytes[PLAIT__SLIP_MAX];
    unsigned char got[PLAIT__SLIP_MAX];
    size_t size;

    want_slips = true;
    make(PLAIT_FIFO, 0, 0);
    for (uint64_t i = 0; i < queue->cells; i++)
        if (plait_queue_put_bytes(queue, bytes, sizeof bytes, PLAIT_NOW) ||
            plait_queue_get_bytes(queue, got, sizeof got, &size, PLAIT_NOW))
            abort();
    count = 3; /* the next has a size that needs one again */
}

static void slip_to_next_segment(void) { chain_after_a_segment(); child_will_put(); }
static void slip_from_next_segment(void) { chain_after_a_segment(); put_more(3); child_will_get(); }

/* ---- What the child does ---- */

static unsigned char child_bytes[SIZE_MIN + 24 * MESSAGES_MAX];

/* What a process finds out once about itself is not what is stepped through. */
static void be_ready(void)
{
    take_part();
    plait__process_id();
}

static void prepare_bytes(void)
{
    be_ready();
    fill(child_bytes, loose);
}

static void prepare_reserved(void)
{
    be_ready();
    if (plait_queue_reserve(queue, size_of(loose) + 100, &in_hand))
        abort();
    fill(in_hand.data, loose);
    in_hand.size = size_of(loose);
    in_hand.priority = priority_of(loose);
}

static void prepare_borrowed(void)
{
    be_ready();
    if (plait_queue_borrow(queue, &in_hand, PLAIT_NOW))
        abort();
}

static void put_bytes(void)
{
    step_page->out = opts.kind == PLAIT_PRIORITY
                         ? plait_queue_put_bytes_priority(queue, child_bytes, size_of(loose), priority_of(loose),
                                                          PLAIT_FOREVER)
                         : plait_queue_put_bytes(queue, child_bytes, size_of(loose), PLAIT_FOREVER);
}

static void get_bytes(void)
{
    size_t size;

    step_page->out = plait_queue_get_bytes(queue, child_bytes, sizeof child_bytes, &size, PLAIT_FOREVER);
}

static void get_too_much(void)
{
    size_t size;

    step_page->out = plait_queue_get_bytes(queue, child_bytes, are_slips ? 4 : 10, &size, PLAIT_FOREVER);
}

static void reserve(void)
{
    step_page->out = plait_queue_reserve(queue, 3000, &in_hand);
}

static void commit(void)
{
    step_page->out = plait_queue_commit(queue, &in_hand, PLAIT_FOREVER);
}

static void borrow(void)
{
    step_page->out = plait_queue_borrow(queue, &in_hand, PLAIT_FOREVER);
}

static void commit_front(void)
{
    step_page->out = plait_queue_commit_front(queue, &in_hand, PLAIT_FOREVER);
}

static void borrow_back(void)
{
    step_page->out = plait_queue_borrow_back(queue, &in_hand, PLAIT_FOREVER);
}

static void give_back(void)
{
    step_page->out = plait_queue_give_back(queue, &in_hand);
}

static void destroy(void)
{
    step_page->out = plait_queue_destroy(queue);
}

static void settle(void)
{
    plait__hands_settle(queue);
}

/* ---- Whom another death came before ---- */

/* Dies with a parcel in hand, and one borrowed. */
static int die_with_messages(void *unused)
{
    struct plait_message m;

    if (plait_queue_reserve(queue, 2000, &m) == 0 && plait_queue_borrow(queue, &m, PLAIT_NOW) == 0)
        raise(SIGKILL);
    return 1;
}

/* Dies with the lock held, in the middle of a put (which has taken effect, or has not), or of a get. */
static int die_in_put(void *happened)
{
    struct plait__queue_side *side = plait__side(queue, PLAIT__PUTS);
    struct plait__hand hand;
    uint64_t place;

    if (plait__hand_make(queue, size_of(loose), &hand) || plait__side_lock(queue, side, PLAIT_FOREVER))
        return 1;
    place = plait__hand_place(&hand);
    fill((unsigned char *)plait__parcel_at(queue, place)->data, loose);
    plait__parcel_at(queue, place)->size = size_of(loose);
    plait__parcel_at(queue, place)->priority = priority_of(loose);
    hand.hold->next = side->at;
    side->hand = plait__offset_in(queue->base, hand.hold);
    hand.hold->state = PLAIT__HAND_GIVING;
    if (happened)
        plait__put_step(queue, (uint64_t[2]){ place }, priority_of(loose)); /* to gcc, an item may have 16 bytes */
    raise(SIGKILL);
    return 2;
}

static int die_in_get(void *happened)
{
    struct plait__queue_side *side = plait__side(queue, PLAIT__GETS);
    struct plait__mail *mail;
    struct plait__hand hand;

    if (plait__hand_open(queue, &hand) || plait__side_lock(queue, side, PLAIT_FOREVER))
        return 1;
    mail = plait__look(queue, PLAIT__NEXT);
    hand.hold->other = mail->label;
    hand.hold->next = side->at;
    side->hand = plait__offset_in(queue->base, hand.hold);
    hand.hold->state = PLAIT__HAND_TAKING;
    if (happened)
        plait__take_out(queue, mail, PLAIT__NEXT);
    raise(SIGKILL);
    return 2;
}

static void after_death(int (*how)(void *), void *argument)
{
    if (child_run(how, argument) != CHILD_SIGNALLED + SIGKILL)
        abort();
}

/* The one that the dead had is gone, or for a put that did not happen, never was. */
static void gone(void)
{
    expected[loose] = false;
    loose = -1;
}

static void fifo_of_the_dead(void) { fifo_to_get(); after_death(die_with_messages, NULL); gone(); }
static void heap_of_the_dead(void) { heap_to_get(); after_death(die_with_messages, NULL); gone(); }

/* The lock is the put side's: who puts, repairs. */
static void put_after_put(void (*prepare)(void), bool happened)
{
    prepare();
    after_death(die_in_put, happened ? opts.arena : NULL);
    expected[loose] = happened;
    child_will_put();
}

static void fifo_after_put(void) { put_after_put(fifo_to_put, true); }
static void fifo_after_no_put(void) { put_after_put(fifo_to_put, false); }
static void lifo_after_put(void) { put_after_put(lifo_to_put, true); }
static void heap_after_put(void) { put_after_put(heap_to_put, true); }
static void heap_after_no_put(void) { put_after_put(heap_to_put, false); }

static void get_after_get(void (*prepare)(void), bool happened)
{
    prepare();
    after_death(die_in_get, happened ? opts.arena : NULL);
    if (happened)
        expected[loose] = false;
    child_will_get();
}

static void fifo_after_get(void) { get_after_get(fifo_to_get, true); }
static void fifo_after_no_get(void) { get_after_get(fifo_to_get, false); }
static void lifo_after_get(void) { get_after_get(lifo_to_get, true); }
static void heap_after_get(void) { get_after_get(heap_to_get, true); }

/* ---- What must be so in the end ---- */

static bool is_in_order(long before, long number)
{
    if (opts.kind == PLAIT_DEQUE)
        return number > before || before == loose; /* in front */
    if (opts.kind != PLAIT_PRIORITY)
        return opts.kind == PLAIT_LIFO ? number < before : number > before;
    return priority_of(before) < priority_of(number) || (priority_of(before) == priority_of(number) && before < number);
}

static const char *take_all(bool *seen)
{
    struct plait_message m;
    long before = -1;
    int err;

    while ((err = plait_queue_borrow(queue, &m, PLAIT_NOW)) == 0) {
        long number = number_of(&m);

        if (number < 0 || seen[number])
            return "a wrong or torn message, or one that came twice";
        if (before >= 0 && !is_in_order(before, number))
            return "a message out of order";
        seen[before = number] = true;
        if (plait_queue_give_back(queue, &m))
            return "a message could not be given back";
    }
    return err == ETIMEDOUT ? NULL : "borrow failed";
}

/* It stays with a bounded queue. */
static size_t bytes_of_annex(void)
{
    uint64_t size = opts.maxsize * PLAIT__SLIP_FAR + sizeof(struct plait__block);

    return queue->body->put.annex ? plait__class_size(plait__class_for(size)) : 0;
}

static const char *all_come_out_once(bool done)
{
    bool seen[MESSAGES_MAX] = { false };
    const char *wrong;

    if (opts.maxsize != 3)
        put_more(4); /* others go on, upon what the child left */
    wrong = take_all(seen);
    for (int i = 0; !wrong && i < count; i++)
        if (i == loose) {
            if (done && seen[i] != loose_is_put)
                wrong = loose_is_put ? "the message that was put is lost" : "the message that was got came again";
        } else if (i == oldest ? seen[i] && done : seen[i] != expected[i]) {
            wrong = seen[i] ? "a message that was got before" : "a message is lost";
        }
    oldest = -1;
    plait__hands_settle(queue);
    if (!wrong && opts.maxsize && used() != used_by_empty + bytes_of_annex())
        wrong = "a message's memory is lost, or freed twice";
    plait_queue_destroy(queue);
    if (!wrong && used() != used_before)
        wrong = "memory is lost, or freed twice";
    return wrong ? wrong : checked();
}

/* As above, where nobody settles before the queue ends. */
static const char *ends_with_its_messages(bool done)
{
    plait_queue_destroy(queue);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

/*
 * Who destroys must be the last, and if he dies memory is lost, and holds of the dead; but the arena stays sound. So each time in
 * another arena: where holds are left, a slot may need one more row of them, which it keeps.
 */
static void queue_to_end(void)
{
    if (drop_world() || make_world())
        abort();
    fifo_of_the_dead();
}

static const char *arena_is_sound(bool done)
{
    const char *wrong = checked();

    return !wrong && done && used() != used_before ? "memory is lost, or freed twice" : wrong;
}

/* The child only makes or keeps: it takes none out and puts none in. */
static void nothing_loose(void) { some_fifo(); }
static void nothing_loose_of_slips(void) { of_slips(some_fifo); }

/* The child has it in hand before it is stepped, and whatever happens it is gone. */
static void fifo_to_give_back(void)
{
    some_fifo();
    expected[first_of_all()] = false;
}

static void slip_to_give_back(void) { of_slips(fifo_to_give_back); }

/* The dead have copies of two. */
static void queue_of_slips_to_end(void)
{
    want_slips = true;
    queue_to_end();
}

static void slips_of_the_dead(void) { of_slips(fifo_of_the_dead); }

#define CASE(what, how_prepared, first, what_is_done, check) \
    { .name = "message " what, .prepare = how_prepared, .before = first, .operate = what_is_done, .verify = check }

static const struct step_op ops[] = {
    CASE("put, fifo", fifo_to_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put, fifo, unbounded", chain_to_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put, lifo", lifo_to_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put, by priority", heap_to_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put, queue ends", fifo_to_put, prepare_bytes, put_bytes, ends_with_its_messages),
    CASE("get, fifo", fifo_to_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get, fifo, unbounded", chain_to_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get, lifo", lifo_to_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get, by priority", heap_to_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get, queue ends", heap_to_get, prepare_bytes, get_bytes, ends_with_its_messages),
    CASE("get, too large", nothing_loose, be_ready, get_too_much, all_come_out_once),
    CASE("reserve", nothing_loose, be_ready, reserve, all_come_out_once),
    CASE("commit", fifo_to_put, prepare_reserved, commit, all_come_out_once),
    CASE("commit, by priority", heap_to_put, prepare_reserved, commit, all_come_out_once),
    CASE("borrow", fifo_to_get, be_ready, borrow, all_come_out_once),
    CASE("borrow, lifo", lifo_to_get, be_ready, borrow, all_come_out_once),
    CASE("commit in front, deque", deque_to_commit, prepare_reserved, commit_front, all_come_out_once),
    CASE("borrow of the last, deque", deque_to_borrow, be_ready, borrow_back, all_come_out_once),
    CASE("give back", fifo_to_give_back, prepare_borrowed, give_back, all_come_out_once),
    CASE("queue's end", queue_to_end, be_ready, destroy, arena_is_sound),
    CASE("put that drops the oldest, fifo", full_fifo, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put that drops the oldest, lifo", full_lifo, prepare_bytes, put_bytes, all_come_out_once),
    CASE("settle, fifo", fifo_of_the_dead, be_ready, settle, all_come_out_once),
    CASE("settle, by priority", heap_of_the_dead, be_ready, settle, all_come_out_once),
    CASE("put after a death in a put, fifo", fifo_after_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put after a death before a put, fifo", fifo_after_no_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put after a death in a put, lifo", lifo_after_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put after a death in a put, by priority", heap_after_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put after a death before a put, by priority", heap_after_no_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("get after a death in a get, fifo", fifo_after_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get after a death before a get, fifo", fifo_after_no_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get after a death in a get, lifo", lifo_after_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get after a death in a get, by priority", heap_after_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("put of a slip, fifo", slips_to_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put of a slip, fifo, unbounded", chain_of_slips_to_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put of a slip, lifo", lifo_of_slips_to_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put of a slip, by priority", heap_of_slips_to_put, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put of the first slip with an annex", first_far_slip, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put of the first slip with an annex, unbounded", first_far_slip_of_chain, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put of the first slip with an annex, queue ends", first_far_slip, prepare_bytes, put_bytes, ends_with_its_messages),
    CASE("put of the first slip with an annex, unbounded, queue ends", first_far_slip_of_chain, prepare_bytes, put_bytes,
         ends_with_its_messages),
    CASE("put of a slip into the next segment", slip_to_next_segment, prepare_bytes, put_bytes, all_come_out_once),
    CASE("get of a slip from the next segment", slip_from_next_segment, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get of a slip from the next segment, queue ends", slip_from_next_segment, prepare_bytes, get_bytes,
         ends_with_its_messages),
    CASE("put of a slip, queue ends", slips_to_put, prepare_bytes, put_bytes, ends_with_its_messages),
    CASE("put of a slip that drops the oldest, fifo", full_of_slips, prepare_bytes, put_bytes, all_come_out_once),
    CASE("put of a slip that drops the oldest, lifo", lifo_full_of_slips, prepare_bytes, put_bytes, all_come_out_once),
    CASE("get of a slip, fifo", slips_to_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get of a slip, fifo, unbounded", chain_of_slips_to_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get of a slip, lifo", lifo_of_slips_to_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get of a slip, by priority", heap_of_slips_to_get, prepare_bytes, get_bytes, all_come_out_once),
    CASE("get of a slip, too large", nothing_loose_of_slips, be_ready, get_too_much, all_come_out_once),
    CASE("borrow of a slip, fifo", slips_to_get, be_ready, borrow, all_come_out_once),
    CASE("borrow of a slip, fifo, unbounded", chain_of_slips_to_get, be_ready, borrow, all_come_out_once),
    CASE("borrow of a slip, by priority", heap_of_slips_to_get, be_ready, borrow, all_come_out_once),
    CASE("borrow of a slip, queue ends", heap_of_slips_to_get, be_ready, borrow, ends_with_its_messages),
    CASE("borrow of the last slip, deque", deque_of_slips_to_borrow, be_ready, borrow_back, all_come_out_once),
    CASE("commit of a borrowed slip", lifo_of_slips_to_get_and_put, prepare_borrowed, commit, all_come_out_once),
    CASE("give back a slip", slip_to_give_back, prepare_borrowed, give_back, all_come_out_once),
    CASE("settle, slips", slips_of_the_dead, be_ready, settle, all_come_out_once),
    CASE("queue's end, slips", queue_of_slips_to_end, be_ready, destroy, arena_is_sound),
};

const struct step_table step_message = { ops, sizeof ops / sizeof ops[0] };
