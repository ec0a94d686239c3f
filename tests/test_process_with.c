/* SPDX-License-Identifier: MIT */
/* Tests of lib/exec/process.c: what a process is started with, and which there are. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <plait.h>

#include "support/cmocka.h"

enum { SOME = 3, ROOM = 20 };

static plait_process_t *start(const struct plait_process_opts *opts)
{
    plait_process_t *process;

    assert_int_equal(plait_process_new(&process, opts), 0);
    assert_int_equal(plait_process_start(process), 0);
    return process;
}

static int end(plait_process_t *process)
{
    int code = -1000;

    assert_int_equal(plait_process_join(process, PLAIT_FOREVER), 0);
    assert_int_equal(plait_process_exitcode(process, &code), 0);
    assert_int_equal(plait_process_free(process), 0);
    return code;
}

/* Why it cannot be started. */
static int refusal(const struct plait_process_opts *opts)
{
    plait_process_t *process;
    int err;

    assert_int_equal(plait_process_new(&process, opts), 0);
    err = plait_process_start(process);
    assert_int_equal(plait_process_pid(process), 0);
    assert_int_equal(plait_process_free(process), 0);
    return err;
}

static int wait_for_ever(const void *arg, size_t size)
{
    for (;;)
        pause();
    return 0;
}

static int do_nothing(const void *arg, size_t size) { return 0; }

/* What is written to a pipe until all who have its other end have closed it. */
static void read_all(int fd, char *text, size_t room)
{
    size_t length = 0;
    ssize_t got;

    while (length < room - 1 && (got = read(fd, text + length, room - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = 0;
    close(fd);
}

/* ---- Which there are ---- */

static size_t count_among(plait_process_t *const *processes, size_t count)
{
    plait_process_t *all[ROOM];
    size_t there, among = 0;

    assert_int_equal(plait_process_active_children(all, ROOM, &there), 0);
    assert_in_range(there, 0, ROOM);
    for (size_t i = 0; i < there; i++) {
        for (size_t k = 0; k < count; k++)
            among += all[i] == processes[k];
        assert_int_equal(plait_process_free(all[i]), 0);
    }
    return among;
}

static void running_children_are_listed(void **state)
{
    plait_process_t *processes[SOME], *one = NULL;
    size_t count;

    for (int i = 0; i < SOME; i++)
        processes[i] = start(&(struct plait_process_opts){ .target = wait_for_ever, .daemon = true });
    assert_int_equal(count_among(processes, SOME), SOME);
    assert_int_equal(plait_process_active_children(&one, 1, &count), 0);
    assert_int_equal(count, SOME);
    assert_non_null(one);
    plait_process_free(one);
    assert_int_equal(plait_process_active_children(NULL, 0, &count), 0);
    assert_int_equal(count, SOME);
    for (int i = 0; i < SOME; i++) {
        assert_int_equal(plait_process_kill(processes[i]), 0);
        assert_int_equal(plait_process_join(processes[i], PLAIT_FOREVER), 0);
        assert_int_equal(count_among(processes, SOME), SOME - 1 - i);
    }
    for (int i = 0; i < SOME; i++)
        assert_int_equal(end(processes[i]), -SIGKILL);
}

/* The handle with which it was made is dropped; it is found, and its end is told to who found it. */
static void child_without_a_handle_is_found_again(void **state)
{
    plait_process_t *process = start(&(struct plait_process_opts){ .target = wait_for_ever, .daemon = true, .name = "lost" });
    plait_process_t *all[ROOM];
    size_t count;

    plait_process_free(process);
    assert_int_equal(plait_process_active_children(all, ROOM, &count), 0);
    assert_int_equal(count, 1);
    assert_string_equal(plait_process_name(all[0]), "lost");
    assert_int_equal(plait_process_terminate(all[0]), 0);
    assert_int_equal(end(all[0]), -SIGTERM);
}

static int tell_parent(const void *arg, size_t size) { return plait_process_parent_pid() == *(const pid_t *)arg ? 5 : 6; }

static void target_knows_who_started_it(void **state)
{
    pid_t self = getpid();

    assert_int_equal(end(start(&(struct plait_process_opts){ .target = tell_parent, .arg = &self, .arg_size = sizeof self })), 5);
    assert_int_equal(plait_process_parent_pid(), getppid());
}

static void interrupt_is_sigint(void **state)
{
    plait_process_t *process = start(&(struct plait_process_opts){ .target = wait_for_ever, .daemon = true });

    assert_true(plait_process_is_daemon(process));
    assert_int_equal(plait_process_interrupt(process), 0);
    assert_int_equal(end(process), -SIGINT);
    process = start(&(struct plait_process_opts){ .target = do_nothing });
    assert_false(plait_process_is_daemon(process));
    assert_int_equal(plait_process_join(process, PLAIT_FOREVER), 0);
    assert_int_equal(plait_process_interrupt(process), ESRCH);
    plait_process_free(process);
}

/* ---- Directory and environment ---- */

static int compare_directory(const void *arg, size_t size)
{
    char there[4096];

    return getcwd(there, sizeof there) && strcmp(there, arg) == 0 ? 5 : 6;
}

static void process_begins_in_the_given_directory(void **state)
{
    char folder[] = "/tmp/plait-test-XXXXXX", copy[sizeof folder], missing[sizeof folder + 8], file[sizeof folder + 8];
    plait_process_t *process;
    int fd;

    assert_non_null(mkdtemp(folder));
    strcpy(copy, folder);
    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .target = compare_directory, .directory = copy,
                                                                               .arg = folder, .arg_size = sizeof folder }), 0);
    memset(copy, 'x', sizeof copy - 1); /* a copy was made */
    assert_int_equal(plait_process_start(process), 0);
    assert_int_equal(end(process), 5);
    snprintf(missing, sizeof missing, "%s/none", folder);
    assert_int_equal(refusal(&(struct plait_process_opts){ .target = do_nothing, .directory = missing }), ENOENT);
    snprintf(file, sizeof file, "%s/file", folder);
    fd = open(file, O_CREAT | O_WRONLY, 0700);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(refusal(&(struct plait_process_opts){ .target = do_nothing, .directory = file }), ENOTDIR);
    if (geteuid() != 0) {
        assert_int_equal(chmod(folder, 0), 0);
        assert_int_equal(refusal(&(struct plait_process_opts){ .target = do_nothing, .directory = folder }), EACCES);
        chmod(folder, 0700);
    }
    unlink(file);
    rmdir(folder);
}

