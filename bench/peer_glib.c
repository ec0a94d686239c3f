/* SPDX-License-Identifier: MIT */
/* GLib: GAsyncQueue of pointers, which knows no bound; GThreadPool, exclusive. */
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

static void nothing(gpointer data, gpointer unused) { (void)data; }

double glib_tasks(const struct bench_load *load)
{
    GThreadPool *pool = g_thread_pool_new(nothing, NULL, (gint)load->width, TRUE, NULL);
    double start = bench_now();

    for (uint64_t i = 0; i < load->ops; i++)
        g_thread_pool_push(pool, GINT_TO_POINTER(1), NULL);
    g_thread_pool_free(pool, FALSE, TRUE); /* waits until all is done */
    return (bench_now() - start) / (double)load->ops;
}
