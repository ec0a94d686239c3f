/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A hierarchical timing wheel: G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, their scheme 7, without
 * ticking: time moves on at once to whatever is next.
 *
 * Times are counted in ticks of 4.096 microseconds, and a tick written as nine digits of six bits. `base` is the tick to which the
 * wheel has come. A timer lies in the level of the highest digit in which its tick differs from base, and there in the slot
 * of that digit. So
 *
 *   I1  in each level only slots above base's digit have timers, and the lowest of them comes first;
 *   I2  all timers of a level come before all of higher levels, whose higher digits differ;
 *   I3  level 0's slots have timers of one tick each.
 *
 * The first slot of the lowest level that has any is thus the next, and bit maps find it in two steps. When time comes to the beginning of
 * a slot its timers are added anew, with that as base: some are ripe, the others fall into lower levels, each timer eight
 * times at most in its life. Between slots base may be anywhere, for up to the next one's beginning I1 to I3 hold for it.
 *
 * Nobody need wake for that alone: for each slot is kept the earliest tick of its timers, to which one can sleep. A removed timer may have been the
 * earliest: who then sleeps to it comes too early, once, and the falling finds out which is now.
 *
 * A timer that is ripe when it is added goes to the end of the ripe ones. Nothing is ripe too early: ticks are rounded up, the time
 * is rounded down. If the clock goes back (only the time of day does) all are added anew.
 *
 * Lists are linked forward, and back to what points to a timer. What points to the last of a slot is the slot itself.
 */
#include "exec/timer_wheel.h"

#include <stdbool.h>
#include <stddef.h>

static uint64_t tick_of(plait_time_t due)
{
    return due <= 0 ? 0 : ((uint64_t)due + (1u << WHEEL_TICK_BITS) - 1) >> WHEEL_TICK_BITS;
}

static plait_time_t time_of(uint64_t tick)
{
    return tick > (uint64_t)PLAIT_FOREVER >> WHEEL_TICK_BITS ? PLAIT_FOREVER : (plait_time_t)(tick << WHEEL_TICK_BITS);
}

static void clear(struct plait__wheel *wheel, uint64_t base)
{
    wheel->base = base;
    wheel->levels = 0;
    for (int level = 0; level < WHEEL_LEVELS; level++)
        wheel->filled[level] = 0;
    for (int slot = 0; slot < WHEEL_LEVELS * WHEEL_SLOTS; slot++)
        wheel->slots[slot] = NULL;
    wheel->ripe = NULL;
    wheel->ripe_end = &wheel->ripe;
}

void plait__wheel_init(struct plait__wheel *wheel)
{
    clear(wheel, 0);
}

/* ---- Slots ------------------------------------------------------------------------------------------------------ */

static void append_ripe(struct plait__wheel *wheel, plait_timer_t *timer)
{
    timer->next = NULL;
    timer->link = wheel->ripe_end;
    *wheel->ripe_end = timer;
    wheel->ripe_end = &timer->next;
}

static void put_in_slot(struct plait__wheel *wheel, plait_timer_t *timer, uint64_t tick)
{
    unsigned level = (63 - (unsigned)__builtin_clzll(tick ^ wheel->base)) / WHEEL_DIGIT_BITS;
    unsigned digit = tick >> (level * WHEEL_DIGIT_BITS) & (WHEEL_SLOTS - 1);
    unsigned slot = level * WHEEL_SLOTS + digit;
    plait_timer_t *first = wheel->slots[slot];

    timer->next = first;
    timer->link = &wheel->slots[slot];
    wheel->slots[slot] = timer;
    if (first) {
        first->link = &timer->next;
        if (tick < wheel->earliest[slot])
            wheel->earliest[slot] = tick;
    } else {
        wheel->levels |= 1u << level;
        wheel->filled[level] |= (uint64_t)1 << digit;
        wheel->earliest[slot] = tick;
    }
}

static void mark_empty(struct plait__wheel *wheel, size_t slot)
{
    size_t level = slot / WHEEL_SLOTS;

    wheel->filled[level] &= ~((uint64_t)1 << slot % WHEEL_SLOTS);
    if (!wheel->filled[level])
        wheel->levels &= ~(1u << level);
}

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

/* ---- Adding and removing ---------------------------------------------------------------------------------------- */

plait_time_t plait__wheel_add(struct plait__wheel *wheel, plait_timer_t *timer)
{
    uint64_t tick = tick_of(timer->due);

    if (tick <= wheel->base)
        append_ripe(wheel, timer);
    else
        put_in_slot(wheel, timer, tick);
    return time_of(tick);
}

void plait__wheel_remove(struct plait__wheel *wheel, plait_timer_t *timer)
{
    uintptr_t distance = (uintptr_t)timer->link - (uintptr_t)wheel->slots;

    *timer->link = timer->next;
    if (timer->next)
        timer->next->link = timer->link;
    else if (wheel->ripe_end == &timer->next)
        wheel->ripe_end = timer->link;
    else if (distance < sizeof wheel->slots)
        mark_empty(wheel, distance / sizeof wheel->slots[0]);
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
    add_all(wheel, before.ripe);
    for (int slot = 0; slot < WHEEL_LEVELS * WHEEL_SLOTS; slot++)
        add_all(wheel, before.slots[slot]);
}

void plait__wheel_advance(struct plait__wheel *wheel, plait_time_t now)
{
    uint64_t tick = now <= 0 ? 0 : (uint64_t)now >> WHEEL_TICK_BITS;

    if (tick < wheel->base)
        turn_back(wheel, tick);
    while (wheel->levels) {
        size_t slot = first_slot(wheel);
        uint64_t start = start_of(wheel, slot);
        plait_timer_t *timers = wheel->slots[slot];

        if (start > tick)
            break;
        wheel->base = start;
        wheel->slots[slot] = NULL;
        mark_empty(wheel, slot);
        add_all(wheel, timers);
    }
    wheel->base = tick;
}

plait_time_t plait__wheel_next(const struct plait__wheel *wheel)
{
    if (wheel->ripe)
        return PLAIT_NOW;
    return wheel->levels ? time_of(wheel->earliest[first_slot(wheel)]) : PLAIT_FOREVER;
}
