/* SPDX-License-Identifier: MIT */
/* The contract of crews: spawn and sync, who runs what, who sleeps; and tasks from outside. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <plait.h>

#include "exec/crew.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { PATIENCE = 60 /* seconds */ };

static plait_crew_t *make(unsigned workers)
{
    plait_crew_t *crew = NULL;

    assert_int_equal(plait_crew_new(&crew, &(struct plait_crew_opts){ .workers = workers }), 0);
    return crew;
}

/* Wait until all threads of the crew sleep; false: they do not. */
static bool all_sleep(const plait_crew_t *crew)
{
    struct plait_crew_stats stats;
    plait_time_t end = plait_after(PATIENCE);

    do {
        plait_crew_stats(crew, &stats);
        if (stats.asleep == stats.threads)
            return true;
        plait_sleep(0.001);
    } while (plait_now() < end);
    return false;
}

static unsigned long long stolen(const plait_crew_t *crew)
{
    struct plait_crew_stats stats;

    plait_crew_stats(crew, &stats);
    return stats.stolen;
}

/* ---- Spawn and sync ---- */

struct fib {
    long n, result;
    int wrong;
};

static void fib(plait_worker_t *worker, void *arg)
{
    struct fib *f = arg;

    f->wrong = 0;
    if (f->n < 2) {
        f->result = f->n;
        return;
    }
    struct fib a = { .n = f->n - 1, .wrong = 1 }, b = { .n = f->n - 2 };
    plait_worker_spawn(worker, fib, &a);
    fib(worker, &b);
    f->wrong = plait_worker_sync(worker) != 0;
    f->wrong |= a.wrong | b.wrong;
    f->result = a.result + b.result;
}

static void every_task_runs_once_whatever_the_workers(void **state)
{
    static const unsigned workers[] = { 1, 2, 3, 8 };

    for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++) {
        plait_crew_t *crew = make(workers[i]);

        for (int times = 0; times < 20; times++) {
            struct fib f = { .n = 18 };

            assert_int_equal(plait_crew_run(crew, fib, &f), 0);
            assert_int_equal(f.result, 2584);
            assert_int_equal(f.wrong, 0);
        }
        assert_int_equal(plait_crew_free(crew), 0);
    }
}

struct row {
    unsigned count;
    uint32_t *ran;  /* atomic, one for each */
    uint32_t order; /* atomic */
};

struct place {
    struct row *row;
    unsigned number;
    uint32_t order; /* in which it came */
};

static void mark(plait_worker_t *worker, void *arg)
{
    struct place *p = arg;

    __atomic_fetch_add(&p->row->ran[p->number], 1, __ATOMIC_RELAXED);
    p->order = __atomic_fetch_add(&p->row->order, 1, __ATOMIC_RELAXED);
}

static void spawn_row(plait_worker_t *worker, void *arg)
{
    struct row *row = arg;
    struct place *places = calloc(row->count, sizeof *places);

    for (unsigned i = 0; i < row->count; i++) {
        places[i] = (struct place){ .row = row, .number = i };
        plait_worker_spawn(worker, mark, &places[i]);
    }
    for (unsigned i = row->count; i-- > 0;) {
        plait_worker_sync(worker);
        if (__atomic_load_n(&row->ran[i], __ATOMIC_RELAXED) != 1)
            row->ran[i] = 100; /* the youngest must have run */
    }
    free(places);
}

static void sync_is_for_the_youngest(void **state)
{
    for (unsigned workers = 1; workers <= 4; workers++) {
        plait_crew_t *crew = make(workers);
        struct row row = { .count = 5000, .ran = calloc(5000, sizeof(uint32_t)) };

        assert_int_equal(plait_crew_run(crew, spawn_row, &row), 0);
        for (unsigned i = 0; i < row.count; i++)
            assert_int_equal(row.ran[i], 1);
        free(row.ran);
        plait_crew_free(crew);
    }
}

static void more_than_depth_is_run_at_once(void **state)
{
    static const unsigned depths[] = { 1, 2, 7, 100 };

    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++)
        for (unsigned workers = 1; workers <= 3; workers++) {
            struct row row = { .count = 300, .ran = calloc(300, sizeof(uint32_t)) };
            struct fib f = { .n = 15 };
            plait_crew_t *crew;

            assert_int_equal(plait_crew_new(&crew, &(struct plait_crew_opts){ .workers = workers, .depth = depths[i] }), 0);
            assert_int_equal(plait_crew_run(crew, spawn_row, &row), 0);
            for (unsigned n = 0; n < row.count; n++)
                assert_int_equal(row.ran[n], 1);
            assert_int_equal(plait_crew_run(crew, fib, &f), 0);
            assert_int_equal(f.result, 610);
            free(row.ran);
            plait_crew_free(crew);
        }
}

/* ---- Stealing ---- */

struct meeting {
    plait_crew_t *crew;
    plait_event_t begun, go;
    plait_worker_t *worker;
    pthread_t thread;
    const char *name;
    bool signals_blocked, nested_same, met;
    int err, nested;
    size_t stack;
};

static void nested(plait_worker_t *worker, void *arg)
{
    struct meeting *m = arg;

    m->nested_same = worker == m->worker && pthread_equal(m->thread, pthread_self());
}

