/* SPDX-License-Identifier: MIT */
/* Event count: sleeping until a condition that is kept elsewhere may have become true. */
#ifndef PLAIT_WAIT_EVENTCOUNT_H
#define PLAIT_WAIT_EVENTCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/time.h>

#include "base/atomic.h"

/*
 * Who finds the condition false prepares, looks again, and only then sleeps; who makes it true signals.
 *
 *     word      bit 0: SLEEPERS, somebody sleeps or is about to; above: rounds
 *     sleepers  how many; may be too high (a killed sleeper), never too low
 *
 * prepare sets SLEEPERS and returns the word; the caller then looks at the condition once more, and sleeps on that
 * word. A signal that finds SLEEPERS takes it off, goes to the next round and wakes one; one that does not find it costs a load.
 *
 * No wake is lost: E1: making the condition true and looking at the word on one side, setting SLEEPERS and looking at the condition
 * on the other, have a full barrier between them; one side sees the other. A signal takes SLEEPERS off
 * although more than one may sleep: therefore who has slept calls done, whether it found what it
 * waited for or gives up: if others sleep it sets SLEEPERS again, and passes the wake on if the condition
 * still holds. A sleeper killed between its wake and done (shared): the others look again by slices.
 */
struct plait__eventcount {
    uint32_t word;     /* atomic */
    uint32_t sleepers; /* atomic */
};

/* Announce a sleep; afterwards look at the condition again, then call wait or cancel. */
uint32_t plait__eventcount_prepare(struct plait__eventcount *ec);

/* Instead of a further prepare, for who sleeps on several words and has not left this one since the last. */
uint32_t plait__eventcount_renew(struct plait__eventcount *ec);

/* The condition was true after all: no sleep. Also for a clean-up handler around plait__eventcount_wait. */
void plait__eventcount_cancel(struct plait__eventcount *ec);

/* Sleep; as plait__wait_point: a cancellation point. */
int plait__eventcount_wait(struct plait__eventcount *ec, uint32_t prepared, unsigned flags, plait_time_t deadline,
                           plait_time_t *slice);

/* After a sleep: true when others sleep, and the caller must signal if the condition holds for them as well. */
bool plait__eventcount_done(struct plait__eventcount *ec);

/* The rest of signal. */
void plait__eventcount_wake(struct plait__eventcount *ec, unsigned count, unsigned flags);

/* The condition is true for one more; call it after barrier_after_rmw() or a sequentially consistent operation (E1). */
static inline void plait__eventcount_signal(struct plait__eventcount *ec, unsigned flags)
{
    if (__builtin_expect(load_seqcst(&ec->word) & 1, 0))
        plait__eventcount_wake(ec, 1, flags);
}

/* Something changed for all. */
void plait__eventcount_broadcast(struct plait__eventcount *ec, unsigned flags);

#endif
