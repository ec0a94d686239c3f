/* SPDX-License-Identifier: MIT */
/* Broadcasts: one publisher, `width` subscribers; `size` is the item's bytes. The time of an item until all have it. */
#include <plait.h>

#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "peers.h"
#include "spread.h"

enum { MEBIBYTE = 1 << 20, BATCH = 64 };

/* ---- Ours ---- */

static void ours_put(void *way, const char *item, unsigned size)
{
    if (plait_broadcast_put(way, item, PLAIT_FOREVER))
        bench_die("plait_broadcast_put");
}

static void *ours_enter(void *way, unsigned index)
{
    plait_subscriber_t *s;

    if (plait_broadcast_subscribe(way, PLAIT_FROM_NEWEST, &s))
        bench_die("plait_broadcast_subscribe");
    return s;
}

static void ours_get(void *self, char *item, unsigned size)
{
    if (plait_subscriber_get(self, item, PLAIT_FOREVER))
        bench_die("plait_subscriber_get");
}

static void ours_leave(void *self) { plait_subscriber_free(self); }

static void ours_member(unsigned index, void *spread)
{
    bench_spread_member(index, spread, ours_put, ours_enter, ours_get, ours_leave);
}

/* As many at once as there are, as a reader of a pipe does. */
struct batch {
    plait_subscriber_t *subscriber;
    size_t next, count;
    char items[BATCH * BENCH_SPREAD_SIZE_MAX];
};

static void *batch_enter(void *way, unsigned index)
{
    struct batch *b = calloc(1, sizeof *b);

    if (!b)
        bench_die("calloc");
    b->subscriber = ours_enter(way, index);
    return b;
}

static void batch_get(void *self, char *item, unsigned size)
{
    struct batch *b = self;

    if (b->next == b->count) {
        b->next = 0;
        if (plait_subscriber_get_many(b->subscriber, b->items, 1, BATCH, &b->count, PLAIT_FOREVER))
            bench_die("plait_subscriber_get_many");
    }
    memcpy(item, b->items + b->next++ * size, size);
}

static void batch_leave(void *self)
{
    struct batch *b = self;

    plait_subscriber_free(b->subscriber);
    free(b);
}

static void batch_member(unsigned index, void *spread)
{
    bench_spread_member(index, spread, ours_put, batch_enter, batch_get, batch_leave);
}

static double ours(const struct bench_load *load, bench_member *member, bool shared)
{
    plait_arena_t *arena = NULL;
    plait_broadcast_t *b;
    double seconds;

    if ((shared && plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 4 * MEBIBYTE })) ||
        plait_broadcast_new(&b, &(struct plait_broadcast_opts){
                                    .item_size = load->size, .maxsize = BENCH_SPREAD_ROOM, .arena = arena }))
        bench_die("plait_broadcast_new");
    seconds = bench_spread_run(load, b, member, shared ? bench_processes : bench_threads);
    plait_broadcast_free(b);
    plait_arena_free(arena);
    return seconds;
}

static double ours_threads(const struct bench_load *load) { return ours(load, ours_member, false); }
static double ours_processes(const struct bench_load *load) { return ours(load, ours_member, true); }
static double batch_threads(const struct bench_load *load) { return ours(load, batch_member, false); }
static double batch_processes(const struct bench_load *load) { return ours(load, batch_member, true); }

/* ---- A pipe for each, of the size that pipes have, of which a reader takes as much as there is ---- */

struct pipes {
    unsigned width;
    int ends[BENCH_SPREAD_WIDTH_MAX][2];
};

struct reader {
    int fd;
    size_t next, count;
    char bytes[4096];
};

static void pipe_put(void *way, const char *item, unsigned size)
{
    struct pipes *p = way;

    for (unsigned i = 0; i < p->width; i++)
        if (write(p->ends[i][1], item, size) != (ssize_t)size)
            bench_die("write");
}

static void *pipe_enter(void *way, unsigned index)
{
    struct reader *r = malloc(sizeof *r);

    if (!r)
        bench_die("malloc");
    *r = (struct reader){ .fd = ((struct pipes *)way)->ends[index][0] };
    return r;
}

/* All sizes divide the buffer, and writes of few bytes are whole. */
static void pipe_get(void *self, char *item, unsigned size)
{
    struct reader *r = self;

    if (r->next == r->count) {
        ssize_t n = read(r->fd, r->bytes, sizeof r->bytes);

        if (n <= 0)
            bench_die("read");
        r->count = (size_t)n;
        r->next = 0;
    }
    memcpy(item, r->bytes + r->next, size);
    r->next += size;
}

static void pipe_member(unsigned index, void *spread)
{
    bench_spread_member(index, spread, pipe_put, pipe_enter, pipe_get, free);
}

static double pipes(const struct bench_load *load, bool processes)
{
    struct pipes p = { .width = load->width };
    double seconds;

    for (unsigned i = 0; i < p.width; i++)
        if (pipe(p.ends[i]))
            bench_die("pipe");
    seconds = bench_spread_run(load, &p, pipe_member, processes ? bench_processes : bench_threads);
    for (unsigned i = 0; i < p.width; i++) {
        close(p.ends[i][0]);
        close(p.ends[i][1]);
    }
    return seconds;
}

static double pipe_threads(const struct bench_load *load) { return pipes(load, false); }
static double pipe_processes(const struct bench_load *load) { return pipes(load, true); }

/* ---- The table ---- */

#define THREADS(subscribers, bytes)                                                                                \
    { "broadcast.threads." #subscribers "." #bytes, BENCH_NS, { .width = subscribers, .size = bytes },             \
      { { "plait", ours_threads }, { "glib GAsyncQueue for each", glib_spread }, { "pipe(2) for each", pipe_threads }, \
        { "plait, get_many", batch_threads } }, 0 }
#define PROCESSES(subscribers, bytes)                                                                              \
    { "broadcast.processes." #subscribers "." #bytes, BENCH_NS, { .width = subscribers, .size = bytes },           \
      { { "plait", ours_processes }, { "boost message_queue for each", boost_spread },                             \
        { "pipe(2) for each", pipe_processes }, { "plait, get_many", batch_processes } }, 0 }

const struct bench_metric bench_broadcasts[] = {
    THREADS(1, 8),
    THREADS(2, 8),
    THREADS(4, 8),
    THREADS(1, 64),
    THREADS(2, 64),
    THREADS(4, 64),
    PROCESSES(1, 8),
    PROCESSES(2, 8),
    PROCESSES(4, 8),
    PROCESSES(1, 64),
    PROCESSES(2, 64),
    PROCESSES(4, 64),
    { 0 },
};
