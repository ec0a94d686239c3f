/* SPDX-License-Identifier: MIT */
/* Pipe: two ends, and messages of any length from one to the other. */
#ifndef PLAIT_PIPE_H
#define PLAIT_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <plait/arena.h>
#include <plait/export.h>
#include <plait/queue.h>
#include <plait/time.h>
#include <plait/wait_any.h>

PLAIT_BEGIN_DECLS

/*
 * plait_pipe_t - a handle on one end of a pipe. What is sent at one end is received at the other: messages of any
 * length, 0 bytes included, whole, and in the order in which they were sent.
 *
 *     plait_pipe_t *left, *right;
 *     plait_pipe_new(&left, &right, &(struct plait_pipe_opts){ 0 });
 *
 *     plait_pipe_send(left, "ping", 4, PLAIT_FOREVER);                        // one thread
 *
 *     plait_pipe_recv(right, buffer, sizeof buffer, &size, PLAIT_FOREVER);    // another, until EPIPE
 *
 * Private, or with .arena shared between processes. Unrelated programs meet by a name: each takes the end that is its
 * part, and leaves the other out. Whoever comes first makes the pipe:
 *
 *     plait_pipe_new(&end, NULL, &(struct plait_pipe_opts){ .arena = arena, .name = "chat" });   // one has the left end
 *     plait_pipe_new(NULL, &end, &(struct plait_pipe_opts){ .arena = arena, .name = "chat" });   // one the right end
 *
 * States of an end: unopened (nobody has had it yet: it can be sent to, and waits for whoever opens it); open; and then for good
 * closed, or dead: its last holder has closed it, or died or ended with it. Once an end is closed or dead, the other one
 * receives what was sent before, and then EPIPE; its sends answer EPIPE at once, also those that wait for room.
 *
 * Holders. An end is held by each process that opened it, as often as it did so (each handle counts), and may be used by all of
 * them at a time: messages are never mixed nor torn, and each is received once. A child of fork holds nothing: a copy of a handle
 * keeps no pipe open. The child's first call with it, other than to close, free or destroy, takes the end for the child; so who forks
 * a child that is to have an end keeps it until the child has said something, or hands it over with plait_pipe_give, and may then
 * close it at once. What an end's holder left is its process's: threads may come and go.
 *
 * A process may be killed at any instruction. A message whose send had not returned is there whole, or not at all; one whose recv
 * had not returned is received by another holder, or was in the hands of the dead. If it was the last holder of its end, calls
 * of the other side answer EPIPE at once; or within 50 ms if the thread that had opened the end had ended before, or where the kernel
 * keeps no robust lists. Who sleeps notices in less than a second. A process that is stopped (SIGSTOP) is alive.
 *
 * What a holder did before a send is seen by whoever has received the message.
 *
 * Memory: as queues of messages have it, one for each direction; what has up to 64 bytes, and is sent and received as a copy, needs
 * no more. The pipe ends with the last holder's handle, if nobody is left
 * and no end is unopened. One whose last holders were killed, or one of whose ends was never opened, stays in the arena until
 * it is opened by its name, which finds that out and makes another, or until plait_pipe_destroy.
 */
typedef struct plait_pipe plait_pipe_t;

enum plait_pipe_side {
    PLAIT_PIPE_LEFT = 0,
    PLAIT_PIPE_RIGHT = 1
};

enum plait_pipe_state {
    PLAIT_PIPE_UNOPENED = 0, /* nobody has had it yet */
    PLAIT_PIPE_OPEN = 1,
    PLAIT_PIPE_CLOSED = 2, /* by its last holder */
    PLAIT_PIPE_DEAD = 3    /* its last holder died, or ended with it */
};

/* Options of plait_pipe_new; zero is the default of each. */
struct plait_pipe_opts {
    size_t maxsize;       /* most messages under way in each direction, up to 2^31; 0: unbounded */
    plait_arena_t *arena; /* NULL: private */
    const char *name;     /* with .arena: open the pipe published by this name, or make and publish it */
    uint32_t one_way;     /* not 0: from left to right only */
    uint32_t spare;       /* must be 0 */
};

