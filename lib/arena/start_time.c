/* SPDX-License-Identifier: MIT */
/*
 * How it works: the stat of a thread; of a process, that of its first thread, which stays as a zombie while other
 * threads of it run. By way of the task folder, because qemu-user makes up a /proc/PID/stat for the process that asks,
 * with another time in it. A process's id is its start time above PLAIT__TID_BITS bits of its number; it is kept, and asked for
 * anew in a child.
 *
 * E1: the id is stored before the epoch in which it holds, with a release, and read after it.
 */
#include "arena/start_time.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena/layout.h"
#include "base/atomic.h"
#include "base/fork_epoch.h"
#include "wait/point.h"

/* What /proc says. `is_known`: whether it lives can be told; `start_time` 0: no such thread, or not known. */
struct life {
    bool is_known;
    bool is_zombie;
    long threads; /* of its process, a zombie counts too */
    uint64_t start_time;
};

/* Fields 3, 20 and 22; the second may hold anything, but the last bracket ends it. */
static struct life parse(const char *text)
{
    struct life life = { 0 };
    const char *p = strrchr(text, ')');
    char state;

    if (!p || sscanf(p, ") %c", &state) != 1)
        return life;
    life.is_known = true;
    life.is_zombie = state == 'Z' || state == 'X' || state == 'x';
    for (int field = 2; field < 22 && p; field++) {
        p = strchr(p + 1, ' ');
        if (p && field == 19)
            life.threads = strtol(p, NULL, 10);
    }
    life.start_time = p ? strtoull(p, NULL, 10) : 0;
    return life;
}

static struct life read_life(uint32_t tid)
{
    struct life life = { 0 };
    char path[64], text[1024];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%u/task/%u/stat", tid, tid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        /* With hidepid a stranger's living thread is not there to see: only a signal finds nobody where nobody is. */
        life.is_known = errno == ENOENT && access("/proc/self/stat", R_OK) == 0 && kill((pid_t)tid, 0) != 0 &&
                        errno == ESRCH;
        life.is_zombie = true;
        return life;
    }
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) { /* it ended since */
        life.is_known = n == 0 || errno == ESRCH;
        life.is_zombie = true;
        return life;
    }
    text[n] = 0;
    return parse(text);
}

/* Files are read, but this is on the way of lock, which is no cancellation point. */
static struct life life_of(uint32_t tid)
{
    int closed = plait__point_close();
    struct life life = read_life(tid);

    plait__point_restore(closed);
    return life;
}

uint64_t plait__start_time(uint32_t tid)
{
    struct life life = life_of(tid);

    return life.is_zombie ? 0 : life.start_time;
}

bool plait__thread_is_dead(uint32_t tid, uint64_t start_time)
{
    struct life life = life_of(tid);

    return life.is_known && (life.is_zombie || (start_time && life.start_time != start_time));
}

uint64_t plait__process_id(void)
{
    static uint64_t id;
    static uint32_t id_epoch = PLAIT__EPOCH_NONE;
    uint32_t epoch = plait__fork_epoch();

    if (epoch == 0)
        epoch = plait__fork_epoch_renew();
    if (load_acquire(&id_epoch) != epoch) { /* E1 */
        uint32_t pid = (uint32_t)getpid();

        store64_relaxed(&id, life_of(pid).start_time << PLAIT__TID_BITS | pid);
        store_release(&id_epoch, epoch); /* E1 */
    }
    return load64_relaxed(&id);
}

uint64_t plait__process_id_of(uint32_t pid)
{
    uint64_t start_time = plait__start_time(pid);

    return start_time ? start_time << PLAIT__TID_BITS | pid : 0;
}

bool plait__process_is_dead(uint64_t id)
{
    struct life life = life_of((uint32_t)(id & ((1u << PLAIT__TID_BITS) - 1)));
    uint64_t start_time = id >> PLAIT__TID_BITS;

    return life.is_known && ((life.is_zombie && life.threads <= 1) || (start_time && life.start_time != start_time));
}