static void be_there(plait_worker_t *worker, void *arg)
{
    struct meeting *m = arg;
    sigset_t set;

    m->worker = worker;
    m->thread = pthread_self();
    m->name = plait_thread_name(plait_thread_current());
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    m->signals_blocked = sigismember(&set, SIGUSR1) && sigismember(&set, SIGTERM) && !sigismember(&set, SIGSEGV);
    m->nested = plait_crew_run(m->crew, nested, m);
    plait_event_set(&m->begun);
    plait_event_wait(&m->go, PLAIT_FOREVER);
}

/* Meet the one that was spawned: it must be somewhere else. */
static void meet(plait_worker_t *worker, void *arg)
{
    struct meeting *m = arg;

    plait_worker_spawn(worker, be_there, m);
    m->met = plait_event_wait(&m->begun, plait_after(PATIENCE)) == 0;
    plait_event_set(&m->go);
    m->err = plait_worker_sync(worker);
}

static void sleeping_thread_comes_for_a_spawned_task(void **state)
{
    plait_crew_t *crew = make(2);

    for (int times = 0; times < 50; times++) {
        struct meeting m = { .crew = crew };

        assert_true(all_sleep(crew));
        assert_int_equal(plait_crew_run(crew, meet, &m), 0);
        assert_true(m.met);
        assert_int_equal(m.err, 0);
        assert_false(pthread_equal(m.thread, pthread_self()));
        assert_true(m.signals_blocked);
        assert_string_equal(m.name, "plait-crew");
        assert_int_equal(m.nested, 0);
        assert_true(m.nested_same);
    }
    assert_int_equal(stolen(crew), 50);
    plait_crew_free(crew);
}

struct crowd {
    plait_crew_t *crew;
    plait_barrier_t barrier;
    unsigned parties;
    int wrong; /* atomic */
};

static void attend(plait_worker_t *worker, void *arg)
{
    struct crowd *c = arg;
    int err = plait_barrier_wait(&c->barrier, NULL, plait_after(PATIENCE));

    if (err)
        __atomic_store_n(&c->wrong, err, __ATOMIC_RELAXED);
}

static void gather(plait_worker_t *worker, void *arg)
{
    struct crowd *c = arg;

    for (unsigned i = 1; i < c->parties; i++)
        plait_worker_spawn(worker, attend, c);
    attend(worker, c);
    for (unsigned i = 1; i < c->parties; i++)
        plait_worker_sync(worker);
}

/* Each wakes the next: tasks that need each other's presence all run, as long as there are sleepers. */
static void sleeping_threads_come_one_after_the_other(void **state)
{
    struct crowd c = { .parties = 5 };

    c.crew = make(c.parties);
    assert_int_equal(plait_barrier_init(&c.barrier, c.parties, 0), 0);
    for (int times = 0; times < 20; times++) {
        assert_true(all_sleep(c.crew));
        assert_int_equal(plait_crew_run(c.crew, gather, &c), 0);
        assert_int_equal(c.wrong, 0);
    }
    plait_barrier_fini(&c.barrier);
    plait_crew_free(c.crew);
}

/* ---- Nothing unrelated inside a task ---- */

struct node {
    struct node *parent;
    uint64_t random;
    unsigned depth;
    int wrong;
    unsigned long count;
};

static _Thread_local struct node *inside; /* the innermost that this thread runs */

