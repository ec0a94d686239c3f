/* SPDX-License-Identifier: MIT */
/* Pthread names: code that was written for pthreads uses plait's objects by including this header. */
#ifndef PLAIT_PTHREAD_H
#define PLAIT_PTHREAD_H

#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <time.h>

#include <plait/barrier.h>
#include <plait/cond.h>
#include <plait/export.h>
#include <plait/lock.h>
#include <plait/rlock.h>
#include <plait/rwlock.h>
#include <plait/sem.h>

PLAIT_BEGIN_DECLS

/*
 * Included after <pthread.h> and <semaphore.h>, or instead of them, this header makes the names of mutex, cond, rwlock, barrier
 * and semaphore mean the types and functions below, in this file and from that line on:
 *
 *     #include <plait/pthread.h>
 *
 *     static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;    // a plait_pthread_mutex_t
 *
 *     pthread_mutex_lock(&mutex);                                  // plait_pthread_mutex_lock
 *
 * All else (threads, keys, once, spin locks, cancellation) is libc's as before. <plait.h> does not include this header. C++
 * headers that use pthreads themselves, such as <mutex>, are to be included before it. A file that wants the types and functions
 * without the names defines PLAIT_PTHREAD_NO_NAMES.
 *
 * The functions do and return what POSIX says of those of their names, and semaphores set errno. Where POSIX leaves a
 * choice, or plait differs:
 *
 *  - Objects whose attribute is PTHREAD_PROCESS_SHARED must lie in an arena (plait/arena.h): init answers ENOTSUP
 *    (sem_init: errno) where they do not. A mutex in a second mapping of that memory, which is no arena: EINVAL.
 *  - Who holds a lock is a thread. The child of a fork does not hold what its parent does: EPERM.
 *  - PTHREAD_PRIO_PROTECT is not there: ENOTSUP. sem_open is not there: a program that uses it does not compile.
 *  - A robust mutex needs robust lists in the kernel: ENOTSUP where there are none.
 *  - Clocks other than CLOCK_REALTIME and CLOCK_MONOTONIC: EINVAL, also where nothing would be waited for.
 *  - A deadline on the wall clock is converted to the monotonic clock when the call begins. Setting the clock later does not
 *    move it.
 *  - Interrupting signals are invisible: sem_wait never fails with EINTR.
 *  - The caller's plait_cancel_t does not end waits by these names: their callers know no such error.
 *  - Waits for a condition never end spuriously.
 *  - Read-write locks pay no heed to priorities: a reader waits for whichever writer came before it.
 *  - Destroying attributes that are NULL: EINVAL. Destroying a mutex or read-write lock that is held: EBUSY.
 */

/* Kinds of mutex; 0: PTHREAD_MUTEX_INITIALIZER and all-zero bytes. */
enum plait_pthread_kind {
    PLAIT_PTHREAD_NORMAL = 0,     /* adaptive ones too: spinning adapts anyway */
    PLAIT_PTHREAD_RECURSIVE = 1,
    PLAIT_PTHREAD_ERRORCHECK = 2,
    PLAIT_PTHREAD_ENDED = 3,      /* destroyed */
    PLAIT_PTHREAD_ROBUST = 1u << 2 /* and its death is told */
};

typedef struct plait_pthread_mutex {
    plait_rlock_t rlock; /* normal: only the lock it begins with */
    uint32_t kind;       /* const after init: enum plait_pthread_kind */
    uint32_t spare[3];
} plait_pthread_mutex_t;

typedef struct plait_pthread_mutexattr {
    int type, pshared, robust, protocol; /* the constants of <pthread.h> */
} plait_pthread_mutexattr_t;

typedef struct plait_pthread_cond {
    plait_cond_t cond;
    int32_t clock;   /* const after init: of timedwait; 0: CLOCK_REALTIME */
    uint32_t inside; /* atomic: how many are in a wait */
    uint32_t spare[2];
} plait_pthread_cond_t;

typedef struct plait_pthread_condattr {
    int pshared;
    int32_t clock;
} plait_pthread_condattr_t;

