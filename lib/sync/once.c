/* SPDX-License-Identifier: MIT */
/*
 * How it works: an event says that it is done, an rlock keeps all but one from the function. The lock's holder sets the event, so
 * who gets the lock finds it set, or has to run the function itself: because the one before it failed, or died. The rlock
 * knows its holder, so a run within a run is told from a wait. The death of a holder needs no repair: it is done or
 * it is not, which is one store of the event.
 *
 * Those who wait go on one after the other, each woken by the release of the one before.
 */
#include <plait/once.h>

#include <errno.h>

int plait_once_init(plait_once_t *once, unsigned flags)
{
    int err = plait_rlock_init(&once->running, flags);

    return err ? err : plait_event_init(&once->done, flags);
}

int plait_once_fini(plait_once_t *once)
{
    int err = plait_rlock_fini(&once->running);

    return err ? err : plait_event_fini(&once->done);
}

/* Become the one who may run the function. */
static int enter(plait_once_t *once, plait_time_t deadline)
{
    int err = plait_rlock_acquire(&once->running, deadline);

    if (err == EOWNERDEAD)
        return plait_rlock_consistent(&once->running);
    if (err == 0 && plait_rlock_depth(&once->running) > 1) {
        plait_rlock_release(&once->running);
        return EDEADLK;
    }
    return err;
}

int plait_once_run_slow(plait_once_t *once, int (*function)(void *arg), void *arg, plait_time_t deadline)
{
    int err;

    if (plait_once_is_done(once))
        return 0;
    err = enter(once, deadline);
    if (err)
        return plait_once_is_done(once) ? 0 : err;
    if (!plait_once_is_done(once)) {
        err = function(arg);
        if (err == 0)
            plait_event_set(&once->done);
    }
    plait_rlock_release(&once->running);
    return err;
}
