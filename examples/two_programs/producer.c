/* SPDX-License-Identifier: MIT */
/*
 * Two programs that know nothing of each other but a name: this one sends a thousand orders.
 *
 *     cc -o producer producer.c $(pkg-config --cflags --libs plait)
 *     cc -o consumer consumer.c $(pkg-config --cflags --libs plait)
 *     ./producer & ./consumer; wait
 *
 * Either may be started first; an argument is taken as the arena's name. This one stays until the
 * receipt has come, because the arena goes away with the last program that has it open. Expected,
 * exactly:
 *
 *     producer: 1000 orders sent, receipt for 1000 orders, 500500 in all
 */
#include "shop.h"

int main(int argc, char **argv)
{
    const char *shop = argc > 1 ? argv[1] : SHOP;
    plait_arena_t *arena;
    plait_queue_t *orders, *receipts;
    struct order order;
    struct receipt receipt;

    must(plait_arena_new(&arena, &(struct plait_arena_opts){ .name = shop }), "plait_arena_new");
    orders = open_queue(arena, "orders", sizeof order);
    receipts = open_queue(arena, "receipts", sizeof receipt);

    for (int i = 1; i <= 1000; i++) {
        order = (struct order){ .number = i, .price = i };
        must(plait_queue_put(orders, &order, plait_after(60)), "no consumer took the order");
    }
    plait_queue_close(orders);
    must(plait_queue_get(receipts, &receipt, plait_after(60)), "no receipt");
    printf("producer: 1000 orders sent, receipt for %d orders, %ld in all\n", receipt.orders,
           receipt.sum);

    plait_queue_free(orders);
    plait_queue_free(receipts);
    return plait_arena_free(arena);
}
