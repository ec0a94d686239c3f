/* SPDX-License-Identifier: MIT */
/* What can happen to a pool and its workers from outside: deaths at any time, stops, limits of the system, forks, terminals. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"
#include "support/pools.h"

enum { SECONDS = 60, MEBIBYTE = 1 << 20 };

/* Seen by all processes: mapped before the nursery was made. */
static struct shared {
    uint32_t gate;
    uint32_t inside;
    uint32_t interrupts;
    pid_t pids[8];
} *shared;

static uint32_t load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

/* ---- Tasks ---- */

static int square(plait_task_t *task, const void *arg, size_t size)
{
    long value = *(const long *)arg;

    value *= value;
    return plait_task_return(task, &value, sizeof value);
}

static int stay_at_gate(plait_task_t *task, const void *arg, size_t size)
{
    uint32_t place = __atomic_fetch_add(&shared->inside, 1, __ATOMIC_ACQ_REL);

    shared->pids[place % 8] = getpid();
    while (load(&shared->gate) == 0)
        plait_wait(&shared->gate, 0, PLAIT_SHARED, plait_after(0.05));
    return 0;
}

/* A result of a mebibyte, all of whose bytes are the argument. */
static int fill(plait_task_t *task, const void *arg, size_t size)
{
    char *bytes = malloc(MEBIBYTE);
    int err;

    if (!bytes)
        return ENOMEM;
    memset(bytes, *(const char *)arg, MEBIBYTE);
    err = plait_task_return(task, bytes, MEBIBYTE);
    free(bytes);
    return err;
}

static int tell_parent(plait_task_t *task, const void *arg, size_t size)
{
    pid_t parent = getppid();

    return plait_task_return(task, &parent, sizeof parent);
}

static int eat_memory(plait_task_t *task, const void *arg, size_t size)
{
    struct rlimit limit = { (size_t)4 << 30, (size_t)4 << 30 };
    size_t eaten = 0;

    if (setrlimit(RLIMIT_AS, &limit) != 0)
        return errno;
    while (malloc(64 * MEBIBYTE))
        eaten++;
    return plait_task_fail(task, ENOMEM, "after %zu pieces", eaten);
}

/* A child of its own, which outlives the worker. */
static int leave_a_child(plait_task_t *task, const void *arg, size_t size)
{
    pid_t child = fork();

    if (child == 0) {
        while (load(&shared->gate) == 0)
            usleep(1000);
        _exit(0);
    }
    shared->pids[*(const int *)arg] = child;
    if (*(const int *)arg)
        raise(SIGKILL);
    return child > 0 ? 0 : EAGAIN;
}

/* A child of its own that comes back as if it were the worker, with a large result: that is nobody's. */
static int fork_and_both_return(plait_task_t *task, const void *arg, size_t size)
{
    static char large[MEBIBYTE];
    long value = *(const long *)arg;
    int status = -1;
    pid_t child;

    __atomic_fetch_add(&shared->inside, 1, __ATOMIC_ACQ_REL);
    child = fork();
    if (child == 0)
        return plait_task_return(task, large, sizeof large);
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        return plait_task_fail(task, ECHILD, "the child has ended with %#x", status);
    value *= value;
    return plait_task_return(task, &value, sizeof value);
}

static int use_a_pool(plait_task_t *task, const void *arg, size_t size)
{
    enum plait_backend kind = *(const enum plait_backend *)arg;
    long numbers[10], squares[10];
    plait_pool_t *pool;
    int err = plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = kind, .workers = 2 });

    if (err)
        return plait_task_fail(task, err, "no pool");
    for (long i = 0; i < 10; i++)
        numbers[i] = i;
    err = plait_pool_map(pool, square, numbers, sizeof numbers[0], 10, squares, sizeof squares[0], plait_after(SECONDS));
    for (long i = 0; i < 10 && err == 0; i++)
        err = squares[i] == i * i ? 0 : EBADMSG;
    plait_pool_free(pool);
    return err;
}

