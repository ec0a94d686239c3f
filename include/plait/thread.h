/* SPDX-License-Identifier: MIT */
/* Thread: a function that runs beside its caller. */
#ifndef PLAIT_THREAD_H
#define PLAIT_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <plait/export.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_thread_t - a handle on a thread: made, started once, ended when its function has returned and its thread-specific values are destroyed.
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
 *
 * Threads that were not made here, main among them, have a handle as soon as they ask for it (plait_thread_current): they are
 * daemons; to join one is to wait for its end, which has no result.
 */
typedef struct plait_thread plait_thread_t;

/* Options of plait_thread_new; zero is the default of each but target. */
struct plait_thread_opts {
    void *(*target)(void *arg);
    void *arg;
    const char *name;     /* NULL: "plait-N". Copied; the kernel is shown the first 15 bytes. */
    bool daemon;          /* exit() does not wait for it */
    size_t stack_size;    /* bytes; 0: the system's default */
    const unsigned *cpus; /* numbers of the CPUs on which it may run, cpu_count of them. Copied. NULL: those of who starts it */
    size_t cpu_count;
    int policy;           /* SCHED_FIFO or another of <sched.h>, with its priority; SCHED_OTHER (0): as who starts it */
    int priority;
};

/*
 * Make a thread that does not run yet. EINVAL: no target; a stack smaller than the system allows; no numbers of CPUs, or one above
 * 4095; a policy or priority that there is not. ENOMEM.
 */
PLAIT_API int plait_thread_new_sized(plait_thread_t **thread_out, const struct plait_thread_opts *opts,
                                     size_t opts_size);

PLAIT_API int plait_thread_new(plait_thread_t **thread_out, const struct plait_thread_opts *opts);
PLAIT_INLINE_ALWAYS int plait_thread_new(plait_thread_t **thread_out, const struct plait_thread_opts *opts)
{
    return plait_thread_new_sized(thread_out, opts, sizeof(struct plait_thread_opts));
}

/*
 * Start it. EBUSY: started before. EAGAIN: the system makes no more threads. EINVAL: the process may use none of the CPUs.
 * EPERM: the policy or the priority is not allowed. After the last three it may be tried again.
 */
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

/* Does exit() not wait for it? */
PLAIT_API bool plait_thread_is_daemon(const plait_thread_t *thread);

/*
 * The calling thread's handle, lent: not to be freed. Of a thread that was not made here it lives until that ends; its name is "main",
 * or what the kernel calls it. NULL: there is no memory for that one.
 */
PLAIT_API plait_thread_t *plait_thread_current(void);

/*
 * The threads that are alive at this instant: those that were started here, and of others those that have a handle (the main thread has
 * one from when it first starts a thread). Each of up to `room` is a handle of the caller's own, to be freed. *count_out: how many
 * there are, which may be more. Always 0.
 */
PLAIT_API int plait_thread_enumerate(plait_thread_t **threads, size_t room, size_t *count_out);

/* How many plait_thread_enumerate finds. */
PLAIT_API size_t plait_thread_active_count(void);

/* The kernel's number of it, as in ps and /proc; 0: not running (not started, or ended). */
PLAIT_API pid_t plait_thread_native_id(const plait_thread_t *thread);

/* Its pthread, for affinity, priority and the like. EINVAL: not running (not started, or ended). */
PLAIT_API int plait_thread_pthread(const plait_thread_t *thread, pthread_t *pthread_out);

/* Drop the handle; NULL is allowed. A running thread runs on. Always 0. */
PLAIT_API int plait_thread_free(plait_thread_t *thread);

/*
 * End the calling thread as failed: with a code (EINVAL for 0) and a printf-like text, cut to 255 bytes. The hook is called
 * first; then the thread ends as by pthread_exit, its result is NULL, and who joins it may ask for the error. What is written
 * here instead of an exception that nobody catches.
 */
PLAIT_API void plait_thread_fail(int code, const char *format, ...) PLAIT_PRINTF(2, 3) __attribute__((noreturn));

/* Code and text of the failure: 0 and "" if it has not failed, or not ended. The text lives as long as the handle. */
PLAIT_API int plait_thread_error(const plait_thread_t *thread);
PLAIT_API const char *plait_thread_error_text(const plait_thread_t *thread);

/*
 * What is called, by the thread itself, when a thread fails; it may use the handle while it runs. NULL: nothing is. Returns the
 * hook before: at first one that writes a line to standard error.
 */
typedef void plait_thread_failed_fn(plait_thread_t *thread, int code, const char *text);

PLAIT_API plait_thread_failed_fn *plait_thread_set_failure_hook(plait_thread_failed_fn *hook);

PLAIT_END_DECLS

#endif
