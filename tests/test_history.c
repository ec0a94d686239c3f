/* SPDX-License-Identifier: MIT */
/*
 * The checker of histories (support/history_check.c) itself: histories made by hand, and a search of all orders of small ones, with which
 * it must agree. What it says of queues is in test_queue_history.c.
 */
#include <string.h>

#include "support/cmocka.h"
#include "support/history.h"
#include "support/stage.h"

enum { MANY = 6000, SMALL_MAX = 9 };

static const char *const model_names[] = { "FIFO", "LIFO", "priority", "deque" };

static uint64_t random_state;

static unsigned draw(unsigned below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % below;
}

/* ---- Histories made by hand --------------------------------------------------------------- */

#define P HISTORY_PUT
#define G HISTORY_GET
#define PF HISTORY_PUT_FRONT
#define GB HISTORY_GET_BACK
#define DONE HISTORY_DONE
#define NONE HISTORY_REFUSED
#define KILLED HISTORY_PENDING
#define EVER HISTORY_EVER

/* start, end, value, priority, batch, kind, result */
static enum history_fault fault_of(enum history_model model, size_t maxsize, const struct history_op *ops, size_t count)
{
    struct history *h = history_new(1, count);
    enum history_fault fault;

    assert_non_null(h);
    for (size_t i = 0; i < count; i++)
        assert_non_null(history_add(h, 0, ops[i]));
    fault = history_check(h, model, maxsize).fault;
    history_free(h);
    return fault;
}

#define FAULT(model, maxsize, ...)                                                           \
    fault_of(model, maxsize, (const struct history_op[]){ __VA_ARGS__ },                     \
             sizeof((const struct history_op[]){ __VA_ARGS__ }) / sizeof(struct history_op))
#define ASSERT_FAULT(fault, model, ...) assert_string_equal(history_fault_text(FAULT(model, 0, __VA_ARGS__)), history_fault_text(fault))
#define ASSERT_BOUNDED_FAULT(fault, model, maxsize, ...) \
    assert_string_equal(history_fault_text(FAULT(model, maxsize, __VA_ARGS__)), history_fault_text(fault))

static void what_no_kind_may_do_is_found(void **state)
{
    for (int m = HISTORY_FIFO; m <= HISTORY_DEQUE; m++) {
        enum history_model model = (enum history_model)m;

        ASSERT_FAULT(HISTORY_RIGHT, model, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 7, 0, 0, G, DONE }, { 4, 5, 0, 0, 0, G, NONE });
        ASSERT_FAULT(HISTORY_RIGHT, model, { 0, 9, 7, 0, 0, P, DONE }, { 1, 3, 7, 0, 0, G, DONE });
        ASSERT_FAULT(HISTORY_INVENTED, model, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 8, 0, 0, G, DONE });
        ASSERT_FAULT(HISTORY_INVENTED, model, { 0, 1, 7, 0, 0, P, NONE }, { 2, 3, 7, 0, 0, G, DONE });
        ASSERT_FAULT(HISTORY_DUPLICATED, model, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 7, 0, 0, G, DONE }, { 4, 5, 7, 0, 0, G, DONE });
        ASSERT_FAULT(HISTORY_EARLY, model, { 4, 5, 7, 0, 0, P, DONE }, { 2, 3, 7, 0, 0, G, DONE });
        ASSERT_FAULT(HISTORY_RIGHT, model, { 3, 5, 7, 0, 0, P, DONE }, { 2, 3, 7, 0, 0, G, DONE });
        ASSERT_FAULT(HISTORY_LOST, model, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 0, 0, 0, G, NONE });
        ASSERT_FAULT(HISTORY_FALSE_EMPTY, model, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 0, 0, 0, G, NONE }, { 4, 5, 7, 0, 0, G, DONE });
        ASSERT_FAULT(HISTORY_RIGHT, model, { 0, 2, 7, 0, 0, P, DONE }, { 2, 3, 0, 0, 0, G, NONE }, { 4, 5, 7, 0, 0, G, DONE });
        ASSERT_FAULT(HISTORY_RIGHT, model, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 0, 0, 0, G, NONE }, { 3, 5, 7, 0, 0, G, DONE });
        /* One goes while the other is there. */
        ASSERT_FAULT(HISTORY_FALSE_EMPTY, model, { 0, 1, 7, 0, 0, P, DONE }, { 2, 9, 0, 0, 0, G, NONE }, { 3, 4, 8, 0, 0, P, DONE },
                     { 5, 6, 7, 0, 0, G, DONE }, { 10, 11, 8, 0, 0, G, DONE });
        ASSERT_BOUNDED_FAULT(HISTORY_OVERFULL, model, 1, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 8, 0, 0, P, DONE });
        ASSERT_BOUNDED_FAULT(HISTORY_FALSE_FULL, model, 2, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 8, 0, 0, P, NONE });
        ASSERT_BOUNDED_FAULT(HISTORY_RIGHT, model, 1, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 8, 0, 0, P, NONE });
    }
}

