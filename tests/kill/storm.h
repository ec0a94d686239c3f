/* SPDX-License-Identifier: MIT */
/* What the parts of the storm share: the killer (kill_storm.c), and what its victims do (storm_work.c, storm_rounds.c, storm_containers.c). */
#ifndef TESTS_KILL_STORM_H
#define TESTS_KILL_STORM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <plait.h>

enum {
    WORKERS = 6,
    OWNED_PERMITS = 4,
    QUEUES = 5,
    ITEMS_MAX = 1 << 22, /* items that can be told apart */
    JOBS_MAX = 1 << 20
};

enum {
    PUT_TRIED = 1,    /* its number was drawn; it may be in the queue */
    PUT_RETURNED = 2, /* it is in the queue, or was */
    GOT = 4,
    GOT_TWICE = 8
};

/* Steps that change a count: how many were begun, and how many are over. Those in between are the killed's. Atomic. */
struct tally {
    uint64_t tried, over;
};

struct worker_page {
    uint64_t beats;       /* operations done by whoever has the place */
    uint32_t in_get;      /* 1: between the start of a get and its record */
    uint32_t operation;   /* what it is doing: for the report of a hang */
    int32_t fault;        /* a line number, when something was wrong */
    uint32_t spare;
    const char *file;     /* of that line */
    uint64_t lost_gets;   /* parent: how often one was killed in_get */
};

extern struct record {
    struct worker_page workers[WORKERS];
    uint32_t next_item;      /* atomic */
    uint32_t stop;           /* atomic: workers end when they see it */
    uint32_t passed[2];      /* atomic: how often each index of the barrier was given */
    struct tally counted;    /* down, by the latch */
    struct tally added, done; /* in the wait group */
    struct tally summed, ticked; /* in the dict; in the array */
    uint32_t next_job;        /* atomic */
    unsigned char items[ITEMS_MAX], jobs[JOBS_MAX];
} *record;

struct message {
    uint32_t item, check;
    char rest[240];
};

extern struct shared {
    plait_lock_t lock;
    long a, b;       /* guarded by lock; a == b */
    long mended;     /* guarded by lock: how often it was not */
    plait_rlock_t rlock;
    plait_cond_t turned;
    long c, d;       /* guarded by rlock; c == d */
    plait_lock_t stock_lock;
    plait_cond_t arrived;
    int stock;       /* guarded by stock_lock */
    plait_sem_t sem;
    plait_rwlock_t rwlock;
    long e, f;       /* guarded by rwlock; e == f */
    plait_sem_t owned;
    plait_barrier_t barrier;
    plait_event_t event; /* the killer sets it again and again */
    struct rounds {
        plait_rwlock_t lock; /* read by those who use the rest, written by who makes it anew */
        long life;           /* guarded by lock: how often that was */
        long torn;           /* guarded by lock: how often one was killed at it */
        long opened;         /* guarded by lock: how many latches have been counted down; more by one for each torn life, perhaps */
        plait_once_t once;
        long made, remade;   /* guarded by once */
        plait_latch_t latch;
        plait_wait_group_t group;
        plait_cancel_t token, child;
        plait_event_t never; /* is not set */
    } rounds;
} *shared;

extern plait_arena_t *arena;
extern plait_queue_t *queues[QUEUES]; /* bounded, unbounded; LIFO, by priority, deque */
extern unsigned seed;

/* The worker that runs in this process, and its dice. */
extern struct worker_page *me;
extern unsigned my_seed;

/* What is wrong stands in the worker's page: only the test's own process asserts. */
#define REQUIRE_OR(c, answer) \
    do { \
        if (!(c)) { \
            me->file = __FILE__; \
            __atomic_store_n(&me->fault, __LINE__, __ATOMIC_RELAXED); \
            return answer; \
        } \
    } while (0)
#define REQUIRE(c) REQUIRE_OR(c, )

/* A worker, until it is killed or told to stop. */
int work(void *page);

/* Of the operations, those which the reckoning uses too. */
void use_lock(void);
void use_rwlock(bool write);
void use_get(plait_queue_t *queue, plait_time_t deadline);

/* What is used up, and made anew. */
int make_rounds(void);
void use_once(void);
void use_latch(void);
void use_group(void);
void use_token(bool set);
void renew_rounds(void);

/* Jobs, and containers. */
int make_containers(void);
void use_job_put(void);
void use_job(plait_time_t deadline);
void use_dict(void);
void use_list(void);
void use_latest(void);
void use_array(void);
void use_broadcast(void);

/* When all workers are gone: NULL, or what is wrong. */
const char *rounds_are_right(void);
const char *containers_are_right(void);

#endif
