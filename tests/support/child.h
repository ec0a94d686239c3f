/* SPDX-License-Identifier: MIT */
/* Children of a test: they run one function, record, and answer with a number. */
#ifndef TESTS_SUPPORT_CHILD_H
#define TESTS_SUPPORT_CHILD_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHILD_SIGNALLED = 1000, CHILD_HANGS = 2000 };

/* A case runs this long at most before its child counts as hanging. */
enum { CHILD_SECONDS = 60 };

/* A crash is an answer: cmocka's handlers must not carry a child on into the other cases. */
static inline void child_default_signals(void)
{
    static const int crashes[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS };

    for (size_t i = 0; i < sizeof crashes / sizeof crashes[0]; i++)
        signal(crashes[i], SIG_DFL);
}

/* qemu-user has bugs of its own, which the cases name that ask this. */
static inline bool is_emulated(void)
{
    const char *emulator = getenv("TEST_EMULATOR");

    return emulator && *emulator;
}

/* Names in a folder that start with `prefix`: open descriptors in /proc/self/fd, arenas in /dev/shm. */
static inline int count_in(const char *folder, const char *prefix)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int count = 0;

    if (!dir)
        return -1;
    while ((entry = readdir(dir)))
        count += entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return count;
}

/* Threads of this process; qemu-user has one of its own. */
static inline int count_threads(void)
{
    return count_in("/proc/self/task", "") - is_emulated();
}

/*
 * Before a fork whose child starts threads or allocates: wait until only `others` threads are left beside the caller's. One that is
 * just ending may hold a lock of a sanitizer's allocator, which the child would find held for ever; and a child of qemu-user
 * can start none if there were others.
 */
static inline void child_await_quiet(int others)
{
    struct timespec moment = { .tv_nsec = 1000000 };

#ifdef PLAIT_UNDER_TSAN
    others++; /* its own */
#endif
    for (int i = 0; i < 10000 && count_threads() > 1 + others; i++)
        nanosleep(&moment, NULL);
}

/* As /proc has it: R, S asleep, t traced and stopped, Z... 0: there is no such process. */
static inline char child_state(pid_t pid)
{
    char path[64], text[256], *state;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;
    state = strrchr(text, ')');
    return state && state[1] == ' ' ? state[2] : 0;
}

/* Fork; the child answers with what `body` returns (0 to 255). */
static inline pid_t child_start(int (*body)(void *arg), void *arg)
{
    pid_t pid = fork();

    if (pid == 0) {
        child_default_signals();
        _exit(body(arg));
    }
    return pid;
}

/* Wait for the child's end: its answer, or CHILD_SIGNALLED + signal; killed and CHILD_HANGS after `seconds`. */
static inline int child_end_by(pid_t pid, int seconds)
{
    struct pollfd end = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
    bool hangs = false;
    int status, n;

    if (pid < 0)
        return CHILD_HANGS;
    if (end.fd >= 0) {
        do
            n = poll(&end, 1, seconds * 1000);
        while (n < 0 && errno == EINTR);
        hangs = n == 0;
        close(end.fd);
    }
    if (hangs)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return CHILD_HANGS;
    if (hangs)
        return CHILD_HANGS;
    return WIFEXITED(status) ? WEXITSTATUS(status) : CHILD_SIGNALLED + WTERMSIG(status);
}

static inline int child_end(pid_t pid)
{
    return child_end_by(pid, CHILD_SECONDS);
}

static inline int child_run(int (*body)(void *arg), void *arg)
{
    return child_end(child_start(body, arg));
}

/*
 * Become this program afresh, with two arguments; its main knows what they mean. By its path, because /proc/self/exe may be an
 * emulator's; what the system cannot execute itself is given to the emulator that TEST_EMULATOR names.
 */
static inline void exec_self(const char *mode, const char *argument)
{
    const char *emulator = getenv("TEST_EMULATOR");
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);

    if (length > 0) {
        path[length] = 0;
        if (emulator && *emulator)
            execlp(emulator, emulator, path, mode, argument, (char *)NULL);
        else
            execl(path, path, mode, argument, (char *)NULL);
    }
    _exit(127);
}

/* Start this program afresh, in another address space, with two arguments. */
static inline pid_t child_exec(const char *mode, const char *argument)
{
    pid_t pid = fork();

    if (pid == 0)
        exec_self(mode, argument);
    return pid;
}

static inline void child_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static inline int count_descriptors(void)
{
    return count_in("/proc/self/fd", "");
}

#endif
