/* SPDX-License-Identifier: MIT */
/* The contract of plait/wait_any.h, sentence by sentence, over all kinds of objects. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <plait.h>

#include "base/clock.h"
#include "support/cmocka.h"
#include "support/refuse.h"
#include "support/stage.h"
#include "wait/parked.h"

enum { NR_FUTEX_WAITV = 449 };

/* One entry of each kind that works everywhere. */
enum kind { LOCK, SEM, EVENT, GET, PUT, RECV, PUBLISH, NEWER, KINDS };

enum { CROWD = 300, OLD_ITEM = 5, NEW_ITEM = 7 };

/* What a case's workers share. None of the entries can be performed at first. */
struct scene {
    unsigned flags;
    plait_lock_t lock; /* held by the test */
    plait_rlock_t rlock;
    plait_sem_t sem;
    plait_event_t event;
    plait_queue_t *full, *empty;
    plait_pipe_t *near, *far;            /* near receives */
    plait_broadcast_t *broadcast;        /* full, for the test has not got the item yet */
    plait_subscriber_t *subscriber;      /* the test's */
    plait_latest_t *latest;
    uint64_t seen;                       /* version of it, atomic */
    plait_cancel_t token;
    plait_time_t deadline;
    int put_item, got_item;
    size_t which;
    uint32_t may_die; /* atomic: said to who holds the lock */
    plait_event_t crowd[CROWD];
};

/* What entries of this thread read and write whether they win or not. */
static __thread struct {
    uint64_t version;
    size_t size;
    int item, value;
} own;

static bool has_waitv(void)
{
    return syscall(NR_FUTEX_WAITV, NULL, 0, 0, NULL, 0) >= 0 || errno != ENOSYS;
}

static void make_streams(struct scene *scene, plait_arena_t *arena)
{
    static const int item = OLD_ITEM;

    assert_int_equal(plait_pipe_new(&scene->near, &scene->far, &(struct plait_pipe_opts){ .arena = arena, .maxsize = 1 }), 0);
    assert_int_equal(plait_broadcast_new(&scene->broadcast, &(struct plait_broadcast_opts){
        .item_size = sizeof(int), .arena = arena, .maxsize = 1 }), 0);
    assert_int_equal(plait_broadcast_subscribe(scene->broadcast, PLAIT_FROM_NEWEST, &scene->subscriber), 0);
    assert_int_equal(plait_broadcast_put(scene->broadcast, &item, PLAIT_NOW), 0);
    assert_int_equal(plait_latest_new(&scene->latest, &(struct plait_latest_opts){ .value_size = sizeof(int), .arena = arena }), 0);
}

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);
    struct plait_queue_opts opts = { .item_size = sizeof(int), .maxsize = 1 };
    int item = OLD_ITEM;

    assert_non_null(scene);
    scene->flags = stage->flags;
    opts.arena = stage->flags ? stage->arena : NULL;
    assert_int_equal(plait_lock_init(&scene->lock, stage->flags), 0);
    assert_int_equal(plait_rlock_init(&scene->rlock, stage->flags), 0);
    assert_int_equal(plait_sem_init(&scene->sem, 0, stage->flags), 0);
    assert_int_equal(plait_event_init(&scene->event, stage->flags), 0);
    assert_int_equal(plait_cancel_init(&scene->token, stage->flags), 0);
    assert_int_equal(plait_queue_new(&scene->full, &opts), 0);
    assert_int_equal(plait_queue_new(&scene->empty, &opts), 0);
    assert_int_equal(plait_queue_put(scene->full, &item, PLAIT_NOW), 0);
    make_streams(scene, opts.arena);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(plait_event_init(&scene->crowd[i], stage->flags), 0);
    scene->deadline = PLAIT_FOREVER;
    scene->put_item = NEW_ITEM;
    scene->which = 777;
    return scene;
}

static void scene_end(struct scene *scene)
{
    plait_lock_release(&scene->lock); /* EPERM if it is not held */
    assert_int_equal(plait_queue_destroy(scene->full), 0);
    assert_int_equal(plait_queue_destroy(scene->empty), 0);
    assert_int_equal(plait_pipe_free(scene->near), 0);
    assert_int_equal(plait_pipe_free(scene->far), 0);
    assert_int_equal(plait_subscriber_free(scene->subscriber), 0);
    assert_int_equal(plait_broadcast_destroy(scene->broadcast), 0);
    assert_int_equal(plait_latest_destroy(scene->latest), 0);
}

static void fill(struct plait_wait_entry *entries, struct scene *scene)
{
    entries[LOCK] = plait_any_lock_acquire(&scene->lock);
    entries[SEM] = plait_any_sem_acquire(&scene->sem, 1);
    entries[EVENT] = plait_any_event_wait(&scene->event);
    entries[GET] = plait_any_queue_get(scene->empty, &scene->got_item);
    entries[PUT] = plait_any_queue_put(scene->full, &scene->put_item);
    own.version = __atomic_load_n(&scene->seen, __ATOMIC_SEQ_CST);
    own.size = sizeof own.item;
    entries[RECV] = plait_any_pipe_recv(scene->near, &own.item, &own.size);
    entries[PUBLISH] = plait_any_broadcast_put(scene->broadcast, &scene->put_item);
    entries[NEWER] = plait_any_latest_read_newer(scene->latest, &own.value, &own.version);
}

/* Let the entry of that kind be performed, once; 0. */
static int make_ready(struct scene *scene, enum kind kind)
{
    int item = NEW_ITEM;

    switch (kind) {
    case LOCK:
        return plait_lock_release(&scene->lock);
    case SEM:
        return plait_sem_release(&scene->sem, 1);
    case EVENT:
        return plait_event_set(&scene->event);
    case GET:
        return plait_queue_put(scene->empty, &item, PLAIT_NOW);
    case RECV:
        return plait_pipe_send(scene->far, &item, sizeof item, PLAIT_NOW);
    case PUBLISH:
        return plait_subscriber_get(scene->subscriber, &item, PLAIT_NOW);
    case NEWER:
        return plait_latest_write(scene->latest, &item, PLAIT_NOW);
    default:
        return plait_queue_get(scene->full, &item, PLAIT_NOW);
    }
}

/* In whoever has performed the entry: undo it, so that it cannot be performed again; 0, or what is wrong. */
static int undo(struct scene *scene, enum kind kind)
{
    int item = 0, err;

    switch (kind) {
    case LOCK: /* to be held by the test again, who takes it */
        return plait_lock_release(&scene->lock);
    case SEM:
        return 0;
    case EVENT:
        return plait_event_clear(&scene->event);
    case GET:
        item = scene->got_item;
        scene->got_item = 0;
        return item == NEW_ITEM ? 0 : -3;
    case RECV:
        item = own.item;
        own.item = 0;
        return item == NEW_ITEM && own.size == sizeof item ? 0 : -5;
    case PUBLISH:
        return 0;
    case NEWER:
        __atomic_store_n(&scene->seen, own.version, __ATOMIC_SEQ_CST);
        return own.value == NEW_ITEM ? 0 : -6;
    default:
        err = plait_queue_get(scene->full, &item, PLAIT_NOW);
        if (err || item != NEW_ITEM)
            return -4;
        item = OLD_ITEM;
        return plait_queue_put(scene->full, &item, PLAIT_NOW);
    }
}

