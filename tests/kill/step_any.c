/* SPDX-License-Identifier: MIT */
/* Killed at every instruction: the wait for the first of several. */
#include "kill/world.h"

/* ---- Any of several: a lock, a permit, an event, an item; a second queue's place ---- */

enum { ANY_LOCK, ANY_SEM, ANY_EVENT, ANY_GET, ANY_PUT, ANY_ENTRIES };

static struct plait_wait_entry any_entries[ANY_ENTRIES];
static plait_queue_t *any_full;

/* None of the entries can be performed: the test holds the lock. */
static void nothing_for_any(void)
{
    struct item item;

    fresh_queue(3);
    no_permit();
    plait_event_init(&world->event, PLAIT_SHARED);
    fill_item(&item, 99);
    if (plait_queue_new(&any_full, &(struct plait_queue_opts){ .item_size = sizeof item, .maxsize = 1, .arena = arena }) ||
        plait_queue_put(any_full, &item, PLAIT_NOW) || take_lock())
        abort();
    any_entries[ANY_LOCK] = plait_any_lock_acquire(&world->lock);
    any_entries[ANY_SEM] = plait_any_sem_acquire(&world->sem, 1);
    any_entries[ANY_EVENT] = plait_any_event_wait(&world->event);
    any_entries[ANY_GET] = plait_any_queue_get(queue, &world->got);
    any_entries[ANY_PUT] = plait_any_queue_put(any_full, &child_item);
}

static void lock_for_any(void)
{
    nothing_for_any();
    plait_lock_release(&world->lock);
}

static void permit_for_any(void)
{
    nothing_for_any();
    plait_sem_release(&world->sem, 1);
}

static void item_for_any(void)
{
    nothing_for_any();
    put_some(1);
}

static void place_for_any(void)
{
    struct item item;

    nothing_for_any();
    plait_queue_get(any_full, &item, PLAIT_NOW);
}

static void wait_for_any(void)
{
    size_t which;

    if (plait_wait_any(any_entries, ANY_ENTRIES, &which, plait_after(0.001)) == 0)
        step_page->out = (long)which + 1;
}

/* What the helper waits for, behind the child: each of the objects in turn. */
static int any_helper(void *unused)
{
    struct item item;

    if (take_lock() || plait_lock_release(&world->lock))
        return 1;
    if (plait_sem_acquire(&world->sem, 1, plait_after(PATIENCE)))
        return 2;
    if (plait_event_wait(&world->event, plait_after(PATIENCE)))
        return 3;
    if (plait_queue_get(queue, &item, plait_after(PATIENCE)) || !item_is(&item, item.number))
        return 4;
    fill_item(&item, 98);
    return plait_queue_put(any_full, &item, plait_after(PATIENCE)) ? 5 : 0;
}

/* Let the helper go on, step by step. */
static const char *any_goes_on(bool done)
{
    struct item item;
    const char *wrong = NULL;

    if (plait_lock_release(&world->lock) != 0 && (wrong = take_and_give_lock()))
        return wrong; /* it was the child's */
    if (plait_sem_value(&world->sem) > 1)
        return "a permit too many";
    if (plait_sem_value(&world->sem) == 0)
        plait_sem_release(&world->sem, 1);
    plait_event_set(&world->event);
    if (plait_queue_qsize(queue) > 1)
        return "an item too many";
    if (plait_queue_qsize(queue) == 0)
        put_some(1);
    if (plait_queue_get(any_full, &item, PLAIT_NOW) == 0 && !item_is(&item, item.number))
        return "a torn item";
    if (helper_end_by(PATIENCE))
        return "the sleeper behind it was not served";
    if (plait_queue_get(any_full, &item, PLAIT_NOW) || item.number != 98)
        return "the helper's item is lost";
    plait_queue_destroy(any_full);
    plait_queue_destroy(queue);
    if (used() != used_before)
        return "memory is lost, or freed twice";
    return checked();
}

