/* SPDX-License-Identifier: MIT */
/* Array: a row of cells of one type, numbered from 0, that many may read and change at once. */
#ifndef PLAIT_ARRAY_H
#define PLAIT_ARRAY_H

#include <stddef.h>
#include <stdint.h>

#include <plait/arena.h>
#include <plait/export.h>
#include <plait/time.h>

PLAIT_BEGIN_DECLS

/*
 * plait_array_t - a handle on an array whose length and type never change: counters, results by number, flags.
 *
 *     plait_array_t *hits;
 *     plait_array_new(&hits, &(struct plait_array_opts){ .count = 100, .arena = arena, .name = "hits" });     // int64_t
 *
 *     plait_array_add(hits, page, 1, NULL);            // one more, whoever else does so
 *     plait_array_set_int(hits, page, 0);
 *     printf("%lld\n", (long long)plait_array_get_int(hits, page));
 *
 *     plait_array_lock(hits, PLAIT_FOREVER);           // its lock guards a[from] + a[to]
 *     plait_array_add(hits, from, -1, NULL);
 *     plait_array_add(hits, to, 1, NULL);
 *     plait_array_unlock(hits);
 *
 * Every index is checked: ENOENT if there is no such cell. Every type is: EINVAL if the cells are of another.
 *
 * One cell. A number, and any cell of 1, 2, 4 or 8 bytes, is read and written whole, by one operation that takes no lock, waits
 * for nobody and may be made in signal handlers; so are add, exchange, compare_exchange, and, or, xor: no change made by others
 * meanwhile is lost. What the caller did before it wrote a cell is seen by whoever reads there what it wrote. Cells of other sizes are read and written
 * whole under the array's lock.
 *
 * The lock is for what belongs together. It is recursive: its holder may make all calls. Many cells are read and
 * written under it as well, but it excludes only those who take it: calls on one number do not.
 *
 * Private, or with .arena shared between processes: then anybody may be killed at any instruction, and each cell holds what it held before or
 * what was to come. Whoever dies with the lock, or while writing many cells (some of them are written then), is told to the next who calls
 * plait_array_lock; the other calls go on.
 *
 * Calls that take the lock answer, beyond their own, as plait_rlock_acquire: ECANCELED, EDEADLK, EOVERFLOW, and
 * shared: ENOSPC.
 */
typedef struct plait_array plait_array_t;

/* What the cells are. */
enum plait_type {
    PLAIT_INT64 = 0,
    PLAIT_INT32 = 1,
    PLAIT_INT16 = 2,
    PLAIT_INT8 = 3,
    PLAIT_UINT64 = 4, /* in and out as the int64_t that has the same bits */
    PLAIT_UINT32 = 5,
    PLAIT_UINT16 = 6,
    PLAIT_UINT8 = 7,
    PLAIT_DOUBLE = 8,
    PLAIT_FLOAT = 9,
    PLAIT_BYTES = 10 /* anything: item_size bytes */
};

/* Options of plait_array_new; zero is the default of each but count. */
struct plait_array_opts {
    size_t count;         /* cells, 1 to 2^40 */
    enum plait_type type;
    size_t item_size;     /* of PLAIT_BYTES: bytes of a cell, 1 to 1 GiB; else 0 */
    const void *initial;  /* what the cells are at first, count of them, copied; NULL: all zero. Only its maker's counts. */
    plait_arena_t *arena; /* NULL: private */
    const char *name;     /* with .arena: open the array published by this name, or make and publish it */
};

/*
 * Make an array, or with .name open the one that there is. EINVAL: an option is outside what it may be, a name without arena, or
 * the array of that name has another count, type or item_size. EBADMSG: something else has that name. ENOMEM (private), ENOSPC
 * (shared): no room.
 */
PLAIT_API int plait_array_new_sized(plait_array_t **array_out, const struct plait_array_opts *opts, size_t opts_size);

PLAIT_API int plait_array_new(plait_array_t **array_out, const struct plait_array_opts *opts);
PLAIT_INLINE_ALWAYS int plait_array_new(plait_array_t **array_out, const struct plait_array_opts *opts)
{
    return plait_array_new_sized(array_out, opts, sizeof(struct plait_array_opts));
}

/*
 * Drop the handle; NULL is allowed. A private array is destroyed: nobody may be using it. EBUSY, and nothing done: its lock is held. A
 * shared one stays in the arena for the other handles and references.
 */
PLAIT_API int plait_array_free(plait_array_t *array);

/*
 * Destroy a shared array and drop the handle: its memory goes back to the arena, its names are free. No process
 * may use it any more; handles that are
 * left may only be dropped. For a private one the same as plait_array_free. EBUSY, and nothing done: its lock is held.
 */
PLAIT_API int plait_array_destroy(plait_array_t *array);

/* Name a shared array in plain bytes, for plait_array_open. EINVAL: it is private. */
PLAIT_API int plait_array_ref(const plait_array_t *array, plait_ref_t *ref_out);

/* Make a handle on the shared array that `ref` names. EBADMSG: there is none. ENOENT, EINVAL as plait_ref_open. ENOMEM. */
PLAIT_API int plait_array_open(plait_array_t **array_out, plait_ref_t ref);