/* ---- Helpers ---- */

static plait_pool_t *make_of(enum plait_backend kind, unsigned workers)
{
    plait_pool_t *pool = NULL;

    *shared = (struct shared){ 0 };
    assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = kind, .workers = workers,
                                                                      .memory = (size_t)64 * MEBIBYTE }), 0);
    return pool;
}

static void must_work(plait_pool_t *pool)
{
    for (long i = 0; i < 20; i++) {
        long result = 0;
        size_t size = sizeof result;

        assert_int_equal(plait_pool_apply(pool, square, &i, sizeof i, &result, &size, plait_after(SECONDS)), 0);
        assert_int_equal(result, i * i);
    }
}

static void open_gate(void)
{
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    plait_wake(&shared->gate, UINT_MAX, PLAIT_SHARED);
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;

    if (!dir)
        return -1;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* Does the shared memory come to have no more files than before? Programs beside this one have some for a while. */
static bool no_more_files_than(int before)
{
    plait_time_t end = plait_after(SECONDS);

    while (count_entries("/dev/shm") > before && plait_now() < end)
        plait_sleep(0.01);
    return count_entries("/dev/shm") <= before;
}

static bool is_gone(pid_t pid)
{
    char path[64], line[256] = "";
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (!file)
        return true;
    if (!fgets(line, sizeof line, file))
        line[0] = '\0';
    fclose(file);
    return line[0] == '\0' || (strrchr(line, ')') && strrchr(line, ')')[2] == 'Z');
}

static bool goes(pid_t pid)
{
    plait_time_t end = plait_after(SECONDS);

    while (!is_gone(pid) && plait_now() < end)
        plait_sleep(0.001);
    return is_gone(pid);
}

/* A program of its own; its status as from waitpid. */
static int as_program(int (*body)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(getenv("PLAIT_TEST_PATIENCE") ? 600 : 120);
        exit(body());
    }
    waitpid(pid, &status, 0);
    return status;
}

/* ---- Deaths of workers ---- */

/* Idle, taking, running, writing a large result, and after it: the moment moves through all of that. */
static void worker_killed_at_any_moment_costs_its_task_at_most(void **state)
{
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 1);
    unsigned lost = 0, whole = 0;

    must_work(pool);
    for (int i = 0; i < 150; i++) {
        char byte = (char)(i | 1);
        struct plait_pool_worker worker;
        plait_future_t *future;
        const char *bytes;
        const void *result;
        size_t size;
        int err;

        plait_pool_worker(pool, 0, &worker);
        future = pool_submit(pool, fill, &byte, 1);
        for (plait_time_t until = plait_now() + i * 12000; plait_now() < until;)
            ;
        if (worker.pid > 0)
            kill(worker.pid, SIGKILL);
        err = plait_future_get(future, &result, &size, plait_after(SECONDS));
        assert_true(err == 0 || err == EOWNERDEAD);
        if (err == 0) {
            bytes = result;
            assert_int_equal(size, MEBIBYTE);
            assert_true(bytes[0] == byte && memcmp(bytes, bytes + 1, MEBIBYTE - 1) == 0);
            whole++;
        } else
            lost++;
        plait_future_free(future);
    }
    print_message("%u lost, %u whole\n", lost, whole);
    must_work(pool); /* the memory of what was lost came back: there is room for 64 of these */
    pool_unmake(pool);
}

