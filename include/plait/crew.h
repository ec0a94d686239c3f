/* SPDX-License-Identifier: MIT */
/* Crew: threads that take work from each other; fork and join of functions without an allocation. */
#ifndef PLAIT_CREW_H
#define PLAIT_CREW_H

#include <stddef.h>
#include <stdint.h>

#include <plait/export.h>

PLAIT_BEGIN_DECLS

/*
 * plait_crew_t - a number of threads that share the work of those who call plait_crew_run.
 *
 *     struct fib { long n, result; };
 *
 *     static void fib(plait_worker_t *worker, void *arg)
 *     {
 *         struct fib *f = arg;
 *         if (f->n < 2) {
 *             f->result = f->n;
 *             return;
 *         }
 *         struct fib a = { .n = f->n - 1 }, b = { .n = f->n - 2 };   // in this frame: nothing is allocated
 *         plait_worker_spawn(worker, fib, &a);                       // others may run it from now on
 *         fib(worker, &b);
 *         plait_worker_sync(worker);                                 // it has run: here, or somewhere else
 *         f->result = a.result + b.result;
 *     }
 *
 *     plait_crew_t *crew;
 *     struct fib f = { .n = 40 };
 *     plait_crew_new(&crew, &(struct plait_crew_opts){ .workers = 4 });
 *     plait_crew_run(crew, fib, &f);
 *     plait_crew_free(crew);
 *
 * A worker is a thread of the crew, or a caller of plait_crew_run for as long as that call lasts. Each has a stack of the
 * tasks that it has spawned and not yet synced. It takes its own youngest one; idle workers take the oldest one of
 * others. A spawned task that nobody asks for costs a few plain stores; it is offered to others only when some worker has
 * nothing to do, at the next spawn or sync of the worker that has it.
 *
 * What the spawner wrote before the spawn is seen by the task, and what the task wrote is seen after the sync. So what a
 * task works on may lie in the spawner's frame, which does not end before the sync.
 *
 * A worker whose youngest task was taken by another helps meanwhile, but only with what that task has spawned in its
 * turn: no task ever runs inside another one that it does not descend from. So it is safe to hold a lock over a sync that
 * the descendants do not take. Then it sleeps. Workers without anything to do sleep, too, and cost no CPU time; at most
 * one at a time is woken to look for work, and wakes the next when it has found some.
 *
 * Threads of the crew are daemons and leave signals to the program's threads. A task that waits for anything (plait_wait,
 * a lock, a read) holds up its own worker only. A child after fork has none of the threads.
 */
typedef struct plait_crew plait_crew_t;

/* One of the workers: what a task gets to spawn with. Valid in that call of the task only, and in that thread. */
typedef struct plait_worker plait_worker_t;

typedef void plait_worker_fn(plait_worker_t *worker, void *arg);

/* Options of plait_crew_new; zero is the default of each. */
struct plait_crew_opts {
    unsigned workers;   /* at work at a time if one thread calls plait_crew_run, itself among them: one less are
                           started. 0: plait_cpu_count(); at most 1024 */
    unsigned depth;     /* tasks that one worker can have spawned and not synced; more are run at once. 0: 16384; at
                           most 131072 */
    size_t stack_size;  /* bytes of each thread's stack; 0: the system's default */
    const char *name;   /* of the threads; NULL: "plait-crew"; copied */
};

/* Make a crew and start its threads. EINVAL: absurd options. EAGAIN, ENOMEM: what the system refused. */
PLAIT_API int plait_crew_new_sized(plait_crew_t **crew_out, const struct plait_crew_opts *opts, size_t opts_size);

PLAIT_API int plait_crew_new(plait_crew_t **crew_out, const struct plait_crew_opts *opts);
PLAIT_INLINE_ALWAYS int plait_crew_new(plait_crew_t **crew_out, const struct plait_crew_opts *opts)
{
    return plait_crew_new_sized(crew_out, opts, sizeof(struct plait_crew_opts));
}

/*
 * End the threads, when what they run has returned, and drop the crew; NULL is allowed. Nobody may be in plait_crew_run
 * or call it any more. 0; EDEADLK, and nothing done: called by one of its workers. In a child after fork only the memory
 * goes.
 */
PLAIT_API int plait_crew_free(plait_crew_t *crew);

/*
 * Run fn(worker, arg) in the calling thread, which is a worker meanwhile. Inside a task of the same crew this is a plain
 * call. Any number of threads may do so at once; each comes on top of the crew's own, and from the 65th on they get no
 * help. Not a cancellation point; the caller's cancel token does not cut the waits of its tasks short. No allocation, but
 * for the first calls. EINVAL: no function. EPIPE: this is a child after fork.
 */
PLAIT_API int plait_crew_run(plait_crew_t *crew, plait_worker_fn *fn, void *arg);

