/* SPDX-License-Identifier: MIT */
#include "kill/world.h"

#include <limits.h>

plait_arena_t *arena, *other;
plait_queue_t *queue;
void *block;
size_t used_before;
struct world *world;
long next_put, next_get;
struct item child_item;

int make_world(void)
{
    block = NULL;
    return plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 64 << 20, .participants = 16 }) ||
           plait_arena_alloc(arena, sizeof *world, (void **)&world) || plait_lock_init(&world->lock, PLAIT_SHARED) ||
           plait_rlock_init(&world->rlock, PLAIT_SHARED) || plait_event_init(&world->go, PLAIT_SHARED) ||
           plait_event_init(&world->event, PLAIT_SHARED);
}

int drop_world(void)
{
    return plait_arena_free(arena);
}

size_t used(void)
{
    size_t bytes = 0;

    plait_arena_usage(arena, &bytes, NULL, NULL);
    return bytes;
}

void remember_use(void)
{
    used_before = used();
}

const char *checked(void)
{
    static char text[200];

    return plait_arena_check(arena, text, sizeof text) ? text : NULL;
}

void take_part(void)
{
    struct plait__slot *slot;

    if (plait__member(arena->base, &slot))
        _exit(3);
}

const char *take_lock(void)
{
    switch (plait_lock_acquire(&world->lock, plait_after(PATIENCE))) {
    case 0:
        return world->a == world->b ? NULL : "the lock was free, the counters differ";
    case EOWNERDEAD:
        world->b = world->a;
        return plait_lock_consistent(&world->lock) ? "consistent failed" : NULL;
    case ETIMEDOUT:
        return "the lock hangs";
    default:
        return "acquire failed";
    }
}

const char *take_and_give_lock(void)
{
    const char *wrong = take_lock();

    if (wrong)
        return wrong;
    return plait_lock_release(&world->lock) ? "release failed" : NULL;
}

const char *lock_goes_on(bool done)
{
    const char *wrong = take_and_give_lock();

    return wrong ? wrong : checked();
}

void await_go(void)
{
    plait_event_wait(&world->go, plait_after(PATIENCE));
}

int let_holder_go(void *unused)
{
    await_child();
    return plait_event_set(&world->go);
}

pid_t sleep_behind_child(int (*second)(void *unused))
{
    pid_t pid;

    await_child();
    pid = child_start(second, NULL);
    return await_sleep_or_end(pid) ? pid : -1;
}

int let_holder_go_before(int (*second)(void *unused))
{
    pid_t pid = sleep_behind_child(second);

    plait_event_set(&world->go);
    return child_end_by(pid, PATIENCE);
}

bool others_end_well(void)
{
    bool waker_has = waker_end_by(2 * PATIENCE) == 0;

    return helper_end_by(PATIENCE) == 0 && waker_has;
}

void no_permit(void)
{
    plait_sem_init(&world->sem, 0, PLAIT_SHARED);
}

void fill_item(struct item *item, long number)
{
    item->number = number;
    memset(item->rest, (int)number, sizeof item->rest);
}

bool item_is(const struct item *item, long number)
{
    for (size_t i = 0; i < sizeof item->rest; i++)
        if (item->rest[i] != (char)number)
            return false;
    return item->number == number;
}

void put_some(int count)
{
    struct item item;

    while (count-- > 0) {
        fill_item(&item, next_put++);
        if (plait_queue_put(queue, &item, plait_after(PATIENCE)))
            next_put = LONG_MIN; /* found when they are got */
    }
}

void fresh_queue(size_t maxsize)
{
    used_before = used();
    next_put = next_get = 0;
    world->seen = world->wrong = 0;
    if (plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = sizeof(struct item), .maxsize = maxsize,
                                                            .arena = arena }))
        abort();
}

void note_item(const struct item *item)
{
    uint32_t bit = (uint32_t)1 << item->number % 32;

    if (!item_is(item, item->number) || (__atomic_fetch_or(&world->seen, bit, __ATOMIC_RELAXED) & bit))
        __atomic_store_n(&world->wrong, 1, __ATOMIC_RELAXED);
}

const char *items_are_noted(uint32_t numbers, uint32_t loose)
{
    uint32_t missing = numbers & ~world->seen;

    if (world->wrong)
        return "an item was torn, or got twice";
    if (world->seen & ~numbers)
        return "an item from nowhere";
    return (missing & ~loose) || (missing & (missing - 1)) ? "an item is lost" : NULL;
}

void prepare_item(void)
{
    take_part();
    fill_item(&child_item, next_put);
}

void fresh_other(void)
{
    plait_arena_free(other);
    if (plait_arena_new(&other, &(struct plait_arena_opts){ .limit = 8 << 20, .participants = 8 }))
        abort();
}

void take_part_in_other(void)
{
    struct plait__slot *slot;

    if (plait__member(other->base, &slot))
        _exit(3);
}
