/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Who submits pushes onto `incoming`, a list of which the youngest is first, by one compare and swap. Who takes holds
 * `lock`, a word that is only tried, never waited for; it takes from `outgoing`, of which the oldest is first, and when
 * that is empty, takes all of `incoming` in one step and turns it round. So tasks leave in the order in which they
 * came. The lowest bit of `incoming` says that the queue is closed: then nothing can be pushed any more.
 *
 * A thread takes several at a time where they are short: the first to run it, the others into its hand, a ring from which
 * it takes by a compare and swap, as others do who find nothing else. How many is learnt by the clock: twice as many each
 * time as long as a task takes less than a microsecond, and one again if it takes longer. So the order in which tasks
 * begin is that of their submission, but for a few microseconds. What lies in the hand of a thread whose task turns out
 * to be long is not held up for longer than that: with each time that a thread goes to the queue it looks at the hand of
 * one other; if that is as it was the last time, it takes the first task from there.
 *
 *     hand      0-31 taken, 32-63 filled: counts that go on and on; the ring has what is between
 *
 *   E1  a submitter fills the task, then swaps it in (release); who takes swaps it out (acquire), then reads.
 *   E2  the lock: who takes it acquires, who gives it back releases.
 *   E3  the owner fills its ring, then the count (release); who takes has read the count (acquire), reads the ring, and
 *       then swaps: the ring is filled again only when all has been taken, so if the count is the same, so was the ring.
 *   E4  who takes leaves the rest in the queue or its hand, gives the lock back, and then looks whether somebody sleeps
 *       (all sequentially consistent): as if it had submitted the rest. For while it holds the lock, others may find
 *       nothing: the lock taken, and what was in `incoming` not yet in `outgoing`.
 */
#include <sched.h>

#include "base/prefetch.h"
#include "exec/crew.h"

enum { SHORT = 1000 /* nanoseconds */, AHEAD = 4 * 64 /* bytes: where the older ones lie as a rule (bulk.h) */ };

#define FILLED_ONE ((uint64_t)1 << 32)

static inline uint32_t count_of(uint64_t hand) { return (uint32_t)(hand >> 32) - (uint32_t)hand; }

#define CLOSED ((uintptr_t)1)

static inline bool is_closed(const struct plait__crew_task *first) { return (uintptr_t)first & CLOSED; }

bool plait__crew_queue_put(struct crew_queue *queue, struct plait__crew_task *task)
{
    struct plait__crew_task *first = loadptr_relaxed(&queue->incoming);

    do {
        if (is_closed(first))
            return false;
        task->next = first;
    } while (!__atomic_compare_exchange_n(&queue->incoming, &first, task, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)); /* E1 */
    return true;
}

void plait__crew_queue_close(struct crew_queue *queue)
{
    __atomic_fetch_or((uintptr_t *)&queue->incoming, CLOSED, __ATOMIC_SEQ_CST);
}

/* Without the bit. */
static struct plait__crew_task *incoming_of(const struct crew_queue *queue, int order)
{
    return (struct plait__crew_task *)(__atomic_load_n((const uintptr_t *)&queue->incoming, order) & ~CLOSED);
}

/* All that has come in, the youngest first. */
static struct plait__crew_task *take_incoming(struct crew_queue *queue)
{
    return (struct plait__crew_task *)(__atomic_fetch_and((uintptr_t *)&queue->incoming, CLOSED, __ATOMIC_ACQ_REL) & ~CLOSED); /* E1 */
}

bool plait__crew_queue_holds(const struct plait_crew *crew)
{
    if (crew->life.has)
        return crew->life.has(crew->life.context);
    if (incoming_of(&crew->queue, __ATOMIC_SEQ_CST) || loadptr_seqcst(&crew->queue.outgoing)) /* E4 */
        return true;
    for (unsigned i = 0; i < crew->threads; i++)
        if (count_of(load64_seqcst(&crew->workers[i].hand)))
            return true;
    return false;
}

bool plait__crew_queue_has(const struct plait_crew *crew)
{
    return !load_seqcst(&crew->held) && plait__crew_queue_holds(crew);
}

/* Take the first task from a hand, the caller's or another one. */
static struct plait__crew_task *take_from(struct crew_worker *v)
{
    uint64_t hand = load64_acquire(&v->hand); /* E3 */

    while (count_of(hand)) {
        struct plait__crew_task *task = loadptr_relaxed(&v->ring[(uint32_t)hand % CREW_HAND]);
        uint64_t taken = (hand & ~(FILLED_ONE - 1)) | (uint32_t)(hand + 1);

        if (cas64_acqrel(&v->hand, &hand, taken))
            return task;
    }
    return NULL;
}

