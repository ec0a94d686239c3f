/* SPDX-License-Identifier: MIT */
/*
 * Queues are linearizable: what several threads or processes did with one, killed ones among them, could have been done one after the
 * other. Histories are written down and checked (support/history_check.c, itself tried by test_history.c); queues that are broken
 * on purpose are caught.
 *
 * PLAIT_HISTORY_OPERATIONS=1000000 makes each history as long.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/cmocka.h"
#include "support/history.h"
#include "support/stage.h"
#include "support/watched.h"

enum { OPERATIONS = 20000, BATCH_MAX = 8 };

static const char *const model_names[] = { "FIFO", "LIFO", "priority", "deque" };

/* What a test-local queue does wrong, seldom. */
enum flaw { FLAWLESS, SWAPS, LIES_EMPTY, LOSES, REPEATS, INVENTS, PUTS_LATE, FLAWS };

static const char *const flaw_names[] = { "nothing", "swaps two", "says it is empty", "loses one", "repeats one", "invents one",
                                          "puts later than it says" };

/* A queue and those who use it. */
struct variant {
    enum plait_queue_kind kind;
    enum history_model model;
    size_t maxsize;
    bool messages, batches, both_ends;
};

struct run {
    struct variant variant;
    enum flaw flaw;
    plait_queue_t *q;
    plait_arena_t *arena;
    struct history *h;
    unsigned workers, base; /* base: the number of the first worker */
    size_t each;            /* operations of a worker */
    plait_time_t end;
    uint32_t arrived, stop; /* atomic */
};

struct user {
    struct run *run;
    unsigned participant;
    uint64_t random, puts;
    uint64_t kept, last; /* of a flawed queue */
    int64_t kept_priority;
    bool has_kept;
};

static unsigned toss(struct user *u, unsigned below)
{
    u->random = u->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(u->random >> 33) % below;
}

static plait_time_t some_deadline(struct user *u)
{
    return toss(u, 32) ? PLAIT_NOW : plait_after(1e-6 * toss(u, 500));
}

static int true_put(struct user *u, enum history_kind kind, uint64_t value, int64_t priority)
{
    const struct run *run = u->run;
    plait_time_t deadline = some_deadline(u);
    struct plait_message m;
    int err;

    if (!run->variant.messages && kind == HISTORY_PUT_FRONT)
        return plait_queue_put_front(run->q, &value, deadline);
    if (!run->variant.messages)
        return run->variant.kind == PLAIT_PRIORITY ? plait_queue_put_priority(run->q, &value, priority, deadline)
                                                   : plait_queue_put(run->q, &value, deadline);
    if (kind == HISTORY_PUT)
        return run->variant.kind == PLAIT_PRIORITY
                   ? plait_queue_put_bytes_priority(run->q, &value, sizeof value, priority, deadline)
                   : plait_queue_put_bytes(run->q, &value, sizeof value, deadline);
    err = plait_queue_reserve(run->q, sizeof value, &m);
    if (err)
        return err;
    memcpy(m.data, &value, sizeof value);
    err = plait_queue_commit_front(run->q, &m, deadline);
    plait_queue_give_back(run->q, &m);
    return err;
}

static int true_get(struct user *u, enum history_kind kind, uint64_t *value)
{
    const struct run *run = u->run;
    plait_time_t deadline = some_deadline(u);
    struct plait_message m;
    size_t size = sizeof *value;
    int err;

    if (!run->variant.messages)
        return kind == HISTORY_GET ? plait_queue_get(run->q, value, deadline) : plait_queue_get_back(run->q, value, deadline);
    if (kind == HISTORY_GET) {
        err = plait_queue_get_bytes(run->q, value, sizeof *value, &size, deadline);
        return err == 0 && size != sizeof *value ? EBADMSG : err;
    }
    err = plait_queue_borrow_back(run->q, &m, deadline);
    if (err)
        return err;
    memcpy(value, m.data, sizeof *value);
    return plait_queue_give_back(run->q, &m);
}

/* ---- A flawed queue ---- */

