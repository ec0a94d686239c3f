/* SPDX-License-Identifier: MIT */
#include "base/races.h"
#include "exec/nursery.h"

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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <plait/init.h>
#include <plait/wait.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/fork_epoch.h"
#include "exec/descriptors.h"
#include "exec/nursery_wire.h"
#include "wait/point.h"

/*
 * How it works
 *
 * The nursery is made by a raw clone with exit signal 0: a child like fork's, but its end sends no SIGCHLD, and waitpid(-1)
 * does not see it, as that would take __WALL. Not even a subreaper or the init of a container gets to see it while the
 * program lives. It cannot be reaped by mistake, so its number stays its own, and waitpid(pid, __WALL | WNOHANG) tells at
 * any time whether it lives. (qemu-user knows no such children: there it is an ordinary one, whose end does send SIGCHLD.)
 *
 * Raw clone runs no fork handlers. The nursery does next to nothing itself, and has its children by a real fork, which
 * sets right what libc caches (the TID, the robust list, locks of streams). What fork cannot set right is a lock
 * that another thread of the program held at the instant of the clone: malloc's, the loader's. A nursery made
 * while there are other threads therefore forks once on trial; if it is not ready in time, it is killed and
 * another copy is taken, at another instant.
 *
 * Requests go over a SOCK_SEQPACKET pair, one at a time, each with its answer; `lock` serialises them. How a process
 * ended comes through records in shared memory, so waiting for it involves neither the socket nor a thread here. A nursery
 * that dies wakes nobody: waiters look in slices whether it lives, and then ask the process's pidfd.
 *
 * A nursery lives in `current` and in each child that came from it. After its death the next start makes another. A
 * child that the program forked drops its parent's nursery and makes its own when it needs one.
 *
 * A process that is to see the program's memory as it is (PLAIT_FORK) comes from a nursery that is made for it alone at that
 * moment, a single one, which ends with it and is reaped by whoever looks. So nothing about such processes is different: no
 * SIGCHLD, no waitpid(-1) that sees them, the same records, the same end of daemons. fork() by the program itself, and a
 * double one, would each make a child that the program sees, if only for an instant, or for good where it is a subreaper or
 * the init of a container; and a status that it, not we, may get. The price is a process that sleeps.
 */

struct plait__nursery {
    uint32_t references; /* guarded by lock */
    uint32_t dead;       /* atomic: it has been seen dead; never goes back */
    bool is_single;      /* const: for one process, and not in `current` */
    pid_t owner;         /* const: the process that made it */
    pid_t pid;           /* const */
    int socket;          /* const; used with lock held */
    uint32_t free_count; /* guarded by lock */
    uint32_t *free;      /* guarded by lock: free_count records below page->records_used */
    struct plait__page *page; /* const */
};

/* A copy that works is ready within a few milliseconds, on an idle machine. */
enum { SHORT_TRIES = 16, SHORT_TRY_MS = 20, LONGER_EVERY = 4, LONGEST_TRY_MS = 2560 };

#define SLICE_MIN (100 * PLAIT__MILLISECOND)
#define SLICE_MAX (800 * PLAIT__MILLISECOND)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Descriptors are read and written with the lock held: no request of pthread_cancel is acted upon meanwhile. */
static int take_lock(void)
{
    int closed = plait__point_close();

    pthread_mutex_lock(&lock);
    return closed;
}

static void give_lock(int closed)
{
    pthread_mutex_unlock(&lock);
    plait__point_restore(closed);
}

static struct plait__nursery *current; /* guarded by lock */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* A single one that has done its work, or has none; until it is reaped its number is its own. */
static void put_down(const struct plait__nursery *nursery)
{
    if (load_acquire(&nursery->dead))
        return;
    kill(nursery->pid, SIGKILL);
    while (waitpid(nursery->pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
}

/* With the lock held. */
static void unreference(struct plait__nursery *nursery)
{
    if (--nursery->references)
        return;
    if (nursery->owner == getpid()) {
        close(nursery->socket);
        if (nursery->is_single)
            put_down(nursery);
    }
    munmap(nursery->page, sizeof *nursery->page);
    free(nursery->free);
    free(nursery);
}

/* ---- Making one ------------------------------------------------------------------------- */

/* A child, by fork or raw clone, starts without a nursery, and must not keep the parent's from seeing EOF. */
static void forget_parents(void)
{
    struct plait__nursery *parents = current;

    pthread_mutex_init(&lock, NULL);
    current = NULL;
    if (!parents)
        return;
    close(parents->socket);
    unreference(parents);
}

static void register_fork_handlers(void)
{
    pthread_atfork(NULL, NULL, forget_parents);
}

/* /proc/self/task has a link for each thread and two of its own. */
static bool has_other_threads(void)
{
    struct stat tasks;

    return stat("/proc/self/task", &tasks) != 0 || tasks.st_nlink != 3;
}

static pid_t clone_nursery(const struct plait__nursery *nursery, const int sockets[2], bool threads)
{
    sigset_t all, before;
    pid_t pid;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL);
    if (pid < 0 && errno == EINVAL)
        pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        plait__fork_epoch_forget();
        current = NULL;
        pthread_mutex_unlock(&lock); /* held by the caller, of whom this is the copy */
        plait__nursery_main(nursery->page, sockets[1], threads, nursery->is_single);
    }
    int err = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = err;
    return pid;
}

