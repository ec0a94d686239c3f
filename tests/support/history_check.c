/* SPDX-License-Identifier: MIT */
/*
 * How a history is checked
 *
 * It is right if each operation can be given an instant within its time so that one queue, used by one at a time in that order,
 * would have answered the same (Herlihy and Wing 1990, linearizability). To try all orders takes for ever; but as no value is put
 * twice, it is known which get took which put's value, and a few patterns tell. Checked here in n log n time. The theory goes back to
 * Henzinger, Sezgin and Vafeiadis 2013 (queues), Bouajjani, Emmi, Enea and Hamza 2015 and 2017 (stacks, priorities), and Lee and
 * Mathur 2024 (values that may be taken out one by one); the arguments below are those that this code rests on.
 *
 * Ranks. All beginnings and ends are numbered in order of time, beginnings first where times are equal: what touches,
 * overlaps. Between rank x and x + 1 lies gap x. A value lives by four ranks: its put lasts from ps to pe, its get from gs to ge. A value that
 * nobody got is given a get after everything else, at the same time as all others of its sort, so that no order of them
 * is demanded. A put takes effect before its get: so pe may be lowered to ge, and gs raised to ps; ge below ps is a get too early.
 *
 * Sure. In the gaps pe to gs - 1 the value is in the queue, whatever the instants are.
 *
 * Two facts hold for all kinds of queue here, since a right history stays right when both operations of a value are left out
 * (the others keep their order, whether they are held against first, last or least).
 *
 * Split. Let no value be sure in gap x. Those whose get begins before x go to the left; of the others the put ends after x, and they
 * go to the right. Left and right alone are right if the whole is. And if they are, then so is the whole, all of the left
 * before all of the right: something on the right that had to come before something on the left would end before that begins; but all
 * on the left begins before x, and all on the right ends after x. In between the queue is empty.
 *
 * Empty. So a get that found the queue empty is right if and only if it lasts through a gap where nothing is sure, whatever other
 * such gets there are: split at each. After that they need not be thought of.
 *
 * FIFO. Wrong if and only if for some a and b the put of a ends before that of b begins, but the get of b ends before that of a
 * begins. For an order of the values is sought that agrees with both "put before" and "get before"; then each may take its
 * instant as soon as it has begun and those before it are through, and a put's is not later than its get's. There is one unless both
 * together have a circle. Take the shortest: it goes put, get, put, get, as each by itself is transitive. If a before b and c before d by
 * their puts, then a's put ends before d's begins, or c's before b's, since the earlier end of the two is before both beginnings. The first makes
 * the circle a ... b, c, d shorter; the second, with "b before c by gets", is a circle of two, which is the pattern.
 *
 * LIFO. A value that is nowhere sure can be put and got at one instant within both, above whatever there is: left out. Split the rest
 * at all gaps where nothing is sure. In a part between two of these the stack is never empty: the value put first is got last. It must
 * be one with ps before all ends, and ge after all beginnings, of the part. Any such will do: if the part is right, then it is
 * without it, and then it is with it at the bottom. If there is none, the history is wrong. Taking it out uncovers gaps, and so on.
 * Parts lie side by side in time, so one count of who is sure in each gap serves all; and as parts only get smaller,
 * a value whose ps is before its part stays so: each is asked for that once.
 *
 * Priority. Values that come after all others (the largest number) do not matter to those: their gets are gets that
 * find a queue of the others empty. So: from the least priority to the largest, each get must last through gaps in which no value of a lesser
 * one is sure; and if the get of each is narrowed to the first and last such gap, those of one priority must be FIFO: their gets can
 * take their instants at beginnings only, which are such gaps.
 *
 * Deque. Not complete. Values that went in at one end and came out at the same are a stack, those that went through a FIFO queue,
 * and each of these four must be right by itself, and gets that found it empty in view of all. Wrong orders among them are not seen.
 *
 * Batches. Operations that are known to be in order though they overlap: such orders are looked at where they are against another known one
 * (put before put against get before get). That is not complete: longer circles are not looked for.
 *
 * Bounds. More than maxsize values sure in one gap are too many. A put that found it full must last through a gap in which maxsize may
 * have been there, each by itself. Not complete either.
 *
 * The killed. A put without an answer whose value nobody got may be left out. With a get without an answer it is not known
 * whether it took something and what: values that nobody got are left out when there are such gets, and when the history ends
 * with an empty queue there must be as many such gets as values, of which each, in an order, was not over when its
 * value's put began. So much less is seen of values in the hands of the dead. What is left out may still have taken a place.
 */
