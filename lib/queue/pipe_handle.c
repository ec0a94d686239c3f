/* SPDX-License-Identifier: MIT */
/* Making pipes, finding them, closing and dropping their ends. */
#include "queue/pipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arena/member.h"
#include "arena/start_time.h"
#include "base/options.h"
#include "queue/body.h"

/* ---- Handles --------------------------------------------------------------------------------------------------- */

static void drop_handle(struct plait_pipe *pipe)
{
    plait_arena_t *arena = pipe->arena;

    if (arena) {
        plait_queue_free(pipe->out);
        plait_queue_free(pipe->in);
    }
    free(pipe);
    plait_arena_free(arena);
}

/* The queue into which an end sends; *q_out stays NULL where there is none. */
static int open_queue(const struct plait__pipe_body *b, plait_arena_t *arena, int side, struct plait_queue **q_out)
{
    if (b->one_way && side == PLAIT_PIPE_RIGHT)
        return 0;
    return plait_queue_open(q_out, (plait_ref_t){ arena->id, b->queues[side] });
}

/* A handle on an end, which does not hold it as yet. */
static int handle_on(struct plait__pipe_body *b, plait_arena_t *arena, enum plait_pipe_side side, struct plait_pipe **pipe_out)
{
    struct plait_pipe *pipe = calloc(1, sizeof *pipe);
    int err;

    if (!pipe)
        return ENOMEM;
    pipe->body = b;
    pipe->id = b->id;
    pipe->base = arena->base;
    pipe->arena = arena;
    pipe->side = side;
    pipe->maxsize = b->maxsize;
    pipe->epoch = PLAIT__EPOCH_NONE;
    plait__arena_hold(arena);
    err = open_queue(b, arena, side, &pipe->out);
    if (err == 0)
        err = open_queue(b, arena, plait__pipe_other(pipe), &pipe->in);
    if (err)
        drop_handle(pipe);
    else
        *pipe_out = pipe;
    return err == EINVAL || err == ENOENT ? EBADMSG : err; /* the offsets name nothing */
}

/* Is there a pipe at this address? Everything that would be followed is looked at. */
static bool is_pipe(plait_arena_t *arena, struct plait__pipe_body *b)
{
    return plait__arena_block_is_used(arena->base, plait__offset_in(arena->base, b), sizeof *b) &&
           load_acquire(&b->magic) == PLAIT__PIPE_MAGIC && b->flags == PLAIT_SHARED;
}

/* Give the memory of a pipe back that has ended, by a handle on it. */
static void free_memory(struct plait_pipe *pipe)
{
    plait_queue_destroy(pipe->out);
    plait_queue_destroy(pipe->in);
    pipe->out = pipe->in = NULL;
    plait_arena_dealloc(pipe->arena, pipe->body);
}

/*
 * Hold the ends for which outs[] has a place. *abandoned_out: it is over for us and for all others.
 */
static int open_ends(plait_arena_t *arena, struct plait__pipe_body *b, plait_pipe_t **const outs[2], bool *abandoned_out)
{
    plait_pipe_t *ends[2] = { NULL, NULL };
    int err = is_pipe(arena, b) ? 0 : EBADMSG;

    *abandoned_out = false;
    for (int i = 0; i < 2 && err == 0; i++)
        if (outs[i])
            err = handle_on(b, arena, (enum plait_pipe_side)i, &ends[i]);
    if (err == 0)
        err = plait__pipe_hold_ends(ends, abandoned_out);
    for (int i = 0; i < 2; i++) {
        if (err && ends[i])
            drop_handle(ends[i]);
        else if (outs[i])
            *outs[i] = ends[i];
    }
    return err;
}

/* Nobody has the pipe any more, of which we found an end over: end it, if that is still so. */
static void retire(plait_arena_t *arena, struct plait__pipe_body *b)
{
    struct plait_pipe *pipe;

    if (!is_pipe(arena, b) || handle_on(b, arena, PLAIT_PIPE_LEFT, &pipe) != 0)
        return;
    if (plait__pipe_end(pipe, false))
        free_memory(pipe);
    drop_handle(pipe);
}

/* ---- Making ---------------------------------------------------------------------------------------------------- */

static int make_queues(const struct plait_pipe_opts *o, struct plait_queue *queues[2])
{
    struct plait_queue_opts opts = { .maxsize = o->maxsize, .arena = o->arena };
    int err = plait_queue_new(&queues[0], &opts);

    queues[1] = NULL;
    if (err == 0 && !o->one_way)
        err = plait_queue_new(&queues[1], &opts);
    if (err)
        plait_queue_destroy(queues[0]);
    return err;
}

static void fill(struct plait__pipe_body *b, const struct plait_pipe_opts *o)
{
    memset(b, 0, sizeof *b);
    b->flags = o->arena ? PLAIT_SHARED : 0;
    b->id = o->arena ? (uint64_t)plait_now() ^ plait__process_id() << 32 : 0;
    b->maxsize = o->maxsize;
    b->one_way = o->one_way != 0;
}

