/* SPDX-License-Identifier: MIT */
/* Making, opening and dropping queues. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "base/options.h"
#include "queue/body.h"

enum { ITEM_SIZE_MAX = 1 << 20 };
#define QUEUE_MAXSIZE_MAX ((uint64_t)1 << 31)

static uint64_t stride_for(uint64_t item_size)
{
    return sizeof(struct plait__cell) + (item_size + 7) / 8 * 8;
}

static struct plait_queue *handle_on(struct plait__queue_body *body, plait_arena_t *arena)
{
    struct plait_queue *q = calloc(1, sizeof *q);

    if (!q)
        return NULL;
    q->body = body;
    q->item_size = body->item_size;
    q->stride = body->stride;
    if (arena) {
        q->arena = arena;
        q->base = arena->base;
        q->skew = sizeof(struct plait__block);
        plait__arena_hold(arena);
    }
    return q;
}

static void drop_handle(struct plait_queue *q)
{
    plait_arena_t *arena = q->arena;

    free(q);
    plait_arena_free(arena);
}

static int allocate_body(plait_arena_t *arena, struct plait__queue_body **body_out)
{
    void *memory;
    int err = 0;

    if (arena)
        err = plait_arena_alloc(arena, sizeof **body_out, &memory);
    else if (posix_memalign(&memory, 64, sizeof **body_out) != 0)
        err = ENOMEM;
    if (err)
        return err;
    memset(memory, 0, sizeof **body_out);
    *body_out = memory;
    return 0;
}

static void free_body(struct plait__queue_body *body, plait_arena_t *arena)
{
    if (arena)
        plait_arena_dealloc(arena, body);
    else
        free(body);
}

static int make_locks(struct plait__queue_body *b)
{
    int err = plait_lock_init(&b->put.lock, b->flags);

    return err ? err : plait_lock_init(&b->get.lock, b->flags);
}

static int make(plait_queue_t **queue_out, const struct plait_queue_opts *o)
{
    struct plait__queue_body *b;
    struct plait_queue *q;
    int err = allocate_body(o->arena, &b);

    if (err)
        return err;
    b->flags = o->arena ? PLAIT_SHARED : 0;
    b->item_size = o->item_size;
    b->stride = stride_for(o->item_size);
    b->maxsize = o->maxsize;
    q = handle_on(b, o->arena);
    if (!q) {
        free_body(b, o->arena);
        return ENOMEM;
    }
    err = make_locks(b);
    if (err == 0)
        err = plait__fifo_make(q);
    if (err) {
        free_body(b, o->arena);
        drop_handle(q);
        return err;
    }
    store_release(&b->magic, PLAIT__QUEUE_MAGIC);
    *queue_out = q;
    return 0;
}

/* Open the queue of that name, or make it; whoever publishes first has made it. */
static int open_or_make(plait_queue_t **queue_out, const struct plait_queue_opts *o)
{
    for (;;) {
        int err = plait_queue_lookup(queue_out, o->arena, o->name);

        if (err == 0) {
            if ((*queue_out)->item_size == o->item_size && (*queue_out)->body->maxsize == o->maxsize)
                return 0;
            plait_queue_free(*queue_out);
            *queue_out = NULL;
            return EINVAL;
        }
        if (err == ENOENT)
            err = make(queue_out, o);
        if (err)
            return err;
        err = plait_queue_publish(*queue_out, o->name);
        if (err == 0)
            return 0;
        plait_queue_destroy(*queue_out);
        *queue_out = NULL;
        if (err != EEXIST)
            return err;
    }
}

int plait_queue_new_sized(plait_queue_t **queue_out, const struct plait_queue_opts *opts, size_t opts_size)
{
    struct plait_queue_opts o;
    int err = plait__options_read(&o, sizeof o, opts, opts_size);

    *queue_out = NULL;
    if (err || o.item_size == 0 || o.item_size > ITEM_SIZE_MAX || o.maxsize > QUEUE_MAXSIZE_MAX ||
        (o.name && !o.arena))
        return EINVAL;
    return o.name ? open_or_make(queue_out, &o) : make(queue_out, &o);
}

int plait_queue_free(plait_queue_t *q)
{
    if (!q)
        return 0;
    if (!q->base) {
        plait__fifo_unmake(q);
        free_body(q->body, NULL);
    }
    drop_handle(q);
    return 0;
}

int plait_queue_destroy(plait_queue_t *q)
{
    if (!q || !q->base)
        return plait_queue_free(q);
    plait_queue_close_now(q);
    store_release(&q->body->magic, 0);
    plait__fifo_unmake(q);
    free_body(q->body, q->arena);
    drop_handle(q);
    return 0;
}

int plait_queue_ref(const plait_queue_t *q, plait_ref_t *ref_out)
{
    return q->base ? plait_ref_of(q->body, ref_out) : EINVAL;
}

/* Is there a queue at this address of the arena? Everything that would be followed is looked at. */
static int open_at(plait_queue_t **queue_out, plait_arena_t *arena, struct plait__queue_body *b)
{
    struct plait_queue *q;

    if (!plait__arena_block_is_used(arena->base, plait__offset_in(arena->base, b), sizeof *b) ||
        load_acquire(&b->magic) != PLAIT__QUEUE_MAGIC || b->flags != PLAIT_SHARED || b->item_size == 0 ||
        b->item_size > ITEM_SIZE_MAX || b->stride != stride_for(b->item_size) || b->maxsize > QUEUE_MAXSIZE_MAX)
        return EBADMSG;
    q = handle_on(b, arena);
    if (!q)
        return ENOMEM;
    if (!plait__fifo_is_sound(q)) {
        drop_handle(q);
        return EBADMSG;
    }
    *queue_out = q;
    return 0;
}

int plait_queue_open(plait_queue_t **queue_out, plait_ref_t ref)
{
    void *address;
    int err = plait_ref_open(ref, &address);

    *queue_out = NULL;
    return err ? err : open_at(queue_out, plait_arena_of(address), address);
}

int plait_queue_publish(plait_queue_t *q, const char *name)
{
    return q->base ? plait_arena_publish(q->arena, name, q->body) : EINVAL;
}

int plait_queue_lookup(plait_queue_t **queue_out, plait_arena_t *arena, const char *name)
{
    void *address;
    int err = plait_arena_lookup(arena, name, &address);

    *queue_out = NULL;
    return err ? err : open_at(queue_out, arena, address);
}
