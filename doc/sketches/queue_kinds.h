/* SPDX-License-Identifier: MIT */
/*
 * Sketch. What plait/queue.h grows into: kinds, joining, messages, batches, peeking, overflow, both
 * ends.
 */
#ifndef PLAIT_QUEUE_KINDS_H
#define PLAIT_QUEUE_KINDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/arena.h>
#include <plait/export.h>
#include <plait/queue.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * One noun, several kinds. Put, get, close, the figures, the handles and what happens at a death
 * are the same for all; a program changes one option, and no call.
 *
 *     struct job {
 *         int64_t priority;                      // the least comes out first
 *         char path[120];
 *     };
 *
 *     plait_queue_t *jobs;
 *     plait_queue_new(&jobs, &(struct plait_queue_opts){
 *         .item_size = sizeof(struct job), .kind = PLAIT_PRIORITY, .joinable = 1, .arena = arena });
 *
 *     while (plait_queue_get(jobs, &job, PLAIT_FOREVER) == 0) {
 *         work(&job);                    // killed here: another consumer gets this job again
 *         plait_queue_task_done(jobs, NULL);
 *     }
 */

/* In which order items come out. */
enum plait_queue_kind {
    PLAIT_FIFO = 0,     /* as they went in */
    PLAIT_LIFO = 1,     /* the latest first */
    PLAIT_PRIORITY = 2, /* the least priority first; equal ones as they went in */
    PLAIT_DEQUE = 3     /* as FIFO, and both ends take and give */
};

/* What a put does when there is no room. */
enum plait_overflow {
    PLAIT_BLOCK = 0,       /* waits until the deadline */
    PLAIT_DROP_OLDEST = 1, /* discards what would come out first, and goes in; never waits */
    PLAIT_DROP_NEWEST = 2  /* discards the item itself, and answers 0; never waits */
};

/*
 * How struct plait_queue_opts grows: members are only ever added at the end, each at or after the
 * size that the struct had before, so none comes to lie in what was padding. The inlined
 * plait_queue_new passes the size that its program was compiled with; the library takes what is
 * beyond as zero.
 */
struct plait_queue_opts_grown {
    size_t item_size; /* 0: messages of any length */
    size_t maxsize;   /* items or messages */
    plait_arena_t *arena;
    const char *name;
    enum plait_queue_kind kind;
    enum plait_overflow overflow;
    size_t maxbytes; /* messages: most bytes at one time; 0: unbounded */
    size_t
        priority_offset; /* PRIORITY: where in the item its int64_t stands; in messages as well */
    uint32_t joinable;   /* not 0: an item is unfinished until task_done */
    uint32_t spare;      /* must be 0 */
};

_Static_assert(offsetof(struct plait_queue_opts_grown, item_size) ==
                       offsetof(struct plait_queue_opts, item_size) &&
                   offsetof(struct plait_queue_opts_grown, maxsize) ==
                       offsetof(struct plait_queue_opts, maxsize) &&
                   offsetof(struct plait_queue_opts_grown, arena) ==
                       offsetof(struct plait_queue_opts, arena) &&
                   offsetof(struct plait_queue_opts_grown, kind) >= sizeof(struct plait_queue_opts),
               "old programs' options keep their places");

/*
 * Messages: put and get for item_size 0. A message may be empty. plait_queue_put and
 * plait_queue_get answer EINVAL on such a queue, and these on any other. Beyond what those return:
 *   EMSGSIZE  put: longer than the queue can ever take
 *   EMSGSIZE  get: longer than `buffer_size`; it stays first, and *size_out is its length
 */
PLAIT_API int plait_queue_put_message(plait_queue_t *queue, const void *bytes, size_t size,
                                      plait_time_t deadline);
PLAIT_API int plait_queue_get_message(plait_queue_t *queue, void *buffer, size_t buffer_size,
                                      size_t *size_out, plait_time_t deadline);

/*
 * Batches. put_many appends `count` items, waiting for room until the deadline; *done_out (may be
 * NULL) receives how many went in, fewer only with an error. They are not one step: those of others
 * may come between. get_many waits for one item, and takes with it up to max - 1 that are there;
 * *count_out is not 0 when it returns 0. Return as put and get.
 */
PLAIT_API int plait_queue_put_many(plait_queue_t *queue, const void *items, size_t count,
                                   size_t *done_out, plait_time_t deadline);
PLAIT_API int plait_queue_get_many(plait_queue_t *queue, void *items, size_t max, size_t *count_out,
                                   plait_time_t deadline);

/*
 * Copy what get would take, and leave it there. Returns as get. Another consumer may take it at
 * once.
 */
PLAIT_API int plait_queue_peek(plait_queue_t *queue, void *item, plait_time_t deadline);

/*
 * The other ends of a deque: put before the first, get the last. Return as put and get; EINVAL: not
 * a deque.
 */
PLAIT_API int plait_queue_put_front(plait_queue_t *queue, const void *item, plait_time_t deadline);
PLAIT_API int plait_queue_get_back(plait_queue_t *queue, void *item, plait_time_t deadline);

/*
 * An item that was got and is not done, in plain bytes: it may be finished by another thread of the
 * process.
 */
typedef struct plait_ticket {
    uint64_t cell;       /* offset in the arena, or address */
    uint64_t generation; /* a cell is used again: tells the uses apart */
} plait_ticket_t;

/*
 * Joinable queues. taken tells the ticket of the item that the caller (thread or fiber) got last
 * from this queue, and how often it was delivered before: 0, or more if consumers died with it.
 * Either pointer may be NULL. EINVAL: none got.
 */
PLAIT_API int plait_queue_taken(plait_queue_t *queue, plait_ticket_t *ticket_out,
                                unsigned *redelivered_out);

/*
 * Declare an item done: that of the ticket, or with NULL the oldest that the caller got and has not
 * finished. The last unfinished one wakes the joiners. EINVAL, and nothing done: no such item, or
 * done before; not joinable.
 */
PLAIT_API int plait_queue_task_done(plait_queue_t *queue, const plait_ticket_t *ticket);

/*
 * Wait until every item that was put is done. 0, at once if none is unfinished, also after
 * close_now. ETIMEDOUT, ECANCELED. EINVAL: not joinable.
 */
PLAIT_API int plait_queue_join(plait_queue_t *queue, plait_time_t deadline);

/* Items put and not done; items discarded by the overflow rule: at some instant during the call. */
PLAIT_API size_t plait_queue_unfinished(const plait_queue_t *queue);
PLAIT_API unsigned long long plait_queue_dropped(const plait_queue_t *queue);

PLAIT_END_DECLS

#endif
