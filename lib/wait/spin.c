/* SPDX-License-Identifier: MIT */
/*
 * How it works: each thread keeps a budget of rounds. A spin that paid moves the budget towards twice what
 * it took, one that did not pay shrinks it by an eighth; so where holders are preempted or waits are long, little is
 * lost, and a floor keeps it able to learn that times have changed. On one CPU nobody can change the word while
 * we look: no spin.
 *
 * A look takes the line away from whoever is about to write it. Who waits for a single change looks all the time; who
 * waits for a stream of them (an item, a side of a queue) looks ever more seldom, so that the other gets many done
 * in between: the pauses double.
 */
#include "wait/waiting.h"

#include <sched.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/tls.h"
#include "wait/hook.h"

enum { BUDGET_MIN = 16, BUDGET_START = 100, BUDGET_MAX = 400, GENTLE_GAP = 64 };

static PLAIT_TLS unsigned budget = BUDGET_START;

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

/* Look, pause, look again after twice the pauses, up to `gap_max` of them. */
static bool spin(const uint32_t *word, uint32_t expected, unsigned gap_max)
{
    unsigned gap = 1;

    if (plait__cpus() == 1 || plait__wait_is_hooked())
        return load_relaxed(word) != expected;
    for (unsigned i = 0; i < budget; i += gap) {
        if (load_relaxed(word) != expected) {
            unsigned wanted = 2 * i + BUDGET_MIN;

            budget += wanted > budget ? (wanted - budget + 7) / 8 : 0;
            if (budget > BUDGET_MAX)
                budget = BUDGET_MAX;
            return true;
        }
        gap = gap < gap_max ? 2 * gap : gap_max;
        for (unsigned pause = 0; pause < gap; pause++)
            cpu_relax();
    }
    budget -= (budget - BUDGET_MIN) / 8;
    return false;
}

bool plait__spin(const uint32_t *word, uint32_t expected)
{
    return spin(word, expected, 1);
}

bool plait__spin_gently(const uint32_t *word, uint32_t expected)
{
    return spin(word, expected, GENTLE_GAP);
}