static struct plait_pipe *private_handle(struct plait__pipe_body *b, struct plait_queue *const queues[2], int side)
{
    struct plait_pipe *pipe = calloc(1, sizeof *pipe);

    if (!pipe)
        return NULL;
    *pipe = (struct plait_pipe){ .body = b, .out = queues[side], .in = queues[!side], .maxsize = b->maxsize };
    pipe->side = (enum plait_pipe_side)side;
    return pipe;
}

static int make_private(plait_pipe_t **const outs[2], const struct plait_pipe_opts *o)
{
    struct plait_queue *queues[2];
    struct plait__pipe_body *b;
    void *memory;
    int err;

    if (posix_memalign(&memory, 64, sizeof *b) != 0)
        return ENOMEM;
    b = memory;
    fill(b, o);
    b->handles = 2;
    b->state[0] = b->state[1] = PLAIT_PIPE_OPEN;
    err = make_queues(o, queues);
    if (err) {
        free(b);
        return err;
    }
    *outs[0] = private_handle(b, queues, 0);
    *outs[1] = private_handle(b, queues, 1);
    if (*outs[0] && *outs[1])
        return 0;
    free(*outs[0]);
    free(*outs[1]);
    plait_queue_free(queues[0]);
    plait_queue_free(queues[1]);
    free(b);
    return ENOMEM;
}

static int make_body(const struct plait_pipe_opts *o, struct plait__pipe_body **body_out)
{
    struct plait_queue *queues[2];
    struct plait__pipe_body *b;
    void *memory;
    int err = plait_arena_alloc(o->arena, sizeof *b, &memory);

    if (err)
        return err;
    *body_out = b = memory;
    fill(b, o);
    err = make_queues(o, queues);
    if (err) {
        plait_arena_dealloc(o->arena, b);
        return err;
    }
    for (int i = 0; i < 2; i++) {
        if (queues[i])
            b->queues[i] = plait__offset_in(o->arena->base, queues[i]->body);
        plait_queue_free(queues[i]);
    }
    plait__holds_forget(o->arena->base, plait__hold_of(plait__offset_in(o->arena->base, b), PLAIT__HOLD_PERMIT));
    store_release(&b->magic, PLAIT__PIPE_MAGIC);
    return 0;
}

/* Opened handles of which nothing is to stay. */
static void unmake(plait_pipe_t **const outs[2])
{
    plait_pipe_t *any = outs[0] ? *outs[0] : *outs[1];

    if (outs[0] && outs[1])
        drop_handle(*outs[1]);
    plait_pipe_destroy(any);
}

static int make_shared(plait_pipe_t **const outs[2], const struct plait_pipe_opts *o)
{
    struct plait__pipe_body *b;
    bool abandoned;
    int err = make_body(o, &b);

    if (err)
        return err;
    err = open_ends(o->arena, b, outs, &abandoned);
    if (err)
        retire(o->arena, b);
    return err;
}

static bool is_as_wanted(const struct plait__pipe_body *b, const struct plait_pipe_opts *o)
{
    return b->maxsize == o->maxsize && b->one_way == (o->one_way != 0);
}

/* Open those ends of the pipe of that name. EAGAIN: it was nobody's any more, and is gone. */
static int open_named(plait_pipe_t **const outs[2], const struct plait_pipe_opts *o)
{
    bool abandoned;
    void *address;
    int err = plait_arena_lookup(o->arena, o->name, &address);

    if (err)
        return err;
    if (is_pipe(o->arena, address) && !is_as_wanted(address, o))
        return EINVAL;
    err = open_ends(o->arena, address, outs, &abandoned);
    if (err == EPIPE && abandoned) {
        retire(o->arena, address);
        return EAGAIN;
    }
    return err;
}

/* Whoever publishes first has made it. */
static int open_or_make(plait_pipe_t **const outs[2], const struct plait_pipe_opts *o)
{
    for (;;) {
        int err = open_named(outs, o);

        if (err == EAGAIN)
            continue;
        if (err != ENOENT)
            return err;
        err = make_shared(outs, o);
        if (err)
            return err;
        err = plait_pipe_publish(outs[0] ? *outs[0] : *outs[1], o->name);
        if (err == 0)
            return 0;
        unmake(outs);
        if (err != EEXIST)
            return err;
    }
}

int plait_pipe_new_sized(plait_pipe_t **left_out, plait_pipe_t **right_out, const struct plait_pipe_opts *opts,
                         size_t opts_size)
{
    plait_pipe_t **const outs[2] = { left_out, right_out };
    struct plait_pipe_opts o;
    int err = plait__options_read(&o, sizeof o, opts, opts_size);
    bool has_both = left_out && right_out;

    if (err || o.spare || (o.name && !o.arena) || !(o.arena ? left_out || right_out : has_both))
        err = EINVAL;
    else if (!o.arena)
        err = make_private(outs, &o);
    else
        err = o.name ? open_or_make(outs, &o) : make_shared(outs, &o);
    for (int i = 0; i < 2 && err; i++)
        if (outs[i])
            *outs[i] = NULL;
    return err;
}

