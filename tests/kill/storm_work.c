/* SPDX-License-Identifier: MIT */
/* What the victims of the storm do. */
#include "kill/storm.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <signal.h>
#include <unistd.h>

struct worker_page *me;
unsigned my_seed;

static int owned(plait_lock_t *lock)
{
    int err = plait_lock_acquire(lock, PLAIT_FOREVER);

    return err;
}

static void count_and_release(int err)
{
    REQUIRE(err == 0 || err == EOWNERDEAD);
    if (err == EOWNERDEAD) {
        shared->mended += shared->a != shared->b;
        shared->b = shared->a;
        REQUIRE(plait_lock_consistent(&shared->lock) == 0);
    }
    REQUIRE(shared->a == shared->b);
    shared->a++;
    for (volatile int i = 0; i < 20000; i++) /* a good moment to be killed */
        ;
    shared->b++;
    REQUIRE(plait_lock_release(&shared->lock) == 0);
}

/* As a reader, or as a writer; told of a death, it mends, and goes on as a reader. */
void use_rwlock(bool write)
{
    int err = (write ? plait_rwlock_acquire_write : plait_rwlock_acquire_read)(&shared->rwlock, PLAIT_FOREVER);

    REQUIRE(err == 0 || err == EOWNERDEAD);
    if (err == EOWNERDEAD) {
        shared->f = shared->e;
        REQUIRE(plait_rwlock_consistent(&shared->rwlock) == 0);
        REQUIRE(plait_rwlock_downgrade(&shared->rwlock) == 0);
        write = false;
    }
    REQUIRE(shared->e == shared->f);
    if (write)
        shared->e++;
    for (volatile int i = 0; i < 5000; i++) /* a good moment to be killed */
        ;
    if (write)
        shared->f++;
    REQUIRE(shared->e == shared->f);
    REQUIRE(plait_rwlock_release(&shared->rwlock) == 0);
}

void use_lock(void)
{
    count_and_release(owned(&shared->lock));
}

static void use_put(plait_queue_t *queue)
{
    uint32_t item = __atomic_fetch_add(&record->next_item, 1, __ATOMIC_RELAXED);
    struct message m = { item, ~item, { 0 } };
    int err;

    if (item >= ITEMS_MAX)
        return;
    memset(m.rest, (int)item, sizeof m.rest);
    __atomic_fetch_or(&record->items[item], PUT_TRIED, __ATOMIC_RELAXED);
    if (plait_queue_kind(queue) == PLAIT_PRIORITY)
        err = plait_queue_put_priority(queue, &m, rand_r(&my_seed) % 4, plait_after(0.001));
    else if (plait_queue_kind(queue) == PLAIT_DEQUE && rand_r(&my_seed) % 2)
        err = plait_queue_put_front(queue, &m, plait_after(0.001));
    else
        err = plait_queue_put(queue, &m, plait_after(0.001));
    REQUIRE(err == 0 || err == ETIMEDOUT || err == ENOSPC);
    if (err == 0)
        __atomic_fetch_or(&record->items[item], PUT_RETURNED, __ATOMIC_RELAXED);
}

static bool message_is_whole(const struct message *m)
{
    for (size_t i = 0; i < sizeof m->rest; i++)
        if (m->rest[i] != (char)m->item)
            return false;
    return m->check == ~m->item && m->item < ITEMS_MAX;
}

static void note(const struct message *m)
{
    REQUIRE(message_is_whole(m));
    if (__atomic_fetch_or(&record->items[m->item], GOT, __ATOMIC_SEQ_CST) & GOT)
        __atomic_fetch_or(&record->items[m->item], GOT_TWICE, __ATOMIC_RELAXED);
}

void use_get(plait_queue_t *queue, plait_time_t deadline)
{
    struct message m;
    int err;

    __atomic_store_n(&me->in_get, 1, __ATOMIC_SEQ_CST);
    if (plait_queue_kind(queue) == PLAIT_DEQUE && rand_r(&my_seed) % 2)
        err = plait_queue_get_back(queue, &m, deadline);
    else
        err = plait_queue_get(queue, &m, deadline);
    REQUIRE(err == 0 || err == ETIMEDOUT);
    if (err == 0)
        note(&m);
    __atomic_store_n(&me->in_get, 0, __ATOMIC_SEQ_CST);
}