#include "support/history_check.h"

#include <stdlib.h>
#include <string.h>

/* ---- Lives of values ---------------------------------------------------------------------- */

bool history_accuse(struct check *c, enum history_fault fault, uint64_t value)
{
    c->verdict = (struct history_verdict){ fault, value };
    return false;
}

static bool is_put(const struct history_op *op)
{
    return op->kind == HISTORY_PUT || op->kind == HISTORY_PUT_FRONT;
}

static int by_value(const void *a, const void *b)
{
    return compare(((const struct life *)a)->put->value, ((const struct life *)b)->put->value);
}

/* The number of its batch among all, or 0; ops of one lie side by side. */
static uint32_t batch_of(const struct history_op *op, const struct history_op *first, uint32_t *last)
{
    if (!op->batch)
        return 0;
    if (op == first || op[-1].batch != op->batch)
        ++*last;
    return *last;
}

static void collect_puts(const struct history *h, struct check *c)
{
    uint32_t last = 0;

    for (unsigned p = 0; p < h->participants; p++)
        for (size_t i = 0; i < h->counts[p]; i++) {
            const struct history_op *op = history_ops_of(h, p) + i;
            uint32_t batch = batch_of(op, history_ops_of(h, p), &last);

            if (op->result == HISTORY_REFUSED)
                c->refusals[c->refusal_count++].op = op;
            else if (op->result != HISTORY_NOTHING && is_put(op))
                c->lives[c->life_count++] = (struct life){ .put = op, .put_batch = batch };
            else if (op->result == HISTORY_PENDING)
                c->pending[c->pending_count++] = op;
        }
    qsort(c->lives, c->life_count, sizeof *c->lives, by_value);
}

static bool collect_gets(const struct history *h, struct check *c)
{
    uint32_t last = 0;

    for (size_t i = 1; i < c->life_count; i++)
        if (c->lives[i].put->value == c->lives[i - 1].put->value)
            return history_accuse(c, HISTORY_DUPLICATED, c->lives[i].put->value);
    for (unsigned p = 0; p < h->participants; p++)
        for (size_t i = 0; i < h->counts[p]; i++) {
            const struct history_op *op = history_ops_of(h, p) + i;
            uint32_t batch = batch_of(op, history_ops_of(h, p), &last);
            struct life key = { .put = op }, *life;

            if (is_put(op) || op->result != HISTORY_DONE)
                continue;
            life = bsearch(&key, c->lives, c->life_count, sizeof key, by_value);
            if (!life)
                return history_accuse(c, HISTORY_INVENTED, op->value);
            if (life->get)
                return history_accuse(c, HISTORY_DUPLICATED, op->value);
            life->get = op;
            life->get_batch = batch;
        }
    return true;
}

/* ---- What the killed have, and what is lost ----------------------------------------------- */

static int by_end_down(const void *a, const void *b)
{
    return compare((*(const struct history_op *const *)b)->end, (*(const struct history_op *const *)a)->end);
}

static int by_put_down(const void *a, const void *b)
{
    return compare((*(struct life *const *)b)->put->start, (*(struct life *const *)a)->put->start);
}

/* The get that found it empty and began last. */
static const struct history_op *last_empty(const struct check *c)
{
    const struct history_op *last = NULL;

    for (size_t i = 0; i < c->refusal_count; i++) {
        const struct history_op *op = c->refusals[i].op;

        if (!is_put(op) && (!last || op->start > last->start))
            last = op;
    }
    return last;
}

