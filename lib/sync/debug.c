/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * While plait_hooks is not 0, the inlined fast paths step aside to functions of the library, and those come here
 * (sync/hooked.c). Debug mode keeps, for the whole process and beside the objects:
 *
 *     parties   who holds something: a thread, or a fiber in it (wait/caller.h)
 *     holds     that a party holds an object: where and when it was acquired; in a list of its party and one of the object
 *     nodes     objects that are held, or have a place in the order (sync/order.c)
 *
 * All of it is guarded by one guard, a word of its own on the futex: it is held for a look into tables, and calls nothing that
 * might come back here. What is found is copied under the guard and reported after it. Memory comes from the system, as a
 * program's malloc may use our locks.
 *
 * `inside` is set in a thread while it is at work here. Then its calls go by unseen: those of a report's handler, and
 * of a signal handler that has interrupted it.
 *
 * A hold is entered after the object was acquired, and taken out before it is released. In between the object may be held
 * by somebody who is not known; so only that somebody else is known to hold it makes a stranger.
 *
 * Fork: the guard's word has the fork epoch in it. Who finds that of a parent adopts: the parties of other threads
 * are gone (what private things they hold stays held, and a wait for it says so), and the shared things of its own are the
 * parent's. The fork handlers take the guard, so that the tables are whole; a child of _Fork that finds it held
 * starts with empty ones.
 *
 * A thread that ends comes by a destructor of thread-specific data, in the third round, so that others may still release.
 *
 * E1: the guard's release releases, its acquire acquires.
 */
#include "base/races.h"
#include "sync/debug.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <plait/lock.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/fork_epoch.h"
#include "base/slab.h"
#include "base/tls.h"
#include "wait/caller.h"
#include "wait/futex.h"
#include "wait/robust.h"

enum { EDGES_MAX = 64 };

struct plait__debug_hold {
    struct party *party;
    struct plait__order_node *node;
    const struct plait__hooked_noun *noun;
    const void *place;
    plait_time_t since;
    unsigned count;
    bool shared;
    struct plait__debug_hold *next;      /* of the party's, the last one first */
    struct plait__debug_hold *next_here; /* of the object's */
};

struct party {
    void *caller;
    uint32_t tid;
    bool gone; /* its thread has ended, or is the parent's */
    struct plait__debug_hold *holds;
    struct party *next;
};

/* Guarded by the guard. */
static struct party *parties;
static struct plait__slab party_slab = PLAIT__SLAB(struct party);
static struct plait__slab hold_slab = PLAIT__SLAB(struct plait__debug_hold);

static struct plait__debug_options options; /* guarded by the guard */
static uint32_t is_on; /* atomic */
static PLAIT_TLS bool inside;
static PLAIT_TLS uint32_t known_tid; /* this thread's; in a child, the parent's until it has adopted */
static PLAIT_TLS bool end_is_watched;
static PLAIT_TLS unsigned end_rounds;

static pthread_once_t prepared = PTHREAD_ONCE_INIT;
static pthread_key_t at_thread_end;
static int prepare_error;

/* ---- Holds ------------------------------------------------------------------------------ */

static struct party *find_party(void *caller)
{
    for (struct party *p = parties; p; p = p->next)
        if (p->caller == caller && !p->gone)
            return p;
    return NULL;
}

static struct party *get_party(void *caller)
{
    struct party *p = find_party(caller);

    if (p)
        return p;
    p = plait__slab_take(&party_slab);
    if (!p)
        return NULL;
    p->caller = caller;
    p->tid = plait__robust_tid();
    p->next = parties;
    parties = p;
    return p;
}

static void drop_if_unused(struct party *party)
{
    struct party **link = &parties;

    if (party->holds)
        return;
    while (*link != party)
        link = &(*link)->next;
    *link = party->next;
    plait__slab_give(&party_slab, party);
}

static struct plait__debug_hold *find_hold(const struct party *party, const struct plait__order_node *node)
{
    for (struct plait__debug_hold *h = party && node ? party->holds : NULL; h; h = h->next)
        if (h->node == node)
            return h;
    return NULL;
}

/* Take it out of both lists; its node and its party go too where it was their last. */
static void drop_hold(struct plait__debug_hold *hold)
{
    struct plait__order_node *node = hold->node;
    struct party *party = hold->party;
    struct plait__debug_hold **link;

    for (link = &party->holds; *link != hold; link = &(*link)->next)
        ;
    *link = hold->next;
    for (link = &node->holds; *link != hold; link = &(*link)->next_here)
        ;
    *link = hold->next_here;
    plait__slab_give(&hold_slab, hold);
    plait__order_drop_if_unused(node);
    drop_if_unused(party);
}

