/* SPDX-License-Identifier: MIT */
/* The items of a queue of messages: parcels, which are blocks of their own, and slips, which are short and lie in the queue itself. */
#ifndef PLAIT_QUEUE_MAIL_H
#define PLAIT_QUEUE_MAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    PLAIT__SLIP_MAX = 64,                                 /* bytes; longer messages are parcels */
    PLAIT__SLIP_NEAR = 16,                                /* of a FIFO queue's slip, in the item; the others in the annex (annex.h) */
    PLAIT__SLIP_FAR = PLAIT__SLIP_MAX - PLAIT__SLIP_NEAR
};

struct plait_queue;

/* Which of the messages? */
enum plait__queue_from { PLAIT__NEXT, PLAIT__OLDEST, PLAIT__LAST /* of a deque */ };

/* An item. Guarded, and published, as items are. */
struct plait__mail {
    uint64_t label; /* the place of a parcel (parcel.h), which is even; or of a slip: 1 + 2 x its size */
    char slip[];    /* the handle's slip_near bytes; none in a joinable queue, whose messages are all parcels */
};

/* What a put is handed as its item: begins as one does. */
struct plait__outgoing {
    uint64_t label;
    const void *slip;
};

static inline uint64_t plait__slip_label(size_t size)
{
    return 1 + 2 * (uint64_t)size;
}

static inline bool plait__label_is_slip(uint64_t label)
{
    return label & 1;
}

static inline size_t plait__slip_size(uint64_t label)
{
    return (size_t)(label >> 1);
}

/* Up to PLAIT__SLIP_NEAR bytes, without a call: two pieces, which overlap unless they are all of it. */
static inline void plait__slip_copy_near(void *to, const void *from, size_t size)
{
    const char *source = from;
    char *target = to;
    uint64_t first, last;
    uint32_t first4, last4;

    if (size >= 8) {
        memcpy(&first, source, 8);
        memcpy(&last, source + size - 8, 8);
        memcpy(target, &first, 8);
        memcpy(target + size - 8, &last, 8);
    } else if (size >= 4) {
        memcpy(&first4, source, 4);
        memcpy(&last4, source + size - 4, 4);
        memcpy(target, &first4, 4);
        memcpy(target + size - 4, &last4, 4);
    } else {
        for (size_t i = 0; i < size; i++)
            target[i] = source[i];
    }
}

/* More than that, and of a slip of the largest size, which is a usual one, without a call. */
static inline void plait__slip_copy(void *to, const void *from, size_t size)
{
    if (size == PLAIT__SLIP_MAX || size == PLAIT__SLIP_FAR)
        for (size_t i = 0; i < size; i += 16) /* by what fits a register: of it all gcc makes a string instruction */
            memcpy((char *)to + i, (const char *)from + i, 16);
    else
        memcpy(to, from, size);
}

/*
 * `to` is a struct plait__mail, `from` a struct plait__outgoing, or of a parcel its label alone; of a FIFO queue, whose item it is, and what
 * annex.h wants to know. 0; ENOMEM, ENOSPC: no annex; EBADMSG. Not inlined: it would stand in the way of items of fixed size.
 */
int plait__mail_write(struct plait_queue *q, void *to, const void *from, uint64_t *annex, uint64_t number);

/* The same of a slip that is not all near, into the putters' next cell of a FIFO queue. EBUSY: there is no annex as yet. */
int plait__mail_write_far(struct plait_queue *q, struct plait__mail *mail, const void *bytes, size_t size);

/*
 * Take the next message of a FIFO queue, which is not joinable, if it is a slip, with the lock held briefly: as
 * plait__queue_attempt_borrow with `copies`. EBUSY: it is not, or see brief.h; PLAIT__SETTLED: it is not, and the lock is held, now as
 * plait__side_lock would hold it.
 */
enum { PLAIT__SETTLED = -1 };
int plait__mail_copy_briefly(struct plait_queue *q, void *buffer, size_t room, size_t *size_out);

/* Take a message out, with the lock or locks held, and nobody gets it. EAGAIN: there is none; EBADMSG; ENOSPC. */
int plait__mail_discard(struct plait_queue *q, enum plait__queue_from from);

#endif
