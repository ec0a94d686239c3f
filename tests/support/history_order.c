/* SPDX-License-Identifier: MIT */
/* The orders in which values come out. What is looked for, and why that is enough, stands in history_check.c. */
#include "support/history_check.h"

#include <stdlib.h>
#include <string.h>

/* ---- First in first out ------------------------------------------------------------------- */

#define LIFE(pointer) (*(struct life *const *)(pointer))

static int by_ps(const void *a, const void *b) { return compare(LIFE(a)->ps, LIFE(b)->ps); }
static int by_pe(const void *a, const void *b) { return compare(LIFE(a)->pe, LIFE(b)->pe); }

/* Operations of a batch lie in their order. */
static int by_put_place(const void *a, const void *b)
{
    int order = compare(LIFE(a)->put_batch, LIFE(b)->put_batch);

    return order ? order : compare((uintptr_t)LIFE(a)->put, (uintptr_t)LIFE(b)->put);
}

static int by_get_place(const void *a, const void *b)
{
    int order = compare(LIFE(a)->get_batch, LIFE(b)->get_batch);

    return order ? order : compare((uintptr_t)LIFE(a)->get, (uintptr_t)LIFE(b)->get);
}

static int by_both_places(const void *a, const void *b)
{
    int order = compare(LIFE(a)->get_batch, LIFE(b)->get_batch);

    return order ? order : by_put_place(a, b);
}

static bool in_one_put(const struct life *a, const struct life *b)
{
    return a->put_batch && a->put_batch == b->put_batch;
}

static bool in_one_get(const struct life *a, const struct life *b)
{
    return a->get_batch && a->get_batch == b->get_batch;
}

/* set[0] to set[n - 1]: the pattern. */
static bool times_are_fifo(struct check *c, size_t n)
{
    struct life **ended = malloc((n + 1) * sizeof *ended);
    uint32_t latest = 0;
    bool right = true;

    if (!ended)
        return history_accuse(c, HISTORY_NO_MEMORY, 0);
    memcpy(ended, c->set, n * sizeof *ended);
    qsort(c->set, n, sizeof *ended, by_ps);
    qsort(ended, n, sizeof *ended, by_pe);
    for (size_t i = 0, j = 0; right && i < n; i++) {
        for (; j < n && ended[j]->pe < c->set[i]->ps; j++)
            if (ended[j]->first > latest)
                latest = ended[j]->first;
        if (latest > c->set[i]->last)
            right = history_accuse(c, HISTORY_DISORDER, c->set[i]->put->value);
    }
    free(ended);
    return right;
}

static bool batches_are_fifo(struct check *c, size_t n)
{
    uint32_t latest = 0;

    qsort(c->set, n, sizeof(struct life *), by_put_place);
    for (size_t i = 1; i < n; i++) {
        const struct life *before = c->set[i - 1], *life = c->set[i];

        latest = i > 1 && in_one_put(c->set[i - 2], before) && latest > before->first ? latest : before->first;
        if (in_one_put(before, life) && latest > life->last)
            return history_accuse(c, HISTORY_DISORDER, life->put->value);
    }
    qsort(c->set, n, sizeof(struct life *), by_get_place);
    for (size_t i = 1; i < n; i++) {
        const struct life *before = c->set[i - 1], *life = c->set[i];

        latest = i > 1 && in_one_get(c->set[i - 2], before) && latest > before->ps ? latest : before->ps;
        if (in_one_get(before, life) && life->pe < latest)
            return history_accuse(c, HISTORY_DISORDER, life->put->value);
    }
    qsort(c->set, n, sizeof(struct life *), by_both_places);
    for (size_t i = 1; i < n; i++)
        if (in_one_put(c->set[i - 1], c->set[i]) && in_one_get(c->set[i - 1], c->set[i]) && c->set[i - 1]->get > c->set[i]->get)
            return history_accuse(c, HISTORY_DISORDER, c->set[i]->put->value);
    return true;
}

bool history_is_fifo(struct check *c, size_t n)
{
    return times_are_fifo(c, n) && batches_are_fifo(c, n);
}

/* ---- Counts of gaps, of which some change ------------------------------------------------- */

/* least[i]: of the gaps under node i, without what was added to all under a node above it. */
struct gaps {
    uint32_t size; /* a power of two */
    uint32_t *least, *added;
};

#define NO_GAP UINT32_MAX

static bool gaps_make(struct gaps *g, size_t count)
{
    for (g->size = 1; g->size < count + 1; g->size *= 2)
        ;
    g->least = calloc((size_t)2 * g->size, sizeof *g->least);
    g->added = calloc((size_t)2 * g->size, sizeof *g->added);
    return g->least && g->added;
}

