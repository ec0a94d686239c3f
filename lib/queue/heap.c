/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A queue by priority is a heap with four children to a parent: entry n's are 4n + 1 to 4n + 4, the next item is entry 0. Entry n
 * lies at position n + 3 of the row, so that four children lie side by side, in one segment.
 *
 * A put makes the new entry in `moving`, and a hole behind the last entry; it moves parents down into the hole until the new one
 * fits there. A get makes the hole at 0 and takes the last entry into `moving`. The hole sinks to the end, the least child moving
 * up each time, without a look at `moving`: that came from the end and mostly belongs there again (Wegener 1993, "Bottom-up
 * heapsort"). Then it rises from there as a new one would.
 *
 * Several stores, of which a death may leave some: `change` says how far it has come,
 *
 *     NONE             moving, hole and after mean nothing; a block in `fresh` belongs to a put that did not happen
 *     SINKING, RISING  put or get have taken effect: moving belongs into the row of `after` entries, where the hole goes
 *     PLACED           it is there, with the block in `fresh`; a block in `gone` is of an item that was taken
 *
 * and whoever comes next goes on from there: an entry is copied into the hole before the hole moves to where it came from, so
 * all entries but the hole's are whole at any instant, and copying it once more does no harm. Compiler barriers keep this
 * thread's stores in order, and the lock tells the next.
 */
#include <errno.h>
#include <string.h>

#include "queue/row.h"
#include "queue/steps.h"

enum { CHILDREN = 4 };

enum change { NONE, RISING, SINKING, PLACED };

static bool is_inline(const struct plait_queue *q)
{
    return q->item_size <= PLAIT__RANKED_INLINE;
}

static uint64_t *block_of(struct plait__ranked *e)
{
    return (uint64_t *)(void *)e->item;
}

static struct plait__ranked *moving(struct plait__pile *pile)
{
    return (void *)pile->moving;
}

static inline struct plait__ranked *ranked(const struct plait__row *row, uint64_t number)
{
    return plait__row_at(row, number + PLAIT__HEAP_LEAD);
}

static inline bool is_before(const struct plait__ranked *a, const struct plait__ranked *b)
{
    return a->key < b->key || (a->key == b->key && a->number < b->number);
}

/* The stride is a constant where these are inlined for the usual one. */
static inline struct plait__ranked *sibling(struct plait__ranked *e, uint64_t by, size_t stride)
{
    return (struct plait__ranked *)((char *)e + by * stride);
}

/*
 * Which of four siblings comes first? No processor can guess which, so that must not be a branch; that two keys are equal is
 * either rare or usual, and may be one.
 */
static inline __attribute__((always_inline)) uint64_t first_of_four(struct plait__ranked *e,
                                                                   size_t stride)
{
    struct plait__ranked *b = sibling(e, 1, stride), *c = sibling(e, 2, stride),
                         *d = sibling(e, 3, stride);
    int64_t a_or_b = b->key < e->key ? b->key : e->key, c_or_d = d->key < c->key ? d->key : c->key;
    uint64_t left = b->key < e->key, right = 2 + (d->key < c->key);

    if (__builtin_expect(b->key == e->key || d->key == c->key || a_or_b == c_or_d, 0)) {
        left = is_before(b, e);
        right = 2 + is_before(d, c);
        return is_before(sibling(e, right, stride), sibling(e, left, stride)) ? right : left;
    }
    return c_or_d < a_or_b ? right : left;
}

static void set_change(struct plait__pile *pile, enum change change)
{
    compiler_barrier();
    pile->change = change;
    compiler_barrier();
}

/* `from`, entry `number`, goes into the hole, and leaves one. */
static inline void move_hole(struct plait__pile *pile, struct plait__ranked *hole,
                             const struct plait__ranked *from, uint64_t number, size_t stride)
{
    memcpy(hole, from, stride);
    compiler_barrier();
    pile->hole = number;
    compiler_barrier();
}

static inline __attribute__((always_inline)) struct plait__ranked *
sink(const struct plait__row *row, struct plait__pile *pile, size_t stride)
{
    uint64_t number = pile->hole, after = pile->after;
    struct plait__ranked *hole = ranked(row, number);

    while (number * CHILDREN + 1 < after) {
        uint64_t child = number * CHILDREN + 1, least = 0;
        struct plait__ranked *children = ranked(row, child), *from;

        if (__builtin_expect(child + CHILDREN <= after, 1)) {
            least = first_of_four(children, stride);
        } else {
            for (uint64_t i = 1; child + i < after; i++)
                if (is_before(sibling(children, i, stride), sibling(children, least, stride)))
                    least = i;
        }
        number = child + least;
        from = sibling(children, least, stride);
        move_hole(pile, hole, from, number, stride);
        hole = from;
    }
    return hole;
}

static inline __attribute__((always_inline)) void rise(const struct plait__row *row,
                                                       struct plait__pile *pile,
                                                       struct plait__ranked *hole, size_t stride)
{
    uint64_t number = pile->hole;

    while (number > 0) {
        uint64_t up = (number - 1) / CHILDREN;
        struct plait__ranked *parent = ranked(row, up);

        if (!is_before(moving(pile), parent))
            break;
        move_hole(pile, hole, parent, up, stride);
        hole = parent;
        number = up;
    }
    memcpy(hole, moving(pile), stride);
}

/* The hole goes where `moving` belongs, which is put there. From where it stopped, if it did. */
static inline __attribute__((always_inline)) void place_moving(const struct plait__row *row,
                                                               struct plait__pile *pile,
                                                               size_t stride)
{
    struct plait__ranked *hole;

    if (pile->change == SINKING) {
        hole = sink(row, pile, stride);
        set_change(pile, RISING);
    } else {
        hole = ranked(row, pile->hole);
    }
    rise(row, pile, hole, stride);
}

static void finish_placed(struct plait_queue *q, struct plait__pile *pile)
{
    pile->fresh = 0;
    if (pile->gone)
        plait__memory_free(q->base, &pile->gone);
    set_change(pile, NONE);
}

static void finish_moving(struct plait_queue *q, const struct plait__row *row,
                          struct plait__pile *pile)
{
    enum { USUAL = sizeof(struct plait__ranked) + sizeof(uint64_t) };

    plait__set_count(q, pile->after);
    if (pile->hole >= pile->after)
        ; /* the last item was taken */
    else if (row->stride == USUAL)
        place_moving(row, pile, USUAL);
    else
        place_moving(row, pile, row->stride);
    set_change(pile, PLACED);
    finish_placed(q, pile);
}

int plait__heap_put(struct plait_queue *q, const void *item, int64_t priority)
{
    struct plait__pile *pile = plait__pile_of(q);
    struct plait__ranked *new = moving(pile);
    struct plait__row row = plait__row(q);
    uint64_t count = plait__count_of(q);

    new->key = plait__pile_key(q, priority);
    new->number = pile->puts++;
    if (__builtin_expect(is_inline(q), 1)) {
        copy_item(new->item, item, q->item_size);
    } else {
        int err = plait__memory_alloc(q->base, q->item_size, &pile->fresh);

        if (err)
            return err;
        memcpy(plait__memory_at(q, pile->fresh), item, q->item_size);
        *block_of(new) = pile->fresh;
    }
    pile->hole = count;
    pile->after = count + 1;
    set_change(pile, RISING);
    finish_moving(q, &row, pile);
    return 0;
}

static const void *item_of(const struct plait_queue *q, struct plait__ranked *e)
{
    return is_inline(q) ? e->item : plait__memory_at(q, *block_of(e));
}

int plait__pile_first_priority(const struct plait_queue *q, int64_t *priority_out)
{
    struct plait__row row = plait__row(q);

    if (plait__count_of(q) == 0)
        return EAGAIN;
    *priority_out = plait__pile_key(q, ranked(&row, 0)->key);
    return 0;
}

const void *plait__heap_item(const struct plait_queue *q, const struct plait__row *row,
                             uint64_t number)
{
    return item_of(q, ranked(row, number));
}

void plait__heap_get(struct plait_queue *q, void *item, int64_t *priority_out)
{
    struct plait__pile *pile = plait__pile_of(q);
    struct plait__row row = plait__row(q);
    struct plait__ranked *first = ranked(&row, 0);
    uint64_t count = plait__count_of(q);

    copy_item(item, item_of(q, first), q->item_size);
    if (priority_out)
        *priority_out = plait__pile_key(q, first->key);
    pile->gone = is_inline(q) ? 0 : *block_of(first);
    memcpy(moving(pile), ranked(&row, count - 1), row.stride);
    pile->hole = 0;
    pile->after = count - 1;
    set_change(pile, SINKING);
    finish_moving(q, &row, pile);
}

int plait__heap_repair(struct plait_queue *q)
{
    struct plait__pile *pile = plait__pile_of(q);

    if (pile->change == RISING || pile->change == SINKING) {
        struct plait__row row;

        if (!plait__row_is_reached(q, pile->after) || pile->hole > pile->after)
            return EBADMSG;
        row = plait__row(q);
        finish_moving(q, &row, pile);
    } else if (pile->change == PLACED) {
        finish_placed(q, pile);
    } else {
        pile->gone = 0;
        if (pile->fresh)
            plait__memory_free(q->base, &pile->fresh);
    }
    return 0;
}

void plait__heap_unmake(struct plait_queue *q)
{
    struct plait__row row = plait__row(q);

    for (uint64_t i = 0; !is_inline(q) && i < plait__count_of(q); i++)
        plait__memory_free(q->base, block_of(ranked(&row, i)));
}

bool plait__heap_is_sound(struct plait_queue *q)
{
    struct plait__row row = plait__row(q);
    bool sound = plait__pile_of(q)->change == NONE;

    for (uint64_t i = 0; sound && !is_inline(q) && i < plait__count_of(q); i++)
        sound = plait__queue_is_block(q, *block_of(ranked(&row, i)), q->item_size);
    return sound;
}
