/* SPDX-License-Identifier: MIT */
/* A broadcast's memory: the ring, and who has subscribed. */
#ifndef PLAIT_QUEUE_BROADCAST_H
#define PLAIT_QUEUE_BROADCAST_H

#include <plait/broadcast.h>

#include "arena/arena.h"
#include "base/atomic.h"
#include "base/fork_epoch.h"
#include "sync/lock.h"
#include "wait/eventcount.h"

enum plait__broadcast_end { PLAIT__BROADCAST_CLOSED = 1, PLAIT__BROADCAST_DISCARDED = 2 };

/*
 * What all users share, in the arena or in the heap; the slots of the ring come behind it. "Guarded": by the lock. A place is an
 * offset in the arena, or an address.
 */
struct plait__broadcast_body {
    uint32_t magic;     /* const; stored last; 0 once destroyed */
    uint32_t flags;     /* const: PLAIT_SHARED or 0 */
    uint64_t id;        /* const: no other broadcast has been at this place with it */
    uint64_t item_size; /* const */
    uint64_t maxsize;   /* const */
    uint32_t overflow;  /* const: enum plait_queue_overflow */
    uint32_t closed;    /* atomic, written guarded (E5): enum plait__broadcast_end */
    uint32_t handles;   /* atomic: private: of the broadcast and of its subscribers */
    uint32_t spare1;
    uint64_t spare2;

    uint64_t next __attribute__((aligned(64))); /* atomic, written guarded (E1): how many items were put */
    uint64_t dropped; /* atomic, written guarded */
    uint64_t first;   /* guarded: place of the first record */
    uint64_t making;  /* guarded: place of a record that is about to become the first; 0: none */
    int64_t looked;   /* guarded: when deaths were looked for */
    uint64_t spare3[3];

    struct plait__eventcount room __attribute__((aligned(64))); /* publishers sleep here */
    uint64_t floor; /* atomic, written guarded (E3): no subscriber was slower when it was looked */
    uint64_t spare4[6];

    struct plait__eventcount items __attribute__((aligned(64))); /* subscribers sleep here */
    uint64_t spare5[7];

    plait_lock_t lock __attribute__((aligned(64))); /* publishers exclude one another */
};

#define PLAIT__BROADCAST_MAGIC 0x62726f61u

/* A subscription; never given back, but used again. */
struct plait__broadcast_record {
    uint64_t next;  /* const once it is the first: place of the next record; 0: the last */
    uint32_t state; /* atomic, written guarded: enum plait__broadcast_state */
    uint32_t slot;  /* guarded, as the next three; shared: which thread subscribed, as a hold would say it */
    uint64_t thread;
    uint64_t owner; /* its process (start_time.h) */
    uint64_t token; /* which subscription it is */
    uint64_t spare1[3];

    uint64_t position; /* atomic (E2): the number of the item that is got next */
    uint64_t spare2[7];
};

enum plait__broadcast_state { PLAIT__RECORD_UNUSED, PLAIT__RECORD_SUBSCRIBED };

_Static_assert(sizeof(struct plait__broadcast_body) % 64 == 0, "slots begin with a line");
_Static_assert(sizeof(struct plait__broadcast_record) == 128, "as the header says");

/* A handle. */
struct plait_broadcast {
    struct plait__broadcast_body *body; /* const, as all here */
    struct plait__arena_header *base;   /* NULL: private */
    plait_arena_t *arena;               /* a handle of our own; NULL: private */
    uint64_t id;                        /* copies of the body's, from here on */
    uint64_t item_size;
    uint64_t maxsize;
    enum plait_queue_overflow overflow;
    uint64_t stride; /* words from slot to slot */
    uint64_t mask;   /* maxsize - 1 if that is a power of two, else 0 */
};

struct plait_subscriber {
    struct plait_broadcast of;              /* const: a handle of our own */
    struct plait__broadcast_record *record; /* means something in the epoch below */
    uint64_t token;                         /* the record's */
    uint32_t epoch;     /* atomic (E6): shared: the fork epoch in which the record is ours */
    uint32_t overtaken; /* atomic: how often in a row it had to skip */
    uint64_t seen;      /* atomic: a copy of the position, for a child of fork */
    uint64_t missed;    /* atomic */
};

/* ---- broadcast.c: the ring */

/* The slot of an item: a word (broadcast.c), and the item. */
static inline uint64_t *plait__broadcast_slot(const struct plait_broadcast *b, uint64_t number)
{
    uint64_t index = b->mask ? number & b->mask : number % b->maxsize;

    return (uint64_t *)(void *)(b->body + 1) + index * b->stride;
}

static inline uint64_t plait__broadcast_ready(uint64_t number) { return 2 * number + 1; }

static inline unsigned plait__broadcast_flags(const struct plait_broadcast *b)
{
    return b->base ? PLAIT_SHARED : 0;
}

/* Take the lock, and mend what a dead holder left; the caller takes part in the arena then. enter: until it is ours. */
int plait__broadcast_lock(const struct plait_broadcast *b, plait_time_t deadline);
int plait__broadcast_enter(const struct plait_broadcast *b);
void plait__broadcast_unlock(const struct plait_broadcast *b);

/* Wait until `attempt` answers another thing than EAGAIN; who makes that so wakes all who sleep at `ec`. */
struct plait__broadcast_call {
    int (*attempt)(struct plait__broadcast_call *call, plait_time_t deadline);
    size_t (*possible)(const struct plait__broadcast_call *call); /* a look: how many steps could be made? */
    const struct plait_broadcast *broadcast;
    struct plait_subscriber *subscriber;
    const void *item; /* of a put */
    struct plait__broadcast_record *slowest; /* of a put that found no room */
    char *items;      /* of a get */
    size_t max, done;
    bool stays; /* a peek */
};
int plait__broadcast_wait(struct plait__broadcast_call *call, struct plait__eventcount *ec, plait_time_t deadline);

/* ---- subscriber.c: who has subscribed; with the lock held */

/* The slowest subscriber and its position; without any, NULL and the next item's number. EBADMSG. */
int plait__broadcast_slowest(const struct plait_broadcast *b, uint64_t *position_out, struct plait__broadcast_record **slowest_out);

/* Take off whose process has died: always, or if that was not looked for of late. True: there was somebody. */
bool plait__broadcast_bury(const struct plait_broadcast *b, bool always);

/* A dead holder of the lock may have been making a record. */
int plait__broadcast_mend_records(const struct plait_broadcast *b);

/* For subscribers' handles. */
void plait__broadcast_share(const struct plait_broadcast *b, struct plait_broadcast *copy_out);
void plait__broadcast_unshare(const struct plait_broadcast *b);
bool plait__broadcast_is_there(const struct plait_broadcast *b);

/* All records go back. */
void plait__broadcast_free_records(const struct plait_broadcast *b);

#endif