static void add_hold(struct party *party, struct plait__order_node *node, const struct plait__debug_call *call)
{
    struct plait__debug_hold *hold = plait__slab_take(&hold_slab);

    if (!hold)
        return;
    *hold = (struct plait__debug_hold){ .party = party, .node = node, .noun = call->noun, .place = call->place,
                                  .since = plait_now(), .count = call->count, .shared = call->arena_offset != 0,
                                  .next = party->holds, .next_here = node->holds };
    party->holds = hold;
    node->holds = hold;
}

static void copy_hold(struct plait__finding *finding, const struct plait__debug_hold *hold)
{
    if (finding->holder_count < PLAIT__HOLDERS_MAX)
        finding->holders[finding->holder_count] = (struct plait__debug_holder){
            .object = hold->node->object, .noun = hold->noun->noun, .function = hold->noun->acquire_name,
            .place = hold->place, .since = hold->since, .tid = hold->party->tid, .gone = hold->party->gone };
    finding->holder_count++;
}

static void copy_holders(struct plait__finding *finding, const struct plait__order_node *node)
{
    for (struct plait__debug_hold *h = node ? node->holds : NULL; h; h = h->next_here)
        copy_hold(finding, h);
}

/* ---- Guard ------------------------------------------------------------------------------ */

enum { FREE, HELD, WANTED, STATE = 3, EPOCH_SHIFT = 2 };

static uint32_t guard_word; /* epoch << EPOCH_SHIFT | state */

/* The fork epoch, in its place in the word; 0 is that of a word never used. */
static uint32_t epoch_bits(void)
{
    uint32_t epoch = plait__fork_epoch();

    if (epoch == 0)
        epoch = plait__fork_epoch_renew();
    return (epoch & 0x80000000u ? 1 : epoch) << EPOCH_SHIFT; /* high bit: no epochs here */
}

/* This process is a child of the one whose tables these are. `whole`: that was not at work on them. */
static void adopt(bool whole)
{
    struct party *next;

    if (!whole) {
        plait__order_clear(false);
        parties = NULL;
        party_slab = (struct plait__slab)PLAIT__SLAB(struct party);
        hold_slab = (struct plait__slab)PLAIT__SLAB(struct plait__debug_hold);
    }
    for (struct party *p = parties; p; p = next) {
        struct plait__debug_hold *next_hold;

        next = p->next;
        if (p->tid == known_tid)
            p->tid = plait__robust_tid();
        else
            p->gone = true;
        for (struct plait__debug_hold *h = p->holds; h; h = next_hold) {
            next_hold = h->next;
            if (h->shared)
                drop_hold(h);
        }
    }
    known_tid = plait__robust_tid();
}

static void guard(void)
{
    uint32_t ours = epoch_bits();
    uint32_t v = load_relaxed(&guard_word);
    uint32_t as = HELD;

    for (;;) {
        if ((v & ~(uint32_t)STATE) != ours) {
            if (!cas_acquire(&guard_word, &v, ours | HELD)) /* E1 */
                continue;
            if (v & ~(uint32_t)STATE)
                adopt((v & STATE) == FREE);
            return;
        }
        if ((v & STATE) == FREE) {
            if (cas_acquire(&guard_word, &v, ours | as)) /* E1 */
                return;
            continue;
        }
        if ((v & STATE) == HELD && !cas_relaxed(&guard_word, &v, ours | WANTED))
            continue;
        plait__futex_wait(&guard_word, ours | WANTED, false, PLAIT_FOREVER);
        as = WANTED;
        v = load_relaxed(&guard_word);
    }
}

static void unguard(void)
{
    uint32_t free = (load_relaxed(&guard_word) & ~(uint32_t)STATE) | FREE;

    if ((exchange_release(&guard_word, free) & STATE) == WANTED) /* E1 */
        plait__futex_wake(&guard_word, 1, false);
}

/* Begin work; false: not now. */
static bool begin(void)
{
    if (inside || !load_relaxed(&is_on))
        return false;
    inside = true;
    guard();
    if (known_tid == 0)
        known_tid = plait__robust_tid();
    return true;
}

/* End it, with a report if something was found. */
static void end(const struct plait__finding *finding)
{
    struct plait__debug_options now = options;

    unguard();
    if (finding && finding->kind)
        plait__report(finding, &now);
    inside = false;
}

/* ---- Beginning, ending, forking --------------------------------------------------------- */

static void before_fork(void)
{
    guard();
}

static void after_fork(void)
{
    unguard();
}

static void in_child(void)
{
    store_relaxed(&guard_word, load_relaxed(&guard_word) & ~(uint32_t)STATE);
    guard();
    unguard();
}

