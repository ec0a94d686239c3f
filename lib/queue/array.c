/* SPDX-License-Identifier: MIT */
/*
 * How it works
 *
 * The cells lie behind the body. Those of 1, 2, 4 or 8 bytes are atomic: every access is one operation of that size, with the lock
 * or without, so nobody sees a part of one, and no death leaves one.
 *
 * Cells of other sizes are guarded by the lock, and there is one more of them at the end, the spare. Who writes one makes its new value in the
 * spare, and then:
 *
 *     writing = index + 1;  the cell = the spare;  writing = 0
 *
 * The first store decides. Who finds a dead one's `writing` copies once more; else the spare means nothing.
 *
 * Who is to be told of a death: `changing` is 1 while the lock is held on behalf of the user, or many cells are being written. Who
 * takes the lock after a death makes it `bereaved`, which stays until the user calls plait_array_consistent. The lock itself is consistent
 * again at once: the other calls need nothing but the cells.
 *
 * Compiler barriers keep the stores of one who dies in their order.
 *
 * E1 cells: written with release, read with acquire, changed with both: who reads what was written sees what came before. No order between
 * different cells is promised beyond that.
 * E2: the lock orders all else.
 */
#include "queue/array.h"

#include <errno.h>

#include "base/atomic.h"
#include "base/words.h"

static void *spare_of(const struct plait_array *a) { return plait__array_cell(a, a->count); }

/* ---- The lock ---- */

/* The caller holds it, and the last holder has died. */
static int after_death(struct plait_array *a)
{
    struct plait__array_body *b = a->body;

    if (b->writing && b->writing <= a->count && !a->is_atomic)
        memcpy(plait__array_cell(a, b->writing - 1), spare_of(a), a->item_size);
    compiler_barrier();
    b->writing = 0;
    b->lent = 0;
    if (b->changing)
        b->bereaved = 1;
    compiler_barrier();
    b->changing = 0;
    return plait_rlock_consistent(&b->lock);
}

int plait__array_enter(struct plait_array *a, plait_time_t deadline)
{
    int err = plait_rlock_acquire(&a->body->lock, deadline);

    return __builtin_expect(err == EOWNERDEAD, 0) ? after_death(a) : err;
}

void plait__array_leave(struct plait_array *a)
{
    plait_rlock_release(&a->body->lock);
}

/* From here on a death is told, or no longer. Returns what it was. */
static uint32_t set_changing(struct plait_array *a, uint32_t changing)
{
    uint32_t was = a->body->changing;

    compiler_barrier();
    a->body->changing = changing;
    compiler_barrier();
    return was;
}

int plait_array_lock(plait_array_t *a, plait_time_t deadline)
{
    int err = plait__array_enter(a, deadline);

    if (err || plait_rlock_depth(&a->body->lock) > 1)
        return err;
    set_changing(a, 1);
    return a->body->bereaved ? EOWNERDEAD : 0;
}

int plait_array_unlock(plait_array_t *a)
{
    unsigned depth = plait_rlock_depth(&a->body->lock);

    if (depth == 0)
        return EPERM;
    if (depth == 1)
        set_changing(a, 0);
    return plait_rlock_release(&a->body->lock);
}

int plait_array_consistent(plait_array_t *a)
{
    if (plait_rlock_depth(&a->body->lock) == 0)
        return EPERM;
    if (!a->body->bereaved)
        return EINVAL;
    a->body->bereaved = 0;
    return 0;
}

/* ---- Cells of any type ---- */

/* With the lock, of a size that is not atomic: the cell becomes what the spare is. */
static void commit(struct plait_array *a, size_t index)
{
    compiler_barrier();
    a->body->writing = index + 1;
    compiler_barrier();
    memcpy(plait__array_cell(a, index), spare_of(a), a->item_size);
    compiler_barrier();
    a->body->writing = 0;
    compiler_barrier();
}

/* With the lock, unless cells are atomic. */
static void write_cell(struct plait_array *a, size_t index, const void *cell)
{
    if (a->is_atomic) {
        cell_store_release(plait__array_cell(a, index), a->item_size, plait__array_bits_in(cell, a->item_size)); /* E1 */
        return;
    }
    memcpy(spare_of(a), cell, a->item_size);
    commit(a, index);
}

static void read_cell(struct plait_array *a, size_t index, void *cell)
{
    if (a->is_atomic)
        plait__array_bits_out(cell, a->item_size, plait__array_load(a, index)); /* E1 */
    else
        memcpy(cell, plait__array_cell(a, index), a->item_size);
}

static bool are_there(const struct plait_array *a, size_t first, size_t count)
{
    return first <= a->count && count <= a->count - first;
}

int plait_array_get(plait_array_t *a, size_t index, void *cell)
{
    int err;

    if (index >= a->count)
        return ENOENT;
    err = a->is_atomic ? 0 : plait__array_enter(a, PLAIT_FOREVER);
    if (err)
        return err;
    read_cell(a, index, cell);
    if (!a->is_atomic)
        plait__array_leave(a);
    return 0;
}

