/* SPDX-License-Identifier: MIT */
/*
 * What these programs have in common. They are plain programs for pthreads, and each is built twice: as it is, with libc's objects,
 * and through <plait/pthread.h>, with plait's. Both must pass.
 */
#ifndef TESTS_PTHREAD_PROGRAM_H
#define TESTS_PTHREAD_PROGRAM_H

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "support/child.h"
#include "support/cmocka.h"

/* Zeroed memory for process-shared objects; a mapping, or memory of an arena (memory_libc.c, memory_plait.c). */
void *shared_memory(size_t size);

/* Of support/stage.c: is the thread of that kernel id asleep? A moment's pause between looks. */
bool thread_sleeps(uint32_t tid);
void stage_pause(void);

#ifdef PLAIT_PTHREAD_H
enum { IS_PLAIT = 1 };
#else
enum { IS_PLAIT = 0 };
#endif

/*
 * Does the kernel tell who waits for a robust mutex of its holder's death? Where it does not (qemu-user, filters of system
 * calls), libc's waiters hang, and plait has them between processes only.
 */
static inline bool deaths_are_told(void)
{
    size_t length;
    void *head;

    return syscall(SYS_get_robust_list, 0, &head, &length) == 0;
}

/* A thread, and the news of it. */
struct runner {
    pthread_t thread;
    void *(*run)(void *arg);
    void *arg;
    uint32_t tid; /* atomic */
};

static inline void *runner_main(void *arg)
{
    struct runner *runner = arg;

    __atomic_store_n(&runner->tid, (uint32_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    return runner->run(runner->arg);
}

static inline void start(struct runner *runner, void *(*run)(void *), void *arg)
{
    *runner = (struct runner){ .run = run, .arg = arg };
    assert_int_equal(pthread_create(&runner->thread, NULL, runner_main, runner), 0);
}

static inline void *finish(struct runner *runner)
{
    void *result = NULL;

    assert_int_equal(pthread_join(runner->thread, &result), 0);
    return result;
}

/* Wait until it sleeps in the kernel. */
static inline void until_asleep(struct runner *runner)
{
    uint32_t tid;

    while (!(tid = __atomic_load_n(&runner->tid, __ATOMIC_ACQUIRE)) || !thread_sleeps(tid))
        stage_pause();
}

/* Run it in a thread of its own, and give what it returns. */
static inline void *elsewhere(void *(*run)(void *), void *arg)
{
    struct runner runner;

    start(&runner, run, arg);
    return finish(&runner);
}

/* A point of time, so many milliseconds from now. */
static inline struct timespec in_ms(clockid_t clock, long ms)
{
    struct timespec at;

    clock_gettime(clock, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

static inline bool has_passed(clockid_t clock, struct timespec at)
{
    struct timespec now = in_ms(clock, 0);

    return now.tv_sec > at.tv_sec || (now.tv_sec == at.tv_sec && now.tv_nsec >= at.tv_nsec);
}

static inline void *as_result(int err)
{
    return (void *)(intptr_t)err;
}

#endif