static int count_environment(const void *arg, size_t size)
{
    const char *value = getenv("PLAIT_TEST_COLOUR");
    int count = 0;

    while (environ[count])
        count++;
    return value && strcmp(value, "green blue") == 0 ? count : 99;
}

static void process_has_the_given_environment_and_no_other(void **state)
{
    char *environment[] = { (char *)"PLAIT_TEST_COLOUR=green blue", (char *)"PLAIT_TEST_EMPTY=", NULL }, *none[] = { NULL };
    char *argv[] = { (char *)"sh", (char *)"-c",
                     (char *)"test \"$PLAIT_TEST_COLOUR\" = 'green blue' && test -z \"$PLAIT_TEST_HIDDEN\"", NULL };

    setenv("PLAIT_TEST_HIDDEN", "yes", 1);
    assert_int_equal(end(start(&(struct plait_process_opts){ .target = count_environment, .envp = environment })), 2);
    assert_int_equal(end(start(&(struct plait_process_opts){ .target = count_environment, .envp = none })), 99);
    assert_int_equal(end(start(&(struct plait_process_opts){ .program = "/bin/sh", .argv = argv, .envp = environment })), 0);
    unsetenv("PLAIT_TEST_HIDDEN");
}

/* ---- Standard streams ---- */

static void program_runs_between_two_pipes(void **state)
{
    char *argv[] = { (char *)"tr", (char *)"a-z", (char *)"A-Z", NULL }, text[100];
    int in[2], out[2];
    plait_process_t *process;

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    process = start(&(struct plait_process_opts){ .program = "tr", .argv = argv, .stdin_fd = in[0], .stdout_fd = out[1] });
    close(in[0]);
    close(out[1]);
    assert_int_equal(write(in[1], "plait\n", 6), 6);
    close(in[1]);
    read_all(out[0], text, sizeof text);
    assert_string_equal(text, "PLAIT\n");
    assert_int_equal(end(process), 0);
}

