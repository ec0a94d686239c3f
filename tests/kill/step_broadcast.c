/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: broadcasts. The child is a publisher or a subscriber; the test is a subscriber, too. */
#include "kill/world.h"

#include <errno.h>
#include <signal.h>

#include "arena/start_time.h"

enum { ROOM = 4 };

static plait_broadcast_t *broadcast;
static plait_subscriber_t *tests; /* the test's */
static plait_subscriber_t *mine;  /* the child's */
static long numbered;             /* items put by the test so far, numbered from 0 */
static size_t missed;             /* so many the test's subscription may miss */

static int put_numbered(long number)
{
    struct item item;

    fill_item(&item, number);
    return plait_broadcast_put(broadcast, &item, plait_after(PATIENCE));
}

static int get_numbered(plait_subscriber_t *s, long *number_out, plait_time_t deadline)
{
    struct item item;
    int err = plait_subscriber_get(s, &item, deadline);

    if (err == 0)
        *number_out = item_is(&item, item.number) ? item.number : -1;
    return err;
}

/* ---- What there is --------------------------------------------------------------------------------------------- */

static void put_next_ones(int count)
{
    for (; count > 0; count--)
        if (put_numbered(numbered++))
            abort();
}

static void make(enum plait_queue_overflow overflow)
{
    remember_use();
    numbered = 0;
    missed = 0;
    tests = mine = NULL;
    if (plait_broadcast_new(&broadcast, &(struct plait_broadcast_opts){
                                            .item_size = sizeof(struct item), .maxsize = ROOM, .arena = arena, .overflow = overflow }) ||
        plait_broadcast_subscribe(broadcast, PLAIT_FROM_NEWEST, &tests))
        abort();
}

static void fresh(void) { make(PLAIT_OVERFLOW_WAIT); }

static void with_items(void)
{
    fresh();
    put_next_ones(2);
}

static void full(void)
{
    fresh();
    put_next_ones(ROOM);
}

static void full_of_the_oldest(void)
{
    make(PLAIT_OVERFLOW_DROP_OLDEST);
    put_next_ones(ROOM + 1);
    missed = 2 + ROOM / 2; /* overtaken twice, once by an item that was not finished */
}

/* All that the test puts comes after the child has subscribed. */
static void nobody_else(void)
{
    fresh();
    plait_subscriber_free(tests);
    tests = NULL;
}

static void with_unused_record(void)
{
    plait_subscriber_t *s;

    with_items();
    if (plait_broadcast_subscribe(broadcast, PLAIT_FROM_NEWEST, &s) || plait_subscriber_free(s))
        abort();
}

static int subscribe_and_die(void *unused)
{
    if (plait_broadcast_subscribe(broadcast, PLAIT_FROM_NEWEST, &mine))
        return 1;
    raise(SIGKILL);
    return 2;
}

static void full_for_the_dead(void)
{
    nobody_else();
    if (child_run(subscribe_and_die, NULL) != CHILD_SIGNALLED + SIGKILL)
        abort();
    put_next_ones(ROOM);
}

/* ---- What the child does --------------------------------------------------------------------------------------- */

static void be_ready(void)
{
    take_part();
    plait__process_id();
    plait_now();
    fill_item(&child_item, numbered);
}

static void subscribe_to_oldest(void)
{
    be_ready();
    if (plait_broadcast_subscribe(broadcast, PLAIT_FROM_OLDEST, &mine))
        _exit(3);
}

static void subscribe_and_fill(void)
{
    subscribe_to_oldest();
    put_next_ones(ROOM);
}

static void subscribe_and_be_overtaken(void)
{
    subscribe_to_oldest();
    put_next_ones(2);
}

static void copy_the_tests(void)
{
    be_ready();
    mine = tests;
}

