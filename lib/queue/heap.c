/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A queue by priority is a heap with four children to a parent: entry n's are 4n + 1 to 4n + 4, the next item is entry 0. Entry n
 * lies at position n + 3 of the row, so that four children lie side by side, in one segment.
 *
 * A put writes the new entry behind the last and counts it, no more: from then on the last may be out of place. The next get
 * takes whichever of the first and the last comes before, and in the usual case needs the last one anyhow, to fill the hole
 * that the first leaves; only another put has to see to it first that it gets to its place. So a put and a get in turn cost the
 * way through the heap once, not twice.
 *
 * That is to take the last entry into `moving`, which leaves a hole, and to move parents down into the hole until the entry fits
 * there. A get makes the hole at 0 and takes the last entry into `moving`. The hole sinks to the end, the least child moving
 * up each time, without a look at `moving`: that came from the end and mostly belongs there again (Wegener 1993, "Bottom-up
 * heapsort"). Then it rises from there.
 *
 * Several stores, of which a death may leave some: `change` says how far it has come,
 *
 *     NONE             moving, hole and after mean nothing, nor does gone; a block in `fresh` belongs to a put that did not happen
 *     APPENDED         the same, but the last entry may be out of place, and a block in `fresh` may be its own
 *     SINKING, RISING  get has taken effect, or a put had: moving belongs into the row of `after` entries, where the hole goes;
 *                      if the hole is behind them, none is missing
 *     PLACED           it is there; a block in `gone` is of an item that was taken
 *
 * and whoever comes next goes on from there: an entry is copied into the hole before the hole moves to where it came from, so
 * all entries but the hole's are whole at any instant, and copying it once more does no harm. A put takes effect with the count,
 * after APPENDED: where that stands without it, an entry that is in its place is taken for one that may not be, which does no harm.
 * Compiler barriers keep this thread's stores in order, and the lock tells the next.
 */
#include <errno.h>
#include <string.h>

#include "queue/row.h"
#include "queue/steps.h"

enum { CHILDREN = 4, NEAR = 512 /* so many entries the nearest cache has anyhow */ };
enum { USUAL = sizeof(struct plait__ranked) + sizeof(uint64_t) }; /* bytes of an entry with a small item */
enum { OF_MESSAGE = sizeof(struct plait__ranked) + PLAIT__RANKED_INLINE }; /* with a slip (mail.h) */

enum change { NONE, RISING, SINKING, PLACED, APPENDED };

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

/* The compiler shall not know that it is 0 or 1, or it may branch upon it. */
static inline uint64_t opaque(uint64_t bit)
{
    __asm__("" : "+r"(bit));
    return bit;
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
    int64_t a_key = e->key, b_key = b->key, c_key = c->key, d_key = d->key;
    uint64_t left = opaque(b_key < a_key), right = 2 + opaque(d_key < c_key);
    int64_t left_key = a_key ^ ((a_key ^ b_key) & -(int64_t)left);
    int64_t right_key = c_key ^ ((c_key ^ d_key) & -(int64_t)(right - 2));

    if (__builtin_expect(a_key == b_key || c_key == d_key || left_key == right_key, 0)) {
        left = is_before(b, e);
        right = 2 + is_before(d, c);
        return is_before(sibling(e, right, stride), sibling(e, left, stride)) ? right : left;
    }
    return left ^ ((left ^ right) & -opaque(right_key < left_key));
}

static inline void copy_entry(struct plait__ranked *to, const struct plait__ranked *from, size_t stride)
{
    if (__builtin_expect(stride == USUAL, 1))
        memcpy(to, from, USUAL);
    else
        memcpy(to, from, stride);
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

/* The children of four siblings lie side by side as well. Do they in one segment? */
static inline bool is_one_piece(const struct plait__row *row, uint64_t first)
{
    return ((first + PLAIT__HEAP_LEAD) & row->mask) + CHILDREN * CHILDREN <= row->mask + 1;
}

/*
 * By the time it is known whose children are wanted they are on their way. All sixteen, of the usual size: which four it will be only
 * the wait for their parents would tell. (A macro: gcc takes a function for one without effect.)
 */
#define FETCH_SIXTEEN(e)                                                                                                 \
    do {                                                                                                                 \
        const char *at_ = (const char *)(e);                                                                             \
                                                                                                                         \
        __builtin_prefetch(at_);                                                                                         \
        __builtin_prefetch(at_ + 64);                                                                                    \
        __builtin_prefetch(at_ + 128);                                                                                   \
        __builtin_prefetch(at_ + 192);                                                                                   \
        __builtin_prefetch(at_ + 256);                                                                                   \
        __builtin_prefetch(at_ + 320);                                                                                   \
    } while (0)

/* Of entries with slips the keys. */
#define FETCH_KEYS(e, stride)                                                                                            \
    do {                                                                                                                 \
        for (uint64_t i_ = 0; i_ < CHILDREN * CHILDREN; i_++)                                                            \
            __builtin_prefetch((const char *)(e) + i_ * (stride));                                                       \
    } while (0)

_Static_assert(CHILDREN * CHILDREN * USUAL == 6 * 64, "what is fetched");

/*
 * Each level waits for the one before. So what does not depend on which of four siblings is the least, as where the children of all
 * four begin, is found out beside that.
 */
static inline __attribute__((always_inline)) struct plait__ranked *
sink(const struct plait__row *row, struct plait__pile *pile, size_t stride)
{
    uint64_t number = pile->hole, after = pile->after, child = number * CHILDREN + 1;
    struct plait__ranked *hole = ranked(row, number), *children = ranked(row, child < after ? child : number);

    while (child < after) {
        uint64_t next = child * CHILDREN + 1, least = 0;
        struct plait__ranked *theirs = hole, *from;

        if (next < after) {
            theirs = ranked(row, next);
            if (stride == USUAL && next > NEAR)
                FETCH_SIXTEEN(theirs);
            if (stride == OF_MESSAGE && next > NEAR / 4)
                FETCH_KEYS(theirs, stride);
        }
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
        child = number * CHILDREN + 1;
        if (child < after)
            children = __builtin_expect(is_one_piece(row, next), 1) ? sibling(theirs, least * CHILDREN, stride) : ranked(row, child);
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
    if (pile->gone)
        plait__memory_free(q->base, &pile->gone);
    set_change(pile, NONE);
}

static void finish_moving(struct plait_queue *q, const struct plait__row *row,
                          struct plait__pile *pile)
{
    plait__set_count(q, pile->after);
    if (pile->hole >= pile->after)
        ; /* the last item was taken */
    else if (row->stride == USUAL)
        place_moving(row, pile, USUAL);
    else if (row->stride == OF_MESSAGE)
        place_moving(row, pile, OF_MESSAGE);
    else
        place_moving(row, pile, row->stride);
    set_change(pile, PLACED);
    finish_placed(q, pile);
}

/* The last entry gets to its place, if it is not there. */
static void place_last(struct plait_queue *q, const struct plait__row *row, struct plait__pile *pile, uint64_t count)
{
    struct plait__ranked *last = count ? ranked(row, count - 1) : NULL;

    if (count < 2 || !is_before(last, ranked(row, (count - 2) / CHILDREN))) {
        set_change(pile, NONE);
        return;
    }
    copy_entry(moving(pile), last, row->stride);
    pile->hole = count - 1;
    pile->after = count;
    set_change(pile, RISING);
    finish_moving(q, row, pile);
}

int plait__heap_put(struct plait_queue *q, const void *item, int64_t priority)
{
    struct plait__pile *pile = plait__pile_of(q);
    struct plait__row row = plait__row(q);
    uint64_t count = plait__count_of(q);
    struct plait__ranked *new = ranked(&row, count);
    int err;

    if (pile->change == APPENDED)
        place_last(q, &row, pile, count);
    new->key = plait__pile_key(q, priority);
    new->number = pile->puts++;
    if (__builtin_expect(is_inline(q), 1)) {
        err = copy_in(q, new->item, item, NULL, 0);
        if (err)
            return err;
    } else {
        err = plait__memory_alloc(q->base, q->item_size, &pile->fresh);
        if (err)
            return err;
        memcpy(plait__memory_at(q, pile->fresh), item, q->item_size);
        *block_of(new) = pile->fresh;
    }
    set_change(pile, APPENDED);
    plait__set_count(q, count + 1);
    pile->fresh = 0;
    return 0;
}

static void *item_of(const struct plait_queue *q, struct plait__ranked *e)
{
    return is_inline(q) ? e->item : plait__memory_at(q, *block_of(e));
}

/* Of at least one: does the last entry come out next? */
static inline bool is_last_next(const struct plait_queue *q, const struct plait__row *row, uint64_t count)
{
    return plait__pile_of(q)->change == APPENDED && is_before(ranked(row, count - 1), ranked(row, 0));
}

int plait__pile_first_priority(const struct plait_queue *q, int64_t *priority_out)
{
    struct plait__row row = plait__row(q);
    uint64_t count = plait__count_of(q);

    if (count == 0)
        return EAGAIN;
    *priority_out = plait__pile_key(q, ranked(&row, is_last_next(q, &row, count) ? count - 1 : 0)->key);
    return 0;
}

void *plait__heap_item(const struct plait_queue *q, const struct plait__row *row, uint64_t number)
{
    uint64_t last = plait__count_of(q) - 1;

    if ((number == 0 || number == last) && is_last_next(q, row, last + 1))
        number = last - number; /* the two change places */
    return item_of(q, ranked(row, number));
}

void plait__heap_get(struct plait_queue *q, void *item, int64_t *priority_out)
{
    struct plait__pile *pile = plait__pile_of(q);
    struct plait__row row = plait__row(q);
    uint64_t count = plait__count_of(q);
    struct plait__ranked *next = ranked(&row, 0);

    if (is_last_next(q, &row, count)) {
        next = ranked(&row, count - 1);
        pile->hole = count - 1; /* no entry is missing */
    } else {
        copy_entry(moving(pile), ranked(&row, count - 1), row.stride);
        pile->hole = 0;
    }
    if (item)
        copy_item(item, item_of(q, next), q->item_size);
    if (priority_out)
        *priority_out = plait__pile_key(q, next->key);
    pile->gone = is_inline(q) ? 0 : *block_of(next);
    pile->after = count - 1;
    set_change(pile, SINKING);
    finish_moving(q, &row, pile);
}

/* A block that was got for a put: has the put happened? */
static bool is_of_last(const struct plait_queue *q, uint64_t block)
{
    struct plait__row row = plait__row(q);
    uint64_t count = plait__count_of(q);

    return plait__pile_of(q)->change == APPENDED && count && *block_of(ranked(&row, count - 1)) == block;
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
        if (pile->fresh && !plait__row_is_reached(q, plait__count_of(q)))
            return EBADMSG;
        if (pile->fresh && is_of_last(q, pile->fresh))
            pile->fresh = 0;
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
    uint32_t change = plait__pile_of(q)->change;
    bool sound = change == NONE || change == APPENDED;

    for (uint64_t i = 0; sound && !is_inline(q) && i < plait__count_of(q); i++)
        sound = plait__queue_is_block(q, *block_of(ranked(&row, i)), q->item_size);
    return sound;
}