static void take_lock_back(struct scene *scene)
{
    assert_int_equal(plait_lock_acquire(&scene->lock, plait_after(10)), 0);
}

/* Can the entry of that kind be performed, once? */
static bool is_ready(struct scene *scene, enum kind kind)
{
    uint64_t version;
    int value;

    switch (kind) {
    case LOCK:
        return !plait_lock_is_locked(&scene->lock);
    case SEM:
        return plait_sem_value(&scene->sem) == 1;
    case EVENT:
        return plait_event_is_set(&scene->event);
    case GET:
        return plait_queue_qsize(scene->empty) == 1;
    case RECV:
        return plait_pipe_poll(scene->near, PLAIT_NOW) == 0;
    case PUBLISH:
        return plait_subscriber_lag(scene->subscriber) == 0;
    case NEWER:
        return plait_latest_read(scene->latest, &value, &version) == 0 && version > scene->seen;
    default:
        return plait_queue_qsize(scene->full) == 0;
    }
}

static unsigned count_ready(struct scene *scene)
{
    unsigned count = 0;

    for (int kind = 0; kind < KINDS; kind++)
        count += is_ready(scene, (enum kind)kind);
    return count;
}

/* The first kind that the test's thread can take part in: it holds the lock, which if shared is an error at once. */
static int first_kind(const struct scene *scene)
{
    return scene->flags ? SEM : LOCK;
}

/* ---- At once ---------------------------------------------------------------------------- */

