/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: queue. */
#include "kill/world.h"

#include <errno.h>

/* ---- Queue ---- */

static void ring_with_room(void)
{
    fresh_queue(3);
    put_some(2);
}

static void ring_at_its_end(void) /* the next place is in another lap */
{
    struct item item;

    ring_with_room();
    plait_queue_get(queue, &item, PLAIT_NOW);
    next_get++;
}

static void empty_ring(void)
{
    fresh_queue(3);
}

static void empty_chain(void)
{
    fresh_queue(0);
}

static void chain_with_room(void)
{
    fresh_queue(0);
    put_some(2);
}

static void chain_at_its_end(void)
{
    fresh_queue(0);
    put_some(SEGMENT);
}

static void chain_to_be_shortened(void)
{
    struct item item;

    fresh_queue(0);
    put_some(SEGMENT + 3);
    for (next_get = 0; next_get < SEGMENT; next_get++)
        plait_queue_get(queue, &item, PLAIT_NOW);
}

static void put_item(void)
{
    step_page->out = plait_queue_put(queue, &child_item, PLAIT_FOREVER);
}

static void get_item(void)
{
    step_page->out = plait_queue_get(queue, &child_item, PLAIT_FOREVER);
}

static const char *get_number(long number)
{
    struct item item;

    switch (plait_queue_get(queue, &item, plait_after(PATIENCE))) {
    case 0:
        return item_is(&item, number) ? NULL : "a wrong or torn item";
    case ETIMEDOUT:
        return "an item is lost";
    default:
        return "get failed";
    }
}

/* Get what is there, then see the queue off: empty, gone, and nothing of its memory left. */
static const char *drain_and_destroy(void)
{
    struct item item;
    const char *wrong = NULL;

    while (!wrong && next_get < next_put)
        wrong = get_number(next_get++);
    if (!wrong && plait_queue_get(queue, &item, PLAIT_NOW) != ETIMEDOUT)
        wrong = "an item too many";
    if (!wrong && plait_queue_qsize(queue) != 0)
        wrong = "the size is not 0";
    plait_queue_destroy(queue);
    if (!wrong && used() != used_before)
        wrong = "memory is lost, or freed twice";
    return wrong ? wrong : checked();
}

/*
 * The child's item is there or not, whole; then others put theirs. In a chain first of all several segments more are
 * put, so that whatever the child left behind is built upon.
 */
static const char *item_is_put_or_not(bool done)
{
    size_t size = plait_queue_qsize(queue), expected = (size_t)(next_put - next_get);
    int more = plait_queue_maxsize(queue) ? (int)(plait_queue_maxsize(queue) - expected - 1) : 3 * SEGMENT + 1;
    struct item item;
    long child_number = next_put, number;

    if (size != expected && size != expected + 1)
        return "the size is wrong";
    next_put++;
    put_some(more);
    while (next_get < child_number) {
        const char *wrong = get_number(next_get++);

        if (wrong)
            return wrong;
    }
    if (more == 0 || done) /* nobody came after it whose number would tell */
        number = plait_queue_get(queue, &item, PLAIT_NOW) == 0 ? item.number : -1;
    else
        number = plait_queue_get(queue, &item, plait_after(PATIENCE)) == 0 ? item.number : -2;
    if (number == -1) {
        if (done)
            return "the item that was put is lost";
        next_get = next_put;
    } else if (number == -2 || !item_is(&item, number) || number < child_number || number > child_number + 1 ||
               (done && number != child_number)) {
        return "a wrong or torn item, or the item that was put is lost";
    } else {
        next_get = number + 1;
    }
    return drain_and_destroy();
}

/* The same, but getters come first: they empty the segment, and its memory is somebody else's if it can be had. */
static const char *item_is_put_or_not_to_getters(bool done)
{
    const char *wrong = NULL;
    struct item item;
    void *memory;
    int err;

    while (!wrong && next_get < next_put)
        wrong = get_number(next_get++);
    if (wrong)
        return wrong;
    err = plait_queue_get(queue, &item, PLAIT_NOW);
    if (err == 0 ? !item_is(&item, next_put) : done)
        return "the item that was put is lost, or torn";
    if (plait_arena_alloc(arena, SEGMENT * sizeof item + 100, &memory))
        return "alloc failed";
    memset(memory, 0x5a, SEGMENT * sizeof item + 100);
    next_get = ++next_put;
    put_some(SEGMENT + 1);
    plait_arena_dealloc(arena, memory);
    return drain_and_destroy();
}

