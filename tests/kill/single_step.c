/* SPDX-License-Identifier: MIT */
/*
 * A participant is killed at every single instruction of each operation, and the others go on: nothing hangs, nothing
 * that was committed is lost, counts are right. Usage: single_step [--soak] [SEED]; PLAIT_STEP_ONLY: a part of a name.
 */
#include "kill/step.h"

#include <sys/stat.h>

#include "arena/arena.h"
#include "arena/holds.h"
#include "arena/member.h"
#include "arena/start_time.h"
#include "wait/robust.h"

/* Too short a wait makes a busy machine fail, too long a one a hang expensive. */
enum { PATIENCE = 10 };

static plait_arena_t *arena;
static plait_arena_t *other; /* made afresh for each kill, where what is lost would add up */
static plait_queue_t *queue;

static struct world {
    plait_lock_t lock;
    plait_rlock_t rlock; /* guards a and b as well, in its cases */
    plait_cond_t cond;
    plait_sem_t sem, owned;
    plait_barrier_t barrier;
    plait_event_t event;
    plait_once_t once;
    plait_latch_t latch;
    plait_wait_group_t group;
    plait_cancel_t token, child;
    plait_rwlock_t rwlock;
    long a, b; /* guarded by lock, or by rwlock; a == b */
    uint32_t broken;
} *world;

static size_t used_before;

static size_t used(void)
{
    size_t bytes = 0;

    plait_arena_usage(arena, &bytes, NULL, NULL);
    return bytes;
}

static const char *checked(void)
{
    static char text[200];

    return plait_arena_check(arena, text, sizeof text) ? text : NULL;
}

static void nothing(void)
{
}

/* The child takes part before it is stepped: joining has a case of its own. */
static void take_part(void)
{
    struct plait__slot *slot;

    if (plait__member(arena->base, &slot))
        _exit(3);
}

/* ---- Lock ---- */

static void add_one(void)
{
    if (plait_lock_acquire(&world->lock, PLAIT_FOREVER))
        _exit(4);
    world->a++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    world->b++;
    if (plait_lock_release(&world->lock))
        _exit(5);
}

/* Acquire within the deadline, mend the counters; NULL, or what is wrong. */
static const char *take_lock(void)
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

static const char *take_and_give_lock(void)
{
    const char *wrong = take_lock();

    if (wrong)
        return wrong;
    return plait_lock_release(&world->lock) ? "release failed" : NULL;
}

static const char *lock_goes_on(bool done)
{
    const char *wrong = take_and_give_lock();

    return wrong ? wrong : checked();
}

static void hold(void)
{
    plait_lock_acquire(&world->lock, PLAIT_FOREVER);
}

static void let_go(void)
{
    plait_lock_release(&world->lock);
}

/* From here on the lock is one with priority inheritance, where there are any. */
static void lend_priority(void)
{
    if (!(world->lock.mode & PLAIT_PRIO_INHERIT) && plait_lock_init(&world->lock, PLAIT_SHARED | PLAIT_PRIO_INHERIT))
        plait_lock_init(&world->lock, PLAIT_SHARED);
}

static int lock_helper(void *unused)
{
    return take_and_give_lock() ? 1 : 0;
}

static const char *sleeper_gets_lock(bool done)
{
    return helper_end_by(PATIENCE) ? "the sleeper did not get the lock" : lock_goes_on(done);
}

/* ---- Recursive lock ---- */

static void add_one_at_depth(void)
{
    if (plait_rlock_acquire(&world->rlock, PLAIT_FOREVER) || plait_rlock_acquire(&world->rlock, PLAIT_FOREVER))
        _exit(4);
    world->a++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    world->b++;
    if (plait_rlock_release(&world->rlock) || plait_rlock_release(&world->rlock))
        _exit(5);
}

static const char *take_and_give_rlock(void)
{
    switch (plait_rlock_acquire(&world->rlock, plait_after(PATIENCE))) {
    case 0:
        if (world->a != world->b)
            return "the rlock was free, the counters differ";
        break;
    case EOWNERDEAD:
        world->b = world->a;
        if (plait_rlock_consistent(&world->rlock))
            return "consistent failed";
        break;
    case ETIMEDOUT:
        return "the rlock hangs";
    default:
        return "acquire failed";
    }
    if (plait_rlock_depth(&world->rlock) != 1)
        return "the depth is wrong";
    return plait_rlock_release(&world->rlock) || plait_rlock_is_locked(&world->rlock) ? "release failed" : NULL;
}

static const char *rlock_goes_on(bool done)
{
    const char *wrong = take_and_give_rlock();

    return wrong ? wrong : checked();
}

static void hold_rlock(void)
{
    plait_rlock_acquire(&world->rlock, PLAIT_FOREVER);
    plait_rlock_acquire(&world->rlock, PLAIT_FOREVER);
}

static void let_rlock_go(void)
{
    plait_rlock_release(&world->rlock);
    plait_rlock_release(&world->rlock);
}

static int rlock_helper(void *unused)
{
    return take_and_give_rlock() ? 1 : 0;
}

static const char *sleeper_gets_rlock(bool done)
{
    return helper_end_by(PATIENCE) ? "the sleeper did not get the rlock" : rlock_goes_on(done);
}

