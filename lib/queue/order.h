/* SPDX-License-Identifier: MIT */
/* What a call wants of a queue, and how far it has come: handed to its attempts, one after each sleep. */
#ifndef PLAIT_QUEUE_ORDER_H
#define PLAIT_QUEUE_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/time.h>

#include "queue/side.h"
#include "wait/waitable.h"

struct plait__hand;

struct plait__order {
    void *items;           /* put: only read */
    int64_t priority;      /* of what is put */
    int64_t *priority_out; /* of what was got; NULL: not wanted */
    struct plait_ticket *ticket_out; /* the same; of a joinable queue */
    bool far;              /* a deque: put_front, get_back */
    size_t min, max, done; /* batches; messages: message.c */
    struct plait__hand *hand; /* messages: what is put; NULL: a slip, `items` is a struct plait__outgoing */
    void *copy;               /* the same: see plait__queue_attempt_borrow */
    bool copies;
};

/* One attempt, with the side's lock waited for until the deadline: 0 done, EAGAIN not now, EPIPE closed, or an error. */
typedef int plait__attempt_fn(struct plait_queue *q, struct plait__order *order,
                              plait_time_t deadline);

/* The attempts at an item, at a deque's other end if the order says so. */
plait__attempt_fn plait__queue_attempt_put, plait__queue_attempt_get, plait__queue_attempt_peek;

/*
 * The attempts at a message; `items` is a struct plait_message. Borrow: `max` bytes at most, and `done` receives the size. With `copies`
 * a slip goes to `copy`, and then the message's data is NULL; all else is lent.
 */
plait__attempt_fn plait__queue_attempt_commit, plait__queue_attempt_borrow;

/* An attempt to borrow that has begun: if settled, with the lock held (mail.h). */
int plait__queue_go_on_borrowing(struct plait_queue *q, struct plait__order *order, bool settled, plait_time_t deadline);

/* The whole call for a slip. */
int plait__queue_put_slip(struct plait_queue *q, const struct plait__outgoing *slip, int64_t priority, plait_time_t deadline);

/* The rest of a call whose first attempt answered EAGAIN: wait at that end, and try again. */
int plait__queue_wait_and_try(struct plait_queue *q, plait__attempt_fn *attempt,
                              enum plait__queue_end end, struct plait__order *order,
                              plait_time_t deadline);

/* The end of a call's announcement at that end, whatever came of it: passes on a wake that it does not need. */
void plait__queue_leave(struct plait_queue *q, enum plait__queue_end end);

/* For entries of plait_wait_any (among.c) whose object is a queue: the announcement, and its end. */
bool plait__queue_enlist_put(struct plait__waiting *waiting, struct plait_wait_word *word_out);
bool plait__queue_enlist_get(struct plait__waiting *waiting, struct plait_wait_word *word_out);
void plait__queue_delist_put(struct plait__waiting *waiting);
void plait__queue_delist_get(struct plait__waiting *waiting);

/* What a call answers that cannot be served at once, and does not want to wait. */
int plait__queue_not_waiting(void);

/* A put that found no room, with the put side's lock held: what the overflow rule makes of it by the deadline. EAGAIN: wait. */
int plait__queue_overflow(struct plait_queue *q, struct plait__order *order, plait_time_t deadline);

#endif
