/* SPDX-License-Identifier: MIT */
#include "exec/descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Numbers of system calls that the oldest headers in use lack; the same on every processor. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

union control {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(PLAIT__SEND_MAX * sizeof(int))];
};

int plait__send(int socket, const void *message, size_t size, const int *fds, size_t fd_count)
{
    struct iovec part = { .iov_base = (void *)message, .iov_len = size };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
    union control control;
    ssize_t sent;

    if (fd_count) {
        memset(&control, 0, sizeof control);
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
    }
    do
        sent = sendmsg(socket, &header, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return errno == ECONNRESET || errno == ENOTCONN ? EPIPE : errno;
    return 0;
}

int plait__receive(int socket, void *message, size_t size, int fds[PLAIT__SEND_MAX], size_t *fd_count_out)
{
    struct iovec part = { .iov_base = message, .iov_len = size };
    union control control;
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes };
    ssize_t got;

    *fd_count_out = 0;
    do
        got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == ECONNRESET ? EPIPE : errno;
    for (struct cmsghdr *rights = CMSG_FIRSTHDR(&header); rights; rights = CMSG_NXTHDR(&header, rights)) {
        if (rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS)
            continue;
        *fd_count_out = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(rights), *fd_count_out * sizeof(int));
    }
    if (got == 0)
        return EPIPE;
    if ((size_t)got != size || (header.msg_flags & MSG_TRUNC)) {
        plait__close_all(fds, *fd_count_out);
        *fd_count_out = 0;
        return EBADMSG;
    }
    return 0;
}

/* Where close_range is unknown: one by one, as /proc lists them, or as many as there may be. */
static void close_listed(int first, int last)
{
    DIR *folder = opendir("/proc/self/fd");
    struct rlimit limit;

    if (folder) {
        for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
            int fd = entry->d_name[0] == '.' ? -1 : atoi(entry->d_name);
            if (fd >= first && fd <= last && fd != dirfd(folder))
                close(fd);
        }
        closedir(folder);
        return;
    }
    if (last == INT_MAX)
        last = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (int)limit.rlim_cur : 65536;
    for (int fd = first; fd <= last; fd++)
        close(fd);
}

static void close_between(int first, int last)
{
    if (first <= last && syscall(SYS_close_range, (unsigned)first, (unsigned)last, 0u) != 0)
        close_listed(first, last);
}

void plait__close_from(int first, const int *keep, size_t keep_count)
{
    for (;;) {
        int next = INT_MAX; /* the lowest one to keep */

        for (size_t i = 0; i < keep_count; i++)
            if (keep[i] >= first && keep[i] < next)
                next = keep[i];
        if (next == INT_MAX) {
            close_between(first, INT_MAX);
            return;
        }
        close_between(first, next - 1);
        first = next + 1;
    }
}

void plait__close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

int plait__move_from(int fd, int least)
{
    int moved;

    if (fd >= least || fd < 0)
        return fd;
    moved = fcntl(fd, F_DUPFD_CLOEXEC, least);
    if (moved >= 0)
        close(fd);
    return moved;
}

int plait__write_all(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size) {
        ssize_t written = write(fd, at, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? errno : EIO;
        at += written;
        size -= (size_t)written;
    }
    return 0;
}

int plait__pidfd_open(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

int plait__pidfd_send_signal(int pidfd, int signal)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}
