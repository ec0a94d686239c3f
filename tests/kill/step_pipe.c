/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: pipes. The child has one end, or is about to have it; the test has the other. */
#include "kill/world.h"

#include <errno.h>
#include <signal.h>

#include "arena/start_time.h"

enum { BEFORE = 3, SIZE = 700 }; /* messages that are there already; bytes of one */

static plait_pipe_t *left, *right; /* in the child: its own; right: the test's */
static plait_pipe_t *second;       /* the test's, on the left end */
static plait_ref_t left_ref;
static int sent;                   /* messages by the test or the child, numbered from 0 */
static unsigned char child_bytes[SIZE]; /* what the child sends */
static size_t size_wanted, size_of_one = SIZE; /* of the next case, 0: SIZE; of this one: a short message lies in the queue itself */
static const char *const pipe_name = "step";

static void fill(unsigned char *bytes, int number)
{
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(number * 3 + i);
}

static int send_numbered(plait_pipe_t *pipe, int number)
{
    unsigned char bytes[SIZE];

    fill(bytes, number);
    return plait_pipe_send(pipe, bytes, size_of_one, plait_after(PATIENCE));
}

/* *number_out: -1 where it is not whole. */
static int recv_numbered(plait_pipe_t *pipe, int *number_out, plait_time_t deadline)
{
    unsigned char bytes[SIZE], expected[SIZE];
    size_t size;
    int err = plait_pipe_recv(pipe, bytes, sizeof bytes, &size, deadline);

    *number_out = -1;
    for (int i = 0; err == 0 && i < 20; i++) {
        fill(expected, i);
        if (size == size_of_one && memcmp(bytes, expected, size) == 0)
            *number_out = i;
    }
    return err;
}

/* ---- What there is --------------------------------------------------------------------------------------------- */

static void make(size_t maxsize)
{
    second = NULL;
    size_of_one = size_wanted ? size_wanted : SIZE;
    size_wanted = 0;
    remember_use();
    if (plait_pipe_new(NULL, &right, &(struct plait_pipe_opts){ .arena = arena, .maxsize = maxsize }) ||
        plait_pipe_ref(right, PLAIT_PIPE_LEFT, &left_ref))
        abort();
    sent = 0;
}

static void send_some(plait_pipe_t *pipe, int count)
{
    for (; count > 0; count--)
        if (send_numbered(pipe, sent++))
            abort();
}

static void fresh(void) { make(0); }
static void narrow(void) { make(1); }

static void with_messages(void)
{
    fresh();
    send_some(right, BEFORE);
}

/* The left end is the test's as well. */
static void with_messages_for_two(void)
{
    with_messages();
    if (plait_pipe_open(&second, left_ref))
        abort();
}

/* The handle is the test's, and the child has a copy. */
static void to_be_adopted(void)
{
    with_messages_for_two();
    left = second;
}

/* ---- What the child does --------------------------------------------------------------------------------------- */

/* What a process finds out once about itself is not what is stepped through. */
static void be_ready(void)
{
    take_part();
    plait__process_id();
    fill(child_bytes, BEFORE);
}

static void hold_left(void)
{
    be_ready();
    if (plait_pipe_open(&left, left_ref))
        abort();
}

static void hold_left_and_send(void)
{
    hold_left();
    send_some(left, BEFORE);
}

/* The left end sends what is numbered BEFORE, after what it sent already. */
static void hold_left_full(void)
{
    hold_left();
    send_some(left, 1);
}

static void do_open(void) { step_page->out = plait_pipe_open(&left, left_ref); }
static void do_send(void) { step_page->out = plait_pipe_send(left, child_bytes, size_of_one, PLAIT_FOREVER); }
static void send_in_vain(void) { step_page->out = plait_pipe_send(left, child_bytes, size_of_one, plait_after(MOMENT)); }
static void do_free(void) { step_page->out = plait_pipe_free(left); }
static void do_peer(void) { step_page->out = plait_pipe_peer(right); }
static void do_destroy(void) { step_page->out = plait_pipe_destroy(left); }
static void do_give(void) { step_page->out = plait_pipe_give(left, getppid()); }
static void do_poll(void) { step_page->out = plait_pipe_poll(left, PLAIT_FOREVER); }

/* Somebody else may receive the message before the poll has seen it. */
static void poll_among_others(void)
{
    int err = plait_pipe_poll(left, plait_after(1));

    step_page->out = err == ETIMEDOUT ? 0 : err;
}


/* The test looks at what was received. */
static void recv_by(plait_time_t deadline)
{
    size_t size;

    step_page->out = plait_pipe_recv(left, world->got.rest, SIZE, &size, deadline);
}