/* How many: PLAIT_POOL_KILLS. */
static void workers_killed_under_load_lose_no_task(void **state)
{
    enum { BATCH = 200 };
    const char *wanted = getenv("PLAIT_POOL_KILLS");
    unsigned kills_wanted = wanted ? (unsigned)atoi(wanted) : 150, kills = 0, lost = 0;
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 3);
    plait_future_t *futures[BATCH];
    unsigned long long tasks = 0;
    struct plait_pool_stats stats;

    while (kills < kills_wanted) {
        for (long i = 0; i < BATCH; i++) {
            struct plait_pool_worker worker;

            futures[i] = pool_submit(pool, square, &i, sizeof i);
            if (i % 50 == 49 && plait_pool_worker(pool, (unsigned)(i / 50) % 3, &worker) == 0 && worker.pid > 0)
                kills += kill(worker.pid, SIGKILL) == 0;
        }
        for (long i = 0; i < BATCH; i++) {
            const void *bytes;
            int err = plait_future_get(futures[i], &bytes, NULL, plait_after(SECONDS));

            assert_true(err == 0 || err == EOWNERDEAD);
            if (err == 0)
                assert_int_equal(*(const long *)bytes, i * i);
            lost += err != 0;
            plait_future_free(futures[i]);
        }
        tasks += BATCH;
    }
    print_message("%u kills, %llu tasks, %u lost\n", kills, tasks, lost);
    assert_true(lost <= kills);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    plait_pool_stats(pool, &stats);
    assert_true(stats.done >= tasks && stats.done <= tasks + kills); /* a death may count its last task twice */
    plait_pool_free(pool);
}

/* They come one after the other, and each ends its worker: no delay grows, and no other task fails. */
static int die(plait_task_t *task, const void *arg, size_t size)
{
    _exit(3);
}

static void poison_tasks_do_not_stop_the_others(void **state)
{
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 2);
    plait_future_t *futures[120];

    for (long i = 0; i < 120; i++)
        futures[i] = i % 3 ? pool_submit(pool, die, NULL, 0) : pool_submit(pool, square, &i, sizeof i);
    for (long i = 0; i < 120; i++) {
        assert_int_equal(plait_future_get(futures[i], NULL, NULL, plait_after(SECONDS)), i % 3 ? EOWNERDEAD : 0);
        if (i % 3)
            assert_non_null(strstr(plait_future_error_text(futures[i]), "exited with status 3"));
        plait_future_free(futures[i]);
    }
    pool_unmake(pool);
}

/* ---- Deaths of others ---- */

static void nursery_killed_costs_what_runs_at_most(void **state)
{
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 2);
    plait_future_t *futures[12];
    pid_t nursery = 0;
    size_t size = sizeof nursery;
    int lost = 0;

    assert_int_equal(plait_pool_apply(pool, tell_parent, NULL, 0, &nursery, &size, plait_after(SECONDS)), 0);
    assert_true(nursery > 1 && nursery != getpid());
    for (int i = 0; i < 2; i++)
        futures[i] = pool_submit(pool, stay_at_gate, NULL, 0);
    assert_true(pool_reaches(&shared->inside, 2));
    for (long i = 2; i < 12; i++)
        futures[i] = pool_submit(pool, square, &i, sizeof i);
    assert_int_equal(kill(nursery, SIGKILL), 0);
    plait_sleep(0.01);
    open_gate();
    for (long i = 0; i < 12; i++) {
        int err = plait_future_get(futures[i], NULL, NULL, plait_after(SECONDS));

        assert_true(err == 0 || err == EOWNERDEAD);
        lost += err != 0;
        plait_future_free(futures[i]);
    }
    assert_true(lost <= 2);
    must_work(pool);
    pool_unmake(pool);
}

static int work_and_be_killed(void)
{
    plait_pool_t *pool;

    if (plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = PLAIT_PROCESSES, .workers = 3 }) != 0)
        return 1;
    for (int i = 0; i < 2; i++)
        if (plait_pool_apply_async(pool, stay_at_gate, NULL, 0, NULL) != 0)
            return 2;
    if (!pool_reaches(&shared->inside, 2))
        return 3;
    for (unsigned i = 0; i < 3; i++) {
        struct plait_pool_worker worker;

        plait_pool_worker(pool, i, &worker);
        shared->pids[i] = worker.pid;
    }
    raise(SIGKILL);
    return 4;
}