/* ---- Closing and dropping -------------------------------------------------------------------------------------- */

int plait_pipe_close(plait_pipe_t *pipe)
{
    int err = 0;

    if (exchange_acquire(&pipe->closed, 1))
        return 0;
    if (pipe->base) {
        err = plait__pipe_let_go(pipe);
        if (err)
            store_relaxed(&pipe->closed, 0);
        return err;
    }
    store_release(&pipe->body->state[pipe->side], PLAIT_PIPE_CLOSED); /* E1 of pipe_ends.c */
    plait__pipe_wake(pipe);
    return 0;
}

static void free_private(plait_pipe_t *pipe)
{
    if (sub_acqrel(&pipe->body->handles, 1) == 1) {
        plait_queue_free(pipe->out);
        plait_queue_free(pipe->in);
        free(pipe->body);
    }
    free(pipe);
}

int plait_pipe_free(plait_pipe_t *pipe)
{
    bool is_last;
    int err = pipe ? plait_pipe_close(pipe) : 0;

    if (err || !pipe)
        return err;
    if (!pipe->base) {
        free_private(pipe);
        return 0;
    }
    err = plait__pipe_leave(pipe, &is_last);
    if (err)
        return err;
    if (is_last)
        free_memory(pipe);
    drop_handle(pipe);
    return 0;
}

int plait_pipe_destroy(plait_pipe_t *pipe)
{
    if (!pipe || !pipe->base)
        return plait_pipe_free(pipe);
    if (plait__pipe_end(pipe, true))
        free_memory(pipe);
    drop_handle(pipe);
    return 0;
}

/* ---- Finding --------------------------------------------------------------------------------------------------- */

/* The reference to an end is that of the body, which lies at a multiple of 16; a bit of it says which end. */
int plait_pipe_ref(const plait_pipe_t *pipe, enum plait_pipe_side side, plait_ref_t *ref_out)
{
    int err = pipe->base && (side == PLAIT_PIPE_LEFT || side == PLAIT_PIPE_RIGHT) ? plait_ref_of(pipe->body, ref_out) : EINVAL;

    if (err == 0)
        ref_out->offset |= (uint64_t)side;
    return err;
}

static int open_at(plait_pipe_t **pipe_out, plait_arena_t *arena, void *address, int side)
{
    plait_pipe_t **const outs[2] = { side == PLAIT_PIPE_LEFT ? pipe_out : NULL, side == PLAIT_PIPE_RIGHT ? pipe_out : NULL };
    bool abandoned;

    return open_ends(arena, address, outs, &abandoned);
}

int plait_pipe_open(plait_pipe_t **pipe_out, plait_ref_t ref)
{
    int side = ref.offset & 1, err;
    void *address;

    *pipe_out = NULL;
    ref.offset -= (uint64_t)side;
    err = plait_ref_open(ref, &address);
    return err ? err : open_at(pipe_out, plait_arena_of(address), address, side);
}

/* Have the pipe know its name, or no name, under which it is to be found, so that it can be taken away with it. */
static int note_name(plait_pipe_t *pipe, const char *name)
{
    struct plait__pipe_body *b = pipe->body;
    int err = plait__arena_lock(pipe->base);

    if (err)
        return err;
    err = name[0] && b->name[0] ? EEXIST : 0;
    if (err == 0)
        memcpy(b->name, name, strlen(name) + 1);
    plait__arena_unlock(pipe->base);
    return err;
}

int plait_pipe_publish(plait_pipe_t *pipe, const char *name)
{
    int err = pipe->base ? plait__pipe_enter(pipe) : EINVAL;

    if (err || !name || !name[0] || strnlen(name, sizeof pipe->body->name) == sizeof pipe->body->name)
        return err ? err : EINVAL;
    err = note_name(pipe, name);
    if (err)
        return err;
    err = plait_arena_publish(pipe->arena, name, pipe->body);
    if (err)
        note_name(pipe, "");
    return err;
}

int plait_pipe_lookup(plait_pipe_t **pipe_out, plait_arena_t *arena, const char *name, enum plait_pipe_side side)
{
    void *address;
    int err = plait_arena_lookup(arena, name, &address);

    *pipe_out = NULL;
    if (err == 0 && side != PLAIT_PIPE_LEFT && side != PLAIT_PIPE_RIGHT)
        err = EINVAL;
    return err ? err : open_at(pipe_out, arena, address, side);
}

/* ---- Figures --------------------------------------------------------------------------------------------------- */

enum plait_pipe_side plait_pipe_which(const plait_pipe_t *pipe)
{
    return pipe->side;
}

bool plait_pipe_is_one_way(const plait_pipe_t *pipe)
{
    return !pipe->in || !pipe->out;
}

size_t plait_pipe_maxsize(const plait_pipe_t *pipe)
{
    return pipe->maxsize;
}
