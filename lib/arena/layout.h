/* SPDX-License-Identifier: MIT */
/* What lies in an arena's memory: header, participants' table, heap. */
#ifndef PLAIT_ARENA_LAYOUT_H
#define PLAIT_ARENA_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <plait/lock.h>

#include "wait/robust.h"

/*
 *   0                header
 *   slots_offset     participants' table: `participants` slots of 256 bytes
 *   heap_offset      blocks, one after the other, up to `top`
 *   limit            the end of the address space set aside
 *
 * All places are offsets from the header. Integers are of the machine's own byte order and size; a foreign machine's
 * arena fails the checks.
 */
#define PLAIT__ARENA_MAGIC 0x616e657261746c70u /* "pltarena" */
#define PLAIT__ARENA_MAKING 0x67696e6b616d6c70u /* "plmaking": the program's own memory, while it is made an arena (open.c) */
enum {
    PLAIT__ARENA_VERSION = 9,
    PLAIT__ARENA_CLASSES = 160,
    PLAIT__STOCK_CLASSES = 24, /* blocks of up to 8 KiB */
    PLAIT__ARENA_NAME_SIZE = 64,
    PLAIT__BLOCK_UNIT = 64,
    PLAIT__BLOCK_NO_OWNER = 0xffff,
    PLAIT__HOLDS_IN_ROW = 4,
    PLAIT__TID_BITS = 22 /* the kernel gives no greater ones */
};

/* Bits of header.flags. */
enum {
    PLAIT__ARENA_NO_LISTS = 1u << 0, /* made where the kernel keeps no robust lists */
    PLAIT__ARENA_ANONYMOUS = 1u << 1
};

struct plait__arena_header {
    /* Written once, by the maker, before `magic`; covered by `checksum`. */
    uint64_t magic; /* atomic: released last (E1); 0: not finished */
    uint32_t version;
    uint32_t flags;
    uint64_t id;
    uint64_t limit;         /* bytes, a multiple of the page size */
    uint64_t pid_namespace; /* inode of the namespace in which the TIDs in the locks mean something */
    int32_t layout;         /* distance of a lock's word from its list entry: the libc's */
    uint32_t participants;
    uint64_t checksum;      /* of the fields from version to participants */

    plait_lock_t lock; /* guards the rest of the header, the blocks' headers and the names */
    uint64_t reserved; /* bytes from the start for which the system has set memory aside */
    uint64_t top;      /* where the heap ends; everything below is blocks */
    uint64_t out;      /* bytes in blocks that are in use or in a stock: a cache */
    uint64_t names;    /* offset of the first name record, 0: none */
    uint64_t quota;    /* the most that `out` may become; 0: no less than the limit */
    uint64_t allocs;   /* how many with the lock; the rest is counted in the stocks */
    uint64_t deallocs;
    uint64_t hints;    /* atomic: enum plait_arena_hint: taken, and above from bit 32 on, asked for */

    /* An allocation or release under way: what repair needs to finish or undo it (alloc.c). */
    uint64_t pending_block; /* 0: none */
    uint64_t pending_place; /* offset of the variable that is to hold it, 0: none */
    uint32_t pending_free;  /* the block is being released, not allocated */
    uint32_t slots_high;    /* atomic: no slot from here on was ever used; only grows */
    uint32_t unjoined;      /* something was freed since free neighbours were last joined */
    uint32_t glanced;       /* 1: there may be glances (E2 of glance.c), for good */

    uint64_t free_lists[PLAIT__ARENA_CLASSES]; /* offsets of free blocks by class: a cache */

    plait_lock_t making; /* the program's own memory: held by the one who makes it an arena; the last field */
};

/* A block is 16 bytes of this, ending on a multiple of 64, and the memory that is given out. */
struct plait__block {
    union {
        struct {
            uint32_t check; /* plait__block_check() of its offset and class */
            uint8_t class;  /* its size */
            uint8_t state;  /* enum plait__block_state: the truth, of which the free lists are a cache */
            uint16_t owner; /* slot number, while STOCKED or TAKEN */
        };
        uint64_t word; /* atomic: the four, written with one store */
    };
    uint64_t next_free; /* guarded by the list's lock: the next in its free list, while free; in the stock, while stocked */
};

enum plait__block_state {
    PLAIT__BLOCK_USED = 0x55,
    PLAIT__BLOCK_FREE = 0xf2,
    PLAIT__BLOCK_FREE_HOLE = 0xf8, /* free, and its whole pages were given back to the system */
    PLAIT__BLOCK_STOCKED = 0xc3,   /* free, and its owner's (stock.c) */
    PLAIT__BLOCK_TAKEN = 0x3a,     /* being taken from its owner's stock: in use if the place that shall name it does */
    PLAIT__BLOCK_STOCK = 0x96      /* holds a stock; for good */
};

