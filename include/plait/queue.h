/* SPDX-License-Identifier: MIT */
/* Queue: items handed from any number of producers to any number of consumers, in the order of its kind. */
#ifndef PLAIT_QUEUE_H
#define PLAIT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/arena.h>
#include <plait/export.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_queue_t - a handle on a queue of items of one size, copied in and copied out. Which item comes out next is
 * its kind, an option: the first that came (FIFO), the last (LIFO), or that of the least priority; or both ends are open. Others
 * make the items messages of any length, and the queue joinable.
 *
 *     plait_queue_t *jobs;
 *     plait_queue_new(&jobs, &(struct plait_queue_opts){ .item_size = sizeof(struct job), .maxsize = 100 });
 *
 *     plait_queue_put(jobs, &job, PLAIT_FOREVER);              // any thread
 *
 *     while (plait_queue_get(jobs, &job, PLAIT_FOREVER) == 0)  // any other
 *         work(&job);                                          // until EPIPE: closed and empty
 *
 * States: open; closed (puts answer EPIPE, gets drain what is there and then answer EPIPE); closed at once
 * (both answer EPIPE, what was there is gone). It never opens again.
 *
 * Order: put and get take effect at one instant each; a put that returned 0 is seen by every get that starts after. FIFO:
 * items come out in the order in which their puts took effect; so each producer's items keep their order. LIFO: the item
 * whose put took effect last comes out first. PRIORITY: the least priority first, and of equal ones the first that came.
 * There is no fairness among producers or among consumers beyond that of locks.
 *
 * Memory order: what a thread did before its put is seen by who got the item. A put is no full barrier, as the release of a mutex is none: "after"
 * is what threads can tell each other, and a clock may be a microsecond or two ahead of that. Who puts an item and then looks at a variable by
 * which getters say that they sleep, and does the same the other way round there, needs a fence of its own between the two.
 *
 * Private, or with .arena shared between processes: then a killed process, at any instruction, leaves the others able
 * to go on; an item whose put had not returned may or may not be there, whole; an item whose get had not
 * returned is got by somebody else or was in the hands of the dead; every other is got exactly once. If the death
 * falls between a put and the waking of a sleeper, that one notices in less than a second.
 *
 * Memory: private: maxsize items at once, or pieces as needed, which are given back as the queue empties; shared: the same, in
 * the arena. Beyond its size (a multiple of 8) an item takes 8 bytes in a FIFO queue, none in a LIFO queue or deque, and 16 in one by
 * priority; there, items of more than 72 bytes have a block of memory each. Messages: see there.
 */
typedef struct plait_queue plait_queue_t;

/* In which order items come out. */
enum plait_queue_kind {
    PLAIT_FIFO = 0,    /* as they went in; putters and getters do not exclude each other */
    PLAIT_LIFO = 1,    /* the latest first */
    PLAIT_PRIORITY = 2, /* the least priority first, equal ones as they went in; put and get take time by the logarithm of qsize */
    PLAIT_DEQUE = 3     /* as they went in, and besides both ends take and give: put_front, get_back */
};

/* What a put does that finds no room. */
enum plait_queue_overflow {
    PLAIT_OVERFLOW_WAIT = 0,        /* waits until the deadline */
    PLAIT_OVERFLOW_REFUSE = 1,      /* answers ETIMEDOUT at once, as if its deadline were PLAIT_NOW */
    PLAIT_OVERFLOW_DROP_OLDEST = 2, /* discards the item that came first, and goes in; not with PLAIT_PRIORITY; in a
                                       PLAIT_DEQUE the one at the other end */
    PLAIT_OVERFLOW_DROP_NEWEST = 3  /* discards its own item, and answers 0 */
};

