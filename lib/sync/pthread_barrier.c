/* SPDX-License-Identifier: MIT */
/*
 * How it works: a barrier of ours. POSIX lets it be destroyed by whoever has passed it, though others are still on their way out:
 * `inside` counts who is in a wait, and destroy waits for those (plait__pthread_enter).
 */
#include "sync/pthread_names.h"

int plait_pthread_barrier_init(plait_pthread_barrier_t *barrier, const plait_pthread_barrierattr_t *attr,
                               unsigned count)
{
    unsigned flags = attr && attr->pshared == PTHREAD_PROCESS_SHARED ? PLAIT_SHARED : 0;

    if (count == 0)
        return EINVAL;
    if (count > PLAIT_BARRIER_MAX)
        return EAGAIN;
    barrier->inside = 0;
    return plait__pthread_init_error(plait_barrier_init(&barrier->barrier, count, flags), flags);
}

int plait_pthread_barrier_destroy(plait_pthread_barrier_t *barrier)
{
    if (plait_barrier_waiting(&barrier->barrier))
        return EBUSY;
    plait__pthread_wait_for_leavers(&barrier->inside, barrier->barrier.mode & PLAIT_SHARED);
    return plait_barrier_fini(&barrier->barrier);
}

int plait_pthread_barrier_wait(plait_pthread_barrier_t *barrier)
{
    unsigned shared = barrier->barrier.mode & PLAIT_SHARED, index;
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int err;

    plait__pthread_enter(&barrier->inside);
    err = plait_barrier_wait(&barrier->barrier, &index, PLAIT_FOREVER);
    plait__pthread_leave(&barrier->inside, shared);
    plait_cancel_bind(token);
    if (err)
        return err;
    return index == 0 ? PTHREAD_BARRIER_SERIAL_THREAD : 0;
}

/* ---- Attributes --------------------------------------------------------------------------------- */

int plait_pthread_barrierattr_init(plait_pthread_barrierattr_t *attr)
{
    attr->pshared = PTHREAD_PROCESS_PRIVATE;
    return 0;
}

int plait_pthread_barrierattr_destroy(plait_pthread_barrierattr_t *attr)
{
    if (!attr)
        return EINVAL;
    attr->pshared = -1;
    return 0;
}

int plait_pthread_barrierattr_setpshared(plait_pthread_barrierattr_t *attr, int pshared)
{
    int err = plait__pthread_check_pshared(pshared);

    if (err == 0)
        attr->pshared = pshared;
    return err;
}

int plait_pthread_barrierattr_getpshared(const plait_pthread_barrierattr_t *attr, int *pshared_out)
{
    *pshared_out = attr->pshared;
    return 0;
}
