/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * All threads that are alive are in a list, under a lock. A handle is given out under that lock, so before the thread takes
 * itself out and drops its share.
 */
#include <pthread.h>

#include "base/atomic.h"
#include "exec/thread.h"

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static plait_thread_t *list; /* guarded by list_lock: who is alive */
static size_t listed;        /* guarded by list_lock: how many */

void plait__threads_enter(plait_thread_t *thread)
{
    pthread_mutex_lock(&list_lock);
    thread->prev = NULL;
    thread->next = list;
    if (list)
        list->prev = thread;
    list = thread;
    listed++;
    pthread_mutex_unlock(&list_lock);
}

void plait__threads_leave(plait_thread_t *thread)
{
    pthread_mutex_lock(&list_lock);
    if (thread->prev)
        thread->prev->next = thread->next;
    else
        list = thread->next;
    if (thread->next)
        thread->next->prev = thread->prev;
    listed--;
    pthread_mutex_unlock(&list_lock);
}

/* In a child: nobody else is there. */
void plait__threads_only(plait_thread_t *thread)
{
    pthread_mutex_init(&list_lock, NULL);
    list = NULL;
    listed = 0;
    if (thread)
        plait__threads_enter(thread);
}

int plait_thread_enumerate(plait_thread_t **threads, size_t room, size_t *count_out)
{
    size_t count = 0;

    pthread_mutex_lock(&list_lock);
    for (plait_thread_t *thread = list; thread && count < room; thread = thread->next) {
        add_relaxed(&thread->owners, 1); /* relaxed: it cannot be the last while it is in the list */
        threads[count++] = thread;
    }
    *count_out = listed;
    pthread_mutex_unlock(&list_lock);
    return 0;
}

size_t plait_thread_active_count(void)
{
    size_t count;

    pthread_mutex_lock(&list_lock);
    count = listed;
    pthread_mutex_unlock(&list_lock);
    return count;
}
