/* SPDX-License-Identifier: MIT */
/* Pipes: round trips, and messages one way, between two threads or two processes; `size` is the message's bytes. */
#include <plait.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "python.h"

/* Fewer messages would show how the two began, one before the other and with memory that was never touched. */
enum { MEBIBYTE = 1 << 20, MESSAGES_MAX = 4096, LEAST = 2000 };

/* A way to hand bytes on, in both directions. `end` is 0 or 1; a message is sent whole, and received whole. */
struct way {
    void (*make)(void *channel, unsigned size, bool shared);
    void (*drop)(void *channel);
    void (*send)(void *channel, int end, const char *bytes, unsigned size);
    void (*recv)(void *channel, int end, char *bytes, unsigned size);
};

/* What each way keeps; in the memory of the benchmark, which children have a copy of. */
struct channel {
    plait_arena_t *arena;
    plait_pipe_t *ends[2];
    int out[2], in[2]; /* descriptors of each end */
};

/* ---- Ours; as much under way as a pipe of 1 MiB holds, or 4096 messages ---- */

static void ours_make(void *channel, unsigned size, bool shared)
{
    struct channel *c = channel;
    size_t maxsize = MEBIBYTE / size < MESSAGES_MAX ? MEBIBYTE / size : MESSAGES_MAX;

    c->arena = NULL;
    if ((shared && plait_arena_new(&c->arena, &(struct plait_arena_opts){ .limit = 32 * MEBIBYTE })) ||
        plait_pipe_new(&c->ends[0], &c->ends[1], &(struct plait_pipe_opts){ .arena = c->arena, .maxsize = maxsize }))
        bench_die("plait_pipe_new");
}

static void ours_drop(void *channel)
{
    struct channel *c = channel;

    plait_pipe_free(c->ends[0]);
    plait_pipe_free(c->ends[1]);
    plait_arena_free(c->arena);
}

static void ours_send(void *channel, int end, const char *bytes, unsigned size)
{
    struct channel *c = channel;

    if (plait_pipe_send(c->ends[end], bytes, size, PLAIT_FOREVER))
        bench_die("plait_pipe_send");
}

static void ours_recv(void *channel, int end, char *bytes, unsigned size)
{
    struct channel *c = channel;
    size_t got;

    if (plait_pipe_recv(c->ends[end], bytes, size, &got, PLAIT_FOREVER) || got != size)
        bench_die("plait_pipe_recv");
}

static const struct way ours = { ours_make, ours_drop, ours_send, ours_recv };

/* ---- The same, made and looked at in place: the bytes that are checked are written and read, the others left ---- */

static void lent_send(void *channel, int end, const char *bytes, unsigned size)
{
    struct channel *c = channel;
    struct plait_message m;

    if (plait_pipe_reserve(c->ends[end], size, &m))
        bench_die("plait_pipe_reserve");
    ((char *)m.data)[0] = bytes[0];
    ((char *)m.data)[size - 1] = bytes[size - 1];
    if (plait_pipe_commit(c->ends[end], &m, PLAIT_FOREVER))
        bench_die("plait_pipe_commit");
}

static void lent_recv(void *channel, int end, char *bytes, unsigned size)
{
    struct channel *c = channel;
    struct plait_message m;

    if (plait_pipe_borrow(c->ends[end], &m, PLAIT_FOREVER) || m.size != size)
        bench_die("plait_pipe_borrow");
    bytes[0] = ((char *)m.data)[0];
    bytes[size - 1] = ((char *)m.data)[size - 1];
    plait_pipe_give_back(c->ends[end], &m);
}

static const struct way lent = { ours_make, ours_drop, lent_send, lent_recv };

/* ---- The kernel's ---- */

static void pipe_make(void *channel, unsigned size, bool shared)
{
    struct channel *c = channel;
    int to_right[2], to_left[2];

    if (pipe(to_right) || pipe(to_left))
        bench_die("pipe");
    fcntl(to_right[1], F_SETPIPE_SZ, MEBIBYTE);
    fcntl(to_left[1], F_SETPIPE_SZ, MEBIBYTE);
    c->out[0] = to_right[1];
    c->in[1] = to_right[0];
    c->out[1] = to_left[1];
    c->in[0] = to_left[0];
}

static void pipe_drop(void *channel)
{
    struct channel *c = channel;

    for (int i = 0; i < 2; i++) {
        close(c->out[i]);
        close(c->in[i]);
    }
}

/* Messages of a known size need no other frame. */
static void pipe_send(void *channel, int end, const char *bytes, unsigned size)
{
    struct channel *c = channel;

    for (size_t done = 0; done < size;) {
        ssize_t n = write(c->out[end], bytes + done, size - done);

        if (n <= 0)
            bench_die("write");
        done += (size_t)n;
    }
}

static void pipe_recv(void *channel, int end, char *bytes, unsigned size)
{
    struct channel *c = channel;

    for (size_t done = 0; done < size;) {
        ssize_t n = read(c->in[end], bytes + done, size - done);

        if (n <= 0)
            bench_die("read");
        done += (size_t)n;
    }
}

