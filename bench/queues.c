/* SPDX-License-Identifier: MIT */
/* Queues: 8-byte items from `width` producers to as many consumers; `size` is the capacity, 0 none. */
#include <plait.h>
#include <plait/queue.h>

#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <unistd.h>

#include "bench.h"
#include "flow.h"
#include "peers.h"
#include "python.h"

/* ---- Ours ---- */

BENCH_INLINE void ours_put(void *queue, uint64_t item) { plait_queue_put(queue, &item, PLAIT_FOREVER); }

BENCH_INLINE uint64_t ours_get(void *queue)
{
    uint64_t item = 0;

    plait_queue_get(queue, &item, PLAIT_FOREVER);
    return item;
}

static void ours_member(unsigned index, void *flow) { bench_flow_member(index, flow, ours_put, ours_get); }

static double ours(const struct bench_load *load)
{
    plait_queue_t *queue;
    double seconds;

    if (plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8, .maxsize = load->size }) != 0)
        bench_die("plait_queue_new");
    seconds = bench_flow_run(load, queue, ours_member, bench_threads);
    plait_queue_free(queue);
    return seconds;
}

static double ours_shared(const struct bench_load *load)
{
    plait_arena_t *arena;
    plait_queue_t *queue;
    double seconds;

    if (plait_arena_new(&arena, &(struct plait_arena_opts){ .limit = 64 << 20 }) != 0 ||
        plait_queue_new(&queue, &(struct plait_queue_opts){ .item_size = 8, .maxsize = load->size, .arena = arena }))
        bench_die("plait_queue_new");
    seconds = bench_flow_run(load, queue, ours_member, bench_processes);
    plait_queue_destroy(queue);
    plait_arena_free(arena);
    return seconds;
}

/* ---- The system's ---- */

BENCH_INLINE void pipe_put(void *ends, uint64_t item)
{
    if (write(((int *)ends)[1], &item, sizeof item) != sizeof item)
        bench_die("write to a pipe");
}

BENCH_INLINE uint64_t pipe_get(void *ends)
{
    uint64_t item;

    if (read(((int *)ends)[0], &item, sizeof item) != sizeof item)
        bench_die("read from a pipe");
    return item;
}

static void pipe_member(unsigned index, void *flow) { bench_flow_member(index, flow, pipe_put, pipe_get); }

static double through_pipe(const struct bench_load *load)
{
    int ends[2];
    double seconds;

    if (pipe(ends) != 0)
        return -1;
    seconds = bench_flow_run(load, ends, pipe_member, bench_processes);
    close(ends[0]);
    close(ends[1]);
    return seconds;
}

BENCH_INLINE void mq_put(void *mq, uint64_t item)
{
    if (mq_send(*(mqd_t *)mq, (const char *)&item, sizeof item, 0) != 0)
        bench_die("mq_send");
}

BENCH_INLINE uint64_t mq_get(void *mq)
{
    uint64_t item;

    if (mq_receive(*(mqd_t *)mq, (char *)&item, sizeof item, NULL) != sizeof item)
        bench_die("mq_receive");
    return item;
}

static void mq_member(unsigned index, void *flow) { bench_flow_member(index, flow, mq_put, mq_get); }

static double through_mq(const struct bench_load *load)
{
    struct mq_attr attr = { .mq_maxmsg = load->size, .mq_msgsize = sizeof(uint64_t) };
    char name[64];
    double seconds;
    mqd_t mq;

    snprintf(name, sizeof name, "/plait-bench-%d", (int)getpid());
    mq = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    if (mq == (mqd_t)-1) { /* as long as an ordinary user may have */
        attr.mq_maxmsg = 10;
        mq = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    }
    if (mq == (mqd_t)-1)
        return -1;
    mq_unlink(name);
    seconds = bench_flow_run(load, &mq, mq_member, bench_processes);
    mq_close(mq);
    return seconds;
}

/* ---- Python ---- */

static double python_queue(const struct bench_load *load) { return bench_python("queue", load, 20000); }

/* ---- The table ---- */

enum { CAPACITY = 1024 };

#define BOUNDED(name, each)                                                                                        \
    { name, BENCH_PER_SECOND, { .width = each, .size = CAPACITY },                                                 \
      { { "plait", ours }, { "gasyncqueue_unbounded", glib_queue },                                                \
        { "moodycamel_blocking_unbounded", moodycamel_queue }, { "tbb_bounded", tbb_queue_bounded } }, 0 }

#define UNBOUNDED(name, each)                                                                                      \
    { name, BENCH_PER_SECOND, { .width = each },                                                                   \
      { { "plait", ours }, { "gasyncqueue", glib_queue }, { "moodycamel_blocking", moodycamel_queue },             \
        { "moodycamel_blocking_tokens", moodycamel_queue_tokens }, { "tbb_bounded_unlimited", tbb_queue_unbounded } }, 0 }

#define SHARED(name, each)                                                                                         \
    { name, BENCH_PER_SECOND, { .width = each, .size = CAPACITY },                                                 \
      { { "plait", ours_shared }, { "boost_message_queue", boost_message_queue }, { "posix_mq", through_mq },      \
        { "pipe", through_pipe }, { "python_mp_queue", python_queue } }, 0 }

const struct bench_metric bench_queues[] = {
    { "noise.queue", BENCH_PER_SECOND, { .width = 1, .size = CAPACITY },
      { { "plait", ours }, { "noise", ours } }, 0 },
    BOUNDED("queue.bounded.1+1", 1),
    BOUNDED("queue.bounded.2+2", 2),
    BOUNDED("queue.bounded.4+4", 4),
    UNBOUNDED("queue.unbounded.1+1", 1),
    UNBOUNDED("queue.unbounded.2+2", 2),
    UNBOUNDED("queue.unbounded.4+4", 4),
    SHARED("queue.shared.1+1", 1),
    SHARED("queue.shared.2+2", 2),
    { 0 },
};