static bool find_lost(struct check *c)
{
    const struct history_op *empty = last_empty(c);
    size_t gone = 0, takers = 0;

    for (size_t i = 0; i < c->life_count; i++) {
        struct life *life = &c->lives[i];

        if (life->get)
            continue;
        life->left_out = life->put->result == HISTORY_PENDING || c->pending_count;
        if (empty && life->put->result == HISTORY_DONE && life->put->end < empty->start)
            c->set[gone++] = life;
    }
    for (size_t i = 0; gone && i < c->pending_count; i++)
        if (c->pending[i]->start <= empty->end)
            c->pending[takers++] = c->pending[i];
    qsort(c->set, gone, sizeof(struct life *), by_put_down);
    qsort(c->pending, takers, sizeof(struct history_op *), by_end_down);
    for (size_t i = 0; i < gone; i++)
        if (i >= takers || c->pending[i]->end < c->set[i]->put->start)
            return history_accuse(c, HISTORY_LOST, c->set[i]->put->value);
    return true;
}

/* ---- Ranks -------------------------------------------------------------------------------- */

struct moment {
    uint64_t time;
    uint32_t *rank;
    bool is_end;
};

static int by_time(const void *a, const void *b)
{
    const struct moment *l = a, *r = b;
    int order = compare(l->time, r->time);

    return order ? order : l->is_end - r->is_end;
}

static struct moment *note(struct moment *at, uint64_t start, uint64_t end, uint32_t *start_rank, uint32_t *end_rank)
{
    *at++ = (struct moment){ start, start_rank, false };
    *at++ = (struct moment){ end, end_rank, true };
    return at;
}

static bool rank(struct check *c)
{
    struct moment *moments = calloc(4 * c->life_count + 2 * c->refusal_count + 1, sizeof *moments), *at = moments;

    if (!moments)
        return history_accuse(c, HISTORY_NO_MEMORY, 0);
    for (size_t i = 0; i < c->life_count; i++) {
        struct life *life = &c->lives[i];

        at = note(at, life->put->start, life->put->end, &life->ps, &life->pe);
        at = note(at, life->get ? life->get->start : HISTORY_EVER - 1, life->get ? life->get->end : HISTORY_EVER, &life->gs,
                  &life->ge);
    }
    for (size_t i = 0; i < c->refusal_count; i++)
        at = note(at, c->refusals[i].op->start, c->refusals[i].op->end, &c->refusals[i].start, &c->refusals[i].end);
    c->rank_count = (size_t)(at - moments);
    qsort(moments, c->rank_count, sizeof *moments, by_time);
    for (size_t i = 0; i < c->rank_count; i++)
        *moments[i].rank = (uint32_t)i;
    free(moments);
    for (size_t i = 0; i < c->life_count; i++) {
        struct life *life = &c->lives[i];

        if (life->ge < life->ps)
            return history_accuse(c, HISTORY_EARLY, life->put->value);
        if (life->pe > life->ge)
            life->pe = life->ge;
        if (life->gs < life->ps)
            life->gs = life->ps;
        life->first = life->gs;
        life->last = life->ge;
    }
    return true;
}

/* ---- Empty and full ----------------------------------------------------------------------- */

static bool count_gaps(struct check *c)
{
    c->sure = calloc(c->rank_count + 1, sizeof *c->sure);
    c->possible = calloc(c->rank_count + 1, sizeof *c->possible);
    if (!c->sure || !c->possible)
        return history_accuse(c, HISTORY_NO_MEMORY, 0);
    for (size_t i = 0; i < c->life_count; i++) {
        const struct life *life = &c->lives[i];

        if (is_sure(life)) {
            c->sure[life->pe]++;
            c->sure[life->gs]--;
        }
        c->possible[life->ps]++;
        if (!life->left_out)
            c->possible[life->ge]--;
    }
    for (size_t x = 1; x < c->rank_count; x++) {
        c->sure[x] += c->sure[x - 1];
        c->possible[x] += c->possible[x - 1];
    }
    return true;
}

