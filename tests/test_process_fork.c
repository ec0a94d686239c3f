/* SPDX-License-Identifier: MIT */
/* Processes forked from the program as it is: PLAIT_FORK, lib/exec/nursery.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"
#include "support/processes.h"

/* What processes tell the test; mapped before any was made. */
static struct shared {
    uint32_t count;
    int values[4];
} *shared;

static int present; /* what the program's memory has at the moment */

/* ---- Targets ---- */

static int tell_present(const void *arg, size_t size) { return present; }

static void arrive(void)
{
    __atomic_fetch_add(&shared->count, 1, __ATOMIC_ACQ_REL);
    plait_wake(&shared->count, UINT_MAX, PLAIT_SHARED);
}

static int wait_for_ever(const void *arg, size_t size)
{
    shared->values[3] = (int)getppid();
    arrive();
    for (;;)
        pause();
    return 0;
}

static int arrive_late(const void *arg, size_t size)
{
    plait_sleep(0.05);
    arrive();
    return 0;
}

/* ---- Helpers ---- */

static plait_process_t *start(struct plait_process_opts opts)
{
    plait_process_t *process;

    opts.method = PLAIT_FORK;
    if (plait_process_new(&process, &opts) != 0)
        return NULL;
    plait_time_t patience = plait_after(60);
    int err;

    do
        err = plait_process_start(process);
    while (err == EAGAIN && plait_now() < patience); /* other threads' locks were never free */
    if (err == 0)
        return process;
    plait_process_free(process);
    return NULL;
}

static int run(int (*target)(const void *, size_t), const void *arg, size_t size)
{
    return finish(start((struct plait_process_opts){ .target = target, .arg = arg, .arg_size = size }));
}

static void await_count(uint32_t least)
{
    uint32_t seen;

    while ((seen = __atomic_load_n(&shared->count, __ATOMIC_ACQUIRE)) < least)
        plait_wait(&shared->count, seen, PLAIT_SHARED, PLAIT_FOREVER);
}

static bool is_gone(pid_t pid)
{
    for (int i = 0; child_state(pid) != 0 && i < 20000; i++)
        plait_sleep(0.001);
    return child_state(pid) == 0;
}

static bool is_dead(pid_t pid)
{
    for (int i = 0; i < 20000; i++) {
        char state = child_state(pid);

        if (state == 0 || state == 'Z' || state == 'X')
            return true;
        plait_sleep(0.001);
    }
    return false;
}

/* ---- What it sees ---- */

static void fork_sees_the_memory_as_it_is(void **state)
{
    plait_process_t *process;

    for (present = 3; present < 6; present++)
        assert_int_equal(run(tell_present, NULL, 0), present);
    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .target = tell_present }), 0);
    assert_int_equal(plait_process_start(process), 0);
    assert_int_equal(finish(process), 0); /* the nursery's, as it was when that was made */
    present = 0;
}

static void fork_gets_argument_name_and_streams_as_any_target(void **state)
{
    static unsigned char bytes[100000];
    unsigned sum = 0;

    for (size_t i = 0; i < sizeof bytes; i++)
        sum += bytes[i] = (unsigned char)(i * 7);
    assert_int_equal(run(sum_bytes, bytes, sizeof bytes), sum % 251);
}