static uint64_t next_random(uint64_t *random)
{
    *random += 0x9e3779b97f4a7c15;
    uint64_t z = *random;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static bool descends(const struct node *from, const struct node *ancestor)
{
    for (; from; from = from->parent)
        if (from == ancestor)
            return true;
    return false;
}

static void spend_some(uint64_t *random)
{
    uint64_t r = next_random(random) % 64;

    if (r == 0)
        plait_sleep(0.0001);
    else if (r < 8)
        for (volatile unsigned i = 0; i < r * 200; i++)
            ;
}

static void grow(plait_worker_t *worker, void *arg)
{
    enum { CHILDREN = 6 };
    struct node *n = arg, *outer = inside, children[CHILDREN];
    unsigned count = n->depth ? (unsigned)(next_random(&n->random) % (CHILDREN + 1)) : 0;

    n->wrong = outer != NULL && !descends(n, outer);
    n->count = 1;
    inside = n;
    for (unsigned i = 0; i < count; i++) {
        children[i] = (struct node){ .parent = n, .random = next_random(&n->random), .depth = n->depth - 1, .wrong = 1 };
        plait_worker_spawn(worker, grow, &children[i]);
        if (i % 3 == 2)
            spend_some(&n->random);
    }
    spend_some(&n->random);
    for (unsigned i = count; i-- > 0;) {
        if (plait_worker_sync(worker) != 0)
            n->wrong = 1;
        n->wrong |= children[i].wrong;
        n->count += children[i].count;
    }
    inside = outer;
}

/* How many nodes a tree has, found without a crew. */
static unsigned long measure(struct node *n)
{
    unsigned long count = 1;
    unsigned children = n->depth ? (unsigned)(next_random(&n->random) % 7) : 0;
    uint64_t random[7];

    for (unsigned i = 0; i < children; i++) {
        random[i] = next_random(&n->random);
        if (i % 3 == 2)
            next_random(&n->random); /* spend_some */
    }
    for (unsigned i = 0; i < children; i++) {
        struct node child = { .random = random[i], .depth = n->depth - 1 };

        count += measure(&child);
    }
    return count;
}

struct outsider {
    plait_crew_t *crew;
    uint64_t random;
    plait_time_t end;
    unsigned long trees, nodes, wrong;
    pthread_t thread;
};

static void *grow_trees(void *arg)
{
    struct outsider *o = arg;

    while (plait_now() < o->end) {
        struct node tree = { .random = next_random(&o->random), .depth = 4 + (unsigned)(next_random(&o->random) % 4) };
        struct node same = tree;

        if (plait_crew_run(o->crew, grow, &tree) != 0 || tree.wrong || tree.count != measure(&same) || inside)
            o->wrong++;
        o->trees++;
        o->nodes += tree.count;
        if (next_random(&o->random) % 8 == 0)
            plait_sleep(0.001); /* the others fall asleep now and then */
    }
    return NULL;
}

static uint64_t seed(void)
{
    const char *given = getenv("PLAIT_SEED");
    uint64_t number = given ? strtoull(given, NULL, 10) : (uint64_t)plait_now();

    print_message("PLAIT_SEED=%llu\n", (unsigned long long)number);
    return number;
}

static void only_descendants_run_inside_a_task(void **state)
{
    enum { OUTSIDERS = 3 };
    static const unsigned workers[] = { 1, 2, 4, 7 };
    uint64_t random = seed();
    unsigned long trees = 0, nodes = 0;

    for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++) {
        struct outsider outsiders[OUTSIDERS];
        plait_crew_t *crew;

        assert_int_equal(plait_crew_new(&crew, &(struct plait_crew_opts){ .workers = workers[i], .depth = i % 2 ? 0 : 9 }),
                         0);
        for (unsigned n = 0; n < OUTSIDERS; n++) {
            outsiders[n] = (struct outsider){ .crew = crew, .random = next_random(&random), .end = plait_after(0.5) };
            assert_int_equal(pthread_create(&outsiders[n].thread, NULL, grow_trees, &outsiders[n]), 0);
        }
        for (unsigned n = 0; n < OUTSIDERS; n++) {
            pthread_join(outsiders[n].thread, NULL);
            assert_int_equal(outsiders[n].wrong, 0);
            trees += outsiders[n].trees;
            nodes += outsiders[n].nodes;
        }
        plait_crew_free(crew);
    }
    print_message("%lu trees, %lu nodes\n", trees, nodes);
}

/* ---- Outsiders ---- */

static void *run_fib(void *arg)
{
    struct outsider *o = arg;
    struct fib f = { .n = 12 };

    for (int i = 0; i < 20; i++)
        if (plait_crew_run(o->crew, fib, &f) != 0 || f.result != 144 || f.wrong)
            o->wrong++;
    return NULL;
}

static void hold_place(plait_worker_t *worker, void *arg)
{
    struct crowd *c = arg;

    attend(worker, c); /* all are inside */
    struct fib f = { .n = 10 };
    fib(worker, &f);
    if (f.result != 55)
        __atomic_store_n(&c->wrong, 1, __ATOMIC_RELAXED);
    attend(worker, c);
}

static void *enter_and_stay(void *arg)
{
    struct crowd *c = arg;

    plait_crew_run(c->crew, hold_place, c);
    return NULL;
}

