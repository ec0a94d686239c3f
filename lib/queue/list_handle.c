/* SPDX-License-Identifier: MIT */
/* Making, opening and dropping lists. */
#include <errno.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/options.h"
#include "queue/list.h"
#include "queue/named.h"

static struct plait_list *handle_on(struct plait__list_body *body, plait_arena_t *arena)
{
    struct plait_list *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->body = body;
    if (arena) {
        l->arena = arena;
        l->base = arena->base;
        l->skew = sizeof(struct plait__block);
        plait__arena_hold(arena);
    }
    return l;
}

static void drop_handle(struct plait_list *l)
{
    plait_arena_t *arena = l->arena;

    free(l);
    plait_arena_free(arena);
}

static int allocate_body(plait_arena_t *arena, struct plait__list_body **body_out)
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

static void free_body(struct plait__list_body *body, plait_arena_t *arena)
{
    if (arena)
        plait_arena_dealloc(arena, body);
    else
        free(body);
}

static int make(void *list_out, const void *opts, void **body_out)
{
    const struct plait_list_opts *o = opts;
    plait_list_t **made = list_out;
    struct plait__list_body *b;
    struct plait_list *l;
    int err = allocate_body(o->arena, &b);

    if (err)
        return err;
    b->flags = o->arena ? PLAIT_SHARED : 0;
    l = handle_on(b, o->arena);
    err = l ? plait_rwlock_init(&b->lock, b->flags) : ENOMEM;
    if (err == 0)
        err = plait__list_make_row(l);
    if (err) {
        free_body(b, o->arena);
        if (l)
            drop_handle(l);
        return err;
    }
    store_release(&b->magic, PLAIT__LIST_MAGIC);
    *made = l;
    *body_out = b;
    return 0;
}

/* Is it one of this arena's, such that its lock can be taken? */
static bool is_list(plait_arena_t *arena, const struct plait__list_body *b)
{
    uint64_t offset = plait__offset_in(arena->base, b);

    return plait__arena_block_is_used(arena->base, offset, sizeof *b) && load_acquire(&b->magic) == PLAIT__LIST_MAGIC &&
           b->flags == PLAIT_SHARED &&
           b->lock.writer.mode == (PLAIT_SHARED | plait__lock_mode(arena->base)) &&
           b->lock.writer.arena_offset == offset + offsetof(struct plait__list_body, lock);
}

static int open_at(void *list_out, plait_arena_t *arena, void *address)
{
    struct plait__list_body *b = address;
    plait_list_t **opened = list_out;

    if (!is_list(arena, b))
        return EBADMSG;
    *opened = handle_on(b, arena);
    return *opened ? 0 : ENOMEM; /* all else is looked at by each call */
}

static void unmake(void *list_out)
{
    plait_list_t **made = list_out;

    plait_list_destroy(*made);
    *made = NULL;
}

static const struct plait__named named = { open_at, make, unmake };

int plait_list_new_sized(plait_list_t **list_out, const struct plait_list_opts *opts, size_t opts_size)
{
    struct plait_list_opts o;
    void *body;
    int err = plait__options_read(&o, sizeof o, opts, opts_size);

    *list_out = NULL;
    if (err || (o.name && !o.arena))
        return EINVAL;
    return o.name ? plait__named_new(list_out, &named, o.arena, o.name, &o) : make(list_out, &o, &body);
}

int plait_list_free(plait_list_t *l)
{
    if (!l)
        return 0;
    if (!l->base) {
        plait__list_clear(l);
        plait__list_drop_row(l);
        free_body(l->body, NULL);
    }
    drop_handle(l);
    return 0;
}

int plait_list_destroy(plait_list_t *l)
{
    int err;

    if (!l || !l->base)
        return plait_list_free(l);
    err = plait__list_lock_always(l, plait__list_lock_write);
    if (err && err != ENOTRECOVERABLE)
        return err;
    plait__arena_forget(l->arena, l->body);
    store_release(&l->body->magic, 0);
    if (err == 0) {
        plait__list_clear(l);
        plait__list_drop_row(l);
        plait__list_unlock(l);
    }
    plait_rwlock_fini(&l->body->lock);
    free_body(l->body, l->arena);
    drop_handle(l);
    return 0;
}

int plait_list_ref(const plait_list_t *l, plait_ref_t *ref_out)
{
    return l->base ? plait_ref_of(l->body, ref_out) : EINVAL;
}

int plait_list_open(plait_list_t **list_out, plait_ref_t ref)
{
    *list_out = NULL;
    return plait__named_open(list_out, &named, ref);
}

int plait_list_publish(plait_list_t *l, const char *name)
{
    return l->base ? plait_arena_publish(l->arena, name, l->body) : EINVAL;
}

int plait_list_lookup(plait_list_t **list_out, plait_arena_t *arena, const char *name)
{
    *list_out = NULL;
    return plait__named_lookup(list_out, &named, arena, name);
}