/*
 * Make a pipe, or with .name open the one that there is; *left_out and *right_out receive handles on its ends. With an arena one of
 * them may be NULL: then that end is not opened. Returns 0 or
 *   EINVAL  absurd maxsize; a name without arena; an end left out without arena, or both; the pipe of that name is of
 *           another maxsize or direction
 *   EPIPE   the pipe of that name is still held by somebody, and a wanted end is closed or dead
 *   EBADMSG something else has that name, or the arena is damaged
 *   ENOMEM, ENOSPC  no memory for it, or no room in the arena or its table of participants
 */
PLAIT_API int plait_pipe_new_sized(plait_pipe_t **left_out, plait_pipe_t **right_out, const struct plait_pipe_opts *opts,
                                   size_t opts_size);

PLAIT_API int plait_pipe_new(plait_pipe_t **left_out, plait_pipe_t **right_out, const struct plait_pipe_opts *opts);
PLAIT_INLINE_ALWAYS int plait_pipe_new(plait_pipe_t **left_out, plait_pipe_t **right_out, const struct plait_pipe_opts *opts)
{
    return plait_pipe_new_sized(left_out, right_out, opts, sizeof(struct plait_pipe_opts));
}

/*
 * Let go of the end: the calling process holds it no more by this handle, whose calls answer EPIPE from now on, also those that
 * wait. If nobody else holds it, it is closed for the other side. The handle remains, to be freed. 0, also the second time; ENOSPC,
 * and nothing done: the arena's table of participants is full, and the calling thread not in it.
 */
PLAIT_API int plait_pipe_close(plait_pipe_t *pipe);

/* Close, and drop the handle; NULL is allowed. Nobody may be in a call with it. Returns as close. */
PLAIT_API int plait_pipe_free(plait_pipe_t *pipe);

/*
 * End a shared pipe, whoever holds its ends, and drop the handle: its name is free again, and its memory goes back to the arena. No
 * process may use it any more; handles that are left may only be dropped. For a private one, as plait_pipe_free. 0.
 */
PLAIT_API int plait_pipe_destroy(plait_pipe_t *pipe);

/* Name an end of a shared pipe in plain bytes, for plait_pipe_open: this end or the other. EINVAL: it is private. */
PLAIT_API int plait_pipe_ref(const plait_pipe_t *pipe, enum plait_pipe_side side, plait_ref_t *ref_out);

/*
 * Hold the end that `ref` names, too. EPIPE: it is closed or dead. EBADMSG: there is no pipe. ENOENT, EINVAL as plait_ref_open.
 * ENOMEM, ENOSPC as plait_pipe_new.
 */
PLAIT_API int plait_pipe_open(plait_pipe_t **pipe_out, plait_ref_t ref);

/*
 * Publish a shared pipe under a name in its arena, and hold an end of what is published there. EEXIST: the name is taken, or the
 * pipe has one. Other errors as plait_arena_publish, plait_arena_lookup and plait_pipe_open.
 */
PLAIT_API int plait_pipe_publish(plait_pipe_t *pipe, const char *name);
PLAIT_API int plait_pipe_lookup(plait_pipe_t **pipe_out, plait_arena_t *arena, const char *name,
                                enum plait_pipe_side side);

/*
 * Have the process `pid` hold this end, too: a child that has a copy of the handle, or will open the end, so that the caller may
 * close its own before that. It does so until its first handle on the end takes it, which may have happened before, and which then
 * counts alone; or until its death. EINVAL: the pipe is private. ESRCH: there is no such process, or it has ended. EPIPE: this
 * handle is closed. ENOSPC: no room in the arena.
 *
 *     pid = fork();
 *     if (pid == 0)
 *         work(right);
 *     plait_pipe_give(right, pid);
 *     plait_pipe_free(right);          // now only the child keeps it open
 */
PLAIT_API int plait_pipe_give(plait_pipe_t *pipe, pid_t pid);

