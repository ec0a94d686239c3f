/* SPDX-License-Identifier: MIT */
/* Making, opening and dropping arrays, and values, which are arrays of one cell. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include <plait/cancel.h>
#include <plait/value.h>

#include "arena/arena.h"
#include "base/atomic.h"
#include "base/options.h"
#include "base/races.h"
#include "queue/array.h"
#include "queue/named.h"
#include "wait/robust.h"

#define ITEM_SIZE_MAX ((uint64_t)1 << 30)
#define COUNT_MAX ((uint64_t)1 << 40)
#define CELLS_SIZE_MAX ((uint64_t)1 << 46)

static uint64_t size_of_type(uint32_t type)
{
    static const uint8_t sizes[] = { 8, 4, 2, 1, 8, 4, 2, 1, sizeof(double), sizeof(float), 0 };

    return sizes[type];
}

/* ---- Figures ---- */

size_t plait_array_len(const plait_array_t *a) { return a->count; }
enum plait_type plait_array_type(const plait_array_t *a) { return a->type; }
size_t plait_array_item_size(const plait_array_t *a) { return a->item_size; }
void *plait_array_data(const plait_array_t *a) { return a->cells; }

/* ---- Making, opening and dropping ---- */

/* Of body and cells, and the spare where there is one. The numbers have been checked. */
static uint64_t body_size(uint64_t count, uint64_t item_size)
{
    return sizeof(struct plait__array_body) + (count + !cell_is_atomic(item_size)) * item_size;
}

/* Can there be so many? */
static bool is_shape(uint32_t type, uint64_t item_size, uint64_t count)
{
    return type <= PLAIT_BYTES && item_size > 0 && item_size <= ITEM_SIZE_MAX && count > 0 && count <= COUNT_MAX &&
           count <= CELLS_SIZE_MAX / item_size && (type == PLAIT_BYTES || item_size == size_of_type(type));
}

static int handle_on(struct plait__array_body *b, plait_arena_t *arena, plait_array_t **array_out)
{
    struct plait_array *a = calloc(1, sizeof *a);

    if (!a)
        return ENOMEM;
    *a = (struct plait_array){
        .body = b, .arena = arena, .cells = (char *)(b + 1), .count = b->count, .item_size = b->item_size,
        .type = (enum plait_type)b->type, .is_atomic = cell_is_atomic(b->item_size),
    };
    if (arena)
        plait__arena_hold(arena);
    *array_out = a;
    return 0;
}

static void drop_handle(struct plait_array *a)
{
    plait_arena_t *arena = a->arena;

    free(a);
    plait_arena_free(arena);
}

static void free_body(struct plait__array_body *b, plait_arena_t *arena)
{
    if (arena) {
        plait_arena_dealloc(arena, b);
        return;
    }
    plait__races_forget(b, body_size(b->count, b->item_size));
    free(b);
}

static int make(void *array_out, const void *opts, void **body_out)
{
    const struct plait_array_opts *o = opts;
    uint64_t size = body_size(o->count, o->item_size);
    void *memory = NULL;
    struct plait__array_body *b;
    int err = 0;

    if (o->arena)
        err = plait_arena_alloc(o->arena, size, &memory);
    else if (!(memory = calloc(1, size)))
        err = ENOMEM;
    if (err)
        return err;
    b = memory;
    b->flags = o->arena ? PLAIT_SHARED : 0;
    b->type = o->type;
    b->count = o->count;
    b->item_size = o->item_size;
    if (o->initial)
        memcpy(b + 1, o->initial, o->count * o->item_size);
    err = plait_rlock_init(&b->lock, b->flags);
    if (err == 0)
        err = handle_on(b, o->arena, array_out);
    if (err)
        free_body(b, o->arena);
    else
        store_release(&b->magic, PLAIT__ARRAY_MAGIC);
    *body_out = b;
    return err;
}

/* Is there one at this address of the arena? All that would be followed is looked at. */
static int open_at(void *array_out, plait_arena_t *arena, void *address)
{
    struct plait__array_body *b = address;
    uint64_t offset = plait__offset_in(arena->base, b);

    if (!plait__arena_block_is_used(arena->base, offset, sizeof *b) || load_acquire(&b->magic) != PLAIT__ARRAY_MAGIC ||
        b->flags != PLAIT_SHARED || !is_shape(b->type, b->item_size, b->count) ||
        b->lock.lock.mode != (PLAIT_SHARED | PLAIT__LOCK_RECURSIVE | plait__lock_mode(arena->base)) ||
        b->lock.lock.arena_offset != offset + offsetof(struct plait__array_body, lock) ||
        !plait__arena_block_is_used(arena->base, offset, body_size(b->count, b->item_size)))
        return EBADMSG;
    return handle_on(b, arena, array_out);
}

