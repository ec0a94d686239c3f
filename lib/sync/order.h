/* SPDX-License-Identifier: MIT */
/* Lock order: a graph of which object was acquired while which other was held. */
#ifndef PLAIT_SYNC_ORDER_H
#define PLAIT_SYNC_ORDER_H

#include <stdbool.h>
#include <stdint.h>

/* What an object is known by: private ones by their address, shared ones by arena and offset. */
struct plait__object_key {
    uint64_t arena; /* its number; 0: private */
    uint64_t at;    /* address, or offset */
};

enum { PLAIT__THREAD_NAME = 16, PLAIT__CYCLE_MAX = 8 };

struct plait__order_edge;

/* An object. It is known as long as somebody holds it, or an edge ends in it. */
struct plait__order_node {
    struct plait__object_key key;
    void *object;                   /* its address in this process, when last acquired */
    const char *noun;
    struct plait__holding *holds;      /* sync/debug.c: who holds it */
    struct plait__order_node *next; /* in its bucket */
    struct plait__order_edge *out;  /* acquired while this was held */
    struct plait__order_edge *in;
    uint32_t mark;                  /* of the last search that has come here */
    struct plait__order_edge *via;  /* how it came */
    struct plait__order_node *queued;
};

/* `to` was acquired, without regard to whether that had to wait, by who held `from`. As it was the first time. */
struct plait__order_step {
    const void *from, *to;             /* the objects */
    const char *from_noun, *to_noun;
    const void *from_place, *to_place; /* where they were acquired */
    uint32_t tid;
    char thread[PLAIT__THREAD_NAME];
};

struct plait__order_edge {
    struct plait__order_node *from, *to;
    struct plait__order_edge *next; /* in its bucket */
    struct plait__order_edge *next_out, *next_in;
    bool closes; /* it has closed a cycle, and been reported: searches leave it out */
    struct plait__order_step step;
};

/* A cycle of edges: the new one, then the others in the order in which they lead back. */
struct plait__order_cycle {
    unsigned count; /* of steps; those beyond PLAIT__CYCLE_MAX are left out */
    struct plait__order_step steps[PLAIT__CYCLE_MAX];
};

/* All are called with debug mode's guard held. */

/* The node of an object; NULL: it is not known; get makes it (NULL: no memory). */
struct plait__order_node *plait__order_find(struct plait__object_key key);
struct plait__order_node *plait__order_get(struct plait__object_key key, void *object, const char *noun);

/*
 * `to` is about to be acquired while `from` is held. True: that is new, and closes a cycle, *cycle_out. The places and the
 * thread are in *step, whose other fields are filled in.
 */
bool plait__order_add(struct plait__order_node *from, struct plait__order_node *to, struct plait__order_step *step,
                      struct plait__order_cycle *cycle_out);

/* Drop a node that nobody holds and no edge touches. */
void plait__order_drop_if_unused(struct plait__order_node *node);

/* Take the edges of a node out, and then it. */
void plait__order_forget(struct plait__order_node *node);

/* Forget all; `whole` is false where a change was cut short, in a child: then the memory is given up too. */
void plait__order_clear(bool whole);

#endif