static int flawed_put(struct user *u, uint64_t value, int64_t priority)
{
    int err;

    if (u->run->flaw == PUTS_LATE && !u->has_kept && toss(u, 100) == 0) {
        u->has_kept = true;
        u->kept = value;
        u->kept_priority = priority;
        return 0;
    }
    err = true_put(u, HISTORY_PUT, value, priority);
    if (u->run->flaw != PUTS_LATE || !u->has_kept || err)
        return err;
    u->has_kept = false;
    return true_put(u, HISTORY_PUT, u->kept, u->kept_priority);
}

static int flawed_get(struct user *u, uint64_t *value)
{
    bool now = toss(u, 100) == 0;
    uint64_t other;
    int err;

    if (u->run->flaw == SWAPS && u->has_kept) {
        *value = u->kept;
        u->has_kept = false;
        return 0;
    }
    if (u->run->flaw == LIES_EMPTY && now)
        return ETIMEDOUT;
    err = true_get(u, HISTORY_GET, value);
    if (err || !now)
        return err;
    switch (u->run->flaw) {
    case SWAPS:
        if (true_get(u, HISTORY_GET, &other) == 0) {
            u->kept = *value;
            u->has_kept = true;
            *value = other;
        }
        return 0;
    case LOSES:
        return true_get(u, HISTORY_GET, value);
    case REPEATS:
        *value = u->last ? u->last : *value;
        return 0;
    case INVENTS:
        *value = ~*value;
        return 0;
    default:
        return 0;
    }
}

/* ---- Using it ---- */

/* By a time that is this long the call may have given up on a lock whose holder did not run. */
#define LONG_NANOSECONDS 90000000u

/* Returns 0, or an error that may not be. */
static int note_end(struct history_op *op, int err, uint64_t value)
{
    history_end(op, err == 0 ? HISTORY_DONE : HISTORY_NOTHING, value);
    if (err == ETIMEDOUT && op->end - op->start < LONG_NANOSECONDS)
        op->result = HISTORY_REFUSED;
    return err == ETIMEDOUT ? 0 : err;
}

static uint64_t new_value(struct user *u)
{
    return (uint64_t)(u->participant + 1) << 32 | ++u->puts;
}

static int put_one(struct user *u)
{
    enum history_kind kind = u->run->variant.both_ends && toss(u, 2) ? HISTORY_PUT_FRONT : HISTORY_PUT;
    int64_t priority = u->run->variant.kind != PLAIT_PRIORITY ? 0 : toss(u, 2) ? toss(u, 4) : (int64_t)toss(u, 1000) - 500;
    uint64_t value = new_value(u);
    struct history_op *op = history_begin(u->run->h, u->participant, kind, value, priority);
    int err = u->run->flaw ? flawed_put(u, value, priority) : true_put(u, kind, value, priority);

    return note_end(op, err, value);
}

static int get_one(struct user *u)
{
    enum history_kind kind = u->run->variant.both_ends && toss(u, 2) ? HISTORY_GET_BACK : HISTORY_GET;
    uint64_t value = 0;
    struct history_op *op = history_begin(u->run->h, u->participant, kind, 0, 0);
    int err = u->run->flaw ? flawed_get(u, &value) : true_get(u, kind, &value);

    if (err == 0)
        u->last = value;
    return note_end(op, err, value);
}

static int put_some(struct user *u)
{
    uint64_t values[BATCH_MAX];
    size_t count = 1 + toss(u, BATCH_MAX), done = 0;
    struct history_op *ops;
    int err;

    for (size_t i = 0; i < count; i++)
        values[i] = new_value(u);
    ops = history_begin_many(u->run->h, u->participant, HISTORY_PUT, values, count);
    err = plait_queue_put_many(u->run->q, values, count, &done, some_deadline(u));
    history_end_many(ops, count, done, false, NULL);
    if (err == ETIMEDOUT && done < count && ops->end - ops->start < LONG_NANOSECONDS)
        ops[done].result = HISTORY_REFUSED;
    return err == ETIMEDOUT ? 0 : err;
}

static int get_some(struct user *u)
{
    uint64_t values[BATCH_MAX];
    size_t max = 1 + toss(u, BATCH_MAX), done = 0;
    struct history_op *ops = history_begin_many(u->run->h, u->participant, HISTORY_GET, NULL, max);
    int err = plait_queue_get_many(u->run->q, values, toss(u, 2), max, &done, some_deadline(u));

    history_end_many(ops, max, done, err == 0 && done < max, values);
    return err == ETIMEDOUT ? 0 : err;
}

