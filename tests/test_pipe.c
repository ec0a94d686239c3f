/* SPDX-License-Identifier: MIT */
/* The contract of pipes: private, shared between threads, between processes, and what is left when somebody goes. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "queue/pipe.h"
#include "support/child.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { SECONDS = 30 };

/* What one case works on; in memory that its workers share. */
struct scene {
    plait_pipe_t *left, *right;
    plait_event_t go;
    uint32_t sum[8];
    int bad;
    size_t size; /* of what is sent */
};

static size_t used(struct stage *stage)
{
    size_t bytes = 0;

    assert_int_equal(plait_arena_usage(stage->arena, &bytes, NULL, NULL), 0);
    return bytes;
}

static struct scene *set_scene(struct stage *stage, struct plait_pipe_opts opts)
{
    struct scene *s = stage_alloc(stage, sizeof *s);

    assert_non_null(s);
    assert_int_equal(plait_event_init(&s->go, stage->flags), 0);
    opts.arena = stage->setting == STAGE_PRIVATE ? NULL : stage->arena;
    assert_int_equal(plait_pipe_new(&s->left, &s->right, &opts), 0);
    return s;
}

static void send_text(plait_pipe_t *pipe, const char *text)
{
    assert_int_equal(plait_pipe_send(pipe, text, strlen(text), PLAIT_NOW), 0);
}

static void recv_text(plait_pipe_t *pipe, const char *text)
{
    char got[200];
    size_t size = 99;

    assert_int_equal(plait_pipe_recv(pipe, got, sizeof got, &size, plait_after(SECONDS)), 0);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(got, text, size);
}

static int recv_any(plait_pipe_t *pipe, plait_time_t deadline)
{
    char got[64];
    size_t size;

    return plait_pipe_recv(pipe, got, sizeof got, &size, deadline);
}

/* ---- Messages -------------------------------------------------------------------------------------------------- */

static void messages_go_both_ways_in_order(void **state)
{
    struct stage *stage = *state;
    size_t before = used(stage);
    struct scene *s = set_scene(stage, (struct plait_pipe_opts){ 0 });
    char text[40], longer[130];

    assert_int_equal(plait_pipe_which(s->left), PLAIT_PIPE_LEFT);
    assert_int_equal(plait_pipe_which(s->right), PLAIT_PIPE_RIGHT);
    assert_false(plait_pipe_is_one_way(s->left));
    assert_int_equal(plait_pipe_maxsize(s->right), 0);
    assert_int_equal(recv_any(s->left, PLAIT_NOW), ETIMEDOUT);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "%d to the right", i);
        send_text(s->left, text);
        snprintf(text, sizeof text, "%d to the left", i);
        send_text(s->right, text);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "%d to the left", i);
        recv_text(s->left, text);
        snprintf(text, sizeof text, "%d to the right", i);
        recv_text(s->right, text);
    }
    assert_int_equal(plait_pipe_send(s->left, NULL, 0, PLAIT_NOW), 0);
    recv_text(s->right, "");
    for (int length = 1; length < (int)sizeof longer; length++) { /* short ones lie elsewhere than long ones */
        snprintf(longer, sizeof longer, "%0*d", length, length);
        send_text(s->left, longer);
        recv_text(s->right, longer);
    }
    assert_int_equal(recv_any(s->right, PLAIT_NOW), ETIMEDOUT);
    send_text(s->left, "never received");
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_free(s->right), 0);
    assert_int_equal(plait_arena_dealloc(stage->arena, s), 0);
    assert_int_equal(used(stage), before);
}

