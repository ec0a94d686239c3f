/* SPDX-License-Identifier: MIT */
/*
 * Lock, semaphore, event and condition, and any of several under stress, with deadlines and cancel tokens among them.
 *
 * Everybody who gets something gives it back. So if no wake is lost on one who gave up, somebody always makes progress, which
 * the test watches; and after the end all come home and the books balance.
 */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/stage.h"

enum { WORKERS = 6, STALL_SECONDS = 5 };

/* What one call waits for: so many of each kind; permits and items of each; entries at most. */
enum { EACH = 2, PERMITS = 2, KINDS = 5, ENTRIES_MAX = 20 };

struct scene {
    plait_lock_t lock;
    plait_sem_t sem;
    plait_event_t event;
    plait_cond_t cond;
    plait_lock_t any_lock[EACH];
    plait_rlock_t any_rlock[EACH];
    plait_sem_t any_sem[EACH];
    plait_queue_t *stocked[EACH];   /* of PERMITS items, which are got and put back */
    plait_queue_t *shelf[EACH];     /* of PERMITS places, where something is put and taken away */
    uint32_t used[KINDS][EACH];     /* atomic: how many hold it */
    uint32_t items[EACH][PERMITS];  /* atomic: 1 while in somebody's hands */
    uint32_t won[KINDS];            /* atomic: by calls for several */
    uint32_t arrived, round, over;  /* atomic: the end of a round: who is there, which one it is, was it the last */
    plait_cancel_t tokens[WORKERS]; /* each worker's own, set by its neighbour */
    plait_time_t end;
    uint64_t inside;   /* guarded by lock */
    uint64_t balance;  /* guarded by lock: items made and not taken */
    uint32_t progress; /* atomic */
    uint32_t home;     /* atomic: workers that are through */
};

static void step_done(struct scene *s)
{
    __atomic_fetch_add(&s->progress, 1, __ATOMIC_RELAXED);
}

static plait_time_t some_deadline(struct worker *self)
{
    switch (worker_random(self, 4)) {
    case 0:
        return PLAIT_NOW;
    case 1:
        return plait_after(1e-6 * worker_random(self, 200));
    default:
        return PLAIT_FOREVER;
    }
}

static bool may_give_up_with(int err)
{
    return err == ETIMEDOUT || err == ECANCELED;
}

/* Now and then a worker renews its token, and sets its neighbour's. */
static void play_with_tokens(struct worker *self, struct scene *s)
{
    plait_cancel_t *own = &s->tokens[self->number], *other = &s->tokens[(self->number + 1) % WORKERS];

    if (worker_random(self, 4) == 0)
        plait_cancel_set(other);
    if (plait_cancel_is_set(own)) /* nobody waits for it now; a set between the look and the store is lost, as it may be */
        __atomic_store_n(&own->word, 0, __ATOMIC_RELAXED);
    plait_cancel_bind(worker_random(self, 2) ? own : NULL);
}

/* ---- One step of each noun; false: something that may not happen -------------------------- */

static bool lock_step(struct worker *self, struct scene *s)
{
    int err = plait_lock_acquire(&s->lock, some_deadline(self));
    bool right;

    if (err)
        return may_give_up_with(err);
    right = s->inside++ == 0;
    if (worker_random(self, 50) == 0)
        sched_yield();
    s->inside--;
    return plait_lock_release(&s->lock) == 0 && right;
}

static bool sem_step(struct worker *self, struct scene *s)
{
    unsigned count = 1 + worker_random(self, 10) / 9;
    int err = plait_sem_acquire(&s->sem, count, some_deadline(self));

    if (err)
        return may_give_up_with(err);
    if (worker_random(self, 50) == 0)
        sched_yield();
    return plait_sem_release(&s->sem, count) == 0;
}

static bool event_step(struct worker *self, struct scene *s)
{
    int err;

    if (worker_random(self, 2)) {
        plait_event_set(&s->event);
        plait_event_clear(&s->event);
        return true;
    }
    err = plait_event_wait(&s->event, plait_after(1e-5 * worker_random(self, 200)));
    return err == 0 || may_give_up_with(err);
}

/* Making and taking items: one who gives up must not swallow the notification of an item. */
static bool cond_step(struct worker *self, struct scene *s)
{
    plait_time_t deadline = some_deadline(self);
    plait_cancel_t *token = plait_cancel_bind(NULL);
    bool right = plait_lock_acquire(&s->lock, PLAIT_FOREVER) == 0;
    int err = 0;

    plait_cancel_bind(token);
    right = right && s->inside++ == 0;
    if (self->number % 2) {
        s->balance++;
        right = plait_cond_notify(&s->cond, 1) == 0 && right;
    } else {
        while (s->balance == 0 && err == 0) {
            s->inside--;
            err = plait_cond_wait(&s->cond, &s->lock, deadline == PLAIT_FOREVER ? s->end : deadline);
            right = s->inside++ == 0 && right;
        }
        if (s->balance)
            s->balance--;
    }
    s->inside--;
    return plait_lock_release(&s->lock) == 0 && right && (err == 0 || may_give_up_with(err));
}