/* Kinds of read-write lock, with glibc's numbers: who is preferred? See below. */
enum plait_pthread_rwlock_kind {
    PLAIT_PTHREAD_PREFER_READER = 0,
    PLAIT_PTHREAD_PREFER_WRITER = 1,
    PLAIT_PTHREAD_PREFER_WRITER_NONRECURSIVE = 2
};

typedef struct plait_pthread_rwlock {
    plait_rwlock_t rwlock;
    uint32_t ended; /* destroyed */
    uint32_t spare[3];
} plait_pthread_rwlock_t;

typedef struct plait_pthread_rwlockattr {
    int pshared;
    int kind; /* enum plait_pthread_rwlock_kind */
} plait_pthread_rwlockattr_t;

typedef struct plait_pthread_barrier {
    plait_barrier_t barrier;
    uint32_t inside; /* atomic: how many are in a wait */
    uint32_t spare[3];
} plait_pthread_barrier_t;

typedef struct plait_pthread_barrierattr {
    int pshared;
} plait_pthread_barrierattr_t;

typedef struct plait_pthread_sem {
    plait_sem_t sem;
} plait_pthread_sem_t;

#define PLAIT_PTHREAD_MUTEX_INIT(kind) { PLAIT_RLOCK_INIT, (kind), { 0, 0, 0 } }
#define PLAIT_PTHREAD_COND_INIT { PLAIT_COND_INIT, 0, 0, { 0, 0 } }
#define PLAIT_PTHREAD_RWLOCK_INIT { PLAIT_RWLOCK_INIT, 0, { 0, 0, 0 } }

/*
 * Mutex. A normal one that its holder locks again waits for ever (until the deadline); errorcheck: EDEADLK, whatever the deadline. unlock by who does
 * not hold it: EPERM, but for a normal one that is not robust, private and held by another: that is undetected. A robust one whose
 * holder died: EOWNERDEAD, and the caller holds it; ENOTRECOVERABLE once it was unlocked without consistent. A
 * process-shared one that is not robust stays locked when its holder dies. EAGAIN: too many levels, or 1,900 robust
 * or shared ones held. EINVAL: destroyed, or a bad deadline that would have been waited for.
 */
PLAIT_API int plait_pthread_mutex_init(plait_pthread_mutex_t *mutex, const plait_pthread_mutexattr_t *attr);
PLAIT_API int plait_pthread_mutex_destroy(plait_pthread_mutex_t *mutex);
PLAIT_API int plait_pthread_mutex_lock(plait_pthread_mutex_t *mutex);
PLAIT_API int plait_pthread_mutex_trylock(plait_pthread_mutex_t *mutex);
PLAIT_API int plait_pthread_mutex_timedlock(plait_pthread_mutex_t *mutex, const struct timespec *deadline);
PLAIT_API int plait_pthread_mutex_clocklock(plait_pthread_mutex_t *mutex, clockid_t clock,
                                            const struct timespec *deadline);
PLAIT_API int plait_pthread_mutex_unlock(plait_pthread_mutex_t *mutex);
PLAIT_API int plait_pthread_mutex_consistent(plait_pthread_mutex_t *mutex);

PLAIT_API int plait_pthread_mutexattr_init(plait_pthread_mutexattr_t *attr);
PLAIT_API int plait_pthread_mutexattr_destroy(plait_pthread_mutexattr_t *attr);
PLAIT_API int plait_pthread_mutexattr_settype(plait_pthread_mutexattr_t *attr, int type);
PLAIT_API int plait_pthread_mutexattr_gettype(const plait_pthread_mutexattr_t *attr, int *type_out);
PLAIT_API int plait_pthread_mutexattr_setpshared(plait_pthread_mutexattr_t *attr, int pshared);
PLAIT_API int plait_pthread_mutexattr_getpshared(const plait_pthread_mutexattr_t *attr, int *pshared_out);
PLAIT_API int plait_pthread_mutexattr_setrobust(plait_pthread_mutexattr_t *attr, int robust);
PLAIT_API int plait_pthread_mutexattr_getrobust(const plait_pthread_mutexattr_t *attr, int *robust_out);
PLAIT_API int plait_pthread_mutexattr_setprotocol(plait_pthread_mutexattr_t *attr, int protocol);
PLAIT_API int plait_pthread_mutexattr_getprotocol(const plait_pthread_mutexattr_t *attr, int *protocol_out);

