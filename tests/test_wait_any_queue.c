/* SPDX-License-Identifier: MIT */
/* Queues among others: each operation of a queue as an entry of plait_wait_any, and the first of several queues. */
#include <errno.h>
#include <string.h>

#include <plait.h>

#include "support/cmocka.h"
#include "support/stage.h"

enum deed {
    PUT,
    PUT_PRIORITY,
    PUT_FRONT,
    GET,
    GET_PRIORITY,
    GET_TICKET,
    GET_BACK,
    PEEK,
    COMMIT,
    COMMIT_FRONT,
    BORROW,
    BORROW_BACK,
    JOIN,
    DEEDS
};

enum { NONE = 777, OLD = 3, NEW = 7, QUEUES = 4 };

static bool is_put(enum deed deed)
{
    return deed <= PUT_FRONT || deed == COMMIT || deed == COMMIT_FRONT;
}

static bool is_of_messages(enum deed deed)
{
    return deed >= COMMIT && deed <= BORROW_BACK;
}

/* What an operation gave; in the memory of all workers. */
struct yield {
    int item;
    int64_t priority;
    struct plait_ticket ticket;
    struct plait_message message;
};

struct scene {
    plait_queue_t *q[DEEDS];
    plait_queue_t *several[QUEUES];
    plait_event_t event;
    enum deed deed;
    struct yield yield;
    unsigned got[QUEUES];
};

/* ---- Each operation: a queue on which it has to wait, what ends that, and what it does ---- */

static void put_one(plait_queue_t *q, int item)
{
    if (plait_queue_item_size(q) == 0)
        assert_int_equal(plait_queue_put_bytes(q, &item, sizeof item, PLAIT_NOW), 0);
    else if (plait_queue_kind(q) == PLAIT_PRIORITY)
        assert_int_equal(plait_queue_put_priority(q, &item, item, PLAIT_NOW), 0);
    else
        assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
}

static int get_one(plait_queue_t *q)
{
    int item = 0;
    size_t size;

    if (plait_queue_item_size(q) == 0)
        assert_int_equal(plait_queue_get_bytes(q, &item, sizeof item, &size, PLAIT_NOW), 0);
    else
        assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), 0);
    return item;
}

static plait_queue_t *queue_for(struct stage *stage, enum deed deed)
{
    struct plait_queue_opts opts = { .item_size = is_of_messages(deed) ? 0 : sizeof(int), .maxsize = 2 };
    plait_queue_t *q;

    if (stage->flags & PLAIT_SHARED)
        opts.arena = stage->arena;
    if (deed == PUT_PRIORITY || deed == GET_PRIORITY)
        opts.kind = PLAIT_PRIORITY;
    if (deed == PUT_FRONT || deed == GET_BACK || deed == COMMIT_FRONT || deed == BORROW_BACK)
        opts.kind = PLAIT_DEQUE;
    opts.joinable = deed == GET_TICKET || deed == JOIN;
    assert_int_equal(plait_queue_new(&q, &opts), 0);
    if (is_put(deed) || deed == JOIN)
        put_one(q, OLD);
    if (is_put(deed))
        put_one(q, OLD + 1);
    return q;
}

static void make_possible(plait_queue_t *q, enum deed deed)
{
    if (is_put(deed) || deed == JOIN)
        assert_int_equal(get_one(q), OLD);
    else
        put_one(q, NEW);
    if (deed == JOIN)
        assert_int_equal(plait_queue_task_done(q, NULL), 0);
}

