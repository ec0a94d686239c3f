/* SPDX-License-Identifier: MIT */
/* The nursery itself: forks on request, reaps, and tells how its children ended. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait/wait.h>

#include "base/atomic.h"
#include "exec/descriptors.h"
#include "exec/nursery_wire.h"

/*
 * How it works
 *
 * One thread, all signals blocked for life, so that a signal to the whole process group (Ctrl-C, the program's own
 * kill(0, ...)) does not end it; SIGCHLD is read from a signalfd. It sleeps in poll until there is a request, a
 * child has ended, or the program has: its end of the socket is closed, or its pidfd says so (a child that the
 * program forked may hold a copy of the socket's end). Then it kills the daemons and ends; the others belong to
 * init from then on.
 *
 * A child is reaped here only, so between fork and reaping its number cannot mean another process:
 * its pidfd is opened, and signals are sent on request, in that time.
 *
 * The copy that raw clone made of a program with threads may hold locks of malloc, stdio or the loader that no
 * thread will ever release. Such a copy hangs in the trial fork below, and the program kills it and makes
 * another (nursery.c).
 */

struct nursery_state {
    struct plait__page *page;
    int socket;
    int signals; /* signalfd */
    int program; /* pidfd, -1: none */
    pid_t pid;   /* its own */
};

/* ---- Becoming one --------------------------------------------------------------------- */

static void leave_descriptors(int socket)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int fd = 0; fd < 3 && null >= 0; fd++)
        if (null != fd)
            dup2(null, fd);
    plait__close_from(3, &socket, 1);
}

static int look_at_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    return 0;
}

/* Take, in a child, the locks that every child will need. */
static void try_fork(void)
{
    /* Should it hang, it must not outlive the program, whose thread waits for it. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (size_t size = 16; size <= 1 << 20; size *= 4)
            free(malloc(size));
        dl_iterate_phdr(look_at_module, NULL);
        fflush(NULL); /* musl does not free the streams' locks in children; their descriptors are not there any more */
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    prctl(PR_SET_PDEATHSIG, 0);
}

/* ---- Its children --------------------------------------------------------------------- */

static void record_end(struct plait__page *page, pid_t pid, int status)
{
    uint32_t used = load_acquire(&page->records_used);

    for (uint32_t i = 0; i < used; i++) {
        struct plait__record *record = &page->records[i];
        if (record->pid != pid || load_relaxed(&record->state) != RECORD_RUNNING)
            continue;
        record->status = status;
        store_release(&record->state, RECORD_ENDED); /* E1 */
        plait_wake(&record->state, UINT_MAX, PLAIT_SHARED);
        break;
    }
    add_release(&page->ends, 1);
    plait_wake(&page->ends, UINT_MAX, PLAIT_SHARED);
}

static void reap(struct plait__page *page)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        record_end(page, pid, status);
}

static void kill_daemons(struct plait__page *page)
{
    uint32_t used = load_acquire(&page->records_used);

    for (uint32_t i = 0; i < used; i++) {
        struct plait__record *record = &page->records[i];
        if (load_relaxed(&record->state) == RECORD_RUNNING && record->daemon)
            kill(record->pid, SIGKILL);
    }
}

/* ---- Requests -------------------------------------------------------------------------- */

static void be_born(struct nursery_state *state, const struct plait__request *request, const int *got, int failure_fd)
{
    int fds[SENT_MOST], next = 0;

    for (int i = 0; i < SENT_COUNT; i++)
        fds[i] = request->sent & 1u << i ? got[next++] : -1;
    for (int i = 0; i < request->passed; i++)
        fds[SENT_COUNT + i] = got[next++];
    plait__newborn_main(request, fds, failure_fd, state->pid);
}

static void spawn(struct nursery_state *state, const struct plait__request *request, const int *got)
{
    struct plait__record *record = &state->page->records[request->record];
    struct plait__reply reply = { 0 };
    int fds[2] = { -1, -1 }, failure[2] = { -1, -1 };
    size_t count = 0;
    pid_t pid = -1;

    if (request->is_watched && pipe2(failure, O_CLOEXEC) != 0)
        reply.error = errno;
    if (reply.error == 0) {
        pid = fork();
        if (pid == 0)
            be_born(state, request, got, failure[1]);
        if (pid < 0)
            reply.error = errno;
    }
    if (pid > 0) {
        reply.pid = record->pid = pid;
        record->daemon = request->daemon;
        store_release(&record->state, RECORD_RUNNING);
        fds[count] = plait__pidfd_open(pid);
        if (fds[count] >= 0)
            count += reply.has_pidfd = 1;
        fds[count] = failure[0];
        if (failure[0] >= 0)
            count += reply.has_pipe = 1;
    }
    plait__send(state->socket, &reply, sizeof reply, fds, count);
    if (reply.has_pidfd)
        close(fds[0]);
    plait__close_all(failure, 2);
}

static void send_signal(struct nursery_state *state, const struct plait__request *request)
{
    struct plait__record *record = &state->page->records[request->record];
    struct plait__reply reply = { .error = ESRCH };

    if (load_relaxed(&record->state) == RECORD_RUNNING)
        reply.error = kill(record->pid, request->signal) == 0 ? 0 : errno;
    plait__send(state->socket, &reply, sizeof reply, NULL, 0);
}

/* Serve one request. False: the program has gone. */
static bool serve(struct nursery_state *state)
{
    struct plait__request request;
    int fds[PLAIT__SEND_MAX];
    size_t count;
    int err = plait__receive(state->socket, &request, sizeof request, fds, &count);

    if (err == EPIPE)
        return false;
    if (err == 0 && request.record < PLAIT__RECORDS) {
        struct plait__reply refusal = { .error = EMFILE };

        if (request.kind == REQUEST_SIGNAL)
            send_signal(state, &request);
        else if (count == (size_t)__builtin_popcount(request.sent) + request.passed)
            spawn(state, &request, fds);
        else
            plait__send(state->socket, &refusal, sizeof refusal, NULL, 0);
    }
    plait__close_all(fds, count);
    return true;
}

/* The one process of a single nursery: has it ended? */
static bool has_served(const struct plait__page *page)
{
    return load_relaxed(&page->records[0].state) == RECORD_ENDED;
}

_Noreturn void plait__nursery_main(struct plait__page *page, int socket, bool tries_fork, bool is_single)
{
    struct nursery_state state = { .page = page, .socket = socket, .pid = getpid() };
    struct plait__reply ready = { .pid = state.pid };
    struct signalfd_siginfo ignored;
    sigset_t child;

    prctl(PR_SET_NAME, "plait-nursery");
    for (int i = 1; i < NSIG; i++)
        if (i != SIGKILL && i != SIGSTOP)
            signal(i, SIG_DFL);
    leave_descriptors(socket);
    if (tries_fork)
        try_fork();
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    state.signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    state.program = plait__pidfd_open(getppid());
    plait__send(socket, &ready, sizeof ready, NULL, 0);

    struct pollfd polled[] = { { socket, POLLIN, 0 }, { state.signals, POLLIN, 0 }, { state.program, POLLIN, 0 } };
    for (;;) {
        poll(polled, 3, -1);
        if (polled[1].revents) {
            while (read(state.signals, &ignored, sizeof ignored) > 0)
                ;
            reap(page);
            if (is_single && has_served(page))
                break;
        }
        if (polled[2].revents || (polled[0].revents && !serve(&state)))
            break;
    }
    kill_daemons(page);
    _exit(0);
}
