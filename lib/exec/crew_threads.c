/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A crew has places for threads. A plain one fills all of them at once, and they stay. One that was made with a life
 * (crew.h) begins with `at_least`; the other places are vacant, and form a stack:
 *
 *     vacant    0-15 the place that came last, its number plus one; 16-63 changes
 *
 * Comes      Who makes something available and finds neither a sleeper nor a searcher (crew_idle.c) takes a vacant place and
 *            starts a thread there, in its own time. Only one is started at a time: `starting` says so from then until
 *            that thread is there. It then looks whether there is still more to do than who is at work can take, and if so
 *            starts the next. So there are never more threads than tasks, and a burst of small tasks starts few.
 *            No wake is lost: who leaves it to the one that is being started has made its task available before it looked at
 *            `starting`; that thread clears `starting` first, and then looks (both sequentially consistent). So does
 *            who finds no place vacant after all, since one may have become so. If the system makes no thread, all
 *            others are at work, and look when they have done; `at_least` is not 0. tests/models/crew_threads.pml.
 * Ends       A sleeper whose time is up counts itself out of `serving`, and swaps its bell from ASLEEP to GONE; if it has
 *            been woken in that instant, it counts itself in again. Who finds a bell GONE among the sleepers puts the place among the vacant. So
 *            a place belongs, at each time, to its thread, or is among the sleepers or the vacant, or to who has just taken it out.
 * Renewed    A thread that has run as many tasks as it may starts its successor in its own place, and ends. If that cannot be
 *            started, it goes on itself.
 *
 * Lost       A task may end its thread instead of returning (pthread_exit). The way out comes by here: a successor is started as
 *            for one that is renewed, in a closed crew as well, whose tasks have to be done. If none can be, the thread serves
 *            on from where it is.
 *
 * A new thread waits for the end of the one before it, so that what belongs to the owner of a place is never two threads'.
 *
 * `alive` counts threads from before they are started until they have done all but return; so when it is 0, and the crew is stopped, no
 * thread's handle changes any more.
 */
#include <errno.h>
#include <limits.h>

#include <plait/cancel.h>
#include <plait/wait.h>

#include "base/clock.h"
#include "exec/crew.h"
#include "exec/helper.h"
#include "wait/caller.h"
#include "wait/point.h"

#define CHANGE ((uint64_t)1 << 16)

static inline uint32_t top_of(uint64_t vacant) { return (uint32_t)(vacant & 0xffff); }

/* ---- The vacant places ------------------------------------------------------------------------ */

void plait__crew_vacate(struct crew_worker *w)
{
    uint64_t vacant = load64_relaxed(&w->crew->vacant);

    do
        store_relaxed(&w->below, top_of(vacant));
    while (!cas64_seqcst(&w->crew->vacant, &vacant, ((vacant + CHANGE) & ~(uint64_t)0xffff) | (w->number + 1)));
}

static struct crew_worker *occupy(struct plait_crew *crew)
{
    uint64_t vacant = load64_acquire(&crew->vacant);

    while (top_of(vacant)) {
        struct crew_worker *w = &crew->workers[top_of(vacant) - 1];

        if (cas64_acqrel(&crew->vacant, &vacant, ((vacant + CHANGE) & ~(uint64_t)0xffff) | load_relaxed(&w->below)))
            return w;
    }
    return NULL;
}

/* ---- What a thread does ------------------------------------------------------------------------ */

static void count_out(struct plait_crew *crew)
{
    if (sub_acqrel(&crew->alive, 1) == 1)
        plait_wake(&crew->alive, UINT_MAX, 0);
}

static int start(struct crew_worker *w);

/* Has another thread taken the caller's place? */
static bool is_succeeded(struct crew_worker *w)
{
    struct plait_crew *crew = w->crew;
    plait_thread_t *own = w->thread;

    add_relaxed(&crew->alive, 1);
    w->previous = own;
    if (start(w) == 0)
        return true;
    w->thread = own;
    w->previous = NULL;
    sub_acqrel(&crew->alive, 1);
    return false;
}

static bool is_renewed(struct crew_worker *w)
{
    w->ran = 0;
    return !load_acquire(&w->crew->stop) && is_succeeded(w);
}

static void run_task(plait_worker_t *worker, void *arg)
{
    struct plait__crew_task *task = arg;

    task->run(task, worker);
}

static void serve(struct crew_worker *w)
{
    unsigned limit = w->crew->life.tasks;
    struct crew_loot loot;

    while (plait__crew_find(w, &loot)) {
        if (loot.task)
            plait__crew_stack_run(w, run_task, loot.task);
        else
            plait__crew_stack_run_stolen(w, &loot);
        plait_cancel_bind(NULL);
        if (limit && ++w->ran >= limit && is_renewed(w))
            return;
    }
}

static void serve_until_lost(struct crew_worker *w);

/* A task has ended this thread, which is on its way out. */
static void lost(void *worker)
{
    struct crew_worker *w = worker;
    const struct plait__crew_life *life = &w->crew->life;
    bool is_last;

    plait_cancel_bind(NULL);
    plait__crew_stack_left(w);
    is_last = !is_succeeded(w);
    if (is_last)
        serve_until_lost(w);
    if (is_last && life->end)
        life->end(life->context, w->number);
    if (!is_last && life->lost)
        life->lost(life->context, w->number);
    storeptr_relaxed(&w->caller, NULL);
    count_out(w->crew);
}