/* 0, or what reserve said. */
static int entry_for(plait_queue_t *q, enum deed deed, struct yield *yield, struct plait_wait_entry *entry_out)
{
    int err = 0;

    *yield = (struct yield){ .item = NEW };
    if (deed == COMMIT || deed == COMMIT_FRONT) {
        err = plait_queue_reserve(q, sizeof(int), &yield->message);
        if (err)
            return err;
        memcpy(yield->message.data, &yield->item, sizeof(int));
    }
    switch (deed) {
    case PUT: *entry_out = plait_any_queue_put(q, &yield->item); break;
    case PUT_PRIORITY: *entry_out = plait_any_queue_put_priority(q, &yield->item, -NEW); break;
    case PUT_FRONT: *entry_out = plait_any_queue_put_front(q, &yield->item); break;
    case GET: *entry_out = plait_any_queue_get(q, &yield->item); break;
    case GET_PRIORITY: *entry_out = plait_any_queue_get_priority(q, &yield->item, &yield->priority); break;
    case GET_TICKET: *entry_out = plait_any_queue_get_ticket(q, &yield->item, &yield->ticket); break;
    case GET_BACK: *entry_out = plait_any_queue_get_back(q, &yield->item); break;
    case PEEK: *entry_out = plait_any_queue_peek(q, &yield->item); break;
    case COMMIT: *entry_out = plait_any_queue_commit(q, &yield->message); break;
    case COMMIT_FRONT: *entry_out = plait_any_queue_commit_front(q, &yield->message); break;
    case BORROW: *entry_out = plait_any_queue_borrow(q, &yield->message); break;
    case BORROW_BACK: *entry_out = plait_any_queue_borrow_back(q, &yield->message); break;
    default: *entry_out = plait_any_queue_join(q); break;
    }
    return err;
}

/* By who performed it: take what it gave; what remains to be done with a message. */
static int finish(plait_queue_t *q, enum deed deed, struct yield *yield)
{
    if ((deed != BORROW && deed != BORROW_BACK) || !yield->message.data)
        return deed == GET_TICKET ? plait_queue_task_done(q, &yield->ticket) : 0;
    if (yield->message.size != sizeof(int))
        return -5;
    memcpy(&yield->item, yield->message.data, sizeof(int));
    return plait_queue_give_back(q, &yield->message);
}

/* It was performed, once, on what make_possible left; *yield is what it gave. Leaves the queue empty. */
static void assert_done(plait_queue_t *q, enum deed deed, const struct yield *yield)
{
    bool is_first = deed == PUT_PRIORITY || deed == PUT_FRONT || deed == COMMIT_FRONT;

    if (is_put(deed)) {
        assert_int_equal(plait_queue_qsize(q), 2);
        assert_int_equal(get_one(q), is_first ? NEW : OLD + 1);
        assert_int_equal(get_one(q), is_first ? OLD + 1 : NEW);
    } else if (deed != JOIN) {
        assert_int_equal(yield->item, NEW);
    }
    if (deed == GET_PRIORITY)
        assert_int_equal(yield->priority, NEW);
    if (deed == PEEK)
        assert_int_equal(get_one(q), NEW);
    assert_int_equal(plait_queue_qsize(q), 0);
    assert_int_equal(plait_queue_unfinished(q), 0);
}

static struct scene *scene_of(struct stage *stage)
{
    struct scene *scene = stage_alloc(stage, sizeof *scene);

    assert_non_null(scene);
    assert_int_equal(plait_event_init(&scene->event, stage->flags), 0);
    for (int deed = 0; deed < DEEDS; deed++)
        scene->q[deed] = queue_for(stage, (enum deed)deed);
    for (int i = 0; i < QUEUES; i++)
        scene->several[i] = queue_for(stage, GET);
    return scene;
}

static void scene_end(struct scene *scene)
{
    for (int deed = 0; deed < DEEDS; deed++)
        assert_int_equal(plait_queue_destroy(scene->q[deed]), 0);
    for (int i = 0; i < QUEUES; i++)
        assert_int_equal(plait_queue_destroy(scene->several[i]), 0);
    assert_int_equal(plait_event_fini(&scene->event), 0);
}

/* ---- Cases ---- */

static void queue_entry_is_performed_when_it_is_possible(void **state)
{
    struct scene *scene = scene_of(*state);

    for (int deed = 0; deed < DEEDS; deed++) {
        plait_queue_t *q = scene->q[deed];
        struct plait_wait_entry entries[2] = { plait_any_event_wait(&scene->event) };
        size_t which = NONE, size = plait_queue_qsize(q);

        assert_int_equal(entry_for(q, (enum deed)deed, &scene->yield, &entries[1]), 0);
        assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_NOW), ETIMEDOUT);
        assert_int_equal(plait_wait_any(entries, 2, &which, plait_after(0.002)), ETIMEDOUT);
        assert_int_equal(which, 2);
        assert_int_equal(scene->yield.item, NEW); /* not written */
        assert_int_equal(plait_queue_qsize(q), size);
        make_possible(q, (enum deed)deed);
        assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_NOW), 0);
        assert_int_equal(which, 1);
        assert_int_equal(finish(q, (enum deed)deed, &scene->yield), 0);
        assert_done(q, (enum deed)deed, &scene->yield);
    }
    scene_end(scene);
}