static struct plait__crew_task *turned_round(struct plait__crew_task *youngest)
{
    struct plait__crew_task *oldest = NULL;

    while (youngest) {
        struct plait__crew_task *next = youngest->next;

        prefetch_to_write((const char *)youngest - AHEAD);
        youngest->next = oldest;
        oldest = youngest;
        youngest = next;
    }
    return oldest;
}

/* Put what follows into the hand, which is empty; gives what comes after that. */
static struct plait__crew_task *fill(struct crew_worker *w, struct plait__crew_task *task)
{
    uint64_t hand = load64_relaxed(&w->hand);
    uint32_t n = 0;

    for (; task && n + 1 < w->batch; task = task->next, n++)
        storeptr_relaxed(&w->ring[(uint32_t)(hand + n) % CREW_HAND], task);
    if (n)
        __atomic_fetch_add(&w->hand, n * FILLED_ONE, __ATOMIC_SEQ_CST); /* E3, E4 */
    return task;
}

/* How many to take at a time; the last were taken at `since`. */
static void learn(struct crew_worker *w)
{
    plait_time_t now = plait_now();

    if (now - w->since > (plait_time_t)w->batch * SHORT)
        w->batch = 1;
    else if (w->batch < CREW_HAND)
        w->batch *= 2;
    w->since = now;
}

/* The hand of one other that has not moved since somebody looked last. */
static struct plait__crew_task *take_from_stuck(struct crew_worker *w)
{
    struct crew_worker *v = &w->crew->workers[w->random++ % w->crew->threads];
    uint64_t hand = load64_relaxed(&v->hand);

    if (v == w || count_of(hand) == 0)
        return NULL;
    if (load64_relaxed(&v->hand_seen) == hand)
        return take_from(v);
    store64_relaxed(&v->hand_seen, hand);
    return NULL;
}

static struct plait__crew_task *take_from_queue(struct crew_worker *w)
{
    struct crew_queue *queue = &w->crew->queue;
    struct plait__crew_task *task;
    uint32_t free = 0;
    bool more;

    if (!loadptr_relaxed(&queue->outgoing) && !incoming_of(queue, __ATOMIC_RELAXED))
        return NULL;
    if (!cas_acquire(&queue->lock, &free, 1)) /* E2 */
        return NULL;
    task = loadptr_relaxed(&queue->outgoing);
    if (!task) {
        task = turned_round(take_incoming(queue));
        storeptr_relaxed(&queue->outgoing, task);
    }
    if (task) {
        learn(w);
        storeptr_relaxed(&queue->outgoing, fill(w, task->next)); /* E4 */
    }
    more = loadptr_relaxed(&queue->outgoing) || count_of(load64_relaxed(&w->hand));
    exchange_seqcst(&queue->lock, 0); /* E2, E4 */
    barrier_after_rmw();
    if (more)
        plait__crew_notify(w->crew);
    return task;
}

struct plait__crew_task *plait__crew_queue_get(struct crew_worker *w)
{
    const struct plait__crew_life *life = &w->crew->life;
    struct plait__crew_task *task;

    if (load_acquire(&w->crew->held))
        return NULL;
    if (life->get)
        return life->get(life->context);
    task = take_from(w);
    if (!task)
        task = take_from_stuck(w);
    return task ? task : take_from_queue(w);
}

struct plait__crew_task *plait__crew_queue_steal(struct crew_worker *w)
{
    struct plait__crew_task *task = NULL;

    for (unsigned i = 0; i < w->crew->threads && !task; i++)
        if (count_of(load64_relaxed(&w->crew->workers[i].hand)) && !load_acquire(&w->crew->held))
            task = take_from(&w->crew->workers[i]);
    return task;
}

/* Others may be in the middle of taking; what they take, they run. */
struct plait__crew_task *plait__crew_take_all(plait_crew_t *crew)
{
    struct crew_queue *queue = &crew->queue;
    struct plait__crew_task *first, **last = &first, *task;
    uint32_t free = 0;

    while (!cas_acquire(&queue->lock, &free, 1)) { /* E2: nobody keeps it for long */
        free = 0;
        sched_yield();
    }
    first = loadptr_relaxed(&queue->outgoing);
    while (*last)
        last = &(*last)->next;
    *last = turned_round(take_incoming(queue));
    storeptr_relaxed(&queue->outgoing, NULL);
    exchange_seqcst(&queue->lock, 0); /* E2 */
    while (*last)
        last = &(*last)->next;
    for (unsigned i = 0; i < crew->threads; i++)
        while ((task = take_from(&crew->workers[i])) != NULL) {
            task->next = NULL;
            *last = task;
            last = &task->next;
        }
    plait__crew_wake_all(crew); /* there is nothing left to sleep for */
    return first;
}
