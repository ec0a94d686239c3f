/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A read-write lock of ours, in whose holds everything stands that unlock has to know. Its answers are turned into those of
 * pthreads. A process-shared one whose writer died is treated as the mutex is (pthread_mutex.c): released as it is, so that
 * it stays not recoverable, and all who come sleep.
 *
 * POSIX lets it be destroyed by whoever has seen, by locking it, that all others have unlocked it, though some may still
 * be on their way out of unlock. They do not touch it any more (rwlock_gate.c).
 */
#include "sync/pthread_names.h"

_Static_assert(sizeof(plait_pthread_rwlock_t) == 104, "part of the ABI");

typedef int acquire_fn(plait_rwlock_t *rwlock, plait_time_t deadline);

static int answer(plait_pthread_rwlock_t *rw, int err, plait_time_t deadline)
{
    switch (err) {
    case EOWNERDEAD:
        plait_rwlock_release(&rw->rwlock);
        return plait__pthread_wait_in_vain(deadline);
    case ENOTRECOVERABLE:
        return plait__pthread_wait_in_vain(deadline);
    case ETIMEDOUT:
        return deadline <= PLAIT_NOW ? EBUSY : ETIMEDOUT;
    case EOVERFLOW:
    case ENOMEM:
        return EAGAIN;
    default:
        return err;
    }
}

/* With PLAIT_NOW: EBUSY instead of ETIMEDOUT. */
static inline int lock_until(plait_pthread_rwlock_t *rw, acquire_fn *acquire, plait_time_t deadline)
{
    plait_cancel_t *token;
    int err;

    if (rw->ended)
        return EINVAL;
    token = plait_cancel_bind(NULL);
    err = acquire(&rw->rwlock, deadline);
    if (__builtin_expect(err != 0, 0))
        err = answer(rw, err, deadline);
    plait_cancel_bind(token);
    return err;
}

static int lock_at_once(plait_pthread_rwlock_t *rw, acquire_fn *acquire)
{
    int err = lock_until(rw, acquire, PLAIT_NOW);

    return err == EDEADLK ? EBUSY : err;
}

static int lock_by_clock(plait_pthread_rwlock_t *rw, acquire_fn *acquire, clockid_t clock, const struct timespec *at)
{
    plait_time_t deadline;
    int err = plait__pthread_check_clock(clock);

    if (err)
        return err;
    err = lock_until(rw, acquire, PLAIT_NOW);
    if (err != EBUSY)
        return err;
    err = plait__pthread_deadline(clock, at, &deadline);
    if (err)
        return err;
    err = lock_until(rw, acquire, deadline);
    return err == EBUSY ? ETIMEDOUT : err;
}

/* ---- Life ------------------------------------------------------------------------------------ */

int plait_pthread_rwlock_init(plait_pthread_rwlock_t *rw, const plait_pthread_rwlockattr_t *attr)
{
    unsigned flags = attr && attr->pshared == PTHREAD_PROCESS_SHARED ? PLAIT_SHARED : 0;
    plait_pthread_rwlock_t fresh = PLAIT_PTHREAD_RWLOCK_INIT;
    int err;

    *rw = fresh;
    err = plait_rwlock_init(&rw->rwlock, flags);
    rw->ended = err != 0;
    return plait__pthread_init_error(err, flags);
}

int plait_pthread_rwlock_destroy(plait_pthread_rwlock_t *rw)
{
    int err;

    if (rw->ended)
        return EINVAL;
    err = plait_rwlock_fini(&rw->rwlock);
    rw->ended = err == 0;
    return err;
}

/* ---- Lock and unlock --------------------------------------------------------------------------- */

int plait_pthread_rwlock_rdlock(plait_pthread_rwlock_t *rw)
{
    return lock_until(rw, plait_rwlock_acquire_read, PLAIT_FOREVER);
}

int plait_pthread_rwlock_tryrdlock(plait_pthread_rwlock_t *rw)
{
    return lock_at_once(rw, plait_rwlock_acquire_read);
}

int plait_pthread_rwlock_clockrdlock(plait_pthread_rwlock_t *rw, clockid_t clock, const struct timespec *at)
{
    return lock_by_clock(rw, plait_rwlock_acquire_read, clock, at);
}

int plait_pthread_rwlock_timedrdlock(plait_pthread_rwlock_t *rw, const struct timespec *at)
{
    return lock_by_clock(rw, plait_rwlock_acquire_read, CLOCK_REALTIME, at);
}

int plait_pthread_rwlock_wrlock(plait_pthread_rwlock_t *rw)
{
    return lock_until(rw, plait_rwlock_acquire_write, PLAIT_FOREVER);
}

int plait_pthread_rwlock_trywrlock(plait_pthread_rwlock_t *rw)
{
    return lock_at_once(rw, plait_rwlock_acquire_write);
}

int plait_pthread_rwlock_clockwrlock(plait_pthread_rwlock_t *rw, clockid_t clock, const struct timespec *at)
{
    return lock_by_clock(rw, plait_rwlock_acquire_write, clock, at);
}

int plait_pthread_rwlock_timedwrlock(plait_pthread_rwlock_t *rw, const struct timespec *at)
{
    return lock_by_clock(rw, plait_rwlock_acquire_write, CLOCK_REALTIME, at);
}

int plait_pthread_rwlock_unlock(plait_pthread_rwlock_t *rw)
{
    return rw->ended ? EINVAL : plait_rwlock_release(&rw->rwlock);
}

/* ---- Attributes --------------------------------------------------------------------------------- */

int plait_pthread_rwlockattr_init(plait_pthread_rwlockattr_t *attr)
{
    *attr = (plait_pthread_rwlockattr_t){ PTHREAD_PROCESS_PRIVATE, PLAIT_PTHREAD_PREFER_READER };
    return 0;
}

int plait_pthread_rwlockattr_destroy(plait_pthread_rwlockattr_t *attr)
{
    if (!attr)
        return EINVAL;
    attr->pshared = -1;
    return 0;
}

int plait_pthread_rwlockattr_setpshared(plait_pthread_rwlockattr_t *attr, int pshared)
{
    int err = plait__pthread_check_pshared(pshared);

    if (err == 0)
        attr->pshared = pshared;
    return err;
}

int plait_pthread_rwlockattr_getpshared(const plait_pthread_rwlockattr_t *attr, int *pshared_out)
{
    *pshared_out = attr->pshared;
    return 0;
}

int plait_pthread_rwlockattr_setkind_np(plait_pthread_rwlockattr_t *attr, int kind)
{
    if (kind < PLAIT_PTHREAD_PREFER_READER || kind > PLAIT_PTHREAD_PREFER_WRITER_NONRECURSIVE)
        return EINVAL;
    attr->kind = kind;
    return 0;
}

int plait_pthread_rwlockattr_getkind_np(const plait_pthread_rwlockattr_t *attr, int *kind_out)
{
    *kind_out = attr->kind;
    return 0;
}
