/* SPDX-License-Identifier: MIT */
/* Pipes, broadcast, latest value. */
#include "fuzz/fuzz.h"

enum { ITEM = 40, LEFT = 0, RIGHT = 1, BROADCAST = 2, LATEST = 3, DROPPING = 4 };

static int note(unsigned number, plait_ref_t ref)
{
    void *body;
    int err = plait_ref_open(ref, &body);

    if (err == 0)
        remember(number, body);
    return err;
}

static int make_broadcast(unsigned number, enum plait_queue_overflow overflow)
{
    struct plait_broadcast_opts opts = { .item_size = ITEM, .maxsize = 8, .arena = arena, .overflow = overflow };
    char item[ITEM] = "item";
    plait_broadcast_t *b;
    plait_ref_t ref;
    int err = plait_broadcast_new(&b, &opts);

    for (int i = 0; err == 0 && i < 5; i++)
        err = plait_broadcast_put(b, item, PLAIT_NOW);
    err = err || plait_broadcast_ref(b, &ref) || note(number, ref);
    plait_broadcast_free(b);
    return err;
}

static int make_latest(void)
{
    char value[ITEM] = "value";
    plait_latest_t *l;
    plait_ref_t ref;
    int err = plait_latest_new(&l, &(struct plait_latest_opts){ .value_size = ITEM, .arena = arena });

    for (int i = 0; err == 0 && i < 3; i++)
        err = plait_latest_write(l, value, PLAIT_NOW);
    err = err || plait_latest_ref(l, &ref) || note(LATEST, ref);
    plait_latest_free(l);
    return err;
}

/* The pipe stays open only while its ends are held: those who take them die in spoil, or it is made by who uses it. */
static int make(void)
{
    return make_broadcast(BROADCAST, PLAIT_OVERFLOW_WAIT) || make_broadcast(DROPPING, PLAIT_OVERFLOW_DROP_OLDEST) ||
           make_latest();
}

static int make_pipe(plait_pipe_t **left, plait_pipe_t **right)
{
    return CALL(plait_pipe_new(left, right, &(struct plait_pipe_opts){ .maxsize = 6, .arena = arena, .name = "pipe" }));
}

static void spoil(void)
{
    plait_pipe_t *left = NULL, *right = NULL;
    struct plait_message m;
    plait_subscriber_t *s;
    plait_broadcast_t *b;
    char item[ITEM] = "item";

    if (make_pipe(&left, &right) == 0) {
        for (int i = 0; i < 4; i++)
            plait_pipe_send(left, item, 10 + (size_t)i, PLAIT_NOW);
        plait_pipe_reserve(left, 100, &m);
        plait_pipe_borrow(right, &m, PLAIT_NOW);
    }
    for (unsigned n = 0; n < 2; n++)
        if (plait_broadcast_open(&b, ref_to(n ? DROPPING : BROADCAST)) == 0 &&
            plait_broadcast_subscribe(b, PLAIT_FROM_OLDEST, &s) == 0) {
            plait_subscriber_get(s, item, PLAIT_NOW);
            plait_broadcast_put(b, item, PLAIT_NOW);
        }
}

static void use_end(plait_pipe_t *pipe)
{
    char bytes[500] = "bytes";
    struct plait_message m;
    size_t size;

    CALL(plait_pipe_send(pipe, bytes, 300, soon()));
    moment();
    CALL(plait_pipe_poll(pipe, PLAIT_NOW));
    CALL(plait_pipe_recv(pipe, bytes, sizeof bytes, &size, soon()));
    if (CALL(plait_pipe_reserve(pipe, 100, &m)) == 0 && CALL(plait_pipe_commit(pipe, &m, PLAIT_NOW)))
        CALL(plait_pipe_give_back(pipe, &m));
    if (CALL(plait_pipe_borrow(pipe, &m, PLAIT_NOW)) == 0)
        CALL(plait_pipe_give_back(pipe, &m));
    LOOK(plait_pipe_peer(pipe));
}

static void step_pipe(void)
{
    plait_pipe_t *left = NULL, *right = NULL, *again = NULL;

    if (make_pipe(&left, &right))
        return;
    if (left)
        use_end(left);
    moment();
    if (right)
        use_end(right);
    if (left)
        use_end(left);
    if (CALL(plait_pipe_lookup(&again, arena, "pipe", PLAIT_PIPE_RIGHT)) == 0) {
        use_end(again);
        CALL(plait_pipe_free(again));
    }
    moment();
    if (choice(3) == 0 && CALL(plait_pipe_destroy(left)) == 0)
        left = NULL;
    CALL(plait_pipe_free(left));
    CALL(plait_pipe_free(right));
}

static void use_subscriber(plait_broadcast_t *b, enum plait_broadcast_from from)
{
    char items[12][ITEM] = { 0 };
    plait_subscriber_t *s;
    size_t count;

    if (CALL(plait_broadcast_subscribe(b, from, &s)))
        return;
    moment();
    CALL(plait_subscriber_get(s, items, soon()));
    for (int i = 0, err = 0; err == 0 && i < 10; i++)
        err = CALL(plait_broadcast_put(b, items, soon()));
    moment();
    CALL(plait_subscriber_peek(s, items, PLAIT_NOW));
    CALL(plait_subscriber_get_many(s, items, 0, 12, &count, PLAIT_NOW));
    LOOK(plait_subscriber_missed(s) + plait_subscriber_lag(s));
    CALL(plait_subscriber_free(s));
}

static void use_broadcast(unsigned number)
{
    char item[ITEM] = "item";
    plait_broadcast_t *b;
    size_t count;

    if (CALL(plait_broadcast_open(&b, ref_to(number))))
        return;
    if (plait_broadcast_item_size(b) > ITEM) { /* as any careful user looks */
        CALL(plait_broadcast_free(b));
        return;
    }
    CALL(plait_broadcast_put(b, item, soon()));
    use_subscriber(b, PLAIT_FROM_NEWEST);
    use_subscriber(b, PLAIT_FROM_OLDEST);
    CALL(plait_broadcast_subscribers(b, &count));
    LOOK(plait_broadcast_qsize(b) + plait_broadcast_published(b) + plait_broadcast_dropped(b));
    if (choice(2))
        CALL(plait_broadcast_close(b));
    if (choice(2) || CALL(plait_broadcast_destroy(b)))
        CALL(plait_broadcast_free(b));
}

static void step_broadcast(void)
{
    use_broadcast(BROADCAST);
}

static void step_dropping(void)
{
    use_broadcast(DROPPING);
}

static void step_latest(void)
{
    char value[ITEM] = "value";
    uint64_t version = 0;
    plait_latest_t *l;

    if (CALL(plait_latest_open(&l, ref_to(LATEST))))
        return;
    if (plait_latest_value_size(l) > ITEM) {
        CALL(plait_latest_free(l));
        return;
    }
    moment();
    CALL(plait_latest_read(l, value, &version));
    CALL(plait_latest_write(l, value, soon()));
    CALL(plait_latest_read_newer(l, value, &version, soon()));
    moment();
    CALL(plait_latest_read_newer(l, value, &version, soon()));
    LOOK(plait_latest_version(l));
    CALL(plait_latest_close(l));
    if (choice(2) || CALL(plait_latest_destroy(l)))
        CALL(plait_latest_free(l));
}

const struct scene stream_scene = { "streams", make, spoil, { step_pipe, step_broadcast, step_dropping, step_latest } };