static void serve_until_lost(struct crew_worker *w)
{
    pthread_cleanup_push(lost, w);
    serve(w);
    pthread_cleanup_pop(0);
}

/* The same, for who has no place yet, or none any more. */
static void count_out_of(void *crew)
{
    count_out(crew);
}

/* It is there: let the next be started, if there is more to do. */
static void say_started(struct crew_worker *w)
{
    struct plait_crew *crew = w->crew;

    if (!w->was_started)
        return;
    w->was_started = false;
    exchange_seqcst(&crew->starting, 0);
    barrier_after_rmw();
    if (plait__crew_queue_has(crew))
        plait__crew_notify(crew);
}

static void *work(void *arg)
{
    struct crew_worker *w = arg;
    struct plait_crew *crew = w->crew;
    const struct plait__crew_life *life = &crew->life;
    bool has_begun;

    plait__point_close(); /* for good: the crew counts on its workers */
    if (w->previous) {
        plait_thread_join(w->previous, NULL, PLAIT_FOREVER);
        plait_thread_free(w->previous);
        w->previous = NULL;
    }
    storeptr_relaxed(&w->caller, plait__caller());
    say_started(w);
    pthread_cleanup_push(count_out_of, crew);
    has_begun = !life->begin || life->begin(life->context, w->number);
    pthread_cleanup_pop(0);
    if (has_begun)
        serve_until_lost(w);
    pthread_cleanup_push(count_out_of, crew);
    if (has_begun && life->end)
        life->end(life->context, w->number);
    storeptr_relaxed(&w->caller, NULL);
    pthread_cleanup_pop(1);
    return NULL;
}

/* ---- Starting them ----------------------------------------------------------------------------- */

/* Start a thread in a place that is the caller's. It is counted. */
static int start(struct crew_worker *w)
{
    const struct plait_crew *crew = w->crew;
    sigset_t before;
    int err = plait__crew_equip(w);

    w->ran = 0;
    if (err == 0)
        err = plait_thread_new(&w->thread, &(struct plait_thread_opts){ .target = work, .arg = w, .name = crew->name,
                                                                        .daemon = true, .stack_size = crew->stack_size });
    if (err)
        return err;
    plait__helper_mask(&before);
    err = plait_thread_start(w->thread);
    plait__helper_unmask(&before);
    if (err) {
        plait_thread_free(w->thread);
        w->thread = NULL;
    }
    return err;
}

/* Start one in a place where there was none, or is none any more. */
static int fill(struct crew_worker *w)
{
    plait_thread_t *last = w->thread;
    int err;

    w->previous = last;
    w->is_hungry = true;
    store_relaxed(&w->bell, CREW_AWAKE);
    add_seqcst(&w->crew->hungry, 1);
    add_relaxed(&w->crew->serving, 1);
    err = start(w);
    if (err) {
        w->thread = last;
        w->previous = NULL;
        w->is_hungry = false;
        store_relaxed(&w->bell, CREW_GONE);
        sub_seqcst(&w->crew->hungry, 1);
        sub_acqrel(&w->crew->serving, 1);
    }
    return err;
}

int plait__crew_start_threads(struct plait_crew *crew)
{
    unsigned count = crew->life.at_least ? crew->life.at_least : crew->threads;
    int err = 0;

    for (unsigned i = crew->threads; i > count; i--) {
        store_relaxed(&crew->workers[i - 1].bell, CREW_GONE);
        plait__crew_vacate(&crew->workers[i - 1]);
    }
    for (unsigned i = 0; i < count && err == 0; i++) {
        add_relaxed(&crew->alive, 1);
        err = fill(&crew->workers[i]);
        if (err)
            count_out(crew);
    }
    return err;
}

/* The caller has said that it starts one. False: there is no vacant place after all. */
static bool start_in_a_vacant_place(struct plait_crew *crew)
{
    struct crew_worker *w = NULL;

    add_seqcst(&crew->alive, 1);
    if (!load_seqcst(&crew->stop))
        w = occupy(crew);
    if (w) {
        w->was_started = true;
        if (fill(w) == 0)
            return true;
        w->was_started = false;
        plait__crew_vacate(w);
    }
    exchange_seqcst(&crew->starting, 0);
    count_out(crew);
    return w != NULL;
}

void plait__crew_start_one(struct plait_crew *crew)
{
    plait_cancel_t *token;
    int closed;

    if (!plait__crew_has_vacancy(crew))
        return;
    token = plait_cancel_bind(NULL);
    closed = plait__point_close();
    do {
        const struct plait__crew_life *life = &crew->life;
        uint32_t none = 0;

        if ((life->wants && !life->wants(life->context, load_acquire(&crew->serving))) || !cas_seqcst(&crew->starting, &none, 1) ||
            start_in_a_vacant_place(crew))
            break;
        /* Who has made a place vacant since may have left it to us. */
    } while (!load_seqcst(&crew->stop) && top_of(load64_seqcst(&crew->vacant)) && plait__crew_queue_has(crew));
    plait__point_restore(closed);
    plait_cancel_bind(token);
}

int plait__crew_join(plait_crew_t *crew, plait_time_t deadline)
{
    uint32_t alive;
    int err = 0;

    while (err == 0 && (alive = load_acquire(&crew->alive)) != 0)
        err = plait_wait(&crew->alive, alive, 0, deadline);
    for (unsigned i = 0; i < crew->threads && err == 0; i++)
        if (crew->workers[i].thread)
            err = plait_thread_join(crew->workers[i].thread, NULL, deadline);
    return err;
}
