/* SPDX-License-Identifier: MIT */
#include "queue/named.h"

#include <errno.h>

int plait__named_lookup(void *handle_out, const struct plait__named *noun, plait_arena_t *arena, const char *name)
{
    void *address;
    int err = plait_arena_lookup(arena, name, &address);

    return err ? err : noun->open_at(handle_out, arena, address);
}

int plait__named_open(void *handle_out, const struct plait__named *noun, plait_ref_t ref)
{
    void *address;
    int err = plait_ref_open(ref, &address);

    return err ? err : noun->open_at(handle_out, plait_arena_of(address), address);
}

int plait__named_new(void *handle_out, const struct plait__named *noun, plait_arena_t *arena, const char *name,
                     const void *opts)
{
    for (;;) {
        void *body;
        int err = plait__named_lookup(handle_out, noun, arena, name);

        if (err != ENOENT)
            return err;
        err = noun->make(handle_out, opts, &body);
        if (err)
            return err;
        err = plait_arena_publish(arena, name, body);
        if (err == 0)
            return 0;
        noun->destroy(handle_out);
        if (err != EEXIST)
            return err;
    }
}
