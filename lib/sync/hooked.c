/* SPDX-License-Identifier: MIT */
/*
 * How it works: a hooked acquire first tries, if the object looks free, so that an acquire which does not wait is known
 * from one that does; only the latter costs two looks at the clock. (It must not try if the object does not look free: a lock
 * handed over to a starving caller would go to whoever tries. And it tries with a deadline in the past, where the caller would wait,
 * because a try with PLAIT_NOW keeps less in order.) The wait is cut once at debug mode's limit, to report it, and goes on.
 */
#include "sync/hooked.h"

#include <errno.h>

#include "base/atomic.h"
#include "sync/debug.h"
#include "sync/stats.h"

/* A deadline that has passed, and is not PLAIT_NOW. */
static const plait_time_t PAST = PLAIT_NOW + 1;

static struct plait__debug_call call_of(const struct plait__hooked_noun *noun, void *object, uint64_t arena_offset,
                                        unsigned count, const void *place)
{
    return (struct plait__debug_call){ noun, object, arena_offset, count, place };
}

static bool is_debugged(const struct plait__hooked_noun *noun)
{
    return (load_relaxed(&plait_hooks) & PLAIT__HOOK_DEBUG) && (noun->flags & PLAIT__HELD);
}

/* Somebody else has it. */
static int wait_for_it(const struct plait__debug_call *call, plait_time_t deadline, plait_time_t limit)
{
    plait_time_t start = plait_now();

    if (limit && deadline > start + limit) {
        int err = call->noun->acquire(call->object, call->count, start + limit);

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
    plait_time_t limit = 0, waited = 0;
    int err = ETIMEDOUT;
    bool contended;

    if (debugged && plait__debug_acquiring(&call, deadline, &limit) != 0)
        return EDEADLK;
    contended = noun->is_busy(object, count);
    if (!contended) {
        err = noun->acquire(object, count, deadline > PAST ? PAST : deadline);
        contended = err == ETIMEDOUT && deadline > PLAIT_NOW;
    }
    if (contended) {
        plait_time_t start = plait_now();

        err = wait_for_it(&call, deadline, limit);
        waited = plait_now() - start;
    }
    if (debugged && (err == 0 || err == EOWNERDEAD))
        plait__debug_got(&call);
    if (figures)
        plait__figures_count(figures, err, contended, waited);
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
