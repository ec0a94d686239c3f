/* SPDX-License-Identifier: MIT */
/* Queues of messages, and joinable ones, of items and of messages. */
#include "fuzz/fuzz.h"
#include "queue/body.h"

enum { SIZE = 3000, JOINABLES = 3 };

static const struct plait_queue_opts kinds[] = {
    { .maxsize = 6 },
    { .kind = PLAIT_PRIORITY },
    { .kind = PLAIT_DEQUE, .maxsize = 6, .overflow = PLAIT_OVERFLOW_DROP_OLDEST },
    { .kind = PLAIT_LIFO },
    { .kind = PLAIT_FIFO },
};

static int note(unsigned number, plait_queue_t *q)
{
    plait_ref_t ref;
    void *body;
    int err = plait_queue_ref(q, &ref) || plait_ref_open(ref, &body);

    if (err == 0)
        remember(number, body);
    return err;
}

static int make_messages(void)
{
    char bytes[SIZE] = "bytes";
    int err = 0;

    for (unsigned i = 0; err == 0 && i < sizeof kinds / sizeof kinds[0]; i++) {
        struct plait_queue_opts opts = kinds[i];
        plait_queue_t *q;

        opts.arena = arena;
        err = plait_queue_new(&q, &opts);
        if (err)
            return err;
        for (unsigned n = 0; err == 0 && n < 8; n++)
            err = plait_queue_put_bytes(q, bytes, n * n * 40, PLAIT_NOW);
        err = (err && err != ETIMEDOUT) || note(i, q);
        plait_queue_free(q);
    }
    return err;
}

/* Die with messages in hand, and the locks of the last two. */
static void spoil_messages(void)
{
    struct plait_message m;
    plait_queue_t *q;

    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (plait_queue_open(&q, ref_to(i)) == 0) {
            plait_queue_reserve(q, 700, &m);
            plait_queue_borrow(q, &m, PLAIT_NOW);
            if (i >= 2)
                plait_lock_acquire(&((struct plait__queue_body *)at(i))->put.lock, PLAIT_FOREVER);
        }
}

static void look_at(const struct plait_message *m)
{
    volatile const char *bytes = m->data;

    for (size_t i = 0; m->data && i < m->size; i += 64)
        (void)bytes[i];
    if (m->data && m->size)
        (void)bytes[m->size - 1];
}

static void use_messages(plait_queue_t *q)
{
    char bytes[SIZE] = "bytes";
    struct plait_message m = { 0 };
    size_t size;

    CALL(plait_queue_put_bytes(q, bytes, 100, soon()));
    CALL(plait_queue_put_bytes(q, bytes, 60, soon()));
    if (CALL(plait_queue_reserve(q, 500, &m)) == 0) {
        memset(m.data, 1, 500);
        moment();
        if (CALL(plait_queue_commit(q, &m, soon())))
            CALL(plait_queue_give_back(q, &m));
    }
    if (CALL(plait_queue_borrow(q, &m, soon())) == 0) {
        look_at(&m);
        moment();
        if (choice(2) || CALL(plait_queue_commit(q, &m, PLAIT_NOW)))
            CALL(plait_queue_give_back(q, &m));
    }
    if (CALL(plait_queue_borrow_back(q, &m, PLAIT_NOW)) == 0) {
        look_at(&m);
        if (CALL(plait_queue_commit_front(q, &m, PLAIT_NOW)))
            CALL(plait_queue_give_back(q, &m));
    }
    for (int i = 0, err = 0; err == 0 && i < 12; i++)
        err = CALL(plait_queue_put_bytes_priority(q, bytes, (size_t)i * 150, i, PLAIT_NOW));
    for (int i = 0, err = 0; err == 0 && i < 40; i++)
        err = CALL(plait_queue_get_bytes(q, bytes, sizeof bytes, &size, PLAIT_NOW));
    CALL(plait_queue_get_bytes(q, bytes, 1, &size, PLAIT_NOW));
    LOOK(plait_queue_qsize(q));
}

static void end(plait_queue_t *q)
{
    if (choice(2))
        CALL(plait_queue_close_now(q));
    if (choice(2) || CALL(plait_queue_destroy(q)))
        CALL(plait_queue_free(q));
}