static void unmake(void *array_out)
{
    plait_array_t **array = array_out;

    plait_array_destroy(*array);
}

static const struct plait__named named = { open_at, make, unmake };

/* Open the one of that name, or make it. */
static int open_or_make(plait_array_t **array_out, const struct plait_array_opts *o)
{
    int err = plait__named_new(array_out, &named, o->arena, o->name, o);

    if (err == 0 && ((*array_out)->type != o->type || (*array_out)->count != o->count ||
                     (*array_out)->item_size != o->item_size)) {
        plait_array_free(*array_out);
        err = EINVAL;
    }
    return err;
}

int plait_array_new_sized(plait_array_t **array_out, const struct plait_array_opts *opts, size_t opts_size)
{
    struct plait_array_opts o;
    void *body;
    int err = plait__options_read(&o, sizeof o, opts, opts_size);

    *array_out = NULL;
    if (err || (unsigned)o.type > PLAIT_BYTES || (o.name && !o.arena))
        return EINVAL;
    if (o.item_size == 0)
        o.item_size = size_of_type(o.type);
    if (!is_shape(o.type, o.item_size, o.count))
        return EINVAL;
    err = o.name ? open_or_make(array_out, &o) : make(array_out, &o, &body);
    if (err)
        *array_out = NULL;
    return err;
}

/* Nobody holds the lock, nor will; a dead holder's is taken from it. */
static int end_lock(struct plait_array *a)
{
    plait_cancel_t *token = plait_cancel_bind(NULL);
    int err = plait__array_enter(a, PLAIT_NOW);

    plait_cancel_bind(token);
    if (err == 0)
        plait__array_leave(a);
    return err == ETIMEDOUT ? EBUSY : plait_rlock_fini(&a->body->lock);
}

int plait_array_free(plait_array_t *a)
{
    int err = a && !a->arena ? end_lock(a) : 0;

    if (!a || err)
        return err;
    if (!a->arena)
        free_body(a->body, NULL);
    drop_handle(a);
    return 0;
}

int plait_array_destroy(plait_array_t *a)
{
    int err;

    if (!a || !a->arena)
        return plait_array_free(a);
    err = end_lock(a);
    if (err)
        return err;
    plait__arena_forget(a->arena, a->body);
    store_release(&a->body->magic, 0);
    free_body(a->body, a->arena);
    drop_handle(a);
    return 0;
}

int plait_array_ref(const plait_array_t *a, plait_ref_t *ref_out)
{
    return a->arena ? plait_ref_of(a->body, ref_out) : EINVAL;
}

int plait_array_open(plait_array_t **array_out, plait_ref_t ref)
{
    *array_out = NULL;
    return plait__named_open(array_out, &named, ref);
}

int plait_array_publish(plait_array_t *a, const char *name)
{
    return a->arena ? plait_arena_publish(a->arena, name, a->body) : EINVAL;
}

int plait_array_lookup(plait_array_t **array_out, plait_arena_t *arena, const char *name)
{
    *array_out = NULL;
    return plait__named_lookup(array_out, &named, arena, name);
}

/* ---- A value is an array of one ---- */

int plait_value_new_sized(plait_value_t **value_out, const struct plait_value_opts *opts, size_t opts_size)
{
    struct plait_value_opts o;

    if (plait__options_read(&o, sizeof o, opts, opts_size)) {
        *value_out = NULL;
        return EINVAL;
    }
    return plait_array_new(value_out, &(struct plait_array_opts){
        .count = 1, .type = o.type, .item_size = o.item_size, .initial = o.initial, .arena = o.arena, .name = o.name });
}

/* What was found is an array of one, or is let go. */
static int only_one(int err, plait_value_t **value_out)
{
    if (err || (*value_out)->count == 1)
        return err;
    plait_array_free(*value_out);
    *value_out = NULL;
    return EBADMSG;
}

int plait_value_open(plait_value_t **value_out, plait_ref_t ref)
{
    return only_one(plait_array_open(value_out, ref), value_out);
}

int plait_value_lookup(plait_value_t **value_out, plait_arena_t *arena, const char *name)
{
    return only_one(plait_array_lookup(value_out, arena, name), value_out);
}