static void do_recv(void) { recv_by(PLAIT_FOREVER); }
static void recv_in_vain(void) { recv_by(plait_after(MOMENT)); }

static bool child_has_first(void)
{
    unsigned char expected[SIZE];

    fill(expected, 0);
    return step_page->out == 0 && memcmp(expected, world->got.rest, size_of_one) == 0;
}

/* ---- What must be so in the end -------------------------------------------------------------------------------- */

/* The right end is the last: nothing may be left. */
static const char *ended(void)
{
    plait_pipe_free(right);
    if (used() != used_before)
        return "memory is lost, or freed twice";
    return checked();
}

/* So many, at least, have come from the left, whose holder is dead; there may be one more. */
static const char *drained(int at_least, bool one_more)
{
    int number, next = 0, err;

    if (plait_pipe_send(right, "x", 1, PLAIT_NOW) != EPIPE)
        return "nobody was there, and it could be sent to";
    while ((err = recv_numbered(right, &number, plait_after(PATIENCE))) == 0)
        if (number != next++)
            return "a message is lost, torn, or came twice";
    if (err != EPIPE)
        return "the other side's end was not noticed";
    if (next < at_least || next > at_least + one_more)
        return "a message is lost, or one too many";
    return ended();
}

static const char *sent_or_not(bool done)
{
    return done && step_page->out ? "send failed" : drained(BEFORE + done, !done);
}

static const char *not_sent(bool done)
{
    return done && step_page->out != ETIMEDOUT ? "sent into a full pipe" : drained(1, false);
}

static const char *closed_or_dead(bool done)
{
    if (done && (step_page->out || plait_pipe_peer(right) != PLAIT_PIPE_CLOSED))
        return "it is not closed";
    return drained(BEFORE, false);
}

/* Who opened and died is gone; who did not come to it may be followed by another. */
static const char *opened_or_not(bool done)
{
    enum plait_pipe_state state = plait_pipe_peer(right);

    if (state == PLAIT_PIPE_UNOPENED && !done) {
        if (plait_pipe_open(&second, left_ref) || send_numbered(second, 0) || plait_pipe_free(second))
            return "who comes later cannot open it";
        return drained(1, false);
    }
    return state == PLAIT_PIPE_DEAD ? drained(0, false) : "the end of the dead is open";
}

/* The test's own handle on the left end goes on after message `before`. */
static const char *others_follow(int before)
{
    int number;

    while (++before < BEFORE)
        if (recv_numbered(second, &number, PLAIT_NOW) || number != before)
            return "a message is lost, or torn";
    if (plait_pipe_poll(second, PLAIT_NOW) != ETIMEDOUT || plait_pipe_peer(right) != PLAIT_PIPE_OPEN)
        return "the end that another holds is gone";
    if (send_numbered(second, 0) || plait_pipe_free(second))
        return "the other holder cannot go on";
    return drained(1, false);
}

/* The child was one of two at the left end, and took the first message, perhaps. */
static const char *received_or_not(bool done)
{
    int next, err = recv_numbered(second, &next, PLAIT_NOW);

    if (done && !child_has_first())
        return "a message is lost, or torn";
    if (err || next < done || next > 1)
        return "a message is lost, or came again";
    return others_follow(next);
}

static const char *polled_or_not(bool done)
{
    int number;

    if (done && step_page->out)
        return "nothing is there to be received";
    if (recv_numbered(second, &number, PLAIT_NOW) || number != 0)
        return "a message is lost, or torn";
    return others_follow(0);
}

/* The only holder was a receiver. */
static const char *receiver_is_gone(bool done)
{
    return done && !child_has_first() ? "a message is lost, or torn" : drained(0, false);
}

/* The left end was given to the test. */
static const char *given_or_not(bool done)
{
    enum plait_pipe_state state = plait_pipe_peer(right);

    if (state == PLAIT_PIPE_OPEN) {
        if (plait_pipe_open(&second, left_ref) || plait_pipe_free(second))
            return "what was given cannot be taken";
        return plait_pipe_peer(right) == PLAIT_PIPE_CLOSED ? drained(0, false) : "what was given remains";
    }
    if (done || state != PLAIT_PIPE_DEAD)
        return "what was given is gone";
    return drained(0, false);
}

static int open_and_die(void *unused)
{
    if (plait_pipe_open(&left, left_ref) || send_numbered(left, 0))
        return 1;
    raise(SIGKILL);
    return 2;
}

static void left_by_the_dead(void)
{
    fresh();
    if (child_run(open_and_die, NULL) != CHILD_SIGNALLED + SIGKILL)
        abort();
}

static void hold_right(void)
{
    plait_ref_t ref;

    be_ready();
    if (plait_pipe_ref(right, PLAIT_PIPE_RIGHT, &ref) || plait_pipe_open(&right, ref))
        abort();
}