static void thread_ends(void *unused)
{
    struct plait__finding finding = { 0 };
    struct party *party;

    (void)unused;
    if (++end_rounds < 3 && pthread_setspecific(at_thread_end, &end_rounds) == 0)
        return;
    end_is_watched = false; /* a later destructor may acquire once more */
    end_rounds = 0;
    if (!begin())
        return;
    party = find_party(plait__caller());
    if (party) {
        for (struct plait__debug_hold *h = party->holds; h; h = h->next)
            copy_hold(&finding, h);
        finding.kind = PLAIT_DEBUG_EXIT;
        finding.function = finding.holders[0].function;
        finding.noun = finding.holders[0].noun;
        finding.object = finding.holders[0].object;
        finding.place = finding.holders[0].place;
        party->gone = true;
    }
    end(&finding);
}

static void watch_end(void)
{
    end_is_watched = pthread_setspecific(at_thread_end, &end_rounds) == 0;
}

static void prepare(void)
{
    prepare_error = pthread_key_create(&at_thread_end, thread_ends);
    if (!prepare_error)
        prepare_error = pthread_atfork(before_fork, after_fork, in_child);
}

static void clear(void)
{
    plait__order_clear(true);
    while (parties) {
        struct party *p = parties;

        parties = p->next;
        while (p->holds) {
            struct plait__debug_hold *h = p->holds;

            p->holds = h->next;
            plait__slab_give(&hold_slab, h);
        }
        plait__slab_give(&party_slab, p);
    }
}

static int start(const struct plait__debug_options *new_options)
{
    plait__races_once(&prepared, prepare);
    if (prepare_error)
        return ENOMEM;
    guard();
    options = *new_options;
    store_relaxed(&is_on, 1);
    unguard();
    __atomic_fetch_or(&plait_hooks, PLAIT__HOOK_DEBUG, __ATOMIC_RELAXED);
    return 0;
}

int plait_debug_start(const char *text)
{
    struct plait__debug_options parsed;

    if (!plait__debug_parse(text, &parsed))
        return EINVAL;
    if (!parsed.off)
        return start(&parsed);
    plait_debug_stop();
    return 0;
}

void plait_debug_stop(void)
{
    __atomic_fetch_and(&plait_hooks, ~(uint32_t)PLAIT__HOOK_DEBUG, __ATOMIC_RELAXED);
    if (!load_relaxed(&is_on))
        return;
    guard();
    store_relaxed(&is_on, 0);
    clear();
    unguard();
}

bool plait_debug_is_on(void)
{
    return load_relaxed(&is_on);
}

/* ---- Stations --------------------------------------------------------------------------- */

static struct plait__object_key key_of(void *object, uint64_t arena_offset)
{
    /* Private, or damaged. */
    if (arena_offset == 0 || !plait__arena_is_ours(plait__arena_header_of(object, arena_offset)))
        return (struct plait__object_key){ 0, (uintptr_t)object };
    return (struct plait__object_key){ plait__arena_header_of(object, arena_offset)->id, arena_offset };
}

static struct plait__finding found(enum plait_debug_kind kind, const char *function, const struct plait__debug_call *call)
{
    return (struct plait__finding){ .kind = kind, .function = function, .noun = call->noun->noun,
                                    .object = call->object, .place = call->place };
}

/* Does the noun itself see to it that only holders release, and that nobody waits for himself? */
static bool is_checked(const struct plait__debug_call *call)
{
    return call->arena_offset != 0 || (call->noun->flags & PLAIT__CHECKED);
}

static bool would_wait_for_itself(const struct plait__debug_call *call, plait_time_t deadline)
{
    if (call->noun->flags & PLAIT__RECURSIVE)
        return false;
    if (is_checked(call))
        return deadline > PLAIT_NOW;
    return deadline == PLAIT_FOREVER && !options.handover; /* else another may release it meanwhile */
}

/* An object of which the caller is known to be the holder is free: it lies where another one lay, which was not ended. */
static bool is_stale(const struct plait__debug_call *call)
{
    return !(call->noun->flags & (PLAIT__RECURSIVE | PLAIT__TOGETHER)) && !call->noun->is_busy(call->object, call->count);
}

static void forget(struct plait__object_key key)
{
    struct plait__order_node *node = plait__order_find(key);

    if (node)
        plait__order_forget(node); /* it stays while it is held */
    while ((node = plait__order_find(key)))
        drop_hold(node->holds);
}

/*
 * An edge from each thing that the caller holds; the first of them that closes a cycle is what is found. Of very many only from
 * the last: to those from the others there mostly is an edge.
 */