/* Options of plait_queue_new; zero is the default of each. */
struct plait_queue_opts {
    size_t item_size;     /* bytes an item, 1 to 1 MiB; 0: messages of any length, see below */
    size_t maxsize;       /* most items at one time, exact, up to 2^31; 0: unbounded */
    plait_arena_t *arena; /* NULL: private */
    const char *name;     /* with .arena: open the queue published by this name, or make and publish it */
    enum plait_queue_kind kind;
    enum plait_queue_overflow overflow; /* of a bounded one */
    uint32_t largest_first; /* PRIORITY: not 0: the largest priority comes out first; equal ones still as they went in */
    uint32_t joinable;      /* not 0: what is got is the queue's until it is done, see below */
    uint32_t max_deliveries; /* joinable: an item comes out so often at most; 0: until it is done */
    uint32_t spare;          /* must be 0 */
    plait_queue_t *dead_letters; /* joinable, with max_deliveries: where it goes then; NULL: it is discarded */
};

/*
 * Make a queue, or with .name open the one that there is. EINVAL: item_size above 1 MiB, absurd maxsize, a name
 * without arena, or the queue of that name was made with other options; no such kind or overflow; DROP_OLDEST by priority;
 * largest_first without priorities; max_deliveries without joinable; dead_letters without max_deliveries, of another arena or
 * item_size, or with dead letters of its own. EBADMSG: something else has that name.
 * ENOMEM (private), ENOSPC (shared): no room.
 */
PLAIT_API int plait_queue_new_sized(plait_queue_t **queue_out, const struct plait_queue_opts *opts,
                                    size_t opts_size);

PLAIT_API int plait_queue_new(plait_queue_t **queue_out, const struct plait_queue_opts *opts);
PLAIT_INLINE_ALWAYS int plait_queue_new(plait_queue_t **queue_out, const struct plait_queue_opts *opts)
{
    return plait_queue_new_sized(queue_out, opts, sizeof(struct plait_queue_opts));
}

/*
 * Drop the handle; NULL is allowed. A private queue is destroyed, with the items in it: nobody may be using
 * it (close it and join its users first). A shared one stays in the arena for the other handles and references; it is
 * destroyed by plait_queue_destroy, or with the arena.
 */
PLAIT_API int plait_queue_free(plait_queue_t *queue);

/*
 * Destroy a shared queue and drop the handle: its memory goes back to the arena, and its names are free again. No process may use it any more;
 * handles that are left may only be dropped. For a private one the same as plait_queue_free.
 */
PLAIT_API int plait_queue_destroy(plait_queue_t *queue);

/* Name a shared queue in plain bytes, for plait_queue_open. EINVAL: it is private. */
PLAIT_API int plait_queue_ref(const plait_queue_t *queue, plait_ref_t *ref_out);

/*
 * Make a handle on the shared queue that `ref` names. EBADMSG: there is no queue there. ENOENT, EINVAL as
 * plait_ref_open. ENOMEM.
 */
PLAIT_API int plait_queue_open(plait_queue_t **queue_out, plait_ref_t ref);

/* Publish a shared queue under a name in its arena, and find it there: plait_arena_publish, plait_arena_lookup
 * and plait_queue_open in one. Errors as theirs. */
PLAIT_API int plait_queue_publish(plait_queue_t *queue, const char *name);
PLAIT_API int plait_queue_lookup(plait_queue_t **queue_out, plait_arena_t *arena, const char *name);

/*
 * Put a copy of *item in, waiting for room until the deadline; wakes one getter. In a queue by priority it has priority 0.
 * Returns
 *   0          done, or discarded by PLAIT_OVERFLOW_DROP_NEWEST
 *   ETIMEDOUT  full until the deadline; with PLAIT_NOW or PLAIT_OVERFLOW_REFUSE: full, or somebody was amid a put for 100 ms (a
 *              process that is stopped, as a rule)
 *   EPIPE      closed, before or meanwhile; not put
 *   ECANCELED  the caller's cancel token was set before there was room
 *   ENOMEM, ENOSPC  unbounded, or large items by priority: no memory for it
 *   EBADMSG, ENOTRECOVERABLE  shared: the memory is damaged
 * Not for signal handlers.
 */
