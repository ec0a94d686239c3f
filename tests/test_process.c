/* SPDX-License-Identifier: MIT */
/* Tests of processes and the nursery: lib/exec/process.c, nursery.c, newborn.c, module.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/init.h>
#include <plait/process.h>
#include <plait/wait.h>

#include "support/child.h"
#include "support/cmocka.h"

/* Memory that this program and its nursery share, because it was mapped before: what processes tell the test. */
static struct shared {
    uint32_t word;
    uint32_t count;
    int values[8];
    char text[256];
} *shared;

/* ---- Targets ---- */

static int give_code(const void *arg, size_t size)
{
    return *(const int *)arg;
}

static int kill_self(const void *arg, size_t size)
{
    kill(getpid(), *(const int *)arg);
    return 0;
}

static int wait_for_ever(const void *arg, size_t size)
{
    __atomic_fetch_add(&shared->count, 1, __ATOMIC_ACQ_REL);
    plait_wake(&shared->count, UINT_MAX, PLAIT_SHARED);
    for (;;)
        pause();
    return 0;
}

static int pass_gate(const void *arg, size_t size)
{
    while (__atomic_load_n(&shared->word, __ATOMIC_ACQUIRE) == 0)
        plait_wait(&shared->word, 0, PLAIT_SHARED, PLAIT_FOREVER);
    return 0;
}

static int sum_bytes(const void *arg, size_t size)
{
    const unsigned char *bytes = arg;
    unsigned sum = 0;
    if ((uintptr_t)arg % 16 != 0)
        return 255;
    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    return (int)(sum % 251);
}

static int look_around(const void *arg, size_t size)
{
    sigset_t mask;
    struct sigaction action;
    char name[16] = "";
    sigprocmask(SIG_SETMASK, NULL, &mask);
    shared->values[0] = sigismember(&mask, SIGUSR1);
    sigaction(SIGUSR1, NULL, &action);
    shared->values[1] = action.sa_handler == SIG_DFL;
    sigaction(SIGINT, NULL, &action);
    shared->values[2] = action.sa_handler == SIG_DFL;
    shared->values[3] = 0;
    for (int fd = 0; fd < 100; fd++)
        shared->values[3] += fcntl(fd, F_GETFD) >= 0;
    shared->values[4] = getenv("PLAIT_TEST") ? atoi(getenv("PLAIT_TEST")) : -1;
    prctl(PR_GET_NAME, name);
    shared->values[5] = strcmp(name, "looker") == 0;
    if (!getcwd(shared->text, sizeof shared->text))
        return 1;
    return 0;
}

static int print_something(const void *arg, size_t size)
{
    printf("from the process");
    return 0;
}

static int start_another(const void *arg, size_t size)
{
    plait_process_t *inner;
    int code = 9;
    if (plait_process_new(&inner, &(struct plait_process_opts){ .target = give_code, .arg = arg, .arg_size = size }))
        return 100;
    if (plait_process_start(inner))
        return 101;
    plait_process_join(inner, PLAIT_FOREVER);
    plait_process_exitcode(inner, &code);
    plait_process_free(inner);
    return code;
}

/* ---- Helpers ---- */

static plait_process_t *make(struct plait_process_opts opts)
{
    plait_process_t *process = NULL;
    assert_int_equal(plait_process_new(&process, &opts), 0);
    return process;
}

static plait_process_t *start(struct plait_process_opts opts)
{
    plait_process_t *process = make(opts);
    assert_int_equal(plait_process_start(process), 0);
    return process;
}

static int finish(plait_process_t *process)
{
    int code = 12345;
    assert_int_equal(plait_process_join(process, plait_after(30)), 0);
    assert_int_equal(plait_process_exitcode(process, &code), 0);
    assert_int_equal(plait_process_free(process), 0);
    return code;
}

static int run(int (*target)(const void *, size_t), const void *arg, size_t size)
{
    return finish(start((struct plait_process_opts){ .target = target, .arg = arg, .arg_size = size }));
}

