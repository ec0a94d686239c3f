/* SPDX-License-Identifier: MIT */
/* Local: a variable of which each thread has a value of its own. */
#ifndef PLAIT_LOCAL_H
#define PLAIT_LOCAL_H

#include <stdint.h>

#include <plait/export.h>

PLAIT_BEGIN_DECLS

/*
 * plait_local_t - a pointer for each thread, NULL until the thread has set it, and a function that destroys what it points to
 * when the thread ends.
 *
 *     static plait_local_t connection = PLAIT_LOCAL_INIT(close_connection);
 *
 *     struct connection *mine = plait_local_get(&connection);
 *     if (!mine) {
 *         mine = open_connection();
 *         plait_local_set(&connection, mine);
 *     }
 *
 * Any thread may use it, whoever made the thread. There may be as many as there is memory for; each costs a thread that sets it, or
 * one made after it, 24 bytes. Private: in a child of fork the forking thread keeps its values, and those of others are not
 * destroyed.
 *
 * When a thread ends in any way but with its process, each of its values that is not NULL is destroyed by the thread itself, in no
 * particular order; at that time the thread's value is NULL. What a destroy function sets is destroyed too, but not for ever: after
 * four rounds the rest is left. The main thread's values are not destroyed by exit().
 */
typedef struct plait_local {
    uint32_t number; /* internal, as all of it */
    uint32_t spare;
    uint64_t serial;
    void (*destroy)(void *value);
} plait_local_t;

/* Of static or other memory, instead of a call. destroy_value: the function, or NULL. */
#define PLAIT_LOCAL_INIT(destroy_value) { 0, 0, 0, destroy_value }

/* Make one. destroy: NULL: nothing is done. Always 0. */
PLAIT_API int plait_local_init(plait_local_t *local, void (*destroy)(void *value));

/* End it: no thread may use it any more. Values that threads still have are not destroyed, then or later. Always 0. */
PLAIT_API int plait_local_fini(plait_local_t *local);

/* The calling thread's value; NULL: it has set none. */
PLAIT_API void *plait_local_get(const plait_local_t *local);

/* Set it; what it was before is not destroyed. ENOMEM, and as before: there is no memory. */
PLAIT_API int plait_local_set(plait_local_t *local, void *value);

PLAIT_END_DECLS

#endif
