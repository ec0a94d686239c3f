/* SPDX-License-Identifier: MIT */
/* Broadcast: items handed from any number of publishers to every subscriber. */
#ifndef PLAIT_BROADCAST_H
#define PLAIT_BROADCAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/arena.h>
#include <plait/export.h>
#include <plait/queue.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_broadcast_t - a handle on a ring of items, into which anybody puts; plait_subscriber_t - one who gets each of them,
 * from the place on where it came in.
 *
 *     plait_broadcast_t *prices;
 *     plait_broadcast_new(&prices, &(struct plait_broadcast_opts){ .item_size = sizeof(struct price), .maxsize = 1024 });
 *
 *     plait_broadcast_put(prices, &price, PLAIT_FOREVER);                 // any thread
 *
 *     plait_subscriber_t *me;                                             // any other: as many as there are
 *     plait_broadcast_subscribe(prices, PLAIT_FROM_NEWEST, &me);
 *     while ((err = plait_subscriber_get(me, &price, PLAIT_FOREVER)) != EPIPE)
 *         if (err == EOVERFLOW)
 *             missed = plait_subscriber_missed(me);                       // too slow; only with DROP_OLDEST
 *         else if (err == 0)
 *             work(&price);
 *     plait_subscriber_free(me);
 *
 * States: open; closed (puts answer EPIPE; subscribers get what they have not got yet, and then EPIPE); closed at once (both
 * answer EPIPE). It never opens again.
 *
 * Order: items are numbered by the instants at which their puts took effect; every subscriber gets them in that order, so all
 * see the same one, and each publisher's items keep their order. A put that returned 0 is seen by every get that starts after.
 *
 * The ring keeps the last maxsize items. Who is slow makes it full: a put that would overwrite an item that a subscriber has
 * not got does what .overflow says:
 *     WAIT         waits for the slowest subscriber, until the deadline: nobody misses anything
 *     REFUSE       answers ETIMEDOUT at once
 *     DROP_NEWEST  discards its item for all, and answers 0
 *     DROP_OLDEST  overwrites it: puts wait for nobody. A subscriber who has not got it is told once that it missed items
 *                  (EOVERFLOW), and goes on with the oldest that is there; if it is overtaken there again before it has got
 *                  one, further on.
 * Without subscribers no ring is full: items that nobody gets are overwritten.
 *
 * Subscribers do not disturb one another, and take no lock to get an item. Publishers exclude one another for as long as it
 * takes to copy an item.
 *
 * A subscription belongs to the process that made it; any thread of it may use it, and if several do, each item comes to one of
 * them. In a child of fork a copy of the handle on a shared one holds nothing until its first use there (get, peek, or as an
 * entry of plait_wait_any); from then on it is a subscription of the child's own, which goes on behind what the handle had got
 * when the process was forked: what is no longer in the ring by then, it has missed, and is told so whatever the overflow rule.
 *
 * Private, or with .arena shared between processes: then a killed process, at any instruction, leaves the others able to
 * go on. An item whose put had not returned is there, whole, for all, or for nobody; in a full ring with DROP_OLDEST, the
 * oldest item may be gone for it. A subscription ends with its process, killed or not: publishers who wait notice in less than
 * a second, others when they find the ring full. A stopped process is alive, and holds publishers up who wait for it. If the
 * death falls between a put or get and the waking of sleepers, these notice in less than a second.
 *
 * Memory: for each item its size, rounded up to 8 bytes, and 8 bytes, at once; for each subscription 128 bytes, which are used
 * again.
 */
typedef struct plait_broadcast plait_broadcast_t;
typedef struct plait_subscriber plait_subscriber_t;

/* Options of plait_broadcast_new; zero is the default of each but item_size. */
struct plait_broadcast_opts {
    size_t item_size;     /* bytes an item, 1 to 1 MiB */
    size_t maxsize;       /* items that are kept, exact, up to 2^31; 0: 1024 */
    plait_arena_t *arena; /* NULL: private */
    const char *name;     /* with .arena: open the one published by this name, or make and publish it */
    enum plait_queue_overflow overflow;
    uint32_t spare;       /* must be 0 */
};

/*
 * Make one, or with .name open the one that there is. EINVAL: item_size is 0 or above 1 MiB, absurd maxsize, no such overflow,
 * a name without arena, or the one of that name was made with other options. EBADMSG: something else has that name. ENOMEM
 * (private), ENOSPC (shared): no room.
 */
