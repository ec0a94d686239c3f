/* SPDX-License-Identifier: MIT */
/* Events and conditions: the look at one that is set, and turns of two threads that sleep in between. */
#include <plait.h>

#include <pthread.h>
#include <semaphore.h>

#include "bench.h"
#include "contend.h"
#include "peers.h"

BENCH_INLINE void nothing(void *unused) { (void)unused; }

/* ---- Ours ---- */

BENCH_INLINE void wait_event(void *event) { plait_event_wait(event, PLAIT_FOREVER); }

static double ours_set(const struct bench_load *load)
{
    static plait_event_t event __attribute__((aligned(64)));

    plait_event_set(&event);
    return bench_free(load, &event, wait_event, nothing);
}

struct our_table {
    plait_lock_t lock;
    plait_cond_t moved;
    unsigned turn; /* guarded by lock */
};

BENCH_INLINE void our_cond_pass(void *table, unsigned me)
{
    struct our_table *t = table;

    plait_lock_acquire(&t->lock, PLAIT_FOREVER);
    while (t->turn != me)
        plait_cond_wait(&t->moved, &t->lock, PLAIT_FOREVER);
    t->turn = !me;
    plait_cond_notify(&t->moved, 1);
    plait_lock_release(&t->lock);
}

static void our_cond_member(unsigned index, void *turns) { bench_take_turns(index, turns, our_cond_pass); }

static double our_cond(const struct bench_load *load)
{
    struct our_table table __attribute__((aligned(64))) = { 0 };

    return bench_turns_threads(load, &table, our_cond_member);
}

struct our_crowd {
    plait_lock_t lock;
    plait_cond_t changed;
    plait_cond_t complete;
    unsigned round, waiting; /* guarded by lock */
};

BENCH_INLINE unsigned our_crowd_wait(void *crowd, unsigned seen)
{
    struct our_crowd *c = crowd;
    unsigned round;

    plait_lock_acquire(&c->lock, PLAIT_FOREVER);
    c->waiting++;
    plait_cond_notify(&c->complete, 1);
    while (c->round == seen)
        plait_cond_wait(&c->changed, &c->lock, PLAIT_FOREVER);
    round = c->round;
    plait_lock_release(&c->lock);
    return round;
}

BENCH_INLINE void our_crowd_change(void *crowd, unsigned width)
{
    struct our_crowd *c = crowd;

    plait_lock_acquire(&c->lock, PLAIT_FOREVER);
    while (c->waiting < width)
        plait_cond_wait(&c->complete, &c->lock, PLAIT_FOREVER);
    c->waiting = 0;
    c->round++;
    plait_cond_notify_all(&c->changed);
    plait_lock_release(&c->lock);
}

static void our_crowd_member(unsigned index, void *crowd)
{
    bench_crowd_member(index, crowd, our_crowd_wait, our_crowd_change);
}

static double our_crowd(const struct bench_load *load)
{
    struct our_crowd crowd __attribute__((aligned(64))) = { 0 };

    return bench_crowd_threads(load, &crowd, our_crowd_member);
}

/* The rounds take turns with two events: one is set, the other clear for those who wait. */
struct our_event_crowd {
    plait_event_t changed[2];
    plait_sem_t waiting;
    unsigned rounds; /* of who changes, only */
};

BENCH_INLINE unsigned our_event_crowd_wait(void *crowd, unsigned seen)
{
    struct our_event_crowd *c = crowd;

    plait_sem_release(&c->waiting, 1);
    plait_event_wait(&c->changed[seen % 2], PLAIT_FOREVER);
    return seen + 1;
}

BENCH_INLINE void our_event_crowd_change(void *crowd, unsigned width)
{
    struct our_event_crowd *c = crowd;
    unsigned round = c->rounds++;

    plait_sem_acquire(&c->waiting, width, PLAIT_FOREVER);
    plait_event_clear(&c->changed[!(round % 2)]);
    plait_event_set(&c->changed[round % 2]);
}

static void our_event_crowd_member(unsigned index, void *crowd)
{
    bench_crowd_member(index, crowd, our_event_crowd_wait, our_event_crowd_change);
}

static double our_event_crowd(const struct bench_load *load)
{
    struct our_event_crowd crowd __attribute__((aligned(64))) = { 0 };

    return bench_crowd_threads(load, &crowd, our_event_crowd_member);
}

BENCH_INLINE void our_event_pass(void *events, unsigned me)
{
    plait_event_t *mine = (plait_event_t *)events + me;

    plait_event_wait(mine, PLAIT_FOREVER);
    plait_event_clear(mine);
    plait_event_set((plait_event_t *)events + !me);
}

static void our_event_member(unsigned index, void *turns) { bench_take_turns(index, turns, our_event_pass); }

static double our_event(const struct bench_load *load)
{
    plait_event_t events[2] __attribute__((aligned(64))) = { PLAIT_EVENT_INIT, PLAIT_EVENT_INIT };

    plait_event_set(&events[0]);
    return bench_turns_threads(load, events, our_event_member);
}

/* The same, each bound to a cancel token of its own, whose parent is one for both. */
static plait_cancel_t parent, members[2];

static void bind(unsigned index)
{
    plait_cancel_init_child(&members[index], &parent, 0);
    plait_cancel_bind(&members[index]);
}

static void our_bound_cond_member(unsigned index, void *turns)
{
    bind(index);
    our_cond_member(index, turns);
}

