/* SPDX-License-Identifier: MIT */
/* Once: something that is done by the first who comes, while the others wait. */
#ifndef PLAIT_ONCE_H
#define PLAIT_ONCE_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/event.h>
#include <plait/export.h>
#include <plait/rlock.h>
#include <plait/wait.h>

PLAIT_BEGIN_DECLS

/*
 * plait_once_t - a function that has run to success once, or not yet.
 *
 *     static plait_once_t loaded;                    // all-zero bytes: private, not done
 *     static struct table table;                     // const after loaded is done
 *
 *     static int load(void *path)                    // 0, or why not
 *     {
 *         return read_table(&table, path);
 *     }
 *
 *     err = plait_once_run(&loaded, load, "words", plait_after(10));
 *
 * States: not done, running (one caller runs the function, others wait), done (for good; a run costs a load). What the function
 * wrote is seen by all whose run has returned 0.
 *
 * If the function fails, the caller who ran it gets its answer, and the next one tries; so every caller that does not wait in vain
 * gets 0 or the answer of a run of its own. With PLAIT_SHARED, in an arena, it serves processes, and if the thread that runs
 * the function dies, the next one tries as well. The function must be ready for the traces of such a try.
 */
typedef struct plait_once {
    plait_rlock_t running; /* held by who runs the function */
    plait_event_t done;    /* set under running; never cleared */
} plait_once_t;

#define PLAIT_ONCE_INIT { PLAIT_RLOCK_INIT, PLAIT_EVENT_INIT }

/* Make one that is not done. EINVAL: an unknown flag, or PLAIT_SHARED outside an arena. ENOSPC: the arena's table of
 * participants is full. */
PLAIT_API int plait_once_init(plait_once_t *once, unsigned flags);

/* End its life. EBUSY, and nothing done: somebody runs the function. */
PLAIT_API int plait_once_fini(plait_once_t *once);

/*
 * Unless it is done, run function(arg), or wait until the deadline while somebody else does; the deadline does not cut the
 * function itself short. Returns
 *   0           done, by this call or another
 *   else        what the caller's own run of the function returned: not done
 *   ETIMEDOUT   somebody else was still running it at the deadline
 *   ECANCELED   the caller's cancel token was set while somebody else was running it
 *   EDEADLK     the caller is running it: called by the function itself
 *   EOVERFLOW, ENOSPC  as plait_lock_acquire (shared)
 */
PLAIT_API int plait_once_run(plait_once_t *once, int (*function)(void *arg), void *arg, plait_time_t deadline);

/* Is it done? If so, what the function wrote is seen; if not, that is true only for the instant of the look. */
PLAIT_API bool plait_once_is_done(const plait_once_t *once);

/* What the inlined run falls back to: the same contract. Not to be called directly. */
PLAIT_API int plait_once_run_slow(plait_once_t *once, int (*function)(void *arg), void *arg, plait_time_t deadline);

#ifndef PLAIT_NO_INLINE
PLAIT_INLINE bool plait_once_is_done(const plait_once_t *once)
{
    return plait_event_is_set(&once->done);
}

PLAIT_INLINE int plait_once_run(plait_once_t *once, int (*function)(void *arg), void *arg, plait_time_t deadline)
{
    if (__builtin_expect(plait_hooks == 0 && plait_once_is_done(once), 1))
        return 0;
    return plait_once_run_slow(once, function, arg, deadline);
}
#endif

PLAIT_END_DECLS

#endif
