/* SPDX-License-Identifier: MIT */
/* Outfit: what a process gets on its way: payload, directory, streams, opened and gathered to be sent to the nursery. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "exec/descriptors.h"
#include "exec/nursery_wire.h"

/* The directory as it is asked for, or the program's, unless that cannot be opened: then the newborn stays in the nursery's. */
static int open_directory(const struct plait__spawn *spawn, int *fd_out)
{
    if (spawn->directory && faccessat(AT_FDCWD, spawn->directory, X_OK, AT_EACCESS) != 0)
        return errno;
    *fd_out = plait__move_from(open(spawn->directory ? spawn->directory : ".", O_PATH | O_DIRECTORY | O_CLOEXEC), 3);
    return *fd_out < 0 && spawn->directory ? errno : 0;
}

static bool are_open(const struct plait__spawn *spawn)
{
    for (int i = 0; i < 3; i++)
        if (spawn->streams[i] > 0 && fcntl(spawn->streams[i], F_GETFD) < 0)
            return false;
    for (size_t i = 0; i < spawn->fd_count; i++)
        if (fcntl(spawn->fds[i].fd, F_GETFD) < 0)
            return false;
    return true;
}

static int open_null(const int streams[3], int *null_out)
{
    if (streams[0] >= 0 && streams[1] >= 0 && streams[2] >= 0)
        return 0;
    *null_out = plait__move_from(open("/dev/null", O_RDWR | O_CLOEXEC), 3);
    return *null_out < 0 ? errno : 0;
}

int plait__outfit_open(const struct plait__spawn *spawn, struct plait__outfit *outfit, uint64_t *payload_size_out)
{
    int err;

    *outfit = (struct plait__outfit){ -1, -1, -1 };
    if (!are_open(spawn)) /* at first: what is opened here may get one of those numbers */
        return EBADF;
    err = plait__payload_pack(spawn, &outfit->payload, payload_size_out);
    if (err) {
        outfit->payload = -1;
        return err;
    }
    err = open_directory(spawn, &outfit->cwd);
    return err ? err : open_null(spawn->streams, &outfit->null);
}

void plait__outfit_close(const struct plait__outfit *outfit)
{
    plait__close_all((int[]){ outfit->payload, outfit->cwd, outfit->null }, 3);
}

uint32_t plait__outfit_gather(const struct plait__spawn *spawn, const struct plait__outfit *outfit, int fds[SENT_MOST],
                              size_t *count_out)
{
    int all[SENT_COUNT] = { outfit->payload, 0, 1, 2, outfit->cwd };
    uint32_t sent = 0;

    for (int i = 0; i < 3; i++)
        if (spawn->streams[i])
            all[SENT_STDIN + i] = spawn->streams[i] < 0 ? outfit->null : spawn->streams[i];
    *count_out = 0;
    for (int i = 0; i < SENT_COUNT; i++) {
        if (all[i] < 0 || fcntl(all[i], F_GETFD) < 0)
            continue;
        sent |= 1u << i;
        fds[(*count_out)++] = all[i];
    }
    for (size_t i = 0; i < spawn->fd_count; i++)
        fds[(*count_out)++] = spawn->fds[i].fd;
    return sent;
}
