/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: LIFO queues and queues by priority, and overflow rules. */
#include "kill/world.h"

#include <errno.h>

enum { ITEMS_MAX = 400, ENTRIES = 8, DIRECTORY = 16 }; /* of large items: in a segment, and segments in a first directory */

/* What is there and what may be: filled by prepare, checked by verify. */
static struct plait_queue_opts opts;
static int count;                /* items put by the test, numbered from 0 */
static int child_number;         /* of the item that the child puts, or would get; -1: neither */
static bool child_puts;
static bool expected[ITEMS_MAX]; /* those that must be there, but for the child's */

static int least = -1; /* the item that comes before all others by priority */

static int64_t priority_of(long number) { return number == least ? -1 : number * 7 % 5; }

static int put_numbered(long number)
{
    struct item item;

    fill_item(&item, number);
    return opts.kind == PLAIT_PRIORITY ? plait_queue_put_priority(queue, &item, priority_of(number), PLAIT_NOW)
                                       : plait_queue_put(queue, &item, PLAIT_NOW);
}

static void make_pile(enum plait_queue_kind kind, bool small, size_t maxsize, enum plait_queue_overflow overflow)
{
    used_before = used();
    memset(expected, 0, sizeof expected);
    count = 0;
    least = -1;
    opts = (struct plait_queue_opts){ .item_size = small ? sizeof(long) : sizeof(struct item), .maxsize = maxsize,
                                      .arena = arena, .kind = kind, .overflow = overflow };
    if (plait_queue_new(&queue, &opts))
        abort();
}

static void put_more(int number)
{
    for (; number; number--) {
        expected[count] = true;
        if (put_numbered(count++))
            abort();
    }
}

static void get_some(int number)
{
    struct item item;

    for (; number; number--) {
        if (plait_queue_get(queue, &item, PLAIT_NOW))
            abort();
        expected[item.number] = false;
    }
}

/* The one that comes out next. */
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
    child_puts = true;
    child_number = count++;
    fill_item(&child_item, child_number);
}

static void child_will_get(void)
{
    child_puts = false;
    child_number = first_of_all();
    expected[child_number] = false;
}

static void lifo_with_room(void) { make_pile(PLAIT_LIFO, false, 5, 0); put_more(3); child_will_put(); }
static void lifo_with_items(void) { make_pile(PLAIT_LIFO, false, 5, 0); put_more(3); child_will_get(); }
static void stack_with_room(void) { make_pile(PLAIT_LIFO, false, 0, 0); put_more(3); child_will_put(); }
static void stack_at_its_end(void) { make_pile(PLAIT_LIFO, false, 0, 0); put_more(ENTRIES); child_will_put(); }
static void stack_with_items(void) { make_pile(PLAIT_LIFO, false, 0, 0); put_more(3); child_will_get(); }

static void deque_with_room(void) { make_pile(PLAIT_DEQUE, false, 5, 0); put_more(3); child_will_put(); }
static void deque_with_items(void) { make_pile(PLAIT_DEQUE, false, 5, 0); put_more(3); child_will_get(); }
static void deque_at_its_end(void) { make_pile(PLAIT_DEQUE, false, 0, 0); put_more(ENTRIES); child_will_put(); }

/* Its first entry is the first of a segment: what comes before needs another. */
static void deque_at_its_front(void) { make_pile(PLAIT_DEQUE, false, 0, 0); put_more(3); child_will_put(); }

static void deque_of_a_whole_directory(void)
{
    make_pile(PLAIT_DEQUE, false, 0, 0);
    put_more(2 * ENTRIES);
    get_some(ENTRIES + 3); /* it goes round */
    put_more((DIRECTORY - 1) * ENTRIES);
    child_will_put();
}

/* The get comes to half of the second segment, and the first goes. */
static void deque_to_be_shortened(void)
{
    make_pile(PLAIT_DEQUE, false, 0, 0);
    put_more(2 * ENTRIES);
    get_some(ENTRIES + ENTRIES / 2 - 1);
    child_will_get();
}

/* The last, instead of the first. */
static void deque_to_get_its_last(void)
{
    make_pile(PLAIT_DEQUE, false, 0, 0);
    put_more(2 * ENTRIES + 1);
    child_puts = false;
    child_number = count - 1;
    expected[child_number] = false;
}

static void stack_of_a_whole_directory(void)
{
    make_pile(PLAIT_LIFO, false, 0, 0);
    put_more(DIRECTORY * ENTRIES);
    child_will_put();
}

