/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A thread of the crew is at work, or searches, or sleeps. Who searches, and who sleeps, stands in one word, so that both
 * change together:
 *
 *     idle      0-15 the sleeper that came last, its number plus one; 16-31 searchers; 32-63 changes
 *
 * The sleepers are a stack, linked by `below`: who slept least has the warmest caches. A sleeper sleeps on a word of its
 * own, the bell. To wake one is to take it out and to count it as a searcher, in one step; the changes keep a compare and
 * swap from being deceived by a stack that has the same top again.
 *
 * Whoever makes something available wakes a sleeper only if nobody searches. A searcher that finds something, and was the
 * last one, looks whether there is more, and if so wakes the next. So a burst of small tasks wakes one thread, not all;
 * and many large ones wake all, each by the one before it.
 *
 * No wake is lost. E1: who makes something available does so, then looks at the word; who goes to sleep enters the word,
 * then looks whether something is available; all four are sequentially consistent. So either the first sees the sleeper,
 * or the second sees what is there: then it acts as the first would, and wakes the sleeper on top, which need not be
 * itself, and sleeps until it is taken out. If the first sees a searcher and leaves it to that one: the searcher either
 * goes to sleep, later, and then looks; or it finds something, leaves the searchers, and then looks. Only threads search
 * here. Who waits for its own stolen task (crew_stack.c) takes nothing else, and does not count.
 *
 * Threads may be told to end (stop), and tasks to be held; both are looked at after the sleepers were entered, as what is
 * available is, and who changes them then looks for sleepers. A thread that is told to end goes when the queue is empty, and
 * on its way wakes those who sleep, since they may have fallen asleep because it was not yet, or was held.
 *
 * A sleeper that nobody has needed for long may leave its place for good (crew_threads.c), but remains among the
 * sleepers until somebody wants to wake it. That one goes on to the next; E6: it was a searcher in its name meanwhile, for whom others
 * may have left something; that it looks for itself.
 *
 * The hungry are the threads that are not at work, from the start, and those who wait for a stolen task. Sleepers leave
 * their requests behind: the pointers of all workers are overwritten (crew_stack.c, E3), so the next spawn of anybody
 * offers something, and wakes one.
 */
#include <errno.h>

#include <plait/wait.h>

#include "exec/crew.h"
#include "wait/spin.h"

enum { ASK_EACH = 16 /* looks */ };

#define SEARCHER ((uint64_t)1 << 16)
#define CHANGE   ((uint64_t)1 << 32)

static inline uint32_t top_of(uint64_t idle) { return (uint32_t)(idle & 0xffff); }
static inline uint32_t searchers_of(uint64_t idle) { return (uint32_t)(idle >> 16 & 0xffff); }
static inline uint64_t with_top(uint64_t idle, uint32_t top) { return (idle & ~(uint64_t)0xffff) | top; }

/* Wake who was taken out of the sleepers. False: the thread has gone. */
static bool ring(struct crew_worker *w)
{
    uint32_t asleep = CREW_ASLEEP;

    if (!cas_acqrel(&w->bell, &asleep, CREW_AWAKE))
        return false;
    plait_wake(&w->bell, 1, 0);
    return true;
}

/* Take the sleeper on top out, and make a searcher of it; with `alone`, only if nobody searches. False: there is none. */
static bool wake_one(struct plait_crew *crew, bool alone)
{
    uint64_t idle = load64_seqcst(&crew->idle); /* E1 */

    while (top_of(idle) && !(alone && searchers_of(idle))) {
        struct crew_worker *w = &crew->workers[top_of(idle) - 1];

        if (!cas64_seqcst(&crew->idle, &idle, with_top(idle, load_relaxed(&w->below)) + SEARCHER + CHANGE))
            continue;
        if (ring(w))
            return true;
        plait__crew_vacate(w);
        idle = __atomic_sub_fetch(&crew->idle, SEARCHER, __ATOMIC_SEQ_CST); /* E6 */
    }
    return searchers_of(idle) != 0;
}

void plait__crew_notify(struct plait_crew *crew)
{
    if (!wake_one(crew, true))
        plait__crew_start_one(crew);
}

void plait__crew_wake_all(struct plait_crew *crew)
{
    for (unsigned i = 0; i < crew->threads && top_of(load64_seqcst(&crew->idle)); i++) /* some may lie down again */
        wake_one(crew, false);
}

unsigned plait__crew_asleep(const struct plait_crew *crew)
{
    unsigned asleep = 0;

    for (unsigned i = 0; i < crew->threads; i++)
        asleep += load_acquire(&crew->workers[i].bell) == CREW_ASLEEP; /* what it ran is over */
    return asleep;
}

/* ---- Searching -------------------------------------------------------------------------------- */

static bool is_anything_there(const struct plait_crew *crew)
{
    uint32_t count = load_acquire(&crew->count);

    if (plait__crew_queue_has(crew))
        return true;
    for (uint32_t i = 0; i < count; i++)
        if (crew_stack_has(&crew->workers[i]))
            return true;
    return false;
}

/* Ask everybody. Those who are to come need not be asked: who begins something looks at the hungry. */
static void ask_all(const struct crew_worker *w)
{
    uint32_t count = load_acquire(&w->crew->count);

    for (uint32_t i = 0; i < count; i++)
        if (&w->crew->workers[i] != w)
            plait__crew_stack_ask(&w->crew->workers[i]);
}

