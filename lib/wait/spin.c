/* SPDX-License-Identifier: MIT */
/*
 * How it works: each thread keeps a budget of time for each way to spin. A spin that paid moves the budget towards
 * twice what it took, one that did not pay shrinks it by an eighth; so where holders are preempted or waits are long,
 * little is lost. On one CPU nobody can change the word while we look: no spin.
 *
 * Two threads that take turns may find each other asleep for ever: to be woken takes several microseconds, longer than the small
 * budget that such losses have left to the other. So now and then a loser tries for longer than it takes to be woken, which is
 * 30 to 50 microseconds on a virtual machine whose other CPU has stopped. If that pays, both are awake, and stay so; if not, the
 * next try comes after twice as many losses.
 *
 * Where many in a row have paid, the other is awake, and if it is late, it has been interrupted, as a rule, and comes back before
 * a sleep and a wake would be over. So the first that is longer than the budget after such a row goes on for about as long as these take.
 *
 * A look takes the line away from whoever is about to write it. Who waits for a single change looks all the time; who
 * waits for a stream of them (an item, a side of a queue) looks ever more seldom, so that the other gets many done
 * in between; and rivals for a lock look seldom from the start: a lock that goes to and fro at every release
 * costs each of them a miss a time, while a rival that stays away for a microsecond leaves the holder a streak of fast
 * ones, and then has its own.
 *
 * Where the changes can be counted (items of a queue), the first look comes the later, the more had come the last times. A consumer
 * that is a little faster than its producer would else follow it item by item, and each item cost both of them several misses;
 * away for a microsecond it finds dozens. Where there is but one each time, somebody may be waiting for the answer to
 * it, and the look comes at once.
 *
 * Where there are more threads than CPUs, those who are to change the word may be waiting for ours. A yield lets them run for less
 * than half of what a sleep and a wake take; where one is to give way to the other again and again, neither sleeps any more. But the kernel may give the CPU to another program for a whole slice, some
 * milliseconds. So a yield is timed, and one that was late keeps all threads of this process from yielding for a long time
 * against it, longer at each such loss in turn.
 *
 * The pause instruction takes from 5 to 45 ns, as CPUs differ, so pauses are counted by a rate measured once.
 */
#include "wait/spin.h"

#include <sched.h>
#include <unistd.h>

#include <plait/time.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/tls.h"
#include "wait/hook.h"

enum {
    RATE_UNIT = 1024, /* the rate is pauses in so many nanoseconds */
    TRY_FIRST = 16,   /* losses until a long try; and at most */
    TRY_LAST = 4096,
    STREAK = 16,      /* spins that paid, one after the other */
    WAKING = 120000,  /* nanoseconds, as are the next */
    TRUST = 40000,
    AWAY_STEP = 50,
    AWAY_MAX = 1500,
    YIELDS = 16,
    YIELDS_LAST = 2, /* after a spin */
    VAIN_MAX = 8
};

#define LATE (PLAIT__MILLISECOND / 2)
#define REST_FACTOR 64 /* of how late it was; and at most */
#define REST_MAX (8 * PLAIT__SECOND)

/* All in nanoseconds. */
struct manner {
    uint32_t gap_first, gap_last;
    uint32_t budget_min, budget_max;
    uint32_t long_try;
};

static const struct manner manners[PLAIT__SPIN_WAYS] = {
    [PLAIT__SPIN_CHANGE] = { 0, 0, 600, 15000, WAKING },
    [PLAIT__SPIN_TURN] = { 0, 0, 150, 15000, WAKING },
    [PLAIT__SPIN_REGION] = { 0, 0, WAKING / 3, WAKING, WAKING },
    [PLAIT__SPIN_STREAM] = { 0, 2500, 150, 15000, WAKING },
    [PLAIT__SPIN_BATCH] = { 0, 2500, 150, 15000, WAKING },
    [PLAIT__SPIN_ANSWER] = { 0, 0, 600, 15000, WAKING },
    [PLAIT__SPIN_ASKED] = { 0, 600, 2000, 15000, WAKING },
    [PLAIT__SPIN_RIVALS] = { 700, 11000, 2000, 25000, 25000 },
};