/* The get comes to half of the second segment, and the third goes. */
static void stack_to_be_shortened(void)
{
    make_pile(PLAIT_LIFO, false, 0, 0);
    put_more(2 * ENTRIES + 1);
    get_some(ENTRIES / 2);
    child_will_get();
}

static void heap_with_room(void) { make_pile(PLAIT_PRIORITY, true, 40, 0); put_more(30); child_will_put(); }
static void heap_with_items(void) { make_pile(PLAIT_PRIORITY, true, 40, 0); put_more(30); child_will_get(); }
static void heap_with_one_item(void) { make_pile(PLAIT_PRIORITY, true, 40, 0); put_more(1); child_will_get(); }
static void empty_heap(void) { make_pile(PLAIT_PRIORITY, true, 0, 0); child_will_put(); }
static void heap_with_room_for_a_block(void) { make_pile(PLAIT_PRIORITY, false, 0, 0); put_more(12); child_will_put(); }
static void heap_with_blocks(void) { make_pile(PLAIT_PRIORITY, false, 0, 0); put_more(12); child_will_get(); }

/* The last one is out of place, which the next put sees to. */
static void put_least(void) { least = count; put_more(1); }
static void heap_with_the_least_last(void) { make_pile(PLAIT_PRIORITY, true, 40, 0); put_more(30); put_least(); child_will_put(); }
static void blocks_with_the_least_last(void) { make_pile(PLAIT_PRIORITY, false, 0, 0); put_more(12); put_least(); child_will_put(); }

/* Or it is got, being the first. */
static void heap_with_the_first_last(void) { make_pile(PLAIT_PRIORITY, true, 40, 0); put_more(30); put_least(); child_will_get(); }
static void blocks_with_the_first_last(void) { make_pile(PLAIT_PRIORITY, false, 0, 0); put_more(12); put_least(); child_will_get(); }

/* The child's put discards the oldest: that one may be gone without it, for the two are two steps. */
static int oldest = -1;

static void full_fifo(void)
{
    make_pile(PLAIT_FIFO, false, 3, PLAIT_OVERFLOW_DROP_OLDEST);
    put_more(4);
    expected[0] = false;
    oldest = 1;
    child_will_put();
}

static void full_lifo(void)
{
    full_fifo();
    plait_queue_destroy(queue);
    make_pile(PLAIT_LIFO, false, 3, PLAIT_OVERFLOW_DROP_OLDEST);
    put_more(4);
    expected[0] = false;
    oldest = 1;
    child_will_put();
}

/* Who only looks takes nothing, though the next segment's turn may have come. */
static void chain_to_be_looked_into(void)
{
    make_pile(PLAIT_FIFO, false, 0, 0);
    put_more(ENTRIES + 3);
    get_some(ENTRIES);
    child_number = -1;
}

static void look_at_item(void)
{
    step_page->out = plait_queue_peek(queue, &child_item, PLAIT_FOREVER);
}

static void look_at_all(void)
{
    size_t seen;

    step_page->out = plait_queue_snapshot(queue, &world->got, 1, &seen);
}

static void put_child_item(void)
{
    step_page->out = opts.kind == PLAIT_PRIORITY
                         ? plait_queue_put_priority(queue, &child_item, priority_of(child_number), PLAIT_FOREVER)
                         : plait_queue_put(queue, &child_item, PLAIT_FOREVER);
}

static void get_child_item(void)
{
    step_page->out = plait_queue_get(queue, &child_item, PLAIT_FOREVER);
}

static void put_child_item_in_front(void)
{
    step_page->out = plait_queue_put_front(queue, &child_item, PLAIT_FOREVER);
}

static void get_last_item(void)
{
    step_page->out = plait_queue_get_back(queue, &child_item, PLAIT_FOREVER);
}

static bool is_in_order(long before, long number)
{
    if (opts.kind == PLAIT_LIFO)
        return number < before;
    if (opts.kind == PLAIT_FIFO)
        return number > before;
    if (opts.kind == PLAIT_DEQUE)
        return number > before || before == child_number; /* at the front */
    return priority_of(before) < priority_of(number) || (priority_of(before) == priority_of(number) && before < number);
}