static int write_to_both(const void *arg, size_t size)
{
    printf("one\n");
    fflush(stdout);
    fprintf(stderr, "two\n");
    return 0;
}

static void one_descriptor_may_be_two_streams_and_stays_the_callers(void **state)
{
    char text[100];
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(end(start(&(struct plait_process_opts){ .target = write_to_both, .stdout_fd = ends[1], .stderr_fd = ends[1] })), 0);
    assert_int_equal(write(ends[1], "three\n", 6), 6); /* it is open still */
    close(ends[1]);
    read_all(ends[0], text, sizeof text);
    assert_string_equal(text, "one\ntwo\nthree\n");
}

/* A bit for each standard stream that is /dev/null. */
static int look_for_null(const void *arg, size_t size)
{
    int found = 0;

    for (int fd = 0; fd < 3; fd++) {
        struct stat there;

        if (fstat(fd, &there) == 0 && S_ISCHR(there.st_mode) && major(there.st_rdev) == 1 && minor(there.st_rdev) == 3)
            found |= 1 << fd;
    }
    return found;
}

static void stream_may_be_none(void **state)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(end(start(&(struct plait_process_opts){ .target = look_for_null, .stdin_fd = ends[0],
                                                             .stdout_fd = PLAIT_DEVNULL, .stderr_fd = ends[1] })), 2);
    assert_int_equal(end(start(&(struct plait_process_opts){ .target = look_for_null, .stdin_fd = PLAIT_DEVNULL,
                                                             .stdout_fd = ends[1], .stderr_fd = PLAIT_DEVNULL })), 5);
    close(ends[0]);
    close(ends[1]);
}

static void stream_that_is_not_open_is_refused(void **state)
{
    int closed = dup(0);

    assert_true(closed > 2);
    close(closed);
    assert_int_equal(refusal(&(struct plait_process_opts){ .target = do_nothing, .stdin_fd = closed }), EBADF);
    assert_int_equal(refusal(&(struct plait_process_opts){ .target = do_nothing, .stderr_fd = closed }), EBADF);
}

/* ---- Descriptors ---- */

enum { MANY = 8 };

/* Each of those open says, through itself, which number it has; the argument is the number of those expected. */
static int tell_numbers(const void *arg, size_t size)
{
    int expected = *(const int *)arg, open_count = 0;

    for (int fd = 3; fd < 1000; fd++) {
        int flags = fcntl(fd, F_GETFD);

        if (flags < 0)
            continue;
        open_count++;
        if (flags & FD_CLOEXEC)
            return 200;
        if (dprintf(fd, "%d", fd) < 1)
            return 201;
    }
    return open_count == expected ? 0 : 100 + open_count;
}

struct pipes {
    int from[MANY], to[MANY];
};

static void open_pipes(struct pipes *pipes)
{
    for (int i = 0; i < MANY; i++) {
        int ends[2];

        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pipes->from[i] = ends[0];
        pipes->to[i] = ends[1];
    }
}

static void close_writers(struct pipes *pipes)
{
    for (int i = 0; i < MANY; i++)
        close(pipes->to[i]);
}

static void assert_said(int fd, int number)
{
    char text[32], expected[32];

    read_all(fd, text, sizeof text);
    snprintf(expected, sizeof expected, "%d", number);
    assert_string_equal(text, expected);
}