static void do_put(void) { step_page->out = plait_broadcast_put(broadcast, &child_item, PLAIT_FOREVER); }
static void put_in_vain(void) { step_page->out = plait_broadcast_put(broadcast, &child_item, plait_after(MOMENT)); }
static void do_get(void) { step_page->out = plait_subscriber_get(mine, &world->got, PLAIT_FOREVER); }
static void get_in_vain(void) { step_page->out = plait_subscriber_get(mine, &world->got, plait_after(MOMENT)); }
static void do_free(void) { step_page->out = plait_subscriber_free(mine); }
static void do_close(void) { step_page->out = plait_broadcast_close(broadcast); }
static void do_destroy(void) { step_page->out = plait_broadcast_destroy(broadcast); }
static void do_subscribe(void) { step_page->out = plait_broadcast_subscribe(broadcast, PLAIT_FROM_OLDEST, &mine); }

/* ---- What must be so in the end -------------------------------------------------------------------------------- */

static const char *destroyed(void)
{
    plait_subscriber_free(tests);
    plait_broadcast_destroy(broadcast);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

/* More than a ring is put, which nobody dead holds up; the test's subscription gets all from `first` on. */
static const char *goes_on(long first)
{
    long number, end = (long)plait_broadcast_published(broadcast) + 2 * ROOM;
    size_t count;
    int err;

    for (long next = end - 2 * ROOM; next < end || first < end;) {
        while (first < next) {
            err = get_numbered(tests, &number, PLAIT_NOW);
            if (err == EOVERFLOW && plait_subscriber_missed(tests) <= missed) {
                first = (long)plait_subscriber_missed(tests);
                continue;
            }
            if (err || number != first++)
                return "an item is lost, torn, or came twice";
        }
        if (next < end && put_numbered(next++))
            return "a put fails, or is held up by the dead";
    }
    if (get_numbered(tests, &number, PLAIT_NOW) != ETIMEDOUT)
        return "an item too many";
    if (plait_broadcast_subscribers(broadcast, &count) || count != 1)
        return "the dead one is still subscribed";
    return destroyed();
}

static const char *put_or_not(bool done)
{
    long published = (long)plait_broadcast_published(broadcast);

    if (done && (step_page->out || published != numbered + 1))
        return "the item that was put is lost";
    /* What is committed may not be counted as yet: whoever takes the lock does so. */
    if (plait_broadcast_qsize(broadcast) > ROOM)
        return "more is in the ring than fits";
    published = (long)plait_broadcast_published(broadcast);
    if (published != numbered && published != numbered + 1)
        return "something else is there";
    return goes_on(0);
}

static const char *not_put(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "put into a full ring";
    if ((long)plait_broadcast_published(broadcast) != numbered)
        return "something was put";
    return goes_on(0);
}

static const char *got_or_not(bool done)
{
    if (done && (step_page->out || !item_is(&world->got, 0)))
        return "a wrong or torn item";
    return goes_on(0);
}

static const char *told_or_not(bool done)
{
    missed = ROOM + 10; /* the child has put, too */
    return done && step_page->out != EOVERFLOW ? "it was not told" : goes_on(0);
}

static const char *nothing_got(bool done)
{
    return done && step_page->out != ETIMEDOUT ? "an item from nowhere" : goes_on(0);
}

static const char *done_or_not(bool done)
{
    return done && step_page->out ? "it failed" : goes_on(0);
}

static const char *put_beside_the_dead(bool done)
{
    if (done && step_page->out)
        return "held up by the dead";
    if (plait_broadcast_subscribe(broadcast, PLAIT_FROM_NEWEST, &tests))
        return "nobody can subscribe";
    return goes_on((long)plait_broadcast_published(broadcast));
}

static const char *gone_or_not(bool done)
{
    const char *wrong;

    if (!done)
        plait_broadcast_destroy(broadcast); /* answers, whatever there is */
    else
        plait_broadcast_free(broadcast);
    plait_subscriber_free(tests);
    wrong = checked();
    return !wrong && done && used() != used_before ? "memory is lost, or freed twice" : wrong;
}

/* ---- With sleepers --------------------------------------------------------------------------------------------- */

/* Gets the item that comes next. */
static int get_helper(void *unused)
{
    plait_subscriber_t *s;
    long number;

    return plait_broadcast_subscribe(broadcast, PLAIT_FROM_NEWEST, &s) || get_numbered(s, &number, plait_after(PATIENCE)) ||
           number != numbered || plait_subscriber_free(s);
}

static int told_helper(void *unused)
{
    plait_subscriber_t *s;
    long number;

    return plait_broadcast_subscribe(broadcast, PLAIT_FROM_NEWEST, &s) ||
           get_numbered(s, &number, plait_after(PATIENCE)) != EPIPE || plait_subscriber_free(s);
}

/* Finds room; the test's subscription is not what it waits for. */
static int put_helper(void *unused)
{
    return put_numbered(ROOM);
}

static int told_putter(void *unused)
{
    return put_numbered(ROOM) != EPIPE;
}

static const char *sleeper_got_it(bool done)
{
    if (!done && (plait_broadcast_qsize(broadcast), (long)plait_broadcast_published(broadcast) == numbered) &&
        put_numbered(numbered))
        return "a put fails";
    if (helper_end_by(PATIENCE))
        return "the sleeper got no item, or a wrong one";
    return goes_on(0);
}

static const char *get_beside(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "an item from nowhere";
    return sleeper_got_it(false);
}

static const char *sleeper_put_it(bool done)
{
    if (done && step_page->out)
        return "it failed";
    if (helper_end_by(PATIENCE))
        return "the sleeper found no room";
    if (plait_broadcast_subscribe(broadcast, PLAIT_FROM_NEWEST, &tests))
        return "nobody can subscribe";
    return goes_on((long)plait_broadcast_published(broadcast));
}

static const char *sleeper_is_told(bool done)
{
    if (done && (step_page->out || !plait_broadcast_is_closed(broadcast)))
        return "it is not closed";
    if (!done && plait_broadcast_close(broadcast))
        return "it cannot be closed";
    if (helper_end_by(PATIENCE))
        return "the sleeper was not told";
    return destroyed();
}

/* ---- All of them ----------------------------------------------------------------------------------------------- */

#define CASE(what, how_prepared, first, what_is_done, check) \
    { .name = "broadcast " what, .prepare = how_prepared, .before = first, .operate = what_is_done, .verify = check }
#define BESIDE(what, how_prepared, first, what_is_done, other, check) \
    { .name = "broadcast " what, .prepare = how_prepared, .before = first, .operate = what_is_done, .helper = other, \
      .verify = check }

static const struct step_op ops[] = {
    CASE("put", with_items, be_ready, do_put, put_or_not),
    CASE("put over the oldest", full_of_the_oldest, be_ready, do_put, put_or_not),
    CASE("put, full, in vain", full, be_ready, put_in_vain, not_put),
    CASE("put, full for the dead", full_for_the_dead, be_ready, do_put, put_beside_the_dead),
    CASE("subscribe", with_items, be_ready, do_subscribe, done_or_not),
    CASE("subscribe, where one has left", with_unused_record, be_ready, do_subscribe, done_or_not),
    CASE("get", with_items, subscribe_to_oldest, do_get, got_or_not),
    CASE("get, in vain", fresh, subscribe_to_oldest, get_in_vain, nothing_got),
    CASE("get, overtaken", full_of_the_oldest, subscribe_and_be_overtaken, do_get, told_or_not),
    CASE("get with the copy of a handle", with_items, copy_the_tests, do_get, got_or_not),
    CASE("unsubscribe", with_items, subscribe_to_oldest, do_free, done_or_not),
    CASE("destroy", with_items, be_ready, do_destroy, gone_or_not),
    BESIDE("put, with a sleeper", with_items, be_ready, do_put, get_helper, sleeper_got_it),
    BESIDE("get, in vain, beside a sleeper", fresh, subscribe_to_oldest, get_in_vain, get_helper, get_beside),
    BESIDE("get, with a sleeper for room", nobody_else, subscribe_and_fill, do_get, put_helper, sleeper_put_it),
    BESIDE("unsubscribe, with a sleeper for room", nobody_else, subscribe_and_fill, do_free, put_helper, sleeper_put_it),
    BESIDE("close, with a sleeper", with_items, be_ready, do_close, told_helper, sleeper_is_told),
    BESIDE("close, with a sleeper for room", full, be_ready, do_close, told_putter, sleeper_is_told),
};

const struct step_table step_broadcast = { ops, sizeof ops / sizeof ops[0] };
