/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The parts: crew_stack.c, the stack of spawned tasks that each worker has, and how others steal from it; crew_idle.c,
 * who searches for work and who sleeps; crew_queue.c, tasks from outside; crew_threads.c, how threads come and go. Here: who
 * the workers are.
 *
 * The first workers of the array are threads. Behind them are places for guests: a thread that calls plait_crew_run takes
 * a free one (a bit in `guests`), and is a worker until its call is over. The memory of a place's stack comes with its
 * first guest, and stays; `count` tells thieves how far to look. Who finds no place, or no memory, has a worker on its
 * own frame with no slots: each spawned task is run at once.
 *
 *   E1  a guest's place and all of its stack belongs to who has set the bit (acquire); who leaves clears it (release).
 *   E2  count: a guest's slots are there before it is counted (release, acquire).
 *
 * Whether a caller is inside already is asked of the workers: whose caller is this one? The caller may be a fiber.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <plait/cancel.h>
#include <plait/init.h>

#include "base/fork_epoch.h"
#include "base/options.h"
#include "exec/crew.h"
#include "wait/caller.h"
#include "wait/point.h"
#include "wait/spin.h"

enum { WORKERS_MAX = 1024, DEPTH_DEFAULT = 16384, DEPTH_MAX = 131072 };

static void *map(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

static size_t slots_size(const struct plait_crew *crew)
{
    return crew->depth * sizeof(struct plait_worker_slot);
}

static size_t workers_size(const struct plait_crew *crew)
{
    return (crew->threads + CREW_GUESTS) * sizeof(struct crew_worker);
}

int plait__crew_equip(struct crew_worker *w)
{
    if (w->slots)
        return 0;
    w->slots = map(slots_size(w->crew));
    if (!w->slots)
        return ENOMEM;
    w->end = w->slots + w->crew->depth;
    plait__crew_stack_init(w);
    return 0;
}

/* ---- Making and dropping ---------------------------------------------------------------------- */

void plait__crew_destroy(plait_crew_t *crew)
{
    for (unsigned i = 0; crew->workers && i < crew->threads + CREW_GUESTS; i++) {
        plait_thread_free(crew->workers[i].thread);
        if (crew->workers[i].slots)
            munmap(crew->workers[i].slots, slots_size(crew));
    }
    if (crew->workers)
        munmap(crew->workers, workers_size(crew));
    munmap(crew, sizeof *crew);
}

void plait__crew_close(plait_crew_t *crew)
{
    plait__crew_queue_close(&crew->queue);
    exchange_seqcst(&crew->stop, 1);
    barrier_after_rmw();
    plait__crew_wake_all(crew);
}

void plait__crew_hold(plait_crew_t *crew, bool held)
{
    exchange_seqcst(&crew->held, held);
    barrier_after_rmw();
    if (!held && load_seqcst(&crew->stop))
        plait__crew_wake_all(crew);
    else if (!held && plait__crew_queue_holds(crew))
        plait__crew_notify(crew);
}

/* End the threads, and wait for them. */
static void stop_threads(struct plait_crew *crew)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int closed = plait__point_close();

    plait__crew_close(crew);
    plait__crew_join(crew, PLAIT_FOREVER);
    plait__point_restore(closed);
    plait_cancel_bind(token);
}

int plait__crew_open(plait_crew_t **crew_out, const struct plait_crew_opts *opts, unsigned threads,
                     const struct plait__crew_life *life)
{
    struct plait_crew *crew = map(sizeof *crew);
    int err;

    if (!crew)
        return ENOMEM;
    crew->threads = crew->count = threads;
    crew->depth = opts->depth;
    crew->stack_size = opts->stack_size;
    crew->epoch = plait__fork_epoch_renew();
    if (life)
        crew->life = *life;
    else
        crew->lingers = threads < plait__cpus();
    snprintf(crew->name, sizeof crew->name, "%s", opts->name);
    crew->workers = map(workers_size(crew));
    if (!crew->workers) {
        plait__crew_destroy(crew);
        return ENOMEM;
    }
    for (unsigned i = 0; i < threads + CREW_GUESTS; i++) {
        crew->workers[i].crew = crew;
        crew->workers[i].number = crew->workers[i].random = i;
        crew->workers[i].batch = 1;
    }
    *crew_out = crew; /* its threads may look for it there */
    err = plait__crew_start_threads(crew);
    if (err) {
        stop_threads(crew);
        plait__crew_destroy(crew);
        *crew_out = NULL;
    }
    return err;
}