static bool is_ready(int socket, int wait_ms)
{
    struct pollfd polled = { socket, POLLIN, 0 };
    struct plait__reply reply;
    int fds[PLAIT__SEND_MAX];
    size_t count;
    plait_time_t deadline = plait_now() + wait_ms * PLAIT__MILLISECOND;
    int ready;

    do
        ready = poll(&polled, 1, wait_ms);
    while (ready < 0 && errno == EINTR && plait_now() < deadline);
    return ready > 0 && plait__receive(socket, &reply, sizeof reply, fds, &count) == 0;
}

/* Fork it and see that it works. */
static int launch(struct plait__nursery *nursery)
{
    bool threads = has_other_threads();
    int sockets[2];

    for (int try = 1, wait_ms = threads ? SHORT_TRY_MS : LONGEST_TRY_MS; wait_ms <= LONGEST_TRY_MS; try++) {
        if (try > SHORT_TRIES && try % LONGER_EVERY == 0)
            wait_ms *= 2;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
            return errno;
        sockets[0] = plait__move_from(sockets[0], 3);
        sockets[1] = plait__move_from(sockets[1], 3);
        nursery->pid = clone_nursery(nursery, sockets, threads);
        int err = errno;
        close(sockets[1]);
        if (nursery->pid > 0 && is_ready(sockets[0], wait_ms)) {
            nursery->socket = sockets[0];
            return 0;
        }
        close(sockets[0]);
        if (nursery->pid < 0)
            return err;
        kill(nursery->pid, SIGKILL);
        waitpid(nursery->pid, NULL, __WALL);
    }
    return EAGAIN;
}