/* What this thread has learnt. */
static PLAIT_TLS struct {
    uint32_t budget; /* nanoseconds; 0: not set yet */
    uint32_t losses; /* since the last that paid, or the last long try */
    uint32_t until_try;
    uint32_t paid; /* one after the other, STREAK at most */
    uint32_t waits, vain_yields;
} learnt[PLAIT__SPIN_WAYS];
static PLAIT_TLS uint32_t away; /* where what comes is counted: until the first look */

unsigned plait__cpus(void)
{
    static uint32_t cpus; /* relaxed: every thread computes the same */
    uint32_t n = load_relaxed(&cpus);
    cpu_set_t set;

    if (n)
        return n;
    if (sched_getaffinity(getpid(), sizeof set, &set) == 0) /* the main thread's: the caller may have one CPU to itself */
        n = (uint32_t)CPU_COUNT(&set);
    else
        n = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than the set holds */
    if (n == 0 || n > 1u << 20)
        n = 1;
    store_relaxed(&cpus, n);
    return n;
}

/* Pauses in RATE_UNIT nanoseconds. The best of three: what comes between makes them look slow, never fast. */
static uint32_t pause_rate(void)
{
    enum { PAUSES = 64 };
    static uint32_t rate; /* relaxed: whoever measures, it will do */
    uint32_t r = load_relaxed(&rate);
    plait_time_t best = PLAIT_FOREVER;

    if (r)
        return r;
    for (int i = 0; i < 3; i++) {
        plait_time_t took = plait_now();

        for (int n = 0; n < PAUSES; n++)
            cpu_relax();
        took = plait_now() - took;
        if (took < best)
            best = took;
    }
    r = best > 0 ? (uint32_t)(PAUSES * RATE_UNIT / best) : RATE_UNIT;
    r = r < 8 ? 8 : r > RATE_UNIT ? RATE_UNIT : r;
    store_relaxed(&rate, r);
    return r;
}

static uint32_t pauses(uint32_t nanoseconds)
{
    return (uint32_t)((uint64_t)nanoseconds * pause_rate() / RATE_UNIT) + 1;
}

/* How long to spin now. A way that is new to this thread starts in the middle. */
static uint32_t budget_for(enum plait__spin_way way)
{
    uint32_t most = manners[way].budget_max;

    if (learnt[way].budget == 0) {
        learnt[way].budget = way == PLAIT__SPIN_RIVALS ? most : most / 4;
        learnt[way].until_try = TRY_FIRST;
    }
    if (learnt[way].losses >= learnt[way].until_try)
        return manners[way].long_try;
    if (learnt[way].paid == STREAK && learnt[way].budget < TRUST && TRUST < manners[way].long_try)
        return TRUST;
    return learnt[way].budget;
}

/*
 * A yield after a spin is tried in every wait, or, the oftener it was in vain of late, every 2nd, 4th, at least 256th. Never by rivals;
 * nor by those who ask and answer, who would keep each other on one CPU, where a sleeper is woken on another that is free.
 */
static uint32_t yields_for(enum plait__spin_way way)
{
    if (way >= PLAIT__SPIN_ANSWER || learnt[way].waits++ & ((1u << learnt[way].vain_yields) - 1))
        return 0;
    return YIELDS_LAST;
}

struct plait__spin plait__spin_begin(enum plait__spin_way way, plait_time_t deadline)
{
    struct plait__spin spin = { .way = way };
    uint32_t budget;

    if (deadline <= PLAIT_NOW || plait__wait_is_hooked())
        return spin;
    spin.yields = yields_for(way);
    budget = budget_for(way);
    if (deadline != PLAIT_FOREVER) {
        plait_time_t time_left = deadline - plait_now();

        if (time_left < budget)
            budget = time_left > 0 ? (uint32_t)time_left : 0;
        if (time_left < 2 * LATE)
            spin.yields = 0;
    }
    if (plait__cpus() == 1)
        return spin;
    spin.total = spin.left = pauses(budget);
    spin.gap = pauses(way == PLAIT__SPIN_BATCH || way == PLAIT__SPIN_ASKED ? away : manners[way].gap_first);
    spin.gap_last = pauses(manners[way].gap_last);
    return spin;
}

static void lost(struct plait__spin *spin)
{
    uint32_t *budget = &learnt[spin->way].budget;

    spin->total = 0;
    learnt[spin->way].paid = 0;
    *budget -= (*budget - manners[spin->way].budget_min) / 8;
    if (++learnt[spin->way].losses <= learnt[spin->way].until_try)
        return;
    learnt[spin->way].losses = 0; /* a long try */
    if (learnt[spin->way].until_try < TRY_LAST)
        learnt[spin->way].until_try *= 2;
}

