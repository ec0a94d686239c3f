/* SPDX-License-Identifier: MIT */
/* GLib: GAsyncQueue of pointers. It knows no bound. */
#include <glib.h>

#include "bench.h"
#include "flow.h"
#include "peers.h"

BENCH_INLINE void put(void *queue, uint64_t item) { g_async_queue_push(queue, GSIZE_TO_POINTER(item)); }
BENCH_INLINE uint64_t get(void *queue) { return GPOINTER_TO_SIZE(g_async_queue_pop(queue)); }
static void member(unsigned index, void *flow) { bench_flow_member(index, flow, put, get); }

double glib_queue(const struct bench_load *load)
{
    GAsyncQueue *queue = g_async_queue_new();
    double seconds = bench_flow_run(load, queue, member, bench_threads);

    g_async_queue_unref(queue);
    return seconds;
}
