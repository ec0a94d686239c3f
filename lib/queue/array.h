/* SPDX-License-Identifier: MIT */
/* An array's memory: what all its users share, in an arena or in the heap; and how its cells are reached (array.c). */
#ifndef PLAIT_QUEUE_ARRAY_H
#define PLAIT_QUEUE_ARRAY_H

#include <stdbool.h>
#include <string.h>

#include <plait/array.h>
#include <plait/rlock.h>

#include "base/cell.h"

/* The cells come behind it. */
struct plait__array_body {
    uint32_t magic;     /* const, stored last; 0 once destroyed */
    uint32_t flags;     /* const: PLAIT_SHARED or 0 */
    uint32_t type;      /* const: enum plait_type */
    uint32_t changing;  /* guarded by lock, as the rest: 1: whoever dies now is told */
    uint64_t count;     /* const */
    uint64_t item_size; /* const */
    uint64_t writing;   /* the spare is being copied to the cell before this number; 0: no */
    uint32_t bereaved;  /* 1: somebody has died while `changing` */
    uint32_t lent;      /* 1: the spare is with a function of plait_array_modify */
    plait_rlock_t lock;
    uint64_t spare[2];
};

_Static_assert(sizeof(struct plait__array_body) == 128, "cells begin with a line");

#define PLAIT__ARRAY_MAGIC 0x41727279u

/* A handle. */
struct plait_array {
    struct plait__array_body *body; /* const */
    plait_arena_t *arena;           /* const: a handle of our own; NULL: private */
    char *cells;                    /* const */
    size_t count;                   /* const: copies of the body's */
    size_t item_size;               /* const */
    enum plait_type type;           /* const */
    bool is_atomic;                 /* const: cells have a size of which there are atomic operations */
};

static inline void *plait__array_cell(const struct plait_array *a, size_t index)
{
    return a->cells + index * a->item_size;
}

/* What an atomic cell is, and what such a one is to become. The caller's memory need not be aligned. */
static inline uint64_t plait__array_load(const struct plait_array *a, size_t index)
{
    return cell_load_acquire(plait__array_cell(a, index), a->item_size); /* E1 of array.c */
}

static inline uint64_t plait__array_bits_in(const void *bytes, size_t size)
{
    uint64_t aligned = 0;

    memcpy(&aligned, bytes, size);
    return cell_load_acquire(&aligned, size);
}

static inline void plait__array_bits_out(void *bytes, size_t size, uint64_t bits)
{
    uint64_t aligned;

    cell_store_release(&aligned, size, bits);
    memcpy(bytes, &aligned, size);
}

/* The lock, as plait_rlock_acquire, but for EOWNERDEAD: what is to be repaired is, and a death that is to be told is noted. */
int plait__array_enter(struct plait_array *a, plait_time_t deadline);
void plait__array_leave(struct plait_array *a);

#endif
