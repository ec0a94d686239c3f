/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * What a thread says of its failure belongs to its handle, and is stored before the thread ends (E1 of thread.c).
 *
 * E1 hook: who sets it releases what the function needs; a thread that fails acquires it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <plait/error.h>

#include "base/atomic.h"
#include "exec/thread.h"

enum { TEXT_MAX = 256 };

static void tell_failure(plait_thread_t *thread, int code, const char *text)
{
    fprintf(stderr, "plait: thread %s failed: %s (%s)\n", thread ? thread->name : "?", text, plait_strerror(code));
}

static plait_thread_failed_fn *failure_hook = tell_failure; /* atomic (E1) */

plait_thread_failed_fn *plait_thread_set_failure_hook(plait_thread_failed_fn *hook)
{
    return __atomic_exchange_n(&failure_hook, hook, __ATOMIC_ACQ_REL); /* E1 */
}

void plait_thread_fail(int code, const char *format, ...)
{
    plait_thread_failed_fn *hook = loadptr_acquire(&failure_hook); /* E1 */
    plait_thread_t *thread = plait_thread_current();
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    code = code ? code : EINVAL;
    if (hook)
        hook(thread, code, text);
    if (thread) {
        free(thread->error_text);
        thread->error_text = strdup(text);
        thread->error = code;
    }
    pthread_exit(NULL);
}

static bool has_ended(const plait_thread_t *thread)
{
    uint32_t state = load_acquire(&thread->state); /* E1 of thread.c */

    return state == ENDED || state == JOINING || state == JOINED;
}

int plait_thread_error(const plait_thread_t *thread)
{
    return has_ended(thread) ? thread->error : 0;
}

const char *plait_thread_error_text(const plait_thread_t *thread)
{
    return has_ended(thread) && thread->error_text ? thread->error_text : "";
}
