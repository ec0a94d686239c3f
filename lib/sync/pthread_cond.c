/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A condition of ours, and the clock of its deadlines. POSIX lets a condition be destroyed as soon as all who waited have been
 * signalled, though they are still on their way out and look at it: `inside` counts who is in a wait, and destroy waits for
 * those (plait__pthread_enter). They need the mutex to leave, so destroy must not be called with it held while any are. A shared one
 * they leave only with the mutex in their hands again: to our condition they are waiters until then, and are waited for as well.
 */
#include "sync/cond_shared.h"
#include "sync/pthread_mutex.h"

_Static_assert(sizeof(plait_pthread_cond_t) == 96, "part of the ABI");

int plait_pthread_cond_init(plait_pthread_cond_t *cond, const plait_pthread_condattr_t *attr)
{
    unsigned flags = attr && attr->pshared == PTHREAD_PROCESS_SHARED ? PLAIT_SHARED : 0;
    plait_pthread_cond_t fresh = PLAIT_PTHREAD_COND_INIT;

    *cond = fresh;
    if (attr)
        cond->clock = attr->clock;
    return plait__pthread_init_error(plait_cond_init(&cond->cond, flags), flags);
}

int plait_pthread_cond_destroy(plait_pthread_cond_t *cond)
{
    unsigned shared = cond->cond.mode & PLAIT_SHARED;
    int err;

    while ((err = plait_cond_fini(&cond->cond)) == EBUSY && shared && !plait__cond_shared_is_awaited(&cond->cond))
        plait__pthread_wait_for_leavers(&cond->inside, shared);
    if (err == 0)
        plait__pthread_wait_for_leavers(&cond->inside, shared);
    return err;
}

/* What a wait leaves behind in any case, cancelled or not. */
struct visit {
    plait_pthread_cond_t *cond;
    plait_cancel_t *token;
};

static void leave(void *arg)
{
    struct visit *visit = arg;

    plait_cancel_bind(visit->token);
    plait__pthread_leave(&visit->cond->inside, visit->cond->cond.mode & PLAIT_SHARED);
}

static int wait_until(plait_pthread_cond_t *cond, plait_pthread_mutex_t *mutex, plait_time_t deadline)
{
    struct visit visit = { cond, NULL };
    int err;

    pthread_testcancel();
    visit.token = plait_cancel_bind(NULL);
    plait__pthread_enter(&cond->inside);
    pthread_cleanup_push(leave, &visit);
    err = plait_cond_wait(&cond->cond, &mutex->rlock.lock, deadline);
    pthread_cleanup_pop(1);
    if (err == EOWNERDEAD || err == ENOTRECOVERABLE)
        return plait__pthread_mutex_answer(mutex, err, PLAIT_FOREVER);
    return err;
}

int plait_pthread_cond_wait(plait_pthread_cond_t *cond, plait_pthread_mutex_t *mutex)
{
    return wait_until(cond, mutex, PLAIT_FOREVER);
}

int plait_pthread_cond_clockwait(plait_pthread_cond_t *cond, plait_pthread_mutex_t *mutex, clockid_t clock,
                                 const struct timespec *at)
{
    plait_time_t deadline;
    int err = plait__pthread_deadline(clock, at, &deadline);

    return err ? err : wait_until(cond, mutex, deadline);
}

int plait_pthread_cond_timedwait(plait_pthread_cond_t *cond, plait_pthread_mutex_t *mutex, const struct timespec *at)
{
    return plait_pthread_cond_clockwait(cond, mutex, cond->clock, at);
}

int plait_pthread_cond_signal(plait_pthread_cond_t *cond)
{
    return plait_cond_notify(&cond->cond, 1);
}

int plait_pthread_cond_broadcast(plait_pthread_cond_t *cond)
{
    return plait_cond_notify_all(&cond->cond);
}

/* ---- Attributes --------------------------------------------------------------------------------- */

int plait_pthread_condattr_init(plait_pthread_condattr_t *attr)
{
    *attr = (plait_pthread_condattr_t){ PTHREAD_PROCESS_PRIVATE, CLOCK_REALTIME };
    return 0;
}

int plait_pthread_condattr_destroy(plait_pthread_condattr_t *attr)
{
    if (!attr)
        return EINVAL;
    attr->pshared = -1;
    return 0;
}

int plait_pthread_condattr_setpshared(plait_pthread_condattr_t *attr, int pshared)
{
    int err = plait__pthread_check_pshared(pshared);

    if (err == 0)
        attr->pshared = pshared;
    return err;
}

int plait_pthread_condattr_getpshared(const plait_pthread_condattr_t *attr, int *pshared_out)
{
    *pshared_out = attr->pshared;
    return 0;
}

int plait_pthread_condattr_setclock(plait_pthread_condattr_t *attr, clockid_t clock)
{
    if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC)
        return EINVAL;
    attr->clock = clock;
    return 0;
}

int plait_pthread_condattr_getclock(const plait_pthread_condattr_t *attr, clockid_t *clock_out)
{
    *clock_out = attr->clock;
    return 0;
}