static void any_with_bad_arguments_is_refused(void **state)
{
    struct scene *scene = scene_of(*state);
    static struct plait_wait_entry many[PLAIT_WAIT_ANY_MAX + 1];
    struct plait_wait_entry entries[KINDS + 1] = { { 0 } };
    size_t which = 777;

    fill(entries, scene);
    assert_int_equal(plait_wait_any(entries, 0, &which, PLAIT_NOW), EINVAL);
    assert_int_equal(which, 0);
    assert_int_equal(plait_wait_any(NULL, 1, &which, PLAIT_NOW), EINVAL);
    assert_int_equal(which, 1);
    assert_int_equal(plait_wait_any(entries, KINDS + 1, &which, PLAIT_NOW), EINVAL);
    assert_int_equal(which, KINDS + 1);
    make_ready(scene, SEM);
    assert_int_equal(plait_wait_any(entries, KINDS + 1, NULL, PLAIT_FOREVER), EINVAL);
    assert_true(is_ready(scene, SEM)); /* nothing performed */
    for (size_t i = 0; i <= PLAIT_WAIT_ANY_MAX; i++)
        many[i] = entries[EVENT];
    assert_int_equal(plait_wait_any(many, PLAIT_WAIT_ANY_MAX + 1, &which, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_wait_any(many, SIZE_MAX, &which, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_wait_any(many, PLAIT_WAIT_ANY_MAX, &which, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(which, PLAIT_WAIT_ANY_MAX);
    scene_end(scene);
}

static void any_try_of_none_changes_nothing(void **state)
{
    struct scene *scene = scene_of(*state);
    plait_time_t past[] = { PLAIT_NOW, -1, INT64_MIN, 1, plait_now() - 1 };
    struct plait_wait_entry entries[KINDS];
    size_t which;

    fill(entries, scene);
    for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
        which = 777;
        assert_int_equal(plait_wait_any(entries, KINDS, &which, past[i]), ETIMEDOUT);
        assert_int_equal(which, KINDS);
        assert_int_equal(plait_wait_any(entries, KINDS, NULL, past[i]), ETIMEDOUT);
    }
    assert_int_equal(count_ready(scene), 0);
    scene_end(scene);
}

static void any_finds_the_one_that_is_ready(void **state)
{
    struct scene *scene = scene_of(*state);
    static const plait_time_t deadlines[] = { PLAIT_NOW, PLAIT_FOREVER };
    struct plait_wait_entry entries[KINDS];

    fill(entries, scene);
    for (int round = 0; round < 10; round++)
        for (int kind = 0; kind < KINDS; kind++) {
            int first = kind == LOCK ? LOCK : first_kind(scene);
            size_t which = 777;

            assert_int_equal(make_ready(scene, (enum kind)kind), 0);
            assert_int_equal(plait_wait_any(entries + first, (size_t)(KINDS - first), &which, deadlines[round % 2]), 0);
            assert_int_equal(which, kind - first);
            assert_int_equal(count_ready(scene), kind == EVENT || kind == NEWER); /* these stay so */
            assert_int_equal(undo(scene, (enum kind)kind), 0);
            if (kind == LOCK)
                take_lock_back(scene);
        }
    scene_end(scene);
}

static void any_of_several_ready_ones_performs_one(void **state)
{
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry entries[KINDS];
    unsigned done[KINDS] = { 0 };

    fill(entries, scene);
    for (int kind = 0; kind < KINDS; kind++)
        assert_int_equal(make_ready(scene, (enum kind)kind), 0);
    for (int left = KINDS; left > 0; left--) {
        size_t which = 777;

        assert_int_equal(count_ready(scene), left);
        assert_int_equal(plait_wait_any(entries, KINDS, &which, PLAIT_FOREVER), 0);
        assert_in_range(which, 0, KINDS - 1);
        done[which]++;
        if (which == LOCK) /* a shared one would answer EDEADLK from now on */
            entries[LOCK] = plait_any_sem_acquire(&scene->sem, 2);
        if (which == EVENT || which == NEWER)
            assert_int_equal(undo(scene, (enum kind)which), 0);
    }
    for (int kind = 0; kind < KINDS; kind++)
        assert_int_equal(done[kind], 1);
    assert_int_equal(plait_wait_any(entries + 1, KINDS - 1, NULL, PLAIT_NOW), ETIMEDOUT);
    scene_end(scene);
}

static void any_marked_as_first_is_taken_first(void **state)
{
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry entries[KINDS];
    size_t which;

    fill(entries, scene);
    entries[SEM] = plait_any_first(entries[SEM]);
    entries[GET] = plait_any_first(entries[GET]);
    for (int i = 0; i < 40; i++) {
        for (int kind = 0; kind < KINDS; kind++)
            make_ready(scene, (enum kind)kind); /* what is ready already stays as it is, but the permits */
        assert_int_equal(plait_wait_any(entries, KINDS, &which, PLAIT_FOREVER), 0);
        assert_int_equal(which, SEM);
        while (plait_sem_acquire(&scene->sem, 1, PLAIT_NOW) == 0)
            ;
        assert_int_equal(plait_wait_any(entries, KINDS, &which, PLAIT_FOREVER), 0);
        assert_int_equal(which, GET);
    }
    scene_end(scene);
}

static void any_in_a_loop_starves_none_that_is_ready(void **state)
{
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry entries[8], pair[2];
    unsigned won[8] = { 0 }, pair_won[2] = { 0 };

    for (int i = 0; i < 8; i++) {
        entries[i] = plait_any_event_wait(&scene->crowd[i]);
        if (i % 2)
            plait_event_set(&scene->crowd[i]);
    }
    pair[0] = entries[1];
    pair[1] = entries[3];
    for (int i = 0; i < 4000; i++) { /* by turns: the calls of one loop must not fix the choice of the other */
        size_t which, which_of_pair;

        assert_int_equal(plait_wait_any(entries, 8, &which, PLAIT_FOREVER), 0);
        assert_int_equal(plait_wait_any(pair, 2, &which_of_pair, PLAIT_FOREVER), 0);
        won[which]++;
        pair_won[which_of_pair]++;
    }
    for (int i = 0; i < 8; i++)
        assert_in_range(won[i], i % 2 ? 200 : 0, i % 2 ? 4000 : 0);
    assert_in_range(pair_won[0], 1000, 3000);
    scene_end(scene);
}

static void any_takes_an_object_in_several_entries(void **state)
{
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry entries[4];
    size_t which;

    entries[0] = plait_any_sem_acquire(&scene->sem, 3);
    entries[1] = plait_any_sem_acquire(&scene->sem, 1);
    entries[2] = entries[1];
    entries[3] = plait_any_lock_acquire(&scene->lock);
    assert_int_equal(plait_wait_any(entries, 4, NULL, plait_after(0.01)),
                     scene->flags ? EDEADLK : ETIMEDOUT); /* the test holds the lock itself */
    assert_int_equal(plait_sem_release(&scene->sem, 2), 0);
    assert_int_equal(plait_wait_any(entries, 3, &which, PLAIT_FOREVER), 0);
    assert_in_range(which, 1, 2);
    assert_int_equal(plait_sem_value(&scene->sem), 1);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    entries[2] = entries[3];
    assert_int_equal(plait_wait_any(&entries[2], 2, &which, PLAIT_FOREVER), 0);
    assert_true(plait_lock_is_locked(&scene->lock));
    if (!scene->flags)
        assert_int_equal(plait_wait_any(&entries[2], 2, &which, plait_after(0.01)), ETIMEDOUT);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    scene_end(scene);
}

static void any_entry_that_fails_at_once_wins_with_its_error(void **state)
{
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry entries[KINDS];
    size_t which;

    fill(entries, scene);
    entries[SEM] = plait_any_sem_acquire(&scene->sem, 0);
    assert_int_equal(plait_wait_any(entries, KINDS, &which, PLAIT_FOREVER), EINVAL);
    assert_int_equal(which, SEM);
    entries[SEM] = plait_any_sem_acquire(&scene->sem, PLAIT_SEM_MAX + 1);
    assert_int_equal(plait_wait_any(entries, KINDS, &which, PLAIT_FOREVER), EINVAL);
    assert_int_equal(which, SEM);
    fill(entries, scene);
    plait_queue_close(scene->full);
    assert_int_equal(plait_wait_any(entries, KINDS, &which, PLAIT_FOREVER), EPIPE);
    assert_int_equal(which, PUT);
    entries[PUT] = plait_any_queue_get(scene->full, &scene->got_item); /* closed, but not empty */
    assert_int_equal(plait_wait_any(entries, KINDS, &which, PLAIT_FOREVER), 0);
    assert_int_equal(which, PUT);
    assert_int_equal(scene->got_item, OLD_ITEM);
    assert_int_equal(plait_wait_any(entries, KINDS, &which, PLAIT_FOREVER), EPIPE);
    assert_int_equal(which, PUT);
    scene_end(scene);
}

static void any_does_not_write_to_the_buffer_of_others(void **state)
{
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry entries[KINDS];

    fill(entries, scene);
    scene->got_item = 12345;
    make_ready(scene, EVENT);
    assert_int_equal(plait_wait_any(entries, KINDS, NULL, PLAIT_FOREVER), 0);
    assert_int_equal(scene->got_item, 12345);
    scene_end(scene);
}

/* ---- Deadline and token ------------------------------------------------------------------ */

static void any_never_ends_early(void **state)
{
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry entries[KINDS];
    int first = first_kind(scene);

    fill(entries, scene);
    for (int i = 0; i < 30; i++) {
        plait_time_t deadline = plait_after(i * 1e-4);
        size_t which = 777;

        plait_cancel_bind(i % 2 ? &scene->token : NULL);
        assert_int_equal(plait_wait_any(entries + first, (size_t)(KINDS - first), &which, deadline), ETIMEDOUT);
        assert_true(plait_now() >= deadline);
        assert_int_equal(which, KINDS - first);
    }
    plait_cancel_bind(NULL);
    assert_int_equal(count_ready(scene), 0);
    scene_end(scene);
}

static void wait_for_any(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_entry entries[KINDS];

    fill(entries, scene);
    plait_cancel_bind(&scene->token);
    worker_says(self, 1);
    self->result = plait_wait_any(entries, KINDS, &scene->which, scene->deadline);
    if (self->result == 0)
        self->result = undo(scene, (enum kind)scene->which);
}

static void any_is_woken_by_each_kind(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 4; i++) {
            struct worker *w = worker_start(stage, wait_for_any, scene);

            assert_true(worker_sleeps(w, 1));
            assert_int_equal(make_ready(scene, (enum kind)kind), 0);
            assert_int_equal(worker_result(w), 0);
            assert_int_equal(scene->which, kind);
            if (kind == LOCK)
                take_lock_back(scene);
            assert_int_equal(count_ready(scene), 0);
        }
    scene_end(scene);
}

static void any_is_cancelled(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_entry entries[KINDS];
    struct worker *w = worker_start(stage, wait_for_any, scene);
    size_t which;

    assert_true(worker_sleeps(w, 1));
    plait_cancel_set(&scene->token);
    assert_int_equal(worker_result(w), ECANCELED);
    assert_int_equal(scene->which, KINDS);
    assert_int_equal(count_ready(scene), 0);
    fill(entries, scene);
    plait_cancel_bind(&scene->token);
    assert_int_equal(plait_wait_any(entries + SEM, KINDS - SEM, &which, PLAIT_FOREVER), ECANCELED);
    assert_int_equal(plait_wait_any(entries + SEM, KINDS - SEM, &which, PLAIT_NOW), ECANCELED);
    assert_int_equal(which, KINDS - SEM);
    for (int kind = SEM; kind < KINDS; kind++) { /* what can be done without waiting is done */
        assert_int_equal(make_ready(scene, (enum kind)kind), 0);
        assert_int_equal(plait_wait_any(entries + SEM, KINDS - SEM, &which, PLAIT_FOREVER), 0);
        assert_int_equal(which + SEM, kind);
        assert_int_equal(undo(scene, (enum kind)kind), 0);
    }
    plait_cancel_bind(NULL);
    scene_end(scene);
}

static void any_sees_an_event_that_is_cleared_at_once(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 10; i++) {
        struct worker *w = worker_start(stage, wait_for_any, scene);

        assert_true(worker_sleeps(w, 1));
        plait_event_set(&scene->event);
        plait_event_clear(&scene->event);
        assert_int_equal(worker_result(w), 0);
        assert_int_equal(scene->which, EVENT);
    }
    scene_end(scene);
}

static void any_is_told_of_a_close(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *w = worker_start(stage, wait_for_any, scene);

    assert_true(worker_sleeps(w, 1));
    plait_queue_close(scene->empty);
    assert_int_equal(worker_result(w), EPIPE);
    assert_int_equal(scene->which, GET);
    w = worker_start(stage, wait_for_any, scene);
    assert_int_equal(worker_result(w), EPIPE);
    scene_end(scene);
}

static volatile sig_atomic_t signals;

static void on_alarm(int number)
{
    signals++;
}

static void any_does_not_see_signals(void **state)
{
    struct scene *scene = scene_of(*state);
    struct sigaction action = { .sa_handler = on_alarm };
    struct itimerval often = { { 0, 500 }, { 0, 500 } }, never = { { 0, 0 }, { 0, 0 } };
    struct plait_wait_entry entries[KINDS];
    plait_time_t deadline = plait_after(0.03);
    int err;

    fill(entries, scene);
    signals = 0;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    err = plait_wait_any(entries + SEM, KINDS - SEM, NULL, deadline);
    setitimer(ITIMER_REAL, &never, NULL);
    assert_int_equal(err, ETIMEDOUT);
    assert_true(plait_now() >= deadline && signals > 0);
    scene_end(scene);
}

/* ---- Wake-ups of others ------------------------------------------------------------------ */

static void wait_for_one(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_entry entries[KINDS];
    int kind = (int)scene->which, item;

    fill(entries, scene);
    worker_says(self, 1);
    switch (kind) {
    case LOCK:
        self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
        if (self->result == 0)
            self->result = plait_lock_release(&scene->lock);
        break;
    case SEM:
        self->result = plait_sem_acquire(&scene->sem, 1, PLAIT_FOREVER);
        break;
    case EVENT:
        self->result = plait_event_wait(&scene->event, PLAIT_FOREVER);
        break;
    case GET:
        self->result = plait_queue_get(scene->empty, &item, PLAIT_FOREVER);
        break;
    case RECV:
        self->result = plait_pipe_recv(scene->near, &item, sizeof item, &own.size, PLAIT_FOREVER);
        break;
    case PUBLISH:
        self->result = plait_broadcast_put(scene->broadcast, &scene->put_item, PLAIT_FOREVER);
        break;
    case NEWER:
        self->result = plait_latest_read_newer(scene->latest, &item, &own.version, PLAIT_FOREVER);
        break;
    default:
        self->result = plait_queue_put(scene->full, &scene->put_item, PLAIT_FOREVER);
    }
}

struct pair {
    struct scene *scene;
    int one, other;
};

static void wait_for_pair(struct worker *self)
{
    struct pair *pair = self->with;
    struct plait_wait_entry entries[KINDS], two[2];
    size_t which = 777;

    fill(entries, pair->scene);
    two[0] = entries[pair->one];
    two[1] = entries[pair->other];
    worker_says(self, 1);
    self->result = plait_wait_any(two, 2, &which, PLAIT_FOREVER);
    if (self->result == 0 && (which ? pair->other : pair->one) == LOCK)
        self->result = plait_lock_release(&pair->scene->lock);
    worker_says(self, 2 + (uint32_t)which);
}

/*
 * One waits for either of two, and was there first; another for the first of the two alone. Both become ready at once: the first
 * sleeper may have been woken for both, and takes one.
 */
static void any_passes_on_a_wake_that_it_does_not_use(void **state)
{
    struct stage *stage = *state;

    for (int one = 0; one < KINDS; one++)
        for (int other = 0; other < KINDS; other++) {
            struct worker *both, *plain;
            struct scene *scene;
            struct pair *pair;

            if (one == other)
                continue;
            scene = scene_of(stage);
            pair = stage_alloc(stage, sizeof *pair);
            assert_non_null(pair);
            stage->worker_count = 0; /* those before have ended */
            *pair = (struct pair){ scene, one, other };
            scene->which = (size_t)one;
            assert_true(worker_sleeps(both = worker_start(stage, wait_for_pair, pair), 1));
            assert_true(worker_sleeps(plain = worker_start(stage, wait_for_one, scene), 1));
            assert_int_equal(make_ready(scene, (enum kind)one), 0);
            assert_int_equal(make_ready(scene, (enum kind)other), 0);
            assert_int_equal(worker_result(both), 0);
            if (both->phase == 2) /* it took the first: one more for the other sleeper */
                assert_true(one == LOCK || one == EVENT || make_ready(scene, (enum kind)one) == 0);
            assert_int_equal(worker_result(plain), 0);
            scene_end(scene);
        }
}

/* Two permits, one wake: the first release takes the sleepers' flag off, and who was woken hands the news on. */
static void any_that_takes_a_permit_wakes_the_next(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_sem_init(&scene->sem, 2, stage->flags | PLAIT_BOUNDED), 0);
    assert_int_equal(plait_sem_acquire(&scene->sem, 2, PLAIT_NOW), 0);
    for (int i = 0; i < 50; i++) {
        struct worker *any, *plain;

        stage->worker_count = 0; /* those before have ended */
        assert_true(worker_sleeps(any = worker_start(stage, wait_for_any, scene), 1));
        scene->which = SEM;
        assert_true(worker_sleeps(plain = worker_start(stage, wait_for_one, scene), 1));
        assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
        assert_int_equal(plait_sem_release(&scene->sem, 1), 0);
        assert_int_equal(worker_result(any), 0);
        assert_int_equal(worker_result(plain), 0);
    }
    scene_end(scene);
}

