/* SPDX-License-Identifier: MIT */
/*
 * How it works: one thread, one loop. A fiber that waits enters the table of parked waiters, tells the scheduler its
 * deadline, and switches to it; the scheduler runs whoever is woken or whose time is up, and if there is nobody, sleeps
 * on its bell. A waker (another thread, a signal handler, a fiber of ours) marks the fiber and rings. Shared words are
 * not in the table: who waits for one is looked after each millisecond.
 */
#include "support/toy_fiber.h"

#include <errno.h>
#include <stdlib.h>
#include <ucontext.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "wait/caller.h"
#include "wait/futex.h"
#include "wait/hook.h"
#include "wait/parked.h"

enum { STACK_BYTES = 256 * 1024, RUNNABLE = 0, PARKED = 1, ENDED = 2 };

#if defined __has_include
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

#if defined __has_feature
#if __has_feature(thread_sanitizer)
#define TOY_TSAN 1
#endif
#endif
#if defined __SANITIZE_THREAD__ || defined TOY_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#else
static void *__tsan_get_current_fiber(void) { return NULL; }
static void *__tsan_create_fiber(unsigned flags) { return NULL; }
static void __tsan_destroy_fiber(void *fiber) { }
static void __tsan_switch_to_fiber(void *fiber, unsigned flags) { }
#endif

struct member {
    struct toy_fiber fiber;
    ucontext_t context;
    void *stack, *tsan;
    unsigned valgrind;      /* its number for the stack */
    uint32_t state;         /* atomic: to be counted from outside; else the scheduler's thread's */
    uint32_t woken;         /* atomic: a waker has taken its parking */
    plait_time_t deadline;  /* while parked */
    plait_cancel_t *token;  /* bound to it, while it does not run */
};

struct toy {
    struct plait__wait_hook hook;
    struct member members[TOY_FIBERS_MAX];
    unsigned count;
    struct member *current;
    ucontext_t context;
    void *tsan;
    uint32_t bell;          /* atomic: rung by wakers */
    unsigned long switches;
};

struct parking {
    struct plait__parking base; /* first */
    struct member *member;
};

static void notify(struct plait__parking *base)
{
    struct member *m = ((struct parking *)base)->member;
    uint32_t *bell = &m->fiber.toy->bell;

    store_release(&m->woken, 1);
    add_seqcst(bell, 1);
    plait__futex_wake(bell, 1, false);
}

static void switch_away(struct toy *toy)
{
    struct member *m = toy->current;

    m->token = plait_cancel_bind(NULL);
    __tsan_switch_to_fiber(toy->tsan, 0);
    swapcontext(&m->context, &toy->context);
    plait_cancel_bind(m->token);
}

static bool any_shared(const struct plait_wait_word *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (words[i].flags & PLAIT_SHARED)
            return true;
    return false;
}

static int wait_in_fiber(struct plait__wait_hook *hook, const struct plait_wait_word *words, size_t count,
                         plait_time_t deadline)
{
    struct toy *toy = (struct toy *)hook;
    struct plait__parked_node nodes[PLAIT__WAIT_WORDS_MAX];
    struct parking parking = { .base = { .notify = notify, .nodes = nodes }, .member = toy->current };
    plait_time_t look = any_shared(words, count) ? plait_after(0.001) : PLAIT_FOREVER;
    bool taken;

    store_relaxed(&toy->current->woken, 0);
    plait__park(&parking.base, words, count);
    if (plait__park_still(&parking.base, words)) {
        toy->current->deadline = deadline < look ? deadline : look;
        store_release(&toy->current->state, PARKED);
        switch_away(toy);
    }
    taken = plait__unpark(&parking.base);
    if (taken && !load_acquire(&toy->current->woken))
        abort(); /* who takes a waiter tells it before unpark returns */
    for (size_t i = 0; i < count; i++)
        if (load_acquire(words[i].word) != words[i].expected)
            return 0;
    return taken || plait_now() < deadline ? 0 : ETIMEDOUT;
}

