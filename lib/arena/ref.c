/* SPDX-License-Identifier: MIT */
/*
 * How it works: a reference is the arena's number and an offset. An arena that this process does not have open is looked
 * for at its maker: the number of an anonymous arena says which process and which descriptor, and /proc lets relatives
 * of the same user open that. By then the process or the descriptor may be another's: a file that is no arena is not
 * even opened, and whether it is the right arena, the number in its header tells. Once opened for a reference it
 * stays open.
 */
#include <plait/arena.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arena/open.h"

int plait_ref_of(const void *address, plait_ref_t *ref_out)
{
    plait_arena_t *arena = plait_arena_of(address);

    if (!arena)
        return EINVAL;
    *ref_out = (plait_ref_t){ arena->id, plait__offset_in(arena->base, address) };
    return 0;
}

static bool is_anonymous_arena(const char *path)
{
    static const char ours[] = "/memfd:plait (deleted)";
    char target[sizeof ours];

    return readlink(path, target, sizeof target) == sizeof ours - 1 && memcmp(target, ours, sizeof ours - 1) == 0;
}

static int open_at_maker(uint64_t id, plait_arena_t **arena_out)
{
    char path[64];
    pid_t pid;
    int fd, maker_fd, err;

    if (!plait__arena_id_maker(id, &pid, &maker_fd))
        return ENOENT;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, maker_fd);
    fd = is_anonymous_arena(path) ? open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0)
        return ENOENT;
    err = plait__arena_attach_fd(fd, arena_out);
    close(fd);
    if (err == EBADMSG) /* what the maker has there now is something else */
        return ENOENT;
    if (err == 0 && (*arena_out)->id != id) {
        plait_arena_free(*arena_out);
        err = ENOENT;
    }
    return err == EBADMSG ? ENOENT : err;
}

int plait_ref_open(plait_ref_t ref, void **address_out)
{
    plait_arena_t *arena = plait__arena_by_id(ref.arena);
    int err;

    if (ref.arena == 0 || ref.offset == 0)
        return EINVAL;
    if (!arena) {
        err = open_at_maker(ref.arena, &arena);
        if (err)
            return err;
    }
    if (ref.offset >= arena->limit)
        return EINVAL;
    *address_out = plait__at(arena->base, ref.offset);
    return 0;
}
