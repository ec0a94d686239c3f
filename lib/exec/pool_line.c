/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * A ring of cells, numbered without end. The putter fills the cell of number `tail` and moves `tail` on; a taker reads the
 * cell of number `head` and moves `head` on by a compare-and-swap, and the entry is his if that succeeds. There is no lock,
 * so nobody who is stopped or killed keeps another from an entry: killed before the swap he has changed nothing, killed
 * behind it he has one entry, which stands in his slot (*taking) since before the swap.
 *
 * A full ring is replaced by one of twice the size, with the cells between `head` and `tail` copied. The old one is freed,
 * though a taker may be about to read a cell in it: after the reading he looks whether the ring is still the same, and reads
 * again if not. Rings only grow, and their size is in the word, so a word that is the same is the same ring. What he reads
 * meanwhile is memory of the arena, whatever is in there. A cell is filled again only when `head` has passed it, and then
 * the swap of who has read it before fails.
 *
 *   E1 entry: the putter fills the cell, then moves `tail` (an exchange); a taker acquires `tail`, then reads the cell. Back
 *      the same way: the swap of `head` is a release, and the putter acquires `head` before he fills the cell again.
 *   E2 ring: the putter fills a new ring, then releases `cells`, then moves `tail`. A taker acquires `tail` before `cells`,
 *      so his ring is not too old for the number; he reads the cell with acquire before he looks at `cells` again.
 *
 * Waking. One worker at most searches: it looks at the line for a while before it sleeps. It says so before it tells of the
 * end of its last task: whoever waits for that may put the next one at once. As long as there is one, a put wakes nobody,
 * for it will be found, and in a round trip of one task after the other nobody ever sleeps. Who has searched and found, and
 * sees that there is more, wakes the next; so does who has slept.
 *
 *   E3 no wake is lost: the putter moves `tail` and then looks for a searcher, and then for sleepers; both with a full
 *      barrier in between. If he sees a searcher, then that one takes his name away later, and looks at the line after that:
 *      he takes an entry, and if there are more, wakes a sleeper in the putter's place. If he sees none, he looks at the
 *      event count, as a queue's putter does (wait/eventcount.h). tests/models/pool_line.pml goes through it all, with a
 *      death.
 *
 * A searcher that dies leaves his name, and one who wakes another may die before he has done it: bury takes the name away,
 * and wakes all. One that is stopped (SIGSTOP) keeps others from being woken: they look by themselves after a slice of time,
 * as after any lost wake of a stopped process.
 *
 * By priority the entries are in a queue, which has a lock for a heap's sake; all the rest is the same.
 */
#include "exec/pool_line.h"

#include <errno.h>
#include <string.h>

#include <plait/wait.h>

#include "base/atomic.h"
#include "wait/spin.h"

enum { FIRST_LOG = 9, LOG_MASK = 63 }; /* offsets of blocks' memory are multiples of 64 */

static uint64_t *cell_at(const struct plait__line_end *end, uint64_t cells, uint64_t number)
{
    uint64_t *first = plait__at(end->base, cells & ~(uint64_t)LOG_MASK);

    return &first[number & (((uint64_t)1 << (cells & LOG_MASK)) - 1)];
}

/* ---- Putting ---- */

static int make_cells(struct plait__line_end *end, unsigned log, uint64_t *cells_out)
{
    uint64_t offset;
    int err = plait__arena_alloc_raw(end->base, sizeof(uint64_t) << log, &offset);

    if (err == 0)
        *cells_out = offset | log;
    return err;
}

int plait__line_make(struct plait__line_end *end)
{
    return end->by_priority ? 0 : make_cells(end, FIRST_LOG, &end->line->cells);
}

static int grow(struct plait__line_end *end, uint64_t tail)
{
    struct plait__line *line = end->line;
    uint64_t cells, old = line->cells;
    int err = make_cells(end, (unsigned)(old & LOG_MASK) + 1, &cells);

    if (err)
        return err;
    for (uint64_t number = end->head_seen; number != tail; number++)
        *cell_at(end, cells, number) = *cell_at(end, old, number);
    store64_release(&line->cells, cells); /* E2 */
    plait__arena_dealloc_offset(end->base, old & ~(uint64_t)LOG_MASK);
    return 0;
}

/* Somebody must look at the line. */
static void signal(struct plait__line *line)
{
    if (load_seqcst(&line->searcher) == 0) /* E3 */
        plait__eventcount_signal(&line->sleepers, PLAIT_SHARED);
}

static int put_last(struct plait__line_end *end, uint64_t entry)
{
    struct plait__line *line = end->line;
    uint64_t tail = load64_relaxed(&line->tail); /* relaxed: our own */
    int err = 0;

    if ((tail - end->head_seen) >> (line->cells & LOG_MASK)) {
        end->head_seen = load64_acquire(&line->head); /* E1 */
        if ((tail - end->head_seen) >> (line->cells & LOG_MASK))
            err = grow(end, tail);
    }
    if (err)
        return err;
    store64_relaxed(cell_at(end, line->cells, tail), entry);
    exchange64_seqcst(&line->tail, tail + 1); /* E1, E3 */
    return 0;
}

