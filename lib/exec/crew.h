/* SPDX-License-Identifier: MIT */
/* Crew, inside: the workers, what they steal from each other, who sleeps, and what comes from outside. */
#ifndef PLAIT_EXEC_CREW_H
#define PLAIT_EXEC_CREW_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/crew.h>
#include <plait/thread.h>
#include <plait/time.h>

#include "base/atomic.h"

enum {
    CREW_LINE = 64,
    CREW_GUESTS = 64,
    CREW_HAND = 16, /* tasks */
    CREW_INDEX_BITS = 18,
    CREW_INDEX_MASK = (1 << CREW_INDEX_BITS) - 1
};

/*
 * A detached task, in the memory of who submits it: nobody waits for it, `run` may free it. It is run by a thread of the
 * crew that has nothing else to do.
 */
struct plait__crew_task {
    void (*run)(struct plait__crew_task *task, plait_worker_t *worker);
    struct plait__crew_task *next; /* the queue's */
};

/*
 * What is wanted of the threads by who makes a crew for its own detached tasks. All zero: as many threads as it has
 * places for, for as long as it is there, and tasks from plait__crew_submit.
 */
struct plait__crew_life {
    unsigned at_least;      /* threads that are there without work, too; the others come with it. 0: all */
    plait_time_t idle_time; /* nanoseconds without work after which one of the others ends */
    unsigned tasks;         /* that a thread runs before a new one takes its place; 0: any number */
    bool (*begin)(void *context, unsigned number); /* each thread calls it first; false: it ends at once */
    bool (*wants)(void *context, unsigned serving); /* is there work for more than these? NULL: it is taken to be so */
    void (*rest)(void *context, unsigned number);  /* each time it finds nothing to do at once */
    void (*end)(void *context, unsigned number);   /* and this one last, where begin said true */
    void (*lost)(void *context, unsigned number);  /* or this one: a task has ended it (pthread_exit); another takes its place */
    struct plait__crew_task *(*get)(void *context); /* the next task, NULL: none; in place of the crew's own queue */
    bool (*has)(void *context);                     /* is there one? */
    void *context;
};

/* Of a thread's bell. */
enum crew_bell { CREW_ASLEEP = 0, CREW_AWAKE = 1, CREW_GONE = 2 };

/* State of a slot; crew_stack.c. Above the bits: the number of the worker that has taken the task, plus one. */
enum crew_slot_bits { CREW_SLOT_DONE = 1u << 0, CREW_SLOT_SLEEPER = 1u << 1, CREW_SLOT_THIEF = 1u << 2 };

struct crew_worker {
    struct plait_worker front;
    struct plait_worker_slot *slots, *end; /* const after the first use */
    struct plait_worker_slot *bottom;      /* owner only: where the stack of the running outermost or stolen task begins */
    unsigned at_once;                      /* owner only: youngest spawns that found no slot, and have run */
    struct plait_worker_slot *running;     /* owner only: of another worker: what it runs for that one, the innermost */
    struct plait_crew *crew;               /* const */
    void *caller;                          /* atomic: who the worker is; NULL: nobody at present */
    unsigned number;                       /* const */
    plait_thread_t *thread;                /* the last one that was started here; who starts one; NULL: none, or a guest */
    plait_thread_t *previous;              /* the one before it, which it is to wait for */
    bool was_started;                      /* by plait__crew_notify, and has not said so yet; the thread's, and who starts it */
    unsigned ran;                          /* owner only: detached tasks */
    uint32_t random;                       /* owner only */
    uint64_t stolen;                       /* atomic, written by the owner only */

    uint64_t word __attribute__((aligned(CREW_LINE))); /* atomic: tail, split, epoch */
    struct plait_worker_slot *waiting;     /* atomic: its own, taken by another worker, which it waits for */

    uint32_t bell __attribute__((aligned(CREW_LINE))); /* atomic: enum crew_bell; asleep: or about to be */
    uint32_t below;                        /* atomic: the next of the sleepers or the vacant, plus one; valid while among them */
    bool is_hungry;                        /* owner only: whether it is counted as that */

    uint64_t hand __attribute__((aligned(CREW_LINE))); /* atomic: crew_queue.c */
    uint64_t hand_seen;                    /* atomic: as somebody else has seen it */
    unsigned batch;                        /* owner only: how many to take at a time */
    plait_time_t since;                    /* owner only: when it took some last */
    struct plait__crew_task *ring[CREW_HAND]; /* atomic, written by the owner */
} __attribute__((aligned(CREW_LINE)));

/* Tasks from outside, first in first out; crew_queue.c. */
struct crew_queue {
    struct plait__crew_task *incoming __attribute__((aligned(CREW_LINE))); /* atomic: the youngest first; lowest bit: closed */
    uint32_t lock __attribute__((aligned(CREW_LINE)));                     /* atomic: who takes */
    struct plait__crew_task *outgoing; /* atomic, written under lock: the oldest first */
};

