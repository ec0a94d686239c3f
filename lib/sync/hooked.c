/* SPDX-License-Identifier: MIT */
/*
 * How it works: whether an acquire has to wait is asked before it, by a look; one that looks free and is taken at that very moment
 * counts as free. (To try first would disturb the order of those who wait: a lock that is kept for a starving caller goes to who
 * tries.) Only who waits looks at the clock. A wait is cut once at debug mode's limit, to report it, and goes on.
 */
#include "sync/hooked.h"

#include <errno.h>

#include "base/atomic.h"
#include "sync/debug.h"
#include "sync/stats.h"

static struct plait__debug_call call_of(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset,
                                        unsigned count, const void *place)
{
    return (struct plait__debug_call){ noun, object, arena_offset, count, place };
}

static bool is_debugged(const struct plait__hooked_noun *noun)
{
    return (load_relaxed(&plait_hooks) & PLAIT__HOOK_DEBUG) && (noun->flags & PLAIT__HELD);
}

/* Acquire it, and report when that takes too long. */
static int wait_for_it(const struct plait__debug_call *call, plait_time_t deadline, plait_time_t limit)
{
    plait_time_t start = limit ? plait_now() : 0;
    int err;

    if (limit && deadline > start + limit) {
        err = call->noun->acquire(call->object, call->count, start + limit);
        if (err != ETIMEDOUT)
            return err;
        plait__debug_waits(call, plait_now() - start);
    }
    return call->noun->acquire(call->object, call->count, deadline);
}

int plait__hooked_acquire(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset, unsigned count,
                          plait_time_t deadline, const void *place)
{
    struct plait__debug_call call = call_of(noun, object, arena_offset, count, place);
    struct plait__figures *figures = plait__figures_of(object);
    bool debugged = is_debugged(noun);
    plait_time_t limit = 0, start;
    bool contended;
    int err;

    if (debugged && plait__debug_acquiring(&call, deadline, &limit) != 0)
        return EDEADLK;
    contended = noun->is_busy(object, count);
    start = contended ? plait_now() : 0;
    err = wait_for_it(&call, deadline, limit);
    if (debugged && (err == 0 || err == EOWNERDEAD))
        plait__debug_got(&call);
    if (figures)
        plait__figures_count(figures, err, contended, contended ? plait_now() - start : 0);
    return err;
}

int plait__hooked_release(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset, unsigned count,
                          const void *place)
{
    struct plait__debug_call call = call_of(noun, object, arena_offset, count, place);
    bool debugged = is_debugged(noun);
    int err;

    if (debugged && plait__debug_gives(&call) != 0)
        return EPERM;
    err = noun->release(object, count);
    if (err == EPERM && debugged)
        plait__debug_refused(&call);
    return err;
}

void plait__hooked_asks(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset, const void *place)
{
    struct plait__debug_call call = call_of(noun, object, arena_offset, 1, place);
    plait_time_t limit;

    if (is_debugged(noun))
        plait__debug_acquiring(&call, PLAIT_FOREVER, &limit);
}

void plait__hooked_got(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset, unsigned count,
                       const void *place)
{
    struct plait__debug_call call = call_of(noun, object, arena_offset, count, place);

    if (is_debugged(noun))
        plait__debug_got(&call);
}

void plait__hooked_gives(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset, unsigned count,
                         const void *place)
{
    struct plait__debug_call call = call_of(noun, object, arena_offset, count, place);

    if (is_debugged(noun))
        plait__debug_gives(&call);
}

void plait__hooked_forget_slow(void *object, uint64_t arena_offset)
{
    plait__debug_forget(object, arena_offset);
}