/* ---- Giving the CPU to others ---- */

/* plait_time_t; relaxed: hints. When to try it again; how long the last pause was. */
static uint64_t yield_again, rest;

static void came_back_late(plait_time_t now, plait_time_t took)
{
    plait_time_t again = (plait_time_t)load64_relaxed(&yield_again), pause = (plait_time_t)load64_relaxed(&rest);

    if (now < again) /* another thread has learnt it */
        return;
    pause = now - again < 4 * pause ? 2 * pause : REST_FACTOR * took;
    pause = pause < REST_MAX ? pause : REST_MAX;
    store64_relaxed(&rest, (uint64_t)pause);
    store64_relaxed(&yield_again, (uint64_t)(now + pause));
}

/* Has no yield come back late a short while ago? */
static bool may_yield(plait_time_t now)
{
    return now >= (plait_time_t)load64_relaxed(&yield_again);
}

/* Give the CPU to others, at *now, which is brought up to date. False if it came back late. */
static bool yield_once(plait_time_t *now)
{
    plait_time_t before = *now;

    sched_yield();
    *now = plait_now();
    if (*now - before <= LATE)
        return true;
    came_back_late(*now, *now - before);
    return false;
}

/* The last part of a spin. True: look again. */
static bool give_way(struct plait__spin *spin)
{
    plait_time_t now = plait_now();

    if (!may_yield(now))
        return false;
    if (!spin->has_yielded && learnt[spin->way].vain_yields < VAIN_MAX)
        learnt[spin->way].vain_yields++;
    spin->has_yielded = true;
    spin->yields = yield_once(&now) ? spin->yields - 1 : 0;
    return true;
}

/* ---- The rest of a spin ---- */

bool plait__spin_pause(struct plait__spin *spin)
{
    uint32_t gap = spin->gap < spin->left ? spin->gap : spin->left;

    if (gap == 0) {
        if (spin->total)
            lost(spin);
        return spin->yields && give_way(spin);
    }
    for (uint32_t i = 0; i < gap; i++)
        cpu_relax();
    spin->left -= gap;
    spin->gap = 2 * spin->gap < spin->gap_last ? 2 * spin->gap : spin->gap_last;
    return true;
}

void plait__spin_paid(struct plait__spin *spin)
{
    const struct manner *manner = &manners[spin->way];
    uint32_t *budget = &learnt[spin->way].budget;
    uint64_t took = (uint64_t)(spin->total - spin->left) * RATE_UNIT / pause_rate();
    uint64_t wanted = 2 * took + manner->budget_min;

    if (spin->has_yielded)
        learnt[spin->way].vain_yields = 0;
    if (spin->total == 0) /* a call that does not wait: nothing is learnt, least of all a budget below the least */
        return;
    if (wanted > *budget)
        *budget += (uint32_t)(wanted - *budget + 7) / 8;
    if (*budget > manner->budget_max)
        *budget = manner->budget_max;
    learnt[spin->way].losses = 0;
    learnt[spin->way].until_try = TRY_FIRST;
    if (learnt[spin->way].paid < STREAK)
        learnt[spin->way].paid++;
}

void plait__spin_came(struct plait__spin *spin, size_t count)
{
    plait__spin_paid(spin);
    if (count == 1)
        away /= 2;
    else if (away < AWAY_MAX)
        away = 2 * away + AWAY_STEP;
}

bool plait__spin_until_changed(enum plait__spin_way way, const uint32_t *word, uint32_t expected, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(way, deadline);

    do {
        if (load_relaxed(word) != expected) {
            plait__spin_paid(&spin);
            return true;
        }
    } while (plait__spin_pause(&spin));
    return false;
}

bool plait__yield_until_changed(const uint32_t *word, uint32_t expected, plait_time_t deadline)
{
    plait_time_t now = plait_now();
    bool in_time = true;

    if (!may_yield(now) || plait__wait_is_hooked() || (deadline != PLAIT_FOREVER && deadline - now < 2 * LATE))
        return false;
    for (int i = 0; i < YIELDS && in_time; i++) {
        in_time = yield_once(&now);
        if (load_relaxed(word) != expected)
            return true;
    }
    return false;
}