/* Now they put more, now they get more. */
static int use(struct user *u)
{
    size_t count = u->run->h->counts[u->participant];
    bool put = toss(u, 100) < (count / 300 % 2 ? 35u : 65u);

    if (u->run->variant.batches && toss(u, 4) == 0)
        return put ? put_some(u) : get_some(u);
    return put ? put_one(u) : get_one(u);
}

/* Until so much is written down. */
static int use_much(struct user *u)
{
    int err = 0;

    while (err == 0 && u->run->h->counts[u->participant] + BATCH_MAX < u->run->each &&
           !__atomic_load_n(&u->run->stop, __ATOMIC_RELAXED) && (u->puts % 64 || plait_now() < u->run->end))
        err = use(u);
    if (u->run->flaw == PUTS_LATE && u->has_kept)
        err = true_put(u, HISTORY_PUT, u->kept, u->kept_priority);
    else if (u->run->flaw == SWAPS && u->has_kept)
        err = get_one(u);
    return err;
}

static void use_as_worker(struct worker *self)
{
    struct run *run = self->with;
    struct user u = { .run = run, .participant = self->number - run->base, .random = self->random };

    __atomic_fetch_add(&run->arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&run->arrived, __ATOMIC_ACQUIRE) < run->workers)
        sched_yield();
    self->result = use_much(&u);
    worker_says(self, 1);
}

/* ---- Beginning and end ---- */

static size_t long_operations(void)
{
    const char *given = getenv("PLAIT_HISTORY_OPERATIONS");

    return given ? strtoull(given, NULL, 0) : 0;
}

static size_t operations(void)
{
    return long_operations() ? long_operations() : is_watched() ? OPERATIONS / 5 : OPERATIONS;
}

/* A short one may be shorter still where time is dear. */
static plait_time_t end_of_run(void)
{
    return long_operations() ? PLAIT_FOREVER : plait_after(stage_stress_seconds());
}

/* In an arena, which holds the run's own record too, or private. */
static struct run *run_new(const struct variant *variant, bool shared, unsigned participants, size_t each)
{
    struct plait_queue_opts opts = { .kind = variant->kind, .maxsize = variant->maxsize, .item_size = variant->messages ? 0 : 8 };
    plait_arena_t *arena;
    void *memory;
    struct run *run;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = (size_t)256 << 20, .participants = 64 }), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *run, &memory), 0);
    run = memory;
    *run = (struct run){ .variant = *variant, .arena = arena, .each = each, .end = end_of_run() };
    opts.arena = shared ? arena : NULL;
    assert_int_equal(plait_queue_new(&run->q, &opts), 0);
    run->h = history_new(participants, 2 * each + 1000); /* who drains may find more than one has put */
    assert_non_null(run->h);
    return run;
}

