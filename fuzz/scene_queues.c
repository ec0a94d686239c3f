/* SPDX-License-Identifier: MIT */
/* Queues of items of one size: FIFO, and the piles: last in first out, by priority, deque. */
#include "fuzz/fuzz.h"
#include "queue/body.h"

enum { LARGE = 200, QUEUES_MAX = 6 };

static const struct plait_queue_opts fifo_kinds[] = {
    { .item_size = 8, .maxsize = 5 },
    { .item_size = 8 },
    { .item_size = LARGE },
    { .item_size = 24, .maxsize = 4, .overflow = PLAIT_OVERFLOW_DROP_OLDEST },
};

static const struct plait_queue_opts pile_kinds[] = {
    { .item_size = 8, .kind = PLAIT_LIFO, .maxsize = 5, .overflow = PLAIT_OVERFLOW_DROP_OLDEST },
    { .item_size = LARGE, .kind = PLAIT_LIFO },
    { .item_size = 8, .kind = PLAIT_PRIORITY, .largest_first = 1 },
    { .item_size = LARGE, .kind = PLAIT_PRIORITY, .maxsize = 9 },
    { .item_size = 8, .kind = PLAIT_DEQUE },
    { .item_size = 24, .kind = PLAIT_DEQUE, .maxsize = 5 },
};

static int fill(plait_queue_t *q, unsigned count)
{
    char item[LARGE] = "item";
    int err = 0;

    for (unsigned i = 0; err == 0 && i < count; i++)
        err = plait_queue_kind(q) == PLAIT_PRIORITY ? plait_queue_put_priority(q, item, (int)(i * 7 % 5), PLAIT_NOW)
                                                    : plait_queue_put(q, item, PLAIT_NOW);
    return err == ETIMEDOUT ? 0 : err;
}

/* In unbounded ones so many that there is more than one segment. */
static int make_queue(unsigned number, struct plait_queue_opts opts)
{
    char name[] = { 'q', (char)('0' + number), 0 };
    plait_queue_t *q;
    plait_ref_t ref;
    void *body;
    char item[LARGE];
    int err;

    opts.arena = arena;
    err = plait_queue_new(&q, &opts);
    if (err)
        return err;
    err = fill(q, opts.maxsize ? 7 : 20000 / (unsigned)opts.item_size) || plait_queue_get(q, item, PLAIT_NOW) ||
          plait_queue_get(q, item, PLAIT_NOW) || plait_queue_publish(q, name) || plait_queue_ref(q, &ref) ||
          plait_ref_open(ref, &body);
    remember(number, body);
    plait_queue_free(q);
    return err;
}

static int make_fifos(void)
{
    int err = 0;

    for (unsigned i = 0; err == 0 && i < sizeof fifo_kinds / sizeof fifo_kinds[0]; i++)
        err = make_queue(i, fifo_kinds[i]);
    return err;
}

static int make_piles(void)
{
    int err = 0;

    for (unsigned i = 0; err == 0 && i < sizeof pile_kinds / sizeof pile_kinds[0]; i++)
        err = make_queue(i, pile_kinds[i]);
    return err;
}

/* Die with the locks of the sides, all but the first queue's. */
static void spoil_some(unsigned count)
{
    plait_queue_t *q;

    for (unsigned i = 1; i < count; i++)
        if (plait_queue_open(&q, ref_to(i)) == 0) {
            plait_lock_acquire(&((struct plait__queue_body *)at(i))->put.lock, PLAIT_FOREVER);
            plait_lock_acquire(&((struct plait__queue_body *)at(i))->get.lock, PLAIT_FOREVER);
        }
}

static void spoil_fifos(void)
{
    spoil_some(sizeof fifo_kinds / sizeof fifo_kinds[0]);
}

static void spoil_piles(void)
{
    spoil_some(sizeof pile_kinds / sizeof pile_kinds[0]);
}

static void use_in_order(plait_queue_t *q, size_t size)
{
    char items[8][LARGE] = { 0 };
    int64_t priority;
    size_t count;

    CALL(plait_queue_put(q, items, soon()));
    moment();
    CALL(plait_queue_get(q, items, soon()));
    CALL(plait_queue_peek(q, items, PLAIT_NOW));
    CALL(plait_queue_put_priority(q, items, 3, PLAIT_NOW));
    CALL(plait_queue_get_priority(q, items, &priority, PLAIT_NOW));
    CALL(plait_queue_put_many(q, items, 8 * LARGE / size < 8 ? 8 * LARGE / size : 8, &count, PLAIT_NOW));
    CALL(plait_queue_get_many(q, items, 0, 8, &count, PLAIT_NOW));
    moment();
    CALL(plait_queue_put_front(q, items, PLAIT_NOW));
    CALL(plait_queue_get_back(q, items, PLAIT_NOW));
}

static void use_to_the_end(plait_queue_t *q)
{
    char items[300][LARGE];
    struct plait_wait_entry entries[] = { plait_any_queue_get(q, items), plait_any_queue_put(q, items) };
    unsigned puts = choice(400);
    size_t count;
    int err = 0;

    memset(items, 0, sizeof items);
    CALL(plait_queue_snapshot(q, items, 300, &count));
    CALL(plait_wait_any(entries, 2, NULL, soon()));
    for (unsigned i = 0; err == 0 && i < puts; i++)
        err = CALL(plait_queue_put(q, items, PLAIT_NOW));
    moment();
    for (unsigned i = 0; err == 0 && i < 5000; i++)
        err = CALL(plait_queue_get(q, items, PLAIT_NOW));
    CALL(plait_queue_get(q, items, soon()));
    LOOK(plait_queue_qsize(q) + plait_queue_is_full(q) + plait_queue_is_empty(q) + plait_queue_dropped(q));
}

static void end(plait_queue_t *q)
{
    if (choice(2))
        CALL(plait_queue_close(q));
    if (choice(2) || CALL(plait_queue_destroy(q)))
        CALL(plait_queue_free(q));
}

static void use_queue(unsigned number)
{
    char name[] = { 'q', (char)('0' + number), 0 };
    plait_queue_t *q, *again;

    if (CALL(plait_queue_lookup(&again, arena, name)) == 0)
        CALL(plait_queue_free(again));
    if (CALL(plait_queue_open(&q, ref_to(number))))
        return;
    moment();
    if (plait_queue_item_size(q) - 1 < LARGE) { /* as any careful user looks; 0: messages */
        use_in_order(q, plait_queue_item_size(q));
        use_to_the_end(q);
    }
    end(q);
}

static void step_0(void) { use_queue(0); }
static void step_1(void) { use_queue(1); }
static void step_2(void) { use_queue(2); }
static void step_3(void) { use_queue(3); }
static void step_4(void) { use_queue(4); }
static void step_5(void) { use_queue(5); }

const struct scene fifo_scene = { "fifos", make_fifos, spoil_fifos, { step_0, step_1, step_2, step_3 } };
const struct scene pile_scene = { "piles", make_piles, spoil_piles, { step_0, step_1, step_2, step_3, step_4, step_5 } };