PLAIT_API int plait_queue_put(plait_queue_t *queue, const void *item, plait_time_t deadline);

/*
 * Take the item that is next into *item, waiting for one until the deadline; wakes one putter. Returns
 *   0          done
 *   ETIMEDOUT  empty until the deadline; with PLAIT_NOW: empty, or somebody was amid a get for 100 ms
 *   EPIPE      closed and empty, or closed at once
 *   ECANCELED  the caller's cancel token was set before there was an item
 *   EBADMSG, ENOTRECOVERABLE  shared: the memory is damaged
 */
PLAIT_API int plait_queue_get(plait_queue_t *queue, void *item, plait_time_t deadline);

/*
 * Put with a priority, and get with the priority that the item was put with (priority_out may be NULL). As put and get;
 * besides, EINVAL: the queue is not PLAIT_PRIORITY.
 *
 *     plait_queue_new(&jobs, &(struct plait_queue_opts){ .item_size = sizeof job, .kind = PLAIT_PRIORITY });
 *     plait_queue_put_priority(jobs, &job, job.due, PLAIT_FOREVER);
 *     plait_queue_get_priority(jobs, &job, &due, PLAIT_FOREVER);     // the one that is due first
 */
PLAIT_API int plait_queue_put_priority(plait_queue_t *queue, const void *item, int64_t priority,
                                       plait_time_t deadline);
PLAIT_API int plait_queue_get_priority(plait_queue_t *queue, void *item, int64_t *priority_out,
                                       plait_time_t deadline);

/*
 * The other ends of a PLAIT_DEQUE: put before what would come out next, and get what would come out last. Put and get are its ends
 * as a FIFO queue's, so it is Python's collections.deque with put for append, put_front for appendleft, get for popleft, and
 * get_back for pop. As put and get; besides, EINVAL: the queue is not a PLAIT_DEQUE. For messages there are commit_front and
 * borrow_back.
 */
PLAIT_API int plait_queue_put_front(plait_queue_t *queue, const void *item, plait_time_t deadline);
PLAIT_API int plait_queue_get_back(plait_queue_t *queue, void *item, plait_time_t deadline);

/*
 * Batches, for less than the price of as many calls. put_many puts `count` items (an array of them) in, in their order, waiting
 * for room until the deadline; *done_out (may be NULL) receives how many are in, which is fewer only with an error.
 * get_many takes up to `max` items, waiting until it has at least `min`, in the order in which they come out; *count_out
 * receives how many it took, which is fewer than min only with an error: 1 takes what there is, max all, and with 0 it
 * never waits. They are not one step: other calls may come in between, and who is killed has put or taken a part. Return as put
 * and get; besides, EINVAL, and nothing done: min is above max.
 */
PLAIT_API int plait_queue_put_many(plait_queue_t *queue, const void *items, size_t count, size_t *done_out,
                                   plait_time_t deadline);
PLAIT_API int plait_queue_get_many(plait_queue_t *queue, void *items, size_t min, size_t max, size_t *count_out,
                                   plait_time_t deadline);

/* Copy what get would take into *item, and leave it there for anybody. Returns as get. */
PLAIT_API int plait_queue_peek(plait_queue_t *queue, void *item, plait_time_t deadline);

/*
 * Copy up to `max` items that are in the queue at one instant, for looking at it: those that would come out first, in that
 * order, but by priority those that happen to lie in front, the first one first. *count_out receives how many. Puts and gets
 * wait meanwhile. 0, also when closed; or ENOTRECOVERABLE: damaged.
 */
PLAIT_API int plait_queue_snapshot(plait_queue_t *queue, void *items, size_t max, size_t *count_out);

/* Which getting of which item of a joinable queue, see below: plain bytes, valid in the process that got it. */
struct plait_ticket {
    uint64_t number;      /* 0: none */
    uint32_t record;      /* the library's */
    uint32_t redelivered; /* so many processes had got this item and died before it was done */
    int64_t priority;     /* that it was put with */
};

