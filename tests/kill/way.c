/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Children are forked from one process, so the same instruction has the same address in all of them. A breakpoint is the instruction
 * int3 in the child's own copy of its code. Where the way comes by an address for the nth time, it is hit n times: each time the
 * true instruction is put back, executed by a step, and covered again.
 *
 * best[k]: the place at or before k from where the way to k costs least, a hit of a breakpoint counting as HIT steps:
 * the place j for which j - HIT * (times that the way has come by its address, up to j) is largest.
 *
 * A child may go another way than the one that was written down: somebody else was faster, or the clock has moved on. If it does
 * not come to the breakpoint, it ends its operation, which is told. If it does, it is killed a little earlier or later than
 * was asked for; between two instructions it is in any case.
 *
 * Elsewhere than on x86-64 all is stepped.
 */
#include "kill/way.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

unsigned long way_steps, way_hits, way_strays;

bool way_step(pid_t pid)
{
    int status;

    if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) != 0 || waitpid(pid, &status, 0) != pid)
        return false;
    way_steps++;
    return WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
}

static long step_up_to(pid_t pid, long count, const volatile int *done)
{
    long steps = 0;

    for (; steps < count && !*done; steps++)
        if (!way_step(pid))
            return -1;
    return steps;
}

#ifdef __x86_64__

enum { HIT = 4, LENGTH_MAX = 1 << 20, TABLE = 1 << 21 };

struct place {
    uintptr_t address;
    uint32_t times; /* that the way has come by this address, here included */
    uint32_t best;
};

static struct place *places;
static long length; /* places that were written down: from 0 on */

/* How often the way has come by an address: a table with gaps. */
static struct { uintptr_t address; uint32_t times; } *seen;

static uint32_t times_by(uintptr_t address)
{
    size_t at = address * 0x9e3779b97f4a7c15u >> 43;

    while (seen[at].address && seen[at].address != address)
        at = (at + 1) % TABLE;
    seen[at].address = address;
    return ++seen[at].times;
}

static uintptr_t position(pid_t pid)
{
    errno = 0;
    return (uintptr_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), 0);
}

static long worth(const struct place *p) { return (p - places) - (long)HIT * p->times; }

void way_note(pid_t pid)
{
    struct place *p = &places[length], *before = p - 1;

    if (!seen || length == LENGTH_MAX)
        return;
    p->address = position(pid);
    if (errno) /* it is not there any more */
        return;
    p->times = times_by(p->address);
    p->best = length > 0 && worth(&places[before->best]) > worth(p) ? before->best : (uint32_t)length;
    length++;
}

void way_begin(pid_t pid)
{
    free(seen);
    free(places);
    length = 0;
    places = malloc(LENGTH_MAX * sizeof *places);
    seen = calloc(TABLE, sizeof *seen);
    if (!seen || !places)
        abort();
    way_note(pid);
}

/* Let it go on until it stops: 1: by a trap, 0: its operation is over, -1: it is not there any more. */
static int go_on(pid_t pid)
{
    int status;

    if (ptrace(PTRACE_CONT, pid, 0, 0) != 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
        return -1;
    return WSTOPSIG(status) == SIGTRAP ? 1 : WSTOPSIG(status) == SIGSTOP ? 0 : -1;
}

/* A word of code with int3 in front, and without. */
static bool cover(pid_t pid, uintptr_t address, long code)
{
    return ptrace(PTRACE_POKETEXT, pid, address, (code & ~0xffL) | 0xcc) == 0;
}

static bool uncover(pid_t pid, uintptr_t address, long code)
{
    return ptrace(PTRACE_POKETEXT, pid, address, code) == 0 &&
           ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.rip), address) == 0;
}

/* To where the way comes by that address for so many times from here on. As go_on. */
static int go_to(pid_t pid, uintptr_t address, uint32_t times)
{
    long code = (errno = 0, ptrace(PTRACE_PEEKTEXT, pid, address, 0));

    if (errno)
        return -1;
    for (;;) {
        int how;

        if (!cover(pid, address, code))
            return -1;
        how = go_on(pid);
        if (how <= 0)
            return how;
        way_hits++;
        if (position(pid) != address + 1 || !uncover(pid, address, code))
            return -1;
        if (--times == 0)
            return 1;
        if (!way_step(pid))
            return -1;
    }
}

long way_go(pid_t pid, long k, const volatile int *done)
{
    const struct place *from;
    uint32_t times;
    long steps;
    int how;

    if (k >= length)
        return step_up_to(pid, k, done);
    from = &places[places[k].best];
    times = from->times - (from->address == places[0].address); /* it is there now */
    if (worth(from) <= 0 || times == 0)
        return step_up_to(pid, k, done);
    how = go_to(pid, from->address, times);
    if (how < 0)
        return -1;
    if (how == 0) {
        way_strays++;
        return from - places;
    }
    steps = step_up_to(pid, k - (from - places), done);
    if (steps < 0)
        return -1;
    steps += from - places;
    way_strays += position(pid) != places[steps].address;
    return steps;
}

#else

void way_begin(pid_t pid) { (void)pid; }
void way_note(pid_t pid) { (void)pid; }
long way_go(pid_t pid, long k, const volatile int *done) { return step_up_to(pid, k, done); }

#endif