/*
 * Condition. The waits are cancellation points; who is cancelled holds the mutex when its clean-up handlers run, and a signal
 * that it had consumed goes to another waiter. EPERM: an errorcheck, recursive, robust or shared mutex is not the
 * caller's. EINVAL: a bad deadline or clock, or a process-shared condition with a private mutex.
 */
PLAIT_API int plait_pthread_cond_init(plait_pthread_cond_t *cond, const plait_pthread_condattr_t *attr);
PLAIT_API int plait_pthread_cond_destroy(plait_pthread_cond_t *cond);
PLAIT_API int plait_pthread_cond_wait(plait_pthread_cond_t *cond, plait_pthread_mutex_t *mutex);
PLAIT_API int plait_pthread_cond_timedwait(plait_pthread_cond_t *cond, plait_pthread_mutex_t *mutex,
                                           const struct timespec *deadline);
PLAIT_API int plait_pthread_cond_clockwait(plait_pthread_cond_t *cond, plait_pthread_mutex_t *mutex, clockid_t clock,
                                           const struct timespec *deadline);
PLAIT_API int plait_pthread_cond_signal(plait_pthread_cond_t *cond);
PLAIT_API int plait_pthread_cond_broadcast(plait_pthread_cond_t *cond);

PLAIT_API int plait_pthread_condattr_init(plait_pthread_condattr_t *attr);
PLAIT_API int plait_pthread_condattr_destroy(plait_pthread_condattr_t *attr);
PLAIT_API int plait_pthread_condattr_setpshared(plait_pthread_condattr_t *attr, int pshared);
PLAIT_API int plait_pthread_condattr_getpshared(const plait_pthread_condattr_t *attr, int *pshared_out);
PLAIT_API int plait_pthread_condattr_setclock(plait_pthread_condattr_t *attr, clockid_t clock);
PLAIT_API int plait_pthread_condattr_getclock(const plait_pthread_condattr_t *attr, clockid_t *clock_out);

/*
 * Read-write lock. Who reads may read again, which never waits, and unlocks as often; unlock finds out what the caller has. EPERM: it
 * has nothing of it, though another thread may have. EDEADLK: the caller writes already or, to write, reads; from the
 * try calls EBUSY. EAGAIN: it reads that one 2^32 - 1 times already, or there is no memory to note that it reads. EINVAL:
 * destroyed, or a bad deadline that would have been waited for. A process-shared one whose writer died stays locked;
 * readers that die are taken out.
 *
 * All kinds are this one lock; setkind_np refuses only other numbers. It does what the two that prefer writers are for: a reader
 * that comes after a waiting writer waits for it, and then gets in before the next, so nobody starves. They differ in
 * glibc, where PREFER_WRITER_NP prefers readers and reading again under PREFER_WRITER_NONRECURSIVE_NP may deadlock; here both
 * may read again. PREFER_READER_NP, glibc's default, is accepted and not kept: a program whose readers wait for other
 * threads to become readers can deadlock here, if a writer comes between.
 */
PLAIT_API int plait_pthread_rwlock_init(plait_pthread_rwlock_t *rwlock, const plait_pthread_rwlockattr_t *attr);
PLAIT_API int plait_pthread_rwlock_destroy(plait_pthread_rwlock_t *rwlock);
PLAIT_API int plait_pthread_rwlock_rdlock(plait_pthread_rwlock_t *rwlock);
PLAIT_API int plait_pthread_rwlock_tryrdlock(plait_pthread_rwlock_t *rwlock);
PLAIT_API int plait_pthread_rwlock_timedrdlock(plait_pthread_rwlock_t *rwlock, const struct timespec *deadline);
PLAIT_API int plait_pthread_rwlock_clockrdlock(plait_pthread_rwlock_t *rwlock, clockid_t clock,
                                               const struct timespec *deadline);