/* The first of two items, a permit and the lock. */
static void use_any(void)
{
    struct message m;
    struct plait_wait_entry entries[] = {
        plait_any_queue_get(queues[0], &m),
        plait_any_queue_get(queues[1], &m),
        plait_any_sem_acquire(&shared->sem, 1),
        plait_any_lock_acquire(&shared->lock),
    };
    size_t which;
    int err;

    __atomic_store_n(&me->in_get, 1, __ATOMIC_SEQ_CST);
    err = plait_wait_any(entries, 4, &which, plait_after(0.0003));
    REQUIRE(err == 0 || (err == ETIMEDOUT && which == 4) || (err == EOWNERDEAD && which == 3));
    if (which < 2)
        note(&m);
    __atomic_store_n(&me->in_get, 0, __ATOMIC_SEQ_CST);
    if (which == 2)
        REQUIRE(plait_sem_release(&shared->sem, 1) == 0);
    if (which == 3)
        count_and_release(err);
}

static int lock_stock(void)
{
    int err = owned(&shared->stock_lock);

    if (err == EOWNERDEAD)
        err = plait_lock_consistent(&shared->stock_lock);
    return err;
}

static void use_wait(void)
{
    plait_time_t deadline = plait_after(0.0003);
    int err;

    REQUIRE(lock_stock() == 0);
    while (shared->stock == 0) {
        err = plait_cond_wait(&shared->arrived, &shared->stock_lock, deadline);
        REQUIRE(err == 0 || err == ETIMEDOUT || err == EOWNERDEAD);
        if (err == EOWNERDEAD)
            REQUIRE(plait_lock_consistent(&shared->stock_lock) == 0);
        if (err == ETIMEDOUT)
            break;
    }
    if (shared->stock > 0)
        shared->stock--;
    REQUIRE(plait_lock_release(&shared->stock_lock) == 0);
}

static void use_notify(void)
{
    REQUIRE(lock_stock() == 0);
    shared->stock += shared->stock < 10;
    REQUIRE(plait_cond_notify(&shared->arrived, 1) == 0);
    REQUIRE(plait_lock_release(&shared->stock_lock) == 0);
}

static void use_sem(void)
{
    int err = plait_sem_acquire(&shared->sem, 1, plait_after(0.0003));

    /* Nothing there: the killed have taken the permits along; here is a new one. */
    REQUIRE(err == 0 || err == ETIMEDOUT);
    REQUIRE(plait_sem_release(&shared->sem, 1) == 0);
}

/* The killed take none along, so those who live always get some: in a second at the latest. */
static void use_owned(void)
{
    unsigned count = 1 + (unsigned)rand_r(&my_seed) % (OWNED_PERMITS - 1);
    int err = plait_sem_acquire(&shared->owned, count, plait_after(1.5));

    REQUIRE(err == 0);
    REQUIRE(plait_sem_value(&shared->owned) <= OWNED_PERMITS - count);
    REQUIRE(plait_sem_release(&shared->owned, count) == 0);
}

/* Two of those who live and come at one time pass; a death breaks it, and whoever sees that makes it whole. */
static void use_barrier(void)
{
    unsigned index = 2;
    int err = plait_barrier_wait(&shared->barrier, &index, plait_after(0.0005));

    REQUIRE(err == 0 ? index < 2 : err == ETIMEDOUT || err == EPIPE || err == EOWNERDEAD);
    if (err == 0)
        __atomic_fetch_add(&record->passed[index], 1, __ATOMIC_RELAXED);
    else
        REQUIRE(plait_barrier_reset(&shared->barrier) == 0);
}

