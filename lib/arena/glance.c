/* SPDX-License-Identifier: MIT */
/*
 * How it works: a thread that glances says so in its slot, with a plain store; who wants to give pages back makes the barrier for both, by
 * an interruption of all processes that have registered for it (base/fence.h), and then looks through the slots.
 *
 * E1: glancing = 1, looks, glancing = 0 here; pages are free, fence, look at `glancing`, pages go there. Either the fence comes after the
 * first store, and the second one is waited for (the pages stay), or it comes before all looks, which then find what was so after
 * the pages had become free: no way to them. Where the kernel does not make this fence the pages stay.
 * E2: `glanced` is set under the arena's lock before the first glance, so who holds the lock and does not find it set needs no fence: the
 * first glance begins after it has given back the lock.
 *
 * Who is killed while it glances does so no more: its slot is empty, and who claims that clears the word. Whoever is stopped while it
 * glances keeps pages where they are.
 */
#include "arena/glance.h"

#include "arena/arena.h"
#include "base/fence.h"
#include "base/races.h"

uint32_t plait__glance_epoch = PLAIT__EPOCH_NONE;

static uint32_t tried_epoch = PLAIT__EPOCH_NONE; /* atomic: where it was tried, with what success */

static void register_process(void)
{
    uint32_t epoch = plait__fork_epoch_renew();

    if (load_relaxed(&tried_epoch) == epoch)
        return;
    if (plait__races_can_look() && plait__fence_join())
        store_relaxed(&plait__glance_epoch, epoch); /* relaxed: the kernel has it, for all threads */
    store_relaxed(&tried_epoch, epoch);
}

void plait__glance_prepare(struct plait__arena_header *h)
{
    if (!load_relaxed(&h->glanced) && plait__arena_lock(h) == 0) { /* relaxed: who finds it has found the way here by another order */
        store_relaxed(&h->glanced, 1); /* E2 */
        plait__arena_unlock(h);
    }
    register_process();
}

bool plait__glances_are_over(const struct plait__arena_header *h)
{
    if (!load_relaxed(&h->glanced)) /* E2 */
        return true;
    if (!plait__fence_all())
        return false;
    for (uint32_t n = 0; n < plait__slots_high(h); n++) {
        const struct plait__slot *slot = plait__slot_at(h, n);

        if (load_acquire(&slot->row.glancing) && !plait__slot_is_empty(slot)) /* E1 */
            return false;
    }
    return true;
}