PLAIT_API int plait_pthread_rwlock_wrlock(plait_pthread_rwlock_t *rwlock);
PLAIT_API int plait_pthread_rwlock_trywrlock(plait_pthread_rwlock_t *rwlock);
PLAIT_API int plait_pthread_rwlock_timedwrlock(plait_pthread_rwlock_t *rwlock, const struct timespec *deadline);
PLAIT_API int plait_pthread_rwlock_clockwrlock(plait_pthread_rwlock_t *rwlock, clockid_t clock,
                                               const struct timespec *deadline);
PLAIT_API int plait_pthread_rwlock_unlock(plait_pthread_rwlock_t *rwlock);

PLAIT_API int plait_pthread_rwlockattr_init(plait_pthread_rwlockattr_t *attr);
PLAIT_API int plait_pthread_rwlockattr_destroy(plait_pthread_rwlockattr_t *attr);
PLAIT_API int plait_pthread_rwlockattr_setpshared(plait_pthread_rwlockattr_t *attr, int pshared);
PLAIT_API int plait_pthread_rwlockattr_getpshared(const plait_pthread_rwlockattr_t *attr, int *pshared_out);
PLAIT_API int plait_pthread_rwlockattr_setkind_np(plait_pthread_rwlockattr_t *attr, int kind);
PLAIT_API int plait_pthread_rwlockattr_getkind_np(const plait_pthread_rwlockattr_t *attr, int *kind_out);

/* Barrier. wait: PTHREAD_BARRIER_SERIAL_THREAD to one, 0 to the others; EOWNERDEAD where a party of a process-shared one died. */
PLAIT_API int plait_pthread_barrier_init(plait_pthread_barrier_t *barrier, const plait_pthread_barrierattr_t *attr,
                                         unsigned count);
PLAIT_API int plait_pthread_barrier_destroy(plait_pthread_barrier_t *barrier);
PLAIT_API int plait_pthread_barrier_wait(plait_pthread_barrier_t *barrier);

PLAIT_API int plait_pthread_barrierattr_init(plait_pthread_barrierattr_t *attr);
PLAIT_API int plait_pthread_barrierattr_destroy(plait_pthread_barrierattr_t *attr);
PLAIT_API int plait_pthread_barrierattr_setpshared(plait_pthread_barrierattr_t *attr, int pshared);
PLAIT_API int plait_pthread_barrierattr_getpshared(const plait_pthread_barrierattr_t *attr, int *pshared_out);

/*
 * Semaphore: -1 and errno instead of an error number. The waits are cancellation points; post is async-signal-safe. A value
 * above PLAIT_SEM_MAX, which SEM_VALUE_MAX is here: EINVAL from init, EOVERFLOW from post.
 */
PLAIT_API int plait_pthread_sem_init(plait_pthread_sem_t *sem, int pshared, unsigned value);
PLAIT_API int plait_pthread_sem_destroy(plait_pthread_sem_t *sem);
PLAIT_API int plait_pthread_sem_wait(plait_pthread_sem_t *sem);
PLAIT_API int plait_pthread_sem_trywait(plait_pthread_sem_t *sem);
PLAIT_API int plait_pthread_sem_timedwait(plait_pthread_sem_t *sem, const struct timespec *deadline);
PLAIT_API int plait_pthread_sem_clockwait(plait_pthread_sem_t *sem, clockid_t clock, const struct timespec *deadline);
PLAIT_API int plait_pthread_sem_post(plait_pthread_sem_t *sem);
PLAIT_API int plait_pthread_sem_getvalue(plait_pthread_sem_t *sem, int *value_out);

PLAIT_END_DECLS

#ifndef PLAIT_PTHREAD_NO_NAMES
#include <plait/pthread_names.h>
#endif

#endif