static void program_killed_leaves_nothing(void **state)
{
    int before = count_entries("/dev/shm"), status;

    *shared = (struct shared){ 0 };
    status = as_program(work_and_be_killed);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    for (int i = 0; i < 3; i++) {
        assert_true(shared->pids[i] > 0);
        assert_true(goes(shared->pids[i]));
    }
    assert_true(no_more_files_than(before));
}

static int work_and_exit(void)
{
    plait_pool_t *pools[2];

    for (int i = 0; i < 2; i++) {
        if (plait_pool_new(&pools[i], &(struct plait_pool_opts){ .backend = (enum plait_backend)i, .workers = 1 }) != 0)
            return 1;
        for (int j = 0; j < 5; j++)
            if (plait_pool_apply_async(pools[i], stay_at_gate, NULL, 0, NULL) != 0)
                return 2;
    }
    return pool_reaches(&shared->inside, 2) ? 5 : 3;
}

/* The workers end with the program, whatever they are at. */
static void program_that_exits_does_not_wait_for_its_pools(void **state)
{
    int status;

    *shared = (struct shared){ 0 };
    status = as_program(work_and_exit);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 5);
    for (int i = 0; i < 2; i++)
        assert_true(goes(shared->pids[i]));
}

/* ---- Stops and limits ---- */

static void stopped_worker_holds_up_its_own_task_only(void **state)
{
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 2);
    plait_future_t *future = pool_submit(pool, stay_at_gate, NULL, 0);

    assert_true(pool_reaches(&shared->inside, 1));
    assert_int_equal(kill(shared->pids[0], SIGSTOP), 0);
    open_gate();
    must_work(pool);
    assert_int_equal(plait_future_wait(future, plait_after(0.02)), ETIMEDOUT);
    assert_int_equal(kill(shared->pids[0], SIGCONT), 0);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), 0);
    plait_future_free(future);
    pool_unmake(pool);
}

static void stopped_worker_is_replaced_when_its_tasks_time_is_up(void **state)
{
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 1);
    plait_future_t *future;

    assert_int_equal(plait_pool_submit(pool, &(struct plait_task_opts){ .fn = stay_at_gate, .limit = 0.05, .grace = 0.02 }, &future), 0);
    assert_true(pool_reaches(&shared->inside, 1));
    assert_int_equal(kill(shared->pids[0], SIGSTOP), 0);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), ETIMEDOUT);
    must_work(pool);
    assert_true(goes(shared->pids[0]));
    plait_future_free(future);
    pool_unmake(pool);
}

static void terminate_does_not_wait_for_a_stopped_worker(void **state)
{
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 1);
    plait_future_t *future = pool_submit(pool, stay_at_gate, NULL, 0);

    assert_true(pool_reaches(&shared->inside, 1));
    assert_int_equal(kill(shared->pids[0], SIGSTOP), 0);
    plait_pool_terminate(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), ECANCELED);
    assert_true(goes(shared->pids[0]));
    plait_future_free(future);
    plait_pool_free(pool);
}

static void task_that_eats_all_memory_fails_alone(void **state)
{
    plait_pool_t *pool;
    plait_future_t *future;

#if defined __SANITIZE_THREAD__ || defined __SANITIZE_ADDRESS__
    skip(); /* their own memory is beyond any limit */
#endif
    if (is_emulated())
        skip(); /* an emulator sets no limit to its own memory */
    pool = make_of(PLAIT_PROCESSES, 1);
    future = pool_submit(pool, eat_memory, NULL, 0);

    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), ENOMEM);
    assert_non_null(strstr(plait_future_error_text(future), "pieces"));
    must_work(pool);
    plait_future_free(future);
    pool_unmake(pool);
}