static int count_open(const void *arg, size_t size)
{
    int count = 0;

    for (int fd = 3; fd < 1000; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void fork_has_the_descriptors_that_are_listed(void **state)
{
    const struct plait_process_fd fds[] = { { 0, 60 }, { 1, 61 } };
    int more = open("/dev/null", O_RDONLY);

    assert_int_equal(run(count_open, NULL, 0), 0);
    assert_int_equal(finish(start((struct plait_process_opts){ .target = count_open, .fds = fds, .fd_count = 2 })), 2);
    close(more);
}

static int say(const void *arg, size_t size)
{
    printf("said by the process\n");
    return 0;
}

static void fork_writes_nothing_that_the_program_has_in_its_buffers(void **state)
{
    char path[] = "/tmp/plait-fork-XXXXXX", text[256] = "";
    int fd = mkstemp(path), before = dup(1);

    unlink(path);
    fflush(stdout);
    dup2(fd, 1);
    printf("the program's, "); /* stays in the buffer: this is a file */
    int code = run(say, NULL, 0);
    fflush(stdout);
    dup2(before, 1);
    close(before);
    assert_int_equal(code, 0);
    assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
    close(fd);
    assert_string_equal(text, "said by the process\nthe program's, ");
}

/* ---- libplait's own things ---- */

static plait_lock_t held;
static plait_lock_t *in_arena;

static int use_locks(const void *arg, size_t size)
{
    if (plait_lock_release(&held) != 0 || plait_lock_acquire(&held, PLAIT_NOW) != 0) /* the starter held it */
        return 1;
    for (int i = 0; i < 1000; i++) {
        if (plait_lock_acquire(in_arena, PLAIT_FOREVER) != 0)
            return 2;
        shared->values[0]++;
        plait_lock_release(in_arena);
    }
    return 0;
}

static void fork_releases_what_its_starter_held_and_uses_what_is_shared(void **state)
{
    plait_process_t *processes[4];
    plait_arena_t *arena;
    void *memory;

    assert_int_equal(plait_arena_new(&arena, NULL), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *in_arena, &memory), 0);
    in_arena = memory;
    assert_int_equal(plait_lock_init(in_arena, PLAIT_SHARED), 0);
    shared->values[0] = 0;
    assert_int_equal(plait_lock_acquire(&held, PLAIT_FOREVER), 0);
    for (int i = 0; i < 4; i++)
        processes[i] = start((struct plait_process_opts){ .target = use_locks });
    for (int i = 0; i < 4; i++)
        assert_int_equal(finish(processes[i]), 0);
    plait_lock_release(&held);
    assert_int_equal(shared->values[0], 4000);
    assert_int_equal(plait_arena_free(arena), 0);
}

static int count_task(plait_task_t *task, const void *arg, size_t size) { return 0; }

static void ring(plait_timer_t *timer, void *arg) { arrive(); }

static plait_pool_t *programs_pool;
static plait_timer_t programs_timer;

static int use_everything(const void *arg, size_t size)
{
    plait_pool_t *pool;
    int code = 7;

    if (plait_pool_apply(programs_pool, count_task, NULL, 0, NULL, NULL, plait_after(60)) != EPIPE)
        return 1;
    if (plait_timer_is_pending(&programs_timer) || plait_timer_start(&programs_timer, PLAIT_NOW) != 0 ||
        plait_timer_join(&programs_timer, plait_after(60)) != 0)
        return 2;
    if (plait_pool_new(&pool, &(struct plait_pool_opts){ .workers = 2 }) != 0 ||
        plait_pool_apply(pool, count_task, NULL, 0, NULL, NULL, plait_after(60)) != 0 || plait_pool_free(pool) != 0)
        return 3;
    if (run(give_code, &code, sizeof code) != 7) /* a fork of the fork */
        return 4;
    return 0;
}

static bool others_sleep(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    bool all = tasks != NULL;

    while (tasks && (entry = readdir(tasks))) {
        pid_t thread = (pid_t)atoi(entry->d_name);
        if (thread > 0 && thread != (pid_t)syscall(SYS_gettid))
            all = child_state(thread) == 'S' && all;
    }
    if (tasks)
        closedir(tasks);
    return all;
}

/* AddressSanitizer's allocator has no handlers of fork: a copy made while a thread begins may hold a lock of its for good. */
static void let_threads_begin(void)
{
    for (int looks = 0, asleep = 0; looks < 20000 && asleep < 3; looks++) {
        asleep = others_sleep() ? asleep + 1 : 0;
        plait_sleep(0.001);
    }
}

static void fork_makes_pools_timers_and_processes_of_its_own(void **state)
{
#ifdef PLAIT_UNDER_TSAN
    skip(); /* a child of a program with threads may start none there */
#endif
    if (is_emulated()) /* likewise */
        skip();
    assert_int_equal(plait_pool_new(&programs_pool, &(struct plait_pool_opts){ .workers = 2 }), 0);
    plait_timer_init(&programs_timer, &(struct plait_timer_opts){ .target = ring });
    plait_timer_start(&programs_timer, plait_after(3600));
    shared->count = 0;
    let_threads_begin();
    assert_int_equal(run(use_everything, NULL, 0), 0);
    assert_int_equal(shared->count, 1);
    plait_timer_cancel(&programs_timer);
    plait_timer_fini(&programs_timer);
    plait_pool_free(programs_pool);
}

/* ---- Who sees it, and how it ends ---- */

static uint32_t chld_count;

static void count_chld(int signal) { __atomic_fetch_add(&chld_count, 1, __ATOMIC_RELAXED); }

static void fork_is_seen_by_no_waitpid_and_no_sigchld(void **state)
{
    int code = 9;

    if (is_emulated()) /* no children without SIGCHLD there */
        skip();
    chld_count = 0;
    shared->count = 0;
    signal(SIGCHLD, count_chld);
    plait_process_t *process = start((struct plait_process_opts){ .target = wait_for_ever });
    await_count(1);
    assert_int_equal(run(give_code, &code, sizeof code), 9);
    assert_int_equal(waitpid(-1, NULL, 0), -1);
    assert_int_equal(errno, ECHILD);
    plait_process_kill(process);
    assert_int_equal(finish(process), -SIGKILL);
    assert_int_equal(waitpid(-1, NULL, 0), -1);
    signal(SIGCHLD, SIG_IGN);
    assert_int_equal(run(give_code, &code, sizeof code), 9);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(chld_count, 0);
}

static void *run_several(void *wrong)
{
    for (int i = 0; i < 10; i++) {
        int code = 20 + i, signal = i % 2 ? SIGTERM : SIGKILL;
        int given = run(give_code, &code, sizeof code), killed = run(kill_self, &signal, sizeof signal);

        if (given == code && killed == -signal)
            continue;
        fprintf(stderr, "%d in place of %d, %d in place of %d\n", given, code, killed, -signal);
        __atomic_fetch_add((int *)wrong, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void fork_has_its_exact_status_whichever_thread_starts_it(void **state)
{
    pthread_t threads[3];
    int wrong = 0;

#ifdef PLAIT_UNDER_TSAN
    skip(); /* the copy of a program may have its locks, or its own, in any state, and it does not let us know */
#endif
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_several, &wrong), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(wrong, 0);
}

static void fork_leaves_no_process_and_no_descriptor(void **state)
{
    int descriptors = count_descriptors();
    plait_process_t *process;
    pid_t keeper;

    for (int i = 0; i < 3; i++) {
        shared->count = 0;
        process = start((struct plait_process_opts){ .target = wait_for_ever });
        assert_non_null(process);
        await_count(1);
        keeper = shared->values[3];
        plait_process_kill(process);
        assert_int_equal(plait_process_join(process, plait_after(60)), 0);
        for (int tries = 0; child_state(keeper) != 0 && tries < 20000; tries++) {
            assert_false(plait_process_is_alive(process)); /* each look reaps what has ended by then */
            plait_sleep(0.001);
        }
        assert_int_equal(child_state(keeper), 0);
        assert_int_equal(finish(process), -SIGKILL);
        assert_int_equal(count_descriptors(), descriptors);
    }
    process = start((struct plait_process_opts){ .target = arrive_late });
    pid_t pid = plait_process_pid(process);
    plait_process_free(process); /* never joined: who comes next sweeps it out */
    assert_true(is_gone(pid));
    plait_process_free(start((struct plait_process_opts){ .target = tell_present }));
    assert_int_equal(run(tell_present, NULL, 0), 0);
}

static void fork_whose_keeper_is_killed_is_lost(void **state)
{
    plait_process_t *process;

    shared->count = 0;
    process = start((struct plait_process_opts){ .target = wait_for_ever });
    await_count(1);
    kill(shared->values[3], SIGKILL);
    assert_int_equal(plait_process_join(process, plait_after(0.2)), ETIMEDOUT);
    assert_int_equal(plait_process_kill(process), 0);
    assert_int_equal(plait_process_join(process, plait_after(60)), EOWNERDEAD);
    plait_process_free(process);
}

/* ---- Programs that end ---- */

static int leave_both_and_die(void *arg)
{
    plait_process_t *daemon = start((struct plait_process_opts){ .target = wait_for_ever, .daemon = true });
    plait_process_t *other = start((struct plait_process_opts){ .target = wait_for_ever });

    if (!daemon || !other)
        return 1;
    shared->values[0] = plait_process_pid(daemon);
    shared->values[1] = plait_process_pid(other);
    await_count(2);
    kill(getpid(), SIGKILL);
    return 2;
}

static void program_killed_takes_forked_daemons_along_and_no_others(void **state)
{
    shared->count = 0;
    child_await_quiet(0);
    assert_int_equal(child_run(leave_both_and_die, NULL), CHILD_SIGNALLED + SIGKILL);
    assert_true(is_dead(shared->values[0]));
    assert_true(child_state(shared->values[1]) != 0 && child_state(shared->values[1]) != 'Z');
    kill(shared->values[1], SIGKILL);
}

static int leave_both_and_exit(void *arg)
{
    plait_process_t *daemon = start((struct plait_process_opts){ .target = wait_for_ever, .daemon = true });

    shared->values[0] = plait_process_pid(daemon);
    await_count(1);
    plait_process_free(daemon);
    plait_process_free(start((struct plait_process_opts){ .target = arrive_late }));
    exit(4);
}

static void exit_waits_for_forks_and_kills_daemons(void **state)
{
    shared->count = 0;
    assert_int_equal(child_run(leave_both_and_exit, NULL), 4);
    assert_int_equal(shared->count, 2);
    assert_true(is_dead(shared->values[0]));
}

/* ---- Threads ---- */

static uint32_t stop;
static pthread_mutex_t guarded = PTHREAD_MUTEX_INITIALIZER;

static void take_guarded(void) { pthread_mutex_lock(&guarded); }
static void give_guarded(void) { pthread_mutex_unlock(&guarded); }

/* Holds malloc's locks, and one that has handlers, a good part of the time. */
static void *be_busy(void *arg)
{
    for (unsigned round = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); round++) {
        plait_time_t began = plait_now();

        pthread_mutex_lock(&guarded);
        for (size_t i = 0; i < 16; i++) {
            /* Volatile: or the compiler removes the pair. */
            void *volatile memory = malloc(5000 + 1000 * i);
            free(memory);
        }
        pthread_mutex_unlock(&guarded);
        plait_sleep_until(plait_now() + 2 * (plait_now() - began));
    }
    return NULL;
}

static int use_what_others_held(const void *arg, size_t size)
{
    void *volatile memory;

    for (size_t i = 16; i < 1 << 22; i *= 2) {
        pthread_mutex_lock(&guarded);
        memory = malloc(i);
        free(memory);
        pthread_mutex_unlock(&guarded);
    }
    return present;
}

static void fork_works_where_other_threads_hold_locks_that_have_handlers(void **state)
{
    pthread_t threads[3];

#ifdef PLAIT_UNDER_TSAN
    skip(); /* the copy of a program may have its locks, or its own, in any state, and it does not let us know */
#endif
    assert_int_equal(pthread_atfork(take_guarded, give_guarded, give_guarded), 0);
    present = 11;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, be_busy, NULL), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(run(use_what_others_held, NULL, 0), 11);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    present = 0;
}

/* ---- Mistakes ---- */

static void method_that_is_absurd_is_refused(void **state)
{
    plait_process_t *process;

    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .program = "true", .method = PLAIT_FORK }), EINVAL);
    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .target = tell_present,
                                                                               .method = (enum plait_process_method)9 }), EINVAL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fork_sees_the_memory_as_it_is),
        cmocka_unit_test(fork_gets_argument_name_and_streams_as_any_target),
        cmocka_unit_test(fork_has_the_descriptors_that_are_listed),
        cmocka_unit_test(fork_writes_nothing_that_the_program_has_in_its_buffers),
        cmocka_unit_test(fork_releases_what_its_starter_held_and_uses_what_is_shared),
        cmocka_unit_test(fork_is_seen_by_no_waitpid_and_no_sigchld),
        cmocka_unit_test(fork_leaves_no_process_and_no_descriptor),
        cmocka_unit_test(fork_whose_keeper_is_killed_is_lost),
        cmocka_unit_test(program_killed_takes_forked_daemons_along_and_no_others),
        cmocka_unit_test(exit_waits_for_forks_and_kills_daemons),
        cmocka_unit_test(method_that_is_absurd_is_refused),
        cmocka_unit_test(fork_has_its_exact_status_whichever_thread_starts_it),
        cmocka_unit_test(fork_makes_pools_timers_and_processes_of_its_own),
        cmocka_unit_test(fork_works_where_other_threads_hold_locks_that_have_handlers),
    };
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
