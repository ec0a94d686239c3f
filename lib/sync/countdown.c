/* SPDX-License-Identifier: MIT */
/*
 * How it works: one word of 64 bits, changed as a whole; the upper half is the one to sleep on.
 *
 *     bits 0-31   the number
 *     bit 32      SLEEPERS  somebody sleeps, or is about to
 *     bits 33-63  round     how often it fell to 0, modulo 2^31
 *
 * Who lowers it to 0 goes to the next round and takes SLEEPERS off in the same exchange, and wakes all if SLEEPERS was on. A
 * waiter keeps the round in which it came: when the round is another, the number was 0 meanwhile, whatever it is now.
 *
 * No wake is lost: a sleeper has seen SLEEPERS in its round, with a number that is not 0; futex wait compares the upper
 * half again, and any fall to 0 changes that half. Nothing else does, but for SLEEPERS itself, so raising and lowering
 * in between disturb nobody. SLEEPERS left on by one who timed out or died costs one wake. Who dies between exchange and
 * wake: shared waits look again by slices.
 *
 * E1: an exchange that lowers it releases (and acquires, for those before it); seeing 0, or another round, acquires. After
 * the exchange only the address is used, because who waited may free it all.
 */
#include "sync/countdown.h"

#include <errno.h>
#include <limits.h>

#include "base/atomic.h"
#include "wait/waiting.h"

#define NUMBER 0xffffffffu
#define SLEEPERS ((uint64_t)1 << 32)
#define ROUND ((uint64_t)1 << 33)

static uint32_t round_of(uint64_t v)
{
    return (uint32_t)(v >> 33);
}

const uint32_t *plait__countdown_word(const uint64_t *state)
{
    return (const uint32_t *)(const void *)state + (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
}

uint32_t plait__countdown_look(const uint64_t *state)
{
    return (uint32_t)(load64_acquire(state) & NUMBER); /* E1 */
}

int plait__countdown_raise(uint64_t *state, uint32_t n)
{
    uint64_t v = load64_relaxed(state);

    if (n == 0)
        return EINVAL;
    do
        if (n > NUMBER - (v & NUMBER))
            return EOVERFLOW;
    while (!cas64_acqrel(state, &v, v + n));
    return 0;
}

int plait__countdown_lower(uint64_t *state, uint32_t n, unsigned flags)
{
    uint64_t v = load64_relaxed(state);
    uint64_t lower;

    if (n == 0)
        return EINVAL;
    do {
        if (n > (v & NUMBER))
            return EOVERFLOW;
        lower = v - n;
        if ((lower & NUMBER) == 0)
            lower = (lower & ~SLEEPERS) + ROUND;
    } while (!cas64_acqrel(state, &v, lower)); /* E1 */
    if ((lower & NUMBER) == 0 && (v & SLEEPERS))
        plait_wake(plait__countdown_word(state), UINT_MAX, flags);
    return 0;
}

int plait__countdown_wait(uint64_t *state, unsigned flags, plait_time_t deadline)
{
    uint64_t v = load64_acquire(state); /* E1 */
    uint32_t round = round_of(v);
    plait_time_t slice = 0;
    int err = 0;

    for (;;) {
        if ((v & NUMBER) == 0 || round_of(v) != round)
            return 0;
        if (err)
            return err;
        if (deadline > PLAIT_NOW && !(v & SLEEPERS)) {
            if (!cas64_acqrel(state, &v, v | SLEEPERS))
                continue;
            v |= SLEEPERS;
        }
        err = plait__wait_sliced(plait__countdown_word(state), (uint32_t)(v >> 32), flags, deadline, &slice);
        v = load64_acquire(state); /* E1 */
    }
}

/* What is kept is the round in which the call began. */
int plait__countdown_attempt(struct plait__waiting *waiting, const uint64_t *state)
{
    uint64_t v = load64_acquire(state); /* E1 */

    if (!waiting->tried)
        waiting->kept = round_of(v);
    return (v & NUMBER) == 0 || round_of(v) != waiting->kept ? 0 : EAGAIN;
}

bool plait__countdown_enlist(const struct plait__waiting *waiting, uint64_t *state, unsigned flags,
                             struct plait_wait_word *word_out)
{
    uint64_t v = load64_relaxed(state); /* relaxed: the attempt that follows acquires */

    do
        if ((v & NUMBER) == 0 || round_of(v) != waiting->kept)
            return false;
    while (!(v & SLEEPERS) && !cas64_acqrel(state, &v, v | SLEEPERS));
    *word_out = (struct plait_wait_word){ plait__countdown_word(state), (uint32_t)((v | SLEEPERS) >> 32), flags };
    return true;
}
