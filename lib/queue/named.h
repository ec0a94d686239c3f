/* SPDX-License-Identifier: MIT */
/* Big objects in an arena that are found by reference or by name, or made if nobody else has. */
#ifndef PLAIT_QUEUE_NAMED_H
#define PLAIT_QUEUE_NAMED_H

#include <plait/arena.h>

/* What a noun does for it. `handle_out` is the address of the caller's handle, a plait_NOUN_t **. */
struct plait__named {
    /* Make a handle on what lies at an address of the arena. EBADMSG: no such object. ENOMEM. */
    int (*open_at)(void *handle_out, plait_arena_t *arena, void *address);
    /* Make an object by its options, and a handle; *body_out receives its place in the arena. */
    int (*make)(void *handle_out, const void *opts, void **body_out);
    /* Destroy what make has made. */
    void (*destroy)(void *handle_out);
};

/* Open what has that name, or make it and give it that name: whoever publishes first has made it. */
int plait__named_new(void *handle_out, const struct plait__named *noun, plait_arena_t *arena, const char *name,
                     const void *opts);

/* The noun's _lookup and _open. */
int plait__named_lookup(void *handle_out, const struct plait__named *noun, plait_arena_t *arena, const char *name);
int plait__named_open(void *handle_out, const struct plait__named *noun, plait_ref_t ref);

#endif