static void run_free(struct run *run)
{
    plait_arena_t *arena = run->arena;
    char text[200];

    assert_int_equal(plait_queue_destroy(run->q), 0);
    history_free(run->h);
    if (plait_arena_check(arena, text, sizeof text) != 0)
        fail_msg("arena: %s", text);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* Get what is left, until it says that it is empty; at times by the other end. */
static void drain(struct run *run, unsigned participant)
{
    struct user u = { .run = run, .participant = participant };
    const struct history_op *op;

    run->flaw = FLAWLESS;
    do {
        assert_true(run->h->counts[participant] < run->h->capacity);
        assert_int_equal(get_one(&u), 0);
        op = history_ops_of(run->h, participant) + run->h->counts[participant] - 1;
    } while (op->result != HISTORY_REFUSED);
    assert_int_equal(plait_queue_qsize(run->q), 0);
}

static double seconds_since(plait_time_t start)
{
    return (double)(plait_now() - start) / 1e9;
}

static struct history_verdict judge(const struct run *run, const char *what, plait_time_t start)
{
    double took = seconds_since(start), overlaps = (double)history_overlaps(run->h) / (double)history_count(run->h);
    plait_time_t checking = plait_now();
    struct history_verdict verdict = history_check(run->h, run->variant.model, run->variant.maxsize);

    print_message("%s%s%s, maxsize %zu, %s: %zu operations in %.2f s, of which %.0f %% overlapped, checked in %.2f s: %s\n", model_names[run->variant.model],
                  run->variant.messages ? ", messages" : "", run->variant.batches ? ", batches" : "", run->variant.maxsize, what,
                  history_count(run->h), took, 100 * overlaps, seconds_since(checking), history_fault_text(verdict.fault));
    return verdict;
}

static void start_and_join(struct stage *stage, struct run *run, unsigned workers)
{
    run->base = stage->worker_count;
    run->workers = workers;
    for (unsigned i = 0; i < workers; i++)
        assert_non_null(worker_start(stage, use_as_worker, run));
    for (unsigned i = 0; i < workers; i++) {
        struct worker *w = &stage->workers[run->base + i];

        for (int patience = 0; patience < 20 && !worker_said(w, 1); patience++)
            ;
        assert_int_equal(worker_result(w), 0);
    }
}

static void try_variant(struct stage *stage, const struct variant *variant, unsigned workers)
{
    struct run *run = run_new(variant, stage->setting != STAGE_PRIVATE, workers + 1, operations() / workers + BATCH_MAX);
    plait_time_t start = plait_now();
    char what[40];

    start_and_join(stage, run, workers);
    drain(run, workers);
    snprintf(what, sizeof what, "%u %s", workers, stage->setting == STAGE_PROCESSES ? "processes" : "threads");
    assert_int_equal(judge(run, what, start).fault, HISTORY_RIGHT);
    run_free(run);
}

/* ---- Right queues ---- */

static void queue_is_linearizable(struct stage *stage, struct variant v)
{
    unsigned many = stage->setting == STAGE_PROCESSES ? 4 : 8;

    stage_seed();
    try_variant(stage, &v, 2);
    try_variant(stage, &v, many);
    v.maxsize = 1;
    try_variant(stage, &v, many);
    v.messages = true;
    v.maxsize = 16;
    try_variant(stage, &v, 3);
    v.messages = false;
    v.batches = true;
    try_variant(stage, &v, 4);
    v.maxsize = 0;
    try_variant(stage, &v, many);
}

static void fifo_queue_is_linearizable(void **state)
{
    queue_is_linearizable(*state, (struct variant){ .kind = PLAIT_FIFO, .model = HISTORY_FIFO });
}

static void lifo_queue_is_linearizable(void **state)
{
    queue_is_linearizable(*state, (struct variant){ .kind = PLAIT_LIFO, .model = HISTORY_LIFO });
}

static void priority_queue_is_linearizable(void **state)
{
    queue_is_linearizable(*state, (struct variant){ .kind = PLAIT_PRIORITY, .model = HISTORY_PRIORITY });
}

static void deque_at_one_end_is_a_linearizable_fifo_queue(void **state)
{
    queue_is_linearizable(*state, (struct variant){ .kind = PLAIT_DEQUE, .model = HISTORY_FIFO });
}

static void deque_at_both_ends_is_linearizable(void **state)
{
    queue_is_linearizable(*state, (struct variant){ .kind = PLAIT_DEQUE, .model = HISTORY_DEQUE, .both_ends = true });
}

/* ---- Wrong ones ---- */

static void flawed_queue_is_caught(void **state)
{
    static const enum plait_queue_kind kinds[] = { PLAIT_FIFO, PLAIT_LIFO, PLAIT_PRIORITY, PLAIT_DEQUE };
    struct stage *stage = *state;

    stage_seed();
    for (int model = HISTORY_FIFO; model <= HISTORY_DEQUE; model++)
        for (int flaw = SWAPS; flaw < FLAWS; flaw++) {
            struct variant v = { .kind = kinds[model], .model = (enum history_model)model };
            struct run *run = run_new(&v, false, 3, OPERATIONS / 4);
            plait_time_t start = plait_now();

            run->end = PLAIT_FOREVER;
            run->flaw = (enum flaw)flaw;
            start_and_join(stage, run, 2);
            drain(run, 2);
            assert_int_not_equal(judge(run, flaw_names[flaw], start).fault, HISTORY_RIGHT);
            run_free(run);
        }
}

/* ---- With deaths ---- */

/* LIFE: operations of one at most, LIFETIME: microseconds at most,
   in long histories, and where all is slow, ten times as many. */
enum { MORTALS = 4, KILLS = 60, LIFE = 60000, LIFETIME = 6000 };

static uint64_t random_state;

static void die(int signal)
{
    (void)signal;
    kill(getpid(), SIGKILL);
}

/* One who dies at a random moment. */
static pid_t give_birth(struct run *run, unsigned participant)
{
    struct user u = { .run = run, .participant = participant, .random = random_state += 0x9e3779b97f4a7c15u };
    bool has_time = long_operations() || is_watched();
    struct itimerval lifetime = { .it_value = { .tv_usec = 1 + toss(&u, has_time ? 10 * LIFETIME : LIFETIME) } };
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGALRM, die);
        setitimer(ITIMER_REAL, &lifetime, NULL);
        _exit(use_much(&u) ? 1 : 0);
    }
    assert_true(pid > 0);
    return pid;
}

