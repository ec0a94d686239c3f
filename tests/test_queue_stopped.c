/* SPDX-License-Identifier: MIT */
/* Queues one of whose users is stopped in the middle of a step: nobody is robbed, and nobody waits past a deadline. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include <plait.h>

#include "queue/side.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { PATIENCE = 20 /* seconds */ };

static plait_arena_t *arena;

/* Who is stopped with a side's lock. */
static struct stopped {
    plait_queue_t *queue;
    enum plait__queue_end end;
    pid_t pid, killer;
} stopped;

static int stop_with_the_lock(void *unused)
{
    struct plait__queue_side *side = plait__side(stopped.queue, stopped.end);

    if (plait__side_lock(stopped.queue, side, PLAIT_FOREVER) != 0)
        return 1;
    raise(SIGSTOP);
    plait__side_unlock(stopped.queue, side);
    return 0;
}

/* So that a call that waits for ever fails, and does not hang. */
static int kill_in_time(void *unused)
{
    plait_sleep(PATIENCE);
    kill(stopped.pid, SIGKILL);
    return 0;
}

static void stop_one_at(plait_queue_t *queue, enum plait__queue_end end)
{
    plait_time_t until = plait_after(PATIENCE);

    stopped = (struct stopped){ .queue = queue, .end = end };
    stopped.pid = child_start(stop_with_the_lock, NULL);
    while (child_state(stopped.pid) != 'T' && plait_now() < until)
        plait_sleep(0.001);
    assert_int_equal(child_state(stopped.pid), 'T');
    stopped.killer = child_start(kill_in_time, NULL);
}

/* It was neither killed nor robbed meanwhile. */
static void let_it_go_on(void)
{
    assert_int_equal(child_state(stopped.pid), 'T');
    kill(stopped.killer, SIGKILL);
    child_end(stopped.killer);
    kill(stopped.pid, SIGCONT);
    assert_int_equal(child_end(stopped.pid), 0);
}

static plait_queue_t *make(struct plait_queue_opts opts)
{
    plait_queue_t *queue;

    opts.item_size = sizeof(int);
    opts.arena = arena;
    assert_int_equal(plait_queue_new(&queue, &opts), 0);
    return queue;
}

static int make_arena(void **state) { return plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 1 << 20 }); }
static int free_arena(void **state) { return plait_arena_free(arena); }

/* ---- Cases ---- */

static void join_ends_at_its_deadline(void **state)
{
    plait_queue_t *q = make((struct plait_queue_opts){ .joinable = true });
    int item = 1;

    assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
    stop_one_at(q, PLAIT__GETS);
    assert_int_equal(plait_queue_join(q, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_queue_join(q, plait_after(0.2)), ETIMEDOUT);
    let_it_go_on();
    assert_int_equal(plait_queue_join(q, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    assert_int_equal(plait_queue_join(q, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_destroy(q), 0);
}

/* The one that sleeps already, and looks again when its time is up. */
static void sleeping_join_ends_at_its_deadline(void **state)
{
    plait_queue_t *q = make((struct plait_queue_opts){ .joinable = true });
    int item = 1;
    pid_t pid;

    assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
    pid = fork();
    if (pid == 0)
        _exit(plait_queue_join(q, plait_after(1.0)) == ETIMEDOUT ? 0 : 1);
    while (child_state(pid) == 'R') /* or it is through already, on a busy machine */
        plait_sleep(0.001);
    stop_one_at(q, PLAIT__GETS);
    assert_int_equal(child_end_by(pid, PATIENCE / 2), 0);
    let_it_go_on();
    assert_int_equal(plait_queue_destroy(q), 0);
}

static void put_that_drops_the_oldest_ends_at_its_deadline(void **state)
{
    plait_queue_t *q = make((struct plait_queue_opts){ .maxsize = 2, .overflow = PLAIT_OVERFLOW_DROP_OLDEST });
    int items[] = { 1, 2, 3 }, item;
    size_t count = 0;

    assert_int_equal(plait_queue_put_many(q, items, 2, &count, PLAIT_NOW), 0);
    stop_one_at(q, PLAIT__GETS);
    assert_int_equal(plait_queue_put(q, &items[2], PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_queue_put(q, &items[2], plait_after(0.2)), ETIMEDOUT);
    assert_int_equal(plait_queue_put_many(q, &items[2], 1, &count, PLAIT_NOW), ETIMEDOUT);
    let_it_go_on();
    assert_int_equal(plait_queue_dropped(q), 0);
    assert_int_equal(plait_queue_put(q, &items[2], PLAIT_NOW), 0);
    assert_int_equal(plait_queue_dropped(q), 1);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), 0);
        assert_int_equal(item, items[i]);
    }
    assert_int_equal(plait_queue_destroy(q), 0);
}

static int get_and_die(void *queue)
{
    int item;

    return plait_queue_get(queue, &item, PLAIT_NOW) == 0 ? raise(SIGKILL) : 1;
}

/* The letter waits; those who use the queue do not. */
static void get_does_not_wait_for_the_dead_letters(void **state)
{
    plait_queue_t *letters = make((struct plait_queue_opts){ 0 });
    plait_queue_t *q = make((struct plait_queue_opts){ .joinable = true, .max_deliveries = 1, .dead_letters = letters });
    int item = 7;
    plait_time_t until = plait_after(PATIENCE);

    assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
    assert_int_equal(child_run(get_and_die, q), CHILD_SIGNALLED + SIGKILL);
    stop_one_at(letters, PLAIT__PUTS);
    for (int i = 0; i < 3; i++) {
        plait_sleep(0.06); /* it looks for deaths so often */
        assert_int_equal(plait_queue_get(q, &item, PLAIT_NOW), ETIMEDOUT);
    }
    item = 8;
    assert_int_equal(plait_queue_put(q, &item, PLAIT_NOW), 0);
    assert_int_equal(plait_queue_get(q, &item, plait_after(1)), 0);
    assert_int_equal(item, 8);
    assert_int_equal(plait_queue_task_done(q, NULL), 0);
    assert_int_equal(plait_queue_unfinished(q), 1);
    let_it_go_on();
    while (plait_queue_unfinished(q) && plait_now() < until)
        plait_queue_get(q, &item, plait_after(0.06));
    assert_int_equal(plait_queue_get(letters, &item, PLAIT_NOW), 0);
    assert_int_equal(item, 7);
    assert_int_equal(plait_queue_dropped(q), 0);
    assert_int_equal(plait_queue_destroy(q), 0);
    assert_int_equal(plait_queue_destroy(letters), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_arena, free_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(join_ends_at_its_deadline),
        CASE(sleeping_join_ends_at_its_deadline),
        CASE(put_that_drops_the_oldest_ends_at_its_deadline),
        CASE(get_does_not_wait_for_the_dead_letters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
