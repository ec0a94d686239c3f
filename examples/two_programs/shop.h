/* SPDX-License-Identifier: MIT */
/* What producer.c and consumer.c agree on: the arena's name, the queues' names, what is in them. */
#include <errno.h>
#include <plait.h>
#include <stdio.h>
#include <stdlib.h>

#define SHOP "plait-example-shop"

struct order {
    int number;
    long price;
};

struct receipt {
    int orders;
    long sum;
};

static void must(int err, const char *what)
{
    if (err != 0) {
        fprintf(stderr, "%s: %s\n", what, plait_strerror(err));
        exit(1);
    }
}

/* Open the queue of that name in the arena; the program that comes first makes it. */
static plait_queue_t *open_queue(plait_arena_t *arena, const char *name, size_t item_size)
{
    struct plait_queue_opts opts = { .item_size = item_size, .maxsize = 64, .arena = arena };
    plait_queue_t *queue;
    int err;

    while ((err = plait_queue_lookup(&queue, arena, name)) == ENOENT) {
        must(plait_queue_new(&queue, &opts), "plait_queue_new");
        err = plait_queue_publish(queue, name);
        if (err != EEXIST)
            break;
        plait_queue_destroy(queue); /* the other was faster */
    }
    must(err, name);
    return queue;
}