static void step(unsigned number)
{
    plait_queue_t *q;

    if (CALL(plait_queue_open(&q, ref_to(number))))
        return;
    moment();
    use_messages(q);
    end(q);
}

static void step_0(void) { step(0); }
static void step_1(void) { step(1); }
static void step_2(void) { step(2); }
static void step_3(void) { step(3); }
static void step_4(void) { step(4); }

const struct scene message_scene = { "messages", make_messages, spoil_messages, { step_0, step_1, step_2, step_3, step_4 } };

/* ---- Joinable ---------------------------------------------------------------------------- */

static int make_joinables(void)
{
    plait_queue_t *letters, *q;
    char item[24] = "item";
    int err = plait_queue_new(&letters, &(struct plait_queue_opts){ .item_size = 24, .arena = arena }) ||
              note(JOINABLES, letters);
    struct plait_queue_opts opts[JOINABLES] = {
        { .item_size = 24, .joinable = 1, .max_deliveries = 1, .dead_letters = letters, .maxsize = 50 },
        { .item_size = 0, .joinable = 1 },
        { .item_size = 24, .joinable = 1, .kind = PLAIT_PRIORITY },
    };

    for (unsigned i = 0; err == 0 && i < JOINABLES; i++) {
        opts[i].arena = arena;
        err = plait_queue_new(&q, &opts[i]);
        if (err)
            return err;
        for (unsigned n = 0; err == 0 && n < 8; n++)
            err = opts[i].item_size ? plait_queue_put(q, item, PLAIT_NOW) : plait_queue_put_bytes(q, item, 20, PLAIT_NOW);
        err = err || note(i, q);
        plait_queue_free(q);
    }
    plait_queue_free(letters);
    return err;
}

static int take(plait_queue_t *q)
{
    struct plait_message m;
    char item[24];

    return plait_queue_item_size(q) ? CALL(plait_queue_get(q, item, soon())) : CALL(plait_queue_borrow(q, &m, soon()));
}

static void spoil_joinables(void)
{
    plait_queue_t *q;

    for (unsigned i = 0; i < JOINABLES; i++)
        if (plait_queue_open(&q, ref_to(i)) == 0) {
            for (int n = 0; n < 3; n++)
                take(q);
            if (i == 2)
                plait_lock_acquire(&((struct plait__queue_body *)at(i))->put.lock, PLAIT_FOREVER);
        }
}

static void use_joinable(unsigned number)
{
    struct plait_ticket ticket;
    char item[64] = "item";
    plait_queue_t *q;
    size_t size;

    if (CALL(plait_queue_open(&q, ref_to(number))))
        return;
    if (plait_queue_item_size(q) > 24) { /* as any careful user looks */
        end(q);
        return;
    }
    moment();
    if (plait_queue_item_size(q))
        CALL(plait_queue_put(q, item, PLAIT_NOW));
    else
        CALL(plait_queue_put_bytes(q, item, 30, PLAIT_NOW));
    for (int i = 0; i < 12; i++) {
        if (take(q) != 0)
            break;
        if (i % 3 == 1)
            moment();
        if (CALL(plait_queue_taken(q, &ticket)) == 0 && i % 2)
            CALL(plait_queue_task_done(q, &ticket));
        else if (i % 4)
            CALL(plait_queue_task_done(q, NULL));
    }
    CALL(plait_queue_peek(q, item, PLAIT_NOW));
    CALL(plait_queue_get_bytes(q, item, sizeof item, &size, PLAIT_NOW));
    CALL(plait_queue_join(q, soon()));
    CALL(plait_queue_task_done(q, NULL));
    LOOK(plait_queue_unfinished(q));
    end(q);
}

static void step_joinable_0(void) { use_joinable(0); }
static void step_joinable_1(void) { use_joinable(1); }
static void step_joinable_2(void) { use_joinable(2); }

const struct scene joinable_scene = { "joinables", make_joinables, spoil_joinables,
                                      { step_joinable_0, step_joinable_1, step_joinable_2 } };
