/* SPDX-License-Identifier: MIT */
/* Stage: a contract is tried by workers, which are threads or forked processes, on private or shared objects. */
#ifndef TESTS_SUPPORT_STAGE_H
#define TESTS_SUPPORT_STAGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <plait.h>

/*
 * A case that holds everywhere is entered with EVERYWHERE(f) and runs three times; one about shared objects with
 * SHARED(f), twice; one about private ones with PRIVATE(f). *state is its `struct stage`.
 *
 * Workers record, and only the test's own thread asserts. All that they share lies in memory from stage_alloc, which has the
 * same address in every worker: it is an anonymous arena, and the private objects lie in it as well.
 */
enum setting { STAGE_PRIVATE, STAGE_THREADS, STAGE_PROCESSES };

#define STAGE_CASE(f, where) { #f "/" #where, f, stage_up, stage_down, stage_settings + STAGE_##where }
#define PRIVATE(f) STAGE_CASE(f, PRIVATE)
#define SHARED(f) STAGE_CASE(f, THREADS), STAGE_CASE(f, PROCESSES)
#define PROCESSES(f) STAGE_CASE(f, PROCESSES)
#define EVERYWHERE(f) PRIVATE(f), SHARED(f)

enum { STAGE_WORKERS_MAX = 64 };

struct worker {
    struct stage *stage;
    void (*run)(struct worker *self);
    void *with;          /* the test's */
    unsigned number;     /* 0 for the first */
    uint32_t tid;        /* atomic: 0 before it runs */
    uint32_t phase;      /* atomic: the worker's news (worker_says) */
    int result;          /* the worker's answer, to be read after worker_join */
    plait_time_t took;   /* the same */
    uint64_t random;     /* state of worker_random */
    bool started, ended; /* the test's */
    pthread_t thread;
    pid_t pid;
};

struct stage {
    enum setting setting;
    unsigned flags; /* for the objects' init: 0 or PLAIT_SHARED */
    plait_arena_t *arena;
    struct worker *workers; /* STAGE_WORKERS_MAX of them */
    unsigned worker_count;
};

extern enum setting stage_settings[3];

int stage_up(void **state);
int stage_down(void **state);

/* Zeroed memory that all workers see; NULL: there is none left. */
void *stage_alloc(struct stage *stage, size_t size);

/* Start a worker; NULL: the system refused. */
struct worker *worker_start(struct stage *stage, void (*run)(struct worker *), void *with);

/* Wait until it has ended, 20 seconds at most; false: it did not, and is killed if it is a process. */
bool worker_join(struct worker *worker);

/* Wait until it has ended, and give its result; -1 when it did not end. */
int worker_result(struct worker *worker);

/* Kill a worker's process with SIGKILL and reap it. */
void worker_kill(struct worker *worker);

/* In a worker: die with all that is held. A process kills itself, a thread ends. */
void worker_die(struct worker *self) __attribute__((__noreturn__));

/* In a worker: tell how far it has come. For the test: has it come as far, within ten seconds? */
void worker_says(struct worker *self, uint32_t phase);
bool worker_said(struct worker *worker, uint32_t phase);

/* Has it come as far, and does it sleep in the kernel now? Waits for it as well. */
bool worker_sleeps(struct worker *worker, uint32_t phase);

/* In a worker: a number from 0 to below - 1. */
unsigned worker_random(struct worker *self, unsigned below);

/* Is the thread of that kernel id asleep in the kernel? */
bool thread_sleeps(uint32_t tid);

/* Seed worker_random for the workers to come: with PLAIT_SEED, or anew; printed and returned. */
uint64_t stage_seed(void);

/* How long stress lasts: PLAIT_STRESS_SECONDS, or 2. */
double stage_stress_seconds(void);

/* Poll until `condition` holds; the value is false when it does not within ten seconds. */
#define EVENTUALLY(condition)                                                             \
    __extension__({                                                                       \
        plait_time_t eventually_end = plait_after(10);                                    \
        bool eventually;                                                                  \
        while (!(eventually = (condition)) && plait_now() < eventually_end)               \
            stage_pause();                                                                \
        eventually;                                                                       \
    })
void stage_pause(void);

#endif
