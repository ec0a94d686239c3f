/* SPDX-License-Identifier: MIT */
/* Newborn: from the fork in the nursery to the target, or to exec. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <plait/cancel.h>
#include <plait/process.h>

#include "arena/arena.h"
#include "exec/descriptors.h"
#include "exec/finish.h"
#include "exec/nursery_wire.h"

/*
 * How it works
 *
 * The newborn is a copy of the nursery, and so of the program at some earlier time. It owns nothing of the program's: what
 * that time's streams held in their buffers goes to /dev/null, which the nursery's standard descriptors are, before anything
 * else is opened (the program still has the same bytes, and writes them itself). Then come the streams, the folder and the
 * environment of the program as it is now, the descriptors that are passed on, each at its number, default signal
 * dispositions and an empty mask.
 *
 * A target that is to run afresh goes through an exec of the program itself. A variable of the environment says where the
 * payload is, which the new execution inherits; plait_init finds it there. What the two must agree on is the library's
 * version, as that may have been replaced on disk.
 *
 * A target runs with its argument where the payload is mapped. When it has returned, its process waits for what it started
 * itself, as exit() would, flushes its streams, has no named arenas open any more, and ends by _exit: exit handlers that the
 * program registered are the program's.
 */


enum { EXIT_NO_FUNCTION = 127, OURS = 2 };

/* In the environment of a new execution: descriptor and size of the payload, who started it, the version. */
#define MARK "PLAIT_SPAWNED"

static pid_t starter, own; /* who started this process, which one it is; 0: it is no newborn */

pid_t plait_process_parent_pid(void)
{
    return own && own == getpid() ? starter : getppid();
}

static void die_with_nursery(pid_t nursery)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != nursery) /* it died before the line above */
        _exit(EXIT_NO_FUNCTION);
}

static void discard_inherited_output(void)
{
    fflush(NULL);
    __fpurge(stdin);
    clearerr(stdin);
}

/* If one of the descriptors that are needed has this number, it gets another one. 0, or an errno. */
static int make_way(int number, int fds[], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fds[i] != number)
            continue;
        fds[i] = fcntl(number, F_DUPFD_CLOEXEC, 3);
        return fds[i] < 0 ? errno : 0;
    }
    return 0;
}

/* Give those that are passed on their numbers, one after the other; `ours` are moved where they are in the way. 0, or an errno. */
static int place_passed(const int32_t *numbers, int passed[], size_t count, int ours[OURS])
{
    int err = 0;

    for (size_t i = 0; i < count && err == 0; i++) {
        if (passed[i] == numbers[i]) {
            err = fcntl(passed[i], F_SETFD, 0) < 0 ? errno : 0;
            continue;
        }
        err = make_way(numbers[i], passed + i + 1, count - i - 1);
        if (err == 0)
            err = make_way(numbers[i], ours, OURS);
        if (err == 0 && dup2(passed[i], numbers[i]) < 0)
            err = errno;
        close(passed[i]);
    }
    return err;
}

static _Noreturn void fail(int failure_fd, int err)
{
    plait__write_all(failure_fd, &err, sizeof err);
    _exit(EXIT_NO_FUNCTION);
}

/*
 * Of the descriptors only the standard streams, those that are passed on and `ours`, which may get other numbers; ours[0]
 * tells of failures.
 */
static void keep_passed(const int32_t *numbers, int passed[], size_t count, int ours[OURS])
{
    int err = place_passed(numbers, passed, count, ours), keep[PLAIT_PROCESS_FDS_MAX + OURS];

    if (err)
        fail(ours[0], err);
    memcpy(keep, numbers, count * sizeof *keep);
    memcpy(keep + count, ours, OURS * sizeof *keep);
    plait__close_from(3, keep, count + OURS);
}

static void take_streams(const int fds[SENT_COUNT])
{
    for (int i = 0; i < 3; i++) {
        if (fds[SENT_STDIN + i] >= 0)
            dup2(fds[SENT_STDIN + i], i);
        else
            close(i);
    }
}

static void enter_directory(int fd)
{
    if (fd < 0)
        return;
    if (fchdir(fd) != 0)
        (void)errno; /* a folder that we may not enter: stay in the nursery's */
    close(fd);
}

static struct plait__payload *map_payload(uint64_t size, int fd)
{
    struct plait__payload *payload = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

    if (payload == MAP_FAILED)
        _exit(EXIT_NO_FUNCTION);
    return payload;
}