int plait_array_set(plait_array_t *a, size_t index, const void *cell)
{
    int err;

    if (index >= a->count)
        return ENOENT;
    if (a->is_atomic) {
        write_cell(a, index, cell);
        return 0;
    }
    err = plait__array_enter(a, PLAIT_FOREVER);
    if (err)
        return err;
    if (a->body->lent)
        err = EDEADLK;
    else
        write_cell(a, index, cell);
    plait__array_leave(a);
    return err;
}

/* Atomic cells by words, where they fill words. How many cells that are, from the first that begins one. */
static size_t cells_in_words(const struct plait_array *a, size_t index, size_t count, size_t *before_out)
{
    size_t cells = sizeof(uint64_t) / a->item_size, before = -index & (cells - 1);

    *before_out = before < count ? before : count;
    return (count - *before_out) / cells * cells;
}

static void read_cells(struct plait_array *a, size_t first, size_t count, void *cells)
{
    char *to = cells;
    size_t before = count, inner = 0, i = 0;

    if (a->is_atomic)
        inner = cells_in_words(a, first, count, &before);
    for (; i < before; i++)
        read_cell(a, first + i, to + i * a->item_size);
    if (inner)
        plait__words_load(to + i * a->item_size, plait__array_cell(a, first + i), inner * a->item_size); /* E1 */
    for (i += inner; i < count; i++)
        read_cell(a, first + i, to + i * a->item_size);
}

static void write_cells(struct plait_array *a, size_t first, size_t count, const void *cells)
{
    const char *from = cells;
    size_t before = count, inner = 0, i = 0;

    if (a->is_atomic)
        inner = cells_in_words(a, first, count, &before);
    for (; i < before; i++)
        write_cell(a, first + i, from + i * a->item_size);
    if (inner)
        plait__words_store(plait__array_cell(a, first + i), from + i * a->item_size, inner * a->item_size); /* E1 */
    for (i += inner; i < count; i++)
        write_cell(a, first + i, from + i * a->item_size);
}

int plait_array_get_many(plait_array_t *a, size_t first, size_t count, void *cells)
{
    int err = are_there(a, first, count) ? plait__array_enter(a, PLAIT_FOREVER) : ENOENT;

    if (err)
        return err;
    read_cells(a, first, count, cells);
    plait__array_leave(a);
    return 0;
}

/* The lock, for writing many cells. */
static int enter_to_write(struct plait_array *a, size_t first, size_t count, uint32_t *changing_out)
{
    int err = are_there(a, first, count) ? plait__array_enter(a, PLAIT_FOREVER) : ENOENT;

    if (err == 0 && a->body->lent && !a->is_atomic) {
        plait__array_leave(a);
        err = EDEADLK;
    }
    if (err == 0)
        *changing_out = set_changing(a, 1);
    return err;
}

int plait_array_set_many(plait_array_t *a, size_t first, size_t count, const void *cells)
{
    uint32_t changing;
    int err = enter_to_write(a, first, count, &changing);

    if (err)
        return err;
    write_cells(a, first, count, cells);
    set_changing(a, changing);
    plait__array_leave(a);
    return 0;
}

int plait_array_fill(plait_array_t *a, size_t first, size_t count, const void *cell)
{
    uint32_t changing;
    int err = enter_to_write(a, first, count, &changing);

    if (err)
        return err;
    for (size_t i = 0; i < count; i++)
        write_cell(a, first + i, cell);
    set_changing(a, changing);
    plait__array_leave(a);
    return 0;
}

/* Under the lock; others may change the cell all the same. */
static int modify_atomic(struct plait_array *a, size_t index, int (*function)(void *cell, void *arg), void *arg)
{
    uint64_t bits = plait__array_load(a, index), copy;
    int err;

    do {
        plait__array_bits_out(&copy, a->item_size, bits);
        err = function(&copy, arg);
    } while (err == 0 && !cell_cas_acqrel(plait__array_cell(a, index), a->item_size, &bits, plait__array_bits_in(&copy, a->item_size))); /* E1 */
    return err;
}

static int modify_guarded(struct plait_array *a, size_t index, int (*function)(void *cell, void *arg), void *arg)
{
    int err;

    if (a->body->lent)
        return EDEADLK;
    a->body->lent = 1;
    memcpy(spare_of(a), plait__array_cell(a, index), a->item_size);
    err = function(spare_of(a), arg);
    if (err == 0)
        commit(a, index);
    a->body->lent = 0;
    return err;
}

int plait_array_modify(plait_array_t *a, size_t index, int (*function)(void *cell, void *arg), void *arg)
{
    int err = index < a->count ? plait__array_enter(a, PLAIT_FOREVER) : ENOENT;

    if (err)
        return err;
    err = a->is_atomic ? modify_atomic(a, index, function, arg) : modify_guarded(a, index, function, arg);
    plait__array_leave(a);
    return err;
}
