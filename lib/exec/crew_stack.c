/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Each worker has an array of slots, used as a stack: a spawn fills the next slot, a sync takes the last one. A thief
 * takes the first one that is left. This is the direct task stack of Wool (Faxen 2008) with the split of Lace (van Dijk
 * and van de Pol, "Lace: non-blocking split deque for work-stealing", 2014): only what lies below the split can be
 * stolen, so the owner needs no fence above it.
 *
 *     slots     0 .. tail         tail .. split        split .. top
 *               stolen            offered              private
 *
 *     word      0-17 tail, 18-35 split, 36-63 epoch
 *
 * All that is shared is in the word, and each change of it is one operation on the whole:
 *
 *     steal       thief   {t, s} -> {t + 1, s}   compare and swap, while t < s
 *     offer       owner   {t, s} -> {t, s + n}   addition, s + n <= top
 *     take back   owner   {t, s} -> {t, s'}      compare and swap, t <= s' < s
 *     reset       owner   {k, k} -> {j, j}       plain store: while tail equals split no thief changes the word
 *
 * I1: tail <= split <= top. I2: each slot that is in use belongs to one: stolen ones to their thieves until they are
 * done, all others to the owner, but for what a thief may do to the word. A thief reads a slot only after its compare and
 * swap, so nothing that it has read before can be stale: whether the word has been the same all the time does not matter.
 *
 *   E1  the owner fills slots, then offers (release); a thief steals (acquire), then reads the slot. Steals in between are
 *       read-modify-writes and belong to the same release sequence.
 *   E2  a thief runs the task, then marks the slot DONE (release); the owner sees that (acquire), goes on after the
 *       sync, and uses the slot again.
 *
 * The owner's syncs come in the reverse order of its spawns, and I1 holds, so when the last slot is not private, split is
 * just above it: it is either offered, and can be taken back, or stolen, and then all below are as well. In that case the
 * owner waits for this one slot; then it resets the word to {its index, its index}, and the next older one is the last.
 *
 * The state of a slot counts only when it is stolen; it is 0 at all other times: whoever has waited for DONE clears it.
 *
 * Asking. The owner's fast paths compare the top with two pointers, limit and floor. A hungry worker that finds nothing
 * overwrites them with values that make the next spawn and sync leave the fast path. So to be asked costs the owner
 * nothing as long as nobody does. There the owner offers half of what is private, and puts the pointers right, unless
 * more workers are hungry than it has on offer. E3: it puts them right first, and then looks at the number of the hungry;
 * who gets hungry counts itself first and then overwrites: with a full barrier in between on both sides, a request cannot
 * be lost. Such a request stands: who goes to sleep leaves it behind.
 *
 * Leapfrogging. Who waits for a stolen task takes only what that task has spawned, directly or by others: from the thief,
 * or, while that one waits in its turn, from the thief of what it waits for, and so on. That is right as long as the
 * thief is still at it; after that its slots hold something else. So the epoch is in the word, which a worker advances at
 * the end of each task that it has stolen: E4: the waiter reads the thief's word, then sees that the slot for which it
 * waits is still being run (by the same thief); if its compare and swap then succeeds, the thief has not ended it since.
 * (The epoch may come round after 2^28 tasks, while the waiter is between two instructions; an unrelated task would then
 * be run inside of this one.) What a thief offers while it runs that task is a descendant: when it stole the task it was
 * idle, or waited for a slot below which all are stolen, so what it offers has been spawned since.
 *
 * Memory of the tasks: a stolen task's argument may lie in the frame of its spawner. That frame stands until its sync
 * returns, and this does after E2; the thief does not touch the task after it has stored DONE, but for the address of the
 * slot, as everywhere (wake). The stacks of slots stand as long as the crew.
 *
 * No wake is lost (a waiter in sync): the waiter sets SLEEPER in the slot's state, then looks whether anything is
 * offered, then sleeps on the state; the thief marks DONE by an exchange and wakes if SLEEPER was there, or offers and
 * then looks at the state (E5: full barriers). What is offered further down the chain is not told to it; so it looks
 * again by itself, after 1 to 64 ms.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <plait/cancel.h>
#include <plait/wait.h>

#include "base/clock.h"
#include "base/fork_epoch.h"
#include "exec/crew.h"
#include "wait/spin.h"
#include "wait/waiting.h"

enum { HOPS = 8, ASK_EACH = 16 /* looks */ };

#define SPLIT_ONE ((uint64_t)1 << CREW_INDEX_BITS)
#define EPOCH_ONE ((uint64_t)1 << 2 * CREW_INDEX_BITS)

static inline uint32_t tail_of(uint64_t word) { return (uint32_t)(word & CREW_INDEX_MASK); }
static inline uint32_t split_of(uint64_t word) { return (uint32_t)(word >> CREW_INDEX_BITS & CREW_INDEX_MASK); }

static inline uint64_t with_split(uint64_t word, uint32_t split)
{
    return (word & ~((uint64_t)CREW_INDEX_MASK << CREW_INDEX_BITS)) | split * SPLIT_ONE;
}

/* {index, index}, and the epoch as it was. */
static inline uint64_t reset_to(uint64_t word, uint32_t index)
{
    return (word & ~(EPOCH_ONE - 1)) | index * SPLIT_ONE | index;
}

/* The words behind fn and arg. */
static inline uint32_t *state_of(struct plait_worker_slot *slot) { return (uint32_t *)slot->behind; }

/* Above all slots: nothing is known to be private. */
#define NOWHERE ((struct plait_worker_slot *)UINTPTR_MAX)

static inline struct crew_worker *worker_of(plait_worker_t *front) { return (struct crew_worker *)front; }

static __attribute__((noreturn, cold)) void refuse(const char *function, const char *what)
{
    fprintf(stderr, "plait: %s: %s\n", function, what);
    abort();
}

static void set_floor(struct crew_worker *w, uint32_t split)
{
    storeptr_relaxed(&w->front.floor, w->at_once ? NOWHERE : w->slots + split);
}

void plait__crew_stack_init(struct crew_worker *w)
{
    w->front.top = w->bottom = w->slots;
    storeptr_relaxed(&w->front.limit, w->end);
    set_floor(w, 0);
}

void plait__crew_stack_ask(struct crew_worker *v)
{
    storeptr_release(&v->front.limit, NULL); /* E3 */
    storeptr_release(&v->front.floor, NOWHERE);
}

bool plait__crew_stack_steal(struct crew_worker *v, struct crew_loot *loot_out)
{
    uint64_t word = load64_acquire(&v->word);

    while (tail_of(word) < split_of(word)) {
        uint32_t tail = tail_of(word);

        if (cas64_acqrel(&v->word, &word, word + 1)) { /* E1 */
            *loot_out = (struct crew_loot){ .victim = v, .slot = v->slots + tail };
            return true;
        }
    }
    return false;
}

/* ---- Offering --------------------------------------------------------------------------------- */

/* Wake who waits for the task that this worker runs. */
static void wake_waiter(struct crew_worker *w)
{
    struct plait_worker_slot *slot = w->running;

    if (slot && load_seqcst(state_of(slot)) & CREW_SLOT_SLEEPER &&
        __atomic_fetch_and(state_of(slot), ~(uint32_t)CREW_SLOT_SLEEPER, __ATOMIC_SEQ_CST) & CREW_SLOT_SLEEPER)
        plait_wake(state_of(slot), UINT_MAX, 0);
}

/*
 * Offer half of the private slots below `top`, and put limit and floor right. Without anything to offer the pointers stay
 * wrong while somebody is hungry.
 */
static void offer(struct crew_worker *w, const struct plait_worker_slot *top)
{
    uint64_t word = load64_relaxed(&w->word);
    uint32_t split = split_of(word);
    uint32_t private = (uint32_t)(top - w->slots) - split;
    uint32_t offered = (private + 1) / 2;

    storeptr_relaxed(&w->front.limit, w->end); /* E3 */
    set_floor(w, split + offered);
    word = __atomic_add_fetch(&w->word, offered * SPLIT_ONE, __ATOMIC_SEQ_CST); /* E1, E5 */
    barrier_after_rmw();
    if (load_seqcst(&w->crew->hungry) > split_of(word) - tail_of(word))
        plait__crew_stack_ask(w);
    if (offered) {
        plait__crew_notify(w->crew);
        wake_waiter(w);
    }
}

void plait_worker_spawn_slow(plait_worker_t *front, plait_worker_fn *fn, void *arg)
{
    struct crew_worker *w = worker_of(front);
    struct plait_worker_slot *slot = front->top;

    if (slot == w->end) {
        w->at_once++;
        storeptr_relaxed(&front->floor, NOWHERE);
        fn(front, arg);
        return;
    }
    slot->fn = fn;
    slot->arg = arg;
    front->top = slot + 1;
    if (!loadptr_acquire(&front->limit))
        offer(w, slot + 1);
}

bool plait__crew_asks_awake(const plait_worker_t *front)
{
    const struct plait_crew *crew = worker_of((plait_worker_t *)front)->crew;

    return load_relaxed(&crew->hungry) > load_relaxed(&crew->asleep); /* relaxed: a hint */
}

/* ---- Running ---------------------------------------------------------------------------------- */

void plait__crew_stack_run(struct crew_worker *w, plait_worker_fn *fn, void *arg)
{
    struct plait_worker_slot *bottom = w->bottom, *top = w->front.top;
    unsigned at_once = w->at_once;

    if (load_seqcst(&w->crew->hungry)) /* who was so before has asked this worker at a time when it had nothing, if at all */
        plait__crew_stack_ask(w);
    w->bottom = top;
    fn(&w->front, arg);
    if (w->front.top != top || w->at_once != at_once)
        refuse("plait_worker_spawn", "a task has returned without plait_worker_sync");
    w->bottom = bottom;
}

void plait__crew_stack_run_stolen(struct crew_worker *w, const struct crew_loot *loot)
{
    struct plait_worker_slot *outer = w->running, *slot = loot->slot;

    __atomic_fetch_or(state_of(slot), (w->number + 1) * CREW_SLOT_THIEF, __ATOMIC_RELEASE);
    w->running = slot;
    store64_relaxed(&w->stolen, w->stolen + 1);
    plait__crew_stack_run(w, slot->fn, slot->arg);
    w->running = outer;
    store64_release(&w->word, load64_relaxed(&w->word) + EPOCH_ONE); /* E4; tail equals split, as when it began */
    if (__atomic_exchange_n(state_of(slot), (uint32_t)CREW_SLOT_DONE, __ATOMIC_ACQ_REL) & CREW_SLOT_SLEEPER) /* E2 */
        plait_wake(state_of(slot), UINT_MAX, 0);
}

void plait__crew_stack_left(struct crew_worker *w)
{
    if (w->running || w->at_once || w->front.top != w->slots)
        refuse("pthread_exit", "called by a task of a crew that others wait for, or that has not joined its own");
    w->bottom = w->slots;
}

/* ---- Waiting for a stolen one ------------------------------------------------------------------ */

/* The worker that runs the task of a slot; NULL: none yet, or none any more. */
static struct crew_worker *thief_of(const struct plait_crew *crew, struct plait_worker_slot *slot)
{
    uint32_t state = load_acquire(state_of(slot));

    if (state & CREW_SLOT_DONE || state < CREW_SLOT_THIEF)
        return NULL;
    return &crew->workers[state / CREW_SLOT_THIEF - 1];
}

/* E4: all that the thief of `at` has shown since its word was read belongs to what it took from there. */
static bool is_still_at(const struct plait_crew *crew, struct crew_worker *thief, struct plait_worker_slot *at,
                        uint64_t word)
{
    return thief_of(crew, at) == thief && load64_acquire(&thief->word) / EPOCH_ONE == word / EPOCH_ONE;
}

/*
 * Take what descends from the task in `slot`, the caller's own. Hop after hop: the thief of the slot; then, if it waits,
 * the thief of what it waits for. Only the caller clears `slot`: while that has its first thief, all of this is inside of
 * one task.
 */
static bool steal_descendant(struct crew_worker *w, struct plait_worker_slot *slot, bool ask, struct crew_loot *loot_out)
{
    struct crew_worker *first = thief_of(w->crew, slot);
    struct plait_worker_slot *at = slot;

    for (unsigned hops = 0; hops < HOPS && at; hops++) {
        struct crew_worker *thief = thief_of(w->crew, at);
        struct plait_worker_slot *next;
        uint64_t word;

        if (!thief || thief == w)
            return false;
        word = load64_acquire(&thief->word);
        next = loadptr_acquire(&thief->waiting);
        if (!is_still_at(w->crew, thief, at, word) || thief_of(w->crew, slot) != first)
            return false;
        if (tail_of(word) < split_of(word)) {
            *loot_out = (struct crew_loot){ .victim = thief, .slot = thief->slots + tail_of(word) };
            return cas64_acqrel(&thief->word, &word, word + 1); /* E1, E4 */
        }
        if (ask)
            plait__crew_stack_ask(thief);
        at = next;
    }
    return false;
}

/* Sleep until the slot is done, or there may be something to do. */
static void sleep_on(struct crew_worker *w, struct plait_worker_slot *slot, plait_time_t *slice)
{
    uint32_t state = __atomic_or_fetch(state_of(slot), (uint32_t)CREW_SLOT_SLEEPER, __ATOMIC_SEQ_CST); /* E5 */
    struct crew_worker *thief;
    plait_cancel_t *token;

    barrier_after_rmw();
    thief = thief_of(w->crew, slot);
    if (state & CREW_SLOT_DONE || (thief && crew_stack_has(thief)))
        return;
    if (thief)
        plait__crew_stack_ask(thief);
    token = plait_cancel_bind(NULL);
    add_relaxed(&w->crew->asleep, 1);
    plait_wait(state_of(slot), state, 0,
               plait__slice_end(slice, PLAIT__MILLISECOND, 64 * PLAIT__MILLISECOND, PLAIT_FOREVER));
    sub_relaxed(&w->crew->asleep, 1);
    plait_cancel_bind(token);
}

/* Run a descendant, being neither hungry nor waiting meanwhile. */
static void help(struct crew_worker *w, struct plait_worker_slot *slot, const struct crew_loot *loot)
{
    storeptr_relaxed(&w->waiting, NULL);
    sub_seqcst(&w->crew->hungry, 1);
    plait__crew_stack_run_stolen(w, loot);
    add_seqcst(&w->crew->hungry, 1); /* E3 */
    storeptr_release(&w->waiting, slot);
}

static struct plait__spin begin_spin(const struct plait_crew *crew)
{
    return plait__spin_begin(crew->lingers ? PLAIT__SPIN_REGION : PLAIT__SPIN_CHANGE, PLAIT_FOREVER);
}

static int wait_for(struct crew_worker *w, struct plait_worker_slot *slot)
{
    struct plait__spin spin = begin_spin(w->crew);
    plait_time_t slice = 0;
    struct crew_loot loot;
    int err = 0;

    storeptr_release(&w->waiting, slot);
    add_seqcst(&w->crew->hungry, 1); /* E3 */
    for (unsigned looks = 0; err == 0 && !(load_acquire(state_of(slot)) & CREW_SLOT_DONE); looks++) { /* E2 */
        if (w->crew->epoch != plait__fork_epoch())
            err = EOWNERDEAD; /* the thief is the parent's, and what it offered too */
        else if (steal_descendant(w, slot, looks % ASK_EACH == 0, &loot)) {
            plait__spin_paid(&spin);
            help(w, slot, &loot);
            spin = begin_spin(w->crew);
            slice = 0;
        } else if (!plait__spin_pause(&spin))
            sleep_on(w, slot, &slice);
    }
    sub_seqcst(&w->crew->hungry, 1);
    storeptr_relaxed(&w->waiting, NULL);
    return err;
}

/* ---- Syncing ----------------------------------------------------------------------------------- */

static int run_own(struct crew_worker *w, struct plait_worker_slot *slot)
{
    w->front.top = slot;
    slot->fn(&w->front, slot->arg);
    return 0;
}

/* The last slot was offered: take it back, and of the others half, if nobody wants them. False: it was stolen. */
static bool take_back(struct crew_worker *w, uint32_t index)
{
    uint64_t word = load64_relaxed(&w->word);

    while (tail_of(word) <= index) {
        uint32_t split = load_relaxed(&w->crew->hungry) ? index : (tail_of(word) + index) / 2;

        if (cas64_acqrel(&w->word, &word, with_split(word, split))) {
            set_floor(w, split);
            return true;
        }
    }
    return false;
}

static int sync_stolen(struct crew_worker *w, struct plait_worker_slot *slot, uint32_t index)
{
    int err = wait_for(w, slot);

    store_relaxed(state_of(slot), 0);
    store64_release(&w->word, reset_to(load64_relaxed(&w->word), index)); /* tail equals split: nobody else changes it */
    w->front.top = slot;
    set_floor(w, index);
    return err;
}

int plait_worker_sync_slow(plait_worker_t *front)
{
    struct crew_worker *w = worker_of(front);
    struct plait_worker_slot *slot = front->top - 1;
    uint32_t index;

    if (w->at_once) {
        if (--w->at_once == 0)
            set_floor(w, split_of(load64_relaxed(&w->word)));
        return 0;
    }
    if (front->top == w->bottom)
        refuse(__func__, "nothing was spawned");
    index = (uint32_t)(slot - w->slots);
    if (index >= split_of(load64_relaxed(&w->word))) {
        offer(w, slot); /* somebody asks */
        return run_own(w, slot);
    }
    if (!take_back(w, index))
        return sync_stolen(w, slot, index);
    return run_own(w, slot);
}