static void wrong_orders_are_found(void **state)
{
    ASSERT_FAULT(HISTORY_DISORDER, HISTORY_FIFO, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 8, 0, 0, P, DONE }, { 4, 5, 8, 0, 0, G, DONE },
                 { 6, 7, 7, 0, 0, G, DONE });
    ASSERT_FAULT(HISTORY_DISORDER, HISTORY_FIFO, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 8, 0, 0, P, DONE }, { 4, 5, 8, 0, 0, G, DONE });
    ASSERT_FAULT(HISTORY_RIGHT, HISTORY_FIFO, { 0, 2, 7, 0, 0, P, DONE }, { 2, 3, 8, 0, 0, P, DONE }, { 4, 5, 8, 0, 0, G, DONE },
                 { 6, 7, 7, 0, 0, G, DONE });
    ASSERT_FAULT(HISTORY_DISORDER, HISTORY_LIFO, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 8, 0, 0, P, DONE }, { 4, 5, 7, 0, 0, G, DONE },
                 { 6, 7, 8, 0, 0, G, DONE });
    ASSERT_FAULT(HISTORY_RIGHT, HISTORY_LIFO, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 8, 0, 0, P, DONE }, { 4, 6, 7, 0, 0, G, DONE },
                 { 6, 7, 8, 0, 0, G, DONE });
    ASSERT_FAULT(HISTORY_DISORDER, HISTORY_PRIORITY, { 0, 1, 7, 2, 0, P, DONE }, { 2, 3, 8, 1, 0, P, DONE }, { 4, 5, 7, 2, 0, G, DONE },
                 { 6, 7, 8, 1, 0, G, DONE });
    ASSERT_FAULT(HISTORY_RIGHT, HISTORY_PRIORITY, { 0, 1, 7, 2, 0, P, DONE }, { 2, 4, 8, 1, 0, P, DONE }, { 4, 5, 7, 2, 0, G, DONE },
                 { 6, 7, 8, 1, 0, G, DONE });
    ASSERT_FAULT(HISTORY_DISORDER, HISTORY_PRIORITY, { 0, 1, 7, 1, 0, P, DONE }, { 2, 3, 8, 1, 0, P, DONE }, { 4, 5, 8, 1, 0, G, DONE },
                 { 6, 7, 7, 1, 0, G, DONE });
    for (int through = 0; through < 2; through++) {
        enum history_kind in = through ? PF : P, out = through ? GB : G;

        ASSERT_FAULT(HISTORY_DISORDER, HISTORY_DEQUE, { 0, 1, 7, 0, 0, (uint8_t)in, DONE }, { 2, 3, 8, 0, 0, (uint8_t)in, DONE },
                     { 4, 5, 8, 0, 0, (uint8_t)out, DONE }, { 6, 7, 7, 0, 0, (uint8_t)out, DONE });
        out = through ? G : GB;
        ASSERT_FAULT(HISTORY_DISORDER, HISTORY_DEQUE, { 0, 1, 7, 0, 0, (uint8_t)in, DONE }, { 2, 3, 8, 0, 0, (uint8_t)in, DONE },
                     { 4, 5, 7, 0, 0, (uint8_t)out, DONE }, { 6, 7, 8, 0, 0, (uint8_t)out, DONE });
    }
}

