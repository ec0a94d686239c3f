/* SPDX-License-Identifier: MIT */
/* What the operations that are stepped through work on: an arena with one object of each kind, made afresh for each case. */
#ifndef TESTS_KILL_WORLD_H
#define TESTS_KILL_WORLD_H

#include "kill/step.h"

#include "arena/arena.h"
#include "arena/member.h"

extern plait_arena_t *arena;
extern plait_arena_t *other; /* made afresh for each kill, where what is lost would add up */
extern plait_queue_t *queue;
extern void *block;          /* memory of either */
extern size_t used_before;

/* Items tell their number, and whether they are torn. */
struct item {
    long number;
    char rest[2040]; /* makes segments of eight */
};

extern struct world {
    plait_lock_t lock;
    plait_rlock_t rlock; /* guards a and b as well, in its cases */
    plait_cond_t cond;
    plait_sem_t sem, owned;
    plait_barrier_t barrier;
    plait_event_t event, go; /* go: for who holds something, to let it go */
    plait_once_t once;
    plait_latch_t latch;
    plait_wait_group_t group;
    plait_cancel_t token, child;
    plait_rwlock_t rwlock;
    long a, b; /* guarded by lock, or by rwlock; a == b */
    uint32_t broken;
    uint32_t seen, wrong; /* atomic: see note_item */
    struct item got;      /* where a child gets what the test looks at */
} *world;

/* 0, or 1: it could not be made. */
int make_world(void);
int drop_world(void);

size_t used(void);
void remember_use(void);

/* NULL, or what is wrong with the arena. */
const char *checked(void);

/* The child takes part before it is stepped: joining has a case of its own. */
void take_part(void);

/* Acquire within the deadline, mend the counters; NULL, or what is wrong. */
const char *take_lock(void);
const char *take_and_give_lock(void);
const char *lock_goes_on(bool done);

/* For helpers that hold something: done with it when the waker, or the test, lets them. */
void await_go(void);

/* Wakers: when the child sleeps, or is dead, let the holder go; `second`, asleep behind the child by then, must end well. */
int let_holder_go(void *unused);
int let_holder_go_before(int (*second)(void *unused));

/* Asleep behind the child, or through, by the time that it returns; its end is for who asked for it. */
pid_t sleep_behind_child(int (*second)(void *unused));

/* Both have ended well. */
bool others_end_well(void);

void no_permit(void);

enum { SEGMENT = 8 };

extern long next_put, next_get;
extern struct item child_item; /* what the child puts */

void fill_item(struct item *item, long number);
bool item_is(const struct item *item, long number);
void put_some(int count);
void fresh_queue(size_t maxsize);

/* Whoever got an item says so, in any process; by the number's last five bits. */
void note_item(const struct item *item);

/* NULL: of these numbers (bits) each was noted once, but perhaps one of `loose` that was in the hands of the killed. */
const char *items_are_noted(uint32_t numbers, uint32_t loose);
void prepare_item(void);

void fresh_other(void);
void take_part_in_other(void);

#endif
