/* SPDX-License-Identifier: MIT */
/*
 * The storm: what can be used up - once, latch, cancel token - and the wait group, whose count keeps what the killed had
 * added. All are made anew now and then. Nobody may be in an object meanwhile, so whoever uses them reads the
 * lock `rounds.lock`, and who makes them anew writes it. Nobody waits there for what only others bring, but for a moment:
 * a writer that waits keeps those others out.
 *
 * Sums: a step is in its tally before and after, so what an object counts lies between steps that are over and steps that
 * were tried; each killed one may be the difference.
 */
#include "kill/storm.h"

#include <errno.h>

enum { LATCH = 3, NOT_MADE = 77 };

#define MOMENT_IN_ROUNDS 0.0003

static void begin(uint64_t *tried) { __atomic_fetch_add(tried, 1, __ATOMIC_SEQ_CST); }
static void end(uint64_t *over) { __atomic_fetch_add(over, 1, __ATOMIC_SEQ_CST); }

/* What all setters of the present token give. */
static int code(void)
{
    return (int)(shared->rounds.life % PLAIT_CANCEL_CODE_MAX);
}

static int make_tokens(struct rounds *r)
{
    return plait_cancel_init(&r->token, PLAIT_SHARED) || plait_cancel_init_child(&r->child, &r->token, PLAIT_SHARED);
}

/* The caller writes. Killed in it, the next writer does it again: `opened` is a latch too great then, at most. */
static void renew(void)
{
    struct rounds *r = &shared->rounds;
    unsigned left = plait_wait_group_count(&r->group);

    while (left-- > 0) {
        begin(&record->done.tried);
        REQUIRE(plait_wait_group_done(&r->group) == 0);
        end(&record->done.over);
    }
    REQUIRE(plait_wait_group_wait(&r->group, PLAIT_NOW) == 0);
    if (plait_once_is_done(&r->once)) {
        REQUIRE(r->made == r->remade);
        REQUIRE(plait_once_init(&r->once, PLAIT_SHARED) == 0);
    }
    if (plait_latch_count(&r->latch) == 0) {
        REQUIRE(plait_latch_wait(&r->latch, PLAIT_NOW) == 0);
        r->opened++;
        for (volatile int i = 0; i < 20000; i++) /* a good moment to be killed */
            ;
        REQUIRE(plait_latch_init(&r->latch, LATCH, PLAIT_SHARED) == 0);
    }
    r->life++;
    REQUIRE(make_tokens(r) == 0);
}

/* Acquire rounds.lock. Who is told of a death writes: it has been at making anew, which is done again. */
static bool enter(bool write)
{
    struct rounds *r = &shared->rounds;
    int err = (write ? plait_rwlock_acquire_write : plait_rwlock_acquire_read)(&r->lock, PLAIT_FOREVER);

    REQUIRE_OR(err == 0 || err == EOWNERDEAD, false);
    if (err == 0)
        return true;
    r->torn++;
    renew();
    REQUIRE_OR(plait_rwlock_consistent(&r->lock) == 0, false);
    REQUIRE_OR(write || plait_rwlock_downgrade(&r->lock) == 0, false);
    return !me->fault;
}

static void leave(void)
{
    REQUIRE(plait_rwlock_release(&shared->rounds.lock) == 0);
}

void renew_rounds(void)
{
    if (!enter(true))
        return;
    renew();
    leave();
}

/* One at a time, and never again once it has succeeded; a killed one has left the two unequal. */
static int make_both(void *unused)
{
    struct rounds *r = &shared->rounds;
    long mine = r->made + 1;

    REQUIRE_OR(!plait_once_is_done(&r->once), NOT_MADE + 1);
    __atomic_store_n(&r->made, mine, __ATOMIC_RELAXED);
    for (volatile int i = 0; i < 2000; i++) /* a good moment to be killed */
        ;
    REQUIRE_OR(__atomic_load_n(&r->made, __ATOMIC_RELAXED) == mine, NOT_MADE + 1);
    r->remade = mine;
    return rand_r(&my_seed) % 4 ? NOT_MADE : 0;
}

void use_once(void)
{
    int err;

    if (!enter(false))
        return;
    err = plait_once_run(&shared->rounds.once, make_both, NULL, PLAIT_FOREVER);
    REQUIRE(err == 0 || err == NOT_MADE);
    if (err == 0)
        REQUIRE(plait_once_is_done(&shared->rounds.once) && shared->rounds.made == shared->rounds.remade);
    leave();
}

void use_latch(void)
{
    plait_latch_t *latch = &shared->rounds.latch;
    int err, wait_err;

    if (!enter(false))
        return;
    begin(&record->counted.tried);
    err = plait_latch_count_down(latch, 1);
    REQUIRE(err == 0 || err == EOVERFLOW);
    if (err == 0)
        end(&record->counted.over);
    wait_err = plait_latch_wait(latch, plait_after(MOMENT_IN_ROUNDS));
    REQUIRE(wait_err == 0 || (wait_err == ETIMEDOUT && err == 0));
    if (wait_err == 0)
        REQUIRE(plait_latch_count(latch) == 0);
    leave();
}

