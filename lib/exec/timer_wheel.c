/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A hierarchical timing wheel: G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, their scheme 7,
 * without ticking: time moves on at once to whatever is next.
 *
 * Times are counted in ticks of 4.096 microseconds, and a tick written as nine digits of six bits. `base` is the tick to which the
 * wheel has come. A timer lies in the level of the highest digit in which its tick differs from base, and there in the slot
 * of that digit. So
 *
 *   I1  in each level only slots above base's digit have timers, and the lowest of them comes first;
 *   I2  all timers of a level come before all of higher levels, whose higher digits differ;
 *   I3  level 0's slots have timers of one tick each.
 *
 * The first slot of the lowest level that has any is thus the next, and bit maps find it in two steps. When time comes to the
 * beginning of a slot its timers are added anew, with that as base: some are ripe, the others fall into lower levels, each timer eight
 * times at most in its life. A slot may hold a million, so they fall a few at a time, and until all have, base stays. Between slots it
 * may be anywhere, for up to the next one's beginning I1 to I3 hold for it.
 *
 * Nobody need wake for that alone: for each slot is kept the earliest tick of its timers, to which one can sleep. A removed timer
 * may have been the earliest: who then sleeps to it comes too early, once, and the falling finds out which is now.
 *
 * A timer that is ripe when it is added goes to the end of the ripe ones. Nothing is ripe too early: ticks are rounded up, the time
 * is rounded down. If the clock goes back (only the time of day does) all are added anew.
 *
 * Lists are linked forward, and back to what points to a timer. What points to the last of a slot is the slot itself.
 */
#include "exec/timer_wheel.h"

#include <stddef.h>

enum { BATCH = 64 };

static void clear(struct plait__wheel *wheel, uint64_t base)
{
    wheel->base = base;
    wheel->levels = 0;
    for (int level = 0; level < WHEEL_LEVELS; level++)
        wheel->filled[level] = 0;
    for (int slot = 0; slot < WHEEL_LEVELS * WHEEL_SLOTS; slot++)
        wheel->slots[slot] = NULL;
    wheel->falling = NULL;
    wheel->ripe = NULL;
    wheel->ripe_end = &wheel->ripe;
}

void plait__wheel_init(struct plait__wheel *wheel)
{
    clear(wheel, 0);
}

/* ---- Slots ------------------------------------------------------------------------------------------------------ */

/* The next slot; there is one. */
static size_t first_slot(const struct plait__wheel *wheel)
{
    unsigned level = (unsigned)__builtin_ctz(wheel->levels);

    return level * WHEEL_SLOTS + (unsigned)__builtin_ctzll(wheel->filled[level]);
}

/* The tick at which a slot begins: base's digits above it, its own, and zeros. */
static uint64_t start_of(const struct plait__wheel *wheel, size_t slot)
{
    unsigned shift = (unsigned)(slot / WHEEL_SLOTS) * WHEEL_DIGIT_BITS;
    uint64_t above = wheel->base >> (shift + WHEEL_DIGIT_BITS) << (shift + WHEEL_DIGIT_BITS);

    return above | (uint64_t)(slot % WHEEL_SLOTS) << shift;
}

plait_timer_t *plait__wheel_take(struct plait__wheel *wheel)
{
    plait_timer_t *timer = wheel->ripe;

    if (timer)
        plait__wheel_remove(wheel, timer);
    return timer;
}

/* ---- Time ------------------------------------------------------------------------------------------------------- */

static void add_all(struct plait__wheel *wheel, plait_timer_t *timer)
{
    while (timer) {
        plait_timer_t *next = timer->next;

        if (next)
            __builtin_prefetch(next->next);
        plait__wheel_add(wheel, timer);
        timer = next;
    }
}

/* The clock went back. */
static void turn_back(struct plait__wheel *wheel, uint64_t tick)
{
    struct plait__wheel before = *wheel;

    clear(wheel, tick);
    add_all(wheel, before.falling);
    add_all(wheel, before.ripe);
    for (int slot = 0; slot < WHEEL_LEVELS * WHEEL_SLOTS; slot++)
        add_all(wheel, before.slots[slot]);
}

/* Some of those that fall; returns how many. */
static int let_fall(struct plait__wheel *wheel, int most)
{
    int count = 0;

    for (; wheel->falling && count < most; count++) {
        plait_timer_t *timer = wheel->falling;

        if (timer->next)
            __builtin_prefetch(timer->next->next);
        plait__wheel_remove(wheel, timer);
        plait__wheel_add(wheel, timer);
    }
    return count;
}

/* Base comes to the beginning of a slot. */
static void begin_slot(struct plait__wheel *wheel, size_t slot)
{
    wheel->base = start_of(wheel, slot);
    wheel->falling = wheel->slots[slot];
    wheel->falling->link = &wheel->falling;
    wheel->slots[slot] = NULL;
    plait__wheel_mark_empty(wheel, slot);
}

void plait__wheel_advance(struct plait__wheel *wheel, plait_time_t now)
{
    uint64_t tick = now <= 0 ? 0 : (uint64_t)now >> WHEEL_TICK_BITS;
    int left = BATCH;

    if (tick < wheel->base)
        turn_back(wheel, tick);
    for (;;) {
        left -= let_fall(wheel, left);
        if (left <= 0)
            return;
        if (!wheel->levels || start_of(wheel, first_slot(wheel)) > tick)
            break;
        begin_slot(wheel, first_slot(wheel));
    }
    wheel->base = tick;
}

plait_time_t plait__wheel_next(const struct plait__wheel *wheel)
{
    if (wheel->ripe || wheel->falling)
        return PLAIT_NOW;
    return wheel->levels ? plait__wheel_time(wheel->earliest[first_slot(wheel)]) : PLAIT_FOREVER;
}