static void one_way_goes_from_left_to_right(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .one_way = 1 });
    struct plait_message m;
    char got[8];
    size_t size = sizeof got, index;

    assert_true(plait_pipe_is_one_way(s->left) && plait_pipe_is_one_way(s->right));
    send_text(s->left, "x");
    assert_int_equal(plait_pipe_send(s->right, "x", 1, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_pipe_reserve(s->right, 1, &m), EINVAL);
    assert_int_equal(recv_any(s->left, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_pipe_borrow(s->left, &m, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_pipe_poll(s->left, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_wait_any((struct plait_wait_entry[]){ plait_any_pipe_recv(s->left, got, &size) }, 1, &index,
                                    PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_wait_any((struct plait_wait_entry[]){ plait_any_pipe_send(s->right, got, 1) }, 1, &index,
                                    PLAIT_FOREVER), EINVAL);
    recv_text(s->right, "x");
    assert_int_equal(plait_pipe_peer(s->left), PLAIT_PIPE_OPEN);
    assert_int_equal(plait_pipe_free(s->right), 0);
    assert_int_equal(plait_pipe_peer(s->left), PLAIT_PIPE_CLOSED);
    assert_int_equal(plait_pipe_send(s->left, "x", 1, PLAIT_NOW), EPIPE);
    assert_int_equal(plait_pipe_free(s->left), 0);
}

static void message_that_does_not_fit_stays(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    char got[8] = "before";
    size_t size = 0;

    send_text(s->left, "a long message");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_pipe_recv(s->right, got, sizeof got, &size, PLAIT_FOREVER), EMSGSIZE);
        assert_int_equal(size, strlen("a long message"));
        assert_string_equal(got, "before");
    }
    recv_text(s->right, "a long message");
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static void messages_are_lent_without_a_copy(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 1 });
    struct plait_message m, next;

    assert_int_equal(plait_pipe_reserve(s->left, 1000, &m), 0);
    assert_int_equal(plait_pipe_reserve(s->left, 10, &next), 0);
    memcpy(m.data, "here", 4);
    m.size = 4;
    assert_int_equal(plait_pipe_commit(s->left, &m, PLAIT_NOW), 0);
    assert_null(m.data);
    assert_int_equal(plait_pipe_commit(s->left, &next, PLAIT_NOW), ETIMEDOUT);
    assert_non_null(next.data);
    assert_int_equal(plait_pipe_borrow(s->right, &m, PLAIT_NOW), 0);
    assert_int_equal(m.size, 4);
    assert_memory_equal(m.data, "here", 4);
    assert_int_equal(plait_pipe_give_back(s->right, &m), 0);
    assert_null(m.data);
    assert_int_equal(plait_pipe_borrow(s->right, &m, PLAIT_NOW), ETIMEDOUT);
    assert_null(m.data);
    assert_int_equal(plait_pipe_give_back(s->left, &next), 0);
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_reserve(s->right, 1, &m), 0); /* memory alone; commit says that nobody is there */
    assert_int_equal(plait_pipe_commit(s->right, &m, PLAIT_NOW), EPIPE);
    assert_int_equal(plait_pipe_give_back(s->right, &m), 0);
    assert_int_equal(plait_pipe_borrow(s->right, &m, PLAIT_NOW), EPIPE);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static void bad_options_are_refused(void **state)
{
    struct stage *stage = *state;
    plait_arena_t *arena = stage->setting == STAGE_PRIVATE ? NULL : stage->arena;
    plait_pipe_t *left = (void *)&stage, *right = (void *)&stage;

    assert_int_equal(plait_pipe_new(&left, &right, &(struct plait_pipe_opts){ .arena = arena, .maxsize = SIZE_MAX }), EINVAL);
    assert_null(left);
    assert_null(right);
    assert_int_equal(plait_pipe_new(&left, &right, &(struct plait_pipe_opts){ .arena = arena, .spare = 1 }), EINVAL);
    assert_int_equal(plait_pipe_new(NULL, NULL, &(struct plait_pipe_opts){ .arena = arena }), EINVAL);
    assert_int_equal(plait_pipe_new(&left, &right, &(struct plait_pipe_opts){ .name = "x" }), EINVAL);
    if (!arena) {
        assert_int_equal(plait_pipe_new(&left, NULL, &(struct plait_pipe_opts){ 0 }), EINVAL);
        assert_int_equal(plait_pipe_new(NULL, &right, &(struct plait_pipe_opts){ 0 }), EINVAL);
    }
    assert_int_equal(plait_pipe_free(NULL), 0);
}

static void private_pipe_has_no_names(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    plait_ref_t ref;

    assert_int_equal(plait_pipe_ref(s->left, PLAIT_PIPE_LEFT, &ref), EINVAL);
    assert_int_equal(plait_pipe_publish(s->left, "x"), EINVAL);
    assert_int_equal(plait_pipe_give(s->left, getpid()), EINVAL);
    assert_int_equal(plait_pipe_destroy(s->left), 0);
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_CLOSED);
    assert_int_equal(plait_pipe_destroy(s->right), 0);
}

/* ---- Close ----------------------------------------------------------------------------------------------------- */

static void other_side_drains_and_then_hears_of_the_close(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 2 });

    assert_int_equal(plait_pipe_poll(s->right, PLAIT_NOW), ETIMEDOUT);
    send_text(s->left, "one");
    send_text(s->left, "two");
    assert_int_equal(plait_pipe_poll(s->right, PLAIT_NOW), 0);
    assert_int_equal(plait_pipe_close(s->left), 0);
    assert_int_equal(plait_pipe_close(s->left), 0);
    assert_int_equal(plait_pipe_send(s->left, "x", 1, PLAIT_FOREVER), EPIPE);
    assert_int_equal(recv_any(s->left, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pipe_poll(s->left, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_CLOSED);
    assert_int_equal(plait_pipe_peer(s->left), PLAIT_PIPE_OPEN);
    assert_int_equal(plait_pipe_send(s->right, "x", 1, PLAIT_FOREVER), EPIPE);
    recv_text(s->right, "one");
    assert_int_equal(plait_pipe_poll(s->right, PLAIT_FOREVER), 0);
    recv_text(s->right, "two");
    assert_int_equal(recv_any(s->right, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pipe_poll(s->right, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pipe_free(s->right), 0);
    assert_int_equal(plait_pipe_free(s->left), 0);
}

static void recv_right(struct worker *self)
{
    struct scene *s = self->with;

    worker_says(self, 1);
    self->result = recv_any(s->right, PLAIT_FOREVER);
}

static void send_right(struct worker *self)
{
    struct scene *s = self->with;

    self->result = plait_pipe_send(s->right, "full", 4, PLAIT_NOW);
    worker_says(self, 1);
    if (self->result == 0)
        self->result = plait_pipe_send(s->right, "more", 4, PLAIT_FOREVER);
}

static void poll_right(struct worker *self)
{
    struct scene *s = self->with;

    worker_says(self, 1);
    self->result = plait_pipe_poll(s->right, PLAIT_FOREVER);
}

static int first_beside_event(struct scene *s, struct plait_wait_entry entry)
{
    struct plait_wait_entry entries[] = { plait_any_event_wait(&s->go), entry };
    size_t index;
    int err = plait_wait_any(entries, 2, &index, PLAIT_FOREVER);

    return index == 1 ? err : -2;
}

static void poll_right_among(struct worker *self)
{
    struct scene *s = self->with;

    worker_says(self, 1);
    self->result = first_beside_event(s, plait_any_pipe_poll(s->right));
}

static void recv_right_among(struct worker *self)
{
    struct scene *s = self->with;
    char got[64];
    size_t size = sizeof got;

    worker_says(self, 1);
    self->result = first_beside_event(s, plait_any_pipe_recv(s->right, got, &size));
}

static void send_right_among(struct worker *self)
{
    struct scene *s = self->with;

    self->result = plait_pipe_send(s->right, "full", 4, PLAIT_NOW);
    worker_says(self, 1);
    if (self->result == 0)
        self->result = first_beside_event(s, plait_any_pipe_send(s->right, "more", 4));
}

static const struct sleeper {
    void (*run)(struct worker *self);
    bool sends;
} sleepers[] = {
    { recv_right, false }, { send_right, true }, { poll_right, false },
    { recv_right_among, false }, { send_right_among, true }, { poll_right_among, false },
};

enum { SLEEPERS = sizeof sleepers / sizeof sleepers[0] };

static void close_wakes_those_who_sleep_at_the_other_end(void **state)
{
    for (int i = 0; i < SLEEPERS; i++) {
        struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 1 });
        struct worker *w = worker_start(*state, sleepers[i].run, s);

        assert_true(worker_sleeps(w, 1));
        assert_int_equal(plait_pipe_close(s->left), 0);
        assert_int_equal(worker_result(w), EPIPE);
        assert_int_equal(plait_pipe_free(s->left), 0);
        assert_int_equal(plait_pipe_free(s->right), 0);
    }
}

/* Of threads: another process has a handle of its own. */
static void close_wakes_those_who_sleep_with_the_same_handle(void **state)
{
    for (int i = 0; i < SLEEPERS; i++) {
        struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 1 });
        struct worker *w = worker_start(*state, sleepers[i].run, s);

        assert_true(worker_sleeps(w, 1));
        assert_int_equal(plait_pipe_close(s->right), 0);
        assert_int_equal(worker_result(w), EPIPE);
        assert_int_equal(plait_pipe_free(s->right), 0);
        assert_int_equal(plait_pipe_free(s->left), 0);
    }
}