/*
 * Messages of any length, 0 bytes included: a queue with .item_size = 0, of any kind. The calls above, which are about
 * items of one size, answer EINVAL there, and those below do so everywhere else; all others are for both.
 *
 *     plait_queue_new(&lines, &(struct plait_queue_opts){ .maxsize = 100, .arena = arena });
 *
 *     plait_queue_put_bytes(lines, text, strlen(text), PLAIT_FOREVER);             // copied once in
 *     plait_queue_get_bytes(lines, buffer, sizeof buffer, &size, PLAIT_FOREVER);   // and once out
 *
 * Without any copy, the message is made, and looked at, where it lies:
 *
 *     struct plait_message m;
 *
 *     plait_queue_reserve(lines, 4096, &m);              // a producer: memory of its own
 *     m.size = read(fd, m.data, m.size);
 *     plait_queue_commit(lines, &m, PLAIT_FOREVER);      // in it goes
 *
 *     plait_queue_borrow(lines, &m, PLAIT_FOREVER);      // a consumer: takes it out, as get does
 *     work(m.data, m.size);
 *     plait_queue_give_back(lines, &m);
 *
 * What reserve and borrow gave belongs to the process until commit or give_back: any thread of it may write it and call them. If
 * the process dies, the message is gone with it; its memory is given back when the queue finds none, or is destroyed.
 * maxsize counts messages; the length of one is bounded by memory alone.
 *
 * A message takes 32 bytes of a FIFO queue, 72 of a LIFO queue or deque, 88 of one by priority. One of up to 64 bytes that put_bytes put lies
 * in there, and needs no block to come in or to be copied out; borrow lends a copy, for which it needs one. In a FIFO queue the first one of
 * more than 16 bytes has the queue allocate 48 bytes more for each message that there can be (unbounded: in that piece of the queue, for some 500);
 * where there is no memory for that, it has a block. Any other message has a block of its own besides, with 32 bytes (shared: 48,
 * rounded up to a size of the arena's) beside its own. In a joinable queue all have, and take what an item of 8 bytes takes.
 */
struct plait_message {
    void *data;       /* its bytes, aligned to 16; NULL: there is none */
    size_t size;      /* how many */
    int64_t priority; /* that it goes in with, or came out with */
    struct plait_ticket ticket; /* what borrow gave: of a joinable queue; else number is 0 */
};

/*
 * Memory for a message of up to `size` bytes, whose contents are not defined, into *message_out, with priority 0. It takes no
 * place in the queue before commit. 0; EINVAL: items of one size; ENOMEM, ENOSPC: no memory; EBADMSG: the arena is damaged.
 */
PLAIT_API int plait_queue_reserve(plait_queue_t *queue, size_t size, struct plait_message *message_out);

/*
 * Put what reserve or borrow gave in, with the size (not above what was reserved) and the priority that it says. Waits
 * for room, and returns, as plait_queue_put; then message->data is NULL. With an error the message is still the caller's.
 * EINVAL: no message, not of this queue, or its size is above what was reserved. EPERM: it belongs to another process.
 */
PLAIT_API int plait_queue_commit(plait_queue_t *queue, struct plait_message *message, plait_time_t deadline);

/*
 * Take the message that is next out, as plait_queue_get does, and lend it to the caller. With an error .data is NULL; besides those,
 * ENOMEM, ENOSPC: no memory for it; it stays, and get_bytes may have it all the same.
 */
PLAIT_API int plait_queue_borrow(plait_queue_t *queue, struct plait_message *message_out, plait_time_t deadline);

/* The same at the other ends of a PLAIT_DEQUE: see plait_queue_put_front. */
PLAIT_API int plait_queue_commit_front(plait_queue_t *queue, struct plait_message *message, plait_time_t deadline);
PLAIT_API int plait_queue_borrow_back(plait_queue_t *queue, struct plait_message *message_out, plait_time_t deadline);