/* The child has the first item in its hands, or not; all others are there, in order. */
static const char *item_is_got_or_not(bool done)
{
    size_t size = plait_queue_qsize(queue), expected = (size_t)(next_put - next_get);
    struct item item;

    if (size != expected && size != expected - 1)
        return "the size is wrong";
    if (plait_queue_get(queue, &item, plait_after(PATIENCE)) != 0)
        return "all items are lost";
    if (!item_is(&item, item.number) || item.number < next_get || item.number > next_get + 1 ||
        (done && item.number == next_get))
        return "a wrong item, or one that was got already";
    next_get = item.number + 1;
    put_some(plait_queue_maxsize(queue) ? 1 : 2 * SEGMENT);
    return drain_and_destroy();
}

static int get_helper(void *unused)
{
    return get_number(next_get) ? 1 : 0;
}

static const char *sleeper_gets_item(bool done)
{
    if (!done && plait_queue_qsize(queue) == 0)
        put_some(1); /* the child had not put it, or the helper has it already */
    if (helper_end_by(PATIENCE) != 0)
        return "the sleeper got no item, or a wrong one";
    plait_queue_destroy(queue);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

/* ---- Close, with sleepers ---- */

static void full_ring(void)
{
    fresh_queue(3);
    put_some(3);
}

static int told_getter(void *unused)
{
    struct item item;

    return plait_queue_get(queue, &item, plait_after(PATIENCE)) == EPIPE ? 0 : 1;
}

static int told_putter(void *unused)
{
    return plait_queue_put(queue, &child_item, plait_after(PATIENCE)) == EPIPE ? 0 : 1;
}

static void close_it(void) { step_page->out = plait_queue_close(queue); }
static void close_it_now(void) { step_page->out = plait_queue_close_now(queue); }

/* Closed or not, all who sleep are told once it is; and what was in it comes out, unless that was thrown away. */
static const char *sleeper_is_told(bool done)
{
    if (done && (step_page->out || !plait_queue_is_closed(queue)))
        return "it is not closed";
    if (!plait_queue_is_closed(queue) && plait_queue_close(queue))
        return "it cannot be closed";
    if (helper_end_by(PATIENCE) != 0)
        return "the sleeper was not told";
    while (plait_queue_qsize(queue) > 0) {
        struct item item;

        if (plait_queue_get(queue, &item, plait_after(PATIENCE)) != 0 || !item_is(&item, next_get++))
            return "an item is lost, or torn";
    }
    next_get = next_put;
    plait_queue_destroy(queue);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

/* ---- Waiting, in vain and woken ---- */

enum { SECOND = 20 }; /* the number of the second putter's item */

static void put_in_vain(void) { step_page->out = plait_queue_put(queue, &child_item, plait_after(MOMENT)); }
static void get_in_vain(void) { step_page->out = plait_queue_get(queue, &world->got, plait_after(MOMENT)); }
static void get_what_is_noted(void) { step_page->out = plait_queue_get(queue, &world->got, PLAIT_FOREVER); }

static int second_putter(void *unused)
{
    struct item item;

    fill_item(&item, SECOND);
    return plait_queue_put(queue, &item, plait_after(PATIENCE));
}

static int second_getter(void *unused)
{
    struct item item;
    int err = plait_queue_get(queue, &item, plait_after(PATIENCE));

    if (err == 0)
        note_item(&item);
    return err;
}

static const char *putter_beside_puts(bool done)
{
    const char *wrong;

    if ((done && step_page->out != ETIMEDOUT) || plait_queue_qsize(queue) != 3)
        return "it was put where there was no room";
    wrong = get_number(next_get++);
    if (wrong)
        return wrong;
    if (helper_end_by(PATIENCE))
        return "the sleeper got no room";
    while (!wrong && next_get < next_put)
        wrong = get_number(next_get++);
    wrong = wrong ? wrong : get_number(SECOND);
    return wrong ? wrong : drain_and_destroy();
}

static const char *getter_beside_gets(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "an item from nowhere";
    put_some(1);
    if (helper_end_by(PATIENCE))
        return "the sleeper got no item";
    next_get = next_put;
    return drain_and_destroy();
}

/* Two of each, for the child and for one who came after it. */
static int put_two(void *unused)
{
    pid_t second = sleep_behind_child(second_getter);

    put_some(2);
    return child_end_by(second, PATIENCE);
}

static int get_two(void *unused)
{
    pid_t second = sleep_behind_child(second_putter);

    return get_number(0) || get_number(1) || child_end_by(second, PATIENCE);
}

static int close_for_two(void *unused)
{
    pid_t second = sleep_behind_child(told_getter);

    return plait_queue_close(queue) || child_end_by(second, PATIENCE);
}

static const char *both_get_one(bool done)
{
    struct item item;
    const char *wrong;

    if (waker_end_by(2 * PATIENCE))
        return "the second sleeper got no item";
    if (done && step_page->out)
        return "get failed";
    if (done)
        note_item(&world->got);
    while (plait_queue_qsize(queue) > 0 && plait_queue_get(queue, &item, plait_after(PATIENCE)) == 0)
        note_item(&item);
    wrong = items_are_noted(3, done ? 0 : 3);
    return wrong ? wrong : drain_and_destroy();
}

static const char *both_put_one(bool done)
{
    const uint32_t own = 1u << next_put, second = 1u << SECOND;
    struct item item;
    const char *wrong;

    if (waker_end_by(2 * PATIENCE))
        return "the second sleeper got no room, or an item is lost";
    if (done && step_page->out)
        return "put failed";
    wrong = get_number(2);
    if (wrong)
        return wrong;
    while (plait_queue_qsize(queue) > 0 && plait_queue_get(queue, &item, plait_after(PATIENCE)) == 0)
        note_item(&item);
    wrong = items_are_noted(own | second, done ? 0 : own);
    next_get = next_put;
    return wrong ? wrong : drain_and_destroy();
}

static const char *both_are_told(bool done)
{
    if (waker_end_by(2 * PATIENCE))
        return "the second sleeper was not told";
    if (done && step_page->out != EPIPE)
        return "it was not told";
    plait_queue_destroy(queue);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "queue put, bounded",
      .prepare = ring_with_room, .before = prepare_item, .operate = put_item, .verify = item_is_put_or_not },
    { .name = "queue put, bounded, new lap",
      .prepare = ring_at_its_end, .before = prepare_item, .operate = put_item, .verify = item_is_put_or_not },
    { .name = "queue put, bounded, with a sleeper",
      .prepare = empty_ring, .before = prepare_item, .operate = put_item, .helper = get_helper,
      .verify = sleeper_gets_item },
    { .name = "queue put, unbounded",
      .prepare = chain_with_room, .before = prepare_item, .operate = put_item, .verify = item_is_put_or_not },
    { .name = "queue put, unbounded, new segment",
      .prepare = chain_at_its_end, .before = prepare_item, .operate = put_item, .verify = item_is_put_or_not },
    { .name = "queue put, unbounded, new segment, getters first",
      .prepare = chain_at_its_end, .before = prepare_item, .operate = put_item, .verify = item_is_put_or_not_to_getters },
    { .name = "queue get, bounded",
      .prepare = ring_with_room, .before = take_part, .operate = get_item, .verify = item_is_got_or_not },
    { .name = "queue get, unbounded",
      .prepare = chain_with_room, .before = take_part, .operate = get_item, .verify = item_is_got_or_not },
    { .name = "queue get, unbounded, next segment",
      .prepare = chain_to_be_shortened, .before = take_part, .operate = get_item, .verify = item_is_got_or_not },
    { .name = "queue close, with a sleeping getter",
      .prepare = empty_ring, .before = take_part, .operate = close_it, .helper = told_getter, .verify = sleeper_is_told },
    { .name = "queue close, with a sleeping putter",
      .prepare = full_ring, .before = take_part, .operate = close_it, .helper = told_putter, .verify = sleeper_is_told },
    { .name = "queue close_now, with a sleeping getter",
      .prepare = empty_ring, .before = take_part, .operate = close_it_now, .helper = told_getter, .verify = sleeper_is_told },
    { .name = "queue close_now, with a sleeping putter",
      .prepare = full_ring, .before = take_part, .operate = close_it_now, .helper = told_putter, .verify = sleeper_is_told },
    { .name = "queue put, unbounded, with a sleeper",
      .prepare = empty_chain, .before = prepare_item, .operate = put_item, .helper = get_helper,
      .verify = sleeper_gets_item },
    { .name = "queue put, bounded, in vain, beside a sleeper",
      .prepare = full_ring, .before = prepare_item, .operate = put_in_vain, .helper = second_putter,
      .verify = putter_beside_puts },
    { .name = "queue get, bounded, in vain, beside a sleeper",
      .prepare = empty_ring, .before = take_part, .operate = get_in_vain, .helper = get_helper,
      .verify = getter_beside_gets },
    { .name = "queue get, unbounded, in vain, beside a sleeper",
      .prepare = empty_chain, .before = take_part, .operate = get_in_vain, .helper = get_helper,
      .verify = getter_beside_gets },
    { .name = "queue put, bounded, as the one woken, before a sleeper",
      .prepare = full_ring, .before = prepare_item, .operate = put_item, .waker = get_two, .verify = both_put_one },
    { .name = "queue get, bounded, as the one woken, before a sleeper",
      .prepare = empty_ring, .before = take_part, .operate = get_what_is_noted, .waker = put_two,
      .verify = both_get_one },
    { .name = "queue get, unbounded, as the one woken, before a sleeper",
      .prepare = empty_chain, .before = take_part, .operate = get_what_is_noted, .waker = put_two,
      .verify = both_get_one },
    { .name = "queue get, as the one woken by a close, before a sleeper",
      .prepare = empty_ring, .before = take_part, .operate = get_what_is_noted, .waker = close_for_two,
      .verify = both_are_told },
};

const struct step_table step_queue = { ops, sizeof ops / sizeof ops[0] };
