/* SPDX-License-Identifier: MIT */
/* Making, opening and dropping queues. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arena/member.h"
#include "base/atomic.h"
#include "base/options.h"
#include "queue/body.h"
#include "queue/ledger.h"
#include "queue/named.h"
#include "queue/parcel.h"

enum { ITEM_SIZE_MAX = 1 << 20 };
#define QUEUE_MAXSIZE_MAX ((uint64_t)1 << 31)

/*
 * So many bytes of a short message lie in the item. Entries of other kinds than FIFO change their places, so there all do. Of a joinable queue's
 * messages each has a block, which a record can name.
 */
static uint64_t near_of(uint32_t kind, bool joinable)
{
    if (joinable)
        return 0;
    return kind == PLAIT_FIFO ? PLAIT__SLIP_NEAR : PLAIT__SLIP_MAX;
}

/* What the queue itself has as an item. */
static uint64_t stored_size(uint64_t item_size, uint32_t kind, bool joinable)
{
    return item_size ? item_size : sizeof(struct plait__mail) + near_of(kind, joinable);
}

static uint64_t stride_for(uint64_t item_size, uint32_t kind)
{
    return kind == PLAIT_FIFO ? sizeof(struct plait__cell) + (item_size + 7) / 8 * 8
                              : plait__pile_stride(item_size, kind);
}

/* The memory of the items, by the kind. */
static int make_items(struct plait_queue *q)
{
    return q->is_pile ? plait__pile_make(q) : plait__fifo_make(q);
}

static void unmake_items(struct plait_queue *q)
{
    if (q->ledger)
        plait__ledger_unmake(q);
    if (q->is_message)
        plait__parcels_unmake(q);
    if (q->is_pile)
        plait__pile_unmake(q);
    else
        plait__fifo_unmake(q);
}

static struct plait_queue *handle_on(struct plait__queue_body *body, plait_arena_t *arena)
{
    struct plait_queue *q = calloc(1, sizeof *q);

    if (!q)
        return NULL;
    q->body = body;
    q->item_size = stored_size(body->item_size, body->kind, body->joinable);
    q->stride = body->stride;
    q->maxsize = body->maxsize;
    q->cells = body->cells;
    q->is_pile = body->kind != PLAIT_FIFO;
    q->is_plain = body->kind == PLAIT_FIFO;
    q->is_message = body->item_size == 0;
    q->slips_below = q->is_message && !body->joinable ? PLAIT__SLIP_MAX + 1 : 0;
    q->slip_near = near_of(body->kind, body->joinable);
    if (arena) {
        q->arena = arena;
        q->base = arena->base;
        q->skew = sizeof(struct plait__block);
        plait__arena_hold(arena);
    }
    q->is_brief = q->base && q->is_plain;
    if (body->ledger)
        plait__ledger_attach(q);
    return q;
}