/* All that must be there comes out once and in order; the child's item has come or gone, or not; nothing of the memory is lost. */
static const char *all_come_out(bool done)
{
    bool seen[ITEMS_MAX] = { false };
    const char *wrong = NULL;
    long before = -1;
    struct item item;
    int err;

    /* Others go on first, upon what the child left. */
    if (!opts.maxsize)
        put_more(opts.kind == PLAIT_LIFO ? 3 * ENTRIES : 20);
    while (!wrong && (err = plait_queue_get(queue, &item, PLAIT_NOW)) == 0) {
        if (item.number < 0 || item.number >= count || seen[item.number] ||
            (opts.item_size == sizeof item && !item_is(&item, item.number)))
            wrong = "a wrong or torn item, or one that came twice";
        else if (before >= 0 && !is_in_order(before, item.number))
            wrong = "an item out of order";
        else
            seen[before = item.number] = true;
    }
    if (!wrong && err != ETIMEDOUT)
        wrong = "get failed";
    for (int i = 0; !wrong && i < count; i++)
        if (i == child_number) {
            if (done && seen[i] != child_puts)
                wrong = child_puts ? "the item that was put is lost" : "the item that was got came again";
        } else if (i == oldest ? seen[i] && done : seen[i] != expected[i]) {
            wrong = seen[i] ? "an item that was got before" : "an item is lost";
        }
    oldest = -1;
    plait_queue_destroy(queue);
    if (!wrong && used() != used_before)
        wrong = "memory is lost, or freed twice";
    return wrong ? wrong : checked();
}

static const struct step_op ops[] = {
    { .name = "lifo put, bounded",
      .prepare = lifo_with_room, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "lifo get, bounded",
      .prepare = lifo_with_items, .before = take_part, .operate = get_child_item, .verify = all_come_out },
    { .name = "lifo put, unbounded",
      .prepare = stack_with_room, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "lifo put, unbounded, new segment",
      .prepare = stack_at_its_end, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "lifo put, unbounded, new directory",
      .prepare = stack_of_a_whole_directory, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "lifo get, unbounded",
      .prepare = stack_with_items, .before = take_part, .operate = get_child_item, .verify = all_come_out },
    { .name = "lifo get, unbounded, a segment too many",
      .prepare = stack_to_be_shortened, .before = take_part, .operate = get_child_item, .verify = all_come_out },
    { .name = "deque put, bounded",
      .prepare = deque_with_room, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "deque put in front, bounded",
      .prepare = deque_with_room, .before = take_part, .operate = put_child_item_in_front, .verify = all_come_out },
    { .name = "deque get, bounded",
      .prepare = deque_with_items, .before = take_part, .operate = get_child_item, .verify = all_come_out },
    { .name = "deque put, unbounded, new segment",
      .prepare = deque_at_its_end, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "deque put in front, unbounded, new segment",
      .prepare = deque_at_its_front, .before = take_part, .operate = put_child_item_in_front, .verify = all_come_out },
    { .name = "deque put, unbounded, new directory",
      .prepare = deque_of_a_whole_directory, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "deque get, unbounded, a segment too many",
      .prepare = deque_to_be_shortened, .before = take_part, .operate = get_child_item, .verify = all_come_out },
    { .name = "deque get of the last, unbounded",
      .prepare = deque_to_get_its_last, .before = take_part, .operate = get_last_item, .verify = all_come_out },
    { .name = "priority put",
      .prepare = heap_with_room, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "priority put, the first",
      .prepare = empty_heap, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "priority put, in a block of its own",
      .prepare = heap_with_room_for_a_block, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "priority get",
      .prepare = heap_with_items, .before = take_part, .operate = get_child_item, .verify = all_come_out },
    { .name = "priority get, the last",
      .prepare = heap_with_one_item, .before = take_part, .operate = get_child_item, .verify = all_come_out },
    { .name = "priority get, from a block of its own",
      .prepare = heap_with_blocks, .before = take_part, .operate = get_child_item, .verify = all_come_out },
    { .name = "priority put after the least",
      .prepare = heap_with_the_least_last, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "priority put after the least, in blocks",
      .prepare = blocks_with_the_least_last, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "priority get of the least and last",
      .prepare = heap_with_the_first_last, .before = take_part, .operate = get_child_item, .verify = all_come_out },
    { .name = "priority get of the least and last, from a block",
      .prepare = blocks_with_the_first_last, .before = take_part, .operate = get_child_item, .verify = all_come_out },
    { .name = "fifo peek, unbounded, next segment",
      .prepare = chain_to_be_looked_into, .before = take_part, .operate = look_at_item, .verify = all_come_out },
    { .name = "fifo snapshot",
      .prepare = chain_to_be_looked_into, .before = take_part, .operate = look_at_all, .verify = all_come_out },
    { .name = "fifo put that drops the oldest",
      .prepare = full_fifo, .before = take_part, .operate = put_child_item, .verify = all_come_out },
    { .name = "lifo put that drops the oldest",
      .prepare = full_lifo, .before = take_part, .operate = put_child_item, .verify = all_come_out },
};

const struct step_table step_pile = { ops, sizeof ops / sizeof ops[0] };
