/* SPDX-License-Identifier: MIT */
/* Tests of lib/arena: an arena that reaches an unrelated program as a descriptor, and what dead programs leave in /dev/shm. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <plait.h>

#include "arena/arena.h"
#include "support/child.h"
#include "support/cmocka.h"

enum { TIMES = 2000 };

static char program[4096];

struct shared {
    plait_lock_t lock;
    int count; /* guarded by lock */
    plait_ref_t ref;
};

/* ---- By descriptor ---- */

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static int send_fd(int socket, int fd)
{
    union control control = { .bytes = { 0 } };
    char byte = 'a';
    struct iovec data = { &byte, 1 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };

    control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd) };
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return sendmsg(socket, &message, 0) == 1 ? 0 : errno;
}

static int receive_fd(int socket)
{
    union control control;
    char byte;
    struct iovec data = { &byte, 1 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    int fd = -1;

    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1 && message.msg_controllen >= CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    return fd;
}

static int count_up(struct shared *s)
{
    for (int i = 0; i < TIMES; i++) {
        if (plait_lock_acquire(&s->lock, PLAIT_FOREVER))
            return 20;
        s->count++;
        if (plait_lock_release(&s->lock))
            return 21;
    }
    return 0;
}

/* In a program of its own, which knows nothing but a socket. */
static int be_receiver(int socket)
{
    plait_arena_t *arena, *again;
    struct shared *s;
    void *place, *memory;
    int fd = receive_fd(socket), err;

    if (fd < 0)
        return 10;
    err = plait_arena_from_fd(&arena, fd);
    if (err)
        return err;
    if (plait_arena_from_fd(&again, fd) || again != arena || plait_arena_free(again))
        return 11;
    close(fd);
    if (plait_arena_lookup(arena, "shared", (void **)&s) || plait_ref_open(s->ref, &place) || place != s)
        return 12;
    err = count_up(s);
    if (err)
        return err;
    if (plait_arena_alloc(arena, 100, &memory) || plait_arena_publish(arena, "answer", memory))
        return 13;
    strcpy(memory, "hello");
    return plait_arena_free(arena) ? 14 : 0;
}

static pid_t start_receiver(int socket[2])
{
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, socket))
        return -1;
    pid = fork();
    if (pid == 0) {
        char number[12];

        child_default_signals();
        close(socket[0]);
        snprintf(number, sizeof number, "%d", socket[1]);
        execl(program, program, "--receive", number, (char *)NULL);
        _exit(99);
    }
    close(socket[1]);
    return pid;
}

static void travel(const struct plait_arena_opts *opts)
{
    plait_arena_t *arena;
    int socket[2], fd, before = count_descriptors();
    struct shared *s;
    void *answer;
    pid_t pid;

    if (is_emulated()) /* which does not come along over exec */
        skip();
    pid = start_receiver(socket);
    assert_true(pid > 0);
    assert_int_equal(plait_arena_new(&arena, opts), 0);
    assert_int_equal(plait_arena_alloc(arena, sizeof *s, (void **)&s), 0);
    assert_int_equal(plait_lock_init(&s->lock, PLAIT_SHARED), 0);
    assert_int_equal(plait_ref_of(s, &s->ref), 0);
    assert_int_equal(plait_arena_publish(arena, "shared", s), 0);
    assert_int_equal(plait_arena_fd(arena, &fd), 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(send_fd(socket[0], fd), 0);
    close(fd);
    assert_int_equal(count_up(s), 0);
    assert_int_equal(child_end(pid), 0);
    assert_int_equal(s->count, 2 * TIMES);
    assert_int_equal(plait_arena_lookup(arena, "answer", &answer), 0);
    assert_string_equal(answer, "hello");
    assert_int_equal(plait_arena_check(arena, NULL, 0), 0);
    assert_int_equal(plait_arena_free(arena), 0);
    close(socket[0]);
    assert_int_equal(count_descriptors(), before);
}

static void anonymous_arena_travels_to_an_unrelated_program(void **state)
{
    travel(&(struct plait_arena_opts){ .limit = 1 << 20, .participants = 16 });
}

static void named_arena_travels_to_an_unrelated_program(void **state)
{
    char name[40];

    snprintf(name, sizeof name, "travel-%d", (int)getpid());
    travel(&(struct plait_arena_opts){ .name = name, .limit = 1 << 20, .participants = 16 });
    assert_int_equal(plait_arena_unlink(name), ENOENT); /* what has come by descriptor keeps no name */
}

static void named_arena_by_descriptor_is_the_one_that_is_open(void **state)
{
    plait_arena_t *arena, *again;
    char name[40];
    int fd;

    snprintf(name, sizeof name, "twice-%d", (int)getpid());
    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .name = name, .limit = 1 << 20, .participants = 16 }), 0);
    assert_int_equal(plait_arena_fd(arena, &fd), 0);
    assert_int_equal(plait_arena_from_fd(&again, fd), 0);
    assert_ptr_equal(arena, again);
    close(fd);
    assert_int_equal(plait_arena_free(arena), 0);
    assert_int_equal(plait_arena_free(again), 0);
    assert_int_equal(plait_arena_unlink(name), ENOENT);
}

static void descriptor_of_something_else_is_refused(void **state)
{
    plait_arena_t *arena = NULL;
    int ends[2], file = open(program, O_RDONLY | O_CLOEXEC);

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(plait_arena_from_fd(&arena, ends[0]), EBADMSG);
    assert_null(arena);
    assert_true(plait_arena_from_fd(&arena, file) != 0); /* not for writing, and no arena */
    assert_int_equal(plait_arena_from_fd(&arena, -1), EBADF);
    close(ends[0]);
    close(ends[1]);
    close(file);
}