static void send_wakes_those_who_sleep(void **state)
{
    for (int i = 0; i < SLEEPERS; i++) {
        struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 1 });
        struct worker *w = worker_start(*state, sleepers[i].run, s);

        assert_true(worker_sleeps(w, 1));
        if (sleepers[i].sends)
            recv_text(s->left, "full");
        else
            send_text(s->left, "hello");
        assert_int_equal(worker_result(w), 0);
        if (sleepers[i].sends)
            recv_text(s->left, "more");
        assert_int_equal(plait_pipe_free(s->left), 0);
        assert_int_equal(plait_pipe_free(s->right), 0);
    }
}

static void deadlines_and_tokens_end_waits(void **state)
{
    static const char long_bytes[100];
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 1 });
    plait_cancel_t token = { 0 };
    plait_time_t start = plait_now();
    size_t before;

    send_text(s->left, "full");
    before = used(*state);
    assert_int_equal(recv_any(s->left, plait_after(0.03)), ETIMEDOUT);
    assert_int_equal(plait_pipe_poll(s->left, plait_after(0.03)), ETIMEDOUT);
    assert_int_equal(plait_pipe_send(s->left, "x", 1, plait_after(0.03)), ETIMEDOUT);
    assert_int_equal(plait_pipe_send(s->left, long_bytes, sizeof long_bytes, plait_after(0.03)), ETIMEDOUT);
    assert_true(plait_now() - start >= 90 * 1000 * 1000);
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    assert_int_equal(recv_any(s->left, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(plait_pipe_poll(s->left, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(plait_pipe_send(s->left, "x", 1, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(plait_pipe_send(s->left, long_bytes, sizeof long_bytes, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(plait_pipe_close(s->left), 0);
    plait_cancel_bind(NULL);
    assert_int_equal(used(*state), before);
    recv_text(s->right, "full");
    assert_int_equal(recv_any(s->right, PLAIT_NOW), EPIPE);
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static void *send_for_ever(void *arg)
{
    struct scene *s = arg;

    static const char bytes[100];

    plait_pipe_send(s->left, bytes, s->size, PLAIT_FOREVER);
    return NULL;
}

static void cancelled_sender_leaves_nothing_behind(void **state, size_t size)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 1 });
    pthread_t thread;
    size_t before;
    void *result;

    send_text(s->left, "full");
    before = used(*state);
    s->size = size;
    assert_int_equal(pthread_create(&thread, NULL, send_for_ever, s), 0);
    plait_sleep(0.02);
    assert_int_equal(pthread_cancel(thread), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    assert_int_equal(used(*state), before);
    recv_text(s->right, "full");
    assert_int_equal(recv_any(s->right, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static void cancelled_thread_leaves_nothing_behind(void **state)
{
    cancelled_sender_leaves_nothing_behind(state, 14);
    cancelled_sender_leaves_nothing_behind(state, 100);
}

/* ---- Among others ---------------------------------------------------------------------------------------------- */

static int first_of(struct plait_wait_entry entry)
{
    size_t index = 9;
    int err = plait_wait_any(&entry, 1, &index, PLAIT_NOW);

    return index == 0 ? err : -err;
}

/* Of a message of that size. */
static void entries_do_as_the_calls_with(void **state, size_t length)
{
    static const char bytes[200] = "a message";
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 2 });
    struct plait_message m;
    char got[8], all[200];
    size_t size = sizeof got, before = used(*state);

    assert_int_equal(first_of(plait_any_pipe_recv(s->right, got, &size)), -ETIMEDOUT);
    assert_int_equal(size, sizeof got);
    assert_int_equal(first_of(plait_any_pipe_poll(s->right)), -ETIMEDOUT);
    assert_int_equal(first_of(plait_any_pipe_borrow(s->right, &m)), -ETIMEDOUT);
    assert_int_equal(first_of(plait_any_pipe_send(s->left, bytes, length)), 0);
    assert_int_equal(plait_pipe_reserve(s->left, 3, &m), 0);
    memcpy(m.data, "two", 3);
    assert_int_equal(first_of(plait_any_pipe_commit(s->left, &m)), 0);
    assert_int_equal(first_of(plait_any_pipe_send(s->left, bytes, length)), -ETIMEDOUT);
    assert_int_equal(first_of(plait_any_pipe_recv(s->right, got, &size)), EMSGSIZE);
    assert_int_equal(size, length);
    assert_int_equal(first_of(plait_any_pipe_poll(s->right)), 0);
    assert_int_equal(first_of(plait_any_pipe_borrow(s->right, &m)), 0);
    assert_int_equal(m.size, length);
    assert_memory_equal(m.data, bytes, length);
    assert_int_equal(plait_pipe_give_back(s->right, &m), 0);
    assert_int_equal(first_of(plait_any_pipe_send(s->left, bytes, length)), 0);
    size = sizeof got;
    assert_int_equal(first_of(plait_any_pipe_recv(s->right, got, &size)), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(got, "two", 3);
    size = sizeof all;
    assert_int_equal(first_of(plait_any_pipe_recv(s->right, all, &size)), 0);
    assert_int_equal(size, length);
    assert_memory_equal(all, bytes, length);
    assert_int_equal(used(*state), before);
    assert_int_equal(plait_pipe_close(s->left), 0);
    assert_int_equal(first_of(plait_any_pipe_recv(s->right, got, &size)), EPIPE);
    assert_int_equal(first_of(plait_any_pipe_borrow(s->right, &m)), EPIPE);
    assert_int_equal(first_of(plait_any_pipe_poll(s->right)), EPIPE);
    assert_int_equal(first_of(plait_any_pipe_send(s->right, "x", 1)), EPIPE);
    assert_int_equal(first_of(plait_any_pipe_poll(s->left)), EPIPE);
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static void entries_do_as_the_calls(void **state)
{
    entries_do_as_the_calls_with(state, 9);
    entries_do_as_the_calls_with(state, sizeof (char[200]));
}

/* ---- Many at a time -------------------------------------------------------------------------------------------- */

enum { SENDERS = 2, RECEIVERS = 2, EACH = 1500, LONGEST = 3000 };

static size_t length_of(uint32_t sender, uint32_t number)
{
    return 8 + (number * 37 + sender * 11) % (number % 50 ? 100 : LONGEST);
}

static void fill(unsigned char *bytes, uint32_t sender, uint32_t number)
{
    uint32_t head[2] = { sender, number };

    for (size_t i = 0; i < length_of(sender, number); i++)
        bytes[i] = (unsigned char)(number + sender + i);
    memcpy(bytes, head, sizeof head);
}

static void send_many(struct worker *self)
{
    struct scene *s = self->with;
    unsigned char bytes[LONGEST + 8];

    self->result = 0;
    for (uint32_t i = 0; i < EACH && self->result == 0; i++) {
        fill(bytes, self->number, i);
        self->result = plait_pipe_send(s->left, bytes, length_of(self->number, i), plait_after(SECONDS));
    }
}

static void recv_many(struct worker *self)
{
    struct scene *s = self->with;
    unsigned char bytes[LONGEST + 8], expected[LONGEST + 8];
    uint32_t head[2], last[SENDERS] = { 0 };
    size_t size;

    for (;;) {
        int err = plait_pipe_recv(s->right, bytes, sizeof bytes, &size, plait_after(SECONDS));

        if (err) {
            self->result = err;
            return;
        }
        memcpy(head, bytes, sizeof head);
        if (size < 8 || head[0] >= SENDERS || head[1] >= EACH || size != length_of(head[0], head[1])) {
            self->result = -2;
            return;
        }
        fill(expected, head[0], head[1]);
        if (memcmp(bytes, expected, size) != 0 || head[1] + 1 <= last[head[0]]) {
            self->result = -3;
            return;
        }
        last[head[0]] = head[1] + 1;
        __atomic_fetch_add(&s->sum[0], 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&s->sum[1], head[1], __ATOMIC_RELAXED);
    }
}

static void two_senders_do_not_mix_and_two_receivers_do_not_share(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 20, .one_way = 1 });
    struct worker *w[SENDERS + RECEIVERS];

    for (int i = 0; i < SENDERS + RECEIVERS; i++)
        w[i] = worker_start(*state, i < SENDERS ? send_many : recv_many, s);
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(worker_result(w[i]), 0);
    assert_int_equal(plait_pipe_free(s->left), 0);
    for (int i = 0; i < RECEIVERS; i++)
        assert_int_equal(worker_result(w[SENDERS + i]), EPIPE);
    assert_int_equal(s->sum[0], SENDERS * EACH);
    assert_int_equal(s->sum[1], SENDERS * (EACH * (EACH - 1) / 2));
    assert_int_equal(plait_pipe_free(s->right), 0);
}

enum { LARGE = 1 << 19 };

static void exchange_large(struct worker *self)
{
    struct scene *s = self->with;
    char *bytes = calloc(1, LARGE);
    size_t size = 0;

    if (!bytes)
        return;
    self->result = plait_pipe_send(s->right, bytes, LARGE, plait_after(SECONDS));
    if (self->result == 0)
        self->result = plait_pipe_recv(s->right, bytes, LARGE, &size, plait_after(SECONDS));
    if (self->result == 0 && (size != LARGE || bytes[LARGE - 1] != 1))
        self->result = -2;
    free(bytes);
}

static void large_messages_cross_in_a_narrow_pipe(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 1 });
    struct worker *w = worker_start(*state, exchange_large, s);
    char *bytes = malloc(LARGE);
    size_t size;

    assert_non_null(bytes);
    memset(bytes, 1, LARGE);
    assert_int_equal(plait_pipe_send(s->left, bytes, LARGE, plait_after(SECONDS)), 0);
    assert_int_equal(plait_pipe_recv(s->left, bytes, LARGE, &size, plait_after(SECONDS)), 0);
    assert_int_equal(size, LARGE);
    assert_int_equal(worker_result(w), 0);
    free(bytes);
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

/* ---- References and names -------------------------------------------------------------------------------------- */

static void end_is_held_by_each_who_opened_it(void **state)
{
    struct stage *stage = *state;
    size_t before = used(stage);
    struct scene *s = set_scene(stage, (struct plait_pipe_opts){ 0 });
    plait_pipe_t *second;
    plait_ref_t ref;

    assert_int_equal(plait_pipe_ref(s->right, PLAIT_PIPE_LEFT, &ref), 0);
    assert_int_equal(plait_pipe_open(&second, ref), 0);
    assert_int_equal(plait_pipe_which(second), PLAIT_PIPE_LEFT);
    send_text(second, "from the second");
    send_text(s->left, "from the first");
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_OPEN);
    recv_text(s->right, "from the second");
    recv_text(s->right, "from the first");
    assert_int_equal(recv_any(s->right, plait_after(0.01)), ETIMEDOUT);
    send_text(s->right, "back");
    recv_text(second, "back");
    assert_int_equal(plait_pipe_close(second), 0);
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_CLOSED);
    assert_int_equal(recv_any(s->right, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pipe_free(s->right), 0);
    assert_int_equal(plait_pipe_free(second), 0); /* the last handle, and only now */
    assert_int_equal(plait_pipe_open(&second, ref), EBADMSG);
    assert_null(second);
    assert_int_equal(plait_arena_dealloc(stage->arena, s), 0);
    assert_int_equal(used(stage), before);
}

static void end_that_was_never_opened_is_not_closed(void **state)
{
    struct stage *stage = *state;
    plait_pipe_t *left, *right;
    plait_ref_t ref;
    size_t before = used(stage);

    assert_int_equal(plait_pipe_new(&left, NULL, &(struct plait_pipe_opts){ .arena = stage->arena }), 0);
    assert_int_equal(plait_pipe_ref(left, PLAIT_PIPE_RIGHT, &ref), 0);
    assert_int_equal(plait_pipe_peer(left), PLAIT_PIPE_UNOPENED);
    send_text(left, "for whoever comes");
    assert_int_equal(recv_any(left, plait_after(0.2)), ETIMEDOUT);
    assert_int_equal(plait_pipe_free(left), 0);
    assert_int_equal(plait_pipe_open(&right, ref), 0);
    assert_int_equal(plait_pipe_peer(right), PLAIT_PIPE_CLOSED);
    recv_text(right, "for whoever comes");
    assert_int_equal(recv_any(right, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pipe_ref(right, PLAIT_PIPE_LEFT, &ref), 0);
    assert_int_equal(plait_pipe_open(&left, ref), EPIPE);
    assert_null(left);
    assert_int_equal(plait_pipe_free(right), 0);
    assert_int_equal(used(stage), before);
    assert_int_equal(plait_pipe_new(NULL, &right, &(struct plait_pipe_opts){ .arena = stage->arena }), 0);
    send_text(right, "for nobody");
    assert_int_equal(plait_pipe_destroy(right), 0);
    assert_int_equal(used(stage), before);
}

static void names_lead_to_ends(void **state)
{
    struct stage *stage = *state;
    struct plait_pipe_opts opts = { .arena = stage->arena, .name = "chat", .maxsize = 5 }, other = opts;
    plait_pipe_t *left, *right, *third;
    void *address;

    assert_int_equal(plait_pipe_new(&left, NULL, &opts), 0);
    send_text(left, "early");
    assert_int_equal(plait_pipe_new(NULL, &right, &opts), 0);
    recv_text(right, "early");
    other.maxsize = 6;
    assert_int_equal(plait_pipe_new(&third, NULL, &other), EINVAL);
    assert_null(third);
    other = opts;
    other.one_way = 1;
    assert_int_equal(plait_pipe_new(NULL, &third, &other), EINVAL);
    assert_int_equal(plait_pipe_publish(left, "again"), EEXIST);
    assert_int_equal(plait_pipe_lookup(&third, stage->arena, "chat", PLAIT_PIPE_RIGHT), 0);
    assert_int_equal(plait_pipe_free(right), 0);
    send_text(left, "to the third");
    recv_text(third, "to the third");
    assert_int_equal(plait_pipe_free(left), 0);
    assert_int_equal(plait_pipe_new(&left, NULL, &opts), EPIPE); /* somebody still talks to the one before */
    assert_int_equal(plait_pipe_new(&left, &right, &opts), EPIPE);
    assert_int_equal(plait_pipe_lookup(&left, stage->arena, "chat", PLAIT_PIPE_LEFT), EPIPE);
    assert_int_equal(plait_pipe_free(third), 0);
    assert_int_equal(plait_arena_lookup(stage->arena, "chat", &address), ENOENT);
    assert_int_equal(plait_pipe_new(&left, &right, &opts), 0); /* afresh */
    assert_int_equal(plait_pipe_destroy(left), 0);
    assert_int_equal(plait_pipe_free(right), 0);
    assert_int_equal(plait_pipe_lookup(&left, stage->arena, "chat", PLAIT_PIPE_LEFT), ENOENT);
    assert_int_equal(plait_pipe_new(&left, &right, &(struct plait_pipe_opts){ .arena = stage->arena }), 0);
    assert_int_equal(plait_pipe_publish(right, ""), EINVAL);
    assert_int_equal(plait_pipe_publish(right, "chat"), 0);
    assert_int_equal(plait_pipe_free(right), 0);
    assert_int_equal(plait_pipe_free(left), 0);
    assert_int_equal(plait_arena_lookup(stage->arena, "chat", &address), ENOENT);
}

static void what_is_no_pipe_is_refused(void **state)
{
    struct stage *stage = *state;
    plait_pipe_t *left, *right, *pipe;
    struct plait__pipe_body *body;
    plait_queue_t *queue;
    plait_ref_t ref;
    uint64_t kept;

    assert_int_equal(plait_queue_new(&queue, &(struct plait_queue_opts){ .arena = stage->arena }), 0);
    assert_int_equal(plait_queue_publish(queue, "queue"), 0);
    assert_int_equal(plait_queue_ref(queue, &ref), 0);
    assert_int_equal(plait_pipe_open(&pipe, ref), EBADMSG);
    assert_int_equal(plait_pipe_lookup(&pipe, stage->arena, "queue", PLAIT_PIPE_LEFT), EBADMSG);
    assert_int_equal(plait_pipe_new(&pipe, NULL, &(struct plait_pipe_opts){ .arena = stage->arena, .name = "queue" }), EBADMSG);
    assert_int_equal(plait_queue_destroy(queue), 0);
    ref.offset = (uint64_t)1 << 60;
    assert_int_equal(plait_pipe_open(&pipe, ref), EINVAL);
    assert_int_equal(plait_pipe_open(&pipe, (plait_ref_t){ 0 }), EINVAL);
    assert_int_equal(plait_pipe_new(&left, &right, &(struct plait_pipe_opts){ .arena = stage->arena }), 0);
    assert_int_equal(plait_pipe_ref(left, PLAIT_PIPE_LEFT, &ref), 0);
    body = left->body;
    kept = body->queues[1];
    for (int i = 0; i < 3; i++) {
        static const uint64_t wrong[] = { 0, 8, (uint64_t)1 << 50 };

        body->queues[1] = wrong[i];
        assert_int_equal(plait_pipe_open(&pipe, ref), EBADMSG);
        assert_null(pipe);
    }
    body->queues[1] = kept;
    body->state[0] = 77; /* over, as far as anybody can tell */
    assert_int_equal(plait_pipe_open(&pipe, ref), EPIPE);
    body->state[0] = PLAIT_PIPE_OPEN;
    memset(body->name, 'x', sizeof body->name);
    assert_int_equal(plait_pipe_free(left), 0);
    assert_int_equal(plait_pipe_free(right), 0);
}

/* ---- Children -------------------------------------------------------------------------------------------------- */

static int sleep_on(void *unused)
{
    pause();
    return 1;
}

static void copy_in_a_child_keeps_nothing_open(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    pid_t child = child_start(sleep_on, NULL);

    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(recv_any(s->right, PLAIT_FOREVER), EPIPE);
    child_kill(child);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static int free_copies(void *arg)
{
    struct scene *s = arg;

    return plait_pipe_close(s->left) || plait_pipe_free(s->left) || plait_pipe_free(s->right);
}

static void child_that_closes_its_copies_closes_nothing(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });

    assert_int_equal(child_run(free_copies, s), 0);
    assert_int_equal(plait_pipe_peer(s->left), PLAIT_PIPE_OPEN);
    send_text(s->left, "still there");
    recv_text(s->right, "still there");
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static int use_left(void *arg)
{
    struct scene *s = arg;
    int err = plait_pipe_send(s->left, "hello", 5, PLAIT_NOW);

    return err ? err : recv_any(s->left, PLAIT_FOREVER);
}

static int use_left_and_close(void *arg)
{
    struct scene *s = arg;
    int err = plait_pipe_send(s->left, "hello", 5, PLAIT_NOW);

    return err ? err : plait_pipe_free(s->left);
}

static int use_left_when_told(void *arg)
{
    struct scene *s = arg;
    int err = plait_event_wait(&s->go, PLAIT_FOREVER);

    return err ? err : use_left(arg);
}

static int close_left_when_told(void *arg)
{
    struct scene *s = arg;
    int err = plait_event_wait(&s->go, PLAIT_FOREVER);

    plait_pipe_free(s->left);
    return err ? err : sleep_on(NULL);
}

static void child_holds_what_it_has_used(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    pid_t child = child_start(use_left, s);

    recv_text(s->right, "hello");
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_OPEN);
    assert_int_equal(recv_any(s->right, plait_after(0.05)), ETIMEDOUT);
    send_text(s->right, "enough");
    assert_int_equal(child_end(child), 0);
    assert_int_equal(recv_any(s->right, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_DEAD); /* it has ended without closing */
    assert_int_equal(plait_pipe_free(s->right), 0);
    s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    child = child_start(use_left_and_close, s);
    recv_text(s->right, "hello");
    assert_int_equal(child_end(child), 0);
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_OPEN); /* ours */
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_CLOSED);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static void child_too_late_for_an_end_is_told(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    pid_t child = child_start(use_left_when_told, s);

    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_event_set(&s->go), 0);
    assert_int_equal(child_end(child), EPIPE);
    assert_int_equal(plait_pipe_free(s->right), 0);
    s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    child = child_start(use_left_when_told, s);
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(plait_pipe_free(s->right), 0); /* the pipe has ended */
    assert_int_equal(plait_event_set(&s->go), 0);
    assert_int_equal(child_end(child), EPIPE);
}

static void end_is_given_to_a_child(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    pid_t child = child_start(use_left_when_told, s);

    assert_int_equal(plait_pipe_give(s->left, child), 0);
    assert_int_equal(plait_pipe_free(s->left), 0);
    assert_int_equal(recv_any(s->right, plait_after(0.2)), ETIMEDOUT);
    assert_int_equal(plait_event_set(&s->go), 0);
    recv_text(s->right, "hello");
    send_text(s->right, "enough");
    assert_int_equal(child_end(child), 0);
    assert_int_equal(recv_any(s->right, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pipe_give(s->right, child), ESRCH);
    assert_int_equal(plait_pipe_give(s->right, -1), ESRCH);
    assert_int_equal(plait_pipe_close(s->right), 0);
    assert_int_equal(plait_pipe_give(s->right, getpid()), EPIPE);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static void given_end_goes_with_the_child(void **state)
{
    for (int closes = 0; closes < 2; closes++) {
        struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
        pid_t child = child_start(closes ? close_left_when_told : sleep_on, s);

        assert_int_equal(plait_pipe_give(s->left, child), 0);
        assert_int_equal(plait_pipe_free(s->left), 0);
        assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_OPEN);
        if (closes) {
            assert_int_equal(plait_event_set(&s->go), 0);
            assert_int_equal(recv_any(s->right, PLAIT_FOREVER), EPIPE);
            assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_CLOSED);
            child_kill(child);
        } else {
            child_kill(child);
            assert_int_equal(recv_any(s->right, PLAIT_FOREVER), EPIPE);
            assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_DEAD);
        }
        assert_int_equal(plait_pipe_free(s->right), 0);
    }
}

static void given_end_counts_once_with_the_childs_own(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    pid_t child = child_start(use_left, s);

    recv_text(s->right, "hello"); /* it has taken the end */
    assert_int_equal(plait_pipe_give(s->left, child), 0);
    assert_int_equal(plait_pipe_free(s->left), 0);
    send_text(s->right, "enough");
    assert_int_equal(child_end(child), 0);
    assert_int_equal(recv_any(s->right, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

/* ---- Deaths ---------------------------------------------------------------------------------------------------- */

/* A child that has the left end to itself. */
static pid_t start_holder(struct scene *s, int (*body)(void *))
{
    pid_t child = child_start(body, s);

    assert_int_equal(plait_pipe_give(s->left, child), 0);
    assert_int_equal(plait_pipe_free(s->left), 0);
    return child;
}

static int use_left_and_die(void *arg)
{
    struct scene *s = arg;

    if (plait_event_wait(&s->go, PLAIT_FOREVER) || plait_pipe_send(s->left, "one", 3, PLAIT_NOW) || plait_pipe_send(s->left, "two", 3, PLAIT_NOW))
        return 1;
    raise(SIGKILL);
    return 2;
}

static void what_the_dead_sent_is_received_before_their_end(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    pid_t child = start_holder(s, use_left_and_die);
    plait_ref_t ref;

    assert_int_equal(plait_event_set(&s->go), 0);
    assert_int_equal(child_end(child), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(plait_pipe_send(s->right, "x", 1, PLAIT_NOW), EPIPE); /* at once */
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_DEAD);
    recv_text(s->right, "one");
    assert_int_equal(plait_pipe_poll(s->right, PLAIT_NOW), 0);
    recv_text(s->right, "two");
    assert_int_equal(recv_any(s->right, PLAIT_NOW), EPIPE);
    assert_int_equal(plait_pipe_poll(s->right, PLAIT_NOW), EPIPE);
    assert_int_equal(plait_pipe_ref(s->right, PLAIT_PIPE_LEFT, &ref), 0);
    assert_int_equal(plait_pipe_open(&s->left, ref), EPIPE);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static void die_with_left(struct worker *self)
{
    struct scene *s = self->with;

    if (plait_pipe_poll(s->left, PLAIT_NOW) == ETIMEDOUT)
        worker_says(self, 1);
    pause();
}

static void death_ends_the_sleep_of_the_other_side(void **state)
{
    for (int i = 0; i < SLEEPERS; i++) {
        struct scene *s = set_scene(*state, (struct plait_pipe_opts){ .maxsize = 1 });
        struct worker *holder = worker_start(*state, die_with_left, s), *w;

        assert_true(worker_said(holder, 1));
        w = worker_start(*state, sleepers[i].run, s);
        assert_true(worker_sleeps(w, 1));
        assert_int_equal(plait_pipe_free(s->left), 0);
        assert_int_equal(plait_pipe_free(s->right), 0);
        worker_kill(holder);
        assert_int_equal(worker_result(w), EPIPE);
    }
}

static void *use_left_in_a_thread(void *arg)
{
    struct scene *s = arg;

    return (void *)(intptr_t)plait_pipe_send(s->left, "hello", 5, PLAIT_NOW);
}

static int end_the_thread_that_opened(void *arg)
{
    pthread_t thread;
    void *err;

    if (pthread_create(&thread, NULL, use_left_in_a_thread, arg) || pthread_join(thread, &err) || err)
        return 1;
    return recv_any(((struct scene *)arg)->left, PLAIT_FOREVER); /* lives on without having taken part, and so for long */
}

static void thread_that_opened_may_end_before_its_process(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    pid_t child;

    child_await_quiet(0);
    child = start_holder(s, end_the_thread_that_opened);
    recv_text(s->right, "hello");
    assert_int_equal(recv_any(s->right, plait_after(0.3)), ETIMEDOUT);
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_OPEN);
    child_kill(child);
    assert_int_equal(recv_any(s->right, plait_after(SECONDS)), EPIPE);
    assert_int_equal(plait_pipe_send(s->right, "x", 1, PLAIT_NOW), EPIPE);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static void stopped_holder_is_alive(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    pid_t child = start_holder(s, use_left);
    int status;

    recv_text(s->right, "hello");
    kill(child, SIGSTOP);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_int_equal(recv_any(s->right, plait_after(1.2)), ETIMEDOUT);
    assert_int_equal(plait_pipe_peer(s->right), PLAIT_PIPE_OPEN);
    send_text(s->right, "enough");
    kill(child, SIGCONT);
    assert_int_equal(child_end(child), 0);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static void one_dead_of_two_holders_ends_nothing(void **state)
{
    struct scene *s = set_scene(*state, (struct plait_pipe_opts){ 0 });
    pid_t first = child_start(use_left, s), second;

    recv_text(s->right, "hello");
    second = child_start(use_left, s);
    recv_text(s->right, "hello");
    assert_int_equal(plait_pipe_free(s->left), 0);
    child_kill(first);
    assert_int_equal(recv_any(s->right, plait_after(0.3)), ETIMEDOUT);
    assert_int_equal(plait_pipe_send(s->right, "enough", 6, PLAIT_NOW), 0);
    assert_int_equal(child_end(second), 0);
    assert_int_equal(recv_any(s->right, PLAIT_FOREVER), EPIPE);
    assert_int_equal(plait_pipe_free(s->right), 0);
}

static int take_named_and_die(void *arg)
{
    struct stage *stage = arg;
    plait_pipe_t *left, *right;

    if (plait_pipe_new(&left, &right, &(struct plait_pipe_opts){ .arena = stage->arena, .name = "lost" }) ||
        plait_pipe_send(left, "lost", 4, PLAIT_NOW))
        return 1;
    raise(SIGKILL);
    return 2;
}

static int take_left_and_die(void *arg)
{
    struct stage *stage = arg;
    plait_pipe_t *left;

    if (plait_pipe_new(&left, NULL, &(struct plait_pipe_opts){ .arena = stage->arena, .name = "lost" }) ||
        plait_pipe_send(left, "found", 5, PLAIT_NOW))
        return 1;
    raise(SIGKILL);
    return 2;
}

static void named_pipe_whose_holders_died_begins_afresh(void **state)
{
    struct stage *stage = *state;
    struct plait_pipe_opts opts = { .arena = stage->arena, .name = "lost" };
    size_t before = used(stage);
    plait_pipe_t *left, *right;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(child_run(take_named_and_die, stage), CHILD_SIGNALLED + SIGKILL);
        assert_int_equal(plait_pipe_new(&left, &right, &opts), 0);
        assert_int_equal(recv_any(right, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(plait_pipe_free(left), 0);
        assert_int_equal(plait_pipe_free(right), 0);
        assert_int_equal(child_run(take_left_and_die, stage), CHILD_SIGNALLED + SIGKILL);
        if (i % 2) { /* who was to be talked to comes first, and hears it */
            assert_int_equal(plait_pipe_new(NULL, &right, &opts), 0);
            recv_text(right, "found");
            assert_int_equal(recv_any(right, PLAIT_NOW), EPIPE);
            assert_int_equal(plait_pipe_free(right), 0);
        }
        assert_int_equal(plait_pipe_new(&left, NULL, &opts), 0);
        assert_int_equal(plait_pipe_peer(left), PLAIT_PIPE_UNOPENED);
        assert_int_equal(plait_pipe_destroy(left), 0);
        if (i == 0)
            before = used(stage); /* the list of names has grown */
    }
    assert_int_equal(used(stage), before);
}

/* ---- Unrelated programs ---------------------------------------------------------------------------------------- */

static int run_as_stranger(const char *arena_name)
{
    plait_arena_t *arena;
    plait_pipe_t *right;
    char text[64];
    size_t size;
    int err;

    if (plait_arena_new(&arena, &(struct plait_arena_opts){ .name = arena_name }) ||
        plait_pipe_new(NULL, &right, &(struct plait_pipe_opts){ .arena = arena, .name = "chat", .maxsize = 4 }))
        return 1;
    while ((err = plait_pipe_recv(right, text, sizeof text, &size, plait_after(SECONDS))) == 0)
        if (plait_pipe_send(right, text, size, plait_after(SECONDS)))
            return 2;
    if (plait_pipe_free(right) || plait_arena_free(arena))
        return 3;
    return err == EPIPE ? 0 : 4;
}

static void strangers_meet_by_a_name(void **state)
{
    plait_arena_t *arena;
    plait_pipe_t *left;
    char name[64];
    pid_t stranger;

    snprintf(name, sizeof name, "plait-test-pipe-%d", (int)getpid());
    stranger = child_exec("stranger", name);
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .name = name }), 0);
    assert_int_equal(plait_pipe_new(&left, NULL, &(struct plait_pipe_opts){ .arena = arena, .name = "chat", .maxsize = 4 }), 0);
    for (int i = 0; i < 1000; i++) {
        send_text(left, "there");
        recv_text(left, "there");
    }
    assert_int_equal(plait_pipe_free(left), 0);
    assert_int_equal(child_end(stranger), 0);
    assert_int_equal(plait_arena_free(arena), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(messages_go_both_ways_in_order),
        EVERYWHERE(one_way_goes_from_left_to_right),
        EVERYWHERE(message_that_does_not_fit_stays),
        EVERYWHERE(messages_are_lent_without_a_copy),
        EVERYWHERE(bad_options_are_refused),
        PRIVATE(private_pipe_has_no_names),
        EVERYWHERE(other_side_drains_and_then_hears_of_the_close),
        EVERYWHERE(close_wakes_those_who_sleep_at_the_other_end),
        PRIVATE(close_wakes_those_who_sleep_with_the_same_handle),
        STAGE_CASE(close_wakes_those_who_sleep_with_the_same_handle, THREADS),
        EVERYWHERE(send_wakes_those_who_sleep),
        EVERYWHERE(deadlines_and_tokens_end_waits),
        EVERYWHERE(cancelled_thread_leaves_nothing_behind),
        EVERYWHERE(entries_do_as_the_calls),
        EVERYWHERE(two_senders_do_not_mix_and_two_receivers_do_not_share),
        EVERYWHERE(large_messages_cross_in_a_narrow_pipe),
        PROCESSES(end_is_held_by_each_who_opened_it),
        PROCESSES(end_that_was_never_opened_is_not_closed),
        PROCESSES(names_lead_to_ends),
        PROCESSES(what_is_no_pipe_is_refused),
        PROCESSES(copy_in_a_child_keeps_nothing_open),
        PROCESSES(child_that_closes_its_copies_closes_nothing),
        PROCESSES(child_holds_what_it_has_used),
        PROCESSES(child_too_late_for_an_end_is_told),
        PROCESSES(end_is_given_to_a_child),
        PROCESSES(given_end_goes_with_the_child),
        PROCESSES(given_end_counts_once_with_the_childs_own),
        PROCESSES(what_the_dead_sent_is_received_before_their_end),
        PROCESSES(death_ends_the_sleep_of_the_other_side),
        PROCESSES(thread_that_opened_may_end_before_its_process),
        PROCESSES(stopped_holder_is_alive),
        PROCESSES(one_dead_of_two_holders_ends_nothing),
        PROCESSES(named_pipe_whose_holders_died_begins_afresh),
        cmocka_unit_test(strangers_meet_by_a_name),
    };

    if (argc == 3 && strcmp(argv[1], "stranger") == 0)
        return run_as_stranger(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
