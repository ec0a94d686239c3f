/* SPDX-License-Identifier: MIT */
/* What a condition does with the lock that it goes with, be that plain or recursive, private or shared. */
#ifndef PLAIT_SYNC_HELD_H
#define PLAIT_SYNC_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include <plait/lock.h>
#include <plait/rlock.h>

/* Nanoseconds: until a sleeper starves; until a lock that was handed to nobody who takes it is anybody's (lock.c, rlock.c). */
enum { PLAIT__LOCK_PATIENCE = 5 * 1000 * 1000, PLAIT__LOCK_GRACE = 20 * 1000 * 1000 };

/* The same GRACE for one who waits for others as well, and what such a one keeps: when it starves, or that it does. */
enum { PLAIT__LOCK_MOMENT = 1000 * 1000, PLAIT__LOCK_STARVES = 1 };

/* A lock that the caller holds. */
struct plait__held {
    plait_lock_t *lock;
    bool recursive; /* a plait_rlock_t begins with it */
    uint32_t depth; /* recursive: levels beyond the first */
    const void *place; /* in the program: for debug mode, which is told that the lock is given and taken there */
};

/* EPERM: the caller does not hold it (plain and private: nobody does). */
int plait__held_look(plait_lock_t *lock, struct plait__held *held_out);

/* Of somebody's lock: does anybody hold it at this instant? */
bool plait__held_is_locked(const struct plait__held *held);

/* Give up all levels. */
void plait__held_give(const struct plait__held *held);

/*
 * Take all levels back, however long it takes, whatever the cancel token says; as plait_lock_acquire. `moved`: the caller slept
 * on the lock's word, so others may sleep there of whom the word does not tell.
 */
int plait__held_take(const struct plait__held *held, bool moved);

/*
 * Sleepers of other words can be moved to the word on which the lock's own sleep, with plait__futex_move. When that is
 * done, adopt sees to it that they are woken one after the other, as the lock is released: it says in the word that
 * somebody sleeps, or wakes the first if it is free. The lock may not be freed meanwhile, nor may those who are woken leave without it.
 */
const uint32_t *plait__held_word(const struct plait__held *held);
void plait__held_adopt(const struct plait__held *held);

/* The parts: of private plain locks, and of private recursive ones. */
int plait__lock_acquire_moved(plait_lock_t *lock);
void plait__lock_adopt(plait_lock_t *lock);
int plait__rlock_acquire_moved(plait_rlock_t *rlock);
void plait__rlock_adopt(plait_rlock_t *rlock);
const uint32_t *plait__rlock_word(const plait_rlock_t *rlock);

#endif