/* ---- Recursive locks --------------------------------------------------------------------- */

static void take_rlock_among_others(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_entry entries[2] = { plait_any_event_wait(&scene->event), plait_any_rlock_acquire(&scene->rlock) };
    size_t which = 777;

    worker_says(self, 1);
    self->result = plait_wait_any(entries, 2, &which, PLAIT_FOREVER);
    if (self->result == EOWNERDEAD)
        self->result = plait_rlock_consistent(&scene->rlock);
    if (self->result == 0 && which == 1 && plait_rlock_depth(&scene->rlock) != 1)
        self->result = -2;
    if (self->result == 0 && which == 1)
        self->result = plait_rlock_release(&scene->rlock);
    worker_says(self, 2 + (uint32_t)which);
}

static void take_rlock(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER);
    if (self->result == 0)
        self->result = plait_rlock_release(&scene->rlock);
}

static void any_takes_recursive_locks(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_entry entries[2] = { plait_any_event_wait(&scene->event), plait_any_rlock_acquire(&scene->rlock) };
    size_t which;

    for (unsigned depth = 1; depth < 4; depth++) { /* the holder's own never waits */
        assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_FOREVER), 0);
        assert_int_equal(which, 1);
        assert_int_equal(plait_rlock_depth(&scene->rlock), depth);
    }
    while (plait_rlock_depth(&scene->rlock))
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
    for (int i = 0; i < 60; i++) {
        struct worker *any, *plain;

        stage->worker_count = 0; /* those before have ended */
        assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER), 0);
        assert_true(worker_sleeps(any = worker_start(stage, take_rlock_among_others, scene), 1));
        assert_true(worker_sleeps(plain = worker_start(stage, take_rlock, scene), 1));
        if (i % 2)
            plait_event_set(&scene->event);
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
        assert_int_equal(worker_result(any), 0);
        assert_int_equal(worker_result(plain), 0);
        if (i % 2 == 0)
            assert_int_equal(any->phase, 3);
        plait_event_clear(&scene->event);
    }
    assert_int_equal(plait_rlock_fini(&scene->rlock), 0);
    scene_end(scene);
}

