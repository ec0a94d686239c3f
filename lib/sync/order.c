/* SPDX-License-Identifier: MIT */
/*
 * How it works: nodes are objects, and an edge from A to B says that B was acquired while A was held. If the edges have a
 * cycle, the threads that made them can deadlock, each holding what the next one acquires. An acquire asks for an edge from
 * each object that its caller holds. Nearly always the edge is known, which takes one look into a table; if it is new, a
 * search, breadth first so that it finds the shortest way, looks for a path from B to A.
 *
 * An edge that closes a cycle is kept as well, and marked: so it is reported once, and searches leave it out, so that one
 * mistake is not reported again as part of longer ways round.
 */
#include "sync/order.h"

#include <string.h>
#include <sys/prctl.h>

#include "base/slab.h"

enum { NODE_BUCKETS = 4096, EDGE_BUCKETS = 8192 };

/* All guarded by debug mode's guard. */
static struct plait__order_node *nodes[NODE_BUCKETS];
static struct plait__order_edge *edges[EDGE_BUCKETS];
static struct plait__slab node_slab = PLAIT__SLAB(struct plait__order_node);
static struct plait__slab edge_slab = PLAIT__SLAB(struct plait__order_edge);
static uint32_t searches;

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t v = (a ^ b * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;

    return v >> 32;
}

static struct plait__order_node **bucket_of(struct plait__object_key key)
{
    return &nodes[mix(key.arena, key.at) % NODE_BUCKETS];
}

static struct plait__order_edge **bucket_between(const struct plait__order_node *from,
                                                 const struct plait__order_node *to)
{
    return &edges[mix((uintptr_t)from, (uintptr_t)to) % EDGE_BUCKETS];
}

struct plait__order_node *plait__order_find(struct plait__object_key key)
{
    for (struct plait__order_node *n = *bucket_of(key); n; n = n->next)
        if (n->key.at == key.at && n->key.arena == key.arena)
            return n;
    return NULL;
}

struct plait__order_node *plait__order_get(struct plait__object_key key, void *object, const char *noun)
{
    struct plait__order_node *node = plait__order_find(key);

    if (!node) {
        node = plait__slab_take(&node_slab);
        if (!node)
            return NULL;
        node->key = key;
        node->next = *bucket_of(key);
        *bucket_of(key) = node;
    }
    node->object = object;
    node->noun = noun;
    return node;
}

static struct plait__order_edge *find_edge(struct plait__order_node *from, struct plait__order_node *to)
{
    for (struct plait__order_edge *e = *bucket_between(from, to); e; e = e->next)
        if (e->from == from && e->to == to)
            return e;
    return NULL;
}

/* Is there a way from `start` to `goal`? Then each node on it says by `via` how it was come to. */
static bool search(struct plait__order_node *start, struct plait__order_node *goal)
{
    struct plait__order_node *last = start;

    start->mark = ++searches;
    start->via = NULL;
    start->queued = NULL;
    for (struct plait__order_node *n = start; n; n = n->queued)
        for (struct plait__order_edge *e = n->out; e; e = e->next_out) {
            if (e->closes || e->to->mark == searches)
                continue;
            e->to->mark = searches;
            e->to->via = e;
            e->to->queued = NULL;
            if (e->to == goal)
                return true;
            last->queued = e->to;
            last = e->to;
        }
    return false;
}

/* The way that was found, from its end: the steps are put into their order on the way back. */
static void tell(struct plait__order_node *goal, const struct plait__order_step *first, struct plait__order_cycle *cycle)
{
    unsigned at = 1;

    cycle->count = 1;
    for (struct plait__order_edge *e = goal->via; e; e = e->from->via)
        cycle->count++;
    cycle->steps[0] = *first;
    at = cycle->count;
    for (struct plait__order_edge *e = goal->via; e; e = e->from->via)
        if (--at < PLAIT__CYCLE_MAX)
            cycle->steps[at] = e->step;
}

bool plait__order_add(struct plait__order_node *from, struct plait__order_node *to, struct plait__order_step *step,
                      struct plait__order_cycle *cycle_out)
{
    struct plait__order_edge *e;

    if (from == to || find_edge(from, to))
        return false;
    e = plait__slab_take(&edge_slab);
    if (!e)
        return false;
    step->from = from->object;
    step->to = to->object;
    step->from_noun = from->noun;
    step->to_noun = to->noun;
    prctl(PR_GET_NAME, step->thread);
    e->from = from;
    e->to = to;
    e->step = *step;
    e->closes = search(to, from);
    if (e->closes)
        tell(from, step, cycle_out);
    e->next = *bucket_between(from, to);
    *bucket_between(from, to) = e;
    e->next_out = from->out;
    from->out = e;
    e->next_in = to->in;
    to->in = e;
    return e->closes;
}

static void drop_edge(struct plait__order_edge *e)
{
    struct plait__order_edge **link;

    for (link = bucket_between(e->from, e->to); *link != e; link = &(*link)->next)
        ;
    *link = e->next;
    for (link = &e->from->out; *link != e; link = &(*link)->next_out)
        ;
    *link = e->next_out;
    for (link = &e->to->in; *link != e; link = &(*link)->next_in)
        ;
    *link = e->next_in;
    plait__slab_give(&edge_slab, e);
}

void plait__order_drop_if_unused(struct plait__order_node *node)
{
    struct plait__order_node **link = bucket_of(node->key);

    if (node->holds || node->out || node->in)
        return;
    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    plait__slab_give(&node_slab, node);
}

/* Take its edges out; a neighbour that was known because of them alone goes too. */
void plait__order_forget(struct plait__order_node *node)
{
    while (node->out) {
        struct plait__order_node *to = node->out->to;

        drop_edge(node->out);
        plait__order_drop_if_unused(to);
    }
    while (node->in) {
        struct plait__order_node *from = node->in->from;

        drop_edge(node->in);
        plait__order_drop_if_unused(from);
    }
    plait__order_drop_if_unused(node);
}

void plait__order_clear(bool whole)
{
    if (!whole) {
        memset(nodes, 0, sizeof nodes);
        memset(edges, 0, sizeof edges);
        node_slab = (struct plait__slab)PLAIT__SLAB(struct plait__order_node);
        edge_slab = (struct plait__slab)PLAIT__SLAB(struct plait__order_edge);
        return;
    }
    for (unsigned i = 0; i < EDGE_BUCKETS; i++)
        while (edges[i])
            drop_edge(edges[i]);
    for (unsigned i = 0; i < NODE_BUCKETS; i++)
        while (nodes[i]) {
            struct plait__order_node *node = nodes[i];

            nodes[i] = node->next;
            plait__slab_give(&node_slab, node);
        }
}
