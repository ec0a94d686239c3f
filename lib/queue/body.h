/* SPDX-License-Identifier: MIT */
/* A queue's memory: what all its users share, in an arena or in the heap. */
#ifndef PLAIT_QUEUE_BODY_H
#define PLAIT_QUEUE_BODY_H

#include <plait/lock.h>
#include <plait/queue.h>

#include "arena/arena.h"
#include "queue/mail.h"
#include "queue/memory.h"
#include "sync/asym_lock.h"
#include "wait/eventcount.h"

/*
 * Places are numbers: offsets in the arena, or addresses (then the base is 0). Cells are the truth: each has a state
 * that is stored once per change; `tail` and `head` say where to look, and can be found again from the cells.
 */
struct plait__queue_body {
    /* const after creation */
    uint32_t magic; /* stored last; 0 once destroyed */
    uint32_t flags; /* PLAIT_SHARED or 0 */
    uint64_t item_size; /* 0: messages */
    uint64_t stride;  /* bytes from cell to cell */
    uint64_t maxsize; /* 0: unbounded */
    uint64_t
        cells; /* bounded: place of the ring; unbounded: cells in a segment; a pile: place of struct plait__pile */
    uint32_t kind;     /* enum plait_queue_kind */
    uint32_t overflow; /* enum plait_queue_overflow */
    uint32_t largest_first;
    uint32_t joinable;
    uint64_t ledger; /* joinable: place of struct plait__ledger; else 0 */

    /* Read by all, seldom written. */
    uint32_t closed
        __attribute__((aligned(64))); /* atomic: enum plait__queue_closed; set under both locks */
    uint32_t spare2;
    struct plait__eventcount items; /* getters sleep here until there is an item, or it is closed */
    struct plait__eventcount room;  /* putters sleep here until there is room, or it is closed */

    /*
     * What a side's own users touch, and then, in a line of its own, what the other side looks at while it waits: so looking does not take
     * the lock's line away from them.
     */
    struct __attribute__((aligned(64))) plait__queue_side {
        union {
            plait_lock_t lock;           /* shared */
            struct plait__asym_lock own; /* private */
        };
        uint64_t segment; /* guarded by lock: unbounded: where `at` is */
        uint64_t
            in_hand; /* guarded by lock: unbounded: a segment to be linked (put), to be freed (get) */
        uint64_t
            at; /* atomic, written under lock: bounded: lap << 32 | index; unbounded: items so far; a pile: pile.c */
        uint64_t
            dropped; /* atomic, written under lock: put: items discarded by the overflow rule */
        uint64_t hand; /* guarded by lock: the hold that a step is moving a message out of, or into (parcel.c), or 1 above
                          the record that it is moving an item into, or out of (ledger.c) */
        uint64_t annex; /* guarded by lock: put: of a ring of messages: place of its annex (annex.c), 0: none as yet */
    } put, get; /* a pile: put alone, for both */
};

_Static_assert(offsetof(struct plait__queue_side, at) == 64, "another line than the lock's");

enum plait__queue_closed { PLAIT__QUEUE_OPEN, PLAIT__QUEUE_CLOSED, PLAIT__QUEUE_DISCARDED };

#define PLAIT__QUEUE_MAGIC 0x51756575u

struct plait__cell {
    uint32_t state; /* atomic (E1); see fifo.c */
    uint32_t spare;
    char item[];
};

/* A run of cells that are used once each, for unbounded queues. */
struct plait__segment {
    uint64_t next;  /* atomic (E2): place of the next one, 0: none as yet */
    uint64_t first; /* const once linked: the number of the item in cell 0 */
    uint64_t annex; /* guarded by the putters' lock: of messages: place of its annex (annex.c), 0: none as yet */
    uint64_t spare;
    struct plait__cell cells[];
};

/* An item in a heap by priority: entries are ordered by key and number. */
struct plait__ranked {
    int64_t key;     /* its priority, or the complement of it where the largest comes first */
    uint64_t number; /* the number of its put */
    char item[];     /* the item, or the place of a block with it (PLAIT__RANKED_INLINE) */
};

enum { PLAIT__RANKED_INLINE = 72 }; /* bytes, a slip and its label; larger items have a block each */

/* What a LIFO queue or one by priority has beside its entries (pile.c). All guarded by the lock, but for the constants. */
struct plait__pile {
    uint64_t flat;   /* const: bounded: place of all entries */
    uint32_t shift;  /* const: unbounded: 2^shift entries in a segment */
    uint32_t change; /* by priority: enum change of pile.c: how far a put or get has come */
    uint64_t
        directory; /* unbounded: place of a struct directory of pile.c, which knows the segments */
    uint64_t larger;  /* one that shall take its place */
    uint64_t smaller; /* one whose place has been taken */

    /* By priority. */
    uint64_t puts;  /* the number of the next put */
    uint64_t hole;  /* the entry that is missing, or half written, while moving is in hand */
    uint64_t after; /* the number of items after the change */
    uint64_t fresh; /* block of the item that is being put */
    uint64_t gone;  /* block of the item that is being taken */
    uint64_t moving[(sizeof(struct plait__ranked) + PLAIT__RANKED_INLINE) / sizeof(uint64_t)]; /* an entry */
};

/* What a joinable queue has beside (ledger.c). */
struct plait__record_list {
    uint32_t first, last; /* record numbers, 0: none */
    uint32_t count;       /* atomic, written under the lock */
    uint32_t spare;
};

enum { PLAIT__LEDGER_SEGMENTS = 30 };