static void wrong_orders_in_batches_are_found(void **state)
{
    /* put in one batch, got one by one; put one by one, got in one; both */
    ASSERT_FAULT(HISTORY_DISORDER, HISTORY_FIFO, { 0, 1, 6, 0, 1, P, DONE }, { 0, 1, 7, 0, 1, P, DONE }, { 0, 1, 8, 0, 1, P, DONE },
                 { 4, 5, 7, 0, 0, G, DONE }, { 6, 7, 6, 0, 0, G, DONE });
    ASSERT_FAULT(HISTORY_DISORDER, HISTORY_FIFO, { 0, 1, 7, 0, 0, P, DONE }, { 2, 3, 8, 0, 0, P, DONE }, { 4, 5, 8, 0, 1, G, DONE },
                 { 4, 5, 7, 0, 1, G, DONE });
    ASSERT_FAULT(HISTORY_DISORDER, HISTORY_FIFO, { 0, 1, 7, 0, 1, P, DONE }, { 0, 1, 8, 0, 1, P, DONE }, { 0, 5, 8, 0, 2, G, DONE },
                 { 0, 5, 7, 0, 2, G, DONE });
    ASSERT_FAULT(HISTORY_RIGHT, HISTORY_FIFO, { 0, 1, 7, 0, 1, P, DONE }, { 0, 1, 8, 0, 1, P, DONE }, { 0, 5, 7, 0, 2, G, DONE },
                 { 0, 5, 8, 0, 2, G, DONE });
    ASSERT_FAULT(HISTORY_DISORDER, HISTORY_LIFO, { 0, 1, 7, 0, 1, P, DONE }, { 0, 1, 8, 0, 1, P, DONE }, { 2, 5, 7, 0, 2, G, DONE },
                 { 2, 5, 8, 0, 2, G, DONE });
    ASSERT_FAULT(HISTORY_RIGHT, HISTORY_LIFO, { 0, 1, 7, 0, 1, P, DONE }, { 0, 1, 8, 0, 1, P, DONE }, { 1, 5, 7, 0, 2, G, DONE },
                 { 1, 5, 8, 0, 2, G, DONE });
    ASSERT_FAULT(HISTORY_DISORDER, HISTORY_LIFO, { 0, 1, 7, 0, 1, P, DONE }, { 0, 1, 8, 0, 1, P, DONE }, { 2, 3, 7, 0, 0, G, DONE },
                 { 4, 5, 8, 0, 0, G, DONE });
}

static void killed_operations_may_have_happened(void **state)
{
    /* A put: its value may come or not, but not after an end that is known, nor twice. */
    ASSERT_FAULT(HISTORY_RIGHT, HISTORY_FIFO, { 0, 3, 7, 0, 0, P, KILLED }, { 4, 5, 0, 0, 0, G, NONE });
    ASSERT_FAULT(HISTORY_RIGHT, HISTORY_FIFO, { 0, 3, 7, 0, 0, P, KILLED }, { 4, 5, 7, 0, 0, G, DONE });
    ASSERT_FAULT(HISTORY_RIGHT, HISTORY_FIFO, { 0, EVER, 7, 0, 0, P, KILLED }, { 2, 3, 0, 0, 0, G, NONE }, { 4, 5, 7, 0, 0, G, DONE });
    ASSERT_FAULT(HISTORY_FALSE_EMPTY, HISTORY_FIFO, { 0, 1, 7, 0, 0, P, KILLED }, { 2, 3, 0, 0, 0, G, NONE },
                 { 4, 5, 7, 0, 0, G, DONE });
    /* A get: one value may be gone by it. */
    ASSERT_FAULT(HISTORY_RIGHT, HISTORY_FIFO, { 0, 1, 7, 0, 0, P, DONE }, { 0, 3, 0, 0, 0, G, KILLED }, { 4, 5, 0, 0, 0, G, NONE });
    ASSERT_FAULT(HISTORY_RIGHT, HISTORY_FIFO, { 0, 1, 7, 0, 0, P, DONE }, { 0, 3, 0, 0, 0, G, KILLED }, { 4, 5, 7, 0, 0, G, DONE });
    ASSERT_FAULT(HISTORY_LOST, HISTORY_FIFO, { 0, 1, 7, 0, 0, P, DONE }, { 0, 1, 8, 0, 0, P, DONE }, { 0, 3, 0, 0, 0, G, KILLED },
                 { 4, 5, 0, 0, 0, G, NONE });
    ASSERT_FAULT(HISTORY_LOST, HISTORY_FIFO, { 2, 3, 7, 0, 0, P, DONE }, { 0, 1, 0, 0, 0, G, KILLED }, { 4, 5, 0, 0, 0, G, NONE });
    ASSERT_FAULT(HISTORY_LOST, HISTORY_FIFO, { 2, 3, 7, 0, 0, P, DONE }, { 4, 5, 0, 0, 0, G, NONE }, { 6, EVER, 0, 0, 0, G, KILLED });
}

/* ---- All orders of few -------------------------------------------------------------------- */

struct search {
    const struct history_op *ops;
    size_t count;
    enum history_model model;
    const struct history_op *in[SMALL_MAX]; /* puts of what is in the queue, in the order of their instants, or of the ends */
    size_t in_count, maxsize;
    unsigned done; /* set of operations */
};