/* As many descriptors as the program has open, and no more; the former limit. */
static rlim_t use_up_descriptors(void)
{
    struct rlimit limit;
    rlim_t before;
    int free_one = dup(0);

    close(free_one);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    before = limit.rlim_cur;
    limit.rlim_cur = (rlim_t)free_one;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

static void allow_descriptors(rlim_t count)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = count;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void pool_that_finds_no_descriptors_is_refused_and_leaks_none(void **state)
{
    int before = count_entries("/proc/self/fd"), err;
    plait_pool_t *pool = NULL;
    rlim_t limit = use_up_descriptors();

    err = plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = PLAIT_PROCESSES, .workers = 2 });
    allow_descriptors(limit);
    assert_true(err == EMFILE || err == EAGAIN);
    assert_null(pool);
    assert_int_equal(count_entries("/proc/self/fd"), before);
    pool = make_of(PLAIT_PROCESSES, 2);
    must_work(pool);
    pool_unmake(pool);
}

/* No worker can be started until there are descriptors again; then it is. */
static void worker_that_dies_while_there_are_no_descriptors_is_replaced_later(void **state)
{
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 1);
    struct plait_pool_worker worker;
    rlim_t limit;

    must_work(pool);
    plait_pool_worker(pool, 0, &worker);
    limit = use_up_descriptors();
    kill(worker.pid, SIGKILL);
    plait_sleep(0.05);
    allow_descriptors(limit);
    must_work(pool);
    pool_unmake(pool);
}

/* ---- Forks ---- */

static void workers_children_are_nobody_elses(void **state)
{
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 1);
    int dies = 0;
    plait_future_t *future = pool_submit(pool, leave_a_child, &dies, sizeof dies);

    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), 0);
    assert_true(shared->pids[0] > 0 && !is_gone(shared->pids[0]));
    plait_future_free(future);
    dies = 1;
    future = pool_submit(pool, leave_a_child, &dies, sizeof dies);
    assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), EOWNERDEAD);
    plait_future_free(future);
    must_work(pool);
    open_gate();
    for (int i = 0; i < 2; i++)
        assert_true(goes(shared->pids[i]));
    pool_unmake(pool);
}

static void child_that_returns_from_its_task_is_no_worker(void **state)
{
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 1);
    struct plait_pool_stats stats;

    for (long i = 0; i < 5; i++) {
        long result = 0;
        size_t size = sizeof result;

        assert_int_equal(plait_pool_apply(pool, fork_and_both_return, &i, sizeof i, &result, &size, plait_after(SECONDS)), 0);
        assert_int_equal(size, sizeof result);
        assert_int_equal(result, i * i);
    }
    must_work(pool);
    assert_int_equal(load(&shared->inside), 5);
    plait_pool_close(pool);
    assert_int_equal(plait_pool_join(pool, plait_after(SECONDS)), 0);
    plait_pool_stats(pool, &stats);
    assert_int_equal(stats.done, 25);
    assert_int_equal(stats.failed, 0);
    plait_pool_free(pool);
}

/* Nor does it go on with the items behind its own, or write into the results. */
static void child_that_returns_from_an_item_runs_no_other(void **state)
{
    plait_pool_t *pool = make_of(PLAIT_PROCESSES, 1);
    long numbers[] = { 1, 2, 3, 4, 5, 6, 7, 8 }, squares[8];
    struct plait_imap_result result;
    plait_imap_t *imap;

    assert_int_equal(plait_pool_map(pool, fork_and_both_return, numbers, sizeof numbers[0], 8, squares, sizeof squares[0],
                                    plait_after(SECONDS)), 0);
    for (long i = 0; i < 8; i++)
        assert_int_equal(squares[i], (i + 1) * (i + 1));
    assert_int_equal(load(&shared->inside), 8);
    assert_int_equal(plait_pool_imap(pool, fork_and_both_return, &(struct plait_imap_opts){ .items = numbers, .item_size = sizeof numbers[0],
                                                                                            .count = 8, .chunk_size = 4 }, &imap), 0);
    for (long i = 0; i < 8; i++) {
        assert_int_equal(plait_imap_next(imap, &result, plait_after(SECONDS)), 0);
        assert_int_equal(result.code, 0);
        assert_int_equal(*(const long *)result.bytes, (i + 1) * (i + 1));
    }
    assert_int_equal(load(&shared->inside), 16);
    plait_imap_free(imap);
    pool_unmake(pool);
}