/* Nobody wakes for these, and they are found all the same. */
static void any_takes_locks_with_priority_inheritance(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    assert_int_equal(plait_lock_release(&scene->lock), 0);
    if (plait_lock_init(&scene->lock, stage->flags | PLAIT_PRIO_INHERIT) == ENOSYS)
        skip();
    assert_int_equal(plait_rlock_init(&scene->rlock, stage->flags | PLAIT_PRIO_INHERIT), 0);
    assert_int_equal(plait_lock_acquire(&scene->lock, PLAIT_NOW), 0);
    for (int i = 0; i < 4; i++) {
        struct worker *w = worker_start(stage, wait_for_any, scene);

        assert_true(worker_sleeps(w, 1));
        assert_int_equal(make_ready(scene, i % 2 ? LOCK : SEM), 0);
        assert_int_equal(worker_result(w), 0);
        assert_int_equal(scene->which, i % 2 ? LOCK : SEM);
        if (i % 2)
            take_lock_back(scene);
    }
    for (int i = 0; i < 4; i++) {
        struct worker *w, *plain;

        assert_int_equal(plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER), 0);
        assert_true(worker_sleeps(w = worker_start(stage, take_rlock_among_others, scene), 1));
        assert_true(worker_sleeps(plain = worker_start(stage, take_rlock, scene), 1));
        assert_int_equal(plait_rlock_release(&scene->rlock), 0);
        assert_int_equal(worker_result(w), 0);
        assert_int_equal(w->phase, 3);
        assert_int_equal(worker_result(plain), 0);
    }
    scene_end(scene);
}

static void hold_rlock_and_die(struct worker *self)
{
    struct scene *scene = self->with;

    plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER);
    plait_rlock_acquire(&scene->rlock, PLAIT_FOREVER);
    worker_says(self, 1);
    plait_event_wait(&scene->crowd[0], PLAIT_FOREVER);
    worker_die(self);
}

static void any_tells_of_a_dead_owner_of_a_recursive_lock(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *holder, *waiter;

    assert_true(worker_said(holder = worker_start(stage, hold_rlock_and_die, scene), 1));
    assert_true(worker_sleeps(waiter = worker_start(stage, take_rlock_among_others, scene), 1));
    plait_event_set(&scene->crowd[0]);
    assert_true(worker_join(holder));
    assert_int_equal(worker_result(waiter), 0);
    assert_int_equal(waiter->phase, 3);
    scene_end(scene);
}

/* ---- Fairness ---------------------------------------------------------------------------- */

/* Takes and gives the lock again and again, alone or among others, until told. */
static void hog(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_entry entries[2] = { plait_any_event_wait(&scene->crowd[1]), plait_any_lock_acquire(&scene->lock) };

    worker_says(self, 1);
    while (!plait_event_is_set(&scene->crowd[0])) {
        int err = self->number % 2 ? plait_wait_any(entries, 2, NULL, PLAIT_FOREVER) :
                                     plait_lock_acquire(&scene->lock, PLAIT_FOREVER);

        if (err)
            return;
        for (volatile int i = 0; i < 3000; i++)
            ;
        plait_lock_release(&scene->lock);
    }
    self->result = 0;
}

static void any_gets_a_lock_from_hogs_and_others_get_it_from_any(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_entry entries[2] = { plait_any_event_wait(&scene->event), plait_any_lock_acquire(&scene->lock) };

    assert_int_equal(plait_lock_release(&scene->lock), 0);
    for (int i = 0; i < 4; i++)
        assert_true(worker_said(worker_start(stage, hog, scene), 1));
    for (int i = 0; i < 20; i++) {
        if (i % 2)
            assert_int_equal(plait_wait_any(entries, 2, NULL, plait_after(10)), 0);
        else
            assert_int_equal(plait_lock_acquire(&scene->lock, plait_after(10)), 0);
        assert_int_equal(plait_lock_release(&scene->lock), 0);
    }
    plait_event_set(&scene->crowd[0]);
    for (int i = 0; i < 4; i++)
        assert_int_equal(worker_result(&stage->workers[i]), 0);
    scene_end(scene);
}

/* ---- Deaths ------------------------------------------------------------------------------ */

static void hold_and_die(struct worker *self)
{
    struct scene *scene = self->with;

    self->result = plait_lock_acquire(&scene->lock, PLAIT_FOREVER);
    worker_says(self, 1);
    while (!__atomic_load_n(&scene->may_die, __ATOMIC_ACQUIRE))
        stage_pause();
    worker_die(self);
}

