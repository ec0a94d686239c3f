/* SPDX-License-Identifier: MIT */
/* How it works: a semaphore of ours, with the errors in errno. */
#include "sync/pthread_names.h"

_Static_assert(sizeof(plait_pthread_sem_t) == 32, "part of the ABI");

static int answer(int err)
{
    if (err == 0)
        return 0;
    errno = err;
    return -1;
}

int plait_pthread_sem_init(plait_pthread_sem_t *sem, int pshared, unsigned value)
{
    unsigned flags = pshared ? PLAIT_SHARED : 0;

    if (value > PLAIT_SEM_MAX)
        return answer(EINVAL);
    return answer(plait__pthread_init_error(plait_sem_init(&sem->sem, value, flags), flags));
}

int plait_pthread_sem_destroy(plait_pthread_sem_t *sem)
{
    return answer(plait_sem_fini(&sem->sem));
}

static int wait_until(plait_pthread_sem_t *sem, plait_time_t deadline)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int err = plait_sem_acquire(&sem->sem, 1, deadline);

    plait_cancel_bind(token);
    return err;
}

int plait_pthread_sem_wait(plait_pthread_sem_t *sem)
{
    pthread_testcancel();
    return answer(wait_until(sem, PLAIT_FOREVER));
}

int plait_pthread_sem_trywait(plait_pthread_sem_t *sem)
{
    int err = wait_until(sem, PLAIT_NOW);

    return answer(err == ETIMEDOUT ? EAGAIN : err);
}

int plait_pthread_sem_clockwait(plait_pthread_sem_t *sem, clockid_t clock, const struct timespec *at)
{
    plait_time_t deadline;
    int err;

    pthread_testcancel();
    if (plait__pthread_check_clock(clock) != 0)
        return answer(EINVAL);
    if (wait_until(sem, PLAIT_NOW) == 0)
        return 0;
    err = plait__pthread_deadline(clock, at, &deadline);
    return answer(err ? err : wait_until(sem, deadline));
}

int plait_pthread_sem_timedwait(plait_pthread_sem_t *sem, const struct timespec *at)
{
    return plait_pthread_sem_clockwait(sem, CLOCK_REALTIME, at);
}

int plait_pthread_sem_post(plait_pthread_sem_t *sem)
{
    return answer(plait_sem_release(&sem->sem, 1));
}

int plait_pthread_sem_getvalue(plait_pthread_sem_t *sem, int *value_out)
{
    *value_out = (int)plait_sem_value(&sem->sem);
    return 0;
}
