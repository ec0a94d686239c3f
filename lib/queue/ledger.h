/* SPDX-License-Identifier: MIT */
/* The ledger of a joinable queue: which items were got and are not done, and which of them wait to come again. */
#ifndef PLAIT_QUEUE_LEDGER_H
#define PLAIT_QUEUE_LEDGER_H

#include "queue/record.h"
#include "queue/side.h"
#include "queue/steps.h"
#include "wait/eventcount.h"

/*
 * Have the handle know the body's ledger. Make that: ENOMEM, ENOSPC; give it back, with what it has of messages.
 */
void plait__ledger_attach(struct plait_queue *q);
int plait__ledger_make(struct plait_queue *q, const struct plait_queue_opts *opts);
void plait__ledger_unmake(struct plait_queue *q);

/* Is what never changes such that it can be followed? Then, with the lock of the get side, which it takes: all? Finds the lists again. */
bool plait__ledger_is_founded(struct plait_queue *q);
bool plait__ledger_is_sound(struct plait_queue *q);

/*
 * Get the next item (far: the last of a deque), and note that: the one step of a joinable queue, with the get side's lock held. As plait__get_step; besides
 * ENOMEM, ENOSPC: no memory for the record. Messages: EMSGSIZE, above `room` bytes; *size_out says how many. Without
 * messages size_out is NULL. ticket_out may be NULL.
 */
int plait__ledger_take(struct plait_queue *q, void *item, bool far, size_t room, size_t *size_out,
                       struct plait_ticket *ticket_out);

/* The same without taking it; and the first items that would come again. */
int plait__ledger_peek(struct plait_queue *q, void *item);
size_t plait__ledger_copy(struct plait_queue *q, void *items, size_t max);

/* The queue was closed at once: nothing comes again. With both locks held; after that plait__ledger_tell. */
void plait__ledger_discard(struct plait_queue *q);

/* Look for deaths, if it is time, without getting anything: for who is only told that there is something to get. */
void plait__ledger_glance(struct plait_queue *q);

/*
 * Is all done, or was it since `zeros` was *zeros? At the first look *zeros is UINT64_MAX. EAGAIN: no; ETIMEDOUT: the get side's lock was
 * not to be had (joining.c).
 */
int plait__joining_look(struct plait_queue *q, uint64_t *zeros, plait_time_t deadline);

/* With the get side's lock held. How much is not done? If nothing is, count that, and say so: then plait__ledger_tell. */
size_t plait__ledger_unfinished(const struct plait_queue *q);
bool plait__ledger_note_if_done(struct plait_queue *q);

/* The same: an item is nowhere any more; look for deaths, if it is time: true if that makes anything to get. */
void plait__ledger_finish(struct plait_queue *q, struct plait__record_list *from, uint32_t number);
bool plait__ledger_look_if_due(struct plait_queue *q);

/* Who is the caller, as a record says it; and a record's ticket. */
void plait__ledger_sign(struct plait_queue *q, struct plait__record *r);
struct plait_ticket plait__ledger_ticket(const struct plait_queue *q, uint32_t number);

/* Wake who joins, after plait__side_unlock. */
void plait__ledger_tell(struct plait_queue *q);

/* The holder of the get side's lock has died, and the side is repaired. EBADMSG: damaged. */
int plait__ledger_repair(struct plait_queue *q);

/*
 * The holder of that side's lock has died, and the side is repaired, while its `hand` named a record: has the step been made?
 * The record may be one of another queue, which was moving a dead letter in here.
 */
static inline bool plait__hand_is_record(uint64_t hand)
{
    return hand & 1;
}

void plait__record_repair(struct plait_queue *q, struct plait__queue_side *side);

/* One get of whatever queue. */
int plait__take_slowly(struct plait_queue *q, void *item, int64_t *priority_out, struct plait_ticket *ticket_out, bool far);

static inline int plait__take_step(struct plait_queue *q, void *item, int64_t *priority_out,
                                   struct plait_ticket *ticket_out)
{
    return __builtin_expect(q->is_plain, 1) ? plait__fifo_get_step(q, item)
                                            : plait__take_slowly(q, item, priority_out, ticket_out, false);
}

#endif
