/* SPDX-License-Identifier: MIT */
/* A pipe's memory, and who holds its ends. */
#ifndef PLAIT_QUEUE_PIPE_H
#define PLAIT_QUEUE_PIPE_H

#include <plait/pipe.h>

#include "arena/arena.h"
#include "arena/holds.h"
#include "base/atomic.h"
#include "base/fork_epoch.h"

/* What all its users share, in an arena or in the heap. "Guarded": by the arena's lock. */
struct plait__pipe_body {
    uint32_t magic;     /* guarded; released last by the maker; 0: it has ended */
    uint32_t flags;     /* const: PLAIT_SHARED or 0 */
    uint64_t id;        /* const: no other pipe has been at this place with it */
    uint64_t maxsize;   /* const */
    uint64_t queues[2]; /* const: shared: offsets of the bodies of the queues into which each end sends; 0: one way */
    uint32_t one_way;   /* const */
    uint32_t handles;   /* atomic: private: how many there are */
    char name[PLAIT__ARENA_NAME_SIZE]; /* guarded: by which it is published; "": not */

    uint32_t state[2] __attribute__((aligned(64))); /* atomic (E1), written guarded: enum plait_pipe_state of each end */
    uint32_t changes; /* atomic (E2), written guarded: how often a holder has let go */
    uint32_t spare;
};

#define PLAIT__PIPE_MAGIC 0x65706970u

/* A handle. */
struct plait_pipe {
    struct plait__pipe_body *body;    /* const */
    struct plait__arena_header *base; /* const: NULL: private */
    plait_arena_t *arena;             /* const: a handle of our own, NULL: private */
    uint64_t id;                      /* const: the body's */
    struct plait_queue *out, *in;     /* const: handles of our own on the queues (private: of both handles); NULL: one way */
    enum plait_pipe_side side;        /* const */
    size_t maxsize;                   /* const */
    uint32_t closed;                  /* atomic: this handle is */

    /* Shared: */
    struct plait__hold *hold; /* guarded: that says that we hold the end; means something in the epoch below */
    uint64_t token;           /* guarded: what the hold has in `other`, by which it is known */
    uint32_t epoch;           /* atomic (E3): the fork epoch in which `hold` is ours */
    uint64_t witness;         /* atomic: a thread that holds the other end, as far as we know (pipe_ends.c); 0: nobody known */
    uint64_t look_at;         /* atomic: with nobody known: the time of the next look */
};

static inline enum plait_pipe_side plait__pipe_other(const plait_pipe_t *pipe)
{
    return pipe->side == PLAIT_PIPE_LEFT ? PLAIT_PIPE_RIGHT : PLAIT_PIPE_LEFT;
}

static inline bool plait__pipe_is_over(uint32_t state)
{
    return state >= PLAIT_PIPE_CLOSED;
}

/* The rest of plait__pipe_enter: take the end for this child of a fork. */
int plait__pipe_adopt(plait_pipe_t *pipe);

/* Before a call: may this process use the handle? EPIPE: it is closed, or the pipe is over; ENOSPC, EBADMSG. */
static inline int plait__pipe_enter(plait_pipe_t *pipe)
{
    if (__builtin_expect(load_relaxed(&pipe->closed), 0)) /* relaxed: who closed it wakes, and that orders */
        return EPIPE;
    if (!pipe->base || __builtin_expect(load_acquire(&pipe->epoch) == plait__fork_epoch(), 1)) /* E3 */
        return 0;
    return plait__pipe_adopt(pipe);
}

/* The rest of plait__pipe_peer_is_over: look for deaths. */
bool plait__pipe_look(plait_pipe_t *pipe);

/* Is the other end closed or dead? What was sent before that is visible then (E1). */
static inline bool plait__pipe_peer_is_over(plait_pipe_t *pipe)
{
    uint32_t state = load_acquire(&pipe->body->state[plait__pipe_other(pipe)]); /* E1 */

    if (__builtin_expect(plait__pipe_is_over(state), 0))
        return true;
    return pipe->base && state == PLAIT_PIPE_OPEN && plait__pipe_look(pipe);
}

/*
 * Hold the ends for which there is a handle in ends[]. EPIPE: one is over; then *abandoned_out says whether nobody holds any end.
 * EBADMSG: the pipe has ended. ENOSPC.
 */
int plait__pipe_hold_ends(plait_pipe_t *ends[2], bool *abandoned_out);

/* Let go of the end; and before the handle is freed, of the pipe. *last_out: nobody else can have it: the caller frees its memory. */
int plait__pipe_let_go(plait_pipe_t *pipe);
int plait__pipe_leave(plait_pipe_t *pipe, bool *last_out);

/* End it, if nobody holds it, or `by_force`: true: the caller has to give its memory back. */
bool plait__pipe_end(plait_pipe_t *pipe, bool by_force);

/* Wake all who wait at either end. */
void plait__pipe_wake(plait_pipe_t *pipe);

#endif