static void gaps_free(struct gaps *g)
{
    free(g->least);
    free(g->added);
}

static uint32_t least_of(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* To the gaps from..to - 1; `by` may be -1, modulo 2^32. The node is that of the gaps at..at + width - 1. */
static void gaps_add(struct gaps *g, uint32_t node, uint32_t at, uint32_t width, uint32_t from, uint32_t to, uint32_t by)
{
    if (from >= at + width || to <= at)
        return;
    if (from <= at && at + width <= to) {
        g->least[node] += by;
        g->added[node] += by;
        return;
    }
    gaps_add(g, 2 * node, at, width / 2, from, to, by);
    gaps_add(g, 2 * node + 1, at + width / 2, width / 2, from, to, by);
    g->least[node] = least_of(g->least[2 * node], g->least[2 * node + 1]) + g->added[node];
}

/* The first gap from..to - 1 whose count is 0, or the last one. */
static uint32_t gaps_zero(const struct gaps *g, uint32_t node, uint32_t at, uint32_t width, uint32_t from, uint32_t to,
                          uint32_t above, bool last)
{
    uint32_t found;

    if (from >= at + width || to <= at || g->least[node] + above > 0)
        return NO_GAP;
    if (width == 1)
        return at;
    above += g->added[node];
    width /= 2;
    found = gaps_zero(g, 2 * node + last, last ? at + width : at, width, from, to, above, last);
    return found != NO_GAP ? found : gaps_zero(g, 2 * node + !last, last ? at : at + width, width, from, to, above, last);
}

static void add(struct gaps *g, const struct life *life, uint32_t by)
{
    gaps_add(g, 1, 0, g->size, life->pe, life->gs, by);
}

/* ---- By priority -------------------------------------------------------------------------- */

static int by_priority(const void *a, const void *b)
{
    int64_t l = LIFE(a)->put->priority, r = LIFE(b)->put->priority;

    return (l > r) - (l < r);
}

/* c->set[0] to [n - 1] have one priority, and all before them are in g. */
static bool rank_is_served(struct check *c, struct gaps *g, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct life *life = c->set[i];

        life->first = gaps_zero(g, 1, 0, g->size, life->gs, life->ge, 0, false);
        life->last = gaps_zero(g, 1, 0, g->size, life->gs, life->ge, 0, true);
        if (life->first == NO_GAP)
            return history_accuse(c, HISTORY_DISORDER, life->put->value);
    }
    if (!history_is_fifo(c, n))
        return false;
    for (size_t i = 0; i < n; i++)
        if (is_sure(c->set[i]))
            add(g, c->set[i], 1);
    return true;
}

bool history_is_by_priority(struct check *c, size_t n)
{
    struct life **all = c->set;
    struct gaps g;
    bool right = gaps_make(&g, c->rank_count) || history_accuse(c, HISTORY_NO_MEMORY, 0);

    qsort(all, n, sizeof *all, by_priority);
    for (size_t i = 0, same; right && i < n; i += same) {
        for (same = 1; i + same < n && by_priority(&all[i], &all[i + same]) == 0; same++)
            ;
        c->set = all + i;
        right = rank_is_served(c, &g, same);
    }
    c->set = all;
    gaps_free(&g);
    return right;
}

/* ---- Last in first out -------------------------------------------------------------------- */

/* For each rank a key, or none; the least key of a range of ranks. */
struct keys {
    uint32_t size;
    uint32_t *least;
};

#define NO_KEY UINT32_MAX

static bool keys_make(struct keys *k, size_t count)
{
    for (k->size = 1; k->size < count + 1; k->size *= 2)
        ;
    k->least = malloc((size_t)2 * k->size * sizeof *k->least);
    if (k->least)
        memset(k->least, 0xff, (size_t)2 * k->size * sizeof *k->least);
    return k->least;
}

static void keys_set(struct keys *k, uint32_t rank, uint32_t key)
{
    uint32_t node = k->size + rank;

    k->least[node] = key;
    while ((node /= 2))
        k->least[node] = least_of(k->least[2 * node], k->least[2 * node + 1]);
}

/* Of the ranks from..to, both included. */
static uint32_t keys_least(const struct keys *k, uint32_t from, uint32_t to)
{
    uint32_t least = NO_KEY, l = k->size + from, r = k->size + to + 1;

    for (; l < r; l /= 2, r /= 2) {
        if (l & 1)
            least = least_of(least, k->least[l++]);
        if (r & 1)
            least = least_of(least, k->least[--r]);
    }
    return least;
}

/* A part: its first rank is the first pe in it, its last rank the last gs. */
struct part {
    uint32_t first, last;
};

