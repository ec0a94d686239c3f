/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * Rows have numbers. The first 64 lie in the library; further ones in chunks, each twice as large as the one before, made
 * when needed and never freed, because a writer may look at any row at any time. A row is free (epoch 0), or some
 * thread's; a thread takes the lowest free one by an exchange of its epoch, and gives it back when it ends, so that
 * numbers stay as low as the number of threads.
 *
 * Fork: in the child, rows with the parent's epoch belong to threads that are not there. They are free; who takes
 * one wipes it. The one thread that is there keeps its rows, and what it reads: a fork handler puts the child's epoch into
 * them, or after _Fork, which calls no handlers, the thread's own next use of a lock.
 *
 * E1: taking a row by an acquiring exchange, giving it back by a releasing store. `high` is raised before a row is used,
 * so a writer that sees a group's bit sees the group's rows.
 */
#include "base/races.h"
#include "sync/readers.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

#include <plait/wait.h>

enum { FIRST_ROWS = 64, CHUNKS = 20 };

PLAIT_TLS struct plait__reader plait__reader = { .epoch = PLAIT__EPOCH_NONE };

static struct plait__reader_row first_rows[FIRST_ROWS] __attribute__((aligned(128)));
static struct plait__reader_row *chunks[CHUNKS]; /* atomic: [k] has rows from FIRST_ROWS << k up to twice that */
static uint32_t high;                            /* atomic: only grows */

static pthread_key_t at_thread_end;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

uint32_t plait__reader_rows(void)
{
    return load_seqcst(&high);
}

/* The chunk of a row beyond the first ones, and its place there. */
static unsigned chunk_of(uint32_t number, uint32_t *index_out)
{
    unsigned chunk = 31u - (unsigned)__builtin_clz(number / FIRST_ROWS);

    *index_out = number - ((uint32_t)FIRST_ROWS << chunk);
    return chunk;
}

struct plait__reader_row *plait__reader_row_at(uint32_t number)
{
    uint32_t index;
    unsigned chunk;

    if (number < FIRST_ROWS)
        return &first_rows[number];
    chunk = chunk_of(number, &index);
    return loadptr_acquire(&chunks[chunk]) + index;
}

static bool make_chunk_for(uint32_t number)
{
    struct plait__reader_row *expected = NULL, *chunk;
    void *memory;
    uint32_t index, count;
    unsigned k;

    if (number < FIRST_ROWS)
        return true;
    k = chunk_of(number, &index);
    if (k >= CHUNKS)
        return false;
    if (loadptr_acquire(&chunks[k]))
        return true;
    count = (uint32_t)FIRST_ROWS << k;
    if (posix_memalign(&memory, 128, count * sizeof *chunk) != 0)
        return false;
    chunk = memory;
    for (uint32_t i = 0; i < count; i++)
        chunk[i] = (struct plait__reader_row){ 0 };
    if (!casptr_acqrel(&chunks[k], &expected, chunk))
        free(memory);
    return true;
}

void plait__reader_wake(uint32_t *wanted)
{
    store_relaxed(wanted, 0); /* who wants more says so again before it sleeps again */
    plait_wake(wanted, UINT_MAX, 0);
}

static void wipe(struct plait__reader_row *row)
{
    for (int i = 0; i < PLAIT__READER_HOLDS; i++) {
        struct plait__reader_hold *hold = &row->holds[i];

        store64_release(&hold->lock, 0);
        store_relaxed(&hold->state, 0);
    }
    compiler_barrier();
    if (load_relaxed(&row->wanted))
        plait__reader_wake(&row->wanted);
}

static void raise_high(uint32_t number)
{
    uint32_t seen = load_relaxed(&high);

    while (seen <= number && !cas_seqcst(&high, &seen, number + 1))
        ;
}