static int make(bool is_single, struct plait__nursery **nursery_out)
{
    struct plait__nursery *nursery = calloc(1, sizeof *nursery);
    int err = ENOMEM;

    if (!nursery)
        return ENOMEM;
    nursery->free = malloc(PLAIT__RECORDS * sizeof *nursery->free);
    if (!nursery->free)
        goto nursery;
    nursery->page = mmap(NULL, sizeof *nursery->page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (nursery->page == MAP_FAILED)
        goto free;
    nursery->is_single = is_single;
    nursery->owner = getpid();
    nursery->references = 1;
    err = launch(nursery);
    if (err == 0) {
        *nursery_out = nursery;
        return 0;
    }
    munmap(nursery->page, sizeof *nursery->page);
free:
    free(nursery->free);
nursery:
    free(nursery);
    return err;
}

/* With the lock held: a living nursery in `current`. */
static int enter(void)
{
    if (current && current->owner != getpid()) /* raw clone: no handler ran */
        forget_parents();
    if (current && !plait__nursery_is_alive(current)) {
        struct plait__nursery *dead = current;
        current = NULL;
        unreference(dead);
    }
    return current ? 0 : make(false, &current);
}

int plait__nursery_enter(void)
{
    int closed, err;

    plait__races_once(&fork_once, register_fork_handlers);
    closed = take_lock();
    err = enter();
    give_lock(closed);
    return err;
}

static bool runs(pid_t pid)
{
    int closed = plait__point_close();
    bool alive = waitpid(pid, NULL, __WALL | WNOHANG) == 0;

    plait__point_restore(closed);
    return alive;
}

bool plait__nursery_is_alive(struct plait__nursery *nursery)
{
    if (load_acquire(&nursery->dead))
        return false;
    /* In a forked child it is nobody's to wait for; a zombie passes for alive until its parent has seen to it. */
    if (nursery->owner != getpid() ? kill(nursery->pid, 0) == 0 || errno == EPERM
                                   : runs(nursery->pid))
        return true;
    store_release(&nursery->dead, 1);
    return false;
}

const uint32_t *plait__nursery_ends(const struct plait__nursery *nursery)
{
    return &nursery->page->ends;
}

/* With the lock held. */
static void leave(struct plait__nursery *nursery)
{
    struct pollfd polled = { nursery->socket, 0, 0 };

    if (nursery->owner != getpid())
        return;
    shutdown(nursery->socket, SHUT_WR);
    /* It ends within a moment; a stopped one must not stop us. */
    poll(&polled, 1, 1000);
    plait__nursery_is_alive(nursery);
}

void plait__nursery_leave(void)
{
    int closed = take_lock();

    if (current)
        leave(current);
    give_lock(closed);
}

/* ---- Requests ---------------------------------------------------------------------------- */

/* Send one and receive the answer, with the lock held. EOWNERDEAD: the nursery died. */
static int exchange(struct plait__nursery *nursery, const struct plait__request *request, const int *fds,
                    size_t fd_count, struct plait__reply *reply, int *reply_fds, size_t *reply_count)
{
    struct pollfd polled = { nursery->socket, POLLIN, 0 };
    int err = plait__send(nursery->socket, request, sizeof *request, fds, fd_count);

    /* A copy of its end of the socket, caught by somebody's fork, may keep us from seeing EOF: look ourselves. */
    while (err == 0 && poll(&polled, 1, 500) <= 0)
        if (!plait__nursery_is_alive(nursery))
            err = EPIPE;
    if (err == 0)
        err = plait__receive(nursery->socket, reply, sizeof *reply, reply_fds, reply_count);
    if (err == EPIPE || err == EBADMSG) {
        kill(nursery->pid, SIGKILL);
        while (plait__nursery_is_alive(nursery))
            poll(NULL, 0, 1);
        return EOWNERDEAD;
    }
    return err;
}

/* With the lock held. */
static int take_record(struct plait__nursery *nursery, uint32_t *record_out)
{
    uint32_t used = load_relaxed(&nursery->page->records_used);

    if (nursery->free_count)
        *record_out = nursery->free[--nursery->free_count];
    else if (used < PLAIT__RECORDS)
        *record_out = used;
    else
        return EAGAIN;
    store_relaxed(&nursery->page->records[*record_out].state, RECORD_STARTING);
    if (*record_out == used)
        store_release(&nursery->page->records_used, used + 1);
    return 0;
}

/* With the lock held. A forked child's handles are copies: the record is its parent's to give back. */
static void give_record(struct plait__nursery *nursery, uint32_t record)
{
    if (nursery->owner != getpid())
        return;
    store_relaxed(&nursery->page->records[record].state, RECORD_FREE);
    nursery->free[nursery->free_count++] = record;
}

/* With the lock held: the nursery from which it is to come; the caller has a reference. */
static int choose(bool from_now, struct plait__nursery **nursery_out)
{
    int err = from_now ? make(true, nursery_out) : enter();

    if (err || from_now)
        return err;
    *nursery_out = current;
    current->references++;
    return 0;
}

/* With the lock held: ask for the process. failure_out: the pipe that tells of its failure, or -1. */
static int ask(struct plait__nursery *nursery, struct plait__request *request, const int *fds, size_t fd_count,
               struct plait__child *child, int *failure_out)
{
    struct plait__reply reply;
    int got[PLAIT__SEND_MAX];
    size_t count = 0, next = 0;
    int err = take_record(nursery, &request->record);

    if (err)
        return err;
    err = exchange(nursery, request, fds, fd_count, &reply, got, &count);
    if (err == 0)
        err = reply.error;
    if (err) {
        give_record(nursery, request->record);
        return err;
    }
    child->nursery = nursery;
    child->record = request->record;
    child->pid = reply.pid;
    child->pidfd = reply.has_pidfd && next < count ? plait__move_from(got[next++], 3) : -1;
    *failure_out = reply.has_pipe && next < count ? got[next] : -1;
    return 0;
}

int plait__nursery_ask(bool from_now, struct plait__request *request, const int *fds, size_t fd_count,
                       struct plait__child *child_out, int *failure_out)
{
    struct plait__nursery *nursery;
    int closed, err;

    plait__races_once(&fork_once, register_fork_handlers);
    closed = take_lock();
    err = choose(from_now, &nursery);
    if (err == 0) {
        err = ask(nursery, request, fds, fd_count, child_out, failure_out);
        if (err)
            unreference(nursery);
    }
    give_lock(closed);
    return err;
}

/* ---- Children ---------------------------------------------------------------------------- */

static struct plait__record *record_of(const struct plait__child *child)
{
    return &child->nursery->page->records[child->record];
}

/* Without a pidfd: as /proc has it, "12 (name) Z ..."; init may be slow to reap, or never do it. */
static bool is_gone_from_proc(pid_t pid)
{
    char path[32], line[256];
    ssize_t got;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kill(pid, 0) != 0 && errno == ESRCH;
    got = read(fd, line, sizeof line - 1);
    close(fd);
    line[got > 0 ? got : 0] = '\0';
    const char *end = strrchr(line, ')');
    return !end || end[1] == '\0' || end[2] == 'Z' || end[2] == 'X';
}

/* The nursery is dead: has the process ended? */
static bool is_gone(const struct plait__child *child)
{
    struct pollfd polled = { child->pidfd, POLLIN, 0 };
    int closed = plait__point_close();
    bool gone = child->pidfd < 0 ? is_gone_from_proc(child->pid) : poll(&polled, 1, 0) > 0;

    plait__point_restore(closed);
    return gone;
}

enum plait__child_state plait__child_state(const struct plait__child *child, int *status_out)
{
    struct plait__record *record = record_of(child);
    uint32_t state = load_acquire(&record->state); /* E1 */

    if (state == RECORD_STARTING || state == RECORD_RUNNING) {
        if (plait__nursery_is_alive(child->nursery) || !is_gone(child))
            return PLAIT__CHILD_RUNS;
        /* It may have written the end just before its own. */
        if (cas_acqrel(&record->state, &state, RECORD_LOST))
            state = RECORD_LOST;
    }
    if (state == RECORD_LOST)
        return PLAIT__CHILD_LOST;
    if (child->nursery->is_single)
        plait__nursery_is_alive(child->nursery); /* it ends, too, and is to be reaped */
    if (status_out)
        *status_out = record->status;
    return PLAIT__CHILD_ENDED;
}

int plait__child_wait(const struct plait__child *child, plait_time_t deadline)
{
    struct plait__record *record = record_of(child);
    plait_time_t slice = SLICE_MIN;

    while (plait__child_state(child, NULL) == PLAIT__CHILD_RUNS) {
        uint32_t state = load_acquire(&record->state);
        plait_time_t look = plait_now() + slice, unsliced = 0;
        int err;

        if (state != RECORD_STARTING && state != RECORD_RUNNING)
            continue;
        err = plait__wait_point(&record->state, state, PLAIT_SHARED, look < deadline ? look : deadline, &unsliced);
        if (err == ECANCELED || (err == ETIMEDOUT && deadline <= look))
            return plait__child_state(child, NULL) == PLAIT__CHILD_RUNS ? err : 0;
        if (load_relaxed(&child->nursery->dead) == 0 && slice < SLICE_MAX)
            slice *= 2;
    }
    return 0;
}

bool plait__child_word(const struct plait__child *child, struct plait_wait_word *word_out)
{
    struct plait__record *record = record_of(child);
    uint32_t state = load_acquire(&record->state);

    *word_out = (struct plait_wait_word){ &record->state, state, PLAIT_SHARED };
    return state == RECORD_STARTING || state == RECORD_RUNNING;
}

int plait__child_signal(const struct plait__child *child, int signal)
{
    struct plait__request request = { .kind = REQUEST_SIGNAL, .record = child->record, .signal = signal };
    struct plait__reply reply;
    int fds[PLAIT__SEND_MAX];
    size_t count;
    int closed, err;

    if (plait__child_state(child, NULL) != PLAIT__CHILD_RUNS)
        return ESRCH;
    if (child->pidfd >= 0 && plait__pidfd_send_signal(child->pidfd, signal) == 0)
        return 0;
    if (child->pidfd >= 0 && errno != ENOSYS)
        return errno;
    /* Without a pidfd the nursery sends it, because it knows whether it has reaped the process. If it is dead, this is
     * the one place where a number may have been given again. */
    if (!plait__nursery_is_alive(child->nursery))
        return kill(child->pid, signal) == 0 ? 0 : errno;
    closed = take_lock();
    err = child->nursery->owner == getpid()
              ? exchange(child->nursery, &request, NULL, 0, &reply, fds, &count)
              : ENOSYS;
    give_lock(closed);
    return err ? err : reply.error;
}

void plait__child_drop(struct plait__child *child)
{
    int closed = take_lock();

    if (child->pidfd >= 0)
        close(child->pidfd);
    give_record(child->nursery, child->record);
    unreference(child->nursery);
    give_lock(closed);
}

void plait__child_leave(struct plait__child *child)
{
    int closed = take_lock();

    if (child->nursery->is_single)
        leave(child->nursery);
    give_lock(closed);
}