static void drop_handle(struct plait_queue *q)
{
    plait_arena_t *arena = q->arena;

    if (q->dead_letters)
        drop_handle(q->dead_letters);
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

/* Private ones are made by zeros. */
static int make_locks(struct plait__queue_body *b)
{
    int err;

    if (!(b->flags & PLAIT_SHARED))
        return 0;
    err = plait_lock_init(&b->put.lock, b->flags);
    return err ? err : plait_lock_init(&b->get.lock, b->flags);
}

/* The ledger of a joinable queue, and our handle on where its dead letters go. */
static int make_ledger(struct plait_queue *q, const struct plait_queue_opts *o)
{
    int err = plait__ledger_make(q, o);

    if (err || !q->ledger->dead_letters)
        return err;
    q->dead_letters = handle_on(o->dead_letters->body, q->arena);
    return q->dead_letters ? 0 : ENOMEM;
}

static int make(void *queue_out, const void *opts, void **body_out)
{
    const struct plait_queue_opts *o = opts;
    plait_queue_t **made = queue_out;
    struct plait__queue_body *b;
    struct plait_queue *q;
    int err = allocate_body(o->arena, &b);

    if (err)
        return err;
    b->flags = o->arena ? PLAIT_SHARED : 0;
    b->item_size = o->item_size;
    b->joinable = o->joinable != 0;
    b->stride = stride_for(stored_size(o->item_size, o->kind, b->joinable), o->kind);
    b->maxsize = o->maxsize;
    b->kind = o->kind;
    b->overflow = o->overflow;
    b->largest_first = o->largest_first != 0;
    q = handle_on(b, o->arena);
    if (!q) {
        free_body(b, o->arena);
        return ENOMEM;
    }
    err = make_locks(b);
    if (err == 0)
        err = make_items(q);
    if (err == 0 && q->is_message && q->base)
        plait__hands_forget(q);
    if (err == 0 && o->joinable) {
        err = make_ledger(q, o);
        if (err)
            unmake_items(q);
    }
    if (err) {
        free_body(b, o->arena);
        drop_handle(q);
        return err;
    }
    store_release(&b->magic, PLAIT__QUEUE_MAGIC);
    *made = q;
    *body_out = b;
    return 0;
}

static bool is_joinable_as_wanted(const struct plait_queue *q, const struct plait_queue_opts *o)
{
    if (!q->ledger || !o->joinable)
        return !q->ledger && !o->joinable;
    return q->ledger->max_deliveries == o->max_deliveries &&
           (q->dead_letters ? q->dead_letters->body : NULL) == (o->dead_letters ? o->dead_letters->body : NULL);
}

static bool is_as_wanted(const struct plait_queue *q, const struct plait_queue_opts *o)
{
    const struct plait__queue_body *b = q->body;

    return b->item_size == o->item_size && b->maxsize == o->maxsize && b->kind == o->kind &&
           b->overflow == o->overflow && b->largest_first == (o->largest_first != 0) &&
           is_joinable_as_wanted(q, o);
}

/* Is there such a queue? */
static bool is_order(uint32_t kind, uint32_t overflow, uint32_t largest_first)
{
    if (kind > PLAIT_DEQUE || overflow > PLAIT_OVERFLOW_DROP_NEWEST)
        return false;
    return kind == PLAIT_PRIORITY ? overflow != PLAIT_OVERFLOW_DROP_OLDEST : !largest_first;
}

/* Can undone items of such a queue go where they shall? */
static bool is_ledger(const struct plait_queue_opts *o)
{
    const struct plait_queue *letters = o->dead_letters;

    if (!o->joinable || !o->max_deliveries)
        return !o->max_deliveries && !letters;
    return !letters || (letters->base == (o->arena ? o->arena->base : NULL) && !letters->dead_letters &&
                        letters->body->item_size == o->item_size);
}

static int open_as(plait_queue_t **queue_out, plait_arena_t *arena, struct plait__queue_body *b,
                   bool may_have_letters);

/* A queue of dead letters has none of its own. */
static int open_dead_letters(struct plait_queue *q)
{
    uint64_t place = q->ledger->dead_letters;
    int err;

    if (!place)
        return 0;
    if (place >= q->base->limit || place % 8)
        return EBADMSG;
    err = open_as(&q->dead_letters, q->arena, plait__at(q->base, place), false);
    if (err == 0 && q->dead_letters->body->item_size != q->body->item_size)
        return EBADMSG;
    return err;
}

static int open_ledger(struct plait_queue *q, bool may_have_letters)
{
    if (!q->ledger)
        return 0;
    if (!plait__ledger_is_founded(q) || (q->ledger->dead_letters && !may_have_letters))
        return EBADMSG;
    return open_dead_letters(q);
}

static bool is_sound(struct plait_queue *q)
{
    return (q->is_pile ? plait__pile_is_sound(q) : plait__fifo_is_sound(q)) &&
           (!q->ledger || plait__ledger_is_sound(q));
}

/* Is there a queue at this address of the arena? Everything that would be followed is looked at. */
static int open_as(plait_queue_t **queue_out, plait_arena_t *arena, struct plait__queue_body *b,
                   bool may_have_letters)
{
    struct plait_queue *q;
    int err;

    if (!plait__arena_block_is_used(arena->base, plait__offset_in(arena->base, b), sizeof *b) ||
        load_acquire(&b->magic) != PLAIT__QUEUE_MAGIC || b->flags != PLAIT_SHARED ||
        b->item_size > ITEM_SIZE_MAX ||
        !is_order(b->kind, b->overflow, b->largest_first) ||
        b->joinable != (b->ledger != 0) ||
        b->stride != stride_for(stored_size(b->item_size, b->kind, b->joinable), b->kind) ||
        b->maxsize > QUEUE_MAXSIZE_MAX)
        return EBADMSG;
    q = handle_on(b, arena);
    if (!q)
        return ENOMEM;
    err = open_ledger(q, may_have_letters);
    if (err == 0 && !is_sound(q))
        err = EBADMSG;
    if (err) {
        drop_handle(q);
        return err;
    }
    *queue_out = q;
    return 0;
}

static int open_at(void *queue_out, plait_arena_t *arena, void *address)
{
    return open_as(queue_out, arena, address, true);
}

static void unmake(void *queue_out)
{
    plait_queue_t **made = queue_out;

    plait_queue_destroy(*made);
    *made = NULL;
}

static const struct plait__named named = { open_at, make, unmake };

/* Open the queue of that name, or make it. */
static int open_or_make(plait_queue_t **queue_out, const struct plait_queue_opts *o)
{
    int err = plait__named_new(queue_out, &named, o->arena, o->name, o);

    if (err == 0 && !is_as_wanted(*queue_out, o)) {
        plait_queue_free(*queue_out);
        *queue_out = NULL;
        err = EINVAL;
    }
    return err;
}

int plait_queue_new_sized(plait_queue_t **queue_out, const struct plait_queue_opts *opts,
                          size_t opts_size)
{
    struct plait_queue_opts o;
    void *body;
    int err = plait__options_read(&o, sizeof o, opts, opts_size);

    *queue_out = NULL;
    if (err || o.item_size > ITEM_SIZE_MAX || o.maxsize > QUEUE_MAXSIZE_MAX ||
        (o.name && !o.arena) || o.spare || !is_order(o.kind, o.overflow, o.largest_first) || !is_ledger(&o))
        return EINVAL;
    return o.name ? open_or_make(queue_out, &o) : make(queue_out, &o, &body);
}

int plait_queue_free(plait_queue_t *q)
{
    if (!q)
        return 0;
    if (!q->base) {
        unmake_items(q);
        free_body(q->body, NULL);
    }
    drop_handle(q);
    return 0;
}

int plait_queue_destroy(plait_queue_t *q)
{
    if (!q || !q->base)
        return plait_queue_free(q);
    plait__arena_forget(q->arena, q->body);
    plait_queue_close_now(q);
    store_release(&q->body->magic, 0);
    unmake_items(q);
    free_body(q->body, q->arena);
    drop_handle(q);
    return 0;
}

int plait_queue_ref(const plait_queue_t *q, plait_ref_t *ref_out)
{
    return q->base ? plait_ref_of(q->body, ref_out) : EINVAL;
}

int plait_queue_open(plait_queue_t **queue_out, plait_ref_t ref)
{
    *queue_out = NULL;
    return plait__named_open(queue_out, &named, ref);
}

int plait_queue_publish(plait_queue_t *q, const char *name)
{
    return q->base ? plait_arena_publish(q->arena, name, q->body) : EINVAL;
}

int plait_queue_lookup(plait_queue_t **queue_out, plait_arena_t *arena, const char *name)
{
    *queue_out = NULL;
    return plait__named_lookup(queue_out, &named, arena, name);
}