/* Another entry comes first: the queue, and what the entry points to, are left alone. */
static void queue_entry_is_not_performed_beside_the_first(void **state)
{
    struct scene *scene = scene_of(*state);

    assert_int_equal(plait_event_set(&scene->event), 0);
    for (int deed = 0; deed < DEEDS; deed++) {
        plait_queue_t *q = scene->q[deed];
        struct plait_wait_entry entries[2] = { plait_any_first(plait_any_event_wait(&scene->event)) };
        size_t which = NONE, size;

        make_possible(q, (enum deed)deed);
        size = plait_queue_qsize(q);
        assert_int_equal(entry_for(q, (enum deed)deed, &scene->yield, &entries[1]), 0);
        scene->yield.item = 99;
        assert_int_equal(plait_wait_any(entries, 2, &which, PLAIT_FOREVER), 0);
        assert_int_equal(which, 0);
        assert_int_equal(plait_queue_qsize(q), size);
        assert_int_equal(scene->yield.item, 99);
        assert_int_equal(scene->yield.ticket.number, 0);
        if (scene->yield.message.data)
            assert_int_equal(plait_queue_give_back(q, &scene->yield.message), 0);
        while (plait_queue_qsize(q))
            get_one(q);
    }
    scene_end(scene);
}

static void wait_for_it(struct worker *self)
{
    struct scene *scene = self->with;
    plait_queue_t *q = scene->q[scene->deed];
    struct plait_wait_entry entries[2] = { plait_any_event_wait(&scene->event) };
    size_t which = NONE;

    self->result = entry_for(q, scene->deed, &scene->yield, &entries[1]);
    worker_says(self, 1);
    if (self->result)
        return;
    self->result = plait_wait_any(entries, 2, &which, PLAIT_FOREVER);
    if (self->result == 0)
        self->result = which == 1 ? finish(q, scene->deed, &scene->yield) : -2;
    else if (scene->yield.message.data && plait_queue_give_back(q, &scene->yield.message) != 0)
        self->result = -3; /* what is not committed is still the caller's */
}

static void queue_entry_is_woken(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int deed = 0; deed < DEEDS; deed++) {
        struct worker *w;

        stage->worker_count = 0; /* those before have ended */
        scene->deed = (enum deed)deed;
        assert_non_null(w = worker_start(stage, wait_for_it, scene));
        assert_true(worker_sleeps(w, 1));
        make_possible(scene->q[deed], (enum deed)deed);
        assert_int_equal(worker_result(w), 0);
        assert_done(scene->q[deed], (enum deed)deed, &scene->yield);
    }
    scene_end(scene);
}

/* Closed: who waits is told; a join goes on waiting until all is done. */
static void queue_entry_is_told_of_a_close(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int deed = 0; deed < DEEDS; deed++) {
        struct worker *w;

        stage->worker_count = 0;
        scene->deed = (enum deed)deed;
        assert_non_null(w = worker_start(stage, wait_for_it, scene));
        assert_true(worker_sleeps(w, 1));
        assert_int_equal(plait_queue_close(scene->q[deed]), 0);
        if (deed == JOIN)
            make_possible(scene->q[deed], JOIN);
        assert_int_equal(worker_result(w), deed == JOIN ? 0 : EPIPE);
    }
    scene_end(scene);
}