/* One of them has been killed, or is through with its operations: which? */
static unsigned bury(struct run *run, const pid_t *pids, const unsigned *participants)
{
    int status = 0;
    pid_t pid = waitpid(-1, &status, 0);

    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    for (unsigned i = 0; i < MORTALS; i++)
        if (pids[i] == pid) {
            history_died(run->h, participants[i]);
            return i;
        }
    fail_msg("an unknown child %d", (int)pid);
    return 0;
}

/* How many left a call without an answer. */
static unsigned killed_amidst(const struct run *run, unsigned participants)
{
    unsigned amidst = 0;

    for (unsigned i = 0; i < participants; i++) {
        size_t count = run->h->counts[i];

        amidst += count > 0 && history_ops_of(run->h, i)[count - 1].result == HISTORY_PENDING;
    }
    return amidst;
}

static void try_with_kills(const struct variant *variant)
{
    unsigned kills = is_watched() ? KILLS / 6 : KILLS, lives = MORTALS + kills + (unsigned)(long_operations() / 200), born = 0, which;
    struct run *run = run_new(variant, true, lives + 1, LIFE);
    unsigned participants[MORTALS];
    pid_t pids[MORTALS];
    plait_time_t start = plait_now();
    char what[60];

    for (; born < MORTALS; born++)
        pids[born] = give_birth(run, participants[born] = born);
    while (born < lives && (born < MORTALS + kills || history_count(run->h) < long_operations()) && plait_now() < run->end) {
        which = bury(run, pids, participants);
        pids[which] = give_birth(run, participants[which] = born++);
    }
    __atomic_store_n(&run->stop, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < MORTALS; i++)
        pids[bury(run, pids, participants)] = 0;
    drain(run, lives);
    snprintf(what, sizeof what, "%u lives, %u ended amidst a call", born, killed_amidst(run, born));
    assert_int_equal(judge(run, what, start).fault, HISTORY_RIGHT);
    run_free(run);
}

static void queue_whose_users_are_killed_is_linearizable(void **state)
{
    static const struct variant variants[] = {
        { .kind = PLAIT_FIFO, .model = HISTORY_FIFO },
        { .kind = PLAIT_LIFO, .model = HISTORY_LIFO },
        { .kind = PLAIT_PRIORITY, .model = HISTORY_PRIORITY },
        { .kind = PLAIT_DEQUE, .model = HISTORY_DEQUE, .both_ends = true },
    };

    random_state = stage_seed();
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
        for (int how = 0; how < 3; how++) {
            struct variant v = variants[i];

            v.maxsize = how == 0 ? 0 : 16;
            v.batches = how == 1;
            v.messages = how == 2;
            try_with_kills(&v);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PRIVATE(flawed_queue_is_caught),
        EVERYWHERE(fifo_queue_is_linearizable),
        EVERYWHERE(lifo_queue_is_linearizable),
        EVERYWHERE(priority_queue_is_linearizable),
        EVERYWHERE(deque_at_one_end_is_a_linearizable_fifo_queue),
        EVERYWHERE(deque_at_both_ends_is_linearizable),
        cmocka_unit_test(queue_whose_users_are_killed_is_linearizable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
