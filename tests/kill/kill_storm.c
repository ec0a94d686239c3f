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
#include "kill/storm.h"
#include "support/child.h"
#include "support/cmocka.h"

enum {
    KILLS_SHORT = 10000,
    KILLS_SHORT_MIN = 2000,       /* on a slow machine the time is over first */
    KILLS_SOAK = 10000,           /* at least */
    SECONDS_WITHOUT_PROGRESS = 2, /* of a machine that runs: see watched */
    BLOCK_LOST_BYTES = 1024       /* at most, for each kill */
};

struct record *record;
struct shared *shared;
plait_arena_t *arena;
plait_queue_t *queues[QUEUES];
unsigned seed;
static bool soak;

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
            print_error("worker %d found a fault at %s:%d\n", i, record->workers[i].file, record->workers[i].fault);
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
        plait_event_set(&shared->event);
        if (!all_are_alive(seen, since))
            return false;
    }
    return true;
}

/* ---- The reckoning ---- */

struct sums {
    unsigned long tried, returned, got, twice, invented, missing, lost_gets;
};

static void add_up(struct sums *s, const unsigned char *items, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        unsigned char r = items[i];

        s->tried += (r & PUT_TRIED) != 0;
        s->returned += (r & PUT_RETURNED) != 0;
        s->got += (r & GOT) != 0;
        s->twice += (r & GOT_TWICE) != 0;
        s->invented += (r & GOT) && !(r & PUT_TRIED);
        s->missing += (r & PUT_RETURNED) && !(r & GOT);
    }
}

static struct sums reckon(void)
{
    struct sums s = { 0 };

    add_up(&s, record->items, record->next_item < ITEMS_MAX ? record->next_item : ITEMS_MAX);
    add_up(&s, record->jobs, record->next_job < JOBS_MAX ? record->next_job : JOBS_MAX);
    for (int i = 0; i < WORKERS; i++)
        s.lost_gets += record->workers[i].lost_gets;
    return s;
}

static int empty_queues(void)
{
    for (int i = 0; i < QUEUES; i++) {
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
    const struct plait_queue_opts opts[QUEUES] = {
        { .item_size = sizeof(struct message), .maxsize = 10 },
        { .item_size = sizeof(struct message) },
        { .item_size = sizeof(struct message), .maxsize = 10, .kind = PLAIT_LIFO },
        { .item_size = sizeof(struct message), .maxsize = 10, .kind = PLAIT_PRIORITY },
        { .item_size = sizeof(struct message), .maxsize = 10, .kind = PLAIT_DEQUE },
    };

    record = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (record == MAP_FAILED ||
        plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 256 << 20, .participants = 64 }) ||
        plait_arena_alloc(arena, sizeof *shared, (void **)&shared))
        return 1;
    for (int i = 0; i < QUEUES; i++) {
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
           plait_rlock_init(&shared->rlock, PLAIT_SHARED) || plait_cond_init(&shared->turned, PLAIT_SHARED) ||
           plait_event_init(&shared->event, PLAIT_SHARED) || make_rounds() || make_containers();
}

static int drop(void **state)
{
    for (int i = 0; i < QUEUES; i++)
        plait_queue_free(queues[i]);
    munmap(record, sizeof *record);
    return plait_arena_free(arena);
}

static void storm_leaves_the_survivors_able_to_go_on(void **state)
{
    const char *seconds = getenv("PLAIT_SOAK_SECONDS");
    plait_time_t until = plait_after(soak && seconds ? atof(seconds) : 90);
    size_t used_before, used_after;
    char text[200] = "";
    const char *wrong;
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
    wrong = containers_are_right(); /* does the jobs that are left */
    if (wrong)
        fail_msg("%s", wrong);
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
    wrong = rounds_are_right();
    if (wrong)
        fail_msg("%s", wrong);
    assert_int_equal(me->fault, 0);
    print_message("rounds: %ld lives, %ld torn; latch: %lu counted down; wait group: %lu added\n", shared->rounds.life,
                  shared->rounds.torn, (unsigned long)record->counted.over, (unsigned long)record->added.over);
    assert_int_equal(plait_rwlock_fini(&shared->rwlock), 0);
    assert_int_equal(plait_sem_acquire(&shared->owned, OWNED_PERMITS, PLAIT_NOW), 0);
    assert_int_equal(plait_sem_release(&shared->owned, OWNED_PERMITS), 0);
    if (plait_arena_check(arena, text, sizeof text))
        fail_msg("%s", text);
    assert_int_equal(plait_arena_usage(arena, &used_after, NULL, NULL), 0);
    print_message("%zu bytes used before, %zu after\n", used_before, used_after);
    assert_true(used_after <= used_before + kills * BLOCK_LOST_BYTES + (64 << 10));
    assert_true(kills >= (soak ? KILLS_SOAK : KILLS_SHORT_MIN));
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