struct plait__ledger {
    /* const after creation */
    uint64_t dead_letters; /* place of that queue's body, 0: none */
    uint32_t max_deliveries;
    uint32_t spare;

    /* guarded by the get side's lock */
    uint32_t segments_ready;
    uint32_t spare2;
    uint64_t segments[PLAIT__LEDGER_SEGMENTS]; /* places: the one after n others has 2^n times the first's records */
    struct plait__record_list free, taken, returned, letters;
    uint64_t gets;      /* the number of the last getting */
    int64_t looked;     /* when deaths were last looked for */
    uint64_t discarded; /* atomic: a figure */

    uint64_t zeros; /* atomic, written under the lock: how often all was done */
    struct plait__eventcount joiners;
};

/* A handle. */
struct plait_queue {
    struct plait__queue_body *body;   /* const */
    struct plait__arena_header *base; /* const: NULL: private */
    plait_arena_t *arena;             /* const: a handle of our own, NULL: private */
    uint64_t skew;                    /* const: from a segment's place to its memory */
    size_t item_size, stride;         /* const: copies of the body's, which may be damaged later */
    uint64_t maxsize, cells;          /* const: the same */
    uint64_t looked_at[2];            /* guarded by the side's lock: the place of a segment that was found to be one */
    struct plait__ledger *ledger;     /* const: NULL: not joinable */
    size_t record_size;               /* const: joinable: bytes from record to record */
    uint32_t record_shift;            /* const: and 2^so many in the first segment (record.h) */
    struct plait_queue *dead_letters; /* const: a handle of our own on that queue, NULL: there is none */
    bool is_plain;                    /* const: FIFO, and not joinable */
    bool is_pile;                     /* const: not FIFO */
    bool is_brief;                    /* const: shared, FIFO, not joinable: steps may hold the lock briefly (brief.h) */
    bool is_message;    /* const: each item is a message of its own length (mail.h) */
    size_t slips_below; /* const: shorter messages than that lie in the queue itself; 0: none does */
    size_t slip_near;   /* const: so many bytes of them in the item, others in its annex */
    uint64_t annex_looked_at[2]; /* guarded by the side's lock: the place of an annex that was found to be one */
    unsigned annex_refusals;     /* guarded by the putters' lock: parcels that were made since there was no memory for an annex */
};

/* The memory that a place names, of all but the cells of a ring. */
static inline void *plait__memory_at(const struct plait_queue *q, uint64_t place)
{
    return (void *)((uintptr_t)q->base + (uintptr_t)(place + q->skew));
}

/* Does a place name a block, of at least that size? */
static inline bool plait__queue_is_block(const struct plait_queue *q, uint64_t place, uint64_t size)
{
    return size < q->base->limit && plait__arena_block_is_used(q->base, place + q->skew, size);
}

/* The holder of the side's lock has died: find `at` and `segment` again. May itself be killed and repeated. EBADMSG: damaged. */
int plait__fifo_repair_put(struct plait_queue *q);
int plait__fifo_repair_get(struct plait_queue *q);

/* Make the cells of a new queue; give them back. */
int plait__fifo_make(struct plait_queue *q);
void plait__fifo_unmake(struct plait_queue *q);

/* Are the places in the body such that they can be followed? For opening by reference. */
bool plait__fifo_is_sound(struct plait_queue *q);

/* Items in it. */
size_t plait__fifo_size(const struct plait_queue *q);

/* Discard the first item of a bounded one, with both locks held. EAGAIN: there is none. */
int plait__fifo_skip(struct plait_queue *q);

/* Copy up to `max` items, from the first on, with both locks held. */
size_t plait__fifo_copy(struct plait_queue *q, void *items, size_t max);

/*
 * The same for LIFO and by priority. Steps, with the lock held: 0, or EAGAIN: full, empty; ENOMEM, ENOSPC. The priority is taken
 * and told as the user sees it (NULL: not).
 */
int plait__pile_put(struct plait_queue *q, const void *item, int64_t priority);
int plait__pile_get(struct plait_queue *q, void *item, int64_t *priority_out);
int plait__pile_peek(struct plait_queue *q, void *item);
int plait__pile_first_priority(const struct plait_queue *q, int64_t *priority_out); /* of what get would take */
int plait__pile_skip(struct plait_queue *q);

/* At the other ends of a deque; of skip_back, peek_back's. */
int plait__pile_put_front(struct plait_queue *q, const void *item);
int plait__pile_get_back(struct plait_queue *q, void *item);
int plait__pile_peek_back(struct plait_queue *q, void *item);
int plait__pile_skip_back(struct plait_queue *q);

/* An item where it lies, NULL: there is none; and take it out, as it is there. */
void *plait__pile_look(const struct plait_queue *q, enum plait__queue_from from);
void plait__pile_take_out(struct plait_queue *q, enum plait__queue_from from);

size_t plait__pile_copy(struct plait_queue *q, void *items, size_t max);

/* The holder of the lock has died: finish or undo what it did. May itself be killed and repeated. EBADMSG: damaged. */
int plait__pile_repair(struct plait_queue *q);

/* The number by which a priority is ordered, least first; and back. */
static inline int64_t plait__pile_key(const struct plait_queue *q, int64_t priority)
{
    return q->body->largest_first ? ~priority : priority;
}

uint64_t plait__pile_stride(uint64_t item_size, uint32_t kind);
int plait__pile_make(struct plait_queue *q);
void plait__pile_unmake(struct plait_queue *q);
bool plait__pile_is_sound(struct plait_queue *q);
size_t plait__pile_size(const struct plait_queue *q);

#endif
