/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A piece of a loop is worked through run by run. Before each run its worker looks whether somebody asks for work: that
 * is one load, of the limit that who is hungry overwrites (crew_stack.c). If so, the second half of what is left becomes
 * a task, and the first half is gone on with, until the next request. So a loop on busy workers is one call with a loop
 * in it, and an uneven one is divided where it is long: lazy binary splitting (Tzannes, Caragea, Barua, Vishkin 2010),
 * with a request for work instead of an empty stack as the sign.
 *
 * With a grain of 0 the clock tells how long a run takes: twice as many numbers next time if it was short, half as many
 * if it was long. A piece that is split off begins with what its parent has learnt. What will be done in less than it
 * takes to wake somebody for it is not split, and for somebody who looks for work all the time, what is done in less than it
 * takes to fetch it.
 *
 * What a piece of a reducing loop has found so far lies in the frame that split it off; the first piece adds to the
 * caller's result itself. A piece that is split keeps its lower half, so the numbers of each are one run of neighbours,
 * and joining in the order of the syncs is joining in order.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <plait/time.h>

#include "exec/crew.h"

enum { SIZE_MAX_OF_RESULT = 4096, SHORT = 1000, LONG = 4000, FETCHING = 2000, WAKING = 20000 /* nanoseconds */ };

struct loop {
    plait_crew_part_fn *part; /* all const; one of part and sum */
    plait_crew_sum_fn *sum;
    plait_crew_join_fn *join;
    size_t grain, size;
    const void *neutral;
    void *context;
};

struct piece {
    const struct loop *loop;
    size_t begin, end;
    size_t run;        /* numbers in the next run */
    plait_time_t took; /* by the last run; 0: there was none, or nobody looks at the clock */
    size_t taken;      /* numbers in the last run */
    void *into;
    int err;
};

static void work_on(plait_worker_t *worker, void *arg);

/*
 * Will what is left take long enough for who asks? A short run tells nothing, but that the next one will be longer. Before the
 * first run nobody is woken, as nothing is known.
 */
static bool is_worth_it(const plait_worker_t *worker, const struct piece *piece)
{
    bool awake = plait__crew_asks_awake(worker);
    double cost = awake ? FETCHING : WAKING;

    if (piece->took == 0)
        return awake || piece->loop->grain;
    return piece->took >= SHORT && (double)(piece->end - piece->begin) * (double)piece->took > (double)piece->taken * cost;
}

static inline bool is_asked(const plait_worker_t *worker)
{
    return !loadptr_relaxed(&worker->limit);
}

/* Split off the upper half, and do the lower one. */
static void split(plait_worker_t *worker, struct piece *piece)
{
    const struct loop *loop = piece->loop;
    struct piece upper = *piece;

    upper.begin = piece->end = piece->begin + (piece->end - piece->begin) / 2;
    if (loop->size)
        upper.into = memcpy(__builtin_alloca_with_align(loop->size, 128), loop->neutral, loop->size); /* as malloc aligns */
    plait_worker_spawn(worker, work_on, &upper);
    work_on(worker, piece);
    piece->err |= plait_worker_sync(worker) | upper.err;
    if (loop->size)
        loop->join(piece->into, upper.into, loop->context);
}

static void do_run(plait_worker_t *worker, struct piece *piece, size_t count)
{
    const struct loop *loop = piece->loop;

    if (loop->sum)
        loop->sum(worker, piece->begin, piece->begin + count, piece->into, loop->context);
    else
        loop->part(worker, piece->begin, piece->begin + count, loop->context);
    piece->begin += count;
}

static void learn(struct piece *piece, plait_time_t took)
{
    piece->took = took + 1;
    piece->taken = piece->run;
    if (took < SHORT && piece->run <= SIZE_MAX / 2)
        piece->run *= 2;
    else if (took > LONG && piece->run > 1)
        piece->run /= 2;
}

static void work_on(plait_worker_t *worker, void *arg)
{
    struct piece *piece = arg;
    plait_time_t before = piece->loop->grain ? 0 : plait_now();

    while (piece->end - piece->begin > piece->run) {
        if (is_asked(worker) && is_worth_it(worker, piece)) {
            split(worker, piece);
            return;
        }
        do_run(worker, piece, piece->run);
        if (piece->loop->grain == 0) {
            plait_time_t now = plait_now();

            learn(piece, now - before);
            before = now;
        }
    }
    do_run(worker, piece, piece->end - piece->begin);
}

static int run_loop(plait_crew_t *crew, const struct loop *loop, size_t begin, size_t end, void *into)
{
    struct piece all = { .loop = loop, .begin = begin, .end = end, .run = loop->grain ? loop->grain : 1, .into = into };
    int err;

    if (begin >= end)
        return 0;
    err = plait_crew_run(crew, work_on, &all);
    return err ? err : all.err;
}

int plait_crew_for(plait_crew_t *crew, size_t begin, size_t end, size_t grain, plait_crew_part_fn *part, void *context)
{
    struct loop loop = { .part = part, .grain = grain, .context = context };

    return part ? run_loop(crew, &loop, begin, end, NULL) : EINVAL;
}

int plait_crew_reduce(plait_crew_t *crew, size_t begin, size_t end, size_t grain, plait_crew_sum_fn *sum,
                      plait_crew_join_fn *join, size_t size, void *result, void *context)
{
    struct loop loop = { .sum = sum, .join = join, .grain = grain, .size = size, .context = context };

    if (!sum || !join || !result || size == 0 || size > SIZE_MAX_OF_RESULT)
        return EINVAL;
    loop.neutral = memcpy(__builtin_alloca_with_align(size, 128), result, size);
    return run_loop(crew, &loop, begin, end, result);
}