static void program_may_fork_in_the_middle_of_work(void **state)
{
    plait_pool_t *pool = make_of(backend, 2);
    plait_future_t *futures[200];

    for (long i = 0; i < 200; i++) {
        futures[i] = pool_submit(pool, square, &i, sizeof i);
        if (i % 20 == 10) {
            pid_t child = fork();
            int status = 0;

            assert_true(child >= 0);
            if (child == 0) { /* the pool is not its own */
                int err = plait_pool_apply_async(pool, square, &i, sizeof i, NULL);

                plait_pool_free(pool);
                _exit(err == EPIPE ? 9 : 1);
            }
            waitpid(child, &status, 0);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
        }
    }
    for (long i = 0; i < 200; i++) {
        const void *bytes;

        assert_int_equal(plait_future_get(futures[i], &bytes, NULL, plait_after(SECONDS)), 0);
        assert_int_equal(*(const long *)bytes, i * i);
        plait_future_free(futures[i]);
    }
    pool_unmake(pool);
}

/* The number of the first wait that is not refused; 0: all are. */
static int wait_for_a_parents(plait_future_t *future, plait_group_t *group, plait_as_completed_t *set)
{
    struct plait_wait_entry entry = plait_any_future_wait(future);
    plait_future_t *done;

    for (int now = 0; now < 2; now++) {
        plait_time_t deadline = now ? PLAIT_NOW : plait_after(SECONDS);

        if (plait_future_wait(future, deadline) != EOWNERDEAD)
            return 1;
        if (plait_future_get(future, NULL, NULL, deadline) != EOWNERDEAD)
            return 2;
        for (int when = PLAIT_ALL_COMPLETED; when <= PLAIT_FIRST_FAILED; when++)
            if (plait_future_wait_many(&future, 1, (enum plait_future_when)when, NULL, deadline) != EOWNERDEAD)
                return 3 + when;
        if (plait_group_wait(group, deadline) != EOWNERDEAD)
            return 6;
        if (plait_as_completed_next(set, &done, deadline) != EOWNERDEAD)
            return 7;
        if (plait_wait_any(&entry, 1, NULL, deadline) != EOWNERDEAD)
            return 8;
    }
    return plait_future_is_ready(future) ? 9 : 0;
}