/* Publish a shared array under a name in its arena, and find it there: plait_arena_publish, plait_arena_lookup and
 * plait_array_open in one. Errors as theirs. */
PLAIT_API int plait_array_publish(plait_array_t *array, const char *name);
PLAIT_API int plait_array_lookup(plait_array_t **array_out, plait_arena_t *arena, const char *name);

/* The options it was made with; item_size: of any type. */
PLAIT_API size_t plait_array_len(const plait_array_t *array);
PLAIT_API enum plait_type plait_array_type(const plait_array_t *array);
PLAIT_API size_t plait_array_item_size(const plait_array_t *array);

/*
 * The cells themselves, aligned to 64 bytes in an arena, else to 16, until the handle is dropped. Nothing is checked there, and what is
 * not atomic is a data race with others' calls.
 */
PLAIT_API void *plait_array_data(const plait_array_t *array);

/* ---- Cells of any type ---- */

/* Copy one cell into *cell, of item_size bytes, or *cell into it. */
PLAIT_API int plait_array_get(plait_array_t *array, size_t index, void *cell);
PLAIT_API int plait_array_set(plait_array_t *array, size_t index, const void *cell);

/*
 * Copy `count` cells from number `first` on, under the lock: who reads many gets no half of what another writes by set_many or fill.
 * ENOENT, and nothing done: not all of them are there. count may be 0. fill: each becomes *cell.
 */
PLAIT_API int plait_array_get_many(plait_array_t *array, size_t first, size_t count, void *cells);
PLAIT_API int plait_array_set_many(plait_array_t *array, size_t first, size_t count, const void *cells);
PLAIT_API int plait_array_fill(plait_array_t *array, size_t first, size_t count, const void *cell);

/*
 * Read, then write, in one step: under the lock, call function(cell, arg) with a copy of the cell, and write back what it has made of that. If it
 * does not return 0, or its process is killed, the cell stays as it is; the former is returned. A cell that can be changed without the lock may have been:
 * then the function is called again, with what is there now. Within it, the same array's cells that are written under the
 * lock alone answer EDEADLK to who writes them.
 */
PLAIT_API int plait_array_modify(plait_array_t *array, size_t index, int (*function)(void *cell, void *arg), void *arg);

/* ---- Integers ---- */

/* EOVERFLOW, of all that take one: the cells' type cannot hold the value; nothing is done. */
PLAIT_API int plait_array_set_int(plait_array_t *array, size_t index, int64_t value);

/*
 * Change the cell in one step, whoever else changes it; *old_out (may be NULL) receives what was there. A sum that has no place in the cell
 * goes round, as C's atomic_fetch_add does; and, or, xor take as many bits as the cell has.
 */
PLAIT_API int plait_array_add(plait_array_t *array, size_t index, int64_t summand, int64_t *old_out);
PLAIT_API int plait_array_exchange(plait_array_t *array, size_t index, int64_t value, int64_t *old_out);
PLAIT_API int plait_array_and(plait_array_t *array, size_t index, int64_t bits, int64_t *old_out);
PLAIT_API int plait_array_or(plait_array_t *array, size_t index, int64_t bits, int64_t *old_out);
PLAIT_API int plait_array_xor(plait_array_t *array, size_t index, int64_t bits, int64_t *old_out);

/*
 * Write `value` if the cell has *expected. EAGAIN, and nothing done: it has another, which *expected receives.
 *
 *     int64_t best = plait_array_get_int(a, i);
 *     while (mine > best && plait_array_compare_exchange(a, i, &best, mine) == EAGAIN)
 *         ;
 */
PLAIT_API int plait_array_compare_exchange(plait_array_t *array, size_t index, int64_t *expected, int64_t value);

/* ---- Floating point: double and float ---- */

PLAIT_API int plait_array_set_double(plait_array_t *array, size_t index, double value);
PLAIT_API int plait_array_add_double(plait_array_t *array, size_t index, double summand, double *old_out);

/*
 * ---- The value itself, for who knows that the index and the type are right ----
 *
 * Where they are not there is no answer: the program is told on stderr, and aborted. fetch_add returns what was there before.
 */
PLAIT_API int64_t plait_array_get_int(plait_array_t *array, size_t index);
PLAIT_API int64_t plait_array_fetch_add(plait_array_t *array, size_t index, int64_t summand);
PLAIT_API double plait_array_get_double(plait_array_t *array, size_t index);

/* ---- The lock ---- */

/*
 * Take the lock, at one level more if the caller holds it. Returns
 *   0           the caller holds it
 *   EOWNERDEAD  the caller holds it; somebody died with it, or while writing many cells (shared), and nobody has called
 *               plait_array_consistent since: until then each who takes it is told
 *   ETIMEDOUT   somebody else holds it until the deadline; with PLAIT_NOW: holds it
 */
PLAIT_API int plait_array_lock(plait_array_t *array, plait_time_t deadline);

/* Give back one level. EPERM, and nothing done: the caller does not hold it. */
PLAIT_API int plait_array_unlock(plait_array_t *array);

/* The cells are good again, after EOWNERDEAD. EPERM: the caller does not hold the lock. EINVAL: nobody has died. */
PLAIT_API int plait_array_consistent(plait_array_t *array);

PLAIT_END_DECLS

#endif