static void wait_until_count(uint32_t least)
{
    uint32_t seen;
    while ((seen = __atomic_load_n(&shared->count, __ATOMIC_ACQUIRE)) < least)
        plait_wait(&shared->count, seen, PLAIT_SHARED, PLAIT_FOREVER);
}

static void gate(uint32_t open)
{
    __atomic_store_n(&shared->word, open, __ATOMIC_RELEASE);
    plait_wake(&shared->word, UINT_MAX, PLAIT_SHARED);
}

/* The state letter of a process, 0 if there is none: "12 (name) S 1 ...". */
static char state_of(pid_t pid)
{
    char path[64], line[512], *end;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    char *got = fgets(line, sizeof line, f);
    fclose(f);
    end = got ? strrchr(line, ')') : NULL;
    return end ? end[2] : 0;
}

static bool is_running(pid_t pid)
{
    char state = state_of(pid);
    return state != 0 && state != 'Z' && state != 'X';
}

static pid_t parent_of(pid_t pid)
{
    char path[64], line[512];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (f && fgets(line, sizeof line, f) && strrchr(line, ')'))
        sscanf(strrchr(line, ')') + 2, "%*c %d", &parent);
    if (f)
        fclose(f);
    return parent;
}

/* ---- Cases ---- */

static void process_returning_a_code_exits_with_it(void **state)
{
    for (int code = 0; code < 256; code += 51)
        assert_int_equal(run(give_code, &code, sizeof code), code);
}

static void process_killed_by_a_signal_tells_which(void **state)
{
    const int signals[] = { SIGTERM, SIGKILL, SIGSEGV, SIGINT, SIGUSR1 };
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        assert_int_equal(run(kill_self, &signals[i], sizeof(int)), -signals[i]);
}

static void process_is_signalled_until_it_ends(void **state)
{
    int code;
    plait_process_t *process = make((struct plait_process_opts){ .target = wait_for_ever, .name = "sleeper" });
    shared->count = 0;
    assert_int_equal(plait_process_terminate(process), ESRCH);
    assert_int_equal(plait_process_pid(process), 0);
    assert_int_equal(plait_process_join(process, PLAIT_NOW), EINVAL);
    assert_int_equal(plait_process_exitcode(process, &code), EINVAL);
    assert_false(plait_process_is_alive(process));
    assert_int_equal(plait_process_start(process), 0);
    assert_int_equal(plait_process_start(process), EBUSY);
    assert_true(plait_process_is_alive(process));
    assert_int_equal(plait_process_exitcode(process, &code), EBUSY);
    assert_int_equal(plait_process_join(process, PLAIT_NOW), ETIMEDOUT);
    assert_int_equal(plait_process_join(process, plait_after(0.02)), ETIMEDOUT);
    assert_string_equal(plait_process_name(process), "sleeper");
    wait_until_count(1);
    assert_int_equal(plait_process_signal(process, 0), 0);
    assert_int_equal(plait_process_signal(process, 12345), EINVAL);
    assert_int_equal(plait_process_terminate(process), 0);
    assert_int_equal(plait_process_join(process, PLAIT_FOREVER), 0);
    assert_int_equal(plait_process_kill(process), ESRCH);
    assert_int_equal(plait_process_start(process), EBUSY);
    assert_int_equal(finish(process), -SIGTERM);
}

static void process_join_with_a_set_token_is_cancelled(void **state)
{
    plait_cancel_t token = { 0 };
    shared->count = 0;
    plait_process_t *process = start((struct plait_process_opts){ .target = wait_for_ever });
    plait_cancel_set(&token);
    plait_cancel_bind(&token);
    int err = plait_process_join(process, PLAIT_FOREVER);
    plait_cancel_bind(NULL);
    assert_int_equal(err, ECANCELED);
    plait_process_kill(process);
    assert_int_equal(finish(process), -SIGKILL);
}

