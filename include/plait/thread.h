/* SPDX-License-Identifier: MIT */
/* Thread: a function that runs beside its caller. */
#ifndef PLAIT_THREAD_H
#define PLAIT_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include <plait/export.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_thread_t - a handle on a thread: made, started once, ended when its function returns.
 *
 *     void *count(void *file) { ...; return lines; }
 *
 *     plait_thread_t *thread;
 *     void *lines;
 *     plait_thread_new(&thread, &(struct plait_thread_opts){ .target = count, .arg = file, .name = "counter" });
 *     plait_thread_start(thread);
 *     plait_thread_join(thread, &lines, PLAIT_FOREVER);
 *     plait_thread_free(thread);
 *
 * It is a pthread and may use anything pthreads may. Several callers may join it, each gets the result. Dropping the
 * handle of a running thread lets it run on. exit() and the return from main wait for those that are not daemons,
 * other than the caller of exit itself; daemons are stopped where they are.
 */
typedef struct plait_thread plait_thread_t;

/* Options of plait_thread_new; zero is the default of each but target. */
struct plait_thread_opts {
    void *(*target)(void *arg);
    void *arg;
    const char *name;  /* NULL: "plait-N". Copied; the kernel is shown the first 15 bytes. */
    bool daemon;       /* exit() does not wait for it */
    size_t stack_size; /* bytes; 0: the system's default */
};

/* Make a thread that does not run yet. EINVAL: no target, or a stack smaller than the system allows. ENOMEM. */
PLAIT_API int plait_thread_new_sized(plait_thread_t **thread_out, const struct plait_thread_opts *opts,
                                     size_t opts_size);

PLAIT_API int plait_thread_new(plait_thread_t **thread_out, const struct plait_thread_opts *opts);
PLAIT_INLINE_ALWAYS int plait_thread_new(plait_thread_t **thread_out, const struct plait_thread_opts *opts)
{
    return plait_thread_new_sized(thread_out, opts, sizeof(struct plait_thread_opts));
}

/* Start it. EBUSY: started before. EAGAIN: the system makes no more threads; it may be tried again. */
PLAIT_API int plait_thread_start(plait_thread_t *thread);

/*
 * Wait until it has ended; *result_out (may be NULL) receives what its function returned or gave to pthread_exit. May be
 * called any number of times, by anyone. ETIMEDOUT: it still runs. EDEADLK: the caller is this thread.
 * EINVAL: it was never started. ECANCELED: the caller's cancel token was set. EOWNERDEAD: this is a child that came from
 * fork, and the thread is its parent's.
 */
PLAIT_API int plait_thread_join(plait_thread_t *thread, void **result_out, plait_time_t deadline);

/* plait_thread_join as an entry of plait_wait_any. */
PLAIT_API struct plait_wait_entry plait_any_thread_join(plait_thread_t *thread, void **result_out);

/* Started and not yet ended? */
PLAIT_API bool plait_thread_is_alive(const plait_thread_t *thread);

/* Its name; lives as long as the handle. */
PLAIT_API const char *plait_thread_name(const plait_thread_t *thread);

/* The calling thread's handle, if it was made here, else NULL. Not to be freed by the callee of the thread. */
PLAIT_API plait_thread_t *plait_thread_current(void);

/* Its pthread, for affinity, priority and the like. EINVAL: not running (not started, or ended). */
PLAIT_API int plait_thread_pthread(const plait_thread_t *thread, pthread_t *pthread_out);

/* Drop the handle; NULL is allowed. A running thread runs on. Always 0. */
PLAIT_API int plait_thread_free(plait_thread_t *thread);

PLAIT_END_DECLS

#endif
