/* SPDX-License-Identifier: MIT */
/*
 * Workers use everything that is shared while a killer ends them at random moments, and replaces them. What must hold:
 * whoever is left makes progress all the time; every item that was put is got once, but for those in the hands of the
 * killed; the counters under the lock agree; the arena is whole in the end, and has not grown beyond a block for each
 * kill. Usage: kill_storm [--soak] [SEED]; PLAIT_SOAK_SECONDS.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include <plait.h>

#include "arena/arena.h"
#include "support/child.h"
#include "support/cmocka.h"

enum {
    WORKERS = 6,
    KILLS_SHORT = 10000,
    ITEMS_MAX = 1 << 22,       /* items that can be told apart */
    SECONDS_WITHOUT_PROGRESS = 2, /* of a machine that runs: see watched */
    BLOCK_LOST_BYTES = 1024    /* at most, for each kill */
};

/* What may be said of an item, in its byte of the record. Set by whoever does it, before and after. */
enum {
    PUT_TRIED = 1,    /* its number was drawn; it may be in the queue */
    PUT_RETURNED = 2, /* it is in the queue, or was */
    GOT = 4,
    GOT_TWICE = 8
};

struct worker_page {
    uint64_t beats;       /* operations done by whoever has the place */
    uint32_t in_get;      /* 1: between the start of a get and its record */
    uint32_t operation;   /* what it is doing: for the report of a hang */
    int32_t fault;        /* a line number, when something was wrong */
    uint32_t spare;
    uint64_t lost_gets;   /* parent: how often one was killed in_get */
};

static struct record {
    struct worker_page workers[WORKERS];
    uint32_t next_item;      /* atomic */
    uint32_t stop;           /* atomic: workers end when they see it */
    uint32_t passed[2];      /* atomic: how often each index of the barrier was given */
    unsigned char items[ITEMS_MAX];
} *record;

struct message {
    uint32_t item, check;
    char rest[240];
};

static struct shared {
    plait_lock_t lock;
    long a, b;       /* guarded by lock; a == b */
    long mended;     /* guarded by lock: how often it was not */
    plait_rlock_t rlock;
    plait_cond_t turned;
    long c, d;       /* guarded by rlock; c == d */
    plait_lock_t stock_lock;
    plait_cond_t arrived;
    int stock;       /* guarded by stock_lock */
    plait_sem_t sem;
    plait_rwlock_t rwlock;
    long e, f;       /* guarded by rwlock; e == f */
    plait_sem_t owned;
    plait_barrier_t barrier;
} *shared;

static plait_arena_t *arena;
static plait_queue_t *queues[2]; /* bounded, unbounded */
static unsigned seed;
static bool soak;

/* ---- A worker ---- */

static struct worker_page *me;
static unsigned my_seed;

#define REQUIRE(c) \
    do { \
        if (!(c)) { \
            __atomic_store_n(&me->fault, __LINE__, __ATOMIC_RELAXED); \
            return; \
        } \
    } while (0)

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
static void use_rwlock(bool write)
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

static void use_lock(void)
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

static void use_get(plait_queue_t *queue, plait_time_t deadline)
{
    struct message m;
    int err;

    __atomic_store_n(&me->in_get, 1, __ATOMIC_SEQ_CST);
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

enum { OWNED_PERMITS = 4 };

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
    default: use_memory(); break;
    }
}

static int work(void *arg)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    me = arg;
    my_seed = seed ^ (unsigned)getpid() * 2654435761u;
    while (!__atomic_load_n(&record->stop, __ATOMIC_RELAXED) && !me->fault) {
        unsigned operation = (unsigned)rand_r(&my_seed) % 16;

        __atomic_store_n(&me->operation, operation, __ATOMIC_RELAXED);
        operate(operation);
        __atomic_fetch_add(&me->beats, 1, __ATOMIC_RELAXED);
    }
    return 0;
}

/* ---- The killer ---- */

static pid_t pids[WORKERS];
static unsigned long kills;
static plait_time_t longest; /* without progress, of any worker that lived */