int plait_crew_new_sized(plait_crew_t **crew_out, const struct plait_crew_opts *given, size_t given_size)
{
    struct plait_crew_opts opts;

    if (!crew_out || plait__options_read(&opts, sizeof opts, given, given_size) || opts.workers > WORKERS_MAX ||
        opts.depth > DEPTH_MAX)
        return EINVAL;
    if (opts.workers == 0)
        opts.workers = plait_cpu_count() < WORKERS_MAX ? plait_cpu_count() : WORKERS_MAX;
    if (opts.depth == 0)
        opts.depth = DEPTH_DEFAULT;
    if (!opts.name)
        opts.name = "plait-crew";
    return plait__crew_open(crew_out, &opts, opts.workers - 1, NULL);
}

/* The worker that the caller is; NULL: it is none of them. */
static struct crew_worker *worker_of_caller(struct plait_crew *crew)
{
    uint32_t count = load_acquire(&crew->count);
    void *caller = plait__caller();

    for (uint32_t i = 0; i < count; i++)
        if (loadptr_relaxed(&crew->workers[i].caller) == caller)
            return &crew->workers[i];
    return NULL;
}

int plait_crew_free(plait_crew_t *crew)
{
    if (!crew)
        return 0;
    if (worker_of_caller(crew))
        return EDEADLK;
    if (crew->epoch == plait__fork_epoch())
        stop_threads(crew);
    plait__crew_destroy(crew);
    return 0;
}

/* ---- Running ---------------------------------------------------------------------------------- */

/* A free place, which is the caller's from now on. NULL: there is none, or no memory. */
static struct crew_worker *enter(struct plait_crew *crew)
{
    uint64_t guests = load64_relaxed(&crew->guests);
    struct crew_worker *w;
    uint32_t count;
    unsigned place;

    do {
        if (!~guests)
            return NULL;
        place = (unsigned)__builtin_ctzll(~guests);
    } while (!cas64_acqrel(&crew->guests, &guests, guests | (uint64_t)1 << place)); /* E1 */
    w = &crew->workers[crew->threads + place];
    if (plait__crew_equip(w)) {
        __atomic_fetch_and(&crew->guests, ~((uint64_t)1 << place), __ATOMIC_RELEASE);
        return NULL;
    }
    count = load_relaxed(&crew->count);
    while (count <= w->number && !cas_acqrel(&crew->count, &count, w->number + 1)) /* E2 */
        ;
    storeptr_relaxed(&w->caller, plait__caller());
    return w;
}

static void leave(struct crew_worker *w)
{
    uint64_t place = (uint64_t)1 << (w->number - w->crew->threads);

    storeptr_relaxed(&w->caller, NULL);
    __atomic_fetch_and(&w->crew->guests, ~place, __ATOMIC_RELEASE); /* E1 */
}

/* Run it with a worker that has no slots, and to which nobody comes. */
static void run_alone(struct plait_crew *crew, plait_worker_fn *fn, void *arg)
{
    struct plait_worker_slot none;
    struct crew_worker alone = { .crew = crew, .slots = &none, .end = &none };

    plait__crew_stack_init(&alone);
    plait__crew_stack_run(&alone, fn, arg);
}

int plait_crew_run(plait_crew_t *crew, plait_worker_fn *fn, void *arg)
{
    struct crew_worker *w;
    plait_cancel_t *token;
    int closed;

    if (!fn)
        return EINVAL;
    if (crew->epoch != plait__fork_epoch())
        return EPIPE;
    w = worker_of_caller(crew);
    if (w) {
        plait__crew_stack_run(w, fn, arg);
        return 0;
    }
    token = plait_cancel_bind(NULL);
    closed = plait__point_close();
    w = enter(crew);
    if (w) {
        plait__crew_stack_run(w, fn, arg);
        leave(w);
    } else
        run_alone(crew, fn, arg);
    plait__point_restore(closed);
    plait_cancel_bind(token);
    return 0;
}

bool plait__crew_submit(plait_crew_t *crew, struct plait__crew_task *task)
{
    if (!plait__crew_queue_put(&crew->queue, task))
        return false;
    barrier_after_rmw();
    plait__crew_notify(crew);
    return true;
}

int plait_crew_stats(const plait_crew_t *crew, struct plait_crew_stats *stats_out)
{
    uint32_t count = load_acquire(&crew->count);

    *stats_out = (struct plait_crew_stats){ .threads = crew->threads, .asleep = plait__crew_asleep(crew) };
    for (uint32_t i = 0; i < count; i++)
        stats_out->stolen += load64_relaxed(&crew->workers[i].stolen);
    return 0;
}