static const char *death_is_noticed(bool done)
{
    return done && step_page->out != PLAIT_PIPE_DEAD ? "the death was not noticed" : drained(1, false);
}

/* ---- The last to leave, and names ------------------------------------------------------------------------------ */

/* The list of names grows only once. */
static void named(void)
{
    void *address;

    if (plait_arena_lookup(arena, "warm", &address) == ENOENT &&
        (plait_arena_publish(arena, "warm", world) || plait_arena_publish(arena, pipe_name, world) ||
         plait_arena_unpublish(arena, pipe_name)))
        abort();
    remember_use();
}

/* In another arena each time: what a maker who is killed loses would fill one, in the long version. */
static void named_anew(void)
{
    if (drop_world() || make_world())
        abort();
    named();
}

static int new_ends(plait_pipe_t **left_out, plait_pipe_t **right_out)
{
    return plait_pipe_new(left_out, right_out, &(struct plait_pipe_opts){ .arena = arena, .name = pipe_name });
}

static void with_name(void)
{
    named();
    if (new_ends(NULL, &right) || plait_pipe_ref(right, PLAIT_PIPE_LEFT, &left_ref))
        abort();
    sent = 0;
}

/* The child has the left end, and the right one is closed. */
static void hold_left_alone(void)
{
    hold_left();
    send_some(left, BEFORE);
}

static int close_when_left_is_held(void *unused)
{
    for (int i = 0; i < 100000 && plait_pipe_peer(right) == PLAIT_PIPE_UNOPENED; i++)
        plait_sleep(0.0001);
    return plait_pipe_free(right);
}

static void do_new(void) { step_page->out = new_ends(&left, NULL); }

/* Only memory may be lost, and only by who is killed while it is given back. */
static const char *name_is_free(bool done)
{
    plait_pipe_t *ends[2];
    const char *wrong;
    int number;

    if (new_ends(&ends[0], &ends[1]))
        return "the name is lost";
    if (send_numbered(ends[0], 1) || recv_numbered(ends[1], &number, PLAIT_NOW) || number != 1)
        return "not a fresh pipe";
    plait_pipe_free(ends[0]);
    plait_pipe_free(ends[1]);
    wrong = checked();
    return !wrong && done && used() != used_before ? "memory is lost, or freed twice" : wrong;
}

static const char *last_has_left(bool done)
{
    plait_pipe_free(right); /* in those cases in which the child has not closed it */
    return done && step_page->out ? "free failed" : name_is_free(done);
}

static const char *destroyed(bool done)
{
    const char *wrong;

    if (!done)
        plait_pipe_destroy(right);
    else
        plait_pipe_free(right);
    wrong = checked();
    return !wrong && done && used() != used_before ? "memory is lost, or freed twice" : wrong;
}

/* Whoever comes second finds it, or makes it; and once all are gone, both can begin anew. */
static const char *made_or_not(bool done)
{
    static char text[100];
    int number, err;

    if (done && step_page->out)
        return "it could not be made";
    err = new_ends(NULL, &right);
    if (err) {
        snprintf(text, sizeof text, "the other end cannot be had: %s", plait_strerror(err));
        return text;
    }
    if (done && plait_pipe_peer(right) != PLAIT_PIPE_DEAD)
        return "the end of the dead is open";
    if (plait_pipe_peer(right) == PLAIT_PIPE_DEAD && recv_numbered(right, &number, plait_after(PATIENCE)) != EPIPE)
        return "the other side's end was not noticed";
    plait_pipe_destroy(right);
    return name_is_free(false);
}

/* ---- With sleepers --------------------------------------------------------------------------------------------- */

/* Gets the message, or hears that there will be none. */
static int recv_helper(void *unused)
{
    int number, err = recv_numbered(right, &number, plait_after(PATIENCE));

    return err == EPIPE || (err == 0 && number == BEFORE) ? 0 : 1;
}

static int told_helper(void *unused)
{
    int number;

    return recv_numbered(right, &number, plait_after(PATIENCE)) == EPIPE ? 0 : 1;
}

/* Finds room, or hears that nobody is there. */
static int send_helper(void *unused)
{
    int err = send_numbered(right, 1);

    return err == EPIPE || err == 0 ? 0 : 1;
}

static int told_sender(void *unused)
{
    return send_numbered(right, 1) == EPIPE ? 0 : 1;
}

static int recv_beside(void *unused)
{
    int number;

    return recv_numbered(second, &number, plait_after(PATIENCE)) || number != 0;
}

