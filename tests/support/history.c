/* SPDX-License-Identifier: MIT */
/* Writing down what was done, so that it is there to see when the writer has been killed. */
#include "support/history.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include <plait/export.h> /* PLAIT_UNDER_TSAN */

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What the operation does stays between its two times, and what was written survives a death in this order. */
static void fence(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

struct history *history_new(unsigned participants, size_t capacity)
{
    size_t bytes = sizeof(struct history) + participants * (sizeof(size_t) + sizeof(uint64_t) + capacity * sizeof(struct history_op));
    struct history *h = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (h == MAP_FAILED)
        return NULL;
    h->participants = participants;
    h->capacity = capacity;
    h->bytes = bytes;
    h->ops = (void *)(h + 1);
    h->counts = (void *)(h->ops + participants * capacity);
    h->batches = (void *)(h->counts + participants);
    return h;
}

void history_free(struct history *h)
{
    if (h)
        munmap(h, h->bytes);
}

struct history_op *history_add(struct history *h, unsigned participant, struct history_op op)
{
    size_t n = h->counts[participant];
    struct history_op *new = history_ops_of(h, participant) + n;

    if (n == h->capacity)
        return NULL;
    *new = op;
    fence();
    h->counts[participant] = n + 1;
    fence();
    return new;
}

struct history_op *history_begin_many(struct history *h, unsigned participant, enum history_kind kind, const uint64_t *values,
                                      size_t count)
{
    struct history_op *first = history_ops_of(h, participant) + h->counts[participant];
    uint32_t batch = ++h->batches[participant];
    uint64_t start;

    if (h->capacity - h->counts[participant] < count)
        return NULL;
    fence();
    start = now();
    for (size_t i = 0; i < count; i++)
        history_add(h, participant,
                    (struct history_op){ start, HISTORY_EVER, values ? values[i] : 0, 0, batch, (uint8_t)kind, HISTORY_PENDING });
    return first;
}

/* A call ends when all that it stored is there for others to see: before that, a clock alone could say that it has ended. */
static void settle(void)
{
#ifdef PLAIT_UNDER_TSAN /* which knows no fences */
    uint32_t word = 0;

    __atomic_exchange_n(&word, 1, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

void history_end_many(struct history_op *ops, size_t count, size_t done, bool refused, const uint64_t *values)
{
    uint64_t end;

    settle();
    end = now();
    fence();
    for (size_t i = 0; i < count; i++) {
        ops[i].end = end;
        if (i < done && values)
            ops[i].value = values[i];
        fence();
        ops[i].result = i < done ? HISTORY_DONE : i == done && refused ? HISTORY_REFUSED : HISTORY_NOTHING;
    }
}

struct history_op *history_begin(struct history *h, unsigned participant, enum history_kind kind, uint64_t value, int64_t priority)
{
    struct history_op *op;

    fence();
    op = history_add(h, participant, (struct history_op){ now(), HISTORY_EVER, value, priority, 0, (uint8_t)kind, HISTORY_PENDING });
    fence();
    return op;
}

void history_end(struct history_op *op, enum history_result result, uint64_t value)
{
    settle();
    op->end = now();
    op->value = value;
    fence();
    op->result = (uint8_t)result;
}

void history_died(struct history *h, unsigned participant)
{
    uint64_t end = now();

    for (size_t i = 0; i < h->counts[participant]; i++)
        if (history_ops_of(h, participant)[i].result == HISTORY_PENDING)
            history_ops_of(h, participant)[i].end = end;
}

size_t history_count(const struct history *h)
{
    size_t count = 0;

    for (unsigned p = 0; p < h->participants; p++)
        count += h->counts[p];
    return count;
}

static int by_start(const void *a, const void *b)
{
    const struct history_op *l = *(const struct history_op *const *)a, *r = *(const struct history_op *const *)b;

    return (l->start > r->start) - (l->start < r->start);
}

size_t history_overlaps(const struct history *h)
{
    size_t count = 0, overlaps = 0;
    const struct history_op **all = calloc(history_count(h) + 1, sizeof *all);
    uint64_t end = 0;

    for (unsigned p = 0; all && p < h->participants; p++)
        for (size_t i = 0; i < h->counts[p]; i++)
            if (i == 0 || !history_ops_of(h, p)[i].batch || history_ops_of(h, p)[i].batch != history_ops_of(h, p)[i - 1].batch)
                all[count++] = &history_ops_of(h, p)[i];
    qsort(all, count, sizeof *all, by_start);
    for (size_t i = 0; i < count; i++) {
        overlaps += all[i]->start <= end;
        end = all[i]->end > end && all[i]->end < HISTORY_EVER ? all[i]->end : end;
    }
    free(all);
    return overlaps;
}