static double our_bound_cond(const struct bench_load *load)
{
    struct our_table table __attribute__((aligned(64))) = { 0 };

    return bench_turns_threads(load, &table, our_bound_cond_member);
}

static void our_bound_event_member(unsigned index, void *turns)
{
    bind(index);
    our_event_member(index, turns);
}

static double our_bound_event(const struct bench_load *load)
{
    plait_event_t events[2] __attribute__((aligned(64))) = { PLAIT_EVENT_INIT, PLAIT_EVENT_INIT };

    plait_event_set(&events[0]);
    return bench_turns_threads(load, events, our_bound_event_member);
}

/* ---- pthreads ---- */

struct pthread_table {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    unsigned turn; /* guarded by lock */
};

BENCH_INLINE void pthread_pass(void *table, unsigned me)
{
    struct pthread_table *t = table;

    pthread_mutex_lock(&t->lock);
    while (t->turn != me)
        pthread_cond_wait(&t->moved, &t->lock);
    t->turn = !me;
    pthread_cond_signal(&t->moved);
    pthread_mutex_unlock(&t->lock);
}

static void pthread_member(unsigned index, void *turns) { bench_take_turns(index, turns, pthread_pass); }

static double pthread_turns(const struct bench_load *load)
{
    struct pthread_table table = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };

    return bench_turns_threads(load, &table, pthread_member);
}

struct pthread_crowd {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_cond_t complete;
    unsigned round, waiting; /* guarded by lock */
};

BENCH_INLINE unsigned pthread_crowd_wait(void *crowd, unsigned seen)
{
    struct pthread_crowd *c = crowd;
    unsigned round;

    pthread_mutex_lock(&c->lock);
    c->waiting++;
    pthread_cond_signal(&c->complete);
    while (c->round == seen)
        pthread_cond_wait(&c->changed, &c->lock);
    round = c->round;
    pthread_mutex_unlock(&c->lock);
    return round;
}

BENCH_INLINE void pthread_crowd_change(void *crowd, unsigned width)
{
    struct pthread_crowd *c = crowd;

    pthread_mutex_lock(&c->lock);
    while (c->waiting < width)
        pthread_cond_wait(&c->complete, &c->lock);
    c->waiting = 0;
    c->round++;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void pthread_crowd_member(unsigned index, void *crowd)
{
    bench_crowd_member(index, crowd, pthread_crowd_wait, pthread_crowd_change);
}

static double pthread_crowd(const struct bench_load *load)
{
    struct pthread_crowd crowd = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };

    return bench_crowd_threads(load, &crowd, pthread_crowd_member);
}

BENCH_INLINE void posix_pass(void *sems, unsigned me)
{
    sem_wait((sem_t *)sems + me);
    sem_post((sem_t *)sems + !me);
}

static void posix_member(unsigned index, void *turns) { bench_take_turns(index, turns, posix_pass); }

static double posix_turns(const struct bench_load *load)
{
    sem_t sems[2];

    sem_init(&sems[0], 0, 1);
    sem_init(&sems[1], 0, 0);
    return bench_turns_threads(load, sems, posix_member);
}

/* ---- The machine ---- */

BENCH_INLINE void add_one(void *word) { __atomic_fetch_add((uint32_t *)word, 1, __ATOMIC_ACQUIRE); }

static double one_rmw(const struct bench_load *load)
{
    static uint32_t word __attribute__((aligned(64)));

    return bench_free(load, &word, add_one, nothing);
}

const struct bench_metric bench_events[] = {
    { "event.wait.set", BENCH_NS, { 0 },
      { { "plait", ours_set }, { "nsync_note", nsync_note_set }, { "absl_notification", absl_notified },
        { "limit:one_rmw", one_rmw } }, 0 },
    { "turns.cond", BENCH_US, { 0 },
      { { "plait", our_cond }, { "pthread_cond", pthread_turns }, { "nsync_cv", nsync_turns },
        { "absl_condvar", absl_turns } }, 0 },
    { "crowd.cond.64", BENCH_US, { .width = 64 },
      { { "plait", our_crowd }, { "pthread_cond", pthread_crowd }, { "nsync_cv", nsync_crowd } }, 0 },
    { "crowd.cond.64.switches", BENCH_COUNT, { .width = 64, .size = 1 },
      { { "plait", our_crowd }, { "pthread_cond", pthread_crowd }, { "nsync_cv", nsync_crowd } }, 0 },
    { "crowd.event.64", BENCH_US, { .width = 64 },
      { { "plait", our_event_crowd }, { "pthread_cond", pthread_crowd }, { "nsync_cv", nsync_crowd } }, 0 },
    { "crowd.event.64.switches", BENCH_COUNT, { .width = 64, .size = 1 },
      { { "plait", our_event_crowd }, { "pthread_cond", pthread_crowd }, { "nsync_cv", nsync_crowd } }, 0 },
    { "turns.event", BENCH_US, { 0 },
      { { "plait", our_event }, { "pthread_cond", pthread_turns }, { "sem_t", posix_turns } }, 0 },
    { "turns.cond.bound", BENCH_US, { 0 },
      { { "plait", our_bound_cond }, { "nsync_cv+note", nsync_turns_noted }, { "limit:unbound", our_cond } }, 0 },
    { "turns.event.bound", BENCH_US, { 0 },
      { { "plait", our_bound_event }, { "limit:unbound", our_event } }, 0 },
    { 0 },
};