static void queue_entry_of_another_kind_is_refused(void **state)
{
    static const uint32_t fit[DEEDS] = {
        /* by bits: the operations that each of the queues has */
        [PUT] = 1u << PUT | 1u << GET | 1u << PEEK,
        [PUT_PRIORITY] = 1u << PUT | 1u << GET | 1u << PEEK | 1u << PUT_PRIORITY | 1u << GET_PRIORITY,
        [PUT_FRONT] = 1u << PUT | 1u << GET | 1u << PEEK | 1u << PUT_FRONT | 1u << GET_BACK,
        [COMMIT] = 1u << COMMIT | 1u << BORROW,
        [COMMIT_FRONT] = 1u << COMMIT | 1u << BORROW | 1u << COMMIT_FRONT | 1u << BORROW_BACK,
        [GET_TICKET] = 1u << PUT | 1u << GET | 1u << PEEK | 1u << GET_TICKET | 1u << JOIN,
    };
    struct scene *scene = scene_of(*state);
    struct yield yield = { .item = NEW };

    for (int of = 0; of < DEEDS; of++)
        for (int deed = 0; fit[of] && deed < DEEDS; deed++) {
            struct plait_wait_entry entry;
            size_t which = NONE, size = plait_queue_qsize(scene->q[of]);
            int err = entry_for(scene->q[of], (enum deed)deed, &yield, &entry);

            if (fit[of] & 1u << deed) {
                if (yield.message.data)
                    assert_int_equal(plait_queue_give_back(scene->q[of], &yield.message), 0);
                continue;
            }
            if (err == 0) { /* else reserve was refused, which says the same */
                assert_int_equal(plait_wait_any(&entry, 1, &which, PLAIT_FOREVER), EINVAL);
                assert_int_equal(which, 0);
            } else {
                assert_int_equal(err, EINVAL);
            }
            if (yield.message.data)
                assert_int_equal(plait_queue_give_back(scene->q[of], &yield.message), 0);
            assert_int_equal(plait_queue_qsize(scene->q[of]), size);
        }
    scene_end(scene);
}

static void get_it(struct worker *self)
{
    struct scene *scene = self->with;

    worker_says(self, 1);
    self->result = plait_queue_get(scene->q[PEEK], &(int){ 0 }, PLAIT_FOREVER);
}

/* Who only looks was woken first, and hands the wake on. */
static void queue_peek_among_others_leaves_the_item_to_a_getter(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *peeks, *gets;

    scene->deed = PEEK;
    assert_non_null(peeks = worker_start(stage, wait_for_it, scene));
    assert_true(worker_sleeps(peeks, 1));
    assert_non_null(gets = worker_start(stage, get_it, scene));
    assert_true(worker_sleeps(gets, 1));
    put_one(scene->q[PEEK], NEW);
    assert_int_equal(worker_result(gets), 0);
    if (peeks->phase == 1 && plait_queue_is_empty(scene->q[PEEK])) /* the getter may have been faster */
        put_one(scene->q[PEEK], NEW);
    assert_int_equal(worker_result(peeks), 0);
    assert_int_equal(scene->yield.item, NEW);
    while (plait_queue_qsize(scene->q[PEEK]))
        get_one(scene->q[PEEK]);
    scene_end(scene);
}

/* All have an item all the time: each is got from. And all have room: each is put to. */
static void queues_that_are_ready_are_served_all(void **state)
{
    enum { ROUNDS = 2000 };
    struct scene *scene = scene_of(*state);
    struct plait_wait_entry gets[QUEUES], puts[QUEUES];
    unsigned got[QUEUES] = { 0 }, put[QUEUES] = { 0 };
    int item = NEW;

    for (int i = 0; i < QUEUES; i++) {
        gets[i] = plait_any_queue_get(scene->several[i], &item);
        puts[i] = plait_any_queue_put(scene->several[i], &item);
        put_one(scene->several[i], NEW);
    }
    for (int n = 0; n < ROUNDS; n++) { /* of two places each has one taken */
        size_t from = NONE, to = NONE;

        assert_int_equal(plait_wait_any(gets, QUEUES, &from, PLAIT_FOREVER), 0);
        got[from]++;
        put_one(scene->several[from], NEW);
        assert_int_equal(plait_wait_any(puts, QUEUES, &to, PLAIT_FOREVER), 0);
        put[to]++;
        get_one(scene->several[to]);
    }
    for (int i = 0; i < QUEUES; i++) { /* 500 are expected, with a deviation of 20 */
        assert_in_range(got[i], 300, 700);
        assert_in_range(put[i], 300, 700);
        assert_int_equal(plait_queue_qsize(scene->several[i]), 1);
    }
    scene_end(scene);
}

static void get_from_whichever(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_entry entries[QUEUES];
    size_t which = NONE;
    int item;

    for (int i = 0; i < QUEUES; i++)
        entries[i] = plait_any_queue_get(scene->several[i], &item);
    worker_says(self, 1);
    while ((self->result = plait_wait_any(entries, QUEUES, &which, PLAIT_FOREVER)) == 0)
        __atomic_fetch_add(&scene->got[which], (unsigned)item, __ATOMIC_RELAXED);
    if (self->result == EPIPE) /* one is closed, and empty; the others follow */
        for (int i = 0; i < QUEUES; i++)
            while (plait_queue_get(scene->several[i], &item, PLAIT_FOREVER) == 0)
                __atomic_fetch_add(&scene->got[i], (unsigned)item, __ATOMIC_RELAXED);
}