/*
 * Give the memory of what reserve or borrow gave back; then message->data is NULL, and may be so before. 0; EINVAL, EPERM as
 * commit.
 */
PLAIT_API int plait_queue_give_back(plait_queue_t *queue, struct plait_message *message);

/*
 * Put a copy of `size` bytes in, as plait_queue_put does; by priority with 0, or what is said. Returns as plait_queue_put and
 * plait_queue_reserve; besides, EINVAL: a priority, but the queue is not PLAIT_PRIORITY.
 */
PLAIT_API int plait_queue_put_bytes(plait_queue_t *queue, const void *data, size_t size, plait_time_t deadline);
PLAIT_API int plait_queue_put_bytes_priority(plait_queue_t *queue, const void *data, size_t size, int64_t priority,
                                             plait_time_t deadline);

/*
 * Take the message that is next, as plait_queue_get does, into a buffer of `room` bytes; *size_out receives its size. EMSGSIZE:
 * it is larger than that, and stays where it is, for anybody; *size_out receives the size all the same.
 */
PLAIT_API int plait_queue_get_bytes(plait_queue_t *queue, void *buffer, size_t room, size_t *size_out,
                                    plait_time_t deadline);

/*
 * Joinable, by an option: work that was handed out and is not done is not forgotten.
 *
 *     plait_queue_new(&jobs, &(struct plait_queue_opts){ .item_size = sizeof job, .arena = arena, .joinable = 1 });
 *
 *     while (plait_queue_get(jobs, &job, PLAIT_FOREVER) == 0) {    // any process
 *         work(&job);
 *         plait_queue_task_done(jobs, NULL);
 *     }
 *
 *     plait_queue_join(jobs, plait_after(60));                     // whoever wants to know that all is done
 *
 * An item that was got stays with the process that got it (any thread of it) until it is done. Should the process die or
 * exit before, the item comes out again, in less than a second if somebody waits in get or join, else when that is noticed: before all
 * others, or by priority where it belongs, and beyond maxsize. So work is done at least once; a stopped process is alive, and keeps what it got.
 * An item whose consumers die of it would come again for ever: with max_deliveries it goes to the queue dead_letters
 * after so many deaths, once there is room in it; what overflow rule that has does not matter. dead_letters must outlive the queue.
 *
 * Closed: gets answer EPIPE when nothing is left to get, though others may have items that are not done, and that may come back:
 * who must have them all done joins, and gets again if that takes too long. Closed at once, what comes back is discarded.
 *
 * With messages: what get_bytes copied, and borrow lent, is the queue's until it is done: then its memory is given back.
 * plait_queue_give_back and plait_queue_commit answer EINVAL to it.
 *
 * Beside what else it needs an item that is not done takes 64 bytes and its size; that memory stays with the queue for the next.
 */

/*
 * As plait_queue_get, and the ticket of what was got into *ticket_out (number 0 with an error). Borrow has it in the message.
 * EINVAL: not joinable.
 */
PLAIT_API int plait_queue_get_ticket(plait_queue_t *queue, void *item, struct plait_ticket *ticket_out,
                                     plait_time_t deadline);

/*
 * The ticket of what the caller (a thread, or fiber) got last from the queue, in whichever way, and is not done. EINVAL: nothing;
 * not joinable.
 */
PLAIT_API int plait_queue_taken(plait_queue_t *queue, struct plait_ticket *ticket_out);

/*
 * What was got is done. With a ticket: that; NULL: the oldest that the caller got and is not done, or if there is none, that its
 * process did. Returns
 *   0
 *   EOVERFLOW  once too many: it is done already; NULL: nothing that the process got is not done
 *   EPERM      another process got it
 *   EINVAL     not joinable
 */
PLAIT_API int plait_queue_task_done(plait_queue_t *queue, const struct plait_ticket *ticket);

