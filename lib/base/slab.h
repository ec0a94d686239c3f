/* SPDX-License-Identifier: MIT */
/* Slab: pieces of one size, from the system and not from malloc, which a program may have replaced by one that uses us. */
#ifndef PLAIT_BASE_SLAB_H
#define PLAIT_BASE_SLAB_H

#include <stddef.h>

/* Guarded by its user. Memory that it has, it keeps. */
struct plait__slab {
    size_t size;    /* const: of a piece, at least that of a pointer, and a multiple of it */
    void *free;     /* given back: each piece begins with the address of the next */
    char *at, *end; /* never used yet */
};

#define PLAIT__SLAB(type) { sizeof(type), NULL, NULL, NULL }

/* A piece, all zero; NULL: the system has none left. */
void *plait__slab_take(struct plait__slab *slab);
void plait__slab_give(struct plait__slab *slab, void *piece);

#endif
