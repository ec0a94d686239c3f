/* SPDX-License-Identifier: MIT */
/* nsync: mutex, condition variable, note. */
#include <nsync.h>

#include "bench.h"
#include "contend.h"
#include "peers.h"
#include "reading.h"

BENCH_INLINE void acquire(void *mu) { nsync_mu_lock(mu); }
BENCH_INLINE void release(void *mu) { nsync_mu_unlock(mu); }
BENCH_INLINE void nothing(void *unused) { (void)unused; }

double nsync_free(const struct bench_load *load)
{
    static nsync_mu mu;

    return bench_free(load, &mu, acquire, release);
}

static void member(unsigned index, void *contest) { bench_contend(contest, acquire, release); }

double nsync_contended(const struct bench_load *load)
{
    nsync_mu mu __attribute__((aligned(64))) = NSYNC_MU_INIT;

    return bench_contest_threads(load, &mu, member);
}

BENCH_INLINE void read_acquire(void *mu) { nsync_mu_rlock(mu); }
BENCH_INLINE void read_release(void *mu) { nsync_mu_runlock(mu); }

static const struct bench_rw rw = { read_acquire, read_release, acquire, release };

static void reading_member(unsigned index, void *reading) { bench_read_and_write(index, reading, rw); }

double nsync_free_read(const struct bench_load *load)
{
    static nsync_mu mu;

    return bench_free(load, &mu, read_acquire, read_release);
}

double nsync_reading(const struct bench_load *load)
{
    nsync_mu mu __attribute__((aligned(64))) = NSYNC_MU_INIT;

    return bench_reading_run(load, &mu, reading_member, bench_threads);
}

struct table {
    nsync_mu mu;
    nsync_cv moved;
    unsigned turn; /* guarded by mu */
};

BENCH_INLINE void pass(void *table, unsigned me)
{
    struct table *t = table;

    nsync_mu_lock(&t->mu);
    while (t->turn != me)
        nsync_cv_wait(&t->moved, &t->mu);
    t->turn = !me;
    nsync_cv_signal(&t->moved);
    nsync_mu_unlock(&t->mu);
}

static void turns_member(unsigned index, void *turns) { bench_take_turns(index, turns, pass); }

double nsync_turns(const struct bench_load *load)
{
    struct table table __attribute__((aligned(64))) = { NSYNC_MU_INIT, NSYNC_CV_INIT, 0 };

    return bench_turns_threads(load, &table, turns_member);
}

/* Each bound to a note of its own, whose parent is one for both. */
struct noted_table {
    struct table table; /* first */
    nsync_note notes[2];
};

BENCH_INLINE void noted_pass(void *table, unsigned me)
{
    struct noted_table *n = table;
    struct table *t = &n->table;

    nsync_mu_lock(&t->mu);
    while (t->turn != me)
        nsync_cv_wait_with_deadline(&t->moved, &t->mu, nsync_time_no_deadline, n->notes[me]);
    t->turn = !me;
    nsync_cv_signal(&t->moved);
    nsync_mu_unlock(&t->mu);
}

static void noted_member(unsigned index, void *turns) { bench_take_turns(index, turns, noted_pass); }

double nsync_turns_noted(const struct bench_load *load)
{
    nsync_note parent = nsync_note_new(NULL, nsync_time_no_deadline);
    struct noted_table table = { .notes = { nsync_note_new(parent, nsync_time_no_deadline),
                                            nsync_note_new(parent, nsync_time_no_deadline) } };
    double seconds = bench_turns_threads(load, &table, noted_member);

    nsync_note_free(table.notes[0]);
    nsync_note_free(table.notes[1]);
    nsync_note_free(parent);
    return seconds;
}

struct crowd {
    nsync_mu mu;
    nsync_cv changed;
    nsync_cv complete;
    unsigned round, waiting; /* guarded by mu */
};

BENCH_INLINE unsigned crowd_wait(void *crowd, unsigned seen)
{
    struct crowd *c = crowd;
    unsigned round;

    nsync_mu_lock(&c->mu);
    c->waiting++;
    nsync_cv_signal(&c->complete);
    while (c->round == seen)
        nsync_cv_wait(&c->changed, &c->mu);
    round = c->round;
    nsync_mu_unlock(&c->mu);
    return round;
}

BENCH_INLINE void crowd_change(void *crowd, unsigned width)
{
    struct crowd *c = crowd;

    nsync_mu_lock(&c->mu);
    while (c->waiting < width)
        nsync_cv_wait(&c->complete, &c->mu);
    c->waiting = 0;
    c->round++;
    nsync_cv_broadcast(&c->changed);
    nsync_mu_unlock(&c->mu);
}

static void crowd_member(unsigned index, void *crowd)
{
    bench_crowd_member(index, crowd, crowd_wait, crowd_change);
}

double nsync_crowd(const struct bench_load *load)
{
    struct crowd crowd __attribute__((aligned(64))) = { 0 };

    return bench_crowd_threads(load, &crowd, crowd_member);
}

BENCH_INLINE void wait_note(void *note) { nsync_note_wait(note, nsync_time_no_deadline); }

double nsync_note_set(const struct bench_load *load)
{
    nsync_note note = nsync_note_new(NULL, nsync_time_no_deadline);
    double seconds;

    nsync_note_notify(note);
    seconds = bench_free(load, note, wait_note, nothing);
    nsync_note_free(note);
    return seconds;
}

static void do_nothing(void) { }

BENCH_INLINE void run_once(void *once) { nsync_run_once(once, do_nothing); }

double nsync_onced(const struct bench_load *load)
{
    static nsync_once once = NSYNC_ONCE_INIT;

    return bench_free(load, &once, run_once, nothing);
}

BENCH_INLINE void count_down(void *counter) { nsync_counter_add(counter, -1); }
BENCH_INLINE void count_up(void *counter) { nsync_counter_add(counter, 1); }

static double count(const struct bench_load *load, void (*first)(void *), void (*second)(void *))
{
    nsync_counter counter = nsync_counter_new(0xffffffffu / 2);
    double seconds = bench_free(load, counter, first, second);

    nsync_counter_add(counter, -(int32_t)nsync_counter_value(counter));
    nsync_counter_free(counter);
    return seconds;
}

double nsync_count_down(const struct bench_load *load) { return count(load, count_down, nothing); }
double nsync_count_up_and_down(const struct bench_load *load) { return count(load, count_up, count_down); }