/* Take the lowest row that nobody of this process has. NULL: no memory. */
static struct plait__reader_row *take_row(uint32_t epoch)
{
    for (uint32_t number = 0; make_chunk_for(number); number++) {
        struct plait__reader_row *row = plait__reader_row_at(number);
        uint32_t found = load_relaxed(&row->epoch);

        while (found != epoch)
            if (cas_acqrel(&row->epoch, &found, epoch)) { /* E1 */
                row->number = number;
                row->next = NULL;
                wipe(row);
                raise_high(number);
                return row;
            }
    }
    return NULL;
}

/* The calling thread's rows are good in this process. In the child of a fork they were good in the parent. */
static void keep_rows(uint32_t epoch)
{
    struct plait__reader_row **link = &plait__reader.rows;

    while (*link) {
        struct plait__reader_row *row = *link;
        uint32_t found = plait__reader.epoch;

        if (found == epoch || cas_acqrel(&row->epoch, &found, epoch))
            link = &row->next;
        else
            *link = row->next; /* after _Fork: another thread of the child has come first */
    }
    plait__reader.epoch = epoch;
}

static void after_fork_in_child(void)
{
    if (plait__reader.rows)
        keep_rows(plait__fork_epoch_renew());
}

static void at_end(void *unused)
{
    (void)unused;
    if (!plait__reader_is_ready())
        return;
    while (plait__reader.rows) {
        struct plait__reader_row *row = plait__reader.rows;

        plait__reader.rows = row->next;
        wipe(row);
        store_release(&row->epoch, 0); /* E1 */
    }
    plait__reader = (struct plait__reader){ .epoch = PLAIT__EPOCH_NONE };
}

static void prepare_process(void)
{
    once_error = pthread_key_create(&at_thread_end, at_end);
    if (!once_error)
        once_error = pthread_atfork(NULL, NULL, after_fork_in_child);
}

static int add_row(void)
{
    struct plait__reader_row *row = take_row(plait__reader.epoch), **link = &plait__reader.rows;

    if (!row)
        return ENOMEM;
    while (*link)
        link = &(*link)->next;
    *link = row;
    return 0;
}

int plait__reader_prepare(void)
{
    uint32_t epoch;
    int err;

    if (plait__reader_is_ready())
        return 0;
    plait__races_once(&once, prepare_process);
    if (once_error || pthread_setspecific(at_thread_end, &plait__reader) != 0)
        return ENOMEM;
    epoch = plait__fork_epoch_renew();
    if (epoch != plait__fork_epoch()) /* no memory to keep it in: rows could not be told from the parent's */
        return ENOMEM;
    keep_rows(epoch);
    err = plait__reader.rows ? 0 : add_row();
    if (err)
        plait__reader.epoch = PLAIT__EPOCH_NONE;
    else
        plait__reader.group = plait__reader_group(plait__reader.rows);
    return err;
}

int plait__reader_find_free(struct plait__reader_row **row_out, struct plait__reader_hold **hold_out)
{
    for (;;) {
        int err;

        for (struct plait__reader_row *row = plait__reader.rows; row; row = row->next)
            for (int i = 0; i < PLAIT__READER_HOLDS; i++)
                if (load64_relaxed(&row->holds[i].lock) == 0) {
                    *row_out = row;
                    *hold_out = &row->holds[i];
                    return 0;
                }
        err = add_row();
        if (err)
            return err;
    }
}

struct plait__reader_hold *plait__reader_find(const void *lock, void *caller, struct plait__reader_row **row_out)
{
    if (!plait__reader_is_ready() && plait__reader_prepare() != 0)
        return NULL;
    if (plait__reader.used == 0)
        return NULL;
    for (struct plait__reader_row *row = plait__reader.rows; row; row = row->next)
        for (int i = 0; i < PLAIT__READER_HOLDS; i++)
            if (load64_relaxed(&row->holds[i].lock) == (uint64_t)(uintptr_t)lock && row->holds[i].caller == caller) {
                *row_out = row;
                return &row->holds[i];
            }
    return NULL;
}
