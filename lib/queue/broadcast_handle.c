/* SPDX-License-Identifier: MIT */
/* Broadcasts: making, opening and dropping. */
#include "queue/broadcast.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arena/start_time.h"
#include "base/options.h"
#include "base/races.h"
#include "queue/named.h"

enum { LINE = 64, MAXSIZE_DEFAULT = 1024 };
#define ITEM_SIZE_MAX ((uint64_t)1 << 20)
#define MAXSIZE_MAX ((uint64_t)1 << 31)

/* In words. */
static uint64_t stride_for(uint64_t item_size)
{
    return 1 + (item_size + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

static uint64_t body_size(uint64_t item_size, uint64_t maxsize)
{
    return sizeof(struct plait__broadcast_body) + maxsize * stride_for(item_size) * sizeof(uint64_t);
}

static struct plait_broadcast contents(struct plait__broadcast_body *body, plait_arena_t *arena)
{
    uint64_t maxsize = body->maxsize;

    return (struct plait_broadcast){
        .body = body,
        .base = arena ? arena->base : NULL,
        .arena = arena,
        .id = body->id,
        .item_size = body->item_size,
        .maxsize = maxsize,
        .overflow = (enum plait_queue_overflow)body->overflow,
        .stride = stride_for(body->item_size),
        .mask = maxsize & (maxsize - 1) ? 0 : maxsize - 1,
    };
}

static int handle_on(struct plait__broadcast_body *body, plait_arena_t *arena, plait_broadcast_t **broadcast_out)
{
    struct plait_broadcast *b = malloc(sizeof *b);

    if (!b)
        return ENOMEM;
    *b = contents(body, arena);
    if (arena)
        plait__arena_hold(arena);
    *broadcast_out = b;
    return 0;
}

static void drop_handle(struct plait_broadcast *b)
{
    plait_arena_t *arena = b->arena;

    free(b);
    plait_arena_free(arena);
}

void plait__broadcast_share(const struct plait_broadcast *b, struct plait_broadcast *copy_out)
{
    *copy_out = *b;
    if (b->arena)
        plait__arena_hold(b->arena);
    else
        add_relaxed(&b->body->handles, 1); /* relaxed: the caller has one */
}

static void free_body(const struct plait_broadcast *b)
{
    plait__broadcast_free_records(b);
    if (b->arena) {
        plait_arena_dealloc(b->arena, b->body);
        return;
    }
    plait__races_forget(b->body, body_size(b->item_size, b->maxsize));
    free(b->body);
}

void plait__broadcast_unshare(const struct plait_broadcast *b)
{
    if (b->arena)
        plait_arena_free(b->arena);
    else if (sub_acqrel(&b->body->handles, 1) == 1)
        free_body(b);
}

bool plait__broadcast_is_there(const struct plait_broadcast *b)
{
    return !b->base || (plait__arena_block_is_used(b->base, plait__offset_in(b->base, b->body), sizeof *b->body) &&
                        load_acquire(&b->body->magic) == PLAIT__BROADCAST_MAGIC && b->body->id == b->id);
}

/* ---- Making and opening ---------------------------------------------------------------------------------------- */

static int make(void *broadcast_out, const void *opts, void **body_out)
{
    const struct plait_broadcast_opts *o = opts;
    uint64_t size = body_size(o->item_size, o->maxsize);
    struct plait__broadcast_body *body;
    struct plait_broadcast b;
    void *memory;
    int err = o->arena ? plait_arena_alloc(o->arena, size, &memory) : posix_memalign(&memory, LINE, size);

    if (err)
        return err;
    *body_out = body = memory;
    memset(body, 0, sizeof *body);
    body->flags = o->arena ? PLAIT_SHARED : 0;
    body->id = o->arena ? (uint64_t)plait_now() ^ plait__process_id() << 32 : 0;
    body->item_size = o->item_size;
    body->maxsize = o->maxsize;
    body->overflow = o->overflow;
    body->handles = 1;
    b = contents(body, o->arena);
    for (uint64_t i = 0; i < b.maxsize; i++)
        *plait__broadcast_slot(&b, i) = 0;
    err = plait_lock_init(&body->lock, body->flags);
    if (err == 0)
        err = handle_on(body, o->arena, broadcast_out);
    if (err)
        free_body(&b);
    else
        store_release(&body->magic, PLAIT__BROADCAST_MAGIC);
    return err;
}

/* Is there one at this address of the arena? All that would be followed is looked at, here or when it is. */
static int open_at(void *broadcast_out, plait_arena_t *arena, void *address)
{
    struct plait__broadcast_body *body = address;
    uint64_t offset = plait__offset_in(arena->base, body);

    if (!plait__arena_block_is_used(arena->base, offset, sizeof *body) || load_acquire(&body->magic) != PLAIT__BROADCAST_MAGIC ||
        body->flags != PLAIT_SHARED || body->item_size == 0 || body->item_size > ITEM_SIZE_MAX || body->maxsize == 0 ||
        body->maxsize > MAXSIZE_MAX || body->overflow > PLAIT_OVERFLOW_DROP_NEWEST ||
        !plait__arena_block_is_used(arena->base, offset, body_size(body->item_size, body->maxsize)))
        return EBADMSG;
    return handle_on(body, arena, broadcast_out);
}

static void unmake(void *broadcast_out)
{
    plait_broadcast_t **broadcast = broadcast_out;

    plait_broadcast_destroy(*broadcast);
}

static const struct plait__named named = { open_at, make, unmake };

static bool is_as_wanted(const struct plait_broadcast *b, const struct plait_broadcast_opts *o)
{
    return b->item_size == o->item_size && b->maxsize == o->maxsize && b->overflow == o->overflow;
}

int plait_broadcast_new_sized(plait_broadcast_t **broadcast_out, const struct plait_broadcast_opts *opts, size_t opts_size)
{
    struct plait_broadcast_opts o;
    void *body;
    int err = plait__options_read(&o, sizeof o, opts, opts_size);

    *broadcast_out = NULL;
    if (err || o.item_size == 0 || o.item_size > ITEM_SIZE_MAX || o.maxsize > MAXSIZE_MAX || o.spare ||
        (unsigned)o.overflow > PLAIT_OVERFLOW_DROP_NEWEST || (o.name && !o.arena))
        return EINVAL;
    if (o.maxsize == 0)
        o.maxsize = MAXSIZE_DEFAULT;
    if (!o.name)
        return make(broadcast_out, &o, &body);
    err = plait__named_new(broadcast_out, &named, o.arena, o.name, &o);
    if (err == 0 && !is_as_wanted(*broadcast_out, &o)) {
        plait_broadcast_free(*broadcast_out);
        err = EINVAL;
    }
    if (err)
        *broadcast_out = NULL;
    return err;
}

/* ---- Dropping and finding -------------------------------------------------------------------------------------- */

int plait_broadcast_free(plait_broadcast_t *b)
{
    if (!b)
        return 0;
    if (!b->arena) {
        plait_broadcast_close(b);
        plait__broadcast_unshare(b);
        free(b);
        return 0;
    }
    drop_handle(b);
    return 0;
}

int plait_broadcast_destroy(plait_broadcast_t *b)
{
    if (!b || !b->arena)
        return plait_broadcast_free(b);
    if (plait__broadcast_is_there(b)) {
        plait__arena_forget(b->arena, b->body);
        plait_broadcast_close_now(b);
        store_release(&b->body->magic, 0);
        free_body(b);
    }
    drop_handle(b);
    return 0;
}

int plait_broadcast_ref(const plait_broadcast_t *b, plait_ref_t *ref_out)
{
    return b->arena ? plait_ref_of(b->body, ref_out) : EINVAL;
}

int plait_broadcast_open(plait_broadcast_t **broadcast_out, plait_ref_t ref)
{
    *broadcast_out = NULL;
    return plait__named_open(broadcast_out, &named, ref);
}

int plait_broadcast_publish(plait_broadcast_t *b, const char *name)
{
    return b->arena ? plait_arena_publish(b->arena, name, b->body) : EINVAL;
}

int plait_broadcast_lookup(plait_broadcast_t **broadcast_out, plait_arena_t *arena, const char *name)
{
    *broadcast_out = NULL;
    return plait__named_lookup(broadcast_out, &named, arena, name);
}