static const struct way kernels_pipe = { pipe_make, pipe_drop, pipe_send, pipe_recv };

static void socket_make(void *channel, unsigned size, bool shared)
{
    struct channel *c = channel;
    int room = MEBIBYTE;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, c->out))
        bench_die("socketpair");
    for (int i = 0; i < 2; i++) {
        setsockopt(c->out[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof room); /* or what the system allows */
        c->in[i] = c->out[i];
    }
}

static void socket_drop(void *channel)
{
    struct channel *c = channel;

    close(c->out[0]);
    close(c->out[1]);
}

static void socket_send(void *channel, int end, const char *bytes, unsigned size)
{
    struct channel *c = channel;

    if (send(c->out[end], bytes, size, 0) != (ssize_t)size)
        bench_die("send");
}

static void socket_recv(void *channel, int end, char *bytes, unsigned size)
{
    struct channel *c = channel;

    if (recv(c->in[end], bytes, size, 0) != (ssize_t)size)
        bench_die("recv");
}

static const struct way sockets = { socket_make, socket_drop, socket_send, socket_recv };

/* ---- Loads ---- */

struct talk {
    const struct way *way;
    struct channel channel;
    uint64_t ops;
    unsigned size;
    bool turns; /* each message is answered */
};

static void mark(char *bytes, unsigned size, uint64_t number)
{
    bytes[0] = bytes[size - 1] = (char)number;
}

static void check(const char *bytes, unsigned size, uint64_t number)
{
    if (bytes[0] != (char)number || bytes[size - 1] != (char)number)
        bench_die("a wrong message");
}

static void talk_member(unsigned index, void *arg)
{
    struct talk *t = arg;
    char *bytes = calloc(1, t->size);

    if (!bytes)
        bench_die("calloc");
    for (uint64_t i = 0; i < t->ops; i++) {
        if (index == 0) {
            mark(bytes, t->size, i);
            t->way->send(&t->channel, 0, bytes, t->size);
        }
        if (index == 0 ? t->turns : true) {
            t->way->recv(&t->channel, (int)index, bytes, t->size);
            check(bytes, t->size, i);
        }
        if (index == 1 && t->turns)
            t->way->send(&t->channel, 1, bytes, t->size);
    }
    free(bytes);
}

static double talk(const struct bench_load *load, const struct way *way, bool turns, bool processes)
{
    uint64_t ops = load->ops < LEAST ? LEAST : load->ops;
    struct talk t = { .way = way, .ops = ops, .size = load->size, .turns = turns };
    double seconds;

    way->make(&t.channel, t.size, processes);
    seconds = processes ? bench_processes(2, talk_member, &t, NULL) : bench_threads(2, talk_member, &t, NULL);
    way->drop(&t.channel);
    return seconds / (double)ops;
}

#define TALK(name, way)                                                                                            \
    static double name##_turns_threads(const struct bench_load *load) { return talk(load, way, true, false); }     \
    static double name##_turns_processes(const struct bench_load *load) { return talk(load, way, true, true); }    \
    static double name##_stream_threads(const struct bench_load *load) { return talk(load, way, false, false); }   \
    static double name##_stream_processes(const struct bench_load *load) { return talk(load, way, false, true); }

TALK(ours, &ours)
TALK(lent, &lent)
TALK(pipe, &kernels_pipe)
TALK(socket, &sockets)

/* Python's has no width: the size goes there. */
static double python(const struct bench_load *load, const char *what)
{
    struct bench_load sized = { .ops = load->ops, .width = load->size };

    return bench_python(what, &sized, load->size > 1000 ? 500 : 3000);
}

static double python_turns_threads(const struct bench_load *load) { return python(load, "pipe-turns-threads"); }
static double python_turns_processes(const struct bench_load *load) { return python(load, "pipe-turns-processes"); }
static double python_stream_threads(const struct bench_load *load) { return python(load, "pipe-stream-threads"); }
static double python_stream_processes(const struct bench_load *load) { return python(load, "pipe-stream-processes"); }

/* ---- The table ---- */

#define RACE(what, who, unit, bytes)                                                                               \
    { "pipe." #what "." #who "." #bytes, unit, { .width = 2, .size = bytes },                                      \
      { { "plait", ours_##what##_##who }, { "pipe(2)", pipe_##what##_##who },                                      \
        { "socketpair seqpacket", socket_##what##_##who }, { "python mp.Pipe", python_##what##_##who },            \
        { "plait, in place", lent_##what##_##who } }, 0 }

const struct bench_metric bench_pipes[] = {
    RACE(turns, threads, BENCH_NS, 64),
    RACE(turns, threads, BENCH_NS, 65536),
    RACE(turns, processes, BENCH_NS, 64),
    RACE(turns, processes, BENCH_NS, 65536),
    RACE(stream, threads, BENCH_NS, 64),
    RACE(stream, threads, BENCH_NS, 65536),
    RACE(stream, processes, BENCH_NS, 64),
    RACE(stream, processes, BENCH_NS, 65536),
    { 0 },
};
