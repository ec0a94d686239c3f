/* SPDX-License-Identifier: MIT */
/* Queues of larger items, and of messages, bounded: `size` is bytes, of `width` producers and as many consumers. */
#include <plait.h>

#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <unistd.h>

#include "bench.h"
#include "flow.h"
#include "peers.h"

BENCH_INLINE void ours_put(void *sized, uint64_t number)
{
    struct bench_sized *s = sized;

    bench_item_number(number);
    plait_queue_put(s->queue, bench_item, PLAIT_FOREVER);
}

BENCH_INLINE uint64_t ours_get(void *sized)
{
    struct bench_sized *s = sized;

    plait_queue_get(s->queue, bench_item, PLAIT_FOREVER);
    return bench_number_of_item();
}

static void ours_member(unsigned index, void *flow) { bench_flow_member(index, flow, ours_put, ours_get); }

/* The same of a queue of messages, which could have any length. */
BENCH_INLINE void message_put(void *sized, uint64_t number)
{
    struct bench_sized *s = sized;

    bench_item_number(number);
    plait_queue_put_bytes(s->queue, bench_item, s->size, PLAIT_FOREVER);
}

BENCH_INLINE uint64_t message_get(void *sized)
{
    struct bench_sized *s = sized;
    size_t size;

    plait_queue_get_bytes(s->queue, bench_item, s->size, &size, PLAIT_FOREVER);
    return bench_number_of_item();
}

static void message_member(unsigned index, void *flow) { bench_flow_member(index, flow, message_put, message_get); }

static double through_ours(const struct bench_load *load, bool shared, bool messages)
{
    struct bench_sized sized = bench_sized_of(load);
    struct plait_queue_opts opts = { .item_size = messages ? 0 : sized.size, .maxsize = sized.capacity };
    plait_queue_t *queue;
    double seconds;

    if (shared && plait_arena_new(&opts.arena, &(struct plait_arena_opts){ .limit = 64 << 20 }) != 0)
        bench_die("plait_arena_new");
    if (plait_queue_new(&queue, &opts) != 0)
        bench_die("plait_queue_new");
    sized.queue = queue;
    seconds = bench_flow_run(load, &sized, messages ? message_member : ours_member, shared ? bench_processes : bench_threads);
    plait_queue_destroy(queue);
    plait_arena_free(opts.arena);
    return seconds;
}

static double ours(const struct bench_load *load) { return through_ours(load, false, false); }
static double ours_shared(const struct bench_load *load) { return through_ours(load, true, false); }
static double messages(const struct bench_load *load) { return through_ours(load, false, true); }
static double messages_shared(const struct bench_load *load) { return through_ours(load, true, true); }

BENCH_INLINE void mq_put(void *sized, uint64_t number)
{
    struct bench_sized *s = sized;

    bench_item_number(number);
    if (mq_send(*(mqd_t *)s->queue, (const char *)bench_item, s->size, 0) != 0)
        bench_die("mq_send");
}

BENCH_INLINE uint64_t mq_get(void *sized)
{
    struct bench_sized *s = sized;

    if (mq_receive(*(mqd_t *)s->queue, (char *)bench_item, s->size, NULL) < 0)
        bench_die("mq_receive");
    return bench_number_of_item();
}

static void mq_member(unsigned index, void *flow) { bench_flow_member(index, flow, mq_put, mq_get); }

/* Absent where the system does not allow messages of that size. */
static double through_mq(const struct bench_load *load)
{
    struct bench_sized sized = bench_sized_of(load);
    struct mq_attr attr = { .mq_maxmsg = 10, .mq_msgsize = (long)sized.size };
    char name[64];
    double seconds;
    mqd_t mq;

    snprintf(name, sizeof name, "/plait-bench-%d", (int)getpid());
    mq = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    if (mq == (mqd_t)-1)
        return -1;
    mq_unlink(name);
    sized.queue = &mq;
    seconds = bench_flow_run(load, &sized, mq_member, bench_processes);
    mq_close(mq);
    return seconds;
}

#define SIZED(name, bytes)                                                                                            \
    { name, BENCH_PER_SECOND, { .width = 1, .size = bytes },                                                          \
      { { "plait", ours }, { "gasyncqueue_unbounded", glib_sized }, { "moodycamel_blocking_unbounded", moodycamel_sized } }, 0 }

#define SHARED_SIZED(name, bytes)                                                                                     \
    { name, BENCH_PER_SECOND, { .width = 1, .size = bytes },                                                          \
      { { "plait", ours_shared }, { "boost_message_queue", boost_sized }, { "posix_mq", through_mq } }, 0 }

#define MESSAGES(name, bytes)                                                                                         \
    { name, BENCH_PER_SECOND, { .width = 1, .size = bytes }, { { "plait", messages }, { "gasyncqueue_unbounded", glib_sized } }, 0 }

#define SHARED_MESSAGES(name, bytes)                                                                                  \
    { name, BENCH_PER_SECOND, { .width = 1, .size = bytes },                                                          \
      { { "plait", messages_shared }, { "boost_message_queue", boost_sized }, { "posix_mq", through_mq } }, 0 }

const struct bench_metric bench_sizes[] = {
    SIZED("queue.size.64", 64),
    SIZED("queue.size.1024", 1024),
    SIZED("queue.size.65536", 65536),
    SHARED_SIZED("queue.size.shared.64", 64),
    SHARED_SIZED("queue.size.shared.1024", 1024),
    SHARED_SIZED("queue.size.shared.65536", 65536),
    MESSAGES("queue.message.1+1.64", 64),
    MESSAGES("queue.message.1+1.1024", 1024),
    SHARED_MESSAGES("queue.message.shared.1+1.16", 16),
    SHARED_MESSAGES("queue.message.shared.1+1.64", 64),
    SHARED_MESSAGES("queue.message.shared.1+1.1024", 1024),
    { 0 },
};