/*
 * Send a copy of `size` bytes. Waits for room only in a pipe with maxsize. A cancellation point of pthreads where it has to sleep.
 * Returns
 *   0          done
 *   ETIMEDOUT  no room until the deadline; with PLAIT_NOW: no room
 *   EPIPE      the other end is closed or dead, or this handle is closed; not sent
 *   ECANCELED  the caller's cancel token was set before there was room
 *   EINVAL     this is the right end of a pipe of one way
 *   ENOMEM, ENOSPC  no memory for the message
 *   EBADMSG    the arena is damaged
 * Not for signal handlers.
 */
PLAIT_API int plait_pipe_send(plait_pipe_t *pipe, const void *data, size_t size, plait_time_t deadline);

/*
 * Receive the next message into a buffer of `room` bytes, waiting for one until the deadline; *size_out receives its size. A
 * cancellation point of pthreads where it has to sleep. Returns
 *   0          done
 *   EMSGSIZE   it is larger than that, and stays where it is; *size_out receives the size all the same
 *   ETIMEDOUT  nothing came by the deadline; with PLAIT_NOW: nothing is there
 *   EPIPE      nothing is there, and the other end is closed or dead; or this handle is closed
 *   ECANCELED  the caller's cancel token was set before there was a message
 *   EINVAL     this is the left end of a pipe of one way
 *   ENOSPC     the arena or its table of participants is full
 *   EBADMSG    the arena is damaged
 * Not for signal handlers.
 */
PLAIT_API int plait_pipe_recv(plait_pipe_t *pipe, void *buffer, size_t room, size_t *size_out, plait_time_t deadline);

/*
 * Wait until recv would not have to: 0 when a message is there, for whoever receives it first; EPIPE, ETIMEDOUT, ECANCELED and
 * the others as recv.
 */
PLAIT_API int plait_pipe_poll(plait_pipe_t *pipe, plait_time_t deadline);

/*
 * Without a copy: memory for a message to be sent, filled in where it lies; and one received, lent until it is given back. As
 * plait_queue_reserve, _commit, _borrow and _give_back, whose rules hold, with the errors of send and recv. What was borrowed
 * cannot be committed.
 */
PLAIT_API int plait_pipe_reserve(plait_pipe_t *pipe, size_t size, struct plait_message *message_out);
PLAIT_API int plait_pipe_commit(plait_pipe_t *pipe, struct plait_message *message, plait_time_t deadline);
PLAIT_API int plait_pipe_borrow(plait_pipe_t *pipe, struct plait_message *message_out, plait_time_t deadline);
PLAIT_API int plait_pipe_give_back(plait_pipe_t *pipe, struct plait_message *message);

/* How is it with the other end? Sees deaths as send does. */
PLAIT_API enum plait_pipe_state plait_pipe_peer(plait_pipe_t *pipe);

/* Which end it is, and the options it was made with. */
PLAIT_API enum plait_pipe_side plait_pipe_which(const plait_pipe_t *pipe);
PLAIT_API bool plait_pipe_is_one_way(const plait_pipe_t *pipe);
PLAIT_API size_t plait_pipe_maxsize(const plait_pipe_t *pipe);

/*
 * As entries of plait_wait_any, with the answers of the calls. What is sent is read, and what is received written, only if that
 * entry wins. *size says how large the buffer is, and then how large the message was.
 */
PLAIT_API struct plait_wait_entry plait_any_pipe_send(plait_pipe_t *pipe, const void *data, size_t size);
PLAIT_API struct plait_wait_entry plait_any_pipe_recv(plait_pipe_t *pipe, void *buffer, size_t *size);
PLAIT_API struct plait_wait_entry plait_any_pipe_poll(plait_pipe_t *pipe);
PLAIT_API struct plait_wait_entry plait_any_pipe_commit(plait_pipe_t *pipe, struct plait_message *message);
PLAIT_API struct plait_wait_entry plait_any_pipe_borrow(plait_pipe_t *pipe, struct plait_message *message_out);

PLAIT_END_DECLS

#endif
