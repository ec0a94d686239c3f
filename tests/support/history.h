/* SPDX-License-Identifier: MIT */
/* History: what each of several threads or processes did with a queue, and when; and whether a queue could have answered so. */
#ifndef TESTS_SUPPORT_HISTORY_H
#define TESTS_SUPPORT_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A participant is one thread or process, or one life of one. It writes down each operation before it starts and again when it has its
 * answer, in memory of its own that lies in a mapping which children share: so what a killed one had begun is there to see.
 *
 *     op = history_begin(h, me, HISTORY_PUT, value, priority);
 *     err = plait_queue_put(q, &value, PLAIT_NOW);
 *     history_end(op, err ? HISTORY_REFUSED : HISTORY_DONE, value);
 *
 * No value is put twice. A batch is written down as so many operations over the same time, whose order is known.
 */
enum history_kind { HISTORY_PUT, HISTORY_GET, HISTORY_PUT_FRONT, HISTORY_GET_BACK };

enum history_result {
    HISTORY_PENDING, /* no answer: killed; it may have happened, once at most, before `end` */
    HISTORY_DONE,
    HISTORY_REFUSED, /* a get found the queue empty, a put found it full */
    HISTORY_NOTHING  /* it did not happen, and says nothing */
};

#define HISTORY_EVER UINT64_MAX

struct history_op {
    uint64_t start, end; /* by one clock; what ends when another starts overlaps it */
    uint64_t value;
    int64_t priority;
    uint32_t batch; /* 0: none, else its number; its operations lie side by side */
    uint8_t kind, result;
};

struct history {
    unsigned participants;
    size_t capacity;  /* operations of each */
    size_t *counts;   /* of each, its own */
    uint32_t *batches; /* the same */
    struct history_op *ops;
    size_t bytes;
};

/* NULL: no memory. What is not used takes none. */
struct history *history_new(unsigned participants, size_t capacity);
void history_free(struct history *h);

static inline struct history_op *history_ops_of(const struct history *h, unsigned participant)
{
    return h->ops + participant * h->capacity;
}

/* NULL: it has no room for so many any more. history_add is for histories made by hand. */
struct history_op *history_add(struct history *h, unsigned participant, struct history_op op);
struct history_op *history_begin(struct history *h, unsigned participant, enum history_kind kind, uint64_t value, int64_t priority);
void history_end(struct history_op *op, enum history_result result, uint64_t value);

/* values: NULL for gets. At the end `done` of them have happened, and the next was refused if `refused`. */
struct history_op *history_begin_many(struct history *h, unsigned participant, enum history_kind kind, const uint64_t *values,
                                      size_t count);
void history_end_many(struct history_op *ops, size_t count, size_t done, bool refused, const uint64_t *values);

/* The participant is dead: what it had begun has happened before now, or never. */
void history_died(struct history *h, unsigned participant);

size_t history_count(const struct history *h);

/* How many began, a batch counted once, while another went on. */
size_t history_overlaps(const struct history *h);

/* ---- What is wrong with a history --------------------------------------------------------- */

enum history_model { HISTORY_FIFO, HISTORY_LIFO, HISTORY_PRIORITY, HISTORY_DEQUE };

enum history_fault {
    HISTORY_RIGHT,
    HISTORY_NO_MEMORY,
    HISTORY_INVENTED,   /* got, and never put */
    HISTORY_DUPLICATED, /* got twice; or put twice, which is the test's own mistake */
    HISTORY_EARLY,      /* got before its put began */
    HISTORY_LOST,       /* put, and gone, and nobody can have it */
    HISTORY_FALSE_EMPTY,
    HISTORY_FALSE_FULL,
    HISTORY_OVERFULL,   /* more than maxsize were in it */
    HISTORY_DISORDER
};

struct history_verdict {
    enum history_fault fault;
    uint64_t value; /* one that takes part in it */
};

/* maxsize 0: unbounded. */
struct history_verdict history_check(const struct history *h, enum history_model model, size_t maxsize);

const char *history_fault_text(enum history_fault fault);

#endif
