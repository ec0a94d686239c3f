/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A participant is a thread, and its stock is a block of the arena that stays with its slot: lists of free blocks by class, of which
 * it takes and to which it gives without the arena's lock. Only when a list is empty or full are some blocks fetched from, or given to, the
 * common lists, under that lock; the more, the oftener it happens. A stock never has more than STOCK_MAX bytes, and all stocks together
 * never more than an eighth of the arena. Nothing is lost to others by that: who finds no memory drains the stocks of everybody.
 *
 * Who is at a stock, says its word (E3: taken with acquire, given with release):
 *
 *     IDLE            nobody
 *     OWNED, number   the slot's owner, with the generation that it has there: in the midst of taking or giving
 *     TAPPED          one who holds the arena's lock, and drains or verifies it
 *
 * Nobody waits for it: an owner who finds it taken (in a signal handler, or because it is being drained) goes by way of the arena's lock, and
 * who drains leaves out those whose owners are at them, be they stopped. When the slot has another owner, that one inherits the stock.
 *
 * The truth is in the blocks: STOCKED and the number of the slot, one store. The heads of the lists are one store too. What stands in
 * `pending` lies between. Killed at any instruction, in
 *
 *   take     pending = block; head = the next; block TAKEN by us; *place = block; block USED; pending = 0
 *            (nothing to name it: USED at once)
 *   give     pending = block, GIVES; block USED -> STOCKED by us, by an exchange, so that of two who free it one is refused; *place = 0; next;
 *            head = block; pending = 0
 *   fetch    pending = block; next; block STOCKED by us; head = block; pending = 0        (with the arena's lock)
 *   part     block FREE; head = the next; then into the common list                        (with the arena's lock)
 *
 * whoever sees to it (settle) finds in the block's own state whether it is the dead one's to decide: TAKEN or STOCKED by it, nobody else
 * touches the block. TAKEN is committed if the place names it, and else freed. STOCKED: it is freed, after *place was cleared if that still
 * names it, and taken from the head of the list if it had got there. In any other state it has come, or gone, or not been begun. A head that names a
 * FREE block (part) goes on to the next. Each of these is a store or two that can be repeated. Blocks so freed are found by a walk over
 * the heap, which makes the common lists anew.
 *
 * An owner is dead when its life word says so, or the slot has another generation (E3 of holds.c). The kernel marks life words before it
 * marks the locks of the same thread (wait/robust_list.h). So who was told of a death by some lock, and then settles, does not take the
 * dead owner of a stock for a living one; and one who found it by other means has waited for all of it. Settling is under the arena's
 * lock, so two do not do it at once, and the next owner of the slot, who cannot get at the stock before, does it itself if nobody else has.
 *
 * A place is believed only with its guard: whoever takes over from a dead guard settles before (arena.h). As long as that has not
 * happened, the block that it names is not USED, and giving it back goes by way of the arena's lock and settles.
 *
 * Cost: one exchange to take, two to give.
 */
#include "arena/stock.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "arena/holds.h"
#include "arena/member.h"
#include "base/races.h"

enum { IDLE = 0, OWNED = 1, TAPPED = 2, GENERATION_SHIFT = 2, WHO = 3 };
enum { GIVES = 1 };
enum {
    STOCK_MAX = 128 * 1024,   /* bytes in a stock */
    STOCK_MIN = 1024,         /* less is not worth it */
    CLASS_BYTES = 16 * 1024,  /* of a class */
    COUNT_MIN = 4,
    COUNT_MAX = 64,
    SHARE = 8,                /* of the arena, in all stocks */
    TAP_TRIES = 100
};

_Static_assert(COUNT_MAX <= UINT8_MAX && PLAIT__STOCK_CLASSES <= PLAIT__ARENA_CLASSES, "they fit");

static uint64_t most_bytes(const struct plait__arena_header *h)
{
    uint64_t share = h->limit / SHARE / h->participants;

    return share < STOCK_MAX ? share : STOCK_MAX;
}

static unsigned most_of(unsigned class)
{
    uint64_t count = CLASS_BYTES / plait__class_size(class);

    return count < COUNT_MIN ? COUNT_MIN : count > COUNT_MAX ? COUNT_MAX : (unsigned)count;
}

/* ---- Who is at it ---- */

static inline uint32_t own_mark(const struct plait__slot *self)
{
    return OWNED | load_relaxed(&self->generation) << GENERATION_SHIFT; /* relaxed: our own */
}

static inline bool begin(struct plait__stock *s, const struct plait__slot *self)
{
    uint32_t idle = IDLE;

    return __builtin_expect(cas_acquire(&s->word, &idle, own_mark(self)), 1); /* E3 */
}

static inline void end(struct plait__stock *s)
{
    store_release(&s->word, IDLE); /* E3 */
}

/* Is the stock the business of an owner who is gone? */
static bool is_orphan(const struct plait__slot *slot, uint32_t word)
{
    bool empty;

    if ((word & WHO) != OWNED)
        return false;
    empty = plait__slot_is_empty(slot);
    return empty || load_acquire(&slot->generation) << GENERATION_SHIFT != (word & ~(uint32_t)WHO); /* E3 of holds.c */
}

bool plait__stock_tap(struct plait__stock *s)
{
    for (int i = 0; i < TAP_TRIES; i++) {
        uint32_t idle = IDLE;

        if (cas_acquire(&s->word, &idle, TAPPED)) /* E3 */
            return true;
        sched_yield();
    }
    return false;
}

bool plait__stock_is_tapped(const struct plait__stock *s)
{
    return load_acquire(&s->word) == TAPPED; /* E3 */
}

void plait__stock_untap(struct plait__stock *s)
{
    end(s);
}

struct plait__stock *plait__stock_of(struct plait__arena_header *h, const struct plait__slot *slot)
{
    uint64_t offset = load64_acquire(&slot->row.stock); /* E2 of alloc.c */
    struct plait__stock *s;
    struct plait__block look;

    if (!offset || !plait__block_look_sound(h, offset, &look) || look.state != PLAIT__BLOCK_STOCK ||
        plait__class_size(look.class) < sizeof *s + sizeof(struct plait__block))
        return NULL;
    s = plait__place_memory(h, offset);
    return plait__slot_at(h, s->number) == slot ? s : NULL;
}

/* ---- Lists ---- */

/* Figures, which others read. */
static inline void count(uint64_t *figure, uint64_t more)
{
    store64_relaxed(figure, load64_relaxed(figure) + more);
}

static inline void count_bytes(struct plait__stock *s, uint64_t bytes)
{
    count(&s->bytes, bytes);
}

/* Is that one of its free blocks, of that class? */
static inline bool is_in(const struct plait__arena_header *h, const struct plait__stock *s, uint64_t offset, unsigned class)
{
    struct plait__block look;

    return plait__block_look_sound(h, offset, &look) && look.state == PLAIT__BLOCK_STOCKED && look.class == class &&
           look.owner == s->number;
}

static inline void set_head(struct plait__stock *s, unsigned class, uint64_t offset)
{
    compiler_barrier();
    s->heads[class] = offset;
    compiler_barrier();
}

static inline void set_pending(struct plait__stock *s, uint64_t pending)
{
    compiler_barrier();
    s->pending = pending;
    compiler_barrier();
}

/* Free a block from the head of a list: part. */
static void part(struct plait__arena_header *h, struct plait__stock *s, unsigned class)
{
    uint64_t offset = s->heads[class];

    if (!is_in(h, s, offset, class)) { /* damaged: what was behind it is lost */
        set_head(s, class, 0);
        return;
    }
    plait__block_write(h, offset, class, PLAIT__BLOCK_FREE);
    set_head(s, class, plait__block_next(h, offset));
    plait__arena_free_push(h, offset);
    s->counts[class]--;
    count_bytes(s, -plait__class_size(class));
}

/* ---- Take and give ---- */

/* Not cached: the thread joins now, or has looked at another arena. */
static __attribute__((noinline)) struct plait__stock *find_own_stock(const void *base)
{
    struct plait__slot *self;

    return plait__member(base, &self) == 0 ? plait__member_cache.stock : NULL;
}

static inline struct plait__stock *own_stock(const void *base)
{
    return plait__member_is_cached(base) ? plait__member_cache.stock : find_own_stock(base);
}

static inline int take(struct plait__arena_header *h, struct plait__stock *s, unsigned class, uint64_t *place,
                       uint64_t *offset_out)
{
    uint64_t offset = s->heads[class];

    if (!offset)
        return EAGAIN;
    if (__builtin_expect(!is_in(h, s, offset, class), 0))
        return EBADMSG;
    s->place = place ? plait__offset_in(h, place) : 0;
    set_pending(s, offset);
    set_head(s, class, plait__block_next(h, offset));
    if (place) {
        plait__block_set(h, offset, plait__block_word(offset, class, PLAIT__BLOCK_TAKEN, s->number));
        store64_release(place, offset); /* some places are looked at without a lock (E2 of holds.c) */
    }
    plait__block_write(h, offset, class, PLAIT__BLOCK_USED);
    set_pending(s, 0);
    s->counts[class]--;
    count_bytes(s, -plait__class_size(class));
    count(&s->allocs, 1);
    *offset_out = offset;
    return 0;
}

int plait__stock_take(struct plait__arena_header *h, unsigned class, uint64_t *place, uint64_t *offset_out)
{
    struct plait__stock *s = class < PLAIT__STOCK_CLASSES ? own_stock(h) : NULL;
    int err;

    if (!s || !begin(s, plait__member_cache.slot))
        return EAGAIN;
    err = take(h, s, class, place, offset_out);
    end(s);
    return err;
}

static bool has_room(const struct plait__arena_header *h, const struct plait__stock *s, unsigned class)
{
    return s->counts[class] < most_of(class) && load64_relaxed(&s->bytes) + plait__class_size(class) <= most_bytes(h);
}

static inline int give(struct plait__arena_header *h, struct plait__stock *s, uint64_t offset, unsigned class, uint64_t *place)
{
    struct plait__block *b = plait__block_at(h, offset);
    uint64_t used = plait__block_word(offset, class, PLAIT__BLOCK_USED, 0);
    bool ours;

    s->place = place ? plait__offset_in(h, place) : 0;
    set_pending(s, offset | GIVES);
    ours = cas64_acqrel(&b->word, &used, plait__block_word(offset, class, PLAIT__BLOCK_STOCKED, s->number));
    compiler_barrier();
    if (ours) {
        if (place)
            *place = 0;
        compiler_barrier();
        plait__block_set_next(h, offset, s->heads[class]);
        set_head(s, class, offset);
        s->counts[class]++;
        count_bytes(s, plait__class_size(class));
        count(&s->deallocs, 1);
    }
    set_pending(s, 0);
    return ours ? 0 : EAGAIN;
}

int plait__stock_give(struct plait__arena_header *h, uint64_t offset, uint64_t *place)
{
    struct plait__stock *s = own_stock(h);
    struct plait__block look;
    int err = EAGAIN;

    if (!s || !plait__block_look_sound(h, offset, &look) || look.state != PLAIT__BLOCK_USED ||
        look.class >= PLAIT__STOCK_CLASSES || !begin(s, plait__member_cache.slot))
        return EAGAIN;
    if (has_room(h, s, look.class)) {
        plait__races_forget(plait__block_at(h, offset) + 1, plait__class_size(look.class) - sizeof look);
        err = give(h, s, offset, look.class, place);
    }
    end(s);
    return err;
}

/* ---- Under the arena's lock ---- */

/* Is there one of the class that costs nobody anything? */
static bool is_plenty(const struct plait__arena_header *h, unsigned class)
{
    return h->free_lists[class] || h->top + plait__class_size(class) <= h->reserved;
}

static void make_stock(struct plait__arena_header *h, struct plait__slot *self)
{
    unsigned class = plait__class_for(sizeof(struct plait__stock) + sizeof(struct plait__block));
    struct plait__stock *s;
    uint64_t offset;

    if (self->row.stock || most_bytes(h) < STOCK_MIN || !is_plenty(h, class) ||
        plait__arena_alloc_begin(h, sizeof *s, &offset) != 0)
        return;
    s = plait__at(h, offset);
    memset(s, 0, sizeof *s);
    s->number = (uint32_t)(self - plait__slot_at(h, 0));
    offset -= sizeof(struct plait__block);
    h->out -= plait__class_size(plait__block_look(h, offset).class);
    plait__block_turn(h, offset, PLAIT__BLOCK_STOCK);
    plait__arena_alloc_commit(h, &self->row.stock);
    plait__member_cache.stock = s;
}

/* One from the common list, or from the top of the heap, where there is plenty; false: none. */
static bool fetch(struct plait__arena_header *h, struct plait__stock *s, unsigned class)
{
    uint64_t offset = h->free_lists[class], size = plait__class_size(class);
    uint64_t word = plait__block_word(offset, class, PLAIT__BLOCK_STOCKED, s->number);
    struct plait__block look;

    if (!is_plenty(h, class) || (h->quota && h->out + size > h->quota))
        return false;
    if (!offset) {
        word = plait__block_word(h->top, class, PLAIT__BLOCK_STOCKED, s->number);
        if (plait__arena_extend(h, class, word, &s->pending, &offset) != 0)
            return false;
    } else if (!plait__block_look_sound(h, offset, &look) || look.state != PLAIT__BLOCK_FREE || look.class != class) {
        return false;
    } else {
        set_pending(s, offset);
        h->free_lists[class] = plait__block_next(h, offset);
        compiler_barrier();
    }
    plait__block_set_next(h, offset, s->heads[class]);
    plait__block_set(h, offset, word);
    set_head(s, class, offset);
    set_pending(s, 0);
    h->out += size;
    s->counts[class]++;
    count_bytes(s, size);
    return true;
}

/* The calling thread's stock, with the word taken; NULL: none, or somebody is at it. */
static struct plait__stock *own_stock_begun(struct plait__arena_header *h)
{
    struct plait__stock *s = own_stock(h);
    uint32_t word = s ? load_acquire(&s->word) : IDLE;

    if (s && is_orphan(plait__member_cache.slot, word)) /* the slot's former owner, who is dead */
        plait__stocks_settle(h);
    return s && begin(s, plait__member_cache.slot) ? s : NULL;
}

void plait__stock_restock(struct plait__arena_header *h, unsigned class)
{
    struct plait__slot *self;
    struct plait__stock *s;

    if (class >= PLAIT__STOCK_CLASSES || plait__member(h, &self) != 0)
        return;
    if (!plait__member_cache.stock)
        make_stock(h, self);
    s = own_stock_begun(h);
    if (!s)
        return;
    for (unsigned i = 0; i < s->batches[class] && has_room(h, s, class) && fetch(h, s, class); i++)
        ;
    s->batches[class] = (uint8_t)(s->batches[class] * 2 + 1 < (int)most_of(class) / 2 ? s->batches[class] * 2 + 1
                                                                                        : (int)most_of(class) / 2);
    end(s);
}

/* Of a class that is full, half; where all classes together have too much, all. */
void plait__stock_reduce(struct plait__arena_header *h, unsigned class)
{
    struct plait__slot *self;
    struct plait__stock *s;

    if (class >= PLAIT__STOCK_CLASSES || plait__member(h, &self) != 0)
        return;
    if (!plait__member_cache.stock)
        make_stock(h, self);
    s = own_stock_begun(h);
    if (!s)
        return;
    if (s->counts[class] >= most_of(class)) {
        while (s->heads[class] && s->counts[class] > most_of(class) / 2)
            part(h, s, class);
    } else if (!has_room(h, s, class)) {
        for (unsigned i = 0; i < PLAIT__STOCK_CLASSES; i++)
            while (s->heads[i])
                part(h, s, i);
    }
    end(s);
}

void plait__stocks_drain(struct plait__arena_header *h)
{
    uint32_t high = load_acquire(&h->slots_high);

    for (uint32_t i = 0; i < high; i++) {
        struct plait__stock *s = plait__stock_of(h, plait__slot_at(h, i));

        if (!s || load64_relaxed(&s->bytes) == 0 || !plait__stock_tap(s))
            continue;
        for (unsigned class = 0; class < PLAIT__STOCK_CLASSES; class++)
            while (s->heads[class])
                part(h, s, class);
        plait__stock_untap(s);
    }
}

struct plait__stocks_figures plait__stocks_figures(struct plait__arena_header *h)
{
    struct plait__stocks_figures sum = { 0 };
    uint32_t high = load_acquire(&h->slots_high);

    for (uint32_t i = 0; i < high; i++) {
        const struct plait__stock *s = plait__stock_of(h, plait__slot_at(h, i));

        if (s) {
            sum.bytes += load64_relaxed(&s->bytes);
            sum.allocs += load64_relaxed(&s->allocs);
            sum.deallocs += load64_relaxed(&s->deallocs);
        }
    }
    return sum;
}

/* ---- After deaths ---- */

/* The block that was on its way: to be seen to only if it is the dead one's. */
static void settle_pending(struct plait__arena_header *h, struct plait__stock *s)
{
    uint64_t offset = s->pending & ~(uint64_t)GIVES;
    uint64_t *place = s->place && plait__place_is_sound(h, s->place) ? plait__at(h, s->place) : NULL;
    bool named = place && *place == offset;
    struct plait__block look;

    if (!plait__block_look_sound(h, offset, &look) || look.owner != s->number || look.class >= PLAIT__STOCK_CLASSES)
        return;
    if (look.state == PLAIT__BLOCK_TAKEN && named) {
        plait__block_turn(h, offset, PLAIT__BLOCK_USED);
    } else if (look.state == PLAIT__BLOCK_TAKEN || look.state == PLAIT__BLOCK_STOCKED) {
        if (named && (s->pending & GIVES))
            *place = 0;
        if (s->heads[look.class] == offset)
            set_head(s, look.class, plait__block_next(h, offset));
        plait__block_turn(h, offset, PLAIT__BLOCK_FREE);
    }
}

/* Lists, and figures made anew. Of a head that has become free, the list goes on behind; anything else is damage, and ends it. */
static void settle_lists(struct plait__arena_header *h, struct plait__stock *s)
{
    uint64_t bytes = 0;

    for (unsigned class = 0; class < PLAIT__STOCK_CLASSES; class++) {
        uint64_t offset = s->heads[class];
        unsigned count = 0;

        if (offset && plait__block_is_sound(h, offset) && plait__block_is_free(h, offset))
            set_head(s, class, plait__block_next(h, offset));
        for (offset = s->heads[class]; offset && count < COUNT_MAX && is_in(h, s, offset, class); count++)
            offset = plait__block_next(h, offset);
        if (offset)
            set_head(s, class, 0);
        s->counts[class] = (uint8_t)(offset ? 0 : count);
        bytes += s->counts[class] * plait__class_size(class);
    }
    store64_relaxed(&s->bytes, bytes);
}

static void settle(struct plait__arena_header *h, struct plait__stock *s)
{
    if (s->pending)
        settle_pending(h, s);
    settle_lists(h, s);
    set_pending(s, 0);
    end(s);
}

static bool settle_all(struct plait__arena_header *h, bool lock_was_dead)
{
    uint32_t high = load_acquire(&h->slots_high);
    bool any = false;

    for (uint32_t i = 0; i < high; i++) {
        struct plait__slot *slot = plait__slot_at(h, i);
        struct plait__stock *s = plait__stock_of(h, slot);
        uint32_t word = s ? load_acquire(&s->word) : IDLE;

        if (is_orphan(slot, word) || ((word & WHO) == TAPPED && lock_was_dead)) {
            settle(h, s);
            any = true;
        }
    }
    return any;
}

int plait__stocks_settle(struct plait__arena_header *h)
{
    return settle_all(h, false) ? plait__arena_remake(h) : 0;
}

void plait__stocks_repair(struct plait__arena_header *h)
{
    settle_all(h, true);
}
