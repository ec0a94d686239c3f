/* SPDX-License-Identifier: MIT */
/* Processes that start from nothing: PLAIT_SPAWN, lib/exec/newborn.c. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait.h>

#include "support/child.h"
#include "support/cmocka.h"
#include "support/processes.h"
#include "support/watched.h"

static int changed = 1; /* by the program, when it runs */
static int arguments;   /* that main was given; 0: it has not begun */

/* ---- Targets ---- */

static int tell_changed(const void *arg, size_t size) { return changed; }
static int tell_arguments(const void *arg, size_t size) { return arguments; }

static int look_around(const void *arg, size_t size)
{
    char name[16] = "", folder[256] = "";
    int descriptors = 0;

    for (int fd = 3; fd < 1000; fd++)
        descriptors += fcntl(fd, F_GETFD) >= 0;
    prctl(PR_GET_NAME, name);
    if (descriptors != 1 || fcntl(60, F_GETFD) != 0)
        return 10 + descriptors;
    if (strcmp(name, "looker") != 0)
        return 1;
    if (!getenv("PLAIT_TEST") || strcmp(getenv("PLAIT_TEST"), "here") != 0 || getenv("PLAIT_SPAWNED"))
        return 2;
    if (!getcwd(folder, sizeof folder) || strcmp(folder, "/") != 0)
        return 3;
    return plait_process_parent_pid() == *(const pid_t *)arg ? 0 : 4;
}

static int say(const void *arg, size_t size) { return printf("said afresh\n") < 0; }

static int wait_for_ever(const void *arg, size_t size)
{
    if (write(60, "x", 1) != 1)
        return 1;
    for (;;)
        pause();
    return 0;
}

static plait_process_t *start(struct plait_process_opts opts);

static int spawn_another(const void *arg, size_t size)
{
    return finish(start((struct plait_process_opts){ .target = give_code, .arg = arg, .arg_size = size }));
}

/* ---- Helpers ---- */

static plait_process_t *start(struct plait_process_opts opts)
{
    plait_process_t *process;

    opts.method = PLAIT_SPAWN;
    if (plait_process_new(&process, &opts) != 0)
        return NULL;
    if (plait_process_start(process) == 0)
        return process;
    plait_process_free(process);
    return NULL;
}

static int run(int (*target)(const void *, size_t), const void *arg, size_t size)
{
    return finish(start((struct plait_process_opts){ .target = target, .arg = arg, .arg_size = size }));
}

/* ---- Cases ---- */

static void spawn_begins_with_fresh_memory(void **state)
{
    changed = 77;
    assert_int_equal(run(tell_changed, NULL, 0), 1);
    assert_int_equal(run(tell_arguments, NULL, 0), 0); /* plait_init comes first in main, and does not return */
    changed = 1;
}

static void spawn_gives_code_or_signal_exactly(void **state)
{
    for (int code = 0; code < 256; code += 85)
        assert_int_equal(run(give_code, &code, sizeof code), code);
    int signal = SIGTERM;
    assert_int_equal(run(kill_self, &signal, sizeof signal), -SIGTERM);
}

static void spawn_gets_a_large_argument_whole(void **state)
{
    static unsigned char bytes[300000];
    unsigned sum = 0;

    for (size_t i = 0; i < sizeof bytes; i++)
        sum += bytes[i] = (unsigned char)(i * 11);
    assert_int_equal(run(sum_bytes, bytes, sizeof bytes), sum % 251);
}

static void spawn_has_what_it_was_given_and_no_more(void **state)
{
    char *const envp[] = { (char *)"PLAIT_TEST=here", (char *)"PATH=/bin", NULL };
    const struct plait_process_fd fd = { 1, 60 };
    pid_t self = getpid();

    assert_int_equal(finish(start((struct plait_process_opts){ .target = look_around, .arg = &self, .arg_size = sizeof self,
                                                               .name = "looker", .envp = envp, .directory = "/", .fds = &fd,
                                                               .fd_count = 1 })), 0);
}

/* Numbers that the library uses on the way are taken by those that are passed on. */
static void spawn_has_descriptors_at_any_numbers(void **state)
{
    struct plait_process_fd fds[20];
    int code = 9;

    for (int i = 0; i < 20; i++)
        fds[i] = (struct plait_process_fd){ 0, 3 + i };
    assert_int_equal(finish(start((struct plait_process_opts){ .target = give_code, .arg = &code, .arg_size = sizeof code,
                                                               .fds = fds, .fd_count = 20 })), 9);
}

static void spawn_writes_to_its_stream(void **state)
{
    char text[64] = "";
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    plait_process_t *process = start((struct plait_process_opts){ .target = say, .stdout_fd = ends[1] });
    close(ends[1]);
    assert_int_equal(finish(process), 0);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    assert_string_equal(text, "said afresh\n");
    close(ends[0]);
}