/* At two levels, with a wait in between that gives both up; who comes by wakes all, some of whom are moved to the rlock. */
static void use_rlock(void)
{
    int err = plait_rlock_acquire(&shared->rlock, PLAIT_FOREVER);

    REQUIRE(err == 0 || err == EOWNERDEAD);
    if (err == EOWNERDEAD) {
        shared->d = shared->c;
        REQUIRE(plait_rlock_consistent(&shared->rlock) == 0);
    }
    REQUIRE(plait_rlock_acquire(&shared->rlock, PLAIT_NOW) == 0);
    REQUIRE(plait_rlock_depth(&shared->rlock) == 2 && shared->c == shared->d);
    shared->c++;
    for (volatile int i = 0; i < 1000; i++)
        ;
    shared->d++;
    REQUIRE(plait_cond_notify_all(&shared->turned) == 0);
    err = plait_cond_wait(&shared->turned, &shared->rlock.lock, plait_after(0.0003));
    REQUIRE(err == 0 || err == ETIMEDOUT || err == EOWNERDEAD);
    if (err == EOWNERDEAD) {
        shared->d = shared->c;
        REQUIRE(plait_rlock_consistent(&shared->rlock) == 0);
    }
    REQUIRE(plait_rlock_depth(&shared->rlock) == 2 && shared->c == shared->d);
    REQUIRE(plait_rlock_release(&shared->rlock) == 0 && plait_rlock_release(&shared->rlock) == 0);
}

static void use_memory(void)
{
    size_t size = 1 + (unsigned)rand_r(&my_seed) % 900;
    unsigned char *memory;
    int err = plait_arena_alloc(arena, size, (void **)&memory);

    REQUIRE(err == 0 || err == ENOSPC);
    if (err)
        return;
    REQUIRE(memory[0] == 0 && memory[size - 1] == 0);
    memset(memory, 0xa5, size);
    REQUIRE(plait_arena_dealloc(arena, memory) == 0);
}

/* Set, cleared, or waited for without end: the killer sets it all the time. In slices only so that it ends with the storm. */
static void use_event(void)
{
    unsigned what = (unsigned)rand_r(&my_seed) % 4;
    int err;

    if (what == 0) {
        REQUIRE(plait_event_set(&shared->event) == 0);
        return;
    }
    if (what == 1)
        REQUIRE(plait_event_clear(&shared->event) == 0);
    do
        err = plait_event_wait(&shared->event, plait_after(5));
    while (err == ETIMEDOUT && !__atomic_load_n(&record->stop, __ATOMIC_RELAXED));
    REQUIRE(err == 0 || err == ETIMEDOUT);
}

enum { OPERATIONS = 35 };

static void operate(unsigned operation)
{
    switch (operation) {
    case 0: use_lock(); break;
    case 1: use_put(queues[0]); break;
    case 2: use_put(queues[1]); break;
    case 3: use_get(queues[0], plait_after(0.0003)); break;
    case 4: use_get(queues[1], plait_after(0.0003)); break;
    case 5: use_get(queues[1], PLAIT_NOW); break;
    case 6: use_wait(); break;
    case 7: use_notify(); break;
    case 8: use_sem(); break;
    case 9: use_owned(); break;
    case 10: use_barrier(); break;
    case 11: use_rlock(); break;
    case 12: use_any(); break;
    case 13: use_rwlock(false); break;
    case 14: use_rwlock(true); break;
    case 15: use_event(); break;
    case 16: use_once(); break;
    case 17: use_latch(); break;
    case 18: use_group(); break;
    case 19: use_token(false); break;
    case 20: use_token(true); break;
    case 21: renew_rounds(); break;
    case 22: use_put(queues[2]); break;
    case 23: use_get(queues[2], plait_after(0.0003)); break;
    case 24: use_put(queues[3]); break;
    case 25: use_get(queues[3], plait_after(0.0003)); break;
    case 26: use_put(queues[4]); break;
    case 27: use_get(queues[4], plait_after(0.0003)); break;
    case 28: use_job_put(); break;
    case 29: use_job(plait_after(0.0003)); break;
    case 30: use_dict(); break;
    case 31: use_list(); break;
    case 32: use_latest(); break;
    case 33: rand_r(&my_seed) % 2 ? use_array() : use_broadcast(); break;
    default: use_memory(); break;
    }
}

int work(void *page)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    me = page;
    my_seed = seed ^ (unsigned)getpid() * 2654435761u;
    while (!__atomic_load_n(&record->stop, __ATOMIC_RELAXED) && !me->fault) {
        unsigned operation = (unsigned)rand_r(&my_seed) % OPERATIONS;

        __atomic_store_n(&me->operation, operation, __ATOMIC_RELAXED);
        operate(operation);
        __atomic_fetch_add(&me->beats, 1, __ATOMIC_RELAXED);
    }
    return 0;
}
