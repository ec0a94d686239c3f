/* SPDX-License-Identifier: MIT */
/* Child: the start of a process, from what it is to be to the answer that it runs. */
#include <errno.h>
#include <unistd.h>

#include "exec/nursery_wire.h"

/* Read why exec, or another step on the way, failed; the end of the pipe says that none did. */
static int read_failure(int pipe)
{
    int err = 0;
    ssize_t got;

    do
        got = read(pipe, &err, sizeof err);
    while (got < 0 && errno == EINTR);
    close(pipe);
    return got == sizeof err ? err : 0;
}

/* Open what it needs, send it to a nursery, and close it. */
static int send_to_nursery(const struct plait__spawn *spawn, struct plait__request *request, struct plait__child *child_out,
                           int *failure_out)
{
    struct plait__outfit outfit;
    int fds[SENT_MOST];
    size_t count;
    int err = plait__outfit_open(spawn, &outfit, &request->payload_size);

    if (err == 0) {
        request->sent = plait__outfit_gather(spawn, &outfit, fds, &count);
        err = plait__nursery_ask(spawn->from_now, request, fds, count, child_out, failure_out);
    }
    plait__outfit_close(&outfit);
    return err;
}

int plait__child_start(const struct plait__spawn *given, struct plait__child *child_out)
{
    const struct plait_process_fd carried = { given->carry_fd, PLAIT__CARRIED_FD };
    struct plait__spawn spawn = *given;
    struct plait__request request = { .kind = REQUEST_SPAWN, .daemon = given->daemon, .program = getpid(),
                                      .ignores_interrupt = given->ignores_interrupt, .is_program = given->program != NULL,
                                      .is_afresh = given->afresh,
                                      .is_watched = given->program || given->afresh || given->fd_count };
    int failure = -1, err;

    if (given->carry_fd >= 0) {
        spawn.fds = &carried;
        spawn.fd_count = 1;
    }
    request.passed = (uint8_t)spawn.fd_count;
    err = send_to_nursery(&spawn, &request, child_out, &failure);
    if (err == 0 && failure >= 0)
        err = read_failure(failure);
    if (err && failure >= 0) {
        plait__child_wait(child_out, PLAIT_FOREVER);
        plait__child_drop(child_out);
    }
    return err;
}
