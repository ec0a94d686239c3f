/* SPDX-License-Identifier: MIT */
/*
 * How it works: each thread keeps a budget of time for each way to spin. A spin that paid moves the budget towards
 * twice what it took, one that did not pay shrinks it by an eighth; so where holders are preempted or waits are long,
 * little is lost, and a floor keeps it able to learn that times have changed. On one CPU nobody can change the word
 * while we look: no spin.
 *
 * A look takes the line away from whoever is about to write it. Who waits for a single change looks all the time; who
 * waits for a stream of them (an item, a side of a queue) looks ever more seldom, so that the other gets many done
 * in between; and rivals for a lock look seldom from the start: a lock that goes to and fro at every release
 * costs each of them a miss a time, while a rival that stays away for a microsecond leaves the holder a streak of fast
 * ones, and then has its own.
 *
 * The pause instruction takes from 5 to 45 ns, as CPUs differ, so pauses are counted by a rate measured once.
 */
#include "wait/spin.h"

#include <sched.h>
#include <unistd.h>

#include <plait/time.h>

#include "base/atomic.h"
#include "base/tls.h"
#include "wait/hook.h"

enum { RATE_UNIT = 1024 }; /* the rate is pauses in so many nanoseconds */

/* All in nanoseconds. */
struct manner {
    uint32_t gap_first, gap_last;
    uint32_t budget_min, budget_max;
};

static const struct manner manners[PLAIT__SPIN_WAYS] = {
    [PLAIT__SPIN_CHANGE] = { 0, 0, 600, 15000 },
    [PLAIT__SPIN_STREAM] = { 0, 2500, 600, 15000 },
    [PLAIT__SPIN_RIVALS] = { 700, 11000, 2000, 25000 },
};

static PLAIT_TLS uint32_t budgets[PLAIT__SPIN_WAYS]; /* 0: not set yet */

unsigned plait__cpus(void)
{
    static uint32_t cpus; /* relaxed: every thread computes the same */
    uint32_t n = load_relaxed(&cpus);
    cpu_set_t set;

    if (n)
        return n;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
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

/* A way is new to this thread: start in the middle. */
static uint32_t *budget_of(enum plait__spin_way way)
{
    if (budgets[way] == 0)
        budgets[way] = way == PLAIT__SPIN_RIVALS ? manners[way].budget_max : manners[way].budget_max / 4;
    return &budgets[way];
}

struct plait__spin plait__spin_begin(enum plait__spin_way way, plait_time_t deadline)
{
    struct plait__spin spin = { .way = way };
    uint32_t budget;

    if (deadline <= PLAIT_NOW || plait__cpus() == 1 || plait__wait_is_hooked())
        return spin;
    budget = *budget_of(way);
    if (deadline != PLAIT_FOREVER) {
        plait_time_t time_left = deadline - plait_now();

        if (time_left < budget)
            budget = time_left > 0 ? (uint32_t)time_left : 0;
    }
    spin.total = spin.left = pauses(budget);
    spin.gap = pauses(manners[way].gap_first);
    spin.gap_last = pauses(manners[way].gap_last);
    return spin;
}

static void lost(struct plait__spin *spin)
{
    uint32_t *budget = budget_of(spin->way);

    *budget -= (*budget - manners[spin->way].budget_min) / 8;
    spin->total = 0;
}

bool plait__spin_pause(struct plait__spin *spin)
{
    uint32_t gap = spin->gap < spin->left ? spin->gap : spin->left;

    if (gap == 0) {
        if (spin->total)
            lost(spin);
        return false;
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
    uint32_t *budget = budget_of(spin->way);
    uint64_t took = (uint64_t)(spin->total - spin->left) * RATE_UNIT / pause_rate();
    uint64_t wanted = 2 * took + manner->budget_min;

    if (wanted > *budget)
        *budget += (uint32_t)(wanted - *budget + 7) / 8;
    if (*budget > manner->budget_max)
        *budget = manner->budget_max;
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