PLAIT_API int plait_broadcast_new_sized(plait_broadcast_t **broadcast_out, const struct plait_broadcast_opts *opts,
                                        size_t opts_size);

PLAIT_API int plait_broadcast_new(plait_broadcast_t **broadcast_out, const struct plait_broadcast_opts *opts);
PLAIT_INLINE_ALWAYS int plait_broadcast_new(plait_broadcast_t **broadcast_out, const struct plait_broadcast_opts *opts)
{
    return plait_broadcast_new_sized(broadcast_out, opts, sizeof(struct plait_broadcast_opts));
}

/*
 * Drop the handle; NULL is allowed. A private one is closed, and its memory goes with its last subscriber: nobody may be
 * putting. A shared one stays in the arena for the other handles, references and subscribers. Always 0.
 */
PLAIT_API int plait_broadcast_free(plait_broadcast_t *broadcast);

/*
 * Destroy a shared one and drop the handle: its memory goes back to the arena, its names are free. No process
 * may use it any more; handles and
 * subscribers that are left may only be dropped. For a private one the same as plait_broadcast_free.
 */
PLAIT_API int plait_broadcast_destroy(plait_broadcast_t *broadcast);

/* Name a shared one in plain bytes, for plait_broadcast_open. EINVAL: it is private. */
PLAIT_API int plait_broadcast_ref(const plait_broadcast_t *broadcast, plait_ref_t *ref_out);

/* Make a handle on the shared one that `ref` names. EBADMSG: there is none. ENOENT, EINVAL as plait_ref_open. ENOMEM. */
PLAIT_API int plait_broadcast_open(plait_broadcast_t **broadcast_out, plait_ref_t ref);

/* Publish a shared one under a name in its arena, and find it there: plait_arena_publish, plait_arena_lookup and
 * plait_broadcast_open in one. Errors as theirs. */
PLAIT_API int plait_broadcast_publish(plait_broadcast_t *broadcast, const char *name);
PLAIT_API int plait_broadcast_lookup(plait_broadcast_t **broadcast_out, plait_arena_t *arena, const char *name);

/*
 * Put a copy of *item in, for all who have subscribed; wakes all who wait for it. What a full ring means is told above. A
 * cancellation point of pthreads where it has to sleep for room. Returns
 *   0          done, or discarded by PLAIT_OVERFLOW_DROP_NEWEST
 *   ETIMEDOUT  full until the deadline; with PLAIT_NOW or PLAIT_OVERFLOW_REFUSE: full. Or another publisher, who is stopped,
 *              was at it until then, and for a tenth of a second at least
 *   EPIPE      closed, before or meanwhile; not put
 *   ECANCELED  the caller's cancel token was set before there was room
 *   ENOSPC     shared: the arena's table of participants is full
 *   EBADMSG, ENOTRECOVERABLE  shared: the memory is damaged
 * Not for signal handlers.
 */
PLAIT_API int plait_broadcast_put(plait_broadcast_t *broadcast, const void *item, plait_time_t deadline);

/* With which item a new subscriber begins. */
enum plait_broadcast_from {
    PLAIT_FROM_NEWEST = 0, /* the next that is put */
    PLAIT_FROM_OLDEST = 1  /* the oldest that is still in the ring: the last maxsize, or all, whoever else has got them */
};

/*
 * Subscribe, closed or not; several times, if that is wanted. A shared one: the subscription belongs to the calling process.
 * EINVAL: no such `from`. ENOMEM; shared, ENOSPC: no room. EBADMSG, ENOTRECOVERABLE: damaged. Waits for a publisher who is at
 * it.
 */
PLAIT_API int plait_broadcast_subscribe(plait_broadcast_t *broadcast, enum plait_broadcast_from from,
                                        plait_subscriber_t **subscriber_out);

/*
 * Unsubscribe, and drop the handle; NULL is allowed; wakes publishers who wait for it. Nobody may be using it. 0; or ENOSPC,
 * and nothing done: the arena's table of participants is full. A child's copy that it has not used is only dropped.
 */
PLAIT_API int plait_subscriber_free(plait_subscriber_t *subscriber);