struct plait_crew {
    unsigned threads;        /* const after open: workers[0..threads), places of threads */
    unsigned depth;          /* const */
    size_t stack_size;       /* const */
    struct plait__crew_life life; /* const */
    uint32_t epoch;          /* const: fork epoch of who made it */
    bool lingers;            /* const: there is a CPU for each worker: who has nothing to do looks on for as long as a wake-up takes */
    struct crew_worker *workers; /* const: the threads, then the guests */
    char name[48];           /* const */
    uint32_t count;          /* atomic: workers from here on have never been */
    uint32_t stop;           /* atomic: threads are to end when nothing is left */
    uint32_t held;           /* atomic: no detached tasks are to be taken */
    uint32_t alive;          /* atomic: threads that have not ended */
    uint32_t serving;        /* atomic: of these: those that take tasks, or are about to */
    uint32_t starting;       /* atomic: one is being started because of work */
    uint64_t vacant;         /* atomic: places without a thread; crew_threads.c */
    uint64_t guests;         /* atomic: a bit for each guest's place that is taken */
    uint64_t idle __attribute__((aligned(CREW_LINE)));   /* atomic: crew_idle.c */
    uint32_t hungry __attribute__((aligned(CREW_LINE))); /* atomic: workers that look for work, asleep or not */
    uint32_t asleep;         /* atomic, a hint: those of the hungry that sleep, or are about to */
    struct crew_queue queue;
};

/* What a worker has taken, and has to run: one of the two. */
struct crew_loot {
    struct crew_worker *victim;
    struct plait_worker_slot *slot;
    struct plait__crew_task *task;
};

/* Make a crew with places for so many threads; options as plait_crew_new reads them, all set. `life` NULL: all zero. */
int plait__crew_open(plait_crew_t **crew_out, const struct plait_crew_opts *opts, unsigned threads,
                     const struct plait__crew_life *life);

/*
 * Hand over a task, from any thread; tasks are taken in this order. It begins when a thread of the crew, of which there
 * must be one, has nothing to do, and before the threads have ended. No allocation. False, and nothing done: closed.
 */
bool plait__crew_submit(plait_crew_t *crew, struct plait__crew_task *task);

/* Take no more tasks, and end the threads when none is left. Wait until they have ended; then the memory may go. */
void plait__crew_close(plait_crew_t *crew);
int plait__crew_join(plait_crew_t *crew, plait_time_t deadline);
void plait__crew_destroy(plait_crew_t *crew);

/* Of a crew that is closed: the tasks that nobody has begun, which nobody will begin, linked by `next`. */
struct plait__crew_task *plait__crew_take_all(plait_crew_t *crew);

/* Let no tasks be taken; let them be taken again. */
void plait__crew_hold(plait_crew_t *crew, bool held);

/* ---- crew_threads.c: the threads ---- */

/* Give a worker its slots, if it has none yet. ENOMEM. */
int plait__crew_equip(struct crew_worker *w);

int plait__crew_start_threads(struct plait_crew *crew);

/* Start one where a place is vacant, because there is work and nobody to do it, unless one is being started already. */
void plait__crew_start_one(struct plait_crew *crew);

/* The place is vacant. And: is there one that is? */
void plait__crew_vacate(struct crew_worker *w);

static inline bool plait__crew_has_vacancy(const struct plait_crew *crew)
{
    return (load64_relaxed(&crew->vacant) & 0xffff) != 0;
}

/* ---- crew_stack.c: the stacks ---- */

/* Make its stack empty, before its first use. */
void plait__crew_stack_init(struct crew_worker *w);

/* Take the oldest task that v offers. */
bool plait__crew_stack_steal(struct crew_worker *v, struct crew_loot *loot_out);

/* Does v offer something at this instant? */
static inline bool crew_stack_has(const struct crew_worker *v)
{
    uint64_t word = load64_acquire(&v->word);

    return (word & CREW_INDEX_MASK) < (word >> CREW_INDEX_BITS & CREW_INDEX_MASK);
}

/* Ask v to offer something at its next spawn or sync. */
void plait__crew_stack_ask(struct crew_worker *v);

/* Is anybody who asks for work awake, and so would have it at once? A hint. */
bool plait__crew_asks_awake(const plait_worker_t *worker);

/* Run a function as the outermost of this worker, or one that is as good as that. */
void plait__crew_stack_run(struct crew_worker *w, plait_worker_fn *fn, void *arg);

/* Run a stolen task. */
void plait__crew_stack_run_stolen(struct crew_worker *w, const struct crew_loot *loot);

/* The worker's thread ends in the middle of a task. Aborts if others wait for what is on its stack, or take from there. */
void plait__crew_stack_left(struct crew_worker *w);

/* ---- crew_idle.c: who looks for work, who sleeps ---- */

/* Something can be had now: see to it that somebody looks. After a sequentially consistent operation that made it so. */
void plait__crew_notify(struct plait_crew *crew);

/* Wait until there is something to run, and take it. False: the thread is to end. */
bool plait__crew_find(struct crew_worker *w, struct crew_loot *loot_out);

/* Wake all that sleep. */
void plait__crew_wake_all(struct plait_crew *crew);

unsigned plait__crew_asleep(const struct plait_crew *crew);

/* ---- crew_queue.c: tasks from outside ---- */

/* False: it is closed. */
bool plait__crew_queue_put(struct crew_queue *queue, struct plait__crew_task *task);
void plait__crew_queue_close(struct crew_queue *queue);

/* The next for this thread, from its hand or the queue; or else from the hand of another thread. */
struct plait__crew_task *plait__crew_queue_get(struct crew_worker *w);
struct plait__crew_task *plait__crew_queue_steal(struct crew_worker *w);

/* Is there any, in the queue or in a hand? And: that may be taken now? */
bool plait__crew_queue_holds(const struct plait_crew *crew);
bool plait__crew_queue_has(const struct plait_crew *crew);

#endif