static void any_tells_of_a_dead_owner(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_entry entries[KINDS];
    struct worker *holder, *waiter;
    size_t which;

    fill(entries, scene);
    assert_int_equal(plait_lock_release(&scene->lock), 0);
    assert_true(worker_said(holder = worker_start(stage, hold_and_die, scene), 1));
    assert_int_equal(plait_wait_any(entries, KINDS, &which, plait_after(0.01)), ETIMEDOUT);
    assert_true(worker_sleeps(waiter = worker_start(stage, wait_for_any, scene), 1));
    __atomic_store_n(&scene->may_die, 1, __ATOMIC_RELEASE);
    assert_true(worker_join(holder));
    assert_int_equal(worker_result(waiter), EOWNERDEAD); /* and ends as the holder, without repair */
    assert_int_equal(scene->which, LOCK);
    assert_true(EVENTUALLY(plait_wait_any(entries, KINDS, &which, PLAIT_NOW) == EOWNERDEAD));
    assert_int_equal(which, LOCK);
    assert_int_equal(plait_wait_any(entries, KINDS, &which, PLAIT_FOREVER), EDEADLK);
    assert_int_equal(plait_lock_release(&scene->lock), 0); /* not made consistent */
    assert_int_equal(plait_wait_any(entries, KINDS, &which, PLAIT_FOREVER), ENOTRECOVERABLE);
    assert_int_equal(which, LOCK);
    scene_end(scene);
}

static void any_that_is_killed_leaves_nothing_behind(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *victims[3], *w;

    for (int kind = 0; kind < KINDS; kind++) {
        for (int i = 0; i < 3; i++)
            victims[i] = worker_start(stage, wait_for_any, scene);
        for (int i = 0; i < 3; i++)
            assert_true(worker_sleeps(victims[i], 1));
        assert_true(worker_sleeps(w = worker_start(stage, wait_for_any, scene), 1));
        for (int i = 0; i < 3; i++)
            worker_kill(victims[i]);
        assert_int_equal(make_ready(scene, (enum kind)kind), 0);
        assert_int_equal(worker_result(w), 0);
        assert_int_equal(scene->which, kind);
        if (kind == LOCK)
            take_lock_back(scene);
    }
    scene_end(scene);
}

/* ---- Many -------------------------------------------------------------------------------- */

struct crowd {
    struct scene *scene, *shared; /* events of the one are private to a process, of the other never */
    size_t count;
    size_t which;
};

static void fill_crowd(struct plait_wait_entry *entries, struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->count; i++) {
        struct scene *scene = i % 3 == 0 ? crowd->shared : crowd->scene;

        entries[i] = plait_any_event_wait(&scene->crowd[i % CROWD]);
    }
    fill(entries + 11, crowd->scene); /* some of other kinds among them */
}

static void wait_for_crowd(struct worker *self)
{
    struct crowd *crowd = self->with;
    struct plait_wait_entry entries[PLAIT_WAIT_ANY_MAX];

    fill_crowd(entries, crowd);
    plait_cancel_bind(&crowd->scene->token);
    worker_says(self, 1);
    self->result = plait_wait_any(entries, crowd->count, &crowd->which, PLAIT_FOREVER);
    if (self->result == 0 && crowd->which >= 11 && crowd->which < 11 + KINDS)
        self->result = undo(crowd->scene, (enum kind)(crowd->which - 11));
}

static struct crowd *crowd_of(struct stage *stage, size_t count)
{
    struct crowd *crowd = stage_alloc(stage, sizeof *crowd);
    unsigned flags = stage->flags;

    assert_non_null(crowd);
    crowd->count = count;
    crowd->scene = scene_of(stage);
    stage->flags = PLAIT_SHARED;
    crowd->shared = scene_of(stage);
    stage->flags = flags;
    return crowd;
}

static void any_of_300_is_woken_by_each(void **state)
{
    struct stage *stage = *state;
    struct crowd *crowd = crowd_of(stage, CROWD);
    static const size_t picks[] = { 0, 1, 2, 3, 11, 12, 13, 14, 15, 16, 17, 18, 118, 119, 120, 121, 122, 127, 128, 129, 297, 298,
                                    299 };

    for (size_t i = 0; i < sizeof picks / sizeof picks[0]; i++) {
        struct worker *w = worker_start(stage, wait_for_crowd, crowd);
        size_t n = picks[i];

        assert_true(worker_sleeps(w, 1));
        if (n >= 11 && n < 11 + KINDS)
            assert_int_equal(make_ready(crowd->scene, (enum kind)(n - 11)), 0);
        else
            plait_event_set(n % 3 ? &crowd->scene->crowd[n] : &crowd->shared->crowd[n]);
        assert_int_equal(worker_result(w), 0);
        assert_int_equal(crowd->which, n);
        if (n == 11)
            take_lock_back(crowd->scene);
        else if (n < 11 || n >= 11 + KINDS)
            plait_event_clear(n % 3 ? &crowd->scene->crowd[n] : &crowd->shared->crowd[n]);
    }
    assert_true(plait__parked_total == 0);
    scene_end(crowd->scene);
    scene_end(crowd->shared);
}

static void any_of_300_is_cancelled_and_times_out(void **state)
{
    struct stage *stage = *state;
    struct crowd *crowd = crowd_of(stage, CROWD);
    struct plait_wait_entry entries[PLAIT_WAIT_ANY_MAX];
    struct worker *w = worker_start(stage, wait_for_crowd, crowd);
    plait_time_t deadline;

    assert_true(worker_sleeps(w, 1));
    plait_cancel_set(&crowd->scene->token);
    assert_int_equal(worker_result(w), ECANCELED);
    assert_int_equal(crowd->which, CROWD);
    fill_crowd(entries, crowd);
    if (stage->flags)
        entries[11] = entries[10]; /* the test holds that lock */
    deadline = plait_after(0.02);
    assert_int_equal(plait_wait_any(entries, CROWD, NULL, deadline), ETIMEDOUT);
    assert_true(plait_now() >= deadline);
    scene_end(crowd->scene);
    scene_end(crowd->shared);
}

/* More private words than the kernel takes are no reason to look again and again. */
static void any_of_300_private_ones_sleeps(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct plait_wait_entry entries[CROWD];
    struct rusage before, after;

    for (int i = 0; i < CROWD; i++)
        entries[i] = plait_any_event_wait(&scene->crowd[i]);
    getrusage(RUSAGE_THREAD, &before);
    assert_int_equal(plait_wait_any(entries, CROWD, NULL, plait_after(0.3)), ETIMEDOUT);
    getrusage(RUSAGE_THREAD, &after);
    assert_in_range(after.ru_nvcsw - before.ru_nvcsw, 0, has_waitv() ? 3 : 5);
    scene_end(scene);
}

static void wait_for_private_crowd(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_entry entries[CROWD];

    for (int i = 0; i < CROWD; i++)
        entries[i] = plait_any_event_wait(&scene->crowd[i]);
    worker_says(self, 1);
    self->result = plait_wait_any(entries, CROWD, &scene->which, PLAIT_FOREVER);
}

