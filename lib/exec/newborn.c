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
 * The newborn is a copy of the nursery, and so of the program at some earlier time. It owns nothing of the
 * program's: what that time's streams held in their buffers goes to /dev/null, which the nursery's
 * standard descriptors are, before anything else is opened (the program still has the same bytes, and writes them
 * itself). Then come the descriptors, the folder and the environment of the program as it is now, default signal
 * dispositions and an empty mask.
 *
 * A target runs with its argument where the payload is mapped. When it has returned, its process waits for what it
 * started itself, as exit() would, flushes its streams, has no named arenas open any more, and ends by _exit: exit handlers that the program
 * registered are the program's.
 */


enum { EXIT_NO_FUNCTION = 127 };

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

static void take_descriptors(const int fds[SENT_COUNT], int failure_fd)
{
    int keep[] = { fds[SENT_PAYLOAD], fds[SENT_CWD], failure_fd, PLAIT__CARRIED_FD };

    for (int i = 0; i < 3; i++) {
        if (fds[SENT_STDIN + i] >= 0)
            dup2(fds[SENT_STDIN + i], i);
        else
            close(i);
    }
    if (fds[SENT_CARRIED] < 0)
        keep[3] = -1;
    else if (fds[SENT_CARRIED] != PLAIT__CARRIED_FD) /* all that was sent lies above that number */
        dup2(fds[SENT_CARRIED], PLAIT__CARRIED_FD);
    plait__close_from(3, keep, sizeof keep / sizeof keep[0]);
    if (fds[SENT_CWD] >= 0) {
        if (fchdir(fds[SENT_CWD]) != 0)
            (void)errno; /* a folder that we may not enter: stay in the nursery's */
        close(fds[SENT_CWD]);
    }
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
    plait__write_all(failure_fd, &err, sizeof err);
    _exit(EXIT_NO_FUNCTION);
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

_Noreturn void plait__newborn_main(const struct plait__request *request, const int fds[SENT_COUNT], int failure_fd,
                                   pid_t nursery)
{
    struct plait__payload *payload;

    if (request->daemon)
        die_with_nursery(nursery);
    starter = request->program;
    own = getpid();
    plait_cancel_bind(NULL);
    plait__thread_forget();
    discard_inherited_output();
    take_descriptors(fds, failure_fd);
    payload = mmap(NULL, request->payload_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fds[SENT_PAYLOAD], 0);
    if (payload == MAP_FAILED)
        _exit(EXIT_NO_FUNCTION);
    close(fds[SENT_PAYLOAD]);
    environment = unpack_strings((const char *)payload + payload->environ_offset, payload->environ_count);
    environ = environment;
    if (!request->is_program && payload->name[0])
        prctl(PR_SET_NAME, payload->name);
    reset_signals(request->ignores_interrupt);
    if (request->is_program)
        execute(payload, failure_fd);
    run_target(payload);
}