static void process_gets_a_large_argument_whole(void **state)
{
    size_t size = 20 << 20;
    unsigned char *bytes = malloc(size);
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += bytes[i] = (unsigned char)(i * 7);
    assert_int_equal(run(sum_bytes, bytes, size), sum % 251);
    assert_int_equal(run(sum_bytes, NULL, 0), 0);
    free(bytes);
}

static void process_finds_signals_names_and_the_present_surroundings(void **state)
{
    sigset_t mask, before;
    char folder[] = "/tmp/plait-test-XXXXXX", home[PATH_MAX];
    assert_non_null(mkdtemp(folder));
    assert_non_null(getcwd(home, sizeof home));
    assert_int_equal(chdir(folder), 0);
    setenv("PLAIT_TEST", "77", 1);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &mask, &before);
    signal(SIGUSR1, SIG_IGN);
    int extra = open("/dev/null", O_RDONLY);
    int code = finish(start((struct plait_process_opts){ .target = look_around, .name = "looker" }));
    close(extra);
    signal(SIGUSR1, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    unsetenv("PLAIT_TEST");
    assert_int_equal(chdir(home), 0);
    rmdir(folder);
    assert_int_equal(code, 0);
    assert_int_equal(shared->values[0], 0);
    assert_int_equal(shared->values[1], 1);
    assert_int_equal(shared->values[2], 1);
    assert_int_equal(shared->values[3], 3);
    assert_int_equal(shared->values[4], 77);
    assert_int_equal(shared->values[5], 1);
    assert_string_equal(shared->text, folder);
}

static void process_output_goes_to_the_programs_present_stream_once(void **state)
{
    char name[] = "/tmp/plait-test-XXXXXX", text[64] = "";
    int file = mkstemp(name);
    fflush(stdout);
    int before = dup(1);
    dup2(file, 1);
    int code = run(print_something, NULL, 0);
    dup2(before, 1);
    close(before);
    assert_int_equal(code, 0);
    assert_int_equal(pread(file, text, sizeof text - 1, 0), (int)strlen("from the process"));
    assert_string_equal(text, "from the process");
    close(file);
    unlink(name);
}

static void process_executing_a_program_gives_its_code(void **state)
{
    const char *argv[] = { "sh", "-c", "exit $(($1 + $2))", "sh", "20", "22", NULL };
    assert_int_equal(finish(start((struct plait_process_opts){ .program = "sh", .argv = (char *const *)argv })), 42);
    assert_int_equal(finish(start((struct plait_process_opts){ .program = "/bin/true" })), 0);
    assert_int_equal(finish(start((struct plait_process_opts){ .program = "false" })), 1);
}

static void process_that_cannot_be_executed_tells_why(void **state)
{
    static const struct {
        const char *program;
        int err;
    } table[] = { { "/no/such/program", ENOENT }, { "no-such-program-anywhere", ENOENT }, { "/etc/passwd", EACCES },
                  { "/tmp", EACCES }, { "", ENOENT } };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        plait_process_t *process = make((struct plait_process_opts){ .program = table[i].program });
        assert_int_equal(plait_process_start(process), table[i].err);
        assert_false(plait_process_is_alive(process));
        assert_int_equal(plait_process_pid(process), 0);
        plait_process_free(process);
    }
}

static void process_options_that_are_absurd_are_refused(void **state)
{
    plait_process_t *process = NULL;
    assert_int_equal(plait_process_new(&process, NULL), EINVAL);
    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .target = give_code,
                                                                              .program = "true" }), EINVAL);
    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .target = give_code, .arg = "",
                                                                              .arg_size = SIZE_MAX }), EINVAL);
    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .target = give_code,
                                                                              .arg_size = 1 }), EINVAL);
    assert_null(process);
    assert_int_equal(plait_process_free(NULL), 0);
}

static void function_in_no_module_is_refused(void **state)
{
    void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    plait_process_t *process = make((struct plait_process_opts){
        .target = (int (*)(const void *, size_t))(uintptr_t)code });
    assert_int_equal(plait_process_start(process), EINVAL);
    plait_process_free(process);
    munmap(code, 4096);
}