static const char *any_took_one(bool done, int kind)
{
    struct item item;
    const char *wrong = take_lock();
    unsigned value = plait_sem_value(&world->sem);
    size_t there = plait_queue_qsize(queue), stored = plait_queue_qsize(any_full);

    if (wrong || plait_lock_release(&world->lock))
        return wrong ? wrong : "release failed";
    if (done && step_page->out != kind + 1)
        return "none, or another one, was performed";
    if (value > (kind == ANY_SEM && !done))
        return "a permit too many or too few";
    if (there > (kind == ANY_GET && !done))
        return "an item too many or too few";
    if (stored != 1 && (stored != 0 || kind != ANY_PUT || done))
        return "a place too many or too few";
    while (plait_queue_get(any_full, &item, PLAIT_NOW) == 0)
        if (!item_is(&item, item.number))
            return "a torn item";
    plait_queue_destroy(any_full);
    plait_queue_destroy(queue);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

static const char *any_took_the_lock(bool done) { return any_took_one(done, ANY_LOCK); }

static const char *any_took_another(bool done, int kind)
{
    if (plait_lock_release(&world->lock))
        return "the lock is not the test's any more";
    return any_took_one(done, kind);
}

static const char *any_took_the_permit(bool done) { return any_took_another(done, ANY_SEM); }
static const char *any_took_the_item(bool done) { return any_took_another(done, ANY_GET); }
static const char *any_took_the_place(bool done) { return any_took_another(done, ANY_PUT); }

/* ---- Woken ---- */

static void wait_long_for_any(void)
{
    size_t which;

    if (plait_wait_any(any_entries, ANY_ENTRIES, &which, PLAIT_FOREVER) == 0)
        step_page->out = (long)which + 1;
}

static void lock_to_be_let_go(void)
{
    lock_for_any();
    plait_event_clear(&world->go);
}

static int lock_holder_for_any(void *unused)
{
    if (take_lock())
        return 1;
    await_go();
    return plait_lock_release(&world->lock);
}

static int second_for_lock(void *unused) { return take_and_give_lock() ? 1 : 0; }
static int second_for_permit(void *unused) { return plait_sem_acquire(&world->sem, 1, plait_after(PATIENCE)); }

static int second_for_item(void *unused)
{
    struct item item;
    int err = plait_queue_get(queue, &item, plait_after(PATIENCE));

    if (err == 0)
        note_item(&item);
    return err;
}

static int second_for_place(void *unused)
{
    struct item item;

    fill_item(&item, 98);
    return plait_queue_put(any_full, &item, plait_after(PATIENCE));
}

static int release_lock_for_any(void *unused) { return let_holder_go_before(second_for_lock); }

static int release_permits_for_any(void *unused)
{
    pid_t second = sleep_behind_child(second_for_permit);

    return second < 0 || plait_sem_release(&world->sem, 1) || plait_sem_release(&world->sem, 1) ||
           child_end_by(second, PATIENCE);
}

static int put_items_for_any(void *unused)
{
    pid_t second = sleep_behind_child(second_for_item);

    put_some(2);
    return child_end_by(second, PATIENCE);
}

/* One place, and what is put there first makes room for the other. */
static int make_places_for_any(void *unused)
{
    pid_t second = sleep_behind_child(second_for_place);
    struct item item;

    for (int i = 0; i < 2; i++) {
        if (plait_queue_get(any_full, &item, plait_after(PATIENCE)))
            return 1;
        note_item(&item);
    }
    return child_end_by(second, PATIENCE);
}

static const char *any_took_the_lock_before_another(bool done)
{
    return others_end_well() ? any_took_the_lock(done) : "the sleeper behind it did not get the lock";
}

static const char *any_took_a_permit_of_two(bool done)
{
    return waker_end_by(2 * PATIENCE) ? "the sleeper behind it got no permit" : any_took_the_permit(done);
}

static const char *any_took_an_item_of_two(bool done)
{
    struct item item;
    const char *wrong;

    if (waker_end_by(2 * PATIENCE))
        return "the sleeper behind it got no item";
    if (done)
        note_item(&world->got);
    while (plait_queue_get(queue, &item, PLAIT_NOW) == 0)
        note_item(&item);
    wrong = items_are_noted(3, done ? 0 : 3);
    return wrong ? wrong : any_took_the_item(done);
}

/* As many places are taken afterwards as were to begin with, so that the one who looks finds what he expects. */
static const char *any_took_a_place_of_two(bool done)
{
    const uint32_t first = 1u << 99 % 32, second = 1u << 98 % 32, own = 1;
    struct item item;
    const char *wrong;

    if (waker_end_by(2 * PATIENCE))
        return "the sleeper behind it got no place";
    while (plait_queue_get(any_full, &item, PLAIT_NOW) == 0)
        note_item(&item);
    fill_item(&item, 99);
    wrong = items_are_noted(first | second | own, done ? 0 : own);
    if (!wrong && plait_queue_put(any_full, &item, PLAIT_NOW))
        wrong = "the place is lost";
    return wrong ? wrong : any_took_the_place(done);
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { .name = "any, timed out",
      .prepare = nothing_for_any, .before = prepare_item, .operate = wait_for_any, .helper = any_helper,
      .verify = any_goes_on },
    { .name = "any, a lock",
      .prepare = lock_for_any, .before = prepare_item, .operate = wait_for_any, .verify = any_took_the_lock },
    { .name = "any, a permit",
      .prepare = permit_for_any, .before = prepare_item, .operate = wait_for_any, .verify = any_took_the_permit },
    { .name = "any, an item",
      .prepare = item_for_any, .before = prepare_item, .operate = wait_for_any, .verify = any_took_the_item },
    { .name = "any, a place",
      .prepare = place_for_any, .before = prepare_item, .operate = wait_for_any, .verify = any_took_the_place },
    { .name = "any, woken by a lock, before a sleeper",
      .prepare = lock_to_be_let_go, .before = prepare_item, .operate = wait_long_for_any, .helper = lock_holder_for_any,
      .waker = release_lock_for_any, .verify = any_took_the_lock_before_another },
    { .name = "any, woken by a permit, before a sleeper",
      .prepare = nothing_for_any, .before = prepare_item, .operate = wait_long_for_any,
      .waker = release_permits_for_any, .verify = any_took_a_permit_of_two },
    { .name = "any, woken by an item, before a sleeper",
      .prepare = nothing_for_any, .before = prepare_item, .operate = wait_long_for_any, .waker = put_items_for_any,
      .verify = any_took_an_item_of_two },
    { .name = "any, woken by a place, before a sleeper",
      .prepare = nothing_for_any, .before = prepare_item, .operate = wait_long_for_any, .waker = make_places_for_any,
      .verify = any_took_a_place_of_two },
};

const struct step_table step_any = { ops, sizeof ops / sizeof ops[0] };
