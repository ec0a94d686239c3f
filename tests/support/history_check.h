/* SPDX-License-Identifier: MIT */
/* Between the files that check histories. */
#ifndef TESTS_SUPPORT_HISTORY_CHECK_H
#define TESTS_SUPPORT_HISTORY_CHECK_H

#include "support/history.h"

/* Of a value, once it is known who got it: see history_check.c. */
struct life {
    const struct history_op *put, *get; /* get: NULL: nobody's */
    uint32_t ps, pe, gs, ge;            /* ranks */
    uint32_t first, last;               /* the get's for FIFO order: gs and ge, or gaps by priority */
    uint32_t put_batch, get_batch;      /* 0: none */
    bool left_out;
};

struct refusal {
    const struct history_op *op;
    uint32_t start, end;
};

struct check {
    struct life *lives;
    struct refusal *refusals;
    const struct history_op **pending; /* gets */
    struct life **set;                 /* scratch for orders */
    uint32_t *sure;                    /* of each gap, how many are; at first differences */
    uint32_t *possible;                /* the same, of who may be there */
    size_t life_count, refusal_count, pending_count, rank_count;
    size_t maxsize;
    struct history_verdict verdict;
};

/* Always false. */
bool history_accuse(struct check *c, enum history_fault fault, uint64_t value);

static inline int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static inline bool is_sure(const struct life *life)
{
    return !life->left_out && life->pe < life->gs;
}

/* Are set[0] to set[n - 1] in that order? They are sorted meanwhile. */
bool history_is_fifo(struct check *c, size_t n);
bool history_is_lifo(struct check *c, size_t n);
bool history_is_by_priority(struct check *c, size_t n);

#endif