/*
 * Copy the next item into *item, waiting for one until the deadline. A cancellation point of pthreads where it has to sleep.
 * Returns
 *   0          done
 *   EOVERFLOW  the subscriber has missed items since the last get. Said once: the next get goes on
 *   ETIMEDOUT  nothing new until the deadline; with PLAIT_NOW: nothing new
 *   EPIPE      closed, and all has been got; or closed at once
 *   ECANCELED  the caller's cancel token was set before there was an item
 *   ENOMEM, ENOSPC  at the first use in a child of fork: as plait_broadcast_subscribe
 *   EBADMSG    shared: the memory is damaged
 * With another answer than 0 what is in *item means nothing. Not for signal handlers.
 */
PLAIT_API int plait_subscriber_get(plait_subscriber_t *subscriber, void *item, plait_time_t deadline);

/*
 * Copy up to `max` items, the next ones, into an array, waiting until there are at least `min`; *count_out receives how many,
 * which is fewer than min only with an error: 1 takes what there is, and with 0 it never waits. Returns as get; EOVERFLOW:
 * what was got lies before what was missed. Besides, EINVAL, and nothing done: min is above max.
 */
PLAIT_API int plait_subscriber_get_many(plait_subscriber_t *subscriber, void *items, size_t min, size_t max,
                                        size_t *count_out, plait_time_t deadline);

/* Copy what get would into *item, and do not go on. Returns as get. */
PLAIT_API int plait_subscriber_peek(plait_subscriber_t *subscriber, void *item, plait_time_t deadline);

/* How many items the subscriber has missed by now, of those that it was told of. */
PLAIT_API unsigned long long plait_subscriber_missed(const plait_subscriber_t *subscriber);

/*
 * How far the subscriber is behind: items that were put and that it has not got, at some instant during the call; more than
 * maxsize: some of them it will miss. In a child of fork, before the first use, as at the fork.
 */
PLAIT_API size_t plait_subscriber_lag(const plait_subscriber_t *subscriber);

/*
 * plait_broadcast_put and plait_subscriber_get as entries of plait_wait_any, which answers as they do. *item is read, or
 * written, only if that entry wins. There a put waits also with PLAIT_OVERFLOW_REFUSE.
 */
PLAIT_API struct plait_wait_entry plait_any_broadcast_put(plait_broadcast_t *broadcast, const void *item);
PLAIT_API struct plait_wait_entry plait_any_subscriber_get(plait_subscriber_t *subscriber, void *item);

/*
 * No more puts: every publisher who waits answers EPIPE, and every subscriber once it has got what there is. Closing again
 * changes nothing. 0; or ENOSPC, ENOTRECOVERABLE as put. Waits for a publisher who is at it.
 */
PLAIT_API int plait_broadcast_close(plait_broadcast_t *broadcast);

/* Close it at once: as close, and what is in it is not to be had any more. Also after close. */
PLAIT_API int plait_broadcast_close_now(plait_broadcast_t *broadcast);

/* Is it closed, in either way? */
PLAIT_API bool plait_broadcast_is_closed(const plait_broadcast_t *broadcast);

/* Items in the ring that some subscriber has not got yet, at some instant during the call; 0 without subscribers. */
PLAIT_API size_t plait_broadcast_qsize(const plait_broadcast_t *broadcast);

/*
 * Living subscribers, at some instant during the call, *count_out: of all processes. 0; or ENOSPC, EBADMSG, ENOTRECOVERABLE, as
 * subscribe. Whose process has died is taken off here, too.
 */
PLAIT_API int plait_broadcast_subscribers(plait_broadcast_t *broadcast, size_t *count_out);

/* Items that were put since it was made; items that PLAIT_OVERFLOW_DROP_NEWEST discarded. */
PLAIT_API unsigned long long plait_broadcast_published(const plait_broadcast_t *broadcast);
PLAIT_API unsigned long long plait_broadcast_dropped(const plait_broadcast_t *broadcast);

/* The options it was made with. */
PLAIT_API size_t plait_broadcast_maxsize(const plait_broadcast_t *broadcast);
PLAIT_API size_t plait_broadcast_item_size(const plait_broadcast_t *broadcast);
PLAIT_API enum plait_queue_overflow plait_broadcast_overflow(const plait_broadcast_t *broadcast);

PLAIT_END_DECLS

#endif