static void process_started_by_a_process_works(void **state)
{
    int code = 33;
    assert_int_equal(run(start_another, &code, sizeof code), code);
}

static uint32_t chld_count;

static void count_chld(int signal)
{
    __atomic_fetch_add(&chld_count, 1, __ATOMIC_RELAXED);
}

static void program_sees_only_its_own_children(void **state)
{
    int code = 0, status;
    if (is_emulated()) /* no children without SIGCHLD there */
        skip();
    chld_count = 0;
    shared->count = 0;
    signal(SIGCHLD, count_chld);
    plait_process_t *process = start((struct plait_process_opts){ .target = wait_for_ever });
    wait_until_count(1);
    assert_int_equal(run(give_code, &code, sizeof code), 0);
    assert_int_equal(waitpid(-1, NULL, 0), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(chld_count, 0);
    pid_t own = fork();
    if (own == 0)
        _exit(5);
    assert_int_equal(waitpid(-1, &status, 0), own);
    assert_int_equal(WEXITSTATUS(status), 5);
    assert_int_equal(waitpid(-1, NULL, 0), -1);
    plait_process_kill(process);
    assert_int_equal(finish(process), -SIGKILL);
    assert_int_equal(chld_count, 1);
    signal(SIGCHLD, SIG_DFL);
}

static void process_of_a_program_that_ignores_sigchld_gives_its_code(void **state)
{
    int code = 6;
    signal(SIGCHLD, SIG_IGN);
    int got = run(give_code, &code, sizeof code);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(got, 6);
}

static void process_ended_leaves_no_zombie(void **state)
{
    int code = 0;
    plait_process_t *process = start((struct plait_process_opts){ .target = give_code, .arg = &code,
                                                                  .arg_size = sizeof code });
    pid_t pid = plait_process_pid(process);
    plait_process_free(process); /* never joined */
    while (state_of(pid) != 0)
        plait_sleep(0.001);
    process = start((struct plait_process_opts){ .target = give_code, .arg = &code, .arg_size = sizeof code });
    pid = plait_process_pid(process);
    plait_process_join(process, PLAIT_FOREVER);
    assert_int_equal(state_of(pid), 0);
    plait_process_free(process);
}

static void sentinel_is_readable_once_it_has_ended(void **state)
{
    struct pollfd polled = { -1, POLLIN, 0 };
    shared->count = 0;
    plait_process_t *process = make((struct plait_process_opts){ .target = wait_for_ever });
    assert_int_equal(plait_process_sentinel(process, &polled.fd), EINVAL);
    plait_process_start(process);
    int err = plait_process_sentinel(process, &polled.fd);
    if (err != ENOSYS) {
        assert_int_equal(err, 0);
        assert_int_equal(poll(&polled, 1, 0), 0);
        plait_process_kill(process);
        assert_int_equal(poll(&polled, 1, 10000), 1);
    }
    plait_process_kill(process);
    assert_int_equal(finish(process), -SIGKILL);
}

static void processes_of_two_hundred_run_at_once(void **state)
{
    enum { COUNT = 200 };
    plait_process_t *processes[COUNT];
    int before = count_descriptors();
    gate(0);
    for (int i = 0; i < COUNT; i++)
        processes[i] = start((struct plait_process_opts){ .target = pass_gate });
    for (int i = 0; i < COUNT; i++)
        assert_true(plait_process_is_alive(processes[i]));
    gate(1);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(finish(processes[i]), 0);
    assert_int_equal(count_descriptors(), before);
}

struct starter {
    pthread_t thread;
    int wrong;
};

static void *start_several(void *arg)
{
    struct starter *starter = arg;
    for (int i = 0; i < 20; i++) {
        plait_process_t *process;
        int code = -1;
        if (plait_process_new(&process, &(struct plait_process_opts){ .target = give_code, .arg = &i,
                                                                      .arg_size = sizeof i }) ||
            plait_process_start(process) || plait_process_join(process, PLAIT_FOREVER) ||
            plait_process_exitcode(process, &code) || code != i)
            starter->wrong++;
        plait_process_free(process);
    }
    return NULL;
}

static void processes_started_by_several_threads_are_told_apart(void **state)
{
    struct starter starters[4] = { 0 };
    for (int i = 0; i < 4; i++)
        pthread_create(&starters[i].thread, NULL, start_several, &starters[i]);
    for (int i = 0; i < 4; i++) {
        pthread_join(starters[i].thread, NULL);
        assert_int_equal(starters[i].wrong, 0);
    }
}

/* ---- Other programs: what happens when they end or their nursery does ---- */

/* A program of its own, by fork: its nursery is made by itself. Its status as from waitpid. */
static int as_program(int (*body)(void))
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(getenv("PLAIT_TEST_PATIENCE") ? 600 : 60);
        exit(body());
    }
    waitpid(pid, &status, 0);
    return status;
}