/* ---- Any of several: locks, permits, items and places, all given back --------------------- */

enum any_kind { ANY_LOCK, ANY_RLOCK, ANY_SEM, ANY_GET, ANY_PUT };

struct pick {
    enum any_kind kind;
    unsigned n;
    uint32_t item;
};

static struct plait_wait_entry entry_of(struct scene *s, struct pick *pick)
{
    switch (pick->kind) {
    case ANY_LOCK:
        return plait_any_lock_acquire(&s->any_lock[pick->n]);
    case ANY_RLOCK:
        return plait_any_rlock_acquire(&s->any_rlock[pick->n]);
    case ANY_SEM:
        return plait_any_sem_acquire(&s->any_sem[pick->n], 1);
    case ANY_GET:
        return plait_any_queue_get(s->stocked[pick->n], &pick->item);
    default:
        return plait_any_queue_put(s->shelf[pick->n], &pick->item);
    }
}

static int take_plainly(struct scene *s, struct pick *pick, plait_time_t deadline)
{
    switch (pick->kind) {
    case ANY_LOCK:
        return plait_lock_acquire(&s->any_lock[pick->n], deadline);
    case ANY_RLOCK:
        return plait_rlock_acquire(&s->any_rlock[pick->n], deadline);
    case ANY_SEM:
        return plait_sem_acquire(&s->any_sem[pick->n], 1, deadline);
    case ANY_GET:
        return plait_queue_get(s->stocked[pick->n], &pick->item, deadline);
    default:
        return plait_queue_put(s->shelf[pick->n], &pick->item, deadline);
    }
}

/* The caller has it: no more do than may. Then give it back. */
static bool use_and_return(struct worker *self, struct scene *s, struct pick *pick)
{
    uint32_t *used = &s->used[pick->kind][pick->n];
    bool right = __atomic_fetch_add(used, 1, __ATOMIC_RELAXED) < (pick->kind <= ANY_RLOCK ? 1 : PERMITS);
    uint32_t *item = &s->items[pick->n][pick->item % PERMITS];

    if (pick->kind == ANY_GET)
        right = pick->item < PERMITS && __atomic_exchange_n(item, 1, __ATOMIC_RELAXED) == 0 && right;
    if (worker_random(self, 4) == 0)
        plait_sleep(1e-6 * worker_random(self, 50)); /* the others fall asleep */
    if (pick->kind == ANY_GET)
        __atomic_store_n(item, 0, __ATOMIC_RELAXED);
    __atomic_fetch_sub(used, 1, __ATOMIC_RELAXED);
    switch (pick->kind) {
    case ANY_LOCK:
        return plait_lock_release(&s->any_lock[pick->n]) == 0 && right;
    case ANY_RLOCK:
        return plait_rlock_release(&s->any_rlock[pick->n]) == 0 && right;
    case ANY_SEM:
        return plait_sem_release(&s->any_sem[pick->n], 1) == 0 && right;
    case ANY_GET:
        return plait_queue_put(s->stocked[pick->n], &pick->item, PLAIT_FOREVER) == 0 && right;
    default:
        return plait_queue_get(s->shelf[pick->n], &pick->item, PLAIT_FOREVER) == 0 && right;
    }
}

static bool any_step(struct worker *self, struct scene *s)
{
    struct plait_wait_entry entries[ENTRIES_MAX];
    struct pick picks[ENTRIES_MAX];
    plait_time_t deadline = some_deadline(self);
    size_t count = 1 + worker_random(self, worker_random(self, 8) ? 5 : ENTRIES_MAX), which = 0;
    bool plainly = worker_random(self, 3) == 0;
    int err;

    for (size_t i = 0; i < count; i++) {
        picks[i] = (struct pick){ (enum any_kind)worker_random(self, KINDS), worker_random(self, EACH), 0 };
        entries[i] = entry_of(s, &picks[i]);
        entries[i].first = worker_random(self, 5) == 0;
    }
    err = plainly ? take_plainly(s, &picks[0], deadline) : plait_wait_any(entries, count, &which, deadline);
    if (err)
        return may_give_up_with(err) && (plainly || which == count);
    if (!plainly)
        __atomic_fetch_add(&s->won[picks[which].kind], 1, __ATOMIC_RELAXED);
    plait_cancel_bind(NULL);
    return use_and_return(self, s, &picks[which]);
}