/* Time that counts: a pause of the killer's own, when the whole machine stood still, is 50 milliseconds at most. */
static plait_time_t watch(void)
{
    static plait_time_t watched = 1, last;
    plait_time_t now = plait_now(), gap = last ? now - last : 0;

    last = now;
    return watched += gap < 50000000 ? gap : 50000000;
}

/* Everybody's heart must beat: a worker that stands still is a hang. */
static bool all_are_alive(uint64_t *seen, plait_time_t *since)
{
    plait_time_t now = watch();

    for (int i = 0; i < WORKERS; i++) {
        uint64_t beats = __atomic_load_n(&record->workers[i].beats, __ATOMIC_RELAXED);

        if (since[i] && now - since[i] > longest)
            longest = now - since[i];
        if (beats != seen[i] || since[i] == 0) {
            seen[i] = beats;
            since[i] = now;
        } else if (now - since[i] > SECONDS_WITHOUT_PROGRESS * (plait_time_t)1000000000) {
            print_error("worker %d stands still in operation %u\n", i, record->workers[i].operation);
            return false;
        }
        if (record->workers[i].fault) {
            print_error("worker %d found a fault at line %d\n", i, record->workers[i].fault);
            return false;
        }
    }
    return true;
}

static void bury(int i)
{
    child_kill(pids[i]);
    if (__atomic_exchange_n(&record->workers[i].in_get, 0, __ATOMIC_SEQ_CST))
        record->workers[i].lost_gets++;
}

/* A pause of random length spreads the kills over the operations; it synchronises nothing. */
static void pause_at_random(void)
{
    struct timespec pause = { 0, (long)((unsigned)rand_r(&seed) % 3000) * 1000 };

    nanosleep(&pause, NULL);
}

static bool storm(plait_time_t until, unsigned long most)
{
    uint64_t seen[WORKERS] = { 0 };
    plait_time_t since[WORKERS] = { 0 };

    while (plait_now() < until && kills < most) {
        int victim = (int)((unsigned)rand_r(&seed) % WORKERS);

        pause_at_random();
        bury(victim);
        kills++;
        since[victim] = 0;
        pids[victim] = child_start(work, &record->workers[victim]);
        if (!all_are_alive(seen, since))
            return false;
    }
    return true;
}

/* ---- The reckoning ---- */

struct sums {
    unsigned long tried, returned, got, twice, invented, missing, lost_gets;
};

static struct sums reckon(void)
{
    struct sums s = { 0 };

    for (uint32_t i = 0; i < record->next_item && i < ITEMS_MAX; i++) {
        unsigned char r = record->items[i];

        s.tried += (r & PUT_TRIED) != 0;
        s.returned += (r & PUT_RETURNED) != 0;
        s.got += (r & GOT) != 0;
        s.twice += (r & GOT_TWICE) != 0;
        s.invented += (r & GOT) && !(r & PUT_TRIED);
        s.missing += (r & PUT_RETURNED) && !(r & GOT);
    }
    for (int i = 0; i < WORKERS; i++)
        s.lost_gets += record->workers[i].lost_gets;
    return s;
}

static int empty_queues(void)
{
    for (int i = 0; i < 2; i++) {
        while (plait_queue_qsize(queues[i]) > 0) {
            use_get(queues[i], plait_after(1));
            if (me->fault)
                return me->fault;
        }
        use_get(queues[i], PLAIT_NOW); /* the last, if the size was behind */
    }
    return me->fault;
}