static int leave_daemon_and_die(void)
{
    plait_process_t *daemon, *other;
    plait_process_new(&daemon, &(struct plait_process_opts){ .target = wait_for_ever, .daemon = true });
    plait_process_new(&other, &(struct plait_process_opts){ .target = wait_for_ever });
    if (plait_process_start(daemon) || plait_process_start(other))
        return 1;
    shared->values[0] = plait_process_pid(daemon);
    shared->values[1] = plait_process_pid(other);
    wait_until_count(2);
    kill(getpid(), SIGKILL);
    return 2;
}

static void program_killed_takes_daemons_along_and_no_others(void **state)
{
    shared->count = 0;
    int status = as_program(leave_daemon_and_die);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    for (int i = 0; is_running(shared->values[0]) && i < 10000; i++)
        plait_sleep(0.001);
    assert_false(is_running(shared->values[0]));
    assert_true(is_running(shared->values[1]));
    kill(shared->values[1], SIGKILL);
}

static int open_gate_late(const void *arg, size_t size)
{
    plait_sleep(0.05);
    shared->values[2] = 1;
    return 0;
}

static int leave_both_and_exit(void)
{
    plait_process_t *daemon, *other;
    plait_process_new(&daemon, &(struct plait_process_opts){ .target = wait_for_ever, .daemon = true });
    plait_process_new(&other, &(struct plait_process_opts){ .target = open_gate_late });
    if (plait_process_start(daemon) || plait_process_start(other))
        return 1;
    shared->values[0] = plait_process_pid(daemon);
    wait_until_count(1);
    plait_process_free(daemon);
    plait_process_free(other);
    return 4;
}

static void exit_waits_for_processes_and_kills_daemons(void **state)
{
    shared->count = 0;
    shared->values[2] = 0;
    int status = as_program(leave_both_and_exit);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 4);
    assert_int_equal(shared->values[2], 1);
    for (int i = 0; is_running(shared->values[0]) && i < 10000; i++)
        plait_sleep(0.001);
    assert_false(is_running(shared->values[0]));
}

static int lose_the_nursery(void)
{
    plait_process_t *daemon, *other, *late;
    int code;
    plait_process_new(&daemon, &(struct plait_process_opts){ .target = wait_for_ever, .daemon = true });
    plait_process_new(&other, &(struct plait_process_opts){ .target = wait_for_ever });
    if (plait_process_start(daemon) || plait_process_start(other))
        return 1;
    wait_until_count(2);
    kill(parent_of(plait_process_pid(other)), SIGKILL);
    if (plait_process_join(daemon, plait_after(20)) != EOWNERDEAD)
        return 2;
    if (plait_process_exitcode(daemon, &code) != EOWNERDEAD)
        return 3;
    if (plait_process_join(other, plait_after(0.3)) != ETIMEDOUT)
        return 4;
    if (plait_process_kill(other) != 0)
        return 5;
    if (plait_process_join(other, plait_after(20)) != EOWNERDEAD)
        return 6;
    plait_process_new(&late, &(struct plait_process_opts){ .target = give_code, .arg = "\4\0\0", .arg_size = 4 });
    if (plait_process_start(late) != 0 || plait_process_join(late, plait_after(20)) != 0)
        return 7;
    plait_process_free(daemon);
    plait_process_free(other);
    plait_process_free(late);
    return 0;
}

