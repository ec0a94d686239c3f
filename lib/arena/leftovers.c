/* SPDX-License-Identifier: MIT */
/*
 * How it works: whether anybody uses a named arena, the file's locks say (door.c). A leftover is removed behind its door. Who opens it at the
 * same moment either has the door, then we leave it alone; or comes to the door after us, finds the file's name gone by its link count, and
 * begins again with a new one (open.c). Whoever had it open before holds a lock, and it is no leftover. The name is the file's own as
 * long as that has a link: only who removes names without going through the door (plait_arena_unlink, rm) at that very instant, and makes
 * a new arena of that name, could lose this to us.
 */
#include <plait/arena.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "arena/open.h"
#include "wait/point.h"

#define FOLDER "/dev/shm"
#define PREFIX "plait."

/* Remove it, if it is one, and `each` does not want to keep it. */
static bool remove_leftover(const char *entry, plait_arena_sweep_fn *each, void *arg)
{
    struct plait_arena found;
    char file[sizeof(((struct dirent *)0)->d_name) + 1];
    bool removed;

    snprintf(file, sizeof file, "/%s", entry);
    if (plait__open_leftover(file, &found) != 0)
        return false;
    removed = (!each || each(entry + sizeof PREFIX - 1, arg)) && shm_unlink(file) == 0;
    plait__open_drop(&found);
    return removed;
}

static int sweep(plait_arena_sweep_fn *each, void *arg, size_t *count)
{
    DIR *folder = opendir(FOLDER);
    struct dirent *entry;

    if (!folder)
        return errno == ENOENT ? 0 : errno;
    while ((entry = readdir(folder)))
        if (strncmp(entry->d_name, PREFIX, sizeof PREFIX - 1) == 0)
            *count += remove_leftover(entry->d_name, each, arg);
    closedir(folder);
    return 0;
}

int plait_arena_sweep(plait_arena_sweep_fn *each, void *arg, size_t *count_out)
{
    int closed = plait__point_close();
    size_t count = 0;
    int err = sweep(each, arg, &count);

    plait__point_restore(closed);
    if (count_out)
        *count_out = count;
    return err;
}