static void begin(unsigned high, unsigned low)
{
    struct member *m = (struct member *)((uintptr_t)high << 32 | low);

    m->fiber.run(&m->fiber);
    store_release(&m->state, ENDED);
    store_release(&m->fiber.done, 1);
    switch_away(m->fiber.toy);
}

struct toy *toy_new(void)
{
    struct toy *toy = calloc(1, sizeof *toy);

    if (toy)
        toy->hook.wait = wait_in_fiber;
    return toy;
}

void toy_free(struct toy *toy)
{
    for (unsigned i = 0; i < toy->count; i++) {
        VALGRIND_STACK_DEREGISTER(toy->members[i].valgrind);
        free(toy->members[i].stack);
        __tsan_destroy_fiber(toy->members[i].tsan);
    }
    free(toy);
}

static bool make_context(struct member *m)
{
    uintptr_t address = (uintptr_t)m;

    m->stack = malloc(STACK_BYTES);
    if (!m->stack || getcontext(&m->context) != 0)
        return false;
    m->valgrind = VALGRIND_STACK_REGISTER(m->stack, (char *)m->stack + STACK_BYTES);
    m->context.uc_stack.ss_sp = m->stack;
    m->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&m->context, (void (*)(void))begin, 2, (unsigned)(address >> 32), (unsigned)address);
    return true;
}

struct toy_fiber *toy_spawn(struct toy *toy, void (*run)(struct toy_fiber *), void *with, uint64_t seed)
{
    struct member *m = &toy->members[toy->count];

    if (toy->count == TOY_FIBERS_MAX || !make_context(m))
        return NULL;
    m->fiber = (struct toy_fiber){ .toy = toy, .run = run, .with = with, .number = toy->count, .result = -1 };
    m->fiber.random = seed + 0x9e3779b97f4a7c15u * (toy->count + 1);
    m->tsan = __tsan_create_fiber(0);
    toy->count++;
    return &m->fiber;
}

static bool may_run(struct member *m, plait_time_t now)
{
    if (load_relaxed(&m->state) == PARKED && (load_acquire(&m->woken) || m->deadline <= now))
        store_release(&m->state, RUNNABLE);
    return load_relaxed(&m->state) == RUNNABLE;
}

static void switch_to(struct toy *toy, struct member *m)
{
    toy->current = m;
    toy->switches++;
    plait__wait_hook_set(&toy->hook);
    plait__caller_set(m, m->fiber.number + 1);
    __tsan_switch_to_fiber(m->tsan, 0);
    swapcontext(&toy->context, &m->context);
    plait__caller_set(NULL, 0);
    plait__wait_hook_set(NULL);
}

void toy_run(struct toy *toy)
{
    bool all_ended = false;

    toy->tsan = __tsan_get_current_fiber();
    while (!all_ended) {
        uint32_t bell = load_seqcst(&toy->bell);
        plait_time_t earliest = PLAIT_FOREVER;
        bool ran = false;

        all_ended = true;
        for (unsigned i = 0; i < toy->count; i++) {
            struct member *m = &toy->members[i];

            if (may_run(m, plait_now())) {
                switch_to(toy, m);
                ran = true;
            }
            if (load_relaxed(&m->state) != ENDED)
                all_ended = false;
            if (load_relaxed(&m->state) == PARKED && m->deadline < earliest)
                earliest = m->deadline;
        }
        if (!ran && !all_ended)
            plait__futex_wait(&toy->bell, bell, false, earliest);
    }
}

void toy_yield(struct toy_fiber *self)
{
    switch_away(self->toy);
}

unsigned toy_parked(struct toy *toy)
{
    unsigned parked = 0;

    for (unsigned i = 0; i < toy->count; i++)
        parked += load_acquire(&toy->members[i].state) == PARKED;
    return parked;
}

unsigned long toy_switches(struct toy *toy)
{
    return toy->switches;
}

unsigned toy_random(struct toy_fiber *self, unsigned below)
{
    self->random = self->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(self->random >> 33) % below;
}