int plait__line_put(struct plait__line_end *end, uint64_t entry, int64_t priority)
{
    int err = end->by_priority ? plait_queue_put_priority(end->by_priority, &entry, priority, PLAIT_FOREVER)
                               : put_last(end, entry);

    if (err)
        return err;
    barrier_after_rmw(); /* E3; a queue's put ends with an exchange, too */
    signal(end->line);
    return 0;
}

/* ---- Taking ---- */

static size_t count_of(const struct plait__line_end *end)
{
    uint64_t head;

    if (end->by_priority)
        return plait_queue_qsize(end->by_priority);
    head = load64_acquire(&end->line->head);
    return (size_t)(load64_acquire(&end->line->tail) - head);
}

bool plait__line_is_empty(const struct plait__line_end *end)
{
    return count_of(end) == 0;
}

static int take_first(struct plait__line_end *end, uint64_t *taking, uint64_t *entry_out)
{
    struct plait__line *line = end->line;
    uint64_t cells, entry, head = load64_acquire(&line->head);

    do {
        do {
            if (head == load64_acquire(&line->tail)) /* E1; `head` was read before, so it is not greater */
                return EAGAIN;
            cells = load64_acquire(&line->cells); /* E2 */
            entry = load64_acquire(cell_at(end, cells, head));
        } while (load64_relaxed(&line->cells) != cells);
        store64_relaxed(taking, entry);
        compiler_barrier(); /* against the supervisor, should we be killed behind the swap */
    } while (!cas64_acqrel(&line->head, &head, head + 1)); /* E1 */
    *entry_out = entry;
    return 0;
}

static int take(struct plait__line_end *end, uint64_t *taking, uint64_t *entry_out)
{
    int err;

    if (!end->by_priority)
        return take_first(end, taking, entry_out);
    err = plait_queue_get(end->by_priority, entry_out, PLAIT_NOW);
    return err == ETIMEDOUT ? EAGAIN : err;
}

/* We were to look for others as well. */
static void pass_on(struct plait__line_end *end)
{
    if (!plait__line_is_empty(end))
        signal(end->line);
}

/* Be the searcher, if nobody is. */
static bool become_searcher(struct plait__line *line, uint32_t number)
{
    uint32_t nobody = 0;

    return load_relaxed(&line->searcher) == 0 && cas_seqcst(&line->searcher, &nobody, number + 1);
}

static bool is_searcher(const struct plait__line *line, uint32_t number)
{
    return load_relaxed(&line->searcher) == number + 1; /* relaxed: only the worker itself makes it so */
}

/* As the searcher: look for a while. */
static int search(struct plait__line_end *end, uint64_t *taking, uint64_t *entry_out, plait_time_t deadline)
{
    struct plait__spin spin = plait__spin_begin(PLAIT__SPIN_ASKED, deadline);
    size_t count = 0;
    int err;

    while (count == 0 && plait__spin_pause(&spin))
        count = count_of(end);
    if (count)
        plait__spin_came(&spin, count);
    exchange_seqcst(&end->line->searcher, 0); /* E3 */
    barrier_after_rmw();
    err = take(end, taking, entry_out);
    pass_on(end);
    return err;
}

static int sleep_and_take(struct plait__line_end *end, uint64_t *taking, uint64_t *entry_out, plait_time_t deadline)
{
    struct plait__eventcount *ec = &end->line->sleepers;
    plait_time_t slice = 0;

    for (;;) {
        uint32_t prepared = plait__eventcount_prepare(ec);
        int wait_err, err = take(end, taking, entry_out);

        if (err != EAGAIN) {
            plait__eventcount_cancel(ec);
            return err;
        }
        wait_err = plait__eventcount_wait(ec, prepared, PLAIT_SHARED, deadline, &slice);
        err = take(end, taking, entry_out);
        if (plait__eventcount_done(ec))
            pass_on(end);
        if (err != EAGAIN)
            return err;
        if (wait_err)
            return wait_err;
    }
}

int plait__line_get(struct plait__line_end *end, uint32_t number, uint64_t *taking, uint64_t *entry_out, plait_time_t deadline)
{
    int err = is_searcher(end->line, number) ? EAGAIN : take(end, taking, entry_out);

    if (err == EAGAIN && (is_searcher(end->line, number) || become_searcher(end->line, number)))
        err = search(end, taking, entry_out, deadline);
    if (err == EAGAIN)
        err = sleep_and_take(end, taking, entry_out, deadline);
    return err;
}

void plait__line_expect(struct plait__line_end *end, uint32_t number)
{
    if (plait__line_is_empty(end))
        become_searcher(end->line, number);
}

static void take_name_away(struct plait__line *line, uint32_t number)
{
    uint32_t name = number + 1;

    cas_seqcst(&line->searcher, &name, 0);
    barrier_after_rmw(); /* E3 */
}

void plait__line_forget(struct plait__line_end *end, uint32_t number)
{
    take_name_away(end->line, number);
    pass_on(end);
}

/* It may have said that it wakes one, and not have done so: then nobody else will. */
void plait__line_bury(struct plait__line_end *end, uint32_t number)
{
    take_name_away(end->line, number);
    plait__eventcount_broadcast(&end->line->sleepers, PLAIT_SHARED);
}