static void reset_signals(bool ignores_interrupt)
{
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        if (i != SIGKILL && i != SIGSTOP)
            signal(i, i == SIGINT && ignores_interrupt ? SIG_IGN : SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Kept for the process's life, also when setenv has put an array of libc's in its place, which does not free ours. */
static char **environment;

static char **unpack_strings(const char *at, uint32_t count)
{
    char **strings = malloc((count + 1) * sizeof *strings);

    if (!strings)
        _exit(EXIT_NO_FUNCTION);
    for (uint32_t i = 0; i < count; i++) {
        strings[i] = (char *)at;
        at += strlen(at) + 1;
    }
    strings[count] = NULL;
    return strings;
}

/* As the shell: each folder of PATH; a file that may not be executed is reported only if no other is found. */
static int execute_in_path(const char *program, char **argv)
{
    const char *path = getenv("PATH");
    char full[PATH_MAX];
    int err = ENOENT;

    if (strchr(program, '/')) {
        execve(program, argv, environ);
        return errno;
    }
    for (const char *folder = path ? path : "/usr/local/bin:/bin:/usr/bin"; folder; folder = *folder ? folder + 1 : NULL) {
        int length = (int)strcspn(folder, ":");
        if (snprintf(full, sizeof full, "%.*s%s%s", length, folder, length ? "/" : "", program) < (int)sizeof full) {
            execve(full, argv, environ);
            if (errno == EACCES)
                err = EACCES;
            else if (errno != ENOENT && errno != ENOTDIR)
                return errno;
        }
        folder += length;
    }
    return err;
}

static _Noreturn void execute(const struct plait__payload *payload, int failure_fd)
{
    const char *bytes = (const char *)payload;
    char **argv = unpack_strings(bytes + payload->argv_offset, payload->argv_count);
    int err = ENOENT;

    if (bytes[payload->program_offset])
        err = execute_in_path(bytes + payload->program_offset, argv);
    fail(failure_fd, err);
}

/* The program's own arguments, as /proc has them. */
static char **read_arguments(void)
{
    size_t size = 0, room = 4096;
    char *text = malloc(room), **argv;
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    uint32_t count = 0;
    ssize_t got;

    while (fd >= 0 && text && (got = read(fd, text + size, room - size)) > 0) {
        size += (size_t)got;
        if (size == room)
            text = realloc(text, room *= 2);
    }
    if (fd >= 0)
        close(fd);
    if (!text)
        _exit(EXIT_NO_FUNCTION);
    for (size_t i = 0; i < size; i++)
        count += text[i] == 0;
    argv = unpack_strings(text, count);
    return argv;
}

/* The environment with one string more. */
static char **mark_environment(const struct plait__payload *payload, char *mark)
{
    char **marked = calloc(payload->environ_count + 2, sizeof *marked);

    if (!marked)
        _exit(EXIT_NO_FUNCTION);
    memcpy(marked, environment, payload->environ_count * sizeof *marked);
    marked[payload->environ_count] = mark;
    return marked;
}

static _Noreturn void execute_afresh(const struct plait__request *request, const struct plait__payload *payload, int payload_fd,
                                     int failure_fd)
{
    char mark[128];

    snprintf(mark, sizeof mark, MARK "=%d %llu %d %s", payload_fd, (unsigned long long)request->payload_size, (int)request->program,
             PACKAGE_VERSION);
    fcntl(payload_fd, F_SETFD, 0);
    execve("/proc/self/exe", read_arguments(), mark_environment(payload, mark));
    fail(failure_fd, errno);
}

static _Noreturn void run_target(const struct plait__payload *payload)
{
    int (*target)(const void *, size_t);
    void *address;

    if (plait__function_open(&payload->target.module, payload->target.offset, &address) != 0) {
        fprintf(stderr, "plait_process: cannot load %s as the program has it\n", payload->target.module.path);
        _exit(EXIT_NO_FUNCTION);
    }
    target = (int (*)(const void *, size_t))(uintptr_t)address;
    int code = target((const char *)payload + payload->arg_offset, payload->arg_size);
    plait__threads_finish();
    plait__processes_finish();
    fflush(NULL);
    plait__arena_sign_off();
    _exit(code & 0xff);
}

_Noreturn void plait__newborn_main(const struct plait__request *request, int fds[SENT_MOST], int failure_fd, pid_t nursery)
{
    struct plait__payload *payload;

    if (request->daemon)
        die_with_nursery(nursery);
    starter = request->program;
    own = getpid();
    plait_cancel_bind(NULL);
    plait__thread_forget();
    discard_inherited_output();
    take_streams(fds);
    enter_directory(fds[SENT_CWD]);
    payload = map_payload(request->payload_size, fds[SENT_PAYLOAD]);
    int ours[OURS] = { failure_fd, request->is_afresh ? fds[SENT_PAYLOAD] : -1 };
    keep_passed((const int32_t *)((const char *)payload + payload->numbers_offset), fds + SENT_COUNT, request->passed, ours);
    environment = unpack_strings((const char *)payload + payload->environ_offset, payload->environ_count);
    environ = environment;
    if (!request->is_program && payload->name[0])
        prctl(PR_SET_NAME, payload->name);
    reset_signals(request->ignores_interrupt);
    if (request->is_afresh)
        execute_afresh(request, payload, ours[1], ours[0]);
    if (request->is_program)
        execute(payload, ours[0]);
    if (ours[0] >= 0)
        close(ours[0]);
    run_target(payload);
}

void plait__newborn_enter(void)
{
    const char *mark = secure_getenv(MARK);
    struct plait__payload *payload;
    unsigned long long size;
    char version[32];
    int fd, who;

    if (!mark)
        return;
    if (sscanf(mark, "%d %llu %d %31s", &fd, &size, &who, version) != 4 || strcmp(version, PACKAGE_VERSION) != 0) {
        fprintf(stderr, "plait_init: this is libplait %s, and not that of the program that starts a process\n", PACKAGE_VERSION);
        _exit(EXIT_NO_FUNCTION);
    }
    unsetenv(MARK);
    payload = map_payload(size, fd);
    close(fd);
    starter = who;
    own = getpid();
    if (payload->name[0])
        prctl(PR_SET_NAME, payload->name);
    run_target(payload);
}