static int make(void **state)
{
    const struct plait_queue_opts opts[2] = {
        { .item_size = sizeof(struct message), .maxsize = 10 },
        { .item_size = sizeof(struct message) },
    };

    record = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (record == MAP_FAILED ||
        plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 256 << 20, .participants = 64 }) ||
        plait_arena_alloc(arena, sizeof *shared, (void **)&shared))
        return 1;
    for (int i = 0; i < 2; i++) {
        struct plait_queue_opts o = opts[i];

        o.arena = arena;
        if (plait_queue_new(&queues[i], &o))
            return 1;
    }
    return plait_lock_init(&shared->lock, PLAIT_SHARED) || plait_lock_init(&shared->stock_lock, PLAIT_SHARED) ||
           plait_cond_init(&shared->arrived, PLAIT_SHARED) || plait_sem_init(&shared->sem, 3, PLAIT_SHARED) ||
           plait_sem_init(&shared->owned, OWNED_PERMITS, PLAIT_SHARED | PLAIT_OWNED) ||
           plait_barrier_init(&shared->barrier, 2, PLAIT_SHARED) ||
           plait_rwlock_init(&shared->rwlock, PLAIT_SHARED) ||
           plait_rlock_init(&shared->rlock, PLAIT_SHARED) || plait_cond_init(&shared->turned, PLAIT_SHARED);
}

static int drop(void **state)
{
    plait_queue_free(queues[0]);
    plait_queue_free(queues[1]);
    munmap(record, sizeof *record);
    return plait_arena_free(arena);
}

static void storm_leaves_the_survivors_able_to_go_on(void **state)
{
    const char *seconds = getenv("PLAIT_SOAK_SECONDS");
    plait_time_t until = plait_after(soak && seconds ? atof(seconds) : 90);
    size_t used_before, used_after;
    char text[200] = "";
    struct sums s;
    bool alive;
    int err;

    assert_int_equal(plait_arena_usage(arena, &used_before, NULL, NULL), 0);
    for (int i = 0; i < WORKERS; i++)
        pids[i] = child_start(work, &record->workers[i]);
    alive = storm(until, soak ? ULONG_MAX : KILLS_SHORT);
    if (!alive)
        for (int i = 0; i < WORKERS; i++)
            child_kill(pids[i]);
    assert_true(alive);
    __atomic_store_n(&record->stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(child_end(pids[i]), 0);
        assert_int_equal(record->workers[i].fault, 0);
    }
    me = &record->workers[0];
    err = empty_queues();
    s = reckon();
    print_message("%lu kills; items: %lu tried, %lu put, %lu got, %lu in the hands of the killed (of %lu killed in a get)\n",
                  kills, s.tried, s.returned, s.got, s.missing, s.lost_gets);
    print_message("counters %ld, mended %ld times; longest without progress: %.3f s\n", shared->a, shared->mended,
                  (double)longest / 1e9);
    assert_int_equal(err, 0);
    assert_int_equal(s.twice, 0);
    assert_int_equal(s.invented, 0);
    assert_true(s.missing <= s.lost_gets);
    print_message("barrier: index 0 %u times, 1 %u times\n", record->passed[0], record->passed[1]);
    assert_true(record->passed[0] > 0);
    assert_true(labs((long)record->passed[0] - (long)record->passed[1]) <= (long)kills);
    plait_barrier_reset(&shared->barrier);
    assert_int_equal(plait_barrier_wait(&shared->barrier, NULL, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_barrier_fini(&shared->barrier), 0);
    use_lock();
    use_rwlock(true);
    assert_int_equal(me->fault, 0);
    assert_int_equal(plait_rwlock_fini(&shared->rwlock), 0);
    assert_int_equal(plait_sem_acquire(&shared->owned, OWNED_PERMITS, PLAIT_NOW), 0);
    assert_int_equal(plait_sem_release(&shared->owned, OWNED_PERMITS), 0);
    if (plait_arena_check(arena, text, sizeof text))
        fail_msg("%s", text);
    assert_int_equal(plait_arena_usage(arena, &used_after, NULL, NULL), 0);
    print_message("%zu bytes used before, %zu after\n", used_before, used_after);
    assert_true(used_after <= used_before + kills * BLOCK_LOST_BYTES + (64 << 10));
    assert_true(soak || kills >= 2000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(storm_leaves_the_survivors_able_to_go_on, make, drop),
    };
    int failed;

    soak = argc > 1 && strcmp(argv[1], "--soak") == 0;
    seed = argc > 1 + soak ? (unsigned)atoi(argv[1 + soak]) : (unsigned)time(NULL);
    print_message("seed %u\n", seed);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    print_message("%lu kills\n", kills);
    return failed;
}
