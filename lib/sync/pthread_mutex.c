/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A normal mutex is a plait_lock_t, the others a plait_rlock_t, whose levels tell its holder; both begin at the same place. With a
 * protocol, shared or robust, that lock is one of those that have an owner (wait/robust.c). A robust one that is private is such
 * a lock in no arena: the kernel's list asks for none.
 *
 * What our locks answer and pthreads do not know is turned into what they do. Where POSIX wants a deadlock - a normal mutex that its
 * holder locks again, one that is not robust and whose holder died - the caller sleeps until the deadline. The lock of the
 * dead is released as it is, so that it stays not recoverable, and all who come sleep.
 */
#include "sync/pthread_mutex.h"

#include "base/atomic.h"
#include "wait/robust.h"

_Static_assert(sizeof(plait_pthread_mutex_t) == 80, "part of the ABI");

enum { TYPE = 3 };

static uint32_t type_of(const plait_pthread_mutex_t *mutex)
{
    return mutex->kind & TYPE;
}

static bool has_ended(const plait_pthread_mutex_t *mutex)
{
    return type_of(mutex) == PLAIT_PTHREAD_ENDED;
}

static bool is_normal(const plait_pthread_mutex_t *mutex)
{
    return type_of(mutex) == PLAIT_PTHREAD_NORMAL;
}

/* ---- Life ------------------------------------------------------------------------------------ */

static int init_robust(plait_pthread_mutex_t *mutex, uint32_t type)
{
    if (!plait__robust_list_works())
        return ENOTSUP;
    mutex->rlock = (plait_rlock_t)PLAIT_RLOCK_INIT;
    plait__robust_init(&mutex->rlock.lock,
                       PLAIT__LOCK_OWNED | (type == PLAIT_PTHREAD_NORMAL ? 0 : PLAIT__LOCK_RECURSIVE), 0);
    return 0;
}

int plait_pthread_mutex_init(plait_pthread_mutex_t *mutex, const plait_pthread_mutexattr_t *attr)
{
    static const plait_pthread_mutexattr_t usual = { 0 };
    const plait_pthread_mutexattr_t *a = attr ? attr : &usual;
    uint32_t type = a->type == PTHREAD_MUTEX_RECURSIVE    ? PLAIT_PTHREAD_RECURSIVE
                    : a->type == PTHREAD_MUTEX_ERRORCHECK ? PLAIT_PTHREAD_ERRORCHECK
                                                          : PLAIT_PTHREAD_NORMAL;
    bool robust = a->robust == PTHREAD_MUTEX_ROBUST;
    unsigned flags = (a->pshared == PTHREAD_PROCESS_SHARED ? PLAIT_SHARED : 0) |
                     (a->protocol == PTHREAD_PRIO_INHERIT ? PLAIT_PRIO_INHERIT : 0);
    plait_pthread_mutex_t fresh = PLAIT_PTHREAD_MUTEX_INIT(type | (robust ? PLAIT_PTHREAD_ROBUST : 0));
    int err;

    *mutex = fresh;
    if (robust && flags == 0)
        err = init_robust(mutex, type);
    else if (type == PLAIT_PTHREAD_NORMAL)
        err = plait_lock_init(&mutex->rlock.lock, flags);
    else
        err = plait_rlock_init(&mutex->rlock, flags);
    if (err)
        mutex->kind = PLAIT_PTHREAD_ENDED;
    return err == ENOSYS ? ENOTSUP : plait__pthread_init_error(err, flags);
}

int plait_pthread_mutex_destroy(plait_pthread_mutex_t *mutex)
{
    int err;

    if (has_ended(mutex))
        return EINVAL;
    err = is_normal(mutex) ? plait_lock_fini(&mutex->rlock.lock) : plait_rlock_fini(&mutex->rlock);
    if (err == 0)
        mutex->kind = PLAIT_PTHREAD_ENDED;
    return err;
}

/* ---- Lock and unlock --------------------------------------------------------------------------- */

int plait__pthread_mutex_answer(plait_pthread_mutex_t *mutex, int err, plait_time_t deadline)
{
    switch (err) {
    case EDEADLK:
        return is_normal(mutex) ? plait__pthread_wait_in_vain(deadline) : err;
    case EOWNERDEAD:
        if (mutex->kind & PLAIT_PTHREAD_ROBUST)
            return err;
        plait__robust_release(&mutex->rlock.lock);
        return plait__pthread_wait_in_vain(deadline);
    case ENOTRECOVERABLE:
        return mutex->kind & PLAIT_PTHREAD_ROBUST ? err : plait__pthread_wait_in_vain(deadline);
    case EOVERFLOW:
        return EAGAIN;
    case ETIMEDOUT:
        return deadline <= PLAIT_NOW ? EBUSY : ETIMEDOUT;
    default:
        return err;
    }
}

/* All but the free normal one. With PLAIT_NOW: EBUSY instead of ETIMEDOUT. */
static __attribute__((noinline)) int lock_until(plait_pthread_mutex_t *mutex, plait_time_t deadline)
{
    plait_cancel_t *token;
    int err;

    if (has_ended(mutex))
        return EINVAL;
    if (type_of(mutex) == PLAIT_PTHREAD_ERRORCHECK && plait_rlock_depth(&mutex->rlock))
        return EDEADLK;
    token = plait_cancel_bind(NULL);
    err = is_normal(mutex) ? plait_lock_acquire(&mutex->rlock.lock, deadline)
                           : plait_rlock_acquire(&mutex->rlock, deadline);
    if (err)
        err = plait__pthread_mutex_answer(mutex, err, deadline);
    plait_cancel_bind(token);
    return err;
}

