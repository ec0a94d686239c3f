/* SPDX-License-Identifier: MIT */
/* Making, opening and dropping dicts. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "arena/glance.h"
#include "base/atomic.h"
#include "base/options.h"
#include "queue/dict.h"
#include "queue/named.h"

static struct plait_dict *handle_on(struct plait__dict_body *body, plait_arena_t *arena)
{
    struct plait_dict *d = calloc(1, sizeof *d);

    if (!d)
        return NULL;
    d->body = body;
    d->most = UINT64_MAX;
    if (arena) {
        d->arena = arena;
        d->base = arena->base;
        d->skew = sizeof(struct plait__block);
        d->most = arena->limit / PLAIT__BLOCK_UNIT;
        plait__arena_hold(arena);
        plait__glance_prepare(arena->base);
    }
    return d;
}

static void drop_handle(struct plait_dict *d)
{
    plait_arena_t *arena = d->arena;

    free(d);
    plait_arena_free(arena);
}

static int allocate_body(plait_arena_t *arena, struct plait__dict_body **body_out)
{
    void *memory;
    int err;

    if (!arena)
        return (*body_out = calloc(1, sizeof **body_out)) ? 0 : ENOMEM;
    err = plait_arena_alloc(arena, sizeof **body_out, &memory);
    if (err == 0)
        *body_out = memory;
    return err;
}

static void free_body(struct plait__dict_body *body, plait_arena_t *arena)
{
    if (arena)
        plait_arena_dealloc(arena, body);
    else
        free(body);
}

/* Nobody's to guess, so that no keys are bad for all dicts. */
static uint64_t make_seed(const void *place)
{
    uint64_t seed = 0;

    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = (uint64_t)plait_now() ^ (uint64_t)(uintptr_t)place << 16;
    return seed;
}

static int make(void *dict_out, const void *opts, void **body_out)
{
    const struct plait_dict_opts *o = opts;
    plait_dict_t **made = dict_out;
    struct plait__dict_body *b;
    struct plait_dict *d;
    int err = allocate_body(o->arena, &b);

    if (err)
        return err;
    b->flags = o->arena ? PLAIT_SHARED : 0;
    b->seed = make_seed(b);
    b->buckets = PLAIT__DICT_FIRST;
    d = handle_on(b, o->arena);
    err = d ? plait_rwlock_init(&b->lock, b->flags) : ENOMEM;
    if (err) {
        free_body(b, o->arena);
        if (d)
            drop_handle(d);
        return err;
    }
    store_release(&b->magic, PLAIT__DICT_MAGIC);
    *made = d;
    *body_out = b;
    return 0;
}

/* Is it one of this arena's, such that its lock can be taken? */
static bool is_dict(plait_arena_t *arena, const struct plait__dict_body *b)
{
    uint64_t offset = plait__offset_in(arena->base, b);

    return plait__arena_block_is_used(arena->base, offset, sizeof *b) && load_acquire(&b->magic) == PLAIT__DICT_MAGIC &&
           b->flags == PLAIT_SHARED &&
           b->lock.writer.mode == (PLAIT_SHARED | plait__lock_mode(arena->base)) &&
           b->lock.writer.arena_offset == offset + offsetof(struct plait__dict_body, lock);
}

static int open_at(void *dict_out, plait_arena_t *arena, void *address)
{
    struct plait__dict_body *b = address;
    plait_dict_t **opened = dict_out;
    struct plait_dict *d;
    int err;

    if (!is_dict(arena, b))
        return EBADMSG;
    d = handle_on(b, arena);
    if (!d)
        return ENOMEM;
    err = plait__dict_lock_always(d, plait__dict_lock_read);
    if (err == 0) {
        err = plait__dict_is_founded(d) ? 0 : EBADMSG;
        plait__dict_unlock(d);
    }
    if (err && err != EDEADLK) { /* from within a change of it: its places have been followed */
        drop_handle(d);
        return err == ENOTRECOVERABLE ? EBADMSG : err;
    }
    *opened = d;
    return 0;
}

static void unmake(void *dict_out)
{
    plait_dict_t **made = dict_out;

    plait_dict_destroy(*made);
    *made = NULL;
}

static const struct plait__named named = { open_at, make, unmake };

int plait_dict_new_sized(plait_dict_t **dict_out, const struct plait_dict_opts *opts, size_t opts_size)
{
    struct plait_dict_opts o;
    void *body;
    int err = plait__options_read(&o, sizeof o, opts, opts_size);

    *dict_out = NULL;
    if (err || (o.name && !o.arena))
        return EINVAL;
    return o.name ? plait__named_new(dict_out, &named, o.arena, o.name, &o) : make(dict_out, &o, &body);
}

int plait_dict_free(plait_dict_t *d)
{
    if (!d)
        return 0;
    if (!d->base) {
        plait__dict_clear(d);
        free_body(d->body, NULL);
    }
    drop_handle(d);
    return 0;
}

int plait_dict_destroy(plait_dict_t *d)
{
    int err;

    if (!d || !d->base)
        return plait_dict_free(d);
    err = plait__dict_lock_always(d, plait__dict_lock_write);
    if (err && err != ENOTRECOVERABLE)
        return err;
    plait__arena_forget(d->arena, d->body);
    store_release(&d->body->magic, 0);
    if (err == 0) {
        plait__dict_clear(d);
        plait__dict_unlock(d);
    }
    plait_rwlock_fini(&d->body->lock);
    free_body(d->body, d->arena);
    drop_handle(d);
    return 0;
}

int plait_dict_ref(const plait_dict_t *d, plait_ref_t *ref_out)
{
    return d->base ? plait_ref_of(d->body, ref_out) : EINVAL;
}

int plait_dict_open(plait_dict_t **dict_out, plait_ref_t ref)
{
    *dict_out = NULL;
    return plait__named_open(dict_out, &named, ref);
}

int plait_dict_publish(plait_dict_t *d, const char *name)
{
    return d->base ? plait_arena_publish(d->arena, name, d->body) : EINVAL;
}

int plait_dict_lookup(plait_dict_t **dict_out, plait_arena_t *arena, const char *name)
{
    *dict_out = NULL;
    return plait__named_lookup(dict_out, &named, arena, name);
}
