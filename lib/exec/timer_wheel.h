/* SPDX-License-Identifier: MIT */
/* Wheel: timers in the order of their times, to be added and removed in a few steps however many there are. */
#ifndef PLAIT_EXEC_TIMER_WHEEL_H
#define PLAIT_EXEC_TIMER_WHEEL_H

#include <stddef.h>
#include <stdint.h>

#include <plait/timer.h>

enum { WHEEL_TICK_BITS = 12 /* of nanoseconds */, WHEEL_DIGIT_BITS = 6, WHEEL_SLOTS = 1 << WHEEL_DIGIT_BITS, WHEEL_LEVELS = 9 };

/* Guarded by its user; knows no clock: it is told what time it is. Of a timer it uses next, link and due. */
struct plait__wheel {
    uint64_t base;      /* the tick up to which all timers are ripe, or have been taken */
    uint32_t levels;    /* bit L: a slot of level L has timers */
    uint64_t filled[WHEEL_LEVELS]; /* bit S: slot S of the level has timers */
    plait_timer_t *slots[WHEEL_LEVELS * WHEEL_SLOTS];
    uint64_t earliest[WHEEL_LEVELS * WHEEL_SLOTS]; /* of a slot with timers: none of them is ripe before this tick */
    plait_timer_t *falling;   /* of the slot that base has come to: those not yet added anew */
    plait_timer_t *ripe;      /* those whose time has come, in the order of it */
    plait_timer_t **ripe_end; /* where the next one is linked */
};

void plait__wheel_init(struct plait__wheel *wheel);

/*
 * It is `now`. Timers become ripe; if the clock went back, those that are not due any more are not ripe any more. A call moves a few
 * dozen timers: who holds a lock may give it to others in between. It is done when plait__wheel_next is later than now.
 */
void plait__wheel_advance(struct plait__wheel *wheel, plait_time_t now);

/* Take out the first ripe one; NULL: none is. */
plait_timer_t *plait__wheel_take(struct plait__wheel *wheel);

/*
 * Until when there is nothing to do: PLAIT_NOW if one is ripe, or some are falling, PLAIT_FOREVER if there is none. Too early only
 * if the earliest timer was removed; an advance makes that good.
 */
plait_time_t plait__wheel_next(const struct plait__wheel *wheel);

/* ---- Ticks ---- */

static inline uint64_t plait__wheel_tick(plait_time_t due)
{
    return due <= 0 ? 0 : ((uint64_t)due + (1u << WHEEL_TICK_BITS) - 1) >> WHEEL_TICK_BITS;
}

static inline plait_time_t plait__wheel_time(uint64_t tick)
{
    return tick > (uint64_t)PLAIT_FOREVER >> WHEEL_TICK_BITS ? PLAIT_FOREVER : (plait_time_t)(tick << WHEEL_TICK_BITS);
}

/* ---- Slots ---- */

static inline void plait__wheel_append_ripe(struct plait__wheel *wheel, plait_timer_t *timer)
{
    timer->next = NULL;
    timer->link = wheel->ripe_end;
    *wheel->ripe_end = timer;
    wheel->ripe_end = &timer->next;
}

static inline void plait__wheel_put_in_slot(struct plait__wheel *wheel, plait_timer_t *timer, uint64_t tick)
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

static inline void plait__wheel_mark_empty(struct plait__wheel *wheel, size_t slot)
{
    size_t level = slot / WHEEL_SLOTS;

    wheel->filled[level] &= ~((uint64_t)1 << slot % WHEEL_SLOTS);
    if (!wheel->filled[level])
        wheel->levels &= ~(1u << level);
}

/* ---- Adding and removing ---- */

/* Add one; returns the time at which it will be ripe: its due rounded up to a tick, PLAIT_FOREVER: never. */
static inline plait_time_t plait__wheel_add(struct plait__wheel *wheel, plait_timer_t *timer)
{
    uint64_t tick = plait__wheel_tick(timer->due);

    if (tick <= wheel->base)
        plait__wheel_append_ripe(wheel, timer);
    else
        plait__wheel_put_in_slot(wheel, timer, tick);
    return plait__wheel_time(tick);
}

/* Take out one that is in the wheel, ripe or not. */
static inline void plait__wheel_remove(struct plait__wheel *wheel, plait_timer_t *timer)
{
    uintptr_t distance = (uintptr_t)timer->link - (uintptr_t)wheel->slots;

    *timer->link = timer->next;
    if (timer->next)
        timer->next->link = timer->link;
    else if (wheel->ripe_end == &timer->next)
        wheel->ripe_end = timer->link;
    else if (distance < sizeof wheel->slots)
        plait__wheel_mark_empty(wheel, distance / sizeof wheel->slots[0]);
}

#endif