/* Normal, private, without a protocol, and free. The try of plait_lock_t would go past those who starve. */
static inline bool lock_at_once(plait_pthread_mutex_t *mutex)
{
    uint32_t unheld = 0;

    return (mutex->kind | plait_hooks | mutex->rlock.lock.mode) == 0 && cas_acquire(&mutex->rlock.lock.state, &unheld, 1);
}

int plait_pthread_mutex_lock(plait_pthread_mutex_t *mutex)
{
    return lock_at_once(mutex) ? 0 : lock_until(mutex, PLAIT_FOREVER);
}

int plait_pthread_mutex_trylock(plait_pthread_mutex_t *mutex)
{
    int err = lock_at_once(mutex) ? 0 : lock_until(mutex, PLAIT_NOW);

    return err == EDEADLK ? EBUSY : err;
}

int plait_pthread_mutex_clocklock(plait_pthread_mutex_t *mutex, clockid_t clock, const struct timespec *at)
{
    plait_time_t deadline;
    int err = plait__pthread_check_clock(clock);

    if (err)
        return err;
    err = lock_at_once(mutex) ? 0 : lock_until(mutex, PLAIT_NOW);
    if (err != EBUSY)
        return err;
    err = plait__pthread_deadline(clock, at, &deadline);
    if (err)
        return err;
    err = lock_until(mutex, deadline);
    return err == EBUSY ? ETIMEDOUT : err;
}

int plait_pthread_mutex_timedlock(plait_pthread_mutex_t *mutex, const struct timespec *at)
{
    return plait_pthread_mutex_clocklock(mutex, CLOCK_REALTIME, at);
}

int plait_pthread_mutex_unlock(plait_pthread_mutex_t *mutex)
{
    if (has_ended(mutex))
        return EINVAL;
    return is_normal(mutex) ? plait_lock_release(&mutex->rlock.lock) : plait_rlock_release(&mutex->rlock);
}

int plait_pthread_mutex_consistent(plait_pthread_mutex_t *mutex)
{
    if (!(mutex->kind & PLAIT_PTHREAD_ROBUST))
        return EINVAL;
    return is_normal(mutex) ? plait_lock_consistent(&mutex->rlock.lock) : plait_rlock_consistent(&mutex->rlock);
}

/* ---- Attributes --------------------------------------------------------------------------------- */

int plait_pthread_mutexattr_init(plait_pthread_mutexattr_t *attr)
{
    *attr = (plait_pthread_mutexattr_t){ PTHREAD_MUTEX_DEFAULT, PTHREAD_PROCESS_PRIVATE, PTHREAD_MUTEX_STALLED,
                                         PTHREAD_PRIO_NONE };
    return 0;
}

int plait_pthread_mutexattr_destroy(plait_pthread_mutexattr_t *attr)
{
    if (!attr)
        return EINVAL;
    attr->type = -1;
    return 0;
}

int plait_pthread_mutexattr_settype(plait_pthread_mutexattr_t *attr, int type)
{
    if (type != PTHREAD_MUTEX_NORMAL && type != PTHREAD_MUTEX_RECURSIVE && type != PTHREAD_MUTEX_ERRORCHECK &&
        type != PTHREAD_MUTEX_DEFAULT && !plait__pthread_is_adaptive(type))
        return EINVAL;
    attr->type = type;
    return 0;
}

int plait_pthread_mutexattr_gettype(const plait_pthread_mutexattr_t *attr, int *type_out)
{
    *type_out = attr->type;
    return 0;
}

int plait_pthread_mutexattr_setpshared(plait_pthread_mutexattr_t *attr, int pshared)
{
    int err = plait__pthread_check_pshared(pshared);

    if (err == 0)
        attr->pshared = pshared;
    return err;
}

int plait_pthread_mutexattr_getpshared(const plait_pthread_mutexattr_t *attr, int *pshared_out)
{
    *pshared_out = attr->pshared;
    return 0;
}

int plait_pthread_mutexattr_setrobust(plait_pthread_mutexattr_t *attr, int robust)
{
    if (robust != PTHREAD_MUTEX_STALLED && robust != PTHREAD_MUTEX_ROBUST)
        return EINVAL;
    attr->robust = robust;
    return 0;
}

int plait_pthread_mutexattr_getrobust(const plait_pthread_mutexattr_t *attr, int *robust_out)
{
    *robust_out = attr->robust;
    return 0;
}

int plait_pthread_mutexattr_setprotocol(plait_pthread_mutexattr_t *attr, int protocol)
{
    switch (protocol) {
    case PTHREAD_PRIO_INHERIT:
        if (!plait__robust_pi_works())
            return ENOTSUP;
        break;
    case PTHREAD_PRIO_NONE:
        break;
    case PTHREAD_PRIO_PROTECT:
        return ENOTSUP;
    default:
        return EINVAL;
    }
    attr->protocol = protocol;
    return 0;
}

int plait_pthread_mutexattr_getprotocol(const plait_pthread_mutexattr_t *attr, int *protocol_out)
{
    *protocol_out = attr->protocol;
    return 0;
}
