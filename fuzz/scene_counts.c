/* SPDX-License-Identifier: MIT */
/* What counts and tells: semaphores, event, latch, wait group, once, cancel tokens, barrier. */
#include <pthread.h>

#include "fuzz/fuzz.h"

struct counts {
    plait_sem_t sem, bounded, owned;
    plait_event_t event;
    plait_latch_t latch;
    plait_wait_group_t group;
    plait_once_t once;
    plait_cancel_t token, child;
    plait_barrier_t barrier, alone;
};

static struct counts *counts(void)
{
    return at(0);
}

static int make(void)
{
    struct counts *c;

    if (plait_arena_alloc(arena, sizeof *c, (void **)&c))
        return 1;
    remember(0, c);
    return plait_sem_init(&c->sem, 2, PLAIT_SHARED) || plait_sem_init(&c->bounded, 3, PLAIT_SHARED | PLAIT_BOUNDED) ||
           plait_sem_init(&c->owned, 4, PLAIT_SHARED | PLAIT_OWNED) || plait_event_init(&c->event, PLAIT_SHARED) ||
           plait_latch_init(&c->latch, 2, PLAIT_SHARED) || plait_wait_group_init(&c->group, PLAIT_SHARED) ||
           plait_wait_group_add(&c->group, 2) || plait_once_init(&c->once, PLAIT_SHARED) ||
           plait_cancel_init(&c->token, PLAIT_SHARED) ||
           plait_cancel_init_child(&c->child, &c->token, PLAIT_SHARED) ||
           plait_barrier_init(&c->barrier, 3, PLAIT_SHARED) || plait_barrier_init(&c->alone, 1, PLAIT_SHARED) ||
           plait_arena_publish(arena, "counts", c);
}

static int stay(void *unused)
{
    return plait_sleep_until(PLAIT_FOREVER);
}

static void *be_once(void *unused)
{
    plait_once_run(&counts()->once, stay, NULL, PLAIT_FOREVER);
    return unused;
}

static void *be_party(void *unused)
{
    plait_barrier_wait(&counts()->barrier, NULL, PLAIT_FOREVER);
    return unused;
}

static void spoil(void)
{
    struct counts *c = counts();
    pthread_t thread;

    pthread_create(&thread, NULL, be_once, NULL);
    pthread_create(&thread, NULL, be_party, NULL);
    plait_sem_acquire(&c->sem, 1, PLAIT_FOREVER);
    plait_sem_acquire(&c->bounded, 2, PLAIT_FOREVER);
    plait_sem_acquire(&c->owned, 3, PLAIT_FOREVER);
    plait_latch_count_down(&c->latch, 1);
    plait_cancel_set_deadline(&c->token, plait_after(3600));
    plait_sleep(0.05);
}

static void use_sem(plait_sem_t *sem)
{
    struct plait_wait_entry entry;
    unsigned got = 0;

    for (unsigned i = 0; i < 2; i++)
        if (CALL(plait_sem_acquire(sem, i + 1, soon())) == 0)
            got += i + 1;
    moment();
    LOOK(plait_sem_value(sem));
    if (got)
        CALL(plait_sem_release(sem, got));
    entry = LOOK(plait_any_sem_acquire(sem, 1));
    if (CALL(plait_wait_any(&entry, 1, NULL, soon())) == 0)
        CALL(plait_sem_release(sem, 1));
    CALL(plait_sem_release(sem, 1));
}

static void step_sem(void)
{
    use_sem(&counts()->sem);
    use_sem(&counts()->bounded);
}

static void step_owned(void)
{
    use_sem(&counts()->owned);
}

static void step_event(void)
{
    plait_event_t *event = &counts()->event;
    struct plait_wait_entry entry = plait_any_event_wait(event);

    CALL(plait_event_wait(event, soon()));
    moment();
    CALL(plait_event_set(event));
    CALL(plait_event_wait(event, soon()));
    CALL(plait_wait_any(&entry, 1, NULL, soon()));
    CALL(plait_event_clear(event));
}

static void step_countdowns(void)
{
    struct counts *c = counts();
    struct plait_wait_entry entries[] = { plait_any_latch_wait(&c->latch), plait_any_wait_group_wait(&c->group) };

    CALL(plait_latch_wait(&c->latch, soon()));
    CALL(plait_latch_count_down(&c->latch, 1));
    CALL(plait_wait_any(entries, 2, NULL, soon()));
    moment();
    CALL(plait_wait_group_add(&c->group, 1));
    CALL(plait_wait_group_done(&c->group));
    CALL(plait_wait_group_wait(&c->group, soon()));
    LOOK(plait_latch_count(&c->latch) + plait_wait_group_count(&c->group));
}

static int do_nothing(void *unused)
{
    return 0;
}

static void step_once(void)
{
    CALL(plait_once_run(&counts()->once, do_nothing, NULL, soon()));
    moment();
    LOOK(plait_once_is_done(&counts()->once));
}

static void use_token(plait_cancel_t *token)
{
    const plait_cancel_t *source;
    plait_event_t never = PLAIT_EVENT_INIT;
    struct plait_wait_entry entry = plait_any_cancel_wait(token);
    int code;

    LOOK(plait_cancel_is_set(token));
    CALL(plait_cancel_wait(token, soon()));
    CALL(plait_wait_any(&entry, 1, NULL, soon()));
    moment();
    CALL(plait_cancel_set_deadline(token, soon()));
    plait_cancel_bind(token);
    CALL(plait_event_wait(&never, plait_after(0.005)));
    plait_cancel_bind(NULL);
    CALL(plait_cancel_set_code(token, 5));
    CALL(plait_cancel_reason(token, &code, &source));
}

static void step_child(void)
{
    use_token(&counts()->child);
}

static void step_token(void)
{
    use_token(&counts()->token);
}

static void step_barrier(void)
{
    struct counts *c = counts();
    unsigned index;

    CALL(plait_barrier_wait(&c->alone, &index, soon()));
    moment();
    CALL(plait_barrier_wait(&c->barrier, &index, soon()));
    LOOK(plait_barrier_waiting(&c->barrier) + plait_barrier_is_broken(&c->barrier));
    CALL(plait_barrier_reset(&c->barrier));
    CALL(plait_barrier_wait(&c->barrier, &index, soon()));
    CALL(plait_barrier_wait_then(&c->alone, do_nothing, NULL, &index, soon()));
    CALL(plait_barrier_abort(&c->alone));
}

static void step_end(void)
{
    struct counts *c = counts();

    if (choice(4))
        return;
    CALL(plait_sem_fini(&c->sem));
    CALL(plait_sem_fini(&c->owned));
    CALL(plait_latch_fini(&c->latch));
    CALL(plait_wait_group_fini(&c->group));
    CALL(plait_once_fini(&c->once));
    CALL(plait_barrier_fini(&c->barrier));
}

const struct scene count_scene = { "counts", make, spoil,
                                   { step_sem, step_owned, step_event, step_countdowns, step_once, step_child, step_token,
                                     step_barrier, step_end } };