static void any_number_of_threads_runs_at_once(void **state)
{
    enum { MANY = 80 }; /* more than there are places */
    struct outsider outsiders[8];
    struct crowd c = { .parties = MANY };
    pthread_t threads[MANY];

    c.crew = make(3);
    for (unsigned i = 0; i < 8; i++) {
        outsiders[i] = (struct outsider){ .crew = c.crew };
        assert_int_equal(pthread_create(&outsiders[i].thread, NULL, run_fib, &outsiders[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(outsiders[i].thread, NULL);
        assert_int_equal(outsiders[i].wrong, 0);
    }
    assert_int_equal(plait_barrier_init(&c.barrier, MANY, 0), 0);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, enter_and_stay, &c), 0);
    for (unsigned i = 0; i < MANY; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(c.wrong, 0);
    plait_barrier_fini(&c.barrier);
    plait_crew_free(c.crew);
}

struct two {
    plait_crew_t *crew, *other;
    struct fib f;
    int err, freed;
};

static void run_in_other(plait_worker_t *worker, void *arg)
{
    struct two *t = arg;

    t->err = plait_crew_run(t->other, fib, &t->f);
    t->freed = plait_crew_free(t->crew);
}

static void task_may_run_in_another_crew_and_not_free_its_own(void **state)
{
    struct two t = { .crew = make(2), .other = make(2), .f = { .n = 15 } };

    assert_int_equal(plait_crew_run(t.crew, run_in_other, &t), 0);
    assert_int_equal(t.err, 0);
    assert_int_equal(t.f.result, 610);
    assert_int_equal(t.freed, EDEADLK);
    assert_int_equal(plait_crew_free(t.crew), 0);
    assert_int_equal(plait_crew_free(t.other), 0);
}

static void look_for_token(plait_worker_t *worker, void *arg)
{
    int *err = arg;
    uint32_t word = 0;

    *err = plait_wait(&word, 0, 0, plait_after(0.001));
}

static void token_of_the_caller_does_not_count_inside(void **state)
{
    plait_crew_t *crew = make(1);
    plait_cancel_t token;
    int err = 0;

    assert_int_equal(plait_cancel_init(&token, 0), 0);
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    assert_int_equal(plait_crew_run(crew, look_for_token, &err), 0);
    assert_ptr_equal(plait_cancel_bind(NULL), &token);
    assert_int_equal(err, ETIMEDOUT);
    plait_cancel_fini(&token);
    plait_crew_free(crew);
}

static void absurd_options_are_refused(void **state)
{
    plait_crew_t *crew;

    assert_int_equal(plait_crew_new(&crew, &(struct plait_crew_opts){ .workers = 1025 }), EINVAL);
    assert_int_equal(plait_crew_new(&crew, &(struct plait_crew_opts){ .depth = 131073 }), EINVAL);
    assert_int_equal(plait_crew_new(NULL, NULL), EINVAL);
    assert_int_equal(plait_crew_new(&crew, NULL), 0);
    assert_int_equal(plait_crew_run(crew, NULL, NULL), EINVAL);
    assert_int_equal(plait_crew_free(crew), 0);
    assert_int_equal(plait_crew_free(NULL), 0);
}

static void measure_stack(plait_worker_t *worker, void *arg)
{
    struct meeting *m = arg;
    pthread_attr_t attr;
    void *bottom;

    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstack(&attr, &bottom, &m->stack);
    pthread_attr_destroy(&attr);
    plait_event_set(&m->begun);
}

static void measure_stack_elsewhere(plait_worker_t *worker, void *arg)
{
    struct meeting *m = arg;

    plait_worker_spawn(worker, measure_stack, m);
    m->met = plait_event_wait(&m->begun, plait_after(PATIENCE)) == 0;
    plait_worker_sync(worker);
}

static void stack_and_name_are_as_asked(void **state)
{
    struct meeting m = { 0 };
    plait_crew_t *crew;

    assert_int_equal(plait_crew_new(&crew, &(struct plait_crew_opts){ .workers = 2, .stack_size = 16 << 20,
                                                                      .name = "hands" }), 0);
    assert_true(all_sleep(crew));
    assert_int_equal(plait_crew_run(crew, measure_stack_elsewhere, &m), 0);
    assert_true(m.met);
    assert_true(m.stack >= 15 << 20);
    m = (struct meeting){ .crew = crew };
    assert_true(all_sleep(crew));
    assert_int_equal(plait_crew_run(crew, meet, &m), 0);
    assert_string_equal(m.name, "hands");
    plait_crew_free(crew);
}

/* ---- Idle ---- */

static void idle_threads_cost_nothing(void **state)
{
    plait_crew_t *crew = make(6);
    struct fib f = { .n = 16 };
    struct rusage before, after;

    plait_crew_run(crew, fib, &f);
    assert_true(all_sleep(crew));
    getrusage(RUSAGE_SELF, &before);
    plait_sleep(0.5);
    getrusage(RUSAGE_SELF, &after);
    if (!is_emulated()) /* its own threads sleep as they like; so do those of tools: some slack */
        assert_true(after.ru_nvcsw - before.ru_nvcsw < 20);
    plait_crew_free(crew);
}

/* ---- Mistakes ---- */

static void forget_sync(plait_worker_t *worker, void *arg)
{
    plait_worker_spawn(worker, fib, arg);
}

static void sync_too_often(plait_worker_t *worker, void *arg)
{
    plait_worker_spawn(worker, fib, arg);
    plait_worker_sync(worker);
    plait_worker_sync(worker);
}

static int make_mistake(void *arg)
{
    static const int of_workers[] = { 1, 2 };
    plait_worker_fn *const mistakes[] = { forget_sync, sync_too_often };
    int number = *(int *)arg;
    struct fib f = { .n = 3 };
    plait_crew_t *crew;

    close(2);
    open("/dev/null", O_WRONLY);
    if (plait_crew_new(&crew, &(struct plait_crew_opts){ .workers = (unsigned)of_workers[number / 2] }) != 0)
        return 1;
    plait_crew_run(crew, mistakes[number % 2], &f);
    return 0;
}

static void mistakes_end_the_program(void **state)
{
    for (int i = 0; i < 4; i++) {
        child_await_quiet(0);
        assert_int_equal(child_run(make_mistake, &i), CHILD_SIGNALLED + SIGABRT);
    }
}

/* ---- Fork and exit ---- */

static int use_in_child(void *arg)
{
    plait_crew_t *crew = arg;
    struct fib f = { .n = 3 };

    if (plait_crew_run(crew, fib, &f) != EPIPE)
        return 1;
    return plait_crew_free(crew) == 0 ? 0 : 2;
}

static void child_after_fork_is_told(void **state)
{
    plait_crew_t *crew = make(2);

    assert_true(all_sleep(crew));
    assert_int_equal(child_run(use_in_child, crew), 0);
    plait_crew_free(crew);
}

struct parting {
    struct meeting meeting;
    plait_worker_t *worker;
    pid_t child;
};

static int sync_in_child(void *arg)
{
    struct parting *p = arg;
    struct fib f = { .n = 10 };

    fib(p->worker, &f); /* spawning goes on */
    if (f.result != 55 || f.wrong)
        return 1;
    return plait_worker_sync(p->worker) == EOWNERDEAD ? 0 : 2;
}

static void fork_meanwhile(plait_worker_t *worker, void *arg)
{
    struct parting *p = arg;

    plait_worker_spawn(worker, be_there, &p->meeting);
    p->meeting.met = plait_event_wait(&p->meeting.begun, plait_after(PATIENCE)) == 0;
    p->worker = worker;
    if (p->meeting.met)
        p->child = child_start(sync_in_child, p);
    plait_event_set(&p->meeting.go);
    p->meeting.err = plait_worker_sync(worker);
}

static void child_of_a_task_does_not_wait_for_the_parents_thread(void **state)
{
    plait_crew_t *crew = make(2);
    struct parting p = { .meeting = { .crew = crew } };

    assert_true(all_sleep(crew));
    assert_int_equal(plait_crew_run(crew, fork_meanwhile, &p), 0);
    assert_true(p.meeting.met);
    assert_int_equal(p.meeting.err, 0);
    assert_int_equal(child_end(p.child), 0);
    plait_crew_free(crew);
}

static void exit_meanwhile(plait_worker_t *worker, void *arg)
{
    struct meeting *m = arg;

    plait_worker_spawn(worker, be_there, m);
    if (plait_event_wait(&m->begun, plait_after(PATIENCE)) == 0)
        exit(7);
}

static int exit_beside_a_task(void *arg)
{
    struct meeting m = { 0 };

    if (plait_crew_new(&m.crew, &(struct plait_crew_opts){ .workers = 2 }) != 0)
        return 1;
    plait_crew_run(m.crew, exit_meanwhile, &m);
    return 2;
}

static void exit_does_not_wait_for_tasks(void **state)
{
    child_await_quiet(0);
    assert_int_equal(child_run(exit_beside_a_task, NULL), 7);
}

/* ---- Loops ---- */

struct field {
    plait_crew_t *crew;
    uint32_t *visited;     /* atomic, one for each number */
    size_t begin, end, grain;
    size_t longest;        /* atomic: run */
    int wrong;             /* atomic */
    bool uneven;
};

static void visit(plait_worker_t *worker, size_t begin, size_t end, void *context)
{
    struct field *f = context;
    size_t longest = __atomic_load_n(&f->longest, __ATOMIC_RELAXED);

    if (begin < f->begin || end > f->end || begin >= end)
        __atomic_store_n(&f->wrong, 1, __ATOMIC_RELAXED);
    while (end - begin > longest &&
           !__atomic_compare_exchange_n(&f->longest, &longest, end - begin, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    for (size_t i = begin; i < end; i++) {
        __atomic_fetch_add(&f->visited[i], 1, __ATOMIC_RELAXED);
        if (f->uneven && i % 100 < 3)
            for (volatile unsigned n = 0; n < 3000; n++)
                ;
    }
}

static void loop_visits_each_number_once(void **state)
{
    static const size_t ends[] = { 0, 1, 2, 7, 100, 3001 }, grains[] = { 0, 1, 3, 64, 100000 };
    enum { LAST = 3001 };
    uint32_t *visited = calloc(LAST, sizeof *visited);

    for (unsigned workers = 1; workers <= 4; workers++) {
        plait_crew_t *crew = make(workers);

        for (size_t e = 0; e < sizeof ends / sizeof ends[0]; e++)
            for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) {
                struct field f = { .visited = visited, .begin = ends[e] / 3, .end = ends[e], .uneven = g % 2 };

                memset(visited, 0, LAST * sizeof *visited);
                assert_int_equal(plait_crew_for(crew, f.begin, f.end, grains[g], visit, &f), 0);
                for (size_t i = 0; i < LAST; i++)
                    assert_int_equal(visited[i], i >= f.begin && i < f.end);
                assert_int_equal(f.wrong, 0);
                assert_true(grains[g] == 0 || f.longest <= grains[g]);
            }
        assert_int_equal(plait_crew_for(crew, 5, 3, 1, visit, NULL), 0);
        assert_int_equal(plait_crew_for(crew, 0, 3, 1, NULL, NULL), EINVAL);
        plait_crew_free(crew);
    }
    free(visited);
}

/* Each waits for the other: one number each, as long as somebody comes. */
static void attend_part(plait_worker_t *worker, size_t begin, size_t end, void *context)
{
    attend(worker, context);
}

static void loop_is_divided_when_somebody_has_nothing_to_do(void **state)
{
    struct crowd c = { .parties = 4 };

    c.crew = make(c.parties);
    assert_int_equal(plait_barrier_init(&c.barrier, c.parties, 0), 0);
    for (int times = 0; times < 20; times++) {
        assert_true(all_sleep(c.crew));
        assert_int_equal(plait_crew_for(c.crew, 0, c.parties, 1, attend_part, &c), 0);
        assert_int_equal(c.wrong, 0);
    }
    plait_barrier_fini(&c.barrier);
    plait_crew_free(c.crew);
}

/* Neighbours as a pair of numbers: joining any but neighbours, in order, spoils it. */
struct stretch {
    size_t begin, end;
    unsigned long sum;
    bool spoilt;
};

static void stretch_over(plait_worker_t *worker, size_t begin, size_t end, void *into, void *context)
{
    struct stretch next = { .begin = begin, .end = end }, *s = into;
    bool empty = s->begin == s->end;

    for (size_t i = begin; i < end; i++) {
        next.sum += i;
        if (i % 64 < 2)
            for (volatile unsigned n = 0; n < 2000; n++)
                ;
    }
    s->spoilt |= !empty && s->end != begin;
    s->begin = empty ? begin : s->begin;
    s->end = end;
    s->sum += next.sum;
}

static void stretch_join(void *into, const void *from, void *context)
{
    const struct stretch *next = from;
    struct stretch *s = into;

    s->spoilt |= next->spoilt || s->end != next->begin || s->begin == s->end || next->begin == next->end;
    s->end = next->end;
    s->sum += next->sum;
}

static void reduction_joins_neighbours_in_order(void **state)
{
    static const size_t grains[] = { 0, 1, 10, 5000 };

    for (unsigned workers = 1; workers <= 4; workers++) {
        plait_crew_t *crew = make(workers);

        for (int times = 0; times < 10; times++)
            for (size_t g = 0; g < sizeof grains / sizeof grains[0]; g++) {
                struct stretch s = { 0 };

                assert_int_equal(plait_crew_reduce(crew, 10, 4010, grains[g], stretch_over, stretch_join, sizeof s, &s,
                                                   NULL), 0);
                assert_int_equal(s.begin, 10);
                assert_int_equal(s.end, 4010);
                assert_int_equal(s.sum, 4000ul * (10 + 4009) / 2);
                assert_false(s.spoilt);
            }
        plait_crew_free(crew);
    }
}

static void reduction_of_nothing_and_nonsense(void **state)
{
    plait_crew_t *crew = make(1);
    struct stretch s = { .begin = 3, .end = 3 };

    assert_int_equal(plait_crew_reduce(crew, 4, 4, 0, stretch_over, stretch_join, sizeof s, &s, NULL), 0);
    assert_int_equal(s.begin, 3);
    assert_int_equal(plait_crew_reduce(crew, 0, 4, 0, NULL, stretch_join, sizeof s, &s, NULL), EINVAL);
    assert_int_equal(plait_crew_reduce(crew, 0, 4, 0, stretch_over, NULL, sizeof s, &s, NULL), EINVAL);
    assert_int_equal(plait_crew_reduce(crew, 0, 4, 0, stretch_over, stretch_join, 0, &s, NULL), EINVAL);
    assert_int_equal(plait_crew_reduce(crew, 0, 4, 0, stretch_over, stretch_join, 4097, &s, NULL), EINVAL);
    assert_int_equal(plait_crew_reduce(crew, 0, 4, 0, stretch_over, stretch_join, sizeof s, NULL, NULL), EINVAL);
    plait_crew_free(crew);
}

struct table {
    plait_crew_t *crew;
    struct field rows[20];
};

static void visit_row(plait_worker_t *worker, size_t begin, size_t end, void *context)
{
    struct table *t = context;

    for (size_t i = begin; i < end; i++)
        if (plait_crew_for(t->crew, 0, t->rows[i].end, 0, visit, &t->rows[i]) != 0)
            t->rows[i].wrong = 1;
}

static void loops_may_stand_in_loops(void **state)
{
    struct table t = { .crew = make(3) };

    for (size_t i = 0; i < 20; i++)
        t.rows[i] = (struct field){ .visited = calloc(500, sizeof(uint32_t)), .end = 500, .uneven = i % 2 };
    assert_int_equal(plait_crew_for(t.crew, 0, 20, 1, visit_row, &t), 0);
    for (size_t i = 0; i < 20; i++) {
        for (size_t n = 0; n < 500; n++)
            assert_int_equal(t.rows[i].visited[n], 1);
        assert_int_equal(t.rows[i].wrong, 0);
        free(t.rows[i].visited);
    }
    plait_crew_free(t.crew);
}

/* ---- Detached tasks ---- */

struct parcel {
    struct plait__crew_task task;
    struct load *load;
    unsigned number, submitter;
};

struct load {
    plait_crew_t *crew;
    struct parcel *parcels;
    unsigned count, submitters;
    uint32_t ran;         /* atomic */
    uint32_t *order;      /* of each parcel: when it ran */
    plait_event_t done;
    long sum;             /* atomic */
};

static void count_parcel(struct plait__crew_task *task, plait_worker_t *worker)
{
    struct parcel *p = (struct parcel *)task;
    struct load *load = p->load;
    uint32_t order = __atomic_fetch_add(&load->ran, 1, __ATOMIC_ACQ_REL);

    load->order[p->number] = order;
    if (order + 1 == load->count)
        plait_event_set(&load->done);
}

static void *submit_parcels(void *arg)
{
    struct parcel *first = arg;
    struct load *load = first->load;

    for (unsigned i = first->number; i < load->count; i += load->submitters)
        plait__crew_submit(load->crew, &load->parcels[i].task);
    return NULL;
}

static struct load load_of(unsigned threads, unsigned submitters, unsigned count)
{
    struct load load = { .count = count, .submitters = submitters };

    assert_int_equal(plait__crew_open(&load.crew, &(struct plait_crew_opts){ .depth = 100, .name = "test" }, threads, NULL), 0);
    load.parcels = calloc(count, sizeof *load.parcels);
    load.order = calloc(count, sizeof *load.order);
    return load;
}

static void unload(struct load *load)
{
    assert_int_equal(plait_crew_free(load->crew), 0);
    free(load->parcels);
    free(load->order);
}

static void run_parcels(struct load *load, void (*run)(struct plait__crew_task *, plait_worker_t *))
{
    pthread_t threads[8];

    for (unsigned i = 0; i < load->count; i++)
        load->parcels[i] = (struct parcel){ .task = { .run = run }, .load = load, .number = i };
    for (unsigned i = 0; i < load->submitters; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submit_parcels, &load->parcels[i]), 0);
    for (unsigned i = 0; i < load->submitters; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(plait_event_wait(&load->done, plait_after(PATIENCE)), 0);
}

static void tasks_from_outside_run_once(void **state)
{
    for (unsigned threads = 1; threads <= 4; threads++)
        for (unsigned submitters = 1; submitters <= 4; submitters++) {
            struct load load = load_of(threads, submitters, 3000);

            run_parcels(&load, count_parcel);
            assert_int_equal(load.ran, load.count);
            if (threads == 1) /* in the order of submission */
                for (unsigned i = submitters; i < load.count; i++)
                    assert_true(load.order[i] > load.order[i - submitters]);
            unload(&load);
        }
}

static void fork_and_join_parcel(struct plait__crew_task *task, plait_worker_t *worker)
{
    struct parcel *p = (struct parcel *)task;
    struct fib f = { .n = p->number % 16 };

    fib(worker, &f);
    __atomic_fetch_add(&p->load->sum, f.result + 1000000 * f.wrong, __ATOMIC_RELAXED);
    count_parcel(task, worker);
}

static void tasks_from_outside_may_spawn(void **state)
{
    struct load load = load_of(3, 2, 1600);

    run_parcels(&load, fork_and_join_parcel);
    assert_int_equal(load.sum, 100 * 1596); /* the first 16 numbers of Fibonacci */
    unload(&load);
}

/* Each waits for the next one, submitted from inside, in as many threads as there are waits. */
static void submit_next(struct plait__crew_task *task, plait_worker_t *worker)
{
    struct parcel *p = (struct parcel *)task;

    if (p->number + 1 < p->load->count)
        plait__crew_submit(p->load->crew, &p->load->parcels[p->number + 1].task);
    count_parcel(task, worker);
    plait_event_wait(&p->load->done, plait_after(PATIENCE));
}

static void tasks_that_block_do_not_hold_up_others(void **state)
{
    struct load load = load_of(4, 1, 4);

    for (int times = 0; times < 30; times++) {
        assert_true(all_sleep(load.crew));
        load.ran = 0;
        plait_event_clear(&load.done);
        for (unsigned i = 0; i < load.count; i++)
            load.parcels[i] = (struct parcel){ .task = { .run = submit_next }, .load = &load, .number = i };
        plait__crew_submit(load.crew, &load.parcels[0].task);
        assert_int_equal(plait_event_wait(&load.done, plait_after(PATIENCE)), 0);
    }
    assert_true(all_sleep(load.crew));
    unload(&load);
}

/* After a thousand short ones, when threads take many at a time: each blocks until all others of its group have begun. */
enum { GROUP = 3 };

static void wait_for_group(struct plait__crew_task *task, plait_worker_t *worker)
{
    struct parcel *p = (struct parcel *)task;
    uint32_t end = (p->number / GROUP + 1) * GROUP; /* of 1000 + GROUP */
    plait_time_t late = plait_after(PATIENCE);

    count_parcel(task, worker);
    for (uint32_t ran; (ran = __atomic_load_n(&p->load->ran, __ATOMIC_ACQUIRE)) < end && plait_now() < late;)
        plait_wait(&p->load->ran, ran, 0, plait_after(0.01));
    plait_wake(&p->load->ran, UINT_MAX, 0);
}

static void short_tasks_do_not_make_long_ones_wait(void **state)
{
    struct load load = load_of(GROUP, 1, 999 + GROUP);

    for (int times = 0; times < 30; times++) {
        load.ran = 0;
        plait_event_clear(&load.done);
        for (unsigned i = 0; i < load.count; i++) {
            load.parcels[i] = (struct parcel){ .load = &load, .number = i };
            load.parcels[i].task.run = i < 999 ? count_parcel : wait_for_group;
            plait__crew_submit(load.crew, &load.parcels[i].task);
        }
        assert_int_equal(plait_event_wait(&load.done, plait_after(PATIENCE / 2)), 0);
        assert_true(all_sleep(load.crew));
    }
    unload(&load);
}

/*
 * One that submits itself again and again keeps the queue from getting empty; another one waits for the one behind it, which
 * may be in its thread's hand.
 */
struct flow {
    struct parcel again, blocks, releases;
    struct parcel shorts[200];
    plait_crew_t *crew;
    plait_event_t released, ended;
    uint32_t unmet; /* atomic */
};

static struct flow *flow;

static void run_nothing(struct plait__crew_task *task, plait_worker_t *worker)
{
}

static void run_again(struct plait__crew_task *task, plait_worker_t *worker)
{
    if (plait_event_is_set(&flow->released))
        plait_event_set(&flow->ended);
    else
        plait__crew_submit(flow->crew, task);
}

static void run_block(struct plait__crew_task *task, plait_worker_t *worker)
{
    if (plait_event_wait(&flow->released, plait_after(PATIENCE / 2)) != 0)
        __atomic_store_n(&flow->unmet, 1, __ATOMIC_RELAXED);
    plait_event_set(&flow->released);
}

static void run_release(struct plait__crew_task *task, plait_worker_t *worker)
{
    plait_event_set(&flow->released);
}

static void queue_that_is_never_empty_does_not_hide_a_hand(void **state)
{
    plait_crew_t *crew;

    assert_int_equal(plait__crew_open(&crew, &(struct plait_crew_opts){ .depth = 100, .name = "test" }, 2, NULL), 0);
    for (int times = 0; times < 30; times++) {
        flow = calloc(1, sizeof *flow);
        flow->crew = crew;
        flow->again.task.run = run_again;
        flow->blocks.task.run = run_block;
        flow->releases.task.run = run_release;
        for (unsigned i = 0; i < 200; i++) {
            flow->shorts[i].task.run = run_nothing;
            plait__crew_submit(crew, &flow->shorts[i].task);
        }
        plait__crew_submit(crew, &flow->again.task);
        plait__crew_submit(crew, &flow->blocks.task);
        plait__crew_submit(crew, &flow->releases.task);
        assert_int_equal(plait_event_wait(&flow->ended, plait_after(PATIENCE)), 0);
        assert_int_equal(flow->unmet, 0);
        assert_true(all_sleep(crew));
        free(flow);
    }
    plait_crew_free(crew);
}

static void free_runs_what_was_submitted(void **state)
{
    for (int times = 0; times < 20; times++) {
        struct load load = load_of(2, 1, 500);

        for (unsigned i = 0; i < load.count; i++) {
            load.parcels[i] = (struct parcel){ .task = { .run = count_parcel }, .load = &load, .number = i };
            plait__crew_submit(load.crew, &load.parcels[i].task);
        }
        assert_int_equal(plait_crew_free(load.crew), 0);
        assert_int_equal(load.ran, load.count);
        free(load.parcels);
        free(load.order);
    }
}

/* One by one, with pauses in which the threads fall asleep, or are about to. */
static void no_task_is_forgotten_by_who_falls_asleep(void **state)
{
    struct load load = load_of(3, 1, 1);
    uint64_t random = seed();
    plait_time_t end = plait_after(1);
    unsigned long times = 0;

    for (; plait_now() < end; times++) {
        load.ran = 0;
        plait_event_clear(&load.done);
        load.parcels[0] = (struct parcel){ .task = { .run = count_parcel }, .load = &load };
        plait__crew_submit(load.crew, &load.parcels[0].task);
        assert_int_equal(plait_event_wait(&load.done, plait_after(PATIENCE)), 0);
        for (volatile uint64_t i = next_random(&random) % 8192; i > 0; i--)
            ;
    }
    print_message("%lu times\n", times);
    unload(&load);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_end_the_program),
        cmocka_unit_test(exit_does_not_wait_for_tasks),
        cmocka_unit_test(every_task_runs_once_whatever_the_workers),
        cmocka_unit_test(sync_is_for_the_youngest),
        cmocka_unit_test(more_than_depth_is_run_at_once),
        cmocka_unit_test(sleeping_thread_comes_for_a_spawned_task),
        cmocka_unit_test(sleeping_threads_come_one_after_the_other),
        cmocka_unit_test(only_descendants_run_inside_a_task),
        cmocka_unit_test(any_number_of_threads_runs_at_once),
        cmocka_unit_test(task_may_run_in_another_crew_and_not_free_its_own),
        cmocka_unit_test(token_of_the_caller_does_not_count_inside),
        cmocka_unit_test(absurd_options_are_refused),
        cmocka_unit_test(stack_and_name_are_as_asked),
        cmocka_unit_test(idle_threads_cost_nothing),
        cmocka_unit_test(child_after_fork_is_told),
        cmocka_unit_test(child_of_a_task_does_not_wait_for_the_parents_thread),
        cmocka_unit_test(loop_visits_each_number_once),
        cmocka_unit_test(loop_is_divided_when_somebody_has_nothing_to_do),
        cmocka_unit_test(reduction_joins_neighbours_in_order),
        cmocka_unit_test(reduction_of_nothing_and_nonsense),
        cmocka_unit_test(loops_may_stand_in_loops),
        cmocka_unit_test(tasks_from_outside_run_once),
        cmocka_unit_test(tasks_from_outside_may_spawn),
        cmocka_unit_test(tasks_that_block_do_not_hold_up_others),
        cmocka_unit_test(short_tasks_do_not_make_long_ones_wait),
        cmocka_unit_test(queue_that_is_never_empty_does_not_hide_a_hand),
        cmocka_unit_test(free_runs_what_was_submitted),
        cmocka_unit_test(no_task_is_forgotten_by_who_falls_asleep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