/* No slice of time helps here. */
static void any_of_300_private_ones_is_woken(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int i = 0; i < 20; i++) {
        struct worker *w = worker_start(stage, wait_for_private_crowd, scene);

        assert_true(worker_sleeps(w, 1));
        plait_event_set(&scene->crowd[i * 15]);
        assert_int_equal(worker_result(w), 0);
        assert_int_equal(scene->which, i * 15);
        plait_event_clear(&scene->crowd[i * 15]);
    }
    scene_end(scene);
}

static void run_without_waitv(struct worker *self)
{
    static const long calls[] = { NR_FUTEX_WAITV };

    if (refuse_calls(calls, 1, ENOSYS) != 0)
        self->result = -2;
    else if (self->number % 2)
        wait_for_crowd(self);
    else
        wait_for_any(self);
}

static void any_works_without_futex_waitv(void **state)
{
    struct stage *stage = *state;

    for (int kind = 0; kind < KINDS; kind++) {
        struct crowd *crowd = crowd_of(stage, CROWD);
        struct worker *any = worker_start(stage, run_without_waitv, crowd->scene), *many;

        assert_true(worker_said(any, 1) || any->result == -2);
        if (any->result == -2)
            skip();
        assert_int_equal(make_ready(crowd->scene, (enum kind)kind), 0);
        assert_int_equal(worker_result(any), 0);
        assert_int_equal(crowd->scene->which, kind);
        if (kind == LOCK)
            take_lock_back(crowd->scene);
        assert_true(worker_said(many = worker_start(stage, run_without_waitv, crowd), 1));
        plait_event_set(&crowd->shared->crowd[270]);
        assert_int_equal(worker_result(many), 0);
        assert_int_equal(crowd->which, 270);
        scene_end(crowd->scene);
        scene_end(crowd->shared);
    }
}

/* ---- Counts, tokens and signals ----------------------------------------------------------- */

struct counts {
    plait_latch_t latch;
    plait_wait_group_t group;
    plait_cancel_t token, parent;
    plait_event_t never;
};

enum count_kind { LATCH, GROUP, TOKEN, PARENT, EXPIRY, COUNTS };

static void wait_for_count(struct worker *self)
{
    struct counts *c = self->with;
    struct plait_wait_entry entries[] = {
        plait_any_event_wait(&c->never),
        plait_any_latch_wait(&c->latch),
        plait_any_wait_group_wait(&c->group),
        plait_any_cancel_wait(&c->token),
    };
    size_t which = 777;

    worker_says(self, 1);
    self->result = plait_wait_any(entries, 4, &which, PLAIT_FOREVER);
    worker_says(self, 2 + (uint32_t)which);
}

static void any_waits_for_counts_and_tokens(void **state)
{
    struct stage *stage = *state;

    for (int kind = 0; kind < COUNTS; kind++) {
        struct counts *c = stage_alloc(stage, sizeof *c);
        struct worker *w;

        assert_non_null(c);
        assert_int_equal(plait_latch_init(&c->latch, 2, stage->flags), 0);
        assert_int_equal(plait_wait_group_init(&c->group, stage->flags), 0);
        assert_int_equal(plait_wait_group_add(&c->group, 1), 0);
        assert_int_equal(plait_cancel_init(&c->parent, stage->flags), 0);
        assert_int_equal(plait_cancel_init_child(&c->token, kind == PARENT ? &c->parent : NULL, stage->flags), 0);
        assert_int_equal(plait_event_init(&c->never, stage->flags), 0);
        assert_true(worker_sleeps(w = worker_start(stage, wait_for_count, c), 1));
        switch ((enum count_kind)kind) {
        case LATCH:
            plait_latch_count_down(&c->latch, 1);
            plait_latch_count_down(&c->latch, 1);
            break;
        case GROUP: /* seen, though more begins at once */
            plait_wait_group_done(&c->group);
            plait_wait_group_add(&c->group, 1);
            break;
        case TOKEN:
            plait_cancel_set(&c->token);
            break;
        case PARENT:
            plait_cancel_set(&c->parent);
            break;
        default:
            plait_cancel_set_deadline(&c->token, plait_after(0.01));
        }
        assert_int_equal(worker_result(w), 0);
        assert_int_equal(w->phase, 2 + (kind == LATCH ? 1 : kind == GROUP ? 2 : 3));
    }
}

static void any_takes_a_signal(void **state)
{
    struct plait_wait_entry entries[2];
    plait_event_t never = PLAIT_EVENT_INIT;
    plait_signal_t *signal;
    struct plait_signal_info info = { 0 };
    size_t which;

    assert_int_equal(plait_signal_new(&signal, &(struct plait_signal_opts){ .signals = (const int[]){ SIGUSR1, 0 } }), 0);
    entries[0] = plait_any_event_wait(&never);
    entries[1] = plait_any_signal_wait(signal, &info);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(0.01)), ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        kill(getpid(), SIGUSR1);
        assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(10)), 0);
        assert_int_equal(which, 1);
        assert_int_equal(info.number, SIGUSR1);
    }
    assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_signal_free(signal), 0);
}

/* ---- Threads, processes, futures ---------------------------------------------------------- */

static plait_event_t go;

static void *return_late(void *result)
{
    plait_event_wait(&go, PLAIT_FOREVER);
    return result;
}

static void any_joins_a_thread(void **state)
{
    plait_thread_t *thread, *idle;
    struct plait_wait_entry entries[2];
    void *result = NULL;
    size_t which;
    int mark;

    assert_int_equal(plait_thread_new(&thread, &(struct plait_thread_opts){ .target = return_late, .arg = &mark }), 0);
    assert_int_equal(plait_thread_new(&idle, &(struct plait_thread_opts){ .target = return_late }), 0);
    plait_event_clear(&go);
    assert_int_equal(plait_thread_start(thread), 0);
    entries[0] = plait_any_thread_join(thread, &result);
    assert_int_equal(plait_wait_any(entries, 1, &which, plait_after(0.02)), ETIMEDOUT);
    entries[1] = plait_any_thread_join(idle, NULL);
    assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_FOREVER), EINVAL);
    assert_int_equal(which, 1);
    plait_event_set(&go);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_wait_any(entries, 1, &which, PLAIT_FOREVER), 0);
        assert_ptr_equal(result, &mark);
    }
    assert_int_equal(plait_thread_free(thread), 0);
    assert_int_equal(plait_thread_free(idle), 0);
}

static int end_when_killed(const void *arg, size_t size)
{
    for (;;)
        pause();
    return 0;
}

