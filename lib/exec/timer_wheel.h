/* SPDX-License-Identifier: MIT */
/* Wheel: timers in the order of their times, to be added and removed in a few steps however many there are. */
#ifndef PLAIT_EXEC_TIMER_WHEEL_H
#define PLAIT_EXEC_TIMER_WHEEL_H

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
    plait_timer_t *ripe;      /* those whose time has come, in the order of it */
    plait_timer_t **ripe_end; /* where the next one is linked */
};

void plait__wheel_init(struct plait__wheel *wheel);

/* Add one; returns the time at which it will be ripe: its due rounded up to a tick, PLAIT_FOREVER: never. */
plait_time_t plait__wheel_add(struct plait__wheel *wheel, plait_timer_t *timer);

/* Take out one that is in the wheel, ripe or not. */
void plait__wheel_remove(struct plait__wheel *wheel, plait_timer_t *timer);

/* It is `now`. Timers become ripe; if the clock went back, those that are not due any more are not ripe any more. */
void plait__wheel_advance(struct plait__wheel *wheel, plait_time_t now);

/* Take out the first ripe one; NULL: none is. */
plait_timer_t *plait__wheel_take(struct plait__wheel *wheel);

/*
 * Until when there is nothing to do: PLAIT_NOW if one is ripe, PLAIT_FOREVER if there is none. Too early only if the earliest timer
 * was removed; an advance makes that good.
 */
plait_time_t plait__wheel_next(const struct plait__wheel *wheel);

#endif