static void any_begin(struct stage *stage, struct scene *s)
{
    struct plait_queue_opts opts = { .item_size = sizeof(uint32_t), .maxsize = PERMITS };

    opts.arena = stage->flags ? stage->arena : NULL;
    for (int n = 0; n < EACH; n++) {
        assert_int_equal(plait_lock_init(&s->any_lock[n], stage->flags), 0);
        assert_int_equal(plait_rlock_init(&s->any_rlock[n], stage->flags), 0);
        assert_int_equal(plait_sem_init(&s->any_sem[n], PERMITS, stage->flags | (n % 2 ? PLAIT_BOUNDED : 0)), 0);
        assert_int_equal(plait_queue_new(&s->stocked[n], &opts), 0);
        assert_int_equal(plait_queue_new(&s->shelf[n], &opts), 0);
        for (uint32_t item = 0; item < PERMITS; item++)
            assert_int_equal(plait_queue_put(s->stocked[n], &item, PLAIT_NOW), 0);
    }
}

static void any_end(struct scene *s)
{
    for (int n = 0; n < EACH; n++) {
        uint32_t item, seen = 0;

        assert_int_equal(plait_lock_fini(&s->any_lock[n]), 0);
        assert_int_equal(plait_rlock_fini(&s->any_rlock[n]), 0);
        assert_int_equal(plait_sem_value(&s->any_sem[n]), PERMITS);
        while (plait_queue_get(s->stocked[n], &item, PLAIT_NOW) == 0)
            seen += 1u << item;
        assert_int_equal(seen, (1u << PERMITS) - 1);
        assert_int_equal(plait_queue_qsize(s->shelf[n]), 0);
        assert_int_equal(plait_queue_destroy(s->stocked[n]), 0);
        assert_int_equal(plait_queue_destroy(s->shelf[n]), 0);
    }
}

/* ---- Runs ------------------------------------------------------------------------------- */

static void run(struct worker *self, bool (*step)(struct worker *, struct scene *))
{
    struct scene *s = self->with;
    bool right = true;

    while (right && plait_now() < s->end) {
        play_with_tokens(self, s);
        right = step(self, s);
        step_done(s);
    }
    self->result = right ? 0 : 1;
    __atomic_fetch_add(&s->home, 1, __ATOMIC_RELEASE);
}

static void run_lock(struct worker *self) { run(self, lock_step); }
static void run_sem(struct worker *self) { run(self, sem_step); }
static void run_event(struct worker *self) { run(self, event_step); }
static void run_cond(struct worker *self) { run(self, cond_step); }

/* All have done their steps: begin the next round. */
static void gather(struct worker *self, struct scene *s)
{
    uint32_t round = __atomic_load_n(&s->round, __ATOMIC_ACQUIRE);

    plait_cancel_bind(NULL);
    if (__atomic_add_fetch(&s->arrived, 1, __ATOMIC_ACQ_REL) % WORKERS == 0) {
        __atomic_store_n(&s->over, plait_now() >= s->end, __ATOMIC_RELAXED);
        __atomic_store_n(&s->round, round + 1, __ATOMIC_RELEASE);
        plait_wake(&s->round, UINT_MAX, self->stage->flags);
    }
    while (__atomic_load_n(&s->round, __ATOMIC_ACQUIRE) == round)
        plait_wait(&s->round, round, self->stage->flags, PLAIT_FOREVER);
}

/* In short rounds, at whose ends nobody comes by who would wake a sleeper that was forgotten. */
static void run_any(struct worker *self)
{
    struct scene *s = self->with;
    bool right = true;

    do {
        for (unsigned steps = 1 + worker_random(self, 4); right && steps > 0; steps--) {
            play_with_tokens(self, s);
            right = any_step(self, s);
            step_done(s);
        }
        gather(self, s);
    } while (right && !__atomic_load_n(&s->over, __ATOMIC_RELAXED));
    self->result = right ? 0 : 1;
    __atomic_fetch_add(&s->home, 1, __ATOMIC_RELEASE);
}

/* False: for STALL_SECONDS nobody made a step, or not all came home after the end. */
static bool watch(struct scene *s, uint32_t count)
{
    plait_time_t moved = plait_now();
    uint32_t seen = 0;

    while (__atomic_load_n(&s->home, __ATOMIC_ACQUIRE) < count) {
        uint32_t progress = __atomic_load_n(&s->progress, __ATOMIC_RELAXED);

        if (progress != seen)
            moved = plait_now();
        seen = progress;
        if (plait_now() > moved + STALL_SECONDS * PLAIT__SECOND)
            return false;
        stage_pause();
    }
    return true;
}

