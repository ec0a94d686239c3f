/* SPDX-License-Identifier: MIT */
/* Queue: items handed from any number of producers to any number of consumers. */
#ifndef PLAIT_QUEUE_H
#define PLAIT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include <plait/arena.h>
#include <plait/export.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_queue_t - a handle on a first-in first-out queue of items of one size, copied in and copied out.
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
 * Order: items come out in the order in which their puts took effect; so each producer's items keep their order.
 * Put and get take effect at one instant each; a put that returned 0 is seen by every get that starts after. There is
 * no fairness among producers or among consumers beyond that of locks.
 *
 * Private, or with .arena shared between processes: then a killed process, at any instruction, leaves the others able
 * to go on; an item whose put had not returned may or may not be there, whole; an item whose get had not
 * returned is got by somebody else or was in the hands of the dead; every other is got exactly once. If the death
 * falls between a put and the waking of a sleeper, that one notices in less than a second.
 *
 * Memory: private: maxsize items at once, or segments as needed; shared: the same, in the arena.
 */
typedef struct plait_queue plait_queue_t;

/* Options of plait_queue_new; zero is the default of each but item_size. */
struct plait_queue_opts {
    size_t item_size;     /* bytes an item, 1 to 1 MiB */
    size_t maxsize;       /* most items at one time, exact, up to 2^31; 0: unbounded */
    plait_arena_t *arena; /* NULL: private */
    const char *name;     /* with .arena: open the queue published by this name, or make and publish it */
};

/*
 * Make a queue, or with .name open the one that there is. EINVAL: item_size 0 or above 1 MiB, absurd maxsize, a name
 * without arena, or the queue of that name is not of this item_size and maxsize. EBADMSG: something else has that name.
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
 * Destroy a shared queue and drop the handle: its memory goes back to the arena. No process may use it any more;
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
 * Append a copy of *item, waiting for room until the deadline; wakes one getter. Returns
 *   0          done
 *   ETIMEDOUT  full until the deadline; with PLAIT_NOW: full
 *   EPIPE      closed, before or meanwhile; not put
 *   ECANCELED  the caller's cancel token was set before there was room
 *   ENOMEM, ENOSPC  unbounded, and no memory for a further segment
 * Not for signal handlers.
 */
PLAIT_API int plait_queue_put(plait_queue_t *queue, const void *item, plait_time_t deadline);

/*
 * Take the first item into *item, waiting for one until the deadline; wakes one putter. Returns
 *   0          done
 *   ETIMEDOUT  empty until the deadline; with PLAIT_NOW: empty
 *   EPIPE      closed and empty, or closed at once
 *   ECANCELED  the caller's cancel token was set before there was an item
 */
PLAIT_API int plait_queue_get(plait_queue_t *queue, void *item, plait_time_t deadline);

/* plait_queue_put and plait_queue_get as entries of plait_wait_any. *item is read, or written, only if that entry wins. */
PLAIT_API struct plait_wait_entry plait_any_queue_put(plait_queue_t *queue, const void *item);
PLAIT_API struct plait_wait_entry plait_any_queue_get(plait_queue_t *queue, void *item);

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

/* The options it was made with. */
PLAIT_API size_t plait_queue_maxsize(const plait_queue_t *queue);
PLAIT_API size_t plait_queue_item_size(const plait_queue_t *queue);

PLAIT_END_DECLS

#endif