/*
 * Wait until all that was put is done: nothing is in the queue, nor got and not done, at one instant during the call. Returns 0,
 * ETIMEDOUT, ECANCELED, or EINVAL: not joinable. Any number may join; also when it is closed.
 */
PLAIT_API int plait_queue_join(plait_queue_t *queue, plait_time_t deadline);

/* Items that join waits for, at some instant during the call; 0 if not joinable. */
PLAIT_API size_t plait_queue_unfinished(const plait_queue_t *queue);

/*
 * The calls as entries of plait_wait_any: get from whichever of several queues has an item, put to whichever has room. What a
 * pointer says is read, or written, only if that entry wins. There a put waits also with PLAIT_OVERFLOW_REFUSE, and
 * what a call answers EINVAL to, its entry does. Batches and copies of messages have none: commit and borrow serve.
 */
PLAIT_API struct plait_wait_entry plait_any_queue_put(plait_queue_t *queue, const void *item);
PLAIT_API struct plait_wait_entry plait_any_queue_put_priority(plait_queue_t *queue, const void *item, int64_t priority);
PLAIT_API struct plait_wait_entry plait_any_queue_put_front(plait_queue_t *queue, const void *item);
PLAIT_API struct plait_wait_entry plait_any_queue_get(plait_queue_t *queue, void *item);
PLAIT_API struct plait_wait_entry plait_any_queue_get_priority(plait_queue_t *queue, void *item, int64_t *priority_out);
PLAIT_API struct plait_wait_entry plait_any_queue_get_ticket(plait_queue_t *queue, void *item,
                                                             struct plait_ticket *ticket_out);
PLAIT_API struct plait_wait_entry plait_any_queue_get_back(plait_queue_t *queue, void *item);
PLAIT_API struct plait_wait_entry plait_any_queue_peek(plait_queue_t *queue, void *item);
PLAIT_API struct plait_wait_entry plait_any_queue_commit(plait_queue_t *queue, struct plait_message *message);
PLAIT_API struct plait_wait_entry plait_any_queue_commit_front(plait_queue_t *queue, struct plait_message *message);
PLAIT_API struct plait_wait_entry plait_any_queue_borrow(plait_queue_t *queue, struct plait_message *message_out);
PLAIT_API struct plait_wait_entry plait_any_queue_borrow_back(plait_queue_t *queue, struct plait_message *message_out);
PLAIT_API struct plait_wait_entry plait_any_queue_join(plait_queue_t *queue);

/*
 * Close the queue: no more puts; what is in it can still be got. Every putter that waits answers EPIPE, and every getter
 * once nothing is left. Closing again changes nothing. Always 0.
 */
PLAIT_API int plait_queue_close(plait_queue_t *queue);

/* Close it at once: as close, and what is in it is discarded. Always 0, also after close. */
PLAIT_API int plait_queue_close_now(plait_queue_t *queue);

/* Is it closed, in either way? */
PLAIT_API bool plait_queue_is_closed(const plait_queue_t *queue);

/* Items in it, at some instant during the call. */
PLAIT_API size_t plait_queue_qsize(const plait_queue_t *queue);

/* Nothing in it; no room in it (never, if unbounded): racy, as qsize. */
PLAIT_API bool plait_queue_is_empty(const plait_queue_t *queue);
PLAIT_API bool plait_queue_is_full(const plait_queue_t *queue);

/* Items discarded since it was made, by the overflow rule or after max_deliveries. Who was killed meanwhile may have left one uncounted. */
PLAIT_API unsigned long long plait_queue_dropped(const plait_queue_t *queue);

/* The options it was made with. */
PLAIT_API size_t plait_queue_maxsize(const plait_queue_t *queue);
PLAIT_API size_t plait_queue_item_size(const plait_queue_t *queue);
PLAIT_API enum plait_queue_kind plait_queue_kind(const plait_queue_t *queue);

PLAIT_END_DECLS

#endif