static const char *sleeper_is_through(bool done)
{
    int err = helper_end_by(PATIENCE);

    if (err)
        return "the sleeper got nothing, and was not told";
    if (done && step_page->out)
        return "the operation failed";
    plait_pipe_free(right);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

static const char *beside_goes_on(bool done)
{
    if (done && step_page->out != ETIMEDOUT)
        return "a message from nowhere";
    send_some(right, 1);
    if (helper_end_by(PATIENCE))
        return "the sleeper got no message";
    plait_pipe_free(second);
    plait_pipe_free(right);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

static void full_and_narrow(void)
{
    narrow();
    send_some(right, 1);
}

static void for_two(void)
{
    fresh();
    if (plait_pipe_open(&second, left_ref))
        abort();
}

static int send_for_two(void *unused)
{
    pid_t pid = sleep_behind_child(recv_beside);

    return send_numbered(right, 0) || child_end_by(pid, PATIENCE);
}

static const char *second_got_it(bool done)
{
    if (waker_end_by(2 * PATIENCE))
        return "the second sleeper got no message";
    if (done && step_page->out)
        return "poll failed";
    plait_pipe_free(second);
    plait_pipe_free(right);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

/* ---- All of them ----------------------------------------------------------------------------------------------- */

static void of_slips(void (*prepare)(void))
{
    size_wanted = 64;
    prepare();
}

static void fresh_for_slips(void) { of_slips(fresh); }
static void narrow_for_slips(void) { of_slips(narrow); }
static void with_slips(void) { of_slips(with_messages); }
static void with_slips_for_two(void) { of_slips(with_messages_for_two); }

#define CASE(what, how_prepared, first, what_is_done, check) \
    { .name = "pipe " what, .prepare = how_prepared, .before = first, .operate = what_is_done, .verify = check }
#define BESIDE(what, how_prepared, first, what_is_done, other, check) \
    { .name = "pipe " what, .prepare = how_prepared, .before = first, .operate = what_is_done, .helper = other, \
      .verify = check }

static const struct step_op ops[] = {
    CASE("open", fresh, be_ready, do_open, opened_or_not),
    CASE("send", fresh, hold_left_and_send, do_send, sent_or_not),
    CASE("send, full, in vain", narrow, hold_left_full, send_in_vain, not_sent),
    CASE("recv", with_messages, hold_left, do_recv, receiver_is_gone),
    CASE("recv, one of two holders", with_messages_for_two, hold_left, do_recv, received_or_not),
    CASE("send of a slip", fresh_for_slips, hold_left_and_send, do_send, sent_or_not),
    CASE("send of a slip, full, in vain", narrow_for_slips, hold_left_full, send_in_vain, not_sent),
    CASE("recv of a slip", with_slips, hold_left, do_recv, receiver_is_gone),
    CASE("recv of a slip, one of two holders", with_slips_for_two, hold_left, do_recv, received_or_not),
    CASE("recv, in vain", fresh, hold_left, recv_in_vain, opened_or_not),
    CASE("poll, one of two holders", with_messages_for_two, hold_left, do_poll, polled_or_not),
    CASE("poll with the copy of a handle", to_be_adopted, be_ready, do_poll, polled_or_not),
    CASE("recv with the copy of a handle", to_be_adopted, be_ready, do_recv, received_or_not),
    CASE("close and free", fresh, hold_left_and_send, do_free, closed_or_dead),
    CASE("free of the copy of a handle", to_be_adopted, be_ready, do_free, polled_or_not),
    CASE("give", fresh, hold_left, do_give, given_or_not),
    CASE("look at the end of the dead", left_by_the_dead, hold_right, do_peer, death_is_noticed),
    CASE("destroy", fresh, hold_left_and_send, do_destroy, destroyed),
    CASE("new, by name", named_anew, be_ready, do_new, made_or_not),
    { .name = "pipe free, the last, with a name", .prepare = with_name, .before = hold_left_alone, .operate = do_free,
      .helper = close_when_left_is_held, .verify = last_has_left, .helper_may_end = true },
    BESIDE("send, with a sleeper", fresh, hold_left, do_send, recv_helper, sleeper_is_through),
    BESIDE("recv, with a sleeper for room", full_and_narrow, hold_left, do_recv, send_helper, sleeper_is_through),
    BESIDE("close and free, with a sleeper", fresh, hold_left, do_free, told_helper, sleeper_is_through),
    BESIDE("close and free, with a sleeper for room", full_and_narrow, hold_left, do_free, told_sender,
           sleeper_is_through),
    BESIDE("recv, in vain, beside a sleeper", for_two, hold_left, recv_in_vain, recv_beside, beside_goes_on),
    { .name = "pipe poll, as the one woken, before a sleeper", .prepare = for_two, .before = hold_left, .operate = poll_among_others,
      .waker = send_for_two, .verify = second_got_it },
};

const struct step_table step_pipe = { ops, sizeof ops / sizeof ops[0] };