/* Which one of in[] comes out next. */
static size_t next_out(const struct search *s, const struct history_op *get)
{
    size_t next = 0;

    if (s->model == HISTORY_LIFO || get->kind == GB)
        return s->in_count - 1;
    for (size_t i = 1; s->model == HISTORY_PRIORITY && i < s->in_count; i++)
        if (s->in[i]->priority < s->in[next]->priority)
            next = i;
    return next;
}

/* May it be next? All that ended before it began have been. */
static bool is_turn(const struct search *s, size_t i)
{
    const struct history_op *op = &s->ops[i];

    if (s->done >> i & 1)
        return false;
    for (size_t j = 0; j < s->count; j++) {
        const struct history_op *before = &s->ops[j];
        bool in_batch = op->batch && before->batch == op->batch && j < i;

        if (j != i && !(s->done >> j & 1) && before->result != KILLED && (before->end < op->start || in_batch))
            return false;
        /* What was killed happens in time or not at all. */
        if (op->result == KILLED && s->done >> j & 1 && s->ops[j].start > op->end)
            return false;
    }
    return true;
}

static bool can_go_on(struct search *s);

static bool try_op(struct search s, size_t i)
{
    const struct history_op *op = &s.ops[i];
    size_t next;

    s.done |= 1u << i;
    if ((op->kind == P || op->kind == PF) && (op->result == NONE || s.in_count == s.maxsize))
        return op->result == NONE && s.in_count == s.maxsize && can_go_on(&s);
    if (op->kind == P || op->kind == PF) {
        memmove(s.in + (op->kind == PF), s.in, s.in_count * sizeof *s.in);
        s.in[op->kind == PF ? 0 : s.in_count] = op;
        s.in_count++;
        return can_go_on(&s);
    }
    if (op->result == NONE || s.in_count == 0)
        return op->result == NONE && s.in_count == 0 && can_go_on(&s);
    next = next_out(&s, op);
    if (op->result == DONE && s.in[next]->value != op->value)
        return false;
    s.in_count--;
    memmove(s.in + next, s.in + next + 1, (s.in_count - next) * sizeof *s.in);
    return can_go_on(&s);
}

static bool can_go_on(struct search *s)
{
    bool all = true;

    for (size_t i = 0; i < s->count; i++)
        all = all && (s->done >> i & 1 || s->ops[i].result == KILLED);
    if (all)
        return true;
    for (size_t i = 0; i < s->count; i++)
        if (is_turn(s, i) && try_op(*s, i))
            return true;
    return false;
}

/* What is tried with small histories. In those that are whole the checker finds everything, but for deques. */
enum flavour { WHOLE, PUTS_KILLED, ANY_KILLED, BATCHES, BOUNDED, FLAVOURS };

static const char *const flavour_names[] = { "whole", "puts killed", "any killed", "batches", "bounded" };

static void tell_a_lie(struct history_op *ops, size_t count)
{
    struct history_op *a = &ops[draw((unsigned)count)], *b = &ops[draw((unsigned)count)];
    uint64_t value = a->value;
    unsigned by = draw(8);

    switch (draw(4)) {
    case 0:
        if (a->kind == G && a->result == DONE)
            a->result = NONE;
        break;
    case 1:
        if (!a->batch && a->start > 2 + by && a->end != EVER) {
            a->start -= by;
            a->end -= by;
        }
        break;
    default:
        if (a->kind == b->kind && a->result == DONE && b->result == DONE) {
            a->value = b->value;
            b->value = value;
        }
    }
}

/* Neighbours of one kind become batches. */
static void make_batches(struct history_op *ops, size_t count)
{
    uint32_t batch = 0;

    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && ops[i + n].kind == ops[i].kind && ops[i + n].result == DONE && draw(4) > 0; n++)
            ;
        if (n == 1 || ops[i].result != DONE || ops[i].kind == PF || ops[i].kind == GB)
            continue;
        batch++;
        for (size_t k = 0; k < n; k++) {
            ops[i + k].batch = batch;
            ops[i + k].start = ops[i].start;
            ops[i + k].end = ops[i + n - 1].end > ops[i].end ? ops[i + n - 1].end : ops[i].end;
        }
    }
}

/* One step, at its instant. */
static void make_step(struct search *s, struct history_op *op)
{
    size_t next;

    if ((op->kind == P || op->kind == PF) && s->in_count == s->maxsize) {
        op->result = NONE;
    } else if (op->kind == P || op->kind == PF) {
        memmove(s->in + (op->kind == PF), s->in, s->in_count * sizeof *s->in);
        s->in[op->kind == PF ? 0 : s->in_count] = op;
        s->in_count++;
    } else if (s->in_count == 0) {
        op->result = NONE;
    } else {
        next = next_out(s, op);
        op->value = s->in[next]->value;
        s->in_count--;
        memmove(s->in + next, s->in + next + 1, (s->in_count - next) * sizeof *s->in);
    }
}