static void child_does_not_wait_for_what_its_parents_pool_does(void **state)
{
    plait_pool_t *pool = make_of(backend, 1);
    plait_future_t *running = pool_submit(pool, stay_at_gate, NULL, 0), *pending = pool_submit(pool, stay_at_gate, NULL, 0);

    assert_true(pool_reaches(&shared->inside, 1));
    for (int i = 0; i < 2; i++) {
        plait_future_t *future = i ? pending : running;
        plait_as_completed_t *set;
        plait_group_t *group;
        int status = 0;
        pid_t child;

        assert_int_equal(plait_group_new(&group), 0);
        assert_int_equal(plait_group_add(group, future), 0);
        assert_int_equal(plait_as_completed_new(&set, &future, 1), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(wait_for_a_parents(future, group, set));
        waitpid(child, &status, 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        plait_group_free(group);
        plait_as_completed_free(set);
    }
    open_gate();
    assert_int_equal(plait_future_get(running, NULL, NULL, plait_after(SECONDS)), 0);
    assert_int_equal(plait_future_get(pending, NULL, NULL, plait_after(SECONDS)), 0);
    plait_future_free(running);
    plait_future_free(pending);
    pool_unmake(pool);
}

/* ---- Many pools ---- */

static void a_thousand_pools_leave_nothing(void **state)
{
    int descriptors, threads, shm;

    pool_unmake(make_of(backend, 2));
    descriptors = count_entries("/proc/self/fd");
    threads = count_entries("/proc/self/task");
    shm = count_entries("/dev/shm");
    for (long i = 0; i < 1000; i++) {
        plait_pool_t *pool;
        long result = 0;
        size_t size = sizeof result;

        assert_int_equal(plait_pool_new(&pool, &(struct plait_pool_opts){ .backend = backend, .workers = 1 + (unsigned)i % 2 }), 0);
        if (i % 3) {
            assert_int_equal(plait_pool_apply(pool, square, &i, sizeof i, &result, &size, plait_after(SECONDS)), 0);
            assert_int_equal(result, i * i);
        }
        assert_int_equal(plait_pool_free(pool), 0);
    }
    assert_int_equal(count_entries("/proc/self/fd"), descriptors);
    assert_true(no_more_files_than(shm));
    for (int i = 0; count_entries("/proc/self/task") > threads && i < 10000; i++) /* a thread that was joined may be seen for a moment */
        plait_sleep(0.001);
    assert_true(count_entries("/proc/self/task") <= threads); /* which may have been one too many, for the same reason */
}

static void two_pools_work_beside_each_other(void **state)
{
    plait_pool_t *pools[] = { make_of(PLAIT_THREADS, 2), make_of(PLAIT_PROCESSES, 2), make_of(backend, 1) };
    plait_future_t *futures[90];

    for (long i = 0; i < 90; i++)
        futures[i] = pool_submit(pools[i % 3], square, &i, sizeof i);
    for (long i = 0; i < 90; i++) {
        const void *bytes;

        assert_int_equal(plait_future_get(futures[i], &bytes, NULL, plait_after(SECONDS)), 0);
        assert_int_equal(*(const long *)bytes, i * i);
        plait_future_free(futures[i]);
    }
    for (int i = 0; i < 3; i++)
        pool_unmake(pools[i]);
}

static void task_may_make_a_pool_of_its_own(void **state)
{
    plait_pool_t *pool;

#ifdef __SANITIZE_THREAD__
    if (backend == PLAIT_PROCESSES)
        skip(); /* a forked process would start threads, which ThreadSanitizer does not allow */
#endif
    pool = make_of(backend, 2);
    for (enum plait_backend kind = PLAIT_THREADS; kind <= PLAIT_PROCESSES; kind++) {
        plait_future_t *future = pool_submit(pool, use_a_pool, &kind, sizeof kind);

        assert_int_equal(plait_future_get(future, NULL, NULL, plait_after(SECONDS)), 0);
        plait_future_free(future);
    }
    pool_unmake(pool);
}

/* ---- The terminal ---- */

static void note_interrupt(int number)
{
    __atomic_fetch_add(&shared->interrupts, 1, __ATOMIC_ACQ_REL);
}

/* In the foreground of a terminal: works until it has been interrupted, or stopped, and then some more. */
static int work_at_a_terminal(void)
{
    plait_pool_t *pools[2];
    plait_future_t *futures[2];

    signal(SIGINT, note_interrupt);
    for (int i = 0; i < 2; i++) {
        if (plait_pool_new(&pools[i], &(struct plait_pool_opts){ .backend = (enum plait_backend)i, .workers = 2 }) != 0 ||
            plait_pool_apply_async(pools[i], stay_at_gate, NULL, 0, &futures[i]) != 0)
            return 1;
    }
    for (int i = 0; i < 2; i++) {
        long value = 7, result = 0;
        size_t size = sizeof result;

        if (plait_future_get(futures[i], NULL, NULL, plait_after(SECONDS)) != 0)
            return 2 + i;
        if (plait_pool_apply(pools[i], square, &value, sizeof value, &result, &size, plait_after(SECONDS)) != 0 || result != 49)
            return 4 + i;
        plait_future_free(futures[i]);
        plait_pool_close(pools[i]);
        if (plait_pool_join(pools[i], plait_after(SECONDS)) != 0)
            return 6 + i;
        plait_pool_free(pools[i]);
    }
    return 0;
}

static void interrupt_key_is_the_programs(void **state)
{
    int terminal, status = 0;
    pid_t program;

    *shared = (struct shared){ 0 };
    program = forkpty(&terminal, NULL, NULL, NULL);
    assert_true(program >= 0);
    if (program == 0) {
        alarm(120);
        exit(work_at_a_terminal());
    }
    assert_true(pool_reaches(&shared->inside, 2));
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(write(terminal, "\003", 1), 1);
        assert_true(pool_reaches(&shared->interrupts, i));
    }
    plait_sleep(0.02);
    open_gate();
    assert_int_equal(waitpid(program, &status, 0), program);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(terminal);
}

static void stop_key_stops_all_and_all_go_on(void **state)
{
    int terminal, status = 0;
    pid_t program;

    *shared = (struct shared){ 0 };
    program = forkpty(&terminal, NULL, NULL, NULL);
    assert_true(program >= 0);
    if (program == 0) {
        pid_t child;

        /* A process group that has a parent elsewhere in the session, as a shell is: an orphaned one does not stop. */
        alarm(120);
        child = fork();
        if (child == 0) {
            setpgid(0, 0);
            signal(SIGTTOU, SIG_IGN);
            tcsetpgrp(0, getpid());
            signal(SIGTTOU, SIG_DFL);
            exit(work_at_a_terminal());
        }
        if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
            _exit(50);
        plait_sleep(0.05);
        kill(-child, SIGCONT);
        if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
            _exit(51);
        _exit(WEXITSTATUS(status));
    }
    assert_true(pool_reaches(&shared->inside, 2));
    assert_int_equal(write(terminal, "\032", 1), 1);
    plait_sleep(0.02);
    open_gate();
    assert_int_equal(waitpid(program, &status, 0), program);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(terminal);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        /* Those that become programs of their own first: from a process without threads. */
        cmocka_unit_test(program_killed_leaves_nothing),
        cmocka_unit_test(program_that_exits_does_not_wait_for_its_pools),
        cmocka_unit_test(interrupt_key_is_the_programs),
        cmocka_unit_test(stop_key_stops_all_and_all_go_on),
        cmocka_unit_test(worker_killed_at_any_moment_costs_its_task_at_most),
        cmocka_unit_test(workers_killed_under_load_lose_no_task),
        cmocka_unit_test(poison_tasks_do_not_stop_the_others),
        cmocka_unit_test(nursery_killed_costs_what_runs_at_most),
        cmocka_unit_test(stopped_worker_holds_up_its_own_task_only),
        cmocka_unit_test(stopped_worker_is_replaced_when_its_tasks_time_is_up),
        cmocka_unit_test(terminate_does_not_wait_for_a_stopped_worker),
        cmocka_unit_test(task_that_eats_all_memory_fails_alone),
        cmocka_unit_test(pool_that_finds_no_descriptors_is_refused_and_leaks_none),
        cmocka_unit_test(worker_that_dies_while_there_are_no_descriptors_is_replaced_later),
        cmocka_unit_test(workers_children_are_nobody_elses),
        cmocka_unit_test(child_that_returns_from_its_task_is_no_worker),
        cmocka_unit_test(child_that_returns_from_an_item_runs_no_other),
        CONTRACT(program_may_fork_in_the_middle_of_work),
        CONTRACT(child_does_not_wait_for_what_its_parents_pool_does),
        CONTRACT(a_thousand_pools_leave_nothing),
        CONTRACT(two_pools_work_beside_each_other),
        CONTRACT(task_may_make_a_pool_of_its_own),
    };

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