/* A word that no kernel knows of: the harness must notice. */
static void broken_add_one(void)
{
    uint32_t unheld = 0;

    while (!__atomic_compare_exchange_n(&world->broken, &unheld, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        unheld = 0;
    world->a++;
    __atomic_store_n(&world->broken, 0, __ATOMIC_RELEASE);
}

static const char *broken_goes_on(bool done)
{
    plait_time_t deadline = plait_after(0.02);
    uint32_t unheld = 0;

    world->b = world->a;
    while (!__atomic_compare_exchange_n(&world->broken, &unheld, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        unheld = 0;
        if (plait_now() > deadline) {
            world->broken = 0;
            return "the lock hangs";
        }
    }
    world->broken = 0;
    return NULL;
}

/* ---- Read-write lock ---- */

static void fresh_rwlock(void)
{
    world->a = world->b = 0;
    if (plait_rwlock_init(&world->rwlock, PLAIT_SHARED))
        abort();
}

/* A child that acquires it and dies. */
static int acquire_and_be_killed(void *acquire)
{
    if (((int (*)(plait_rwlock_t *, plait_time_t))acquire)(&world->rwlock, PLAIT_FOREVER))
        return 1;
    world->a++;
    raise(SIGKILL);
    return 2;
}

static void rwlock_of_a_dead_reader(void)
{
    fresh_rwlock();
    child_run(acquire_and_be_killed, plait_rwlock_acquire_read);
    world->a = 0;
}

static void rwlock_of_a_dead_writer(void)
{
    fresh_rwlock();
    child_run(acquire_and_be_killed, plait_rwlock_acquire_write);
}

static void look_at_both(void)
{
    if (world->a != world->b)
        _exit(7);
}

static void read_both(void)
{
    if (plait_rwlock_acquire_read(&world->rwlock, PLAIT_FOREVER))
        _exit(4);
    look_at_both();
    if (plait_rwlock_release(&world->rwlock))
        _exit(5);
}

static void change_both(void)
{
    world->a++;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    world->b++;
}

static void start_writing(void)
{
    if (plait_rwlock_acquire_write(&world->rwlock, PLAIT_FOREVER))
        _exit(4);
    change_both();
}

static void start_reading(void)
{
    if (plait_rwlock_acquire_read(&world->rwlock, PLAIT_FOREVER))
        _exit(4);
}

static void end_either(void)
{
    if (plait_rwlock_release(&world->rwlock))
        _exit(5);
}

static void write_both(void)
{
    start_writing();
    end_either();
}

static void write_then_read(void)
{
    if (plait_rwlock_downgrade(&world->rwlock))
        _exit(6);
    look_at_both();
    end_either();
}

/* As a reader that is told; where nobody is, as it finds it. */
static void read_or_repair(void)
{
    int err = plait_rwlock_acquire_read(&world->rwlock, PLAIT_FOREVER);

    if (err == EOWNERDEAD) {
        world->b = world->a;
        if (plait_rwlock_consistent(&world->rwlock))
            _exit(4);
        write_then_read();
    } else {
        _exit(5);
    }
}

/* Acquire, mend, release; `told`: the death of a writer may be told. NULL, or what is wrong. */
static const char *use_rwlock(int (*acquire)(plait_rwlock_t *, plait_time_t), bool told)
{
    switch (acquire(&world->rwlock, plait_after(PATIENCE))) {
    case 0:
        if (world->a != world->b)
            return "the lock was free, the counters differ";
        break;
    case EOWNERDEAD:
        if (!told)
            return "a death was told that harmed nobody";
        world->b = world->a;
        if (plait_rwlock_consistent(&world->rwlock))
            return "consistent failed";
        break;
    case ETIMEDOUT:
        return "the read-write lock hangs";
    default:
        return "acquire failed";
    }
    return plait_rwlock_release(&world->rwlock) ? "release failed" : NULL;
}

static const char *rwlock_goes_on_told(bool told)
{
    const char *wrong = use_rwlock(plait_rwlock_acquire_read, told);

    wrong = wrong ? wrong : use_rwlock(plait_rwlock_acquire_write, false);
    wrong = wrong ? wrong : use_rwlock(plait_rwlock_acquire_read, false);
    if (!wrong && plait_rwlock_readers(&world->rwlock))
        wrong = "a reader is left over";
    return wrong ? wrong : checked();
}

static const char *rwlock_goes_on(bool done) { return rwlock_goes_on_told(!done); }
static const char *rwlock_goes_on_silently(bool done) { return rwlock_goes_on_told(false); }

static int reading_helper(void *unused) { return use_rwlock(plait_rwlock_acquire_read, true) ? 1 : 0; }
static int writing_helper(void *unused) { return use_rwlock(plait_rwlock_acquire_write, true) ? 1 : 0; }
static int writing_helper_untold(void *unused) { return use_rwlock(plait_rwlock_acquire_write, false) ? 1 : 0; }

static const char *sleeper_gets_rwlock(bool done)
{
    return helper_end_by(PATIENCE) ? "the sleeper did not get the lock" : rwlock_goes_on_told(false);
}

/* ---- Semaphore ---- */

static void five_permits(void)
{
    plait_sem_init(&world->sem, 5, PLAIT_SHARED);
}

static void no_permit(void)
{
    plait_sem_init(&world->sem, 0, PLAIT_SHARED);
}

static void take_permit(void)
{
    step_page->out = plait_sem_acquire(&world->sem, 1, PLAIT_FOREVER);
}

static void give_permit(void)
{
    step_page->out = plait_sem_release(&world->sem, 1);
}

static const char *permit_is_taken_or_not(bool done)
{
    unsigned value = plait_sem_value(&world->sem);

    return value == 4 || (value == 5 && !done) ? checked() : "a permit too many or too few";
}

static const char *permit_is_given_or_not(bool done)
{
    unsigned value = plait_sem_value(&world->sem);

    return value == 6 || (value == 5 && !done) ? checked() : "a permit too many or too few";
}

static int sem_helper(void *unused)
{
    return plait_sem_acquire(&world->sem, 1, plait_after(PATIENCE));
}

static const char *sleeper_gets_permit(bool done)
{
    if (plait_sem_value(&world->sem) == 0 && !done)
        plait_sem_release(&world->sem, 1); /* it had not been given, or the helper has it already */
    if (helper_end_by(PATIENCE) != 0)
        return "the sleeper did not get the permit";
    return plait_sem_value(&world->sem) <= 1 ? checked() : "a permit too many";
}

/* ---- Owned semaphore: whatever a dead process had, all permits are there for the next who asks ---- */

enum { OWNED = 5 };

static void fresh_owned(void)
{
    if (world->owned.owned && plait_sem_fini(&world->owned))
        abort();
    if (plait_sem_init(&world->owned, OWNED, PLAIT_SHARED | PLAIT_OWNED))
        abort();
    used_before = used();
}

/* Asking /proc who one is takes thousands of instructions, once. */
static void know_myself(void)
{
    take_part();
    if (plait__process_id() == 0)
        _exit(3);
}

static void take_owned(void)
{
    step_page->out = plait_sem_acquire(&world->owned, 2, PLAIT_FOREVER);
}

static void have_owned(void)
{
    if (plait_sem_acquire(&world->owned, OWNED, PLAIT_NOW))
        _exit(3);
}

static void give_owned(void)
{
    step_page->out = plait_sem_release(&world->owned, 3);
}

static const char *all_permits_are_back(bool done)
{
    if (plait_sem_acquire(&world->owned, OWNED, PLAIT_NOW))
        return "permits are lost";
    if (plait_sem_acquire(&world->owned, 1, PLAIT_NOW) != ETIMEDOUT)
        return "a permit too many";
    if (plait_sem_release(&world->owned, OWNED) || plait_sem_value(&world->owned) != OWNED)
        return "they cannot be given back";
    return used() == used_before ? checked() : "memory is lost";
}

static int owned_helper(void *unused)
{
    return plait_sem_acquire(&world->owned, 2, plait_after(PATIENCE));
}

static const char *sleeper_gets_owned(bool done)
{
    return helper_end_by(PATIENCE) ? "the sleeper did not get its permits" : all_permits_are_back(done);
}

/* Dies with two permits and the guard, having changed the value. */
static int die_in_guard(void *unused)
{
    plait_lock_t *guard = plait__place_memory(arena->base, world->owned.owned);

    if (plait_sem_acquire(&world->owned, 2, PLAIT_NOW) == 0 && plait_lock_acquire(guard, PLAIT_NOW) == 0) {
        world->owned.word -= 1;
        kill(getpid(), SIGKILL);
    }
    return 1;
}

static void owned_of_a_dead_guard(void)
{
    fresh_owned();
    if (child_run(die_in_guard, NULL) != CHILD_SIGNALLED + SIGKILL)
        abort();
}

/* ---- Cancel token ---- */

static void fresh_token(void)
{
    plait_cancel_init(&world->token, PLAIT_SHARED);
    plait_cancel_init_child(&world->child, &world->token, PLAIT_SHARED);
}

static void token_whose_time_has_come(void)
{
    fresh_token();
    plait_cancel_set_deadline(&world->token, 1);
}

static void set_token(void)
{
    step_page->out = plait_cancel_set_code(&world->token, 5);
}

static void give_deadline(void)
{
    step_page->out = plait_cancel_set_deadline(&world->token, 1);
}

static void look_at_token(void)
{
    step_page->out = plait_cancel_is_set(&world->child);
}

/* Bound to a private child, and asleep on a private word: nothing but the chain makes it look again. */
static int token_helper(void *unused)
{
    static uint32_t word;
    plait_cancel_t own;

    if (plait_cancel_init_child(&own, &world->child, 0))
        return 2;
    plait_cancel_bind(&own);
    return plait_wait(&word, 0, 0, plait_after(PATIENCE)) == ECANCELED ? 0 : 1;
}

static const char *sleeper_is_cancelled(bool done)
{
    int code = 0;

    if (!plait_cancel_is_set(&world->child)) {
        if (done)
            return "the token is not set";
        plait_cancel_set_code(&world->token, 5);
    }
    if (helper_end_by(PATIENCE) != 0)
        return "the sleeper was not cancelled";
    return plait_cancel_reason(&world->child, &code, NULL) == ECANCELED && code == 5 ? checked() : "the code is wrong";
}

static const char *token_stays_set(bool done)
{
    if (plait_cancel_set_deadline(&world->token, PLAIT_FOREVER) != ECANCELED)
        return "the deadline was taken back";
    return plait_cancel_reason(&world->child, NULL, NULL) == ETIMEDOUT ? checked() : "the reason is wrong";
}

static const char *sleeper_is_cancelled_by_deadline(bool done)
{
    if (!plait_cancel_is_set(&world->child)) {
        if (done)
            return "the deadline was not given";
        plait_cancel_set_deadline(&world->token, 1);
    }
    if (helper_end_by(PATIENCE) != 0)
        return "the sleeper was not cancelled";
    return token_stays_set(done);
}

/* ---- Queue ---- */

struct item {
    long number;
    char rest[2040]; /* makes segments of eight */
};

enum { SEGMENT = 8 };
static long next_put, next_get;

static void fill_item(struct item *item, long number)
{
    item->number = number;
    memset(item->rest, (int)number, sizeof item->rest);
}

static bool item_is(const struct item *item, long number)
{
    for (size_t i = 0; i < sizeof item->rest; i++)
        if (item->rest[i] != (char)number)
            return false;
    return item->number == number;
}

static void put_some(int count)
{
    struct item item;

    while (count-- > 0) {
        fill_item(&item, next_put++);
        if (plait_queue_put(queue, &item, plait_after(PATIENCE)))
            next_put = LONG_MIN; /* found when they are got */
    }
}

static void fresh_queue(size_t maxsize)
{
    used_before = used();
    next_put = next_get = 0;
    if (plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = sizeof(struct item), .maxsize = maxsize,
                                                            .arena = arena }))
        abort();
}

static void ring_with_room(void)
{
    fresh_queue(3);
    put_some(2);
}

static void ring_at_its_end(void) /* the next place is in another lap */
{
    struct item item;

    ring_with_room();
    plait_queue_get(queue, &item, PLAIT_NOW);
    next_get++;
}

static void empty_ring(void)
{
    fresh_queue(3);
}

static void chain_with_room(void)
{
    fresh_queue(0);
    put_some(2);
}

static void chain_at_its_end(void)
{
    fresh_queue(0);
    put_some(SEGMENT);
}

static void chain_to_be_shortened(void)
{
    struct item item;

    fresh_queue(0);
    put_some(SEGMENT + 3);
    for (next_get = 0; next_get < SEGMENT; next_get++)
        plait_queue_get(queue, &item, PLAIT_NOW);
}

static struct item child_item;

static void prepare_item(void)
{
    take_part();
    fill_item(&child_item, next_put);
}

static void put_item(void)
{
    step_page->out = plait_queue_put(queue, &child_item, PLAIT_FOREVER);
}

static void get_item(void)
{
    step_page->out = plait_queue_get(queue, &child_item, PLAIT_FOREVER);
}

static const char *get_number(long number)
{
    struct item item;

    switch (plait_queue_get(queue, &item, plait_after(PATIENCE))) {
    case 0:
        return item_is(&item, number) ? NULL : "a wrong or torn item";
    case ETIMEDOUT:
        return "an item is lost";
    default:
        return "get failed";
    }
}

/* Get what is there, then see the queue off: empty, gone, and nothing of its memory left. */
static const char *drain_and_destroy(void)
{
    struct item item;
    const char *wrong = NULL;

    while (!wrong && next_get < next_put)
        wrong = get_number(next_get++);
    if (!wrong && plait_queue_get(queue, &item, PLAIT_NOW) != ETIMEDOUT)
        wrong = "an item too many";
    if (!wrong && plait_queue_qsize(queue) != 0)
        wrong = "the size is not 0";
    plait_queue_destroy(queue);
    if (!wrong && used() != used_before)
        wrong = "memory is lost, or freed twice";
    return wrong ? wrong : checked();
}

/*
 * The child's item is there or not, whole; then others put theirs. In a chain first of all several segments more are
 * put, so that whatever the child left behind is built upon.
 */
static const char *item_is_put_or_not(bool done)
{
    size_t size = plait_queue_qsize(queue), expected = (size_t)(next_put - next_get);
    int more = plait_queue_maxsize(queue) ? (int)(plait_queue_maxsize(queue) - expected - 1) : 3 * SEGMENT + 1;
    struct item item;
    long child_number = next_put, number;

    if (size != expected && size != expected + 1)
        return "the size is wrong";
    next_put++;
    put_some(more);
    while (next_get < child_number) {
        const char *wrong = get_number(next_get++);

        if (wrong)
            return wrong;
    }
    if (more == 0 || done) /* nobody came after it whose number would tell */
        number = plait_queue_get(queue, &item, PLAIT_NOW) == 0 ? item.number : -1;
    else
        number = plait_queue_get(queue, &item, plait_after(PATIENCE)) == 0 ? item.number : -2;
    if (number == -1) {
        if (done)
            return "the item that was put is lost";
        next_get = next_put;
    } else if (number == -2 || !item_is(&item, number) || number < child_number || number > child_number + 1 ||
               (done && number != child_number)) {
        return "a wrong or torn item, or the item that was put is lost";
    } else {
        next_get = number + 1;
    }
    return drain_and_destroy();
}

/* The same, but getters come first: they empty the segment, and its memory is somebody else's if it can be had. */
static const char *item_is_put_or_not_to_getters(bool done)
{
    const char *wrong = NULL;
    struct item item;
    void *memory;
    int err;

    while (!wrong && next_get < next_put)
        wrong = get_number(next_get++);
    if (wrong)
        return wrong;
    err = plait_queue_get(queue, &item, PLAIT_NOW);
    if (err == 0 ? !item_is(&item, next_put) : done)
        return "the item that was put is lost, or torn";
    if (plait_arena_alloc(arena, SEGMENT * sizeof item + 100, &memory))
        return "alloc failed";
    memset(memory, 0x5a, SEGMENT * sizeof item + 100);
    next_get = ++next_put;
    put_some(SEGMENT + 1);
    plait_arena_dealloc(arena, memory);
    return drain_and_destroy();
}

/* The child has the first item in its hands, or not; all others are there, in order. */
static const char *item_is_got_or_not(bool done)
{
    size_t size = plait_queue_qsize(queue), expected = (size_t)(next_put - next_get);
    struct item item;

    if (size != expected && size != expected - 1)
        return "the size is wrong";
    if (plait_queue_get(queue, &item, plait_after(PATIENCE)) != 0)
        return "all items are lost";
    if (!item_is(&item, item.number) || item.number < next_get || item.number > next_get + 1 ||
        (done && item.number == next_get))
        return "a wrong item, or one that was got already";
    next_get = item.number + 1;
    put_some(plait_queue_maxsize(queue) ? 1 : 2 * SEGMENT);
    return drain_and_destroy();
}

static int get_helper(void *unused)
{
    return get_number(next_get) ? 1 : 0;
}

static const char *sleeper_gets_item(bool done)
{
    if (!done && plait_queue_qsize(queue) == 0)
        put_some(1); /* the child had not put it, or the helper has it already */
    if (helper_end_by(PATIENCE) != 0)
        return "the sleeper got no item, or a wrong one";
    plait_queue_destroy(queue);
    return used() == used_before ? checked() : "memory is lost, or freed twice";
}

/* ---- Condition ---- */

static void fresh_cond(void)
{
    if (plait_cond_init(&world->cond, PLAIT_SHARED))
        abort();
}

static void wait_a_moment(void)
{
    plait_lock_acquire(&world->lock, PLAIT_FOREVER);
    step_page->out = plait_cond_wait(&world->cond, &world->lock, plait_after(0.001));
    plait_lock_release(&world->lock);
}

static const char *cond_is_left(bool done)
{
    const char *wrong = lock_goes_on(done);

    if (wrong)
        return wrong;
    if (plait_cond_notify(&world->cond, 1))
        return "notify failed";
    return plait_cond_fini(&world->cond) ? "the dead still waits" : checked();
}

static int cond_helper(void *unused)
{
    const char *wrong = take_lock();
    int err;

    if (wrong)
        return 1;
    err = plait_cond_wait(&world->cond, &world->lock, plait_after(PATIENCE));
    if (err == EOWNERDEAD)
        err = plait_lock_consistent(&world->lock);
    return plait_lock_release(&world->lock) ? 2 : err;
}

static void notify_one(void)
{
    step_page->out = plait_cond_notify(&world->cond, 1);
}

/* The sleeper is moved to the lock, and woken by its release. */
static void notify_under_lock(void)
{
    plait_lock_acquire(&world->lock, PLAIT_FOREVER);
    step_page->out = plait_cond_notify_all(&world->cond);
    plait_lock_release(&world->lock);
}

static const char *sleeper_is_notified(bool done)
{
    if (!done && plait_cond_notify(&world->cond, 1))
        return "notify failed";
    return helper_end_by(PATIENCE) ? "the sleeper was not notified" : cond_is_left(done);
}

/* A waiter has died, and somebody else with the guard in hand: chain and counters say nothing. */
static int die_in_cond_guard(void *unused)
{
    if (plait_lock_acquire(&world->cond.guard, PLAIT_NOW) == 0) {
        world->cond.head = world->cond.tail = 0;
        world->cond.notified = 17;
        kill(getpid(), SIGKILL);
    }
    return 1;
}

static void cond_of_a_dead_guard(void)
{
    pid_t waiter;

    fresh_cond();
    waiter = child_start(cond_helper, NULL);
    if (!await_sleep(waiter))
        abort();
    child_kill(waiter);
    if (child_run(die_in_cond_guard, NULL) != CHILD_SIGNALLED + SIGKILL)
        abort();
}

/* ---- Barrier of two: the child, which is known as a party, and the helper or the test ---- */

static void fresh_barrier(void)
{
    plait_barrier_fini(&world->barrier);
    if (plait_barrier_init(&world->barrier, 2, PLAIT_SHARED))
        abort();
    used_before = used();
}

static void be_a_party(void)
{
    if (plait_barrier_wait(&world->barrier, NULL, PLAIT_NOW) != ETIMEDOUT)
        _exit(3);
}

static void pass_barrier(void)
{
    step_page->out = plait_barrier_wait(&world->barrier, NULL, PLAIT_FOREVER);
}

static int count_a(void *unused)
{
    world->a++;
    return 0;
}

static void pass_barrier_with_action(void)
{
    step_page->out = plait_barrier_wait_then(&world->barrier, count_a, NULL, NULL, PLAIT_FOREVER);
}

static void pass_barrier_in_vain(void)
{
    step_page->out = plait_barrier_wait(&world->barrier, NULL, plait_after(0.05));
}

static void reset_barrier(void)
{
    plait_barrier_reset(&world->barrier);
}

static void abort_barrier(void)
{
    plait_barrier_abort(&world->barrier);
}

static int barrier_helper(void *unused)
{
    return plait_barrier_wait(&world->barrier, NULL, plait_after(PATIENCE));
}

/* After a reset it is whole, the dead do not count, and nothing of them is left. */
static const char *barrier_is_whole_again(void)
{
    world->b = world->a;
    if (plait_barrier_reset(&world->barrier) || plait_barrier_waiting(&world->barrier) != 0)
        return "the reset failed";
    if (plait_barrier_wait(&world->barrier, NULL, PLAIT_NOW) != ETIMEDOUT)
        return "it is broken after a reset, or the dead counts";
    if (plait_barrier_fini(&world->barrier))
        return "somebody still waits";
    return used() == used_before ? checked() : "memory is lost";
}

static const char *party_passes_or_is_told(bool done)
{
    int err = helper_end_by(PATIENCE);

    if (err != 0 && (err != EOWNERDEAD || done))
        return "the other party did not pass, or was not told why";
    return barrier_is_whole_again();
}

static const char *barrier_breaks(bool done)
{
    int err = plait_barrier_wait(&world->barrier, NULL, plait_after(PATIENCE));

    if (err == 0) /* it had arrived, and was killed then */
        err = plait_barrier_wait(&world->barrier, NULL, plait_after(PATIENCE));
    if (err != EOWNERDEAD && err != EPIPE)
        return "the death was not told";
    return barrier_is_whole_again();
}

static const char *parties_are_let_go(bool done)
{
    if (!done)
        plait_barrier_abort(&world->barrier);
    if (helper_end_by(PATIENCE) == ETIMEDOUT)
        return "who waited was not let go";
    return barrier_is_whole_again();
}

/* ---- Holds ---- */

static void take_holds_of_other(void)
{
    struct plait__slot *self;
    struct plait__hold *hold;

    if (plait__member(other->base, &self))
        _exit(3);
    for (int i = 0; i <= PLAIT__HOLDS_IN_ROW; i++)
        if (plait__hold_take(other->base, self, plait__hold_of(4096, PLAIT__HOLD_COUNT), &(struct plait__hold){ 0 }, &hold))
            _exit(4);
}

/* Some are there, as orphans, and a row that is whole, or none. The next owner of the slot takes as many. */
static const char *holds_are_orphans_or_not(bool done)
{
    static char text[200];
    struct plait__holds_walk walk = plait__holds_of(other->base, plait__hold_of(4096, PLAIT__HOLD_COUNT));
    int count = 0;

    if (plait_arena_check(other, text, sizeof text))
        return text;
    while (plait__holds_next(&walk)) {
        count++;
        if (!plait__holds_is_orphan(&walk))
            return "a hold of the living";
    }
    if (count > PLAIT__HOLDS_IN_ROW + 1 || (done && count <= PLAIT__HOLDS_IN_ROW))
        return "too many or too few holds";
    plait__holds_forget(other->base, plait__hold_of(4096, PLAIT__HOLD_COUNT));
    take_holds_of_other();
    plait__member_leave(other->base);
    return plait_arena_check(other, text, sizeof text) ? text : NULL;
}

/* ---- Any of several: a lock, a permit, an event, an item; a second queue's place ---- */

enum { ANY_LOCK, ANY_SEM, ANY_EVENT, ANY_GET, ANY_PUT, ANY_ENTRIES };

static struct plait_wait_entry any_entries[ANY_ENTRIES];
static struct item any_item;
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
    any_entries[ANY_GET] = plait_any_queue_get(queue, &any_item);
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

/* ---- Once, latch, wait group ---- */

static void fresh_once(void)
{
    if (plait_once_init(&world->once, PLAIT_SHARED))
        abort();
    world->a = world->b = 0;
}

static int make_pair(void *unused)
{
    world->a = world->b + 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    world->b = world->a;
    return 0;
}

static void run_once(void)
{
    step_page->out = plait_once_run(&world->once, make_pair, NULL, PLAIT_FOREVER);
}

static const char *once_is_done_by_the_next(bool done)
{
    if (done && !plait_once_is_done(&world->once))
        return "what was done is not done";
    if (plait_once_run(&world->once, make_pair, NULL, plait_after(PATIENCE)))
        return "run failed";
    if (!plait_once_is_done(&world->once) || world->a != world->b || plait_once_fini(&world->once))
        return "it is not done";
    return checked();
}

static int once_helper(void *unused)
{
    return plait_once_run(&world->once, make_pair, NULL, plait_after(PATIENCE));
}

/* The child has entered; the helper waits for it. */
static void begin_once(void)
{
    plait_rlock_acquire(&world->once.running, PLAIT_FOREVER);
}

static void end_once(void)
{
    make_pair(NULL);
    plait_event_set(&world->once.done);
    plait_rlock_release(&world->once.running);
}

static const char *waiter_does_it(bool done)
{
    return helper_end_by(PATIENCE) ? "who waited for the runner hangs" : once_is_done_by_the_next(done);
}

static void latch_of_one(void)
{
    if (plait_latch_init(&world->latch, 1, PLAIT_SHARED))
        abort();
}

static void count_down(void)
{
    step_page->out = plait_latch_count_down(&world->latch, 1);
}

static int latch_helper(void *unused)
{
    return plait_latch_wait(&world->latch, plait_after(PATIENCE));
}

static const char *latch_lets_sleeper_through(bool done)
{
    unsigned left = plait_latch_count(&world->latch);

    if (left > 1 || (done && left > 0) || (left == 1 && plait_latch_count_down(&world->latch, 1)))
        return "the count is wrong";
    return helper_end_by(PATIENCE) ? "the sleeper was not let through" : checked();
}

static void group_of_one(void)
{
    if (plait_wait_group_init(&world->group, PLAIT_SHARED) || plait_wait_group_add(&world->group, 1))
        abort();
}

static void be_done(void)
{
    step_page->out = plait_wait_group_done(&world->group);
}

static int group_helper(void *unused)
{
    return plait_wait_group_wait(&world->group, plait_after(PATIENCE));
}

static const char *group_lets_sleeper_go(bool done)
{
    unsigned left = plait_wait_group_count(&world->group);

    if (left > 1 || (done && left > 0) || (left == 1 && plait_wait_group_done(&world->group)))
        return "the count is wrong";
    return helper_end_by(PATIENCE) ? "the sleeper was not woken" : checked();
}

/* ---- Arena ---- */

static void *block;

static void remember_use(void)
{
    used_before = used();
}

static void with_free_block(void)
{
    void *memory;

    if (plait_arena_alloc(arena, 700, &memory) || plait_arena_dealloc(arena, memory))
        abort();
    remember_use();
}

static void alloc_700(void)
{
    void *memory;

    step_page->out = plait_arena_alloc(arena, 700, &memory);
    if (step_page->out == 0)
        step_page->out = (long)plait__offset_in(arena->base, memory);
}

/* At most the one block that was being handed over is lost; give it back if we know it. */
static const char *alloc_loses_one_block_at_most(bool done)
{
    size_t now = used();
    void *memory;

    if (done && plait_arena_dealloc(arena, plait__at(arena->base, (uint64_t)step_page->out)))
        return "the block that was given out is none";
    if (done && used() != used_before)
        return "the use is wrong";
    if (now < used_before || now > used_before + 1024)
        return "the use is wrong";
    if (plait_arena_alloc(arena, 700, &memory) || plait_arena_dealloc(arena, memory))
        return "the allocator does not go on";
    return checked();
}

/* From the end of the heap, where memory has to be reserved first: no free block is that large. */
static const size_t top_size = 300 * 1024;

static void fresh_other(void)
{
    plait_arena_free(other);
    if (plait_arena_new(&other, &(struct plait_arena_opts){ .limit = 8 << 20, .participants = 8 }))
        abort();
}

static void alloc_at_top_of_other(void)
{
    uint64_t offset;

    step_page->out = plait__arena_alloc_raw(other->base, top_size, &offset);
}

static void take_part_in_other(void)
{
    struct plait__slot *slot;

    if (plait__member(other->base, &slot))
        _exit(3);
}

static const char *other_goes_on(bool done)
{
    static char text[200];
    void *memory;

    if (plait_arena_check(other, text, sizeof text))
        return text;
    if (plait_arena_alloc(other, top_size, &memory))
        return "the allocator does not go on";
    memset(memory, 1, top_size);
    return plait_arena_check(other, text, sizeof text) ? text : NULL;
}

/* No room at the top, and free blocks of other sizes: three neighbours whose pages were given back, then one in use. */
static void other_in_wrong_sizes(void)
{
    void *memory, *three[3];

    plait_arena_free(other);
    if (plait_arena_new(&other, &(struct plait_arena_opts){ .limit = 2 << 20, .participants = 8 }))
        abort();
    for (int i = 0; i < 3; i++)
        if (plait_arena_alloc(other, top_size, &three[i]))
            abort();
    while (plait_arena_alloc(other, top_size, &memory) == 0)
        ;
    while (plait_arena_alloc(other, 20000, &memory) == 0)
        ;
    for (int i = 0; i < 3; i++)
        if (plait_arena_dealloc(other, three[i]))
            abort();
    plait_arena_usage(other, &used_before, NULL, NULL);
}

static void cut_in_other(void)
{
    uint64_t offset;

    step_page->out = plait__arena_alloc_raw(other->base, 40000, &offset);
}

static void join_in_other(void)
{
    uint64_t offset;

    step_page->out = plait__arena_alloc_raw(other->base, 2 * top_size, &offset);
}

static const char *wrong_sizes_are_served(size_t bytes, bool done)
{
    static char text[200];
    size_t now;
    void *memory;

    if (plait_arena_check(other, text, sizeof text))
        return text;
    if (done && step_page->out)
        return "there was room, and it was not given";
    plait_arena_usage(other, &now, NULL, NULL);
    if (now != used_before && (now < used_before + bytes || now > used_before + bytes + bytes / 4 + 64))
        return "the use is wrong";
    if (now == used_before && done)
        return "the block that was given out is none";
    if (plait_arena_alloc(other, 200 * 1024, &memory)) /* beside it */
        return "the allocator does not go on";
    memset(memory, 1, 200 * 1024);
    return plait_arena_check(other, text, sizeof text) ? text : NULL;
}

static const char *small_one_is_cut_or_not(bool done)
{
    return wrong_sizes_are_served(40000, done);
}

static const char *large_one_is_joined_or_not(bool done)
{
    return wrong_sizes_are_served(2 * top_size, done);
}

static void small_block(void)
{
    remember_use();
    if (plait_arena_alloc(arena, 700, &block))
        abort();
}

static void free_block(void)
{
    step_page->out = plait_arena_dealloc(arena, block);
}

static const char *block_is_freed_or_not(bool done)
{
    int err = plait_arena_dealloc(arena, block);

    if (err != (done ? EINVAL : 0) && err != EINVAL)
        return "the block is neither free nor in use";
    return used() == used_before ? checked() : "the use is wrong";
}

static void large_block_of_other(void)
{
    fresh_other();
    if (plait_arena_alloc(other, 1 << 20, &block))
        abort();
}

static void free_block_of_other(void)
{
    step_page->out = plait_arena_dealloc(other, block);
}

/* A block whose pages went back to the system has them again when it is given out: a full system is no SIGBUS. */
static const char *pages_are_reserved_again(bool done)
{
    struct stat st;
    void *memory;
    int err = plait_arena_dealloc(other, block);
    uint64_t offset;

    if (err && err != EINVAL)
        return "the block is neither free nor in use";
    if (plait__arena_alloc_raw(other->base, 1 << 20, &offset))
        return "the allocator does not go on";
    memory = plait__at(other->base, offset);
    if (fstat(plait__arena_fd(other), &st) || (uint64_t)st.st_blocks * 512 < other->base->reserved)
        return "memory was given out that is not reserved";
    memset(memory, 1, 1 << 20);
    return other_goes_on(done);
}

static void without_name(void)
{
    if (!block && plait_arena_alloc(arena, 100, &block))
        abort();
    plait_arena_unpublish(arena, "it");
    remember_use();
}

static void with_name(void)
{
    without_name();
    if (plait_arena_publish(arena, "it", block))
        abort();
    remember_use();
}

static void publish_it(void)
{
    step_page->out = plait_arena_publish(arena, "it", block);
}

static void unpublish_it(void)
{
    step_page->out = plait_arena_unpublish(arena, "it");
}

static const char *name_is_there_or_not(bool expected_after)
{
    void *found = NULL;
    int err = plait_arena_lookup(arena, "it", &found);

    (void)expected_after;
    if (err == 0 && found != block)
        return "the name leads elsewhere";
    if (err && err != ENOENT)
        return "lookup failed";
    if (plait_arena_publish(arena, "it", block) != (err ? 0 : EEXIST))
        return "the name is neither free nor taken";
    if (used() > used_before + 128)
        return "memory is lost";
    return checked();
}

static const char *name_is_published_or_not(bool done)
{
    void *found;

    if (done && plait_arena_lookup(arena, "it", &found))
        return "the name that was published is lost";
    return name_is_there_or_not(done);
}

static const char *name_is_unpublished_or_not(bool done)
{
    void *found;

    if (done && plait_arena_lookup(arena, "it", &found) != ENOENT)
        return "the name is still there";
    return name_is_there_or_not(done);
}

/* ---- Membership: a table of two, for the test and one more ---- */

static void leave_other(void)
{
    plait__member_leave(other->base);
}

static void fresh_table_of_two(void)
{
    plait_arena_free(other);
    if (plait_arena_new(&other, &(struct plait_arena_opts){ .limit = 1 << 20, .participants = 2 }) ||
        plait_arena_usage(other, NULL, NULL, NULL))
        abort();
}

static int join_and_use(void *unused)
{
    void *memory;

    return plait_arena_alloc(other, 1, &memory);
}

static const char *a_place_is_free(bool done)
{
    static char text[200];

    if (plait_arena_check(other, text, sizeof text))
        return text;
    for (int i = 0; i < 2; i++)
        if (child_run(join_and_use, NULL))
            return "the table is full of the dead";
    return plait_arena_check(other, text, sizeof text) ? text : NULL;
}

/* ---- A named arena ---- */

static char arena_name[40], arena_file[60];

static int open_named(plait_arena_t **out, enum plait_open how)
{
    return plait_arena_new(out, &(struct plait_arena_opts){ .name = arena_name, .limit = 1 << 20, .participants = 8,
                                                            .open = how });
}

static void open_and_close_named(void)
{
    plait_arena_t *a;

    step_page->out = open_named(&a, PLAIT_OPEN_OR_CREATE);
    if (step_page->out == 0)
        step_page->out = plait_arena_free(a);
}

static const char *name_of_the_dead_is_free(bool done)
{
    plait_arena_t *a;
    void *memory;

    if (open_named(&a, PLAIT_OPEN) != ENOENT)
        return "an arena without users was opened";
    if (open_named(&a, PLAIT_CREATE))
        return "the name is not free";
    if (plait_arena_alloc(a, 1000, &memory) || plait_arena_check(a, NULL, 0))
        return "the arena made afresh is no good";
    if (plait_arena_free(a))
        return "closing failed";
    return access(arena_file, F_OK) == 0 ? "the file is left in /dev/shm" : NULL;
}

/* ---- The program's own memory ---- */

enum { OWN_SIZE = 256 * 1024 };

static void *own_memory;

static void fresh_memory(void)
{
    if (own_memory)
        munmap(own_memory, OWN_SIZE);
    own_memory = mmap(NULL, OWN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (own_memory == MAP_FAILED)
        abort();
}

static int make_of_memory(plait_arena_t **out)
{
    return plait_arena_new(out, &(struct plait_arena_opts){ .memory = own_memory, .memory_size = OWN_SIZE, .participants = 4 });
}

static void make_of_memory_and_close(void)
{
    plait_arena_t *a;

    step_page->out = make_of_memory(&a);
    if (step_page->out == 0)
        step_page->out = plait_arena_free(a);
}

static const char *memory_is_made_an_arena(bool done)
{
    static char text[200];
    plait_arena_t *a;
    void *memory;

    if (make_of_memory(&a))
        return "the memory is no arena, and cannot be made one";
    if (plait_arena_check(a, text, sizeof text))
        return text;
    if (plait_arena_alloc(a, 1000, &memory) || plait_arena_publish(a, "it", memory))
        return "the arena is no good";
    return plait_arena_free(a) ? "closing failed" : NULL;
}

/* ---- All of them ---- */

static const struct step_op ops[] = {
    { "harness notices a lock that is not robust", nothing, take_part, broken_add_one, NULL, broken_goes_on, true },
    { "lock acquire + release", nothing, take_part, add_one, NULL, lock_goes_on, false },
    { "lock release, with a sleeper", nothing, hold, let_go, lock_helper, sleeper_gets_lock, false },
    { "rwlock read acquire + release", fresh_rwlock, take_part, read_both, NULL, rwlock_goes_on_silently, false },
    { "rwlock write acquire + release", fresh_rwlock, take_part, write_both, NULL, rwlock_goes_on, false },
    { "rwlock write acquire + release, past a dead reader", rwlock_of_a_dead_reader, take_part, write_both, NULL,
      rwlock_goes_on, false },
    { "rwlock read release, with a sleeping writer", fresh_rwlock, start_reading, end_either, writing_helper_untold,
      sleeper_gets_rwlock, false },
    { "rwlock write release, with a sleeping reader", fresh_rwlock, start_writing, end_either, reading_helper,
      sleeper_gets_rwlock, false },
    { "rwlock write release, with a sleeping writer", fresh_rwlock, start_writing, end_either, writing_helper,
      sleeper_gets_rwlock, false },
    { "rwlock downgrade + release", fresh_rwlock, start_writing, write_then_read, NULL, rwlock_goes_on, false },
    { "rwlock downgrade + release, with a sleeping reader", fresh_rwlock, start_writing, write_then_read, reading_helper,
      sleeper_gets_rwlock, false },
    { "rwlock repair, downgrade, release", rwlock_of_a_dead_writer, take_part, read_or_repair, NULL, rwlock_goes_on, false },
    { "rlock acquire + release, two levels", nothing, take_part, add_one_at_depth, NULL, rlock_goes_on, false },
    { "rlock release, two levels, with a sleeper", nothing, hold_rlock, let_rlock_go, rlock_helper, sleeper_gets_rlock,
      false },
    { "sem acquire", five_permits, take_part, take_permit, NULL, permit_is_taken_or_not, false },
    { "sem release", five_permits, take_part, give_permit, NULL, permit_is_given_or_not, false },
    { "sem release, with a sleeper", no_permit, NULL, give_permit, sem_helper, sleeper_gets_permit, false },
    { "owned sem acquire", fresh_owned, know_myself, take_owned, NULL, all_permits_are_back, false },
    { "owned sem release", fresh_owned, have_owned, give_owned, NULL, all_permits_are_back, false },
    { "owned sem release, with a sleeper", fresh_owned, have_owned, give_owned, owned_helper, sleeper_gets_owned, false },
    { "owned sem repair", owned_of_a_dead_guard, know_myself, take_owned, NULL, all_permits_are_back, false },
    { "cancel set, with a sleeper", fresh_token, NULL, set_token, token_helper, sleeper_is_cancelled, false },
    { "cancel set_deadline, with a sleeper", fresh_token, NULL, give_deadline, token_helper,
      sleeper_is_cancelled_by_deadline, false },
    { "cancel is_set, when the time has come", token_whose_time_has_come, NULL, look_at_token, NULL,
      token_stays_set, false },
    { "queue put, bounded", ring_with_room, prepare_item, put_item, NULL, item_is_put_or_not, false },
    { "queue put, bounded, new lap", ring_at_its_end, prepare_item, put_item, NULL, item_is_put_or_not, false },
    { "queue put, bounded, with a sleeper", empty_ring, prepare_item, put_item, get_helper,
      sleeper_gets_item, false },
    { "queue put, unbounded", chain_with_room, prepare_item, put_item, NULL, item_is_put_or_not, false },
    { "queue put, unbounded, new segment", chain_at_its_end, prepare_item, put_item, NULL,
      item_is_put_or_not, false },
    { "queue put, unbounded, new segment, getters first", chain_at_its_end, prepare_item, put_item, NULL,
      item_is_put_or_not_to_getters, false },
    { "queue get, bounded", ring_with_room, take_part, get_item, NULL, item_is_got_or_not, false },
    { "queue get, unbounded", chain_with_room, take_part, get_item, NULL, item_is_got_or_not, false },
    { "queue get, unbounded, next segment", chain_to_be_shortened, take_part, get_item,
      NULL, item_is_got_or_not, false },
    { "cond wait, timed out", fresh_cond, take_part, wait_a_moment, NULL, cond_is_left, false },
    { "cond notify, with a sleeper", fresh_cond, NULL, notify_one, cond_helper, sleeper_is_notified, false },
    { "cond repair", cond_of_a_dead_guard, take_part, notify_one, NULL, cond_is_left, false },
    { "barrier wait, as the last", fresh_barrier, be_a_party, pass_barrier, barrier_helper,
      party_passes_or_is_told, false },
    { "barrier wait, as the last, with an action", fresh_barrier, be_a_party, pass_barrier_with_action, barrier_helper,
      party_passes_or_is_told, false },
    { "barrier wait, in vain", fresh_barrier, be_a_party, pass_barrier_in_vain, NULL, barrier_breaks, false },
    { "barrier abort, with a sleeper", fresh_barrier, be_a_party, abort_barrier, barrier_helper,
      parties_are_let_go, false },
    { "barrier reset, with a sleeper", fresh_barrier, be_a_party, reset_barrier, barrier_helper,
      parties_are_let_go, false },
    { "holds, more than a row", fresh_other, take_part_in_other, take_holds_of_other, NULL,
      holds_are_orphans_or_not, false },
    { "any, timed out", nothing_for_any, prepare_item, wait_for_any, any_helper, any_goes_on, false },
    { "any, a lock", lock_for_any, prepare_item, wait_for_any, NULL, any_took_the_lock, false },
    { "any, a permit", permit_for_any, prepare_item, wait_for_any, NULL, any_took_the_permit, false },
    { "any, an item", item_for_any, prepare_item, wait_for_any, NULL, any_took_the_item, false },
    { "any, a place", place_for_any, prepare_item, wait_for_any, NULL, any_took_the_place, false },
    { "cond notify under the lock, with a sleeper", fresh_cond, take_part, notify_under_lock, cond_helper,
      sleeper_is_notified, false },
    { "once run", fresh_once, take_part, run_once, NULL, once_is_done_by_the_next, false },
    { "once, end of a run, with a sleeper", fresh_once, begin_once, end_once, once_helper, waiter_does_it, false },
    { "latch count_down, with a sleeper", latch_of_one, NULL, count_down, latch_helper, latch_lets_sleeper_through, false },
    { "wait group done, with a sleeper", group_of_one, NULL, be_done, group_helper, group_lets_sleeper_go, false },
    { "arena alloc, from a free list", with_free_block, take_part, alloc_700,
      NULL, alloc_loses_one_block_at_most, false },
    { "arena alloc, from the top", fresh_other, take_part_in_other, alloc_at_top_of_other, NULL,
      other_goes_on, false },
    { "arena alloc, cut from a larger", other_in_wrong_sizes, take_part_in_other, cut_in_other, NULL,
      small_one_is_cut_or_not, false },
    { "arena alloc, neighbours joined", other_in_wrong_sizes, take_part_in_other, join_in_other, NULL,
      large_one_is_joined_or_not, false },
    { "arena dealloc", small_block, take_part, free_block, NULL, block_is_freed_or_not, false },
    { "arena dealloc, large", large_block_of_other, take_part_in_other, free_block_of_other, NULL,
      pages_are_reserved_again, false },
    { "arena publish", without_name, take_part, publish_it, NULL, name_is_published_or_not, false },
    { "arena unpublish", with_name, take_part, unpublish_it, NULL, name_is_unpublished_or_not, false },
    { "join", fresh_table_of_two, NULL, take_part_in_other, NULL, a_place_is_free, false },
    { "leave", fresh_table_of_two, take_part_in_other, leave_other, NULL, a_place_is_free, false },
    { "own memory, made an arena", fresh_memory, NULL, make_of_memory_and_close, NULL, memory_is_made_an_arena, false },
    { "named arena, open + close", nothing, NULL, open_and_close_named, NULL, name_of_the_dead_is_free, false },
    /* The last ones: they change the lock. */
    { "lock with priorities, acquire + release", lend_priority, take_part, add_one, NULL, lock_goes_on, false },
    { "lock with priorities, release, with a sleeper", lend_priority, hold, let_go, lock_helper, sleeper_gets_lock, false },
};

enum { OPS = sizeof ops / sizeof ops[0] };

static int make(void **state)
{
    const struct step_op *op = *state;

    block = NULL;
    if (plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 64 << 20, .participants = 16 }) ||
        plait_arena_alloc(arena, sizeof *world, (void **)&world) || plait_lock_init(&world->lock, PLAIT_SHARED) ||
        plait_rlock_init(&world->rlock, PLAIT_SHARED))
        return 1;
    return op ? 0 : 1;
}