/* What a participant has put by of free blocks (stock.c). A block of its own, which stays with the slot. */
struct plait__stock {
    uint32_t word;    /* atomic (E3 of stock.c): who is at it; guards the rest */
    uint32_t number;  /* const: of the slot */
    uint64_t pending; /* block on its way out or in, with GIVES of stock.c; 0: none */
    uint64_t place;   /* offset of the variable that names it, or is to; 0: none */
    uint64_t bytes;    /* atomic, read by others, as the next two: in the lists: a cache */
    uint64_t allocs;   /* how many it has served, of all its owners */
    uint64_t deallocs;
    uint64_t heads[PLAIT__STOCK_CLASSES];
    uint8_t counts[PLAIT__STOCK_CLASSES];  /* a cache */
    uint8_t batches[PLAIT__STOCK_CLASSES]; /* how many are fetched next time */
};

struct plait__name_record {
    uint64_t next;   /* guarded by lock: offset, 0: the last */
    uint64_t target; /* guarded by lock: offset; 0: the record is free */
    char name[PLAIT__ARENA_NAME_SIZE];
};

/*
 * A hold: what a participant has in its hands besides robust locks, or what it waits for (holds.h). A hold that
 * names an object is complete.
 */
struct plait__hold {
    uint64_t name;   /* atomic (E1 of holds.c): of which object, of what kind, by which of the slot's owners; 0: free */
    uint64_t next;   /* by the object's own rules, as all that follows: the next hold in a chain, as an offset */
    uint64_t number;
    uint64_t other;  /* another object that it concerns, as an offset */
    uint32_t state;  /* atomic, may be slept on */
    uint32_t count;  /* atomic */
};

/* The holds of a slot, and if it ever needed more at one time, more of them, each row in a block of its own. */
struct plait__hold_row {
    uint64_t more;    /* atomic (E2 of holds.c): block of the next row, 0: none; set once, for good */
    uint32_t taking;  /* owner only: bits of the holds that are just being taken, by whom a signal has interrupted */
    uint32_t used;    /* atomic: no hold of this row from here on was ever used; only grows */
    uint32_t wanted;  /* atomic: of the first row: 1: somebody sleeps here until the thread drops a hold (sync/rwlock.c) */
    uint32_t glancing; /* atomic (E1 of glance.c): of the first row: 1: the thread looks at what may be freed at the same time */
    uint64_t stock;   /* atomic (E2 of alloc.c): of the first row: block of the slot's stock, 0: none; set once, for good */
    struct plait__hold holds[PLAIT__HOLDS_IN_ROW];
};

/*
 * A slot of the participants' table: a thread that takes part. Its life word is a robust lock that the thread holds until
 * it leaves: claiming the slot and stamping it with an owner that the kernel watches is one instruction.
 */
struct plait__slot {
    plait_lock_t life;    /* claimed by its thread */
    uint32_t generation;  /* atomic (E3 of holds.c): differs between the slot's owners */
    uint32_t pid;         /* owner only */
    uint64_t start_time;  /* owner only, read by others: of the thread, in clock ticks, above PLAIT__TID_BITS bits of the TID
                             that it belongs to; 0: not known. For arenas without lists. */
    struct plait__hold_row row;
};

_Static_assert(sizeof(struct plait__hold) == 40, "part of the layout");
_Static_assert(sizeof(struct plait__slot) == 256, "part of the layout");
_Static_assert(sizeof(struct plait__block) == 16, "part of the layout");

static inline uint64_t plait__slots_offset(void)
{
    return (sizeof(struct plait__arena_header) + 255) / 256 * 256;
}

/* The heap starts 16 bytes before a multiple of 64, so that what blocks give out is aligned to 64. */
static inline uint64_t plait__heap_offset(uint32_t participants)
{
    return plait__slots_offset() + (uint64_t)participants * sizeof(struct plait__slot) + PLAIT__BLOCK_UNIT -
           sizeof(struct plait__block);
}

static inline void *plait__at(const void *base, uint64_t offset)
{
    return (void *)((uintptr_t)base + (uintptr_t)offset); /* whatever stands in a damaged place: the look comes after */
}

static inline uint64_t plait__offset_in(const void *base, const void *address)
{
    return (uint64_t)((const char *)address - (const char *)base);
}

/* So many slots were ever used. */
static inline uint32_t plait__slots_high(const struct plait__arena_header *h)
{
    uint32_t high = __atomic_load_n(&h->slots_high, __ATOMIC_ACQUIRE);

    return high < h->participants ? high : h->participants; /* more would be damage */
}

/* The bits that a lock in this arena has in its mode, beside the caller's flags. */
static inline uint32_t plait__lock_mode(const struct plait__arena_header *h)
{
    return h->flags & PLAIT__ARENA_NO_LISTS ? PLAIT__LOCK_NO_LIST : 0;
}

static inline struct plait__slot *plait__slot_at(const struct plait__arena_header *h, uint32_t number)
{
    return (struct plait__slot *)plait__at(h, plait__slots_offset()) + number;
}

#endif