/* What a queue answers to random calls one after the other, each at some instant; then their times around that; and some lies. */
static size_t make_small(struct history_op *ops, struct search *s, enum flavour flavour)
{
    size_t count = 3 + draw(SMALL_MAX - 2);
    unsigned spread = 1 + draw(8), puts = 40 + draw(30);

    *s = (struct search){ .ops = ops, .count = count, .model = s->model, .maxsize = flavour == BOUNDED ? 1 + draw(3) : SIZE_MAX };
    for (size_t i = 0; i < count; i++) {
        struct history_op *op = &ops[i];
        uint64_t instant = 10 + 2 * i;

        *op = (struct history_op){ instant - draw(spread), instant + draw(spread), 100 + i, 0, 0, draw(100) < puts ? P : G, DONE };
        if (s->model == HISTORY_DEQUE && draw(2))
            op->kind = op->kind == P ? PF : GB;
        op->priority = draw(3);
        make_step(s, op);
        if ((flavour == ANY_KILLED || (flavour == PUTS_KILLED && (op->kind == P || op->kind == PF))) && draw(4) == 0)
            op->result = KILLED;
        if (op->result == KILLED && draw(3) == 0)
            op->end = EVER;
    }
    if (flavour == BATCHES)
        make_batches(ops, count);
    for (unsigned lies = draw(3); lies > 0; lies--)
        tell_a_lie(ops, count);
    s->in_count = 0;
    return count;
}

static void print_small(const struct history_op *ops, size_t count)
{
    static const char *const kinds[] = { "put", "get", "put_front", "get_back" };
    static const char *const results[] = { "killed", "done", "refused", "nothing" };

    for (size_t i = 0; i < count; i++)
        print_message("  %llu-%llu %s %llu (%lld) %s\n", (unsigned long long)ops[i].start, (unsigned long long)ops[i].end,
                      kinds[ops[i].kind], (unsigned long long)ops[i].value, (long long)ops[i].priority, results[ops[i].result]);
}

/* How often were both right, both wrong, and only the search wrong? The checker alone: never. */
static void compare_with_search(enum history_model model, enum flavour flavour, size_t tally[3])
{
    struct history *h = history_new(1, SMALL_MAX);
    struct history_op ops[SMALL_MAX];
    struct search s = { .model = model };
    bool is_complete = model != HISTORY_DEQUE && flavour <= PUTS_KILLED;

    assert_non_null(h);
    memset(tally, 0, 3 * sizeof *tally);
    for (int i = 0; i < MANY; i++) {
        size_t count = make_small(ops, &s, flavour);
        bool can = can_go_on(&s), is_right;

        h->counts[0] = 0;
        for (size_t k = 0; k < count; k++)
            history_add(h, 0, ops[k]);
        is_right = history_check(h, model, flavour == BOUNDED ? s.maxsize : 0).fault == HISTORY_RIGHT;
        if ((can && !is_right) || (!can && is_right && is_complete)) {
            print_small(ops, count);
            fail_msg("%s, %s: a %s", model_names[model], flavour_names[flavour],
                     can ? "right history is accused" : "wrong history passes");
        }
        tally[can ? 0 : is_right ? 2 : 1]++;
    }
    print_message("%s, %s: %zu right, %zu wrong, %zu wrong and not found\n", model_names[model], flavour_names[flavour], tally[0],
                  tally[1], tally[2]);
    history_free(h);
}

static void checker_agrees_with_a_search_of_all_orders(void **state)
{
    size_t tally[3];

    random_state = stage_seed();
    for (int model = HISTORY_FIFO; model <= HISTORY_DEQUE; model++)
        for (int flavour = WHOLE; flavour < FLAVOURS; flavour++) {
            compare_with_search((enum history_model)model, (enum flavour)flavour, tally);
            assert_true(tally[0] > MANY / 10);
            assert_true(tally[1] > MANY / 50);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_kind_may_do_is_found),
        cmocka_unit_test(wrong_orders_are_found),
        cmocka_unit_test(wrong_orders_in_batches_are_found),
        cmocka_unit_test(killed_operations_may_have_happened),
        cmocka_unit_test(checker_agrees_with_a_search_of_all_orders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