static int drop(void **state)
{
    alarm(0);
    if (block && plait_arena_of(block) == NULL && (void *)plait_arena_of(&other->base) == block)
        plait_arena_free(block);
    return plait_arena_free(arena);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[OPS];
    int failed;

    /* String instructions would be stepped byte by byte. */
    if (!getenv("GLIBC_TUNABLES")) {
        setenv("GLIBC_TUNABLES",
               "glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000", 1);
        execv("/proc/self/exe", argv);
    }
    step_soak = argc > 1 && strcmp(argv[1], "--soak") == 0;
    step_seed = argc > 1 + step_soak ? (unsigned)atoi(argv[1 + step_soak]) : (unsigned)time(NULL);
    signal(SIGALRM, step_hangs);
    snprintf(arena_name, sizeof arena_name, "step-%d", (int)getpid());
    snprintf(arena_file, sizeof arena_file, "/dev/shm/plait.%s", arena_name);
    step_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (step_page == MAP_FAILED)
        return 99;
    if (!step_is_possible()) {
        print_message("ptrace is refused here: skipped\n");
        return 77;
    }
    print_message("seed %u\n", step_seed);
    for (size_t i = 0; i < OPS; i++)
        tests[i] = (struct CMUnitTest){ ops[i].name, step_through, make, drop, (void *)(uintptr_t)&ops[i] };
    failed = cmocka_run_group_tests_name("single_step", tests, NULL, NULL);
    print_message("%lu kills, %lu steps\n", kills_made, steps_taken);
    return failed;
}
