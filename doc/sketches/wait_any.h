/* SPDX-License-Identifier: MIT */
/* Sketch. Wait for the first of several objects, of any kind. */
#ifndef PLAIT_WAIT_ANY_H
#define PLAIT_WAIT_ANY_H

#include <stddef.h>

#include <plait/event.h>
#include <plait/export.h>
#include <plait/future.h>
#include <plait/lock.h>
#include <plait/process.h>
#include <plait/queue.h>
#include <plait/sem.h>
#include <plait/thread.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * An entry is an operation, the object it is done on, and where needed a buffer. plait_wait_any
 * performs exactly one of the entries, the first that it can, and leaves the objects of the others
 * as they were: no item is taken and put back, no permit set aside.
 *
 *     struct plait_wait_entry entry[] = {
 *         plait_any_event_wait(&shutting_down),
 *         plait_any_queue_get(orders, &order),
 *         plait_any_process_join(worker),
 *     };
 *     size_t which;
 *     int err = plait_wait_any(entry, 3, &which, plait_after(10));
 *     if (err == 0 && which == 1)
 *         serve(&order);
 *
 * Private and shared objects may be mixed; threads and fibers may call it. It waits for the
 * objects' words, as plait_wait_many does, and a descriptor costs one wait in the kernel beside it.
 */

/* Named as the calls are: PLAIT_QUEUE_GET is plait_queue_get. */
enum plait_wait_what {
    PLAIT_LOCK_ACQUIRE = 1,
    PLAIT_SEM_ACQUIRE = 2, /* of `size` permits */
    PLAIT_EVENT_WAIT = 3,
    PLAIT_QUEUE_GET = 4, /* into buffer */
    PLAIT_QUEUE_PUT = 5, /* from buffer, which is not changed */
    PLAIT_FUTURE_WAIT = 6,
    PLAIT_THREAD_JOIN = 7, /* buffer: void **, or NULL */
    PLAIT_PROCESS_JOIN = 8,
    PLAIT_FD_READ = 9,  /* until `fd` is readable */
    PLAIT_FD_WRITE = 10 /* until it is writable */
};

struct plait_wait_entry {
    enum plait_wait_what what;
    int fd;
    void *object;
    void *buffer;
    size_t size; /* bytes or permits, where the operation wants a number */
};

/* The most entries of one call. */
#define PLAIT_WAIT_ANY_MAX 120

/*
 * Wait until one of the entries can be performed, and perform it; where several can, that of the
 * lowest index. *index_out (may be NULL) receives its index. Returns what the operation returned,
 * which need not be 0 (EPIPE from a closed queue, EOWNERDEAD from a lock that the caller now
 * holds); or, with *index_out = count and nothing performed:
 *   ETIMEDOUT  none by the deadline
 *   ECANCELED  the caller's cancel token was set first
 *   EINVAL     count is 0 or above PLAIT_WAIT_ANY_MAX, or an unknown operation
 */
PLAIT_API int plait_wait_any(const struct plait_wait_entry *entries, size_t count,
                             size_t *index_out, plait_time_t deadline);

/* Make an entry; the compiler checks the types. */
PLAIT_INLINE_ALWAYS struct plait_wait_entry plait_any_lock_acquire(plait_lock_t *lock)
{
    return (struct plait_wait_entry){ PLAIT_LOCK_ACQUIRE, -1, lock, NULL, 0 };
}

PLAIT_INLINE_ALWAYS struct plait_wait_entry plait_any_sem_acquire(plait_sem_t *sem, unsigned count)
{
    return (struct plait_wait_entry){ PLAIT_SEM_ACQUIRE, -1, sem, NULL, count };
}

PLAIT_INLINE_ALWAYS struct plait_wait_entry plait_any_event_wait(plait_event_t *event)
{
    return (struct plait_wait_entry){ PLAIT_EVENT_WAIT, -1, event, NULL, 0 };
}

PLAIT_INLINE_ALWAYS struct plait_wait_entry plait_any_queue_get(plait_queue_t *queue, void *item)
{
    return (struct plait_wait_entry){ PLAIT_QUEUE_GET, -1, queue, item, 0 };
}

PLAIT_INLINE_ALWAYS struct plait_wait_entry plait_any_queue_put(plait_queue_t *queue,
                                                                const void *item)
{
    return (struct plait_wait_entry){ PLAIT_QUEUE_PUT, -1, queue, (void *)item, 0 };
}

PLAIT_INLINE_ALWAYS struct plait_wait_entry plait_any_future_wait(plait_future_t *future)
{
    return (struct plait_wait_entry){ PLAIT_FUTURE_WAIT, -1, future, NULL, 0 };
}

PLAIT_INLINE_ALWAYS struct plait_wait_entry plait_any_thread_join(plait_thread_t *thread,
                                                                  void **result_out)
{
    return (struct plait_wait_entry){ PLAIT_THREAD_JOIN, -1, thread, (void *)result_out, 0 };
}

PLAIT_INLINE_ALWAYS struct plait_wait_entry plait_any_process_join(plait_process_t *process)
{
    return (struct plait_wait_entry){ PLAIT_PROCESS_JOIN, -1, process, NULL, 0 };
}

PLAIT_INLINE_ALWAYS struct plait_wait_entry plait_any_fd_read(int fd)
{
    return (struct plait_wait_entry){ PLAIT_FD_READ, fd, NULL, NULL, 0 };
}

PLAIT_INLINE_ALWAYS struct plait_wait_entry plait_any_fd_write(int fd)
{
    return (struct plait_wait_entry){ PLAIT_FD_WRITE, fd, NULL, NULL, 0 };
}

PLAIT_END_DECLS

#endif