static uint32_t chld_count;

static void count_chld(int signal) { __atomic_fetch_add(&chld_count, 1, __ATOMIC_RELAXED); }

static void spawn_is_seen_by_no_waitpid_and_no_sigchld(void **state)
{
    int code = 4;

    if (is_emulated()) /* no children without SIGCHLD there */
        skip();
    chld_count = 0;
    signal(SIGCHLD, count_chld);
    assert_int_equal(run(give_code, &code, sizeof code), 4);
    assert_int_equal(waitpid(-1, NULL, 0), -1);
    assert_int_equal(errno, ECHILD);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(chld_count, 0);
}

static void spawn_spawns(void **state)
{
    int code = 33;

    assert_int_equal(run(spawn_another, &code, sizeof code), 33);
}

static void *run_several(void *wrong)
{
    for (int i = 0; i < 5; i++) {
        int code = 20 + i;

        if (run(give_code, &code, sizeof code) != code)
            __atomic_fetch_add((int *)wrong, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void spawns_of_several_threads_are_told_apart(void **state)
{
    pthread_t threads[3];
    int wrong = 0;

    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_several, &wrong), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(wrong, 0);
}

static int leave_daemon_and_die(void *arg)
{
    const struct plait_process_fd fd = { ((int *)arg)[1], 60 };
    plait_process_t *daemon = start((struct plait_process_opts){ .target = wait_for_ever, .daemon = true, .fds = &fd, .fd_count = 1 });
    pid_t pid = plait_process_pid(daemon);

    if (write(((int *)arg)[1], &pid, sizeof pid) != sizeof pid)
        return 1;
    plait_process_join(daemon, PLAIT_FOREVER);
    return 2;
}

static void program_killed_takes_spawned_daemons_along(void **state)
{
    char bytes[sizeof(pid_t) + 1];
    size_t size = 0;
    int ends[2];
    pid_t child, daemon = 0;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    child_await_quiet(0);
    child = child_start(leave_daemon_and_die, ends);
    while (size < sizeof bytes) { /* the number, and the 'x' that says that it runs, in either order */
        ssize_t got = read(ends[0], bytes + size, sizeof bytes - size);

        assert_true(got > 0);
        size += (size_t)got;
    }
    memcpy(&daemon, bytes + (bytes[0] == 'x'), sizeof daemon);
    if (bytes[0] == 'x' && bytes[sizeof bytes - 1] == 'x') /* the number itself begins so */
        memcpy(&daemon, bytes, sizeof daemon);
    child_kill(child);
    for (int i = 0; child_state(daemon) != 0 && child_state(daemon) != 'Z' && i < 20000; i++)
        plait_sleep(0.001);
    assert_true(child_state(daemon) == 0 || child_state(daemon) == 'Z');
    close(ends[0]);
    close(ends[1]);
}

static void spawn_of_a_program_is_refused(void **state)
{
    plait_process_t *process;

    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .program = "true", .method = PLAIT_SPAWN }), EINVAL);
}

/* As a program that does not call plait_init, so that a new execution of it would not do so either. */
static int spawn_without_entering(void)
{
    plait_process_t *process;

    if (plait_process_new(&process, &(struct plait_process_opts){ .target = tell_changed, .method = PLAIT_SPAWN }) != 0)
        return 1;
    return plait_process_start(process) == EINVAL ? plait_process_free(process) : 2;
}

static void spawn_by_a_program_that_does_not_enter_is_refused(void **state)
{
    assert_int_equal(child_end(child_exec("unentered", "")), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spawn_begins_with_fresh_memory),
        cmocka_unit_test(spawn_gives_code_or_signal_exactly),
        cmocka_unit_test(spawn_gets_a_large_argument_whole),
        cmocka_unit_test(spawn_has_what_it_was_given_and_no_more),
        cmocka_unit_test(spawn_has_descriptors_at_any_numbers),
        cmocka_unit_test(spawn_writes_to_its_stream),
        cmocka_unit_test(spawn_is_seen_by_no_waitpid_and_no_sigchld),
        cmocka_unit_test(spawn_spawns),
        cmocka_unit_test(program_killed_takes_spawned_daemons_along),
        cmocka_unit_test(spawns_of_several_threads_are_told_apart),
        cmocka_unit_test(spawn_of_a_program_is_refused),
        cmocka_unit_test(spawn_by_a_program_that_does_not_enter_is_refused),
    };
    if (argc > 1 && strcmp(argv[1], "unentered") == 0)
        return spawn_without_entering();
    if (plait_init(&argc, &argv) != 0)
        return 99;
    arguments = argc;
    if (RUNNING_ON_VALGRIND || is_emulated()) /* /proc/self/exe is theirs */
        return 77;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