static void descriptors_listed_are_passed_on_and_no_others(void **state)
{
    const int count = 2;
    struct pipes pipes;

    open_pipes(&pipes);
    struct plait_process_fd fds[] = { { .fd = pipes.to[0] }, { .fd = pipes.to[1], .as = 77 } };
    plait_process_t *process = start(&(struct plait_process_opts){ .target = tell_numbers, .arg = &count, .arg_size = sizeof count,
                                                                   .fds = fds, .fd_count = 2 });
    memset(fds, 0, sizeof fds); /* it has a copy */
    assert_int_equal(end(process), 0);
    assert_int_equal(fcntl(pipes.to[0], F_GETFD), FD_CLOEXEC); /* it stays the caller's */
    close_writers(&pipes);
    assert_said(pipes.from[0], pipes.to[0]);
    assert_said(pipes.from[1], 77);
    for (int i = 2; i < MANY; i++)
        close(pipes.from[i]);
}

/* Each permutation that a rotation makes of the numbers 3, 4...: what comes in the way of what. */
static void descriptors_change_places(void **state)
{
    const int count = MANY;

    for (int turn = 0; turn < MANY; turn++) {
        struct plait_process_fd fds[MANY];
        struct pipes pipes;

        open_pipes(&pipes);
        for (int i = 0; i < MANY; i++)
            fds[i] = (struct plait_process_fd){ pipes.to[i], 3 + (turn % 2 ? MANY - 1 - i : i + turn) % MANY };
        assert_int_equal(end(start(&(struct plait_process_opts){ .target = tell_numbers, .arg = &count, .arg_size = sizeof count,
                                                                 .fds = fds, .fd_count = MANY })), 0);
        close_writers(&pipes);
        for (int i = 0; i < MANY; i++)
            assert_said(pipes.from[i], fds[i].as);
    }
}

static void program_receives_descriptors(void **state)
{
    char *const argv[] = { (char *)"sh", (char *)"-c", (char *)"echo from nine >&9; echo from eight >&8", NULL };
    char nine[32], eight[32];
    struct pipes pipes;

    open_pipes(&pipes);
    struct plait_process_fd fds[] = { { pipes.to[0], 9 }, { pipes.to[1], 8 } };
    assert_int_equal(end(start(&(struct plait_process_opts){ .program = "sh", .argv = argv, .fds = fds, .fd_count = 2 })), 0);
    close_writers(&pipes);
    read_all(pipes.from[0], nine, sizeof nine);
    read_all(pipes.from[1], eight, sizeof eight);
    assert_string_equal(nine, "from nine\n");
    assert_string_equal(eight, "from eight\n");
    for (int i = 2; i < MANY; i++)
        close(pipes.from[i]);
}

static void descriptors_of_any_number_up_to_the_most_are_passed_on(void **state)
{
    static struct plait_process_fd fds[PLAIT_PROCESS_FDS_MAX + 1];
    const int count = PLAIT_PROCESS_FDS_MAX;
    plait_process_t *process;
    char text[4 * PLAIT_PROCESS_FDS_MAX];
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    for (int i = 0; i <= PLAIT_PROCESS_FDS_MAX; i++)
        fds[i] = (struct plait_process_fd){ ends[1], 3 + i };
    struct plait_process_opts opts = { .target = tell_numbers, .arg = &count, .arg_size = sizeof count, .fds = fds };
    opts.fd_count = PLAIT_PROCESS_FDS_MAX + 1;
    assert_int_equal(plait_process_new(&process, &opts), EINVAL);
    opts.fd_count = PLAIT_PROCESS_FDS_MAX;
    assert_int_equal(end(start(&opts)), 0);
    close(ends[1]);
    read_all(ends[0], text, sizeof text);
    assert_int_equal(strlen(text), 7 + 2 * 90 + 3 * (PLAIT_PROCESS_FDS_MAX - 97)); /* 3 to 9, 10 to 99, and so on */
}