static void any_joins_a_process(void **state)
{
    plait_process_t *p, *idle;
    struct plait_wait_entry entries[2];
    plait_event_t never = PLAIT_EVENT_INIT;
    size_t which;
    int code;

    assert_int_equal(plait_process_new(&p, &(struct plait_process_opts){ .target = end_when_killed, .daemon = true }), 0);
    assert_int_equal(plait_process_new(&idle, &(struct plait_process_opts){ .target = end_when_killed }), 0);
    assert_int_equal(plait_process_start(p), 0);
    entries[0] = plait_any_event_wait(&never);
    entries[1] = plait_any_process_join(p);
    assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(0.02)), ETIMEDOUT);
    assert_int_equal(plait_process_kill(p), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_FOREVER), 0);
        assert_int_equal(which, 1);
    }
    assert_int_equal(plait_process_exitcode(p, &code), 0);
    assert_int_equal(code, -SIGKILL);
    entries[1] = plait_any_process_join(idle);
    assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_FOREVER), EINVAL);
    assert_int_equal(plait_process_free(p), 0);
    assert_int_equal(plait_process_free(idle), 0);
}

static int wait_for_go(plait_task_t *task, const void *arg, size_t arg_size)
{
    return plait_event_wait(&go, plait_after(20));
}

static int answer(plait_task_t *task, const void *arg, size_t arg_size)
{
    plait_sleep(0.01);
    return 42;
}

static void any_waits_for_a_future(void **state)
{
    static const enum plait_backend backends[] = { PLAIT_THREADS, PLAIT_PROCESSES };

    for (int i = 0; i < 2; i++) {
        struct plait_wait_entry entries[2];
        plait_event_t never = PLAIT_EVENT_INIT;
        plait_future_t *slow, *quick;
        plait_pool_t *pool;
        size_t which;

        plait_event_clear(&go);
        assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = backends[i], .workers = 2 }), 0);
        if (i == 0)
            assert_int_equal(plait_pool_apply_async(pool, wait_for_go, NULL, 0, &slow), 0);
        assert_int_equal(plait_pool_apply_async(pool, answer, NULL, 0, &quick), 0);
        entries[0] = i == 0 ? plait_any_future_wait(slow) : plait_any_event_wait(&never);
        entries[1] = plait_any_future_wait(quick);
        assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_FOREVER), 0);
        assert_int_equal(which, 1);
        assert_int_equal(plait_future_error(quick), 42); /* the task's failure is not the wait's */
        plait_future_free(quick);
        plait_event_set(&go);
        if (i == 0) {
            assert_int_equal(plait_wait_any(entries, 1, &which, PLAIT_FOREVER), 0);
            plait_future_free(slow);
        }
        plait_pool_close(pool);
        assert_int_equal(plait_pool_join(pool, plait_after(20)), 0);
        plait_pool_free(pool);
    }
}

static plait_pool_t *nested_pool;

/* The pool's only worker waits for a task that only it can run. */
static int wait_for_a_nested_task(plait_task_t *task, const void *arg, size_t arg_size)
{
    plait_event_t never = PLAIT_EVENT_INIT;
    struct plait_wait_entry entries[2];
    plait_future_t *future;
    size_t which = 777;
    int err = plait_pool_apply_async(nested_pool, answer, NULL, 0, &future);

    if (err)
        return err;
    entries[0] = plait_any_event_wait(&never);
    entries[1] = plait_any_future_wait(future);
    err = plait_wait_any(entries, 2, &which, plait_after(10));
    if (err == 0)
        err = which == 1 && plait_future_error(future) == 42 ? 0 : -1;
    plait_future_free(future);
    return err;
}

static void any_in_a_worker_runs_the_task_it_waits_for(void **state)
{
    plait_future_t *future;

    assert_int_equal(plait_pool_new(&nested_pool, &(struct plait_pool_opts){ .workers = 1 }), 0);
    assert_int_equal(plait_pool_apply_async(nested_pool, wait_for_a_nested_task, NULL, 0, &future), 0);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(20)), 0);
    plait_future_free(future);
    plait_pool_close(nested_pool);
    assert_int_equal(plait_pool_join(nested_pool, plait_after(20)), 0);
    plait_pool_free(nested_pool);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        PRIVATE(any_with_bad_arguments_is_refused),
        PRIVATE(any_try_of_none_changes_nothing),
        PRIVATE(any_finds_the_one_that_is_ready),
        STAGE_CASE(any_finds_the_one_that_is_ready, THREADS),
        PRIVATE(any_of_several_ready_ones_performs_one),
        STAGE_CASE(any_of_several_ready_ones_performs_one, THREADS),
        PRIVATE(any_marked_as_first_is_taken_first),
        PRIVATE(any_in_a_loop_starves_none_that_is_ready),
        PRIVATE(any_takes_an_object_in_several_entries),
        STAGE_CASE(any_takes_an_object_in_several_entries, THREADS),
        PRIVATE(any_entry_that_fails_at_once_wins_with_its_error),
        PRIVATE(any_does_not_write_to_the_buffer_of_others),
        PRIVATE(any_never_ends_early),
        STAGE_CASE(any_never_ends_early, THREADS),
        EVERYWHERE(any_is_woken_by_each_kind),
        EVERYWHERE(any_is_cancelled),
        EVERYWHERE(any_sees_an_event_that_is_cleared_at_once),
        EVERYWHERE(any_is_told_of_a_close),
        PRIVATE(any_does_not_see_signals),
        STAGE_CASE(any_does_not_see_signals, THREADS),
        EVERYWHERE(any_passes_on_a_wake_that_it_does_not_use),
        EVERYWHERE(any_that_takes_a_permit_wakes_the_next),
        EVERYWHERE(any_takes_recursive_locks),
        EVERYWHERE(any_takes_locks_with_priority_inheritance),
        SHARED(any_tells_of_a_dead_owner_of_a_recursive_lock),
        EVERYWHERE(any_gets_a_lock_from_hogs_and_others_get_it_from_any),
        SHARED(any_tells_of_a_dead_owner),
        PROCESSES(any_that_is_killed_leaves_nothing_behind),
        EVERYWHERE(any_of_300_is_woken_by_each),
        EVERYWHERE(any_of_300_is_cancelled_and_times_out),
        PRIVATE(any_of_300_private_ones_sleeps),
        PRIVATE(any_of_300_private_ones_is_woken),
        PROCESSES(any_works_without_futex_waitv),
        EVERYWHERE(any_waits_for_counts_and_tokens),
        cmocka_unit_test(any_takes_a_signal),
        cmocka_unit_test(any_joins_a_thread),
        cmocka_unit_test(any_joins_a_process),
        cmocka_unit_test(any_waits_for_a_future),
        cmocka_unit_test(any_in_a_worker_runs_the_task_it_waits_for),
    };

    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* for any_takes_a_signal, in all threads */
    plait_init(&argc, &argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
