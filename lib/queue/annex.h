/* SPDX-License-Identifier: MIT */
/* An annex: what the slips of a FIFO queue have beyond PLAIT__SLIP_NEAR bytes. */
#ifndef PLAIT_QUEUE_ANNEX_H
#define PLAIT_QUEUE_ANNEX_H

#include <errno.h>

#include "queue/steps.h"

/*
 * Memory for bytes beyond the near ones of item `number` of a run of cells, whose annex's place is *place, 0: there
 * is none as yet. With the put side's lock held. 0; ENOMEM, ENOSPC, EBADMSG.
 */
int plait__annex_reach(struct plait_queue *q, uint64_t *place, uint64_t number, char **far_out);

static inline char *plait__annex_at(const struct plait_queue *q, uint64_t place, uint64_t number)
{
    return (char *)plait__memory_at(q, place) + number * PLAIT__SLIP_FAR;
}

/* The same, in the putters' next cell, if the annex is there and was found to be one. NULL: else. */
static inline char *plait__annex_known(const struct plait_queue *q)
{
    const struct plait__queue_side *side = &q->body->put;
    const struct plait__segment *s = q->maxsize ? NULL : segment_at(q, side->segment);
    uint64_t place = s ? s->annex : side->annex;

    if (__builtin_expect(!place || place != q->annex_looked_at[0], 0))
        return NULL;
    return plait__annex_at(q, place, s ? side->at - s->first : index_of(side->at));
}

/* The rest of plait__annex_of_next, for a place that was not looked at before. */
const char *plait__annex_look_for_next(struct plait_queue *q);

/*
 * The same of the item that is next out, with the get side's lock held. NULL: there is none, by damage. A ring's
 * annex never changes: once it was looked at, there is no need to read what the putters have beside their lock.
 */
static inline const char *plait__annex_of_next(struct plait_queue *q)
{
    const struct plait__queue_side *side = &q->body->get;
    uint64_t place = q->annex_looked_at[1];
    const struct plait__segment *s = q->maxsize ? NULL : segment_at(q, side->segment);

    if (__builtin_expect(!place || (s && s->annex != place), 0))
        return plait__annex_look_for_next(q);
    return plait__annex_at(q, place, s ? side->at - s->first : index_of(side->at));
}

/* A slip of that size was not put, with this error: is that for want of an annex? Then a parcel may be had. */
static inline bool plait__annex_is_missing(const struct plait_queue *q, size_t size, int err)
{
    return __builtin_expect(err != 0, 0) && (err == ENOSPC || err == ENOMEM) && size > q->slip_near;
}

/* A run of cells goes, and nobody uses it any more. */
void plait__annex_drop(struct plait_queue *q, uint64_t *place);

#endif