struct stack {
    struct gaps sure;
    struct keys waiting; /* by pe: ps, of those that do not begin before their part, as far as is known */
    struct keys early;   /* by pe: minus ge, of the others */
    struct keys there;   /* by pe: pe, of all that are not taken out */
    struct life **owner; /* by rank: whose ps, pe or ge it is */
    struct part *parts;
    size_t part_count;
};

static bool stack_make(struct stack *s, struct check *c, size_t n)
{
    bool made = gaps_make(&s->sure, c->rank_count);

    made = keys_make(&s->waiting, c->rank_count) && made;
    made = keys_make(&s->early, c->rank_count) && made;
    made = keys_make(&s->there, c->rank_count) && made;
    s->owner = calloc(c->rank_count + 1, sizeof *s->owner);
    s->parts = calloc(n + 1, sizeof *s->parts);
    if (!made || !s->owner || !s->parts)
        return history_accuse(c, HISTORY_NO_MEMORY, 0);
    for (size_t i = 0; i < n; i++) {
        struct life *life = c->set[i];

        if (!is_sure(life))
            continue;
        add(&s->sure, life, 1);
        keys_set(&s->waiting, life->pe, life->ps);
        keys_set(&s->there, life->pe, life->pe);
        s->owner[life->ps] = s->owner[life->pe] = s->owner[life->ge] = life;
    }
    return true;
}

static void stack_free(struct stack *s)
{
    gaps_free(&s->sure);
    free(s->waiting.least);
    free(s->early.least);
    free(s->there.least);
    free(s->owner);
    free(s->parts);
}

/* Cut the ranks from..to where nothing is sure. */
static void split(struct stack *s, uint32_t from, uint32_t to)
{
    while (from < to) {
        uint32_t first = keys_least(&s->there, from, to), last;

        if (first == NO_KEY)
            return;
        last = gaps_zero(&s->sure, 1, 0, s->sure.size, first, s->sure.size, 0, false);
        s->parts[s->part_count++] = (struct part){ first, last };
        from = last + 1;
    }
}

/* Of the part the value that may lie at the bottom; NULL: there is none. */
static struct life *bottom_of(struct stack *s, struct part part)
{
    uint32_t key;

    while ((key = keys_least(&s->waiting, part.first, part.last)) < part.first) {
        struct life *life = s->owner[key];

        keys_set(&s->waiting, life->pe, NO_KEY);
        keys_set(&s->early, life->pe, NO_KEY - 1 - life->ge);
    }
    key = keys_least(&s->early, part.first, part.last);
    if (key == NO_KEY || NO_KEY - 1 - key < part.last)
        return NULL;
    return s->owner[NO_KEY - 1 - key];
}

/*
 * What was put in a batch, and got when that was over, comes out the other way round: while the later one is there, the earlier one
 * lies below it.
 */
static bool batches_are_lifo(struct check *c, size_t n)
{
    uint32_t latest = 0;

    qsort(c->set, n, sizeof(struct life *), by_put_place);
    for (size_t i = n; i-- > 1;) {
        const struct life *life = c->set[i - 1], *after = c->set[i];

        latest = i + 1 < n && in_one_put(after, c->set[i + 1]) && latest > after->gs ? latest : after->gs;
        if (in_one_put(life, after) && is_sure(life) && life->ge < latest)
            return history_accuse(c, HISTORY_DISORDER, life->put->value);
    }
    qsort(c->set, n, sizeof(struct life *), by_both_places);
    for (size_t i = 1; i < n; i++) {
        const struct life *a = c->set[i - 1], *b = c->set[i];

        if (in_one_put(a, b) && in_one_get(a, b) && is_sure(a) && a->get < b->get)
            return history_accuse(c, HISTORY_DISORDER, a->put->value);
    }
    return true;
}

bool history_is_lifo(struct check *c, size_t n)
{
    struct stack s = { .part_count = 0 };
    bool right = stack_make(&s, c, n);

    if (right)
        split(&s, 0, (uint32_t)c->rank_count);
    while (right && s.part_count > 0) {
        struct part part = s.parts[--s.part_count];
        struct life *bottom = bottom_of(&s, part);

        if (!bottom) {
            right = history_accuse(c, HISTORY_DISORDER, s.owner[keys_least(&s.there, part.first, part.last)]->put->value);
            break;
        }
        keys_set(&s.early, bottom->pe, NO_KEY);
        keys_set(&s.there, bottom->pe, NO_KEY);
        add(&s.sure, bottom, UINT32_MAX);
        split(&s, part.first, part.last);
    }
    stack_free(&s);
    return right && batches_are_lifo(c, n);
}