static void enter_into_order(const struct party *party, struct plait__order_node *node,
                             const struct plait__debug_call *call, struct plait__finding *finding)
{
    struct plait__order_cycle cycle;
    unsigned left = EDGES_MAX;

    for (struct plait__debug_hold *h = party->holds; h && left; h = h->next, left--) {
        struct plait__order_step step = { .from_place = h->place, .to_place = call->place, .tid = party->tid };

        if (plait__order_add(h->node, node, &step, &cycle) && !finding->kind) {
            *finding = found(PLAIT_DEBUG_ORDER, call->noun->acquire_name, call);
            finding->cycle = cycle;
        }
    }
}

int plait__debug_acquiring(const struct plait__debug_call *call, plait_time_t deadline, plait_time_t *limit_out)
{
    struct plait__finding finding;
    struct plait__object_key key;
    struct plait__order_node *node;
    struct party *party;

    *limit_out = 0;
    if (!begin())
        return 0;
    *limit_out = options.wait;
    finding.kind = 0;
    finding.fatal = false;
    key = key_of(call->object, call->arena_offset);
    party = find_party(plait__caller());
    node = plait__order_find(key);
    if (find_hold(party, node) && is_stale(call)) {
        forget(key);
        party = find_party(plait__caller());
        node = NULL;
    }
    if (find_hold(party, node)) {
        if (would_wait_for_itself(call, deadline)) {
            finding = found(PLAIT_DEBUG_SELF, call->noun->acquire_name, call);
            finding.fatal = !is_checked(call);
            copy_hold(&finding, find_hold(party, node));
        }
    } else if (party && deadline > PLAIT_NOW) {
        node = plait__order_get(key, call->object, call->noun->noun);
        if (node)
            enter_into_order(party, node, call, &finding);
    }
    end(&finding);
    return finding.fatal ? EDEADLK : 0;
}

void plait__debug_waits(const struct plait__debug_call *call, plait_time_t waited)
{
    struct plait__finding finding;

    if (!begin())
        return;
    finding = found(PLAIT_DEBUG_WAIT, call->noun->acquire_name, call);
    finding.waited = waited;
    copy_holders(&finding, plait__order_find(key_of(call->object, call->arena_offset)));
    if (finding.holder_count == 0 && call->arena_offset && call->noun->owner) { /* another process */
        finding.holders[0] = (struct plait__debug_holder){ .tid = call->noun->owner(call->object) };
        finding.holder_count = finding.holders[0].tid != 0;
    }
    end(&finding);
}

void plait__debug_got(const struct plait__debug_call *call)
{
    struct plait__order_node *node;
    struct plait__debug_hold *hold, *next;
    struct party *party;

    if (!begin())
        return;
    if (!end_is_watched)
        watch_end();
    node = plait__order_get(key_of(call->object, call->arena_offset), call->object, call->noun->noun);
    party = node ? get_party(plait__caller()) : NULL;
    hold = find_hold(party, node);
    if (hold) {
        hold->count += call->count;
    } else if (party) {
        struct plait__debug_hold *others = call->noun->flags & PLAIT__TOGETHER ? NULL : node->holds;

        add_hold(party, node, call);
        for (; others; others = next) { /* who had it has died, or was relieved of it unseen */
            next = others->next_here;
            drop_hold(others);
        }
    }
    if (party)
        drop_if_unused(party);
    if (node)
        plait__order_drop_if_unused(node);
    end(NULL);
}

int plait__debug_gives(const struct plait__debug_call *call)
{
    struct plait__finding finding;
    struct plait__order_node *node;
    struct plait__debug_hold *hold;

    if (!begin())
        return 0;
    finding.kind = 0;
    finding.fatal = false;
    node = plait__order_find(key_of(call->object, call->arena_offset));
    hold = find_hold(find_party(plait__caller()), node);
    if (hold) {
        hold->count -= call->count < hold->count ? call->count : hold->count;
        if (hold->count == 0)
            drop_hold(hold);
    } else if (node && node->holds && !is_checked(call)) {
        if (options.handover) {
            drop_hold(node->holds);
        } else {
            finding = found(PLAIT_DEBUG_STRANGER, call->noun->release_name, call);
            finding.fatal = true;
            copy_holders(&finding, node);
        }
    }
    end(&finding);
    return finding.fatal ? EPERM : 0;
}

void plait__debug_refused(const struct plait__debug_call *call)
{
    struct plait__finding finding;

    if (!begin())
        return;
    finding = found(PLAIT_DEBUG_STRANGER, call->noun->release_name, call);
    copy_holders(&finding, plait__order_find(key_of(call->object, call->arena_offset)));
    end(&finding);
}

void plait__debug_forget(void *object, uint64_t arena_offset)
{
    if (!begin())
        return;
    forget(key_of(object, arena_offset));
    end(NULL);
}
