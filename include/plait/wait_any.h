/* SPDX-License-Identifier: MIT */
/* Wait for the first of several objects, of any kind. */
#ifndef PLAIT_WAIT_ANY_H
#define PLAIT_WAIT_ANY_H

#include <stddef.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * An entry is an operation, the object it is done on, and where needed a buffer or a number. Each noun's header has a function
 * that makes one for each of its operations that can take part: plait_any_noun_verb, with the arguments of plait_noun_verb
 * without the deadline. plait_wait_any performs exactly one of the entries, and leaves the objects of the others as they
 * were: no item is taken and put back, no permit set aside, no wake-up kept from somebody else.
 *
 *     struct plait_wait_entry entry[] = {
 *         plait_any_first(plait_any_event_wait(&shutting_down)),
 *         plait_any_queue_get(orders, &order),
 *         plait_any_process_join(worker),
 *     };
 *     size_t which;
 *     int err = plait_wait_any(entry, 3, &which, plait_after(10));
 *     if (which == 1 && err == 0)
 *         serve(&order);
 *
 * Private and shared objects may be mixed, an object may stand in several entries, and the array is only read: it can be used
 * again, and by several callers at a time. Threads and fibers may call it, not signal handlers. The objects, and what an
 * entry points to, must live until the call returns. A caller that is killed in it leaves nothing behind; a wake-up that
 * was on its way to it reaches another sleeper in less than a second.
 *
 * Which one: of several that can be performed at once, those marked by plait_any_first come first, the lowest index
 * first; among the rest the choice begins at a random place, so that in a loop none is kept waiting for ever by others
 * that are always ready.
 */
struct plait_wait_entry {
    const struct plait_waitable *how; /* the operation, as its noun does it; NULL: none, refused */
    void *object;
    void *buffer;
    uint64_t size;  /* bytes or permits, where the operation wants a number */
    uint32_t first; /* not 0: before those that have 0 here */
    uint32_t spare;
};

/* The most entries of one call. Above 16 of them it uses 20 KiB of stack, above 120 another 12. */
#define PLAIT_WAIT_ANY_MAX 512

/*
 * Wait until one of the entries can be performed, and perform it. *index_out (may be NULL) receives its index. Returns what the
 * operation returned, which need not be 0 (EPIPE from a closed queue, EOWNERDEAD from a lock that the caller now holds,
 * EINVAL from a thread that was never started); or, with *index_out = count and nothing performed:
 *   ETIMEDOUT  none by the deadline; with PLAIT_NOW: none can be performed at once
 *   ECANCELED  the caller's cancel token was set first
 *   EINVAL     entries is NULL, count is 0 or above PLAIT_WAIT_ANY_MAX, or an entry has no operation
 * The wait is one system call, up to about 120 entries. Allocates nothing.
 */
PLAIT_API int plait_wait_any(const struct plait_wait_entry *entries, size_t count, size_t *index_out,
                             plait_time_t deadline);

/* The same entry, to be tried before those that are not so marked. */
PLAIT_API struct plait_wait_entry plait_any_first(struct plait_wait_entry entry);

#ifndef PLAIT_NO_INLINE
PLAIT_INLINE struct plait_wait_entry plait_any_first(struct plait_wait_entry entry)
{
    entry.first = 1;
    return entry;
}
#endif

PLAIT_END_DECLS

#endif
