/* SPDX-License-Identifier: MIT */
/*
 * The other of the two programs: it serves orders until the queue is closed and empty, and sends a
 * receipt. See producer.c. Expected, exactly:
 *
 *     consumer: 1000 orders served
 */
#include "shop.h"

int main(int argc, char **argv)
{
    const char *shop = argc > 1 ? argv[1] : SHOP;
    plait_arena_t *arena;
    plait_queue_t *orders, *receipts;
    struct order order;
    struct receipt receipt = { 0 };
    int err;

    must(plait_arena_new(&arena, &(struct plait_arena_opts){ .name = shop }), "plait_arena_new");
    orders = open_queue(arena, "orders", sizeof order);
    receipts = open_queue(arena, "receipts", sizeof receipt);

    while ((err = plait_queue_get(orders, &order, plait_after(60))) == 0) {
        receipt.orders++;
        receipt.sum += order.price;
    }
    if (err != EPIPE)
        must(err, "no order");
    must(plait_queue_put(receipts, &receipt, plait_after(60)), "no room for the receipt");
    printf("consumer: %d orders served\n", receipt.orders);

    plait_queue_free(orders);
    plait_queue_free(receipts);
    return plait_arena_free(arena);
}