/*
 * Let fn(.., arg) be run, by this worker or another one, before the sync that belongs to it. For the worker that the
 * running task was given. Each spawn has one sync, by the same task, the last spawned first. To return without is a
 * mistake that ends the program, at the latest when the outermost task returns.
 */
PLAIT_API void plait_worker_spawn(plait_worker_t *worker, plait_worker_fn *fn, void *arg);

/*
 * See to it that the youngest task that was spawned and not synced has run: run it now, or wait for the worker that has
 * taken it. 0; EOWNERDEAD: this is a child that came from fork inside a task, and the spawned one was taken by a thread
 * of the parent: it will not have run. To sync more often than was spawned ends the program.
 */
PLAIT_API int plait_worker_sync(plait_worker_t *worker);

/* Work through the numbers from `begin` to before `end`; for a loop that reduces, add what comes of them to *into. */
typedef void plait_crew_part_fn(plait_worker_t *worker, size_t begin, size_t end, void *context);
typedef void plait_crew_sum_fn(plait_worker_t *worker, size_t begin, size_t end, void *into, void *context);

/* Add *from, which comes of higher numbers, to *into. */
typedef void plait_crew_join_fn(void *into, const void *from, void *context);

/*
 * A loop: call part(.., begin, end, context) for runs of numbers that make up all from `begin` to before `end`, each
 * number once, and wait until all have returned. A run has `grain` numbers, the last ones of a piece may have less; with
 * a grain of 0 runs begin with one number and grow until one takes some microseconds. The loop is divided only when a
 * worker has nothing to do, in halves of what is left of a piece. In the same contexts as plait_crew_run; inside a task
 * as well. EINVAL: no function. EPIPE: as there. EOWNERDEAD: as plait_worker_sync.
 */
PLAIT_API int plait_crew_for(plait_crew_t *crew, size_t begin, size_t end, size_t grain, plait_crew_part_fn *part,
                             void *context);

/*
 * A loop that reduces. *result, of `size` bytes (at most 4096), holds the neutral element when called, and the outcome
 * afterwards: each piece begins with a copy of it, to which `sum` adds its runs in the order of their numbers; and `join`
 * puts neighbouring pieces together, the lower one into which, so that it has to be associative, but not commutative.
 * Else as plait_crew_for; EINVAL also: a size of 0, or above 4096, no result.
 */
PLAIT_API int plait_crew_reduce(plait_crew_t *crew, size_t begin, size_t end, size_t grain, plait_crew_sum_fn *sum,
                                plait_crew_join_fn *join, size_t size, void *result, void *context);

/* Live figures: consistent each, not together. */
struct plait_crew_stats {
    unsigned threads;            /* of the crew's own */
    unsigned asleep;             /* of these: those with nothing to do, asleep or about to be */
    unsigned long long stolen;   /* tasks that were run by another worker than the one that spawned them */
};

/* Read the figures. Always 0. */
PLAIT_API int plait_crew_stats(const plait_crew_t *crew, struct plait_crew_stats *stats_out);

/* What the inlined calls fall back to: the same contracts. Not to be called directly. */
PLAIT_API void plait_worker_spawn_slow(plait_worker_t *worker, plait_worker_fn *fn, void *arg);
PLAIT_API int plait_worker_sync_slow(plait_worker_t *worker);

/* A spawned task. */
struct plait_worker_slot {
    plait_worker_fn *fn; /* written by the owner; read by it, or by who has taken the task */
    void *arg;           /* the same */
    uint64_t behind[2];  /* the library's */
};

/* For the inlined calls: the beginning of a worker. */
struct plait_worker {
    struct plait_worker_slot *top;   /* owner only: where the next spawn goes */
    struct plait_worker_slot *limit; /* atomic: below it a spawn need not look further */
    struct plait_worker_slot *floor; /* atomic: from it on nobody else can have taken a task */
};

#ifndef PLAIT_NO_INLINE
PLAIT_INLINE void plait_worker_spawn(plait_worker_t *worker, plait_worker_fn *fn, void *arg)
{
    struct plait_worker_slot *slot = worker->top;

    if (__builtin_expect(slot < __atomic_load_n(&worker->limit, __ATOMIC_RELAXED), 1)) {
        slot->fn = fn;
        slot->arg = arg;
        worker->top = slot + 1;
        return;
    }
    plait_worker_spawn_slow(worker, fn, arg);
}

PLAIT_INLINE int plait_worker_sync(plait_worker_t *worker)
{
    struct plait_worker_slot *slot = worker->top - 1;

    if (__builtin_expect(slot >= __atomic_load_n(&worker->floor, __ATOMIC_RELAXED), 1)) {
        worker->top = slot;
        slot->fn(worker, slot->arg);
        return 0;
    }
    return plait_worker_sync_slow(worker);
}
#endif

PLAIT_END_DECLS

#endif