static void begin_search(struct crew_worker *w)
{
    if (!w->is_hungry)
        add_seqcst(&w->crew->hungry, 1); /* crew_stack.c: E3 */
    w->is_hungry = true;
    __atomic_fetch_add(&w->crew->idle, SEARCHER + CHANGE, __ATOMIC_SEQ_CST);
}

/* Something was found, and taken: let the next search, if this was the last searcher, and there is more and somebody for it. */
static void end_search(struct crew_worker *w)
{
    struct plait_crew *crew = w->crew;
    uint64_t idle = __atomic_sub_fetch(&crew->idle, SEARCHER, __ATOMIC_SEQ_CST);

    sub_seqcst(&crew->hungry, 1);
    w->is_hungry = false;
    if (searchers_of(idle) == 0 && (top_of(idle) || plait__crew_has_vacancy(crew)) && is_anything_there(crew)) /* E1 */
        plait__crew_notify(crew);
}

/* Look once; tasks from outside come first, as they have waited longest. */
static bool look(struct crew_worker *w, struct crew_loot *loot_out)
{
    uint32_t count = load_acquire(&w->crew->count);
    uint32_t i;

    loot_out->task = plait__crew_queue_get(w);
    if (!loot_out->task)
        loot_out->task = plait__crew_queue_steal(w);
    if (loot_out->task)
        return true;
    w->random = w->random * 1664525 + 1013904223;
    i = (uint32_t)((uint64_t)w->random * count >> 32);
    for (uint32_t n = 0; n < count; n++, i = i + 1 < count ? i + 1 : 0)
        if (&w->crew->workers[i] != w && plait__crew_stack_steal(&w->crew->workers[i], loot_out))
            return true;
    return false;
}

/* The caller has slept as long as a thread may that need not be there: is it out? From then on its place may be another's. */
static bool is_superfluous(struct crew_worker *w)
{
    struct plait_crew *crew = w->crew;
    uint32_t serving = load_relaxed(&crew->serving), asleep = CREW_ASLEEP;

    do
        if (serving <= crew->life.at_least)
            return false;
    while (!cas_acqrel(&crew->serving, &serving, serving - 1));
    sub_seqcst(&crew->hungry, 1);
    w->is_hungry = false;
    if (cas_acqrel(&w->bell, &asleep, CREW_GONE))
        return true;
    w->is_hungry = true;
    add_seqcst(&crew->hungry, 1);
    add_relaxed(&crew->serving, 1);
    return false;
}

/* Enter the sleepers. */
static void lie_down(struct crew_worker *w)
{
    struct plait_crew *crew = w->crew;
    uint64_t idle = load64_relaxed(&crew->idle);

    store_release(&w->bell, CREW_ASLEEP);
    do
        store_relaxed(&w->below, top_of(idle));
    while (!cas64_seqcst(&crew->idle, &idle, with_top(idle, w->number + 1) - SEARCHER + CHANGE)); /* E1 */
    ask_all(w);
    barrier_after_rmw();
    if (load_seqcst(&crew->stop) && !plait__crew_queue_holds(crew))
        plait__crew_wake_all(crew);
    else if (is_anything_there(crew))
        plait__crew_notify(crew);
}

/* A searcher becomes a sleeper, and is a searcher again when it returns. False: the thread is to end, and is neither. */
static bool fall_asleep(struct crew_worker *w)
{
    struct plait_crew *crew = w->crew;
    bool may_go = crew->life.at_least && crew->life.at_least < crew->threads;

    lie_down(w);
    while (load_acquire(&w->bell) == CREW_ASLEEP) {
        plait_time_t until = may_go ? plait_now() + crew->life.idle_time : PLAIT_FOREVER;

        if (plait_wait(&w->bell, CREW_ASLEEP, 0, until) == ETIMEDOUT && is_superfluous(w))
            return false;
    }
    return true;
}

bool plait__crew_find(struct crew_worker *w, struct crew_loot *loot_out)
{
    struct plait_crew *crew = w->crew;

    loot_out->task = plait__crew_queue_get(w); /* the next of many, without becoming a searcher first */
    if (loot_out->task)
        return true;
    begin_search(w);
    if (crew->life.rest)
        crew->life.rest(crew->life.context, w->number);
    for (;;) {
        struct plait__spin spin = plait__spin_begin(crew->lingers ? PLAIT__SPIN_REGION : PLAIT__SPIN_TURN, PLAIT_FOREVER);
        unsigned looks = 0;
        bool stays;

        do {
            bool stop = load_acquire(&crew->stop); /* all that was submitted before is run */

            if (look(w, loot_out)) {
                plait__spin_paid(&spin);
                end_search(w);
                return true;
            }
            if (stop && !plait__crew_queue_holds(crew)) { /* what is held will be run, too */
                end_search(w);
                plait__crew_wake_all(crew);
                return false;
            }
            if (looks++ % ASK_EACH == 0)
                ask_all(w);
        } while (plait__spin_pause(&spin));
        add_relaxed(&crew->asleep, 1);
        stays = fall_asleep(w);
        sub_relaxed(&crew->asleep, 1);
        if (!stays)
            return false;
    }
}
