/* SPDX-License-Identifier: MIT */
/* How it works is told in the header. */
#include "wait/eventcount.h"

#include <limits.h>

#include <plait/wait.h>

#include "wait/point.h"

enum { SLEEPERS = 1, ROUND = 2 };

uint32_t plait__eventcount_renew(struct plait__eventcount *ec)
{
    uint32_t prepared = __atomic_fetch_or(&ec->word, SLEEPERS, __ATOMIC_SEQ_CST) | SLEEPERS;

    barrier_after_rmw(); /* E1: the caller's look may be a weaker one */
    return prepared;
}

uint32_t plait__eventcount_prepare(struct plait__eventcount *ec)
{
    add_seqcst(&ec->sleepers, 1);
    return plait__eventcount_renew(ec);
}

void plait__eventcount_cancel(struct plait__eventcount *ec)
{
    sub_seqcst(&ec->sleepers, 1);
}

int plait__eventcount_wait(struct plait__eventcount *ec, uint32_t prepared, unsigned flags, plait_time_t deadline,
                           plait_time_t *slice)
{
    int err = plait__wait_point(&ec->word, prepared, flags, deadline, slice);

    sub_seqcst(&ec->sleepers, 1);
    return err;
}

bool plait__eventcount_done(struct plait__eventcount *ec)
{
    if (load_seqcst(&ec->sleepers) == 0)
        return false;
    __atomic_fetch_or(&ec->word, SLEEPERS, __ATOMIC_SEQ_CST);
    barrier_after_rmw(); /* E1 */
    return true;
}

void plait__eventcount_wake(struct plait__eventcount *ec, unsigned count, unsigned flags)
{
    uint32_t v = load_relaxed(&ec->word);

    while (v & SLEEPERS)
        if (cas_seqcst(&ec->word, &v, (v & ~(uint32_t)SLEEPERS) + ROUND)) {
            plait_wake(&ec->word, count, flags);
            return;
        }
}

void plait__eventcount_broadcast(struct plait__eventcount *ec, unsigned flags)
{
    uint32_t v = load_relaxed(&ec->word);

    while (!cas_seqcst(&ec->word, &v, (v & ~(uint32_t)SLEEPERS) + ROUND))
        ;
    plait_wake(&ec->word, UINT_MAX, flags);
}