static void put_to_whichever(struct worker *self)
{
    struct scene *scene = self->with;
    struct plait_wait_entry entries[QUEUES];
    int item = 1;

    for (int i = 0; i < QUEUES; i++)
        entries[i] = plait_any_queue_put(scene->several[i], &item);
    self->result = 0;
    for (int n = 0; n < 3000 && self->result == 0; n++)
        self->result = plait_wait_any(entries, QUEUES, NULL, PLAIT_FOREVER);
}

/* Of small queues, many put to whichever has room and get from whichever has an item: each item once, and nobody is left asleep. */
static void queues_lose_nothing_between_who_takes_any(void **state)
{
    enum { EACH = 3 };
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *puts[EACH], *gets[EACH];
    unsigned sum = 0;

    for (int i = 0; i < EACH; i++) {
        assert_non_null(gets[i] = worker_start(stage, get_from_whichever, scene));
        assert_non_null(puts[i] = worker_start(stage, put_to_whichever, scene));
    }
    for (int i = 0; i < EACH; i++)
        assert_int_equal(worker_result(puts[i]), 0);
    for (int i = 0; i < QUEUES; i++)
        assert_int_equal(plait_queue_close(scene->several[i]), 0);
    for (int i = 0; i < EACH; i++)
        assert_int_equal(worker_result(gets[i]), EPIPE);
    for (int i = 0; i < QUEUES; i++)
        sum += scene->got[i];
    assert_int_equal(sum, EACH * 3000);
    scene_end(scene);
}

static void get_and_die(struct worker *self)
{
    struct scene *scene = self->with;

    plait_queue_get(scene->q[JOIN], &(int){ 0 }, PLAIT_NOW);
    worker_die(self);
}

/* All join: who asks whether all is done, and who is told once it is, also if that comes of a death. */
static void queue_join_among_others_outlives_a_consumer(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);
    struct worker *joins, *dies;

    scene->deed = JOIN;
    assert_non_null(joins = worker_start(stage, wait_for_it, scene));
    assert_true(worker_sleeps(joins, 1));
    assert_non_null(dies = worker_start(stage, get_and_die, scene));
    assert_true(worker_join(dies));
    assert_int_equal(plait_queue_get(scene->q[JOIN], &(int){ 0 }, plait_after(10)), 0); /* it came back */
    assert_int_equal(joins->phase, 1);
    assert_int_equal(plait_queue_task_done(scene->q[JOIN], NULL), 0);
    assert_int_equal(worker_result(joins), 0);
    scene_end(scene);
}

/* Who is killed while it waits takes no wake-up along for good. */
static void queue_waiter_that_is_killed_leaves_nothing_behind(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = scene_of(stage);

    for (int deed = 0; deed < DEEDS; deed++) {
        struct worker *dies, *lives;

        stage->worker_count = 0;
        scene->deed = (enum deed)deed;
        assert_non_null(dies = worker_start(stage, wait_for_it, scene));
        assert_true(worker_sleeps(dies, 1));
        assert_non_null(lives = worker_start(stage, wait_for_it, scene));
        assert_true(worker_sleeps(lives, 1));
        worker_kill(dies);
        make_possible(scene->q[deed], (enum deed)deed);
        assert_int_equal(worker_result(lives), 0);
        assert_done(scene->q[deed], (enum deed)deed, &scene->yield);
    }
    scene_end(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERYWHERE(queue_entry_is_performed_when_it_is_possible),
        EVERYWHERE(queue_entry_is_not_performed_beside_the_first),
        EVERYWHERE(queue_entry_is_woken),
        EVERYWHERE(queue_entry_is_told_of_a_close),
        EVERYWHERE(queue_entry_of_another_kind_is_refused),
        EVERYWHERE(queue_peek_among_others_leaves_the_item_to_a_getter),
        EVERYWHERE(queues_that_are_ready_are_served_all),
        EVERYWHERE(queues_lose_nothing_between_who_takes_any),
        PROCESSES(queue_join_among_others_outlives_a_consumer),
        PROCESSES(queue_waiter_that_is_killed_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
