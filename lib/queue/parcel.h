/* SPDX-License-Identifier: MIT */
/* Messages in blocks of their own, and in whose hands they are. */
#ifndef PLAIT_QUEUE_PARCEL_H
#define PLAIT_QUEUE_PARCEL_H

#include "arena/holds.h"
#include "queue/mail.h"
#include "queue/side.h"

/* Instead of a hold: it stands in the ledger of a joinable queue (ledger.c). */
#define PLAIT__PARCEL_RECORDED ((uint64_t)1)

struct plait__parcel {
    uint64_t room;    /* const: bytes that fit in */
    uint64_t size;    /* bytes in it; written by who has it in hand */
    int64_t priority; /* the same */
    uint64_t hold;    /* the same: shared: offset of the hold of who has it in hand; PLAIT__PARCEL_RECORDED */
    char data[];
};

/* How a hold's `other` is to be taken: see parcel.c. */
enum plait__hand_state {
    PLAIT__HAND_EMPTY,
    PLAIT__HAND_OWNED,
    PLAIT__HAND_GIVING,
    PLAIT__HAND_TAKING
};

/* What a call has in hand. In a shared queue a hold says so, in case the process dies. */
struct plait__hand {
    struct plait__hold *hold; /* NULL: private, or nothing in hand */
    uint64_t place;           /* private: of the parcel, 0: none */
};

static inline struct plait__parcel *plait__parcel_at(const struct plait_queue *q, uint64_t place)
{
    return plait__memory_at(q, place);
}

/* As it is lent. */
static inline struct plait_message plait__parcel_message(struct plait__parcel *parcel)
{
    return (struct plait_message){ .data = parcel->data, .size = parcel->size, .priority = parcel->priority };
}

/* The place of what is in hand, 0: nothing. */
static inline uint64_t plait__hand_place(const struct plait__hand *hand)
{
    return hand->hold ? hand->hold->other : hand->place;
}

/* Nothing in hand, and ready to take. ENOMEM, ENOSPC. Then plait__hand_drop, unless it was given away. */
int plait__hand_open(struct plait_queue *q, struct plait__hand *hand);

/*
 * A new parcel in hand. ENOMEM, ENOSPC, EBADMSG. fill: with a side's lock held; the other, without, also looks for memory that the
 * dead had in hand.
 */
int plait__hand_fill(struct plait_queue *q, size_t size, struct plait__hand *hand);
int plait__hand_make(struct plait_queue *q, size_t size, struct plait__hand *hand);

/* The hand in which those bytes are. EINVAL: none, of this queue; EPERM: another process's. */
int plait__hand_find(struct plait_queue *q, const void *data, struct plait__hand *hand);

/* Free what is in hand, if anything is. */
void plait__hand_drop(struct plait_queue *q, struct plait__hand *hand);

/* One step each, with the side's lock held. Put: with 0 nothing is in hand any more; else as plait__put_step. */
int plait__hand_put(struct plait_queue *q, struct plait__hand *hand, int64_t priority, bool far);

/* Take: the parcel at `place`, which `mail` of the queue names, and which was looked at. */
void plait__hand_take(struct plait_queue *q, struct plait__hand *hand, struct plait__mail *mail, uint64_t place,
                      enum plait__queue_from from);

/* The holder of the side's lock has died, and the side itself is repaired: whose is the parcel that it was moving? */
void plait__hand_repair(struct plait_queue *q, struct plait__queue_side *side);

/* A parcel's size. EMSGSIZE: above `room`; EBADMSG: there is none. */
int plait__parcel_look(const struct plait_queue *q, uint64_t place, size_t room, size_t *size_out);

/* Free what the dead had in hand. */
void plait__hands_settle(struct plait_queue *q);

/* A queue begins where another may have been; it ends, with what is in it and in all hands. */
void plait__hands_forget(struct plait_queue *q);
void plait__parcels_unmake(struct plait_queue *q);

#endif