/* Gaps before each in which it may have been so. */
static bool refusals_are_right(struct check *c, bool full)
{
    uint32_t *before = calloc(c->rank_count + 1, sizeof *before);
    bool right = true;

    if (!before)
        return history_accuse(c, HISTORY_NO_MEMORY, 0);
    for (size_t x = 0; x < c->rank_count; x++)
        before[x + 1] = before[x] + (full ? c->possible[x] >= c->maxsize : c->sure[x] == 0);
    for (size_t i = 0; right && i < c->refusal_count; i++) {
        const struct refusal *r = &c->refusals[i];

        if (is_put(r->op) == full && before[r->start] == before[r->end])
            right = history_accuse(c, full ? HISTORY_FALSE_FULL : HISTORY_FALSE_EMPTY, r->op->value);
    }
    free(before);
    return right;
}

static bool bounds_are_kept(struct check *c)
{
    for (size_t x = 0; c->maxsize && x < c->rank_count; x++)
        if (c->sure[x] > c->maxsize)
            return history_accuse(c, HISTORY_OVERFULL, x);
    return refusals_are_right(c, true);
}

/* ---- The whole ---------------------------------------------------------------------------- */

/* Those that went in at one end and came out at one; what nobody got can come out at either. */
static size_t choose(struct check *c, enum history_kind put, enum history_kind get)
{
    size_t n = 0;

    for (size_t i = 0; i < c->life_count; i++) {
        struct life *life = &c->lives[i];

        if (!life->left_out && life->put->kind == put && (!life->get || life->get->kind == get))
            c->set[n++] = life;
    }
    return n;
}

static bool is_in_order(struct check *c, enum history_model model)
{
    switch (model) {
    case HISTORY_FIFO:
        return history_is_fifo(c, choose(c, HISTORY_PUT, HISTORY_GET));
    case HISTORY_LIFO:
        return history_is_lifo(c, choose(c, HISTORY_PUT, HISTORY_GET));
    case HISTORY_PRIORITY:
        return history_is_by_priority(c, choose(c, HISTORY_PUT, HISTORY_GET));
    default:
        return history_is_fifo(c, choose(c, HISTORY_PUT, HISTORY_GET)) && history_is_fifo(c, choose(c, HISTORY_PUT_FRONT, HISTORY_GET_BACK)) &&
               history_is_lifo(c, choose(c, HISTORY_PUT, HISTORY_GET_BACK)) && history_is_lifo(c, choose(c, HISTORY_PUT_FRONT, HISTORY_GET));
    }
}

struct history_verdict history_check(const struct history *h, enum history_model model, size_t maxsize)
{
    size_t count = history_count(h) + 1;
    struct check c = { .maxsize = maxsize };

    c.lives = calloc(count, sizeof *c.lives);
    c.refusals = calloc(count, sizeof *c.refusals);
    c.pending = calloc(count, sizeof *c.pending);
    c.set = calloc(count, sizeof *c.set);
    if (!c.lives || !c.refusals || !c.pending || !c.set) {
        history_accuse(&c, HISTORY_NO_MEMORY, 0);
    } else {
        collect_puts(h, &c);
        if (collect_gets(h, &c) && find_lost(&c) && rank(&c) && count_gaps(&c) && refusals_are_right(&c, false) && bounds_are_kept(&c))
            is_in_order(&c, model);
    }
    free(c.lives);
    free(c.refusals);
    free(c.pending);
    free(c.set);
    free(c.sure);
    free(c.possible);
    return c.verdict;
}

const char *history_fault_text(enum history_fault fault)
{
    static const char *const texts[] = { "right",        "no memory to check it", "got, and never put",          "got or put twice",
                                         "got too early", "lost",                  "empty, though it cannot have been",
                                         "full, though it cannot have been", "more than maxsize", "out of order" };

    return texts[fault];
}