static void nursery_killed_is_told_and_replaced(void **state)
{
    shared->count = 0;
    int status = as_program(lose_the_nursery);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static uint32_t stop_allocating;

/* Half of the time it allocates, so that a fork finds malloc's locks held; half it sleeps: tools that let one thread run at a time would
   let none but these run. */
static void *allocate(void *arg)
{
    for (unsigned round = 0; !__atomic_load_n(&stop_allocating, __ATOMIC_RELAXED); round++) {
        /* Volatile: or the compiler removes the pair. */
        void *volatile memory = malloc(5000 + (size_t)rand() % 200000);
        free(memory);
        if (round % 64 == 63)
            plait_sleep(50e-6);
    }
    return NULL;
}

static int start_with_threads(void)
{
    struct starter starter = { 0 };
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, allocate, NULL);
    start_several(&starter);
    __atomic_store_n(&stop_allocating, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    return starter.wrong;
}

static void nursery_made_late_by_a_threaded_program_works(void **state)
{
    for (int i = 0; i < 5; i++) {
        int status = as_program(start_with_threads);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static int use_parents_handle_after_fork(void)
{
    /* The parent's nursery is not this process's: a start here makes another. */
    int code = 3;
    plait_process_t *process;
    plait_process_new(&process, &(struct plait_process_opts){ .target = give_code, .arg = &code,
                                                              .arg_size = sizeof code });
    if (plait_process_start(process) || plait_process_join(process, PLAIT_FOREVER))
        return 1;
    plait_process_free(process);
    return 0;
}

static void fork_of_the_program_makes_its_own_nursery(void **state)
{
    int code = 1;
    assert_int_equal(as_program(use_parents_handle_after_fork), 0);
    assert_int_equal(run(give_code, &code, sizeof code), 1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(process_returning_a_code_exits_with_it),
        cmocka_unit_test(process_killed_by_a_signal_tells_which),
        cmocka_unit_test(process_is_signalled_until_it_ends),
        cmocka_unit_test(process_join_with_a_set_token_is_cancelled),
        cmocka_unit_test(process_gets_a_large_argument_whole),
        cmocka_unit_test(process_finds_signals_names_and_the_present_surroundings),
        cmocka_unit_test(process_output_goes_to_the_programs_present_stream_once),
        cmocka_unit_test(process_executing_a_program_gives_its_code),
        cmocka_unit_test(process_that_cannot_be_executed_tells_why),
        cmocka_unit_test(process_options_that_are_absurd_are_refused),
        cmocka_unit_test(function_in_no_module_is_refused),
        cmocka_unit_test(process_started_by_a_process_works),
        cmocka_unit_test(program_sees_only_its_own_children),
        cmocka_unit_test(process_of_a_program_that_ignores_sigchld_gives_its_code),
        cmocka_unit_test(process_ended_leaves_no_zombie),
        cmocka_unit_test(sentinel_is_readable_once_it_has_ended),
        cmocka_unit_test(processes_of_two_hundred_run_at_once),
        cmocka_unit_test(processes_started_by_several_threads_are_told_apart),
        cmocka_unit_test(program_killed_takes_daemons_along_and_no_others),
        cmocka_unit_test(exit_waits_for_processes_and_kills_daemons),
        cmocka_unit_test(nursery_killed_is_told_and_replaced),
        cmocka_unit_test(nursery_made_late_by_a_threaded_program_works),
        cmocka_unit_test(fork_of_the_program_makes_its_own_nursery),
    };
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || plait_init(&argc, &argv) != 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
