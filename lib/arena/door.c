/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Who has a named arena open holds a read lock on the file, an "open file description" lock (F_OFD_SETLK), which the kernel
 * takes back when the last descriptor of that opening is gone, however its processes ended. So "does anybody use it?" is
 * the question whether a write lock can be had, and needs no table, no process numbers and no time-out.
 *
 *     byte USERS    read lock: has it open.   write lock: knows that nobody else has
 *     byte DOOR     write lock: is opening or closing it
 *
 * Leave: through the door; if USERS can be had for writing, remove the name. The door is also the kernel's to take back. A
 * process that finds it occupied does not wait in the kernel but comes again: it gives up what it holds meanwhile, as
 * the one at the door may be stopped for as long as it pleases.
 *
 * A forked child would share its parent's opening, and a parent that closes would find nobody else there. So it gets one of
 * its own, which the parent makes before the fork: there is no moment at which the child has none. Where that failed, and after
 * _Fork or raw clone, the child shares the parent's, and must not give up what is the parent's (`opener`).
 */
#include "arena/door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena/open.h"

/* Bytes far beyond the end of any file. */
#define LOCK_USERS ((off_t)1 << 62)
#define LOCK_DOOR (LOCK_USERS + 1)

static int file_lock(int fd, off_t byte, short type)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    while (fcntl(fd, F_OFD_SETLK, &lock) != 0)
        if (errno != EINTR)
            return errno == EACCES ? EAGAIN : errno;
    return 0;
}

int plait__door_enter(int fd)
{
    int err = file_lock(fd, LOCK_DOOR, F_WRLCK);

    return err == EAGAIN ? EBUSY : err;
}

void plait__door_close(int fd)
{
    file_lock(fd, LOCK_DOOR, F_UNLCK);
}

bool plait__door_is_alone(int fd)
{
    return file_lock(fd, LOCK_USERS, F_WRLCK) == 0;
}

int plait__door_join(int fd)
{
    return file_lock(fd, LOCK_USERS, F_RDLCK);
}

int plait__door_reopen(int fd)
{
    char path[40];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

int plait__door_sign_off(struct plait_arena *a)
{
    struct stat st;
    int err;

    if (a->kind != PLAIT__ARENA_NAMED || a->opener != getpid() || !plait__open_is_ours(a))
        return 0;
    err = plait__door_enter(a->fd);
    if (err)
        return err;
    if (plait__door_is_alone(a->fd) && fstat(a->fd, &st) == 0 && st.st_nlink > 0)
        shm_unlink(a->name);
    /* by name: somebody forked without handlers may share the opening for another moment */
    file_lock(a->fd, LOCK_USERS, F_UNLCK);
    plait__door_close(a->fd);
    return 0;
}

int plait__door_leave(struct plait_arena *a)
{
    int err = plait__door_sign_off(a);

    if (err == EBUSY)
        return EBUSY;
    if (plait__open_is_ours(a))
        close(a->fd);
    a->fd = -1;
    return 0;
}

void plait__door_before_fork(struct plait_arena *a)
{
    a->child_fd = -1;
    if (a->kind != PLAIT__ARENA_NAMED || !plait__open_is_ours(a))
        return;
    a->child_fd = plait__door_reopen(a->fd);
    if (a->child_fd >= 0)
        plait__door_join(a->child_fd);
}

void plait__door_after_fork(struct plait_arena *a, bool in_child)
{
    if (a->child_fd < 0)
        return;
    if (in_child && dup3(a->child_fd, a->fd, O_CLOEXEC) >= 0)
        a->opener = getpid();
    close(a->child_fd);
    a->child_fd = -1;
}
