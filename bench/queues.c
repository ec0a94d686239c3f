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

/* And say that it is done. */
BENCH_INLINE uint64_t ours_get_and_finish(void *queue)
{
    uint64_t item = ours_get(queue);

    if (plait_queue_task_done(queue, NULL) != 0)
        bench_die("plait_queue_task_done");
    return item;
}

static void ours_member(unsigned index, void *flow) { bench_flow_member(index, flow, ours_put, ours_get); }

static void ours_joinable_member(unsigned index, void *flow)
{
    bench_flow_member(index, flow, ours_put, ours_get_and_finish);
}

static double through_ours(const struct bench_load *load, bool shared, bool joinable)
{
    struct plait_queue_opts opts = { .item_size = 8, .maxsize = load->size, .joinable = joinable };
    plait_queue_t *queue;
    double seconds;

    if (shared && plait_arena_new(&opts.arena, &(struct plait_arena_opts){ .limit = 64 << 20 }) != 0)
        bench_die("plait_arena_new");
    if (plait_queue_new(&queue, &opts) != 0)
        bench_die("plait_queue_new");
    seconds = bench_flow_run(load, queue, joinable ? ours_joinable_member : ours_member,
                             shared ? bench_processes : bench_threads);
    plait_queue_destroy(queue);
    plait_arena_free(opts.arena);
    return seconds;
}

static double ours(const struct bench_load *load) { return through_ours(load, false, false); }
static double ours_shared(const struct bench_load *load) { return through_ours(load, true, false); }
static double ours_joinable(const struct bench_load *load) { return through_ours(load, false, true); }
static double ours_shared_joinable(const struct bench_load *load) { return through_ours(load, true, true); }

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
static double python_joinable(const struct bench_load *load) { return bench_python("joinable_queue", load, 20000); }
static double python_of_threads(const struct bench_load *load) { return bench_python("queue_of_threads", load, 20000); }

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

/* With each item declared done; others of this kind there are only in Python. */
#define JOINABLE(name, each)                                                                                       \
    { name, BENCH_PER_SECOND, { .width = each, .size = CAPACITY },                                                 \
      { { "plait", ours_joinable }, { "plait_not_joinable", ours }, { "gasyncqueue_not_joinable", glib_queue },    \
        { "python_queue", python_of_threads } }, 0 }

#define SHARED_JOINABLE(name, each)                                                                                \
    { name, BENCH_PER_SECOND, { .width = each, .size = CAPACITY },                                                 \
      { { "plait", ours_shared_joinable }, { "plait_not_joinable", ours_shared },                                  \
        { "boost_message_queue_not_joinable", boost_message_queue }, { "python_joinable_queue", python_joinable } }, 0 }

const struct bench_metric bench_queues[] = {
    { "noise.queue", BENCH_PER_SECOND, { .width = 1, .size = CAPACITY },
      { { "plait", ours }, { "noise", ours } }, 0 },
    BOUNDED("queue.bounded.1+1", 1),
    BOUNDED("queue.bounded.2+2", 2),
    BOUNDED("queue.bounded.4+4", 4),
    BOUNDED("queue.bounded.8+8", 8),
    UNBOUNDED("queue.unbounded.1+1", 1),
    UNBOUNDED("queue.unbounded.2+2", 2),
    UNBOUNDED("queue.unbounded.4+4", 4),
    UNBOUNDED("queue.unbounded.8+8", 8),
    SHARED("queue.shared.1+1", 1),
    SHARED("queue.shared.2+2", 2),
    SHARED("queue.shared.4+4", 4),
    SHARED("queue.shared.8+8", 8),
    JOINABLE("queue.joinable.1+1", 1),
    JOINABLE("queue.joinable.2+2", 2),
    SHARED_JOINABLE("queue.joinable.shared.1+1", 1),
    SHARED_JOINABLE("queue.joinable.shared.2+2", 2),
    { 0 },
};