static void stress(struct stage *stage, void (*run_noun)(struct worker *))
{
    struct scene *s = stage_alloc(stage, sizeof *s);

    assert_non_null(s);
    assert_int_equal(plait_lock_init(&s->lock, stage->flags), 0);
    assert_int_equal(plait_sem_init(&s->sem, 2, stage->flags), 0);
    assert_int_equal(plait_event_init(&s->event, stage->flags), 0);
    assert_int_equal(plait_cond_init(&s->cond, stage->flags), 0);
    any_begin(stage, s);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(plait_cancel_init(&s->tokens[i], stage->flags), 0);
    stage_seed();
    s->end = plait_after(stage_stress_seconds());
    for (int i = 0; i < WORKERS; i++)
        assert_non_null(worker_start(stage, run_noun, s));
    assert_true(watch(s, WORKERS));
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    print_message("%u steps\n", s->progress);
    assert_int_equal(plait_sem_value(&s->sem), 2);
    assert_int_equal(plait_lock_fini(&s->lock), 0);
    assert_int_equal(plait_cond_fini(&s->cond), 0);
    assert_true(s->inside == 0);
    any_end(s);
    if (run_noun == run_any)
        print_message("%u rounds; won: %u locks, %u permits, %u items, %u places\n", s->round, s->won[ANY_LOCK] + s->won[ANY_RLOCK], s->won[ANY_SEM],
                      s->won[ANY_GET], s->won[ANY_PUT]);
}

static void lock_under_stress_makes_progress(void **state) { stress(*state, run_lock); }
static void sem_under_stress_makes_progress(void **state) { stress(*state, run_sem); }
static void event_under_stress_makes_progress(void **state) { stress(*state, run_event); }
static void cond_under_stress_makes_progress(void **state) { stress(*state, run_cond); }
static void any_under_stress_makes_progress(void **state) { stress(*state, run_any); }

/* ---- With deaths ------------------------------------------------------------------------ */

static int enter(struct scene *s)
{
    int err = plait_lock_acquire(&s->lock, PLAIT_FOREVER);

    if (err != EOWNERDEAD)
        return err;
    s->inside = 0;
    return plait_lock_consistent(&s->lock);
}

/* Lock and condition until killed. */
static void live_dangerously(struct worker *self)
{
    struct scene *s = self->with;

    for (;;) {
        int err = enter(s);

        if (err || s->inside++ != 0)
            break;
        s->inside--;
        if (self->number % 2)
            err = plait_cond_notify(&s->cond, 1 + worker_random(self, 2));
        else
            err = plait_cond_wait(&s->cond, &s->lock, some_deadline(self));
        if (err == EOWNERDEAD) {
            s->inside = 0;
            err = plait_lock_consistent(&s->lock);
        }
        if (err && !may_give_up_with(err))
            break;
        if (plait_lock_release(&s->lock) != 0)
            break;
        step_done(s);
    }
    self->result = 1;
}

/* One after the other is killed at any moment and replaced. The others must get on within a few slices. */
static void everybody_may_be_killed_and_the_others_get_on(void **state)
{
    struct stage *stage = *state;
    struct scene *s = stage_alloc(stage, sizeof *s);
    struct worker *alive[WORKERS];

    assert_non_null(s);
    assert_int_equal(plait_lock_init(&s->lock, stage->flags), 0);
    assert_int_equal(plait_cond_init(&s->cond, stage->flags), 0);
    stage_seed();
    for (int i = 0; i < WORKERS; i++)
        assert_non_null(alive[i] = worker_start(stage, live_dangerously, s));
    s->end = plait_after(stage_stress_seconds());
    for (unsigned n = 0; plait_now() < s->end && stage->worker_count < STAGE_WORKERS_MAX - 1; n++) {
        uint32_t seen = __atomic_load_n(&s->progress, __ATOMIC_RELAXED);

        assert_true(EVENTUALLY(__atomic_load_n(&s->progress, __ATOMIC_RELAXED) - seen > 20));
        worker_kill(alive[n % WORKERS]);
        assert_int_equal(alive[n % WORKERS]->result, -1);
        if (n % WORKERS % 2 != stage->worker_count % 2) /* keep takers and notifiers in balance */
            stage->worker_count++;
        assert_non_null(alive[n % WORKERS] = worker_start(stage, live_dangerously, s));
    }
    for (int i = 0; i < WORKERS; i++)
        worker_kill(alive[i]);
    assert_int_equal(enter(s), 0);
    assert_int_equal(plait_lock_release(&s->lock), 0);
    assert_int_equal(plait_cond_fini(&s->cond), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(lock_under_stress_makes_progress),
        EVERYWHERE(sem_under_stress_makes_progress),
        EVERYWHERE(event_under_stress_makes_progress),
        EVERYWHERE(cond_under_stress_makes_progress),
        EVERYWHERE(any_under_stress_makes_progress),
        PROCESSES(everybody_may_be_killed_and_the_others_get_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