static void own_memory_has_no_descriptor(void **state)
{
    static char memory[512 * 1024] __attribute__((aligned(65536)));
    plait_arena_t *arena;
    int fd;

    assert_int_equal(plait_arena_new(&arena, &(struct plait_arena_opts){ .memory = memory, .memory_size = sizeof memory,
                                                                         .participants = 16 }), 0);
    assert_int_equal(plait_arena_fd(arena, &fd), EINVAL);
    assert_int_equal(fd, -1);
    assert_int_equal(plait_arena_free(arena), 0);
}

/* ---- Leftovers; other programs and tests have theirs, which are not touched ---- */

static char ours[40];
static int seen;

static bool is_ours(const char *name, void *keep)
{
    if (strncmp(name, ours, strlen(ours)) != 0)
        return false;
    seen++;
    return !keep;
}

static int sweep_ours(void *keep)
{
    size_t count = 4711;

    seen = 0;
    assert_int_equal(plait_arena_sweep(is_ours, keep, &count), 0);
    assert_int_equal(count, keep ? 0 : seen);
    return seen;
}

static bool exists(const char *rest)
{
    char path[100];

    snprintf(path, sizeof path, "/dev/shm/plait.%s%s", ours, rest);
    return access(path, F_OK) == 0;
}

static int open_ours(const char *rest, plait_arena_t **arena_out)
{
    char name[80];

    snprintf(name, sizeof name, "%s%s", ours, rest);
    return plait_arena_new(arena_out, &(struct plait_arena_opts){ .name = name, .limit = 1 << 20, .participants = 16 });
}

static int open_and_die(void *rest)
{
    plait_arena_t *arena;
    void *memory;

    if (open_ours(rest, &arena) || plait_arena_alloc(arena, 1000, &memory))
        return 1;
    return raise(SIGKILL);
}

static int open_and_stay(void *rest)
{
    plait_arena_t *arena;

    return open_ours(rest, &arena) ? 1 : raise(SIGSTOP);
}

static void leave(const char *rest)
{
    assert_int_equal(child_run(open_and_die, (void *)(uintptr_t)rest), CHILD_SIGNALLED + SIGKILL);
    assert_true(exists(rest));
}

static void leftovers_of_the_dead_are_removed(void **state)
{
    leave("1");
    leave("2");
    assert_int_equal(sweep_ours((void *)(uintptr_t)"keep"), 2);
    assert_true(exists("1") && exists("2"));
    assert_int_equal(sweep_ours(NULL), 2);
    assert_false(exists("1") || exists("2"));
    assert_int_equal(sweep_ours(NULL), 0);
}

static void arenas_in_use_are_not_leftovers(void **state)
{
    plait_arena_t *arena;
    int status;
    pid_t pid;

    assert_int_equal(open_ours("mine", &arena), 0);
    pid = child_start(open_and_stay, (void *)(uintptr_t)"theirs"); /* stopped: alive */
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(sweep_ours(NULL), 0);
    assert_true(exists("mine") && exists("theirs"));
    kill(pid, SIGKILL);
    assert_int_equal(child_end(pid), CHILD_SIGNALLED + SIGKILL);
    assert_int_equal(sweep_ours(NULL), 1);
    assert_true(exists("mine"));
    assert_int_equal(plait_arena_free(arena), 0);
}

static void files_that_are_no_arenas_are_not_leftovers(void **state)
{
    static const char text[] = "This is somebody's diary, and no arena at all, though its name looks like one.";
    char path[100];
    int fd;

    snprintf(path, sizeof path, "/dev/shm/plait.%sdiary", ours);
    for (size_t length = 0; length <= sizeof text; length += sizeof text) {
        fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
        assert_int_equal(write(fd, text, length), length);
        close(fd);
        assert_int_equal(sweep_ours(NULL), 0);
        assert_true(exists("diary"));
    }
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(sweep_ours(NULL), 0);
    assert_true(exists("diary"));
    unlink(path);
}

/* Openers and sweepers at the same time: who has opened an arena keeps it, with the name, however many sweep. */
static int sweep_until_killed(void *unused)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails buries nobody */
    for (;;)
        if (plait_arena_sweep(is_ours, NULL, NULL))
            return 1;
}

static void opener_beside_sweepers_keeps_its_arena(void **state)
{
    pid_t sweeper = child_start(sweep_until_killed, NULL);

    for (int i = 0; i < 100; i++) {
        plait_arena_t *arena;

        child_run(open_and_die, (void *)(uintptr_t)"race");
        assert_int_equal(open_ours("race", &arena), 0);
        assert_true(exists("race"));
        assert_int_equal(plait_arena_free(arena), 0);
    }
    kill(sweeper, SIGKILL);
    assert_int_equal(child_end(sweeper), CHILD_SIGNALLED + SIGKILL);
    sweep_ours(NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anonymous_arena_travels_to_an_unrelated_program),
        cmocka_unit_test(named_arena_travels_to_an_unrelated_program),
        cmocka_unit_test(named_arena_by_descriptor_is_the_one_that_is_open),
        cmocka_unit_test(descriptor_of_something_else_is_refused),
        cmocka_unit_test(own_memory_has_no_descriptor),
        cmocka_unit_test(leftovers_of_the_dead_are_removed),
        cmocka_unit_test(arenas_in_use_are_not_leftovers),
        cmocka_unit_test(files_that_are_no_arenas_are_not_leftovers),
        cmocka_unit_test(opener_beside_sweepers_keeps_its_arena),
    };

    if (argc == 3 && strcmp(argv[1], "--receive") == 0)
        return be_receiver(atoi(argv[2]));
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
        return 99;
    snprintf(ours, sizeof ours, "travel-%d-", (int)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
