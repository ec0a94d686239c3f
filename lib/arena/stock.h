/* SPDX-License-Identifier: MIT */
/* Stock: free blocks that a participant has put by, to be taken and given back without the arena's lock. */
#ifndef PLAIT_ARENA_STOCK_H
#define PLAIT_ARENA_STOCK_H

#include "arena/arena.h"

/*
 * Take a block of the class out of the calling thread's stock, and have *place (NULL: nothing) name it, in one step that a death cannot
 * split. EAGAIN: there is none, or no stock: the arena's lock is needed. EBADMSG: damaged.
 */
int plait__stock_take(struct plait__arena_header *h, unsigned class, uint64_t *place, uint64_t *offset_out);

/* The reverse; *place is 0 then. EAGAIN: the arena's lock is needed; it may be that the block is not in use. */
int plait__stock_give(struct plait__arena_header *h, uint64_t offset, uint64_t *place);

/*
 * All of these with the arena's lock held, and no allocation or release under way.
 *
 * restock: one of that class was asked for in vain: put some by, and first of all make a stock. reduce: one was given back in vain: make room.
 */
void plait__stock_restock(struct plait__arena_header *h, unsigned class);
void plait__stock_reduce(struct plait__arena_header *h, unsigned class);

/* Free all that is in stocks at which nobody is just now. */
void plait__stocks_drain(struct plait__arena_header *h);

/*
 * See to what the dead have left at their stocks. repair: the arena's lock was a dead one's; who calls makes the free lists anew
 * afterwards. EBADMSG: damaged.
 */
int plait__stocks_settle(struct plait__arena_header *h);
void plait__stocks_repair(struct plait__arena_header *h);

/* The stock of a slot; NULL: none, or damaged. */
struct plait__stock *plait__stock_of(struct plait__arena_header *h, const struct plait__slot *slot);

/* Of all stocks: bytes in them, and how often they have served. */
struct plait__stocks_figures {
    uint64_t bytes, allocs, deallocs;
};
struct plait__stocks_figures plait__stocks_figures(struct plait__arena_header *h);

/* Keep the owner of a stock from it, until it is let go. False: somebody is at it, and stays. */
bool plait__stock_tap(struct plait__stock *s);
bool plait__stock_is_tapped(const struct plait__stock *s);
void plait__stock_untap(struct plait__stock *s);

#endif