void use_group(void)
{
    plait_wait_group_t *group = &shared->rounds.group;
    int err;

    if (!enter(false))
        return;
    begin(&record->added.tried);
    REQUIRE(plait_wait_group_add(group, 1) == 0);
    end(&record->added.over);
    REQUIRE(plait_wait_group_count(group) > 0);
    for (volatile int i = 0; i < 2000; i++) /* a good moment to be killed */
        ;
    begin(&record->done.tried);
    REQUIRE(plait_wait_group_done(group) == 0);
    end(&record->done.over);
    err = plait_wait_group_wait(group, plait_after(MOMENT_IN_ROUNDS));
    REQUIRE(err == 0 || err == ETIMEDOUT);
    leave();
}

/* Set the parent; or wait for the child, or for something else while bound to it. */
void use_token(bool set)
{
    struct rounds *r = &shared->rounds;
    bool was_set, bound = rand_r(&my_seed) % 2;
    int err, found = 0;

    if (!enter(false))
        return;
    if (set) {
        REQUIRE(plait_cancel_set_code(&r->token, code()) == 0);
        REQUIRE(plait_cancel_is_set(&r->child));
        leave();
        return;
    }
    was_set = plait_cancel_is_set(&r->child);
    if (bound) {
        plait_cancel_bind(&r->child);
        err = plait_event_wait(&r->never, plait_after(MOMENT_IN_ROUNDS));
        plait_cancel_bind(NULL);
        REQUIRE(err == ECANCELED || err == ETIMEDOUT);
    } else {
        err = plait_cancel_wait(&r->child, plait_after(MOMENT_IN_ROUNDS));
        REQUIRE(err == 0 || err == ETIMEDOUT);
    }
    REQUIRE(err != ETIMEDOUT || !was_set);
    if (err != ETIMEDOUT)
        REQUIRE(plait_cancel_reason(&r->child, &found, NULL) == ECANCELED && found == code());
    leave();
}

int make_rounds(void)
{
    struct rounds *r = &shared->rounds;

    return plait_rwlock_init(&r->lock, PLAIT_SHARED) || plait_once_init(&r->once, PLAIT_SHARED) ||
           plait_latch_init(&r->latch, LATCH, PLAIT_SHARED) || plait_wait_group_init(&r->group, PLAIT_SHARED) ||
           plait_event_init(&r->never, PLAIT_SHARED) || make_tokens(r);
}

/* What was counted lies between what is known to be over and what was begun. */
static bool is_between(uint64_t over, uint64_t counted, uint64_t tried)
{
    return over <= counted && counted <= tried;
}

static int make_at_last(void *unused)
{
    shared->rounds.made = ++shared->rounds.remade;
    return 0;
}

/* They go on: each does once more what it is for. */
static const char *rounds_go_on(struct rounds *r)
{
    if (plait_once_run(&r->once, make_at_last, NULL, PLAIT_NOW) || r->made != r->remade || plait_once_fini(&r->once))
        return "once: it cannot be done";
    if (plait_latch_count_down(&r->latch, plait_latch_count(&r->latch)) || plait_latch_wait(&r->latch, PLAIT_NOW))
        return "latch: it does not open";
    if (plait_wait_group_add(&r->group, 1) || plait_wait_group_wait(&r->group, PLAIT_NOW) != ETIMEDOUT ||
        plait_wait_group_done(&r->group) || plait_wait_group_fini(&r->group))
        return "wait group: it does not go on";
    if (plait_cancel_is_set(&r->child) || plait_cancel_set(&r->token) || plait_cancel_wait(&r->child, PLAIT_NOW))
        return "token: the child is not set by its parent";
    if (plait_event_set(&shared->event) || plait_event_wait(&shared->event, PLAIT_NOW) ||
        plait_event_clear(&shared->event) || plait_event_wait(&shared->event, PLAIT_NOW) != ETIMEDOUT)
        return "event: it cannot be set and cleared";
    return NULL;
}

const char *rounds_are_right(void)
{
    struct rounds *r = &shared->rounds;
    uint64_t down, slack;
    int64_t group;
    const char *wrong;

    if (!enter(true))
        return "rounds: the lock cannot be had, or what is behind it cannot be made anew";
    if (plait_rwlock_readers(&r->lock))
        return "rounds: somebody dead reads";
    slack = (uint64_t)(r->torn * LATCH);
    down = (uint64_t)(r->opened * LATCH) + LATCH - plait_latch_count(&r->latch);
    if (!is_between(record->counted.over, down, record->counted.tried + slack))
        return "latch: the count is wrong";
    group = plait_wait_group_count(&r->group);
    if (group < (int64_t)(record->added.over - record->done.tried) || group > (int64_t)(record->added.tried - record->done.over))
        return "wait group: the count is wrong";
    renew();
    wrong = me->fault ? "rounds: they cannot be made anew" : rounds_go_on(r);
    leave();
    return wrong ? wrong : plait_rwlock_fini(&r->lock) ? "rounds: somebody still reads" : NULL;
}
