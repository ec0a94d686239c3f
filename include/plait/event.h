/* SPDX-License-Identifier: MIT */
/* Event: a flag that many wait for. */
#ifndef PLAIT_EVENT_H
#define PLAIT_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/export.h>
#include <plait/lock.h>
#include <plait/wait.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_event_t - set or clear; waiting for a set one costs a load.
 *
 *     static plait_event_t database_up;              // all-zero bytes: private and clear
 *
 *     plait_event_set(&database_up);                 // one side
 *
 *     plait_event_wait(&database_up, plait_after(30));   // any number on the other
 *
 * set wakes everybody who waits, and each of them returns 0 even if the event is cleared again before
 * they run: a set between a waiter's start and its return is never missed. What was written before a set is seen by whom it
 * releases.
 *
 * With PLAIT_SHARED, in an arena, it serves processes; a process that dies after setting it and before
 * waking the sleepers delays them by less than a second, and killed waiters leave nothing behind.
 *
 * set, clear and is_set are async-signal-safe, also in the handler of a thread that waits for the event.
 */
typedef struct plait_event {
    uint32_t word;         /* atomic: bit 0 set, bit 1 sleepers, above: how many times it was set */
    uint32_t mode;         /* const after init: flags */
    uint64_t arena_offset; /* const after init: distance from the arena's header, 0 if private */
    uint64_t spare[2];
} plait_event_t;

#define PLAIT_EVENT_INIT { 0, 0, 0, { 0, 0 } }

/* Make a clear event. EINVAL: an unknown flag, or PLAIT_SHARED outside an arena. */
PLAIT_API int plait_event_init(plait_event_t *event, unsigned flags);

/* End the event's life; nobody may be waiting. Always 0. */
PLAIT_API int plait_event_fini(plait_event_t *event);

/* Set it and wake all who wait; nothing happens if it is set already. Always 0. */
PLAIT_API int plait_event_set(plait_event_t *event);

/* Clear it. Always 0. */
PLAIT_API int plait_event_clear(plait_event_t *event);

/* Is it set? True or false at the instant of the look; an acquire load. */
PLAIT_API bool plait_event_is_set(const plait_event_t *event);

/*
 * Wait until it is set. 0: it is, or was at some moment since the call began. ETIMEDOUT: not by the deadline.
 * ECANCELED: the caller's cancel token was set first.
 */
PLAIT_API int plait_event_wait(plait_event_t *event, plait_time_t deadline);

/* plait_event_wait as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_event_wait(plait_event_t *event);

/* What the inlined wait falls back to: the same contract. Not to be called directly. */
PLAIT_API int plait_event_wait_slow(plait_event_t *event, plait_time_t deadline);

#ifndef PLAIT_NO_INLINE
PLAIT_INLINE bool plait_event_is_set(const plait_event_t *event)
{
    return (__atomic_load_n(&event->word, __ATOMIC_ACQUIRE) & 1u) != 0;
}

PLAIT_INLINE int plait_event_wait(plait_event_t *event, plait_time_t deadline)
{
    if (__builtin_expect(PLAIT_HOOKS == 0, 1) && (__atomic_load_n(&event->word, __ATOMIC_ACQUIRE) & 1u))
        return 0;
    return plait_event_wait_slow(event, deadline);
}
#endif

PLAIT_END_DECLS

#endif