static void descriptors_that_are_absurd_are_refused(void **state)
{
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct plait_process_fd fds[2];
    struct plait_process_opts opts = { .target = do_nothing, .fds = fds, .fd_count = 2 };
    plait_process_t *process;

    for (int method = PLAIT_NURSERY; method <= PLAIT_FORK; method++) {
        opts.method = (enum plait_process_method)method;
        opts.fd_count = 2;
        memcpy(fds, (struct plait_process_fd[]){ { null, 50 }, { 0, 50 } }, sizeof fds);
        assert_int_equal(plait_process_new(&process, &opts), EINVAL); /* one number twice */
        memcpy(fds, (struct plait_process_fd[]){ { null, 50 }, { 1, 0 } }, sizeof fds);
        assert_int_equal(plait_process_new(&process, &opts), EINVAL); /* a standard stream's */
        memcpy(fds, (struct plait_process_fd[]){ { null, 50 }, { null, 2 } }, sizeof fds);
        assert_int_equal(plait_process_new(&process, &opts), EINVAL);
        memcpy(fds, (struct plait_process_fd[]){ { null, 50 }, { null, -4 } }, sizeof fds);
        assert_int_equal(plait_process_new(&process, &opts), EINVAL);
        memcpy(fds, (struct plait_process_fd[]){ { null, 50 }, { 987, 0 } }, sizeof fds);
        assert_int_equal(refusal(&opts), EBADF); /* not open */
        memcpy(fds, (struct plait_process_fd[]){ { null, 50 }, { -1, 51 } }, sizeof fds);
        assert_int_equal(refusal(&opts), EBADF);
        memcpy(fds, (struct plait_process_fd[]){ { null, 50 }, { null, INT_MAX } }, sizeof fds);
        assert_int_equal(refusal(&opts), EBADF); /* beyond the limit */
        memcpy(fds, (struct plait_process_fd[]){ { null, 50 }, { 0, 7 } }, sizeof fds); /* one of the caller's own streams may be passed on */
        assert_int_equal(end(start(&opts)), 0);
        opts.fd_count = 0; /* the array does not matter */
        assert_int_equal(end(start(&opts)), 0);
    }
    opts = (struct plait_process_opts){ .target = do_nothing, .fd_count = 1 };
    assert_int_equal(plait_process_new(&process, &opts), EINVAL);
    close(null);
}

static void start_refused_for_a_descriptor_may_be_tried_again(void **state)
{
    struct plait_process_fd fd = { .fd = 900 };
    plait_process_t *process;

    assert_int_equal(plait_process_new(&process, &(struct plait_process_opts){ .target = do_nothing, .fds = &fd, .fd_count = 1 }), 0);
    assert_int_equal(plait_process_start(process), EBADF);
    assert_int_equal(dup2(0, 900), 900);
    assert_int_equal(plait_process_start(process), 0);
    close(900);
    assert_int_equal(end(process), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(running_children_are_listed),
        cmocka_unit_test(child_without_a_handle_is_found_again),
        cmocka_unit_test(target_knows_who_started_it),
        cmocka_unit_test(interrupt_is_sigint),
        cmocka_unit_test(process_begins_in_the_given_directory),
        cmocka_unit_test(process_has_the_given_environment_and_no_other),
        cmocka_unit_test(program_runs_between_two_pipes),
        cmocka_unit_test(one_descriptor_may_be_two_streams_and_stays_the_callers),
        cmocka_unit_test(stream_may_be_none),
        cmocka_unit_test(stream_that_is_not_open_is_refused),
        cmocka_unit_test(descriptors_listed_are_passed_on_and_no_others),
        cmocka_unit_test(descriptors_change_places),
        cmocka_unit_test(program_receives_descriptors),
        cmocka_unit_test(descriptors_of_any_number_up_to_the_most_are_passed_on),
        cmocka_unit_test(descriptors_that_are_absurd_are_refused),
        cmocka_unit_test(start_refused_for_a_descriptor_may_be_tried_again),
    };

    plait_init(NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
