/* SPDX-License-Identifier: MIT */
/* The numbers of an array. How cells are read and changed: array.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/array.h"

static bool is_integer(enum plait_type type) { return type <= PLAIT_UINT8; }
static bool is_signed(enum plait_type type) { return type <= PLAIT_INT8; }
static bool is_floating(enum plait_type type) { return type == PLAIT_DOUBLE || type == PLAIT_FLOAT; }

/* ---- Integers ---- */

/* What it cannot hold of the bits is cut off. */
static int64_t value_of(const struct plait_array *a, uint64_t bits)
{
    unsigned above = 64 - 8 * (unsigned)a->item_size;

    return is_signed(a->type) ? (int64_t)(bits << above) >> above : (int64_t)(bits << above >> above);
}

/* Can an integer be at this index, and, of set and the like, this one? */
static inline int check(const struct plait_array *a, size_t index)
{
    if (__builtin_expect(!is_integer(a->type), 0))
        return EINVAL;
    return __builtin_expect(index < a->count, 1) ? 0 : ENOENT;
}

static inline int check_value(const struct plait_array *a, size_t index, int64_t value)
{
    int err = check(a, index);

    return err == 0 && value_of(a, (uint64_t)value) != value ? EOVERFLOW : err;
}

static inline void give(const struct plait_array *a, uint64_t bits, int64_t *value_out)
{
    if (value_out)
        *value_out = value_of(a, bits);
}

int plait_array_set_int(plait_array_t *a, size_t index, int64_t value)
{
    int err = check_value(a, index, value);

    if (err == 0)
        cell_store_release(plait__array_cell(a, index), a->item_size, (uint64_t)value); /* E1 */
    return err;
}

int plait_array_add(plait_array_t *a, size_t index, int64_t summand, int64_t *old_out)
{
    int err = check(a, index);

    if (err == 0)
        give(a, cell_add_acqrel(plait__array_cell(a, index), a->item_size, (uint64_t)summand), old_out); /* E1 */
    return err;
}

int plait_array_exchange(plait_array_t *a, size_t index, int64_t value, int64_t *old_out)
{
    int err = check_value(a, index, value);

    if (err == 0)
        give(a, cell_exchange_acqrel(plait__array_cell(a, index), a->item_size, (uint64_t)value), old_out); /* E1 */
    return err;
}

int plait_array_and(plait_array_t *a, size_t index, int64_t bits, int64_t *old_out)
{
    int err = check(a, index);

    if (err == 0)
        give(a, cell_and_acqrel(plait__array_cell(a, index), a->item_size, (uint64_t)bits), old_out); /* E1 */
    return err;
}

int plait_array_or(plait_array_t *a, size_t index, int64_t bits, int64_t *old_out)
{
    int err = check(a, index);

    if (err == 0)
        give(a, cell_or_acqrel(plait__array_cell(a, index), a->item_size, (uint64_t)bits), old_out); /* E1 */
    return err;
}

int plait_array_xor(plait_array_t *a, size_t index, int64_t bits, int64_t *old_out)
{
    int err = check(a, index);

    if (err == 0)
        give(a, cell_xor_acqrel(plait__array_cell(a, index), a->item_size, (uint64_t)bits), old_out); /* E1 */
    return err;
}

int plait_array_compare_exchange(plait_array_t *a, size_t index, int64_t *expected, int64_t value)
{
    uint64_t bits = (uint64_t)*expected;
    int err = check_value(a, index, value);

    if (err)
        return err;
    if (check_value(a, index, *expected) != 0) /* it cannot have that */
        bits = plait__array_load(a, index); /* E1 */
    else if (cell_cas_acqrel(plait__array_cell(a, index), a->item_size, &bits, (uint64_t)value)) /* E1 */
        return 0;
    *expected = value_of(a, bits);
    return EAGAIN;
}

/* ---- Floating point ---- */

static uint64_t bits_of_double(const struct plait_array *a, double value)
{
    float narrow = (float)value;

    return a->type == PLAIT_FLOAT ? plait__array_bits_in(&narrow, sizeof narrow) : plait__array_bits_in(&value, sizeof value);
}

static double double_of(const struct plait_array *a, uint64_t bits)
{
    double value;
    float narrow;

    if (a->type == PLAIT_DOUBLE) {
        plait__array_bits_out(&value, sizeof value, bits);
        return value;
    }
    plait__array_bits_out(&narrow, sizeof narrow, bits);
    return (double)narrow;
}

static int check_floating(const struct plait_array *a, size_t index)
{
    if (!is_floating(a->type))
        return EINVAL;
    return index < a->count ? 0 : ENOENT;
}

int plait_array_set_double(plait_array_t *a, size_t index, double value)
{
    int err = check_floating(a, index);

    if (err == 0)
        cell_store_release(plait__array_cell(a, index), a->item_size, bits_of_double(a, value)); /* E1 */
    return err;
}

int plait_array_add_double(plait_array_t *a, size_t index, double summand, double *old_out)
{
    int err = check_floating(a, index);
    uint64_t bits;
    double old;

    if (err)
        return err;
    bits = plait__array_load(a, index);
    do
        old = double_of(a, bits);
    while (!cell_cas_acqrel(plait__array_cell(a, index), a->item_size, &bits, bits_of_double(a, old + summand))); /* E1 */
    if (old_out)
        *old_out = old;
    return 0;
}

/* ---- The value itself ---- */

static __attribute__((noreturn, noinline)) void refuse(const struct plait_array *a, const char *function, size_t index)
{
    if (index < a->count)
        fprintf(stderr, "plait: %s: the array has cells of another type\n", function);
    else
        fprintf(stderr, "plait: %s: no cell %zu in an array of %zu\n", function, index, a->count);
    abort();
}

int64_t plait_array_get_int(plait_array_t *a, size_t index)
{
    if (check(a, index) != 0)
        refuse(a, __func__, index);
    return value_of(a, plait__array_load(a, index)); /* E1 */
}

int64_t plait_array_fetch_add(plait_array_t *a, size_t index, int64_t summand)
{
    if (check(a, index) != 0)
        refuse(a, __func__, index);
    return value_of(a, cell_add_acqrel(plait__array_cell(a, index), a->item_size, (uint64_t)summand)); /* E1 */
}

double plait_array_get_double(plait_array_t *a, size_t index)
{
    if (check_floating(a, index) != 0)
        refuse(a, __func__, index);
    return double_of(a, plait__array_load(a, index)); /* E1 */
}
