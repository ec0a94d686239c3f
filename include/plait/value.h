/* SPDX-License-Identifier: MIT */
/* Value: one number, or a few bytes, that many may read and change at once. */
#ifndef PLAIT_VALUE_H
#define PLAIT_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include <plait/array.h>
#include <plait/export.h>

PLAIT_BEGIN_DECLS

/*
 * plait_value_t - an array of one cell (plait/array.h), and all that is said there is true of it. A call plait_value_NAME is plait_array_NAME
 * with index 0; every call of an array takes it, too.
 *
 *     plait_value_t *left;
 *     plait_value_new(&left, &(struct plait_value_opts){ .initial = &(int64_t){ 100 }, .arena = arena, .name = "left" });
 *
 *     if (plait_value_fetch_add(left, -1) > 0)         // one step, whoever else does so: nothing is sold twice
 *         sell();
 *
 * What reads and writes in two steps, as value = value + 1 does, loses others' changes, here as anywhere: add, exchange, compare_exchange
 * and modify are one step; or the steps are taken between plait_value_lock and plait_value_unlock, by all.
 */
typedef plait_array_t plait_value_t;

/* Options of plait_value_new; zero is the default of each. */
struct plait_value_opts {
    enum plait_type type; /* zero: PLAIT_INT64 */
    size_t item_size;     /* of PLAIT_BYTES: 1 to 1 GiB; else 0 */
    const void *initial;  /* what it is at first, copied; NULL: zero. Only its maker's counts. */
    plait_arena_t *arena; /* NULL: private */
    const char *name;     /* with .arena: open the value published by this name, or make and publish it */
};

/* As plait_array_new. */
PLAIT_API int plait_value_new_sized(plait_value_t **value_out, const struct plait_value_opts *opts, size_t opts_size);

PLAIT_API int plait_value_new(plait_value_t **value_out, const struct plait_value_opts *opts);
PLAIT_INLINE_ALWAYS int plait_value_new(plait_value_t **value_out, const struct plait_value_opts *opts)
{
    return plait_value_new_sized(value_out, opts, sizeof(struct plait_value_opts));
}

/* As those of an array; EBADMSG: what is there is no value, or an array of more cells. */
PLAIT_API int plait_value_open(plait_value_t **value_out, plait_ref_t ref);
PLAIT_API int plait_value_lookup(plait_value_t **value_out, plait_arena_t *arena, const char *name);

/* As those of an array. */
PLAIT_API int plait_value_free(plait_value_t *value);
PLAIT_API int plait_value_destroy(plait_value_t *value);
PLAIT_API int plait_value_ref(const plait_value_t *value, plait_ref_t *ref_out);
PLAIT_API int plait_value_publish(plait_value_t *value, const char *name);
PLAIT_API int plait_value_lock(plait_value_t *value, plait_time_t deadline);
PLAIT_API int plait_value_unlock(plait_value_t *value);
PLAIT_API int plait_value_consistent(plait_value_t *value);

/* As those of an array, of cell 0. */
PLAIT_API int plait_value_get(plait_value_t *value, void *cell);
PLAIT_API int plait_value_set(plait_value_t *value, const void *cell);
PLAIT_API int plait_value_modify(plait_value_t *value, int (*function)(void *cell, void *arg), void *arg);
PLAIT_API int64_t plait_value_get_int(plait_value_t *value);
PLAIT_API int plait_value_set_int(plait_value_t *value, int64_t number);
PLAIT_API int64_t plait_value_fetch_add(plait_value_t *value, int64_t summand);
PLAIT_API int plait_value_add(plait_value_t *value, int64_t summand, int64_t *old_out);
PLAIT_API int plait_value_exchange(plait_value_t *value, int64_t number, int64_t *old_out);
PLAIT_API int plait_value_compare_exchange(plait_value_t *value, int64_t *expected, int64_t number);
PLAIT_API int plait_value_and(plait_value_t *value, int64_t bits, int64_t *old_out);
PLAIT_API int plait_value_or(plait_value_t *value, int64_t bits, int64_t *old_out);
PLAIT_API int plait_value_xor(plait_value_t *value, int64_t bits, int64_t *old_out);
PLAIT_API double plait_value_get_double(plait_value_t *value);
PLAIT_API int plait_value_set_double(plait_value_t *value, double number);
PLAIT_API int plait_value_add_double(plait_value_t *value, double summand, double *old_out);

#ifndef PLAIT_NO_INLINE
PLAIT_INLINE int plait_value_free(plait_value_t *value) { return plait_array_free(value); }
PLAIT_INLINE int plait_value_destroy(plait_value_t *value) { return plait_array_destroy(value); }
PLAIT_INLINE int plait_value_ref(const plait_value_t *value, plait_ref_t *ref_out) { return plait_array_ref(value, ref_out); }
PLAIT_INLINE int plait_value_publish(plait_value_t *value, const char *name) { return plait_array_publish(value, name); }
PLAIT_INLINE int plait_value_lock(plait_value_t *value, plait_time_t deadline) { return plait_array_lock(value, deadline); }
PLAIT_INLINE int plait_value_unlock(plait_value_t *value) { return plait_array_unlock(value); }
PLAIT_INLINE int plait_value_consistent(plait_value_t *value) { return plait_array_consistent(value); }
PLAIT_INLINE int plait_value_get(plait_value_t *value, void *cell) { return plait_array_get(value, 0, cell); }
PLAIT_INLINE int plait_value_set(plait_value_t *value, const void *cell) { return plait_array_set(value, 0, cell); }
PLAIT_INLINE int plait_value_modify(plait_value_t *value, int (*function)(void *cell, void *arg), void *arg) { return plait_array_modify(value, 0, function, arg); }
PLAIT_INLINE int64_t plait_value_get_int(plait_value_t *value) { return plait_array_get_int(value, 0); }
PLAIT_INLINE int plait_value_set_int(plait_value_t *value, int64_t number) { return plait_array_set_int(value, 0, number); }
PLAIT_INLINE int64_t plait_value_fetch_add(plait_value_t *value, int64_t summand) { return plait_array_fetch_add(value, 0, summand); }
PLAIT_INLINE int plait_value_add(plait_value_t *value, int64_t summand, int64_t *old_out) { return plait_array_add(value, 0, summand, old_out); }
PLAIT_INLINE int plait_value_exchange(plait_value_t *value, int64_t number, int64_t *old_out) { return plait_array_exchange(value, 0, number, old_out); }
PLAIT_INLINE int plait_value_compare_exchange(plait_value_t *value, int64_t *expected, int64_t number) { return plait_array_compare_exchange(value, 0, expected, number); }
PLAIT_INLINE int plait_value_and(plait_value_t *value, int64_t bits, int64_t *old_out) { return plait_array_and(value, 0, bits, old_out); }
PLAIT_INLINE int plait_value_or(plait_value_t *value, int64_t bits, int64_t *old_out) { return plait_array_or(value, 0, bits, old_out); }
PLAIT_INLINE int plait_value_xor(plait_value_t *value, int64_t bits, int64_t *old_out) { return plait_array_xor(value, 0, bits, old_out); }
PLAIT_INLINE double plait_value_get_double(plait_value_t *value) { return plait_array_get_double(value, 0); }
PLAIT_INLINE int plait_value_set_double(plait_value_t *value, double number) { return plait_array_set_double(value, 0, number); }
PLAIT_INLINE int plait_value_add_double(plait_value_t *value, double summand, double *old_out) { return plait_array_add_double(value, 0, summand, old_out); }
#endif

PLAIT_END_DECLS

#endif
